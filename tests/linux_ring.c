/* SPDX-License-Identifier: MIT
 *
 * The driver ring in a process.  A window by offset shows frame i at page i and no other, so to replace a page is to
 * take it out, to put other bytes into its frame, and to put it back.
 */
#include "drivers/ring.h"
#include "linuxrig.h"

#define RING 17u
#define READERS 3u
#define GARBAGE 0xdead0000u

static struct vmf_ring ring;
static struct vmf_frame *frames[RING];

/* The bytes of a frame: any round of this page, or garbage. */
static void fill(struct rig *r, struct vmf_frame *frame, uint32_t with)
{
	uint32_t *bytes = vmf_frame_bytes(r->port, frame);

	for (unsigned i = 0; i < PAGE / sizeof(*bytes); i += 16)
		__atomic_store_n(&bytes[i], with, __ATOMIC_RELAXED);
}

static uint32_t stamp(unsigned page, unsigned round) { return round << 8 | page; }

static uint32_t word(const char *a, unsigned page, unsigned i)
{
	return ((const volatile uint32_t *)(const void *)(a + page * PAGE))[i];
}

static char *ring_open(struct rig *r)
{
	CHECK_ERR(vmf_ring_open(&ring, r->port, frames, RING), 0);
	for (unsigned i = 0; i < RING; i++)
		fill(r, frames[i], stamp(i, 1));
	return rig_map(r, ring.object, VMF_SHARED, RING, VMF_R | VMF_W);
}

static void ring_close(struct rig *r, char *at)
{
	rig_unmap(r, at, RING);
	vmf_ring_close(&ring);
}

static void a_ring_is_faulted_in_any_order(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		char *at = ring_open(&r);

		for (unsigned i = 0; i < RING; i++)
			CHECK_EQ(word(at, i * 7 % RING, 16), stamp(i * 7 % RING, 1));
		CHECK_SOON(rig_stats(&r).faults == RING); /* threaded, the last is counted when we have gone on */
		ring_close(&r, at);
	}
}

static void another_frame_cannot_be_shown(void)
{
	struct vmf_frame *foreign;
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		char *at = ring_open(&r);

		CHECK_EQ(word(at, 3, 0), stamp(3, 1));
		CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, true, &foreign), 0);
		CHECK_ERR(vmf_ring_replace(&ring, 3, foreign), 0);
		CHECK_EQ(rig_load(at + 3 * PAGE, &c), SIGBUS);
		CHECK_RESULT(vmf_fault_why(at + 3 * PAGE), VMF_SIGBUS, VMF_WHY_POLICY);
		CHECK_EQ(word(at, 4, 0), stamp(4, 1));
		CHECK_ERR(vmf_ring_replace(&ring, 3, vmf_frame_at(ring.object, 3)), 0);
		CHECK_EQ(word(at, 3, 0), stamp(3, 1));
		ring_close(&r, at);
	}
}

/* What is exchanged is the bytes: once it is out, no area shows the page. */
static void other_bytes_are_put_in(void)
{
	struct vmf_frame *frame;
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		char *at = ring_open(&r), *other = rig_map(&r, ring.object, VMF_SHARED, RING, VMF_R);

		CHECK_EQ(word(at, 5, 0), stamp(5, 1));
		CHECK_EQ(word(other, 5, 0), stamp(5, 1));
		CHECK_ERR(vmf_ring_replace(&ring, 5, NULL), 0);
		CHECK_EQ(rig_load(at + 5 * PAGE, &c), SIGBUS);
		CHECK_EQ(rig_load(other + 5 * PAGE, &c), SIGBUS);
		CHECK_RESULT(vmf_fault_why(other + 5 * PAGE), VMF_SIGBUS, VMF_WHY_POLICY);
		frame = vmf_frame_at(ring.object, 5);
		fill(&r, frame, stamp(5, 2));
		CHECK_ERR(vmf_ring_replace(&ring, 5, frame), 0);
		CHECK_EQ(word(at, 5, 0), stamp(5, 2));
		CHECK_EQ(word(other, 5, 0), stamp(5, 2));
		rig_unmap(&r, other, RING);
		ring_close(&r, at);
	}
}

static struct { char *at; atomic_bool stop; atomic_uint whole, out; } using;

static int load(unsigned page, unsigned i, uint32_t *got)
{
	sigjmp_buf back;

	if (sigsetjmp(back, 1)) {
		rig_back = NULL;
		return rig_caught.sig;
	}
	rig_back = &back;
	*got = word(using.at, page, i);
	rig_back = NULL;
	return 0;
}

/* What it finds is of that page, or the page is out: never what the driver wrote while it was. */
static void *reads(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (!using.stop) {
		unsigned page = vmtest_random(&seed) % RING, i = vmtest_random(&seed) % 64 * 16;
		uint32_t got = GARBAGE;
		int sig = load(page, i, &got);

		CHECK(sig == 0 || sig == SIGBUS);
		if (!sig)
			CHECK_EQ(got & 0xff0000ff, page);
		*(sig ? &using.out : &using.whole) += 1;
	}
	return NULL;
}

static void replace(struct rig *r, unsigned page, unsigned round)
{
	struct vmf_frame *frame = vmf_frame_at(ring.object, page);

	CHECK_ERR(vmf_ring_replace(&ring, page, NULL), 0);
	fill(r, frame, GARBAGE);
	if (round % 16 == 0) {
		unsigned seen = using.whole + using.out;

		CHECK_SOON(using.whole + using.out - seen >= 4 * RING);
	}
	fill(r, frame, stamp(page, round));
	CHECK_ERR(vmf_ring_replace(&ring, page, frame), 0);
}

static void a_ring_is_replaced_while_it_is_used(void)
{
	pthread_t t[READERS];
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		using.at = ring_open(&r);
		using.stop = false;
		using.whole = using.out = 0;
		for (uintptr_t i = 0; i < READERS; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, reads, (void *)(i + 1)), 0);
		for (unsigned i = 0; i < 1000 || using.whole < 1000; i++)
			replace(&r, i * 5 % RING, i % 0xffff);
		using.stop = true;
		for (unsigned i = 0; i < READERS; i++)
			pthread_join(t[i], NULL);
		printf("# %s: %u reads, %u of pages that were out\n", vmtest_with, using.whole, using.out);
		ring_close(&r, using.at);
	}
}

static const struct vmtest tests[] = {
	VMTEST(a_ring_is_faulted_in_any_order),
	VMTEST(another_frame_cannot_be_shown),
	VMTEST(other_bytes_are_put_in),
	VMTEST(a_ring_is_replaced_while_it_is_used),
};
VMTEST_MAIN(tests, 20)
