/* SPDX-License-Identifier: MIT
 *
 * Frames whose memory is broken, RAM and segments': marked, and taken away from everybody.
 *
 * The mark comes first.  Whoever enters a frame looks at its mark while its slot is ENTERING; so when all slots have
 * been shot, nobody enters it any more, and what is entered can be taken out at leisure: areas by address are walked,
 * and an object that has the page in its cache is told.  There a clean page is forgotten, because the backing still
 * has it, and by address it comes back in another frame.  A dirty one is FAILED and keeps its frame: vmf_sync() says
 * so, and from then on it is VMF_POISON.  In a window by offset it cannot come back, so there a clean one is
 * VMF_POISON, too.
 *
 * A broken frame keeps its references, and is as good as any other until somebody wants to show it; it is not free
 * when they have gone.  A frame of a higher order breaks as a whole.
 */
#include "core.h"

/* The object after that one, which is let go, with a reference; NULL: there are no more. */
static struct vmf_object *object_next(struct vmf_port *port, struct vmf_object *o)
{
	struct vmf_object *next;

	vmf__lock_take(port, &port->all_lock);
	for (next = o ? o->all_next : port->all; next; next = next->all_next) {
		uint32_t refs = vmf__peek(&next->refs);

		while (refs && !vmf__cas(&next->refs, &refs, refs + 1))
			;
		if (refs)
			break;
	}
	vmf__lock_drop(port, &port->all_lock);
	vmf_object_put(o);
	return next;
}

/* ------------------------------------------------------------------------------------------ cached pages */

/* => object lock.  true: somebody is at it (object->changed); else *frame is to be put, or NULL */
static bool page_break(struct vmf_object *o, struct vmf__page *page, struct vmf_frame **frame)
{
	uint32_t word = vmf__peek(&page->word);
	bool dirty = vmf__state(page) == VMF_DIRTY;

	*frame = NULL;
	if (vmf__state(page) == VMF_WRITING || word & VMF__P_LEAVING)
		return vmf__frame_broken(page->of);
	if ((!dirty && vmf__state(page) != VMF_PRESENT) || !vmf__frame_broken(page->of))
		return false;
	if (dirty) {
		vmf__set_state(page, VMF_FAILED);
		return false;
	}
	if (!o->segmented)
		*frame = page->of;
	vmf__store(&page->of, NULL);
	vmf__set_state(page, VMF_ABSENT);
	return false;
}

bool vmf__page_broke(struct vmf_object *o, vmf_pgoff at)
{
	struct vmf__page *page = vmf__page_at(o, at);
	struct vmf_frame *frame = NULL;
	bool busy;

	if (!page)
		return false;
	vmf__lock_take(o->port, &o->lock);
	busy = page_break(o, page, &frame);
	vmf__lock_drop(o->port, &o->lock);
	if (frame) /* a fault may still be looking at it: broken frames stay what they are */
		vmf_frame_put(o->port, frame);
	return busy;
}

bool vmf__pages_lost(struct vmf_object *o, vmf_pgoff at, vmf_pgoff end)
{
	if (!vmf__load(&o->port->broken))
		return false;
	for (at = vmf__page_next(o, at, end); at < end; at = vmf__page_next(o, at + 1, end)) {
		struct vmf__page *page = vmf__page_at(o, at);

		if (vmf__page_lost(page))
			return true;
	}
	return false;
}

static void cache_sweep(struct vmf_object *o)
{
	vmf_pgoff at = vmf__page_next(o, 0, o->room);

	while (at < o->room) {
		uint32_t seq = vmf_wait_seq(&o->changed);

		if (vmf__page_broke(o, at))
			(void)o->port->host->wait(o->port->self, &o->changed.seq, seq, 0, false);
		else
			at = vmf__page_next(o, at + 1, o->room);
	}
}

static bool fill_broken(const struct vmf__fill *fill)
{
	bool broken = false;

	for (uint32_t i = 0; i < fill->io.n && !broken; i++)
		broken = vmf__frame_broken(fill->frame[i]);
	return broken;
}

/* What is being read into a broken frame is read once more, into another. */
static void fills_sweep(struct vmf_object *o)
{
	vmf__lock_take(o->port, &o->lock);
	for (struct vmf__fill *fill = o->fills; fill; fill = fill->next)
		if (fill_broken(fill))
			vmf__store(&fill->stale, true);
	vmf__lock_drop(o->port, &o->lock);
}

/* ------------------------------------------------------------------------------------------------ areas */

/* How many pages from va on are one entry, or none; 0: the pmap cannot say. */
static uint64_t entry_sweep(struct vmf_area *a, vmf_va va, int *err)
{
	const struct vmf_pmap_ops *ops = &a->space->ops;
	const struct vmf_frame *frame;
	struct vmf_entry e = { 0 };
	uint64_t in, pages;

	if (!ops->query || ops->query(a->space->pmap, va, &e))
		return 0;
	if (!e.present || e.raw)
		return 1;
	in = va >> a->space->port->shift & (((uint64_t)1 << e.order) - 1);
	pages = ((uint64_t)1 << e.order) - in;
	frame = vmf__phys_frame(a->space->port, e.pfn);
	if (frame && vmf__frame_broken(frame))
		*err = vmf__area_hide(a, va - vmf__bytes(a->space->port, in), (uint64_t)1 << e.order);
	return pages;
}

/* Where a pmap cannot say what it shows, it forgets all of it. */
static int area_sweep(struct vmf_area *a)
{
	uint64_t at = 0, step = 1;
	int err = 0;

	if (a->window.store != VMF_BY_ADDRESS)
		return 0;
	for (; at < a->pages && step && !err; at += step)
		step = entry_sweep(a, a->va + vmf__bytes(a->space->port, at), &err);
	return step || err ? err : vmf__area_hide(a, a->va, a->pages);
}

static int areas_sweep(struct vmf_object *o)
{
	int err = 0, one;

	vmf__lock_take(o->port, &o->areas_lock);
	for (struct vmf_area *a = o->areas; a; a = a->next) {
		one = area_sweep(a);
		err = err ? err : one;
	}
	vmf__lock_drop(o->port, &o->areas_lock);
	return err;
}

static int take_from_all(struct vmf_port *port)
{
	int err = 0, one;

	vmf__slot_shoot(port, NULL, 0, 0);
	for (struct vmf_object *o = object_next(port, NULL); o; o = object_next(port, o)) {
		fills_sweep(o);
		if (o->backed && !o->segmented)
			cache_sweep(o);
		one = areas_sweep(o);
		err = err ? err : one;
	}
	return err;
}

/* --------------------------------------------------------------------------------------------- segments */

static bool segment_has(const struct vmf_object *o, vmf_pfn pfn)
{
	return o->segmented && pfn.n - o->segment.n < o->room;
}

uint64_t vmf__segment_pages(struct vmf_port *port, vmf_pfn first, uint64_t n)
{
	uint64_t there = 0;

	vmf__lock_take(port, &port->all_lock);
	for (const struct vmf_object *o = port->all; o && !there; o = o->all_next)
		if (segment_has(o, first))
			there = vmf__min(n, o->segment.n + o->room - first.n);
	vmf__lock_drop(port, &port->all_lock);
	return there;
}

/* => object lock.  true: somebody is at the page (object->changed) */
static bool segment_mark(struct vmf_object *o, struct vmf__page *page, vmf_pgoff at)
{
	struct vmf_frame *frame = vmf__page_segment(o, at), *none;

	if (!vmf__frame_broken(frame))
		vmf__add(&o->port->broken, 1);
	vmf__set(&frame->kind, (uint8_t)VMF__F_BROKEN);
	vmf__fill_stale(o, at, 1);
	return o->backed && page_break(o, page, &none);
}

static int segment_break(struct vmf_object *o, vmf_pgoff at)
{
	for (;;) {
		uint32_t seq = vmf_wait_seq(&o->changed);
		struct vmf__page *page;
		bool busy;

		vmf__lock_take(o->port, &o->lock);
		page = vmf__page_make(o, at);
		busy = page && segment_mark(o, page, at);
		vmf__lock_drop(o->port, &o->lock);
		if (page && !busy)
			break;
		if (!page && vmf__supply(o->port))
			return -VMF_ENOMEM;
		if (busy)
			(void)o->port->host->wait(o->port->self, &o->changed.seq, seq, 0, false);
	}
	vmf__add(&o->revokes, 1);
	return vmf__object_hide(o, at, 1);
}

/* true: it is an object's */
static bool segment_find(struct vmf_port *port, vmf_pfn pfn, int *err)
{
	struct vmf_object *o = object_next(port, NULL);

	while (o && !segment_has(o, pfn))
		o = object_next(port, o);
	if (!o)
		return false;
	*err = segment_break(o, pfn.n - o->segment.n);
	vmf_object_put(o);
	return true;
}

/* ---------------------------------------------------------------------------------------------- the call */

int vmf__poison_frames(struct vmf_port *port, vmf_pfn first, uint64_t n, uint64_t *found)
{
	int err = 0, one = 0;
	bool ram = false;

	*found = 0;
	for (uint64_t i = 0; i < n; i++) {
		vmf_pfn pfn = { first.n + i };
		bool broke = vmf__phys_break(port, pfn);

		ram |= broke;
		broke = broke || segment_find(port, pfn, &one);
		*found += broke;
		err = err ? err : one;
	}
	one = ram ? take_from_all(port) : 0;
	return err ? err : one;
}
