/* SPDX-License-Identifier: MIT
 *
 * See testback.h.
 */
#include "testback.h"
#include "vmtest.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15u;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	return (x ^ x >> 32) | 0x0101010101010101u;
}

uint8_t testback_byte(const struct testback *t, uint64_t at)
{
	(void)t;
	return (uint8_t)(mix(at / 8) >> (at % 8 * 8));
}

/* => lock */
static uint8_t byte_now(const struct testback *t, uint64_t at)
{
	size_t page = vmf_page_size(t->port);
	uint64_t n = at / page;

	if (at >= t->bytes || n - t->hole < t->hole_pages)
		return 0;
	return n < TESTBACK_PAGES && t->page[n] ? t->page[n][at % page] : testback_byte(t, at);
}

/* => lock */
static uint8_t *page_for_write(struct testback *t, uint64_t n)
{
	size_t page = vmf_page_size(t->port);

	CHECK(n < TESTBACK_PAGES);
	if (t->page[n])
		return t->page[n];
	t->page[n] = malloc(page);
	CHECK(t->page[n]);
	for (size_t i = 0; i < page; i++)
		t->page[n][i] = n - t->hole < t->hole_pages ? 0 : testback_byte(t, n * page + i);
	return t->page[n];
}

/* => lock.  A program may be writing to the frame meanwhile. */
static void write_page(struct testback *t, uint64_t n, const uint8_t *from, size_t bytes)
{
	uint8_t *to = page_for_write(t, n);

	if (n - t->hole < t->hole_pages)
		t->hole_pages = 0;
	for (size_t i = 0; i < bytes; i++)
		to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}

/* => lock */
static void read_page(const struct testback *t, uint64_t n, uint8_t *to, size_t bytes)
{
	size_t page = vmf_page_size(t->port);

	for (size_t i = 0; i < bytes; i++)
		to[i] = byte_now(t, n * page + i);
}

/* => lock */
static int fails(struct testback_fail *f, vmf_pgoff at)
{
	return at - f->first < f->pages ? f->err : 0;
}

static int fails_now(struct testback_fail *f)
{
	return f->in && !--f->in ? f->err : 0;
}

/* Pages that are said to be adjacent are. */
static uint8_t *io_bytes(const struct testback *t, const struct vmf_io *io, uint32_t i)
{
	uint32_t n = 0;
	uint8_t *at = vmf_io_bytes(io, i, &n);

	CHECK(at && n && i + n <= io->n);
	CHECK(n == 1 || vmf_io_bytes(io, i + n - 1, NULL) == at + (n - 1) * vmf_page_size(t->port));
	return at;
}

/* => lock.  Moves the bytes; how many pages are right, and why no more. */
static uint32_t transfer(struct testback *t, struct vmf_io *io, int *err)
{
	struct testback_fail *f = io->write ? &t->write : &t->read;
	size_t page = vmf_page_size(t->port);
	uint64_t left = io->bytes;
	uint32_t i = 0;

	*err = fails_now(f);
	for (; i < io->n && !*err; i++) {
		size_t bytes = left < page ? (size_t)left : page;
		uint8_t *at = io_bytes(t, io, i);

		*err = fails(f, io->first + i);
		if (*err)
			break;
		if (io->write)
			write_page(t, io->first + i, at, bytes);
		else
			read_page(t, io->first + i, at, bytes);
		left -= bytes;
	}
	return i;
}

static void complete(struct testback *t, struct vmf_io *io)
{
	uint32_t good;
	int err;

	pthread_mutex_lock(&t->lock);
	good = transfer(t, io, &err);
	pthread_mutex_unlock(&t->lock);
	vmf_io_done(io, good, err);
}

/* => lock */
static void count(struct testback *t, const struct vmf_io *io)
{
	if (io->write) {
		t->writes++;
		t->pages_written += io->n;
		return;
	}
	t->reads++;
	t->pages_read += io->n;
	t->last_first = io->first;
	t->last_n = io->n;
}

static int testback_start(void *self, struct vmf_io *io)
{
	struct testback *t = self;
	bool now;
	int err;

	pthread_mutex_lock(&t->lock);
	CHECK(io->n && io->n <= VMF_RUN_MAX);
	CHECK(io->bytes && io->bytes <= io->n * vmf_page_size(t->port));
	err = fails_now(&t->refuse);
	if (!err)
		err = fails(&t->refuse, io->first);
	if (!err)
		count(t, io);
	now = t->when == TESTBACK_AT_ONCE;
	if (!err && !now) {
		CHECK(t->queued < TESTBACK_HELD);
		t->queue[t->queued++] = io;
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->lock);
	if (!err && now)
		complete(t, io);
	return err;
}

static void *testback_thread(void *self)
{
	struct testback *t = self;
	struct vmf_io *io;

	pthread_mutex_lock(&t->lock);
	while (t->running) {
		if (!t->queued || (t->when == TESTBACK_HELD_BACK && !t->allowed)) {
			pthread_cond_wait(&t->changed, &t->lock);
			continue;
		}
		io = t->queue[0];
		memmove(t->queue, t->queue + 1, --t->queued * sizeof(t->queue[0]));
		t->allowed -= t->when == TESTBACK_HELD_BACK;
		pthread_mutex_unlock(&t->lock);
		complete(t, io);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static int testback_extent(void *self, vmf_pgoff at, struct vmf_extent *e)
{
	struct testback *t = self;
	int err;

	pthread_mutex_lock(&t->lock);
	t->extents++;
	err = t->extent_err;
	if (at - t->hole < t->hole_pages)
		*e = (struct vmf_extent){ t->hole, t->hole_pages, true };
	else if (at < t->hole)
		*e = (struct vmf_extent){ 0, t->hole, false };
	else
		*e = (struct vmf_extent){ t->hole + t->hole_pages, UINT64_MAX - t->hole - t->hole_pages, false };
	pthread_mutex_unlock(&t->lock);
	return err;
}

static int testback_length(void *self, uint64_t *bytes)
{
	struct testback *t = self;
	int err;

	pthread_mutex_lock(&t->lock);
	*bytes = t->bytes;
	err = t->length_err;
	pthread_mutex_unlock(&t->lock);
	return err;
}

static int testback_sync(void *self)
{
	struct testback *t = self;
	int err;

	pthread_mutex_lock(&t->lock);
	t->syncs++;
	err = t->sync_err;
	pthread_mutex_unlock(&t->lock);
	return err;
}

static void testback_closed(void *self)
{
	struct testback *t = self;

	pthread_mutex_lock(&t->lock);
	CHECK(!t->closed);
	CHECK(!t->queued);
	__atomic_store_n(&t->closed, true, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static const struct vmf_backing_ops ops = {
	.size = sizeof(ops),
	.start = testback_start,
	.extent = testback_extent,
	.length = testback_length,
	.sync = testback_sync,
	.close = testback_closed,
};

const struct vmf_backing_ops *testback_ops(void)
{
	return &ops;
}

void testback_open(struct testback *t, struct vmf_port *port, uint64_t bytes, enum testback_when when)
{
	memset(t, 0, sizeof(*t));
	t->port = port;
	t->bytes = bytes;
	t->when = when;
	t->running = true;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	if (when != TESTBACK_AT_ONCE)
		CHECK(!pthread_create(&t->thread, NULL, testback_thread, t));
}

void testback_close(struct testback *t)
{
	pthread_mutex_lock(&t->lock);
	while (!t->closed)
		pthread_cond_wait(&t->changed, &t->lock);
	t->running = false;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (t->when != TESTBACK_AT_ONCE)
		pthread_join(t->thread, NULL);
	for (uint32_t i = 0; i < TESTBACK_PAGES; i++)
		free(t->page[i]);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->changed);
}

struct vmf_object *testback_object(struct testback *t, const struct vmf_backed *like)
{
	struct vmf_backed b = { 0 };
	struct vmf_object *object = NULL;

	if (like)
		b = *like;
	b.size = sizeof(b);
	b.ops = &ops;
	b.self = t;
	CHECK_ERR(vmf_object_backed(t->port, &object, &b), 0);
	return object;
}

bool testback_same(struct testback *t, uint64_t at, const void *bytes, size_t n)
{
	const uint8_t *b = bytes;
	size_t i = 0;

	pthread_mutex_lock(&t->lock);
	while (i < n && b[i] == byte_now(t, at + i))
		i++;
	pthread_mutex_unlock(&t->lock);
	return i == n;
}

void testback_poke(struct testback *t, uint64_t at, uint8_t byte)
{
	size_t page = vmf_page_size(t->port);

	pthread_mutex_lock(&t->lock);
	page_for_write(t, at / page)[at % page] = byte;
	pthread_mutex_unlock(&t->lock);
}

void testback_resize(struct testback *t, uint64_t bytes)
{
	pthread_mutex_lock(&t->lock);
	t->bytes = bytes;
	pthread_mutex_unlock(&t->lock);
}

void testback_wait_queued(struct testback *t, uint32_t n)
{
	pthread_mutex_lock(&t->lock);
	while (t->queued < n)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

void testback_release(struct testback *t, uint32_t n)
{
	pthread_mutex_lock(&t->lock);
	t->allowed += n;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

uint64_t testback_count(struct testback *t, const uint64_t *counter)
{
	uint64_t n;

	pthread_mutex_lock(&t->lock);
	n = *counter;
	pthread_mutex_unlock(&t->lock);
	return n;
}
