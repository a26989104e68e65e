/* SPDX-License-Identifier: MIT
 *
 * Another process's memory, from the inside.
 *
 *	adopt.c   from a descriptor to a space, and back
 *	remote.c  the pmap: entering by copy, and poison
 *	inbox.c   reading the descriptor, and what its events change
 *	park.c    faults that were read and are not resolved yet
 *	orphan.c  children of the other process, which nobody serves
 *	serve.c   resolving them, and what becomes of those that fail
 *
 * Reading a REMOVE acknowledges it: the other process goes on, and bytes that were got ready before could then be
 * entered where they must not.  So there is a gate.  Who enters holds it shared, around each system call that
 * enters; who reads holds it exclusively, from before the read until the events are in the session block.
 *
 * Lock order: inbox => gate => park; the core's locks are never taken under the gate or the park.
 */
#ifndef VMF_LINUX_REMOTE_H
#define VMF_LINUX_REMOTE_H
#include "session.h"

/* ---------------------------------------------------------------------------------------------- park.c */

#define VMF__PARK 256u

enum vmf__park_state { VMF__PARK_FREE, VMF__PARK_PENDING, VMF__PARK_BUSY, VMF__PARK_WAITING };
enum vmf__park_kind { VMF__FAULT_MISSING, VMF__FAULT_WP, VMF__FAULT_MINOR };
struct vmf__parked {
	vmf_va va;
	uint64_t due;   /* WAITING: when to try again, in ns */
	uint64_t delay; /* of the last try that the layout spoilt */
	struct vmf_ticket ticket;
	uint32_t failures;
	uint16_t next;  /* index + 1 */
	uint8_t state, kind, access;
	bool again;     /* BUSY: the same fault came once more meanwhile */
	bool served;    /* somebody else's run brought the page, and woke who waits for it */
	bool gone;      /* the page is not there any more */
	bool stalled;
};
struct vmf__park {
	pthread_mutex_t lock;
	uint16_t active, free; /* lists, index + 1; active: by address */
	uint32_t n;
	bool lost;             /* a fault found no place: the ranges have to be woken when there is one */
	struct vmf__parked slot[VMF__PARK];
};
void vmf__park_init(struct vmf__park *);
void vmf__park_lock(struct vmf__park *);
void vmf__park_unlock(struct vmf__park *);
/* A fault was read.  => who reads, so that it is ordered with what is entered */
void vmf__park_add(struct vmf__park *, vmf_va, unsigned kind, unsigned access);
/* One that can be tried now, which is the caller's until it is given back; NULL. */
struct vmf__parked *vmf__park_take(struct vmf__park *, uint64_t now);
/* To be tried again at `due`; or done with (0), ticket and all. */
void vmf__park_give(struct vmf__park *, struct vmf__parked *, uint64_t due);
/* What waits in [start, end) needs no try: it was served, or the range has gone. */
void vmf__park_cover(struct vmf__park *, vmf_va start, vmf_va end, bool gone);
/* When can the next one be tried (UINT64_MAX: none waits)?  *wait, *seq: what it waits for; NULL: only for then. */
uint64_t vmf__park_due(struct vmf__park *, const struct vmf_wait **wait, uint32_t *seq);
/* True once after faults were lost, when there is room again. */
bool vmf__park_lost(struct vmf__park *);

/* -------------------------------------------------------------------------------------------- remote.c */

#define VMF__FULL 8u /* pages remembered that said "exists" and may not */

/* Who serves children of the other process: their descriptor, when the event was read (the layout is that of this
 * moment; => gate closed), and then, with the gate open, after the core knows what had happened before. */
struct vmf__remote;
struct vmf__remote_forks {
	void (*seen)(struct vmf__remote *, int uffd);
	void (*told)(struct vmf__remote *, int uffd);
};
struct vmf__remote {
	struct vmf_pmap pmap;
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_session *session;
	int uffd;
	struct vmf_adopt adopt;
	const struct vmf__remote_forks *forks; /* NULL: children are not served */
	uint64_t bytes_read;      /* before it was adopted here */
	const char *zeroes;       /* VMF__HUGE bytes */
	bool gone;                /* the process; atomic */
	pthread_mutex_t inbox;
	struct vmf__gate gate;
	struct vmf__orphan *orphans; /* under inbox */
	struct { vmf_va va; uint32_t times; } full[VMF__FULL]; /* under park.lock */
	uint32_t full_next;
	struct vmf__park park;
};
extern const struct vmf_pmap_ops vmf__remote_ops;
struct vmf__remote *vmf__remote_of(const struct vmf_space *); /* NULL: another kind of space */
static inline bool vmf__remote_gone(struct vmf__remote *r) { return __atomic_load_n(&r->gone, __ATOMIC_RELAXED); }
/* Shows zeroes at a page of the other process if it was removed.  0: done; 1: it was not; or a negative error. */
int vmf__remote_zero(struct vmf__remote *, vmf_va);
/* Bytes of the page of the other process that holds va. */
size_t vmf__remote_page(struct vmf__remote *, vmf_va);
/* One try at a range, as vmf_linux_poison(). */
int vmf__remote_poison(struct vmf__remote *, vmf_va, uint64_t bytes);
void vmf__remote_wake_all(struct vmf__remote *);
/* What is absent in a range is poisoned, whatever is mapped there by now.  0; -VMF_ENOSYS: the kernel cannot;
 * -VMF_EAGAIN: the layout is changing; -VMF_EGONE: there is no process any more. */
int vmf__remote_seal(int uffd, vmf_va, vmf_va end, size_t page);
/* No fault or event of a range is told any more; what is absent and not poisoned reads zero. */
void vmf__remote_unregister(int uffd, vmf_va, vmf_va end);
/* Of faults that are parked. */
void vmf__remote_drop_tickets(struct vmf__remote *);

/* -------------------------------------------------------------------------------------------- orphan.c */

/* A child was forked; its descriptor is ours now.  => gate closed, or nobody serves yet */
void vmf__orphan_take(struct vmf__remote *, int fd);
void vmf__orphans_again(struct vmf__remote *);          /* => inbox */
uint64_t vmf__orphans_due(const struct vmf__remote *);  /* ns until it has to be called again; UINT64_MAX: it has not */
void vmf__orphans_leave(struct vmf__remote *);          /* their descriptors stay open */

/* --------------------------------------------------------------------------------------------- inbox.c */

/* Reads all that is there, and applies it.  0 or a negative error that ends the session.  => no lock */
int vmf__inbox_drain(struct vmf__remote *);
/* read(), whatever the other process has made of O_NONBLOCK. */
ssize_t vmf__read_now(int fd, void *to, size_t bytes);
/* What somebody else read before he died.  => before there are areas */
int vmf__inbox_recover(struct vmf__remote *);
#endif
