/* SPDX-License-Identifier: MIT
 *
 * Latencies: how many were of which length, within 1.6 % of it, in a fixed 30 KiB.  One writer each; add them up later.
 */
#ifndef VMF_CLI_LATENCY_H
#define VMF_CLI_LATENCY_H
#include <stdint.h>

enum { VMF_LATENCY_SUB = 64, VMF_LATENCY_SLOTS = 59 * VMF_LATENCY_SUB };
struct vmf_latency {
	uint64_t n, max;
	uint64_t slot[VMF_LATENCY_SLOTS];
};
void vmf__latency_add(struct vmf_latency *, uint64_t ns);
void vmf__latency_merge(struct vmf_latency *, const struct vmf_latency *from);
/* The length that `per_mille` of them do not exceed; 0 if there are none. */
uint64_t vmf__latency_at(const struct vmf_latency *, unsigned per_mille);

#endif
