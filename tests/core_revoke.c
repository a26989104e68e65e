/* SPDX-License-Identifier: MIT
 *
 * Revoke and unmap against faults in flight.  The races are made certain: the handler itself, or a hook between the
 * handler and the entry, does the other side's part or lets another thread do it.  All with and without a host barrier.
 */
#include <pthread.h>
#include <semaphore.h>
#include "rig.h"

#define PAGES 16u

struct driver {
	struct rig *r;
	struct vmf_object *object;
	struct vmf_frame *frame[PAGES];
	uint64_t pfn;
	uint32_t run;
	void (*between)(struct driver *, vmf_pgoff); /* between the driver's decision and its return */
	unsigned asked, closed;
	sem_t entered, leave;
	struct vmf_result inner;
	int err;
};

static void swap_frame(struct driver *d, vmf_pgoff at, uint8_t byte)
{
	struct vmf_frame *f = d->frame[at];

	/* By offset there is only one frame for a page: its bytes change instead. */
	if (d->r->store != VMF_BY_OFFSET) {
		CHECK_ERR(vmf_frame_alloc(d->r->port, 0, 0, true, &d->frame[at]), 0);
		vmf_frame_put(d->r->port, f);
	}
	*(uint8_t *)vmf_frame_bytes(d->r->port, d->frame[at]) = byte;
}

static enum vmf_code nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->asked++;
	for (ans->n = 0; ans->n < d->run; ans->n++) {
		ans->frames[ans->n] = d->frame[req->off + ans->n];
		vmf_frame_get(ans->frames[ans->n]);
	}
	if (d->between)
		d->between(d, req->off);
	return VMF_OK;
}

static enum vmf_code nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->asked++;
	ans->pfn.n = d->pfn + req->off;
	ans->n = d->run;
	ans->attr.type = VMF_UC;
	if (d->between)
		d->between(d, req->off);
	return VMF_OK;
}

static enum vmf_code install(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	struct vmf_frame *f = d->frame[req->off];

	(void)ans;
	d->asked++;
	vmf_frame_get(f);
	if (d->between)
		d->between(d, req->off);
	d->inner = vmf_install_frames(req, req->off, &f, 1, req->prot);
	return d->inner.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static enum vmf_code install_pfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	vmf_pfn pfn = { d->pfn + req->off };

	(void)ans;
	d->asked++;
	if (d->between)
		d->between(d, req->off);
	d->inner = vmf_install_pfns(req, req->off, pfn, 1, (struct vmf_attr){ .type = VMF_UC }, req->prot);
	return d->inner.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static void closed(struct vmf_area *a)
{
	struct driver *d = vmf_object_priv(vmf_area_object(a));

	__atomic_fetch_add(&d->closed, 1, __ATOMIC_RELAXED);
}

static const struct vmf_ops nopage_ops = { .size = sizeof(nopage_ops), .nopage = nopage, .closed = closed };
static const struct vmf_ops nopfn_ops = { .size = sizeof(nopfn_ops), .nopfn = nopfn, .closed = closed };
static const struct vmf_ops install_pfn_ops = {
	.size = sizeof(install_pfn_ops), .fault = install_pfn, .closed = closed,
};
static const struct vmf_ops install_ops = { .size = sizeof(install_ops), .fault = install, .closed = closed };

static void driver_open(struct driver *d, struct rig *r, const struct vmf_ops *ops)
{
	*d = (struct driver){ .r = r, .pfn = VMF_SIM_DEVICE, .run = 1 };
	sem_init(&d->entered, 0, 0);
	sem_init(&d->leave, 0, 0);
	CHECK_ERR(vmf_object_create(r->port, &d->object, ops, d, PAGES), 0);
	for (unsigned i = 0; ops != &nopfn_ops && ops != &install_pfn_ops && i < PAGES; i++) {
		d->frame[i] = vmf_frame_at(d->object, i);
		*(uint8_t *)vmf_frame_bytes(r->port, d->frame[i]) = (uint8_t)(i + 1);
	}
	for (unsigned i = 0; i < 256; i++)
		*(uint8_t *)vmf_sim_device(r->sim, i) = (uint8_t)(i + 1);
}

static void driver_close(struct driver *d)
{
	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 4096), 0);
	vmf_object_put(d->object);
	for (unsigned i = 0; i < PAGES; i++)
		if (d->frame[i])
			vmf_frame_put(d->r->port, d->frame[i]);
	sem_destroy(&d->entered);
	sem_destroy(&d->leave);
}

/* Every kind of window, with a barrier and with fences. */
#define EACH(r) \
	for (unsigned with_ = 0; with_ < 6 && (open_as(&(r), with_), true); rig_close(&(r)), with_++)

static void open_as(struct rig *r, unsigned with)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)(with % 3), .protect = true, .fences = with >= 3, .ram_pages = RAM,
	};

	rig_open_as(r, &config);
}

/* -------------------------------------------------------------------- between the return and the entry */

static void change_and_revoke(struct driver *d, vmf_pgoff at)
{
	d->between = NULL;
	if (d->frame[at])
		swap_frame(d, at, 99);
	d->pfn += 50;
	CHECK_ERR(vmf_revoke(d->object, at, 1), 0);
}

static void a_returned_frame_that_was_revoked_is_not_entered(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		driver_open(&d, &r, &nopage_ops);
		at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = change_and_revoke;
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 99);
		CHECK_EQ(d.asked, 2);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
		CHECK_EQ(rig_stats(&r).faults, 1);
		driver_close(&d);
	}
}

static void a_returned_pfn_that_was_revoked_is_not_entered(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		driver_open(&d, &r, &nopfn_ops);
		at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = change_and_revoke;
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 54);
		CHECK_EQ(d.asked, 2);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
		driver_close(&d);
	}
}

static void an_install_that_was_revoked_is_not_made(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		driver_open(&d, &r, &install_ops);
		at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = change_and_revoke;
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 99);
		CHECK_EQ(d.asked, 2);
		CHECK_OK(d.inner);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
		driver_close(&d);
	}
}

static void an_installed_pfn_that_was_revoked_is_not_entered(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		driver_open(&d, &r, &install_pfn_ops);
		at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = change_and_revoke;
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 54);
		CHECK_EQ(d.asked, 2);
		CHECK_OK(d.inner);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
		driver_close(&d);
	}
}

static void revoke_another(struct driver *d, vmf_pgoff at)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (i != at)
			CHECK_ERR(vmf_revoke(d->object, i, 1), 0);
}

static void revoke_is_exact(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		driver_open(&d, &r, &nopage_ops);
		at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = revoke_another;
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(rig_byte(&r, at + i * PAGE), i + 1);
		CHECK_EQ(d.asked, PAGES);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 0);
		driver_close(&d);
	}
}

static void change_neighbour(struct driver *d, vmf_pgoff at)
{
	d->between = NULL;
	if (d->frame[at + 2])
		swap_frame(d, at + 2, 99);
	d->pfn += 50;
	CHECK_ERR(vmf_revoke(d->object, at + 2, 1), 0);
	d->run = 1;
}

/* The run that was answered holds a page that was revoked meanwhile: that page must not come in with the others. */
static void a_neighbour_in_the_run_is_not_entered(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned pfns = 0; pfns < 2; pfns++)
		EACH(r) {
			driver_open(&d, &r, pfns ? &nopfn_ops : &nopage_ops);
			at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
			d.run = 4;
			d.between = change_neighbour;
			CHECK(rig_byte(&r, at + 4 * PAGE) > 0);
			CHECK(!rig_present(&r, at + 6 * PAGE));
			CHECK_EQ(rig_byte(&r, at + 6 * PAGE), pfns ? 57 : 99);
			driver_close(&d);
		}
}

static void revoke_a_lot(struct driver *d, vmf_pgoff at)
{
	CHECK_ERR(vmf_revoke(d->object, at, 1), 0);
}

static void losing_every_race_ends(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		driver_open(&d, &r, &nopage_ops);
		at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = revoke_a_lot;
		CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_RACE);
		CHECK(d.asked > 2 && d.asked < 1000);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], d.asked - 1);
		d.between = NULL;
		CHECK_EQ(rig_byte(&r, at), 1);
		driver_close(&d);
	}
}

/* ----------------------------------------------------------------------------------- with two threads */

static void stay(struct driver *d, vmf_pgoff at)
{
	(void)at;
	d->between = NULL;
	sem_post(&d->entered);
	sem_wait(&d->leave);
}

struct load { struct driver *d; vmf_va at; int byte; };

static void *load_byte(void *self)
{
	struct load *l = self;

	l->byte = rig_byte(l->d->r, l->at);
	return NULL;
}

/* It never waits for handlers: it returns while one is sitting there. */
static void revoke_does_not_wait_for_a_handler(void)
{
	struct driver d;
	pthread_t t;
	struct rig r;

	EACH(r) {
		struct load l = { .d = &d };

		driver_open(&d, &r, &nopage_ops);
		l.at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = stay;
		CHECK(!pthread_create(&t, NULL, load_byte, &l));
		sem_wait(&d.entered);
		swap_frame(&d, 0, 99);
		CHECK_ERR(vmf_revoke(d.object, 0, 1), 0);
		sem_post(&d.leave);
		pthread_join(t, NULL);
		CHECK_EQ(l.byte, 99);
		CHECK_EQ(d.asked, 2);
		driver_close(&d);
	}
}

/* The driver reads its table, and revokes, under its own lock; the handler has let go of that when it returns. */
static struct vmf_lock own_lock = { 0, VMF_RANK_DRIVER };

static void decide_and_stay(struct driver *d, vmf_pgoff at)
{
	(void)at;
	d->between = NULL;
	vmf_lock_take(d->r->port, &own_lock);
	vmf_lock_drop(d->r->port, &own_lock);
	sem_post(&d->entered);
	sem_wait(&d->leave);
}

static void under_the_drivers_own_lock(void)
{
	static const struct vmf_ops *const ops[] = { &nopage_ops, &nopfn_ops, &install_ops, &install_pfn_ops };
	struct driver d;
	pthread_t t;
	struct rig r;

	for (unsigned how = 0; how < 4; how++)
		EACH(r) {
			struct load l = { .d = &d };

			driver_open(&d, &r, ops[how]);
			l.at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
			d.between = decide_and_stay;
			CHECK(!pthread_create(&t, NULL, load_byte, &l));
			sem_wait(&d.entered);
			vmf_lock_take(r.port, &own_lock);
			if (d.frame[0])
				swap_frame(&d, 0, 51);
			d.pfn += 50;
			CHECK_ERR(vmf_revoke(d.object, 0, 1), 0);
			vmf_lock_drop(r.port, &own_lock);
			sem_post(&d.leave);
			pthread_join(t, NULL);
			CHECK_EQ(l.byte, 51);
			CHECK_EQ(d.asked, 2);
			CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
			driver_close(&d);
		}
}

struct revoker {
	struct driver *d;
	pthread_t thread;
	unsigned started, done, used;
	vmf_pgoff page;
};

static void *revoke_page(void *self)
{
	struct revoker *v = self;

	__atomic_store_n(&v->started, 1, __ATOMIC_SEQ_CST);
	CHECK_ERR(vmf_revoke(v->d->object, v->page, 1), 0);
	__atomic_store_n(&v->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* In the pmap's enter(): the other thread revokes, and must not be through before the entry is made. */
static void start_revoker(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct revoker *v = self;

	(void)space;
	(void)at;
	(void)pages;
	if (v->used++)
		return;
	CHECK(!pthread_create(&v->thread, NULL, revoke_page, v));
	while (!__atomic_load_n(&v->started, __ATOMIC_SEQ_CST))
		continue;
	for (unsigned i = 0; i < 20; i++) {
		CHECK(!__atomic_load_n(&v->done, __ATOMIC_SEQ_CST));
		usleep(100);
	}
}

/* Who enters a run is waited for by all who revoke a page of it. */
static void revoke_waits_for_entering(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned how = 0; how < 4; how++)
		EACH(r) {
			const bool pfns = how & 1;
			struct vmf_trap trap = { .access = VMF_R };
			struct vmf_ticket ticket = { 0 };
			struct revoker v = { .d = &d, .page = how & 2 ? 3 : 0 };

			driver_open(&d, &r, pfns ? &nopfn_ops : &nopage_ops);
			d.run = (uint32_t)v.page + 1;
			at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
			vmf_sim_on(r.sim, VMF_SIM_ENTER, start_revoker, &v);
			trap.va = at;
			CHECK_OK(vmf_handle(r.space, &trap, &ticket));
			pthread_join(v.thread, NULL);
			vmf_sim_on(r.sim, VMF_SIM_ENTER, NULL, NULL);
			CHECK_EQ(rig_present(&r, at + v.page * PAGE), r.store == VMF_BY_COPY && !pfns);
			driver_close(&d);
		}
}

static void *unmap_all(void *self)
{
	struct revoker *v = self;

	__atomic_store_n(&v->started, 1, __ATOMIC_SEQ_CST);
	CHECK_ERR(vmf_unmap(v->d->r->space, VMF_SIM_LOWEST, 4096), 0);
	__atomic_store_n(&v->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void unmap_waits_for_handlers(void)
{
	struct driver d;
	pthread_t t;
	struct rig r;

	EACH(r) {
		struct load l = { .d = &d };
		struct revoker v = { .d = &d };

		driver_open(&d, &r, &nopage_ops);
		l.at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		d.between = stay;
		CHECK(!pthread_create(&t, NULL, load_byte, &l));
		sem_wait(&d.entered);
		CHECK(!pthread_create(&v.thread, NULL, unmap_all, &v));
		while (!__atomic_load_n(&v.started, __ATOMIC_SEQ_CST))
			continue;
		for (unsigned i = 0; i < 20; i++) {
			CHECK(!__atomic_load_n(&v.done, __ATOMIC_SEQ_CST));
			CHECK_EQ(__atomic_load_n(&d.closed, __ATOMIC_RELAXED), 0);
			usleep(100);
		}
		sem_post(&d.leave);
		pthread_join(v.thread, NULL);
		pthread_join(t, NULL);
		CHECK(l.byte == 1 || l.byte == -VMF_SIGSEGV);
		CHECK_EQ(d.closed, 1);
		CHECK(!rig_present(&r, l.at));
		driver_close(&d);
	}
}

/* --------------------------------------------------------------------------------- from a handler */

static vmf_va own, another;

static void unmap_own(struct driver *d, vmf_pgoff at)
{
	(void)at;
	d->between = NULL;
	d->err = vmf_unmap(d->r->space, own + PAGE, 1);
	CHECK_ERR(d->err, -VMF_EDEADLK);
	d->err = vmf_unmap(d->r->space, VMF_SIM_LOWEST, 4096);
	CHECK_ERR(d->err, -VMF_EDEADLK);
	d->err = vmf_protect(d->r->space, own, 1, VMF_R);
	CHECK_ERR(d->err, -VMF_EDEADLK);
	CHECK_ERR(vmf_unmap(d->r->space, another, PAGES), 0);
}

static void a_handler_cannot_unmap_its_own_area(void)
{
	struct driver d, other;
	struct rig r;

	EACH(r) {
		driver_open(&d, &r, &nopage_ops);
		driver_open(&other, &r, &nopage_ops);
		own = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		another = rig_show(&r, other.object, PAGES, VMF_R | VMF_W);
		d.between = unmap_own;
		CHECK_EQ(rig_byte(&r, own), 1);
		CHECK_EQ(d.err, -VMF_EDEADLK);
		CHECK_EQ(d.closed, 0);
		CHECK_EQ(other.closed, 1);
		driver_close(&d);
		driver_close(&other);
	}
}

/* -------------------------------------------------------------------------------- what it takes away */

static void revoke_takes_its_range_from_every_area(void)
{
	static const struct { uint64_t first, pages; } t[] = {
		{ 0, 1 }, { 3, 4 }, { 0, 16 }, { 15, 100 }, { 4, 0 }, { 100, 5 },
	};
	struct vmf_space *second;
	struct vmf_map map;
	vmf_va at[3];
	struct driver d;
	struct rig r;

	EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			CHECK_ERR(vmf_sim_space(r.sim, &second), 0);
			driver_open(&d, &r, &nopage_ops);
			map = rig_map(&r, PAGES, VMF_R);
			CHECK_ERR(vmf_map(r.space, d.object, &map, &at[0]), 0);
			CHECK_ERR(vmf_map(second, d.object, &map, &at[1]), 0);
			map.pages = 8;
			map.off = 4;
			CHECK_ERR(vmf_map(r.space, d.object, &map, &at[2]), 0);
			for (unsigned p = 0; p < PAGES; p++) {
				uint8_t byte;

				CHECK_EQ(rig_byte(&r, at[0] + p * PAGE), p + 1);
				CHECK_OK(vmf_sim_load(second, at[1] + p * PAGE, &byte, 1));
				if (p < 8)
					CHECK_EQ(rig_byte(&r, at[2] + p * PAGE), p + 5);
			}
			CHECK_ERR(vmf_revoke(d.object, t[i].first, t[i].pages), 0);
			CHECK_EQ(vmf_sim_unflushed(r.space) + vmf_sim_unflushed(second), 0);
			for (unsigned p = 0; p < PAGES; p++) {
				bool stays = p - t[i].first >= t[i].pages || r.store == VMF_BY_COPY;
				struct vmf_entry e;

				CHECK_EQ(rig_present(&r, at[0] + p * PAGE), stays);
				CHECK_ERR(vmf_space_pmap(second)->ops->query(vmf_space_pmap(second), at[1] + p * PAGE, &e), 0);
				CHECK_EQ(e.present, stays);
				if (p >= 4 && p < 12)
					CHECK_EQ(rig_present(&r, at[2] + (p - 4) * PAGE), stays);
			}
			vmf_sim_space_close(second);
			driver_close(&d);
			CHECK_EQ(rig_free_frames(&r), RAM);
		}
}

static void revoke_can_fail(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	EACH(r) {
		driver_open(&d, &r, &nopfn_ops);
		at = rig_show(&r, d.object, PAGES, VMF_R | VMF_W);
		CHECK_EQ(rig_byte(&r, at), 1);
		CHECK_ERR(vmf_revoke(d.object, UINT64_MAX, 2), -VMF_EINVAL);
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
		CHECK_ERR(vmf_revoke(d.object, 0, 1), -VMF_EBUSY);
		CHECK(rig_present(&r, at));
		CHECK_ERR(vmf_revoke(d.object, 0, 1), 0);
		CHECK(!rig_present(&r, at));
		driver_close(&d);
	}
}

static void revoked_frames_are_given_back(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	driver_open(&d, &r, &nopage_ops);
	at = rig_show(&r, d.object, PAGES, VMF_R);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(rig_byte(&r, at + i * PAGE), i + 1);
	for (unsigned i = 0; i < PAGES; i++) {
		vmf_frame_put(r.port, d.frame[i]);
		d.frame[i] = NULL;
	}
	CHECK_EQ(rig_free_frames(&r), RAM - PAGES);
	CHECK_ERR(vmf_revoke(d.object, 2, 3), 0);
	CHECK_EQ(rig_free_frames(&r), RAM - PAGES + 3);
	/* Also what the pmap had forgotten of itself. */
	vmf_sim_forget(r.space, at, 8);
	CHECK_ERR(vmf_revoke(d.object, 0, 8), 0);
	CHECK_EQ(rig_free_frames(&r), RAM - PAGES + 8);
	CHECK_ERR(vmf_unmap(r.space, at, PAGES), 0);
	CHECK_EQ(rig_free_frames(&r), RAM);
	driver_close(&d);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(a_returned_frame_that_was_revoked_is_not_entered),
	VMTEST(a_returned_pfn_that_was_revoked_is_not_entered),
	VMTEST(an_install_that_was_revoked_is_not_made),
	VMTEST(an_installed_pfn_that_was_revoked_is_not_entered),
	VMTEST(under_the_drivers_own_lock),
	VMTEST(revoke_is_exact),
	VMTEST(a_neighbour_in_the_run_is_not_entered),
	VMTEST(losing_every_race_ends),
	VMTEST(revoke_does_not_wait_for_a_handler),
	VMTEST(revoke_waits_for_entering),
	VMTEST(unmap_waits_for_handlers),
	VMTEST(a_handler_cannot_unmap_its_own_area),
	VMTEST(revoke_takes_its_range_from_every_area),
	VMTEST(revoke_can_fail),
	VMTEST(revoked_frames_are_given_back),
};
VMTEST_MAIN(tests, 20)
