/* SPDX-License-Identifier: MIT
 *
 * Attributes of RAM: those of its range, whatever an area asks for.
 */
#include "views.h"

static const struct vmf_attr stronger = { .type = VMF_WB, .strengthen = 1 };

static struct vmf_frame *ram;

static enum vmf_code ram_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = req->order || !ram ? vmf_frame_at(req->object, req->off) : ram;
	if (ans->frames[0] == ram)
		vmf_frame_get(ram);
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code ram_install(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_frame *frame = vmf_frame_at(req->object, req->off);
	struct vmf_result result = vmf_install_frames(req, req->off, &frame, 1, req->prot);

	(void)ans;
	return result.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static const struct vmf_ops ram_ops[] = {
	{ .size = sizeof(struct vmf_ops), .nopage = ram_nopage },
	{ .size = sizeof(struct vmf_ops), .fault = ram_install },
	{ .size = sizeof(struct vmf_ops) },
};

static void ram_has_the_attributes_of_its_range(void)
{
	static const struct { struct vmf_attr attr; bool good; } t[] = {
		{ { .type = VMF_WB }, true }, { { .type = VMF_WB, .strengthen = 1 }, true }, { { .type = VMF_UC }, false },
		{ { .type = VMF_UC, .strengthen = 1 }, false }, { { .type = VMF_WT }, false }, { { .port = 1 }, false },
	};
	struct vmf_object *o;
	struct rig r;
	vmf_va at;

	ram = NULL;
	RIG_EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
			for (unsigned how = 0; how < 6; how++) {
				struct vmf_map map = rig_map(&r, 1, VMF_R | VMF_W);

				if (how >= 3 && r.store == VMF_BY_ADDRESS)
					map.flags = 0; /* private */
				map.attr = t[i].attr;
				CHECK_ERR(vmf_object_create(r.port, &o, &ram_ops[how % 3], NULL, 1), 0);
				CHECK_ERR(vmf_map(r.space, o, &map, &at), 0);
				if (t[i].good)
					CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
				else
					CHECK_RESULT(vmf_sim_store(r.space, at, "x", 1), VMF_SIGBUS, VMF_WHY_ATTR);
				CHECK_EQ(rig_present(&r, at), t[i].good);
				CHECK_ERR(vmf_unmap(r.space, at, 1), 0);
				vmf_object_put(o);
			}
}

/* RAM that nothing may cache: its frames are shown like that to who can live with it, and to nobody else. */
static void ram_of_another_kind(void)
{
	const struct vmf_range uncached = { .size = sizeof(uncached), .kind = VMF_PHYS_RAM, .node = 9, .pages = 4,
					    .first = { VMF_SIM_RAM + RAM - 4 }, .attr = { .type = VMF_UC } };
	const struct vmf_range most = { .size = sizeof(most), .kind = VMF_PHYS_RAM, .first = { VMF_SIM_RAM },
					.pages = RAM - 4 };
	const struct { struct vmf_attr attr; int gets; } t[] = {
		{ { .type = VMF_WB }, -1 }, { stronger, VMF_UC }, { { .type = VMF_UC }, VMF_UC },
		{ { .type = VMF_DEVICE }, -1 },
	};
	struct vmf_object *o;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_phys_remove(r.port, most.first), 0);
	CHECK_ERR(vmf_phys_add(r.port, &most), 0);
	CHECK_ERR(vmf_phys_add(r.port, &uncached), 0);
	CHECK_ERR(vmf_frame_alloc(r.port, 0, VMF_NODE_BIND(9), false, &ram), 0);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmf_map map = rig_map(&r, 1, VMF_R);

		map.attr = t[i].attr;
		CHECK_ERR(vmf_object_create(r.port, &o, &ram_ops[0], NULL, 1), 0);
		CHECK_ERR(vmf_map(r.space, o, &map, &at), 0);
		CHECK_EQ(touch(r.space, at).code, t[i].gets < 0 ? VMF_SIGBUS : VMF_OK);
		CHECK_EQ(shown_as(r.space, at), t[i].gets);
		CHECK_ERR(vmf_unmap(r.space, at, 1), 0);
		vmf_object_put(o);
	}
	vmf_frame_put(r.port, ram);
	ram = NULL;
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(ram_has_the_attributes_of_its_range),
	VMTEST(ram_of_another_kind),
};
VMTEST_MAIN(tests, 20)
