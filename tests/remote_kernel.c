/* SPDX-License-Identifier: MIT
 *
 * What a kernel may say at any time, and this one seldom does: the system calls are ours here.  Calls that are
 * interrupted, a layout that keeps changing, a counter that is left as it was, and a reader that ends between its
 * read() and its next step.
 */
#include <stdarg.h>
#include <sys/uio.h>
#include "remotetest.h"

#define PAGES 64u

static const struct bed_config plain = {
	.client = { .pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE },
	.backed = { .flags = VMF_STREAM | VMF_RDONLY },
};

enum call { COPY, ZERO, POISON, READ, PREADV, CALLS };
static struct {
	bool interrupts; /* every other call of a kind */
	bool old;        /* before 6.15: "the layout is changing" leaves the counter alone */
	uint64_t stuck;  /* until then (ns) the layout is changing */
	int dies;        /* who reads something from this descriptor ends at once; 0: nobody does */
	unsigned calls[CALLS], interrupted[CALLS], changing;
} kernel;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool interrupted(enum call call)
{
	if (!kernel.interrupts || kernel.calls[call]++ % 2)
		return false;
	kernel.interrupted[call]++;
	errno = EINTR;
	return true;
}

static enum call call_of(unsigned long request)
{
	if (_IOC_TYPE(request) != UFFDIO)
		return CALLS;
	switch (_IOC_NR(request)) {
	case _UFFDIO_COPY:
		return COPY;
	case _UFFDIO_ZEROPAGE:
		return ZERO;
	case 8: /* since 6.6 */
		return POISON;
	default:
		return CALLS;
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	enum call call = call_of(request);
	struct uffdio_copy *copy;
	int64_t before = 0;
	va_list ap;
	long r;

	va_start(ap, request);
	copy = va_arg(ap, void *);
	va_end(ap);
	if (call != CALLS && interrupted(call))
		return -1;
	if (call == COPY && now() < kernel.stuck) {
		kernel.changing++;
		copy->copy = -EAGAIN;
		errno = EAGAIN;
		return -1;
	}
	if (call == COPY)
		before = copy->copy;
	r = syscall(SYS_ioctl, fd, request, copy);
	if (call == COPY && kernel.old && r && errno == EAGAIN) {
		copy->copy = before;
		kernel.changing++;
	}
	return (int)r;
}

static ssize_t was_read(int fd, ssize_t n)
{
	if (kernel.dies && fd == kernel.dies && n > 0)
		_exit(42);
	return n;
}

ssize_t read(int fd, void *to, size_t bytes)
{
	return interrupted(READ) ? -1 : was_read(fd, syscall(SYS_read, fd, to, bytes));
}

ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
	return interrupted(READ) ? -1 : was_read(fd, syscall(SYS_preadv2, fd, v, n, at, 0, flags));
}

ssize_t preadv(int fd, const struct iovec *v, int n, off_t at)
{
	return interrupted(PREADV) ? -1 : syscall(SYS_preadv, fd, v, n, at, 0);
}

/* A file whose every page but the tenth says 'i'. */
static struct vmf_object *image(struct bed *b, int *fd)
{
	struct vmf_file_config fc = { .size = sizeof(fc), .flags = VMF_STREAM | VMF_RDONLY };
	struct vmf_object *file;
	char text[PAGE], path[40];

	*fd = memfd_create("image", MFD_CLOEXEC);
	memset(text, 'i', sizeof(text));
	for (unsigned i = 0; i < PAGES; i++)
		if (i != 9)
			CHECK_EQ(pwrite(*fd, text, PAGE, (off_t)i * PAGE), PAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", *fd);
	CHECK_ERR(vmf_file_object(b->port, &file, path, &fc), 0);
	return file;
}

/* Filling, poisoning, reading events, reading the image: whatever is interrupted is done again. */
static void interruptions(void)
{
	struct vmf_object *file;
	struct bed b;
	int fd;

	if (vmtest_lacks(!vmf_linux_can_poison(), "this kernel cannot poison (6.6 can)"))
		return;
	bed_prepare(&b, &plain);
	file = image(&b, &fd);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, file, NULL), 0);
	kernel.interrupts = true;
	for (uint64_t i = 0; i < 8; i++) {
		CHECK_EQ(bed_do(&b, 0, OP_LOAD, i * PAGE, PAGE, 0), 0);
		CHECK_EQ(client_data(&b.client, 0)[i], 'i');
	}
	CHECK(bed_reads_zero(&b, 9 * PAGE));
	CHECK_EQ(bed_do(&b, 0, OP_REMOVE, 10 * PAGE, PAGE, 0), 0);
	CHECK(bed_reads_zero(&b, 10 * PAGE));
	CHECK_ERR(vmf_linux_poison(b.space, b.client.va + 11 * PAGE, 1), 0);
	CHECK_EQ(bed_do(&b, 0, OP_LOAD, 11 * PAGE, PAGE, 0), -SIGBUS);
	kernel.interrupts = false;
	for (unsigned i = 0; i < CALLS; i++)
		CHECK(kernel.interrupted[i]);
	CHECK_EQ(b.session->failed, 0);
	vmf_linux_adopt_close(b.space);
	b.space = NULL;
	vmf_object_put(file);
	close(fd);
	bed_close(&b);
}

/* Nothing can be entered for a while: it is tried again, in growing intervals, and given up for nothing. */
static void patience(void)
{
	struct bed b;

	bed_open(&b, &plain);
	kernel.changing = 0;
	kernel.stuck = now() + 100000000;
	CHECK(bed_reads(&b, 4 * PAGE, 4 * PAGE));
	CHECK(now() > kernel.stuck);
	CHECK(kernel.changing >= 2 && kernel.changing < 300);
	CHECK_EQ(b.session->failed, 0);
	kernel.stuck = 0;
	bed_close(&b);
}

/* A remove comes when the bytes have been got and are about to be entered. */
static int late_start(void *self, struct vmf_io *io)
{
	struct bed *b = self;

	if (!kernel.changing) {
		client_go(&b->client, 1, OP_REMOVE, 9 * PAGE, PAGE, 0);
		bed_message(b);
	}
	memset(vmf_io_bytes(io, 0, NULL), 'I', PAGE);
	vmf_io_done(io, io->n, 0);
	return 0;
}

static int late_length(void *self, uint64_t *bytes)
{
	(void)self;
	*bytes = PAGES * PAGE;
	return 0;
}

/* What stands in a counter that the kernel did not write is not taken for pages that are there. */
static void counter(void)
{
	static const struct vmf_backing_ops ops = { .size = sizeof(ops), .start = late_start, .length = late_length };
	struct bed b;
	struct vmf_backed backed = { .size = sizeof(backed), .flags = VMF_STREAM | VMF_RDONLY, .ops = &ops, .self = &b };
	struct vmf_object *object;

	bed_prepare(&b, &plain);
	CHECK_ERR(vmf_object_backed(b.port, &object, &backed), 0);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, object, NULL), 0);
	kernel.changing = 0;
	kernel.old = true;
	client_go(&b.client, 0, OP_LOAD, 4 * PAGE, PAGE, 0);
	bed_message(&b);
	CHECK_EQ(bed_wait(&b, 0), 0);
	CHECK_EQ(client_data(&b.client, 0)[0], 'I');
	CHECK_EQ(bed_wait(&b, 1), 0);
	CHECK(kernel.changing);
	kernel.old = false;
	vmf_linux_adopt_close(b.space);
	b.space = NULL;
	vmf_object_put(object);
	bed_close(&b);
}

/* A remove that was read was acknowledged: whoever takes over knows of it, though its reader did nothing more. */
static void died_reading(void)
{
	struct bed b;
	int status;
	pid_t pid;

	bed_prepare(&b, &plain);
	client_go(&b.client, 1, OP_REMOVE, 4 * PAGE, 2 * PAGE, 0);
	bed_message(&b);
	pid = fork();
	if (!pid) {
		alarm(10);
		kernel.dies = b.client.uffd;
		if (!vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL))
			(void)vmf_linux_serve(b.space);
		_exit(1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 42);
	CHECK_SOON(client_done(&b.client, 1));
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), 0);
	CHECK(bed_reads_zero(&b, 4 * PAGE));
	CHECK(bed_reads_zero(&b, 5 * PAGE));
	CHECK(bed_reads(&b, 6 * PAGE, 6 * PAGE));
	CHECK_EQ(b.session->removed, 2);
	bed_close(&b);
}

static const struct vmtest tests[] = {
	VMTEST(interruptions), VMTEST(patience), VMTEST(counter),
	VMTEST(died_reading),
};
VMTEST_MAIN(tests, 20)
