/* SPDX-License-Identifier: MIT
 *
 * The process at the other end of a connection, and connections that nobody will serve.
 *
 * A descriptor that waits in a socket is dropped when that is closed.  If it was the last copy of a userfaultfd, absent
 * pages read as zeroes from then on.
 */
#ifndef VMF_SERVER_PEER_H
#define VMF_SERVER_PEER_H
#include <stdbool.h>
#include <sys/types.h>

/* Its pid (0: not known), and a descriptor of the process that no other process can be taken for; -1. */
int vmf__peer(int socket, pid_t *pid);
/* SIGKILL, and waits a moment until it has ended.  0 or -errno. */
int vmf__peer_kill(int process);
/* Closes a connection of which nothing, or not all, was read, and says why, in one line for `socket_path` (NULL:
 * it came too late, which is not worth a line).  Should it hold a descriptor the process is killed first; and if that
 * cannot be done the connection stays open, unread. */
void vmf__peer_turn_away(int socket, const char *socket_path, const char *why);

#endif
