/* SPDX-License-Identifier: MIT */
#include "image.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t vmf__image_bytes(const struct vmf_image *m)
{
	struct stat st;
	uint64_t n = 0;

	if (fstat(m->fd, &st))
		return 0;
	if (S_ISBLK(st.st_mode))
		return ioctl(m->fd, BLKGETSIZE64, &n) ? 0 : n;
	return (uint64_t)st.st_size;
}

/* NULL: it can be served. */
static const char *trouble(const struct vmf_image *m)
{
	struct stat st;

	if (fstat(m->fd, &st))
		return strerror(errno);
	if (S_ISDIR(st.st_mode))
		return "is a directory";
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return "is neither a file nor a block device";
	return vmf__image_bytes(m) ? NULL : "is empty";
}

/* The object opens the path again: still the same file? */
static bool same_file(const struct vmf_image *m)
{
	struct stat a, b;

	return !fstat(m->fd, &a) && !stat(m->path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int vmf__image_open(struct vmf_image *m, struct vmf_port *port, const char *path, uint64_t around, char *why, size_t n)
{
	const struct vmf_file_config config = {
		.size = sizeof config,
		.flags = VMF_STREAM | VMF_RDONLY,
		.around = (uint32_t)(around / vmf_page_size(port)),
	};
	const char *bad;
	int r;

	/* Not blocking: a path that is a fifo is refused, not waited for. */
	*m = (struct vmf_image){ .path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) };
	bad = m->fd < 0 ? strerror(errno) : trouble(m);
	if (!bad) {
		r = vmf_file_object(port, &m->object, path, &config);
		if (r)
			bad = r > 0 ? strerror(r) : vmf_err_str(r);
		else if (!same_file(m))
			bad = "was replaced while it was being opened";
	}
	if (bad) {
		snprintf(why, n, "%s", bad);
		vmf__image_close(m);
		return -1;
	}
	return 0;
}

void vmf__image_close(struct vmf_image *m)
{
	if (m->object)
		vmf_object_put(m->object);
	if (m->fd >= 0)
		close(m->fd);
	m->object = NULL;
	m->fd = -1;
}
