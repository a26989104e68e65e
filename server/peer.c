/* SPDX-License-Identifier: MIT */
#include "peer.h"
#include "log.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* since Linux 6.5 */
#endif

enum { CHUNK = 16384, END_MS = 1000 };

int vmf__peer(int socket, pid_t *pid)
{
	struct ucred who = { 0 };
	int process = -1;
	socklen_t n = sizeof who, m = sizeof process;

	*pid = getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &n) ? 0 : who.pid;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &process, &m))
		process = *pid > 0 ? pidfd_open(*pid, 0) : -1;
	return process;
}

int vmf__peer_kill(int process)
{
	struct pollfd p = { .fd = process, .events = POLLIN };

	if (process < 0)
		return -ESRCH;
	if (pidfd_send_signal(process, SIGKILL, NULL, 0) && errno != ESRCH)
		return -errno;
	/* A killed process may still run for a moment on another CPU. */
	while (poll(&p, 1, END_MS) < 0 && errno == EINTR)
		;
	return 0;
}

/* What has none is read and forgotten; what has one is only looked at. => nothing more comes in */
static bool descriptor_waits(int socket)
{
	char bytes[CHUNK];
	ssize_t n;

	for (;;) {
		struct iovec io = { bytes, sizeof bytes };
		struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };

		n = recvmsg(socket, &m, MSG_PEEK | MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == ECONNRESET))
			continue;
		if (n <= 0)
			return n < 0 && errno != EAGAIN;
		if (m.msg_flags & MSG_CTRUNC)
			return true;
		(void)!recv(socket, bytes, (size_t)n, MSG_DONTWAIT);
	}
}

void vmf__peer_turn_away(int socket, const char *socket_path, const char *why)
{
	const char *more = "";
	int process, err;
	bool waits;
	pid_t pid;

	shutdown(socket, SHUT_RD);
	process = vmf__peer(socket, &pid);
	waits = descriptor_waits(socket);
	err = waits ? vmf__peer_kill(process) : 0;
	if (waits)
		more = err ? "; it holds a descriptor and cannot be killed, so it waits" :
			     "; it holds a descriptor, so it was killed";
	if (why || waits)
		vmf__log(socket_path, "client %d refused: %s%s", (int)pid, why ? why : "no new clients", more);
	if (!err)
		close(socket);
	if (process >= 0)
		close(process);
}
