/* SPDX-License-Identifier: MIT
 *
 * Counting instructions where the hardware does not, as in most virtual machines: a child is stepped through them.
 */
#ifndef BENCH_STEPS_H
#define BENCH_STEPS_H
/* Instructions in user mode of what(arg), run in a child of fork(): so it sees all that the caller has set up, and
 * changes nothing of it.  < 0: this system does not let us. */
double steps(void (*what)(void *), void *arg);

#endif
