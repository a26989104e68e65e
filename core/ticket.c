/* SPDX-License-Identifier: MIT
 *
 * Tickets: what a fault remembers between its tries.
 * core[0]: a fill that it waits for, with a reference, which pins the fill's pages.  core[1]: the object whose wait
 * object it waits on, with a reference, so that the wait object lives.
 */
#include "core.h"

struct vmf_result vmf__retry(struct vmf_fault *f, unsigned why, struct vmf_wait *wait, uint32_t seq)
{
	struct vmf_ticket *t = f->ticket;

	if (t->core[1])
		vmf__object_put_late((struct vmf_object *)t->core[1]);
	t->core[1] = 0;
	t->wait = wait;
	t->seq = seq;
	if (wait) {
		vmf_object_get(f->object);
		t->core[1] = (uintptr_t)f->object;
	}
	return vmf__result(VMF_RETRY, why, 0);
}

/* The layout may have changed between the tries: a fill of another object, or of other pages, has nothing to say. */
void vmf__ticket_match(struct vmf_fault *f)
{
	struct vmf__fill *fill = (struct vmf__fill *)f->ticket->core[0];

	if (!fill || (fill->object == f->object && f->off - fill->io.first < fill->io.n))
		return;
	f->ticket->core[0] = 0;
	f->ticket->flags &= (uint8_t)~VMF__T_ALONE;
	vmf__fill_put(fill);
}

/* Nothing to wait for by name: a while that doubles. */
static int wait_while(struct vmf_space *space, const struct vmf_ticket *t, bool interruptible)
{
	struct vmf_port *port = space->port;
	uint64_t ns = (uint64_t)VMF_CFG_BACKOFF_NS << vmf__min(t->races, 10);
	int err;

	if (t->why == VMF_WHY_RESOURCE) {
		/* A lack that supply cannot mend ends with the bound on tries. */
		(void)vmf__supply(port);
		if (space->ops.supply)
			(void)space->ops.supply(space->pmap);
		if (t->races <= 1)
			return 0;
	}
	err = port->host->wait(port->self, NULL, 0, vmf__min(ns, VMF_CFG_BACKOFF_MAX_NS), interruptible);
	return err == -VMF_EINTR ? err : 0;
}

int vmf_ticket_wait(struct vmf_space *space, struct vmf_ticket *t, bool interruptible)
{
	struct vmf_port *port = space ? space->port : NULL;
	int err;

	if (!port || !t)
		return -VMF_EINVAL;
	vmf__check(port, vmf__rank_none(" lock is held around the wait of a fault"));
	vmf_port_tidy(port);
	if (!t->wait)
		return wait_while(space, t, interruptible);
	err = vmf_ticket_ready(t) ? 0 : port->host->wait(port->self, &t->wait->seq, t->seq, 0, interruptible);
	return err == -VMF_EINTR || err == -VMF_EKILLED ? err : 0;
}

bool vmf_ticket_ready(const struct vmf_ticket *t) { return !t || !t->wait || vmf_wait_seq(t->wait) != t->seq; }

/* Who loses a ticket has leaked what it holds: vmf_space_destroy() says so. */
void vmf__ticket_count(struct vmf_space *space, struct vmf_ticket *t)
{
	if (!(t->core[0] | t->core[1]) || t->flags & VMF__T_HOLDS)
		return;
	t->flags |= VMF__T_HOLDS;
	vmf__add(&space->tickets, 1);
}

void vmf_ticket_drop(struct vmf_space *space, struct vmf_ticket *t)
{
	if (!space || !t)
		return;
	if (t->flags & VMF__T_HOLDS)
		vmf__sub(&space->tickets, 1);
	t->flags &= (uint8_t)~VMF__T_HOLDS;
	if (t->core[0])
		vmf__fill_put((struct vmf__fill *)t->core[0]);
	if (t->core[1])
		vmf__object_put_late((struct vmf_object *)t->core[1]);
	t->core[0] = t->core[1] = 0;
	t->wait = NULL;
}
