/* SPDX-License-Identifier: MIT
 *
 * The table of windows of this process: random changes against a plain array, with readers beside; and 60,000 areas, as
 * many as Linux lets a process have.
 */
#include <time.h>
#include "linuxrig.h"
#include "ports/linux/local.h"

#define SPAN 40000u /* pages that windows of the random part lie in: addresses that nobody touches */
#define BASE ((uintptr_t)1 << 40)

static uint32_t rng = 1;

static uint32_t pick(uint32_t n)
{
	rng = rng * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(rng >> 8) * n >> 24);
}

static uintptr_t address(uint32_t page) { return BASE + (uintptr_t)page * PAGE; }

/* What each page must be: number and page of its extent, protection; 0: nothing. */
struct cell { uint32_t extent, page; uint8_t prot, whose; };
static struct cell cells[SPAN];
static struct vmf__local locals[2];
static struct vmf__linux *port;

static void check_page(uint32_t page)
{
	const struct cell *c = &cells[page];
	struct vmf__window w;
	bool found = vmf__window_find(address(page), &w);

	CHECK_EQ(found, c->extent != 0);
	if (!found)
		return;
	CHECK(w.local == &locals[c->whose]);
	CHECK_EQ(w.extent->pages >> 32, c->extent);
	CHECK_EQ(vmf__window_page(&w, address(page)), c->page);
	CHECK_EQ(w.prot, c->prot);
}

/* All windows in their order, and that together they are all pages that there are. */
static void check_all(void)
{
	uint32_t pages = 0, seen = 0;
	struct vmf__window w;

	for (uint32_t i = 0; i < SPAN; i++)
		pages += cells[i].extent != 0;
	for (uintptr_t va = BASE; vmf__window_next(va, &w) && w.va < address(SPAN); va = w.end) {
		CHECK(w.va >= va && w.end > w.va);
		check_page((uint32_t)((w.va - BASE) / PAGE));
		check_page((uint32_t)((w.end - BASE) / PAGE) - 1);
		seen += (uint32_t)((w.end - w.va) / PAGE);
	}
	CHECK_EQ(seen, pages);
}

static void step_add(uint32_t first, uint32_t n)
{
	static uint32_t extents;
	struct vmf__window w = { .va = address(first), .end = address(first + n), .local = &locals[pick(2)], .prot = 1 };
	bool free = true;

	for (uint32_t i = 0; i < n; i++)
		free &= !cells[first + i].extent;
	w.extent = vmf__extent_new(port, VMF__W_SHARED, false, ((uint64_t)++extents << 32) | n);
	CHECK(w.extent);
	CHECK_ERR(vmf__window_add(&w), free ? 0 : -VMF_EEXIST);
	if (!free)
		vmf__extent_free(w.extent);
	for (uint32_t i = 0; free && i < n; i++)
		cells[first + i] = (struct cell){ extents, i, 1, (uint8_t)(w.local - locals) };
}

static void step_drop(uint32_t first, uint32_t n)
{
	uint8_t whose = (uint8_t)pick(2);

	CHECK_ERR(vmf__window_drop(&locals[whose], address(first), address(first + n)), 0);
	for (uint32_t i = 0; i < n; i++)
		if (cells[first + i].whose == whose)
			cells[first + i] = (struct cell){ 0 };
}

static void step_prot(uint32_t first, uint32_t n)
{
	uint8_t whose = (uint8_t)pick(2), prot = (uint8_t)pick(8);

	CHECK_ERR(vmf__window_prot(&locals[whose], address(first), address(first + n), prot), 0);
	for (uint32_t i = 0; i < n; i++)
		if (cells[first + i].whose == whose)
			cells[first + i].prot = prot;
}

/* A window that stays, beside all that comes and goes. */
static void *reader(void *stop)
{
	struct vmf__window w;

	while (!atomic_load((atomic_bool *)stop))
		CHECK(vmf__window_find(address(SPAN + 5), &w) && w.va == address(SPAN) && w.end == address(SPAN + 10));
	return NULL;
}

static void random_changes(void)
{
	struct vmf__window stays = { .va = address(SPAN), .end = address(SPAN + 10), .local = &locals[0] };
	atomic_bool stop = false;
	pthread_t thread;
	struct rig r;

	rig_open(&r, VMF_IN_CONTEXT);
	port = vmf__linux_of(r.port);
	stays.extent = vmf__extent_new(port, VMF__W_SHARED, false, 10);
	CHECK_ERR(vmf__window_add(&stays), 0);
	CHECK(!pthread_create(&thread, NULL, reader, &stop));
	for (unsigned i = 0; i < 30000; i++) {
		bool grow = i / 7500 % 2 == 0;
		uint32_t n = 1 + pick(pick(50) ? 4 : 600), first = pick(SPAN - n), what = pick(16);

		if (what == 0)
			step_prot(first, n);
		else if (grow ? what > 1 : what > 14)
			step_add(first, 1 + pick(4) % n);
		else
			step_drop(first, n);
		if (i % 1000 == 0)
			check_all();
		check_page(pick(SPAN));
		check_page(first);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 2; i++)
		CHECK_ERR(vmf__window_drop(&locals[i], BASE, address(SPAN + 10)), 0);
	CHECK(!vmf__window_next(BASE, &stays) || stays.va >= address(SPAN + 10));
	rig_close(&r);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Each its own VMA: every second page of the object. */
static void sixty_thousand(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	enum { AREAS = 60000 };
	static char *at[AREAS];
	double start = seconds();
	struct vmf_object *o;
	struct rig r;

	rig_open(&r, VMF_IN_CONTEXT);
	CHECK_ERR(vmf_object_create(r.port, &o, &zeroes, NULL, 2 * AREAS), 0);
	for (uint32_t i = 0; i < AREAS; i++)
		at[i] = rig_map_as(&r, o, (struct vmf_map){ .flags = VMF_SHARED, .pages = 1, .off = 2 * i,
							    .prot = VMF_R | VMF_W });
	printf("%d areas: %.2f s to map", AREAS, seconds() - start);
	for (uint32_t i = 0; i < AREAS; i += 100)
		*at[i] = (char)i;
	for (uint32_t i = 0; i < AREAS; i += 100)
		CHECK_EQ(*at[i], (char)i);
	start = seconds();
	for (uint32_t i = 0; i < AREAS; i += 2)
		rig_unmap(&r, at[i], 1);
	vmf_object_put(o);
	rig_close(&r);
	printf(", %.2f s to unmap\n", seconds() - start);
}

static void fill_table(struct vmf__extent *x)
{
	struct vmf__window w = { .local = &locals[0], .extent = x, .prot = 1 };
	int err = 0;

	for (uint32_t i = 0; !err; i++) {
		w.va = address(2 * i);
		w.end = w.va + PAGE;
		err = vmf__window_add(&w);
	}
	CHECK_ERR(err, -VMF_ENOMEM);
}

/* What would have to be cut stays whole, and mapped; what need not be cut goes. */
static void full_table(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf__extent *x;
	struct vmf_object *o;
	unsigned char there;
	struct rig r;
	char *at;

	rig_open(&r, VMF_IN_CONTEXT);
	x = vmf__extent_new(vmf__linux_of(r.port), VMF__W_SHARED, false, 1);
	CHECK_ERR(vmf_object_create(r.port, &o, &zeroes, NULL, 3), 0);
	at = rig_map(&r, o, VMF_SHARED, 3, VMF_R | VMF_W);
	at[PAGE] = 7;
	fill_table(x);
	CHECK(vmf_unmap(r.space, (vmf_va)at + PAGE, 1) < 0);
	CHECK(!mincore(at + PAGE, PAGE, &there));
	CHECK_EQ(at[PAGE], 7);
	rig_unmap(&r, at, 3);
	CHECK(mincore(at + PAGE, PAGE, &there));
	CHECK_ERR(vmf__window_drop(&locals[0], BASE, UINTPTR_MAX), 0);
	vmf_object_put(o);
	rig_close(&r);
}

static bool has_area(struct rig *r, const char *at)
{
	struct vmf_area *a = vmf_area_find(r->space, (vmf_va)at);

	vmf_area_put(a);
	return a;
}

/* Nobody knows these pages any more, and nobody sees anything there. */
static void pages_lost(struct rig *r, char *at, unsigned pages)
{
	for (unsigned i = 0; i < pages; i++) {
		struct vmf__window w;
		char c;

		CHECK_SOON(!has_area(r, at + i * PAGE));
		CHECK(!vmf__window_find((uintptr_t)at + i * PAGE, &w));
		CHECK(rig_load(at + i * PAGE, &c) != 0);
	}
}

static void pages_kept(char *at, unsigned pages, char first)
{
	CHECK_EQ(at[0], first);
	for (unsigned i = 1; i < pages; i++)
		CHECK_EQ(at[i * PAGE], 0);
}

#define FAR ((char *)0x200000000000)

static void full_of_events(struct rig *r, unsigned flags)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf__extent *x = vmf__extent_new(vmf__linux_of(r->port), VMF__W_SHARED, false, 1);
	struct vmf_object *o;
	char *hole, *whole, *part;

	CHECK_ERR(vmf_object_create(r->port, &o, &zeroes, NULL, 24), 0);
	hole = rig_map(r, o, flags, 8, VMF_R | VMF_W);
	whole = rig_map_as(r, o, (struct vmf_map){ .flags = flags, .off = 8, .pages = 8, .prot = VMF_R | VMF_W });
	part = rig_map_as(r, o, (struct vmf_map){ .flags = flags, .off = 16, .pages = 8, .prot = VMF_R | VMF_W });
	hole[0] = whole[0] = part[0] = 'a';
	hole[4 * PAGE] = part[3 * PAGE] = part[5 * PAGE] = 'b';
	fill_table(x);
	/* The end can go without a cut; then there is none for a hole. */
	CHECK(!munmap(hole + 7 * PAGE, PAGE));
	pages_lost(r, hole + 7 * PAGE, 1);
	CHECK_EQ(hole[4 * PAGE], 'b');
	CHECK(!munmap(hole + 2 * PAGE, PAGE));
	pages_lost(r, hole + 2 * PAGE, 5);
	pages_kept(hole, 2, 'a');
	/* What goes makes room for where it comes. */
	CHECK(mremap(whole, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, FAR) == FAR);
	CHECK_SOON(has_area(r, FAR));
	pages_kept(FAR, 8, 'a');
	CHECK(mremap(part + 2 * PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, FAR + 64 * PAGE) ==
	      FAR + 64 * PAGE);
	pages_lost(r, part + 2 * PAGE, 6);
	pages_lost(r, FAR + 64 * PAGE, 2);
	pages_kept(part, 2, 'a');
	CHECK_ERR(vmf__window_drop(&locals[0], BASE, UINTPTR_MAX), 0);
	rig_unmap(r, hole, 2);
	rig_unmap(r, FAR, 8);
	rig_unmap(r, part, 2);
	vmf_object_put(o);
	CHECK(!munmap(hole + 3 * PAGE, 4 * PAGE) && !munmap(part + 4 * PAGE, 4 * PAGE));
	CHECK(!munmap(FAR + 64 * PAGE, 2 * PAGE));
}

/* The application's own munmap() and mremap() are not asked whether there is room. */
static void full_of_what_happens(void)
{
	struct rig r;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	rig_catching();
	BOTH_MODES(&r) {
		full_of_events(&r, VMF_SHARED);
		full_of_events(&r, 0);
	}
}

/* Where the RAM of a port is. */
static vmf_pfn ram_of(const struct vmf__linux *p)
{
	vmf_pfn pfn = { 1 };

	while (!p->segments[pfn.n].base || p->segments[pfn.n].fd >= 0)
		pfn.n++;
	pfn.n <<= VMF__SEGMENT_SHIFT;
	return pfn;
}

/* What fills may end in the middle, and the page in need be behind that: what is said to be shown is not touched by
 * anybody again, because it may have been written. */
static void filled_in_part(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf_run run = { .n = 4, .need = 2, .prot = VMF_R | VMF_W, .flags = VMF_RUN_FILL };
	struct vmf_pmap *pmap;
	struct vmf_object *o;
	struct vmf__window w;
	struct rig r;
	char *at;

	if (rig_lacks(VMF_IN_CONTEXT, VMF_LACKS_SHARED))
		return;
	rig_open(&r, VMF_IN_CONTEXT);
	CHECK_ERR(vmf_object_create(r.port, &o, &zeroes, NULL, 4), 0);
	at = rig_map(&r, o, VMF_SHARED, 4, VMF_R | VMF_W);
	rig_unmap(&r, at + 2 * PAGE, 2);
	CHECK(vmf__window_find((uintptr_t)at, &w));
	run.va = (vmf_va)at;
	run.pfn = w.segment;
	run.from = ram_of(vmf__linux_of(r.port));
	pmap = vmf_space_pmap(r.space);
	CHECK_EQ(pmap->ops->enter(pmap, &run), 2);
	vmf_object_put(o);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(random_changes), VMTEST(full_table), VMTEST(full_of_what_happens), VMTEST(filled_in_part),
	VMTEST(sixty_thousand),
};
VMTEST_MAIN(tests, 100)
