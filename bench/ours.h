/* SPDX-License-Identifier: MIT
 *
 * The same faults as in floor.h, resolved by vmfault.
 */
#ifndef BENCH_OURS_H
#define BENCH_OURS_H
#include <stdbool.h>
#include <stdint.h>

enum ours_way {
	OURS_COPY,     /* a file, private: by copy, a stream */
	OURS_ZERO,     /* private, no operations at all: zeroes */
	OURS_RESIDENT, /* a file, shared: by offset, and every page is in the memfd already */
	OURS_FILL      /* the same, and none is */
};
struct ours {
	enum ours_way way;
	const char *path;    /* of the file that is shown */
	uint64_t pages, run; /* run: a fault brings the aligned block of so many */
	const uint32_t *order;
	unsigned threads;
	bool elapsed;        /* not CPU time: see walk() */
	bool handler_thread; /* VMF_THREADED, on the CPU of the thread that faults; else VMF_IN_CONTEXT */
};
double ours_run(const struct ours *); /* ns a fault and thread */

#endif
