/* SPDX-License-Identifier: MIT
 *
 * migrate: pages that are now in RAM, now in the memory of a device, as the local store of a Cell SPE: in RAM while its
 * context is switched out, in the device while it is switched in.  Programs map the object once and go on using it;
 * no write of theirs is lost, whenever it comes.
 */
#ifndef VMF_DRIVERS_MIGRATE_H
#define VMF_DRIVERS_MIGRATE_H
#include <vmfault/vmfault.h>

/* busy is the page's lock: who has it is showing the page, or moving it. */
enum { VMF_MIGRATE_IN = 1, VMF_MIGRATE_BUSY = 2 };
struct vmf_migrate_page {
	struct vmf_frame *frame; /* its place in RAM, kept also while it is in: coming out cannot fail */
	uint32_t word;           /* VMF_MIGRATE_*, atomic */
};
struct vmf_migrate {
	struct vmf_object *object; /* map this, VMF_SHARED */
	struct vmf_port *port;
	vmf_pfn first;             /* the device's memory: so many pages of a DEVICE range, */
	uint64_t pages;
	struct vmf_attr attr;      /* how programs see it, */
	void *device;              /* and where the driver does */
	struct vmf_migrate_page *page; /* room for `pages` */
	struct vmf_wait moved;
};
/* The caller has filled in first, pages, attr, device and page, and keeps it all for as long as the object lives.
 * Everything is out, and zero.  -VMF_EINVAL: empty; -VMF_ENOMEM. */
int vmf_migrate_open(struct vmf_migrate *, struct vmf_port *);
void vmf_migrate_close(struct vmf_migrate *);
/* From its return on the range is in the device / in RAM, and shown from there.  Who touches it meanwhile waits.
 * -VMF_EINVAL: not all in the object; else as vmf_revoke(), and nothing has moved.  The caller touches the object by
 * no mapping until it returns, also not in a signal handler of its thread.  => sleeps */
int vmf_migrate_in(struct vmf_migrate *, uint64_t first, uint64_t pages);
int vmf_migrate_out(struct vmf_migrate *, uint64_t first, uint64_t pages);

#endif
