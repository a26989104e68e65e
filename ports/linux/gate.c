/* SPDX-License-Identifier: MIT
 *
 * The gate between those who fill pages (many, shared) and those who read events (one, exclusively).
 *
 * word: how many are in, a bit for somebody who closes or has closed it, and a bit for somebody who sleeps until it
 * opens: opening is a system call only if there is one.  Who closes goes first, so that a storm of faults cannot
 * keep events from being read.  Nobody waits here for longer than a few ioctls take.
 */
#include "port.h"

#include <limits.h>

#define CLOSED 0x80000000u
#define WAITED 0x40000000u

/* Sleeps until a gate that was seen closed is opened; *w: what the word is then, or a newer look at it. */
static void wait_open(struct vmf__gate *g, uint32_t *w)
{
	if (*w & WAITED || atomic_compare_exchange_strong(&g->word, w, *w | WAITED)) {
		vmf__futex_wait(&g->word, *w | WAITED, 0);
		*w = atomic_load(&g->word);
	}
}

static void leave(struct vmf__gate *g)
{
	if ((atomic_fetch_sub(&g->word, 1) & ~WAITED) == (CLOSED | 1))
		vmf__futex_wake(&g->word, INT_MAX);
}

/* Adding first, and going back if it was closed: among many who share, a compare-and-exchange fails more often than the
 * gate is closed. */
void vmf__gate_share(struct vmf__gate *g)
{
	vmf__order(vmf_rank_take(g, VMF__RANK_GATE));
	while (atomic_fetch_add(&g->word, 1) & CLOSED) {
		uint32_t w;

		leave(g);
		w = atomic_load(&g->word);
		while (w & CLOSED)
			wait_open(g, &w);
	}
}

void vmf__gate_unshare(struct vmf__gate *g)
{
	vmf__order(vmf_rank_drop(g));
	leave(g);
}

void vmf__gate_close(struct vmf__gate *g)
{
	uint32_t w = atomic_load(&g->word);

	vmf__order(vmf_rank_take(g, VMF__RANK_GATE));
	for (;;) {
		if (w & CLOSED)
			wait_open(g, &w);
		else if (atomic_compare_exchange_weak(&g->word, &w, w | CLOSED))
			break;
	}
	while (((w = atomic_load(&g->word)) & ~WAITED) != CLOSED)
		vmf__futex_wait(&g->word, w, 0);
}

void vmf__gate_open(struct vmf__gate *g)
{
	vmf__order(vmf_rank_drop(g));
	if (atomic_fetch_and(&g->word, ~(CLOSED | WAITED)) & WAITED)
		vmf__futex_wake(&g->word, INT_MAX);
}
