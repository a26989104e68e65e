/* SPDX-License-Identifier: MIT
 *
 * Windows in which raw pfns can be entered.
 *
 * No userfaultfd: what is entered is a mapping of its own (of an aperture, or of the object's memfd where frames
 * are mixed in), put in place by one mremap(MREMAP_FIXED): made elsewhere, it is never in place without MADV_DONTFORK,
 * and a fork() at any time copies none of it.  What is not entered is a mapping of an empty file: whoever
 * touches that gets SIGBUS, which our handler resolves, in threaded spaces too.  So a page goes from one to the
 * other in one step, and at no time are there zeroes, a hole, or an event to wait for.
 *
 * The price: each isolated page is a mapping (max_map_count: 65,530 of them), system calls on absent pages always
 * get EFAULT, a write to a page that was entered read-only is a SIGSEGV, and we are not told if the application
 * unmaps or moves such a window behind our back (ours.c looks).
 */
#include "local.h"

#include <errno.h>
#include <sys/mman.h>

/* In extent->raw: pfn + 1, and what may be done with it. */
#define PROT_SHIFT 60
#define PFN_MASK ((UINT64_C(1) << PROT_SHIFT) - 1)

static uint64_t mark(vmf_pfn pfn, unsigned prot) { return (pfn.n + 1) | (uint64_t)prot << PROT_SHIFT; }

/* Atomic for who touches it, and for children: before, the old mapping; afterwards, the new one. */
static int replace(uintptr_t va, uint64_t pages, unsigned prot, int fd, off_t at)
{
	size_t bytes = pages << VMF__SHIFT;
	void *aside = mmap(NULL, bytes, vmf__host_prot(prot), MAP_SHARED | MAP_NORESERVE, fd, at);
	int err = 0;

	/* EAGAIN is about locked memory here, and not about the layout. */
	if (aside == MAP_FAILED)
		return errno == EAGAIN ? -VMF_ENOMEM : vmf__err(errno);
	if (madvise(aside, bytes, MADV_DONTFORK) ||
	    mremap(aside, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)va) == MAP_FAILED) {
		err = -VMF_ENOMEM;
		(void)munmap(aside, bytes);
	}
	return err;
}

/* => extent's lock */
static int blank(const struct vmf__window *w, uintptr_t va, uint64_t pages)
{
	uint64_t first = vmf__window_page(w, va);
	int err = replace(va, pages, w->prot, w->local->port->blank, (off_t)(first << VMF__SHIFT));

	for (uint64_t i = 0; i < pages && !err; i++)
		if (atomic_load_explicit(&w->extent->raw[first + i], memory_order_relaxed))
			atomic_store_explicit(&w->extent->raw[first + i], 0, memory_order_relaxed);
	return err;
}

int vmf__raw_blank(const struct vmf__window *w, uintptr_t va, uint64_t pages)
{
	uintptr_t end = va + (pages << VMF__SHIFT), to;
	int err = 0;

	vmf__block(NULL);
	vmf__mutex_take(&w->extent->lock);
	for (uintptr_t at = va; !err && vmf__ours_next(w->local->port, &at, end, &to); at = to)
		err = blank(w, at, (to - at) >> VMF__SHIFT);
	vmf__mutex_drop(&w->extent->lock);
	vmf__unblock(NULL);
	return err;
}

/* Which file shows these pfns?  NULL: none may here. */
static const struct vmf__segment *shown_by(const struct vmf__window *w, const struct vmf_run *run)
{
	const struct vmf__segment *s = vmf__segment_of(w->local->port, run->pfn, run->n);
	bool raw = run->flags & VMF_RUN_RAW;

	if (!s || s->fd < 0 || s->aperture != raw)
		return NULL;
	if (!raw && run->pfn.n != w->segment.n + ((run->va - w->va) >> VMF__SHIFT))
		return NULL;
	return s;
}

/* => extent's lock */
static long show(const struct vmf__window *w, const struct vmf_run *run, const struct vmf__segment *s)
{
	_Atomic uint64_t *raw = w->extent->raw + vmf__window_page(w, run->va);
	off_t at = (off_t)(s->at + (int64_t)(vmf__segment_page(run->pfn) << VMF__SHIFT));
	long fresh = 0;
	int err;

	for (uint32_t i = 0; i < run->n; i++)
		fresh += atomic_load_explicit(&raw[i], memory_order_relaxed) != mark((vmf_pfn){ run->pfn.n + i }, run->prot);
	if (!fresh)
		return 0;
	err = replace(run->va, run->n, run->prot, s->fd, at);
	if (!err)
		err = vmf__bolt_again(w, run->va, run->n);
	if (err) {
		/* A move that fails may leave nothing mapped at all. */
		(void)blank(w, run->va, run->n);
		return err;
	}
	for (uint32_t i = 0; i < run->n; i++)
		atomic_store_explicit(&raw[i], mark((vmf_pfn){ run->pfn.n + i }, run->prot), memory_order_relaxed);
	return fresh;
}

/* Or has the application unmapped some of it, and what lies there now is not ours to replace? */
static bool still_ours(const struct vmf__window *w, const struct vmf_run *run)
{
	uintptr_t end = run->va + ((uintptr_t)run->n << VMF__SHIFT), at = run->va, to;

	for (uintptr_t from = at; from < end; from = at = to)
		if (!vmf__ours_next(w->local->port, &at, end, &to) || at != from)
			return false;
	return true;
}

/* Of a run, if not all of it can be shown, the page that is needed. */
static long show_ours(const struct vmf__window *w, const struct vmf_run *run, const struct vmf__segment *s)
{
	struct vmf_run page = *run;

	if (still_ours(w, run))
		return show(w, run, s);
	if (run->n == 1 || run->need >= run->n)
		return -VMF_EGONE;
	page.va += (uintptr_t)run->need << VMF__SHIFT;
	page.pfn.n += run->need;
	page.n = 1;
	page.need = 0;
	return still_ours(w, &page) ? show(w, &page, s) : -VMF_EGONE;
}

/* => signals blocked */
long vmf__raw_enter(const struct vmf__window *w, const struct vmf_run *run)
{
	const struct vmf__segment *s = shown_by(w, run);
	long got;

	if (!s)
		return run->flags & VMF_RUN_RAW ? -VMF_EFAULT : -VMF_EEXIST;
	if (s->aperture && !vmf_attr_covers(s->attr, run->attr))
		return -VMF_ENOSYS;
	vmf__mutex_take(&w->extent->lock);
	got = show_ours(w, run, s);
	vmf__mutex_drop(&w->extent->lock);
	return got;
}

int vmf__raw_query(const struct vmf__window *w, uintptr_t va, struct vmf_entry *e)
{
	uint64_t m = atomic_load_explicit(&w->extent->raw[vmf__window_page(w, va)], memory_order_relaxed);
	const struct vmf__segment *s;

	if (!m)
		return 0;
	e->present = true;
	e->pfn.n = (m & PFN_MASK) - 1;
	e->prot = (uint8_t)(m >> PROT_SHIFT);
	s = vmf__segment_of(w->local->port, e->pfn, 1);
	e->raw = s && s->aperture;
	if (e->raw)
		e->attr = s->attr;
	return 0;
}
