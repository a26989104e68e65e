/* SPDX-License-Identifier: MIT
 *
 * The simulated port: an MMU in memory.  Loads and stores walk it, fault, call the core and go on, so every fault, race
 * and failure can be had on purpose; and it is the model that the other ports are compared with.
 */
#ifndef VMFAULT_SIM_H
#define VMFAULT_SIM_H
#include <vmfault/pmap.h>
#ifdef __cplusplus
extern "C" {
#endif

struct vmf_sim_config {
	uint32_t size;
	uint8_t store;      /* enum vmf_store: which kind of window its areas have */
	uint8_t page_shift; /* 0: 12 */
	bool protect;       /* entries can be write-protected */
	bool fences;        /* no host.barrier: the core uses fences */
	uint64_t ram_pages; /* RAM at pfn 0x100...; 0: 4096 */
	uint32_t slots;     /* threads that can fault at a time; 0: 64, and no more than that */
	uint32_t bolts;     /* entries of a space that can be locked in place */
	uint32_t fail_alloc; /* the n-th host.alloc of all fails, those of vmf_sim_open() included; 0: none */
	bool strict; /* as in struct vmf_port_config */
	uint8_t zero[3];
	void (*trace)(void *, struct vmf_space *, vmf_va, unsigned access, struct vmf_result, uint32_t tries);
	void *trace_self;
};
/* One simulated machine.  RAM at pfn 0x100, then a hole, a DEVICE range of 256 pages (VMF_UC) at pfn 0x1000000 that
 * behaves as memory, a RESERVED range of 16 pages at 0x2000000.  Orders 0 to 9 exist in windows by address, else only
 * 0.  Windows by copy are for areas without VMF_SHARED, those by offset for areas with it (-VMF_ENOSYS), those by
 * address for both.  Attributes: every type, and the lower eight port bits. */
struct vmf_sim;
int vmf_sim_open(struct vmf_sim **, const struct vmf_sim_config *);
void vmf_sim_close(struct vmf_sim *); /* its spaces and objects have gone */
struct vmf_port *vmf_sim_port(struct vmf_sim *);
void *vmf_sim_device(struct vmf_sim *, uint64_t page); /* the bytes of a page of the device range */
void vmf_sim_here(struct vmf_sim *, uint32_t node);    /* this thread is a CPU of that node; at first: 0 */
#define VMF_SIM_RAM 0x100u
#define VMF_SIM_DEVICE 0x1000000u
#define VMF_SIM_RESERVED 0x2000000u
/* The device's pages again, from this pfn on, which are in no range until somebody adds one; and the port bit of
 * attributes with which any page does arithmetic itself: a store of an aligned word of 4 bytes adds it to what is
 * there, and a load adds 1 and gives what was there before (fetch-op); others are as ever. */
#define VMF_SIM_FETCHOP 0x1800000u
#define VMF_SIM_ADDS 0x80u
/* Addresses from here, and below there. */
#define VMF_SIM_LOWEST ((vmf_va)1 << 20)
#define VMF_SIM_HIGHEST ((vmf_va)1 << (sizeof(vmf_va) > 4 ? 46 : 31))

int vmf_sim_space(struct vmf_sim *, struct vmf_space **);
int vmf_sim_space_close(struct vmf_space *); /* as vmf_space_destroy() */
/* What a CPU does: walk, fault, wait and try again until it is through.  VMF_OK and the bytes moved (and the flags of
 * the last fault on the way, if there was one), or the first failure.  A signal that arrives in a wait is delivered,
 * and the instruction starts again. */
struct vmf_result vmf_sim_load(struct vmf_space *, vmf_va, void *, size_t);
struct vmf_result vmf_sim_store(struct vmf_space *, vmf_va, const void *, size_t);
struct vmf_result vmf_sim_fetch(struct vmf_space *, vmf_va, void *, size_t); /* as load, but asks for VMF_X */
/* A madvise(MADV_DONTNEED) on the pmap's own: entries are forgotten, by-copy bytes are lost and read zero, also where
 * none were yet.  Bolted entries stay. */
void vmf_sim_forget(struct vmf_space *, vmf_va, uint64_t pages);
/* A mremap() of whole areas or parts of them: what is at `to` is unmapped (or what vmf_unmap() said), then what is at
 * `from`, entries and all, is there, and the core is told (vmf_space_moved()).  Not an entry of a higher order that
 * reaches out of the range.  -VMF_EINVAL: they overlap, or are no whole pages, or wrap; -VMF_ENOMEM.  => sleeps */
int vmf_sim_move(struct vmf_space *, vmf_va from, vmf_va to, uint64_t pages);
/* Reductions of what the CPUs may still be using, not yet ended by an update().  0 whenever the core is at rest. */
uint64_t vmf_sim_unflushed(struct vmf_space *);

/* Where the core calls the machine: to count, to fail, to make a race certain. */
enum vmf_sim_point {
	VMF_SIM_ALLOC, /* host.alloc */
	VMF_SIM_SEGMENT,
	VMF_SIM_PUNCH,
	VMF_SIM_WAIT,
	VMF_SIM_ATTACH, /* from here on: of a pmap */
	VMF_SIM_DETACH,
	VMF_SIM_ENTER,
	VMF_SIM_REMOVE,
	VMF_SIM_PROTECT,
	VMF_SIM_CLEAN,
	VMF_SIM_SUPPLY,
	VMF_SIM_BOLT,
	VMF_SIM_QUERY,
	VMF_SIM_TAKE,
	VMF_SIM_ICACHE,
	VMF_SIM_UPDATE,
	VMF_SIM_POINTS
};
/* The n-th call (from now, 1 is the next) of this kind fails once with `err`, of either sign; 0: none.  What cannot
 * fail (PUNCH, ICACHE, UPDATE) does not. */
void vmf_sim_fail(struct vmf_sim *, enum vmf_sim_point, uint32_t n, int err);
uint64_t vmf_sim_calls(const struct vmf_sim *, enum vmf_sim_point); /* so far */
/* Called at each such call, before it does anything and with nothing of the pmap's locked; space NULL: of no pmap; at
 * and pages: what it is about (ALLOC: 0 and bytes; SEGMENT, PUNCH: pfn and pages).  Set while no other thread runs. */
typedef void vmf_sim_hook(void *self, struct vmf_space *, uint64_t at, uint64_t pages);
void vmf_sim_on(struct vmf_sim *, enum vmf_sim_point, vmf_sim_hook *, void *self);
/* Bytes allocated by the core and not freed, those of the port included. */
uint64_t vmf_sim_live(const struct vmf_sim *);

#ifdef __cplusplus
}
#endif
#endif
