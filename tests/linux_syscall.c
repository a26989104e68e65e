/* SPDX-License-Identifier: MIT
 *
 * System calls on absent pages: served where a space says so, EFAULT where it does not, and the calls of the
 * library that make up for it.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "linuxrig.h"
#include "testback.h"
#include "ports/linux/port.h"

#define PAGES 64u

struct file { struct testback back; struct vmf_object *object; char *at; };

static void file_open(struct rig *r, struct file *f, unsigned flags)
{
	testback_open(&f->back, r->port, PAGES * PAGE, TESTBACK_THREAD);
	f->object = testback_object(&f->back, NULL);
	f->at = rig_map(r, f->object, flags, PAGES, VMF_R | VMF_W);
}

static void file_close(struct rig *r, struct file *f)
{
	rig_unmap(r, f->at, PAGES);
	vmf_object_put(f->object);
	RIG_BACKING_CLOSE(&f->back);
}

static int temporary(void)
{
	FILE *f = tmpfile();

	CHECK(f);
	return fileno(f);
}

static bool byte_is(struct file *f, uint64_t at, int c) { return (char)c == (char)testback_byte(&f->back, at); }

/* Does a system call on an absent page of this kind sleep in the kernel?  Before 5.14 private ones may where shared
 * ones do not; then a space promises nothing. */
static bool sleeps(const struct rig *r, unsigned kind)
{
	bool mixed = (vmf_linux_lacks(r->space) & RIG_TRAPS) == VMF_LACKS_SHARED;

	return vmf_linux_syscalls(r->space) || (mixed && r->mode == VMF_THREADED && kind != VMF_SHARED);
}

static void what_a_space_says(void)
{
	const unsigned kinds[] = { VMF_SHARED, 0 };
	struct rig r;

	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			int fd = temporary();
			struct file f;
			ssize_t n;

			file_open(&r, &f, kinds[k]);
			n = pwrite(fd, f.at, 3 * PAGE, 0);
			if (sleeps(&r, kinds[k])) {
				char c;

				CHECK_EQ(n, 3 * PAGE);
				CHECK(pread(fd, &c, 1, PAGE + 5) == 1 && byte_is(&f, PAGE + 5, c));
				CHECK_EQ(pread(fd, f.at + 10 * PAGE, 2 * PAGE, 0), 2 * PAGE);
				CHECK(byte_is(&f, PAGE + 7, f.at[11 * PAGE + 7]));
			} else {
				CHECK_EQ(n, -1);
				CHECK_EQ(errno, EFAULT);
			}
			file_close(&r, &f);
			close(fd);
		}
		CHECK(r.mode == VMF_THREADED || !vmf_linux_syscalls(r.space));
	}
}

static void wrappers(void)
{
	const unsigned kinds[] = { VMF_SHARED, 0 };
	struct rig r;

	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			int fd = temporary(), pair[2];
			struct file f;
			struct iovec iov[2];

			file_open(&r, &f, kinds[k]);
			CHECK_EQ(vmf_pwrite(fd, f.at, PAGE, 0), PAGE);
			CHECK_EQ(vmf_write(fd, f.at + PAGE, 10), 10);
			iov[0] = (struct iovec){ f.at + 3 * PAGE, 100 };
			iov[1] = (struct iovec){ f.at + 7 * PAGE, 100 };
			CHECK_EQ(vmf_writev(fd, iov, 2), 200);
			lseek(fd, 0, SEEK_SET);
			CHECK_EQ(vmf_read(fd, f.at + 20 * PAGE, 10), 10);
			CHECK(byte_is(&f, PAGE + 3, f.at[20 * PAGE + 3]));
			iov[0] = (struct iovec){ f.at + 30 * PAGE, 100 };
			iov[1] = (struct iovec){ f.at + 32 * PAGE - 50, 100 };
			CHECK_EQ(vmf_readv(fd, iov, 2), 200);
			CHECK(byte_is(&f, 3 * PAGE, f.at[30 * PAGE]));
			CHECK(byte_is(&f, 7 * PAGE + 99, f.at[32 * PAGE + 49]));
			CHECK_EQ(vmf_pread(fd, f.at + 40 * PAGE, 1, 5), 1);
			/* what the kernel has to refuse is still refused */
			CHECK(vmf_read(fd, (void *)8, 1) == -1 && errno == EFAULT);
			CHECK(vmf_read(-1, f.at + 50 * PAGE, 1) == -1 && errno == EBADF);
			CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
			CHECK_EQ(vmf_write(pair[0], f.at + 51 * PAGE, 100), 100);
			CHECK_EQ(vmf_read(pair[1], f.at + 52 * PAGE, 100), 100);
			CHECK(byte_is(&f, 51 * PAGE + 99, f.at[52 * PAGE + 99]));
			file_close(&r, &f);
			close(pair[0]);
			close(pair[1]);
			close(fd);
		}
	}
}

/* A page that is clean and write-protected is as absent, for read(2). */
static void into_clean_pages(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		int fd = temporary();
		struct file f;

		CHECK_EQ(pwrite(fd, "data", 4, 0), 4);
		file_open(&r, &f, VMF_SHARED);
		CHECK(byte_is(&f, 0, f.at[0]));
		CHECK_EQ(vmf_pread(fd, f.at, 4, 0), 4);
		CHECK_EQ(memcmp(f.at, "data", 4), 0);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK_EQ(memcmp(f.back.page[0], "data", 4), 0);
		file_close(&r, &f);
		close(fd);
	}
}

static bool has_pagemap(const struct rig *r)
{
	return vmf__linux_of(r->port)->pagemap >= 0 || vmf_linux_lacks(r->space) & VMF_LACKS_SHARED;
}

static void touch(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		int fd = temporary();
		struct file f;

		file_open(&r, &f, VMF_SHARED);
		CHECK_OK(vmf_touch(f.at + 5, 2 * PAGE, VMF_R)); /* three pages */
		CHECK_SOON(rig_stats(&r).faults == 3);
		CHECK_EQ(pwrite(fd, f.at, 3 * PAGE, 0), 3 * PAGE);
		CHECK_OK(vmf_touch(f.at, 3 * PAGE, VMF_R)); /* nothing to do */
		if (has_pagemap(&r))
			CHECK_EQ(rig_stats(&r).faults, 3);
		CHECK_OK(vmf_touch(f.at, 1, VMF_W));
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_DIRTY);
		if (!(vmf_linux_lacks(r.space) & VMF_LACKS_WP))
			CHECK_EQ(vmf_page_state(f.object, 1), VMF_PRESENT);
		CHECK_OK(vmf_touch(&r, sizeof(r), VMF_W)); /* not ours: skipped */
		CHECK_OK(vmf_touch(f.at, 0, VMF_W));
		CHECK_ERR(vmf_protect(r.space, (vmf_va)f.at, 1, VMF_R), 0);
		CHECK_RESULT(vmf_touch(f.at, PAGE, VMF_W), VMF_SIGSEGV, VMF_WHY_PROT);
		file_close(&r, &f);
		close(fd);
	}
}

/* EIO where the backing failed, and right again afterwards. */
static void failures(void)
{
	const unsigned kinds[] = { VMF_SHARED, 0 };
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			int fd = temporary();
			struct file f;

			file_open(&r, &f, kinds[k]);
			f.back.read.err = 71;
			f.back.read.first = 9;
			f.back.read.pages = 1;
			CHECK_RESULT(vmf_touch(f.at + 8 * PAGE, 2 * PAGE, VMF_R), VMF_SIGBUS, VMF_WHY_IOERR);
			CHECK(vmf_write(fd, f.at + 9 * PAGE, 10) == -1);
			CHECK_EQ(errno, EIO);
			CHECK_EQ(vmf_fault_why(f.at + 9 * PAGE).err, 71);
			CHECK(write(fd, f.at + 9 * PAGE, 10) == -1);
			CHECK_EQ(errno, EFAULT);
			f.back.read.pages = 0;
			CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
			/* whoever was told EFAULT is told why, once */
			if (sleeps(&r, kinds[k]) && (kinds[k] == VMF_SHARED || vmf_linux_lacks(r.space) & VMF_LACKS_POISON))
				CHECK_RESULT(vmf_touch(f.at + 9 * PAGE, 1, VMF_R), VMF_SIGBUS, VMF_WHY_IOERR);
			CHECK_EQ(vmf_write(fd, f.at + 9 * PAGE, 10), 10);
			CHECK_EQ(rig_load(f.at + 9 * PAGE, &c), 0);
			CHECK(byte_is(&f, 9 * PAGE, c));
			file_close(&r, &f);
			close(fd);
		}
	}
}

/* Without privilege system calls get EFAULT in threaded spaces too, and a space says so. */
static void as_nobody(void *arg)
{
	struct rig r;
	int fd[2];

	alarm(10);
	if (setgid(65534) || setuid(65534))
		_exit(77);
	if (vmf_linux_open(&r.port, NULL))
		_exit(78);
	vmf_linux_close(r.port);
	CHECK_EQ(pipe(fd), 0);
	BOTH_MODES(&r) {
		struct file f;
		ssize_t n;

		file_open(&r, &f, VMF_SHARED);
		n = write(fd[1], f.at, 10);
		CHECK_EQ(n, vmf_linux_syscalls(r.space) ? 10 : -1);
		CHECK_EQ(vmf_write(fd[1], f.at + PAGE, 10), 10);
		CHECK(byte_is(&f, 3 * PAGE, f.at[3 * PAGE]));
		f.at[4 * PAGE] = 1;
		*(bool *)arg = vmf_linux_syscalls(r.space);
		CHECK(!*(bool *)arg);
		file_close(&r, &f);
	}
}

static void unprivileged(void)
{
	int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY), status;
	char all = '0';
	bool served;

	CHECK(fd >= 0 && read(fd, &all, 1) == 1);
	close(fd);
	if (all != '0')
		vmtest_skip("vm.unprivileged_userfaultfd lets everyone have everything");
	if (getuid() == 0 && access("/dev/userfaultfd", F_OK) == 0) {
		/* the device, if open to all, gives it as well */
		status = rig_child(as_nobody, &served);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 78)
			vmtest_skip("no userfaultfd without privilege");
		CHECK_EQ(status, 0);
	} else {
		as_nobody(&served);
	}
}

static const struct vmtest tests[] = {
	VMTEST(what_a_space_says), VMTEST(wrappers), VMTEST(into_clean_pages), VMTEST(touch), VMTEST(failures),
	VMTEST(unprivileged),
};
VMTEST_MAIN(tests, 20)
