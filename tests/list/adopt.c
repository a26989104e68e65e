/* SPDX-License-Identifier: MIT
 *
 * The list: descriptors for pages of a device, so that they can be counted, and pages without one again.
 */
#include "list.h"
#include "../../drivers/devmem.h"

#define PAGES 2u

static uint32_t *in_device(const struct stage *st, unsigned i)
{
	return (uint32_t *)(void *)((uint8_t *)st->memory_bytes + i * LIST_PAGE);
}

static enum vmf_code adopted_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	const struct stage *st = req->object_priv;

	ans->frames[0] = vmf_phys_frame(req->port, (vmf_pfn){ st->memory.first.n + req->off });
	ans->n = 1;
	ans->why = VMF_WHY_RESOURCE;
	return ans->frames[0] ? VMF_OK : VMF_SIGBUS;
}

static const struct vmf_ops adopted_ops = { .size = sizeof(adopted_ops), .nopage = adopted_nopage };

/* With the device's attributes: 0, or vmf_map()'s error.  Mixed: in a window by offset an adopted page is not the
 * object's own. */
static int map_memory(struct stage *st, struct vmf_object *o, vmf_va *va)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags | VMF_MIXED, .pages = PAGES, .prot = VMF_R | VMF_W,
			     .attr = st->memory.attr };

	return vmf_map(st->space, o, &m, va);
}

static bool reads_and_writes(struct stage *st, vmf_va va, uint32_t word)
{
	bool good = true;

	for (unsigned i = 0; i < PAGES; i++) {
		in_device(st, i)[16] = word + i;
		good &= list_reads(st, list_page(va, i) + 64, word + i);
		good &= list_writes(st, list_page(va, i) + 68, word + 8 + i) && in_device(st, i)[17] == word + 8 + i;
	}
	return good;
}

static void run_frames(struct stage *st, struct vmf_object *o)
{
	vmf_va va;

	if (!list_check(st, !map_memory(st, o, &va), "adopt: mapped"))
		return;
	list_check(st, reads_and_writes(st, va, 0xad000000), "adopt: nopage hands over frames of a device");
	list_check(st, vmf_phys_disown(st->port, st->memory.first) == -VMF_EBUSY,
		   "adopt: not undone while they are counted");
	if (list_can(st, STAGE_SHOWS, "adopt: the entry is of that page, as the range has it"))
		list_check(st, st->shows(st, va, st->memory.first, st->memory.attr),
			   "adopt: the entry is of that page, as the range has it");
	list_check(st, !vmf_revoke(o, 0, PAGES) && reads_and_writes(st, va, 0xad100000), "adopt: again after a revoke");
	list_free(st, va, PAGES);
}

/* The same pages by their numbers. */
static struct vmf_devmem devmem_of(const struct stage *st)
{
	return (struct vmf_devmem){ .first = st->memory.first, .pages = PAGES, .attr = st->memory.attr };
}

static void run_raw(struct stage *st, bool adopted)
{
	struct vmf_devmem d = devmem_of(st);
	vmf_va va;

	if (!list_check(st, !vmf_devmem_open(&d, st->port) && !map_memory(st, d.object, &va),
			adopted ? "adopt: mapped by number" : "adopt: and again"))
		return;
	if (adopted) {
		list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_POLICY, "adopt: what is counted is not shown by its number");
	} else {
		list_check(st, reads_and_writes(st, va, 0xad200000), "adopt: by number when that is undone");
		list_check(st, vmf_phys_adopt(st->port, st->memory.first, PAGES) == -VMF_EBUSY,
			   "adopt: not what is shown by its number");
	}
	list_free(st, va, PAGES);
	vmf_devmem_close(&d);
}

/* A fault's reference may go a moment after whoever faulted has gone on. */
static bool disowned(struct stage *st)
{
	int err = -VMF_EBUSY;

	for (unsigned tries = 0; err == -VMF_EBUSY && tries < 1000000; tries++)
		err = vmf_phys_disown(st->port, st->memory.first);
	return !err;
}

void list_run_adopt(struct stage *st)
{
	struct vmf_frame *frame;
	struct vmf_object *o;

	if (!list_can(st, STAGE_DEVICE, "adopt: pages of a device that are counted"))
		return;
	list_check(st, !vmf_phys_frame(st->port, st->memory.first) && !vmf_phys_adopt(st->port, st->memory.first, PAGES),
		   "adopt: pages of a device");
	frame = vmf_phys_frame(st->port, st->memory.first);
	list_check(st, frame && vmf_frame_pfn(frame).n == st->memory.first.n && vmf_frame_order(frame) == 0,
		   "adopt: they have frames");
	if (frame)
		vmf_frame_put(st->port, frame);
	if (list_check(st, !vmf_object_create(st->port, &o, &adopted_ops, st, PAGES), "adopt: a driver")) {
		run_frames(st, o);
		vmf_object_put(o);
	}
	run_raw(st, true);
	list_check(st, disowned(st) && !vmf_phys_frame(st->port, st->memory.first), "adopt: undone");
	run_raw(st, false);
}
