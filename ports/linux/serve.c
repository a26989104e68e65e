/* SPDX-License-Identifier: MIT
 *
 * Serving: from a fault that was read to a page that is there, or to a decision about one that cannot be had.
 *
 * A fault whose try ends with "the layout is changing" is tried again after the descriptor was read once more, and
 * then in growing intervals: the other process's thread may not have got far enough.  It is never given up for
 * that.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include "remote.h"

#define PATIENCE_NS 2000000u     /* how long one call waits for what will be ready soon */
#define LAYOUT_NS 20000u
#define LAYOUT_MAX_NS 1000000u
#define LOOK_NS 1000000u         /* how often a parked fault is looked at whose wait object says nothing */
#define POISON_TRIES 64u

static uint64_t now(void) { return vmf__now(NULL); }

static struct vmf_result result(unsigned code, unsigned why)
{
	return (struct vmf_result){ .code = (uint8_t)code, .why = (uint8_t)why };
}

/* ------------------------------------------------------------------------------------------------ one try */

static struct vmf_result retry_layout(struct vmf__parked *e)
{
	e->ticket.why = VMF_WHY_LAYOUT;
	return result(VMF_RETRY, VMF_WHY_LAYOUT);
}

/* The page is there and write-protected, which nobody here asked for: let the write go on. */
static struct vmf_result try_wp(struct vmf__remote *r, struct vmf__parked *e)
{
	int err = vmf__uffd_wp(r->uffd, e->va, vmf__remote_page(r, e->va), false);

	if (err == -EAGAIN)
		return retry_layout(e);
	return err && err != -ENOENT ? result(VMF_SIGBUS, VMF_WHY_ATTR) : result(VMF_OK, VMF_WHY_NONE);
}

static struct vmf_result try_missing(struct vmf__remote *r, struct vmf__parked *e)
{
	struct vmf_trap trap = { .va = e->va, .access = e->access };

	switch (vmf__remote_zero(r, e->va)) {
	case 0:
		return result(VMF_OK, VMF_WHY_NONE);
	case 1:
		return vmf_handle(r->space, &trap, &e->ticket);
	case -VMF_EAGAIN:
		return retry_layout(e);
	case -VMF_ENOMEM:
		return result(VMF_OOM, VMF_WHY_RESOURCE);
	case -VMF_EGONE:
		return result(VMF_SIGSEGV, VMF_WHY_LAYOUT);
	default:
		return result(VMF_SIGBUS, VMF_WHY_ATTR);
	}
}

static struct vmf_result try_one(struct vmf__remote *r, struct vmf__parked *e)
{
	if (e->served || e->gone)
		return result(VMF_OK, VMF_WHY_NONE);
	switch (e->kind) {
	case VMF__FAULT_WP:
		return try_wp(r, e);
	case VMF__FAULT_MINOR: /* bytes that somebody else put there: nobody can say whether they are right */
		return result(VMF_SIGBUS, VMF_WHY_POLICY);
	default:
		return try_missing(r, e);
	}
}

/* ----------------------------------------------------------------------------------------- what comes of it */

static void stalled(struct vmf__remote *r, struct vmf__parked *e, bool yes)
{
	if (e->stalled == yes)
		return;
	e->stalled = yes;
	vmf__session_count(r->session, stalled, yes ? 1u : UINT32_MAX);
}

static void finish(struct vmf__remote *r, struct vmf__parked *e)
{
	stalled(r, e, false);
	vmf_ticket_drop(r->space, &e->ticket);
	vmf__park_give(&r->park, e, 0);
}

static void again_in(struct vmf__remote *r, struct vmf__parked *e, uint64_t ns)
{
	vmf__park_give(&r->park, e, now() + ns);
}

static void again_layout(struct vmf__remote *r, struct vmf__parked *e)
{
	uint64_t ns = e->delay;

	e->delay = ns ? ns * 2 : LAYOUT_NS;
	if (e->delay > LAYOUT_MAX_NS)
		e->delay = LAYOUT_MAX_NS;
	again_in(r, e, ns);
}

static void park(struct vmf__remote *r, struct vmf__parked *e)
{
	if (e->ticket.why == VMF_WHY_LAYOUT) {
		again_layout(r, e);
	} else if (e->ticket.wait) {
		again_in(r, e, LOOK_NS);
	} else {
		(void)vmf_ticket_wait(r->space, &e->ticket, false);
		again_in(r, e, 0);
	}
}

/* May the next try end differently? */
static bool transient(struct vmf_result res)
{
	return res.code == VMF_OOM || res.why == VMF_WHY_IOERR || res.why == VMF_WHY_RESOURCE;
}

static uint64_t back_off(const struct vmf__remote *r, uint32_t failures)
{
	uint64_t ms = (uint64_t)r->adopt.first_ms << (failures < 32 ? failures - 1 : 31);

	return (ms < r->adopt.last_ms ? ms : r->adopt.last_ms) * 1000000u;
}

/* What to do about it: ns to wait, 0 for dealt with, or a negative error. */
static int64_t decide(struct vmf__remote *r, struct vmf__parked *e, struct vmf_result res)
{
	struct vmf_failed f = { e->va, vmf__remote_page(r, e->va) / VMF__PAGE, res, e->failures };

	if (transient(res) && e->failures < r->adopt.tries)
		return (int64_t)back_off(r, e->failures);
	if (r->adopt.failed)
		return r->adopt.failed(r->adopt.self, r->space, &f);
	switch (vmf_linux_poison(r->space, f.va, f.pages)) {
	case 0:
		return 0;
	case -VMF_EAGAIN:
		return LAYOUT_MAX_NS;
	default:
		return -VMF_EIO;
	}
}

static int failed(struct vmf__remote *r, struct vmf__parked *e, struct vmf_result res)
{
	int64_t ns;

	vmf__session_count(r->session, failed, 1);
	e->failures++;
	stalled(r, e, true);
	ns = decide(r, e, res);
	if (!ns) {
		finish(r, e);
		return 0;
	}
	again_in(r, e, ns > 0 ? (uint64_t)ns : r->adopt.last_ms * UINT64_C(1000000));
	return ns < 0 ? (int)ns : 0;
}

/* Was it the layout?  After mremap a fault at the new place may be told before the move is: no area is there yet. */
static bool spoilt(struct vmf__remote *r, struct vmf_result res)
{
	/* (A race that was lost for the bytes' own sake is no race: they are not to be had.) */
	if (res.why == VMF_WHY_LAYOUT || (res.why == VMF_WHY_RACE && res.err != VMF_EFAULT))
		return true;
	return res.code == VMF_SIGSEGV && vmf__uffd_changing(r->uffd);
}

/* 1: resolved; 0: not yet; or a negative error that ends the session. */
static int serve_one(struct vmf__remote *r, struct vmf__parked *e)
{
	struct vmf_result res = try_one(r, e);

	if (res.code == VMF_OK || e->gone) {
		finish(r, e);
		return 1;
	}
	if (res.code != VMF_RETRY) {
		vmf_ticket_drop(r->space, &e->ticket);
		e->ticket = (struct vmf_ticket){ 0 };
	}
	if (vmf__remote_gone(r)) {
		park(r, e);
		return -VMF_EGONE;
	}
	if (res.code == VMF_RETRY) {
		park(r, e);
		return 0;
	}
	if (spoilt(r, res)) {
		again_layout(r, e);
		return 0;
	}
	return failed(r, e, res);
}

/* -------------------------------------------------------------------------------------------------- serving */

/* Until nothing can be tried now, or what is to be tried has to wait for the descriptor to be read. */
static int serve_ready(struct vmf__remote *r, int *resolved)
{
	struct vmf__parked *e;

	while ((e = vmf__park_take(&r->park, now()))) {
		int n = serve_one(r, e);

		if (n < 0)
			return n;
		*resolved += n;
		if (!n)
			break;
	}
	return 0;
}

/* Waits for the fault that can be tried next, if that is soon.  False: it is not, or there is none. */
static bool serve_wait(struct vmf__remote *r, uint64_t until)
{
	struct pollfd p = { .fd = r->uffd, .events = POLLIN };
	const struct vmf_wait *wait;
	struct timespec t;
	uint32_t seq = 0;
	uint64_t due = vmf__park_due(&r->park, &wait, &seq), at = now();

	if (due <= at)
		return at < until;
	if (due > until)
		return false;
	if (wait) {
		(void)vmf__wait(vmf_port_self(r->port), &wait->seq, seq, due - at, false);
		return true;
	}
	t = (struct timespec){ 0, (long)(due - at) };
	(void)ppoll(&p, 1, &t, NULL);
	return true;
}

static void serve_count(struct vmf__remote *r)
{
	struct vmf_stats stats = { .size = sizeof(stats) };

	vmf_space_stats(r->space, &stats);
	__atomic_store_n(&r->session->bytes_read, r->bytes_read + stats.bytes_read, __ATOMIC_RELAXED);
	if (vmf__park_lost(&r->park))
		vmf__remote_wake_all(r);
}

static int serve(struct vmf__remote *r)
{
	uint64_t until = 0;
	int resolved = 0, err;

	do {
		err = vmf__inbox_drain(r);
		if (!err)
			err = serve_ready(r, &resolved);
		until = until ? until : now() + PATIENCE_NS;
	} while (!err && serve_wait(r, until));
	serve_count(r);
	vmf_port_tidy(r->port);
	return err ? err : resolved;
}

/* Each short lock blocks signals; doing it once for all of them saves ten system calls a fault. */
int vmf_linux_serve(struct vmf_space *space)
{
	struct vmf__remote *r = vmf__remote_of(space);
	int n;

	if (!r)
		return -VMF_EINVAL;
	if (vmf__remote_gone(r))
		return -VMF_EGONE;
	vmf__block_most();
	n = serve(r);
	vmf__unblock(NULL);
	return n;
}

uint64_t vmf_linux_due(struct vmf_space *space)
{
	struct vmf__remote *r = vmf__remote_of(space);
	const struct vmf_wait *wait;
	uint32_t seq;
	uint64_t due = r ? vmf__park_due(&r->park, &wait, &seq) : UINT64_MAX, at = now();
	uint64_t again = r ? vmf__orphans_due(r) : UINT64_MAX;

	due = due == UINT64_MAX ? due : due > at ? due - at : 0;
	return due < again ? due : again;
}

/* ------------------------------------------------------------------------------------------------- poison */

int vmf_linux_poison(struct vmf_space *space, vmf_va va, uint64_t pages)
{
	struct vmf__remote *r = vmf__remote_of(space);
	uint64_t delay = LAYOUT_NS;
	int err;

	if (!r || !pages || pages > UINTPTR_MAX / VMF__PAGE || va + pages * VMF__PAGE < va)
		return -VMF_EINVAL;
	err = vmf__remote_poison(r, va, pages * VMF__PAGE);
	for (uint32_t i = 0; err == -VMF_EAGAIN && i < POISON_TRIES; i++) {
		struct timespec t = { 0, (long)delay };

		err = vmf__inbox_drain(r);
		if (err)
			break;
		(void)nanosleep(&t, NULL);
		delay = delay < LAYOUT_MAX_NS ? delay * 2 : delay;
		err = vmf__remote_poison(r, va, pages * VMF__PAGE);
	}
	return err;
}

bool vmf_linux_can_poison(void) { return vmf__uffd_features() & VMF__UF_POISON; }
