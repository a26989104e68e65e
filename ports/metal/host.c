/* SPDX-License-Identifier: MIT
 *
 * The host operations of one CPU.  Nothing runs beside us, so a wait polls, and nobody has to be woken.
 */
#include "metal.h"

#define HEAP_LEAST 4u /* log2 of the smallest block */

static unsigned block_order(size_t bytes)
{
	unsigned order = HEAP_LEAST;

	while ((size_t)1 << order < bytes)
		order++;
	return order;
}

void metal_heap_init(struct metal_heap *h, void *start, size_t bytes)
{
	*h = (struct metal_heap){ .next = start, .end = (uint8_t *)start + bytes };
}

void *metal_alloc(void *heap, size_t bytes)
{
	struct metal_heap *h = heap;
	unsigned order = block_order(bytes);
	size_t size = (size_t)1 << order, align = size < METAL_PAGE ? size : METAL_PAGE;
	uint8_t *block = h->free[order];

	if (block) {
		__builtin_memcpy(&h->free[order], block, sizeof(void *));
	} else {
		block = h->next + (-(uintptr_t)h->next & (align - 1));
		if (block > h->end || size > (size_t)(h->end - block))
			return NULL;
		h->next = block + size;
	}
	__builtin_memset(block, 0, size);
	h->live += size;
	return block;
}

void metal_free(void *heap, void *p, size_t bytes)
{
	struct metal_heap *h = heap;
	unsigned order = block_order(bytes);

	__builtin_memcpy(p, &h->free[order], sizeof(void *));
	h->free[order] = p;
	h->live -= (size_t)1 << order;
}

static void *host_bytes(void *self, vmf_pfn pfn)
{
	(void)self;
	return board_bytes(pfn);
}

static uint32_t host_slot(void *self)
{
	(void)self;
	return 0;
}

/* The only CPU has a slot, and its own order of things is the program's. */
static void host_barrier(void *self)
{
	(void)self;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static int host_wait(void *self, const uint32_t *word, uint32_t seen, uint64_t ns, bool interruptible)
{
	const struct metal_host *host = self;
	uint64_t start = board_ns();

	(void)interruptible;
	if (!word && !ns)
		return 0;
	while (!word || __atomic_load_n(word, __ATOMIC_ACQUIRE) == seen) {
		if (host->poll)
			host->poll(host->arg);
		if (ns && board_ns() - start >= ns)
			return word ? -VMF_ETIME : 0;
	}
	return 0;
}

static void host_wake(void *self, const uint32_t *word)
{
	(void)self;
	(void)word;
}

static uint64_t host_now(void *self)
{
	(void)self;
	return board_ns();
}

const struct vmf_host_ops metal_host_ops = {
	.size = sizeof(metal_host_ops),
	.alloc = metal_alloc,
	.free = metal_free,
	.bytes = host_bytes,
	.slot = host_slot,
	.barrier = host_barrier,
	.wait = host_wait,
	.wake = host_wake,
	.now = host_now,
};
