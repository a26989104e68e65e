/* SPDX-License-Identifier: MIT
 *
 * The table of areas: random changes against a plain sorted array, with every allocation failing in turn; taking out
 * without memory; the first gap; many areas by the public calls; and readers while it changes.
 */
#include <pthread.h>
#include <time.h>
#include "core/core.h"
#include "rig.h"

#define ROOM 4096u /* areas of the plain array */
#define SPAN 20000u /* pages that they may lie in */

static uint32_t rng = 1;

static uint32_t pick(uint32_t n)
{
	rng = rng * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(rng >> 8) * n >> 24);
}

static vmf_va address(uint32_t page) { return VMF_SIM_LOWEST + (vmf_va)page * PAGE; }

/* The table and what it must be.  Areas that only the table knows: nobody maps them. */
struct plain {
	struct rig r;
	struct vmf__draft draft;
	struct vmf_area *area[ROOM];
	uint32_t n;
};

static struct vmf_area *plain_area(struct plain *p, uint32_t page, uint32_t pages)
{
	struct vmf_area *a = calloc(1, sizeof(*a));

	CHECK(a);
	a->space = p->r.space;
	a->va = address(page);
	a->pages = pages;
	return a;
}

static void plain_open(struct plain *p)
{
	*p = (struct plain){ 0 };
	rig_open(&p->r, VMF_BY_ADDRESS);
	p->draft.port = p->r.port;
}

static void plain_close(struct plain *p)
{
	while (vmf__table_last(p->draft.root)) {
		CHECK(p->n && vmf__table_last(p->draft.root) == p->area[p->n - 1]);
		free(p->area[--p->n]);
		vmf__table_pop(&p->draft);
		CHECK(vmf__table_last(p->draft.root) == (p->n ? p->area[p->n - 1] : NULL));
	}
	CHECK(!p->n && !p->draft.spare);
	rig_close(&p->r);
}

/* The first area that ends at va or above, or n. */
static uint32_t plain_after(const struct plain *p, vmf_va va)
{
	uint32_t i = 0;

	while (i < p->n && vmf__last(p->area[i]) < va)
		i++;
	return i;
}

static void check_at(const struct plain *p, const struct vmf__table *t, vmf_va va)
{
	uint32_t i = plain_after(p, va);
	struct vmf_area *a = i < p->n ? p->area[i] : NULL;

	CHECK(vmf__table_after(t, va) == a);
	CHECK(vmf__table_find(t, va) == (a && a->va <= va ? a : NULL));
}

static void check_gap(const struct plain *p, const struct vmf__table *t)
{
	vmf_va lo = address(pick(SPAN)), hi = lo + (1 + (vmf_va)pick(SPAN)) * PAGE, bytes = (1 + (vmf_va)pick(40)) * PAGE;
	vmf_va want = lo, at;

	for (uint32_t i = plain_after(p, lo); i < p->n && !(p->area[i]->va > want && p->area[i]->va - want >= bytes); i++)
		want = vmf__end(p->area[i]);
	CHECK(vmf__table_gap(t, lo, hi, bytes, &at) == (want < hi && hi - want >= bytes));
	CHECK(at == want || want >= hi || hi - want < bytes);
}

static void check_all(const struct plain *p, const struct vmf__table *t)
{
	vmf_va at = 0;

	for (uint32_t i = 0; i < p->n; i++) {
		struct vmf_area *a = vmf__table_after(t, at);

		CHECK(a == p->area[i]);
		at = vmf__end(a);
	}
	CHECK(!vmf__table_after(t, at));
	for (unsigned i = 0; i < 20; i++) {
		check_at(p, t, address(pick(SPAN)) + pick(2) * (PAGE - 1));
		check_gap(p, t);
	}
	check_at(p, t, 0);
	check_at(p, t, UINTPTR_MAX);
}

/* In the place of what touches [lo, last] come n areas: in the array. */
static void plain_splice(struct plain *p, vmf_va lo, vmf_va last, struct vmf_area **in, uint32_t n)
{
	uint32_t from = plain_after(p, lo), to = from;

	for (; to < p->n && p->area[to]->va <= last; to++)
		free(p->area[to]);
	memmove(p->area + from + n, p->area + to, (p->n - to) * sizeof(*p->area));
	if (n)
		memcpy(p->area + from, in, n * sizeof(*in));
	p->n = p->n + n - (to - from);
	CHECK(p->n <= ROOM);
}

/* In the table; each allocation fails in turn, and then the old one is as it was.  Taking out allocates nothing. */
static void table_splice(struct plain *p, vmf_va lo, vmf_va last, struct vmf_area **in, uint32_t n)
{
	struct vmf__table *old = p->draft.root;
	uint64_t calls = vmf_sim_calls(p->r.sim, VMF_SIM_ALLOC), live = vmf_sim_live(p->r.sim);

	for (uint32_t at = 1;; at++) {
		vmf_sim_fail(p->r.sim, VMF_SIM_ALLOC, at, VMF_ENOMEM);
		if (!vmf__table_splice(&p->draft, lo, last, in, n))
			break;
		CHECK(n);
		vmf__table_discard(&p->draft, old);
		CHECK(p->draft.root == old);
		check_all(p, old);
		CHECK_EQ(vmf_sim_live(p->r.sim), live);
	}
	vmf_sim_fail(p->r.sim, VMF_SIM_ALLOC, 0, 0);
	CHECK(n || vmf_sim_calls(p->r.sim, VMF_SIM_ALLOC) == calls);
	check_all(p, old); /* for who still reads it */
	if (pick(8) == 0) {
		vmf__table_discard(&p->draft, old);
		check_all(p, old);
		CHECK_EQ(vmf_sim_live(p->r.sim), live);
		CHECK_ERR(vmf__table_splice(&p->draft, lo, last, in, n), 0);
	}
	vmf__table_keep(&p->draft);
}

/* Up to `most` areas of up to four pages into what [first, first + pages) will have free. */
static void change(struct plain *p, uint32_t first, uint32_t pages, uint32_t most)
{
	vmf_va lo = address(first), last = address(first + pages) - 1;
	struct vmf_area *in[200];
	uint32_t n = 0, i = plain_after(p, lo);
	uint32_t at = first;

	/* What is touched goes as a whole, and what comes may lie anywhere there. */
	if (i < p->n && p->area[i]->va < lo)
		at = (uint32_t)((p->area[i]->va - address(0)) / PAGE);
	while (n < most && at < first + pages && p->n + n < ROOM) {
		uint32_t long_ = 1 + pick(4);

		if (at + long_ > first + pages)
			break;
		in[n++] = plain_area(p, at, long_);
		at += long_ + pick(3);
	}
	table_splice(p, lo, last, in, n);
	plain_splice(p, lo, last, in, n);
	check_all(p, p->draft.root);
}

static void random_changes(void)
{
	struct plain *p = malloc(sizeof(*p));

	CHECK(p);
	plain_open(p);
	for (unsigned i = 0; i < 3000; i++) {
		bool grow = (i / 500) % 2 == 0;
		uint32_t pages = pick(10) ? 1 + pick(12) : 1 + pick(400);

		if (grow)
			change(p, pick(SPAN - pages), pages, 1 + pick(pick(10) ? 3 : 200));
		else
			change(p, pick(SPAN - pages), pages, pick(2));
	}
	CHECK(p->n > 100);
	change(p, 0, SPAN, 0);
	CHECK(!p->n && !p->draft.root && !p->draft.spare);
	for (unsigned i = 0; i < 2000; i++)
		change(p, 2 * i, 1, 1); /* upwards */
	for (unsigned i = 2000; i-- > 1000;)
		change(p, 2 * i, 1, 0); /* downwards */
	for (unsigned i = 0; i < 1000; i += 2)
		change(p, 2 * i, 1, 0);
	plain_close(p);
	free(p);
}

static double table_bytes(const struct plain *p, uint64_t before)
{
	return (double)(vmf_sim_live(p->r.sim) - before) / p->n;
}

/* What a table costs an area: mapped upwards, and with most of them gone again. */
static void nodes_are_well_filled(void)
{
	struct plain *p = malloc(sizeof(*p));
	uint64_t before;

	CHECK(p);
	plain_open(p);
	before = vmf_sim_live(p->r.sim);
	for (uint32_t i = 0; i < ROOM; i++) {
		struct vmf_area *a = plain_area(p, 2 * i, 1);

		CHECK_ERR(vmf__table_splice(&p->draft, a->va, vmf__last(a), &a, 1), 0);
		vmf__table_keep(&p->draft);
		p->area[p->n++] = a;
	}
	printf("table: %.1f bytes an area", table_bytes(p, before));
	CHECK(table_bytes(p, before) < 40);
	for (uint32_t i = 0; i < ROOM; i++)
		if (i % 16) {
			CHECK_ERR(vmf__table_splice(&p->draft, address(2 * i), address(2 * i), NULL, 0), 0);
			vmf__table_keep(&p->draft);
			plain_splice(p, address(2 * i), address(2 * i), NULL, 0);
		}
	printf(", %.1f with one in 16 left\n", table_bytes(p, before));
	CHECK(table_bytes(p, before) < 150);
	plain_close(p);
	free(p);
}

/* --------------------------------------------------------------------------------------- by public calls */

static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void map_each(struct rig *r, struct vmf_object *o, uint32_t n)
{
	struct vmf_map map = rig_map(r, 1, VMF_R | VMF_W);
	vmf_va va;

	for (uint32_t i = 0; i < n; i++) {
		CHECK_ERR(vmf_map(r->space, o, &map, &va), 0);
		CHECK_EQ(va, address(i));
	}
}

/* n areas come, a hundred of them are used, and they go: one by one, by one call, with the space. */
static void crowd(uint32_t n)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .protect = true, .ram_pages = RAM, .fences = true };
	double start = seconds(), mapped;
	struct vmf_object *o;
	uint64_t live;
	struct rig r;

	rig_open_as(&r, &config);
	CHECK_ERR(vmf_object_create(r.port, &o, &zeroes, NULL, n), 0);
	live = vmf_sim_live(r.sim);
	map_each(&r, o, n);
	mapped = seconds() - start;
	printf("%u areas: %.2f s to map, %.1f bytes each", n, mapped, (double)(vmf_sim_live(r.sim) - live) / n);
	for (uint32_t i = 0; i < 100; i++)
		CHECK_OK(vmf_sim_store(r.space, address(i * (n / 100)), "x", 1));
	start = seconds();
	for (uint32_t i = 0; i < n / 4; i++)
		CHECK_ERR(vmf_unmap(r.space, address((uint32_t)((uint64_t)i * 7919 % (n / 4))), 1), 0);
	CHECK_ERR(vmf_unmap(r.space, address(n / 4), n / 4), 0);
	CHECK_ERR(vmf_protect(r.space, address(n / 2), n / 4, VMF_R), 0);
	CHECK_RESULT(vmf_sim_store(r.space, address(n / 2), "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
	printf(", %.2f s to unmap and protect", seconds() - start);
	map_each(&r, o, n / 2); /* the first gaps, in their order */
	start = seconds();
	vmf_object_put(o);
	rig_close(&r);
	printf(", %.2f s to close\n", seconds() - start);
}

static void a_crowd(void) { crowd(20000); }
static void a_million(void) { crowd(1000000); }

/* What was mapped and could not be filled goes again, whatever there is no memory for. */
static void taking_out_needs_no_memory(void)
{
	struct vmf_object *o;
	struct rig r;
	uint64_t calls;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_object_create(r.port, &o, &zeroes, NULL, 10000), 0);
	map_each(&r, o, 10000);
	calls = vmf_sim_calls(r.sim, VMF_SIM_ALLOC);
	for (uint32_t i = 0; i < 9000; i++)
		CHECK_ERR(vmf_unmap(r.space, address((uint32_t)((uint64_t)i * 7919 % 10000)), 1), 0);
	CHECK_EQ(vmf_sim_calls(r.sim, VMF_SIM_ALLOC), calls);
	vmf_object_put(o);
	rig_close(&r);
}

/* --------------------------------------------------------------------------------------- while it changes */

#define STEADY 400u /* areas that stay, at every second page; others come and go between them */

struct readers {
	struct rig r;
	bool stop;
};

/* The pages are forgotten again and again, so that each access looks its area up. */
static void *reader(void *arg)
{
	struct readers *x = arg;
	uint32_t i = 0;
	uint8_t byte;

	while (!__atomic_load_n(&x->stop, __ATOMIC_RELAXED)) {
		i = (i + 7919) % STEADY;
		CHECK_OK(vmf_sim_load(x->r.space, address(2 * i), &byte, 1));
		vmf_sim_forget(x->r.space, address(2 * i), 1);
	}
	return NULL;
}

static void readers(void)
{
	struct vmf_map map;
	struct vmf_object *o;
	struct readers x = { .stop = false };
	pthread_t t[2];
	vmf_va va;

	rig_open(&x.r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_object_create(x.r.port, &o, &zeroes, NULL, 2 * STEADY), 0);
	map = rig_map(&x.r, 1, VMF_R | VMF_W);
	map.flags |= VMF_FIXED;
	for (uint32_t i = 0; i < STEADY; i++) {
		map.va = address(2 * i);
		CHECK_ERR(vmf_map(x.r.space, o, &map, &va), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		CHECK(!pthread_create(&t[i], NULL, reader, &x));
	for (uint32_t i = 0; i < 20000; i++) {
		map.va = address(2 * (i * 31 % STEADY) + 1);
		CHECK_ERR(vmf_map(x.r.space, o, &map, &va), 0);
		if (i >= 100)
			CHECK_ERR(vmf_unmap(x.r.space, address(2 * ((i - 100) * 31 % STEADY) + 1), 1), 0);
	}
	__atomic_store_n(&x.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	vmf_object_put(o);
	rig_close(&x.r);
}

static const struct vmtest tests[] = {
	VMTEST(random_changes),
	VMTEST(nodes_are_well_filled),
	VMTEST(a_crowd),
	VMTEST(taking_out_needs_no_memory),
	VMTEST(readers),
};
static const struct vmtest full[] = {
	VMTEST(a_million),
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "million"))
		return vmtest_main(full, 1, 100, 1, argv);
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 30, argc, argv);
}
