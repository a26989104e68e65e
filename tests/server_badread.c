/* SPDX-License-Identifier: MIT
 *
 * Reads of the image that fail for a while, fail for ever, or hang.
 */
#include "serve_rig.h"
#include "server/badread.h"
#include <vmfault/linux.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { PAGES = 64 };

static struct serve s;
static struct badread *bad;
static int end[2];

static void tell(int i)
{
	CHECK_EQ(write(end[i], "x", 1), 1);
}

static void hear(int i)
{
	char c;

	CHECK_EQ(read(end[i], &c, 1), 1);
}

static void start_where(const char *threads, const char *policy, int spare)
{
	const char *module = getenv("VMF_BADREAD");
	char path[96];
	int fd;

	if (!module)
		vmtest_skip("no module to preload ($VMF_BADREAD)");
	serve_open(&s);
	image_make(s.image, 0, PAGES);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end), 0);
	snprintf(path, sizeof path, "%s/state", s.dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(ftruncate(fd, sizeof *bad), 0);
	bad = mmap(NULL, sizeof *bad, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(bad != MAP_FAILED);
	close(fd);
	atomic_store(&bad->spare, spare);
	setenv("VMF_BADREAD_STATE", path, 1);
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
	setenv("LD_PRELOAD", module, 1);
	SERVE_START(&s, "--threads", threads, "--on-error", policy, NULL);
	unsetenv("LD_PRELOAD");
}

static void start(const char *threads, const char *policy)
{
	start_where(threads, policy, 0);
}

static void done(void)
{
	munmap(bad, sizeof *bad);
	serve_close(&s);
	close(end[0]);
	close(end[1]);
}

static int verifier(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	return guest_verify(&g, 0, 1) ? 1 : 0;
}

/* A read that fails a few times is not a broken image. */
static void for_a_while(void)
{
	pid_t pid;

	start("2", "auto");
	atomic_store(&bad->fail, 3);
	pid = client_fork(verifier, NULL);
	CHECK_EQ(client_wait(pid), 0);
	CHECK(atomic_load(&bad->reads) >= PAGES + 3);
	CHECK(serve_count(&s, pid, "bytes") >= PAGES * PAGE);
	CHECK_EQ(strlen(serve_text(s.err)), 0);
	CHECK_EQ(serve_stop(&s), 0);
	done();
}

static int sees_an_error(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(image_is(g.mem, 0));
	tell(1);
	hear(1);
	CHECK_EQ(guest_peek(&g, PAGE), -1);
	tell(1);
	hear(1);
	/* What failed stays so; the rest works again. */
	CHECK_EQ(guest_peek(&g, PAGE), -1);
	g.mem += 2 * PAGE;
	g.bytes -= 2 * PAGE;
	return guest_verify(&g, 2, 1) ? 1 : 0;
}

static void for_ever(void)
{
	pid_t pid;

	if (vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)"))
		return;
	start("2", "auto");
	pid = client_fork(sees_an_error, NULL);
	hear(0);
	atomic_store(&bad->fail, INT_MAX);
	tell(0);
	hear(0);
	/* Not at the first failure, and not without an end. */
	CHECK(atomic_load(&bad->reads) > 3 && atomic_load(&bad->reads) < 100);
	atomic_store(&bad->fail, 0);
	tell(0);
	CHECK_EQ(client_wait(pid), 0);
	serve_says(s.err, "SIGBUS/IOERR 5 (Input/output error); poisoned\n");
	CHECK_EQ(serve_lines(s.err, "\n"), 1);
	CHECK_EQ(serve_stop(&s), 0);
	done();
}

/* Where pages cannot be poisoned, known beforehand or not, who cannot have one is killed, and reads nothing else. */
static void cannot_poison(void)
{
	for (int spare = 1; spare <= 2; spare++) {
		pid_t pid;

		start_where("2", "auto", spare);
		pid = client_fork(sees_an_error, NULL);
		hear(0);
		atomic_store(&bad->fail, INT_MAX);
		tell(0);
		CHECK_EQ(client_wait(pid), 128 + SIGKILL);
		serve_says(s.err, "SIGBUS/IOERR 5 (Input/output error); killed\n");
		CHECK_EQ(serve_stop(&s), 0);
		done();
	}
}

static int hangs(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	tell(1);
	hear(1);
	return guest_peek(&g, 0) < 0 ? 0 : 1;
}

/* A read that hangs takes a thread, not the others, and not the second signal. */
static void hang(void)
{
	pid_t stuck;

	start("1", "auto");
	stuck = client_fork(hangs, NULL);
	hear(0);
	atomic_store(&bad->hang, 1);
	tell(0);
	CHECK_SOON(atomic_load(&bad->reads) == 1);
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	serve_says(s.err, "waiting for 1 client");
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	CHECK_EQ(serve_wait(&s), 1);
	CHECK_EQ(client_wait(stuck), vmf_linux_can_poison() ? 0 : 128 + SIGKILL);
	done();
}

static int waits_and_verifies(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(image_is(g.mem, 0));
	tell(1);
	hear(1);
	return guest_verify(&g, 0, 1) ? 1 : 0;
}

/* One that is stalled takes no thread at all. */
static void stalled_takes_no_thread(void)
{
	pid_t pid[3];

	start("1", "stall");
	for (int i = 0; i < 3; i++)
		pid[i] = client_fork(waits_and_verifies, NULL);
	for (int i = 0; i < 3; i++)
		hear(0);
	atomic_store(&bad->fail, INT_MAX);
	tell(0);
	tell(0);
	serve_says(s.err, "still trying\n");
	/* A third one comes, stalls too, and goes on with the others. */
	tell(0);
	usleep(500000);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), 0);
	atomic_store(&bad->fail, 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(client_wait(pid[i]), 0);
	CHECK_EQ(serve_stop(&s), 0);
	done();
}

static const struct vmtest tests[] = {
	VMTEST(for_a_while), VMTEST(for_ever), VMTEST(cannot_poison), VMTEST(hang), VMTEST(stalled_takes_no_thread),
};

int main(int argc, char **argv)
{
	serve_need_uffd();
	return vmtest_main(tests, sizeof tests / sizeof tests[0], 30, argc, argv);
}
