/* SPDX-License-Identifier: MIT
 *
 * A run: each operation is done to the port and to the reference.
 */
#include "run.h"

void run_count(struct run *r, const struct model_op *op, int err)
{
	if (err)
		r->out->refused[op->kind]++;
	else
		r->out->done[op->kind]++;
}

/* The space that it names, or the first if that is not there. */
unsigned run_space(const struct run *r, const struct model_op *op)
{
	unsigned space = op->space % MODEL_SPACES;

	return r->ref.there[space] ? space : 0;
}

/* ------------------------------------------------------------------------------------------------ objects */

static unsigned op_object(const struct model_op *op, unsigned *off, unsigned *n)
{
	*off = op->off % MODEL_ROOM;
	*n = op->n < MODEL_ROOM - *off ? op->n : MODEL_ROOM - *off;
	return op->object % MODEL_OBJECTS;
}

static bool op_revoke(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n);
	int err = vmf_revoke(r->object[object].object, off, n);

	run_count(r, op, err);
	run_driver_clean(r, object, off, n);
	return run_errors(r, "revoke", err, RUN_BIT(0));
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
	run_count(r, op, err);
	return run_errors(r, "resize", err, RUN_BIT(0));
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
		run_driver_clean(r, object, off, n);
	for (unsigned i = 0; i < n && r->ref.object[object].tracks && model_backed(object); i++)
		must |= synced(r, object, off + i, err != 0) == VMF_EIO;
	if (err && own != MODEL_WRITE_ERR)
		return run_equal(r, "error", "the backing's error", (uint32_t)own, MODEL_WRITE_ERR);
	return run_errors(r, "sync", err, must ? RUN_BIT(VMF_EIO) : RUN_BIT(0));
}

static bool op_sync(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n);

	run_count(r, op, 0);
	return sync_range(r, object, off, n) && run_check_objects(r);
}

static bool op_reclaim(struct run *r, const struct model_op *op)
{
	unsigned off, n, object = op_object(op, &off, &n), clean = 0;
	uint64_t got = vmf_reclaim(r->object[object].object, off, n);

	for (unsigned i = 0; i < n; i++)
		clean += model_backed(object) && r->ref.object[object].page[off + i].dirt != REF_DIRTY;
	run_count(r, op, !got);
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
	run_count(r, op, 0);
	return true;
}

/* It happens in the next fault that asks for the page. */
static bool arm(struct run *r, struct model_object *o, unsigned off, const struct ref_words *w)
{
	if (o->race.state != MODEL_RACE_NONE)
		return true;
	r->out->done[MODEL_SWAP]++;
	o->race.page = (uint8_t)off;
	for (unsigned k = 0; k < MODEL_WORDS; k++)
		o->race.word[k] = w->word[k];
	o->race.state = MODEL_RACE_ARMED;
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
	if (op->value & 1)
		return arm(r, &r->object[object], off, &w);
	err = model_object_swap(&r->object[object], off, w.word);
	ref_replace(&r->ref.object[object], off, &w);
	run_driver_clean(r, object, off, 1);
	run_count(r, op, err);
	return run_errors(r, "swap", err, RUN_BIT(0));
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
		run_driver_clean(r, object, off, 1);
	}
	run_count(r, op, err);
	return run_errors(r, "revoke", err, RUN_BIT(0));
}

static bool op_heal(struct run *r, const struct model_op *op)
{
	unsigned i = op->object % MODEL_OBJECTS;

	r->object[i].bad_read = r->object[i].bad_write = 0;
	r->ref.object[i].bad_read = r->ref.object[i].bad_write = 0;
	run_count(r, op, 0);
	return true;
}

/* ----------------------------------------------------------------------------------------------- accesses */

static bool op_access(struct run *r, const struct model_op *op)
{
	unsigned space = run_space(r, op), page = op->page % MODEL_PAGES;

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

static run_operation *const operations[MODEL_KINDS] = {
	run_op_map, run_op_unmap, run_op_protect, op_access, op_access, op_access, run_op_fork, run_op_leave, op_revoke,
	op_resize, op_sync, op_reclaim, run_op_move, run_op_forget, run_op_gone, op_poke, op_swap, op_spoil, op_heal,
	op_check, op_check,
};

static uint32_t cannot(const struct run *r)
{
	const struct model_stage *st = r->st;

	return (st->fetch ? 0 : 1u << MODEL_FETCH) | (st->fork || st->child ? 0 : 1u << MODEL_FORK) |
	       (st->leave ? 0 : 1u << MODEL_LEAVE) |
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
		return run_errors(r, "an object", err, RUN_BIT(0));
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
		if (!run_op_leave(r, &(struct model_op){ .kind = MODEL_LEAVE, .space = (uint8_t)space }))
			return false;
	/* Cut nowhere, so that no driver can refuse. */
	if (!run_errors(r, "the last unmap", vmf_unmap(r->st->space[0], r->st->base, MODEL_PAGES), RUN_BIT(0)))
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
