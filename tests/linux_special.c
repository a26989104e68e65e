/* SPDX-License-Identifier: MIT
 *
 * drivers/special on Linux.  What stands in: pages of a memfd for the device's, which are cached in every view, and the
 * CPU's own atomic additions for memory that adds.  What is shown is the driver's: allocation, one view at a time, and
 * nothing lost meanwhile.
 */
#include <vmfault/pmap.h>
#include "linuxrig.h"
#include "special_pool.h"

#define PAGES 8u
#define THREADS 4u

static struct {
	struct rig rig;
	struct special_pool pool;
	struct vmf_special s;
	uint32_t word[PAGES];
	char *va[VMF_SPECIAL_VIEWS];
} t;

static pthread_barrier_t meet;

static void special_open(void)
{
	int fd = memfd_create("special memory", MFD_CLOEXEC);
	vmf_pfn first;

	CHECK(fd >= 0 && !ftruncate(fd, POOL_PAGES * PAGE));
	CHECK_ERR(vmf_linux_aperture(t.rig.port, fd, 0, POOL_PAGES, &first), 0);
	t.pool = (struct special_pool){ .pages = POOL_PAGES, .second = POOL_PAGES };
	t.pool.bytes = mmap(NULL, POOL_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(t.pool.bytes != MAP_FAILED);
	close(fd);
	t.s = (struct vmf_special){ .pool = pool_ops(&t.pool) };
	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS; v++)
		t.s.view[v].first = first;
	CHECK_ERR(vmf_special_open(&t.s, t.rig.port, t.word, PAGES), 0);
	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS; v++)
		t.va[v] = rig_map(&t.rig, t.s.view[v].object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	pthread_barrier_init(&meet, NULL, THREADS);
}

static void special_close(void)
{
	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS; v++)
		rig_unmap(&t.rig, t.va[v], PAGES);
	vmf_special_close(&t.s);
	CHECK_EQ(pool_taken(&t.pool), 0);
	CHECK_EQ(t.pool.takes, t.pool.gives);
	munmap(t.pool.bytes, POOL_PAGES * PAGE);
	pthread_barrier_destroy(&meet);
}

static uint32_t *at(unsigned view, unsigned page) { return (uint32_t *)(void *)(t.va[view] + page * PAGE); }

static uint32_t add(uint32_t *word, uint32_t n) { return __atomic_fetch_add(word, n, __ATOMIC_RELAXED); }

/* In which views is it?  As the port has it. */
static unsigned shown(unsigned page)
{
	struct vmf_pmap *pmap = vmf_space_pmap(t.rig.space);
	unsigned n = 0;

	for (unsigned v = 0; v < VMF_SPECIAL_VIEWS; v++) {
		struct vmf_entry e;

		CHECK_ERR(pmap->ops->query(pmap, (vmf_va)at(v, page), &e), 0);
		n += e.present;
	}
	return n;
}

static void with_threads(unsigned n, void *(*f)(void *))
{
	pthread_t thread[THREADS];

	for (uintptr_t i = 1; i < n; i++)
		CHECK(!pthread_create(&thread[i], NULL, f, (void *)i));
	(void)f(NULL);
	for (unsigned i = 1; i < n; i++)
		pthread_join(thread[i], NULL);
}

/* ------------------------------------------------------------------------------------------- first touch */

static void took_one(void) { pthread_barrier_wait(&meet); }

static void *touch_first(void *arg)
{
	CHECK_EQ(add(at((uintptr_t)arg % VMF_SPECIAL_VIEWS, 2), 1) < THREADS, true);
	return NULL;
}

/* All have allocated a page before any says so; one is kept. */
static void the_losers_give_back(void)
{
	BOTH_MODES(&t.rig) {
		special_open();
		t.pool.took = took_one;
		with_threads(THREADS, touch_first);
		CHECK(t.pool.takes == THREADS && t.pool.gives == THREADS - 1 && pool_taken(&t.pool) == 1);
		CHECK_EQ(shown(2), 1);
		t.pool.took = NULL;
		CHECK_EQ(*at(VMF_SPECIAL_CACHED, 2), THREADS);
		special_close();
	}
}

static void one_view_at_a_time(void)
{
	BOTH_MODES(&t.rig) {
		special_open();
		*at(VMF_SPECIAL_CACHED, 3) = 40;
		CHECK_EQ(shown(3), 1);
		CHECK_EQ(add(at(VMF_SPECIAL_FETCHOP, 3), 2), 40);
		CHECK_EQ(shown(3), 1);
		CHECK_EQ(*at(VMF_SPECIAL_UNCACHED, 3), 42);
		CHECK_EQ(shown(3), 1);
		CHECK_EQ(*at(VMF_SPECIAL_CACHED, 3), 42);
		CHECK(shown(3) == 1 && pool_taken(&t.pool) == 1);
		special_close();
	}
}

/* -------------------------------------------------------------------------------------------- additions */

#define ADDS 100000u

static uint8_t seen[THREADS * ADDS];

static void *count(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&meet);
	for (unsigned i = 0; i < ADDS; i++) {
		uint32_t was = add(at(VMF_SPECIAL_FETCHOP, 1), 1);

		CHECK(was < THREADS * ADDS);
		__atomic_fetch_add(&seen[was], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void fetch_and_add(void)
{
	BOTH_MODES(&t.rig) {
		special_open();
		memset(seen, 0, sizeof(seen));
		with_threads(THREADS, count);
		for (unsigned i = 0; i < THREADS * ADDS; i++)
			CHECK_EQ(seen[i], 1);
		CHECK_EQ(*at(VMF_SPECIAL_CACHED, 1), THREADS * ADDS);
		special_close();
	}
}

#define TURNS 3000u

/* All add to one word, and each to one of its own, in the view that is its turn. */
static void *turn(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	pthread_barrier_wait(&meet);
	for (unsigned i = 0; i < TURNS; i++) {
		uint32_t *page = at((i + me) % VMF_SPECIAL_VIEWS, 5), *own = page + 16 * (me + 1);

		(void)add(page, 1);
		CHECK_EQ(*(volatile uint32_t *)own, i);
		*(volatile uint32_t *)own = i + 1;
	}
	return NULL;
}

static void from_view_to_view(void)
{
	BOTH_MODES(&t.rig) {
		special_open();
		with_threads(THREADS, turn);
		CHECK_EQ(*at(VMF_SPECIAL_CACHED, 5), THREADS * TURNS);
		CHECK(shown(5) == 1 && t.pool.takes - t.pool.gives == 1);
		CHECK_EQ(rig_stats(&t.rig).failed, 0);
		special_close();
	}
}

static const struct vmtest tests[] = {
	VMTEST(the_losers_give_back), VMTEST(one_view_at_a_time), VMTEST(fetch_and_add), VMTEST(from_view_to_view),
};
VMTEST_MAIN(tests, 30)
