/* SPDX-License-Identifier: MIT
 *
 * Windows of 2 MiB pages, by copy, out of the system's pool; and node policies.
 *
 * The pages are reserved when the window is mapped, so a fault finds one.  A userfaultfd fills such a window only in
 * whole pages.  For FALLBACK an absent block is mapped anew, in base pages: it is made PROT_NONE, leaves the
 * userfaultfd, is replaced, registered and opened again.  Who touches it meanwhile gets a SIGSEGV, which our handler
 * forgives; a system call gets EFAULT.  No byte is lost: what the block holds is looked at while nobody can fill it.
 */
#include "local.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------------------------------- nodes */

/* <linux/mempolicy.h> */
enum { POLICY_PREFERRED = 1, POLICY_BIND = 2, POLICY_INTERLEAVE = 3, POLICY_LOCAL = 4, POLICY_ALLOWED = 4 };
#define MASK_BITS 1024u
#define MASK_WORDS (MASK_BITS / (8 * sizeof(unsigned long)))

uint32_t vmf__node_here(void *self)
{
	unsigned cpu, node;

	(void)self;
	return getcpu(&cpu, &node) ? 0 : node;
}

static int bind_memory(uintptr_t va, size_t bytes, int policy, const unsigned long *mask)
{
	return syscall(SYS_mbind, va, bytes, policy, mask, mask ? MASK_BITS : 0, 0) ? errno : 0;
}

/* Node 0 is what a zeroed description says, so it is no wish. */
int vmf__node_set(uintptr_t va, size_t bytes, uint32_t node)
{
	unsigned long mask[MASK_WORDS] = { 0 };
	unsigned n = node & 0xff, word = 8 * sizeof(*mask);
	int e;

	if (!node)
		return 0;
	if (node == VMF_NODE_LOCAL) {
		(void)bind_memory(va, bytes, POLICY_LOCAL, NULL);
		return 0;
	}
	if (node == VMF_NODE_INTERLEAVE) {
		if (!syscall(SYS_get_mempolicy, NULL, mask, MASK_BITS, NULL, POLICY_ALLOWED))
			(void)bind_memory(va, bytes, POLICY_INTERLEAVE, mask);
		return 0;
	}
	mask[n / word] = 1ul << n % word;
	e = bind_memory(va, bytes, node >= VMF_NODE_BIND(0) ? POLICY_BIND : POLICY_PREFERRED, mask);
	if (node < VMF_NODE_BIND(0) || !e || (e == ENOSYS && !n))
		return 0;
	return e == EPERM ? -VMF_EPERM : -VMF_EINVAL;
}

/* ----------------------------------------------------------------------------------------------------- plan */

static bool traps(const struct vmf__local *local)
{
	return local->trap[VMF__W_SHARED] || local->trap[VMF__W_COPY] || local->forbids;
}

int vmf__huge_plan(struct vmf__local *local, const struct vmf_map *map)
{
	uint64_t mask = (1u << VMF__HUGE_ORDER) - 1;
	void *zeroes;

	if (map->order != VMF__HUGE_ORDER || traps(local) || !(local->port->features & VMF__UF_MISSING_HUGETLBFS))
		return -VMF_ENOSYS;
	if ((map->pages | map->off) & mask || map->va & (VMF__HUGE_BYTES - 1))
		return -VMF_EINVAL;
	if (local->zeroes)
		return 0;
	zeroes = mmap(NULL, VMF__HUGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, -1, 0);
	if (zeroes == MAP_FAILED)
		return -VMF_ENOMEM;
	vmf__registry_trap_get(); /* for vmf__huge_again() */
	local->zeroes = zeroes;
	return 0;
}

void vmf__huge_end(struct vmf__local *local)
{
	if (!local->zeroes)
		return;
	munmap((void *)local->zeroes, VMF__HUGE_BYTES);
	local->zeroes = NULL;
	vmf__registry_trap_put();
}

static bool inside_huge(uintptr_t va)
{
	struct vmf__window w;

	return va & (VMF__HUGE_BYTES - 1) && vmf__window_find(va, &w) && w.order;
}

bool vmf__huge_cuts(uintptr_t va, uintptr_t end) { return inside_huge(va) || inside_huge(end); }

/* ----------------------------------------------------------------------------------------------------- anew */

/* What was mapped anew and could be neither kept from children nor registered has no access, and must have none. */
int vmf__huge_register(const struct vmf__window *w)
{
	if (!w->extent->huge || w->order)
		return 0;
	if (madvise((void *)w->va, w->end - w->va, MADV_DONTFORK))
		return vmf__err(errno);
	return vmf__err(vmf__uffd_register(w->local->fd[VMF__W_COPY], w->va, w->end - w->va, VMF__UR_MISSING, NULL));
}

static int open_again(const struct vmf__window *w, uintptr_t va)
{
	int err = vmf__uffd_register(w->local->fd[VMF__W_COPY], va, VMF__HUGE_BYTES, VMF__UR_MISSING, NULL);

	if (!err && mprotect((void *)va, VMF__HUGE_BYTES, vmf__host_prot(w->prot)))
		err = -errno;
	return err;
}

/* Out of the userfaultfd, and with no access.  false: as before. */
static bool shut(const struct vmf__window *w, uintptr_t va)
{
	if (mprotect((void *)va, VMF__HUGE_BYTES, PROT_NONE))
		return false;
	if (!vmf__uffd_unregister(w->local->fd[VMF__W_COPY], va, VMF__HUGE_BYTES))
		return true;
	(void)mprotect((void *)va, VMF__HUGE_BYTES, vmf__host_prot(w->prot));
	return false;
}

static bool replace(uintptr_t va)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	return mmap((void *)va, VMF__HUGE_BYTES, PROT_NONE, flags, -1, 0) != MAP_FAILED;
}

/* What cannot be opened again has no access any more, for good: it would show zeroes. => showing */
static int anew(const struct vmf__window *w, uintptr_t va)
{
	struct vmf__local *local = w->local;
	uintptr_t end = va + VMF__HUGE_BYTES;
	unsigned char in = 1;
	bool anew;
	int err = 0;

	if (vmf__window_cut(va, end) || !shut(w, va))
		return -VMF_ENOMEM;
	(void)mincore((void *)va, VMF__PAGE, &in);
	anew = !(in & 1) && replace(va);
	if (anew) {
		(void)vmf__window_order(local, va, end, 0);
		(void)vmf__node_set(va, VMF__HUGE_BYTES, w->extent->node);
		err = madvise((void *)va, VMF__HUGE_BYTES, MADV_DONTFORK);
	}
	if (!err)
		err = open_again(w, va);
	if (err)
		(void)vmf__window_prot(local, va, end, 0);
	return err ? -VMF_EGONE : anew ? 0 : in & 1 ? 1 : -VMF_ENOMEM;
}

/* A sequence, of all spaces: a thread remembers but one.  It changes when a block starts to be mapped anew, and when
 * it is. */
static _Atomic uint32_t changes;

/* => showing */
static int anew_noted(const struct vmf__window *w, uintptr_t va)
{
	int err;

	atomic_fetch_add(&w->local->anew, 1);
	atomic_fetch_add(&changes, 1);
	err = anew(w, va);
	atomic_fetch_add(&changes, 1);
	atomic_fetch_add(&w->local->anew, 1);
	return err;
}

int vmf__huge_anew(struct vmf__local *local, uintptr_t va)
{
	struct vmf__window w;
	int err = 0;

	vmf__mutex_take(&local->showing);
	if (!vmf__window_find(va, &w) || w.local != local)
		err = -VMF_EGONE;
	else if (w.order)
		err = anew_noted(&w, va);
	vmf__mutex_drop(&local->showing);
	return err;
}

/* Nothing is being mapped anew here, nor has been since before the last one that was forgiven: then the SIGSEGV is the
 * application's own.  What is remembered is what was seen before the wait: another may begin right after it. */
bool vmf__huge_again(const struct vmf__window *w, unsigned access)
{
	bool now = atomic_load(&w->local->anew) % 2;
	uint32_t seen = atomic_load(&changes);

	if (!(w->prot & access) || (!now && seen == vmf__self()->anew_seen))
		return false;
	vmf__mutex_take(&w->local->showing);
	vmf__mutex_drop(&w->local->showing);
	vmf__self()->anew_seen = seen;
	return true;
}
