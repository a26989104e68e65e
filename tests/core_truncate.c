/* SPDX-License-Identifier: MIT
 *
 * Objects whose backing gets shorter and longer: nothing of before the change is shown after it, whatever was on its
 * way when it came, and whatever failed.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "core/vmf_config.h"
#include "rig.h"
#include "testback.h"

#define TAIL (2 * PAGE + 100)

struct file {
	struct testback back; /* first: the backing's self */
	struct vmf_backing_ops ops;
	struct rig *r;
	struct vmf_object *object;
	vmf_va at;
	void (*looked)(struct file *); /* once, when extent() has its answer */
};

/* Windows that show the object's own pages. */
#define SHARED_EACH(r) \
	for (unsigned store_ = VMF_BY_ADDRESS; store_ <= VMF_BY_OFFSET && (rig_open(&(r), store_), true); \
	     rig_close(&(r)), store_++)

static int extent(void *self, vmf_pgoff at, struct vmf_extent *e)
{
	struct file *f = self;
	void (*looked)(struct file *) = f->looked;
	int err = testback_ops()->extent(self, at, e);

	f->looked = NULL;
	if (looked)
		looked(f);
	return err;
}

static void file_open(struct file *f, struct rig *r, uint64_t bytes, enum testback_when when, struct vmf_backed like)
{
	rig_soil(r);
	testback_open(&f->back, r->port, bytes, when);
	f->ops = *testback_ops();
	f->ops.extent = extent;
	f->looked = NULL;
	f->r = r;
	like.size = sizeof(like);
	like.ops = &f->ops;
	like.self = f;
	CHECK_ERR(vmf_object_backed(r->port, &f->object, &like), 0);
	f->at = rig_show(r, f->object, like.pages, VMF_R | (like.flags & VMF_STREAM ? 0u : (unsigned)VMF_W));
}

static void file_close(struct file *f)
{
	CHECK_ERR(vmf_unmap(f->r->space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(f->object);
	testback_close(&f->back);
}

static void resize(struct file *f, uint64_t bytes)
{
	testback_resize(&f->back, bytes);
	CHECK_ERR(vmf_object_resize(f->object), 0);
}

static void check_page(struct file *f, uint64_t page)
{
	static uint8_t bytes[PAGE];

	CHECK_OK(vmf_sim_load(f->r->space, f->at + page * PAGE, bytes, PAGE));
	CHECK(testback_same(&f->back, page * PAGE, bytes, PAGE));
}

/* ------------------------------------------------------------------------------------- far apart */

/* Further apart than a run is long. */
static void pages_far_apart_are_all_cut_off(void)
{
	static struct file f;
	struct rig r;

	SHARED_EACH(r) {
		file_open(&f, &r, 1024 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 1024 });
		check_page(&f, 2);
		check_page(&f, 700);
		resize(&f, PAGE);
		CHECK_EQ(vmf_page_state(f.object, 2), VMF_ABSENT);
		CHECK_EQ(vmf_page_state(f.object, 700), VMF_ABSENT);
		testback_poke(&f.back, 700 * PAGE, 201);
		resize(&f, 1024 * PAGE);
		CHECK_EQ(rig_byte(&r, f.at + 700 * PAGE), 201);
		file_close(&f);
	}
}

static void pages_far_apart_are_all_reclaimed(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, 1024 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 1024 });
		check_page(&f, 0);
		check_page(&f, 700);
		CHECK_EQ(vmf_reclaim(f.object, 0, 1024), 2);
		CHECK_EQ(vmf_page_state(f.object, 700), VMF_ABSENT);
		file_close(&f);
	}
}

/* ------------------------------------------------------------------------------ nothing can be hidden */

static void fail_this(void *sim, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)space;
	(void)at;
	(void)pages;
	vmf_sim_fail(sim, VMF_SIM_REMOVE, 1, VMF_ENOMEM);
}

/* As long as it is on, nothing can be removed. */
static void removing_fails(struct rig *r, bool on)
{
	vmf_sim_on(r->sim, VMF_SIM_REMOVE, on ? fail_this : NULL, r->sim);
	vmf_sim_fail(r->sim, VMF_SIM_REMOVE, 0, 0);
}

/* What was cut off, but is still there, does not come back: neither if it is cut off again nor if it is not. */
static void what_could_not_be_cut_off_does_not_come_back(void)
{
	static struct file f;
	struct rig r;

	for (unsigned again = 0; again < 2; again++)
		SHARED_EACH(r) {
			file_open(&f, &r, 8 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 8 });
			check_page(&f, 7);
			testback_resize(&f.back, 4 * PAGE);
			removing_fails(&r, true);
			CHECK_ERR(vmf_object_resize(f.object), -VMF_ENOMEM);
			removing_fails(&r, false);
			if (again) {
				CHECK_ERR(vmf_object_resize(f.object), 0);
				CHECK_EQ(vmf_page_state(f.object, 7), VMF_ABSENT);
				CHECK_EQ(rig_byte(&r, f.at + 7 * PAGE), -VMF_SIGBUS);
			}
			testback_poke(&f.back, 7 * PAGE, 201);
			resize(&f, 8 * PAGE);
			CHECK_EQ(rig_byte(&r, f.at + 7 * PAGE), 201);
			file_close(&f);
		}
}

/* The zeroes after the old end cannot be hidden: the object is as long as before, and the next call tries again. */
static void a_growth_that_failed_is_tried_again(void)
{
	static struct file f;
	struct rig r;

	SHARED_EACH(r) {
		file_open(&f, &r, TAIL, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 8 });
		check_page(&f, 2);
		testback_resize(&f.back, 8 * PAGE);
		removing_fails(&r, true);
		CHECK_ERR(vmf_object_resize(f.object), -VMF_ENOMEM);
		CHECK_EQ(rig_byte(&r, f.at + 3 * PAGE), -VMF_SIGBUS);
		removing_fails(&r, false);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		check_page(&f, 2);
		check_page(&f, 3);
		file_close(&f);
	}
}

/* ------------------------------------------------------------------- between looking and claiming */

static void cut(struct file *f) { resize(f, TAIL); }

/* The block was as long as the object when it was looked at, but what lies past the new end is nobody's to read. */
static void a_block_ends_with_the_object_of_now(void)
{
	static struct file f;
	struct rig r;

	SHARED_EACH(r) {
		file_open(&f, &r, 8 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 8, .around = 8 });
		f.looked = cut;
		check_page(&f, 0);
		CHECK(!f.looked);
		for (unsigned i = 3; i < 8; i++)
			CHECK_EQ(vmf_page_state(f.object, i), VMF_ABSENT);
		CHECK_EQ(rig_byte(&r, f.at + 5 * PAGE), -VMF_SIGBUS);
		resize(&f, 8 * PAGE);
		for (unsigned i = 0; i < 8; i++)
			check_page(&f, i);
		file_close(&f);
	}
}

static void a_streams_block_ends_with_the_object_of_now(void)
{
	static struct file f;
	struct rig r;

	rig_open(&r, VMF_BY_COPY);
	file_open(&f, &r, 8 * PAGE, TESTBACK_AT_ONCE,
		(struct vmf_backed){ .flags = VMF_STREAM, .pages = 8, .around = 8 });
	f.looked = cut;
	check_page(&f, 0);
	CHECK(!f.looked);
	CHECK_EQ(rig_byte(&r, f.at + 5 * PAGE), -VMF_SIGBUS);
	resize(&f, 8 * PAGE);
	check_page(&f, 5);
	file_close(&f);
	rig_close(&r);
}

/* The hole is cut off, and what grows in its place is data. */
static void fill_hole(struct file *f)
{
	f->back.hole_pages = 0;
	resize(f, PAGE);
	resize(f, 8 * PAGE);
}

static void hole_is_looked_up_again(struct rig *r, uint32_t flags)
{
	static struct file f;

	file_open(&f, r, 8 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .flags = flags, .pages = 8 });
	f.back.hole = 4;
	f.back.hole_pages = 2;
	f.looked = fill_hole;
	check_page(&f, 5);
	CHECK(!f.looked);
	CHECK(rig_byte(r, f.at + 5 * PAGE) != 0);
	file_close(&f);
}

static void an_extent_of_before_is_not_believed(void)
{
	struct rig r;

	RIG_EACH(r)
		hole_is_looked_up_again(&r, 0);
	rig_open(&r, VMF_BY_COPY);
	hole_is_looked_up_again(&r, VMF_STREAM);
	rig_close(&r);
}

/* ----------------------------------------------------------------------- between reading and showing */

/* The last page was read, and its end zeroed; before the next try there is data. */
static void tail_is_read_again(struct rig *r, uint32_t flags)
{
	struct vmf_ticket ticket = { 0 };
	struct vmf_trap trap = { .access = VMF_R };
	struct vmf_result result;
	static struct file f;

	file_open(&f, r, TAIL, TESTBACK_HELD_BACK, (struct vmf_backed){ .flags = flags, .pages = 8 });
	trap.va = f.at + 2 * PAGE;
	CHECK_RESULT(vmf_handle(r->space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
	testback_release(&f.back, 1);
	CHECK_ERR(vmf_ticket_wait(r->space, &ticket, false), 0);
	resize(&f, 8 * PAGE);
	testback_release(&f.back, 8);
	while ((result = vmf_handle(r->space, &trap, &ticket)).code == VMF_RETRY)
		CHECK_ERR(vmf_ticket_wait(r->space, &ticket, false), 0);
	CHECK_OK(result);
	check_page(&f, 2);
	CHECK_EQ(testback_count(&f.back, &f.back.reads), 2);
	file_close(&f);
}

static void a_tail_that_was_read_before_a_growth_is_not_shown(void)
{
	struct rig r;

	RIG_EACH(r)
		tail_is_read_again(&r, 0);
	rig_open(&r, VMF_BY_COPY);
	tail_is_read_again(&r, VMF_STREAM);
	rig_close(&r);
}

/* ---------------------------------------------------------------------------------- on the way back */

struct helper { struct file *f; unsigned waits, done; int err; };

static _Thread_local struct helper *helper; /* whose thread this is */

static void note_wait(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self;
	(void)space;
	(void)at;
	(void)pages;
	if (helper)
		__atomic_store_n(&helper->waits, 1, __ATOMIC_SEQ_CST);
}

static void *sync_all(void *self)
{
	struct helper *h = self;

	h->err = vmf_sync(h->f->object, 0, 8, NULL);
	return NULL;
}

static void *resize_it(void *self)
{
	struct helper *h = helper = self;

	h->err = vmf_object_resize(h->f->object);
	__atomic_store_n(&h->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Page 7 is cut off while it is written back.  That has to end, well or badly, before anybody may make the object, and
 * its backing, longer again. */
static void written_truncated_grown(struct rig *r, bool fails)
{
	static struct file f;
	struct helper syncer = { .f = &f }, cutter = { .f = &f };
	pthread_t sync_thread, cut_thread;

	file_open(&f, r, 8 * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ .pages = 8 });
	vmf_sim_on(r->sim, VMF_SIM_WAIT, note_wait, NULL);
	testback_release(&f.back, 1);
	CHECK_OK(vmf_sim_store(r->space, f.at + 7 * PAGE, "x", 1));
	if (fails)
		f.back.write = (struct testback_fail){ .in = 1, .err = 5 };
	CHECK(!pthread_create(&sync_thread, NULL, sync_all, &syncer));
	testback_wait_queued(&f.back, 1);
	testback_resize(&f.back, 4 * PAGE);
	CHECK(!pthread_create(&cut_thread, NULL, resize_it, &cutter));
	CHECK_SOON(__atomic_load_n(&cutter.waits, __ATOMIC_SEQ_CST) || __atomic_load_n(&cutter.done, __ATOMIC_SEQ_CST));
	CHECK(!__atomic_load_n(&cutter.done, __ATOMIC_SEQ_CST));
	testback_release(&f.back, 8);
	pthread_join(sync_thread, NULL);
	pthread_join(cut_thread, NULL);
	CHECK_ERR(syncer.err, fails ? -VMF_EIO : 0);
	CHECK_ERR(cutter.err, 0);
	resize(&f, 8 * PAGE);
	testback_poke(&f.back, 7 * PAGE, 201);
	CHECK_EQ(rig_byte(r, f.at + 7 * PAGE), 201);
	file_close(&f);
}

static void an_object_does_not_grow_over_what_is_being_written(void)
{
	struct rig r;

	for (unsigned fails = 0; fails < 2; fails++)
		SHARED_EACH(r)
			written_truncated_grown(&r, fails);
}

/* ----------------------------------------------------------------------------------- on the way out */

static struct { atomic_bool there, go; } reclaimer;
static _Thread_local bool reclaims;

static void hold_the_reclaimer(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	if (!reclaims)
		return;
	reclaimer.there = true;
	while (!reclaimer.go)
		sched_yield();
	fail_this(self, space, at, pages);
}

static void *reclaim(void *self)
{
	struct helper *h = self;

	reclaims = true;
	h->err = (int)vmf_reclaim(h->f->object, 7, 1);
	return NULL;
}

/* Page 7 could not be cut off.  While somebody else tries to be rid of it, in vain too, nobody may make the object
 * longer again: it would be there. */
static void an_object_does_not_grow_over_what_is_being_reclaimed(void)
{
	static struct file f;
	struct rig r;

	SHARED_EACH(r) {
		struct helper other = { .f = &f }, grower = { .f = &f };
		pthread_t reclaim_thread, grow_thread;

		file_open(&f, &r, 8 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 8 });
		check_page(&f, 7);
		testback_resize(&f.back, 4 * PAGE);
		removing_fails(&r, true);
		CHECK_ERR(vmf_object_resize(f.object), -VMF_ENOMEM);
		removing_fails(&r, false);
		reclaimer.there = reclaimer.go = false;
		vmf_sim_on(r.sim, VMF_SIM_REMOVE, hold_the_reclaimer, r.sim);
		vmf_sim_on(r.sim, VMF_SIM_WAIT, note_wait, NULL);
		CHECK(!pthread_create(&reclaim_thread, NULL, reclaim, &other));
		CHECK_SOON(reclaimer.there);
		testback_resize(&f.back, 8 * PAGE);
		testback_poke(&f.back, 7 * PAGE, 201);
		CHECK(!pthread_create(&grow_thread, NULL, resize_it, &grower));
		CHECK_SOON(__atomic_load_n(&grower.waits, __ATOMIC_SEQ_CST) ||
			   __atomic_load_n(&grower.done, __ATOMIC_SEQ_CST));
		CHECK(!__atomic_load_n(&grower.done, __ATOMIC_SEQ_CST));
		reclaimer.go = true;
		pthread_join(reclaim_thread, NULL);
		pthread_join(grow_thread, NULL);
		CHECK_EQ(other.err, 0);
		CHECK_ERR(grower.err, 0);
		CHECK_EQ(rig_byte(&r, f.at + 7 * PAGE), 201);
		file_close(&f);
	}
}

/* A fault waits until the page is out, or is not, and every change of the object wakes it: that is no race that it
 * lost. */
static void who_waits_for_a_page_to_leave_loses_no_race(void)
{
	const struct vmf_trap trap = { .access = VMF_R };
	static struct file f;
	struct rig r;

	SHARED_EACH(r) {
		struct helper other = { .f = &f };
		struct vmf_ticket ticket = { 0 };
		struct vmf_trap here = trap;
		pthread_t t;

		file_open(&f, &r, 8 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 8 });
		check_page(&f, 7);
		vmf_sim_forget(r.space, f.at + 7 * PAGE, 1);
		reclaimer.there = reclaimer.go = false;
		vmf_sim_on(r.sim, VMF_SIM_REMOVE, hold_the_reclaimer, r.sim);
		CHECK(!pthread_create(&t, NULL, reclaim, &other));
		CHECK_SOON(reclaimer.there);
		here.va = f.at + 7 * PAGE;
		for (unsigned i = 0; i < 2 * VMF_CFG_RACES; i++) {
			CHECK_RESULT(vmf_handle(r.space, &here, &ticket), VMF_RETRY, VMF_WHY_RACE);
			CHECK(ticket.wait != NULL);
		}
		reclaimer.go = true;
		pthread_join(t, NULL);
		CHECK_OK(vmf_handle(r.space, &here, &ticket));
		check_page(&f, 7);
		file_close(&f);
	}
}

static const struct vmtest tests[] = {
	VMTEST(pages_far_apart_are_all_cut_off),
	VMTEST(pages_far_apart_are_all_reclaimed),
	VMTEST(what_could_not_be_cut_off_does_not_come_back),
	VMTEST(a_growth_that_failed_is_tried_again),
	VMTEST(a_block_ends_with_the_object_of_now),
	VMTEST(a_streams_block_ends_with_the_object_of_now),
	VMTEST(an_extent_of_before_is_not_believed),
	VMTEST(a_tail_that_was_read_before_a_growth_is_not_shown),
	VMTEST(an_object_does_not_grow_over_what_is_being_written),
	VMTEST(an_object_does_not_grow_over_what_is_being_reclaimed),
	VMTEST(who_waits_for_a_page_to_leave_loses_no_race),
};
VMTEST_MAIN(tests, 20)
