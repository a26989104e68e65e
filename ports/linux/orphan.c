/* SPDX-License-Identifier: MIT
 *
 * Orphans: children that the other process forked, and that nobody serves.  If the descriptor of one were just closed,
 * its absent pages would read zero: they are poisoned first.
 *
 * Where that cannot be done now (the child changes its own layout, or memory is lacking) it is done later, and the
 * child's own events are read meanwhile, or it would wait for ever; where it cannot be done at all, the descriptor
 * stays open and who touches an absent page sleeps.  A child's layout is ours of the moment of the fork.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "remote.h"

#define AGAIN_NS 1000000u
#define BATCH 16u

struct vmf__orphan {
	struct vmf__orphan *next;
	int fd;
	unsigned regions;
	struct vmf_session_region region[];
};

static int seal(int fd, const struct vmf_session_region *region, unsigned n)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++)
		err = vmf__remote_seal(fd, region[i].va, region[i].va + region[i].pages * VMF__PAGE, region[i].page_size);
	return err;
}

static void take(struct vmf__remote *r, int fd, const struct vmf_session_region *region, unsigned n)
{
	int err = seal(fd, region, n);
	struct vmf__orphan *o;

	vmf__session_count(r->session, forks, 1);
	if (!err || err == -VMF_EGONE) {
		close(fd);
		return;
	}
	o = err == -VMF_ENOSYS ? NULL : malloc(sizeof(*o) + n * sizeof(o->region[0]));
	if (!o)
		return;
	o->fd = fd;
	o->regions = n;
	memcpy(o->region, region, n * sizeof(o->region[0]));
	o->next = r->orphans;
	__atomic_store_n(&r->orphans, o, __ATOMIC_RELAXED);
}

void vmf__orphan_take(struct vmf__remote *r, int fd) { take(r, fd, r->session->region, r->session->regions); }

/* Its own children, too, are as it was when we took it: what it has unmapped since is no mapping there. */
static void read_events(struct vmf__remote *r, const struct vmf__orphan *o)
{
	struct uffd_msg m[BATCH];
	ssize_t n = vmf__read_now(o->fd, m, sizeof(m));

	for (ssize_t i = 0; i < n / (ssize_t)sizeof(m[0]); i++)
		if (m[i].event == UFFD_EVENT_FORK)
			take(r, (int)m[i].arg.fork.ufd, o->region, o->regions);
}

void vmf__orphans_again(struct vmf__remote *r)
{
	struct vmf__orphan *o = r->orphans, *next;

	__atomic_store_n(&r->orphans, NULL, __ATOMIC_RELAXED);
	for (; o; o = next) {
		int err;

		next = o->next;
		read_events(r, o);
		err = seal(o->fd, o->region, o->regions);
		if (err && err != -VMF_EGONE) {
			o->next = r->orphans;
			__atomic_store_n(&r->orphans, o, __ATOMIC_RELAXED);
			continue;
		}
		close(o->fd);
		free(o);
	}
}

uint64_t vmf__orphans_due(const struct vmf__remote *r)
{
	return __atomic_load_n(&r->orphans, __ATOMIC_RELAXED) ? AGAIN_NS : UINT64_MAX;
}

void vmf__orphans_leave(struct vmf__remote *r)
{
	struct vmf__orphan *o = r->orphans, *next;

	for (; o; o = next) {
		next = o->next;
		free(o);
	}
}
