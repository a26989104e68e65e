/* SPDX-License-Identifier: MIT
 *
 * Segments: who stands behind a pfn.  pfn = segment << 40 | page, so frames of objects, frames to copy from, and
 * apertures never meet.  Looked up without a lock: an entry is filled in before its first pfn is told, and emptied
 * when nobody can have one any more.
 */
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FIRST 1u /* pfn 0 is nobody's */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14 */
#endif

const struct vmf__segment *vmf__segment_of(const struct vmf__linux *port, vmf_pfn pfn, uint64_t n)
{
	uint64_t i = pfn.n >> VMF__SEGMENT_SHIFT;
	const struct vmf__segment *s;

	if (i >= VMF__SEGMENTS)
		return NULL;
	s = &port->segments[i];
	if (n > s->pages || vmf__segment_page(pfn) > s->pages - n)
		return NULL;
	return s;
}

void *vmf__bytes(void *host, vmf_pfn pfn)
{
	const struct vmf__segment *s = vmf__segment_of(host, pfn, 1);

	return s && !s->aperture ? s->base + (vmf__segment_page(pfn) << VMF__SHIFT) : NULL;
}

int vmf__segment_add(struct vmf__linux *port, const struct vmf__segment *s, vmf_pfn *first)
{
	uint32_t i = FIRST;

	vmf__block(NULL);
	vmf__mutex_take(&port->lock);
	while (i < VMF__SEGMENTS && port->segments[i].pages)
		i++;
	if (i < VMF__SEGMENTS) {
		port->segments[i] = *s;
		first->n = (uint64_t)i << VMF__SEGMENT_SHIFT;
	}
	vmf__mutex_drop(&port->lock);
	vmf__unblock(NULL);
	return i < VMF__SEGMENTS ? 0 : -VMF_ENOMEM;
}

static void segment_close(struct vmf__segment *s)
{
	if (s->base)
		munmap(s->base, s->pages << VMF__SHIFT);
	if (s->fd >= 0)
		close(s->fd);
}

static void *map_segment(uint64_t pages, int fd)
{
	int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *p = mmap(NULL, pages << VMF__SHIFT, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, pages << VMF__SHIFT, MADV_DONTFORK);
	return p;
}

int vmf__segment_new(void *host, uint64_t pages, vmf_pfn *first)
{
	struct vmf__segment s = { .pages = pages, .fd = -1 };

	if (!pages || pages >> (VMF__SEGMENT_SHIFT - 1))
		return -VMF_ENOMEM;
	s.fd = memfd_create("vmfault", MFD_CLOEXEC);
	if (s.fd >= 0 && !ftruncate(s.fd, (off_t)(pages << VMF__SHIFT)))
		s.base = map_segment(pages, s.fd);
	if (s.base && !vmf__segment_add(host, &s, first))
		return 0;
	segment_close(&s);
	return -VMF_ENOMEM;
}

void vmf__segment_punch(void *host, vmf_pfn first, uint64_t pages)
{
	const struct vmf__segment *s = vmf__segment_of(host, first, pages);
	off_t at = (off_t)(vmf__segment_page(first) << VMF__SHIFT), bytes = (off_t)(pages << VMF__SHIFT);

	if (!s || s->fd < 0)
		return;
	/* What cannot be punched stays, and is read anew all the same. */
	while (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes) && errno == EINTR)
		;
}

/* The page fault's work, ahead of it: where the kernel counts what it has promised (vm.overcommit_memory 2), a memfd's
 * page may not be had, and touching it is a SIGBUS.  Before 5.14 the file is asked for it. */
static int make_pages(const struct vmf__segment *s, uint64_t first, uint64_t pages)
{
	int e;

	if (!madvise(s->base + (first << VMF__SHIFT), pages << VMF__SHIFT, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return errno;
	do
		e = fallocate(s->fd, FALLOC_FL_KEEP_SIZE, (off_t)(first << VMF__SHIFT), (off_t)(pages << VMF__SHIFT)) ?
			errno : 0;
	while (e == EINTR);
	return e;
}

int vmf__segment_make(void *host, vmf_pfn first, uint64_t pages)
{
	const struct vmf__segment *s = vmf__segment_of(host, first, pages);
	int e = errno, err;

	if (!s || s->fd < 0 || s->aperture)
		return 0;
	err = make_pages(s, vmf__segment_page(first), pages);
	errno = e;
	/* Who is not allowed to ask takes his chances. */
	return err == ENOSPC || err == ENOMEM || err == EFAULT || err == EHWPOISON || err == EAGAIN ? -VMF_ENOMEM : 0;
}

void vmf__segment_free(void *host, vmf_pfn first, uint64_t pages)
{
	struct vmf__linux *port = host;
	struct vmf__segment *s = &port->segments[first.n >> VMF__SEGMENT_SHIFT], old;

	(void)pages;
	vmf__block(NULL);
	vmf__mutex_take(&port->lock);
	old = *s;
	*s = (struct vmf__segment){ .fd = -1 };
	vmf__mutex_drop(&port->lock);
	vmf__unblock(NULL);
	segment_close(&old);
}

int vmf__segment_ram(struct vmf__linux *port, uint64_t pages)
{
	struct vmf__segment s = { .pages = pages, .fd = -1 };
	struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_RAM, .pages = pages };
	int err;

	s.base = map_segment(pages, -1);
	if (!s.base)
		return -VMF_ENOMEM;
	err = vmf__segment_add(port, &s, &range.first);
	if (err)
		segment_close(&s);
	return err ? err : vmf_phys_add(port->port, &range);
}

/* Does this resource file show a PCI device's memory write-combining?  If nobody says: that is the weaker thing. */
static bool write_combining(int fd)
{
	char link[32], path[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	return n <= 3 || !memcmp(path + n - 3, "_wc", 3);
}

/* How the kernel maps it: memory as memory, a device's uncached or write-combining, as the file's name says.  /dev/mem
 * (device 1, 1) is uncached if it was opened with O_SYNC; else it is what the machine's set-up makes of the range. */
static struct vmf_attr aperture_attr(int fd)
{
	struct vmf_attr attr = { .type = VMF_WB };
	struct statfs fs;
	struct stat st;

	if (!fstatfs(fd, &fs) && fs.f_type == SYSFS_MAGIC)
		attr.type = write_combining(fd) ? VMF_WC : VMF_UC;
	else if (!fstat(fd, &st) && S_ISCHR(st.st_mode) &&
		 (st.st_rdev != makedev(1, 1) || (fcntl(fd, F_GETFL) & O_DSYNC)))
		attr.type = VMF_UC;
	return attr;
}

int vmf_linux_aperture(struct vmf_port *core, int fd, off_t at, uint64_t pages, vmf_pfn *first)
{
	struct vmf__linux *port = core ? vmf__linux_of(core) : NULL;
	struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_DEVICE, .pages = pages };
	struct vmf__segment s = { .pages = pages, .at = at, .aperture = true };
	struct stat st;
	int err;

	if (!port || !first || !pages || pages >> (VMF__SEGMENT_SHIFT - 1) || at < 0 || at % VMF__PAGE)
		return -VMF_EINVAL;
	if (fstat(fd, &st))
		return -VMF_EINVAL;
	/* Past the end of a file there is nothing to show, only SIGBUS. */
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < (uint64_t)at + (pages << VMF__SHIFT))
		return -VMF_EINVAL;
	s.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (s.fd < 0)
		return -VMF_ENOMEM;
	range.attr = s.attr = aperture_attr(fd);
	err = vmf__segment_add(port, &s, &range.first);
	if (err) {
		close(s.fd);
		return err;
	}
	err = vmf_phys_add(core, &range);
	if (err) {
		vmf__segment_free(port, range.first, pages);
		return err;
	}
	*first = range.first;
	return 0;
}
