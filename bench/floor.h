/* SPDX-License-Identifier: MIT
 *
 * The floor: what a fault costs whose handler was written by hand for just this one thing.  A handler of SIGBUS, or a
 * thread that reads the userfaultfd, with the fewest system calls that can do it; no table, no lock, no error but the
 * end of the process.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H
#include <stdbool.h>
#include <stdint.h>

enum floor_way {
	FLOOR_COPY,     /* anonymous memory: pread, COPY */
	FLOOR_ZERO,     /* anonymous memory: ZEROPAGE */
	FLOOR_RESIDENT, /* a memfd that has the pages: CONTINUE */
	FLOOR_FILL,     /* a memfd that has none: pread, COPY into the shared window */
	FLOOR_SEND      /* the same: lseek and sendfile into the memfd, CONTINUE */
};
struct floor {
	enum floor_way way;
	int file;            /* what is shown */
	uint64_t pages, run; /* run: a fault brings the aligned block of so many */
	const uint32_t *order;
	unsigned threads;
	bool elapsed;        /* not CPU time: see walk() */
	bool handler_thread; /* on the CPU of the thread that faults; else in its handler of SIGBUS */
};
double floor_run(const struct floor *); /* ns a fault and thread */

#endif
