/* SPDX-License-Identifier: MIT
 *
 * RETRY: what a ticket waits for, that no wake is lost, that every reason is bounded and counted, and that a fault is
 * accounted once however often it was tried.
 */
#include <pthread.h>
#include <semaphore.h>
#include "rig.h"

#define PAGES 4u

struct driver {
	struct rig *r;
	struct vmf_object *object;
	struct vmf_frame *frame[PAGES];
	struct vmf_wait ready;
	bool open;          /* the condition */
	enum { WAITS, WAKES_ITSELF, NO_WAIT, NEVER } mode;
	uint8_t why, tries[64];
	unsigned asked, released;
};

static enum vmf_code nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	unsigned n = __atomic_load_n(&d->asked, __ATOMIC_SEQ_CST);

	if (n < 64)
		d->tries[n] = req->tries;
	__atomic_fetch_add(&d->asked, 1, __ATOMIC_SEQ_CST);
	ans->seq = vmf_wait_seq(&d->ready);
	if (!__atomic_load_n(&d->open, __ATOMIC_SEQ_CST)) {
		ans->wait = d->mode == NO_WAIT ? NULL : &d->ready;
		ans->why = d->why;
		if (d->mode == WAKES_ITSELF) { /* as if another CPU did it just now */
			__atomic_store_n(&d->open, true, __ATOMIC_SEQ_CST);
			vmf_wake(req->port, &d->ready);
		}
		return VMF_RETRY;
	}
	ans->frames[0] = d->frame[req->off];
	vmf_frame_get(ans->frames[0]);
	ans->n = 1;
	return VMF_OK;
}

static void release(struct vmf_object *object, void *priv)
{
	struct driver *d = priv;

	(void)object;
	d->released++;
}

static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = nopage, .release = release };

static vmf_va driver_open(struct driver *d, struct rig *r)
{
	*d = (struct driver){ .r = r, .why = VMF_WHY_IO };
	CHECK_ERR(vmf_object_create(r->port, &d->object, &ops, d, PAGES), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		d->frame[i] = vmf_frame_at(d->object, i);
		*(uint8_t *)vmf_frame_bytes(r->port, d->frame[i]) = (uint8_t)(i + 1);
	}
	return rig_show(r, d->object, PAGES, VMF_R | VMF_W);
}

static void driver_close(struct driver *d)
{
	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 4096), 0);
	for (unsigned i = 0; i < PAGES; i++)
		vmf_frame_put(d->r->port, d->frame[i]);
	vmf_object_put(d->object);
	CHECK_EQ(d->released, 1);
}

static void open_and_wake(struct driver *d)
{
	__atomic_store_n(&d->open, true, __ATOMIC_SEQ_CST);
	vmf_wake(d->r->port, &d->ready);
}

static unsigned asked(const struct driver *d)
{
	return __atomic_load_n(&d->asked, __ATOMIC_SEQ_CST);
}

struct load { struct driver *d; vmf_va at; int byte; };

static void *load_byte(void *self)
{
	struct load *l = self;

	l->byte = rig_byte(l->d->r, l->at);
	return NULL;
}

/* ------------------------------------------------------------------------------------------ waiting */

static void a_ticket_waits_for_its_object(void)
{
	struct driver d;
	pthread_t t;
	struct rig r;

	RIG_EACH(r) {
		struct load l = { .d = &d };

		l.at = driver_open(&d, &r) + PAGE;
		CHECK(!pthread_create(&t, NULL, load_byte, &l));
		CHECK_SOON(asked(&d) == 1);
		usleep(2000);
		CHECK_EQ(asked(&d), 1);
		/* A wake without the condition is only one more try. */
		vmf_wake(r.port, &d.ready);
		CHECK_SOON(asked(&d) == 2);
		open_and_wake(&d);
		pthread_join(t, NULL);
		CHECK_EQ(l.byte, 2);
		CHECK_EQ(d.asked, 3);
		CHECK(d.tries[0] == 0 && d.tries[1] == 1 && d.tries[2] == 2);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_IO], 2);
		CHECK_EQ(rig_stats(&r).faults, 1);
		CHECK_EQ(rig_stats(&r).failed, 0);
		driver_close(&d);
	}
}

/* Between the sample and the wait: the wait must not sleep. */
static void no_wake_is_lost(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		at = driver_open(&d, &r);
		d.mode = WAKES_ITSELF;
		CHECK_EQ(rig_byte(&r, at), 1);
		CHECK_EQ(d.asked, 2);
		driver_close(&d);
	}
}

static void a_ticket_says_when_it_is_ready(void)
{
	struct vmf_ticket ticket = { 0 };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_trap trap = { .va = driver_open(&d, &r), .access = VMF_R };

		vmf_ticket_drop(r.space, &ticket);
		CHECK_RESULT(vmf_handle(r.space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
		CHECK(ticket.wait == &d.ready && ticket.why == VMF_WHY_IO && ticket.tries == 1);
		CHECK(!vmf_ticket_ready(&ticket));
		open_and_wake(&d);
		CHECK(vmf_ticket_ready(&ticket));
		CHECK_ERR(vmf_ticket_wait(r.space, &ticket, false), 0);
		CHECK_OK(vmf_handle(r.space, &trap, &ticket));
		/* It was dropped, and can be dropped again. */
		CHECK(!ticket.core[0] && !ticket.core[1]);
		vmf_ticket_drop(r.space, &ticket);
		ticket = (struct vmf_ticket){ 0 };
		driver_close(&d);
	}
}

static void without_a_wait_object_it_waits_a_while(void)
{
	struct vmf_ticket ticket = { 0 };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_trap trap = { .va = driver_open(&d, &r), .access = VMF_R };

		d.mode = NO_WAIT;
		CHECK_RESULT(vmf_handle(r.space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
		CHECK(!ticket.wait && vmf_ticket_ready(&ticket));
		CHECK_ERR(vmf_ticket_wait(r.space, &ticket, false), 0);
		d.open = true;
		CHECK_OK(vmf_handle(r.space, &trap, &ticket));
		ticket = (struct vmf_ticket){ 0 };
		driver_close(&d);
	}
}

/* The wait object lives as long as somebody may wait on it. */
static void a_ticket_keeps_the_driver(void)
{
	struct vmf_ticket ticket = { 0 };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_trap trap = { .va = driver_open(&d, &r), .access = VMF_R };

		CHECK_RESULT(vmf_handle(r.space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
		CHECK_ERR(vmf_unmap(r.space, trap.va, PAGES), 0);
		for (unsigned i = 0; i < PAGES; i++)
			vmf_frame_put(r.port, d.frame[i]);
		vmf_object_put(d.object);
		CHECK_EQ(d.released, 0);
		vmf_wake(r.port, &d.ready);
		CHECK_ERR(vmf_ticket_wait(r.space, &ticket, false), 0);
		CHECK_RESULT(vmf_handle(r.space, &trap, &ticket), VMF_SIGSEGV, VMF_WHY_NONE);
		/* A fault releases nothing itself. */
		CHECK_EQ(d.released, 0);
		CHECK_ERR(vmf_unmap(r.space, trap.va, PAGES), 0);
		CHECK_EQ(d.released, 1);
		ticket = (struct vmf_ticket){ 0 };
	}
}

static void two_victims_of_one_page(void)
{
	struct driver d;
	pthread_t t[2];
	struct rig r;

	RIG_EACH(r) {
		struct load l[2] = { { .d = &d }, { .d = &d } };

		l[0].at = l[1].at = driver_open(&d, &r) + 3 * PAGE;
		for (unsigned i = 0; i < 2; i++)
			CHECK(!pthread_create(&t[i], NULL, load_byte, &l[i]));
		CHECK_SOON(asked(&d) == 2);
		open_and_wake(&d);
		for (unsigned i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		CHECK_EQ(l[0].byte, 4);
		CHECK_EQ(l[1].byte, 4);
		CHECK_EQ(rig_stats(&r).failed, 0);
		CHECK_EQ(rig_stats(&r).entered, 1);
		driver_close(&d);
	}
}

/* -------------------------------------------------------------------------------------------- signals */

static unsigned signals;

static void on_signal(int sig)
{
	(void)sig;
	__atomic_fetch_add(&signals, 1, __ATOMIC_SEQ_CST);
}

/* A handler that waits gives way: the signal is delivered, the instruction runs again, the fault completes later. */
static void a_signal_interrupts_a_wait(void)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct driver d;
	pthread_t t;
	struct rig r;

	sigaction(SIGUSR1, &act, NULL);
	RIG_EACH(r) {
		struct load l = { .d = &d };

		l.at = driver_open(&d, &r);
		d.why = VMF_WHY_SIGNAL;
		signals = 0;
		CHECK(!pthread_create(&t, NULL, load_byte, &l));
		CHECK_SOON(asked(&d) == 1);
		/* Until it hits the wait itself: a signal that comes before is delivered all the same. */
		for (unsigned i = 0; asked(&d) == 1 && i < 1000; i++) {
			pthread_kill(t, SIGUSR1);
			usleep(1000);
		}
		CHECK(asked(&d) > 1);
		CHECK(__atomic_load_n(&signals, __ATOMIC_SEQ_CST));
		CHECK_EQ(d.tries[1], 0); /* a new fault */
		open_and_wake(&d);
		pthread_join(t, NULL);
		CHECK_EQ(l.byte, 1);
		CHECK_EQ(rig_stats(&r).faults, 1);
		driver_close(&d);
	}
}

static void an_interrupted_wait_says_so(void)
{
	struct vmf_ticket ticket = { 0 };
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_trap trap = { .va = driver_open(&d, &r), .access = VMF_R };

		CHECK_RESULT(vmf_handle(r.space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
		vmf_sim_fail(r.sim, VMF_SIM_WAIT, 1, VMF_EINTR);
		CHECK_ERR(vmf_ticket_wait(r.space, &ticket, true), -VMF_EINTR);
		vmf_sim_fail(r.sim, VMF_SIM_WAIT, 1, VMF_EKILLED);
		CHECK_ERR(vmf_ticket_wait(r.space, &ticket, true), -VMF_EKILLED);
		vmf_ticket_drop(r.space, &ticket);
		CHECK(!ticket.core[0] && !ticket.core[1] && !ticket.wait);
		ticket = (struct vmf_ticket){ 0 };
		driver_close(&d);
	}
}

/* ------------------------------------------------------------------------------------------- bounds */

/* Without ever waiting: how often until there is an answer? */
static struct vmf_result insist(struct rig *r, vmf_va at, unsigned *tries)
{
	struct vmf_trap trap = { .va = at, .access = VMF_R };
	struct vmf_ticket ticket = { 0 };
	struct vmf_result result;

	for (*tries = 1; (result = vmf_handle(r->space, &trap, &ticket)).code == VMF_RETRY; ++*tries)
		CHECK(*tries < 100000);
	CHECK(!ticket.core[0] && !ticket.core[1]);
	return result;
}

static void every_reason_is_bounded_and_counted(void)
{
	static const uint8_t why[] = {
		VMF_WHY_NONE, VMF_WHY_SIGNAL, VMF_WHY_IO, VMF_WHY_RACE, VMF_WHY_LAYOUT, VMF_WHY_RESOURCE, VMF_WHY_POLICY,
	};
	struct driver d;
	struct rig r;
	unsigned tries;

	RIG_EACH(r)
		for (unsigned waits = 0; waits < 2; waits++)
			for (unsigned i = 0; i < sizeof(why); i++) {
				uint64_t before = rig_stats(&r).retries[why[i]], faults = rig_stats(&r).faults;
				vmf_va at = driver_open(&d, &r);
				struct vmf_result result;

				d.why = why[i];
				d.mode = waits ? NEVER : NO_WAIT;
				result = insist(&r, at, &tries);
				CHECK_EQ(result.code, why[i] == VMF_WHY_RESOURCE ? VMF_OOM : VMF_SIGBUS);
				CHECK_EQ(result.why, why[i]);
				CHECK_EQ(d.asked, tries);
				CHECK_EQ(rig_stats(&r).retries[why[i]] - before, tries - 1);
				CHECK_EQ(rig_stats(&r).faults - faults, 1);
				/* And it was not the page's fault. */
				d.open = true;
				CHECK_EQ(rig_byte(&r, at), 1);
				driver_close(&d);
			}
}

static void an_odd_reason_does_no_harm(void)
{
	struct driver d;
	struct rig r;
	unsigned tries;
	vmf_va at;

	RIG_EACH(r) {
		at = driver_open(&d, &r);
		d.mode = NO_WAIT;
		d.why = 250;
		CHECK_EQ(insist(&r, at, &tries).code, VMF_SIGBUS);
		driver_close(&d);
	}
}

/* -------------------------------------------------------------------------------------------- slots */

static void without_a_slot_there_is_a_reason(void)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .protect = true, .ram_pages = RAM, .slots = 1 };
	struct driver d;
	pthread_t t;
	struct rig r;
	struct load l = { .d = &d };

	rig_open_as(&r, &config);
	l.at = driver_open(&d, &r);
	d.open = true;
	CHECK_EQ(rig_byte(&r, l.at + PAGE), 2);
	CHECK(!pthread_create(&t, NULL, load_byte, &l));
	pthread_join(t, NULL);
	CHECK_EQ(l.byte, -VMF_OOM);
	CHECK(rig_stats(&r).retries[VMF_WHY_RESOURCE]);
	CHECK_EQ(rig_byte(&r, l.at), 1);
	driver_close(&d);
	rig_close(&r);
}

/* A thread that ends gives its slot back. */
static void slots_come_back(void)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .protect = true, .ram_pages = RAM, .slots = 2 };
	struct driver d;
	pthread_t t;
	struct rig r;
	struct load l = { .d = &d };

	rig_open_as(&r, &config);
	l.at = driver_open(&d, &r);
	d.open = true;
	for (unsigned i = 0; i < 10; i++) {
		CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
		CHECK(!pthread_create(&t, NULL, load_byte, &l));
		pthread_join(t, NULL);
		CHECK_EQ(l.byte, 1);
	}
	driver_close(&d);
	rig_close(&r);
}

/* --------------------------------------------------------------------------------------------- trace */

struct seen { vmf_va va; unsigned access; struct vmf_result r; uint32_t tries; };
static struct seen seen[8];
static unsigned traced;

static void trace(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r, uint32_t tries)
{
	CHECK(self == seen && space);
	if (traced < 8)
		seen[traced++] = (struct seen){ va, access, r, tries };
}

static void every_try_is_traced(void)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .protect = true, .ram_pages = RAM, .trace = trace, .trace_self = seen,
	};
	struct driver d;
	struct rig r;
	vmf_va at;

	traced = 0;
	rig_open_as(&r, &config);
	at = driver_open(&d, &r);
	d.mode = WAKES_ITSELF;
	CHECK_OK(vmf_sim_store(r.space, at + 5, "x", 1));
	CHECK_EQ(rig_byte(&r, 0), -VMF_SIGSEGV);
	CHECK_EQ(traced, 3);
	CHECK(seen[0].va == at + 5 && seen[0].access == VMF_W);
	CHECK(seen[0].r.code == VMF_RETRY && seen[0].r.why == VMF_WHY_IO);
	CHECK(seen[1].va == at + 5 && seen[1].r.code == VMF_OK && seen[1].tries == 1);
	CHECK(seen[2].va == 0 && seen[2].access == VMF_R && seen[2].r.code == VMF_SIGSEGV);
	driver_close(&d);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(a_ticket_waits_for_its_object),
	VMTEST(no_wake_is_lost),
	VMTEST(a_ticket_says_when_it_is_ready),
	VMTEST(without_a_wait_object_it_waits_a_while),
	VMTEST(a_ticket_keeps_the_driver),
	VMTEST(two_victims_of_one_page),
	VMTEST(a_signal_interrupts_a_wait),
	VMTEST(an_interrupted_wait_says_so),
	VMTEST(every_reason_is_bounded_and_counted),
	VMTEST(an_odd_reason_does_no_harm),
	VMTEST(without_a_slot_there_is_a_reason),
	VMTEST(slots_come_back),
	VMTEST(every_try_is_traced),
};
VMTEST_MAIN(tests, 20)
