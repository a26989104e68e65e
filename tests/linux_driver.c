/* SPDX-License-Identifier: MIT
 *
 * Drivers that touch vmfault's memory themselves: another area than their own, on whatever thread they are asked.
 */
#include "linuxrig.h"

static char *other; /* what the driver touches */

static enum vmf_code nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)*(volatile char *)other;
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static enum vmf_code nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = ((vmf_pfn *)req->object_priv)->n + req->off;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops touchy = { .size = sizeof(touchy), .nopage = nopage };
static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
static const struct vmf_ops device = { .size = sizeof(device), .nopfn = nopfn };

struct bench {
	struct rig r;
	struct vmf_object *object, *another;
};

static void open_in_context(struct bench *b)
{
	rig_open(&b->r, VMF_IN_CONTEXT);
	CHECK_ERR(vmf_object_create(b->r.port, &b->object, &touchy, NULL, 4), 0);
	CHECK_ERR(vmf_object_create(b->r.port, &b->another, &zeroes, NULL, 4), 0);
	other = rig_map(&b->r, b->another, VMF_SHARED, 4, VMF_R | VMF_W);
}

static void close_bench(struct bench *b)
{
	vmf_object_put(b->object);
	vmf_object_put(b->another);
	rig_close(&b->r);
}

static void in_a_fault(void)
{
	struct bench b;
	char c;

	open_in_context(&b);
	CHECK_EQ(rig_load(rig_map(&b.r, b.object, VMF_SHARED, 4, VMF_R | VMF_W), &c), 0);
	close_bench(&b);
}

/* No fault, so no handler of SIGBUS is running; its own must be able to. */
static void in_vmf_touch(void)
{
	struct bench b;

	open_in_context(&b);
	CHECK_OK(vmf_touch(rig_map(&b.r, b.object, VMF_SHARED, 4, VMF_R | VMF_W), 1, VMF_R));
	close_bench(&b);
}

static void at_map_time(void)
{
	struct bench b;

	open_in_context(&b);
	rig_map_as(&b.r, b.object,
		   (struct vmf_map){ .flags = VMF_SHARED, .pages = 4, .prot = VMF_R, .action = VMF_POPULATE });
	close_bench(&b);
}

/* Pages of a window of pfns fault in context, on a server's thread too. */
static void on_a_servers_thread(void)
{
	int fd = memfd_create("device", MFD_CLOEXEC);
	struct vmf_space *space;
	struct bench b;
	vmf_pfn first;
	vmf_va at;
	char c;

	rig_open(&b.r, VMF_THREADED);
	CHECK_EQ(ftruncate(fd, 4 * PAGE), 0);
	CHECK_ERR(vmf_linux_aperture(b.r.port, fd, 0, 4, &first), 0);
	CHECK_ERR(vmf_linux_space(b.r.port, &space, NULL), 0);
	CHECK_ERR(vmf_object_create(b.r.port, &b.object, &touchy, NULL, 4), 0);
	CHECK_ERR(vmf_object_create(b.r.port, &b.another, &device, &first, 4), 0);
	CHECK_ERR(vmf_map(space, b.another, &(struct vmf_map){ .size = sizeof(struct vmf_map), .flags = VMF_SHARED,
							      .pages = 4, .prot = VMF_R }, &at), 0);
	other = (char *)at;
	CHECK_EQ(rig_load(rig_map(&b.r, b.object, VMF_SHARED, 4, VMF_R | VMF_W), &c), 0);
	vmf_linux_space_close(space);
	close_bench(&b);
	close(fd);
}

static const struct vmtest tests[] = {
	VMTEST(in_a_fault), VMTEST(in_vmf_touch), VMTEST(at_map_time), VMTEST(on_a_servers_thread),
};
VMTEST_MAIN(tests, 20)
