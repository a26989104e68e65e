/* SPDX-License-Identifier: MIT
 *
 * Threads: the slot that a thread has in every port, and keeping signals out of it.
 *
 * A thread gets a slot at its first fault and keeps it.  Nobody tells us when it ends: who finds the table full
 * asks the kernel which of the owners still live.  Slots belong to the process, as threads do, so their table is
 * one of the few things here that do.
 */
#include "port.h"
#include "mask.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Thread_local struct vmf__self vmf__me;
static _Atomic int owner[VMF__SLOTS]; /* thread ids; 0: free */
static _Atomic uint32_t searched;     /* below it no slot was free when last looked at */

int vmf__tid(void)
{
	if (!vmf__me.tid)
		vmf__me.tid = (int)syscall(SYS_gettid);
	return vmf__me.tid;
}

void vmf__self_anew(void) { vmf__me = (struct vmf__self){ 0 }; }

void vmf__slots_anew(void)
{
	for (uint32_t i = 0; i < VMF__SLOTS; i++)
		atomic_store(&owner[i], 0);
	atomic_store(&searched, 0);
	vmf__me.slot1 = 0;
}

static bool dead(int tid)
{
	int e = errno;
	bool gone = syscall(SYS_tgkill, getpid(), tid, 0) && errno == ESRCH;

	errno = e;
	return gone;
}

static bool claim(uint32_t i, int was, int tid)
{
	if (!atomic_compare_exchange_strong(&owner[i], &was, tid))
		return false;
	vmf__me.slot1 = i + 1;
	return true;
}

uint32_t vmf__slot(void *host)
{
	uint32_t from = atomic_load_explicit(&searched, memory_order_relaxed);
	struct vmf__self *me = vmf__self();

	(void)host;
	if (me->slot1)
		return me->slot1 - 1;
	(void)vmf__tid();
	for (uint32_t i = from; i < VMF__SLOTS; i++)
		if (!atomic_load(&owner[i]) && claim(i, 0, me->tid)) {
			atomic_store_explicit(&searched, i, memory_order_relaxed);
			return i;
		}
	/* A thread with our id and without our slot has ended as well: ids are used again. */
	for (uint32_t i = 0; i < VMF__SLOTS; i++) {
		int tid = atomic_load(&owner[i]);

		if ((tid == me->tid || dead(tid)) && claim(i, tid, me->tid))
			return i;
	}
	return VMF_NO_SLOT;
}

static void block(bool traps)
{
	struct vmf__self *me = vmf__self();
	sigset_t set;

	if (me->masked || me->handling || me->blocked++)
		return;
	sigfillset(&set);
	if (!traps) {
		sigdelset(&set, SIGBUS);
		sigdelset(&set, SIGSEGV);
	}
	pthread_sigmask(SIG_SETMASK, &set, &me->saved);
}

void vmf__block(void *host)
{
	(void)host;
	block(true);
}

void vmf__block_most(void) { block(false); }

void vmf__unblock(void *host)
{
	struct vmf__self *me = vmf__self();

	(void)host;
	if (me->masked || me->handling || --me->blocked)
		return;
	pthread_sigmask(SIG_SETMASK, &me->saved, NULL);
}

static long membarrier(int cmd) { return syscall(SYS_membarrier, cmd, 0, 0); }

bool vmf__barrier_there(void)
{
	return !(vmf__mask() & VMF__MASK_MEMBARRIER) && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

void vmf__barrier(void *host)
{
	_Atomic uint32_t never = 0;
	int e = errno;

	(void)host;
	/* It may lack memory (for a mask of CPUs), and nobody may go on without it. */
	while (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && errno == ENOMEM)
		vmf__futex_wait(&never, 0, 1000000);
	errno = e;
}
