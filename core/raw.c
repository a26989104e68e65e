/* SPDX-License-Identifier: MIT
 *
 * What the memory map, and whoever decides about it, say of what is to be shown: pfns raw, frames with their range's
 * attributes.
 */
#include "core.h"

void vmf_phys_policy(struct vmf_port *port, vmf_phys_may *may, void *self)
{
	if (!port)
		return;
	port->may_self = self;
	port->may = may;
}

/* Without a policy: devices, and nothing else. */
static enum vmf_why policy_says(struct vmf_space *space, const struct vmf__range *r, vmf_pfn first, uint64_t n,
				unsigned prot)
{
	struct vmf_port *port = space->port;
	struct vmf_range range;

	if (!port->may)
		return r->kind == VMF_PHYS_DEVICE ? VMF_WHY_NONE : VMF_WHY_HOLE;
	range = (struct vmf_range){ .size = sizeof(range), .kind = r->kind, .node = r->node, .first = r->first,
				    .pages = r->pages, .attr = r->attr };
	return port->may(port->may_self, space, &range, first, n, prot);
}

/* What the range demands is what it gets; stronger will do. */
static bool attr_enough(struct vmf_attr range, struct vmf_attr *attr)
{
	if (vmf_attr_covers(*attr, range))
		return true;
	if (!attr->strengthen || !vmf_attr_covers(range, *attr))
		return false;
	attr->type = range.type;
	return true;
}

enum vmf_why vmf__pfns_good(struct vmf_space *space, vmf_pfn pfn, uint64_t n, unsigned prot, struct vmf_attr *attr)
{
	while (n) {
		const struct vmf__range *range = vmf__phys_range(space->port, pfn);
		enum vmf_why why;
		uint64_t left;

		if (!range)
			return VMF_WHY_HOLE;
		if (range->kind == VMF_PHYS_RAM)
			return VMF_WHY_POLICY;
		left = vmf__min(n, range->first.n + range->pages - pfn.n);
		why = policy_says(space, range, pfn, left, prot);
		if (why)
			return why;
		if (!attr_enough(range->attr, attr))
			return VMF_WHY_ATTR;
		pfn.n += left;
		n -= left;
	}
	return VMF_WHY_NONE;
}

bool vmf__frame_attr(const struct vmf_fault *f, const struct vmf_frame *frame, struct vmf_attr *attr)
{
	struct vmf_attr wanted = f->area->attr, has = { 0 };
	const struct vmf__range *range = frame->kind == VMF__F_SEGMENT ? NULL : vmf__phys_range(f->port, frame->pfn);

	/* Bytes that are copied lie in the platform's memory. */
	if (range && (f->area->window.store != VMF_BY_COPY || frame->kind == VMF__F_ADOPTED))
		has = range->attr;
	*attr = (struct vmf_attr){ .type = has.type, .port = has.port };
	if (has.type == wanted.type && has.port == wanted.port)
		return true;
	return wanted.strengthen && vmf_attr_covers(has, wanted);
}
