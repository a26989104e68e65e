/* SPDX-License-Identifier: MIT
 *
 * Poison: memory that is broken.  Who shows pages of DEVICE and RESERVED ranges is recorded (alias.c); frames, those of
 * objects' segments too, which lie in no range, are dealt with in broken.c.
 */
#include "core.h"

/* How many pages from `first` on are alike: in that range; else frames of a segment; 0: there is nothing. */
static uint64_t alike(struct vmf_port *port, vmf_pfn first, uint64_t pages, struct vmf__range **range)
{
	*range = vmf__phys_range(port, first);
	if (*range)
		return vmf__min(pages, (*range)->first.n + (*range)->pages - first.n);
	return vmf__segment_pages(port, first, pages);
}

static bool all_there(struct vmf_port *port, vmf_pfn first, uint64_t pages)
{
	struct vmf__range *range;
	uint64_t n = 1;

	for (; pages && n; pages -= n, first.n += n)
		n = alike(port, first, pages, &range);
	return !pages;
}

static int page_poison(struct vmf_port *port, struct vmf__range *range, vmf_pfn pfn)
{
	struct vmf__shower by = { 0 };
	int err, one;

	while ((err = vmf__alias_break(port, range, pfn)))
		if (vmf__supply(port))
			return err;
	while (vmf__alias_next(port, range, pfn, &by)) {
		one = vmf_revoke(by.object, by.at, 1);
		err = err ? err : one;
		vmf_object_put(by.object);
	}
	return err;
}

static int pages_poison(struct vmf_port *port, struct vmf__range *range, vmf_pfn first, uint64_t pages)
{
	uint64_t found;
	int err = 0, one;

	if (!range || range->kind == VMF_PHYS_RAM)
		return vmf__poison_frames(port, first, pages, &found);
	for (uint64_t i = 0; i < pages; i++) {
		one = page_poison(port, range, (vmf_pfn){ first.n + i });
		err = err ? err : one;
	}
	return err;
}

int vmf_phys_poison(struct vmf_port *port, vmf_pfn first, uint64_t pages)
{
	struct vmf__range *range;
	int err = 0, one;
	uint64_t n = 1;

	if (!port || !pages || first.n + pages < first.n || !all_there(port, first, pages))
		return -VMF_EINVAL;
	for (; pages && n; pages -= n, first.n += n) {
		n = alike(port, first, pages, &range);
		one = n ? pages_poison(port, range, first, n) : 0;
		err = err ? err : one;
	}
	return err;
}
