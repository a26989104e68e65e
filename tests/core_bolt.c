/* SPDX-License-Identifier: MIT
 *
 * Bolts: at fault time, as a driver's answer asks for them, and at map time.  What vmf_sim_forget() cannot take away is
 * locked in place.
 */
#include <pthread.h>
#include "rig.h"
#include "testback.h"

#define BOLTS 4u
#define PAGES 8u

/* Its pages, and how each is to be bolted. */
static struct {
	struct rig rig;
	struct vmf_object *object;
	struct vmf_frame *frame[PAGES];
	uint8_t how[PAGES];
	enum { NOPAGE, NOPFN, FAULT } by;
	bool all; /* nopfn answers with all pages */
	vmf_va va;
} t;

static enum vmf_code bolt_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	vmf_frame_get(t.frame[req->off]);
	ans->frames[0] = t.frame[req->off];
	ans->n = 1;
	ans->bolt = t.how[req->off];
	return VMF_OK;
}

static enum vmf_code bolt_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->first = t.all ? 0 : req->off;
	ans->pfn.n = VMF_SIM_DEVICE + ans->first;
	ans->n = t.all ? PAGES : 1;
	ans->bolt = t.how[req->off];
	return VMF_OK;
}

static enum vmf_code bolt_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_frame *frame = t.frame[req->off];

	vmf_frame_get(frame);
	ans->bolt = t.how[req->off];
	(void)vmf_install_frames(req, req->off, &frame, 1, req->prot);
	return VMF_DONE;
}

static const struct vmf_ops bolt_ops[] = {
	{ .size = sizeof(struct vmf_ops), .nopage = bolt_nopage },
	{ .size = sizeof(struct vmf_ops), .nopfn = bolt_nopfn },
	{ .size = sizeof(struct vmf_ops), .fault = bolt_fault },
};

static vmf_va page(unsigned i) { return t.va + i * PAGE; }

static void device_open(unsigned store, unsigned bolts, unsigned by)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM, .bolts = bolts,
	};

	memset(&t, 0, sizeof(t));
	t.by = by;
	rig_open_as(&t.rig, &config);
	CHECK_ERR(vmf_object_create(t.rig.port, &t.object, &bolt_ops[by], NULL, PAGES), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		t.frame[i] = vmf_frame_at(t.object, i);
		CHECK(t.frame[i]);
		memset(vmf_frame_bytes(t.rig.port, t.frame[i]), 100 + (int)i, PAGE);
		memset(vmf_sim_device(t.rig.sim, i), 100 + (int)i, PAGE);
	}
}

static void device_map(unsigned flags)
{
	struct vmf_map m = rig_map(&t.rig, PAGES, VMF_R | VMF_W);

	m.flags = flags;
	m.attr.type = t.by == NOPFN ? VMF_UC : VMF_WB;
	CHECK_ERR(vmf_map(t.rig.space, t.object, &m, &t.va), 0);
}

static void device_show(unsigned store, unsigned bolts, unsigned by)
{
	device_open(store, bolts, by);
	device_map(store == VMF_BY_COPY ? 0 : VMF_SHARED);
}

static void device_close(void)
{
	CHECK_ERR(vmf_unmap(t.rig.space, t.va, PAGES), 0);
	for (unsigned i = 0; i < PAGES; i++)
		vmf_frame_put(t.rig.port, t.frame[i]);
	vmf_object_put(t.object);
	rig_close(&t.rig);
}

/* Does the page stay, whatever the pmap would like to forget?  It is entered. */
static bool locked_in(struct vmf_space *space, vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(space);
	struct vmf_entry before, after;
	uint8_t byte = 0;

	CHECK_ERR(pmap->ops->query(pmap, va, &before), 0);
	CHECK(before.present);
	CHECK_OK(vmf_sim_load(space, va, &byte, 1));
	vmf_sim_forget(space, va, 1);
	CHECK_ERR(pmap->ops->query(pmap, va, &after), 0);
	if (t.rig.store != VMF_BY_COPY || before.raw)
		return after.present;
	CHECK_OK(vmf_sim_load(space, va, &byte, 1));
	return byte;
}

static bool locked(unsigned i) { return locked_in(t.rig.space, page(i)); }

/* What a read of the page comes to. */
static struct vmf_result touch(unsigned i)
{
	uint8_t byte;

	return vmf_sim_load(t.rig.space, page(i), &byte, 1);
}

/* So many can be had now: pages from `from` on are taken, and given back. */
static void check_left(unsigned n)
{
	struct vmf_map m = rig_map(&t.rig, n + 1, VMF_R);
	struct vmf_object *o;
	vmf_va va;

	CHECK_ERR(vmf_object_create(t.rig.port, &o, &(struct vmf_ops){ .size = sizeof(struct vmf_ops) }, NULL, n + 1), 0);
	m.action = VMF_BOLT;
	CHECK_ERR(vmf_map(t.rig.space, o, &m, &va), -VMF_ENOSPC);
	m.pages = n;
	CHECK_ERR(n ? vmf_map(t.rig.space, o, &m, &va) : 0, 0);
	if (n)
		CHECK_ERR(vmf_unmap(t.rig.space, va, n), 0);
	vmf_object_put(o);
}

#define EACH_KIND(by) \
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) \
		for (unsigned by = NOPAGE; by <= FAULT; by++)

/* ----------------------------------------------------------------------------------------- at fault time */

static void as_long_as_there_are_some(void)
{
	EACH_KIND(by) {
		device_show(store, BOLTS, by);
		for (unsigned i = 0; i < BOLTS + 1; i++)
			t.how[i] = VMF_BOLT_TRY;
		t.how[1] = t.how[BOLTS + 1] = VMF_BOLT_MUST;
		for (unsigned i = 0; i < BOLTS + 1; i++) {
			CHECK_OK(touch(i));
			CHECK_EQ(rig_byte(&t.rig, page(i)), 100 + (int)i);
		}
		CHECK_EQ(rig_stats(&t.rig).bolted, BOLTS);
		CHECK_RESULT(touch(BOLTS + 1), VMF_SIGBUS, VMF_WHY_BOLTS);
		CHECK(!rig_present(&t.rig, page(BOLTS + 1)));
		CHECK_RESULT(touch(BOLTS + 1), VMF_SIGBUS, VMF_WHY_BOLTS);
		CHECK_EQ(rig_stats(&t.rig).bolted, BOLTS);
		CHECK_EQ(rig_stats(&t.rig).failed, 2);
		for (unsigned i = 0; i < BOLTS; i++)
			CHECK(locked(i));
		CHECK(!locked(BOLTS));
		CHECK_ERR(vmf_unmap(t.rig.space, page(2), 1), 0);
		CHECK(locked(1) && locked(3));
		CHECK_OK(touch(BOLTS + 1)); /* there is one again */
		CHECK(locked(BOLTS + 1));
		device_close();
	}
}

/* What comes along is not bolted. */
static void the_page_of_the_fault(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		device_show(store, BOLTS, NOPFN);
		t.all = true;
		t.how[2] = VMF_BOLT_MUST;
		CHECK_OK(touch(2));
		CHECK_EQ(rig_stats(&t.rig).bolted, 1);
		CHECK(locked(2) && rig_present(&t.rig, page(3)) && !locked(3));
		check_left(BOLTS - 1);
		device_close();
	}
}

static void where_there_are_none(void)
{
	EACH_KIND(by) {
		device_show(store, 0, by);
		t.how[0] = VMF_BOLT_TRY;
		t.how[1] = VMF_BOLT_MUST;
		t.how[2] = VMF_BOLT_MUST + 1;
		CHECK_OK(touch(0));
		CHECK(!locked(0));
		CHECK_RESULT(touch(1), VMF_SIGBUS, VMF_WHY_BOLTS);
		CHECK_RESULT(touch(2), VMF_SIGBUS, VMF_WHY_DRIVER);
		CHECK_EQ(rig_stats(&t.rig).bolted, 0);
		device_close();
	}
}

/* A second fault of a bolted page (the first write, a protect) counts nothing. */
static void counted_once(void)
{
	EACH_KIND(by) {
		uint8_t byte = 7;

		device_show(store, BOLTS, by);
		t.how[0] = VMF_BOLT_MUST;
		CHECK_OK(touch(0));
		CHECK_ERR(vmf_protect(t.rig.space, page(0), 1, VMF_R), 0);
		CHECK_ERR(vmf_protect(t.rig.space, page(0), 1, VMF_R | VMF_W), 0);
		CHECK_OK(vmf_sim_store(t.rig.space, page(0), &byte, 1));
		CHECK(locked(0));
		CHECK_EQ(rig_stats(&t.rig).bolted, 1);
		check_left(BOLTS - 1);
		device_close();
	}
}

static void a_revoke_gives_them_back(void)
{
	EACH_KIND(by) {
		if (store == VMF_BY_COPY && by != NOPFN)
			continue; /* given away */
		device_show(store, BOLTS, by);
		for (unsigned i = 0; i < 3; i++)
			t.how[i] = VMF_BOLT_MUST;
		for (unsigned i = 0; i < 3; i++)
			CHECK_OK(touch(i));
		check_left(1);
		CHECK_ERR(vmf_revoke(t.object, 1, 1), 0);
		check_left(2);
		CHECK(locked(0) && locked(2) && !rig_present(&t.rig, page(1)));
		t.how[1] = VMF_UNBOLTED;
		CHECK_OK(touch(1));
		CHECK(!locked(1));
		CHECK_ERR(vmf_revoke(t.object, 0, PAGES), 0);
		check_left(BOLTS);
		device_close();
	}
}

static void *touch_it(void *i)
{
	CHECK_OK(touch((unsigned)(uintptr_t)i));
	return NULL;
}

/* In the middle of a revoke, when its bolt is back and its entry gone, another thread asks for the page again. */
static void touch_in_between(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	static _Atomic bool inside;
	pthread_t other;

	(void)self, (void)space, (void)at, (void)pages;
	if (inside)
		return;
	inside = true;
	CHECK(!pthread_create(&other, NULL, touch_it, (void *)1));
	pthread_join(other, NULL);
	inside = false;
}

static void a_revoke_takes_no_new_one(void)
{
	static const enum vmf_sim_point points[] = { VMF_SIM_REMOVE, VMF_SIM_UPDATE };

	EACH_KIND(by)
		for (unsigned i = 0; i < 2; i++) {
			if (store == VMF_BY_COPY && by != NOPFN)
				continue;
			device_show(store, BOLTS, by);
			t.how[1] = VMF_BOLT_MUST;
			CHECK_OK(touch(1));
			vmf_sim_on(t.rig.sim, points[i], touch_in_between, NULL);
			CHECK_ERR(vmf_revoke(t.object, 1, 1), 0);
			vmf_sim_on(t.rig.sim, points[i], NULL, NULL);
			CHECK_EQ(rig_present(&t.rig, page(1)), points[i] == VMF_SIM_UPDATE);
			CHECK_OK(touch(1));
			CHECK(locked(1));
			CHECK_EQ(rig_stats(&t.rig).bolted, 2);
			check_left(BOLTS - 1);
			device_close();
		}
}

static void a_page_that_cannot_be_entered(void)
{
	EACH_KIND(by) {
		device_show(store, BOLTS, by);
		t.how[0] = VMF_BOLT_MUST;
		vmf_sim_fail(t.rig.sim, VMF_SIM_ENTER, 1, VMF_ENOSYS);
		CHECK_RESULT(touch(0), VMF_SIGBUS, VMF_WHY_ATTR);
		CHECK_EQ(rig_stats(&t.rig).bolted, 0);
		check_left(BOLTS);
		vmf_sim_fail(t.rig.sim, VMF_SIM_ENTER, 1, VMF_ENOMEM);
		CHECK_OK(touch(0)); /* at the second try */
		vmf_sim_fail(t.rig.sim, VMF_SIM_BOLT, 1, VMF_EAGAIN);
		t.how[1] = VMF_BOLT_MUST;
		CHECK_OK(touch(1));
		CHECK(locked(0) && locked(1));
		CHECK_EQ(rig_stats(&t.rig).bolted, 2);
		CHECK_EQ(rig_stats(&t.rig).retries[VMF_WHY_RESOURCE], 1);
		CHECK_EQ(rig_stats(&t.rig).retries[VMF_WHY_LAYOUT], 1);
		check_left(BOLTS - 2);
		device_close();
	}
}

static void they_move_along(void)
{
	EACH_KIND(by) {
		vmf_va old;

		device_show(store, BOLTS, by);
		t.how[3] = VMF_BOLT_MUST;
		CHECK_OK(touch(3));
		old = t.va;
		t.va += 64 * PAGE;
		CHECK_ERR(vmf_sim_move(t.rig.space, old, t.va, PAGES), 0);
		CHECK(locked(3));
		check_left(BOLTS - 1);
		CHECK_ERR(vmf_unmap(t.rig.space, page(3), 1), 0);
		check_left(BOLTS);
		device_close();
	}
}

/* --------------------------------------------------------------------------------------------- private pages */

static struct vmf_space *copy_space(void)
{
	struct vmf_space *copy;

	CHECK_ERR(vmf_sim_space(t.rig.sim, &copy), 0);
	CHECK_ERR(vmf_space_copy(copy, t.rig.space), 0);
	return copy;
}

/* The page is copied, or comes to be the area's own: another frame, and the same bolt. */
static void a_copy_on_write_keeps_it(void)
{
	uint8_t byte = 7;

	for (unsigned by = NOPAGE; by <= FAULT; by += FAULT) {
		struct vmf_space *copy;

		device_open(VMF_BY_ADDRESS, BOLTS, by);
		device_map(0);
		t.how[0] = VMF_BOLT_MUST;
		CHECK_OK(touch(0));
		CHECK(locked(0));
		CHECK_OK(vmf_sim_store(t.rig.space, page(0), &byte, 1));
		CHECK(locked(0));
		copy = copy_space();
		CHECK(locked(0));
		byte = 8;
		CHECK_OK(vmf_sim_store(t.rig.space, page(0), &byte, 1)); /* shared with the copy until now */
		CHECK(locked(0));
		CHECK_EQ(rig_byte(&t.rig, page(0)), 8);
		CHECK_OK(vmf_sim_load(copy, page(0), &byte, 1));
		CHECK(byte == 7 && !locked_in(copy, page(0)));
		CHECK_EQ(rig_stats(&t.rig).bolted, 1);
		vmf_sim_space_close(copy);
		check_left(BOLTS - 1);
		device_close();
	}
}

/* What the area has of its own no revoke of the object concerns; the page beside it is the object's. */
static void a_revoke_spares_private_pages(void)
{
	uint8_t byte = 7;

	device_open(VMF_BY_ADDRESS, BOLTS, NOPAGE);
	device_map(0);
	for (unsigned i = 0; i < 3; i++) {
		t.how[i] = VMF_BOLT_MUST;
		CHECK_OK(touch(i));
	}
	CHECK_OK(vmf_sim_store(t.rig.space, page(1), &byte, 1));
	CHECK_ERR(vmf_revoke(t.object, 0, PAGES), 0);
	check_left(BOLTS - 1);
	CHECK_EQ(rig_byte(&t.rig, page(1)), 7);
	CHECK(locked(1));
	device_close();
}

static void at_map_time_too(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		struct vmf_space *copy;
		struct vmf_map m;
		uint8_t byte = 7;

		device_open(store, BOLTS, NOPAGE);
		m = rig_map(&t.rig, 2, VMF_R | VMF_W);
		m.flags = store == VMF_BY_OFFSET ? VMF_SHARED : 0;
		m.action = VMF_BOLT;
		CHECK_ERR(vmf_map(t.rig.space, t.object, &m, &t.va), 0);
		check_left(BOLTS - 2);
		CHECK(locked(0) && locked(1));
		copy = copy_space();
		for (unsigned i = 0; i < 2; i++)
			CHECK_OK(vmf_sim_store(t.rig.space, page(i), &byte, 1));
		CHECK(locked(0) && locked(1));
		CHECK_ERR(vmf_revoke(t.object, 0, 2), 0);
		for (unsigned i = 0; i < 2; i++)
			CHECK_OK(touch(i));
		CHECK(locked(0) && locked(1)); /* reserved for as long as the area is there */
		CHECK_EQ(rig_stats(&t.rig).bolted, 0);
		vmf_sim_space_close(copy);
		CHECK_ERR(vmf_unmap(t.rig.space, page(0), 1), 0);
		check_left(BOLTS - 1);
		CHECK(locked(1));
		device_close();
	}
}

/* ------------------------------------------------------------------------------------- reclaim, truncation */

static void map_bolted(struct rig *r, struct vmf_object *o, vmf_pgoff off, uint64_t pages, vmf_va *va)
{
	struct vmf_map m = rig_map(r, pages, VMF_R);

	m.off = off;
	m.action = VMF_BOLT;
	CHECK_ERR(vmf_map(r->space, o, &m, va), 0);
}

static void reclaim_spares_them(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		const struct vmf_sim_config config = {
			.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM, .bolts = BOLTS,
		};
		struct testback b;
		struct vmf_object *o;
		struct rig r;
		vmf_va all, one, two;

		rig_open_as(&r, &config);
		testback_open(&b, r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&b, NULL);
		all = rig_show(&r, o, PAGES, VMF_R);
		map_bolted(&r, o, 2, 2, &one);
		map_bolted(&r, o, 3, 2, &two);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK(rig_byte(&r, all + i * PAGE) >= 0);
		CHECK_EQ(vmf_reclaim(o, 0, PAGES), PAGES - 3);
		for (unsigned i = 0; i < 2; i++)
			CHECK(rig_present(&r, one + i * PAGE) && rig_present(&r, two + i * PAGE));
		CHECK(!rig_present(&r, all + 1 * PAGE) && rig_present(&r, all + 3 * PAGE) && !rig_present(&r, all + 5 * PAGE));
		CHECK_ERR(vmf_unmap(r.space, one, 2), 0);
		CHECK_EQ(vmf_reclaim(o, 0, PAGES), 1);
		CHECK_ERR(vmf_unmap(r.space, two, 2), 0);
		CHECK_EQ(vmf_reclaim(o, 0, PAGES), 2);
		CHECK_ERR(vmf_unmap(r.space, all, PAGES), 0);
		vmf_object_put(o);
		testback_close(&b);
		rig_close(&r);
	}
}

/* What is past the end is not there, bolted or not; the reservation stays with the area. */
static void truncated(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		const struct vmf_sim_config config = {
			.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM, .bolts = BOLTS,
		};
		struct testback b;
		struct vmf_object *o;
		struct rig r;
		vmf_va va;

		rig_open_as(&r, &config);
		testback_open(&b, r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&b, NULL);
		map_bolted(&r, o, 0, 4, &va);
		testback_resize(&b, 2 * PAGE);
		CHECK_ERR(vmf_object_resize(o), 0);
		CHECK(rig_present(&r, va) && !rig_present(&r, va + 2 * PAGE));
		CHECK_EQ(rig_byte(&r, va + 2 * PAGE), -VMF_SIGBUS);
		t.rig = r;
		check_left(0);
		CHECK_ERR(vmf_unmap(r.space, va, 4), 0);
		check_left(BOLTS);
		vmf_object_put(o);
		testback_close(&b);
		rig_close(&r);
	}
}

/* ------------------------------------------------------------------------------------------------ threads */

static pthread_barrier_t meet;

static void meet_in_bolt(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	pthread_barrier_wait(&meet);
}

/* Both have been answered, and neither has the bolt yet. */
static void two_for_one_page(void)
{
	EACH_KIND(by) {
		pthread_t other;

		device_show(store, 1, by);
		t.how[0] = VMF_BOLT_MUST;
		pthread_barrier_init(&meet, NULL, 2);
		vmf_sim_on(t.rig.sim, VMF_SIM_BOLT, meet_in_bolt, NULL);
		CHECK(!pthread_create(&other, NULL, touch_it, NULL));
		touch_it(NULL);
		pthread_join(other, NULL);
		vmf_sim_on(t.rig.sim, VMF_SIM_BOLT, NULL, NULL);
		pthread_barrier_destroy(&meet);
		CHECK_EQ(rig_stats(&t.rig).bolted, 1);
		CHECK(locked(0));
		check_left(0);
		device_close();
	}
}

#define CROWD 7u

static void *touch_own(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;
	struct vmf_result r;

	pthread_barrier_wait(&meet);
	r = touch(i);
	CHECK(r.code == VMF_OK || (r.code == VMF_SIGBUS && r.why == VMF_WHY_BOLTS));
	return (void *)(uintptr_t)(r.code == VMF_OK);
}

/* A debugger that looks takes none, and needs none. */
static void who_only_looks(void)
{
	uint8_t byte;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++)
		for (unsigned bolts = 0; bolts <= 1; bolts++) {
			device_show(store, bolts, NOPAGE);
			t.how[1] = VMF_BOLT_MUST;
			CHECK_EQ(vmf_peek(t.rig.space, page(1), &byte, 1), 1);
			CHECK_EQ(byte, 101);
			CHECK_EQ(rig_stats(&t.rig).bolted, 0);
			check_left(bolts);
			device_close();
		}
}

/* A private page is copied only for who gets it: else the next write would find the copy there, without a bolt. */
static void a_private_page_must_have_one(void)
{
	uint8_t byte = 7;

	device_open(VMF_BY_ADDRESS, 1, NOPAGE);
	device_map(0);
	t.how[0] = t.how[1] = VMF_BOLT_MUST;
	CHECK_OK(vmf_sim_store(t.rig.space, page(0), &byte, 1));
	for (unsigned i = 0; i < 2; i++)
		CHECK_RESULT(vmf_sim_store(t.rig.space, page(1), &byte, 1), VMF_SIGBUS, VMF_WHY_BOLTS);
	vmf_sim_fail(t.rig.sim, VMF_SIM_BOLT, 1, -VMF_EAGAIN);
	CHECK_ERR(vmf_unmap(t.rig.space, page(0), 1), 0);
	CHECK_OK(vmf_sim_store(t.rig.space, page(1), &byte, 1)); /* asked again, and had at the second try */
	CHECK(locked(1));
	CHECK_EQ(*(uint8_t *)vmf_frame_bytes(t.rig.port, t.frame[1]), 101);
	device_close();
}

/* As many succeed as there are bolts, while a neighbour comes and goes. */
static void no_more_than_there_are(void)
{
	for (unsigned round = 0; round < 200; round++) {
		unsigned store = round % 3, got = 0;
		pthread_t thread[CROWD];

		device_show(store, BOLTS, round % 2 ? NOPAGE : NOPFN);
		memset(t.how, VMF_BOLT_MUST, sizeof(t.how));
		pthread_barrier_init(&meet, NULL, CROWD + 1);
		for (uintptr_t i = 0; i < CROWD; i++)
			CHECK(!pthread_create(&thread[i], NULL, touch_own, (void *)i));
		pthread_barrier_wait(&meet);
		CHECK_ERR(vmf_unmap(t.rig.space, page(CROWD), 1), 0);
		for (unsigned i = 0; i < CROWD; i++) {
			void *ok;

			pthread_join(thread[i], &ok);
			got += ok != NULL;
			CHECK(!ok || locked(i));
		}
		pthread_barrier_destroy(&meet);
		CHECK_EQ(got, BOLTS);
		CHECK_EQ(rig_stats(&t.rig).bolted, BOLTS);
		device_close();
	}
}

static const struct vmtest tests[] = {
	VMTEST(as_long_as_there_are_some), VMTEST(the_page_of_the_fault), VMTEST(where_there_are_none),
	VMTEST(counted_once),
	VMTEST(a_revoke_gives_them_back), VMTEST(a_revoke_takes_no_new_one), VMTEST(a_page_that_cannot_be_entered),
	VMTEST(they_move_along), VMTEST(a_copy_on_write_keeps_it), VMTEST(a_revoke_spares_private_pages),
	VMTEST(at_map_time_too), VMTEST(reclaim_spares_them), VMTEST(truncated), VMTEST(two_for_one_page),
	VMTEST(who_only_looks), VMTEST(a_private_page_must_have_one), VMTEST(no_more_than_there_are),
};
VMTEST_MAIN(tests, 20)
