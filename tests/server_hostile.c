/* SPDX-License-Identifier: MIT
 *
 * Clients that no VMM is, and ends that nobody wants: whatever they do, no page of theirs reads zero in place of
 * data, and no other client notices.
 */
#include "serve_rig.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { PAGES = 256, HOLE = 8 };
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

static struct serve s;
static int line[2]; /* between a client and the test */

static void tell(int end) { CHECK_EQ(write(line[end], "x", 1), 1); }

static void hear(int end)
{
	char c;

	CHECK_EQ(read(line[end], &c, 1), 1);
}

static void start(const char *policy)
{
	serve_open(&s);
	image_make(s.image, 0, PAGES);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line), 0);
	SERVE_START(&s, "--on-error", policy, "--threads", "1", NULL);
}

/* Two signals end it at once. */
static void stop_twice(void)
{
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	serve_says(s.err, "waiting for 1 client");
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	CHECK_EQ(serve_wait(&s), 1);
}

/* As clients see their absent pages when they have been killed by one, or have it come as a signal. */
static bool ended_well(int status) { return status == 0 || status == 128 + SIGKILL; }

static int pages_of_zeroes(const struct guest *g)
{
	int n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += guest_peek(g, i * PAGE) == 0;
	return n;
}

/* Waits until the server has ended, with no descriptor of its own, and counts. */
static int after_the_end(struct guest *g)
{
	tell(1);
	hear(1);
	return pages_of_zeroes(g) != 0;
}

static int child_of_the_same_connection(void *arg)
{
	struct guest *g = arg, h;

	if (!guest_memory(&h, PAGES * PAGE, PAGE))
		return 9;
	h.sock = g->sock;
	guest_hello(&h, 0);
	return h.mem[PAGE] == 0;
}

/* Two userfaultfds came by one connection, and one of them has ended. */
static int half_gone(void *arg)
{
	struct guest g;

	(void)arg;
	if (!guest_memory(&g, PAGES * PAGE, PAGE))
		return 9;
	guest_dial(&g, s.sock);
	if (client_wait(client_fork(child_of_the_same_connection, &g)))
		return 8;
	guest_hello(&g, 0);
	CHECK(image_is(g.mem + PAGE, 1));
	close(g.uffd);
	close(g.sock);
	return after_the_end(&g);
}

static void a_client_half_gone_ends_well(void)
{
	pid_t client;

	start("auto");
	client = client_fork(half_gone, NULL);
	hear(0);
	stop_twice();
	tell(0);
	CHECK(ended_well(client_wait(client)));
	serve_close(&s);
}

static int served(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(image_is(g.mem + PAGE, 1));
	close(g.uffd);
	return after_the_end(&g);
}

static void nobody_stalls_on_a_server_that_is_gone(void)
{
	pid_t client;

	start("stall");
	client = client_fork(served, NULL);
	hear(0);
	stop_twice();
	tell(0);
	CHECK(ended_well(client_wait(client)));
	serve_close(&s);
}

static int past_the_image(void *arg)
{
	struct guest g;

	(void)arg;
	if (!guest_memory(&g, PAGES * PAGE, PAGE))
		return 9;
	guest_dial(&g, s.sock);
	guest_hello(&g, PAGE);
	close(g.uffd);
	return after_the_end(&g);
}

static void a_refused_client_reads_no_zeroes(void)
{
	pid_t client;

	start("auto");
	client = client_fork(past_the_image, NULL);
	hear(0);
	serve_says(s.err, "refused");
	stop_twice();
	tell(0);
	CHECK(ended_well(client_wait(client)));
	serve_close(&s);
}

/* O_NONBLOCK is a flag of the file, and the client has the file too. */
static int blocking(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(image_is(g.mem + PAGE, 1));
	CHECK_EQ(fcntl(g.uffd, F_SETFL, fcntl(g.uffd, F_GETFL) & ~O_NONBLOCK), 0);
	CHECK(image_is(g.mem + 2 * PAGE, 2));
	tell(1);
	hear(1);
	return 0;
}

static int ordinary(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	return guest_verify(&g, 0, 1) != 0;
}

static void a_blocking_descriptor_blocks_nobody(void)
{
	pid_t bad, good;

	start("auto");
	bad = client_fork(blocking, NULL);
	hear(0);
	good = client_fork(ordinary, NULL);
	CHECK_EQ(client_wait(good), 0);
	tell(0);
	CHECK_EQ(client_wait(bad), 0);
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

/* As guest_memory(), write-protected before anything is there: for who tracks what is written. */
static bool marked_memory(struct guest *g)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
							       UFFD_FEATURE_WP_UNPOPULATED };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	if (!guest_memory(g, PAGES * PAGE, PAGE))
		return false;
	close(g->uffd);
	reg.range = wp.range = (struct uffdio_range){ (uintptr_t)g->mem, g->bytes };
	g->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return g->uffd >= 0 && !ioctl(g->uffd, UFFDIO_API, &api) && !ioctl(g->uffd, UFFDIO_REGISTER, &reg) &&
	       !ioctl(g->uffd, UFFDIO_WRITEPROTECT, &wp);
}

static int marked(void *arg)
{
	struct guest g;

	(void)arg;
	if (!marked_memory(&g))
		return 77;
	guest_dial(&g, s.sock);
	guest_hello(&g, 0);
	return !image_is(g.mem + PAGE, 1) || g.mem[HOLE * PAGE] != 0;
}

/* Absent pages that are write-protected carry a mark, over which the kernel will not put a page of zeroes. */
static void a_hole_goes_over_a_mark(void)
{
	int fd, status;

	start("auto");
	fd = open(s.image, O_RDWR);
	CHECK_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, HOLE * PAGE, PAGE), 0);
	close(fd);
	status = client_wait(client_fork(marked, NULL));
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
	if (status == 77)
		vmtest_skip("no UFFD_FEATURE_WP_UNPOPULATED (Linux 6.4 has it)");
	CHECK_EQ(status, 0);
}

static const struct vmtest tests[] = {
	VMTEST(a_client_half_gone_ends_well), VMTEST(nobody_stalls_on_a_server_that_is_gone),
	VMTEST(a_refused_client_reads_no_zeroes), VMTEST(a_blocking_descriptor_blocks_nobody),
	VMTEST(a_hole_goes_over_a_mark),
};
VMTEST_MAIN(tests, 30)
