/* SPDX-License-Identifier: MIT
 *
 * The list: zero-fill on demand, protecting and unmapping, private areas, populating, bolts.
 */
#include "list.h"

#define MANY 40u /* more pages than a small TLB has entries */

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void zero_fill(struct stage *st, vmf_va va)
{
	bool zero = true, kept = true;

	for (unsigned i = 0; i < MANY; i++)
		zero &= list_reads(st, list_page(va, i) + 64, 0);
	list_check(st, zero, "zero-fill: reads zero");
	for (unsigned i = 0; i < MANY; i++)
		kept &= list_writes(st, list_page(va, i) + 64, i);
	for (unsigned i = 0; i < MANY; i++)
		kept &= list_reads(st, list_page(va, i) + 64, i);
	list_check(st, kept, "zero-fill: keeps what is written");
}

static void zero_revoke(struct stage *st, struct vmf_object *o, vmf_va va)
{
	bool kept = true;

	if (!list_keeps(st, "zero-fill: and after a revoke"))
		return;
	kept &= !vmf_revoke(o, 0, MANY);
	for (unsigned i = 0; i < MANY; i++)
		kept &= list_reads(st, list_page(va, i) + 64, i);
	list_check(st, kept, "zero-fill: and after a revoke");
}

static void protect(struct stage *st, vmf_va va)
{
	list_check(st, !vmf_protect(st->space, va, 2, VMF_R) && list_reads(st, va + 64, 0) &&
		   list_reads(st, list_page(va, 1) + 64, 1), "protect: still reads");
	list_fails(st, va, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT, "protect: no store any more");
	list_check(st, vmf_protect(st->space, va, 1, VMF_R | VMF_W | VMF_X) == -VMF_EPERM,
		   "protect: not beyond what was asked for");
	list_check(st, !vmf_protect(st->space, va, 1, VMF_R | VMF_W) && list_writes(st, va + 64, 0),
		   "protect: stores again");
	list_fails(st, list_page(va, 1), VMF_W, VMF_SIGSEGV, VMF_WHY_PROT, "protect: but not beside it");
}

static void unmap(struct stage *st, vmf_va va)
{
	list_check(st, !vmf_unmap(st->space, list_page(va, 10), 2), "unmap: two pages out of the middle");
	list_fails(st, list_page(va, 11), VMF_R, VMF_SIGSEGV, VMF_WHY_NONE, "unmap: nothing is there");
	list_check(st, list_reads(st, list_page(va, 9) + 64, 9) && list_reads(st, list_page(va, 12) + 64, 12),
		   "unmap: the pages beside them");
	list_check(st, vmf_protect(st->space, list_page(va, 9), 2, VMF_R) == -VMF_EFAULT,
		   "unmap: no protecting over the hole");
}

static void run_zero(struct stage *st)
{
	struct vmf_object *o;
	vmf_va va;

	if (!list_check(st, !vmf_object_create(st->port, &o, &zero_ops, NULL, MANY) &&
			!list_map(st, o, MANY, VMF_R | VMF_W, &va), "zero-fill: mapped"))
		return;
	zero_fill(st, va);
	zero_revoke(st, o, va);
	protect(st, va);
	unmap(st, va);
	list_free(st, va, MANY);
	vmf_object_put(o);
}

/* --------------------------------------------------------------------------------- private areas, and copies */

static struct { struct vmf_frame *frame; struct vmf_object *object; } q;

static enum vmf_code same_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	vmf_frame_get(q.frame);
	ans->frames[0] = q.frame;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops same_ops = { .size = sizeof(same_ops), .nopage = same_nopage };

static int map_private(struct stage *st, struct vmf_object *o, uint64_t pages, unsigned flags, vmf_va *va)
{
	struct vmf_map m = { .size = sizeof(m), .flags = flags, .pages = pages, .prot = VMF_R | VMF_W };

	return vmf_map(st->space, o, &m, va);
}

static void private_writes(struct stage *st, vmf_va one, vmf_va other)
{
	const uint32_t *word = (const uint32_t *)vmf_frame_bytes(st->port, q.frame) + 16;

	list_check(st, list_reads(st, one + 64, 5) && list_writes(st, one + 128, 1) && list_writes(st, other + 128, 2),
		   "private: reads the object, and is written");
	list_check(st, list_reads(st, one + 128, 1) && list_reads(st, other + 128, 2) && list_reads(st, one + 64, 5),
		   "private: bytes of its own");
	list_check(st, word[0] == 5 && word[16] == 0, "private: the object is as it was");
	list_check(st, !vmf_revoke(q.object, 0, 1) && list_reads(st, one + 128, 1) && list_reads(st, other + 128, 2),
		   "private: and stays, whatever is revoked");
}

/* Of an object without a driver: what a shared area wrote is what a private one shows. */
static void private_zeroes(struct stage *st)
{
	struct vmf_object *o;
	vmf_va shared, va;

	if (!list_check(st, !vmf_object_create(st->port, &o, &zero_ops, NULL, 2) &&
			!map_private(st, o, 2, VMF_SHARED, &shared) && !map_private(st, o, 2, 0, &va), "private: both kinds"))
		return;
	list_check(st, list_writes(st, shared + 64, 7) && list_reads(st, va + 64, 7) &&
		   list_reads(st, list_page(va, 1) + 64, 0), "private: shows what a shared area wrote");
	list_check(st, list_writes(st, va + 64, 8) && list_reads(st, shared + 64, 7), "private: which keeps it");
	list_free(st, shared, 2);
	list_free(st, va, 2);
	vmf_object_put(o);
}

static void run_private(struct stage *st)
{
	vmf_va one, other;

	if (!list_check(st, !vmf_object_create(st->port, &q.object, &same_ops, NULL, 1), "private: an object"))
		return;
	q.frame = vmf_frame_at(q.object, 0);
	if (!list_can(st, STAGE_PRIVATE, "private: bytes of its own")) {
		list_check(st, map_private(st, q.object, 1, 0, &one) == -VMF_ENOSYS, "private: and says so");
	} else if (list_check(st, q.frame && !map_private(st, q.object, 1, 0, &one) &&
			      !map_private(st, q.object, 1, 0, &other), "private: mapped twice")) {
		((uint32_t *)vmf_frame_bytes(st->port, q.frame))[16] = 5;
		private_writes(st, one, other);
		list_free(st, one, 1);
		list_free(st, other, 1);
		if (st->flags & VMF_SHARED)
			private_zeroes(st);
	}
	if (q.frame)
		vmf_frame_put(st->port, q.frame);
	vmf_object_put(q.object);
}

/* What the copy has to say: a bit for each that is as it should be. */
static unsigned child_private(struct stage *st, vmf_va va)
{
	unsigned right = list_reads(st, va + 64, 1);

	right |= list_reads(st, list_page(va, 1) + 64, 0) ? 2u : 0u;
	right |= list_writes(st, va + 64, 2) && list_reads(st, va + 64, 2) ? 4u : 0u;
	right |= list_writes(st, list_page(va, 2) + 64, 2) ? 8u : 0u;
	return right;
}

static unsigned child_fails(struct stage *st, vmf_va va)
{
	uint32_t word;

	if (!st->peek(st, va + 64, &word) || st->failed.code != VMF_SIGSEGV)
		return 0;
	return st->failed.why == VMF_WHY_NONE || st->failed.why == VMF_WHY_FORK;
}

static unsigned child_shared(struct stage *st, vmf_va va)
{
	return list_reads(st, va + 64, 7) && list_writes(st, va + 128, 8);
}

static void fork_shared(struct stage *st, struct vmf_object *o)
{
	vmf_va va;

	if (!list_check(st, !map_private(st, o, 1, VMF_SHARED, &va) && list_writes(st, va + 64, 7), "fork: a shared area"))
		return;
	if (list_can(st, STAGE_FORK_SHARED, "fork: what is shared stays so"))
		list_check(st, st->fork(st, child_shared, va) && list_reads(st, va + 128, 8), "fork: what is shared stays so");
	else
		list_check(st, st->fork(st, child_fails, va), "fork: and the copy is told so");
	list_free(st, va, 1);
}

static void fork_private(struct stage *st, struct vmf_object *o, vmf_va va)
{
	vmf_va not;

	list_check(st, list_writes(st, va + 64, 1) && st->fork(st, child_private, va) == 15,
		   "fork: the copy has the bytes, and its own from then on");
	list_check(st, list_reads(st, va + 64, 1) && list_reads(st, list_page(va, 2) + 64, 0),
		   "fork: the original has its own");
	if (list_check(st, !map_private(st, o, 1, VMF_NOFORK, &not) && list_writes(st, not + 64, 1),
		       "fork: an area not for it"))
		list_check(st, st->fork(st, child_fails, not), "fork: which the copy has not");
	list_free(st, not, 1);
}

static void run_fork(struct stage *st)
{
	struct vmf_object *o;
	vmf_va va;

	if (!list_can(st, STAGE_FORK, "fork: a copy of the space") ||
	    !list_check(st, !vmf_object_create(st->port, &o, &zero_ops, NULL, 4), "fork: an object"))
		return;
	if (list_can(st, STAGE_PRIVATE, "fork: the copy has the bytes, and its own from then on") &&
	    list_check(st, !map_private(st, o, 4, 0, &va), "fork: mapped")) {
		fork_private(st, o, va);
		list_free(st, va, 4);
	}
	if (st->flags & VMF_SHARED)
		fork_shared(st, o);
	vmf_object_put(o);
}

/* ------------------------------------------------------------------------------------- at map time */

/* Of a page that is out of bounds, and of those that are not. */
static struct { _Atomic unsigned asked, refuse, closed; struct vmf_frame *frame[4]; } p;

static enum vmf_code some_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	p.asked++;
	ans->why = VMF_WHY_POLICY;
	if (req->off == p.refuse)
		return VMF_SIGBUS;
	vmf_frame_get(p.frame[req->off]);
	ans->frames[0] = p.frame[req->off];
	ans->n = 1;
	return VMF_OK;
}

static void some_closed(struct vmf_area *area)
{
	(void)area;
	p.closed++;
}

static const struct vmf_ops some_ops = { .size = sizeof(some_ops), .nopage = some_nopage, .closed = some_closed };

static void populate(struct stage *st, struct vmf_object *o, vmf_va va)
{
	bool right = true;

	p.refuse = 2;
	list_check(st, list_map_at(st, o, 4, VMF_R, VMF_POPULATE, va) == -VMF_EFAULT && p.closed == 1,
		   "populate: one page cannot be had, so none is mapped");
	list_fails(st, va, VMF_R, VMF_SIGSEGV, VMF_WHY_NONE, "populate: nothing is there");
	p.refuse = 4;
	p.asked = 0;
	if (!list_check(st, !list_map_at(st, o, 4, VMF_R, VMF_POPULATE, va) && p.asked == 4, "populate: every page"))
		return;
	for (unsigned i = 0; i < 4; i++)
		right &= list_reads(st, list_page(va, i) + 64, 100 + i);
	list_check(st, right && p.asked == 4, "populate: and read without a fault");
	list_free(st, va, 4);
}

static void run_populate(struct stage *st)
{
	struct vmf_object *o;
	bool all = true;
	vmf_va va;

	p.asked = p.closed = 0;
	if (!list_check(st, !vmf_object_create(st->port, &o, &some_ops, NULL, 4) &&
			list_gap(st, 4, &va), "populate: an object"))
		return;
	for (unsigned i = 0; i < 4; i++) {
		p.frame[i] = vmf_frame_at(o, i);
		all &= p.frame[i] != NULL;
		if (p.frame[i])
			((uint32_t *)vmf_frame_bytes(st->port, p.frame[i]))[16] = 100 + i;
	}
	if (list_check(st, all, "populate: its frames"))
		populate(st, o, va);
	vmf_object_put(o);
	for (unsigned i = 0; i < 4; i++)
		if (p.frame[i])
			vmf_frame_put(st->port, p.frame[i]);
}

static void bolt(struct stage *st, struct vmf_object *o, vmf_va va)
{
	if (!list_check(st, !list_map_at(st, o, st->bolts, VMF_R | VMF_W, VMF_BOLT, va), "bolts: all that there are"))
		return;
	list_check(st, list_writes(st, list_page(va, 1) + 128, 1) && list_reads(st, va + 128, 0),
		   "bolts: bolted pages are memory");
	list_check(st, list_map_at(st, o, 1, VMF_R, VMF_BOLT, list_page(va, st->bolts)) == -VMF_ENOSPC,
		   "bolts: in use, all of them");
	if (list_keeps(st, "bolts: again after a revoke"))
		list_check(st, !vmf_revoke(o, 1, 1) && list_reads(st, list_page(va, 1) + 128, 1),
			   "bolts: again after a revoke");
	list_check(st, !vmf_unmap(st->space, va, st->bolts) && !list_map_at(st, o, st->bolts, VMF_R | VMF_W, VMF_BOLT, va),
		   "bolts: free again");
	list_free(st, va, st->bolts);
}

static void run_bolts(struct stage *st)
{
	struct vmf_object *o;
	vmf_va va;

	if (!list_check(st, !vmf_object_create(st->port, &o, &zero_ops, NULL, st->bolts + 1) &&
			list_gap(st, st->bolts + 1, &va), "bolts: an object"))
		return;
	list_check(st, list_map_at(st, o, st->bolts + 1, VMF_R | VMF_W, VMF_BOLT, va) == -VMF_ENOSPC,
		   "bolts: no more than there are");
	if (list_can(st, STAGE_BOLTS, "bolts: all that there are"))
		bolt(st, o, va);
	vmf_object_put(o);
}

void list_run_memory(struct stage *st)
{
	run_zero(st);
	run_private(st);
	run_fork(st);
	run_populate(st);
	run_bolts(st);
}
