/* SPDX-License-Identifier: MIT
 *
 * Sv39 without Svpbmt, as a description for ptwalk: three levels, leaves at each.
 *
 * Entries have no attributes: what memory is (its PMAs) goes by the address.  RAM is write-back, all else is device
 * memory, and nothing else can be encoded.
 */
#ifndef VMF_SV39_H
#define VMF_SV39_H
#include "../../pmap/ptwalk.h"

/* `self` of the description's functions. */
struct vmf_sv39_memory {
	vmf_pfn first; /* RAM */
	uint64_t pages;
};
extern const struct vmf_ptwalk_format vmf_sv39;

#endif
