/* SPDX-License-Identifier: MIT
 *
 * A guest's memory, and the client's side of a restore, as Firecracker does it: anonymous memory, a userfaultfd with
 * EVENT_REMOVE that is registered MISSING on it, one message with that descriptor.  The client keeps a copy of the
 * descriptor, so that a server that dies leaves it waiting and never lets it read zeroes.
 */
#ifndef VMF_CLI_CLIENT_H
#define VMF_CLI_CLIENT_H
#include <stdbool.h>
#include <stdint.h>

struct vmf_client {
	unsigned char *base;
	uint64_t bytes, page; /* page: 4096, or 2 MiB */
	int uffd, socket;     /* -1: not yet */
	bool user_only;       /* without privilege: a system call on an absent page gets EFAULT */
};
/* 0, or a negative errno and *step: what failed, as a phrase ("userfaultfd").  bytes: a multiple of the page. */
int vmf__client_memory(struct vmf_client *, uint64_t bytes, bool huge, const char **step);
/* Connects and sends the message.  Errors as above; it can be tried again. */
int vmf__client_greet(struct vmf_client *, const char *path, const char **step);
void vmf__client_close(struct vmf_client *); /* of one whose memory() worked */

#endif
