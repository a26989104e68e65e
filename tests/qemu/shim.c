/* SPDX-License-Identifier: MIT
 *
 * shim: makes a client of a page server out of a VMM that knows nothing of userfaultfd.
 *
 *	SHIM_FILE=guest-memory SHIM_SOCKET=server.sock LD_PRELOAD=libshim.so qemu-system-x86_64 ...
 *
 * The first writable mapping of SHIM_FILE is registered with a userfaultfd, which goes to the server with the message
 * that Firecracker sends.  As Firecracker, the process keeps the descriptor (if the last one were closed, absent
 * pages would read as zeroes) and the socket (its end of file says that the process is gone).
 *
 * The file has to be absent pages all over (new, of its size), and QEMU's one thread at that time makes no use of the
 * mapping before mmap() returns.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Newer than the headers of Debian 12. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define SHIM_EXPORT __attribute__((visibility("default")))

/* There is nobody to return an error to: QEMU would go on with memory that reads as zeroes. */
static _Noreturn void die(const char *what)
{
	fprintf(stderr, "shim: %s: %s\n", what, strerror(errno));
	_exit(9);
}

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	if (!value || !*value) {
		errno = EINVAL;
		die(name);
	}
	return value;
}

/* The device needs its permission, the system call a capability or a sysctl; faults of user mode alone are always
 * allowed, and enough for a QEMU that emulates the CPU and does no I/O into guest memory. */
static int uffd_open(void)
{
	int flags = O_CLOEXEC | O_NONBLOCK, fd = -1;
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
		close(dev);
	}
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, flags);
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		die("userfaultfd");
	return fd;
}

static int uffd_register(void *at, size_t bytes)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_MISSING_SHMEM,
	};
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)at, .len = bytes },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = uffd_open();

	if (ioctl(fd, UFFDIO_API, &api))
		die("UFFDIO_API");
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		die("UFFDIO_REGISTER");
	return fd;
}

static int server_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die(path);
	return fd;
}

/* One region that starts at offset 0 of the memory file; both page sizes are in bytes, whatever their names say. */
static void handshake(int sock, int uffd, const void *at, size_t bytes)
{
	char text[256];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec body = { .iov_base = text };
	struct msghdr msg = {
		.msg_iov = &body,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	long page = sysconf(_SC_PAGESIZE);

	body.iov_len = (size_t)snprintf(text, sizeof(text),
		"[{\"base_host_virt_addr\":%ju,\"size\":%zu,\"offset\":0,\"page_size\":%ld,\"page_size_kib\":%ld}]",
		(uintmax_t)(uintptr_t)at, bytes, page, page);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &uffd, sizeof(int));
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) != (ssize_t)body.iov_len)
		die("sendmsg");
}

static void *map(void *at, size_t bytes, int prot, int flags, int fd, off_t off)
{
	return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, off);
}

/* With huge pages in shared memory, MISSING can expose 4 KiB pages that nobody has filled. */
static void *map_served(void *at, size_t bytes, int prot, int flags, int fd, off_t off)
{
	void *got;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		die("PR_SET_THP_DISABLE");
	/* Without access until it is registered: between the two, a touch would make a page of zeroes. */
	got = map(at, bytes, PROT_NONE, flags, fd, off);
	if (got == MAP_FAILED)
		return got;
	handshake(server_connect(setting("SHIM_SOCKET")), uffd_register(got, bytes), got, bytes);
	if (mprotect(got, bytes, prot))
		die("mprotect");
	fprintf(stderr, "shim: %zu bytes at %p handed over\n", bytes, got);
	return got;
}

static int is_guest_memory(int fd)
{
	struct stat mine, wanted;

	if (fd < 0 || fstat(fd, &mine) || stat(setting("SHIM_FILE"), &wanted))
		return 0;
	return mine.st_ino == wanted.st_ino && mine.st_dev == wanted.st_dev;
}

SHIM_EXPORT void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t off)
{
	static int served;

	if (served || !(prot & PROT_WRITE) || !is_guest_memory(fd))
		return map(at, bytes, prot, flags, fd, off);
	served = 1;
	return map_served(at, bytes, prot, flags, fd, off);
}

#undef mmap64
SHIM_EXPORT void *mmap64(void *, size_t, int, int, int, off_t) __attribute__((alias("mmap")));
