/* SPDX-License-Identifier: MIT
 *
 * Parked faults: read from the descriptor, and not resolved yet.  Their threads sleep in the kernel.  There is one
 * for each page, however many threads wait for it; they are tried in the order of their addresses.
 *
 * A fault that finds no place is forgotten, but not for ever: when there is room, the ranges are woken, and it
 * comes again.
 */
#include <string.h>
#include "remote.h"

void vmf__park_init(struct vmf__park *p)
{
	pthread_mutex_init(&p->lock, NULL);
	for (uint32_t i = 0; i < VMF__PARK; i++)
		p->slot[i].next = (uint16_t)(i + 1 < VMF__PARK ? i + 2 : 0);
	p->free = 1;
}

void vmf__park_lock(struct vmf__park *p)
{
	vmf__order(vmf_rank_take(p, VMF__RANK_LEAF));
	pthread_mutex_lock(&p->lock);
}

void vmf__park_unlock(struct vmf__park *p)
{
	vmf__order(vmf_rank_drop(p));
	pthread_mutex_unlock(&p->lock);
}

static struct vmf__parked *at(struct vmf__park *p, uint16_t i) { return i ? p->slot + i - 1 : NULL; }

/* The link that points to the first one at va or after it. */
static uint16_t *place(struct vmf__park *p, vmf_va va)
{
	uint16_t *link = &p->active;

	while (*link && at(p, *link)->va < va)
		link = &at(p, *link)->next;
	return link;
}

/* It is there already.  What was entered or went before this fault was read does not count any more. */
static void merge(struct vmf__parked *e, unsigned kind, unsigned access)
{
	e->served = e->gone = false;
	if (e->state == VMF__PARK_BUSY)
		e->again = true;
	if (access == VMF_W)
		e->access = VMF_W;
	e->kind = (uint8_t)kind;
}

static void insert(struct vmf__park *p, uint16_t *link, vmf_va va, unsigned kind, unsigned access)
{
	uint16_t i = p->free;
	struct vmf__parked *e = at(p, i);

	if (!e) {
		p->lost = true;
		return;
	}
	p->free = e->next;
	*e = (struct vmf__parked){ .va = va, .state = VMF__PARK_PENDING, .kind = (uint8_t)kind, .access = (uint8_t)access,
		.next = *link };
	*link = i;
	p->n++;
}

void vmf__park_add(struct vmf__park *p, vmf_va va, unsigned kind, unsigned access)
{
	uint16_t *link;
	struct vmf__parked *e;

	vmf__park_lock(p);
	link = place(p, va);
	e = at(p, *link);
	if (e && e->va == va)
		merge(e, kind, access);
	else
		insert(p, link, va, kind, access);
	vmf__park_unlock(p);
}

static bool ready(const struct vmf__parked *e, uint64_t now)
{
	if (e->state == VMF__PARK_PENDING)
		return true;
	if (e->state != VMF__PARK_WAITING)
		return false;
	return e->served || e->gone || e->due <= now || (e->ticket.wait && vmf_ticket_ready(&e->ticket));
}

struct vmf__parked *vmf__park_take(struct vmf__park *p, uint64_t now)
{
	struct vmf__parked *e;

	vmf__park_lock(p);
	for (e = at(p, p->active); e && !ready(e, now); e = at(p, e->next))
		;
	if (e)
		e->state = VMF__PARK_BUSY;
	vmf__park_unlock(p);
	return e;
}

static void release(struct vmf__park *p, struct vmf__parked *e)
{
	uint16_t *link = place(p, e->va);

	p->n--;
	*link = e->next;
	e->state = VMF__PARK_FREE;
	e->next = p->free;
	p->free = (uint16_t)(e - p->slot + 1);
}

/* As new: the fault that came meanwhile is another one. */
static void renew(struct vmf__parked *e)
{
	e->state = VMF__PARK_PENDING;
	e->again = e->served = e->gone = false;
	e->failures = 0;
	e->delay = 0;
	memset(&e->ticket, 0, sizeof(e->ticket));
}

void vmf__park_give(struct vmf__park *p, struct vmf__parked *e, uint64_t due)
{
	vmf__park_lock(p);
	if (due) {
		e->state = VMF__PARK_WAITING;
		e->due = due;
	} else if (e->again) {
		renew(e);
	} else {
		release(p, e);
	}
	vmf__park_unlock(p);
}

void vmf__park_cover(struct vmf__park *p, vmf_va start, vmf_va end, bool gone)
{
	vmf__park_lock(p);
	for (struct vmf__parked *e = at(p, *place(p, start)); e && e->va < end; e = at(p, e->next)) {
		if (gone)
			e->gone = true;
		else if (e->state != VMF__PARK_BUSY)
			e->served = true;
	}
	vmf__park_unlock(p);
}

uint64_t vmf__park_due(struct vmf__park *p, const struct vmf_wait **wait, uint32_t *seq)
{
	uint64_t due = UINT64_MAX;

	*wait = NULL;
	vmf__park_lock(p);
	for (struct vmf__parked *e = at(p, p->active); e; e = at(p, e->next)) {
		if (e->state == VMF__PARK_PENDING) {
			due = 0;
		} else if (e->state == VMF__PARK_WAITING && e->due < due) {
			due = e->due;
			*wait = e->ticket.wait;
			*seq = e->ticket.seq;
		}
	}
	vmf__park_unlock(p);
	return due;
}

bool vmf__park_lost(struct vmf__park *p)
{
	bool lost;

	vmf__park_lock(p);
	lost = p->lost && p->n <= VMF__PARK / 2;
	if (lost)
		p->lost = false;
	vmf__park_unlock(p);
	return lost;
}
