/* SPDX-License-Identifier: MIT
 *
 * The list: drivers/special, three views of a device's memory.
 */
#include "list.h"
#include "../special_pool.h"

#define PAGES 6u

static struct special_pool pool;
static struct vmf_special s;
static uint32_t word[PAGES];

static void describe(struct stage *st)
{
	pool = (struct special_pool){ .pages = (uint32_t)st->memory.pages, .second = (uint32_t)st->memory.pages,
				      .bytes = st->memory_bytes };
	if (pool.pages > 4)
		pool.pages = pool.second = 4;
	s.pool = pool_ops(&pool);
	s.view[VMF_SPECIAL_CACHED] = (struct vmf_special_view){ .first = st->memory.first, .attr = st->memory.attr };
	s.view[VMF_SPECIAL_UNCACHED] = s.view[VMF_SPECIAL_CACHED];
	if (!st->cannot[STAGE_UNCACHED])
		s.view[VMF_SPECIAL_UNCACHED].attr = st->uncached;
	s.view[VMF_SPECIAL_FETCHOP] = (struct vmf_special_view){ .first = st->adds.first, .attr = st->adds.attr };
}

/* The page that was touched first is the pool's first, and is seen in this view alone. */
static bool only(struct stage *st, const vmf_va *va, unsigned view)
{
	bool right = true;

	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS; v++)
		if (v == view)
			right &= st->shows(st, va[v], s.view[v].first, s.view[v].attr);
		else
			right &= !st->shows(st, va[v], s.view[v].first, s.view[v].attr);
	return right;
}

static void only_there(struct stage *st, const vmf_va *va, unsigned view, enum stage_what what, const char *name)
{
	if (list_can(st, what, name) && list_can(st, STAGE_SHOWS, name))
		list_check(st, only(st, va, view), name);
}

static void views(struct stage *st, const vmf_va *va)
{
	list_check(st, list_reads(st, va[VMF_SPECIAL_CACHED] + 64, 0) && pool_taken(&pool) == 1,
		   "special: a page is allocated when it is touched");
	list_check(st, list_writes(st, va[VMF_SPECIAL_CACHED] + 64, 40), "special: cached");
	only_there(st, va, VMF_SPECIAL_CACHED, STAGE_SHOWS, "special: and in no other view");
	list_check(st, list_reads(st, va[VMF_SPECIAL_UNCACHED] + 64, 40) &&
		   list_writes(st, va[VMF_SPECIAL_UNCACHED] + 64, 41), "special: the same page in another view");
	only_there(st, va, VMF_SPECIAL_UNCACHED, STAGE_UNCACHED, "special: which is uncached, and cached no more");
	st->put("# who adds: ");
	st->put(st->adder);
	st->put("\n");
	list_check(st, st->add(st, va[VMF_SPECIAL_FETCHOP] + 64, 5) == 41 &&
		   st->add(st, va[VMF_SPECIAL_FETCHOP] + 64, 1) == 46, "special: fetch and add");
	list_check(st, list_reads(st, va[VMF_SPECIAL_CACHED] + 64, 47), "special: and back");
	only_there(st, va, VMF_SPECIAL_CACHED, STAGE_SHOWS, "special: in that view alone");
}

static void special(struct stage *st, const vmf_va *va)
{
	bool right = true;

	views(st, va);
	for (unsigned i = 1; i < pool.pages; i++)
		right &= list_writes(st, list_page(va[i % VMF_SPECIAL_VIEWS], i) + 64, 100 + i);
	list_check(st, right && pool_taken(&pool) == pool.pages, "special: all pages of the pool");
	list_fails(st, list_page(va[VMF_SPECIAL_UNCACHED], PAGES - 1), VMF_R, VMF_OOM, VMF_WHY_RESOURCE,
		   "special: and no more");
}

void list_run_special(struct stage *st)
{
	vmf_va va[VMF_SPECIAL_VIEWS];
	bool mapped = true;

	if (!list_can(st, STAGE_DEVICE, "special: three views of a page") ||
	    !list_can(st, STAGE_SHARED, "special: three views of a page"))
		return;
	describe(st);
	if (!list_check(st, !vmf_special_open(&s, st->port, word, PAGES), "special: a driver"))
		return;
	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS && mapped; v++) {
		struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = PAGES, .prot = VMF_R | VMF_W };

		mapped = !vmf_map(st->space, s.view[v].object, &m, &va[v]);
	}
	if (list_check(st, mapped, "special: three views of a page"))
		special(st, va);
	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS && mapped; v++)
		list_free(st, va[v], PAGES);
	vmf_special_close(&s);
	list_check(st, !mapped || (!pool_taken(&pool) && pool.takes == pool.gives), "special: every page given back");
}
