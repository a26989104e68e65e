/* SPDX-License-Identifier: MIT
 *
 * What somebody else does between two steps of a fault, of a sync, of a change, and answers that do not fit: each time
 * the one moment, made certain.
 */
#include <pthread.h>
#include <semaphore.h>
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
	struct file *f = self;

	CHECK(!handling);
	CHECK(f->back.when == TESTBACK_AT_ONCE || !pthread_equal(pthread_self(), f->back.thread));
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

/* It goes in vmf_handle() or in vmf_io_done(), which may be called in a signal handler or with anything locked. */
static void last_reference(struct rig *r, bool fault_has_it)
{
	struct vmf_ticket ticket = { 0 };
	static struct file f;
	vmf_va at;

	file_make(&f, r, PAGES, TESTBACK_HELD_BACK, (struct vmf_backed){ 0 });
	at = rig_show(r, f.object, PAGES, VMF_R);
	CHECK_RESULT(handle(r, at, &ticket), VMF_RETRY, VMF_WHY_IO);
	CHECK_ERR(vmf_unmap(r->space, at, PAGES), 0);
	vmf_object_put(f.object);
	if (!fault_has_it)
		vmf_ticket_drop(r->space, &ticket);
	CHECK(!is_closed(&f));
	testback_release(&f.back, 1);
	if (fault_has_it) {
		CHECK_ERR(vmf_ticket_wait(r->space, &ticket, false), 0);
		CHECK_RESULT(handle(r, at, &ticket), VMF_SIGSEGV, VMF_WHY_NONE);
	}
	CHECK_SOON((vmf_port_tidy(r->port), is_closed(&f)));
	testback_close(&f.back);
}

static void nothing_is_closed_in_a_fault_or_by_a_read(void)
{
	struct rig r;

	for (unsigned fault = 0; fault < 2; fault++)
		RIG_EACH(r)
			last_reference(&r, fault);
}

/* --------------------------------------------------------------------------------------- one run */

/* The block may bring a run's length before the page, the readahead as much after it: not more than one run together. */
static void around_and_readahead_are_one_run_at_most(void)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = VMF_BY_OFFSET, .protect = true, .ram_pages = RAM,
	};
	static struct file f;
	struct rig r;
	vmf_va at;

	rig_open_as(&r, &config);
	file_make(&f, &r, 2048, TESTBACK_AT_ONCE, (struct vmf_backed){ .around = 512, .readahead = 512 });
	at = rig_show(&r, f.object, 2048, VMF_R);
	for (unsigned i = 0; i < 512; i = 2 * i + 1) {
		CHECK_EQ(rig_byte(&r, at + i * PAGE), testback_byte(&f.back, (uint64_t)i * PAGE));
		while (vmf_reclaim(f.object, 0, 2048))
			continue;
	}
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

/* --------------------------------------------------------------------------------------- drivers */

struct driver {
	struct rig *r;
	struct vmf_object *object;
	vmf_va at;
	unsigned asked, announced, opened, closed, posted;
	bool dirty; /* what the driver thinks of page 0 */
	bool revokes; /* not: syncs */
	int err;
	sem_t inside, waits;
	pthread_t thread;
};

static void driver_open(struct driver *d, struct rig *r, const struct vmf_ops *ops)
{
	*d = (struct driver){ .r = r };
	CHECK_ERR(vmf_object_create(r->port, &d->object, ops, d, PAGES), 0);
	d->at = rig_show(r, d->object, PAGES, VMF_R | (r->store == VMF_BY_COPY ? 0u : (unsigned)VMF_W));
}

static void driver_close(struct driver *d)
{
	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(d->object);
}

static struct vmf_result install(const struct vmf_req *req, vmf_pgoff off, uint8_t byte)
{
	struct vmf_frame *frame = vmf_frame_at(req->object, off);

	*(uint8_t *)vmf_frame_bytes(req->port, frame) = byte;
	return vmf_install_frames(req, off, &frame, 1, VMF_R);
}

static enum vmf_code installs_after_revoke(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)ans;
	if (d->asked++) {
		CHECK_OK(install(req, req->off, 2));
		return VMF_DONE;
	}
	CHECK_OK(install(req, req->off + 1, 1));
	CHECK_ERR(vmf_revoke(req->object, req->off, 1), 0);
	CHECK_RESULT(install(req, req->off, 1), VMF_RETRY, VMF_WHY_RACE);
	return VMF_DONE;
}

/* Also after an install of another page: the fault is still about its own. */
static void a_revoked_page_is_not_installed_after_another(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = installs_after_revoke };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_ticket ticket = { 0 };

		driver_open(&d, &r, &ops);
		CHECK_RESULT(handle(&r, d.at, &ticket), VMF_RETRY, VMF_WHY_RACE);
		CHECK(!rig_present(&r, d.at));
		CHECK_OK(handle(&r, d.at, &ticket));
		CHECK_EQ(rig_byte(&r, d.at), 2);
		driver_close(&d);
	}
}

static enum vmf_code installs_another(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	CHECK_OK(install(req, req->off + 1, 1));
	return VMF_DONE;
}

/* Else the program would fault for ever. */
static void done_without_the_page_is_a_drivers_error(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = installs_another };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_ticket ticket = { 0 };

		driver_open(&d, &r, &ops);
		CHECK_RESULT(handle(&r, d.at, &ticket), VMF_SIGBUS, VMF_WHY_DRIVER);
		CHECK(!rig_present(&r, d.at));
		driver_close(&d);
	}
}

/* -------------------------------------------------------------------------------- announced writes */

static enum vmf_code mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)ans;
	d->announced++;
	d->dirty = true;
	return VMF_OK;
}

/* Between the announcement and the entry the page is dealt with, as another thread might do it. */
static enum vmf_code mkwrite_then_clean(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)mkwrite(req, ans);
	if (d->announced > 1)
		return VMF_OK;
	d->dirty = false;
	CHECK_ERR(d->revokes ? vmf_revoke(req->object, req->off, 1) : vmf_sync(req->object, req->off, 1, NULL), 0);
	return VMF_OK;
}

static void a_write_after_a_sync_or_a_revoke_is_announced_again(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .mkwrite = mkwrite_then_clean };
	struct driver d;
	struct rig r;

	for (unsigned revokes = 0; revokes < 2; revokes++)
		SHARED_EACH(r) {
			driver_open(&d, &r, &ops);
			d.revokes = revokes;
			CHECK_OK(vmf_sim_store(r.space, d.at, "x", 1));
			CHECK_EQ(d.announced, 2);
			CHECK(d.dirty);
			driver_close(&d);
		}
}

static const struct vmf_ops announced_ops = { .size = sizeof(announced_ops), .mkwrite = mkwrite };

static void a_write_to_zeroes_is_announced_once(void)
{
	struct driver d;
	struct rig r;

	SHARED_EACH(r) {
		driver_open(&d, &r, &announced_ops);
		CHECK_EQ(rig_byte(&r, d.at), 0);
		CHECK_EQ(d.announced, 0);
		for (unsigned i = 0; i < 2; i++)
			CHECK_OK(vmf_sim_store(r.space, d.at, "x", 1));
		CHECK_EQ(d.announced, 1);
		for (unsigned i = 0; i < 2; i++)
			CHECK_OK(vmf_sim_store(r.space, d.at + PAGE, "x", 1));
		CHECK_EQ(d.announced, 2);
		CHECK_EQ(vmf_page_state(d.object, 0), VMF_DIRTY);
		CHECK_EQ(vmf_page_state(d.object, 1), VMF_DIRTY);
		driver_close(&d);
	}
}

/* They are entered at once, so nobody would hear of a write. */
static void writable_raw_areas_cannot_be_announced(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &announced_ops);
		map = rig_map(&r, PAGES, VMF_R | VMF_W);
		map.action = VMF_RAW;
		map.raw.n = VMF_SIM_DEVICE;
		map.attr.type = VMF_UC;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), -VMF_EINVAL);
		driver_close(&d);
	}
}

/* ----------------------------------------------------------------------------- changes of the layout */

static void post_when_waiting(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct driver *d = self;

	(void)space;
	(void)at;
	(void)pages;
	if (!handling && !d->posted++)
		sem_post(&d->waits);
}

/* It comes when the other thread has the change half made, and waits for this very handler. */
static enum vmf_code unmaps_itself(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)ans;
	sem_post(&d->inside);
	sem_wait(&d->waits);
	d->err = vmf_unmap(d->r->space, req->va, 1);
	return VMF_SIGBUS;
}

static void *fault_once(void *self)
{
	struct vmf_ticket ticket = { 0 };
	struct driver *d = self;

	CHECK_RESULT(handle(d->r, d->at, &ticket), VMF_SIGBUS, VMF_WHY_DRIVER);
	return NULL;
}

static void a_handler_cannot_unmap_its_area_while_another_thread_does(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = unmaps_itself };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, &ops);
		sem_init(&d.inside, 0, 0);
		sem_init(&d.waits, 0, 0);
		vmf_sim_on(r.sim, VMF_SIM_WAIT, post_when_waiting, &d);
		CHECK(!pthread_create(&d.thread, NULL, fault_once, &d));
		sem_wait(&d.inside);
		CHECK_ERR(vmf_unmap(r.space, d.at, PAGES), 0);
		pthread_join(d.thread, NULL);
		CHECK_ERR(d.err, -VMF_EDEADLK);
		driver_close(&d);
	}
}

static void *unmap_all(void *self)
{
	struct driver *d = self;

	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 65536), 0);
	return NULL;
}

/* Before it returns another thread unmaps the area. */
static void opened_late(struct vmf_area *area)
{
	struct driver *d = vmf_object_priv(vmf_area_object(area));
	struct vmf_area *still;
	vmf_va at = vmf_area_va(area);

	CHECK(!pthread_create(&d->thread, NULL, unmap_all, d));
	do {
		still = vmf_area_find(d->r->space, at);
		vmf_area_put(still);
	} while (still);
	for (unsigned i = 0; i < 20; i++) {
		CHECK_EQ(__atomic_load_n(&d->closed, __ATOMIC_SEQ_CST), 0);
		usleep(100);
	}
	d->opened++;
}

static void closed_now(struct vmf_area *area)
{
	struct driver *d = vmf_object_priv(vmf_area_object(area));

	__atomic_fetch_add(&d->closed, 1, __ATOMIC_SEQ_CST);
	CHECK_EQ(d->opened, 1);
}

static void an_area_is_closed_after_it_was_opened(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .opened = opened_late, .closed = closed_now };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, &ops);
		pthread_join(d.thread, NULL);
		CHECK_EQ(d.closed, 1);
		driver_close(&d);
	}
}
