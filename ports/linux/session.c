/* SPDX-License-Identifier: MIT
 *
 * Sessions: what is known of another process's memory, in one flat block.  Regions are pieces of addresses; each
 * page of theirs has a bit that says "removed: reads zero from now on".  Cutting and moving a region leaves its
 * bits where they are.
 */
#include "session.h"

#define MAGIC 0x736d6676u /* "vmfs" */
#define VERSION 1u
#define WORD 64u

static bool region_aligned(const struct vmf_linux_region *r)
{
	return r->bytes && !((r->va | r->bytes | r->offset) & (r->page_size - 1));
}

static bool region_wraps(const struct vmf_linux_region *r)
{
	return r->va + r->bytes < r->va || r->va + r->bytes > UINTPTR_MAX || r->offset + r->bytes < r->offset;
}

static int region_check(const struct vmf_linux_region *all, unsigned i)
{
	const struct vmf_linux_region *r = all + i;

	if (r->page_size != VMF__PAGE && r->page_size != VMF__HUGE)
		return -VMF_EINVAL;
	if (!region_aligned(r) || region_wraps(r))
		return -VMF_EINVAL;
	for (unsigned j = 0; j < i; j++)
		if (r->va < all[j].va + all[j].bytes && all[j].va < r->va + r->bytes)
			return -VMF_EEXIST;
	return 0;
}

/* A bitmap begins on a word of its own, so that a byte of the block belongs to one region. */
static uint64_t bitmap_bits(const struct vmf_linux_region *r)
{
	return (r->bytes / r->page_size + WORD - 1) / WORD * WORD;
}

int vmf_session_bytes(const struct vmf_linux_region *all, unsigned n, size_t *bytes, unsigned *bad)
{
	uint64_t bits = 0;
	unsigned i = 0;
	int err = all && bytes && n && n <= VMF_SESSION_REGIONS ? 0 : -VMF_EINVAL;

	for (; i < n && !err; i++) {
		err = region_check(all, i);
		if (err)
			break;
		bits += bitmap_bits(all + i);
	}
	if (err) {
		if (bad)
			*bad = n > VMF_SESSION_REGIONS ? VMF_SESSION_REGIONS : i;
		return err;
	}
	*bytes = sizeof(struct vmf_session) + bits / 8;
	return 0;
}

int vmf_session_init(struct vmf_session *s, const struct vmf_linux_region *all, unsigned n)
{
	uint64_t bit = (uint64_t)sizeof(*s) * 8;
	size_t bytes;
	int err = s ? vmf_session_bytes(all, n, &bytes, NULL) : -VMF_EINVAL;

	if (err)
		return err;
	for (unsigned i = 0; i < n; i++) {
		s->region[i] = (struct vmf_session_region){ .va = all[i].va, .pages = all[i].bytes / VMF__PAGE,
			.off = all[i].offset / VMF__PAGE, .removed = bit, .page_size = all[i].page_size };
		bit += bitmap_bits(all + i);
	}
	s->regions = n;
	s->bytes = bytes;
	s->version = VERSION;
	s->magic = MAGIC;
	return 0;
}

static uint64_t region_bytes(const struct vmf_session_region *r) { return r->pages * VMF__PAGE; }
static uint64_t region_end(const struct vmf_session_region *r) { return r->va + region_bytes(r); }

static bool region_good(const struct vmf_session *s, const struct vmf_session_region *r)
{
	uint64_t bytes = region_bytes(r);

	if (r->page_size != VMF__PAGE && r->page_size != VMF__HUGE)
		return false;
	if (!bytes || bytes / VMF__PAGE != r->pages || (r->va | bytes) & (r->page_size - 1) || r->va + bytes < r->va)
		return false;
	if (r->removed < sizeof(*s) * 8 || r->removed > s->bytes * 8)
		return false;
	return bytes / r->page_size <= s->bytes * 8 - r->removed;
}

bool vmf__session_good(const struct vmf_session *s)
{
	if (s->magic != MAGIC || s->version != VERSION || s->regions > VMF_SESSION_REGIONS || s->bytes < sizeof(*s) ||
	    s->bytes > UINT64_MAX / 8 || s->bytes % (WORD / 8)) /* bitmaps are read by words */
		return false;
	for (unsigned i = 0; i < s->regions; i++)
		if (!region_good(s, s->region + i))
			return false;
	return true;
}

static int region_at(const struct vmf_session *s, uint64_t va)
{
	for (unsigned i = 0; i < s->regions; i++)
		if (va >= s->region[i].va && va - s->region[i].va < region_bytes(s->region + i))
			return (int)i;
	return -1;
}

const struct vmf_session_region *vmf__session_find(const struct vmf_session *s, uint64_t va)
{
	int i = region_at(s, va);

	return i < 0 ? NULL : s->region + i;
}

/* ------------------------------------------------------------------------------------------- bitmaps */

static uint64_t bit_of(const struct vmf_session_region *r, uint64_t va)
{
	return r->removed + (va - r->va) / r->page_size;
}

uint64_t vmf__session_next(const struct vmf_session *s, const struct vmf_session_region *r, uint64_t va, uint64_t end,
			   bool want)
{
	const uint64_t *words = (const uint64_t *)s, first = bit_of(r, va), last = bit_of(r, end);
	uint64_t bit = first;

	while (bit < last) {
		uint64_t word = __atomic_load_n(words + bit / WORD, __ATOMIC_RELAXED);

		word = (want ? word : ~word) >> bit % WORD;
		if (word) {
			bit += (unsigned)__builtin_ctzll(word);
			break;
		}
		bit += WORD - bit % WORD;
	}
	return bit < last ? va + (bit - first) * r->page_size : end;
}

/* Returns how many were clear before. */
static uint64_t bits_set(struct vmf_session *s, uint64_t bit, uint64_t last)
{
	uint64_t *words = (uint64_t *)s, fresh = 0;

	while (bit < last) {
		uint64_t n = WORD - bit % WORD, mask;

		if (n > last - bit)
			n = last - bit;
		mask = (n == WORD ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << bit % WORD;
		fresh += (unsigned)__builtin_popcountll(mask & ~__atomic_fetch_or(words + bit / WORD, mask, __ATOMIC_RELAXED));
		bit += n;
	}
	return fresh;
}

void vmf__session_remove(struct vmf_session *s, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < s->regions; i++) {
		const struct vmf_session_region *r = s->region + i;
		uint64_t lo = start > r->va ? start : r->va, hi = end < region_end(r) ? end : region_end(r);

		/* A part of a page was not removed: the kernel takes whole pages only. */
		lo = (lo + r->page_size - 1) & ~(uint64_t)(r->page_size - 1);
		hi &= ~(uint64_t)(r->page_size - 1);
		if (lo < hi)
			vmf__session_count(s, removed,
				bits_set(s, bit_of(r, lo), bit_of(r, hi)) * (r->page_size / VMF__PAGE));
	}
	vmf__session_count(s, removes, 1);
}

/* -------------------------------------------------------------------------------------- cut and move */

/* The part of a region from `lo` up to `hi`, which may be empty. */
static struct vmf_session_region piece(const struct vmf_session_region *r, uint64_t lo, uint64_t hi)
{
	struct vmf_session_region p = *r;

	p.removed = bit_of(r, lo);
	p.off += (lo - r->va) / VMF__PAGE;
	p.va = lo;
	p.pages = (hi - lo) / VMF__PAGE;
	return p;
}

/* Cuts the region that holds va in two there, unless it begins there. */
static int cut(struct vmf_session *s, uint64_t va)
{
	int i = region_at(s, va);
	struct vmf_session_region *r;

	if (i < 0)
		return 0;
	r = s->region + i;
	va &= ~(uint64_t)(r->page_size - 1);
	if (r->va == va)
		return 0;
	if (s->regions == VMF_SESSION_REGIONS)
		return -VMF_ENOSPC;
	s->region[s->regions] = piece(r, va, region_end(r));
	s->regions++;
	*r = piece(r, r->va, va);
	return 0;
}

static int cut_out(struct vmf_session *s, uint64_t start, uint64_t end)
{
	int err = cut(s, start);

	return err ? err : cut(s, end);
}

int vmf__session_gone(struct vmf_session *s, uint64_t start, uint64_t end)
{
	int err = cut_out(s, start, end);

	if (err)
		return err;
	for (unsigned i = s->regions; i-- > 0;)
		if (s->region[i].va >= start && s->region[i].va < end)
			s->region[i] = s->region[--s->regions];
	return 0;
}

int vmf__session_moved(struct vmf_session *s, uint64_t from, uint64_t to, uint64_t bytes)
{
	int err = cut_out(s, from, from + bytes);

	/* What was at the new place is not there any more; the kernel does not let the two overlap. */
	if (!err)
		err = vmf__session_gone(s, to, to + bytes);
	if (err)
		return err;
	for (unsigned i = 0; i < s->regions; i++)
		if (s->region[i].va >= from && s->region[i].va < from + bytes)
			s->region[i].va += to - from;
	return 0;
}
