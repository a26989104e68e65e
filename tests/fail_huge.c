/* SPDX-License-Identifier: MIT
 *
 * Every system call that a window of 2 MiB pages makes fails in turn: mapped, filled whole, mapped anew in base pages,
 * protected, unmapped.  What is read is right or a signal, and never zeroes; it works when nothing fails any more, but
 * for a block that the kernel would not register again: that has no access until it is protected anew.
 */
#define FAILING_THIN 1u
#include "failcalls.h"
#include "hugepages.h"
#include "linuxrig.h"

#define HUGE ((size_t)2 << 20)
#define BLOCK 512u

static const struct failing_kind kinds[] = { CALL_KINDS };
static const unsigned listed[] = {
	UFFD_REGISTER, UFFD_UNREGISTER, UFFD_COPY, MMAP, MMAP_FIXED, MUNMAP, MPROTECT, DONTFORK,
};

static struct vmf_linux_space config = { .size = sizeof(config) };
static struct vmf_space *space;
static bool shut; /* the second block may be */

static char byte_of(uint64_t page) { return (char)(page % 101 + 1); }

/* The second block comes in base pages. */
static enum vmf_code nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	char *bytes;

	if (req->order && req->off >= BLOCK)
		return VMF_FALLBACK;
	if (vmf_frame_alloc(req->port, req->order, 0, false, &ans->frames[0])) {
		ans->why = VMF_WHY_RESOURCE;
		return VMF_RETRY;
	}
	bytes = vmf_frame_bytes(req->port, ans->frames[0]);
	for (size_t i = 0; i < (size_t)1 << req->order; i++)
		memset(bytes + i * PAGE, byte_of(req->off - (req->order ? req->off % BLOCK : 0) + i), PAGE);
	ans->n = 1;
	return VMF_OK;
}

static void refused(int err)
{
	if (!failing_hit() || (err == -VMF_EINVAL && failing.error != EINVAL))
		vmtest_fail("%d (%s)", err, vmf_err_str(err));
	failing_stop();
}

#define STEP(call) \
	do { \
		int err_; \
		failing_quiet(false); \
		err_ = (call); \
		failing_quiet(true); \
		if (err_) { \
			refused(err_); \
			err_ = (call); \
		} \
		CHECK_ERR(err_, 0); \
	} while (0)

/* Can it be shut for good?  Only where opening it again is what fails. */
static bool can_shut(void)
{
	return failing_hit() && (failing.kind == UFFD_REGISTER || failing.kind == MPROTECT || failing.kind == DONTFORK);
}

static void load(char *p, uint64_t page)
{
	int sig;
	char c;

	failing_quiet(false);
	sig = rig_load(p + page * PAGE, &c);
	failing_quiet(true);
	if (sig) {
		if (!failing_hit())
			vmtest_fail("page %u: signal %d", (unsigned)page, sig);
		CHECK(!failing_is(UFFD_COPY, ENOMEM) || vmf_fault_why(p + page * PAGE).code == VMF_OOM);
		failing_stop();
		sig = rig_load(p + page * PAGE, &c);
	}
	if (sig) {
		CHECK(page >= BLOCK && can_shut());
		CHECK_EQ(sig, SIGSEGV);
		shut = true;
		return;
	}
	CHECK_EQ(c, byte_of(page));
}

static void same(char *p)
{
	for (uint64_t page = 0; page < (shut ? BLOCK : 2 * BLOCK); page += 31)
		load(p, page);
}

static void scenario(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = nopage };
	const struct vmf_linux_config port_config = { .size = sizeof(port_config), .ram = 6 << 20 };
	struct vmf_map m = { .size = sizeof(m), .pages = 2 * BLOCK, .prot = VMF_R | VMF_W, .order = 9 };
	struct vmf_object *o;
	struct vmf_port *port;
	vmf_va at = 0;
	char c;

	shut = false;
	CHECK_ERR(vmf_linux_open(&port, &port_config), 0);
	CHECK_ERR(vmf_linux_space(port, &space, &config), 0);
	CHECK_ERR(vmf_object_create(port, &o, &ops, NULL, 2 * BLOCK), 0);
	STEP(vmf_map(space, o, &m, &at));
	load((char *)at, 5);
	load((char *)at, BLOCK + 7);
	same((char *)at);
	/* That opens what was shut: with the right bytes. */
	STEP(vmf_protect(space, at, 2 * BLOCK, VMF_R));
	shut = false;
	same((char *)at);
	STEP(vmf_unmap(space, at, 2 * BLOCK));
	failing_stop();
	CHECK_EQ(rig_load((char *)at, &c), SIGSEGV);
	vmf_object_put(o);
	vmf_linux_space_close(space);
	vmf_linux_close(port);
}

static void run(void)
{
	long free_before = hugepages_free() - hugepages_reserved();
	struct failcalls_state now, before = failcalls_state();

	scenario();
	now = failcalls_state();
	CHECK_EQ(now.fds, before.fds);
	CHECK_EQ(now.blocks, before.blocks);
	/* What the kernel would not unmap is left. */
	if (!failing_hit() || (failing.kind != MUNMAP && failing.kind != UFFD_UNREGISTER && failing.kind != MPROTECT))
		CHECK_EQ(hugepages_free() - hugepages_reserved(), free_before);
}

static void sweep(unsigned mode)
{
	config.mode = mode;
	for (unsigned i = 0; i < 3; i++)
		failing_run(run, 0, 0, 0, false);
	failing_sweep(run);
}

static void threaded(void) { sweep(VMF_THREADED); }
static void in_context(void) { sweep(VMF_IN_CONTEXT); }

static const struct vmtest tests[] = { VMTEST(threaded), VMTEST(in_context) };

static int all(int argc, char **argv)
{
	failing.kinds = kinds;
	failing.n = CALLS;
	failing.listed = listed;
	failing.nlisted = sizeof(listed) / sizeof(listed[0]);
	failing.error_name = call_error;
	failing.seconds = 30;
	failing_quiet(true);
	rig_catching();
	return failing_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}

int main(int argc, char **argv) { return hugepages_run(all, 8, argc, argv); }
