/* SPDX-License-Identifier: MIT
 *
 * Bytes that were given away: reading and writing them where they are, whatever the protection, as a debugger would.
 *
 * Three answers, and never one for the other: they are here; nothing was given away there (-VMF_EFAULT: whoever asks
 * may take the object's); nobody can say, or they are here and cannot be had (any other error).  What is swapped out is
 * here.  A poisoned page is not: poison stands where there was nothing.
 *
 * It goes through /proc/self/mem, which fails at an absent page; process_vm_readv() would wait for somebody to resolve
 * the fault, perhaps for us.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

/* 0 or -errno */
static int move_once(const struct vmf__given *g)
{
	struct iovec to = { g->to, g->n }, from = { (void *)g->va, g->n };
	int mem = open("/proc/self/mem", (g->to ? O_RDONLY : O_RDWR) | O_CLOEXEC), e;
	ssize_t n;

	if (mem < 0 && g->to)
		n = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	else if (mem < 0)
		n = -1;
	else
		n = g->to ? pread(mem, g->to, g->n, (off_t)g->va) : pwrite(mem, g->from, g->n, (off_t)g->va);
	e = n == (ssize_t)g->n ? 0 : n < 0 ? errno : EIO;
	if (mem >= 0)
		close(mem);
	return -e;
}

static int move(const struct vmf__given *g)
{
	int err;

	do
		err = move_once(g);
	while (err == -EINTR);
	return err;
}

/* Only what is absent is poisoned, and then the reason is known. */
static bool poisoned(const struct vmf__window *w, uintptr_t va)
{
	unsigned code = vmf__why_get(&w->local->why, va, NULL).code;

	return code != VMF_OK && code != VMF_SIGSEGV;
}

static int unmoved(const struct vmf__window *w, const struct vmf__given *g, int err)
{
	bool some;

	if (!vmf__given_some(w->local->port, g->va, &some))
		return -VMF_ENOSYS;
	if (!some || ((err == -EIO || err == -EFAULT) && poisoned(w, g->va)))
		return -VMF_EFAULT;
	return err == -ENOMEM ? -VMF_ENOMEM : err == -EIO || err == -EFAULT ? -VMF_EIO : -VMF_ENOSYS;
}

static int move_window(const struct vmf__window *w, const struct vmf__given *g)
{
	bool some;
	int err;

	if (w->trap)
		return g->to ? vmf__trap_take(w, g->va, g->to) : vmf__trap_give(w, g->va, g->from, g->n);
	if (!vmf__given_some(w->local->port, g->va, &some))
		return -VMF_ENOSYS;
	err = some ? move(g) : -EFAULT;
	return err && some ? unmoved(w, g, err) : err ? -VMF_EFAULT : 0;
}

int vmf__given_move(struct vmf__local *local, const struct vmf__given *g)
{
	struct vmf__window w;

	if (vmf__window_find(g->va, &w) && w.local == local)
		return w.kind == VMF__W_COPY ? move_window(&w, g) : -VMF_EFAULT;
	return vmf__events_pending(local) ? -VMF_EAGAIN : -VMF_EFAULT;
}
