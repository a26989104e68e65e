/* SPDX-License-Identifier: MIT
 *
 * The simulated machine itself: the model has to be right before it can be compared with.
 */
#include "rig.h"

#define PAGES 8u

static enum vmf_code never(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	ans->why = VMF_WHY_POLICY;
	return VMF_SIGBUS;
}

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };
static const struct vmf_ops never_ops = { .size = sizeof(never_ops), .nopage = never };

static vmf_va show(struct rig *r, const struct vmf_ops *ops, struct vmf_object **object)
{
	CHECK_ERR(vmf_object_create(r->port, object, ops, NULL, PAGES), 0);
	return rig_show(r, *object, PAGES, VMF_R | VMF_W);
}

static void hide(struct rig *r, vmf_va at, struct vmf_object *object)
{
	CHECK_ERR(vmf_unmap(r->space, at, PAGES), 0);
	vmf_object_put(object);
}

static void configurations_are_checked(void)
{
	static const struct { struct vmf_sim_config c; int err; } t[] = {
		{ { .store = 3 }, -VMF_EINVAL }, { { .page_shift = 11 }, -VMF_EINVAL }, { { .page_shift = 17 }, -VMF_EINVAL },
		{ { .slots = 65 }, -VMF_EINVAL }, { { .ram_pages = VMF_SIM_DEVICE }, -VMF_EINVAL }, { { .page_shift = 16 }, 0 },
	};
	struct { struct vmf_sim_config c; uint64_t tail; } longer = { { .size = sizeof(longer) }, 1 };
	struct vmf_sim *sim;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmf_sim_config c = t[i].c;

		c.size = sizeof(c);
		CHECK_ERR(vmf_sim_open(&sim, &c), t[i].err);
		if (!t[i].err)
			vmf_sim_close(sim);
	}
	CHECK_ERR(vmf_sim_open(&sim, &longer.c), -VMF_E2BIG);
	longer.tail = 0;
	CHECK_ERR(vmf_sim_open(&sim, &longer.c), 0);
	vmf_sim_close(sim);
	CHECK_ERR(vmf_sim_open(&sim, NULL), 0);
	CHECK_EQ(vmf_page_size(vmf_sim_port(sim)), 4096);
	vmf_sim_close(sim);
}

static void bytes_move_over_page_ends(void)
{
	uint8_t in[3 * PAGE], out[3 * PAGE];
	struct vmf_object *object;
	struct rig r;
	vmf_va at;

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + i / 251);
	RIG_EACH(r) {
		at = show(&r, &zero_ops, &object);
		for (unsigned off = 0; off < 20; off++)
			for (unsigned n = 1; n < sizeof(in); n += 997) {
				CHECK_OK(vmf_sim_store(r.space, at + 4090 + off, in, n));
				memset(out, 0, sizeof(out));
				CHECK_OK(vmf_sim_load(r.space, at + 4090 + off, out, n));
				CHECK(!memcmp(in, out, n));
			}
		CHECK_OK(vmf_sim_load(r.space, at, out, 0));
		hide(&r, at, object);
	}
}

static void pages_of_64_KiB(void)
{
	struct vmf_object *object;

	for (unsigned store = 0; store < 3; store++) {
		const struct vmf_sim_config c = {
			.size = sizeof(c), .store = (uint8_t)store, .page_shift = 16, .protect = true, .ram_pages = 64,
		};
		struct vmf_map map;
		struct rig r;
		vmf_va at;

		rig_open_as(&r, &c);
		CHECK_ERR(vmf_object_create(r.port, &object, &zero_ops, NULL, PAGES), 0);
		map = rig_map(&r, PAGES, VMF_R | VMF_W);
		CHECK_ERR(vmf_map(r.space, object, &map, &at), 0);
		CHECK_OK(vmf_sim_store(r.space, at + 65535, "ab", 2));
		CHECK_EQ(rig_byte(&r, at + 65536), 'b');
		CHECK_EQ(rig_stats(&r).entered, 2);
		CHECK_ERR(vmf_unmap(r.space, at, PAGES), 0);
		vmf_object_put(object);
		rig_close_as(&r, 64);
	}
}

/* A by-offset window shows page i of the object's segment, or nothing. */
static void by_offset_shows_its_own_page_only(void)
{
	struct vmf_run run = { .n = 1, .prot = VMF_R };
	struct vmf_object *object;
	struct vmf_frame *f;
	struct vmf_pmap *pmap;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_OFFSET);
	pmap = vmf_space_pmap(r.space);
	at = show(&r, &never_ops, &object);
	f = vmf_frame_at(object, 2);
	run.va = at + 2 * PAGE;
	run.pfn = vmf_frame_pfn(f);
	CHECK_EQ(pmap->ops->enter(pmap, &run), 1);
	CHECK_EQ(pmap->ops->enter(pmap, &run), 0);
	run.va = at + 3 * PAGE;
	CHECK_EQ(pmap->ops->enter(pmap, &run), -VMF_ENOSYS);
	vmf_frame_put(r.port, f);
	CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &f), 0);
	run.pfn = vmf_frame_pfn(f);
	CHECK_EQ(pmap->ops->enter(pmap, &run), -VMF_ENOSYS);
	vmf_frame_put(r.port, f);
	run.flags = VMF_RUN_RAW;
	run.pfn.n = VMF_SIM_DEVICE;
	CHECK_EQ(pmap->ops->enter(pmap, &run), 1);
	run.va = at + 2 * PAGE;
	CHECK_EQ(pmap->ops->enter(pmap, &run), -VMF_EEXIST);
	run.va = at + PAGES * PAGE;
	CHECK_EQ(pmap->ops->enter(pmap, &run), -VMF_EGONE);
	hide(&r, at, object);
	rig_close(&r);
}

static void by_copy_owns_its_bytes(void)
{
	uint8_t page[PAGE];
	struct vmf_run run = { .n = 2, .need = UINT32_MAX, .prot = VMF_R };
	struct vmf_object *object;
	struct vmf_frame *f;
	struct vmf_pmap *pmap;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_COPY);
	pmap = vmf_space_pmap(r.space);
	at = show(&r, &never_ops, &object);
	CHECK_ERR(vmf_frame_alloc(r.port, 1, 0, true, &f), 0);
	memset(vmf_frame_bytes(r.port, f), 5, 2 * PAGE);
	run.va = at + PAGE;
	run.pfn = vmf_frame_pfn(f);
	CHECK_EQ(pmap->ops->enter(pmap, &run), 2);
	memset(vmf_frame_bytes(r.port, f), 6, 2 * PAGE);
	CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 5);
	CHECK_EQ(pmap->ops->enter(pmap, &run), 0);
	CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 5);
	CHECK_ERR(pmap->ops->take(pmap, at + PAGE, page), 0);
	CHECK(page[0] == 5 && page[PAGE - 1] == 5);
	CHECK_ERR(pmap->ops->take(pmap, at, page), -VMF_EFAULT);
	run.flags = VMF_RUN_ZERO;
	run.va = at + 4 * PAGE;
	CHECK_EQ(pmap->ops->enter(pmap, &run), 2);
	CHECK_EQ(rig_byte(&r, at + 5 * PAGE), 0);
	vmf_frame_put(r.port, f);
	hide(&r, at, object);
	rig_close(&r);
}

/* A removed range reads zero, never what would have been read there. */
static void what_a_program_removed_reads_zero(void)
{
	struct vmf_object *object;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_COPY);
	at = show(&r, &never_ops, &object);
	CHECK_EQ(rig_byte(&r, at), -VMF_SIGBUS);
	vmf_sim_forget(r.space, at + PAGE, 2);
	CHECK_EQ(rig_byte(&r, at), -VMF_SIGBUS);
	hide(&r, at, object);
	at = show(&r, &zero_ops, &object);
	CHECK_OK(vmf_sim_store(r.space, at + PAGE, "ab", 2));
	vmf_sim_forget(r.space, at + PAGE, 1);
	CHECK_EQ(rig_byte(&r, at + PAGE), 0);
	CHECK_OK(vmf_sim_store(r.space, at + PAGE, "c", 1));
	CHECK_EQ(rig_byte(&r, at + PAGE), 'c');
	hide(&r, at, object);
	rig_close(&r);
}

/* Large entries are found by every page, and are no more than a cache when part of them changes. */
static void large_entries(void)
{
	struct vmf_run run = { .n = 8, .order = 3, .prot = VMF_R | VMF_W };
	struct vmf_object *object;
	struct vmf_frame *f, *small;
	struct vmf_pmap *pmap;
	struct rig r;
	vmf_va at = VMF_SIM_LOWEST;
	struct vmf_entry e;

	rig_open(&r, VMF_BY_ADDRESS);
	pmap = vmf_space_pmap(r.space);
	at = show(&r, &never_ops, &object);
	CHECK_EQ(at % (8 * PAGE), 0);
	CHECK_ERR(vmf_frame_alloc(r.port, 3, 0, true, &f), 0);
	CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, true, &small), 0);
	for (unsigned i = 0; i < 8; i++)
		memset((uint8_t *)vmf_frame_bytes(r.port, f) + i * PAGE, (int)i + 1, PAGE);
	run.va = at;
	run.pfn = vmf_frame_pfn(f);
	vmf_frame_get(f);
	CHECK_EQ(pmap->ops->enter(pmap, &run), 8);
	for (unsigned i = 0; i < 8; i++)
		CHECK_EQ(rig_byte(&r, at + i * PAGE), i + 1);
	CHECK_ERR(pmap->ops->query(pmap, at + 5 * PAGE, &e), 0);
	CHECK(e.present && e.order == 3 && e.pfn.n == run.pfn.n);
	/* Part of it loses a permission: all of it goes, and its reference is handed back with the next removal. */
	CHECK_ERR(pmap->ops->protect(pmap, at, 2, VMF_R), 0);
	CHECK(!rig_present(&r, at) && !rig_present(&r, at + 7 * PAGE));
	/* A small one is in the way of a large one. */
	run.va = at + 3 * PAGE;
	run.pfn = vmf_frame_pfn(small);
	run.n = 1;
	run.order = 0;
	vmf_frame_get(small);
	CHECK_EQ(pmap->ops->enter(pmap, &run), 1);
	run = (struct vmf_run){ .va = at, .pfn = vmf_frame_pfn(f), .n = 8, .order = 3, .prot = VMF_R };
	CHECK_EQ(pmap->ops->enter(pmap, &run), -VMF_EEXIST);
	pmap->ops->update(pmap);
	hide(&r, at, object);
	vmf_frame_put(r.port, f);
	vmf_frame_put(r.port, small);
	rig_close(&r);
}

static void points_count_and_fail_once(void)
{
	struct vmf_object *object;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		uint64_t before;

		at = show(&r, &zero_ops, &object);
		before = vmf_sim_calls(r.sim, VMF_SIM_ENTER);
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 2, -VMF_EGONE);
		CHECK_EQ(rig_byte(&r, at), 0);
		CHECK_EQ(rig_byte(&r, at + PAGE), -VMF_SIGSEGV);
		CHECK_EQ(rig_byte(&r, at + PAGE), 0);
		CHECK_EQ(vmf_sim_calls(r.sim, VMF_SIM_ENTER) - before, 3);
		hide(&r, at, object);
	}
}

/* Machines share nothing: two can run in one process, and an object stays on its own. */
static void machines_are_values(void)
{
	struct vmf_object *object[3];
	struct rig r[3];
	vmf_va at[3];

	for (unsigned i = 0; i < 3; i++) {
		rig_open(&r[i], i);
		at[i] = show(&r[i], &zero_ops, &object[i]);
		CHECK_EQ(at[i], at[0]);
		CHECK_OK(vmf_sim_store(r[i].space, at[i], &(uint8_t){ (uint8_t)(i + 1) }, 1));
	}
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(rig_byte(&r[i], at[i]), i + 1);
		CHECK_EQ(rig_stats(&r[i]).faults, 1);
		hide(&r[i], at[i], object[i]);
		rig_close(&r[i]);
	}
}

/* An entry shows what it showed: whoever enters something else has forgotten to remove it. */
static void another_frame_stays_out(void)
{
	struct vmf_frame *frame[2];
	struct vmf_object *object;
	struct vmf_run run;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	at = show(&r, &zero_ops, &object);
	for (unsigned i = 0; i < 2; i++)
		CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, true, &frame[i]), 0);
	run = (struct vmf_run){ .va = at, .pfn = vmf_frame_pfn(frame[0]), .n = 1, .prot = VMF_R };
	CHECK_EQ(vmf_space_pmap(r.space)->ops->enter(vmf_space_pmap(r.space), &run), 1);
	CHECK_EQ(vmf_space_pmap(r.space)->ops->enter(vmf_space_pmap(r.space), &run), 0);
	run.pfn = vmf_frame_pfn(frame[1]);
	CHECK_EQ(vmf_space_pmap(r.space)->ops->enter(vmf_space_pmap(r.space), &run), -VMF_EEXIST);
	hide(&r, at, object);
	vmf_frame_put(r.port, frame[1]);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(configurations_are_checked),
	VMTEST(bytes_move_over_page_ends),
	VMTEST(pages_of_64_KiB),
	VMTEST(by_offset_shows_its_own_page_only),
	VMTEST(by_copy_owns_its_bytes),
	VMTEST(what_a_program_removed_reads_zero),
	VMTEST(large_entries),
	VMTEST(points_count_and_fail_once),
	VMTEST(machines_are_values),
	VMTEST(another_frame_stays_out),
};
VMTEST_MAIN(tests, 20)
