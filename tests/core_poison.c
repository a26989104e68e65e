/* SPDX-License-Identifier: MIT
 *
 * Frames whose memory breaks: free ones, a driver's, a cache's in each of its states, private ones, and those that a
 * fault is about to enter.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "rig.h"
#include "testback.h"

#define PAGES 8u

static vmf_pfn shown_at(struct rig *r, vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);
	struct vmf_entry e;

	CHECK_ERR(pmap->ops->query(pmap, va, &e), 0);
	CHECK(e.present);
	return e.pfn;
}

static void poison(struct rig *r, vmf_pfn pfn) { CHECK_ERR(vmf_phys_poison(r->port, pfn, 1), 0); }

static bool can_have(struct rig *r, vmf_pfn pfn)
{
	static struct vmf_frame *frame[RAM];
	bool found = false;
	uint32_t n = 0;

	while (n < RAM && !vmf_frame_alloc(r->port, 0, 0, false, &frame[n]))
		found |= vmf_frame_pfn(frame[n++]).n == pfn.n;
	while (n)
		vmf_frame_put(r->port, frame[--n]);
	return found;
}

static void is_poison(struct rig *r, vmf_va va)
{
	uint8_t byte = 1;

	CHECK_RESULT(vmf_sim_load(r->space, va, &byte, 1), VMF_POISON, VMF_WHY_NONE);
	CHECK_RESULT(vmf_sim_store(r->space, va, &byte, 1), VMF_POISON, VMF_WHY_NONE);
	CHECK(!rig_present(r, va));
}

static void put(struct rig *r, vmf_va va, uint8_t byte) { CHECK_OK(vmf_sim_store(r->space, va, &byte, 1)); }

/* -------------------------------------------------------------------------------------- free, and arguments */

static void what_is_free_is_not_allocated(void)
{
	struct vmf_frame *eight;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	poison(&r, (vmf_pfn){ VMF_SIM_RAM + 100 });
	poison(&r, (vmf_pfn){ VMF_SIM_RAM + 100 });
	CHECK_ERR(vmf_phys_poison(r.port, (vmf_pfn){ VMF_SIM_RAM + 200 }, 3), 0);
	CHECK_EQ(rig_free_frames(&r), RAM - 4);
	CHECK(!can_have(&r, (vmf_pfn){ VMF_SIM_RAM + 100 }) && can_have(&r, (vmf_pfn){ VMF_SIM_RAM + 101 }));
	CHECK_ERR(vmf_frame_alloc(r.port, 3, 0, false, &eight), 0);
	poison(&r, (vmf_pfn){ vmf_frame_pfn(eight).n + 5 });
	vmf_frame_put(r.port, eight);
	CHECK_EQ(rig_free_frames(&r), RAM - 4 - 8);
	CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ VMF_SIM_RAM }), 0);
	rig_close_as(&r, 0);
}

static void bad_arguments_change_nothing(void)
{
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_phys_poison(NULL, (vmf_pfn){ VMF_SIM_RAM }, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_poison(r.port, (vmf_pfn){ VMF_SIM_RAM }, 0), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_poison(r.port, (vmf_pfn){ VMF_SIM_RAM - 1 }, 2), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_poison(r.port, (vmf_pfn){ VMF_SIM_RAM + RAM - 1 }, 2), -VMF_EINVAL);
	CHECK_ERR(vmf_phys_poison(r.port, (vmf_pfn){ VMF_SIM_RAM }, UINT64_MAX), -VMF_EINVAL);
	rig_close(&r);
}

/* -------------------------------------------------------------------------------------- a driver's frames */

/* Each page is a frame of the driver's; what happens between is the test's to say. */
struct driver {
	struct rig *r;
	struct vmf_object *object;
	struct vmf_frame *frame[PAGES];
	void (*asked_now)(struct driver *);
	unsigned asked;
	pthread_t thread;
};

static enum vmf_code driver_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->asked++;
	if (d->asked_now)
		d->asked_now(d);
	for (ans->n = 0, ans->first = 0; ans->n < PAGES; ans->n++) {
		vmf_frame_get(d->frame[ans->n]);
		ans->frames[ans->n] = d->frame[ans->n];
	}
	return VMF_OK;
}

static const struct vmf_ops driver_ops = { .size = sizeof(driver_ops), .nopage = driver_nopage };

static vmf_va driver_open(struct driver *d, struct rig *r)
{
	*d = (struct driver){ .r = r };
	CHECK_ERR(vmf_object_create(r->port, &d->object, &driver_ops, d, PAGES), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		d->frame[i] = vmf_frame_at(d->object, i);
		memset(vmf_frame_bytes(r->port, d->frame[i]), (int)(10 + i), PAGE);
	}
	return rig_show(r, d->object, PAGES, VMF_R | VMF_W);
}

static void driver_close(struct driver *d)
{
	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 65536), 0);
	for (unsigned i = 0; i < PAGES; i++)
		vmf_frame_put(d->r->port, d->frame[i]);
	vmf_object_put(d->object);
}

static void the_others_of_a_run_are_entered(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		bool ram = store != VMF_BY_OFFSET;

		rig_open(&r, store);
		at = driver_open(&d, &r);
		poison(&r, vmf_frame_pfn(d.frame[3]));
		CHECK_EQ(rig_byte(&r, at), 10);
		CHECK_EQ(d.asked, 1);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(rig_present(&r, at + i * PAGE), i != 3);
		is_poison(&r, at + 3 * PAGE);
		driver_close(&d);
		rig_close_as(&r, RAM - ram);
	}
}

static void *poison_third(void *arg)
{
	struct driver *d = arg;

	poison(d->r, vmf_frame_pfn(d->frame[3]));
	return NULL;
}

static void poison_meanwhile(struct driver *d)
{
	if (d->asked > 1)
		return;
	CHECK_EQ(pthread_create(&d->thread, NULL, poison_third, d), 0);
	CHECK_EQ(pthread_join(d->thread, NULL), 0);
}

/* It does not wait for handlers; what they hand over is looked at when it is entered. */
static void between_the_answer_and_the_entry(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		at = driver_open(&d, &r);
		d.asked_now = poison_meanwhile;
		is_poison(&r, at + 3 * PAGE);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
		driver_close(&d);
		rig_close_as(&r, RAM - (store == VMF_BY_ADDRESS));
	}
}

/* A fault that has looked at the frame, and is in the pmap now. */
static struct {
	struct driver d;
	pthread_t thread;
	vmf_va at;
	bool begun;
	atomic_bool waits, over;
} late;

static void *poison_late(void *arg)
{
	(void)arg;
	(void)poison_third(&late.d);
	late.over = true;
	return NULL;
}

static void late_enter(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space;
	if (late.begun || late.at < at || late.at >= at + pages * PAGE)
		return;
	late.begun = true;
	CHECK_EQ(pthread_create(&late.thread, NULL, poison_late, NULL), 0);
	while (!late.waits && !late.over)
		sched_yield();
}

static void late_wait(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	late.waits = true;
}

static void what_is_being_entered_is_taken_out(void)
{
	struct rig r;
	vmf_va at;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		memset(&late, 0, sizeof(late));
		at = driver_open(&late.d, &r);
		late.at = at + 3 * PAGE;
		vmf_sim_on(r.sim, VMF_SIM_ENTER, late_enter, NULL);
		vmf_sim_on(r.sim, VMF_SIM_WAIT, late_wait, NULL);
		(void)rig_byte(&r, at + 3 * PAGE);
		CHECK_EQ(pthread_join(late.thread, NULL), 0);
		vmf_sim_on(r.sim, VMF_SIM_ENTER, NULL, NULL);
		vmf_sim_on(r.sim, VMF_SIM_WAIT, NULL, NULL);
		CHECK(!rig_present(&r, at + 3 * PAGE));
		is_poison(&r, at + 3 * PAGE);
		driver_close(&late.d);
		rig_close_as(&r, RAM - (store == VMF_BY_ADDRESS));
	}
}

static void every_area_loses_it(void)
{
	struct vmf_space *other;
	struct driver d;
	struct rig r;
	uint8_t byte;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	at = driver_open(&d, &r);
	CHECK_EQ(rig_byte(&r, rig_show(&r, d.object, PAGES, VMF_R) + 3 * PAGE), 13);
	CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 13);
	CHECK_ERR(vmf_sim_space(r.sim, &other), 0);
	CHECK_ERR(vmf_space_copy(other, r.space), 0);
	CHECK_OK(vmf_sim_load(other, at + 3 * PAGE, &byte, 1));
	poison(&r, vmf_frame_pfn(d.frame[3]));
	CHECK(rig_present(&r, at + 2 * PAGE) && !rig_present(&r, at + 3 * PAGE));
	CHECK_RESULT(vmf_sim_load(other, at + 3 * PAGE, &byte, 1), VMF_POISON, VMF_WHY_NONE);
	vmf_sim_space_close(other);
	driver_close(&d);
	rig_close_as(&r, RAM - 1);
}

static void a_pmap_that_cannot(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	at = driver_open(&d, &r);
	CHECK_EQ(rig_byte(&r, at), 10);
	vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, -VMF_EBUSY);
	CHECK_ERR(vmf_phys_poison(r.port, vmf_frame_pfn(d.frame[3]), 1), -VMF_EBUSY);
	CHECK(rig_present(&r, at + 3 * PAGE));
	poison(&r, vmf_frame_pfn(d.frame[3]));
	is_poison(&r, at + 3 * PAGE);
	CHECK(rig_present(&r, at));
	vmf_sim_fail(r.sim, VMF_SIM_QUERY, 1, -VMF_ENOSYS);
	poison(&r, vmf_frame_pfn(d.frame[4]));
	CHECK(!rig_present(&r, at)); /* it could not say, so it forgot everything */
	is_poison(&r, at + 4 * PAGE);
	CHECK_EQ(rig_byte(&r, at), 10);
	driver_close(&d);
	rig_close_as(&r, RAM - 2);
}

/* ------------------------------------------------------------------------------------------------ caches */

static struct file {
	struct testback back;
	struct vmf_object *object;
	vmf_va at;
} f;

static void file_open(struct rig *r, enum testback_when when)
{
	testback_open(&f.back, r->port, PAGES * PAGE, when);
	f.object = testback_object(&f.back, &(struct vmf_backed){ .pages = 2 * PAGES });
	f.at = rig_show(r, f.object, PAGES, VMF_R | VMF_W);
}

static void file_close(struct rig *r)
{
	CHECK_ERR(vmf_unmap(r->space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(f.object);
	testback_close(&f.back);
}

static bool as_the_backing(struct rig *r, unsigned page)
{
	return rig_byte(r, f.at + page * PAGE) == testback_byte(&f.back, page * PAGE);
}

static void a_clean_page_comes_back_in_another_frame(void)
{
	struct rig r;
	vmf_pfn pfn;

	rig_open(&r, VMF_BY_ADDRESS);
	file_open(&r, TESTBACK_AT_ONCE);
	CHECK(as_the_backing(&r, 2) && as_the_backing(&r, 3));
	pfn = shown_at(&r, f.at + 2 * PAGE);
	poison(&r, pfn);
	CHECK(!rig_present(&r, f.at + 2 * PAGE) && rig_present(&r, f.at + 3 * PAGE));
	CHECK_EQ(vmf_page_state(f.object, 2), VMF_ABSENT);
	CHECK(as_the_backing(&r, 2));
	CHECK_EQ(f.back.reads, 3);
	CHECK(shown_at(&r, f.at + 2 * PAGE).n != pfn.n);
	CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
	file_close(&r);
	rig_close_as(&r, RAM - 1);
}

/* By offset a page has one frame, and no other. */
static void by_offset_it_cannot(void)
{
	struct rig r;

	for (unsigned touched = 0; touched < 2; touched++) {
		struct vmf_frame *frame;

		rig_open(&r, VMF_BY_OFFSET);
		file_open(&r, TESTBACK_AT_ONCE);
		frame = vmf_frame_at(f.object, 2);
		CHECK(!touched || as_the_backing(&r, 2));
		poison(&r, vmf_frame_pfn(frame));
		is_poison(&r, f.at + 2 * PAGE);
		CHECK(as_the_backing(&r, 1) && as_the_backing(&r, 3));
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0); /* nothing was lost */
		vmf_frame_put(r.port, frame);
		file_close(&r);
		rig_close(&r);
	}
}

static void a_dirty_page_is_lost_and_sync_says_so(void)
{
	struct rig r;
	int err = 0;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		file_open(&r, TESTBACK_AT_ONCE);
		for (unsigned i = 0; i < PAGES; i++)
			put(&r, f.at + i * PAGE, 99);
		poison(&r, shown_at(&r, f.at + 2 * PAGE));
		is_poison(&r, f.at + 2 * PAGE);
		CHECK_EQ(vmf_page_state(f.object, 2), VMF_FAILED);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, &err), -VMF_EIO);
		CHECK_EQ(f.back.pages_written, PAGES - 1);
		CHECK(testback_same(&f.back, 3 * PAGE, &(uint8_t){ 99 }, 1));
		CHECK(!testback_same(&f.back, 2 * PAGE, &(uint8_t){ 99 }, 1));
		CHECK_ERR(vmf_sync(f.object, 3, PAGES - 3, NULL), 0);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), PAGES - 1);
		is_poison(&r, f.at + 2 * PAGE);
		file_close(&r);
		rig_close_as(&r, RAM - (store == VMF_BY_ADDRESS));
	}
}

/* Nobody misses what was past the end. */
static void truncation_forgets_what_was_lost(void)
{
	struct rig r;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		file_open(&r, TESTBACK_AT_ONCE);
		put(&r, f.at + 2 * PAGE, 99);
		poison(&r, shown_at(&r, f.at + 2 * PAGE));
		testback_resize(&f.back, PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		testback_resize(&f.back, PAGES * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		if (store == VMF_BY_ADDRESS)
			CHECK(as_the_backing(&r, 2));
		else
			is_poison(&r, f.at + 2 * PAGE);
		file_close(&r);
		rig_close_as(&r, RAM - (store == VMF_BY_ADDRESS));
	}
}

static void *load_second(void *arg)
{
	struct rig *r = arg;

	return (void *)(intptr_t)rig_byte(r, f.at + 2 * PAGE);
}

/* What is on its way into a broken frame is read again. */
static void a_read_in_flight(void)
{
	pthread_t thread;
	struct rig r;
	void *byte;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		struct vmf_frame *frame;

		rig_open(&r, store);
		file_open(&r, TESTBACK_HELD_BACK);
		f.back.when = TESTBACK_AT_ONCE;
		CHECK(as_the_backing(&r, 0)); /* so that by offset the next read goes into frames of RAM, too */
		f.back.when = TESTBACK_HELD_BACK;
		CHECK_EQ(pthread_create(&thread, NULL, load_second, &r), 0);
		CHECK_SOON(rig_stats(&r).retries[VMF_WHY_IO] == 1);
		testback_wait_queued(&f.back, 1);
		frame = f.back.queue[0]->frames[0];
		CHECK_EQ(vmf_phys_kind(r.port, vmf_frame_pfn(frame)), VMF_PHYS_RAM);
		poison(&r, vmf_frame_pfn(frame));
		testback_release(&f.back, 2);
		CHECK_EQ(pthread_join(thread, &byte), 0);
		CHECK_EQ((intptr_t)byte, testback_byte(&f.back, 2 * PAGE));
		CHECK_EQ(testback_count(&f.back, &f.back.reads), 3);
		file_close(&r);
		rig_close_as(&r, RAM - 1);
	}
}

static struct { struct rig *r; vmf_pfn pfn; atomic_bool over; } writer;

static void *poison_writer(void *arg)
{
	(void)arg;
	poison(writer.r, writer.pfn);
	writer.over = true;
	return NULL;
}

static void *sync_all(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)vmf_sync(f.object, 0, PAGES, NULL);
}

/* A write that is over has what the frame had. */
static void a_write_in_flight_is_waited_for(void)
{
	pthread_t sync, thread;
	struct rig r;
	void *err;

	rig_open(&r, VMF_BY_ADDRESS);
	file_open(&r, TESTBACK_HELD_BACK);
	testback_release(&f.back, 1);
	put(&r, f.at + 2 * PAGE, 99);
	writer.r = &r;
	writer.pfn = shown_at(&r, f.at + 2 * PAGE);
	writer.over = false;
	CHECK_EQ(pthread_create(&sync, NULL, sync_all, NULL), 0);
	testback_wait_queued(&f.back, 1);
	CHECK_EQ(pthread_create(&thread, NULL, poison_writer, NULL), 0);
	CHECK_SOON(vmf_sim_calls(r.sim, VMF_SIM_WAIT) >= 2);
	CHECK(!writer.over);
	testback_release(&f.back, 2);
	CHECK_EQ(pthread_join(sync, &err), 0);
	CHECK_EQ((intptr_t)err, 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(rig_byte(&r, f.at + 2 * PAGE), 99); /* from the backing */
	CHECK(shown_at(&r, f.at + 2 * PAGE).n != writer.pfn.n);
	file_close(&r);
	rig_close_as(&r, RAM - 1);
}

/* --------------------------------------------------------------------------------- zero-fill, and private */

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void what_was_written_is_not_zero_again(void)
{
	struct vmf_object *o;
	struct rig r;
	vmf_va at;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, PAGES), 0);
		at = rig_show(&r, o, PAGES, VMF_R | VMF_W);
		put(&r, at + PAGE, 5);
		put(&r, at, 4);
		poison(&r, shown_at(&r, at + PAGE));
		is_poison(&r, at + PAGE);
		CHECK_ERR(vmf_revoke(o, 0, PAGES), 0);
		is_poison(&r, at + PAGE);
		CHECK_EQ(rig_byte(&r, at), 4);
		CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 0);
		CHECK_ERR(vmf_unmap(r.space, at, PAGES), 0);
		vmf_object_put(o);
		rig_close_as(&r, RAM - (store == VMF_BY_ADDRESS));
	}
}

static void a_private_page_is_lost_in_all_copies(void)
{
	struct vmf_map m = { .size = sizeof(m), .pages = PAGES, .prot = VMF_R | VMF_W };
	struct vmf_space *child;
	struct driver d;
	struct rig r;
	uint8_t byte;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	(void)driver_open(&d, &r);
	CHECK_ERR(vmf_map(r.space, d.object, &m, &at), 0);
	put(&r, at + PAGE, 99);
	put(&r, at + 2 * PAGE, 98);
	CHECK_ERR(vmf_sim_space(r.sim, &child), 0);
	CHECK_ERR(vmf_space_copy(child, r.space), 0);
	CHECK_EQ(rig_byte(&r, at + PAGE), 99);
	poison(&r, shown_at(&r, at + PAGE));
	is_poison(&r, at + PAGE);
	CHECK_RESULT(vmf_sim_load(child, at + PAGE, &byte, 1), VMF_POISON, VMF_WHY_NONE);
	CHECK_RESULT(vmf_sim_store(child, at + PAGE, &byte, 1), VMF_POISON, VMF_WHY_NONE);
	CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 98);
	/* The object's page breaks while it is shown to who only read. */
	CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 13);
	poison(&r, vmf_frame_pfn(d.frame[3]));
	is_poison(&r, at + 3 * PAGE);
	vmf_sim_space_close(child);
	driver_close(&d);
	rig_close_as(&r, RAM - 2);
}

/* ------------------------------------------------------------------------------------------ under load */

#define MANY 128u

/* From the moment that poison has returned, whoever looks is told. */
static struct {
	struct rig r;
	struct vmf_object *object;
	struct vmf_frame *frame[MANY];
	vmf_va at;
	atomic_bool broken[MANY], stop;
	atomic_uint seen, told;
} load;

static enum vmf_code load_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	vmf_pgoff first = req->off & ~(vmf_pgoff)7;

	for (ans->first = first; ans->n < 8; ans->n++) {
		ans->frames[ans->n] = load.frame[first + ans->n];
		vmf_frame_get(ans->frames[ans->n]);
	}
	return VMF_OK;
}

static const struct vmf_ops load_ops = { .size = sizeof(load_ops), .nopage = load_nopage };

static void *load_thread(void *arg)
{
	unsigned at = (unsigned)(uintptr_t)arg;
	uint8_t byte;

	for (; !load.stop; at = (at * 5 + 1) % MANY) {
		bool broken = load.broken[at];
		struct vmf_result r = vmf_sim_load(load.r.space, load.at + at * PAGE, &byte, 1);

		CHECK(r.code == VMF_POISON || (r.code == VMF_OK && !broken));
		atomic_fetch_add(r.code == VMF_OK ? &load.seen : &load.told, 1);
	}
	return NULL;
}

static void *load_revoke(void *arg)
{
	for (unsigned at = 0; !load.stop; at = (at + 3) % MANY)
		CHECK_ERR(vmf_revoke(load.object, at, 1), 0);
	return arg;
}

static void under_load(void)
{
	pthread_t thread[3];
	unsigned seen;

	rig_open(&load.r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_object_create(load.r.port, &load.object, &load_ops, NULL, MANY), 0);
	for (unsigned i = 0; i < MANY; i++)
		CHECK_ERR(vmf_frame_alloc(load.r.port, 0, 0, true, &load.frame[i]), 0);
	load.at = rig_show(&load.r, load.object, MANY, VMF_R | VMF_W);
	CHECK_EQ(pthread_create(&thread[0], NULL, load_revoke, NULL), 0);
	for (unsigned i = 1; i < 3; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, load_thread, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < MANY; i += 2) {
		seen = load.seen;
		CHECK_SOON(load.seen > seen + 8);
		poison(&load.r, vmf_frame_pfn(load.frame[i]));
		load.broken[i] = true;
	}
	CHECK_SOON(load.told > MANY);
	load.stop = true;
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	CHECK_ERR(vmf_unmap(load.r.space, load.at, MANY), 0);
	for (unsigned i = 0; i < MANY; i++)
		vmf_frame_put(load.r.port, load.frame[i]);
	vmf_object_put(load.object);
	rig_close_as(&load.r, RAM - MANY / 2);
}

static const struct vmtest tests[] = {
	VMTEST(what_is_free_is_not_allocated),
	VMTEST(bad_arguments_change_nothing),
	VMTEST(the_others_of_a_run_are_entered),
	VMTEST(between_the_answer_and_the_entry),
	VMTEST(what_is_being_entered_is_taken_out),
	VMTEST(every_area_loses_it),
	VMTEST(a_pmap_that_cannot),
	VMTEST(a_clean_page_comes_back_in_another_frame),
	VMTEST(by_offset_it_cannot),
	VMTEST(a_dirty_page_is_lost_and_sync_says_so),
	VMTEST(truncation_forgets_what_was_lost),
	VMTEST(a_read_in_flight),
	VMTEST(a_write_in_flight_is_waited_for),
	VMTEST(what_was_written_is_not_zero_again),
	VMTEST(a_private_page_is_lost_in_all_copies),
	VMTEST(under_load),
};
VMTEST_MAIN(tests, 20)
