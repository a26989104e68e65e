/* SPDX-License-Identifier: MIT
 *
 * Answers of drivers at the wrong moment, or to the wrong question, and what the core makes of them: revoked while they
 * were given, less than was asked for, pfns where none can be shown, handlers in handlers in handlers.
 */
#define VMF_WORKED_PORT
#include <vmfault/pmap.h>
#include "drivers/devmem.h"
#include "drivers/ring.h"
#include "rig.h"

#define PAGES 8u
#define DEEP 16u /* more than the core lets handlers nest */

struct driver {
	struct rig *r;
	struct vmf_object *object;
	vmf_handler *answer;
	unsigned asked;
	struct vmf_result inner; /* of vmf_install_*() */
};

static enum vmf_code ask(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->asked++;
	return d->answer(req, ans);
}

static const struct vmf_ops fault_ops = { .size = sizeof(fault_ops), .fault = ask };
static const struct vmf_ops nopage_ops = { .size = sizeof(nopage_ops), .nopage = ask };
static const struct vmf_ops nopfn_ops = { .size = sizeof(nopfn_ops), .nopfn = ask };

static void driver_open(struct driver *d, struct rig *r, const struct vmf_ops *ops, vmf_handler *answer)
{
	*d = (struct driver){ .r = r, .answer = answer };
	CHECK_ERR(vmf_object_create(r->port, &d->object, ops, d, PAGES), 0);
}

static vmf_va driver_map(struct driver *d, struct vmf_map like)
{
	struct vmf_map map = rig_map(d->r, PAGES, VMF_R | VMF_W);
	vmf_va at;

	map.flags = like.flags ? like.flags : map.flags;
	map.action = like.action;
	map.raw = like.raw;
	map.attr = like.attr;
	CHECK_ERR(vmf_map(d->r->space, d->object, &map, &at), 0);
	return at;
}

static void driver_close(struct driver *d, vmf_va at)
{
	CHECK_ERR(vmf_unmap(d->r->space, at, PAGES), 0);
	vmf_object_put(d->object);
}

/* ------------------------------------------------------------------------- revoked while it was given */

static const struct vmf_attr uncached = { .type = VMF_UC };

static enum vmf_code revoked_then_installed(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)ans;
	if (d->asked == 1)
		CHECK_ERR(vmf_revoke(req->object, req->off, 1), 0);
	d->inner = vmf_install_pfns(req, req->off, (vmf_pfn){ VMF_SIM_DEVICE + req->off }, 1, uncached, req->prot);
	if (d->asked == 1)
		CHECK_RESULT(d->inner, VMF_RETRY, VMF_WHY_RACE);
	return VMF_DONE;
}

static enum vmf_code revoked_then_left(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	if (((struct driver *)req->object_priv)->asked == 1)
		CHECK_ERR(vmf_revoke(req->object, req->off, 1), 0);
	return VMF_NEXT;
}

/* Pfns that a handler installs, and those of an area that was mapped raw: asked again, and right then. */
static void pfns_that_were_revoked_are_not_entered(void)
{
	const struct vmf_map raw = { .action = VMF_RAW, .raw = { VMF_SIM_DEVICE }, .attr = uncached };
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned eager = 0; eager < 2; eager++) {
		rig_open(&r, VMF_BY_ADDRESS);
		driver_open(&d, &r, &fault_ops, eager ? revoked_then_left : revoked_then_installed);
		at = driver_map(&d, eager ? raw : (struct vmf_map){ .attr = uncached });
		CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
		*(uint8_t *)vmf_sim_device(r.sim, 3) = 77;
		CHECK_EQ(rig_byte(&r, at + 3 * PAGE), 77);
		CHECK_EQ(d.asked, 2);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
		CHECK_EQ(rig_stats(&r).faults, 1);
		driver_close(&d, at);
		rig_close(&r);
	}
}

/* --------------------------------------------------------------------------- answers to another question */

static enum vmf_code read_only(const struct vmf_req *req, struct vmf_ans *ans)
{
	CHECK(!vmf_frame_alloc(req->port, 0, 0, true, &ans->frames[0]));
	ans->n = 1;
	ans->prot = VMF_R;
	return VMF_OK;
}

static enum vmf_code read_only_pfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = VMF_SIM_DEVICE + req->off;
	ans->n = 1;
	ans->prot = VMF_R;
	return VMF_OK;
}

/* What may only be read is no answer to a write; a frame goes back. */
static void less_than_was_asked_for(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned pfn = 0; pfn < 2; pfn++) {
		rig_open(&r, VMF_BY_ADDRESS);
		driver_open(&d, &r, pfn ? &nopfn_ops : &nopage_ops, pfn ? read_only_pfn : read_only);
		at = driver_map(&d, (struct vmf_map){ .flags = VMF_SHARED, .attr = pfn ? uncached : (struct vmf_attr){ 0 } });
		CHECK_RESULT(vmf_sim_store(r.space, at, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK(!rig_present(&r, at));
		CHECK_EQ(rig_free_frames(&r), RAM);
		CHECK_EQ(rig_byte(&r, at), 0);
		driver_close(&d, at);
		rig_close(&r);
	}
}

static enum vmf_code pfns_outside(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)ans;
	d->inner = vmf_install_pfns(req, PAGES, (vmf_pfn){ VMF_SIM_DEVICE }, 1, uncached, req->prot);
	return VMF_DONE;
}

static enum vmf_code pfns_that_wrap(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)ans;
	d->inner = vmf_install_pfns(req, 0, (vmf_pfn){ UINT64_MAX - 1 }, PAGES, uncached, req->prot);
	return VMF_DONE;
}

static enum vmf_code neighbours_only(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->inner = vmf_install_pfns(req, req->off + 1, (vmf_pfn){ VMF_SIM_DEVICE }, 2, uncached, VMF_R);
	CHECK_OK(d->inner);
	ans->why = VMF_WHY_POLICY;
	return VMF_SIGBUS;
}

static void pfns_that_make_no_sense(void)
{
	static const struct { vmf_handler *answer; unsigned flags; enum vmf_why why; unsigned neighbour; } t[] = {
		{ pfns_outside, VMF_SHARED, VMF_WHY_DRIVER, 0 },
		{ pfns_that_wrap, VMF_SHARED, VMF_WHY_DRIVER, 0 },
		{ neighbours_only, VMF_SHARED, VMF_WHY_POLICY, 1 },
		/* In a private area only the page that was asked for: the others may have become its own. */
		{ neighbours_only, VMF_MIXED, VMF_WHY_POLICY, 0 },
	};
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		rig_open(&r, VMF_BY_ADDRESS);
		driver_open(&d, &r, &fault_ops, t[i].answer);
		at = driver_map(&d, (struct vmf_map){ .flags = t[i].flags, .attr = uncached });
		CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, t[i].why);
		CHECK(!rig_present(&r, at));
		CHECK_EQ(rig_present(&r, at + PAGE), t[i].neighbour);
		driver_close(&d, at);
		rig_close(&r);
	}
}

/* ------------------------------------------------------------------------------- handlers in handlers */

static struct { struct vmf_object *object[DEEP]; vmf_va at[DEEP]; unsigned depth; struct vmf_result last; } nest;

static enum vmf_code one_deeper(const struct vmf_req *req, struct vmf_ans *ans)
{
	const struct vmf_trap trap = { .va = nest.at[++nest.depth], .access = VMF_R };
	struct driver *d = req->object_priv;
	struct vmf_ticket ticket = { 0 };
	struct vmf_result r = vmf_handle(d->r->space, &trap, &ticket);

	if (r.code == VMF_RETRY) {
		nest.last = r;
		vmf_ticket_drop(d->r->space, &ticket);
		/* Nor is there a slot to look an area up with, and whoever has the lock may wait for us. */
		CHECK(!vmf_area_find(d->r->space, nest.at[0]));
		ans->why = VMF_WHY_POLICY;
		return VMF_SIGBUS;
	}
	ans->why = r.why;
	return r.code;
}

static void handlers_nest_only_so_deep(void)
{
	struct driver d[DEEP];
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	for (unsigned i = 0; i < DEEP; i++) {
		driver_open(&d[i], &r, &nopage_ops, one_deeper);
		nest.at[i] = driver_map(&d[i], (struct vmf_map){ .flags = VMF_SHARED });
	}
	nest.depth = 0;
	CHECK_RESULT(vmf_sim_load(r.space, nest.at[0], &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_POLICY);
	CHECK_EQ(nest.last.why, VMF_WHY_RESOURCE);
	CHECK(nest.depth >= 2 && nest.depth < DEEP - 1);
	for (unsigned i = 0; i < DEEP; i++)
		driver_close(&d[i], nest.at[i]);
	rig_close(&r);
}

static enum vmf_code moves_there(const struct vmf_req *req, struct vmf_ans *ans)
{
	/* A page from elsewhere, onto the one that is asked for. */
	CHECK_ERR(vmf_space_moved(vmf_area_space(req->area), req->va + 64 * PAGES * PAGE, req->va, 1), -VMF_EDEADLK);
	ans->why = VMF_WHY_POLICY;
	return VMF_SIGBUS;
}

static void nothing_moves_onto_the_area_of_a_handler(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	driver_open(&d, &r, &nopage_ops, moves_there);
	at = driver_map(&d, (struct vmf_map){ .flags = VMF_SHARED });
	CHECK_RESULT(vmf_sim_load(r.space, at, &(char){ 0 }, 1), VMF_SIGBUS, VMF_WHY_POLICY);
	driver_close(&d, at);
	rig_close(&r);
}

/* ---------------------------------------------------------------------------------- drivers of ours */

/* While somebody exchanges a frame, a fault neither waits nor guesses. */
static void a_ring_that_is_being_changed(void)
{
	const struct vmf_trap trap = { .access = VMF_R };
	struct vmf_frame *frames[PAGES];
	struct vmf_ticket ticket = { 0 };
	struct vmf_trap here = trap;
	struct vmf_ring ring;
	struct rig r;

	rig_open(&r, VMF_BY_ADDRESS);
	CHECK_ERR(vmf_ring_open(&ring, r.port, frames, PAGES), 0);
	here.va = rig_show(&r, ring.object, PAGES, VMF_R);
	ring.busy = 1;
	CHECK_RESULT(vmf_handle(r.space, &here, &ticket), VMF_RETRY, VMF_WHY_IO);
	CHECK(ticket.wait == &ring.changed && !vmf_ticket_ready(&ticket));
	ring.busy = 0;
	vmf_wake(r.port, &ring.changed);
	CHECK(vmf_ticket_ready(&ticket));
	CHECK_OK(vmf_handle(r.space, &here, &ticket));
	CHECK_ERR(vmf_unmap(r.space, here.va, PAGES), 0);
	vmf_ring_close(&ring);
	rig_close(&r);
}

/* On the worked port, whose memory map is ours to make. */
static struct tiny_host host;
static struct tiny_pmap pmap[2];

static struct vmf_port *tiny_new(uint64_t device)
{
	struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_DEVICE, .first = { 4096 }, .pages = device,
				   .attr = uncached };
	struct vmf_port *port;

	memset(&host, 0, sizeof(host));
	memset(&pmap, 0, sizeof(pmap));
	CHECK_ERR(tiny_port(&host, &port), 0);
	CHECK_ERR(vmf_phys_add(port, &range), 0);
	return port;
}

static struct vmf_space *tiny_space(struct vmf_port *port, unsigned i, const struct vmf_pmap_ops *ops)
{
	struct vmf_space *space;

	pmap[i].pmap = (struct vmf_pmap){ ops, TINY_VA, TINY_VA + 64 * PAGE };
	CHECK_ERR(vmf_space_create(port, &space, &pmap[i].pmap), 0);
	return space;
}

/* A fault of devmem brings no more than a run may be. */
static void a_run_has_an_end(void)
{
	struct vmf_devmem d = { .first = { 4096 }, .pages = 2 * VMF_RUN_MAX, .attr = uncached, .run = 2 * VMF_RUN_MAX };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 4, .prot = VMF_R };
	struct vmf_port *port = tiny_new(2 * VMF_RUN_MAX);
	struct vmf_space *space = tiny_space(port, 0, &tiny_pmap_ops);
	const struct vmf_trap trap = { .va = TINY_VA + PAGE, .access = VMF_R };
	struct vmf_stats stats = { .size = sizeof(stats) };
	struct vmf_ticket ticket = { 0 };

	CHECK_ERR(vmf_devmem_open(&d, port), 0);
	CHECK_ERR(vmf_map(space, d.object, &map, NULL), 0);
	CHECK_OK(vmf_handle(space, &trap, &ticket));
	vmf_space_stats(space, &stats);
	CHECK_EQ(stats.entered, 3);
	for (unsigned i = 1; i < 4; i++)
		CHECK(pmap[0].entry[i].present && pmap[0].entry[i].pfn.n == 4096 + i);
	CHECK_ERR(vmf_space_destroy(space), 0);
	vmf_devmem_close(&d);
	vmf_port_destroy(port);
}

static long no_table(struct vmf_pmap *p, const struct vmf_run *run)
{
	(void)p, (void)run;
	return -VMF_ENOMEM;
}

static unsigned supplies;

static int supply_once(struct vmf_pmap *p)
{
	(void)p;
	return supplies++ ? -VMF_ENOMEM : 0;
}

/* A pmap that cannot make tables for what is mapped at once: the reserve is filled up, and if that fails, it is
 * said. */
static void no_tables_for_what_is_mapped_raw(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 4, .prot = VMF_R, .action = VMF_RAW,
			       .raw = { 4096 }, .attr = uncached };
	struct vmf_pmap_ops ops = tiny_pmap_ops;
	struct vmf_port *port = tiny_new(4);
	struct vmf_object *o;
	struct vmf_space *space;

	ops.enter = no_table;
	ops.supply = supply_once;
	supplies = 0;
	space = tiny_space(port, 0, &ops);
	CHECK_ERR(vmf_object_create(port, &o, &zeroes, NULL, 4), 0);
	CHECK_ERR(vmf_map(space, o, &map, NULL), -VMF_ENOMEM);
	CHECK_EQ(supplies, 2);
	CHECK(!vmf_area_find(space, TINY_VA));
	vmf_object_put(o);
	CHECK_ERR(vmf_space_destroy(space), 0);
	vmf_port_destroy(port);
}

/* A pmap that shows no pfns; no driver enters one behind its back. */
static int attach_without_raw(struct vmf_pmap *p, struct vmf_map *map, vmf_pfn segment, bool wants_raw,
			      struct vmf_window *w)
{
	int err = tiny_attach(p, map, segment, wants_raw, w);

	w->raw = false;
	return err;
}

static enum vmf_code install_a_pfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	CHECK_RESULT(vmf_install_pfns(req, req->off, (vmf_pfn){ 4096 }, 1, uncached, VMF_R), VMF_SIGBUS, VMF_WHY_POLICY);
	return VMF_DONE;
}

static void no_pfns_where_none_can_be_shown(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = install_a_pfn };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 4, .prot = VMF_R, .attr = uncached };
	struct vmf_pmap_ops table = tiny_pmap_ops;
	struct vmf_port *port = tiny_new(4);
	struct vmf_result r = { 0 };
	struct vmf_object *o;
	struct vmf_space *space;

	table.attach = attach_without_raw;
	space = tiny_space(port, 0, &table);
	CHECK_ERR(vmf_object_create(port, &o, &ops, NULL, 4), 0);
	CHECK_ERR(vmf_map(space, o, &map, NULL), 0);
	CHECK(!tiny_access(space, &host, TINY_VA, VMF_R, &r));
	CHECK_RESULT(r, VMF_SIGBUS, VMF_WHY_POLICY);
	vmf_object_put(o);
	CHECK_ERR(vmf_space_destroy(space), 0);
	vmf_port_destroy(port);
}

/* ------------------------------------------------------------------------------- the ends of the world */

/* An area may be the last page that there is. */
static void a_copy_has_the_last_page(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	const vmf_va last = (vmf_va)0 - PAGE;
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED | VMF_FIXED, .va = last, .pages = 1,
			       .prot = VMF_R | VMF_W };
	struct vmf_port *port = tiny_new(4);
	struct vmf_space *from = tiny_space(port, 0, &tiny_pmap_ops), *to = tiny_space(port, 1, &tiny_pmap_ops);
	struct vmf_result r = { 0 };
	struct vmf_object *o;
	uint8_t *byte;

	CHECK_ERR(vmf_object_create(port, &o, &zeroes, NULL, 1), 0);
	CHECK_ERR(vmf_map(from, o, &map, NULL), 0);
	CHECK_ERR(vmf_space_copy(to, from), 0);
	byte = tiny_access(from, &host, last, VMF_W, &r);
	CHECK(byte);
	*byte = 9;
	byte = tiny_access(to, &host, last, VMF_R, &r);
	CHECK(byte && *byte == 9);
	CHECK_ERR(vmf_unmap(to, last, 1), 0);
	vmf_object_put(o);
	CHECK_ERR(vmf_space_destroy(from), 0);
	CHECK_ERR(vmf_space_destroy(to), 0);
	vmf_port_destroy(port);
}

static struct { struct vmf_port *port; unsigned in; } adding;

static void add_another(void *self, struct vmf_space *space, uint64_t at, uint64_t bytes)
{
	const struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_RESERVED, .first = { 0x4000000 },
					 .pages = 1 };

	(void)self, (void)space, (void)at, (void)bytes;
	if (adding.in && !--adding.in)
		CHECK_ERR(vmf_phys_add(adding.port, &range), 0);
}

/* Two add ranges to the memory map at the same moment, whichever that is: both are there. */
static void ranges_are_added_at_the_same_time(void)
{
	const struct vmf_range range = { .size = sizeof(range), .kind = VMF_PHYS_RAM, .first = { 0x5000000 }, .pages = 4 };
	unsigned moments = 0;
	struct rig r;

	for (bool met = true; met; moments++) {
		rig_open(&r, VMF_BY_ADDRESS);
		vmf_sim_on(r.sim, VMF_SIM_ALLOC, add_another, NULL);
		adding.port = r.port;
		adding.in = moments + 1;
		CHECK_ERR(vmf_phys_add(r.port, &range), 0);
		met = !adding.in;
		vmf_sim_on(r.sim, VMF_SIM_ALLOC, NULL, NULL);
		CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ 0x5000003 }), VMF_PHYS_RAM);
		CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ 0x4000000 }), met ? VMF_PHYS_RESERVED : VMF_PHYS_HOLE);
		rig_close_as(&r, RAM + 4);
	}
	CHECK(moments >= 3);
}

static const struct vmtest tests[] = {
	VMTEST(pfns_that_were_revoked_are_not_entered),
	VMTEST(less_than_was_asked_for),
	VMTEST(pfns_that_make_no_sense),
	VMTEST(handlers_nest_only_so_deep),
	VMTEST(nothing_moves_onto_the_area_of_a_handler),
	VMTEST(a_ring_that_is_being_changed),
	VMTEST(a_run_has_an_end),
	VMTEST(no_tables_for_what_is_mapped_raw),
	VMTEST(no_pfns_where_none_can_be_shown),
	VMTEST(a_copy_has_the_last_page),
	VMTEST(ranges_are_added_at_the_same_time),
};

VMTEST_MAIN(tests, 20)
