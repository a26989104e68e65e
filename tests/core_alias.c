/* SPDX-License-Identifier: MIT
 *
 * Aliases: one page of a device, shown by several objects, areas and spaces, has one set of attributes at a time, and
 * the record of who shows it is exact.
 */
#include <pthread.h>
#include "views.h"

#define UC VMF_UC
#define DEV VMF_DEVICE
static const struct vmf_attr stronger = { .type = VMF_WB, .strengthen = 1 };

#define REFUSED(space, va) CHECK_RESULT(touch(space, va), VMF_SIGBUS, VMF_WHY_ATTR)

/* ------------------------------------------------------------------------------------ who decides, till when */

static void the_first_decides_until_nobody_shows_it(void)
{
	struct view a, b;
	struct rig r;
	vmf_va va, vb;

	RIG_EACH(r) {
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE, DEV);
		va = view_map(&a, r.space);
		vb = view_map(&b, r.space);
		CHECK_OK(touch(r.space, va + 3 * PAGE));
		CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ VMF_SIM_DEVICE }), -VMF_EBUSY);
		REFUSED(r.space, vb + 3 * PAGE);
		CHECK(!rig_present(&r, vb + 3 * PAGE));
		CHECK_OK(touch(r.space, vb + 4 * PAGE));
		CHECK_ERR(vmf_revoke(a.object, 3, 1), 0);
		CHECK_OK(touch(r.space, vb + 3 * PAGE));
		CHECK_EQ(shown_as(r.space, vb + 3 * PAGE), DEV);
		REFUSED(r.space, va + 3 * PAGE);
		CHECK_ERR(vmf_unmap(r.space, vb, VIEW), 0);
		CHECK_OK(touch(r.space, va + 3 * PAGE));
		vmf_object_put(b.object);
		view_close(&a);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
	}
}

/* The last area counts, not the one that was touched. */
static void an_area_less_is_not_the_last(void)
{
	struct view a, b;
	struct rig r;
	vmf_va one, two, vb;

	RIG_EACH(r) {
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE, DEV);
		one = view_map(&a, r.space);
		two = view_map(&a, r.space);
		vb = view_map(&b, r.space);
		CHECK_OK(touch(r.space, one));
		CHECK_OK(touch(r.space, two));
		CHECK_ERR(vmf_unmap(r.space, one, VIEW), 0);
		REFUSED(r.space, vb);
		CHECK_OK(touch(r.space, two));
		CHECK_ERR(vmf_unmap(r.space, two, VIEW), 0);
		CHECK_OK(touch(r.space, vb));
		vmf_object_put(b.object);
		view_close(&a);
	}
}

static void strengthened_and_never_weakened(void)
{
	static const struct { uint8_t range, first, wants, strengthen; int gets; } t[] = {
		{ VMF_WB, VMF_WB, VMF_WB, 0, VMF_WB }, { VMF_WB, VMF_UC, VMF_WB, 0, -1 }, { VMF_WB, VMF_UC, VMF_WB, 1, VMF_UC },
		{ VMF_WB, VMF_WB, VMF_UC, 1, -1 }, { VMF_WB, VMF_WC, VMF_WT, 1, -1 }, { VMF_WB, VMF_WT, VMF_WC, 1, -1 },
		{ VMF_WB, VMF_UC, VMF_WT, 1, VMF_UC }, { VMF_WB, VMF_UC, VMF_WC, 1, VMF_UC },
		{ VMF_WB, VMF_DEVICE, VMF_WC, 1, VMF_DEVICE },
		{ VMF_UC, VMF_DEVICE, VMF_UC, 0, -1 }, { VMF_UC, VMF_DEVICE, VMF_WB, 1, VMF_DEVICE },
		{ VMF_UC, VMF_UC, VMF_WB, 1, VMF_UC }, { VMF_UC, VMF_UC, VMF_DEVICE, 1, -1 }, { VMF_UC, VMF_UC, VMF_WT, 0, -1 },
	};
	struct view a, b;
	struct rig r;
	vmf_va va, vb;

	RIG_EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			const struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_DEVICE, .pages = 256,
							 .first = { VMF_SIM_DEVICE }, .attr = { .type = t[i].range } };

			CHECK_ERR(vmf_phys_remove(r.port, range.first), 0);
			CHECK_ERR(vmf_phys_add(r.port, &range), 0);
			view_open(&a, &r, VMF_SIM_DEVICE, t[i].first);
			view_open(&b, &r, VMF_SIM_DEVICE, t[i].wants);
			b.attr.strengthen = t[i].strengthen;
			va = view_map(&a, r.space);
			vb = view_map(&b, r.space);
			CHECK_OK(touch(r.space, va));
			CHECK_EQ(shown_as(r.space, va), t[i].first);
			CHECK_EQ(touch(r.space, vb).code, t[i].gets < 0 ? VMF_SIGBUS : VMF_OK);
			if (shown_as(r.space, vb) != t[i].gets)
				vmtest_fail("row %u: %d", i, shown_as(r.space, vb));
			CHECK_OK(touch(r.space, va));
			vmf_object_put(b.object);
			view_close(&a);
		}
}

static void in_other_spaces_too(void)
{
	struct vmf_space *second, *child;
	struct view a, b;
	struct rig r;
	vmf_va va, vb;

	RIG_EACH(r) {
		CHECK_ERR(vmf_sim_space(r.sim, &second), 0);
		CHECK_ERR(vmf_sim_space(r.sim, &child), 0);
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE + 5, DEV);
		va = view_map(&a, r.space);
		vb = view_map(&b, second);
		CHECK_OK(touch(r.space, va + 7 * PAGE));
		REFUSED(second, vb + 2 * PAGE);
		CHECK_ERR(vmf_sim_space_close(second), 0);
		if (r.store != VMF_BY_OFFSET) { /* a copy of the space shows it as well, and longer */
			CHECK_ERR(vmf_space_copy(child, r.space), 0);
			CHECK_ERR(vmf_unmap(r.space, va, VIEW), 0);
			vb = view_map(&b, r.space);
			REFUSED(r.space, vb + 2 * PAGE);
			CHECK_OK(touch(child, va + 7 * PAGE));
		}
		CHECK_ERR(vmf_sim_space_close(child), 0);
		vmf_object_put(b.object);
		view_close(&a);
	}
}

static void port_bits_are_only_compared(void)
{
	struct view a, b;
	struct rig r;
	vmf_va va, vb;

	RIG_EACH(r) {
		const struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_DEVICE, .first = { VMF_SIM_DEVICE },
						 .pages = 256, .attr = { .type = UC, .port = 5 } };

		CHECK_ERR(vmf_phys_remove(r.port, range.first), 0);
		CHECK_ERR(vmf_phys_add(r.port, &range), 0);
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE, UC);
		va = view_map(&a, r.space);
		vb = view_map(&b, r.space);
		a.attr.strengthen = 1;
		for (a.attr.port = 0; a.attr.port < 8; a.attr.port++)
			if (a.attr.port != 5)
				REFUSED(r.space, va);
		a.attr.port = b.attr.port = 5;
		CHECK_OK(touch(r.space, va));
		CHECK_OK(touch(r.space, vb));
		vmf_object_put(b.object);
		view_close(&a);
	}
}

/* ------------------------------------------------------------------------------------------------- runs */

static void a_neighbour_does_not_stop_the_page(void)
{
	struct view a, b;
	struct rig r;
	vmf_va va, vb;

	RIG_EACH(r) {
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE + 3, DEV);
		va = view_map(&a, r.space);
		vb = view_map(&b, r.space);
		CHECK_OK(touch(r.space, va + 20 * PAGE));
		b.n = 10;
		CHECK_OK(touch(r.space, vb + 12 * PAGE)); /* 15..24: 20 is in the way */
		CHECK_EQ(shown_as(r.space, vb + 12 * PAGE), DEV);
		CHECK(!rig_present(&r, vb + 13 * PAGE) && !rig_present(&r, vb + 17 * PAGE));
		CHECK(!known(&r, VMF_SIM_DEVICE + 16, 4) && !known(&r, VMF_SIM_DEVICE + 21, 10));
		REFUSED(r.space, vb + 17 * PAGE);
		CHECK_OK(touch(r.space, vb + 18 * PAGE)); /* 21..30 */
		CHECK_EQ(shown_as(r.space, vb + 27 * PAGE), DEV);
		CHECK(known(&r, VMF_SIM_DEVICE + 30, 1) && !known(&r, VMF_SIM_DEVICE + 31, 1));
		vmf_object_put(b.object);
		view_close(&a);
	}
}

/* Longer than what is in reserve, and shown at distances that have nothing to do with blocks of 16. */
static void long_runs_and_odd_distances(void)
{
	static const uint64_t first[] = { 0, 1, 7, 15, 16, 17, 31, 224 };
	struct view v[8];
	struct rig r;
	vmf_va at[8];

	RIG_EACH(r) {
		for (unsigned i = 0; i < 8; i++) {
			view_open(&v[i], &r, VMF_SIM_DEVICE + first[i], UC);
			v[i].n = i % 2 ? VIEW : 1;
			at[i] = view_map(&v[i], r.space);
			for (unsigned p = 0; p < VIEW; p++) {
				v[i].n = i % 2 ? VIEW - p : 1;
				CHECK_EQ(rig_byte(&r, at[i] + p * PAGE), (uint8_t)(first[i] + p + 1));
			}
		}
		for (unsigned p = 0; p < 256; p++)
			CHECK_EQ(known(&r, VMF_SIM_DEVICE + p, 1), p < 63 || p >= 224);
		for (unsigned i = 0; i < 7; i++)
			CHECK_ERR(vmf_revoke(v[i].object, 5, 10), 0);
		for (unsigned p = 0; p < 256; p++) {
			bool shown = p >= 224;

			for (unsigned i = 0; i < 7; i++)
				shown |= p - first[i] < VIEW && p - first[i] - 5 >= 10;
			if (known(&r, VMF_SIM_DEVICE + p, 1) != shown)
				vmtest_fail("page %u", p);
		}
		for (unsigned i = 1; i < 8; i++)
			vmf_object_put(v[i].object);
		view_close(&v[0]);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
	}
}

/* --------------------------------------------------------------------------------- areas mapped VMF_RAW */

static int map_raw(struct view *v, uint64_t pages, struct vmf_attr attr, vmf_va *at)
{
	struct vmf_map map = rig_map(v->r, pages, VMF_R);

	map.action = VMF_RAW;
	map.raw.n = v->first;
	map.attr = attr;
	return vmf_map(v->r->space, v->object, &map, at);
}

static void areas_mapped_raw_are_one_interval(void)
{
	const struct vmf_attr uc = { .type = UC }, dev = { .type = DEV };
	struct view a, b;
	struct rig r;
	vmf_va va, vb, vc;

	RIG_EACH(r) {
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE, DEV);
		CHECK_ERR(map_raw(&a, VIEW, uc, &va), 0);
		CHECK(known(&r, VMF_SIM_DEVICE + VIEW - 1, 1) && !known(&r, VMF_SIM_DEVICE + VIEW, 1));
		vb = view_map(&b, r.space);
		REFUSED(r.space, vb + 9 * PAGE);
		CHECK_ERR(map_raw(&b, 4, dev, &vc), -VMF_EPERM);
		CHECK_ERR(vmf_revoke(a.object, 0, VIEW), 0); /* it is still what the area shows */
		REFUSED(r.space, vb + 9 * PAGE);
		CHECK_OK(touch(r.space, va + 9 * PAGE));
		b.attr = stronger;
		CHECK_OK(touch(r.space, vb + 9 * PAGE));
		CHECK_EQ(shown_as(r.space, vb + 9 * PAGE), UC);
		CHECK_ERR(map_raw(&b, 4, stronger, &vc), 0);
		CHECK_EQ(shown_as(r.space, vc), UC);
		CHECK_ERR(vmf_unmap(r.space, vb, VIEW), 0);
		CHECK_ERR(vmf_unmap(r.space, vc, 4), 0);
		b.attr = dev;
		vb = view_map(&b, r.space);
		CHECK_ERR(vmf_unmap(r.space, va + 8 * PAGE, 2), 0); /* two pieces are left */
		CHECK_OK(touch(r.space, vb + 9 * PAGE));
		REFUSED(r.space, vb + 7 * PAGE);
		REFUSED(r.space, vb + 10 * PAGE);
		CHECK_ERR(vmf_protect(r.space, va, 3, 0), 0);
		REFUSED(r.space, vb + 1 * PAGE);
		CHECK_ERR(vmf_unmap(r.space, va, VIEW), 0);
		CHECK_OK(touch(r.space, vb + 10 * PAGE));
		CHECK_ERR(map_raw(&a, VIEW, uc, &va), -VMF_EPERM); /* all or nothing */
		vmf_object_put(b.object);
		view_close(&a);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
	}
}

/* What is taken back when the run does not fit is taken back from the record, too. */
static void a_raw_area_that_fails_is_not_recorded(void)
{
	static const enum vmf_sim_point point[] = { VMF_SIM_ALLOC, VMF_SIM_ENTER, VMF_SIM_SUPPLY };
	struct view a;
	struct rig r;
	vmf_va va;

	RIG_EACH(r)
		for (unsigned i = 0; i < 3; i++)
			for (uint32_t n = 1; n < 4; n++) {
				int err;

				view_open(&a, &r, VMF_SIM_DEVICE, UC);
				vmf_sim_fail(r.sim, point[i], n, VMF_ENOMEM);
				err = map_raw(&a, VIEW, (struct vmf_attr){ .type = UC }, &va);
				vmf_sim_fail(r.sim, point[i], 0, 0);
				CHECK_EQ(known(&r, VMF_SIM_DEVICE, 256), !err);
				view_close(&a);
			}
}

/* -------------------------------------------------------------------------------------------- the record */

static void what_the_pmap_refuses_is_not_recorded(void)
{
	struct view a, b;
	struct rig r;
	vmf_va va, vb;

	RIG_EACH(r) {
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE, DEV);
		va = view_map(&a, r.space);
		vb = view_map(&b, r.space);
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, VMF_ENOSYS);
		REFUSED(r.space, va);
		CHECK(!known(&r, VMF_SIM_DEVICE, 1));
		CHECK_OK(touch(r.space, vb));
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, VMF_ENOSYS);
		CHECK_ERR(vmf_revoke(a.object, 0, VIEW), 0);
		vmf_object_put(b.object);
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 0, 0);
		view_close(&a);
	}
}

static void what_could_not_be_revoked_stays_recorded(void)
{
	struct view a, b;
	struct rig r;
	vmf_va va, vb;

	RIG_EACH(r) {
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE, DEV);
		va = view_map(&a, r.space);
		vb = view_map(&b, r.space);
		CHECK_OK(touch(r.space, va));
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
		CHECK_ERR(vmf_revoke(a.object, 0, VIEW), -VMF_EBUSY);
		CHECK(rig_present(&r, va) && known(&r, VMF_SIM_DEVICE, 1));
		REFUSED(r.space, vb);
		CHECK_ERR(vmf_revoke(a.object, 0, VIEW), 0);
		CHECK(!known(&r, VMF_SIM_DEVICE, 1));
		CHECK_OK(touch(r.space, vb));
		vmf_object_put(b.object);
		view_close(&a);
	}
}

static void revoke_and_move(struct view *v, vmf_pgoff at)
{
	v->between = NULL;
	v->first += 100;
	CHECK_ERR(vmf_revoke(v->object, at, 1), 0);
}

static void a_race_that_was_lost_is_not_recorded(void)
{
	struct view a;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		va = view_map(&a, r.space);
		a.between = revoke_and_move;
		CHECK_EQ(rig_byte(&r, va + 3 * PAGE), 104);
		CHECK(!known(&r, VMF_SIM_DEVICE, 100) && known(&r, VMF_SIM_DEVICE + 103, 1));
		view_close(&a);
	}
}

/* ---------------------------------------------------------- a fault while what it is about is being revoked */

struct meanwhile { struct view *v; vmf_va va; struct vmf_result result; bool used; uint8_t type; };

/* Between the slots' being shot and the removal: what is asked now is asked after the revoke began. */
static void *fault_meanwhile(void *self)
{
	struct meanwhile *m = self;

	m->result = touch(m->v->r->space, m->va);
	return NULL;
}

static void on_remove(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct meanwhile *m = self;
	pthread_t t;

	(void)space;
	(void)at;
	(void)pages;
	if (__atomic_exchange_n(&m->used, true, __ATOMIC_SEQ_CST))
		return;
	CHECK(!pthread_create(&t, NULL, fault_meanwhile, m));
	pthread_join(t, NULL);
}

/* A page that comes back before the revoke is through is in the record when it is. */
static void recorded_anew_while_it_is_revoked(void)
{
	struct view a;
	struct rig r;
	vmf_va va, other;

	RIG_EACH(r) {
		struct meanwhile m = { .v = &a };

		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		va = view_map(&a, r.space);
		other = view_map(&a, r.space); /* its removal comes first: areas that were mapped last do */
		CHECK_OK(touch(r.space, va));
		CHECK_OK(touch(r.space, other));
		m.va = other;
		vmf_sim_on(r.sim, VMF_SIM_UPDATE, on_remove, &m);
		CHECK_ERR(vmf_revoke(a.object, 0, 1), 0);
		vmf_sim_on(r.sim, VMF_SIM_UPDATE, NULL, NULL);
		CHECK_OK(m.result);
		CHECK(m.used && known(&r, VMF_SIM_DEVICE, 1));
		CHECK(rig_present(&r, va) || rig_present(&r, other));
		CHECK_ERR(vmf_revoke(a.object, 0, 1), 0);
		CHECK(!known(&r, VMF_SIM_DEVICE, 1));
		view_close(&a);
	}
}

static void *touch_b(void *self)
{
	struct meanwhile *m = self;

	m->result = touch(m->v->r->space, m->va);
	__atomic_store_n(&m->used, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static pthread_t waiter;

static void wait_for_b(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct meanwhile *m = self;

	(void)space;
	(void)at;
	(void)pages;
	if (m->type)
		return;
	m->type = 1;
	CHECK(!pthread_create(&waiter, NULL, touch_b, m));
	while (!rig_stats(m->v->r).retries[VMF_WHY_RACE])
		sched_yield();
	CHECK(!__atomic_load_n(&m->used, __ATOMIC_SEQ_CST));
}

/* Another object that wants it with other attributes waits for the end of the revoke, and is not refused. */
static void who_waits_for_the_end_of_a_revoke(void)
{
	struct view a, b;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		struct meanwhile m = { .v = &b };

		view_open(&a, &r, VMF_SIM_DEVICE, UC);
		view_open(&b, &r, VMF_SIM_DEVICE, DEV);
		va = view_map(&a, r.space);
		m.va = view_map(&b, r.space);
		CHECK_OK(touch(r.space, va));
		vmf_sim_on(r.sim, VMF_SIM_REMOVE, wait_for_b, &m);
		CHECK_ERR(vmf_revoke(a.object, 0, 1), 0);
		vmf_sim_on(r.sim, VMF_SIM_REMOVE, NULL, NULL);
		pthread_join(waiter, NULL);
		CHECK_OK(m.result);
		CHECK_EQ(shown_as(r.space, m.va), DEV);
		vmf_object_put(b.object);
		view_close(&a);
	}
}

/* -------------------------------------------------------------------------------- at random, and in a crowd */

#define OBJECTS 4u
#define PAGES 24u

/* Who shows what, beside what the core says: by object and page the pfn, or 0. */
static void random_against_a_model(void)
{
	uint64_t seed = 7;
	struct rig r;

	RIG_EACH(r) {
		static struct { struct view v; vmf_va at; uint64_t shown[PAGES]; bool mapped; } o[OBJECTS];
		uint8_t type[64] = { 0 };

		for (unsigned i = 0; i < OBJECTS; i++) {
			memset(&o[i], 0, sizeof(o[i]));
			view_open(&o[i].v, &r, VMF_SIM_DEVICE + i * 5, UC);
			o[i].at = view_map(&o[i].v, r.space);
			o[i].mapped = true;
		}
		for (unsigned step = 0; step < 20000; step++) {
			unsigned i = vmtest_random(&seed) % OBJECTS, p = vmtest_random(&seed) % PAGES;
			unsigned what = vmtest_random(&seed) % 100;
			uint64_t pfn = i * 5 + p;

			if (what < 60 && o[i].mapped) {
				uint8_t wants = vmtest_random(&seed) % 2 ? UC : DEV;
				unsigned showing = 0;

				for (unsigned k = 0; k < OBJECTS; k++)
					for (unsigned q = 0; q < PAGES; q++)
						showing += o[k].shown[q] == pfn + 1;
				o[i].v.attr.type = wants;
				if (rig_present(&r, o[i].at + p * PAGE))
					continue;
				if (showing && type[pfn] != wants) {
					REFUSED(r.space, o[i].at + p * PAGE);
					continue;
				}
				CHECK_OK(touch(r.space, o[i].at + p * PAGE));
				type[pfn] = wants;
				o[i].shown[p] = pfn + 1;
			} else if (what < 75) {
				vmf_sim_forget(r.space, o[i].at, VIEW); /* the pmap's own business */
			} else if (what < 95) {
				unsigned n = vmtest_random(&seed) % 5;

				CHECK_ERR(vmf_revoke(o[i].v.object, p, n), 0);
				for (unsigned q = p; q < p + n && q < PAGES; q++)
					o[i].shown[q] = 0;
			} else {
				if (o[i].mapped)
					CHECK_ERR(vmf_unmap(r.space, o[i].at, VIEW), 0);
				else
					o[i].at = view_map(&o[i].v, r.space);
				o[i].mapped = !o[i].mapped;
				memset(o[i].shown, 0, sizeof(o[i].shown));
			}
			for (pfn = 0; step % 50 == 0 && pfn < 64; pfn++) {
				bool shown = false;

				for (unsigned k = 0; k < OBJECTS; k++)
					for (unsigned q = 0; q < PAGES; q++)
						shown |= o[k].shown[q] == pfn + 1;
				if (known(&r, VMF_SIM_DEVICE + pfn, 1) != shown)
					vmtest_fail("step %u: page %u", step, (unsigned)pfn);
			}
		}
		for (unsigned i = 1; i < OBJECTS; i++)
			vmf_object_put(o[i].v.object);
		view_close(&o[0].v);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
	}
}

/* A run may reach past the end of the object, in an area that does: nothing of that is shown, nor recorded. */
static void past_the_end_of_the_object(void)
{
	struct view v;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		struct vmf_map map = rig_map(&r, 16 * VIEW, VMF_R);

		view_open(&v, &r, VMF_SIM_DEVICE, UC);
		v.n = 256;
		CHECK_ERR(vmf_map(r.space, v.object, &map, &va), 0);
		CHECK_OK(touch(r.space, va));
		CHECK_RESULT(touch(r.space, va + VIEW * PAGE), VMF_SIGBUS, VMF_WHY_EOF);
		view_close(&v);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
	}
}

/* A debugger that looks enters nothing, so nothing is recorded that was not. */
static void who_only_looks(void)
{
	struct view v;
	struct rig r;
	uint8_t byte;
	vmf_va va;

	RIG_EACH(r) {
		view_open(&v, &r, VMF_SIM_DEVICE, UC);
		va = view_map(&v, r.space);
		CHECK_EQ(vmf_peek(r.space, va, &byte, 1), -VMF_EPERM);
		CHECK_EQ(known(&r, VMF_SIM_DEVICE, 256), r.store == VMF_BY_COPY); /* where it has to be entered */
		CHECK_OK(touch(r.space, va));
		vmf_sim_forget(r.space, va, 1);
		CHECK_EQ(vmf_peek(r.space, va, &byte, 1), -VMF_EPERM);
		CHECK(known(&r, VMF_SIM_DEVICE, 1));
		view_close(&v);
	}
}

/* A fault of an area that was mapped raw records nothing, so it has nothing to take back. */
static void a_raw_area_takes_nothing_back(void)
{
	struct view v;
	struct rig r;
	vmf_va va, raw;

	RIG_EACH(r) {
		struct vmf_map map = rig_map(&r, 8, VMF_R);

		view_open(&v, &r, VMF_SIM_DEVICE, UC);
		v.n = 4;
		va = view_map(&v, r.space);
		CHECK_OK(touch(r.space, va));
		map.action = VMF_RAW;
		map.raw.n = VMF_SIM_DEVICE;
		map.attr.type = UC;
		CHECK_ERR(vmf_map(r.space, v.object, &map, &raw), 0);
		vmf_sim_forget(r.space, raw, 8);
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, -VMF_EPERM);
		CHECK_RESULT(touch(r.space, raw + PAGE), VMF_SIGBUS, VMF_WHY_POLICY);
		CHECK_ERR(vmf_unmap(r.space, raw, 8), 0);
		CHECK(rig_present(&r, va + 2 * PAGE) && known(&r, VMF_SIM_DEVICE + 2, 1));
		view_close(&v);
	}
}

static struct crowd { struct rig *r; struct view v[3]; vmf_va at[3]; unsigned left; } crowd;

static void *in_a_crowd(void *self)
{
	uint64_t seed = (uintptr_t)self;

	for (unsigned step = 0; step < 4000; step++) {
		unsigned i = vmtest_random(&seed) % 3, p = vmtest_random(&seed) % VIEW;
		struct vmf_result result;

		if (vmtest_random(&seed) % 4) {
			result = touch(crowd.r->space, crowd.at[i] + p * PAGE);
			CHECK(result.code == VMF_OK || (result.code == VMF_SIGBUS &&
			      (result.why == VMF_WHY_ATTR || result.why == VMF_WHY_RACE)));
		} else {
			CHECK_ERR(vmf_revoke(crowd.v[i].object, p, 1 + vmtest_random(&seed) % 20), 0);
		}
	}
	return NULL;
}

/* When all is revoked nothing is recorded; while it is not, what is shown is. */
static void threads(void)
{
	pthread_t t[4];
	struct rig r;

	RIG_EACH(r) {
		crowd.r = &r;
		for (unsigned i = 0; i < 3; i++) {
			view_open(&crowd.v[i], &r, VMF_SIM_DEVICE + i * 7, i == 2 ? DEV : UC);
			crowd.v[i].n = i == 1 ? 3 : 1;
			crowd.at[i] = view_map(&crowd.v[i], r.space);
		}
		for (unsigned i = 0; i < 4; i++)
			CHECK(!pthread_create(&t[i], NULL, in_a_crowd, (void *)(uintptr_t)(i + 1)));
		for (unsigned i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		for (unsigned i = 0; i < 3; i++)
			for (unsigned p = 0; p < VIEW; p++)
				CHECK(!rig_present(&r, crowd.at[i] + p * PAGE) || known(&r, crowd.v[i].first + p, 1));
		for (unsigned i = 0; i < 3; i++)
			CHECK_ERR(vmf_revoke(crowd.v[i].object, 0, VIEW), 0);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
		for (unsigned i = 1; i < 3; i++)
			vmf_object_put(crowd.v[i].object);
		view_close(&crowd.v[0]);
	}
}

static const struct vmtest tests[] = {
	VMTEST(the_first_decides_until_nobody_shows_it),
	VMTEST(an_area_less_is_not_the_last),
	VMTEST(strengthened_and_never_weakened),
	VMTEST(in_other_spaces_too),
	VMTEST(port_bits_are_only_compared),
	VMTEST(a_neighbour_does_not_stop_the_page),
	VMTEST(long_runs_and_odd_distances),
	VMTEST(areas_mapped_raw_are_one_interval),
	VMTEST(a_raw_area_that_fails_is_not_recorded),
	VMTEST(what_the_pmap_refuses_is_not_recorded),
	VMTEST(what_could_not_be_revoked_stays_recorded),
	VMTEST(a_race_that_was_lost_is_not_recorded),
	VMTEST(recorded_anew_while_it_is_revoked),
	VMTEST(who_waits_for_the_end_of_a_revoke),
	VMTEST(past_the_end_of_the_object), VMTEST(who_only_looks), VMTEST(a_raw_area_takes_nothing_back),
	VMTEST(random_against_a_model),
	VMTEST(threads),
};
VMTEST_MAIN(tests, 30)
