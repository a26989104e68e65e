/* SPDX-License-Identifier: MIT
 *
 * The generic nopage of objects that have a backing.  Pages that are there are shown without a lock; what is absent is
 * claimed in runs and read; a stream object keeps nothing.
 */
#include "core.h"

#define SHOW_RUN 64u /* frames entered by one call */
#define BOUNCE_MAX 64u /* pages: longer runs fall out of the cache between the two copies */

struct block { vmf_pgoff lo, hi; };

static bool alone(const struct vmf_fault *f) { return f->ticket->flags & VMF__T_ALONE; }

/* What a fault brings: the aligned block around it, or the whole page of a window of huge pages.  Inside the object,
 * and inside the area where nobody else would use the rest. */
static struct block block_of(const struct vmf_fault *f)
{
	const struct vmf_object *o = f->object;
	uint64_t size = vmf__max(o->around, (uint64_t)1 << f->area->window.order);
	struct block b = { f->off & ~(size - 1), (f->off & ~(size - 1)) + size };

	if (f->area->window.order)
		return b;
	if (alone(f))
		return (struct block){ f->off, f->off + 1 };
	b.lo = vmf__max(b.lo, f->area->off);
	b.hi = vmf__min(b.hi, vmf__min(f->area->off + f->area->pages, vmf__object_pages(o)));
	return b;
}

static struct vmf__fill *ticket_fill(const struct vmf_fault *f) { return (struct vmf__fill *)f->ticket->core[0]; }

static void ticket_take(struct vmf_fault *f, struct vmf__fill *fill)
{
	f->ticket->core[0] = (uintptr_t)fill;
}

static void ticket_forget(struct vmf_fault *f)
{
	struct vmf__fill *fill = ticket_fill(f);

	f->ticket->core[0] = 0;
	if (fill)
		vmf__fill_give(f, fill);
}

/* What the fill that this fault asked for has to say.  false: nothing, go on. */
static bool fill_says(struct vmf_fault *f, struct vmf_result *r)
{
	struct vmf__fill *fill = ticket_fill(f);
	uint32_t seq;

	if (!fill)
		return false;
	if (!vmf__fill_landed(fill, &seq)) {
		f->ticket->wait = &fill->landed;
		f->ticket->seq = seq;
		*r = vmf__result(VMF_RETRY, VMF_WHY_IO, 0);
		return true;
	}
	if (f->off - fill->io.first < fill->good || fill->stale)
		return false;
	if (fill->io.n > 1 && !alone(f) && !f->area->window.order) {
		f->ticket->flags |= VMF__T_ALONE;
		ticket_forget(f);
		return false;
	}
	if (fill->lacks) {
		*r = vmf__result(VMF_OOM, VMF_WHY_RESOURCE, 0);
		return true;
	}
	*r = fill->err ? vmf__result(VMF_SIGBUS, VMF_WHY_IOERR, fill->err) :
			 vmf__mistake(f, VMF_WHY_DRIVER, "a backing completed too few pages, and gave no error");
	return true;
}

/* -------------------------------------------------------------------------------- pages that are there */

static bool page_here(const struct vmf__page *page)
{
	enum vmf_state s = page ? vmf__state(page) : VMF_ABSENT;

	return s == VMF_PRESENT || s == VMF_DIRTY || s == VMF_WRITING;
}

static bool page_dirty(const struct vmf__page *page)
{
	uint32_t word = vmf__load(&page->word);

	return (word & VMF__P_STATE) == VMF_DIRTY || ((word & VMF__P_STATE) == VMF_WRITING && word & VMF__P_REDIRTY);
}

/* A write is coming: the page will be newer than the backing.  false: it is not there. */
static bool page_make_dirty(struct vmf_object *o, vmf_pgoff at)
{
	struct vmf__page *page;
	bool here;

	vmf__lock_take(o->port, &o->lock);
	page = vmf__page_at(o, at);
	here = page_here(page);
	if (here && vmf__state(page) == VMF_WRITING)
		vmf__store(&page->word, vmf__peek(&page->word) | VMF__P_REDIRTY);
	else if (here)
		vmf__set_state(page, VMF_DIRTY);
	vmf__lock_drop(o->port, &o->lock);
	return here;
}

static bool tracks(const struct vmf_fault *f)
{
	return vmf__object_tracks(f->object) && f->area->window.store != VMF_BY_COPY &&
	       vmf__peek(&f->area->may) & VMF_W && !f->area->overlay;
}

static unsigned page_prot(const struct vmf_fault *f, const struct vmf__page *page)
{
	return tracks(f) && !page_dirty(page) ? f->area->prot & ~(unsigned)VMF_W : f->area->prot;
}

/* Does page i show frame i of the segment, uncounted? */
static bool by_segment(const struct vmf_fault *f)
{
	return f->object->segmented && f->area->window.store != VMF_BY_ADDRESS;
}

/* Enters from `at` on what is there and may be entered alike: how many pages, and what came of it.  => ENTERING */
static uint32_t show_run(struct vmf_fault *f, vmf_pgoff at, vmf_pgoff hi, struct vmf_result *r)
{
	bool segment = by_segment(f);
	struct vmf_frame *frames[SHOW_RUN];
	unsigned prot = 0;
	uint32_t n = 0;

	for (; at + n < hi && (segment || n < SHOW_RUN); n++) {
		struct vmf__page *page = vmf__page_at(f->object, at + n);

		if (!page_here(page) || (n && page_prot(f, page) != prot))
			break;
		prot = page_prot(f, page);
		if (!segment)
			frames[n] = vmf__load(&page->of);
	}
	if (n && segment)
		*r = vmf__enter_segment(f, at, n, prot);
	else if (n)
		*r = vmf__enter_frames(f, at, frames, n, prot);
	return n;
}

/* All of the block that is there.  => ENTERING; true: *r is what came of the faulting page; false: it has just gone */
static bool show_block(struct vmf_fault *f, struct block b, struct vmf_result *r)
{
	bool shown = false;
	uint32_t n;

	for (vmf_pgoff at = b.lo; at < b.hi; at += n ? n : 1) {
		struct vmf_result one = { 0 };

		n = show_run(f, at, b.hi, &one);
		if (f->off - at >= n)
			continue;
		*r = one;
		shown = true;
	}
	return shown;
}

/* true: *r is the answer.  false: the page is not there. */
static bool cached_show(struct vmf_fault *f, struct vmf_result *r)
{
	struct vmf__fill *fill = ticket_fill(f);
	struct block b = block_of(f);
	struct vmf__page *page;
	bool writes = tracks(f) && (f->access == VMF_W || !f->area->window.protect), shown;

	if (fill) {
		b.lo = vmf__max(vmf__min(b.lo, fill->io.first), f->area->off);
		b.hi = vmf__min(vmf__max(b.hi, fill->io.first + fill->io.n), f->area->off + f->area->pages);
	}
	if (writes) {
		if (!page_make_dirty(f->object, f->off))
			return false;
		b = (struct block){ f->off, f->off + 1 };
	}
	vmf__slot_hold(f->port, f->slot, f->area, b.lo, (uint32_t)(b.hi - b.lo), VMF__ENTERING);
	if (!f->page)
		f->page = vmf__page_at(f->object, f->off);
	page = f->page;
	if (!page_here(page) || f->off >= vmf__object_pages(f->object) || (writes && !page_dirty(page))) {
		vmf__slot_relax(f->slot);
		return false;
	}
	if (b.hi - b.lo == 1) { /* the common case, with the page in hand */
		struct vmf_frame *frame = vmf__load(&page->of);

		if (by_segment(f))
			*r = vmf__enter_segment(f, f->off, 1, page_prot(f, page));
		else
			*r = vmf__enter_frames(f, f->off, &frame, 1, page_prot(f, page));
		vmf__slot_relax(f->slot);
		return true;
	}
	shown = show_block(f, b, r);
	vmf__slot_relax(f->slot);
	return shown;
}

/* --------------------------------------------------------------------------------- pages that are not */

static bool page_wanted(const struct vmf__page *page)
{
	enum vmf_state s = page ? vmf__state(page) : VMF_ABSENT;

	return s == VMF_ABSENT || (s == VMF_FAILED && !vmf__page_lost(page));
}

/* Can it not be read any more?  Its frame broke when it was dirty, or it has no other.  => object lock */
static bool page_poisoned(struct vmf_object *o, const struct vmf__page *page, vmf_pgoff at)
{
	if (!vmf__peek(&o->port->broken) || !page)
		return false;
	return vmf__page_lost(page) || (o->segmented && vmf__frame_broken(vmf__page_segment(o, at)));
}

static bool page_brought(struct vmf_object *o, vmf_pgoff at)
{
	const struct vmf__page *page = vmf__page_at(o, at);

	return page_wanted(page) && !page_poisoned(o, page, at);
}

/* Grows [off, off+1) to what can be claimed of the block.  => object lock; false: no memory for the page itself */
static bool claim_range(struct vmf_fault *f, struct block *b)
{
	struct vmf_object *o = f->object;
	vmf_pgoff lo = f->off, hi = f->off + 1;

	if (!f->page)
		f->page = vmf__page_make(o, f->off);
	if (!f->page)
		return false;
	while (lo > b->lo && page_brought(o, lo - 1) && vmf__page_make(o, lo - 1))
		lo--;
	while (hi < b->hi && hi - lo < VMF_CFG_IO_RUN && page_brought(o, hi) && vmf__page_make(o, hi))
		hi++;
	b->lo = lo;
	b->hi = hi;
	return true;
}

/* Is a read to go into frames of its own first?  Not if it is not done at once; and not where the page would be
 * writable before it is said to be dirty. */
static bool bounces(const struct vmf_fault *f)
{
	return f->object->segmented && f->area->window.fill && vmf__peek(&f->object->prompt) &&
	       !(tracks(f) && (f->access == VMF_W || !f->area->window.protect));
}

/* Frames for a run, adjacent if possible; a shorter run, down to the page itself, if memory is scarce. */
static bool claim_frames(struct vmf_fault *f, struct block *b, struct vmf__fill *fill)
{
	struct vmf_frame **frames = fill->frame;
	struct vmf_object *o = f->object;
	uint32_t n = (uint32_t)(b->hi - b->lo);

	fill->bounced = n <= BOUNCE_MAX && bounces(f) && vmf__phys_run(f->port, n, frames);
	if (fill->bounced)
		return true;
	for (uint32_t i = 0; o->segmented && i < n; i++)
		frames[i] = vmf__page_segment(o, b->lo + i);
	if (o->segmented || vmf__phys_run(f->port, n, frames))
		return true;
	*b = (struct block){ f->off, f->off + 1 };
	return n > 1 && vmf__phys_run(f->port, 1, frames);
}

/* => object lock.  NULL: a reserve is empty */
static struct vmf__fill *claim(struct vmf_fault *f, struct block b)
{
	struct vmf_object *o = f->object;
	struct vmf__fill *fill;

	if (!claim_range(f, &b))
		return NULL;
	fill = vmf__fill_take(f, b.lo, (uint32_t)(b.hi - b.lo));
	if (!fill)
		return NULL;
	if (!claim_frames(f, &b, fill)) {
		fill->io.n = 0;
		vmf__fill_put(fill);
		return NULL;
	}
	if (b.lo != fill->io.first || b.hi - b.lo != fill->io.n)
		vmf__fill_shrink(fill, b.lo, (uint32_t)(b.hi - b.lo));
	fill->cached = fill->pinned = true;
	fill->page = fill->io.n == 1 ? f->page : NULL;
	for (vmf_pgoff at = b.lo; at < b.hi; at++) {
		struct vmf__page *page = at == f->off ? f->page : vmf__page_at(o, at);

		vmf__store(&page->of, (void *)fill);
		vmf__set_state(page, VMF_FILLING);
		vmf__store(&page->word, vmf__peek(&page->word) + VMF__P_PIN);
	}
	vmf__fill_link(fill);
	return fill;
}

/* Enters what was read into frames of the fill's own, and copies what cannot be.  true: the page itself is entered.
 * => ENTERING */
static bool place(struct vmf_fault *f, struct vmf__fill *fill)
{
	unsigned prot = f->area->prot & ~(tracks(f) ? (unsigned)VMF_W : 0u);
	uint32_t n = fill->good ? vmf__enter_fill(f, fill, fill->good, prot) : 0;

	vmf__fill_copy(fill, n, fill->good);
	return f->off - fill->io.first < n;
}

/* Who makes it stale then waits for our slot, and takes away what we put there. */
static bool land(struct vmf_fault *f, struct vmf__fill *fill)
{
	bool shown = false;

	vmf__slot_hold(f->port, f->slot, f->area, fill->io.first, fill->io.n, VMF__ENTERING);
	if (!vmf__load(&fill->stale))
		shown = place(f, fill);
	vmf__slot_relax(f->slot);
	vmf__fill_land(fill, shown);
	return shown;
}

/* The caller's reference becomes the ticket's.  true: it has landed, and the page is entered. */
static bool fill_begin(struct vmf_fault *f, struct vmf__fill *fill, bool zero)
{
	const struct vmf_object *o = f->object;

	ticket_take(f, fill);
	fill->lacks = o->segmented && !fill->bounced && !vmf__segment_made(o, fill->io.first, fill->io.n);
	if (fill->lacks) {
		vmf__fill_get(fill);
		vmf_io_done(&fill->io, 0, 0);
	} else if (zero) {
		fill->io.bytes = 0;
		vmf__fill_get(fill);
		vmf_io_done(&fill->io, fill->io.n, 0);
		vmf__count(f, zeroed, fill->io.n);
		if (fill->bounced)
			return land(f, fill);
	} else {
		f->flags |= VMF_MAJOR;
		vmf__count(f, bytes_read, fill->io.bytes);
		if (vmf__fill_start(fill))
			return land(f, fill);
	}
	return false;
}

/* The extent that holds the page, however little the backing says at a time: it may know only what follows the page
 * that it is asked for, so it is asked from the start of the block on.  false: it does not say, so everything is
 * data. */
static bool extent_find(const struct vmf_fault *f, vmf_pgoff at, struct vmf_extent *e, int *err)
{
	const struct vmf_object *o = f->object;

	for (;; at = e->first + e->pages) {
		*e = (struct vmf_extent){ 0 };
		*err = o->backing->extent ? o->backing->extent(o->backing_self, at, e) : 0;
		if (*err || e->first > at || at - e->first >= e->pages)
			return false;
		if (f->off - e->first < e->pages)
			return true;
	}
}

/* Cuts the block to the extent.  A positive error number if the backing cannot say. */
static int extent_of(const struct vmf_fault *f, struct block *b, bool *zero)
{
	struct vmf_extent e;
	int err;

	*zero = false;
	if (!extent_find(f, b->lo, &e, &err))
		return err;
	if (f->area->window.order) {
		*zero = e.zero && e.first <= b->lo && e.first + e.pages >= b->hi;
		return 0;
	}
	*zero = e.zero;
	b->lo = vmf__max(b->lo, e.first);
	b->hi = e.first + e.pages > e.first ? vmf__min(b->hi, e.first + e.pages) : b->hi;
	return 0;
}

/* Claims and starts a read, or joins the one that has the page.  false: look again; true: *r is the answer. */
static bool fetch(struct vmf_fault *f, struct vmf_result *r)
{
	struct vmf_object *o = f->object;
	uint32_t epoch = vmf__load(&o->epoch); /* before anything that depends on the length */
	struct block b = block_of(f);
	struct vmf__fill *fill = NULL;
	struct vmf__page *page;
	bool zero, look = true, leaving = false, poisoned = false;
	uint32_t ahead = vmf__readahead(f), seq = vmf_wait_seq(&o->changed);
	int err = extent_of(f, &b, &zero);

	if (err) {
		*r = vmf__result(VMF_SIGBUS, VMF_WHY_IOERR, err);
		return true;
	}
	if (!zero && ahead > 1 && !alone(f))
		b.hi = vmf__max(b.hi, vmf__min(f->off + ahead, vmf__object_pages(o)));
	vmf__lock_take(f->port, &o->lock);
	if (!f->page)
		f->page = vmf__page_at(o, f->off);
	page = f->page;
	if (epoch != vmf__load(&o->epoch)) {
		; /* the block and the extent are of another length: look again */
	} else if (page && vmf__state(page) == VMF_FILLING) {
		leaving = vmf__peek(&page->word) & VMF__P_LEAVING;
		if (!leaving) {
			vmf__fill_get(page->of);
			ticket_take(f, page->of);
		}
	} else if (page_poisoned(o, page, f->off)) {
		poisoned = true;
	} else if (page_wanted(page) && f->off < vmf__object_pages(o)) {
		fill = claim(f, b);
		look = fill != NULL;
	}
	vmf__lock_drop(f->port, &o->lock);
	if (fill) {
		vmf__set(&f->area->ahead_next, (uint32_t)(fill->io.first + fill->io.n));
		if (fill_begin(f, fill, zero)) {
			*r = vmf__result(VMF_OK, 0, 0);
			return true;
		}
	}
	if (poisoned)
		*r = vmf__result(VMF_POISON, 0, 0);
	else if (leaving)
		*r = vmf__retry(f, VMF_WHY_RACE, &o->changed, seq);
	else if (!look)
		*r = vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	return poisoned || leaving || !look;
}

static struct vmf_result cached_fault(struct vmf_fault *f)
{
	struct vmf_result r;

	/* One round to fetch and one to show; more if a longer run failed, or somebody took the page in between. */
	for (int rounds = 0; rounds < 4; rounds++) {
		if (f->off >= vmf__object_pages(f->object))
			return vmf__result(VMF_SIGBUS, VMF_WHY_EOF, 0);
		if (fill_says(f, &r))
			return r;
		if (cached_show(f, &r)) {
			if (r.code != VMF_POISON)
				return r;
			(void)vmf__page_broke(f->object, f->off); /* nobody has told the object yet */
		}
		ticket_forget(f);
		if (fetch(f, &r))
			return r;
	}
	return vmf__retry(f, VMF_WHY_RACE, NULL, 0);
}

/* --------------------------------------------------------------------------------------------- streams */

static struct vmf_result stream_zero(struct vmf_fault *f, struct block b, uint32_t epoch)
{
	vmf__slot_hold(f->port, f->slot, f->area, b.lo, (uint32_t)(b.hi - b.lo), VMF__ENTERING);
	if (epoch != vmf__load(&f->object->epoch))
		return vmf__retry(f, VMF_WHY_RACE, NULL, 0);
	return vmf__enter_zero(f, b.lo, b.hi - b.lo);
}

/* Where a run of n pages that holds the page begins, in a run of up to 2n + 1 from first. */
static vmf_pgoff stream_half(const struct vmf_fault *f, vmf_pgoff first, uint32_t n)
{
	return f->off - first < n ? first : vmf__max(first + n, f->off + 1 - n);
}

/* Frames for the block, adjacent, because one call gives them away; halved around the page while memory is scarce. */
static struct vmf__fill *stream_fill(struct vmf_fault *f, struct block b, uint32_t epoch)
{
	struct vmf__fill *fill = vmf__fill_take(f, b.lo, (uint32_t)(b.hi - b.lo));
	uint32_t n;

	if (!fill)
		return NULL;
	while (!vmf__phys_run(f->port, fill->io.n, fill->frame)) {
		n = fill->io.n / 2;
		if (!n || f->area->window.order) {
			fill->io.n = 0;
			vmf__fill_put(fill);
			return NULL;
		}
		vmf__fill_shrink(fill, stream_half(f, fill->io.first, n), n);
	}
	fill->epoch = epoch;
	return fill;
}

static struct vmf_result stream_show(struct vmf_fault *f, struct vmf__fill *fill)
{
	uint32_t n = vmf__load(&fill->good);
	struct vmf_result r;

	vmf__slot_hold(f->port, f->slot, f->area, fill->io.first, fill->io.n, VMF__ENTERING);
	if (fill->epoch != vmf__load(&f->object->epoch)) {
		ticket_forget(f);
		return vmf__retry(f, VMF_WHY_RACE, NULL, 0);
	}
	r = vmf__enter_frames(f, fill->io.first, fill->frame, n, f->area->prot);
	if (r.code == VMF_POISON) { /* others will do */
		ticket_forget(f);
		return vmf__retry(f, VMF_WHY_RACE, NULL, 0);
	}
	r.order = r.code == VMF_OK ? f->area->window.order : 0;
	return r;
}

/* Starts a read, or shows zeroes at once.  true: *r is the answer */
static bool stream_fetch(struct vmf_fault *f, struct vmf_result *r)
{
	uint32_t epoch = vmf__load(&f->object->epoch);
	struct block b = block_of(f);
	struct vmf__fill *fill;
	bool zero;
	int err = extent_of(f, &b, &zero);

	if (err) {
		*r = vmf__result(VMF_SIGBUS, VMF_WHY_IOERR, err);
		return true;
	}
	if (zero && f->area->window.zero) {
		*r = stream_zero(f, b, epoch);
		return true;
	}
	fill = stream_fill(f, b, epoch);
	if (fill)
		(void)fill_begin(f, fill, zero);
	else
		*r = vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	return !fill;
}

static struct vmf_result stream_fault(struct vmf_fault *f)
{
	struct vmf_result r;

	for (int rounds = 0; rounds < 3; rounds++) {
		if (fill_says(f, &r))
			return r;
		if (ticket_fill(f))
			return stream_show(f, ticket_fill(f));
		if (stream_fetch(f, &r))
			return r;
	}
	return vmf__retry(f, VMF_WHY_RACE, NULL, 0);
}

struct vmf_result vmf__backed_fault(struct vmf_fault *f)
{
	return f->object->stream ? stream_fault(f) : cached_fault(f);
}

/* ------------------------------------------------------------------------------------------ the object */

static bool backed_good(const struct vmf_backed *b, const struct vmf_backing_ops *ops)
{
	return ops->start && ops->length && b->around <= VMF_RUN_MAX && b->readahead <= VMF_RUN_MAX &&
	       !(b->around & (b->around - 1)) && !(b->flags & ~(uint32_t)(VMF_STREAM | VMF_RDONLY));
}

/* A stream's areas are by copy: a window on it would have nothing behind. */
static int stream_map(struct vmf_object *o, struct vmf_map *m)
{
	(void)o;
	return m->flags & VMF_SHARED ? -VMF_ENOSYS : 0;
}

int vmf_object_backed(struct vmf_port *port, struct vmf_object **out, const struct vmf_backed *config)
{
	static const struct vmf_ops none = { .size = sizeof(none) };
	static const struct vmf_ops stream = { .size = sizeof(stream), .map = stream_map };
	uint64_t bytes, pages;
	struct vmf_object *o;
	struct vmf_backing_ops table;
	struct vmf_backed b;
	int err;

	if (!port || !out)
		return -VMF_EINVAL;
	err = vmf_struct_in(&b, sizeof(b), config, offsetof(struct vmf_backed, around));
	if (!err)
		err = vmf_struct_in(&table, sizeof(table), b.ops, offsetof(struct vmf_backing_ops, extent));
	if (err || !backed_good(&b, &table))
		return err ? err : -VMF_EINVAL;
	if (table.length(b.self, &bytes))
		return -VMF_EIO;
	pages = (bytes >> port->shift) + !!(bytes & (vmf__psize(port) - 1));
	err = vmf__object_new(port, &o, b.flags & VMF_STREAM ? &stream : &none, NULL, pages, vmf__max(pages, b.pages),
			      !(b.flags & VMF_STREAM));
	if (err)
		return err;
	o->backed = true;
	o->stream = b.flags & VMF_STREAM;
	o->readonly = b.flags & VMF_RDONLY;
	o->table.backing = table;
	o->backing = &o->table.backing;
	o->backing_self = b.self;
	o->bytes = bytes;
	o->around = (uint32_t)vmf__min(b.around ? b.around : 1, VMF_CFG_IO_RUN);
	o->readahead = (uint32_t)vmf__min(b.readahead, VMF_CFG_IO_RUN);
	*out = o;
	return 0;
}
