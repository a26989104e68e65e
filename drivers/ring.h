/* SPDX-License-Identifier: MIT
 *
 * ring: a scatter-gather buffer of frames that the driver owns, wherever they lie (a sound card's, a capture card's).
 * Pages fault in any order; a frame can be exchanged while programs look at it.
 */
#ifndef VMF_DRIVERS_RING_H
#define VMF_DRIVERS_RING_H
#include <vmfault/vmfault.h>

/* The caller's memory, for as long as the object lives. */
struct vmf_ring {
	struct vmf_port *port;
	struct vmf_object *object; /* map this; the caller's reference is the ring's */
	struct vmf_frame **frames; /* one for each page, and a reference on it; NULL: the page is out of the buffer */
	uint64_t pages;
	uint32_t busy;             /* somebody is looking at frames[] */
	struct vmf_wait changed;
};
/* frames: room for `pages`, filled here.  -VMF_ENOMEM and nothing is left over. */
int vmf_ring_open(struct vmf_ring *, struct vmf_port *, struct vmf_frame **frames, uint64_t pages);
/* Drops the object; the frames go with its last reference, when the last area has gone. */
void vmf_ring_close(struct vmf_ring *);
/* From its return on no program sees the frame that was there.  The reference on `frame` passes to the ring; NULL takes
 * the page out (SIGBUS/POLICY until there is one again).  In windows by offset only vmf_frame_at()'s can be shown:
 * there a page is replaced by NULL, other bytes in that frame, and the frame again.
 * -VMF_EINVAL: no such page, and the reference stays the caller's; else as vmf_revoke(). */
int vmf_ring_replace(struct vmf_ring *, uint64_t page, struct vmf_frame *frame);

#endif
