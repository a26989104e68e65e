/* SPDX-License-Identifier: MIT
 *
 * Peek and poke: what a debugger reads and writes of a space that is not its own.
 *
 * What is entered is what is shown, so that is looked at first.  Else the fault path is asked, as for an access, but by
 * a stand-in of the area that allows all of maxprot and a stand-in of the space whose enter() moves the bytes and
 * enters nothing: announcing, marking dirty, copying private pages and every check are those of a fault, and nobody
 * gains a permission.  The bytes move under a lock that a revoke takes, or in a slot that is ENTERING, so what is
 * revoked is not touched afterwards.  Device memory is its driver's to touch, with nothing held.
 */
#include "core.h"

#define PIECE 256u

struct look {
	struct vmf_pmap pmap; /* first, so that enter()'s pmap is ours */
	struct vmf_space *space;
	vmf_va va;
	uint8_t *bytes; /* n of them, within a page */
	size_t n;
	struct vmf_object *object; /* a reference, once the area is found */
	vmf_pgoff off;
	uint8_t prot, store; /* the area's */
	bool write, raw, moved;
};

static size_t in_page(const struct look *l) { return (size_t)(l->va & (vmf__psize(l->space->port) - 1)); }

static bool move_bytes(struct look *l, vmf_pfn pfn)
{
	struct vmf_port *port = l->space->port;
	uint8_t *page = port->host->bytes(port->self, pfn);

	if (!page)
		return false;
	if (l->write)
		memcpy(page + in_page(l), l->bytes, l->n);
	else
		memcpy(l->bytes, page + in_page(l), l->n);
	return l->moved = true;
}

/* What the space itself has there.  false: nothing, or its pmap cannot say. */
static bool entry_of(const struct look *l, struct vmf_entry *e)
{
	const struct vmf_pmap_ops *ops = &l->space->ops;
	uint64_t page = l->va >> l->space->port->shift;

	*e = (struct vmf_entry){ 0 };
	if (!ops->query || ops->query(l->space->pmap, l->va - in_page(l), e) || !e->present)
		return false;
	e->pfn.n += page & (((uint64_t)1 << e->order) - 1);
	return true;
}

/* ------------------------------------------------------------------------------- the space's stand-in */

/* -VMF_EEXIST: the space shows another page there. */
static long look_enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct look *l = (struct look *)(void *)pmap;
	uint64_t page = (l->va - run->va) >> l->space->port->shift;
	vmf_pfn pfn = { run->pfn.n + page };
	struct vmf_entry e;

	if (l->va < run->va || page >= run->n || run->flags & VMF_RUN_FILL)
		return 0;
	l->raw = run->flags & VMF_RUN_RAW;
	if (l->raw)
		return 0;
	if (run->flags & VMF_RUN_ZERO)
		return -VMF_ENOSYS;
	if (l->store == VMF_BY_ADDRESS && entry_of(l, &e) && e.pfn.n != pfn.n)
		return -VMF_EEXIST;
	return move_bytes(l, pfn) ? 0 : -VMF_EFAULT;
}

/* An entry that can be used as it is.  What is private changes under the overlay's lock alone.  => ASKING */
static bool look_entered(struct vmf_fault *f, struct look *l)
{
	struct vmf_object *overlay = f->area->overlay;
	struct vmf_entry e;
	bool there;

	if (overlay)
		vmf__lock_take(f->port, &overlay->lock);
	/* Under this lock a revoke takes the entry away, before or after. */
	vmf__lock_take(f->port, &f->object->areas_lock);
	there = entry_of(l, &e) && (!l->write || e.prot & VMF_W || (e.raw && !overlay));
	l->raw = there && e.raw;
	if (there && !e.raw)
		there = move_bytes(l, e.pfn);
	vmf__lock_drop(f->port, &f->object->areas_lock);
	if (overlay)
		vmf__lock_drop(f->port, &overlay->lock);
	return there;
}

static void look_found(struct look *l, const struct vmf_fault *f, const struct vmf_area *a)
{
	if (!l->object)
		vmf_object_get(a->object);
	else if (l->object != a->object) { /* the layout has changed since the last try */
		vmf__object_put_late(l->object);
		vmf_object_get(a->object);
	}
	l->object = a->object;
	l->off = f->off;
	l->prot = a->prot;
	l->store = a->window.store;
}

/* => LOOKING */
static struct vmf_result look_area(struct vmf_fault *f, struct look *l, struct vmf_area *a)
{
	struct vmf_area stand_in = { .window = { 0 } };

	if (!a || !(a->maxprot & f->access))
		return vmf__result(VMF_SIGSEGV, a ? VMF_WHY_PROT : VMF_WHY_NONE, 0);
	if (vmf__slot_nested(f->port, f->slot, a))
		return vmf__mistake(f, VMF_WHY_POLICY, "a handler looks into its own area");
	vmf__area_like(&stand_in, a);
	stand_in.prot = stand_in.may = a->maxprot;
	vmf__fault_at(f, &stand_in);
	look_found(l, f, a);
	if (l->store == VMF_BY_COPY)
		return vmf__result(VMF_OK, 0, 0);
	vmf__slot_hold(f->port, f->slot, f->area, f->off, 1, VMF__ASKING);
	return look_entered(f, l) ? vmf__result(VMF_OK, 0, 0) : vmf__fault_ask(f);
}

static struct vmf_result look_once(struct look *l, struct vmf_ticket *ticket)
{
	struct vmf_space *space = l->space, stand_in = { .port = space->port, .pmap = &l->pmap,
							 .ops = { .enter = look_enter } };
	struct vmf_fault f = { .space = &stand_in, .port = space->port, .ticket = ticket, .va = l->va - in_page(l),
			       .access = l->write ? VMF_W : VMF_R, .count = &space->stats[VMF_CFG_SHARDS - 1] };
	struct vmf_result r;

	ticket->wait = NULL;
	f.slot = vmf__slot_enter(f.port);
	if (!f.slot)
		return vmf__fault_ask(&f);
	r = look_area(&f, l, vmf__table_find(vmf__load(&space->table), f.va));
	vmf__slot_leave(f.port, f.slot);
	return r;
}

/* ------------------------------------------------------------------------------------------- by copy */

static int fault_err(struct vmf_result r)
{
	if (r.code == VMF_SIGSEGV)
		return r.why == VMF_WHY_PROT ? -VMF_EPERM : -VMF_EFAULT;
	return r.code == VMF_OK ? 0 : -VMF_EIO;
}

/* Bytes that are to be given away have to be, as to whoever else touches them. */
static int copy_in(const struct look *l)
{
	unsigned can = l->prot & VMF_R ? (unsigned)VMF_R : l->prot & VMF_W ? (unsigned)VMF_W : (unsigned)VMF_X;
	struct vmf_trap trap = { .va = l->va, .access = (uint8_t)can };
	struct vmf_ticket ticket = { 0 };
	struct vmf_result r;

	if (!(l->prot & can))
		return -VMF_ENOSYS;
	while ((r = vmf_handle(l->space, &trap, &ticket)).code == VMF_RETRY)
		(void)vmf_ticket_wait(l->space, &ticket, false);
	return fault_err(r);
}

static int copy_take(struct look *l, void *page)
{
	const struct vmf_pmap_ops *ops = &l->space->ops;
	int err;

	if (l->write)
		return ops->give ? ops->give(l->space->pmap, l->va, l->bytes, l->n) : -VMF_ENOSYS;
	err = ops->take ? ops->take(l->space->pmap, l->va - in_page(l), page) : -VMF_ENOSYS;
	if (!err)
		memcpy(l->bytes, (uint8_t *)page + in_page(l), l->n);
	return err;
}

static int copy_tries(struct look *l, void *page)
{
	struct vmf_entry e;
	int err = copy_take(l, page), in;

	for (unsigned tries = 0; (err == -VMF_EFAULT || err == -VMF_EAGAIN) && tries < 4; tries++) {
		l->raw = entry_of(l, &e) && e.raw;
		if (l->raw)
			return 0;
		in = copy_in(l);
		if (in)
			return in;
		err = copy_take(l, page);
	}
	return err == -VMF_EFAULT || err == -VMF_EAGAIN ? -VMF_ENOSYS : err;
}

static int copy_look(struct look *l)
{
	struct vmf_port *port = l->space->port;
	struct vmf_frame *frame;
	int err = vmf_frame_alloc(port, 0, 0, false, &frame);

	if (err)
		return err;
	err = copy_tries(l, vmf_frame_bytes(port, frame));
	vmf_frame_put(port, frame);
	return err;
}

/* ------------------------------------------------------------------------------------ peek and poke */

static int raw_access(struct look *l)
{
	const struct vmf_ops *ops = l->object->ops;
	int err = ops->access ? ops->access(l->object, l->off, in_page(l), l->bytes, l->n, l->write) : -VMF_EPERM;

	return err < 0 ? err : -err;
}

/* Within a page. */
static int look_at(struct look *l)
{
	struct vmf_ticket ticket = { 0 };
	struct vmf_result r;
	int err;

	while ((r = look_once(l, &ticket)).code == VMF_RETRY)
		(void)vmf_ticket_wait(l->space, &ticket, false);
	vmf_ticket_drop(l->space, &ticket);
	err = fault_err(r);
	if (!err && l->store == VMF_BY_COPY)
		err = copy_look(l);
	else if (!err && !l->raw && !l->moved)
		err = -VMF_EIO;
	if (!err && l->raw)
		err = raw_access(l);
	if (!err && l->write && l->space->ops.icache)
		l->space->ops.icache(l->space->pmap, l->va - in_page(l), 1);
	vmf_object_put(l->object);
	return err;
}

/* Through a buffer of our own: the caller's may be memory that faults. */
static long look_all(struct vmf_space *space, vmf_va va, uint8_t *to, const uint8_t *from, size_t n)
{
	uint8_t piece[PIECE];
	size_t done = 0, step;
	int err = 0;

	for (; done < n && !err; done += err ? 0 : step) {
		struct look l = { .space = space, .va = va + done, .bytes = piece, .write = from };

		step = (size_t)vmf__min(vmf__min(n - done, PIECE), vmf__psize(space->port) - in_page(&l));
		l.n = step;
		if (from)
			memcpy(piece, from + done, step);
		err = look_at(&l);
		if (!err && to)
			memcpy(to + done, piece, step);
	}
	return done ? (long)done : err;
}

static bool look_good(const struct vmf_space *space, vmf_va va, const void *bytes, size_t n)
{
	return space && bytes && n <= SIZE_MAX / 2 && (!n || va + (n - 1) >= va);
}

long vmf_peek(struct vmf_space *space, vmf_va va, void *to, size_t n)
{
	return look_good(space, va, to, n) ? look_all(space, va, to, NULL, n) : -VMF_EINVAL;
}

long vmf_poke(struct vmf_space *space, vmf_va va, const void *from, size_t n)
{
	return look_good(space, va, from, n) ? look_all(space, va, NULL, from, n) : -VMF_EINVAL;
}
