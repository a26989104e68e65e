/* SPDX-License-Identifier: MIT
 *
 * The pmap of this process: windows.
 *
 *	VMF_SHARED   by offset: a mapping of the object's memfd, registered MISSING | MINOR (and WP): a fault maps the
 *frame that
 *	             is in the memfd already (CONTINUE); clean pages are write-protected
 *	not shared   by copy: anonymous memory, registered MISSING; a fault copies (COPY, ZEROPAGE)
 *	with pfns    by offset, see raw.c
 *
 *   - A window is mapped PROT_NONE, registered, and only then opened: what is mapped and not registered reads as
 *     zeroes.
 *   - attach() and detach() run under the space's lock, which the reader of events may be waiting for.  So nothing
 *     here may raise an event and wait for it: what is unmapped is taken out of the userfaultfd first; by-offset
 *     windows, which are zapped, have a userfaultfd without EVENT_REMOVE; by-copy windows are never zapped.
 */
#include "local.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define CLEAN_MAX 4096u /* pages */
#define ZAP_TRIES 200u

static const char zeroes[VMF__PAGE] __attribute__((aligned(VMF__PAGE)));

static struct vmf__local *local_of(struct vmf_pmap *pmap) { return (struct vmf__local *)pmap; }

static int host_prot(unsigned prot)
{
	return (prot & VMF_R ? PROT_READ : 0) | (prot & VMF_W ? PROT_WRITE : 0) | (prot & VMF_X ? PROT_EXEC : 0);
}

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
	p->flags = MAP_SHARED;
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
	p->flags = MAP_SHARED;
	p->prot = host_prot(map->prot);
	return 0;
}

static int plan_copy(struct plan *p)
{
	p->w.kind = VMF__W_COPY;
	p->fd = -1;
	p->flags = MAP_PRIVATE | MAP_ANONYMOUS;
	p->mode = VMF__UR_MISSING;
	return 0;
}

static int plan_make(struct vmf__local *local, const struct vmf_map *map, vmf_pfn segment, bool wants_raw,
		     struct plan *p)
{
	*p = (struct plan){ .w = { .local = local, .prot = map->prot }, .prot = PROT_NONE };
	p->bytes = map->pages << VMF__SHIFT;
	if (map->order || map->pages >> (VMF__SEGMENT_SHIFT - 1))
		return -VMF_ENOSYS;
	if (!(map->flags & VMF_SHARED))
		return wants_raw && !segment.n ? -VMF_ENOSYS : plan_copy(p);
	return wants_raw ? plan_raw(local, map, segment, p) : plan_shared(local, map, segment, p);
}

/* The addresses may be those of a window that the application has just unmapped itself, and the event not been
 * read: what it says must not be taken for this one. */
static int map_pages(struct vmf__local *local, const struct plan *p, uintptr_t hint, bool fixed, uintptr_t *va)
{
	int flags = p->flags | MAP_NORESERVE | (fixed ? MAP_FIXED_NOREPLACE : 0), err;
	void *got = mmap((void *)hint, p->bytes, p->prot, flags, p->fd, p->at);

	if (got == MAP_FAILED)
		return errno == EEXIST ? -VMF_EEXIST : -VMF_ENOMEM;
	*va = (uintptr_t)got;
	err = fixed && *va != hint ? -VMF_EEXIST : vmf__events_settle(local); /* before 4.17 the flag is only a hint */
	if (err)
		munmap(got, p->bytes);
	return err;
}

/* Gives addresses back.  -VMF_ENOMEM: too many mappings, nothing has changed. */
static int release(struct vmf__local *local, const struct vmf__window *w)
{
	size_t bytes = w->end - w->va;

	if (w->kind != VMF__W_RAW) {
		if (mprotect((void *)w->va, bytes, PROT_NONE) && errno == ENOMEM)
			return -VMF_ENOMEM;
		(void)vmf__uffd_unregister(local->fd[w->kind], w->va, bytes);
	}
	munmap((void *)w->va, bytes);
	if (w->kind != VMF__W_RAW)
		(void)vmf__uffd_wake(local->fd[w->kind], w->va, bytes);
	return 0;
}

/* Takes the extent over. */
static int open_window(struct vmf__local *local, const struct plan *p)
{
	uintptr_t va = p->w.va;
	int err = 0;

	(void)madvise((void *)va, p->bytes, MADV_DONTFORK);
	if (p->mode)
		err = vmf__err(vmf__uffd_register(local->fd[p->w.kind], va, p->bytes, p->mode, NULL));
	if (!err)
		err = vmf__window_add(&p->w);
	if (err) {
		vmf__extent_free(p->w.extent);
		return err;
	}
	if (!p->mode || mprotect((void *)va, p->bytes, host_prot(p->w.prot)) == 0)
		return 0;
	(void)vmf__window_drop(local, va, p->w.end);
	return -VMF_ENOMEM;
}

static void describe(const struct vmf__window *w, struct vmf_window *out)
{
	out->store = w->kind == VMF__W_COPY ? VMF_BY_COPY : VMF_BY_OFFSET;
	out->cow = false;
	out->protect = w->wp;
	out->zero = w->kind == VMF__W_COPY;
	out->raw = w->kind == VMF__W_RAW;
	out->order = 0;
	out->orders = 1;
	out->bolts = 0;
}

static int attach(struct vmf_pmap *pmap, struct vmf_map *map, vmf_pfn segment, bool wants_raw, struct vmf_window *out)
{
	struct vmf__local *local = local_of(pmap);
	struct plan p;
	int err = plan_make(local, map, segment, wants_raw, &p);

	if (err)
		return err;
	err = map_pages(local, &p, map->va, map->flags & VMF_FIXED, &p.w.va);
	if (err)
		return err;
	p.w.end = p.w.va + p.bytes;
	p.w.extent = vmf__extent_new(local->port, p.w.kind, map->pages);
	err = p.w.extent ? open_window(local, &p) : -VMF_ENOMEM;
	if (err) {
		(void)release(local, &p.w);
		return err;
	}
	map->va = p.w.va;
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

static int release_step(const struct vmf__window *w, unsigned arg)
{
	(void)arg;
	return release(w->local, w);
}

static int detach(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	struct vmf__local *local = local_of(pmap);
	int err;

	(void)g;
	/* The application may have unmapped it itself, and somebody else may have the addresses by now. */
	err = vmf__events_settle(local);
	if (!err)
		err = each(local, va, pages, release_step, 0);
	if (err)
		return err;
	vmf__block(NULL);
	vmf__gate_share(&local->gate);
	err = vmf__window_drop(local, va, va + (pages << VMF__SHIFT));
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
	if (madvise((void *)w->va, w->end - w->va, MADV_DONTNEED) && errno != ENOMEM)
		return vmf__err(errno);
	return 0;
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
	err = w->kind == VMF__W_SHARED && !w->wp ? remove_step(w, 0) : 0;
	if (!err && mprotect((void *)w->va, w->end - w->va, host_prot(prot)))
		err = vmf__err(errno);
	return err;
}

static int protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	struct vmf__local *local = local_of(pmap);
	int err = vmf__events_settle(local);

	if (!err)
		err = each(local, va, pages, protect_step, prot);
	return err ? err : vmf__window_prot(local, va, va + (pages << VMF__SHIFT), prot);
}

/* Forgetting does as well: where the kernel will not write-protect at the moment, and over long ranges, where
 * write-protecting leaves a mark, and the tables for it, for every page that was never touched. */
static int clean_step(const struct vmf__window *w, unsigned arg)
{
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
	long got = vmf__uffd_zero(fd, va, (size_t)n << VMF__SHIFT, mode);

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
	long fresh = 0, got;
	bool all = run->need == UINT32_MAX;

	for (uint32_t i = 0; i < run->n;) {
		got = step(w, run, i, run->n - i, mode);
		if (got > 0) {
			fresh += got >> VMF__SHIFT;
			i += (uint32_t)(got >> VMF__SHIFT);
			continue;
		}
		if (got != -EEXIST) {
			if (!all && i > run->need)
				return fresh;
			if (all || i == run->need || got == -EAGAIN || got == 0)
				return got ? vmf__err((int)got) : -VMF_EAGAIN;
		} else if (i == run->need && w->local->mode == VMF_THREADED) {
			(void)vmf__uffd_wake(w->local->fd[w->kind], run->va + ((uintptr_t)i << VMF__SHIFT), VMF__PAGE);
		}
		i++;
	}
	return fresh;
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
	return fill(w, run, fill_cont, mode);
}

static long enter_window(const struct vmf__window *w, const struct vmf_run *run)
{
	unsigned mode = w->local->mode == VMF_IN_CONTEXT ? VMF__UM_DONTWAKE : 0;

	switch (w->kind) {
	case VMF__W_SHARED:
		return enter_shared(w, run, mode);
	case VMF__W_COPY:
		if (run->flags & VMF_RUN_RAW)
			return -VMF_ENOSYS;
		return fill(w, run, run->flags & VMF_RUN_ZERO ? fill_zero : fill_copy, mode);
	default:
		return vmf__raw_enter(w, run);
	}
}

static long enter(struct vmf_pmap *pmap, const struct vmf_run *run)
{
	struct vmf__local *local = local_of(pmap);
	uintptr_t end = run->va + ((uintptr_t)run->n << VMF__SHIFT);
	struct vmf__window w;
	long got;

	vmf__block(NULL);
	vmf__gate_share(&local->gate);
	if (atomic_load(&local->changing))
		got = -VMF_EAGAIN;
	else if (!vmf__window_find(run->va, &w) || w.local != local || end > w.end)
		got = -VMF_EGONE;
	else
		got = enter_window(&w, run);
	if (got == -VMF_EGONE && vmf__events_pending(local))
		got = -VMF_EAGAIN;
	vmf__gate_unshare(&local->gate);
	vmf__unblock(NULL);
	return got;
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
	struct vmf__local *local = local_of(pmap);
	struct iovec to = { page, VMF__PAGE }, from = { (void *)va, VMF__PAGE };
	struct vmf__window w;
	bool there;

	if (!vmf__window_find(va, &w) || w.local != local || w.kind != VMF__W_COPY)
		return -VMF_EFAULT;
	if (!vmf__resident(local->port, va, 1, false, &there))
		return -VMF_ENOSYS;
	if (!there || process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)VMF__PAGE)
		return -VMF_EFAULT;
	return 0;
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
};
