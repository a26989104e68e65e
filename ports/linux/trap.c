/* SPDX-License-Identifier: MIT
 *
 * Windows without a userfaultfd: what is not shown is PROT_NONE, touching it is SIGSEGV, and our handler resolves that.
 *
 *	by offset   a mapping of the object's memfd; its frames are there already, and shown by mprotect()
 *	by copy     a mapping of a memfd of the extent's own; bytes are written into that, not through the window, so
 *	            nobody sees a page that is half filled; then they are shown
 *
 * An extent has a byte for each page: what is shown of it, and whether its bytes have been given away.  It and the
 * mappings change together, under the local's lock `showing`.  Who comes without a fault of the core's looks at the
 * table under it: nothing leaves that meanwhile.
 *
 * Each run of pages that are shown alike is a mapping, of which a process has 65,530 (vm.max_map_count).  If there are
 * no more, everything of the extent is hidden, which makes one of them all, and comes back as it is touched.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHOWN (VMF_R | VMF_W | VMF_X)
#define FILLED 8u   /* by copy: the bytes are there, and the application's */
#define BYTES UINT64_C(0x0101010101010101)

/* ------------------------------------------------------------------------------------------------ extents */

int vmf__trap_extent(struct vmf__extent *x, bool copy)
{
	void *p = mmap(NULL, x->pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	x->fd = -1;
	if (p == MAP_FAILED)
		return -VMF_ENOMEM;
	x->page = p;
	if (!copy)
		return 0;
	x->fd = memfd_create("vmfault-private", MFD_CLOEXEC);
	return x->fd >= 0 && !ftruncate(x->fd, (off_t)(x->pages << VMF__SHIFT)) ? 0 : -VMF_ENOMEM;
}

void vmf__trap_extent_free(struct vmf__extent *x)
{
	munmap(x->page, x->pages);
	if (x->fd >= 0)
		close(x->fd);
}

static void lock(struct vmf__local *local)
{
	vmf__block(NULL);
	vmf__mutex_take(&local->showing);
}

static void unlock(struct vmf__local *local)
{
	vmf__mutex_drop(&local->showing);
	vmf__unblock(NULL);
}

static unsigned state(const struct vmf__extent *x, uint64_t i)
{
	return atomic_load_explicit(&x->page[i], memory_order_relaxed);
}

static void set_state(struct vmf__extent *x, uint64_t i, uint64_t n, unsigned bits, unsigned clear)
{
	for (uint64_t end = i + n; i < end; i++)
		atomic_store_explicit(&x->page[i], (uint8_t)((state(x, i) & ~clear) | bits), memory_order_relaxed);
}

static bool none_of_eight(const struct vmf__extent *x, uint64_t i, unsigned bits)
{
	return !(__atomic_load_n((const uint64_t *)(const void *)&x->page[i], __ATOMIC_RELAXED) & BYTES * bits);
}

/* The first page from i on that has one of the bits, or end. */
static uint64_t next_with(const struct vmf__extent *x, uint64_t i, uint64_t end, unsigned bits)
{
	while (i < end) {
		if (i % 8 == 0 && end - i >= 8 && none_of_eight(x, i, bits))
			i += 8;
		else if (state(x, i) & bits)
			break;
		else
			i++;
	}
	return i;
}

/* ------------------------------------------------------------------------------------------------ showing */

static uintptr_t address(const struct vmf__window *w, uint64_t page)
{
	return w->va + ((page - w->first) << VMF__SHIFT);
}

/* Pages of the window that are shown alike, from i on. */
static uint64_t alike(const struct vmf__extent *x, uint64_t i, uint64_t end)
{
	unsigned is = state(x, i) & SHOWN;
	uint64_t from = i;

	while (i < end && (state(x, i) & SHOWN) == is)
		i++;
	return i - from;
}

/* 0 or errno */
static int set_prot(const struct vmf__window *w, uint64_t i, uint64_t n, unsigned prot)
{
	if (mprotect((void *)address(w, i), n << VMF__SHIFT, vmf__host_prot(prot)))
		return errno;
	set_state(w->extent, i, n, prot, SHOWN);
	return 0;
}

/* What is shown of the window's pages [i, end) loses `lose`.  One mapping at a time, so that none has to be cut. */
static int dim(const struct vmf__window *w, uint64_t i, uint64_t end, unsigned lose)
{
	int err = 0;

	for (uint64_t n; !err && (i = next_with(w->extent, i, end, lose)) < end; i += n) {
		n = alike(w->extent, i, end);
		err = set_prot(w, i, n, state(w->extent, i) & SHOWN & ~lose);
	}
	return err;
}

/* There are too many mappings.  The window is the whole piece, as the table has it. */
static int hide_all(const struct vmf__window *w)
{
	struct vmf__window whole;

	if (!vmf__window_find(w->va, &whole) || whole.extent != w->extent)
		whole = *w;
	return dim(&whole, whole.first, vmf__window_page(&whole, whole.end), SHOWN);
}

/* 0 or errno.  => showing */
static int show(const struct vmf__window *w, uint64_t i, uint64_t n, unsigned prot)
{
	int err = set_prot(w, i, n, prot);

	if (err == ENOMEM && !hide_all(w))
		err = set_prot(w, i, n, prot);
	return err;
}

/* ------------------------------------------------------------------------------------------------ filling */

/* Bytes of n pages that have none yet.  A page that is written in part is no page. */
static int fill(const struct vmf__window *w, uint64_t i, uint64_t n, const char *from)
{
	off_t at = (off_t)(i << VMF__SHIFT);
	ssize_t done = from ? pwrite(w->extent->fd, from, n << VMF__SHIFT, at) : (ssize_t)(n << VMF__SHIFT);
	uint64_t whole = done > 0 ? (uint64_t)done >> VMF__SHIFT : 0;

	if (whole < n)
		(void)fallocate(w->extent->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				at + (off_t)(whole << VMF__SHIFT), (off_t)((n - whole) << VMF__SHIFT));
	set_state(w->extent, i, whole, FILLED, 0);
	return whole == n ? 0 : ENOMEM;
}

/* How many pages from i on, at most n, are filled, or are not? */
static uint32_t same_fill(const struct vmf__extent *x, uint64_t i, uint32_t n)
{
	uint32_t k = 1;

	while (k < n && !((state(x, i) ^ state(x, i + k)) & FILLED))
		k++;
	return k;
}

static long fill_run(const struct vmf__window *w, const struct vmf_run *run)
{
	const char *from = run->flags & VMF_RUN_ZERO ? NULL : vmf__bytes(w->local->port, run->pfn);
	uint64_t i = vmf__window_page(w, run->va);
	long fresh = 0;

	if (!from && !(run->flags & VMF_RUN_ZERO))
		return -VMF_EFAULT;
	for (uint32_t at = 0, n; at < run->n; at += n) {
		n = same_fill(w->extent, i + at, run->n - at);
		if (state(w->extent, i + at) & FILLED)
			continue;
		if (fill(w, i + at, n, from ? from + ((size_t)at << VMF__SHIFT) : NULL)) {
			/* What is before the gap can be shown, if it is all that is asked for. */
			if (run->need == UINT32_MAX || !(state(w->extent, i + run->need) & FILLED))
				return -VMF_ENOMEM;
			return fresh;
		}
		fresh += n;
	}
	return fresh;
}

/* -------------------------------------------------------------------------------------------------- enter */

/* Shows what can be shown of the run, and counts what was not; 0 or an error of the page in need. */
static int show_run(const struct vmf__window *w, const struct vmf_run *run, unsigned must, long *fresh)
{
	uint64_t first = vmf__window_page(w, run->va), i = first, end = first + run->n, n;
	bool all = run->need == UINT32_MAX;

	for (; i < end; i += n) {
		unsigned is = state(w->extent, i), will = (is | run->prot) & SHOWN;
		int err = 0;

		n = 1;
		while (i + n < end && state(w->extent, i + n) == is)
			n++;
		if ((is & must) == must && (is & SHOWN) != will)
			err = show(w, i, n, will);
		if (err && (all || (first + run->need >= i && first + run->need < i + n)))
			return err == ENOMEM ? -VMF_ENOMEM : vmf__err(err);
		if (!err && !(is & SHOWN))
			*fresh += (long)n;
	}
	return 0;
}

static bool may_show(const struct vmf__window *w, const struct vmf_run *run)
{
	return run->pfn.n == w->segment.n + ((run->va - w->va) >> VMF__SHIFT);
}

/* => signals blocked */
long vmf__trap_enter(const struct vmf__window *w, const struct vmf_run *run)
{
	bool copy = w->kind == VMF__W_COPY;
	long filled = 0, shown = 0;
	int err;

	if (run->flags & VMF_RUN_RAW || (!copy && run->flags & VMF_RUN_ZERO))
		return -VMF_ENOSYS;
	if (!copy && !may_show(w, run))
		return -VMF_EEXIST;
	vmf__mutex_take(&w->local->showing);
	filled = copy ? fill_run(w, run) : 0;
	err = filled < 0 ? (int)filled : show_run(w, run, copy ? FILLED : 0, &shown);
	vmf__mutex_drop(&w->local->showing);
	return err ? err : copy ? filled : shown;
}

bool vmf__trap_again(struct vmf__local *local, uintptr_t va, unsigned access)
{
	struct vmf__window w;
	bool done = false;

	lock(local);
	if (vmf__window_find(va, &w) && w.local == local && w.trap && w.kind == VMF__W_COPY && w.prot & access) {
		uint64_t i = vmf__window_page(&w, va);

		done = state(w.extent, i) & FILLED && !show(&w, i, 1, w.prot);
	}
	unlock(local);
	return done;
}

/* ------------------------------------------------------------------------------------------ taking away */

int vmf__trap_hide(const struct vmf__window *w)
{
	uint64_t i = w->first, end = vmf__window_page(w, w->end);
	int err = 0;

	lock(w->local);
	if (next_with(w->extent, i, end, SHOWN) < end) {
		err = mprotect((void *)w->va, w->end - w->va, PROT_NONE) ? errno : 0;
		if (err == ENOMEM)
			err = hide_all(w);
		for (; !err && (i = next_with(w->extent, i, end, SHOWN)) < end; i++)
			set_state(w->extent, i, 1, 0, SHOWN);
	}
	unlock(w->local);
	return vmf__err(err);
}

int vmf__trap_clean(const struct vmf__window *w)
{
	uint64_t end = vmf__window_page(w, w->end);
	int err;

	lock(w->local);
	err = dim(w, w->first, end, VMF_W);
	if (err == ENOMEM)
		err = hide_all(w);
	unlock(w->local);
	return vmf__err(err);
}

/* Nobody is to find a page of it shown once the addresses are somebody else's.  => showing, until it is out of the
 * table */
int vmf__trap_release(const struct vmf__window *w)
{
	int err = munmap((void *)w->va, w->end - w->va) ? errno : 0;
	uint64_t i = w->first, end = vmf__window_page(w, w->end);
	if (err == ENOMEM && !hide_all(w))
		err = munmap((void *)w->va, w->end - w->va) ? errno : 0;
	for (; !err && (i = next_with(w->extent, i, end, SHOWN | FILLED)) < end; i++)
		set_state(w->extent, i, 1, 0, SHOWN | FILLED);
	if (!err && w->extent->fd >= 0)
		(void)fallocate(w->extent->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(w->first << VMF__SHIFT),
				(off_t)(w->end - w->va));
	return vmf__err(err);
}

/* -------------------------------------------------------------------------------------------------- looking */

void vmf__trap_query(struct vmf__local *local, uintptr_t va, struct vmf_entry *e)
{
	struct vmf__window w;

	lock(local);
	if (vmf__window_find(va, &w) && w.local == local && w.trap) {
		unsigned is = state(w.extent, vmf__window_page(&w, va)) & SHOWN;

		e->present = is != 0;
		e->prot = (uint8_t)is;
		if (is && w.segment.n)
			e->pfn.n = w.segment.n + ((va - w.va) >> VMF__SHIFT);
	}
	unlock(local);
}

int vmf__trap_give(const struct vmf__window *w, uintptr_t va, const void *bytes, size_t n)
{
	uint64_t i = vmf__window_page(w, va);
	off_t at = (off_t)(i << VMF__SHIFT) + (off_t)(va % VMF__PAGE);

	if (!(state(w->extent, i) & FILLED))
		return -VMF_EFAULT;
	return pwrite(w->extent->fd, bytes, n, at) == (ssize_t)n ? 0 : -VMF_EIO;
}

int vmf__trap_take(const struct vmf__window *w, uintptr_t va, void *page)
{
	uint64_t i = vmf__window_page(w, va);

	if (!(state(w->extent, i) & FILLED))
		return -VMF_EFAULT;
	return pread(w->extent->fd, page, VMF__PAGE, (off_t)(i << VMF__SHIFT)) == (ssize_t)VMF__PAGE ? 0 : -VMF_EIO;
}
