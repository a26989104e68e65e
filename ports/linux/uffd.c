/* SPDX-License-Identifier: MIT
 *
 * The userfaultfd's system calls.  Rules in uffd.h.
 */
#include "uffd.h"
#include "mask.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_device(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd, e;

	if (dev < 0)
		return -1;
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	e = errno;
	close(dev);
	errno = e;
	return fd;
}

static int refuse(int e)
{
	errno = e;
	return -1;
}

static int open_call(int flags) { return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags); }

static int open_masked(uint64_t mask, bool *user_only)
{
	int fd;

	if (mask & VMF__MASK_USERFAULTFD)
		return -ENOSYS;
	if (user_only)
		*user_only = false;
	fd = mask & VMF__MASK_PRIVILEGE ? refuse(EPERM) : open_call(0);
	if (fd < 0)
		fd = mask & (VMF__MASK_DEVICE | VMF__MASK_PRIVILEGE) ? refuse(ENOENT) : open_device();
	if (fd >= 0)
		return fd;
	fd = mask & VMF__MASK_USER_ONLY ? refuse(EINVAL) : open_call(UFFD_USER_MODE_ONLY);
	if (user_only)
		*user_only = true;
	return fd < 0 ? -errno : fd;
}

int vmf__uffd_open(bool *user_only) { return open_masked(vmf__mask(), user_only); }

static int api_masked(uint64_t mask, int fd, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	if (features & mask)
		return -EINVAL;
	if (features & VMF__UF_EVENT_FORK && mask & VMF__MASK_PRIVILEGE)
		return -EPERM;
	return ioctl(fd, UFFDIO_API, &api) ? -errno : 0;
}

int vmf__uffd_api(int fd, uint64_t features) { return api_masked(vmf__mask(), fd, features); }

int vmf__uffd_open_here(uint64_t features)
{
	uint64_t mask = vmf__mask_last();
	int fd = open_masked(mask, NULL), err = fd < 0 ? fd : api_masked(mask, fd, features);

	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

int vmf__uffd_ask(uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = vmf__uffd_open(NULL);

	*features = 0;
	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM ? fd : 0;
	if (!ioctl(fd, UFFDIO_API, &api))
		*features = api.features & ~vmf__mask();
	close(fd);
	return 0;
}

uint64_t vmf__uffd_features(void)
{
	uint64_t features;

	(void)vmf__uffd_ask(&features);
	return features;
}

int vmf__uffd_register(int fd, uintptr_t va, size_t bytes, unsigned mode, uint64_t *ioctls)
{
	struct uffdio_register r = { .range = { va, bytes }, .mode = mode };

	if (ioctl(fd, UFFDIO_REGISTER, &r))
		return -errno;
	if (ioctls)
		*ioctls = r.ioctls;
	return 0;
}

int vmf__uffd_unregister(int fd, uintptr_t va, size_t bytes)
{
	struct uffdio_range r = { va, bytes };

	return ioctl(fd, UFFDIO_UNREGISTER, &r) ? -errno : 0;
}

/* The counter is preset to 0: kernels before 6.15 leave it alone when they say EAGAIN. */
static long filled(int ret, int64_t done)
{
	if (done > 0)
		return (long)done;
	return ret ? -errno : 0;
}

long vmf__uffd_copy(int fd, uintptr_t va, const void *from, size_t bytes, unsigned mode)
{
	struct uffdio_copy c = { .dst = va, .src = (uintptr_t)from, .len = bytes, .mode = mode };
	int ret = ioctl(fd, UFFDIO_COPY, &c);

	return filled(ret, c.copy);
}

long vmf__uffd_zero(int fd, uintptr_t va, size_t bytes, unsigned mode)
{
	struct uffdio_zeropage z = { .range = { va, bytes }, .mode = mode };
	int ret = ioctl(fd, UFFDIO_ZEROPAGE, &z);

	return filled(ret, z.zeropage);
}

long vmf__uffd_cont(int fd, uintptr_t va, size_t bytes, unsigned mode)
{
	struct uffdio_continue c = { .range = { va, bytes }, .mode = mode };
	int ret = ioctl(fd, UFFDIO_CONTINUE, &c);

	return filled(ret, c.mapped);
}

long vmf__uffd_poison(int fd, uintptr_t va, size_t bytes, unsigned mode)
{
	struct vmf__uffdio_poison p = { .range = { va, bytes }, .mode = mode };
	int ret;

	if (vmf__mask_last() & VMF__UF_POISON)
		return -EINVAL;
	ret = ioctl(fd, VMF__UFFDIO_POISON, &p);
	return filled(ret, p.updated);
}

int vmf__uffd_wp(int fd, uintptr_t va, size_t bytes, bool protect)
{
	struct uffdio_writeprotect w = { .range = { va, bytes }, .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	return ioctl(fd, UFFDIO_WRITEPROTECT, &w) ? -errno : 0;
}

int vmf__uffd_wake(int fd, uintptr_t va, size_t bytes)
{
	struct uffdio_range r = { va, bytes };

	return ioctl(fd, UFFDIO_WAKE, &r) ? -errno : 0;
}

bool vmf__uffd_changing(int fd)
{
	struct uffdio_writeprotect w = { .range = { 0, 0 } };

	return fd >= 0 && ioctl(fd, UFFDIO_WRITEPROTECT, &w) && errno == EAGAIN; /* else EINVAL: the range is empty */
}
