/* SPDX-License-Identifier: MIT
 *
 * The physical memory map, and the frames of its RAM.
 */
#include <pthread.h>
#include "rig.h"

#define FAR 0x40000000u /* pfn of a range that has no bytes: only the map and the allocator know it */

static struct vmf_range range(unsigned kind, uint64_t first, uint64_t pages)
{
	return (struct vmf_range){
		.size = sizeof(struct vmf_range), .kind = (uint8_t)kind, .first = { first }, .pages = pages,
	};
}

static int add(struct rig *r, unsigned kind, uint64_t first, uint64_t pages)
{
	struct vmf_range in = range(kind, first, pages);

	return vmf_phys_add(r->port, &in);
}

static void the_map_says_what_lies_where(void)
{
	static const struct { uint64_t pfn; enum vmf_kind kind; } t[] = {
		{ 0, VMF_PHYS_HOLE }, { VMF_SIM_RAM - 1, VMF_PHYS_HOLE }, { VMF_SIM_RAM, VMF_PHYS_RAM },
		{ VMF_SIM_RAM + RAM - 1, VMF_PHYS_RAM }, { VMF_SIM_RAM + RAM, VMF_PHYS_HOLE },
		{ VMF_SIM_DEVICE - 1, VMF_PHYS_HOLE }, { VMF_SIM_DEVICE, VMF_PHYS_DEVICE },
		{ VMF_SIM_DEVICE + 255, VMF_PHYS_DEVICE }, { VMF_SIM_DEVICE + 256, VMF_PHYS_HOLE },
		{ VMF_SIM_RESERVED, VMF_PHYS_RESERVED }, { VMF_SIM_RESERVED + 15, VMF_PHYS_RESERVED },
		{ VMF_SIM_RESERVED + 16, VMF_PHYS_HOLE }, { UINT64_MAX, VMF_PHYS_HOLE },
	};
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ t[i].pfn }), t[i].kind);
	rig_close(&r);
}

static void ranges_must_not_overlap(void)
{
	static const struct { uint64_t first, pages; int err; } t[] = {
		{ FAR, 100, -VMF_EEXIST },      { FAR - 10, 11, -VMF_EEXIST },  { FAR + 99, 10, -VMF_EEXIST },
		{ FAR - 10, 200, -VMF_EEXIST }, { FAR + 10, 10, -VMF_EEXIST },  { FAR + 50, 1, -VMF_EEXIST },
		{ FAR - 10, 10, 0 },            { FAR + 100, 10, 0 },           { FAR + 100, 1, -VMF_EEXIST },
		{ FAR + 1000, 0, -VMF_EINVAL }, { UINT64_MAX, 2, -VMF_EINVAL }, { FAR + 1000, UINT64_MAX, -VMF_EINVAL },
		{ FAR + 1000, UINT64_MAX - FAR, -VMF_EINVAL },
	};
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(add(&r, VMF_PHYS_DEVICE, FAR, 100), 0);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		CHECK_ERR(add(&r, VMF_PHYS_RESERVED, t[i].first, t[i].pages), t[i].err);
	CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ FAR - 1 }), VMF_PHYS_RESERVED);
	CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ FAR }), VMF_PHYS_DEVICE);
	CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ FAR + 1000 }), VMF_PHYS_HOLE);
	rig_close(&r);
}

static void descriptions_are_checked(void)
{
	struct { struct vmf_range range; uint64_t tail; } longer = { range(VMF_PHYS_DEVICE, FAR, 1), 0 };
	struct vmf_range in = range(VMF_PHYS_DEVICE, FAR, 1);
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(add(&r, VMF_PHYS_HOLE, FAR, 1), -VMF_EINVAL);
	CHECK_ERR(add(&r, 4, FAR, 1), -VMF_EINVAL);
	in.size = 0;
	CHECK_ERR(vmf_phys_add(r.port, &in), -VMF_EINVAL);
	in.size = sizeof(in);
	in.attr.type = VMF_DEVICE + 1;
	CHECK_ERR(vmf_phys_add(r.port, &in), -VMF_EINVAL);
	longer.range.size = sizeof(longer);
	longer.tail = 1;
	CHECK_ERR(vmf_phys_add(r.port, &longer.range), -VMF_E2BIG);
	CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ FAR }), VMF_PHYS_HOLE);
	longer.tail = 0;
	CHECK_ERR(vmf_phys_add(r.port, &longer.range), 0);
	rig_close(&r);
}

static void busy_ram_stays(void)
{
	struct vmf_frame *all[64], *one;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_EQ(rig_free_frames(&r), RAM);
	CHECK_ERR(add(&r, VMF_PHYS_RAM, FAR, 64), 0);
	CHECK_EQ(rig_free_frames(&r), RAM + 64);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR + 1 }), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR - 1 }), -VMF_EINVAL);
	/* The last frame in use lies in the range: everything else is handed out and given back. */
	do
		CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &one), 0);
	while (vmf_frame_pfn(one).n < FAR && (all[0] = one));
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR }), -VMF_EBUSY);
	CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ FAR }), VMF_PHYS_RAM);
	for (unsigned i = 0; i < 63; i++)
		CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &all[i]), 0);
	CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &all[63]), -VMF_ENOMEM);
	for (unsigned i = 0; i < 63; i++)
		vmf_frame_put(r.port, all[i]);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR }), -VMF_EBUSY);
	vmf_frame_put(r.port, one);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR }), 0);
	CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ FAR }), VMF_PHYS_HOLE);
	CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &one), -VMF_ENOMEM);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR }), -VMF_EINVAL);
	/* What was removed can come back, as something else too. */
	CHECK_ERR(add(&r, VMF_PHYS_DEVICE, FAR + 32, 64), 0);
	CHECK_ERR(add(&r, VMF_PHYS_RAM, FAR, 32), 0);
	for (unsigned i = 0; i < 32; i++) {
		CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &all[i]), 0);
		CHECK(vmf_frame_pfn(all[i]).n - FAR < 32);
	}
	for (unsigned i = 0; i < 32; i++)
		vmf_frame_put(r.port, all[i]);
	for (uint64_t pfn = VMF_SIM_RAM; pfn < VMF_SIM_RAM + RAM; pfn++)
		CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ pfn }), VMF_PHYS_RAM);
	vmf_sim_space_close(r.space);
	vmf_sim_close(r.sim);
}

static void a_description_without_memory_changes_nothing(void)
{
	struct rig r;
	uint64_t live;
	uint32_t n = 1;

	rig_open(&r, VMF_BY_ADDRESS);
	for (int err = -1; err; n++) {
		live = vmf_sim_live(r.sim);
		vmf_sim_fail(r.sim, VMF_SIM_ALLOC, n, VMF_ENOMEM);
		err = add(&r, VMF_PHYS_RAM, FAR, 100);
		CHECK(!err || err == -VMF_ENOMEM);
		CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ FAR }), err ? VMF_PHYS_HOLE : VMF_PHYS_RAM);
		CHECK(!err || vmf_sim_live(r.sim) == live);
	}
	CHECK(n > 3);
	vmf_sim_fail(r.sim, VMF_SIM_ALLOC, 0, 0);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR }), 0);
	rig_close(&r);
}

/* ------------------------------------------------------------------------------------------- frames */

static void blocks_are_aligned_and_adjacent(void)
{
	struct vmf_frame *f;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	for (unsigned order = 0; order <= 8; order++) {
		CHECK_ERR(vmf_frame_alloc(r.port, order, 0, true, &f), 0);
		CHECK_EQ(vmf_frame_order(f), order);
		CHECK_EQ(vmf_frame_pfn(f).n & ((1u << order) - 1), 0);
		CHECK(vmf_frame_pfn(f).n >= VMF_SIM_RAM);
		CHECK(vmf_frame_pfn(f).n + (1u << order) <= VMF_SIM_RAM + RAM);
		memset(vmf_frame_bytes(r.port, f), 1, PAGE << order);
		vmf_frame_put(r.port, f);
	}
	CHECK_ERR(vmf_frame_alloc(r.port, VMF_ORDER_MAX + 1, 0, false, &f), -VMF_EINVAL);
	CHECK_ERR(vmf_frame_alloc(r.port, 64, 0, false, &f), -VMF_EINVAL);
	CHECK_ERR(vmf_frame_alloc(r.port, VMF_ORDER_MAX, 0, false, &f), -VMF_ENOMEM);
	rig_close(&r);
}

static void zeroed_frames_are_zero(void)
{
	static const uint8_t zero[PAGE << 4];
	struct vmf_frame *f;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	for (unsigned order = 0; order <= 4; order++) {
		rig_soil(&r);
		CHECK_ERR(vmf_frame_alloc(r.port, order, 0, true, &f), 0);
		CHECK(!memcmp(vmf_frame_bytes(r.port, f), zero, PAGE << order));
		vmf_frame_put(r.port, f);
	}
	rig_close(&r);
}

static void the_last_reference_frees(void)
{
	struct vmf_frame *f;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_frame_alloc(r.port, 3, 0, false, &f), 0);
	CHECK_EQ(rig_free_frames(&r), RAM - 8);
	vmf_frame_get(f);
	vmf_frame_get(f);
	vmf_frame_put(r.port, f);
	vmf_frame_put(r.port, f);
	CHECK_EQ(rig_free_frames(&r), RAM - 8);
	vmf_frame_put(r.port, f);
	CHECK_EQ(rig_free_frames(&r), RAM);
	rig_close(&r);
}

/* Pages in use, beside what the allocator believes. */
struct model {
	bool used[RAM];
	struct vmf_frame *frame[RAM];
	unsigned order[RAM], n;
	uint64_t pages;
};

static void model_take(struct model *m, struct vmf_frame *f, unsigned order)
{
	uint64_t at = vmf_frame_pfn(f).n - VMF_SIM_RAM;

	CHECK(at + (1u << order) <= RAM && !(vmf_frame_pfn(f).n & ((1u << order) - 1)));
	for (unsigned i = 0; i < 1u << order; i++) {
		CHECK(!m->used[at + i]);
		m->used[at + i] = true;
	}
	m->frame[m->n] = f;
	m->order[m->n++] = order;
	m->pages += 1u << order;
}

static struct vmf_frame *model_give(struct model *m, unsigned i)
{
	struct vmf_frame *f = m->frame[i];
	unsigned order = m->order[i];

	for (unsigned k = 0; k < 1u << order; k++)
		m->used[vmf_frame_pfn(f).n - VMF_SIM_RAM + k] = false;
	m->pages -= 1u << order;
	m->n--;
	m->frame[i] = m->frame[m->n];
	m->order[i] = m->order[m->n];
	return f;
}

/* May the allocator say that it has none?  Only if no aligned block is free. */
static bool model_full(const struct model *m, unsigned order)
{
	uint64_t size = 1u << order, at = (VMF_SIM_RAM + size - 1) / size * size - VMF_SIM_RAM;

	for (; at + size <= RAM; at += size) {
		unsigned i = 0;

		while (i < size && !m->used[at + i])
			i++;
		if (i == size)
			return false;
	}
	return true;
}

static void random_blocks_against_a_model(void)
{
	static struct model m;
	struct vmf_frame *f;
	uint64_t seed = 1;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned order = vmtest_random(&seed) % (step / 1000 % 2 ? 3 : 9);

		if (vmtest_random(&seed) % 100 < 45 && m.n) {
			vmf_frame_put(r.port, model_give(&m, vmtest_random(&seed) % m.n));
		} else if (!vmf_frame_alloc(r.port, order, 0, false, &f)) {
			model_take(&m, f, order);
		} else {
			CHECK(model_full(&m, order));
		}
	}
	while (m.n)
		vmf_frame_put(r.port, model_give(&m, m.n - 1));
	CHECK_EQ(m.pages, 0);
	/* Everything has grown together again. */
	CHECK_ERR(vmf_frame_alloc(r.port, 9, 0, false, &f), 0);
	vmf_frame_put(r.port, f);
	rig_close(&r);
}

static void a_node_is_preferred(void)
{
	struct vmf_range near = range(VMF_PHYS_RAM, FAR, 4);
	struct vmf_frame *f[6];
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	near.node = 7;
	CHECK_ERR(vmf_phys_add(r.port, &near), 0);
	for (unsigned i = 0; i < 6; i++) {
		CHECK_ERR(vmf_frame_alloc(r.port, 0, 7, false, &f[i]), 0);
		CHECK_EQ(vmf_frame_pfn(f[i]).n >= FAR, i < 4);
	}
	for (unsigned i = 0; i < 6; i++)
		vmf_frame_put(r.port, f[i]);
	CHECK_ERR(vmf_frame_alloc(r.port, 0, 99, false, &f[0]), 0);
	vmf_frame_put(r.port, f[0]);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ FAR }), 0);
	rig_close(&r);
}

static void an_odd_range_gives_every_page(void)
{
	struct vmf_sim_config config = { .size = sizeof(config), .ram_pages = 997 };
	struct rig r;

	rig_open_as(&r, &config);
	CHECK_EQ(rig_free_frames(&r), 997);
	rig_close_as(&r, 997);
}

static void *churn(void *self)
{
	struct rig *r = self;
	uint64_t seed = (uintptr_t)&seed;
	struct vmf_frame *f[16] = { 0 };

	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = vmtest_random(&seed) % 16;

		if (f[i]) {
			CHECK_EQ(*(uint64_t *)vmf_frame_bytes(r->port, f[i]), (uintptr_t)&f[i]);
			vmf_frame_put(r->port, f[i]);
			f[i] = NULL;
		} else if (!vmf_frame_alloc(r->port, vmtest_random(&seed) % 4, 0, false, &f[i])) {
			*(uint64_t *)vmf_frame_bytes(r->port, f[i]) = (uintptr_t)&f[i];
		}
	}
	for (unsigned i = 0; i < 16; i++)
		if (f[i])
			vmf_frame_put(r->port, f[i]);
	return NULL;
}

static void threads_share_the_allocator(void)
{
	pthread_t t[4];
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	for (unsigned i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, churn, &r));
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	rig_close(&r);
}

/* Single frames are not merged at once.  However many come and go: two that belong together are a block. */
static void loose_frames_are_merged_when_a_block_is_wanted(void)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_ADDRESS, .ram_pages = 128 };
	struct vmf_frame *frame[128], *got[64], *block;
	struct rig r;

	for (unsigned n = 0; n <= 60; n++) {
		rig_open_as(&r, &config);
		for (unsigned i = 0; i < 128; i++) {
			CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &got[0]), 0);
			frame[vmf_frame_pfn(got[0]).n - VMF_SIM_RAM] = got[0];
		}
		vmf_frame_put(r.port, frame[0]);
		vmf_frame_put(r.port, frame[1]);
		for (unsigned i = 0; i < n; i++)
			vmf_frame_put(r.port, frame[2 * i + 2]);
		for (unsigned i = 0; i < n; i++)
			CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, false, &got[i]), 0);
		CHECK_ERR(vmf_frame_alloc(r.port, 1, 0, false, &block), 0);
		vmf_frame_put(r.port, block);
		for (unsigned i = 0; i < n; i++)
			vmf_frame_put(r.port, got[i]);
		for (unsigned i = 2; i < 128; i++)
			if (i % 2 || i >= 2 * n + 2)
				vmf_frame_put(r.port, frame[i]);
		rig_close_as(&r, 128);
	}
}

static const struct vmtest tests[] = {
	VMTEST(the_map_says_what_lies_where),
	VMTEST(ranges_must_not_overlap),
	VMTEST(descriptions_are_checked),
	VMTEST(busy_ram_stays),
	VMTEST(a_description_without_memory_changes_nothing),
	VMTEST(blocks_are_aligned_and_adjacent),
	VMTEST(zeroed_frames_are_zero),
	VMTEST(the_last_reference_frees),
	VMTEST(random_blocks_against_a_model),
	VMTEST(a_node_is_preferred),
	VMTEST(an_odd_range_gives_every_page),
	VMTEST(threads_share_the_allocator),
	VMTEST(loose_frames_are_merged_when_a_block_is_wanted),
};
VMTEST_MAIN(tests, 20)
