/* SPDX-License-Identifier: MIT
 *
 * Another process's memory: adopting its userfaultfd, and bringing its pages.
 */
#include <sys/eventfd.h>
#include "remotetest.h"

#define PAGES 256u

static const struct bed_config plain = {
	.client = { .pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE },
	.backed = { .flags = VMF_STREAM | VMF_RDONLY },
};

static void pages(void)
{
	struct bed b;

	bed_open(&b, &plain);
	for (uint64_t i = 0; i < PAGES; i++)
		CHECK(bed_reads(&b, i * 37 % PAGES * PAGE, i * 37 % PAGES * PAGE));
	CHECK_EQ(b.session->faults, PAGES);
	CHECK_EQ(b.session->entered, PAGES);
	CHECK_EQ(b.session->bytes_read, PAGES * PAGE);
	CHECK_EQ(b.back.reads, PAGES);
	/* What is there is the client's own, and asks nobody. */
	CHECK_EQ(bed_do(&b, 1, OP_STORE, 5 * PAGE, PAGE, 'w'), 0);
	CHECK_EQ(bed_do(&b, 1, OP_LOAD, 5 * PAGE, PAGE, 0), 0);
	CHECK_EQ(client_data(&b.client, 1)[17], 'w');
	CHECK_EQ(b.session->faults, PAGES);
	bed_close(&b);
}

static void writes(void)
{
	struct bed b;

	bed_open(&b, &plain);
	CHECK_EQ(bed_do(&b, 0, OP_STORE, 3 * PAGE, 1, 'w'), 0);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 3 * PAGE, PAGE, 0), 0);
	CHECK_EQ(client_data(&b.client, 0)[0], 'w');
	CHECK(testback_same(&b.back, 3 * PAGE + 1, client_data(&b.client, 0) + 1, PAGE - 1));
	bed_close(&b);
}

static void around(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 16;
	bed_open(&b, &config);
	CHECK(bed_reads(&b, 21 * PAGE, 21 * PAGE));
	CHECK_EQ(b.session->entered, 16);
	CHECK_EQ(b.back.reads, 1);
	for (uint64_t i = 16; i < 32; i++)
		CHECK(bed_reads(&b, i * PAGE, i * PAGE));
	CHECK_EQ(b.session->faults, 1);
	bed_close(&b);
}

static void regions(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.region[0] = (struct vmf_linux_region){ 0, 64 * PAGE, 192 * PAGE, PAGE };
	config.region[1] = (struct vmf_linux_region){ 128 * PAGE, 64 * PAGE, 0, PAGE };
	config.backed.around = 32;
	bed_open(&b, &config);
	CHECK(bed_reads(&b, 63 * PAGE, 255 * PAGE));
	CHECK(bed_reads(&b, 0, 192 * PAGE));
	CHECK(bed_reads(&b, 128 * PAGE, 0));
	CHECK(bed_reads(&b, 191 * PAGE, 63 * PAGE));
	bed_close(&b);
}

static void holes(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 4;
	bed_open(&b, &config);
	b.back.hole = 8;
	b.back.hole_pages = 16;
	CHECK(bed_reads_zero(&b, 9 * PAGE));
	CHECK(bed_reads_zero(&b, 23 * PAGE));
	CHECK_EQ(b.back.reads, 0);
	CHECK_EQ(b.session->zeroed, 8);
	CHECK(bed_reads(&b, 24 * PAGE, 24 * PAGE));
	CHECK(bed_reads(&b, 7 * PAGE, 7 * PAGE));
	bed_close(&b);
}

/* The last page of an image whose length is odd is padded with zeroes. */
static void odd(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.bytes = (PAGES - 1) * PAGE + 100;
	config.backed.around = 8;
	bed_open(&b, &config);
	CHECK(bed_reads(&b, (PAGES - 1) * PAGE, (PAGES - 1) * PAGE));
	CHECK(bed_zeroes(client_data(&b.client, 0) + 100, PAGE - 100));
	bed_close(&b);
}

/* "It exists" is a success, but who waits has to be woken. */
static void exists(void)
{
	struct uffdio_copy copy = { .len = PAGE, .mode = UFFDIO_COPY_MODE_DONTWAKE };
	static char bytes[PAGE] __attribute__((aligned(PAGE)));
	struct bed b;

	bed_open(&b, &plain);
	memset(bytes, 'x', PAGE);
	client_go(&b.client, 0, OP_LOAD, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	copy.dst = b.client.va + 4 * PAGE;
	copy.src = (uintptr_t)bytes;
	CHECK(!ioctl(b.client.uffd, UFFDIO_COPY, &copy));
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK_EQ(client_data(&b.client, 0)[0], 'x');
	CHECK_EQ(b.session->entered, 0);
	bed_close(&b);
}

/* In the middle of a run, too: the rest of it goes on from there. */
static void exists_within(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 16;
	bed_open(&b, &config);
	for (uint64_t i = 16; i < 32; i += 5) {
		struct uffdio_zeropage zero = { .range = { b.client.va + i * PAGE, PAGE } };

		CHECK(!ioctl(b.client.uffd, UFFDIO_ZEROPAGE, &zero));
	}
	CHECK(bed_reads(&b, 24 * PAGE, 24 * PAGE));
	for (uint64_t i = 16; i < 32; i++) {
		if (i % 5 == 1)
			CHECK(bed_reads_zero(&b, i * PAGE));
		else
			CHECK(bed_reads(&b, i * PAGE, i * PAGE));
	}
	CHECK_EQ(b.session->faults, 1);
	CHECK_EQ(b.session->entered, 12);
	bed_close(&b);
}

static void no_userfaultfd(void)
{
	struct bed b;
	int pipes[2], other[4];

	bed_prepare(&b, &plain);
	CHECK(!pipe(pipes));
	other[0] = pipes[0];
	other[1] = pipes[1];
	other[2] = eventfd(0, EFD_CLOEXEC);
	other[3] = -1;
	for (int i = 0; i < 4; i++)
		CHECK_ERR(vmf_linux_adopt(b.port, &b.space, other[i], b.session, b.object, NULL), -VMF_EINVAL);
	b.session->magic++;
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), -VMF_EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	close(other[2]);
	bed_close(&b);
}

/* A range that is not under the descriptor would never fault, or never could be filled. */
static void not_registered(void)
{
	for (uint64_t first = 0; first < PAGES; first += 200) {
		struct uffdio_range part;
		struct bed b;

		bed_prepare(&b, &plain);
		part = (struct uffdio_range){ b.client.va + first * PAGE, 56 * PAGE };
		CHECK(!ioctl(b.client.uffd, UFFDIO_UNREGISTER, &part));
		CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), -VMF_EFAULT);
		bed_close(&b);
	}
}

/* A descriptor that blocks is made one that does not. */
static void blocking(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.client.blocking = true;
	bed_open(&b, &config);
	CHECK(fcntl(b.client.uffd, F_GETFL) & O_NONBLOCK);
	CHECK_EQ(vmf_linux_serve(b.space), 0);
	CHECK(bed_reads(&b, PAGE, PAGE));
	bed_close(&b);
}

/* One that dies with a fault in flight ends its own session, and no other. */
static void death(void)
{
	struct bed_config config = plain;
	struct bed b, other;
	int n = 0;

	config.when = TESTBACK_HELD_BACK;
	bed_open(&other, &plain); /* first: a client is forked before there are threads */
	bed_open(&b, &config);
	client_go(&b.client, 0, OP_LOAD, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK_EQ(vmf_linux_serve(b.space), 0);
	testback_wait_queued(&b.back, 1);
	CHECK(bed_reads(&other, 0, 0));
	client_kill(&b.client);
	testback_release(&b.back, 1);
	for (int i = 0; i < 10000 && n >= 0; i++)
		n = bed_serve(&b);
	CHECK_ERR(n, -VMF_EGONE);
	CHECK_ERR(vmf_linux_serve(b.space), -VMF_EGONE);
	CHECK(bed_reads(&other, 5 * PAGE, 5 * PAGE));
	bed_close(&b);
	bed_close(&other);
}

/* Adopting one that is dead already. */
static void dead(void)
{
	struct bed b;

	bed_prepare(&b, &plain);
	client_kill(&b.client);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), -VMF_EGONE);
	bed_close(&b);
}

/* A run that reaches over a hole of the client's mappings brings the page in need. */
static void torn(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 16;
	bed_open(&b, &config);
	CHECK_EQ(bed_do(&b, 0, OP_UNMAP, 7 * PAGE, PAGE, 0), 0);
	CHECK(bed_reads(&b, 3 * PAGE, 3 * PAGE));
	CHECK(bed_reads(&b, 12 * PAGE, 12 * PAGE));
	bed_close(&b);
}

/* The mapping went while its fault was in flight: nobody can be given the page, and who waits gets his signal. */
static void unmapped(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.when = TESTBACK_HELD_BACK;
	bed_open(&b, &config);
	client_go(&b.client, 0, OP_LOAD, 7 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK_EQ(vmf_linux_serve(b.space), 0);
	CHECK_EQ(bed_do(&b, 1, OP_UNMAP, 7 * PAGE, PAGE, 0), 0);
	testback_release(&b.back, 100);
	CHECK_EQ(bed_wait(&b, 0), -SIGSEGV);
	CHECK(bed_reads(&b, 8 * PAGE, 8 * PAGE));
	bed_close(&b);
}

/* Several who wait for one page cost one read. */
static void same_page(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.when = TESTBACK_HELD_BACK;
	bed_open(&b, &config);
	for (int i = 0; i < WORKERS; i++)
		client_go(&b.client, i, OP_LOAD, 7 * PAGE, PAGE, 0);
	while (__atomic_load_n(&b.session->faults, __ATOMIC_RELAXED) < WORKERS)
		CHECK(bed_serve(&b) >= 0);
	testback_release(&b.back, 100);
	for (int i = 0; i < WORKERS; i++) {
		CHECK_EQ(bed_wait(&b, i), 0);
		CHECK(testback_same(&b.back, 7 * PAGE, client_data(&b.client, i), PAGE));
	}
	CHECK_EQ(b.back.reads, 1);
	bed_close(&b);
}

/* Different pages of one block, too: the first run brings them all. */
static void same_block(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 16;
	bed_open(&b, &config);
	client_go(&b.client, 0, OP_CROWD, 32 * PAGE, 16 * PAGE, 0);
	usleep(50000);
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK(b.back.reads <= 2);
	bed_close(&b);
}

/* More threads than faults can be parked: all of them are served. */
static void crowd(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.client.pages = 1024;
	config.when = TESTBACK_HELD_BACK;
	config.ram = 64 << 20;
	bed_open(&b, &config);
	client_go(&b.client, 0, OP_CROWD, 0, 600 * PAGE, 0);
	for (int i = 0; i < 20000 && __atomic_load_n(&b.session->faults, __ATOMIC_RELAXED) < 600; i++)
		CHECK(bed_serve(&b) >= 0);
	CHECK(b.session->faults >= 600);
	testback_release(&b.back, 100000);
	CHECK_EQ(bed_wait(&b, 0), 0);
	bed_close(&b);
}

/* Several threads serve several clients of one object. */
static void many(void)
{
	struct bed_config config = plain;
	struct bed a, b;
	struct vmf_object *own;

	config.client.pages = 4 * PAGES;
	config.when = TESTBACK_THREAD;
	config.backed.flags = VMF_RDONLY;
	config.ram = 64 << 20;
	bed_open(&a, &config);
	memset(&b, 0, sizeof(b));
	bed_client(&b, &config);
	bed_session(&b, &config);
	own = a.object;
	CHECK_ERR(vmf_linux_adopt(a.port, &b.space, b.client.uffd, b.session, own, NULL), 0);
	bed_start(&a, 2);
	bed_start(&b, 2);
	for (int w = 0; w < WORKERS; w++) {
		client_go(&a.client, w, OP_CROWD, (uint64_t)w * PAGES * PAGE, PAGES * PAGE, 0);
		usleep(1000);
		client_go(&b.client, w, OP_CROWD, (uint64_t)w * PAGES * PAGE, PAGES * PAGE, 0);
		CHECK_EQ(bed_wait(&a, w), 0);
		CHECK_EQ(bed_wait(&b, w), 0);
	}
	for (uint64_t i = 0; i < 4 * PAGES; i += 13) {
		CHECK(bed_reads(&a, i * PAGE, i * PAGE));
		CHECK_EQ(bed_do(&b, 0, OP_LOAD, i * PAGE, PAGE, 0), 0);
		CHECK(testback_same(&a.back, i * PAGE, client_data(&b.client, 0), PAGE));
	}
	CHECK_EQ(__atomic_load_n(&a.session->entered, __ATOMIC_RELAXED), 4 * PAGES);
	CHECK_EQ(__atomic_load_n(&b.session->entered, __ATOMIC_RELAXED), 4 * PAGES);
	bed_stop(&b);
	CHECK_EQ(a.error, 0);
	CHECK_EQ(b.error, 0);
	vmf_linux_adopt_close(b.space);
	client_end(&b.client);
	munmap(b.session, b.session_bytes);
	CHECK_EQ(a.back.pages_read, 4 * PAGES);
	bed_close(&a);
}

/* A slow backing of one session does not hold up another. */
static void apart(void)
{
	struct bed_config config = plain;
	struct bed slow, quick;
	struct timespec t0, t1;

	config.when = TESTBACK_HELD_BACK;
	bed_open(&slow, &config);
	bed_open(&quick, &plain);
	client_go(&slow.client, 0, OP_LOAD, 0, PAGE, 0);
	bed_message(&slow);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	CHECK_EQ(vmf_linux_serve(slow.space), 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	CHECK((t1.tv_sec - t0.tv_sec) * 1000 + (t1.tv_nsec - t0.tv_nsec) / 1000000 < 1000);
	CHECK(vmf_linux_due(slow.space) != UINT64_MAX);
	CHECK(bed_reads(&quick, 0, 0));
	CHECK_EQ(vmf_linux_due(quick.space), UINT64_MAX);
	testback_release(&slow.back, 1);
	CHECK_EQ(bed_wait(&slow, 0), 0);
	bed_close(&slow);
	bed_close(&quick);
}

/* Somebody protected a page of the client's against writing, and nobody here asked for that: the write goes on. */
static void protected(void)
{
	struct bed_config config = plain;
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct bed b;

	config.client.features |= UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	bed_open(&b, &config);
	reg.range = (struct uffdio_range){ b.client.va, PAGES * PAGE };
	CHECK(!ioctl(b.client.uffd, UFFDIO_REGISTER, &reg));
	CHECK(bed_reads(&b, 5 * PAGE, 5 * PAGE));
	wp.range = (struct uffdio_range){ b.client.va + 5 * PAGE, PAGE };
	CHECK(!ioctl(b.client.uffd, UFFDIO_WRITEPROTECT, &wp));
	CHECK_EQ(bed_do(&b, 0, OP_STORE, 5 * PAGE, 1, 'w'), 0);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 5 * PAGE, PAGE, 0), 0);
	CHECK_EQ(client_data(&b.client, 0)[0], 'w');
	CHECK_EQ(b.session->faults, 2);
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* Another takes the session over: what was read and not resolved comes again, what was removed stays removed. */
static void take_over(void)
{
	struct bed_config config = plain;
	struct uffd_msg *message;
	struct bed b;

	config.when = TESTBACK_HELD_BACK;
	bed_open(&b, &config);
	CHECK_EQ(bed_do(&b, 1, OP_REMOVE, 9 * PAGE, PAGE, 0), 0);
	client_go(&b.client, 0, OP_LOAD, 7 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK_EQ(vmf_linux_serve(b.space), 0);
	vmf_linux_adopt_close(b.space);
	/* The one before died between reading and applying. */
	message = (struct uffd_msg *)(void *)b.session->events[0];
	message->event = UFFD_EVENT_REMOVE;
	message->arg.remove.start = b.client.va + 11 * PAGE;
	message->arg.remove.end = b.client.va + 13 * PAGE;
	testback_release(&b.back, 1000);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), 0);
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK(testback_same(&b.back, 7 * PAGE, client_data(&b.client, 0), PAGE));
	CHECK(bed_reads_zero(&b, 9 * PAGE));
	CHECK(bed_reads(&b, 10 * PAGE, 10 * PAGE));
	CHECK(bed_reads_zero(&b, 11 * PAGE));
	CHECK(bed_reads_zero(&b, 12 * PAGE));
	CHECK(bed_reads(&b, 13 * PAGE, 13 * PAGE));
	CHECK_EQ(b.session->removed, 3);
	bed_close(&b);
}

static const struct vmtest tests[] = {
	VMTEST(pages), VMTEST(writes), VMTEST(around), VMTEST(regions), VMTEST(holes), VMTEST(odd), VMTEST(exists),
	VMTEST(exists_within), VMTEST(no_userfaultfd), VMTEST(not_registered), VMTEST(blocking), VMTEST(death),
	VMTEST(dead), VMTEST(torn), VMTEST(unmapped), VMTEST(same_page), VMTEST(same_block), VMTEST(crowd),
	VMTEST(many), VMTEST(apart), VMTEST(protected), VMTEST(take_over),
};
VMTEST_MAIN(tests, 20)
