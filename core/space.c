/* SPDX-License-Identifier: MIT
 *
 * Spaces.
 */
#include "core.h"

static bool pmap_complete(const struct vmf_pmap *pmap)
{
	const struct vmf_pmap_ops *o = pmap ? pmap->ops : NULL;

	return o && o->size >= sizeof(*o) && o->attach && o->detach && o->enter && o->remove && o->protect;
}

int vmf_space_create(struct vmf_port *port, struct vmf_space **out, struct vmf_pmap *pmap)
{
	struct vmf_space *space;

	if (!port || !out)
		return -VMF_EINVAL;
	if (!pmap_complete(pmap))
		return -VMF_ENOSYS;
	space = vmf__alloc(port, sizeof(*space));
	if (!space)
		return -VMF_ENOMEM;
	space->port = port;
	space->pmap = pmap;
	space->table = vmf__table_new(port, 0);
	if (!space->table || (pmap->ops->supply && pmap->ops->supply(pmap))) {
		vmf__table_free(port, space->table);
		vmf__free(port, space, sizeof(*space));
		return -VMF_ENOMEM;
	}
	*out = space;
	return 0;
}

/* Nobody faults here any more, so areas leave the table in place, and nothing needs memory or can fail. */
void vmf_space_destroy(struct vmf_space *space)
{
	struct vmf_port *port;

	if (!space)
		return;
	port = space->port;
	while (space->table->n) {
		struct vmf_area *a = space->table->area[--space->table->n];

		(void)vmf__area_detach(a, a->va, a->pages);
		vmf__area_unlink(a);
		vmf__area_closed(a);
		vmf_area_put(a);
	}
	vmf__table_free(port, space->table);
	vmf__free(port, space, sizeof(*space));
}

struct vmf_pmap *vmf_space_pmap(const struct vmf_space *space) { return space->pmap; }
struct vmf_port *vmf_space_port(const struct vmf_space *space) { return space->port; }

void vmf_space_stats(const struct vmf_space *space, struct vmf_stats *out)
{
	uint32_t size = out->size;
	struct vmf_stats sum = { .size = size };

	for (uint32_t k = 0; k < VMF__COUNTERS; k++)
		for (uint32_t i = 0; i < VMF__SHARDS; i++)
			(&sum.faults)[k] += vmf__peek(&space->stats[i].v[k]);
	memcpy(out, &sum, vmf__min(size, sizeof(sum)));
}
