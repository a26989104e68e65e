/* SPDX-License-Identifier: MIT
 *
 * Asking a driver: fault, else nopage, else nopfn, else zeroes on demand; and not believing the answer.
 */
#include "core.h"

static void request(const struct vmf_fault *f, struct vmf_req *req)
{
	*req = (struct vmf_req){ .fault = (struct vmf_fault *)f, .port = f->port, .area = f->area->real,
				 .object = f->object, .object_priv = f->object->priv,
				 .area_priv = f->area->priv, .va = f->va, .off = f->off, .node = f->area->node,
				 .access = f->access, .order = f->order,
				 .tries = (uint8_t)vmf__min(f->ticket->tries, UINT8_MAX), .prot = f->area->prot };
}

/* Every code but OK and DONE, which the callers know better. */
static struct vmf_result answer_other(struct vmf_fault *f, enum vmf_code code, const struct vmf_ans *ans)
{
	switch (code) {
	case VMF_RETRY:
		return vmf__retry(f, ans->why, ans->wait, ans->seq);
	case VMF_SIGBUS:
	case VMF_SIGSEGV:
	case VMF_OOM:
	case VMF_POISON:
		return vmf__result(code, ans->why ? ans->why : VMF_WHY_DRIVER, ans->err);
	case VMF_FALLBACK:
		if (f->order)
			return vmf__result(VMF_FALLBACK, 0, 0);
		return vmf__mistake(f, VMF_WHY_DRIVER, "FALLBACK is answered where base pages were asked for");
	default:
		return vmf__mistake(f, VMF_WHY_DRIVER, "an answer that this operation cannot give");
	}
}

static bool run_good(const struct vmf_fault *f, const struct vmf_ans *ans)
{
	return ans->n && ans->first <= f->off && f->off - ans->first < ans->n && !(ans->prot & ~(unsigned)f->area->prot);
}

/* ------------------------------------------------------------------------------------------- mkwrite */

/* Bytes that are given away are nobody's to hear of. */
static bool announces(const struct vmf_fault *f)
{
	return f->object->ops->mkwrite && vmf__peek(&f->area->may) & VMF_W && f->area->window.store != VMF_BY_COPY &&
	       !f->area->overlay;
}

/* Where entries cannot be write-protected, whatever is entered can be written. */
static bool makes_writable(const struct vmf_fault *f)
{
	return f->access == VMF_W || !f->area->window.protect;
}

/* Announces the first write to a clean page, once.  OK: the page is dirty. */
static struct vmf_result make_writable(struct vmf_fault *f, const struct vmf_req *req)
{
	struct vmf_object *o = f->object;
	uint32_t seq = vmf_wait_seq(&o->changed);
	struct vmf_ans ans = { .first = f->off };
	struct vmf__page *page;
	enum vmf_code code;
	bool ours, again;

	vmf__lock_take(f->port, &o->lock);
	page = vmf__page_make(o, f->off);
	if (!page || vmf__state(page) == VMF_DIRTY || vmf__peek(&page->word) & VMF__P_MKWRITE) {
		bool dirty = page && vmf__state(page) == VMF_DIRTY;

		vmf__lock_drop(f->port, &o->lock);
		if (dirty)
			return vmf__result(VMF_OK, 0, 0);
		return page ? vmf__retry(f, VMF_WHY_RACE, &o->changed, seq) : vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	}
	vmf__store(&page->word, vmf__peek(&page->word) | VMF__P_MKWRITE);
	vmf__lock_drop(f->port, &o->lock);
	code = o->ops->mkwrite(req, &ans);
	ours = code == VMF_OK;
	vmf__lock_take(f->port, &o->lock);
	again = vmf__peek(&page->word) & VMF__P_REDIRTY;
	vmf__store(&page->word, vmf__peek(&page->word) & ~(uint32_t)(VMF__P_MKWRITE | VMF__P_REDIRTY));
	if (ours && !again)
		vmf__set_state(page, VMF_DIRTY);
	vmf__lock_drop(f->port, &o->lock);
	vmf_wake(f->port, &o->changed);
	if (ours && again)
		return vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	return ours ? vmf__result(VMF_OK, 0, 0) : answer_other(f, code, &ans);
}

/* What a page may be entered with whose first write was not announced. */
static unsigned unannounced(const struct vmf_fault *f)
{
	return f->area->prot & ~(announces(f) && !makes_writable(f) ? (unsigned)VMF_W : 0u);
}

/* Where first writes are announced, a write enters just its page, and a read enters nothing that can be written. */
static void run_clean(const struct vmf_fault *f, struct vmf_ans *ans)
{
	if (!announces(f))
		return;
	if (!makes_writable(f)) {
		ans->prot &= (uint8_t)~VMF_W;
		return;
	}
	if (ans->frames)
		ans->frames += f->off - ans->first;
	ans->pfn.n += f->off - ans->first;
	ans->first = f->off;
	ans->n = 1;
}

uint32_t vmf__install_clean(const struct vmf_fault *f, vmf_pgoff *at, uint32_t *n, unsigned *prot)
{
	uint32_t skip;

	if (!announces(f))
		return 0;
	if (!makes_writable(f)) {
		*prot &= ~(unsigned)VMF_W;
		return 0;
	}
	skip = f->off - *at < *n ? (uint32_t)(f->off - *at) : *n;
	*at += skip;
	*n = skip < *n;
	return skip;
}

/* -------------------------------------------------------------------------------- nopage and nopfn */

static struct vmf_result show_frames(struct vmf_fault *f, struct vmf_ans ans)
{
	enum vmf_why why;

	if (f->order)
		ans.first = f->off;
	if (!run_good(f, &ans))
		return vmf__mistake(f, VMF_WHY_DRIVER, "nopage answers with a run without the page, or with more than the area "
				    "allows");
	why = vmf__frames_good(f, ans.first, ans.frames, ans.n);
	if (why)
		return vmf__result(VMF_SIGBUS, why, 0);
	if (!(ans.prot & vmf__needs(f)))
		return vmf__result(VMF_SIGSEGV, VMF_WHY_PROT, 0);
	run_clean(f, &ans);
	if (!vmf__frames_begin(f, ans.first, ans.frames, ans.n))
		return vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	return vmf__enter_frames(f, ans.first, ans.frames, ans.n, ans.prot);
}

static struct vmf_result ask_nopage(struct vmf_fault *f, const struct vmf_req *req)
{
	struct vmf_frame *frames[VMF_CFG_DRIVER_RUN] = { 0 };
	struct vmf_ans ans = { .frames = frames, .max = VMF_CFG_DRIVER_RUN, .first = f->off, .prot = req->prot,
			       .attr = f->area->attr };
	enum vmf_code code = f->object->ops->nopage(req, &ans);
	struct vmf_result r;

	if (code != VMF_OK)
		return answer_other(f, code, &ans);
	if (ans.frames != frames || ans.n > VMF_CFG_DRIVER_RUN)
		return vmf__mistake(f, VMF_WHY_DRIVER, "nopage answers with more than max frames, or with an array of its own");
	f->bolt = &ans.bolt;
	r = show_frames(f, ans);
	f->bolt = NULL;
	vmf__frames_put(f->port, frames, ans.n);
	return r;
}

static struct vmf_result ask_nopfn(struct vmf_fault *f, const struct vmf_req *req)
{
	struct vmf_ans ans = { .max = VMF_RUN_MAX, .first = f->off, .prot = req->prot, .attr = f->area->attr };
	enum vmf_code code = f->object->ops->nopfn(req, &ans);
	struct vmf_result r;

	if (code != VMF_OK)
		return answer_other(f, code, &ans);
	if (!run_good(f, &ans) || ans.n > VMF_RUN_MAX || ans.pfn.n + ans.n < ans.pfn.n)
		return vmf__mistake(f, VMF_WHY_DRIVER, "nopfn answers with a run without the page, too long, or with more than "
				    "the area allows");
	if (!(ans.prot & f->access))
		return vmf__result(VMF_SIGSEGV, VMF_WHY_PROT, 0);
	run_clean(f, &ans);
	if (!vmf__enter_begin(f, ans.first, ans.n))
		return vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	f->bolt = &ans.bolt;
	r = vmf__enter_pfns(f, ans.first, ans.pfn, ans.n, ans.attr, ans.prot);
	f->bolt = NULL;
	return r;
}

/* ---------------------------------------------------------------------------------------- zero-fill */

/* Has anybody written to the page by a shared area? */
static bool object_has(const struct vmf_object *o, vmf_pgoff at)
{
	const struct vmf__page *page = vmf__page_at(o, at);

	return page && vmf__load(&page->of);
}

/* The object's page, made if need be.  => the caller's reference; NULL: no memory */
static struct vmf_frame *zero_page(struct vmf_object *o, vmf_pgoff at, uint32_t node)
{
	struct vmf_frame *frame = NULL;
	struct vmf__page *page;

	vmf__lock_take(o->port, &o->lock);
	page = vmf__page_make(o, at);
	if (page && !page->of) {
		if (o->segmented)
			frame = vmf__segment_made(o, at, 1) ? vmf__page_segment(o, at) : NULL;
		else if (vmf_frame_alloc(o->port, 0, node, false, &frame))
			frame = NULL;
		if (frame) {
			if (!vmf__frame_broken(frame))
				memset(vmf_frame_bytes(o->port, frame), 0, vmf__psize(o->port));
			vmf__store(&page->of, (void *)frame); /* object_has() looks without the lock */
			if (vmf__state(page) == VMF_ABSENT) /* not DIRTY: a write was announced */
				vmf__set_state(page, VMF_PRESENT);
		}
	}
	frame = page ? page->of : NULL;
	if (frame)
		vmf_frame_get(frame);
	vmf__lock_drop(o->port, &o->lock);
	return frame;
}

static struct vmf_result zero_fill(struct vmf_fault *f)
{
	bool bare = f->area->window.order || !object_has(f->object, f->off);
	struct vmf_frame *frame;
	struct vmf_result r;

	if (f->area->window.store == VMF_BY_COPY && f->area->window.zero && bare) {
		uint64_t run = 1u << f->area->window.order;

		if (!vmf__slot_commit(f->slot))
			return vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
		return vmf__enter_zero(f, f->off & ~(run - 1), run);
	}
	if (f->area->overlay && bare)
		return vmf__overlay_zero(f);
	frame = zero_page(f->object, f->off, f->area->node);
	if (!frame)
		return vmf__retry(f, VMF_WHY_RESOURCE, NULL, 0);
	r = vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	if (vmf__slot_commit(f->slot)) {
		r = vmf__enter_frames(f, f->off, &frame, 1, unannounced(f));
		if (r.code == VMF_OK)
			vmf__count(f, zeroed, 1);
	}
	vmf_frame_put(f->port, frame);
	return r;
}

/* What was mapped raw and then forgotten (protected, revoked, or just evicted by the pmap): the area knows it. */
static struct vmf_result show_raw(struct vmf_fault *f)
{
	vmf_pfn pfn = { f->area->raw.n + (f->off - f->area->off) };

	if (!vmf__enter_begin(f, f->off, 1))
		return vmf__result(VMF_RETRY, VMF_WHY_RACE, 0);
	return vmf__enter_pfns(f, f->off, pfn, 1, f->area->attr, unannounced(f));
}

/* ------------------------------------------------------------------------------------------- the table */

static struct vmf_result ask_table(struct vmf_fault *f)
{
	const struct vmf_ops *ops = f->object->ops;
	struct vmf_req req;

	request(f, &req);
	f->revokes = vmf__load(&f->object->revokes);
	if (announces(f) && makes_writable(f)) {
		struct vmf_result r = make_writable(f, &req);

		if (r.code != VMF_OK)
			return r;
	}
	if (ops->fault) {
		struct vmf_ans ans = { .first = f->off, .prot = req.prot, .attr = f->area->attr };
		enum vmf_code code;

		f->bolt = &ans.bolt; /* as it is when the handler installs the page */
		code = ops->fault(&req, &ans);
		f->bolt = NULL;
		if (code == VMF_DONE && f->done.code == VMF_OK && !f->installed)
			return vmf__mistake(f, VMF_WHY_DRIVER, "DONE, and the page was not installed");
		if (code == VMF_DONE)
			return f->done;
		if (code == VMF_RETRY && !ans.wait && f->done.code == VMF_RETRY)
			return f->done;
		if (code != VMF_NEXT)
			return answer_other(f, code, &ans);
		if (f->installed)
			return vmf__mistake(f, VMF_WHY_DRIVER, "NEXT, and the page is installed");
	}
	if (ops->nopage)
		return ask_nopage(f, &req);
	if (ops->nopfn)
		return ask_nopfn(f, &req);
	if (f->area->action == VMF_RAW)
		return show_raw(f);
	if (ops->fault)
		return vmf__mistake(f, VMF_WHY_DRIVER, "NEXT, and there is no other operation to ask");
	return zero_fill(f);
}

/* A lock that stays taken is found here, and only in builds that keep books of locks. */
struct vmf_result vmf__ask_driver(struct vmf_fault *f)
{
	uint32_t held = vmf__rank_held();
	struct vmf_result r;

	if (f->area->order | f->area->window.order)
		vmf__huge_begin(f);
	while ((r = ask_table(f)).code == VMF_FALLBACK)
		if (!vmf__huge_lower(f))
			return vmf__result(VMF_OOM, VMF_WHY_RESOURCE, 0);
	return vmf__rank_held() == held ? r : vmf__mistake(f, VMF_WHY_DRIVER, "a handler returned with a lock held");
}
