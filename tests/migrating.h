/* SPDX-License-Identifier: MIT
 *
 * What tests of drivers/migrate share, on every port that has threads: some write counters in its pages, each its own
 * and each knowing what is there; one moves the pages to and fro; one takes entries away.  A write that got lost is
 * seen at that counter's next.
 */
#ifndef MIGRATING_H
#define MIGRATING_H
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include "drivers/migrate.h"
#include "vmtest.h"

#define MIGRATING_PAGES 16u
#define MIGRATING_WRITERS 3u

struct migrating {
	struct vmf_migrate *m;
	/* Counter `writer` of `page` is `was`: make it one more. */
	void (*add)(void *self, unsigned page, unsigned writer, uint64_t was);
	void *self;
	uint64_t want_writes, want_moves; /* at least */
	_Atomic uint64_t writes, moves, revokes;
	uint64_t count[MIGRATING_WRITERS][MIGRATING_PAGES]; /* each by its writer */
};
struct migrating_writer { struct migrating *t; unsigned i; };

static inline size_t migrating_at(unsigned page, unsigned writer) { return page * 4096u + 64 + writer * 8; }

static inline bool migrating_done(struct migrating *t)
{
	return atomic_load_explicit(&t->writes, memory_order_relaxed) >= t->want_writes &&
	       atomic_load_explicit(&t->moves, memory_order_relaxed) >= t->want_moves &&
	       atomic_load_explicit(&t->revokes, memory_order_relaxed) >= t->want_moves / 2;
}

static inline void *migrating_write(void *arg)
{
	const struct migrating_writer *w = arg;
	struct migrating *t = w->t;
	uint64_t seed = w->i + 1;

	while (!migrating_done(t)) {
		for (unsigned i = 0; i < 64; i++) {
			unsigned page = vmtest_random(&seed) % MIGRATING_PAGES;

			t->add(t->self, page, w->i, t->count[w->i][page]++);
		}
		atomic_fetch_add_explicit(&t->writes, 64, memory_order_relaxed);
	}
	return NULL;
}

/* Its share of the moves for the writes so far, so that they come all the way through. */
static inline bool migrating_ahead(struct migrating *t, uint64_t moves)
{
	return moves * (t->want_writes / t->want_moves) > atomic_load(&t->writes);
}

/* Every move moves: the first page of the range at least is on the other side. */
static inline void *migrating_move(void *arg)
{
	struct migrating *t = arg;
	uint64_t seed = 99;

	while (!migrating_done(t)) {
		unsigned first = vmtest_random(&seed) % MIGRATING_PAGES, n = 1 + vmtest_random(&seed) % 6;
		bool in = __atomic_load_n(&t->m->page[first].word, __ATOMIC_RELAXED) & VMF_MIGRATE_IN;

		if (n > MIGRATING_PAGES - first)
			n = MIGRATING_PAGES - first;
		CHECK_ERR((in ? vmf_migrate_out : vmf_migrate_in)(t->m, first, n), 0);
		atomic_fetch_add(&t->moves, 1);
		while (migrating_ahead(t, t->moves) && !migrating_done(t))
			sched_yield();
	}
	return NULL;
}

static inline void *migrating_revoke(void *arg)
{
	struct migrating *t = arg;
	uint64_t seed = 7;

	while (!migrating_done(t)) {
		CHECK_ERR(vmf_revoke(t->m->object, vmtest_random(&seed) % MIGRATING_PAGES, 1), 0);
		t->revokes++;
		while (migrating_ahead(t, t->revokes) && !migrating_done(t))
			sched_yield();
	}
	return NULL;
}

/* The counters, where the driver sees them: in the device, or in RAM. */
static inline uint64_t migrating_sum(const struct migrating *t, bool in)
{
	uint64_t sum = 0;

	for (unsigned page = 0; page < MIGRATING_PAGES; page++)
		for (unsigned w = 0; w < MIGRATING_WRITERS; w++) {
			const uint8_t *bytes = in ? (const uint8_t *)t->m->device + page * 4096u
						  : vmf_frame_bytes(t->m->port, t->m->page[page].frame);
			uint64_t n;

			memcpy(&n, bytes + migrating_at(0, w), sizeof(n));
			CHECK_EQ(n, t->count[w][page]);
			sum += n;
		}
	return sum;
}

static inline double migrating_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static inline void migrating_run(struct migrating *t)
{
	double began = migrating_now();
	struct migrating_writer writer[MIGRATING_WRITERS];
	pthread_t w[MIGRATING_WRITERS], mover, revoker;

	for (unsigned i = 0; i < MIGRATING_WRITERS; i++) {
		writer[i] = (struct migrating_writer){ t, i };
		CHECK(!pthread_create(&w[i], NULL, migrating_write, &writer[i]));
	}
	CHECK(!pthread_create(&mover, NULL, migrating_move, t));
	CHECK(!pthread_create(&revoker, NULL, migrating_revoke, t));
	for (unsigned i = 0; i < MIGRATING_WRITERS; i++)
		pthread_join(w[i], NULL);
	pthread_join(mover, NULL);
	pthread_join(revoker, NULL);
	printf("# %s: %llu writes, %llu migrations, %llu revocations in %.2f s\n", vmtest_with,
	       (unsigned long long)t->writes, (unsigned long long)t->moves, (unsigned long long)t->revokes,
	       migrating_now() - began);
	CHECK(t->writes >= t->want_writes && t->moves >= t->want_moves);
	CHECK_ERR(vmf_migrate_out(t->m, 0, MIGRATING_PAGES), 0);
	CHECK_EQ(migrating_sum(t, false), t->writes);
	CHECK_ERR(vmf_migrate_in(t->m, 0, MIGRATING_PAGES), 0);
	CHECK_EQ(migrating_sum(t, true), t->writes);
}
#endif
