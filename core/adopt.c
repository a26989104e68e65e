/* SPDX-License-Identifier: MIT
 *
 * Adopted pages: descriptors for pages of a DEVICE range, so that they are counted as frames are.
 *
 * Descriptors are made for blocks of 16 pages, and stay as long as the port, since a driver may hand over one that it
 * should have let go of.  An adopted page has as many references as there are: none means that it can be disowned.
 */
#include "core.h"

static bool adoption_overlaps(const struct vmf__adoption *e, vmf_pfn first, uint64_t pages)
{
	return e->first.n < first.n + pages && first.n < e->first.n + e->pages;
}

static struct vmf__adoption **adoption_find(struct vmf__range *r, vmf_pfn first, uint64_t pages)
{
	struct vmf__adoption **link = &r->adopted;

	while (*link && !adoption_overlaps(*link, first, pages))
		link = &(*link)->next;
	return link;
}

static struct vmf__range *device_range(struct vmf_port *port, vmf_pfn first, uint64_t pages)
{
	struct vmf__range *r = port ? vmf__phys_range(port, first) : NULL;

	if (!r || r->kind != VMF_PHYS_DEVICE || !pages || pages > r->first.n + r->pages - first.n)
		return NULL;
	return r;
}

static struct vmf_frame *adoptee_at(const struct vmf__range *r, vmf_pfn pfn)
{
	const struct vmf__block *b = vmf__block_at(r, pfn);
	struct vmf__adoptees *frames = b ? vmf__load(&b->frames) : NULL;

	return frames ? &frames->frame[pfn.n % VMF__BLOCK] : NULL;
}

/* --------------------------------------------------------------------------------------- descriptors */

/* Of the block that holds pfn.  => alias_lock; -VMF_ENOMEM: a reserve is empty; takes *fresh if it has none. */
static int adoptees_of(struct vmf_port *port, struct vmf__range *r, vmf_pfn pfn, struct vmf__adoptees **fresh)
{
	struct vmf__block *b = vmf__block_make(port, r, pfn);

	if (!b)
		return -VMF_ENOMEM;
	if (b->frames)
		return 0;
	for (unsigned i = 0; i < VMF__BLOCK; i++)
		(*fresh)->frame[i].pfn.n = b->first.n + i;
	(*fresh)->next = r->adoptees;
	r->adoptees = *fresh;
	vmf__store(&b->frames, *fresh);
	*fresh = NULL;
	return 0;
}

static int adoptees_make(struct vmf_port *port, struct vmf__range *r, vmf_pfn first, uint64_t pages)
{
	struct vmf__adoptees *fresh = NULL;
	uint64_t end = first.n + pages;
	int err = 0;

	for (vmf_pfn at = first; at.n < end && !err; at.n = (at.n | (VMF__BLOCK - 1)) + 1) {
		err = vmf__supply(port);
		if (!fresh)
			fresh = vmf__alloc(port, sizeof(*fresh));
		if (!err && !fresh)
			err = -VMF_ENOMEM;
		if (err)
			break;
		vmf__lock_take(port, &port->alias_lock);
		err = adoptees_of(port, r, at, &fresh);
		vmf__lock_drop(port, &port->alias_lock);
		if (at.n > UINT64_MAX - VMF__BLOCK)
			break;
	}
	vmf__free(port, fresh, sizeof(*fresh));
	return err;
}

/* ------------------------------------------------------------------------------------------ adoptions */

/* => alias_lock */
static void adoption_mark(struct vmf__range *r, const struct vmf__adoption *e, enum vmf__fkind kind)
{
	for (uint64_t i = 0; i < e->pages; i++) {
		vmf_pfn pfn = { e->first.n + i };
		struct vmf__block *b = vmf__block_at(r, pfn);
		uint16_t page = (uint16_t)(1u << pfn.n % VMF__BLOCK);

		b->adopted = kind == VMF__F_ADOPTED ? b->adopted | page : b->adopted & (uint16_t)~page;
		vmf__store(&b->frames->frame[pfn.n % VMF__BLOCK].kind, (uint8_t)kind);
	}
}

static int adoption_add(struct vmf_port *port, struct vmf__range *r, struct vmf__adoption *e)
{
	int err = 0;

	vmf__lock_take(port, &port->alias_lock);
	if (*adoption_find(r, e->first, e->pages)) {
		err = -VMF_EEXIST;
	} else if (vmf__alias_shown(port, r, e->first, e->pages)) {
		err = -VMF_EBUSY;
	} else {
		adoption_mark(r, e, VMF__F_ADOPTED);
		e->next = r->adopted;
		r->adopted = e;
	}
	vmf__lock_drop(port, &port->alias_lock);
	return err;
}

int vmf_phys_adopt(struct vmf_port *port, vmf_pfn first, uint64_t pages)
{
	struct vmf__range *r = device_range(port, first, pages);
	struct vmf__adoption *e = r ? vmf__alloc(port, sizeof(*e)) : NULL;
	int err;

	if (!e)
		return r ? -VMF_ENOMEM : -VMF_EINVAL;
	e->first = first;
	e->pages = pages;
	err = adoptees_make(port, r, first, pages);
	if (!err)
		err = adoption_add(port, r, e);
	if (err)
		vmf__free(port, e, sizeof(*e));
	return err;
}

static bool adoption_busy(const struct vmf__range *r, const struct vmf__adoption *e)
{
	for (uint64_t i = 0; i < e->pages; i++)
		if (vmf__load(&adoptee_at(r, (vmf_pfn){ e->first.n + i })->refs))
			return true;
	return false;
}

int vmf_phys_disown(struct vmf_port *port, vmf_pfn first)
{
	struct vmf__range *r = device_range(port, first, 1);
	struct vmf__adoption **link, *e;
	int err = -VMF_EINVAL;

	if (!r)
		return err;
	vmf__lock_take(port, &port->alias_lock);
	link = adoption_find(r, first, 1);
	e = *link;
	if (e && e->first.n == first.n)
		err = adoption_busy(r, e) ? -VMF_EBUSY : 0;
	if (!err) {
		adoption_mark(r, e, VMF__F_FREE);
		*link = e->next;
	}
	vmf__lock_drop(port, &port->alias_lock);
	if (!err)
		vmf__free(port, e, sizeof(*e));
	return err;
}

struct vmf_frame *vmf_phys_frame(struct vmf_port *port, vmf_pfn pfn)
{
	struct vmf__range *r = device_range(port, pfn, 1);
	struct vmf_frame *frame;

	if (!r)
		return NULL;
	vmf__lock_take(port, &port->alias_lock);
	frame = adoptee_at(r, pfn);
	if (frame && frame->kind != VMF__F_ADOPTED)
		frame = NULL;
	if (frame)
		vmf_frame_get(frame);
	vmf__lock_drop(port, &port->alias_lock);
	return frame;
}

struct vmf_frame *vmf__adopted_frame(const struct vmf__range *r, vmf_pfn pfn)
{
	struct vmf_frame *frame = adoptee_at(r, pfn);

	return frame && vmf__load(&frame->kind) == VMF__F_ADOPTED && vmf__peek(&frame->refs) ? frame : NULL;
}

bool vmf__adopted_busy(const struct vmf__range *r)
{
	for (const struct vmf__adoption *e = r->adopted; e; e = e->next)
		if (adoption_busy(r, e))
			return true;
	return false;
}

void vmf__adopted_free(struct vmf_port *port, struct vmf__range *r)
{
	for (struct vmf__adoption *e = r->adopted, *next; e; e = next) {
		next = e->next;
		vmf__free(port, e, sizeof(*e));
	}
	for (struct vmf__adoptees *f = r->adoptees, *next; f; f = next) {
		next = f->next;
		vmf__free(port, f, sizeof(*f));
	}
}
