/* SPDX-License-Identifier: MIT
 *
 * A pool for drivers/special: pages 0 to 15, of two nodes, and how many of them are taken.  Freestanding; taking and
 * giving need no lock.
 */
#ifndef SPECIAL_POOL_H
#define SPECIAL_POOL_H
#include "../drivers/special.h"

#define POOL_PAGES 16u

struct special_pool {
	uint32_t pages, second; /* from `second` on they are of node 1 */
	uint32_t taken[POOL_PAGES];
	uint8_t *bytes;         /* of page 0: what is handed out is zero */
	uint32_t takes, gives;
	void (*took)(void);     /* called when a page was taken, before its taker does anything with it; or NULL */
};

static inline bool pool_try(struct special_pool *p, uint32_t first, uint32_t end, uint32_t *page)
{
	for (*page = first; *page < end; ++*page)
		if (!__atomic_exchange_n(&p->taken[*page], 1, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

static inline bool pool_take(void *self, unsigned node, uint32_t *page)
{
	struct special_pool *p = self;
	bool got = pool_try(p, node ? p->second : 0, node ? p->pages : p->second, page) || pool_try(p, 0, p->pages, page);

	if (!got)
		return false;
	for (uint32_t i = 0; i < 4096; i++)
		p->bytes[*page * 4096 + i] = 0;
	__atomic_fetch_add(&p->takes, 1, __ATOMIC_RELAXED);
	if (p->took)
		p->took();
	return true;
}

static inline void pool_give(void *self, uint32_t page)
{
	struct special_pool *p = self;

	for (uint32_t i = 0; i < 4096; i++)
		p->bytes[page * 4096 + i] = 0xee;
	__atomic_fetch_add(&p->gives, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&p->taken[page], 0, __ATOMIC_RELEASE);
}

static inline uint32_t pool_taken(const struct special_pool *p)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->pages; i++)
		n += __atomic_load_n(&p->taken[i], __ATOMIC_RELAXED);
	return n;
}

static inline struct vmf_special_pool pool_ops(struct special_pool *p)
{
	return (struct vmf_special_pool){ pool_take, pool_give, p };
}
#endif
