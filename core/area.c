/* SPDX-License-Identifier: MIT
 *
 * Areas.
 */
#include "core.h"

struct vmf_area *vmf__area_new(struct vmf_port *port, const struct vmf_area *like, vmf_va va, uint64_t pages)
{
	struct vmf_area *a = vmf__alloc(port, sizeof(*a));

	if (!a)
		return NULL;
	vmf__area_like(a, like);
	if (a->action == VMF_RAW) {
		a->interval = vmf__alloc(port, sizeof(*a->interval));
		if (!a->interval) {
			vmf__free(port, a, sizeof(*a));
			return NULL;
		}
		a->interval->area = a;
	}
	a->off = like->off + ((va - like->va) >> port->shift);
	a->raw.n += (va - like->va) >> port->shift;
	a->va = va;
	a->pages = pages;
	a->refs = 1;
	a->real = a;
	a->may = like->prot;
	vmf_object_get(a->object);
	if (a->overlay)
		vmf_object_get(a->overlay);
	return a;
}

void vmf_area_put(struct vmf_area *a)
{
	struct vmf_object *o, *overlay;

	if (!a || vmf__sub(&a->refs, 1) != 1)
		return;
	o = a->object;
	overlay = a->overlay;
	vmf__free(o->port, a->interval, sizeof(*a->interval));
	vmf__free(o->port, a, sizeof(*a));
	vmf__overlay_put(overlay);
	vmf_object_put(o);
}

void vmf__area_opened(struct vmf_area *a)
{
	if (a->object->ops->opened)
		a->object->ops->opened(a);
	vmf__store(&a->told, 1u);
}

/* Another thread may unmap what vmf_map() has not returned yet. */
void vmf__area_closed(struct vmf_area *a)
{
	struct vmf_port *port = a->object->port;

	while (!vmf__load(&a->told))
		(void)port->host->wait(port->self, NULL, 0, 1000, false);
	if (a->object->ops->closed)
		a->object->ops->closed(a);
}

void vmf__area_link(struct vmf_area *a)
{
	struct vmf_object *o = a->object;

	vmf__alias_area(a, true);
	vmf__lock_take(o->port, &o->areas_lock);
	a->next = o->areas;
	a->link = &o->areas;
	if (a->next)
		a->next->link = &a->next;
	o->areas = a;
	vmf__lock_drop(o->port, &o->areas_lock);
}

void vmf__area_unlink(struct vmf_area *a)
{
	struct vmf_object *o = a->object;

	vmf__lock_take(o->port, &o->areas_lock);
	*a->link = a->next;
	if (a->next)
		a->next->link = a->link;
	a->link = NULL;
	if (!o->areas)
		vmf__alias_forget(o);
	vmf__alias_area(a, false);
	vmf__lock_drop(o->port, &o->areas_lock);
}

/* Frames of removed entries, until update() has made sure that no CPU uses them. */
struct vmf_gather {
	vmf_pfn *pfn;
	uint32_t n, room;
};

/* A pmap that gathers more than it was asked to remove loses a frame rather than our stack. */
void vmf_gather_frame(struct vmf_gather *g, vmf_pfn pfn)
{
	if (g && g->n < g->room)
		g->pfn[g->n++] = pfn;
}

static void gather_put(struct vmf_port *port, struct vmf_gather *g)
{
	for (uint32_t i = 0; i < g->n; i++) {
		struct vmf_frame *frame = vmf__phys_frame(port, g->pfn[i]);

		if (frame)
			vmf_frame_put(port, frame);
	}
	g->n = 0;
}

static int area_remove(struct vmf_area *a, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	const struct vmf_pmap_ops *ops = &a->space->ops;
	struct vmf_pmap *pmap = a->space->pmap;
	int err = ops->remove(pmap, va, pages, g);

	if (ops->update)
		ops->update(pmap);
	gather_put(a->space->port, g);
	return err;
}

int vmf__area_remove(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	uint64_t step = a->window.store == VMF_BY_ADDRESS ? VMF_CFG_GATHER : pages;
	vmf_pfn room[VMF_CFG_GATHER];
	struct vmf_gather g = { room, 0, VMF_CFG_GATHER };
	int err = 0;

	for (uint64_t done = 0; done < pages && !err; done += step)
		err = area_remove(a, va + vmf__bytes(a->space->port, done), vmf__min(step, pages - done), &g);
	return err;
}

int vmf__area_forget(struct vmf_area *a, vmf_va va)
{
	vmf_pfn room;
	struct vmf_gather g = { &room, 0, 1 };

	return area_remove(a, va, 1, &g);
}

int vmf__area_clean(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	const struct vmf_pmap_ops *ops = &a->space->ops;
	struct vmf_pmap *pmap = a->space->pmap;
	int err;

	if (ops->clean)
		err = ops->clean(pmap, va, pages);
	else
		err = ops->protect(pmap, va, pages, a->prot & ~(unsigned)VMF_W);
	if (ops->update)
		ops->update(pmap);
	return err;
}

int vmf__area_detach(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	const struct vmf_pmap_ops *ops = &a->space->ops;
	struct vmf_pmap *pmap = a->space->pmap;
	vmf_pfn room[VMF_CFG_GATHER];
	struct vmf_gather g = { room, 0, VMF_CFG_GATHER };
	int err;

	if (a->window.store == VMF_BY_ADDRESS) {
		err = vmf__area_remove(a, va, pages);
		if (err)
			return err;
	}
	err = ops->detach(pmap, va, pages, &g);
	if (!err && ops->update)
		ops->update(pmap);
	gather_put(a->space->port, &g);
	return err;
}

struct vmf_area *vmf_area_find(struct vmf_space *space, vmf_va va)
{
	struct vmf_port *port = space ? space->port : NULL;
	struct vmf_slot *slot = port ? vmf__slot_enter(port) : NULL;
	struct vmf_area *a = NULL;
	bool lock = port && !slot && port->host->slot(port->self) == VMF_NO_SLOT;

	/* As a fault does it: who has the lock may be waiting for the handler that we are in. */
	if (lock)
		vmf__lock_take(port, &space->lock);
	if (slot || lock)
		a = vmf__table_find(vmf__load(&space->table), va);
	if (a)
		vmf__add(&a->refs, 1);
	if (lock)
		vmf__lock_drop(port, &space->lock);
	if (slot)
		vmf__slot_leave(port, slot);
	return a;
}

vmf_va vmf_area_va(const struct vmf_area *a) { return a ? a->va : 0; }
uint64_t vmf_area_pages(const struct vmf_area *a) { return a ? a->pages : 0; }
vmf_pgoff vmf_area_off(const struct vmf_area *a) { return a ? a->off : 0; }
void *vmf_area_priv(const struct vmf_area *a) { return a ? a->priv : NULL; }
struct vmf_object *vmf_area_object(const struct vmf_area *a) { return a ? a->object : NULL; }
struct vmf_space *vmf_area_space(const struct vmf_area *a) { return a ? a->space : NULL; }

void vmf_area_window(const struct vmf_area *a, struct vmf_window *w)
{
	if (a)
		vmf_struct_out(w, &a->window, sizeof(*w));
}
