/* SPDX-License-Identifier: MIT
 *
 * The copy of a space: fork.
 *
 * The space that is made is nobody else's until it is complete, so its own lock is not needed.
 */
#include "core.h"

/* Bytes that were given away are taken, and given away once more. */
static int copy_page(struct vmf_area *to, struct vmf_area *from, vmf_va va, struct vmf_frame *frame)
{
	struct vmf_pmap *pmap = from->space->pmap, *child = to->space->pmap;
	const struct vmf_pmap_ops *ops = &to->space->ops;
	struct vmf_run run = { .va = va, .pfn = frame->pfn, .n = 1, .prot = to->prot, .attr = to->attr };
	int err = from->space->ops.take(pmap, va, vmf_frame_bytes(from->space->port, frame));
	long got;

	if (err)
		return err == -VMF_EFAULT ? 0 : err;
	got = ops->enter(child, &run);
	if (got == -VMF_ENOMEM && ops->supply && !ops->supply(child))
		got = ops->enter(child, &run);
	return got < 0 ? (int)got : 0;
}

static int copy_bytes(struct vmf_area *to, struct vmf_area *from)
{
	struct vmf_port *port = from->space->port;
	struct vmf_frame *frame;
	int err = from->window.order || !from->space->ops.take ? -VMF_ENOSYS : 0;

	if (!err)
		err = vmf_frame_alloc(port, 0, from->node, false, &frame);
	if (err)
		return err;
	for (uint64_t i = 0; i < from->pages && !err; i++)
		err = copy_page(to, from, from->va + vmf__bytes(port, i), frame);
	vmf_frame_put(port, frame);
	return err;
}

static int copy_area(struct vmf_space *space, struct vmf_area *from)
{
	struct vmf_area *to;
	int err;

	if (from->flags & VMF_NOFORK)
		return 0;
	err = vmf__map_like(space, from, &to);
	if (!err && (to->window.store != from->window.store || !to->overlay != !from->overlay))
		return -VMF_ENOSYS;
	if (!err && from->overlay)
		return vmf__overlay_copy(to, from);
	if (!err && from->window.store == VMF_BY_COPY && !from->window.cow)
		return copy_bytes(to, from);
	return err;
}

static struct vmf_area *area_after(const struct vmf_space *space, const struct vmf_area *a)
{
	if (a && vmf__last(a) == UINTPTR_MAX)
		return NULL;
	return vmf__table_after(space->table, a ? vmf__end(a) : 0);
}

/* => the lock of `from`; `to` is ours alone */
static int copy_areas(struct vmf_space *to, struct vmf_space *from)
{
	int err = 0;

	for (struct vmf_area *a = area_after(from, NULL); a && !err; a = area_after(from, a))
		err = copy_area(to, a);
	return err;
}

static int copy_locked(struct vmf_space *to, struct vmf_space *from)
{
	int err;

	vmf__lock_take(from->port, &from->lock);
	err = area_after(to, NULL) ? -VMF_EINVAL : copy_areas(to, from);
	vmf__lock_drop(from->port, &from->lock);
	return err;
}

int vmf_space_copy(struct vmf_space *to, struct vmf_space *from)
{
	uint32_t tries = 0;
	int err, left;

	if (!to || !from || to == from || to->port != from->port || area_after(to, NULL))
		return -VMF_EINVAL;
	if (vmf__slot_mine(from, 0, UINTPTR_MAX))
		return -VMF_EDEADLK;
	do {
		err = copy_locked(to, from);
		for (struct vmf_area *a = area_after(to, NULL); a; a = area_after(to, a))
			vmf__area_opened(a);
		left = err ? vmf__space_empty(to) : 0;
	} while (!left && vmf__layout_again(to, err, &tries));
	return err;
}
