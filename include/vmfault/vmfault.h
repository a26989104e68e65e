/* SPDX-License-Identifier: MIT
 *
 * vmfault: page faults as a programmable interface.
 *
 * A range of addresses (an area) is backed by a small table of operations (struct vmf_ops).  vmfault takes
 * the fault, asks the table, and maps the answer.  This header is the manual; read it from top to bottom.
 *
 *      port     what a platform supplies (host.h to live, pmap.h to map), and everything created on it
 *      space    one address space: areas, sorted by address, and the pmap that they are entered in
 *      area     a range of a space that shows a range of an object
 *      object   what is shown: a driver's table of operations, or bytes that come from a backing
 *      frame    a page of memory that is counted; pfn: the number of a page, which owns nothing
 *
 * Conventions
 *   - Units: a vmf_va and what is called bytes are bytes; everything else is base pages (the port's size).
 *   - A struct that a caller fills starts with `size`, its sizeof: `struct vmf_map m = VMF_INIT(struct vmf_map);`.
 *     A longer one is accepted if the tail that this library does not know is zero (else -VMF_E2BIG); of a shorter
 *     one the rest counts as zero, down to what makes no sense without (-VMF_EINVAL).  So with tables of operations,
 *     where zero is NULL.  All are copied: none need outlive the call.  Of a struct that the library fills no more
 *     than `size` bytes are written, and what it does not know is 0.  What is called `zero` must be.
 *   - Set-up calls return 0 or a negative enum vmf_err.  The fault path returns a struct vmf_result.
 *   - NULL, where no comment says that it may be, is -VMF_EINVAL, or a fault's SIGBUS/DRIVER; a call that looks
 *     something up gives NULL, 0 or false; one that returns nothing does nothing.
 *   - "=> sleeps": may block, so never call it from a handler.  "=> any lock": may be called from anywhere,
 *     also by a driver that holds its own lock.  A call without either takes short locks only.
 *   - Lock order, for a driver's own lock: see the top of core/fault.c.
 *   - Thread safety: every call may be made from any thread unless its comment says otherwise.
 */
#ifndef VMFAULT_H
#define VMFAULT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define VMF_ABI 1u

/* The initialiser of any struct with a `size`: that, and zeroes.  In C one may as well name members oneself:
 * { .size = sizeof(struct vmf_map), .pages = 1 }. */
#ifdef __cplusplus
extern "C++" {
	template <class T> constexpr T vmf_sized() { T t{}; t.size = sizeof(T); return t; }
}
#define VMF_INIT(type) vmf_sized<type>()
#else
#define VMF_INIT(type) { .size = sizeof(type) }
#endif

typedef uintptr_t vmf_va;                 /* bytes */
typedef uint64_t vmf_pgoff;               /* base pages from the start of an object */
typedef struct { uint64_t n; } vmf_pfn;   /* a number: never counted, never dereferenced */

struct vmf_port;
struct vmf_space;
struct vmf_area;
struct vmf_object;
struct vmf_frame;
struct vmf_fault;

/* Our own numbers: <errno.h> is no freestanding header. */
enum vmf_err {
	VMF_EINVAL = 1, /* an argument is out of its range, unaligned, or wraps */
	VMF_E2BIG,      /* a struct's unknown tail is not zero */
	VMF_ENOMEM,     /* no memory, or no frame */
	VMF_ENOSPC,     /* no room in the space, no bolt left */
	VMF_EBUSY,      /* somebody is using it */
	VMF_EEXIST,     /* the range overlaps one that is there */
	VMF_EAGAIN,     /* the layout is changing: look everything up again */
	VMF_EFAULT,     /* nothing is there */
	VMF_EIO,        /* a backing failed */
	VMF_EINTR,      /* a signal wants to be delivered */
	VMF_EKILLED,    /* the waiter is being killed */
	VMF_ETIME,      /* the time is over */
	VMF_ENOSYS,     /* this port cannot */
	VMF_EPERM,      /* not allowed */
	VMF_EGONE,      /* the process, mapping or device has gone */
	VMF_EDEADLK     /* called from a handler of the very area that it would wait for */
};
const char *vmf_err_str(int err); /* takes either sign; never NULL; static */

/* ------------------------------------------------------------------------------------------- results */

enum vmf_code {
	VMF_OK,       /* a handler: the answer is filled in; a fault: resolved */
	VMF_DONE,     /* a handler: it has installed the mapping itself (vmf_install_*) */
	VMF_NEXT,     /* a handler: ask the next operation */
	VMF_RETRY,    /* wait for what the answer (the ticket) names, then ask again; `why` says for what */
	VMF_FALLBACK, /* a handler: not in this order; ask again one down */
	VMF_SIGBUS,   /* the memory cannot be had; `why` and `err` say the reason */
	VMF_SIGSEGV,  /* no area there, or it does not allow this access */
	VMF_OOM,      /* no frame, and the retries for one are used up */
	VMF_POISON    /* the frame is there but broken */
};
enum vmf_why {
	VMF_WHY_NONE,
	VMF_WHY_SIGNAL,   /* a handler that waited gave way to a signal */
	VMF_WHY_IO,       /* a backing is working */
	VMF_WHY_RACE,     /* revoked between the handler's return and the entering */
	VMF_WHY_LAYOUT,   /* the address space is changing */
	VMF_WHY_RESOURCE, /* a frame, a table, a slot is lacking */
	VMF_WHY_EOF,      /* past the end of the object */
	VMF_WHY_HOLE,     /* the pfn lies in a hole or a reserved range of the memory map */
	VMF_WHY_IOERR,    /* the backing said `err` */
	VMF_WHY_PROT,     /* the area does not allow this access */
	VMF_WHY_ATTR,     /* the attributes conflict with the range's or another mapping's, or cannot be encoded here */
	VMF_WHY_BOLTS,    /* no bolt left */
	VMF_WHY_FORK,     /* the area was not copied to this child */
	VMF_WHY_DRIVER,   /* the driver's answer is wrong: freed frame, foreign frame, run past the area */
	VMF_WHY_POLICY    /* not allowed here: a handler touched its own area, foreign frame in this window, RAM raw */
};
enum vmf_rflag {
	VMF_MAJOR = 1,   /* some try of this fault read from a backing */
	VMF_SPURIOUS = 2 /* the page was there already */
};
/* err: the backing's own error number, as it gave it (an errno on Linux); 0 if there is none. */
struct vmf_result {
	uint8_t code, why, flags, order;
	int32_t err;
};
const char *vmf_code_str(unsigned code); /* "OK", "SIGBUS"; never NULL; static */
const char *vmf_why_str(unsigned why);   /* "IOERR"; never NULL; static */
/* "SIGBUS/IOERR 5" into buf (always terminated, cut if too long); returns buf. */
char *vmf_result_str(struct vmf_result, char *buf, size_t n);

/* ----------------------------------------------------------------------------------------- attributes */

/* How memory is accessed.  `type`s are partially ordered (vmf_attr_covers); `port` bits only travel through
 * the core, which compares them for equality.  `strengthen`: a stronger type than asked for will do.
 *
 * A page has one set of attributes at a time, wherever it is shown.  RAM (an object's segment, and bytes given by copy:
 * WB) has that of its range.  Of device memory the first who shows a page raw decides, within what its range demands,
 * until vmf_revoke() or the end of the object's last area; areas mapped VMF_RAW as long as they are there.  Who wants
 * something else is refused (SIGBUS/ATTR, of vmf_map() -VMF_EPERM), or given what is there, if that covers it and
 * `strengthen` says so. */
enum vmf_type { VMF_WB, VMF_WT, VMF_WC, VMF_UC, VMF_DEVICE };
struct vmf_attr {
	uint8_t type, strengthen;
	uint16_t zero;
	uint32_t port;
};
/* Does `got` give every guarantee that `wanted` asks for?  WB < WT < UC < DEVICE, WB < WC < UC; WT and WC are
 * not comparable.  Different port bits never cover each other. */
bool vmf_attr_covers(struct vmf_attr got, struct vmf_attr wanted);

/* ------------------------------------------------------------------- the physical memory map, and frames */

enum vmf_kind {
	VMF_PHYS_HOLE,    /* nothing is there: never mapped */
	VMF_PHYS_RAM,     /* the core hands out its frames */
	VMF_PHYS_DEVICE,  /* raw pfns may be mapped, with attributes that cover the range's */
	VMF_PHYS_RESERVED /* something is there, not for us: never mapped */
};
struct vmf_range {
	uint32_t size;
	uint8_t kind, node, zero[2];
	vmf_pfn first;
	uint64_t pages;
	/* RAM: the attributes of its frames, wherever they are shown; DEVICE, RESERVED: the weakest that a page may be
	 * shown with (see struct vmf_attr) */
	struct vmf_attr attr;
};
/* Add a range to the memory map; what no range covers is a hole.  RAM: descriptors are allocated here (16 bytes
 * a page) and the pages are free.  -VMF_EEXIST: overlaps another; -VMF_EINVAL: empty or wraps; -VMF_ENOMEM. */
int vmf_phys_add(struct vmf_port *, const struct vmf_range *);
/* Take the range that starts at `first` away again.  -VMF_EBUSY: some frame is in use, or a page of it is shown raw
 * (vmf_revoke() it; then nothing happens); -VMF_EINVAL: no range starts there. */
int vmf_phys_remove(struct vmf_port *, vmf_pfn first);
enum vmf_kind vmf_phys_kind(struct vmf_port *, vmf_pfn); /* => any lock */

/* May [first, first + pages), which lie in this range, be shown raw in this space?  VMF_WHY_NONE, or why not: the
 * fault is SIGBUS with that reason, vmf_map() -VMF_EPERM.  Asked at each such fault and map: no lock, no wait. */
typedef enum vmf_why vmf_phys_may(void *self, struct vmf_space *, const struct vmf_range *, vmf_pfn first,
				  uint64_t pages, unsigned prot);
/* Who decides about DEVICE ranges, and RESERVED ones (firmware's tables, a ROM).  NULL, as at first: DEVICE may be
 * shown, RESERVED may not (HOLE).  Never asked: holes (HOLE) and RAM, whose frames are counted (POLICY).
 * => nobody faults or maps raw pfns meanwhile */
void vmf_phys_policy(struct vmf_port *, vmf_phys_may *, void *self);

/* Descriptors for pages of a DEVICE range, so that they can be counted: vmf_phys_frame() then gives frames that
 * `nopage` and vmf_install_frames() may hand over (of order 0, with the attributes of the range).  From then on they
 * are not shown raw (SIGBUS/POLICY).  -VMF_EINVAL: not all in one DEVICE range; -VMF_EEXIST: some are adopted;
 * -VMF_EBUSY: some are shown raw (vmf_revoke() them); -VMF_ENOMEM.  => sleeps */
int vmf_phys_adopt(struct vmf_port *, vmf_pfn first, uint64_t pages);
/* Undoes the adoption that starts at `first`.  -VMF_EBUSY: a frame of it has references; -VMF_EINVAL.  => sleeps */
int vmf_phys_disown(struct vmf_port *, vmf_pfn first);
/* The frame of an adopted page, with a reference.  NULL: not adopted.  => any lock */
struct vmf_frame *vmf_phys_frame(struct vmf_port *, vmf_pfn);

/* The memory is broken.  Nobody shows the pages any more when this returns: of raw and adopted ones that the reverse
 * map knows, of frames what page tables say; who touches them is told VMF_POISON, whether a driver hands them over or a
 * cache holds them.  A clean page of a cache is read anew, into another frame, where the window can show another; one
 * that was dirty is lost, and vmf_sync() says so until it is truncated.  A frame of a higher order breaks as a whole.
 * Bytes that were given away by copy are not found.  They stay broken, and are not allocated again (a segment's: while
 * its object lives).
 * -VMF_EINVAL: a hole, or wraps; else what a pmap said that could not remove (they are broken all the same: call
 * again); -VMF_ENOMEM.
 * => sleeps */
int vmf_phys_poison(struct vmf_port *, vmf_pfn first, uint64_t pages);

/* From which RAM?  A node number (0 to 255): of that one, else of any.  Or: */
#define VMF_NODE_BIND(n) (0x100u | (n)) /* of that one, and no other */
#define VMF_NODE_LOCAL 0x200u           /* of the one that this CPU is on (host.node), else of any */
#define VMF_NODE_INTERLEAVE 0x300u      /* of each in turn */
unsigned vmf_node(const struct vmf_port *); /* the one that this CPU is on, for memory that is not RAM; => any lock */
/* 2^order frames, physically adjacent and aligned, with one reference and one descriptor; zeroed on request.  node: as
 * above.  -VMF_ENOMEM: none left; -VMF_EINVAL: order > VMF_ORDER_MAX, or no such policy.  => any lock */
#define VMF_ORDER_MAX 18u
int vmf_frame_alloc(struct vmf_port *, unsigned order, unsigned node, bool zeroed, struct vmf_frame **);
void vmf_frame_get(struct vmf_frame *);                       /* => any lock */
void vmf_frame_put(struct vmf_port *, struct vmf_frame *);    /* the last one frees it; => any lock */
vmf_pfn vmf_frame_pfn(const struct vmf_frame *);
unsigned vmf_frame_order(const struct vmf_frame *);
/* Where the port lets the core see the bytes; valid while a reference is held. */
void *vmf_frame_bytes(struct vmf_port *, const struct vmf_frame *);
size_t vmf_page_size(const struct vmf_port *); /* bytes of a base page */

/* ------------------------------------------------------------------------------------------- mapping */

enum { VMF_R = 1, VMF_W = 2, VMF_X = 4 };
enum vmf_mflag {
	VMF_SHARED = 1, /* a window onto the object: what one area writes, all see.  Without it: private.  From the first
	                 * write on, at the latest, a page is the area's own, and stays whatever happens to the object
	                 * (revoked, truncated); before that it may show what is written to the object meanwhile.  In
	                 * windows by address and by copy (-VMF_ENOSYS elsewhere); nothing of it is written back.  Raw pfns
	                 * are not copied: by copy they are shown as in a window; by address a private area that may show
	                 * them has to be VMF_MIXED (else -VMF_EINVAL), and a write to one is SIGBUS/POLICY */
	VMF_FIXED = 2,  /* at va and nowhere else; never replaces an area */
	VMF_NOFORK = 4, /* not in children, even where the port could */
	VMF_MIXED = 8   /* frames and raw pfns may both appear */
};
/* What happens at map time: all of it or nothing. */
enum vmf_action {
	VMF_LAZY,     /* nothing */
	VMF_POPULATE, /* every page is faulted in; what cannot be fails the call */
	VMF_RAW,      /* pfns raw, raw+1, ... are entered: remap_pfn_range(); -VMF_EINVAL: the object has a backing */
	VMF_BOLT      /* as POPULATE, and locked in place for as long as the area is there: not reclaimed, and if it is
	               * revoked, what comes instead is locked again; -VMF_ENOSPC: no bolt left */
};
struct vmf_map {
	uint32_t size, flags;
	vmf_va va;       /* in: with VMF_FIXED, or a hint of 0; out of vmf_map(): *at */
	uint64_t pages;
	vmf_pgoff off;
	uint8_t prot, maxprot; /* maxprot 0: prot.  vmf_protect() cannot go beyond it */
	/* The highest order that faults ask for, where an aligned block of it lies within the area, and at an aligned
	 * address; 0: base pages.  -VMF_ENOSYS: none such here, as in private areas by address. */
	uint8_t order;
	uint8_t action;
	uint32_t node;   /* a node or VMF_NODE_*: found again in requests.  -VMF_EINVAL: no such node */
	struct vmf_attr attr;
	vmf_pfn raw;
	void *priv;      /* the driver's, found again in every request for this area */
};

/* Where a mapped page lives; fixed for an area's life, and said by the port. */
enum vmf_store {
	VMF_BY_ADDRESS, /* page tables: any frame, any pfn, at any address; entries are counted */
	VMF_BY_OFFSET,  /* a window on the object's own segment: page i shows frame i and no other frame */
	VMF_BY_COPY     /* the bytes are given away: not reclaimed, not revoked, not written back */
};
struct vmf_window {
	uint32_t size;
	uint8_t store;
	bool cow;       /* the platform copies on write, and spaces, itself, unseen */
	bool protect;   /* entries can be write-protected, so clean pages can be told from dirty ones */
	bool zero;      /* enter() can show zeroes without a frame */
	bool raw;       /* raw pfns can be entered */
	uint8_t order;  /* of what is mapped at first: 0, or 9 in a 2 MiB hugetlb window, where FALLBACK maps anew */
	bool fill;      /* by offset: enter() can bring the bytes along */
	bool resident;   /* its bolts are the weaker thing: the page stays in memory, but its entry may go, in the TLB and
	                  * in the page table, and come back without us */
	uint64_t orders; /* bit i: order i exists */
	uint32_t bolts;  /* reserved for this area */
};
void vmf_area_window(const struct vmf_area *, struct vmf_window *); /* a copy, of as much as its size says */

/* --------------------------------------------------------------------------------------- operations */

/* A wait object: it lives in an object or a driver, never on a faulter's stack, as long as its object. */
struct vmf_wait { uint32_t seq; };
uint32_t vmf_wait_seq(const struct vmf_wait *);        /* sample *before* testing the condition */
void vmf_wake(struct vmf_port *, struct vmf_wait *);   /* seq++, and all who wait go on; => any lock */

/* A request: constant, and valid until the handler returns. */
struct vmf_req {
	struct vmf_fault *fault;
	struct vmf_port *port;
	struct vmf_area *area;
	struct vmf_object *object;
	void *object_priv, *area_priv;
	vmf_va va;             /* page-aligned */
	vmf_pgoff off;
	uint32_t node;
	uint8_t access;        /* one of VMF_R, VMF_W, VMF_X */
	uint8_t order;         /* of the frames that are wanted: what the area has, then lower ones at each FALLBACK */
	uint8_t tries;         /* 0 at the first */
	uint8_t prot;          /* what the area allows */
};
/* Fault-time locking of an entry in place. */
enum vmf_bolt { VMF_UNBOLTED, VMF_BOLT_TRY /* if there is a bolt left */, VMF_BOLT_MUST /* or SIGBUS/BOLTS */ };
/* An answer; the core has set frames, max, first = req->off, prot = req->prot, attr = the area's, all else 0.
 * The run [first, first+n) must contain req->off; what of it lies outside the area or the object is not entered, and if
 * some of the others cannot be shown (attributes, a policy, poison) only the page is.
 * With req->order: n is 1, and first is ignored; frames[0] is of that order.  Where map.order is not 0 it may also be
 * of a higher one than is asked for, base pages included: its page `off mod 2^its order` is shown, as a base page. */
struct vmf_ans {
	struct vmf_frame **frames; /* nopage: room for `max`; on VMF_OK only, one reference each passes to the core */
	uint32_t max, n;           /* n: at most max, which for nopfn is VMF_RUN_MAX */
	vmf_pgoff first;
	vmf_pfn pfn;               /* nopfn: n pages from here */
	struct vmf_attr attr;
	uint8_t prot;              /* may be less than req->prot, never more; a private area's own copy has all of it */
	uint8_t bolt;              /* enum vmf_bolt: the faulting page; by `fault`: before it is installed.  Until it is
	                            * unmapped, revoked or truncated; a private page keeps it when it is copied */
	uint8_t zero[2];
	int32_t err;               /* goes into the result */
	struct vmf_wait *wait;     /* VMF_RETRY: what for; NULL: only for a while */
	uint32_t seq;              /* VMF_RETRY: sampled before the condition was tested */
	uint8_t why;               /* VMF_RETRY, VMF_SIGBUS: the reason */
};
/* => holds an area reference and no core lock; may run in a signal or trap handler: no malloc, no blocking lock,
 *    no access to memory that its own area shows (found out: SIGBUS/POLICY).
 * Never loops and never waits: it answers VMF_RETRY. */
typedef enum vmf_code vmf_handler(const struct vmf_req *, struct vmf_ans *);

struct vmf_ops {
	uint32_t size, flags;
	/* The driver's ->mmap(): amend the description or refuse (its error is vmf_map()'s).  No area exists yet. */
	int (*map)(struct vmf_object *, struct vmf_map *);
	vmf_handler *fault;  /* asked first, if there; uses vmf_install_* and answers DONE, or answers NEXT */
	vmf_handler *nopage; /* hands over frames.  None of the three: zero-fill on demand */
	vmf_handler *nopfn;  /* hands over pfns; asked only if there is no nopage */
	/* A clean page is about to become writable: once for each clean -> dirty.  OK, or why not.  Fills nothing in. */
	vmf_handler *mkwrite;
	/* May the area be cut at va?  0, or the error that unmap and protect then give. */
	int (*split)(struct vmf_area *, vmf_va);
	/* An area exists: by map, or a piece after a cut.  Faults may come before.  Must not unmap what it is told of. */
	void (*opened)(struct vmf_area *);
	void (*closed)(struct vmf_area *); /* it does no more, and its last handler has left; once for each opened */
	/* The last reference has gone.  If that was a fault's: in the next call that may sleep (vmf_unmap, the end of
	 * another object or of the port; a port's own threads do it, too). */
	void (*release)(struct vmf_object *, void *priv);
	/* A debugger reads or writes what is not memory that the core can see (raw pfns): n bytes at byte `at` of page
	 * `off`, within it.  0 or an error.  NULL: -VMF_EPERM. */
	int (*access)(struct vmf_object *, vmf_pgoff off, size_t at, void *, size_t n, bool write);
};

vmf_va vmf_area_va(const struct vmf_area *);
uint64_t vmf_area_pages(const struct vmf_area *);
vmf_pgoff vmf_area_off(const struct vmf_area *);
void *vmf_area_priv(const struct vmf_area *);
struct vmf_object *vmf_area_object(const struct vmf_area *);
struct vmf_space *vmf_area_space(const struct vmf_area *);

/* For ops.fault: enter n frames (one reference each passes to the core, whatever the result) or n pfns at
 * object offset off; the run must lie in the request's area.  Checked against revocation: VMF_RETRY/RACE means
 * that it was revoked meanwhile; hand that on as the answer.  The request's own page is installed once. */
struct vmf_result vmf_install_frames(const struct vmf_req *, vmf_pgoff off, struct vmf_frame *const *, uint32_t n,
				     unsigned prot);
struct vmf_result vmf_install_pfns(const struct vmf_req *, vmf_pgoff off, vmf_pfn, uint32_t n, struct vmf_attr,
				   unsigned prot);

/* What a driver does wrong is the result of that fault; the next one asks again.
 *   SIGBUS/DRIVER  a frame that is free, of another order or of another port; a run without the page, or with more than
 *                  the area allows; an install of what the area does not have; a page installed twice; DONE and not
 *                  installed, NEXT and nobody left to ask; an answer that means nothing there
 *   SIGBUS/POLICY  a frame of another object, in a window by offset (by address any frame may be shown); a handler that
 *                  touches memory that its own area shows; pfns of RAM
 *   SIGBUS/HOLE    a pfn in a hole or a reserved range;  SIGBUS/ATTR  attributes that conflict
 * A lock still held on return (one of vmf_lock_take(), or announced by vmf_rank_take()) is SIGBUS/DRIVER in a library
 * built with VMF_DEBUG.  No other sees it: then nobody gets that lock any more, and handlers that may not wait for it
 * answer RETRY until that ends (OOM or SIGBUS with the driver's reason).  Such a build, on a port that is `strict`
 * (host.h), panics at each of these but ATTR, and says which. */

/* ------------------------------------------------------------------------------------------- objects */

/* pages: its length; faults beyond it are SIGBUS/EOF.  One reference to the caller.
 * -VMF_ENOMEM, -VMF_EINVAL. */
int vmf_object_create(struct vmf_port *, struct vmf_object **, const struct vmf_ops *, void *priv, uint64_t pages);
void vmf_object_get(struct vmf_object *);
void vmf_object_put(struct vmf_object *); /* the last one releases it; areas and tickets hold one each; => sleeps */
void *vmf_object_priv(const struct vmf_object *);
/* The frame that the object's own segment has for a page: on a port whose windows are by offset the only one that
 * nopage can answer with (another is SIGBUS/POLICY: a copy would not be shared).  One reference.  Elsewhere, and
 * where none is there yet, a fresh zeroed frame (and the driver is free to use any other).  NULL: no memory, or past
 * the end.  => any lock */
struct vmf_frame *vmf_frame_at(struct vmf_object *, vmf_pgoff);
/* From its return on no area shows what it showed of the range before; later faults ask again.  Waits for
 * entering in flight (a few system calls at most), never for handlers.  By-copy windows keep their bytes.
 * 0, or -VMF_EBUSY etc. from a pmap that could not remove.  => any lock */
int vmf_revoke(struct vmf_object *, vmf_pgoff first, uint64_t pages);

/* A backing: where an object's bytes come from. */
struct vmf_io {
	uint32_t size, n;          /* n pages from first */
	vmf_pgoff first;
	uint64_t bytes;            /* n pages, less what lies past the end of the backing */
	struct vmf_frame *const *frames;
	struct vmf_port *port;
	bool write;
	uint8_t zero[7];
	void *cookie;              /* the backing's, as it likes */
};
/* The bytes of page i, and how many pages follow them in memory without a gap (itself included), for vectors. */
void *vmf_io_bytes(const struct vmf_io *, uint32_t i, uint32_t *adjacent);
/* Completes an io: the first `pages` pages are right; err: why the rest are not (the backing's own number; 0 with too
 * few pages is a mistake of the backing: SIGBUS/DRIVER).  A fault whose page is not among the right ones of a longer
 * run asks once more, for that page alone.  Once for each start() that returned 0; from any thread; perhaps before
 * start() returns.  => any lock but one that close() takes: if everybody else has let go of the object meanwhile, it
 * ends in here */
void vmf_io_done(struct vmf_io *, uint32_t pages, int err);

struct vmf_extent { vmf_pgoff first; uint64_t pages; bool zero; };
struct vmf_backing_ops {
	uint32_t size;
	uint32_t unit; /* the best size of a read, in pages; 0: one */
	/* 0: vmf_io_done() follows.  Not 0: the backing's error number (positive); nothing follows. */
	int (*start)(void *self, struct vmf_io *);
	/* The extent that holds page `at`; NULL: everything is data.  0, or an error number. */
	int (*extent)(void *self, vmf_pgoff at, struct vmf_extent *);
	int (*length)(void *self, uint64_t *bytes); /* 0, or an error number */
	int (*sync)(void *self);                    /* 0, or an error number; NULL: nothing to do.  => sleeps */
	void (*close)(void *self);                  /* with the object's last reference; NULL: nothing to do */
};
enum vmf_bflag {
	/* Keep no pages: read, enter by copy, forget.  Only for areas that are by copy, and the only way into windows of
	 * huge pages. */
	VMF_STREAM = 1,
	VMF_RDONLY = 2 /* shared areas cannot be writable: vmf_map() says -VMF_EPERM */
};
struct vmf_backed {
	uint32_t size, flags;
	const struct vmf_backing_ops *ops;
	void *self;
	uint32_t around;    /* a fault brings the aligned block of so many pages (a power of two); 0 or 1: one page */
	uint32_t readahead; /* sequential faults bring up to so many pages; 0: none.  At most VMF_RUN_MAX */
	uint64_t pages;     /* room to grow to; 0: as long as the backing is */
};
#define VMF_RUN_MAX 512u /* pages in one io, one run */
/* -VMF_EINVAL; -VMF_EIO: length() failed; -VMF_ENOMEM.  On failure `self` still belongs to the caller. */
int vmf_object_backed(struct vmf_port *, struct vmf_object **, const struct vmf_backed *);
/* Asks the backing for its length anew.  If it is shorter, what lies past it is revoked and forgotten, reads in flight
 * that began before do not publish, and writes of it have ended when this returns: only then make it longer again.
 * Positive: the backing's error number; negative: a pmap could not remove
 * what it shows (ask again).  One at a time for an object.  => sleeps */
int vmf_object_resize(struct vmf_object *);
/* Writes the dirty pages of the range back and waits.  0; -VMF_EIO: at least one write failed, and those pages are
 * dirty again (*err: the backing's first error number, err may be NULL), or the memory of a dirty page broke;
 * -VMF_ENOMEM, or what a pmap said that could not write-protect them: they are still dirty.  => sleeps */
int vmf_sync(struct vmf_object *, vmf_pgoff first, uint64_t pages, int *err);
/* Forgets the clean pages of the range that nobody needs at the moment; returns how many.  => any lock */
uint64_t vmf_reclaim(struct vmf_object *, vmf_pgoff first, uint64_t pages);

enum vmf_state {
	VMF_ABSENT,  /* not here: a fault reads it */
	VMF_FILLING, /* a read is in flight */
	VMF_PRESENT, /* here, and as the backing has it */
	VMF_DIRTY,   /* here, and newer than the backing */
	VMF_WRITING, /* on its way back; becomes PRESENT, or DIRTY if the write fails or somebody wrote meanwhile */
	VMF_FAILED   /* the last read failed, the next fault reads again; or its memory broke while it was dirty (POISON) */
};
enum vmf_state vmf_page_state(struct vmf_object *, vmf_pgoff); /* of now; => any lock */

/* -------------------------------------------------------------------------------------------- spaces */

/* -VMF_EINVAL, -VMF_E2BIG; -VMF_EPERM: writable, and the object is not; what ops.map said; -VMF_EEXIST, -VMF_ENOSPC:
 * no room; -VMF_ENOMEM; -VMF_ENOSYS: no such window here; -VMF_EAGAIN: the layout keeps changing.  Of a page that could
 * not be had at map time: -VMF_EIO: its backing failed; -VMF_EGONE; else -VMF_EFAULT or -VMF_EPERM.  => sleeps */
int vmf_map(struct vmf_space *, struct vmf_object *, const struct vmf_map *, vmf_va *at);
/* Every area in the range is unmapped, those that reach out of it are cut.  0 also if there are none.  A driver that
 * refuses a cut: its error, and nothing has changed.  A pmap that cannot: areas below the one it failed on are gone,
 * that one and the others are as before (bytes by copy could not be brought back).  -VMF_EDEADLK from a handler of an
 * area in the range.  => sleeps until its handlers have left */
int vmf_unmap(struct vmf_space *, vmf_va, uint64_t pages);
/* -VMF_EFAULT: part of the range has no area; -VMF_EPERM: more than maxprot.  On error nothing has changed.  =>
 * sleeps */
int vmf_protect(struct vmf_space *, vmf_va, uint64_t pages, unsigned prot);
/* What a debugger does: reads or writes what the space shows, whatever `prot` says (but not beyond maxprot, and a
 * private page is copied first), faulting pages in as an access would, but entering nothing (bytes by copy alone have
 * to be), and counted as no fault.  Raw pages go through ops.access.  How many bytes from the first on; if none,
 * -VMF_EFAULT: no area; -VMF_EPERM: maxprot, or no ops.access; -VMF_EIO: a fault failed; -VMF_ENOSYS: this window
 * cannot; -VMF_ENOMEM; what ops.access said; -VMF_EINVAL: NULL, or wraps.  => sleeps */
long vmf_peek(struct vmf_space *, vmf_va, void *, size_t);
long vmf_poke(struct vmf_space *, vmf_va, const void *, size_t);
/* The area at va, with a reference; NULL: none, or asked in a fault within a fault.  => sleeps, but not in a handler */
struct vmf_area *vmf_area_find(struct vmf_space *, vmf_va);
void vmf_area_put(struct vmf_area *);

/* On CPUs of 32 bits each counts modulo 2^32 (bytes_read goes round soon): take differences of the lower half. */
struct vmf_stats {
	uint32_t size, zero;
	uint64_t faults;         /* resolved or refused; each once, however often it was retried */
	uint64_t major, spurious;
	uint64_t failed;         /* faults that ended in SIGBUS, SIGSEGV, OOM or POISON */
	uint64_t entered;        /* pages entered, those around the faulting one included */
	uint64_t zeroed;         /* of these, pages that were zero and needed no read */
	uint64_t bytes_read;     /* asked of backings by this space's faults, again if a read failed */
	uint64_t retries[16];    /* by enum vmf_why */
	uint64_t bolted;         /* pages that faults locked in place */
	uint64_t fallbacks;      /* a handler answered FALLBACK, and was asked for the next order down */
};
void vmf_space_stats(const struct vmf_space *, struct vmf_stats *); /* => any lock */

#ifdef __cplusplus
}
#endif
#endif
