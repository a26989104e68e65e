/* SPDX-License-Identifier: MIT
 *
 * Bolts: pages that are locked in place because a driver's answer says so.  (Those of map time are reserved by attach()
 * for as long as the area is there.)
 *
 * A bolt is taken in the slot that is ENTERING, and before the entry is made: where it must be had and there is none,
 * nobody sees the page without, neither another thread nor, by copy, the one that is told SIGBUS.  It belongs to the
 * address while entries come and go (a private page is copied, a write is forbidden), until a revoke gives it back:
 * first the bolt, then the entry, so that who has been asked again meanwhile is not left with an entry alone.
 */
#include "core.h"

static bool bolt_covers(const struct vmf_fault *f, const struct vmf_run *run)
{
	return f->va >= run->va && (f->va - run->va) >> f->port->shift < run->n;
}

/* Is there none for this page?  Then what that means.  *fresh: it had none before. */
static int bolt_take(struct vmf_fault *f, const struct vmf_run *run, bool *fresh)
{
	const struct vmf_pmap_ops *ops = &f->space->ops;
	struct vmf_run page = *run;
	int got;

	if (*f->bolt > VMF_BOLT_MUST) {
		(void)vmf__mistake(f, VMF_WHY_DRIVER, "a bolt that is none of enum vmf_bolt");
		return -VMF_EINVAL;
	}
	page.va = f->va;
	page.pfn.n += (f->va - run->va) >> f->port->shift;
	page.n = 1;
	page.need = 0;
	page.flags |= VMF_RUN_BOLT;
	vmf__store(&f->space->bolted, 1u); /* a revoke waits for this slot, and then sees it */
	got = ops->bolt && ops->unbolt ? ops->bolt(f->space->pmap, &page) : -VMF_ENOSPC;
	*fresh = got > 0;
	if (*fresh)
		vmf__count(f, bolted, 1);
	return got == -VMF_ENOSPC && *f->bolt == VMF_BOLT_TRY ? 0 : got < 0 ? got : 0;
}

/* The fault will be tried again, and finds the bolt that it took. */
static bool bolt_again(long err)
{
	return err == -VMF_EAGAIN || err == -VMF_ENOMEM || err == -VMF_EEXIST || err == -VMF_EFAULT;
}

long vmf__bolt_enter(struct vmf_fault *f, const struct vmf_run *run)
{
	bool fresh = false, takes = bolt_covers(f, run) && f->space == f->area->space; /* else a debugger only looks */
	int err = takes ? bolt_take(f, run, &fresh) : 0;
	long got = err ? err : f->space->ops.enter(f->space->pmap, run);

	if (got >= 0 || !fresh || bolt_again(got))
		return got;
	vmf__count(f, bolted, UINT64_MAX);
	(void)f->space->ops.unbolt(f->space->pmap, f->va, 1);
	vmf__lock_take(f->port, &f->object->areas_lock); /* a debugger may be looking at what was there */
	(void)vmf__area_forget(f->area, f->va);
	vmf__lock_drop(f->port, &f->object->areas_lock);
	return got;
}

/* What an area has of its own stays as it is, whatever happens to the object: a revoke is about the rest. */
static bool bolt_own(const struct vmf_area *a, vmf_pgoff at)
{
	const struct vmf__page *page = a->overlay ? vmf__page_at(a->overlay, at) : NULL;

	return page && vmf__load(&page->of);
}

/* The first page at or after `at` that the area has (or has not) of its own; at most `end`. */
static vmf_pgoff bolt_next(const struct vmf_area *a, vmf_pgoff at, vmf_pgoff end, bool wanted)
{
	if (!a->overlay)
		return wanted ? end : at;
	while (at < end && bolt_own(a, at) != wanted)
		at = wanted ? vmf__page_next(a->overlay, at + 1, end) : at + 1;
	return at;
}

int vmf__bolts_back(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	const struct vmf_pmap_ops *ops = &a->space->ops;
	vmf_pgoff at = a->off + ((va - a->va) >> a->space->port->shift), end = at + pages, stop;
	int err = 0;

	if (!vmf__load(&a->space->bolted) || !ops->unbolt)
		return 0;
	for (at = bolt_next(a, at, end, false); at < end && !err; at = bolt_next(a, stop, end, false)) {
		stop = bolt_next(a, at, end, true);
		err = ops->unbolt(a->space->pmap, a->va + vmf__bytes(a->space->port, at - a->off), stop - at);
	}
	return err;
}

vmf_pgoff vmf__bolts_skip(struct vmf_object *o, vmf_pgoff at, vmf_pgoff end, vmf_pgoff *stop)
{
	bool moved;

	*stop = end;
	vmf__lock_take(o->port, &o->areas_lock);
	do {
		moved = false;
		for (const struct vmf_area *a = o->areas; a; a = a->next) {
			if (a->action != VMF_BOLT || at < a->off || at - a->off >= a->pages)
				continue;
			at = a->off + a->pages;
			moved = true;
		}
	} while (moved);
	for (const struct vmf_area *a = o->areas; a; a = a->next)
		if (a->action == VMF_BOLT && a->off > at)
			*stop = vmf__min(*stop, a->off);
	vmf__lock_drop(o->port, &o->areas_lock);
	return vmf__min(at, end);
}
