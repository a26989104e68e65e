/* SPDX-License-Identifier: MIT
 *
 * What vmfault itself needs on Linux: memory for what it knows of pages, and time that could grow with how much is
 * mapped.
 */
#ifndef BENCH_STATE_H
#define BENCH_STATE_H
#include <stdbool.h>
#include <stdint.h>

/* Bytes of anonymous memory of this process (smaps_rollup, which is exact) for each page that is touched, in a shared
 * window of so many pages on a file, of which every stride-th is touched.  stride 0: none is; bytes for all of it.
 * What a port and a space need before is left out; the pages themselves are the memfd's, not anonymous. */
double state_bytes(const char *path, uint64_t pages, uint64_t stride);
/* ns to open a file as an object and map all of it. */
double state_open(const char *path, uint64_t pages);
/* ns of CPU that `vmfault serve` on it needs, from its start to its end, and of time that it takes to attach a client
 * whose memory is all of it, and to read a byte there. */
double state_attach(const char *vmfault, const char *dir, const char *path, uint64_t pages);

/* A page in each of n areas, at every second page, is touched in an order that looks random, or, the same pages, in ten
 * areas: for each round the ns a fault (Linux), the instructions a fault (simulated; < 0: they cannot be counted). */
void areas_linux(uint32_t n, unsigned rounds, double *few, double *many);
void areas_simulated(uint32_t n, unsigned rounds, double *few, double *many);

#endif
