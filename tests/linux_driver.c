/* SPDX-License-Identifier: MIT
 *
 * Drivers that touch vmfault's memory themselves: another area than their own, on whatever thread they are asked, and
 * their own, which is found out.
 */
#include "linuxrig.h"
#include "testback.h"
#include "ports/linux/local.h"

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

/* -------------------------------------------------------------------------- on the threads of a threaded space */

/* A driver that touches `touched` once, when it is asked for page 0, and remembers what came of it. */
static struct {
	struct rig *r;
	char *at, *touched;
	int sig;
	struct vmf_result why;
	atomic_uint asked, slow;
	void (*first)(void);
	pthread_t partner;
} curious;

static enum vmf_code looks_around(const struct vmf_req *req, struct vmf_ans *ans)
{
	char c;

	if (req->off == 3) {
		curious.slow = 1;
		usleep(400000);
	}
	if (req->off == 0 && !curious.asked++) {
		if (curious.first)
			curious.first();
		curious.sig = rig_load(curious.touched, &c);
		curious.why = vmf_fault_why(curious.touched);
	}
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

/* Its driver, when it is asked for page 0 of its area, touches a page of that area or of another one. */
static void curious_run(unsigned threads, bool own, void (*first)(void))
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = looks_around };
	struct vmf_object *object, *another;
	char *mine, *others, c;
	struct rig r;

	rig_catching();
	rig_open_threads(&r, VMF_THREADED, threads);
	CHECK_ERR(vmf_object_create(r.port, &object, &ops, NULL, 4), 0);
	CHECK_ERR(vmf_object_create(r.port, &another, &zeroes, NULL, 4), 0);
	mine = rig_map(&r, object, VMF_SHARED, 4, VMF_R | VMF_W);
	others = rig_map(&r, another, VMF_SHARED, 4, VMF_R | VMF_W);
	curious.r = &r;
	curious.at = mine;
	curious.asked = curious.slow = 0;
	curious.first = first;
	curious.touched = (own ? mine : others) + PAGE;
	CHECK_EQ(rig_load(mine, &c), 0);
	CHECK(curious.asked);
	if (first)
		CHECK(!pthread_join(curious.partner, NULL));
	/* The next access asks again: nothing of the refusal is left. */
	CHECK_EQ(rig_load(curious.touched, &c), 0);
	vmf_object_put(object);
	vmf_object_put(another);
	rig_close(&r);
}

static void check_refused(void)
{
	CHECK_EQ(curious.sig, SIGBUS);
	CHECK_RESULT(curious.why, VMF_SIGBUS, VMF_WHY_POLICY);
}

/* Whether somebody is free to resolve it or not. */
static void its_own_area(void)
{
	for (unsigned threads = 1; threads <= 3; threads++) {
		curious_run(threads, true, NULL);
		check_refused();
	}
}

static void another_area(void)
{
	curious_run(2, false, NULL);
	CHECK_EQ(curious.sig, 0);
	curious_run(1, false, NULL); /* nobody is free, if faults have a thread of their own at all */
	if (rig_lacks(VMF_THREADED, VMF_LACKS_SHARED))
		CHECK_EQ(curious.sig, 0);
	else
		check_refused();
}

static void *unmap_page(void *page)
{
	CHECK(!munmap(page, PAGE));
	return NULL;
}

static void unmap_meanwhile(void)
{
	struct vmf__local *local = (struct vmf__local *)vmf_space_pmap(curious.r->space);

	CHECK(!pthread_create(&curious.partner, NULL, unmap_page, curious.touched + 2 * PAGE));
	CHECK_SOON(vmf__uffd_changing(local->fd[VMF__W_SHARED]));
}

/* The only server is in a handler, so nobody reads that something was unmapped; and until somebody does nothing can be
 * poisoned. */
static void while_the_layout_changes(void)
{
	if (rig_lacks(VMF_THREADED, VMF_LACKS_SHARED))
		return;
	curious_run(1, true, unmap_meanwhile);
	check_refused();
}

static enum vmf_code writes_elsewhere(const struct vmf_req *req, struct vmf_ans *ans)
{
	if (!curious.asked++) {
		curious.sig = rig_store(curious.touched, 1);
		curious.why = vmf_fault_why(curious.touched);
	}
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

/* It is there and clean, so nothing can be poisoned. */
static void another_area_written(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = writes_elsewhere };
	struct vmf_object *object, *another;
	struct testback back;
	struct rig r;
	char c;

	if (rig_lacks(VMF_THREADED, VMF_LACKS_SHARED))
		return;
	rig_catching();
	rig_open_threads(&r, VMF_THREADED, 1);
	testback_open(&back, r.port, 4 * PAGE, TESTBACK_AT_ONCE);
	another = testback_object(&back, NULL);
	CHECK_ERR(vmf_object_create(r.port, &object, &ops, NULL, 4), 0);
	curious.touched = rig_map(&r, another, VMF_SHARED, 4, VMF_R | VMF_W);
	curious.asked = 0;
	CHECK_EQ(rig_load(curious.touched, &c), 0);
	CHECK_EQ(rig_load(rig_map(&r, object, VMF_SHARED, 4, VMF_R | VMF_W), &c), 0);
	/* Where pages cannot be write-protected, it is dirty by the first access. */
	if (!(vmf_linux_lacks(r.space) & VMF_LACKS_WP))
		check_refused();
	CHECK_EQ(rig_store(curious.touched, 2), 0);
	vmf_object_put(object);
	vmf_object_put(another);
	rig_close(&r);
	RIG_BACKING_CLOSE(&back);
}

static void *load_page(void *page)
{
	char c;

	CHECK_EQ(rig_load(page, &c), 0);
	return NULL;
}

static void take_time(void)
{
	CHECK(!pthread_create(&curious.partner, NULL, load_page, curious.touched + PAGE));
	usleep(400000);
}

static void while_another_takes_time(void)
{
	CHECK(!pthread_create(&curious.partner, NULL, load_page, curious.at + 3 * PAGE));
	CHECK_SOON(curious.slow);
}

/* Others wait longer than the guard does, and are not refused for that; nor is a driver whose page somebody will bring
 * who is slow himself at the moment. */
static void a_slow_driver(void)
{
	curious_run(1, true, take_time);
	check_refused();
	curious_run(2, false, while_another_takes_time);
	CHECK_EQ(curious.sig, 0);
}

static const struct vmtest tests[] = {
	VMTEST(its_own_area), VMTEST(another_area), VMTEST(another_area_written),
	VMTEST(while_the_layout_changes), VMTEST(a_slow_driver),
	VMTEST(in_a_fault), VMTEST(in_vmf_touch), VMTEST(at_map_time), VMTEST(on_a_servers_thread),
};
VMTEST_MAIN(tests, 20)
