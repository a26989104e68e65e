/* SPDX-License-Identifier: MIT
 *
 * What a driver can do wrong, each as a handler that does it once and answers right from then on; and what comes of it
 * in each kind of window.  It uses vmfault.h and no port.
 */
#ifndef MISTAKES_H
#define MISTAKES_H
#include <vmfault/host.h>
#include "vmtest.h"

#define PAGES 16u   /* of the object */
#define FIRST 4u    /* of them, and */
#define SHOWN 8u    /* so many, the area shows */
#define FAULTS_AT 6u /* of the object */

struct mistake;
struct wrong {
	struct vmf_port *port;
	struct vmf_object *object, *other;
	const struct mistake *mistake;
	struct vmf_frame *stranger; /* a frame of the driver's that is not the object's */
	vmf_va at;                  /* of the area */
	uint64_t hole;              /* a pfn where nothing is */
	unsigned asked, busy;       /* busy: the driver's own lock */
	bool always;                /* not only the first time */
	struct vmf_result inner;
};
struct mistake {
	const char *name;
	vmf_handler *fault, *nopage, *nopfn;
	uint8_t code[3], why[3]; /* by enum vmf_store */
	const char *said;        /* by a strict port, where the code is not OK */
	bool there;              /* the page is shown all the same: what was installed first was right */
};

/* What an access to this address comes to, on this thread, now. */
static struct vmf_result mistake_access(struct wrong *, vmf_va);

static inline enum vmf_code wrong_right(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static inline struct vmf_frame *wrong_alloc(const struct vmf_req *req, unsigned order)
{
	struct vmf_frame *f;

	CHECK_ERR(vmf_frame_alloc(req->port, order, 0, true, &f), 0);
	return f;
}

static inline struct vmf_result wrong_install(const struct vmf_req *req, vmf_pgoff off, uint32_t n)
{
	struct vmf_frame *frames[PAGES + 1];

	for (uint32_t i = 0; i < n; i++)
		frames[i] = off + i < PAGES ? vmf_frame_at(req->object, off + i) : wrong_alloc(req, 0);
	return vmf_install_frames(req, off, frames, n, req->prot);
}

/* ------------------------------------------------------------------------------------------- the mistakes */

static inline enum vmf_code freed_frame(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = wrong_alloc(req, 0);
	vmf_frame_put(req->port, ans->frames[0]);
	ans->n = 1;
	return VMF_OK;
}

static inline enum vmf_code freed_frame_installed(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_frame *f = wrong_alloc(req, 0);

	(void)ans;
	vmf_frame_put(req->port, f);
	(void)vmf_install_frames(req, req->off, &f, 1, req->prot);
	return VMF_DONE;
}

static inline enum vmf_code frame_of_another(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	ans->frames[0] = vmf_frame_at(w->other, req->off);
	ans->n = 1;
	return VMF_OK;
}

static inline enum vmf_code frame_of_another_page(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = vmf_frame_at(req->object, req->off + 1);
	ans->n = 1;
	return VMF_OK;
}

static inline enum vmf_code pfn_in_a_hole(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = ((struct wrong *)req->object_priv)->hole;
	ans->n = 1;
	return VMF_OK;
}

static inline enum vmf_code pfn_in_a_hole_installed(const struct vmf_req *req, struct vmf_ans *ans)
{
	const vmf_pfn pfn = { ((struct wrong *)req->object_priv)->hole };

	(void)vmf_install_pfns(req, req->off, pfn, 1, ans->attr, req->prot);
	return VMF_DONE;
}

static inline enum vmf_code wrong_order(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	w->stranger = ans->frames[0] = wrong_alloc(req, 3);
	ans->n = 1;
	return VMF_OK;
}

static inline enum vmf_code run_past_the_area(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	(void)wrong_install(req, req->off, FIRST + SHOWN - FAULTS_AT + 1);
	return VMF_DONE;
}

static inline enum vmf_code run_before_the_area(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	(void)wrong_install(req, FIRST - 1, FAULTS_AT - FIRST + 2);
	return VMF_DONE;
}

static inline enum vmf_code run_without_the_page(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->first = req->off + 1;
	ans->n = 1;
	return VMF_OK;
}

static inline enum vmf_code touches_its_own(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	w->inner = mistake_access(w, req->va);
	ans->why = w->inner.why;
	return (enum vmf_code)w->inner.code;
}

static inline enum vmf_code installs_twice(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	(void)ans;
	CHECK_OK(wrong_install(req, req->off, 1));
	w->inner = wrong_install(req, req->off, 1);
	return VMF_DONE;
}

static inline enum vmf_code installs_and_hands_over(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	CHECK_OK(wrong_install(req, req->off, 1));
	return VMF_NEXT;
}

static inline enum vmf_code done_without_a_page(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req, (void)ans;
	return VMF_DONE;
}

static inline enum vmf_code nobody_left(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req, (void)ans;
	return VMF_NEXT;
}

static inline enum vmf_code no_answer(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req, (void)ans;
	return (enum vmf_code)77;
}

static inline enum vmf_code more_than_the_area_allows(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->prot = (uint8_t)(req->prot | VMF_X);
	return wrong_right(req, ans);
}

#define MISTAKE_ALL(code) { code, code, code }
#define IS_DRIVER .code = MISTAKE_ALL(VMF_SIGBUS), .why = MISTAKE_ALL(VMF_WHY_DRIVER)
static const struct mistake mistakes[] = {
	{ "a freed frame", .nopage = freed_frame, IS_DRIVER, .said = "a frame that is free" },
	{ "a freed frame, installed", .fault = freed_frame_installed, IS_DRIVER, .said = "a frame that is free" },
	/* By address any frame may be shown; by copy its bytes are. */
	{ "a frame of another object", .nopage = frame_of_another, .code = { VMF_OK, VMF_SIGBUS, VMF_OK },
	  .why = { 0, VMF_WHY_POLICY, 0 }, .said = "not its page's" },
	{ "a frame of another page", .nopage = frame_of_another_page, .code = { VMF_OK, VMF_SIGBUS, VMF_OK },
	  .why = { 0, VMF_WHY_POLICY, 0 }, .said = "not its page's" },
	{ "a pfn in a hole", .nopfn = pfn_in_a_hole, .code = MISTAKE_ALL(VMF_SIGBUS), .why = MISTAKE_ALL(VMF_WHY_HOLE),
	  .said = "in a hole" },
	{ "a pfn in a hole, installed", .fault = pfn_in_a_hole_installed, .code = MISTAKE_ALL(VMF_SIGBUS),
	  .why = MISTAKE_ALL(VMF_WHY_HOLE), .said = "in a hole" },
	{ "the wrong order", .nopage = wrong_order, IS_DRIVER, .said = "of another order" },
	{ "a run past the area", .fault = run_past_the_area, IS_DRIVER, .said = "area does not have" },
	{ "a run before the area", .fault = run_before_the_area, IS_DRIVER, .said = "area does not have" },
	{ "a run without the page", .nopage = run_without_the_page, IS_DRIVER, .said = "without the page" },
	{ "a handler that touches its own area", .nopage = touches_its_own, .code = MISTAKE_ALL(VMF_SIGBUS),
	  .why = MISTAKE_ALL(VMF_WHY_POLICY), .said = "its own area" },
	{ "installing twice", .fault = installs_twice, IS_DRIVER, .said = "twice", .there = true },
	{ "installing, and handing over", .fault = installs_and_hands_over, .nopage = wrong_right, IS_DRIVER,
	  .said = "the page is installed", .there = true },
	{ "done, and not installed", .fault = done_without_a_page, IS_DRIVER, .said = "was not installed" },
	{ "nobody left to ask", .fault = nobody_left, IS_DRIVER, .said = "no other operation" },
	{ "no answer at all", .nopage = no_answer, IS_DRIVER, .said = "cannot give" },
	{ "more than the area allows", .nopage = more_than_the_area_allows, IS_DRIVER,
	  .said = "more than the area allows" },
};
#define MISTAKES (sizeof(mistakes) / sizeof(mistakes[0]))

/* ------------------------------------------------------------------------------- a driver that makes them */

/* The operation that makes it, once. */
static inline enum vmf_code wrong_once(const struct vmf_req *req, struct vmf_ans *ans, vmf_handler *how)
{
	struct wrong *w = req->object_priv;

	w->asked++;
	return how(req, ans);
}

static inline enum vmf_code wrong_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	if ((w->always || !w->asked) && w->mistake->fault)
		return wrong_once(req, ans, w->mistake->fault);
	if (!w->mistake->fault || w->mistake->nopage)
		return VMF_NEXT;
	CHECK_OK(wrong_install(req, req->off, 1));
	return VMF_DONE;
}

static inline enum vmf_code wrong_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	if ((w->always || !w->asked) && w->mistake->nopage && !w->mistake->fault)
		return wrong_once(req, ans, w->mistake->nopage);
	return wrong_right(req, ans);
}

static inline enum vmf_code wrong_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct wrong *w = req->object_priv;

	if (w->always || !w->asked)
		return wrong_once(req, ans, w->mistake->nopfn);
	ans->why = VMF_WHY_EOF; /* it has no memory */
	return VMF_SIGBUS;
}

/* A driver with the operations that the mistake takes. */
static inline void wrong_open(struct wrong *w, struct vmf_port *port, const struct mistake *m)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	const struct vmf_ops ops = {
		.size = sizeof(ops), .fault = m->fault ? wrong_fault : NULL, .nopage = m->nopage ? wrong_nopage : NULL,
		.nopfn = m->nopfn ? wrong_nopfn : NULL,
	};

	*w = (struct wrong){ .port = port, .mistake = m };
	CHECK_ERR(vmf_object_create(port, &w->object, &ops, w, PAGES), 0);
	CHECK_ERR(vmf_object_create(port, &w->other, &zeroes, NULL, PAGES), 0);
}

static inline void wrong_close(struct wrong *w)
{
	if (w->stranger)
		vmf_frame_put(w->port, w->stranger);
	vmf_object_put(w->other);
	vmf_object_put(w->object);
}

static inline vmf_va wrong_page(const struct wrong *w)
{
	return w->at + (vmf_va)(FAULTS_AT - FIRST) * vmf_page_size(w->port);
}
#endif
