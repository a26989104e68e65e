/* SPDX-License-Identifier: MIT
 *
 * The simulated MMU: a hash of entries.  An entry is found by every page that it covers.  Everything here is
 * called with the MMU's lock held.
 */
#include <stdlib.h>
#include <string.h>
#include "machine.h"

static struct sim_entry **bucket_of(struct sim_mmu *m, vmf_va va)
{
	uint64_t page = va >> m->sim->config.page_shift;

	return &m->bucket[(page ^ page >> 12 ^ page >> 24) & (m->buckets - 1)];
}

bool vmf__sim_buckets(struct sim_mmu *m, uint32_t n)
{
	struct sim_entry **old = m->bucket, *e;
	uint32_t had = m->buckets;

	m->bucket = calloc(n, sizeof(*m->bucket));
	if (!m->bucket) {
		m->bucket = old;
		return false;
	}
	m->buckets = n;
	for (uint32_t i = 0; i < had; i++)
		while ((e = old[i])) {
			struct sim_entry **bucket = bucket_of(m, e->va);

			old[i] = e->next;
			e->next = *bucket;
			*bucket = e;
		}
	free(old);
	return true;
}

struct sim_entry *vmf__sim_find(struct sim_mmu *m, vmf_va va)
{
	for (unsigned order = 0; m->orders >> order; order++) {
		vmf_va start = va & ~(vmf__sim_span(m, 1ull << order) - 1);

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
	m->entries++;
	*e = (struct sim_entry){ .next = *bucket, .va = va, .order = (uint8_t)order };
	*bucket = e;
	m->orders |= 1u << order;
	return e;
}

bool vmf__sim_revive(struct sim_mmu *m, vmf_va va, uint64_t pfn, unsigned order, uint8_t prot)
{
	for (struct sim_entry *e = *bucket_of(m, va); e; e = e->next)
		if (e->gone && e->va == va && e->order == order && e->pfn.n == pfn) {
			e->gone = false;
			e->prot = prot;
			return true;
		}
	return false;
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

/* ------------------------------------------------------------------------------------------------ bolts */

static bool held(const struct sim_mmu *m, vmf_va va, vmf_va end)
{
	for (uint32_t i = 0; i < m->held; i++)
		if (m->bolt[i] >= va && m->bolt[i] < end)
			return true;
	return false;
}

static bool bolted(struct sim_mmu *m, const struct sim_entry *e)
{
	const struct sim_range *r = vmf__sim_range(m, e->va);

	return (r && r->bolts) || held(m, e->va, e->va + vmf__sim_span(m, 1ull << e->order));
}

int vmf__sim_bolt(struct sim_mmu *m, vmf_va va)
{
	const struct sim_range *r = vmf__sim_range(m, va);

	if (!r)
		return -VMF_EGONE;
	if (r->bolts || held(m, va, va + m->sim->page))
		return 0;
	if (!m->bolts)
		return -VMF_ENOSPC;
	m->bolts--;
	m->bolt[m->held++] = va;
	return 1;
}

void vmf__sim_unbolt(struct sim_mmu *m, vmf_va va, vmf_va end)
{
	for (uint32_t i = 0; i < m->held;)
		if (m->bolt[i] >= va && m->bolt[i] < end) {
			m->bolt[i] = m->bolt[--m->held];
			m->bolts++;
		} else {
			i++;
		}
}

/* ---------------------------------------------------------------------------------------------- entries */

static void entry_free(struct sim_mmu *m, struct sim_entry **link)
{
	struct sim_entry *e = *link;

	*link = e->next;
	e->next = m->spare;
	m->spare = e;
	m->spares++;
	m->entries--;
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
	if (e->va >= d->end || e->va + vmf__sim_span(m, 1ull << e->order) <= d->va)
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
		m->unflushed += !e->gone;
		entry_free(m, link);
	}
}

/* Every chain that an entry of [va, end) can be in: all of them if there are many. */
#define EACH_CHAIN(m, va, end, chain) \
	for (struct walk walk = walk_start(m, va, end); (chain = walk_next(m, &walk));)

struct walk { vmf_va va, end; uint32_t bucket; unsigned order; bool all; };

static struct walk walk_start(const struct sim_mmu *m, vmf_va va, vmf_va end)
{
	return (struct walk){ .va = va, .end = end, .all = end - va > vmf__sim_span(m, m->buckets) };
}

static struct sim_entry **walk_next(struct sim_mmu *m, struct walk *w)
{
	if (w->all)
		return w->bucket < m->buckets ? &m->bucket[w->bucket++] : NULL;
	for (; w->va < w->end; w->va += m->sim->page, w->order = 0)
		for (; m->orders >> w->order; w->order++)
			if (m->orders >> w->order & 1)
				return bucket_of(m, w->va & ~(vmf__sim_span(m, 1ull << w->order++) - 1));
	return NULL;
}

void vmf__sim_drop(struct sim_mmu *m, vmf_va va, uint64_t pages, bool owned, struct vmf_gather *g)
{
	struct drop d = { va, va + vmf__sim_span(m, pages), g, pages, owned, false };
	struct sim_entry **chain;

	EACH_CHAIN(m, d.va, d.end, chain)
		drop_chain(m, chain, &d);
	d.gone = true;
	EACH_CHAIN(m, d.va, d.end, chain)
		drop_chain(m, chain, &d);
}

/* An entry that reaches out of the range cannot change in part: it is forgotten. */
static void limit_chain(struct sim_mmu *m, struct sim_entry *e, vmf_va va, vmf_va end, uint8_t prot)
{
	for (; e; e = e->next) {
		vmf_va last = e->va + vmf__sim_span(m, 1ull << e->order);

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
void vmf__sim_limit(struct sim_mmu *m, vmf_va va, uint64_t pages, uint8_t prot)
{
	vmf_va end = va + vmf__sim_span(m, pages);
	struct sim_entry **chain;

	EACH_CHAIN(m, va, end, chain)
		limit_chain(m, *chain, va, end, prot);
}

/* Without protection for single entries it is the range's own that counts, and all entries follow it. */
int vmf__sim_protect_ranges(struct sim_mmu *m, vmf_va va, uint64_t pages, uint8_t prot)
{
	vmf_va end = va + vmf__sim_span(m, pages);
	struct sim_entry **chain;

	if (!vmf__sim_ranges_room(m))
		return -VMF_ENOMEM;
	vmf__sim_range_cut(m, va);
	vmf__sim_range_cut(m, end);
	for (struct sim_range *r = vmf__sim_range_after(m, va); r && r->va < end;
	     r = vmf__sim_range_after(m, vmf__sim_range_end(m, r)))
		r->prot = prot;
	vmf__sim_limit(m, va, pages, prot);
	EACH_CHAIN(m, va, end, chain)
		for (struct sim_entry *e = *chain; e; e = e->next)
			if (e->va >= va && e->va < end)
				e->prot = prot;
	return 0;
}

/* Forgotten: an entry that is counted stays until its reference can be handed back, the others just go. */
static void entry_forget(struct sim_mmu *m, struct sim_entry *e)
{
	struct sim_entry **link = bucket_of(m, e->va);

	e->gone = true;
	if (counted(m, e))
		return;
	while (*link != e)
		link = &(*link)->next;
	entry_free(m, link);
}

bool vmf__sim_forget(struct sim_mmu *m, vmf_va va)
{
	struct sim_entry *e = vmf__sim_find(m, va);

	if (e && bolted(m, e))
		return true;
	if (e && !e->owned) {
		entry_forget(m, e);
		return true;
	}
	if (m->sim->config.store != VMF_BY_COPY || !vmf__sim_range(m, va))
		return true;
	/* One that was absent allows nothing: the next fault finds it there, and gives it the permissions that it lacks. */
	if (!e)
		e = vmf__sim_make(m, va & ~(m->sim->page - 1), 0);
	if (!e)
		return false;
	e->owned = true;
	memset(e->page, 0, m->sim->page);
	return true;
}

/* An entry that does not lie in the range as a whole stays. */
static void take_chain(struct sim_mmu *m, struct sim_entry **link, vmf_va va, vmf_va end, struct sim_entry **taken)
{
	struct sim_entry *e;

	while ((e = *link)) {
		if (e->va < va || e->va + vmf__sim_span(m, 1ull << e->order) > end) {
			link = &e->next;
			continue;
		}
		*link = e->next;
		e->next = *taken;
		*taken = e;
	}
}

static void move_ranges(struct sim_mmu *m, vmf_va from, vmf_va to, vmf_va end)
{
	struct sim_range r;

	vmf__sim_range_cut(m, from);
	vmf__sim_range_cut(m, end);
	while (vmf__sim_range_take(m, from, end, &r)) {
		r.va = r.va - from + to;
		vmf__sim_range_insert(m, r);
	}
	for (uint32_t i = 0; i < m->held; i++)
		if (m->bolt[i] >= from && m->bolt[i] < end)
			m->bolt[i] = m->bolt[i] - from + to;
}

/* Ranges and entries, live or gone, with all that they hold. */
int vmf__sim_move(struct sim_mmu *m, vmf_va from, vmf_va to, uint64_t pages)
{
	vmf_va end = from + vmf__sim_span(m, pages);
	struct sim_entry *taken = NULL, *e, **chain;

	if (!vmf__sim_ranges_room(m))
		return -VMF_ENOMEM;
	move_ranges(m, from, to, end);
	EACH_CHAIN(m, from, end, chain)
		take_chain(m, chain, from, end, &taken);
	while ((e = taken)) {
		taken = e->next;
		m->unflushed += !e->gone;
		e->va = e->va - from + to;
		chain = bucket_of(m, e->va);
		e->next = *chain;
		*chain = e;
	}
	return 0;
}

static void free_list(struct sim_entry *e)
{
	while (e) {
		struct sim_entry *next = e->next;

		free(e);
		e = next;
	}
}

void vmf__sim_mmu_free(struct sim_mmu *m)
{
	for (uint32_t i = 0; i < m->buckets; i++)
		free_list(m->bucket[i]);
	free(m->bucket);
	free_list(m->spare);
	free(m->bolt);
	vmf__sim_ranges_free(m);
	free(m);
}
