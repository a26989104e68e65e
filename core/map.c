/* SPDX-License-Identifier: MIT
 *
 * Mapping: from a description to an area that faults can find.  All of it happens, or nothing.
 */
#include "core.h"

static bool wants_raw(const struct vmf_object *o, const struct vmf_map *m)
{
	return o->ops->nopfn || o->ops->fault || (m->flags & VMF_MIXED) || m->action == VMF_RAW;
}

static vmf_pfn segment_of(const struct vmf_object *o) { return o->segmented ? o->segment : (vmf_pfn){ 0 }; }

static int map_check(const struct vmf_space *space, const struct vmf_object *o, const struct vmf_map *m)
{
	uint8_t all = VMF_R | VMF_W | VMF_X;

	if (!m->pages || m->pages > UINTPTR_MAX >> space->port->shift || m->off + m->pages < m->off)
		return -VMF_EINVAL;
	if ((m->prot | m->maxprot) & ~all || m->prot & ~m->maxprot || m->order > VMF_ORDER_MAX || m->action > VMF_BOLT ||
	    m->attr.type > VMF_DEVICE || m->attr.zero ||
	    m->flags & ~(uint32_t)(VMF_SHARED | VMF_FIXED | VMF_NOFORK | VMF_MIXED))
		return -VMF_EINVAL;
	if (m->flags & VMF_FIXED && !vmf__range_good(space, m->va, m->pages))
		return -VMF_EINVAL;
	if (m->flags & VMF_SHARED && m->maxprot & VMF_W && o->readonly)
		return -VMF_EPERM;
	/* What a pmap has forgotten comes back by faults, and those ask the backing. */
	if (m->action == VMF_RAW && o->backed)
		return -VMF_EINVAL;
	/* Writes that have to be announced need faults. */
	if (m->action == VMF_RAW && m->prot & VMF_W && o->ops->mkwrite)
		return -VMF_EINVAL;
	return 0;
}

static bool map_overlaps(const struct vmf_space *space, vmf_va va, uint64_t pages)
{
	const struct vmf_area *a = vmf__table_after(space->table, va);
	vmf_va end;

	return (a && a->va <= va + vmf__bytes(space->port, pages) - 1) || vmf__stray_at(space, va, pages, &end);
}

/* The first gap; none if the pmap chooses. */
static int map_place(const struct vmf_space *space, struct vmf_map *m)
{
	vmf_va lo = space->pmap->lo, hi = space->pmap->hi;

	if (m->flags & VMF_FIXED)
		return map_overlaps(space, m->va, m->pages) ? -VMF_EEXIST : 0;
	m->va = 0;
	if (lo == hi)
		return 0;
	do
		if (!vmf__table_gap(space->table, lo, hi, vmf__bytes(space->port, m->pages), &m->va))
			return -VMF_ENOSPC;
	while (vmf__stray_at(space, m->va, m->pages, &lo));
	return 0;
}

/* Does the core copy on write? */
static bool map_overlays(const struct vmf_map *m, const struct vmf_window *w)
{
	return !(m->flags & VMF_SHARED) && w->store == VMF_BY_ADDRESS && !w->cow;
}

static int map_area(struct vmf_space *space, struct vmf_object *o, const struct vmf_map *m, const struct vmf_window *w,
		    struct vmf_area **out)
{
	struct vmf_area like = { .space = space, .object = o, .va = m->va, .off = m->off, .prot = m->prot,
				 .maxprot = m->maxprot, .order = m->order, .action = m->action,
				 .flags = m->flags & ~(uint32_t)VMF_FIXED, .node = m->node, .attr = m->attr,
				 .raw = m->raw, .window = *w, .priv = m->priv };
	int err = map_overlays(m, w) ? vmf__overlay_new(space->port, m, &like.overlay) : 0;

	if (err)
		return err;
	*out = vmf__area_new(space->port, &like, m->va, m->pages);
	vmf__overlay_put(like.overlay);
	return *out ? 0 : -VMF_ENOMEM;
}

/* A run may be longer than the pmap's reserve: what is there stays, so fill up and go on. */
static int enter_all(struct vmf_space *space, const struct vmf_run *run)
{
	const struct vmf_pmap_ops *ops = &space->ops;
	struct vmf_pmap *pmap = space->pmap;
	long got = ops->enter(pmap, run);

	for (uint32_t tries = 0; got == -VMF_ENOMEM && tries < run->n && ops->supply; tries++) {
		if (ops->supply(pmap))
			break;
		got = ops->enter(pmap, run);
	}
	return got < 0 ? (int)got : 0;
}

/* remap_pfn_range(): the whole range or nothing, before anyone can see the area. */
static int map_raw(struct vmf_space *space, struct vmf_area *a, vmf_pfn pfn)
{
	unsigned prot = a->prot;
	uint64_t done = 0;

	if (!a->window.raw || (a->overlay && prot & VMF_W && !a->window.protect))
		return -VMF_ENOSYS;
	if (a->overlay)
		prot &= ~(unsigned)VMF_W;
	if (pfn.n + a->pages < pfn.n || vmf__pfns_good(space, pfn, a->pages, prot, &a->attr) || vmf__alias_map(a))
		return -VMF_EPERM;
	while (done < a->pages) {
		uint32_t n = (uint32_t)vmf__min(a->pages - done, VMF_RUN_MAX);
		struct vmf_run run = { .va = a->va + vmf__bytes(space->port, done), .pfn = { pfn.n + done }, .n = n,
				       .need = UINT32_MAX, .prot = (uint8_t)prot, .flags = VMF_RUN_RAW, .attr = a->attr };
		int err = enter_all(space, &run);

		if (err)
			return err;
		done += n;
	}
	return 0;
}

/* Who breaks a page from now on finds the area, and takes the page away.  Who did before may have found nothing to take
 * away, because it was not entered yet: so whether all are good is asked once more.  Entered: raw, by us. */
static int map_link(struct vmf_area *a, bool entered)
{
	vmf__area_link(a);
	if (!entered || !vmf__alias_map(a))
		return 0;
	vmf__area_unlink(a);
	vmf__alias_area(a, true); /* until nothing is entered any more */
	return -VMF_EPERM;
}

static int map_insert(struct vmf_space *space, struct vmf_area *a, bool entered)
{
	int err = vmf__table_splice(&space->draft, a->va, vmf__last(a), &a, 1);

	if (!err)
		err = map_link(a, entered);
	if (err) {
		vmf__table_discard(&space->draft, space->table);
		return err;
	}
	vmf__store(&space->table, space->draft.root);
	vmf__slot_quiesce(space->port, NULL, 0);
	vmf__table_keep(&space->draft);
	return 0;
}

/* What the pmap gave must be what was asked for. */
static int map_window_good(const struct vmf_space *space, const struct vmf_object *o, const struct vmf_map *m,
			   const struct vmf_window *w)
{
	bool raw = m->action == VMF_RAW || (o->ops->nopfn && !o->ops->nopage && !o->ops->fault);
	bool overlay = map_overlays(m, w);

	/* A cache of base pages cannot promise the whole of a huge one. */
	if (w->order && o->backed && (!o->stream || (uint32_t)1 << w->order > VMF_CFG_IO_RUN))
		return -VMF_ENOSYS;
	if (!(m->flags & VMF_SHARED) && w->store == VMF_BY_OFFSET)
		return -VMF_ENOSYS;
	if (overlay && (w->order || m->order || o->stream))
		return -VMF_ENOSYS;
	/* Device memory is not copied; who can live with seeing it says so. */
	if (overlay && raw && !(m->flags & VMF_MIXED))
		return -VMF_EINVAL;
	if (m->order && !(w->orders >> m->order & 1))
		return -VMF_ENOSYS;
	/* Where frames come from elsewhere, attach() has looked. */
	if (!vmf__phys_node(space->port, m->node, w->store == VMF_BY_ADDRESS))
		return -VMF_EINVAL;
	if (m->action == VMF_BOLT && w->bolts < m->pages)
		return -VMF_ENOSPC;
	return 0;
}

/* raw: what is mapped raw is entered now, and not when it is touched. */
static int map_build(struct vmf_space *space, struct vmf_object *o, struct vmf_map *m, bool raw,
		     struct vmf_area **out)
{
	struct vmf_window w = { .size = sizeof(w), .orders = 1 };
	struct vmf_area *a = NULL;
	int err = vmf__stray_room(space) ? map_place(space, m) : -VMF_ENOMEM;

	if (err)
		return err;
	err = space->ops.attach(space->pmap, m, segment_of(o), wants_raw(o, m), &w);
	if (err)
		return err;
	err = map_window_good(space, o, m, &w);
	if (!err)
		err = map_area(space, o, m, &w, &a);
	if (!err && raw)
		err = map_raw(space, a, m->raw);
	if (!err)
		err = map_insert(space, a, raw);
	if (err) {
		vmf__stray_undo(space, &(struct vmf__stray){ .va = m->va, .pages = m->pages, .window = w, .object = o,
							      .area = a });
		return err;
	}
	*out = a;
	return 0;
}

static int code_err(struct vmf_result r)
{
	if (r.code == VMF_OOM)
		return -VMF_ENOMEM;
	if (r.why == VMF_WHY_LAYOUT)
		return r.code == VMF_SIGSEGV ? -VMF_EGONE : -VMF_EAGAIN;
	if (r.why == VMF_WHY_ATTR)
		return -VMF_ENOSYS;
	if (r.code == VMF_SIGBUS)
		return r.why == VMF_WHY_IOERR ? -VMF_EIO : -VMF_EFAULT;
	return r.code == VMF_OK ? 0 : -VMF_EPERM;
}

/* Private pages are made private at once: a read would show what the first write copies. */
static uint8_t populate_access(const struct vmf_map *m)
{
	if (m->prot & VMF_W && !(m->flags & VMF_SHARED))
		return VMF_W;
	return m->prot & VMF_R ? VMF_R : m->prot & VMF_W ? VMF_W : VMF_X;
}

/* After the block of that order which page i is in: not always its first one. */
static uint64_t populate_next(const struct vmf_map *m, uint64_t i, unsigned order)
{
	return ((((m->off + i) >> order) + 1) << order) - m->off;
}

static int map_populate(struct vmf_space *space, const struct vmf_map *m)
{
	struct vmf_trap trap = { .access = populate_access(m) };
	struct vmf_result r = { 0 };

	for (uint64_t i = 0; i < m->pages && r.code == VMF_OK; i = populate_next(m, i, r.order)) {
		struct vmf_ticket ticket = { 0 };

		trap.va = m->va + vmf__bytes(space->port, i);
		while ((r = vmf_handle(space, &trap, &ticket)).code == VMF_RETRY)
			(void)vmf_ticket_wait(space, &ticket, false);
	}
	return code_err(r);
}

static int map_bolt(struct vmf_space *space, const struct vmf_map *m)
{
	const struct vmf_pmap_ops *ops = &space->ops;
	int got = ops->bolt ? 0 : -VMF_ENOSPC;

	for (uint64_t i = 0; i < m->pages && got >= 0; i++) {
		struct vmf_run run = { .va = m->va + vmf__bytes(space->port, i), .n = 1, .prot = m->prot, .attr = m->attr,
				       .flags = VMF_RUN_BOLT };

		got = ops->bolt(space->pmap, &run);
	}
	return got < 0 ? got : 0;
}

int vmf__map_like(struct vmf_space *space, const struct vmf_area *like, struct vmf_area **out)
{
	struct vmf_map m = { .size = sizeof(m), .flags = like->flags | VMF_FIXED, .va = like->va, .pages = like->pages,
			     .off = like->off, .prot = like->prot, .maxprot = like->maxprot, .order = like->order,
			     .action = like->action == VMF_RAW ? VMF_RAW : VMF_LAZY, .node = like->node, .attr = like->attr,
			     .raw = like->raw, .priv = like->priv };

	return map_build(space, like->object, &m, false, out);
}

int vmf_map(struct vmf_space *space, struct vmf_object *o, const struct vmf_map *map, vmf_va *at)
{
	struct vmf_area *a = NULL;
	uint32_t tries = 0;
	struct vmf_map m;
	int err;

	if (!space || !o || !map || o->port != space->port)
		return -VMF_EINVAL;
	err = vmf_struct_in(&m, sizeof(m), map, offsetof(struct vmf_map, order));
	if (!err && o->ops->map)
		err = o->ops->map(o, &m);
	m.maxprot = m.maxprot ? m.maxprot : m.prot;
	if (!err)
		err = map_check(space, o, &m);
	if (err)
		return err < 0 ? err : -err;
	do {
		(void)vmf__strays_end(space);
		vmf__lock_take(space->port, &space->lock);
		err = map_build(space, o, &m, m.action == VMF_RAW, &a);
		if (!err)
			vmf__add(&a->refs, 1);
		vmf__lock_drop(space->port, &space->lock);
	} while (vmf__layout_again(space, err, &tries));
	if (err) {
		(void)vmf__strays_end(space);
		return err;
	}
	vmf__area_opened(a);
	vmf_area_put(a);
	if (m.action == VMF_POPULATE || m.action == VMF_BOLT)
		err = map_populate(space, &m);
	if (!err && m.action == VMF_BOLT)
		err = map_bolt(space, &m);
	if (err)
		(void)vmf_unmap(space, m.va, m.pages);
	else if (at)
		*at = m.va;
	return err;
}
