/* SPDX-License-Identifier: MIT
 *
 * The inbox: messages are read into the session block itself, and applied there, before anybody may enter again.
 * Faults are parked; what changed the layout is told to the core when the gate is open.
 *
 * read() hands out faults before older events, so all that is there is read before the first fault is tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "remote.h"

_Static_assert(sizeof(struct uffd_msg) == sizeof(((struct vmf_session *)0)->events[0]), "a message fits its place");

static const struct uffd_msg *message(const struct vmf_session *s, uint32_t i)
{
	return (const struct uffd_msg *)(const void *)s->events[i];
}

static unsigned kind_of(uint64_t flags)
{
	if (flags & UFFD_PAGEFAULT_FLAG_WP)
		return VMF__FAULT_WP;
	return flags & UFFD_PAGEFAULT_FLAG_MINOR ? VMF__FAULT_MINOR : VMF__FAULT_MISSING;
}

static void apply_fault(struct vmf__remote *r, const struct uffd_msg *m)
{
	const struct vmf_session_region *region = vmf__session_find(r->session, m->arg.pagefault.address);
	uint64_t flags = m->arg.pagefault.flags;
	size_t page = region ? region->page_size : VMF__PAGE;

	vmf__park_add(&r->park, m->arg.pagefault.address & ~(vmf_va)(page - 1), kind_of(flags),
		      flags & UFFD_PAGEFAULT_FLAG_WRITE ? VMF_W : VMF_R);
	vmf__session_count(r->session, faults, 1);
}

/* Who waited for a page that went, or went elsewhere, has to look again. */
static void apply_gone(struct vmf__remote *r, uint64_t start, uint64_t end)
{
	vmf__park_cover(&r->park, start, end, true);
	(void)vmf__uffd_wake(r->uffd, start, end - start);
}

/* => nobody enters */
static int apply(struct vmf__remote *r, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_PAGEFAULT:
		apply_fault(r, m);
		return 0;
	case UFFD_EVENT_REMOVE:
		vmf__session_remove(r->session, m->arg.remove.start, m->arg.remove.end);
		return 0;
	case UFFD_EVENT_UNMAP:
		apply_gone(r, m->arg.remove.start, m->arg.remove.end);
		return vmf__session_gone(r->session, m->arg.remove.start, m->arg.remove.end);
	case UFFD_EVENT_REMAP:
		apply_gone(r, m->arg.remap.from, m->arg.remap.from + m->arg.remap.len);
		return vmf__session_moved(r->session, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
	case UFFD_EVENT_FORK:
		if (r->forks)
			r->forks->seen(r, (int)m->arg.fork.ufd);
		else
			vmf__orphan_take(r, (int)m->arg.fork.ufd);
		return 0;
	default:
		return 0;
	}
}

/* What the core has to know.  => the gate is open */
static int tell(struct vmf__remote *r, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_UNMAP:
		return vmf_space_gone(r->space, m->arg.remove.start, (m->arg.remove.end - m->arg.remove.start) / VMF__PAGE);
	case UFFD_EVENT_REMAP:
		return vmf_space_moved(r->space, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len / VMF__PAGE);
	case UFFD_EVENT_FORK:
		if (r->forks)
			r->forks->told(r, (int)m->arg.fork.ufd);
		return 0;
	default:
		return 0;
	}
}

/* Whether read() waits is a flag of the file, which the other process shares and may change at any time; so each call
 * says that it does not want to (since Linux 6.10 this one minds).  Where nothing was to be read the flag is put right:
 * poll() calls a descriptor that waits broken, without end. */
ssize_t vmf__read_now(int fd, void *to, size_t bytes)
{
	struct iovec v = { to, bytes };
	ssize_t n = preadv2(fd, &v, 1, -1, RWF_NOWAIT);

	if (n < 0 && errno == EOPNOTSUPP)
		n = read(fd, to, bytes);
	if (n < 0 && errno == EAGAIN) {
		int flags = fcntl(fd, F_GETFL);

		if (!(flags & O_NONBLOCK))
			(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
		errno = EAGAIN;
	}
	return n;
}

/* Returns how many were read; 0: nothing is there. */
static int inbox_read(struct vmf__remote *r, int *err)
{
	struct vmf_session *s = r->session;
	ssize_t n;

	vmf__gate_close(&r->gate);
	do
		n = vmf__read_now(r->uffd, s->events, sizeof(s->events));
	while (n < 0 && errno == EINTR);
	s->journal = n > 0 ? (uint32_t)n / sizeof(s->events[0]) : 0;
	for (uint32_t i = 0; i < s->journal && !*err; i++)
		*err = apply(r, message(s, i));
	vmf__gate_open(&r->gate);
	if (n < 0 && errno != EAGAIN)
		*err = -VMF_EGONE;
	return (int)s->journal;
}

int vmf__inbox_drain(struct vmf__remote *r)
{
	struct vmf_session *s = r->session;
	int n, err = 0;

	vmf__order(vmf_rank_take(&r->inbox, VMF_RANK_OUTER));
	pthread_mutex_lock(&r->inbox);
	do {
		n = inbox_read(r, &err);
		for (int i = 0; i < n && !err; i++)
			err = tell(r, message(s, (uint32_t)i));
		if (!err) {
			memset(s->events, 0, (size_t)n * sizeof(s->events[0]));
			s->journal = 0;
		}
	} while (n == VMF_SESSION_EVENTS && !err);
	vmf__orphans_again(r);
	pthread_mutex_unlock(&r->inbox);
	vmf__order(vmf_rank_drop(&r->inbox));
	return err;
}

/* Faults are left out: their ranges are woken later, and they come again.  So are forks: that descriptor was his. */
int vmf__inbox_recover(struct vmf__remote *r)
{
	struct vmf_session *s = r->session;
	int err = 0;

	for (uint32_t i = 0; i < VMF_SESSION_EVENTS && message(s, i)->event && !err; i++)
		if (message(s, i)->event != UFFD_EVENT_PAGEFAULT && message(s, i)->event != UFFD_EVENT_FORK)
			err = apply(r, message(s, i));
	if (err)
		return err;
	memset(s->events, 0, sizeof(s->events));
	s->journal = 0;
	return 0;
}
