/* SPDX-License-Identifier: MIT
 *
 * Every host.alloc of a long scenario fails once, one after the other.  A call that fails for it says -VMF_ENOMEM, has
 * done nothing, and works when it is called again; faults go on; nothing is left over.
 */
#include "drivers/devmem.h"
#include "drivers/ring.h"
#include "rig.h"
#include "testback.h"

#define PAGES 40u

static bool failed; /* this round's failure has been seen */

/* Once it may say that there is no memory; then it has to work. */
#define MUST(call) \
	do { \
		int err_ = (call); \
		if (err_ == -VMF_ENOMEM && !failed) { \
			failed = true; \
			err_ = (call); \
		} \
		CHECK_ERR(err_, 0); \
	} while (0)

static vmf_va map(struct rig *r, struct vmf_object *object, uint64_t pages, unsigned action)
{
	struct vmf_map m = rig_map(r, pages, VMF_R | VMF_W);
	vmf_va at = 0;

	m.action = (uint8_t)action;
	MUST(vmf_map(r->space, object, &m, &at));
	return at;
}

static void write_and_cut(struct rig *r, vmf_va at)
{
	for (unsigned i = 0; i < PAGES; i++) {
		uint8_t byte = (uint8_t)(i + 1);

		CHECK_OK(vmf_sim_store(r->space, at + i * PAGE, &byte, 1));
	}
	MUST(vmf_protect(r->space, at + 3 * PAGE, 4, VMF_R));
	MUST(vmf_unmap(r->space, at + 20 * PAGE, 5));
	MUST(vmf_protect(r->space, at + 2 * PAGE, 6, VMF_R | VMF_W));
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(rig_byte(r, at + i * PAGE), i - 20 < 5 ? -VMF_SIGSEGV : (int)i + 1);
}

static void zeroes(struct rig *r)
{
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	struct vmf_object *object;

	MUST(vmf_object_create(r->port, &object, &ops, NULL, 1u << 20));
	write_and_cut(r, map(r, object, PAGES, VMF_LAZY));
	map(r, object, PAGES, VMF_POPULATE);
	MUST(vmf_revoke(object, 0, 10));
	vmf_object_put(object);
}

static void drivers(struct rig *r)
{
	static struct vmf_frame *frames[PAGES];
	struct vmf_devmem d = { .first = { VMF_SIM_DEVICE }, .pages = PAGES, .attr = { .type = VMF_UC }, .run = 3 };
	struct vmf_ring ring;

	MUST(vmf_ring_open(&ring, r->port, frames, PAGES));
	write_and_cut(r, map(r, ring.object, PAGES, VMF_LAZY));
	MUST(vmf_ring_replace(&ring, 2, NULL));
	vmf_ring_close(&ring);
	MUST(vmf_devmem_open(&d, r->port));
	write_and_cut(r, map(r, d.object, PAGES, VMF_LAZY));
	d.eager = true;
	write_and_cut(r, map(r, d.object, PAGES, VMF_LAZY));
	MUST(vmf_unmap(r->space, VMF_SIM_LOWEST, 65536));
	vmf_devmem_close(&d);
}

static void file(struct rig *r)
{
	static struct testback back;
	static const struct vmf_backing_ops *ops;
	struct vmf_object *object = NULL;
	vmf_va at;

	testback_open(&back, r->port, PAGES * PAGE - 7, TESTBACK_THREAD);
	back.hole = 30;
	back.hole_pages = 3;
	ops = testback_ops();
	{
		const struct vmf_backed b = { .size = sizeof(b), .ops = ops, .self = &back, .around = 4, .readahead = 8 };

		MUST(vmf_object_backed(r->port, &object, &b));
	}
	at = map(r, object, PAGES, VMF_LAZY);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(rig_byte(r, at + i * PAGE), i - 30 < 3 ? 0 : testback_byte(&back, i * PAGE));
	write_and_cut(r, at);
	MUST(vmf_sync(object, 0, PAGES, NULL));
	vmf_reclaim(object, 0, PAGES);
	for (unsigned i = 0; i < 20; i++)
		CHECK_EQ(rig_byte(r, at + i * PAGE), i + 1);
	testback_resize(&back, 10 * PAGE);
	MUST(vmf_object_resize(object));
	CHECK_EQ(rig_byte(r, at + 9 * PAGE), 10);
	MUST(vmf_unmap(r->space, VMF_SIM_LOWEST, 65536));
	vmf_object_put(object);
	testback_close(&back);
}

/* false: it went through without the failure, so there are no more. */
static bool round_with(unsigned store, uint32_t n)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)store, .protect = true, .ram_pages = RAM, .fail_alloc = n,
	};
	struct rig r = { .store = (uint8_t)store };
	bool more;
	int err;

	failed = false;
	err = vmf_sim_open(&r.sim, &config);
	if (err) {
		CHECK_ERR(err, -VMF_ENOMEM);
		return true;
	}
	r.port = vmf_sim_port(r.sim);
	MUST(vmf_sim_space(r.sim, &r.space));
	zeroes(&r);
	drivers(&r);
	file(&r);
	more = vmf_sim_calls(r.sim, VMF_SIM_ALLOC) >= n;
	rig_close(&r);
	return more;
}

static void each_allocation_fails_once(unsigned store)
{
	uint32_t n = 1;

	vmtest_with = rig_store_name[store];
	while (round_with(store, n))
		n++;
	CHECK(n > 50);
}

static void by_address(void)
{
	each_allocation_fails_once(VMF_BY_ADDRESS);
}

static void by_offset(void)
{
	each_allocation_fails_once(VMF_BY_OFFSET);
}

static void by_copy(void)
{
	each_allocation_fails_once(VMF_BY_COPY);
}

/* As above, for the pmap's and the machine's own resources: each of these calls of one fault's life fails once. */
static void each_point_fails_once(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	static const struct { enum vmf_sim_point point; int err; } t[] = {
		{ VMF_SIM_ATTACH, VMF_ENOMEM }, { VMF_SIM_ENTER, VMF_ENOMEM }, { VMF_SIM_ENTER, VMF_EAGAIN },
		{ VMF_SIM_SUPPLY, VMF_ENOMEM }, { VMF_SIM_SEGMENT, VMF_ENOMEM }, { VMF_SIM_PROTECT, VMF_ENOMEM },
		{ VMF_SIM_DETACH, VMF_ENOMEM }, { VMF_SIM_REMOVE, VMF_ENOMEM },
	};
	struct vmf_object *object;
	struct rig r;
	vmf_va at;

	RIG_EACH(r)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
			for (uint32_t n = 1; n < 100; n++) {
				uint64_t calls = vmf_sim_calls(r.sim, t[i].point) + n;

				failed = false;
				vmf_sim_fail(r.sim, t[i].point, n, t[i].err);
				MUST(vmf_object_create(r.port, &object, &ops, NULL, PAGES));
				at = map(&r, object, PAGES, VMF_LAZY);
				write_and_cut(&r, at);
				MUST(vmf_revoke(object, 0, PAGES));
				CHECK_EQ(rig_byte(&r, at + 7 * PAGE), 8);
				MUST(vmf_unmap(r.space, at, PAGES));
				vmf_object_put(object);
				vmf_sim_fail(r.sim, t[i].point, 0, 0);
				CHECK_EQ(rig_free_frames(&r), RAM);
				if (vmf_sim_calls(r.sim, t[i].point) < calls)
					break;
			}
}

static const struct vmtest tests[] = {
	VMTEST(by_address),
	VMTEST(by_offset),
	VMTEST(by_copy),
	VMTEST(each_point_fails_once),
};
VMTEST_MAIN(tests, 60)
