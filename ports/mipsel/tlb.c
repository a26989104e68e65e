/* SPDX-License-Identifier: MIT
 *
 * See tlb.h.  Two matching entries are a machine check on silicon and go unnoticed in QEMU, so that is kept from
 * happening here: an index that is not in use holds an address of kseg0, which is never translated, another for each.
 */
#include "tlb.h"

#define INDEX "$0"
#define ENTRYLO0 "$2"
#define ENTRYLO1 "$3"
#define PAGEMASK "$5"
#define WIRED "$6"
#define ENTRYHI "$10"

#define READ(reg) ({ uint32_t v_; __asm__ volatile("mfc0 %0, " reg : "=r"(v_)); v_; })
#define WRITE(reg, v) __asm__ volatile("mtc0 %0, " reg "\n\tehb" ::"r"((uint32_t)(v)) : "memory")
#define DO(op) __asm__ volatile(op "\n\tehb" ::: "memory")

enum { LO_V = 1 << 1, LO_D = 1 << 2, LO_C_SHIFT = 3, LO_PFN_SHIFT = 6 };
#define VPN2 (~(uint32_t)0x1fff)
#define IMPLEMENTED_PFNS ((uint64_t)1 << 20) /* 32 bits of address on the 24K */

static unsigned tlb_size(void)
{
	uint32_t config1;

	__asm__ volatile("mfc0 %0, $16, 1" : "=r"(config1));
	return (config1 >> 25 & 63) + 1;
}

static uint32_t unused_vpn(unsigned slot)
{
	return 0x80000000u + slot * 0x2000;
}

bool mips_tlb_encode(void *self, const struct vmf_entry *e, uint64_t *hw)
{
	/* Uncached accesses of the 24K are in order and never merged, which is all that a device asks for. */
	static const uint8_t coherency[] = { [VMF_WB] = 3, [VMF_WT] = 0, [VMF_WC] = 7, [VMF_UC] = 2, [VMF_DEVICE] = 2 };

	(void)self;
	if (e->pfn.n >= IMPLEMENTED_PFNS || e->attr.type > VMF_DEVICE || e->attr.port)
		return false;
	*hw = (uint32_t)e->pfn.n << LO_PFN_SHIFT | (uint32_t)coherency[e->attr.type] << LO_C_SHIFT | LO_V |
	      (e->prot & VMF_W ? LO_D : 0);
	return true;
}

int mips_tlb_probe(void *self, vmf_va va)
{
	(void)self;
	WRITE(ENTRYHI, va & VPN2);
	DO("tlbp");
	return (int32_t)READ(INDEX) < 0 ? -1 : (int)(READ(INDEX) & 63);
}

void mips_tlb_write(void *self, int slot, vmf_va va, const uint64_t hw[2])
{
	(void)self;
	WRITE(ENTRYHI, va & VPN2);
	WRITE(ENTRYLO0, hw[0]);
	WRITE(ENTRYLO1, hw[1]);
	WRITE(PAGEMASK, 0);
	if (slot < 0) {
		DO("tlbwr");
	} else {
		WRITE(INDEX, slot);
		DO("tlbwi");
	}
}

void mips_tlb_clear(void *self, int slot)
{
	static const uint64_t nothing[2];

	mips_tlb_write(self, slot, unused_vpn((unsigned)slot), nothing);
}

void mips_tlb_invalidate(void *self, vmf_va va, uint64_t pages)
{
	vmf_va first = va & VPN2, last = (va + (((vmf_va)pages - 1) << 12)) & VPN2;

	for (unsigned slot = READ(WIRED); slot < tlb_size(); slot++) {
		vmf_va vpn;

		WRITE(INDEX, slot);
		DO("tlbr");
		vpn = READ(ENTRYHI) & VPN2;
		if (vpn >= first && vpn <= last)
			mips_tlb_clear(self, (int)slot);
	}
}

void mips_icache(void *self, vmf_va va, uint64_t pages)
{
	(void)self;
	(void)va;
	(void)pages;
	/* All of it, by index: the page may have been written through another address.  32 KiB, 4 ways, lines of 32. */
	for (uint32_t line = 0x80000000u; line < 0x80000000u + 32768; line += 32)
		__asm__ volatile("cache 1, 0(%0)\n\tcache 0, 0(%0)" ::"r"(line) : "memory");
	__asm__ volatile("sync; ehb" ::: "memory");
}

void mips_tlb_init(unsigned bolts)
{
	WRITE(WIRED, 0);
	for (unsigned slot = 0; slot < tlb_size(); slot++)
		mips_tlb_clear(NULL, (int)slot);
	WRITE(WIRED, bolts);
}

static uint32_t vpn_of(unsigned slot)
{
	WRITE(INDEX, slot);
	DO("tlbr");
	return READ(ENTRYHI) & VPN2;
}

bool mips_tlb_sane(void)
{
	for (unsigned i = 0; i < tlb_size(); i++)
		for (unsigned k = 0; k < i; k++)
			if (vpn_of(i) == vpn_of(k))
				return false;
	return true;
}

uint32_t mips_tlb_lo(vmf_va va)
{
	int slot = mips_tlb_probe(NULL, va);

	if (slot < 0)
		return 0;
	WRITE(INDEX, slot);
	DO("tlbr");
	return va & 0x1000 ? READ(ENTRYLO1) : READ(ENTRYLO0);
}
