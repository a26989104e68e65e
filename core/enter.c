/* SPDX-License-Identifier: MIT
 *
 * From an answer to entries: clips a run to the area, merges what is adjacent, and says in a result what the pmap said.
 * => everything here runs in a slot that is ENTERING, so revoke waits for it
 */
#include "core.h"

struct vmf_result vmf__entered(struct vmf_fault *f, long got, bool needed)
{
	if (got > 0) {
		vmf__count(f, entered, (uint64_t)got);
		f->entered_any = true;
	}
	if (got >= 0 || !needed)
		return vmf__result(VMF_OK, 0, 0);
	switch ((int)-got) {
	case VMF_EAGAIN:
		return vmf__result(VMF_RETRY, VMF_WHY_LAYOUT, 0);
	case VMF_ENOMEM:
		return vmf__result(VMF_RETRY, VMF_WHY_RESOURCE, 0);
	case VMF_EEXIST:
		return vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	case VMF_EFAULT:
		return vmf__result(VMF_RETRY, VMF_WHY_RACE, VMF_EFAULT);
	case VMF_EGONE:
		return vmf__result(VMF_SIGSEGV, VMF_WHY_LAYOUT, VMF_EGONE);
	case VMF_ENOSPC:
		return vmf__result(VMF_SIGBUS, VMF_WHY_BOLTS, 0);
	case VMF_ENOSYS:
		return vmf__result(VMF_SIGBUS, VMF_WHY_ATTR, 0);
	default:
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, (int)-got);
	}
}

static inline long enter(struct vmf_fault *f, const struct vmf_run *run)
{
	const struct vmf_pmap_ops *ops = &f->space->ops;
	struct vmf_pmap *pmap = f->space->pmap;

	if (run->prot & VMF_X && ops->icache)
		ops->icache(pmap, run->va, run->n);
	return ops->enter(pmap, run);
}

struct vmf_result vmf__enter(struct vmf_fault *f, struct vmf_run *run, bool needed)
{
	return vmf__entered(f, enter(f, run), needed);
}

/* The part of [at, at + *n) that the fault may enter; false: none of it.  *skip: pages cut off in front. */
static bool clip(const struct vmf_fault *f, vmf_pgoff *at, uint64_t *n, uint32_t *skip)
{
	vmf_pgoff from = vmf__max(*at, f->lo), to = vmf__min(*at + *n, f->hi);

	*skip = (uint32_t)(from - *at);
	*at = from;
	*n = to > from ? to - from : 0;
	return *n != 0;
}

static struct vmf_run run_at(const struct vmf_fault *f, vmf_pgoff at, uint64_t n, unsigned prot)
{
	struct vmf_run run = {
		.va = f->area->va + vmf__bytes(f->port, at - f->area->off), .n = (uint32_t)n, .prot = (uint8_t)prot,
		.attr = f->area->attr, .order = f->area->window.order,
		.need = f->off >= at && f->off < at + n ? (uint32_t)(f->off - at) : 0,
	};

	if (f->trap_flags & VMF_TRAP_WP && prot & VMF_W)
		run.flags |= VMF_RUN_WP;
	return run;
}

static bool holds(const struct vmf_fault *f, vmf_pgoff at, uint64_t n) { return f->off >= at && f->off < at + n; }

/* By address each entry has its own reference, so entries go one by one; what was there already gives it back. */
struct vmf_result vmf__enter_one(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *frame, unsigned prot)
{
	struct vmf_run run = run_at(f, at, 1, prot);
	bool needed = holds(f, at, 1);
	long got;

	run.pfn = frame->pfn;
	vmf_frame_get(frame);
	got = enter(f, &run);
	if (got <= 0)
		vmf_frame_put(f->port, frame);
	return vmf__entered(f, got, needed);
}

/* How many frames from the first are adjacent, so that one call can enter them? */
static uint32_t adjacent(struct vmf_frame *const *frames, uint32_t n)
{
	uint32_t i = 1;

	while (i < n && frames[i]->pfn.n == frames[0]->pfn.n + i)
		i++;
	return i;
}

struct vmf_result vmf__enter_frames(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t count,
				    unsigned prot)
{
	struct vmf_result r = { 0 }, one;
	uint64_t n = count;
	uint32_t skip, run;

	if (!clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	frames += skip;
	if (f->area->overlay)
		return vmf__overlay_frames(f, at, frames, (uint32_t)n, prot);
	if (f->area->window.store == VMF_BY_COPY)
		prot = f->area->prot; /* the bytes are the area's own */
	for (; n; n -= run, at += run, frames += run) {
		if (f->area->window.store == VMF_BY_ADDRESS) {
			run = 1;
			one = vmf__enter_one(f, at, frames[0], prot);
		} else {
			struct vmf_run batch;

			run = adjacent(frames, (uint32_t)n);
			batch = run_at(f, at, run, prot);
			batch.pfn = frames[0]->pfn;
			one = vmf__enter(f, &batch, holds(f, at, run));
		}
		if (one.code != VMF_OK)
			r = one;
	}
	return r;
}

struct vmf_result vmf__enter_segment(struct vmf_fault *f, vmf_pgoff at, uint32_t count, unsigned prot)
{
	uint64_t n = count;
	struct vmf_run run;
	uint32_t skip;

	if (!clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	if (f->area->window.store == VMF_BY_COPY)
		prot = f->area->prot; /* the bytes are the area's own */
	run = run_at(f, at, n, prot);
	run.pfn.n = f->object->segment.n + at;
	return vmf__enter(f, &run, holds(f, at, n));
}

uint32_t vmf__enter_fill(struct vmf_fault *f, const struct vmf__fill *fill, uint32_t count, unsigned prot)
{
	vmf_pgoff at = fill->io.first;
	uint64_t n = count;
	struct vmf_run run;
	uint32_t skip;
	long got;

	if (!clip(f, &at, &n, &skip) || skip)
		return 0;
	run = run_at(f, at, n, prot);
	run.pfn.n = f->object->segment.n + at;
	run.from = fill->frame[0]->pfn;
	run.flags |= VMF_RUN_FILL;
	got = enter(f, &run);
	(void)vmf__entered(f, got, false);
	return got > 0 ? (uint32_t)got : 0;
}

enum vmf_why vmf__pfns_good(struct vmf_port *port, vmf_pfn pfn, uint64_t n, struct vmf_attr *attr)
{
	while (n) {
		struct vmf__range *range = vmf__phys_range(port, pfn);
		uint64_t left;

		if (!range || range->kind != VMF_PHYS_DEVICE)
			return VMF_WHY_HOLE;
		if (!vmf_attr_covers(*attr, range->attr)) {
			if (!attr->strengthen || !vmf_attr_covers(range->attr, *attr))
				return VMF_WHY_ATTR;
			attr->type = range->attr.type;
		}
		left = vmf__min(n, range->first.n + range->pages - pfn.n);
		pfn.n += left;
		n -= left;
	}
	return VMF_WHY_NONE;
}

struct vmf_result vmf__enter_pfns(struct vmf_fault *f, vmf_pgoff at, vmf_pfn pfn, uint32_t count, struct vmf_attr attr,
				  unsigned prot)
{
	uint64_t n = count;
	struct vmf_run run;
	enum vmf_why why;
	uint32_t skip;

	if (!f->area->window.raw)
		return vmf__result(VMF_SIGBUS, VMF_WHY_POLICY, 0);
	if (pfn.n + count < pfn.n || !clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	pfn.n += skip;
	why = vmf__pfns_good(f->port, pfn, n, &attr);
	if (why)
		return vmf__result(VMF_SIGBUS, why, 0);
	if (f->area->overlay) { /* the page alone, and only if it is not private yet */
		if (!holds(f, at, n))
			return vmf__result(VMF_OK, 0, 0);
		pfn.n += f->off - at;
		at = f->off;
		n = 1;
	}
	run = run_at(f, at, n, prot);
	run.pfn = pfn;
	run.attr = attr;
	run.flags |= VMF_RUN_RAW;
	return f->area->overlay ? vmf__overlay_pfn(f, &run) : vmf__enter(f, &run, holds(f, at, n));
}

struct vmf_result vmf__enter_zero(struct vmf_fault *f, vmf_pgoff at, uint64_t n)
{
	struct vmf_run run;
	struct vmf_result r;
	uint32_t skip;

	if (!clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	run = run_at(f, at, vmf__min(n, UINT32_MAX), f->area->prot);
	run.flags |= VMF_RUN_ZERO;
	r = vmf__enter(f, &run, true);
	if (r.code == VMF_OK)
		vmf__count(f, zeroed, n);
	return r;
}

/* A page that was given away, and has lost permissions since: it gets them back, and nobody is asked for it. */
bool vmf__enter_again(struct vmf_fault *f, struct vmf_result *r)
{
	const struct vmf_pmap_ops *ops = &f->space->ops;
	struct vmf_entry e = { 0 };
	struct vmf_run run;

	if (!ops->query || ops->query(f->space->pmap, f->va, &e) || !e.present || e.raw)
		return false;
	run = run_at(f, f->off, 1, f->area->prot);
	run.flags |= VMF_RUN_ZERO; /* of what is there it changes nothing else */
	*r = vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	if (vmf__slot_commit(f->slot))
		*r = vmf__enter(f, &run, true);
	return true;
}

/* ------------------------------------------------------------------------ what drivers hand over */

bool vmf__enter_begin(struct vmf_fault *f, vmf_pgoff at, uint32_t n)
{
	bool exact = !f->widened && at >> 32 == f->off >> 32;

	if (!vmf__slot_commit(f->slot))
		return false;
	f->lo = f->area->off;
	f->hi = f->area->off + f->area->pages;
	if (exact && n == 1 && at == f->off)
		return true;
	f->widened = true;
	vmf__slot_widen(f->port, f->slot, at, n);
	if (vmf__load(&f->object->revokes) == f->revokes)
		return true;
	f->lo = f->off;
	f->hi = f->off + 1;
	if (exact && holds(f, at, n))
		return true;
	vmf__slot_relax(f->slot);
	return false;
}

enum vmf_why vmf__frames_good(const struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!vmf__frame_good(f->port, frames[i], 0))
			return VMF_WHY_DRIVER;
		if (f->area->window.store == VMF_BY_OFFSET && frames[i]->pfn.n != f->object->segment.n + at + i)
			return VMF_WHY_POLICY;
	}
	return VMF_WHY_NONE;
}

/* In the area, not more than it allows, and if it holds the faulting page not less than the access needs. */
static bool inside(const struct vmf_fault *f, vmf_pgoff at, uint32_t n, unsigned prot)
{
	if (holds(f, at, n) && !(prot & vmf__needs(f)))
		return false;
	return n && at >= f->area->off && n <= f->area->pages && at - f->area->off <= f->area->pages - n &&
	       !(prot & ~(unsigned)f->area->prot);
}

/* What counts for the fault is its own page. */
static struct vmf_result install_end(struct vmf_fault *f, vmf_pgoff at, uint32_t n, struct vmf_result r)
{
	vmf__slot_relax(f->slot);
	if (holds(f, at, n)) {
		f->installed = true;
		f->done = r;
	}
	return r;
}

struct vmf_result vmf_install_pfns(const struct vmf_req *req, vmf_pgoff at, vmf_pfn pfn, uint32_t n,
				   struct vmf_attr attr, unsigned prot)
{
	struct vmf_fault *f = req->fault;

	if (!inside(f, at, n, prot))
		return f->done = vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	if (!vmf__enter_begin(f, at, n))
		return f->done = vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	return install_end(f, at, n, vmf__enter_pfns(f, at, pfn, n, attr, prot));
}

struct vmf_result vmf_install_frames(const struct vmf_req *req, vmf_pgoff at, struct vmf_frame *const *frames,
				     uint32_t n, unsigned prot)
{
	struct vmf_fault *f = req->fault;
	enum vmf_why why = VMF_WHY_DRIVER;
	struct vmf_result r;

	if (inside(f, at, n, prot))
		why = vmf__frames_good(f, at, frames, n);
	if (why)
		r = f->done = vmf__result(VMF_SIGBUS, why, 0);
	else if (!vmf__enter_begin(f, at, n))
		r = f->done = vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	else
		r = install_end(f, at, n, vmf__enter_frames(f, at, frames, n, prot));
	vmf__frames_put(f->port, frames, n);
	return r;
}

void vmf__frames_put(struct vmf_port *port, struct vmf_frame *const *frames, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (vmf__frame_good(port, frames[i], 0))
			vmf_frame_put(port, frames[i]);
}
