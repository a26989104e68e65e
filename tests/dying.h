/* SPDX-License-Identifier: MIT
 *
 * What dies because a rule was broken, in a child, and what it says before.
 */
#ifndef DYING_H
#define DYING_H
#include <fcntl.h>
#include <sys/wait.h>
#include "vmtest.h"

/* What it says before it dies by SIGABRT; "": it did not. */
static inline const char *dying(void (*run)(const void *), const void *arg)
{
	static char said[512];
	int fd[2], status;
	size_t at = 0;
	ssize_t n;
	pid_t pid;

	fflush(NULL);
	CHECK(!pipe2(fd, O_CLOEXEC));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(fd[1], 2);
		signal(SIGABRT, SIG_DFL);
		run(arg);
		_exit(0);
	}
	close(fd[1]);
	while ((n = read(fd[0], said + at, sizeof(said) - 1 - at)) > 0)
		at += (size_t)n;
	said[at] = 0;
	close(fd[0]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return "";
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		vmtest_fail("a child ends with status %#x, and says \"%s\"", (unsigned)status, said);
	return said;
}

/* Only a library with VMF_DEBUG looks; it says one line, with these words in it. */
static inline void dying_says(void (*run)(const void *), const void *arg, const char *one, const char *other)
{
	const char *said = dying(run, arg);

#ifdef VMF_DEBUG
	if (!strstr(said, one) || !strstr(said, other) || strchr(said, '\n') != said + strlen(said) - 1)
		vmtest_fail("it says \"%s\", and not in one line \"%s\" and \"%s\"", said, one, other);
#else
	(void)one, (void)other;
	CHECK_EQ(strlen(said), 0);
#endif
}
#endif
