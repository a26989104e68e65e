/* SPDX-License-Identifier: MIT
 *
 * The TLB of a MIPS32 release 2 CPU, as softtlb wants it: pairs of 4 KiB pages, address space 0.
 */
#ifndef VMF_MIPS_TLB_H
#define VMF_MIPS_TLB_H
#include "../../pmap/softtlb.h"

/* EntryLo of one page: 32 bits that the hardware has, of which 24 are a pfn. */
bool mips_tlb_encode(void *self, const struct vmf_entry *, uint64_t *hw);
int mips_tlb_probe(void *self, vmf_va);
void mips_tlb_write(void *self, int slot, vmf_va, const uint64_t hw[2]);
void mips_tlb_invalidate(void *self, vmf_va, uint64_t pages);
void mips_tlb_clear(void *self, int slot);
void mips_icache(void *self, vmf_va, uint64_t pages);

void mips_tlb_init(unsigned bolts);
bool mips_tlb_sane(void);           /* does no address match two entries? */
uint32_t mips_tlb_lo(vmf_va);       /* what the hardware has for it; 0: nothing */

#endif
