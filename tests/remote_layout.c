/* SPDX-License-Identifier: MIT
 *
 * Another process changes its layout, and says so: parts of its memory go, go elsewhere, or get a second owner.
 */
#include "remotetest.h"

#define PAGES 256u
#define WP_UNPOPULATED (1u << 13) /* a feature, since Linux 6.4 */

static const struct bed_config plain = {
	.client = { .pages = PAGES,
		.features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP },
	.backed = { .flags = VMF_STREAM | VMF_RDONLY, .around = 8 },
};

static void unmaps(void)
{
	struct bed b;

	bed_open(&b, &plain);
	CHECK(bed_reads(&b, 0, 0));
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 40 * PAGE, 2 * PAGE, 0), 0);
	CHECK_EQ(bed_do(&b, 0, OP_UNMAP, 20 * PAGE, 4 * PAGE, 0), 0);
	CHECK_SOON(bed_serve(&b) >= 0 && b.session->regions == 2);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 21 * PAGE, PAGE, 0), -SIGSEGV);
	CHECK(bed_reads(&b, 19 * PAGE, 19 * PAGE));
	CHECK(bed_reads(&b, 24 * PAGE, 24 * PAGE));
	CHECK(bed_reads_zero(&b, 40 * PAGE));
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* With a fault of that page in flight. */
static void unmaps_waiting(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.when = TESTBACK_HELD_BACK;
	bed_open(&b, &config);
	client_go(&b.client, 0, OP_LOAD, 21 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK_EQ(vmf_linux_serve(b.space), 0);
	CHECK_EQ(bed_do(&b, 1, OP_UNMAP, 20 * PAGE, 4 * PAGE, 0), 0);
	CHECK_EQ(bed_wait(&b, 0), -SIGSEGV);
	testback_release(&b.back, 100);
	CHECK(bed_reads(&b, 30 * PAGE, 30 * PAGE));
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* Pages that moved show at the new place what they showed at the old one, removed or not. */
static void remaps(void)
{
	struct bed b;

	bed_open(&b, &plain);
	CHECK(bed_reads(&b, 100 * PAGE, 100 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 105 * PAGE, PAGE, 0), 0);
	CHECK_EQ(bed_do(&b, 0, OP_REMAP, 97 * PAGE, 16 * PAGE, 201 * PAGE), 0);
	for (uint64_t i = 0; i < 16; i++) {
		if (i == 8)
			CHECK(bed_reads_zero(&b, (201 + i) * PAGE));
		else
			CHECK(bed_reads(&b, (201 + i) * PAGE, (97 + i) * PAGE));
	}
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 98 * PAGE, PAGE, 0), -SIGSEGV);
	CHECK(bed_reads(&b, 96 * PAGE, 96 * PAGE));
	CHECK(bed_reads(&b, 113 * PAGE, 113 * PAGE));
	CHECK(bed_reads(&b, 200 * PAGE, 200 * PAGE));
	CHECK(bed_reads(&b, 217 * PAGE, 217 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 203 * PAGE, PAGE, 0), 0);
	CHECK(bed_reads_zero(&b, 203 * PAGE));
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* Over pages of which some were removed, and without being told that those went. */
static void remaps_over(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.client.features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_REMAP;
	bed_open(&b, &config);
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 101 * PAGE, PAGE, 0), 0);
	CHECK_EQ(bed_do(&b, 0, OP_REMAP, 201 * PAGE, 16 * PAGE, 97 * PAGE), 0);
	CHECK(bed_reads(&b, 101 * PAGE, 205 * PAGE));
	CHECK(bed_reads(&b, 113 * PAGE, 113 * PAGE));
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* The first access to the new place is told before the move is: who moved has our CPU, and does not get it while we or
 * the other one have something to do. */
static void remaps_and_faults(void)
{
	struct bed_config config = plain;
	cpu_set_t before, one;
	struct bed b;

	config.client.idle = true;
	CHECK(!sched_getaffinity(0, sizeof(before), &before));
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
	bed_open(&b, &config);
	for (uint64_t i = 0; i < 5; i++) {
		client_go(&b.client, 0, OP_REMAP, (97 + i) * PAGE, PAGE, (201 + i) * PAGE);
		bed_message(&b);
		CHECK(vmf_linux_serve(b.space) >= 0); /* what was there before has gone */
		client_go(&b.client, 1, OP_LOAD, (201 + i) * PAGE, PAGE, 0);
		bed_message(&b);
		CHECK_EQ(bed_wait(&b, 0), 0);
		CHECK_EQ(bed_wait(&b, 1), 0);
		CHECK(testback_same(&b.back, (97 + i) * PAGE, client_data(&b.client, 1), PAGE));
	}
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
	CHECK(!sched_setaffinity(0, sizeof(before), &before));
}

/* More pieces than the block has places for: the session ends, and nothing is shown that is wrong. */
static void too_many_pieces(void)
{
	struct bed b;
	int n = 0;

	bed_open(&b, &plain);
	for (uint64_t i = 1; i < PAGES && n >= 0; i += 2) {
		client_go(&b.client, 0, OP_UNMAP, i * PAGE, PAGE, 0);
		for (int j = 0; j < 1000 && n >= 0 && !client_done(&b.client, 0); j++)
			n = bed_serve(&b);
	}
	while (n >= 0)
		n = bed_serve(&b);
	CHECK_ERR(n, -VMF_ENOSPC);
	CHECK_EQ(b.session->regions, VMF_SESSION_REGIONS);
	bed_close(&b);
}

/* A child of the client's is nobody's client: what is there it has, what is not is SIGBUS, never zeroes. */
static void forks(void)
{
	struct bed_config config = plain;
	struct bed b;

	if (vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)"))
		return;
	config.client.features |= UFFD_FEATURE_EVENT_FORK;
	memset(&b, 0, sizeof(b));
	if (client_start(&b.client, &config.client) == EPERM)
		vmtest_skip("UFFD_FEATURE_EVENT_FORK wants CAP_SYS_PTRACE");
	bed_port(&b, &config);
	bed_session(&b, &config);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), 0);
	CHECK(bed_reads(&b, 3 * PAGE, 3 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_FORK, 3 * PAGE, PAGE, 0), 0);
	CHECK_EQ(bed_do(&b, 0, OP_FORK, 50 * PAGE, PAGE, 0), 13);
	CHECK_EQ(b.session->forks, 2);
	CHECK(bed_reads(&b, 50 * PAGE, 50 * PAGE));
	bed_close(&b);
}

/* What the client unmaps after the fork the child still has, though both are told in one go. */
static void forks_and_unmaps(void)
{
	struct bed_config config = plain;
	struct bed b;

	if (vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)"))
		return;
	config.client.features |= UFFD_FEATURE_EVENT_FORK;
	memset(&b, 0, sizeof(b));
	if (client_start(&b.client, &config.client) == EPERM)
		vmtest_skip("UFFD_FEATURE_EVENT_FORK wants CAP_SYS_PTRACE");
	bed_port(&b, &config);
	bed_session(&b, &config);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), 0);
	client_go(&b.client, 0, OP_FORK, 50 * PAGE, PAGE, 0);
	bed_message(&b);
	client_go(&b.client, 1, OP_UNMAP, 48 * PAGE, 4 * PAGE, 0);
	usleep(100000); /* nothing tells how many messages wait */
	CHECK_EQ(bed_wait(&b, 0), 13);
	CHECK_EQ(bed_wait(&b, 1), 0);
	CHECK_EQ(b.session->forks, 1);
	bed_close(&b);
}

/* A hole that nobody told us of. */
static void forks_torn(void)
{
	struct bed_config config = plain;
	struct bed b;

	if (vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)"))
		return;
	config.client.features = UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_FORK;
	memset(&b, 0, sizeof(b));
	if (client_start(&b.client, &config.client) == EPERM)
		vmtest_skip("UFFD_FEATURE_EVENT_FORK wants CAP_SYS_PTRACE");
	bed_port(&b, &config);
	bed_session(&b, &config);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), 0);
	CHECK_EQ(bed_do(&b, 0, OP_UNMAP, 20 * PAGE, 4 * PAGE, 0), 0);
	CHECK_EQ(bed_do(&b, 0, OP_FORK, 0, PAGE, 0), 13);
	CHECK_EQ(bed_do(&b, 0, OP_FORK, 24 * PAGE, PAGE, 0), 13);
	CHECK_EQ(bed_do(&b, 0, OP_FORK, (PAGES - 1) * PAGE, PAGE, 0), 13);
	bed_close(&b);
}

/* Absent, and write-protected: that leaves a mark, in whose way poison is. */
static void marked(void)
{
	struct bed_config config = plain;
	struct bed b;

	if (vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)"))
		return;
	config.client.features |= UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_PAGEFAULT_FLAG_WP | WP_UNPOPULATED;
	config.client.marked = true;
	memset(&b, 0, sizeof(b));
	if (client_start(&b.client, &config.client) == EPERM)
		vmtest_skip("UFFD_FEATURE_EVENT_FORK wants CAP_SYS_PTRACE");
	bed_port(&b, &config);
	bed_session(&b, &config);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), 0);
	CHECK(bed_reads(&b, 3 * PAGE, 3 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_FORK, 3 * PAGE, PAGE, 0), 0);
	CHECK_EQ(bed_do(&b, 0, OP_FORK, 50 * PAGE, PAGE, 0), 13);
	CHECK_EQ(b.session->forks, 2);
	CHECK_ERR(vmf_linux_poison(b.space, b.client.va + 60 * PAGE, 1), 0);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 60 * PAGE, PAGE, 0), -SIGBUS);
	CHECK(bed_reads(&b, 50 * PAGE, 50 * PAGE));
	bed_close(&b);
}

static const struct vmtest tests[] = {
	VMTEST(unmaps), VMTEST(unmaps_waiting), VMTEST(remaps), VMTEST(remaps_over), VMTEST(remaps_and_faults),
	VMTEST(too_many_pieces), VMTEST(forks), VMTEST(forks_and_unmaps), VMTEST(forks_torn),
	VMTEST(marked),
};
VMTEST_MAIN(tests, 20)
