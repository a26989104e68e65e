/* SPDX-License-Identifier: MIT
 *
 * A page server as a child process: started with its output in a log, ended by SIGTERM.
 */
#ifndef VMF_DEMO_PEER_H
#define VMF_DEMO_PEER_H
#include <sys/types.h>

struct peer {
	pid_t pid;
	char socket[100], log[128];
};
/* 0, or a negative errno.  dir: where its socket and its log go, as NAME.sock and NAME.log. */
int peer_start(struct peer *, const char *dir, const char *name, char *const *argv);
/* Ends it if it has not ended yet. */
void peer_end(struct peer *);
/* Prints its log, each line after `indent`; nothing if it is empty. */
void peer_print_log(const struct peer *, const char *indent);

#endif
