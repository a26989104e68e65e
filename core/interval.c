/* SPDX-License-Identifier: MIT
 *
 * Intervals of pfns that may overlap, as areas that were mapped raw have them: a treap, sorted by where they start,
 * that knows of each subtree how far it reaches.  Only vmf__interval_find() is on the fault path, and walks without a
 * stack.
 * => port->alias_lock
 */
#include "core.h"

static uint64_t reach_of(const struct vmf__interval *v) { return v ? v->reach : 0; }

static struct vmf__interval *interval_update(struct vmf__interval *v)
{
	v->reach = vmf__max(v->last, vmf__max(reach_of(v->left), reach_of(v->right)));
	return v;
}

static bool interval_before(const struct vmf__interval *a, const struct vmf__interval *b)
{
	return a->first < b->first || (a->first == b->first && (uintptr_t)a < (uintptr_t)b);
}

/* Any number will do that has nothing to do with the order. */
static uint32_t interval_weight(const struct vmf__interval *v)
{
	uint32_t x = (uint32_t)((uintptr_t)v >> 4) * 0x9e3779b9u;

	x ^= x >> 16;
	x *= 0x85ebca6bu;
	return x ^ x >> 13;
}

/* Those before `at` to *lo, the others to *hi. */
static void interval_split(struct vmf__interval *t, const struct vmf__interval *at, struct vmf__interval **lo,
		  struct vmf__interval **hi)
{
	if (!t) {
		*lo = *hi = NULL;
	} else if (interval_before(t, at)) {
		interval_split(t->right, at, &t->right, hi);
		*lo = interval_update(t);
	} else {
		interval_split(t->left, at, lo, &t->left);
		*hi = interval_update(t);
	}
}

static struct vmf__interval *interval_join(struct vmf__interval *lo, struct vmf__interval *hi)
{
	if (!lo || !hi)
		return lo ? lo : hi;
	if (interval_weight(lo) > interval_weight(hi)) {
		lo->right = interval_join(lo->right, hi);
		return interval_update(lo);
	}
	hi->left = interval_join(lo, hi->left);
	return interval_update(hi);
}

static struct vmf__interval *interval_without(struct vmf__interval *t, const struct vmf__interval *v)
{
	if (t == v)
		return interval_join(t->left, t->right);
	if (interval_before(v, t))
		t->left = interval_without(t->left, v);
	else
		t->right = interval_without(t->right, v);
	return interval_update(t);
}

void vmf__interval_add(struct vmf__interval **root, struct vmf__interval *v)
{
	struct vmf__interval *lo, *hi;

	v->first = v->area->raw.n;
	v->last = v->first + v->area->pages - 1;
	v->left = v->right = NULL;
	v->there = true;
	interval_split(*root, v, &lo, &hi);
	*root = interval_join(interval_join(lo, interval_update(v)), hi);
}

void vmf__interval_del(struct vmf__interval **root, struct vmf__interval *v)
{
	*root = interval_without(*root, v);
	v->there = false;
}

struct vmf__interval *vmf__interval_find(struct vmf__interval *t, uint64_t first, uint64_t last)
{
	while (t && t->reach >= first) {
		if (t->left && t->left->reach >= first) {
			t = t->left;
			continue;
		}
		if (t->first > last)
			return NULL;
		if (t->last >= first)
			return t;
		t = t->right;
	}
	return NULL;
}

void vmf__interval_each(struct vmf__interval *t, uint64_t first, uint64_t last,
			void (*f)(struct vmf__interval *, void *), void *self)
{
	if (!t || t->reach < first)
		return;
	vmf__interval_each(t->left, first, last, f, self);
	if (t->first > last)
		return;
	if (t->last >= first)
		f(t, self);
	vmf__interval_each(t->right, first, last, f, self);
}
