/* SPDX-License-Identifier: MIT
 *
 * The simulated MMU as a pmap.  By offset, a window shows page i of the area's segment or refuses; by copy, an entry
 * owns its bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "machine.h"

#define ORDER_TOP 9u

static struct sim_mmu *mmu_of(struct vmf_pmap *pmap)
{
	return (struct sim_mmu *)(void *)pmap;
}

static int point(struct sim_mmu *m, enum vmf_sim_point which, vmf_va va, uint64_t pages)
{
	return vmf__sim_point(m->sim, which, m->space, va, pages);
}

static void lock(struct sim_mmu *m)
{
	vmf_lock_take(m->sim->port, &m->lock);
}

static void unlock(struct sim_mmu *m)
{
	vmf_lock_drop(m->sim->port, &m->lock);
}

int vmf__sim_supply(struct vmf_pmap *pmap)
{
	struct sim_mmu *m = mmu_of(pmap);
	size_t bytes = sizeof(struct sim_entry) + (m->sim->config.store == VMF_BY_COPY ? m->sim->page : 0);
	int err = point(m, VMF_SIM_SUPPLY, 0, 0);

	lock(m);
	while (!err && m->spares < m->reserve) {
		struct sim_entry *e = calloc(1, bytes);

		if (!e) {
			err = -VMF_ENOMEM;
			break;
		}
		e->next = m->spare;
		m->spare = e;
		m->spares++;
	}
	/* Chains that stay long are only slow. */
	if (m->entries > 2 * m->buckets)
		(void)vmf__sim_buckets(m, 8 * m->buckets);
	unlock(m);
	return err;
}

/* ------------------------------------------------------------------------------------------- attach */

static void fill_window(const struct sim_mmu *m, const struct vmf_map *map, struct vmf_window *w)
{
	uint8_t store = m->sim->config.store;

	*w = (struct vmf_window){
		.size = sizeof(*w),
		.store = store,
		.protect = m->sim->config.protect,
		.zero = store == VMF_BY_COPY,
		.raw = true,
		.fill = store == VMF_BY_OFFSET,
		.orders = store == VMF_BY_ADDRESS ? (2u << ORDER_TOP) - 1 : 1,
		.bolts = map->action == VMF_BOLT ? (uint32_t)map->pages : 0,
	};
}

static int attach(struct sim_mmu *m, const struct vmf_map *map, vmf_pfn segment)
{
	struct sim_range r = {
		.va = map->va, .pages = map->pages, .segment = { segment.n ? segment.n + map->off : 0 },
		.prot = map->prot, .bolts = map->action == VMF_BOLT,
	};
	const struct sim_range *next;

	if (r.va < m->pmap.lo || r.va >= m->pmap.hi || r.pages > (m->pmap.hi - r.va) >> m->sim->config.page_shift)
		return -VMF_EINVAL;
	if (r.bolts && r.pages > m->bolts)
		return -VMF_ENOSPC;
	next = vmf__sim_range_after(m, r.va);
	if (next && next->va < vmf__sim_range_end(m, &r))
		return -VMF_EEXIST;
	if (!vmf__sim_ranges_room(m))
		return -VMF_ENOMEM;
	vmf__sim_range_insert(m, r);
	if (r.bolts)
		m->bolts -= (uint32_t)r.pages;
	return 0;
}

/* Given bytes are shared with nobody; a segment is shared by all; page tables show either. */
static bool window_there(const struct sim_mmu *m, const struct vmf_map *map)
{
	switch (m->sim->config.store) {
	case VMF_BY_COPY:
		return !(map->flags & VMF_SHARED);
	case VMF_BY_OFFSET:
		return map->flags & VMF_SHARED;
	default:
		return true;
	}
}

static int sim_attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw, struct vmf_window *w)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_ATTACH, map->va, map->pages);

	(void)wants_raw;
	if (!err && !window_there(m, map))
		err = -VMF_ENOSYS;
	if (err)
		return err;
	lock(m);
	err = attach(m, map, segment);
	unlock(m);
	if (!err)
		fill_window(m, map, w);
	return err;
}

static int sim_detach(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_DETACH, va, pages);
	vmf_va end = va + vmf__sim_span(m, pages);
	struct sim_range r;

	if (err)
		return err;
	lock(m);
	if (!vmf__sim_ranges_room(m)) {
		unlock(m);
		return -VMF_ENOMEM;
	}
	vmf__sim_drop(m, va, pages, true, g);
	vmf__sim_unbolt(m, va, end);
	vmf__sim_range_cut(m, va);
	vmf__sim_range_cut(m, end);
	while (vmf__sim_range_take(m, va, end, &r))
		m->bolts += r.bolts ? (uint32_t)r.pages : 0;
	unlock(m);
	return 0;
}

/* -------------------------------------------------------------------------------------------- enter */

/* Can this run be shown at this page, which is in range r? */
static int run_fits(const struct sim_mmu *m, const struct sim_range *r, const struct vmf_run *run, vmf_va va,
	uint64_t pfn)
{
	uint8_t store = m->sim->config.store;
	uint64_t page;

	if (!r)
		return -VMF_EGONE;
	if (run->attr.type > VMF_DEVICE || run->attr.port & ~PORT_BITS)
		return -VMF_ENOSYS;
	if (run->flags & VMF_RUN_ZERO)
		return store == VMF_BY_COPY ? 0 : -VMF_ENOSYS;
	if (!vmf__sim_bytes(m->sim, (vmf_pfn){ pfn }))
		return -VMF_EFAULT;
	if (store != VMF_BY_OFFSET || run->flags & VMF_RUN_RAW)
		return 0;
	page = (va - r->va) >> m->sim->config.page_shift;
	return r->segment.n && pfn == r->segment.n + page ? 0 : -VMF_ENOSYS;
}

/* The area's own permissions count where single entries cannot be protected. */
static uint8_t entry_prot(const struct sim_mmu *m, const struct sim_range *r, const struct vmf_run *run)
{
	return m->sim->config.protect ? run->prot : r->prot;
}

/* first: what the entry begins with if it shows what the run says. */
static int enter_again(const struct sim_mmu *m, struct sim_entry *e, const struct sim_range *r,
	const struct vmf_run *run, uint64_t first, unsigned order)
{
	if (e->raw != !!(run->flags & VMF_RUN_RAW) || e->order < order || (!e->owned && e->pfn.n != first))
		return -VMF_EEXIST;
	e->prot |= entry_prot(m, r, run);
	return 0;
}

static bool any_inside(struct sim_mmu *m, vmf_va va, unsigned order)
{
	for (uint64_t i = 0; order && i < 1ull << order; i++)
		if (vmf__sim_find(m, va + vmf__sim_span(m, i)))
			return true;
	return false;
}

static void fill_entry(struct sim_mmu *m, struct sim_entry *e, const struct vmf_run *run, uint64_t pfn)
{
	e->attr = run->attr;
	e->raw = run->flags & VMF_RUN_RAW;
	e->owned = m->sim->config.store == VMF_BY_COPY && !e->raw;
	if (!e->owned)
		e->pfn.n = pfn;
	else if (run->flags & VMF_RUN_ZERO)
		memset(e->page, 0, m->sim->page);
	else
		memcpy(e->page, vmf__sim_bytes(m->sim, (vmf_pfn){ pfn }), m->sim->page);
}

/* Page i of a run, or all of it if order > 0.  1: it is new; 0: it is there; else an error. */
static int enter_one(struct sim_mmu *m, const struct vmf_run *run, uint32_t i, unsigned order)
{
	vmf_va va = run->va + vmf__sim_span(m, i);
	uint64_t pfn = run->pfn.n + i;
	struct sim_range *r = vmf__sim_range(m, va);
	struct sim_entry *e = vmf__sim_find(m, va);
	int err = run_fits(m, r, run, va, pfn);

	if (err)
		return err;
	if (e)
		return enter_again(m, e, r, run, pfn - ((va - e->va) >> m->sim->config.page_shift), order);
	if (any_inside(m, va, order))
		return -VMF_EEXIST;
	if (m->sim->config.store == VMF_BY_ADDRESS && !(run->flags & VMF_RUN_RAW)
	    && vmf__sim_revive(m, va, pfn, order, entry_prot(m, r, run)))
		return 0;
	e = vmf__sim_make(m, va, order);
	if (!e)
		return -VMF_ENOMEM;
	fill_entry(m, e, run, pfn);
	e->prot = entry_prot(m, r, run);
	return 1;
}

/* Bytes first: nobody may see a page that is not filled. */
static long enter_fill(struct sim_mmu *m, const struct vmf_run *run)
{
	for (uint32_t i = 0; i < run->n; i++) {
		int one;

		memcpy(vmf__sim_bytes(m->sim, (vmf_pfn){ run->pfn.n + i }),
		       vmf__sim_bytes(m->sim, (vmf_pfn){ run->from.n + i }), m->sim->page);
		one = enter_one(m, run, i, 0);
		if (one < 0)
			return i ? (long)i : one;
	}
	return (long)run->n;
}

static long enter_run(struct sim_mmu *m, const struct vmf_run *run)
{
	long made = 0;
	int one;

	if (run->flags & VMF_RUN_FILL)
		return enter_fill(m, run);
	if (m->sim->config.store == VMF_BY_ADDRESS && !(run->flags & VMF_RUN_RAW)) {
		one = enter_one(m, run, 0, run->order);
		return one == 1 ? (long)run->n : one;
	}
	if (run->need < run->n) {
		one = enter_one(m, run, run->need, 0);
		if (one < 0)
			return one;
		made += one;
	}
	for (uint32_t i = 0; i < run->n; i++) {
		one = i == run->need ? 0 : enter_one(m, run, i, 0);
		if (one < 0)
			return run->need < run->n ? made : one;
		made += one;
	}
	return made;
}

static long sim_enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct sim_mmu *m = mmu_of(pmap);
	long made = point(m, VMF_SIM_ENTER, run->va, run->n);

	if (made)
		return made;
	lock(m);
	made = enter_run(m, run);
	unlock(m);
	return made;
}

/* -------------------------------------------------------------------------------- remove and the others */

static int sim_remove(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_REMOVE, va, pages);

	if (err)
		return err;
	lock(m);
	vmf__sim_drop(m, va, pages, false, g);
	unlock(m);
	return 0;
}

static int sim_protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_PROTECT, va, pages);

	if (err)
		return err;
	lock(m);
	if (m->sim->config.protect)
		vmf__sim_limit(m, va, pages, (uint8_t)prot);
	else
		err = vmf__sim_protect_ranges(m, va, pages, (uint8_t)prot);
	unlock(m);
	return err;
}

static int sim_clean(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_CLEAN, va, pages);

	if (!err && !m->sim->config.protect)
		err = -VMF_ENOSYS;
	if (err)
		return err;
	lock(m);
	vmf__sim_limit(m, va, pages, VMF_R | VMF_X);
	unlock(m);
	return 0;
}

static int sim_query(struct vmf_pmap *pmap, vmf_va va, struct vmf_entry *out)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_QUERY, va, 1);
	const struct sim_entry *e;

	*out = (struct vmf_entry){ 0 };
	if (err)
		return err;
	lock(m);
	e = vmf__sim_find(m, va);
	if (e)
		*out = (struct vmf_entry){ { e->owned ? 0 : e->pfn.n }, e->attr, e->order, e->prot, true, e->raw };
	unlock(m);
	return 0;
}

static int sim_take(struct vmf_pmap *pmap, vmf_va va, void *page)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_TAKE, va, 1);
	const struct sim_entry *e;

	if (err)
		return err;
	lock(m);
	e = vmf__sim_find(m, va);
	if (e && e->owned)
		memcpy(page, e->page, m->sim->page);
	else
		e = NULL;
	unlock(m);
	return e ? 0 : -VMF_EFAULT;
}

static int sim_give(struct vmf_pmap *pmap, vmf_va va, const void *bytes, size_t n)
{
	struct sim_mmu *m = mmu_of(pmap);
	vmf_va at = va & (m->sim->page - 1);
	struct sim_entry *e;

	lock(m);
	e = vmf__sim_find(m, va - at);
	if (e && e->owned)
		memcpy((char *)e->page + at, bytes, n);
	else
		e = NULL;
	unlock(m);
	return e ? 0 : -VMF_EFAULT;
}

static int sim_bolt(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_BOLT, run->va, run->n);

	if (err)
		return err;
	lock(m);
	err = vmf__sim_bolt(m, run->va);
	unlock(m);
	return err;
}

static int sim_unbolt(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	struct sim_mmu *m = mmu_of(pmap);

	lock(m);
	vmf__sim_unbolt(m, va, va + vmf__sim_span(m, pages));
	unlock(m);
	return 0;
}

static void sim_icache(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	point(mmu_of(pmap), VMF_SIM_ICACHE, va, pages);
}

static void sim_update(struct vmf_pmap *pmap)
{
	struct sim_mmu *m = mmu_of(pmap);

	point(m, VMF_SIM_UPDATE, 0, 0);
	lock(m);
	m->unflushed = 0;
	unlock(m);
}

const struct vmf_pmap_ops vmf__sim_pmap_ops = {
	.size = sizeof(vmf__sim_pmap_ops),
	.attach = sim_attach,
	.detach = sim_detach,
	.enter = sim_enter,
	.remove = sim_remove,
	.protect = sim_protect,
	.clean = sim_clean,
	.query = sim_query,
	.take = sim_take,
	.bolt = sim_bolt,
	.unbolt = sim_unbolt,
	.icache = sim_icache,
	.update = sim_update,
	.supply = vmf__sim_supply,
	.give = sim_give,
};
