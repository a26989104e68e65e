/* SPDX-License-Identifier: MIT
 *
 * A backing fails: the fault is tried again, and then the policy decides.  Nobody ever reads zeroes.
 */
#include "remotetest.h"

#define PAGES 64u

static const struct bed_config plain = {
	.client = { .pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE },
	.backed = { .flags = VMF_STREAM | VMF_RDONLY },
};

/* What was asked, and what to answer. */
struct policy {
	int64_t answer;
	unsigned asked;
	struct vmf_failed last;
};

static int64_t policy_failed(void *self, struct vmf_space *space, const struct vmf_failed *f)
{
	struct policy *p = self;

	(void)space;
	p->asked++;
	p->last = *f;
	return p->answer;
}

static uint64_t ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool no_poison(void)
{
	return vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)");
}

/* A failure that passes is not seen. */
static void passes(void)
{
	struct policy policy = { .answer = -VMF_EIO };
	struct vmf_adopt adopt = { .size = sizeof(adopt), .failed = policy_failed, .self = &policy };
	struct bed_config config = plain;
	struct bed b;

	config.adopt = &adopt;
	bed_open(&b, &config);
	b.back.read.in = 1;
	b.back.read.err = EIO;
	CHECK(bed_reads(&b, 7 * PAGE, 7 * PAGE));
	CHECK_EQ(b.session->failed, 1);
	CHECK_EQ(policy.asked, 0);
	CHECK_EQ(b.back.reads, 2);
	CHECK_EQ(b.session->stalled, 0);
	bed_close(&b);
}

/* Without a policy: five tries in 15 ms and more, then a real SIGBUS for who waits, and for who comes later. */
static void poisons(void)
{
	struct bed b;
	uint64_t start = ms();

	if (no_poison())
		return;
	bed_open(&b, &plain);
	b.back.read = (struct testback_fail){ .first = 7, .pages = 1, .err = EIO };
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 7 * PAGE, PAGE, 0), -SIGBUS);
	CHECK(ms() - start >= 15);
	CHECK_EQ(b.back.reads, 5);
	CHECK_EQ(b.session->failed, 5);
	CHECK_EQ(b.session->poisoned, 1);
	CHECK_EQ(b.session->stalled, 0);
	CHECK_EQ(bed_do(&b, 1, OP_STORE, 7 * PAGE, 1, 'x'), -SIGBUS);
	CHECK(bed_reads(&b, 6 * PAGE, 6 * PAGE));
	CHECK(bed_reads(&b, 8 * PAGE, 8 * PAGE));
	CHECK_EQ(b.back.reads, 7);
	bed_close(&b);
}

/* The range of a run fails, and the page in need does not. */
static void neighbour(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 16;
	bed_open(&b, &config);
	b.back.read = (struct testback_fail){ .first = 12, .pages = 1, .err = EIO };
	CHECK(bed_reads(&b, 7 * PAGE, 7 * PAGE));
	CHECK_EQ(b.session->poisoned, 0);
	bed_close(&b);
}

/* A page in front of it fails: the page in need is had all the same, if not at the first try. */
static void behind(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 16;
	bed_open(&b, &config);
	b.back.read = (struct testback_fail){ .first = 3, .pages = 1, .err = EIO };
	CHECK(bed_reads(&b, 7 * PAGE, 7 * PAGE));
	CHECK_EQ(b.session->poisoned, 0);
	bed_close(&b);
}

/* Parked as long as the policy says, and tried again; when the backing is back, the page is as if nothing had been. */
static void stalls(void)
{
	struct policy policy = { .answer = 20000000 };
	struct vmf_adopt adopt = { .size = sizeof(adopt), .tries = 1, .failed = policy_failed, .self = &policy };
	struct bed_config config = plain;
	struct bed b;

	config.adopt = &adopt;
	bed_open(&b, &config);
	b.back.read = (struct testback_fail){ .first = 7, .pages = 1, .err = ENETDOWN };
	client_go(&b.client, 0, OP_LOAD, 7 * PAGE, PAGE, 0);
	while (policy.asked < 3)
		CHECK(bed_serve(&b) >= 0);
	CHECK(policy.last.va == b.client.va + 7 * PAGE);
	CHECK_EQ(policy.last.pages, 1);
	CHECK_EQ(policy.last.tries, 3);
	CHECK_EQ(policy.last.result.err, ENETDOWN);
	CHECK_RESULT(policy.last.result, VMF_SIGBUS, VMF_WHY_IOERR);
	CHECK_EQ(b.session->stalled, 1);
	CHECK(vmf_linux_due(b.space) <= 20000000);
	CHECK(!client_done(&b.client, 0));
	CHECK_EQ(bed_do(&b, 1, OP_LOAD, 8 * PAGE, PAGE, 0), 0);
	b.back.read.pages = 0;
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK(testback_same(&b.back, 7 * PAGE, client_data(&b.client, 0), PAGE));
	CHECK_EQ(b.session->stalled, 0);
	CHECK_EQ(vmf_linux_due(b.space), UINT64_MAX);
	bed_close(&b);
}

/* The session ends; who waits sleeps on, and does not read zeroes. */
static void ends(void)
{
	struct policy policy = { .answer = -VMF_EIO };
	struct vmf_adopt adopt = { .size = sizeof(adopt), .tries = 2, .failed = policy_failed, .self = &policy };
	struct bed_config config = plain;
	struct bed b;
	int n = 0;

	config.adopt = &adopt;
	bed_open(&b, &config);
	b.back.read = (struct testback_fail){ .first = 7, .pages = 1, .err = EIO };
	client_go(&b.client, 0, OP_LOAD, 7 * PAGE, PAGE, 0);
	while (n >= 0)
		n = bed_serve(&b);
	CHECK_ERR(n, -VMF_EIO);
	CHECK_EQ(policy.asked, 1);
	CHECK_EQ(policy.last.tries, 2);
	vmf_linux_adopt_close(b.space);
	b.space = NULL;
	usleep(50000);
	CHECK(!client_done(&b.client, 0));
	bed_close(&b);
}

/* Past the end of the image there will never be anything. */
static void past_the_end(void)
{
	struct policy policy = { .answer = -VMF_EIO };
	struct vmf_adopt adopt = { .size = sizeof(adopt), .failed = policy_failed, .self = &policy };
	struct bed_config config = plain;
	struct bed b;
	int n = 0;

	config.adopt = &adopt;
	config.bytes = 32 * PAGE;
	bed_open(&b, &config);
	CHECK(bed_reads(&b, 31 * PAGE, 31 * PAGE));
	client_go(&b.client, 0, OP_LOAD, 32 * PAGE, PAGE, 0);
	while (n >= 0)
		n = bed_serve(&b);
	CHECK_RESULT(policy.last.result, VMF_SIGBUS, VMF_WHY_EOF);
	CHECK_EQ(policy.last.tries, 1);
	bed_close(&b);
}

/* Memory that is under the descriptor, but in no region of the session. */
static void outside(void)
{
	struct bed_config config = plain;
	struct bed b;

	if (no_poison())
		return;
	config.region[0] = (struct vmf_linux_region){ 0, 32 * PAGE, 0, PAGE };
	bed_open(&b, &config);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 40 * PAGE, PAGE, 0), -SIGBUS);
	CHECK(bed_reads(&b, 31 * PAGE, 31 * PAGE));
	CHECK_EQ(b.session->failed, 1);
	bed_close(&b);
}

/* A policy that poisons by itself, with something unread that forbids it at first. */
static int64_t poison_failed(void *self, struct vmf_space *space, const struct vmf_failed *f)
{
	struct bed *b = self;

	client_go(&b->client, 1, OP_REMOVE, 20 * PAGE, PAGE, 0);
	bed_message(b);
	CHECK_ERR(vmf_linux_poison(space, f->va, f->pages), 0);
	return 0;
}

static void poison_while_changing(void)
{
	struct bed_config config = plain;
	struct bed b;
	struct vmf_adopt adopt = { .size = sizeof(adopt), .tries = 1, .failed = poison_failed, .self = &b };

	if (no_poison())
		return;
	config.adopt = &adopt;
	bed_open(&b, &config);
	b.back.read = (struct testback_fail){ .first = 7, .pages = 1, .err = EIO };
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 7 * PAGE, PAGE, 0), -SIGBUS);
	CHECK_EQ(bed_wait(&b, 1), 0);
	CHECK(bed_reads_zero(&b, 20 * PAGE));
	bed_close(&b);
}

/* A page that is there, and one that was removed, are not poisoned. */
static void poison_spares(void)
{
	struct bed b;

	if (no_poison())
		return;
	bed_open(&b, &plain);
	CHECK(bed_reads(&b, 3 * PAGE, 3 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 4 * PAGE, PAGE, 0), 0);
	CHECK_ERR(vmf_linux_poison(b.space, b.client.va + 2 * PAGE, 4), 0);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 2 * PAGE, PAGE, 0), -SIGBUS);
	CHECK(bed_reads(&b, 3 * PAGE, 3 * PAGE));
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 5 * PAGE, PAGE, 0), -SIGBUS);
	CHECK_EQ(b.session->poisoned, 2);
	CHECK_ERR(vmf_linux_poison(b.space, b.client.va, 0), -VMF_EINVAL);
	bed_close(&b);
}

static const struct vmtest tests[] = {
	VMTEST(passes), VMTEST(poisons), VMTEST(neighbour), VMTEST(behind), VMTEST(stalls), VMTEST(ends),
	VMTEST(past_the_end), VMTEST(outside), VMTEST(poison_while_changing), VMTEST(poison_spares),
};
VMTEST_MAIN(tests, 20)
