/* SPDX-License-Identifier: MIT
 *
 * Single failures of the Linux port that need a situation of their own, which the sweeps (fail_linux.c) do not come by.
 */
#include "failcalls.h"
#include "linuxrig.h"
#include "ports/linux/local.h"
#include "testback.h"

#define PAGES 8u

static const struct failing_kind kinds[] = { CALL_KINDS };
static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

/* From its n-th call on, or then once. */
static void fail(unsigned kind, uint32_t at, int error, bool always)
{
	atomic_store(&failing.on, false);
	atomic_store(&failing.calls[kind], 0);
	atomic_store(&failing.hits, 0);
	failing.kind = kind;
	failing.at = at;
	failing.last = UINT32_MAX;
	failing.error = error;
	failing.always = always;
	atomic_store(&failing.on, true);
}

static struct vmf_object *object(struct rig *r, const struct vmf_ops *ops, void *priv)
{
	struct vmf_object *o;

	CHECK_ERR(vmf_object_create(r->port, &o, ops, priv, PAGES), 0);
	return o;
}

/* ------------------------------------------------------------------------- bytes that were given away */

static int take(struct rig *r, const char *at, char *page)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);

	return pmap->ops->take(pmap, (vmf_va)at, page);
}

static bool pagemap_known(struct rig *r)
{
	return !vmtest_lacks(vmf__linux_of(r->port)->pagemap < 0, "nobody says what is there (pagemap)");
}

/* There, though in no frame: what asks reads it, and does not take the object's bytes in its place. */
static void swapped_is_there(void)
{
	char page[PAGE], c;
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = object(&r, &zero_ops, NULL);
		char *at = rig_map(&r, o, 0, PAGES, VMF_R | VMF_W);

		at[PAGE + 7] = 'x';
		if (pagemap_known(&r)) {
			fail(PAGEMAP, 1, SWAPPED, true);
			CHECK_ERR(take(&r, at + PAGE, page), 0);
			CHECK(page[7] == 'x');
			CHECK_EQ(vmf_peek(r.space, (vmf_va)at + PAGE + 7, &c, 1), 1);
			CHECK(c == 'x');
			CHECK_EQ(vmf_poke(r.space, (vmf_va)at + PAGE + 8, "y", 1), 1);
			CHECK(failing_hit());
			CHECK_ERR(take(&r, at, page), -VMF_EFAULT);
			failing_stop();
			CHECK(at[PAGE + 8] == 'y' && at[PAGE + 7] == 'x');
		}
		rig_unmap(&r, at, PAGES);
		vmf_object_put(o);
	}
}

/* Whatever fails: it is not "absent". */
static void nobody_can_say(void)
{
	static const struct { unsigned kind; int error; } t[] = {
		{ PAGEMAP, EIO }, { PAGEMAP, PART }, { FILE_OPEN, EMFILE }, { FILE_OPEN, ENOENT },
	};
	char page[PAGE];
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = object(&r, &zero_ops, NULL);
		char *at = rig_map(&r, o, 0, PAGES, VMF_R | VMF_W);

		at[PAGE] = 'x';
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]) && pagemap_known(&r); i++) {
			int err;

			if (t[i].kind == FILE_OPEN && vmf_linux_lacks(r.space) & RIG_TRAPS)
				continue; /* whose bytes are in a file that is open */
			fail(t[i].kind, 1, t[i].error, true);
			err = take(&r, at + PAGE, page);
			CHECK(failing_hit());
			CHECK(err == 0 ? page[0] == 'x' : err != -VMF_EFAULT);
			failing_stop();
			CHECK_EQ(vmf_peek(r.space, (vmf_va)at + PAGE, page, 1), 1);
		}
		rig_unmap(&r, at, PAGES);
		vmf_object_put(o);
	}
}

static void no_access_is_there(void)
{
	char page[PAGE];
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = object(&r, &zero_ops, NULL);
		char *at = rig_map(&r, o, 0, PAGES, VMF_R | VMF_W);

		at[PAGE] = 'x';
		CHECK_ERR(vmf_protect(r.space, (vmf_va)at, PAGES, 0), 0);
		if (pagemap_known(&r)) {
			CHECK_ERR(take(&r, at + PAGE, page), 0);
			CHECK(page[0] == 'x');
			CHECK_ERR(take(&r, at, page), -VMF_EFAULT);
		}
		rig_unmap(&r, at, PAGES);
		vmf_object_put(o);
	}
}

static enum vmf_code broken(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req, (void)ans;
	return VMF_SIGBUS;
}

/* Poison stands where there was nothing. */
static void poisoned_is_not(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = broken };
	char page[PAGE], c;
	struct rig r;

	BOTH_MODES(&r) {
		struct vmf_object *o = object(&r, &ops, NULL);
		char *at = rig_map(&r, o, 0, PAGES, VMF_R | VMF_W);

		CHECK_EQ(rig_load(at, &c), SIGBUS);
		if (pagemap_known(&r)) {
			CHECK_ERR(take(&r, at, page), -VMF_EFAULT);
			CHECK_EQ(vmf_peek(r.space, (vmf_va)at, &c, 1), -VMF_EIO);
		}
		rig_unmap(&r, at, PAGES);
		vmf_object_put(o);
	}
}

/* ---------------------------------------------------------------------------------- attaching, undone */

/* The window is mapped and registered before it turns out that there is no such node. */
static int map_nowhere(struct rig *r, struct vmf_object *o, unsigned flags)
{
	struct vmf_map m = { .size = sizeof(m), .flags = flags, .pages = PAGES, .prot = VMF_R | VMF_W,
		.node = VMF_NODE_BIND(60) };
	vmf_va at;

	return vmf_map(r->space, o, &m, &at);
}

static void undone_later(struct rig *r, unsigned flags, unsigned call)
{
	struct vmf_object *o = object(r, &zero_ops, NULL);
	long before;

	rig_unmap(r, rig_map(r, o, flags, PAGES, VMF_R | VMF_W), PAGES);
	before = atomic_load(&failcalls_bytes);
	fail(call, 1, ENOMEM, true);
	CHECK(map_nowhere(r, o, flags) < 0);
	CHECK(map_nowhere(r, o, flags) < 0);
	CHECK(failing_hit());
	failing_stop();
	CHECK(atomic_load(&failcalls_bytes) >= before + 2l * PAGES * PAGE);
	rig_unmap(r, rig_map(r, o, flags, PAGES, VMF_R | VMF_W), PAGES);
	CHECK_EQ(atomic_load(&failcalls_bytes), before);
	vmf_object_put(o);
}

/* What the kernel does not take back at once, it is asked to take back later. */
static void addresses_come_back(void)
{
	static const unsigned flags[] = { VMF_SHARED, 0 };
	struct rig r;

	BOTH_MODES(&r) {
		bool traps = vmf_linux_lacks(r.space) & RIG_TRAPS;

		for (unsigned i = 0; i < 2; i++) {
			undone_later(&r, flags[i], MUNMAP);
			if (!traps)
				undone_later(&r, flags[i], UFFD_UNREGISTER);
		}
	}
}

/* ------------------------------------------------------------------------------- no memory for a segment */

/* The file behind the object that was made last.  Cut to nothing, touching it is what it is where the kernel has no
 * memory for it: a SIGBUS. */
static int file_of(const struct rig *r)
{
	const struct vmf__segment *segments = vmf__linux_of(r->port)->segments;
	int fd = -1;

	for (unsigned i = 0; i < VMF__SEGMENTS; i++)
		if (segments[i].base && segments[i].fd >= 0)
			fd = segments[i].fd;
	return fd;
}

static void out_of_memory(struct rig *r, struct vmf_object *o, unsigned access)
{
	char *at = rig_map(r, o, VMF_SHARED, PAGES, VMF_R | VMF_W), c = 0;
	int file = file_of(r), sig;

	CHECK_EQ(rig_load(at + (PAGES - 1) * PAGE, &c), 0); /* the backing is one that answers at once */
	CHECK(file >= 0 && !ftruncate(file, 0));
	sig = access == VMF_W ? rig_store(at, 1) : rig_load(at, &c);
	CHECK_EQ(sig, SIGBUS);
	CHECK_EQ(vmf_fault_why(at).code, VMF_OOM);
	CHECK_EQ(vmf_fault_why(at).why, VMF_WHY_RESOURCE);
	CHECK(!ftruncate(file, PAGES * PAGE));
	CHECK_EQ(access == VMF_W ? rig_store(at, 1) : rig_load(at, &c), 0);
	rig_unmap(r, at, PAGES);
}

/* Zeroes on demand; bytes that are read into it (a write), or copied into it when they have been read (a read); and
 * what a driver asks for. */
static void segment_without_memory(void)
{
	struct testback back;
	struct vmf_object *o;
	struct rig r;

	BOTH_MODES(&r) {
		for (unsigned access = VMF_R; access <= VMF_W; access += VMF_W - VMF_R) {
			o = object(&r, &zero_ops, NULL);
			out_of_memory(&r, o, access);
			vmf_object_put(o);
			testback_open(&back, r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
			o = testback_object(&back, NULL);
			out_of_memory(&r, o, access);
			vmf_object_put(o);
			RIG_BACKING_CLOSE(&back);
		}
		o = object(&r, &zero_ops, NULL);
		CHECK(!ftruncate(file_of(&r), 0));
		CHECK(!vmf_frame_at(o, 0));
		vmf_object_put(o);
	}
}

int main(int argc, char **argv)
{
	static const struct vmtest tests[] = {
		VMTEST(swapped_is_there), VMTEST(nobody_can_say), VMTEST(no_access_is_there), VMTEST(poisoned_is_not),
		VMTEST(addresses_come_back), VMTEST(segment_without_memory),
	};

	rig_catching();
	failing.kinds = kinds;
	failing.n = CALLS;
	failing.error_name = call_error;
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 60, argc, argv);
}
