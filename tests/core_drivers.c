/* SPDX-License-Identifier: MIT
 *
 * The drivers ring (frames that it owns) and devmem (a range of the memory map), on the simulated port.
 */
#include <pthread.h>
#include "drivers/devmem.h"
#include "drivers/ring.h"
#include "rig.h"

#define PAGES 17u

/* ---------------------------------------------------------------------------------------------- ring */

static struct vmf_frame *frames[PAGES];

static vmf_va ring_open(struct vmf_ring *ring, struct rig *r)
{
	CHECK_ERR(vmf_ring_open(ring, r->port, frames, PAGES), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		CHECK(frames[i]);
		memset(vmf_frame_bytes(r->port, frames[i]), (int)i + 1, PAGE);
	}
	return rig_show(r, ring->object, PAGES, VMF_R | VMF_W);
}

static void ring_close(struct vmf_ring *ring, struct rig *r, vmf_va at)
{
	/* The ring still has its frames when the last entry has gone; by offset they are none of RAM. */
	CHECK_ERR(vmf_unmap(r->space, at, PAGES), 0);
	CHECK_EQ(rig_free_frames(r), r->store == VMF_BY_OFFSET ? RAM : RAM - PAGES);
	vmf_ring_close(ring);
	CHECK_EQ(rig_free_frames(r), RAM);
}

static void a_ring_is_faulted_in_any_order(void)
{
	struct vmf_ring ring;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		at = ring_open(&ring, &r);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(rig_byte(&r, at + i * 7 % PAGES * PAGE), i * 7 % PAGES + 1);
		CHECK_EQ(rig_stats(&r).faults, PAGES);
		ring_close(&ring, &r, at);
	}
}

static void its_frames_are_scattered(void)
{
	unsigned neighbours = 0;
	struct vmf_ring ring;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	at = ring_open(&ring, &r);
	for (unsigned i = 1; i < PAGES; i++)
		neighbours += vmf_frame_pfn(frames[i]).n == vmf_frame_pfn(frames[i - 1]).n + 1;
	CHECK(neighbours < 4);
	ring_close(&ring, &r, at);
	rig_close(&r);
}

static void frames_are_replaced_under_the_program(void)
{
	struct vmf_frame *fresh;
	struct vmf_ring ring;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		at = ring_open(&ring, &r);
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 4);
		fresh = vmf_frame_at(ring.object, 3);
		memset(vmf_frame_bytes(r.port, fresh), 77, PAGE);
		CHECK_ERR(vmf_ring_replace(&ring, 3, fresh), 0);
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), r.store == VMF_BY_COPY ? 4 : 77);
		CHECK_EQ(rig_byte(&r, at + 4 * PAGE), 5);
		/* Out of the buffer, and back in. */
		CHECK_ERR(vmf_ring_replace(&ring, 5, NULL), 0);
		CHECK_RESULT(vmf_sim_load(r.space, at + 5 * PAGE, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_POLICY);
		fresh = vmf_frame_at(ring.object, 5);
		memset(vmf_frame_bytes(r.port, fresh), 78, PAGE);
		CHECK_ERR(vmf_ring_replace(&ring, 5, fresh), 0);
		CHECK_EQ(rig_byte(&r, at + 5 * PAGE), 78);
		CHECK_ERR(vmf_ring_replace(&ring, PAGES, NULL), -VMF_EINVAL);
		ring_close(&ring, &r, at);
	}
}

static void a_ring_without_memory_leaves_nothing(void)
{
	struct vmf_frame *hog[RAM];
	struct vmf_ring ring;
	unsigned n = 0;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	while (!vmf_frame_alloc(r.port, 0, 0, false, &hog[n]))
		n++;
	for (unsigned i = 0; i < PAGES - 1; i++)
		vmf_frame_put(r.port, hog[--n]);
	CHECK_ERR(vmf_ring_open(&ring, r.port, frames, PAGES), -VMF_ENOMEM);
	while (n)
		vmf_frame_put(r.port, hog[--n]);
	rig_close(&r);
}

#define READERS 3u
#define REPLACERS 2u

struct crowd {
	struct vmf_ring *ring;
	struct rig *r;
	vmf_va at;
	bool stop;
	unsigned whole, out, replaced, names;
};

static uint8_t *bytes_of(struct crowd *c, struct vmf_frame *frame) { return vmf_frame_bytes(c->r->port, frame); }

/* By address another frame takes its place; by offset there is no other, so the page is out until its bytes are others.
 * What was out is full of what nobody must see. */
static void replace(struct crowd *c, unsigned page)
{
	struct vmf_frame *old = frames[page], *fresh = vmf_frame_at(c->ring->object, page);
	bool other = c->r->store == VMF_BY_ADDRESS;

	vmf_frame_get(old);
	if (other)
		memset(bytes_of(c, fresh), (int)page + 1, PAGE);
	CHECK_ERR(vmf_ring_replace(c->ring, page, other ? fresh : NULL), 0);
	memset(bytes_of(c, old), 0xee, PAGE);
	vmf_frame_put(c->r->port, old);
	if (other)
		return;
	memset(bytes_of(c, fresh), (int)page + 1, PAGE);
	CHECK_ERR(vmf_ring_replace(c->ring, page, fresh), 0);
}

/* Each its own pages. */
static void *replacer(void *self)
{
	struct crowd *c = self;
	unsigned page = __atomic_fetch_add(&c->names, 1, __ATOMIC_RELAXED);

	for (; !__atomic_load_n(&c->stop, __ATOMIC_RELAXED); page = (page + REPLACERS) % (PAGES / REPLACERS * REPLACERS)) {
		replace(c, page);
		__atomic_fetch_add(&c->replaced, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Whatever frame it is, it is one of that page. */
static void *reader(void *self)
{
	struct crowd *c = self;
	uint64_t seed = (uintptr_t)&seed;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		unsigned page = vmtest_random(&seed) % PAGES;
		int byte = rig_byte(c->r, c->at + page * PAGE);

		if (byte != -VMF_SIGBUS || c->r->store == VMF_BY_ADDRESS)
			CHECK_EQ(byte, page + 1);
		__atomic_fetch_add(byte < 0 ? &c->out : &c->whole, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void a_ring_is_replaced_while_it_is_read(void)
{
	pthread_t t[READERS + REPLACERS];
	struct vmf_ring ring;
	struct rig r;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		struct crowd c = { .ring = &ring, .r = &r };

		rig_open(&r, store);
		c.at = ring_open(&ring, &r);
		for (unsigned i = 0; i < READERS + REPLACERS; i++)
			CHECK(!pthread_create(&t[i], NULL, i < READERS ? reader : replacer, &c));
		CHECK_SOON(__atomic_load_n(&c.whole, __ATOMIC_RELAXED) >= 20000 &&
			   __atomic_load_n(&c.replaced, __ATOMIC_RELAXED) >= 2000);
		__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
		for (unsigned i = 0; i < READERS + REPLACERS; i++)
			pthread_join(t[i], NULL);
		ring_close(&ring, &r, c.at);
		rig_close(&r);
	}
}

/* -------------------------------------------------------------------------------------------- devmem */

static void device_memory_is_mapped_lazily_or_at_once(void)
{
	struct rig r;
	vmf_va at;

	for (unsigned eager = 0; eager < 2; eager++)
		RIG_EACH(r) {
			struct vmf_devmem d = {
				.first = { VMF_SIM_DEVICE + 16 }, .pages = 64, .attr = { .type = VMF_UC }, .eager = eager,
			};
			struct vmf_map map = rig_map(&r, 8, VMF_R | VMF_W);

			CHECK_ERR(vmf_devmem_open(&d, r.port), 0);
			map.off = 10;
			CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
			for (unsigned i = 0; i < 8; i++) {
				uint8_t byte = (uint8_t)(i + 1);

				CHECK_EQ(rig_present(&r, at + i * PAGE), eager);
				CHECK_OK(vmf_sim_store(r.space, at + i * PAGE, &byte, 1));
				CHECK_EQ(*(uint8_t *)vmf_sim_device(r.sim, 26 + i), byte);
			}
			CHECK_EQ(rig_stats(&r).faults, eager ? 0 : 8);
			/* Rule 1: what the pmap forgot comes back, if the bytes are not its own. */
			if (r.store != VMF_BY_COPY) {
				vmf_sim_forget(r.space, at, 8);
				CHECK_EQ(rig_byte(&r, at + PAGE), 2);
			}
			vmf_devmem_close(&d);
			CHECK_ERR(vmf_unmap(r.space, at, 8), 0);
			CHECK_EQ(rig_free_frames(&r), RAM);
		}
}

static void a_fault_may_bring_a_run(void)
{
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		struct vmf_devmem d = { .first = { VMF_SIM_DEVICE }, .pages = 20, .attr = { .type = VMF_UC }, .run = 8 };

		CHECK_ERR(vmf_devmem_open(&d, r.port), 0);
		at = rig_show(&r, d.object, 20, VMF_R);
		CHECK_EQ(rig_byte(&r, at + 16 * PAGE), 0);
		for (unsigned i = 0; i < 20; i++)
			CHECK_EQ(rig_present(&r, at + i * PAGE), i >= 16);
		CHECK_EQ(rig_byte(&r, at), 0);
		CHECK_EQ(rig_stats(&r).entered, 12);
		vmf_devmem_close(&d);
		CHECK_ERR(vmf_unmap(r.space, at, 20), 0);
	}
}

static void nothing_outside_the_range_can_be_mapped(void)
{
	static const struct { uint64_t off, pages; int err; } t[] = {
		{ 0, 64, 0 }, { 63, 1, 0 }, { 0, 65, -VMF_EINVAL }, { 64, 1, -VMF_EINVAL }, { 60, 5, -VMF_EINVAL },
		{ UINT64_MAX, 1, -VMF_EINVAL }, { UINT64_MAX - 3, 8, -VMF_EINVAL }, { 1, UINT64_MAX, -VMF_EINVAL },
		{ 0, 0, -VMF_EINVAL }, { 1ull << 63, 1, -VMF_EINVAL },
	};
	struct rig r;
	vmf_va at;

	for (unsigned eager = 0; eager < 2; eager++)
		RIG_EACH(r) {
			struct vmf_devmem d = {
				.first = { VMF_SIM_DEVICE }, .pages = 64, .attr = { .type = VMF_UC }, .eager = eager,
			};

			CHECK_ERR(vmf_devmem_open(&d, r.port), 0);
			for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
				struct vmf_map map = rig_map(&r, t[i].pages, VMF_R);

				map.off = t[i].off;
				CHECK_ERR(vmf_map(r.space, d.object, &map, &at), t[i].err);
				if (!t[i].err)
					CHECK_ERR(vmf_unmap(r.space, at, t[i].pages), 0);
			}
			vmf_devmem_close(&d);
		}
}

static void ranges_end_with_the_addresses(void)
{
	static const struct { uint64_t first, pages; int err; } t[] = {
		{ 0, 1, 0 }, { 0, 0, -VMF_EINVAL }, { UINT64_MAX, 1, -VMF_EINVAL }, { UINT64_MAX, 2, -VMF_EINVAL },
		{ UINT64_MAX / PAGE, 1, 0 }, { UINT64_MAX / PAGE, 2, -VMF_EINVAL }, { 5, UINT64_MAX, -VMF_EINVAL },
		{ UINT64_MAX / PAGE + 1, 1, -VMF_EINVAL }, { 5, UINT64_MAX - 4, -VMF_EINVAL },
	};
	struct rig r;

	RIG_EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct vmf_devmem d = { .first = { t[i].first }, .pages = t[i].pages };

			CHECK_ERR(vmf_devmem_open(&d, r.port), t[i].err);
			if (!t[i].err)
				vmf_devmem_close(&d);
		}
}

/* The driver does not know what lies in a hole, is reserved, or wants other attributes: the core does. */
static void the_core_refuses_what_the_map_forbids(void)
{
	static const struct { uint64_t first, type; uint8_t why; } t[] = {
		{ 0x50, VMF_UC, VMF_WHY_HOLE }, { VMF_SIM_RESERVED, VMF_UC, VMF_WHY_HOLE },
		{ VMF_SIM_RAM, VMF_UC, VMF_WHY_POLICY }, { VMF_SIM_DEVICE, VMF_WB, VMF_WHY_ATTR },
		{ VMF_SIM_DEVICE, VMF_WC, VMF_WHY_ATTR },
	};
	struct rig r;
	vmf_va at;

	RIG_EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct vmf_devmem d = { .first = { t[i].first }, .pages = 4, .attr = { .type = (uint8_t)t[i].type } };
			struct vmf_map map = rig_map(&r, 4, VMF_R);

			CHECK_ERR(vmf_devmem_open(&d, r.port), 0);
			at = rig_show(&r, d.object, 4, VMF_R);
			CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, t[i].why);
			CHECK_ERR(vmf_unmap(r.space, at, 4), 0);
			d.eager = true;
			CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_EPERM);
			vmf_devmem_close(&d);
		}
}

static enum vmf_why roms_may_be_read(void *self, struct vmf_space *space, const struct vmf_range *range, vmf_pfn first,
				     uint64_t pages, unsigned prot)
{
	(void)self;
	(void)space;
	(void)first;
	(void)pages;
	return range->kind == VMF_PHYS_RESERVED && prot & VMF_W ? VMF_WHY_POLICY : VMF_WHY_NONE;
}

/* Attributes come from the range; what is reserved is shown where somebody allows that, lazily or at once. */
static void kinds_of_ranges(void)
{
	static const struct { uint8_t kind, type, prot; bool asks, good; uint8_t why; } t[] = {
		{ VMF_PHYS_DEVICE, VMF_WC, VMF_R | VMF_W, false, true, 0 },
		{ VMF_PHYS_DEVICE, VMF_DEVICE, VMF_R, true, true, 0 },
		{ VMF_PHYS_RESERVED, VMF_WB, VMF_R, false, false, VMF_WHY_HOLE },
		{ VMF_PHYS_RESERVED, VMF_UC, VMF_R, true, true, 0 },
		{ VMF_PHYS_RESERVED, VMF_WB, VMF_R | VMF_W, true, false, VMF_WHY_POLICY },
	};
	struct vmf_entry e;
	struct rig r;
	vmf_va at;

	for (unsigned eager = 0; eager < 2; eager++)
		RIG_EACH(r)
			for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
				const struct vmf_range range = { .size = sizeof(range), .kind = t[i].kind, .first = { VMF_SIM_DEVICE },
								 .pages = 64, .attr = { .type = t[i].type } };
				struct vmf_devmem d = { .first = range.first, .pages = 4, .attr = { .strengthen = 1 }, .eager = eager };
				struct vmf_map map = rig_map(&r, 4, t[i].prot);

				CHECK_ERR(vmf_phys_remove(r.port, range.first), 0);
				CHECK_ERR(vmf_phys_add(r.port, &range), 0);
				vmf_phys_policy(r.port, t[i].asks ? roms_may_be_read : NULL, NULL);
				CHECK_ERR(vmf_devmem_open(&d, r.port), 0);
				CHECK_ERR(vmf_map(r.space, d.object, &map, &at), eager && !t[i].good ? -VMF_EPERM : 0);
				if (t[i].good) {
					CHECK_OK(vmf_sim_load(r.space, at + 3 * PAGE, &(char){ 0 }, 1));
					CHECK_ERR(vmf_space_pmap(r.space)->ops->query(vmf_space_pmap(r.space), at + 3 * PAGE, &e), 0);
					CHECK_EQ(e.attr.type, t[i].type);
				} else if (!eager) {
					CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, t[i].why);
				}
				CHECK_ERR(vmf_unmap(r.space, VMF_SIM_LOWEST, 4096), 0);
				vmf_devmem_close(&d);
			}
}

static const struct vmtest tests[] = {
	VMTEST(a_ring_is_faulted_in_any_order),
	VMTEST(its_frames_are_scattered),
	VMTEST(frames_are_replaced_under_the_program),
	VMTEST(a_ring_without_memory_leaves_nothing),
	VMTEST(a_ring_is_replaced_while_it_is_read),
	VMTEST(device_memory_is_mapped_lazily_or_at_once),
	VMTEST(a_fault_may_bring_a_run),
	VMTEST(nothing_outside_the_range_can_be_mapped),
	VMTEST(ranges_end_with_the_addresses),
	VMTEST(the_core_refuses_what_the_map_forbids),
	VMTEST(kinds_of_ranges),
};
VMTEST_MAIN(tests, 20)
