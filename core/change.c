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
	struct vmf__table *old, *table;
	uint32_t first, end;       /* victims in old */
	struct vmf_area **piece;   /* what becomes of them; two references each, one of them the table's */
	uint32_t pieces, room;
	enum inside inside;
	vmf_va lo, hi; /* [lo, hi): hi 0 means to the top */
	vmf_va to;     /* MOVE */
	uint8_t prot;  /* PROTECT */
	bool single;   /* just the first victim */
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

static void change_find(struct change *c)
{
	unsigned shift = c->space->port->shift;

	c->old = c->space->table;
	c->first = c->end = vmf__table_at(c->old, c->lo, shift);
	while (c->end < c->old->n && c->old->area[c->end]->va <= c->hi - 1)
		c->end++;
}

static int change_ask_split(const struct change *c)
{
	for (uint32_t i = c->first; i < c->end; i++) {
		struct vmf_area *a = c->old->area[i];
		int err = 0;

		if (!a->object->ops->split)
			continue;
		if (a->va < c->lo)
			err = a->object->ops->split(a, c->lo);
		if (!err && vmf__last(a) > c->hi - 1)
			err = a->object->ops->split(a, c->hi);
		if (err)
			return err < 0 ? err : -err;
	}
	return 0;
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
	if (inside && c->inside == PROTECT)
		a->prot = c->prot;
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

static void piece_array_free(struct change *c)
{
	vmf__free(c->space->port, c->piece, c->piece ? c->room * sizeof(*c->piece) : 0);
}

static void change_drop(struct change *c)
{
	for (uint32_t i = 0; i < c->pieces; i++) {
		vmf_area_put(c->piece[i]);
		vmf_area_put(c->piece[i]);
	}
	piece_array_free(c);
	vmf__table_free(c->space->port, c->table);
}

static void table_sort(struct vmf__table *t)
{
	for (uint32_t i = 1; i < t->n; i++) {
		struct vmf_area *a = t->area[i];
		uint32_t k = i;

		for (; k && t->area[k - 1]->va > a->va; k--)
			t->area[k] = t->area[k - 1];
		t->area[k] = a;
	}
}

static void change_fill_table(struct change *c)
{
	struct vmf__table *t = c->table;

	t->n = 0;
	for (uint32_t i = 0; i < c->first; i++)
		t->area[t->n++] = c->old->area[i];
	for (uint32_t i = 0; i < c->pieces; i++)
		t->area[t->n++] = c->piece[i];
	for (uint32_t i = c->end; i < c->old->n; i++)
		t->area[t->n++] = c->old->area[i];
	if (c->inside == MOVE)
		table_sort(t);
}

/* The new table, complete but not yet in place.  => space lock */
static int change_make(struct change *c)
{
	struct vmf_port *port = c->space->port;
	int err = 0;

	c->room = c->end - c->first + 2;
	c->pieces = 0;
	c->piece = vmf__alloc(port, c->room * sizeof(*c->piece));
	c->table = vmf__table_new(port, c->old->n + 2);
	if (!c->piece || !c->table)
		err = -VMF_ENOMEM;
	for (uint32_t i = c->first; i < c->end && !err; i++)
		err = change_cut(c, c->old->area[i]);
	if (err)
		change_drop(c);
	else
		change_fill_table(c);
	return err;
}

static void quiesce(struct vmf_space *space, struct vmf_area *const *area, uint32_t n)
{
	vmf__slot_quiesce(space->port, n ? area[0] : NULL);
	for (uint32_t i = 1; i < n; i++)
		vmf__slot_quiesce(space->port, area[i]);
}

/* When it returns no fault uses a victim any more, and those to come see the pieces. */
static void change_publish(struct change *c)
{
	for (uint32_t i = 0; i < c->pieces; i++)
		vmf__area_link(c->piece[i]);
	vmf__store(&c->space->table, c->table);
	quiesce(c->space, c->old->area + c->first, c->end - c->first);
}

static void change_undo(struct change *c)
{
	vmf__store(&c->space->table, c->old);
	quiesce(c->space, c->piece, c->pieces);
	for (uint32_t i = 0; i < c->pieces; i++)
		vmf__area_unlink(c->piece[i]);
	change_drop(c);
}

/* => no lock: drivers are told, and the victims let go */
static void change_finish(struct change *c)
{
	for (uint32_t i = 0; i < c->pieces; i++) {
		vmf__area_opened(c->piece[i]);
		vmf_area_put(c->piece[i]);
	}
	for (uint32_t i = c->first; i < c->end; i++) {
		vmf__area_closed(c->old->area[i]);
		vmf_area_put(c->old->area[i]);
	}
	piece_array_free(c);
	vmf__table_free(c->space->port, c->old);
}

struct steps {
	int (*check)(const struct change *);
	/* On a part of a victim.  `undo` on all if one failed: faults may have entered by the new table meanwhile. */
	int (*step)(struct change *, struct vmf_area *, vmf_va, uint64_t pages);
	void (*undo)(struct change *, struct vmf_area *, vmf_va, uint64_t pages);
};

static uint64_t change_inside(const struct change *c, const struct vmf_area *a, vmf_va *from)
{
	vmf_va last = vmf__min(vmf__last(a), c->hi - 1);

	*from = vmf__max(a->va, c->lo);
	return ((last - *from) >> c->space->port->shift) + 1;
}

static int change_pmap(struct change *c, const struct steps *s)
{
	uint64_t pages;
	vmf_va from;
	int err = 0;

	for (uint32_t i = c->first; s->step && i < c->end && !err; i++) {
		pages = change_inside(c, c->old->area[i], &from);
		err = s->step(c, c->old->area[i], from, pages);
	}
	for (uint32_t i = c->first; err && s->undo && i < c->end; i++) {
		pages = change_inside(c, c->old->area[i], &from);
		s->undo(c, c->old->area[i], from, pages);
	}
	return err;
}

static int change_locked(struct change *c, const struct steps *s)
{
	int err;

	change_find(c);
	err = s->check ? s->check(c) : 0;
	if (err || c->first == c->end)
		return err;
	if (c->single)
		c->end = c->first + 1;
	err = change_make(c);
	if (err)
		return err;
	change_publish(c);
	err = change_pmap(c, s);
	if (err)
		change_undo(c);
	for (uint32_t i = c->first; !err && i < c->end; i++)
		vmf__area_unlink(c->old->area[i]);
	return err;
}

bool vmf__layout_again(struct vmf_space *space, int err, uint32_t *tries)
{
	struct vmf_port *port = space->port;

	if (err != -VMF_EAGAIN || ++*tries > VMF__LAYOUT_TRIES)
		return false;
	(void)port->host->wait(port->self, NULL, 0, VMF__LAYOUT_NS, false);
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
		vmf_lock_take(c->space->port, &c->space->lock);
		err = change_locked(c, s);
		vmf_lock_drop(c->space->port, &c->space->lock);
	} while (vmf__layout_again(c->space, err, &tries));
	if (!err && c->first != c->end)
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
	do
		err = change_run(&c, &steps);
	while (!err && c.first != c.end);
	return err;
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

	for (uint32_t i = c->first; i < c->end; i++) {
		const struct vmf_area *a = c->old->area[i];

		if (a->va > at)
			return -VMF_EFAULT;
		if (c->prot & ~a->maxprot)
			return -VMF_EPERM;
		at = vmf__end(a);
	}
	if (c->first == c->end || vmf__last(c->old->area[c->end - 1]) < c->hi - 1)
		return -VMF_EFAULT;
	return change_ask_split(c);
}

static int protect_to(struct change *c, vmf_va va, uint64_t pages, unsigned prot)
{
	const struct vmf_pmap_ops *ops = c->space->pmap->ops;
	int err = ops->protect(c->space->pmap, va, pages, prot);

	if (ops->update)
		ops->update(c->space->pmap);
	return err;
}

static int protect_step(struct change *c, struct vmf_area *a, vmf_va va, uint64_t pages)
{
	/* Where clean entries cannot be write-protected on their own, the range's protection was what kept writes out. */
	if (c->prot & ~a->prot & VMF_W && !a->window.protect && vmf__object_tracks(a->object)) {
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
