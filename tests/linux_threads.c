/* SPDX-License-Identifier: MIT
 *
 * Many threads: in one space, in many, more than there are slots, and coming and going.
 */
#include "linuxrig.h"
#include "testback.h"

#define PAGES 2048u
#define THREADS 8u

static struct {
	struct rig r;
	struct testback back;
	struct vmf_object *object;
	char *at[2];
	atomic_bool go, stop;
	atomic_ulong loads;
} shared;

static bool right(const char *p, unsigned page)
{
	char c = *(const volatile char *)(p + page * PAGE + 9);

	return c == (char)testback_byte(&shared.back, page * PAGE + 9);
}

/* Every page of both windows once, in an order of its own. */
static void *walk(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	unsigned start = vmtest_random(&seed) % PAGES, step = 2 * (vmtest_random(&seed) % 500) + 1;

	while (!shared.go)
		;
	for (unsigned i = 0; i < PAGES; i++) {
		unsigned page = (start + i * step) % PAGES;

		CHECK(right(shared.at[i % 2], page));
		CHECK(right(shared.at[(i + 1) % 2], page));
	}
	return NULL;
}

static void open_shared(unsigned mode, unsigned servers)
{
	const struct vmf_backed like = { .size = sizeof(like), .around = 4 };

	rig_open_threads(&shared.r, mode, servers);
	testback_open(&shared.back, shared.r.port, PAGES * PAGE, TESTBACK_THREAD);
	shared.object = testback_object(&shared.back, &like);
	shared.at[0] = rig_map(&shared.r, shared.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	shared.at[1] = rig_map(&shared.r, shared.object, 0, PAGES, VMF_R | VMF_W);
	shared.go = shared.stop = false;
	shared.loads = 0;
}

static void close_shared(void)
{
	rig_unmap(&shared.r, shared.at[0], PAGES);
	rig_unmap(&shared.r, shared.at[1], PAGES);
	vmf_object_put(shared.object);
	RIG_BACKING_CLOSE(&shared.back);
	rig_close(&shared.r);
}

static void run_threads(unsigned n, void *(*run)(void *))
{
	pthread_t t[64];

	for (uintptr_t i = 0; i < n; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, run, (void *)i), 0);
	shared.go = true;
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void random_faults(void)
{
	const struct { unsigned mode, servers; } how[] = {
		{ VMF_IN_CONTEXT, 0 }, { VMF_THREADED, 1 }, { VMF_THREADED, 4 },
	};

	for (unsigned i = 0; i < 3; i++) {
		open_shared(how[i].mode, how[i].servers);
		run_threads(THREADS, walk);
		CHECK(shared.back.pages_read <= PAGES); /* the second window found them */
		CHECK_SOON(rig_stats(&shared.r).entered >= 2 * PAGES);
		close_shared();
	}
}

/* Somebody takes pages away all the time: everyone still gets through. */
static void *walk_some(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;

	while (!shared.stop) {
		CHECK(right(shared.at[0], vmtest_random(&seed) % 64));
		shared.loads++;
	}
	return NULL;
}

static void evicted(void)
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		pthread_t t[4];

		open_shared(mode, 2);
		for (uintptr_t i = 0; i < 4; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, walk_some, (void *)i), 0);
		for (unsigned i = 0; i < 500 || shared.loads < 2000; i++) {
			if (i % 2)
				CHECK_ERR(vmf_revoke(shared.object, i % 64, 8), 0);
			else
				(void)vmf_reclaim(shared.object, 0, 64);
		}
		shared.stop = true;
		for (unsigned i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		close_shared();
	}
}

/* Writers and write-back at the same time: nothing that was written is lost. */
static void *writer(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	for (unsigned i = 1; i <= 2000; i++) {
		unsigned page = i % 32;

		memcpy(shared.at[0] + page * PAGE + me * 8, &i, sizeof(i));
	}
	return NULL;
}

static void written_while_synced(void)
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		pthread_t t[4];

		open_shared(mode, 1);
		for (uintptr_t i = 0; i < 4; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, writer, (void *)i), 0);
		for (unsigned i = 0; i < 50; i++)
			CHECK_ERR(vmf_sync(shared.object, 0, 32, NULL), 0);
		for (unsigned i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
		CHECK_ERR(vmf_sync(shared.object, 0, 32, NULL), 0);
		for (unsigned page = 0; page < 32; page++)
			for (unsigned me = 0; me < 4; me++) {
				unsigned last, want = page ? 2000 - (2000 - page) % 32 : 1984;

				memcpy(&last, shared.back.page[page] + me * 8, sizeof(last));
				CHECK_EQ(last, want);
			}
		close_shared();
	}
}

/* Slots are of threads that live: more threads than slots may come, one after another and many at a time. */
static void *touch_once(void *arg)
{
	CHECK(right(shared.at[0], (unsigned)(uintptr_t)arg % PAGES));
	return NULL;
}

static void threads_come_and_go(void)
{
	open_shared(VMF_IN_CONTEXT, 0);
	for (uintptr_t i = 0; i < 1500; i++) {
		pthread_t t;

		CHECK_ERR(vmf_revoke(shared.object, i, 1), 0);
		CHECK_EQ(pthread_create(&t, NULL, touch_once, (void *)i), 0);
		pthread_join(t, NULL);
	}
	CHECK_EQ(rig_stats(&shared.r).retries[VMF_WHY_RESOURCE], 0);
	close_shared();
}

/* A thread per page waits in the kernel, all at once, for a backing that is slow; servers are not blocked by them. */
static void many_parked(void)
{
	pthread_t t[64];
	struct rig r;

	shared.go = true;
	rig_open_threads(&r, VMF_THREADED, 1);
	shared.r = r;
	testback_open(&shared.back, r.port, PAGES * PAGE, TESTBACK_HELD_BACK);
	shared.object = testback_object(&shared.back, NULL);
	shared.at[0] = rig_map(&shared.r, shared.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	shared.at[1] = rig_map(&shared.r, shared.object, 0, PAGES, VMF_R | VMF_W);
	for (uintptr_t i = 0; i < 64; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, touch_once, (void *)(i * 16)), 0);
	testback_wait_queued(&shared.back, 64);
	testback_release(&shared.back, 100000);
	for (unsigned i = 0; i < 64; i++)
		pthread_join(t[i], NULL);
	close_shared();
}

static const struct vmtest tests[] = {
	VMTEST(random_faults), VMTEST(evicted), VMTEST(written_while_synced), VMTEST(threads_come_and_go),
	VMTEST(many_parked),
};
VMTEST_MAIN(tests, 25)
