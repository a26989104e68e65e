/* SPDX-License-Identifier: MIT
 *
 * The five reasons to try again, each as it comes about: SIGNAL and IO by who brings the bytes, RACE by a revoke
 * between the answer and the entry, LAYOUT and RESOURCE by the pmap.  Each has its wait object or none, is bounded, is
 * counted, and is seen by the trace hook; and whoever waits, for whatever, is in nobody else's way.
 */
#include <pthread.h>
#include "core/core.h"
#include "rig.h"
#include "testback.h"

#define PAGES 8u

/* ------------------------------------------------------------------------------------ what there is to retry */

struct scene;
struct reason {
	enum vmf_why why;
	bool waits;               /* for an object; else only for a while */
	uint32_t bound;           /* tries before there is an answer; 0: as long as the backing takes */
	enum vmf_code end;        /* which is this, */
	enum vmf_why end_why;     /* with this reason */
	void (*stop)(struct scene *); /* nothing stands in the way any more */
	void (*fail)(struct scene *); /* bound 0: what ends it */
};
struct scene {
	struct rig r;
	const struct reason *reason;
	struct vmf_object *object;
	struct testback back;
	struct vmf_wait ready;
	bool obstacle;
	unsigned traced[16], resolved; /* by enum vmf_why; others than RETRY */
	vmf_va at;
};

static void trace(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r, uint32_t tries)
{
	struct scene *s = self;

	CHECK(space == s->r.space && va - s->at < PAGES * PAGE && access == VMF_R);
	if (r.code != VMF_RETRY) {
		s->resolved++;
		return;
	}
	s->traced[r.why]++;
	CHECK(tries || r.why == VMF_WHY_IO); /* a read that takes its time is not counted against the fault */
}

static enum vmf_code answers(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct scene *s = req->object_priv;

	ans->seq = vmf_wait_seq(&s->ready);
	if (s->obstacle && s->reason->why == VMF_WHY_SIGNAL) {
		ans->why = VMF_WHY_SIGNAL;
		ans->wait = &s->ready;
		return VMF_RETRY;
	}
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	if (s->obstacle && s->reason->why == VMF_WHY_RACE)
		CHECK_ERR(vmf_revoke(req->object, req->off, 1), 0);
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = answers };

/* The pmap: somebody is changing the layout, or it has no table. */
static void at_enter(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct scene *s = self;

	(void)space, (void)at, (void)pages;
	if (s->obstacle && (s->reason->why == VMF_WHY_LAYOUT || s->reason->why == VMF_WHY_RESOURCE))
		vmf_sim_fail(s->r.sim, VMF_SIM_ENTER, 1, s->reason->why == VMF_WHY_LAYOUT ? VMF_EAGAIN : VMF_ENOMEM);
}

static void wake(struct scene *s)
{
	s->obstacle = false;
	vmf_wake(s->r.port, &s->ready);
}

static void go(struct scene *s) { s->obstacle = false; }

static void bytes_come(struct scene *s)
{
	testback_wait_queued(&s->back, 1);
	testback_release(&s->back, 1);
}

static void bytes_fail(struct scene *s)
{
	s->back.read = (struct testback_fail){ .pages = PAGES, .err = 5 };
	bytes_come(s);
}

static const struct reason reasons[] = {
	{ VMF_WHY_SIGNAL, true, VMF_CFG_TRIES, VMF_SIGBUS, VMF_WHY_SIGNAL, wake, NULL },
	{ VMF_WHY_IO, true, 0, VMF_SIGBUS, VMF_WHY_IOERR, bytes_come, bytes_fail },
	{ VMF_WHY_RACE, false, VMF_CFG_RACES, VMF_SIGBUS, VMF_WHY_RACE, go, NULL },
	{ VMF_WHY_LAYOUT, false, VMF_CFG_RACES, VMF_SIGBUS, VMF_WHY_LAYOUT, go, NULL },
	{ VMF_WHY_RESOURCE, false, VMF_CFG_RACES, VMF_OOM, VMF_WHY_RESOURCE, go, NULL },
};
#define REASONS (sizeof(reasons) / sizeof(reasons[0]))

static void scene_open(struct scene *s, unsigned store, const struct reason *reason)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM, .trace = trace,
		.trace_self = s,
	};

	memset(s, 0, sizeof(*s));
	rig_open_as(&s->r, &config);
	s->reason = reason;
	s->obstacle = true;
	testback_open(&s->back, s->r.port, PAGES * PAGE, TESTBACK_HELD_BACK);
	if (reason->why == VMF_WHY_IO)
		s->object = testback_object(&s->back, NULL);
	else
		CHECK_ERR(vmf_object_create(s->r.port, &s->object, &ops, s, PAGES), 0);
	vmf_sim_on(s->r.sim, VMF_SIM_ENTER, at_enter, s);
	s->at = rig_show(&s->r, s->object, PAGES, VMF_R);
}

static void scene_close(struct scene *s)
{
	CHECK_ERR(vmf_unmap(s->r.space, s->at, PAGES), 0);
	vmf_object_put(s->object);
	if (s->reason->why != VMF_WHY_IO)
		s->back.closed = true; /* nobody had it */
	testback_close(&s->back);
	rig_close(&s->r);
}

/* What was counted is what was seen, and nothing else. */
static void counted(struct scene *s, unsigned tries, unsigned faults, unsigned failed)
{
	struct vmf_stats stats = rig_stats(&s->r);

	for (unsigned why = 0; why < 16; why++) {
		CHECK_EQ(stats.retries[why], why == s->reason->why ? tries : 0);
		CHECK_EQ(s->traced[why], stats.retries[why]);
	}
	CHECK_EQ(stats.faults, faults);
	CHECK_EQ(stats.failed, failed);
	CHECK_EQ(s->resolved, faults);
}

/* -------------------------------------------------------------------------------------------- the table */

static void waits_and_goes_on(struct scene *s)
{
	const struct vmf_trap trap = { .va = s->at + PAGE, .access = VMF_R };
	struct vmf_ticket ticket = { 0 };

	CHECK_RESULT(vmf_handle(s->r.space, &trap, &ticket), VMF_RETRY, s->reason->why);
	CHECK_EQ(ticket.why, s->reason->why);
	CHECK_EQ(ticket.wait != NULL, s->reason->waits);
	CHECK_EQ(vmf_ticket_ready(&ticket), !s->reason->waits);
	counted(s, 1, 0, 0);
	s->reason->stop(s);
	CHECK_ERR(vmf_ticket_wait(s->r.space, &ticket, false), 0);
	CHECK(vmf_ticket_ready(&ticket));
	CHECK_OK(vmf_handle(s->r.space, &trap, &ticket));
	counted(s, 1, 1, 0);
	CHECK(!ticket.wait && !ticket.core[0] && !ticket.core[1]);
}

/* Never waits, as if every wait were over at once. */
static unsigned insist(struct scene *s, struct vmf_result *r)
{
	const struct vmf_trap trap = { .va = s->at + 2 * PAGE, .access = VMF_R };
	struct vmf_ticket ticket = { 0 };
	unsigned tries = 0;

	while ((*r = vmf_handle(s->r.space, &trap, &ticket)).code == VMF_RETRY) {
		CHECK_EQ(r->why, s->reason->why);
		if (++tries == 2 * VMF_CFG_TRIES) {
			CHECK(s->reason->fail);
			s->reason->fail(s);
			CHECK_ERR(vmf_ticket_wait(s->r.space, &ticket, false), 0);
		}
	}
	return tries;
}

static void has_an_end(struct scene *s)
{
	struct vmf_result r;
	unsigned tries;

	s->obstacle = true;
	tries = insist(s, &r);
	CHECK_RESULT(r, s->reason->end, s->reason->end_why);
	CHECK_EQ(tries, s->reason->bound ? s->reason->bound : 2 * VMF_CFG_TRIES);
	counted(s, 1 + tries, 2, 1);
	/* That was the fault's end, and not the page's. */
	s->back.read.pages = 0;
	s->obstacle = false;
	testback_release(&s->back, 1);
	CHECK(rig_byte(&s->r, s->at + 2 * PAGE) >= 0);
}

static void every_reason(void)
{
	struct scene s;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++)
		for (unsigned i = 0; i < REASONS; i++) {
			scene_open(&s, store, &reasons[i]);
			vmtest_with = vmf_why_str(reasons[i].why);
			waits_and_goes_on(&s);
			has_an_end(&s);
			scene_close(&s);
		}
}

/* ------------------------------------------------------------------------- who waits is in nobody's way */

static struct { pthread_mutex_t lock; pthread_cond_t changed; unsigned inside; bool free; } gate = {
	PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false,
};

static enum vmf_code held_in_the_handler(const struct vmf_req *req, struct vmf_ans *ans)
{
	pthread_mutex_lock(&gate.lock);
	(void)__atomic_add_fetch(&gate.inside, 1, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&gate.changed);
	while (!gate.free)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static const struct vmf_ops held_ops = { .size = sizeof(held_ops), .nopage = held_in_the_handler };
static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

struct victim { struct rig *r; vmf_va at; int byte; };

static void *load(void *self)
{
	struct victim *v = self;

	v->byte = rig_byte(v->r, v->at);
	return NULL;
}

static void gate_open(bool open)
{
	pthread_mutex_lock(&gate.lock);
	gate.free = open;
	if (!open)
		gate.inside = 0;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

/* Maps, uses, cuts, protects and unmaps, in the same space and of the same object as the one who waits. */
static void others_go_on(struct rig *r, struct vmf_object *zeroes, struct vmf_object *held)
{
	for (unsigned i = 0; i < 50; i++) {
		vmf_va a = rig_show(r, zeroes, PAGES, VMF_R | VMF_W), b = rig_show(r, held, PAGES, VMF_R);

		CHECK_EQ(rig_byte(r, a + PAGE), 0);
		CHECK_ERR(vmf_protect(r->space, a, PAGES, VMF_R), 0);
		CHECK_ERR(vmf_unmap(r->space, a + 2 * PAGE, 1), 0);
		CHECK_ERR(vmf_unmap(r->space, a, PAGES), 0);
		CHECK_ERR(vmf_unmap(r->space, b, PAGES), 0);
	}
}

static void held_while_others_go_on(struct rig *r, bool in_handler)
{
	struct victim v = { r, 0, -1 };
	struct vmf_object *zeroes, *held;
	struct testback back;
	pthread_t t;

	CHECK_ERR(vmf_object_create(r->port, &zeroes, &zero_ops, NULL, PAGES), 0);
	testback_open(&back, r->port, PAGES * PAGE, TESTBACK_HELD_BACK);
	if (in_handler)
		CHECK_ERR(vmf_object_create(r->port, &held, &held_ops, NULL, PAGES), 0);
	else
		held = testback_object(&back, NULL);
	gate_open(false);
	v.at = rig_show(r, held, PAGES, VMF_R);
	CHECK(!pthread_create(&t, NULL, load, &v));
	if (in_handler)
		CHECK_SOON(__atomic_load_n(&gate.inside, __ATOMIC_SEQ_CST) == 1);
	else
		testback_wait_queued(&back, 1);
	others_go_on(r, zeroes, held);
	CHECK_EQ(__atomic_load_n(&v.byte, __ATOMIC_SEQ_CST), -1); /* it waits still */
	gate_open(true);
	testback_release(&back, 1);
	pthread_join(t, NULL);
	CHECK_EQ(v.byte, in_handler ? 0 : testback_byte(&back, 0));
	CHECK_ERR(vmf_unmap(r->space, v.at, PAGES), 0);
	vmf_object_put(zeroes);
	vmf_object_put(held);
	if (in_handler)
		back.closed = true;
	testback_close(&back);
}

/* A pager that takes its time, and a handler that does: nobody who maps and unmaps waits for them. */
static void a_slow_pager_stops_nobody(void)
{
	struct rig r;

	RIG_EACH(r)
		for (unsigned in_handler = 0; in_handler < 2; in_handler++)
			held_while_others_go_on(&r, in_handler);
}

static const struct vmtest tests[] = {
	VMTEST(every_reason),
	VMTEST(a_slow_pager_stops_nobody),
};
VMTEST_MAIN(tests, 30)
