/* SPDX-License-Identifier: MIT
 *
 * A client whose memory is 2 MiB pages (hugetlb): every byte, removes, and an image that breaks.
 */
#include "serve_rig.h"
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define HUGE (2 * MB)
enum { HUGES = 4, PAGES = HUGES * 512 };
static const char pool[] = "/proc/sys/vm/nr_hugepages";

static struct serve s;
static int end[2];

static long pool_size(void)
{
	return atol(serve_text(pool));
}

static void set_pool(long n)
{
	FILE *f = fopen(pool, "w");

	if (f) {
		fprintf(f, "%ld\n", n);
		fclose(f);
	}
}

static void start(struct guest *g)
{
	CHECK(guest_memory(g, HUGES * HUGE, HUGE));
	guest_dial(g, s.sock);
	guest_hello(g, 0);
}

static bool zero(const char *p, size_t n)
{
	while (n && !*p++)
		n--;
	return !n;
}

static int verifier(void *arg)
{
	struct guest g;

	(void)arg;
	start(&g);
	if (guest_verify(&g, 0, 2))
		return 1;
	CHECK_EQ(madvise(g.mem + HUGE, HUGE, MADV_DONTNEED), 0);
	CHECK(zero(g.mem + HUGE, HUGE));
	CHECK(image_is(g.mem + HUGE - PAGE, 511) && image_is(g.mem + 2 * HUGE, 1024));
	return 0;
}

static void all(void)
{
	pid_t pid;

	serve_open(&s);
	image_make(s.image, 0, PAGES);
	SERVE_START(&s, NULL);
	pid = client_fork(verifier, NULL);
	CHECK_EQ(client_wait(pid), 0);
	CHECK_EQ(serve_count(&s, pid, "pages"), PAGES + 512);
	CHECK_EQ(serve_count(&s, pid, "removed"), 512);
	CHECK(serve_count(&s, pid, "faults") <= 2 * HUGES + 2);
	CHECK_EQ(serve_stop(&s), 0);
	CHECK_EQ(strlen(serve_text(s.err)), 0);
	serve_close(&s);
}

static int broken_reader(void *arg)
{
	struct guest g;
	char c;

	(void)arg;
	start(&g);
	CHECK(image_is(g.mem, 0));
	CHECK_EQ(write(end[1], "x", 1), 1);
	CHECK_EQ(read(end[1], &c, 1), 1);
	CHECK_EQ(guest_peek(&g, 2 * HUGE), -1);
	CHECK_EQ(guest_peek(&g, 3 * HUGE + PAGE), -1);
	return image_is(g.mem + HUGE, 512) ? 0 : 1;
}

static void broken(void)
{
	pid_t pid;
	char c;

	serve_open(&s);
	image_make(s.image, 0, PAGES);
	SERVE_START(&s, NULL);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end), 0);
	pid = client_fork(broken_reader, NULL);
	CHECK_EQ(read(end[0], &c, 1), 1);
	/* The third page is half there. */
	CHECK_EQ(truncate(s.image, (off_t)(2 * HUGE + MB)), 0);
	CHECK_EQ(write(end[0], "x", 1), 1);
	/* Poisoned where the kernel can poison huge pages, else killed; the reader says when it got bytes. */
	c = (char)client_wait(pid);
	CHECK(c == 0 || (unsigned char)c == 128 + SIGKILL);
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

static const struct vmtest tests[] = { VMTEST(all), VMTEST(broken) };

int main(int argc, char **argv)
{
	int r, lock = open(pool, O_RDONLY | O_CLOEXEC);
	struct guest g;
	long before;
	pid_t pid;

	serve_need_uffd();
	/* Other tests change the pool too; each holds this lock until it has put it back. */
	if (lock < 0 || flock(lock, LOCK_EX))
		vmtest_skip("no pool of huge pages");
	before = pool_size();
	set_pool(before + HUGES + 1);
	if (!guest_memory(&g, HUGES * HUGE, HUGE)) {
		set_pool(before);
		vmtest_skip("no huge pages: vm.nr_hugepages is too small and cannot be raised");
	}
	munmap(g.mem, g.bytes);
	close(g.uffd);
	/* The tests end their process when they fail: the pool is put back by another one. */
	pid = fork();
	if (!pid)
		vmtest_end(vmtest_main(tests, sizeof tests / sizeof tests[0], 30, argc, argv));
	r = client_wait(pid);
	set_pool(before);
	return r;
}
