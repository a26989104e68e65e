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
_Static_assert(VMF_CFG_SLAB >= 1024 && VMF_CFG_SLAB <= 1u << 30, "VMF_CFG_SLAB: 1024 and more");
_Static_assert(VMF_CFG_SHARDS >= 1 && VMF_CFG_SHARDS <= 64, "VMF_CFG_SHARDS: 1 to 64");

void *memcpy(void *restrict, const void *restrict, size_t);
void *memset(void *, int, size_t);

static inline uint64_t vmf__min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t vmf__max(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* ------------------------------------------------------------------------------------ frame.c, phys.c */

enum vmf__fkind { VMF__F_FREE, VMF__F_RAM, VMF__F_SEGMENT };
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
struct vmf__range {
	uint8_t kind, node;
	vmf_pfn first;
	uint64_t pages;
	struct vmf_attr attr;
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

struct vmf__range *vmf__phys_range(struct vmf_port *, vmf_pfn);
/* n adjacent frames (n a power of two) with a reference each into frames[]; false: not there. => any lock */
bool vmf__phys_run(struct vmf_port *, uint32_t n, struct vmf_frame **frames);
/* Puts them, or a part of them; in one piece if nobody else has a reference. => any lock */
void vmf__phys_run_put(struct vmf_port *, uint32_t n, struct vmf_frame *const *frames);
struct vmf_frame *vmf__phys_frame(struct vmf_port *, vmf_pfn); /* NULL unless RAM in use */
void vmf__phys_release(struct vmf_port *, struct vmf_frame *); /* its last reference has gone */
void vmf__phys_destroy(struct vmf_port *);
/* Is this a frame that somebody can hand over: of this port, in use, of this order? */
bool vmf__frame_good(struct vmf_port *, const struct vmf_frame *, unsigned order);

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
/* From now on no fault enters what it learnt of the range before. => any lock */
void vmf__slot_shoot(struct vmf_port *, const struct vmf_object *, vmf_pgoff first, uint64_t n);

/* --------------------------------------------------------------------------------------------- order.c */

#ifdef VMF_DEBUG
#define vmf__check(port, bad) vmf__checked((port), (bad))
void vmf__checked(struct vmf_port *, const char *bad); /* NULL: all is well; else does not return */
const char *vmf__rank_none(const char *what); /* NULL: nothing but drivers' locks is held; else "X" and `what` */
#else
#define vmf__check(port, bad) ((void)0)
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
	struct vmf_lock phys_lock;
	struct vmf__phys *phys; /* atomic */
	struct vmf_lock late_lock;
	struct vmf_object *late; /* without references, not yet released */
	struct vmf__reserve leaves, nodes, fills;
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
struct vmf__pages { void *root; uint32_t levels; };

static inline enum vmf_state vmf__state(const struct vmf__page *p)
{
	return (enum vmf_state)(vmf__load(&p->word) & VMF__P_STATE);
}
static inline void vmf__set_state(struct vmf__page *p, enum vmf_state s)
{
	vmf__store(&p->word, (vmf__peek(&p->word) & ~(uint32_t)VMF__P_STATE) | (uint32_t)s);
}
struct vmf__page *vmf__page_at(const struct vmf_object *, vmf_pgoff);   /* NULL: never heard of */
struct vmf__page *vmf__page_make(struct vmf_object *, vmf_pgoff);       /* NULL: the reserve is empty; => object lock */
struct vmf_frame *vmf__page_segment(struct vmf_object *, vmf_pgoff);    /* its frame in the segment; it was made */
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
	uint32_t refs;
	bool stream, segmented, backed, readonly;
	bool prompt; /* a hint: the last read was done when start() returned */
	uintptr_t pages, room; /* length now (atomic), and at most */
	vmf_pfn segment;
	struct vmf__pages tree;
	struct vmf_lock lock;       /* pages, fills, resizes */
	struct vmf_lock areas_lock; /* areas */
	struct vmf_area *areas;
	struct vmf__fill *fills;    /* reads in flight; under lock */
	struct vmf_object *late;    /* next in port->late */
	uint32_t revokes;           /* a sequence: vmf_revoke was called */
	struct vmf_wait changed;    /* a write-back or an mkwrite ended */
	/* backed */
	const struct vmf_backing_ops *backing; /* our copy of its table */
	void *backing_self;
	uint64_t bytes;             /* under lock */
	uint32_t epoch;             /* another one after each truncation */
	uint32_t around, readahead;
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
	uint8_t may; /* atomic: prot, and until vmf_protect() is through also what entries may have from before */
	uint32_t flags, node, refs;
	struct vmf_attr attr;
	vmf_pfn raw; /* action VMF_RAW: what is shown at va */
	struct vmf_window window;
	void *priv;
	uint32_t told;                 /* opened() has returned */
	struct vmf_area *next, **link; /* the object's list, under areas_lock */
	uint32_t ahead_next, ahead_n;  /* readahead: low half of the page expected next, run so far; hints, unlocked */
};
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
	struct vmf__draft draft;  /* under lock */
	struct vmf__counters stats[VMF_CFG_SHARDS];
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
struct vmf_area *vmf__area_new(struct vmf_port *, const struct vmf_area *like, vmf_va va, uint64_t pages);
/* Tell the driver: opened() once, and closed() only after that. => no lock */
void vmf__area_opened(struct vmf_area *);
void vmf__area_closed(struct vmf_area *);
void vmf__area_link(struct vmf_area *);
void vmf__area_unlink(struct vmf_area *);
static inline vmf_va vmf__bytes(const struct vmf_port *p, uint64_t pages) { return (vmf_va)(pages << p->shift); }
static inline vmf_va vmf__end(const struct vmf_area *a) { return a->va + vmf__bytes(a->space->port, a->pages); }
/* The last byte, which unlike the end never wraps. */
static inline vmf_va vmf__last(const struct vmf_area *a) { return vmf__end(a) - 1; }

/* Removes what is mapped at a part of an area, and puts the frames after update(). / One page, on little stack. */
int vmf__area_remove(struct vmf_area *, vmf_va, uint64_t pages);
int vmf__area_forget(struct vmf_area *, vmf_va);
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
	bool widened; /* the slot has covered more or something else than the page: only `revokes` tells */
	vmf_pgoff lo, hi;  /* what of the object this fault may enter: the area, or less */
	uint32_t revokes;  /* of the object, before the driver was asked */
	struct vmf__counters *count;
	bool counts_alone; /* nobody else adds to them */
	struct vmf__page *page; /* the page's, once it was looked for and there: it stays as long as the object */
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
/* Are these n frames that the fault's window can show from `at` on?  NONE, DRIVER, or POLICY: foreign in a window by
 * offset. */
void vmf__frames_put(struct vmf_port *, struct vmf_frame *const *, uint32_t n); /* bad ones are left alone */
enum vmf_why vmf__frames_good(const struct vmf_fault *, vmf_pgoff at, struct vmf_frame *const *, uint32_t n);
/* Is this pfn run mappable with these attributes?  NONE, HOLE or ATTR. */
enum vmf_why vmf__pfns_good(struct vmf_port *, vmf_pfn, uint64_t n, struct vmf_attr *);

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

/* map.c: an area like that one in another space, with nothing entered; => nobody else uses the space */
int vmf__map_like(struct vmf_space *, const struct vmf_area *like, struct vmf_area **out);

/* driver.c: what a driver's table answers; zero-fill. */
struct vmf_result vmf__ask_driver(struct vmf_fault *);
struct vmf_result vmf__retry(struct vmf_fault *, unsigned why, struct vmf_wait *, uint32_t seq);

/* backed.c: the generic nopage of backings. */
struct vmf_result vmf__backed_fault(struct vmf_fault *);
/* ticket.c: forgets a fill that is not about the fault's page. */
void vmf__ticket_match(struct vmf_fault *);
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
