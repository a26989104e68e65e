/* SPDX-License-Identifier: MIT
 *
 * The sweep: what happens to the layout.  Unmap, protect, split, fork.
 */
#include "sweep.h"

void sweep_unmap(struct sweep *w)
{
	struct stage *st = w->st;

	sweep_is(w, sweep_all(w), "four pages");
	sweep_is(w, !sweep_owns(w, 2) || sweep_writes(w, 2, 7), "a page is written");
	sweep_is(w, !vmf_unmap(st->space, sweep_at(w, 1), 1), "the second is unmapped");
	sweep_is(w, w->opened == 3 && w->closed == 1, "an area becomes two");
	sweep_is(w, sweep_fails(w, 1, VMF_R, VMF_SIGSEGV, VMF_WHY_NONE) &&
		 sweep_fails(w, 1, VMF_W, VMF_SIGSEGV, VMF_WHY_NONE), "nothing is there");
	w->asked = 0;
	sweep_is(w, sweep_seen(w, 0) && sweep_seen(w, 2) && sweep_seen(w, 3) && (!w->asked || w->order),
		 "the others are as they were");
	sweep_is(w, !sweep_owns(w, 2) || sweep_wrote(w, 2, 7), "written ones too");
	sweep_is(w, !vmf_unmap(st->space, sweep_at(w, 2), 1) && sweep_seen(w, 3) && sweep_seen(w, 0),
		 "the first of a piece is unmapped");
	sweep_is(w, !vmf_unmap(st->space, w->va, w->pages) && w->closed == w->opened, "and all that is left");
	sweep_is(w, sweep_fails(w, 0, VMF_R, VMF_SIGSEGV, VMF_WHY_NONE), "nothing is there any more");
}

void sweep_protect(struct sweep *w)
{
	struct stage *st = w->st;

	sweep_is(w, sweep_all(w), "four pages");
	sweep_is(w, !sweep_owns(w, 0) || sweep_writes(w, 0, 7), "a page is written");
	sweep_is(w, vmf_protect(st->space, w->va, 1, VMF_R | VMF_W | VMF_X) == -VMF_EPERM, "not beyond maxprot");
	sweep_is(w, vmf_protect(st->space, sweep_at(w, (unsigned)w->pages - 1), 2, VMF_R) == -VMF_EFAULT,
		 "not over the end");
	sweep_is(w, w->opened == 1 && !w->closed, "which changes nothing");
	sweep_is(w, !vmf_protect(st->space, w->va, 2, VMF_R), "two pages are protected");
	sweep_is(w, sweep_seen(w, 0) && sweep_seen(w, 1) && (!sweep_owns(w, 0) || sweep_wrote(w, 0, 7)), "they still read");
	sweep_is(w, sweep_fails(w, 0, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT) &&
		 sweep_fails(w, 1, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT), "no store any more");
	sweep_is(w, sweep_writes(w, 2, 8), "but beside them");
	sweep_is(w, !vmf_protect(st->space, w->va, 2, 0) && sweep_fails(w, 0, VMF_R, VMF_SIGSEGV, VMF_WHY_PROT),
		 "nothing is allowed");
	sweep_is(w, !vmf_protect(st->space, w->va, 2, VMF_R | VMF_W) && sweep_all(w), "and everything again");
	sweep_is(w, sweep_writes(w, 1, 9), "stores again");
	sweep_is(w, !sweep_owns(w, 0) || sweep_wrote(w, 0, 7), "what was written is there");
}

void sweep_split(struct sweep *w)
{
	struct stage *st = w->st;

	sweep_is(w, sweep_all(w), "four pages");
	w->keep = sweep_at(w, 1);
	w->asked = 0;
	sweep_is(w, vmf_unmap(st->space, sweep_at(w, 1), 1) == -VMF_EPERM, "the driver refuses a cut: no unmap");
	sweep_is(w, vmf_unmap(st->space, w->va, 1) == -VMF_EPERM, "on neither side");
	sweep_is(w, vmf_protect(st->space, sweep_at(w, 1), 3, VMF_R) == -VMF_EPERM, "no protect");
	sweep_is(w, sweep_all(w) && !w->asked && w->opened == 1 && !w->closed, "and nothing has changed");
	sweep_is(w, !vmf_protect(st->space, sweep_at(w, 2), w->pages - 2, VMF_R) && w->opened == 3 && w->closed == 1,
		 "elsewhere it does not");
	sweep_is(w, sweep_all(w) && sweep_writes(w, 0, 7) && sweep_fails(w, 2, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT),
		 "two pieces, each with its own protection");
	sweep_is(w, !vmf_unmap(st->space, w->va, w->pages) && w->opened == w->closed, "whole ones can always go");
}

/* --------------------------------------------------------------------------------------------------- fork */

static struct sweep *parent;

/* What the copy has to say: a bit for each that is as it should be. */
static unsigned child_looks(struct stage *st, vmf_va va)
{
	struct sweep child = *parent;
	unsigned right;

	child.st = st;
	child.va = va;
	right = sweep_all(&child) ? 1u : 0u;
	right |= sweep_wrote(&child, 0, 7) ? 2u : 0u;
	right |= sweep_writes(&child, 0, 8) ? 4u : 0u;
	right |= sweep_writes(&child, 1, 9) ? 8u : 0u;
	return right;
}

static unsigned child_without(struct stage *st, vmf_va va)
{
	uint32_t word;

	if (!st->peek(st, va, &word) || st->failed.code != VMF_SIGSEGV)
		return 0;
	return st->failed.why == VMF_WHY_NONE || st->failed.why == VMF_WHY_FORK;
}

void sweep_fork(struct sweep *w)
{
	struct stage *st = w->st;

	if (st->cannot[STAGE_FORK]) {
		sweep_cannot(w, st->cannot[STAGE_FORK]);
		return;
	}
	parent = w;
	sweep_is(w, sweep_all(w) && sweep_writes(w, 0, 7), "four pages, one is written");
	if (!w->private && st->cannot[STAGE_FORK_SHARED]) {
		sweep_is(w, st->fork(st, child_without, w->va), "the copy is told that it has no such area");
		sweep_is(w, sweep_all(w) && sweep_wrote(w, 0, 7), "the original has all of it");
		return;
	}
	sweep_is(w, st->fork(st, child_looks, w->va) == 15, "the copy has all of it, and can write");
	sweep_is(w, sweep_all(w) && sweep_wrote(w, 0, sweep_owns(w, 0) ? 7 : 8), "what is shared is written by both");
	sweep_is(w, sweep_raw(w, 1) || !sweep_owns(w, 1) || sweep_wrote(w, 1, 0), "and what is private by one");
	sweep_is(w, list_soon(&w->closed, w->opened - 1), "the copy's area was opened and closed");
}
