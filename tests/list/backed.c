/* SPDX-License-Identifier: MIT
 *
 * The list: objects whose bytes come from a backing, and go back to it.
 */
#include "backing.h"

#define PAGES 8u   /* the last of them in part */
#define TAIL 1000u /* bytes in the last */
#define ROOM 10u

static struct backing b;
static struct vmf_object *object;
static vmf_va va;

static bool backed_map(struct stage *st, unsigned prot)
{
	struct vmf_backed config = { .size = sizeof(config), .ops = &list_backing_ops, .self = &b, .around = 4,
				     .pages = ROOM };

	return !vmf_object_backed(st->port, &object, &config) && !list_map(st, object, ROOM, prot, &va);
}

static bool backed_open(struct stage *st, unsigned prot)
{
	list_backing_open(&b, (PAGES - 1) * LIST_PAGE + TAIL);
	return backed_map(st, prot);
}

static void backed_close(struct stage *st, const char *name)
{
	list_free(st, va, ROOM);
	vmf_object_put(object);
	list_check(st, list_soon(&b.closed, 1), name);
}

static bool right(struct stage *st, unsigned page, unsigned i)
{
	return list_reads(st, list_page(va, page) + i * 4, list_backing_word(page, i));
}

static void run_reads(struct stage *st)
{
	if (!list_check(st, backed_open(st, VMF_R | VMF_W), "backed: mapped"))
		return;
	b.hole = 6;
	list_check(st, right(st, 1, 0) && b.reads == 1 && b.first == 0 && b.n == 4, "backed: read in runs");
	list_check(st, right(st, 0, 1) && right(st, 2, 1023) && right(st, 3, 7) && b.reads == 1, "backed: and not again");
	list_check(st, list_reads(st, list_page(va, 6) + 64, 0) && b.reads == 1, "backed: a hole is zero and is not read");
	list_check(st, right(st, PAGES - 1, TAIL / 4 - 1) && list_reads(st, list_page(va, PAGES - 1) + TAIL, 0) &&
		   list_reads(st, list_page(va, PAGES) - 4, 0), "backed: zeroes after the end, up to the end of the page");
	list_fails(st, list_page(va, PAGES), VMF_R, VMF_SIGBUS, VMF_WHY_EOF, "backed: and then the end of the file");
	backed_close(st, "backed: closed with its last reference");
}

static void run_failing(struct stage *st)
{
	if (!list_check(st, backed_open(st, VMF_R), "failing: mapped"))
		return;
	b.bad_read = 5;
	b.err = 105;
	list_fails(st, list_page(va, 5), VMF_R, VMF_SIGBUS, VMF_WHY_IOERR, "failing: a read");
	list_check(st, st->failed.err == 105, "failing: with the backing's own number");
	list_check(st, vmf_page_state(object, 5) == VMF_FAILED, "failing: the page says so");
	list_check(st, right(st, 4, 0) && right(st, 6, 0), "failing: the pages beside it");
	b.err = 106;
	list_fails(st, list_page(va, 5), VMF_R, VMF_SIGBUS, VMF_WHY_IOERR, "failing: and again");
	list_check(st, st->failed.err == 106, "failing: with the number of this time");
	b.bad_read = BACKING_NONE;
	list_check(st, right(st, 5, 0) && vmf_page_state(object, 5) == VMF_PRESENT, "failing: the next try works");
	backed_close(st, "failing: closed");
}

static void run_populate(struct stage *st)
{
	struct vmf_backed config = { .size = sizeof(config), .ops = &list_backing_ops, .self = &b };
	unsigned reads;
	bool all = true;

	list_backing_open(&b, 4 * LIST_PAGE);
	if (!list_check(st, !vmf_object_backed(st->port, &object, &config) && list_gap(st, 4, &va),
			"populate: an object with a backing"))
		return;
	b.bad_read = 3;
	b.err = 103;
	list_check(st, list_map_at(st, object, 4, VMF_R, VMF_POPULATE, va) == -VMF_EIO,
		   "populate: a read fails, so none is mapped");
	b.bad_read = BACKING_NONE;
	all = list_check(st, !list_map_at(st, object, 4, VMF_R, VMF_POPULATE, va), "populate: every page is read");
	reads = b.reads;
	b.bad_read = 0;
	for (unsigned i = 0; i < 4; i++)
		all &= right(st, i, i);
	list_check(st, all && b.reads == reads, "populate: and no more");
	backed_close(st, "populate: closed");
}

/* Nobody else looks at the pages; a read that has just ended may still pin them. */
static bool reclaims(vmf_pgoff first, uint64_t pages)
{
	uint64_t n = 0;

	for (unsigned tries = 0; n < pages && tries < 1000000; tries++)
		n += vmf_reclaim(object, first, pages);
	return n == pages;
}

static void sync_pages(struct stage *st)
{
	int err = -1;

	list_check(st, list_writes(st, list_page(va, 2) + 8, 0xd1) && vmf_page_state(object, 2) == VMF_DIRTY &&
		   vmf_page_state(object, 1) == VMF_PRESENT, "sync: a store makes its page dirty");
	list_check(st, b.word[2][2] != 0xd1 && !vmf_reclaim(object, 2, 1) && list_reads(st, list_page(va, 2) + 8, 0xd1),
		   "sync: which is then not reclaimed");
	list_check(st, !vmf_sync(object, 0, ROOM, &err) && !err && b.writes == 1 && b.syncs == 1 && b.word[2][2] == 0xd1 &&
		   vmf_page_state(object, 2) == VMF_PRESENT, "sync: written back");
	list_check(st, !vmf_sync(object, 0, ROOM, NULL) && b.writes == 1, "sync: once");
	list_check(st, list_writes(st, list_page(va, 2) + 8, 0xd2) && vmf_page_state(object, 2) == VMF_DIRTY &&
		   !vmf_sync(object, 2, 1, NULL) && b.writes == 2 && b.word[2][2] == 0xd2,
		   "sync: and again after another store");
}

static void sync_fails(struct stage *st)
{
	int err = 0;

	b.bad_write = 2;
	b.err = 122;
	list_check(st, list_writes(st, list_page(va, 2) + 8, 0xd3) && vmf_sync(object, 0, ROOM, &err) == -VMF_EIO &&
		   err == 122, "sync: a write fails");
	list_check(st, vmf_page_state(object, 2) == VMF_DIRTY && list_reads(st, list_page(va, 2) + 8, 0xd3),
		   "sync: the page is dirty still");
	b.bad_write = BACKING_NONE;
	list_check(st, !vmf_sync(object, 0, ROOM, &err) && !err && b.word[2][2] == 0xd3, "sync: the next try works");
}

static void run_sync(struct stage *st)
{
	uint32_t last = 0xdddddddd;

	if (!list_keeps(st, "sync: written back"))
		return;
	if (!list_check(st, backed_open(st, VMF_R | VMF_W), "sync: mapped") ||
	    !list_check(st, right(st, 1, 0) && right(st, 2, 2), "sync: read"))
		return;
	if (list_protects(st, va, "sync: a store makes its page dirty")) {
		sync_pages(st);
		sync_fails(st);
	}
	list_check(st, list_writes(st, list_page(va, PAGES - 1) + TAIL, last) && !vmf_sync(object, 0, ROOM, NULL) &&
		   b.word[PAGES - 1][TAIL / 4] == list_backing_word(PAGES - 1, TAIL / 4),
		   "sync: nothing is written past the end");
	backed_close(st, "sync: closed");
}

static void run_reclaim(struct stage *st)
{
	if (!list_keeps(st, "reclaim: read again"))
		return;
	if (!list_check(st, backed_open(st, VMF_R), "reclaim: mapped") || !list_check(st, right(st, 1, 0), "reclaim: read"))
		return;
	list_check(st, reclaims(0, 4) && vmf_page_state(object, 1) == VMF_ABSENT, "reclaim: clean pages go");
	b.word[1][0] = 0xa9a1;
	list_check(st, list_reads(st, list_page(va, 1), 0xa9a1) && b.reads == 2, "reclaim: read again");
	backed_close(st, "reclaim: closed");
}

static void run_resize(struct stage *st)
{
	if (!list_check(st, backed_open(st, VMF_R), "resize: mapped"))
		return;
	if (st->store != VMF_BY_COPY)
		list_check(st, right(st, 3, 25) && right(st, 5, 0), "resize: read");
	b.bytes = 3 * LIST_PAGE + 100;
	list_check(st, !vmf_object_resize(object), "resize: shorter");
	list_fails(st, list_page(va, 5), VMF_R, VMF_SIGBUS, VMF_WHY_EOF, "resize: past the end");
	list_check(st, right(st, 3, 24) && list_reads(st, list_page(va, 3) + 100, 0), "resize: zeroes after the end");
	b.bytes = 6 * LIST_PAGE;
	list_check(st, !vmf_object_resize(object) && right(st, 5, 1023), "resize: longer, and read");
	if (list_keeps(st, "resize: and where the end was"))
		list_check(st, right(st, 3, 25), "resize: and where the end was");
	list_fails(st, list_page(va, 6), VMF_R, VMF_SIGBUS, VMF_WHY_EOF, "resize: past the new end");
	b.length_err = 9;
	list_check(st, vmf_object_resize(object) == 9 && right(st, 5, 1), "resize: it cannot say");
	backed_close(st, "resize: closed");
}

void list_run_backed(struct stage *st)
{
	run_reads(st);
	run_failing(st);
	run_populate(st);
	run_sync(st);
	run_reclaim(st);
	run_resize(st);
}
