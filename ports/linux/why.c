/* SPDX-License-Identifier: MIT
 *
 * Why did it fail?  The kernel says no more than SIGBUS, so the reasons are kept here, by page, for whoever asks:
 * about the last 1,024 (a page has eight places that it can be in).  Nothing is written, and one word read, while
 * nothing fails.
 */
#include "local.h"

static struct vmf__why_entry *bucket(struct vmf__why *y, uintptr_t page, uint32_t *b)
{
	*b = (uint32_t)((page >> VMF__SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 57) % VMF__WHY_BUCKETS;
	return y->entry[*b];
}

static struct vmf__why_entry *find(struct vmf__why *y, uintptr_t page)
{
	uint32_t b;
	struct vmf__why_entry *e = bucket(y, page, &b);

	for (unsigned i = 0; i < VMF__WHY_WAYS; i++)
		if (e[i].page == page)
			return &e[i];
	return NULL;
}

static void lock(struct vmf__why *y)
{
	vmf__block(NULL);
	vmf__mutex_take(&y->lock);
}

static void unlock(struct vmf__why *y)
{
	vmf__mutex_drop(&y->lock);
	vmf__unblock(NULL);
}

void vmf__why_put(struct vmf__why *y, uintptr_t va, struct vmf_result r, bool untold)
{
	uintptr_t page = va & ~(uintptr_t)(VMF__PAGE - 1);
	struct vmf__why_entry *e;
	uint32_t b;

	lock(y);
	e = find(y, page);
	if (!e) {
		e = bucket(y, page, &b) + y->next[b];
		y->next[b] = (uint8_t)((y->next[b] + 1) % VMF__WHY_WAYS);
		if (!e->page)
			atomic_fetch_add(&y->entries, 1);
	}
	*e = (struct vmf__why_entry){ page, r, untold };
	unlock(y);
}

struct vmf_result vmf__why_get(struct vmf__why *y, uintptr_t va, bool *untold)
{
	struct vmf_result r = { 0 };
	struct vmf__why_entry *e;

	if (untold)
		*untold = false;
	if (!atomic_load(&y->entries))
		return r;
	lock(y);
	e = find(y, va & ~(uintptr_t)(VMF__PAGE - 1));
	if (e) {
		r = e->result;
		if (untold) {
			*untold = e->untold;
			e->untold = false;
		}
	}
	unlock(y);
	return r;
}

void vmf__why_forget(struct vmf__why *y, uintptr_t va)
{
	struct vmf__why_entry *e;

	if (!atomic_load(&y->entries))
		return;
	lock(y);
	e = find(y, va & ~(uintptr_t)(VMF__PAGE - 1));
	if (e) {
		*e = (struct vmf__why_entry){ 0 };
		atomic_fetch_sub(&y->entries, 1);
	}
	unlock(y);
}
