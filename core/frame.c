/* SPDX-License-Identifier: MIT
 *
 * Frames: descriptors of RAM that is counted.  Those of RAM ranges live in an array of the range, those of an object's
 * segment in the leaves of its pages.
 */
#include "core.h"

void vmf_frame_get(struct vmf_frame *frame) { vmf__add(&frame->refs, 1); }

void vmf_frame_put(struct vmf_port *port, struct vmf_frame *frame)
{
	if (vmf__sub(&frame->refs, 1) == 1 && frame->kind == VMF__F_RAM)
		vmf__phys_release(port, frame);
}

vmf_pfn vmf_frame_pfn(const struct vmf_frame *frame) { return frame->pfn; }
unsigned vmf_frame_order(const struct vmf_frame *frame) { return frame->order; }

void *vmf_frame_bytes(struct vmf_port *port, const struct vmf_frame *frame)
{
	return port->host->bytes(port->self, frame->pfn);
}

bool vmf__frame_good(struct vmf_port *port, const struct vmf_frame *frame, unsigned order)
{
	if (!frame || !vmf__peek(&frame->refs) || frame->order != order)
		return false;
	if (frame->kind == VMF__F_RAM)
		return vmf__phys_frame(port, frame->pfn) == frame;
	return frame->kind == VMF__F_SEGMENT;
}
