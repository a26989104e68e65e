/* SPDX-License-Identifier: MIT
 *
 * The handler of SIGBUS: resolves faults of spaces in context, absent raw pages of every space, and poisoned pages
 * that are touched again; hands on what is not ours, and what cannot be had.  And that of SIGSEGV, which is there while
 * a space has trap windows, or forbids pages: resolves their faults, hands on what is not ours and what the area does
 * not allow; what cannot be had becomes a SIGBUS.
 *
 * They run with every signal blocked but these two (a driver may touch another area; the core finds out if it is
 * its own), on the alternate stack if the thread has one, and keep errno.
 *
 * Handing on, to the handler that was there before:
 *   - SA_SIGINFO or not, SA_NODEFER, SA_RESETHAND and its mask are honoured: it runs with what was blocked at the
 *     fault, its own mask, and SIGBUS unless SA_NODEFER; it may siglongjmp() away.  It runs on the stack that we
 *     run on, so a handler without SA_ONSTACK may find itself on the alternate one.
 *   - If there was none (or SIG_IGN, which the kernel does not accept of a fault either), the process dies by
 *     SIGBUS at the instruction, with the address: the default action is put back and the very same signal queued
 *     again.
 */
#include "fork.h"
#include "cpu.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Written under the registry's lock while no fault can be ours; the flag of a handler that is to run once is
 * swapped. */
static struct before {
	struct sigaction sa;
	_Atomic bool used_up;
	/* Ours was left in place once, under somebody's who may hand on to it.  If his is what we hand on to by now, what
	 * he hands on goes to what was there before him. */
	bool left;
	struct sigaction below;
} before_bus, before_segv;

static struct before *before_of(int sig) { return sig == SIGBUS ? &before_bus : &before_segv; }

/* ------------------------------------------------------------------------------------------- handing on */

static void queue_again(int sig, siginfo_t *si)
{
	(void)syscall(SYS_rt_tgsigqueueinfo, getpid(), (int)syscall(SYS_gettid), sig, si);
}

/* It stays pending until we return, and is then delivered at the instruction that faulted. */
static void die(int sig, siginfo_t *si, ucontext_t *uc)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigdelset(&uc->uc_sigmask, sig);
	sigaction(sig, &sa, NULL);
	queue_again(sig, si);
}

/* Whom the kernel calls has everything blocked but the two. */
static bool called_by_hand(int sig)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	return sigismember(&mask, sig) == 1 || sigismember(&mask, SIGUSR1) != 1;
}

static void chain(int sig, siginfo_t *si, ucontext_t *uc)
{
	struct before *b = before_of(sig);
	const struct sigaction *sa = b->left && called_by_hand(sig) ? &b->below : &b->sa;
	bool over = sa->sa_flags & (int)SA_RESETHAND && atomic_exchange(&b->used_up, true);
	sigset_t mask = sa->sa_mask;

	if (sa->sa_handler == SIG_DFL || sa->sa_handler == SIG_IGN || over) {
		/* What somebody sent is ignored as before; what the CPU raised never is. */
		if (sa->sa_handler != SIG_IGN || si->si_code > 0)
			die(sig, si, uc);
		return;
	}
	if (!(sa->sa_flags & SA_NODEFER))
		sigaddset(&mask, sig);
	sigorset(&mask, &mask, &uc->uc_sigmask);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (sa->sa_flags & SA_SIGINFO)
		sa->sa_sigaction(sig, si, uc);
	else
		sa->sa_handler(sig);
}

/* The kernel's mapping allows it and the area does not: the application gets what the kernel would have said. */
static void segv(const siginfo_t *bus, ucontext_t *uc)
{
	siginfo_t si = { .si_signo = SIGSEGV, .si_code = SEGV_ACCERR };

	si.si_addr = bus->si_addr;
	if (sigismember(&uc->uc_sigmask, SIGSEGV) == 1) {
		die(SIGSEGV, &si, uc);
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
	struct vmf_trap trap = { .va = (uintptr_t)si->si_addr, .thread = (uint32_t)vmf__tid() };
	struct vmf_result r = vmf__told(w, trap.va);

	if (r.code != VMF_OK)
		return r;
	(void)vmf__cpu_access(uc, &trap);
	return vmf__resolve(w->local, &trap, true);
}

static struct vmf_result resolve_inherited(const siginfo_t *si, const ucontext_t *uc)
{
	struct vmf_trap trap = { .va = (uintptr_t)si->si_addr };
	struct vmf_result r;

	(void)vmf__cpu_access(uc, &trap);
	return vmf__child_resolve(&trap, true, &r) ? r : (struct vmf_result){ .code = VMF_SIGBUS };
}

/* A thread that is in a handler of ours: what was blocked outside, and outside that. */
static const sigset_t *handler_enter(const ucontext_t *uc)
{
	struct vmf__self *me = vmf__self();
	const sigset_t *outside = me->outside;

	me->handling++;
	me->outside = &uc->uc_sigmask;
	return outside;
}

/* What was sent meanwhile comes now. */
static void handler_leave(const sigset_t *outside)
{
	struct vmf__self *me = vmf__self();
	siginfo_t si;

	me->outside = outside;
	me->handling--;
	atomic_signal_fence(memory_order_seq_cst);
	if (me->handling || !me->late.si_signo)
		return;
	si = me->late;
	me->late.si_signo = 0;
	queue_again(si.si_signo, &si);
}

/* The two are not blocked in our handlers, because what we do may fault.  What somebody sends has to wait: we may hold
 * a lock, and the application's handler may jump away. */
static bool too_early(const siginfo_t *si)
{
	struct vmf__self *me = vmf__self();

	if (!me->handling || si->si_code > 0)
		return false;
	if (!me->late.si_signo)
		me->late = *si;
	return true;
}

/* What somebody sent is for a thread of the application's: ours may hold a lock, and its handler may do anything.  The
 * kernel lets no thread say to another that a signal comes from kill() or tgkill(); from sigqueue() it may. */
static bool pass_on(int sig, siginfo_t *si)
{
	if (!vmf__self()->masked || si->si_code > 0 || si->si_code == VMF__SI_FAILED)
		return false;
	if (si->si_code == SI_USER || si->si_code == SI_TKILL)
		si->si_code = SI_QUEUE;
	(void)syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), sig, si);
	return true;
}

static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	struct vmf_result r = { .code = VMF_SIGBUS };
	ucontext_t *uc = context;
	int e = errno;
	const sigset_t *outside;
	struct vmf__window w;

	if (too_early(si))
		return;
	outside = handler_enter(uc);
	if (si->si_code == VMF__SI_FAILED)
		si->si_code = BUS_ADRERR;
	/* BUS_MCEERR_AO tells of memory that nobody has touched yet. */
	if (si->si_code <= 0 || si->si_code == BUS_MCEERR_AO)
		;
	else if (find((uintptr_t)si->si_addr, &w))
		r = resolve(&w, si, uc);
	else if (vmf__child_inherits())
		r = resolve_inherited(si, uc);
	handler_leave(outside);
	if (pass_on(sig, si))
		;
	else if (r.code == VMF_SIGSEGV && r.why == VMF_WHY_PROT)
		segv(si, uc);
	else if (r.code != VMF_OK && r.code != VMF_RETRY)
		chain(sig, si, uc);
	errno = e;
}

/* ----------------------------------------------------------------------------------------- trap windows */

/* Where the context does not say what the access was (vmf__cpu_access()): a read, until the same instruction has
 * faulted twice on a page that could be read.  Once is what happens when another thread has shown it meanwhile. */
static void guess(const struct vmf__window *w, const ucontext_t *uc, const struct vmf_entry *e, struct vmf_trap *trap)
{
	uintptr_t pc = vmf__cpu_pc(uc), page = trap->va & ~(uintptr_t)(VMF__PAGE - 1);
	struct vmf__self *me = vmf__self();

	if (!(e->prot & VMF_R) || me->guess_pc != pc || me->guess_page != page) {
		me->guess_pc = pc;
		me->guess_page = page;
		me->guess_count = 0;
	} else {
		me->guess_count++;
	}
	if ((pc & ~(uintptr_t)(VMF__PAGE - 1)) == page && !(e->prot & VMF_X))
		trap->access = VMF_X;
	else
		trap->access = me->guess_count > 1 || !(w->prot & VMF_R) ? VMF_W : VMF_R;
}

/* Whether an entry was there is known to us, and not to the CPU, which does not find it before its first use. */
static struct vmf_result resolve_trap(const struct vmf__window *w, const siginfo_t *si, const ucontext_t *uc)
{
	struct vmf_trap trap = { .va = (uintptr_t)si->si_addr, .thread = (uint32_t)vmf__tid() };
	struct vmf_entry e = { 0 };

	vmf__trap_query(w->local, trap.va, &e);
	if (!vmf__cpu_access(uc, &trap) || w->local->port->guesses)
		guess(w, uc, &e, &trap);
	trap.flags = trap.access == VMF_W && e.prot & VMF_R ? VMF_TRAP_WP : 0;
	if (vmf__trap_again(w->local, trap.va, trap.access))
		return (struct vmf_result){ 0 };
	return vmf__resolve(w->local, &trap, true);
}

static struct vmf_result resolve_forbidden(const struct vmf__window *w, const siginfo_t *si, const ucontext_t *uc)
{
	struct vmf_trap trap = { .va = (uintptr_t)si->si_addr };

	(void)vmf__cpu_access(uc, &trap);
	if (w->extent->huge && vmf__huge_again(w, trap.access))
		return (struct vmf_result){ .code = VMF_OK };
	if (!w->local->forbids || w->kind == VMF__W_RAW)
		return (struct vmf_result){ .code = VMF_SIGSEGV };
	return vmf__forbidden(w, &trap);
}

/* The application may have unmapped a window that nobody tells us of. */
static bool mapped(const siginfo_t *si)
{
	uintptr_t page = (uintptr_t)si->si_addr & ~(uintptr_t)(VMF__PAGE - 1);
	unsigned char in;

	return si->si_code == SEGV_ACCERR || !mincore((void *)page, VMF__PAGE, &in);
}

static void on_sigsegv(int sig, siginfo_t *si, void *context)
{
	struct vmf_result r = { .code = VMF_SIGSEGV };
	ucontext_t *uc = context;
	int e = errno;
	const sigset_t *outside;
	struct vmf__window w;

	if (too_early(si))
		return;
	outside = handler_enter(uc);
	if (si->si_code > 0 && vmf__window_find((uintptr_t)si->si_addr, &w) && mapped(si))
		r = w.trap ? resolve_trap(&w, si, uc) : resolve_forbidden(&w, si, uc);
	handler_leave(outside);
	if (pass_on(sig, si)) {
		;
	} else if (r.code == VMF_SIGSEGV) {
		chain(sig, si, uc);
	} else if (r.code != VMF_OK && r.code != VMF_RETRY) {
		si->si_signo = SIGBUS;
		si->si_code = BUS_ADRERR;
		chain(SIGBUS, si, uc);
	}
	errno = e;
}

/* -------------------------------------------------------------------------------------------- installing */

typedef void handler(int, siginfo_t *, void *);

static handler *handler_of(int sig) { return sig == SIGBUS ? on_sigbus : on_sigsegv; }

void vmf__signal_install(int sig)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	struct before *b = before_of(sig);
	struct sigaction now;

	sa.sa_sigaction = handler_of(sig);
	sigfillset(&sa.sa_mask);
	sigdelset(&sa.sa_mask, SIGBUS);
	sigdelset(&sa.sa_mask, SIGSEGV);
	sigaction(sig, NULL, &now);
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == handler_of(sig))
		return; /* a child has it from its parent */
	atomic_store(&b->used_up, false);
	b->sa = now;
	sigaction(sig, &sa, NULL);
}

/* Only if it is still ours: whoever installed one since may chain to us. */
void vmf__signal_remove(int sig)
{
	struct before *b = before_of(sig);
	struct sigaction now;

	sigaction(sig, NULL, &now);
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == handler_of(sig)) {
		sigaction(sig, &b->sa, NULL);
	} else if (!b->left) {
		b->below = b->sa;
		b->left = true;
	}
}
