/* SPDX-License-Identifier: MIT
 *
 * What another process removes reads zero afterwards, whatever was on its way when it did.
 */
#include "remotetest.h"

#define PAGES 256u

static const struct bed_config plain = {
	.client = { .pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE },
	.backed = { .flags = VMF_STREAM | VMF_RDONLY },
};

static void before(void)
{
	struct bed b;

	bed_open(&b, &plain);
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 4 * PAGE, 2 * PAGE, 0), 0);
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	CHECK(bed_reads_zero(&b, 5 * PAGE));
	CHECK(bed_reads(&b, 6 * PAGE, 6 * PAGE));
	CHECK(bed_reads(&b, 3 * PAGE, 3 * PAGE));
	CHECK_EQ(b.session->removes, 1);
	CHECK_EQ(b.session->removed, 2);
	CHECK_EQ(b.session->zeroed, 2);
	CHECK_EQ(b.back.reads, 2);
	bed_close(&b);
}

/* The bytes are being read when the page is removed. */
static void meanwhile(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.when = TESTBACK_HELD_BACK;
	bed_open(&b, &config);
	client_go(&b.client, 0, OP_LOAD, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK_EQ(vmf_linux_serve(b.space), 0);
	testback_wait_queued(&b.back, 1);
	CHECK_EQ(bed_do(&b, 1, OP_REMOVE, 4 * PAGE, PAGE, 0), 0);
	testback_release(&b.back, 100);
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	bed_close(&b);
}

static void after(void)
{
	struct bed b;

	bed_open(&b, &plain);
	CHECK(bed_reads(&b, 4 * PAGE, 4 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 4 * PAGE, PAGE, 0), 0);
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_STORE, 4 * PAGE, PAGE, 'n'), 0);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 4 * PAGE, PAGE, 0), 0);
	CHECK_EQ(client_data(&b.client, 0)[99], 'n');
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 0, PAGES * PAGE, 0), 0);
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	CHECK(bed_reads_zero(&b, 200 * PAGE));
	CHECK_EQ(b.session->removed, PAGES);
	bed_close(&b);
}

/* A run leaves out what was removed, and brings the rest. */
static void around(void)
{
	struct bed_config config = plain;
	struct bed b;

	config.backed.around = 16;
	bed_open(&b, &config);
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 4 * PAGE, 3 * PAGE, 0), 0);
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 15 * PAGE, 2 * PAGE, 0), 0);
	CHECK(bed_reads(&b, 9 * PAGE, 9 * PAGE));
	CHECK_EQ(b.session->entered, 12);
	for (uint64_t i = 0; i < 32; i++) {
		if ((i >= 4 && i < 7) || (i >= 15 && i < 17))
			CHECK(bed_reads_zero(&b, i * PAGE));
		else
			CHECK(bed_reads(&b, i * PAGE, i * PAGE));
	}
	bed_close(&b);
}

/* A backing that fails is not asked for what was removed. */
static void no_backing(void)
{
	struct bed b;

	bed_open(&b, &plain);
	b.back.read = (struct testback_fail){ .first = 0, .pages = PAGES, .err = EIO };
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 4 * PAGE, PAGE, 0), 0);
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* While a remove is unread nothing can be entered: it is read, and then the fault is served. */
static void unread(void)
{
	struct bed b;

	bed_open(&b, &plain);
	client_go(&b.client, 0, OP_LOAD, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	client_go(&b.client, 1, OP_REMOVE, 9 * PAGE, PAGE, 0);
	usleep(20000);
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK_EQ(bed_wait(&b, 1), 0);
	CHECK(testback_same(&b.back, 4 * PAGE, client_data(&b.client, 0), PAGE));
	CHECK(bed_reads_zero(&b, 9 * PAGE));
	bed_close(&b);
}

/* Faults of the client's that nobody has read yet. */
static unsigned pending(const struct bed *b)
{
	char line[80];
	unsigned n = 0;
	FILE *f;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", b->client.uffd);
	f = fopen(line, "re");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		(void)sscanf(line, "pending: %u", &n);
	fclose(f);
	return n;
}

/* read() hands out faults before an older remove, more of them than one read takes: all is read, and the remove is
 * applied, before the first fault is tried. */
static void older(void)
{
	const unsigned faults = VMF_SESSION_EVENTS + 36;
	struct bed b;

	bed_open(&b, &plain);
	client_go(&b.client, 1, OP_REMOVE, 0, PAGES * PAGE, 0);
	bed_message(&b);
	client_go(&b.client, 0, OP_CROWD, 0, faults * PAGE, 0);
	CHECK_SOON(pending(&b) == faults);
	CHECK_EQ(bed_wait(&b, 0), (int)faults); /* so many saw a zero */
	CHECK_EQ(bed_wait(&b, 1), 0);
	CHECK_EQ(b.back.reads, 0);
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* ------------------------------------------------------------------------------------------------ the gate */

/* A backing whose frames, when it says that they are full, lie under a userfaultfd of ours: who copies out of one
 * sleeps in the kernel until we say so. */
struct trap {
	struct vmf_port *port;
	int uffd;
	char *frame;
};

static int trap_start(void *self, struct vmf_io *io)
{
	struct trap *t = self;
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	t->frame = vmf_io_bytes(io, 0, NULL);
	reg.range = (struct uffdio_range){ (uintptr_t)t->frame, PAGE };
	CHECK(!madvise(t->frame, PAGE, MADV_DONTNEED));
	CHECK(!ioctl(t->uffd, UFFDIO_REGISTER, &reg));
	vmf_io_done(io, io->n, 0);
	return 0;
}

static int trap_length(void *self, uint64_t *bytes)
{
	(void)self;
	*bytes = PAGES * PAGE;
	return 0;
}

static void trap_open(struct trap *t)
{
	struct uffdio_api api = { .api = UFFD_API };

	t->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	CHECK(t->uffd >= 0);
	CHECK(!ioctl(t->uffd, UFFDIO_API, &api));
}

/* From now on the frame has bytes, and who sleeps goes on. */
static void trap_release(struct trap *t)
{
	static char bytes[PAGE] __attribute__((aligned(PAGE)));
	struct uffdio_copy copy = { .dst = (uintptr_t)t->frame, .src = (uintptr_t)bytes, .len = PAGE };

	memset(bytes, 'I', PAGE);
	CHECK(!ioctl(t->uffd, UFFDIO_COPY, &copy));
}

static void *serve_once(void *arg)
{
	CHECK(vmf_linux_serve(arg) >= 0);
	return NULL;
}

/* A copy is in the kernel already when the remove comes.  If somebody read the remove now, the other process would
 * zap the page and go on, the copy would succeed, and it would read the image where it must read zero. */
static void gate(void)
{
	static const struct vmf_backing_ops ops = { .size = sizeof(ops), .start = trap_start, .length = trap_length };
	struct trap trap = { 0 };
	struct vmf_backed backed = { .size = sizeof(backed), .flags = VMF_STREAM | VMF_RDONLY, .ops = &ops, .self = &trap };
	struct vmf_object *object;
	struct pollfd p;
	struct bed b;
	pthread_t copier, reader;

	bed_prepare(&b, &plain);
	trap_open(&trap);
	CHECK_ERR(vmf_object_backed(b.port, &object, &backed), 0);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, object, NULL), 0);
	client_go(&b.client, 0, OP_LOAD, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK(!pthread_create(&copier, NULL, serve_once, b.space));
	p = (struct pollfd){ .fd = trap.uffd, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 10000), 1); /* it sleeps in its copy */
	client_go(&b.client, 1, OP_REMOVE, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK(!pthread_create(&reader, NULL, serve_once, b.space));
	for (int i = 0; i < 300 && !client_done(&b.client, 1); i++)
		usleep(1000);
	trap_release(&trap);
	pthread_join(copier, NULL);
	pthread_join(reader, NULL);
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK_SOON(bed_serve(&b) >= 0 && b.session->removes == 1);
	close(trap.uffd);
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	vmf_linux_adopt_close(b.space);
	b.space = NULL;
	vmf_object_put(object);
	bed_close(&b);
}

/* ------------------------------------------------------------------------------------------------- storms */

struct storm { struct bed *b; int worker; unsigned rounds; };

/* Each worker has every fourth block of eight pages for its own. */
static uint64_t storm_page(int worker, uint32_t random)
{
	return (random % (PAGES / 8 / WORKERS) * WORKERS + (uint64_t)worker) * 8 + random / 64 % 8;
}

static int storm_do(struct storm *s, enum client_op op, uint64_t page, uint8_t value)
{
	struct client *c = &s->b->client;

	client_go(c, s->worker, op, page * PAGE, PAGE, value);
	while (sem_wait(&c->shared->worker[s->worker].done))
		;
	return client_result(c, s->worker);
}

/* state: 0 the image's, 1 removed, else what was stored. */
static void *storm(void *arg)
{
	static uint8_t state[PAGES];
	struct storm *s = arg;
	uint64_t seed = (uint64_t)s->worker + 1;

	for (unsigned i = 0; i < s->rounds; i++) {
		uint32_t random = vmtest_random(&seed);
		uint64_t page = storm_page(s->worker, random);
		const uint8_t *data = client_data(&s->b->client, s->worker);

		if (random >> 20 & 1) {
			CHECK_EQ(storm_do(s, OP_REMOVE, page, 0), 0);
			state[page] = 1;
		} else if ((random >> 21 & 3) == 0) {
			state[page] = (uint8_t)(2 + random % 250);
			CHECK_EQ(storm_do(s, OP_STORE, page, state[page]), 0);
		}
		CHECK_EQ(storm_do(s, OP_LOAD, page, 0), 0);
		if (!state[page])
			CHECK(testback_same(&s->b->back, page * PAGE, data, PAGE));
		for (unsigned j = 0; state[page] && j < PAGE; j++)
			CHECK_EQ(data[j], state[page] == 1 ? 0 : state[page]);
	}
	return NULL;
}

static void storms(void)
{
	struct bed_config config = plain;
	struct storm s[WORKERS];
	pthread_t thread[WORKERS];
	struct bed b;

	config.backed.around = 32;
	config.when = TESTBACK_THREAD;
	bed_open(&b, &config);
	bed_start(&b, 3);
	for (int i = 0; i < WORKERS; i++) {
		s[i] = (struct storm){ &b, i, 3000 };
		CHECK(!pthread_create(&thread[i], NULL, storm, &s[i]));
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_join(thread[i], NULL);
	bed_stop(&b);
	CHECK_EQ(b.error, 0);
	CHECK_EQ(b.session->failed, 0);
	bed_close(&b);
}

/* The remove comes when the bytes have been got and are about to be entered: nothing can be, until it is read. */
struct late {
	struct bed *bed;
	unsigned reads;
};

static int late_start(void *self, struct vmf_io *io)
{
	struct late *l = self;

	if (!l->reads++) {
		client_go(&l->bed->client, 1, OP_REMOVE, 9 * PAGE, PAGE, 0);
		bed_message(l->bed);
	}
	memset(vmf_io_bytes(io, 0, NULL), 'I', PAGE);
	vmf_io_done(io, io->n, 0);
	return 0;
}

static void late(void)
{
	static const struct vmf_backing_ops ops = { .size = sizeof(ops), .start = late_start, .length = trap_length };
	struct bed b;
	struct late self = { .bed = &b };
	struct vmf_backed backed = { .size = sizeof(backed), .flags = VMF_STREAM | VMF_RDONLY, .ops = &ops,
		.self = &self };
	struct vmf_object *object;

	bed_prepare(&b, &plain);
	CHECK_ERR(vmf_object_backed(b.port, &object, &backed), 0);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, object, NULL), 0);
	client_go(&b.client, 0, OP_LOAD, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK_EQ(client_data(&b.client, 0)[0], 'I');
	CHECK_EQ(bed_wait(&b, 1), 0);
	CHECK_EQ(self.reads, 1); /* the bytes were kept */
	CHECK(bed_reads_zero(&b, 9 * PAGE));
	vmf_linux_adopt_close(b.space);
	b.space = NULL;
	vmf_object_put(object);
	bed_close(&b);
}

static const struct vmtest tests[] = {
	VMTEST(before), VMTEST(meanwhile), VMTEST(after), VMTEST(around), VMTEST(no_backing), VMTEST(unread), VMTEST(older),
	VMTEST(gate), VMTEST(late), VMTEST(storms),
};
VMTEST_MAIN(tests, 20)
