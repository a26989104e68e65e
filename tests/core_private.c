/* SPDX-License-Identifier: MIT
 *
 * Private areas in windows by address: what is written is the area's own, and nobody else's; what is not written is the
 * object's.  With entries that can be write-protected, and without.
 */
#include "rig.h"
#include "testback.h"

#define PAGES 8u

/* A driver whose page i is full of 10 + i. */
struct driver {
	struct vmf_frame *frame[PAGES];
	struct vmf_object *object;
	unsigned asked, announced, opened, closed;
	uint8_t prot; /* of its answers */
};

static enum vmf_code nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->asked++;
	vmf_frame_get(d->frame[req->off]);
	ans->frames[0] = d->frame[req->off];
	ans->n = 1;
	ans->prot &= d->prot;
	return VMF_OK;
}

static enum vmf_code mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	(void)ans;
	d->announced++;
	return VMF_OK;
}

static const struct vmf_ops driver_ops = { .size = sizeof(driver_ops), .nopage = nopage, .mkwrite = mkwrite };
static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void fill(struct rig *r, struct driver *d, unsigned i, int byte)
{
	memset(vmf_frame_bytes(r->port, d->frame[i]), byte, PAGE);
}

static void driver_open(struct rig *r, struct driver *d)
{
	*d = (struct driver){ .prot = VMF_R | VMF_W | VMF_X };
	for (unsigned i = 0; i < PAGES; i++) {
		CHECK_ERR(vmf_frame_alloc(r->port, 0, 0, false, &d->frame[i]), 0);
		fill(r, d, i, 10 + (int)i);
	}
	CHECK_ERR(vmf_object_create(r->port, &d->object, &driver_ops, d, PAGES), 0);
}

static void driver_close(struct rig *r, struct driver *d)
{
	vmf_object_put(d->object);
	for (unsigned i = 0; i < PAGES; i++)
		vmf_frame_put(r->port, d->frame[i]);
}

static vmf_va map(struct rig *r, struct vmf_object *o, unsigned flags, unsigned prot, uint64_t pages)
{
	struct vmf_map m = { .size = sizeof(m), .flags = flags, .pages = pages, .prot = (uint8_t)prot,
			     .maxprot = VMF_R | VMF_W };
	vmf_va va = 0;

	CHECK_ERR(vmf_map(r->space, o, &m, &va), 0);
	return va;
}

static vmf_va page(vmf_va va, unsigned i) { return va + i * (vmf_va)PAGE; }

static void store(struct rig *r, vmf_va va, uint8_t byte)
{
	CHECK_OK(vmf_sim_store(r->space, va, &byte, 1));
}

/* Twice: with write-protection, and where whatever is entered can be written. */
#define PROTECT_EACH(r) \
	for (int protect_ = 1; protect_ >= 0 && (open_as(&(r), protect_), true); rig_close(&(r)), protect_--)

static void open_as(struct rig *r, bool protect)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_ADDRESS, .protect = protect,
					       .ram_pages = RAM, .bolts = 4 };

	rig_open_as(r, &config);
	vmtest_with = protect ? "by address" : "by address, unprotected";
	rig_soil(r);
}

/* --------------------------------------------------------------------------------------- writing */

static void a_write_is_the_area_s_own(void)
{
	struct driver d;
	struct rig r;

	PROTECT_EACH(r) {
		vmf_va one, other, shared;

		driver_open(&r, &d);
		one = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
		other = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
		shared = map(&r, d.object, VMF_SHARED, VMF_R | VMF_W, PAGES);
		CHECK_EQ(rig_byte(&r, page(one, 2)), 12);    /* read, then written */
		store(&r, page(one, 2) + 1, 99);
		store(&r, page(other, 2) + 1, 98); /* written at once */
		CHECK_EQ(rig_byte(&r, page(one, 2)), 12);
		CHECK_EQ(rig_byte(&r, page(one, 2) + 1), 99);
		CHECK_EQ(rig_byte(&r, page(other, 2) + 1), 98);
		CHECK_EQ(rig_byte(&r, page(shared, 2) + 1), 12);
		CHECK_EQ(((uint8_t *)vmf_frame_bytes(r.port, d.frame[2]))[1], 12);
		CHECK_EQ(d.announced, protect_ ? 0 : 1); /* only the shared one, where reading makes writable */
		CHECK_ERR(vmf_unmap(r.space, one, 3 * PAGES), 0);
		driver_close(&r, &d);
	}
}

static void what_is_not_written_is_the_object_s(void)
{
	struct driver d;
	struct rig r;
	vmf_va va;

	open_as(&r, true);
	driver_open(&r, &d);
	va = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
	store(&r, page(va, 1), 99);
	CHECK_EQ(rig_byte(&r, page(va, 2)), 12);
	fill(&r, &d, 1, 50);
	fill(&r, &d, 2, 51);
	CHECK_EQ(rig_byte(&r, page(va, 2)), 51);
	CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
	CHECK(!rig_present(&r, page(va, 1)) && !rig_present(&r, page(va, 2)));
	d.asked = 0;
	CHECK_EQ(rig_byte(&r, page(va, 1)), 99);
	CHECK_EQ(rig_byte(&r, page(va, 1) + 1), 11);
	CHECK_EQ(d.asked, 0); /* it is nobody's business any more */
	CHECK_EQ(rig_byte(&r, page(va, 2)), 51);
	CHECK_EQ(d.asked, 1);
	CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
	driver_close(&r, &d);
	rig_close(&r);
}

/* The driver's permission is for its own frame. */
static void a_driver_that_allows_reading_only(void)
{
	struct driver d;
	struct rig r;

	PROTECT_EACH(r) {
		vmf_va va;

		driver_open(&r, &d);
		d.prot = VMF_R;
		va = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
		store(&r, va, 99);
		CHECK_EQ(rig_byte(&r, va), 99);
		CHECK_EQ(((uint8_t *)vmf_frame_bytes(r.port, d.frame[0]))[0], 10);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		driver_close(&r, &d);
	}
}

static enum vmf_code installs(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	struct vmf_result r;

	(void)ans;
	for (unsigned i = 0; i < PAGES; i++)
		vmf_frame_get(d->frame[i]);
	r = vmf_install_frames(req, 0, d->frame, PAGES, VMF_R);
	return r.code == VMF_OK ? VMF_DONE : (enum vmf_code)r.code;
}

/* A run around the fault must not cover what is private already. */
static void runs_spare_what_is_private(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = installs };
	struct driver d;
	struct rig r;

	PROTECT_EACH(r) {
		struct vmf_object *o;
		vmf_va va;

		driver_open(&r, &d);
		CHECK_ERR(vmf_object_create(r.port, &o, &ops, &d, PAGES), 0);
		va = map(&r, o, 0, VMF_R | VMF_W, PAGES);
		store(&r, page(va, 3), 99);
		CHECK_ERR(vmf_revoke(o, 0, PAGES), 0); /* no entry is left */
		CHECK_EQ(rig_byte(&r, page(va, 4)), 14);
		CHECK_EQ(rig_present(&r, page(va, 5)), protect_);
		CHECK_EQ(rig_byte(&r, page(va, 3)), 99);
		store(&r, page(va, 5), 98);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(((uint8_t *)vmf_frame_bytes(r.port, d.frame[i]))[0], 10 + i);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		vmf_object_put(o);
		driver_close(&r, &d);
	}
}

/* -------------------------------------------------------------------------- zeroes, files, populating */

static void zeroes_need_no_page_of_the_object(void)
{
	struct vmf_object *o;
	struct rig r;

	PROTECT_EACH(r) {
		uint64_t before = rig_free_frames(&r);
		vmf_va va, shared;

		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, PAGES), 0);
		shared = map(&r, o, VMF_SHARED, VMF_R | VMF_W, PAGES);
		store(&r, page(shared, 1), 7);
		va = map(&r, o, 0, VMF_R | VMF_W, PAGES);
		CHECK_EQ(rig_byte(&r, page(va, 1)), 7);
		CHECK_EQ(rig_byte(&r, va), 0);
		store(&r, va, 5);
		CHECK_EQ(rig_byte(&r, va + 1), 0);
		CHECK_EQ(rig_byte(&r, shared), 0);
		CHECK_EQ(before - rig_free_frames(&r), protect_ ? 3 : 4); /* two shared, and what is private */
		vmf_object_put(o);
		CHECK_ERR(vmf_unmap(r.space, shared, 2 * PAGES), 0);
		CHECK_EQ(rig_free_frames(&r), before);
	}
}

static void a_file_stays_clean(void)
{
	static struct testback back;
	static uint8_t bytes[PAGE];
	struct vmf_object *o;
	struct rig r;

	PROTECT_EACH(r) {
		const struct vmf_backed like = { .around = 4 };
		vmf_va va;

		testback_open(&back, r.port, PAGES * PAGE - 100, TESTBACK_AT_ONCE);
		o = testback_object(&back, &like);
		va = map(&r, o, 0, VMF_R | VMF_W, PAGES);
		store(&r, page(va, 1) + 5, 0);
		CHECK_EQ(vmf_page_state(o, 1), VMF_PRESENT);
		CHECK_ERR(vmf_sync(o, 0, PAGES, NULL), 0);
		CHECK_EQ(back.writes, 0);
		CHECK_EQ(vmf_reclaim(o, 0, PAGES), 4);
		CHECK_EQ(rig_byte(&r, page(va, 1) + 5), 0);
		CHECK_EQ(rig_byte(&r, page(va, 1) + 6), testback_byte(&back, PAGE + 6));
		CHECK_OK(vmf_sim_load(r.space, page(va, 2), bytes, PAGE));
		CHECK(testback_same(&back, 2 * PAGE, bytes, PAGE));
		store(&r, page(va, 6), 1);
		testback_resize(&back, 2 * PAGE); /* what is private stays, the rest is past the end */
		CHECK_ERR(vmf_object_resize(o), 0);
		CHECK_EQ(rig_byte(&r, page(va, 6)), 1);
		CHECK_EQ(rig_byte(&r, page(va, 5)), -(int)VMF_SIGBUS);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		vmf_object_put(o);
		testback_close(&back);
	}
}

static void populate_makes_it_private(void)
{
	struct vmf_map m = { .size = sizeof(m), .pages = 3, .prot = VMF_R | VMF_W };
	struct driver d;
	struct rig r;

	PROTECT_EACH(r) {
		struct vmf_stats before, after;
		vmf_va va = 0;

		for (m.action = VMF_POPULATE; m.action <= VMF_BOLT; m.action += VMF_BOLT - VMF_POPULATE) {
			driver_open(&r, &d);
			CHECK_ERR(vmf_map(r.space, d.object, &m, &va), 0);
			before = rig_stats(&r);
			store(&r, page(va, 2), 99);
			fill(&r, &d, 1, 50);
			CHECK_EQ(rig_byte(&r, page(va, 1)), 11);
			after = rig_stats(&r);
			CHECK_EQ(after.faults, before.faults);
			CHECK_ERR(vmf_unmap(r.space, va, 3), 0);
			driver_close(&r, &d);
		}
	}
}

/* ----------------------------------------------------------------------------- protect, unmap, memory */

static void protecting_and_back(void)
{
	struct driver d;
	struct rig r;

	PROTECT_EACH(r) {
		uint8_t byte = 98;
		vmf_va va;

		driver_open(&r, &d);
		va = map(&r, d.object, 0, VMF_R, PAGES);
		CHECK_EQ(rig_byte(&r, page(va, 1)), 11); /* the object's, where nobody may write */
		fill(&r, &d, 1, 50);
		CHECK_EQ(rig_byte(&r, page(va, 1)), 50);
		CHECK_ERR(vmf_protect(r.space, va, PAGES, VMF_R | VMF_W), 0);
		store(&r, page(va, 1), 99);
		CHECK_ERR(vmf_protect(r.space, va, PAGES, VMF_R), 0);
		CHECK_RESULT(vmf_sim_store(r.space, page(va, 1), &byte, 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_EQ(rig_byte(&r, page(va, 1)), 99);
		CHECK_ERR(vmf_protect(r.space, va, PAGES, VMF_R | VMF_W), 0);
		store(&r, page(va, 1) + 1, 97);
		CHECK_EQ(rig_byte(&r, page(va, 1)), 99);
		CHECK_EQ(((uint8_t *)vmf_frame_bytes(r.port, d.frame[1]))[1], 50);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		driver_close(&r, &d);
	}
}

static void unmapping_gives_the_frames_back(void)
{
	struct driver d;
	struct rig r;

	PROTECT_EACH(r) {
		uint64_t free;
		vmf_va va;

		driver_open(&r, &d);
		va = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
		free = rig_free_frames(&r);
		for (unsigned i = 0; i < PAGES; i++)
			store(&r, page(va, i), 99);
		CHECK_EQ(free - rig_free_frames(&r), PAGES);
		CHECK_ERR(vmf_unmap(r.space, page(va, 2), 3), 0); /* two pieces of one area */
		CHECK_EQ(free - rig_free_frames(&r), PAGES - 3);
		CHECK_EQ(rig_byte(&r, page(va, 1)), 99);
		CHECK_EQ(rig_byte(&r, page(va, 5)), 99);
		CHECK_EQ(rig_byte(&r, page(va, 3)), -(int)VMF_SIGSEGV);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		CHECK_EQ(rig_free_frames(&r), free);
		driver_close(&r, &d);
	}
}

static void moved_bytes_stay(void)
{
	struct driver d;
	struct rig r;
	vmf_va va, to = VMF_SIM_LOWEST + (1u << 24);

	open_as(&r, true);
	driver_open(&r, &d);
	va = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
	store(&r, page(va, 3), 99);
	/* As a platform that moves its page tables: the window is there before, the entries come by faults. */
	CHECK_ERR(vmf_space_moved(r.space, page(va, 2), to, 2), 0);
	CHECK_EQ(rig_byte(&r, page(va, 4)), 14);
	{
		struct vmf_area *a = vmf_area_find(r.space, page(to, 1));

		CHECK(a && vmf_area_va(a) == to && vmf_area_off(a) == 2);
		vmf_area_put(a);
	}
	CHECK_ERR(vmf_space_moved(r.space, to, page(va, 2), 2), 0);
	CHECK_EQ(rig_byte(&r, page(va, 3)), 99);
	CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
	driver_close(&r, &d);
	rig_close(&r);
}

/* No frame for the copy: the write fails, the page is what it was, and later it works. */
static void no_frame_for_the_copy(void)
{
	static struct vmf_frame *all[RAM];
	struct driver d;
	struct rig r;

	PROTECT_EACH(r) {
		uint8_t byte = 99;
		uint64_t n = 0;
		vmf_va va;

		driver_open(&r, &d);
		va = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
		if (protect_)
			CHECK_EQ(rig_byte(&r, va), 10);
		while (!vmf_frame_alloc(r.port, 0, 0, false, &all[n]))
			n++;
		CHECK_RESULT(vmf_sim_store(r.space, va, &byte, 1), VMF_OOM, VMF_WHY_RESOURCE);
		CHECK_EQ(rig_byte(&r, va), protect_ ? 10 : -(int)VMF_OOM);
		vmf_frame_put(r.port, all[--n]);
		store(&r, va, 99);
		CHECK_EQ(rig_byte(&r, va), 99);
		while (n)
			vmf_frame_put(r.port, all[--n]);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		driver_close(&r, &d);
	}
}

/* The pmap cannot take the object's page away: nothing has changed, and the next try works. */
static void the_old_entry_stays(void)
{
	struct driver d;
	struct rig r;
	uint8_t byte = 99;
	vmf_va va;

	open_as(&r, true);
	driver_open(&r, &d);
	va = map(&r, d.object, 0, VMF_R | VMF_W, PAGES);
	CHECK_EQ(rig_byte(&r, va), 10);
	vmf_sim_fail(r.sim, VMF_SIM_REMOVE, 1, -VMF_EBUSY);
	CHECK_RESULT(vmf_sim_store(r.space, va, &byte, 1), VMF_SIGBUS, VMF_WHY_DRIVER);
	CHECK_EQ(rig_byte(&r, va), 10);
	vmf_sim_fail(r.sim, VMF_SIM_ENTER, 1, -VMF_ENOMEM); /* after the copy: it is there at the next try */
	store(&r, va, 99);
	CHECK_EQ(rig_byte(&r, va), 99);
	CHECK_EQ(rig_byte(&r, va + 1), 10);
	CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
	driver_close(&r, &d);
	rig_close(&r);
}

/* -------------------------------------------------------------------------------------------- raw pfns */

static enum vmf_code nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->first = 0;
	ans->pfn.n = VMF_SIM_DEVICE;
	ans->n = 4;
	ans->attr.type = VMF_UC;
	(void)req;
	return VMF_OK;
}

static void device_memory_is_not_copied(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopfn = nopfn };
	struct vmf_map m = { .size = sizeof(m), .pages = 4, .prot = VMF_R | VMF_W, .raw = { VMF_SIM_DEVICE },
			     .attr = { .type = VMF_UC } };
	struct vmf_object *o;
	struct rig r;

	PROTECT_EACH(r) {
		uint8_t byte = 99;
		vmf_va va;

		CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 4), 0);
		*(uint8_t *)vmf_sim_device(r.sim, 1) = 77;
		for (m.action = VMF_LAZY; m.action <= VMF_RAW; m.action += VMF_RAW - VMF_LAZY) {
			m.flags = 0;
			CHECK_ERR(vmf_map(r.space, o, &m, &va), -VMF_EINVAL);
			m.flags = VMF_MIXED;
			if (!protect_ && m.action == VMF_RAW) { /* it could be written */
				CHECK_ERR(vmf_map(r.space, o, &m, &va), -VMF_ENOSYS);
				continue;
			}
			CHECK_ERR(vmf_map(r.space, o, &m, &va), 0);
			CHECK_EQ(rig_byte(&r, page(va, 1)), protect_ ? 77 : -(int)VMF_SIGBUS);
			CHECK_RESULT(vmf_sim_store(r.space, page(va, 1), &byte, 1), VMF_SIGBUS, VMF_WHY_POLICY);
			CHECK_EQ(*(uint8_t *)vmf_sim_device(r.sim, 1), 77);
			CHECK_ERR(vmf_unmap(r.space, va, 4), 0);
		}
		m.action = VMF_LAZY;
		m.prot = VMF_R;
		CHECK_ERR(vmf_map(r.space, o, &m, &va), 0);
		CHECK_EQ(rig_byte(&r, page(va, 1)), 77);
		CHECK_ERR(vmf_unmap(r.space, va, 4), 0);
		m.prot = VMF_R | VMF_W;
		vmf_object_put(o);
	}
}

static enum vmf_code a_pfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_result r = vmf_install_pfns(req, 0, (vmf_pfn){ VMF_SIM_DEVICE }, 4, (struct vmf_attr){ .type = VMF_UC },
					       VMF_R);

	(void)ans;
	return r.code == VMF_OK ? VMF_DONE : (enum vmf_code)r.code;
}

static void a_driver_that_shows_pfns_in_an_unmixed_area(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = a_pfn };
	struct vmf_object *o;
	struct rig r;
	uint8_t byte;
	vmf_va va;

	open_as(&r, true);
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 4), 0);
	va = map(&r, o, 0, VMF_R | VMF_W, 4);
	CHECK_EQ(vmf_sim_load(r.space, va, &byte, 1).code, VMF_SIGBUS);
	CHECK_ERR(vmf_unmap(r.space, va, 4), 0);
	vmf_object_put(o);
	rig_close(&r);
}

/* --------------------------------------------------------------------------------------------- refused */

static void what_is_refused(void)
{
	struct vmf_map m = { .size = sizeof(m), .pages = 1, .prot = VMF_R };
	static struct testback back;
	const struct vmf_backed stream = { .flags = VMF_STREAM };
	struct vmf_object *o;
	struct rig r;
	vmf_va va;

	rig_open(&r, VMF_BY_OFFSET);
	CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, 1), 0);
	CHECK_ERR(vmf_map(r.space, o, &m, &va), -VMF_ENOSYS);
	vmf_object_put(o);
	rig_close(&r);
	rig_open(&r, VMF_BY_ADDRESS);
	testback_open(&back, r.port, PAGE, TESTBACK_AT_ONCE);
	o = testback_object(&back, &stream);
	CHECK_ERR(vmf_map(r.space, o, &m, &va), -VMF_ENOSYS);
	vmf_object_put(o);
	testback_close(&back);
	rig_close(&r);
}

/* Bytes that were given away stay when their permissions go and come, and whatever becomes of the object. */
static void given_away_and_protected(void)
{
	static struct testback back;
	struct vmf_object *o;
	struct rig r;

	for (int protect = 0; protect < 2; protect++) {
		const struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_COPY, .protect = protect,
						       .ram_pages = RAM };
		vmf_va va;

		rig_open_as(&r, &config);
		testback_open(&back, r.port, PAGES * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&back, NULL);
		va = map(&r, o, 0, VMF_R | VMF_W, PAGES);
		store(&r, va, 99);
		CHECK_ERR(vmf_protect(r.space, va, 1, VMF_R), 0);
		CHECK_EQ(rig_byte(&r, va), 99);
		testback_resize(&back, 0);
		CHECK_ERR(vmf_object_resize(o), 0);
		CHECK_ERR(vmf_protect(r.space, va, 1, VMF_R | VMF_W), 0);
		store(&r, va + 1, 98);
		CHECK_EQ(rig_byte(&r, va), 99);
		CHECK_EQ(rig_byte(&r, page(va, 1)), -(int)VMF_SIGBUS);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		vmf_object_put(o);
		testback_close(&back);
		rig_close(&r);
	}
}

/* --------------------------------------------------------------------------------------- calling in */

static enum vmf_code waits(const struct vmf_req *req, struct vmf_ans *ans)
{
	static struct vmf_wait never;

	(void)req;
	ans->wait = &never;
	ans->why = VMF_WHY_RESOURCE;
	return VMF_RETRY;
}

/* It may call in: so nobody has the space's lock. */
static void unmaps(struct vmf_object *o, void *priv)
{
	struct rig *r = priv;

	(void)o;
	CHECK_ERR(vmf_unmap(r->space, VMF_SIM_LOWEST, 1), 0);
}

/* The object's last reference is a ticket's. */
static void leave_one_behind(struct rig *r)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = waits, .release = unmaps };
	struct vmf_ticket ticket = { 0 };
	struct vmf_trap trap = { .access = VMF_R };
	struct vmf_object *o;

	CHECK_ERR(vmf_object_create(r->port, &o, &ops, r, 1), 0);
	trap.va = map(r, o, VMF_SHARED, VMF_R, 1);
	CHECK_RESULT(vmf_handle(r->space, &trap, &ticket), VMF_RETRY, VMF_WHY_RESOURCE);
	CHECK_ERR(vmf_unmap(r->space, trap.va, 1), 0);
	vmf_object_put(o);
	vmf_ticket_drop(r->space, &ticket);
}

static void nothing_is_released_under_a_lock(void)
{
	const struct vmf_map m = { .size = sizeof(m), .pages = 1, .prot = VMF_R };
	struct vmf_object *o;
	struct rig r;
	int err = -1;
	vmf_va va;

	open_as(&r, true);
	CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, 1), 0);
	for (uint32_t n = 1; err; n++) {
		leave_one_behind(&r);
		vmf_sim_fail(r.sim, VMF_SIM_ALLOC, n, VMF_ENOMEM);
		err = vmf_map(r.space, o, &m, &va);
		vmf_sim_fail(r.sim, VMF_SIM_ALLOC, 0, 0);
		vmf_port_tidy(r.port);
	}
	vmf_object_put(o);
	rig_close(&r);
}

/* It need not outlive vmf_space_create(). */
static void the_pmap_s_table_was_copied(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store += 2) {
		const struct vmf_pmap_ops *ops;
		struct vmf_space *child;
		struct vmf_object *o;
		struct rig r;
		vmf_va va;

		rig_open(&r, store);
		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, PAGES), 0);
		CHECK_ERR(vmf_sim_space(r.sim, &child), 0);
		ops = vmf_space_pmap(r.space)->ops;
		vmf_space_pmap(r.space)->ops = vmf_space_pmap(child)->ops = NULL;
		va = map(&r, o, 0, VMF_R, PAGES);
		CHECK_EQ(rig_byte(&r, va), 0);
		CHECK_ERR(vmf_protect(r.space, va, 1, VMF_R | VMF_W), 0);
		CHECK_OK(vmf_sim_store(r.space, va, "a", 1));
		CHECK_ERR(vmf_space_copy(child, r.space), 0);
		CHECK_ERR(vmf_revoke(o, 0, PAGES), 0);
		CHECK_ERR(vmf_sim_space_close(child), 0);
		CHECK_ERR(vmf_unmap(r.space, va, PAGES), 0);
		vmf_space_pmap(r.space)->ops = ops;
		vmf_object_put(o);
		rig_close(&r);
	}
}

static const struct vmtest tests[] = {
	VMTEST(a_write_is_the_area_s_own),
	VMTEST(what_is_not_written_is_the_object_s),
	VMTEST(a_driver_that_allows_reading_only),
	VMTEST(runs_spare_what_is_private),
	VMTEST(zeroes_need_no_page_of_the_object),
	VMTEST(a_file_stays_clean),
	VMTEST(populate_makes_it_private),
	VMTEST(protecting_and_back),
	VMTEST(unmapping_gives_the_frames_back),
	VMTEST(moved_bytes_stay),
	VMTEST(no_frame_for_the_copy),
	VMTEST(the_old_entry_stays),
	VMTEST(device_memory_is_not_copied),
	VMTEST(a_driver_that_shows_pfns_in_an_unmixed_area),
	VMTEST(given_away_and_protected),
	VMTEST(what_is_refused),
	VMTEST(nothing_is_released_under_a_lock),
	VMTEST(the_pmap_s_table_was_copied),
};
VMTEST_MAIN(tests, 20)
