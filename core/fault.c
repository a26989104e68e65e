/* SPDX-License-Identifier: MIT
 *
 * The fault path.
 *
 * Lock order: space => area reference => [the driver's] => overlay => object => area list => pmap => frame => [port's]
 * (enum vmf_rank in host.h; builds with VMF_DEBUG check it)
 *
 * A port takes a trap and calls vmf_handle().  It
 *
 *  1. takes the slot of this CPU or thread, and finds the area in the table, which stays while the slot says LOOKING;
 *  2. holds the area: from now on unmap waits for this slot, and no lock is held;
 *  3. asks: a driver's table (driver.c), or the generic code for backings (backed.c);
 *  4. turns the slot to ENTERING, unless a revoke has made it STALE, and changes the pmap (enter.c);
 *  5. leaves the slot, and accounts the fault: once, however often it was retried.
 *
 * It never waits and never allocates.  What has to be waited for goes into the ticket; the port waits, with nothing
 * locked, and calls again: everything is looked up anew, but what the ticket pins is still there, so the second try
 * completes.  Every reason to retry is bounded.
 */
#include "core.h"

static inline struct vmf_result resolve(struct vmf_fault *f)
{
	struct vmf_result r;

	if (f->area->overlay && vmf__overlay_fault(f, &r))
		return r;
	if (f->area->window.store == VMF_BY_COPY && f->area->window.protect && vmf__enter_again(f, &r))
		return r;
	vmf__ticket_match(f);
	if (f->off >= vmf__object_pages(f->object))
		return vmf__result(VMF_SIGBUS, VMF_WHY_EOF, 0);
	return f->object->backed ? vmf__backed_fault(f) : vmf__ask_driver(f);
}

/* => LOOKING on entry; ASKING or ENTERING on return if there is an area */
static bool find_area(struct vmf_fault *f, struct vmf_result *r)
{
	struct vmf_area *a = vmf__table_find(vmf__load(&f->space->table), f->va);

	if (!a) {
		*r = vmf__result(VMF_SIGSEGV, VMF_WHY_NONE, 0);
		return false;
	}
	vmf__fault_at(f, a);
	if (!(a->prot & f->access) || f->access & (f->access - 1)) {
		*r = vmf__result(VMF_SIGSEGV, VMF_WHY_PROT, 0);
		return false;
	}
	if (vmf__slot_nested(f->port, f->slot, a)) {
		*r = vmf__mistake(f, VMF_WHY_POLICY, "its handler touches memory that its own area shows");
		return false;
	}
	vmf__slot_hold(f->port, f->slot, a, f->off, 1, VMF__ASKING);
	return true;
}

/* A retry that came too often becomes an answer. */
static inline struct vmf_result bound(struct vmf_fault *f, struct vmf_result r)
{
	struct vmf_ticket *t = f->ticket;

	if (r.code != VMF_RETRY)
		return r;
	if (r.why == VMF_WHY_IO && t->core[0])
		return r; /* as long as the backing takes */
	t->tries++;
	/* Who waits for another to be done with a page loses no race each time that something else wakes him. */
	if ((r.why == VMF_WHY_RACE && !t->wait) || r.why == VMF_WHY_LAYOUT || r.why == VMF_WHY_RESOURCE)
		t->races++;
	if (t->races > VMF_CFG_RACES || t->tries > VMF_CFG_TRIES)
		return vmf__result(r.why == VMF_WHY_RESOURCE ? VMF_OOM : VMF_SIGBUS, r.why, r.err);
	return r;
}

struct vmf_result vmf__fault_ask(struct vmf_fault *f)
{
	struct vmf_result r = bound(f, f->slot ? resolve(f) : vmf__result(VMF_RETRY, VMF_WHY_RESOURCE, 0));

	if (r.code != VMF_RETRY)
		return r;
	vmf__tally(f, VMF__COUNTER(retries) + (r.why & 15u), 1);
	f->ticket->why = r.why;
	return r;
}

static void account(struct vmf_fault *f, struct vmf_result *r)
{
	if (r->code == VMF_RETRY) {
		vmf__tally(f, VMF__COUNTER(retries) + (r->why & 15u), 1);
		f->ticket->why = r->why;
		f->ticket->flags |= f->flags;
		vmf__ticket_count(f->space, f->ticket);
		return;
	}
	r->flags |= f->flags | (f->ticket->flags & VMF_MAJOR);
	if (r->code == VMF_OK && !f->entered_any)
		r->flags |= VMF_SPURIOUS;
	vmf__count(f, faults, 1);
	if (r->flags & VMF_MAJOR)
		vmf__count(f, major, 1);
	if (r->flags & VMF_SPURIOUS)
		vmf__count(f, spurious, 1);
	if (r->code != VMF_OK)
		vmf__count(f, failed, 1);
	if (f->ticket->core[0] | f->ticket->core[1] | (f->ticket->flags & VMF__T_HOLDS))
		vmf_ticket_drop(f->space, f->ticket);
}

static struct vmf_result run(struct vmf_fault *f)
{
	struct vmf_result r;
	uint32_t shard;

	f->slot = vmf__slot_enter(f->port);
	if (!f->slot)
		return vmf__result(VMF_RETRY, VMF_WHY_RESOURCE, 0);
	shard = (uint32_t)(f->slot - f->port->slots) / VMF_CFG_DEPTH;
	f->counts_alone = shard + 1 < VMF_CFG_SHARDS;
	if (f->counts_alone)
		f->count = &f->space->stats[shard];
	if (find_area(f, &r))
		r = resolve(f);
	if (r.code != VMF_RETRY && f->ticket->core[0]) {
		vmf__fill_give(f, (struct vmf__fill *)f->ticket->core[0]);
		f->ticket->core[0] = 0;
	}
	vmf__slot_leave(f->port, f->slot);
	return r;
}

static struct vmf_result take_fault(struct vmf_space *space, const struct vmf_trap *trap, struct vmf_ticket *ticket)
{
	struct vmf_port *port = space->port;
	struct vmf_fault f = { .space = space, .port = port, .ticket = ticket, .access = trap->access,
			       .trap_flags = trap->flags, .va = trap->va & ~(vmf_va)(vmf__psize(port) - 1),
			       .count = &space->stats[VMF_CFG_SHARDS - 1] };
	struct vmf_result r;

	vmf__check(port, vmf__rank_none(" lock is held around a fault"));
	ticket->wait = NULL;
	r = bound(&f, run(&f));
	account(&f, &r);
	if (port->host->trace)
		port->host->trace(port->self, space, trap->va, trap->access, r, ticket->tries);
	return r;
}

struct vmf_result vmf_handle(struct vmf_space *space, const struct vmf_trap *trap, struct vmf_ticket *ticket)
{
	if (!space || !trap || !ticket)
		return vmf__result(VMF_SIGBUS, VMF_WHY_DRIVER, 0);
	return take_fault(space, trap, ticket);
}
