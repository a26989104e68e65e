/* SPDX-License-Identifier: MIT
 *
 * Objects with a backing: what is read, when, and by whom; what a failed read does; what nobody may ever see.
 */
#include <pthread.h>
#include "rig.h"
#include "testback.h"

#define PAGES 64u

struct file {
	struct testback back;
	struct vmf_object *object;
	vmf_va at;
};

/* A backing of so many bytes, an object, and an area that shows all of it (or as much as there is room for). */
static void file_open(struct file *f, struct rig *r, uint64_t bytes, enum testback_when when, struct vmf_backed like)
{
	uint64_t pages = like.pages ? like.pages : (bytes + PAGE - 1) / PAGE;

	rig_soil(r);
	testback_open(&f->back, r->port, bytes, when);
	f->object = testback_object(&f->back, &like);
	f->at = rig_show(r, f->object, pages, VMF_R | VMF_W);
}

static void file_close(struct file *f, struct rig *r)
{
	CHECK_ERR(vmf_unmap(r->space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(f->object);
	testback_close(&f->back);
}

static struct vmf_result touch(struct rig *r, struct file *f, uint64_t page)
{
	uint8_t byte[2];
	struct vmf_result result = vmf_sim_load(r->space, f->at + page * PAGE + 100, byte, 2);

	if (result.code == VMF_OK)
		CHECK(testback_same(&f->back, page * PAGE + 100, byte, 2));
	CHECK_EQ(result.flags & ~(VMF_MAJOR | VMF_SPURIOUS), 0);
	return result;
}

static void check_page(struct rig *r, struct file *f, uint64_t page)
{
	static _Thread_local uint8_t bytes[PAGE];

	CHECK_OK(vmf_sim_load(r->space, f->at + page * PAGE, bytes, PAGE));
	CHECK(testback_same(&f->back, page * PAGE, bytes, PAGE));
}

/* ------------------------------------------------------------------------------------------- reading */

static void every_page_is_read_once(void)
{
	static struct file f;
	struct rig r;

	for (unsigned when = TESTBACK_AT_ONCE; when <= TESTBACK_THREAD; when++)
		RIG_EACH(r) {
			file_open(&f, &r, PAGES * PAGE, when, (struct vmf_backed){ 0 });
			for (unsigned i = 0; i < PAGES; i++)
				check_page(&r, &f, i * 37 % PAGES);
			for (unsigned i = 0; i < PAGES; i++)
				check_page(&r, &f, i);
			CHECK_EQ(testback_count(&f.back, &f.back.reads), PAGES);
			CHECK_EQ(testback_count(&f.back, &f.back.pages_read), PAGES);
			CHECK_EQ(rig_stats(&r).faults, PAGES);
			CHECK_EQ(rig_stats(&r).major, PAGES);
			CHECK_EQ(rig_stats(&r).entered, PAGES);
			CHECK_EQ(rig_stats(&r).bytes_read, PAGES * PAGE);
			CHECK_EQ(rig_stats(&r).failed, 0);
			CHECK_EQ(vmf_page_state(f.object, 5), VMF_PRESENT);
			file_close(&f, &r);
		}
}

static void a_fault_is_major_if_any_try_read(void)
{
	static struct file f;
	struct vmf_result result;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_THREAD, (struct vmf_backed){ .around = 8 });
		result = touch(&r, &f, 3);
		CHECK_OK(result);
		CHECK(result.flags & VMF_MAJOR);
		CHECK_EQ(rig_stats(&r).major, 1);
		CHECK_EQ(rig_stats(&r).faults, 1);
		if (r.store != VMF_BY_COPY) {
			vmf_sim_forget(r.space, f.at, PAGES);
			result = touch(&r, &f, 3);
			CHECK_OK(result);
			CHECK_EQ(result.flags & VMF_MAJOR, 0);
			CHECK_EQ(rig_stats(&r).major, 1);
			CHECK_EQ(rig_stats(&r).faults, 2);
		}
		file_close(&f, &r);
	}
}

static void areas_share_what_was_read(void)
{
	static struct file f;
	struct vmf_space *second;
	struct rig r;
	vmf_va too, third = 0;
	uint8_t byte;

	RIG_EACH(r) {
		struct vmf_map map = rig_map(&r, PAGES, VMF_R);

		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		too = rig_show(&r, f.object, PAGES, VMF_R);
		CHECK_ERR(vmf_sim_space(r.sim, &second), 0);
		CHECK_ERR(vmf_map(second, f.object, &map, &third), 0);
		check_page(&r, &f, 7);
		CHECK_EQ(rig_byte(&r, too + 7 * PAGE), testback_byte(&f.back, 7 * PAGE));
		CHECK_OK(vmf_sim_load(second, third + 7 * PAGE, &byte, 1));
		CHECK_EQ(byte, testback_byte(&f.back, 7 * PAGE));
		CHECK_EQ(f.back.reads, 1);
		CHECK_EQ(rig_stats(&r).major, 1);
		CHECK_EQ(rig_stats(&r).faults, 2);
		vmf_sim_space_close(second);
		file_close(&f, &r);
	}
}

static void private_bytes_stay_private(void)
{
	static struct file f;
	struct rig r;
	vmf_va too;

	rig_open(&r, VMF_BY_COPY);
	file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
	too = rig_show(&r, f.object, PAGES, VMF_R | VMF_W);
	CHECK_OK(vmf_sim_store(r.space, f.at, "zz", 2));
	CHECK_EQ(rig_byte(&r, f.at), 'z');
	CHECK_EQ(rig_byte(&r, too), testback_byte(&f.back, 0));
	CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
	CHECK_EQ(f.back.writes, 0);
	file_close(&f, &r);
	rig_close(&r);
}

static void a_fault_brings_the_block_around_it(void)
{
	static const struct { unsigned page, first, n; } t[] = { { 11, 8, 8 }, { 0, 0, 8 }, { 63, 56, 8 }, { 24, 24, 8 } };
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = 8 });
		for (unsigned i = 0; i < 4; i++) {
			check_page(&r, &f, t[i].page);
			CHECK_EQ(f.back.last_first, t[i].first);
			CHECK_EQ(f.back.last_n, t[i].n);
			CHECK_EQ(f.back.reads, i + 1);
			for (unsigned p = t[i].first; p < t[i].first + t[i].n; p++)
				CHECK(rig_present(&r, f.at + p * PAGE));
		}
		for (unsigned p = 8; p < 16; p++)
			check_page(&r, &f, p);
		CHECK_EQ(rig_stats(&r).faults, 4);
		CHECK_EQ(rig_stats(&r).entered, 32);
		file_close(&f, &r);
	}
}

static void a_block_keeps_to_the_area_and_the_object(void)
{
	static struct file f;
	struct vmf_map map;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		file_open(&f, &r, 60 * PAGE + 1, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = 16 });
		CHECK_ERR(vmf_unmap(r.space, f.at, 61), 0);
		map = rig_map(&r, 5, VMF_R);
		map.off = 3;
		CHECK_ERR(vmf_map(r.space, f.object, &map, &at), 0);
		CHECK_EQ(rig_byte(&r, at + PAGE), testback_byte(&f.back, 4 * PAGE));
		CHECK_EQ(f.back.last_first, 3);
		CHECK_EQ(f.back.last_n, 5);
		for (unsigned i = 0; i < 5; i++)
			CHECK(rig_present(&r, at + i * PAGE));
		/* The last block, which the object's end cuts. */
		map.pages = 32;
		map.off = 48;
		CHECK_ERR(vmf_map(r.space, f.object, &map, &at), 0);
		CHECK_EQ(rig_byte(&r, at + 2 * PAGE), testback_byte(&f.back, 50 * PAGE));
		CHECK_EQ(f.back.last_first, 48);
		CHECK_EQ(f.back.last_n, 13);
		CHECK_RESULT(vmf_sim_load(r.space, at + 13 * PAGE, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_EOF);
		file_close(&f, &r);
	}
}

static void a_block_is_as_large_as_a_run_can_be(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, 700 * PAGE, TESTBACK_THREAD, (struct vmf_backed){ .around = VMF_RUN_MAX });
		check_page(&r, &f, 3);
		CHECK_EQ(testback_count(&f.back, &f.back.pages_read), 512);
		for (unsigned i = 0; i < 512; i++)
			check_page(&r, &f, i);
		CHECK_EQ(testback_count(&f.back, &f.back.pages_read), 512);
		file_close(&f, &r);
	}
}

static void sequential_faults_read_ahead(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .readahead = 16 });
		for (unsigned i = 0; i < PAGES; i++)
			check_page(&r, &f, i);
		/* 1, 2, 4, 8, 16, 16, 16 and the rest */
		CHECK(f.back.reads >= 7 && f.back.reads <= 9);
		CHECK_EQ(f.back.pages_read, PAGES);
		CHECK_EQ(rig_stats(&r).failed, 0);
		file_close(&f, &r);
	}
}

static void random_faults_read_one_page(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .readahead = 16 });
		for (unsigned i = 0; i < PAGES; i += 2)
			check_page(&r, &f, i * 29 % PAGES);
		CHECK_EQ(f.back.reads, f.back.pages_read);
		file_close(&f, &r);
	}
}

/* ------------------------------------------------------------------------------------- ends and holes */

static void the_last_page_is_padded_with_zeroes(void)
{
	static const uint64_t bytes[] = { 1, 7, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE + 8, 8 * PAGE - 4095 };
	static struct file f;
	struct rig r;

	for (unsigned around = 1; around <= 4; around += 3)
		RIG_EACH(r)
			for (unsigned i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
				uint64_t pages = (bytes[i] + PAGE - 1) / PAGE;

				file_open(&f, &r, bytes[i], TESTBACK_AT_ONCE,
					(struct vmf_backed){ .around = around, .pages = pages + 2 });
				for (uint64_t p = 0; p < pages; p++)
					check_page(&r, &f, pages - 1 - p);
				CHECK_RESULT(touch(&r, &f, pages), VMF_SIGBUS, VMF_WHY_EOF);
				CHECK_RESULT(vmf_sim_store(r.space, f.at + pages * PAGE, "x", 1), VMF_SIGBUS, VMF_WHY_EOF);
				CHECK_EQ(rig_stats(&r).bytes_read, bytes[i]);
				file_close(&f, &r);
				CHECK_ERR(vmf_unmap(r.space, VMF_SIM_LOWEST, 64), 0);
				rig_close(&r);
				rig_open(&r, store_);
			}
}

static void holes_are_not_read(void)
{
	static struct file f;
	struct rig r;

	for (unsigned around = 1; around <= 16; around += 15)
		RIG_EACH(r) {
			file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = around });
			f.back.hole = 10;
			f.back.hole_pages = 20;
			for (unsigned i = 10; i < 30; i++)
				check_page(&r, &f, i);
			CHECK_EQ(f.back.reads, 0);
			CHECK_EQ(rig_stats(&r).major, 0);
			CHECK_EQ(rig_stats(&r).bytes_read, 0);
			CHECK_EQ(rig_stats(&r).zeroed, 20);
			for (unsigned i = 0; i < PAGES; i++)
				check_page(&r, &f, i);
			CHECK_EQ(f.back.pages_read, PAGES - 20);
			file_close(&f, &r);
		}
}

static void a_backing_that_cannot_say_is_an_error(void)
{
	static struct file f;
	struct vmf_result result;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		f.back.extent_err = 61;
		result = touch(&r, &f, 3);
		CHECK_RESULT(result, VMF_SIGBUS, VMF_WHY_IOERR);
		CHECK_EQ(result.err, 61);
		f.back.extent_err = 0;
		CHECK_OK(touch(&r, &f, 3));
		file_close(&f, &r);
	}
}

/* ------------------------------------------------------------------------------------------- failing */

static void a_failed_read_is_reported_and_read_again(void)
{
	static struct file f;
	struct vmf_result result;
	struct rig r;

	for (unsigned when = TESTBACK_AT_ONCE; when <= TESTBACK_THREAD; when++)
		RIG_EACH(r) {
			file_open(&f, &r, PAGES * PAGE, when, (struct vmf_backed){ 0 });
			f.back.read = (struct testback_fail){ .first = 3, .pages = 1, .err = 5 };
			for (unsigned i = 0; i < 3; i++) {
				result = touch(&r, &f, 3);
				CHECK_RESULT(result, VMF_SIGBUS, VMF_WHY_IOERR);
				CHECK_EQ(result.err, 5);
				CHECK_EQ(vmf_page_state(f.object, 3), VMF_FAILED);
				CHECK_EQ(testback_count(&f.back, &f.back.reads), i + 1);
				CHECK(!rig_present(&r, f.at + 3 * PAGE));
			}
			f.back.read.pages = 0;
			check_page(&r, &f, 3);
			CHECK_EQ(rig_stats(&r).failed, 3);
			CHECK_EQ(rig_stats(&r).faults, 4);
			file_close(&f, &r);
		}
}

static void a_refused_read_is_reported(void)
{
	static struct file f;
	struct vmf_result result;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_THREAD, (struct vmf_backed){ .around = 4 });
		f.back.refuse = (struct testback_fail){ .pages = PAGES, .err = 11 };
		result = touch(&r, &f, 3);
		CHECK_RESULT(result, VMF_SIGBUS, VMF_WHY_IOERR);
		CHECK_EQ(result.err, 11);
		f.back.refuse.pages = 0;
		check_page(&r, &f, 3);
		file_close(&f, &r);
	}
}

static void a_bad_neighbour_spoils_nothing(void)
{
	static struct file f;
	struct rig r;

	for (unsigned bad = 0; bad < 8; bad++)
		RIG_EACH(r) {
			file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = 8 });
			f.back.read = (struct testback_fail){ .first = bad, .pages = 1, .err = 5 };
			for (unsigned i = 0; i < 8; i++)
				if (i != bad)
					check_page(&r, &f, 7 - i == bad ? i : 7 - i);
			for (unsigned i = 0; i < 8; i++)
				if (i != bad)
					check_page(&r, &f, i);
			CHECK_RESULT(touch(&r, &f, bad), VMF_SIGBUS, VMF_WHY_IOERR);
			file_close(&f, &r);
		}
}

static int short_start(void *self, struct vmf_io *io)
{
	(void)self;
	memset(vmf_io_bytes(io, 0, NULL), 7, PAGE);
	vmf_io_done(io, 1, 0); /* of four: and no word why */
	return 0;
}

static int short_length(void *self, uint64_t *bytes)
{
	*bytes = *(uint64_t *)self;
	return 0;
}

static const struct vmf_backing_ops short_ops = {
	.size = sizeof(short_ops), .start = short_start, .length = short_length,
};

static void a_short_completion_is_a_failure(void)
{
	uint64_t bytes = 4 * PAGE;
	struct vmf_object *object;
	struct vmf_result result;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		struct vmf_backed b = { .size = sizeof(b), .ops = &short_ops, .self = &bytes, .around = 4 };

		rig_soil(&r);
		CHECK_ERR(vmf_object_backed(r.port, &object, &b), 0);
		at = rig_show(&r, object, 4, VMF_R);
		CHECK_EQ(rig_byte(&r, at), 7);
		for (unsigned i = 1; i < 4; i++)
			CHECK(!rig_present(&r, at + i * PAGE));
		result = vmf_sim_load(r.space, at + 2 * PAGE, &(char){ 0 }, 1);
		/* Alone it is read whole: short_start fills the first page of what it is asked for. */
		CHECK(result.code == VMF_SIGBUS || (result.code == VMF_OK && rig_byte(&r, at + 2 * PAGE) == 7));
		CHECK_ERR(vmf_unmap(r.space, at, 4), 0);
		vmf_object_put(object);
	}
}

/* ------------------------------------------------------------------------------------------ in flight */

struct loader {
	struct rig *r;
	struct file *f;
	uint64_t page;
	struct vmf_result result;
	pthread_t thread;
};

static void *load(void *self)
{
	struct loader *l = self;

	l->result = touch(l->r, l->f, l->page);
	return NULL;
}

static void load_start(struct loader *l, struct rig *r, struct file *f, uint64_t page)
{
	*l = (struct loader){ .r = r, .f = f, .page = page };
	CHECK(!pthread_create(&l->thread, NULL, load, l));
}

static struct vmf_result load_end(struct loader *l)
{
	pthread_join(l->thread, NULL);
	return l->result;
}

static uint64_t waiting(struct rig *r)
{
	return rig_stats(r).retries[VMF_WHY_IO];
}

static void who_asks_for_one_page_shares_one_read(void)
{
	static struct file f;
	struct loader l[3];
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ .around = 4 });
		for (unsigned i = 0; i < 3; i++)
			load_start(&l[i], &r, &f, 4 + i);
		CHECK_SOON(waiting(&r) == 3);
		CHECK_EQ(vmf_page_state(f.object, 7), VMF_FILLING);
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 1);
		testback_release(&f.back, 1);
		for (unsigned i = 0; i < 3; i++)
			CHECK_OK(load_end(&l[i]));
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 1);
		CHECK_EQ(rig_stats(&r).faults, 3);
		CHECK_EQ(vmf_page_state(f.object, 7), VMF_PRESENT);
		file_close(&f, &r);
	}
}

/* Those who asked get the error, whoever comes later causes a new read. */
static void an_error_goes_to_exactly_those_who_asked(void)
{
	static struct file f;
	struct loader l[3];
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ 0 });
		f.back.read = (struct testback_fail){ .in = 1, .err = 121 };
		load_start(&l[0], &r, &f, 4);
		load_start(&l[1], &r, &f, 4);
		CHECK_SOON(waiting(&r) == 2);
		load_start(&l[2], &r, &f, 9);
		CHECK_SOON(waiting(&r) == 3);
		testback_release(&f.back, 2);
		for (unsigned i = 0; i < 2; i++) {
			struct vmf_result result = load_end(&l[i]);

			CHECK_RESULT(result, VMF_SIGBUS, VMF_WHY_IOERR);
			CHECK_EQ(result.err, 121);
		}
		CHECK_OK(load_end(&l[2]));
		testback_release(&f.back, 1);
		CHECK_OK(touch(&r, &f, 4));
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 3);
		file_close(&f, &r);
	}
}

/* A ticket pins what it waited for: the second try finds it, whatever an adversary does in between. */
static void what_a_ticket_waited_for_cannot_be_reclaimed(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_ticket ticket = { 0 };
		struct vmf_trap trap = { .access = VMF_R };

		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ 0 });
		trap.va = f.at + 9 * PAGE;
		CHECK_RESULT(vmf_handle(r.space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
		CHECK(!vmf_ticket_ready(&ticket));
		testback_release(&f.back, 1);
		CHECK_ERR(vmf_ticket_wait(r.space, &ticket, false), 0);
		CHECK_EQ(vmf_page_state(f.object, 9), VMF_PRESENT);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 0);
		CHECK_OK(vmf_handle(r.space, &trap, &ticket));
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 1);
		CHECK_SOON(vmf_reclaim(f.object, 0, PAGES) == 1); /* when the backing's thread has left it, too */
		CHECK_EQ(vmf_page_state(f.object, 9), VMF_ABSENT);
		file_close(&f, &r);
	}
}

struct adversary { struct vmf_object *object; bool stop; uint64_t evicted; };

static void *evict(void *self)
{
	struct adversary *a = self;

	while (!__atomic_load_n(&a->stop, __ATOMIC_RELAXED))
		a->evicted += vmf_reclaim(a->object, 0, PAGES);
	return NULL;
}

static void an_evicting_adversary_starves_nobody(void)
{
	static struct file f;
	pthread_t t;
	struct rig r;

	RIG_EACH(r) {
		struct adversary a = { .stop = false };

		file_open(&f, &r, PAGES * PAGE, TESTBACK_THREAD, (struct vmf_backed){ .around = 4 });
		a.object = f.object;
		CHECK(!pthread_create(&t, NULL, evict, &a));
		for (unsigned i = 0; i < 500; i++)
			CHECK_OK(touch(&r, &f, i * 7 % PAGES));
		__atomic_store_n(&a.stop, true, __ATOMIC_RELAXED);
		pthread_join(t, NULL);
		CHECK_EQ(rig_stats(&r).failed, 0);
		file_close(&f, &r);
	}
}

static void an_object_outlives_its_reads(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_ticket ticket = { 0 };
		struct vmf_trap trap = { .access = VMF_R };

		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ .around = 8 });
		trap.va = f.at;
		CHECK_RESULT(vmf_handle(r.space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
		vmf_ticket_drop(r.space, &ticket);
		CHECK_ERR(vmf_unmap(r.space, f.at, PAGES), 0);
		vmf_object_put(f.object);
		CHECK(!f.back.closed);
		testback_release(&f.back, 1);
		testback_close(&f.back);
		CHECK_EQ(rig_free_frames(&r), RAM);
	}
}

/* ------------------------------------------------------------------------------------------- reclaim */

static void reclaimed_pages_are_read_again(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		uint64_t before;

		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		before = rig_free_frames(&r);
		for (unsigned i = 0; i < PAGES; i++)
			check_page(&r, &f, i);
		CHECK_EQ(vmf_reclaim(f.object, 8, 16), 16);
		CHECK_EQ(vmf_reclaim(f.object, 0, UINT64_MAX), PAGES - 16);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 0);
		CHECK_EQ(vmf_reclaim(f.object, UINT64_MAX, 2), 0);
		CHECK_EQ(rig_free_frames(&r), before);
		CHECK_EQ(vmf_sim_unflushed(r.space), 0);
		CHECK_EQ(vmf_page_state(f.object, 8), VMF_ABSENT);
		if (r.store == VMF_BY_OFFSET)
			CHECK(vmf_sim_calls(r.sim, VMF_SIM_PUNCH));
		rig_soil(&r);
		testback_poke(&f.back, 9 * PAGE, 200);
		if (r.store == VMF_BY_COPY) {
			CHECK_EQ(rig_byte(&r, f.at + 9 * PAGE), testback_byte(&f.back, 9 * PAGE));
			CHECK_EQ(f.back.reads, PAGES);
		} else {
			for (unsigned i = 0; i < PAGES; i++)
				check_page(&r, &f, i);
			CHECK_EQ(f.back.reads, 2 * PAGES);
			CHECK_EQ(rig_byte(&r, f.at + 9 * PAGE), 200);
		}
		file_close(&f, &r);
	}
}

/* What the pmap still shows must stay as it is: no zeroes under a program, no write into a page that nobody has. */
struct late { struct rig *r; struct file *f; unsigned used; struct vmf_result result; };

static void *fault_late(void *self)
{
	struct late *l = self;
	struct vmf_trap trap = { .va = l->f->at + 3 * PAGE, .access = VMF_R };
	struct vmf_ticket ticket = { 0 };

	l->result = vmf_handle(l->r->space, &trap, &ticket);
	vmf_ticket_drop(l->r->space, &ticket);
	return NULL;
}

static void fault_while_leaving(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct late *l = self;
	pthread_t thread;

	(void)space, (void)at, (void)pages;
	if (l->used++)
		return;
	CHECK(!pthread_create(&thread, NULL, fault_late, l));
	pthread_join(thread, NULL);
}

/* Its entries are being taken away, and its frame goes with them: a fault waits until that is over. */
static void nobody_reads_what_is_leaving(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		struct late late = { .r = &r, .f = &f };

		if (r.store == VMF_BY_COPY)
			continue;
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		check_page(&r, &f, 3);
		vmf_sim_on(r.sim, VMF_SIM_REMOVE, fault_while_leaving, &late);
		CHECK_EQ(vmf_reclaim(f.object, 3, 1), 1);
		vmf_sim_on(r.sim, VMF_SIM_REMOVE, NULL, NULL);
		CHECK_RESULT(late.result, VMF_RETRY, VMF_WHY_RACE);
		CHECK_EQ(vmf_page_state(f.object, 3), VMF_ABSENT);
		check_page(&r, &f, 3);
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 2);
		file_close(&f, &r);
	}
}

struct thief { struct file *f; pthread_t thread; unsigned used; };

static void *reclaim_next(void *self)
{
	struct thief *t = self;

	CHECK_EQ(vmf_reclaim(t->f->object, 1, 1), 1);
	return NULL;
}

/* Page 0 is being entered, page 1 is next, and is taken away: its entry will be waited for, the page will not. */
static void take_the_next(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct thief *t = self;

	(void)space, (void)at, (void)pages;
	if (t->used++)
		return;
	CHECK(!pthread_create(&t->thread, NULL, reclaim_next, t));
	CHECK_SOON(vmf_page_state(t->f->object, 1) != VMF_PRESENT);
}

/* Its neighbours were entered, but not the page itself: the fault is not over. */
static void a_page_that_leaves_while_its_block_is_shown(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		struct thief thief = { .f = &f };
		struct vmf_trap trap = { .access = VMF_R };
		struct vmf_ticket ticket = { 0 };
		struct vmf_result result;

		if (r.store == VMF_BY_COPY)
			continue;
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = 4 });
		CHECK_OK(vmf_sim_store(r.space, f.at, "x", 1)); /* so that it is not entered together with the next */
		check_page(&r, &f, 2);
		vmf_sim_forget(r.space, f.at, 4);
		vmf_sim_on(r.sim, VMF_SIM_ENTER, take_the_next, &thief);
		trap.va = f.at + PAGE;
		while ((result = vmf_handle(r.space, &trap, &ticket)).code == VMF_RETRY)
			CHECK_ERR(vmf_ticket_wait(r.space, &ticket, false), 0);
		CHECK_OK(result);
		CHECK(rig_present(&r, f.at + PAGE));
		vmf_sim_on(r.sim, VMF_SIM_ENTER, NULL, NULL);
		CHECK(!pthread_join(thief.thread, NULL));
		check_page(&r, &f, 1);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		file_close(&f, &r);
	}
}

static void what_cannot_be_removed_is_not_reclaimed(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		if (r.store == VMF_BY_COPY)
			continue;
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		check_page(&r, &f, 3);
		check_page(&r, &f, 4);
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 0);
		CHECK_EQ(vmf_page_state(f.object, 3), VMF_PRESENT);
		check_page(&r, &f, 3);
		CHECK_OK(vmf_sim_store(r.space, f.at + 3 * PAGE, "x", 1));
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(testback_same(&f.back, 3 * PAGE, "x", 1));
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 2);
		check_page(&r, &f, 3);
		/* And a truncation says so. */
		testback_resize(&f.back, 2 * PAGE);
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
		CHECK_ERR(vmf_object_resize(f.object), -VMF_EBUSY);
		CHECK(rig_byte(&r, f.at + 3 * PAGE) != 0);
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 0, 0);
		file_close(&f, &r);
	}
}

/* --------------------------------------------------------------------------------------------- resize */

static void a_shorter_object_ends_earlier(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		for (unsigned i = 0; i < PAGES; i++)
			check_page(&r, &f, i);
		testback_resize(&f.back, 10 * PAGE + 17);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		CHECK_EQ(vmf_sim_unflushed(r.space), 0);
		if (r.store == VMF_BY_COPY) {
			CHECK_EQ(rig_byte(&r, f.at + 20 * PAGE), testback_byte(&f.back, 20 * PAGE));
			vmf_sim_forget(r.space, f.at, 0);
		} else {
			for (unsigned i = 0; i <= 10; i++)
				check_page(&r, &f, i);
			for (unsigned i = 11; i < PAGES; i++)
				CHECK_RESULT(touch(&r, &f, i), VMF_SIGBUS, VMF_WHY_EOF);
		}
		CHECK_EQ(vmf_page_state(f.object, 11), VMF_ABSENT);
		/* It grows again: nothing of what was there before comes back. */
		testback_poke(&f.back, 30 * PAGE, 201);
		testback_poke(&f.back, 10 * PAGE + 17, 202);
		testback_resize(&f.back, 40 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		if (r.store != VMF_BY_COPY) {
			for (unsigned i = 0; i < 40; i++)
				check_page(&r, &f, i);
			CHECK_EQ(rig_byte(&r, f.at + 30 * PAGE), 201);
			CHECK_EQ(rig_byte(&r, f.at + 10 * PAGE + 17), 202);
			CHECK_RESULT(touch(&r, &f, 40), VMF_SIGBUS, VMF_WHY_EOF);
		}
		file_close(&f, &r);
	}
}

/* The pages past the end could not be hidden: they are not data when the object grows again. */
static void a_truncation_that_failed_is_finished_later(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, 20 * PAGE, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		for (unsigned i = 0; i < 20; i++)
			check_page(&r, &f, i);
		testback_resize(&f.back, 4 * PAGE);
		if (r.store != VMF_BY_COPY) {
			vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
			CHECK_ERR(vmf_object_resize(f.object), -VMF_EBUSY);
			vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 0, 0);
		}
		CHECK_ERR(vmf_object_resize(f.object), 0);
		CHECK_EQ(vmf_page_state(f.object, 10), VMF_ABSENT);
		testback_poke(&f.back, 10 * PAGE, 201);
		testback_resize(&f.back, 20 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		if (r.store != VMF_BY_COPY)
			CHECK_EQ(rig_byte(&r, f.at + 10 * PAGE), 201);
		file_close(&f, &r);
	}
}

static void an_object_grows_into_its_room(void)
{
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, 2 * PAGE + 9, TESTBACK_AT_ONCE, (struct vmf_backed){ .pages = 20 });
		CHECK_RESULT(touch(&r, &f, 3), VMF_SIGBUS, VMF_WHY_EOF);
		testback_resize(&f.back, 12 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		for (unsigned i = 0; i < 12; i++)
			check_page(&r, &f, i);
		CHECK_RESULT(touch(&r, &f, 12), VMF_SIGBUS, VMF_WHY_EOF);
		/* More than the room: as far as it goes. */
		testback_resize(&f.back, 40 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		check_page(&r, &f, 19);
		CHECK(touch(&r, &f, 20).code != VMF_OK);
		f.back.length_err = 116;
		CHECK_EQ(vmf_object_resize(f.object), 116);
		f.back.length_err = 0;
		check_page(&r, &f, 18);
		file_close(&f, &r);
	}
}

/* A read that began before the truncation must not publish. */
static void a_read_in_flight_does_not_survive_truncation(void)
{
	static struct file f;
	struct loader l;
	uint64_t before;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ .around = 16 });
		load_start(&l, &r, &f, 6);
		CHECK_SOON(waiting(&r) == 1);
		testback_resize(&f.back, 4 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		testback_release(&f.back, 1);
		CHECK_RESULT(load_end(&l), VMF_SIGBUS, VMF_WHY_EOF);
		for (unsigned i = 0; i < 16; i++)
			CHECK(vmf_page_state(f.object, i) != VMF_PRESENT);
		/* And not if it is as long as before when the read lands: what it read is too old. */
		testback_resize(&f.back, PAGES * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		before = waiting(&r);
		load_start(&l, &r, &f, 6);
		CHECK_SOON(waiting(&r) == before + 1);
		testback_resize(&f.back, 4 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		testback_resize(&f.back, PAGES * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 2);
		testback_release(&f.back, 2);
		CHECK_OK(load_end(&l));
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 3);
		file_close(&f, &r);
	}
}

/* Its error is as old as its bytes. */
static void nor_does_its_error(void)
{
	static struct file f;
	struct loader l;
	struct rig r;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ 0 });
		load_start(&l, &r, &f, 6);
		CHECK_SOON(waiting(&r) == 1);
		testback_resize(&f.back, 4 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		testback_resize(&f.back, PAGES * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		f.back.read = (struct testback_fail){ .in = 1, .err = 5 };
		testback_release(&f.back, 2);
		CHECK_OK(load_end(&l));
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 2);
		file_close(&f, &r);
	}
}

/* -------------------------------------------------------------------------------------------- streams */

static void a_stream_keeps_nothing(void)
{
	static struct file f;
	struct vmf_map map;
	struct rig r;
	vmf_va too;

	for (unsigned when = TESTBACK_AT_ONCE; when <= TESTBACK_THREAD; when++) {
		rig_open(&r, VMF_BY_COPY);
		file_open(&f, &r, PAGES * PAGE - 5, when, (struct vmf_backed){ .flags = VMF_STREAM, .around = 4 });
		f.back.hole = 40;
		f.back.hole_pages = 8;
		for (unsigned i = 0; i < PAGES; i++)
			check_page(&r, &f, i);
		CHECK_SOON(rig_free_frames(&r) == RAM);
		CHECK_EQ(testback_count(&f.back, &f.back.pages_read), PAGES - 8);
		CHECK_EQ(rig_stats(&r).zeroed, 8);
		CHECK_EQ(vmf_page_state(f.object, 3), VMF_ABSENT);
		too = rig_show(&r, f.object, PAGES, VMF_R);
		CHECK_EQ(rig_byte(&r, too), testback_byte(&f.back, 0));
		CHECK_EQ(testback_count(&f.back, &f.back.pages_read), PAGES - 8 + 4);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 0);
		map = rig_map(&r, 1, VMF_R);
		map.flags |= VMF_SHARED;
		CHECK_ERR(vmf_map(r.space, f.object, &map, &too), -VMF_ENOSYS);
		file_close(&f, &r);
		rig_close(&r);
	}
}

static void a_stream_reports_its_errors(void)
{
	static struct file f;
	struct vmf_result result;
	struct loader l;
	uint64_t before;
	struct rig r;

	rig_open(&r, VMF_BY_COPY);
	file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK, (struct vmf_backed){ .flags = VMF_STREAM });
	f.back.read = (struct testback_fail){ .first = 7, .pages = 1, .err = 5 };
	load_start(&l, &r, &f, 7);
	testback_release(&f.back, 1);
	result = load_end(&l);
	CHECK_RESULT(result, VMF_SIGBUS, VMF_WHY_IOERR);
	CHECK_EQ(result.err, 5);
	f.back.read.pages = 0;
	testback_release(&f.back, 1);
	CHECK_OK(touch(&r, &f, 7));
	/* In flight over a truncation that was taken back: what it read is too old. */
	before = waiting(&r);
	load_start(&l, &r, &f, 11);
	CHECK_SOON(waiting(&r) == before + 1);
	testback_resize(&f.back, 4 * PAGE);
	CHECK_ERR(vmf_object_resize(f.object), 0);
	testback_resize(&f.back, PAGES * PAGE);
	CHECK_ERR(vmf_object_resize(f.object), 0);
	before = testback_count(&f.back, &f.back.reads);
	testback_release(&f.back, 2);
	CHECK_OK(load_end(&l));
	CHECK_EQ(testback_count(&f.back, &f.back.reads), before + 1);
	/* And over one that stays. */
	before = waiting(&r);
	load_start(&l, &r, &f, 9);
	CHECK_SOON(waiting(&r) == before + 1);
	testback_resize(&f.back, 4 * PAGE);
	CHECK_ERR(vmf_object_resize(f.object), 0);
	testback_release(&f.back, 1);
	CHECK_RESULT(load_end(&l), VMF_SIGBUS, VMF_WHY_EOF);
	file_close(&f, &r);
	rig_close(&r);
}

/* -------------------------------------------------------------------------------------------- set-up */

static void bad_backings_are_refused(void)
{
	uint64_t bytes = 4 * PAGE;
	struct vmf_backing_ops no_start = short_ops, no_length = short_ops;
	struct vmf_object *object;
	struct rig r;

	no_start.start = NULL;
	no_length.length = NULL;
	RIG_EACH(r) {
		const struct vmf_backed good = { .size = sizeof(good), .ops = &short_ops, .self = &bytes }, t[] = {
			{ .size = sizeof(good), .self = &bytes },
			{ .size = sizeof(good), .ops = &no_start, .self = &bytes },
			{ .size = sizeof(good), .ops = &no_length, .self = &bytes },
			{ .size = sizeof(good), .ops = &short_ops, .self = &bytes, .around = 3 },
			{ .size = sizeof(good), .ops = &short_ops, .self = &bytes, .around = 1024 },
			{ .size = sizeof(good), .ops = &short_ops, .self = &bytes, .readahead = 513 },
			{ .size = sizeof(good), .ops = &short_ops, .self = &bytes, .flags = 64 },
			{ .size = 0, .ops = &short_ops, .self = &bytes },
		};

		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
			CHECK_ERR(vmf_object_backed(r.port, &object, &t[i]), -VMF_EINVAL);
	}
}

static int failing_length(void *self, uint64_t *bytes)
{
	(void)self;
	*bytes = PAGE;
	return 5;
}

static bool closed_early;

static void note_close(void *self)
{
	(void)self;
	closed_early = true;
}

static void a_backing_without_a_length_stays_the_callers(void)
{
	const struct vmf_backing_ops ops = {
		.size = sizeof(ops), .start = short_start, .length = failing_length, .close = note_close,
	};
	struct vmf_object *object;
	struct rig r;

	RIG_EACH(r) {
		const struct vmf_backed b = { .size = sizeof(b), .ops = &ops };

		CHECK_ERR(vmf_object_backed(r.port, &object, &b), -VMF_EIO);
		CHECK(!closed_early);
	}
}

static void read_only_objects_cannot_be_written(void)
{
	static struct file f;
	struct vmf_map map;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		testback_open(&f.back, r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
		f.object = testback_object(&f.back, &(struct vmf_backed){ .flags = VMF_RDONLY });
		map = rig_map(&r, PAGES, VMF_R | VMF_W);
		if (r.store == VMF_BY_COPY) {
			CHECK_ERR(vmf_map(r.space, f.object, &map, &at), 0);
			CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
		} else {
			CHECK_ERR(vmf_map(r.space, f.object, &map, &at), -VMF_EPERM);
			map.prot = VMF_R;
			map.maxprot = VMF_R | VMF_W;
			CHECK_ERR(vmf_map(r.space, f.object, &map, &at), -VMF_EPERM);
			map.maxprot = 0;
			CHECK_ERR(vmf_map(r.space, f.object, &map, &at), 0);
			CHECK_EQ(rig_byte(&r, at), testback_byte(&f.back, 0));
			CHECK_RESULT(vmf_sim_store(r.space, at, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
			CHECK_ERR(vmf_protect(r.space, at, 1, VMF_R | VMF_W), -VMF_EPERM);
		}
		file_close(&f, &r);
	}
}

static void populate_reports_a_failed_read(void)
{
	static struct file f;
	struct vmf_map map;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_THREAD, (struct vmf_backed){ 0 });
		f.back.read = (struct testback_fail){ .first = 30, .pages = 1, .err = 5 };
		map = rig_map(&r, PAGES, VMF_R);
		map.action = VMF_POPULATE;
		CHECK_ERR(vmf_map(r.space, f.object, &map, &at), -VMF_EIO);
		f.back.read.pages = 0;
		CHECK_ERR(vmf_map(r.space, f.object, &map, &at), 0);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK(rig_present(&r, at + i * PAGE));
		file_close(&f, &r);
	}
}

static const struct vmtest tests[] = {
	VMTEST(every_page_is_read_once),
	VMTEST(a_fault_is_major_if_any_try_read),
	VMTEST(areas_share_what_was_read),
	VMTEST(private_bytes_stay_private),
	VMTEST(a_fault_brings_the_block_around_it),
	VMTEST(a_block_keeps_to_the_area_and_the_object),
	VMTEST(a_block_is_as_large_as_a_run_can_be),
	VMTEST(sequential_faults_read_ahead),
	VMTEST(random_faults_read_one_page),
	VMTEST(the_last_page_is_padded_with_zeroes),
	VMTEST(holes_are_not_read),
	VMTEST(a_backing_that_cannot_say_is_an_error),
	VMTEST(a_failed_read_is_reported_and_read_again),
	VMTEST(a_refused_read_is_reported),
	VMTEST(a_bad_neighbour_spoils_nothing),
	VMTEST(a_short_completion_is_a_failure),
	VMTEST(who_asks_for_one_page_shares_one_read),
	VMTEST(an_error_goes_to_exactly_those_who_asked),
	VMTEST(what_a_ticket_waited_for_cannot_be_reclaimed),
	VMTEST(an_evicting_adversary_starves_nobody),
	VMTEST(an_object_outlives_its_reads),
	VMTEST(reclaimed_pages_are_read_again),
	VMTEST(nobody_reads_what_is_leaving),
	VMTEST(a_page_that_leaves_while_its_block_is_shown),
	VMTEST(what_cannot_be_removed_is_not_reclaimed),
	VMTEST(a_shorter_object_ends_earlier),
	VMTEST(a_truncation_that_failed_is_finished_later),
	VMTEST(an_object_grows_into_its_room),
	VMTEST(a_read_in_flight_does_not_survive_truncation),
	VMTEST(nor_does_its_error),
	VMTEST(a_stream_keeps_nothing),
	VMTEST(a_stream_reports_its_errors),
	VMTEST(bad_backings_are_refused),
	VMTEST(a_backing_without_a_length_stays_the_callers),
	VMTEST(read_only_objects_cannot_be_written),
	VMTEST(populate_reports_a_failed_read),
};
VMTEST_MAIN(tests, 30)
