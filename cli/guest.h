/* SPDX-License-Identifier: MIT
 *
 * A guest's memory, and the client's side of a restore, as Firecracker does it: anonymous memory, a userfaultfd with
 * EVENT_REMOVE that is registered MISSING on it, one message with that descriptor.  The client keeps its own copy of the
 * descriptor, so that a server that dies leaves it waiting and never lets it read zeroes.
 */
#ifndef VMF_CLI_GUEST_H
#define VMF_CLI_GUEST_H
#include <stdbool.h>
#include <stdint.h>

struct vmf_guest {
	unsigned char *base;
	uint64_t bytes, page; /* page: 4096, or 2 MiB */
	int uffd, socket;     /* -1: not yet */
	bool user_only;       /* without privilege: a system call on an absent page gets EFAULT */
};
/* 0, or a negative errno and *step: what failed, as a phrase ("userfaultfd").  bytes: a multiple of the page. */
int vmf__guest_memory(struct vmf_guest *, uint64_t bytes, bool huge, const char **step);
/* Connects and sends the message.  Errors as above. */
int vmf__guest_greet(struct vmf_guest *, const char *path, const char **step);
void vmf__guest_close(struct vmf_guest *); /* of one whose memory() worked */

#endif
