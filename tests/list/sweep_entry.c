/* SPDX-License-Identifier: MIT
 *
 * The sweep: wiring, what is counted, and what a debugger sees.
 */
#include "sweep.h"

/* Writes what is private at once, so that nothing is left to be copied. */
static int wire(struct sweep *w, unsigned prot, uint64_t pages, vmf_va *va)
{
	return sweep_map(w, prot, VMF_BOLT, pages, va);
}

void sweep_wire(struct sweep *w)
{
	struct stage *st = w->st;
	uint32_t n = st->bolts < SWEEP_PAGES ? st->bolts : SWEEP_PAGES;

	list_free(st, w->va, w->pages);
	w->asked = 0;
	if (st->cannot[STAGE_BOLTS]) {
		sweep_is(w, wire(w, VMF_R | VMF_W, 1, &w->va) == -VMF_ENOSPC && w->opened == w->closed,
			 "no bolts, and so said");
		w->va = 0;
		sweep_cannot(w, st->cannot[STAGE_BOLTS]);
		return;
	}
	if (w->expect == 'r') {
		sweep_is(w, wire(w, VMF_R | VMF_W, n, &w->va) == -VMF_EFAULT && w->opened == w->closed,
			 "a device that would have to be copied is not wired");
		w->va = 0;
		return;
	}
	sweep_is(w, !wire(w, VMF_R | VMF_W, n, &w->va) && w->asked && w->asked <= n, "wired, all that there are");
	w->asked = 0;
	for (unsigned page = 0; page < n; page++)
		sweep_is(w, sweep_seen(w, page) && sweep_writes(w, page, 7), "there, to read and to write");
	sweep_is(w, !w->asked, "without a fault");
	sweep_is(w, wire(w, VMF_R, st->bolts, &(vmf_va){ 0 }) == -VMF_ENOSPC, "no bolt is left");
	sweep_is(w, !vmf_unmap(st->space, w->va, 1) && sweep_seen(w, 1) && (!w->asked || w->order),
		 "the pages beside one that goes stay");
	sweep_is(w, !vmf_unmap(st->space, w->va, n) && !wire(w, VMF_R | VMF_W, n, &w->va), "free again");
}

/* ------------------------------------------------------------------------------------------------- stats */

static struct vmf_stats stats(struct sweep *w)
{
	struct vmf_stats s = VMF_INIT(struct vmf_stats);

	vmf_space_stats(w->st->space, &s);
	return s;
}

/* What a fault on another thread has counted comes a moment after ours has gone on. */
static struct vmf_stats stats_after(struct sweep *w, const struct vmf_stats *a, uint32_t faults)
{
	struct vmf_stats b = stats(w);

	for (unsigned tries = 0; (uint32_t)(b.faults - a->faults) < faults && tries < 1000000u; tries++)
		b = stats(w);
	return b;
}

/* On CPUs of 32 bits they are counted modulo 2^32. */
static uint32_t grew(uint64_t now, uint64_t then) { return (uint32_t)(now - then); }

void sweep_stats(struct sweep *w)
{
	uint32_t faults = w->order ? 1 : SWEEP_PAGES;
	struct vmf_stats a = stats(w), b;

	sweep_is(w, sweep_all(w), "four pages");
	b = stats_after(w, &a, faults);
	sweep_is(w, grew(b.faults, a.faults) == faults && grew(b.entered, a.entered) == w->pages,
		 "as many faults as frames");
	sweep_is(w, b.failed == a.failed && b.major == a.major && b.spurious == a.spurious, "that were nothing special");
	sweep_is(w, b.bytes_read == a.bytes_read && b.zeroed == a.zeroed, "nobody read, or zeroed");
	sweep_is(w, sweep_all(w), "again");
	a = stats(w);
	sweep_is(w, a.faults == b.faults && a.entered == b.entered, "no faults");
	sweep_is(w, !vmf_protect(w->st->space, sweep_at(w, 3), 1, 0) && sweep_fails(w, 3, VMF_R, VMF_SIGSEGV, VMF_WHY_PROT),
		 "refused");
	b = stats(w);
	sweep_is(w, b.entered == a.entered, "which enters nothing");
	w->length = 0;
	sweep_is(w, !vmf_revoke(w->object, 0, w->pages), "revoked");
	a = stats(w);
	sweep_is(w, a.faults == b.faults, "which is no fault");
	if (sweep_given(w, 0) && sweep_given(w, 1))
		return;
	/* Whatever page the driver is asked for again. */
	for (unsigned page = 0; page < 2; page++)
		if (!sweep_given(w, page) && (w->window.protect || !sweep_owns(w, page)))
			sweep_is(w, sweep_fails(w, page, VMF_R, VMF_SIGBUS, VMF_WHY_EOF), "past the end");
		else
			(void)sweep_seen(w, page);
	b = stats_after(w, &a, 1);
	sweep_is(w, grew(b.faults, a.faults) && grew(b.failed, a.failed), "a fault that failed");
}

/* ------------------------------------------------------------------------------------- a debugger */

static bool peeks(struct sweep *w, vmf_va va, uint32_t want)
{
	uint32_t word = ~want;

	return vmf_peek(w->st->space, va, &word, sizeof(word)) == (long)sizeof(word) && word == want;
}

static bool pokes(struct sweep *w, vmf_va va, uint32_t word)
{
	return vmf_poke(w->st->space, va, &word, sizeof(word)) == (long)sizeof(word);
}

static long poke_err(struct sweep *w, vmf_va va)
{
	uint32_t word = 1;

	return vmf_poke(w->st->space, va, &word, sizeof(word));
}

static void access_frame(struct sweep *w, unsigned page)
{
	uint32_t stamp[2] = { sweep_stamp(0, page), 0 }, *object = sweep_bytes(w, 0, page);
	vmf_va va = sweep_at(w, page);
	struct vmf_stats a = stats(w), b;

	sweep_is(w, peeks(w, va + 64, stamp[0]), "peeked before anybody touched it");
	b = stats(w);
	sweep_is(w, sweep_given(w, page) || (a.faults == b.faults && a.entered == b.entered), "and nothing is entered");
	sweep_is(w, sweep_seen(w, page) && peeks(w, va + 64, stamp[0]), "and afterwards");
	sweep_is(w, !vmf_protect(w->st->space, va, 1, VMF_R), "not to be written");
	sweep_is(w, pokes(w, va + 128, 0xb4ea), "but by a debugger");
	sweep_is(w, peeks(w, va + 128, 0xb4ea) && list_reads(w->st, va + 128, 0xb4ea), "what it wrote is there");
	sweep_is(w, sweep_fails(w, page, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT), "and nobody may write for it");
	sweep_is(w, object[32] == (w->private ? 0 : 0xb4eau), w->private ? "not in the object" : "in the object");
	sweep_is(w, !vmf_protect(w->st->space, va, 1, VMF_R | VMF_W) && sweep_writes(w, page, 5) && sweep_seen(w, page),
		 "the page is as any other");
}

static void access_raw(struct sweep *w, unsigned page)
{
	vmf_va va = sweep_at(w, page) + 8;
	bool copied = w->private && w->window.store == VMF_BY_ADDRESS;

	w->accessed = 0;
	sweep_is(w, peeks(w, va, w->st->word) && w->accessed == 1 + page * 0x100 + 8 * 0x10000, "the driver reads");
	sweep_is(w, sweep_seen(w, page) && peeks(w, va, w->st->word), "and when it is entered");
	w->accessed = 0;
	if (copied)
		sweep_is(w, poke_err(w, va) == -VMF_EIO && !w->accessed, "a device is not copied");
	else
		sweep_is(w, pokes(w, va, 3) && w->accessed == 1 + page * 0x100 + 8 * 0x10000, "the driver writes");
	w->refuse = true;
	sweep_is(w, poke_err(w, va) == (copied ? -VMF_EIO : -VMF_EBUSY), "or says why not");
	w->refuse = false;
}

void sweep_access(struct sweep *w)
{
	uint32_t two[2] = { 0, 0 };
	vmf_va gap;

	if (w->st->cannot[STAGE_PEEK]) {
		sweep_is(w, poke_err(w, sweep_at(w, 0)) == -VMF_ENOSYS, "not here, and so said");
		sweep_cannot(w, w->st->cannot[STAGE_PEEK]);
		return;
	}
	for (unsigned page = 0; page < 2; page++)
		if (sweep_raw(w, page))
			access_raw(w, page);
		else
			access_frame(w, page);
	if (w->kind == SWEEP_FRAME)
		sweep_is(w, vmf_peek(w->st->space, sweep_at(w, 3) - 4, two, 8) == 8 && two[0] == sweep_stamp(0, 2) &&
			 two[1] == sweep_stamp(0, 3), "from one page into the next");
	w->length = 2;
	sweep_is(w, !vmf_revoke(w->object, 2, w->pages - 2) &&
		 (sweep_given(w, 3) || poke_err(w, sweep_at(w, 3)) == -VMF_EIO), "past the end");
	sweep_is(w, !vmf_unmap(w->st->space, sweep_at(w, 2), w->pages - 2) && poke_err(w, sweep_at(w, 2)) == -VMF_EFAULT,
		 "nothing there");
	sweep_is(w, vmf_peek(w->st->space, sweep_at(w, 2) - 4, two, 8) == 4, "as much as there is");
	if (!sweep_is(w, !sweep_map(w, VMF_R, VMF_LAZY, 1, &gap), "to read only"))
		return;
	sweep_is(w, poke_err(w, gap) == -VMF_EPERM, "not beyond maxprot");
	list_free(w->st, gap, 1);
}
