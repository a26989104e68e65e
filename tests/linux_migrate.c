/* SPDX-License-Identifier: MIT
 *
 * The driver migrate in a process, by real loads and stores.  RAM is the object's memfd, the device an
 * aperture of another.
 */
#include "linuxrig.h"
#include "migrating.h"

#define PAGES MIGRATING_PAGES

struct device {
	struct vmf_migrate m;
	struct vmf_migrate_page page[PAGES];
	struct vmf_space *space;
	char *at; /* where programs see it */
};

static void device_open(struct rig *r, struct device *d)
{
	int fd = memfd_create("device", MFD_CLOEXEC);

	memset(d, 0, sizeof(*d));
	CHECK(fd >= 0 && !ftruncate(fd, PAGES * PAGE));
	CHECK_ERR(vmf_linux_aperture(r->port, fd, 0, PAGES, &d->m.first), 0);
	d->m.device = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(d->m.device != MAP_FAILED);
	d->space = r->space;
	d->m.pages = PAGES;
	d->m.page = d->page;
	CHECK_ERR(vmf_migrate_open(&d->m, r->port), 0);
	d->at = rig_map(r, d->m.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	close(fd);
}

static void device_close(struct rig *r, struct device *d)
{
	rig_unmap(r, d->at, PAGES);
	vmf_migrate_close(&d->m);
	munmap(d->m.device, PAGES * PAGE);
}

static volatile uint32_t *word(char *a, unsigned page, unsigned i)
{
	return (volatile uint32_t *)(void *)(a + page * PAGE) + i;
}

static void pages_keep_what_was_written(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		struct device d;

		device_open(&r, &d);
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK_EQ(*word(d.at, i, 1), 0);
			*word(d.at, i, 1) = i + 1;
		}
		CHECK_ERR(vmf_migrate_in(&d.m, 2, 5), 0);
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK_EQ(*word(d.at, i, 1), i + 1);
			*word(d.at, i, 1) = i + 100;
			CHECK_EQ(*word(d.m.device, i, 1), i >= 2 && i < 7 ? i + 100 : 0);
		}
		CHECK_ERR(vmf_migrate_out(&d.m, 0, PAGES), 0);
		for (unsigned i = 0; i < PAGES; i++) {
			CHECK_EQ(*word(d.at, i, 1), i + 100);
			*word(d.at, i, 1) = 0;
			CHECK_EQ(*word(d.m.device, i, 1), i >= 2 && i < 7 ? i + 100 : 0);
		}
		device_close(&r, &d);
	}
}

/* Private memory would keep a copy. */
static void private_areas_are_refused(void)
{
	struct vmf_map map = { .size = sizeof(map), .pages = PAGES, .prot = VMF_R };
	struct device d;
	struct rig r;
	vmf_va va;

	rig_open(&r, VMF_IN_CONTEXT);
	device_open(&r, &d);
	CHECK_ERR(vmf_map(r.space, d.m.object, &map, &va), -VMF_EINVAL);
	device_close(&r, &d);
	rig_close(&r);
}

/* ----------------------------------------------------------------------------------- a race, made certain */

static struct {
	struct vmf_migrate *m;
	atomic_uint looked;
	atomic_bool moved;
} race;

static void *moves_in(void *arg)
{
	(void)arg;
	CHECK_SOON(race.looked);
	CHECK_ERR(vmf_migrate_in(race.m, 0, 1), 0);
	race.moved = true;
	return NULL;
}

/* Looks without the lock; and then the page is moved, from beginning to end. */
static enum vmf_code careless_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	bool in = race.m->page[0].word & VMF_MIGRATE_IN;
	struct vmf_frame *frame = vmf_frame_at(req->object, 0);
	struct vmf_result r;

	(void)ans;
	race.looked++;
	CHECK_SOON(race.moved);
	if (in) {
		vmf_frame_put(req->port, frame);
		r = vmf_install_pfns(req, 0, race.m->first, 1, race.m->attr, req->prot);
	} else {
		r = vmf_install_frames(req, 0, &frame, 1, req->prot);
	}
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static void what_was_seen_before_a_move_is_not_entered(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .fault = careless_fault };
	struct rig r;

	BOTH_MODES(&r) {
		struct device d;
		struct vmf_object *kept;
		pthread_t t;
		char *at;

		device_open(&r, &d);
		kept = d.m.object;
		race.m = &d.m;
		race.looked = 0;
		race.moved = false;
		CHECK_ERR(vmf_object_create(r.port, &d.m.object, &ops, NULL, PAGES), 0);
		at = rig_map(&r, d.m.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
		CHECK_EQ(pthread_create(&t, NULL, moves_in, NULL), 0);
		*word(at, 0, 0) = 33;
		pthread_join(t, NULL);
		CHECK_EQ(*word(d.m.device, 0, 0), 33);
		CHECK_EQ(race.looked, 2);
		CHECK_EQ(rig_stats(&r).retries[VMF_WHY_RACE], 1);
		rig_unmap(&r, at, PAGES);
		vmf_object_put(d.m.object);
		d.m.object = kept;
		device_close(&r, &d);
	}
}

/* ------------------------------------------------------------------------------------------------ stress */

/* TSan takes mmap() for a store to all that it maps. */
__attribute__((no_sanitize("thread"))) static void add(void *self, unsigned page, unsigned writer, uint64_t was)
{
	struct device *d = self;
	volatile uint64_t *counter = (volatile uint64_t *)(void *)(d->at + migrating_at(page, writer));
	uint64_t n;

	if (was % 64 == 63) { /* as a debugger */
		CHECK_EQ(vmf_peek(d->space, (vmf_va)counter, &n, sizeof(n)), sizeof(n));
		CHECK_EQ(n++, was);
		CHECK_EQ(vmf_poke(d->space, (vmf_va)counter, &n, sizeof(n)), sizeof(n));
		return;
	}
	CHECK_EQ(*counter, was);
	*counter = was + 1;
}

static void no_write_is_lost(uint64_t writes, uint64_t moves)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		struct device d;
		struct migrating t = { .m = &d.m, .add = add, .self = &d, .want_writes = writes, .want_moves = moves };

		device_open(&r, &d);
		migrating_run(&t);
		device_close(&r, &d);
	}
}

static void no_write_of_ten_million_is_lost(void) { no_write_is_lost(10000000, 2000); }

/* A move every few writes: nearly each of them faults. */
static void pages_that_hardly_stay(void) { no_write_is_lost(50000, 2000); }

static const struct vmtest tests[] = {
	VMTEST(pages_keep_what_was_written),
	VMTEST(private_areas_are_refused),
	VMTEST(what_was_seen_before_a_move_is_not_entered),
	VMTEST(no_write_of_ten_million_is_lost),
	VMTEST(pages_that_hardly_stay),
};
VMTEST_MAIN(tests, 20)
