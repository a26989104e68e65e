/* SPDX-License-Identifier: MIT
 *
 * A page fault on a bare machine: the whole loop.  It runs on the stack of what has faulted, and may nest: a driver's
 * handler may touch another area.
 */
#include "metal.h"

struct metal_cpu metal_cpu;

/* The entry is there, but may not be written. */
static unsigned trap_flags(struct vmf_space *space, vmf_va va, unsigned access)
{
	struct vmf_pmap *pmap = vmf_space_pmap(space);
	struct vmf_entry e;

	if (access != VMF_W || pmap->ops->query(pmap, va, &e))
		return 0;
	return e.present && !(e.prot & VMF_W) ? VMF_TRAP_WP : 0;
}

uintptr_t metal_trap(vmf_va va, unsigned access, uintptr_t pc)
{
	struct vmf_space *space = metal_cpu.space;
	struct vmf_trap trap = { .va = va, .access = (uint8_t)access };
	struct vmf_ticket ticket = { 0 };
	struct vmf_result r;

	if (!space)
		metal_die("a fault before there is a space", access, va, pc);
	metal_cpu.traps++;
	trap.flags = (uint8_t)trap_flags(space, va, access);
	while ((r = vmf_handle(space, &trap, &ticket)).code == VMF_RETRY) {
		metal_cpu.retries++;
		(void)vmf_ticket_wait(space, &ticket, false);
	}
	if (r.code == VMF_OK)
		return pc;
	metal_cpu.failed = r;
	/* A call: what follows the access that failed returns to the caller, too. */
	if (access == VMF_X && metal_cpu.fetch == METAL_FETCHES) {
		metal_cpu.fetch = METAL_FETCH_FAILED;
		return (uintptr_t)board_access_failed;
	}
	if (pc < (uintptr_t)board_access || pc >= (uintptr_t)board_access_end)
		metal_die("a fault that cannot be resolved", access, va, pc);
	return (uintptr_t)board_access_failed;
}

void metal_die(const char *what, uintptr_t cause, vmf_va va, uintptr_t pc)
{
	char reason[32];

	metal_puts("died: ");
	metal_puts(what);
	metal_puts(": cause ");
	metal_put_hex(cause);
	metal_puts(" address ");
	metal_put_hex(va);
	metal_puts(" pc ");
	metal_put_hex(pc);
	metal_puts(" last ");
	metal_puts(vmf_result_str(metal_cpu.failed, reason, sizeof(reason)));
	metal_puts("\n");
	board_exit(2);
}
