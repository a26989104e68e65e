/* SPDX-License-Identifier: MIT
 *
 * A client: a connection, the process at its other end, and the userfaultfds that it handed over.
 *
 * It ends when the memory behind all its userfaultfds is gone, however its socket was closed.
 */
#ifndef VMF_SERVER_CLIENT_H
#define VMF_SERVER_CLIENT_H
#include "server.h"
#include "serving.h"
#include <sys/types.h>

enum { VMF_CLIENT_SERVINGS = 8, VMF_CLIENT_HELD = VMF_HELLO_FDS + 1 };

struct vmf_client {
	struct vmf_strand strand;
	struct vmf_server *server;
	struct vmf_client *next, **prev;  /* => server's lock */
	int socket, timer, process;       /* -1: closed, or there is none; process: a pidfd */
	pid_t pid;
	struct vmf_handshake *handshake;
	uint64_t hello_by;                /* when its message has to be complete; 0: none is due */
	struct vmf_serving serving[VMF_CLIENT_SERVINGS];
	unsigned servings;
	int held[VMF_CLIENT_HELD];        /* userfaultfds that are kept open and not served */
	unsigned helds;
	struct vmf_session total;         /* of servings that have ended; only the counters */
	bool ever_served;
	const char *end;                  /* why it ends, if not because it is gone */
	uint64_t began, failure_line;
	unsigned failures_unsaid;
};
/* A connection was accepted; the socket is the client's from here on, also on failure. */
void vmf__client_open(struct vmf_server *, int socket);
/* It will not be served any more: what is absent becomes SIGBUS, or it is killed, or it stalls, as the policy says.
 * closing: its descriptors are closed next, so it does not stall, and is killed if it handed over any that are only
 * held.  => from its strand */
void vmf__client_abandon(struct vmf_client *, const char *end, bool closing);
/* Abandons it, and ends it although its memory lives.  => the pool has stopped */
void vmf__client_stop(struct vmf_client *);
/* SIGKILL.  0 or -errno. */
int vmf__client_kill(struct vmf_client *);
/* Its line on stdout. */
void vmf__client_report(struct vmf_client *);

/* The policy: struct vmf_adopt's `failed`; self is the client. */
int64_t vmf__policy_failed(void *self, struct vmf_space *, const struct vmf_failed *);
/* Can the policy be carried out for this client?  0, or -1 and one line in `why`. */
int vmf__policy_check(struct vmf_client *, char *why, size_t why_n);

#endif
