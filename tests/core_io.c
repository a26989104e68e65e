/* SPDX-License-Identifier: MIT
 *
 * Reads and writes on their way, and what somebody else does meanwhile: another layout, the last reference gone, a
 * second sync; and how much goes in one.
 */
#include <pthread.h>
#include <stddef.h>
#include "rig.h"
#include "testback.h"

#define PAGES 4u

/* Windows that show the object's own pages. */
#define SHARED_EACH(r) \
	for (unsigned store_ = VMF_BY_ADDRESS; store_ <= VMF_BY_OFFSET && (rig_open(&(r), store_), true); \
	     rig_close(&(r)), store_++)

struct file {
	struct testback back; /* first: the backing's self */
	struct vmf_backing_ops ops;
	struct rig *r;
	struct vmf_object *object;
	uint32_t longest; /* read */
	bool cuts_writes; /* they complete for one page less than asked, without an error */
};

static _Thread_local bool handling; /* this thread is in vmf_handle() */

static int start(void *self, struct vmf_io *io)
{
	struct file *f = self;

	if (io->write && f->cuts_writes) {
		vmf_io_done(io, io->n - 1, 0);
		return 0;
	}
	if (!io->write && io->n > f->longest)
		f->longest = io->n;
	return testback_ops()->start(self, io);
}

static void closing(void *self)
{
	CHECK(!handling);
	testback_ops()->close(self);
}

static void file_make(struct file *f, struct rig *r, uint64_t pages, enum testback_when when, struct vmf_backed like)
{
	testback_open(&f->back, r->port, pages * PAGE, when);
	f->ops = *testback_ops();
	f->ops.start = start;
	f->ops.close = closing;
	f->r = r;
	f->longest = 0;
	f->cuts_writes = false;
	like.size = sizeof(like);
	like.ops = &f->ops;
	like.self = f;
	CHECK_ERR(vmf_object_backed(r->port, &f->object, &like), 0);
}

static void file_close(struct file *f)
{
	CHECK_ERR(vmf_unmap(f->r->space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(f->object);
	testback_close(&f->back);
}

static struct vmf_result handle(struct rig *r, vmf_va va, struct vmf_ticket *ticket)
{
	struct vmf_trap trap = { .va = va, .access = VMF_R };
	struct vmf_result result;

	handling = true;
	result = vmf_handle(r->space, &trap, ticket);
	handling = false;
	return result;
}

/* --------------------------------------------------------------------- a ticket from another layout */

/* A fault waits for a read of one object; meanwhile another one is mapped there. */
static void remapped(struct rig *r, uint32_t flags, int err)
{
	static struct file one, other;
	struct vmf_ticket ticket = { 0 };
	struct vmf_map map;
	vmf_va at;

	file_make(&one, r, PAGES, TESTBACK_HELD_BACK, (struct vmf_backed){ .flags = flags });
	file_make(&other, r, PAGES, TESTBACK_AT_ONCE, (struct vmf_backed){ .flags = flags });
	testback_poke(&one.back, 0, 201);
	testback_poke(&other.back, 0, 202);
	one.back.read = (struct testback_fail){ .in = err ? 1 : 0, .err = err };
	at = rig_show(r, one.object, PAGES, VMF_R);
	CHECK_RESULT(handle(r, at, &ticket), VMF_RETRY, VMF_WHY_IO);
	CHECK_ERR(vmf_unmap(r->space, at, PAGES), 0);
	map = rig_map(r, PAGES, VMF_R);
	map.va = at;
	map.flags |= VMF_FIXED;
	CHECK_ERR(vmf_map(r->space, other.object, &map, &at), 0);
	testback_release(&one.back, 1);
	CHECK_ERR(vmf_ticket_wait(r->space, &ticket, false), 0);
	CHECK_OK(handle(r, at, &ticket));
	CHECK_EQ(rig_byte(r, at), 202);
	file_close(&other);
	file_close(&one);
}

static void what_was_read_of_one_object_is_not_shown_as_another(void)
{
	struct rig r;

	RIG_EACH(r)
		remapped(&r, 0, 0);
	rig_open(&r, VMF_BY_COPY);
	remapped(&r, VMF_STREAM, 0);
	rig_close(&r);
}

static void nor_is_its_error(void)
{
	struct rig r;

	RIG_EACH(r)
		remapped(&r, 0, 5);
	rig_open(&r, VMF_BY_COPY);
	remapped(&r, VMF_STREAM, 5);
	rig_close(&r);
}

/* ----------------------------------------------------------------------------- the last reference */

static bool is_closed(struct file *f)
{
	bool closed;

	pthread_mutex_lock(&f->back.lock);
	closed = f->back.closed;
	pthread_mutex_unlock(&f->back.lock);
	return closed;
}

/* It goes in vmf_handle(), which may be called in a signal handler. */
static void nothing_is_closed_in_a_fault(void)
{
	static struct file f;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		struct vmf_ticket ticket = { 0 };

		file_make(&f, &r, PAGES, TESTBACK_HELD_BACK, (struct vmf_backed){ 0 });
		at = rig_show(&r, f.object, PAGES, VMF_R);
		CHECK_RESULT(handle(&r, at, &ticket), VMF_RETRY, VMF_WHY_IO);
		CHECK_ERR(vmf_unmap(r.space, at, PAGES), 0);
		vmf_object_put(f.object);
		CHECK(!is_closed(&f));
		testback_release(&f.back, 1);
		CHECK_ERR(vmf_ticket_wait(r.space, &ticket, false), 0);
		CHECK_RESULT(handle(&r, at, &ticket), VMF_SIGSEGV, VMF_WHY_NONE);
		/* The read's own reference goes after the wake, perhaps after ours. */
		CHECK_SOON((vmf_port_tidy(r.port), is_closed(&f)));
		testback_close(&f.back);
	}
}

/* --------------------------------------------------------------------------------------- one run */

/* The block may bring almost a run's length before the page, and the readahead as much after it: together one run. */
static void around_and_readahead_are_one_run_at_most(void)
{
	static struct file f;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_OFFSET);
	file_make(&f, &r, 511, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = 512, .readahead = 512, .pages = 2048 });
	at = rig_show(&r, f.object, 2048, VMF_R);
	CHECK_EQ(rig_byte(&r, at), testback_byte(&f.back, 0));
	CHECK_EQ(f.longest, 511);
	testback_resize(&f.back, 2048 * PAGE);
	CHECK_ERR(vmf_object_resize(f.object), 0);
	while (vmf_reclaim(f.object, 0, 2048))
		continue;
	CHECK_EQ(rig_byte(&r, at + 511 * PAGE), testback_byte(&f.back, 511 * PAGE));
	CHECK_EQ(f.longest, VMF_RUN_MAX);
	file_close(&f);
	rig_close(&r);
}

static void sequential_blocks_read_ahead(void)
{
	static struct file f;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_OFFSET);
	file_make(&f, &r, 1024, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = 16, .readahead = 128 });
	at = rig_show(&r, f.object, 1024, VMF_R);
	for (unsigned i = 0; i < 1024; i++)
		CHECK_EQ(rig_byte(&r, at + i * PAGE), testback_byte(&f.back, (uint64_t)i * PAGE));
	CHECK_EQ(f.longest, 128);
	CHECK(f.back.reads < 1024 / 64);
	file_close(&f);
	rig_close(&r);
}

/* ------------------------------------------------------------------------------------------ sync */

struct syncer { struct file *f; unsigned waits, done; int err, io_err; };

static _Thread_local struct syncer *syncer; /* whose thread this is */

static void note_wait(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self;
	(void)space;
	(void)at;
	(void)pages;
	if (syncer)
		__atomic_store_n(&syncer->waits, 1, __ATOMIC_SEQ_CST);
}

static void *sync_all(void *self)
{
	struct syncer *s = syncer = self;

	s->err = vmf_sync(s->f->object, 0, PAGES, &s->io_err);
	__atomic_store_n(&s->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* The page is on its way already, and does not arrive: the second sync must not say that it did. */
static void a_second_sync_answers_for_the_first_ones_pages(void)
{
	pthread_t thread[2];
	static struct file f;
	struct rig r;
	vmf_va at;

	SHARED_EACH(r) {
		struct syncer s[2] = { { .f = &f }, { .f = &f } };

		file_make(&f, &r, PAGES, TESTBACK_HELD_BACK, (struct vmf_backed){ 0 });
		vmf_sim_on(r.sim, VMF_SIM_WAIT, note_wait, NULL);
		testback_release(&f.back, 1);
		at = rig_show(&r, f.object, PAGES, VMF_R | VMF_W);
		CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
		f.back.write = (struct testback_fail){ .in = 1, .err = 5 };
		CHECK(!pthread_create(&thread[0], NULL, sync_all, &s[0]));
		testback_wait_queued(&f.back, 1);
		CHECK(!pthread_create(&thread[1], NULL, sync_all, &s[1]));
		CHECK_SOON(__atomic_load_n(&s[1].waits, __ATOMIC_SEQ_CST) || __atomic_load_n(&s[1].done, __ATOMIC_SEQ_CST));
		CHECK(!__atomic_load_n(&s[1].done, __ATOMIC_SEQ_CST));
		testback_release(&f.back, 2);
		for (unsigned i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		CHECK_ERR(s[0].err, -VMF_EIO);
		CHECK_EQ(s[0].io_err, 5);
		CHECK_ERR(s[1].err, 0);
		CHECK(testback_same(&f.back, 0, "x", 1));
		file_close(&f);
	}
}

static void a_write_that_ends_early_has_failed(void)
{
	static struct file f;
	struct rig r;
	vmf_va at;

	SHARED_EACH(r) {
		file_make(&f, &r, PAGES, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		at = rig_show(&r, f.object, PAGES, VMF_R | VMF_W);
		CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
		CHECK_OK(vmf_sim_store(r.space, at + PAGE, "x", 1));
		f.cuts_writes = true;
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), -VMF_EIO);
		CHECK_EQ(vmf_page_state(f.object, 0), VMF_PRESENT);
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_DIRTY);
		f.cuts_writes = false;
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(testback_same(&f.back, PAGE, "x", 1));
		file_close(&f);
	}
}

/* ---------------------------------------------------------------------------------------- set-up */

/* What lies behind the end of a shorter table is not called. */
static void a_table_that_ends_before_close_has_none(void)
{
	struct vmf_object *object;
	static struct file f;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_backed b = { .size = sizeof(b), .ops = &f.ops, .self = &f };

		file_make(&f, &r, PAGES, TESTBACK_AT_ONCE, (struct vmf_backed){ 0 });
		f.ops.size = offsetof(struct vmf_backing_ops, close);
		CHECK_ERR(vmf_object_backed(r.port, &object, &b), 0);
		vmf_object_put(object);
		CHECK(!f.back.closed);
		file_close(&f);
	}
}

static const struct vmtest tests[] = {
	VMTEST(what_was_read_of_one_object_is_not_shown_as_another),
	VMTEST(nor_is_its_error),
	VMTEST(nothing_is_closed_in_a_fault),
	VMTEST(around_and_readahead_are_one_run_at_most),
	VMTEST(sequential_blocks_read_ahead),
	VMTEST(a_second_sync_answers_for_the_first_ones_pages),
	VMTEST(a_write_that_ends_early_has_failed),
	VMTEST(a_table_that_ends_before_close_has_none),
};
VMTEST_MAIN(tests, 20)
