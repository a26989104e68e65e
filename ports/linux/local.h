/* SPDX-License-Identifier: MIT
 *
 * Spaces of this process, from the inside: locals, their windows, and the one table that both are found in.
 *
 * That table is process-wide, as the handler of SIGBUS is, which has nothing but an address to go by.
 */
#ifndef VMF_LINUX_LOCAL_H
#define VMF_LINUX_LOCAL_H
#include <sys/mman.h>
#include "port.h"

enum vmf__wkind {
	VMF__W_SHARED, /* by offset: a mapping of the object's segment, in fd[VMF__W_SHARED] */
	VMF__W_COPY,   /* by copy: anonymous memory, in fd[VMF__W_COPY], the one with EVENT_REMOVE */
	VMF__W_RAW     /* by offset, with raw pfns: no userfaultfd, see raw.c */
};
/* A window that could not be opened, nor unmapped then: nobody can touch it, and it is in no table. */
struct vmf__shut { uintptr_t va, end; uint8_t kind; bool trap; };
/* What attach() made, shared by the pieces that it is cut into. */
struct vmf__extent {
	struct vmf__linux *port;
	uint32_t pieces;  /* under the registry's lock */
	struct vmf__extent *dead;  /* the next one in a list of those that have no pieces */
	struct vmf__shut shut;
	uint64_t pages;
	_Atomic uint64_t *removed; /* COPY: a bit for each page that the application took away: it reads zero */
	_Atomic bool some_removed;
	_Atomic uint64_t *raw;     /* RAW: what is entered: pfn + 1; 0: nothing */
	_Atomic uint8_t *page;     /* trap windows: what is shown of each page, under the local's lock `showing` */
	int fd;                    /* trap windows by copy: their bytes; else -1 */
	uint32_t node;             /* as in struct vmf_map */
	bool huge;                 /* it was pages of 2 MiB at first; of its windows those with `order` still are */
	bool bolted;               /* all of it, at map time */
	_Atomic uint64_t *_Atomic locked; /* else: a bit for each page that a fault has bolted; NULL: none has */
	struct vmf__mutex lock;    /* RAW: raw[] and the mappings change together */
};
struct vmf__window {
	uintptr_t va, end;
	struct vmf__local *local;
	struct vmf__extent *extent;
	uint64_t first;  /* page of the extent at va */
	vmf_pfn segment; /* by offset: the pfn at va; n 0: the object has no segment */
	uint8_t kind, prot;
	bool wp;         /* entries can be write-protected */
	bool trap;       /* no userfaultfd: SIGSEGV and mprotect(), see trap.c; kind is SHARED or COPY */
	bool forks;      /* children have it */
	uint8_t order;   /* COPY: of the kernel's pages: 0 or VMF__HUGE_ORDER */
};
static inline int vmf__host_prot(unsigned prot) /* for mmap() and mprotect() */
{
	return (prot & VMF_R ? PROT_READ : 0) | (prot & VMF_W ? PROT_WRITE : 0) | (prot & VMF_X ? PROT_EXEC : 0);
}
static inline uint64_t vmf__window_page(const struct vmf__window *w, uintptr_t va)
{
	return w->first + ((va - w->va) >> VMF__SHIFT);
}

/* Only the part that lies in the range. */
static inline void vmf__window_clip(struct vmf__window *w, uintptr_t va, uintptr_t end)
{
	if (w->va < va) {
		w->first = vmf__window_page(w, va);
		w->segment.n += w->segment.n ? (va - w->va) >> VMF__SHIFT : 0;
		w->va = va;
	}
	if (w->end > end)
		w->end = end;
}

/* --------------------------------------------------------------------------------- the table: registry.c */

/* The window at va, copied; false: none.  => any lock, async-signal-safe */
bool vmf__window_find(uintptr_t va, struct vmf__window *);
/* The first window that ends after va; false: none. */
bool vmf__window_next(uintptr_t va, struct vmf__window *);
/* In a child of fork: what its parent had, one after the other (*i: 0 at first), as it was then; perhaps out of order,
 * and twice. */
bool vmf__window_left(uint32_t *i, struct vmf__window *);
bool vmf__windows_left_whole(void); /* and the table was not being changed */
/* Which process in a row of parents and children, all with spaces; 0: a child that has had none so far, whose table and
 * locals are its parent's.  => any lock */
uint64_t vmf__era(void);
/* One more piece of the window's extent.  -VMF_EEXIST: overlaps one that is there; -VMF_ENOMEM: too many. */
int vmf__window_add(const struct vmf__window *);
/* What of this local lies in the range (windows that reach out of it are cut) leaves the table, and its extents
 * with their last piece / has new protection.  -VMF_ENOMEM: no room for the cuts, nothing has changed. */
int vmf__window_drop(struct vmf__local *, uintptr_t va, uintptr_t end);
int vmf__window_prot(struct vmf__local *, uintptr_t va, uintptr_t end, unsigned prot);
/* What of this local lies in the range has gone, and leaves the table: that does not fail.  true: there was no room for
 * both pieces that were to stay of a window, so the upper one, *lost, is in the table no more; the caller shuts it. */
bool vmf__window_gone(struct vmf__local *, uintptr_t va, uintptr_t end, struct vmf__window *lost);
int vmf__window_order(struct vmf__local *, uintptr_t va, uintptr_t end, unsigned order);
/* Cuts windows at both ends of the range; after that the three above cannot fail.  0 or -VMF_ENOMEM: nothing has
 * changed. */
int vmf__window_cut(uintptr_t va, uintptr_t end);

/* NULL: no memory, or no descriptor. */
struct vmf__extent *vmf__extent_new(struct vmf__linux *, unsigned kind, bool trap, uint64_t pages);
/* As if there were a piece more / one less, and the last one frees it. */
void vmf__extent_keep(struct vmf__extent *);
void vmf__extent_let(struct vmf__extent *);
void vmf__extent_free(struct vmf__extent *); /* for who never added it; else dropping the last piece does that */

struct vmf__local *vmf__local_take(void); /* zeroed; NULL: too many */
void vmf__local_give(struct vmf__local *);
/* Goes on from i; NULL at the end.  One that has gone meanwhile is still a struct vmf__local. */
struct vmf__local *vmf__local_next(uint32_t *i);

/* The first port installs the handler of SIGBUS, the last one takes it away.  0 or -VMF_ENOMEM. */
int vmf__registry_get(void);
void vmf__registry_put(void);
/* As that, for SIGSEGV and spaces that have trap windows or forbid pages. */
void vmf__registry_trap_get(void);
void vmf__registry_trap_put(void);
void vmf__signal_install(int sig); /* SIGBUS or SIGSEGV */
void vmf__signal_remove(int sig);

/* --------------------------------------------------------------------------------------------- why.c */

#define VMF__WHY_BUCKETS 128
#define VMF__WHY_WAYS 8
/* The reasons of the last failures, by page. */
struct vmf__why_entry {
	uintptr_t page; /* 0: none */
	struct vmf_result result;
	bool untold; /* the page is poisoned, and whoever touches it first is to be told */
};
struct vmf__why {
	struct vmf__mutex lock;
	_Atomic uint32_t entries;
	struct vmf__why_entry entry[VMF__WHY_BUCKETS][VMF__WHY_WAYS];
	uint8_t next[VMF__WHY_BUCKETS];
};
void vmf__why_put(struct vmf__why *, uintptr_t va, struct vmf_result, bool untold);
/* VMF_OK: nothing known.  tell: *untold says whether nobody had been told yet; from now on somebody has. */
struct vmf_result vmf__why_get(struct vmf__why *, uintptr_t va, bool *untold);
void vmf__why_forget(struct vmf__why *, uintptr_t va);
static inline bool vmf__why_some(struct vmf__why *y) { return atomic_load_explicit(&y->entries, memory_order_acquire); }

/* --------------------------------------------------------------------------------------------- a local */

#define VMF__SERVERS 64u
struct vmf__server; /* a thread that reads, in handler.c */
struct vmf__family; /* family.c */
struct vmf__guard;  /* a thread that finds out when they all wait for each other, in guard.c */
struct vmf__local {
	struct vmf_pmap pmap;
	struct vmf__linux *port;
	struct vmf_space *space;
	_Atomic uint32_t live;
	uint32_t mode, threads;
	bool user_only, wp;
	bool closing;              /* for good: what cannot be unmapped is left */
	bool kept;                 /* ... and could not even be shut: without its userfaultfd it would read zeroes */
	struct vmf__extent *shut;  /* under the space's lock */
	bool trap[2];              /* by enum vmf__wkind: such windows have no userfaultfd */
	bool forbids;              /* threaded, and no poison: see forbid.c */
	const char *zeroes;        /* 2 MiB of them; there are windows of such pages, or were */
	_Atomic uint32_t anew;     /* odd while a block is mapped anew; under `showing` */
	struct vmf__mutex showing; /* what trap windows show; which pages are forbidden */
	int fd[2];                 /* by enum vmf__wkind; -1: gone */
	_Atomic uint32_t changing; /* layout events read that the core does not know of yet: nothing enters */
	uint8_t apart[64];         /* each fault writes the gate: not into the cache line of what it only reads */
	struct vmf__gate gate;
	uint8_t apart_[64];
	struct vmf__mutex reading; /* by one thread at a time, until the core knows what it read */
	struct vmf__why why;
	struct vmf__server *server[VMF__SERVERS];
	struct vmf__guard *guard;  /* of a threaded space */
	bool inherits;             /* children may have its windows by copy: see fork.h */
	struct vmf__family *_Atomic family; /* there is such a window, or there was */
};
extern const struct vmf_pmap_ops vmf__local_ops;
/* What of this local lies in the range is left for ever, with nobody to touch it. */
void vmf__windows_leave(struct vmf__local *, uintptr_t va, uintptr_t end);
/* Tries once more to unmap what is shut; the last time it is left. => the space's lock */
void vmf__windows_tidy(struct vmf__local *, bool last);
/* Forgets entries.  What the application has locked in memory (mlockall) is not spared: the frame stays, the entry
 * goes.  0, -VMF_EBUSY or another error. */
int vmf__zap(void *at, size_t bytes);

/* raw.c */
long vmf__raw_enter(const struct vmf__window *, const struct vmf_run *);
int vmf__raw_blank(const struct vmf__window *, uintptr_t va, uint64_t pages); /* from then on: SIGBUS */
int vmf__raw_query(const struct vmf__window *, uintptr_t va, struct vmf_entry *);

/* huge.c: windows of 2 MiB pages, by copy, and node policies. */
#define VMF__HUGE_ORDER 9u
#define VMF__HUGE_BYTES ((size_t)VMF__PAGE << VMF__HUGE_ORDER)
/* May such a window be here?  Then its space can have them from now on.  0, -VMF_ENOSYS, -VMF_EINVAL, -VMF_ENOMEM. */
int vmf__huge_plan(struct vmf__local *, const struct vmf_map *);
void vmf__huge_end(struct vmf__local *);
bool vmf__huge_cuts(uintptr_t va, uintptr_t end); /* would a change of this range cut a page of 2 MiB? */
/* FALLBACK: the absent block at va is mapped anew, in base pages.  0; 1: it is not absent; -VMF_EAGAIN, -VMF_ENOMEM:
 * as before; -VMF_EGONE: it is shut for good. => gate shared, signals blocked */
int vmf__huge_anew(struct vmf__local *, uintptr_t va);
/* Before what lies in the range is opened: a block that could not be registered is so now, or stays shut. */
int vmf__huge_register(const struct vmf__window *);
/* A SIGSEGV there: can the access be tried again, because a block was being mapped anew? */
bool vmf__huge_again(const struct vmf__window *, unsigned access);
/* Of memory just mapped.  0; -VMF_EINVAL: no such node; -VMF_EPERM: not allowed to bind. */
int vmf__node_set(uintptr_t va, size_t bytes, uint32_t node);
uint32_t vmf__node_here(void *); /* host.node */

/* bolt.c: all within RLIMIT_MEMLOCK, else -VMF_ENOSPC.  A window that has just been mapped, whole. */
int vmf__bolt_all(const struct vmf__window *);
int vmf__bolt_page(const struct vmf__window *, uintptr_t va); /* as bolt(); -VMF_ENOMEM: no room to note it */
int vmf__unbolt_step(const struct vmf__window *, unsigned);   /* as unbolt(), of the whole window */
/* These pages have been mapped anew: what was bolted of them is so again. */
int vmf__bolt_again(const struct vmf__window *, uintptr_t va, uint64_t pages);
int vmf__bolt_small(const struct vmf__window *, uintptr_t va); /* as that: a block of 2 MiB, of base pages now */
void vmf__extent_unlock(struct vmf__extent *); /* it ends */

/* forbid.c: in place of poison.  page has a window of this local, and not a raw one.  0, -VMF_ENOMEM, -VMF_EAGAIN: it
 * has none now. */
int vmf__forbid(struct vmf__local *, uintptr_t page);
void vmf__permit(struct vmf__local *, uintptr_t va); /* again as the window says */
/* A SIGSEGV in such a window: VMF_OK: it can be tried again; VMF_SIGSEGV: it was a real one; else what to tell. */
struct vmf_result vmf__forbidden(const struct vmf__window *, const struct vmf_trap *);

/* trap.c: windows without a userfaultfd, all of one local; a window that is handed over may be a part of one. */
int vmf__trap_extent(struct vmf__extent *, bool copy); /* 0 or -VMF_ENOMEM, and then free it nevertheless */
void vmf__trap_extent_free(struct vmf__extent *);
long vmf__trap_enter(const struct vmf__window *, const struct vmf_run *); /* as enter(); => signals blocked */
/* Of the whole window: nothing is shown / nothing can be written / it is unmapped.  0, or an error and no change that
 * the next fault does not mend. */
int vmf__trap_hide(const struct vmf__window *);
int vmf__trap_clean(const struct vmf__window *);
int vmf__trap_release(const struct vmf__window *);
/* Shows a page by copy again that is filled and was hidden; false: it is not, or the window does not allow this. */
bool vmf__trap_again(struct vmf__local *, uintptr_t va, unsigned access);
void vmf__trap_query(struct vmf__local *, uintptr_t va, struct vmf_entry *); /* e: zeroed */
/* The next part of [*va, end) that is still ours: [*va, *to).  false: nothing more is. => any lock */
bool vmf__ours_next(const struct vmf__linux *, uintptr_t *va, uintptr_t end, uintptr_t *to);
/* 0; -VMF_EFAULT: not there; -VMF_EIO: it is, and cannot be had */
int vmf__trap_take(const struct vmf__window *, uintptr_t va, void *page);
int vmf__trap_give(const struct vmf__window *, uintptr_t va, const void *, size_t n);

/* events.c: reads what there is: applies events, hands out at most n faults; returns how many.  Waits for who is
 * filling pages, and in the core for handlers of areas that have gone.  ready: which descriptors poll() named, a bit
 * for each enum vmf__wkind.  => nothing locked */
unsigned vmf__events_drain(struct vmf__local *, unsigned ready, struct uffd_msg *fault, unsigned n);
/* Takes one fault that nobody has read, whoever else is in vmf__events_drain().  For when nobody reads. */
bool vmf__events_steal(struct vmf__local *, struct uffd_msg *fault);
/* Is an event unread, or read and not known to the core yet? */
bool vmf__events_pending(const struct vmf__local *);
/* Tells the core that a range was unmapped (to 0) or moved. => nothing locked */
void vmf__events_tell(struct vmf__local *, uintptr_t from, uintptr_t to, uintptr_t bytes);
/* Spins until there is none, for a tenth of a millisecond at most.  Who would fill a page while the application
 * removes others all the time has to be quick: between one event and the next there are microseconds. */
bool vmf__events_quiet(const struct vmf__local *);
/* When it returns 0, the table and the core know of all that had happened when it was called.  -VMF_EAGAIN: the
 * core is being told, which may need a lock of the caller's; or nobody has read for 10 ms. */
int vmf__events_settle(struct vmf__local *);

/* handler.c.  A thread may send others only codes that the kernel does not use: our handler makes BUS_ADRERR of
 * this one. */
#define VMF__SI_FAILED (-7766)
int vmf__servers_start(struct vmf__local *);
void vmf__servers_stop(struct vmf__local *);
/* Ends a fault with an error / lets its thread look again. */
void vmf__fault_failed(struct vmf__local *, const struct vmf_trap *, struct vmf_result);
void vmf__fault_again(struct vmf__local *, uintptr_t page);

/* guard.c.  A driver that runs on a server's thread may touch memory of its own space, and then somebody else has to
 * resolve that.  The servers say what they do; when all of them are at the same batch for a tenth of a second, the
 * guard looks whether all of them wait for a page, and ends one such fault with SIGBUS/POLICY. */
int vmf__guard_start(struct vmf__local *);
void vmf__guard_stop(struct vmf__local *);
void vmf__guard_server(struct vmf__local *, unsigned i);             /* the caller is server i */
void vmf__guard_batch(struct vmf__local *, unsigned i, bool begins);
void vmf__guard_draining(struct vmf__local *, unsigned i, bool yes); /* in vmf__events_drain() */
/* Is this the fault of a server? / that is in a handler of that very area? */
bool vmf__guard_serves(const struct vmf__local *, const struct vmf_trap *);
bool vmf__guard_own(const struct vmf__local *, const struct vmf_trap *);

/* touch.c: resolves one fault on this thread, waiting as long as it takes.  VMF_RETRY: a signal wants to be
 * delivered. What it comes to is recorded. */
struct vmf_result vmf__resolve(struct vmf__local *, const struct vmf_trap *, bool interruptible);

/* After VMF_RETRY: a changing layout is not counted against the fault for the first ten seconds, because it ends as
 * soon as the reader of events has been given a CPU, and the application stops.  *since: 0 at first. */
void vmf__forgive_layout(struct vmf_ticket *, uint64_t *since);
/* Tells, once, of a failure that va's page was poisoned for; VMF_OK: nothing to tell. */
struct vmf_result vmf__told(const struct vmf__window *, uintptr_t va);

/* Is the page at va entered (and, for_write, not write-protected)?  n answers from va on; false: not known. */
bool vmf__resident(const struct vmf__linux *, uintptr_t va, size_t n, bool for_write, bool *there);
/* Is there anything at va in an anonymous window: a page, one that is swapped out, poison?  false: not known. */
bool vmf__given_some(const struct vmf__linux *, uintptr_t va, bool *some);

/* given.c: take() (to) and give() (from): n bytes within the page at va. */
struct vmf__given { uintptr_t va; void *to; const void *from; size_t n; };
int vmf__given_move(struct vmf__local *, const struct vmf__given *);

#endif
