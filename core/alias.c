/* SPDX-License-Identifier: MIT
 *
 * Aliases: which page of which object shows which page of device memory, and with which attributes.
 *
 * Such a page has one set of attributes at a time: who shows it first decides, all others have to agree until nobody
 * shows it.  So there is a record of who shows what.  It is the reverse map for poison, too, it keeps adopted frames
 * where entries are not counted, and tells vmf_phys_adopt() what is in use.
 *
 * It is kept by blocks of 16 pfns.  A struct vmf__block, in a tree of its range, knows of each page with which
 * attributes, and by how many aliases it is shown.  A struct vmf__alias says which of them one object shows at one
 * distance (the object's page less the pfn); it is also in a tree of the object, by where the block starts there.  A
 * fault whose page is recorded finds it there, and is through.
 *
 * A page is recorded by the fault that is about to enter it, and until vmf_revoke() has taken it from all areas, or the
 * object has none any more; that a pmap has forgotten it meanwhile changes nothing.  Areas that were mapped VMF_RAW are
 * an interval each (interval.c), for as long as they are there.
 *
 * vmf_revoke() dooms what is recorded of its range, and says in object->revoking what it is about.  From then on a
 * fault that asked its driver before that is sent back, and what others record is doomed no more.  What is still doomed
 * when the entries have gone is dropped.
 *
 * All of this is protected by port->alias_lock, under which no other is taken but a reserve's.
 */
#include "core.h"


/* No compiler's built-in, which may be a call of its library. */
static unsigned lowest(unsigned bits)
{
	unsigned i = 0;

	while (!(bits >> i & 1))
		i++;
	return i;
}

static bool attr_same(struct vmf_attr a, struct vmf_attr b) { return a.type == b.type && a.port == b.port; }

/* -------------------------------------------------------------------------------------------- blocks */

void vmf__alias_init(struct vmf_object *o)
{
	o->shown.levels = vmf__radix_levels((o->room + 2 * VMF__BLOCK - 1) / VMF__BLOCK);
}

void vmf__alias_destroy(struct vmf_object *o)
{
	if (o->shown.root)
		vmf__radix_free(o->port, o->shown.root, o->shown.levels);
}

void vmf__block_init(struct vmf__range *r)
{
	r->blocks.levels = vmf__radix_levels((r->first.n + r->pages - 1) / VMF__BLOCK - r->first.n / VMF__BLOCK + 1);
}

static uint64_t block_key(const struct vmf__range *r, vmf_pfn pfn)
{
	return pfn.n / VMF__BLOCK - r->first.n / VMF__BLOCK;
}

struct vmf__block *vmf__block_at(const struct vmf__range *r, vmf_pfn pfn)
{
	return r->kind == VMF_PHYS_RAM ? NULL : vmf__radix_find(&r->blocks, block_key(r, pfn));
}

struct vmf__block *vmf__block_make(struct vmf_port *port, struct vmf__range *r, vmf_pfn pfn)
{
	void **link = vmf__radix_make(port, &r->blocks, block_key(r, pfn));
	struct vmf__block *b;

	if (!link || *link)
		return link ? *link : NULL;
	b = vmf__reserve_take(port, &port->blocks);
	if (!b)
		return NULL;
	b->first.n = pfn.n & ~(uint64_t)(VMF__BLOCK - 1);
	b->aliases = NULL;
	b->frames = NULL;
	b->any = b->adopted = b->broken = 0;
	vmf__store(link, (void *)b);
	return b;
}

/* ------------------------------------------------------------------------------------------ aliases */

/* Where in the object's tree: by where the block starts, which may be before its first page. */
static uint64_t alias_key(vmf_pgoff off) { return (off + VMF__BLOCK) / VMF__BLOCK; }

/* By which an object shows pages of the block that starts at `first`, there and like this; NULL. */
static struct vmf__alias *alias_in(void *list, vmf_pgoff off, uint64_t first, struct vmf_attr attr)
{
	struct vmf__alias *a = list;

	while (a && !(a->off == off && a->block->first.n == first && attr_same(a->attr, attr)))
		a = a->after;
	return a;
}

static struct vmf__alias *alias_new(struct vmf_object *o, void **list, vmf_pgoff off, struct vmf__block *b,
				    struct vmf_attr attr)
{
	struct vmf__alias *a = vmf__reserve_take(o->port, &o->port->aliases);

	if (!a)
		return NULL;
	*a = (struct vmf__alias){ .object = o, .after = *list, .block = b, .off = off, .attr = attr, .next = b->aliases,
				  .link = &b->aliases };
	if (a->next)
		a->next->link = &a->next;
	b->aliases = a;
	vmf__store(list, (void *)a);
	return a;
}

static void alias_free(struct vmf__alias *a)
{
	struct vmf_object *o = a->object;
	void **head = vmf__radix_make(o->port, &o->shown, alias_key(a->off)); /* it is there */
	struct vmf__alias *before = *head;

	*a->link = a->next;
	if (a->next)
		a->next->link = a->link;
	if (before == a) {
		vmf__store(head, (void *)a->after);
	} else {
		while (before->after != a)
			before = before->after;
		before->after = a->after;
	}
	vmf__reserve_give(o->port, &o->port->aliases, a);
}

/* Pages that it does not show yet. */
static void alias_add(struct vmf__alias *a, unsigned pages)
{
	struct vmf__block *b = a->block;

	a->shown |= (uint16_t)pages;
	a->fresh |= (uint16_t)pages;
	for (; pages; pages &= pages - 1) {
		unsigned i = lowest(pages);

		b->attr[i] = a->attr;
		b->shown[i] = b->any >> i & 1 ? b->shown[i] + 1 : 1;
		b->any |= (uint16_t)(1u << i);
		if (b->adopted >> i & 1)
			vmf_frame_get(&b->frames->frame[i]);
	}
}

/* It may be gone afterwards. */
static void alias_drop(struct vmf__alias *a, uint16_t pages)
{
	struct vmf__block *b = a->block;

	pages &= a->shown;
	a->shown &= (uint16_t)~pages;
	a->doomed &= a->shown;
	a->fresh &= a->shown;
	for (; pages; pages &= (uint16_t)(pages - 1)) {
		unsigned i = lowest(pages);

		if (!--b->shown[i])
			b->any &= (uint16_t)~(1u << i);
		if (b->adopted >> i & 1)
			vmf_frame_put(a->object->port, &b->frames->frame[i]);
	}
	if (!a->shown)
		alias_free(a);
}

/* Those of its pages that are in [first, end) of the object. */
static uint16_t alias_pages(const struct vmf__alias *a, vmf_pgoff first, vmf_pgoff end)
{
	uint16_t pages = 0;

	for (unsigned i = 0; i < VMF__BLOCK; i++)
		if (a->shown >> i & 1 && a->off + i >= first && a->off + i < end)
			pages |= (uint16_t)(1u << i);
	return pages;
}

/* -------------------------------------------------------------------------------------- revocations */

/* Of [first, first + n): f(alias, which of its pages). => alias lock */
static void alias_each(struct vmf_object *o, vmf_pgoff first, uint64_t n,
		       void (*f)(struct vmf__alias *, uint16_t pages, const struct vmf__revoking *),
		       const struct vmf__revoking *r)
{
	vmf_pgoff end = vmf__min(n, o->room) + first;
	uint64_t key = first / VMF__BLOCK, last = alias_key(vmf__min(end, o->room) - 1) + 1;

	if (!o->shown.root || first >= o->room)
		return;
	for (key = vmf__radix_next(&o->shown, key, last); key < last; key = vmf__radix_next(&o->shown, key + 1, last)) {
		struct vmf__alias *a = vmf__radix_find(&o->shown, key), *after;

		for (; a; a = after) {
			after = a->after;
			f(a, alias_pages(a, first, end), r);
		}
	}
}

/* Without those that another revocation is about, which sees to them. */
static uint16_t not_others(const struct vmf__alias *a, uint16_t pages)
{
	for (const struct vmf__revoking *r = a->object->revoking; r; r = r->next)
		pages &= (uint16_t)~alias_pages(a, r->first, r->first + r->n);
	return pages;
}

static void doom_them(struct vmf__alias *a, uint16_t pages, const struct vmf__revoking *r)
{
	(void)r;
	a->doomed |= pages;
}

static void settle_them(struct vmf__alias *a, uint16_t pages, const struct vmf__revoking *r)
{
	pages = not_others(a, pages & a->doomed);
	a->doomed &= (uint16_t)~pages;
	if (r->gone && pages)
		alias_drop(a, pages);
}

static void drop_them(struct vmf__alias *a, uint16_t pages, const struct vmf__revoking *r)
{
	(void)r;
	alias_drop(a, pages);
}

void vmf__revoke_begin(struct vmf_object *o, struct vmf__revoking *r)
{
	vmf__lock_take(o->port, &o->port->alias_lock);
	r->number = vmf__add(&o->revokes, 1) + 1;
	r->next = o->revoking;
	o->revoking = r;
	alias_each(o, r->first, r->n, doom_them, r);
	vmf__lock_drop(o->port, &o->port->alias_lock);
}

void vmf__revoke_end(struct vmf_object *o, struct vmf__revoking *r)
{
	struct vmf__revoking **link = &o->revoking;

	vmf__lock_take(o->port, &o->port->alias_lock);
	while (*link != r)
		link = &(*link)->next;
	*link = r->next;
	alias_each(o, r->first, r->n, settle_them, r);
	vmf__lock_drop(o->port, &o->port->alias_lock);
}

void vmf__alias_forget(struct vmf_object *o)
{
	if (!vmf__load(&o->shown.root))
		return;
	vmf__lock_take(o->port, &o->port->alias_lock);
	alias_each(o, 0, o->room, drop_them, NULL);
	vmf__lock_drop(o->port, &o->port->alias_lock);
}

/* Was any of it revoked since the driver was asked, and is not through yet? */
static bool revoked_since(const struct vmf_fault *f, vmf_pgoff at, uint64_t n)
{
	for (const struct vmf__revoking *r = f->object->revoking; r; r = r->next)
		if ((int32_t)(r->number - f->revokes) > 0 && r->first < at + n && at - vmf__min(at, r->first) < r->n)
			return true;
	return false;
}

/* ------------------------------------------------------------------------------------------- claims */

/* Pages that somebody wants to show: raw, or (counted) adopted frames. */
struct claim {
	struct vmf_port *port;
	struct vmf__range *range; /* that of the page looked at last */
	vmf_pfn pfn;
	uint64_t n;
	struct vmf_attr attr;
	bool counted;
};
/* Those of them that are in one block. */
struct piece {
	vmf_pfn first; /* of the block */
	uint16_t pages;
};

/* From that page of the claim on; how many there are.  0: the range was taken away this moment. */
static uint64_t piece_at(struct claim *c, uint64_t at, struct piece *p)
{
	vmf_pfn pfn = { c->pfn.n + at };
	unsigned i = pfn.n % VMF__BLOCK;
	uint64_t n = vmf__min(VMF__BLOCK - i, c->n - at);

	if (!c->range || pfn.n - c->range->first.n >= c->range->pages)
		c->range = vmf__phys_range(c->port, pfn);
	if (!c->range)
		return 0;
	n = vmf__min(n, c->range->first.n + c->range->pages - pfn.n);
	p->first.n = pfn.n - i;
	p->pages = (uint16_t)(((1u << n) - 1) << i);
	return n;
}

/* Is whoever shows the page being revoked, so that it will soon be free? */
static bool page_freed_soon(const struct vmf__block *b, unsigned i)
{
	for (const struct vmf__alias *a = b->aliases; a; a = a->next)
		if (a->shown >> i & 1 && !(a->doomed >> i & 1))
			return false;
	return true;
}

static struct vmf_result pages_check(const struct vmf__block *b, unsigned pages, struct vmf_attr attr, bool counted)
{
	unsigned shown = b->any & pages;

	if (b->broken & pages)
		return vmf__result(VMF_POISON, VMF_WHY_NONE, 0);
	if ((b->adopted & pages) != (counted ? pages : 0))
		return vmf__result(VMF_SIGBUS, VMF_WHY_POLICY, 0);
	for (; shown; shown &= shown - 1) {
		unsigned i = lowest(shown);

		if (!attr_same(b->attr[i], attr))
			return page_freed_soon(b, i) ? vmf__result(VMF_RETRY, VMF_WHY_RACE, 0) :
						       vmf__result(VMF_SIGBUS, VMF_WHY_ATTR, 0);
	}
	return vmf__result(VMF_OK, 0, 0);
}

/* Do areas that were mapped raw show them with other attributes? */
static bool intervals_disagree(const struct claim *c)
{
	uint64_t first = c->pfn.n, last = first + c->n - 1;
	const struct vmf__interval *v = c->port->raws;

	while (v && first <= last) {
		v = vmf__interval_find(c->port->raws, first, last);
		if (v && !attr_same(v->area->attr, c->attr))
			return true;
		if (v && v->last == UINT64_MAX)
			return false;
		first = v ? v->last + 1 : first;
	}
	return false;
}

/* What the page is shown with already will do as well, if the caller says so. */
static void attr_decided(struct claim *c, vmf_pfn pfn)
{
	const struct vmf__range *range = vmf__phys_range(c->port, pfn);
	const struct vmf__block *b = range ? vmf__block_at(range, pfn) : NULL;
	const struct vmf__interval *v = vmf__interval_find(c->port->raws, pfn.n, pfn.n);
	struct vmf_attr has = c->attr;

	if (b && b->any >> pfn.n % VMF__BLOCK & 1)
		has = b->attr[pfn.n % VMF__BLOCK];
	else if (v)
		has = v->area->attr;
	if (vmf_attr_covers(has, c->attr))
		c->attr.type = has.type;
}

/* Nothing is recorded. */
static struct vmf_result claim_check(struct claim *c)
{
	struct vmf_result r = { 0 };
	struct piece p;
	uint64_t n;

	if (intervals_disagree(c))
		return vmf__result(VMF_SIGBUS, VMF_WHY_ATTR, 0);
	for (uint64_t done = 0; done < c->n && r.code == VMF_OK; done += n) {
		const struct vmf__block *b;

		n = piece_at(c, done, &p);
		if (!n)
			return vmf__result(VMF_SIGBUS, VMF_WHY_HOLE, 0);
		b = vmf__block_at(c->range, (vmf_pfn){ c->pfn.n + done });
		r = b ? pages_check(b, p.pages, c->attr, c->counted) : r;
	}
	return r;
}

/* These pages of a block, whose first one is the object's page `off` (in the range r). */
static struct vmf_result pages_record(struct vmf_fault *f, struct vmf__range *r, uint64_t first, unsigned pages,
				      vmf_pgoff off, struct vmf_attr attr, bool counted)
{
	struct vmf_object *o = f->object;
	void **list = vmf__radix_make(f->port, &o->shown, alias_key(off));
	struct vmf__alias *a = list ? alias_in(*list, off, first, attr) : NULL;
	struct vmf__block *b;
	struct vmf_result bad;

	if (a && !(pages & ~(unsigned)a->shown) && !(pages & a->block->broken) && !o->revoking) {
		a->fresh &= (uint16_t)~pages;
		return vmf__result(VMF_OK, 0, 0);
	}
	b = a ? a->block : list ? vmf__block_make(f->port, r, (vmf_pfn){ first }) : NULL;
	if (!b)
		return vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	if ((b->any | b->broken | b->adopted) & pages || counted) {
		bad = pages_check(b, pages, attr, counted);
		if (bad.code != VMF_OK)
			return bad;
	}
	if (!a)
		a = alias_new(o, list, off, b, attr);
	if (!a)
		return vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	a->doomed &= (uint16_t)~pages;
	a->fresh &= (uint16_t)~pages;
	alias_add(a, pages & ~(unsigned)a->shown);
	return vmf__result(VMF_OK, 0, 0);
}

/* Those of the run that nobody else has come across are not recorded any more. */
static void undo_record(struct vmf_fault *f, vmf_pgoff at, struct claim *c, uint64_t n)
{
	struct piece p;
	uint64_t step;

	for (uint64_t done = 0; done < n; done += step) {
		vmf_pgoff off;
		struct vmf__alias *a;

		step = piece_at(c, done, &p);
		if (!step)
			return;
		off = at - (c->pfn.n - p.first.n);
		a = alias_in(vmf__radix_find(&f->object->shown, alias_key(off)), off, p.first.n, c->attr);
		if (a)
			alias_drop(a, a->fresh & p.pages);
	}
}

static struct vmf_result claim_record(struct vmf_fault *f, vmf_pgoff at, struct claim *c)
{
	struct vmf_result r = { 0 };
	struct piece p;
	uint64_t done, n;

	if (c->port->raws && intervals_disagree(c))
		return vmf__result(VMF_SIGBUS, VMF_WHY_ATTR, 0);
	for (done = 0; done < c->n; done += n) {
		n = piece_at(c, done, &p);
		r = n ? pages_record(f, c->range, p.first.n, p.pages, at - (c->pfn.n - p.first.n), c->attr, c->counted) :
			vmf__result(VMF_SIGBUS, VMF_WHY_HOLE, 0);
		if (r.code != VMF_OK)
			break;
	}
	if (r.code != VMF_OK)
		undo_record(f, at, c, done);
	return r;
}

/* What is mapped VMF_RAW is recorded as an interval. */
static bool area_raw(const struct vmf_fault *f, vmf_pgoff at, vmf_pfn pfn)
{
	const struct vmf_area *a = f->area->real;

	return a->action == VMF_RAW && pfn.n == a->raw.n + (at - a->off);
}

/* => alias_lock */
__attribute__((noinline)) static struct vmf_result claim_any(struct vmf_fault *f, vmf_pgoff at, vmf_pfn pfn, uint32_t n,
							     struct vmf_attr *attr, struct vmf__range *range, bool counted)
{
	struct claim c = { f->port, range, pfn, n, *attr, counted };
	struct vmf_result r;

	if (attr->strengthen)
		attr_decided(&c, (vmf_pfn){ pfn.n + (f->off - at < n ? f->off - at : 0) });
	if (revoked_since(f, at, n))
		return vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	r = area_raw(f, at, pfn) ? claim_check(&c) : claim_record(f, at, &c);
	attr->type = c.attr.type;
	return r;
}

/* What mostly is to be done: a page that is shown like this already, or that nobody shows, beside one that this object
 * shows.  false: nothing was done. => alias_lock */
static inline bool claim_next(const struct vmf_object *o, vmf_pgoff at, vmf_pfn pfn, struct vmf_attr attr)
{
	unsigned i = pfn.n % VMF__BLOCK, page = 1u << i;
	struct vmf__alias *a = alias_in(vmf__radix_find(&o->shown, alias_key(at - i)), at - i, pfn.n - i, attr);
	struct vmf__block *b;

	if (!a || o->revoking)
		return false;
	b = a->block;
	if (a->shown & page & ~(unsigned)b->broken) {
		a->fresh &= (uint16_t)~page;
		return true;
	}
	if ((b->any | b->broken | b->adopted) & page || o->port->raws)
		return false;
	a->shown |= (uint16_t)page;
	a->fresh |= (uint16_t)page;
	b->any |= (uint16_t)page;
	b->shown[i] = 1;
	b->attr[i] = attr;
	return true;
}

struct vmf_result vmf__alias_claim(struct vmf_fault *f, vmf_pgoff at, vmf_pfn pfn, uint32_t n, struct vmf_attr *attr,
				   struct vmf__range *range, bool counted)
{
	struct vmf_result r = { 0 };

	vmf__lock_take(f->port, &f->port->alias_lock);
	if (n != 1 || counted || !claim_next(f->object, at, pfn, *attr))
		r = claim_any(f, at, pfn, n, attr, range, counted);
	vmf__lock_drop(f->port, &f->port->alias_lock);
	return r;
}

void vmf__alias_undo(struct vmf_fault *f, vmf_pgoff at, vmf_pfn pfn, uint32_t n, struct vmf_attr attr)
{
	struct claim c = { f->port, NULL, pfn, n, attr, false };

	if (area_raw(f, at, pfn)) /* nothing was recorded, and what others recorded stays */
		return;
	vmf__lock_take(f->port, &f->port->alias_lock);
	undo_record(f, at, &c, n);
	vmf__lock_drop(f->port, &f->port->alias_lock);
}

/* --------------------------------------------------------------------------------- areas mapped raw */

int vmf__alias_map(struct vmf_area *a)
{
	struct vmf_port *port = a->space->port;
	struct claim c = { port, NULL, a->raw, a->pages, a->attr, false };
	struct vmf_result r;

	vmf__lock_take(port, &port->alias_lock);
	if (a->attr.strengthen)
		attr_decided(&c, a->raw);
	r = claim_check(&c);
	if (r.code == VMF_OK && !a->interval->there) {
		a->attr.type = c.attr.type;
		vmf__interval_add(&port->raws, a->interval);
	}
	vmf__lock_drop(port, &port->alias_lock);
	return r.code == VMF_OK ? 0 : -VMF_EPERM;
}

void vmf__alias_area(struct vmf_area *a, bool there)
{
	struct vmf_port *port = a->object->port;

	if (!a->interval || a->interval->there == there)
		return;
	vmf__lock_take(port, &port->alias_lock);
	if (there)
		vmf__interval_add(&port->raws, a->interval);
	else
		vmf__interval_del(&port->raws, a->interval);
	vmf__lock_drop(port, &port->alias_lock);
}

bool vmf__alias_shown(struct vmf_port *port, const struct vmf__range *r, vmf_pfn first, uint64_t n)
{
	uint64_t from = block_key(r, first), end = block_key(r, (vmf_pfn){ first.n + n - 1 }) + 1;

	if (vmf__interval_find(port->raws, first.n, first.n + n - 1))
		return true;
	for (uint64_t key = from; (key = vmf__radix_next(&r->blocks, key, end)) < end; key++) {
		const struct vmf__block *b = vmf__radix_find(&r->blocks, key);

		for (unsigned i = 0; i < VMF__BLOCK; i++)
			if (b->any >> i & 1 && b->first.n + i - first.n < n)
				return true;
	}
	return false;
}
