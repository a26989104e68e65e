/* SPDX-License-Identifier: MIT
 *
 * The driver migrate on the simulated port: pages move between RAM and a device while threads write to them.
 */
#include <pthread.h>
#include "migrating.h"
#include "rig.h"

#define PAGES MIGRATING_PAGES

static struct vmf_migrate_page pages[PAGES];

static void migrate_open(struct vmf_migrate *m, struct rig *r)
{
	*m = (struct vmf_migrate){ .first = { VMF_SIM_DEVICE + 8 }, .pages = PAGES, .attr = { .type = VMF_UC },
				   .device = vmf_sim_device(r->sim, 8), .page = pages };
	CHECK_ERR(vmf_migrate_open(m, r->port), 0);
}

static void migrate_close(struct vmf_migrate *m, struct rig *r, vmf_va at)
{
	CHECK_ERR(vmf_unmap(r->space, at, PAGES), 0);
	vmf_migrate_close(m);
	CHECK_EQ(rig_free_frames(r), RAM);
}

/* The windows that keep what they show. */
#define EACH(r) \
	for (unsigned store_ = VMF_BY_ADDRESS; store_ <= VMF_BY_OFFSET && (rig_open(&(r), store_), true); \
	     rig_close(&(r)), store_++)

static void put(struct rig *r, vmf_va va, uint32_t word) { CHECK_OK(vmf_sim_store(r->space, va, &word, sizeof(word))); }

static uint32_t get(struct rig *r, vmf_va va)
{
	uint32_t word = 0xbad;

	CHECK_OK(vmf_sim_load(r->space, va, &word, sizeof(word)));
	return word;
}

/* Is the page shown from there, and with the attributes of there? */
static bool shown(struct rig *r, const struct vmf_migrate *m, vmf_va at, unsigned i, bool in)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);
	struct vmf_entry e;

	CHECK_ERR(pmap->ops->query(pmap, at + i * PAGE, &e), 0);
	if (in)
		return e.present && e.raw && e.pfn.n == m->first.n + i && e.attr.type == VMF_UC;
	return e.present && !e.raw && e.pfn.n == vmf_frame_pfn(m->page[i].frame).n && e.attr.type == VMF_WB;
}

static void pages_keep_what_was_written(void)
{
	struct vmf_migrate m;
	struct rig r;
	vmf_va at;

	EACH(r) {
		migrate_open(&m, &r);
		at = rig_show(&r, m.object, PAGES, VMF_R | VMF_W);
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK_EQ(get(&r, at + i * PAGE), 0);
			put(&r, at + i * PAGE + 8, i + 1);
		}
		CHECK_ERR(vmf_migrate_in(&m, 2, 5), 0);
		CHECK_ERR(vmf_migrate_in(&m, 4, 6), 0); /* some are in */
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK(!rig_present(&r, at + i * PAGE) == (i >= 2 && i < 10));
			CHECK_EQ(get(&r, at + i * PAGE + 8), i + 1);
			CHECK(shown(&r, &m, at, i, i >= 2 && i < 10));
			put(&r, at + i * PAGE + 8, i + 100);
		}
		CHECK_EQ(((uint32_t *)vmf_sim_device(r.sim, 8 + 9))[2], 109);
		CHECK_EQ(((uint32_t *)vmf_sim_device(r.sim, 8 + 10))[2], 0);
		CHECK_ERR(vmf_migrate_out(&m, 0, PAGES), 0);
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK_EQ(get(&r, at + i * PAGE + 8), i + 100);
			CHECK(shown(&r, &m, at, i, false));
		}
		migrate_close(&m, &r, at);
	}
}

/* Two contexts take turns on one device, as those of an SPE. */
static void contexts_are_switched(void)
{
	struct vmf_migrate_page page[2][4];
	struct vmf_migrate m[2];
	struct rig r;
	vmf_va at[2];

	EACH(r) {
		for (unsigned c = 0; c < 2; c++) {
			m[c] = (struct vmf_migrate){ .first = { VMF_SIM_DEVICE }, .pages = 4, .attr = { .type = VMF_UC },
						     .device = vmf_sim_device(r.sim, 0), .page = page[c] };
			CHECK_ERR(vmf_migrate_open(&m[c], r.port), 0);
			at[c] = rig_show(&r, m[c].object, 4, VMF_R | VMF_W);
		}
		for (unsigned i = 0; i < 20; i++) {
			CHECK_ERR(vmf_migrate_out(&m[i % 2], 0, 4), 0);
			CHECK_ERR(vmf_migrate_in(&m[1 - i % 2], 0, 4), 0);
			for (unsigned c = 0; c < 2; c++) {
				CHECK_EQ(get(&r, at[c] + i % 4 * PAGE), i < 4 ? 0 : i - 4 + 1000 * c);
				put(&r, at[c] + i % 4 * PAGE, i + 1000 * c);
				CHECK(shown(&r, &m[c], at[c], i % 4, c != i % 2));
			}
		}
		for (unsigned c = 0; c < 2; c++) {
			CHECK_ERR(vmf_unmap(r.space, at[c], 4), 0);
			vmf_migrate_close(&m[c]);
		}
	}
}

static void what_cannot_be_is_refused(void)
{
	static const struct { uint64_t first, pages; int err; } t[] = {
		{ 0, 0, 0 }, { PAGES, 0, 0 }, { 0, PAGES, 0 }, { PAGES, 1, -VMF_EINVAL }, { 0, PAGES + 1, -VMF_EINVAL },
		{ PAGES - 1, 2, -VMF_EINVAL }, { 1, UINT64_MAX, -VMF_EINVAL }, { UINT64_MAX, 2, -VMF_EINVAL },
	};
	struct vmf_migrate m, none = { .pages = 0 };
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		struct vmf_map map = { .size = sizeof(map), .pages = PAGES, .prot = VMF_R };

		CHECK_ERR(vmf_migrate_open(&none, r.port), -VMF_EINVAL);
		migrate_open(&m, &r);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			CHECK_ERR(vmf_migrate_in(&m, t[i].first, t[i].pages), t[i].err);
			CHECK_ERR(vmf_migrate_out(&m, t[i].first, t[i].pages), t[i].err);
		}
		CHECK_ERR(vmf_map(r.space, m.object, &map, &at), -VMF_EINVAL);
		map.flags = VMF_SHARED;
		map.action = VMF_RAW;
		map.raw = m.first;
		CHECK_ERR(vmf_map(r.space, m.object, &map, &at), -VMF_EINVAL);
		vmf_migrate_close(&m);
	}
}

/* A debugger reads and writes a page wherever it is, and enters nothing. */
static void debuggers_see_the_page_where_it_is(void)
{
	struct vmf_migrate m;
	struct rig r;
	char text[8];
	vmf_va at;

	EACH(r) {
		migrate_open(&m, &r);
		at = rig_show(&r, m.object, PAGES, VMF_R | VMF_W);
		for (unsigned i = 0; i < 4; i++) {
			bool in = i % 2;

			CHECK_ERR((in ? vmf_migrate_in : vmf_migrate_out)(&m, 0, 2), 0);
			CHECK_EQ(vmf_poke(r.space, at + PAGE - 3, "across", 7), 7);
			CHECK_EQ(vmf_peek(r.space, at + PAGE - 3, text, 7), 7);
			CHECK(!strcmp(text, "across") && !rig_present(&r, at) && !rig_present(&r, at + PAGE));
			CHECK_EQ(memcmp(in ? (char *)m.device + PAGE : vmf_frame_bytes(r.port, m.page[1].frame), "oss", 4), 0);
			CHECK_EQ(vmf_poke(r.space, at + PAGE - 3, "------", 7), 7);
		}
		CHECK_EQ(get(&r, at + PAGE), 0x2d2d2d);
		CHECK_EQ(vmf_poke(r.space, at + PAGE, "entered", 8), 8);
		CHECK_EQ(get(&r, at + PAGE + 4), 0x646572);
		migrate_close(&m, &r, at);
	}
}

/* A pmap that cannot remove: nothing has moved, and everything goes on. */
static void a_move_that_fails(void)
{
	struct vmf_migrate m;
	struct rig r;
	vmf_va at;

	EACH(r) {
		migrate_open(&m, &r);
		at = rig_show(&r, m.object, PAGES, VMF_R | VMF_W);
		put(&r, at + PAGE, 1);
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, -VMF_EBUSY);
		CHECK_ERR(vmf_migrate_in(&m, 0, PAGES), -VMF_EBUSY);
		CHECK_EQ(*(uint32_t *)vmf_sim_device(r.sim, 9), 0);
		put(&r, at + PAGE, 2);
		CHECK_EQ(get(&r, at + PAGE), 2);
		CHECK(shown(&r, &m, at, 1, false));
		CHECK_ERR(vmf_migrate_in(&m, 0, PAGES), 0);
		CHECK_EQ(get(&r, at + PAGE), 2);
		CHECK(shown(&r, &m, at, 1, true));
		migrate_close(&m, &r, at);
	}
}

static void without_memory_nothing_is_left(void)
{
	struct vmf_frame *hog[RAM];
	struct vmf_migrate m = { .pages = PAGES, .page = pages };
	unsigned n = 0;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	while (!vmf_frame_alloc(r.port, 0, 0, false, &hog[n]))
		n++;
	for (unsigned i = 0; i < PAGES - 1; i++)
		vmf_frame_put(r.port, hog[--n]);
	CHECK_ERR(vmf_migrate_open(&m, r.port), -VMF_ENOMEM);
	while (n)
		vmf_frame_put(r.port, hog[--n]);
	rig_close(&r);
}

/* ---------------------------------------------------------------------------------------- races, made certain */

static struct {
	struct rig *r;
	struct vmf_migrate *m;
	vmf_va at;
	pthread_t thread;
	atomic_bool started, waits, done;
} race;

static void *stores(void *arg)
{
	(void)arg;
	put(race.r, race.at, 77);
	race.done = true;
	return NULL;
}

static void says_that_it_waits(void *self, struct vmf_space *space, uint64_t at, uint64_t n)
{
	(void)self;
	(void)space;
	(void)at;
	(void)n;
	race.waits = true;
}

/* The entries are gone, and the copy has not begun: another thread stores now.  It has to wait for the end. */
static void store_now(void *self, struct vmf_space *space, uint64_t at, uint64_t n)
{
	(void)self;
	(void)space;
	(void)at;
	(void)n;
	if (atomic_exchange(&race.started, true))
		return;
	CHECK(!pthread_create(&race.thread, NULL, stores, NULL));
	CHECK_SOON(race.waits || race.done);
	CHECK(!race.done);
}

static void a_store_between_revoke_and_copy_waits(void)
{
	struct vmf_migrate m;
	struct rig r;

	for (unsigned out = 0; out < 2; out++)
		EACH(r) {
			migrate_open(&m, &r);
			race.at = rig_show(&r, m.object, PAGES, VMF_R | VMF_W);
			race.r = &r;
			race.started = race.waits = race.done = false;
			put(&r, race.at + 4, 5);
			if (out)
				CHECK_ERR(vmf_migrate_in(&m, 0, 1), 0);
			put(&r, race.at + 4, 6);
			vmf_sim_on(r.sim, VMF_SIM_WAIT, says_that_it_waits, NULL);
			vmf_sim_on(r.sim, VMF_SIM_UPDATE, store_now, NULL);
			CHECK_ERR((out ? vmf_migrate_out : vmf_migrate_in)(&m, 0, 1), 0);
			pthread_join(race.thread, NULL);
			vmf_sim_on(r.sim, VMF_SIM_UPDATE, NULL, NULL);
			vmf_sim_on(r.sim, VMF_SIM_WAIT, NULL, NULL);
			CHECK(shown(&r, &m, race.at, 0, !out));
			CHECK_EQ(get(&r, race.at), 77);
			CHECK_EQ(get(&r, race.at + 4), 6);
			CHECK_EQ(rig_stats(&r).retries[VMF_WHY_IO], 1);
			migrate_close(&m, &r, race.at);
		}
}

/* The same data, by handlers that look without the lock: what they saw is outdated when they answer. */
static unsigned looked;

static void *moves_away(void *arg)
{
	bool in = race.m->page[0].word & VMF_MIGRATE_IN;

	(void)arg;
	CHECK_ERR((in ? vmf_migrate_out : vmf_migrate_in)(race.m, 0, 1), 0);
	return NULL;
}

/* Where the page is; and then, the first time, another thread moves it, from beginning to end. */
static bool is_in(void)
{
	bool in = race.m->page[0].word & VMF_MIGRATE_IN;
	pthread_t t;

	if (!looked++) {
		CHECK(!pthread_create(&t, NULL, moves_away, NULL));
		pthread_join(t, NULL);
	}
	return in;
}

static enum vmf_code show(const struct vmf_req *req, bool in)
{
	struct vmf_frame *frame = race.m->page[0].frame;
	struct vmf_result r;

	if (in) {
		r = vmf_install_pfns(req, 0, race.m->first, 1, race.m->attr, req->prot);
	} else {
		vmf_frame_get(frame);
		r = vmf_install_frames(req, 0, &frame, 1, req->prot);
	}
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static enum vmf_code careless_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	return show(req, is_in());
}

static enum vmf_code careless_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	CHECK(!is_in());
	ans->frames[0] = race.m->page[0].frame;
	vmf_frame_get(ans->frames[0]);
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code careless_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	CHECK(is_in());
	ans->pfn = race.m->first;
	ans->attr = race.m->attr;
	ans->n = 1;
	return VMF_OK;
}

/* What the other two cannot show. */
static enum vmf_code device_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	return race.m->page[0].word & VMF_MIGRATE_IN ? show(req, true) : VMF_NEXT;
}

static enum vmf_code ram_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	return race.m->page[0].word & VMF_MIGRATE_IN ? VMF_NEXT : show(req, false);
}

static void careless(unsigned store, const struct vmf_ops *ops, bool in)
{
	struct vmf_object *kept;
	struct vmf_migrate m;
	struct rig r;

	rig_open(&r, store);
	migrate_open(&m, &r);
	kept = m.object;
	CHECK_ERR(vmf_object_create(r.port, &m.object, ops, NULL, PAGES), 0);
	/* By offset it is this one's frames that can be shown. */
	vmf_frame_put(r.port, m.page[0].frame);
	m.page[0].frame = vmf_frame_at(m.object, 0);
	race.m = &m;
	race.at = rig_show(&r, m.object, PAGES, VMF_R | VMF_W);
	if (in)
		CHECK_ERR(vmf_migrate_in(&m, 0, 1), 0);
	looked = 0;
	put(&r, race.at, 33);
	CHECK_EQ(*(uint32_t *)(in ? vmf_frame_bytes(r.port, m.page[0].frame) : m.device), 33);
	CHECK(looked && shown(&r, &m, race.at, 0, !in));
	CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
	CHECK_ERR(vmf_unmap(r.space, race.at, PAGES), 0);
	vmf_object_put(kept);
	vmf_object_put(m.object);
	rig_close(&r);
}

/* In each of the three styles the core finds out, and asks again. */
static void what_was_seen_before_a_move_is_not_entered(void)
{
	static const struct vmf_ops fault = { .size = sizeof(fault), .fault = careless_fault };
	static const struct vmf_ops nopage = { .size = sizeof(nopage), .fault = device_fault, .nopage = careless_nopage };
	static const struct vmf_ops nopfn = { .size = sizeof(nopfn), .fault = ram_fault, .nopfn = careless_nopfn };

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		careless(store, &fault, false);
		careless(store, &fault, true);
		careless(store, &nopage, false);
		careless(store, &nopfn, true);
	}
}

/* ---------------------------------------------------------------------------------------------------- stress */

static void add(void *self, unsigned page, unsigned writer, uint64_t was)
{
	struct rig *r = self;
	vmf_va va = race.at + migrating_at(page, writer);
	uint64_t n;

	if (was % 16 == 15) { /* as a debugger */
		CHECK_EQ(vmf_peek(r->space, va, &n, sizeof(n)), sizeof(n));
		CHECK_EQ(n++, was);
		CHECK_EQ(vmf_poke(r->space, va, &n, sizeof(n)), sizeof(n));
		return;
	}
	CHECK_OK(vmf_sim_load(r->space, va, &n, sizeof(n)));
	CHECK_EQ(n++, was);
	CHECK_OK(vmf_sim_store(r->space, va, &n, sizeof(n)));
}

static void no_write_is_lost(uint64_t writes, uint64_t moves)
{
	struct vmf_migrate m;
	struct rig r;

	EACH(r) {
		struct migrating t = { .m = &m, .add = add, .self = &r, .want_writes = writes, .want_moves = moves };

		migrate_open(&m, &r);
		race.at = rig_show(&r, m.object, PAGES, VMF_R | VMF_W);
		migrating_run(&t);
		migrate_close(&m, &r, race.at);
	}
}

static void some_writes(void) { no_write_is_lost(300000, 1000); }
static void pages_that_hardly_stay(void) { no_write_is_lost(10000, 1000); }
static void ten_million_writes(void) { no_write_is_lost(10000000, 10000); }

static const struct vmtest tests[] = {
	VMTEST(pages_keep_what_was_written),
	VMTEST(contexts_are_switched),
	VMTEST(what_cannot_be_is_refused),
	VMTEST(debuggers_see_the_page_where_it_is),
	VMTEST(a_move_that_fails),
	VMTEST(without_memory_nothing_is_left),
	VMTEST(a_store_between_revoke_and_copy_waits),
	VMTEST(what_was_seen_before_a_move_is_not_entered),
	VMTEST(some_writes),
	VMTEST(pages_that_hardly_stay),
};
static const struct vmtest full[] = {
	VMTEST(ten_million_writes),
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "full"))
		return vmtest_main(full, 1, 100, 1, argv);
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 20, argc, argv);
}
