/* SPDX-License-Identifier: MIT
 *
 * The list: frames of higher orders, by drivers/huge, where the window has them.
 */
#include "../../drivers/huge.h"
#include "list.h"

#define ORDER_MOST 9u
#define BLOCKS 2u
#define FRAMES 256u

static struct vmf_huge_block block[BLOCKS];
static struct vmf_frame *page[BLOCKS << ORDER_MOST], *taken[FRAMES];

/* Are there so many frames? */
static bool frames_there(struct stage *st, unsigned order)
{
	unsigned n = 0;
	bool there;

	while (n < BLOCKS && !vmf_frame_alloc(st->port, order, 0, false, &taken[n]))
		n++;
	there = n == BLOCKS;
	while (n)
		vmf_frame_put(st->port, taken[--n]);
	return there;
}

/* The highest order up to 9 that areas of this stage can have, and that there are frames of; 0: none. */
static unsigned order_of(struct stage *st)
{
	static const struct vmf_ops zero = { .size = sizeof(zero) };
	struct vmf_window w = VMF_INIT(struct vmf_window);
	struct vmf_object *o;
	struct vmf_area *a;
	unsigned order = ORDER_MOST;
	vmf_va at;

	if (vmf_object_create(st->port, &o, &zero, NULL, 1))
		return 0;
	if (!list_map(st, o, 1, VMF_R, &at)) {
		a = vmf_area_find(st->space, at);
		vmf_area_window(a, &w);
		vmf_area_put(a);
		list_free(st, at, 1);
	}
	vmf_object_put(o);
	while (order && (w.store != VMF_BY_ADDRESS || !(w.orders >> order & 1) || !frames_there(st, order)))
		order--;
	return order;
}

static uint64_t faults(struct stage *st)
{
	struct vmf_stats s = VMF_INIT(struct vmf_stats);

	vmf_space_stats(st->space, &s);
	return s.faults;
}

static uint64_t fallbacks(struct stage *st)
{
	struct vmf_stats s = VMF_INIT(struct vmf_stats);

	vmf_space_stats(st->space, &s);
	return s.fallbacks;
}

/* Both blocks, at an aligned address. */
static bool show(struct stage *st, struct vmf_huge *h, vmf_va *at)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags | VMF_FIXED, .pages = h->pages, .prot = VMF_R | VMF_W,
			     .order = h->order };
	vmf_va bytes = (vmf_va)LIST_PAGE << h->order;

	if (!list_gap(st, h->pages + h->pages / BLOCKS, at))
		return false;
	*at = m.va = (*at + bytes - 1) & ~(bytes - 1);
	return !vmf_map(st->space, h->object, &m, NULL);
}

static bool zeroes(struct stage *st, vmf_va at, vmf_va bytes)
{
	return list_reads(st, at, 0) && list_reads(st, at + bytes / 2 + 8, 0) && list_reads(st, at + bytes - 4, 0);
}

/* A page out of the middle: the rest keeps what was written. */
static void cut(struct stage *st, vmf_va at, vmf_va bytes)
{
	vmf_va middle = at + bytes / 2;
	bool ok = list_writes(st, at, 11) && list_writes(st, middle + LIST_PAGE, 12) && list_writes(st, at + bytes - 4, 13);

	ok = ok && !vmf_unmap(st->space, middle, 1);
	list_check(st, ok && list_reads(st, at, 11) && list_reads(st, middle + LIST_PAGE, 12) &&
		   list_reads(st, at + bytes - 4, 13), "huge: a page is unmapped, and the rest stays");
	list_fails(st, middle, VMF_R, VMF_SIGSEGV, VMF_WHY_NONE, "huge: and there it is gone");
	ok = !vmf_protect(st->space, at + bytes, 1, VMF_R) && list_reads(st, at + bytes, 0);
	list_check(st, ok && list_writes(st, at + bytes + LIST_PAGE, 14) && list_reads(st, at + bytes + LIST_PAGE, 14),
		   "huge: a page is protected, and the rest is writable");
	list_fails(st, at + bytes, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT, "huge: and that page is not");
}

static unsigned take_all(struct stage *st, unsigned n, unsigned order)
{
	while (n < FRAMES && !vmf_frame_alloc(st->port, order, 0, false, &taken[n]))
		n++;
	return n;
}

/* No frame of that order is left, but memory is: one half of one. */
static unsigned take_but_a_half(struct stage *st, unsigned order)
{
	unsigned n = take_all(st, 0, order);

	if (n)
		vmf_frame_put(st->port, taken[--n]);
	n = take_all(st, n, order - 1);
	if (n)
		vmf_frame_put(st->port, taken[--n]);
	return n;
}

static void fall_back(struct stage *st, struct vmf_huge *h)
{
	uint64_t before = fallbacks(st);
	unsigned n;
	vmf_va at;

	if (!list_check(st, show(st, h, &at), "huge: mapped again"))
		return;
	n = take_but_a_half(st, h->order);
	list_check(st, zeroes(st, at, (vmf_va)LIST_PAGE << h->order) && list_writes(st, at, 15) && list_reads(st, at, 15) &&
		   fallbacks(st) > before, "huge: no frame is left, and base pages do");
	while (n)
		vmf_frame_put(st->port, taken[--n]);
	list_check(st, list_reads(st, at, 15), "huge: they stay when there are frames again");
	list_free(st, at, h->pages);
}

void list_run_huge(struct stage *st)
{
	struct vmf_huge h = { .order = (uint8_t)order_of(st), .block = block, .page = page };
	vmf_va at, bytes = (vmf_va)LIST_PAGE << h.order;
	uint64_t before;

	h.pages = (uint64_t)BLOCKS << h.order;
	if (!h.order) {
		list_skip(st, "huge", "windows of this kind have base pages only");
		return;
	}
	if (!list_check(st, !vmf_huge_open(&h, st->port) && show(st, &h, &at), "huge: mapped"))
		return;
	before = faults(st);
	list_check(st, zeroes(st, at, bytes) && zeroes(st, at + bytes, bytes), "huge: zero at first");
	list_check(st, faults(st) - before == BLOCKS, "huge: one fault for each block");
	cut(st, at, bytes);
	list_free(st, at, h.pages);
	fall_back(st, &h);
	vmf_huge_close(&h);
}
