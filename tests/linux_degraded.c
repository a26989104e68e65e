/* SPDX-License-Identifier: MIT
 *
 * Kernels that lack something: what a space says of it, and what stands in its place.  The mask ($VMF_WITHOUT) makes
 * this kernel another; the list and the other tests run under it as well (meson.build).
 */
#include "linuxrig.h"
#include "testback.h"
#include "ports/linux/local.h"
#include <sys/resource.h>

#define TRAPS (VMF_LACKS_SYSCALLS | VMF_LACKS_SHARED | VMF_LACKS_PRIVATE)

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void without(const char *what) { CHECK_EQ(setenv("VMF_WITHOUT", what, 1), 0); }

static struct vmf_object *zero_object(struct rig *r, uint64_t pages)
{
	struct vmf_object *o;

	CHECK_ERR(vmf_object_create(r->port, &o, &zero_ops, NULL, pages), 0);
	return o;
}

/* ------------------------------------------------------------------------------------------- the mask */

static unsigned lacks(unsigned mode, const char *what)
{
	struct rig r;
	unsigned n;

	without(what);
	rig_open(&r, mode);
	n = vmf_linux_lacks(r.space) & ~(unsigned)VMF_LACKS_FORK;
	CHECK_EQ(vmf_linux_syscalls(r.space), !(n & VMF_LACKS_SYSCALLS));
	rig_close(&r);
	return n;
}

/* What each name costs; what it costs children is linux_fork's business. */
static void what_a_space_lacks(void)
{
	static const struct { const char *what; unsigned threaded, context; } row[] = {
		{ "", 0, VMF_LACKS_SYSCALLS },
		{ "userfaultfd", TRAPS, TRAPS },
		{ "minor_shmem", VMF_LACKS_SYSCALLS | VMF_LACKS_SHARED, VMF_LACKS_SYSCALLS | VMF_LACKS_SHARED },
		{ "missing_shmem", VMF_LACKS_SYSCALLS | VMF_LACKS_SHARED, VMF_LACKS_SYSCALLS | VMF_LACKS_SHARED },
		{ "event_remove", TRAPS, TRAPS },
		{ "EVENT_UNMAP", TRAPS, TRAPS },
		{ "sigbus", 0, TRAPS },
		{ "wp_unpopulated", VMF_LACKS_WP, VMF_LACKS_SYSCALLS | VMF_LACKS_WP },
		{ "wp_hugetlbfs_shmem", VMF_LACKS_WP, VMF_LACKS_SYSCALLS | VMF_LACKS_WP },
		{ "poison", VMF_LACKS_POISON, VMF_LACKS_SYSCALLS },
		{ "membarrier", VMF_LACKS_BARRIER, VMF_LACKS_BARRIER | VMF_LACKS_SYSCALLS },
		{ "privilege", VMF_LACKS_SYSCALLS, VMF_LACKS_SYSCALLS },
		{ "thread_id,exact_address,move,wp_async,event_fork,pagemap,device", 0, VMF_LACKS_SYSCALLS },
		{ "since-6.2", VMF_LACKS_WP | VMF_LACKS_POISON, VMF_LACKS_SYSCALLS | VMF_LACKS_WP },
		{ "since-5.14", VMF_LACKS_SYSCALLS | VMF_LACKS_SHARED | VMF_LACKS_POISON,
		  VMF_LACKS_SYSCALLS | VMF_LACKS_SHARED },
		{ "since-4.3", TRAPS | VMF_LACKS_BARRIER, TRAPS | VMF_LACKS_BARRIER },
		{ "since-9.0", 0, VMF_LACKS_SYSCALLS },
	};

	if (rig_lacks(VMF_THREADED, ~(unsigned)VMF_LACKS_FORK))
		return;
	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		vmtest_with = row[i].what;
		CHECK_EQ(lacks(VMF_THREADED, row[i].what), row[i].threaded);
		CHECK_EQ(lacks(VMF_IN_CONTEXT, row[i].what), row[i].context);
	}
}

static void names_nobody_knows(void)
{
	static const char *const bad[] = { "userfaulfd", "poison,,posion", "since-", "since-5", "since-5.15x", "poison " };
	struct vmf_port *port;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vmtest_with = bad[i];
		without(bad[i]);
		CHECK_ERR(vmf_linux_open(&port, NULL), -VMF_EINVAL);
	}
	without(",poison,");
	CHECK_ERR(vmf_linux_open(&port, NULL), 0);
	vmf_linux_close(port);
}

static void no_poison_for_others(void)
{
	without("poison");
	CHECK(!vmf_linux_can_poison());
	without("since-6.6");
	CHECK(!vmf_linux_can_poison());
	without("since-6.7");
	CHECK_EQ(vmf_linux_can_poison(), (vmf__uffd_features() & VMF__UF_POISON) != 0);
}

/* --------------------------------------------------------------------------------- whose signal it is */

static void handlers_stay_whose_they_are(void)
{
	struct sigaction sa;
	struct rig r;
	char c, *none;

	without("userfaultfd");
	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_object *o = zero_object(&r, 4);
		char *a = rig_map(&r, o, VMF_SHARED, 4, VMF_R);

		sigaction(SIGSEGV, NULL, &sa);
		CHECK(sa.sa_sigaction != rig_catch);
		CHECK_EQ(a[0], 0);
		CHECK_EQ(rig_store(a, 1), SIGSEGV);
		CHECK(rig_caught.addr == a && rig_caught.code == SEGV_ACCERR);
		CHECK_EQ(rig_store(a + PAGE, 1), SIGSEGV); /* absent */
		none = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK_EQ(rig_load(none + 5, &c), SIGSEGV);
		CHECK(rig_caught.addr == none + 5);
		munmap(none, PAGE);
		CHECK_EQ(rig_load(none + 5, &c), SIGSEGV);
		CHECK_EQ(rig_caught.code, SEGV_MAPERR);
		/* Nobody told us, but that nothing is there is plain. */
		munmap(a + 2 * PAGE, PAGE);
		CHECK_EQ(rig_load(a + 2 * PAGE, &c), SIGSEGV);
		CHECK_EQ(rig_load(a + 3 * PAGE, &c), 0);
		vmf_object_put(o);
	}
	sigaction(SIGSEGV, NULL, &sa);
	CHECK(sa.sa_sigaction == rig_catch);
	without("");
	rig_open(&r, VMF_IN_CONTEXT);
	sigaction(SIGSEGV, NULL, &sa);
	CHECK(sa.sa_sigaction == rig_catch || vmf_linux_lacks(r.space) & RIG_TRAPS);
	rig_close(&r);
}

static struct vmf_object *failing(struct rig *r, struct testback *back)
{
	testback_open(back, r->port, 8 * PAGE, TESTBACK_AT_ONCE);
	back->read.pages = 8;
	back->read.err = 70;
	return testback_object(back, NULL);
}

static void dies(void *arg)
{
	struct testback back;
	struct rig r;
	char *a;

	alarm(10);
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	rig_open(&r, VMF_THREADED);
	a = rig_map(&r, failing(&r, &back), arg ? VMF_SHARED : 0, 8, VMF_R);
	(void)*(volatile char *)a;
}

/* What cannot be read is a SIGBUS, to a handler and as the end. */
static void a_failure_is_sigbus(void)
{
	static const char *const masks[] = { "userfaultfd", "poison", "userfaultfd,access", "since-5.14" };
	struct testback back;
	struct rig r;
	char c;

	rig_catching();
	for (unsigned m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
		without(masks[m]);
		BOTH_MODES(&r) {
			struct vmf_object *o = failing(&r, &back);
			char *a = rig_map(&r, o, VMF_SHARED, 8, VMF_R | VMF_W), *b = rig_map(&r, o, 0, 8, VMF_R | VMF_W);

			vmtest_with = masks[m];
			for (unsigned i = 0; i < 3; i++) {
				CHECK_EQ(rig_load(a + PAGE + i, &c), SIGBUS);
				CHECK(rig_caught.addr == a + PAGE + i && rig_caught.code == BUS_ADRERR);
				CHECK_EQ(vmf_fault_why(a + PAGE).err, 70);
				CHECK_EQ(rig_load(b + 2 * PAGE + i, &c), SIGBUS);
				CHECK(rig_caught.addr == b + 2 * PAGE + i);
			}
			back.read.pages = 0;
			CHECK_EQ(rig_load(a + PAGE, &c), 0);
			CHECK_EQ(c, (char)testback_byte(&back, PAGE));
			CHECK_EQ(rig_store(b + 2 * PAGE, 'x'), 0);
			CHECK_EQ(b[2 * PAGE + 1], (char)testback_byte(&back, 2 * PAGE + 1));
			rig_unmap(&r, a, 8);
			rig_unmap(&r, b, 8);
			vmf_object_put(o);
			RIG_BACKING_CLOSE(&back);
		}
		for (uintptr_t k = 0; k < 2; k++) {
			int status = rig_child(dies, (void *)k);

			CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
		}
	}
}

/* A page that was forbidden because nobody had been told yet is there again when it can be had. */
static void forbidden_for_a_while(void)
{
	struct testback back;
	struct rig r;
	int fd[2];
	char c;

	without("poison");
	if (rig_lacks(VMF_THREADED, VMF_LACKS_SYSCALLS))
		return;
	rig_catching();
	CHECK_EQ(pipe(fd), 0);
	rig_open(&r, VMF_THREADED);
	for (unsigned kind = 0; kind < 2; kind++) {
		struct vmf_object *o = failing(&r, &back);
		char *a = rig_map(&r, o, kind ? VMF_SHARED : 0, 8, VMF_R | VMF_W);

		CHECK_EQ(write(fd[1], a, 5), -1);
		CHECK_EQ(errno, EFAULT);
		CHECK_EQ(write(fd[1], a, 5), -1); /* and not only once */
		CHECK_EQ(rig_load(a, &c), SIGBUS);
		CHECK_EQ(write(fd[1], a, 5), -1);
		back.read.pages = 0;
		CHECK_EQ(vmf_touch(a, 1, VMF_R).code, VMF_SIGBUS); /* that one was not told yet */
		CHECK_OK(vmf_touch(a, 1, VMF_R));
		CHECK_EQ(write(fd[1], a, 5), 5);
		CHECK_EQ(a[1], (char)testback_byte(&back, 1));
		rig_unmap(&r, a, 8);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
	rig_close(&r);
	close(fd[0]);
	close(fd[1]);
}

/* -------------------------------------------------------------------------------------- trap windows */

/* A write is told from a read, by the context or by its coming again, and a read is no write. */
static void reads_and_writes(void)
{
	static const char *const masks[] = { "userfaultfd", "userfaultfd,access" };
	struct testback back;
	struct rig r;

	for (unsigned m = 0; m < 2; m++) {
		without(masks[m]);
		BOTH_MODES(&r) {
			struct vmf_object *o;
			char *a;

			vmtest_with = masks[m];
			testback_open(&back, r.port, 64 * PAGE, TESTBACK_AT_ONCE);
			o = testback_object(&back, NULL);
			a = rig_map(&r, o, VMF_SHARED, 64, VMF_R | VMF_W);
			for (unsigned i = 0; i < 64; i++)
				CHECK_EQ(a[i * PAGE], (char)testback_byte(&back, i * PAGE));
			CHECK_ERR(vmf_sync(o, 0, 64, NULL), 0);
			CHECK_EQ(back.pages_written, 0);
			for (unsigned i = 1; i <= 300; i++) {
				a[7 * PAGE] = (char)i;
				CHECK_ERR(vmf_sync(o, 0, 64, NULL), 0);
				CHECK_EQ(back.pages_written, i);
				CHECK_EQ((char)back.page[7][0], (char)i);
			}
			CHECK_EQ(vmf_page_state(o, 8), VMF_PRESENT);
			rig_unmap(&r, a, 64);
			vmf_object_put(o);
			RIG_BACKING_CLOSE(&back);
		}
	}
}

#define SCATTERED 33000u /* two mappings each */

/* More runs than there may be mappings: pages are hidden, and none is lost. */
static void more_runs_than_mappings(void)
{
	struct rig r;

	without("userfaultfd");
	rig_open(&r, VMF_IN_CONTEXT);
	for (unsigned kind = 0; kind < 2; kind++) {
		struct vmf_object *o = zero_object(&r, 2 * SCATTERED);
		char *a = rig_map(&r, o, kind ? VMF_SHARED : 0, 2 * SCATTERED, VMF_R | VMF_W);

		for (unsigned i = 0; i < SCATTERED; i++)
			*(unsigned *)(void *)(a + (size_t)i * 2 * PAGE) = i;
		for (unsigned i = 0; i < SCATTERED; i += 7)
			CHECK_EQ(*(unsigned *)(void *)(a + (size_t)i * 2 * PAGE), i);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 2 * SCATTERED, VMF_R), 0);
		CHECK_EQ(*(unsigned *)(void *)(a + 2 * PAGE), 1);
		rig_unmap(&r, a, 2 * SCATTERED);
		vmf_object_put(o);
	}
	rig_close(&r);
}

#define WATCHED 512u
static struct {
	char *at;
	pthread_barrier_t ready;
	atomic_uint page;
} watched;

/* All threads touch the same pages at once: none may see one that is half there. */
static void *watcher(void *arg)
{
	unsigned bad = 0;

	(void)arg;
	for (unsigned i = 0; i < WATCHED; i++) {
		const volatile uint64_t *p = (const void *)(watched.at + (size_t)i * PAGE);

		pthread_barrier_wait(&watched.ready);
		for (unsigned k = PAGE / 8; k--;)
			bad += p[k] != UINT64_C(0x7777777777777777);
	}
	return (void *)(uintptr_t)bad;
}

static enum vmf_code sevens(const struct vmf_req *req, struct vmf_ans *ans)
{
	if (vmf_frame_alloc(req->port, 0, 0, false, &ans->frames[0]))
		return VMF_OOM;
	memset(vmf_frame_bytes(req->port, ans->frames[0]), 0x77, PAGE);
	ans->n = 1;
	return VMF_OK;
}

static void no_half_pages(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = sevens };
	struct rig r;

	without("userfaultfd");
	BOTH_MODES(&r) {
		struct vmf_object *o;
		pthread_t t[4];
		void *bad;

		CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, WATCHED), 0);
		watched.at = rig_map(&r, o, 0, WATCHED, VMF_R | VMF_W);
		pthread_barrier_init(&watched.ready, NULL, 4);
		for (unsigned i = 0; i < 4; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, watcher, NULL), 0);
		for (unsigned i = 0; i < 4; i++) {
			CHECK_EQ(pthread_join(t[i], &bad), 0);
			CHECK_EQ((uintptr_t)bad, 0);
		}
		pthread_barrier_destroy(&watched.ready);
		rig_unmap(&r, watched.at, WATCHED);
		vmf_object_put(o);
	}
}

static atomic_uint asked;

static enum vmf_code once(const struct vmf_req *req, struct vmf_ans *ans)
{
	asked++;
	return sevens(req, ans);
}

/* Private bytes live through what hides them, and pieces of an area through the end of others; for what is there nobody
 * is asked again. */
static void private_bytes_last(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = once };
	struct rig r;
	char c;

	without("userfaultfd");
	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_object *o;
		char *a;

		asked = 0;
		CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 16), 0);
		a = rig_map(&r, o, 0, 16, VMF_R | VMF_W);
		for (unsigned i = 0; i < 16; i++)
			a[i * PAGE] = (char)i;
		CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 16, 0), 0);
		CHECK_EQ(rig_load(a, &c), SIGSEGV);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 16, VMF_R), 0);
		CHECK_ERR(vmf_unmap(r.space, (vmf_va)a + 4 * PAGE, 4), 0);
		CHECK_EQ(rig_load(a + 4 * PAGE, &c), SIGSEGV);
		CHECK_OK(vmf_touch(a + 9 * PAGE, PAGE, VMF_R));
		for (unsigned i = 0; i < 16; i++)
			CHECK(i / 4 == 1 || (a[i * PAGE] == (char)i && a[i * PAGE + 1] == 0x77));
		CHECK_EQ(rig_store(a, 'q'), SIGSEGV);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)a, 4, VMF_R | VMF_W), 0);
		CHECK_EQ(rig_store(a, 'q'), 0);
		CHECK_EQ(asked, 16);
		rig_unmap(&r, a, 16);
		vmf_object_put(o);
	}
}

static const struct vmtest tests[] = {
	VMTEST(what_a_space_lacks), VMTEST(names_nobody_knows), VMTEST(no_poison_for_others),
	VMTEST(handlers_stay_whose_they_are), VMTEST(a_failure_is_sigbus), VMTEST(forbidden_for_a_while),
	VMTEST(reads_and_writes), VMTEST(more_runs_than_mappings), VMTEST(no_half_pages), VMTEST(private_bytes_last),
};
VMTEST_MAIN(tests, 20)
