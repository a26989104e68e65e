/* SPDX-License-Identifier: MIT
 *
 * Device pages that are adopted, so that they are counted as frames are; who may show device memory (a policy); and
 * device memory that breaks.
 */
#include <pthread.h>
#include "views.h"

#define FIRST (VMF_SIM_DEVICE + 40)
#define N 20u

/* ----------------------------------------------------------------------------------- a driver of frames */

struct store {
	struct rig *r;
	struct vmf_object *object;
	uint64_t first; /* page i is the adopted page first + i */
	bool installs, gone; /* gone: the frame it hands over has been let go of before */
};

static enum vmf_code store_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct store *s = req->object_priv;
	struct vmf_frame *frame = vmf_phys_frame(req->port, (vmf_pfn){ s->first + req->off });

	if (!frame)
		return VMF_OOM;
	if (s->gone)
		vmf_frame_put(req->port, frame);
	if (s->installs) {
		struct vmf_result result = vmf_install_frames(req, req->off, &frame, 1, req->prot);

		return result.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
	}
	ans->frames[0] = frame;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops nopage_ops = { .size = sizeof(nopage_ops), .nopage = store_nopage };
static const struct vmf_ops fault_ops = { .size = sizeof(fault_ops), .fault = store_nopage };

static void store_open(struct store *s, struct rig *r, bool installs)
{
	*s = (struct store){ .r = r, .first = FIRST, .installs = installs };
	CHECK_ERR(vmf_object_create(r->port, &s->object, installs ? &fault_ops : &nopage_ops, s, N), 0);
	for (unsigned i = 0; i < 256; i++)
		*(uint8_t *)vmf_sim_device(r->sim, i) = (uint8_t)(i + 1);
}

/* The device's attributes will do. */
static vmf_va store_map(struct store *s, unsigned prot, bool own)
{
	struct vmf_map map = rig_map(s->r, N, prot);
	vmf_va va = 0;

	map.flags = own ? VMF_MIXED : map.flags | VMF_MIXED;
	map.attr.strengthen = 1;
	CHECK_ERR(vmf_map(s->r->space, s->object, &map, &va), 0);
	return va;
}

static int adopt(struct rig *r, uint64_t first, uint64_t pages)
{
	return vmf_phys_adopt(r->port, (vmf_pfn){ first }, pages);
}

static int disown(struct rig *r, uint64_t first) { return vmf_phys_disown(r->port, (vmf_pfn){ first }); }

/* ------------------------------------------------------------------------------------------- adoptions */

static void what_can_be_adopted(void)
{
	static const struct { uint64_t first, pages; int err; } t[] = {
		{ FIRST, N, -VMF_EEXIST }, { FIRST + N - 1, 1, -VMF_EEXIST }, { FIRST - 1, 2, -VMF_EEXIST },
		{ FIRST - 1, N + 2, -VMF_EEXIST }, { FIRST, 0, -VMF_EINVAL }, { VMF_SIM_DEVICE + 255, 2, -VMF_EINVAL },
		{ VMF_SIM_DEVICE - 1, 1, -VMF_EINVAL }, { VMF_SIM_DEVICE, 257, -VMF_EINVAL }, { VMF_SIM_RAM, 1, -VMF_EINVAL },
		{ VMF_SIM_RESERVED, 1, -VMF_EINVAL }, { UINT64_MAX, 1, -VMF_EINVAL }, { FIRST, UINT64_MAX, -VMF_EINVAL },
		{ FIRST - 5, 5, 0 }, { FIRST + N, 5, 0 },
	};
	struct rig r;

	RIG_EACH(r) {
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
			CHECK_ERR(adopt(&r, t[i].first, t[i].pages), t[i].err);
		CHECK_ERR(disown(&r, FIRST + 1), -VMF_EINVAL);
		CHECK_ERR(disown(&r, FIRST - 6), -VMF_EINVAL);
		CHECK(!vmf_phys_frame(r.port, (vmf_pfn){ FIRST - 6 }) && !vmf_phys_frame(r.port, (vmf_pfn){ VMF_SIM_RAM }));
		CHECK(!vmf_phys_frame(r.port, (vmf_pfn){ 0 }) && !vmf_phys_frame(NULL, (vmf_pfn){ FIRST }));
		CHECK_ERR(vmf_phys_adopt(NULL, (vmf_pfn){ FIRST }, 1), -VMF_EINVAL);
		CHECK_ERR(vmf_phys_disown(NULL, (vmf_pfn){ FIRST }), -VMF_EINVAL);
		CHECK_ERR(disown(&r, FIRST), 0);
		CHECK_ERR(disown(&r, FIRST), -VMF_EINVAL);
		CHECK(!vmf_phys_frame(r.port, (vmf_pfn){ FIRST }));
		CHECK_ERR(adopt(&r, FIRST + 3, 1), 0); /* what is left stays when the port goes */
	}
}

static void references_keep_it_adopted(void)
{
	struct vmf_frame *f;
	struct rig r;

	RIG_EACH(r) {
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		f = vmf_phys_frame(r.port, (vmf_pfn){ FIRST + 17 });
		CHECK(f && vmf_frame_pfn(f).n == FIRST + 17 && !vmf_frame_order(f));
		CHECK(f == vmf_phys_frame(r.port, (vmf_pfn){ FIRST + 17 }));
		CHECK_ERR(disown(&r, FIRST), -VMF_EBUSY);
		CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ VMF_SIM_DEVICE }), -VMF_EBUSY);
		vmf_frame_put(r.port, f);
		CHECK_ERR(disown(&r, FIRST), -VMF_EBUSY);
		vmf_frame_put(r.port, f);
		CHECK_ERR(disown(&r, FIRST), 0);
		CHECK_ERR(vmf_phys_remove(r.port, (vmf_pfn){ VMF_SIM_DEVICE }), 0);
	}
}

static void without_memory_nothing_is_adopted(void)
{
	struct rig r;
	uint64_t live;
	uint32_t n = 1;

	rig_open(&r, VMF_BY_ADDRESS);
	for (int err = -1; err; n++) {
		vmf_sim_fail(r.sim, VMF_SIM_ALLOC, n, VMF_ENOMEM);
		err = adopt(&r, FIRST, 200);
		vmf_sim_fail(r.sim, VMF_SIM_ALLOC, 0, 0);
		CHECK(!err || err == -VMF_ENOMEM);
		CHECK(!err == (disown(&r, FIRST) == 0));
	}
	CHECK(n > 4);
	live = vmf_sim_live(r.sim);
	for (unsigned i = 0; i < 100; i++) { /* descriptors are made once */
		CHECK_ERR(adopt(&r, FIRST + i % 7, 100 + i % 90), 0);
		CHECK_ERR(disown(&r, FIRST + i % 7), 0);
	}
	CHECK_EQ(vmf_sim_live(r.sim), live);
	rig_close(&r);
}

/* ---------------------------------------------------------------------------------- shown as frames are */

static void frames_of_a_device(void)
{
	struct store s;
	struct rig r;
	vmf_va va;

	for (unsigned installs = 0; installs < 2; installs++)
		RIG_EACH(r) {
			CHECK_ERR(adopt(&r, FIRST, N), 0);
			store_open(&s, &r, installs);
			va = store_map(&s, VMF_R | VMF_W, false);
			for (unsigned i = 0; i < N; i++)
				CHECK_EQ(rig_byte(&r, va + i * PAGE), (uint8_t)(40 + i + 1));
			CHECK_EQ(shown_as(r.space, va + 3 * PAGE), VMF_UC);
			CHECK_OK(vmf_sim_store(r.space, va + 3 * PAGE, "x", 1));
			CHECK_EQ(*(char *)vmf_sim_device(r.sim, 43), 'x');
			CHECK_ERR(disown(&r, FIRST), -VMF_EBUSY);
			vmf_sim_forget(r.space, va, N); /* an entry that is gone may come back */
			CHECK_EQ(rig_byte(&r, va + 3 * PAGE), 'x');
			CHECK_ERR(disown(&r, FIRST), -VMF_EBUSY);
			CHECK_ERR(vmf_revoke(s.object, 0, N - 1), 0);
			CHECK(!rig_present(&r, va + 3 * PAGE));
			CHECK_ERR(disown(&r, FIRST), -VMF_EBUSY); /* the last page */
			CHECK_ERR(vmf_revoke(s.object, N - 1, 1), 0);
			CHECK_ERR(disown(&r, FIRST), 0);
			CHECK_RESULT(touch(r.space, va), VMF_OOM, VMF_WHY_DRIVER);
			CHECK_ERR(adopt(&r, FIRST, N), 0);
			CHECK_EQ(rig_byte(&r, va), 41);
			CHECK_ERR(vmf_unmap(r.space, va, N), 0);
			CHECK_ERR(disown(&r, FIRST), 0);
			vmf_object_put(s.object);
		}
}

static void with_the_attributes_of_the_range(void)
{
	static const struct { struct vmf_attr attr; int gets; } t[] = {
		{ { .type = VMF_WB }, -1 }, { { .type = VMF_WB, .strengthen = 1 }, VMF_UC }, { { .type = VMF_UC }, VMF_UC },
		{ { .type = VMF_DEVICE }, -1 }, { { .type = VMF_DEVICE, .strengthen = 1 }, -1 },
		{ { .type = VMF_UC, .port = 1, .strengthen = 1 }, -1 },
	};
	struct store s;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct vmf_map map = rig_map(&r, N, VMF_R);

			store_open(&s, &r, false);
			map.attr = t[i].attr;
			CHECK_ERR(vmf_map(r.space, s.object, &map, &va), 0);
			if (t[i].gets < 0)
				CHECK_RESULT(touch(r.space, va), VMF_SIGBUS, VMF_WHY_ATTR);
			else
				CHECK_OK(touch(r.space, va));
			CHECK_EQ(shown_as(r.space, va), t[i].gets);
			CHECK_ERR(vmf_unmap(r.space, va, N), 0);
			vmf_object_put(s.object);
		}
		CHECK_ERR(disown(&r, FIRST), 0);
	}
}

static void raw_or_adopted_and_not_both(void)
{
	struct view v;
	struct store s;
	struct vmf_map map;
	struct rig r;
	vmf_va raw, va;

	RIG_EACH(r) {
		view_open(&v, &r, VMF_SIM_DEVICE + 32, VMF_UC);
		raw = view_map(&v, r.space);
		CHECK_OK(touch(r.space, raw + 9 * PAGE)); /* 41 */
		CHECK_ERR(adopt(&r, FIRST, N), -VMF_EBUSY);
		CHECK_ERR(adopt(&r, FIRST + 2, N), 0);
		CHECK_ERR(disown(&r, FIRST + 2), 0);
		CHECK_ERR(vmf_revoke(v.object, 9, 1), 0);
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		CHECK_RESULT(touch(r.space, raw + 9 * PAGE), VMF_SIGBUS, VMF_WHY_POLICY);
		v.n = 9;
		CHECK_OK(touch(r.space, raw + 7 * PAGE)); /* 39, but not those after it */
		CHECK(!rig_present(&r, raw + 8 * PAGE));
		map = rig_map(&r, 4, VMF_R);
		map.action = VMF_RAW;
		map.raw.n = FIRST - 1;
		map.attr.type = VMF_UC;
		CHECK_ERR(vmf_map(r.space, v.object, &map, &va), -VMF_EPERM);
		map.raw.n = FIRST - 4;
		CHECK_ERR(vmf_map(r.space, v.object, &map, &va), 0);
		CHECK_ERR(adopt(&r, FIRST - 1, 1), -VMF_EBUSY);
		store_open(&s, &r, false);
		va = store_map(&s, VMF_R, false);
		CHECK_EQ(rig_byte(&r, va + PAGE), 42);
		view_close(&v);
		vmf_object_put(s.object);
		CHECK_ERR(disown(&r, FIRST), 0);
	}
}

/* Device memory is not copied. */
static void private_areas_read_it(void)
{
	struct store s;
	struct rig r;
	vmf_va va;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(adopt(&r, FIRST, N), 0);
	store_open(&s, &r, false);
	va = store_map(&s, VMF_R | VMF_W, true);
	CHECK_EQ(rig_byte(&r, va), 41);
	CHECK_RESULT(vmf_sim_store(r.space, va, "x", 1), VMF_SIGBUS, VMF_WHY_POLICY);
	CHECK_EQ(rig_byte(&r, va), 41);
	CHECK_ERR(vmf_unmap(r.space, va, N), 0);
	vmf_object_put(s.object);
	CHECK_ERR(disown(&r, FIRST), 0);
	rig_close(&r);
}

static void one_that_was_let_go_of_is_refused(void)
{
	struct store s;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		store_open(&s, &r, false);
		s.gone = true;
		va = store_map(&s, VMF_R, false);
		CHECK_RESULT(touch(r.space, va), VMF_SIGBUS, VMF_WHY_DRIVER);
		CHECK_ERR(disown(&r, FIRST), 0);
		CHECK_ERR(vmf_unmap(r.space, va, N), 0);
		vmf_object_put(s.object);
	}
}

/* A debugger that looks keeps no reference, and an entry that could not be made keeps none, whatever the order. */
static void nobody_shows_it(void)
{
	struct store s;
	struct rig r;
	uint8_t byte;
	vmf_va va;

	for (unsigned order = 0; order <= 3; order += 3) {
		struct vmf_map map;

		rig_open(&r, VMF_BY_ADDRESS);
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		store_open(&s, &r, false);
		map = rig_map(&r, N - 1, VMF_R); /* the last one is in no block */
		map.order = (uint8_t)order;
		map.attr.strengthen = 1;
		CHECK_ERR(vmf_map(r.space, s.object, &map, &va), 0);
		CHECK_EQ(vmf_peek(r.space, va + 18 * PAGE, &byte, 1), 1);
		CHECK_EQ(byte, FIRST - VMF_SIM_DEVICE + 18 + 1);
		CHECK_ERR(disown(&r, FIRST), 0);
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, -VMF_EPERM);
		CHECK_RESULT(touch(r.space, va + 18 * PAGE), VMF_SIGBUS, VMF_WHY_POLICY);
		CHECK_ERR(disown(&r, FIRST), 0);
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		CHECK_OK(touch(r.space, va + 18 * PAGE));
		CHECK_ERR(disown(&r, FIRST), -VMF_EBUSY);
		CHECK_ERR(vmf_unmap(r.space, va, N - 1), 0);
		CHECK_ERR(disown(&r, FIRST), 0);
		vmf_object_put(s.object);
		rig_close(&r);
	}
}

static void fails_for_good(void *sim, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)space, (void)at, (void)pages;
	vmf_sim_fail(sim, VMF_SIM_ENTER, 1, -VMF_EPERM);
}

/* So with what was tried twice, and refused then. */
static void refused_after_a_retry(void)
{
	struct view v;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		view_open(&v, &r, VMF_SIM_DEVICE, VMF_UC);
		va = view_map(&v, r.space);
		vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, -VMF_ENOMEM);
		vmf_sim_on(r.sim, VMF_SIM_SUPPLY, fails_for_good, r.sim);
		CHECK_RESULT(touch(r.space, va), VMF_SIGBUS, VMF_WHY_POLICY);
		vmf_sim_on(r.sim, VMF_SIM_SUPPLY, NULL, NULL);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RESOURCE], 1);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
		view_close(&v);
	}
}

/* A frame is adopted, handed over and disowned by many at once, and is never lost. */
static struct rig *crowded;

static void *adopts(void *self)
{
	uint64_t seed = (uintptr_t)self;

	for (unsigned i = 0; i < 3000; i++) {
		uint64_t first = FIRST + vmtest_random(&seed) % N;
		struct vmf_frame *f;
		int err = adopt(crowded, first, 1 + vmtest_random(&seed) % 4);

		CHECK(!err || err == -VMF_EEXIST);
		f = vmf_phys_frame(crowded->port, (vmf_pfn){ first });
		if (f) {
			CHECK_EQ(vmf_frame_pfn(f).n, first);
			err = disown(crowded, first);
			CHECK(err == -VMF_EBUSY || err == -VMF_EINVAL);
			vmf_frame_put(crowded->port, f);
		}
		err = disown(crowded, first);
		CHECK(!err || err == -VMF_EINVAL || err == -VMF_EBUSY);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t t[4];
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	crowded = &r;
	for (unsigned i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, adopts, (void *)(uintptr_t)(i + 1)));
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (uint64_t first = FIRST; first < FIRST + N; first++)
		CHECK(disown(&r, first) != -VMF_EBUSY);
	CHECK_ERR(adopt(&r, VMF_SIM_DEVICE, 256), 0);
	rig_close(&r);
}

/* ------------------------------------------------------------------------------------------- a policy */

static struct rule {
	struct vmf_space *space; /* the last one asked about */
	struct vmf_range range;
	uint64_t first, pages;
	unsigned prot, asked;
	uint64_t no; /* this pfn not */
	enum vmf_why why;
} rule;

static enum vmf_why asks(void *self, struct vmf_space *space, const struct vmf_range *range, vmf_pfn first,
			 uint64_t pages, unsigned prot)
{
	CHECK(self == &rule);
	rule.space = space;
	rule.range = *range;
	rule.first = first.n;
	rule.pages = pages;
	rule.prot = prot;
	rule.asked++;
	return rule.no - first.n < pages ? rule.why : VMF_WHY_NONE;
}

static void a_policy_decides(void)
{
	struct vmf_map map;
	struct view v;
	struct rig r;
	vmf_va va, at;

	RIG_EACH(r) {
		rule = (struct rule){ .no = VMF_SIM_DEVICE + 9, .why = VMF_WHY_POLICY };
		vmf_phys_policy(r.port, asks, &rule);
		view_open(&v, &r, VMF_SIM_DEVICE, VMF_UC);
		va = view_map(&v, r.space);
		CHECK_OK(touch(r.space, va + 8 * PAGE));
		CHECK(rule.asked == 1 && rule.space == r.space && rule.first == VMF_SIM_DEVICE + 8 && rule.pages == 1);
		CHECK(rule.prot == VMF_R && rule.range.kind == VMF_PHYS_DEVICE && rule.range.first.n == VMF_SIM_DEVICE);
		CHECK(rule.range.pages == 256 && rule.range.attr.type == VMF_UC && rule.range.size == sizeof(rule.range));
		CHECK_RESULT(touch(r.space, va + 9 * PAGE), VMF_SIGBUS, VMF_WHY_POLICY);
		v.n = 4;
		CHECK_OK(touch(r.space, va + 7 * PAGE)); /* without the others of the run */
		CHECK(!rig_present(&r, va + 10 * PAGE));
		map = rig_map(&r, 4, VMF_R);
		map.action = VMF_RAW;
		map.attr.type = VMF_UC;
		map.raw.n = VMF_SIM_DEVICE + 6;
		CHECK_ERR(vmf_map(r.space, v.object, &map, &at), -VMF_EPERM);
		map.raw.n = VMF_SIM_DEVICE + 10;
		CHECK_ERR(vmf_map(r.space, v.object, &map, &at), 0);
		CHECK(rule.pages == 4 && rule.first == VMF_SIM_DEVICE + 10);
		rule.why = VMF_WHY_HOLE;
		CHECK_RESULT(touch(r.space, va + 9 * PAGE), VMF_SIGBUS, VMF_WHY_HOLE);
		vmf_phys_policy(r.port, NULL, NULL);
		rule.asked = 0;
		CHECK_OK(touch(r.space, va + 9 * PAGE));
		CHECK_EQ(rule.asked, 0);
		vmf_phys_policy(NULL, asks, &rule);
		view_close(&v);
	}
}

/* A ROM that lies in a reserved range is shown if somebody says so, and holes and RAM never are. */
static void reserved_ranges(void)
{
	static const struct { uint64_t pfn; bool asked; uint8_t code, why; } t[] = {
		{ VMF_SIM_RESERVED, true, VMF_SIGBUS, VMF_WHY_NONE }, { VMF_SIM_RESERVED - 1, false, VMF_SIGBUS, VMF_WHY_HOLE },
		{ VMF_SIM_RAM, false, VMF_SIGBUS, VMF_WHY_POLICY }, { VMF_SIM_RESERVED + 16, false, VMF_SIGBUS, VMF_WHY_HOLE },
	};
	struct view v;
	struct rig r;
	vmf_va va;

	RIG_EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			struct vmf_result result;

			view_open(&v, &r, t[i].pfn, VMF_UC);
			va = view_map(&v, r.space);
			result = touch(r.space, va);
			CHECK_EQ(result.code, VMF_SIGBUS);
			CHECK_EQ(result.why, t[i].pfn == VMF_SIM_RAM ? VMF_WHY_POLICY : VMF_WHY_HOLE);
			rule = (struct rule){ 0 };
			vmf_phys_policy(r.port, asks, &rule);
			result = vmf_handle(r.space, &(struct vmf_trap){ .va = va, .access = VMF_R }, &(struct vmf_ticket){ 0 });
			CHECK_EQ(rule.asked, t[i].asked);
			/* (The simulated machine has no bytes there: its MMU says that it is gone.) */
			CHECK(t[i].asked ? result.why != VMF_WHY_HOLE : result.why == t[i].why);
			vmf_phys_policy(r.port, NULL, NULL);
			view_close(&v);
		}
}

/* --------------------------------------------------------------------------------------------- poison */

static int poison(struct rig *r, uint64_t first, uint64_t pages)
{
	return vmf_phys_poison(r->port, (vmf_pfn){ first }, pages);
}

static void broken_device_memory(void)
{
	static const struct vmf_ops none = { .size = sizeof(none) };
	struct vmf_object *plain; /* that has no driver: the area says what it shows */
	struct vmf_space *second;
	struct view a, b;
	struct vmf_map map;
	struct rig r;
	vmf_va va, vb, raw;

	RIG_EACH(r) {
		CHECK_ERR(vmf_sim_space(r.sim, &second), 0);
		view_open(&a, &r, VMF_SIM_DEVICE, VMF_UC);
		view_open(&b, &r, VMF_SIM_DEVICE + 4, VMF_UC);
		va = view_map(&a, r.space);
		vb = view_map(&b, second);
		map = rig_map(&r, 8, VMF_R);
		map.action = VMF_RAW;
		map.attr.type = VMF_UC;
		map.raw.n = VMF_SIM_DEVICE + 2;
		CHECK_ERR(vmf_object_create(r.port, &plain, &none, NULL, 8), 0);
		CHECK_ERR(vmf_map(r.space, plain, &map, &raw), 0);
		for (unsigned i = 0; i < 16; i++) {
			CHECK_OK(touch(r.space, va + i * PAGE));
			CHECK_OK(touch(second, vb + i * PAGE));
		}
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE + 6, 2), 0);
		for (unsigned i = 0; i < 16; i++) {
			CHECK_EQ(rig_present(&r, va + i * PAGE), i != 6 && i != 7);
			CHECK_EQ(shown_as(second, vb + i * PAGE) < 0, i == 2 || i == 3);
			if (i < 8)
				CHECK_EQ(shown_as(r.space, raw + i * PAGE) < 0, i == 4 || i == 5);
		}
		CHECK_EQ(touch(r.space, va + 6 * PAGE).code, VMF_POISON);
		CHECK_EQ(touch(second, vb + 3 * PAGE).code, VMF_POISON);
		CHECK_EQ(touch(r.space, raw + 4 * PAGE).code, VMF_POISON);
		CHECK_OK(touch(r.space, raw + 3 * PAGE));
		CHECK_ERR(vmf_revoke(a.object, 0, VIEW), 0);
		CHECK_EQ(touch(r.space, va + 7 * PAGE).code, VMF_POISON);
		a.n = 16;
		CHECK_OK(touch(r.space, va + 5 * PAGE)); /* and none of the others of its run */
		CHECK(!rig_present(&r, va + 6 * PAGE));
		CHECK_ERR(vmf_map(r.space, plain, &map, &raw), -VMF_EPERM);
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE + 6, 2), 0);
		CHECK_ERR(vmf_sim_space_close(second), 0);
		vmf_object_put(b.object);
		vmf_object_put(plain);
		view_close(&a);
	}
}

static void broken_adopted_pages(void)
{
	struct store s;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		CHECK_ERR(adopt(&r, FIRST, N), 0);
		store_open(&s, &r, false);
		va = store_map(&s, VMF_R, false);
		for (unsigned i = 0; i < N; i++)
			CHECK_OK(touch(r.space, va + i * PAGE));
		CHECK_ERR(poison(&r, FIRST + 10, 1), 0);
		for (unsigned i = 0; i < N; i++)
			CHECK_EQ(rig_present(&r, va + i * PAGE), i != 10);
		CHECK_EQ(touch(r.space, va + 10 * PAGE).code, VMF_POISON);
		CHECK_ERR(vmf_unmap(r.space, va, N), 0);
		vmf_object_put(s.object);
		CHECK_ERR(disown(&r, FIRST), 0);
	}
}

static void what_cannot_be_poisoned(void)
{
	struct view v;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE - 1, 1), -VMF_EINVAL);
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE + 255, 2), -VMF_EINVAL);
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE, 0), -VMF_EINVAL);
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE, UINT64_MAX), -VMF_EINVAL);
		CHECK_ERR(vmf_phys_poison(NULL, (vmf_pfn){ VMF_SIM_DEVICE }, 1), -VMF_EINVAL);
		view_open(&v, &r, VMF_SIM_DEVICE + 240, VMF_UC);
		va = view_map(&v, r.space);
		CHECK_OK(touch(r.space, va + 15 * PAGE));
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE + 200, 100), -VMF_EINVAL); /* nothing of it */
		CHECK_OK(touch(r.space, va + 15 * PAGE));
		vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, VMF_EBUSY);
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE + 255, 1), -VMF_EBUSY);
		CHECK(rig_present(&r, va + 15 * PAGE));
		vmf_sim_forget(r.space, va + 15 * PAGE, 1); /* it is broken all the same, for who comes now */
		CHECK_EQ(touch(r.space, va + 15 * PAGE).code, VMF_POISON);
		CHECK_ERR(poison(&r, VMF_SIM_DEVICE + 255, 1), 0);
		CHECK_EQ(touch(r.space, va + 15 * PAGE).code, VMF_POISON);
		view_close(&v);
	}
}

static struct rig *breaking;

static void break_it(struct view *v, vmf_pgoff at)
{
	v->between = NULL;
	CHECK_ERR(poison(breaking, v->first + at, 1), 0);
}

/* Between the handler's return and the entry. */
static void it_breaks_while_it_is_faulted_in(void)
{
	struct view v;
	struct rig r;
	vmf_va va;

	RIG_EACH(r) {
		breaking = &r;
		view_open(&v, &r, VMF_SIM_DEVICE, VMF_UC);
		va = view_map(&v, r.space);
		v.between = break_it;
		CHECK_EQ(touch(r.space, va + 2 * PAGE).code, VMF_POISON);
		CHECK(!rig_present(&r, va + 2 * PAGE));
		view_close(&v);
	}
}

static void *poison_third(void *arg)
{
	CHECK_ERR(poison(breaking, VMF_SIM_DEVICE + 3, 1), 0);
	return arg;
}

static void while_it_is_entered(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	bool *begun = self;
	pthread_t t;

	(void)space, (void)at, (void)pages;
	if (*begun)
		return;
	*begun = true;
	CHECK(!pthread_create(&t, NULL, poison_third, NULL) && !pthread_join(t, NULL));
}

/* When the area that is being mapped cannot be found yet: then all of it is refused. */
static void it_breaks_while_it_is_mapped_raw(void)
{
	struct view v;
	struct rig r;

	RIG_EACH(r) {
		struct vmf_map map = rig_map(&r, 8, VMF_R);
		bool begun = false;
		vmf_va va;

		breaking = &r;
		view_open(&v, &r, VMF_SIM_DEVICE, VMF_UC);
		map.action = VMF_RAW;
		map.raw.n = VMF_SIM_DEVICE;
		map.attr.type = VMF_UC;
		vmf_sim_on(r.sim, VMF_SIM_ENTER, while_it_is_entered, &begun);
		CHECK_ERR(vmf_map(r.space, v.object, &map, &va), -VMF_EPERM);
		vmf_sim_on(r.sim, VMF_SIM_ENTER, NULL, NULL);
		CHECK(begun && !rig_present(&r, VMF_SIM_LOWEST + 3 * PAGE));
		map.pages = 3;
		CHECK_ERR(vmf_map(r.space, v.object, &map, &va), 0);
		CHECK(rig_present(&r, va + 2 * PAGE));
		view_close(&v);
		CHECK(!known(&r, VMF_SIM_DEVICE, 256));
	}
}

static const struct vmtest tests[] = {
	VMTEST(what_can_be_adopted),
	VMTEST(references_keep_it_adopted),
	VMTEST(without_memory_nothing_is_adopted),
	VMTEST(frames_of_a_device),
	VMTEST(with_the_attributes_of_the_range),
	VMTEST(raw_or_adopted_and_not_both),
	VMTEST(private_areas_read_it),
	VMTEST(one_that_was_let_go_of_is_refused),
	VMTEST(nobody_shows_it),
	VMTEST(refused_after_a_retry),
	VMTEST(threads),
	VMTEST(a_policy_decides),
	VMTEST(reserved_ranges),
	VMTEST(broken_device_memory),
	VMTEST(broken_adopted_pages),
	VMTEST(what_cannot_be_poisoned),
	VMTEST(it_breaks_while_it_is_faulted_in),
	VMTEST(it_breaks_while_it_is_mapped_raw),
};
VMTEST_MAIN(tests, 20)
