/* SPDX-License-Identifier: MIT
 *
 * A debugger: what it reads is what is shown, what it writes is announced, dirty, or copied as if the space had written
 * it, and nobody gains a permission.  (The table of kinds x windows is list/sweep.)
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "rig.h"
#include "testback.h"

#define PAGES 8u

static int peek(struct rig *r, vmf_va va)
{
	uint8_t byte;
	long n = vmf_peek(r->space, va, &byte, 1);

	return n == 1 ? byte : (int)n;
}

static long poke(struct rig *r, vmf_va va, uint8_t byte) { return vmf_poke(r->space, va, &byte, 1); }

static vmf_va show_as(struct rig *r, struct vmf_object *o, unsigned prot, unsigned maxprot)
{
	struct vmf_map m = rig_map(r, PAGES, prot);
	vmf_va at;

	m.maxprot = (uint8_t)maxprot;
	CHECK_ERR(vmf_map(r->space, o, &m, &at), 0);
	return at;
}

/* --------------------------------------------------------------------------------------------- a backing */

static struct file {
	struct testback back;
	struct vmf_object *object;
	vmf_va at;
} f;

static void file_open(struct rig *r, enum testback_when when)
{
	testback_open(&f.back, r->port, PAGES * PAGE, when);
	f.object = testback_object(&f.back, NULL);
	f.at = show_as(r, f.object, VMF_R, VMF_R | VMF_W);
}

static void file_close(struct rig *r)
{
	CHECK_ERR(vmf_unmap(r->space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(f.object);
	testback_close(&f.back);
}

static void what_is_poked_is_dirty(void)
{
	struct rig r;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		file_open(&r, TESTBACK_AT_ONCE);
		CHECK_EQ(peek(&r, f.at + PAGE + 5), testback_byte(&f.back, PAGE + 5));
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_PRESENT);
		CHECK_EQ(poke(&r, f.at + PAGE + 5, 99), 1); /* the area cannot be written */
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_DIRTY);
		CHECK_EQ(rig_byte(&r, f.at + PAGE + 5), 99);
		CHECK_RESULT(vmf_sim_store(r.space, f.at + PAGE, "x", 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_ERR(vmf_sync(f.object, 0, PAGES, NULL), 0);
		CHECK(testback_same(&f.back, PAGE + 5, &(uint8_t){ 99 }, 1));
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_PRESENT);
		CHECK_EQ(poke(&r, f.at + PAGE, 98), 1); /* and once more */
		CHECK_EQ(vmf_page_state(f.object, 1), VMF_DIRTY);
		CHECK_EQ(f.back.reads, 1);
		file_close(&r);
		rig_close(&r);
	}
}

static void *peek_second(void *arg) { return (void *)(intptr_t)peek(arg, f.at + 2 * PAGE); }

static void it_waits_for_the_bytes(void)
{
	struct vmf_stats s;
	pthread_t thread;
	struct rig r;
	void *got;

	RIG_EACH(r) {
		file_open(&r, TESTBACK_HELD_BACK);
		CHECK_EQ(pthread_create(&thread, NULL, peek_second, &r), 0);
		CHECK_SOON(rig_stats(&r).retries[VMF_WHY_IO] == 1);
		testback_release(&f.back, 1);
		CHECK_EQ(pthread_join(thread, &got), 0);
		CHECK_EQ((intptr_t)got, testback_byte(&f.back, 2 * PAGE));
		s = rig_stats(&r);
		CHECK_EQ(s.retries[VMF_WHY_IO], 1);
		CHECK_EQ(s.faults, r.store == VMF_BY_COPY);
		CHECK_EQ(rig_present(&r, f.at + 2 * PAGE), r.store == VMF_BY_COPY);
		file_close(&r);
	}
}

/* While it waits it holds nothing that unmap waits for. */
static void the_area_goes_meanwhile(void)
{
	pthread_t thread;
	struct rig r;
	void *got;

	RIG_EACH(r) {
		file_open(&r, TESTBACK_HELD_BACK);
		CHECK_EQ(pthread_create(&thread, NULL, peek_second, &r), 0);
		CHECK_SOON(rig_stats(&r).retries[VMF_WHY_IO] == 1);
		CHECK_ERR(vmf_unmap(r.space, f.at, PAGES), 0);
		testback_release(&f.back, 1);
		CHECK_EQ(pthread_join(thread, &got), 0);
		CHECK_EQ((intptr_t)got, -VMF_EFAULT);
		file_close(&r);
	}
}

static void a_failed_read(void)
{
	struct rig r;

	RIG_EACH(r) {
		file_open(&r, TESTBACK_AT_ONCE);
		f.back.read = (struct testback_fail){ .first = 2, .pages = 1, .err = 5 };
		CHECK_EQ(peek(&r, f.at + 2 * PAGE), -VMF_EIO);
		f.back.read = (struct testback_fail){ 0 };
		CHECK_EQ(peek(&r, f.at + 2 * PAGE), testback_byte(&f.back, 2 * PAGE));
		file_close(&r);
	}
}

/* -------------------------------------------------------------------------------------------- a driver */

struct driver {
	struct vmf_object *object;
	struct vmf_frame *frame[2];
	atomic_uint asked, announced;
	bool fickle, refuse;
	struct rig *r;
	vmf_va other; /* touched by the handler */
};

static enum vmf_code driver_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	unsigned n = d->asked++;

	if (d->other && rig_byte(d->r, d->other) != 0)
		return VMF_SIGBUS;
	ans->frames[0] = d->frame[d->fickle && n & 1];
	vmf_frame_get(ans->frames[0]);
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code driver_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;

	d->announced++;
	ans->why = VMF_WHY_POLICY;
	return d->refuse ? VMF_SIGBUS : VMF_OK;
}

static const struct vmf_ops driver_ops = { .size = sizeof(driver_ops), .nopage = driver_nopage };
static const struct vmf_ops mkwrite_ops = { .size = sizeof(mkwrite_ops), .nopage = driver_nopage,
					    .mkwrite = driver_mkwrite };
static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void driver_open(struct driver *d, struct rig *r, const struct vmf_ops *ops)
{
	memset(d, 0, sizeof(*d));
	d->r = r;
	CHECK_ERR(vmf_object_create(r->port, &d->object, ops, d, PAGES), 0);
	for (unsigned i = 0; i < 2; i++) {
		d->frame[i] = vmf_frame_at(d->object, 0);
		memset(vmf_frame_bytes(r->port, d->frame[i]), (int)(10 + i), PAGE);
	}
}

static void driver_close(struct driver *d)
{
	CHECK_ERR(vmf_unmap(d->r->space, VMF_SIM_LOWEST, 65536), 0);
	for (unsigned i = 0; i < 2; i++)
		vmf_frame_put(d->r->port, d->frame[i]);
	vmf_object_put(d->object);
}

static uint8_t byte_of(struct driver *d, unsigned i) { return *(uint8_t *)vmf_frame_bytes(d->r->port, d->frame[i]); }

static void a_first_write_is_announced(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		driver_open(&d, &r, &mkwrite_ops);
		at = show_as(&r, d.object, VMF_R, VMF_R | VMF_W);
		CHECK_EQ(peek(&r, at), store == VMF_BY_OFFSET ? 11 : 10);
		CHECK_EQ(d.announced, 0);
		d.refuse = true;
		CHECK_EQ(poke(&r, at, 99), -VMF_EIO);
		CHECK_EQ(peek(&r, at), store == VMF_BY_OFFSET ? 11 : 10);
		d.refuse = false;
		CHECK_EQ(poke(&r, at, 99), 1);
		CHECK_EQ(poke(&r, at + 1, 99), 1);
		CHECK_EQ(d.announced, 2);
		CHECK_EQ(byte_of(&d, 0), 99);
		driver_close(&d);
		rig_close(&r);
	}
}

/* Who answers with another frame each time has one that is shown; that, or none. */
static void what_is_shown_and_nothing_else(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	driver_open(&d, &r, &driver_ops);
	at = show_as(&r, d.object, VMF_R, VMF_R | VMF_W);
	d.fickle = true;
	CHECK_EQ(rig_byte(&r, at), 10);
	CHECK_EQ(peek(&r, at), 10);
	CHECK_EQ(d.asked, 1);
	CHECK_EQ(poke(&r, at, 99), 1); /* asked in vain, and again */
	CHECK_EQ(byte_of(&d, 0), 99);
	CHECK_EQ(byte_of(&d, 1), 11);
	CHECK_EQ(rig_byte(&r, at), 99);
	CHECK_EQ(d.asked, 3);
	driver_close(&d);
	rig_close(&r);
}

static void a_handler_may_touch_another_area(void)
{
	struct vmf_object *zero;
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++) {
		rig_open(&r, store);
		driver_open(&d, &r, &driver_ops);
		at = show_as(&r, d.object, VMF_R, VMF_R);
		CHECK_ERR(vmf_object_create(r.port, &zero, &zero_ops, NULL, PAGES), 0);
		d.other = show_as(&r, zero, VMF_R, VMF_R);
		CHECK(peek(&r, at) >= 10);
		d.other = at; /* not its own */
		d.asked = 0;
		CHECK_EQ(peek(&r, at + PAGE), -VMF_EIO);
		CHECK_EQ(d.asked, 1);
		driver_close(&d);
		vmf_object_put(zero);
		rig_close(&r);
	}
}

/* A revoke that begins while the bytes move is over when they are there. */
static struct {
	struct driver d;
	pthread_t thread;
	atomic_bool begun, waits, over;
} late;

static void *revoke_late(void *arg)
{
	(void)arg;
	CHECK_ERR(vmf_revoke(late.d.object, 0, 1), 0);
	CHECK_EQ(byte_of(&late.d, 0), 99); /* from now on the frame is the driver's alone */
	late.over = true;
	return NULL;
}

static void late_query(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	if (atomic_exchange(&late.begun, true))
		return;
	CHECK_EQ(pthread_create(&late.thread, NULL, revoke_late, NULL), 0);
	while (!late.waits && !late.over)
		sched_yield();
}

static void late_wait(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	late.waits = true;
}

static void what_is_revoked_is_not_written_later(void)
{
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	driver_open(&late.d, &r, &driver_ops);
	late.begun = late.waits = late.over = false;
	at = show_as(&r, late.d.object, VMF_R | VMF_W, VMF_R | VMF_W);
	CHECK_OK(vmf_sim_store(r.space, at, "x", 1));
	vmf_sim_on(r.sim, VMF_SIM_QUERY, late_query, NULL);
	vmf_sim_on(r.sim, VMF_SIM_WAIT, late_wait, NULL);
	CHECK_EQ(poke(&r, at, 99), 1);
	CHECK_EQ(pthread_join(late.thread, NULL), 0);
	vmf_sim_on(r.sim, VMF_SIM_QUERY, NULL, NULL);
	vmf_sim_on(r.sim, VMF_SIM_WAIT, NULL, NULL);
	driver_close(&late.d);
	rig_close(&r);
}

/* ------------------------------------------------------------------------------------ ranges, and copies */

static void over_several_areas(void)
{
	static uint8_t bytes[3 * PAGE];
	struct vmf_object *o;
	struct rig r;
	vmf_va at;

	RIG_EACH(r) {
		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, PAGES), 0);
		at = rig_show(&r, o, PAGES, VMF_R | VMF_W);
		memset(bytes, 7, sizeof(bytes));
		CHECK_ERR(vmf_protect(r.space, at + PAGE, 1, VMF_R), 0);
		CHECK_ERR(vmf_unmap(r.space, at + 4 * PAGE, 4), 0);
		CHECK_EQ(vmf_poke(r.space, at + 2000, bytes, sizeof(bytes)), sizeof(bytes));
		memset(bytes, 0, sizeof(bytes));
		CHECK_EQ(vmf_peek(r.space, at + 2000, bytes, sizeof(bytes)), sizeof(bytes));
		for (unsigned i = 0; i < sizeof(bytes); i++)
			CHECK_EQ(bytes[i], 7);
		CHECK_EQ(rig_byte(&r, at + 1999), 0);
		CHECK_EQ(rig_byte(&r, at + PAGE), 7);
		CHECK_EQ(rig_byte(&r, at + 2000 + 3 * PAGE), 0);
		CHECK_EQ(vmf_peek(r.space, at + 4 * PAGE - 10, bytes, 20), 10);
		CHECK_EQ(vmf_peek(r.space, at + 4 * PAGE, bytes, 20), -VMF_EFAULT);
		CHECK_EQ(vmf_peek(r.space, at, bytes, 0), 0);
		CHECK_EQ(vmf_peek(NULL, at, bytes, 1), -VMF_EINVAL);
		CHECK_EQ(vmf_peek(r.space, at, NULL, 1), -VMF_EINVAL);
		CHECK_EQ(vmf_poke(r.space, at, NULL, 1), -VMF_EINVAL);
		CHECK_EQ(vmf_peek(r.space, UINTPTR_MAX - 4, bytes, 20), -VMF_EINVAL);
		CHECK_EQ(vmf_peek(r.space, at, bytes, SIZE_MAX), -VMF_EINVAL);
		CHECK_ERR(vmf_unmap(r.space, at, PAGES), 0);
		vmf_object_put(o);
	}
}

/* A breakpoint: the instructions are the page's, and can be fetched. */
static void instructions_are_told(void)
{
	struct vmf_object *o;
	struct rig r;
	uint8_t byte;
	vmf_va at;

	RIG_EACH(r) {
		uint64_t before;

		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, PAGES), 0);
		at = show_as(&r, o, VMF_R | VMF_X, VMF_R | VMF_W | VMF_X);
		CHECK_OK(vmf_sim_fetch(r.space, at, &byte, 1));
		before = vmf_sim_calls(r.sim, VMF_SIM_ICACHE);
		CHECK_EQ(poke(&r, at, 0xcc), 1);
		CHECK(vmf_sim_calls(r.sim, VMF_SIM_ICACHE) > before);
		CHECK_OK(vmf_sim_fetch(r.space, at, &byte, 1));
		CHECK_EQ(byte, 0xcc);
		CHECK_ERR(vmf_unmap(r.space, at, PAGES), 0);
		vmf_object_put(o);
	}
}

static void a_private_page_is_copied_first(void)
{
	struct vmf_map m = { .size = sizeof(m), .pages = PAGES, .prot = VMF_R, .maxprot = VMF_R | VMF_W };
	struct vmf_space *child;
	struct driver d;
	struct rig r;
	uint8_t byte;
	vmf_va at;

	rig_open(&r, VMF_BY_ADDRESS);
	driver_open(&d, &r, &mkwrite_ops);
	CHECK_ERR(vmf_map(r.space, d.object, &m, &at), 0);
	CHECK_EQ(rig_byte(&r, at), 10); /* entered, and to be replaced */
	CHECK_EQ(poke(&r, at, 99), 1);
	CHECK_EQ(byte_of(&d, 0), 10);
	CHECK_EQ(d.announced, 0);
	CHECK_EQ(rig_byte(&r, at), 99);
	CHECK_ERR(vmf_sim_space(r.sim, &child), 0);
	CHECK_ERR(vmf_space_copy(child, r.space), 0);
	CHECK_EQ(poke(&r, at, 98), 1); /* the frame is shared now */
	CHECK_EQ(vmf_peek(child, at, &byte, 1), 1);
	CHECK_EQ(byte, 99);
	CHECK_EQ(peek(&r, at), 98);
	vmf_sim_space_close(child);
	driver_close(&d);
	rig_close(&r);
}

/* Whatever prot says; what was not given yet can only be given to somebody who may have it. */
static void bytes_by_copy(void)
{
	struct vmf_object *o;
	struct rig r;
	vmf_va at;

	rig_open(&r, VMF_BY_COPY);
	CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, PAGES), 0);
	at = show_as(&r, o, VMF_R | VMF_W, VMF_R | VMF_W);
	CHECK_EQ(poke(&r, at, 99), 1);
	CHECK_ERR(vmf_protect(r.space, at, PAGES, 0), 0);
	CHECK_EQ(peek(&r, at), 99);
	CHECK_EQ(poke(&r, at, 98), 1);
	CHECK_EQ(peek(&r, at + PAGE), -VMF_ENOSYS);
	CHECK_ERR(vmf_protect(r.space, at, PAGES, VMF_R), 0);
	CHECK_EQ(peek(&r, at), 98);
	CHECK_EQ(peek(&r, at + PAGE), 0);
	CHECK_ERR(vmf_unmap(r.space, at, PAGES), 0);
	vmf_object_put(o);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(what_is_poked_is_dirty),
	VMTEST(it_waits_for_the_bytes),
	VMTEST(the_area_goes_meanwhile),
	VMTEST(a_failed_read),
	VMTEST(a_first_write_is_announced),
	VMTEST(what_is_shown_and_nothing_else),
	VMTEST(a_handler_may_touch_another_area),
	VMTEST(what_is_revoked_is_not_written_later),
	VMTEST(over_several_areas),
	VMTEST(instructions_are_told),
	VMTEST(a_private_page_is_copied_first),
	VMTEST(bytes_by_copy),
};
VMTEST_MAIN(tests, 20)
