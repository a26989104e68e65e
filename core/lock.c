/* SPDX-License-Identifier: MIT
 *
 * Short locks: a word that is 0 free, 1 taken, 2 taken and somebody sleeps.
 */
#include "core.h"

enum { FREE, TAKEN, WAITED };

static void lock_wait(struct vmf_port *port, struct vmf_lock *lock)
{
	for (int spins = 0; spins < 64; spins++) {
		uint32_t want = FREE;

		if (vmf__peek(&lock->word) == FREE && vmf__cas(&lock->word, &want, TAKEN))
			return;
	}
	while (vmf__swap(&lock->word, WAITED) != FREE)
		(void)port->host->wait(port->self, &lock->word, WAITED, 0, false);
}

void vmf__lock_take(struct vmf_port *port, struct vmf_lock *lock)
{
	uint32_t want = FREE;

	if (port->host->block)
		port->host->block(port->self);
	vmf__check(port, vmf_rank_take(lock, lock->rank));
	if (!vmf__cas(&lock->word, &want, TAKEN))
		lock_wait(port, lock);
}

void vmf__lock_drop(struct vmf_port *port, struct vmf_lock *lock)
{
	if (vmf__swap(&lock->word, FREE) == WAITED)
		port->host->wake(port->self, &lock->word);
	vmf__check(port, vmf_rank_drop(lock));
	if (port->host->unblock)
		port->host->unblock(port->self);
}

void vmf_lock_take(struct vmf_port *port, struct vmf_lock *lock)
{
	if (port && lock)
		vmf__lock_take(port, lock);
}

void vmf_lock_drop(struct vmf_port *port, struct vmf_lock *lock)
{
	if (port && lock)
		vmf__lock_drop(port, lock);
}
