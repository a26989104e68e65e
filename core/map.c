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
	    m->attr.type > VMF_DEVICE || m->flags & ~(uint32_t)(VMF_SHARED | VMF_FIXED | VMF_NOFORK | VMF_MIXED))
		return -VMF_EINVAL;
	if (m->flags & VMF_FIXED && !vmf__range_good(space, m->va, m->pages))
		return -VMF_EINVAL;
	if (m->flags & VMF_SHARED && m->maxprot & VMF_W && o->readonly)
		return -VMF_EPERM;
	/* Writes that have to be announced need faults. */
	if (m->action == VMF_RAW && m->prot & VMF_W && o->ops->mkwrite)
		return -VMF_EINVAL;
	return 0;
}

/* The first gap of that many bytes.  => space lock */
static int map_gap(const struct vmf_space *space, uint64_t pages, vmf_va *at)
{
	vmf_va lo = space->pmap->lo, hi = space->pmap->hi, bytes = vmf__bytes(space->port, pages);
	const struct vmf__table *t = space->table;

	for (uint32_t i = 0; i <= t->n; i++) {
		vmf_va end = i < t->n ? vmf__min(t->area[i]->va, hi) : hi;

		if (end > lo && end - lo >= bytes) {
			*at = lo;
			return 0;
		}
		if (i < t->n && vmf__last(t->area[i]) >= hi - 1)
			break;
		if (i < t->n)
			lo = vmf__max(lo, vmf__end(t->area[i]));
	}
	return -VMF_ENOSPC;
}

static bool map_overlaps(const struct vmf_space *space, vmf_va va, uint64_t pages)
{
	uint32_t i = vmf__table_at(space->table, va, space->port->shift);

	return i < space->table->n && space->table->area[i]->va <= va + vmf__bytes(space->port, pages) - 1;
}

static struct vmf_area *map_area(struct vmf_space *space, struct vmf_object *o, const struct vmf_map *m,
				 const struct vmf_window *w)
{
	struct vmf_area like = { .space = space, .object = o, .va = m->va, .off = m->off, .prot = m->prot,
				 .maxprot = m->maxprot, .order = m->order, .action = m->action,
				 .flags = m->flags & ~(uint32_t)VMF_FIXED, .node = m->node, .attr = m->attr,
				 .raw = m->raw, .window = *w, .priv = m->priv };

	return vmf__area_new(space->port, &like, m->va, m->pages);
}

/* A run may be longer than the pmap's reserve: what is there stays, so fill up and go on. */
static int enter_all(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	long got = pmap->ops->enter(pmap, run);

	for (uint32_t tries = 0; got == -VMF_ENOMEM && tries < run->n && pmap->ops->supply; tries++) {
		if (pmap->ops->supply(pmap))
			break;
		got = pmap->ops->enter(pmap, run);
	}
	return got < 0 ? (int)got : 0;
}

/* remap_pfn_range(): the whole range or nothing, before anyone can see the area. */
static int map_raw(struct vmf_space *space, const struct vmf_area *a, vmf_pfn pfn)
{
	struct vmf_attr attr = a->attr;
	uint64_t done = 0;

	if (!a->window.raw)
		return -VMF_ENOSYS;
	if (pfn.n + a->pages < pfn.n || vmf__pfns_good(space->port, pfn, a->pages, &attr))
		return -VMF_EPERM;
	while (done < a->pages) {
		uint32_t n = (uint32_t)vmf__min(a->pages - done, VMF_RUN_MAX);
		struct vmf_run run = { .va = a->va + vmf__bytes(space->port, done), .pfn = { pfn.n + done }, .n = n,
				       .need = UINT32_MAX, .prot = a->prot, .flags = VMF_RUN_RAW, .attr = attr };
		int err = enter_all(space->pmap, &run);

		if (err)
			return err;
		done += n;
	}
	return 0;
}

static int map_insert(struct vmf_space *space, struct vmf_area *a)
{
	struct vmf__table *old = space->table, *t = vmf__table_new(space->port, old->n + 1);
	uint32_t at = vmf__table_at(old, a->va, space->port->shift);

	if (!t)
		return -VMF_ENOMEM;
	for (uint32_t i = 0; i < old->n; i++)
		t->area[i + (i >= at)] = old->area[i];
	t->area[at] = a;
	t->n = old->n + 1;
	vmf__area_link(a);
	vmf__store(&space->table, t);
	vmf__slot_quiesce(space->port, NULL);
	vmf__table_free(space->port, old);
	return 0;
}

/* What the pmap gave must be what was asked for. */
static int map_window_good(const struct vmf_object *o, const struct vmf_map *m, const struct vmf_window *w)
{
	/* A cache of base pages cannot promise the whole of a huge one. */
	if (w->order && o->backed && (!o->stream || (uint32_t)1 << w->order > VMF_RUN_MAX))
		return -VMF_ENOSYS;
	if (!(m->flags & VMF_SHARED) && w->store != VMF_BY_COPY)
		return -VMF_ENOSYS;
	if (m->order > w->order && !(w->orders >> m->order & 1))
		return -VMF_ENOSYS;
	if (m->action == VMF_BOLT && w->bolts < m->pages)
		return -VMF_ENOSPC;
	return 0;
}

static int map_build(struct vmf_space *space, struct vmf_object *o, struct vmf_map *m, struct vmf_area **out)
{
	struct vmf_window w = { .size = sizeof(w), .orders = 1 };
	struct vmf_area *a = NULL;
	int err;

	if (m->flags & VMF_FIXED && map_overlaps(space, m->va, m->pages))
		return -VMF_EEXIST;
	if (!(m->flags & VMF_FIXED)) {
		m->va = 0;
		err = space->pmap->lo != space->pmap->hi ? map_gap(space, m->pages, &m->va) : 0;
		if (err)
			return err;
	}
	err = space->pmap->ops->attach(space->pmap, m, segment_of(o), wants_raw(o, m), &w);
	if (err)
		return err;
	a = map_area(space, o, m, &w);
	err = a ? map_window_good(o, m, &w) : -VMF_ENOMEM;
	if (!err && m->action == VMF_RAW)
		err = map_raw(space, a, m->raw);
	if (!err)
		err = map_insert(space, a);
	if (err) {
		struct vmf_area bare = { .space = space, .object = o, .window = w };

		(void)vmf__area_detach(&bare, m->va, m->pages);
		vmf_area_put(a);
		return err;
	}
	*out = a;
	return 0;
}

static int code_err(struct vmf_result r)
{
	if (r.code == VMF_OOM)
		return -VMF_ENOMEM;
	if (r.code == VMF_SIGBUS)
		return r.why == VMF_WHY_IOERR ? -VMF_EIO : -VMF_EFAULT;
	return r.code == VMF_OK ? 0 : -VMF_EPERM;
}

static int map_populate(struct vmf_space *space, const struct vmf_map *m)
{
	struct vmf_trap trap = { .access = m->prot & VMF_R ? VMF_R : m->prot & VMF_W ? VMF_W : VMF_X };
	struct vmf_result r = { 0 };

	for (uint64_t i = 0; i < m->pages && r.code == VMF_OK; i++) {
		struct vmf_ticket ticket = { 0 };

		trap.va = m->va + vmf__bytes(space->port, i);
		while ((r = vmf_handle(space, &trap, &ticket)).code == VMF_RETRY)
			(void)vmf_ticket_wait(space, &ticket, false);
	}
	return code_err(r);
}

static int map_bolt(struct vmf_space *space, const struct vmf_map *m)
{
	const struct vmf_pmap_ops *ops = space->pmap->ops;
	int err = ops->bolt && ops->query ? 0 : -VMF_ENOSPC;

	for (uint64_t i = 0; i < m->pages && !err; i++) {
		struct vmf_run run = { .va = m->va + vmf__bytes(space->port, i), .n = 1, .prot = m->prot, .attr = m->attr,
				       .flags = VMF_RUN_BOLT };
		struct vmf_entry e;

		err = ops->query(space->pmap, run.va, &e);
		run.pfn = e.pfn;
		if (!err)
			err = ops->bolt(space->pmap, &run);
	}
	return err;
}

int vmf_map(struct vmf_space *space, struct vmf_object *o, const struct vmf_map *map, vmf_va *at)
{
	struct vmf_area *a = NULL;
	uint32_t tries = 0;
	struct vmf_map m;
	int err;

	if (!space || !o || !map || o->port != space->port)
		return -VMF_EINVAL;
	err = vmf__struct_in(&m, sizeof(m), map, map->size, offsetof(struct vmf_map, order));
	if (!err && o->ops->map)
		err = o->ops->map(o, &m);
	m.maxprot = m.maxprot ? m.maxprot : m.prot;
	if (!err)
		err = map_check(space, o, &m);
	if (err)
		return err < 0 ? err : -err;
	do {
		vmf_lock_take(space->port, &space->lock);
		err = map_build(space, o, &m, &a);
		if (!err)
			vmf__add(&a->refs, 1);
		vmf_lock_drop(space->port, &space->lock);
	} while (vmf__layout_again(space, err, &tries));
	if (err)
		return err;
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
