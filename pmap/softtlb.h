/* SPDX-License-Identifier: MIT
 *
 * A pmap for CPUs whose TLB is filled by software: MIPS, e500.
 *
 *   - The truth is a hash table of entries; the refill handler copies from it into the TLB (vmf_softtlb_refill).  An
 *     entry shows one page or, on MIPS, a pair.  New ones come from a reserve that supply() fills up.
 *   - An address never has two TLB entries: every write goes over the one that probe() finds.
 *   - There is no dirty bit to read: a page that may not be written yet traps, and the core makes it writable.
 *   - Bolts are slots of the TLB that refills leave alone, each for one entry.  attach() reserves them for all of an
 *     area (VMF_BOLT), and bolt() takes them while there are any, until unbolt() or detach(): remove() empties the
 *     slot, and what is entered next comes into it again.
 */
#ifndef VMF_SOFTTLB_H
#define VMF_SOFTTLB_H
#include <vmfault/pmap.h>

#define VMF_SOFTTLB_BUCKETS 256u
#define VMF_SOFTTLB_BOLTS 16u

struct vmf_softtlb_config {
	struct vmf_port *port;
	void *self; /* passed to the functions */
	vmf_va lo, hi;
	uint8_t page_shift;
	uint8_t pair;    /* log2 of the pages that one entry shows: 0 or 1 */
	uint8_t bolts;   /* slots 0 to bolts - 1 of the TLB are ours to bolt; at most VMF_SOFTTLB_BOLTS */
	uint32_t reserve; /* entries to hold ready; a counted fault needs one */
	void *(*alloc)(void *self, size_t); /* as in struct vmf_host_ops; only in supply() */
	void (*free)(void *self, void *, size_t);
	/* The hardware's word for a page: e's pfn, attr and prot.  0 is the word for no page.  False: cannot be encoded. */
	bool (*encode)(void *self, const struct vmf_entry *e, uint64_t *hw);
	/* The slot that translates va (this address space's, valid or not); -1: none. */
	int (*probe)(void *self, vmf_va);
	/* Write the entry for the pages from va, aligned, into a slot.  -1: into one that is not a bolt's. */
	void (*write)(void *self, int slot, vmf_va, const uint64_t hw[2]);
	/* When it returns, no CPU has entries for the range, bolts' slots excepted. */
	void (*invalidate)(void *self, vmf_va, uint64_t pages);
	/* Slot `slot`, one of the bolts', matches no address any more. */
	void (*clear)(void *self, int slot);
	void (*icache)(void *self, vmf_va, uint64_t pages); /* as in pmap.h; may be NULL */
};

struct vmf_softtlb_entry {
	struct vmf_softtlb_entry *next; /* in its bucket, or free */
	vmf_va va;
	uint64_t hw[2];
	struct vmf_entry page[2];
};
/* Bit i of the masks: page i of the entry at va.  Free if both are 0. */
struct vmf_softtlb_bolt {
	vmf_va va;
	uint8_t reserved, held; /* by attach(), by bolt() */
	bool wired;             /* the slot holds it now */
};
struct vmf_softtlb {
	struct vmf_pmap pmap;
	struct vmf_softtlb_config cfg;
	struct vmf_lock lock;
	uint32_t spare;
	vmf_va stale_first, stale_last; /* removed or changed, and not yet out of the TLB */
	bool stale;
	struct vmf_softtlb_bolt bolt[VMF_SOFTTLB_BOLTS];
	struct vmf_softtlb_entry *bucket[VMF_SOFTTLB_BUCKETS], *free;
	void *slabs;
};
/* The reserve starts empty.  -VMF_EINVAL. */
int vmf_softtlb_init(struct vmf_softtlb *, const struct vmf_softtlb_config *);
/* All of its ranges are detached. */
void vmf_softtlb_fini(struct vmf_softtlb *);
/* For the trap handler, before it calls vmf_handle(): the TLB missed or refused this access.  True: it has an entry now
 * that allows it. */
bool vmf_softtlb_refill(struct vmf_softtlb *, vmf_va, unsigned access);

#endif
