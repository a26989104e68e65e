/* SPDX-License-Identifier: MIT
 *
 * Fills: runs of pages on their way from a backing (or, with io.write, to it).
 *
 * A cached fill owns the pages that it claimed: they are FILLING and pinned.  When it lands they become PRESENT or
 * FAILED and stay pinned until its last reference goes: the tickets of all who asked hold one each, and that is also
 * how exactly they learn of a failure.  A fill that is not cached owns frames of its own, which go with it.
 *
 * A bounced fill is cached, and reads into frames of its own nevertheless: where a platform makes the pages of a
 * segment when they are first touched, copying into them as they are entered is cheaper than touching them first.  If
 * the read is done when start() returns, the fault that asked does that; else vmf_io_done() copies.
 */
#include "core.h"

static struct vmf__fill *fill_init(struct vmf__fill *fill, struct vmf_object *o, vmf_pgoff first, uint32_t n,
				   bool write)
{
	memset(fill, 0, offsetof(struct vmf__fill, frame));
	vmf_object_get(o);
	fill->object = o;
	fill->refs = 1;
	fill->io = (struct vmf_io){ .size = sizeof(fill->io), .frames = fill->frame, .port = o->port, .write = write };
	vmf__fill_shrink(fill, first, n);
	return fill;
}

struct vmf__fill *vmf__fill_new(struct vmf_object *o, vmf_pgoff first, uint32_t n, bool write)
{
	struct vmf__fill *fill = vmf__reserve_take(o->port, &o->port->fills);

	return fill ? fill_init(fill, o, first, n, write) : NULL;
}

struct vmf__fill *vmf__fill_take(struct vmf_fault *f, vmf_pgoff first, uint32_t n)
{
	struct vmf__fill *fill = f->slot->spare;

	if (!fill)
		return vmf__fill_new(f->object, first, n, false);
	f->slot->spare = NULL;
	return fill_init(fill, f->object, first, n, false);
}

void vmf__fill_shrink(struct vmf__fill *fill, vmf_pgoff first, uint32_t n)
{
	struct vmf_object *o = fill->object;
	uint64_t at = first << o->port->shift, all = (uint64_t)n << o->port->shift;

	fill->io.first = first;
	fill->io.n = n;
	fill->io.bytes = at < o->bytes ? vmf__min(all, o->bytes - at) : 0;
}

void vmf__fill_get(struct vmf__fill *fill) { vmf__add(&fill->refs, 1); }

void vmf__fill_link(struct vmf__fill *fill)
{
	struct vmf_object *o = fill->object;

	fill->next = o->fills;
	fill->link = &o->fills;
	if (fill->next)
		fill->next->link = &fill->next;
	o->fills = fill;
}

/* => object lock */
static void fill_unlink(struct vmf__fill *fill)
{
	if (!fill->link)
		return;
	*fill->link = fill->next;
	if (fill->next)
		fill->next->link = fill->link;
	fill->link = NULL;
}

void vmf__fill_stale(struct vmf_object *o, vmf_pgoff first, uint64_t n)
{
	for (struct vmf__fill *fill = o->fills; fill; fill = fill->next)
		if (fill->io.first < first + n && first < fill->io.first + fill->io.n)
			fill->stale = true;
}

static struct vmf__page *fill_page(const struct vmf__fill *fill, uint32_t i)
{
	return fill->page ? fill->page : vmf__page_at(fill->object, fill->io.first + i);
}

/* => object lock */
static void fill_unpin(struct vmf__fill *fill)
{
	for (uint32_t i = 0; i < fill->io.n; i++) {
		struct vmf__page *page = fill_page(fill, i);

		vmf__store(&page->word, vmf__peek(&page->word) - VMF__P_PIN);
	}
	fill->pinned = false;
}

/* What it holds but its object.  => no reference is left */
static void fill_strip(struct vmf__fill *fill)
{
	if (fill->pinned) {
		vmf__lock_take(fill->io.port, &fill->object->lock);
		fill_unpin(fill);
		vmf__lock_drop(fill->io.port, &fill->object->lock);
	}
	if (!fill->cached)
		vmf__phys_run_put(fill->io.port, fill->io.n, fill->frame);
}

/* The last reference: the object, whose reference the caller drops, or NULL. */
static struct vmf_object *fill_release(struct vmf__fill *fill)
{
	struct vmf_object *o = fill->object;
	struct vmf_port *port = o->port;

	if (vmf__sub(&fill->refs, 1) != 1)
		return NULL;
	fill_strip(fill);
	vmf__reserve_give(port, &port->fills, fill);
	return o;
}

void vmf__fill_put(struct vmf__fill *fill)
{
	struct vmf_object *o = fill_release(fill);

	if (o)
		vmf__object_put_late(o);
}

/* Who has the only reference need not fear that somebody gets another: those come from tickets, and from pages that are
 * FILLING, which they are not any more when it has landed.  What is scarce goes back to all. */
void vmf__fill_give(struct vmf_fault *f, struct vmf__fill *fill)
{
	struct vmf_object *o = fill->object;

	if (f->slot->spare || vmf__peek(&f->port->fills.free) < 2 || vmf__load(&fill->refs) != 1) {
		vmf__fill_put(fill);
		return;
	}
	fill_strip(fill);
	f->slot->spare = fill;
	vmf__object_put_late(o);
}

/* Whoever waits says so first, and looks then; whoever lands it says so first, and looks for waiters then. */
bool vmf__fill_landed(struct vmf__fill *fill, uint32_t *seq)
{
	if (vmf__load(&fill->state) == VMF__LANDED)
		return true;
	vmf__set(&fill->awaited, 1u);
	vmf__fence();
	*seq = vmf_wait_seq(&fill->landed);
	return vmf__load(&fill->state) == VMF__LANDED;
}

bool vmf__fill_start(struct vmf__fill *fill)
{
	struct vmf_object *o = fill->object;
	uint32_t starting = VMF__STARTING;
	bool prompt;
	int err;

	vmf__fill_get(fill);
	err = o->backing->start(o->backing_self, &fill->io);
	if (err)
		vmf_io_done(&fill->io, 0, err);
	if (fill->bounced)
		prompt = !vmf__cas(&fill->starter, &starting, VMF__AWAY);
	else
		prompt = vmf__load(&fill->state) == VMF__LANDED;
	vmf__set(&o->prompt, prompt);
	return prompt && fill->bounced;
}

void *vmf_io_bytes(const struct vmf_io *io, uint32_t i, uint32_t *adjacent)
{
	uint32_t n = io && i < io->n;

	if (adjacent)
		*adjacent = n;
	if (!n)
		return NULL;
	while (i + n < io->n && io->frames[i + n]->pfn.n == io->frames[i]->pfn.n + n)
		n++;
	if (adjacent)
		*adjacent = n;
	return vmf_frame_bytes(io->port, io->frames[i]);
}

/* What lies past the end of the backing reads zero. */
static void fill_pad(struct vmf__fill *fill)
{
	size_t psize = vmf__psize(fill->io.port);

	for (uint32_t i = (uint32_t)(fill->io.bytes / psize); i < fill->io.n; i++) {
		uint8_t *bytes = vmf_frame_bytes(fill->io.port, fill->frame[i]);
		uint64_t at = (uint64_t)i * psize, good = fill->io.bytes > at ? fill->io.bytes - at : 0;

		memset(bytes + good, 0, psize - (size_t)good);
	}
}

/* => object lock */
static void page_land(struct vmf__fill *fill, uint32_t i)
{
	struct vmf_object *o = fill->object;
	struct vmf__page *page = fill_page(fill, i);

	if (i < fill->good && !fill->stale) {
		page->of = fill->bounced ? vmf__page_segment(o, fill->io.first + i) : fill->frame[i];
		vmf__set_state(page, VMF_PRESENT);
		return;
	}
	page->of = NULL;
	vmf__set_state(page, i < fill->good ? VMF_ABSENT : VMF_FAILED);
	if (!o->segmented)
		vmf_frame_put(o->port, fill->frame[i]);
}

void vmf__fill_copy(struct vmf__fill *fill, uint32_t i, uint32_t end)
{
	struct vmf_object *o = fill->object;

	if (i < end && !vmf__segment_made(o, fill->io.first + i, end - i)) {
		fill->lacks = true;
		fill->good = i;
		return;
	}
	for (; i < end; i++)
		memcpy(vmf_frame_bytes(o->port, vmf__page_segment(o, fill->io.first + i)),
		       vmf_frame_bytes(o->port, fill->frame[i]), vmf__psize(o->port));
}

/* true: whoever started it lands it. */
static bool fill_back(struct vmf__fill *fill)
{
	uint32_t starting = VMF__STARTING;

	if (vmf__cas(&fill->starter, &starting, VMF__BACK))
		return true;
	vmf__fill_copy(fill, 0, fill->good);
	return false;
}

void vmf_io_done(struct vmf_io *io, uint32_t pages, int err)
{
	struct vmf__fill *fill = (struct vmf__fill *)((uint8_t *)io - offsetof(struct vmf__fill, io));

	if (!io)
		return;
	fill->good = (uint32_t)vmf__min(pages, io->n);
	fill->err = err;
	if (!io->write && fill->good == io->n)
		fill_pad(fill);
	if (!fill->bounced || !fill_back(fill))
		vmf__fill_land(fill, false);
}

void vmf__fill_land(struct vmf__fill *fill, bool done)
{
	struct vmf_object *o = fill->object;

	if (fill->cached) {
		vmf__lock_take(o->port, &o->lock);
		for (uint32_t i = 0; !fill->io.write && i < fill->io.n; i++)
			page_land(fill, i);
		fill_unlink(fill);
		if (done && vmf__load(&fill->refs) == 2) /* the io's and the ticket's, and nobody can come now */
			fill_unpin(fill);
		vmf__lock_drop(o->port, &o->lock);
	}
	if (fill->bounced)
		vmf__phys_run_put(o->port, fill->io.n, fill->frame);
	vmf__store(&fill->state, VMF__LANDED);
	vmf__fence();
	if (vmf__load(&fill->awaited))
		vmf_wake(o->port, &fill->landed);
	/* In a fault the area holds the object too, so this is its last reference only on a thread of the backing's own. */
	vmf_object_put(fill_release(fill));
}
