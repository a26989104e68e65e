/* SPDX-License-Identifier: MIT
 *
 * Areas, and the table that finds them: an array sorted by address, replaced as a whole, read without a lock by faults
 * whose slot says so.
 */
#include "core.h"

uint32_t vmf__table_at(const struct vmf__table *t, vmf_va va, unsigned shift)
{
	uint32_t lo = 0, hi = t->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct vmf_area *a = t->area[mid];

		if (va - a->va < (vmf_va)(a->pages << shift) || va < a->va)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct vmf_area *vmf__table_find(const struct vmf__table *t, vmf_va va, unsigned shift)
{
	uint32_t i = vmf__table_at(t, va, shift);

	return i < t->n && t->area[i]->va <= va ? t->area[i] : NULL;
}

static size_t table_size(uint32_t room) { return sizeof(struct vmf__table) + room * sizeof(struct vmf_area *); }

struct vmf__table *vmf__table_new(struct vmf_port *port, uint32_t room)
{
	struct vmf__table *t = vmf__alloc(port, table_size(room));

	if (t)
		t->room = room;
	return t;
}

void vmf__table_free(struct vmf_port *port, struct vmf__table *t)
{
	vmf__free(port, t, t ? table_size(t->room) : 0);
}

struct vmf_area *vmf__area_new(struct vmf_port *port, const struct vmf_area *like, vmf_va va, uint64_t pages)
{
	struct vmf_area *a = vmf__alloc(port, sizeof(*a));

	if (!a)
		return NULL;
	*a = *like;
	a->off = like->off + ((va - like->va) >> port->shift);
	a->raw.n += (va - like->va) >> port->shift;
	a->va = va;
	a->pages = pages;
	a->refs = 1;
	a->told = 0;
	a->next = NULL;
	a->link = NULL;
	vmf_object_get(a->object);
	return a;
}

void vmf_area_put(struct vmf_area *a)
{
	struct vmf_object *o;

	if (!a || vmf__sub(&a->refs, 1) != 1)
		return;
	o = a->object;
	vmf__free(o->port, a, sizeof(*a));
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

	vmf_lock_take(o->port, &o->areas_lock);
	a->next = o->areas;
	a->link = &o->areas;
	if (a->next)
		a->next->link = &a->next;
	o->areas = a;
	vmf_lock_drop(o->port, &o->areas_lock);
}

void vmf__area_unlink(struct vmf_area *a)
{
	struct vmf_object *o = a->object;

	vmf_lock_take(o->port, &o->areas_lock);
	*a->link = a->next;
	if (a->next)
		a->next->link = a->link;
	a->link = NULL;
	vmf_lock_drop(o->port, &o->areas_lock);
}

/* Frames of removed entries, until update() has made sure that no CPU uses them. */
struct vmf_gather {
	uint32_t n;
	vmf_pfn pfn[VMF__GATHER];
};

/* A pmap that gathers more than it was asked to remove loses a frame rather than our stack. */
void vmf_gather_frame(struct vmf_gather *g, vmf_pfn pfn)
{
	if (g->n < VMF__GATHER)
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

int vmf__area_remove(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	struct vmf_pmap *pmap = a->space->pmap;
	struct vmf_port *port = a->space->port;
	uint64_t step = a->window.store == VMF_BY_ADDRESS ? VMF__GATHER : pages;
	struct vmf_gather g;
	int err = 0;

	g.n = 0;
	for (uint64_t done = 0; done < pages && !err; done += step) {
		err = pmap->ops->remove(pmap, va + vmf__bytes(port, done), vmf__min(step, pages - done), &g);
		if (pmap->ops->update)
			pmap->ops->update(pmap);
		gather_put(port, &g);
	}
	return err;
}

int vmf__area_detach(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	struct vmf_pmap *pmap = a->space->pmap;
	struct vmf_gather g;
	int err;

	g.n = 0;
	if (a->window.store == VMF_BY_ADDRESS) {
		err = vmf__area_remove(a, va, pages);
		if (err)
			return err;
	}
	err = pmap->ops->detach(pmap, va, pages, &g);
	if (!err && pmap->ops->update)
		pmap->ops->update(pmap);
	gather_put(a->space->port, &g);
	return err;
}

struct vmf_area *vmf_area_find(struct vmf_space *space, vmf_va va)
{
	struct vmf_area *a;

	vmf_lock_take(space->port, &space->lock);
	a = vmf__table_find(space->table, va, space->port->shift);
	if (a)
		vmf__add(&a->refs, 1);
	vmf_lock_drop(space->port, &space->lock);
	return a;
}

vmf_va vmf_area_va(const struct vmf_area *a) { return a->va; }
uint64_t vmf_area_pages(const struct vmf_area *a) { return a->pages; }
vmf_pgoff vmf_area_off(const struct vmf_area *a) { return a->off; }
void *vmf_area_priv(const struct vmf_area *a) { return a->priv; }
struct vmf_object *vmf_area_object(const struct vmf_area *a) { return a->object; }
struct vmf_space *vmf_area_space(const struct vmf_area *a) { return a->space; }
void vmf_area_window(const struct vmf_area *a, struct vmf_window *w) { *w = a->window; }
