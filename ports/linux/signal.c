/* SPDX-License-Identifier: MIT
 *
 * The handler of SIGBUS: resolves faults of spaces in context, absent raw pages of every space, and poisoned pages
 * that are touched again; hands on what is not ours, and what cannot be had.
 *
 * It runs with every signal blocked but SIGBUS itself (a driver may touch another area; the core finds out if it is
 * its own), on the alternate stack if the thread has one, and keeps errno.
 *
 * Handing on, to the handler that was there before:
 *   - SA_SIGINFO or not, SA_NODEFER, SA_RESETHAND and its mask are honoured: it runs with what was blocked at the
 *     fault, its own mask, and SIGBUS unless SA_NODEFER; it may siglongjmp() away.  It runs on the stack that we
 *     run on, so a handler without SA_ONSTACK may find itself on the alternate one.
 *   - If there was none (or SIG_IGN, which the kernel does not accept of a fault either), the process dies by
 *     SIGBUS at the instruction, with the address: the default action is put back and the very same signal queued
 *     again.
 */
#include "local.h"
#include "cpu.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Written under the registry's lock while no fault can be ours; the flag of a handler that is to run once is
 * swapped. */
static struct sigaction before;
static _Atomic bool before_used_up;

/* ------------------------------------------------------------------------------------------- handing on */

static void queue_again(int sig, siginfo_t *si)
{
	(void)syscall(SYS_rt_tgsigqueueinfo, getpid(), (int)syscall(SYS_gettid), sig, si);
}

/* It stays pending until we return, and is then delivered at the instruction that faulted. */
static void die(int sig, siginfo_t *si)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(sig, &sa, NULL);
	queue_again(sig, si);
}

static void chain(int sig, siginfo_t *si, ucontext_t *uc)
{
	bool over = before.sa_flags & (int)SA_RESETHAND && atomic_exchange(&before_used_up, true);
	sigset_t mask = before.sa_mask;

	if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN || over) {
		/* What somebody sent is ignored as before; what the CPU raised never is. */
		if (before.sa_handler != SIG_IGN || si->si_code > 0)
			die(sig, si);
		return;
	}
	if (!(before.sa_flags & SA_NODEFER))
		sigaddset(&mask, sig);
	sigorset(&mask, &mask, &uc->uc_sigmask);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(sig, si, uc);
	else
		before.sa_handler(sig);
}

/* The kernel's mapping allows it and the area does not: the application gets what the kernel would have said. */
static void segv(const siginfo_t *bus, ucontext_t *uc)
{
	siginfo_t si = { .si_signo = SIGSEGV, .si_code = SEGV_ACCERR };

	si.si_addr = bus->si_addr;
	if (sigismember(&uc->uc_sigmask, SIGSEGV) == 1) {
		sigdelset(&uc->uc_sigmask, SIGSEGV);
		die(SIGSEGV, &si);
		return;
	}
	queue_again(SIGSEGV, &si);
}

/* --------------------------------------------------------------------------------------------- finding */

static bool settled_everywhere(void)
{
	struct vmf__local *l;
	bool pending = false;

	for (uint32_t i = 0; (l = vmf__local_next(&i));)
		pending |= vmf__events_pending(l);
	for (uint32_t i = 0; (l = vmf__local_next(&i));) {
		vmf__gate_share(&l->gate);
		pending |= atomic_load(&l->changing) != 0;
		vmf__gate_unshare(&l->gate);
	}
	return !pending;
}

/* A window that was moved faults at its new address before the event is read; so a miss is believed only when all
 * that had happened before it is known. */
static bool find(uintptr_t va, struct vmf__window *w)
{
	bool settled = false;

	while (!vmf__window_find(va, w)) {
		if (settled)
			return false;
		settled = settled_everywhere();
		if (!settled)
			(void)nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	}
	return true;
}

/* --------------------------------------------------------------------------------------------- handling */

static struct vmf_result resolve(const struct vmf__window *w, const siginfo_t *si, const ucontext_t *uc)
{
	struct vmf_trap trap = { .va = (uintptr_t)si->si_addr, .thread = (uint32_t)vmf__self()->tid };
	struct vmf_result r = vmf__told(w, trap.va);

	if (r.code != VMF_OK)
		return r;
	vmf__cpu_access(uc, &trap);
	return vmf__resolve(w->local, &trap, true);
}

static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	struct vmf__self *me = vmf__self();
	const sigset_t *outside = me->outside;
	struct vmf_result r = { .code = VMF_SIGBUS };
	ucontext_t *uc = context;
	int e = errno;
	struct vmf__window w;

	if (si->si_code == VMF__SI_FAILED)
		si->si_code = BUS_ADRERR;
	me->handling++;
	me->outside = &uc->uc_sigmask;
	/* BUS_MCEERR_AO tells of memory that nobody has touched yet. */
	if (si->si_code > 0 && si->si_code != BUS_MCEERR_AO && find((uintptr_t)si->si_addr, &w))
		r = resolve(&w, si, uc);
	me->outside = outside;
	me->handling--;
	if (r.code == VMF_SIGSEGV && r.why == VMF_WHY_PROT)
		segv(si, uc);
	else if (r.code != VMF_OK && r.code != VMF_RETRY)
		chain(sig, si, uc);
	errno = e;
}

void vmf__signal_install(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sa.sa_sigaction = on_sigbus;
	sigfillset(&sa.sa_mask);
	sigdelset(&sa.sa_mask, SIGBUS);
	atomic_store(&before_used_up, false);
	sigaction(SIGBUS, NULL, &before);
	sigaction(SIGBUS, &sa, NULL);
}

/* Only if it is still ours: whoever installed one since may chain to us. */
void vmf__signal_remove(void)
{
	struct sigaction now;

	sigaction(SIGBUS, NULL, &now);
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus)
		sigaction(SIGBUS, &before, NULL);
}
