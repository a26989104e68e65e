/* SPDX-License-Identifier: MIT
 *
 * Raw pfns: pages of an aperture, mapped by number, revoked under whoever is using them.
 */
#include "linuxrig.h"

#define PAGES 16u

/* A device that stands at a place of the aperture, or is away, when its pages show the object's own memory or
 * nothing. */
struct device {
	struct vmf_object *object;
	struct vmf_wait back;
	vmf_pfn first;
	_Atomic uint32_t shift; /* page i is at first + shift + i */
	atomic_bool away, mixed;
	atomic_uint asked;
	unsigned prot;
};

static int aperture_file(unsigned pages)
{
	int fd = memfd_create("aperture", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, pages * PAGE) == 0);
	for (unsigned i = 0; i < pages; i++) {
		uint32_t tag[2] = { 0xdeffaced, i };

		CHECK_EQ(pwrite(fd, tag, sizeof(tag), i * PAGE), sizeof(tag));
	}
	return fd;
}

static enum vmf_code device_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct device *d = req->object_priv;

	atomic_fetch_add(&d->asked, 1);
	ans->seq = vmf_wait_seq(&d->back);
	if (atomic_load(&d->away)) {
		ans->wait = &d->back;
		ans->why = VMF_WHY_RESOURCE;
		return VMF_RETRY;
	}
	ans->pfn.n = d->first.n + d->shift + req->off;
	ans->n = 1;
	if (d->prot)
		ans->prot = (uint8_t)d->prot;
	return VMF_OK;
}

/* In memory while the device is away: raw pfns and frames in one area. */
static enum vmf_code device_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct device *d = req->object_priv;
	struct vmf_frame *frame;
	struct vmf_result r;

	(void)ans;
	atomic_fetch_add(&d->asked, 1);
	if (!atomic_load(&d->away)) {
		vmf_pfn pfn = { d->first.n + d->shift + req->off };

		r = vmf_install_pfns(req, req->off, pfn, 1, (struct vmf_attr){ 0 }, req->prot);
		return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
	}
	frame = vmf_frame_at(req->object, req->off);
	if (!frame)
		return VMF_OOM;
	*(volatile uint32_t *)vmf_frame_bytes(req->port, frame) = 0xaaaa;
	r = vmf_install_frames(req, req->off, &frame, 1, req->prot);
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static const struct vmf_ops pfn_ops = { .size = sizeof(pfn_ops), .nopfn = device_nopfn };
static const struct vmf_ops mixed_ops = { .size = sizeof(mixed_ops), .fault = device_fault };

static void device_open(struct rig *r, struct device *d, const struct vmf_ops *ops)
{
	int fd = aperture_file(2 * PAGES);

	memset(d, 0, sizeof(*d));
	CHECK_ERR(vmf_linux_aperture(r->port, fd, 0, 2 * PAGES, &d->first), 0);
	CHECK_EQ(vmf_phys_kind(r->port, d->first), VMF_PHYS_DEVICE);
	CHECK_ERR(vmf_object_create(r->port, &d->object, ops, d, PAGES), 0);
	close(fd);
}

static uint32_t word(const char *a, unsigned page, unsigned i)
{
	return ((const volatile uint32_t *)(a + page * PAGE))[i];
}

static void shows_the_device(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct device d;
		char *a, *b;

		device_open(&r, &d, &pfn_ops);
		a = rig_map(&r, d.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
		b = rig_map(&r, d.object, VMF_SHARED, PAGES, VMF_R);
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK_EQ(word(a, i, 0), 0xdeffaced);
			CHECK_EQ(word(a, i, 1), i);
		}
		a[5 * PAGE + 100] = 'd';
		CHECK_EQ(b[5 * PAGE + 100], 'd');
		CHECK_EQ(d.asked, PAGES + 1);
		d.shift = 1;
		CHECK_ERR(vmf_revoke(d.object, 3, 2), 0);
		CHECK_EQ(word(a, 2, 1), 2);
		CHECK_EQ(word(a, 3, 1), 4);
		CHECK_EQ(word(a, 4, 1), 5);
		CHECK_EQ(word(a, 5, 1), 5);
		CHECK_EQ(word(b, 5, 1), 5); /* asked for before */
		CHECK_EQ(word(b, 4, 1), 5);
		rig_unmap(&r, a, PAGES);
		CHECK_EQ(word(b, 5, 1), 5);
		vmf_object_put(d.object);
	}
}

static void mapped_at_once(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopfn = device_nopfn };
	struct rig r;

	BOTH_MODES(&r) {
		struct device d;
		char *a;

		device_open(&r, &d, &ops);
		a = rig_map_as(&r, d.object, (struct vmf_map){ .flags = VMF_SHARED, .pages = PAGES, .prot = VMF_R,
							       .action = VMF_RAW, .raw = { d.first.n + 3 } });
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(word(a, i, 1), i + 3);
		CHECK_EQ(d.asked, 0);
		vmf_object_put(d.object);
	}
}

static void a_hole_is_refused(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;
		char *a;

		device_open(&r, &d, &pfn_ops);
		d.shift = PAGES + 1; /* the last page is past the aperture */
		a = rig_map(&r, d.object, VMF_SHARED, PAGES, VMF_R);
		CHECK_EQ(rig_load(a, &c), 0);
		CHECK_EQ(rig_load(a + (PAGES - 1) * PAGE + 4, &c), SIGBUS);
		CHECK(rig_caught.addr == a + (PAGES - 1) * PAGE + 4);
		CHECK_RESULT(vmf_fault_why(a + (PAGES - 1) * PAGE), VMF_SIGBUS, VMF_WHY_HOLE);
		vmf_object_put(d.object);
	}
}

static void bad_apertures(void)
{
	struct rig r;
	vmf_pfn first;
	int fd;

	rig_open(&r, VMF_IN_CONTEXT);
	fd = aperture_file(4);
	CHECK_ERR(vmf_linux_aperture(r.port, -1, 0, 4, &first), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_aperture(r.port, fd, 0, 5, &first), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_aperture(r.port, fd, 1, 1, &first), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_aperture(r.port, fd, PAGE, 4, &first), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_aperture(r.port, fd, 0, 0, &first), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_aperture(r.port, fd, PAGE, 3, &first), 0);
	close(fd);
	rig_close(&r);
}

/* An aperture that is cut short: entered, and still SIGBUS.  That is an answer, not a loop. */
static void an_aperture_shrinks(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d = { .shift = 0 };
		int fd = aperture_file(PAGES);
		char *a;

		CHECK_ERR(vmf_linux_aperture(r.port, fd, 0, PAGES, &d.first), 0);
		CHECK_ERR(vmf_object_create(r.port, &d.object, &pfn_ops, &d, PAGES), 0);
		a = rig_map(&r, d.object, VMF_SHARED, PAGES, VMF_R);
		CHECK_EQ(ftruncate(fd, PAGE), 0);
		CHECK_EQ(rig_load(a + 2 * PAGE, &c), SIGBUS);
		CHECK_RESULT(vmf_fault_why(a + 2 * PAGE), VMF_SIGBUS, VMF_WHY_HOLE);
		CHECK_EQ(rig_load(a, &c), 0);
		CHECK_EQ(ftruncate(fd, PAGES * PAGE), 0);
		CHECK_EQ(rig_load(a + 2 * PAGE, &c), 0);
		vmf_object_put(d.object);
		close(fd);
	}
}

/* --------------------------------------------------------------------------------------------- revoked in use */

static struct { char *at; atomic_bool stop; atomic_uint readers; atomic_long reads, wrong; bool memory_too; } race;

static void *reader(void *arg)
{
	unsigned page = (unsigned)(uintptr_t)arg;

	atomic_fetch_add(&race.readers, 1);
	while (!atomic_load(&race.stop)) {
		uint32_t tag = word(race.at, page, 0);

		if (tag != 0xdeffaced && !(race.memory_too && tag == 0xaaaa))
			atomic_fetch_add(&race.wrong, 1);
		atomic_fetch_add(&race.reads, 1);
	}
	return NULL;
}

/* Two threads read while the driver takes the pages away and gives them back somewhere else.  Never a zero, never a
 * signal, and after the revoke nobody sees the old place. */
static void revoke_storm(struct rig *r, const struct vmf_ops *ops, bool memory_too)
{
	struct device d;
	pthread_t t[2];

	device_open(r, &d, ops);
	race.at = rig_map(r, d.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	race.stop = false;
	race.readers = 0;
	race.reads = race.wrong = 0;
	race.memory_too = memory_too;
	for (uintptr_t i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, reader, (void *)i), 0);
	CHECK_SOON(race.readers == 2);
	for (unsigned i = 0; i < 3000 || race.reads < 1000; i++) {
		d.away = memory_too && i % 3 == 0;
		d.shift = i % 2;
		CHECK_ERR(vmf_revoke(d.object, i % 2, 1 + i % 3), 0);
		if (!d.away && i % 2 == 0 && i % 3)
			CHECK_EQ(word(race.at, i % 2, 1), i % 2 + d.shift);
	}
	race.stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(race.wrong, 0);
	CHECK(race.reads >= 1000);
	rig_unmap(r, race.at, PAGES);
	vmf_object_put(d.object);
}

static void revoked_in_use(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r)
		revoke_storm(&r, &pfn_ops, false);
}

/* The driver keeps the page in memory while the device is away: entered as the object's own frame. */
static void between_memory_and_device(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r)
		revoke_storm(&r, &mixed_ops, true);
}

/* The revoke comes between the driver's answer and the entry: the driver itself does it. */
static struct { struct device d; atomic_uint n; bool done; } between;
static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER; /* the driver's */

static void *revoke_page(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&own_lock);
	between.d.shift = 7;
	CHECK_ERR(vmf_revoke(between.d.object, 0, 1), 0);
	pthread_mutex_unlock(&own_lock);
	return NULL;
}

static enum vmf_code revokes_itself(const struct vmf_req *req, struct vmf_ans *ans)
{
	enum vmf_code code = device_nopfn(req, ans);
	pthread_t t;

	if (between.n++ == 0) {
		CHECK_EQ(pthread_create(&t, NULL, revoke_page, NULL), 0);
		pthread_join(t, NULL);
	}
	return code;
}

/* The same, and the driver itself enters what it decided on. */
static enum vmf_code installs_what_was_revoked(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_result result;

	if (revokes_itself(req, ans) != VMF_OK)
		return VMF_RETRY;
	result = vmf_install_pfns(req, req->off, ans->pfn, 1, ans->attr, req->prot);
	CHECK_EQ(result.code, between.n == 1 ? VMF_RETRY : VMF_OK);
	CHECK_EQ(result.why, between.n == 1 ? VMF_WHY_RACE : VMF_WHY_NONE);
	return result.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static void revoked_before_the_entry(void)
{
	static const struct vmf_ops ops[] = {
		{ .size = sizeof(ops[0]), .nopfn = revokes_itself },
		{ .size = sizeof(ops[0]), .fault = installs_what_was_revoked },
	};
	struct rig r;

	for (unsigned how = 0; how < 2; how++)
		BOTH_MODES(&r) {
			char *a;

			between.n = 0;
			device_open(&r, &between.d, &ops[how]);
			a = rig_map(&r, between.d.object, VMF_SHARED, PAGES, VMF_R);
			CHECK_EQ(word(a, 0, 1), 7);
			CHECK_EQ(between.n, 2);
			CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
			vmf_object_put(between.d.object);
		}
}

static struct device waited;

static void *comes_back(void *arg)
{
	struct rig *r = arg;

	CHECK_SOON(waited.asked > 0);
	usleep(1000);
	waited.away = false;
	vmf_wake(r->port, &waited.back);
	return NULL;
}

static void waits_for_the_device(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		pthread_t t;
		char *a;

		device_open(&r, &waited, &pfn_ops);
		waited.away = true;
		a = rig_map(&r, waited.object, VMF_SHARED, PAGES, VMF_R);
		CHECK_EQ(pthread_create(&t, NULL, comes_back, &r), 0);
		CHECK_EQ(word(a, 1, 1), 1);
		pthread_join(t, NULL);
		CHECK_EQ(waited.asked, 2);
		vmf_object_put(waited.object);
	}
}

static void read_only_pages(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;
		char *a;

		device_open(&r, &d, &pfn_ops);
		d.prot = VMF_R;
		a = rig_map(&r, d.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
		CHECK_EQ(word(a, 0, 1), 0);
		CHECK_EQ(rig_store(a, 1), SIGSEGV);
		d.prot = 0;
		CHECK_ERR(vmf_revoke(d.object, 0, PAGES), 0);
		CHECK_EQ(rig_store(a, 1), 0);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)a, PAGES, VMF_R), 0);
		CHECK_EQ(word(a, 0, 1), 0);
		CHECK_EQ(rig_store(a, 1), SIGSEGV);
		CHECK_EQ(rig_store(a + PAGE, 1), SIGSEGV);
		CHECK_ERR(vmf_protect(r.space, (vmf_va)a, PAGES, VMF_R | VMF_W), 0);
		CHECK_EQ(rig_store(a, 1), 0);
		vmf_object_put(d.object);
	}
}

static const struct vmtest tests[] = {
	VMTEST(shows_the_device), VMTEST(mapped_at_once), VMTEST(a_hole_is_refused), VMTEST(bad_apertures),
	VMTEST(an_aperture_shrinks), VMTEST(revoked_in_use), VMTEST(between_memory_and_device),
	VMTEST(revoked_before_the_entry),
	VMTEST(waits_for_the_device), VMTEST(read_only_pages),
};
VMTEST_MAIN(tests, 20)
