/* SPDX-License-Identifier: MIT
 *
 * The table of a space: a B+tree of its areas by address.
 *
 * A node never changes once it can be seen.  A change makes new nodes from the leaves it is about up to a new root, and
 * shares all others with the old tree, which stays whole until nobody reads it: so faults walk without a lock, and a
 * change that fails is forgotten by keeping the old root.  Bounds are in the nodes: on the way no area is touched.
 */
#include "core.h"

#define WIDTH 31u /* the five steps of node_below() */
#define LEAST 10u /* a node that has lost items and has fewer is joined with its neighbour */
#define LEVELS 12u

/* An area, or a node of the level below: of its areas the first and the last byte, and the widest gap between two. */
struct vmf__item {
	vmf_va last; /* first, because this and `of` is what a walk reads */
	void *of;
	vmf_va first, gap;
};
struct vmf__table {
	struct vmf__table *link; /* spare, or in one of a draft's lists; for who changes the table */
	uint8_t level, n;        /* level 0: items are areas */
	bool fresh, wasted;      /* made by this draft; and dropped by it */
	struct vmf__item item[WIDTH]; /* from n on their `last` is as high as can be */
};

/* ------------------------------------------------------------------------------------------- looking up */

static inline const struct vmf__item *skip(const struct vmf__item *i, uint32_t n, vmf_va va)
{
	return i[n - 1].last < va ? i + n : i;
}

/* How many items end below va: always five steps. */
static inline uint32_t node_below(const struct vmf__table *t, vmf_va va)
{
	const struct vmf__item *i = skip(t->item, 16, va);

	i = skip(i, 8, va);
	i = skip(i, 4, va);
	i = skip(i, 2, va);
	i = skip(i, 1, va);
	return (uint32_t)(i - t->item);
}

/* How many begin at va or below. */
static uint32_t node_upto(const struct vmf__table *t, vmf_va va)
{
	uint32_t n = node_below(t, va);

	return n < t->n && t->item[n].first <= va ? n + 1 : n;
}

static const struct vmf__item *table_seek(const struct vmf__table *t, vmf_va va)
{
	while (t) {
		uint32_t i = node_below(t, va);

		if (i >= t->n)
			return NULL;
		if (!t->level)
			return t->item + i;
		t = t->item[i].of;
	}
	return NULL;
}

struct vmf_area *vmf__table_after(const struct vmf__table *t, vmf_va va)
{
	const struct vmf__item *i = table_seek(t, va);

	return i ? i->of : NULL;
}

struct vmf_area *vmf__table_find(const struct vmf__table *t, vmf_va va)
{
	const struct vmf__item *i = table_seek(t, va);

	return i && i->first <= va ? i->of : NULL;
}

/* Raises *at, behind which all is free up to the next item, until so many bytes are. */
static bool node_gap(const struct vmf__table *t, vmf_va bytes, vmf_va *at)
{
	for (uint32_t i = node_below(t, *at); i < t->n; i++) {
		const struct vmf__item *m = &t->item[i];

		if (m->first > *at && m->first - *at >= bytes)
			return true;
		if (m->gap >= bytes && node_gap(m->of, bytes, at))
			return true;
		*at = m->last + 1;
	}
	return false;
}

bool vmf__table_gap(const struct vmf__table *t, vmf_va lo, vmf_va hi, vmf_va bytes, vmf_va *at)
{
	*at = lo;
	if (t)
		(void)node_gap(t, bytes, at);
	return *at >= lo && *at < hi && hi - *at >= bytes;
}

/* ------------------------------------------------------------------------------------------------ nodes */

/* What taking areas out can need: two nodes for each that it makes smaller, but for the root. */
static uint32_t spares_least(const struct vmf__table *root) { return root ? 2u * root->level + 1 : 0; }

static struct vmf__table *node_alloc(struct vmf__draft *d)
{
	struct vmf__table *t = d->spare;

	if (!t)
		return vmf__alloc(d->port, sizeof(*t));
	d->spare = t->link;
	d->spares--;
	return t;
}

static void node_spare(struct vmf__draft *d, struct vmf__table *t)
{
	t->link = d->spare;
	d->spare = t;
	d->spares++;
}

/* What is dropped will be spare, too. */
static int spares_fill(struct vmf__draft *d)
{
	while (d->spares + d->dropped < spares_least(d->root)) {
		struct vmf__table *t = vmf__alloc(d->port, sizeof(*t));

		if (!t)
			return -VMF_ENOMEM;
		node_spare(d, t);
	}
	return 0;
}

static void spares_trim(struct vmf__draft *d, uint32_t least)
{
	while (d->spares > least)
		vmf__free(d->port, node_alloc(d), sizeof(struct vmf__table));
}

static struct vmf__table *node_new(struct vmf__draft *d, unsigned level, uint32_t n)
{
	struct vmf__table *t = node_alloc(d);

	if (!t)
		return NULL;
	t->link = NULL;
	t->level = (uint8_t)level;
	t->n = (uint8_t)n;
	t->fresh = true;
	t->wasted = false;
	if (d->newest)
		d->newest->link = t;
	else
		d->fresh = t;
	d->newest = t;
	return t;
}

/* Not in the new tree. */
static void node_drop(struct vmf__draft *d, struct vmf__table *t)
{
	d->dropped++;
	if (t->fresh) {
		t->wasted = true;
		return;
	}
	t->link = d->dead;
	d->dead = t;
}

static void node_drop_all(struct vmf__draft *d, struct vmf__table *t)
{
	for (uint32_t i = 0; t->level && i < t->n; i++)
		node_drop_all(d, t->item[i].of);
	node_drop(d, t);
}

static struct vmf__item item_of_area(struct vmf_area *a)
{
	return (struct vmf__item){ .last = vmf__last(a), .of = a, .first = a->va };
}

static struct vmf__item item_of_node(struct vmf__table *t)
{
	struct vmf__item m = { .last = t->item[t->n - 1].last, .of = t, .first = t->item[0].first };

	for (uint32_t i = 0; i < t->n; i++) {
		m.gap = vmf__max(m.gap, t->item[i].gap);
		if (i)
			m.gap = vmf__max(m.gap, t->item[i].first - t->item[i - 1].last - 1);
	}
	return m;
}

/* ------------------------------------------------------------------------------------------- the splice */

/* What a level keeps: of one node the items below `to`, of the same or one further right those from `from` on. */
struct level {
	struct vmf__table *left, *right;
	uint32_t to, from;
};

/* What the new nodes of a level are made of, in this order. */
enum { NEIGHBOUR_LEFT, LEFT, MIDDLE, RIGHT, NEIGHBOUR_RIGHT, PARTS };
struct stock {
	struct { const struct vmf__table *node; uint32_t at, end; } part[PARTS];
	struct vmf_area *const *area; /* MIDDLE: areas, or */
	struct vmf__table *made;      /* the nodes of the level below */
	uint32_t now, n;              /* part that is drawn from; items left */
};

static void stock_add(struct stock *s, unsigned part, const struct vmf__table *node, uint32_t at, uint32_t end)
{
	s->part[part].node = node;
	s->part[part].at = at;
	s->part[part].end = end;
	s->n += end - at;
}

static struct vmf__item stock_draw(struct stock *s)
{
	struct vmf__table *t = s->made;
	uint32_t i;

	while (s->part[s->now].at == s->part[s->now].end)
		s->now++;
	i = s->part[s->now].at++;
	s->n--;
	if (s->now != MIDDLE)
		return s->part[s->now].node->item[i];
	if (s->area)
		return item_of_area(s->area[i]);
	s->made = t->link;
	return item_of_node(t);
}

/* Full nodes where nothing follows, so that areas that are mapped upwards fill them; else nodes of equal size. */
static int stock_build(struct vmf__draft *d, struct stock *s, unsigned level, uint32_t *nodes)
{
	bool tail = s->part[RIGHT].at == s->part[RIGHT].end;

	*nodes = (s->n + WIDTH - 1) / WIDTH;
	for (uint32_t k = *nodes; k; k--) {
		uint32_t n = tail ? (uint32_t)vmf__min(s->n, WIDTH) : s->n / k;
		struct vmf__table *t = node_new(d, level, n);

		if (!t)
			return -VMF_ENOMEM;
		for (uint32_t i = 0; i < n; i++)
			t->item[i] = stock_draw(s);
		for (uint32_t i = n; i < WIDTH; i++)
			t->item[i].last = UINTPTR_MAX;
	}
	return 0;
}

/* Finds what is between lo and last, and drops what is wholly there. */
static void level_open(struct vmf__draft *d, struct level *l, vmf_va lo, vmf_va last)
{
	bool same = l->left == l->right;
	uint32_t end = node_upto(l->right, last), least;

	l->to = (uint32_t)vmf__min(node_below(l->left, lo), l->left->n - 1u);
	least = same ? l->to : 0;
	l->from = end > least ? end : least + 1;
	for (uint32_t i = l->to + 1; i < (same ? l->from - 1 : l->left->n); i++)
		node_drop_all(d, l->left->item[i].of);
	for (uint32_t i = 0; !same && i < l->from - 1; i++)
		node_drop_all(d, l->right->item[i].of);
}

/* From the root down to the leaves: the two nodes of each level that are cut. */
static void splice_open(struct vmf__draft *d, struct level *level, vmf_va lo, vmf_va last)
{
	struct level l = { d->root, d->root, 0, 0 };

	for (unsigned i = d->root->level;; i--) {
		node_drop(d, l.left);
		if (l.right != l.left)
			node_drop(d, l.right);
		if (!i)
			break;
		level_open(d, &l, lo, last);
		level[i] = l;
		l.left = l.left->item[l.to].of;
		l.right = l.right->item[l.from - 1].of;
	}
	l.to = node_below(l.left, lo);
	l.from = node_upto(l.right, last);
	level[0] = l;
}

static void stock_join(struct vmf__draft *d, struct stock *s, struct level *above)
{
	struct vmf__table *t;

	if (above->to) {
		t = above->left->item[--above->to].of;
		stock_add(s, NEIGHBOUR_LEFT, t, 0, t->n);
		node_drop(d, t);
	} else if (above->from < above->right->n) {
		t = above->right->item[above->from++].of;
		stock_add(s, NEIGHBOUR_RIGHT, t, 0, t->n);
		node_drop(d, t);
	}
}

static void stock_fill(struct vmf__draft *d, struct stock *s, const struct level *l, struct level *above)
{
	uint32_t before = l->left ? l->left->n : 0;

	if (!l->left)
		return;
	stock_add(s, LEFT, l->left, 0, l->to);
	stock_add(s, RIGHT, l->right, l->from, l->right->n);
	if (above && s->n && s->n < LEAST && s->n < before)
		stock_join(d, s, above);
}

/* A root with nothing beside it is none. */
static void splice_root(struct vmf__draft *d, struct vmf__table *t)
{
	while (t && t->level && t->n == 1) {
		node_drop(d, t);
		t = t->item[0].of;
	}
	d->root = t;
}

int vmf__table_splice(struct vmf__draft *d, vmf_va lo, vmf_va last, struct vmf_area *const *area, uint32_t n)
{
	struct level level[LEVELS + 1] = { 0 };
	unsigned top = d->root ? d->root->level : 0;
	struct vmf__table *made = NULL;
	bool any = n;

	if (d->root)
		splice_open(d, level, lo, last);
	for (unsigned i = 0; i <= top || n > 1; i++) {
		struct vmf__table *before = d->newest;
		struct stock s = { .area = i ? NULL : area, .made = made };
		int err;

		if (i > LEVELS)
			return -VMF_ENOMEM;
		stock_add(&s, MIDDLE, NULL, 0, n);
		stock_fill(d, &s, &level[i], i < top ? &level[i + 1] : NULL);
		err = stock_build(d, &s, i, &n);
		if (err)
			return err;
		made = before ? before->link : d->fresh;
	}
	splice_root(d, n ? made : NULL);
	return any ? spares_fill(d) : 0;
}

/* ------------------------------------------------------------------------------------- the end of a draft */

static void draft_end(struct vmf__draft *d)
{
	d->fresh = d->newest = d->dead = NULL;
	d->dropped = 0;
	spares_trim(d, spares_least(d->root));
}

void vmf__table_keep(struct vmf__draft *d)
{
	struct vmf__table *t, *next;

	for (t = d->dead; t; t = next) {
		next = t->link;
		node_spare(d, t);
	}
	for (t = d->fresh; t; t = next) {
		next = t->link;
		t->fresh = false;
		if (t->wasted)
			node_spare(d, t);
	}
	draft_end(d);
}

void vmf__table_discard(struct vmf__draft *d, struct vmf__table *old)
{
	struct vmf__table *next;

	d->root = old;
	for (struct vmf__table *t = d->fresh; t; t = next) {
		next = t->link;
		node_spare(d, t);
	}
	draft_end(d);
}

struct vmf_area *vmf__table_last(const struct vmf__table *t)
{
	while (t && t->level)
		t = t->item[t->n - 1].of;
	return t ? t->item[t->n - 1].of : NULL;
}

/* What bounds the items on the way up stays too wide, which finds no less. */
void vmf__table_pop(struct vmf__draft *d)
{
	struct vmf__table *path[LEVELS + 1], *t = d->root;
	uint32_t depth = 0;

	for (; t->level; t = t->item[t->n - 1].of)
		path[depth++] = t;
	while (t->item[--t->n].last = UINTPTR_MAX, !t->n) {
		vmf__free(d->port, t, sizeof(*t));
		if (!depth) {
			d->root = NULL;
			spares_trim(d, 0);
			return;
		}
		t = path[--depth];
	}
}
