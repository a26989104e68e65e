/* SPDX-License-Identifier: MIT
 *
 * Page servers as child processes.  They die with the demo.
 */
#include "peer.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void become(const struct peer *p, char *const *argv)
{
	int log = open(p->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(127);
	close(log);
	execv(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

int peer_start(struct peer *p, const char *dir, const char *name, char *const *argv)
{
	if (snprintf(p->socket, sizeof p->socket, "%s/%s.sock", dir, name) >= (int)sizeof p->socket ||
	    snprintf(p->log, sizeof p->log, "%s/%s.log", dir, name) >= (int)sizeof p->log)
		return -ENAMETOOLONG;
	unlink(p->socket);
	p->pid = fork();
	if (!p->pid)
		become(p, argv);
	return p->pid < 0 ? -errno : 0;
}

void peer_end(struct peer *p)
{
	for (int i = 0; i < 120; i++) {
		if (waitpid(p->pid, NULL, WNOHANG))
			return;
		/* Some end with their client: give them the time for their last words. */
		if (i == 20)
			kill(p->pid, SIGTERM);
		usleep(10000);
	}
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
}

void peer_print_log(const struct peer *p, const char *indent)
{
	char line[512];
	FILE *f = fopen(p->log, "re");

	while (f && fgets(line, sizeof line, f))
		printf("%s%s", indent, line);
	if (f)
		fclose(f);
}
