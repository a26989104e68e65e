/* SPDX-License-Identifier: MIT
 *
 * devmem: a range of the physical memory map, page by page as it is touched, or all of it at map time.  What lies in a
 * hole the core refuses, and what is reserved unless a policy says otherwise; the driver need not know.
 */
#ifndef VMF_DRIVERS_DEVMEM_H
#define VMF_DRIVERS_DEVMEM_H
#include <vmfault/vmfault.h>

struct vmf_devmem {
	struct vmf_object *object; /* map this */
	vmf_pfn first;
	uint64_t pages;
	struct vmf_attr attr; /* { .strengthen = 1 }: what the range demands, or who shows a page already */
	uint32_t run; /* pages that a fault brings; 0: one */
	bool eager;   /* enter everything at map time */
};
/* The caller has filled in all but `object`, and keeps it for as long as the object lives.  -VMF_EINVAL: empty, or past
 * the last address; -VMF_ENOMEM. */
int vmf_devmem_open(struct vmf_devmem *, struct vmf_port *);
void vmf_devmem_close(struct vmf_devmem *);

#endif
