/* SPDX-License-Identifier: MIT
 *
 * The pmap of this process: windows.
 *
 *	VMF_SHARED   by offset: a mapping of the object's memfd, registered MISSING | MINOR (and WP): a fault maps the
 *frame that
 *	             is in the memfd already (CONTINUE); clean pages are write-protected
 *	not shared   by copy: anonymous memory, registered MISSING; a fault copies (COPY, ZEROPAGE); with map.order 9 it
 *	             is pages of 2 MiB, out of the system's pool, and reserved: see huge.c
 *	with pfns    by offset, see raw.c
 *	where the kernel has no userfaultfd, or not all of it: see trap.c
 *
 *   - A window is mapped PROT_NONE, registered, and only then opened: what is mapped and not registered reads as
 *     zeroes.
 *   - attach() and detach() run under the space's lock, which the reader of events may be waiting for.  So nothing
 *     here may raise an event and wait for it: what is unmapped is taken out of the userfaultfd first; by-offset
 *     windows, which are zapped, have a userfaultfd without EVENT_REMOVE; by-copy windows are never zapped.
 */
#include "fork.h"

#include <errno.h>
#include <sys/mman.h>

#define CLEAN_MAX 4096u /* pages */
#define ZAP_TRIES 200u
#define DONTNEED_LOCKED 24 /* MADV_DONTNEED_LOCKED, since Linux 5.18 */

static const char zeroes[VMF__PAGE] __attribute__((aligned(VMF__PAGE)));

static struct vmf__local *local_of(struct vmf_pmap *pmap) { return (struct vmf__local *)pmap; }

/* --------------------------------------------------------------------------------------------- attach */

/* What is mapped where and how, before it is a window. */
struct plan {
	struct vmf__window w;
	int fd, flags;
	off_t at;
	size_t bytes;
	int prot; /* at first */
	unsigned mode;
};

static int plan_shared(struct vmf__local *local, const struct vmf_map *map, vmf_pfn segment, struct plan *p)
{
	const struct vmf__segment *s;

	p->w.kind = VMF__W_SHARED;
	p->w.segment.n = segment.n + map->off;
	s = segment.n ? vmf__segment_of(local->port, p->w.segment, map->pages) : NULL;
	if (!s || s->fd < 0)
		return -VMF_ENOSYS;
	p->fd = s->fd;
	p->at = (off_t)(vmf__segment_page(p->w.segment) << VMF__SHIFT);
	p->flags = MAP_SHARED | MAP_NORESERVE;
	if (local->trap[VMF__W_SHARED]) {
		p->w.trap = p->w.wp = true;
		return 0;
	}
	p->mode = VMF__UR_MISSING | VMF__UR_MINOR;
	p->w.wp = local->wp && (map->prot | map->maxprot) & VMF_W;
	if (p->w.wp)
		p->mode |= VMF__UR_WP;
	return 0;
}

static int plan_raw(struct vmf__local *local, const struct vmf_map *map, vmf_pfn segment, struct plan *p)
{
	p->w.kind = VMF__W_RAW;
	p->w.segment.n = segment.n ? segment.n + map->off : 0;
	p->fd = local->port->blank;
	p->flags = MAP_SHARED | MAP_NORESERVE;
	p->prot = vmf__host_prot(map->prot);
	return 0;
}

static int plan_huge(struct vmf__local *local, const struct vmf_map *map, struct plan *p)
{
	p->w.kind = VMF__W_COPY;
	p->w.order = VMF__HUGE_ORDER;
	p->fd = -1;
	p->flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (int)(21u << MAP_HUGE_SHIFT);
	p->mode = VMF__UR_MISSING;
	return vmf__huge_plan(local, map);
}

static int plan_copy(const struct vmf__local *local, const struct vmf_map *map, struct plan *p)
{
	p->w.kind = VMF__W_COPY;
	p->w.trap = local->trap[VMF__W_COPY];
	p->w.forks = local->inherits && !(map->flags & VMF_NOFORK);
	p->fd = -1; /* trap: the extent's */
	p->flags = (p->w.trap ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) | MAP_NORESERVE;
	p->mode = p->w.trap ? 0 : VMF__UR_MISSING;
	return 0;
}

static int plan_make(struct vmf__local *local, const struct vmf_map *map, vmf_pfn segment, bool wants_raw,
		     struct plan *p)
{
	*p = (struct plan){ .w = { .local = local, .prot = map->prot }, .prot = PROT_NONE };
	p->bytes = map->pages << VMF__SHIFT;
	if (map->pages >> (VMF__SEGMENT_SHIFT - 1) || (map->order && (map->flags & VMF_SHARED || wants_raw)))
		return -VMF_ENOSYS;
	if (map->order)
		return plan_huge(local, map, p);
	if (!(map->flags & VMF_SHARED))
		return wants_raw && !segment.n ? -VMF_ENOSYS : plan_copy(local, map, p);
	return wants_raw ? plan_raw(local, map, segment, p) : plan_shared(local, map, segment, p);
}

/* The addresses may be those of a window that the application has just unmapped itself, and the event not been
 * read: what it says must not be taken for this one. */
static int map_pages(struct vmf__local *local, const struct plan *p, uintptr_t hint, bool fixed, uintptr_t *va)
{
	int flags = p->flags | (fixed ? MAP_FIXED_NOREPLACE : 0);
	void *got = mmap((void *)hint, p->bytes, p->prot, flags, p->fd, p->at);

	if (got == MAP_FAILED)
		return errno == EEXIST ? -VMF_EEXIST : -VMF_ENOMEM;
	*va = (uintptr_t)got;
	return fixed && *va != hint ? -VMF_EEXIST : vmf__events_settle(local); /* before 4.17 the flag is only a hint */
}

static size_t bytes_of(const struct vmf__window *w) { return w->end - w->va; }

static unsigned mode_of(const struct vmf__window *w)
{
	if (w->kind == VMF__W_COPY)
		return VMF__UR_MISSING;
	return VMF__UR_MISSING | VMF__UR_MINOR | (w->wp ? VMF__UR_WP : 0);
}

/* Traps and raw pfns have no userfaultfd that would have to be left first. */
static bool registered(const struct vmf__window *w) { return !w->trap && w->kind != VMF__W_RAW; }

/* From now on nobody can touch it, and unmapping it is no event.  An error: nothing has changed. */
static int shut(const struct vmf__window *w)
{
	int err;

	if (!registered(w))
		return 0;
	if (mprotect((void *)w->va, bytes_of(w), PROT_NONE))
		return vmf__err(errno);
	err = vmf__err(vmf__uffd_unregister(w->local->fd[w->kind], w->va, bytes_of(w)));
	if (err)
		(void)mprotect((void *)w->va, bytes_of(w), vmf__host_prot(w->prot));
	return err;
}

int vmf__zap(void *at, size_t bytes)
{
	if (!madvise(at, bytes, MADV_DONTNEED) || errno == ENOMEM)
		return 0;
	if (errno != EINVAL)
		return vmf__err(errno);
	return madvise(at, bytes, DONTNEED_LOCKED) && errno != ENOMEM ? -VMF_EBUSY : 0;
}

/* It cannot be unmapped after all.  Leaving the userfaultfd has made clean pages writable, so entries are forgotten;
 * and what cannot be registered again stays shut, because it would show zeroes. */
static void reopen(const struct vmf__window *w)
{
	if (!registered(w) || vmf__uffd_register(w->local->fd[w->kind], w->va, bytes_of(w), mode_of(w), NULL))
		return;
	if (w->kind == VMF__W_SHARED && vmf__zap((void *)w->va, bytes_of(w)))
		return;
	(void)mprotect((void *)w->va, bytes_of(w), vmf__host_prot(w->prot));
}

/* Never opened, and not in the table.  What is registered is not unmapped: with an event that nobody reads, munmap()
 * would never return. */
static bool throw_away(const struct vmf__window *w)
{
	if (w->trap)
		return !vmf__trap_release(w);
	if (registered(w) && vmf__uffd_unregister(w->local->fd[w->kind], w->va, bytes_of(w)))
		return false;
	return !munmap((void *)w->va, bytes_of(w));
}

/* What the kernel will not take stays shut, and is tried again with the next one. => the space's lock */
static void undo(const struct vmf__window *w)
{
	struct vmf__extent *x = w->extent;

	if (throw_away(w)) {
		vmf__extent_free(x);
		return;
	}
	x->shut = (struct vmf__shut){ w->va, w->end, w->kind, w->trap };
	x->dead = w->local->shut;
	w->local->shut = x;
}

void vmf__windows_tidy(struct vmf__local *local, bool last)
{
	struct vmf__extent **link = &local->shut, *x;

	while ((x = *link)) {
		const struct vmf__window w = { .va = x->shut.va, .end = x->shut.end, .kind = x->shut.kind,
					       .trap = x->shut.trap, .local = local, .extent = x };

		if (!throw_away(&w) && !last) {
			link = &x->dead;
			continue;
		}
		*link = x->dead;
		vmf__extent_free(x);
	}
}

/* Takes the extent over, and the addresses. */
static int open_window(struct vmf__local *local, const struct plan *p)
{
	uintptr_t va = p->w.va;
	int err = 0;

	/* A child that had it, and no userfaultfd, would read zeroes. */
	if (!p->w.forks && madvise((void *)va, p->bytes, MADV_DONTFORK))
		err = -VMF_ENOMEM;
	if (!err && p->w.kind != VMF__W_RAW)
		err = vmf__node_set(va, p->bytes, p->w.extent->node);
	if (!err && p->mode)
		err = vmf__err(vmf__uffd_register(local->fd[p->w.kind], va, p->bytes, p->mode, NULL));
	if (!err && p->w.extent->bolted)
		err = vmf__bolt_all(&p->w);
	if (!err)
		err = vmf__window_add(&p->w);
	if (err) {
		undo(&p->w);
		return err;
	}
	if (p->w.trap || !p->mode || mprotect((void *)va, p->bytes, vmf__host_prot(p->w.prot)) == 0)
		return 0;
	vmf__extent_keep(p->w.extent);
	(void)vmf__window_drop(local, va, p->w.end);
	p->w.extent->pieces = 0;
	undo(&p->w);
	return -VMF_ENOMEM;
}

static void describe(const struct vmf__window *w, struct vmf_window *out)
{
	out->store = w->kind == VMF__W_COPY ? VMF_BY_COPY : VMF_BY_OFFSET;
	out->cow = w->kind == VMF__W_COPY && !w->trap;
	out->protect = w->wp;
	out->zero = w->kind == VMF__W_COPY;
	out->raw = w->kind == VMF__W_RAW;
	out->fill = w->kind == VMF__W_SHARED && !w->trap;
	out->order = w->order;
	out->orders = 1 | UINT64_C(1) << w->order;
	out->bolts = w->extent->bolted ? (uint32_t)w->extent->pages : 0;
	out->resident = true;
}

static int attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw, struct vmf_window *out)
{
	struct vmf__local *local = local_of(pmap);
	struct plan p;
	int err = plan_make(local, map, segment, wants_raw, &p);

	vmf__windows_tidy(local, false);
	if (!err && p.w.forks && !atomic_load(&local->family))
		err = vmf__family_start(local);
	if (err)
		return err;
	p.w.extent = vmf__extent_new(local->port, p.w.kind, p.w.trap, map->pages);
	if (!p.w.extent)
		return -VMF_ENOMEM;
	if (p.w.trap && p.w.kind == VMF__W_COPY)
		p.fd = p.w.extent->fd;
	err = map_pages(local, &p, map->va, map->flags & VMF_FIXED, &p.w.va);
	p.w.end = p.w.va + p.bytes;
	if (err && p.w.va)
		undo(&p.w);
	else if (err)
		vmf__extent_free(p.w.extent);
	if (err)
		return err;
	p.w.extent->bolted = map->action == VMF_BOLT;
	p.w.extent->node = map->node;
	p.w.extent->huge = p.w.order;
	err = open_window(local, &p);
	if (err)
		return err;
	map->va = p.w.va;
	map->flags |= p.w.forks ? 0 : VMF_NOFORK;
	describe(&p.w, out);
	return 0;
}

/* -------------------------------------------------------------------------------- each window of a range */

typedef int window_step(const struct vmf__window *part, unsigned arg);

/* part: what of a window of this local lies in the range */
static int each(struct vmf__local *local, vmf_va va, uint64_t pages, window_step *step, unsigned arg)
{
	uintptr_t end = va + (pages << VMF__SHIFT);
	struct vmf__window w;
	int err = 0;

	while (!err && va < end && vmf__window_next(va, &w) && w.va < end) {
		uintptr_t next = w.end;

		vmf__window_clip(&w, va, end);
		if (w.local == local)
			err = step(&w, arg);
		va = next;
	}
	return err;
}

static uint64_t pages_of(const struct vmf__window *w) { return (w->end - w->va) >> VMF__SHIFT; }

static int reopen_step(const struct vmf__window *w, unsigned arg)
{
	(void)arg;
	reopen(w);
	return 0;
}

static int wake_step(const struct vmf__window *w, unsigned arg)
{
	(void)arg;
	if (registered(w))
		(void)vmf__uffd_wake(w->local->fd[w->kind], w->va, bytes_of(w));
	return 0;
}

static int trap_step(const struct vmf__window *w, unsigned arg)
{
	(void)arg;
	return w->trap ? vmf__trap_release(w) : 0;
}

static void reopen_all(struct vmf__local *local, uintptr_t va, uintptr_t end)
{
	(void)each(local, va, (end - va) >> VMF__SHIFT, reopen_step, 0);
}

/* All windows of the range, or none. */
static int shut_all(struct vmf__local *local, uintptr_t va, uintptr_t end)
{
	struct vmf__window w;
	int err = 0;

	for (uintptr_t at = va; !err && at < end && vmf__window_next(at, &w) && w.va < end;) {
		uintptr_t next = w.end;

		vmf__window_clip(&w, va, end);
		if (w.local == local)
			err = shut(&w);
		if (err)
			reopen_all(local, va, w.va);
		at = next;
	}
	return err;
}

/* The next windows of the range that follow each other without a gap, in which may be what is somebody else's; false:
 * there are no more. */
static bool next_run(struct vmf__local *local, uintptr_t *va, uintptr_t *to, uintptr_t end, bool *raw)
{
	struct vmf__window w;
	bool some = false;

	for (uintptr_t at = *va; at < end && vmf__window_next(at, &w) && w.va < end; at = w.end) {
		bool ours = w.local == local && !w.trap, other = some && (w.kind == VMF__W_RAW) != *raw;

		if (some && (!ours || w.va != *to || other))
			break;
		vmf__window_clip(&w, *va, end);
		if (!ours)
			continue;
		*va = some ? *va : w.va;
		*to = w.end;
		*raw = w.kind == VMF__W_RAW;
		some = true;
	}
	return some;
}

/* What of it is still ours, each run of that with one munmap(). */
static int unmap_raw(const struct vmf__linux *port, uintptr_t va, uintptr_t end)
{
	uintptr_t from = va, to = va, next;
	bool more = true;

	while (more) {
		more = vmf__ours_next(port, &va, end, &next);
		if (!more || va != to) {
			if (to > from && munmap((void *)from, to - from))
				return -1;
			from = va;
		}
		to = va = next;
	}
	return 0;
}

/* One munmap() for all of it, which does all or nothing. */
static int unmap_all(struct vmf__local *local, uintptr_t va, uintptr_t end)
{
	uintptr_t to;
	bool raw = false;

	for (uintptr_t at = va; next_run(local, &at, &to, end, &raw); at = to) {
		if (!(raw ? unmap_raw(local->port, at, to) : munmap((void *)at, to - at)))
			continue;
		reopen_all(local, at, end);
		if (at > va)
			(void)vmf__window_drop(local, va, at);
		return -VMF_ENOMEM;
	}
	return 0;
}

/* Gives the addresses back.  An error (too many mappings): nothing has changed.  => showing */
static int release(struct vmf__local *local, uintptr_t va, uint64_t pages)
{
	uintptr_t end = va + (pages << VMF__SHIFT);
	int err = vmf__huge_cuts(va, end) ? -VMF_EINVAL : vmf__window_cut(va, end);

	if (!err)
		err = shut_all(local, va, end);
	if (!err)
		err = unmap_all(local, va, end);
	if (!err)
		err = each(local, va, pages, trap_step, 0);
	if (err)
		return err;
	(void)each(local, va, pages, wake_step, 0);
	return vmf__window_drop(local, va, end);
}

void vmf__windows_leave(struct vmf__local *local, uintptr_t va, uintptr_t end)
{
	struct vmf__window w;

	for (uintptr_t at = va; at < end && vmf__window_next(at, &w) && w.va < end; at = w.end) {
		vmf__window_clip(&w, va, end);
		if (w.local == local && mprotect((void *)w.va, bytes_of(&w), PROT_NONE))
			local->kept |= registered(&w);
	}
	(void)vmf__window_drop(local, va, end);
}

static int detach(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	struct vmf__local *local = local_of(pmap);
	int err;

	(void)g;
	/* The application may have unmapped it itself, and somebody else may have the addresses by now. */
	err = vmf__events_settle(local);
	if (err && !local->closing)
		return err;
	vmf__block(NULL);
	vmf__gate_share(&local->gate);
	vmf__mutex_take(&local->showing);
	if (!err)
		err = release(local, va, pages);
	if (err && local->closing) {
		vmf__windows_leave(local, va, va + (pages << VMF__SHIFT));
		err = 0;
	}
	vmf__mutex_drop(&local->showing);
	vmf__gate_unshare(&local->gate);
	vmf__unblock(NULL);
	return err;
}

static int remove_step(const struct vmf__window *w, unsigned arg)
{
	(void)arg;
	if (w->kind == VMF__W_RAW)
		return vmf__raw_blank(w, w->va, pages_of(w));
	if (w->kind == VMF__W_COPY)
		return 0;
	if (w->trap)
		return vmf__trap_hide(w);
	return vmf__zap((void *)w->va, bytes_of(w));
}

/* Zapping asks nobody whose memory it is.  If the application has unmapped a window and the event has not been read,
 * its addresses may be somebody else's, whose bytes would be lost: so we look first, and then at the table.  (What is
 * unmapped between the look and the zap is hit nevertheless; the kernel has no zap that looks itself.)  A layout that
 * changes without a pause is not waited for longer than 10 ms. */
static int each_still_ours(struct vmf__local *local, vmf_va va, uint64_t pages, window_step *step)
{
	for (unsigned tries = 0;; tries++) {
		bool changing;
		int err = 0;

		vmf__block(NULL);
		vmf__gate_share(&local->gate);
		changing = tries < ZAP_TRIES && vmf__uffd_changing(local->fd[VMF__W_SHARED]);
		if (!changing)
			err = each(local, va, pages, step, 0);
		vmf__gate_unshare(&local->gate);
		vmf__unblock(NULL);
		if (!changing)
			return err;
		(void)vmf__wait(local->port, NULL, 0, 50000, false);
	}
}

static int window_remove(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	(void)g;
	return each_still_ours(local_of(pmap), va, pages, remove_step);
}

static int protect_step(const struct vmf__window *w, unsigned prot)
{
	struct vmf__window as = *w;
	int err;

	as.prot = (uint8_t)prot;
	/* Entries that were made while nothing could be written, and cannot be write-protected, must be asked for
	 * again. */
	if (w->kind == VMF__W_RAW)
		return vmf__raw_blank(&as, w->va, pages_of(w));
	if (w->trap)
		return vmf__trap_hide(w);
	err = w->kind == VMF__W_SHARED && !w->wp ? remove_step(w, 0) : vmf__huge_register(w);
	if (!err && mprotect((void *)w->va, w->end - w->va, vmf__host_prot(prot)))
		err = vmf__err(errno);
	return err;
}

static int hide_step(const struct vmf__window *w, unsigned arg)
{
	(void)arg;
	return w->trap ? vmf__trap_hide(w) : 0;
}

static int protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	struct vmf__local *local = local_of(pmap);
	int err = vmf__events_settle(local);

	if (!err && vmf__huge_cuts(va, va + (pages << VMF__SHIFT)))
		err = -VMF_EINVAL;
	if (!err)
		err = vmf__window_cut(va, va + (pages << VMF__SHIFT));
	if (!err)
		err = each(local, va, pages, protect_step, prot);
	if (!err)
		err = vmf__window_prot(local, va, va + (pages << VMF__SHIFT), prot);
	/* Somebody may just have shown a page as the window was. */
	if (!err && local->trap[VMF__W_COPY])
		(void)each(local, va, pages, hide_step, 0);
	return err;
}

/* Forgetting does as well: where the kernel will not write-protect at the moment, and over long ranges, where
 * write-protecting leaves a mark, and the tables for it, for every page that was never touched. */
static int clean_step(const struct vmf__window *w, unsigned arg)
{
	if (w->trap)
		return w->kind == VMF__W_SHARED ? vmf__trap_clean(w) : 0;
	if (w->wp && pages_of(w) <= CLEAN_MAX && vmf__uffd_wp(w->local->fd[w->kind], w->va, w->end - w->va, true) == 0)
		return 0;
	return remove_step(w, arg);
}

static int clean(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	return each_still_ours(local_of(pmap), va, pages, clean_step);
}

/* ---------------------------------------------------------------------------------------------- enter */

/* Fills up to n pages from page i of the run: bytes, or -errno. */
typedef long fill_step(const struct vmf__window *, const struct vmf_run *, uint32_t i, uint32_t n, unsigned mode);

static long fill_cont(const struct vmf__window *w, const struct vmf_run *run, uint32_t i, uint32_t n, unsigned mode)
{
	int fd = w->local->fd[VMF__W_SHARED];
	uintptr_t va = run->va + ((uintptr_t)i << VMF__SHIFT);
	long got = vmf__uffd_cont(fd, va, (size_t)n << VMF__SHIFT, mode);

	/* It is there, perhaps write-protected. */
	if (got == -EEXIST && w->wp && run->prot & VMF_W) {
		int err = vmf__uffd_wp(fd, va, VMF__PAGE, false);

		return err ? err : -EEXIST;
	}
	return got;
}

/* EEXIST of zero is also said of a page that is poisoned, which COPY overwrites. */
static long fill_zero(const struct vmf__window *w, const struct vmf_run *run, uint32_t i, uint32_t n, unsigned mode)
{
	int fd = w->local->fd[VMF__W_COPY];
	uintptr_t va = run->va + ((uintptr_t)i << VMF__SHIFT);
	long got;

	if (w->order)
		return vmf__uffd_copy(fd, va, w->local->zeroes, VMF__HUGE_BYTES, mode);
	got = vmf__uffd_zero(fd, va, (size_t)n << VMF__SHIFT, mode);
	return got == -EEXIST ? vmf__uffd_copy(fd, va, zeroes, VMF__PAGE, mode) : got;
}

static bool removed(const struct vmf__window *w, uintptr_t va)
{
	uint64_t page = vmf__window_page(w, va);

	return atomic_load_explicit(&w->extent->removed[page / 64], memory_order_relaxed) >> (page % 64) & 1;
}

/* What the application took away reads zero, whatever the object holds. */
static long fill_copy(const struct vmf__window *w, const struct vmf_run *run, uint32_t i, uint32_t n, unsigned mode)
{
	uintptr_t va = run->va + ((uintptr_t)i << VMF__SHIFT);
	const char *from = vmf__bytes(w->local->port, (vmf_pfn){ run->pfn.n + i });
	uint32_t k = 0;

	if (removed(w, va))
		return fill_zero(w, run, i, 1, mode);
	if (!from)
		return -EFAULT;
	while (k < n && !removed(w, va + ((uintptr_t)k << VMF__SHIFT)))
		k++;
	return vmf__uffd_copy(w->local->fd[VMF__W_COPY], va, from, (size_t)k << VMF__SHIFT, mode);
}

/* Goes on behind pages that are there and, before the needed one, behind those that cannot be had. */
static long fill(const struct vmf__window *w, const struct vmf_run *run, fill_step *step, unsigned mode)
{
	uint32_t one = 1u << w->order, need = run->need & ~(one - 1);
	bool all = run->need == UINT32_MAX;
	long fresh = 0, got;

	for (uint32_t i = 0; i < run->n;) {
		got = step(w, run, i, run->n - i, mode);
		if (got > 0) {
			fresh += got >> VMF__SHIFT;
			i += (uint32_t)(got >> VMF__SHIFT);
			continue;
		}
		if (got != -EEXIST) {
			if (!all && i > need)
				return fresh;
			if (all || i == need || got == -EAGAIN || got == 0)
				return got ? vmf__err((int)got) : -VMF_EAGAIN;
		} else if (i == need && w->local->mode == VMF_THREADED) {
			(void)vmf__uffd_wake(w->local->fd[w->kind], run->va + ((uintptr_t)i << VMF__SHIFT),
					      (size_t)VMF__PAGE << w->order);
		}
		i += one;
	}
	return fresh;
}

/* COPY makes pages of the memfd and maps them: no zeroing, no second fault in our own mapping of it.  Who waits is
 * woken by whoever called the core: when the page is what the core says it is. */
static long enter_fill(const struct vmf__window *w, const struct vmf_run *run, unsigned mode)
{
	const char *from = vmf__bytes(w->local->port, run->from);
	long got = vmf__uffd_copy(w->local->fd[VMF__W_SHARED], run->va, from, (size_t)run->n << VMF__SHIFT,
				  mode | VMF__UM_DONTWAKE);

	vmf__self()->owes_wake = true;
	return got > 0 ? got >> VMF__SHIFT : got == -EEXIST ? 0 : vmf__err((int)got);
}

static long enter_shared(const struct vmf__window *w, const struct vmf_run *run, unsigned mode)
{
	if (run->flags & (VMF_RUN_RAW | VMF_RUN_ZERO))
		return -VMF_ENOSYS;
	if (run->pfn.n != w->segment.n + ((run->va - w->va) >> VMF__SHIFT))
		return -VMF_EEXIST;
	if (w->wp && !(run->prot & VMF_W))
		mode |= VMF__UM_WP;
	if (run->flags & VMF_RUN_WP && run->n == 1 && w->wp) {
		int err = vmf__uffd_wp(w->local->fd[VMF__W_SHARED], run->va, VMF__PAGE, false);

		return err ? vmf__err(err) : 0;
	}
	return run->flags & VMF_RUN_FILL ? enter_fill(w, run, mode) : fill(w, run, fill_cont, mode);
}

static long enter_copy(const struct vmf__window *w, const struct vmf_run *run, unsigned mode)
{
	struct vmf__window anew;
	int err;

	if (run->flags & VMF_RUN_RAW)
		return -VMF_ENOSYS;
	if (w->order && run->order < w->order) {
		uintptr_t block = run->va & ~(uintptr_t)(VMF__HUGE_BYTES - 1);

		err = vmf__huge_anew(w->local, block);
		if (err)
			return err < 0 ? err : 0;
		if (!vmf__window_find(run->va, &anew) || anew.local != w->local)
			return -VMF_EGONE;
		err = vmf__bolt_small(&anew, block);
		if (err)
			return err;
		w = &anew;
	}
	return fill(w, run, run->flags & VMF_RUN_ZERO ? fill_zero : fill_copy, mode);
}

static long enter_window(const struct vmf__window *w, const struct vmf_run *run)
{
	unsigned mode = w->local->mode == VMF_IN_CONTEXT ? VMF__UM_DONTWAKE : 0;

	if (w->trap) {
		long got = vmf__trap_enter(w, run);

		if (got >= 0)
			(void)vmf__bolt_again(w, run->va, run->n); /* they were locked; now they can be populated */
		return got;
	}
	switch (w->kind) {
	case VMF__W_SHARED:
		return enter_shared(w, run, mode);
	case VMF__W_COPY:
		return enter_copy(w, run, mode);
	default:
		return vmf__raw_enter(w, run);
	}
}

/* From page i on, in one window. */
static struct vmf_run part_of(const struct vmf_run *run, uint32_t i, const struct vmf__window *w)
{
	struct vmf_run part = *run;
	uint64_t room = (w->end - (run->va + ((uintptr_t)i << VMF__SHIFT))) >> VMF__SHIFT;

	part.va += (uintptr_t)i << VMF__SHIFT;
	part.pfn.n += i;
	part.n = room < run->n - i ? (uint32_t)room : run->n - i;
	if (run->need != UINT32_MAX)
		part.need = run->need - i < part.n ? run->need - i : 0;
	return part;
}

/* An area may be several windows: it was to be cut, and was not. */
static long enter_run(struct vmf__local *local, const struct vmf_run *run)
{
	bool all = run->need == UINT32_MAX;
	struct vmf__window w;
	long fresh = 0, got;

	for (uint32_t i = 0, n; i < run->n; i += n) {
		bool there = vmf__window_find(run->va + ((uintptr_t)i << VMF__SHIFT), &w) && w.local == local;
		struct vmf_run part = there ? part_of(run, i, &w) : *run;

		n = there ? part.n : 1;
		part.from.n += i;
		got = there ? enter_window(&w, &part) : -VMF_EGONE;
		if (got < 0 && run->flags & VMF_RUN_FILL && fresh)
			return fresh; /* those are shown, and may have been written */
		if (got < 0 && (all || run->need - i < n))
			return got;
		fresh += got > 0 ? got : 0;
		if (run->flags & VMF_RUN_FILL && got < (long)n)
			break; /* what is counted is what comes first */
	}
	return fresh;
}

static long enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct vmf__local *local = local_of(pmap);
	uint32_t anew = atomic_load(&local->anew);
	long got;

	vmf__block(NULL);
	vmf__gate_share(&local->gate);
	got = atomic_load(&local->changing) ? -VMF_EAGAIN : enter_run(local, run);
	if (got == -VMF_EGONE && (vmf__events_pending(local) || anew % 2 || anew != atomic_load(&local->anew)))
		got = -VMF_EAGAIN;
	vmf__gate_unshare(&local->gate);
	vmf__unblock(NULL);
	return got;
}

static int bolt(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct vmf__local *local = local_of(pmap);
	struct vmf__window w;
	int got = -VMF_EGONE;

	vmf__block(NULL);
	vmf__gate_share(&local->gate);
	if (atomic_load(&local->changing))
		got = -VMF_EAGAIN;
	else if (vmf__window_find(run->va, &w) && w.local == local)
		got = vmf__bolt_page(&w, run->va);
	else if (vmf__events_pending(local))
		got = -VMF_EAGAIN;
	vmf__gate_unshare(&local->gate);
	vmf__unblock(NULL);
	return got;
}

static int unbolt(struct vmf_pmap *pmap, vmf_va va, uint64_t pages)
{
	return each_still_ours(local_of(pmap), va, pages, vmf__unbolt_step);
}

/* ---------------------------------------------------------------------------------------- query, take */

static int query(struct vmf_pmap *pmap, vmf_va va, struct vmf_entry *e)
{
	struct vmf__local *local = local_of(pmap);
	struct vmf__window w;
	bool there, writable;

	*e = (struct vmf_entry){ 0 };
	if (!vmf__window_find(va, &w) || w.local != local)
		return 0;
	if (w.kind == VMF__W_RAW)
		return vmf__raw_query(&w, va, e);
	if (w.trap) {
		vmf__trap_query(local, va, e);
		return 0;
	}
	if (!vmf__resident(local->port, va, 1, false, &there) || !vmf__resident(local->port, va, 1, true, &writable))
		return -VMF_ENOSYS;
	e->present = there;
	if (!there)
		return 0;
	e->prot = w.wp && !writable ? w.prot & ~VMF_W : w.prot;
	if (w.segment.n)
		e->pfn.n = w.segment.n + ((va - w.va) >> VMF__SHIFT);
	return 0;
}

static int take(struct vmf_pmap *pmap, vmf_va va, void *page)
{
	return vmf__given_move(local_of(pmap), &(struct vmf__given){ .va = va, .to = page, .n = VMF__PAGE });
}

static int give(struct vmf_pmap *pmap, vmf_va va, const void *bytes, size_t n)
{
	return vmf__given_move(local_of(pmap), &(struct vmf__given){ .va = va, .from = bytes, .n = n });
}

const struct vmf_pmap_ops vmf__local_ops = {
	.size = sizeof(vmf__local_ops),
	.attach = attach,
	.detach = detach,
	.enter = enter,
	.remove = window_remove,
	.protect = protect,
	.clean = clean,
	.query = query,
	.take = take,
	.give = give,
	.bolt = bolt,
	.unbolt = unbolt,
};
