/* SPDX-License-Identifier: MIT
 *
 * The simulated machine's own nouns: the machine (memory, slots, points), and one MMU for each space.
 */
#ifndef VMF_SIM_MACHINE_H
#define VMF_SIM_MACHINE_H
#include <pthread.h>
#include <vmfault/sim.h>

#define SLOTS_MAX 64u
#define SEGMENTS 512u
#define SEGMENT_SHIFT 28u               /* pages of the largest segment, and the distance between two */
#define SEGMENT_FIRST (1ull << 36)      /* pfn of the first */
#define DEVICE_PAGES 256u
#define RESERVED_PAGES 16u
#define PORT_BITS 0xffu                 /* of vmf_attr.port, that an entry can hold */

struct sim_point {
	uint64_t calls;
	uint32_t left;   /* calls until one fails; 0: never */
	int err;
	vmf_sim_hook *hook;
	void *self;
};
struct sim_slot { uint32_t taken, node; };
struct sim_segment { void *bytes; uint64_t pages; }; /* bytes: atomic, NULL: free */

struct vmf_sim {
	struct vmf_sim_config config;
	struct vmf_host_ops host;
	struct vmf_port *port;
	size_t page;
	uint8_t *ram, *device;
	uint64_t live;
	pthread_key_t key; /* a thread's slot */
	struct sim_slot slots[SLOTS_MAX];
	pthread_mutex_t lock; /* next_segment, and who changes segments */
	uint32_t next_segment;
	struct sim_segment segments[SEGMENTS];
	struct sim_point points[VMF_SIM_POINTS];
};

/* Counts, calls the hook, and says whether this call has to fail: 0 or a negative error. */
int vmf__sim_point(struct vmf_sim *, enum vmf_sim_point, struct vmf_space *, uint64_t at, uint64_t pages);
void *vmf__sim_bytes(void *sim, vmf_pfn); /* NULL: nothing is there */

/* One entry.  What was forgotten stays as `gone`, invisible, until its reference can be handed back. */
struct sim_entry {
	struct sim_entry *next;
	vmf_va va;
	vmf_pfn pfn;
	struct vmf_attr attr;
	uint8_t order, prot;
	bool raw, gone, owned; /* owned: its bytes are page[] */
	_Alignas(16) uint8_t page[]; /* BY_COPY */
};
/* What attach() prepared. */
struct sim_range {
	vmf_va va;
	uint64_t pages;
	vmf_pfn segment; /* what its first page shows; n 0: it has none */
	uint8_t prot;
	bool bolts;
};
struct sim_chunk;
struct sim_place { vmf_va va; struct sim_chunk *of; };
struct sim_mmu {
	struct vmf_pmap pmap;
	struct vmf_sim *sim;
	struct vmf_space *space;
	struct vmf_lock lock; /* all that follows */
	struct sim_entry **bucket;
	uint32_t buckets, entries; /* buckets: a power of two */
	struct sim_entry *spare;
	uint32_t spares;
	uint32_t bolts; /* neither reserved nor held */
	vmf_va *bolt;   /* pages that are held: so many */
	uint32_t held;
	uint32_t orders; /* bit i: some entry of order i was made */
	uint32_t reserve; /* what supply() fills `spare` up to */
	struct sim_place *chunk; /* of ranges; by address */
	uint32_t chunks, places, spare_chunks;
	struct sim_chunk *spare_chunk;
	uint64_t unflushed;
};
extern const struct vmf_pmap_ops vmf__sim_pmap_ops;

static inline vmf_va vmf__sim_span(const struct sim_mmu *m, uint64_t pages)
{
	return (vmf_va)pages << m->sim->config.page_shift;
}

static inline vmf_va vmf__sim_range_end(const struct sim_mmu *m, const struct sim_range *r)
{
	return r->va + vmf__sim_span(m, r->pages);
}

int vmf__sim_supply(struct vmf_pmap *);
void vmf__sim_mmu_free(struct sim_mmu *);

/* ranges.c and mmu.c: all with the lock held. */
struct sim_range *vmf__sim_range_after(struct sim_mmu *, vmf_va); /* the first that ends after va; NULL: none */
struct sim_range *vmf__sim_range(struct sim_mmu *, vmf_va); /* NULL: none */
bool vmf__sim_ranges_room(struct sim_mmu *); /* for two more; false: no memory */
void vmf__sim_range_insert(struct sim_mmu *, struct sim_range);
bool vmf__sim_range_take(struct sim_mmu *, vmf_va, vmf_va end, struct sim_range *); /* the first there; false: none */
void vmf__sim_range_cut(struct sim_mmu *, vmf_va); /* makes va a boundary */
void vmf__sim_ranges_free(struct sim_mmu *);

bool vmf__sim_buckets(struct sim_mmu *, uint32_t n); /* so many; false: no memory, and all is as before */
struct sim_entry *vmf__sim_find(struct sim_mmu *, vmf_va);                 /* NULL: none */
struct sim_entry *vmf__sim_make(struct sim_mmu *, vmf_va, unsigned order); /* NULL: no spare */
/* An entry that was forgotten, and shows the same as before, comes back with the reference that it has. */
bool vmf__sim_revive(struct sim_mmu *, vmf_va, uint64_t pfn, unsigned order, uint8_t prot);
uint8_t *vmf__sim_at(struct sim_mmu *, struct sim_entry *, vmf_va); /* where the byte is */
int vmf__sim_bolt(struct sim_mmu *, vmf_va); /* as bolt() */
void vmf__sim_unbolt(struct sim_mmu *, vmf_va, vmf_va end); /* what is held there is free again */
/* Drops entries; owned: also those that own their bytes. */
void vmf__sim_drop(struct sim_mmu *, vmf_va, uint64_t pages, bool owned, struct vmf_gather *);
void vmf__sim_limit(struct sim_mmu *, vmf_va, uint64_t pages, uint8_t prot); /* they lose what prot does not allow */
int vmf__sim_protect_ranges(struct sim_mmu *, vmf_va, uint64_t pages, uint8_t prot);
bool vmf__sim_forget(struct sim_mmu *, vmf_va); /* one page; false: no spare */
int vmf__sim_move(struct sim_mmu *, vmf_va from, vmf_va to, uint64_t pages); /* nothing is at `to` */

#endif
