/* SPDX-License-Identifier: MIT
 *
 * The gate between those who fill pages (many, shared) and those who read events (one, exclusively).
 *
 * word: how many are in, and a bit for somebody who closes or has closed it.  Who closes goes first, so that a storm of faults
 * cannot keep events from being read.  Nobody waits here for longer than a few ioctls take.
 */
#include "port.h"

#include <limits.h>

#define CLOSED 0x80000000u

void vmf__gate_share(struct vmf__gate *g)
{
	uint32_t w = atomic_load_explicit(&g->word, memory_order_relaxed);

	for (;;) {
		if (w & CLOSED) {
			vmf__futex_wait(&g->word, w, 0);
			w = atomic_load(&g->word);
		} else if (atomic_compare_exchange_weak(&g->word, &w, w + 1)) {
			return;
		}
	}
}

void vmf__gate_unshare(struct vmf__gate *g)
{
	if (atomic_fetch_sub(&g->word, 1) == (CLOSED | 1))
		vmf__futex_wake(&g->word, INT_MAX);
}

void vmf__gate_close(struct vmf__gate *g)
{
	uint32_t w = atomic_load(&g->word);

	for (;;) {
		if (w & CLOSED) {
			vmf__futex_wait(&g->word, w, 0);
			w = atomic_load(&g->word);
		} else if (atomic_compare_exchange_weak(&g->word, &w, w | CLOSED)) {
			break;
		}
	}
	while ((w = atomic_load(&g->word)) != CLOSED)
		vmf__futex_wait(&g->word, w, 0);
}

void vmf__gate_open(struct vmf__gate *g)
{
	atomic_store(&g->word, 0);
	vmf__futex_wake(&g->word, INT_MAX);
}
