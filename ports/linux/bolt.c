/* SPDX-License-Identifier: MIT
 *
 * Bolts: mlock2(MLOCK_ONFAULT), within RLIMIT_MEMLOCK.  The weaker thing: the kernel keeps the page in memory, and may
 * still move it or take its entry for a moment; nobody locks what is in a TLB.
 *
 * Which pages faults have locked is a bitmap of the extent, so that giving them back leaves alone what the application
 * has locked itself.  It is made by the first of them, perhaps in a signal handler: by a system call, and for good.
 */
#include "local.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ONFAULT 1        /* MLOCK_ONFAULT, since Linux 4.4 */
#define POPULATE_READ 22 /* MADV_POPULATE_READ, since Linux 5.14 */

static size_t bitmap_bytes(uint64_t pages) { return (pages + 63) / 64 * sizeof(uint64_t); }

/* By system calls: under a sanitizer the C library's functions do nothing. */
static int lock_pages(uintptr_t va, uint64_t pages)
{
	return syscall(SYS_mlock2, va, pages << VMF__SHIFT, ONFAULT) ? -VMF_ENOSPC : 0;
}

static bool is_locked(const struct vmf__extent *x, uint64_t page)
{
	const _Atomic uint64_t *bits = atomic_load_explicit(&x->locked, memory_order_acquire);

	return bits && atomic_load_explicit(&bits[page / 64], memory_order_relaxed) >> (page % 64) & 1;
}

static _Atomic uint64_t *bitmap(struct vmf__extent *x)
{
	_Atomic uint64_t *bits = atomic_load_explicit(&x->locked, memory_order_acquire), *mine;

	if (bits)
		return bits;
	mine = mmap(NULL, bitmap_bytes(x->pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (mine == MAP_FAILED)
		return NULL;
	if (atomic_compare_exchange_strong(&x->locked, &bits, mine))
		return mine;
	(void)munmap((void *)mine, bitmap_bytes(x->pages));
	return bits;
}

void vmf__extent_unlock(struct vmf__extent *x)
{
	if (x->locked)
		(void)munmap((void *)x->locked, bitmap_bytes(x->pages));
}

/* Pages of 2 MiB are in memory for good, and the kernel locks none; but mlock2() would fill them, and wait for us. */
static int lock_window(const struct vmf__window *w, uintptr_t va, uint64_t pages)
{
	return w->order ? 0 : lock_pages(va, pages);
}

int vmf__bolt_all(const struct vmf__window *w) { return lock_window(w, w->va, (w->end - w->va) >> VMF__SHIFT); }

int vmf__bolt_page(const struct vmf__window *w, uintptr_t va)
{
	uint64_t page = vmf__window_page(w, va), bit = UINT64_C(1) << (page % 64);
	_Atomic uint64_t *bits;
	int err;

	if (w->extent->bolted)
		return 0;
	bits = bitmap(w->extent);
	err = bits ? lock_window(w, va, 1) : -VMF_ENOMEM;
	return err ? err : !(atomic_fetch_or_explicit(&bits[page / 64], bit, memory_order_relaxed) & bit);
}

int vmf__unbolt_step(const struct vmf__window *w, unsigned arg)
{
	_Atomic uint64_t *bits = atomic_load_explicit(&w->extent->locked, memory_order_acquire);
	int err = 0;

	(void)arg;
	for (uintptr_t va = w->va; bits && va < w->end;) {
		uint64_t page = vmf__window_page(w, va);

		if (!atomic_load_explicit(&bits[page / 64], memory_order_relaxed)) {
			va += (64 - page % 64) << VMF__SHIFT;
			continue;
		}
		if (is_locked(w->extent, page) && syscall(SYS_munlock, va, VMF__PAGE) && errno != ENOMEM)
			err = vmf__err(errno);
		atomic_fetch_and_explicit(&bits[page / 64], ~(UINT64_C(1) << (page % 64)), memory_order_relaxed);
		va += VMF__PAGE;
	}
	return err;
}

/* What is mapped is not entered yet.  Where that cannot be done ahead of the touch the touch does it. */
static int lock_mapping(uintptr_t va, uint64_t pages)
{
	int err = lock_pages(va, pages);

	if (!err)
		(void)madvise((void *)va, pages << VMF__SHIFT, POPULATE_READ);
	return err;
}

static int lock_bolted(const struct vmf__window *w, uintptr_t va, uint64_t pages, int (*how)(uintptr_t, uint64_t))
{
	uint64_t first = vmf__window_page(w, va);
	int err = 0;

	if (w->extent->bolted)
		return how(va, pages);
	for (uint64_t i = 0; i < pages && !err; i++)
		if (is_locked(w->extent, first + i))
			err = how(va + (i << VMF__SHIFT), 1);
	return err;
}

int vmf__bolt_again(const struct vmf__window *w, uintptr_t va, uint64_t pages)
{
	return lock_bolted(w, va, pages, lock_mapping);
}

int vmf__bolt_small(const struct vmf__window *w, uintptr_t va)
{
	return lock_bolted(w, va, UINT64_C(1) << VMF__HUGE_ORDER, lock_pages);
}
