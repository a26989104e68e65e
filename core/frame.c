/* SPDX-License-Identifier: MIT
 *
 * Frames: descriptors of RAM that is counted.  Those of RAM ranges live in an array of the range, those of an object's
 * segment in the leaves of its pages.
 */
#include "core.h"

void vmf_frame_get(struct vmf_frame *frame)
{
	if (frame)
		vmf__add(&frame->refs, 1);
}

void vmf_frame_put(struct vmf_port *port, struct vmf_frame *frame)
{
	if (port && frame && vmf__sub(&frame->refs, 1) == 1 && vmf__peek(&frame->kind) == VMF__F_RAM)
		vmf__phys_release(port, frame);
}

vmf_pfn vmf_frame_pfn(const struct vmf_frame *frame) { return frame ? frame->pfn : (vmf_pfn){ 0 }; }
unsigned vmf_frame_order(const struct vmf_frame *frame) { return frame ? frame->order : 0; }

void *vmf_frame_bytes(struct vmf_port *port, const struct vmf_frame *frame)
{
	return port && frame ? port->host->bytes(port->self, frame->pfn) : NULL;
}

bool vmf__frame_alive(struct vmf_port *port, const struct vmf_frame *frame)
{
	return frame && vmf__frame_good(port, frame, frame->order);
}

bool vmf__frame_good(struct vmf_port *port, const struct vmf_frame *frame, unsigned order)
{
	if (!frame || !vmf__peek(&frame->refs) || frame->order != order)
		return false;
	if (vmf__peek(&frame->kind) == VMF__F_RAM || vmf__peek(&frame->kind) == VMF__F_ADOPTED)
		return vmf__phys_frame(port, frame->pfn) == frame;
	return vmf__peek(&frame->kind) >= VMF__F_SEGMENT; /* broken: whoever enters it finds out */
}
