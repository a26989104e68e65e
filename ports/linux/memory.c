/* SPDX-License-Identifier: MIT
 *
 * The port's memory: size classes out of mapped slabs.  malloc() is no use here: the core allocates with signals
 * blocked, and between two tries of a fault in the handler of SIGBUS, whose thread may have been inside malloc().
 */
#include "port.h"

#include <string.h>
#include <sys/mman.h>

#define SMALLEST 4u /* log2 */
#define LARGEST (SMALLEST + VMF__CLASSES - 1)
#define SLAB ((size_t)256 << 10)

struct slab { struct slab *next; size_t zero; };
struct block { struct block *next; };

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static unsigned class_of(size_t bytes)
{
	unsigned c = 0;

	while (((size_t)1 << (SMALLEST + c)) < bytes)
		c++;
	return c;
}

static size_t whole_pages(size_t bytes) { return (bytes + VMF__PAGE - 1) & ~(size_t)(VMF__PAGE - 1); }

/* A fresh block.  What is left of the old slab is lost: less than one block of the largest class in 256 KiB. */
static void *carve(struct vmf__memory *m, size_t bytes)
{
	if ((size_t)(m->end - m->room) < bytes) {
		struct slab *s = map(SLAB);

		if (!s)
			return NULL;
		s->next = m->slabs;
		m->slabs = s;
		m->room = (char *)(s + 1);
		m->end = (char *)s + SLAB;
	}
	m->room += bytes;
	return m->room - bytes;
}

void *vmf__memory_take(struct vmf__memory *m, size_t bytes)
{
	struct block *b;
	unsigned c;

	if (bytes > (size_t)1 << LARGEST)
		return bytes < SIZE_MAX / 2 ? map(whole_pages(bytes)) : NULL;
	c = class_of(bytes);
	vmf__block(NULL);
	vmf__mutex_take(&m->lock);
	b = m->list[c];
	if (b)
		m->list[c] = b->next;
	else
		b = carve(m, (size_t)1 << (SMALLEST + c));
	vmf__mutex_drop(&m->lock);
	vmf__unblock(NULL);
	return b ? memset(b, 0, bytes) : NULL;
}

void vmf__memory_give(struct vmf__memory *m, void *p, size_t bytes)
{
	struct block *b = p;

	if (!p)
		return;
	if (bytes > (size_t)1 << LARGEST) {
		munmap(p, whole_pages(bytes));
		return;
	}
	vmf__block(NULL);
	vmf__mutex_take(&m->lock);
	b->next = m->list[class_of(bytes)];
	m->list[class_of(bytes)] = b;
	vmf__mutex_drop(&m->lock);
	vmf__unblock(NULL);
}

void vmf__memory_destroy(struct vmf__memory *m)
{
	for (struct slab *s = m->slabs, *next; s; s = next) {
		next = s->next;
		munmap(s, SLAB);
	}
	m->slabs = NULL;
	m->room = m->end = NULL;
}
