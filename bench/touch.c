/* SPDX-License-Identifier: MIT
 *
 * Touching memory, and the clock.
 */
#include "touch.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vmfault/vmfault.h>

struct walker {
	const char *at;
	const uint32_t *order;
	uint64_t stride, from, to;
	int cpu;
	clockid_t clock;
	double ns;
	unsigned long sum;
	pthread_barrier_t *start;
};

_Noreturn void walk_die(const char *what, int err)
{
	fprintf(stderr, "bench: %s: %s\n", what, err < 0 ? vmf_err_str(err) : strerror(err));
	exit(1);
}

void walk_pin(int cpu)
{
	int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < cpus; i++)
		if (cpu < 0 || i == cpu % cpus)
			CPU_SET(i, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

uint32_t *walk_order(uint64_t n, uint64_t seed)
{
	uint32_t *order = malloc(n * sizeof(*order));

	if (!order)
		walk_die("malloc", ENOMEM);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t j;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		j = (seed >> 33) % (i + 1);
		order[i] = order[j];
		order[j] = (uint32_t)i;
	}
	return order;
}

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double walk_cpu(void) { return now(CLOCK_PROCESS_CPUTIME_ID); }

static void *walk_part(void *arg)
{
	struct walker *w = arg;
	double begin;

	(void)pthread_setname_np(pthread_self(), "walk"); /* so that a profile can be had of it alone */
	walk_pin(w->cpu);
	pthread_barrier_wait(w->start);
	begin = now(w->clock);
	for (uint64_t i = w->from; i < w->to; i++)
		w->sum += *(const volatile unsigned char *)(w->at + w->order[i] * w->stride);
	w->ns = now(w->clock) - begin;
	return NULL;
}

double walk(const char *at, uint64_t stride, const uint32_t *order, uint64_t n, unsigned threads, bool elapsed)
{
	struct walker w[WALKERS_MAX];
	pthread_t t[WALKERS_MAX];
	pthread_barrier_t start;
	double ns = 0;

	pthread_barrier_init(&start, NULL, threads);
	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct walker){ .at = at, .order = order, .stride = stride, .from = n * i / threads,
					.to = n * (i + 1) / threads, .cpu = (int)i, .start = &start,
					.clock = elapsed ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID };
		if (pthread_create(&t[i], NULL, walk_part, &w[i]))
			walk_die("pthread_create", EAGAIN);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(t[i], NULL);
		ns = w[i].ns > ns ? w[i].ns : ns;
	}
	pthread_barrier_destroy(&start);
	return ns * threads / (double)n;
}
