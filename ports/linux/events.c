/* SPDX-License-Identifier: MIT
 *
 * Events: what the application does to windows behind our back, and how they are read.
 *
 * read() is an acknowledgement: the application goes on before we have looked at what was read, and a page filled
 * then, from what was right before, would stay.  So filling is excluded first (the gate), then events are read,
 * without blocking, and removes and the table of windows are put right; then filling goes on.  Changes of the
 * layout also have to reach the core, which may wait for handlers, so that happens after the gate has been opened;
 * `changing` keeps everyone from entering meanwhile.
 */
#include "fork.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 64u
#define QUIET_NS 100000u
#define ZAP_TRIES 200u

#define LOST (3 * BATCH) /* by one event three windows at most */

struct lost { uintptr_t va, end; uint8_t kind; };
struct batch {
	struct uffd_msg msg[BATCH];
	struct vmf__news layout[BATCH + LOST]; /* to 0: unmapped */
	struct lost lost[LOST]; /* the table had no room for these */
	unsigned layouts, losts, told;
};

static void each_removed(const struct vmf__window *w, uintptr_t start, uintptr_t end)
{
	start = start > w->va ? start : w->va;
	end = end < w->end ? end : w->end;
	for (uintptr_t va = start; va < end; va += VMF__PAGE) {
		uint64_t page = vmf__window_page(w, va);

		atomic_store_explicit(&w->extent->some_removed, true, memory_order_relaxed);
		atomic_fetch_or_explicit(&w->extent->removed[page / 64], UINT64_C(1) << (page % 64), memory_order_relaxed);
	}
}

static void apply_remove(struct vmf__local *local, uintptr_t start, uintptr_t end)
{
	struct vmf__window w;

	for (uintptr_t va = start; va < end && vmf__window_next(va, &w) && w.va < end; va = w.end)
		if (w.local == local && w.kind == VMF__W_COPY)
			each_removed(&w, start, end);
}

/* ---------------------------------------------------------------------------------------- a full table */

static void lose(struct batch *b, const struct vmf__window *w)
{
	if (b->losts < LOST)
		b->lost[b->losts++] = (struct lost){ w->va, w->end, w->kind };
	else
		w->local->kept = true;
}

/* What is lost may have been unmapped since, and be somebody else's. */
static void lost_no_more(struct vmf__local *local, struct batch *b, uintptr_t va, uintptr_t end)
{
	for (unsigned i = 0; i < b->losts; i++) {
		struct lost *l = &b->lost[i];

		if (end <= l->va || va >= l->end)
			continue;
		local->kept |= va > l->va && end < l->end;
		if (va <= l->va)
			l->va = end < l->end ? end : l->end;
		else
			l->end = va;
	}
}

/* Nobody will be told what becomes of them, so they are shut.  What was absent there never reads zero; where the kernel
 * has no room for another mapping either, because it stays registered: whoever touches it gets a SIGBUS.  As with
 * other zaps a layout that changes without a pause is not waited for longer than 10 ms. => gate closed */
static void shut_lost(struct vmf__local *local, const struct batch *b)
{
	for (unsigned i = 0; i < b->losts; i++) {
		const struct lost *l = &b->lost[i];

		if (l->va >= l->end)
			continue;
		for (unsigned tries = 0; tries < ZAP_TRIES && vmf__uffd_changing(local->fd[l->kind]); tries++)
			(void)vmf__wait(local->port, NULL, 0, 50000, false);
		if (mprotect((void *)l->va, l->end - l->va, PROT_NONE))
			local->kept = true;
		if (l->kind == VMF__W_SHARED)
			(void)vmf__zap((void *)l->va, l->end - l->va);
	}
}

static void gone(struct vmf__local *local, struct batch *b, uintptr_t va, uintptr_t end)
{
	struct vmf__window lost;

	if (vmf__window_gone(local, va, end, &lost))
		lose(b, &lost);
}

/* ---------------------------------------------------------------------------------------------- events */

static void move_window(struct vmf__local *local, struct batch *b, const struct vmf__window *from, uintptr_t by)
{
	struct vmf__window w = *from;

	w.va += by;
	w.end += by;
	if (vmf__window_add(&w)) {
		/* Perhaps there is room when it has gone from where it was. */
		vmf__extent_keep(w.extent);
		gone(local, b, from->va, from->end);
		if (vmf__window_add(&w))
			lose(b, &w);
		vmf__extent_let(w.extent);
	}
	if (w.kind == VMF__W_SHARED)
		(void)vmf__zap((void *)w.va, w.end - w.va);
}

/* The windows of the old range are now at the new one; what had been there is gone.  Entries on a shared object went
 * with them, and until the core has been told, a revoke or a write-back looks for them in vain: they are forgotten. */
static void apply_remap(struct vmf__local *local, struct batch *b, const struct vmf__news *l)
{
	struct vmf__window w;

	gone(local, b, l->to, l->to + l->bytes);
	for (uintptr_t va = l->from; va < l->from + l->bytes && vmf__window_next(va, &w) && w.va < l->from + l->bytes;) {
		uintptr_t next = w.end;

		if (w.local == local) {
			vmf__window_clip(&w, l->from, l->from + l->bytes);
			move_window(local, b, &w, l->to - l->from);
		}
		va = next;
	}
	gone(local, b, l->from, l->from + l->bytes);
}

static void tell_later(struct vmf__local *local, struct batch *b, const struct vmf__news *l)
{
	atomic_fetch_add(&local->changing, 1);
	b->layout[b->layouts++] = *l;
}

/* => gate closed */
static void apply_one(struct vmf__local *local, struct batch *b, const struct uffd_msg *m)
{
	struct vmf__news l = { 0 };

	switch (m->event) {
	case UFFD_EVENT_REMOVE:
		apply_remove(local, (uintptr_t)m->arg.remove.start, (uintptr_t)m->arg.remove.end);
		return;
	case UFFD_EVENT_UNMAP:
		l.from = (uintptr_t)m->arg.remove.start;
		l.bytes = (uintptr_t)m->arg.remove.end - l.from;
		lost_no_more(local, b, l.from, l.from + l.bytes);
		gone(local, b, l.from, l.from + l.bytes);
		break;
	case UFFD_EVENT_REMAP:
		l.from = (uintptr_t)m->arg.remap.from;
		l.to = (uintptr_t)m->arg.remap.to;
		l.bytes = (uintptr_t)m->arg.remap.len;
		lost_no_more(local, b, l.from, l.from + l.bytes);
		lost_no_more(local, b, l.to, l.to + l.bytes);
		apply_remap(local, b, &l);
		break;
	case UFFD_EVENT_FORK:
		l.child = vmf__child_seen(local, (int)m->arg.fork.ufd);
		if (!l.child)
			return;
		break;
	default:
		return;
	}
	tell_later(local, b, &l);
	for (; b->told < b->losts; b->told++) {
		const struct lost *lost = &b->lost[b->told];

		tell_later(local, b, &(struct vmf__news){ .from = lost->va, .bytes = lost->end - lost->va });
	}
}

/* Who finds a window where the core does not know of it yet must find that something is changing, too. => gate
 * closed */
static void apply(struct vmf__local *local, struct batch *b, const struct uffd_msg *m)
{
	atomic_fetch_add(&local->changing, 1);
	apply_one(local, b, m);
	atomic_fetch_sub(&local->changing, 1);
}

/* An EVENT_FORK comes with a descriptor.  When there is none left, fork() would wait until there is: so one is kept. */
static ssize_t read_spare(struct vmf__family *f, int fd, struct uffd_msg *msg, size_t bytes)
{
	ssize_t got;

	f->ended = vmf__child_forks_ended();
	got = read(fd, msg, bytes);
	if (got < 0 && (errno == EMFILE || errno == ENFILE) && f->spare >= 0) {
		close(f->spare);
		f->spare = -1;
		got = read(fd, msg, bytes);
	}
	if (f->spare < 0)
		f->spare = fcntl(f->line[0], F_DUPFD_CLOEXEC, 0);
	return got;
}

/* => gate closed */
static unsigned read_some(struct vmf__local *local, unsigned kind, struct uffd_msg *msg, unsigned n)
{
	struct vmf__family *f = atomic_load(&local->family);
	size_t bytes = n * sizeof(*msg);
	int fd = local->fd[kind];
	ssize_t got = 0;

	if (n && fd >= 0)
		got = f && kind == VMF__W_COPY ? read_spare(f, fd, msg, bytes) : read(fd, msg, bytes);
	return got > 0 ? (unsigned)((size_t)got / sizeof(*msg)) : 0;
}

/* An area whose address has gone must go, or its place can never be used again; only memory can be lacking. */
void vmf__events_tell(struct vmf__local *local, uintptr_t from, uintptr_t to, uintptr_t bytes)
{
	int err = -VMF_ENOMEM;

	for (unsigned tries = 0; err == -VMF_ENOMEM && tries < 100; tries++) {
		if (tries)
			(void)vmf__wait(local->port, NULL, 0, 1000000, false);
		if (to)
			err = vmf_space_moved(local->space, from, to, bytes >> VMF__SHIFT);
		else
			err = vmf_space_gone(local->space, from, bytes >> VMF__SHIFT);
	}
}

/* In the order in which it happened.  With a family it is the family that tells the core: a driver may want what a
 * thread in fork() holds, which waits for us. */
static void tell(struct vmf__local *local, const struct batch *b)
{
	struct vmf__family *f = atomic_load(&local->family);

	for (unsigned i = 0; i < b->layouts; i++) {
		const struct vmf__news *l = &b->layout[i];

		if (f) {
			vmf__family_tell(f, l);
			continue;
		}
		vmf__events_tell(local, l->from, l->to, l->bytes);
		atomic_fetch_sub(&local->changing, 1);
	}
}

unsigned vmf__events_drain(struct vmf__local *local, unsigned ready, struct uffd_msg *fault, unsigned n)
{
	unsigned got = 0, faults = 0;
	struct batch b;

	b.layouts = b.losts = b.told = 0;
	vmf__block(NULL);
	vmf__mutex_take(&local->reading);
	vmf__gate_close(&local->gate);
	if (ready & 1u << VMF__W_COPY)
		got = read_some(local, VMF__W_COPY, b.msg, n < BATCH ? n : BATCH);
	if (ready & 1u << VMF__W_SHARED)
		got += read_some(local, VMF__W_SHARED, b.msg + got, (n < BATCH ? n : BATCH) - got);
	for (unsigned i = 0; i < got; i++) {
		if (b.msg[i].event == UFFD_EVENT_PAGEFAULT)
			fault[faults++] = b.msg[i];
		else
			apply(local, &b, &b.msg[i]);
	}
	shut_lost(local, &b);
	vmf__gate_open(&local->gate);
	tell(local, &b);
	vmf__mutex_drop(&local->reading);
	vmf__unblock(NULL);
	return faults;
}

/* How many faults nobody has read: the kernel's own count. */
static unsigned unread(int fd)
{
	char path[48], text[512], *at;
	int info, e = errno;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
	if (info >= 0)
		close(info);
	errno = e;
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "pending:");
	return at ? (unsigned)strtoul(at + 8, NULL, 10) : 0;
}

/* read() hands out faults first.  Should somebody be faster, and an event come: it is dealt with as ever. */
bool vmf__events_steal(struct vmf__local *local, struct uffd_msg *fault)
{
	struct batch b;
	bool got = false;

	b.layouts = b.losts = b.told = 0;
	for (unsigned i = 0; i < 2 && !got; i++) {
		if (local->fd[i] < 0 || !unread(local->fd[i]))
			continue;
		vmf__block(NULL);
		vmf__gate_close(&local->gate);
		fault->event = 0;
		(void)read_some(local, i, fault, 1);
		got = fault->event == UFFD_EVENT_PAGEFAULT;
		if (!got)
			apply(local, &b, fault);
		shut_lost(local, &b);
		vmf__gate_open(&local->gate);
		vmf__unblock(NULL);
	}
	tell(local, &b);
	return got;
}

bool vmf__events_pending(const struct vmf__local *local)
{
	return atomic_load(&local->changing) || vmf__uffd_changing(local->fd[0]) || vmf__uffd_changing(local->fd[1]);
}

bool vmf__events_quiet(const struct vmf__local *local)
{
	uint64_t end = vmf__now(NULL) + QUIET_NS;

	while (vmf__events_pending(local))
		if (vmf__now(NULL) > end)
			return false;
	return true;
}

int vmf__events_settle(struct vmf__local *local)
{
	for (unsigned tries = 0; tries < 200; tries++) {
		bool pending = vmf__events_pending(local);

		/* Whoever is between read() and the table now, has it right when we are through. */
		vmf__block(NULL);
		vmf__gate_share(&local->gate);
		vmf__gate_unshare(&local->gate);
		vmf__unblock(NULL);
		if (atomic_load(&local->changing))
			break;
		if (!pending)
			return 0;
		(void)vmf__wait(local->port, NULL, 0, 50000, false);
	}
	return -VMF_EAGAIN;
}
