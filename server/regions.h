/* SPDX-License-Identifier: MIT
 *
 * The regions that a client asks for, checked against the image before the first fault.
 */
#ifndef VMF_SERVER_REGIONS_H
#define VMF_SERVER_REGIONS_H
#include <vmfault/linux.h>

/* 0, or -EINVAL and one line in `why` that says which region and what is wrong with it.
 * image: its bytes; a last page that is not whole counts as whole, because it is padded with zeroes. */
int vmf__regions_check(const struct vmf_linux_region *, unsigned n, uint64_t image, char *why, size_t why_n);

#endif
