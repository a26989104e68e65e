/* SPDX-License-Identifier: MIT
 *
 * What somebody else does between two steps of a handler or of a change, and handlers that do what they must not: each
 * time the one moment, made certain.
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

static _Thread_local bool handling; /* this thread is in vmf_handle() */

static struct vmf_result handle(struct rig *r, vmf_va va, struct vmf_ticket *ticket)
{
	struct vmf_trap trap = { .va = va, .access = VMF_R };
	struct vmf_result result;

	handling = true;
	result = vmf_handle(r->space, &trap, ticket);
	handling = false;
	return result;
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

/* The addresses are free when the driver is told, and somebody takes them. */
static void closed_and_mapped_again(struct vmf_area *area)
{
	struct driver *d = vmf_object_priv(vmf_area_object(area));
	struct vmf_map map = rig_map(d->r, 1, VMF_R);
	vmf_va at;

	if (d->closed++)
		return;
	map.flags |= VMF_FIXED;
	map.va = vmf_area_va(area);
	CHECK_ERR(vmf_map(d->r->space, d->object, &map, &at), 0);
}

static void unmap_takes_nothing_that_came_after_it(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .closed = closed_and_mapped_again };
	struct vmf_area *area;
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&d, &r, &ops);
		CHECK_ERR(vmf_unmap(r.space, d.at, PAGES), 0);
		CHECK_EQ(d.closed, 1);
		area = vmf_area_find(r.space, d.at);
		CHECK(area);
		vmf_area_put(area);
		driver_close(&d);
	}
}

/* It comes when the other thread has the space's lock, and waits for this very handler. */
static enum vmf_code finds_itself(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	struct vmf_area *area;

	(void)ans;
	sem_post(&d->inside);
	sem_wait(&d->waits);
	area = vmf_area_find(d->r->space, req->va);
	vmf_area_put(area);
	return VMF_SIGBUS;
}

static void a_handler_may_look_for_areas(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = finds_itself };
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
		driver_close(&d);
	}
}

/* ------------------------------------------------------------------------------------------ the top */

static int top_attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw,
		      struct vmf_window *window)
{
	(void)pmap;
	(void)map;
	(void)segment;
	(void)wants_raw;
	*window = (struct vmf_window){ .store = VMF_BY_ADDRESS, .protect = true, .orders = 1 };
	return 0;
}

static long top_enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	(void)pmap;
	return run->n;
}

static int top_remove(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *gather)
{
	(void)pmap;
	(void)va;
	(void)pages;
	(void)gather;
	return 0;
}

static int top_protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	(void)pmap;
	(void)va;
	(void)pages;
	(void)prot;
	return 0;
}

/* Its end is address 0. */
static void no_area_lies_over_one_that_ends_at_the_top(void)
{
	static const struct vmf_pmap_ops pmap_ops = {
		.size = sizeof(pmap_ops), .attach = top_attach, .detach = top_remove, .enter = top_enter,
		.remove = top_remove, .protect = top_protect,
	};
	const vmf_va top = (vmf_va)0 - 2 * PAGE;
	struct vmf_pmap pmap = { .ops = &pmap_ops, .lo = (vmf_va)0 - 4 * PAGE, .hi = (vmf_va)0 - PAGE };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED | VMF_FIXED, .va = top, .pages = 2, .prot = VMF_R };
	struct vmf_space *space;
	struct driver d;
	struct rig r;
	vmf_va at = 0;

	rig_open(&r, VMF_BY_ADDRESS);
	driver_open(&d, &r, &announced_ops);
	CHECK_ERR(vmf_space_create(r.port, &space, &pmap), 0);
	CHECK_ERR(vmf_map(space, d.object, &map, &at), 0);
	CHECK(at == top);
	map.flags = VMF_SHARED;
	map.pages = 3;
	CHECK_ERR(vmf_map(space, d.object, &map, &at), -VMF_ENOSPC);
	map.pages = 2;
	CHECK_ERR(vmf_map(space, d.object, &map, &at), 0);
	CHECK(at == pmap.lo);
	CHECK_ERR(vmf_unmap(space, pmap.lo, 4), 0);
	vmf_space_destroy(space);
	driver_close(&d);
	rig_close(&r);
}

/* --------------------------------------------------------------------------------------- protect */

/* What another thread does at the n-th call of pmap->protect(): it loads page 0 of the range, and stores a 7. */
struct passer {
	struct vmf_space *space;
	vmf_va at;
	unsigned n;
	struct vmf_result stored;
};

static void *pass(void *self)
{
	struct passer *p = self;
	uint8_t byte;

	(void)vmf_sim_load(p->space, p->at, &byte, 1);
	p->stored = vmf_sim_store(p->space, p->at, &(uint8_t){ 7 }, 1);
	return NULL;
}

static void pass_at(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct passer *p = self;
	pthread_t thread;

	(void)space, (void)at, (void)pages;
	if (--p->n)
		return;
	CHECK(!pthread_create(&thread, NULL, pass, p));
	pthread_join(thread, NULL);
}

static vmf_va map_page(struct rig *r, struct vmf_object *object, unsigned flags, unsigned prot, vmf_va at)
{
	struct vmf_map map = { .size = sizeof(map), .flags = flags | (at ? (unsigned)VMF_FIXED : 0u), .va = at, .pages = 1,
			       .prot = (uint8_t)prot, .maxprot = VMF_R | VMF_W };

	CHECK_ERR(vmf_map(r->space, object, &map, &at), 0);
	return at;
}

/* The last moment at which somebody can enter by the new table: what is undone of the second area. */
static void a_protect_that_fails_takes_back_what_was_entered(void)
{
	struct vmf_object *object;
	struct passer p;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_object_create(r.port, &object, &(struct vmf_ops){ .size = sizeof(struct vmf_ops) }, NULL, 1), 0);
	p = (struct passer){ .space = r.space, .n = 4, .at = map_page(&r, object, VMF_SHARED, VMF_R, 0) };
	(void)map_page(&r, object, VMF_SHARED, VMF_R, p.at + PAGE);
	vmf_sim_on(r.sim, VMF_SIM_PROTECT, pass_at, &p);
	vmf_sim_fail(r.sim, VMF_SIM_PROTECT, 2, VMF_EIO);
	CHECK_ERR(vmf_protect(r.space, p.at, 2, VMF_R | VMF_W), -VMF_EIO);
	vmf_sim_on(r.sim, VMF_SIM_PROTECT, NULL, NULL);
	CHECK_OK(p.stored);
	CHECK_RESULT(vmf_sim_store(r.space, p.at, "a", 1), VMF_SIGSEGV, VMF_WHY_PROT);
	CHECK_EQ(rig_byte(&r, p.at), 7);
	CHECK_ERR(vmf_unmap(r.space, p.at, 2), 0);
	vmf_object_put(object);
	rig_close(&r);
}

static void pass_protect(struct rig *r, struct vmf_object *object, unsigned flags)
{
	struct passer p = { .space = r->space, .n = 1, .at = map_page(r, object, flags, VMF_R | VMF_W, 0) };

	vmf_sim_on(r->sim, VMF_SIM_PROTECT, pass_at, &p);
	CHECK_ERR(vmf_protect(r->space, p.at, 1, VMF_R), 0);
	vmf_sim_on(r->sim, VMF_SIM_PROTECT, NULL, NULL);
	CHECK_OK(p.stored);
	(void)vmf_reclaim(object, 0, 1);
	CHECK_EQ(rig_byte(r, p.at), 7);
	CHECK_ERR(vmf_unmap(r->space, p.at, 1), 0);
}

/* The area cannot be written any more, the range still can; and there is no write-protection of single entries. */
static void what_is_written_while_protect_forbids_it(void)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_ADDRESS, .ram_pages = RAM };
	struct vmf_object *object;
	struct testback back;
	struct rig r;
	vmf_va shared;

	rig_open_as(&r, &config);
	testback_open(&back, r.port, PAGE, TESTBACK_AT_ONCE);
	object = testback_object(&back, NULL);
	shared = map_page(&r, object, VMF_SHARED, VMF_R, 0);
	pass_protect(&r, object, 0);
	CHECK_EQ(rig_byte(&r, shared), testback_byte(&back, 0)); /* it was private */
	pass_protect(&r, object, VMF_SHARED);
	CHECK_ERR(vmf_unmap(r.space, shared, 1), 0);
	vmf_object_put(object);
	testback_close(&back);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(a_revoked_page_is_not_installed_after_another),
	VMTEST(done_without_the_page_is_a_drivers_error),
	VMTEST(a_write_after_a_sync_or_a_revoke_is_announced_again),
	VMTEST(a_write_to_zeroes_is_announced_once),
	VMTEST(writable_raw_areas_cannot_be_announced),
	VMTEST(a_handler_cannot_unmap_its_area_while_another_thread_does),
	VMTEST(an_area_is_closed_after_it_was_opened),
	VMTEST(unmap_takes_nothing_that_came_after_it),
	VMTEST(a_handler_may_look_for_areas),
	VMTEST(no_area_lies_over_one_that_ends_at_the_top),
	VMTEST(a_protect_that_fails_takes_back_what_was_entered),
	VMTEST(what_is_written_while_protect_forbids_it),
};
VMTEST_MAIN(tests, 20)
