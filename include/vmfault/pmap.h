/* SPDX-License-Identifier: MIT
 *
 * What a port supplies so that the core can map: one pmap for each space.
 *
 *   - A pmap is a cache (by-copy windows aside): it may forget any entry at any time, and the next fault brings it
 *     back.
 *   - Every change can fail.  Changes to one range may be asked for by several threads at once: the pmap locks
 *     itself, after all locks of the core's but the frames', and calls nothing of the core's but vmf_lock_*,
 *     vmf_gather_frame and vmf_frame_*.
 *   - `raw` entries are never counted.  Of the others, each entry of a BY_ADDRESS window holds one reference on its
 *     frame: enter() is given it, remove() and detach() hand it back through vmf_gather_frame().
 *   - enter() is called from vmf_handle(): no malloc, no sleep.  A pmap that needs tables keeps a reserve, answers
 *     -VMF_ENOMEM when it is empty, and fills it up in supply().
 */
#ifndef VMFAULT_PMAP_H
#define VMFAULT_PMAP_H
#include <vmfault/host.h>
#ifdef __cplusplus
extern "C" {
#endif

enum vmf_runflag {
	VMF_RUN_RAW = 1,  /* pfns that nobody counts */
	VMF_RUN_ZERO = 2, /* no pfn: show zeroes (only where the window has `zero`) */
	VMF_RUN_WP = 4,   /* the fault found the entry there, but write-protected: make it writable */
	VMF_RUN_BOLT = 8,
	VMF_RUN_FILL = 16 /* the pages are not in the segment yet (only where the window has `fill`): see enter() */
};
/* n pages at va show n pages from pfn. */
struct vmf_run {
	vmf_va va;
	vmf_pfn pfn;
	uint32_t n, need; /* need: index of the page that the fault is about; UINT32_MAX: all of them */
	uint8_t order, prot, flags, zero;
	uint32_t zero_;
	struct vmf_attr attr;
	vmf_pfn from; /* FILL: where their bytes are, adjacent */
};
struct vmf_entry {
	vmf_pfn pfn;
	struct vmf_attr attr;
	uint8_t order, prot;
	bool present, raw;
};
/* Collects the frames of removed entries (any page of one names it); they are put after update().  At most one for each
 * page of the remove(); the core asks for no more than 256 pages at a time where entries are counted (VMF_CFG_GATHER).
 */
struct vmf_gather;
void vmf_gather_frame(struct vmf_gather *, vmf_pfn);

struct vmf_pmap_ops {
	uint32_t size, flags;
	/* Prepare a range for an area, and say what it can do.  With VMF_FIXED at map->va; else at map->va too if the
	 * pmap has lo and hi (the core has taken the first gap between them), or wherever the pmap likes, which it stores
	 * there.  It may add VMF_NOFORK to map->flags, if it could not do this in a copy of the space.  segment: the first
	 * pfn of the object's own segment, n 0 if it has none.  wants_raw: the driver enters pfns.  window->bolts counts
	 * pages that are reserved, map->action being VMF_BOLT: what is entered there is locked from the start.
	 * -VMF_ENOSYS: this port has no such window; -VMF_EEXIST, -VMF_ENOMEM, -VMF_ENOSPC (bolts); -VMF_EAGAIN: the
	 * layout is being changed from outside, the core tries again with its lock dropped.  May sleep. */
	int (*attach)(struct vmf_pmap *, struct vmf_map *map, vmf_pfn segment, bool wants_raw, struct vmf_window *);
	/* Undo attach() for a range (perhaps part of an attached one): remove all entries and give the addresses back.
	 * 0, or an error and nothing changed.  May sleep. */
	int (*detach)(struct vmf_pmap *, vmf_va, uint64_t pages, struct vmf_gather *);
	/* Make the entries of a run.  Returns how many are new; pages that are there already count as done and stay as
	 * they are, but get more permissions where run->prot has more (VMF_RUN_WP: the fault asks for just that).
	 * BY_ADDRESS, counted: one entry at a time (n == 1 << order); its reference stays here if it is new (returns n),
	 * and is the core's to put if it is not (returns 0, or an error).  Raw runs, and windows by offset and by copy:
	 * any n. BY_COPY: a run of adjacent pfns has adjacent bytes (host.bytes); they may be reused when it returns. An
	 * error is returned only if page run->need could not be entered:
	 * -VMF_EAGAIN: the layout is changing; -VMF_ENOMEM: no table, no page; -VMF_EEXIST: something else is there;
	 * -VMF_EFAULT: the frame's bytes are lost; -VMF_EGONE: process or mapping gone; -VMF_ENOSYS: cannot encode this;
	 * -VMF_EPERM: the platform does not allow it.
	 * VMF_RUN_FILL: copies the bytes into the segment's pages, too, and returns how many are there and shown now, from
	 * the first on; it has not touched the others, for whatever reason, and the core sees to them. */
	long (*enter)(struct vmf_pmap *, const struct vmf_run *);
	/* Forget the entries of a range (BY_COPY: raw ones only; bytes that were given away stay).  0, or an error and
	 * nothing changed.  An entry of a higher order that reaches out of the range goes as a whole, or is cut into
	 * smaller ones that have a reference each; so with protect() and clean(). */
	int (*remove)(struct vmf_pmap *, vmf_va, uint64_t pages, struct vmf_gather *);
	/* Present entries lose what prot does not allow.  They gain nothing: the next fault brings that.  A platform that
	 * has a protection of its own for the range (Linux: mprotect) sets it to prot.  0, or an error and nothing
	 * changed. */
	int (*protect)(struct vmf_pmap *, vmf_va, uint64_t pages, unsigned prot);
	/* No present entry allows a write any more, until enter() gives that back: for write-back.  NULL: the core calls
	 * protect() without VMF_W.  0, or an error and nothing changed. */
	int (*clean)(struct vmf_pmap *, vmf_va, uint64_t pages);
	/* What is at va now?  Of an entry of a higher order, pfn is its first page.  0 or -VMF_ENOSYS. */
	int (*query)(struct vmf_pmap *, vmf_va, struct vmf_entry *);
	/* BY_COPY: read a page that was given away.  0; -VMF_EFAULT: nothing was given away there, or it was taken away
	 * again, and the object's bytes may be had in its place.  Any other error means that nobody can say so: -VMF_EIO:
	 * it is there and cannot be read; -VMF_EAGAIN: the layout is changing; -VMF_ENOMEM; -VMF_ENOSYS.  May be NULL. */
	int (*take)(struct vmf_pmap *, vmf_va, void *page);
	/* What is entered at run->va (n is 1, and pfn may be 0), now or later, is locked in place: the pmap forgets it
	 * only if it is told to remove it, and has its place for what is entered there next.  Until unbolt() or detach() of
	 * the page.  1, or 0 if it was so already (and nothing is counted), as it is from the start where attach() was
	 * asked for VMF_BOLT.  -VMF_ENOSPC: none left; -VMF_EAGAIN, -VMF_EGONE as enter().  Called from vmf_handle().  May
	 * be NULL: there are none. */
	int (*bolt)(struct vmf_pmap *, const struct vmf_run *);
	/* Gives back what bolt() took in the range; what is entered stays until it is removed or forgotten.  0, or an error
	 * and some are still locked. */
	int (*unbolt)(struct vmf_pmap *, vmf_va, uint64_t pages);
	/* Before the first VMF_X entry of a frame: its instructions can be fetched.  NULL: the hardware sees to it. */
	void (*icache)(struct vmf_pmap *, vmf_va, uint64_t pages);
	/* Ends a batch of remove/protect: when it returns, no CPU uses what was removed.  NULL: remove itself does that. */
	void (*update)(struct vmf_pmap *);
	/* Fill up the reserve that enter() lives on.  0 or -VMF_ENOMEM.  NULL: there is none.  May sleep. */
	int (*supply)(struct vmf_pmap *);
	/* BY_COPY: write n bytes into a page that was given away, at va, within the page, whatever its protection.  0, or
	 * an error as take().  May be NULL. */
	int (*give)(struct vmf_pmap *, vmf_va, const void *, size_t n);
};
/* A port puts this first in a struct of its own. */
struct vmf_pmap {
	const struct vmf_pmap_ops *ops; /* copied when the space is made */
	vmf_va lo, hi; /* where the core may choose addresses; lo == hi: attach() chooses */
};

/* -------------------------------------------------------------------------------------- a worked pmap
 *
 * The least that a pmap can be: a page table of 64 entries for one range of addresses, by address, walked by nobody but
 * tiny_access(), which is the trap handler of this machine.
 */
#ifdef VMF_WORKED_PORT
#define TINY_VA 0x100000u
struct tiny_pmap {
	struct vmf_pmap pmap; /* first, so that the core's pointer is ours */
	struct vmf_entry entry[64];
};

static struct vmf_entry *tiny_at(struct vmf_pmap *p, vmf_va va)
{
	return &((struct tiny_pmap *)p)->entry[(va - TINY_VA) >> 12 & 63];
}

static int tiny_attach(struct vmf_pmap *p, struct vmf_map *map, vmf_pfn segment, bool wants_raw, struct vmf_window *w)
{
	(void)p, (void)map, (void)segment, (void)wants_raw;
	w->store = VMF_BY_ADDRESS;
	w->protect = w->raw = true;
	w->orders = 1;
	return 0;
}

static long tiny_enter(struct vmf_pmap *p, const struct vmf_run *run)
{
	long fresh = 0;

	for (uint32_t i = 0; i < run->n; i++) {
		struct vmf_entry *e = tiny_at(p, run->va + ((vmf_va)i << 12));

		if (e->present && e->pfn.n != run->pfn.n + i)
			return -VMF_EEXIST;
		fresh += !e->present;
		*e = (struct vmf_entry){ { run->pfn.n + i }, run->attr, 0, (uint8_t)(run->prot | (e->present ? e->prot : 0)),
					 true, (run->flags & VMF_RUN_RAW) != 0 };
	}
	return fresh;
}

static int tiny_remove(struct vmf_pmap *p, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	for (; pages--; va += 4096) {
		struct vmf_entry *e = tiny_at(p, va);

		if (e->present && !e->raw)
			vmf_gather_frame(g, e->pfn);
		e->present = false;
	}
	return 0;
}

static int tiny_protect(struct vmf_pmap *p, vmf_va va, uint64_t pages, unsigned prot)
{
	for (; pages--; va += 4096)
		tiny_at(p, va)->prot &= (uint8_t)prot;
	return 0;
}

static const struct vmf_pmap_ops tiny_pmap_ops = {
	.size = sizeof(struct vmf_pmap_ops), .attach = tiny_attach, .detach = tiny_remove, .enter = tiny_enter,
	.remove = tiny_remove, .protect = tiny_protect,
};

/* The trap: where the byte at va is, or NULL and *r says why the access failed. */
static uint8_t *tiny_access(struct vmf_space *space, struct tiny_host *h, vmf_va va, unsigned access,
			    struct vmf_result *r)
{
	struct vmf_trap trap = { .va = va, .access = (uint8_t)access };
	struct vmf_entry *e = tiny_at(vmf_space_pmap(space), va);

	while (!e->present || !(e->prot & access)) {
		struct vmf_ticket ticket = { 0 };

		trap.flags = e->present ? VMF_TRAP_WP : 0;
		while ((*r = vmf_handle(space, &trap, &ticket)).code == VMF_RETRY)
			(void)vmf_ticket_wait(space, &ticket, false);
		if (r->code != VMF_OK)
			return NULL;
	}
	return h->ram[e->pfn.n] + va % 4096;
}
#endif

#ifdef __cplusplus
}
#endif
#endif
