/* SPDX-License-Identifier: MIT
 *
 * Memory from somewhere: node policies with made-up nodes, and drivers/huge, which reserves its frames or falls back.
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
#define BASE ((vmf_va)64 << 21)

static void big_open(struct rig *r)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = VMF_BY_ADDRESS, .protect = true, .ram_pages = HUGE_RAM,
	};

	rig_open_as(r, &config);
}

/* ---------------------------------------------------------------------------------------------------- nodes */

#define PART 256u /* pages of a node */
static const uint8_t node_of[] = { 4, 0, 9 };

/* The RAM that was there becomes that of three nodes. */
static void nodes_open(struct rig *r)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .ram_pages = 3 * PART };

	rig_open_as(r, &config);
	CHECK_ERR(vmf_phys_remove(r->port, (vmf_pfn){ VMF_SIM_RAM }), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct vmf_range part = { .size = sizeof(part), .kind = VMF_PHYS_RAM, .node = node_of[i],
					  .first = { VMF_SIM_RAM + i * PART }, .pages = PART };

		CHECK_ERR(vmf_phys_add(r->port, &part), 0);
	}
}

static void nodes_close(struct rig *r) { rig_close_as(r, 3 * PART); }

static unsigned node_at(const struct vmf_frame *f) { return node_of[(vmf_frame_pfn(f).n - VMF_SIM_RAM) / PART]; }

/* How many frames of order 0 can be had by this policy, and from which nodes? */
static unsigned take_all(struct rig *r, unsigned policy, struct vmf_frame **frame, unsigned from[10])
{
	unsigned n = 0;

	memset(from, 0, 10 * sizeof(*from));
	while (n < 3 * PART && !vmf_frame_alloc(r->port, 0, policy, false, &frame[n]))
		from[node_at(frame[n++])]++;
	return n;
}

static void put_all(struct rig *r, struct vmf_frame **frame, unsigned n)
{
	while (n)
		vmf_frame_put(r->port, frame[--n]);
}

static void preferred_or_bound(void)
{
	struct vmf_frame *frame[3 * PART];
	unsigned from[10];
	struct rig r;

	nodes_open(&r);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_ERR(vmf_frame_alloc(r.port, 0, node_of[i], false, &frame[0]), 0);
		CHECK_EQ(node_at(frame[0]), node_of[i]);
		vmf_frame_put(r.port, frame[0]);
		CHECK_EQ(take_all(&r, VMF_NODE_BIND(node_of[i]), frame, from), PART);
		CHECK_EQ(from[node_of[i]], PART);
		put_all(&r, frame, PART);
		CHECK_EQ(take_all(&r, node_of[i], frame, from), 3 * PART);
		put_all(&r, frame, 3 * PART);
	}
	CHECK_EQ(take_all(&r, VMF_NODE_BIND(5u), frame, from), 0);
	nodes_close(&r);
}

static void each_in_turn(void)
{
	struct vmf_frame *frame[3 * PART];
	unsigned from[10];
	struct rig r;

	nodes_open(&r);
	for (unsigned i = 0; i < 30; i++) {
		CHECK_ERR(vmf_frame_alloc(r.port, i % 3, VMF_NODE_INTERLEAVE, false, &frame[i]), 0);
		CHECK(i < 3 || node_at(frame[i]) == node_at(frame[i - 3]));
		CHECK(!i || node_at(frame[i]) != node_at(frame[i - 1]));
	}
	put_all(&r, frame, 30);
	CHECK_EQ(take_all(&r, VMF_NODE_INTERLEAVE, frame, from), 3 * PART);
	put_all(&r, frame, 3 * PART);
	nodes_close(&r);
}

static void *on_node(void *self)
{
	struct rig *r = self;
	struct vmf_frame *frame[3 * PART];
	unsigned from[10];

	for (unsigned i = 0; i < 3; i++) {
		vmf_sim_here(r->sim, node_of[i]);
		CHECK_ERR(vmf_frame_alloc(r->port, 0, VMF_NODE_LOCAL, false, &frame[0]), 0);
		CHECK_EQ(node_at(frame[0]), node_of[i]);
		vmf_frame_put(r->port, frame[0]);
	}
	vmf_sim_here(r->sim, 7); /* which has no memory of its own */
	CHECK_EQ(take_all(r, VMF_NODE_LOCAL, frame, from), 3 * PART);
	put_all(r, frame, 3 * PART);
	return NULL;
}

static void local_to_the_cpu(void)
{
	struct vmf_frame *f;
	pthread_t thread;
	struct rig r;

	nodes_open(&r);
	vmf_sim_here(r.sim, 4);
	CHECK(!pthread_create(&thread, NULL, on_node, &r));
	CHECK(!pthread_join(thread, NULL));
	CHECK_ERR(vmf_frame_alloc(r.port, 0, VMF_NODE_LOCAL, false, &f), 0); /* another thread is elsewhere */
	CHECK_EQ(node_at(f), 4);
	vmf_frame_put(r.port, f);
	nodes_close(&r);
}

static void no_such_policy(void)
{
	static const unsigned bad[] = { 0x201, 0x2ff, 0x301, 0x400, 0xffffffff };
	struct vmf_map map;
	struct vmf_object *o;
	struct vmf_frame *f;
	struct rig r;

	nodes_open(&r);
	CHECK_ERR(vmf_object_create(r.port, &o, &(struct vmf_ops){ .size = sizeof(struct vmf_ops) }, NULL, 1), 0);
	map = rig_map(&r, 1, VMF_R);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(vmf_frame_alloc(r.port, 0, bad[i], false, &f), -VMF_EINVAL);
		map.node = bad[i];
		CHECK_ERR(vmf_map(r.space, o, &map, NULL), -VMF_EINVAL);
	}
	map.node = VMF_NODE_BIND(5u);
	CHECK_ERR(vmf_map(r.space, o, &map, NULL), -VMF_EINVAL);
	vmf_object_put(o);
	nodes_close(&r);
}

static uint32_t asked_node;
static enum vmf_code hand_over(const struct vmf_req *req, struct vmf_ans *ans)
{
	asked_node = req->node;
	ans->n = 1;
	return vmf_frame_alloc(req->port, 0, req->node, true, &ans->frames[0]) ? VMF_RETRY : VMF_OK;
}

/* An area's policy is found in requests, in what the core fills with zeroes, and in private copies. */
static void an_area_has_one(void)
{
	static const struct vmf_ops ops[] = { { .size = sizeof(ops[0]) }, { .size = sizeof(ops[0]), .nopage = hand_over } };
	struct vmf_pmap *pmap;
	struct rig r;

	nodes_open(&r);
	pmap = vmf_space_pmap(r.space);
	for (unsigned i = 0; i < 12; i++) {
		uint8_t node = node_of[i % 3], byte = 1;
		struct vmf_map map = { .size = sizeof(map), .flags = i < 6 ? VMF_SHARED : 0, .pages = 4, .prot = VMF_R | VMF_W,
				       .node = VMF_NODE_BIND(node) };
		struct vmf_entry e;
		struct vmf_object *o;
		vmf_va at;

		CHECK_ERR(vmf_object_create(r.port, &o, &ops[i % 2], NULL, 4), 0);
		CHECK_ERR(vmf_map(r.space, o, &map, &at), 0);
		CHECK_EQ(vmf_sim_store(r.space, at + PAGE, &byte, 1).code, VMF_OK);
		CHECK_ERR(pmap->ops->query(pmap, at + PAGE, &e), 0);
		CHECK_EQ(node_of[(e.pfn.n - VMF_SIM_RAM) / PART], node);
		CHECK(!(i % 2) || asked_node == VMF_NODE_BIND(node));
		CHECK_ERR(vmf_unmap(r.space, at, 4), 0);
		vmf_object_put(o);
	}
	nodes_close(&r);
}

/* ---------------------------------------------------------------------------------------------- drivers/huge */

struct mem {
	struct vmf_huge h;
	struct vmf_huge_block block[BLOCKS];
	struct vmf_frame *page[BLOCKS * BLOCK];
};

static struct vmf_map mem_map(uint64_t pages, vmf_pgoff off, vmf_va va)
{
	return (struct vmf_map){ .size = sizeof(struct vmf_map), .flags = VMF_SHARED | VMF_FIXED, .va = va, .pages = pages,
				 .off = off, .prot = VMF_R | VMF_W, .order = ORDER };
}

static void mem_open(struct mem *m, struct rig *r, bool reserve)
{
	memset(m, 0, sizeof(*m));
	m->h.pages = BLOCKS * BLOCK;
	m->h.order = ORDER;
	m->h.reserve = reserve;
	m->h.block = m->block;
	m->h.page = m->page;
	CHECK_ERR(vmf_huge_open(&m->h, r->port), 0);
}

/* Leaves so many frames of that order, and takes all others. */
static struct vmf_frame *hog[HUGE_RAM];
static unsigned hogs;
static void hog_but(struct rig *r, unsigned left, unsigned order)
{
	struct vmf_frame *spare[8];

	for (unsigned i = 0; i < left; i++)
		CHECK_ERR(vmf_frame_alloc(r->port, order, 0, false, &spare[i]), 0);
	for (hogs = 0; !vmf_frame_alloc(r->port, 0, 0, false, &hog[hogs]); hogs++)
		memset(vmf_frame_bytes(r->port, hog[hogs]), 0xee, PAGE);
	for (unsigned i = 0; i < left; i++) {
		memset(vmf_frame_bytes(r->port, spare[i]), 0xee, (size_t)PAGE << order);
		vmf_frame_put(r->port, spare[i]);
	}
}

static void hog_end(struct rig *r)
{
	while (hogs)
		if (hog[--hogs])
			vmf_frame_put(r->port, hog[hogs]);
}

/* There is memory, but in single pages. */
static void hog_thin(struct rig *r)
{
	for (unsigned i = 0; i < hogs; i += 2) {
		vmf_frame_put(r->port, hog[i]);
		hog[i] = NULL;
	}
}

static void check_zero(struct rig *r, vmf_va va, uint64_t pages)
{
	static const uint8_t zero[PAGE];
	uint8_t bytes[PAGE];

	for (uint64_t i = 0; i < pages; i++) {
		CHECK_EQ(vmf_sim_load(r->space, va + i * PAGE, bytes, PAGE).code, VMF_OK);
		CHECK(!memcmp(bytes, zero, PAGE));
	}
}

static void zeroes_block_by_block(void)
{
	struct vmf_map map = mem_map(BLOCKS * BLOCK, 0, BASE);
	struct rig r;
	struct mem m;

	big_open(&r);
	rig_soil(&r);
	mem_open(&m, &r, false);
	CHECK_ERR(vmf_map(r.space, m.h.object, &map, NULL), 0);
	check_zero(&r, BASE, BLOCKS * BLOCK);
	CHECK_EQ(rig_stats(&r).faults, BLOCKS);
	CHECK_EQ(rig_stats(&r).fallbacks, 0);
	CHECK_ERR(vmf_unmap(r.space, BASE, BLOCKS * BLOCK), 0);
	CHECK_EQ(rig_free_frames(&r), HUGE_RAM);
	vmf_huge_close(&m.h);
	rig_close_as(&r, HUGE_RAM);
}

/* One frame is left, and then none: the other blocks come in base pages, and keep what was written. */
static void falls_back(void)
{
	struct vmf_map map = mem_map(BLOCKS * BLOCK, 0, BASE);
	struct rig r;
	struct mem m;
	uint8_t byte;

	big_open(&r);
	mem_open(&m, &r, false);
	CHECK_ERR(vmf_map(r.space, m.h.object, &map, NULL), 0);
	hog_but(&r, 1, ORDER);
	check_zero(&r, BASE, BLOCK);
	CHECK_EQ(rig_stats(&r).fallbacks, 0);
	vmf_frame_put(r.port, hog[--hogs]);
	vmf_frame_put(r.port, hog[--hogs]);
	byte = 5;
	CHECK_EQ(vmf_sim_store(r.space, BASE + (BLOCK + 3) * PAGE, &byte, 1).code, VMF_OK);
	CHECK_EQ(rig_stats(&r).fallbacks, ORDER);
	CHECK_EQ(rig_stats(&r).faults, 2);
	check_zero(&r, BASE + (BLOCK + 4) * PAGE, 1);
	CHECK_RESULT(vmf_sim_load(r.space, BASE + (BLOCK + 5) * PAGE, &byte, 1), VMF_OOM, VMF_WHY_RESOURCE);
	hog_end(&r);
	CHECK_EQ(rig_byte(&r, BASE + (BLOCK + 3) * PAGE), 5);
	check_zero(&r, BASE + (BLOCK + 4) * PAGE, BLOCK - 4);
	check_zero(&r, BASE + 2 * BLOCK * PAGE, 2 * BLOCK);
	CHECK_ERR(vmf_unmap(r.space, BASE, BLOCKS * BLOCK), 0);
	vmf_huge_close(&m.h);
	rig_close_as(&r, HUGE_RAM);
}

/* What was reserved is there when all else has gone.  Who cannot have it all gets no area; what was aside already stays
 * so. */
static void reserved_when_mapped(void)
{
	struct vmf_map map = mem_map(3 * BLOCK, BLOCK, BASE);
	struct vmf_frame *f;
	struct rig r;
	struct mem m;

	big_open(&r);
	rig_soil(&r);
	mem_open(&m, &r, true);
	hog_but(&r, 2, ORDER);
	CHECK_ERR(vmf_map(r.space, m.h.object, &map, NULL), -VMF_ENOMEM);
	CHECK_ERR(vmf_frame_alloc(r.port, ORDER, 0, false, &f), -VMF_ENOMEM);
	hog_end(&r);
	hog_but(&r, 1, ORDER);
	CHECK_ERR(vmf_map(r.space, m.h.object, &map, NULL), 0);
	CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &f), -VMF_ENOMEM);
	check_zero(&r, BASE, 3 * BLOCK);
	CHECK_EQ(rig_stats(&r).faults, 3);
	CHECK_EQ(rig_stats(&r).fallbacks, 0);
	CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RESOURCE], 0);
	CHECK_ERR(vmf_unmap(r.space, BASE, 3 * BLOCK), 0);
	CHECK_ERR(vmf_frame_alloc(r.port, ORDER, 0, false, &f), 0);
	vmf_frame_put(r.port, f);
	hog_end(&r);
	vmf_huge_close(&m.h);
	rig_close_as(&r, HUGE_RAM);
}

/* Two areas show a block, one of them a part of it, cut in two: it goes with the last of them. */
static void released_with_the_last_area(void)
{
	struct vmf_map map = mem_map(BLOCK, 0, BASE), part = mem_map(100, 50, BASE + (1 << 24) + 50 * PAGE);
	uint8_t byte = 3;
	struct rig r;
	struct mem m;

	big_open(&r);
	mem_open(&m, &r, true);
	CHECK_ERR(vmf_map(r.space, m.h.object, &map, NULL), 0);
	CHECK_ERR(vmf_map(r.space, m.h.object, &part, NULL), 0);
	CHECK_EQ(vmf_sim_store(r.space, BASE + 60 * PAGE, &byte, 1).code, VMF_OK);
	CHECK_EQ(rig_byte(&r, part.va + 10 * PAGE), 3);
	CHECK_ERR(vmf_unmap(r.space, BASE, BLOCK), 0);
	CHECK_ERR(vmf_unmap(r.space, part.va + 40 * PAGE, 10), 0);
	CHECK_EQ(rig_byte(&r, part.va + 10 * PAGE), 3);
	CHECK_EQ(rig_free_frames(&r), HUGE_RAM - BLOCK);
	CHECK_ERR(vmf_unmap(r.space, part.va, 40), 0);
	CHECK_EQ(rig_free_frames(&r), HUGE_RAM - BLOCK);
	CHECK_ERR(vmf_unmap(r.space, part.va, 100), 0);
	CHECK_EQ(rig_free_frames(&r), HUGE_RAM);
	vmf_huge_close(&m.h);
	rig_close_as(&r, HUGE_RAM);
}

#define THREADS 2u
static struct { struct rig *r; unsigned pages; _Atomic unsigned here; } crowd;

/* All leave it at the same moment, as well as there are CPUs. */
static void gather(unsigned turn)
{
	atomic_fetch_add(&crowd.here, 1);
	for (unsigned spins = 0; atomic_load(&crowd.here) < (turn + 1) * THREADS; spins++)
		if (spins % 1024 == 1023)
			sched_yield();
}

/* Each has a word of its own on every page. */
static void *crowd_touch(void *self)
{
	unsigned me = (unsigned)(uintptr_t)self, turn = 0;

	for (uint64_t page = 0; page < BLOCKS * BLOCK; page += BLOCK / crowd.pages) {
		uint64_t word = me + 1;
		vmf_va va = BASE + page * PAGE + me * 8;

		gather(turn++);
		CHECK_OK(vmf_sim_store(crowd.r->space, va, &word, 8));
	}
	return NULL;
}

/* blocks: how many come whole; the others come in base pages. */
static void crowd_run(bool reserve, unsigned blocks, unsigned pages)
{
	struct vmf_map map = mem_map(BLOCKS * BLOCK, 0, BASE);
	pthread_t thread[THREADS];
	struct rig r;
	struct mem m;

	big_open(&r);
	memset(&crowd, 0, sizeof(crowd));
	crowd.r = &r;
	crowd.pages = pages;
	mem_open(&m, &r, reserve);
	hog_but(&r, blocks, ORDER);
	if (blocks < BLOCKS)
		hog_thin(&r);
	CHECK_ERR(vmf_map(r.space, m.h.object, &map, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, crowd_touch, (void *)i));
	for (unsigned i = 0; i < THREADS; i++)
		CHECK(!pthread_join(thread[i], NULL));
	for (uint64_t page = 0; page < BLOCKS * BLOCK; page += BLOCK / pages)
		for (unsigned i = 0; i < THREADS; i++)
			CHECK_EQ(rig_byte(&r, BASE + page * PAGE + i * 8), i + 1);
	CHECK_ERR(vmf_unmap(r.space, BASE, BLOCKS * BLOCK), 0);
	hog_end(&r);
	vmf_huge_close(&m.h);
	rig_close_as(&r, HUGE_RAM);
}

/* All touch a block, or a page of one, at the same moment: it is filled once, and nobody's write is lost. */
static void first_touched_by_many(void)
{
	for (unsigned round = 0; round < 40; round++)
		crowd_run(round % 2, BLOCKS, 1);
	for (unsigned round = 0; round < 3; round++)
		crowd_run(false, round, 128);
}

#define PAGES (BLOCKS * BLOCK)
static struct {
	struct rig r;
	struct mem m;
	uint64_t seed;
	uint8_t byte[PAGES];
	bool mapped[PAGES], writable[PAGES];
} walk;

static uint64_t pick(uint64_t n) { return vmtest_random(&walk.seed) % n; }

/* A block that no area shows any more is zero when it comes back. */
static void walk_forget(void)
{
	for (unsigned b = 0; b < BLOCKS; b++) {
		bool shown = false;

		for (unsigned i = 0; i < BLOCK; i++)
			shown |= walk.mapped[b * BLOCK + i];
		if (!shown)
			memset(walk.byte + b * BLOCK, 0, BLOCK);
	}
}

static void walk_access(uint64_t page)
{
	uint8_t byte = (uint8_t)pick(256);
	vmf_va va = BASE + page * PAGE;
	struct vmf_result r;

	if (pick(2)) {
		r = vmf_sim_store(walk.r.space, va, &byte, 1);
		CHECK_EQ(r.code, walk.mapped[page] && walk.writable[page] ? VMF_OK : VMF_SIGSEGV);
		walk.byte[page] = r.code == VMF_OK ? byte : walk.byte[page];
	} else {
		r = vmf_sim_load(walk.r.space, va, &byte, 1);
		CHECK_EQ(r.code, walk.mapped[page] ? VMF_OK : VMF_SIGSEGV);
		CHECK(r.code != VMF_OK || byte == walk.byte[page]);
	}
}

static void walk_unmap(uint64_t page, uint64_t n)
{
	CHECK_ERR(vmf_unmap(walk.r.space, BASE + page * PAGE, n), 0);
	for (uint64_t i = page; i < page + n; i++)
		walk.mapped[i] = false;
	walk_forget();
}

static void walk_map(uint64_t page, uint64_t n)
{
	struct vmf_map map = mem_map(n, page, BASE + page * PAGE);

	CHECK_ERR(vmf_map(walk.r.space, walk.m.h.object, &map, NULL), 0);
	for (uint64_t i = page; i < page + n; i++)
		walk.mapped[i] = walk.writable[i] = true;
}

static void walk_protect(uint64_t page, uint64_t n, bool write)
{
	bool all = true;

	for (uint64_t i = page; i < page + n; i++)
		all &= walk.mapped[i];
	CHECK_ERR(vmf_protect(walk.r.space, BASE + page * PAGE, n, write ? VMF_R | VMF_W : VMF_R), all ? 0 : -VMF_EFAULT);
	for (uint64_t i = page; i < page + n && all; i++)
		walk.writable[i] = write;
}

/* Memory is there, but in single pages; or in large pieces again. */
static void walk_hog(void)
{
	if (hogs) {
		hog_end(&walk.r);
		return;
	}
	hog_but(&walk.r, 0, 0);
	hog_thin(&walk.r);
}

static void walk_step(void)
{
	uint64_t page = pick(PAGES), n = 1 + pick(pick(3) ? 9 : BLOCK + 9);

	n = n < PAGES - page ? n : PAGES - page;
	switch (pick(16)) {
	case 0:
		CHECK_ERR(vmf_revoke(walk.m.h.object, page, n), 0);
		break;
	case 1:
		vmf_sim_forget(walk.r.space, BASE + page * PAGE, n);
		break;
	case 2:
		walk_protect(page, n, pick(2));
		break;
	case 3:
		if (!pick(4))
			walk_unmap(page, n);
		break;
	case 4: /* all of a block, now and then of all */
		n = pick(4) ? BLOCK : PAGES;
		page = n == PAGES ? 0 : page / BLOCK * BLOCK;
		walk_unmap(page, n);
		walk_map(page, n);
		break;
	case 5:
		if (!pick(16))
			walk_hog();
		break;
	default:
		walk_access(page);
	}
}

/* Whatever is cut, taken away and brought back: every byte stays, and at the end every reference has gone. */
static void random_changes(void)
{
	uint64_t fallbacks = 0;

	for (unsigned round = 0; round < 8; round++) {
		memset(&walk, 0, sizeof(walk));
		walk.seed = round + 1;
		big_open(&walk.r);
		rig_soil(&walk.r);
		mem_open(&walk.m, &walk.r, false);
		for (unsigned step = 0; step < 6000; step++)
			walk_step();
		walk_unmap(0, PAGES);
		fallbacks += rig_stats(&walk.r).fallbacks;
		hog_end(&walk.r);
		vmf_huge_close(&walk.m.h);
		rig_close_as(&walk.r, HUGE_RAM);
	}
	CHECK(fallbacks > 1000);
}

/* With order 0 it is there in every window. */
static void base_pages_everywhere(void)
{
	struct rig r;
	struct mem m;

	RIG_EACH(r) {
		struct vmf_map map = rig_map(&r, 20, VMF_R | VMF_W);
		vmf_va at;

		rig_soil(&r);
		memset(&m, 0, sizeof(m));
		m.h = (struct vmf_huge){ .pages = BLOCKS, .block = m.block, .page = m.page, .reserve = true };
		CHECK_ERR(vmf_huge_open(&m.h, r.port), 0);
		CHECK_ERR(vmf_map(r.space, m.h.object, &map, NULL), -VMF_EINVAL); /* past its end */
		map.pages = BLOCKS;
		CHECK_ERR(vmf_map(r.space, m.h.object, &map, &at), 0);
		check_zero(&r, at, BLOCKS);
		CHECK_ERR(vmf_unmap(r.space, at, BLOCKS), 0);
		vmf_huge_close(&m.h);
	}
}

static void opened_wrong(void)
{
	struct rig r;
	struct mem m = { .h = { .order = 3, .pages = 4 } };

	big_open(&r);
	CHECK_ERR(vmf_huge_open(&m.h, r.port), -VMF_EINVAL);
	m.h.pages = 0;
	CHECK_ERR(vmf_huge_open(&m.h, r.port), -VMF_EINVAL);
	m.h.order = 60;
	CHECK_ERR(vmf_huge_open(&m.h, r.port), -VMF_EINVAL);
	mem_open(&m, &r, false);
	CHECK_ERR(vmf_map(r.space, m.h.object, &(struct vmf_map){ .size = sizeof(struct vmf_map), .flags = VMF_SHARED,
			.pages = BLOCK, .prot = VMF_R }, NULL), -VMF_EINVAL); /* another order */
	vmf_huge_close(&m.h);
	rig_close_as(&r, HUGE_RAM);
}

static const struct vmtest tests[] = {
	VMTEST(preferred_or_bound), VMTEST(each_in_turn), VMTEST(local_to_the_cpu), VMTEST(no_such_policy),
	VMTEST(an_area_has_one), VMTEST(zeroes_block_by_block), VMTEST(falls_back), VMTEST(reserved_when_mapped),
	VMTEST(released_with_the_last_area), VMTEST(first_touched_by_many), VMTEST(random_changes),
	VMTEST(base_pages_everywhere),
	VMTEST(opened_wrong),
};
VMTEST_MAIN(tests, 20)
