/* SPDX-License-Identifier: MIT
 *
 * Spaces.
 */
#include "core.h"

#define SPACE_BYTES (sizeof(struct vmf_space) + VMF_CFG_SHARDS * sizeof(struct vmf__counters))

static int pmap_in(struct vmf_pmap_ops *o, const struct vmf_pmap *pmap)
{
	int err = pmap && pmap->ops ? vmf_struct_in(o, sizeof(*o), pmap->ops, offsetof(struct vmf_pmap_ops, attach)) :
				      -VMF_ENOSYS;

	if (!err && o->flags)
		err = -VMF_EINVAL;
	if (err)
		return err;
	return o->attach && o->detach && o->enter && o->remove && o->protect ? 0 : -VMF_ENOSYS;
}

int vmf_space_create(struct vmf_port *port, struct vmf_space **out, struct vmf_pmap *pmap)
{
	struct vmf_pmap_ops ops;
	struct vmf_space *space;
	int err;

	if (!port || !out)
		return -VMF_EINVAL;
	err = pmap_in(&ops, pmap);
	if (err)
		return err;
	space = vmf__alloc(port, SPACE_BYTES);
	if (!space)
		return -VMF_ENOMEM;
	space->port = port;
	space->lock.rank = VMF_RANK_SPACE;
	space->pmap = pmap;
	space->ops = ops;
	space->draft.port = port;
	if (ops.supply && ops.supply(pmap)) {
		vmf__free(port, space, SPACE_BYTES);
		return -VMF_ENOMEM;
	}
	vmf__add(&port->spaces, 1);
	*out = space;
	return 0;
}

/* The last area.  Nobody faults here any more, so it leaves the table in place, and nothing needs memory. */
static int take_last(struct vmf_space *space)
{
	struct vmf_area *a = vmf__table_last(space->table);
	uint32_t tries = 0;
	int err;

	do
		err = vmf__area_detach(a, a->va, a->pages);
	while (vmf__layout_again(space, err, &tries));
	if (err)
		return err;
	vmf__table_pop(&space->draft);
	space->table = space->draft.root;
	vmf__area_unlink(a);
	vmf__area_closed(a);
	vmf_area_put(a);
	return 0;
}

int vmf__space_empty(struct vmf_space *space)
{
	int err = 0;

	while (space->table && !err)
		err = take_last(space);
	return err ? err : vmf__strays_end(space);
}

int vmf_space_destroy(struct vmf_space *space)
{
	int err;

	if (!space)
		return 0;
	vmf__left_over(space->port, vmf__load(&space->tickets), " tickets are not dropped when their space goes");
	err = vmf__load(&space->tickets) ? -VMF_EBUSY : vmf__space_empty(space);
	if (err)
		return err;
	vmf__stray_room_free(space);
	vmf__sub(&space->port->spaces, 1);
	vmf__free(space->port, space, SPACE_BYTES);
	return 0;
}

struct vmf_pmap *vmf_space_pmap(const struct vmf_space *space) { return space ? space->pmap : NULL; }
struct vmf_port *vmf_space_port(const struct vmf_space *space) { return space ? space->port : NULL; }

void vmf_space_stats(const struct vmf_space *space, struct vmf_stats *out)
{
	struct vmf_stats sum = { .size = sizeof(sum) };

	if (!space)
		return;
	for (uint32_t k = 0; k < VMF__COUNTERS; k++)
		for (uint32_t i = 0; i < VMF_CFG_SHARDS; i++)
			(&sum.faults)[k] += vmf__peek(&space->stats[i].v[k]);
	vmf_struct_out(out, &sum, sizeof(sum));
}
