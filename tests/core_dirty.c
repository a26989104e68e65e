/* SPDX-License-Identifier: MIT
 *
 * Dirty pages: when a page becomes dirty, how it gets back to the backing, what a failed write leaves, and that a
 * driver hears of each clean -> dirty once.
 */
#include <pthread.h>
#include <semaphore.h>
#include "rig.h"
#include "testback.h"

#define PAGES 32u

struct file {
	struct testback back;
	struct vmf_object *object;
	vmf_va at;
};

/* Windows on an object, with write-protection and without.  (By copy nothing is written back.) */
#define EACH(r) \
	for (unsigned with_ = 0; with_ < 4 && (open_as(&(r), with_), true); rig_close(&(r)), with_++)

static void open_as(struct rig *r, unsigned with)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = with % 2 ? VMF_BY_OFFSET : VMF_BY_ADDRESS, .protect = with < 2,
		.ram_pages = RAM,
	};

	rig_open_as(r, &config);
	if (with >= 2)
		vmtest_with = with % 2 ? "by offset, unprotected" : "by address, unprotected";
}

static bool can_protect(const struct rig *r, vmf_va at)
{
	struct vmf_area *a = vmf_area_find(r->space, at);
	struct vmf_window w = VMF_INIT(struct vmf_window);

	vmf_area_window(a, &w);
	vmf_area_put(a);
	return w.protect;
}

static void file_open(struct file *f, struct rig *r, uint64_t bytes, enum testback_when when)
{
	testback_open(&f->back, r->port, bytes, when);
	f->object = testback_object(&f->back, NULL);
	f->at = rig_show(r, f->object, (bytes + PAGE - 1) / PAGE, VMF_R | VMF_W);
}

static void file_close(struct file *f, struct rig *r)
{
	CHECK_ERR(vmf_unmap(r->space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(f->object);
	testback_close(&f->back);
}

static void store(struct rig *r, vmf_va at, uint8_t byte)
{
	CHECK_OK(vmf_sim_store(r->space, at, &byte, 1));
}

static bool backing_has(struct file *f, uint64_t at, uint8_t byte)
{
	return testback_same(&f->back, at, &byte, 1);
}

/* ------------------------------------------------------------------------------------------- states */

static void a_page_is_dirty_from_its_first_write(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		CHECK_EQ(vmf_page_state(f.object, 3), VMF_ABSENT);
		CHECK(rig_byte(&r, f.at + 3 * PAGE) > 0);
		CHECK_EQ(vmf_page_state(f.object, 3), can_protect(&r, f.at) ? VMF_PRESENT : VMF_DIRTY);
		store(&r, f.at + 3 * PAGE, 7);
		CHECK_EQ(vmf_page_state(f.object, 3), VMF_DIRTY);
		store(&r, f.at + 4 * PAGE + 9, 8);
		CHECK_EQ(vmf_page_state(f.object, 4), VMF_DIRTY);
		CHECK_EQ(rig_byte(&r, f.at + 4 * PAGE), testback_byte(&f.back, 4 * PAGE));
		CHECK_EQ(f.back.writes, 0);
		CHECK_EQ(f.back.reads, 2);
		file_close(&f, &r);
	}
}

static void sync_writes_what_is_dirty(void)
{
	static struct file f;
	struct rig r;
	int err = 99;

	for (unsigned when = TESTBACK_AT_ONCE; when <= TESTBACK_THREAD; when++)
		EACH(r) {
			file_open(&f, &r, PAGES * PAGE, when);
			for (unsigned i = 0; i < PAGES; i += 3)
				store(&r, f.at + i * PAGE + i, (uint8_t)(100 + i));
			CHECK_ERR(vmf_sync(f.object, 0, 9, &err), 0);
			CHECK_EQ(err, 0);
			CHECK_EQ(testback_count(&f.back, &f.back.pages_written), 3);
			CHECK_EQ(vmf_page_state(f.object, 6), VMF_PRESENT);
			CHECK_EQ(vmf_page_state(f.object, 9), VMF_DIRTY);
			CHECK_ERR(vmf_sync(f.object, 0, UINT64_MAX, NULL), 0);
			CHECK_EQ(testback_count(&f.back, &f.back.pages_written), 11);
			CHECK_EQ(f.back.syncs, 2);
			for (unsigned i = 0; i < PAGES; i += 3)
				CHECK(backing_has(&f, i * PAGE + i, (uint8_t)(100 + i)));
			CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
			CHECK_EQ(testback_count(&f.back, &f.back.pages_written), 11);
			CHECK_EQ(vmf_sim_unflushed(r.space), 0);
			/* Clean again: the next write is seen. */
			store(&r, f.at + 3 * PAGE, 55);
			CHECK_EQ(vmf_page_state(f.object, 3), VMF_DIRTY);
			CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
			CHECK(backing_has(&f, 3 * PAGE, 55));
			CHECK_ERR(vmf_sync(f.object, 5, UINT64_MAX, NULL), -VMF_EINVAL);
			file_close(&f, &r);
		}
}

static void neighbours_are_written_in_one_run(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		for (unsigned i = 4; i < 20; i++)
			store(&r, f.at + i * PAGE, 1);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK_EQ(f.back.writes, 1);
		CHECK_EQ(f.back.pages_written, 16);
		file_close(&f, &r);
	}
}

static void the_last_page_is_written_as_far_as_it_goes(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, 2 * PAGE + 100, TESTBACK_AT_ONCE);
		store(&r, f.at + 2 * PAGE + 99, 5);
		store(&r, f.at + 2 * PAGE + 100, 6); /* past the end: lost, as everywhere */
		CHECK_ERR(vmf_sync(f.object, 0, 3, NULL), 0);
		CHECK(backing_has(&f, 2 * PAGE + 99, 5));
		CHECK(backing_has(&f, 2 * PAGE + 98, testback_byte(&f.back, 2 * PAGE + 98)));
		file_close(&f, &r);
	}
}

/* Shown together, but not writable together. */
static void a_block_of_clean_and_dirty_pages(void)
{
	static struct file f;
	struct rig r;

	EACH(r)
		for (unsigned dirty = 0; dirty < 4; dirty++) {
			testback_open(&f.back, r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
			f.object = testback_object(&f.back, &(struct vmf_backed){ .around = 4 });
			f.at = rig_show(&r, f.object, PAGES, VMF_R | VMF_W);
			store(&r, f.at + dirty * PAGE, 1);
			vmf_sim_forget(r.space, f.at, PAGES);
			CHECK(rig_byte(&r, f.at + (dirty + 1) % 4 * PAGE) > 0);
			for (unsigned i = 0; i < 4; i++) {
				store(&r, f.at + i * PAGE, 2);
				CHECK_EQ(vmf_page_state(f.object, i), VMF_DIRTY);
			}
			file_close(&f, &r);
		}
}

static void a_written_hole_is_data(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		f.back.hole = 8;
		f.back.hole_pages = 8;
		store(&r, f.at + 9 * PAGE + 1, 77);
		CHECK_EQ(f.back.reads, 0);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(backing_has(&f, 9 * PAGE, 0) && backing_has(&f, 9 * PAGE + 1, 77));
		file_close(&f, &r);
	}
}

/* ------------------------------------------------------------------------------------------ failures */

static void a_failed_write_stays_dirty(void)
{
	static struct file f;
	struct rig r;
	int err = 0;

	for (unsigned when = TESTBACK_AT_ONCE; when <= TESTBACK_THREAD; when++)
		EACH(r) {
			file_open(&f, &r, PAGES * PAGE, when);
			for (unsigned i = 0; i < 8; i++)
				store(&r, f.at + i * PAGE, 60);
			store(&r, f.at + 20 * PAGE, 61);
			f.back.write = (struct testback_fail){ .first = 5, .pages = 1, .err = 28 };
			CHECK_ERR(vmf_sync(f.object, 0, PAGES, &err), -VMF_EIO);
			CHECK_EQ(err, 28);
			for (unsigned i = 0; i < 5; i++)
				CHECK_EQ(vmf_page_state(f.object, i), VMF_PRESENT);
			for (unsigned i = 5; i < 8; i++)
				CHECK_EQ(vmf_page_state(f.object, i), VMF_DIRTY);
			/* What came after it was tried all the same. */
			CHECK_EQ(vmf_page_state(f.object, 20), VMF_PRESENT);
			CHECK(backing_has(&f, 20 * PAGE, 61));
			CHECK_EQ(rig_byte(&r, f.at + 5 * PAGE), 60);
			CHECK_EQ(vmf_reclaim(f.object, 5, 3), 0);
			f.back.write.pages = 0;
			CHECK_ERR(vmf_sync(f.object, 0, PAGES, &err), 0);
			CHECK_EQ(err, 0);
			for (unsigned i = 0; i < 8; i++)
				CHECK(backing_has(&f, i * PAGE, 60));
			/* A start() that refuses, and a sync() that fails. */
			store(&r, f.at, 62);
			f.back.refuse = (struct testback_fail){ .in = 1, .err = 19 };
			CHECK_ERR(vmf_sync(f.object, 0, PAGES, &err), -VMF_EIO);
			CHECK_EQ(err, 19);
			CHECK_EQ(vmf_page_state(f.object, 0), VMF_DIRTY);
			f.back.sync_err = 30;
			CHECK_ERR(vmf_sync(f.object, 0, PAGES, &err), -VMF_EIO);
			CHECK_EQ(err, 30);
			file_close(&f, &r);
		}
}

/* The pmap cannot write-protect: nothing is written, nothing becomes clean. */
static void a_page_that_cannot_be_protected_is_not_written(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		store(&r, f.at, 9);
		vmf_sim_fail(r.sim, VMF_SIM_CLEAN, 1, VMF_EBUSY);
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
		CHECK(vmf_sync(f.object, 0, PAGES, NULL) < 0);
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_DIRTY);
		CHECK_EQ(f.back.writes, 0);
		vmf_sim_fail(r.sim, VMF_SIM_CLEAN, 0, 0);
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 0, 0);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(backing_has(&f, 0, 9));
		file_close(&f, &r);
	}
}

/* ------------------------------------------------------------------------------------------- in flight */

static void *sync_all(void *self)
{
	struct file *f = self;

	CHECK_ERR(vmf_sync(f->object, 0, PAGES, NULL), 0);
	return NULL;
}

static void what_is_written_meanwhile_stays_dirty(void)
{
	static struct file f;
	pthread_t t;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK);
		testback_release(&f.back, 2);
		store(&r, f.at, 1);
		store(&r, f.at + PAGE, 2);
		CHECK(!pthread_create(&t, NULL, sync_all, &f));
		testback_wait_queued(&f.back, 1);
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_WRITING);
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_WRITING);
		/* It can be read and written while it is on its way; it cannot be reclaimed. */
		CHECK_EQ(rig_byte(&r, f.at), 1);
		store(&r, f.at + PAGE, 3);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 0);
		testback_release(&f.back, 1);
		pthread_join(t, NULL);
		CHECK_EQ(vmf_page_state(f.object, 0), can_protect(&r, f.at) ? VMF_PRESENT : VMF_DIRTY);
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_DIRTY);
		testback_release(&f.back, 1);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(backing_has(&f, PAGE, 3));
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_PRESENT);
		file_close(&f, &r);
	}
}

static void a_truncated_page_is_not_dirty(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		store(&r, f.at + 20 * PAGE, 1);
		store(&r, f.at + 2 * PAGE, 2);
		testback_resize(&f.back, 10 * PAGE);
		CHECK_ERR(vmf_object_resize(f.object), 0);
		CHECK_EQ(vmf_page_state(f.object, 20), VMF_ABSENT);
		CHECK_EQ(rig_byte(&r, f.at + 20 * PAGE), -VMF_SIGBUS);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK_EQ(f.back.pages_written, 1);
		file_close(&f, &r);
	}
}

static void *resize(void *self)
{
	struct file *f = self;

	CHECK_ERR(vmf_object_resize(f->object), 0);
	return NULL;
}

static void a_truncation_during_the_write(void)
{
	static struct file f;
	pthread_t t, u;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_HELD_BACK);
		testback_release(&f.back, 1);
		store(&r, f.at + 20 * PAGE, 1);
		CHECK(!pthread_create(&t, NULL, sync_all, &f));
		testback_wait_queued(&f.back, 1);
		testback_resize(&f.back, 10 * PAGE);
		CHECK(!pthread_create(&u, NULL, resize, &f));
		CHECK_SOON(rig_byte(&r, f.at + 20 * PAGE) == -VMF_SIGBUS);
		testback_release(&f.back, 1);
		pthread_join(t, NULL);
		pthread_join(u, NULL);
		CHECK_EQ(vmf_page_state(f.object, 20), VMF_ABSENT);
		CHECK_EQ(rig_byte(&r, f.at + 20 * PAGE), -VMF_SIGBUS);
		file_close(&f, &r);
	}
}

static void dirty_pages_are_not_reclaimed(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		store(&r, f.at, 1);
		store(&r, f.at + 9 * PAGE, 2);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 0);
		CHECK_EQ(rig_byte(&r, f.at), 1);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK_EQ(vmf_reclaim(f.object, 0, PAGES), 2);
		CHECK_EQ(rig_byte(&r, f.at), 1);
		CHECK_EQ(rig_byte(&r, f.at + 9 * PAGE), 2);
		CHECK_EQ(f.back.reads, 4);
		file_close(&f, &r);
	}
}

/* Two areas: the write through one is data for both, and after a sync both have to announce the next. */
static void every_area_is_cleaned(void)
{
	static struct file f;
	struct rig r;
	vmf_va too;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		too = rig_show(&r, f.object, PAGES, VMF_R | VMF_W);
		store(&r, f.at, 1);
		store(&r, too, 2);
		CHECK_EQ(rig_byte(&r, f.at), 2);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		store(&r, too, 3);
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_DIRTY);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		store(&r, f.at, 4);
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_DIRTY);
		CHECK_ERR(vmf_unmap(r.space, f.at, PAGES), 0);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(backing_has(&f, 0, 4));
		file_close(&f, &r);
	}
}

/* What vmf_protect gives and takes does not make a page dirty unseen. */
static void protect_does_not_hide_a_write(void)
{
	static struct file f;
	struct rig r;

	EACH(r) {
		file_open(&f, &r, PAGES * PAGE, TESTBACK_AT_ONCE);
		CHECK_ERR(vmf_protect(r.space, f.at, PAGES, VMF_R), 0);
		CHECK(rig_byte(&r, f.at) > 0);
		CHECK_ERR(vmf_protect(r.space, f.at, PAGES, VMF_R | VMF_W), 0);
		store(&r, f.at, 5);
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_DIRTY);
		CHECK_ERR(vmf_protect(r.space, f.at, PAGES, VMF_R), 0);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(backing_has(&f, 0, 5));
		CHECK_RESULT(vmf_sim_store(r.space, f.at, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_ERR(vmf_protect(r.space, f.at, PAGES, VMF_R | VMF_W), 0);
		store(&r, f.at, 6);
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_DIRTY);
		file_close(&f, &r);
	}
}

/* -------------------------------------------------------------------------------------------- mkwrite */

struct driver {
	struct rig *r;
	struct vmf_object *object;
	struct vmf_frame *frame[PAGES];
	unsigned announced[PAGES], run;
	enum vmf_code refuse;
	uint8_t why;
	bool pfns;
};

static enum vmf_code nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	for (ans->n = 0; ans->n < d->run && req->off + ans->n < PAGES; ans->n++) {
		ans->frames[ans->n] = d->frame[req->off + ans->n];
		vmf_frame_get(ans->frames[ans->n]);
	}
	return VMF_OK;
}

static enum vmf_code nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	ans->pfn.n = VMF_SIM_DEVICE + req->off;
	ans->n = d->run;
	ans->attr.type = VMF_UC;
	return VMF_OK;
}

static enum vmf_code mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	__atomic_fetch_add(&d->announced[req->off], 1, __ATOMIC_RELAXED);
	ans->why = d->why;
	ans->err = 17;
	return d->refuse;
}

static const struct vmf_ops nopage_ops = { .size = sizeof(nopage_ops), .nopage = nopage, .mkwrite = mkwrite };
static const struct vmf_ops nopfn_ops = { .size = sizeof(nopfn_ops), .nopfn = nopfn, .mkwrite = mkwrite };

static vmf_va driver_open(struct driver *d, struct rig *r, unsigned run, bool pfns)
{
	*d = (struct driver){ .r = r, .run = run };
	CHECK_ERR(vmf_object_create(r->port, &d->object, pfns ? &nopfn_ops : &nopage_ops, d, PAGES), 0);
	for (unsigned i = 0; !pfns && i < PAGES; i++)
		d->frame[i] = vmf_frame_at(d->object, i);
	return rig_show(r, d->object, PAGES, VMF_R | VMF_W);
}

static void driver_close(struct driver *d)
{
	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 4096), 0);
	vmf_object_put(d->object);
	for (unsigned i = 0; i < PAGES; i++)
		if (d->frame[i])
			vmf_frame_put(d->r->port, d->frame[i]);
}

static void mkwrite_announces_each_page_once(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned pfns = 0; pfns < 2; pfns++)
		for (unsigned run = 1; run <= 4; run += 3)
			EACH(r) {
				at = driver_open(&d, &r, run, pfns);
				for (unsigned i = 0; i < 8; i++)
					CHECK(rig_byte(&r, at + i * PAGE) >= 0);
				for (unsigned i = 0; i < 12; i++)
					for (unsigned twice = 0; twice < 2; twice++)
						store(&r, at + i * PAGE, (uint8_t)i);
				vmf_sim_forget(r.space, at, 4);
				for (unsigned i = 0; i < 12; i++) {
					store(&r, at + i * PAGE, (uint8_t)i);
					CHECK_EQ(d.announced[i], 1);
				}
				for (unsigned i = 12; i < PAGES - 4 && can_protect(&r, at); i++)
					CHECK_EQ(d.announced[i], 0);
				driver_close(&d);
			}
}

static void after_a_sync_or_a_revoke_it_is_announced_again(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		at = driver_open(&d, &r, 1, false);
		store(&r, at, 1);
		store(&r, at + PAGE, 1);
		CHECK_ERR(vmf_sync(d.object, 0, 1, NULL), 0);
		store(&r, at, 2);
		store(&r, at + PAGE, 2);
		CHECK_EQ(d.announced[0], 2);
		CHECK_EQ(d.announced[1], 1);
		CHECK_ERR(vmf_revoke(d.object, 1, 1), 0);
		store(&r, at, 3);
		store(&r, at + PAGE, 3);
		CHECK_EQ(d.announced[0], 2);
		CHECK_EQ(d.announced[1], 2);
		driver_close(&d);
	}
}

static void mkwrite_may_refuse(void)
{
	struct vmf_result result;
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		at = driver_open(&d, &r, 1, false);
		d.refuse = VMF_SIGBUS;
		d.why = VMF_WHY_POLICY;
		result = vmf_sim_store(r.space, at, "x", 1);
		CHECK_RESULT(result, VMF_SIGBUS, VMF_WHY_POLICY);
		CHECK_EQ(result.err, 17);
		if (can_protect(&r, at))
			CHECK_EQ(rig_byte(&r, at), 0);
		d.refuse = VMF_OK;
		store(&r, at, 5);
		CHECK_EQ(rig_byte(&r, at), 5);
		driver_close(&d);
	}
}

struct writer { struct driver *d; vmf_va at; };

static sem_t entered, leave;

static enum vmf_code slow_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	enum vmf_code code = mkwrite(req, ans);

	sem_post(&entered);
	sem_wait(&leave);
	return code;
}

static const struct vmf_ops slow_ops = { .size = sizeof(slow_ops), .nopage = nopage, .mkwrite = slow_mkwrite };

static void *write_one(void *self)
{
	struct writer *w = self;

	store(w->d->r, w->at, 1);
	return NULL;
}

/* Who comes while a page is being announced waits for that. */
static void a_page_is_announced_by_one_at_a_time(void)
{
	struct driver d;
	pthread_t t[2];
	struct rig r;

	sem_init(&entered, 0, 0);
	sem_init(&leave, 0, 0);
	EACH(r) {
		struct writer w = { .d = &d };

		d = (struct driver){ .r = &r, .run = 1 };
		CHECK_ERR(vmf_object_create(r.port, &d.object, &slow_ops, &d, PAGES), 0);
		d.frame[0] = vmf_frame_at(d.object, 0);
		w.at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		CHECK(!pthread_create(&t[0], NULL, write_one, &w));
		sem_wait(&entered);
		CHECK(!pthread_create(&t[1], NULL, write_one, &w));
		CHECK_SOON(rig_stats(&r).retries[VMF_WHY_RACE] || __atomic_load_n(&d.announced[0], __ATOMIC_RELAXED) > 1);
		CHECK_EQ(__atomic_load_n(&d.announced[0], __ATOMIC_RELAXED), 1);
		sem_post(&leave);
		for (unsigned i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		CHECK_EQ(d.announced[0], 1);
		driver_close(&d);
	}
}

static void *write_all(void *self)
{
	struct writer *w = self;

	for (unsigned i = 0; i < PAGES; i++)
		store(w->d->r, w->at + i * PAGE, 1);
	return NULL;
}

static void two_writers_are_one_announcement(void)
{
	struct driver d;
	pthread_t t[2];
	struct rig r;

	EACH(r) {
		struct writer w = { .d = &d, .at = driver_open(&d, &r, 1, false) };

		for (unsigned i = 0; i < 2; i++)
			CHECK(!pthread_create(&t[i], NULL, write_all, &w));
		for (unsigned i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(d.announced[i], 1);
		driver_close(&d);
	}
}

static const struct vmtest tests[] = {
	VMTEST(a_page_is_dirty_from_its_first_write),
	VMTEST(sync_writes_what_is_dirty),
	VMTEST(neighbours_are_written_in_one_run),
	VMTEST(the_last_page_is_written_as_far_as_it_goes),
	VMTEST(a_block_of_clean_and_dirty_pages),
	VMTEST(a_written_hole_is_data),
	VMTEST(a_failed_write_stays_dirty),
	VMTEST(a_page_that_cannot_be_protected_is_not_written),
	VMTEST(what_is_written_meanwhile_stays_dirty),
	VMTEST(a_truncated_page_is_not_dirty),
	VMTEST(a_truncation_during_the_write),
	VMTEST(dirty_pages_are_not_reclaimed),
	VMTEST(every_area_is_cleaned),
	VMTEST(protect_does_not_hide_a_write),
	VMTEST(mkwrite_announces_each_page_once),
	VMTEST(after_a_sync_or_a_revoke_it_is_announced_again),
	VMTEST(mkwrite_may_refuse),
	VMTEST(a_page_is_announced_by_one_at_a_time),
	VMTEST(two_writers_are_one_announcement),
};
VMTEST_MAIN(tests, 20)
