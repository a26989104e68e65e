/* SPDX-License-Identifier: MIT
 *
 * The guard of a threaded space: handlers that wait for themselves.
 *
 * A driver runs on a server's thread, and what it touches of its own space somebody else has to resolve.  If it touches
 * its own area, whoever reads the fault finds that out (vmf__guard_own).  If nobody is left to read, the guard does: it
 * sleeps as long as no server works, and else looks ten times a second whether one of them has got any further.  If
 * none has, and each of them waits for a page of this space, or for the handler of one that does, one fault is ended
 * with SIGBUS/POLICY: with poison, or, where the layout is changing and nobody reads that either, with a signal.
 */
#include "local.h"

#include <stdlib.h>

#define TICK_NS 100000000u
#define FAULTS 256u

/* Of a server; written by it alone. */
struct doing {
	_Atomic uint32_t tid, slot;
	_Atomic uint32_t batch; /* odd: in one */
	_Atomic bool draining;
};
struct vmf__guard {
	struct vmf__local *local;
	pthread_t thread;
	_Atomic uint32_t stop, dozing;
	struct doing doing[VMF__SERVERS];
	uint32_t seen[VMF__SERVERS]; /* of batch, a tick ago */
	bool waits[VMF__SERVERS];    /* for a page of this space */
	struct vmf_trap trap[FAULTS];
	unsigned n;
};

/* ------------------------------------------------------------------------------------ what servers say */

void vmf__guard_server(struct vmf__local *local, unsigned i)
{
	struct vmf__guard *g = local->guard;

	if (!g)
		return;
	atomic_store(&g->doing[i].slot, vmf__slot(local->port));
	atomic_store(&g->doing[i].tid, (uint32_t)vmf__tid());
}

void vmf__guard_batch(struct vmf__local *local, unsigned i, bool begins)
{
	struct vmf__guard *g = local->guard;

	if (!g)
		return;
	atomic_fetch_add(&g->doing[i].batch, 1);
	if (begins && atomic_load(&g->dozing) && atomic_exchange(&g->dozing, 0))
		vmf__futex_wake(&g->dozing, 1);
}

void vmf__guard_draining(struct vmf__local *local, unsigned i, bool yes)
{
	if (local->guard)
		atomic_store_explicit(&local->guard->doing[i].draining, yes, memory_order_release);
}

/* The server with that thread id, or -1. */
static int server_of(const struct vmf__guard *g, uint32_t tid)
{
	for (uint32_t i = 0; tid && i < g->local->threads; i++)
		if (atomic_load_explicit(&g->doing[i].tid, memory_order_relaxed) == tid)
			return (int)i;
	return -1;
}

bool vmf__guard_serves(const struct vmf__local *local, const struct vmf_trap *trap)
{
	return local->guard && server_of(local->guard, trap->thread) >= 0;
}

bool vmf__guard_own(const struct vmf__local *local, const struct vmf_trap *trap)
{
	int i = local->guard ? server_of(local->guard, trap->thread) : -1;

	return i >= 0 && vmf_slot_holds(local->space, atomic_load(&local->guard->doing[i].slot), trap->va);
}

/* -------------------------------------------------------------------------------------------- looking */

static bool working(const struct vmf__guard *g)
{
	for (uint32_t i = 0; i < g->local->threads; i++)
		if (atomic_load(&g->doing[i].batch) & 1)
			return true;
	return false;
}

/* Are all of them where they were a tick ago, in the middle of something? */
static bool all_stuck(struct vmf__guard *g)
{
	bool stuck = true;

	for (uint32_t i = 0; i < g->local->threads; i++) {
		uint32_t batch = atomic_load(&g->doing[i].batch);

		stuck = stuck && batch & 1 && batch == g->seen[i];
		g->seen[i] = batch;
	}
	return stuck;
}

static void steal(struct vmf__guard *g)
{
	struct uffd_msg m;

	for (uint32_t i = 0; i < VMF__SERVERS; i++)
		g->waits[i] = false;
	for (g->n = 0; g->n < FAULTS && vmf__events_steal(g->local, &m); g->n++) {
		int i = server_of(g, m.arg.pagefault.feat.ptid);

		g->trap[g->n] = (struct vmf_trap){ .va = (uintptr_t)m.arg.pagefault.address,
						   .flags = m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP ?
							    VMF_TRAP_WP : 0,
						   .thread = m.arg.pagefault.feat.ptid };
		if (i >= 0)
			g->waits[i] = true;
	}
}

static bool all_wait(const struct vmf__guard *g)
{
	for (uint32_t i = 0; i < g->local->threads; i++)
		if (!g->waits[i] && !atomic_load_explicit(&g->doing[i].draining, memory_order_acquire))
			return false;
	return true;
}

/* Who is not refused faults again, and is read by whoever is free then. */
static void look(struct vmf__guard *g)
{
	const struct vmf_result refused = { .code = VMF_SIGBUS, .why = VMF_WHY_POLICY };
	bool deadlock;

	steal(g);
	deadlock = all_wait(g);
	for (unsigned i = 0; i < g->n; i++) {
		const struct vmf_trap *t = &g->trap[i];

		if (deadlock && server_of(g, t->thread) >= 0) {
			vmf__mistaken(g->local->port, "a driver's mistake: all handlers wait for memory of their own space");
			vmf__fault_failed(g->local, t, refused);
			deadlock = false;
		} else {
			vmf__fault_again(g->local, t->va & ~(uintptr_t)(VMF__PAGE - 1));
		}
	}
}

static void doze(struct vmf__guard *g)
{
	atomic_store(&g->dozing, 1);
	if (!working(g) && !atomic_load(&g->stop))
		vmf__futex_wait(&g->dozing, 1, 0);
	atomic_store(&g->dozing, 0);
}

static void *guard(void *arg)
{
	struct vmf__guard *g = arg;

	pthread_setname_np(pthread_self(), "vmfault-guard");
	while (!atomic_load(&g->stop)) {
		if (!working(g))
			doze(g);
		vmf__futex_wait(&g->stop, 0, TICK_NS);
		if (!atomic_load(&g->stop) && all_stuck(g))
			look(g);
	}
	return NULL;
}

/* --------------------------------------------------------------------------------------- start and stop */

int vmf__guard_start(struct vmf__local *local)
{
	struct vmf__guard *g;
	int err;

	if (local->mode != VMF_THREADED || !local->threads)
		return 0;
	g = vmf__memory_take(&local->port->memory, sizeof(*g));
	if (!g)
		return -VMF_ENOMEM;
	g->local = local;
	local->guard = g;
	vmf__block_most();
	err = pthread_create(&g->thread, NULL, guard, g);
	vmf__unblock(NULL);
	if (!err)
		return 0;
	local->guard = NULL;
	vmf__memory_give(&local->port->memory, g, sizeof(*g));
	return -VMF_ENOMEM;
}

/* => the servers have ended */
void vmf__guard_stop(struct vmf__local *local)
{
	struct vmf__guard *g = local->guard;

	if (!g)
		return;
	atomic_store(&g->stop, 1);
	atomic_store(&g->dozing, 0);
	vmf__futex_wake(&g->stop, 1);
	vmf__futex_wake(&g->dozing, 1);
	pthread_join(g->thread, NULL);
	local->guard = NULL;
	vmf__memory_give(&local->port->memory, g, sizeof(*g));
}
