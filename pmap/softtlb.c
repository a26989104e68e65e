/* SPDX-License-Identifier: MIT
 *
 * A software-filled TLB and the table behind it.  One lock for both; the refill handler takes it too, and nothing that
 * runs under it touches an address that the TLB translates.
 */
#include "softtlb.h"

#define SLAB_ENTRIES 64u

struct tlb_slab {
	struct tlb_slab *next;
	struct vmf_softtlb_entry entry[SLAB_ENTRIES];
};

static struct vmf_softtlb *tlb_of(struct vmf_pmap *p)
{
	return (struct vmf_softtlb *)(void *)p;
}

static unsigned span_shift(const struct vmf_softtlb *s)
{
	return (unsigned)s->cfg.page_shift + s->cfg.pair;
}

static vmf_va tlb_first(const struct vmf_softtlb *s, vmf_va va)
{
	return va >> span_shift(s) << span_shift(s);
}

static vmf_va tlb_last(const struct vmf_softtlb *s, vmf_va va)
{
	return va | (((vmf_va)1 << span_shift(s)) - 1);
}

static vmf_va page_va(const struct vmf_softtlb *s, vmf_va first, uint32_t i)
{
	return first + ((vmf_va)i << s->cfg.page_shift);
}

/* Which page of its entry is va in? */
static unsigned half_of(const struct vmf_softtlb *s, vmf_va va)
{
	return (unsigned)(va >> s->cfg.page_shift) & ((1u << s->cfg.pair) - 1);
}

static struct vmf_softtlb_entry **bucket_of(struct vmf_softtlb *s, vmf_va va)
{
	vmf_va n = va >> span_shift(s);

	return &s->bucket[(n ^ n >> 8) % VMF_SOFTTLB_BUCKETS];
}

static struct vmf_softtlb_entry *entry_at(struct vmf_softtlb *s, vmf_va va)
{
	struct vmf_softtlb_entry *e = *bucket_of(s, va);

	while (e && e->va != tlb_first(s, va))
		e = e->next;
	return e;
}

static struct vmf_softtlb_entry *entry_make(struct vmf_softtlb *s, vmf_va va)
{
	struct vmf_softtlb_entry *e = entry_at(s, va), **bucket = bucket_of(s, va);

	if (e || !s->free)
		return e;
	e = s->free;
	s->free = e->next;
	s->spare--;
	*e = (struct vmf_softtlb_entry){ .next = *bucket, .va = tlb_first(s, va) };
	*bucket = e;
	return e;
}

static bool entry_empty(const struct vmf_softtlb_entry *e)
{
	return !e->page[0].present && !e->page[1].present;
}

/* ------------------------------------------------------------------------------------------------ bolts */

static int bolt_at(const struct vmf_softtlb *s, vmf_va va)
{
	for (int i = 0; i < s->cfg.bolts; i++)
		if ((s->bolt[i].reserved || s->bolt[i].held) && s->bolt[i].va == tlb_first(s, va))
			return i;
	return -1;
}

/* The bolt of the entry at va, or a free one that is its from now on; -1: none.  The caller sets a bit of its masks. */
static int bolt_make(struct vmf_softtlb *s, vmf_va va)
{
	int slot = bolt_at(s, va);

	for (int i = 0; slot < 0 && i < s->cfg.bolts; i++) {
		if (s->bolt[i].reserved || s->bolt[i].held)
			continue;
		s->bolt[i].va = tlb_first(s, va);
		slot = i;
	}
	return slot;
}

/* Write an entry that has changed into the TLB.  load: also if it is not there yet.  => pmap lock */
static void entry_write(struct vmf_softtlb *s, const struct vmf_softtlb_entry *e, bool load)
{
	int bolt = bolt_at(s, e->va), slot = s->cfg.probe(s->cfg.self, e->va);

	if (bolt >= 0 && slot != bolt) {
		if (slot >= 0)
			s->cfg.invalidate(s->cfg.self, e->va, 1u << s->cfg.pair);
		slot = bolt;
		s->bolt[bolt].wired = load = true;
	}
	if (slot >= 0 || load)
		s->cfg.write(s->cfg.self, slot, e->va, e->hw);
}

/* Some of its pages need it no more.  => pmap lock */
static void bolt_drop(struct vmf_softtlb *s, int slot, unsigned reserved, unsigned held)
{
	struct vmf_softtlb_bolt *b = &s->bolt[slot];

	b->reserved &= (uint8_t)~reserved;
	b->held &= (uint8_t)~held;
	if (b->wired && !b->reserved && !b->held) {
		s->cfg.clear(s->cfg.self, slot);
		b->wired = false;
	}
}

/* Reserve a bolt for each entry of a range, or give back what was reserved.  => pmap lock */
static int bolts_reserve(struct vmf_softtlb *s, vmf_va va, uint64_t pages)
{
	if (pages > VMF_SOFTTLB_BOLTS << s->cfg.pair)
		return -VMF_ENOSPC;
	for (uint32_t i = 0; i < pages; i++) {
		vmf_va at = page_va(s, va, i);
		int slot = bolt_make(s, at);

		if (slot < 0) {
			while (i--)
				bolt_drop(s, bolt_at(s, page_va(s, va, i)), 1u << half_of(s, page_va(s, va, i)), 0);
			return -VMF_ENOSPC;
		}
		s->bolt[slot].reserved |= (uint8_t)(1u << half_of(s, at));
	}
	return 0;
}

/* reserved: those as well.  => pmap lock */
static void bolts_release(struct vmf_softtlb *s, vmf_va first, vmf_va last, bool reserved)
{
	for (int i = 0; i < s->cfg.bolts; i++)
		for (unsigned half = 0; half < 1u << s->cfg.pair; half++) {
			vmf_va at = page_va(s, s->bolt[i].va, half);

			if (at >= first && at <= last)
				bolt_drop(s, i, reserved ? 1u << half : 0, 1u << half);
		}
}

/* => pmap lock */
static int bolt_hold(struct vmf_softtlb *s, vmf_va va)
{
	struct vmf_softtlb_entry *e = entry_at(s, va);
	uint8_t bit = (uint8_t)(1u << half_of(s, va));
	int slot = bolt_make(s, va);

	if (slot < 0)
		return -VMF_ENOSPC;
	if ((s->bolt[slot].reserved | s->bolt[slot].held) & bit)
		return 0;
	s->bolt[slot].held |= bit;
	if (e)
		entry_write(s, e, true);
	return 1;
}

static int tlb_bolt(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct vmf_softtlb *s = tlb_of(pmap);
	int got;

	vmf_lock_take(s->cfg.port, &s->lock);
	got = bolt_hold(s, run->va);
	vmf_lock_drop(s->cfg.port, &s->lock);
	return got;
}

static int tlb_unbolt(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	struct vmf_softtlb *s = tlb_of(pmap);

	vmf_lock_take(s->cfg.port, &s->lock);
	bolts_release(s, va, va + ((vmf_va)pages << s->cfg.page_shift) - 1, false);
	vmf_lock_drop(s->cfg.port, &s->lock);
	return 0;
}

/* --------------------------------------------------------------------------------------------- entering */

static int page_encode(struct vmf_softtlb *s, const struct vmf_entry *page, uint64_t *hw)
{
	*hw = 0;
	if (!s->cfg.encode(s->cfg.self, page, hw))
		return -VMF_ENOSYS;
	if (!page->prot)
		*hw = 0;
	return 0;
}

/* => pmap lock.  1: new; 0: was there; or an error. */
static int tlb_enter_one(struct vmf_softtlb *s, const struct vmf_run *run, uint32_t i)
{
	struct vmf_entry new = { .pfn = { run->pfn.n + i }, .attr = run->attr, .prot = run->prot, .present = true,
				 .raw = run->flags & VMF_RUN_RAW };
	vmf_va va = page_va(s, run->va, i);
	struct vmf_softtlb_entry *e;
	struct vmf_entry *page;
	uint64_t hw;
	bool fresh;

	if (page_encode(s, &new, &hw))
		return -VMF_ENOSYS;
	e = entry_make(s, va);
	if (!e)
		return -VMF_ENOMEM;
	page = &e->page[half_of(s, va)];
	fresh = !page->present;
	if (!fresh && (page->pfn.n != new.pfn.n || page->raw != new.raw))
		return -VMF_EEXIST;
	if (!fresh) {
		new.attr = page->attr;
		new.prot |= page->prot;
		if (page_encode(s, &new, &hw))
			return -VMF_ENOSYS;
	}
	*page = new;
	e->hw[half_of(s, va)] = hw;
	entry_write(s, e, i == run->need);
	return fresh;
}

static long tlb_enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct vmf_softtlb *s = tlb_of(pmap);
	bool raw = run->flags & VMF_RUN_RAW, all = run->need >= run->n;
	int err = 0;
	long new = 0;

	if (run->order || run->flags & VMF_RUN_ZERO || (!raw && run->n != 1))
		return -VMF_ENOSYS;
	vmf_lock_take(s->cfg.port, &s->lock);
	/* The page that the fault is about comes first: the reserve may not last for all. */
	if (!all) {
		err = tlb_enter_one(s, run, run->need);
		new += err > 0;
	}
	for (uint32_t i = 0; i < run->n && err >= 0; i++) {
		int r = i == run->need ? 0 : tlb_enter_one(s, run, i);

		new += r > 0;
		if (r < 0 && all)
			err = r;
	}
	vmf_lock_drop(s->cfg.port, &s->lock);
	return err < 0 ? err : new;
}

bool vmf_softtlb_refill(struct vmf_softtlb *s, vmf_va va, unsigned access)
{
	struct vmf_softtlb_entry *e;
	bool ok;

	vmf_lock_take(s->cfg.port, &s->lock);
	e = entry_at(s, va);
	ok = e && e->page[half_of(s, va)].present && e->page[half_of(s, va)].prot & access;
	if (ok)
		entry_write(s, e, true);
	vmf_lock_drop(s->cfg.port, &s->lock);
	return ok;
}

/* -------------------------------------------------------------------------------- removing, protecting */

/* What to do to a range. */
struct tlb_sweep {
	vmf_va first, last;
	struct vmf_gather *gather; /* NULL: protect */
	unsigned prot;
};

static void stale_add(struct vmf_softtlb *s, vmf_va first, vmf_va last)
{
	if (!s->stale || first < s->stale_first)
		s->stale_first = first;
	if (!s->stale || last > s->stale_last)
		s->stale_last = last;
	s->stale = true;
}

/* => pmap lock */
static void tlb_sweep_entry(struct vmf_softtlb *s, struct vmf_softtlb_entry *e, const struct tlb_sweep *what)
{
	int bolt = bolt_at(s, e->va);

	for (unsigned half = 0; half < 1u << s->cfg.pair; half++) {
		struct vmf_entry *page = &e->page[half];
		vmf_va va = page_va(s, e->va, half);

		if (!page->present || va < what->first || va > what->last)
			continue;
		if (what->gather) {
			if (!page->raw)
				vmf_gather_frame(what->gather, page->pfn);
			*page = (struct vmf_entry){ .present = false };
			e->hw[half] = 0;
		} else {
			page->prot &= (uint8_t)what->prot;
			(void)page_encode(s, page, &e->hw[half]); /* more than this was encoded before */
		}
	}
	stale_add(s, e->va, tlb_last(s, e->va));
	/* Invalidating spares the bolts. */
	if (bolt >= 0 && s->bolt[bolt].wired)
		s->cfg.write(s->cfg.self, bolt, e->va, e->hw);
}

/* => pmap lock */
static void tlb_sweep_bucket(struct vmf_softtlb *s, struct vmf_softtlb_entry **link, const struct tlb_sweep *what)
{
	while (*link) {
		struct vmf_softtlb_entry *e = *link;

		if (e->va <= what->last && tlb_last(s, e->va) >= what->first)
			tlb_sweep_entry(s, e, what);
		if (!entry_empty(e)) {
			link = &e->next;
			continue;
		}
		*link = e->next;
		e->next = s->free;
		s->free = e;
		s->spare++;
	}
}

/* A range of many pages goes through the table once, not through the range.  => pmap lock */
static void tlb_sweep(struct vmf_softtlb *s, const struct tlb_sweep *what)
{
	struct tlb_sweep one = *what;

	if ((what->last - what->first) >> span_shift(s) >= VMF_SOFTTLB_BUCKETS) {
		for (unsigned i = 0; i < VMF_SOFTTLB_BUCKETS; i++)
			tlb_sweep_bucket(s, &s->bucket[i], what);
		return;
	}
	for (;; one.first = one.last + 1) {
		one.last = tlb_last(s, one.first);
		if (one.last >= what->last)
			one.last = what->last;
		tlb_sweep_bucket(s, bucket_of(s, one.first), &one);
		if (one.last == what->last)
			return;
	}
}

static vmf_va tlb_last_of(const struct vmf_softtlb *s, vmf_va va, uint64_t pages)
{
	return va + ((vmf_va)pages << s->cfg.page_shift) - 1;
}

static int tlb_remove(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	struct vmf_softtlb *s = tlb_of(pmap);

	vmf_lock_take(s->cfg.port, &s->lock);
	if (pages)
		tlb_sweep(s, &(struct tlb_sweep){ .first = va, .last = tlb_last_of(s, va, pages), .gather = g });
	vmf_lock_drop(s->cfg.port, &s->lock);
	return 0;
}

static int tlb_protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	struct vmf_softtlb *s = tlb_of(pmap);

	vmf_lock_take(s->cfg.port, &s->lock);
	if (pages)
		tlb_sweep(s, &(struct tlb_sweep){ .first = va, .last = tlb_last_of(s, va, pages), .prot = prot });
	vmf_lock_drop(s->cfg.port, &s->lock);
	return 0;
}

static void tlb_update(struct vmf_pmap *pmap)
{
	struct vmf_softtlb *s = tlb_of(pmap);

	vmf_lock_take(s->cfg.port, &s->lock);
	if (s->stale)
		s->cfg.invalidate(s->cfg.self, s->stale_first,
				  (uint64_t)((s->stale_last - s->stale_first) >> s->cfg.page_shift) + 1);
	s->stale = false;
	vmf_lock_drop(s->cfg.port, &s->lock);
}

/* ----------------------------------------------------------------------------------------- all the rest */

static int tlb_query(struct vmf_pmap *pmap, vmf_va va, struct vmf_entry *out)
{
	struct vmf_softtlb *s = tlb_of(pmap);
	struct vmf_softtlb_entry *e;

	vmf_lock_take(s->cfg.port, &s->lock);
	e = entry_at(s, va);
	*out = e ? e->page[half_of(s, va)] : (struct vmf_entry){ .present = false };
	vmf_lock_drop(s->cfg.port, &s->lock);
	return 0;
}

static int tlb_attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw,
		      struct vmf_window *win)
{
	struct vmf_softtlb *s = tlb_of(pmap);
	vmf_va at = (map->va - pmap->lo) >> s->cfg.page_shift, room = (pmap->hi - pmap->lo) >> s->cfg.page_shift;
	int err = 0;

	(void)segment;
	(void)wants_raw;
	if (map->va < pmap->lo || at >= room || map->pages > room - at)
		return -VMF_EINVAL;
	*win = (struct vmf_window){ .size = sizeof(*win), .store = VMF_BY_ADDRESS, .protect = true, .raw = true,
				    .orders = 1 };
	if (map->action != VMF_BOLT)
		return 0;
	vmf_lock_take(s->cfg.port, &s->lock);
	err = bolts_reserve(s, map->va, map->pages);
	vmf_lock_drop(s->cfg.port, &s->lock);
	win->bolts = err ? 0 : (uint32_t)map->pages;
	return err;
}

static int tlb_detach(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	struct vmf_softtlb *s = tlb_of(pmap);
	struct tlb_sweep all = { .first = va, .last = tlb_last_of(s, va, pages), .gather = g };

	if (!pages)
		return 0;
	vmf_lock_take(s->cfg.port, &s->lock);
	tlb_sweep(s, &all);
	bolts_release(s, all.first, all.last, true);
	vmf_lock_drop(s->cfg.port, &s->lock);
	return 0;
}

static void tlb_icache(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	struct vmf_softtlb *s = tlb_of(pmap);

	if (s->cfg.icache)
		s->cfg.icache(s->cfg.self, va, pages);
}

/* Memory comes from the port, so nothing of ours is held meanwhile. */
static int tlb_supply(struct vmf_pmap *pmap)
{
	struct vmf_softtlb *s = tlb_of(pmap);

	while (__atomic_load_n(&s->spare, __ATOMIC_RELAXED) < s->cfg.reserve) {
		struct tlb_slab *slab = s->cfg.alloc(s->cfg.self, sizeof(*slab));

		if (!slab)
			return -VMF_ENOMEM;
		vmf_lock_take(s->cfg.port, &s->lock);
		slab->next = s->slabs;
		s->slabs = slab;
		for (unsigned i = 0; i < SLAB_ENTRIES; i++) {
			slab->entry[i].next = s->free;
			s->free = &slab->entry[i];
		}
		s->spare += SLAB_ENTRIES;
		vmf_lock_drop(s->cfg.port, &s->lock);
	}
	return 0;
}

static const struct vmf_pmap_ops tlb_ops = {
	.size = sizeof(tlb_ops),
	.attach = tlb_attach,
	.detach = tlb_detach,
	.enter = tlb_enter,
	.remove = tlb_remove,
	.protect = tlb_protect,
	.query = tlb_query,
	.bolt = tlb_bolt,
	.unbolt = tlb_unbolt,
	.icache = tlb_icache,
	.update = tlb_update,
	.supply = tlb_supply,
};

int vmf_softtlb_init(struct vmf_softtlb *s, const struct vmf_softtlb_config *cfg)
{
	if (cfg->pair > 1 || cfg->bolts > VMF_SOFTTLB_BOLTS || cfg->lo >= cfg->hi || !cfg->reserve || !cfg->alloc ||
	    !cfg->free || !cfg->encode || !cfg->probe || !cfg->write || !cfg->invalidate || (cfg->bolts && !cfg->clear))
		return -VMF_EINVAL;
	*s = (struct vmf_softtlb){ .pmap = { .ops = &tlb_ops, .lo = cfg->lo, .hi = cfg->hi }, .cfg = *cfg };
	return 0;
}

void vmf_softtlb_fini(struct vmf_softtlb *s)
{
	while (s->slabs) {
		struct tlb_slab *slab = s->slabs;

		s->slabs = slab->next;
		s->cfg.free(s->cfg.self, slab, sizeof(*slab));
	}
}
