/* SPDX-License-Identifier: MIT
 *
 * A walk: threads that read one byte of every page of some memory, once, and what that took.  The memory may stop to
 * answer for ever, so nobody joins a thread who has not seen it finish.
 */
#ifndef VMF_CLI_WALK_H
#define VMF_CLI_WALK_H
#include "latency.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct vmf_walk;
/* One on its own cache lines: the walker writes, the watcher reads. */
struct vmf_walker {
	struct vmf_walk *walk;
	pthread_t thread;
	uint64_t from, to;
	uint64_t first, end; /* times: ns on CLOCK_MONOTONIC */
	uint64_t faults;
	_Alignas(128) atomic_uint_fast64_t done; /* pages */
	struct vmf_latency latency;
};
struct vmf_walk {
	const volatile unsigned char *base; /* from here on the caller's to set */
	uint64_t pages, page;               /* page: bytes */
	uint64_t start;                     /* what times count from: vmf__walk_now() */
	unsigned threads;
	bool random;                        /* a fixed order that looks random: the same in each run */

	struct vmf_walker *walker;          /* from here on the walk's own */
	atomic_uint running;
	int ended;                          /* an eventfd, readable when the last one has ended */
};
struct vmf_walked {
	uint64_t first_ns, all_ns; /* since start */
	uint64_t faults;           /* page faults of the threads, as the kernel counts them */
	struct vmf_latency latency;
};

uint64_t vmf__walk_now(void); /* ns, CLOCK_MONOTONIC */
/* 0, or a negative errno; some threads may run then: end the process. */
int vmf__walk_start(struct vmf_walk *);
uint64_t vmf__walk_done(const struct vmf_walk *); /* pages so far */
/* => `ended` was readable.  Joins the threads, frees all, and says what it took. */
void vmf__walk_end(struct vmf_walk *, struct vmf_walked *);
/* The i-th of n in an order that looks random: a permutation of [0, n). */
uint64_t vmf__walk_shuffle(uint64_t i, uint64_t n);

/* From now on a SIGBUS in this memory is one line on stderr, with its address, and exit status 1; any other is what it
 * was.  `who` begins the line.  => once in a process: signal handlers are process-wide, and so is what this keeps */
void vmf__walk_sigbus(const void *base, uint64_t bytes, const char *who);

#endif
