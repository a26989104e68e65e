/* SPDX-License-Identifier: MIT
 *
 * The image breaks while it is served (it shrinks): what clients get is what --on-error says, and never zeroes.
 */
#include "serve_rig.h"
#include <sys/socket.h>

enum { PAGES = 1024, LEFT = 256 };

static struct serve s;
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

static void start(const char *policy)
{
	serve_open(&s);
	image_make(s.image, 0, PAGES);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end), 0);
	SERVE_START(&s, "--on-error", policy, NULL);
}

static void done(void)
{
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
	close(end[0]);
	close(end[1]);
}

/* A page of what is left, then one that is lost, then another of what is left.  0: data, SIGBUS, data. */
static int reader(void *lost)
{
	size_t page = *(size_t *)lost;
	struct guest g;
	int got;

	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(image_is(g.mem, 0));
	tell(1);
	hear(1);
	got = guest_peek(&g, page * PAGE);
	if (got >= 0)
		return image_is(g.mem + page * PAGE, page) ? 2 : 3;
	CHECK(image_is(g.mem + PAGE, 1));
	return 0;
}

static pid_t start_reader(size_t page)
{
	static size_t lost;
	pid_t pid;

	lost = page;
	pid = client_fork(reader, &lost);
	hear(0);
	return pid;
}

static int good_reader(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(image_is(g.mem, 0));
	tell(1);
	hear(1);
	g.bytes = LEFT * PAGE;
	return guest_verify(&g, 0, 2) ? 1 : 0;
}

/* Its reason, on one line. */
static void says_why(pid_t pid, const char *what)
{
	char line[160];

	snprintf(line, sizeof line, "vmfault serve: %s: client %d", s.image, (int)pid);
	serve_says(s.err, line);
	serve_says(s.err, "SIGBUS/");
	serve_says(s.err, what);
}

static bool can_poison(const char *policy)
{
	const char *args[] = { "serve", "--socket", s.sock, "--image", "/nonexistent", "--on-error", policy, NULL };
	int code;

	serve_open(&s);
	serve_exec(&s, args);
	code = serve_wait(&s);
	serve_close(&s);
	CHECK(code == 1 || code == 4);
	return code == 1;
}

static void poisoned(const char *policy, uint64_t length, size_t page)
{
	pid_t pid, other;

	start(policy);
	pid = start_reader(page);
	other = client_fork(good_reader, NULL);
	hear(0);
	CHECK_EQ(truncate(s.image, (off_t)length), 0);
	tell(0);
	tell(0);
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(client_wait(other), 0);
	says_why(pid, "; poisoned");
	CHECK_EQ(serve_lines(s.err, "\n"), 1);
	done();
}

static void poison(void)
{
	if (vmtest_lacks(!can_poison("poison"), "this kernel cannot poison (6.6 can)"))
		return;
	poisoned("poison", LEFT * PAGE, LEFT + 100);
	poisoned("auto", LEFT * PAGE, PAGES - 1);
}

/* The cut is within a page: what is left of it must not be padded with zeroes. */
static void cut_page(void)
{
	if (vmtest_lacks(!can_poison("poison"), "this kernel cannot poison (6.6 can)"))
		return;
	poisoned("poison", LEFT * PAGE + 100, LEFT);
}

static void kill_policy(void)
{
	pid_t pid, other;

	start("kill");
	pid = start_reader(LEFT + 100);
	other = client_fork(good_reader, NULL);
	hear(0);
	CHECK_EQ(truncate(s.image, LEFT * PAGE), 0);
	tell(0);
	tell(0);
	CHECK_EQ(client_wait(pid), 128 + SIGKILL);
	CHECK_EQ(client_wait(other), 0);
	says_why(pid, "; killed");
	serve_says(s.out, "end killed\n");
	done();
}

/* Where the kernel has no poison, asking for it is refused before anything is served, and `auto` kills. */
static void no_poison(void)
{
	char *was = getenv("VMF_WITHOUT");
	pid_t pid;

	was = was ? strdup(was) : NULL;
	setenv("VMF_WITHOUT", "since-6.6", 1);
	CHECK(!can_poison("poison"));
	CHECK(can_poison("auto"));
	start("auto");
	pid = start_reader(LEFT + 100);
	CHECK_EQ(truncate(s.image, LEFT * PAGE), 0);
	tell(0);
	CHECK_EQ(client_wait(pid), 128 + SIGKILL);
	says_why(pid, "; killed");
	done();
	if (was)
		setenv("VMF_WITHOUT", was, 1);
	else
		unsetenv("VMF_WITHOUT");
	free(was);
}

/* It waits, an alarm a second is raised at most, and it goes on when the image is whole again. */
static void stall(void)
{
	pid_t pid, other;
	unsigned lines;

	start("stall");
	pid = start_reader(LEFT + 100);
	other = client_fork(good_reader, NULL);
	hear(0);
	CHECK_EQ(truncate(s.image, LEFT * PAGE), 0);
	tell(0);
	tell(0);
	CHECK_EQ(client_wait(other), 0);
	says_why(pid, "; still trying");
	usleep(2500000);
	lines = serve_lines(s.err, "\n");
	if (lines < 2 || lines > 4)
		vmtest_fail("%u alarms in about 3 s", lines);
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	image_make(s.image, LEFT, PAGES - LEFT);
	CHECK_EQ(client_wait(pid), 2); /* it got the right bytes */
	done();
}

static const struct vmtest tests[] = { VMTEST(poison), VMTEST(cut_page), VMTEST(kill_policy), VMTEST(no_poison),
	VMTEST(stall) };

int main(int argc, char **argv)
{
	serve_need_uffd();
	return vmtest_main(tests, sizeof tests / sizeof tests[0], 40, argc, argv);
}
