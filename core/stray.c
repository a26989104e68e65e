/* SPDX-License-Identifier: MIT
 *
 * Strays: what attach() prepared for an area that did not come about, and detach() would not take back then.
 *
 * No area may have the addresses meanwhile, or it would show what was entered for another; the object and what is known
 * of raw pfns stay for as long as they may be shown.  Each vmf_map() tries to be rid of them, and so does who empties
 * the space.  The room to note one is there before it is needed.
 */
#include "core.h"

static struct vmf_port *port_of(const struct vmf_space *space) { return space->port; }

bool vmf__stray_room(struct vmf_space *space)
{
	if (!space->stray_spare)
		space->stray_spare = vmf__alloc(port_of(space), sizeof(*space->stray_spare));
	return space->stray_spare;
}

void vmf__stray_room_free(struct vmf_space *space)
{
	vmf__free(port_of(space), space->stray_spare, sizeof(*space->stray_spare));
	space->stray_spare = NULL;
}

static int stray_detach(struct vmf_space *space, const struct vmf__stray *s)
{
	struct vmf_area bare = { .space = space, .object = s->object, .window = s->window };

	return vmf__area_detach(&bare, s->va, s->pages);
}

/* With nothing locked: the last reference may be here. */
static void stray_free(struct vmf_space *space, struct vmf__stray *s)
{
	if (s->area)
		vmf__alias_area(s->area, false);
	vmf_area_put(s->area);
	vmf_object_put(s->object);
	vmf__free(port_of(space), s, sizeof(*s));
}

void vmf__stray_undo(struct vmf_space *space, const struct vmf__stray *like)
{
	struct vmf__stray *s = space->stray_spare;

	if (!stray_detach(space, like)) {
		if (like->area)
			vmf__alias_area(like->area, false);
		vmf_area_put(like->area);
		return;
	}
	space->stray_spare = NULL;
	*s = *like;
	vmf_object_get(s->object);
	s->next = space->strays;
	vmf__store(&space->strays, s);
}

/* The first that can be had, taken out.  *err: of the last that cannot. => lock */
static struct vmf__stray *stray_take(struct vmf_space *space, int *err)
{
	struct vmf__stray *s, *before = NULL;

	*err = 0;
	for (s = space->strays; s; before = s, s = s->next) {
		int e = stray_detach(space, s);

		if (!e)
			break;
		*err = e;
	}
	if (s && before)
		before->next = s->next;
	else if (s)
		vmf__store(&space->strays, s->next);
	return s;
}

int vmf__strays_end(struct vmf_space *space)
{
	struct vmf__stray *s = NULL;
	uint32_t tries = 0;
	int err = 0;

	if (!vmf__load(&space->strays))
		return 0;
	do {
		vmf__lock_take(port_of(space), &space->lock);
		s = stray_take(space, &err);
		vmf__lock_drop(port_of(space), &space->lock);
		if (s)
			stray_free(space, s);
	} while (s || vmf__layout_again(space, err, &tries));
	return err;
}

bool vmf__stray_at(const struct vmf_space *space, vmf_va va, uint64_t pages, vmf_va *end)
{
	const struct vmf__stray *s = space->strays;
	vmf_va last = va + vmf__bytes(port_of(space), pages) - 1;

	while (s && (s->va > last || va > s->va + vmf__bytes(port_of(space), s->pages) - 1))
		s = s->next;
	if (s)
		*end = s->va + vmf__bytes(port_of(space), s->pages);
	return s;
}
