/* SPDX-License-Identifier: MIT
 *
 * Files and block devices as backings.  Reads and writes are synchronous: the io is done when start() returns.  What
 * start() and extent() call is async-signal-safe, and they allocate nothing.
 *
 * io->bytes have to be there: a file that shrank meanwhile is an error, never zeroes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vmfault/host.h>
#include <vmfault/linux.h>

#define VECTORS 64
#define EXTENT_PAGES UINT32_MAX

struct file {
	int fd;
	unsigned shift; /* of a base page */
	/* The data extent seen last: its first page, and its end in the upper half; end 0: none.  A hole is never
	 * remembered: somebody may write there. */
	_Atomic uint64_t data;
};

/* ---------------------------------------------------------------------------------- reading and writing */

/* The memory of an io from byte `at` on; returns how many vectors. */
static int io_vectors(const struct vmf_io *io, uint64_t at, struct iovec *v, unsigned shift)
{
	int n = 0;

	while (at < io->bytes && n < VECTORS) {
		uint32_t adjacent = 1;
		size_t skip = at & ((1u << shift) - 1);
		char *bytes = vmf_io_bytes(io, (uint32_t)(at >> shift), &adjacent);
		uint64_t len = ((uint64_t)adjacent << shift) - skip;

		if (len > io->bytes - at)
			len = io->bytes - at;
		v[n++] = (struct iovec){ bytes + skip, len };
		at += len;
	}
	return n;
}

/* Moves some bytes; 0 or an errno. */
static int io_some(struct file *f, const struct vmf_io *io, uint64_t *at)
{
	struct iovec v[VECTORS];
	int n = io_vectors(io, *at, v, f->shift);
	off_t where = (off_t)((io->first << f->shift) + *at);
	ssize_t got = io->write ? pwritev(f->fd, v, n, where) : preadv(f->fd, v, n, where);

	if (got < 0)
		return errno == EINTR ? 0 : errno;
	*at += (uint64_t)got;
	return got ? 0 : EIO;
}

static int file_start(void *self, struct vmf_io *io)
{
	struct file *f = self;
	uint64_t at = 0;
	int err = 0, saved = errno;

	while (!err && at < io->bytes)
		err = io_some(f, io, &at);
	errno = saved;
	vmf_io_done(io, err ? (uint32_t)(at >> f->shift) : io->n, err);
	return 0;
}

static int file_length(void *self, uint64_t *bytes)
{
	struct file *f = self;
	struct stat st;

	if (fstat(f->fd, &st))
		return errno;
	*bytes = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(f->fd, BLKGETSIZE64, bytes))
		return errno;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ extents */

static bool extent_known(struct file *f, vmf_pgoff at, struct vmf_extent *e)
{
	uint64_t data = atomic_load_explicit(&f->data, memory_order_relaxed), first = (uint32_t)data, end = data >> 32;

	if (at < first || at >= end)
		return false;
	*e = (struct vmf_extent){ first, end - first, false };
	return true;
}

static void extent_remember(struct file *f, const struct vmf_extent *e)
{
	if (e->first + e->pages <= EXTENT_PAGES)
		atomic_store_explicit(&f->data, e->first | (e->first + e->pages) << 32, memory_order_relaxed);
}

/* No data from here on: a hole up to the end that the file has now.  Past that nothing is known, and who reads it
 * will see. */
static int extent_tail(struct file *f, vmf_pgoff at, struct vmf_extent *e)
{
	uint64_t bytes;
	int err = file_length(f, &bytes);

	if (!err && at >= bytes >> f->shift)
		err = ENXIO;
	if (!err)
		*e = (struct vmf_extent){ at, (bytes >> f->shift) - at, true };
	return err;
}

/* A page that is data in part is data. */
static int extent_seek(struct file *f, vmf_pgoff at, struct vmf_extent *e)
{
	off_t page = (off_t)1 << f->shift, data = lseek(f->fd, (off_t)(at << f->shift), SEEK_DATA), end;
	vmf_pgoff first;

	if (data < 0)
		return errno == ENXIO ? extent_tail(f, at, e) : errno;
	first = (vmf_pgoff)(data >> f->shift);
	if (first > at) {
		*e = (struct vmf_extent){ at, first - at, true };
		return 0;
	}
	end = lseek(f->fd, data, SEEK_HOLE);
	if (end < 0)
		return errno;
	*e = (struct vmf_extent){ at, (vmf_pgoff)((end + page - 1) >> f->shift) - at, false };
	return e->pages ? 0 : EAGAIN;
}

static int file_extent(void *self, vmf_pgoff at, struct vmf_extent *e)
{
	struct file *f = self;
	int saved = errno;

	if (!extent_known(f, at, e)) {
		/* Who cannot say is read. */
		if (extent_seek(f, at, e))
			*e = (struct vmf_extent){ at, 1, false };
		if (!e->zero)
			extent_remember(f, e);
	}
	errno = saved;
	return 0;
}

/* ------------------------------------------------------------------------------------------- the rest */

static int file_sync(void *self)
{
	struct file *f = self;

	while (fdatasync(f->fd))
		if (errno != EINTR)
			return errno;
	return 0;
}

static void file_close(void *self)
{
	struct file *f = self;

	close(f->fd);
	free(f);
}

static const struct vmf_backing_ops file_ops = {
	.size = sizeof(file_ops),
	.start = file_start,
	.extent = file_extent,
	.length = file_length,
	.sync = file_sync,
	.close = file_close,
};

/* Regular files and block devices: what else has a length, and the same bytes twice?  0 or an errno. */
static int file_open(const char *path, bool readonly, int *fd)
{
	struct stat st;

	/* O_NONBLOCK: a fifo would wait for its other end. */
	*fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*fd < 0)
		return errno;
	if (fstat(*fd, &st))
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	return S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? 0 : ENODEV;
}

static struct file *file_new(struct vmf_port *port, const char *path, bool readonly, int *err)
{
	struct file *f = calloc(1, sizeof(*f));

	*err = f ? file_open(path, readonly, &f->fd) : ENOMEM;
	if (!*err) {
		f->shift = (unsigned)__builtin_ctzl(vmf_page_size(port));
		return f;
	}
	if (f && f->fd >= 0)
		close(f->fd);
	free(f);
	return NULL;
}

int vmf_file_object(struct vmf_port *port, struct vmf_object **out, const char *path,
		    const struct vmf_file_config *config)
{
	struct vmf_file_config c = { .size = sizeof(c), .around = 1, .readahead = 32 };
	struct vmf_backed backed = { .size = sizeof(backed), .ops = &file_ops };
	struct file *f;
	int err = config ? vmf_struct_in(&c, sizeof(c), config, offsetof(struct vmf_file_config, around)) : 0;

	if (!port || !out || !path)
		return -VMF_EINVAL;
	if (err)
		return err;
	f = file_new(port, path, c.flags & VMF_RDONLY, &err);
	if (!f)
		return err;
	backed.self = f;
	backed.flags = c.flags;
	backed.around = c.around;
	backed.readahead = c.readahead;
	backed.pages = c.pages;
	err = vmf_object_backed(port, out, &backed);
	if (err)
		file_close(f);
	return err;
}
