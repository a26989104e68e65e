/* SPDX-License-Identifier: MIT
 *
 * The list: bolts that a driver asks for at a fault.  (Those of map time are in memory.c.)
 */
#include "list.h"

#define SPARE 4u /* pages, beside as many as can be bolted */
#define MOST 32u

static struct { struct vmf_frame *frame[MOST]; uint8_t how[MOST]; unsigned pages; } q;

static enum vmf_code bolt_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	vmf_frame_get(q.frame[req->off]);
	ans->frames[0] = q.frame[req->off];
	ans->n = 1;
	ans->bolt = q.how[req->off];
	return VMF_OK;
}

static const struct vmf_ops bolt_ops = { .size = sizeof(bolt_ops), .nopage = bolt_nopage };

static uint64_t bolted(const struct stage *st)
{
	struct vmf_stats s = { .size = sizeof(s) };

	vmf_space_stats(st->space, &s);
	return s.bolted;
}

static bool all_read(struct stage *st, vmf_va va, unsigned first, unsigned n)
{
	bool right = true;

	for (unsigned i = first; i < first + n; i++)
		right &= list_reads(st, list_page(va, i) + 64, 100 + i);
	return right;
}

static void none_left(struct stage *st, vmf_va va, unsigned i, const char *name)
{
	q.how[i] = VMF_BOLT_MUST;
	list_fails(st, list_page(va, i), VMF_R, VMF_SIGBUS, VMF_WHY_BOLTS, name);
}

static void given_back(struct stage *st, struct vmf_object *o, vmf_va va)
{
	list_check(st, !vmf_unmap(st->space, va, 2) && all_read(st, va, st->bolts, 2) && all_read(st, va, 2, st->bolts - 2),
		   "bolts: a fault gets what an unmap gave back");
	if (list_can(st, STAGE_ENTRIES, "bolts: and the neighbours' stay"))
		list_check(st, st->keeps(st, list_page(va, 2)), "bolts: and the neighbours' stay");
	if (list_keeps(st, "bolts: and what a revoke did"))
		list_check(st, !vmf_revoke(o, 2, 2) && all_read(st, va, st->bolts + 2, 1), "bolts: and what a revoke did");
}

static void bolts(struct stage *st, struct vmf_object *o, vmf_va va)
{
	uint64_t before = bolted(st);

	for (unsigned i = 0; i < st->bolts + 3; i++)
		q.how[i] = VMF_BOLT_MUST;
	list_check(st, all_read(st, va, 0, st->bolts) && bolted(st) == before + st->bolts,
		   "bolts: faults get all that there are");
	none_left(st, va, st->bolts, "bolts: a fault that must have one where there is none");
	q.how[st->bolts + 3] = VMF_BOLT_TRY;
	list_check(st, all_read(st, va, st->bolts + 3, 1) && bolted(st) == before + st->bolts,
		   "bolts: a fault that would like one where there is none");
	if (list_can(st, STAGE_ENTRIES, "bolts: what a fault has bolted stays"))
		list_check(st, st->keeps(st, list_page(va, 1)) && st->keeps(st, list_page(va, 2)),
			   "bolts: what a fault has bolted stays");
	given_back(st, o, va);
}

static bool frames(struct stage *st, struct vmf_object *o)
{
	bool all = true;

	for (unsigned i = 0; i < q.pages; i++) {
		q.frame[i] = vmf_frame_at(o, i);
		all &= q.frame[i] != NULL;
		if (q.frame[i])
			((uint32_t *)vmf_frame_bytes(st->port, q.frame[i]))[16] = 100 + i;
	}
	return all;
}

void list_run_bolts(struct stage *st)
{
	struct vmf_object *o;
	vmf_va va;

	q.pages = st->bolts + SPARE;
	if (!list_check(st, q.pages <= MOST && !vmf_object_create(st->port, &o, &bolt_ops, NULL, q.pages) &&
			frames(st, o) && !list_map(st, o, q.pages, VMF_R, &va), "bolts: a driver that asks for them"))
		return;
	if (list_can(st, STAGE_BOLTS, "bolts: faults get all that there are")) {
		bolts(st, o, va);
	} else {
		none_left(st, va, 0, "bolts: a fault that must have one where there is none");
		q.how[0] = VMF_BOLT_TRY;
		list_check(st, all_read(st, va, 0, 1), "bolts: a fault that would like one where there is none");
	}
	list_free(st, va, q.pages);
	for (unsigned i = 0; i < q.pages; i++)
		if (q.frame[i])
			vmf_frame_put(st->port, q.frame[i]);
	vmf_object_put(o);
}
