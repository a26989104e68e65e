/* SPDX-License-Identifier: MIT
 *
 * The core's own nouns, and who may touch what.  Everything that a file of core/ offers to the others is declared here.
 *
 * Locks are short (see struct vmf_lock) and taken in the order that stands at the top of fault.c.
 */
#ifndef VMF_CORE_H
#define VMF_CORE_H
#include <vmfault/pmap.h>
#include "atomic.h"

#ifdef VMF_CONFIG_H
#include VMF_CONFIG_H
#else
#include "vmf_config.h"
#endif
_Static_assert(VMF_CFG_DEPTH >= 2 && VMF_CFG_DEPTH <= 8, "VMF_CFG_DEPTH: 2 to 8");
_Static_assert(VMF_CFG_RACES >= 16 && VMF_CFG_RACES <= 65534, "VMF_CFG_RACES: 16 to 65534");
_Static_assert(VMF_CFG_TRIES >= 16 && VMF_CFG_TRIES <= UINT32_MAX - 1, "VMF_CFG_TRIES: 16 and more");
_Static_assert(VMF_CFG_LAYOUT_TRIES >= 1 && VMF_CFG_LAYOUT_NS >= 1, "VMF_CFG_LAYOUT_*: 1 and more");
_Static_assert(VMF_CFG_BACKOFF_NS >= 1 && VMF_CFG_BACKOFF_NS <= VMF_CFG_BACKOFF_MAX_NS, "VMF_CFG_BACKOFF*: in order");
_Static_assert(VMF_CFG_GATHER >= 1 && VMF_CFG_GATHER <= 4096, "VMF_CFG_GATHER: 1 to 4096");
_Static_assert(VMF_CFG_DRIVER_RUN >= 1 && VMF_CFG_DRIVER_RUN <= VMF_RUN_MAX, "VMF_CFG_DRIVER_RUN: 1 to VMF_RUN_MAX");
_Static_assert(VMF_CFG_IO_RUN >= 1 && VMF_CFG_IO_RUN <= VMF_RUN_MAX && !(VMF_CFG_IO_RUN & (VMF_CFG_IO_RUN - 1)),
	       "VMF_CFG_IO_RUN: a power of two, at most VMF_RUN_MAX");
_Static_assert(VMF_CFG_LEAVES >= 1 && VMF_CFG_NODES >= 16 && VMF_CFG_FILLS >= 1, "VMF_CFG_LEAVES, _NODES, _FILLS");
_Static_assert(VMF_CFG_ALIASES >= 1, "VMF_CFG_ALIASES: 1 or more");
_Static_assert(VMF_CFG_SLAB >= 1024 && VMF_CFG_SLAB <= 1u << 30, "VMF_CFG_SLAB: 1024 and more");
_Static_assert(VMF_CFG_SHARDS >= 1 && VMF_CFG_SHARDS <= 64, "VMF_CFG_SHARDS: 1 to 64");

void *memcpy(void *restrict, const void *restrict, size_t);
void *memset(void *, int, size_t);

static inline uint64_t vmf__min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t vmf__max(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* ------------------------------------------------------------------------------------ frame.c, phys.c */

/* BROKEN: whatever it was.  From there on they are not entered just so. */
enum vmf__fkind { VMF__F_FREE, VMF__F_RAM, VMF__F_SEGMENT, VMF__F_BROKEN, VMF__F_ADOPTED };
struct vmf_frame {
	union {
		vmf_pfn pfn;
		struct { uint32_t next, prev; } free; /* free list: index + 1 in the range; under phys_lock */
	};
	uint32_t refs;       /* atomic; 0 only while free */
	uint8_t order, kind;
	uint16_t range;      /* index of its range (RAM) */
};
_Static_assert(sizeof(struct vmf_frame) == 16, "vmfault.h says so");
struct vmf__pages { void *root; uint32_t levels; }; /* a radix tree of struct vmf__node */
struct vmf__range {
	uint8_t kind, node;
	vmf_pfn first;
	uint64_t pages;
	struct vmf_attr attr;
	struct vmf__pages blocks;      /* not RAM: who shows it (alias.c) */
	struct vmf__adoption *adopted; /* under alias_lock */
	struct vmf__adoptees *adoptees;
	struct vmf_frame *frames;
	uint32_t heads[VMF_ORDER_MAX + 1]; /* free lists, index + 1 */
	uint64_t free;
	uint32_t loose; /* single free frames that were not merged: about so many */
	bool ragged;    /* some may be, since all were */
};
struct vmf__phys { /* replaced as a whole; old ones live as long as the port */
	uint32_t n;
	struct vmf__phys *older;
	struct vmf__range *range[];
};

static inline bool vmf__frame_broken(const struct vmf_frame *f)
{
	return f && vmf__peek(&f->kind) == VMF__F_BROKEN;
}
struct vmf__range *vmf__phys_range(struct vmf_port *, vmf_pfn);
/* n adjacent frames (n a power of two) with a reference each into frames[]; false: not there. => any lock */
bool vmf__phys_run(struct vmf_port *, uint32_t n, struct vmf_frame **frames);
/* Puts them, or a part of them; in one piece if nobody else has a reference. => any lock */
void vmf__phys_run_put(struct vmf_port *, uint32_t n, struct vmf_frame *const *frames);
/* The frame that the page is, or is a part of; NULL unless RAM in use.  => who has no reference: a hint */
struct vmf_frame *vmf__phys_frame(struct vmf_port *, vmf_pfn);
bool vmf__phys_node(struct vmf_port *, unsigned node, bool there); /* is this a policy?  there: and is its node? */
bool vmf__phys_break(struct vmf_port *, vmf_pfn); /* the frame, in use or not, is broken; false: there is none */
void vmf__phys_release(struct vmf_port *, struct vmf_frame *); /* its last reference has gone */
void vmf__phys_destroy(struct vmf_port *);
/* Is this a frame that somebody can hand over: of this port, in use, of this order? */
bool vmf__frame_good(struct vmf_port *, const struct vmf_frame *, unsigned order);
bool vmf__frame_alive(struct vmf_port *, const struct vmf_frame *); /* of any order; NULL is not */

/* ------------------------------------------------------------------------------------------- reserve.c */

/* Pools of equal blocks for the fault path, which takes and gives but never allocates. */
struct vmf__reserve {
	struct vmf_lock lock;
	uint32_t size, free, low; /* below `low`, supply() adds a slab */
	void *list, *slabs;
};
void *vmf__reserve_take(struct vmf_port *, struct vmf__reserve *); /* not zeroed; NULL: empty */
void vmf__reserve_give(struct vmf_port *, struct vmf__reserve *, void *);
int vmf__reserve_supply(struct vmf_port *, struct vmf__reserve *); /* => sleeps */
void vmf__reserve_destroy(struct vmf_port *, struct vmf__reserve *);

/* ---------------------------------------------------------------------------------------------- slot.c */

/* What a fault in flight is about.  Written by its owner, read by all; revoke turns ASKING into STALE. */
enum vmf__slot_state {
	VMF__IDLE,
	VMF__LOOKING,  /* reads the area table, which stays until it has done */
	VMF__ASKING,   /* holds `area`; a handler may run */
	VMF__ENTERING, /* as ASKING, and the pmap is being changed: revoke waits for it */
	VMF__STALE     /* was ASKING; the range was revoked: must not enter */
};
struct vmf_slot {
	uint32_t word; /* generation << 3 | state */
	uint32_t first_lo, first_hi, n;
	struct vmf_area *area;
	struct vmf_object *object;
	struct vmf__fill *spare; /* the owner's last fill, for its next: nobody else's lock is needed then */
	uint8_t pad[64 - 16 - 3 * sizeof(void *)];
};
struct vmf_slot *vmf__slot_enter(struct vmf_port *); /* LOOKING; NULL: no slot, or nested too deeply */
void vmf__slot_hold(struct vmf_port *, struct vmf_slot *, struct vmf_area *, vmf_pgoff first, uint32_t n,
		    unsigned state);
bool vmf__slot_commit(struct vmf_slot *);               /* ASKING -> ENTERING; false: stale */
void vmf__slot_widen(struct vmf_port *, struct vmf_slot *, vmf_pgoff first, uint32_t n); /* => ENTERING */
void vmf__slot_relax(struct vmf_slot *);                /* ENTERING -> ASKING */
void vmf__slot_leave(struct vmf_port *, struct vmf_slot *);
bool vmf__slot_nested(struct vmf_port *, struct vmf_slot *, const struct vmf_area *); /* does an outer fault hold it? */
/* Does this thread hold an area of that range? */
bool vmf__slot_mine(const struct vmf_space *, vmf_va first, vmf_va last);
/* Waits until no slot reads a table that was replaced before, and none holds one of n areas.  => sleeps */
void vmf__slot_quiesce(struct vmf_port *, struct vmf_area *const *, uint32_t n);
/* From now on no fault enters what it learnt of the range (object NULL: of anything) before. => any lock */
void vmf__slot_shoot(struct vmf_port *, const struct vmf_object *, vmf_pgoff first, uint64_t n);

/* ---------------------------------------------------------------------------------------------- lock.c */

void vmf__lock_take(struct vmf_port *, struct vmf_lock *); /* as vmf_lock_*, of what is there */
void vmf__lock_drop(struct vmf_port *, struct vmf_lock *);

/* --------------------------------------------------------------------------------------------- order.c */

#ifdef VMF_DEBUG
#define vmf__check(port, bad) vmf__checked((port), (bad))
void vmf__checked(struct vmf_port *, const char *bad); /* NULL: all is well; else does not return */
const char *vmf__rank_none(const char *what); /* NULL: nothing but drivers' locks is held; else "X" and `what` */
uint32_t vmf__rank_held(void);                /* how many locks this thread holds */
#else
#define vmf__check(port, bad) ((void)0)
#define vmf__rank_held() 0u
#endif

/* ---------------------------------------------------------------------------------------------- port.c */

struct vmf_port {
	const struct vmf_host_ops *host; /* = &table: our copy */
	struct vmf_host_ops table;
	void *self;
	struct vmf_slot *slots;
	uint32_t nslots, used; /* used: slots below it have been used */
	uint32_t leaving;      /* a sequence: somebody left a slot while `waiting` */
	uint32_t waiting;
	uint8_t shift;
	bool strict;
	bool devices; /* some range is not RAM */
	bool odd;     /* some RAM has other attributes than WB */
	uint32_t objects, spaces; /* atomic: so many live */
	struct vmf__phys *phys; /* atomic */
	uint8_t apart[64];      /* what faults write does not share a cache line with what they only read */
	struct vmf_lock phys_lock;
	uint32_t turn;          /* the node of the last interleaved frame; under phys_lock */
	struct vmf_lock late_lock;
	struct vmf_object *late; /* without references, not yet released */
	struct vmf_lock all_lock;
	struct vmf_object *all;  /* overlays too */
	uint32_t broken;         /* frames */
	struct vmf__reserve leaves, nodes, fills;
	/* device memory: alias.c, raw.c */
	struct vmf_lock alias_lock;
	struct vmf__reserve blocks, aliases;
	struct vmf__interval *raws; /* of areas that were mapped raw */
	vmf_phys_may *may;
	void *may_self;
};
static inline size_t vmf__psize(const struct vmf_port *p) { return (size_t)1 << p->shift; }
void *vmf__alloc(struct vmf_port *, size_t);
void vmf__free(struct vmf_port *, void *, size_t);
int vmf__supply(struct vmf_port *); /* fills all reserves up; => sleeps */

/* --------------------------------------------------------------------------------------------- pages.c */

/* What an object knows of one page.  Under the object's lock, but `word` and `frame` of a page that is there may be
 * read in a slot that is ENTERING (revoke waits for it before they change). */
enum {
	VMF__P_STATE = 7, VMF__P_REDIRTY = 8, VMF__P_MKWRITE = 16, VMF__P_LEAVING = 32, VMF__P_SHARED = 64,
	VMF__P_PIN = 256,
};
struct vmf__page {
	void *of;      /* FILLING: the fill (LEAVING: still the frame); else the frame or NULL */
	uint32_t word; /* enum vmf_state | flags | pins * VMF__P_PIN */
	uint32_t zero;
};
#define VMF__LEAF 8u
struct vmf__leaf {
	struct vmf__page page[VMF__LEAF];
	struct vmf_frame frame[]; /* of a segment: VMF__LEAF on ports that have segments, else none */
};
struct vmf__node { void *child[16]; };

static inline enum vmf_state vmf__state(const struct vmf__page *p)
{
	return (enum vmf_state)(vmf__load(&p->word) & VMF__P_STATE);
}
static inline void vmf__set_state(struct vmf__page *p, enum vmf_state s)
{
	vmf__store(&p->word, (vmf__peek(&p->word) & ~(uint32_t)VMF__P_STATE) | (uint32_t)s);
}
/* Its frame broke, and had what the backing has not. */
static inline bool vmf__page_lost(const struct vmf__page *p)
{
	return vmf__state(p) == VMF_FAILED && vmf__load(&p->of);
}
struct vmf__page *vmf__page_at(const struct vmf_object *, vmf_pgoff);   /* NULL: never heard of */
struct vmf__page *vmf__page_make(struct vmf_object *, vmf_pgoff);       /* NULL: the reserve is empty; => object lock */
struct vmf_frame *vmf__page_segment(struct vmf_object *, vmf_pgoff);    /* its frame in the segment; it was made */
/* Can the bytes of these pages in the object's own segment be touched?  false: there is no memory for them. */
static inline bool vmf__segment_made(const struct vmf_object *, vmf_pgoff, uint64_t n); /* below */
/* The first page at or after `at`, before `end`, whose leaf exists: skips what was never touched. */
vmf_pgoff vmf__page_next(const struct vmf_object *, vmf_pgoff at, vmf_pgoff end);
void vmf__pages_destroy(struct vmf_object *);

/* -------------------------------------------------------------------------------------------- object.c */

struct vmf_object {
	struct vmf_port *port;
	const struct vmf_ops *ops; /* never NULL; a driver's: our copy of its table */
	union {
		struct vmf_ops driver;
		struct vmf_backing_ops backing;
	} table;
	void *priv;
	bool stream, segmented, backed, readonly;
	uintptr_t pages, room; /* length now (atomic), and at most */
	vmf_pfn segment;
	struct vmf__pages tree;
	uint32_t revokes;           /* a sequence: vmf_revoke was called */
	uint32_t epoch;             /* another one after each truncation */
	uint32_t around, readahead; /* backed, as these three: */
	const struct vmf_backing_ops *backing; /* our copy of its table */
	void *backing_self;
	uint64_t bytes;             /* under lock */
	struct vmf__pages shown;    /* device pages that it shows: alias.c */
	struct vmf__revoking *revoking; /* calls in progress; under alias_lock */
	uint8_t apart[64];          /* as in struct vmf_port */
	uint32_t refs;
	bool prompt; /* a hint: the last read was done when start() returned */
	struct vmf_lock lock;       /* pages, fills, resizes */
	struct vmf_lock areas_lock; /* areas */
	struct vmf_area *areas;
	struct vmf__fill *fills;    /* reads in flight; under lock */
	struct vmf_object *late;    /* next in port->late */
	struct vmf_object *all_next, **all_link; /* of port->all, under its lock */
	struct vmf_wait changed;    /* a write-back or an mkwrite ended */
};
/* room: the most pages that it can grow to.  stream, backed, readonly are set by the caller afterwards. */
int vmf__object_new(struct vmf_port *, struct vmf_object **, const struct vmf_ops *, void *priv, uint64_t pages,
		    uint64_t room, bool segmented);
/* Lets go where nothing may be released: in a handler, under somebody's lock.  => any lock */
void vmf__object_put_late(struct vmf_object *);
/* In every area that is not by copy: nothing of the range is shown any more / nothing of it can be written without a
 * fault.  Faults in flight that learnt of it before do not enter. => any lock */
int vmf__object_hide(struct vmf_object *, vmf_pgoff first, uint64_t n);
int vmf__object_clean(struct vmf_object *, vmf_pgoff first, uint64_t n);
/* A driver's pages are clean again: their next write is announced by mkwrite. */
void vmf__object_forget_dirt(struct vmf_object *, vmf_pgoff first, vmf_pgoff end);
/* Do writes to clean pages have to be seen? */
static inline bool vmf__object_tracks(const struct vmf_object *o)
{
	return (o->backed && !o->readonly) || o->ops->mkwrite;
}
static inline uint64_t vmf__object_pages(const struct vmf_object *o) { return vmf__load(&o->pages); }

/* broken.c: of these pages those that are frames, of RAM or of a segment, are broken (*found: so many), and nobody
 * shows them any more.  0, -VMF_ENOMEM, or what a pmap said.  => sleeps */
uint64_t vmf__segment_pages(struct vmf_port *, vmf_pfn first, uint64_t n); /* so many, from the first on */
int vmf__poison_frames(struct vmf_port *, vmf_pfn first, uint64_t n, uint64_t *found);
/* The page of an object with a backing, if it is there and its frame is broken, is not there any more, or lost.  true:
 * somebody is at it (object->changed) */
bool vmf__page_broke(struct vmf_object *, vmf_pgoff);
bool vmf__pages_lost(struct vmf_object *, vmf_pgoff first, vmf_pgoff end); /* any of them? */

/* ---------------------------------------------------------------- area.c, table.c, space.c, change.c, map.c */

/* Never changes once it is in the table: a cut or a protect makes new areas. */
struct vmf_area {
	struct vmf_space *space;
	struct vmf_object *object; /* a reference */
	struct vmf_object *overlay; /* private pages; a reference, or NULL: it is shared, or the platform copies on write */
	vmf_va va;
	uint64_t pages;
	vmf_pgoff off;
	uint8_t prot, maxprot, order, action;
	uint32_t flags, node;
	struct vmf_attr attr;
	vmf_pfn raw; /* action VMF_RAW: what is shown at va */
	struct vmf_window window;
	void *priv;
	struct vmf_area *real; /* itself; of a debugger's stand-in: the area that is mapped, which its slot holds */
	/* Up to here a copy is like it (vmf__area_like()); the rest changes while it is in the table. */
	uint8_t may; /* atomic: prot, and until vmf_protect() is through also what entries may have from before */
	uint32_t refs;
	uint32_t told;                 /* opened() has returned */
	struct vmf_area *next, **link; /* the object's list, under areas_lock */
	struct vmf__interval *interval; /* VMF_RAW; else NULL */
	uint32_t ahead_next, ahead_n;  /* readahead: low half of the page expected next, run so far; hints, unlocked */
};
static inline void vmf__area_like(struct vmf_area *a, const struct vmf_area *like)
{
	memcpy(a, like, offsetof(struct vmf_area, may));
}
/* A change of a space's table in the making; there is one at a time. */
struct vmf__draft {
	struct vmf_port *port;
	struct vmf__table *root;                  /* what it comes to; the table itself while there is no change */
	struct vmf__table *fresh, *newest, *dead; /* nodes of the new table alone; of the old one alone */
	struct vmf__table *spare;                 /* set aside, so that taking areas out needs no memory */
	uint32_t spares, dropped;                 /* dropped: in fresh or dead, and spare once the draft is kept */
};
/* struct vmf_stats as words.  The first slots (CPUs, threads) have a shard each, and add without a lock prefix; the
 * others share the last one. */
#define VMF__COUNTERS ((sizeof(struct vmf_stats) - offsetof(struct vmf_stats, faults)) / sizeof(uint64_t))
#define VMF__COUNTER(what) ((offsetof(struct vmf_stats, what) - offsetof(struct vmf_stats, faults)) / sizeof(uint64_t))
struct vmf__counters { uintptr_t v[VMF__COUNTERS + 8]; };
struct vmf_space {
	struct vmf_port *port;
	struct vmf_pmap *pmap;
	struct vmf_pmap_ops ops;  /* our copy of the pmap's, which may be shorter */
	struct vmf_lock lock;     /* who changes the table */
	struct vmf__table *table; /* atomic; NULL: no areas */
	uint32_t tickets;         /* atomic: so many hold something */
	uint32_t bolted;          /* atomic: some fault has asked for a bolt */
	struct vmf__draft draft;  /* under lock */
	struct vmf__stray *strays, *stray_spare; /* under lock; stray.c */
	struct vmf__counters stats[]; /* VMF_CFG_SHARDS; a debugger's stand-in (access.c) has none */
};
struct vmf_area *vmf__table_find(const struct vmf__table *, vmf_va);
struct vmf_area *vmf__table_after(const struct vmf__table *, vmf_va); /* the first that ends at va or above; NULL */
/* The first gap of so many bytes in [lo, hi). */
bool vmf__table_gap(const struct vmf__table *, vmf_va lo, vmf_va hi, vmf_va bytes, vmf_va *at);
/* In the draft: the areas that [lo, last] touches leave, and n others come, sorted, to addresses that are free then.
 * -VMF_ENOMEM: the draft must be discarded; never if n is 0. */
int vmf__table_splice(struct vmf__draft *, vmf_va lo, vmf_va last, struct vmf_area *const *, uint32_t n);
/* The draft is the table, and nobody reads the old one any more / the old one is, and nobody reads the draft. */
void vmf__table_keep(struct vmf__draft *);
void vmf__table_discard(struct vmf__draft *, struct vmf__table *old);
/* Where nobody reads: the last area; takes it out in place. */
struct vmf_area *vmf__table_last(const struct vmf__table *);
void vmf__table_pop(struct vmf__draft *);
/* Unmaps all, without any memory; nobody faults there.  0, or what detach() said: the rest is still there. => sleeps */
int vmf__space_empty(struct vmf_space *);
/* stray.c: attached, and no area's.  => the space's lock, or a space that nobody else has */
struct vmf__stray {
	struct vmf__stray *next;
	vmf_va va;
	uint64_t pages;
	struct vmf_window window;
	struct vmf_object *object; /* a reference once it is noted */
	struct vmf_area *area;     /* its one reference; NULL: there was not even that */
};
bool vmf__stray_room(struct vmf_space *); /* to note one; false: no memory */
void vmf__stray_room_free(struct vmf_space *);
/* Takes attach() back, and the area; or notes it, in the room. */
void vmf__stray_undo(struct vmf_space *, const struct vmf__stray *);
bool vmf__stray_at(const struct vmf_space *, vmf_va va, uint64_t pages, vmf_va *end); /* is there one? where it ends */
/* Tries again.  0: there are none; or what detach() said.  => no lock; sleeps */
int vmf__strays_end(struct vmf_space *);
struct vmf_area *vmf__area_new(struct vmf_port *, const struct vmf_area *like, vmf_va va, uint64_t pages);
/* Tell the driver: opened() once, and closed() only after that. => no lock */
void vmf__area_opened(struct vmf_area *);
void vmf__area_closed(struct vmf_area *);
void vmf__area_link(struct vmf_area *);
void vmf__area_unlink(struct vmf_area *);
static inline bool vmf__segment_made(const struct vmf_object *o, vmf_pgoff at, uint64_t n)
{
	const struct vmf_host_ops *host = o->port->host;

	if (!o->segmented || !host->segment_make)
		return true;
	return !host->segment_make(o->port->self, (vmf_pfn){ o->segment.n + at }, n);
}
static inline vmf_va vmf__bytes(const struct vmf_port *p, uint64_t pages) { return (vmf_va)(pages << p->shift); }
static inline vmf_va vmf__end(const struct vmf_area *a) { return a->va + vmf__bytes(a->space->port, a->pages); }
/* The last byte, which unlike the end never wraps. */
static inline vmf_va vmf__last(const struct vmf_area *a) { return vmf__end(a) - 1; }

/* Removes what is mapped at a part of an area, and puts the frames after update(). / One page, on little stack. */
int vmf__area_remove(struct vmf_area *, vmf_va, uint64_t pages);
int vmf__area_forget(struct vmf_area *, vmf_va);
int vmf__area_hide(struct vmf_area *, vmf_va, uint64_t pages); /* remove, and bolts are given back */
/* No entry of the range allows a write any more, until one is entered that does; the window has `protect`. */
int vmf__area_clean(struct vmf_area *, vmf_va, uint64_t pages);
/* The same as remove, and gives the addresses back; an error: entries may have been forgotten, nothing else. */
int vmf__area_detach(struct vmf_area *, vmf_va, uint64_t pages);

/* change.c: is this a range of whole pages that does not wrap? */
bool vmf__range_good(const struct vmf_space *, vmf_va, uint64_t pages);
/* The pmap said -VMF_EAGAIN: somebody who changes the layout from outside waits for the lock that we have just let go.
 * Waits a little; false: another error, or often enough. => no lock */
bool vmf__layout_again(struct vmf_space *, int err, uint32_t *tries);

/* --------------------------------------------------------------------------------- fault.c and its parts */

struct vmf_fault {
	struct vmf_space *space;
	struct vmf_port *port;
	struct vmf_area *area;
	struct vmf_object *object;
	struct vmf_slot *slot;
	struct vmf_ticket *ticket;
	vmf_va va; /* page-aligned */
	vmf_pgoff off;
	uint8_t access, trap_flags, flags; /* flags: enum vmf_rflag so far */
	bool entered_any, installed; /* installed: the page itself, by the driver */
	bool huge;     /* frames of higher orders may come */
	uint8_t order; /* huge: what is asked for; the slot covers the block */
	bool widened; /* the slot has covered more or something else than the page: only `revokes` tells */
	vmf_pgoff lo, hi;  /* what of the object this fault may enter: the area, or less */
	uint32_t revokes;  /* of the object, before the driver was asked */
	struct vmf__counters *count;
	bool counts_alone; /* nobody else adds to them */
	struct vmf__page *page; /* the page's, once it was looked for and there: it stays as long as the object */
	const uint8_t *bolt; /* NULL: none; else the `bolt` of an answer in the making */
	struct vmf_result done; /* of installs by the driver itself */
};
static inline struct vmf_result vmf__result(unsigned code, unsigned why, int err)
{
	return (struct vmf_result){ (uint8_t)code, (uint8_t)why, 0, 0, err };
}
#define vmf__count(f, what, n) vmf__tally((f), VMF__COUNTER(what), (n))
static inline void vmf__tally(const struct vmf_fault *f, size_t i, uint64_t n)
{
	uintptr_t *v = &f->count->v[i];

	if (f->counts_alone)
		vmf__set(v, vmf__peek(v) + (uintptr_t)n);
	else
		(void)__atomic_fetch_add(v, (uintptr_t)n, __ATOMIC_RELAXED);
}

/* mistake.c: SIGBUS with this reason; strict debug builds say `what` and go no further. */
#ifdef VMF_DEBUG
struct vmf_result vmf__mistake(const struct vmf_fault *, enum vmf_why, const char *what);
void vmf__left_over(struct vmf_port *, uint32_t n, const char *what); /* so many, which there must not be */
#else
#define vmf__mistake(f, why, what) vmf__result(VMF_SIGBUS, (why), 0)
#define vmf__left_over(port, n, what) ((void)0)
#endif

/* fault.c, for access.c: the fault is about a page of that area / asks, with a slot that is ASKING, and bounds the
 * retries; the ticket is the caller's to drop. */
static inline void vmf__fault_at(struct vmf_fault *f, struct vmf_area *a)
{
	f->area = a;
	f->object = a->object;
	f->off = a->off + ((f->va - a->va) >> f->port->shift);
	f->lo = a->off;
	f->hi = a->off + a->pages;
}
struct vmf_result vmf__fault_ask(struct vmf_fault *);

/* enter.c: all take a slot that is ENTERING.  What of the run lies outside the area is left out. */
struct vmf_result vmf__enter_frames(struct vmf_fault *, vmf_pgoff, struct vmf_frame *const *, uint32_t n,
				    unsigned prot);
/* The object's own frames where the window does not count them: their number is known, and nothing of them is read. */
struct vmf_result vmf__enter_segment(struct vmf_fault *, vmf_pgoff, uint32_t n, unsigned prot);
/* The first n of a bounced fill.  Returns how many are entered, from the first on. */
uint32_t vmf__enter_fill(struct vmf_fault *, const struct vmf__fill *, uint32_t n, unsigned prot);
struct vmf_result vmf__enter_pfns(struct vmf_fault *, vmf_pgoff, vmf_pfn, uint32_t n, struct vmf_attr, unsigned prot);
struct vmf_result vmf__enter_zero(struct vmf_fault *, vmf_pgoff, uint64_t n);
/* By copy, where single entries can be protected: is the fault's page there?  Then *r is what came of it. */
bool vmf__enter_again(struct vmf_fault *, struct vmf_result *r);
/* One frame of a window by address, which is in the area / any run / what the pmap's answer means. */
struct vmf_result vmf__enter_one(struct vmf_fault *, vmf_pgoff, struct vmf_frame *, unsigned prot);
struct vmf_result vmf__enter(struct vmf_fault *, struct vmf_run *, bool needed);
struct vmf_result vmf__entered(struct vmf_fault *, long got, bool needed);
/* ASKING -> ENTERING for the fault's page, and for the rest of [at, at+n) if nothing was revoked meanwhile (else
 * f->lo and f->hi leave it out).  false: the page itself was, or it is not in the run and something was. */
bool vmf__enter_begin(struct vmf_fault *, vmf_pgoff at, uint32_t n);
bool vmf__frames_begin(struct vmf_fault *, vmf_pgoff at, struct vmf_frame *const *, uint32_t n); /* of these frames */
/* Are these n frames that the fault's window can show from `at` on?  NONE, DRIVER, or POLICY: foreign in a window by
 * offset. */
void vmf__frames_put(struct vmf_port *, struct vmf_frame *const *, uint32_t n); /* bad ones are left alone */
enum vmf_why vmf__frames_good(const struct vmf_fault *, vmf_pgoff at, struct vmf_frame *const *, uint32_t n);

/* raw.c: may this run of pfns be shown in that space, like this?  Else the reason.  *attr: strengthened if need be. */
enum vmf_why vmf__pfns_good(struct vmf_space *, vmf_pfn, uint64_t n, unsigned prot, struct vmf_attr *attr);
/* May the fault's area show the frame?  *attr: with which attributes.  Only if vmf__attr_odd() says so. */
bool vmf__frame_attr(const struct vmf_fault *, const struct vmf_frame *, struct vmf_attr *attr);
/* Could a frame that is RAM have other attributes than the fault's area? */
static inline bool vmf__attr_odd(const struct vmf_fault *f)
{
	return f->area->attr.type | f->area->attr.port || f->port->odd;
}

/* One frame of this order, or a page of a higher one, in a window that is not by offset. */
struct vmf_result vmf__enter_part(struct vmf_fault *, vmf_pgoff, struct vmf_frame *, unsigned order, unsigned prot);

/* huge.c: faults in areas, and windows, of higher orders. => a slot that is ASKING, and n > 0 */
void vmf__huge_begin(struct vmf_fault *);
bool vmf__huge_lower(struct vmf_fault *); /* FALLBACK; false: nothing is smaller here */
/* As vmf__frames_good(), vmf__enter_begin(), vmf__enter_frames(). */
enum vmf_why vmf__huge_good(const struct vmf_fault *, struct vmf_frame *const *, uint32_t n);
bool vmf__huge_commit(struct vmf_fault *, vmf_pgoff, struct vmf_frame *const *, uint32_t n);
struct vmf_result vmf__huge_enter(struct vmf_fault *, vmf_pgoff, struct vmf_frame *const *, uint32_t n, unsigned prot);

/* bolt.c */
long vmf__bolt_enter(struct vmf_fault *, const struct vmf_run *); /* as enter(), of a fault whose answer asks for one */
/* Of this part of an area, but not of what it has for itself: faults' bolts go back. => before its entries are
 * removed */
int vmf__bolts_back(struct vmf_area *, vmf_va, uint64_t pages);
/* The first page from `at` on that no area has bolted at map time; *stop: the next one that is.  Both at most `end`. */
vmf_pgoff vmf__bolts_skip(struct vmf_object *, vmf_pgoff at, vmf_pgoff end, vmf_pgoff *stop);

/* overlay.c */
int vmf__overlay_new(struct vmf_port *, const struct vmf_map *, struct vmf_object **);
void vmf__overlay_put(struct vmf_object *); /* nobody is told; NULL is fine; => any lock up to space */
/* Has the area this page for its own?  Then *r is what came of entering it. */
bool vmf__overlay_fault(struct vmf_fault *, struct vmf_result *r);
/* Enters pages of the object, where the area has none of its own; copies the fault's if it is to be written. */
struct vmf_result vmf__overlay_frames(struct vmf_fault *, vmf_pgoff, struct vmf_frame *const *, uint32_t n,
				      unsigned prot);
struct vmf_result vmf__overlay_zero(struct vmf_fault *);                   /* a page of zeroes of its own */
struct vmf_result vmf__overlay_pfn(struct vmf_fault *, struct vmf_run *); /* the fault's page, raw */
void vmf__overlay_drop(const struct vmf_area *, vmf_va, uint64_t n);      /* that part is unmapped; => sleeps */
/* Both have what `from` has. => nobody uses `to` yet; sleeps */
int vmf__overlay_copy(struct vmf_area *to, struct vmf_area *from);
/* What an answer has to allow for this access: a private write needs just the bytes. */
static inline unsigned vmf__needs(const struct vmf_fault *f)
{
	return !(f->area->flags & VMF_SHARED) && f->access == VMF_W ? (unsigned)VMF_R : f->access;
}

/* ---------------------------------------------------------------------------------------------- radix.c */

uint32_t vmf__radix_levels(uint64_t keys); /* of a tree for keys below that */
static inline void *vmf__radix_find(const struct vmf__pages *tree, uint64_t key)
{
	void *p = vmf__load(&tree->root);

	for (unsigned shift = 4 * tree->levels; p && shift;) {
		shift -= 4;
		p = vmf__load(&((struct vmf__node *)p)->child[key >> shift & 15u]);
	}
	return p;
}

/* Where the key's pointer is, made if need be.  NULL: the reserve is empty. */
void **vmf__radix_make(struct vmf_port *, struct vmf__pages *, uint64_t key);
/* The first key from this one on, below `end`, that has something. */
uint64_t vmf__radix_next(const struct vmf__pages *, uint64_t key, uint64_t end);
void vmf__radix_free(struct vmf_port *, struct vmf__node *root, uint32_t levels);

/* --------------------------------------------------------- alias.c, interval.c, adopt.c: who shows device memory */

#define VMF__BLOCK 16u
struct vmf__adoptees { struct vmf__adoptees *next; struct vmf_frame frame[VMF__BLOCK]; };
struct vmf__adoption { struct vmf__adoption *next; vmf_pfn first; uint64_t pages; };
/* What is known of 16 pfns. */
struct vmf__block {
	vmf_pfn first;
	struct vmf__alias *aliases;
	struct vmf__adoptees *frames; /* NULL: none of them was ever adopted; they stay as long as the port */
	uint16_t any, adopted, broken; /* a bit for each page; any: it is shown */
	uint32_t shown[VMF__BLOCK];    /* by so many aliases, */
	struct vmf_attr attr[VMF__BLOCK]; /* and with these attributes */
};
/* An object shows pages of a block, with these attributes. */
struct vmf__alias {
	struct vmf_object *object;
	struct vmf__alias *next, **link; /* of the block */
	struct vmf__alias *after;        /* in the same place of the object's tree */
	struct vmf__block *block;
	vmf_pgoff off;                   /* of the block's first page; it wraps if that is before the object */
	struct vmf_attr attr;
	uint16_t shown, doomed, fresh;   /* pages; fresh: nobody but who recorded it has come across it */
};
/* An area that was mapped VMF_RAW: these pfns, with its attributes. */
struct vmf__interval {
	struct vmf__interval *left, *right;
	struct vmf_area *area;
	uint64_t first, last, reach;
	bool there;
};
struct vmf__revoking {
	vmf_pgoff first;
	uint64_t n;
	uint32_t number; /* of object->revokes */
	bool gone;       /* nothing of it is entered any more */
	struct vmf__revoking *next;
};
void vmf__block_init(struct vmf__range *);
/* NULL: nothing is known of it, or RAM / the reserve is empty; => alias_lock.  Blocks stay as long as the port. */
struct vmf__block *vmf__block_at(const struct vmf__range *, vmf_pfn);
struct vmf__block *vmf__block_make(struct vmf_port *, struct vmf__range *, vmf_pfn);
void vmf__alias_init(struct vmf_object *);
void vmf__alias_destroy(struct vmf_object *);
/* The fault is about to show these pages, raw or (counted) as adopted frames: OK, and with which attributes; else none
 * of them, and the fault's result.  range: of the first, or NULL. => ENTERING */
struct vmf_result vmf__alias_claim(struct vmf_fault *, vmf_pgoff, vmf_pfn, uint32_t n, struct vmf_attr *attr,
				   struct vmf__range *, bool counted);
void vmf__alias_undo(struct vmf_fault *, vmf_pgoff, vmf_pfn, uint32_t n, struct vmf_attr); /* it did not enter them */
/* Around taking a range from all areas; r: first, n, and before the end `gone`. => any lock */
void vmf__revoke_begin(struct vmf_object *, struct vmf__revoking *r);
void vmf__revoke_end(struct vmf_object *, struct vmf__revoking *r);
void vmf__alias_forget(struct vmf_object *); /* it has no area. => its areas_lock */
/* An area with an interval: claims its pages before it enters them (-VMF_EPERM), and once more afterwards / comes or
 * goes. */
int vmf__alias_map(struct vmf_area *);
void vmf__alias_area(struct vmf_area *, bool there);
/* Does anybody show one of n pages of the range? => alias_lock */
bool vmf__alias_shown(struct vmf_port *, const struct vmf__range *, vmf_pfn first, uint64_t n);

void vmf__interval_add(struct vmf__interval **root, struct vmf__interval *);
void vmf__interval_del(struct vmf__interval **root, struct vmf__interval *);
/* The one that starts first of those that overlap; NULL. */
struct vmf__interval *vmf__interval_find(struct vmf__interval *root, uint64_t first, uint64_t last);
void vmf__interval_each(struct vmf__interval *root, uint64_t first, uint64_t last,
			void (*)(struct vmf__interval *, void *), void *self);

/* The frame of an adopted page that somebody holds a reference on; else NULL, or a hint. */
struct vmf_frame *vmf__adopted_frame(const struct vmf__range *, vmf_pfn);
void vmf__adopted_free(struct vmf_port *, struct vmf__range *); /* the port ends */
bool vmf__adopted_busy(const struct vmf__range *); /* => alias_lock */

/* map.c: an area like that one in another space, with nothing entered; => nobody else uses the space */
int vmf__map_like(struct vmf_space *, const struct vmf_area *like, struct vmf_area **out);

/* driver.c: what a driver's table answers; zero-fill. */
struct vmf_result vmf__ask_driver(struct vmf_fault *);
/* Of what a driver installs itself: what may be entered where first writes are announced.  How many pages in front are
 * left out. */
uint32_t vmf__install_clean(const struct vmf_fault *, vmf_pgoff *at, uint32_t *n, unsigned *prot);
struct vmf_result vmf__retry(struct vmf_fault *, unsigned why, struct vmf_wait *, uint32_t seq);

/* backed.c: the generic nopage of backings. */
struct vmf_result vmf__backed_fault(struct vmf_fault *);
/* ticket.c: forgets a fill that is not about the fault's page. */
void vmf__ticket_match(struct vmf_fault *);
/* In a ticket's flags, beside VMF_MAJOR.  ALONE: a run failed that was longer than what this fault needs: from now on
 * it asks for its own page alone.  HOLDS: it is one of space->tickets. */
enum { VMF__T_HOLDS = 0x40, VMF__T_ALONE = 0x80 };
void vmf__ticket_count(struct vmf_space *, struct vmf_ticket *); /* it is given back to the port */
/* readahead.c: how many pages from f->off a sequential fault should bring; at least 1. */
uint32_t vmf__readahead(struct vmf_fault *);

/* ---------------------------------------------------------------------------------------------- fill.c */

/* One read or write in flight.  Tickets and the io hold references; while it lives its cached pages are pinned. */
enum { VMF__FLYING, VMF__LANDED };
enum { VMF__STARTING, VMF__AWAY, VMF__BACK }; /* in start(); it returned before the read was done, or not */
struct vmf__fill {
	struct vmf_io io; /* first, n, frames: = frame */
	struct vmf_object *object; /* a reference */
	struct vmf__page *page;    /* cached, and of one page: that */
	struct vmf__fill *next, **link; /* object->fills, while FLYING; under its lock */
	uint32_t refs, state;
	bool cached, stale;
	bool pinned;  /* its pages are, each once */
	bool lacks;   /* what is not good is for lack of memory in the segment */
	bool bounced; /* cached, and reads into frames of its own, whose bytes then go into the segment */
	uint32_t starter; /* bounced: VMF__STARTING... */
	uint32_t awaited; /* somebody may be asleep until it lands */
	uint32_t epoch; /* of the object when it began, if not cached */
	uint32_t good; /* pages that are right, once LANDED */
	int err;
	struct vmf_wait landed;
	struct vmf_frame *frame[VMF_CFG_IO_RUN]; /* last: io.n of them are good */
};
struct vmf__fill *vmf__fill_new(struct vmf_object *, vmf_pgoff first, uint32_t n, bool write); /* NULL: reserve empty */
/* Before it starts: the n pages from first of what it was made for. */
void vmf__fill_shrink(struct vmf__fill *, vmf_pgoff first, uint32_t n);
/* Hands it to the backing.  True: it was bounced and is done, but for vmf__fill_copy() where `good` and not `stale`,
 * and vmf__fill_land().  => consumes no reference of the caller's; no lock held */
bool vmf__fill_start(struct vmf__fill *);
void vmf__fill_copy(struct vmf__fill *, uint32_t i, uint32_t end); /* of these pages into the segment; => ENTERING */
/* done: the fault that asked is through; unless somebody else asked for its pages, they need not stay. */
void vmf__fill_land(struct vmf__fill *, bool done);
void vmf__fill_get(struct vmf__fill *);
void vmf__fill_put(struct vmf__fill *);
/* Has it landed?  If not, *seq is what to wait with on fill->landed. */
bool vmf__fill_landed(struct vmf__fill *, uint32_t *seq);
/* For faults, which keep one ready: as vmf__fill_new() to read, and as vmf__fill_put(). */
struct vmf__fill *vmf__fill_take(struct vmf_fault *, vmf_pgoff first, uint32_t n);
void vmf__fill_give(struct vmf_fault *, struct vmf__fill *);
void vmf__fill_link(struct vmf__fill *);   /* => object lock */
void vmf__fill_stale(struct vmf_object *, vmf_pgoff first, uint64_t n); /* => object lock */

#endif
