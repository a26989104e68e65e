/* SPDX-License-Identifier: MIT
 *
 * How events are read decides whether data is right: stale, zap, window, remap, misc.
 */
#include <sched.h>
#include <time.h>
#include "linuxrig.h"
#include "testback.h"

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

/* Two threads that start each round together. */
static struct {
	atomic_uint round, done;
	atomic_bool stop;
	char *at, *to;
	atomic_ulong zeroes, right, signals;
	char want;
	struct testback back;
} duel;

static void *partner(void *run)
{
	void (*act)(unsigned);
	unsigned seen = 0;

	memcpy(&act, &run, sizeof(act));
	for (;;) {
		while (duel.round == seen) {
			if (duel.stop)
				return NULL;
			sched_yield();
		}
		seen++;
		act(seen);
		duel.done = seen;
	}
}

static pthread_t duel_start(void (*act)(unsigned))
{
	pthread_t t;
	void *run;

	memcpy(&run, &act, sizeof(run));
	duel.round = duel.done = 0;
	duel.stop = false;
	CHECK_EQ(pthread_create(&t, NULL, partner, run), 0);
	return t;
}

static void duel_end(pthread_t t)
{
	duel.stop = true;
	pthread_join(t, NULL);
}

/* ----------------------------------------------------------------------------------------------- stale */

static void touch_page(unsigned i) { (void)*(volatile char *)(duel.at + (size_t)i * PAGE); }

/* One thread faults a page in while another takes it away.  When madvise() has returned, the page reads zero for
 * ever: no copy that was on its way may land behind it. */
static void stale(void)
{
	const unsigned rounds = 20000;
	struct rig r;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	BOTH_MODES(&r) {
		struct vmf_object *o;
		time_t end;
		pthread_t t;

		testback_open(&duel.back, r.port, (uint64_t)(rounds + 1) * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&duel.back, NULL);
		duel.at = rig_map(&r, o, 0, rounds + 1, VMF_R | VMF_W);
		end = time(NULL) + 3;
		t = duel_start(touch_page);
		for (unsigned i = 1; i <= rounds && time(NULL) < end; i++) {
			char *p = duel.at + (size_t)i * PAGE;

			duel.round = i;
			for (unsigned k = i % 64 * 8; k; k--)
				(void)*(volatile unsigned *)&k;
			CHECK_EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
			CHECK_EQ(*(volatile char *)p, 0);
			while (duel.done != i)
				sched_yield();
			CHECK_EQ(*(volatile char *)p, 0);
		}
		duel_end(t);
		rig_unmap(&r, duel.at, rounds + 1);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&duel.back);
	}
}

/* ------------------------------------------------------------------------------------------------- zap */

static struct { struct vmf_object *object; char *at; atomic_int err; } zapped;

static enum vmf_code revokes_others(const struct vmf_req *req, struct vmf_ans *ans)
{
	char *bytes;

	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	bytes = vmf_frame_bytes(req->port, ans->frames[0]);
	bytes[0]++;
	if (req->off == 1)
		zapped.err = vmf_revoke(req->object, 0, 1);
	return VMF_OK;
}

/* Taking our own entries away must not wait for a reader of events, who may be the very thread that does it. */
static void zap(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = revokes_others };
	struct rig r;

	BOTH_MODES(&r) {
		CHECK_ERR(vmf_object_create(r.port, &zapped.object, &ops, NULL, 4), 0);
		zapped.at = rig_map(&r, zapped.object, VMF_SHARED, 4, VMF_R | VMF_W);
		zapped.err = 1;
		CHECK_EQ(zapped.at[0], 1);
		CHECK_EQ(zapped.at[PAGE], 1);
		CHECK_EQ(zapped.err, 0);
		CHECK_EQ(zapped.at[0], 2); /* asked again */
		vmf_object_put(zapped.object);
	}
}

/* ---------------------------------------------------------------------------------------------- window */

static void *hammer(void *arg)
{
	(void)arg;
	while (!duel.stop) {
		char c;

		if (rig_load(duel.at, &c))
			duel.signals++;
		else if (c == duel.want)
			duel.right++;
		else
			duel.zeroes++;
	}
	return NULL;
}

/* A thread reads an address for as long as a window comes and goes there: signals, or what the object holds. */
static void window(void)
{
	char *place = (char *)0x200000000000;
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		const unsigned kinds[] = { VMF_SHARED, 0 };
		struct vmf_object *o;
		time_t end = time(NULL) + 3;
		pthread_t t;

		testback_open(&duel.back, r.port, 4 * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&duel.back, NULL);
		duel.at = place;
		duel.want = (char)testback_byte(&duel.back, 0);
		duel.stop = false;
		duel.zeroes = duel.right = duel.signals = 0;
		CHECK_EQ(pthread_create(&t, NULL, hammer, NULL), 0);
		for (unsigned i = 0; i < 20000 && (duel.right < 100 || time(NULL) < end); i++) {
			(void)rig_map_as(&r, o, (struct vmf_map){ .flags = kinds[i % 2] | VMF_FIXED, .va = (vmf_va)place,
								  .pages = 4, .prot = VMF_R });
			if (i % 16 == 0)
				usleep(20);
			rig_unmap(&r, place, 4);
		}
		duel.stop = true;
		pthread_join(t, NULL);
		CHECK_EQ(duel.zeroes, 0);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&duel.back);
	}
}

/* ----------------------------------------------------------------------------------------------- remap */

/* Until it is there: SIGSEGV; and from then on the object's bytes, also while the move is not known yet. */
static void read_there(unsigned i)
{
	char c = 0;
	int sig;

	do
		sig = rig_load(duel.to + (i % 2) * PAGE, &c);
	while (sig == SIGSEGV);
	CHECK_EQ(sig, 0);
	CHECK_EQ(c, (char)testback_byte(&duel.back, (i % 2) * PAGE));
}

static void remap(void)
{
	const unsigned kinds[] = { VMF_SHARED, 0 };
	struct rig r;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_object *o;
		pthread_t t;

		testback_open(&duel.back, r.port, 2 * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&duel.back, NULL);
		duel.to = (char *)0x200000000000;
		t = duel_start(read_there);
		for (unsigned i = 1; i <= 400; i++) {
			char *from = rig_map(&r, o, kinds[i % 2], 2, VMF_R);

			duel.round = i;
			CHECK(mremap(from, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, duel.to) == duel.to);
			while (duel.done != i)
				sched_yield();
			rig_unmap(&r, duel.to, 2);
		}
		duel_end(t);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&duel.back);
	}
}

/* ------------------------------------------------------------------------------------------------ misc */

/* ZEROPAGE says EEXIST of poison, too: there must be a page afterwards, and it must be zero. */
static void zero_over_poison(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		struct testback back;
		struct vmf_object *o;
		char *a;

		testback_open(&back, r.port, 8 * PAGE, TESTBACK_THREAD);
		back.hole = 4;
		back.hole_pages = 4;
		back.extent_err = 71;
		o = testback_object(&back, &(struct vmf_backed){ .size = sizeof(struct vmf_backed), .flags = VMF_STREAM });
		a = rig_map(&r, o, 0, 8, VMF_R | VMF_W);
		CHECK_EQ(rig_load(a + 5 * PAGE, &c), SIGBUS);
		back.extent_err = 0;
		CHECK_EQ(rig_load(a + 5 * PAGE, &c), 0);
		CHECK_EQ(c, 0);
		CHECK_EQ(rig_load(a + 3 * PAGE, &c), 0);
		CHECK_EQ(c, (char)testback_byte(&back, 3 * PAGE));
		rig_unmap(&r, a, 8);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
}

/* Closing a userfaultfd makes absent pages read zero: while there is a window, a space that is closed takes it
 * away. */
static void closed_with_windows(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_linux_space config = { .size = sizeof(config), .mode = r.mode };
		struct vmf_space *space = r.space;
		struct vmf_object *o;
		char *a, *b;

		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, 8), 0);
		a = rig_map(&r, o, VMF_SHARED, 8, VMF_R | VMF_W);
		b = rig_map(&r, o, 0, 8, VMF_R | VMF_W);
		a[0] = b[0] = 1;
		vmf_linux_space_close(space);
		CHECK_EQ(rig_load(a + PAGE, &c), SIGSEGV);
		CHECK_EQ(rig_load(b + PAGE, &c), SIGSEGV);
		CHECK_ERR(vmf_linux_space(r.port, &r.space, &config), 0);
		vmf_object_put(o);
	}
}

/* Dirt survives a zap and being shown again. */
static void dirt_survives(void)
{
	struct rig r;

	if (rig_lacks(VMF_THREADED, VMF_LACKS_WP))
		return;
	BOTH_MODES(&r) {
		struct testback back;
		struct vmf_object *o;
		char *a;

		testback_open(&back, r.port, 16 * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&back, NULL);
		a = rig_map(&r, o, VMF_SHARED, 16, VMF_R | VMF_W);
		a[0] = a[PAGE] = 'd';
		for (unsigned i = 0; i < 3; i++) {
			CHECK_ERR(vmf_revoke(o, 0, 16), 0);
			CHECK_EQ(madvise(a, 16 * PAGE, MADV_DONTNEED), 0);
			CHECK_EQ(a[0], 'd');
			CHECK_EQ(vmf_page_state(o, 0), VMF_DIRTY);
			CHECK_EQ(vmf_reclaim(o, 0, 2), 0);
		}
		CHECK_EQ(a[2 * PAGE], (char)testback_byte(&back, 2 * PAGE));
		CHECK_ERR(vmf_sync(o, 0, 16, NULL), 0);
		CHECK_EQ(back.pages_written, 2);
		CHECK_EQ(back.page[1][0], 'd');
		rig_unmap(&r, a, 16);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
}

static const struct vmtest tests[] = {
	VMTEST(stale), VMTEST(zap), VMTEST(window), VMTEST(remap), VMTEST(zero_over_poison), VMTEST(closed_with_windows),
	VMTEST(dirt_survives),
};
VMTEST_MAIN(tests, 25)
