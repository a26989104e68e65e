/* SPDX-License-Identifier: MIT
 *
 * Radix page tables.  One lock for all of a pmap's tables; the hardware reads them meanwhile, so every entry is written
 * by one store, after what it names is complete.
 */
#include "ptwalk.h"

static struct vmf_ptwalk *walk_of(struct vmf_pmap *p)
{
	return (struct vmf_ptwalk *)(void *)p;
}

/* log2 of the pages that one entry of a level spans */
static unsigned level_order(const struct vmf_ptwalk_format *f, unsigned level)
{
	unsigned order = 0;

	for (unsigned i = 0; i < level; i++)
		order += f->bits[i];
	return order;
}

static unsigned level_shift(const struct vmf_ptwalk *w, unsigned level)
{
	return w->cfg.format->page_shift + level_order(w->cfg.format, level);
}

static size_t index_of(const struct vmf_ptwalk *w, vmf_va va, unsigned level)
{
	return va >> level_shift(w, level) & (((size_t)1 << w->cfg.format->bits[level]) - 1);
}

/* What the entry for va at this level spans. */
static vmf_va span_first(const struct vmf_ptwalk *w, vmf_va va, unsigned level)
{
	return va >> level_shift(w, level) << level_shift(w, level);
}

static vmf_va span_last(const struct vmf_ptwalk *w, vmf_va va, unsigned level)
{
	return va | (((vmf_va)1 << level_shift(w, level)) - 1);
}

static vmf_va last_of(const struct vmf_ptwalk *w, vmf_va va, uint64_t pages)
{
	return va + ((vmf_va)pages << w->cfg.format->page_shift) - 1;
}

static void range_add(struct vmf_ptwalk_range *r, vmf_va first, vmf_va last, bool tables)
{
	if (!r->some)
		*r = (struct vmf_ptwalk_range){ .first = first, .last = last, .some = true, .tables = tables };
	if (first < r->first)
		r->first = first;
	if (last > r->last)
		r->last = last;
	r->tables |= tables;
}

static void range_flush(struct vmf_ptwalk *w, struct vmf_ptwalk_range *r)
{
	if (r->some)
		w->cfg.flush(w->cfg.self, r->first, ((r->last - r->first) >> w->cfg.format->page_shift) + 1, r->tables);
	r->some = r->tables = false;
}

static uintptr_t load(const uintptr_t *slot)
{
	return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

static void store(uintptr_t *slot, uintptr_t entry)
{
	__atomic_store_n(slot, entry, __ATOMIC_RELEASE);
}

static enum vmf_ptwalk_kind decode(struct vmf_ptwalk *w, const uintptr_t *slot, unsigned level, struct vmf_entry *e)
{
	uintptr_t entry = load(slot);
	enum vmf_ptwalk_kind kind = entry ? w->cfg.format->decode(w->cfg.self, entry, level, e) : VMF_PTWALK_ABSENT;

	e->order = (uint8_t)level_order(w->cfg.format, level);
	e->present = kind == VMF_PTWALK_LEAF;
	return kind;
}

/* An entry that was found. */
struct place {
	uintptr_t *slot;
	unsigned level;
	enum vmf_ptwalk_kind kind;
	struct vmf_entry e;
	bool linked; /* tables were added on the way */
};

/* => pmap lock */
static bool table_link(struct vmf_ptwalk *w, uintptr_t *slot)
{
	if (!w->spare)
		return false;
	store(slot, w->cfg.format->table(w->reserve[--w->spare]));
	return true;
}

static bool table_empty(const struct vmf_ptwalk *w, const uintptr_t *table, unsigned level)
{
	for (size_t i = 0; i < (size_t)1 << w->cfg.format->bits[level]; i++)
		if (load(&table[i]))
			return false;
	return true;
}

/* After it no CPU uses what was removed, so the tables among it can go.  => pmap lock */
static void settle(struct vmf_ptwalk *w)
{
	range_flush(w, &w->stale);
	while (w->dead) {
		vmf_pfn table = w->grave[--w->dead];

		if (w->spare < w->cfg.reserve)
			w->reserve[w->spare++] = table;
		else
			w->cfg.give(w->cfg.self, table);
	}
}

/* => pmap lock */
static void table_unlink(struct vmf_ptwalk *w, uintptr_t *slot, unsigned level, vmf_va va, vmf_pfn table)
{
	if (w->dead == VMF_PTWALK_RESERVE)
		settle(w);
	store(slot, 0);
	w->grave[w->dead++] = table;
	range_add(&w->stale, span_first(w, va, level), span_last(w, va, level), true);
}

/* The entry for va at level `want`, or the leaf or (unless make) the absence that ends the way there.
 * => pmap lock.  False: the reserve is empty. */
static bool descend(struct vmf_ptwalk *w, vmf_va va, unsigned want, bool make, struct place *p)
{
	uintptr_t *table = w->cfg.root;

	p->linked = false;
	for (p->level = w->cfg.format->levels - 1u;; p->level--) {
		p->slot = &table[index_of(w, va, p->level)];
		p->kind = decode(w, p->slot, p->level, &p->e);
		if (p->kind == VMF_PTWALK_ABSENT && p->level > want && make) {
			if (!table_link(w, p->slot))
				return false;
			p->linked = true;
			p->kind = decode(w, p->slot, p->level, &p->e);
		}
		if (p->level == want || p->kind != VMF_PTWALK_TABLE)
			return true;
		table = w->cfg.bytes(w->cfg.self, p->e.pfn);
	}
}

/* -------------------------------------------------------------------------------------------- entering */

static int level_for(const struct vmf_ptwalk_format *f, unsigned order)
{
	for (unsigned i = 0; i < f->levels; i++)
		if (f->leaves >> i & 1 && level_order(f, i) == order)
			return (int)i;
	return -1;
}

/* An entry was there.  0: it will do, and now allows what the run asks for.  => pmap lock */
static int upgrade(struct vmf_ptwalk *w, const struct place *p, const struct vmf_entry *e, vmf_va va,
		   struct vmf_ptwalk_range *fresh)
{
	uint64_t inner = va >> w->cfg.format->page_shift & (((vmf_va)1 << p->e.order) - 1);
	struct vmf_entry more = *e;
	uintptr_t entry;

	if (p->kind == VMF_PTWALK_TABLE || p->e.pfn.n + inner != e->pfn.n || p->e.raw != e->raw)
		return -VMF_EEXIST;
	if (!(e->prot & ~p->e.prot))
		return 0;
	/* Only what the run covers may be given more, and nothing else may change. */
	more.prot = p->e.prot;
	if (p->e.order != e->order || !w->cfg.format->encode(w->cfg.self, &more, p->level, &entry) ||
	    entry != load(p->slot))
		return -VMF_EEXIST;
	more.prot |= e->prot;
	if (!w->cfg.format->encode(w->cfg.self, &more, p->level, &entry))
		return -VMF_ENOSYS;
	store(p->slot, entry);
	range_add(fresh, va, span_last(w, va, p->level), false);
	return 0;
}

/* => pmap lock.  1: new; 0: was there; or an error. */
static int enter_one(struct vmf_ptwalk *w, const struct vmf_run *run, uint32_t i, unsigned level,
		     struct vmf_ptwalk_range *fresh)
{
	struct vmf_entry e = { .pfn = { run->pfn.n + i }, .attr = run->attr, .order = run->order, .prot = run->prot,
			       .present = true, .raw = run->flags & VMF_RUN_RAW };
	vmf_va va = run->va + ((vmf_va)i << w->cfg.format->page_shift);
	struct place p;
	uintptr_t entry;
	bool done;

	if (!w->cfg.format->encode(w->cfg.self, &e, level, &entry))
		return -VMF_ENOSYS;
	done = descend(w, va, level, true, &p);
	if (done && p.kind == VMF_PTWALK_TABLE && table_empty(w, w->cfg.bytes(w->cfg.self, p.e.pfn), level - 1)) {
		table_unlink(w, p.slot, level, va, p.e.pfn);
		settle(w);
		p.kind = VMF_PTWALK_ABSENT;
	}
	if (done && p.kind != VMF_PTWALK_ABSENT)
		return upgrade(w, &p, &e, va, fresh);
	if (done)
		store(p.slot, entry);
	if (w->cfg.format->absent_cached && (done || p.linked))
		range_add(fresh, va, span_last(w, va, level), p.linked);
	return done ? 1 : -VMF_ENOMEM;
}

static bool run_fits(const struct vmf_ptwalk *w, const struct vmf_run *run)
{
	vmf_va mask = ((vmf_va)1 << run->order) - 1;
	bool raw = run->flags & VMF_RUN_RAW;

	return !(run->flags & VMF_RUN_ZERO) && (raw || run->n == mask + 1) &&
	       !(run->n & mask) && !(run->pfn.n & mask) && !(run->va >> w->cfg.format->page_shift & mask);
}

static long walk_enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct vmf_ptwalk *w = walk_of(pmap);
	struct vmf_ptwalk_range fresh = { 0 };
	int level = level_for(w->cfg.format, run->order), err = 0;
	uint32_t step = (uint32_t)1 << run->order, need = run->need;
	long new = 0;

	if (level < 0 || !run_fits(w, run))
		return -VMF_ENOSYS;
	if (need < run->n)
		need &= ~(step - 1);
	vmf_lock_take(w->cfg.port, &w->lock);
	/* What was removed here must be forgotten before something else is there (AArch64: break before make). */
	if (w->stale.some && run->va <= w->stale.last && last_of(w, run->va, run->n) >= w->stale.first)
		settle(w);
	/* The page that the fault is about comes first: the reserve may not last for all. */
	if (need < run->n) {
		err = enter_one(w, run, need, (unsigned)level, &fresh);
		new += err > 0;
	}
	for (uint32_t i = 0; i < run->n && err >= 0; i += step) {
		int r = i == need ? 0 : enter_one(w, run, i, (unsigned)level, &fresh);

		new += r > 0;
		if (r < 0 && need >= run->n)
			err = r;
	}
	range_flush(w, &fresh);
	vmf_lock_drop(w->cfg.port, &w->lock);
	return err < 0 ? err : new * (long)step;
}

/* ------------------------------------------------------------------------------- removing, protecting */

/* What to do to a range. */
struct sweep {
	vmf_va first, last;
	struct vmf_gather *gather; /* NULL: protect */
	unsigned prot;
	bool prune; /* also free the tables that are empty then, wherever they end */
};

/* => pmap lock.  False: that cannot be encoded. */
static bool sweep_leaf(struct vmf_ptwalk *w, uintptr_t *slot, unsigned level, vmf_va va, struct vmf_entry *e,
		       const struct sweep *s)
{
	uintptr_t entry = 0;

	if (!s->gather && !(e->prot & ~s->prot))
		return true;
	e->prot &= (uint8_t)s->prot;
	if (!s->gather && !w->cfg.format->encode(w->cfg.self, e, level, &entry))
		return false;
	if (s->gather && !e->raw)
		vmf_gather_frame(s->gather, e->pfn);
	store(slot, entry);
	range_add(&w->stale, span_first(w, va, level), span_last(w, va, level), false);
	return true;
}

/* => pmap lock */
static bool sweep_table(struct vmf_ptwalk *w, uintptr_t *table, unsigned level, vmf_va va, const struct sweep *s)
{
	size_t i = index_of(w, va, level), end = (size_t)1 << w->cfg.format->bits[level];
	vmf_va from = va;
	bool ok = true;

	for (; ok && i < end && (va == from || va - 1 < s->last); i++, va = span_last(w, va, level) + 1) {
		enum vmf_ptwalk_kind kind;
		struct vmf_entry e;
		uintptr_t *below;

		kind = decode(w, &table[i], level, &e);
		if (kind == VMF_PTWALK_LEAF)
			ok = sweep_leaf(w, &table[i], level, va, &e, s);
		if (kind != VMF_PTWALK_TABLE)
			continue;
		below = w->cfg.bytes(w->cfg.self, e.pfn);
		ok = sweep_table(w, below, level - 1, va, s);
		if (s->prune && table_empty(w, below, level - 1))
			table_unlink(w, &table[i], level, va, e.pfn);
	}
	return ok;
}

static int sweep(struct vmf_ptwalk *w, vmf_va va, uint64_t pages, const struct sweep *what)
{
	struct sweep s = *what;
	bool ok;

	if (!pages)
		return 0;
	s.first = va;
	s.last = last_of(w, va, pages);
	vmf_lock_take(w->cfg.port, &w->lock);
	ok = sweep_table(w, w->cfg.root, w->cfg.format->levels - 1u, va, &s);
	vmf_lock_drop(w->cfg.port, &w->lock);
	return ok ? 0 : -VMF_ENOSYS;
}

static int walk_remove(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	return sweep(walk_of(pmap), va, pages, &(struct sweep){ .gather = g });
}

static int walk_protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	return sweep(walk_of(pmap), va, pages, &(struct sweep){ .prot = prot });
}

static void walk_update(struct vmf_pmap *pmap)
{
	struct vmf_ptwalk *w = walk_of(pmap);

	vmf_lock_take(w->cfg.port, &w->lock);
	settle(w);
	vmf_lock_drop(w->cfg.port, &w->lock);
}

/* ---------------------------------------------------------------------------------------- all the rest */

static int walk_query(struct vmf_pmap *pmap, vmf_va va, struct vmf_entry *e)
{
	struct vmf_ptwalk *w = walk_of(pmap);
	struct place p;

	vmf_lock_take(w->cfg.port, &w->lock);
	descend(w, va, 0, false, &p);
	vmf_lock_drop(w->cfg.port, &w->lock);
	if (p.kind == VMF_PTWALK_LEAF)
		*e = p.e;
	else
		*e = (struct vmf_entry){ .present = false };
	return 0;
}

static int walk_attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw,
		       struct vmf_window *win)
{
	struct vmf_ptwalk *w = walk_of(pmap);
	vmf_va at = (map->va - pmap->lo) >> w->cfg.format->page_shift;
	vmf_va room = (pmap->hi - pmap->lo) >> w->cfg.format->page_shift;

	(void)segment;
	(void)wants_raw;
	if (map->action == VMF_BOLT)
		return -VMF_ENOSPC;
	if (map->va < pmap->lo || at >= room || map->pages > room - at)
		return -VMF_EINVAL;
	*win = (struct vmf_window){ .size = sizeof(*win), .store = VMF_BY_ADDRESS, .protect = true, .raw = true };
	for (unsigned i = 0; i < w->cfg.format->levels; i++)
		if (w->cfg.format->leaves >> i & 1)
			win->orders |= (vmf_va)1 << level_order(w->cfg.format, i);
	return 0;
}

static int walk_detach(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	return sweep(walk_of(pmap), va, pages, &(struct sweep){ .gather = g, .prune = true });
}

static void walk_icache(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	struct vmf_ptwalk *w = walk_of(pmap);

	if (w->cfg.icache)
		w->cfg.icache(w->cfg.self, va, pages);
}

/* Memory comes from the port, so nothing of ours is held meanwhile. */
static int walk_supply(struct vmf_pmap *pmap)
{
	struct vmf_ptwalk *w = walk_of(pmap);

	while (__atomic_load_n(&w->spare, __ATOMIC_RELAXED) < w->cfg.reserve) {
		vmf_pfn table;
		bool full;

		if (!w->cfg.take(w->cfg.self, &table))
			return -VMF_ENOMEM;
		vmf_lock_take(w->cfg.port, &w->lock);
		full = w->spare >= w->cfg.reserve;
		if (!full)
			w->reserve[w->spare++] = table;
		vmf_lock_drop(w->cfg.port, &w->lock);
		if (full)
			w->cfg.give(w->cfg.self, table);
	}
	return 0;
}

static const struct vmf_pmap_ops walk_ops = {
	.size = sizeof(walk_ops),
	.attach = walk_attach,
	.detach = walk_detach,
	.enter = walk_enter,
	.remove = walk_remove,
	.protect = walk_protect,
	.query = walk_query,
	.icache = walk_icache,
	.update = walk_update,
	.supply = walk_supply,
};

int vmf_ptwalk_init(struct vmf_ptwalk *w, const struct vmf_ptwalk_config *cfg)
{
	const struct vmf_ptwalk_format *f = cfg->format;

	if (!f->levels || f->levels > VMF_PTWALK_LEVELS || cfg->lo >= cfg->hi || !cfg->root || !cfg->take || !cfg->give ||
	    !cfg->bytes || !cfg->flush || cfg->reserve < f->levels - 1u || cfg->reserve > VMF_PTWALK_RESERVE)
		return -VMF_EINVAL;
	*w = (struct vmf_ptwalk){ .pmap = { .ops = &walk_ops, .lo = cfg->lo, .hi = cfg->hi }, .cfg = *cfg };
	return 0;
}

void vmf_ptwalk_fini(struct vmf_ptwalk *w)
{
	settle(w);
	while (w->spare)
		w->cfg.give(w->cfg.self, w->reserve[--w->spare]);
}
