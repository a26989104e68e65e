/* SPDX-License-Identifier: MIT
 *
 * Bad input to the calls of vmfault.h, host.h and sim.h: NULL, unaligned, of no length, wrapping, overlapping, past the
 * end, structs that are too short or too long.  Each gives the error that its header says, and nothing has changed:
 * no counter, no byte of the core's, no frame, no area, no entry, no page of an object.
 * (Tables with holes, ports that lack something: core_arguments.  In a Linux process: linux_input.  That no exported
 * call is left out: input.sh.)
 */
#include "input.h"
#include "rig.h"
#include "testback.h"

#define PAGES 8u
#define LOOKED_AT 64u /* pages from VMF_SIM_LOWEST on */

/* One of everything, with something in it. */
static struct {
	struct rig r, other;
	struct vmf_object *zeroes, *backed, *foreign, *device;
	struct vmf_space *empty, *elsewhere;
	struct testback back;
	struct vmf_area *area;
	struct vmf_frame *frame;
	vmf_va at, bytes, raw;
} s;

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

struct state {
	struct vmf_stats stats;
	uint64_t live, free_frames, other_live, unflushed;
	uint64_t reads, writes;
	struct { vmf_va va; uint64_t pages, off; struct vmf_entry entry; } page[LOOKED_AT];
	uint8_t object[2][PAGES];
};

static void state_of(struct state *to)
{
	struct vmf_pmap *pmap = vmf_space_pmap(s.r.space);

	to->stats.size = sizeof(to->stats);
	vmf_space_stats(s.r.space, &to->stats);
	to->live = vmf_sim_live(s.r.sim);
	to->other_live = vmf_sim_live(s.other.sim);
	to->unflushed = vmf_sim_unflushed(s.r.space);
	to->free_frames = rig_free_frames(&s.r);
	to->reads = testback_count(&s.back, &s.back.reads);
	to->writes = testback_count(&s.back, &s.back.writes);
	for (unsigned i = 0; i < LOOKED_AT; i++) {
		vmf_va va = VMF_SIM_LOWEST + i * PAGE;
		struct vmf_area *a = vmf_area_find(s.r.space, va);

		if (a) {
			to->page[i].va = vmf_area_va(a);
			to->page[i].pages = vmf_area_pages(a);
			to->page[i].off = vmf_area_off(a);
			vmf_area_put(a);
		}
		CHECK_ERR(pmap->ops->query(pmap, va, &to->page[i].entry), 0);
	}
	for (unsigned i = 0; i < PAGES; i++) {
		to->object[0][i] = (uint8_t)vmf_page_state(s.zeroes, i);
		to->object[1][i] = (uint8_t)vmf_page_state(s.backed, i);
	}
}

static void open_all(void)
{
	struct vmf_map raw = { .action = VMF_RAW, .raw = { VMF_SIM_DEVICE + 8 }, .attr.type = VMF_UC };

	rig_open(&s.other, VMF_BY_ADDRESS);
	rig_open(&s.r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_sim_space(s.r.sim, &s.empty), 0);
	s.elsewhere = s.other.space;
	testback_open(&s.back, s.r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
	CHECK_ERR(vmf_object_create(s.r.port, &s.zeroes, &zero_ops, NULL, PAGES), 0);
	CHECK_ERR(vmf_object_create(s.r.port, &s.device, &zero_ops, NULL, PAGES), 0);
	CHECK_ERR(vmf_object_create(s.other.port, &s.foreign, &zero_ops, NULL, PAGES), 0);
	s.backed = testback_object(&s.back, NULL);
	s.at = rig_show(&s.r, s.zeroes, PAGES, VMF_R | VMF_W);
	s.bytes = rig_show(&s.r, s.backed, PAGES, VMF_R | VMF_W);
	raw.size = sizeof(raw);
	raw.flags = VMF_SHARED;
	raw.pages = 2;
	raw.prot = VMF_R;
	CHECK_ERR(vmf_map(s.r.space, s.device, &raw, &s.raw), 0);
	CHECK_OK(vmf_sim_store(s.r.space, s.at + PAGE, "x", 1));
	CHECK_OK(vmf_sim_store(s.r.space, s.bytes + PAGE, "y", 1));
	CHECK(rig_byte(&s.r, s.bytes) >= 0);
	s.area = vmf_area_find(s.r.space, s.at);
	CHECK_ERR(vmf_frame_alloc(s.r.port, 0, 0, true, &s.frame), 0);
}

static void close_all(void)
{
	vmf_frame_put(s.r.port, s.frame);
	vmf_area_put(s.area);
	CHECK_ERR(vmf_unmap(s.r.space, VMF_SIM_LOWEST, LOOKED_AT), 0);
	vmf_object_put(s.zeroes);
	vmf_object_put(s.device);
	vmf_object_put(s.foreign);
	vmf_object_put(s.backed);
	testback_close(&s.back);
	CHECK_ERR(vmf_sim_space_close(s.empty), 0);
	rig_close(&s.other);
	rig_close(&s.r);
}

/* --------------------------------------------------------------------------------------- words, and numbers */

static void words_and_attributes(void)
{
	struct vmf_attr odd = { .type = 9 }, wb = { 0 };
	char buf[8] = "unused";

	open_all();
	BAD(vmf_err_str(INT32_MIN) != NULL && vmf_err_str(INT32_MAX) != NULL, true);
	BAD(vmf_code_str(UINT32_MAX) != NULL && vmf_why_str(UINT32_MAX) != NULL, true);
	BAD_NULL(vmf_result_str((struct vmf_result){ 0 }, NULL, 8));
	BAD(vmf_result_str((struct vmf_result){ .code = 200, .why = 200 }, buf, 0) == buf && !strcmp(buf, "unused"), true);
	BAD(vmf_result_str((struct vmf_result){ .code = 200, .why = 200 }, buf, 4) == buf && strlen(buf) < 4, true);
	BAD(vmf_attr_covers(odd, wb) || vmf_attr_covers(wb, odd), false);
	close_all();
}

/* -------------------------------------------------------------------------------- the memory map, and frames */

static struct vmf_range range(unsigned kind, uint64_t first, uint64_t pages)
{
	return (struct vmf_range){
		.size = sizeof(struct vmf_range), .kind = (uint8_t)kind, .first = { first }, .pages = pages,
	};
}

static int add(struct vmf_range r) { return vmf_phys_add(s.r.port, &r); }

static void the_memory_map(void)
{
	struct { struct vmf_range r; uint64_t tail; } longer = { range(VMF_PHYS_DEVICE, 1 << 30, 1), 1 };
	struct vmf_range shorter = range(VMF_PHYS_DEVICE, 1 << 30, 1);
	struct vmf_port *p;

	open_all();
	p = s.r.port;
	longer.r.size = sizeof(longer);
	shorter.size = 8;
	BAD(vmf_phys_add(NULL, &shorter), -VMF_EINVAL);
	BAD(vmf_phys_add(p, NULL), -VMF_EINVAL);
	BAD(vmf_phys_add(p, &shorter), -VMF_EINVAL);
	BAD(vmf_phys_add(p, &longer.r), -VMF_E2BIG);
	BAD(add(range(VMF_PHYS_DEVICE, 1 << 30, 0)), -VMF_EINVAL);
	BAD(add(range(VMF_PHYS_DEVICE, UINT64_MAX, 1)), -VMF_EINVAL);
	BAD(add(range(VMF_PHYS_DEVICE, 16, UINT64_MAX)), -VMF_EINVAL);
	BAD(add(range(77, 1 << 30, 1)), -VMF_EINVAL);
	BAD(add(range(VMF_PHYS_DEVICE, VMF_SIM_RAM - 1, 2)), -VMF_EEXIST);
	BAD(vmf_phys_remove(NULL, (vmf_pfn){ VMF_SIM_RAM }), -VMF_EINVAL);
	BAD(vmf_phys_remove(p, (vmf_pfn){ VMF_SIM_RAM + 1 }), -VMF_EINVAL);
	BAD(vmf_phys_remove(p, (vmf_pfn){ 3 }), -VMF_EINVAL);
	BAD(vmf_phys_remove(p, (vmf_pfn){ VMF_SIM_RAM }), -VMF_EBUSY);
	BAD(vmf_phys_kind(NULL, (vmf_pfn){ VMF_SIM_RAM }), VMF_PHYS_HOLE);
	BAD(vmf_phys_kind(p, (vmf_pfn){ UINT64_MAX }), VMF_PHYS_HOLE);
	BAD_VOID(vmf_phys_policy(NULL, NULL, NULL));
	BAD(vmf_phys_adopt(NULL, (vmf_pfn){ VMF_SIM_DEVICE }, 1), -VMF_EINVAL);
	BAD(vmf_phys_adopt(p, (vmf_pfn){ VMF_SIM_DEVICE }, 0), -VMF_EINVAL);
	BAD(vmf_phys_adopt(p, (vmf_pfn){ VMF_SIM_DEVICE + 255 }, 2), -VMF_EINVAL);
	BAD(vmf_phys_adopt(p, (vmf_pfn){ VMF_SIM_DEVICE + 255 }, UINT64_MAX), -VMF_EINVAL);
	BAD(vmf_phys_adopt(p, (vmf_pfn){ VMF_SIM_RAM }, 1), -VMF_EINVAL);
	BAD(vmf_phys_adopt(p, (vmf_pfn){ 3 }, 1), -VMF_EINVAL);
	BAD(vmf_phys_disown(NULL, (vmf_pfn){ VMF_SIM_DEVICE }), -VMF_EINVAL);
	BAD(vmf_phys_disown(p, (vmf_pfn){ VMF_SIM_DEVICE }), -VMF_EINVAL);
	BAD(vmf_phys_disown(p, (vmf_pfn){ UINT64_MAX }), -VMF_EINVAL);
	BAD_NULL(vmf_phys_frame(NULL, (vmf_pfn){ VMF_SIM_DEVICE }));
	BAD_NULL(vmf_phys_frame(p, (vmf_pfn){ VMF_SIM_DEVICE }));
	BAD_NULL(vmf_phys_frame(p, (vmf_pfn){ UINT64_MAX }));
	BAD(vmf_phys_poison(NULL, (vmf_pfn){ VMF_SIM_RAM }, 1), -VMF_EINVAL);
	BAD(vmf_phys_poison(p, (vmf_pfn){ VMF_SIM_RAM }, 0), -VMF_EINVAL);
	BAD(vmf_phys_poison(p, (vmf_pfn){ 3 }, 1), -VMF_EINVAL);
	BAD(vmf_phys_poison(p, (vmf_pfn){ UINT64_MAX }, 2), -VMF_EINVAL);
	close_all();
}

static void frames(void)
{
	struct vmf_frame *f = NULL;
	struct vmf_port *p;

	open_all();
	p = s.r.port;
	BAD(vmf_frame_alloc(NULL, 0, 0, false, &f), -VMF_EINVAL);
	BAD(vmf_frame_alloc(p, 0, 0, false, NULL), -VMF_EINVAL);
	BAD(vmf_frame_alloc(p, VMF_ORDER_MAX + 1, 0, false, &f), -VMF_EINVAL);
	BAD(vmf_frame_alloc(p, 0, 0x400, false, &f), -VMF_EINVAL);
	BAD(vmf_frame_alloc(p, VMF_ORDER_MAX, 0, false, &f), -VMF_ENOMEM);
	CHECK(!f);
	BAD_VOID(vmf_frame_get(NULL));
	BAD_VOID(vmf_frame_put(p, NULL));
	BAD_VOID(vmf_frame_put(NULL, s.frame));
	BAD(vmf_frame_pfn(NULL).n, 0);
	BAD(vmf_frame_order(NULL), 0);
	BAD_NULL(vmf_frame_bytes(NULL, s.frame));
	BAD_NULL(vmf_frame_bytes(p, NULL));
	BAD(vmf_page_size(NULL), 0);
	BAD(vmf_node(NULL), 0);
	BAD_VOID(vmf_gather_frame(NULL, vmf_frame_pfn(s.frame)));
	BAD_NULL(vmf_frame_at(NULL, 0));
	BAD_NULL(vmf_frame_at(s.zeroes, PAGES));
	BAD_NULL(vmf_frame_at(s.zeroes, UINT64_MAX));
	close_all();
}

/* --------------------------------------------------------------------------------------------- objects */

static int create(const struct vmf_ops *ops, uint64_t pages)
{
	struct vmf_object *o;

	return vmf_object_create(s.r.port, &o, ops, NULL, pages);
}

static int back(struct vmf_backed b)
{
	struct vmf_object *o;

	b.size = b.size ? b.size : sizeof(b);
	b.self = &s.back;
	return vmf_object_backed(s.r.port, &o, &b);
}

static void objects(void)
{
	static const struct { struct vmf_ops ops; void *tail; } longer = { { .size = sizeof(longer) }, &s };
	static const struct vmf_ops shorter = { .size = 4 }, flags = { .size = sizeof(flags), .flags = 1 };
	const struct vmf_backing_ops *good = testback_ops();
	struct vmf_backing_ops half = *good;
	struct vmf_object *o;
	int err = 77;

	open_all();
	half.length = NULL;
	BAD(vmf_object_create(NULL, &o, &zero_ops, NULL, 1), -VMF_EINVAL);
	BAD(vmf_object_create(s.r.port, NULL, &zero_ops, NULL, 1), -VMF_EINVAL);
	BAD(create(NULL, 1), -VMF_EINVAL);
	BAD(create(&shorter, 1), -VMF_EINVAL);
	BAD(create(&longer.ops, 1), -VMF_E2BIG);
	BAD(create(&flags, 1), -VMF_EINVAL);
	BAD(create(&zero_ops, 0), -VMF_EINVAL);
	BAD(create(&zero_ops, UINT64_MAX), -VMF_EINVAL);
	BAD(create(&zero_ops, ((uint64_t)UINTPTR_MAX >> 12) + 1), -VMF_EINVAL);
	BAD_VOID(vmf_object_get(NULL));
	BAD_VOID(vmf_object_put(NULL));
	BAD_NULL(vmf_object_priv(NULL));
	BAD(vmf_object_backed(NULL, &o, &(struct vmf_backed){ .size = sizeof(struct vmf_backed) }), -VMF_EINVAL);
	BAD(vmf_object_backed(s.r.port, NULL, &(struct vmf_backed){ .size = sizeof(struct vmf_backed) }), -VMF_EINVAL);
	BAD(vmf_object_backed(s.r.port, &o, NULL), -VMF_EINVAL);
	BAD(back((struct vmf_backed){ .ops = NULL }), -VMF_EINVAL);
	BAD(back((struct vmf_backed){ .ops = &half }), -VMF_EINVAL);
	BAD(back((struct vmf_backed){ .ops = good, .size = 8 }), -VMF_EINVAL);
	BAD(back((struct vmf_backed){ .ops = good, .flags = 64 }), -VMF_EINVAL);
	BAD(back((struct vmf_backed){ .ops = good, .around = 3 }), -VMF_EINVAL);
	BAD(back((struct vmf_backed){ .ops = good, .readahead = VMF_RUN_MAX + 1 }), -VMF_EINVAL);
	BAD(back((struct vmf_backed){ .ops = good, .pages = UINT64_MAX }), -VMF_EINVAL);
	BAD(vmf_object_resize(NULL), -VMF_EINVAL);
	BAD(vmf_object_resize(s.zeroes), -VMF_EINVAL);
	BAD(vmf_revoke(NULL, 0, 1), -VMF_EINVAL);
	BAD(vmf_revoke(s.zeroes, 1, UINT64_MAX), -VMF_EINVAL);
	BAD(vmf_revoke(s.zeroes, 0, 0), 0);
	BAD(vmf_revoke(s.zeroes, PAGES, 1), 0);
	BAD(vmf_sync(NULL, 0, 1, &err), -VMF_EINVAL);
	BAD(vmf_sync(s.backed, 1, UINT64_MAX, &err), -VMF_EINVAL);
	CHECK_EQ(err, 77);
	BAD(vmf_reclaim(NULL, 0, 1), 0);
	BAD(vmf_reclaim(s.backed, 1, UINT64_MAX), 0);
	BAD(vmf_reclaim(s.backed, PAGES, 1), 0);
	BAD(vmf_page_state(NULL, 0), VMF_ABSENT);
	BAD(vmf_page_state(s.backed, UINT64_MAX), VMF_ABSENT);
	close_all();
}

/* What a driver or a backing calls with the wrong thing in its hand. */
static void drivers(void)
{
	struct vmf_wait wait = { 7 };
	uint32_t adjacent = 9;

	open_all();
	BAD_FAULT(vmf_install_frames(NULL, 0, &s.frame, 1, VMF_R), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_install_pfns(NULL, 0, (vmf_pfn){ VMF_SIM_DEVICE }, 1, (struct vmf_attr){ 0 }, VMF_R), VMF_SIGBUS,
		  VMF_WHY_DRIVER);
	BAD_NULL(vmf_io_bytes(NULL, 0, &adjacent));
	CHECK_EQ(adjacent, 0);
	BAD_VOID(vmf_io_done(NULL, 1, 0));
	BAD(vmf_wait_seq(NULL), 0);
	BAD_VOID(vmf_wake(NULL, &wait));
	BAD_VOID(vmf_wake(s.r.port, NULL));
	CHECK_EQ(wait.seq, 7);
	close_all();
}

static enum vmf_code install_badly(const struct vmf_req *req, struct vmf_ans *ans)
{
	const struct vmf_attr uc = { .type = VMF_UC };
	const vmf_pfn pfn = { VMF_SIM_DEVICE };

	(void)ans;
	CHECK_RESULT(vmf_install_frames(req, req->off, NULL, 1, VMF_R), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_RESULT(vmf_install_frames(req, UINT64_MAX, &s.frame, 0, VMF_R), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_RESULT(vmf_install_pfns(req, req->off, pfn, 0, uc, VMF_R), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_RESULT(vmf_install_pfns(req, UINT64_MAX, pfn, 2, uc, VMF_R), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_RESULT(vmf_install_pfns(req, req->off, pfn, UINT32_MAX, uc, VMF_R), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_RESULT(vmf_install_pfns(req, req->off, pfn, 1, uc, 0x80), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_RESULT(vmf_install_pfns(req, req->off, (vmf_pfn){ UINT64_MAX }, 1, uc, VMF_R), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_RESULT(vmf_install_pfns(req, req->off, (vmf_pfn){ 3 }, 1, uc, VMF_R), VMF_SIGBUS, VMF_WHY_HOLE);
	return VMF_DONE;
}

static void installs(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = install_badly };
	struct vmf_object *o;
	vmf_va at;

	open_all();
	CHECK_ERR(vmf_object_create(s.r.port, &o, &ops, NULL, PAGES), 0);
	at = rig_show(&s.r, o, PAGES, VMF_R);
	CHECK_RESULT(vmf_sim_load(s.r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_HOLE);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK(!rig_present(&s.r, at + i * PAGE));
	vmf_object_put(o);
	close_all();
}

/* ---------------------------------------------------------------------------------------- spaces and areas */

static int map_of(struct vmf_object *o, struct vmf_map m)
{
	vmf_va at;

	m.size = m.size ? m.size : sizeof(m);
	m.flags |= VMF_SHARED;
	return vmf_map(s.r.space, o, &m, &at);
}

static int map(struct vmf_map m) { return map_of(s.zeroes, m); }

static void mapping(void)
{
	const struct vmf_map good = { .size = sizeof(good), .flags = VMF_SHARED, .pages = 1, .prot = VMF_R };
	struct { struct vmf_map m; uint64_t tail; } longer = { good, 1 };
	const vmf_va top = ~(vmf_va)(PAGE - 1);

	open_all();
	longer.m.size = sizeof(longer);
	BAD(vmf_map(NULL, s.zeroes, &good, NULL), -VMF_EINVAL);
	BAD(vmf_map(s.r.space, NULL, &good, NULL), -VMF_EINVAL);
	BAD(vmf_map(s.r.space, s.zeroes, NULL, NULL), -VMF_EINVAL);
	BAD(vmf_map(s.r.space, s.foreign, &good, NULL), -VMF_EINVAL);
	BAD(vmf_map(s.r.space, s.zeroes, &longer.m, NULL), -VMF_E2BIG);
	BAD(map((struct vmf_map){ .size = 8, .pages = 1, .prot = VMF_R }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 0, .prot = VMF_R }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = UINT64_MAX, .prot = VMF_R }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 2, .off = UINT64_MAX, .prot = VMF_R }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = 8 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R | VMF_W, .maxprot = VMF_R }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .maxprot = 0x81 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .order = VMF_ORDER_MAX + 1 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .action = 77 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .flags = 1 << 20 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .attr.type = 9 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .attr.zero = 1 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .node = 0x400 }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .flags = VMF_FIXED, .va = VMF_SIM_LOWEST + 7, .pages = 1, .prot = VMF_R }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .flags = VMF_FIXED, .va = top, .pages = 2, .prot = VMF_R }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .flags = VMF_FIXED, .va = s.at + PAGE, .pages = 1, .prot = VMF_R }), -VMF_EEXIST);
	BAD(map((struct vmf_map){ .flags = VMF_FIXED, .va = s.at - PAGE, .pages = 3, .prot = VMF_R }), -VMF_EEXIST);
	BAD(map((struct vmf_map){ .pages = (uint64_t)VMF_SIM_HIGHEST >> 12, .prot = VMF_R }), -VMF_ENOSPC);
	BAD(map((struct vmf_map){ .pages = 2, .prot = VMF_R, .action = VMF_RAW, .raw = { UINT64_MAX } }), -VMF_EPERM);
	BAD(map((struct vmf_map){ .pages = 2, .prot = VMF_R, .action = VMF_RAW, .raw = { VMF_SIM_DEVICE + 255 },
				  .attr.type = VMF_UC }), -VMF_EPERM);
	BAD(map_of(s.backed, (struct vmf_map){ .pages = 1, .prot = VMF_R, .action = VMF_RAW, .raw = { VMF_SIM_DEVICE },
					       .attr.type = VMF_UC }), -VMF_EINVAL);
	BAD(map((struct vmf_map){ .pages = 1, .prot = VMF_R, .action = VMF_BOLT }), -VMF_ENOSPC);
	close_all();
}

#define UNMAP(space, va, n) vmf_unmap(space, va, n)
#define PROTECT(space, va, n) vmf_protect(space, va, n, VMF_R)
#define GONE(space, va, n) vmf_space_gone(space, va, n)
#define RANGES(call, va) \
	do { \
		BAD(call(NULL, va, 1), -VMF_EINVAL); \
		BAD(call(s.r.space, (va) + 1, 1), -VMF_EINVAL); \
		BAD(call(s.r.space, va, 0), -VMF_EINVAL); \
		BAD(call(s.r.space, va, UINT64_MAX), -VMF_EINVAL); \
		BAD(call(s.r.space, va, UINTPTR_MAX >> 12), -VMF_EINVAL); \
		BAD(call(s.r.space, ~(vmf_va)(PAGE - 1), 2), -VMF_EINVAL); \
	} while (0)

static void ranges_of_a_space(void)
{
	char buf[PAGE];

	open_all();
	RANGES(UNMAP, s.at);
	RANGES(PROTECT, s.at);
	RANGES(GONE, s.at);
	BAD(vmf_unmap(s.r.space, VMF_SIM_LOWEST + 40 * PAGE, 3), 0);
	BAD(vmf_protect(s.r.space, s.at, 1, 8), -VMF_EINVAL);
	BAD(vmf_protect(s.r.space, s.at, 1, VMF_R | VMF_X), -VMF_EPERM);
	BAD(vmf_protect(s.r.space, VMF_SIM_LOWEST + 40 * PAGE, 3, VMF_R), -VMF_EFAULT);
	BAD(vmf_protect(s.r.space, s.raw, 3, VMF_R), -VMF_EFAULT);
	BAD(vmf_space_moved(NULL, s.at, VMF_SIM_LOWEST + 40 * PAGE, 1), -VMF_EINVAL);
	BAD(vmf_space_moved(s.r.space, s.at + 1, VMF_SIM_LOWEST + 40 * PAGE, 1), -VMF_EINVAL);
	BAD(vmf_space_moved(s.r.space, s.at, VMF_SIM_LOWEST + 40 * PAGE + 1, 1), -VMF_EINVAL);
	BAD(vmf_space_moved(s.r.space, s.at, VMF_SIM_LOWEST + 40 * PAGE, 0), -VMF_EINVAL);
	BAD(vmf_space_moved(s.r.space, s.at, VMF_SIM_LOWEST + 40 * PAGE, UINT64_MAX), -VMF_EINVAL);
	BAD(vmf_space_moved(s.r.space, s.at, ~(vmf_va)(PAGE - 1), 2), -VMF_EINVAL);
	BAD(vmf_space_moved(s.r.space, s.at, s.at + PAGE, 2), -VMF_EINVAL);
	BAD(vmf_peek(NULL, s.at, buf, 1), -VMF_EINVAL);
	BAD(vmf_peek(s.r.space, s.at, NULL, 1), -VMF_EINVAL);
	BAD(vmf_peek(s.r.space, UINTPTR_MAX, buf, 2), -VMF_EINVAL);
	BAD(vmf_peek(s.r.space, s.at, buf, SIZE_MAX), -VMF_EINVAL);
	BAD(vmf_peek(s.r.space, s.at, buf, 0), 0);
	BAD(vmf_peek(s.r.space, VMF_SIM_LOWEST + 40 * PAGE, buf, 1), -VMF_EFAULT);
	BAD(vmf_poke(NULL, s.at, buf, 1), -VMF_EINVAL);
	BAD(vmf_poke(s.r.space, s.at, NULL, 1), -VMF_EINVAL);
	BAD(vmf_poke(s.r.space, UINTPTR_MAX, buf, 2), -VMF_EINVAL);
	BAD(vmf_poke(s.r.space, s.at, buf, 0), 0);
	BAD(vmf_poke(s.r.space, VMF_SIM_LOWEST + 40 * PAGE, buf, 1), -VMF_EFAULT);
	close_all();
}

static void areas(void)
{
	struct vmf_window w = { .size = 2, .bolts = 77 };
	struct vmf_stats stats = { .size = 2, .faults = 77 };

	open_all();
	BAD_NULL(vmf_area_find(NULL, s.at));
	BAD_NULL(vmf_area_find(s.r.space, VMF_SIM_LOWEST + 40 * PAGE));
	BAD_NULL(vmf_area_find(s.r.space, UINTPTR_MAX));
	BAD_VOID(vmf_area_put(NULL));
	BAD(vmf_area_va(NULL), 0);
	BAD(vmf_area_pages(NULL), 0);
	BAD(vmf_area_off(NULL), 0);
	BAD_NULL(vmf_area_priv(NULL));
	BAD_NULL(vmf_area_object(NULL));
	BAD_NULL(vmf_area_space(NULL));
	BAD_VOID(vmf_area_window(NULL, &w));
	BAD_VOID(vmf_area_window(s.area, NULL));
	BAD_VOID(vmf_area_window(s.area, &w));
	CHECK_EQ(w.bolts, 77);
	BAD_VOID(vmf_space_stats(s.r.space, NULL));
	BAD_VOID(vmf_space_stats(s.r.space, &stats));
	stats.size = sizeof(stats);
	BAD_VOID(vmf_space_stats(NULL, &stats));
	CHECK_EQ(stats.faults, 77);
	close_all();
}

/* ------------------------------------------------------------------------------------------------- host.h */

static void ports_and_spaces(void)
{
	struct vmf_port_config config = { .size = 4 };
	struct vmf_space *space;
	struct vmf_port *port;

	open_all();
	BAD(vmf_port_create(NULL, &config), -VMF_EINVAL);
	BAD(vmf_port_create(&port, NULL), -VMF_EINVAL);
	BAD(vmf_port_create(&port, &config), -VMF_EINVAL);
	BAD_VOID(vmf_port_destroy(NULL));
	BAD_NULL(vmf_port_self(NULL));
	BAD_VOID(vmf_port_tidy(NULL));
	BAD(vmf_space_create(NULL, &space, vmf_space_pmap(s.r.space)), -VMF_EINVAL);
	BAD(vmf_space_create(s.r.port, NULL, vmf_space_pmap(s.r.space)), -VMF_EINVAL);
	BAD(vmf_space_create(s.r.port, &space, NULL), -VMF_ENOSYS);
	BAD(vmf_space_destroy(NULL), 0);
	BAD(vmf_space_copy(NULL, s.r.space), -VMF_EINVAL);
	BAD(vmf_space_copy(s.empty, NULL), -VMF_EINVAL);
	BAD(vmf_space_copy(s.r.space, s.r.space), -VMF_EINVAL);
	BAD(vmf_space_copy(s.r.space, s.empty), -VMF_EINVAL);
	BAD(vmf_space_copy(s.elsewhere, s.r.space), -VMF_EINVAL);
	BAD_NULL(vmf_space_pmap(NULL));
	BAD_NULL(vmf_space_port(NULL));
	close_all();
}

/* A fault that is none is counted, as a failure, and changes nothing else. */
static struct vmf_result odd_access(unsigned access)
{
	const struct vmf_trap trap = { .va = s.at, .access = (uint8_t)access };
	struct vmf_ticket ticket = { 0 };

	return vmf_handle(s.r.space, &trap, &ticket);
}

static void faults(void)
{
	static const uint8_t odd[] = { 0, VMF_R | VMF_W, VMF_R | VMF_W | VMF_X, 8, 0x80, 0xff };
	const struct vmf_trap trap = { .va = s.at, .access = VMF_R };
	struct vmf_ticket ticket = { 0 };

	open_all();
	BAD_FAULT(vmf_handle(NULL, &trap, &ticket), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_handle(s.r.space, NULL, &ticket), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_handle(s.r.space, &trap, NULL), VMF_SIGBUS, VMF_WHY_DRIVER);
	for (unsigned i = 0; i < sizeof(odd); i++) {
		uint64_t failed = rig_stats(&s.r).failed;

		CHECK_RESULT(odd_access(odd[i]), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_EQ(rig_stats(&s.r).failed, failed + 1);
		CHECK(!rig_present(&s.r, s.at));
	}
	BAD(vmf_ticket_wait(NULL, &ticket, false), -VMF_EINVAL);
	BAD(vmf_ticket_wait(s.r.space, NULL, false), -VMF_EINVAL);
	BAD(vmf_ticket_ready(NULL), true);
	BAD_VOID(vmf_ticket_drop(NULL, &ticket));
	BAD_VOID(vmf_ticket_drop(s.r.space, NULL));
	BAD(vmf_slot_holds(NULL, 0, s.at), false);
	BAD(vmf_slot_holds(s.r.space, UINT32_MAX, s.at), false);
	close_all();
}

static void structs_and_locks(void)
{
	struct { uint32_t size, a, b; } ours = { 12, 1, 2 }, theirs = { 12, 3, 4 };
	struct vmf_lock lock = { 0 };

	open_all();
	BAD(vmf_struct_in(NULL, sizeof(ours), &theirs, 4), -VMF_EINVAL);
	BAD(vmf_struct_in(&ours, sizeof(ours), NULL, 4), -VMF_EINVAL);
	theirs.size = 2;
	BAD(vmf_struct_in(&ours, sizeof(ours), &theirs, 0), -VMF_EINVAL);
	theirs.size = 8;
	BAD(vmf_struct_in(&ours, sizeof(ours), &theirs, 12), -VMF_EINVAL);
	theirs.size = 12;
	BAD(vmf_struct_in(&ours, 8, &theirs, 4), -VMF_E2BIG);
	CHECK(ours.size == 12 && ours.a == 1 && ours.b == 2);
	BAD_VOID(vmf_struct_out(NULL, &ours, sizeof(ours)));
	BAD_VOID(vmf_struct_out(&theirs, NULL, sizeof(ours)));
	CHECK(theirs.size == 12 && theirs.a == 3 && theirs.b == 4);
	BAD_VOID(vmf_lock_take(NULL, &lock));
	BAD_VOID(vmf_lock_take(s.r.port, NULL));
	BAD_VOID(vmf_lock_drop(NULL, &lock));
	BAD_VOID(vmf_lock_drop(s.r.port, NULL));
	CHECK_EQ(lock.word, 0);
	BAD(vmf_rank_take(&lock, 1000) || vmf_rank_drop(&lock), false); /* a port's own */
#ifdef VMF_DEBUG
	BAD(vmf_rank_drop(&lock) != NULL, true);
#endif
	close_all();
}

/* -------------------------------------------------------------------------------------------------- sim.h */

static int sim_open(struct vmf_sim_config c)
{
	struct vmf_sim *sim;

	c.size = c.size ? c.size : sizeof(c);
	return vmf_sim_open(&sim, &c);
}

static void the_simulated_port(void)
{
	struct { struct vmf_sim_config c; uint64_t tail; } longer = { { .size = sizeof(longer) }, 1 };
	struct vmf_space *space;
	struct vmf_sim *sim;

	open_all();
	BAD(vmf_sim_open(NULL, NULL), -VMF_EINVAL);
	BAD(vmf_sim_open(&sim, &longer.c), -VMF_E2BIG);
	BAD(sim_open((struct vmf_sim_config){ .size = 2 }), -VMF_EINVAL);
	BAD(sim_open((struct vmf_sim_config){ .store = VMF_BY_COPY + 1 }), -VMF_EINVAL);
	BAD(sim_open((struct vmf_sim_config){ .page_shift = 40 }), -VMF_EINVAL);
	BAD(sim_open((struct vmf_sim_config){ .ram_pages = UINT64_MAX }), -VMF_EINVAL);
	BAD(sim_open((struct vmf_sim_config){ .slots = UINT32_MAX }), -VMF_EINVAL);
	BAD(sim_open((struct vmf_sim_config){ .zero = { 0, 1 } }), -VMF_EINVAL);
	BAD_VOID(vmf_sim_close(NULL));
	BAD_NULL(vmf_sim_port(NULL));
	BAD_VOID(vmf_sim_here(NULL, 1));
	BAD_NULL(vmf_sim_device(NULL, 0));
	BAD_NULL(vmf_sim_device(s.r.sim, 256));
	BAD(vmf_sim_space(NULL, &space), -VMF_EINVAL);
	BAD(vmf_sim_space(s.r.sim, NULL), -VMF_EINVAL);
	BAD(vmf_sim_space_close(NULL), 0);
	BAD(vmf_sim_unflushed(NULL), 0);
	BAD(vmf_sim_live(NULL), 0);
	BAD_VOID(vmf_sim_fail(NULL, VMF_SIM_ALLOC, 1, VMF_ENOMEM));
	BAD_VOID(vmf_sim_fail(s.r.sim, VMF_SIM_POINTS, 1, VMF_ENOMEM));
	BAD_VOID(vmf_sim_on(NULL, VMF_SIM_ALLOC, NULL, NULL));
	BAD_VOID(vmf_sim_on(s.r.sim, VMF_SIM_POINTS, NULL, NULL));
	BAD(vmf_sim_calls(NULL, VMF_SIM_ALLOC), 0);
	BAD(vmf_sim_calls(s.r.sim, VMF_SIM_POINTS), 0);
	close_all();
}

static void the_simulated_cpu(void)
{
	const vmf_va free_va = VMF_SIM_LOWEST + 40 * PAGE, top = ~(vmf_va)(PAGE - 1);
	char buf[2];

	open_all();
	BAD_FAULT(vmf_sim_load(NULL, s.at, buf, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_sim_load(s.r.space, s.at, NULL, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_sim_store(NULL, s.at, buf, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_sim_store(s.r.space, s.at, NULL, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_sim_fetch(NULL, s.at, buf, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_sim_fetch(s.r.space, s.at, NULL, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
	BAD_FAULT(vmf_sim_load(s.r.space, s.at, buf, 0), VMF_OK, 0);
	CHECK_RESULT(vmf_sim_load(s.r.space, UINTPTR_MAX, buf, 2), VMF_SIGSEGV, VMF_WHY_NONE);
	BAD_VOID(vmf_sim_forget(NULL, s.at, 1));
	BAD_VOID(vmf_sim_forget(s.r.space, s.at + PAGE + 1, 1));
	BAD_VOID(vmf_sim_forget(s.r.space, s.at + PAGE, 0));
	BAD_VOID(vmf_sim_forget(s.r.space, s.at + PAGE, UINT64_MAX));
	BAD_VOID(vmf_sim_forget(s.r.space, top, 2));
	BAD(vmf_sim_move(NULL, s.at, free_va, 1), -VMF_EINVAL);
	BAD(vmf_sim_move(s.r.space, s.at + 1, free_va, 1), -VMF_EINVAL);
	BAD(vmf_sim_move(s.r.space, s.at, free_va + 1, 1), -VMF_EINVAL);
	BAD(vmf_sim_move(s.r.space, s.at, free_va, 0), -VMF_EINVAL);
	BAD(vmf_sim_move(s.r.space, s.at, free_va, UINT64_MAX), -VMF_EINVAL);
	BAD(vmf_sim_move(s.r.space, s.at, s.at + PAGE, 2), -VMF_EINVAL);
	BAD(vmf_sim_move(s.r.space, top, s.at, 2), -VMF_EINVAL);
	close_all();
}

static const struct vmtest tests[] = {
	VMTEST(words_and_attributes), VMTEST(the_memory_map), VMTEST(frames),       VMTEST(objects),
	VMTEST(drivers),              VMTEST(installs),       VMTEST(mapping),      VMTEST(ranges_of_a_space),
	VMTEST(areas),                VMTEST(ports_and_spaces), VMTEST(faults),     VMTEST(structs_and_locks),
	VMTEST(the_simulated_port),   VMTEST(the_simulated_cpu),
};

int main(int argc, char **argv)
{
	int status = vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 20, argc, argv);

	printf("%u calls\n", input_calls);
	return status;
}
