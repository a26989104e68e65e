/* SPDX-License-Identifier: MIT
 *
 * Reserves: blocks of one size, carved out of slabs.  The fault path takes from the list; only supply() allocates.
 */
#include "core.h"

struct slab { struct slab *next; uint32_t bytes; }; /* then the blocks, 16 bytes from its start */

void *vmf__reserve_take(struct vmf_port *port, struct vmf__reserve *r)
{
	void **block;

	vmf__lock_take(port, &r->lock);
	block = r->list;
	if (block) {
		r->list = *block;
		vmf__set(&r->free, r->free - 1);
	}
	vmf__lock_drop(port, &r->lock);
	return block;
}

void vmf__reserve_give(struct vmf_port *port, struct vmf__reserve *r, void *p)
{
	void **block = p;

	vmf__lock_take(port, &r->lock);
	*block = r->list;
	r->list = block;
	vmf__set(&r->free, r->free + 1);
	vmf__lock_drop(port, &r->lock);
}

static int slab_add(struct vmf_port *port, struct vmf__reserve *r)
{
	uint32_t head = 16, bytes = r->size > VMF_CFG_SLAB / 4 ? head + 4 * r->size : VMF_CFG_SLAB;
	struct slab *slab = vmf__alloc(port, bytes);

	if (!slab)
		return -VMF_ENOMEM;
	slab->bytes = bytes;
	vmf__lock_take(port, &r->lock);
	slab->next = r->slabs;
	r->slabs = slab;
	vmf__lock_drop(port, &r->lock);
	for (uint32_t at = head; at + r->size <= bytes; at += r->size)
		vmf__reserve_give(port, r, (uint8_t *)slab + at);
	return 0;
}

int vmf__reserve_supply(struct vmf_port *port, struct vmf__reserve *r)
{
	int err = 0;

	while (!err && vmf__peek(&r->free) < r->low)
		err = slab_add(port, r);
	return err;
}

void vmf__reserve_destroy(struct vmf_port *port, struct vmf__reserve *r)
{
	struct slab *slab = r->slabs, *next;

	for (; slab; slab = next) {
		next = slab->next;
		vmf__free(port, slab, slab->bytes);
	}
}
