/* SPDX-License-Identifier: MIT
 *
 * Everything at once for two seconds: two threads store and load, one revokes, reclaims and syncs, one maps, reads,
 * protects, cuts and unmaps.  Each thread knows what its own words have to be; what nobody wrote has to be as the
 * backing has it; and in the end the backing has what was written last.
 */
#include <pthread.h>
#include "rig.h"
#include "testback.h"

#define PAGES 48u
#define WRITERS 2u
#define UNWRITTEN (WRITERS * 8u) /* in each page, from here on */

static struct testback back;
static struct rig r;
static struct vmf_object *object;
static vmf_va area;
static bool stop;

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

struct writer { pthread_t thread; unsigned self; uint64_t word[PAGES], rounds; };

static vmf_va word_at(const struct writer *w, unsigned page)
{
	return area + page * PAGE + w->self * 8;
}

/* 0: it has not written there yet. */
static void check_word(const struct writer *w, unsigned page)
{
	uint64_t word;

	CHECK_OK(vmf_sim_load(r.space, word_at(w, page), &word, 8));
	if (w->word[page])
		CHECK_EQ(word, w->word[page]);
	else
		CHECK(testback_same(&back, page * PAGE + w->self * 8, &word, 8));
}

static void *write_words(void *self)
{
	struct writer *w = self;
	uint64_t seed = w->self + 1;

	for (; !stopped(); __atomic_fetch_add(&w->rounds, 1, __ATOMIC_RELAXED)) {
		unsigned page = vmtest_random(&seed) % PAGES;
		uint64_t word = (uint64_t)w->self << 60 | (uint64_t)page << 32 | (w->rounds + 1);
		uint8_t byte;

		check_word(w, page);
		if (vmtest_random(&seed) % 4 == 0) {
			CHECK_OK(vmf_sim_store(r.space, word_at(w, page), &word, 8));
			w->word[page] = word;
			check_word(w, page);
		}
		CHECK_OK(vmf_sim_load(r.space, area + page * PAGE + UNWRITTEN + 5, &byte, 1));
		CHECK_EQ(byte, testback_byte(&back, page * PAGE + UNWRITTEN + 5));
	}
	return NULL;
}

static void *disturb(void *self)
{
	uint64_t seed = 77;

	(void)self;
	while (!stopped()) {
		unsigned first = vmtest_random(&seed) % PAGES, n = 1 + vmtest_random(&seed) % 16;

		switch (vmtest_random(&seed) % 4) {
		case 0:
			CHECK_ERR(vmf_revoke(object, first, n), 0);
			break;
		case 1:
			CHECK_ERR(vmf_sync(object, first, n, NULL), 0);
			break;
		default:
			vmf_reclaim(object, first, n);
			break;
		}
	}
	return NULL;
}

static void look(vmf_va at, unsigned page)
{
	struct vmf_result result;
	uint8_t byte;

	result = vmf_sim_load(r.space, at, &byte, 1);
	CHECK(result.code == VMF_OK || result.code == VMF_SIGSEGV);
	if (result.code == VMF_OK)
		CHECK_EQ(byte, testback_byte(&back, page * PAGE + UNWRITTEN));
}

static void *remap(void *self)
{
	uint64_t seed = 99;

	(void)self;
	while (!stopped()) {
		unsigned first = vmtest_random(&seed) % (PAGES - 8), prot = vmtest_random(&seed) % 2 ? VMF_R : VMF_R | VMF_W;
		struct vmf_map map = rig_map(&r, 8, prot);
		vmf_va at;

		map.off = first;
		CHECK_ERR(vmf_map(r.space, object, &map, &at), 0);
		for (unsigned i = 0; i < 8; i++)
			look(at + i * PAGE + UNWRITTEN, first + i);
		CHECK_ERR(vmf_protect(r.space, at + 2 * PAGE, 3, vmtest_random(&seed) % 2 ? 0 : VMF_R & prot), 0);
		CHECK_ERR(vmf_unmap(r.space, at + 6 * PAGE, 1), 0);
		for (unsigned i = 0; i < 8; i++)
			look(at + i * PAGE + UNWRITTEN, first + i);
		CHECK_ERR(vmf_unmap(r.space, at, 8), 0);
	}
	return NULL;
}

/* Where writes are shared they have reached the backing. */
static void check_backing(const struct writer *w)
{
	CHECK_ERR(vmf_sync(object, 0, PAGES, NULL), 0);
	for (unsigned i = 0; i < PAGES; i++) {
		check_word(w, i);
		if (w->word[i] && r.store != VMF_BY_COPY)
			CHECK(testback_same(&back, i * PAGE + w->self * 8, &w->word[i], 8));
	}
}

static void storm(const struct vmf_sim_config *config, unsigned ms)
{
	static struct writer w[WRITERS];
	pthread_t other[2];

	rig_open_as(&r, config);
	testback_open(&back, r.port, PAGES * PAGE, TESTBACK_THREAD);
	object = testback_object(&back, &(struct vmf_backed){ .around = 4, .readahead = 8 });
	area = rig_show(&r, object, PAGES, VMF_R | VMF_W);
	stop = false;
	for (unsigned i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .self = i };
		CHECK(!pthread_create(&w[i].thread, NULL, write_words, &w[i]));
	}
	CHECK(!pthread_create(&other[0], NULL, disturb, NULL));
	CHECK(!pthread_create(&other[1], NULL, remap, NULL));
	usleep(ms * 1000);
	for (unsigned i = 0; i < WRITERS; i++) /* nobody starves */
		CHECK_SOON(__atomic_load_n(&w[i].rounds, __ATOMIC_RELAXED) > 10);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(other[i], NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		check_backing(&w[i]);
	CHECK_ERR(vmf_unmap(r.space, area, PAGES), 0);
	vmf_object_put(object);
	testback_close(&back);
	rig_close(&r);
}

static void *reclaim_all(void *self)
{
	(void)self;
	while (!stopped())
		vmf_reclaim(object, 0, 8);
	return NULL;
}

static void *load_all(void *self)
{
	(void)self;
	for (unsigned i = 0; !stopped(); i++) {
		CHECK_EQ(rig_byte(&r, area + i % 8 * PAGE), testback_byte(&back, i % 8 * PAGE));
		vmf_sim_forget(r.space, area + i % 8 * PAGE, 1);
	}
	return NULL;
}

/* Pages that leave while others are about to show them. */
static void leaving(unsigned store)
{
	pthread_t t[4];

	rig_open(&r, store);
	testback_open(&back, r.port, 8 * PAGE, TESTBACK_AT_ONCE);
	object = testback_object(&back, &(struct vmf_backed){ .around = 4 });
	area = rig_show(&r, object, 8, VMF_R);
	stop = false;
	for (unsigned i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, i % 2 ? reclaim_all : load_all, NULL));
	usleep(250000);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_ERR(vmf_unmap(r.space, area, 8), 0);
	vmf_object_put(object);
	testback_close(&back);
	rig_close(&r);
}

static void pages_that_leave(void)
{
	leaving(VMF_BY_ADDRESS);
	leaving(VMF_BY_OFFSET);
}

static struct vmf_sim_config config(unsigned store, bool protect, bool fences)
{
	return (struct vmf_sim_config){
		.size = sizeof(struct vmf_sim_config), .store = (uint8_t)store, .protect = protect, .fences = fences,
		.ram_pages = RAM,
	};
}

static void by_address(void)
{
	const struct vmf_sim_config c = config(VMF_BY_ADDRESS, true, false), fences = config(VMF_BY_ADDRESS, true, true);

	storm(&c, 300);
	storm(&fences, 300);
}

static void by_address_unprotected(void)
{
	const struct vmf_sim_config c = config(VMF_BY_ADDRESS, false, false);

	storm(&c, 300);
}

static void by_offset(void)
{
	const struct vmf_sim_config c = config(VMF_BY_OFFSET, true, false), fences = config(VMF_BY_OFFSET, true, true);

	storm(&c, 300);
	storm(&fences, 300);
}

static void by_offset_unprotected(void)
{
	const struct vmf_sim_config c = config(VMF_BY_OFFSET, false, false);

	storm(&c, 300);
}

static void by_copy(void)
{
	const struct vmf_sim_config c = config(VMF_BY_COPY, true, false);

	storm(&c, 300);
}

static const struct vmtest tests[] = {
	VMTEST(by_address),
	VMTEST(by_address_unprotected),
	VMTEST(by_offset),
	VMTEST(by_offset_unprotected),
	VMTEST(by_copy),
	VMTEST(pages_that_leave),
};
VMTEST_MAIN(tests, 30)
