/* SPDX-License-Identifier: MIT
 *
 * The list: how faults are counted, a driver that has no memory, and pages that are evicted as soon as they are read.
 */
#include "backing.h"

#define PAGES 8u

static struct backing b;
static struct vmf_io *pending; /* __atomic_* only */
static _Atomic unsigned evicted;
static struct { unsigned asked, retries; bool none; } driver;
static vmf_va va;

/* Polls: what a fault on another thread counts may come a moment after ours has gone on. */
static bool counted(struct stage *st, const struct vmf_stats *before, unsigned faults, unsigned major, unsigned why,
		    unsigned retries)
{
	for (unsigned tries = 0; tries < 1000000; tries++) {
		struct vmf_stats now = VMF_INIT(struct vmf_stats);

		vmf_space_stats(st->space, &now);
		if (now.faults - before->faults == faults && now.major - before->major == major &&
		    now.retries[why] - before->retries[why] == retries)
			return true;
	}
	return false;
}

static void run_major(struct stage *st)
{
	struct vmf_backed config = { .size = sizeof(config), .ops = &list_backing_ops, .self = &b, .around = 4 };
	struct vmf_stats before = VMF_INIT(struct vmf_stats);
	struct vmf_object *o;

	list_backing_open(&b, PAGES * LIST_PAGE);
	if (!list_check(st, !vmf_object_backed(st->port, &o, &config) && !list_map(st, o, PAGES, VMF_R, &va),
			"major: mapped"))
		return;
	vmf_space_stats(st->space, &before);
	list_check(st, list_reads(st, list_page(va, 1), list_backing_word(1, 0)) && counted(st, &before, 1, 1, 0, 0),
		   "major: a fault that reads");
	list_check(st, list_reads(st, list_page(va, 2), list_backing_word(2, 0)) && counted(st, &before, 1, 1, 0, 0),
		   "major: no fault where it brought the page along");
	if (list_keeps(st, "major: not where the page is in memory"))
		list_check(st, !vmf_revoke(o, 0, PAGES) && list_reads(st, list_page(va, 2), list_backing_word(2, 0)) &&
			   counted(st, &before, 2, 1, 0, 0), "major: not where the page is in memory");
	list_free(st, va, PAGES);
	vmf_object_put(o);
	list_check(st, list_soon(&b.closed, 1), "major: closed");
}

/* -------------------------------------------------------------------------------- a driver without memory */

static enum vmf_code short_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->why = VMF_WHY_RESOURCE;
	if (driver.none)
		return VMF_OOM;
	if (++driver.asked <= driver.retries)
		return VMF_RETRY;
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static const struct vmf_ops short_ops = { .size = sizeof(short_ops), .nopage = short_nopage };

static void run_oom(struct stage *st)
{
	struct vmf_stats before = VMF_INIT(struct vmf_stats);
	struct vmf_object *o;

	driver.none = true, driver.asked = driver.retries = 0;
	if (!list_check(st, !vmf_object_create(st->port, &o, &short_ops, NULL, 2) && !list_map(st, o, 2, VMF_R, &va),
			"oom: mapped"))
		return;
	vmf_space_stats(st->space, &before);
	list_fails(st, va, VMF_R, VMF_OOM, VMF_WHY_RESOURCE, "oom: the driver has no memory");
	driver.none = false;
	list_check(st, list_reads(st, va, 0), "oom: the page works when it has");
	driver.asked = 0, driver.retries = 3;
	list_check(st, list_reads(st, list_page(va, 1), 0) && counted(st, &before, 3, 0, VMF_WHY_RESOURCE, 3),
		   "oom: what is short for a while is a retry, and one fault");
	list_free(st, va, 2);
	vmf_object_put(o);
}

/* --------------------------------------------------------------------------------------------- an evictor */

/* Completes when the evictor says so. */
static int late_start(void *self, struct vmf_io *io)
{
	(void)self;
	__atomic_store_n(&pending, io, __ATOMIC_RELEASE);
	return 0;
}

static int late_extent(void *self, vmf_pgoff at, struct vmf_extent *e) { return list_backing_ops.extent(self, at, e); }
static int late_length(void *self, uint64_t *bytes) { return list_backing_ops.length(self, bytes); }
static void late_close(void *self) { list_backing_ops.close(self); }

static const struct vmf_backing_ops late_ops = {
	.size = sizeof(late_ops), .start = late_start, .extent = late_extent, .length = late_length, .close = late_close,
};

/* While a fault waits: the read completes, and the page is evicted at once if nothing holds it.  It gives up after so
 * many that whoever waits would be starved. */
static void evict(void *arg)
{
	struct vmf_io *io = __atomic_exchange_n(&pending, NULL, __ATOMIC_ACQ_REL);

	if (!io)
		return;
	(void)list_backing_ops.start(&b, io);
	if (evicted < 100 * PAGES)
		evicted += (unsigned)vmf_reclaim(arg, 0, PAGES);
}

static void run_evicted(struct stage *st)
{
	struct vmf_backed config = { .size = sizeof(config), .ops = &late_ops, .self = &b };
	struct vmf_object *o;
	bool right = true;

	if (!list_can(st, STAGE_POLL, "evicted: every page comes, and none is read for ever"))
		return;
	list_backing_open(&b, PAGES * LIST_PAGE);
	evicted = 0;
	if (!list_check(st, !vmf_object_backed(st->port, &o, &config) && !list_map(st, o, PAGES, VMF_R, &va),
			"evicted: mapped"))
		return;
	st->poll(st, evict, o);
	for (unsigned i = 0; i < PAGES; i++)
		right &= list_reads(st, list_page(va, i), list_backing_word(i, 0));
	st->poll(st, NULL, NULL);
	list_check(st, right && b.reads >= PAGES && evicted < 100 * PAGES,
		   "evicted: every page comes, and none is read for ever");
	list_free(st, va, PAGES);
	vmf_object_put(o);
	list_check(st, list_soon(&b.closed, 1), "evicted: closed");
}

void list_run_faults(struct stage *st)
{
	run_major(st);
	run_oom(st);
	run_evicted(st);
}
