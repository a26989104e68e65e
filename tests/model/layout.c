/* SPDX-License-Identifier: MIT
 *
 * Operations on the layout: areas are mapped, cut, protected, moved, and copied with their space.
 */
#include "run.h"

/* ------------------------------------------------------------------------------------------------- ranges */

/* Of a space, what an operation is about. */
struct span { unsigned space, page, n; struct ref_cell *cell; };

static bool span_of(struct run *r, const struct model_op *op, unsigned most, struct span *s)
{
	s->space = run_space(r, op);
	s->page = op->page % MODEL_PAGES;
	s->n = op->n < most ? op->n : most;
	if (s->n > MODEL_PAGES - s->page)
		s->n = MODEL_PAGES - s->page;
	s->cell = &r->ref.cell[s->space][s->page];
	return s->n != 0;
}

static bool same_area(const struct ref_cell *a, const struct ref_cell *b)
{
	return a->mapped && b->mapped && a->area == b->area;
}

static bool cut_at(const struct span *s, unsigned i)
{
	unsigned page = s->page + i;

	return page && page < MODEL_PAGES && same_area(&s->cell[i] - 1, &s->cell[i]);
}

/* Areas end at both ends of it from now on. */
static void cut(struct run *r, const struct span *s)
{
	for (unsigned end = 0; end < 2; end++) {
		unsigned i = end ? s->n : 0;
		uint32_t was = s->cell[i].area;

		if (!cut_at(s, i))
			continue;
		r->ref.areas++;
		for (; s->page + i < MODEL_PAGES && s->cell[i].mapped && s->cell[i].area == was; i++)
			s->cell[i].area = r->ref.areas;
	}
}

/* Would a driver refuse? */
static bool cut_refused(const struct span *s)
{
	return (cut_at(s, 0) && s->cell[0].object == MODEL_RUNS && s->cell[0].off & 1) ||
	       (cut_at(s, s->n) && s->cell[s->n].object == MODEL_RUNS && s->cell[s->n].off & 1);
}

static unsigned mapped_in(const struct span *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++)
		n += s->cell[i].mapped;
	return n;
}

static void drop(struct run *r, const struct span *s)
{
	cut(r, s);
	for (unsigned i = 0; i < s->n; i++)
		s->cell[i] = (struct ref_cell){ .mapped = false };
}

/* -------------------------------------------------------------------------------------------- map, unmap */

static bool in_range(const struct run *r, vmf_va at, unsigned n)
{
	return at >= r->st->base && at - r->st->base <= (MODEL_PAGES - n) * MODEL_PAGE;
}

/* What an operation asks for, and what vmf_map() has to say to it. */
struct mapping {
	struct span s;
	struct vmf_map m;
	unsigned object;
	uint32_t errors; /* 0: it maps */
	bool fixed;
};

static uint32_t map_errors(const struct run *r, const struct mapping *g)
{
	bool shared = g->m.flags & VMF_SHARED;
	uint32_t errors = 0;

	if (g->fixed && mapped_in(&g->s))
		errors |= RUN_BIT(VMF_EEXIST);
	if (!(shared ? r->shared.there : r->private.there))
		errors |= RUN_BIT(VMF_ENOSYS);
	if (g->object == MODEL_STREAM && (shared || r->private.store != VMF_BY_COPY))
		errors |= RUN_BIT(VMF_ENOSYS);
	if (shared && g->object == MODEL_READONLY && g->m.maxprot & VMF_W)
		errors |= RUN_BIT(VMF_EPERM);
	return errors;
}

static bool mapping_of(struct run *r, const struct model_op *op, struct mapping *g)
{
	unsigned object = op->object % MODEL_OBJECTS, room = model_backed(object) ? MODEL_ROOM : MODEL_DRIVER_PAGES;
	unsigned off = op->off % room;

	if (!span_of(r, op, room - off + (r->st->beyond ? 2 : 0), &g->s))
		return false;
	g->object = object;
	g->fixed = !(op->flags & MODEL_ANYWHERE);
	g->m = (struct vmf_map){ .size = sizeof(g->m), .flags = op->flags & (VMF_SHARED | VMF_NOFORK), .pages = g->s.n,
							 .off = off, .prot = (uint8_t)model_op_prot(op),
							 .maxprot = (uint8_t)model_op_maxprot(op) };
	if (g->fixed) {
		g->m.flags |= VMF_FIXED;
		g->m.va = run_va(r, g->s.page);
		g->m.action = op->flags & MODEL_POPULATE ? VMF_POPULATE : VMF_LAZY;
	}
	g->errors = map_errors(r, g);
	return true;
}

static int map_call(struct run *r, const struct model_op *op, const struct mapping *g, vmf_va *at)
{
	int err = vmf_map(r->st->space[g->s.space], r->object[g->object].object, &g->m, at);

	run_raced(r);
	run_count(r, op, err);
	return err;
}

static void map_cells(struct run *r, const struct mapping *g)
{
	const struct ref_object *o = &r->ref.object[g->object];

	r->ref.areas++;
	for (unsigned i = 0; i < g->s.n; i++)
		g->s.cell[i] = (struct ref_cell){ .mapped = true, .shared = g->m.flags & VMF_SHARED,
										  .nofork = g->m.flags & VMF_NOFORK, .object = (uint8_t)g->object,
										  .off = (uint8_t)(g->m.off + i), .prot = g->m.prot,
										  .maxprot = g->m.maxprot ? g->m.maxprot : g->m.prot,
										  .area = r->ref.areas,
										  .oldest = o->page[(g->m.off + i) % MODEL_ROOM].version };
}

/* The access that a page is populated with: private ones are made private at once. */
static unsigned populate_access(const struct ref_cell *c)
{
	if (!c->shared && c->prot & VMF_W)
		return VMF_W;
	return c->prot ? VMF_R : VMF_X;
}

/* Would every page be there? */
static bool populates(struct run *r, const struct span *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (run_expects(r, &s->cell[i], populate_access(&s->cell[i])).fails)
			return false;
	return true;
}

/* They are there.  A store is not what it was for. */
static bool populated(struct run *r, const struct span *s, bool all)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct ref_cell *c = &s->cell[i];
		const struct ref_page *p = &r->ref.object[c->object].page[c->off % MODEL_ROOM];

		if (!run_touched(r, c, VMF_R))
			return false;
		if (!all || c->shared || populate_access(c) == VMF_X)
			continue;
		if (r->private.store == VMF_BY_COPY || populate_access(c) == VMF_W)
			ref_hold(c, ref_now(p));
		c->own = c->held && r->private.store == VMF_BY_ADDRESS;
	}
	return true;
}

/* All of it, or nothing. */
static bool map_populated(struct run *r, const struct model_op *op, struct mapping *g)
{
	bool all;
	int err;

	map_cells(r, g);
	all = populates(r, &g->s);
	err = map_call(r, op, g, NULL);
	if (!populated(r, &g->s, all))
		return false;
	if (all)
		return run_errors(r, "map", err, RUN_BIT(0));
	drop(r, &g->s);
	return err < 0 ? true : run_fail(r, "error", "map: populated what cannot be had");
}

static bool map_lazily(struct run *r, const struct model_op *op, struct mapping *g)
{
	vmf_va at = 0;
	int err = map_call(r, op, g, &at);

	if (!run_errors(r, "map", err, g->errors ? g->errors : RUN_BIT(0)))
		return false;
	if (err)
		return true;
	if (!in_range(r, at, g->s.n))
		return run_errors(r, "unmap elsewhere", vmf_unmap(r->st->space[g->s.space], at, g->s.n), RUN_BIT(0));
	g->s.page = (unsigned)((at - r->st->base) / MODEL_PAGE);
	g->s.cell = &r->ref.cell[g->s.space][g->s.page];
	if (mapped_in(&g->s))
		return run_fail(r, "error", "map: chose addresses that are taken");
	map_cells(r, g);
	return true;
}

/* Where there is only one kind of areas the other is tried now and then. */
static struct model_op map_kind(const struct run *r, struct model_op op)
{
	if (op.value >> 29 && !(op.flags & VMF_SHARED ? r->shared.there : r->private.there))
		op.flags ^= VMF_SHARED;
	return op;
}

bool run_op_map(struct run *r, const struct model_op *as)
{
	struct model_op op = map_kind(r, *as);
	struct mapping g;

	if (!mapping_of(r, &op, &g))
		return true;
	return !g.errors && g.m.action == VMF_POPULATE ? map_populated(r, &op, &g) : map_lazily(r, &op, &g);
}

bool run_op_unmap(struct run *r, const struct model_op *op)
{
	struct span s;
	bool refused;
	int err;

	if (!span_of(r, op, MODEL_PAGES, &s))
		return true;
	refused = cut_refused(&s);
	err = vmf_unmap(r->st->space[s.space], run_va(r, s.page), s.n);
	run_count(r, op, err);
	if (!err && !refused)
		drop(r, &s);
	return run_errors(r, "unmap", err, refused ? RUN_BIT(VMF_EBUSY) : RUN_BIT(0));
}

bool run_op_protect(struct run *r, const struct model_op *op)
{
	unsigned prot = model_op_prot(op);
	uint32_t errors = 0;
	struct span s;
	int err;

	if (!span_of(r, op, MODEL_PAGES, &s))
		return true;
	for (unsigned i = 0; i < s.n; i++) {
		errors |= s.cell[i].mapped ? 0 : RUN_BIT(VMF_EFAULT);
		errors |= s.cell[i].mapped && prot & ~(unsigned)s.cell[i].maxprot ? RUN_BIT(VMF_EPERM) : 0;
	}
	errors |= cut_refused(&s) ? RUN_BIT(VMF_EBUSY) : 0;
	err = vmf_protect(r->st->space[s.space], run_va(r, s.page), s.n, prot);
	run_count(r, op, err);
	if (!run_errors(r, "protect", err, errors ? errors : RUN_BIT(0)))
		return false;
	if (!errors)
		cut(r, &s);
	for (unsigned i = 0; !errors && i < s.n; i++)
		s.cell[i].prot = (uint8_t)prot;
	return true;
}

/* --------------------------------------------------------------------------------------------- the layout */

bool run_op_move(struct run *r, const struct model_op *op)
{
	unsigned to = op->value % MODEL_PAGES;
	struct ref_cell moved[MODEL_PAGES];
	struct span s, target;
	int err;

	if (!span_of(r, op, MODEL_PAGES - to, &s) || (to < s.page + s.n && s.page < to + s.n))
		return true;
	target = (struct span){ s.space, to, s.n, &r->ref.cell[s.space][to] };
	/* Linux asks no driver about what is in the way, and moves one mapping at a time. */
	if (cut_refused(&target))
		return true;
	for (unsigned i = 0; i < s.n; i++)
		if (!same_area(&s.cell[0], &s.cell[i]))
			return true;
	err = r->st->move(r->st, s.space, run_va(r, s.page), run_va(r, to), s.n);
	run_count(r, op, err);
	if (!run_errors(r, "move", err, RUN_BIT(0)))
		return false;
	drop(r, &target);
	cut(r, &s);
	for (unsigned i = 0; i < s.n; i++)
		moved[i] = s.cell[i];
	drop(r, &s);
	r->ref.areas++;
	for (unsigned i = 0; i < s.n; i++) {
		target.cell[i] = moved[i];
		target.cell[i].area = r->ref.areas;
	}
	return true;
}

/* Each stretch of it that is mapped. */
bool run_op_forget(struct run *r, const struct model_op *op)
{
	struct span s;
	unsigned n;

	if (!span_of(r, op, MODEL_PAGES, &s))
		return true;
	for (unsigned i = 0; i < s.n; i += n + !n) {
		int err = 0;

		for (n = 0; i + n < s.n && s.cell[i + n].mapped; n++)
			if (!s.cell[i + n].shared && r->private.store == VMF_BY_COPY)
				ref_take(&s.cell[i + n]);
		if (n)
			err = r->st->forget(r->st, s.space, run_va(r, s.page + i), n);
		if (n)
			run_count(r, op, err);
		if (!run_errors(r, "forget", err, RUN_BIT(0)))
			return false;
	}
	return true;
}

bool run_op_gone(struct run *r, const struct model_op *op)
{
	struct span s;
	int err;

	if (!span_of(r, op, MODEL_PAGES, &s))
		return true;
	err = r->st->gone(r->st, s.space, run_va(r, s.page), s.n);
	run_count(r, op, err);
	drop(r, &s);
	return run_errors(r, "gone", err, RUN_BIT(0));
}

struct child { struct run *run; uint32_t how; };

/* In the child, whose reference is its own. */
static bool child_right(void *arg)
{
	struct child *child = arg;
	struct run *r = child->run;

	for (unsigned page = 0; page < MODEL_PAGES; page++) {
		struct ref_cell *c = &r->ref.cell[0][page];

		c->lost = c->mapped && (c->shared || c->nofork || !r->st->inherits);
	}
	return run_check_child(r, child->how);
}

/* What it wrote is not seen by us: the next check finds that.  One of four: each takes milliseconds. */
static bool op_child(struct run *r, const struct model_op *op)
{
	struct child child = { r, op->value };

	if (op->value & 3)
		return true;
	run_count(r, op, 0);
	if (r->st->child(r->st, child_right, &child))
		return true;
	return r->out->failed ? false : run_fail(r, "child", "a child died");
}

bool run_op_fork(struct run *r, const struct model_op *op)
{
	unsigned from = run_space(r, op), to = 0;
	uint32_t was = 0;
	int err;

	if (r->st->child)
		return op_child(r, op);
	while (to < r->st->spaces && r->ref.there[to])
		to++;
	if (to == r->st->spaces)
		return true;
	err = r->st->fork(r->st, from, to);
	run_count(r, op, err);
	if (!run_errors(r, "fork", err, RUN_BIT(0)))
		return false;
	r->ref.there[to] = true;
	for (unsigned page = 0; page < MODEL_PAGES; page++) {
		struct ref_cell *c = &r->ref.cell[to][page];

		*c = r->ref.cell[from][page];
		if (!c->mapped || c->nofork) {
			*c = (struct ref_cell){ .mapped = false };
			continue;
		}
		r->ref.areas += !page || c->area != was || !c[-1].mapped;
		was = c->area;
		c->area = r->ref.areas;
	}
	return true;
}

bool run_op_leave(struct run *r, const struct model_op *op)
{
	unsigned space = op->space % MODEL_SPACES;

	if (!space || !r->ref.there[space])
		return true;
	r->st->leave(r->st, space);
	r->ref.there[space] = false;
	run_count(r, op, 0);
	for (unsigned page = 0; page < MODEL_PAGES; page++)
		r->ref.cell[space][page] = (struct ref_cell){ .mapped = false };
	return true;
}

