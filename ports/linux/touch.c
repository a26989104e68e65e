/* SPDX-License-Identifier: MIT
 *
 * Faults resolved by the thread that has them: in the handler of SIGBUS, and by vmf_touch() before there is a
 * fault; and the system calls that do so where the kernel says EFAULT.
 */
#include "fork.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <unistd.h>

#define SPURIOUS_MAX 256 /* the same page, again and again, and always there: then it is not there */
#define EFAULTS_MAX 64
#define LAYOUT_NS UINT64_C(10000000000)

/* -------------------------------------------------------------------------------------------- pagemap */

#define PM_PRESENT (UINT64_C(1) << 63)
#define PM_SWAP (UINT64_C(1) << 62) /* or on its way to another frame, or poisoned, or a mark */
#define PM_UFFD_WP (UINT64_C(1) << 57)

static bool pagemap(const struct vmf__linux *port, uintptr_t va, size_t n, uint64_t *map)
{
	int e = errno;
	ssize_t got = port->pagemap < 0 ? -1 : pread(port->pagemap, map, n * sizeof(*map),
						     (off_t)((va >> VMF__SHIFT) * sizeof(*map)));

	errno = e;
	return got == (ssize_t)(n * sizeof(*map));
}

bool vmf__resident(const struct vmf__linux *port, uintptr_t va, size_t n, bool for_write, bool *there)
{
	uint64_t map[64];

	while (n) {
		size_t k = n < 64 ? n : 64;

		if (!pagemap(port, va, k, map))
			return false;
		for (size_t i = 0; i < k; i++)
			*there++ = map[i] & PM_PRESENT && !(for_write && map[i] & PM_UFFD_WP);
		va += k << VMF__SHIFT;
		n -= k;
	}
	return true;
}

bool vmf__given_some(const struct vmf__linux *port, uintptr_t va, bool *some)
{
	uint64_t map = 0;
	bool known = pagemap(port, va, 1, &map);

	*some = map & (PM_PRESENT | PM_SWAP);
	return known;
}

/* ------------------------------------------------------------------------------------------- one fault */

/* An entry that is there and still faults: an aperture that was cut short, or broken memory. */
static bool hopeless(const struct vmf_trap *trap, struct vmf_result r)
{
	uintptr_t page = trap->va & ~(uintptr_t)(VMF__PAGE - 1);
	struct vmf__self *me = vmf__self();

	if (me->last_page != page || !(r.flags & VMF_SPURIOUS) || trap->flags & VMF_TRAP_WP) {
		me->last_page = page;
		me->last_count = 0;
	}
	return ++me->last_count > SPURIOUS_MAX;
}

/* A page that was poisoned for a failure that nobody has been told of: this is the fault that is told.  On a
 * by-offset window the poison goes then, so that the next access, a system call's too, asks again; on a by-copy
 * window that could take somebody's fresh page away, so it stays until a fault is resolved over it. */
struct vmf_result vmf__told(const struct vmf__window *w, uintptr_t va)
{
	struct vmf_result r = { 0 };
	bool untold = false;

	if (vmf__why_some(&w->local->why))
		r = vmf__why_get(&w->local->why, va, &untold);
	if (!untold)
		return (struct vmf_result){ 0 };
	if (w->local->forbids)
		vmf__permit(w->local, va);
	else if (w->kind == VMF__W_SHARED)
		(void)vmf__zap((void *)(va & ~(uintptr_t)(VMF__PAGE - 1)), VMF__PAGE);
	return r;
}

static struct vmf_result handle(struct vmf__local *local, const struct vmf_trap *trap, struct vmf_ticket *ticket)
{
	struct vmf_result r;

	/* A signal handler that jumps out of here would leave our slot behind. */
	vmf__block_most();
	r = vmf_handle(local->space, trap, ticket);
	vmf__unblock(NULL);
	return r;
}

void vmf__forgive_layout(struct vmf_ticket *ticket, uint64_t *since)
{
	uint64_t now;

	if (ticket->why != VMF_WHY_LAYOUT)
		return;
	now = vmf__now(NULL);
	if (!*since)
		*since = now;
	if (now - *since < LAYOUT_NS)
		ticket->races = ticket->tries = 0;
}

struct vmf_result vmf__resolve(struct vmf__local *local, const struct vmf_trap *trap, bool interruptible)
{
	struct vmf_ticket ticket = { 0 };
	uint64_t layout_since = 0;
	bool settled = false;
	struct vmf_result r;

	for (;;) {
		r = handle(local, trap, &ticket);
		if (r.code == VMF_RETRY) {
			settled = false;
			vmf__forgive_layout(&ticket, &layout_since);
			if (ticket.why == VMF_WHY_LAYOUT && vmf__events_quiet(local))
				continue;
			if (vmf_ticket_wait(local->space, &ticket, interruptible))
				goto signal;
			continue;
		}
		/* It is ours by the table: the core has not been told yet, or the caller looked before it was.  It may have
		 * been told since we asked it, so its answer counts if nothing was under way before. */
		if (r.code != VMF_SIGSEGV || r.why == VMF_WHY_PROT || settled)
			break;
		settled = !vmf__events_pending(local);
		if (!settled)
			(void)vmf__wait(local->port, NULL, 0, 50000, false);
	}
	if (r.code == VMF_OK && hopeless(trap, r))
		r = (struct vmf_result){ .code = VMF_SIGBUS, .why = VMF_WHY_HOLE };
	if (r.code != VMF_OK)
		vmf__why_put(&local->why, trap->va, r, false);
	else if (vmf__why_some(&local->why))
		vmf__why_forget(&local->why, trap->va);
	return r;
signal:
	vmf_ticket_drop(local->space, &ticket);
	return r;
}

/* --------------------------------------------------------------------------------------------- vmf_touch */

static struct vmf_result touch_page(const struct vmf__window *w, uintptr_t va, unsigned access)
{
	struct vmf_trap trap = { .va = va, .access = (uint8_t)access, .thread = (uint32_t)vmf__tid() };
	struct vmf_result r = vmf__told(w, va); /* a system call may have run into it, as EFAULT */

	if (w->trap && vmf__trap_again(w->local, va, access))
		return (struct vmf_result){ 0 };
	return r.code != VMF_OK ? r : vmf__resolve(w->local, &trap, false);
}

/* Raw windows and those that trap know themselves what is entered. */
static void there(const struct vmf__window *w, uintptr_t va, size_t n, unsigned access, bool *yes)
{
	bool known = w->prot & access, itself = w->kind == VMF__W_RAW || w->trap;

	if (known && !itself)
		known = vmf__resident(w->local->port, va, n, access == VMF_W, yes);
	for (size_t i = 0; i < n; i++) {
		struct vmf_entry e = { 0 };

		if (known && w->trap)
			vmf__trap_query(w->local, va + (i << VMF__SHIFT), &e);
		else if (known && itself)
			(void)vmf__raw_query(w, va + (i << VMF__SHIFT), &e);
		if (!known || itself)
			yes[i] = e.present && e.prot & access;
	}
}

static struct vmf_result touch_window(const struct vmf__window *w, uintptr_t va, uintptr_t end, unsigned access)
{
	struct vmf_result r = { 0 };
	bool yes[64] = { 0 };

	while (va < end && r.code == VMF_OK) {
		size_t n = (end - va) >> VMF__SHIFT;

		n = n < 64 ? n : 64;
		there(w, va, n, access, yes);
		for (size_t i = 0; i < n && r.code == VMF_OK; i++, va += VMF__PAGE)
			if (!yes[i])
				r = touch_page(w, va, access);
	}
	return r;
}

struct vmf_result vmf_touch(const void *p, size_t bytes, unsigned access)
{
	uintptr_t va = (uintptr_t)p & ~(uintptr_t)(VMF__PAGE - 1), end = (uintptr_t)p + bytes;
	struct vmf_result r = { 0 };
	struct vmf__window w;

	if (!bytes)
		return r;
	if (access != VMF_R && access != VMF_W && access != VMF_X)
		return (struct vmf_result){ .code = VMF_SIGSEGV, .why = VMF_WHY_PROT };
	if (end < (uintptr_t)p)
		return (struct vmf_result){ .code = VMF_SIGSEGV };
	end = (end + VMF__PAGE - 1) & ~(uintptr_t)(VMF__PAGE - 1);
	while (va < end && r.code == VMF_OK && vmf__window_next(va, &w) && w.va < end) {
		va = va > w.va ? va : w.va;
		r = touch_window(&w, va, w.end < end ? w.end : end, access);
		va = w.end;
	}
	if (r.code == VMF_OK && (!vmf__era() || vmf__child_inherits()))
		r = vmf__child_touch((uintptr_t)p & ~(uintptr_t)(VMF__PAGE - 1), end, access);
	r.flags &= (uint8_t)~VMF_SPURIOUS;
	return r;
}

struct vmf_result vmf_fault_why(const void *p)
{
	struct vmf__window w;

	if (!vmf__window_find((uintptr_t)p, &w))
		return vmf__child_why((uintptr_t)p);
	return vmf__why_get(&w.local->why, (uintptr_t)p, NULL);
}

/* ----------------------------------------------------------------------------------------- system calls */

struct call {
	ssize_t (*go)(const struct call *);
	int fd, n;
	const struct iovec *iov;
	off_t at;
};

static ssize_t go_readv(const struct call *c) { return readv(c->fd, c->iov, c->n); }
static ssize_t go_writev(const struct call *c) { return writev(c->fd, c->iov, c->n); }
static ssize_t go_pread(const struct call *c) { return pread(c->fd, c->iov->iov_base, c->iov->iov_len, c->at); }
static ssize_t go_pwrite(const struct call *c) { return pwrite(c->fd, c->iov->iov_base, c->iov->iov_len, c->at); }
static ssize_t go_read(const struct call *c) { return read(c->fd, c->iov->iov_base, c->iov->iov_len); }
static ssize_t go_write(const struct call *c) { return write(c->fd, c->iov->iov_base, c->iov->iov_len); }

/* Brings in what the call names: its errno if that cannot be, 0 if it can be made again. */
static int bring(const struct iovec *iov, int n, unsigned access)
{
	for (int i = 0; i < n; i++) {
		struct vmf_result r = vmf_touch(iov[i].iov_base, iov[i].iov_len, access);

		if (r.code == VMF_SIGSEGV)
			return EFAULT;
		if (r.code != VMF_OK)
			return r.code == VMF_OOM ? ENOMEM : EIO;
	}
	return 0;
}

static ssize_t call(const struct call *c, unsigned access)
{
	for (int tries = 0; tries < EFAULTS_MAX; tries++) {
		ssize_t got = c->go(c);
		int err;

		if (got >= 0 || errno != EFAULT || !c->iov || c->n < 0 || c->n > IOV_MAX)
			return got;
		err = bring(c->iov, c->n, access);
		if (err) {
			errno = err;
			return -1;
		}
	}
	errno = EFAULT;
	return -1;
}

ssize_t vmf_read(int fd, void *p, size_t n)
{
	return call(&(struct call){ .go = go_read, .fd = fd, .iov = &(struct iovec){ p, n }, .n = 1 }, VMF_W);
}

ssize_t vmf_write(int fd, const void *p, size_t n)
{
	return call(&(struct call){ .go = go_write, .fd = fd, .iov = &(struct iovec){ (void *)p, n }, .n = 1 }, VMF_R);
}

ssize_t vmf_pread(int fd, void *p, size_t n, off_t at)
{
	struct iovec iov = { p, n };

	return call(&(struct call){ .go = go_pread, .fd = fd, .iov = &iov, .n = 1, .at = at }, VMF_W);
}

ssize_t vmf_pwrite(int fd, const void *p, size_t n, off_t at)
{
	struct iovec iov = { (void *)p, n };

	return call(&(struct call){ .go = go_pwrite, .fd = fd, .iov = &iov, .n = 1, .at = at }, VMF_R);
}

ssize_t vmf_readv(int fd, const struct iovec *iov, int n)
{
	return call(&(struct call){ .go = go_readv, .fd = fd, .iov = iov, .n = n }, VMF_W);
}

ssize_t vmf_writev(int fd, const struct iovec *iov, int n)
{
	return call(&(struct call){ .go = go_writev, .fd = fd, .iov = iov, .n = n }, VMF_R);
}
