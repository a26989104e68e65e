/* SPDX-License-Identifier: MIT
 *
 * What epoll hands out is not a pointer but a tag {slot, generation, source}: an event that was already on its way to a
 * thread when its strand ended finds the slot empty or taken by another generation.
 */
#include "pool.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RUNNING (UINT32_C(1) << 31)
#define STOP UINT64_MAX
enum { PATIENCE_S = 2, SLOT_SHIFT = 5 };

struct slot {
	struct vmf_strand *strand;
	uint32_t generation;
};
struct vmf_pool {
	int epoll, stop;
	pthread_mutex_t lock; /* slots, and the strands' refs */
	struct slot *slot;
	uint32_t slots;
	unsigned threads;
	pthread_t thread[];
};

static uint64_t tag(const struct vmf_strand *s, unsigned source)
{
	return (uint64_t)s->generation << 32 | (uint64_t)s->slot << SLOT_SHIFT | source;
}

/* The strand of a tag, with a reference; NULL: it has ended. */
static struct vmf_strand *find(struct vmf_pool *p, uint64_t t)
{
	uint32_t slot = (uint32_t)t >> SLOT_SHIFT;
	struct vmf_strand *s;

	pthread_mutex_lock(&p->lock);
	s = slot < p->slots && p->slot[slot].generation == t >> 32 ? p->slot[slot].strand : NULL;
	if (s)
		s->refs++;
	pthread_mutex_unlock(&p->lock);
	return s;
}

static void put(struct vmf_pool *p, struct vmf_strand *s)
{
	bool last;

	pthread_mutex_lock(&p->lock);
	last = --s->refs == 0;
	pthread_mutex_unlock(&p->lock);
	if (last)
		s->release(s);
}

/* An empty slot.  => p->lock */
static int claim(struct vmf_pool *p, uint32_t *at)
{
	struct slot *more;
	uint32_t n = p->slots ? 2 * p->slots : 16;

	for (*at = 0; *at < p->slots; (*at)++)
		if (!p->slot[*at].strand)
			return 0;
	if (n > UINT32_MAX >> SLOT_SHIFT || !(more = realloc(p->slot, n * sizeof *more)))
		return -ENOMEM;
	for (uint32_t i = p->slots; i < n; i++)
		more[i] = (struct slot){ NULL, 0 };
	p->slot = more;
	p->slots = n;
	return 0;
}

int vmf__strand_add(struct vmf_pool *p, struct vmf_strand *s)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = claim(p, &s->slot);
	if (!r) {
		s->pool = p;
		s->refs = 1;
		s->generation = ++p->slot[s->slot].generation;
		p->slot[s->slot].strand = s;
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

int vmf__strand_watch(struct vmf_strand *s, unsigned source, int fd, uint32_t what)
{
	struct epoll_event e = { .events = what | EPOLLONESHOT, .data.u64 = tag(s, source) };

	if (!epoll_ctl(s->pool->epoll, EPOLL_CTL_MOD, fd, &e))
		return 0;
	return errno == ENOENT && !epoll_ctl(s->pool->epoll, EPOLL_CTL_ADD, fd, &e) ? 0 : -errno;
}

void vmf__strand_forget(struct vmf_strand *s, int fd)
{
	epoll_ctl(s->pool->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void vmf__strand_end(struct vmf_strand *s)
{
	struct vmf_pool *p = s->pool;

	pthread_mutex_lock(&p->lock);
	p->slot[s->slot].strand = NULL;
	pthread_mutex_unlock(&p->lock);
	s->ended = true;
	put(p, s);
}

/* Runs it until it has no event left. */
static void run(struct vmf_strand *s)
{
	for (;;) {
		uint32_t e = atomic_exchange(&s->events, RUNNING) & ~RUNNING;

		if (e && !s->ended)
			s->run(s, e);
		if (e)
			continue;
		e = RUNNING;
		if (atomic_compare_exchange_strong(&s->events, &e, 0))
			return;
	}
}

static void *worker(void *arg)
{
	struct vmf_pool *p = arg;

	for (;;) {
		struct epoll_event e;
		struct vmf_strand *s;

		if (epoll_wait(p->epoll, &e, 1, -1) != 1)
			continue;
		if (e.data.u64 == STOP)
			return NULL;
		s = find(p, e.data.u64);
		if (!s)
			continue;
		if (!(atomic_fetch_or(&s->events, UINT32_C(1) << (e.data.u64 & (VMF_SOURCES)) | RUNNING) & RUNNING))
			run(s);
		put(p, s);
	}
}

void vmf__pool_close(struct vmf_pool *p)
{
	if (p->stop >= 0)
		close(p->stop);
	if (p->epoll >= 0)
		close(p->epoll);
	pthread_mutex_destroy(&p->lock);
	free(p->slot);
	free(p);
}

/* 0 or an errno. */
static int start(struct vmf_pool *p, unsigned threads)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = STOP };
	int err = 0;

	p->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (p->stop < 0 || p->epoll < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->stop, &e))
		return errno;
	while (p->threads < threads && !(err = pthread_create(&p->thread[p->threads], NULL, worker, p)))
		p->threads++;
	return p->threads ? 0 : err;
}

int vmf__pool_open(struct vmf_pool **pool, unsigned threads)
{
	struct vmf_pool *p = calloc(1, sizeof *p + threads * sizeof p->thread[0]);
	int err;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	err = start(p, threads);
	if (err)
		vmf__pool_close(p);
	else
		*pool = p;
	return -err;
}

bool vmf__pool_stop(struct vmf_pool *p)
{
	struct timespec until;
	bool all = true;

	(void)!write(p->stop, &(uint64_t){ 1 }, sizeof(uint64_t)); /* an eventfd takes it */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	for (unsigned i = 0; i < p->threads; i++)
		all &= !pthread_timedjoin_np(p->thread[i], NULL, &until);
	return all;
}
