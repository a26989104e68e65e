/* SPDX-License-Identifier: MIT
 *
 * Another process's memory in huge pages: copies of 2 MiB, zeroes that have to be copied, and an empty pool.
 */
#include "remotetest.h"

#define PAGES (4 * HUGE / PAGE)

static const struct bed_config plain = {
	.client = { .pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE, .huge = true },
	.backed = { .flags = VMF_STREAM | VMF_RDONLY },
	.ram = 32 << 20,
};

static void pages(void)
{
	struct bed b;

	bed_open(&b, &plain);
	for (uint64_t i = 0; i < 4; i++)
		CHECK(bed_reads(&b, i * HUGE + i * 5 * PAGE, i * HUGE + i * 5 * PAGE));
	CHECK_EQ(b.session->faults, 4);
	CHECK_EQ(b.session->entered, PAGES);
	for (uint64_t i = 0; i < PAGES; i += 7)
		CHECK(bed_reads(&b, i * PAGE, i * PAGE));
	CHECK_EQ(b.session->faults, 4);
	bed_close(&b);
}

static void zeroes(void)
{
	struct bed b;

	bed_open(&b, &plain);
	b.back.hole = 512;
	b.back.hole_pages = 1024;
	CHECK(bed_reads_zero(&b, HUGE));
	CHECK(bed_reads_zero(&b, 2 * HUGE + 4 * PAGE));
	CHECK_EQ(b.back.reads, 0);
	CHECK_EQ(b.session->zeroed, 1024);
	CHECK(bed_reads(&b, 0, 0));
	bed_close(&b);
}

/* A file as the image, with a hole within a page, and an end within one. */
static void parts(void)
{
	static char text[PAGE];
	const char bytes = 'b';
	char path[40];
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct vmf_file_config fc = { .size = sizeof(fc), .flags = VMF_STREAM | VMF_RDONLY };
	struct vmf_object *file;
	struct bed b;

	memset(text, bytes, sizeof(text));
	for (uint64_t i = 0; i < 3 * 512 + 5; i++)
		if (i < 600 || i >= 700)
			CHECK_EQ(pwrite(fd, text, PAGE, (off_t)(i * PAGE)), PAGE);
	CHECK_EQ(pwrite(fd, text, 77, (3 * 512 + 5) * PAGE), 77);
	bed_prepare(&b, &plain);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK_ERR(vmf_file_object(b.port, &file, path, &fc), 0);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, file, NULL), 0);
	CHECK(bed_reads_zero(&b, 650 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 599 * PAGE, 2 * PAGE, 0), 0);
	CHECK(!memcmp(client_data(&b.client, 0), text, PAGE) && bed_zeroes(client_data(&b.client, 0) + PAGE, PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 3 * HUGE + 5 * PAGE, 2 * PAGE, 0), 0);
	CHECK(!memcmp(client_data(&b.client, 0), text, 77));
	CHECK(bed_zeroes(client_data(&b.client, 0) + 77, 2 * PAGE - 77));
	CHECK_EQ(b.session->failed, 0);
	vmf_linux_adopt_close(b.space);
	b.space = NULL;
	vmf_object_put(file);
	close(fd);
	bed_close(&b);
}

static void removes(void)
{
	struct bed b;

	bed_open(&b, &plain);
	CHECK(bed_reads(&b, HUGE, HUGE));
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, HUGE, 2 * HUGE, 0), 0);
	CHECK(bed_reads_zero(&b, HUGE));
	CHECK(bed_reads_zero(&b, 2 * HUGE + 9 * PAGE));
	CHECK(bed_reads(&b, 0, 0));
	CHECK(bed_reads(&b, 3 * HUGE, 3 * HUGE));
	CHECK_EQ(b.session->removed, 1024);
	bed_close(&b);
}

/* An image that keeps its pages keeps them one by one, and cannot give away a huge one. */
static void cached(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.flags = VMF_RDONLY;
	bed_prepare(&b, &config);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), -VMF_ENOSYS);
	bed_close(&b);
}

static void fails(void)
{
	struct bed b;

	if (vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)"))
		return;
	bed_open(&b, &plain);
	b.back.read = (struct testback_fail){ .first = 700, .pages = 1, .err = EIO };
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, HUGE, PAGE, 0), -SIGBUS);
	CHECK_EQ(b.session->poisoned, 512);
	CHECK(bed_reads(&b, 2 * HUGE, 2 * HUGE));
	bed_close(&b);
}

static int64_t remember(void *self, struct vmf_space *space, const struct vmf_failed *f)
{
	*(struct vmf_failed *)self = *f;
	return vmf_linux_poison(space, f->va, f->pages) ? -VMF_EIO : 0;
}

/* The pool is empty, and COPY says "exists" then: that is no success. */
static void empty_pool(void)
{
	struct vmf_failed last = { 0 };
	struct vmf_adopt adopt = { .size = sizeof(adopt), .tries = 2, .failed = remember, .self = &last };
	struct bed_config config = plain;
	long left = hugepages_free();
	struct bed b;
	uint64_t i = 0;

	if (left > 100)
		vmtest_skip("more huge pages are free than this test would like to use");
	config.client.pages = (uint64_t)(left + 2) * 512;
	config.client.noreserve = true;
	config.adopt = &adopt;
	bed_open(&b, &config);
	for (; i < (uint64_t)left; i++)
		CHECK(bed_reads(&b, i * HUGE, i * HUGE));
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, i * HUGE, PAGE, 0), -SIGBUS);
	CHECK_EQ(last.va, b.client.va + i * HUGE);
	CHECK_RESULT(last.result, VMF_OOM, VMF_WHY_RESOURCE);
	CHECK(bed_reads(&b, 0, 0));
	bed_close(&b);
}

static const struct vmtest tests[] = {
	VMTEST(pages), VMTEST(zeroes), VMTEST(parts), VMTEST(removes), VMTEST(cached), VMTEST(fails), VMTEST(empty_pool),
};

HUGEPAGES_MAIN(tests, 5)
