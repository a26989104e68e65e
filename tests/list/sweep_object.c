/* SPDX-License-Identifier: MIT
 *
 * The sweep: what happens to the object.  Revoke, truncate, poison, the first write to a clean page.
 */
#include "sweep.h"

/* A large frame comes and goes as a whole. */
static void revoke_huge(struct sweep *w)
{
	sweep_is(w, sweep_all(w) && w->asked == 1, "a frame for all of it");
	sweep_is(w, sweep_writes(w, 2, 7) && w->asked == 1, "and to write, too");
	w->set = 1;
	sweep_is(w, !vmf_revoke(w->object, 0, w->pages) && sweep_all(w) && w->asked == 2, "asked again, once");
	w->set = 0;
	sweep_is(w, !vmf_revoke(w->object, 1, 1) && sweep_seen(w, 1), "for a page of it");
	sweep_is(w, !vmf_revoke(w->object, 0, w->pages) && sweep_all(w) && sweep_wrote(w, 2, 7),
		 "what was written is there");
}

/* Page 1 shows something else from now on; what page 2 shows was written. */
void sweep_revoke(struct sweep *w)
{
	bool kept = sweep_given(w, 1), own = sweep_owns(w, 2);
	uint32_t before, other = kept || sweep_same(w, 1) ? 0 : 1;

	if (w->order) {
		revoke_huge(w);
		return;
	}
	sweep_is(w, sweep_all(w) && sweep_writes(w, 2, 7), "four pages, one is written");
	before = w->asked;
	w->set = other;
	sweep_is(w, !vmf_revoke(w->object, 1, 1), "revoked");
	sweep_is(w, w->asked == before, "the driver is not asked by that");
	sweep_is(w, sweep_seen(w, 1) && w->asked == before + !kept, kept ? "what was given is kept" : "asked again, once");
	w->set = 0;
	sweep_is(w, sweep_seen(w, 0) && sweep_seen(w, 3) && w->asked == before + !kept, "not for others");
	w->set = other;
	before = w->asked;
	sweep_is(w, !vmf_revoke(w->object, 0, w->pages) && sweep_seen(w, 1), "all of it is revoked");
	if (own)
		sweep_is(w, sweep_wrote(w, 2, 7) && w->asked == before + !kept, "what was written is the area's own");
	else if (sweep_same(w, 2))
		sweep_is(w, sweep_wrote(w, 2, 7), "what was written is the object's");
	sweep_is(w, w->opened == 1 && !w->closed, "the area stays");
}

/* A driver's object is as long as the driver says: it takes its pages away, and has no more. */
void sweep_truncate(struct sweep *w)
{
	sweep_is(w, sweep_all(w) && sweep_writes(w, 3, 7), "four pages, the last is written");
	sweep_is(w, vmf_object_resize(w->object) == -VMF_EINVAL, "only a backing has a length that can be asked for");
	w->length = 2;
	sweep_is(w, !vmf_revoke(w->object, 2, w->pages - 2), "two are left");
	sweep_is(w, sweep_seen(w, 0) && sweep_seen(w, 1), "those are there");
	if (sweep_given(w, 2))
		sweep_is(w, sweep_seen(w, 2), "what was given is kept");
	else
		sweep_is(w, sweep_fails(w, 2, VMF_R, VMF_SIGBUS, VMF_WHY_EOF), "past the end");
	if (sweep_owns(w, 3) || sweep_given(w, 3))
		sweep_is(w, sweep_wrote(w, 3, 7), "what was written is the area's own");
	else
		sweep_is(w, sweep_fails(w, 3, VMF_W, VMF_SIGBUS, VMF_WHY_EOF), "past the end to write, too");
	w->length = w->pages;
	sweep_is(w, sweep_all(w), "and they are back");
}

/* ------------------------------------------------------------------------------------------------- poison */

/* Of the device one that no other cell shows, since it stays broken. */
static unsigned poisoned(const struct sweep *w)
{
	return w->kind == SWEEP_RAW ? 2 : 1;
}

static bool beside(struct sweep *w)
{
	bool all = true;

	for (unsigned i = 0; i < SWEEP_PAGES; i++)
		all &= w->broken >> i & 1 || sweep_seen(w, i);
	return all;
}

/* A segment's frames go with their object; those of RAM are not free any more. */
static void poison_page(struct sweep *w, unsigned page)
{
	bool ram = !sweep_raw(w, page) && !sweep_same(w, page);

	w->st->broken += ram ? (uint64_t)1 << w->order : 0;
	w->broken |= w->order ? (1u << SWEEP_PAGES) - 1 : 1u << page; /* a frame breaks as a whole */
	sweep_is(w, !vmf_phys_poison(w->st->port, sweep_pfn(w, page), 1), "poisoned");
}

static void poison_shown(struct sweep *w, unsigned page)
{
	poison_page(w, page);
	if (sweep_given(w, page)) {
		sweep_is(w, sweep_seen(w, page), "bytes that were given away are not found");
	} else {
		sweep_is(w, sweep_fails(w, page, VMF_R, VMF_POISON, VMF_WHY_NONE) &&
			 sweep_fails(w, page, VMF_W, VMF_POISON, VMF_WHY_NONE), "who touches it is told");
		sweep_is(w, !vmf_revoke(w->object, page, 1) && sweep_fails(w, page, VMF_R, VMF_POISON, VMF_WHY_NONE),
			 "again after a revoke");
	}
	sweep_is(w, beside(w), "the others are as they were");
}

static void poison_moved(struct sweep *w, unsigned page)
{
	w->set = 1;
	sweep_is(w, sweep_seen(w, page) && sweep_writes(w, page, 9), "another frame is as good as before");
	sweep_is(w, !vmf_revoke(w->object, 0, w->pages), "");
}

/* What is private already is not the page that breaks. */
static void poison_own(struct sweep *w, unsigned page)
{
	sweep_is(w, sweep_wrote(w, page, 7), "written before");
	poison_page(w, page);
	sweep_is(w, sweep_wrote(w, page, 7) && sweep_writes(w, page, 8), "the area's own is as good as before");
}

void sweep_poison(struct sweep *w)
{
	struct stage *st = w->st;
	unsigned page = poisoned(w), frame = w->kind == SWEEP_MIXED ? 2 : page;

	sweep_is(w, vmf_phys_poison(st->port, (vmf_pfn){ st->device.first.n - 1 }, 1) == -VMF_EINVAL,
		 "no poison for a hole");
	if (sweep_raw(w, page) && w->private != !(st->flags & VMF_SHARED)) {
		/* It was the shared area's. */
		sweep_is(w, sweep_fails(w, page, VMF_R, VMF_POISON, VMF_WHY_NONE), "broken, from before");
		w->broken |= 1u << page;
	} else {
		sweep_is(w, sweep_all(w), "four pages");
		poison_shown(w, page);
	}
	if (w->kind == SWEEP_RAW)
		return;
	if (sweep_owns(w, frame) && w->window.store == VMF_BY_ADDRESS) {
		sweep_is(w, sweep_writes(w, 0, 7), "a page is written");
		poison_own(w, 0);
	}
	if (frame != page)
		poison_shown(w, frame);
	if (!sweep_given(w, frame) && !sweep_same(w, frame))
		poison_moved(w, frame);
}

/* ---------------------------------------------------------------------- write-protect, and upgrade */

static bool upgrade_given(struct sweep *w)
{
	for (unsigned page = 0; page < SWEEP_PAGES; page++)
		sweep_is(w, sweep_writes(w, page, 7 + page), "written");
	return !w->announced;
}

void sweep_upgrade(struct sweep *w)
{
	unsigned n = w->window.protect ? 0 : SWEEP_PAGES; /* else whatever is shown can be written */

	sweep_is(w, sweep_all(w), "four pages");
	if (w->expect == 'c') {
		sweep_is(w, upgrade_given(w), "the driver is not told");
		return;
	}
	if (w->kind == SWEEP_RAW && w->st->cannot[STAGE_SCRATCH]) {
		sweep_cannot(w, w->st->cannot[STAGE_SCRATCH]);
		return;
	}
	sweep_is(w, w->announced == n, "reading is announced to nobody, where that can be told");
	sweep_is(w, sweep_writes(w, 0, 7) && w->announced == (n ? n : 1), "a first write is");
	sweep_is(w, sweep_writes(w, 0, 8) && w->announced == (n ? n : 1), "and no other");
	sweep_is(w, !vmf_sync(w->object, 0, SWEEP_PAGES, NULL) && w->announced == (n ? n : 1), "clean again");
	sweep_is(w, sweep_writes(w, 0, 9) && w->announced == n + 1 + !n, "so the next write is the first");
	w->refuse = true;
	sweep_is(w, !vmf_sync(w->object, 0, SWEEP_PAGES, NULL) && sweep_fails(w, 0, VMF_W, VMF_SIGBUS, VMF_WHY_POLICY),
		 "and can be refused");
	w->refuse = false;
	sweep_is(w, sweep_wrote(w, 0, 9) && sweep_all(w), "which changes nothing");
}
