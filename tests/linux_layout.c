/* SPDX-License-Identifier: MIT
 *
 * What the application does to windows behind our back: munmap, mremap, madvise, fork.
 */
#include "linuxrig.h"
#include "testback.h"
#include "ports/linux/local.h"

#include <sched.h>

#define PAGES 64u

struct file { struct testback back; struct vmf_object *object; char *at; };

static void file_open_at(struct rig *r, struct file *f, unsigned flags, char *at)
{
	testback_open(&f->back, r->port, PAGES * PAGE, TESTBACK_THREAD);
	f->object = testback_object(&f->back, NULL);
	f->at = rig_map_as(r, f->object, (struct vmf_map){ .flags = flags | VMF_FIXED, .va = (vmf_va)at, .pages = PAGES,
							    .prot = VMF_R | VMF_W });
}

/* Far from where the kernel puts things by itself: what is unmapped here must not be somebody else's soon. */
#define FAR ((char *)0x200000000000)

static void file_open(struct rig *r, struct file *f, unsigned flags)
{
	static size_t n;

	file_open_at(r, f, flags, FAR + (++n << 24));
}

static void file_close(struct rig *r, struct file *f)
{
	rig_unmap(r, f->at, PAGES);
	vmf_object_put(f->object);
	RIG_BACKING_CLOSE(&f->back);
}

static bool right(struct file *f, const char *p, unsigned page)
{
	char c = *(const volatile char *)(p + 3);

	return c == (char)testback_byte(&f->back, page * PAGE + 3);
}

static const unsigned kinds[] = { VMF_SHARED, 0 };

/* The core is told a little after the application goes on. */
static bool has_area(struct rig *r, const char *at)
{
	struct vmf_area *a = vmf_area_find(r->space, (vmf_va)at);

	vmf_area_put(a);
	return a;
}

/* The areas go, their addresses are free again, the rest stays. */
static void unmapped(void)
{
	struct rig r;
	char c;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	rig_catching();
	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			struct file f;
			struct vmf_map m = { .size = sizeof(m), .pages = 8, .prot = VMF_R };
			vmf_va at;

			file_open(&r, &f, kinds[k]);
			f.at[9 * PAGE] = 'w';
			CHECK_EQ(munmap(f.at + 8 * PAGE, 8 * PAGE), 0);
			CHECK_EQ(rig_load(f.at + 8 * PAGE, &c), SIGSEGV);
			CHECK(right(&f, f.at + 7 * PAGE, 7));
			CHECK(right(&f, f.at + 16 * PAGE, 16));
			CHECK_SOON(!has_area(&r, f.at + 8 * PAGE));
			m.va = (vmf_va)f.at + 8 * PAGE;
			m.off = 20;
			m.flags = kinds[k] | VMF_FIXED;
			CHECK_ERR(vmf_map(r.space, f.object, &m, &at), 0);
			CHECK(right(&f, f.at + 8 * PAGE, 20));
			CHECK(right(&f, f.at + 17 * PAGE, 17));
			file_close(&r, &f);
		}
	}
}

static void moved(void)
{
	struct rig r;
	char c;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	rig_catching();
	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			struct file f;
			char *room, *now;

			file_open(&r, &f, kinds[k]);
			f.at[9 * PAGE] = 'w';
			CHECK(right(&f, f.at + 10 * PAGE, 10));
			room = FAR;
			now = mremap(f.at + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
			CHECK(now == room);
			CHECK_EQ(now[PAGE], 'w');
			for (unsigned i = 8; i < 16; i++)
				CHECK(right(&f, now + (i - 8) * PAGE, i));
			CHECK_EQ(rig_load(f.at + 8 * PAGE, &c), SIGSEGV);
			CHECK(right(&f, f.at + 7 * PAGE, 7));
			CHECK(right(&f, f.at + 16 * PAGE, 16));
			CHECK_SOON(!has_area(&r, f.at + 8 * PAGE));
			if (kinds[k] == VMF_SHARED) {
				CHECK_ERR(vmf_revoke(f.object, 8, 8), 0); /* reaches it where it is now */
				CHECK(right(&f, now + 2 * PAGE, 10));
				now[PAGE] = 'x';
				CHECK_ERR(vmf_sync(f.object, 8, 8, NULL), 0);
				CHECK_EQ(f.back.page[9][0], 'x');
			}
			rig_unmap(&r, now, 8);
			file_close(&r, &f);
		}
	}
}

/* The table of windows knows first, then the core.  A touch between the two looks there in vain, and by the time that
 * it asks whether something is under way, nothing is.
 * 1: the core cannot be told, since somebody is asked whether his area may be cut; 2: he answers */
static atomic_uint untold;

static int untold_split(struct vmf_area *a, vmf_va va)
{
	(void)a, (void)va;
	untold = 1;
	while (untold == 1)
		sched_yield();
	return -VMF_EBUSY;
}

static void untold_trace(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r,
			 uint32_t tries)
{
	struct vmf__window w;

	(void)self, (void)space, (void)access, (void)tries;
	if (r.code != VMF_SIGSEGV || untold != 1 || !vmf__window_find(va, &w))
		return;
	untold = 2;
	while (w.local->changing)
		sched_yield();
}

static void *untold_holder(void *area)
{
	const struct vmf_area *a = area;

	CHECK_ERR(vmf_protect(vmf_area_space(a), vmf_area_va(a), 1, VMF_R), -VMF_EBUSY);
	return NULL;
}

/* Not the thread that moves it: that waits in the kernel until all it did has been read. */
static void *untold_toucher(void *file)
{
	struct vmf__window w;

	CHECK_SOON(vmf__window_find((vmf_va)FAR, &w));
	CHECK(right(file, FAR + 3 * PAGE, 11));
	CHECK_EQ(untold, 2);
	return NULL;
}

static void touched_before_it_is_told(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .split = untold_split };
	struct vmf_linux_config config = { .size = sizeof(config), .trace = untold_trace };
	struct vmf_linux_space in_context = { .size = sizeof(in_context), .mode = VMF_IN_CONTEXT };
	struct rig r = { .mode = VMF_IN_CONTEXT };

	if (rig_lacks(VMF_IN_CONTEXT, RIG_TRAPS))
		return;
	for (unsigned k = 0; k < 2; k++) {
		struct vmf_object *held;
		struct vmf_area *a;
		pthread_t t[2];
		struct file f;
		char *at;

		CHECK_ERR(vmf_linux_open(&r.port, &config), 0);
		CHECK_ERR(vmf_linux_space(r.port, &r.space, &in_context), 0);
		file_open(&r, &f, kinds[k]);
		CHECK_ERR(vmf_object_create(r.port, &held, &ops, NULL, 4), 0);
		at = rig_map(&r, held, VMF_SHARED, 4, VMF_R | VMF_W);
		a = vmf_area_find(r.space, (vmf_va)at);
		untold = 0;
		CHECK_EQ(pthread_create(&t[0], NULL, untold_holder, a), 0);
		CHECK_SOON(untold == 1);
		CHECK_EQ(pthread_create(&t[1], NULL, untold_toucher, &f), 0);
		CHECK(mremap(f.at + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, FAR) == FAR);
		pthread_join(t[0], NULL);
		pthread_join(t[1], NULL);
		vmf_area_put(a);
		rig_unmap(&r, at, 4);
		vmf_object_put(held);
		rig_unmap(&r, FAR, 8);
		file_close(&r, &f);
		rig_close(&r);
	}
}

/* The same moment, and a write-back.  What is written at the new place afterwards must not be taken for written. */
static struct file synced;

static void *untold_writer(void *done)
{
	*(volatile char *)(FAR + PAGE + 1) = 'x';
	*(atomic_bool *)done = true;
	return NULL;
}

static void *untold_mover(void *arg)
{
	(void)arg;
	CHECK(mremap(synced.at + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, FAR) == FAR);
	return NULL;
}

static void written_back_before_it_is_told(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .split = untold_split };
	struct vmf_linux_config config = { .size = sizeof(config), .trace = untold_trace };
	struct vmf_linux_space in_context = { .size = sizeof(in_context), .mode = VMF_IN_CONTEXT };
	struct rig r = { .mode = VMF_IN_CONTEXT };
	static atomic_bool done;
	struct vmf_object *held;
	struct vmf__window w;
	struct vmf_area *a;
	pthread_t t[3];
	char *at;

	if (rig_lacks(VMF_IN_CONTEXT, RIG_TRAPS))
		return;
	CHECK_ERR(vmf_linux_open(&r.port, &config), 0);
	CHECK_ERR(vmf_linux_space(r.port, &r.space, &in_context), 0);
	file_open(&r, &synced, VMF_SHARED);
	CHECK_ERR(vmf_object_create(r.port, &held, &ops, NULL, 4), 0);
	at = rig_map(&r, held, VMF_SHARED, 4, VMF_R | VMF_W);
	a = vmf_area_find(r.space, (vmf_va)at);
	synced.at[9 * PAGE] = 'w';
	untold = 0;
	CHECK_EQ(pthread_create(&t[0], NULL, untold_holder, a), 0);
	CHECK_SOON(untold == 1);
	CHECK_EQ(pthread_create(&t[1], NULL, untold_mover, NULL), 0);
	CHECK_SOON(vmf__window_find((vmf_va)FAR, &w));
	CHECK_ERR(vmf_sync(synced.object, 9, 1, NULL), 0);
	CHECK_EQ(synced.back.page[9][0], 'w');
	done = false;
	CHECK_EQ(pthread_create(&t[2], NULL, untold_writer, &done), 0);
	CHECK_SOON(done || untold == 2); /* it faults, as it has to; or it did not */
	untold = 2;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(synced.back.page[9][1], (char)testback_byte(&synced.back, 9 * PAGE + 1));
	CHECK_ERR(vmf_sync(synced.object, 9, 1, NULL), 0);
	CHECK_EQ(synced.back.page[9][1], 'x');
	vmf_area_put(a);
	rig_unmap(&r, at, 4);
	vmf_object_put(held);
	rig_unmap(&r, FAR, 8);
	file_close(&r, &synced);
	rig_close(&r);
}

/* Onto another window, which goes. */
static void moved_onto_another(void)
{
	struct rig r;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			struct file f, g;

			file_open(&r, &f, kinds[k]);
			file_open(&r, &g, kinds[1 - k]);
			CHECK(right(&g, g.at + 21 * PAGE, 21));
			CHECK(mremap(f.at + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     g.at + 20 * PAGE) != MAP_FAILED);
			for (unsigned i = 0; i < PAGES; i++)
				CHECK(i >= 20 && i < 28 ? right(&f, g.at + i * PAGE, i - 12) : right(&g, g.at + i * PAGE, i));
			rig_unmap(&r, g.at, PAGES);
			vmf_object_put(g.object);
			RIG_BACKING_CLOSE(&g.back);
			file_close(&r, &f);
		}
	}
}

/* Before 5.18 and without poison only the page is known of what is nobody's. */
static bool knows_bytes(const struct rig *r)
{
	return !(vmf_linux_lacks(r->space) & VMF_LACKS_POISON) ||
	       vmf__linux_of(r->port)->features & VMF__UF_EXACT_ADDRESS;
}

/* What it makes longer is nobody's: SIGBUS, and neither zeroes nor the image. */
static void made_longer(void)
{
	struct rig r;
	char c;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	rig_catching();
	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			struct file f;
			char *now;

			file_open(&r, &f, kinds[k]);
			now = mremap(f.at, PAGES * PAGE, (PAGES + 4) * PAGE, 0);
			CHECK(now == f.at);
			CHECK(right(&f, f.at + 3 * PAGE, 3));
			CHECK_EQ(rig_load(f.at + (PAGES + 1) * PAGE + 7, &c), SIGBUS);
			CHECK(rig_caught.addr == f.at + (PAGES + 1) * PAGE + 7 ||
			      (!knows_bytes(&r) && rig_caught.addr == f.at + (PAGES + 1) * PAGE));
			CHECK_EQ(munmap(f.at + PAGES * PAGE, 4 * PAGE), 0);
			file_close(&r, &f);
		}
	}
}

/* What was taken away reads zero, and never the image again.  A window on a shared object only forgets. */
static void removed(void)
{
	struct rig r;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			struct file f;

			file_open(&r, &f, kinds[k]);
			f.at[9 * PAGE + 3] = 'w';
			CHECK(right(&f, f.at + 10 * PAGE, 10));
			CHECK_EQ(madvise(f.at + 8 * PAGE, 8 * PAGE, MADV_DONTNEED), 0);
			if (kinds[k] == VMF_SHARED) {
				CHECK_EQ(f.at[9 * PAGE + 3], 'w');
				CHECK(right(&f, f.at + 10 * PAGE, 10));
				CHECK(right(&f, f.at + 11 * PAGE, 11));
			} else {
				for (unsigned i = 8; i < 16; i++)
					CHECK_EQ(f.at[i * PAGE + 3], 0);
				f.at[12 * PAGE + 3] = 'n';
				CHECK_EQ(f.at[12 * PAGE + 3], 'n');
				CHECK_EQ(madvise(f.at + 12 * PAGE, PAGE, MADV_DONTNEED), 0);
				CHECK_EQ(f.at[12 * PAGE + 3], 0);
			}
			CHECK(right(&f, f.at + 16 * PAGE, 16));
			CHECK(right(&f, f.at + 7 * PAGE, 7));
			file_close(&r, &f);
		}
	}
}

/* A removed range stays removed when its window is moved, and cut. */
static void removed_and_moved(void)
{
	struct rig r;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	BOTH_MODES(&r) {
		struct file f;
		char *room, *now;

		file_open(&r, &f, 0);
		CHECK_EQ(madvise(f.at + 8 * PAGE, 4 * PAGE, MADV_DONTNEED), 0);
		room = FAR;
		now = mremap(f.at + 6 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
		CHECK(now == room);
		for (unsigned i = 6; i < 14; i++) {
			if (i >= 8 && i < 12)
				CHECK_EQ(now[(i - 6) * PAGE + 3], 0);
			else
				CHECK(right(&f, now + (i - 6) * PAGE, i));
		}
		rig_unmap(&r, now, 8);
		file_close(&r, &f);
	}
}

static atomic_bool remover_stop;

static void *remover(void *at)
{
	while (!remover_stop)
		CHECK_EQ(madvise(at, PAGE, MADV_DONTNEED), 0);
	return NULL;
}

/* While an event is unread nothing can be entered: faults come through all the same, between one and the next. */
static void removed_all_the_time(void)
{
	struct rig r;

	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	rig_catching();
	BOTH_MODES(&r) {
		struct file f;
		pthread_t t;

		remover_stop = false;
		file_open(&r, &f, 0);
		CHECK_EQ(pthread_create(&t, NULL, remover, f.at), 0);
		for (unsigned i = 1; i < 12; i++)
			CHECK(right(&f, f.at + i * PAGE, i));
		remover_stop = true;
		pthread_join(t, NULL);
		file_close(&r, &f);
	}
}

/* ------------------------------------------------------------------------------------------------- fork */

static struct { char *at; int pipe[2]; } forked;

static void look(void *arg)
{
	char c = 'n';

	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	alarm(10);
	c = *(volatile char *)forked.at;
	(void)!write(forked.pipe[1], &c, 1);
}

static void look_elsewhere(void *arg)
{
	FILE *empty = tmpfile();

	(void)arg;
	signal(SIGALRM, SIG_DFL);
	alarm(10);
	if (mmap(forked.at, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fileno(empty), 0) != forked.at)
		_exit(1);
	(void)*(volatile char *)forked.at;
}

/* A SIGBUS of the child's own, where the parent has a window, is none of the parent's business. */
static void children_of_their_own(void)
{
	struct rig r;

	signal(SIGBUS, SIG_DFL);
	BOTH_MODES(&r) {
		struct file f;
		int status;

		file_open(&r, &f, VMF_SHARED);
		forked.at = f.at + 9 * PAGE;
		status = rig_child(look_elsewhere, NULL);
		CHECK(WIFSIGNALED(status));
		CHECK_EQ(WTERMSIG(status), SIGBUS);
		CHECK_EQ(f.back.reads, 0);
		CHECK_EQ(rig_stats(&r).faults, 0);
		CHECK(right(&f, forked.at, 9));
		file_close(&r, &f);
	}
}

/* A child that has no copy: it dies, and does not see zeroes.  The parent is none the worse. */
static void children(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		for (unsigned k = 0; k < 2; k++) {
			struct file f;
			int status;

			file_open(&r, &f, kinds[k] | VMF_NOFORK);
			CHECK(right(&f, f.at, 0));
			for (unsigned page = 0; page < 2; page++) { /* present, absent */
				forked.at = f.at + page * PAGE;
				CHECK_EQ(pipe(forked.pipe), 0);
				status = rig_child(look, NULL);
				CHECK(WIFSIGNALED(status));
				CHECK_EQ(WTERMSIG(status), SIGSEGV);
				close(forked.pipe[0]);
				close(forked.pipe[1]);
			}
			CHECK_EQ(f.back.reads, 1 + (f.back.reads > 1)); /* readahead aside, nobody asked for page 1 */
			CHECK(right(&f, f.at + PAGE, 1));
			file_close(&r, &f);
		}
	}
}

/* ------------------------------------------------------------------------------------------------- a storm */

static struct { struct rig r; struct file shared, copy; atomic_bool stop; atomic_uint running; } storm;

/* Reads pages that nobody takes away. */
static void *storm_reader(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	atomic_fetch_add(&storm.running, 1);
	while (!storm.stop) {
		unsigned i = 32 + vmtest_random(&seed) % 32;

		CHECK(right(&storm.shared, storm.shared.at + i * PAGE, i));
		CHECK(right(&storm.copy, storm.copy.at + i * PAGE, i));
		if (i % 8 == 0)
			CHECK_ERR(vmf_revoke(storm.shared.object, i, 8), 0);
	}
	return NULL;
}

/* Maps and unmaps; the other half of the windows is the application's to play with. */
static void *storm_mapper(void *arg)
{
	(void)arg;
	atomic_fetch_add(&storm.running, 1);
	while (!storm.stop) {
		struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = 16, .prot = VMF_R };
		vmf_va at;

		CHECK_ERR(vmf_map(storm.r.space, storm.shared.object, &m, &at), 0);
		CHECK(right(&storm.shared, (char *)at + 5 * PAGE, 5));
		CHECK_ERR(vmf_unmap(storm.r.space, at, 16), 0);
	}
	return NULL;
}

static void layout_storm(void)
{
	if (rig_lacks(VMF_THREADED, RIG_TRAPS))
		return;
	rig_catching();
	BOTH_MODES(&storm.r) {
		pthread_t t[3];
		char *room;

		storm.stop = false;
		storm.running = 0;
		file_open(&storm.r, &storm.shared, VMF_SHARED);
		file_open(&storm.r, &storm.copy, 0);
		room = FAR;
		for (uintptr_t i = 0; i < 3; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, i < 2 ? storm_reader : storm_mapper, (void *)i), 0);
		CHECK_SOON(storm.running == 3);
		for (unsigned i = 0; i < 200; i++) {
			char *from = i % 2 ? storm.copy.at : storm.shared.at;
			struct vmf_map m = { .size = sizeof(m), .flags = VMF_FIXED | (i % 2 ? 0 : VMF_SHARED), .va = (vmf_va)from,
					     .pages = 16, .prot = VMF_R | VMF_W };
			struct file *f = i % 2 ? &storm.copy : &storm.shared;
			vmf_va at;

			CHECK(right(f, from + 9 * PAGE, 9));
			CHECK(mremap(from, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
			CHECK(right(f, room + 3 * PAGE, 3));
			CHECK_EQ(munmap(room, 16 * PAGE), 0);
			CHECK_ERR(vmf_map(storm.r.space, f->object, &m, &at), 0);
			CHECK_EQ(madvise(storm.copy.at + 16 * PAGE, 16 * PAGE, MADV_DONTNEED), 0);
			CHECK_EQ(storm.copy.at[20 * PAGE], 0);
		}
		storm.stop = true;
		for (unsigned i = 0; i < 3; i++)
			pthread_join(t[i], NULL);
		rig_unmap(&storm.r, storm.copy.at, PAGES);
		vmf_object_put(storm.copy.object);
		RIG_BACKING_CLOSE(&storm.copy.back);
		file_close(&storm.r, &storm.shared);
	}
}

static const struct vmtest tests[] = {
	VMTEST(unmapped), VMTEST(moved), VMTEST(moved_onto_another), VMTEST(touched_before_it_is_told),
	VMTEST(written_back_before_it_is_told),
	VMTEST(made_longer), VMTEST(removed),
	VMTEST(removed_and_moved), VMTEST(removed_all_the_time), VMTEST(children), VMTEST(children_of_their_own),
	VMTEST(layout_storm),
};
VMTEST_MAIN(tests, 20)
