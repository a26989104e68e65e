/* SPDX-License-Identifier: MIT
 *
 * A pmap of radix page tables, from a description of levels: Sv39, x86-64 and AArch64 are such descriptions.
 *
 *   - The root table is the port's: it may hold the kernel's own mappings beside the range lo..hi, which is ours.
 *     The tables below it come from a reserve of zeroed pages that supply() fills up.
 *   - Accessed and dirty bits are not used: an entry that may be written is encoded as written already.
 *   - A leaf of a higher level (a huge page) is removed, and loses permissions, as a whole, also if only part of it is
 *     asked for: the rest faults again.
 */
#ifndef VMF_PTWALK_H
#define VMF_PTWALK_H
#include <vmfault/pmap.h>

#define VMF_PTWALK_LEVELS 5u
#define VMF_PTWALK_RESERVE 16u

enum vmf_ptwalk_kind { VMF_PTWALK_ABSENT, VMF_PTWALK_TABLE, VMF_PTWALK_LEAF };

/* Entries are of the CPU's word, and an absent one is 0.  Level 0 holds the pages. */
struct vmf_ptwalk_format {
	uint8_t page_shift, levels;
	uint8_t bits[VMF_PTWALK_LEVELS]; /* index bits of each level */
	uint8_t leaves;                  /* bit i: an entry of level i may be a leaf */
	bool absent_cached;              /* hardware may remember that an entry was absent: flush after entering too */
	uintptr_t (*table)(vmf_pfn);     /* the entry that names a table */
	/* The entry that names a page with e's pfn, attr, prot (perhaps 0: present, but nothing is allowed) and raw.
	 * False: cannot be encoded. */
	bool (*encode)(void *self, const struct vmf_entry *e, unsigned level, uintptr_t *);
	/* The other way round, of an entry that is not 0: all of *e but `order` and `present`.  Of a table the pfn only. */
	enum vmf_ptwalk_kind (*decode)(void *self, uintptr_t, unsigned level, struct vmf_entry *e);
};

struct vmf_ptwalk_config {
	const struct vmf_ptwalk_format *format; /* kept, not copied */
	struct vmf_port *port;
	void *self; /* passed to the functions */
	vmf_va lo, hi;
	uintptr_t *root;
	uint32_t reserve; /* tables to hold ready, at most VMF_PTWALK_RESERVE; a fault needs up to levels - 1 */
	bool (*take)(void *self, vmf_pfn *); /* a zeroed page for a table; only in supply().  False: none left */
	void (*give)(void *self, vmf_pfn);   /* back, zeroed again; => short locks only */
	void *(*bytes)(void *self, vmf_pfn); /* where a table is seen */
	/* When it returns, no CPU translates by what the entries of the range were before.  tables: entries that name
	 * tables have changed too. */
	void (*flush)(void *self, vmf_va, uint64_t pages, bool tables);
	void (*icache)(void *self, vmf_va, uint64_t pages); /* as in pmap.h; may be NULL */
};

struct vmf_ptwalk_range {
	vmf_va first, last; /* both within */
	bool some, tables;
};
struct vmf_ptwalk {
	struct vmf_pmap pmap;
	struct vmf_ptwalk_config cfg;
	struct vmf_lock lock;
	struct vmf_ptwalk_range stale; /* removed or changed, and not yet flushed */
	uint32_t spare, dead;
	vmf_pfn reserve[VMF_PTWALK_RESERVE];
	vmf_pfn grave[VMF_PTWALK_RESERVE]; /* tables that are empty, but not yet flushed */
};
/* The reserve starts empty.  -VMF_EINVAL. */
int vmf_ptwalk_init(struct vmf_ptwalk *, const struct vmf_ptwalk_config *);
/* All of its ranges are detached.  The root is the port's again, and the reserve is given back. */
void vmf_ptwalk_fini(struct vmf_ptwalk *);

#endif
