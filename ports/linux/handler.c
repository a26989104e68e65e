/* SPDX-License-Identifier: MIT
 *
 * Servers: the threads that read a space's userfaultfds.  Every space has at least one, because what the
 * application does to windows is an event that somebody must read; in a threaded space they resolve the faults, too.
 *
 * A fault that has to wait is parked, with its ticket, in the server that read it: the kernel keeps its thread
 * asleep at no cost.  A fault that fails has its page poisoned, so that its thread gets a real SIGBUS (or EFAULT,
 * in a system call); where the kernel cannot do that (before 6.6) forbid.c does.
 */
#include "local.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH 64u
#define PARKED 1024u
#define WHILE_NS 200000 /* how often to look at what has no wait object */
#define MEANWHILE_NS 30000
#define DODGE 16u /* rounds */

enum { WATCH = 2, LISTENED }; /* 0 and 1: the userfaultfds */

struct parked {
	struct vmf_trap trap;
	struct vmf_ticket ticket;
	uint64_t layout_since;
};
struct vmf__server {
	struct vmf__local *local;
	struct vmf__watch *watch;
	_Atomic bool stop;
	pthread_t thread;
	unsigned index, n;
	unsigned dodged;  /* rounds that faults have waited for the layout */
	cpu_set_t cpus;   /* where it may run, and does if not dodging */
	int poll; /* an epoll of both userfaultfds and the watch: a third of a microsecond less than ppoll() */
	struct parked parked[PARKED];
};

/* ------------------------------------------------------------------------------------------- the outcome */

void vmf__fault_again(struct vmf__local *local, uintptr_t va)
{
	(void)vmf__uffd_wake(local->fd[VMF__W_SHARED], va, VMF__PAGE);
	(void)vmf__uffd_wake(local->fd[VMF__W_COPY], va, VMF__PAGE);
}

static void send_sigbus(const struct vmf_trap *trap)
{
	siginfo_t si = { .si_signo = SIGBUS, .si_code = VMF__SI_FAILED };

	si.si_addr = (void *)trap->va;
	(void)syscall(SYS_rt_tgsigqueueinfo, getpid(), (int)trap->thread, SIGBUS, &si);
}

/* Where nobody can say, an entry that has come meanwhile is forgotten.  => gate closed */
static bool absent(struct vmf__local *local, int fd, uintptr_t page)
{
	bool there;

	if (vmf__resident(local->port, page, 1, false, &there))
		return !there;
	return !vmf__uffd_changing(fd) && !vmf__zap((void *)page, VMF__PAGE);
}

/* A clean entry that was zapped has left a mark, which is in the way of poison.  Behind the gate: nobody may show the
 * page between our look and the taking of the mark, since that would take its write protection. => gate not held */
static long poison_marked(struct vmf__local *local, int fd, uintptr_t page)
{
	long got = -EEXIST;

	vmf__block(NULL);
	vmf__gate_close(&local->gate);
	if (absent(local, fd, page) && !vmf__uffd_wp(fd, page, VMF__PAGE, false))
		got = vmf__uffd_poison(fd, page, VMF__PAGE, 0);
	vmf__gate_open(&local->gate);
	vmf__unblock(NULL);
	return got;
}

static long poison_page(struct vmf__local *local, const struct vmf_trap *trap, const struct vmf__window *w,
			uintptr_t page)
{
	size_t bytes = (size_t)VMF__PAGE << w->order;
	long got = vmf__uffd_poison(local->fd[w->kind], page & ~(uintptr_t)(bytes - 1), bytes, 0);
	bool marked = got == -EEXIST && w->wp && !(trap->flags & VMF_TRAP_WP);

	return marked ? poison_marked(local, local->fd[w->kind], page) : got;
}

/* false: it has to be a signal. */
static bool poison(struct vmf__local *local, const struct vmf_trap *trap, const struct vmf__window *w, uintptr_t page)
{
	bool changing;
	long got;

	if (local->forbids) {
		changing = vmf__forbid(local, page) != 0;
	} else {
		got = poison_page(local, trap, w, page);
		/* It is there, and cannot be made writable: he would fault, and fail, for ever. */
		if (got == -EEXIST && trap->flags & VMF_TRAP_WP)
			return false;
		changing = got == -EAGAIN;
	}
	return !changing || !vmf__guard_serves(local, trap);
}

/* Whoever cannot be poisoned now (the layout is changing, or the page is there) is woken, and faults and fails
 * again; but a server of ours is told by a signal: the layout may be changing until it goes on. */
void vmf__fault_failed(struct vmf__local *local, const struct vmf_trap *trap, struct vmf_result r)
{
	uintptr_t page = trap->va & ~(uintptr_t)(VMF__PAGE - 1);
	struct vmf__window w;

	if (vmf__window_find(page, &w) && w.local == local && w.kind != VMF__W_RAW) {
		vmf__why_put(&local->why, page, r, true);
		if (!poison(local, trap, &w, page))
			send_sigbus(trap);
	}
	vmf__fault_again(local, page);
}

/* Without poison it is a signal, if the page is registered and absent: else COPY minds that, and not the bytes. */
static void disown(struct vmf__local *local, unsigned kind, const struct vmf_trap *trap)
{
	uintptr_t page = trap->va & ~(uintptr_t)(VMF__PAGE - 1);

	if (!local->forbids)
		(void)vmf__uffd_poison(local->fd[kind], page, VMF__PAGE, 0);
	else if (trap->thread && vmf__uffd_copy(local->fd[kind], page, NULL, VMF__PAGE, 0) == -EFAULT)
		send_sigbus(trap);
}

/* No area there, or it does not allow this: the layout or the protection is changing, and when that is done the
 * kernel has its own answer.  Not so fast that this becomes a spin.  What is registered and was never a window (a
 * window that the application has made longer) is nobody's, and SIGBUS. */
static void refuse(struct vmf__local *local, const struct vmf_trap *trap)
{
	uintptr_t page = trap->va & ~(uintptr_t)(VMF__PAGE - 1);
	struct vmf__window w;

	(void)vmf__wait(local->port, NULL, 0, WHILE_NS, false);
	if (!vmf__events_pending(local) && !vmf__window_find(page, &w))
		for (unsigned i = 0; i < 2; i++)
			disown(local, i, trap);
	vmf__fault_again(local, page);
}

/* false: park it */
static bool try(struct vmf__local *local, struct parked *p)
{
	const struct vmf_trap *trap = &p->trap;
	struct vmf_result r = { .code = VMF_SIGBUS, .why = VMF_WHY_POLICY };

	vmf__self()->owes_wake = false;
	if (vmf__guard_own(local, trap))
		vmf__mistaken(local->port, "a driver's mistake: its handler touches memory that its own area shows");
	else
		r = vmf_handle(local->space, trap, &p->ticket);
	switch (r.code) {
	case VMF_OK:
		vmf__why_forget(&local->why, trap->va);
		if (vmf__self()->owes_wake)
			(void)vmf__uffd_wake(local->fd[VMF__W_SHARED], trap->va & ~(uintptr_t)(VMF__PAGE - 1), VMF__PAGE);
		else if (r.flags & VMF_SPURIOUS)
			vmf__fault_again(local, trap->va & ~(uintptr_t)(VMF__PAGE - 1));
		return true;
	case VMF_RETRY:
		vmf__forgive_layout(&p->ticket, &p->layout_since);
		return false;
	case VMF_SIGSEGV:
		refuse(local, trap);
		return true;
	default:
		vmf__fault_failed(local, trap, r);
		return true;
	}
}

/* ----------------------------------------------------------------------------------------------- parking */

/* Between one event and the next the layout stands still for a microsecond, some microseconds after the first was read:
 * who looks whether it does, and then enters, is late. */
static bool try_meanwhile(struct vmf__server *s, struct parked *p)
{
	uint64_t end = vmf__now(NULL) + MEANWHILE_NS;

	do {
		if (try(s->local, p))
			return true;
	} while (vmf__now(NULL) < end);
	return false;
}

static bool layout_awaited(const struct vmf__server *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->parked[i].ticket.why == VMF_WHY_LAYOUT && !s->parked[i].ticket.wait)
			return true;
	return false;
}

/* It stands still only while the thread that changes it runs, and whoever shares its CPU is not running then.  So from
 * time to time on to another CPU, as long as a fault waits for that; and back to all of them. */
static void dodge(struct vmf__server *s)
{
	cpu_set_t others;

	if (!layout_awaited(s)) {
		if (s->dodged >= DODGE && CPU_COUNT(&s->cpus))
			(void)sched_setaffinity(0, sizeof(s->cpus), &s->cpus);
		s->dodged = 0;
		return;
	}
	if (++s->dodged % DODGE)
		return;
	if (s->dodged == DODGE && sched_getaffinity(0, sizeof(s->cpus), &s->cpus))
		CPU_ZERO(&s->cpus);
	others = s->cpus;
	CPU_CLR(sched_getcpu(), &others);
	if (CPU_COUNT(&others))
		(void)sched_setaffinity(0, sizeof(others), &others);
}

/* => ready, so the wait only fills the core's reserves up */
static bool try_again(struct vmf__server *s, struct parked *p)
{
	if (p->ticket.why == VMF_WHY_LAYOUT && !p->ticket.wait)
		return try_meanwhile(s, p);
	(void)vmf_ticket_wait(s->local->space, &p->ticket, false);
	return try(s->local, p);
}

/* Those without a wait object are tried when nothing else is to be done. */
static void retry_ready(struct vmf__server *s, bool all)
{
	for (unsigned i = 0; i < s->n;) {
		struct parked *p = &s->parked[i];

		if (vmf_ticket_ready(&p->ticket) && (all || p->ticket.wait) && try_again(s, p))
			*p = s->parked[--s->n];
		else
			i++;
	}
}

/* What to listen for; *polled: some have nothing to wake us. */
static uint64_t parked_bits(const struct vmf__server *s, bool *polled)
{
	uint64_t bits = 0;

	*polled = false;
	for (unsigned i = 0; i < s->n; i++) {
		if (s->parked[i].ticket.wait)
			bits |= vmf__watch_bit(&s->parked[i].ticket.wait->seq);
		else
			*polled = true;
	}
	return bits;
}

static bool some_ready(const struct vmf__server *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->parked[i].ticket.wait && vmf_ticket_ready(&s->parked[i].ticket))
			return true;
	return false;
}

/* epoll knows milliseconds only (before 5.11). */
static void nap(int fd)
{
	const struct timespec t = { .tv_nsec = WHILE_NS };
	struct pollfd p = { .fd = fd, .events = POLLIN };

	(void)ppoll(&p, 1, &t, NULL);
}

/* Returns which userfaultfds have something to read, a bit for each. */
static unsigned sleep_until_needed(struct vmf__server *s)
{
	struct epoll_event e[LISTENED];
	unsigned ready = 0;
	bool polled, awake;
	int n;

	vmf__watch_arm(s->local->port, s->watch, parked_bits(s, &polled));
	awake = some_ready(s) || atomic_load(&s->stop);
	if (polled && !awake)
		nap(s->poll);
	n = epoll_wait(s->poll, e, LISTENED, polled || awake ? 0 : -1);
	for (int i = 0; i < n; i++)
		ready |= 1u << e[i].data.u32;
	if (ready & 1u << WATCH)
		vmf__watch_clear(s->watch);
	return ready & ~(1u << WATCH);
}

/* --------------------------------------------------------------------------------------------- the batch */

static struct vmf_trap trap_of(const struct uffd_msg *m)
{
	uint64_t flags = m->arg.pagefault.flags;

	return (struct vmf_trap){ .va = (uintptr_t)m->arg.pagefault.address,
				  .access = flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP) ? VMF_W : VMF_R,
				  .flags = flags & UFFD_PAGEFAULT_FLAG_WP ? VMF_TRAP_WP : 0,
				  .thread = m->arg.pagefault.feat.ptid };
}

/* Sorted by address, and one for each page: a write, if there is one, asks for all that a read does.  (No qsort():
 * it may call malloc(), and a thread that faults may be inside that.) */
static unsigned traps_of(const struct uffd_msg *msg, unsigned n, struct vmf_trap *trap)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++) {
		struct vmf_trap t = trap_of(&msg[i]);
		unsigned at = k;

		while (at && trap[at - 1].va >> VMF__SHIFT > t.va >> VMF__SHIFT)
			at--;
		if (at && trap[at - 1].va >> VMF__SHIFT == t.va >> VMF__SHIFT) {
			if (t.access == VMF_W)
				trap[at - 1] = t;
			continue;
		}
		memmove(&trap[at + 1], &trap[at], (k++ - at) * sizeof(*trap));
		trap[at] = t;
	}
	return k;
}

static void serve(struct vmf__server *s, unsigned ready)
{
	struct uffd_msg msg[BATCH];
	struct vmf_trap trap[BATCH];
	unsigned room = PARKED - s->n, n = 0;

	if (!room) {
		/* A thousand threads wait: the oldest first, by waiting for it. */
		if (try_again(s, &s->parked[0]))
			s->parked[0] = s->parked[--s->n];
		return;
	}
	vmf__guard_draining(s->local, s->index, true);
	if (ready)
		n = vmf__events_drain(s->local, ready, msg, room < BATCH ? room : BATCH);
	vmf__guard_draining(s->local, s->index, false);
	n = traps_of(msg, n, trap);
	for (unsigned i = 0; i < n; i++) {
		struct parked p = { .trap = trap[i] };

		if (!try(s->local, &p))
			s->parked[s->n++] = p;
	}
	retry_ready(s, n == 0);
}

static void *server(void *arg)
{
	struct vmf__server *s = arg;

	pthread_setname_np(pthread_self(), "vmfault");
	vmf__guard_server(s->local, s->index);
	vmf__self()->masked = true;
	while (!atomic_load(&s->stop)) {
		unsigned ready = sleep_until_needed(s);

		vmf__guard_batch(s->local, s->index, true);
		serve(s, ready);
		dodge(s);
		vmf_port_tidy(s->local->port->port);
		vmf__guard_batch(s->local, s->index, false);
	}
	while (s->n)
		vmf_ticket_drop(s->local->space, &s->parked[--s->n].ticket);
	vmf__watch_put(s->local->port, s->watch);
	close(s->poll);
	return NULL;
}

/* ----------------------------------------------------------------------------------------- start and stop */

/* Of several servers that sleep one is woken. */
static int listen_to(const struct vmf__local *local, const struct vmf__watch *watch)
{
	const int fd[LISTENED] = { local->fd[0], local->fd[1], watch->fd };
	int all = epoll_create1(EPOLL_CLOEXEC);

	for (unsigned i = 0; i < LISTENED && all >= 0; i++) {
		struct epoll_event e = { .events = EPOLLIN | (i == WATCH ? 0 : EPOLLEXCLUSIVE), .data.u32 = i };

		if (fd[i] >= 0 && epoll_ctl(all, EPOLL_CTL_ADD, fd[i], &e)) {
			close(all);
			all = -1;
		}
	}
	return all;
}

static void give_up(struct vmf__server *s)
{
	struct vmf__linux *port = s->local->port;

	if (s->poll >= 0)
		close(s->poll);
	if (s->watch)
		vmf__watch_put(port, s->watch);
	vmf__memory_give(&port->memory, s, sizeof(*s));
}

static int start_one(struct vmf__local *local, unsigned index, struct vmf__server **out)
{
	struct vmf__server *s = vmf__memory_take(&local->port->memory, sizeof(*s));
	int err;

	if (!s)
		return -VMF_ENOMEM;
	s->local = local;
	s->index = index;
	s->watch = vmf__watch_get(local->port);
	s->poll = s->watch ? listen_to(local, s->watch) : -1;
	if (s->poll < 0) {
		give_up(s);
		return -VMF_ENOMEM;
	}
	/* It inherits our mask: no signal of the application's is delivered to it. */
	vmf__block_most();
	err = pthread_create(&s->thread, NULL, server, s);
	vmf__unblock(NULL);
	if (err) {
		give_up(s);
		return -VMF_ENOMEM;
	}
	*out = s;
	return 0;
}

int vmf__servers_start(struct vmf__local *local)
{
	int err = vmf__guard_start(local);

	for (uint32_t i = 0; i < local->threads && !err; i++)
		err = start_one(local, i, &local->server[i]);
	if (err)
		vmf__servers_stop(local);
	return err;
}

void vmf__servers_stop(struct vmf__local *local)
{
	for (uint32_t i = 0; i < local->threads; i++)
		if (local->server[i]) {
			atomic_store(&local->server[i]->stop, true);
			vmf__watch_kick(local->server[i]->watch);
		}
	for (uint32_t i = 0; i < local->threads; i++)
		if (local->server[i]) {
			pthread_join(local->server[i]->thread, NULL);
			vmf__memory_give(&local->port->memory, local->server[i], sizeof(*local->server[i]));
			local->server[i] = NULL;
		}
	vmf__guard_stop(local);
}
