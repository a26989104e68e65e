/* SPDX-License-Identifier: MIT
 *
 * QEMU's `malta` machine with a 24Kf: 64 MiB of RAM from 0, seen by the kernel through kseg0, which is not translated.
 * The space has the translated lower half of the addresses.
 */
#include "tlb.h"
#include "../metal/metal.h"

#define BOLTS 4u /* entries of two pages */
#define UART 0xb80003f8u /* of the south bridge, seen uncached */
#define REVISION 0x1fc00010u

void mips_uhi_exit(unsigned status);
uintptr_t mips_trap(uint32_t cause, vmf_va, uintptr_t pc);

const struct board board = {
	.name = "mipsel",
	.pmap = "a software TLB",
	.heap_end = 0x81000000,
	.ram = { .size = sizeof(struct vmf_range), .kind = VMF_PHYS_RAM, .first = { 0x1000 }, .pages = 4096 },
	.device = { .size = sizeof(struct vmf_range), .kind = VMF_PHYS_DEVICE, .first = { REVISION >> 12 }, .pages = 8,
		    .attr = { .type = VMF_DEVICE } },
	.word_at = REVISION & 0xfff, /* the board's revision register: a Malta with a CoreLV */
	.word = 0x420,
	.weak = { .type = VMF_DEVICE, .port = 1 },
	.uncached = { .type = VMF_UC },
	.bolts = BOLTS * 2,
	.answer = { 0x03e00008, 0x2402002a }, /* jr $ra; li $v0, 42 */
};

static struct vmf_softtlb tlb;

/* ------------------------------------------------------------------------------------------------- the CPU */

static volatile uint8_t *uart(unsigned reg)
{
	return (volatile uint8_t *)(uintptr_t)(UART + reg);
}

void board_putc(char c)
{
	while (!(*uart(5) & 0x20))
		continue;
	*uart(0) = (uint8_t)c;
}

void board_exit(unsigned status)
{
	mips_uhi_exit(status);
	for (;;)
		continue;
}

/* Count runs at 100 MHz here, and is 32 bits wide: it has to be looked at now and then. */
uint64_t board_ns(void)
{
	static uint64_t ticks;
	uint32_t count;

	__asm__ volatile("mfc0 %0, $9" : "=r"(count));
	ticks += (uint32_t)(count - (uint32_t)ticks);
	return ticks * 10;
}

void *board_bytes(vmf_pfn pfn)
{
	return (void *)(uintptr_t)(0x80000000u + ((uint32_t)pfn.n << 12));
}

uintptr_t mips_trap(uint32_t cause, vmf_va va, uintptr_t pc)
{
	unsigned code = cause >> 2 & 31, access;
	bool slot = cause >> 31; /* pc is that of a branch, and what follows it has trapped */

	if (code < 1 || code > 3)
		metal_die("a trap that is no TLB exception", cause, va, pc);
	access = code != 2 ? VMF_W : va == pc + (slot ? 4 : 0) ? VMF_X : VMF_R;
	if (vmf_softtlb_refill(&tlb, va, access))
		return pc;
	return metal_trap(va, access, pc);
}

/* ------------------------------------------------------------------------------------------------ the pmap */

struct vmf_pmap *board_pmap(struct vmf_port *port, struct metal_heap *heap, unsigned i)
{
	struct vmf_softtlb_config config = {
		.port = port, .self = heap, .lo = 0x00400000, .hi = 0x70000000, .page_shift = 12, .pair = 1,
		.bolts = BOLTS, .reserve = 32, .alloc = metal_alloc, .free = metal_free, .encode = mips_tlb_encode,
		.probe = mips_tlb_probe, .write = mips_tlb_write, .invalidate = mips_tlb_invalidate,
		.clear = mips_tlb_clear, .icache = mips_icache,
	};

	(void)i;
	mips_tlb_init(BOLTS);
	return vmf_softtlb_init(&tlb, &config) ? NULL : &tlb.pmap;
}

/* The TLB is always on. */
void board_use(unsigned i) { (void)i; }

void board_pmap_gone(unsigned i)
{
	(void)i;
	vmf_softtlb_fini(&tlb);
}

/* By the manual: EntryLo is a pfn from bit 6, the coherency in bits 5 to 3 (2 uncached, 3 cached), valid in bit 1. */
bool board_shows(vmf_va va, vmf_pfn pfn, struct vmf_attr attr)
{
	uint32_t lo = mips_tlb_lo(va);

	return lo & 2 && lo >> 6 == pfn.n && (lo >> 3 & 7) == (attr.type == VMF_WB ? 3u : 2u);
}

bool board_tlb_sane(void)
{
	return mips_tlb_sane();
}
