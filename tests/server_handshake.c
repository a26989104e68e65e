/* SPDX-License-Identifier: MIT
 *
 * The handshake's parser: whole messages, messages in every pair of pieces, several on a stream, and everything that is
 * not the protocol.
 */
#include "server/handshake.h"
#include "vmtest.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

static const char captured[] = "[{\"base_host_virt_addr\":140369865998336,\"size\":268435456,\"offset\":0,"
			       "\"page_size\":4096,\"page_size_kib\":4096}]";
#define REGION(more) "{\"base_host_virt_addr\":4096,\"size\":8192,\"offset\":12288" more "}"

#define DEEP "[[[[[[[[[[[[[[[["

static int a_file(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static unsigned open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static enum vmf_hello_state feed(struct vmf_handshake *h, const char *text, size_t n, unsigned fds,
				 struct vmf_hello *hello)
{
	int fd[32];

	for (unsigned i = 0; i < fds; i++)
		fd[i] = a_file();
	CHECK_EQ(vmf__handshake_feed(h, text, n, fd, fds), 0);
	return vmf__handshake_next(h, hello);
}

static enum vmf_hello_state feed_text(struct vmf_handshake *h, const char *text, unsigned fds, struct vmf_hello *hello)
{
	return feed(h, text, strlen(text), fds, hello);
}

static struct vmf_hello one(const char *text)
{
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;

	CHECK(h);
	CHECK_EQ(feed_text(h, text, 1, &hello), VMF_HELLO_READY);
	close(hello.uffd);
	CHECK_EQ(vmf__handshake_next(h, &hello), VMF_HELLO_MORE);
	CHECK(!vmf__handshake_why(h));
	vmf__handshake_close(h);
	return hello;
}

static void whole(void)
{
	struct vmf_hello hello = one(captured);

	CHECK_EQ(hello.regions, 1);
	CHECK_EQ(hello.region[0].va, 140369865998336);
	CHECK_EQ(hello.region[0].bytes, 268435456);
	CHECK_EQ(hello.region[0].offset, 0);
	CHECK_EQ(hello.region[0].page_size, 4096);
}

static void page_sizes(void)
{
	static const struct { const char *text; uint32_t bytes; } t[] = {
		{ "[" REGION("") "]", 4096 },
		{ "[" REGION(",\"page_size\":2097152") "]", 2097152 },
		{ "[" REGION(",\"page_size_kib\":2097152") "]", 2097152 },
		{ "[" REGION(",\"page_size_kib\":4,\"page_size\":4096") "]", 4096 },
	};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		CHECK_EQ(one(t[i].text).region[0].page_size, t[i].bytes);
}

static void unknown_members(void)
{
	struct vmf_hello hello = one("\n [ " REGION(",\"x\":[[{\"]\":\"}\\\"]\\\\\"}]],\"y\":null") " , "
		REGION("") "]\n");

	CHECK_EQ(hello.regions, 2);
	CHECK_EQ(hello.region[1].offset, 12288);
}

/* The descriptor comes with the first piece, or with the second. */
static void two_pieces(void)
{
	for (unsigned with = 0; with < 2; with++)
		for (size_t cut = 1; cut < sizeof captured - 1; cut++) {
			struct vmf_handshake *h = vmf__handshake_open();
			struct vmf_hello hello;

			CHECK_EQ(feed(h, captured, cut, with == 0, &hello), VMF_HELLO_MORE);
			CHECK(vmf__handshake_why(h));
			CHECK_EQ(feed(h, captured + cut, sizeof captured - 1 - cut, with == 1, &hello),
				VMF_HELLO_READY);
			CHECK_EQ(hello.region[0].bytes, 268435456);
			close(hello.uffd);
			vmf__handshake_close(h);
		}
}

static void byte_by_byte(void)
{
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;

	for (size_t i = 0; i < sizeof captured - 2; i++)
		CHECK_EQ(feed(h, captured + i, 1, i == 3, &hello), VMF_HELLO_MORE);
	CHECK_EQ(feed(h, "]", 1, 0, &hello), VMF_HELLO_READY);
	close(hello.uffd);
	vmf__handshake_close(h);
}

/* Two messages in one read, with both descriptors; then the end of one with the whole next. */
static void several(void)
{
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;
	char both[2 * sizeof captured];

	snprintf(both, sizeof both, "%s%s", captured, captured);
	CHECK_EQ(feed_text(h, both, 2, &hello), VMF_HELLO_READY);
	close(hello.uffd);
	CHECK_EQ(vmf__handshake_next(h, &hello), VMF_HELLO_READY);
	close(hello.uffd);
	CHECK_EQ(vmf__handshake_next(h, &hello), VMF_HELLO_MORE);
	CHECK_EQ(feed(h, both, 5, 1, &hello), VMF_HELLO_MORE);
	CHECK_EQ(feed(h, both + 5, strlen(both) - 5, 1, &hello), VMF_HELLO_READY);
	close(hello.uffd);
	CHECK_EQ(vmf__handshake_next(h, &hello), VMF_HELLO_READY);
	close(hello.uffd);
	vmf__handshake_close(h);
}

static void descriptor_late(void)
{
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;

	CHECK_EQ(feed_text(h, captured, 0, &hello), VMF_HELLO_MORE);
	CHECK(strstr(vmf__handshake_why(h), "no descriptor"));
	CHECK_EQ(feed_text(h, "\n", 1, &hello), VMF_HELLO_READY);
	CHECK_EQ(hello.regions, 1);
	close(hello.uffd);
	vmf__handshake_close(h);
}

static void descriptor_only(void)
{
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;

	CHECK_EQ(feed_text(h, " ", 1, &hello), VMF_HELLO_MORE);
	CHECK(strstr(vmf__handshake_why(h), "no message"));
	close(vmf__handshake_take_fd(h));
	CHECK_EQ(vmf__handshake_take_fd(h), -1);
	vmf__handshake_close(h);
}

static void wrong(void)
{
	static const struct { unsigned fds; const char *text, *why; } t[] = {
		{ 0, "{}", "not an array" },
		{ 1, "hello", "not an array" },
		{ 1, "\x01\x02", "not an array" },
		{ 1, "[]", "no region" },
		{ 1, "[}", "broken JSON" },
		{ 1, "[{]", "broken JSON" },
		{ 1, "[{\"size\":1,}]", "broken JSON" },
		{ 1, "[{\"a\":[}", "another kind" },
		{ 1, DEEP DEEP DEEP DEEP DEEP, "64 brackets deep" },
		{ 1, "[nope]", "broken JSON" },
		{ 1, "[{\"size\":1,\"size\":2}]", "broken JSON" },
		{ 1, "[\"\xff\xfe\"]", "broken JSON" },
		{ 1, "[1]", "region 0 is not an object" },
		{ 1, "[[]]", "region 0 is not an object" },
		{ 1, "[" REGION("") ",7]", "region 1 is not an object" },
		{ 1, "[{}]", "no \"base_host_virt_addr\"" },
		{ 1, "[{\"base_host_virt_addr\":4096,\"offset\":0}]", "no \"size\"" },
		{ 1, "[{\"base_host_virt_addr\":4096,\"size\":4096}]", "no \"offset\"" },
		{ 1, "[{\"base_host_virt_addr\":\"4096\",\"size\":4096,\"offset\":0}]", "not an integer" },
		{ 1, "[{\"base_host_virt_addr\":4096,\"size\":4096.5,\"offset\":0}]", "not an integer" },
		{ 1, "[{\"base_host_virt_addr\":4096,\"size\":-4096,\"offset\":0}]", "negative" },
		{ 1, "[{\"base_host_virt_addr\":99999999999999999999,\"size\":4096,\"offset\":0}]", "broken JSON" },
		{ 1, "[" REGION(",\"page_size\":4294967296") "]", "too large" },
		{ 1, "[" REGION(",\"page_size\":null") "]", "not an integer" },
		{ 2, "[" REGION("") "]", "2 descriptors" },
		{ 20, "[" REGION("") "]", "20 descriptors" },
		{ 0, "[" REGION("") "][", "no descriptor" },
	};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		unsigned files = open_files();
		struct vmf_handshake *h = vmf__handshake_open();
		struct vmf_hello hello;

		if (feed_text(h, t[i].text, t[i].fds, &hello) != VMF_HELLO_BAD)
			vmtest_fail("'%s' was taken", t[i].text);
		if (!strstr(vmf__handshake_why(h), t[i].why))
			vmtest_fail("'%s': '%s' does not say '%s'", t[i].text, vmf__handshake_why(h), t[i].why);
		/* It stays so. */
		CHECK_EQ(feed_text(h, captured, 0, &hello), VMF_HELLO_BAD);
		vmf__handshake_close(h);
		CHECK_EQ(open_files(), files);
	}
}

/* A message of n bytes: one region with a long member that nobody knows. */
static char *long_message(size_t n)
{
	static const char head[] = "[{\"base_host_virt_addr\":4096,\"size\":4096,\"offset\":0,\"x\":\"";
	static const char tail[] = "\"}]";
	char *m = malloc(n + 1);

	CHECK(m);
	memset(m, 'x', n);
	memcpy(m, head, sizeof head - 1);
	memcpy(m + n - (sizeof tail - 1), tail, sizeof tail);
	return m;
}

static void lengths(void)
{
	static const struct { size_t n; enum vmf_hello_state state; } t[] = {
		{ 1025, VMF_HELLO_READY }, { VMF_HELLO_BYTES, VMF_HELLO_READY }, { VMF_HELLO_BYTES + 1, VMF_HELLO_BAD },
		{ 100 * 1024, VMF_HELLO_BAD },
	};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		char *m = long_message(t[i].n);
		struct vmf_handshake *h = vmf__handshake_open();
		struct vmf_hello hello = { .uffd = -1 };
		enum vmf_hello_state state = VMF_HELLO_MORE;

		for (size_t at = 0; at < t[i].n && state == VMF_HELLO_MORE; at += 1000)
			state = feed(h, m + at, t[i].n - at < 1000 ? t[i].n - at : 1000, at == 0, &hello);
		CHECK_EQ(state, t[i].state);
		if (state == VMF_HELLO_BAD)
			CHECK(strstr(vmf__handshake_why(h), "longer than 65536 bytes"));
		close(hello.uffd);
		vmf__handshake_close(h);
		free(m);
	}
}

static char *many_regions(unsigned n)
{
	char *m = malloc(n * 128 + 16);
	size_t at = 0;

	CHECK(m);
	for (unsigned i = 0; i < n; i++)
		at += (size_t)sprintf(m + at, "%c{\"base_host_virt_addr\":%u,\"size\":4096,\"offset\":%u}",
			i ? ',' : '[', (i + 1) * 4096, i * 4096);
	strcpy(m + at, "]");
	return m;
}

static void region_counts(void)
{
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;
	char *most = many_regions(VMF_SESSION_REGIONS), *more = many_regions(VMF_SESSION_REGIONS + 1);

	CHECK_EQ(feed_text(h, most, 1, &hello), VMF_HELLO_READY);
	CHECK_EQ(hello.regions, VMF_SESSION_REGIONS);
	CHECK_EQ(hello.region[VMF_SESSION_REGIONS - 1].va, VMF_SESSION_REGIONS * 4096);
	close(hello.uffd);
	CHECK_EQ(feed_text(h, more, 1, &hello), VMF_HELLO_BAD);
	CHECK(strstr(vmf__handshake_why(h), "65 regions"));
	vmf__handshake_close(h);
	free(most);
	free(more);
}

static long resident_kib(void)
{
	struct rusage use;

	CHECK_EQ(getrusage(RUSAGE_SELF, &use), 0);
	return use.ru_maxrss;
}

/* A whole message waits for its descriptor; the blanks that follow it, however many, are not kept. */
static void blanks_without_end(void)
{
	static const char whole_message[] = "[" REGION("") "]";
	struct vmf_handshake *h = vmf__handshake_open();
	struct vmf_hello hello;
	static char blanks[16384];
	long before;

	memset(blanks, ' ', sizeof(blanks));
	CHECK_EQ(vmf__handshake_feed(h, whole_message, strlen(whole_message), NULL, 0), 0);
	CHECK_EQ(vmf__handshake_next(h, &hello), VMF_HELLO_MORE);
	before = resident_kib();
	for (unsigned i = 0; i < 4096; i++) {
		CHECK_EQ(vmf__handshake_feed(h, blanks, sizeof(blanks), NULL, 0), 0);
		CHECK_EQ(vmf__handshake_next(h, &hello), VMF_HELLO_MORE);
	}
	CHECK(resident_kib() - before < 16384); /* 64 MiB came */
	vmf__handshake_close(h);
}

static const struct vmtest tests[] = {
	VMTEST(whole), VMTEST(page_sizes), VMTEST(unknown_members), VMTEST(two_pieces), VMTEST(byte_by_byte),
	VMTEST(several), VMTEST(descriptor_late), VMTEST(descriptor_only), VMTEST(wrong), VMTEST(lengths),
	VMTEST(region_counts), VMTEST(blanks_without_end),
};
VMTEST_MAIN(tests, 20)
