/* SPDX-License-Identifier: MIT
 *
 * Windows of 2 MiB pages in this process: reserved when they are mapped, filled whole, mapped anew where a driver falls
 * back, cut at blocks only.
 */
#include "drivers/huge.h"
#include "hugepages.h"
#include "linuxrig.h"
#include "testback.h"
#include <sched.h>
#include <sys/uio.h>

#define HUGE ((size_t)2 << 20)
#define BLOCK 512u
#define ORDER 9u
#define POOL 6

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static struct vmf_map huge_map(uint64_t blocks)
{
	return (struct vmf_map){ .size = sizeof(struct vmf_map), .pages = blocks * BLOCK, .prot = VMF_R | VMF_W,
				 .order = ORDER };
}

static struct vmf_object *zeroes(struct rig *r, uint64_t blocks)
{
	struct vmf_object *o;

	CHECK_ERR(vmf_object_create(r->port, &o, &zero_ops, NULL, blocks * BLOCK), 0);
	return o;
}

static char *map_zeroes(struct rig *r, uint64_t blocks)
{
	struct vmf_object *o = zeroes(r, blocks);
	char *at = rig_map_as(r, o, huge_map(blocks));

	vmf_object_put(o);
	return at;
}

static bool all(const char *p, size_t n, char want)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != want)
			return false;
	return true;
}

/* Of the mapping that holds the address: the kernel's own word, as "KernelPageSize: %ld". */
static long kib_of(const char *at, const char *what)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long lo, hi;
	bool here = false;
	char line[256];
	long kib = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &lo, &hi) == 2)
			here = (uintptr_t)at >= lo && (uintptr_t)at < hi;
		if (here && sscanf(line, what, &kib) == 1)
			break;
	}
	fclose(f);
	return kib;
}

static long page_kib(const char *at) { return kib_of(at, "KernelPageSize: %ld"); }

static void zero_fill(void)
{
	struct vmf_window w = VMF_INIT(struct vmf_window);
	struct vmf_area *a;
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		p = map_zeroes(&r, 3);
		CHECK_EQ((uintptr_t)p % HUGE, 0);
		a = vmf_area_find(r.space, (vmf_va)p);
		vmf_area_window(a, &w);
		vmf_area_put(a);
		CHECK(w.store == VMF_BY_COPY && w.order == ORDER && w.orders == (1 | 1u << ORDER));
		for (size_t i = 0; i < 3; i++) {
			char *block = p + i * HUGE;
			size_t at = 5 * PAGE + i;

			block[at] = 'x';
			CHECK(all(block, at, 0) && all(block + at + 1, HUGE - at - 1, 0));
		}
		CHECK_SOON(rig_stats(&r).faults == 3);
		CHECK_EQ(rig_stats(&r).entered, 3 * BLOCK);
		CHECK_EQ(rig_stats(&r).zeroed, 3 * BLOCK);
		CHECK_EQ(page_kib(p), 2048);
		rig_unmap(&r, p, 3 * BLOCK);
	}
}

/* Whoever takes what is left of the pool takes nothing that was promised; and who cannot be promised all gets none. */
static void reserved_when_mapped(void)
{
	long left = hugepages_free() - hugepages_reserved();
	struct vmf_object *o;
	struct vmf_map map;
	void *other;
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		o = zeroes(&r, (uint64_t)left + 1);
		map = huge_map((uint64_t)left + 1);
		CHECK_ERR(vmf_map(r.space, o, &map, NULL), -VMF_ENOMEM);
		CHECK_EQ(hugepages_free() - hugepages_reserved(), left);
		p = rig_map_as(&r, o, huge_map((uint64_t)left));
		CHECK_EQ(hugepages_free() - hugepages_reserved(), 0);
		other = mmap(NULL, HUGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		CHECK(other == MAP_FAILED && errno == ENOMEM);
		for (long i = 0; i < left; i++)
			p[(size_t)i * HUGE] = 1;
		rig_unmap(&r, p, (uint64_t)left * BLOCK);
		CHECK_EQ(hugepages_free() - hugepages_reserved(), left);
		vmf_object_put(o);
	}
}

static void populated(void)
{
	struct vmf_map map = huge_map(2);
	struct vmf_object *o;
	struct rig r;
	uint64_t faults;
	char *p;

	BOTH_MODES(&r) {
		map.action = VMF_POPULATE;
		o = zeroes(&r, 2);
		p = rig_map_as(&r, o, map);
		faults = rig_stats(&r).faults;
		CHECK_EQ(faults, 2);
		CHECK(all(p, 2 * HUGE, 0));
		CHECK_EQ(rig_stats(&r).faults, faults);
		rig_unmap(&r, p, 2 * BLOCK);
		vmf_object_put(o);
	}
}

/* The same driver as on bare metal; its frames are copied, and go back. */
static void a_driver(void)
{
	struct vmf_huge_block block[2] = { { 0 } };
	struct vmf_frame *page[2 * BLOCK] = { 0 };
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		struct vmf_huge h = { .pages = 2 * BLOCK, .order = ORDER, .reserve = true, .block = block, .page = page };

		CHECK_ERR(vmf_huge_open(&h, r.port), 0);
		p = rig_map_as(&r, h.object, huge_map(2));
		CHECK(all(p, 2 * HUGE, 0));
		p[HUGE] = 7;
		CHECK_EQ(rig_stats(&r).fallbacks, 0);
		CHECK_SOON(rig_stats(&r).faults == 2);
		CHECK_EQ(p[HUGE], 7);
		rig_unmap(&r, p, 2 * BLOCK);
		vmf_huge_close(&h);
	}
}

static void a_stream(void)
{
	struct vmf_backed like = { .size = sizeof(like), .flags = VMF_STREAM | VMF_RDONLY };
	struct testback b;
	struct vmf_object *o;
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		testback_open(&b, r.port, 3 * HUGE, m_ == VMF_THREADED ? TESTBACK_THREAD : TESTBACK_AT_ONCE);
		b.hole = BLOCK;
		b.hole_pages = BLOCK;
		o = testback_object(&b, &like);
		p = rig_map_as(&r, o, huge_map(3));
		for (size_t i = 3; i--;) {
			(void)*(volatile char *)(p + i * HUGE + 7 * PAGE); /* testback_same() holds what the read needs */
			CHECK(i == 1 ? all(p + HUGE, HUGE, 0) : testback_same(&b, i * HUGE, p + i * HUGE, HUGE));
		}
		CHECK_EQ(b.reads, 2);
		rig_unmap(&r, p, 3 * BLOCK);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&b);
	}
}

/* --------------------------------------------------------------------------------------------------- fallback */

static struct {
	_Atomic int small; /* the block that comes in base pages; -1: none */
	_Atomic unsigned asked[10]; /* by order */
	_Atomic int fail, bolt; /* the block that fails; -1 */
} told;

/* Every page is full of its number. */
static char byte_of(uint64_t page) { return (char)(page % 101 + 1); }

static enum vmf_code told_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	vmf_pgoff first = req->off >> req->order << req->order;
	char *bytes;

	told.asked[req->order]++;
	if (atomic_load(&told.fail) == (int)(req->off / BLOCK)) {
		ans->why = VMF_WHY_IOERR;
		ans->err = EIO;
		return VMF_SIGBUS;
	}
	if (req->order && atomic_load(&told.small) == (int)(req->off / BLOCK))
		return VMF_FALLBACK;
	if (vmf_frame_alloc(req->port, req->order, req->node, false, &ans->frames[0])) {
		ans->why = VMF_WHY_RESOURCE;
		return VMF_RETRY;
	}
	bytes = vmf_frame_bytes(req->port, ans->frames[0]);
	for (size_t i = 0; i < (size_t)1 << req->order; i++)
		memset(bytes + i * PAGE, byte_of(first + i), PAGE);
	ans->n = 1;
	ans->bolt = (uint8_t)told.bolt;
	return VMF_OK;
}
static const struct vmf_ops told_ops = { .size = sizeof(told_ops), .nopage = told_nopage };

static char *map_told(struct rig *r, uint64_t blocks)
{
	struct vmf_object *o;
	char *at;

	memset(&told, 0, sizeof(told));
	told.small = told.fail = -1;
	CHECK_ERR(vmf_object_create(r->port, &o, &told_ops, NULL, blocks * BLOCK), 0);
	at = rig_map_as(r, o, huge_map(blocks));
	vmf_object_put(o);
	return at;
}

static void check_told(const char *p, uint64_t first, uint64_t pages)
{
	for (uint64_t i = first; i < first + pages; i++)
		CHECK(all(p + i * PAGE, PAGE, byte_of(i)));
}

static void mapped_anew_in_base_pages(void)
{
	struct rig r;
	long taken;
	char *p;

	BOTH_MODES(&r) {
		p = map_told(&r, 3);
		check_told(p, 0, 5);
		taken = hugepages_reserved();
		told.small = 1;
		check_told(p, BLOCK + 7, 1);
		CHECK_EQ(told.asked[0], 1);
		CHECK_EQ(told.asked[ORDER], 2);
		CHECK_EQ(page_kib(p + HUGE), 4);
		CHECK_EQ(page_kib(p), 2048);
		CHECK_EQ(page_kib(p + 2 * HUGE), 2048);
		CHECK_EQ(hugepages_reserved(), taken - 1);
		p[HUGE + 7 * PAGE] = 99;
		check_told(p, BLOCK + 8, BLOCK - 8);
		check_told(p, 2 * BLOCK, BLOCK);
		CHECK_SOON(rig_stats(&r).fallbacks == BLOCK - 7);
		CHECK_EQ(p[HUGE + 7 * PAGE], 99);
		/* There is a frame again: what is absent comes, what is there stays. */
		told.small = -1;
		check_told(p, BLOCK, 7);
		CHECK_EQ(p[HUGE + 7 * PAGE], 99);
		check_told(p, BLOCK + 8, BLOCK - 8);
		rig_unmap(&r, p, 3 * BLOCK);
	}
}

#define THREADS 4u
static struct { char *at; pthread_barrier_t gate; unsigned me[THREADS]; } crowd;

static void *crowd_touch(void *self)
{
	unsigned me = *(unsigned *)self;

	for (unsigned b = 0; b < POOL; b++) {
		pthread_barrier_wait(&crowd.gate);
		if (me == b % THREADS)
			told.small = (int)b;
		for (unsigned i = 0; i < 8; i++) {
			uint64_t page = b * BLOCK + (me + i * THREADS) * 13 % BLOCK;

			CHECK_EQ(*(volatile char *)(crowd.at + page * PAGE), byte_of(page));
		}
		pthread_barrier_wait(&crowd.gate);
	}
	return NULL;
}

/* Some are answered with 2 MiB while the block is mapped anew for another, and all touch it meanwhile. */
static void anew_while_many_touch_it(void)
{
	pthread_t thread[THREADS];
	struct rig r;

	for (unsigned round = 0; round < 15; round++)
		BOTH_MODES(&r) {
			crowd.at = map_told(&r, POOL);
			CHECK(!pthread_barrier_init(&crowd.gate, NULL, THREADS));
			for (unsigned i = 0; i < THREADS; i++) {
				crowd.me[i] = i;
				CHECK(!pthread_create(&thread[i], NULL, crowd_touch, &crowd.me[i]));
			}
			for (unsigned i = 0; i < THREADS; i++)
				CHECK(!pthread_join(thread[i], NULL));
			pthread_barrier_destroy(&crowd.gate);
			check_told(crowd.at, 0, POOL * BLOCK);
			CHECK_EQ(rig_stats(&r).failed, 0);
			rig_unmap(&r, crowd.at, POOL * BLOCK);
		}
}

static struct { char *at; pthread_t slow; _Atomic int go; } race;

/* One is told to take base pages, and is slow; meanwhile another gets the whole, and writes. */
static enum vmf_code race_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	if (!pthread_equal(pthread_self(), race.slow))
		return told_nopage(req, ans);
	if (req->order)
		return VMF_FALLBACK;
	if (atomic_exchange(&race.go, 1) == 0)
		while (atomic_load(&race.go) < 2)
			sched_yield();
	return told_nopage(req, ans);
}

static void *race_slow(void *self)
{
	char want = byte_of(3);

	(void)self;
	race.slow = pthread_self();
	CHECK_EQ(*(volatile char *)(race.at + 3 * PAGE), want);
	return NULL;
}

static void nothing_is_lost_that_is_there(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = race_nopage };
	pthread_t thread;
	struct vmf_object *o;
	struct rig r;

	rig_open(&r, VMF_IN_CONTEXT);
	memset(&told, 0, sizeof(told));
	told.small = told.fail = -1;
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, BLOCK), 0);
	race.at = rig_map_as(&r, o, huge_map(1));
	vmf_object_put(o);
	CHECK(!pthread_create(&thread, NULL, race_slow, NULL));
	CHECK_SOON(atomic_load(&race.go) == 1);
	CHECK_EQ(race.at[0], byte_of(0));
	race.at[9 * PAGE] = 77;
	atomic_store(&race.go, 2);
	CHECK(!pthread_join(thread, NULL));
	CHECK_EQ(race.at[9 * PAGE], 77);
	CHECK_EQ(page_kib(race.at), 2048);
	check_told(race.at, 10, BLOCK - 10);
	rig_unmap(&r, race.at, BLOCK);
	rig_close(&r);
}

/* The linker puts this in front of the C library's, for this program. */
void *__real_mmap64(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
static void (*_Atomic replacing)(void); /* called when a block is shut and about to be replaced */
void *__wrap_mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t off)
{
	void (*f)(void) = atomic_load(&replacing);

	if (f && flags & MAP_FIXED && bytes == HUGE)
		f();
	return __real_mmap64(at, bytes, prot, flags, fd, off);
}

static struct { pthread_t slow; _Atomic unsigned state, calls; char *at; } late;

/* Shut: nobody can read it.  Now the other one may answer; and when he has had to ask again it is replaced. */
static void shut_and_wait(void)
{
	char c;
	struct iovec to = { &c, 1 }, from = { late.at, 1 };

	CHECK(process_vm_readv(getpid(), &to, 1, &from, 1, 0) < 0);
	atomic_store(&late.state, 1);
	for (unsigned i = 0; i < 2000 && atomic_load(&late.calls) < 2; i++)
		usleep(1000);
}

/* One falls back; the other has a whole block, which comes when there is nothing to fill. */
static enum vmf_code late_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	if (pthread_equal(pthread_self(), late.slow))
		return req->order ? VMF_FALLBACK : told_nopage(req, ans);
	atomic_fetch_add(&late.calls, 1);
	while (!atomic_load(&late.state))
		sched_yield();
	return told_nopage(req, ans);
}

static void *late_slow(void *self)
{
	(void)self;
	late.slow = pthread_self();
	CHECK_SOON(atomic_load(&late.calls) == 1);
	CHECK_EQ(*(volatile char *)(late.at + 3 * PAGE), byte_of(3));
	return NULL;
}

static void whoever_is_late_asks_again(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = late_nopage };
	pthread_t thread;
	struct vmf_object *o;
	struct rig r;

	rig_open(&r, VMF_IN_CONTEXT);
	memset(&told, 0, sizeof(told));
	told.small = told.fail = -1;
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, BLOCK), 0);
	late.at = rig_map_as(&r, o, huge_map(1));
	vmf_object_put(o);
	atomic_store(&replacing, shut_and_wait);
	CHECK(!pthread_create(&thread, NULL, late_slow, NULL));
	CHECK_EQ(*(volatile char *)(late.at + 100 * PAGE), byte_of(100));
	CHECK(!pthread_join(thread, NULL));
	atomic_store(&replacing, NULL);
	CHECK(late.calls > 1);
	CHECK_EQ(page_kib(late.at), 4);
	check_told(late.at, 0, BLOCK);
	rig_unmap(&r, late.at, BLOCK);
	rig_close(&r);
}

/* The application's own SIGSEGV is its own, also after blocks were mapped anew. */
static void a_real_segv(void)
{
	struct rig r;
	char *p, c;

	BOTH_MODES(&r) {
		p = map_told(&r, 2);
		told.small = 0;
		CHECK_EQ(rig_load(p, &c), 0);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)p, 2 * BLOCK, VMF_R), 0);
		CHECK_EQ(rig_store(p, 1), SIGSEGV);
		CHECK_EQ(rig_store(p + HUGE, 1), SIGSEGV);
		CHECK(!mprotect(p + HUGE, HUGE, PROT_NONE));
		CHECK_EQ(rig_load(p + HUGE, &c), SIGSEGV);
		CHECK(!mprotect(p + HUGE, HUGE, PROT_READ));
		rig_unmap(&r, p, 2 * BLOCK);
	}
}

/* ---------------------------------------------------------------------------------------------------- changes */

static void cut_at_blocks_only(void)
{
	struct rig r;
	char *p, c;

	BOTH_MODES(&r) {
		p = map_told(&r, 3);
		check_told(p, 0, 1);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)p + PAGE, 1), -VMF_EINVAL);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)p + HUGE / 2, BLOCK), -VMF_EINVAL);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)p, 7, VMF_R), -VMF_EINVAL);
		p[0] = 55;
		CHECK_EQ(p[0], 55);
		check_told(p, 1, 2 * BLOCK - 1);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)p + HUGE, BLOCK), 0);
		CHECK_EQ(rig_load(p + HUGE, &c), SIGSEGV);
		CHECK_EQ(p[0], 55);
		/* In base pages it can be cut anywhere. */
		told.small = 2;
		check_told(p, 2 * BLOCK + 3, 1);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)p + 2 * HUGE, 2), 0);
		CHECK_EQ(rig_load(p + 2 * HUGE + PAGE, &c), SIGSEGV);
		check_told(p, 2 * BLOCK + 2, BLOCK - 2);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)p, 3 * BLOCK), 0);
	}
}

static void protected(void)
{
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		p = map_told(&r, 2);
		check_told(p, 0, 1);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)p, 2 * BLOCK, VMF_R), 0);
		CHECK_EQ(rig_store(p + 9, 1), SIGSEGV);
		check_told(p, 0, 2 * BLOCK);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)p + HUGE, BLOCK, VMF_R | VMF_W), 0);
		CHECK_EQ(rig_store(p + HUGE, 1), 0);
		CHECK_EQ(rig_store(p, 1), SIGSEGV);
		rig_unmap(&r, p, 2 * BLOCK);
	}
}

static void one_fails(void)
{
	struct vmf_result why;
	struct rig r;
	char *p, c;

	BOTH_MODES(&r) {
		p = map_told(&r, 2);
		told.fail = 1;
		CHECK_EQ(rig_load(p + HUGE + 5 * PAGE, &c), SIGBUS);
		why = vmf_fault_why(p + HUGE + 5 * PAGE);
		CHECK(why.code == VMF_SIGBUS && why.why == VMF_WHY_IOERR && why.err == EIO);
		check_told(p, 0, BLOCK);
		told.fail = -1;
		check_told(p, BLOCK, BLOCK);
		rig_unmap(&r, p, 2 * BLOCK);
	}
}

static void what_is_removed_reads_zero(void)
{
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		p = map_told(&r, 3);
		check_told(p, 0, BLOCK);
		CHECK(!madvise(p, 2 * HUGE, MADV_DONTNEED));
		CHECK(all(p, 2 * HUGE, 0));
		check_told(p, 2 * BLOCK, BLOCK);
		rig_unmap(&r, p, 3 * BLOCK);
	}
}

static void child_touches(void *p)
{
	char c;

	if (rig_load(p, &c) != SIGSEGV)
		_exit(3);
}

/* It would need pages that nobody reserved. */
static void children_do_not_inherit(void)
{
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		p = map_told(&r, 2);
		told.small = 1;
		check_told(p, 0, 1);
		check_told(p, BLOCK, 1);
		CHECK_EQ(rig_child(child_touches, p), 0);
		CHECK_EQ(rig_child(child_touches, p + HUGE), 0);
		CHECK_EQ(rig_child(child_touches, p + HUGE + PAGE), 0);
		rig_unmap(&r, p, 2 * BLOCK);
	}
}

static void read_by_a_system_call(void)
{
	static char bytes[3 * PAGE];
	struct rig r;
	int fd[2];
	char *p;

	BOTH_MODES(&r) {
		CHECK(!pipe(fd));
		p = map_told(&r, 1);
		CHECK_EQ(vmf_write(fd[1], p + HUGE - 3 * PAGE, 3 * PAGE), 3 * PAGE);
		CHECK_EQ(read(fd[0], bytes, 3 * PAGE), 3 * PAGE);
		for (unsigned i = 0; i < 3; i++)
			CHECK(all(bytes + i * PAGE, PAGE, byte_of(BLOCK - 3 + i)));
		close(fd[0]);
		close(fd[1]);
		rig_unmap(&r, p, BLOCK);
	}
}

/* Of a page of 2 MiB nothing is locked; of a base page that has come in place of one it is. */
static void bolted(void)
{
	struct rig r;
	char *p;

	BOTH_MODES(&r) {
		p = map_told(&r, 2);
		told.bolt = VMF_BOLT_MUST;
		check_told(p, 3, 1);
		told.small = 1;
		check_told(p, BLOCK + 3, 1);
		CHECK_EQ(kib_of(p + HUGE + 3 * PAGE, "Locked: %ld"), 4);
		rig_unmap(&r, p, 2 * BLOCK);
	}
}

/* ------------------------------------------------------------------------------------------------ what is not */

static void refused(void)
{
	struct vmf_backed cached = { .size = sizeof(cached), .flags = VMF_RDONLY };
	struct vmf_object *o;
	struct testback b;
	struct rig r;

	BOTH_MODES(&r) {
		const struct { struct vmf_map m; int err; } row[] = {
			{ { .pages = BLOCK, .order = 8 }, -VMF_ENOSYS },
			{ { .pages = BLOCK, .order = 18 }, -VMF_ENOSYS },
			{ { .pages = BLOCK, .order = ORDER, .flags = VMF_SHARED }, -VMF_ENOSYS },
			{ { .pages = BLOCK + 1, .order = ORDER }, -VMF_EINVAL },
			{ { .pages = BLOCK, .order = ORDER, .off = 1 }, -VMF_EINVAL },
			{ { .pages = BLOCK, .order = ORDER, .flags = VMF_FIXED, .va = (vmf_va)HUGE * 512 + PAGE }, -VMF_EINVAL },
			{ { .pages = 1ull << 50, .order = ORDER }, -VMF_ENOSYS },
			{ { .pages = 1ull << 36, .order = ORDER }, -VMF_ENOMEM },
		};
		long left = hugepages_free() - hugepages_reserved();

		o = zeroes(&r, 2);
		for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
			struct vmf_map m = row[i].m;

			m.size = sizeof(m);
			m.prot = VMF_R;
			if (vmf_map(r.space, o, &m, NULL) != row[i].err)
				vmtest_fail("row %u: %s", i, vmf_err_str(vmf_map(r.space, o, &m, NULL)));
		}
		vmf_object_put(o);
		testback_open(&b, r.port, HUGE, TESTBACK_AT_ONCE);
		o = testback_object(&b, &cached);
		CHECK_ERR(vmf_map(r.space, o, &(struct vmf_map){ .size = sizeof(struct vmf_map), .pages = BLOCK, .prot = VMF_R,
					.order = ORDER }, NULL), -VMF_ENOSYS);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&b);
		CHECK_EQ(hugepages_free() - hugepages_reserved(), left);
	}
}

/* An older kernel, or none of it. */
static void not_everywhere(void)
{
	static const char *const without[] = { "userfaultfd", "missing_hugetlbfs", "poison" };
	struct vmf_object *o;
	struct rig r;

	for (unsigned i = 0; i < 3; i++) {
		setenv("VMF_WITHOUT", without[i], 1);
		BOTH_MODES(&r) {
			const struct vmf_map m = huge_map(1);
			bool there = i == 2 && m_ == VMF_IN_CONTEXT;
			vmf_va at;

			o = zeroes(&r, 1);
			CHECK_ERR(vmf_map(r.space, o, &m, &at), there ? 0 : -VMF_ENOSYS);
			CHECK(!there || *(volatile char *)at == 0);
			vmf_object_put(o);
		}
	}
	unsetenv("VMF_WITHOUT");
}

static const struct vmtest tests[] = {
	VMTEST(zero_fill), VMTEST(reserved_when_mapped), VMTEST(populated), VMTEST(a_driver), VMTEST(a_stream),
	VMTEST(mapped_anew_in_base_pages), VMTEST(anew_while_many_touch_it),
	VMTEST(nothing_is_lost_that_is_there), VMTEST(whoever_is_late_asks_again), VMTEST(a_real_segv),
	VMTEST(cut_at_blocks_only),
	VMTEST(protected), VMTEST(one_fails), VMTEST(what_is_removed_reads_zero), VMTEST(children_do_not_inherit),
	VMTEST(read_by_a_system_call), VMTEST(bolted), VMTEST(refused), VMTEST(not_everywhere),
};

static int cases(int argc, char **argv)
{
	if (rig_lacks(VMF_THREADED, RIG_TRAPS | VMF_LACKS_POISON))
		vmtest_skip("huge pages in threaded spaces need a userfaultfd with poison (Linux 6.6)");
	rig_catching();
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 20, argc, argv);
}

int main(int argc, char **argv) { return hugepages_run(cases, POOL, argc, argv); }
