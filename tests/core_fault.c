/* SPDX-License-Identifier: MIT
 *
 * What a driver's table can answer, and what becomes of wrong answers: a result with a reason, never a crash, no frame
 * lost, and the page works as soon as the answer is right.
 */
#include "rig.h"

#define PAGES 16u

struct driver {
	struct rig *r;
	struct vmf_object *object;
	vmf_handler *answer, *install;
	struct vmf_frame *frame[PAGES]; /* its own, when it has some */
	unsigned asked, installs;
	struct vmf_req last;
	uint64_t pfn;
	uint32_t n, first;
	int mode;
	struct vmf_result inner;
};

static enum vmf_code ask(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->asked++;
	d->last = *req;
	return d->answer(req, ans);
}

static enum vmf_code ask_install(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->installs++;
	return d->install(req, ans);
}

static const struct vmf_ops nopage_ops = { .size = sizeof(nopage_ops), .nopage = ask };
static const struct vmf_ops nopfn_ops = { .size = sizeof(nopfn_ops), .nopfn = ask };
static const struct vmf_ops fault_ops = { .size = sizeof(fault_ops), .fault = ask_install };
static const struct vmf_ops both_ops = { .size = sizeof(both_ops), .fault = ask_install, .nopage = ask };
static const struct vmf_ops three_ops = { .size = sizeof(three_ops), .nopage = ask, .nopfn = ask_install };
static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void driver_open(struct driver *d, struct rig *r, const struct vmf_ops *ops, vmf_handler *answer)
{
	*d = (struct driver){ .r = r, .answer = answer, .install = answer, .n = 1 };
	CHECK_ERR(vmf_object_create(r->port, &d->object, ops, d, PAGES), 0);
}

/* Frames that this kind of window can show; each begins with its number + 1. */
static void driver_frames(struct driver *d)
{
	for (unsigned i = 0; i < PAGES; i++) {
		d->frame[i] = vmf_frame_at(d->object, i);
		CHECK(d->frame[i]);
		memset(vmf_frame_bytes(d->r->port, d->frame[i]), (int)i + 1, PAGE);
	}
}

static void driver_close(struct driver *d)
{
	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 4096), 0);
	vmf_object_put(d->object);
	for (unsigned i = 0; i < PAGES; i++)
		if (d->frame[i])
			vmf_frame_put(d->r->port, d->frame[i]);
}

static vmf_va show(struct driver *d)
{
	return rig_show(d->r, d->object, PAGES, VMF_R | VMF_W);
}

/* -------------------------------------------------------------------------------------------- nopage */

static enum vmf_code give_frames(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	ans->first = req->off - d->first;
	for (ans->n = 0; ans->n < d->n; ans->n++) {
		ans->frames[ans->n] = d->frame[ans->first + ans->n];
		vmf_frame_get(ans->frames[ans->n]);
	}
	return VMF_OK;
}

static void nopage_hands_frames_over(void)
{
	static const unsigned order[] = { 3, 0, 15, 7, 1 };
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_frames);
		driver_frames(&d);
		at = show(&d);
		for (unsigned i = 0; i < 5; i++) {
			CHECK_EQ(rig_byte(&r, at + order[i] * PAGE), order[i] + 1);
			CHECK_EQ(rig_byte(&r, at + order[i] * PAGE + PAGE - 1), order[i] + 1);
			CHECK_EQ(d.asked, i + 1);
		}
		CHECK_EQ(rig_stats(&r).entered, 5);
		CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
		CHECK_EQ(d.asked, 5);
		if (r.store != VMF_BY_COPY)
			CHECK_EQ(*(char *)vmf_frame_bytes(r.port, d.frame[0]), 'x');
		driver_close(&d);
	}
}

static void the_request_says_it_all(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;
	int mark;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_frames);
		driver_frames(&d);
		map = rig_map(&r, 8, VMF_R | VMF_W | VMF_X);
		map.off = 5;
		map.node = 3;
		map.priv = &mark;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_OK(vmf_sim_store(r.space, at + 2 * PAGE + 77, "x", 1));
		CHECK(d.last.port == r.port && d.last.object == d.object && d.last.object_priv == &d);
		CHECK(d.last.area_priv == &mark && d.last.fault && d.last.area);
		CHECK_EQ(d.last.va, at + 2 * PAGE);
		CHECK_EQ(d.last.off, 7);
		CHECK_EQ(d.last.node, 3);
		CHECK_EQ(d.last.access, VMF_W);
		CHECK_EQ(d.last.order + d.last.tries, 0);
		CHECK_EQ(d.last.prot, VMF_R | VMF_W | VMF_X);
		CHECK_OK(vmf_sim_fetch(r.space, at, &(char){ 0 }, 1));
		CHECK_EQ(d.last.access, VMF_X);
		CHECK_OK(vmf_sim_load(r.space, at + PAGE, &(char){ 0 }, 1));
		CHECK_EQ(d.last.access, VMF_R);
		driver_close(&d);
	}
}

static void a_run_is_clipped_to_the_area(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_frames);
		driver_frames(&d);
		map = rig_map(&r, 4, VMF_R);
		map.off = 4;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		d.first = 5; /* pages 1 to 11 about page 6; the area has 4 to 7 */
		d.n = 11;
		CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 7);
		CHECK_EQ(d.asked, 1);
		CHECK_EQ(rig_stats(&r).entered, 4);
		for (unsigned i = 0; i < 4; i++)
			CHECK_EQ(rig_byte(&r, at + i * PAGE), i + 5);
		CHECK_EQ(d.asked, 1);
		driver_close(&d);
	}
}

static void nopage_comes_before_nopfn(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &three_ops, give_frames);
		driver_frames(&d);
		at = show(&d);
		CHECK_EQ(rig_byte(&r, at), 1);
		CHECK_EQ(d.installs, 0);
		driver_close(&d);
	}
}

static enum vmf_code refuse(const struct vmf_req *req, struct vmf_ans *ans)
{
	static const struct { enum vmf_code code; uint8_t why; int32_t err; } t[] = {
		{ VMF_SIGBUS, VMF_WHY_IOERR, 5 }, { VMF_SIGBUS, VMF_WHY_POLICY, 0 }, { VMF_SIGSEGV, VMF_WHY_PROT, 0 },
		{ VMF_OOM, VMF_WHY_RESOURCE, 0 }, { VMF_POISON, VMF_WHY_IOERR, 77 },
	};
	struct driver *d = req->object_priv;

	ans->why = t[d->mode].why;
	ans->err = t[d->mode].err;
	return t[d->mode].code;
}

static void a_failing_nopage_does_not_fall_through(void)
{
	static const uint8_t code[] = { VMF_SIGBUS, VMF_SIGBUS, VMF_SIGSEGV, VMF_OOM, VMF_POISON };
	static const uint8_t why[] = { VMF_WHY_IOERR, VMF_WHY_POLICY, VMF_WHY_PROT, VMF_WHY_RESOURCE, VMF_WHY_IOERR };
	static const int err[] = { 5, 0, 0, 0, 77 };
	struct vmf_result result;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &three_ops, refuse);
		driver_frames(&d);
		at = show(&d);
		for (d.mode = 0; d.mode < 5; d.mode++) {
			result = vmf_sim_load(r.space, at, &(char){ 0 }, 1);
			CHECK_RESULT(result, code[d.mode], why[d.mode]);
			CHECK_EQ(result.err, err[d.mode]);
		}
		CHECK_EQ(d.installs, 0);
		CHECK_EQ(rig_stats(&r).failed, 5);
		CHECK(!rig_present(&r, at));
		d.answer = give_frames;
		CHECK_EQ(rig_byte(&r, at), 1);
		driver_close(&d);
	}
}

/* Less than the area allows is the driver's right; an access that it does not allow is refused, and does not go
 * round. */
static enum vmf_code give_readonly(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->prot = VMF_R;
	return give_frames(req, ans);
}

static void a_driver_may_allow_less(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_readonly);
		driver_frames(&d);
		at = show(&d);
		CHECK_EQ(rig_byte(&r, at), 1);
		if (r.store == VMF_BY_COPY) { /* the driver's say is over its own frame */
			CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
			CHECK_OK(vmf_sim_store(r.space, at + PAGE, "x", 1));
		} else {
			CHECK_RESULT(vmf_sim_store(r.space, at, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
			CHECK_RESULT(vmf_sim_store(r.space, at + PAGE, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		}
		d.answer = give_frames;
		CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
		CHECK_EQ(rig_byte(&r, at), 'x');
		driver_close(&d);
	}
}

/* ------------------------------------------------------------------------------------- wrong answers */

enum wrong {
	W_NONE_AT_ALL, W_TOO_MANY, W_BEFORE, W_BEHIND, W_NULL, W_FREED, W_OTHER_PORT, W_BIG, W_MORE_PROT, W_OTHER_ARRAY,
	W_ODD_CODE, W_FALLBACK, W_DONE, W_NEXT, W_WRAP, WRONGS
};

static struct vmf_frame *stranger; /* of another port */

static enum vmf_code wrong_frames(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	struct vmf_frame *f = NULL;

	ans->n = 1;
	switch ((enum wrong)d->mode) {
	case W_NONE_AT_ALL:
		ans->n = 0;
		return VMF_OK;
	case W_TOO_MANY:
		ans->n = ans->max + 1;
		return VMF_OK;
	case W_NULL:
		return VMF_OK;
	case W_FREED:
		CHECK_ERR(vmf_frame_alloc(req->port, 0, 0, false, &f), 0);
		vmf_frame_put(req->port, f);
		ans->frames[0] = f;
		return VMF_OK;
	case W_OTHER_PORT:
		ans->frames[0] = stranger;
		return VMF_OK;
	case W_BIG:
		CHECK_ERR(vmf_frame_alloc(req->port, 3, 0, false, &d->frame[PAGES - 1]), 0);
		ans->frames[0] = d->frame[PAGES - 1];
		return VMF_OK;
	case W_OTHER_ARRAY:
		ans->frames = d->frame;
		return VMF_OK;
	case W_ODD_CODE:
		return (enum vmf_code)77;
	case W_FALLBACK:
		return VMF_FALLBACK;
	case W_DONE:
		return VMF_DONE;
	case W_NEXT:
		return VMF_NEXT;
	default:
		break;
	}
	/* A good frame, put to a wrong use. */
	ans->frames[0] = d->frame[req->off];
	vmf_frame_get(ans->frames[0]);
	if (d->mode == W_BEFORE)
		ans->first = req->off - 1;
	if (d->mode == W_BEHIND)
		ans->first = req->off + 1;
	if (d->mode == W_WRAP)
		ans->first = UINT64_MAX;
	if (d->mode == W_MORE_PROT)
		ans->prot = req->prot | VMF_X;
	return VMF_OK;
}

static void wrong_frames_are_a_result(void)
{
	struct rig r, other;
	struct driver d;
	vmf_va at;

	rig_open(&other, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_frame_alloc(other.port, 0, 0, true, &stranger), 0);
	RIG_EACH(r)
		for (int mode = 0; mode < WRONGS; mode++) {
			driver_open(&d, &r, &nopage_ops, wrong_frames);
			for (unsigned i = 0; i < 4; i++)
				d.frame[i] = vmf_frame_at(d.object, i);
			at = show(&d);
			d.mode = mode;
			CHECK_RESULT(vmf_sim_load(r.space, at + 2 * PAGE, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
			CHECK(!rig_present(&r, at + PAGE) && !rig_present(&r, at + 2 * PAGE) && !rig_present(&r, at + 3 * PAGE));
			d.answer = give_frames;
			CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 0);
			driver_close(&d);
			CHECK_EQ(rig_free_frames(&r), RAM);
		}
	vmf_frame_put(other.port, stranger);
	rig_close(&other);
}

static void foreign_frames_are_refused_by_offset(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_frames);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_ERR(vmf_frame_alloc(r.port, 0, 0, true, &d.frame[i]), 0);
		memset(vmf_frame_bytes(r.port, d.frame[0]), 1, PAGE);
		at = show(&d);
		if (r.store == VMF_BY_OFFSET) {
			CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_POLICY);
			/* The object's own, but of another page. */
			vmf_frame_put(r.port, d.frame[0]);
			d.frame[0] = vmf_frame_at(d.object, 1);
			CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_POLICY);
		} else {
			CHECK_EQ(rig_byte(&r, at), 1);
		}
		driver_close(&d);
	}
}

/* --------------------------------------------------------------------------------------------- nopfn */

static enum vmf_code give_pfns(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	ans->first = req->off - d->first;
	ans->pfn.n = d->pfn + ans->first;
	ans->n = d->n;
	ans->attr = (struct vmf_attr){ .type = (uint8_t)(d->mode & 7), .strengthen = d->mode >> 3 };
	return VMF_OK;
}

static void nopfn_hands_numbers_over(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopfn_ops, give_pfns);
		d.pfn = VMF_SIM_DEVICE + 8;
		d.mode = VMF_UC;
		*(char *)vmf_sim_device(r.sim, 11) = 'd';
		at = show(&d);
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 'd');
		CHECK_OK(vmf_sim_store(r.space, at + 3 * PAGE + 1, "e", 1));
		CHECK_EQ(((char *)vmf_sim_device(r.sim, 11))[1], 'e');
		CHECK_EQ(d.asked, 1);
		d.n = 6;
		d.first = 2;
		CHECK_EQ(rig_byte(&r, at + 8 * PAGE), 0);
		for (unsigned i = 6; i < 12; i++)
			CHECK(rig_present(&r, at + i * PAGE));
		CHECK(!rig_present(&r, at + 5 * PAGE) && !rig_present(&r, at + 12 * PAGE));
		CHECK_EQ(d.asked, 2);
		CHECK_EQ(rig_free_frames(&r), RAM);
		CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
		CHECK(!rig_present(&r, at + 3 * PAGE) && !rig_present(&r, at + 8 * PAGE));
		driver_close(&d);
	}
}

static unsigned attr_type(struct rig *r, vmf_va at)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);
	struct vmf_entry e;

	CHECK_ERR(pmap->ops->query(pmap, at, &e), 0);
	return e.attr.type;
}

static enum vmf_code wrong_pfns(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	ans->pfn.n = VMF_SIM_DEVICE + req->off;
	ans->n = 1;
	ans->attr.type = VMF_UC;
	switch (d->mode) {
	case 0:
		ans->n = 0;
		break;
	case 1:
		ans->first = req->off + 1;
		break;
	case 2:
		ans->first = req->off - 1;
		break;
	case 3:
		ans->n = ans->max + 1;
		break;
	case 4:
		ans->prot = VMF_R | VMF_W | VMF_X;
		break;
	case 5:
		ans->n = UINT32_MAX;
		break;
	case 6:
		ans->pfn.n = UINT64_MAX;
		ans->n = 2;
		break;
	default:
		return VMF_DONE;
	}
	return VMF_OK;
}

static void wrong_pfns_are_a_result(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopfn_ops, wrong_pfns);
		at = show(&d);
		for (d.mode = 0; d.mode < 8; d.mode++) {
			CHECK_RESULT(vmf_sim_load(r.space, at + 2 * PAGE, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
			for (unsigned i = 0; i < PAGES; i++)
				CHECK(!rig_present(&r, at + i * PAGE));
		}
		driver_close(&d);
	}
}

static void the_memory_map_decides(void)
{
	static const struct { uint64_t pfn; uint32_t n; int mode; uint8_t code, why; } t[] = {
		{ VMF_SIM_DEVICE, 1, VMF_UC, VMF_OK, 0 },
		{ VMF_SIM_DEVICE, 1, VMF_DEVICE, VMF_OK, 0 },
		{ VMF_SIM_DEVICE, 1, VMF_WB, VMF_SIGBUS, VMF_WHY_ATTR },
		{ VMF_SIM_DEVICE, 1, VMF_WC, VMF_SIGBUS, VMF_WHY_ATTR },
		{ VMF_SIM_DEVICE, 1, VMF_WB | 8, VMF_OK, 0 },
		{ VMF_SIM_DEVICE, 1, 7, VMF_SIGBUS, VMF_WHY_ATTR },
		{ VMF_SIM_DEVICE + 255, 1, VMF_UC, VMF_OK, 0 },
		{ VMF_SIM_DEVICE + 255, 2, VMF_UC, VMF_SIGBUS, VMF_WHY_HOLE },
		{ VMF_SIM_DEVICE + 256, 1, VMF_UC, VMF_SIGBUS, VMF_WHY_HOLE },
		{ VMF_SIM_RESERVED, 1, VMF_UC, VMF_SIGBUS, VMF_WHY_HOLE },
		{ VMF_SIM_RAM, 1, VMF_UC, VMF_SIGBUS, VMF_WHY_POLICY },
		{ 0, 1, VMF_UC, VMF_SIGBUS, VMF_WHY_HOLE },
		{ UINT64_MAX, 1, VMF_UC, VMF_SIGBUS, VMF_WHY_HOLE },
		{ UINT64_MAX, 2, VMF_UC, VMF_SIGBUS, VMF_WHY_DRIVER },
		{ VMF_SIM_DEVICE, 0, VMF_UC, VMF_SIGBUS, VMF_WHY_DRIVER },
	};
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopfn_ops, give_pfns);
		at = show(&d);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct vmf_result result;

			d.pfn = t[i].pfn;
			d.n = t[i].n;
			d.mode = t[i].mode;
			result = vmf_sim_load(r.space, at, &(char){ 0 }, 1);
			if (result.code != t[i].code || (result.code != VMF_OK && result.why != t[i].why && t[i].pfn != UINT64_MAX))
				vmtest_fail("row %u: %s/%s", i, vmf_code_str(result.code), vmf_why_str(result.why));
			CHECK_EQ(rig_present(&r, at), t[i].code == VMF_OK);
			if (result.code == VMF_OK) /* never weaker than the range demands */
				CHECK_EQ(attr_type(&r, at), t[i].mode & 8 ? VMF_UC : t[i].mode);
			CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
		}
		driver_close(&d);
	}
}

static enum vmf_code give_as_mapped(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = ((struct driver *)req->object_priv)->pfn;
	ans->n = 1;
	return VMF_OK;
}

static void what_cannot_be_encoded_is_refused(void)
{
	static const uint32_t port[] = { 0x80, 0x100 }; /* the simulated MMU has eight such bits */
	struct driver d;
	struct rig r;

	RIG_EACH(r)
		for (unsigned i = 0; i < 2; i++) {
			const struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_DEVICE,
							 .first = { VMF_SIM_DEVICE }, .pages = 1, .attr = { .port = port[i] } };
			struct vmf_map map = rig_map(&r, 1, VMF_R);
			struct vmf_ticket ticket = { 0 };
			struct vmf_trap trap = { .access = VMF_R };

			CHECK_ERR(vmf_phys_remove(r.port, range.first), 0);
			CHECK_ERR(vmf_phys_add(r.port, &range), 0);
			driver_open(&d, &r, &nopfn_ops, give_as_mapped);
			d.pfn = range.first.n;
			map.attr.port = port[i];
			CHECK_ERR(vmf_map(r.space, d.object, &map, &trap.va), 0);
			CHECK_EQ(vmf_handle(r.space, &trap, &ticket).code, i ? VMF_SIGBUS : VMF_OK);
			CHECK_EQ(rig_present(&r, trap.va), !i);
			driver_close(&d);
		}
}

/* ----------------------------------------------------------------------------------- fault and install */

enum how {
	I_ONE, I_RUN, I_PFN, I_NOTHING, I_OUTSIDE, I_ZERO_PAGES, I_MORE_PROT, I_LESS_PROT, I_NEXT, I_REFUSE, I_NULL,
};

static enum vmf_code do_install(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	struct vmf_frame *frames[4] = { 0 };
	vmf_pgoff at = req->off;
	uint32_t n = d->mode == I_RUN ? 4 : 1;
	unsigned prot = req->prot;

	switch ((enum how)d->mode) {
	case I_NOTHING:
		return VMF_DONE;
	case I_NEXT:
		return VMF_NEXT;
	case I_REFUSE:
		ans->why = VMF_WHY_POLICY;
		return VMF_SIGBUS;
	case I_PFN:
		d->inner = vmf_install_pfns(req, at, (vmf_pfn){ VMF_SIM_DEVICE + at }, 1,
			(struct vmf_attr){ .type = VMF_UC }, prot);
		return VMF_DONE;
	case I_ZERO_PAGES:
		d->inner = vmf_install_frames(req, at, frames, 0, prot);
		return VMF_DONE;
	case I_NULL:
		d->inner = vmf_install_frames(req, at, frames, 1, prot);
		return VMF_DONE;
	case I_OUTSIDE:
		at = 12;
		break;
	case I_MORE_PROT:
		prot |= VMF_X;
		break;
	case I_LESS_PROT:
		prot = VMF_R;
		break;
	default:
		break;
	}
	for (uint32_t i = 0; i < n; i++) {
		frames[i] = d->frame[at + i];
		vmf_frame_get(frames[i]);
	}
	d->inner = vmf_install_frames(req, at, frames, n, prot);
	return VMF_DONE;
}

static void a_driver_installs_itself(void)
{
	static const struct { enum how how; uint8_t code, why; unsigned pages, given; } t[] = {
		{ I_ONE, VMF_OK, 0, 1, 1 }, { I_RUN, VMF_OK, 0, 4, 4 }, { I_PFN, VMF_OK, 0, 1, 1 },
		{ I_NOTHING, VMF_SIGBUS, VMF_WHY_DRIVER, 0, 0 }, { I_OUTSIDE, VMF_SIGBUS, VMF_WHY_DRIVER, 0, 0 },
		{ I_ZERO_PAGES, VMF_SIGBUS, VMF_WHY_DRIVER, 0, 0 }, { I_MORE_PROT, VMF_SIGBUS, VMF_WHY_DRIVER, 0, 0 },
		{ I_NULL, VMF_SIGBUS, VMF_WHY_DRIVER, 0, 0 }, { I_LESS_PROT, VMF_SIGBUS, VMF_WHY_DRIVER, 0, 1 },
		{ I_REFUSE, VMF_SIGBUS, VMF_WHY_POLICY, 0, 0 },
	};
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			driver_open(&d, &r, &fault_ops, do_install);
			driver_frames(&d);
			d.mode = (int)t[i].how;
			map = rig_map(&r, 8, VMF_R | VMF_W);
			CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
			/* What a driver allows less it allows of its own frame, not of bytes that it gives away. */
			if (t[i].how == I_LESS_PROT && r.store == VMF_BY_COPY)
				CHECK_OK(vmf_sim_store(r.space, at + 2 * PAGE, "x", 1));
			else
				CHECK_RESULT(vmf_sim_store(r.space, at + 2 * PAGE, "x", 1), t[i].code, t[i].why);
			for (unsigned p = 0; p < 8; p++)
				CHECK_EQ(rig_present(&r, at + p * PAGE),
					 p >= 2 && p < 2 + (r.store == VMF_BY_COPY ? t[i].given : t[i].pages));
			CHECK_EQ(d.inner.code == VMF_OK || t[i].how >= I_NOTHING, true);
			driver_close(&d);
			CHECK_EQ(rig_free_frames(&r), RAM);
		}
}

static void fault_may_leave_it_to_nopage(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &both_ops, give_frames);
		driver_frames(&d);
		d.install = do_install;
		d.mode = I_NEXT;
		at = show(&d);
		CHECK_EQ(rig_byte(&r, at + PAGE), 2);
		CHECK_EQ(d.asked, 1);
		CHECK_EQ(d.installs, 1);
		d.mode = I_ONE;
		CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 3);
		CHECK_EQ(d.asked, 1);
		driver_close(&d);
	}
}

/* ----------------------------------------------------------------------------------------- zero-fill */

static void no_driver_means_zeroes(void)
{
	static const uint8_t zero[PAGE];
	uint8_t page[PAGE];
	struct driver d;
	struct rig r;
	vmf_va at, too;

	RIG_EACH(r) {
		rig_soil(&r);
		driver_open(&d, &r, &zero_ops, NULL);
		at = show(&d);
		too = show(&d);
		CHECK_OK(vmf_sim_load(r.space, at, page, PAGE));
		CHECK(!memcmp(page, zero, PAGE));
		CHECK_EQ(rig_stats(&r).zeroed, 1);
		CHECK_OK(vmf_sim_store(r.space, at + 2 * PAGE - 1, "ab", 2));
		CHECK_EQ(rig_byte(&r, at + 2 * PAGE - 1), 'a');
		CHECK_EQ(rig_byte(&r, at + 2 * PAGE), 'b');
		CHECK_EQ(rig_byte(&r, too + 2 * PAGE), r.store == VMF_BY_COPY ? 0 : 'b');
		/* The pmap is a cache, where the bytes are not its own. */
		vmf_sim_forget(r.space, at, PAGES);
		CHECK_EQ(rig_byte(&r, at + 2 * PAGE), r.store == VMF_BY_COPY ? 0 : 'b');
		driver_close(&d);
	}
}

static void past_the_end_is_an_error(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &zero_ops, NULL);
		map = rig_map(&r, 8, VMF_R | VMF_W);
		map.off = PAGES - 4;
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 0);
		CHECK_RESULT(vmf_sim_load(r.space, at + 4 * PAGE, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_EOF);
		CHECK_RESULT(vmf_sim_store(r.space, at + 7 * PAGE, "x", 1), VMF_SIGBUS, VMF_WHY_EOF);
		CHECK(!rig_present(&r, at + 4 * PAGE));
		driver_close(&d);
	}
}

static void no_area_no_access(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &zero_ops, NULL);
		CHECK_RESULT(vmf_sim_load(r.space, VMF_SIM_LOWEST, &(char){ 0 }, 1), VMF_SIGSEGV, VMF_WHY_NONE);
		CHECK_RESULT(vmf_sim_load(r.space, 0, &(char){ 0 }, 1), VMF_SIGSEGV, VMF_WHY_NONE);
		CHECK_RESULT(vmf_sim_load(r.space, (vmf_va)0 - 1, &(char){ 0 }, 1), VMF_SIGSEGV, VMF_WHY_NONE);
		at = rig_show(&r, d.object, 2, VMF_R);
		CHECK_RESULT(vmf_sim_store(r.space, at, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_RESULT(vmf_sim_fetch(r.space, at, &(char){ 0 }, 1), VMF_SIGSEGV, VMF_WHY_PROT);
		/* An access that begins well stops at the end. */
		CHECK_RESULT(vmf_sim_load(r.space, at + 2 * PAGE - 1, (char[2]){ 0 }, 2), VMF_SIGSEGV, VMF_WHY_NONE);
		CHECK_EQ(rig_stats(&r).failed, 6);
		driver_close(&d);
	}
}

/* -------------------------------------------------------------------------------------- nested faults */

static vmf_va own, other_area;

static enum vmf_code touch_own(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->inner = vmf_sim_load(d->r->space, d->mode ? other_area : own + PAGE, &(char){ 0 }, 1);
	return give_frames(req, ans);
}

static void a_handler_must_not_touch_its_own_area(void)
{
	struct driver d, zero;
	struct rig r;

	RIG_EACH(r) {
		driver_open(&zero, &r, &zero_ops, NULL);
		other_area = show(&zero);
		driver_open(&d, &r, &nopage_ops, touch_own);
		driver_frames(&d);
		own = show(&d);
		CHECK_EQ(rig_byte(&r, own), 1);
		CHECK_RESULT(d.inner, VMF_SIGBUS, VMF_WHY_POLICY);
		CHECK_EQ(d.asked, 1);
		/* Another area is fine. */
		d.mode = 1;
		CHECK_EQ(rig_byte(&r, own + 2 * PAGE), 3);
		CHECK_OK(d.inner);
		CHECK(rig_present(&r, other_area));
		driver_close(&d);
		vmf_object_put(zero.object);
	}
}

/* ------------------------------------------------------------------------------------- the fault path */

/* Whatever it needs it takes from reserves, which are filled up in between. */
static void handling_never_allocates(void)
{
	struct vmf_object *object;
	struct vmf_map map;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		CHECK_ERR(vmf_object_create(r.port, &object, &zero_ops, NULL, 1ull << 26), 0);
		map = rig_map(&r, 1ull << 26, VMF_R | VMF_W);
		if (r.store == VMF_BY_ADDRESS)
			map.pages = 1ull << 24; /* removing is work for each page */
		CHECK_ERR(vmf_map(r.space, object, &map, &at), 0);
		for (uint64_t i = 0; i < 900; i++) {
			struct vmf_trap trap = { .va = at + i * 17891 % map.pages * PAGE, .access = VMF_W };
			struct vmf_ticket ticket = { 0 };
			struct vmf_result result;

			for (;;) {
				uint64_t calls = vmf_sim_calls(r.sim, VMF_SIM_ALLOC);

				result = vmf_handle(r.space, &trap, &ticket);
				CHECK_EQ(vmf_sim_calls(r.sim, VMF_SIM_ALLOC), calls);
				if (result.code != VMF_RETRY)
					break;
				CHECK_ERR(vmf_ticket_wait(r.space, &ticket, false), 0);
			}
			CHECK_OK(result);
		}
		CHECK_EQ(rig_stats(&r).faults, 900);
		CHECK_ERR(vmf_unmap(r.space, at, map.pages), 0);
		vmf_object_put(object);
	}
}

/* The frames of all RAM are shown: the next fault fails with a reason, and works when there is room again. */
static void without_memory_there_is_a_reason(void)
{
	struct vmf_object *object;
	struct vmf_result result;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_object_create(r.port, &object, &zero_ops, NULL, RAM + 8), 0);
	at = rig_show(&r, object, RAM + 8, VMF_R | VMF_W);
	for (unsigned i = 0; i < RAM; i++)
		CHECK_OK(vmf_sim_store(r.space, at + i * PAGE, "x", 1));
	result = vmf_sim_store(r.space, at + RAM * PAGE, "x", 1);
	CHECK_RESULT(result, VMF_OOM, VMF_WHY_RESOURCE);
	CHECK(rig_stats(&r).retries[VMF_WHY_RESOURCE] > 0);
	CHECK_EQ(rig_byte(&r, at + (RAM - 1) * PAGE), 'x');
	CHECK_ERR(vmf_unmap(r.space, at, RAM + 8), 0);
	vmf_object_put(object);
	rig_close(&r);
}

static void a_fault_on_what_is_there_is_spurious(void)
{
	struct vmf_ticket ticket = { 0 };
	struct vmf_result result;
	struct driver d;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_trap trap = { .access = VMF_R };

		driver_open(&d, &r, &nopage_ops, give_frames);
		driver_frames(&d);
		trap.va = show(&d) + PAGE;
		result = vmf_handle(r.space, &trap, &ticket);
		CHECK_OK(result);
		CHECK_EQ(result.flags, 0);
		result = vmf_handle(r.space, &trap, &ticket);
		CHECK_OK(result);
		CHECK_EQ(result.flags, VMF_SPURIOUS);
		CHECK_EQ(rig_stats(&r).faults, 2);
		CHECK_EQ(rig_stats(&r).spurious, 1);
		CHECK_EQ(rig_stats(&r).entered, 1);
		driver_close(&d);
		CHECK_EQ(rig_free_frames(&r), RAM);
	}
}

static void before_an_entry(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	struct rig *r = self;

	(void)space;
	(void)at;
	(void)pages;
	CHECK_EQ(vmf_sim_calls(r->sim, VMF_SIM_ICACHE), vmf_sim_calls(r->sim, VMF_SIM_ENTER));
}

static void instructions_are_made_fetchable_first(void)
{
	struct vmf_map map;
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_frames);
		driver_frames(&d);
		map = rig_map(&r, PAGES, VMF_R | VMF_X);
		CHECK_ERR(vmf_map(r.space, d.object, &map, &at), 0);
		vmf_sim_on(r.sim, VMF_SIM_ENTER, before_an_entry, &r);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_OK(vmf_sim_fetch(r.space, at + i * PAGE, &(char){ 0 }, 1));
		CHECK_EQ(vmf_sim_calls(r.sim, VMF_SIM_ICACHE), PAGES);
		vmf_sim_on(r.sim, VMF_SIM_ENTER, NULL, NULL);
		driver_close(&d);
	}
}

static const struct { int err; uint8_t code, why; bool once; } enter_errors[] = {
	{ VMF_EAGAIN, VMF_SIGBUS, VMF_WHY_LAYOUT, true }, { VMF_ENOMEM, VMF_OOM, VMF_WHY_RESOURCE, true },
	{ VMF_EGONE, VMF_SIGSEGV, VMF_WHY_LAYOUT, false }, { VMF_ENOSYS, VMF_SIGBUS, VMF_WHY_ATTR, false },
	{ VMF_EPERM, VMF_SIGBUS, VMF_WHY_POLICY, false },
	{ VMF_ENOSPC, VMF_SIGBUS, VMF_WHY_BOLTS, false }, { VMF_EEXIST, VMF_SIGBUS, VMF_WHY_RACE, true },
};

/* once: a passing failure is retried unseen. */
static void each_failure_of_entering_has_its_result(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_frames);
		driver_frames(&d);
		at = show(&d);
		for (unsigned i = 0; i < sizeof(enter_errors) / sizeof(enter_errors[0]); i++) {
			vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, enter_errors[i].err);
			if (enter_errors[i].once) {
				CHECK_EQ(rig_byte(&r, at + i * PAGE), i + 1);
				CHECK(rig_stats(&r).retries[enter_errors[i].why]);
			} else {
				CHECK_RESULT(vmf_sim_load(r.space, at + i * PAGE, &(char){ 0 }, 1), enter_errors[i].code,
					enter_errors[i].why);
				CHECK_EQ(rig_byte(&r, at + i * PAGE), i + 1);
			}
		}
		driver_close(&d);
	}
}

static void fail_again(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	const int *err = self;

	(void)at;
	(void)pages;
	vmf_sim_fail(vmf_port_self(vmf_space_port(space)), VMF_SIM_ENTER, 1, *err);
}

static void lasting_failures_end(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		driver_open(&d, &r, &nopage_ops, give_frames);
		driver_frames(&d);
		at = show(&d);
		for (unsigned i = 0; i < sizeof(enter_errors) / sizeof(enter_errors[0]); i++) {
			vmf_sim_on(r.sim, VMF_SIM_ENTER, fail_again, (void *)&enter_errors[i].err);
			CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), enter_errors[i].code, enter_errors[i].why);
			vmf_sim_on(r.sim, VMF_SIM_ENTER, NULL, NULL);
			vmf_sim_fail(r.sim, VMF_SIM_ENTER, 0, 0);
			CHECK(!rig_present(&r, at));
		}
		CHECK_EQ(rig_byte(&r, at), 1);
		driver_close(&d);
	}
}

static const struct vmtest tests[] = {
	VMTEST(nopage_hands_frames_over),
	VMTEST(the_request_says_it_all),
	VMTEST(a_run_is_clipped_to_the_area),
	VMTEST(nopage_comes_before_nopfn),
	VMTEST(a_failing_nopage_does_not_fall_through),
	VMTEST(a_driver_may_allow_less),
	VMTEST(wrong_frames_are_a_result),
	VMTEST(foreign_frames_are_refused_by_offset),
	VMTEST(nopfn_hands_numbers_over),
	VMTEST(wrong_pfns_are_a_result),
	VMTEST(the_memory_map_decides),
	VMTEST(what_cannot_be_encoded_is_refused),
	VMTEST(a_driver_installs_itself),
	VMTEST(fault_may_leave_it_to_nopage),
	VMTEST(no_driver_means_zeroes),
	VMTEST(past_the_end_is_an_error),
	VMTEST(no_area_no_access),
	VMTEST(a_handler_must_not_touch_its_own_area),
	VMTEST(handling_never_allocates),
	VMTEST(without_memory_there_is_a_reason),
	VMTEST(a_fault_on_what_is_there_is_spurious),
	VMTEST(instructions_are_made_fetchable_first),
	VMTEST(each_failure_of_entering_has_its_result),
	VMTEST(lasting_failures_end),
};
VMTEST_MAIN(tests, 20)
