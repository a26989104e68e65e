/* SPDX-License-Identifier: MIT
 *
 * Changing what is mapped: unmap, protect, and what happened from outside.  All of it happens to an area, or nothing.
 *
 * A change makes a new table with new areas for the pieces of those that are cut, puts it in the old one's place, waits
 * until no fault uses an area that went, and only then touches the pmap.  If the pmap fails, the old table comes back.
 * Drivers are told with nothing locked.
 */
#include "core.h"

/* -------------------------------------------------------------------------------------------- a change */

enum inside { DROP, PROTECT, MOVE };
struct change {
	struct vmf_space *space;
	struct vmf__table *old;
	struct vmf_area **victim, **piece; /* what becomes of them; two references each, one of them the table's */
	uint32_t victims, pieces;
	struct vmf_area *one[4]; /* room for one victim and its pieces */
	enum inside inside;
	vmf_va lo, hi; /* [lo, hi): hi 0 means to the top */
	vmf_va to;     /* MOVE */
	uint8_t prot;  /* PROTECT */
	bool single;   /* just the first victim; `gone`: its last byte in the range */
	vmf_va gone;
};

bool vmf__range_good(const struct vmf_space *space, vmf_va va, uint64_t pages)
{
	unsigned shift = space->port->shift;
	vmf_va last;

	if (va & (vmf__psize(space->port) - 1) || !pages || pages > UINTPTR_MAX >> shift)
		return false;
	last = va + ((vmf_va)(pages - 1) << shift);
	return last >= va;
}

/* The victim after that one, or the first. */
static struct vmf_area *change_next(const struct change *c, const struct vmf_area *a)
{
	vmf_va from = a ? vmf__end(a) : c->lo;
	struct vmf_area *next = a && !from ? NULL : vmf__table_after(c->old, from);

	return next && next->va <= c->hi - 1 ? next : NULL;
}

static size_t array_size(uint32_t victims) { return (2 * (size_t)victims + 2) * sizeof(struct vmf_area *); }

static void array_free(struct change *c)
{
	if (c->victim != c->one)
		vmf__free(c->space->port, c->victim, array_size(c->victims));
}

/* The victims, and room for the pieces. */
static int change_find(struct change *c)
{
	struct vmf_area *a = change_next(c, NULL);
	uint32_t n = 0;

	for (; a && !(c->single && n); a = change_next(c, a))
		n++;
	c->victim = n > 1 ? vmf__alloc(c->space->port, array_size(n)) : c->one;
	if (!c->victim)
		return -VMF_ENOMEM;
	c->piece = c->victim + n;
	c->pieces = c->victims = 0;
	for (a = NULL; c->victims < n;)
		c->victim[c->victims++] = a = change_next(c, a);
	return 0;
}

static int ask_split(struct vmf_area *a, vmf_va va)
{
	int err = a->object->ops->split ? a->object->ops->split(a, va) : 0;

	return err < 0 ? err : -err;
}

/* Of all that is in the range only the first and the last area can be cut. */
static int change_ask_split(const struct change *c)
{
	struct vmf_area *first = vmf__table_find(c->old, c->lo), *last = vmf__table_find(c->old, c->hi - 1);
	int err = 0;

	if (first && first->va < c->lo)
		err = ask_split(first, c->lo);
	if (!err && last && vmf__last(last) > c->hi - 1)
		err = ask_split(last, c->hi);
	return err;
}

static int change_piece(struct change *c, const struct vmf_area *like, vmf_va from, vmf_va last, bool inside)
{
	struct vmf_port *port = c->space->port;
	struct vmf_area *a;

	if (inside && c->inside == DROP)
		return 0;
	a = vmf__area_new(port, like, from, ((last - from) >> port->shift) + 1);
	if (!a)
		return -VMF_ENOMEM;
	if (inside && c->inside == PROTECT) {
		a->prot = c->prot;
		a->may |= c->prot;
	}
	if (inside && c->inside == MOVE)
		a->va += c->to - c->lo;
	a->refs = 2;
	c->piece[c->pieces++] = a;
	return 0;
}

static int change_cut(struct change *c, const struct vmf_area *a)
{
	vmf_va from = a->va, last = vmf__last(a);
	int err = 0;

	if (from < c->lo) {
		err = change_piece(c, a, from, c->lo - 1, false);
		from = c->lo;
	}
	if (!err)
		err = change_piece(c, a, from, vmf__min(last, c->hi - 1), true);
	if (!err && last > c->hi - 1)
		err = change_piece(c, a, c->hi, last, false);
	return err;
}

static void change_drop(struct change *c)
{
	for (uint32_t i = 0; i < c->pieces; i++) {
		vmf_area_put(c->piece[i]);
		vmf_area_put(c->piece[i]);
	}
	vmf__table_discard(&c->space->draft, c->old);
}

/* What is moved comes back elsewhere, where nothing is. */
static int change_move(struct change *c)
{
	struct vmf_area **piece = c->piece, **last = c->piece + c->pieces - 1, *rest[2];
	struct vmf__draft *draft = &c->space->draft;
	uint32_t n = 0;
	int err;

	if (c->victim[0]->va < c->lo)
		rest[n++] = *piece++;
	if (vmf__last(c->victim[c->victims - 1]) > c->hi - 1)
		rest[n++] = *last--;
	err = vmf__table_splice(draft, c->lo, c->hi - 1, rest, n);
	return err ? err : vmf__table_splice(draft, (*piece)->va, vmf__last(*last), piece, (uint32_t)(last - piece) + 1);
}

/* The new table, complete but not yet in place.  => space lock */
static int change_make(struct change *c)
{
	vmf_va last = c->single ? vmf__last(c->victim[0]) : c->hi - 1;
	int err = 0;

	c->gone = vmf__min(last, c->hi - 1);
	for (uint32_t i = 0; i < c->victims && !err; i++)
		err = change_cut(c, c->victim[i]);
	if (!err && c->inside == MOVE)
		err = change_move(c);
	else if (!err)
		err = vmf__table_splice(&c->space->draft, c->lo, c->gone, c->piece, c->pieces);
	if (err)
		change_drop(c);
	return err;
}

/* When it returns no fault uses a victim any more, and those to come see the pieces. */
static void change_publish(struct change *c)
{
	for (uint32_t i = 0; i < c->pieces; i++)
		vmf__area_link(c->piece[i]);
	vmf__store(&c->space->table, c->space->draft.root);
	vmf__slot_quiesce(c->space->port, c->victim, c->victims);
}

static uint64_t change_inside(const struct change *c, const struct vmf_area *a, vmf_va *from)
{
	vmf_va last = vmf__min(vmf__last(a), c->hi - 1);

	*from = vmf__max(a->va, c->lo);
	return ((last - *from) >> c->space->port->shift) + 1;
}

/* What is unmapped takes its private pages with it. */
static void change_drop_private(const struct change *c, const struct vmf_area *a)
{
	uint64_t pages;
	vmf_va from;

	if (c->inside != DROP || !a->overlay)
		return;
	pages = change_inside(c, a, &from);
	vmf__overlay_drop(a, from, pages);
}

/* => no lock: drivers are told, and the victims let go */
static void change_finish(struct change *c)
{
	for (uint32_t i = 0; i < c->pieces; i++) {
		vmf__area_opened(c->piece[i]);
		vmf_area_put(c->piece[i]);
	}
	for (uint32_t i = 0; i < c->victims; i++) {
		change_drop_private(c, c->victim[i]);
		vmf__area_closed(c->victim[i]);
		vmf_area_put(c->victim[i]);
	}
	array_free(c);
}

struct steps {
	int (*check)(const struct change *);
	/* On a part of a victim.  `undo` on all if one failed. */
	int (*step)(struct change *, struct vmf_area *, vmf_va, uint64_t pages);
	void (*undo)(struct change *, struct vmf_area *, vmf_va, uint64_t pages);
};

static int change_pmap(struct change *c, const struct steps *s)
{
	uint64_t pages;
	vmf_va from;
	int err = 0;

	for (uint32_t i = 0; s->step && i < c->victims && !err; i++) {
		pages = change_inside(c, c->victim[i], &from);
		err = s->step(c, c->victim[i], from, pages);
	}
	return err;
}

static void change_undo_pmap(struct change *c, const struct steps *s)
{
	uint64_t pages;
	vmf_va from;

	for (uint32_t i = 0; s->undo && i < c->victims; i++) {
		pages = change_inside(c, c->victim[i], &from);
		s->undo(c, c->victim[i], from, pages);
	}
}

/* Twice: who faults by the old table finds ranges as they were, and what was entered by the new one is taken back. */
static void change_undo(struct change *c, const struct steps *s)
{
	change_undo_pmap(c, s);
	vmf__store(&c->space->table, c->old);
	vmf__slot_quiesce(c->space->port, c->piece, c->pieces);
	change_undo_pmap(c, s);
	for (uint32_t i = 0; i < c->pieces; i++)
		vmf__area_unlink(c->piece[i]);
	change_drop(c);
}

static int change_apply(struct change *c, const struct steps *s)
{
	int err;

	change_publish(c);
	err = change_pmap(c, s);
	if (err) {
		change_undo(c, s);
		return err;
	}
	for (uint32_t i = 0; i < c->pieces; i++)
		vmf__store(&c->piece[i]->may, c->piece[i]->prot);
	for (uint32_t i = 0; i < c->victims; i++)
		vmf__area_unlink(c->victim[i]);
	vmf__table_keep(&c->space->draft);
	return 0;
}

static int change_locked(struct change *c, const struct steps *s)
{
	int err;

	c->old = c->space->table;
	err = s->check ? s->check(c) : 0;
	if (!err)
		err = change_find(c);
	if (err)
		return err;
	if (c->victims)
		err = change_make(c);
	if (!err && c->victims)
		err = change_apply(c, s);
	if (err)
		array_free(c);
	return err;
}

bool vmf__layout_again(struct vmf_space *space, int err, uint32_t *tries)
{
	struct vmf_port *port = space->port;

	if (err != -VMF_EAGAIN || ++*tries > VMF_CFG_LAYOUT_TRIES)
		return false;
	(void)port->host->wait(port->self, NULL, 0, VMF_CFG_LAYOUT_NS, false);
	return true;
}

static int change_run(struct change *c, const struct steps *s)
{
	uint32_t tries = 0;
	int err;

	/* Before the lock, whose owner may be waiting for this very handler. */
	if (vmf__slot_mine(c->space, c->lo, c->hi - 1))
		return -VMF_EDEADLK;
	do {
		vmf__lock_take(c->space->port, &c->space->lock);
		err = change_locked(c, s);
		vmf__lock_drop(c->space->port, &c->space->lock);
	} while (vmf__layout_again(c->space, err, &tries));
	if (!err && c->victims)
		change_finish(c);
	return err;
}

/* ---------------------------------------------------------------------------------------------- unmap */

static int unmap_step(struct change *c, struct vmf_area *a, vmf_va va, uint64_t pages)
{
	(void)c;
	return vmf__area_detach(a, va, pages);
}

/* Area after area, since what was by copy cannot come back: each goes whole or stays whole.  Drivers that refuse a cut
 * are asked before the first one goes. */
int vmf_unmap(struct vmf_space *space, vmf_va va, uint64_t pages)
{
	static const struct steps steps = { change_ask_split, unmap_step, NULL };
	struct change c = { .space = space, .inside = DROP, .single = true };
	int err;

	if (!space || !vmf__range_good(space, va, pages))
		return -VMF_EINVAL;
	c.lo = va;
	c.hi = va + vmf__bytes(space->port, pages);
	vmf_port_tidy(space->port);
	for (;;) {
		err = change_run(&c, &steps);
		if (err || !c.victims || c.gone == c.hi - 1)
			return err;
		c.lo = c.gone + 1; /* what is below may be somebody else's by now */
	}
}

int vmf_space_gone(struct vmf_space *space, vmf_va va, uint64_t pages)
{
	static const struct steps steps = { NULL, NULL, NULL };
	struct change c = { .space = space, .inside = DROP };

	if (!space || !vmf__range_good(space, va, pages))
		return -VMF_EINVAL;
	c.lo = va;
	c.hi = va + vmf__bytes(space->port, pages);
	return change_run(&c, &steps);
}

int vmf_space_moved(struct vmf_space *space, vmf_va from, vmf_va to, uint64_t pages)
{
	static const struct steps steps = { NULL, NULL, NULL };
	struct change c = { .space = space, .inside = MOVE };
	int err;

	if (!space || !vmf__range_good(space, from, pages) || !vmf__range_good(space, to, pages))
		return -VMF_EINVAL;
	if (from - to < vmf__bytes(space->port, pages) || to - from < vmf__bytes(space->port, pages))
		return -VMF_EINVAL;
	err = vmf_space_gone(space, to, pages);
	if (err)
		return err;
	c.lo = from;
	c.hi = from + vmf__bytes(space->port, pages);
	c.to = to;
	return change_run(&c, &steps);
}

/* -------------------------------------------------------------------------------------------- protect */

static int protect_check(const struct change *c)
{
	vmf_va at = c->lo;
	const struct vmf_area *last = NULL;

	for (const struct vmf_area *a = change_next(c, NULL); a; a = change_next(c, a)) {
		if (a->va > at)
			return -VMF_EFAULT;
		if (c->prot & ~a->maxprot)
			return -VMF_EPERM;
		at = vmf__end(a);
		last = a;
	}
	if (!last || vmf__last(last) < c->hi - 1)
		return -VMF_EFAULT;
	return change_ask_split(c);
}

static int protect_to(struct change *c, vmf_va va, uint64_t pages, unsigned prot)
{
	const struct vmf_pmap_ops *ops = &c->space->ops;
	int err = ops->protect(c->space->pmap, va, pages, prot);

	if (ops->update)
		ops->update(c->space->pmap);
	return err;
}

static int protect_step(struct change *c, struct vmf_area *a, vmf_va va, uint64_t pages)
{
	/* Where clean entries cannot be write-protected on their own, the range's protection was what kept writes out. */
	if (c->prot & ~a->prot & VMF_W && !a->window.protect && (a->overlay || vmf__object_tracks(a->object))) {
		int err = vmf__area_remove(a, va, pages);

		if (err)
			return err;
	}
	return protect_to(c, va, pages, c->prot);
}

static void protect_undo(struct change *c, struct vmf_area *a, vmf_va va, uint64_t pages)
{
	(void)protect_to(c, va, pages, a->prot);
}

int vmf_protect(struct vmf_space *space, vmf_va va, uint64_t pages, unsigned prot)
{
	static const struct steps steps = { protect_check, protect_step, protect_undo };
	struct change c = { .space = space, .inside = PROTECT };

	if (!space || !vmf__range_good(space, va, pages) || prot > (VMF_R | VMF_W | VMF_X))
		return -VMF_EINVAL;
	c.lo = va;
	c.hi = va + vmf__bytes(space->port, pages);
	c.prot = (uint8_t)prot;
	return change_run(&c, &steps);
}
