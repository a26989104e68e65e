/* SPDX-License-Identifier: MIT
 *
 * The list: a page of a device that is shown twice, with one set of attributes at a time; RAM, which has its own; who
 * may show a device at all.
 */
#include "list.h"
#include "../../drivers/devmem.h"

/* The memory of the device in another way: as the port can show it, if it can. */
static struct vmf_attr other_attr(const struct stage *st)
{
	return st->cannot[STAGE_UNCACHED] ? (struct vmf_attr){ .type = VMF_UC } : st->uncached;
}

static struct vmf_devmem view(const struct stage *st, struct vmf_attr attr)
{
	return (struct vmf_devmem){ .first = st->memory.first, .pages = 2, .attr = attr };
}

static bool show(struct stage *st, struct vmf_devmem *d, vmf_va *va, const char *name)
{
	return list_check(st, !vmf_devmem_open(d, st->port) && !list_map(st, d->object, 2, VMF_R, va), name);
}

static void hide(struct stage *st, struct vmf_devmem *d, vmf_va va)
{
	list_free(st, va, 2);
	vmf_devmem_close(d);
}

static bool reads(struct stage *st, vmf_va va)
{
	uint32_t word;

	return !st->peek(st, va, &word);
}

/* ------------------------------------------------------------------------------------- two views of a page */

/* usual: is what is shown as the range has it. */
static void run_against(struct stage *st, struct vmf_devmem *usual, vmf_va va)
{
	struct vmf_devmem other = view(st, other_attr(st)), at_once = view(st, other_attr(st));
	vmf_va vb, none;

	at_once.eager = true;
	if (!show(st, &other, &vb, "alias: mapped again, with others"))
		return;
	list_fails(st, vb, VMF_R, VMF_SIGBUS, VMF_WHY_ATTR, "alias: not with other attributes while somebody shows it");
	list_check(st, !vmf_devmem_open(&at_once, st->port) &&
		   list_map(st, at_once.object, 2, VMF_R, &none) == -VMF_EPERM, "alias: nor at once, and then none of it");
	vmf_devmem_close(&at_once);
	list_check(st, reads(st, va), "alias: the first is as it was");
	list_check(st, !vmf_revoke(usual->object, 0, 2), "alias: which is revoked");
	if (list_can(st, STAGE_UNCACHED, "alias: then the other decides")) {
		list_check(st, reads(st, vb), "alias: then the other decides");
		list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_ATTR, "alias: and the first is refused");
		list_check(st, !vmf_unmap(st->space, vb, 2) && reads(st, va), "alias: till the other's last area has gone");
		vmf_devmem_close(&other);
		return;
	}
	list_fails(st, vb, VMF_R, VMF_SIGBUS, VMF_WHY_ATTR, "alias: which this machine cannot encode");
	list_check(st, reads(st, va), "alias: and what was refused is nowhere remembered");
	hide(st, &other, vb);
}

/* An area that was mapped at once, against pages that come one by one; and who takes what there is. */
static void run_raw(struct stage *st)
{
	struct vmf_attr any = { .type = VMF_WB, .port = other_attr(st).port, .strengthen = 1 };
	struct vmf_devmem other = view(st, other_attr(st)), usual = view(st, st->memory.attr), stronger = view(st, any);
	vmf_va vb, va, vc;

	other.eager = true;
	if (!list_can(st, STAGE_UNCACHED, "alias: what is mapped at once decides") ||
	    !show(st, &other, &vb, "alias: at once, with others"))
		return;
	if (show(st, &usual, &va, "alias: and as the range has it")) {
		list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_ATTR, "alias: what is mapped at once decides");
		hide(st, &usual, va);
	}
	if (show(st, &stronger, &vc, "alias: and with whatever is stronger")) {
		list_check(st, reads(st, vc), "alias: which is what the others have");
		if (list_can(st, STAGE_SHOWS, "alias: in the entry"))
			list_check(st, st->shows(st, vc, st->memory.first, other.attr), "alias: in the entry");
		hide(st, &stronger, vc);
	}
	hide(st, &other, vb);
}

/* ----------------------------------------------------------------------------------------------- RAM, policy */

static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };

static void run_ram(struct stage *st)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags, .pages = 1, .prot = VMF_R | VMF_W,
			     .attr = { .type = VMF_UC, .strengthen = 1 } };
	struct vmf_object *o;
	vmf_va va;

	if (!list_check(st, !vmf_object_create(st->port, &o, &zeroes, NULL, 1), "alias: an object of RAM"))
		return;
	if (list_check(st, !vmf_map(st->space, o, &m, &va), "alias: mapped uncached")) {
		list_fails(st, va, VMF_W, VMF_SIGBUS, VMF_WHY_ATTR, "alias: RAM is shown as its range has it, or not at all");
		list_free(st, va, 1);
	}
	vmf_object_put(o);
}

static enum vmf_why read_only(void *self, struct vmf_space *space, const struct vmf_range *range, vmf_pfn first,
			      uint64_t pages, unsigned prot)
{
	const struct vmf_range *asked = self;

	(void)space;
	if (range->kind != VMF_PHYS_DEVICE || first.n < range->first.n || pages > range->pages)
		return VMF_WHY_DRIVER;
	return prot & VMF_W && range->first.n == asked->first.n ? VMF_WHY_POLICY : VMF_WHY_NONE;
}

static void run_policy(struct stage *st)
{
	struct vmf_devmem d = view(st, st->memory.attr), at_once = d;
	vmf_va va;

	at_once.eager = true;
	vmf_phys_policy(st->port, read_only, &st->memory);
	if (list_check(st, !vmf_devmem_open(&d, st->port) && !list_map(st, d.object, 2, VMF_R | VMF_W, &va),
		       "policy: mapped")) {
		list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_POLICY, "policy: a device that may be read only");
		list_free(st, va, 2);
	}
	list_check(st, !vmf_devmem_open(&at_once, st->port) &&
		   list_map(st, at_once.object, 2, VMF_R | VMF_W, &va) == -VMF_EPERM, "policy: nor at once");
	if (list_check(st, !list_map(st, at_once.object, 2, VMF_R, &va) && reads(st, va), "policy: but to read")) {
		vmf_phys_policy(st->port, NULL, NULL);
		list_free(st, va, 2);
	}
	vmf_phys_policy(st->port, NULL, NULL);
	vmf_devmem_close(&at_once);
	if (list_check(st, !list_map(st, d.object, 2, VMF_R | VMF_W, &va), "policy: and without one")) {
		list_check(st, list_writes(st, va + 64, 7), "policy: to write, too");
		list_free(st, va, 2);
	}
	vmf_devmem_close(&d);
}

void list_run_aliases(struct stage *st)
{
	struct vmf_devmem usual = view(st, st->memory.attr);
	vmf_va va;

	run_ram(st);
	if (!list_can(st, STAGE_DEVICE, "alias: a page of a device, shown twice"))
		return;
	if (show(st, &usual, &va, "alias: as the range has it")) {
		list_check(st, reads(st, va) && reads(st, list_page(va, 1)), "alias: shown");
		run_against(st, &usual, va);
		hide(st, &usual, va);
	}
	run_raw(st);
	run_policy(st);
}
