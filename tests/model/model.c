/* SPDX-License-Identifier: MIT
 *
 * A run: each operation is done to the port and to the reference.
 */
#include "run.h"

#define BIT(err) (1u << (err))

/* ------------------------------------------------------------------------------------------------- ranges */

/* Of a space, what an operation is about. */
struct span { unsigned space, page, n; struct ref_cell *cell; };

/* The space that it names, or the first if that is not there. */
static unsigned space_of(const struct run *r, const struct model_op *op)
{
	unsigned space = op->space % MODEL_SPACES;

	return r->ref.there[space] ? space : 0;
}

static bool span_of(struct run *r, const struct model_op *op, unsigned most, struct span *s)
{
	s->space = space_of(r, op);
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

static void count(struct run *r, const struct model_op *op, int err)
{
	if (err)
		r->out->refused[op->kind]++;
	else
		r->out->done[op->kind]++;
}

/* -------------------------------------------------------------------------------------------- map, unmap */

static bool in_range(const struct run *r, vmf_va at, unsigned n)
{
	return at >= r->st->base && at - r->st->base <= (MODEL_PAGES - n) * MODEL_PAGE;
}

static uint32_t map_errors(const struct run *r, const struct span *s, const struct model_op *op, unsigned object)
{
	bool shared = op->flags & VMF_SHARED;
	uint32_t errors = 0;

	if (!(op->flags & MODEL_ANYWHERE) && mapped_in(s))
		errors |= BIT(VMF_EEXIST);
	if (!(shared ? r->shared.there : r->private.there))
		errors |= BIT(VMF_ENOSYS);
	if (object == MODEL_STREAM && (shared || r->private.store != VMF_BY_COPY))
		errors |= BIT(VMF_ENOSYS);
	if (shared && object == MODEL_READONLY && model_op_maxprot(op) & VMF_W)
		errors |= BIT(VMF_EPERM);
	return errors;
}

static void map_cells(struct run *r, const struct span *s, const struct model_op *op, unsigned object, unsigned off)
{
	r->ref.areas++;
	for (unsigned i = 0; i < s->n; i++) {
		const struct ref_page *p = &r->ref.object[object].page[(off + i) % MODEL_ROOM];

		s->cell[i] = (struct ref_cell){ .mapped = true, .shared = op->flags & VMF_SHARED,
										.nofork = op->flags & VMF_NOFORK, .object = (uint8_t)object,
										.off = (uint8_t)(off + i), .prot = (uint8_t)model_op_prot(op),
										.maxprot = (uint8_t)model_op_maxprot(op), .area = r->ref.areas,
										.oldest = p->version };
		if (!s->cell[i].maxprot)
			s->cell[i].maxprot = s->cell[i].prot;
	}
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

/* Where there is only one kind of areas the other is tried now and then. */
static struct model_op map_kind(const struct run *r, struct model_op op)
{
	if (op.value >> 29 && !(op.flags & VMF_SHARED ? r->shared.there : r->private.there))
		op.flags ^= VMF_SHARED;
	return op;
}

static bool op_map(struct run *r, const struct model_op *as)
{
	struct model_op as_here = map_kind(r, *as);
	const struct model_op *op = &as_here;
	unsigned object = op->object % MODEL_OBJECTS, room = model_backed(object) ? MODEL_ROOM : MODEL_DRIVER_PAGES;
	unsigned off = op->off % room;
	bool fixed = !(op->flags & MODEL_ANYWHERE), populate = fixed && op->flags & MODEL_POPULATE, fill = true;
	struct vmf_map m = { .size = sizeof(m), .flags = op->flags & (VMF_SHARED | VMF_NOFORK) };
	uint32_t errors;
	struct span s;
	vmf_va at = 0;
	int err;

	if (!span_of(r, op, room - off + (r->st->beyond ? 2 : 0), &s))
		return true;
	m.flags |= fixed ? VMF_FIXED : 0;
	m.va = fixed ? run_va(r, s.page) : 0;
	m.pages = s.n;
	m.off = off;
	m.prot = (uint8_t)model_op_prot(op);
	m.maxprot = (uint8_t)model_op_maxprot(op);
	m.action = populate ? VMF_POPULATE : VMF_LAZY;
	errors = map_errors(r, &s, op, object);
	if (!errors && populate) {
		map_cells(r, &s, op, object, off);
		fill = populates(r, &s);
	}
	err = vmf_map(r->st->space[s.space], r->object[object].object, &m, &at);
	count(r, op, err);
	if (errors)
		return run_errors(r, "map", err, errors);
	if (!fill) {
		bool right = err < 0 && populated(r, &s, false);

		drop(r, &s);
		return right || r->out->failed ? right : run_fail(r, "error", "map: populated what cannot be had");
	}
	if (!run_errors(r, "map", err, BIT(0)))
		return false;
	if (!fixed && !in_range(r, at, s.n))
		return run_errors(r, "unmap elsewhere", vmf_unmap(r->st->space[s.space], at, s.n), BIT(0));
	s.page = (unsigned)((at - r->st->base) / MODEL_PAGE);
	s.cell = &r->ref.cell[s.space][s.page];
	if (!populate && mapped_in(&s))
		return run_fail(r, "error", "map: chose addresses that are taken");
	if (!populate)
		map_cells(r, &s, op, object, off);
	return populate ? populated(r, &s, true) : true;
}

static bool op_unmap(struct run *r, const struct model_op *op)
{
	struct span s;
	bool refused;
	int err;

	if (!span_of(r, op, MODEL_PAGES, &s))
		return true;
	refused = cut_refused(&s);
	err = vmf_unmap(r->st->space[s.space], run_va(r, s.page), s.n);
	count(r, op, err);
	if (!err && !refused)
		drop(r, &s);
	return run_errors(r, "unmap", err, refused ? BIT(VMF_EBUSY) : BIT(0));
}

static bool op_protect(struct run *r, const struct model_op *op)
{
	unsigned prot = model_op_prot(op);
	uint32_t errors = 0;
	struct span s;
	int err;

	if (!span_of(r, op, MODEL_PAGES, &s))
		return true;
	for (unsigned i = 0; i < s.n; i++) {
		errors |= s.cell[i].mapped ? 0 : BIT(VMF_EFAULT);
		errors |= s.cell[i].mapped && prot & ~(unsigned)s.cell[i].maxprot ? BIT(VMF_EPERM) : 0;
	}
	errors |= cut_refused(&s) ? BIT(VMF_EBUSY) : 0;
	err = vmf_protect(r->st->space[s.space], run_va(r, s.page), s.n, prot);
	count(r, op, err);
	if (!run_errors(r, "protect", err, errors ? errors : BIT(0)))
		return false;
	if (!errors)
		cut(r, &s);
	for (unsigned i = 0; !errors && i < s.n; i++)
		s.cell[i].prot = (uint8_t)prot;
	return true;
}

/* --------------------------------------------------------------------------------------------- the layout */

static bool op_move(struct run *r, const struct model_op *op)
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
	count(r, op, err);
	if (!run_errors(r, "move", err, BIT(0)))
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
static bool op_forget(struct run *r, const struct model_op *op)
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
			count(r, op, err);
		if (!run_errors(r, "forget", err, BIT(0)))
			return false;
	}
	return true;
}

static bool op_gone(struct run *r, const struct model_op *op)
{
	struct span s;
	int err;

	if (!span_of(r, op, MODEL_PAGES, &s))
		return true;
	err = r->st->gone(r->st, s.space, run_va(r, s.page), s.n);
	count(r, op, err);
	drop(r, &s);
	return run_errors(r, "gone", err, BIT(0));
}

static bool op_fork(struct run *r, const struct model_op *op)
{
	unsigned from = space_of(r, op), to = 0;
	uint32_t was = 0;
	int err;

	while (to < r->st->spaces && r->ref.there[to])
		to++;
	if (to == r->st->spaces)
		return true;
	err = r->st->fork(r->st, from, to);
	count(r, op, err);
	if (!run_errors(r, "fork", err, BIT(0)))
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

static bool op_leave(struct run *r, const struct model_op *op)
{
	unsigned space = op->space % MODEL_SPACES;

	if (!space || !r->ref.there[space])
		return true;
	r->st->leave(r->st, space);
	r->ref.there[space] = false;
	count(r, op, 0);
	for (unsigned page = 0; page < MODEL_PAGES; page++)
		r->ref.cell[space][page] = (struct ref_cell){ .mapped = false };
	return true;
}

/* ------------------------------------------------------------------------------------------------ objects */

static unsigned op_object(const struct model_op *op, unsigned *off, unsigned *n)
{
	*off = op->off % MODEL_ROOM;
	*n = op->n < MODEL_ROOM - *off ? op->n : MODEL_ROOM - *off;
	return op->object % MODEL_OBJECTS;
}

/* A driver that revokes sees to what was written itself: its pages are clean, and their next write is announced. */
static void driver_clean(struct run *r, unsigned object, unsigned off, unsigned n)
{
	for (unsigned i = 0; i < n && object == MODEL_DRIVER; i++)
		r->ref.object[object].page[off + i].dirt = REF_CLEAN;
}

static bool op_revoke(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n);
	int err = vmf_revoke(r->object[object].object, off, n);

	count(r, op, err);
	driver_clean(r, object, off, n);
	return run_errors(r, "revoke", err, BIT(0));
}

static bool op_resize(struct run *r, const struct model_op *op)
{
	unsigned i = op->object % MODEL_OBJECTS;
	struct model_object *o = &r->object[i];
	uint32_t bytes = model_op_length(op);
	int err;

	if (!model_backed(i))
		return true;
	ref_resize(&r->ref.object[i], r->st, bytes, op->value & 0xffffff);
	for (unsigned page = 0; page < MODEL_ROOM; page++)
		for (unsigned k = 0; k < MODEL_WORDS; k++) {
			uint32_t at = page * MODEL_PAGE + model_word_at(k);

			if (at >= bytes || at >= o->bytes)
				o->disk[page][k] = r->ref.object[i].page[page].disk.word[k];
		}
	o->bytes = bytes;
	err = vmf_object_resize(o->object);
	count(r, op, err);
	return run_errors(r, "resize", err, BIT(0));
}

/* One page, after a write-back: 0, or the error that there must have been; -1: perhaps. */
static int synced(struct run *r, unsigned object, unsigned page, bool failed)
{
	struct ref_object *o = &r->ref.object[object];
	bool bad = o->bad_write >> page & 1, was = o->page[page].dirt == REF_DIRTY;

	if (o->page[page].dirt == REF_CLEAN)
		return 0;
	if (failed && vmf_page_state(r->object[object].object, page) == VMF_DIRTY) {
		o->page[page].dirt = REF_DIRTY;
		return bad ? VMF_EIO : -1;
	}
	if (!bad || !was)
		ref_written(o, page);
	return bad && was ? VMF_EIO : 0;
}

static bool sync_range(struct run *r, unsigned object, unsigned off, unsigned n)
{
	int own = 0, err = vmf_sync(r->object[object].object, off, n, &own);
	bool must = false;

	if (!model_backed(object))
		driver_clean(r, object, off, n);
	for (unsigned i = 0; i < n && r->ref.object[object].tracks && model_backed(object); i++)
		must |= synced(r, object, off + i, err != 0) == VMF_EIO;
	if (err && own != MODEL_WRITE_ERR)
		return run_equal(r, "error", "the backing's error", (uint32_t)own, MODEL_WRITE_ERR);
	return run_errors(r, "sync", err, must ? BIT(VMF_EIO) : BIT(0));
}

static bool op_sync(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n);

	count(r, op, 0);
	return sync_range(r, object, off, n) && run_check_objects(r);
}

static bool op_reclaim(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n), clean = 0;
	uint64_t got = vmf_reclaim(r->object[object].object, off, n);

	for (unsigned i = 0; i < n; i++)
		clean += model_backed(object) && r->ref.object[object].page[off + i].dirt != REF_DIRTY;
	count(r, op, !got);
	return got <= clean ? true : run_equal(r, "reclaim", "reclaimed pages", (uint32_t)got, clean);
}

static bool op_poke(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n), k = op->value % MODEL_WORDS;
	uint32_t word = model_value(r->st, k, op->value);

	if (!model_drives(object) || off >= MODEL_DRIVER_PAGES)
		return true;
	model_object_poke(&r->object[object], off, k, word);
	ref_write(&r->ref.object[object], off, k, word);
	count(r, op, 0);
	return true;
}

static bool op_swap(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n);
	struct ref_words w;
	int err;

	if (!model_drives(object) || off >= MODEL_DRIVER_PAGES || (r->shared.there && r->shared.store == VMF_BY_OFFSET))
		return true;
	for (unsigned k = 0; k < MODEL_WORDS; k++)
		w.word[k] = model_value(r->st, k, op->value + k);
	err = model_object_swap(&r->object[object], off, w.word);
	ref_replace(&r->ref.object[object], off, &w);
	driver_clean(r, object, off, 1);
	count(r, op, err);
	return run_errors(r, "swap", err, BIT(0));
}

/* A page that cannot be read any more, and is forgotten if it can be; or not written. */
static bool op_spoil(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n);
	struct model_object *o = &r->object[object];
	int err = 0;

	if (object == MODEL_ZERO)
		return true;
	if (op->value & 1) {
		o->bad_write = r->ref.object[object].bad_write |= 1u << off;
	} else {
		o->bad_read = r->ref.object[object].bad_read |= 1u << off;
		if (model_backed(object))
			(void)vmf_reclaim(o->object, off, 1);
		else
			err = vmf_revoke(o->object, off, 1);
		driver_clean(r, object, off, 1);
	}
	count(r, op, err);
	return run_errors(r, "revoke", err, BIT(0));
}

static bool op_heal(struct run *r, const struct model_op *op)
{
	unsigned i = op->object % MODEL_OBJECTS;

	r->object[i].bad_read = r->object[i].bad_write = 0;
	r->ref.object[i].bad_read = r->ref.object[i].bad_write = 0;
	count(r, op, 0);
	return true;
}

/* ----------------------------------------------------------------------------------------------- accesses */

static bool op_access(struct run *r, const struct model_op *op)
{
	unsigned space = space_of(r, op), page = op->page % MODEL_PAGES;

	r->out->done[op->kind]++;
	switch (op->kind) {
	case MODEL_LOAD:
		return run_load(r, space, page);
	case MODEL_STORE:
		return run_store(r, space, page, op->value % MODEL_WORDS, op->value);
	default:
		return run_fetch(r, space, page);
	}
}

static bool op_check(struct run *r, const struct model_op *op)
{
	r->out->done[op->kind]++;
	return op->kind == MODEL_GLANCE ? run_glance(r) : run_check(r, op->value, false);
}

/* ---------------------------------------------------------------------------------------------------- runs */

typedef bool operation(struct run *, const struct model_op *);
static operation *const operations[MODEL_KINDS] = {
	op_map, op_unmap, op_protect, op_access, op_access, op_access, op_fork, op_leave, op_revoke, op_resize, op_sync,
	op_reclaim, op_move, op_forget, op_gone, op_poke, op_swap, op_spoil, op_heal, op_check, op_check,
};

static uint32_t cannot(const struct run *r)
{
	const struct model_stage *st = r->st;

	return (st->fetch ? 0 : 1u << MODEL_FETCH) | (st->fork ? 0 : 1u << MODEL_FORK | 1u << MODEL_LEAVE) |
	       (st->move ? 0 : 1u << MODEL_MOVE) | (st->forget ? 0 : 1u << MODEL_FORGET) |
	       (st->gone ? 0 : 1u << MODEL_GONE) |
	       (r->shared.there && r->shared.store == VMF_BY_OFFSET ? 1u << MODEL_SWAP : 0);
}

static void probe(struct run *r, unsigned flags, struct run_window *out)
{
	struct vmf_map m = { .size = sizeof(m), .flags = VMF_FIXED | flags, .va = r->st->base, .pages = 1,
						 .prot = VMF_R | VMF_W };
	struct vmf_window w = { .size = sizeof(w) };
	struct vmf_area *a;

	*out = (struct run_window){ .there = false };
	if (vmf_map(r->st->space[0], r->object[MODEL_PAGED].object, &m, NULL))
		return;
	a = vmf_area_find(r->st->space[0], r->st->base);
	vmf_area_window(a, &w);
	vmf_area_put(a);
	*out = (struct run_window){ .there = true, .protects = w.protect, .store = w.store };
	(void)vmf_unmap(r->st->space[0], r->st->base, 1);
}

static bool run_open(struct run *r, struct model_stage *st, struct model_outcome *out)
{
	int err = 0;

	*out = (struct model_outcome){ .failed = false };
	r->st = st;
	r->out = out;
	for (unsigned i = 0; i < MODEL_ROOM; i++)
		r->announced[i] = 0;
	for (unsigned i = 0; i < MODEL_OBJECTS && !err; i++)
		err = model_object_open(&r->object[i], st, i);
	if (err)
		return run_errors(r, "an object", err, BIT(0));
	probe(r, VMF_SHARED, &r->shared);
	probe(r, 0, &r->private);
	if (!r->shared.there && !r->private.there)
		return run_fail(r, "error", "no windows");
	ref_open(&r->ref, st);
	r->ref.protects = r->shared.protects;
	out->left_out = cannot(r);
	return true;
}

static bool all_ended(struct run *r)
{
	bool all = true;

	for (unsigned i = 0; i < MODEL_OBJECTS; i++)
		all &= r->object[i].ended == 1;
	return all;
}

/* What can be written back is, all goes, and nothing is left. */
static bool run_close(struct run *r)
{
	for (unsigned i = 0; i < MODEL_OBJECTS; i++)
		if (!sync_range(r, i, 0, MODEL_ROOM))
			return false;
	if (!run_check_objects(r))
		return false;
	for (unsigned space = 1; space < MODEL_SPACES; space++)
		if (!op_leave(r, &(struct model_op){ .kind = MODEL_LEAVE, .space = (uint8_t)space }))
			return false;
	/* Cut nowhere, so that no driver can refuse. */
	if (!run_errors(r, "the last unmap", vmf_unmap(r->st->space[0], r->st->base, MODEL_PAGES), BIT(0)))
		return false;
	for (unsigned page = 0; page < MODEL_PAGES; page++)
		r->ref.cell[0][page] = (struct ref_cell){ .mapped = false };
	if (!run_check_objects(r))
		return false;
	for (unsigned i = 0; i < MODEL_OBJECTS; i++)
		model_object_close(&r->object[i]);
	return run_soon(r, all_ended) ? true : run_fail(r, "end", "an object was not ended, or twice");
}

void model_run(struct model_stage *st, const struct model_op *(*ops)(void *, uint32_t), void *arg, uint32_t n,
			   struct model_outcome *out)
{
	static struct run r; /* too large for a small machine's stack */
	bool right = run_open(&r, st, out);

	for (out->op = 0; right && out->op < n; out->op++) {
		const struct model_op *op = ops(arg, out->op);

		if (op->kind < MODEL_KINDS && !(out->left_out >> op->kind & 1))
			right = operations[op->kind](&r, op);
		if (!right)
			return;
	}
	if (right && run_check(&r, 0, true))
		(void)run_close(&r);
}
