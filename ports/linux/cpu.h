/* SPDX-License-Identifier: MIT
 *
 * All that depends on the CPU: what a signal's context says of the access that faulted.
 */
#ifndef VMF_LINUX_CPU_H
#define VMF_LINUX_CPU_H
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>
#include <vmfault/host.h>

#if defined(__x86_64__)

/* What the access was, into trap; false: the context does not say.  Either way *trap is filled in.
 * The page fault's error code: bit 0 the entry was there, bit 1 a write, bit 4 an instruction. */
static inline bool vmf__cpu_access(const ucontext_t *uc, struct vmf_trap *trap)
{
	uint64_t err = (uint64_t)uc->uc_mcontext.gregs[REG_ERR];

	trap->access = err & 2 ? VMF_W : err & 16 ? VMF_X : VMF_R;
	trap->flags = (err & 3) == 3 ? VMF_TRAP_WP : 0;
	return true;
}

/* Where the instruction is that did it. */
static inline uintptr_t vmf__cpu_pc(const ucontext_t *uc) { return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP]; }

#elif defined(__aarch64__)

/* The syndrome is a record behind the registers (not under every emulator).  Classes 0x20 and 0x21: an instruction; bit
 * 6: a write, unless bit 8 says that a cache was maintained; a fault status of 0b0011xx: a permission. */
static inline bool vmf__cpu_access(const ucontext_t *uc, struct vmf_trap *trap)
{
	const uint8_t *at = (const uint8_t *)uc->uc_mcontext.__reserved, *end = at + sizeof(uc->uc_mcontext.__reserved);

	trap->access = VMF_R;
	trap->flags = 0;
	while (at + 16 <= end) {
		const uint32_t *head = (const uint32_t *)(const void *)at; /* magic, size */
		uint64_t esr = *(const uint64_t *)(const void *)(at + 8);

		if (!head[0] || head[1] < 16)
			return false;
		if (head[0] == 0x45535201) {
			uint64_t class = esr >> 26 & 63;

			if (class == 0x20 || class == 0x21)
				trap->access = VMF_X;
			else if (esr & 64 && !(esr & 256))
				trap->access = VMF_W;
			if (trap->access == VMF_W && (esr >> 2 & 15) == 3)
				trap->flags = VMF_TRAP_WP;
			return true;
		}
		at += head[1];
	}
	return false;
}

static inline uintptr_t vmf__cpu_pc(const ucontext_t *uc) { return (uintptr_t)uc->uc_mcontext.pc; }

#else
#error "vmfault on Linux knows x86-64 and AArch64"
#endif
#endif
