/* SPDX-License-Identifier: MIT
 *
 * The physical memory map, and a buddy allocator for its RAM.
 *
 * The map is read without a lock: it is replaced as a whole, and old ones (some hundred bytes) live until the port
 * goes. What no range covers is a hole.  phys_lock protects free lists and replacing.
 */
#include "core.h"

static bool range_holds(const struct vmf__range *r, vmf_pfn pfn)
{
	return pfn.n - r->first.n < r->pages && vmf__load(&r->kind) != VMF_PHYS_HOLE;
}

struct vmf__range *vmf__phys_range(struct vmf_port *port, vmf_pfn pfn)
{
	struct vmf__phys *phys = vmf__load(&port->phys);

	for (uint32_t i = 0; phys && i < phys->n; i++)
		if (range_holds(phys->range[i], pfn))
			return phys->range[i];
	return NULL;
}

enum vmf_kind vmf_phys_kind(struct vmf_port *port, vmf_pfn pfn)
{
	struct vmf__range *range = port ? vmf__phys_range(port, pfn) : NULL;

	return range ? (enum vmf_kind)range->kind : VMF_PHYS_HOLE;
}

/* Of a page within a frame of a higher order, which has no references of its own. */
static struct vmf_frame *frame_head(const struct vmf__range *r, vmf_pfn pfn)
{
	for (unsigned order = 1; order <= VMF_ORDER_MAX; order++) {
		uint64_t at = pfn.n >> order << order;
		struct vmf_frame *f = at < r->first.n ? NULL : r->frames + (at - r->first.n);

		if (!f)
			break;
		if (vmf__peek(&f->kind) != VMF__F_FREE && vmf__peek(&f->refs))
			return f->order >= order ? f : NULL;
	}
	return NULL;
}

struct vmf_frame *vmf__phys_frame(struct vmf_port *port, vmf_pfn pfn)
{
	struct vmf__range *range = vmf__phys_range(port, pfn);
	struct vmf_frame *frame = range && range->frames ? range->frames + (pfn.n - range->first.n) : NULL;

	if (!frame)
		return range ? vmf__adopted_frame(range, pfn) : NULL;
	return vmf__peek(&frame->refs) ? frame : frame_head(range, pfn);
}

/* ------------------------------------------------------------------------------------------------ buddies */

static uint64_t frame_pfn(const struct vmf__range *r, const struct vmf_frame *f)
{
	return r->first.n + (uint64_t)(f - r->frames);
}

static void list_add(struct vmf__range *r, struct vmf_frame *f, unsigned order)
{
	uint32_t at = (uint32_t)(f - r->frames) + 1;

	f->kind = VMF__F_FREE;
	f->order = (uint8_t)order;
	f->free.prev = 0;
	f->free.next = r->heads[order];
	if (f->free.next)
		r->frames[f->free.next - 1].free.prev = at;
	r->heads[order] = at;
}

static void list_del(struct vmf__range *r, struct vmf_frame *f)
{
	if (f->free.prev)
		r->frames[f->free.prev - 1].free.next = f->free.next;
	else
		r->heads[f->order] = f->free.next;
	if (f->free.next)
		r->frames[f->free.next - 1].free.prev = f->free.prev;
}

/* Is the head of a free block of this order at pfn?  Inner frames of blocks have an order that marks them. */
#define INNER 255u
#define LOOSE_MAX 16u
static struct vmf_frame *free_block(struct vmf__range *r, uint64_t pfn, unsigned order)
{
	struct vmf_frame *f;

	if (pfn < r->first.n || pfn + ((uint64_t)1 << order) > r->first.n + r->pages)
		return NULL;
	f = r->frames + (pfn - r->first.n);
	return f->kind == VMF__F_FREE && f->order == order ? f : NULL;
}

/* => phys_lock */
static void block_merge(struct vmf__range *r, struct vmf_frame *f, unsigned order)
{
	for (; order < VMF_ORDER_MAX; order++) {
		struct vmf_frame *buddy = free_block(r, frame_pfn(r, f) ^ ((uint64_t)1 << order), order);
		struct vmf_frame *upper;

		if (!buddy)
			break;
		list_del(r, buddy);
		upper = buddy > f ? buddy : f;
		upper->kind = VMF__F_FREE;
		upper->order = INNER;
		f = buddy < f ? buddy : f;
	}
	list_add(r, f, order);
}

/* A few single frames stay as they are, for the next fault: merging and splitting again would be most of its work.
 * => phys_lock */
static void block_free(struct vmf__range *r, struct vmf_frame *f, unsigned order)
{
	r->free += (uint64_t)1 << order;
	if (order || r->loose == LOOSE_MAX) {
		block_merge(r, f, order);
		return;
	}
	r->loose++;
	r->ragged = true;
	list_add(r, f, 0);
}

/* Merges what was left as it was: all single frames, because nobody knows which.  => phys_lock */
static void blocks_settle(struct vmf__range *r)
{
	uint32_t list = r->heads[0];

	r->heads[0] = r->loose = 0;
	r->ragged = false;
	for (uint32_t i = list; i; i = r->frames[i - 1].free.next)
		r->frames[i - 1].order = INNER;
	while (list) {
		struct vmf_frame *f = r->frames + (list - 1);

		list = f->free.next;
		f->free.next = f->free.prev = 0;
		block_merge(r, f, 0);
	}
}

/* The smallest order from this one on of which there is a block; past the last one: none. */
static unsigned order_there(const struct vmf__range *r, unsigned order)
{
	while (order <= VMF_ORDER_MAX && !r->heads[order])
		order++;
	return order;
}

/* => phys_lock */
static struct vmf_frame *block_take(struct vmf__range *r, unsigned order)
{
	unsigned from = order_there(r, order);
	struct vmf_frame *f;

	if (from > VMF_ORDER_MAX && r->ragged) {
		blocks_settle(r);
		from = order_there(r, order);
	}
	if (from > VMF_ORDER_MAX)
		return NULL;
	f = r->frames + (r->heads[from] - 1);
	list_del(r, f);
	while (from > order) {
		from--;
		list_add(r, f + ((size_t)1 << from), from);
	}
	r->free -= (uint64_t)1 << order;
	if (!order && r->loose)
		r->loose--;
	f->pfn.n = frame_pfn(r, f);
	f->kind = VMF__F_RAM;
	f->order = (uint8_t)order;
	return f;
}

/* => phys_lock.  node NODE_ANY: of any. */
#define NODE_ANY UINT32_MAX
static struct vmf_frame *phys_take(struct vmf_port *port, unsigned order, unsigned node)
{
	struct vmf__phys *phys = port->phys;
	struct vmf_frame *f = NULL;

	for (uint32_t i = 0; phys && !f && i < phys->n; i++)
		if (phys->range[i]->kind == VMF_PHYS_RAM && (node == NODE_ANY || phys->range[i]->node == node))
			f = block_take(phys->range[i], order);
	return f;
}

/* The node after that one, with RAM; the first one after the last; NODE_ANY: there is none. */
static unsigned node_next(const struct vmf__phys *phys, unsigned node)
{
	unsigned next = NODE_ANY, first = NODE_ANY;

	for (uint32_t i = 0; phys && i < phys->n; i++) {
		const struct vmf__range *r = phys->range[i];

		if (r->kind != VMF_PHYS_RAM)
			continue;
		first = r->node < first ? r->node : first;
		if (r->node > node && r->node < next)
			next = r->node;
	}
	return next == NODE_ANY ? first : next;
}

static bool node_good(unsigned node)
{
	return node <= VMF_NODE_BIND(255u) || node == VMF_NODE_LOCAL || node == VMF_NODE_INTERLEAVE;
}

static bool node_bound(unsigned node) { return node >= VMF_NODE_BIND(0) && node <= VMF_NODE_BIND(255u); }

bool vmf__phys_node(struct vmf_port *port, unsigned node, bool there)
{
	struct vmf__phys *phys = vmf__load(&port->phys);

	if (!there || !node_bound(node))
		return node_good(node);
	for (uint32_t i = 0; phys && i < phys->n; i++)
		if (phys->range[i]->kind == VMF_PHYS_RAM && VMF_NODE_BIND(phys->range[i]->node) == node)
			return true;
	return false;
}

/* => phys_lock.  here: the node of this CPU. */
static struct vmf_frame *phys_take_as(struct vmf_port *port, unsigned order, unsigned node, unsigned here)
{
	bool bound = node_bound(node);
	struct vmf_frame *f;

	if (node == VMF_NODE_INTERLEAVE)
		node = port->turn = node_next(port->phys, port->turn);
	f = phys_take(port, order, node == VMF_NODE_LOCAL ? here : bound ? node - VMF_NODE_BIND(0) : node);
	return f || bound ? f : phys_take(port, order, NODE_ANY);
}

int vmf_frame_alloc(struct vmf_port *port, unsigned order, unsigned node, bool zeroed, struct vmf_frame **out)
{
	struct vmf_frame *f;
	unsigned here = 0;

	if (!port || !out || order > VMF_ORDER_MAX || !node_good(node))
		return -VMF_EINVAL;
	if (node == VMF_NODE_LOCAL && port->host->node)
		here = port->host->node(port->self);
	vmf__lock_take(port, &port->phys_lock);
	f = phys_take_as(port, order, node, here);
	if (f)
		vmf__store(&f->refs, 1);
	vmf__lock_drop(port, &port->phys_lock);
	if (!f)
		return -VMF_ENOMEM;
	if (zeroed)
		memset(vmf_frame_bytes(port, f), 0, vmf__psize(port) << order);
	*out = f;
	return 0;
}

void vmf__phys_release(struct vmf_port *port, struct vmf_frame *f)
{
	vmf__lock_take(port, &port->phys_lock);
	if (!vmf__frame_broken(f)) /* since the last reference went */
		block_free(port->phys->range[f->range], f, f->order);
	vmf__lock_drop(port, &port->phys_lock);
}

/* Takes a free page out of the block of that order that it is in. => phys_lock */
static void block_break(struct vmf__range *r, struct vmf_frame *f, struct vmf_frame *block, unsigned order)
{
	list_del(r, block);
	if (!order && r->loose)
		r->loose--;
	while (order-- > 0) {
		struct vmf_frame *upper = block + ((size_t)1 << order);

		list_add(r, f < upper ? upper : block, order);
		block = f < upper ? block : upper;
	}
	r->free--;
	f->pfn.n = frame_pfn(r, f);
	f->order = 0;
	vmf__set(&f->kind, (uint8_t)VMF__F_BROKEN);
}

/* => phys_lock.  A frame without references that is not free is on its way to be: it will not arrive. */
static struct vmf_frame *block_find(struct vmf__range *r, vmf_pfn pfn, unsigned *order)
{
	for (*order = 0; *order <= VMF_ORDER_MAX; ++*order) {
		uint64_t at = pfn.n >> *order << *order;
		struct vmf_frame *f = r->frames + (at - r->first.n);

		if (at < r->first.n)
			break;
		if (f->order != INNER && f->order >= *order && (f->kind != VMF__F_FREE || f->order == *order))
			return f;
	}
	return NULL;
}

bool vmf__phys_break(struct vmf_port *port, vmf_pfn pfn)
{
	struct vmf__range *r = vmf__phys_range(port, pfn);
	struct vmf_frame *f;
	unsigned order;

	if (!r || !r->frames)
		return false;
	vmf__lock_take(port, &port->phys_lock);
	f = block_find(r, pfn, &order);
	if (f && !vmf__frame_broken(f)) {
		vmf__add(&port->broken, 1);
		if (f->kind == VMF__F_FREE)
			block_break(r, r->frames + (pfn.n - r->first.n), f, order);
		else
			vmf__set(&f->kind, (uint8_t)VMF__F_BROKEN);
	}
	vmf__lock_drop(port, &port->phys_lock);
	return f;
}

bool vmf__phys_run(struct vmf_port *port, uint32_t n, struct vmf_frame **frames)
{
	struct vmf_frame *f;
	unsigned order = 0;
	uint64_t first;

	while (((uint32_t)1 << order) < n)
		order++;
	vmf__lock_take(port, &port->phys_lock);
	f = phys_take(port, order, NODE_ANY);
	first = f ? f->pfn.n : 0;
	for (uint32_t i = 0; f && i < (uint32_t)1 << order; i++) {
		f[i].pfn.n = first + i;
		f[i].kind = VMF__F_RAM;
		f[i].order = 0;
		if (i >= n) {
			block_free(port->phys->range[f[i].range], f + i, 0);
			continue;
		}
		vmf__store(&f[i].refs, 1);
		frames[i] = f + i;
	}
	vmf__lock_drop(port, &port->phys_lock);
	return f != NULL;
}

/* Is this a block, and nobody else's? */
static bool run_whole(uint32_t n, struct vmf_frame *const *frames)
{
	bool whole = !(n & (n - 1)) && !(frames[0]->pfn.n & (n - 1));

	for (uint32_t i = 0; whole && i < n; i++)
		whole = frames[i] == frames[0] + i && vmf__load(&frames[i]->refs) == 1 && !vmf__frame_broken(frames[i]);
	return whole;
}

void vmf__phys_run_put(struct vmf_port *port, uint32_t n, struct vmf_frame *const *frames)
{
	unsigned order = 0;

	while ((uint32_t)1 << order < n)
		order++;
	vmf__lock_take(port, &port->phys_lock);
	if (!n || !run_whole(n, frames)) {
		vmf__lock_drop(port, &port->phys_lock);
		for (uint32_t i = 0; i < n; i++)
			vmf_frame_put(port, frames[i]);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		vmf__store(&frames[i]->refs, 0);
		frames[i]->kind = VMF__F_FREE;
		frames[i]->order = INNER;
	}
	block_free(port->phys->range[frames[0]->range], frames[0], order);
	vmf__lock_drop(port, &port->phys_lock);
}

/* ---------------------------------------------------------------------------------------------- the map */

static void range_fill(struct vmf__range *r)
{
	uint64_t at = 0;

	while (at < r->pages) {
		unsigned order = VMF_ORDER_MAX;

		while (order && (((r->first.n + at) & (((uint64_t)1 << order) - 1)) || at + ((uint64_t)1 << order) > r->pages))
			order--;
		list_add(r, r->frames + at, order);
		r->free += (uint64_t)1 << order;
		at += (uint64_t)1 << order;
	}
}

static struct vmf__range *range_new(struct vmf_port *port, const struct vmf_range *in, uint16_t index)
{
	struct vmf__range *r = vmf__alloc(port, sizeof(*r));

	if (!r)
		return NULL;
	r->kind = in->kind;
	r->node = in->node;
	r->first = in->first;
	r->pages = in->pages;
	r->attr = in->attr;
	if (in->kind != VMF_PHYS_RAM) {
		vmf__block_init(r);
		return r;
	}
	r->frames = vmf__alloc(port, in->pages * sizeof(*r->frames));
	if (!r->frames) {
		vmf__free(port, r, sizeof(*r));
		return NULL;
	}
	for (uint64_t i = 0; i < in->pages; i++)
		r->frames[i] = (struct vmf_frame){ .order = INNER, .range = index };
	range_fill(r);
	return r;
}

static void range_free(struct vmf_port *port, struct vmf__range *r)
{
	vmf__adopted_free(port, r);
	vmf__free(port, r->frames, r->frames ? r->pages * sizeof(*r->frames) : 0);
	vmf__free(port, r, sizeof(*r));
}

static bool phys_overlaps(const struct vmf__phys *phys, const struct vmf_range *in)
{
	for (uint32_t i = 0; phys && i < phys->n; i++) {
		const struct vmf__range *r = phys->range[i];

		if (r->kind != VMF_PHYS_HOLE && in->first.n < r->first.n + r->pages && r->first.n < in->first.n + in->pages)
			return true;
	}
	return false;
}

static bool range_good(const struct vmf_range *in)
{
	if (in->kind <= VMF_PHYS_HOLE || in->kind > VMF_PHYS_RESERVED || in->attr.type > VMF_DEVICE || in->attr.zero ||
	    in->zero[0] | in->zero[1])
		return false;
	if (in->kind == VMF_PHYS_RAM && in->pages >= UINT32_MAX / sizeof(struct vmf_frame))
		return false;
	return in->pages && in->first.n + in->pages > in->first.n;
}

static size_t phys_size(uint32_t n) { return sizeof(struct vmf__phys) + n * sizeof(struct vmf__range *); }

static struct vmf__phys *phys_with(struct vmf_port *port, struct vmf__phys *old, struct vmf__range *r)
{
	uint32_t n = old ? old->n : 0;
	struct vmf__phys *phys = vmf__alloc(port, phys_size(n + 1));

	if (!phys)
		return NULL;
	phys->n = n + 1;
	phys->older = old;
	for (uint32_t i = 0; i < n; i++)
		phys->range[i] = old->range[i];
	phys->range[n] = r;
	return phys;
}

static bool phys_replace(struct vmf_port *port, struct vmf__phys *old, struct vmf__phys *phys)
{
	bool same;

	vmf__lock_take(port, &port->phys_lock);
	same = port->phys == old;
	if (same)
		vmf__store(&port->phys, phys);
	vmf__lock_drop(port, &port->phys_lock);
	return same;
}

/* Descriptors are made outside the lock; -VMF_EAGAIN: somebody else added a range meanwhile. */
static int phys_try_add(struct vmf_port *port, const struct vmf_range *in)
{
	struct vmf__phys *old = vmf__load(&port->phys), *phys;
	struct vmf__range *r;

	if (phys_overlaps(old, in))
		return -VMF_EEXIST;
	if (old && old->n == UINT16_MAX)
		return -VMF_ENOSPC;
	r = range_new(port, in, (uint16_t)(old ? old->n : 0));
	if (!r)
		return -VMF_ENOMEM;
	phys = phys_with(port, old, r);
	if (phys && phys_replace(port, old, phys))
		return 0;
	range_free(port, r);
	if (!phys)
		return -VMF_ENOMEM;
	vmf__free(port, phys, phys_size(phys->n));
	return -VMF_EAGAIN;
}

int vmf_phys_add(struct vmf_port *port, const struct vmf_range *range)
{
	struct vmf_range in;
	int err;

	if (!port || !range)
		return -VMF_EINVAL;
	err = vmf_struct_in(&in, sizeof(in), range, offsetof(struct vmf_range, attr));
	if (!err && !range_good(&in))
		err = -VMF_EINVAL;
	if (err)
		return err;
	/* Before anybody can fault there. */
	if (in.kind != VMF_PHYS_RAM)
		vmf__store(&port->devices, true);
	else if (in.attr.type | in.attr.port)
		vmf__store(&port->odd, true);
	err = vmf__supply(port);
	while (!err && (err = phys_try_add(port, &in)) == -VMF_EAGAIN)
		err = 0;
	return err;
}

/* Pages of broken frames that nobody has. => phys_lock */
static uint64_t broken_idle(const struct vmf_port *port, const struct vmf__range *r)
{
	uint64_t n = 0;

	for (uint64_t i = 0; vmf__load(&port->broken) && i < r->pages; i++)
		if (vmf__frame_broken(r->frames + i) && !vmf__load(&r->frames[i].refs))
			n += (uint64_t)1 << r->frames[i].order;
	return n;
}

/* The range's index stays in use and its descriptors stay allocated until the port goes: a fault may be reading them.
 */
int vmf_phys_remove(struct vmf_port *port, vmf_pfn first)
{
	struct vmf__range *r = port ? vmf__phys_range(port, first) : NULL;
	int err = 0;

	if (!r || r->first.n != first.n)
		return -VMF_EINVAL;
	vmf__lock_take(port, &port->alias_lock);
	vmf__lock_take(port, &port->phys_lock);
	if (r->kind != VMF_PHYS_RAM && (vmf__adopted_busy(r) || vmf__alias_shown(port, r, r->first, r->pages)))
		err = -VMF_EBUSY;
	else if (r->kind == VMF_PHYS_RAM && r->free + broken_idle(port, r) != r->pages)
		err = -VMF_EBUSY;
	else
		vmf__store(&r->kind, (uint8_t)VMF_PHYS_HOLE);
	vmf__lock_drop(port, &port->phys_lock);
	vmf__lock_drop(port, &port->alias_lock);
	return err;
}

void vmf__phys_destroy(struct vmf_port *port)
{
	struct vmf__phys *phys = port->phys, *older;

	for (uint32_t i = 0; phys && i < phys->n; i++)
		range_free(port, phys->range[i]);
	for (; phys; phys = older) {
		older = phys->older;
		vmf__free(port, phys, phys_size(phys->n));
	}
}
