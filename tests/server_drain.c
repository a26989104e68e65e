/* SPDX-License-Identifier: MIT
 *
 * How a server ends: idle, with clients, and at a second signal.
 */
#include "serve_rig.h"
#include <sys/socket.h>

enum { PAGES = 1024 };

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
	struct stat st;

	CHECK(lstat(s.sock, &st) && errno == ENOENT);
	CHECK(lstat(s.pid_file, &st) && errno == ENOENT);
	serve_close(&s);
	close(end[0]);
	close(end[1]);
}

static int half_then_all(void *arg)
{
	struct guest g, half;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	half = g;
	half.bytes /= 2;
	CHECK_EQ(guest_verify(&half, 0, 2), 0);
	tell(1);
	hear(1);
	return guest_verify(&g, 0, 2) ? 1 : 0;
}

static void idle(void)
{
	for (int sig = SIGINT; sig <= SIGTERM; sig += SIGTERM - SIGINT) {
		start("auto");
		CHECK_EQ(kill(s.pid, sig), 0);
		CHECK_EQ(serve_wait(&s), 0);
		CHECK_EQ(strlen(serve_text(s.err)), 0);
		done();
	}
}

static void waits_for_clients(void)
{
	pid_t a, b;
	char want[64], swapped[64];
	struct stat st;

	start("auto");
	a = client_fork(half_then_all, NULL);
	b = client_fork(half_then_all, NULL);
	hear(0);
	hear(0);
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	serve_says(s.err, "waiting for 2 clients: ");
	snprintf(want, sizeof want, "clients: %d, %d\n", (int)a, (int)b);
	snprintf(swapped, sizeof swapped, "clients: %d, %d\n", (int)b, (int)a);
	CHECK(strstr(serve_text(s.err), want) || strstr(serve_text(s.err), swapped));
	/* Nobody can come any more. */
	CHECK(lstat(s.sock, &st) && errno == ENOENT);
	tell(0);
	tell(0);
	CHECK_EQ(client_wait(a), 0);
	CHECK_EQ(client_wait(b), 0);
	CHECK_EQ(serve_wait(&s), 0);
	CHECK_EQ(serve_count(&s, a, "pages"), PAGES);
	CHECK_EQ(serve_count(&s, b, "pages"), PAGES);
	done();
}

/* Who is connected and has said nothing yet is given its time, and no more. */
static void silent_client(void)
{
	struct guest g = { .sock = -1 };

	start("auto");
	guest_dial(&g, s.sock);
	/* The server has let it in when it can be refused: by its name in the list of those waited for. */
	usleep(100000);
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	serve_says(s.err, "waiting for 1 client: ");
	CHECK_EQ(serve_wait(&s), 0);
	serve_says(s.err, "refused: nothing came from it in time");
	CHECK(guest_closed(g.sock, 1000));
	close(g.sock);
	done();
}

static int abandoned(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(image_is(g.mem + PAGE, 1));
	CHECK(image_is(g.mem + 5 * PAGE, 5));
	/* The server's copy is the last one. */
	close(g.uffd);
	tell(1);
	hear(1);
	CHECK(image_is(g.mem + PAGE, 1) && image_is(g.mem + 5 * PAGE, 5));
	for (size_t i = 0; i < PAGES; i++)
		if (i != 1 && i != 5 && guest_peek(&g, i * PAGE) >= 0)
			return 1;
	return 0;
}

static void second_signal(const char *policy, int code)
{
	pid_t pid;

	start(policy);
	pid = client_fork(abandoned, NULL);
	hear(0);
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	serve_says(s.err, "waiting for 1 client");
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	CHECK_EQ(serve_wait(&s), 1);
	serve_says(s.err, "ended by a second signal; abandons 1 client: ");
	serve_says(s.out, "end stopped\n");
	tell(0);
	CHECK_EQ(client_wait(pid), code);
	done();
}

static void second_signal_poisons(void)
{
	second_signal("auto", 0);
}

static void second_signal_kills(void)
{
	second_signal("kill", 128 + SIGKILL);
}

static const struct vmtest tests[] = {
	VMTEST(idle), VMTEST(waits_for_clients), VMTEST(silent_client), VMTEST(second_signal_poisons),
	VMTEST(second_signal_kills),
};

int main(int argc, char **argv)
{
	serve_need_uffd();
	return vmtest_main(tests, sizeof tests / sizeof tests[0], 30, argc, argv);
}
