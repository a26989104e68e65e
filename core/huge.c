/* SPDX-License-Identifier: MIT
 *
 * Frames of higher orders: which one a fault asks for, how it goes down at FALLBACK, and entering what comes.
 *
 * A fault that asks for a frame of order k is about an aligned block of 2^k pages, and its slot covers the block from
 * before the driver is asked: a revoke elsewhere in the object does not hold it up.
 */
#include "core.h"

static uint32_t huge_pages(unsigned order) { return (uint32_t)1 << order; }

static vmf_pgoff huge_first(vmf_pgoff at, unsigned order) { return at >> order << order; }

/* Does the aligned block around the fault lie in the area, at an address that is aligned as well? */
static bool huge_fits(const struct vmf_fault *f, unsigned order)
{
	const struct vmf_area *a = f->area;
	vmf_pgoff first = huge_first(f->off, order);

	if ((a->va >> f->port->shift ^ a->off) & (huge_pages(order) - 1))
		return false;
	return first >= a->off && first + huge_pages(order) <= a->off + a->pages;
}

/* The next order that the window has, below that one. */
static unsigned huge_next(const struct vmf_fault *f, unsigned order)
{
	while (order-- > 0)
		if (f->area->window.orders >> order & 1 && huge_fits(f, order))
			break;
	return order + 1 ? order : 0;
}

static void huge_ask(struct vmf_fault *f, unsigned order)
{
	f->order = (uint8_t)order;
	vmf__slot_hold(f->port, f->slot, f->area, huge_first(f->off, order), huge_pages(order), VMF__ASKING);
}

void vmf__huge_begin(struct vmf_fault *f)
{
	const struct vmf_area *a = f->area;
	const struct vmf_ops *ops = f->object->ops;
	unsigned top = a->order > a->window.order ? a->order : a->window.order;

	/* Only frames come in orders; and first writes are announced page by page. */
	if ((!ops->nopage && !ops->fault) || (ops->mkwrite && a->window.store != VMF_BY_COPY))
		top = 0;
	f->huge = true;
	huge_ask(f, huge_next(f, top + 1));
}

bool vmf__huge_lower(struct vmf_fault *f)
{
	if (!(f->area->window.orders & (huge_pages(f->order) - 1)))
		return false;
	vmf__count(f, fallbacks, 1);
	huge_ask(f, huge_next(f, f->order));
	return true;
}

enum vmf_why vmf__huge_good(const struct vmf_fault *f, struct vmf_frame *const *frames, uint32_t n)
{
	bool good = true; /* a run is of base pages, which are of no order that was asked for */

	for (uint32_t i = 0; i < n && good; i++)
		good = vmf__frame_alive(f->port, frames[i]) && frames[i]->order >= f->order && (n == 1 || !frames[i]->order);
	if (good)
		return VMF_WHY_NONE;
	return (enum vmf_why)vmf__mistake(f, VMF_WHY_DRIVER, "frames that are free, or not one of the order asked for").why;
}

/* Is it entered with an entry of its own order?  Else a page of it is. */
static bool huge_whole(const struct vmf_fault *f, vmf_pgoff at, const struct vmf_frame *frame)
{
	return f->order && frame->order == f->order && huge_first(at, f->order) == huge_first(f->off, f->order);
}

bool vmf__huge_commit(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n)
{
	if (!huge_whole(f, at, frames[0]))
		return vmf__enter_begin(f, at, n);
	if (!f->widened)
		return vmf__slot_commit(f->slot); /* the block has been in the slot since the driver was asked */
	at = huge_first(at, f->order);
	if (!vmf__enter_begin(f, at, huge_pages(f->order)))
		return false;
	if (at >= f->lo && at + huge_pages(f->order) <= f->hi)
		return true;
	vmf__slot_relax(f->slot);
	return false;
}

/* Something else is there, smaller, or larger with less permission: it goes, and the fault tries again.  Whoever looks
 * at what is entered, without a reference on its frame (access.c), holds the lock meanwhile. */
static struct vmf_result huge_make_way(struct vmf_fault *f, vmf_pgoff at, unsigned order)
{
	vmf_va va = f->area->va + vmf__bytes(f->port, at - f->area->off);
	int err = 0;

	vmf__lock_take(f->port, &f->object->areas_lock);
	for (uint32_t i = 0; i < huge_pages(order) && !err; i++)
		err = vmf__area_forget(f->area, va + vmf__bytes(f->port, i));
	vmf__lock_drop(f->port, &f->object->areas_lock);
	return vmf__entered(f, err ? err : -VMF_EEXIST, true);
}

static struct vmf_result huge_enter(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *frame, unsigned order,
				    unsigned prot)
{
	struct vmf_result r = vmf__enter_part(f, at, frame, order, prot);

	if (r.code == VMF_RETRY && r.why == VMF_WHY_RACE && !r.err && f->area->window.store == VMF_BY_ADDRESS)
		return huge_make_way(f, at, order);
	r.order = r.code == VMF_OK ? (uint8_t)order : 0;
	return r;
}

struct vmf_result vmf__huge_enter(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n,
				  unsigned prot)
{
	struct vmf_result r = { 0 }, one;

	if (huge_whole(f, at, frames[0]))
		return huge_enter(f, huge_first(f->off, f->order), frames[0], f->order, prot);
	for (uint32_t i = 0; i < n; i++) {
		one = huge_enter(f, at + i, frames[i], 0, prot);
		if (one.code != VMF_OK)
			r = one;
	}
	return r;
}
