/* SPDX-License-Identifier: MIT
 *
 * Who touches memory for the figures of the fault path: threads that read a byte of each run of pages, once, in an
 * order that looks random, from the same start.
 */
#ifndef BENCH_TOUCH_H
#define BENCH_TOUCH_H
#include <stdbool.h>
#include <stdint.h>

#define PAGE 4096u
#define WALKERS_MAX 2u

/* An order of n runs; malloc()ed. */
uint32_t *walk_order(uint64_t n, uint64_t seed);
/* Touches byte 0 of at + order[i] * stride, i < n, shared out among `threads` pinned ones.  Returns ns a touch and
 * thread: elapsed ones; or, of one thread, CPU time, the whole process's: what a handler thread on the same CPU needs
 * is in it, and what other processes take away is not. */
double walk(const char *at, uint64_t stride, const uint32_t *order, uint64_t n, unsigned threads, bool elapsed);
double walk_cpu(void); /* ns of CPU time of this process */
/* The calling thread, and those that it makes, run on this CPU (modulo what there is); < 0: on any. */
void walk_pin(int cpu);
/* "what: why" and exit(1); err: an errno, or a negative enum vmf_err. */
_Noreturn void walk_die(const char *what, int err);

#endif
