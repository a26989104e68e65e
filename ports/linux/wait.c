/* SPDX-License-Identifier: MIT
 *
 * Waiting and waking: futexes; and, for who must also listen for something else, watches.
 *
 * A fault that waits in the handler of SIGBUS has every signal blocked, and gives way to one that wants to be
 * delivered: it polls an eventfd that wake() writes to and a signalfd of what was not blocked outside.  What was
 * blocked outside stays pending whatever we do, and must not end the wait, or the fault would spin.
 *
 * Order: who sleeps announces itself, then looks at the word; who wakes has changed the word, then looks for
 * sleepers.
 */
#include "port.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
}

static long futex(const void *word, int op, uint32_t val, const struct timespec *t)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, t, NULL, 0);
}

void vmf__futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
	struct timespec t = timespec_of(ns);
	int e = errno;

	(void)futex(word, FUTEX_WAIT, seen, ns ? &t : NULL);
	errno = e;
}

void vmf__futex_wake(_Atomic uint32_t *word, int n)
{
	int e = errno;

	(void)futex(word, FUTEX_WAKE, (uint32_t)n, NULL);
	errno = e;
}

void vmf__mutex_take(struct vmf__mutex *m)
{
	uint32_t free = 0;

	vmf__order(vmf_rank_take(m, m->rank ? m->rank : VMF__RANK_LEAF));
	if (atomic_compare_exchange_strong(&m->word, &free, 1))
		return;
	while (atomic_exchange(&m->word, 2) != 0)
		vmf__futex_wait(&m->word, 2, 0);
}

void vmf__mutex_drop(struct vmf__mutex *m)
{
	vmf__order(vmf_rank_drop(m));
	if (atomic_exchange(&m->word, 0) == 2)
		vmf__futex_wake(&m->word, 1);
}

/* ------------------------------------------------------------------------------------------- watches */

static bool claim(struct vmf__linux *port, uint32_t i)
{
	struct vmf__watch *w = &port->watch[i];
	uint32_t no = 0, used = atomic_load(&port->watches);

	if (!atomic_compare_exchange_strong(&w->taken, &no, 1))
		return false;
	if (w->fd < 0)
		w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd < 0) {
		atomic_store(&w->taken, 0);
		return false;
	}
	while (used <= i && !atomic_compare_exchange_weak(&port->watches, &used, i + 1))
		;
	return true;
}

struct vmf__watch *vmf__watch_get(struct vmf__linux *port)
{
	for (uint32_t i = 0; i < VMF__WATCHES; i++)
		if (!atomic_load_explicit(&port->watch[i].taken, memory_order_relaxed) && claim(port, i))
			return &port->watch[i];
	return NULL;
}

void vmf__watch_arm(struct vmf__linux *port, struct vmf__watch *w, uint64_t bits)
{
	uint64_t old;

	if (!bits && !atomic_load_explicit(&w->bits, memory_order_relaxed))
		return; /* it is ours to change, and there is nothing to wait for */
	old = atomic_exchange(&w->bits, bits);
	if (!old && bits)
		atomic_fetch_add(&port->watchers, 1);
	else if (old && !bits)
		atomic_fetch_sub(&port->watchers, 1);
	atomic_thread_fence(memory_order_seq_cst);
}

void vmf__watch_clear(struct vmf__watch *w)
{
	uint64_t n;

	(void)!read(w->fd, &n, sizeof(n));
}

void vmf__watch_kick(struct vmf__watch *w)
{
	uint64_t one = 1;

	(void)!write(w->fd, &one, sizeof(one));
}

void vmf__watch_put(struct vmf__linux *port, struct vmf__watch *w)
{
	vmf__watch_arm(port, w, 0);
	vmf__watch_clear(w);
	atomic_store(&w->taken, 0);
}

void vmf__wake(void *host, const uint32_t *word)
{
	struct vmf__linux *port = host;
	uint64_t bit = vmf__watch_bit(word);
	int e = errno;

	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&port->sleepers))
		(void)futex(word, FUTEX_WAKE, INT_MAX, NULL);
	if (atomic_load(&port->watchers)) {
		uint32_t n = atomic_load(&port->watches);

		for (uint32_t i = 0; i < n; i++)
			if (atomic_load(&port->watch[i].bits) & bit)
				vmf__watch_kick(&port->watch[i]);
	}
	errno = e;
}

/* ------------------------------------------------------------------------------------------- host.wait */

static int sleep_futex(struct vmf__linux *port, const uint32_t *word, uint32_t seen, uint64_t ns)
{
	struct timespec t = timespec_of(ns);
	bool late;

	if (!word) {
		(void)nanosleep(&t, NULL);
		return 0;
	}
	atomic_fetch_add(&port->sleepers, 1);
	late = futex(word, FUTEX_WAIT, seen, ns ? &t : NULL) && errno == ETIMEDOUT;
	atomic_fetch_sub(&port->sleepers, 1);
	return late ? -VMF_ETIME : 0;
}

/* What would be delivered if we left the handler now.  A fault cannot wait for its own kind. */
static sigset_t deliverable(const struct vmf__self *me)
{
	sigset_t set;

	sigfillset(&set);
	for (int s = 1; s <= SIGRTMAX; s++)
		if (sigismember(me->outside, s) == 1)
			sigdelset(&set, s);
	sigdelset(&set, SIGBUS);
	sigdelset(&set, SIGSEGV);
	return set;
}

static bool signal_pending(const sigset_t *set)
{
	sigset_t pending;

	if (sigpending(&pending))
		return false;
	for (int s = 1; s <= SIGRTMAX; s++)
		if (sigismember(&pending, s) == 1 && sigismember(set, s) == 1)
			return true;
	return false;
}

/* No descriptor to be had: look for signals every millisecond. */
static int sleep_short(struct vmf__linux *port, const uint32_t *word, uint32_t seen, uint64_t ns, const sigset_t *set)
{
	if (signal_pending(set))
		return -VMF_EINTR;
	(void)sleep_futex(port, word, seen, ns && ns < 1000000 ? ns : 1000000);
	return 0;
}

static int sleep_poll(struct vmf__linux *port, struct vmf__watch *w, int sfd, const uint32_t *word, uint32_t seen,
		      uint64_t ns)
{
	struct pollfd p[2] = { { .fd = sfd, .events = POLLIN }, { .fd = w ? w->fd : -1, .events = POLLIN } };
	struct timespec t = timespec_of(ns);
	int n;

	if (w) {
		vmf__watch_arm(port, w, vmf__watch_bit(word));
		if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != seen)
			return 0;
	}
	n = ppoll(p, 2, ns ? &t : NULL, NULL);
	if (n > 0 && p[0].revents)
		return -VMF_EINTR;
	return n == 0 ? -VMF_ETIME : 0;
}

static int sleep_interruptibly(struct vmf__linux *port, const uint32_t *word, uint32_t seen, uint64_t ns,
			       const struct vmf__self *me)
{
	sigset_t set = deliverable(me);
	int sfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), err;
	struct vmf__watch *w = word && sfd >= 0 ? vmf__watch_get(port) : NULL;

	if (sfd < 0 || (word && !w))
		err = sleep_short(port, word, seen, ns, &set);
	else
		err = sleep_poll(port, w, sfd, word, seen, ns);
	if (w)
		vmf__watch_put(port, w);
	if (sfd >= 0)
		close(sfd);
	return err;
}

int vmf__wait_readable(int fd, uint64_t ns, bool interruptible)
{
	const struct vmf__self *me = vmf__self();
	struct pollfd p[2] = { { .fd = -1, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	struct timespec t = timespec_of(ns);
	int e = errno, err = 0;

	if (interruptible && me->handling && me->outside) {
		sigset_t set = deliverable(me);

		p[0].fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
		if (p[0].fd < 0 && signal_pending(&set))
			err = -VMF_EINTR;
	}
	if (!err && ppoll(p, 2, &t, NULL) > 0 && p[0].revents)
		err = -VMF_EINTR;
	if (p[0].fd >= 0)
		close(p[0].fd);
	errno = e;
	return err;
}

int vmf__wait(void *host, const uint32_t *word, uint32_t seen, uint64_t ns, bool interruptible)
{
	struct vmf__linux *port = host;
	const struct vmf__self *me = vmf__self();
	int e = errno, err;

	if (interruptible && me->handling && me->outside)
		err = sleep_interruptibly(port, word, seen, ns, me);
	else
		err = sleep_futex(port, word, seen, ns);
	errno = e;
	return err;
}

uint64_t vmf__now(void *host)
{
	struct timespec t;

	(void)host;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
