/* SPDX-License-Identifier: MIT
 *
 * Starting and stopping servers.
 */
#include "peer.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEP_MS = 2, LIMIT_MS = 10000, NO_EXEC = 127 };

static void step(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = STEP_MS * 1000000 }, NULL);
}

static _Noreturn void become(char *const argv[], const char *log)
{
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0)
		execv(argv[0], argv);
	_exit(NO_EXEC);
}

/* That the path exists is not enough, and a connection would be taken for the first client. */
static bool listening(const char *socket)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512], path[256];
	unsigned flags;
	bool found = false;

	while (f && !found && fgets(line, sizeof line, f))
		found = sscanf(line, "%*s %*s %*s %x %*s %*s %*s %255s", &flags, path) == 2 &&
			flags == 0x10000 /* accepts connections */ && !strcmp(path, socket);
	if (f)
		fclose(f);
	return found;
}

static bool ended(struct vmf_peer *p, int *status)
{
	struct rusage u;

	if (wait4(p->pid, status, WNOHANG, &u) != p->pid)
		return false;
	p->pid = 0;
	p->cpu_ns = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
		    (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
	return true;
}

int vmf__peer_start(struct vmf_peer *p, char *const argv[], const char *socket, const char *log)
{
	int status;

	*p = (struct vmf_peer){ 0 };
	unlink(socket);
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (!p->pid)
		become(argv, log);
	for (unsigned ms = 0; ms < LIMIT_MS; ms += STEP_MS) {
		if (listening(socket))
			return 0;
		if (ended(p, &status))
			return WIFEXITED(status) && WEXITSTATUS(status) == NO_EXEC ? -ENOENT : -EIO;
		step();
	}
	vmf__peer_stop(p);
	return -ETIMEDOUT;
}

int vmf__peer_stop(struct vmf_peer *p)
{
	int status;

	if (!p->pid)
		return 0;
	/* One that serves a single client ends with it; asked only if it does not. */
	for (unsigned ms = 0; ms < LIMIT_MS; ms += STEP_MS) {
		if (ended(p, &status))
			return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
		if (ms == 20)
			kill(p->pid, SIGTERM);
		step();
	}
	kill(p->pid, SIGKILL);
	while (!ended(p, &status))
		step();
	return -ETIMEDOUT;
}
