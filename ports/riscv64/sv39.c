/* SPDX-License-Identifier: MIT
 *
 * See sv39.h.
 */
#include "sv39.h"

enum {
	V = 1 << 0, R = 1 << 1, W = 1 << 2, X = 1 << 3, A = 1 << 6, D = 1 << 7,
	/* The two bits that are software's: a pfn that is not counted; an entry that allows nothing, so that V is 0. */
	RAW = 1 << 8, HELD = 1 << 9
};
#define PPN_SHIFT 10u
#define PPN_BITS 44u

static struct vmf_attr memory_attr(const struct vmf_sv39_memory *m, vmf_pfn pfn)
{
	return (struct vmf_attr){ .type = pfn.n - m->first.n < m->pages ? VMF_WB : VMF_DEVICE };
}

static bool attr_good(const struct vmf_sv39_memory *m, const struct vmf_entry *e)
{
	struct vmf_attr got = memory_attr(m, e->pfn);

	return !e->attr.port && (got.type == e->attr.type || (e->attr.strengthen && vmf_attr_covers(got, e->attr)));
}

static uintptr_t sv39_table(vmf_pfn pfn)
{
	return (uintptr_t)pfn.n << PPN_SHIFT | V;
}

static bool sv39_encode(void *self, const struct vmf_entry *e, unsigned level, uintptr_t *out)
{
	uintptr_t entry = (uintptr_t)e->pfn.n << PPN_SHIFT | (e->raw ? RAW : 0);

	(void)level;
	if (e->pfn.n >> PPN_BITS || !attr_good(self, e))
		return false;
	if (e->prot & (VMF_R | VMF_W)) /* to write and not to read is reserved */
		entry |= R;
	if (e->prot & VMF_W)
		entry |= W | D;
	if (e->prot & VMF_X)
		entry |= X;
	*out = entry | (e->prot ? V | A : HELD);
	return true;
}

static enum vmf_ptwalk_kind sv39_decode(void *self, uintptr_t entry, unsigned level, struct vmf_entry *e)
{
	(void)level;
	*e = (struct vmf_entry){ .pfn = { entry >> PPN_SHIFT & (((uint64_t)1 << PPN_BITS) - 1) }, .raw = entry & RAW };
	if (!(entry & HELD) && !(entry & (R | W | X)))
		return VMF_PTWALK_TABLE;
	e->attr = memory_attr(self, e->pfn);
	e->prot = (uint8_t)((entry & R ? VMF_R : 0) | (entry & W ? VMF_W : 0) | (entry & X ? VMF_X : 0));
	return VMF_PTWALK_LEAF;
}

const struct vmf_ptwalk_format vmf_sv39 = {
	.page_shift = 12,
	.levels = 3,
	.bits = { 9, 9, 9 },
	.leaves = 7,
	.absent_cached = true,
	.table = sv39_table,
	.encode = sv39_encode,
	.decode = sv39_decode,
};
