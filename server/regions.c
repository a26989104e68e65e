/* SPDX-License-Identifier: MIT
 *
 * Checks of regions.  They may overlap in the image (two regions that show the same bytes), never in the client.
 */
#include "regions.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { BASE = 4096 };

static bool known_page_size(uint64_t p)
{
	return p == BASE || p == (UINT64_C(2) << 20);
}

/* What is wrong with region r alone; NULL: nothing. */
static const char *fault_of(const struct vmf_linux_region *r, uint64_t image)
{
	uint64_t end;

	if (!known_page_size(r->page_size))
		return "has an unknown page size";
	if (!r->bytes)
		return "is empty";
	if (r->va % r->page_size)
		return "has an address that is not page-aligned";
	if (r->bytes % r->page_size)
		return "has a size that is not page-aligned";
	if (r->offset % r->page_size)
		return "has an offset that is not page-aligned";
	/* No program has addresses in the upper half, and no file is so long: as signed numbers they wrap there. */
	if (__builtin_add_overflow(r->va, r->bytes, &end) || end > INT64_MAX || end > UINTPTR_MAX)
		return "wraps around the address space";
	if (__builtin_add_overflow(r->offset, r->bytes, &end) || end > INT64_MAX)
		return "wraps around the image";
	if (end > image && end - image >= BASE)
		return "exceeds the image";
	return NULL;
}

static bool overlap(const struct vmf_linux_region *a, const struct vmf_linux_region *b)
{
	return a->va < b->va + b->bytes && b->va < a->va + a->bytes;
}

static int refuse(unsigned i, const struct vmf_linux_region *r, const char *what, uint64_t image, char *why, size_t n)
{
	snprintf(why, n, "region %u %s (address 0x%" PRIx64 ", size %" PRIu64 ", offset %" PRIu64 ", page size %" PRIu32
		"; image %" PRIu64 " bytes)", i, what, r->va, r->bytes, r->offset, r->page_size, image);
	return -EINVAL;
}

int vmf__regions_check(const struct vmf_linux_region *r, unsigned n, uint64_t image, char *why, size_t why_n)
{
	if (!n || n > VMF_SESSION_REGIONS) {
		snprintf(why, why_n, "%u regions, not 1 to %d", n, VMF_SESSION_REGIONS);
		return -EINVAL;
	}
	for (unsigned i = 0; i < n; i++) {
		const char *what = fault_of(&r[i], image);

		if (what)
			return refuse(i, &r[i], what, image, why, why_n);
		for (unsigned j = 0; j < i; j++)
			if (overlap(&r[i], &r[j])) {
				snprintf(why, why_n, "regions %u and %u overlap", j, i);
				return -EINVAL;
			}
	}
	return 0;
}
