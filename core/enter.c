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
	case VMF_EPERM:
		return vmf__result(VMF_SIGBUS, VMF_WHY_POLICY, 0);
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
	if (f->bolt && *f->bolt)
		return vmf__bolt_enter(f, run);
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

/* How many of n pages from `at` on a driver's object has: what lies past its end is never shown, and not recorded.
 * (A backing's may become shorter at any time, and its huge pages reach out of it.) */
static uint64_t existing(const struct vmf_fault *f, vmf_pgoff at, uint64_t n)
{
	const struct vmf_object *o = f->object;

	return o->backed ? n : at < o->room ? vmf__min(n, o->room - at) : 0;
}

/* A debugger's stand-in of a space, which enters nothing. */
static bool only_looks(const struct vmf_fault *f) { return f->space != f->area->space; }

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

/* Broken, adopted, or not for certain with the area's attributes? */
static inline bool frame_special(const struct vmf_fault *f, const struct vmf_frame *frame)
{
	return vmf__peek(&frame->kind) > VMF__F_SEGMENT || vmf__attr_odd(f);
}

/* May it be entered, and how?  Broken frames are entered nowhere; adopted ones are recorded, and not counted where only
 * the window's own frames are entered. */
static struct vmf_result frame_as(struct vmf_fault *f, vmf_pgoff at, const struct vmf_frame *frame, struct vmf_run *run)
{
	if (vmf__frame_broken(frame))
		return vmf__result(VMF_POISON, VMF_WHY_NONE, 0);
	if (!vmf__frame_attr(f, frame, &run->attr))
		return vmf__result(VMF_SIGBUS, VMF_WHY_ATTR, 0);
	if (vmf__peek(&frame->kind) != VMF__F_ADOPTED)
		return vmf__result(VMF_OK, 0, 0);
	if (f->area->window.store != VMF_BY_ADDRESS && !f->area->window.raw)
		return vmf__result(VMF_SIGBUS, VMF_WHY_POLICY, 0);
	run->flags |= f->area->window.store != VMF_BY_ADDRESS ? VMF_RUN_RAW : 0;
	return vmf__alias_claim(f, at, frame->pfn, 1, &run->attr, NULL, true);
}

static struct vmf_result frame_entered(struct vmf_fault *f, vmf_pgoff at, const struct vmf_frame *frame,
				       const struct vmf_run *run, long got)
{
	if (vmf__peek(&frame->kind) == VMF__F_ADOPTED && (got < 0 || only_looks(f)))
		vmf__alias_undo(f, at, frame->pfn, 1, run->attr);
	return vmf__entered(f, got, holds(f, at, run->n));
}

/* By address each entry has its own reference, so entries go one by one; what was there already gives it back. */
struct vmf_result vmf__enter_one(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *frame, unsigned prot)
{
	struct vmf_run run = run_at(f, at, 1, prot);
	bool needed = holds(f, at, 1);
	long got;

	run.pfn = frame->pfn;
	if (frame_special(f, frame)) {
		struct vmf_result r = frame_as(f, at, frame, &run);

		if (r.code != VMF_OK)
			return needed ? r : vmf__result(VMF_OK, 0, 0);
	}
	vmf_frame_get(frame);
	got = enter(f, &run);
	if (got <= 0)
		vmf_frame_put(f->port, frame);
	return frame_entered(f, at, frame, &run, got);
}

struct vmf_result vmf__enter_part(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *frame, unsigned order,
				  unsigned prot)
{
	bool counted = f->area->window.store == VMF_BY_ADDRESS, needed = holds(f, at, 1u << order);
	struct vmf_run run = run_at(f, at, 1u << order, counted ? prot : f->area->prot);
	long got;

	if (frame_special(f, frame)) {
		struct vmf_result r = frame_as(f, at, frame, &run);

		if (r.code != VMF_OK)
			return needed ? r : vmf__result(VMF_OK, 0, 0);
	}
	run.order = (uint8_t)order;
	run.pfn.n = frame->pfn.n + (at & ((1u << frame->order) - 1));
	if (counted)
		vmf_frame_get(frame);
	got = enter(f, &run);
	if (counted && got <= 0)
		vmf_frame_put(f->port, frame);
	return frame_entered(f, at, frame, &run, got);
}

/* How many frames from the first are adjacent, so that one call can enter them? */
static uint32_t adjacent(const struct vmf_fault *f, struct vmf_frame *const *frames, uint32_t n)
{
	uint32_t i = 1;

	if (frame_special(f, frames[0]))
		return 1;
	while (i < n && frames[i]->pfn.n == frames[0]->pfn.n + i && !frame_special(f, frames[i]))
		i++;
	return i;
}

/* Not counted: as many as are adjacent, in one call. */
static struct vmf_result enter_adjacent(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n,
					unsigned prot)
{
	struct vmf_run run = run_at(f, at, n, prot);

	struct vmf_result r;

	run.pfn = frames[0]->pfn;
	if (!frame_special(f, frames[0]))
		return vmf__enter(f, &run, holds(f, at, n));
	r = frame_as(f, at, frames[0], &run);
	if (r.code != VMF_OK)
		return holds(f, at, n) ? r : vmf__result(VMF_OK, 0, 0);
	return frame_entered(f, at, frames[0], &run, enter(f, &run));
}

struct vmf_result vmf__enter_frames(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t count,
				    unsigned prot)
{
	struct vmf_result r = { 0 }, one;
	uint64_t n = f->order ? count : existing(f, at, count);
	uint32_t skip, run;

	if (!clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	frames += skip;
	if (f->huge)
		return vmf__huge_enter(f, at, frames, (uint32_t)n, prot);
	if (f->area->overlay)
		return vmf__overlay_frames(f, at, frames, (uint32_t)n, prot);
	if (f->area->window.store == VMF_BY_COPY)
		prot = f->area->prot; /* the bytes are the area's own */
	for (; n; n -= run, at += run, frames += run) {
		if (f->area->window.store == VMF_BY_ADDRESS) {
			run = 1;
			one = vmf__enter_one(f, at, frames[0], prot);
		} else {
			run = adjacent(f, frames, (uint32_t)n);
			one = enter_adjacent(f, at, frames, run, prot);
		}
		if (one.code != VMF_OK)
			r = one;
	}
	return r;
}

/* Does the area want what the memory of segments, and what the platform copies to, is not? */
static inline bool area_odd(const struct vmf_fault *f) { return f->area->attr.type | f->area->attr.port; }

struct vmf_result vmf__enter_segment(struct vmf_fault *f, vmf_pgoff at, uint32_t count, unsigned prot)
{
	uint64_t n = count;
	struct vmf_run run;
	uint32_t skip;

	if (!clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	if (area_odd(f))
		return vmf__result(VMF_SIGBUS, VMF_WHY_ATTR, 0);
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

	if (!clip(f, &at, &n, &skip) || skip || area_odd(f))
		return 0;
	run = run_at(f, at, n, prot);
	run.pfn.n = f->object->segment.n + at;
	run.from = fill->frame[0]->pfn;
	run.flags |= VMF_RUN_FILL;
	got = enter(f, &run);
	(void)vmf__entered(f, got, false);
	return got > 0 ? (uint32_t)got : 0;
}

/* Is it part of one device, asked for as it is, and nobody is to be asked? */
static inline bool pfns_plain(const struct vmf_port *port, const struct vmf__range *range, vmf_pfn pfn, uint32_t n,
			      struct vmf_attr attr)
{
	return range && range->kind == VMF_PHYS_DEVICE && !port->may && n <= range->first.n + range->pages - pfn.n &&
	       attr.type == range->attr.type && attr.port == range->attr.port;
}

/* => *attr: strengthened if need be, once it is claimed */
static struct vmf_result pfns_claim(struct vmf_fault *f, vmf_pgoff at, vmf_pfn pfn, uint32_t n, unsigned prot,
				    struct vmf_attr *attr)
{
	struct vmf__range *range = vmf__phys_range(f->port, pfn);
	enum vmf_why why = VMF_WHY_NONE;

	if (!pfns_plain(f->port, range, pfn, n, *attr))
		why = vmf__pfns_good(f->area->space, pfn, n, prot, attr);
	if (why == VMF_WHY_HOLE)
		return vmf__mistake(f, why, "a pfn in a hole or a reserved range of the memory map");
	return why ? vmf__result(VMF_SIGBUS, why, 0) : vmf__alias_claim(f, at, pfn, n, attr, range, false);
}

/* Something is in the way of the run: the page that the fault is about may be had. */
__attribute__((noinline)) static struct vmf_result pfns_alone(struct vmf_fault *f, vmf_pgoff *at, vmf_pfn *pfn,
							      uint64_t *n, unsigned prot, struct vmf_attr *attr)
{
	pfn->n += f->off - *at;
	*at = f->off;
	*n = 1;
	return pfns_claim(f, *at, *pfn, 1, prot, attr);
}

struct vmf_result vmf__enter_pfns(struct vmf_fault *f, vmf_pgoff at, vmf_pfn pfn, uint32_t count,
				  struct vmf_attr wanted, unsigned prot)
{
	struct vmf_attr attr = wanted;
	struct vmf_result r = { 0 };
	struct vmf_run run;
	uint64_t n = existing(f, at, count);
	uint32_t skip;
	bool needed;

	if (!f->area->window.raw)
		return vmf__result(VMF_SIGBUS, VMF_WHY_POLICY, 0);
	if (pfn.n + count < pfn.n || !clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	needed = holds(f, at, n);
	pfn.n += skip;
	if (f->area->overlay && !needed) /* the page alone, and only if it is not private yet */
		return r;
	if (!f->area->overlay)
		r = pfns_claim(f, at, pfn, (uint32_t)n, prot, &attr);
	if (f->area->overlay || (r.code != VMF_OK && r.why != VMF_WHY_HOLE && n > 1 && needed)) {
		attr = wanted;
		r = pfns_alone(f, &at, &pfn, &n, prot, &attr);
	}
	if (r.code != VMF_OK)
		return r;
	run = run_at(f, at, n, prot);
	run.pfn = pfn;
	run.attr = attr;
	run.flags |= VMF_RUN_RAW;
	r = f->area->overlay ? vmf__overlay_pfn(f, &run) : vmf__enter(f, &run, needed);
	if (r.code != VMF_OK || only_looks(f)) /* who tries again may not get so far, or never come */
		vmf__alias_undo(f, at, pfn, run.n, attr);
	return r;
}

struct vmf_result vmf__enter_zero(struct vmf_fault *f, vmf_pgoff at, uint64_t n)
{
	struct vmf_run run;
	struct vmf_result r;
	uint32_t skip;

	if (!clip(f, &at, &n, &skip))
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	if (area_odd(f))
		return vmf__result(VMF_SIGBUS, VMF_WHY_ATTR, 0);
	run = run_at(f, at, vmf__min(n, UINT32_MAX), f->area->prot);
	run.flags |= VMF_RUN_ZERO;
	r = vmf__enter(f, &run, true);
	if (r.code != VMF_OK)
		return r;
	vmf__count(f, zeroed, n);
	r.order = run.order;
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

bool vmf__frames_begin(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n)
{
	return f->huge ? vmf__huge_commit(f, at, frames, n) : vmf__enter_begin(f, at, n);
}

enum vmf_why vmf__frames_good(const struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n)
{
	if (f->huge)
		return vmf__huge_good(f, frames, n);
	for (uint32_t i = 0; i < n; i++) {
		if (!vmf__frame_good(f->port, frames[i], 0))
			return (enum vmf_why)vmf__mistake(f, VMF_WHY_DRIVER, "a frame that is free, of another order or port").why;
		if (f->area->window.store == VMF_BY_OFFSET && frames[i]->pfn.n != f->object->segment.n + at + i &&
		    vmf__peek(&frames[i]->kind) != VMF__F_ADOPTED)
			return (enum vmf_why)vmf__mistake(f, VMF_WHY_POLICY, "a frame that is not its page's, by offset").why;
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

/* A second entry for the page would be lost, and whoever hands it over does not know which one is there. */
static bool install_wrong(struct vmf_fault *f, vmf_pgoff at, uint32_t n, unsigned prot)
{
	if (!inside(f, at, n, prot))
		f->done = vmf__mistake(f, VMF_WHY_DRIVER, "a run is installed that the area does not have or allow");
	else if (f->installed && f->done.code == VMF_OK && holds(f, at, n))
		f->done = vmf__mistake(f, VMF_WHY_DRIVER, "the page is installed twice");
	else
		return false;
	return true;
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
	struct vmf_fault *f = req ? req->fault : NULL;

	if (!f)
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	if (install_wrong(f, at, n, prot))
		return f->done;
	pfn.n += vmf__install_clean(f, &at, &n, &prot);
	if (!n)
		return vmf__result(VMF_OK, 0, 0);
	if (!vmf__enter_begin(f, at, n))
		return f->done = vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	return install_end(f, at, n, vmf__enter_pfns(f, at, pfn, n, attr, prot));
}

static struct vmf_result install_frames(struct vmf_fault *f, vmf_pgoff at, struct vmf_frame *const *frames, uint32_t n,
					unsigned prot)
{
	frames += vmf__install_clean(f, &at, &n, &prot);
	if (!n)
		return vmf__result(VMF_OK, 0, 0);
	if (!vmf__frames_begin(f, at, frames, n))
		return f->done = vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	return install_end(f, at, n, vmf__enter_frames(f, at, frames, n, prot));
}

struct vmf_result vmf_install_frames(const struct vmf_req *req, vmf_pgoff at, struct vmf_frame *const *frames,
				     uint32_t n, unsigned prot)
{
	struct vmf_fault *f = req ? req->fault : NULL;
	struct vmf_result r = vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	enum vmf_why why;

	if (!f || !frames)
		return f ? f->done = r : r;
	why = install_wrong(f, at, n, prot) ? (enum vmf_why)f->done.why : vmf__frames_good(f, at, frames, n);
	if (why)
		r = f->done = vmf__result(VMF_SIGBUS, why, 0);
	else
		r = install_frames(f, at, frames, n, prot);
	vmf__frames_put(f->port, frames, n);
	return r;
}

void vmf__frames_put(struct vmf_port *port, struct vmf_frame *const *frames, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (vmf__frame_alive(port, frames[i]))
			vmf_frame_put(port, frames[i]);
}
