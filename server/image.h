/* SPDX-License-Identifier: MIT
 *
 * An image: a file or block device, open, and the one object that all clients share.
 */
#ifndef VMF_SERVER_IMAGE_H
#define VMF_SERVER_IMAGE_H
#include <vmfault/linux.h>

struct vmf_image {
	const char *path;
	int fd;
	struct vmf_object *object;
};
/* around: bytes that a fault brings, a power of two of pages.  0, or -1 and one line in `why`. */
int vmf__image_open(struct vmf_image *, struct vmf_port *, const char *path, uint64_t around, char *why, size_t why_n);
uint64_t vmf__image_bytes(const struct vmf_image *); /* of now: it may shrink while it is served; 0: cannot be told */
void vmf__image_close(struct vmf_image *);

#endif
