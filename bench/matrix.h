/* SPDX-License-Identifier: MIT
 *
 * The matrix: what is measured (orders x crowds x servers, in rounds), and how it is told.
 */
#ifndef VMF_BENCH_MATRIX_H
#define VMF_BENCH_MATRIX_H
#include <stdbool.h>
#include <stdint.h>

enum { VMF_ORDERS = 2, VMF_CROWDS = 3, VMF_SERVERS = 6, VMF_ROUNDS_MAX = 25 };

enum vmf_kind_of_server { VMF_MAPPED, VMF_NAIVE, VMF_SERVE }; /* the first two are also their index */
struct vmf_bench_server {
	enum vmf_kind_of_server kind;
	const char *name, *around;
};
extern const struct vmf_bench_server vmf__bench_servers[VMF_SERVERS];
extern const char *const vmf__bench_orders[VMF_ORDERS]; /* the first is random */
extern const unsigned vmf__bench_crowds[VMF_CROWDS];    /* clients at a time */

struct vmf_sample { uint64_t first_ns, all_ns, faults, cpu_ns; };
struct vmf_matrix {
	uint64_t size;   /* bytes of each client */
	unsigned rounds;
	struct vmf_sample sample[VMF_ORDERS][VMF_CROWDS][VMF_SERVERS][VMF_ROUNDS_MAX];
};
void vmf__matrix_print(const struct vmf_matrix *, bool json);

#endif
