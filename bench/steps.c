/* SPDX-License-Identifier: MIT
 *
 * Single steps.
 */
#include "steps.h"
#include "touch.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child stops itself before and after; what that takes is counted apart and left out. */
static _Noreturn void be_stepped(void (*what)(void *), void *arg)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(1);
	raise(SIGSTOP);
	what(arg);
	raise(SIGSTOP);
	_exit(0);
}

/* Steps until it stops itself again; how often, or -1. */
static double step_on(pid_t pid)
{
	double n = 0;
	int status;

	while (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == SIGSTOP)
			return n;
		if (WSTOPSIG(status) != SIGTRAP)
			return -1;
		n++;
	}
	return -1;
}

static double count(void (*what)(void *), void *arg)
{
	double n = -1;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		walk_die("fork", errno);
	if (pid == 0)
		be_stepped(what, arg);
	if (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
		n = step_on(pid);
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == pid && !WIFEXITED(status) && !WIFSIGNALED(status))
		;
	return n;
}

static void nothing(void *arg) { (void)arg; }

double steps(void (*what)(void *), void *arg)
{
	double n = count(what, arg), none = count(nothing, NULL);

	return n < 0 || none < 0 ? -1 : n - none;
}
