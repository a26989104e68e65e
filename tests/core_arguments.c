/* SPDX-License-Identifier: MIT
 *
 * What set-up calls refuse: no pointer, half a table of operations, numbers out of their range.  And what a port may
 * lack: slots, huge windows that keep what they promise.  On the worked port of host.h and pmap.h, whose tables can be
 * changed.
 */
#define VMF_WORKED_PORT
#include <vmfault/pmap.h>
#include "vmtest.h"

#define AT ((vmf_va)TINY_VA)

static struct tiny_host host, other_host;
static struct tiny_pmap pmap;
static uint32_t live; /* what was allocated and not freed */

static void *counted_alloc(void *self, size_t bytes)
{
	void *p = tiny_alloc(self, bytes);

	live += p != NULL;
	return p;
}

static void counted_free(void *self, void *p, size_t bytes)
{
	CHECK(p && live);
	live--;
	tiny_free(self, p, bytes);
}

static struct vmf_host_ops host_ops(void)
{
	struct vmf_host_ops ops = tiny_host_ops;

	ops.alloc = counted_alloc;
	ops.free = counted_free;
	return ops;
}

/* As tiny_port(), but with these operations. */
static int port_with(const struct vmf_host_ops *ops, struct vmf_port **port)
{
	struct vmf_range ram = { .size = sizeof(ram), .kind = VMF_PHYS_RAM, .pages = 256 };
	struct vmf_port_config c = {
		.size = sizeof(c), .abi = VMF_ABI, .host = ops, .self = &host, .slots = 1, .page_shift = 12,
	};
	int err;

	memset(&host, 0, sizeof(host));
	memset(&pmap, 0, sizeof(pmap));
	live = 0;
	err = vmf_port_create(port, &c);
	return err ? err : vmf_phys_add(*port, &ram);
}

static struct vmf_port *port_new(void)
{
	const struct vmf_host_ops ops = host_ops();
	struct vmf_port *port;

	CHECK_ERR(port_with(&ops, &port), 0);
	return port;
}

static void port_end(struct vmf_port *port)
{
	vmf_port_destroy(port);
	CHECK_EQ(live, 0);
}

static struct vmf_space *space_new(struct vmf_port *port, const struct vmf_pmap_ops *ops)
{
	struct vmf_space *space;

	pmap.pmap = (struct vmf_pmap){ ops, AT, AT + (64u << 12) };
	CHECK_ERR(vmf_space_create(port, &space, &pmap.pmap), 0);
	return space;
}

/* --------------------------------------------------------------------------------------------- a port */

static int a_segment(void *self, uint64_t pages, vmf_pfn *first)
{
	(void)self, (void)pages, (void)first;
	return -VMF_ENOMEM;
}

static void a_segment_free(void *self, vmf_pfn first, uint64_t pages) { (void)self, (void)first, (void)pages; }

static void a_port_needs_its_operations(void)
{
	const struct vmf_host_ops good = host_ops();
	static const size_t needed[] = {
		offsetof(struct vmf_host_ops, alloc), offsetof(struct vmf_host_ops, free), offsetof(struct vmf_host_ops, bytes),
		offsetof(struct vmf_host_ops, slot), offsetof(struct vmf_host_ops, wait), offsetof(struct vmf_host_ops, wake),
	};
	struct vmf_host_ops ops;
	struct vmf_port *port;

	for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		ops = good;
		memset((char *)&ops + needed[i], 0, sizeof(ops.alloc));
		vmtest_with = "without an operation";
		CHECK_ERR(port_with(&ops, &port), -VMF_ENOSYS);
	}
	/* Segments are made and freed, or there are none. */
	ops = good;
	ops.segment = a_segment;
	CHECK_ERR(port_with(&ops, &port), -VMF_ENOSYS);
	ops = good;
	ops.segment_free = a_segment_free;
	CHECK_ERR(port_with(&ops, &port), -VMF_ENOSYS);
	ops = good;
	ops.flags = 1;
	CHECK_ERR(port_with(&ops, &port), -VMF_EINVAL);
	ops = good;
	ops.size = 4;
	CHECK_ERR(port_with(&ops, &port), -VMF_EINVAL);
	CHECK_EQ(live, 0);
	port_end(port_new());
}

static void a_port_is_described_right(void)
{
	const struct vmf_host_ops ops = host_ops();
	const struct vmf_port_config good = {
		.size = sizeof(good), .abi = VMF_ABI, .host = &ops, .self = &host, .slots = 1, .page_shift = 12,
	};
	const struct { struct vmf_port_config c; int err; } t[] = {
		{ { .abi = VMF_ABI + 1, .host = &ops, .slots = 1, .page_shift = 12 }, -VMF_ENOSYS },
		{ { .abi = VMF_ABI, .slots = 1, .page_shift = 12 }, -VMF_ENOSYS },
		{ { .abi = VMF_ABI, .host = &ops, .page_shift = 12 }, -VMF_EINVAL },
		{ { .abi = VMF_ABI, .host = &ops, .slots = UINT32_MAX, .page_shift = 12 }, -VMF_EINVAL },
		{ { .abi = VMF_ABI, .host = &ops, .slots = 1, .page_shift = 11 }, -VMF_EINVAL },
		{ { .abi = VMF_ABI, .host = &ops, .slots = 1, .page_shift = 17 }, -VMF_EINVAL },
		{ { .abi = VMF_ABI, .host = &ops, .slots = 1, .page_shift = 12, .zero = { 0, 1 } }, -VMF_EINVAL },
	};
	struct vmf_port *port;

	live = 0;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmf_port_config c = t[i].c;
		int err;

		c.size = sizeof(c);
		err = vmf_port_create(&port, &c);
		if (err != t[i].err)
			vmtest_fail("row %u: %s", i, vmf_err_str(err));
	}
	CHECK_ERR(vmf_port_create(NULL, &good), -VMF_EINVAL);
	CHECK_ERR(vmf_port_create(&port, NULL), -VMF_EINVAL);
	CHECK_EQ(live, 0);
	vmf_port_destroy(NULL);
}

/* -------------------------------------------------------------------------------------------- a space */

static int no_supply(struct vmf_pmap *p)
{
	(void)p;
	return -VMF_ENOMEM;
}

static void a_space_needs_its_operations(void)
{
	static const size_t needed[] = {
		offsetof(struct vmf_pmap_ops, attach), offsetof(struct vmf_pmap_ops, detach),
		offsetof(struct vmf_pmap_ops, enter), offsetof(struct vmf_pmap_ops, remove),
		offsetof(struct vmf_pmap_ops, protect),
	};
	struct vmf_port *port = port_new();
	uint32_t before = live;
	struct vmf_pmap_ops ops;
	struct vmf_space *space;

	pmap.pmap.ops = &ops;
	for (unsigned i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		ops = tiny_pmap_ops;
		memset((char *)&ops + needed[i], 0, sizeof(ops.attach));
		CHECK_ERR(vmf_space_create(port, &space, &pmap.pmap), -VMF_ENOSYS);
	}
	ops = tiny_pmap_ops;
	ops.flags = 1;
	CHECK_ERR(vmf_space_create(port, &space, &pmap.pmap), -VMF_EINVAL);
	ops = tiny_pmap_ops;
	ops.supply = no_supply;
	CHECK_ERR(vmf_space_create(port, &space, &pmap.pmap), -VMF_ENOMEM);
	CHECK_ERR(vmf_space_create(port, &space, NULL), -VMF_ENOSYS);
	pmap.pmap.ops = NULL;
	CHECK_ERR(vmf_space_create(port, &space, &pmap.pmap), -VMF_ENOSYS);
	CHECK_ERR(vmf_space_create(NULL, &space, &pmap.pmap), -VMF_EINVAL);
	CHECK_ERR(vmf_space_create(port, NULL, &pmap.pmap), -VMF_EINVAL);
	CHECK_EQ(live, before);
	CHECK_ERR(vmf_space_destroy(NULL), 0);
	port_end(port);
}

/* ------------------------------------------------------------------------------- everything else */

static int no_length(void *self, uint64_t *bytes)
{
	(void)self;
	*bytes = 0;
	return 5;
}

static int length(void *self, uint64_t *bytes)
{
	(void)self;
	*bytes = 5 * 4096;
	return 0;
}

static int start(void *self, struct vmf_io *io)
{
	(void)self, (void)io;
	return 5;
}

static void objects_are_described_right(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) }, flags = { .size = sizeof(flags), .flags = 1 };
	static const struct vmf_backing_ops bytes = { .size = sizeof(bytes), .start = start, .length = length },
					    no_start = { .size = sizeof(bytes), .length = length },
					    unknown = { .size = sizeof(bytes), .start = start, .length = no_length };
	const struct { struct vmf_backed b; int err; } t[] = {
		{ { .ops = NULL }, -VMF_EINVAL },
		{ { .ops = &no_start }, -VMF_EINVAL },
		{ { .ops = &unknown }, -VMF_EIO },
		{ { .ops = &bytes, .around = 3 }, -VMF_EINVAL },
		{ { .ops = &bytes, .around = 2 * VMF_RUN_MAX }, -VMF_EINVAL },
		{ { .ops = &bytes, .readahead = VMF_RUN_MAX + 1 }, -VMF_EINVAL },
		{ { .ops = &bytes, .flags = 4 }, -VMF_EINVAL },
		{ { .ops = &bytes, .pages = UINT64_MAX }, -VMF_EINVAL },
	};
	struct vmf_backed good = { .size = sizeof(good), .ops = &bytes };
	struct vmf_port *port = port_new();
	uint32_t before = live;
	struct vmf_object *o;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmf_backed b = t[i].b;
		int err;

		b.size = sizeof(b);
		err = vmf_object_backed(port, &o, &b);
		if (err != t[i].err)
			vmtest_fail("row %u: %s", i, vmf_err_str(err));
	}
	CHECK_ERR(vmf_object_backed(NULL, &o, &good), -VMF_EINVAL);
	CHECK_ERR(vmf_object_backed(port, NULL, &good), -VMF_EINVAL);
	CHECK_ERR(vmf_object_backed(port, &o, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_object_create(NULL, &o, &zeroes, NULL, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_object_create(port, NULL, &zeroes, NULL, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_object_create(port, &o, NULL, NULL, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_object_create(port, &o, &flags, NULL, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_object_create(port, &o, &zeroes, NULL, 0), -VMF_EINVAL);
	CHECK_ERR(vmf_object_create(port, &o, &zeroes, NULL, UINT64_MAX), -VMF_EINVAL);
	CHECK_EQ(live, before);
	port_end(port);
}

static void nothing_is_no_argument(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 1, .prot = VMF_R };
	struct vmf_port *port = port_new(), *port2;
	struct vmf_space *space = space_new(port, &tiny_pmap_ops);
	struct vmf_object *o, *foreign;
	vmf_va at;

	CHECK_ERR(tiny_port(&other_host, &port2), 0);
	CHECK_ERR(vmf_object_create(port, &o, &zeroes, NULL, 4), 0);
	CHECK_ERR(vmf_object_create(port2, &foreign, &zeroes, NULL, 4), 0);
	CHECK_ERR(vmf_map(NULL, o, &map, &at), -VMF_EINVAL);
	CHECK_ERR(vmf_map(space, NULL, &map, &at), -VMF_EINVAL);
	CHECK_ERR(vmf_map(space, o, NULL, &at), -VMF_EINVAL);
	CHECK_ERR(vmf_map(space, foreign, &map, &at), -VMF_EINVAL);
	CHECK_ERR(vmf_map(space, o, &map, NULL), 0);
	CHECK_ERR(vmf_unmap(NULL, AT, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_protect(NULL, AT, 1, VMF_R), -VMF_EINVAL);
	CHECK_ERR(vmf_protect(space, AT, 1, 8), -VMF_EINVAL);
	CHECK_ERR(vmf_space_gone(NULL, AT, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_space_gone(space, AT + 1, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_space_moved(NULL, AT, AT, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_space_moved(space, AT + 1, AT, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_space_moved(space, AT, AT + 1, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_revoke(NULL, 0, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_revoke(o, 2, UINT64_MAX), -VMF_EINVAL);
	CHECK_ERR(vmf_sync(NULL, 0, 1, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_sync(o, 2, UINT64_MAX, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_object_resize(NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_object_resize(o), -VMF_EINVAL);
	CHECK_EQ(vmf_reclaim(NULL, 0, 1), 0);
	CHECK(!vmf_frame_at(o, 4));
	CHECK_EQ(vmf_page_state(o, UINT64_MAX), VMF_ABSENT);
	/* What was there is there. */
	CHECK_ERR(vmf_unmap(space, AT, 1), 0);
	vmf_object_put(o);
	vmf_object_put(foreign);
	vmf_port_destroy(port2);
	CHECK_ERR(vmf_space_destroy(space), 0);
	port_end(port);
}

static void the_memory_map_is_described_right(void)
{
	const struct vmf_range good = { .size = sizeof(good), .kind = VMF_PHYS_DEVICE, .first = { 1000 }, .pages = 1 };
	static const struct { struct vmf_range r; int err; } t[] = {
		{ { .kind = VMF_PHYS_HOLE, .first = { 1000 }, .pages = 1 }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_RESERVED + 1, .first = { 1000 }, .pages = 1 }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_RESERVED, .first = { 1000 } }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_RESERVED, .first = { UINT64_MAX }, .pages = 2 }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_RESERVED, .first = { 1000 }, .pages = 1, .zero = { 0, 1 } }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_DEVICE, .first = { 1000 }, .pages = 1, .attr.type = VMF_DEVICE + 1 }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_DEVICE, .first = { 1000 }, .pages = 1, .attr.zero = 1 }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_RAM, .first = { 1000 }, .pages = UINT32_MAX }, -VMF_EINVAL },
		{ { .kind = VMF_PHYS_RAM, .first = { 255 }, .pages = 2 }, -VMF_EEXIST },
	};
	struct vmf_port *port = port_new();
	uint32_t before = live;
	struct vmf_frame *frame;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmf_range r = t[i].r;
		int err;

		r.size = sizeof(r);
		err = vmf_phys_add(port, &r);
		if (err != t[i].err)
			vmtest_fail("row %u: %s", i, vmf_err_str(err));
	}
	CHECK_ERR(vmf_phys_add(NULL, &good), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_add(port, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_remove(NULL, good.first), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_remove(port, (vmf_pfn){ 1 }), -VMF_EINVAL);
	CHECK_ERR(vmf_frame_alloc(NULL, 0, 0, false, &frame), -VMF_EINVAL);
	CHECK_ERR(vmf_frame_alloc(port, 0, 0, false, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_frame_alloc(port, VMF_ORDER_MAX + 1, 0, false, &frame), -VMF_EINVAL);
	CHECK_EQ(live, before);
	port_end(port);
}

/* The part of a struct that the caller has: not even its size is written, and not what lies behind it. */
static void structs_are_filled_as_far_as_they_go(void)
{
	static const struct { uint32_t size, a, b; } ours = { 12, 1, 2 };
	struct { uint32_t size, a, b, c, d; } theirs;

	for (uint32_t size = 0; size <= 16; size += 4) {
		theirs.size = size;
		theirs.a = theirs.b = theirs.c = theirs.d = 9;
		vmf_struct_out(&theirs, &ours, sizeof(ours));
		CHECK_EQ(theirs.size, size);
		CHECK_EQ(theirs.a, size >= 8 ? 1 : 9);
		CHECK_EQ(theirs.b, size >= 12 ? 2 : 9);
		CHECK_EQ(theirs.c, size >= 16 ? 0 : 9);
		CHECK_EQ(theirs.d, 9);
	}
}

/* ----------------------------------------------------------------------------------- what a port lacks */

static uint32_t slot_of;

static uint32_t changing_slot(void *self)
{
	(void)self;
	return slot_of;
}

/* A fault waits for a slot; who only looks an area up takes the lock instead. */
static void without_a_slot(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 1, .prot = VMF_R };
	const struct vmf_trap trap = { .va = AT, .access = VMF_R };
	struct vmf_host_ops ops = host_ops();
	struct vmf_ticket ticket = { 0 };
	struct vmf_result r = { 0 };
	struct vmf_object *o;
	struct vmf_space *space;
	struct vmf_port *port;
	struct vmf_area *a;

	ops.slot = changing_slot;
	slot_of = 0;
	CHECK_ERR(port_with(&ops, &port), 0);
	space = space_new(port, &tiny_pmap_ops);
	CHECK_ERR(vmf_object_create(port, &o, &zeroes, NULL, 1), 0);
	CHECK_ERR(vmf_map(space, o, &map, NULL), 0);
	slot_of = VMF_NO_SLOT;
	CHECK_RESULT(vmf_handle(space, &trap, &ticket), VMF_RETRY, VMF_WHY_RESOURCE);
	a = vmf_area_find(space, AT);
	CHECK(a && vmf_area_va(a) == AT);
	vmf_area_put(a);
	CHECK(!vmf_area_find(space, AT + 4096));
	CHECK(!vmf_slot_holds(space, VMF_NO_SLOT, AT));
	slot_of = 0;
	vmf_ticket_drop(space, &ticket);
	CHECK(tiny_access(space, &host, AT, VMF_R, &r));
	CHECK_ERR(vmf_space_destroy(space), 0);
	vmf_object_put(o);
	port_end(port);
}

static struct vmf_window wanted;

static int wanted_attach(struct vmf_pmap *p, struct vmf_map *map, vmf_pfn segment, bool wants_raw, struct vmf_window *w)
{
	uint32_t size = w->size;

	(void)p, (void)map, (void)segment, (void)wants_raw;
	*w = wanted;
	w->size = size;
	return 0;
}

/* Whatever a pmap gives: what does not keep what was asked for is given back, and refused. */
static void windows_that_do_not_fit(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	static const struct vmf_backing_ops bytes = { .size = sizeof(bytes), .start = start, .length = length };
	struct vmf_backed config = { .size = sizeof(config), .ops = &bytes };
	static const struct {
		struct vmf_window w;
		struct vmf_map map;
		bool backed;
		int err;
	} t[] = {
		{ { .store = VMF_BY_ADDRESS, .orders = 1 }, { .flags = VMF_SHARED }, true, 0 },
		/* A cache of base pages behind huge ones. */
		{ { .store = VMF_BY_COPY, .orders = 1, .order = 9 }, { 0 }, true, -VMF_ENOSYS },
		/* What a window by offset shows is everybody's. */
		{ { .store = VMF_BY_OFFSET, .orders = 1 }, { 0 }, false, -VMF_ENOSYS },
		/* Private huge pages. */
		{ { .store = VMF_BY_ADDRESS, .orders = 1, .order = 9 }, { 0 }, false, -VMF_ENOSYS },
		{ { .store = VMF_BY_ADDRESS, .orders = 1 | 1 << 9 }, { .flags = VMF_SHARED, .order = 8 }, false, -VMF_ENOSYS },
		{ { .store = VMF_BY_ADDRESS, .orders = 1 | 1 << 9 }, { .flags = VMF_SHARED, .order = 9 }, false, 0 },
		{ { .store = VMF_BY_ADDRESS, .orders = 1 }, { .flags = VMF_SHARED, .action = VMF_BOLT }, false, -VMF_ENOSPC },
		{ { .store = VMF_BY_ADDRESS, .orders = 1 }, { .flags = VMF_SHARED, .action = VMF_RAW, .raw = { 5 } }, false,
		  -VMF_ENOSYS },
	};
	struct vmf_pmap_ops ops = tiny_pmap_ops;
	struct vmf_object *zero, *backed;
	struct vmf_port *port = port_new();
	struct vmf_space *space;

	ops.attach = wanted_attach;
	space = space_new(port, &ops);
	CHECK_ERR(vmf_object_create(port, &zero, &zeroes, NULL, 1024), 0);
	CHECK_ERR(vmf_object_backed(port, &backed, &config), 0);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmf_map map = t[i].map;
		int err;

		map.size = sizeof(map);
		map.pages = 1;
		map.prot = VMF_R;
		wanted = t[i].w;
		err = vmf_map(space, t[i].backed ? backed : zero, &map, NULL);
		if (err != t[i].err)
			vmtest_fail("row %u: %s", i, vmf_err_str(err));
		CHECK(!err == !!vmf_area_find(space, AT));
		if (!err) {
			struct vmf_area *a = vmf_area_find(space, AT);

			vmf_area_put(a);
			vmf_area_put(a); /* the one above */
			CHECK_ERR(vmf_unmap(space, AT, 1), 0);
		}
	}
	vmf_object_put(zero);
	vmf_object_put(backed);
	CHECK_ERR(vmf_space_destroy(space), 0);
	port_end(port);
}

static const struct vmtest tests[] = {
	VMTEST(a_port_needs_its_operations),
	VMTEST(a_port_is_described_right),
	VMTEST(a_space_needs_its_operations),
	VMTEST(objects_are_described_right),
	VMTEST(nothing_is_no_argument),
	VMTEST(the_memory_map_is_described_right),
	VMTEST(structs_are_filled_as_far_as_they_go),
	VMTEST(without_a_slot),
	VMTEST(windows_that_do_not_fit),
};

VMTEST_MAIN(tests, 20)
