/* SPDX-License-Identifier: MIT
 *
 * From pages back to the backing, and out of memory: sync, resize, reclaim.
 *
 * A page that is written back is WRITING: its entries have lost their write permission first, so whoever writes
 * meanwhile faults, marks it REDIRTY, and it is DIRTY again afterwards.
 */
#include "core.h"

/* Claims the next run of dirty pages at or after *at.  => object lock.  NULL and *at == end: there is none; NULL
 * and *busy: somebody else is writing page *at */
static struct vmf__fill *dirty_run(struct vmf_object *o, vmf_pgoff *at, vmf_pgoff end, bool *busy)
{
	struct vmf__fill *fill;
	uint32_t n = 0;

	*busy = false;
	for (*at = vmf__page_next(o, *at, end); *at < end; *at = vmf__page_next(o, *at + 1, end)) {
		enum vmf_state s = vmf__state(vmf__page_at(o, *at));

		*busy = s == VMF_WRITING;
		if (*busy || s == VMF_DIRTY)
			break;
	}
	if (*at >= end || *busy)
		return NULL;
	fill = vmf__fill_new(o, *at, 1, true);
	if (!fill)
		return NULL;
	fill->cached = fill->pinned = true;
	for (; *at < end && n < VMF_CFG_IO_RUN; (*at)++, n++) {
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

/* Which pages go: clean ones that nobody needs, all clean ones, dirty ones too. */
enum drop { DROP_UNUSED, DROP_CLEAN, DROP_ALL };
static int pages_drop(struct vmf_object *, vmf_pgoff first, vmf_pgoff end, enum drop what, uint64_t *dropped);

static void fill_wait(struct vmf__fill *fill)
{
	struct vmf_port *port = fill->io.port;

	for (;;) {
		uint32_t seq;

		if (vmf__fill_landed(fill, &seq))
			return;
		(void)port->host->wait(port->self, &fill->landed.seq, seq, 0, false);
	}
}

static void pages_written(struct vmf__fill *fill)
{
	struct vmf_object *o = fill->object;
	uint64_t dropped = 0;
	bool gone = false;

	vmf__lock_take(o->port, &o->lock);
	for (uint32_t i = 0; i < fill->io.n; i++) {
		struct vmf__page *page = vmf__page_at(o, fill->io.first + i);
		bool again = i >= fill->good || vmf__peek(&page->word) & VMF__P_REDIRTY;

		if (vmf__state(page) != VMF_WRITING)
			continue;
		vmf__store(&page->word, vmf__peek(&page->word) & ~(uint32_t)VMF__P_REDIRTY);
		vmf__set_state(page, again ? VMF_DIRTY : VMF_PRESENT);
		gone |= fill->io.first + i >= vmf__object_pages(o);
	}
	vmf__lock_drop(o->port, &o->lock);
	vmf_wake(o->port, &o->changed);
	if (gone) /* truncated meanwhile */
		(void)pages_drop(o, vmf__object_pages(o), o->room, DROP_ALL, &dropped);
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
	return fill->err ? fill->err : fill->good < fill->io.n ? -VMF_EIO : 0;
}

/* A driver that is told of first writes: from here on it is told again. */
static int driver_sync(struct vmf_object *o, vmf_pgoff first, vmf_pgoff end)
{
	vmf__object_forget_dirt(o, first, end);
	return vmf__object_clean(o, first, end - first);
}

static int backed_sync(struct vmf_object *o, vmf_pgoff at, vmf_pgoff end, int *first_err)
{
	int failed = 0;

	while (at < end) {
		uint32_t seq = vmf_wait_seq(&o->changed);
		struct vmf__fill *fill;
		bool busy;
		int err;

		vmf__lock_take(o->port, &o->lock);
		fill = dirty_run(o, &at, end, &busy);
		vmf__lock_drop(o->port, &o->lock);
		if (busy) { /* his failure would be ours: wait, and look again */
			(void)o->port->host->wait(o->port->self, &o->changed.seq, seq, 0, false);
			continue;
		}
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
	if (!own && vmf__pages_lost(o, first, end))
		own = -VMF_EIO;
	if (!own && o->backing->sync) {
		first_err = o->backing->sync(o->backing_self);
		own = first_err ? -VMF_EIO : 0;
	}
	if (err)
		*err = first_err;
	return own;
}

/* Pages on their way out: FILLING by nobody, so that no fault reads into what is about to go.  They keep their frames
 * until nothing shows them, because a fault that is entering may have looked before. */
struct leaving {
	vmf_pgoff at[64];
	uint8_t state[64]; /* what they go back to if they cannot be hidden */
	uint32_t n;
};

static bool page_leaves(const struct vmf__page *page, enum drop what)
{
	uint32_t word = vmf__load(&page->word), state = word & VMF__P_STATE;

	if (state == VMF_PRESENT)
		return what != DROP_UNUSED || word < VMF__P_PIN;
	return what == DROP_ALL && (state == VMF_DIRTY || vmf__page_lost(page));
}

/* => object lock */
static void leaving_collect(struct vmf_object *o, struct leaving *l, vmf_pgoff *at, vmf_pgoff end, enum drop what)
{
	for (l->n = 0; *at < end && l->n < 64; *at = vmf__page_next(o, *at + 1, end)) {
		struct vmf__page *page = vmf__page_at(o, *at);
		uint32_t word = vmf__peek(&page->word);

		if (l->n && *at - l->at[0] >= VMF_RUN_MAX)
			break; /* the next round begins here */
		if (!page_leaves(page, what))
			continue;
		l->at[l->n] = *at;
		l->state[l->n++] = word & VMF__P_STATE;
		vmf__store(&page->word, (word & ~(uint32_t)VMF__P_STATE) | VMF_FILLING | VMF__P_LEAVING);
	}
}

/* Nothing shows it any more: its memory can go. */
static void page_free(struct vmf_object *o, struct vmf_frame *frame)
{
	struct vmf_port *port = o->port;

	if (!o->segmented)
		vmf_frame_put(port, frame);
	else if (port->host->segment_punch)
		port->host->segment_punch(port->self, frame->pfn, 1);
}

/* `gone`: they are hidden; else they stay as they were. */
static void leaving_end(struct vmf_object *o, const struct leaving *l, bool gone)
{
	for (uint32_t i = 0; i < l->n && gone; i++)
		page_free(o, vmf__page_at(o, l->at[i])->of);
	vmf__lock_take(o->port, &o->lock);
	for (uint32_t i = 0; i < l->n; i++) {
		struct vmf__page *page = vmf__page_at(o, l->at[i]);
		uint32_t word = vmf__peek(&page->word) & ~(uint32_t)(VMF__P_STATE | VMF__P_LEAVING);

		if (gone)
			vmf__store(&page->of, NULL);
		vmf__store(&page->word, word | (gone ? (uint32_t)VMF_ABSENT : l->state[i]));
	}
	vmf__lock_drop(o->port, &o->lock);
	vmf_wake(o->port, &o->changed);
}

/* Adds to *dropped.  An error: what was not dropped is as it was. */
static int pages_drop(struct vmf_object *o, vmf_pgoff first, vmf_pgoff end, enum drop what, uint64_t *dropped)
{
	vmf_pgoff at = vmf__page_next(o, first, end);
	struct leaving l;
	int err = 0;

	while (at < end && !err) {
		vmf__lock_take(o->port, &o->lock);
		leaving_collect(o, &l, &at, end, what);
		vmf__lock_drop(o->port, &o->lock);
		if (!l.n)
			continue;
		err = vmf__object_hide(o, l.at[0], l.at[l.n - 1] - l.at[0] + 1);
		leaving_end(o, &l, !err);
		*dropped += err ? 0 : l.n;
	}
	return err;
}

uint64_t vmf_reclaim(struct vmf_object *o, vmf_pgoff first, uint64_t n)
{
	uint64_t dropped = 0;
	vmf_pgoff end, stop;

	if (!o || !o->backed || o->stream || first + n < first)
		return 0;
	end = vmf__min(first + n, o->room);
	while ((first = vmf__bolts_skip(o, first, end, &stop)) < end) {
		(void)pages_drop(o, first, stop, DROP_UNUSED, &dropped);
		first = stop;
	}
	return dropped;
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

/* A page that was read when its end lay past the end of the backing knows nothing of what is there now. */
static int tail_forget(struct vmf_object *o, uint64_t bytes)
{
	vmf_pgoff at = bytes >> o->port->shift;
	uint64_t dropped = 0;

	return bytes & (vmf__psize(o->port) - 1) ? pages_drop(o, at, at + 1, DROP_CLEAN, &dropped) : 0;
}

/* => object lock */
static void length_set(struct vmf_object *o, uint64_t bytes, uint64_t pages)
{
	uint64_t from = vmf__min(bytes, o->bytes);

	if (bytes != o->bytes)
		vmf__fill_stale(o, from >> o->port->shift, UINT64_MAX >> 1);
	if (bytes < o->bytes)
		tail_zero(o, bytes);
	vmf__store(&o->pages, (uintptr_t)pages);
	if (bytes != o->bytes) {
		o->bytes = bytes;
		vmf__add(&o->epoch, 1); /* last: who sees it sees the length */
	}
}

static bool page_kept(const struct vmf__page *page)
{
	enum vmf_state s = page ? vmf__state(page) : VMF_ABSENT;

	if (page && (vmf__load(&page->word) & VMF__P_LEAVING || vmf__page_lost(page)))
		return true;
	return s == VMF_PRESENT || s == VMF_DIRTY || s == VMF_WRITING;
}

/* On its way back to the backing, or perhaps out of here: whoever is at it ends that, one way or the other. */
static bool page_away(const struct vmf__page *page)
{
	return page_kept(page) && (vmf__state(page) == VMF_WRITING || vmf__state(page) == VMF_FILLING);
}

static bool pages_any(struct vmf_object *o, vmf_pgoff first, bool (*is)(const struct vmf__page *))
{
	vmf_pgoff at = vmf__page_next(o, first, o->room);

	while (at < o->room && !is(vmf__page_at(o, at)))
		at = vmf__page_next(o, at + 1, o->room);
	return at < o->room;
}

/* What is on its way back was written before the truncation: that has to be over before anybody makes the backing, or
 * the object, longer again. */
static void away_wait(struct vmf_object *o, vmf_pgoff first)
{
	for (;;) {
		uint32_t seq = vmf_wait_seq(&o->changed);

		if (!pages_any(o, first, page_away))
			return;
		(void)o->port->host->wait(o->port->self, &o->changed.seq, seq, 0, false);
	}
}

/* Past the end nothing comes any more; but a page that somebody else is reclaiming stays if he cannot hide it. */
static int drop_past(struct vmf_object *o, vmf_pgoff pages)
{
	uint64_t dropped = 0;
	int err = 0;

	while (!err && pages_any(o, pages, page_kept)) {
		away_wait(o, pages);
		err = pages_drop(o, pages, o->room, DROP_ALL, &dropped);
	}
	return err;
}

/* Up to all of its room: what an earlier call could not hide is still there. */
static int shrink(struct vmf_object *o, uint64_t pages)
{
	int hidden = vmf__object_hide(o, pages, o->room - pages), err;

	away_wait(o, o->bytes >> o->port->shift);
	err = drop_past(o, pages);
	return hidden ? hidden : err;
}

/* What an earlier truncation could not hide, or what it found on its way back, must not come back with a longer length.
 * Nobody can fault there yet. */
static int finish_shrinking(struct vmf_object *o, uint64_t old)
{
	away_wait(o, old);
	return drop_past(o, old);
}

/* Sets the length; from then on nobody enters what he learnt of another one. */
static void resize_to(struct vmf_object *o, uint64_t bytes, uint64_t pages)
{
	uint64_t from = vmf__min(bytes, o->bytes) >> o->port->shift;

	vmf__lock_take(o->port, &o->lock);
	length_set(o, bytes, pages);
	vmf__lock_drop(o->port, &o->lock);
	vmf__slot_shoot(o->port, o, from, UINT64_MAX >> 1);
}

static int grow(struct vmf_object *o, uint64_t bytes, uint64_t pages)
{
	uint64_t old = vmf__object_pages(o), old_bytes = o->bytes;
	int err = finish_shrinking(o, old);

	if (err)
		return err;
	resize_to(o, bytes, pages);
	err = tail_forget(o, old_bytes);
	if (err) /* as long as before, so that the next call tries again */
		resize_to(o, old_bytes, old);
	return err;
}

int vmf_object_resize(struct vmf_object *o)
{
	uint64_t bytes, pages;
	int err;

	if (!o || !o->backed)
		return -VMF_EINVAL;
	err = o->backing->length(o->backing_self, &bytes);
	if (err)
		return err;
	pages = (bytes >> o->port->shift) + !!(bytes & (vmf__psize(o->port) - 1));
	pages = vmf__min(pages, o->room);
	if (bytes > o->bytes)
		return grow(o, bytes, pages);
	if (bytes < o->bytes)
		resize_to(o, bytes, pages);
	return shrink(o, pages);
}
