/* SPDX-License-Identifier: MIT
 *
 * A driver's mistakes on the simulated port: each is a result with a reason, nothing is shown or lost, and the page
 * works as soon as the answer is right; and in a build with VMF_DEBUG a strict port says each in one line and panics.
 */
#include "dying.h"
#include "mistakes.h"
#include "rig.h"

struct place { struct rig r; struct wrong w; };

static struct rig *here; /* the one whose handler runs */

static struct vmf_result mistake_access(struct wrong *w, vmf_va va)
{
	(void)w;
	return vmf_sim_load(here->space, va, &(char){ 0 }, 1);
}

static void place_open(struct place *p, unsigned store, const struct mistake *m, bool strict)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM, .strict = strict,
	};
	struct vmf_map map;

	rig_open_as(&p->r, &config);
	here = &p->r;
	vmtest_with = m->name;
	wrong_open(&p->w, p->r.port, m);
	p->w.hole = VMF_SIM_DEVICE - 1;
	map = rig_map(&p->r, SHOWN, VMF_R | VMF_W);
	map.off = FIRST;
	map.attr.type = m->nopfn ? VMF_UC : VMF_WB;
	CHECK_ERR(vmf_map(p->r.space, p->w.object, &map, &p->w.at), 0);
}

static void place_close(struct place *p)
{
	CHECK_ERR(vmf_unmap(p->r.space, p->w.at, SHOWN), 0);
	wrong_close(&p->w);
	rig_close(&p->r);
}

static void nothing_is_shown(struct place *p, const struct mistake *m)
{
	for (unsigned i = 0; i < SHOWN; i++)
		CHECK_EQ(rig_present(&p->r, p->w.at + i * PAGE), m->there && i == FAULTS_AT - FIRST);
}

static void each_is_a_result_with_a_reason(void)
{
	struct place p;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++)
		for (unsigned i = 0; i < MISTAKES; i++) {
			const struct mistake *m = &mistakes[i];

			place_open(&p, store, m, false);
			CHECK_RESULT(vmf_sim_load(p.r.space, wrong_page(&p.w), &(char){ 0 }, 1), m->code[store], m->why[store]);
			CHECK_EQ(p.w.asked, 1);
			CHECK_EQ(rig_stats(&p.r).failed, (m->code[store] != VMF_OK) + (m->nopage == touches_its_own));
			if (m->code[store] != VMF_OK)
				nothing_is_shown(&p, m);
			/* Right from now on. */
			CHECK_RESULT(vmf_sim_load(p.r.space, wrong_page(&p.w), &(char){ 0 }, 1), m->nopfn ? VMF_SIGBUS : VMF_OK,
				     m->nopfn ? VMF_WHY_EOF : VMF_WHY_NONE);
			place_close(&p);
		}
}

/* What of a run lies outside the area is no mistake: it is left out. */
static enum vmf_code a_long_run(const struct vmf_req *req, struct vmf_ans *ans)
{
	for (ans->n = 0; ans->n < PAGES; ans->n++)
		ans->frames[ans->n] = vmf_frame_at(req->object, ans->n);
	ans->first = 0;
	return VMF_OK;
}

static void a_run_is_cut_to_the_area(void)
{
	static const struct mistake none = { "a long run", .nopage = a_long_run };
	struct place p;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		place_open(&p, store, &none, true);
		CHECK_OK(vmf_sim_load(p.r.space, wrong_page(&p.w), &(char){ 0 }, 1));
		CHECK_EQ(rig_stats(&p.r).entered, SHOWN);
		CHECK_RESULT(vmf_sim_load(p.r.space, p.w.at + SHOWN * PAGE, &(char){ 0 }, 1), VMF_SIGSEGV, VMF_WHY_NONE);
		place_close(&p);
	}
}

/* --------------------------------------------------------------------------------- a lock held on return */

/* As a driver has to: it tries, and comes again later. */
static enum vmf_code keeps_its_lock(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	if (__atomic_exchange_n(&w->busy, 1, __ATOMIC_ACQUIRE)) {
		ans->why = VMF_WHY_RESOURCE;
		return VMF_RETRY;
	}
	CHECK(!vmf_rank_take(&w->busy, VMF_RANK_DRIVER));
	return wrong_right(req, ans);
}

static const struct mistake lock_held = { "a lock held on return", .nopage = keeps_its_lock };

/* Without VMF_DEBUG nobody sees it; who needs the lock next is not kept for ever. */
static void a_lock_held_on_return(void)
{
	struct place p;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		place_open(&p, store, &lock_held, false);
#ifdef VMF_DEBUG
		CHECK_RESULT(vmf_sim_load(p.r.space, wrong_page(&p.w), &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
#else
		CHECK_OK(vmf_sim_load(p.r.space, wrong_page(&p.w), &(char){ 0 }, 1));
#endif
		p.w.always = true; /* the same again, on another page */
		CHECK_RESULT(vmf_sim_load(p.r.space, p.w.at, &(char){ 0 }, 1), VMF_OOM, VMF_WHY_RESOURCE);
		CHECK(rig_stats(&p.r).retries[VMF_WHY_RESOURCE] >= 16);
		CHECK(!vmf_rank_drop(&p.w.busy));
		p.w.busy = 0;
		p.w.always = false;
		CHECK_OK(vmf_sim_load(p.r.space, p.w.at, &(char){ 0 }, 1));
		place_close(&p);
	}
}

/* ------------------------------------------------------------------------------- a ticket never dropped */

static struct vmf_wait never;

static enum vmf_code waits(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	ans->why = VMF_WHY_IO;
	ans->wait = &never;
	ans->seq = vmf_wait_seq(&never);
	return VMF_RETRY;
}

static const struct mistake ticket_kept = { "a ticket never dropped", .nopage = waits };

static void place_wait(struct place *p, struct vmf_ticket *ticket)
{
	const struct vmf_trap trap = { .va = wrong_page(&p->w), .access = VMF_R };

	p->w.always = true;
	CHECK_RESULT(vmf_handle(p->r.space, &trap, ticket), VMF_RETRY, VMF_WHY_IO);
}

/* Its space does not go, and its object does not end, until it is dropped. */
static void a_ticket_never_dropped(void)
{
	struct vmf_ticket ticket = { 0 }, another = { 0 };
	struct vmf_area *area;
	struct place p;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		place_open(&p, store, &ticket_kept, false);
		place_wait(&p, &ticket);
		place_wait(&p, &another);
		CHECK_ERR(vmf_space_destroy(p.r.space), -VMF_EBUSY);
		vmf_ticket_drop(p.r.space, &another);
		CHECK_ERR(vmf_space_destroy(p.r.space), -VMF_EBUSY);
		area = vmf_area_find(p.r.space, p.w.at); /* nothing has changed */
		CHECK(area);
		vmf_area_put(area);
		vmf_ticket_drop(p.r.space, &ticket);
		vmf_ticket_drop(p.r.space, &ticket);
		ticket = another = (struct vmf_ticket){ 0 };
		place_close(&p);
	}
}

/* ------------------------------------------------------------------------------------------- strict ports */

struct strictly { const struct mistake *m; unsigned store; };

static void make_it(const void *arg)
{
	const struct strictly *s = arg;
	struct place p;

	alarm(10);
	place_open(&p, s->store, s->m, true);
	(void)vmf_sim_load(p.r.space, wrong_page(&p.w), &(char){ 0 }, 1);
}

static void strict_ports_say_it(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++)
		for (unsigned i = 0; i < MISTAKES; i++) {
			const struct strictly s = { &mistakes[i], store };

			vmtest_with = mistakes[i].name;
			if (mistakes[i].code[store] == VMF_OK)
				CHECK_EQ(strlen(dying(make_it, &s)), 0);
			else
				dying_says(make_it, &s, "mistake, at page 6 of", mistakes[i].said);
		}
	dying_says(make_it, &(struct strictly){ &lock_held, VMF_BY_ADDRESS }, "mistake, at page 6", "a lock held");
}

static void lose_a_ticket(const void *arg)
{
	struct vmf_ticket ticket = { 0 };
	struct place p;

	(void)arg;
	place_open(&p, VMF_BY_ADDRESS, &ticket_kept, true);
	place_wait(&p, &ticket);
	(void)vmf_space_destroy(p.r.space);
}

static void lose_an_object(const void *arg)
{
	struct place p;

	(void)arg;
	place_open(&p, VMF_BY_ADDRESS, &mistakes[0], true);
	vmf_sim_space_close(p.r.space);
	vmf_object_put(p.w.other);
#ifdef VMF_DEBUG
	vmf_sim_close(p.r.sim);
#endif
}

static void lose_a_space(const void *arg)
{
	struct place p;

	(void)arg;
	place_open(&p, VMF_BY_ADDRESS, &mistakes[0], true);
	CHECK_ERR(vmf_unmap(p.r.space, p.w.at, SHOWN), 0);
	wrong_close(&p.w);
#ifdef VMF_DEBUG
	vmf_sim_close(p.r.sim);
#endif
}

static void strict_ports_count(void)
{
	dying_says(lose_a_ticket, NULL, "1 tickets", "not dropped");
	dying_says(lose_an_object, NULL, "1 objects", "are left");
	dying_says(lose_a_space, NULL, "1 spaces", "are left");
}

static const struct vmtest tests[] = {
	VMTEST(each_is_a_result_with_a_reason),
	VMTEST(a_run_is_cut_to_the_area),
	VMTEST(a_lock_held_on_return),
	VMTEST(a_ticket_never_dropped),
	VMTEST(strict_ports_say_it),
	VMTEST(strict_ports_count),
};
VMTEST_MAIN(tests, 20)
