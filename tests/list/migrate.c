/* SPDX-License-Identifier: MIT
 *
 * The list: pages that move between RAM and the memory of a device while they are mapped.
 */
#include "list.h"
#include "../../drivers/migrate.h"

#define PAGES 3u

static struct vmf_migrate m;
static struct vmf_migrate_page page[PAGES];
static vmf_va at;
static _Atomic unsigned polls, looked;

static uint32_t *in_device(unsigned i) { return (uint32_t *)(void *)((uint8_t *)m.device + i * LIST_PAGE); }

static bool migrate_open(struct stage *st)
{
	m = (struct vmf_migrate){ .first = st->memory.first, .pages = PAGES, .attr = st->memory.attr,
				  .device = st->memory_bytes, .page = page };
	return list_check(st, st->memory.pages >= PAGES && !vmf_migrate_open(&m, st->port) &&
			  !list_map(st, m.object, PAGES, VMF_R | VMF_W, &at), "migrate: mapped");
}

static bool is(struct stage *st, unsigned i, uint32_t want) { return list_reads(st, list_page(at, i) + 8, want); }

static bool becomes(struct stage *st, unsigned i, uint32_t word)
{
	return list_writes(st, list_page(at, i) + 8, word) && is(st, i, word);
}

static void to_and_fro(struct stage *st)
{
	list_check(st, is(st, 0, 0) && becomes(st, 0, 10) && becomes(st, 1, 11) && becomes(st, 2, 12),
		   "migrate: in RAM at first");
	list_check(st, !vmf_migrate_in(&m, 1, 2) && is(st, 0, 10) && is(st, 1, 11) && is(st, 2, 12),
		   "migrate: switched in, what was written is there");
	list_check(st, becomes(st, 1, 21) && in_device(1)[2] == 21 && in_device(2)[2] == 12,
		   "migrate: and stores reach the device");
	if (list_can(st, STAGE_SHOWS, "migrate: the entries are of two kinds"))
		list_check(st, st->shows(st, list_page(at, 1), (vmf_pfn){ m.first.n + 1 }, m.attr) &&
			   st->shows(st, at, vmf_frame_pfn(page[0].frame), (struct vmf_attr){ .type = VMF_WB }),
			   "migrate: the entries are of two kinds");
	list_check(st, !vmf_migrate_out(&m, 0, PAGES) && is(st, 0, 10) && is(st, 1, 21) && is(st, 2, 12) &&
		   becomes(st, 1, 31) && in_device(1)[2] == 21, "migrate: switched out, they do not");
}

/* The move is over when somebody has waited for it for long. */
static void move_ends(void *arg)
{
	struct stage *st = arg;

	if (++polls != st->patience)
		return;
	__atomic_store_n(&page[0].word, 0, __ATOMIC_RELEASE);
	vmf_wake(st->port, &m.moved);
}

static void on_its_way(struct stage *st)
{
	if (!list_can(st, STAGE_POLL, "migrate: who touches a page on its way waits"))
		return;
	polls = 0;
	(void)vmf_revoke(m.object, 0, 1);
	__atomic_store_n(&page[0].word, VMF_MIGRATE_BUSY, __ATOMIC_RELEASE);
	st->poll(st, move_ends, st);
	list_check(st, is(st, 0, 10) && polls >= st->patience, "migrate: who touches a page on its way waits");
	st->poll(st, NULL, NULL);
}

/* --------------------------------------------------------------------- a driver that looks without the lock */

/* And while it is about to answer the page moves. */
static enum vmf_code careless_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	bool in = page[0].word & VMF_MIGRATE_IN;
	struct vmf_frame *frame = page[0].frame;
	struct vmf_result r;

	(void)ans;
	if (!looked++)
		(void)(in ? vmf_migrate_out : vmf_migrate_in)(&m, 0, 1);
	if (in) {
		r = vmf_install_pfns(req, 0, m.first, 1, m.attr, req->prot);
	} else {
		vmf_frame_get(frame);
		r = vmf_install_frames(req, 0, &frame, 1, req->prot);
	}
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static const struct vmf_ops careless_ops = { .size = sizeof(careless_ops), .fault = careless_fault };

static void outdated(struct stage *st)
{
	struct vmf_object *kept = m.object;
	struct vmf_frame *frame = page[0].frame;
	vmf_va other = at;

	if (!list_check(st, !vmf_object_create(st->port, &m.object, &careless_ops, NULL, PAGES) &&
			!list_map(st, m.object, PAGES, VMF_R | VMF_W, &at), "migrate: by a careless driver"))
		return;
	page[0].frame = vmf_frame_at(m.object, 0);
	looked = 0;
	list_check(st, becomes(st, 0, 40) && looked == 2 && in_device(0)[2] == 40,
		   "migrate: a frame that was on its way in is not entered");
	(void)vmf_revoke(m.object, 0, 1);
	looked = 0;
	list_check(st, becomes(st, 0, 41) && looked == 2 && in_device(0)[2] == 40,
		   "migrate: nor a pfn on its way out");
	list_free(st, at, PAGES);
	vmf_frame_put(st->port, page[0].frame);
	vmf_object_put(m.object);
	page[0].frame = frame;
	m.object = kept;
	at = other;
}

void list_run_migrate(struct stage *st)
{
	if (!list_keeps(st, "migrate: switched in, what was written is there"))
		return;
	if (!migrate_open(st))
		return;
	to_and_fro(st);
	on_its_way(st);
	outdated(st);
	list_free(st, at, PAGES);
	vmf_migrate_close(&m);
}
