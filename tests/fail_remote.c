/* SPDX-License-Identifier: MIT
 *
 * Every system call that serving another process's memory makes fails in turn.  The client reads the bytes of the
 * backing, or zeroes where it took pages away itself, or gets SIGBUS for a page that could not be had: never anything
 * else, and it never hangs.  A session that ends for a failure is taken over, and goes on.
 */
#define FAILING_THIN 1u
#include "failcalls.h"
#include "remotetest.h"

#define PAGES 24u

static const struct failing_kind kinds[] = { CALL_KINDS };
static const unsigned listed[] = {
	UFFD_COPY, UFFD_ZERO, UFFD_POISON, UFFD_READV, BARRIER, MMAP, MUNMAP, PPOLL, READLINK, ALLOC,
};

static struct failcalls_state before;
static struct bed bed;
static struct bed_config config = {
	.client = { .pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
		UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_FORK },
	.backed = { .flags = VMF_STREAM | VMF_RDONLY, .around = 4 },
};
static bool removed[PAGES], poisoned[PAGES];

/* Which of the failures ends a session, and how? */
static bool ends_with(int err)
{
	switch (err) {
	case -VMF_EGONE: /* the kernel says that the process has ended */
		return failing.error == ESRCH || failing.kind == UFFD_READ || failing.kind == UFFD_READV;
	case -VMF_EIO: /* neither the page nor poison can be had */
		return failing.kind == UFFD_COPY || failing.kind == UFFD_ZERO || failing.kind == UFFD_POISON;
	case -VMF_ENOMEM: /* for the table of areas */
		return failing.kind == ALLOC || failing.kind == MMAP;
	default:
		return false;
	}
}

static int adopt(void)
{
	static const struct vmf_adopt how = { .size = sizeof(how), .tries = 2, .last_ms = 2 };

	return vmf_linux_adopt(bed.port, &bed.space, bed.client.uffd, bed.session, bed.object, &how);
}

/* As another server would, after ours has died of it. */
static void take_over(int err)
{
	if (!failing_hit() || !ends_with(err))
		vmtest_fail("serving ends with %s", vmf_err_str(err));
	failing_stop();
	vmf_linux_adopt_close(bed.space);
	CHECK_ERR(adopt(), 0);
}

static void serve(void)
{
	int n;

	failing_quiet(false);
	n = bed_serve(&bed);
	failing_quiet(true);
	if (n < 0)
		take_over(n);
}

/* Serves until the client has done it; what came of it. */
static int client_does(enum client_op op, uint64_t at, uint64_t bytes, uint64_t to)
{
	client_go(&bed.client, 0, op, at, bytes, to);
	for (int i = 0; !client_done(&bed.client, 0); i++) {
		if (i == 3000)
			vmtest_fail("the client is not through");
		serve();
	}
	return client_result(&bed.client, 0);
}

static void page_is(unsigned page)
{
	int r = client_does(OP_LOAD, page * PAGE, PAGE, 0);
	const uint8_t *data = client_data(&bed.client, 0);

	if (r == -SIGBUS && (poisoned[page] || failing_hit())) {
		poisoned[page] = true;
		failing_stop();
		return;
	}
	CHECK_EQ(r, 0);
	if (removed[page])
		CHECK(bed_zeroes(data, PAGE));
	else if (!testback_same(&bed.back, page * PAGE, data, PAGE))
		vmtest_fail("page %u: %s", page, bed_zeroes(data, PAGE) ? "zeroes" : "other bytes");
}

static void world_open(void)
{
	int err;

	memset(removed, 0, sizeof(removed));
	memset(poisoned, 0, sizeof(poisoned));
	bed_prepare(&bed, &config);
	failing_quiet(false);
	err = adopt();
	failing_quiet(true);
	if (err) {
		if (!failing_hit())
			vmtest_fail("vmf_linux_adopt() is %s", vmf_err_str(err));
		CHECK(err == -VMF_EINVAL || err == -VMF_ENOMEM || err == -VMF_ENOSYS || err == -VMF_EFAULT ||
			err == -VMF_EGONE);
		failing_stop();
		CHECK_ERR(adopt(), 0);
	}
}

static void world_close(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		page_is(i);
	failing_quiet(false);
	vmf_linux_adopt_close(bed.space);
	failing_quiet(true);
	bed.space = NULL;
	bed_close(&bed);
}

/* Pages 9 to 11 are a hole. */
static void reads(void)
{
	world_open();
	bed.back.hole = 9;
	bed.back.hole_pages = 3;
	for (unsigned i = 0; i < PAGES; i += 3)
		page_is(i);
	CHECK_EQ(client_does(OP_REMOVE, 4 * PAGE, 3 * PAGE, 0), 0);
	for (unsigned i = 4; i < 7; i++)
		removed[i] = true, poisoned[i] = false;
	page_is(5);
	page_is(10);
	page_is(14);
	world_close();
}

/* A child's absent pages must not be zeroes, whatever fails. */
static void forks(void)
{
	const uint8_t *data = client_data(&bed.client, 0);
	int r;

	/* A kernel that cannot poison: the child sleeps for good, and would be left over.  And a child, or a page of
	 * its, that is not there does not read. */
	if (failing.kind == UFFD_POISON && failing.error != EAGAIN && failing.error != ENOMEM && failing.error != THERE)
		return;
	if (failing.kind == UFFD_WP && failing.always) /* nor take away what is in the way of poison */
		return;
	world_open();
	page_is(3);
	r = client_does(OP_FORK, 8 * PAGE, PAGE, 0);
	data = client_data(&bed.client, 0);
	if (r == 0)
		CHECK(!bed_zeroes(data, PAGE));
	else
		CHECK(r == 13 || r == SIGKILL);
	world_close();
}

static void gone(void)
{
	int r;

	world_open();
	page_is(2);
	CHECK_EQ(client_does(OP_UNMAP, 16 * PAGE, 4 * PAGE, 0), 0);
	page_is(8);
	CHECK_EQ(client_does(OP_REMAP, 12 * PAGE, 2 * PAGE, 16 * PAGE), 0);
	r = client_does(OP_LOAD, 17 * PAGE, PAGE, 0);
	CHECK(r == -SIGBUS ? failing_hit() : testback_same(&bed.back, 13 * PAGE, client_data(&bed.client, 0), PAGE));
	failing_quiet(false);
	vmf_linux_adopt_close(bed.space);
	failing_quiet(true);
	bed.space = NULL;
	bed_close(&bed);
}

static void (*scenario)(void);

static void run(void)
{
	struct failcalls_state now;

	scenario();
	failing_stop();
	now = failcalls_state();
	if (!before.fds)
		return;
	if (failing_hit() && failing.kind == MUNMAP) {
		CHECK(now.bytes - before.bytes <= atomic_exchange(&failcalls_kept, 0));
		before = now;
	}
	/* A child whose pages could be neither had nor poisoned keeps its descriptor. */
	if (failing_hit() && failing.kind == UFFD_POISON && now.fds - before.fds <= 2)
		before.fds = now.fds;
	CHECK_EQ(now.fds, before.fds);
	CHECK_EQ(now.tasks, before.tasks);
	CHECK_EQ(now.bytes, before.bytes);
	CHECK_EQ(now.blocks, before.blocks);
	CHECK_EQ(now.maps, before.maps);
}

static void sweep(void (*which)(void))
{
	scenario = which;
	before.fds = 0;
	for (unsigned i = 0; i < 3; i++)
		failing_run(run, 0, 0, 0, false);
	before = failcalls_state();
	failing_sweep(run);
}

static void pages(void) { sweep(reads); }
static void children(void) { sweep(forks); }
static void layout(void) { sweep(gone); }

static const struct vmtest tests[] = {
	VMTEST(pages),
	VMTEST(children),
	VMTEST(layout),
};

int main(int argc, char **argv)
{
	failing.kinds = kinds;
	failing.n = CALLS;
	failing.listed = listed;
	failing.nlisted = sizeof(listed) / sizeof(listed[0]);
	failing.error_name = call_error;
	failing.seconds = 30;
	failing_quiet(true);
	return failing_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
