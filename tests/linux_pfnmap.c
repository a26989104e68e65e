/* SPDX-License-Identifier: MIT
 *
 * What can be done to a mapping of device memory, after the cases that the kernel tests its VM_PFNMAP mappings with:
 * madvise, munmap, mremap, fork.  A memfd stands in for the device, so the kernel allows more than it does there; what
 * it allows and we cannot see is said as such.
 */
#include <stdio.h>
#include <sys/utsname.h>
#include "linuxrig.h"

#define PAGES 4u

struct device {
	struct vmf_object *object;
	vmf_pfn first;
	atomic_uint asked;
	char *at;
};

static enum vmf_code device_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct device *d = req->object_priv;

	d->asked++;
	ans->pfn.n = d->first.n + req->off;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops device_ops = { .size = sizeof(device_ops), .nopfn = device_nopfn };

static void device_open_as(struct rig *r, struct device *d, const struct vmf_ops *ops)
{
	int fd = memfd_create("aperture", MFD_CLOEXEC);

	memset(d, 0, sizeof(*d));
	CHECK(fd >= 0 && ftruncate(fd, PAGES * PAGE) == 0);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(pwrite(fd, &(char){ (char)('a' + i) }, 1, i * PAGE), 1);
	CHECK_ERR(vmf_linux_aperture(r->port, fd, 0, PAGES, &d->first), 0);
	CHECK_ERR(vmf_object_create(r->port, &d->object, ops, d, PAGES), 0);
	d->at = rig_map(r, d->object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	close(fd);
}

static void device_open(struct rig *r, struct device *d) { device_open_as(r, d, &device_ops); }

static int byte(const struct device *d, unsigned page)
{
	char c = 0;
	int sig = rig_load(d->at + page * PAGE, &c);

	return sig ? -sig : c;
}

static bool all_there(const struct device *d, unsigned from, unsigned to)
{
	bool all = true;

	for (unsigned i = from; i < to; i++)
		all &= byte(d, i) == (int)('a' + i);
	return all;
}

/* ------------------------------------------------------------------------------------------------ madvise */

/* The kernel refuses all of these for a device; whatever it does here, the pages are what they were. */
static void madvise_changes_nothing(void)
{
	static const int advices[] = { MADV_DONTNEED, MADV_FREE, MADV_WIPEONFORK, MADV_COLD, MADV_PAGEOUT,
				       22 /* POPULATE_READ */, 23 /* POPULATE_WRITE */, 24 /* DONTNEED_LOCKED */ };
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;

		device_open(&r, &d);
		CHECK(all_there(&d, 0, 2));
		for (unsigned i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
			int err = madvise(d.at, PAGE, advices[i]) ? errno : 0;

			CHECK(!err || err == EINVAL);
			CHECK_EQ(madvise(d.at, 3 * PAGE, advices[i]) && errno != EINVAL && errno != EFAULT, 0);
			CHECK(all_there(&d, 0, 2));
			CHECK_EQ(d.asked, 2);
		}
		CHECK(all_there(&d, 2, PAGES));
		CHECK_EQ(d.asked, PAGES);
		vmf_object_put(d.object);
	}
}

/* ------------------------------------------------------------------------------------------------ unmapping */

static void unmap_splits(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED | VMF_FIXED, .pages = 1, .prot = VMF_R };
		struct device d;

		device_open(&r, &d);
		CHECK(all_there(&d, 0, PAGES));
		rig_unmap(&r, d.at, 1);
		CHECK_EQ(byte(&d, 0), -SIGSEGV);
		CHECK(all_there(&d, 1, PAGES));
		rig_unmap(&r, d.at + 2 * PAGE, 1);
		CHECK_EQ(byte(&d, 2), -SIGSEGV);
		CHECK(all_there(&d, 1, 2) && all_there(&d, 3, PAGES));
		CHECK_EQ(d.asked, PAGES);
		m.va = (vmf_va)d.at;
		CHECK_ERR(vmf_map(r.space, d.object, &m, NULL), 0);
		CHECK(all_there(&d, 0, 2));
		CHECK_EQ(rig_store(d.at, 'x'), SIGSEGV);
		vmf_object_put(d.object);
	}
}

/* Does the kernel say what is mapped where? */
static bool can_look(void)
{
	unsigned version[2] = { 0, 0 };
	struct utsname u;

	CHECK_EQ(uname(&u), 0);
	CHECK_EQ(sscanf(u.release, "%u.%u", &version[0], &version[1]), 2);
	return version[0] > 6 || (version[0] == 6 && version[1] >= 11);
}

static char *somebodys(char *at)
{
	char *p = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	CHECK(p == at);
	memset(p, 's', PAGE);
	return p;
}

/* Nobody tells us; but what lies there now is not ours to take. */
static void the_applications_own_munmap(void)
{
	struct rig r;

	rig_catching();
	if (vmtest_lacks(!can_look(), "before Linux 6.11 the kernel does not say what is mapped where"))
		return;
	BOTH_MODES(&r) {
		struct device d;
		char *p;

		device_open(&r, &d);
		CHECK(all_there(&d, 0, PAGES));
		CHECK_EQ(munmap(d.at + PAGE, PAGE), 0);
		CHECK_EQ(byte(&d, 1), -SIGSEGV);
		CHECK(all_there(&d, 0, 1) && all_there(&d, 2, PAGES));
		p = somebodys(d.at + PAGE);
		CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
		CHECK_EQ(p[100], 's');
		CHECK(all_there(&d, 0, 1) && all_there(&d, 2, PAGES));
		CHECK_EQ(d.asked, 2 * PAGES - 1);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)d.at, PAGES, VMF_R), 0);
		p[100] = 't';
		CHECK(all_there(&d, 0, 1) && all_there(&d, 2, PAGES));
		rig_unmap(&r, d.at, PAGES);
		CHECK_EQ(p[100], 't');
		CHECK_EQ(byte(&d, 0), -SIGSEGV);
		CHECK_EQ(byte(&d, 2), -SIGSEGV);
		CHECK_EQ(munmap(p, PAGE), 0);
		vmf_object_put(d.object);
	}
}

static enum vmf_code device_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct device *d = req->object_priv;
	struct vmf_result r = vmf_install_pfns(req, 0, d->first, PAGES, (struct vmf_attr){ 0 }, VMF_R | VMF_W);

	(void)ans;
	d->asked++;
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

/* Nor is it for what a driver enters beside the page that is asked for, or vmf_touch(). */
static void nothing_is_mapped_over_it(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = device_fault };
	struct rig r;

	rig_catching();
	if (vmtest_lacks(!can_look(), "before Linux 6.11 the kernel does not say what is mapped where"))
		return;
	BOTH_MODES(&r) {
		struct device d;
		char *p;

		device_open_as(&r, &d, &ops);
		CHECK_EQ(munmap(d.at + PAGE, PAGE), 0);
		p = somebodys(d.at + PAGE);
		CHECK(all_there(&d, 0, 1));
		CHECK_EQ(p[0], 's');
		CHECK(vmf_touch(p, 1, VMF_R).code != VMF_OK);
		CHECK_EQ(p[0], 's');
		CHECK(all_there(&d, 2, PAGES));
		CHECK_EQ(p[0], 's');
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)d.at, PAGES), 0);
		CHECK_EQ(p[0], 's');
		CHECK_EQ(munmap(p, PAGE), 0);
		vmf_object_put(d.object);
	}
}

static void a_window_that_was_unmapped_whole(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;

		device_open(&r, &d);
		CHECK(all_there(&d, 0, PAGES));
		CHECK_EQ(munmap(d.at, PAGES * PAGE), 0);
		if (can_look())
			CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
		CHECK_EQ(byte(&d, 0), -SIGSEGV);
		rig_unmap(&r, d.at, PAGES);
		CHECK_EQ(byte(&d, 0), -SIGSEGV);
		vmf_object_put(d.object);
	}
}

/* -------------------------------------------------------------------------------------------------- mremap */

/* A page that the application moves is out of our reach, and shows the device as long as the application likes: that a
 * revoke takes it away there cannot be had.  Its old place is nobody's. */
static void mremap_moves_it_out_of_reach(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		char *to = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), c;
		struct device d;

		CHECK(to != MAP_FAILED);
		device_open(&r, &d);
		CHECK(all_there(&d, 0, PAGES));
		CHECK(mremap(d.at + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		CHECK_EQ(*to, 'b');
		CHECK_EQ(byte(&d, 1), -SIGSEGV);
		CHECK(all_there(&d, 0, 1) && all_there(&d, 2, PAGES));
		if (can_look()) {
			CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
			CHECK_EQ(byte(&d, 1), -SIGSEGV);
			CHECK(all_there(&d, 0, 1) && all_there(&d, 2, PAGES));
		}
		printf("# case %s %s: cannot: a revoke does not reach %c\n", vmtest_case, vmtest_with, *to);
		rig_unmap(&r, d.at, PAGES);
		CHECK_EQ(rig_load(to, &c), 0);
		CHECK_EQ(munmap(to, PAGE), 0);
		vmf_object_put(d.object);
	}
}

static void mremap_shrinks(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;

		device_open(&r, &d);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)d.at, PAGES), 0);
		d.at = rig_map_as(&r, d.object, (struct vmf_map){ .flags = VMF_SHARED, .pages = PAGES, .prot = VMF_R,
								   .action = VMF_RAW, .raw = d.first });
		CHECK(all_there(&d, 0, PAGES)); /* one mapping */
		CHECK(mremap(d.at, PAGES * PAGE, 2 * PAGE, 0) == d.at);
		CHECK(all_there(&d, 0, 2));
		CHECK_EQ(byte(&d, 2), -SIGSEGV);
		CHECK_EQ(byte(&d, 3), -SIGSEGV);
		rig_unmap(&r, d.at, PAGES);
		CHECK_EQ(byte(&d, 0), -SIGSEGV);
		vmf_object_put(d.object);
	}
}

/* Over its neighbour it cannot grow, and several mappings are not one. */
static void mremap_does_not_expand(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;

		device_open(&r, &d);
		CHECK(all_there(&d, 0, 1));
		CHECK(mremap(d.at, PAGE, 2 * PAGE, 0) == MAP_FAILED && errno == ENOMEM);
		CHECK(mremap(d.at, 2 * PAGE, 3 * PAGE, 0) == MAP_FAILED && errno == EFAULT);
		CHECK(all_there(&d, 0, PAGES));
		CHECK_EQ(d.asked, PAGES);
		vmf_object_put(d.object);
	}
}

/* --------------------------------------------------------------------------------------------------- fork */

/* A device is not inherited: what the parent revokes must not be shown anywhere. */
static void a_child_has_none_of_it(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;
		int status;
		pid_t pid;

		device_open(&r, &d);
		CHECK(all_there(&d, 0, 2));
		fflush(NULL);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			_exit(byte(&d, 0) == -SIGSEGV && byte(&d, 3) == -SIGSEGV ? 0 : 1);
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK_EQ(status, 0);
		CHECK(all_there(&d, 0, PAGES));
		vmf_object_put(d.object);
	}
}

static struct { struct device d; _Atomic bool stop; } storm;

static void *enters_and_revokes(void *self)
{
	while (!storm.stop) {
		CHECK(all_there(&storm.d, 0, PAGES));
		CHECK_ERR(vmf_revoke(storm.d.object, 0, PAGES), 0);
	}
	return self;
}

static void child_looks(void *self)
{
	(void)self;
	for (unsigned i = 0; i < PAGES; i++)
		if (byte(&storm.d, i) > 0)
			_exit(1);
}

/* ... at any time: there is no moment between the mapping of a page and its being withheld. */
static void a_child_has_none_while_it_is_entered(void)
{
	pthread_t thread;
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		device_open(&r, &storm.d);
		storm.stop = false;
		CHECK(!pthread_create(&thread, NULL, enters_and_revokes, NULL));
		for (unsigned i = 0; i < 300; i++)
			CHECK_EQ(rig_child(child_looks, NULL), 0);
		storm.stop = true;
		CHECK(!pthread_join(thread, NULL));
		vmf_object_put(storm.d.object);
	}
}

static const struct vmtest tests[] = {
	VMTEST(madvise_changes_nothing),
	VMTEST(unmap_splits),
	VMTEST(the_applications_own_munmap),
	VMTEST(nothing_is_mapped_over_it),
	VMTEST(a_window_that_was_unmapped_whole),
	VMTEST(mremap_moves_it_out_of_reach),
	VMTEST(mremap_shrinks),
	VMTEST(mremap_does_not_expand),
	VMTEST(a_child_has_none_of_it),
	VMTEST(a_child_has_none_while_it_is_entered),
};
VMTEST_MAIN(tests, 30)
