/* SPDX-License-Identifier: MIT
 *
 * Who waits, and who must not: faults a second of victims whose pages an adversary evicts for ever, with tickets that
 * pin what they waited for, and with ones that are thrown away at each try; and how often a thread can map and unmap
 * while another one of its space waits for a pager that takes 10 ms.
 *
 *	bench-slow [--ms N]     how long each figure is measured; 1000 unless told
 */
#include "touch.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vmfault/linux.h>
#include <vmfault/sim.h>

#define VICTIMS 2u         /* each has a page */
#define LATENCY_NS 10000000 /* of the slow pager */
#define LONG (1u << 20)    /* pages of its object: no page is asked for twice */

static unsigned ms = 1000;

static void must(const char *what, int err)
{
	if (err)
		walk_die(what, err);
}

static void sleep_ns(long ns)
{
	const struct timespec t = { ns / 1000000000, ns % 1000000000 };

	(void)nanosleep(&t, NULL);
}

/* --------------------------------------------------------------------------- a backing with a thread of its own */

struct pager {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	struct vmf_io *queue[64];
	unsigned n;
	bool stop;
	long ns; /* a read takes */
	uint64_t bytes;
};

static int pager_start(void *self, struct vmf_io *io)
{
	struct pager *p = self;
	int err = 0;

	pthread_mutex_lock(&p->lock);
	if (p->n == 64)
		err = 5;
	else
		p->queue[p->n++] = io;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return err;
}

static int pager_length(void *self, uint64_t *bytes)
{
	*bytes = ((struct pager *)self)->bytes;
	return 0;
}

static void *pager_run(void *self)
{
	struct pager *p = self;

	pthread_mutex_lock(&p->lock);
	while (p->n || !p->stop) {
		struct vmf_io *io;

		if (!p->n) {
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		io = p->queue[0];
		memmove(p->queue, p->queue + 1, --p->n * sizeof(p->queue[0]));
		pthread_mutex_unlock(&p->lock);
		if (p->ns)
			sleep_ns(p->ns);
		for (uint32_t i = 0; i < io->n; i++)
			memset(vmf_io_bytes(io, i, NULL), 7, PAGE);
		vmf_io_done(io, io->n, 0);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static struct vmf_object *pager_open(struct pager *p, struct vmf_port *port, uint64_t pages, long ns)
{
	static const struct vmf_backing_ops ops = { .size = sizeof(ops), .start = pager_start, .length = pager_length };
	const struct vmf_backed backed = { .size = sizeof(backed), .ops = &ops, .self = p };
	struct vmf_object *o;

	*p = (struct pager){ .ns = ns, .bytes = pages * PAGE };
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	must("pthread_create", pthread_create(&p->thread, NULL, pager_run, p));
	must("vmf_object_backed", vmf_object_backed(port, &o, &backed));
	return o;
}

/* Nobody faults any more; what is in flight ends. */
static void pager_stop(struct pager *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
}

static vmf_va map(struct vmf_space *space, struct vmf_object *o, uint64_t pages)
{
	const struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = pages, .prot = VMF_R | VMF_W };
	vmf_va at;

	must("vmf_map", vmf_map(space, o, &m, &at));
	return at;
}

/* ------------------------------------------------------------------------------------------- the adversary */

static struct {
	struct vmf_space *space;
	struct vmf_object *object;
	vmf_va at;
	bool pinned;
	atomic_bool stop;
	atomic_ulong faults, tries, evicted, rounds;
} duel;

static void *evict(void *arg)
{
	(void)arg;
	while (!duel.stop) {
		duel.evicted += vmf_reclaim(duel.object, 0, VICTIMS);
		duel.rounds++;
		sched_yield();
	}
	return NULL;
}

/* It is quicker than its victims: between a wait and the next try it has been everywhere. */
static void let_it_evict(void)
{
	unsigned long begin = duel.rounds;

	while (duel.rounds < begin + 2 && !duel.stop)
		sched_yield();
}

/* One fault to its end, unless the time is over.  Did it have to be read? */
static bool fault(vmf_va va)
{
	const struct vmf_trap trap = { .va = va, .access = VMF_R };
	struct vmf_ticket ticket = { 0 };
	struct vmf_result r;
	unsigned tries = 0;

	while ((r = vmf_handle(duel.space, &trap, &ticket)).code == VMF_RETRY) {
		duel.tries++;
		tries++;
		(void)vmf_ticket_wait(duel.space, &ticket, false);
		if (!duel.pinned || duel.stop) {
			vmf_ticket_drop(duel.space, &ticket);
			ticket = (struct vmf_ticket){ 0 };
		}
		if (duel.stop)
			return false;
		let_it_evict();
	}
	if (r.code != VMF_OK)
		walk_die("a victim", VMF_EIO);
	return r.flags & VMF_MAJOR || tries;
}

/* What it has read is taken away again; a fault that finds the page there does not count. */
static void *be_evicted(void *arg)
{
	vmf_pgoff page = (uintptr_t)arg;

	while (!duel.stop) {
		let_it_evict();
		duel.faults += fault(duel.at + (vmf_va)page * PAGE);
	}
	return NULL;
}

static void duel_for(bool pinned)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_ADDRESS, .protect = true };
	pthread_t thread[VICTIMS + 1];
	struct vmf_sim *sim;
	struct pager pager;

	must("vmf_sim_open", vmf_sim_open(&sim, &config));
	must("vmf_sim_space", vmf_sim_space(sim, &duel.space));
	duel.object = pager_open(&pager, vmf_sim_port(sim), VICTIMS, 0);
	duel.at = map(duel.space, duel.object, VICTIMS);
	duel.pinned = pinned;
	duel.stop = false;
	duel.faults = duel.tries = duel.evicted = 0;
	must("pthread_create", pthread_create(&thread[VICTIMS], NULL, evict, NULL));
	for (uintptr_t i = 0; i < VICTIMS; i++)
		must("pthread_create", pthread_create(&thread[i], NULL, be_evicted, (void *)i));
	sleep_ns(ms * 1000000L);
	duel.stop = true;
	for (unsigned i = 0; i <= VICTIMS; i++)
		pthread_join(thread[i], NULL);
	printf("  %-28s %10.0f faults/s %10.2f tries a fault %12.0f evictions/s\n",
		pinned ? "tickets that pin" : "each try from the start", duel.faults * 1000.0 / ms,
		duel.faults ? (double)duel.tries / (double)duel.faults : 0.0, duel.evicted * 1000.0 / ms);
	vmf_object_put(duel.object);
	must("vmf_sim_space_close", vmf_sim_space_close(duel.space));
	pager_stop(&pager);
	vmf_sim_close(sim);
}

/* ------------------------------------------------------------------------------------------ a slow pager */

struct waiter { struct vmf_space *space; vmf_va at; bool real; atomic_bool stop; atomic_ulong waits; };

static void *wait_for_it(void *self)
{
	struct waiter *w = self;

	for (uint32_t i = 0; !w->stop; i++) {
		vmf_va va = w->at + (vmf_va)i * PAGE;
		char c;

		if (w->real)
			c = *(volatile char *)va;
		else if (vmf_sim_load(w->space, va, &c, 1).code != VMF_OK)
			walk_die("a waiter", VMF_EIO);
		if (c != 7)
			walk_die("a waiter reads something else", VMF_EIO);
		w->waits++;
	}
	return NULL;
}

/* How many times a second an area of 16 pages can be mapped and unmapped. */
static double maps(struct vmf_space *space, struct vmf_object *o)
{
	struct timespec begin, now;
	double ns = 0;
	unsigned n;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (n = 0; ns < ms * 1e6; n++) {
		must("vmf_unmap", vmf_unmap(space, map(space, o, 16), 16));
		clock_gettime(CLOCK_MONOTONIC, &now);
		ns = (double)(now.tv_sec - begin.tv_sec) * 1e9 + (double)(now.tv_nsec - begin.tv_nsec);
	}
	return n * 1e9 / ns;
}

static void slow_pager(const char *name, struct vmf_port *port, struct vmf_space *space, bool real)
{
	static const struct vmf_ops nothing = { .size = sizeof(nothing) };
	struct waiter w = { .space = space, .real = real };
	struct vmf_object *zeroes, *slow;
	double without, with;
	struct pager pager;
	pthread_t thread;

	must("vmf_object_create", vmf_object_create(port, &zeroes, &nothing, NULL, 16));
	slow = pager_open(&pager, port, LONG, LATENCY_NS);
	w.at = map(space, slow, LONG);
	without = maps(space, zeroes);
	must("pthread_create", pthread_create(&thread, NULL, wait_for_it, &w));
	with = maps(space, zeroes);
	w.stop = true;
	pthread_join(thread, NULL);
	printf("  %-28s %10.0f without %10.0f with   %5.2f   (%lu waits)\n", name, without, with, with / without, w.waits);
	must("vmf_unmap", vmf_unmap(space, w.at, LONG));
	vmf_object_put(slow);
	vmf_object_put(zeroes);
	pager_stop(&pager);
}

static void slow_simulated(void)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_OFFSET, .protect = true };
	struct vmf_space *space;
	struct vmf_sim *sim;

	must("vmf_sim_open", vmf_sim_open(&sim, &config));
	must("vmf_sim_space", vmf_sim_space(sim, &space));
	slow_pager("simulated", vmf_sim_port(sim), space, false);
	must("vmf_sim_space_close", vmf_sim_space_close(space));
	vmf_sim_close(sim);
}

static void slow_linux(unsigned mode)
{
	const struct vmf_linux_space config = { .size = sizeof(config), .mode = mode };
	struct vmf_space *space;
	struct vmf_port *port;

	must("vmf_linux_open", vmf_linux_open(&port, NULL));
	must("vmf_linux_space", vmf_linux_space(port, &space, &config));
	slow_pager(mode == VMF_THREADED ? "Linux, threaded" : "Linux, in context", port, space, true);
	vmf_linux_space_close(space);
	vmf_linux_close(port);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--ms") && atoi(argv[2]) > 0)
		ms = (unsigned)atoi(argv[2]);
	else if (argc > 1) {
		fputs("usage: bench-slow [--ms N]\n", stderr);
		return 2;
	}
	printf("two victims, and one who evicts for ever (simulated)\n");
	duel_for(true);
	duel_for(false);
	printf("maps and unmaps a second, while another thread waits for a pager of 10 ms\n");
	slow_simulated();
	slow_linux(VMF_THREADED);
	slow_linux(VMF_IN_CONTEXT);
	return 0;
}
