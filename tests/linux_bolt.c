/* SPDX-License-Identifier: MIT
 *
 * Bolts on Linux: pages that are locked in memory, within RLIMIT_MEMLOCK, as /proc says it.  Each case runs in a child
 * that has laid CAP_IPC_LOCK down and lowered its limit.
 */
#include <linux/capability.h>
#include <sys/resource.h>
#include "linuxrig.h"
#include "testback.h"

#define PAGES 8u
#define ONFAULT 1

enum kind { SHARED, COPY, RAW, KINDS };
static const char *const kind_name[] = { "shared", "private", "raw" };

static struct {
	struct rig rig;
	struct vmf_object *object;
	struct vmf_frame *frame[PAGES];
	vmf_pfn first; /* of the aperture */
	enum kind kind;
	uint8_t how[PAGES];
	_Atomic bool refuses;
	char *at;
} t;

static enum vmf_code bolt_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->why = VMF_WHY_POLICY;
	if (t.refuses)
		return VMF_SIGBUS;
	vmf_frame_get(t.frame[req->off]);
	ans->frames[0] = t.frame[req->off];
	ans->n = 1;
	ans->bolt = t.how[req->off];
	return VMF_OK;
}

static enum vmf_code bolt_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->why = VMF_WHY_POLICY;
	if (t.refuses)
		return VMF_SIGBUS;
	ans->pfn.n = t.first.n + req->off;
	ans->n = 1;
	ans->bolt = t.how[req->off];
	return VMF_OK;
}

static const struct vmf_ops bolt_ops[KINDS] = {
	[SHARED] = { .size = sizeof(struct vmf_ops), .nopage = bolt_nopage },
	[COPY] = { .size = sizeof(struct vmf_ops), .nopage = bolt_nopage },
	[RAW] = { .size = sizeof(struct vmf_ops), .nopfn = bolt_nopfn },
};

/* ------------------------------------------------------------------------------------------- what /proc says */

static unsigned long status_kb(const char *what)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kb = 0;
	char line[256];
	size_t n = strlen(what);

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, what, n))
			kb = strtoul(line + n, NULL, 10);
	fclose(f);
	return kb;
}

static unsigned locked_pages(void) { return (unsigned)(status_kb("VmLck:") / 4); }

/* Of the mapping that the page is in: is it locked, and are bytes of it? */
static bool locked_at(const char *p, bool *bytes)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, lo = false;
	unsigned long from, to;
	char line[512];

	CHECK(f);
	*bytes = false;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (here && !strncmp(line, "Locked:", 7))
			*bytes = strtoul(line + 7, NULL, 10) != 0;
		else if (here && !strncmp(line, "VmFlags:", 8))
			lo = strstr(line, " lo") != NULL;
	fclose(f);
	return lo;
}

static bool locked(unsigned i)
{
	bool bytes, lo = locked_at(t.at + i * PAGE, &bytes);

	CHECK_EQ(lo, bytes); /* it is entered */
	return lo;
}

/* ------------------------------------------------------------------------------------------------- set-up */

/* So many pages and no more, whoever we are.  => before there are threads */
static void confine(unsigned pages)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	struct rlimit limit = { pages * PAGE, pages * PAGE };

	CHECK(!syscall(SYS_capget, &head, caps));
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	caps[0].permitted &= ~(1u << CAP_IPC_LOCK);
	CHECK(!syscall(SYS_capset, &head, caps));
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
}

static void device_open(unsigned mode, enum kind kind)
{
	int fd;

	memset(&t, 0, sizeof(t));
	t.kind = kind;
	rig_catching();
	rig_open(&t.rig, mode);
	CHECK_ERR(vmf_object_create(t.rig.port, &t.object, &bolt_ops[kind], NULL, PAGES), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		t.frame[i] = vmf_frame_at(t.object, i);
		CHECK(t.frame[i]);
		memset(vmf_frame_bytes(t.rig.port, t.frame[i]), 100 + (int)i, PAGE);
	}
	fd = memfd_create("aperture", MFD_CLOEXEC);
	CHECK(fd >= 0 && !ftruncate(fd, PAGES * PAGE));
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(pwrite(fd, &(char){ (char)(100 + i) }, 1, i * PAGE), 1);
	CHECK_ERR(vmf_linux_aperture(t.rig.port, fd, 0, PAGES, &t.first), 0);
	close(fd);
}

static int device_map(unsigned action, uint64_t pages)
{
	struct vmf_map m = { .size = sizeof(m), .flags = t.kind == COPY ? 0 : VMF_SHARED, .pages = pages,
			     .prot = VMF_R | VMF_W, .action = (uint8_t)action };
	vmf_va at;
	int err = vmf_map(t.rig.space, t.object, &m, &at);

	if (!err)
		t.at = (char *)at;
	return err;
}

static void device_close(void)
{
	CHECK_ERR(vmf_unmap(t.rig.space, (vmf_va)t.at, PAGES), 0);
	CHECK_EQ(locked_pages(), 0);
	for (unsigned i = 0; i < PAGES; i++)
		vmf_frame_put(t.rig.port, t.frame[i]);
	vmf_object_put(t.object);
	rig_close(&t.rig);
}

/* 0, or the signal. */
static int touch(unsigned i)
{
	char c;
	int sig = rig_load(t.at + i * PAGE, &c);

	CHECK(sig || c == (char)(100 + i));
	return sig;
}

static void touches(unsigned i) { CHECK_EQ(touch(i), 0); }

/* It says BOLTS, and later works. */
static void refused(unsigned i)
{
	CHECK_EQ(touch(i), SIGBUS);
	CHECK_RESULT(vmf_fault_why(t.at + i * PAGE), VMF_SIGBUS, VMF_WHY_BOLTS);
}

struct how { unsigned mode; enum kind kind; unsigned limit; void (*run)(void); };

static void run_one(void *arg)
{
	const struct how *how = arg;

	signal(SIGALRM, SIG_DFL);
	alarm(vmtest_seconds(20));
	confine(how->limit);
	device_open(how->mode, how->kind);
	how->run();
	device_close();
}

static void each(unsigned limit, void (*run)(void))
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++)
		for (enum kind kind = SHARED; kind < KINDS; kind++) {
			struct how how = { mode, kind, limit, run };
			static char with[64];

			snprintf(with, sizeof(with), "%s, %s", rig_mode_name[mode], kind_name[kind]);
			vmtest_with = with;
			CHECK_EQ(rig_child(run_one, &how), 0);
		}
}

/* ------------------------------------------------------------------------------------------ at fault time */

static void at_fault_time_(void)
{
	struct vmf_window w = VMF_INIT(struct vmf_window);
	struct vmf_area *a;

	CHECK_ERR(device_map(VMF_LAZY, PAGES), 0);
	a = vmf_area_find(t.rig.space, (vmf_va)t.at);
	vmf_area_window(a, &w);
	vmf_area_put(a);
	CHECK(w.resident && !w.bolts);
	t.how[2] = VMF_BOLT_MUST;
	t.how[4] = VMF_BOLT_TRY;
	for (unsigned i = 0; i < 6; i++)
		touches(i);
	CHECK_EQ(locked_pages(), 2);
	CHECK(locked(2) && locked(4) && !locked(1) && !locked(3));
	CHECK_EQ(rig_stats(&t.rig).bolted, 2);
	CHECK(madvise(t.at + 2 * PAGE, PAGE, MADV_DONTNEED) && errno == EINVAL);
	CHECK_ERR(vmf_unmap(t.rig.space, (vmf_va)t.at + PAGE, 1), 0);
	CHECK_ERR(vmf_unmap(t.rig.space, (vmf_va)t.at + 4 * PAGE, 1), 0);
	CHECK_EQ(locked_pages(), 1);
	CHECK(locked(2) && !touch(2));
}

static void at_fault_time(void) { each(4, at_fault_time_); }

static void within_the_limit_(void)
{
	CHECK_ERR(device_map(VMF_LAZY, PAGES), 0);
	memset(t.how, VMF_BOLT_MUST, PAGES);
	t.how[2] = VMF_BOLT_TRY;
	touches(0);
	touches(1);
	touches(2);
	CHECK_EQ(locked_pages(), 2);
	CHECK(locked(0) && locked(1) && !locked(2));
	refused(3);
	refused(3);
	CHECK_EQ(rig_stats(&t.rig).bolted, 2);
	CHECK_ERR(vmf_unmap(t.rig.space, (vmf_va)t.at, 1), 0);
	touches(3);
	CHECK(locked(3) && locked(1));
	CHECK_EQ(locked_pages(), 2);
}

static void within_the_limit(void) { each(2, within_the_limit_); }

static void with_no_limit_at_all_(void)
{
	CHECK_ERR(device_map(VMF_LAZY, PAGES), 0);
	t.how[0] = VMF_BOLT_MUST;
	t.how[1] = VMF_BOLT_TRY;
	refused(0);
	touches(1);
	CHECK_EQ(locked_pages(), 0);
	CHECK_EQ(device_map(VMF_BOLT, 1), -VMF_ENOSPC);
}

static void where_nothing_may_be_locked(void) { each(0, with_no_limit_at_all_); }

/* Who has CAP_IPC_LOCK is not limited: so it is the capability that the cases above have laid down. */
static void privileged_(void *arg)
{
	struct rlimit none = { 0, 0 };

	(void)arg;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &none));
	device_open(VMF_THREADED, SHARED);
	CHECK_ERR(device_map(VMF_LAZY, PAGES), 0);
	t.how[0] = VMF_BOLT_MUST;
	touches(0);
	CHECK(locked(0));
	device_close();
}

static void privileged(void)
{
	if (!vmtest_lacks(geteuid() != 0, "not root"))
		CHECK_EQ(rig_child(privileged_, NULL), 0);
}

/* What the application has locked itself stays. */
static void a_revoke_gives_them_back_(void)
{
	CHECK_ERR(device_map(VMF_LAZY, PAGES), 0);
	t.how[1] = t.how[3] = VMF_BOLT_MUST;
	for (unsigned i = 0; i < PAGES; i++)
		touches(i);
	CHECK(!syscall(SYS_mlock2, t.at + 2 * PAGE, PAGE, ONFAULT));
	CHECK_EQ(locked_pages(), 3);
	CHECK_ERR(vmf_revoke(t.object, 0, PAGES), 0);
	if (t.kind == COPY) { /* bytes that were given away are not taken back */
		CHECK(locked(1) && locked(2) && locked(3));
		return;
	}
	CHECK_EQ(locked_pages(), t.kind == RAW ? 0 : 1); /* raw: a new mapping */
	t.how[1] = VMF_UNBOLTED;
	touches(1);
	CHECK(!locked(1));
	touches(2);
	touches(3);
	CHECK(locked(3) && locked(2) == (t.kind == SHARED));
	CHECK_EQ(rig_stats(&t.rig).bolted, 3);
}

static void a_revoke_gives_them_back(void) { each(4, a_revoke_gives_them_back_); }

/* Where what is shown is a mapping, it is made anew: the lock comes along. */
static void a_protect_keeps_them_(void)
{
	CHECK_ERR(device_map(VMF_LAZY, PAGES), 0);
	t.how[1] = VMF_BOLT_MUST;
	touches(1);
	CHECK_ERR(vmf_protect(t.rig.space, (vmf_va)t.at, PAGES, VMF_R), 0);
	CHECK_ERR(vmf_protect(t.rig.space, (vmf_va)t.at, PAGES, VMF_R | VMF_W), 0);
	CHECK_EQ(rig_store(t.at + PAGE, (char)101), 0);
	CHECK(locked(1));
	CHECK_EQ(locked_pages(), 1);
	CHECK_EQ(rig_stats(&t.rig).bolted, 1);
}

static void a_protect_keeps_them(void) { each(2, a_protect_keeps_them_); }

/* ------------------------------------------------------------------------------------------- at map time */

/* The byte, as a system call finds it. */
static char read_by_kernel(const char *p)
{
	int fd[2];
	char c = 0;

	CHECK(!pipe(fd));
	if (write(fd[1], p, 1) == 1)
		CHECK_EQ(read(fd[0], &c, 1), 1);
	close(fd[0]);
	close(fd[1]);
	return c;
}

static void at_map_time_(void)
{
	struct vmf_window w = VMF_INIT(struct vmf_window);
	struct vmf_area *a;

	CHECK_ERR(device_map(VMF_BOLT, 4), -VMF_ENOSPC);
	CHECK_EQ(locked_pages(), 0);
	CHECK_ERR(device_map(VMF_BOLT, 3), 0);
	a = vmf_area_find(t.rig.space, (vmf_va)t.at);
	vmf_area_window(a, &w);
	vmf_area_put(a);
	CHECK(w.resident && w.bolts == 3);
	CHECK_EQ(locked_pages(), 3);
	CHECK(locked(0) && locked(1) && locked(2));
	CHECK_ERR(vmf_unmap(t.rig.space, (vmf_va)t.at, 1), 0);
	CHECK_EQ(locked_pages(), 2);
	CHECK_ERR(vmf_revoke(t.object, 0, PAGES), 0);
	if (t.kind != COPY) { /* poison goes from a page that is locked, too */
		t.refuses = true;
		CHECK_EQ(touch(1), SIGBUS);
		t.refuses = false;
		if (t.kind == SHARED && vmf_linux_syscalls(t.rig.space))
			CHECK_EQ(read_by_kernel(t.at + PAGE), (char)101);
	}
	touches(1);
	touches(2);
	CHECK(locked(1) && locked(2));
	CHECK_EQ(rig_stats(&t.rig).bolted, 0);
}

static void at_map_time(void) { each(3, at_map_time_); }

static bool same(struct testback *b, unsigned i, const char *at)
{
	char page[PAGE];

	memcpy(page, at, PAGE);
	return testback_same(b, i * PAGE, page, PAGE);
}

/* The pages of a file: those that are bolted stay when the others go. */
static void reclaim_(void *arg)
{
	struct testback b;
	struct vmf_object *o;
	struct rig r;
	struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = 2, .off = 3, .prot = VMF_R,
			     .action = VMF_BOLT };
	bool bytes;
	char *all;
	vmf_va at;

	signal(SIGALRM, SIG_DFL);
	alarm(vmtest_seconds(20));
	confine(2);
	rig_catching();
	rig_open(&r, *(unsigned *)arg);
	testback_open(&b, r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
	o = testback_object(&b, NULL);
	CHECK_ERR(vmf_map(r.space, o, &m, &at), 0);
	all = rig_map(&r, o, VMF_SHARED, PAGES, VMF_R);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(same(&b, i, all + i * PAGE), true);
	CHECK_EQ(vmf_reclaim(o, 0, PAGES), PAGES - 2);
	CHECK(locked_at((char *)at, &bytes) && bytes);
	CHECK_EQ(testback_count(&b, &b.pages_read), PAGES);
	CHECK(same(&b, 3, (char *)at) && same(&b, 4, (char *)at + PAGE));
	CHECK_EQ(testback_count(&b, &b.pages_read), PAGES);
	rig_unmap(&r, (char *)at, 2);
	CHECK_EQ(vmf_reclaim(o, 0, PAGES), 2);
	rig_unmap(&r, all, PAGES);
	vmf_object_put(o);
	RIG_BACKING_CLOSE(&b);
	rig_close(&r);
}

static void reclaim(void)
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		vmtest_with = rig_mode_name[mode];
		if (!rig_lacks(mode, VMF_LACKS_SHARED))
			CHECK_EQ(rig_child(reclaim_, &mode), 0);
	}
}

/* ---------------------------------------------------------------------------------------------- children */

static void fork_child(void *arg)
{
	(void)arg;
	if (locked_pages())
		_exit(1);
}

static void in_a_child_nothing_is_(void)
{
	CHECK_ERR(device_map(VMF_LAZY, PAGES), 0);
	t.how[1] = VMF_BOLT_MUST;
	touches(1);
	CHECK_EQ(rig_child(fork_child, NULL), 0);
	CHECK_EQ(rig_store(t.at + PAGE, (char)101), 0); /* private: a copy, by the kernel */
	CHECK(locked(1));
}

static void in_a_child_nothing_is(void) { each(1, in_a_child_nothing_is_); }

static const struct vmtest tests[] = {
	VMTEST(at_fault_time), VMTEST(within_the_limit), VMTEST(where_nothing_may_be_locked), VMTEST(privileged),
	VMTEST(a_revoke_gives_them_back), VMTEST(a_protect_keeps_them), VMTEST(at_map_time), VMTEST(reclaim),
	VMTEST(in_a_child_nothing_is),
};
VMTEST_MAIN(tests, 40)
