/* SPDX-License-Identifier: MIT
 *
 * Overlays: the pages that private areas have of their own, where the platform does not copy on write itself.
 *
 * An overlay is an object that no driver knows of: its tree holds a frame for each page that was written, and shows
 * through to the area's object elsewhere.  A page of the object is entered without VMF_W; the first write copies it.  A
 * copy of the space gets an overlay with the same frames, which both mark as shared until one of them writes.
 *
 * Whatever is entered in such an area is entered under the overlay's lock, so that nothing can come between looking
 * into it and entering.  The pieces of an area that was cut have one overlay.
 */
#include "core.h"

static bool page_shared(const struct vmf__page *page) { return vmf__peek(&page->word) & VMF__P_SHARED; }

static void page_share(struct vmf__page *page) { vmf__store(&page->word, vmf__peek(&page->word) | VMF__P_SHARED); }

static void page_own(struct vmf__page *page, struct vmf_frame *frame)
{
	vmf__store(&page->of, (void *)frame);
	vmf__store(&page->word, vmf__peek(&page->word) & ~(uint32_t)VMF__P_SHARED);
}

static struct vmf_frame *page_frame(const struct vmf__page *page) { return page ? vmf__load(&page->of) : NULL; }

/* Where entries cannot be write-protected, whatever is entered can be written. */
static bool must_own(const struct vmf_area *a, unsigned access)
{
	return access == VMF_W || (!a->window.protect && vmf__peek(&a->may) & VMF_W);
}

int vmf__overlay_new(struct vmf_port *port, const struct vmf_map *m, struct vmf_object **out)
{
	static const struct vmf_ops none = { .size = sizeof(none) };
	int err = vmf__object_new(port, out, &none, NULL, m->off + m->pages, m->off + m->pages, false);

	if (!err)
		(*out)->lock.rank = VMF_RANK_OVERLAY;
	return err;
}

/* ------------------------------------------------------------------------------------------- faults */

/* What is entered at the fault's page goes: something else will be there. */
static struct vmf_result forget(struct vmf_fault *f)
{
	f->trap_flags &= (uint8_t)~VMF_TRAP_WP;
	return vmf__entered(f, vmf__area_forget(f->area, f->va), true);
}

static struct vmf_frame *copy_of(struct vmf_fault *f, const struct vmf_frame *frame)
{
	struct vmf_frame *copy;

	if (vmf_frame_alloc(f->port, 0, f->area->node, false, &copy))
		return NULL;
	memcpy(vmf_frame_bytes(f->port, copy), vmf_frame_bytes(f->port, frame), vmf__psize(f->port));
	return copy;
}

/* A frame that another overlay may have too becomes this one's, as it is if the others have let go. => overlay lock */
static struct vmf_result own(struct vmf_fault *f, struct vmf__page *page)
{
	struct vmf_frame *frame = page->of, *copy;
	struct vmf_result r = forget(f);

	if (r.code != VMF_OK)
		return r;
	if (vmf__load(&frame->refs) == 1) {
		page_own(page, frame);
		return r;
	}
	copy = copy_of(f, frame);
	if (!copy)
		return vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	page_own(page, copy);
	vmf_frame_put(f->port, frame);
	return r;
}

/* => overlay lock; the page has a frame */
static struct vmf_result show(struct vmf_fault *f, struct vmf__page *page)
{
	struct vmf_result r = { 0 };

	if (vmf__frame_broken(page->of))
		return vmf__result(VMF_POISON, 0, 0);
	if (page_shared(page) && must_own(f->area, f->access))
		r = own(f, page);
	if (r.code != VMF_OK)
		return r;
	return vmf__enter_one(f, f->off, page->of, f->area->prot & ~(page_shared(page) ? (unsigned)VMF_W : 0u));
}

bool vmf__overlay_fault(struct vmf_fault *f, struct vmf_result *r)
{
	struct vmf_object *o = f->area->overlay;
	struct vmf__page *page = vmf__page_at(o, f->off);
	bool there;

	if (!page_frame(page))
		return false;
	vmf__lock_take(f->port, &o->lock);
	there = page_frame(page); /* a copy that could not be entered is taken back */
	if (there)
		*r = show(f, page);
	vmf__lock_drop(f->port, &o->lock);
	return there;
}

/* The first write to a page of the object.  What could not be entered is no page of the area's own: else the next fault
 * would enter it, and nobody would ask the driver, who may want a bolt. => overlay lock */
static struct vmf_result copy_up(struct vmf_fault *f, const struct vmf_frame *frame)
{
	struct vmf__page *page = vmf__page_make(f->area->overlay, f->off);
	struct vmf_frame *copy = page ? copy_of(f, frame) : NULL;
	struct vmf_result r;

	if (!copy)
		return vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	r = forget(f);
	if (r.code == VMF_OK) {
		page_own(page, copy);
		r = show(f, page);
	}
	if (r.code != VMF_OK) {
		page_own(page, NULL);
		vmf_frame_put(f->port, copy);
	}
	return r;
}

/* => overlay lock */
static struct vmf_result enter_page(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *frame, unsigned prot)
{
	struct vmf__page *page = vmf__page_at(f->area->overlay, at);

	if (page_frame(page))
		return at == f->off ? show(f, page) : vmf__result(VMF_OK, 0, 0);
	if (vmf__frame_broken(frame))
		return vmf__result(at == f->off ? VMF_POISON : VMF_OK, 0, 0);
	if (at == f->off && must_own(f->area, f->access)) {
		if (vmf__peek(&frame->kind) == VMF__F_ADOPTED) /* device memory is not copied */
			return vmf__result(VMF_SIGBUS, VMF_WHY_POLICY, 0);
		return copy_up(f, frame);
	}
	if (must_own(f->area, VMF_R))
		return vmf__result(VMF_OK, 0, 0);
	return vmf__enter_one(f, at, frame, prot & ~(unsigned)VMF_W);
}

struct vmf_result vmf__overlay_frames(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n,
				      unsigned prot)
{
	struct vmf_object *o = f->area->overlay;
	struct vmf_result r = { 0 }, one;

	vmf__lock_take(f->port, &o->lock);
	for (uint32_t i = 0; i < n; i++) {
		one = enter_page(f, at + i, frames[i], prot);
		if (one.code != VMF_OK)
			r = one;
	}
	vmf__lock_drop(f->port, &o->lock);
	return r;
}

struct vmf_result vmf__overlay_zero(struct vmf_fault *f)
{
	struct vmf_object *o = f->area->overlay;
	struct vmf_frame *frame;
	struct vmf__page *page;
	struct vmf_result r;

	vmf__lock_take(f->port, &o->lock);
	page = vmf__page_make(o, f->off);
	if (page && !page->of && !vmf_frame_alloc(f->port, 0, f->area->node, true, &frame)) {
		page_own(page, frame);
		vmf__count(f, zeroed, 1);
	}
	r = page_frame(page) ? show(f, page) : vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	vmf__lock_drop(f->port, &o->lock);
	return r;
}

/* Device memory is not copied: it is shown to who reads, and who writes is refused. */
struct vmf_result vmf__overlay_pfn(struct vmf_fault *f, struct vmf_run *run)
{
	struct vmf_object *o = f->area->overlay;
	struct vmf__page *page;
	struct vmf_result r;

	if (!(f->area->flags & VMF_MIXED) || must_own(f->area, f->access))
		return vmf__result(VMF_SIGBUS, VMF_WHY_POLICY, 0);
	run->prot &= (uint8_t)~VMF_W;
	vmf__lock_take(f->port, &o->lock);
	page = vmf__page_at(o, f->off);
	r = page_frame(page) ? show(f, page) : vmf__enter(f, run, true);
	vmf__lock_drop(f->port, &o->lock);
	return r;
}

/* ------------------------------------------------------------------------------------ unmap, and copies */

void vmf__overlay_drop(const struct vmf_area *a, vmf_va va, uint64_t n)
{
	struct vmf_object *o = a->overlay;
	vmf_pgoff at = a->off + ((va - a->va) >> o->port->shift), end = at + n;

	vmf__lock_take(o->port, &o->lock);
	for (at = vmf__page_next(o, at, end); at < end; at = vmf__page_next(o, at + 1, end)) {
		struct vmf__page *page = vmf__page_at(o, at);
		struct vmf_frame *frame = page->of;

		page_own(page, NULL);
		if (frame)
			vmf_frame_put(o->port, frame);
	}
	vmf__lock_drop(o->port, &o->lock);
}

/* No page of the range can be written any more without a fault. => overlay lock */
static int forbid_writes(struct vmf_area *a, vmf_pgoff first, uint64_t n)
{
	vmf_va va = a->va + vmf__bytes(a->space->port, first - a->off);

	return a->window.protect ? vmf__area_clean(a, va, n) : vmf__area_remove(a, va, n);
}

/* The pages [*at, end) of a part that is locked at a time; *at: how far it came.  -VMF_ENOMEM: the reserve is empty.
 * => both overlays' locks (`to` is not in use yet) */
static int share_pages(struct vmf_object *to, struct vmf_object *from, vmf_pgoff *at, vmf_pgoff end)
{
	for (; *at < end; ++*at) {
		struct vmf__page *page = vmf__page_at(from, *at), *copy;

		if (!page_frame(page))
			continue;
		copy = vmf__page_make(to, *at);
		if (!copy)
			return -VMF_ENOMEM;
		vmf_frame_get(page->of);
		page_own(copy, page->of);
		page_share(copy);
		page_share(page);
	}
	return 0;
}

static int copy_part(struct vmf_area *to, struct vmf_area *from, vmf_pgoff *at, vmf_pgoff end)
{
	struct vmf_object *o = from->overlay;
	vmf_pgoff stop;
	int err = 0;

	vmf__lock_take(o->port, &o->lock);
	*at = vmf__page_next(o, *at, end);
	stop = vmf__min(end, *at + VMF_CFG_GATHER);
	if (*at < stop)
		err = forbid_writes(from, *at, stop - *at);
	if (!err)
		err = share_pages(to->overlay, o, at, stop);
	vmf__lock_drop(o->port, &o->lock);
	return err;
}

int vmf__overlay_copy(struct vmf_area *to, struct vmf_area *from)
{
	vmf_pgoff at = from->off, end = from->off + from->pages, last = end;
	int err = 0;

	while (at < end && !err) {
		err = copy_part(to, from, &at, end);
		/* An empty reserve is no error if filling it up lets us get further. */
		if (err == -VMF_ENOMEM && at != last) {
			last = at;
			err = vmf__supply(from->space->port);
		}
	}
	return err;
}
