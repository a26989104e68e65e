/* SPDX-License-Identifier: MIT
 *
 * special: several views of one pool of device pages, after the IA-64 driver of that name: memory that is cached,
 * uncached, or behind a unit that does arithmetic on it (fetch-op).  A page of the pool is allocated when a page of the
 * object is first touched, on the node that this is done on, and is seen in one view at a time: who touches it in
 * another one takes it away from the old one first.
 */
#ifndef VMF_DRIVERS_SPECIAL_H
#define VMF_DRIVERS_SPECIAL_H
#include <vmfault/vmfault.h>

enum vmf_special_which { VMF_SPECIAL_CACHED, VMF_SPECIAL_UNCACHED, VMF_SPECIAL_FETCHOP, VMF_SPECIAL_VIEWS };

struct vmf_special;
/* One way to look: where the pool's first page is seen (perhaps at other pfns than in the other views), and how. */
struct vmf_special_view {
	struct vmf_special *of;
	struct vmf_object *object; /* map this, VMF_SHARED */
	vmf_pfn first;
	struct vmf_attr attr;
};
/* Whose pages they are.  Both are called in faults: no blocking lock.  take: a page of zeroes, of that node if there
 * is one, else of any; false: none is left. */
struct vmf_special_pool {
	bool (*take)(void *self, unsigned node, uint32_t *page);
	void (*give)(void *self, uint32_t page);
	void *self;
};
/* The caller's memory, for as long as the three objects live. */
struct vmf_special {
	struct vmf_port *port;
	struct vmf_special_pool pool;
	struct vmf_special_view view[VMF_SPECIAL_VIEWS];
	uint32_t *word;       /* of each page: which one of the pool it is, and which view shows it */
	uint64_t pages;
	uint32_t open;        /* views that are not released */
	struct vmf_wait changed;
};
#define VMF_SPECIAL_POOL ((1u << 28) - 1) /* pages of the pool, at most */

/* The caller has filled in pool, and first and attr of each view.  word: room for `pages`.  -VMF_ENOMEM, -VMF_EINVAL:
 * and nothing is left over. */
int vmf_special_open(struct vmf_special *, struct vmf_port *, uint32_t *word, uint64_t pages);
/* Drops the three objects; the pages go back to the pool when the last area of the last view has gone. */
void vmf_special_close(struct vmf_special *);

#endif
