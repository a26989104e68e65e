/* SPDX-License-Identifier: MIT */
#include "serving.h"
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *adopt_str(int err)
{
	switch (err) {
	case -VMF_EINVAL:
		return "the descriptor is not a userfaultfd";
	case -VMF_ENOSYS:
		return "the userfaultfd cannot do what is needed";
	case -VMF_EFAULT:
		return "a region is not registered with the userfaultfd";
	case -VMF_EGONE:
		return "its memory is gone";
	default:
		return vmf_err_str(err);
	}
}

/* The block, zeroed. */
static int make_block(struct vmf_serving *s, const struct vmf_hello *hello, char *why, size_t n)
{
	unsigned which = 0;
	int r = vmf_session_bytes(hello->region, hello->regions, &s->bytes, &which);
	void *p;

	if (r) {
		snprintf(why, n, "region %u: %s", which, vmf_err_str(r));
		return -1;
	}
	s->memfd = memfd_create("vmfault-session", MFD_CLOEXEC);
	if (s->memfd < 0 || ftruncate(s->memfd, (off_t)s->bytes) ||
	    (p = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0)) == MAP_FAILED) {
		snprintf(why, n, "no memory for its session: %s", strerror(errno));
		return -1;
	}
	s->block = p;
	r = vmf_session_init(s->block, hello->region, hello->regions);
	if (r)
		snprintf(why, n, "session: %s", vmf_err_str(r));
	return r ? -1 : 0;
}

static void free_block(struct vmf_serving *s)
{
	if (s->block)
		munmap(s->block, s->bytes);
	if (s->memfd >= 0)
		close(s->memfd);
}

int vmf__serving_open(struct vmf_serving *s, struct vmf_port *port, struct vmf_object *object,
		      const struct vmf_hello *hello, const struct vmf_adopt *adopt, char *why, size_t n)
{
	int r;

	*s = (struct vmf_serving){ .uffd = -1, .memfd = -1 };
	if (make_block(s, hello, why, n)) {
		free_block(s);
		return -1;
	}
	r = vmf_linux_adopt(port, &s->space, hello->uffd, s->block, object, adopt);
	if (r) {
		snprintf(why, n, "%s", adopt_str(r));
		free_block(s);
		return -1;
	}
	s->uffd = hello->uffd;
	return 0;
}

void vmf__serving_close(struct vmf_serving *s)
{
	vmf_linux_adopt_close(s->space);
	close(s->uffd);
	free_block(s);
}

int vmf__serving_poison(struct vmf_serving *s)
{
	int r = 0;

	for (unsigned i = 0; i < s->block->regions && !r; i++)
		r = vmf_linux_poison(s->space, s->block->region[i].va, s->block->region[i].pages);
	return r;
}

bool vmf__uffd_is(int fd)
{
	/* Waking nobody at an address where nothing is: other files do not know the request. */
	struct uffdio_range r = { .start = 1 << 16, .len = 4096 };

	return !ioctl(fd, UFFDIO_WAKE, &r);
}

bool vmf__uffd_gone(int fd)
{
	/* The kernel asks for the memory first, and reads the source after.  Nothing can be read at such an address, where
	 * Linux maps nothing by itself: so nothing is copied, whatever lies there in the other process. */
	struct uffdio_copy c = { .dst = 1 << 16, .src = 1 << 16, .len = 4096 };

	return ioctl(fd, UFFDIO_COPY, &c) && errno == ESRCH;
}
