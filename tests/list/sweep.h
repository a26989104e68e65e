/* SPDX-License-Identifier: MIT
 *
 * The sweep: everything that can happen to an area (its verbs) x what it shows (its kinds) x shared or private.  One
 * table says what is expected in each kind of window (sweep.c); each cell is a few checks, and one line of the list.
 */
#ifndef VMF_TESTS_LIST_SWEEP_H
#define VMF_TESTS_LIST_SWEEP_H
#include "list.h"

#define SWEEP_PAGES 4u /* that are looked at */
enum sweep_kind { SWEEP_FRAME, SWEEP_RAW, SWEEP_MIXED /* odd pages are raw */, SWEEP_HUGE, SWEEP_KINDS };

/* One cell at work: an object with a driver, mapped once. */
struct sweep {
	struct stage *st;
	enum sweep_kind kind;
	bool private, failed;
	const char *cannot; /* why the cell cannot be had here */
	char expect;        /* what its verb's row says */
	const char *verb;
	struct vmf_object *object;
	uint64_t pages; /* of it, all of them mapped: more than four if the frame is larger */
	uint8_t order;  /* HUGE: of the frame */
	vmf_va va;
	struct vmf_window window;
	struct vmf_frame *frame[2][SWEEP_PAGES]; /* what pages show, and what they show instead after `set` was changed */
	uint32_t set;
	uint64_t free;                  /* frames before any were taken */
	_Atomic unsigned asked, opened, closed, announced, accessed;
	uint64_t length;                /* the driver's: pages from here on are not there */
	uint32_t broken;                /* pages that are: a bit each */
	vmf_va keep;                    /* where no cut is allowed; 0: anywhere */
	bool refuse;                    /* mkwrite and access refuse */
};

/* A check of a cell: what it was is said if it fails. */
bool sweep_is(struct sweep *, bool ok, const char *what);
void sweep_cannot(struct sweep *, const char *reason);
static inline vmf_va sweep_at(const struct sweep *w, unsigned i) { return list_page(w->va, i); }
bool sweep_raw(const struct sweep *, unsigned page);   /* does it show a pfn? */
bool sweep_owns(const struct sweep *, unsigned page);  /* once it is written: is it the area's own from then on? */
bool sweep_given(const struct sweep *, unsigned page); /* once it is seen: are its bytes the area's own? */
bool sweep_refused(const struct sweep *, unsigned page); /* a device that would have to be copied to be written */
uint32_t sweep_stamp(uint32_t set, unsigned page);     /* at bytes 0, 64 and 4092 of a frame */
void *sweep_bytes(const struct sweep *, uint32_t set, unsigned page);
bool sweep_same(const struct sweep *, unsigned page);  /* does it have one frame, and no other? */
vmf_pfn sweep_pfn(const struct sweep *, unsigned page);
bool sweep_seen(struct sweep *, unsigned page);        /* shows what the driver says now */
bool sweep_all(struct sweep *);
/* Writes a word and reads it back, where the driver's bytes do not lie; true also where a device cannot be written, or
 * if it is refused as it has to be. */
bool sweep_writes(struct sweep *, unsigned page, uint32_t word);
bool sweep_wrote(struct sweep *, unsigned page, uint32_t word);
bool sweep_fails(struct sweep *, unsigned page, unsigned access, unsigned code, unsigned why);
int sweep_map(struct sweep *, unsigned prot, unsigned action, uint64_t pages, vmf_va *); /* again */

void sweep_unmap(struct sweep *);
void sweep_protect(struct sweep *);
void sweep_split(struct sweep *);
void sweep_fork(struct sweep *);
void sweep_revoke(struct sweep *);
void sweep_truncate(struct sweep *);
void sweep_poison(struct sweep *);
void sweep_upgrade(struct sweep *);
void sweep_wire(struct sweep *);
void sweep_stats(struct sweep *);
void sweep_access(struct sweep *);

#endif
