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

static void run_private(struct stage *st)
{
	struct vmf_map m = { .size = sizeof(m), .pages = 1, .prot = VMF_R | VMF_W };
	struct vmf_object *o;
	vmf_va one, other;

	if (!list_check(st, !vmf_object_create(st->port, &o, &zero_ops, NULL, 1), "private: an object"))
		return;
	if (!list_can(st, STAGE_PRIVATE, "private: bytes of its own")) {
		list_check(st, vmf_map(st->space, o, &m, &one) == -VMF_ENOSYS, "private: and says so");
	} else if (list_check(st, !vmf_map(st->space, o, &m, &one) && !vmf_map(st->space, o, &m, &other),
			      "private: mapped twice")) {
		list_check(st, list_writes(st, one, 1) && list_writes(st, other, 2) && list_reads(st, one, 1) &&
			   list_reads(st, other, 2), "private: bytes of its own");
		list_free(st, one, 1);
		list_free(st, other, 1);
	}
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
	run_populate(st);
	run_bolts(st);
}
