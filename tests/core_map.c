/* SPDX-License-Identifier: MIT
 *
 * Map, unmap, protect and cut: what is refused, what drivers are told, and random changes against a model of each page,
 * with failures in between that must change nothing.
 */
#include "rig.h"

#define BASE VMF_SIM_LOWEST

/* A driver that notes what it is told.  Its pages are the core's zeroes on demand. */
struct driver {
	struct vmf_object *object;
	int opened, closed, released;
	int map_err, split_err;
	struct vmf_map amend; /* pages != 0: what map makes of every description */
	vmf_va split_at;
	void *last_priv;
};

static int driver_map(struct vmf_object *object, struct vmf_map *map)
{
	struct driver *d = vmf_object_priv(object);

	if (d->map_err)
		return d->map_err;
	if (d->amend.pages)
		*map = d->amend;
	return 0;
}

static int driver_split(struct vmf_area *a, vmf_va va)
{
	struct driver *d = vmf_object_priv(vmf_area_object(a));

	CHECK(va > vmf_area_va(a) && va < vmf_area_va(a) + vmf_area_pages(a) * PAGE);
	d->split_at = va;
	return d->split_err;
}

static void driver_opened(struct vmf_area *a)
{
	struct driver *d = vmf_object_priv(vmf_area_object(a));

	d->opened++;
}

static void driver_closed(struct vmf_area *a)
{
	struct driver *d = vmf_object_priv(vmf_area_object(a));

	d->closed++;
	d->last_priv = vmf_area_priv(a);
}

static void driver_release(struct vmf_object *object, void *priv)
{
	struct driver *d = priv;

	CHECK(d->object == object);
	CHECK_EQ(d->opened, d->closed);
	d->released++;
}

static const struct vmf_ops driver_ops = {
	.size = sizeof(driver_ops), .map = driver_map, .split = driver_split,
	.opened = driver_opened, .closed = driver_closed, .release = driver_release,
};

static void driver_open(struct driver *d, struct rig *r, uint64_t pages)
{
	*d = (struct driver){ 0 };
	CHECK_ERR(vmf_object_create(r->port, &d->object, &driver_ops, d, pages), 0);
}

static void driver_close(struct driver *d)
{
	vmf_object_put(d->object);
	CHECK_EQ(d->released, 1);
	CHECK_EQ(d->opened, d->closed);
}

static int map_at(struct rig *r, struct driver *d, vmf_va va, uint64_t pages, uint64_t off, unsigned prot)
{
	struct vmf_map map = rig_map(r, pages, prot);
	vmf_va at = 0;
	int err;

	map.flags |= VMF_FIXED;
	map.va = va;
	map.off = off;
	err = vmf_map(r->space, d->object, &map, &at);
	CHECK(err || at == va);
	return err;
}

/* ----------------------------------------------------------------------------------- what is refused */

static void bad_descriptions_are_refused(void)
{
	static const struct { struct vmf_map m; int err; } t[] = {
		{ { .pages = 0, .prot = VMF_R }, -VMF_EINVAL },
		{ { .pages = UINT64_MAX, .prot = VMF_R }, -VMF_EINVAL },
		{ { .pages = UINT64_MAX / PAGE + 2, .prot = VMF_R }, -VMF_EINVAL },
		{ { .pages = 1, .prot = 8 }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R, .maxprot = 8 }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R | VMF_W, .maxprot = VMF_R }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R, .off = UINT64_MAX }, -VMF_EINVAL },
		{ { .pages = 2, .prot = VMF_R, .off = UINT64_MAX - 1 }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R, .action = 4 }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R, .order = 200 }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R, .flags = 1u << 31 }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R, .attr.type = 9 }, -VMF_EINVAL },
		{ { .pages = 1, .prot = VMF_R, .flags = VMF_FIXED, .va = BASE + 1 }, -VMF_EINVAL },
		{ { .pages = 2, .prot = VMF_R, .flags = VMF_FIXED, .va = (vmf_va)0 - PAGE }, -VMF_EINVAL },
		{ { .pages = UINT64_MAX / PAGE, .prot = VMF_R, .flags = VMF_FIXED, .va = BASE }, -VMF_EINVAL },
		{ { .pages = 1ull << 40, .prot = VMF_R }, -VMF_ENOSPC },
	};
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, 16);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct vmf_map m = t[i].m;
			int err;

			m.size = sizeof(m);
			m.flags ^= r.store == VMF_BY_COPY ? 0 : VMF_SHARED;
			err = vmf_map(r.space, d.object, &m, &at);
			if (err != t[i].err)
				vmtest_fail("row %u: %s", i, vmf_err_str(err));
		}
		CHECK_EQ(d.opened, 0);
		driver_close(&d);
	}
}

static void sizes_are_checked(void)
{
	struct { struct vmf_map map; uint64_t tail; } longer;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, 16);
		longer.map = rig_map(&r, 1, VMF_R);
		longer.map.size = 0;
		CHECK_ERR(vmf_map(r.space, d.object, &longer.map, &at), -VMF_EINVAL);
		longer.map.size = sizeof(longer);
		longer.tail = 1;
		CHECK_ERR(vmf_map(r.space, d.object, &longer.map, &at), -VMF_E2BIG);
		longer.tail = 0;
		CHECK_ERR(vmf_map(r.space, d.object, &longer.map, &at), 0);
		CHECK_ERR(vmf_unmap(r.space, at, 1), 0);
		driver_close(&d);
	}
}

static void windows_have_their_kind(void)
{
	struct vmf_window w = VMF_INIT(struct vmf_window);
	struct vmf_area *a;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		struct vmf_map map = rig_map(&r, 1, VMF_R);

		driver_open(&d, &r, 16);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		a = vmf_area_find(r.space, at);
		vmf_area_window(a, &w);
		CHECK_EQ(w.store, r.store);
		vmf_area_put(a);
		CHECK_ERR(vmf_unmap(r.space, at, 1), 0);
		map.flags ^= VMF_SHARED;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), r.store == VMF_BY_ADDRESS ? 0 : -VMF_ENOSYS);
		CHECK_ERR(vmf_unmap(r.space, at, 1), 0);
		driver_close(&d);
	}
}

static void an_object_stays_on_its_port(void)
{
	struct rig a, b;
	struct driver d;
	vmf_va at;

	rig_open(&a, VMF_BY_ADDRESS);
	rig_open(&b, VMF_BY_ADDRESS);
	driver_open(&d, &a, 1);
	{
		struct vmf_map map = rig_map(&b, 1, VMF_R);

		CHECK_ERR(vmf_map(b.space, d.object, &map, &at), -VMF_EINVAL);
	}
	driver_close(&d);
	rig_close(&a);
	rig_close(&b);
}

static void areas_never_overlap(void)
{
	static const struct { int first, pages, err; } t[] = {
		{ 4, 4, -VMF_EEXIST }, { 3, 2, -VMF_EEXIST }, { 7, 2, -VMF_EEXIST }, { 0, 16, -VMF_EEXIST },
		{ 5, 1, -VMF_EEXIST }, { 0, 4, 0 }, { 8, 4, 0 }, { 0, 12, -VMF_EEXIST }, { 12, 1, 0 },
	};
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, 64);
		CHECK_ERR(map_at(&r, &d, BASE + 4 * PAGE, 4, 0, VMF_R), 0);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
			CHECK_ERR(map_at(&r, &d, BASE + (vmf_va)t[i].first * PAGE, (uint64_t)t[i].pages, 0, VMF_R), t[i].err);
		CHECK_EQ(d.opened, 4);
		CHECK_ERR(vmf_unmap(r.space, BASE, 64), 0);
		driver_close(&d);
	}
}

static void the_first_gap_is_taken(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, 64);
		CHECK_ERR(map_at(&r, &d, BASE + 2 * PAGE, 2, 0, VMF_R), 0);
		CHECK_ERR(map_at(&r, &d, BASE + 8 * PAGE, 2, 0, VMF_R), 0);
		map = rig_map(&r, 3, VMF_R);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_EQ(at, BASE + 4 * PAGE);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_EQ(at, BASE + 10 * PAGE);
		map.pages = 2;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_EQ(at, BASE);
		map.pages = 1;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_EQ(at, BASE + 7 * PAGE);
		/* All that is left above, and then nothing.  (By address, removing is work for each page of an area.) */
		map.pages = r.store == VMF_BY_ADDRESS ? 1ull << 35 : (VMF_SIM_HIGHEST - (BASE + 13 * PAGE)) / PAGE + 1;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_ENOSPC);
		if (r.store == VMF_BY_ADDRESS) {
			CHECK_ERR(vmf_unmap(r.space, BASE, 64), 0);
			driver_close(&d);
			continue;
		}
		map.pages--;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_EQ(at, BASE + 13 * PAGE);
		map.pages = 1;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_ENOSPC);
		CHECK_EQ(rig_byte(&r, VMF_SIM_HIGHEST - 1), -VMF_SIGBUS);
		CHECK_ERR(vmf_unmap(r.space, BASE, (VMF_SIM_HIGHEST - BASE) / PAGE), 0);
		driver_close(&d);
	}
}

static void bad_ranges_are_refused(void)
{
	static const struct { vmf_va va; uint64_t pages; } t[] = {
		{ BASE + 1, 1 }, { BASE, 0 }, { BASE, UINT64_MAX }, { BASE, UINT64_MAX / PAGE + 1 },
		{ (vmf_va)0 - PAGE, 2 }, { BASE, UINT64_MAX / PAGE },
	};
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, 64);
		CHECK_ERR(map_at(&r, &d, BASE, 4, 0, VMF_R), 0);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			CHECK_ERR(vmf_unmap(r.space, t[i].va, t[i].pages), -VMF_EINVAL);
			CHECK_ERR(vmf_protect(r.space, t[i].va, t[i].pages, VMF_R), -VMF_EINVAL);
		}
		CHECK_ERR(vmf_protect(r.space, BASE, 1, 8), -VMF_EINVAL);
		CHECK_ERR(vmf_unmap(r.space, BASE + 64 * PAGE, 10), 0);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)0 - PAGE, 1), 0);
		CHECK_EQ(d.closed, 0);
		CHECK_ERR(vmf_unmap(r.space, BASE, 4), 0);
		CHECK_ERR(vmf_unmap(r.space, BASE, 4), 0);
		CHECK_EQ(d.closed, 1);
		driver_close(&d);
	}
}

/* ------------------------------------------------------------------------------------ what drivers do */

static void map_amends_or_refuses(void)
{
	struct vmf_map map;
	struct vmf_area *a;
	struct driver d;
	struct rig r;
	vmf_va at;
	int mark;

	RIG_EACH(r) {
		driver_open(&d, &r, 64);
		map = rig_map(&r, 3, VMF_R | VMF_W);
		d.map_err = -VMF_EPERM;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_EPERM);
		d.map_err = VMF_EBUSY;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_EBUSY);
		d.map_err = 0;
		CHECK_EQ(d.opened, 0);
		d.amend = map;
		d.amend.pages = 2;
		d.amend.off = 7;
		d.amend.prot = VMF_R;
		d.amend.priv = &mark;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		a = vmf_area_find(r.space, at);
		CHECK_EQ(vmf_area_pages(a), 2);
		CHECK_EQ(vmf_area_off(a), 7);
		CHECK(vmf_area_priv(a) == &mark && vmf_area_object(a) == d.object && vmf_area_space(a) == r.space);
		vmf_area_put(a);
		CHECK_RESULT(vmf_sim_store(r.space, at, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_ERR(vmf_protect(r.space, at, 2, VMF_R | VMF_W), -VMF_EPERM);
		CHECK_ERR(vmf_unmap(r.space, at, 2), 0);
		CHECK(d.last_priv == &mark);
		/* What a driver makes of a description is checked like any other. */
		d.amend.pages = UINT64_MAX;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_EINVAL);
		driver_close(&d);
	}
}

static void a_cut_can_be_refused(void)
{
	struct driver d, other;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, 64);
		driver_open(&other, &r, 64);
		CHECK_ERR(map_at(&r, &other, BASE, 4, 0, VMF_R | VMF_W), 0);
		CHECK_ERR(map_at(&r, &d, BASE + 4 * PAGE, 4, 0, VMF_R | VMF_W), 0);
		CHECK_OK(vmf_sim_store(r.space, BASE + PAGE, "abc", 3));
		d.split_err = -VMF_EBUSY;
		CHECK_ERR(vmf_unmap(r.space, BASE, 6), -VMF_EBUSY);
		CHECK_EQ(d.split_at, BASE + 6 * PAGE);
		CHECK_ERR(vmf_unmap(r.space, BASE + 5 * PAGE, 8), -VMF_EBUSY);
		CHECK_EQ(d.split_at, BASE + 5 * PAGE);
		CHECK_ERR(vmf_protect(r.space, BASE, 6, VMF_R), -VMF_EBUSY);
		d.split_err = VMF_EPERM;
		CHECK_ERR(vmf_unmap(r.space, BASE + 5 * PAGE, 1), -VMF_EPERM);
		CHECK_EQ(d.closed + other.closed, 0);
		CHECK_EQ(d.opened + other.opened, 2);
		CHECK_EQ(rig_byte(&r, BASE + PAGE), 'a');
		/* The whole of it is no cut. */
		CHECK_ERR(vmf_protect(r.space, BASE, 8, VMF_R), 0);
		CHECK_ERR(vmf_unmap(r.space, BASE, 64), 0);
		driver_close(&d);
		driver_close(&other);
	}
}

static void pieces_are_opened_and_closed(void)
{
	struct vmf_area *a;
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, 64);
		CHECK_ERR(map_at(&r, &d, BASE, 10, 5, VMF_R | VMF_W), 0);
		CHECK_EQ(d.opened - d.closed, 1);
		CHECK_ERR(vmf_unmap(r.space, BASE + 4 * PAGE, 2), 0);
		CHECK_EQ(d.opened - d.closed, 2);
		a = vmf_area_find(r.space, BASE + 6 * PAGE);
		CHECK_EQ(vmf_area_off(a), 11);
		CHECK_EQ(vmf_area_pages(a), 4);
		vmf_area_put(a);
		CHECK(!vmf_area_find(r.space, BASE + 5 * PAGE));
		CHECK_ERR(vmf_protect(r.space, BASE + PAGE, 1, VMF_R), 0);
		CHECK_EQ(d.opened - d.closed, 4);
		CHECK_ERR(vmf_unmap(r.space, BASE, 64), 0);
		CHECK_EQ(d.opened - d.closed, 0);
		driver_close(&d);
	}
}

static void protect_needs_all_of_the_range(void)
{
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, 64);
		CHECK_ERR(map_at(&r, &d, BASE + 2 * PAGE, 2, 0, VMF_R | VMF_W), 0);
		CHECK_ERR(map_at(&r, &d, BASE + 5 * PAGE, 2, 2, VMF_R | VMF_W), 0);
		CHECK_ERR(vmf_protect(r.space, BASE + 2 * PAGE, 5, VMF_R), -VMF_EFAULT);
		CHECK_ERR(vmf_protect(r.space, BASE + PAGE, 2, VMF_R), -VMF_EFAULT);
		CHECK_ERR(vmf_protect(r.space, BASE + 6 * PAGE, 2, VMF_R), -VMF_EFAULT);
		CHECK_ERR(vmf_protect(r.space, BASE + 32 * PAGE, 1, VMF_R), -VMF_EFAULT);
		CHECK_ERR(vmf_protect(r.space, BASE + 5 * PAGE, 1, VMF_R | VMF_X), -VMF_EPERM);
		CHECK_EQ(d.opened, 2);
		CHECK_OK(vmf_sim_store(r.space, BASE + 2 * PAGE, "x", 1));
		CHECK_ERR(vmf_protect(r.space, BASE + 2 * PAGE, 2, VMF_R), 0);
		CHECK_RESULT(vmf_sim_store(r.space, BASE + 2 * PAGE, "y", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_EQ(rig_byte(&r, BASE + 2 * PAGE), 'x');
		CHECK_ERR(vmf_protect(r.space, BASE + 2 * PAGE, 2, 0), 0);
		CHECK_EQ(rig_byte(&r, BASE + 2 * PAGE), -VMF_SIGSEGV);
		CHECK_ERR(vmf_protect(r.space, BASE + 2 * PAGE, 2, VMF_R | VMF_W), 0);
		CHECK_OK(vmf_sim_store(r.space, BASE + 2 * PAGE, "z", 1));
		CHECK_EQ(rig_byte(&r, BASE + 2 * PAGE), 'z');
		CHECK_RESULT(vmf_sim_fetch(r.space, BASE + 2 * PAGE, &(char){ 0 }, 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_ERR(vmf_unmap(r.space, BASE, 64), 0);
		driver_close(&d);
	}
}

/* The second of three areas fails: the first allows again what it allowed, and no more than that. */
static void a_failed_protect_is_undone(void)
{
	for (unsigned with = 0; with < 12; with++) {
		const struct vmf_sim_config config = {
			.size = sizeof(config), .store = (uint8_t)(with % 3), .protect = with / 3 % 2, .ram_pages = RAM,
		};
		unsigned from = with < 6 ? VMF_R : VMF_R | VMF_W, to = with < 6 ? VMF_R | VMF_W : VMF_R;
		struct vmf_map map;
		struct driver d;
		struct rig r;

		rig_open_as(&r, &config);
		driver_open(&d, &r, 64);
		for (unsigned i = 0; i < 3; i++) {
			map = rig_map(&r, 2, from);
			map.maxprot = VMF_R | VMF_W;
			map.flags |= VMF_FIXED;
			map.va = BASE + i * 2 * PAGE;
			map.off = i * 2;
			CHECK_ERR(vmf_map(r.space, d.object, &map, NULL), 0);
			CHECK_EQ(rig_byte(&r, map.va), 0);
			if (from & VMF_W)
				CHECK_OK(vmf_sim_store(r.space, map.va, "a", 1));
		}
		vmf_sim_fail(r.sim, VMF_SIM_PROTECT, 2, VMF_EBUSY);
		CHECK_ERR(vmf_protect(r.space, BASE, 6, to), -VMF_EBUSY);
		CHECK_EQ(d.opened - d.closed, 3);
		for (unsigned i = 0; i < 3; i++) {
			struct vmf_result result = vmf_sim_store(r.space, BASE + i * 2 * PAGE, "b", 1);

			CHECK_EQ(result.code, from & VMF_W ? VMF_OK : VMF_SIGSEGV);
			CHECK_EQ(rig_byte(&r, BASE + i * 2 * PAGE), from & VMF_W ? 'b' : 0);
		}
		CHECK_ERR(vmf_unmap(r.space, BASE, 6), 0);
		driver_close(&d);
		rig_close(&r);
	}
}

static void populate_brings_all_or_nothing(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, 8);
		map = rig_map(&r, 8, VMF_R | VMF_W);
		map.action = VMF_POPULATE;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		for (unsigned i = 0; i < 8; i++)
			CHECK(rig_present(&r, at + i * PAGE));
		CHECK_EQ(vmf_sim_unflushed(r.space), 0);
		CHECK_ERR(vmf_unmap(r.space, at, 8), 0);
		map.pages = 9; /* one too many */
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_EFAULT);
		CHECK(!vmf_area_find(r.space, BASE));
		CHECK_EQ(d.opened, d.closed);
		driver_close(&d);
	}
}

static void bolts_are_counted(void)
{
	for (unsigned store = 0; store < 3; store++) {
		const struct vmf_sim_config config = {
			.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM, .bolts = 6,
		};
		struct vmf_map map;
		struct driver d;
		struct rig r;
		vmf_va at, again;

		rig_open_as(&r, &config);
		driver_open(&d, &r, 8);
		map = rig_map(&r, 4, VMF_R | VMF_W);
		map.action = VMF_BOLT;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &again), -VMF_ENOSPC);
		CHECK_OK(vmf_sim_store(r.space, at, "abc", 3));
		vmf_sim_forget(r.space, at, 4);
		for (unsigned i = 0; i < 4; i++)
			CHECK(rig_present(&r, at + i * PAGE));
		CHECK_ERR(vmf_unmap(r.space, at, 2), 0);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &again), 0);
		CHECK_ERR(vmf_unmap(r.space, BASE, 64), 0);
		driver_close(&d);
		rig_close(&r);
	}
}

/* ---------------------------------------------------------------------------------------------- raw */

static void raw_at_map_time(void)
{
	static const struct { uint64_t pfn, pages; unsigned type; int err; } t[] = {
		{ VMF_SIM_DEVICE, 256, VMF_UC, 0 },
		{ VMF_SIM_DEVICE + 1, 255, VMF_DEVICE, 0 },
		{ VMF_SIM_DEVICE, 257, VMF_UC, -VMF_EPERM },
		{ VMF_SIM_DEVICE - 1, 2, VMF_UC, -VMF_EPERM },
		{ VMF_SIM_DEVICE, 4, VMF_WB, -VMF_EPERM },
		{ VMF_SIM_RESERVED, 1, VMF_UC, -VMF_EPERM },
		{ VMF_SIM_RAM, 1, VMF_UC, -VMF_EPERM },
		{ 0, 1, VMF_UC, -VMF_EPERM },
		{ UINT64_MAX, 2, VMF_UC, -VMF_EPERM },
	};
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, 512);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct vmf_map map = rig_map(&r, t[i].pages, VMF_R | VMF_W);
			uint64_t faults = rig_stats(&r).faults;

			map.action = VMF_RAW;
			map.raw.n = t[i].pfn;
			map.attr.type = (uint8_t)t[i].type;
			CHECK_ERR(vmf_map(r.space, d.object, &map, &at), t[i].err);
			CHECK_EQ(d.opened - d.closed, !t[i].err);
			if (t[i].err)
				continue;
			CHECK_EQ(rig_stats(&r).faults, faults);
			for (uint64_t p = 0; p < t[i].pages; p++) {
				uint8_t *bytes = vmf_sim_device(r.sim, t[i].pfn - VMF_SIM_DEVICE + p);

				CHECK(rig_present(&r, at + p * PAGE));
				CHECK_OK(vmf_sim_store(r.space, at + p * PAGE, &p, 1));
				CHECK_EQ(bytes[0], (uint8_t)p);
			}
			CHECK_EQ(rig_stats(&r).faults, faults);
			/* The area itself knows what was forgotten. */
			vmf_sim_forget(r.space, at, t[i].pages);
			for (uint64_t p = 0; p < t[i].pages; p++)
				CHECK_EQ(rig_byte(&r, at + p * PAGE), (uint8_t)p);
			CHECK_ERR(vmf_unmap(r.space, at, t[i].pages), 0);
			CHECK(!rig_present(&r, at));
		}
		driver_close(&d);
	}
}

/* Nothing is left of a range that could not be entered whole. */
static void raw_is_whole_or_not_at_all(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		struct vmf_map map = rig_map(&r, 200, VMF_R);

		driver_open(&d, &r, 512);
		map.action = VMF_RAW;
		map.raw.n = VMF_SIM_DEVICE;
		map.attr.type = VMF_UC;
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, VMF_ENOSPC);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_ENOSPC);
		CHECK(!vmf_area_find(r.space, BASE));
		for (unsigned p = 0; p < 200; p++)
			CHECK(!rig_present(&r, BASE + p * PAGE));
		CHECK_EQ(d.opened, 0);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_EQ(at, BASE);
		CHECK_ERR(vmf_unmap(r.space, at, 200), 0);
		driver_close(&d);
	}
}

/* --------------------------------------------------------------------------------- against a model */

#define PAGES 96u
#define OBJECTS 3u
#define LENGTH 64u

struct page { struct driver *d; uint64_t off; uint8_t prot, maxprot; int byte; };
struct model {
	struct rig *r;
	struct driver d[OBJECTS];
	struct page page[PAGES];
	uint8_t byte[OBJECTS][LENGTH]; /* shared bytes, where they are */
	uint64_t seed;
};

static unsigned pick(struct model *m, unsigned n)
{
	return vmtest_random(&m->seed) % n;
}

static vmf_va address(unsigned page)
{
	return BASE + page * PAGE;
}

static int *model_byte(struct model *m, struct page *p, int *shared)
{
	*shared = m->byte[p->d - m->d][p->off];
	return m->r->store == VMF_BY_COPY ? &p->byte : shared;
}

static void check_page(struct model *m, unsigned i, bool look)
{
	struct vmf_area *a = vmf_area_find(m->r->space, address(i));
	struct page *p = &m->page[i];
	int shared;

	CHECK((a != NULL) == (p->d != NULL));
	if (!a)
		return;
	CHECK(vmf_area_object(a) == p->d->object);
	CHECK_EQ(vmf_area_off(a) + (address(i) - vmf_area_va(a)) / PAGE, p->off);
	vmf_area_put(a);
	if (look && p->off < LENGTH)
		CHECK_EQ(rig_byte(m->r, address(i)), p->prot & VMF_R ? *model_byte(m, p, &shared) : -VMF_SIGSEGV);
	if (look && p->off >= LENGTH && p->prot & VMF_R)
		CHECK_RESULT(vmf_sim_load(m->r->space, address(i), &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_EOF);
}

static void check_model(struct model *m, bool look)
{
	for (unsigned i = 0; i < PAGES; i++)
		check_page(m, i, look);
	CHECK_EQ(vmf_sim_unflushed(m->r->space), 0);
}

/* A call that fails of itself is right only if the model says so; one that we made fail must change nothing. */
static void step_map(struct model *m)
{
	unsigned o = pick(m, OBJECTS), first = pick(m, PAGES), n = 1 + pick(m, PAGES - first < 12 ? PAGES - first : 12);
	unsigned prot = pick(m, 8), maxprot = prot | pick(m, 8), off = pick(m, LENGTH);
	struct vmf_map map = rig_map(m->r, n, prot);
	bool free = true;
	vmf_va at;
	int err;

	map.maxprot = (uint8_t)maxprot;
	map.flags |= VMF_FIXED;
	map.va = address(first);
	map.off = off;
	for (unsigned i = 0; i < n; i++)
		free &= !m->page[first + i].d;
	err = vmf_map(m->r->space, m->d[o].object, &map, &at);
	CHECK(err || free);
	CHECK(!err || err == (free ? -VMF_ENOMEM : -VMF_EEXIST) || err == -VMF_EBUSY || err == -VMF_ENOMEM);
	for (unsigned i = 0; !err && i < n; i++)
		m->page[first + i] = (struct page){ &m->d[o], off + i, (uint8_t)prot, (uint8_t)(maxprot ? maxprot : prot), 0 };
}

static void step_unmap(struct model *m)
{
	unsigned first = pick(m, PAGES), n = 1 + pick(m, PAGES - first < 20 ? PAGES - first : 20);
	int err = vmf_unmap(m->r->space, address(first), n);
	bool stays = false;

	CHECK(!err || err == -VMF_EBUSY || err == -VMF_ENOMEM);
	/* What could not be detached stays, and so does everything above it. */
	for (unsigned i = 0; i < n; i++) {
		struct vmf_area *a = vmf_area_find(m->r->space, address(first + i));

		stays |= a != NULL;
		if (!stays)
			m->page[first + i] = (struct page){ 0 };
		vmf_area_put(a);
	}
	CHECK(!stays || err);
}

static void step_protect(struct model *m)
{
	unsigned first = pick(m, PAGES), n = 1 + pick(m, PAGES - first < 8 ? PAGES - first : 8), prot = pick(m, 8);
	int err = vmf_protect(m->r->space, address(first), n, prot), want = 0;

	for (unsigned i = 0; i < n; i++)
		if (!m->page[first + i].d)
			want = want ? want : -VMF_EFAULT;
		else if (prot & ~m->page[first + i].maxprot)
			want = want ? want : -VMF_EPERM;
	CHECK(want ? err == -VMF_EFAULT || err == -VMF_EPERM : !err || err == -VMF_EBUSY || err == -VMF_ENOMEM);
	for (unsigned i = 0; !err && i < n; i++)
		m->page[first + i].prot = (uint8_t)prot;
}

static void step_store(struct model *m)
{
	unsigned i = pick(m, PAGES);
	uint8_t byte = (uint8_t)(1 + pick(m, 255));
	struct page *p = &m->page[i];
	struct vmf_result r = vmf_sim_store(m->r->space, address(i), &byte, 1);

	if (!p->d || !(p->prot & VMF_W)) {
		CHECK_EQ(r.code, VMF_SIGSEGV);
	} else if (p->off >= LENGTH) {
		CHECK_EQ(r.code, VMF_SIGBUS);
	} else {
		CHECK_OK(r);
		p->byte = m->byte[p->d - m->d][p->off] = byte;
	}
}

static void fail_something(struct model *m)
{
	static const struct { enum vmf_sim_point point; int err; } t[] = {
		{ VMF_SIM_ALLOC, VMF_ENOMEM }, { VMF_SIM_ATTACH, VMF_EBUSY }, { VMF_SIM_DETACH, VMF_EBUSY },
		{ VMF_SIM_PROTECT, VMF_EBUSY }, { VMF_SIM_REMOVE, VMF_EBUSY },
	};
	unsigned i = pick(m, 5);

	vmf_sim_fail(m->r->sim, t[i].point, 1 + pick(m, t[i].point == VMF_SIM_ALLOC ? 6 : 3), t[i].err);
}

static void run_model(struct rig *r, bool failing, uint64_t seed)
{
	static struct model m;
	int areas = 0;

	m = (struct model){ .r = r, .seed = seed };
	for (unsigned o = 0; o < OBJECTS; o++)
		driver_open(&m.d[o], r, LENGTH);
	for (unsigned step = 0; step < 3000; step++) {
		unsigned what = pick(&m, 8);

		if (failing && pick(&m, 2))
			fail_something(&m);
		if (what < 3)
			step_map(&m);
		else if (what < 4)
			step_unmap(&m);
		else if (what < 6)
			step_protect(&m);
		else
			step_store(&m);
		for (unsigned p = 0; failing && p < VMF_SIM_POINTS; p++)
			vmf_sim_fail(r->sim, (enum vmf_sim_point)p, 0, 0);
		check_model(&m, step % 8 == 0);
	}
	for (unsigned i = 0; i < PAGES; i++) {
		struct vmf_area *a = vmf_area_find(r->space, address(i));

		areas += a && vmf_area_va(a) == address(i);
		vmf_area_put(a);
	}
	for (unsigned o = 0; o < OBJECTS; o++)
		areas -= m.d[o].opened - m.d[o].closed;
	CHECK_EQ(areas, 0);
	CHECK_ERR(vmf_unmap(r->space, BASE, PAGES), 0);
	for (unsigned o = 0; o < OBJECTS; o++)
		driver_close(&m.d[o]);
}

static void random_changes(void)
{
	struct rig r;

	for (uint64_t seed = 1; seed <= 3; seed++)
		RIG_EACH(r)
			run_model(&r, false, seed);
}

static void random_changes_with_failures(void)
{
	struct rig r;

	for (uint64_t seed = 11; seed <= 13; seed++)
		RIG_EACH(r)
			run_model(&r, true, seed);
}

/* A pmap that says that its layout is changing is asked again, for a while. */
static void a_changing_layout_is_tried_again(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, LENGTH);
		map = rig_map(&r, 8, VMF_R | VMF_W);
		vmf_sim_fail(r.sim, VMF_SIM_ATTACH, 1, VMF_EAGAIN);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_OK(vmf_sim_store(r.space, at + PAGE, "x", 1));
		vmf_sim_fail(r.sim, VMF_SIM_PROTECT, 1, VMF_EAGAIN);
		CHECK_ERR(vmf_protect(r.space, at, 4, VMF_R), 0);
		CHECK_EQ(rig_byte(&r, at + PAGE), 'x');
		CHECK_RESULT(vmf_sim_store(r.space, at + PAGE, "y", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		vmf_sim_fail(r.sim, VMF_SIM_DETACH, 1, VMF_EAGAIN);
		CHECK_ERR(vmf_unmap(r.space, at + 2 * PAGE, 6), 0);
		CHECK_EQ(d.opened - d.closed, 1);
		CHECK_ERR(vmf_unmap(r.space, at, 8), 0);
		driver_close(&d);
	}
}

/* ---------------------------------------------------------------------------- what happens underneath */

static void what_is_gone_or_moved(void)
{
	struct vmf_area *a;
	struct driver d;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	driver_open(&d, &r, 64);
	CHECK_ERR(map_at(&r, &d, BASE, 8, 0, VMF_R | VMF_W), 0);
	CHECK_ERR(vmf_space_moved(r.space, BASE + 2 * PAGE, BASE + 20 * PAGE, 2), 0);
	a = vmf_area_find(r.space, BASE + 21 * PAGE);
	CHECK(a);
	CHECK_EQ(vmf_area_off(a), 2);
	CHECK_EQ(vmf_area_va(a), BASE + 20 * PAGE);
	vmf_area_put(a);
	CHECK(!vmf_area_find(r.space, BASE + 2 * PAGE));
	CHECK(!vmf_area_find(r.space, BASE + 3 * PAGE));
	CHECK_ERR(vmf_space_gone(r.space, BASE, 1), 0);
	CHECK(!vmf_area_find(r.space, BASE));
	CHECK_EQ(d.opened - d.closed, 3);
	CHECK_ERR(vmf_space_gone(r.space, BASE, 64), 0);
	CHECK_EQ(d.opened, d.closed);
	driver_close(&d);
	/* The pmap was not told: its ranges are still there. */
	CHECK_EQ(vmf_sim_calls(r.sim, VMF_SIM_DETACH), 0);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(bad_descriptions_are_refused),
	VMTEST(sizes_are_checked),
	VMTEST(windows_have_their_kind),
	VMTEST(an_object_stays_on_its_port),
	VMTEST(areas_never_overlap),
	VMTEST(the_first_gap_is_taken),
	VMTEST(bad_ranges_are_refused),
	VMTEST(map_amends_or_refuses),
	VMTEST(a_cut_can_be_refused),
	VMTEST(pieces_are_opened_and_closed),
	VMTEST(protect_needs_all_of_the_range),
	VMTEST(a_failed_protect_is_undone),
	VMTEST(populate_brings_all_or_nothing),
	VMTEST(bolts_are_counted),
	VMTEST(raw_at_map_time),
	VMTEST(raw_is_whole_or_not_at_all),
	VMTEST(random_changes),
	VMTEST(random_changes_with_failures),
	VMTEST(a_changing_layout_is_tried_again),
	VMTEST(what_is_gone_or_moved),
};
VMTEST_MAIN(tests, 60)
