/* SPDX-License-Identifier: MIT
 *
 * Objects: what areas show.
 */
#include "core.h"

static uint32_t tree_levels(uint64_t pages)
{
	uint32_t levels = 0;
	uint64_t covers = VMF__LEAF;

	while (covers < pages && levels < 15) {
		covers <<= 4;
		levels++;
	}
	return levels;
}

static void object_link(struct vmf_object *o)
{
	struct vmf_port *port = o->port;

	vmf__lock_take(port, &port->all_lock);
	o->all_next = port->all;
	o->all_link = &port->all;
	if (o->all_next)
		o->all_next->all_link = &o->all_next;
	port->all = o;
	vmf__lock_drop(port, &port->all_lock);
}

static void object_unlink(struct vmf_object *o)
{
	struct vmf_port *port = o->port;

	vmf__lock_take(port, &port->all_lock);
	*o->all_link = o->all_next;
	if (o->all_next)
		o->all_next->all_link = o->all_link;
	vmf__lock_drop(port, &port->all_lock);
}

int vmf__object_new(struct vmf_port *port, struct vmf_object **out, const struct vmf_ops *ops, void *priv,
		    uint64_t pages, uint64_t room, bool segmented)
{
	struct vmf_object *o;

	if (!pages || pages > room || room > UINTPTR_MAX >> port->shift)
		return -VMF_EINVAL;
	o = vmf__alloc(port, sizeof(*o));
	if (!o)
		return -VMF_ENOMEM;
	o->port = port;
	o->lock.rank = VMF_RANK_OBJECT;
	o->areas_lock.rank = VMF_RANK_AREAS;
	o->ops = ops;
	o->priv = priv;
	o->refs = 1;
	o->pages = (uintptr_t)pages;
	o->room = (uintptr_t)room;
	o->tree.levels = tree_levels(room);
	vmf__alias_init(o);
	o->segmented = segmented && port->host->segment;
	if (o->segmented && port->host->segment(port->self, room, &o->segment)) {
		vmf__free(port, o, sizeof(*o));
		return -VMF_ENOMEM;
	}
	vmf__add(&port->objects, 1);
	object_link(o);
	*out = o;
	return 0;
}

int vmf_object_create(struct vmf_port *port, struct vmf_object **out, const struct vmf_ops *ops, void *priv,
		      uint64_t pages)
{
	struct vmf_object *o;
	struct vmf_ops table;
	int err;

	if (!port || !out)
		return -VMF_EINVAL;
	err = vmf_struct_in(&table, sizeof(table), ops, offsetof(struct vmf_ops, map));
	if (err || table.flags)
		return err ? err : -VMF_EINVAL;
	/* Who hands over nothing but pfns has no use for frames of its own. */
	err = vmf__object_new(port, &o, &table, priv, pages, pages, !table.nopfn || table.nopage || table.fault);
	if (err)
		return err;
	o->table.driver = table;
	o->ops = &o->table.driver;
	*out = o;
	return 0;
}

void vmf_object_get(struct vmf_object *o)
{
	if (o)
		vmf__add(&o->refs, 1);
}

static void object_release(struct vmf_object *o)
{
	struct vmf_port *port = o->port;

	object_unlink(o);
	if (o->ops->release)
		o->ops->release(o, o->priv);
	vmf__pages_destroy(o);
	vmf__alias_destroy(o);
	if (o->segmented)
		port->host->segment_free(port->self, o->segment, o->room);
	if (o->backed && o->backing->close)
		o->backing->close(o->backing_self);
	vmf__sub(&port->objects, 1);
	vmf__free(port, o, sizeof(*o));
}

void vmf_port_tidy(struct vmf_port *port)
{
	struct vmf_object *o = NULL, *next;

	if (!port || !vmf__load(&port->late))
		return;
	vmf__lock_take(port, &port->late_lock);
	o = port->late;
	vmf__store(&port->late, NULL);
	vmf__lock_drop(port, &port->late_lock);
	for (; o; o = next) {
		next = o->late;
		object_release(o);
	}
}

void vmf__object_put_late(struct vmf_object *o)
{
	struct vmf_port *port = o->port;

	if (vmf__sub(&o->refs, 1) != 1)
		return;
	vmf__lock_take(port, &port->late_lock);
	o->late = port->late;
	vmf__store(&port->late, o);
	vmf__lock_drop(port, &port->late_lock);
}

void vmf_object_put(struct vmf_object *o)
{
	struct vmf_port *port;

	if (!o)
		return;
	port = o->port;
	if (vmf__sub(&o->refs, 1) != 1)
		return;
	object_release(o);
	vmf_port_tidy(port);
}

void vmf__overlay_put(struct vmf_object *o)
{
	if (o && vmf__sub(&o->refs, 1) == 1)
		object_release(o);
}

void *vmf_object_priv(const struct vmf_object *o) { return o ? o->priv : NULL; }

struct vmf_frame *vmf_frame_at(struct vmf_object *o, vmf_pgoff at)
{
	struct vmf_frame *frame = NULL;

	if (!o || at >= o->room)
		return NULL;
	if (!o->segmented)
		return vmf_frame_alloc(o->port, 0, 0, true, &frame) ? NULL : frame;
	vmf__lock_take(o->port, &o->lock);
	if (vmf__page_make(o, at)) {
		frame = vmf__page_segment(o, at);
		vmf_frame_get(frame);
	}
	vmf__lock_drop(o->port, &o->lock);
	/* The platform makes a page of a segment when it is touched, and can only show what was made. */
	if (frame && !vmf__frame_broken(frame) && !vmf__segment_made(o, at, 1)) {
		vmf_frame_put(o->port, frame);
		return NULL;
	}
	if (frame && !vmf__frame_broken(frame))
		(void)__atomic_fetch_or((uint32_t *)vmf_frame_bytes(o->port, frame), 0, __ATOMIC_RELAXED);
	return frame;
}

/* ---------------------------------------------------------------------- what the areas show of a range */

typedef int area_step(struct vmf_area *, vmf_va, uint64_t pages);

/* => takes areas_lock around the steps, so that no area can go away under them */
static int object_each(struct vmf_object *o, vmf_pgoff first, uint64_t n, area_step *step)
{
	int err = 0;

	vmf__lock_take(o->port, &o->areas_lock);
	for (struct vmf_area *a = o->areas; a; a = a->next) {
		vmf_pgoff from = vmf__max(first, a->off), to = vmf__min(first + n, a->off + a->pages);
		int one;

		/* Bytes that were given away stay; device memory does not. */
		if (from >= to || (a->window.store == VMF_BY_COPY && !a->window.raw))
			continue;
		one = step(a, a->va + vmf__bytes(o->port, from - a->off), to - from);
		err = err ? err : one;
	}
	vmf__lock_drop(o->port, &o->areas_lock);
	return err;
}

int vmf__area_hide(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	int back = vmf__bolts_back(a, va, pages), err = vmf__area_remove(a, va, pages);

	return err ? err : back;
}

int vmf__object_hide(struct vmf_object *o, vmf_pgoff first, uint64_t n)
{
	vmf__slot_shoot(o->port, o, first, n);
	return object_each(o, first, n, vmf__area_hide);
}

/* What is private is written elsewhere.  An area that cannot be written now may have entries that can be when it can
 * be again. */
static int area_clean(struct vmf_area *a, vmf_va va, uint64_t pages)
{
	if (!(a->maxprot & VMF_W) || a->window.store == VMF_BY_COPY || a->overlay)
		return 0;
	return a->window.protect ? vmf__area_clean(a, va, pages) : vmf__area_remove(a, va, pages);
}

int vmf__object_clean(struct vmf_object *o, vmf_pgoff first, uint64_t n)
{
	vmf__slot_shoot(o->port, o, first, n);
	return object_each(o, first, n, area_clean);
}

/* An mkwrite in flight announced a write that may have been dealt with already: it is marked, and asked again. */
void vmf__object_forget_dirt(struct vmf_object *o, vmf_pgoff first, vmf_pgoff end)
{
	vmf__lock_take(o->port, &o->lock);
	for (vmf_pgoff at = vmf__page_next(o, first, end); at < end; at = vmf__page_next(o, at + 1, end)) {
		struct vmf__page *page = vmf__page_at(o, at);

		if (vmf__peek(&page->word) & VMF__P_MKWRITE)
			vmf__store(&page->word, vmf__peek(&page->word) | VMF__P_REDIRTY);
		else if (vmf__state(page) == VMF_DIRTY)
			vmf__set_state(page, VMF_ABSENT);
	}
	vmf__lock_drop(o->port, &o->lock);
}

int vmf_revoke(struct vmf_object *o, vmf_pgoff first, uint64_t n)
{
	struct vmf__revoking r = { .first = first, .n = n };
	int err;

	if (!o || first + n < first)
		return -VMF_EINVAL;
	if (!n)
		return 0;
	if (o->backed) {
		vmf__add(&o->revokes, 1);
		return vmf__object_hide(o, first, n);
	}
	vmf__revoke_begin(o, &r);
	if (o->ops->mkwrite)
		vmf__object_forget_dirt(o, first, vmf__min(first + n, o->room));
	err = vmf__object_hide(o, first, n);
	r.gone = !err;
	vmf__revoke_end(o, &r);
	return err;
}

enum vmf_state vmf_page_state(struct vmf_object *o, vmf_pgoff at)
{
	struct vmf__page *page = o && at < o->room ? vmf__page_at(o, at) : NULL;

	return page ? vmf__state(page) : VMF_ABSENT;
}
