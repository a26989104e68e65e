/* SPDX-License-Identifier: MIT
 *
 * huge: memory that is zero at first, in frames of 2^order pages where there are any, else (FALLBACK) in base pages.
 * With `reserve` a frame for each block is taken aside when it is mapped, so that no fault fails for lack of one.  What
 * no area shows any more goes back: bytes and reservation.
 */
#ifndef VMF_DRIVERS_HUGE_H
#define VMF_DRIVERS_HUGE_H
#include <vmfault/vmfault.h>

struct vmf_huge_block {
	struct vmf_frame *frame; /* of the whole block */
	uint32_t state, areas;   /* areas: that show something of it */
};
/* The caller's memory, for as long as the object lives. */
struct vmf_huge {
	struct vmf_port *port;
	struct vmf_object *object; /* map this; the caller's reference is the driver's */
	uint64_t pages;            /* a multiple of 2^order */
	uint8_t order;             /* of its frames; shared areas are mapped with this map.order (else -VMF_EINVAL) */
	bool reserve;
	struct vmf_huge_block *block; /* one for each 2^order pages */
	struct vmf_frame **page;      /* one for each page: of blocks that no frame was left for */
	struct vmf_wait filled;
};
/* The caller has set pages, order, reserve, and block and page, which are zeroed.  -VMF_EINVAL, -VMF_ENOMEM.  In
 * windows by copy nothing is kept: frames of the order that the area has are given away one by one.
 * vmf_map() says -VMF_ENOMEM if it cannot reserve.  If it fails, for this or another reason, what is aside already
 * stays so until the next unmapping of it, or vmf_huge_close(); and who maps a block while somebody else unmaps it may
 * find that it was not kept aside. */
int vmf_huge_open(struct vmf_huge *, struct vmf_port *);
void vmf_huge_close(struct vmf_huge *); /* drops the object; frames go with its last area */

#endif
