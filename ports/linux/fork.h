/* SPDX-License-Identifier: MIT
 *
 * Children: what fork() copies, and who serves it.
 *
 *	fork.c    in the parent: a child, from the event to its end
 *	family.c  in the parent: the thread that serves the children of a space, and answers what they ask
 *	child.c   in the child: finding out who it is, asking, and what to do when nobody is left to ask
 *
 * By-copy windows are copied by the kernel, copy-on-write and registered with a userfaultfd of the child's own, which
 * the reader of EVENT_FORK is given.  So the child's space is another process's memory to us (remote.h): its events,
 * and with VMF_THREADED its faults, come from that descriptor.
 *
 * What the child has of our tables is a snapshot, perhaps a torn one, and what it has of our userfaultfds fills *our*
 * memory: it uses neither.  A fault that it takes itself (SIGBUS: in context, or a page that is poisoned) is a question
 * to the parent, with a socket to answer to.
 *
 *   - A child's userfaultfd must outlive its parent, or what is absent reads zero from then on.  So the child asks for
 *     it before fork() returns (HELLO), and hangs it on its memory, where no close() reaches it.
 *   - Who does not say HELLO (a child of clone(), a child of a child that did the like) is not served: poisoned.
 *   - fork() waits in the kernel until its event is read, and holds what the C library's fork() holds (malloc's locks).
 *     So who reads the events of such a space calls nothing of a driver's that may allocate; that is the family's.
 *   - No descriptor tells a child that its parent has died: its brothers may have a copy of the other end.  So the
 *     parent holds a lock (fcntl) on a file that they all have.
 */
#ifndef VMF_LINUX_FORK_H
#define VMF_LINUX_FORK_H
#include "local.h"
#include "remote.h"

enum vmf__ask {
	VMF__ASK_HELLO, /* my userfaultfd, please; the socket stays open for as long as I live */
	VMF__ASK_PAGE,  /* resolve this fault */
	VMF__ASK_WHY    /* as vmf_fault_why() */
};
struct vmf__question { uint64_t id, va; uint32_t op, access; };
struct vmf__answer {
	struct vmf_result result;
	bool known; /* the address is in an area of the child's */
	uint8_t zero[7];
};
/* A message with a descriptor (-1: none) over a SEQPACKET socket, without waiting: 0 or -errno / bytes, 0 for the end,
 * or -errno; *fd: close-on-exec, -1 if there was none. */
int vmf__pass(int sock, const void *, size_t, int fd);
long vmf__passed(int sock, void *, size_t, int *fd);

/* ----------------------------------------------------------------------------------------------- child.c */

/* What a child inherits of a space: written before there can be a child. */
struct vmf__legacy {
	_Atomic uint64_t era;          /* of the process whose space it is (vmf__era()); 0: none */
	int line, alive;               /* to ask by; locked while there is somebody to answer */
	uint64_t line_ino;             /* is it still that socket? */
	const _Atomic uint64_t *name;  /* a page that the parent fills in the child: who it is */
	int self, tie;                 /* in the child: its userfaultfd if that is not hung on its memory, and its HELLO */
};
#define VMF__NAME_REFUSED UINT64_MAX
struct vmf__legacy *vmf__legacy_leave(int line, int alive, const _Atomic uint64_t *name); /* NULL: too many */
void vmf__legacy_revoke(struct vmf__legacy *);
/* Once for the process: children of fork() begin with child.c's code.  0 or -VMF_ENOMEM. */
int vmf__child_atfork(void);
/* How often the C library's fork() was called, and returned here.  As soon as its event is read it may return: so a
 * child is one of its if more have begun after the read than had ended before. */
uint32_t vmf__child_forks_begun(void);
uint32_t vmf__child_forks_ended(void);
/* Has this process inherited anything? */
bool vmf__child_inherits(void);

/* Resolves a fault by asking.  false: nothing of what was inherited is there.  VMF_RETRY: a signal wants to be
 * delivered. => async-signal-safe */
bool vmf__child_resolve(const struct vmf_trap *, bool interruptible, struct vmf_result *);
/* As vmf_touch() and vmf_fault_why(), of what was inherited, and of what was not. */
struct vmf_result vmf__child_touch(uintptr_t va, uintptr_t end, unsigned access);
struct vmf_result vmf__child_why(uintptr_t va);

/* ------------------------------------------------------------------------------------------------ fork.c */

struct vmf__family;
struct vmf__child {
	struct vmf__remote remote; /* first: its pmap is ours */
	struct vmf__family *family;
	struct vmf__child *next;
	uint64_t id, born;         /* born: ns */
	size_t bytes;              /* of the session */
	int tie;                   /* its HELLO: hangs up when it exits or execs; -1: none yet, or no more */
	bool greeted, refused, sealed; /* refused: not served; and what is absent there has been poisoned */
	struct vmf__child *unborn; /* its own children that the core does not know of yet, in the order of their events */
	struct vmf__why why;
};
#define VMF__SHAPE (VMF_SESSION_REGIONS - 16u) /* the rest is for what the child cuts */
/* Our windows that children have. */
struct vmf__shape {
	struct vmf_session_region region[VMF__SHAPE];
	unsigned n;
	bool full;
};
void vmf__shape_of(const struct vmf__local *, struct vmf__shape *);
/* Nobody serves it: what is absent in it is poisoned. */
void vmf__child_turn_away(struct vmf__family *, int uffd, const struct vmf__shape *);
/* EVENT_FORK was read: the child's layout is ours (or the other child's) of this moment, and the next event may change
 * that.  NULL: no memory; its descriptor is taken care of.  => gate closed */
struct vmf__child *vmf__child_seen(struct vmf__local *, int uffd);
/* The core copies the space, and the child is told who it is.  One that cannot be served is to be refused, or not even
 * remembered.  => as vmf_space_copy() */
void vmf__child_begin(struct vmf__child *, struct vmf_space *from);
/* From now on it is not served: what is absent is SIGBUS (before Linux 6.6: a sleep without end, or with a signal). */
void vmf__child_refuse(struct vmf__child *);
/* Is there still a process? */
bool vmf__child_lives(struct vmf__child *);
/* Forgets it.  If it lives, it is refused first, and has nothing more to do with us.  => its tickets have been dropped,
 * but for those of faults that its descriptor told of */
void vmf__child_end(struct vmf__child *, bool lives);
/* One try at a fault that the child asked about. */
struct vmf_result vmf__child_try(struct vmf__child *, const struct vmf_trap *, struct vmf_ticket *);

/* ---------------------------------------------------------------------------------------------- family.c */

struct vmf__news { struct vmf__news *next; uintptr_t from, to, bytes; struct vmf__child *child; };
struct vmf__asked {
	struct vmf__asked *next;
	struct vmf__child *child;
	struct vmf_trap trap;
	struct vmf_ticket ticket;
	uint64_t layout_since;
	int reply;
};
enum vmf__family_phase {
	VMF__FAMILY_SERVES,
	VMF__FAMILY_STOPS,  /* is asked to */
	VMF__FAMILY_LEAVES, /* has no children any more, and reads forks, so that they go on */
	VMF__FAMILY_OVER
};
struct vmf__family {
	struct vmf__local *local;
	struct vmf__watch *watch;
	_Atomic uint32_t phase;      /* enum vmf__family_phase */
	pthread_t thread;
	int line[2], alive;          /* line[0]: ours */
	int spare;                   /* to be closed when an event needs a descriptor; => gate closed */
	uint32_t ended;              /* forks, before the last read; => gate closed */
	_Atomic uint64_t *name;      /* in us always absent */
	bool named;                  /* and in the userfaultfd */
	struct vmf__legacy *legacy;
	const char *zeroes;          /* VMF__HUGE bytes */
	_Atomic uint64_t last_id;
	struct vmf__mutex lock;      /* news */
	struct vmf__news *news, **news_end;
	struct vmf__child *children; /* and all below: the thread's */
	struct vmf__asked *asked;
	struct pollfd *polled;
	size_t room;
	uint64_t looked;             /* when all children were last looked at */
};
/* Before the first window that children inherit is registered.  0 or -VMF_ENOMEM.  => one thread at a time */
int vmf__family_start(struct vmf__local *);
/* All children are left to themselves: what is absent there is SIGBUS; so it is in those to come.  => the servers have
 * stopped */
void vmf__family_stop(struct vmf__local *);
/* Ends the thread.  => all windows have gone */
void vmf__family_close(struct vmf__local *);
/* When the descriptors are closed. */
void vmf__family_free(struct vmf__local *);
/* A layout event, or a child, that the core has to be told of; in the order of the events.  => `changing` counts it */
void vmf__family_tell(struct vmf__family *, const struct vmf__news *);
static inline struct vmf__linux *vmf__family_port(const struct vmf__family *f) { return f->local->port; }
#endif
