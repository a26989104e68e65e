/* SPDX-License-Identifier: MIT
 *
 * Poison: memory that is broken.  Who shows pages of DEVICE and RESERVED ranges is recorded (alias.c); frames, those of
 * objects' segments too, which lie in no range, are dealt with in broken.c.
 */
#include "core.h"

/* Nobody claims the page any more.  -VMF_ENOMEM: a reserve is empty. */
static int alias_break(struct vmf_port *port, struct vmf__range *range, vmf_pfn pfn)
{
	struct vmf__block *b;

	vmf__lock_take(port, &port->alias_lock);
	b = vmf__block_make(port, range, pfn);
	if (b)
		b->broken |= (uint16_t)(1u << pfn.n % VMF__BLOCK);
	vmf__lock_drop(port, &port->alias_lock);
	return b ? 0 : -VMF_ENOMEM;
}

/* An object, and where in it; the least of those that come after `after`. */
struct shower { struct vmf_object *object; vmf_pgoff at; };
struct nearest { struct shower after, found; vmf_pfn pfn; };

static bool comes_after(const struct shower *a, const struct shower *b)
{
	return a->object == b->object ? a->at > b->at : (uintptr_t)a->object > (uintptr_t)b->object;
}

static void consider(struct nearest *next, struct vmf_object *o, vmf_pgoff at)
{
	struct shower this = { o, at };

	if (comes_after(&this, &next->after) && (!next->found.object || comes_after(&next->found, &this)))
		next->found = this;
}

static void consider_area(struct vmf__interval *v, void *self)
{
	struct nearest *next = self;

	consider(next, v->area->object, v->area->off + (next->pfn.n - v->first));
}

/* Nobody new can come to show the page, so none is left out.  What shows one has an area, and that a reference on the
 * object. */
static bool alias_next(struct vmf_port *port, const struct vmf__range *range, vmf_pfn pfn, struct shower *by)
{
	const struct vmf__block *b = vmf__block_at(range, pfn);
	struct nearest next = { .after = *by, .pfn = pfn };

	vmf__lock_take(port, &port->alias_lock);
	for (const struct vmf__alias *a = b ? b->aliases : NULL; a; a = a->next)
		if (a->shown >> pfn.n % VMF__BLOCK & 1)
			consider(&next, a->object, a->off + pfn.n % VMF__BLOCK);
	vmf__interval_each(port->raws, pfn.n, pfn.n, consider_area, &next);
	if (next.found.object)
		vmf_object_get(next.found.object);
	vmf__lock_drop(port, &port->alias_lock);
	*by = next.found;
	return by->object != NULL;
}

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
	struct shower by = { 0 };
	int err, one;

	while ((err = alias_break(port, range, pfn)))
		if (vmf__supply(port))
			return err;
	while (alias_next(port, range, pfn, &by)) {
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
