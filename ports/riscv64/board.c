/* SPDX-License-Identifier: MIT
 *
 * QEMU's `virt` machine: OpenSBI below us, RAM at 2 GiB, devices below.  The kernel's own mapping is the identity, by
 * two gigapages; the space has what lies between 64 and 128 GiB.
 */
#include "sv39.h"
#include "../metal/metal.h"

#define GIB ((uintptr_t)1 << 30)
#define RAM ((uintptr_t)0x80000000)
#define RAM_BYTES ((uintptr_t)64 << 20)
#define VIRTIO 0x10001000u
#define FINISHER ((volatile uint32_t *)0x100000)

#define BOARD_SPACES 2u

uintptr_t riscv_trap(uintptr_t cause, vmf_va, uintptr_t pc);

const struct board board = {
	.name = "riscv64",
	.pmap = "Sv39 page tables",
	.heap_end = 0x81000000,
	.ram = { .size = sizeof(struct vmf_range), .kind = VMF_PHYS_RAM, .first = { 0x81000 }, .pages = 4096 },
	.device = { .size = sizeof(struct vmf_range), .kind = VMF_PHYS_DEVICE, .first = { VIRTIO >> 12 }, .pages = 8,
		    .attr = { .type = VMF_DEVICE } },
	.word_at = 0, /* the magic value of the first virtio transport: "virt" */
	.word = 0x74726976,
	.weak = { .type = VMF_WC },
	.spaces = BOARD_SPACES,
	.answer = { 0x02a00513, 0x00008067 }, /* li a0, 42; ret */
	.code = 0x80824501, /* c.li a0, 0 to 31; c.jr ra */
	.code_mask = 31 << 2,
	.code_shift = 2,
};

static struct vmf_ptwalk walk[BOARD_SPACES];
static struct vmf_sv39_memory memory = { { RAM >> 12 }, RAM_BYTES >> 12 };
static uintptr_t root[BOARD_SPACES][512] __attribute__((aligned(4096)));
static unsigned used; /* whose tables the CPU walks */
static struct metal_heap *table_heap;

/* ------------------------------------------------------------------------------------------------- the CPU */

static long sbi(long extension, long a)
{
	register long a0 __asm__("a0") = a;
	register long a7 __asm__("a7") = extension;

	__asm__ volatile("ecall" : "+r"(a0) : "r"(a7) : "a1", "memory");
	return a0;
}

void board_putc(char c)
{
	(void)sbi(1, c);
}

void board_exit(unsigned status)
{
	*FINISHER = status ? status << 16 | 0x3333 : 0x5555;
	for (;;)
		__asm__ volatile("wfi");
}

/* The timer runs at 10 MHz. */
uint64_t board_ns(void)
{
	uint64_t ticks;

	__asm__ volatile("rdtime %0" : "=r"(ticks));
	return ticks * 100;
}

void *board_bytes(vmf_pfn pfn)
{
	return (void *)(uintptr_t)(pfn.n << 12);
}

uintptr_t riscv_trap(uintptr_t cause, vmf_va va, uintptr_t pc)
{
	switch (cause) {
	case 12:
		return metal_trap(va, VMF_X, pc);
	case 13:
		return metal_trap(va, VMF_R, pc);
	case 15:
		return metal_trap(va, VMF_W, pc);
	default:
		metal_die("a trap that is no page fault", cause, va, pc);
	}
}

/* ------------------------------------------------------------------------------------------------ the pmap */

static bool table_take(void *self, vmf_pfn *table)
{
	void *page = metal_alloc(table_heap, METAL_PAGE);

	(void)self;
	table->n = (uintptr_t)page >> 12;
	return page;
}

static void table_give(void *self, vmf_pfn table)
{
	(void)self;
	metal_free(table_heap, board_bytes(table), METAL_PAGE);
}

static void *table_bytes(void *self, vmf_pfn table)
{
	(void)self;
	return board_bytes(table);
}

/* An address given to sfence.vma spares the entries that name tables. */
static void flush(void *self, vmf_va va, uint64_t pages, bool tables)
{
	(void)self;
	if (tables || pages > 32) {
		__asm__ volatile("sfence.vma" ::: "memory");
		return;
	}
	for (; pages; pages--, va += METAL_PAGE)
		__asm__ volatile("sfence.vma %0" ::"r"(va) : "memory");
}

static void icache(void *self, vmf_va va, uint64_t pages)
{
	(void)self;
	(void)va;
	(void)pages;
	__asm__ volatile("fence.i" ::: "memory");
}

/* A gigapage of the kernel's. */
static uintptr_t identity(uintptr_t va, unsigned prot, unsigned type)
{
	struct vmf_entry e = { .pfn = { va >> 12 }, .prot = (uint8_t)prot, .attr = { .type = (uint8_t)type } };
	uintptr_t entry = 0;

	return vmf_sv39.encode(&memory, &e, 2, &entry) ? entry : 0;
}

struct vmf_pmap *board_pmap(struct vmf_port *port, struct metal_heap *heap, unsigned i)
{
	struct vmf_ptwalk_config config = {
		.format = &vmf_sv39, .port = port, .self = &memory, .lo = 64 * GIB, .hi = 128 * GIB, .root = root[i],
		.reserve = 8, .take = table_take, .give = table_give, .bytes = table_bytes, .flush = flush,
		.icache = icache,
	};
	table_heap = heap;
	root[i][0] = identity(0, VMF_R | VMF_W, VMF_DEVICE);
	root[i][RAM / GIB] = identity(RAM, VMF_R | VMF_W | VMF_X, VMF_WB);
	return vmf_ptwalk_init(&walk[i], &config) ? NULL : &walk[i].pmap;
}

/* Without address space numbers: what was cached of the other's tables goes. */
void board_use(unsigned i)
{
	uintptr_t satp = (uintptr_t)8 << 60 | (uintptr_t)root[i] >> 12;

	used = i;
	__asm__ volatile("sfence.vma; csrw satp, %0; sfence.vma" ::"r"(satp) : "memory");
}

void board_pmap_gone(unsigned i) { vmf_ptwalk_fini(&walk[i]); }

/* By hand, and by the manual: not with the code that made the tables. */
bool board_shows(vmf_va va, vmf_pfn pfn, struct vmf_attr attr)
{
	const uint64_t *table = (const uint64_t *)root[used];
	uint64_t entry = table[va >> 30 & 511];

	for (unsigned shift = 21; shift >= 12; shift -= 9) {
		if ((entry & 15) != 1)
			return false;
		table = (const uint64_t *)(uintptr_t)(entry >> 10 << 12);
		entry = table[va >> shift & 511];
	}
	/* No attributes to encode, so bits 63 to 54 are zero, and what the address says must be what was asked for. */
	return (entry & 3) == 3 && entry >> 10 == pfn.n && (pfn.n >= 0x80000 ? VMF_WB : VMF_DEVICE) == attr.type;
}

bool board_tlb_sane(void)
{
	return true;
}
