/* SPDX-License-Identifier: MIT
 *
 * In place of poison, which came with Linux 6.6: a page whose failure somebody is to be told of is made PROT_NONE.  A
 * system call gets EFAULT there; a touch is a SIGSEGV, which our handler turns into the SIGBUS that it should be.  So a
 * window of a kernel without poison can have pages without access, and whoever finds one that the window allows gives
 * it back and faults again: what the truth is, the userfaultfd says.
 */
#include "local.h"

#include <sys/mman.h>

static int set_prot(struct vmf__local *local, uintptr_t page, bool allow)
{
	struct vmf__window w;
	int err = -VMF_EAGAIN;

	vmf__block(NULL);
	vmf__mutex_take(&local->showing);
	if (vmf__window_find(page, &w) && w.local == local && !w.trap && w.kind != VMF__W_RAW)
		err = mprotect((void *)page, VMF__PAGE, allow ? vmf__host_prot(w.prot) : PROT_NONE) ? -VMF_ENOMEM : 0;
	vmf__mutex_drop(&local->showing);
	vmf__unblock(NULL);
	return err;
}

int vmf__forbid(struct vmf__local *local, uintptr_t page) { return set_prot(local, page, false); }

void vmf__permit(struct vmf__local *local, uintptr_t va)
{
	(void)set_prot(local, va & ~(uintptr_t)(VMF__PAGE - 1), true);
}

struct vmf_result vmf__forbidden(const struct vmf__window *w, const struct vmf_trap *trap)
{
	struct vmf_result r = vmf__told(w, trap->va);

	if (r.code != VMF_OK)
		return r;
	if (!(w->prot & trap->access))
		return (struct vmf_result){ .code = VMF_SIGSEGV, .why = VMF_WHY_PROT };
	vmf__permit(w->local, trap->va);
	return r;
}
