/* SPDX-License-Identifier: MIT
 *
 * The userfaultfd: its system calls, thinly wrapped, and what Debian 12's <linux/userfaultfd.h> is too old to know.
 *
 *   - Nothing here waits, allocates or keeps state: everything may be called in a signal handler.
 *   - Calls that fill pages return the bytes that were done (perhaps fewer than asked for), or -errno when there were
 *     none.  What stopped a short one shows when the caller goes on from there.
 *   - -EAGAIN: an event is unread, or its cause has not gone on yet: read events, look up again.
 *     -EEXIST: the page is there (or, on hugetlb, the pool is empty; or, of zero, poison is there).
 *     -EFAULT of cont: the object has no such page.  -ENOENT, -ESRCH: the mapping or the process has gone.
 */
#ifndef VMF_LINUX_UFFD_H
#define VMF_LINUX_UFFD_H
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vmf__uffd_feature {
	VMF__UF_WP = 1 << 0,
	VMF__UF_EVENT_FORK = 1 << 1,
	VMF__UF_EVENT_REMAP = 1 << 2,
	VMF__UF_EVENT_REMOVE = 1 << 3,
	VMF__UF_MISSING_HUGETLBFS = 1 << 4,
	VMF__UF_MISSING_SHMEM = 1 << 5,
	VMF__UF_EVENT_UNMAP = 1 << 6,
	VMF__UF_SIGBUS = 1 << 7,
	VMF__UF_THREAD_ID = 1 << 8,
	VMF__UF_MINOR_HUGETLBFS = 1 << 9,
	VMF__UF_MINOR_SHMEM = 1 << 10,     /* 5.14 */
	VMF__UF_EXACT_ADDRESS = 1 << 11,   /* 5.18 */
	VMF__UF_WP_SHMEM = 1 << 12,        /* 5.19 */
	VMF__UF_WP_UNPOPULATED = 1 << 13,  /* 6.4, as is CONTINUE with write protection */
	VMF__UF_POISON = 1 << 14,          /* 6.6 */
	VMF__UF_WP_ASYNC = 1 << 15,        /* 6.7 */
	VMF__UF_MOVE = 1 << 16             /* 6.8 */
};
enum vmf__uffd_mode { /* of registering */
	VMF__UR_MISSING = 1,
	VMF__UR_WP = 2,
	VMF__UR_MINOR = 4
};
enum vmf__uffd_fill { /* how to fill; the same bits for every call */
	VMF__UM_DONTWAKE = 1,
	VMF__UM_WP = 2 /* copy, cont (from 6.4 on) */
};
enum vmf__uffd_ioctl { /* bits of what registering a range allows */
	VMF__UI_WAKE = 1 << 2,
	VMF__UI_COPY = 1 << 3,
	VMF__UI_ZERO = 1 << 4,
	VMF__UI_MOVE = 1 << 5,
	VMF__UI_WP = 1 << 6,
	VMF__UI_CONT = 1 << 7,
	VMF__UI_POISON = 1 << 8
};
struct vmf__uffdio_poison { struct uffdio_range range; uint64_t mode; int64_t updated; };
struct vmf__uffdio_move { uint64_t dst, src, len, mode; int64_t move; };
#define VMF__UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct vmf__uffdio_poison)
#define VMF__UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct vmf__uffdio_move)

/* A descriptor, close-on-exec and non-blocking, or -errno: by the system call, by /dev/userfaultfd, else for faults
 * of user mode only (*user_only: then system calls on absent pages get EFAULT).  user_only may be NULL. */
int vmf__uffd_open(bool *user_only);
/* The handshake, once for each descriptor: switches `features` on.  0 or -errno; -EINVAL: not all of them are
 * there. */
int vmf__uffd_api(int fd, uint64_t features);
/* Both, without a look at the environment: as when somebody else opened one last. => async-signal-safe */
int vmf__uffd_open_here(uint64_t features);
/* What this kernel has (a bit set of features), asked of a descriptor of its own.  0: no userfaultfd. */
uint64_t vmf__uffd_features(void);
/* The same: 0, or -errno: descriptors or memory are lacking, so nobody knows. */
int vmf__uffd_ask(uint64_t *features);
/* 0 or -errno.  ioctls (may be NULL): bits of what works on the range. */
int vmf__uffd_register(int fd, uintptr_t va, size_t bytes, unsigned mode, uint64_t *ioctls);
int vmf__uffd_unregister(int fd, uintptr_t va, size_t bytes);

long vmf__uffd_copy(int fd, uintptr_t va, const void *from, size_t bytes, unsigned mode);
long vmf__uffd_zero(int fd, uintptr_t va, size_t bytes, unsigned mode);
long vmf__uffd_cont(int fd, uintptr_t va, size_t bytes, unsigned mode);
long vmf__uffd_poison(int fd, uintptr_t va, size_t bytes, unsigned mode);
/* Write-protect present pages (protect), or make them writable and wake.  0 or -errno. */
int vmf__uffd_wp(int fd, uintptr_t va, size_t bytes, bool protect);
int vmf__uffd_wake(int fd, uintptr_t va, size_t bytes);

/* Is an event unread, or its cause still at work?  Then every call that fills says -EAGAIN.  Changes nothing.
 * fd -1: no. */
bool vmf__uffd_changing(int fd);
#endif
