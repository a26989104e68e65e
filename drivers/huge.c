/* SPDX-License-Identifier: MIT
 *
 * huge: see huge.h.  Without a lock: who finds a block untouched owns it until it is filled, and others wait for that.
 */
#include "huge.h"

enum { UNTOUCHED, ASIDE /* reserved, not zeroed */, FILLING, HERE, SMALL /* in base pages */ };

static bool become(struct vmf_huge_block *b, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&b->state, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* => the block is FILLING, and ours.  none: what it is if there is no frame. */
static bool fill(struct vmf_huge *h, struct vmf_huge_block *b, uint32_t node, uint32_t state, uint32_t none)
{
	if (!b->frame && !h->order)
		b->frame = vmf_frame_at(h->object, (vmf_pgoff)(b - h->block));
	else if (!b->frame && vmf_frame_alloc(h->port, h->order, node, false, &b->frame))
		b->frame = NULL;
	if (b->frame && state == HERE)
		__builtin_memset(vmf_frame_bytes(h->port, b->frame), 0, vmf_page_size(h->port) << h->order);
	__atomic_store_n(&b->state, b->frame ? state : none, __ATOMIC_RELEASE);
	vmf_wake(h->port, &h->filled);
	return b->frame;
}

/* The loser of a race for a page gives his back. */
static struct vmf_frame *small_page(struct vmf_huge *h, const struct vmf_req *req)
{
	struct vmf_frame **at = &h->page[req->off], *frame = __atomic_load_n(at, __ATOMIC_ACQUIRE), *ours;

	if (frame || vmf_frame_alloc(h->port, 0, req->node, true, &ours))
		return frame;
	if (__atomic_compare_exchange_n(at, &frame, ours, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return ours;
	vmf_frame_put(h->port, ours);
	return frame;
}

static bool by_copy(const struct vmf_area *a)
{
	struct vmf_window w = VMF_INIT(struct vmf_window);

	vmf_area_window(a, &w);
	return w.store == VMF_BY_COPY;
}

static enum vmf_code huge_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_huge *h = req->object_priv;
	struct vmf_huge_block *b = &h->block[req->off >> h->order];
	struct vmf_frame *frame;
	uint32_t state;

	ans->n = 1;
	ans->why = VMF_WHY_RESOURCE;
	ans->seq = vmf_wait_seq(&h->filled);
	if (by_copy(req->area) && !vmf_frame_alloc(h->port, req->order, req->node, true, ans->frames))
		return VMF_OK;
	if (by_copy(req->area))
		return req->order ? VMF_FALLBACK : VMF_RETRY;
	if (become(b, UNTOUCHED, FILLING) || become(b, ASIDE, FILLING))
		(void)fill(h, b, req->node, HERE, h->order ? SMALL : UNTOUCHED);
	state = __atomic_load_n(&b->state, __ATOMIC_ACQUIRE);
	if (state == SMALL && req->order)
		return VMF_FALLBACK;
	frame = state == HERE ? b->frame : state == SMALL ? small_page(h, req) : NULL;
	ans->wait = state == FILLING ? &h->filled : NULL;
	if (!frame)
		return VMF_RETRY;
	vmf_frame_get(frame);
	ans->frames[0] = frame;
	return VMF_OK;
}

static void block_drop(struct vmf_huge *h, uint64_t i)
{
	struct vmf_huge_block *b = &h->block[i];

	if (b->frame)
		vmf_frame_put(h->port, b->frame);
	for (uint64_t p = i << h->order; b->state == SMALL && p < (i + 1) << h->order; p++) {
		if (h->page[p])
			vmf_frame_put(h->port, h->page[p]);
		h->page[p] = NULL;
	}
	b->frame = NULL;
	__atomic_store_n(&b->state, (uint32_t)UNTOUCHED, __ATOMIC_RELEASE);
}

/* Its ->mmap(): a frame for each block.  What was set aside before it failed stays so: another map may count on it. */
static int huge_map(struct vmf_object *object, struct vmf_map *m)
{
	struct vmf_huge *h = vmf_object_priv(object);
	uint64_t first = m->off >> h->order, end = (m->off + m->pages - 1) >> h->order;
	bool ok = true;

	if (!m->pages || m->off > h->pages || m->pages > h->pages - m->off ||
	    (m->flags & VMF_SHARED && m->order != h->order))
		return -VMF_EINVAL;
	if (!(m->flags & VMF_SHARED))
		return 0;
	for (uint64_t i = first; h->reserve && ok && i <= end; i++)
		if (become(&h->block[i], UNTOUCHED, FILLING))
			ok = fill(h, &h->block[i], m->node, ASIDE, UNTOUCHED);
	return ok ? 0 : -VMF_ENOMEM;
}

static void count(const struct vmf_area *a, uint32_t more)
{
	struct vmf_huge *h = vmf_object_priv(vmf_area_object(a));
	uint64_t end = (vmf_area_off(a) + vmf_area_pages(a) - 1) >> h->order;

	for (uint64_t i = vmf_area_off(a) >> h->order; i <= end; i++)
		if (__atomic_add_fetch(&h->block[i].areas, more, __ATOMIC_ACQ_REL) == 0)
			block_drop(h, i);
}

static void huge_opened(struct vmf_area *a) { count(a, 1); }
static void huge_closed(struct vmf_area *a) { count(a, UINT32_MAX); }

static const struct vmf_ops huge_ops = {
	.size = sizeof(huge_ops),
	.map = huge_map,
	.nopage = huge_nopage,
	.opened = huge_opened,
	.closed = huge_closed,
};

int vmf_huge_open(struct vmf_huge *h, struct vmf_port *port)
{
	h->port = port;
	if (!h->pages || h->order > VMF_ORDER_MAX || h->pages & (((uint64_t)1 << h->order) - 1))
		return -VMF_EINVAL;
	return vmf_object_create(port, &h->object, &huge_ops, h, h->pages);
}

/* What a vmf_map() that failed has left aside. */
void vmf_huge_close(struct vmf_huge *h)
{
	for (uint64_t i = 0; i < h->pages >> h->order; i++)
		if (!__atomic_load_n(&h->block[i].areas, __ATOMIC_ACQUIRE))
			block_drop(h, i);
	vmf_object_put(h->object);
}
