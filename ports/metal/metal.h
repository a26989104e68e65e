/* SPDX-License-Identifier: MIT
 *
 * What a small machine without an operating system needs to carry the core: one CPU, no interrupts, 4 KiB pages.
 * A board supplies the functions named board_*; everything else here is shared.
 */
#ifndef VMF_METAL_H
#define VMF_METAL_H
#include <vmfault/pmap.h>

#define METAL_PAGE 4096u

/* Memory for the core's descriptors: blocks of powers of two, cut off a piece of RAM, and a free list for each size. */
struct metal_heap {
	uint8_t *next, *end;
	void *free[32];
	size_t live; /* bytes handed out */
};
void metal_heap_init(struct metal_heap *, void *, size_t bytes);
void *metal_alloc(void *heap, size_t);          /* zeroed; blocks of a page and more are page-aligned */
void metal_free(void *heap, void *, size_t);

/* The host of a port.  heap comes first: it is `self` for metal_alloc() and metal_free() too. */
struct metal_host {
	struct metal_heap heap;
	void (*poll)(void *arg); /* called while something waits: the place of interrupts; may be NULL */
	void *arg;
};
extern const struct vmf_host_ops metal_host_ops;

/* One CPU, and what it runs in. */
struct metal_cpu {
	struct vmf_space *space;
	struct vmf_result failed; /* of the last access that could not be resolved */
	uint32_t traps, retries;
	enum { METAL_FETCHES_NOT, METAL_FETCHES, METAL_FETCH_FAILED } fetch;
};
extern struct metal_cpu metal_cpu;

/* A page fault, from the board's trap code.  Returns where to go on: at pc, or after an access that has failed. */
uintptr_t metal_trap(vmf_va, unsigned access, uintptr_t pc);
_Noreturn void metal_die(const char *what, uintptr_t cause, vmf_va, uintptr_t pc);

void metal_puts(const char *);
void metal_put_hex(uintptr_t);
void metal_put_dec(uint32_t);

/* A random sequence of operations, compared with a reference; with nothing mapped at the start of the space. */
bool metal_model(struct metal_host *, struct vmf_port *, struct vmf_space *);

/* The program. */
void metal_main(void);

/* --------------------------------------------------------------------------------------------- the board */

struct board {
	const char *name;
	const char *pmap;      /* what kind it is, for the eye */
	uintptr_t heap_end;    /* the heap begins after the program */
	struct vmf_range ram;  /* for frames */
	struct vmf_range device;
	uint32_t word_at, word; /* a register in the device range, and what it reads */
	struct vmf_attr weak;  /* attributes that do not cover the device range's */
	struct vmf_attr uncached; /* others that RAM can be shown with; zeroed: none */
	uint32_t bolts;        /* pages that can be bolted at a time */
	uint32_t spaces;       /* that there can be; 0: one */
	uint32_t answer[2];    /* instructions of a function that returns 42 */
	/* A function of one word that returns what is in the bits of code_mask, moved down; 0: there is none, or what may
	 * not be executed cannot be told. */
	uint32_t code, code_mask, code_shift;
};
extern const struct board board;

void board_putc(char);
_Noreturn void board_exit(unsigned status);
uint64_t board_ns(void);
void *board_bytes(vmf_pfn);
/* The pmap of space i.  NULL: no memory. */
struct vmf_pmap *board_pmap(struct vmf_port *, struct metal_heap *, unsigned i);
/* From its return on the CPU translates by that of space i. */
void board_use(unsigned i);
void board_pmap_gone(unsigned i);
/* Does the hardware's own entry for va say so?  (Not the pmap's tables: what the CPU uses.) */
bool board_shows(vmf_va, vmf_pfn, struct vmf_attr);
/* Does no address have two entries in the TLB?  True where that cannot happen. */
bool board_tlb_sane(void);

/* Loads and stores that may fail: 0, or 1 and metal_cpu.failed says why.  A fault at a pc from board_access to
 * board_access_end goes on at board_access_failed. */
int board_peek(vmf_va, uint32_t *);
int board_poke(vmf_va, uint32_t);
extern const char board_access[], board_access_end[], board_access_failed[];
/* Loads from va with a pattern in every register that a trap must keep; how many came back wrong. */
unsigned board_registers(vmf_va);

extern char image_end[]; /* by the linker */

#endif
