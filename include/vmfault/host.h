/* SPDX-License-Identifier: MIT
 *
 * What a port supplies so that the core can live: memory, waits, time.  And what a port calls: vmf_handle().
 * (What it supplies so that the core can map is in pmap.h.)  The core is freestanding C11 and needs, beside these,
 * only the four functions that every freestanding compiler may call: memcpy, memmove, memset, memcmp.
 */
#ifndef VMFAULT_HOST_H
#define VMFAULT_HOST_H
#include <vmfault/vmfault.h>
#ifdef __cplusplus
extern "C" {
#endif

struct vmf_pmap;

struct vmf_host_ops {
	uint32_t size, flags;
	/* Memory for descriptors and tables, 16-byte aligned, zeroed; NULL: none.  Never called from vmf_handle(),
	 * which lives on a reserve that vmf_ticket_wait() fills up. */
	void *(*alloc)(void *self, size_t bytes);
	void (*free)(void *self, void *, size_t bytes);
	/* Where the core sees the bytes of a frame of RAM or of a segment; adjacent pfns are adjacent there within
	 * one range or one segment. */
	void *(*bytes)(void *self, vmf_pfn);
	/* The in-flight slot of this CPU or thread: below the port's `slots`, and no other's while it runs here.
	 * VMF_NO_SLOT: none left (the fault is then RETRY/RESOURCE). */
	uint32_t (*slot)(void *self);
	/* When it returns, every CPU or thread that has a slot has passed a full memory barrier.  NULL: the core puts
	 * a fence into the fault path instead.  (Linux: membarrier, 11 us, so that a fault need not pay.) */
	void (*barrier)(void *self);
	/* Keep asynchronous traps and signals out of this CPU or thread; they nest.  Around every lock that is taken
	 * outside a handler, so that a signal handler which faults cannot meet its own thread's lock.  May be NULL. */
	void (*block)(void *self);
	void (*unblock)(void *self);
	/* Sleep while *word == seen, at most ns (0: without limit).  0: woken, changed, or for no reason; -VMF_ETIME;
	 * with `interruptible`: -VMF_EINTR if a signal wants to be delivered.  word NULL: just ns. */
	int (*wait)(void *self, const uint32_t *word, uint32_t seen, uint64_t ns, bool interruptible);
	void (*wake)(void *self, const uint32_t *word); /* all who wait on it; from anywhere */
	uint64_t (*now)(void *self);                    /* ns from any start; NULL: no time, waits are polls */
	/* After every fault, with what came of it; may be NULL, and costs nothing then. */
	void (*trace)(void *self, struct vmf_space *, vmf_va, unsigned access, struct vmf_result, uint32_t tries);
	/* A run of `pages` pfns that windows by offset can show (Linux: a memfd); its frames read zero until written.
	 * 0 or -VMF_ENOMEM.  NULL: objects get their frames from RAM ranges. */
	int (*segment)(void *self, uint64_t pages, vmf_pfn *first);
	/* Give the memory of part of it back; it reads zero again. */
	void (*segment_punch)(void *self, vmf_pfn first, uint64_t pages);
	void (*segment_free)(void *self, vmf_pfn first, uint64_t pages);
	/* A rule was broken that a library built with VMF_DEBUG checks: says so, and does not return.  May be NULL. */
	void (*panic)(void *self, const char *what);
	/* The node of the CPU that runs here.  NULL: 0. */
	uint32_t (*node)(void *self);
	/* Make the memory of part of a segment, so that its bytes can be touched; what was made already stays as it is.  0
	 * or -VMF_ENOMEM: the fault is OOM/RESOURCE then.  Also from vmf_handle().  NULL: touching them cannot fail. */
	int (*segment_make)(void *self, vmf_pfn first, uint64_t pages);
};
#define VMF_NO_SLOT UINT32_MAX

struct vmf_port_config {
	uint32_t size, abi;             /* abi: VMF_ABI */
	const struct vmf_host_ops *host;
	void *self;                     /* passed to every one of them */
	uint32_t slots;                 /* how many CPUs or threads can fault at a time */
	uint8_t page_shift;             /* log2 of the base page, 12 to 16 */
	/* A driver's mistake is a result, with a reason.  In a library built with VMF_DEBUG a strict port panics as well,
	 * where it is made, with a line that names it.  No other library looks at this. */
	bool strict;
	uint8_t zero[2];
};
/* -VMF_ENOSYS: another ABI, or an operation that the core cannot do without is NULL; -VMF_EINVAL; -VMF_ENOMEM. */
int vmf_port_create(struct vmf_port **, const struct vmf_port_config *);
void vmf_port_destroy(struct vmf_port *); /* its spaces and objects have gone (a strict one panics if not) */
void *vmf_port_self(const struct vmf_port *);
/* Releases the objects whose last reference was a fault's (a fault itself releases nothing: it may run in a signal or
 * trap handler).  Calls that may sleep do it too; for ports with threads of their own, when they have done a batch.
 * => sleeps */
void vmf_port_tidy(struct vmf_port *);

/* A space that is entered in this pmap.  -VMF_ENOSYS: a pmap operation is missing; -VMF_EINVAL; -VMF_ENOMEM. */
int vmf_space_create(struct vmf_port *, struct vmf_space **, struct vmf_pmap *);
/* Unmaps all.  Nobody faults.  0: the pmap is the caller's again.  -VMF_EBUSY: a ticket was not dropped, which pins the
 * pages that it waited for and keeps their object; nothing has changed.  Or what detach() said (-VMF_EAGAIN: more often
 * than vmf_unmap() bears): then the space is still there, with the areas that could not be taken and what they show;
 * call again.  => sleeps */
int vmf_space_destroy(struct vmf_space *);
/* The copy of a space (fork).  `to` has no area yet and nobody else uses it; it gets every area of `from` that is not
 * VMF_NOFORK, at the same address.  A shared area shows the same object in both; of a private one both have the bytes
 * that were there, and from the next write on each its own.  Entries are not copied: faults bring them back (raw ones
 * too), and what was bolted is not in the copy.  Drivers are told by `opened`; `map` is not asked again.
 * As with fork(), a thread that writes meanwhile does so before or after, page by page.
 * All or nothing: on error `to` is empty again (or, if its pmap will not let go, fit for vmf_space_destroy() alone).
 * -VMF_EINVAL: not of one port, or `to` has areas; -VMF_ENOSYS: its windows are not of the same kind; -VMF_ENOMEM; what
 * attach() said, if it cannot; -VMF_EDEADLK: from a handler of `from`.  => sleeps */
int vmf_space_copy(struct vmf_space *to, struct vmf_space *from);
struct vmf_pmap *vmf_space_pmap(const struct vmf_space *);
struct vmf_port *vmf_space_port(const struct vmf_space *);

/* ---------------------------------------------------------------------------------------- taking faults */

enum vmf_tflag {
	VMF_TRAP_WP = 1, /* the entry was there and forbade the write */
	VMF_TRAP_USER1 = 16 /* from here on: the port's own */
};
struct vmf_trap {
	vmf_va va;
	uint8_t access; /* VMF_R, VMF_W or VMF_X */
	uint8_t flags;
	uint16_t zero;
	uint32_t thread; /* for traces */
};
/* The memory of a fault between its tries.  The port zeroes it before the first, and drops it if it does not go on to
 * the end (any result but VMF_RETRY drops it itself).  It pins what it waited for, so that the next try finds it. */
struct vmf_ticket {
	const struct vmf_wait *wait; /* NULL: only for a while */
	uint32_t seq, tries;
	uint8_t why, flags;
	uint16_t races;
	uint32_t zero;
	uintptr_t core[4];
};
/* Resolves a fault, or says what to wait for: VMF_RETRY fills the ticket.  An access that is not one of the three is
 * SIGSEGV/PROT.  Never waits, never allocates, may be called
 * in a trap or signal handler.  The entry is made when it returns VMF_OK: let the instruction run again. */
struct vmf_result vmf_handle(struct vmf_space *, const struct vmf_trap *, struct vmf_ticket *);
/* After VMF_RETRY, with nothing locked: waits for what the ticket names, and fills reserves up.  0: try again;
 * -VMF_EINTR: drop the ticket and let the signal be delivered; the instruction will fault again.  => sleeps */
int vmf_ticket_wait(struct vmf_space *, struct vmf_ticket *, bool interruptible);
/* Is what it waits for there?  For ports that park faults instead of blocking.  Also true when in doubt. */
bool vmf_ticket_ready(const struct vmf_ticket *);
void vmf_ticket_drop(struct vmf_space *, struct vmf_ticket *); /* a zeroed ticket is fine too */

/* Is the thread or CPU of that slot in a handler of the area at va?  For ports where one thread resolves what another
 * one faulted: that is then SIGBUS/POLICY, as it is for a fault within a fault.  => it sleeps in its fault meanwhile */
bool vmf_slot_holds(const struct vmf_space *, uint32_t slot, vmf_va);

/* The layout changed underneath (a process called munmap or mremap): what areas said of the range holds no more.
 * No pmap operation is called: entries of shared areas that went to `to` have been forgotten by whoever says so, since
 * a revoke meanwhile has looked for them at `from`.  -VMF_EINVAL: no whole pages, or wraps, or from and to overlap; and
 * what vmf_unmap() says of handlers and memory.  => sleeps */
int vmf_space_gone(struct vmf_space *, vmf_va, uint64_t pages);
int vmf_space_moved(struct vmf_space *, vmf_va from, vmf_va to, uint64_t pages);

/* ------------------------------------------------------------------ structs of a port's own that have a size */

/* Theirs into ours of so many bytes, whatever the caller knows of it: see "Conventions" in vmfault.h.  ours->size is
 * then what we have.  -VMF_EINVAL: NULL, or shorter than `least`; -VMF_E2BIG.  => any lock */
int vmf_struct_in(void *ours, size_t bytes, const void *theirs, size_t least);
/* What the library fills: as much of ours as they have room for, the rest of theirs 0; theirs->size stays.  => any
 * lock */
void vmf_struct_out(void *theirs, const void *ours, size_t bytes);

/* ------------------------------------------------------------------------------- locks, for pmaps too */

/* Where a lock stands in the order: who holds one takes only such as come after it here.  A library built with
 * VMF_DEBUG checks that (meson -Dchecks=true; the sanitizers switch it on), and panics; no other looks at it. */
enum vmf_rank {
	VMF_RANK_NONE,    /* of a zeroed struct vmf_lock: a pmap's own */
	VMF_RANK_OUTER,   /* a port's own, held around calls of the core */
	VMF_RANK_SPACE,
	VMF_RANK_DRIVER,  /* a driver's own */
	VMF_RANK_OVERLAY,
	VMF_RANK_OBJECT,
	VMF_RANK_AREAS,
	VMF_RANK_PMAP,
	VMF_RANK_FRAME,
	VMF_RANK_PORT     /* and above: a port's own, taken in calls of the core's */
};
/* A short lock: spins a little, then sleeps in host.wait.  Zeroed: free.  => no handler is called under it */
struct vmf_lock { uint32_t word, rank; };
void vmf_lock_take(struct vmf_port *, struct vmf_lock *);
void vmf_lock_drop(struct vmf_port *, struct vmf_lock *);
/* That a lock of another kind (a driver's mutex) is about to be taken, or was dropped.  NULL; or, in a library built
 * with VMF_DEBUG, what is wrong with that, in words that last until this thread's next call.  => any lock */
const char *vmf_rank_take(const void *lock, unsigned rank);
const char *vmf_rank_drop(const void *lock);

/* -------------------------------------------------------------------------------------- a worked host
 *
 * The least that a host can be: one CPU without interrupts, 256 pages of RAM, a bump arena for tables.  It is
 * compiled and run as tests/worked_port.c, together with the pmap at the end of pmap.h. */
#ifdef VMF_WORKED_PORT
struct tiny_host {
	uint8_t ram[256][4096], arena[1 << 20];
	size_t used;
};

static void *tiny_alloc(void *self, size_t bytes)
{
	struct tiny_host *h = (struct tiny_host *)self;
	size_t at = h->used;

	bytes = (bytes + 15) & ~(size_t)15;
	if (bytes > sizeof(h->arena) - at)
		return NULL;
	h->used += bytes;
	return h->arena + at; /* zeroed: nothing is used twice */
}

static void tiny_free(void *self, void *p, size_t bytes)
{
	(void)self, (void)p, (void)bytes; /* a real one keeps lists by size */
}

static void *tiny_bytes(void *self, vmf_pfn pfn) { return ((struct tiny_host *)self)->ram[pfn.n]; }

static uint32_t tiny_slot(void *self) { return (void)self, 0; }

/* With one CPU and no interrupts nobody else can change the word: every wait is over at once. */
static int tiny_wait(void *self, const uint32_t *word, uint32_t seen, uint64_t ns, bool interruptible)
{
	return (void)self, (void)word, (void)seen, (void)ns, (void)interruptible, 0;
}

static void tiny_wake(void *self, const uint32_t *word) { (void)self, (void)word; }

static const struct vmf_host_ops tiny_host_ops = {
	.size = sizeof(struct vmf_host_ops), .alloc = tiny_alloc, .free = tiny_free, .bytes = tiny_bytes,
	.slot = tiny_slot, .wait = tiny_wait, .wake = tiny_wake,
};

static int tiny_port(struct tiny_host *h, struct vmf_port **port)
{
	struct vmf_port_config c = { .size = sizeof(c), .abi = VMF_ABI, .host = &tiny_host_ops, .self = h, .slots = 1,
				     .page_shift = 12 };
	struct vmf_range ram = { .size = sizeof(ram), .kind = VMF_PHYS_RAM, .first = { 0 }, .pages = 256 };
	int err = vmf_port_create(port, &c);

	return err ? err : vmf_phys_add(*port, &ram);
}
#endif

#ifdef __cplusplus
}
#endif
#endif
