/* SPDX-License-Identifier: MIT
 *
 * Views of the simulated machine's device: drivers that show some of its pages, raw, with attributes of their own.
 */
#ifndef VIEWS_H
#define VIEWS_H
#include "rig.h"

#define VIEW 32u /* pages */

struct view {
	struct rig *r;
	struct vmf_object *object;
	uint64_t first; /* the object's page i is pfn first + i */
	struct vmf_attr attr;
	uint32_t n; /* pages in an answer */
	void (*between)(struct view *, vmf_pgoff); /* the decision and the return */
	unsigned asked;
};

static inline enum vmf_code view_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct view *v = req->object_priv;

	__atomic_fetch_add(&v->asked, 1, __ATOMIC_RELAXED);
	ans->pfn.n = v->first + req->off;
	ans->n = v->n;
	ans->attr = v->attr;
	if (v->between)
		v->between(v, req->off);
	return VMF_OK;
}

static const struct vmf_ops view_ops = { .size = sizeof(view_ops), .nopfn = view_nopfn };

/* Bytes of the device are the page's number + 1. */
static inline void view_open(struct view *v, struct rig *r, uint64_t first, unsigned type)
{
	*v = (struct view){ .r = r, .first = first, .attr = { .type = (uint8_t)type }, .n = 1 };
	CHECK_ERR(vmf_object_create(r->port, &v->object, &view_ops, v, VIEW), 0);
	for (unsigned i = 0; i < 256; i++)
		*(uint8_t *)vmf_sim_device(r->sim, i) = (uint8_t)(i + 1);
}

static inline vmf_va view_map(struct view *v, struct vmf_space *space)
{
	struct vmf_map map = rig_map(v->r, VIEW, VMF_R);
	vmf_va va = 0;

	CHECK_ERR(vmf_map(space, v->object, &map, &va), 0);
	return va;
}

static inline void view_close(struct view *v)
{
	CHECK_ERR(vmf_unmap(v->r->space, VMF_SIM_LOWEST, 4096), 0);
	vmf_object_put(v->object);
}

static inline struct vmf_result touch(struct vmf_space *space, vmf_va va)
{
	uint8_t byte;

	return vmf_sim_load(space, va, &byte, 1);
}

/* As which type is the page entered?  -1: it is not. */
static inline int shown_as(struct vmf_space *space, vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(space);
	struct vmf_entry e;

	CHECK_ERR(pmap->ops->query(pmap, va, &e), 0);
	return e.present ? e.attr.type : -1;
}

/* Does anybody show one of these pages, as far as the core knows? */
static inline bool known(struct rig *r, uint64_t pfn, uint64_t pages)
{
	int err = vmf_phys_adopt(r->port, (vmf_pfn){ pfn }, pages);

	CHECK(err == 0 || err == -VMF_EBUSY);
	if (!err)
		CHECK_ERR(vmf_phys_disown(r->port, (vmf_pfn){ pfn }), 0);
	return err;
}

#endif
