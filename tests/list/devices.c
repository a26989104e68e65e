/* SPDX-License-Identifier: MIT
 *
 * The list: pfns of a device range, as they are touched and at map time; attributes; holes.
 */
#include "list.h"
#include "../../drivers/devmem.h"

static bool word_there(struct stage *st, vmf_va va) { return list_reads(st, va + st->word_at, st->word); }

/* false: and that was said */
static bool device_open(struct stage *st, struct vmf_devmem *d, unsigned prot, vmf_va *va, const char *name)
{
	return list_check(st, !vmf_devmem_open(d, st->port) && !list_map(st, d->object, d->pages, prot, va), name);
}

static void device_close(struct stage *st, struct vmf_devmem *d, vmf_va va)
{
	list_free(st, va, d->pages);
	vmf_devmem_close(d);
}

static void nopfn(struct stage *st)
{
	struct vmf_devmem d = { .first = st->device.first, .pages = 1, .attr = st->device.attr };
	vmf_va va;

	if (!device_open(st, &d, VMF_R, &va, "nopfn: mapped"))
		return;
	list_check(st, word_there(st, va), "nopfn: a word of a device");
	if (list_can(st, STAGE_SHOWS, "nopfn: the entry is a device's"))
		list_check(st, st->shows(st, va, st->device.first, st->device.attr), "nopfn: the entry is a device's");
	list_fails(st, va, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT, "nopfn: a store where only loads are allowed");
	list_check(st, !vmf_revoke(d.object, 0, 1) && word_there(st, va), "nopfn: faults again after a revoke");
	list_check(st, !vmf_unmap(st->space, va, 1), "nopfn: unmapped");
	list_fails(st, va, VMF_R, VMF_SIGSEGV, VMF_WHY_NONE, "nopfn: nothing is there");
	vmf_devmem_close(&d);
}

static void scratch(struct stage *st)
{
	struct vmf_devmem d = { .first = st->device.first, .pages = 1, .attr = st->device.attr };
	vmf_va one, other;

	if (!list_can(st, STAGE_SCRATCH, "nopfn: a store reaches the device") ||
	    !device_open(st, &d, VMF_R | VMF_W, &one, "nopfn: mapped to write"))
		return;
	if (list_check(st, !list_map(st, d.object, 1, VMF_R, &other), "nopfn: and again to read")) {
		list_check(st, list_writes(st, one + st->scratch_at, 0xd00d) &&
			   list_reads(st, other + st->scratch_at, 0xd00d), "nopfn: a store reaches the device");
		list_check(st, !vmf_revoke(d.object, 0, 1) && list_reads(st, one + st->scratch_at, 0xd00d),
			   "nopfn: and stays there after a revoke");
		list_free(st, other, 1);
	}
	device_close(st, &d, one);
}

static void attributes(struct stage *st)
{
	struct vmf_devmem weak = { .first = st->device.first, .pages = 1, .attr = st->weak };
	struct vmf_devmem alien = { .first = st->device.first, .pages = 1, .attr = st->alien };
	vmf_va va;

	if (device_open(st, &weak, VMF_R, &va, "attributes: mapped")) {
		list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_ATTR,
			   "attributes: those that do not cover the device's are refused");
		device_close(st, &weak, va);
	}
	if (list_can(st, STAGE_ALIEN, "attributes: those that cannot be had are refused") &&
	    device_open(st, &alien, VMF_R, &va, "attributes: mapped with others")) {
		list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_ATTR, "attributes: those that cannot be had are refused");
		device_close(st, &alien, va);
	}
}

static void hole(struct stage *st)
{
	struct vmf_devmem d = { .first = { st->device.first.n - 1 }, .pages = 2, .attr = st->device.attr };
	vmf_va va;

	if (!device_open(st, &d, VMF_R, &va, "hole: mapped"))
		return;
	list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_HOLE, "hole: the core decides, not the bus");
	list_check(st, word_there(st, list_page(va, 1)), "hole: the page beside it");
	device_close(st, &d, va);
}

/* ------------------------------------------------------------------------------------- at map time */

static _Atomic unsigned asked;

static enum vmf_code counting_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	const vmf_pfn *first = req->object_priv;

	asked++;
	ans->pfn.n = first->n + req->off;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops counting_ops = { .size = sizeof(counting_ops), .nopfn = counting_nopfn };

static int map_raw(struct stage *st, struct vmf_object *o, uint64_t first, vmf_va va)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags | VMF_FIXED, .va = va, .pages = 2, .prot = VMF_R,
			     .action = VMF_RAW, .attr = st->device.attr, .raw = { first } };

	return vmf_map(st->space, o, &m, NULL);
}

static void raw(struct stage *st)
{
	vmf_pfn first = st->device.first;
	struct vmf_object *o;
	vmf_va va;

	asked = 0;
	if (!list_check(st, !vmf_object_create(st->port, &o, &counting_ops, &first, 2) &&
			list_gap(st, 2, &va), "raw: an object"))
		return;
	list_check(st, map_raw(st, o, first.n + st->device.pages - 1, va) == -VMF_EPERM,
		   "raw: the second page is in a hole");
	list_fails(st, va, VMF_R, VMF_SIGSEGV, VMF_WHY_NONE, "raw: so the first is not there either");
	if (list_check(st, !map_raw(st, o, first.n, va), "raw: mapped"))
		list_check(st, word_there(st, va) && !asked, "raw: there without a fault");
	list_check(st, !vmf_revoke(o, 0, 1) && word_there(st, va) && asked == 1, "raw: and with one after a revoke");
	list_free(st, va, 2);
	vmf_object_put(o);
}

void list_run_devices(struct stage *st)
{
	static const char *const each[] = {
		"nopfn: a word of a device", "attributes: of a device", "hole: beside a device", "raw: there without a fault",
	};

	for (unsigned i = 0; st->cannot[STAGE_DEVICE] && i < sizeof(each) / sizeof(each[0]); i++)
		list_skip(st, each[i], st->cannot[STAGE_DEVICE]);
	if (st->cannot[STAGE_DEVICE])
		return;
	nopfn(st);
	scratch(st);
	attributes(st);
	hole(st);
	raw(st);
}
