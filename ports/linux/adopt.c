/* SPDX-License-Identifier: MIT
 *
 * Adopting: from a descriptor that came over a socket to a space that can be served, and back.  Nothing in the
 * other process is changed by asking whether its descriptor and its regions are what they are said to be.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "remote.h"

/* The kernel's own name for it; where /proc is not to be seen, only a userfaultfd minds an empty range. */
static bool is_uffd(int fd)
{
	char path[40], name[40];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, name, sizeof(name));
	if (n > 0)
		return n == 24 && !memcmp(name, "anon_inode:[userfaultfd]", 24);
	return errno != EBADF && vmf__uffd_wake(fd, 0, 0) == -EINVAL;
}

static int make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK)))
		return -VMF_EINVAL;
	return 0;
}

/* Asks for bytes that are nowhere: a page that can be filled says EFAULT, and nothing is changed. */
static int probe_page(struct vmf__remote *r, vmf_va va, size_t page)
{
	void *nowhere = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long done;

	if (nowhere == MAP_FAILED)
		return -VMF_ENOMEM;
	done = vmf__uffd_copy(r->uffd, va, nowhere, page, 0);
	munmap(nowhere, page);
	switch (-done) {
	case EFAULT:
	case EEXIST:
	case EAGAIN:
	case ENOMEM:
		return 0;
	case ESRCH:
	case ENOSPC:
		return -VMF_EGONE;
	case ENOENT:
		return -VMF_EFAULT;
	default:
		return -VMF_ENOSYS;
	}
}

static int adopt_region(struct vmf__remote *r, const struct vmf_session_region *region, struct vmf_object *object)
{
	struct vmf_map m = { .size = sizeof(m), .flags = VMF_FIXED, .va = region->va, .pages = region->pages,
		.off = region->off, .prot = VMF_R | VMF_W | VMF_X, .order = region->page_size == VMF__PAGE ? 0 : 9 };
	vmf_va at;
	int err = probe_page(r, region->va, region->page_size);

	if (!err)
		err = probe_page(r, region->va + region->pages * VMF__PAGE - region->page_size, region->page_size);
	return err ? err : vmf_map(r->space, object, &m, &at);
}

static int adopt_regions(struct vmf__remote *r, struct vmf_object *object)
{
	int err = vmf__inbox_recover(r);

	for (unsigned i = 0; i < r->session->regions && !err; i++)
		err = adopt_region(r, r->session->region + i, object);
	if (!err)
		vmf__remote_wake_all(r);
	return err;
}

static int policy_in(struct vmf_adopt *to, const struct vmf_adopt *from)
{
	int err;

	memset(to, 0, sizeof(*to));
	err = from ? vmf_struct_in(to, sizeof(*to), from, offsetof(struct vmf_adopt, tries)) : 0;
	if (err)
		return err;
	to->tries = to->tries ? to->tries : 5;
	to->first_ms = to->first_ms ? to->first_ms : 1;
	to->last_ms = to->last_ms ? to->last_ms : 1000;
	return 0;
}

static void remote_free(struct vmf__remote *r)
{
	vmf__orphans_leave(r);
	if (r->zeroes)
		munmap((void *)(uintptr_t)r->zeroes, VMF__HUGE);
	free(r);
}

/* PROT_READ and never written: it costs a page of zeroes that the kernel has anyway. */
static struct vmf__remote *remote_new(struct vmf_port *port, int uffd, struct vmf_session *session)
{
	struct vmf__remote *r = calloc(1, sizeof(*r));
	void *zeroes = mmap(NULL, VMF__HUGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!r || zeroes == MAP_FAILED) {
		if (zeroes != MAP_FAILED)
			munmap(zeroes, VMF__HUGE);
		free(r);
		return NULL;
	}
	r->pmap.ops = &vmf__remote_ops;
	r->port = port;
	r->session = session;
	r->uffd = uffd;
	r->zeroes = zeroes;
	r->bytes_read = session->bytes_read;
	pthread_mutex_init(&r->inbox, NULL);
	vmf__park_init(&r->park);
	return r;
}

int vmf_linux_adopt(struct vmf_port *port, struct vmf_space **out, int uffd, struct vmf_session *session,
		    struct vmf_object *object, const struct vmf_adopt *adopt)
{
	struct vmf__remote *r;
	int err;

	if (!port || !out || !session || !object || !vmf__session_good(session) || !is_uffd(uffd) || make_nonblocking(uffd))
		return -VMF_EINVAL;
	r = remote_new(port, uffd, session);
	if (!r)
		return -VMF_ENOMEM;
	err = policy_in(&r->adopt, adopt);
	if (!err)
		err = vmf_space_create(port, &r->space, &r->pmap);
	if (err) {
		remote_free(r);
		return err;
	}
	err = adopt_regions(r, object);
	if (err)
		vmf_linux_adopt_close(r->space);
	else
		*out = r->space;
	return err;
}

void vmf_linux_adopt_close(struct vmf_space *space)
{
	struct vmf__remote *r = vmf__remote_of(space);

	if (!r)
		return;
	vmf__remote_drop_tickets(r);
	vmf_space_destroy(space);
	remote_free(r);
}
