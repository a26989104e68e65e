/* SPDX-License-Identifier: MIT
 *
 * Frames of higher orders: what a fault asks for, FALLBACK, entries that are cut, and that no reference is lost.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "drivers/huge.h"
#include "rig.h"

#define ORDER 9u
#define BLOCK (1u << ORDER)
#define HUGE_RAM 4096u
#define BLOCKS 4u
#define BASE ((vmf_va)64 << 21) /* aligned as a block is */

/* ------------------------------------------------------------------------------ a driver that does as it is told */

static struct {
	struct vmf_frame *frame; /* what nopage answers; one reference is ours */
	unsigned fallbacks;      /* so often, at each try */
	unsigned calls, order[32], n;
	unsigned answer_n;       /* 0: 1 */
	bool lose;               /* our reference goes to the core as well */
	bool install;            /* by ops.fault */
	bool mixed;              /* page 0 as a base page, whatever the others are */
	uint64_t revoke;         /* page + 1, from within the handler, at the first call */
	uint8_t prot;
} told;

static enum vmf_code told_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	unsigned call = told.calls++;

	told.order[call % 32] = req->order;
	if (told.revoke && call == 0)
		CHECK_ERR(vmf_revoke(req->object, told.revoke - 1, 1), 0);
	if ((told.fallbacks && req->order > ORDER - told.fallbacks) || (told.mixed && !req->off && req->order))
		return VMF_FALLBACK;
	if (!told.frame)
		return VMF_FALLBACK;
	if (!told.lose)
		vmf_frame_get(told.frame);
	ans->frames[0] = told.frame;
	ans->n = told.answer_n ? told.answer_n : 1;
	for (unsigned i = 1; i < ans->n; i++)
		vmf_frame_get(ans->frames[i] = told.frame);
	if (req->order)
		ans->first = 12345; /* which nobody looks at */
	if (told.prot)
		ans->prot = told.prot;
	return VMF_OK;
}

static enum vmf_code told_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_result r;

	(void)ans;
	told.order[told.calls++ % 32] = req->order;
	vmf_frame_get(told.frame);
	r = vmf_install_frames(req, req->off, &told.frame, 1, req->prot);
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static const struct vmf_ops told_ops = { .size = sizeof(told_ops), .nopage = told_nopage };
static const struct vmf_ops told_fault_ops = { .size = sizeof(told_ops), .fault = told_fault };

static void big_open(struct rig *r)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = VMF_BY_ADDRESS, .protect = true, .ram_pages = HUGE_RAM,
	};

	rig_open_as(r, &config);
	memset(&told, 0, sizeof(told));
}

static void big_close(struct rig *r) { rig_close_as(r, HUGE_RAM); }

static struct vmf_map big_map(uint64_t pages, vmf_pgoff off, vmf_va va)
{
	return (struct vmf_map){ .size = sizeof(struct vmf_map), .flags = VMF_SHARED | VMF_FIXED, .va = va, .pages = pages,
				 .off = off, .prot = VMF_R | VMF_W, .order = ORDER };
}

/* All of an object that the told driver serves, with one frame of this order. */
static struct vmf_object *told_open(struct rig *r, const struct vmf_ops *ops, unsigned order, uint64_t pages)
{
	struct vmf_map map = big_map(pages, 0, BASE);
	struct vmf_object *o;

	big_open(r);
	CHECK_ERR(vmf_object_create(r->port, &o, ops, NULL, pages), 0);
	CHECK_ERR(vmf_map(r->space, o, &map, NULL), 0);
	CHECK_ERR(vmf_frame_alloc(r->port, order, 0, true, &told.frame), 0);
	return o;
}

static void told_close(struct rig *r, struct vmf_object *o)
{
	CHECK_ERR(vmf_unmap(r->space, BASE, BLOCKS * BLOCK), 0);
	vmf_object_put(o);
	if (told.frame && !told.lose)
		vmf_frame_put(r->port, told.frame);
	big_close(r);
}

static struct vmf_entry entry_at(struct rig *r, vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);
	struct vmf_entry e;

	CHECK_ERR(pmap->ops->query(pmap, va, &e), 0);
	return e;
}

/* What a page of the told frame says; every page is marked with its number. */
static void mark(struct rig *r, struct vmf_frame *frame)
{
	uint8_t *bytes = vmf_frame_bytes(r->port, frame);

	for (unsigned i = 0; i < 1u << vmf_frame_order(frame); i++)
		bytes[i * PAGE] = (uint8_t)(i * 7 + 1);
}

static int mark_of(uint64_t page) { return (uint8_t)(page % BLOCK * 7 + 1); }

static struct vmf_result touch(struct rig *r, vmf_va va)
{
	uint8_t byte;

	return vmf_sim_load(r->space, va, &byte, 1);
}

/* ---------------------------------------------------------------------------------------------- what is asked */

static void one_fault_brings_a_block(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	mark(&r, told.frame);
	for (unsigned i = 0; i < BLOCK; i++)
		CHECK_EQ(rig_byte(&r, BASE + (i * 5 + 3) % BLOCK * PAGE), mark_of((i * 5 + 3) % BLOCK));
	CHECK_EQ(told.calls, 1);
	CHECK_EQ(told.order[0], ORDER);
	CHECK_EQ(rig_stats(&r).faults, 1);
	CHECK_EQ(rig_stats(&r).entered, BLOCK);
	CHECK_EQ(rig_stats(&r).fallbacks, 0);
	CHECK_EQ(entry_at(&r, BASE + 77 * PAGE).order, ORDER);
	told_close(&r, o);
}

/* The highest order whose aligned block lies within [off, off + pages), and at an aligned address. */
static unsigned order_at(vmf_va va, vmf_pgoff off, uint64_t pages, vmf_pgoff page)
{
	unsigned order = ORDER;

	for (; order; order--) {
		uint64_t size = 1u << order, first = page / size * size;

		if (first >= off && first + size <= off + pages && (va / PAGE + (first - off)) % size == 0)
			break;
	}
	return order;
}

/* Areas that begin and end anywhere: the block has to fit the area, and to be aligned in memory and in the object. */
static void only_what_fits_is_asked_for(void)
{
	static const struct { vmf_pgoff off, pages, shift; } area[] = {
		{ 0, 600, 0 }, { 3, 1200, 3 }, { 3, 1200, 0 }, { 512, 511, 0 }, { 256, 1024, 256 }, { 256, 1024, 0 },
		{ 0, 1024, 1 },
		{ 40, 1100, 40 }, { 1, 1, 1 },
	};
	struct vmf_object *o;
	struct rig r;

	big_open(&r);
	CHECK_ERR(vmf_object_create(r.port, &o, &told_ops, NULL, 2048), 0);
	CHECK_ERR(vmf_frame_alloc(r.port, ORDER, 0, true, &told.frame), 0);
	for (unsigned i = 0; i < sizeof(area) / sizeof(area[0]); i++) {
		vmf_va va = BASE + area[i].shift * PAGE;
		struct vmf_map map = big_map(area[i].pages, area[i].off, va);

		CHECK_ERR(vmf_map(r.space, o, &map, NULL), 0);
		for (uint64_t page = 0; page < area[i].pages; page += 1 + page % 37) {
			told.calls = 0;
			CHECK_ERR(vmf_revoke(o, 0, 2048), 0);
			CHECK_EQ(touch(&r, va + page * PAGE).code, VMF_OK);
			CHECK_EQ(told.order[0], order_at(va, area[i].off, area[i].pages, area[i].off + page));
		}
		CHECK_ERR(vmf_unmap(r.space, va, area[i].pages), 0);
	}
	vmf_frame_put(r.port, told.frame);
	vmf_object_put(o);
	big_close(&r);
}

static void fallback_goes_down_one_order_after_the_other(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER - 3, BLOCK);

	mark(&r, told.frame);
	told.fallbacks = 3;
	CHECK_EQ(rig_byte(&r, BASE + 100 * PAGE), mark_of(100 % 64));
	CHECK_EQ(told.calls, 4);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(told.order[i], ORDER - i);
	CHECK_EQ(entry_at(&r, BASE + 100 * PAGE).order, ORDER - 3);
	CHECK_EQ(rig_stats(&r).fallbacks, 3);
	CHECK_EQ(rig_stats(&r).entered, 64);
	CHECK_EQ(rig_stats(&r).faults, 1);
	CHECK(rig_present(&r, BASE + 64 * PAGE) && rig_present(&r, BASE + 127 * PAGE));
	CHECK(!rig_present(&r, BASE + 63 * PAGE) && !rig_present(&r, BASE + 128 * PAGE));
	told_close(&r, o);
}

static void below_base_pages_there_is_nothing(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, 0, BLOCK);
	struct vmf_frame *frame = told.frame;

	told.frame = NULL;
	CHECK_RESULT(touch(&r, BASE), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_EQ(told.calls, ORDER + 1);
	CHECK_EQ(told.order[ORDER], 0);
	CHECK_EQ(rig_stats(&r).fallbacks, ORDER);
	told.frame = frame;
	told_close(&r, o);
}

/* ------------------------------------------------------------------------------------------- what is answered */

static void a_frame_of_a_lower_order_is_a_mistake(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER - 1, BLOCK);

	CHECK_RESULT(touch(&r, BASE), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK(!rig_present(&r, BASE));
	told_close(&r, o); /* and no reference was lost */
}

static void one_frame_is_answered_and_no_more(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	told.answer_n = 2;
	CHECK_RESULT(touch(&r, BASE), VMF_SIGBUS, VMF_WHY_DRIVER);
	told.fallbacks = 9; /* nor a run of base pages with a higher one in it */
	CHECK_RESULT(touch(&r, BASE), VMF_SIGBUS, VMF_WHY_DRIVER);
	told_close(&r, o);
}

/* When nothing is higher any more, runs are welcome as ever. */
static void runs_of_base_pages(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, 0, BLOCK);

	told.answer_n = 8;
	told.fallbacks = 9;
	CHECK_OK(touch(&r, BASE + 8 * PAGE));
	CHECK_EQ(rig_stats(&r).entered, 8);
	CHECK(rig_present(&r, BASE + 15 * PAGE) && !rig_present(&r, BASE + 16 * PAGE));
	CHECK_OK(touch(&r, BASE + (BLOCK - 3) * PAGE)); /* the end of it is past the area's */
	CHECK_EQ(rig_stats(&r).entered, 11);
	told_close(&r, o);
}

static void a_freed_frame_is_a_mistake(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	vmf_frame_put(r.port, told.frame);
	told.lose = true;
	CHECK_RESULT(touch(&r, BASE), VMF_SIGBUS, VMF_WHY_DRIVER);
	told_close(&r, o);
}

/* In an area of base pages a frame of any other order is one. */
static void orders_are_for_areas_that_have_them(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, 1, BLOCK);
	struct vmf_map map = big_map(BLOCK, 0, BASE + (1 << 24));

	map.order = 0;
	CHECK_ERR(vmf_map(r.space, o, &map, NULL), 0);
	CHECK_RESULT(touch(&r, map.va), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_EQ(told.order[0], 0);
	CHECK_ERR(vmf_unmap(r.space, map.va, BLOCK), 0);
	told_close(&r, o);
}

/* A higher order than was asked for: the page alone.  Its entry has the reference, so the frame outlives ours. */
static void a_page_of_a_higher_frame(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	mark(&r, told.frame);
	told.fallbacks = 9;
	for (unsigned i = 0; i < BLOCK; i += 3)
		CHECK_EQ(rig_byte(&r, BASE + i * PAGE), mark_of(i));
	CHECK_EQ(entry_at(&r, BASE + 3 * PAGE).order, 0);
	CHECK_EQ(entry_at(&r, BASE + 3 * PAGE).pfn.n, vmf_frame_pfn(told.frame).n + 3);
	vmf_frame_put(r.port, told.frame);
	told.lose = true;
	CHECK_EQ(rig_free_frames(&r), HUGE_RAM - BLOCK);
	CHECK_EQ(rig_byte(&r, BASE + 9 * PAGE), mark_of(9));
	told_close(&r, o);
}

static void installed_by_the_handler(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_fault_ops, ORDER, BLOCK);

	mark(&r, told.frame);
	CHECK_EQ(rig_byte(&r, BASE + 300 * PAGE), mark_of(300));
	CHECK_EQ(rig_byte(&r, BASE), mark_of(0));
	CHECK_EQ(told.calls, 1);
	CHECK_EQ(entry_at(&r, BASE).order, ORDER);
	told_close(&r, o);
}

static void install_wrong(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_fault_ops, ORDER - 2, BLOCK);

	CHECK_RESULT(touch(&r, BASE), VMF_SIGBUS, VMF_WHY_DRIVER);
	told_close(&r, o);
}

/* Base pages are there, as the last FALLBACK left them; now the driver has a frame for all of it. */
static void what_is_smaller_makes_way(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	mark(&r, told.frame);
	told.fallbacks = 9;
	for (unsigned i = 0; i < 40; i++)
		CHECK_EQ(rig_byte(&r, BASE + i * 11 * PAGE), mark_of(i * 11));
	told.fallbacks = 0;
	CHECK_EQ(rig_byte(&r, BASE + 5 * PAGE), mark_of(5));
	CHECK_EQ(entry_at(&r, BASE).order, ORDER);
	CHECK_EQ(rig_stats(&r).failed, 0);
	told_close(&r, o);
}

static void populated_block_by_block(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, 2 * BLOCK);
	struct vmf_map map = big_map(2 * BLOCK, 0, BASE + (1 << 24));

	map.action = VMF_POPULATE;
	CHECK_ERR(vmf_map(r.space, o, &map, NULL), 0);
	CHECK_EQ(told.calls, 2);
	CHECK_EQ(entry_at(&r, map.va + BLOCK * PAGE).order, ORDER);
	CHECK_ERR(vmf_unmap(r.space, map.va, 2 * BLOCK), 0);
	told_close(&r, o);
}

/* A block that comes with its second page ends where it ends, and the page after it is not left out. */
static void populated_in_different_orders(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, 2 * BLOCK);
	struct vmf_map map = big_map(BLOCK + 1, 0, BASE + (1 << 24));

	map.action = VMF_POPULATE;
	told.mixed = true;
	CHECK_ERR(vmf_map(r.space, o, &map, NULL), 0);
	CHECK_EQ(entry_at(&r, map.va).order, ORDER);
	CHECK(entry_at(&r, map.va + BLOCK * PAGE).present);
	CHECK_ERR(vmf_unmap(r.space, map.va, BLOCK + 1), 0);
	told_close(&r, o);
}

static struct { struct rig *r; pthread_t thread; bool begun; atomic_bool waits, removed, over; } way;

static void *touch_fifth(void *arg)
{
	CHECK_OK(touch(way.r, BASE + 5 * PAGE));
	way.over = true;
	return arg;
}

static void way_looks(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	if (way.begun)
		return;
	way.begun = true;
	CHECK_EQ(pthread_create(&way.thread, NULL, touch_fifth, NULL), 0);
	while (!way.waits && !way.over)
		sched_yield();
	CHECK(!way.removed);
}

static void way_waits(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	way.waits = true;
}

static void way_removed(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	way.removed = true;
}

/* A debugger moves bytes of a frame that it has no reference on: until it has, the entry stays. */
static void it_makes_way_for_nobody_who_looks(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);
	uint8_t byte;

	memset(&way, 0, sizeof(way));
	way.r = &r;
	mark(&r, told.frame);
	told.fallbacks = 9;
	CHECK_EQ(rig_byte(&r, BASE + 3 * PAGE), mark_of(3));
	told.fallbacks = 0;
	vmf_sim_on(r.sim, VMF_SIM_QUERY, way_looks, NULL);
	vmf_sim_on(r.sim, VMF_SIM_WAIT, way_waits, NULL);
	vmf_sim_on(r.sim, VMF_SIM_REMOVE, way_removed, NULL);
	CHECK_EQ(vmf_peek(r.space, BASE + 3 * PAGE, &byte, 1), 1);
	CHECK_EQ(byte, mark_of(3));
	CHECK_EQ(pthread_join(way.thread, NULL), 0);
	CHECK(way.removed);
	vmf_sim_on(r.sim, VMF_SIM_QUERY, NULL, NULL);
	vmf_sim_on(r.sim, VMF_SIM_WAIT, NULL, NULL);
	vmf_sim_on(r.sim, VMF_SIM_REMOVE, NULL, NULL);
	CHECK_EQ(entry_at(&r, BASE).order, ORDER);
	told_close(&r, o);
}

/* -------------------------------------------------------------------------------------- changes of a part of one */

static void revoked_between_the_return_and_the_entering(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, 2 * BLOCK);

	told.revoke = 1 + 500; /* in the block */
	CHECK_EQ(touch(&r, BASE).code, VMF_OK);
	CHECK_EQ(told.calls, 2);
	CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
	told.calls = 0;
	told.revoke = 1 + 500; /* in another one: that does not hold the fault up */
	CHECK_EQ(touch(&r, BASE + BLOCK * PAGE).code, VMF_OK);
	CHECK_EQ(told.calls, 1);
	CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
	told_close(&r, o);
}

static void a_part_is_revoked(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	mark(&r, told.frame);
	CHECK_EQ(touch(&r, BASE).code, VMF_OK);
	CHECK_ERR(vmf_revoke(o, 100, 1), 0);
	CHECK(!rig_present(&r, BASE + 100 * PAGE));
	CHECK_EQ(rig_byte(&r, BASE + 100 * PAGE), mark_of(100));
	CHECK_EQ(told.calls, 2);
	told_close(&r, o);
}

static void a_part_is_unmapped(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	mark(&r, told.frame);
	CHECK_EQ(touch(&r, BASE).code, VMF_OK);
	CHECK_ERR(vmf_unmap(r.space, BASE + 8 * PAGE, 24), 0);
	CHECK_RESULT(touch(&r, BASE + 8 * PAGE), VMF_SIGSEGV, VMF_WHY_NONE);
	CHECK_RESULT(touch(&r, BASE + 31 * PAGE), VMF_SIGSEGV, VMF_WHY_NONE);
	for (unsigned i = 0; i < BLOCK; i++)
		if (i < 8 || i >= 32)
			CHECK_EQ(rig_byte(&r, BASE + i * PAGE), mark_of(i));
	CHECK_EQ(entry_at(&r, BASE).order, 0); /* the rest of the frame does not fit any more */
	told_close(&r, o);
}

static void a_part_is_protected(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);
	uint8_t byte = 99;

	mark(&r, told.frame);
	CHECK_EQ(vmf_sim_store(r.space, BASE, &byte, 1).code, VMF_OK);
	CHECK_ERR(vmf_protect(r.space, BASE + 128 * PAGE, 128, VMF_R), 0);
	CHECK_RESULT(vmf_sim_store(r.space, BASE + 200 * PAGE, &byte, 1), VMF_SIGSEGV, VMF_WHY_PROT);
	for (unsigned i = 1; i < BLOCK; i++)
		CHECK_EQ(rig_byte(&r, BASE + i * PAGE), mark_of(i));
	CHECK_EQ(vmf_sim_store(r.space, BASE + 300 * PAGE, &byte, 1).code, VMF_OK);
	CHECK_EQ(rig_byte(&r, BASE + 300 * PAGE), 99);
	CHECK_EQ(rig_byte(&r, BASE), 99);
	told_close(&r, o);
}

/* The whole is protected, and may be written again: the entry goes and comes as a whole. */
static void the_whole_is_protected(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);
	uint8_t byte = 98;

	CHECK_EQ(vmf_sim_store(r.space, BASE, &byte, 1).code, VMF_OK);
	CHECK_ERR(vmf_protect(r.space, BASE, BLOCK, VMF_R), 0);
	CHECK_RESULT(vmf_sim_store(r.space, BASE + PAGE, &byte, 1), VMF_SIGSEGV, VMF_WHY_PROT);
	CHECK_ERR(vmf_protect(r.space, BASE, BLOCK, VMF_R | VMF_W), 0);
	CHECK_EQ(vmf_sim_store(r.space, BASE + PAGE, &byte, 1).code, VMF_OK);
	CHECK_EQ(rig_byte(&r, BASE), 98);
	CHECK_EQ(entry_at(&r, BASE).order, ORDER);
	told_close(&r, o);
}

/* The pmap forgets a part by itself. */
static void a_part_is_forgotten(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);

	mark(&r, told.frame);
	CHECK_EQ(touch(&r, BASE).code, VMF_OK);
	vmf_sim_forget(r.space, BASE + 17 * PAGE, 1);
	CHECK_EQ(rig_byte(&r, BASE + 18 * PAGE), mark_of(18));
	told_close(&r, o);
}

/* A debugger's word, on a page that is shown by an entry of the whole, and on one that nothing shows yet. */
static void looked_into(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);
	uint8_t byte = 0;

	mark(&r, told.frame);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(vmf_peek(r.space, BASE + 300 * PAGE, &byte, 1), 1);
		CHECK_EQ(byte, mark_of(300));
		byte = 97;
		CHECK_EQ(vmf_poke(r.space, BASE + (301 + i) * PAGE, &byte, 1), 1);
		CHECK_EQ(rig_byte(&r, BASE + (301 + i) * PAGE), 97);
		CHECK_EQ(rig_byte(&r, BASE + 5 * PAGE), mark_of(5));
	}
	CHECK_EQ(entry_at(&r, BASE).order, ORDER);
	told_close(&r, o);
}

static void a_copy_of_the_space(void)
{
	struct rig r;
	struct vmf_object *o = told_open(&r, &told_ops, ORDER, BLOCK);
	struct vmf_space *child;
	uint8_t byte = 0;

	mark(&r, told.frame);
	CHECK_EQ(touch(&r, BASE).code, VMF_OK);
	CHECK_ERR(vmf_sim_space(r.sim, &child), 0);
	CHECK_ERR(vmf_space_copy(child, r.space), 0);
	CHECK_EQ(vmf_sim_load(child, BASE + 7 * PAGE, &byte, 1).code, VMF_OK);
	CHECK_EQ(byte, mark_of(7));
	CHECK_EQ(told.order[1], ORDER);
	vmf_sim_space_close(child);
	told_close(&r, o);
}

/* Where first writes are announced it is page by page, so frames of higher orders are shown page by page. */
static unsigned announced;
static enum vmf_code told_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	CHECK_EQ(req->order, 0);
	announced++;
	return VMF_OK;
}

static void first_writes_are_announced(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = told_nopage, .mkwrite = told_mkwrite };
	struct rig r;
	struct vmf_object *o = told_open(&r, &ops, ORDER, BLOCK);
	uint8_t byte = 1;

	announced = 0;
	for (unsigned i = 0; i < 5; i++) {
		CHECK_EQ(touch(&r, BASE + i * PAGE).code, VMF_OK);
		CHECK_EQ(vmf_sim_store(r.space, BASE + i * PAGE, &byte, 1).code, VMF_OK);
	}
	CHECK_EQ(announced, 5);
	CHECK_EQ(entry_at(&r, BASE).order, 0);
	told_close(&r, o);
}

static void what_there_is_not(void)
{
	struct vmf_map map = big_map(BLOCK, 0, BASE);
	struct vmf_object *o;
	struct rig r;

	RIG_EACH(r) {
		CHECK_ERR(vmf_object_create(r.port, &o, &told_ops, NULL, BLOCK), 0);
		map = rig_map(&r, BLOCK, VMF_R);
		map.order = r.store == VMF_BY_ADDRESS ? 10 : 9;
		CHECK_ERR(vmf_map(r.space, o, &map, NULL), -VMF_ENOSYS);
		map.order = 9;
		map.flags = 0;
		CHECK_ERR(vmf_map(r.space, o, &map, NULL), -VMF_ENOSYS);
		vmf_object_put(o);
	}
}

static const struct vmtest tests[] = {
	VMTEST(one_fault_brings_a_block), VMTEST(only_what_fits_is_asked_for),
	VMTEST(fallback_goes_down_one_order_after_the_other), VMTEST(below_base_pages_there_is_nothing),
	VMTEST(a_frame_of_a_lower_order_is_a_mistake), VMTEST(one_frame_is_answered_and_no_more),
	VMTEST(runs_of_base_pages),
	VMTEST(a_freed_frame_is_a_mistake), VMTEST(orders_are_for_areas_that_have_them), VMTEST(a_page_of_a_higher_frame),
	VMTEST(installed_by_the_handler), VMTEST(install_wrong), VMTEST(what_is_smaller_makes_way),
	VMTEST(populated_block_by_block), VMTEST(populated_in_different_orders), VMTEST(it_makes_way_for_nobody_who_looks),
	VMTEST(revoked_between_the_return_and_the_entering), VMTEST(a_part_is_revoked),
	VMTEST(a_part_is_unmapped), VMTEST(a_part_is_protected), VMTEST(the_whole_is_protected),
	VMTEST(a_part_is_forgotten), VMTEST(looked_into), VMTEST(a_copy_of_the_space), VMTEST(first_writes_are_announced),
	VMTEST(what_there_is_not),
};

VMTEST_MAIN(tests, 20)
