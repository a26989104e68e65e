/* SPDX-License-Identifier: MIT
 *
 * Faults in flight.  A fault says in its slot what it is about; nobody else's cache line is touched on the fault
 * path. Who takes something away changes the truth first, then runs the host's barrier, then looks at the slots: a
 * fault whose slot was not seen there will see the new truth.
 */
#include "core.h"

#define STATE 7u
#define GENERATION 8u

static unsigned slot_state(uint32_t word) { return word & STATE; }

/* The owner's store, ordered before what it reads afterwards (with the other side's barrier). */
static void slot_publish(struct vmf_port *port, struct vmf_slot *slot, uint32_t word)
{
	vmf__store(&slot->word, word);
	if (port->host->barrier)
		vmf__compiler_fence();
	else
		vmf__fence();
}

/* What was changed before is seen by every fault whose slot we find idle afterwards. */
static void slots_barrier(struct vmf_port *port)
{
	if (port->host->barrier)
		port->host->barrier(port->self);
	else
		vmf__fence();
}

static void slots_used(struct vmf_port *port, uint32_t n)
{
	uint32_t used = vmf__peek(&port->used);

	while (used < n && !vmf__cas(&port->used, &used, n))
		;
}

struct vmf_slot *vmf__slot_enter(struct vmf_port *port)
{
	uint32_t i = port->host->slot(port->self), depth = 0;
	struct vmf_slot *slot;

	if (i >= port->nslots / VMF_CFG_DEPTH)
		return NULL;
	slot = port->slots + i * VMF_CFG_DEPTH;
	while (slot_state(vmf__peek(&slot->word)) != VMF__IDLE) {
		if (++depth == VMF_CFG_DEPTH)
			return NULL;
		slot++;
	}
	if (vmf__peek(&port->used) < (i + 1) * VMF_CFG_DEPTH)
		slots_used(port, (i + 1) * VMF_CFG_DEPTH);
	slot_publish(port, slot, ((vmf__peek(&slot->word) & ~STATE) + GENERATION) | VMF__LOOKING);
	return slot;
}

static void slot_range(struct vmf_slot *slot, vmf_pgoff first, uint32_t n)
{
	vmf__set(&slot->first_lo, (uint32_t)first);
	vmf__set(&slot->first_hi, (uint32_t)(first >> 32));
	vmf__set(&slot->n, n);
}

void vmf__slot_hold(struct vmf_port *port, struct vmf_slot *slot, struct vmf_area *area, vmf_pgoff first, uint32_t n,
		    unsigned state)
{
	vmf__set(&slot->area, area->real);
	vmf__set(&slot->object, area->object);
	slot_range(slot, first, n);
	slot_publish(port, slot, ((vmf__peek(&slot->word) & ~STATE) + GENERATION) | state);
}

bool vmf__slot_commit(struct vmf_slot *slot)
{
	uint32_t word = vmf__peek(&slot->word);

	return slot_state(word) == VMF__ASKING && vmf__cas(&slot->word, &word, (word & ~STATE) | VMF__ENTERING);
}

/* Who revoked before it could see the wider range has counted object->revokes up, which the caller compares next. */
void vmf__slot_widen(struct vmf_port *port, struct vmf_slot *slot, vmf_pgoff first, uint32_t n)
{
	/* The length first, then the start: at no moment is the page left out that the slot covered alone. */
	vmf__set(&slot->n, n);
	vmf__store(&slot->first_lo, (uint32_t)first);
	vmf__store(&slot->first_hi, (uint32_t)(first >> 32));
	slot_publish(port, slot, vmf__peek(&slot->word));
}

void vmf__slot_relax(struct vmf_slot *slot)
{
	vmf__store(&slot->word, (vmf__peek(&slot->word) & ~STATE) | VMF__ASKING);
}

void vmf__slot_leave(struct vmf_port *port, struct vmf_slot *slot)
{
	vmf__store(&slot->area, NULL); /* after our last look at it */
	slot_publish(port, slot, vmf__peek(&slot->word) & ~STATE);
	if (vmf__load(&port->waiting)) {
		vmf__add(&port->leaving, 1);
		port->host->wake(port->self, &port->leaving);
	}
}

bool vmf__slot_nested(struct vmf_port *port, struct vmf_slot *slot, const struct vmf_area *area)
{
	bool inner = (uint32_t)(slot - port->slots) % VMF_CFG_DEPTH != 0;

	return inner && vmf__peek(&slot[-1].area) == area;
}

static bool slot_in(const struct vmf_space *space, uint32_t i, vmf_va first, vmf_va last)
{
	const struct vmf_port *port = space->port;

	for (uint32_t d = 0; i < port->nslots / VMF_CFG_DEPTH && d < VMF_CFG_DEPTH; d++) {
		const struct vmf_area *a = vmf__peek(&port->slots[i * VMF_CFG_DEPTH + d].area);

		if (a && a->space == space && a->va <= last && vmf__end(a) - 1 >= first)
			return true;
	}
	return false;
}

bool vmf__slot_mine(const struct vmf_space *space, vmf_va first, vmf_va last)
{
	return slot_in(space, space->port->host->slot(space->port->self), first, last);
}

bool vmf_slot_holds(const struct vmf_space *space, uint32_t i, vmf_va va) { return space && slot_in(space, i, va, va); }

static bool slot_reads_table(struct vmf_slot *slot) { return slot_state(vmf__load(&slot->word)) == VMF__LOOKING; }

static bool slot_holds(struct vmf_slot *slot, struct vmf_area *const *area, uint32_t n)
{
	const struct vmf_area *held = vmf__load(&slot->area);

	for (uint32_t i = 0; held && i < n; i++)
		if (area[i] == held)
			return slot_state(vmf__load(&slot->word)) != VMF__IDLE;
	return false;
}

static bool slot_own(struct vmf_port *port, struct vmf_slot *slot)
{
	return (uint32_t)(slot - port->slots) / VMF_CFG_DEPTH == port->host->slot(port->self);
}

/* A fault that looks has its table for some hundred instructions; one that holds the area may be in a handler. */
static void slot_wait(struct vmf_port *port, struct vmf_slot *slot, struct vmf_area *const *area, uint32_t n)
{
	for (;;) {
		uint32_t seq = vmf__load(&port->leaving);

		if (!slot_reads_table(slot) && !slot_holds(slot, area, n))
			return;
		(void)port->host->wait(port->self, &port->leaving, seq, 1000000, false);
	}
}

void vmf__slot_quiesce(struct vmf_port *port, struct vmf_area *const *area, uint32_t n)
{
	uint32_t used;

	vmf__add(&port->waiting, 1);
	slots_barrier(port);
	used = vmf__load(&port->used);
	for (uint32_t i = 0; i < used; i++) {
		struct vmf_slot *slot = port->slots + i;

		/* An outer fault of this very thread cannot leave before we return; the caller has seen to its area. */
		if (!slot_own(port, slot))
			slot_wait(port, slot, area, n);
	}
	vmf__sub(&port->waiting, 1);
}

static bool slot_overlaps(const struct vmf_slot *slot, const struct vmf_object *object, vmf_pgoff first, uint64_t n)
{
	vmf_pgoff at = vmf__load(&slot->first_lo) | (uint64_t)vmf__load(&slot->first_hi) << 32;

	return !object || (vmf__peek(&slot->object) == object && at < first + n && first < at + vmf__peek(&slot->n));
}

/* Marks one slot stale; if it is entering, when that is over.  Another generation is another fault or another range:
 * that one was published after our barrier, and sees the new truth. */
static void slot_shoot(struct vmf_port *port, struct vmf_slot *slot, const struct vmf_object *object, vmf_pgoff first,
		       uint64_t n)
{
	uint32_t word = vmf__load(&slot->word), generation = word & ~STATE;
	unsigned spins = 0;

	while ((word & ~STATE) == generation && slot_overlaps(slot, object, first, n)) {
		if (slot_state(word) == VMF__ASKING) {
			if (vmf__cas(&slot->word, &word, generation | VMF__STALE))
				return;
			continue;
		}
		if (slot_state(word) != VMF__ENTERING || slot_own(port, slot))
			return;
		if (++spins > 128)
			(void)port->host->wait(port->self, NULL, 0, 2000, false);
		word = vmf__load(&slot->word);
	}
}

void vmf__slot_shoot(struct vmf_port *port, const struct vmf_object *object, vmf_pgoff first, uint64_t n)
{
	uint32_t used;

	slots_barrier(port);
	used = vmf__load(&port->used);
	for (uint32_t i = 0; i < used; i++)
		slot_shoot(port, port->slots + i, object, first, n);
}
