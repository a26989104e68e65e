/* SPDX-License-Identifier: MIT
 *
 * Is what is mapped somewhere still ours?  Windows with raw pfns have no userfaultfd that would tell us of the
 * application's own munmap(), so before one of them is mapped anew, or unmapped, the kernel is asked (Linux 6.11):
 * ours are shared mappings of files, and what the application gets from malloc(), as a stack, or with a library is
 * not.  What is unmapped between the look and the mapping is hit nevertheless.
 */
#include "local.h"

#include <errno.h>
#include <sys/ioctl.h>

/* <linux/fs.h> of Linux 6.11 */
struct procmap_query {
	uint64_t size, flags, addr;
	uint64_t start, end, vma_flags, page_size, offset, inode;
	uint32_t dev_major, dev_minor, name_size, build_id_size;
	uint64_t name, build_id;
};
#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)
#define SHARED 0x08u
#define COVERING_OR_NEXT 0x10u
#define FILE_BACKED 0x20u

bool vmf__ours_next(const struct vmf__linux *port, uintptr_t *va, uintptr_t end, uintptr_t *to)
{
	struct procmap_query q = { .size = sizeof(q), .flags = SHARED | COVERING_OR_NEXT | FILE_BACKED, .addr = *va };
	int e = errno, err;

	*to = end;
	if (*va >= end)
		return false;
	err = ioctl(port->maps, PROCMAP_QUERY, &q) ? errno : 0;
	errno = e;
	if (err == ENOENT)
		return false;
	if (err) /* nobody says */
		return true;
	if (q.start >= end)
		return false;
	*va = q.start > *va ? (uintptr_t)q.start : *va;
	*to = q.end < end ? (uintptr_t)q.end : end;
	return true;
}
