/* SPDX-License-Identifier: MIT
 *
 * drivers/special on the simulated machine: memory that is cached, uncached, and adds.  The device's pages have a
 * second address there, at which a load adds 1 and gives what was there.
 */
#include <pthread.h>
#include "rig.h"
#include "special_pool.h"

#define PAGES 8u
#define THREADS 4u

static struct {
	struct rig rig;
	struct special_pool pool;
	struct vmf_special s;
	uint32_t word[PAGES];
	vmf_va va[VMF_SPECIAL_VIEWS];
} t;

static void memory_add(vmf_pfn first, struct vmf_attr attr)
{
	const struct vmf_range r = { .size = sizeof(r), .kind = VMF_PHYS_DEVICE, .first = first, .pages = POOL_PAGES,
				     .attr = attr };

	CHECK_ERR(vmf_phys_add(t.rig.port, &r), 0);
}

/* At a second node from page `second` on. */
static void special_open(unsigned store, uint32_t pages, uint32_t second)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM,
	};
	const struct vmf_attr fetchop = { .type = VMF_UC, .port = VMF_SIM_ADDS };

	memset(&t, 0, sizeof(t));
	rig_open_as(&t.rig, &config);
	CHECK_ERR(vmf_phys_remove(t.rig.port, (vmf_pfn){ VMF_SIM_DEVICE }), 0);
	memory_add((vmf_pfn){ VMF_SIM_DEVICE }, (struct vmf_attr){ .type = VMF_WB });
	memory_add((vmf_pfn){ VMF_SIM_FETCHOP }, fetchop);
	t.pool = (struct special_pool){ .pages = pages, .second = second, .bytes = vmf_sim_device(t.rig.sim, 0) };
	t.s.pool = pool_ops(&t.pool);
	t.s.view[VMF_SPECIAL_CACHED].first.n = t.s.view[VMF_SPECIAL_UNCACHED].first.n = VMF_SIM_DEVICE;
	t.s.view[VMF_SPECIAL_UNCACHED].attr.type = VMF_UC;
	t.s.view[VMF_SPECIAL_FETCHOP].first.n = VMF_SIM_FETCHOP;
	t.s.view[VMF_SPECIAL_FETCHOP].attr = fetchop;
	CHECK_ERR(vmf_special_open(&t.s, t.rig.port, t.word, PAGES), 0);
	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS && store != VMF_BY_COPY; v++)
		t.va[v] = rig_show(&t.rig, t.s.view[v].object, PAGES, VMF_R | VMF_W);
}

static void special_close(void)
{
	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS; v++)
		CHECK_ERR(vmf_unmap(t.rig.space, t.va[v], PAGES), 0);
	vmf_special_close(&t.s);
	CHECK_EQ(pool_taken(&t.pool), 0);
	CHECK_EQ(t.pool.takes, t.pool.gives);
	rig_close(&t.rig);
}

static vmf_va at(unsigned view, unsigned page) { return t.va[view] + page * PAGE; }

static uint32_t load(vmf_va va)
{
	uint32_t word;

	CHECK_OK(vmf_sim_load(t.rig.space, va, &word, sizeof(word)));
	return word;
}

static void store(vmf_va va, uint32_t word) { CHECK_OK(vmf_sim_store(t.rig.space, va, &word, sizeof(word))); }

static struct vmf_entry entry(vmf_va va)
{
	struct vmf_entry e;

	CHECK_ERR(vmf_space_pmap(t.rig.space)->ops->query(vmf_space_pmap(t.rig.space), va, &e), 0);
	return e;
}

/* In how many views is the page? */
static unsigned shown(unsigned page)
{
	unsigned n = 0;

	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS; v++)
		n += entry(at(v, page)).present;
	return n;
}

#define EACH_STORE(store) for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++)

/* ------------------------------------------------------------------------------------------- one thread */

static void one_view_at_a_time(void)
{
	EACH_STORE(which) {
		special_open(which, POOL_PAGES, POOL_PAGES);
		store(at(VMF_SPECIAL_CACHED, 3), 40);
		CHECK_EQ(entry(at(VMF_SPECIAL_CACHED, 3)).attr.type, VMF_WB);
		CHECK(shown(3) == 1 && pool_taken(&t.pool) == 1);
		CHECK_EQ(load(at(VMF_SPECIAL_FETCHOP, 3)), 40);
		CHECK_EQ(load(at(VMF_SPECIAL_FETCHOP, 3)), 41);
		store(at(VMF_SPECIAL_FETCHOP, 3), 100);
		CHECK_EQ(entry(at(VMF_SPECIAL_FETCHOP, 3)).attr.port, VMF_SIM_ADDS);
		CHECK_EQ(shown(3), 1);
		CHECK_EQ(load(at(VMF_SPECIAL_UNCACHED, 3)), 142);
		CHECK_EQ(entry(at(VMF_SPECIAL_UNCACHED, 3)).attr.type, VMF_UC);
		CHECK(shown(3) == 1 && pool_taken(&t.pool) == 1);
		CHECK_EQ(load(at(VMF_SPECIAL_CACHED, 3)), 142);
		CHECK(shown(3) == 1 && rig_stats(&t.rig).failed == 0);
		special_close();
	}
}

static void by_first_touch(void)
{
	EACH_STORE(which) {
		special_open(which, 4, 4);
		for (unsigned i = 0; i < 4; i++)
			CHECK_EQ(load(at(i % VMF_SPECIAL_VIEWS, PAGES - 1 - i)), 0);
		for (unsigned i = 0; i < 4; i++)
			CHECK_EQ(load(at(VMF_SPECIAL_CACHED, PAGES - 1 - i)), i % VMF_SPECIAL_VIEWS == VMF_SPECIAL_FETCHOP);
		CHECK_EQ(pool_taken(&t.pool), 4);
		CHECK_RESULT(vmf_sim_load(t.rig.space, at(0, 0), &(char){ 0 }, 1), VMF_OOM, VMF_WHY_RESOURCE);
		special_close();
	}
}

static void of_this_node(void)
{
	EACH_STORE(which) {
		special_open(which, 8, 6);
		vmf_sim_here(t.rig.sim, 1);
		(void)load(at(VMF_SPECIAL_UNCACHED, 0));
		(void)load(at(VMF_SPECIAL_CACHED, 1));
		CHECK(t.pool.taken[6] && t.pool.taken[7] && pool_taken(&t.pool) == 2);
		(void)load(at(VMF_SPECIAL_CACHED, 2)); /* that node has no more */
		CHECK(t.pool.taken[0]);
		vmf_sim_here(t.rig.sim, 0);
		(void)load(at(VMF_SPECIAL_CACHED, 3));
		CHECK(t.pool.taken[1] && pool_taken(&t.pool) == 4);
		special_close();
	}
}

static void what_is_refused(void)
{
	struct vmf_map m;

	special_open(VMF_BY_ADDRESS, POOL_PAGES, POOL_PAGES);
	m = rig_map(&t.rig, 1, VMF_R);
	m.flags = 0;
	CHECK_ERR(vmf_map(t.rig.space, t.s.view[0].object, &m, NULL), -VMF_EINVAL);
	m.flags = VMF_SHARED;
	m.action = VMF_RAW;
	m.raw.n = VMF_SIM_DEVICE;
	CHECK_ERR(vmf_map(t.rig.space, t.s.view[0].object, &m, NULL), -VMF_EINVAL);
	special_close();
}

/* A view that cannot be revoked keeps the page, and who wanted it tries again. */
static void a_view_that_cannot_be_left(void)
{
	EACH_STORE(which) {
		special_open(which, POOL_PAGES, POOL_PAGES);
		store(at(VMF_SPECIAL_CACHED, 0), 5);
		vmf_sim_fail(t.rig.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
		CHECK_EQ(load(at(VMF_SPECIAL_UNCACHED, 0)), 5);
		CHECK_EQ(rig_stats(&t.rig).retries[VMF_WHY_IO], 1);
		CHECK_EQ(shown(0), 1);
		special_close();
	}
}

static void *third_view(void *times)
{
	struct vmf_trap trap = { .va = at(VMF_SPECIAL_FETCHOP, 0), .access = VMF_R };
	struct vmf_ticket ticket = { 0 };

	++*(unsigned *)times;
	CHECK_RESULT(vmf_handle(t.rig.space, &trap, &ticket), VMF_RETRY, VMF_WHY_IO);
	vmf_ticket_drop(t.rig.space, &ticket);
	return NULL;
}

/* On its way from one view to another it is in none, and another thread that asks then has to wait. */
static void in_between(void *times, struct vmf_space *space, uint64_t va, uint64_t pages)
{
	pthread_t thread;

	(void)space, (void)va, (void)pages;
	CHECK(!pthread_create(&thread, NULL, third_view, times));
	pthread_join(thread, NULL);
}

static void on_its_way(void)
{
	EACH_STORE(which) {
		unsigned times = 0;

		special_open(which, POOL_PAGES, POOL_PAGES);
		store(at(VMF_SPECIAL_CACHED, 0), 5);
		vmf_sim_on(t.rig.sim, VMF_SIM_REMOVE, in_between, &times);
		CHECK_EQ(load(at(VMF_SPECIAL_UNCACHED, 0)), 5);
		vmf_sim_on(t.rig.sim, VMF_SIM_REMOVE, NULL, NULL);
		CHECK_EQ(times, 1);
		special_close();
	}
}

/* Should a driver forget to revoke, the core does not show one page in two ways. */
static void the_core_would_not_have_it(void)
{
	struct vmf_map m;
	vmf_va va;

	special_open(VMF_BY_ADDRESS, POOL_PAGES, POOL_PAGES);
	store(at(VMF_SPECIAL_CACHED, 0), 5);
	t.word[0] = (t.word[0] & ~7u) | VMF_SPECIAL_UNCACHED; /* as if it had */
	m = rig_map(&t.rig, 1, VMF_R);
	CHECK_ERR(vmf_map(t.rig.space, t.s.view[VMF_SPECIAL_UNCACHED].object, &m, &va), 0);
	CHECK_RESULT(vmf_sim_load(t.rig.space, va, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_ATTR);
	CHECK_ERR(vmf_unmap(t.rig.space, va, 1), 0);
	special_close();
}

/* ------------------------------------------------------------------------------------------------ threads */

static pthread_barrier_t meet;

static void took_one(void) { pthread_barrier_wait(&meet); }

static void *touch_first(void *view)
{
	(void)load(at((unsigned)(uintptr_t)view, 2));
	return NULL;
}

/* Two touch a page for the first time, in one view or in two, and both have allocated one before either says so. */
static void the_loser_gives_back(void)
{
	EACH_STORE(which)
		for (uintptr_t other = VMF_SPECIAL_CACHED; other <= VMF_SPECIAL_UNCACHED; other++) {
			pthread_t thread;

			special_open(which, POOL_PAGES, POOL_PAGES);
			pthread_barrier_init(&meet, NULL, 2);
			t.pool.took = took_one;
			CHECK(!pthread_create(&thread, NULL, touch_first, (void *)other));
			touch_first((void *)VMF_SPECIAL_CACHED);
			pthread_join(thread, NULL);
			pthread_barrier_destroy(&meet);
			CHECK(t.pool.takes == 2 && t.pool.gives == 1 && pool_taken(&t.pool) == 1);
			CHECK_EQ(shown(2), 1);
			CHECK_EQ(load(at(VMF_SPECIAL_CACHED, 2)), 0);
			special_close();
		}
}

#define ADDS 20000u

static uint8_t seen[THREADS * ADDS];

/* By two spaces, so that it is the memory that adds, and not a lock of one MMU's. */
static struct { struct vmf_space *space; vmf_va va; } counter[2];

static void *count(void *arg)
{
	unsigned mine = (uintptr_t)arg % 2;

	pthread_barrier_wait(&meet);
	for (unsigned i = 0; i < ADDS; i++) {
		uint32_t was;

		CHECK_OK(vmf_sim_load(counter[mine].space, counter[mine].va + i % 2 * PAGE, &was, sizeof(was)));
		CHECK(was < THREADS * ADDS / 2);
		__atomic_fetch_add(&seen[was * 2 + i % 2], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* No count is lost and none is given twice, from the first touch on. */
static void fetch_and_add(void)
{
	EACH_STORE(which) {
		pthread_t thread[THREADS];
		struct vmf_map m;

		special_open(which, POOL_PAGES, POOL_PAGES);
		memset(seen, 0, sizeof(seen));
		counter[0].space = t.rig.space;
		counter[0].va = at(VMF_SPECIAL_FETCHOP, 0);
		m = rig_map(&t.rig, 2, VMF_R);
		CHECK_ERR(vmf_sim_space(t.rig.sim, &counter[1].space), 0);
		CHECK_ERR(vmf_map(counter[1].space, t.s.view[VMF_SPECIAL_FETCHOP].object, &m, &counter[1].va), 0);
		pthread_barrier_init(&meet, NULL, THREADS);
		for (uintptr_t i = 0; i < THREADS; i++)
			CHECK(!pthread_create(&thread[i], NULL, count, (void *)i));
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(thread[i], NULL);
		pthread_barrier_destroy(&meet);
		CHECK(!vmf_sim_space_close(counter[1].space));
		for (unsigned i = 0; i < THREADS * ADDS; i++)
			CHECK_EQ(seen[i], 1);
		for (unsigned i = 0; i < 2; i++)
			CHECK_EQ(load(at(VMF_SPECIAL_CACHED, i)), THREADS * ADDS / 2);
		special_close();
	}
}

#define TURNS 4000u

/* Adds by two of the views, and looks at its own word by the third. */
static void *turn(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint32_t mine = 0;

	pthread_barrier_wait(&meet);
	for (unsigned i = 0; i < TURNS; i++) {
		unsigned view = (i + me) % VMF_SPECIAL_VIEWS;
		vmf_va own = at(view, 5) + 64 * (me + 1);

		if (view == VMF_SPECIAL_FETCHOP) {
			store(at(view, 5), 1); /* of all */
			store(own, 2);
			mine += 2;
		} else {
			CHECK_EQ(load(own), mine);
			store(own, ++mine);
		}
	}
	return NULL;
}

/* The page goes from view to view under everybody's feet, and nothing is lost. */
static void from_view_to_view(void)
{
	EACH_STORE(which) {
		uint32_t adds = 0;
		pthread_t thread[THREADS];

		special_open(which, POOL_PAGES, POOL_PAGES);
		pthread_barrier_init(&meet, NULL, THREADS);
		for (uintptr_t i = 0; i < THREADS; i++)
			CHECK(!pthread_create(&thread[i], NULL, turn, (void *)i));
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(thread[i], NULL);
		pthread_barrier_destroy(&meet);
		for (unsigned i = 0; i < THREADS; i++)
			for (unsigned k = 0; k < TURNS; k++)
				adds += (k + i) % VMF_SPECIAL_VIEWS == VMF_SPECIAL_FETCHOP;
		CHECK_EQ(load(at(VMF_SPECIAL_CACHED, 5)), adds);
		CHECK(shown(5) == 1 && t.pool.takes - t.pool.gives == 1);
		CHECK_EQ(rig_stats(&t.rig).failed, 0);
		special_close();
	}
}

static const struct vmtest tests[] = {
	VMTEST(one_view_at_a_time), VMTEST(by_first_touch), VMTEST(of_this_node), VMTEST(what_is_refused),
	VMTEST(a_view_that_cannot_be_left), VMTEST(on_its_way),
	VMTEST(the_core_would_not_have_it), VMTEST(the_loser_gives_back),
	VMTEST(fetch_and_add), VMTEST(from_view_to_view),
};
VMTEST_MAIN(tests, 30)
