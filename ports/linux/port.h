/* SPDX-License-Identifier: MIT
 *
 * The Linux port's own nouns, and who may touch what.
 *
 *	port     struct vmf__linux: the host of the core; segments, apertures, frames to copy from, waiters
 *	self     struct vmf__self: what a thread knows of itself
 *	local    struct vmf__local: a pmap (and space) of this process; of other processes: remote.c has its own
 *	window   struct vmf__window: a mapped piece of an area of a local, found by address in the one table (registry.h)
 *
 * Rules
 *   - Every lock here is taken with signals blocked (vmf__block, which costs nothing in a handler), so that a
 *     handler never meets its own thread's lock.
 *   - The gate: who fills pages holds it shared around the ioctl; who reads events holds it exclusively *before*
 *     the read and until removes are applied and the table of windows is right.  Nothing that raises an event is
 *     called under it.
 *   - Lock order: reading => core's locks => gate => showing => registry, an extent's => all others, which are leaves.
 */
#ifndef VMF_LINUX_PORT_H
#define VMF_LINUX_PORT_H
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <vmfault/linux.h>
#include <vmfault/pmap.h>
#include "uffd.h"

#define VMF__PAGE 4096u
#define VMF__SHIFT 12
#define VMF__SLOTS 1024u /* threads that have faulted and live */
#define VMF__WATCHES 1024u
#define VMF__SEGMENTS 65536u
#define VMF__SEGMENT_SHIFT 40 /* pfn = segment << 40 | page */

/* Where our locks stand behind the core's (enum vmf_rank); vmf__order() looks at it in builds with VMF_DEBUG. */
enum {
	VMF__RANK_GATE = VMF_RANK_PORT + 1,
	VMF__RANK_SHOWING,
	VMF__RANK_TABLE,
	VMF__RANK_LEAF
};
void vmf__panic(void *, const char *what); /* host.panic */
#ifdef VMF_DEBUG
static inline void vmf__order(const char *bad)
{
	if (bad)
		vmf__panic(NULL, bad);
}
#else
#define vmf__order(bad) ((void)0)
#endif

/* A futex: 0 free, 1 taken, 2 taken and somebody sleeps.  rank 0: a leaf. */
struct vmf__mutex { _Atomic uint32_t word; uint32_t rank; };
void vmf__mutex_take(struct vmf__mutex *);
void vmf__mutex_drop(struct vmf__mutex *);
void vmf__futex_wait(_Atomic uint32_t *, uint32_t seen, uint64_t ns); /* ns 0: without limit; returns for any reason */
void vmf__futex_wake(_Atomic uint32_t *, int n);

/* -------------------------------------------------------------------------------------------- self: slot.c */

struct vmf__self {
	uint32_t slot1;          /* slot + 1; 0: none yet */
	int tid;
	uint32_t blocked;        /* depth of vmf__block() */
	bool masked;             /* a thread of ours: no signal of the application's is ever delivered to it */
	uint32_t handling;       /* depth of our handlers on this thread; its signals are blocked */
	bool owes_wake;          /* what it entered last woke nobody */
	const sigset_t *outside; /* handling: what was blocked before */
	siginfo_t late;          /* sent while handling; si_signo 0: nothing */
	sigset_t saved;          /* blocked: the mask to go back to */
	uintptr_t last_page;     /* of the faults that were spurious one after another */
	uint32_t last_count;
	uint32_t found_seq;      /* of the registry, when this thread found a window last, and where */
	uint64_t found;
	uint32_t anew_seen;      /* of huge.c's `changes`, when this thread's last SIGSEGV was forgiven */
	uint32_t guess_count;    /* of faults whose access the context does not tell: the same one, on a page shown */
	uintptr_t guess_pc, guess_page;
};
/* In the handler of SIGBUS even the first access must not allocate. */
extern _Thread_local struct vmf__self vmf__me __attribute__((tls_model("initial-exec"), visibility("hidden")));
static inline struct vmf__self *vmf__self(void) { return &vmf__me; }
int vmf__tid(void);
void vmf__self_anew(void);       /* in a child, whose thread is another one / where no thread has a slot */
void vmf__slots_anew(void);
uint32_t vmf__slot(void *);      /* host.slot; VMF_NO_SLOT */
void vmf__block(void *);         /* host.block */
void vmf__unblock(void *);
void vmf__block_most(void);      /* not what an instruction of a driver's may raise, which would end the process */
void vmf__barrier(void *);       /* host.barrier: membarrier */
bool vmf__barrier_there(void);   /* registers the process for it */

/* ------------------------------------------------------------------------------------------ memory: memory.c */

/* Blocks of 2^4..2^16 bytes out of slabs; bigger ones are mappings of their own. */
#define VMF__CLASSES 13
struct vmf__memory {
	struct vmf__mutex lock;
	void *slabs, *list[VMF__CLASSES];
	char *room, *end; /* of the newest slab */
};
void *vmf__memory_take(struct vmf__memory *, size_t); /* zeroed; NULL */
void vmf__memory_give(struct vmf__memory *, void *, size_t);
void vmf__memory_destroy(struct vmf__memory *);

/* -------------------------------------------------------------------------------------------- waits: wait.c */

/* Somebody who sleeps in poll(): `bits` says on which words (vmf__watch_bit), fd is an eventfd that wake() writes
 * to.  A watch keeps its descriptor as long as the port lives, so a late write cannot reach another file. */
struct vmf__watch {
	_Atomic uint64_t bits;
	_Atomic uint32_t taken;
	int fd; /* -1: not made yet */
};
static inline uint64_t vmf__watch_bit(const uint32_t *word)
{
	return UINT64_C(1) << ((uintptr_t)word * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}
struct vmf__linux;
/* NULL: no descriptor, or too many. */
struct vmf__watch *vmf__watch_get(struct vmf__linux *);
void vmf__watch_put(struct vmf__linux *, struct vmf__watch *);
/* From its return on a wake() of such a word writes to fd.  Arm, then test the condition, then poll. */
void vmf__watch_arm(struct vmf__linux *, struct vmf__watch *, uint64_t bits);
void vmf__watch_kick(struct vmf__watch *);
void vmf__watch_clear(struct vmf__watch *); /* reads the eventfd empty */
int vmf__wait(void *, const uint32_t *word, uint32_t seen, uint64_t ns, bool interruptible); /* host.wait */
void vmf__wake(void *, const uint32_t *word);                                                /* host.wake */
uint64_t vmf__now(void *);
/* Until fd can be read, or for ns at most.  0, or with `interruptible`, in our handler, -VMF_EINTR. */
int vmf__wait_readable(int fd, uint64_t ns, bool interruptible);

/* -------------------------------------------------------------------------------------- segments: segment.c */

/* A run of pfns: a memfd and where we see it (an object's frames), anonymous memory (RAM, fd -1), or an aperture
 * (somebody else's descriptor, base NULL: never dereferenced). */
struct vmf__segment {
	char *base;
	uint64_t pages; /* 0: free */
	int64_t at;     /* bytes into fd */
	int fd;
	bool aperture;
	struct vmf_attr attr; /* an aperture: how the kernel maps it */
};
static inline uint64_t vmf__segment_page(vmf_pfn pfn) { return pfn.n & ((UINT64_C(1) << VMF__SEGMENT_SHIFT) - 1); }
/* The segment that holds n pages from pfn, or NULL. */
const struct vmf__segment *vmf__segment_of(const struct vmf__linux *, vmf_pfn, uint64_t n);
int vmf__segment_add(struct vmf__linux *, const struct vmf__segment *, vmf_pfn *first); /* takes it over; -VMF_ENOMEM */
int vmf__segment_new(void *, uint64_t pages, vmf_pfn *first); /* host.segment */
void vmf__segment_punch(void *, vmf_pfn, uint64_t pages);     /* host.segment_punch */
int vmf__segment_make(void *, vmf_pfn, uint64_t pages);       /* host.segment_make */
void vmf__segment_free(void *, vmf_pfn, uint64_t pages);      /* host.segment_free */
int vmf__segment_ram(struct vmf__linux *, uint64_t pages);    /* frames to copy from */
void *vmf__bytes(void *, vmf_pfn);                            /* host.bytes */

/* ---------------------------------------------------------------------------------------- the port: port.c */

struct vmf__linux {
	struct vmf_port *port;
	struct vmf_host_ops host;
	struct vmf_linux_config config;
	uint64_t features;       /* of the kernel's userfaultfd */
	int pagemap, maps;       /* /proc/self/pagemap, /proc/self/maps, or -1 */
	bool guesses;            /* as if no signal's context said whether it was a write (the mask's `access`) */
	int blank;               /* an empty memfd: what maps it gets SIGBUS */
	struct vmf__memory memory;
	struct vmf__mutex lock;  /* segments */
	struct vmf__segment *segments;

	_Atomic uint32_t sleepers, watchers; /* in futexes; armed watches */
	_Atomic uint32_t watches; /* below it some are taken */
	struct vmf__watch watch[VMF__WATCHES];
};
static inline struct vmf__linux *vmf__linux_of(const struct vmf_port *port) { return vmf_port_self(port); }
/* A driver's mistake that the port finds: strict ports say it, in builds with VMF_DEBUG. */
#ifdef VMF_DEBUG
static inline void vmf__mistaken(const struct vmf__linux *port, const char *what)
{
	if (port->config.flags & VMF_LINUX_STRICT)
		vmf__panic(NULL, what);
}
#else
#define vmf__mistaken(port, what) ((void)0)
#endif
int vmf__err(int host); /* an errno, of either sign, as a negative enum vmf_err */

/* -------------------------------------------------------------------------------------------- gate: gate.c */

struct vmf__gate { _Atomic uint32_t word; };
void vmf__gate_share(struct vmf__gate *);   /* => signals blocked */
void vmf__gate_unshare(struct vmf__gate *);
void vmf__gate_close(struct vmf__gate *);   /* exclusively; => signals blocked */
void vmf__gate_open(struct vmf__gate *);

/* ---------------------------------------------------------------------------- a pmap of this process: local.h */

struct vmf__local; /* and its windows; another process's pmap is remote.c's */

#endif
