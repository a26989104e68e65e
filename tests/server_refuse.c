/* SPDX-License-Identifier: MIT
 *
 * Bad clients, all at once and beside a good one: each is refused with one line that says why, its socket is closed, it
 * reads no zeroes, and the good one does not notice.
 */
#include "serve_rig.h"
#include <sys/resource.h>
#include <sys/socket.h>

enum { IMAGE_PAGES = 2048, BYTES = 1 << 20, CROWD = 30 };

enum fds { NONE, ONE, TWO, MANY, A_FILE, A_PIPE, A_SOCKET };
struct bad {
	const char *text; /* '@': the address of the memory; '!': a byte less than 100 KB of blanks */
	enum fds fds;
	const char *why;
};
#define R(rest) "[{\"base_host_virt_addr\":" rest "}]"
#define MEMORY "\"size\":1048576"
static const struct bad bads[] = {
	{ R("@," MEMORY ",\"offset\":0"), NONE, "no descriptor came with the message" },
	{ R("@," MEMORY ",\"offset\":0"), TWO, "2 descriptors came with the message" },
	{ R("@," MEMORY ",\"offset\":0"), MANY, "40 descriptors came with the message" },
	{ R("@," MEMORY ",\"offset\":0"), A_FILE, "not a userfaultfd" },
	{ R("@," MEMORY ",\"offset\":0"), A_PIPE, "not a userfaultfd" },
	{ R("@," MEMORY ",\"offset\":0"), A_SOCKET, "not a userfaultfd" },
	{ "[{\"base_host_virt_addr\":@,", ONE, "the message is incomplete" },
	{ "", NONE, "nothing came from it in time" },
	{ "\n", ONE, "no message came with the descriptor" },
	{ "[{\"base_host_virt_addr\":@]", ONE, "broken JSON" },
	{ "[{'size':1}]", ONE, "broken JSON" },
	{ "{}", ONE, "broken JSON" },
	{ "[\n\r\x1b 31m]", ONE, "broken JSON" },
	{ "[]", ONE, "no region" },
	{ "[!]", ONE, "longer than 65536 bytes" },
	{ R("\"@\"," MEMORY ",\"offset\":0"), ONE, "not an integer" },
	{ R("@,\"offset\":0"), ONE, "no \"size\"" },
	{ R("9223372036854771712,\"size\":8192,\"offset\":0"), ONE, "wraps around the address space" },
	{ R("18446744073709547520,\"size\":8192,\"offset\":0"), ONE, "broken JSON" },
	{ R("@,\"size\":0,\"offset\":0"), ONE, "empty" },
	{ R("@,\"size\":1048577,\"offset\":0"), ONE, "a size that is not page-aligned" },
	{ R("@," MEMORY ",\"offset\":1"), ONE, "an offset that is not page-aligned" },
	{ R("4097," MEMORY ",\"offset\":0"), ONE, "an address that is not page-aligned" },
	{ R("@," MEMORY ",\"offset\":0,\"page_size\":8192"), ONE, "unknown page size" },
	{ R("@," MEMORY ",\"offset\":0,\"page_size\":0"), ONE, "unknown page size" },
	{ R("@," MEMORY ",\"offset\":7344128"), ONE, "exceeds the image" },
	{ R("@," MEMORY ",\"offset\":9223372036854771712"), ONE, "wraps around the image" },
	{ R("@," MEMORY ",\"offset\":0},{\"base_host_virt_addr\":@," MEMORY ",\"offset\":0"), ONE,
	  "regions 0 and 1 overlap" },
	{ R("4096," MEMORY ",\"offset\":0"), ONE, "not registered" },
};
enum { BADS = sizeof bads / sizeof bads[0] };

static struct serve s;

static size_t write_text(char *out, const char *text, const struct guest *g)
{
	size_t n = 0;

	for (; *text; text++)
		if (*text == '@') {
			n += (size_t)sprintf(out + n, "%zu", (size_t)g->mem);
		} else if (*text == '!') {
			memset(out + n, ' ', 100 * 1024 - 1);
			n += 100 * 1024 - 1;
		} else {
			out[n++] = *text;
		}
	return n;
}

static unsigned make_fds(enum fds kind, const struct guest *g, int *fd)
{
	int pair[2];

	switch (kind) {
	case NONE:
		return 0;
	case A_FILE:
		fd[0] = open(s.image, O_RDONLY);
		return 1;
	case A_PIPE:
		CHECK_EQ(pipe(pair), 0);
		fd[0] = pair[0];
		return 1;
	case A_SOCKET:
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		fd[0] = pair[0];
		return 1;
	default:
		for (unsigned i = 0; i < 40; i++)
			fd[i] = g->uffd;
		return kind == ONE ? 1 : kind == TWO ? 2 : 40;
	}
}

static int bad_client(void *arg)
{
	static char text[110 * 1024];
	const struct bad *b = arg;
	struct guest g;
	int fd[40];
	size_t n;

	CHECK(guest_memory(&g, BYTES, PAGE));
	guest_dial(&g, s.sock);
	n = write_text(text, b->text, &g);
	if (n)
		guest_send(g.sock, text, n, fd, make_fds(b->fds, &g, fd));
	CHECK(guest_closed(g.sock, 9000));
	return 0;
}

/* Verifies half of it, says so, waits until the bad ones have been there, and verifies the rest. */
static int good_end[2];
static int good_client(void *arg)
{
	struct guest g, half;
	char c;

	(void)arg;
	guest_start(&g, s.sock, IMAGE_PAGES * PAGE);
	half = g;
	half.bytes /= 2;
	CHECK_EQ(guest_verify(&half, 0, 2), 0);
	CHECK_EQ(write(good_end[1], "1", 1), 1);
	CHECK_EQ(read(good_end[1], &c, 1), 1);
	return guest_verify(&g, 0, 2) ? 1 : 0;
}

/* A byte now and then does not buy time. */
static int trickler(void *arg)
{
	struct guest g;
	int i = 0;

	(void)arg;
	CHECK(guest_memory(&g, BYTES, PAGE));
	guest_dial(&g, s.sock);
	do
		guest_send(g.sock, i ? "7" : "[", 1, &g.uffd, i == 0);
	while (!guest_closed(g.sock, 100) && ++i < 90);
	return i < 90 ? 0 : 1;
}

static void all_bad(void)
{
	pid_t pid[BADS], slow = client_fork(trickler, NULL);
	char want[256];

	for (unsigned i = 0; i < BADS; i++)
		pid[i] = client_fork(bad_client, (void *)(uintptr_t)&bads[i]);
	for (unsigned i = 0; i < BADS; i++) {
		int code = client_wait(pid[i]);

		if (code)
			vmtest_fail("the socket of the bad client that %s was not closed (%d)", bads[i].why, code);
	}
	for (unsigned i = 0; i < BADS; i++) {
		const char *line;

		snprintf(want, sizeof want, "vmfault serve: %s: client %d refused: ", s.sock, (int)pid[i]);
		serve_says(s.err, want);
		CHECK_EQ(serve_lines(s.err, want), 1);
		line = strstr(serve_text(s.err), want);
		if (!strstr(line, bads[i].why) || strstr(line, bads[i].why) > strchr(line, '\n'))
			vmtest_fail("'%.*s' does not say '%s'", (int)strcspn(line, "\n"), line, bads[i].why);
	}
	CHECK_EQ(client_wait(slow), 0);
	snprintf(want, sizeof want, "client %d refused: the message is incomplete\n", (int)slow);
	serve_says(s.err, want);
	CHECK_EQ(serve_lines(s.err, "\n"), BADS + 1);
}

static void beside_a_good_one(void)
{
	pid_t good;
	char c;

	serve_open(&s);
	image_make(s.image, 0, IMAGE_PAGES);
	SERVE_START(&s, NULL);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, good_end), 0);
	good = client_fork(good_client, NULL);
	CHECK_EQ(read(good_end[0], &c, 1), 1);
	all_bad();
	CHECK_EQ(write(good_end[0], "2", 1), 1);
	CHECK_EQ(client_wait(good), 0);
	CHECK_EQ(serve_count(&s, good, "pages"), IMAGE_PAGES);
	/* Who was refused before its first fault has no line on stdout. */
	CHECK_EQ(serve_lines(s.out, "\n"), 1);
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

/* Gives its only descriptor away, is refused, and reads its memory: not one byte of zero may come of it. */
static int naive_client(void *arg)
{
	struct guest g;

	(void)arg;
	CHECK(guest_memory(&g, BYTES, PAGE));
	guest_dial(&g, s.sock);
	guest_send(g.sock, "{}", 2, &g.uffd, 1);
	close(g.uffd);
	CHECK(guest_closed(g.sock, 9000));
	CHECK_EQ(write(good_end[1], "1", 1), 1);
	return guest_peek(&g, 0) >= 0;
}

static void refused_reads_no_zeroes(void)
{
	pid_t pid;
	char c;

	serve_open(&s);
	image_make(s.image, 0, 1);
	SERVE_START(&s, NULL);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, good_end), 0);
	pid = client_fork(naive_client, NULL);
	CHECK_EQ(read(good_end[0], &c, 1), 1);
	usleep(300000);
	if (waitpid(pid, NULL, WNOHANG))
		vmtest_fail("a refused client went on with memory that nobody served");
	/* It is one of those that a server waits for. */
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	serve_says(s.err, "waiting for 1 client");
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(client_wait(pid), 128 + SIGKILL);
	CHECK_EQ(serve_wait(&s), 0);
	serve_close(&s);
}

/* What was handed over before goes on being served. */
static int good_then_bad(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, IMAGE_PAGES * PAGE);
	CHECK(guest_peek(&g, 0) >= 0);
	guest_send(g.sock, "[7]", 3, NULL, 0);
	CHECK(guest_closed(g.sock, 9000));
	close(g.uffd);
	return guest_verify(&g, 0, 2) ? 1 : 0;
}

static void bad_second_message(void)
{
	pid_t pid;

	serve_open(&s);
	image_make(s.image, 0, IMAGE_PAGES);
	SERVE_START(&s, NULL);
	pid = client_fork(good_then_bad, NULL);
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), IMAGE_PAGES);
	serve_says(s.err, "refused: region 0 is not an object\n");
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

static unsigned files_of(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	d = opendir(path);
	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int verifier(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, IMAGE_PAGES * PAGE);
	return guest_verify(&g, 0, 2) ? 1 : 0;
}

/* Descriptors run out (at the connection itself, or at what it needs beside): whoever comes is turned away at once, who
 * is there is served, and later all is well again. */
static void run_out_of_files(unsigned left)
{
	struct rlimit few = { 0, 4096 };
	struct guest g[CROWD];
	unsigned idle;
	pid_t good;
	char c;

	serve_open(&s);
	image_make(s.image, 0, IMAGE_PAGES);
	SERVE_START(&s, NULL);
	idle = files_of(s.pid);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, good_end), 0);
	good = client_fork(good_client, NULL);
	CHECK_EQ(read(good_end[0], &c, 1), 1);
	few.rlim_cur = files_of(s.pid) + left;
	CHECK_EQ(prlimit(s.pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (int i = 0; i < CROWD; i++) {
		g[i] = (struct guest){ .sock = -1 };
		guest_dial(&g[i], s.sock);
	}
	CHECK(guest_closed(g[CROWD - 1].sock, 4000));
	serve_says(s.err, "refused: ");
	serve_says(s.err, "too many open files");
	CHECK_EQ(write(good_end[0], "2", 1), 1);
	CHECK_EQ(client_wait(good), 0);
	for (int i = 0; i < CROWD; i++)
		close(g[i].sock);
	CHECK_SOON(files_of(s.pid) <= idle);
	good = client_fork(verifier, NULL);
	CHECK_EQ(client_wait(good), 0);
	CHECK_SOON(files_of(s.pid) <= idle);
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

static void too_many_files(void)
{
	for (unsigned left = 6; left < 9; left++)
		run_out_of_files(left);
}

/* What it has sent lies in the socket, unread, and that was its only descriptor.  It must not read zeroes: it is kept
 * waiting, or killed. */
struct unread { const char *first; bool file_first; unsigned before; };

static int unread_client(void *arg)
{
	const struct unread *u = arg;
	struct guest g;
	int fd;

	CHECK(guest_memory(&g, BYTES, PAGE));
	for (unsigned i = 0; i <= u->before; i++)
		guest_dial(&g, s.sock);
	fd = open(s.image, O_RDONLY | O_CLOEXEC);
	if (u->file_first)
		guest_send(g.sock, u->first, strlen(u->first), &fd, 1);
	guest_hello(&g, 0);
	close(g.uffd);
	CHECK_EQ(write(good_end[1], "1", 1), 1);
	CHECK(guest_closed(g.sock, 9000));
	return guest_peek(&g, 0) == 0 ? 7 : 0;
}

static pid_t unread_start(const struct unread *u)
{
	int status;
	pid_t pid;
	char c;

	CHECK_EQ(kill(s.pid, SIGSTOP), 0);
	CHECK_EQ(waitpid(s.pid, &status, WUNTRACED), s.pid); /* all its threads have stopped */
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, good_end), 0);
	pid = client_fork(unread_client, (void *)(uintptr_t)u);
	CHECK_EQ(read(good_end[0], &c, 1), 1);
	return pid;
}

static void queued_behind_a_bad_one(void)
{
	static const struct unread u = { .first = "{}", .file_first = true };
	pid_t pid;

	serve_open(&s);
	image_make(s.image, 0, IMAGE_PAGES);
	SERVE_START(&s, NULL);
	pid = unread_start(&u);
	CHECK_EQ(kill(s.pid, SIGCONT), 0);
	serve_says(s.err, "refused: ");
	usleep(300000);
	if (waitpid(pid, NULL, WNOHANG))
		vmtest_fail("a refused client went on with memory that nobody served");
	CHECK_EQ(kill(pid, SIGKILL), 0);
	CHECK_EQ(client_wait(pid), 128 + SIGKILL);
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

static bool has_client(pid_t pid)
{
	char path[64], link[64];
	bool has = false;

	for (unsigned i = 0; i < 64; i++) {
		ssize_t n;

		snprintf(path, sizeof path, "/proc/%d/fd/%u", (int)pid, i);
		n = readlink(path, link, sizeof link - 1);
		link[n > 0 ? n : 0] = '\0';
		has |= strstr(link, "[pidfd]") != NULL;
	}
	return has;
}

/* Somebody has been there, and has gone: so it is through with starting, and holds nothing for a moment only. */
static void serve_idle(void)
{
	struct guest g = { .sock = -1 };

	guest_dial(&g, s.sock);
	guest_send(g.sock, "{}", 2, NULL, 0);
	CHECK(guest_closed(g.sock, 4000));
	close(g.sock);
	CHECK_SOON(!has_client(s.pid));
}

/* The limit under which so many numbers are left to a process: what it has inherited may lie above. */
static unsigned limit_with(pid_t pid, unsigned left)
{
	unsigned limit = 0, number;
	bool used[1024] = { false };
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	d = opendir(path);
	CHECK(d);
	while ((e = readdir(d)))
		if (sscanf(e->d_name, "%u", &number) == 1 && number < 1024)
			used[number] = true;
	closedir(d);
	while (used[limit] || left--)
		limit++;
	return limit;
}

static void queued_where_files_run_out(void)
{
	static const struct unread u = { .before = 0 };
	struct rlimit few = { 0, 4096 };

	for (unsigned left = 0; left < 3; left++) {
		pid_t pid;

		serve_open(&s);
		image_make(s.image, 0, IMAGE_PAGES);
		SERVE_START(&s, NULL);
		serve_idle();
		pid = unread_start(&u);
		few.rlim_cur = limit_with(s.pid, left);
		CHECK_EQ(prlimit(s.pid, RLIMIT_NOFILE, &few, NULL), 0);
		CHECK_EQ(kill(s.pid, SIGCONT), 0);
		CHECK_EQ(client_wait(pid), 128 + SIGKILL);
		serve_says(s.err, "so it was killed");
		serve_says(s.err, "too many open files");
		CHECK_EQ(serve_stop(&s), 0);
		serve_close(&s);
	}
}

/* More come at once than are let in at a time, and then the server ends. */
static void queued_when_it_ends(void)
{
	static const struct unread u = { .before = 20 };
	int code;
	pid_t pid;

	serve_open(&s);
	image_make(s.image, 0, IMAGE_PAGES);
	SERVE_START(&s, NULL);
	pid = unread_start(&u);
	CHECK_EQ(kill(s.pid, SIGTERM), 0);
	CHECK_EQ(kill(s.pid, SIGCONT), 0);
	code = client_wait(pid);
	CHECK(code == 128 + SIGKILL);
	serve_says(s.err, "no new clients; it holds a descriptor, so it was killed");
	CHECK_EQ(serve_wait(&s), 0);
	serve_close(&s);
}

/* A connection that says nothing and goes away is a look at whether somebody is there, not an error. */
static void a_look(void)
{
	struct guest g = { .sock = -1 };

	serve_open(&s);
	image_make(s.image, 0, 1);
	SERVE_START(&s, NULL);
	guest_dial(&g, s.sock);
	close(g.sock);
	CHECK_EQ(serve_stop(&s), 0);
	CHECK(!strstr(serve_text(s.err), "refused"));
	CHECK_EQ(strlen(serve_text(s.out)), 0);
	serve_close(&s);
}

static const struct vmtest tests[] = {
	VMTEST(beside_a_good_one), VMTEST(refused_reads_no_zeroes), VMTEST(bad_second_message),
	VMTEST(too_many_files), VMTEST(a_look), VMTEST(queued_behind_a_bad_one), VMTEST(queued_where_files_run_out),
	VMTEST(queued_when_it_ends),
};

int main(int argc, char **argv)
{
	serve_need_uffd();
	return vmtest_main(tests, sizeof tests / sizeof tests[0], 60, argc, argv);
}
