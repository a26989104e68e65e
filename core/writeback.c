/* SPDX-License-Identifier: MIT
 *
 * From pages back to the backing, and out of memory: sync, resize, reclaim.
 *
 * A page that is written back is WRITING: its entries have lost their write permission first, so whoever writes meanwhile
 * faults, marks it REDIRTY, and it is DIRTY again afterwards.
 */
#include "core.h"

/* Claims the next run of dirty pages at or after *at.  => object lock.  NULL and *at == end: there is none */
static struct vmf__fill *dirty_run(struct vmf_object *o, vmf_pgoff *at, vmf_pgoff end)
{
	struct vmf__fill *fill;
	uint32_t n = 0;

	for (*at = vmf__page_next(o, *at, end); *at < end; *at = vmf__page_next(o, *at + 1, end))
		if (vmf__state(vmf__page_at(o, *at)) == VMF_DIRTY)
			break;
	if (*at >= end)
		return NULL;
	fill = vmf__fill_new(o, *at, 1, true);
	if (!fill)
		return NULL;
	fill->cached = true;
	for (; *at < end && n < VMF_RUN_MAX; (*at)++, n++) {
		struct vmf__page *page = vmf__page_at(o, *at);

		if (!page || vmf__state(page) != VMF_DIRTY)
			break;
		fill->frame[n] = page->of;
		vmf__store(&page->word, (vmf__peek(&page->word) & ~(uint32_t)(VMF__P_STATE | VMF__P_REDIRTY)) + VMF__P_PIN +
						VMF_WRITING);
	}
	vmf__fill_shrink(fill, fill->io.first, n);
	return fill;
}

static void fill_wait(struct vmf__fill *fill)
{
	struct vmf_port *port = fill->io.port;

	for (;;) {
		uint32_t seq = vmf_wait_seq(&fill->landed);

		if (vmf__load(&fill->state) == VMF__LANDED)
			return;
		(void)port->host->wait(port->self, &fill->landed.seq, seq, 0, false);
	}
}

static void pages_written(struct vmf__fill *fill)
{
	struct vmf_object *o = fill->object;

	vmf_lock_take(o->port, &o->lock);
	for (uint32_t i = 0; i < fill->io.n; i++) {
		struct vmf__page *page = vmf__page_at(o, fill->io.first + i);
		bool again = i >= fill->good || vmf__peek(&page->word) & VMF__P_REDIRTY;

		if (vmf__state(page) != VMF_WRITING)
			continue;
		vmf__store(&page->word, vmf__peek(&page->word) & ~(uint32_t)VMF__P_REDIRTY);
		vmf__set_state(page, again ? VMF_DIRTY : VMF_PRESENT);
	}
	vmf_lock_drop(o->port, &o->lock);
	vmf_wake(o->port, &o->changed);
}

/* One run: 0, or the backing's (positive) or our (negative) error number. */
static int write_run(struct vmf__fill *fill)
{
	struct vmf_object *o = fill->object;
	int err = vmf__object_clean(o, fill->io.first, fill->io.n);

	if (err) {
		fill->good = 0;
		pages_written(fill);
		return err;
	}
	vmf__fill_start(fill);
	fill_wait(fill);
	pages_written(fill);
	return fill->err;
}

/* A driver that is told of first writes: from here on it is told again. */
static int driver_sync(struct vmf_object *o, vmf_pgoff first, vmf_pgoff end)
{
	vmf_lock_take(o->port, &o->lock);
	for (vmf_pgoff at = vmf__page_next(o, first, end); at < end; at = vmf__page_next(o, at + 1, end))
		if (vmf__state(vmf__page_at(o, at)) == VMF_DIRTY)
			vmf__set_state(vmf__page_at(o, at), VMF_ABSENT);
	vmf_lock_drop(o->port, &o->lock);
	return vmf__object_clean(o, first, end - first);
}

static int backed_sync(struct vmf_object *o, vmf_pgoff at, vmf_pgoff end, int *first_err)
{
	int failed = 0;

	while (at < end) {
		struct vmf__fill *fill;
		int err;

		vmf_lock_take(o->port, &o->lock);
		fill = dirty_run(o, &at, end);
		vmf_lock_drop(o->port, &o->lock);
		if (!fill && at < end) {
			if (vmf__supply(o->port))
				return -VMF_ENOMEM;
			continue;
		}
		if (!fill)
			break;
		err = write_run(fill);
		vmf__fill_put(fill);
		if (err > 0 && !*first_err)
			*first_err = err;
		failed = err && !failed ? (err > 0 ? -VMF_EIO : err) : failed;
	}
	return failed;
}

int vmf_sync(struct vmf_object *o, vmf_pgoff first, uint64_t n, int *err)
{
	int own, first_err = 0;
	vmf_pgoff end;

	if (!o || first + n < first)
		return -VMF_EINVAL;
	end = vmf__min(first + n, o->room);
	if (!o->backed)
		return o->ops->mkwrite && first < end ? driver_sync(o, first, end) : 0;
	own = backed_sync(o, first, end, &first_err);
	if (!own && o->backing->sync) {
		first_err = o->backing->sync(o->backing_self);
		own = first_err ? -VMF_EIO : 0;
	}
	if (err)
		*err = first_err;
	return own;
}

/* Takes a page out of the object.  => object lock; the frame, if it has to be put after what shows it is gone */
static struct vmf_frame *page_drop(struct vmf_object *o, vmf_pgoff at, struct vmf__page *page)
{
	struct vmf_frame *frame = page->of;

	vmf__set_state(page, VMF_ABSENT);
	vmf__store(&page->of, NULL);
	(void)at;
	return o->segmented ? NULL : frame;
}

/* Drops the pages of [at, end) that `which` accepts, in batches: state first, then what shows them, then the frames. */
static uint64_t pages_drop(struct vmf_object *o, vmf_pgoff first, vmf_pgoff end, bool all)
{
	struct vmf_port *port = o->port;
	uint64_t dropped = 0;
	vmf_pgoff at = vmf__page_next(o, first, end);

	while (at < end) {
		struct vmf_frame *frames[64];
		vmf_pgoff lo = at, hi = at;
		uint32_t n = 0, frees = 0;

		vmf_lock_take(port, &o->lock);
		for (; at < end && n < 64 && at - lo < VMF_RUN_MAX; at = vmf__page_next(o, at + 1, end)) {
			struct vmf__page *page = vmf__page_at(o, at);
			enum vmf_state s = vmf__state(page);
			struct vmf_frame *frame;

			if (!(s == VMF_PRESENT || (all && s == VMF_DIRTY)) || (!all && vmf__peek(&page->word) >= VMF__P_PIN))
				continue;
			frame = page_drop(o, at, page);
			if (frame)
				frames[frees++] = frame;
			hi = at + 1;
			n++;
		}
		vmf_lock_drop(port, &o->lock);
		if (n)
			(void)vmf__object_hide(o, lo, hi - lo);
		for (uint32_t i = 0; i < frees; i++)
			vmf_frame_put(port, frames[i]);
		dropped += n;
	}
	return dropped;
}

uint64_t vmf_reclaim(struct vmf_object *o, vmf_pgoff first, uint64_t n)
{
	if (!o || !o->backed || o->stream || first + n < first)
		return 0;
	return pages_drop(o, first, vmf__min(first + n, o->room), false);
}

/* The page that the end of the backing lies in reads zero after it. */
static void tail_zero(struct vmf_object *o, uint64_t bytes)
{
	size_t in = (size_t)(bytes & (vmf__psize(o->port) - 1));
	struct vmf__page *page = vmf__page_at(o, bytes >> o->port->shift);
	enum vmf_state s = page ? vmf__state(page) : VMF_ABSENT;

	if (in && (s == VMF_PRESENT || s == VMF_DIRTY || s == VMF_WRITING))
		memset((uint8_t *)vmf_frame_bytes(o->port, page->of) + in, 0, vmf__psize(o->port) - in);
}

int vmf_object_resize(struct vmf_object *o)
{
	uint64_t bytes, pages, old;
	int err;

	if (!o || !o->backed)
		return -VMF_EINVAL;
	err = o->backing->length(o->backing_self, &bytes);
	if (err)
		return err;
	pages = (bytes >> o->port->shift) + !!(bytes & (vmf__psize(o->port) - 1));
	pages = vmf__min(pages, o->room);
	vmf_lock_take(o->port, &o->lock);
	old = o->pages;
	vmf__store(&o->pages, (uintptr_t)pages);
	if (bytes < o->bytes) {
		vmf__add(&o->epoch, 1);
		vmf__fill_stale(o, bytes >> o->port->shift, UINT64_MAX >> 1);
		tail_zero(o, bytes);
	}
	o->bytes = bytes;
	vmf_lock_drop(o->port, &o->lock);
	if (pages >= old)
		return 0;
	err = vmf__object_hide(o, pages, old - pages);
	(void)pages_drop(o, pages, old, true);
	if (o->segmented && o->port->host->segment_punch)
		o->port->host->segment_punch(o->port->self, (vmf_pfn){ o->segment.n + pages }, old - pages);
	return err;
}
