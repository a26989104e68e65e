/* SPDX-License-Identifier: MIT
 *
 * Good clients: alone, several on one stream, many at once, with removes, with holes, and one that dies in the middle.
 */
#include "serve_rig.h"
#include <jansson.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { PAGES = 1024, CLIENTS = 8 };

static struct serve s;
static int end[2]; /* a test and its client talk over this */

static void tell(int i)
{
	CHECK_EQ(write(end[i], "x", 1), 1);
}

static void hear(int i)
{
	char c;

	CHECK_EQ(read(end[i], &c, 1), 1);
}

static void open_with_image(uint64_t pages)
{
	serve_open(&s);
	image_make(s.image, 0, pages);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end), 0);
}

static void done(void)
{
	CHECK_EQ(serve_stop(&s), 0);
	CHECK_EQ(strlen(serve_text(s.err)), 0);
	serve_close(&s);
	close(end[0]);
	close(end[1]);
}

static bool is_zero(const char *p, size_t n)
{
	while (n && !*p++)
		n--;
	return !n;
}

static int verifier(void *threads)
{
	struct guest g;

	guest_start(&g, s.sock, PAGES * PAGE);
	return guest_verify(&g, 0, *(unsigned *)threads) ? 1 : 0;
}

static void one(void)
{
	pid_t pid;

	open_with_image(PAGES);
	SERVE_START(&s, NULL);
	pid = client_fork(verifier, &(unsigned){ 1 });
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), PAGES);
	CHECK_EQ(serve_count(&s, pid, "faults"), PAGES);
	CHECK_EQ(serve_count(&s, pid, "bytes"), PAGES * PAGE);
	CHECK_EQ(serve_count(&s, pid, "zero"), 0);
	CHECK_EQ(serve_count(&s, pid, "removed"), 0);
	serve_says(s.out, " s, end gone\n");
	done();
}

static void around(void)
{
	pid_t pid;

	open_with_image(PAGES);
	SERVE_START(&s, "--fault-around", "256k", NULL);
	pid = client_fork(verifier, &(unsigned){ 1 });
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), PAGES);
	CHECK_EQ(serve_count(&s, pid, "faults"), PAGES / 64);
	done();
}

static unsigned threads_of(pid_t pid)
{
	char path[64];
	const char *p;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	p = strstr(serve_text(path), "Threads:");
	CHECK(p);
	return (unsigned)atoi(p + 8);
}

static int waiting_verifier(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK_EQ(guest_peek(&g, 0) >= 0, true);
	tell(1);
	hear(1);
	return guest_verify(&g, 0, 4) ? 1 : 0;
}

/* All at once, and the server has no thread more than before. */
static void many(void)
{
	pid_t pid[CLIENTS];
	unsigned before;

	open_with_image(PAGES);
	SERVE_START(&s, "--threads", "3", NULL);
	CHECK_SOON(threads_of(s.pid) >= 3);
	before = threads_of(s.pid);
	for (int i = 0; i < CLIENTS; i++)
		pid[i] = client_fork(waiting_verifier, NULL);
	for (int i = 0; i < CLIENTS; i++)
		hear(0);
	CHECK(threads_of(s.pid) <= before + 1); /* a sanitizer may have one of its own */
	for (int i = 0; i < CLIENTS; i++)
		tell(0);
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(client_wait(pid[i]), 0);
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(serve_count(&s, pid[i], "pages"), PAGES);
	done();
}

static int endless(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(guest_peek(&g, 0) >= 0);
	tell(1);
	for (;;) {
		CHECK_EQ(guest_verify(&g, 0, 4), 0);
		CHECK_EQ(madvise(g.mem, g.bytes, MADV_DONTNEED), 0);
		for (size_t i = 0; i < g.bytes; i += PAGE)
			image_page(i / PAGE, g.mem + i);
	}
	return 0;
}

/* Killed while its threads are in faults; another one goes on. */
static void killed_in_the_middle(void)
{
	pid_t other, pid;

	open_with_image(PAGES);
	SERVE_START(&s, NULL);
	other = client_fork(waiting_verifier, NULL);
	hear(0);
	for (int i = 0; i < 10; i++) {
		pid = client_fork(endless, NULL);
		hear(0);
		usleep(2000u * (unsigned)i);
		CHECK_EQ(kill(pid, SIGKILL), 0);
		CHECK_EQ(client_wait(pid), 128 + SIGKILL);
		CHECK(serve_count(&s, pid, "pages") > 0);
	}
	tell(0);
	CHECK_EQ(client_wait(other), 0);
	CHECK_EQ(serve_count(&s, other, "pages"), PAGES);
	done();
}

static int remover(void *arg)
{
	struct guest g;
	size_t half = PAGES * PAGE / 2, quarter = half / 2;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	/* The first quarter was there, the second never was; both are given back. */
	for (size_t i = 0; i < quarter; i += PAGE)
		CHECK(image_is(g.mem + i, i / PAGE));
	CHECK_EQ(madvise(g.mem, half, MADV_DONTNEED), 0);
	CHECK(is_zero(g.mem, half));
	for (size_t i = half; i < g.bytes; i += PAGE)
		CHECK(image_is(g.mem + i, i / PAGE));
	/* Again, page by page, from what reads zero and from what was written. */
	memset(g.mem, 'w', quarter);
	for (size_t i = 0; i < half; i += PAGE) {
		CHECK_EQ(madvise(g.mem + i, PAGE, MADV_DONTNEED), 0);
		CHECK(is_zero(g.mem + i, PAGE));
	}
	return 0;
}

static void removes(void)
{
	pid_t pid;

	for (int big = 0; big < 2; big++) {
		open_with_image(PAGES);
		SERVE_START(&s, "--fault-around", big ? "256k" : "4k", NULL);
		pid = client_fork(remover, NULL);
		CHECK_EQ(client_wait(pid), 0);
		CHECK_EQ(serve_count(&s, pid, "removed"), PAGES / 2);
		CHECK(serve_count(&s, pid, "zero") >= PAGES / 2);
		done();
	}
}

static int two_memories(void *arg)
{
	struct guest a, b;

	(void)arg;
	guest_start(&a, s.sock, PAGES / 2 * PAGE);
	CHECK(guest_memory(&b, PAGES / 2 * PAGE, PAGE));
	b.sock = a.sock;
	guest_hello(&b, PAGES / 2 * PAGE);
	return guest_verify(&a, 0, 2) || guest_verify(&b, PAGES / 2, 2);
}

static void several_messages(void)
{
	pid_t pid;

	open_with_image(PAGES);
	SERVE_START(&s, NULL);
	pid = client_fork(two_memories, NULL);
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), PAGES);
	CHECK_EQ(serve_lines(s.out, "\n"), 1);
	done();
}

/* Three regions in one message, in another order than in memory, in pieces, and longer than one would guess. */
static int shuffled(void *arg)
{
	static char text[65000];
	struct guest g, part;
	size_t third = 256 * PAGE, n, at;

	(void)arg;
	CHECK(guest_memory(&g, 3 * third, PAGE));
	guest_dial(&g, s.sock);
	n = (size_t)sprintf(text, "[{\"base_host_virt_addr\":%zu,\"size\":%zu,\"offset\":%zu},"
		"{\"new\":{\"x\":[\"]\"]},\"offset\":0,\"base_host_virt_addr\":%zu,\"size\":%zu,\"page_size_kib\":4096},"
		"{\"base_host_virt_addr\":%zu,\"size\":%zu,\"offset\":%zu,\"page_size\":4096",
		(size_t)g.mem + 2 * third, third, third, (size_t)g.mem, third, (size_t)g.mem + third, third, 2 * third);
	memset(text + n, ' ', 60000);
	n += 60000;
	n += (size_t)sprintf(text + n, "}]");
	guest_send(g.sock, text, 1, &g.uffd, 1);
	for (at = 1; at < 400; at++) {
		usleep(100);
		guest_send(g.sock, text + at, 1, NULL, 0);
	}
	guest_send(g.sock, text + at, n - at, NULL, 0);
	part = g;
	part.bytes = third;
	if (guest_verify(&part, 0, 1))
		return 1;
	part.mem = g.mem + third;
	if (guest_verify(&part, 512, 1))
		return 2;
	part.mem = g.mem + 2 * third;
	return guest_verify(&part, 256, 1) ? 3 : 0;
}

static void regions(void)
{
	pid_t pid;

	open_with_image(PAGES);
	SERVE_START(&s, NULL);
	pid = client_fork(shuffled, NULL);
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), 768);
	done();
}

/* 16 pages of data, a hole, and half a page at the end. */
static int odd_reader(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, 256 * PAGE);
	for (uint64_t i = 0; i < 16; i++)
		CHECK(image_is(g.mem + i * PAGE, i));
	CHECK(is_zero(g.mem + 16 * PAGE, 239 * PAGE));
	CHECK_EQ(memcmp(g.mem + 255 * PAGE, "the end", 7), 0);
	return !is_zero(g.mem + 255 * PAGE + 7, PAGE - 7);
}

static void odd_with_holes(void)
{
	pid_t pid;
	int fd;

	open_with_image(16);
	fd = open(s.image, O_WRONLY);
	CHECK_EQ(pwrite(fd, "the end", 7, 255 * PAGE), 7);
	close(fd);
	SERVE_START(&s, "--fault-around", "64k", NULL);
	pid = client_fork(odd_reader, NULL);
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), 256);
	/* Holes are not read, but a file system's block may be larger than a page. */
	CHECK(serve_count(&s, pid, "zero") >= 224);
	CHECK(serve_count(&s, pid, "bytes") <= 32 * PAGE);
	done();
}

static int without_a_socket(void *arg)
{
	struct guest g;
	char c = 0;

	(void)arg;
	guest_start(&g, s.sock, PAGES * PAGE);
	CHECK(guest_peek(&g, 0) >= 0);
	close(g.sock);
	/* Its only other copy: from here on the server's is the last. */
	close(g.uffd);
	for (int i = 0; i < 20; i++) {
		usleep(20000);
		c |= !image_is(g.mem + (size_t)(1 + i) * PAGE, (uint64_t)(1 + i));
	}
	return guest_verify(&g, 0, 2) || c;
}

/* A client that closes its socket and lives on must not read zeroes. */
static void closed_socket(void)
{
	pid_t pid;

	open_with_image(PAGES);
	SERVE_START(&s, NULL);
	pid = client_fork(without_a_socket, NULL);
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), PAGES);
	done();
}

static void json_line(void)
{
	json_t *line;
	pid_t pid;

	open_with_image(PAGES);
	SERVE_START(&s, "--json", NULL);
	pid = client_fork(verifier, &(unsigned){ 1 });
	CHECK_EQ(client_wait(pid), 0);
	serve_says(s.out, "\n");
	CHECK_EQ(serve_lines(s.out, "\n"), 1);
	line = json_loads(serve_text(s.out), 0, NULL);
	CHECK(line);
	CHECK_EQ(json_integer_value(json_object_get(line, "v")), 1);
	CHECK_EQ(json_integer_value(json_object_get(line, "client")), pid);
	CHECK_EQ(json_integer_value(json_object_get(line, "pages")), PAGES);
	CHECK_EQ(json_integer_value(json_object_get(line, "bytes")), PAGES * PAGE);
	CHECK(json_is_real(json_object_get(line, "seconds")));
	CHECK(!strcmp(json_string_value(json_object_get(line, "end")), "gone"));
	json_decref(line);
	done();
}

static const struct vmtest tests[] = {
	VMTEST(one), VMTEST(around), VMTEST(many), VMTEST(killed_in_the_middle), VMTEST(removes),
	VMTEST(several_messages), VMTEST(regions), VMTEST(odd_with_holes), VMTEST(closed_socket), VMTEST(json_line),
};

int main(int argc, char **argv)
{
	serve_need_uffd();
	return vmtest_main(tests, sizeof tests / sizeof tests[0], 40, argc, argv);
}
