/* SPDX-License-Identifier: MIT
 *
 * The mask: what the environment says is not to be used, as if this kernel did not have it.  A debugging aid, so that
 * what is done on another kernel can be seen on this one; a program that runs with raised privilege does not look.
 *
 *	VMF_WITHOUT=NAME,NAME,...
 *
 * A NAME is that of a feature as `vmfault probe` prints it, in either case (poison, minor_shmem, event_remove, ...), or
 *
 *	userfaultfd  no userfaultfd at all          device       no /dev/userfaultfd
 *	privilege    faults of user mode only       membarrier   none
 *	pagemap      no /proc/self/pagemap          since-5.15   whatever came with Linux 5.15 or later
 *	access       a signal's context that does not tell reads from writes
 */
#ifndef VMF_LINUX_MASK_H
#define VMF_LINUX_MASK_H
#include <stdbool.h>
#include <stdint.h>

/* Beside the features of a userfaultfd, which are the bits below these. */
#define VMF__MASK_USERFAULTFD (UINT64_C(1) << 56)
#define VMF__MASK_DEVICE (UINT64_C(1) << 57)
#define VMF__MASK_PRIVILEGE (UINT64_C(1) << 58)
#define VMF__MASK_USER_ONLY (UINT64_C(1) << 59)
#define VMF__MASK_MEMBARRIER (UINT64_C(1) << 60)
#define VMF__MASK_PAGEMAP (UINT64_C(1) << 61)
#define VMF__MASK_ACCESS (UINT64_C(1) << 62)

/* What is masked; reads the environment each time, so only for who is called by the application: it may change that
 * itself, at any time when it is not in a call of ours. */
uint64_t vmf__mask(void);
/* What that said last, to whichever thread.  => async-signal-safe */
uint64_t vmf__mask_last(void);
/* false: there is a name in it that nobody knows, which begins at *unknown and is *n bytes long. */
bool vmf__mask_good(const char **unknown, int *n);
#endif
