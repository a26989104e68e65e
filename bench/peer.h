/* SPDX-License-Identifier: MIT
 *
 * A peer: a server that is measured, as a child process.
 */
#ifndef VMF_BENCH_PEER_H
#define VMF_BENCH_PEER_H
#include <stdint.h>
#include <sys/types.h>

struct vmf_peer {
	pid_t pid;       /* 0: none */
	uint64_t cpu_ns; /* what it used, all threads; after its end */
};
/* Runs argv, its output in the file `log`, and waits until it listens on `socket`.  0 or a negative errno. */
int vmf__peer_start(struct vmf_peer *, char *const argv[], const char *socket, const char *log);
/* Asks it to end, and kills it after 10 s.  0, or -EIO: its status was not 0, or -ETIMEDOUT. */
int vmf__peer_stop(struct vmf_peer *);

#endif
