/* SPDX-License-Identifier: MIT
 *
 * The simulated MMU: a hash of entries, and the ranges that areas were attached to.  Its rules: an entry is found by
 * every page that it covers; a by-offset entry shows page i of the area's segment or is refused; a by-copy entry owns
 * its bytes.
 */
#include <stdlib.h>
#include <string.h>
#include "machine.h"

#define ORDER_TOP 9u

static struct sim_mmu *mmu_of(struct vmf_pmap *pmap)
{
	return (struct sim_mmu *)(void *)pmap;
}

static vmf_va span(const struct sim_mmu *m, uint64_t pages)
{
	return (vmf_va)pages << m->sim->config.page_shift;
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

/* ------------------------------------------------------------------------------------------- ranges */

static vmf_va range_end(const struct sim_mmu *m, const struct sim_range *r)
{
	return r->va + span(m, r->pages);
}

/* The first range that ends after va. */
static uint32_t range_at(const struct sim_mmu *m, vmf_va va)
{
	uint32_t i = 0;

	while (i < m->ranges && range_end(m, &m->range[i]) <= va)
		i++;
	return i;
}

struct sim_range *vmf__sim_range(struct sim_mmu *m, vmf_va va)
{
	uint32_t i = range_at(m, va);

	return i < m->ranges && m->range[i].va <= va ? &m->range[i] : NULL;
}

static bool ranges_room(struct sim_mmu *m, uint32_t more)
{
	struct sim_range *bigger;

	if (m->ranges + more <= m->room)
		return true;
	bigger = realloc(m->range, (m->room * 2 + 16) * sizeof(*bigger));
	if (!bigger)
		return false;
	m->range = bigger;
	m->room = m->room * 2 + 16;
	return true;
}

static void range_insert(struct sim_mmu *m, uint32_t i, struct sim_range r)
{
	memmove(m->range + i + 1, m->range + i, (m->ranges - i) * sizeof(r));
	m->range[i] = r;
	m->ranges++;
}

/* Makes va a boundary.  There is room for one more. */
static void range_cut(struct sim_mmu *m, vmf_va va)
{
	struct sim_range *r = vmf__sim_range(m, va), tail;
	uint64_t head;

	if (!r || r->va == va)
		return;
	head = (va - r->va) >> m->sim->config.page_shift;
	tail = *r;
	tail.va = va;
	tail.pages -= head;
	if (tail.segment.n)
		tail.segment.n += head;
	r->pages = head;
	range_insert(m, (uint32_t)(r - m->range) + 1, tail);
}

/* ------------------------------------------------------------------------------------------ entries */

static struct sim_entry **bucket_of(struct sim_mmu *m, vmf_va va)
{
	uint64_t page = va >> m->sim->config.page_shift;

	return &m->bucket[(page ^ page >> 12 ^ page >> 24) % BUCKETS];
}

struct sim_entry *vmf__sim_find(struct sim_mmu *m, vmf_va va)
{
	for (unsigned order = 0; m->orders >> order; order++) {
		vmf_va start = va & ~(span(m, 1ull << order) - 1);

		if (!(m->orders >> order & 1))
			continue;
		for (struct sim_entry *e = *bucket_of(m, start); e; e = e->next)
			if (e->va == start && e->order == order && !e->gone)
				return e;
	}
	return NULL;
}

struct sim_entry *vmf__sim_make(struct sim_mmu *m, vmf_va va, unsigned order)
{
	struct sim_entry *e = m->spare, **bucket = bucket_of(m, va);

	if (!e)
		return NULL;
	m->spare = e->next;
	m->spares--;
	*e = (struct sim_entry){ .next = *bucket, .va = va, .order = (uint8_t)order };
	*bucket = e;
	m->orders |= 1u << order;
	return e;
}

uint8_t *vmf__sim_at(struct sim_mmu *m, struct sim_entry *e, vmf_va va)
{
	uint64_t at = va - e->va;
	uint8_t *bytes = e->page;

	if (!e->owned)
		bytes = vmf__sim_bytes(m->sim, (vmf_pfn){ e->pfn.n + (at >> m->sim->config.page_shift) });
	return bytes + at % m->sim->page;
}

static bool counted(const struct sim_mmu *m, const struct sim_entry *e)
{
	return m->sim->config.store == VMF_BY_ADDRESS && !e->raw;
}

static void unbolt_entry(struct sim_mmu *m, struct sim_entry *e)
{
	const struct sim_range *r = vmf__sim_range(m, e->va);

	if (e->bolted && !(r && r->bolts))
		m->bolts++;
	e->bolted = false;
}

/* What remove() and detach() take: in [va, end), live or gone. */
struct drop {
	vmf_va va, end;
	struct vmf_gather *gather;
	uint64_t room; /* for so many frames: one for each page of the range */
	bool owned;    /* also what owns its bytes */
	bool gone;
};

static bool drop_wants(const struct sim_mmu *m, const struct drop *d, const struct sim_entry *e)
{
	if (e->va >= d->end || e->va + span(m, 1ull << e->order) <= d->va)
		return false;
	return e->gone == d->gone && (d->owned || !e->owned) && (d->room || !counted(m, e));
}

static void drop_chain(struct sim_mmu *m, struct sim_entry **link, struct drop *d)
{
	struct sim_entry *e;

	while ((e = *link)) {
		if (!drop_wants(m, d, e)) {
			link = &e->next;
			continue;
		}
		if (counted(m, e)) {
			vmf_gather_frame(d->gather, e->pfn);
			d->room--;
		}
		unbolt_entry(m, e);
		m->unflushed += !e->gone;
		*link = e->next;
		e->next = m->spare;
		m->spare = e;
		m->spares++;
	}
}

/* Every chain that an entry of [va, end) can be in: all of them if there are many. */
#define EACH_CHAIN(m, va, end, chain) \
	for (struct walk walk = walk_start(m, va, end); (chain = walk_next(m, &walk));)

struct walk { vmf_va va, end; uint32_t bucket; unsigned order; bool all; };

static struct walk walk_start(const struct sim_mmu *m, vmf_va va, vmf_va end)
{
	return (struct walk){ .va = va, .end = end, .all = end - va > span(m, BUCKETS) };
}

static struct sim_entry **walk_next(struct sim_mmu *m, struct walk *w)
{
	if (w->all)
		return w->bucket < BUCKETS ? &m->bucket[w->bucket++] : NULL;
	for (; w->va < w->end; w->va += m->sim->page, w->order = 0)
		for (; m->orders >> w->order; w->order++)
			if (m->orders >> w->order & 1)
				return bucket_of(m, w->va & ~(span(m, 1ull << w->order++) - 1));
	return NULL;
}

static void drop_range(struct sim_mmu *m, vmf_va va, uint64_t pages, bool owned, struct vmf_gather *g)
{
	struct drop d = { va, va + span(m, pages), g, pages, owned, false };
	struct sim_entry **chain;

	EACH_CHAIN(m, d.va, d.end, chain)
		drop_chain(m, chain, &d);
	d.gone = true;
	EACH_CHAIN(m, d.va, d.end, chain)
		drop_chain(m, chain, &d);
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
		.cow = store == VMF_BY_COPY,
		.protect = m->sim->config.protect,
		.zero = store == VMF_BY_COPY,
		.raw = true,
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
	uint32_t i;

	if (r.va < m->pmap.lo || r.va >= m->pmap.hi || r.pages > (m->pmap.hi - r.va) >> m->sim->config.page_shift)
		return -VMF_EINVAL;
	if (r.bolts && r.pages > m->bolts)
		return -VMF_ENOSPC;
	i = range_at(m, r.va);
	if (i < m->ranges && m->range[i].va < range_end(m, &r))
		return -VMF_EEXIST;
	if (!ranges_room(m, 1))
		return -VMF_ENOMEM;
	range_insert(m, i, r);
	if (r.bolts)
		m->bolts -= (uint32_t)r.pages;
	return 0;
}

static int sim_attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw, struct vmf_window *w)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_ATTACH, map->va, map->pages);

	(void)wants_raw;
	if (!err && !(map->flags & VMF_SHARED) != (m->sim->config.store == VMF_BY_COPY))
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
	uint32_t from, to;

	if (err)
		return err;
	lock(m);
	if (!ranges_room(m, 2)) {
		unlock(m);
		return -VMF_ENOMEM;
	}
	drop_range(m, va, pages, true, g);
	range_cut(m, va);
	range_cut(m, va + span(m, pages));
	from = to = range_at(m, va);
	for (; to < m->ranges && m->range[to].va < va + span(m, pages); to++)
		m->bolts += m->range[to].bolts ? (uint32_t)m->range[to].pages : 0;
	memmove(m->range + from, m->range + to, (m->ranges - to) * sizeof(*m->range));
	m->ranges -= to - from;
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

static int enter_again(const struct sim_mmu *m, struct sim_entry *e, const struct sim_range *r,
	const struct vmf_run *run, unsigned order)
{
	if (e->raw != !!(run->flags & VMF_RUN_RAW) || e->order < order)
		return -VMF_EEXIST;
	e->prot |= entry_prot(m, r, run);
	return 0;
}

static bool any_inside(struct sim_mmu *m, vmf_va va, unsigned order)
{
	for (uint64_t i = 0; order && i < 1ull << order; i++)
		if (vmf__sim_find(m, va + span(m, i)))
			return true;
	return false;
}

/* An entry that was forgotten, and shows the same as before, comes back with the reference that it has. */
static bool revive(struct sim_mmu *m, vmf_va va, uint64_t pfn, unsigned order, uint8_t prot)
{
	for (struct sim_entry *e = *bucket_of(m, va); e; e = e->next)
		if (e->gone && e->va == va && e->order == order && e->pfn.n == pfn) {
			e->gone = false;
			e->prot = prot;
			return true;
		}
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
	vmf_va va = run->va + span(m, i);
	uint64_t pfn = run->pfn.n + i;
	struct sim_range *r = vmf__sim_range(m, va);
	struct sim_entry *e = vmf__sim_find(m, va);
	int err = run_fits(m, r, run, va, pfn);

	if (err)
		return err;
	if (e)
		return enter_again(m, e, r, run, order);
	if (any_inside(m, va, order))
		return -VMF_EEXIST;
	if (m->sim->config.store == VMF_BY_ADDRESS && !(run->flags & VMF_RUN_RAW)
	    && revive(m, va, pfn, order, entry_prot(m, r, run)))
		return 0;
	e = vmf__sim_make(m, va, order);
	if (!e)
		return -VMF_ENOMEM;
	fill_entry(m, e, run, pfn);
	e->prot = entry_prot(m, r, run);
	return 1;
}

static long enter_run(struct sim_mmu *m, const struct vmf_run *run)
{
	long made = 0;
	int one;

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
	drop_range(m, va, pages, false, g);
	unlock(m);
	return 0;
}

/* An entry that reaches out of the range cannot change in part: it is forgotten. */
static void limit_chain(struct sim_mmu *m, struct sim_entry *e, vmf_va va, vmf_va end, uint8_t prot)
{
	for (; e; e = e->next) {
		vmf_va last = e->va + span(m, 1ull << e->order);

		if (e->gone || e->va >= end || last <= va || !(e->prot & ~prot))
			continue;
		m->unflushed++;
		if (e->va < va || last > end)
			e->gone = true;
		else
			e->prot &= prot;
	}
}

/* Entries lose what prot does not allow. */
static void limit(struct sim_mmu *m, vmf_va va, uint64_t pages, uint8_t prot)
{
	vmf_va end = va + span(m, pages);
	struct sim_entry **chain;

	EACH_CHAIN(m, va, end, chain)
		limit_chain(m, *chain, va, end, prot);
}

/* Without protection for single entries it is the range's own that counts, and all entries follow it. */
static int protect_ranges(struct sim_mmu *m, vmf_va va, uint64_t pages, uint8_t prot)
{
	vmf_va end = va + span(m, pages);
	struct sim_entry **chain;

	if (!ranges_room(m, 2))
		return -VMF_ENOMEM;
	range_cut(m, va);
	range_cut(m, end);
	for (uint32_t i = range_at(m, va); i < m->ranges && m->range[i].va < end; i++)
		m->range[i].prot = prot;
	limit(m, va, pages, prot);
	EACH_CHAIN(m, va, end, chain)
		for (struct sim_entry *e = *chain; e; e = e->next)
			if (e->va >= va && e->va < end)
				e->prot = prot;
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
		limit(m, va, pages, (uint8_t)prot);
	else
		err = protect_ranges(m, va, pages, (uint8_t)prot);
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
	limit(m, va, pages, VMF_R | VMF_X);
	unlock(m);
	return 0;
}

static int sim_query(struct vmf_pmap *pmap, vmf_va va, struct vmf_entry *out)
{
	struct sim_mmu *m = mmu_of(pmap);
	const struct sim_entry *e;

	*out = (struct vmf_entry){ 0 };
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
	const struct sim_entry *e;

	lock(m);
	e = vmf__sim_find(m, va);
	if (e && e->owned)
		memcpy(page, e->page, m->sim->page);
	else
		e = NULL;
	unlock(m);
	return e ? 0 : -VMF_EFAULT;
}

static int bolt(struct sim_mmu *m, vmf_va va)
{
	struct sim_entry *e = vmf__sim_find(m, va);
	const struct sim_range *r = vmf__sim_range(m, va);

	if (!e || !r)
		return -VMF_EFAULT;
	if (e->bolted)
		return 0;
	if (!r->bolts && !m->bolts)
		return -VMF_ENOSPC;
	m->bolts -= !r->bolts;
	e->bolted = true;
	return 0;
}

static int sim_bolt(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct sim_mmu *m = mmu_of(pmap);
	int err = point(m, VMF_SIM_BOLT, run->va, run->n);

	lock(m);
	for (uint32_t i = 0; !err && i < run->n; i++)
		err = bolt(m, run->va + span(m, i));
	unlock(m);
	return err;
}

static int sim_unbolt(struct vmf_pmap *pmap, vmf_va va)
{
	struct sim_mmu *m = mmu_of(pmap);
	struct sim_entry *e;

	lock(m);
	e = vmf__sim_find(m, va);
	if (e)
		unbolt_entry(m, e);
	unlock(m);
	return e ? 0 : -VMF_EFAULT;
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

bool vmf__sim_forget(struct sim_mmu *m, vmf_va va)
{
	struct sim_entry *e = vmf__sim_find(m, va);

	if (e && e->bolted)
		return true;
	if (e && !e->owned)
		e->gone = true;
	if (m->sim->config.store != VMF_BY_COPY || !vmf__sim_range(m, va))
		return true;
	/* One that was absent allows nothing: the next fault finds it there, and gives it the permissions that it lacks. */
	if (!e || !e->owned)
		e = vmf__sim_make(m, va & ~(m->sim->page - 1), 0);
	if (!e)
		return false;
	e->owned = true;
	memset(e->page, 0, m->sim->page);
	return true;
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
};

void vmf__sim_mmu_free(struct sim_mmu *m)
{
	struct sim_entry *e;

	while ((e = m->spare)) {
		m->spare = e->next;
		free(e);
	}
	free(m->range);
	free(m);
}
