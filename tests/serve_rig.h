/* SPDX-License-Identifier: MIT
 *
 * A page server in a directory of its own: started from the command that was built ($VMFAULT), its lines kept in files.
 */
#ifndef SERVE_RIG_H
#define SERVE_RIG_H
#include "uffd_client.h"
#include "vmtest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE 4096u
#define MB (UINT64_C(1) << 20)

struct serve {
	char dir[64], sock[96], image[96], out[96], err[96], pid_file[96];
	pid_t pid;
};

/* An empty directory and its names; no server yet. */
static inline void serve_open(struct serve *s)
{
	*s = (struct serve){ .pid = -1 };
	strcpy(s->dir, "/tmp/vmf-serve-XXXXXX");
	CHECK(mkdtemp(s->dir));
	snprintf(s->sock, sizeof s->sock, "%s/sock", s->dir);
	snprintf(s->image, sizeof s->image, "%s/image", s->dir);
	snprintf(s->out, sizeof s->out, "%s/out", s->dir);
	snprintf(s->err, sizeof s->err, "%s/err", s->dir);
	snprintf(s->pid_file, sizeof s->pid_file, "%s/pid", s->dir);
}

/* Runs the command with these arguments (they end with NULL); its lines go to the two files, which start empty. */
static inline void serve_exec(struct serve *s, const char *const *args)
{
	const char *command = getenv("VMFAULT");
	char *argv[32] = { "vmfault" };

	if (!command)
		vmtest_skip("the command was not built ($VMFAULT)");
	for (unsigned i = 0; args[i] && i < 30; i++)
		argv[i + 1] = (char *)(uintptr_t)args[i];
	fflush(NULL);
	s->pid = fork();
	CHECK(s->pid >= 0);
	if (s->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(1);
	close(2);
	if (open(s->out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600) != 1 ||
	    open(s->err, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600) != 2)
		_exit(98);
	execv(command, argv);
	_exit(98);
}

/* serve --socket SOCK --image IMAGE --pid-file FILE and what else is given; returns when it listens. */
static inline void serve_start(struct serve *s, const char *const *more)
{
	const char *args[24] = { "serve", "--socket", s->sock, "--image", s->image, "--pid-file", s->pid_file };
	struct stat st;

	for (unsigned n = 7; *more && n < 23; more++)
		args[n++] = *more;
	serve_exec(s, args);
	CHECK_SOON((!stat(s->pid_file, &st) && st.st_size) || waitpid(s->pid, NULL, WNOHANG) == s->pid);
	if (stat(s->pid_file, &st))
		vmtest_fail("the server did not start; see its lines in %s", s->err);
}
#define SERVE_START(s, ...) serve_start(s, (const char *const[]){ __VA_ARGS__ }) /* ends with NULL */

/* All that a file holds now; static. */
static inline const char *serve_text(const char *path)
{
	static char text[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static inline unsigned serve_lines(const char *path, const char *with)
{
	unsigned n = 0;
	const char *text = serve_text(path);

	for (const char *p = text; (p = strstr(p, with)); p++)
		n++;
	return n;
}

/* Does a file say this, or will it soon?  Fails the test if not. */
static inline void serve_says(const char *path, const char *what)
{
	for (int i = 0; !strstr(serve_text(path), what); i++) {
		if (i == 2000)
			vmtest_fail("'%s' was not said; but this was:\n%s", what, serve_text(path));
		usleep(5000);
	}
}

/* How it ended: its exit code. */
static inline int serve_wait(struct serve *s)
{
	int code = client_wait(s->pid);

	s->pid = -1;
	return code;
}

static inline int serve_stop(struct serve *s)
{
	CHECK_EQ(kill(s->pid, SIGTERM), 0);
	return serve_wait(s);
}

static inline void serve_close(struct serve *s)
{
	DIR *d = opendir(s->dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	CHECK_EQ(rmdir(s->dir), 0);
}

/* Can this machine run clients at all? */
static inline void serve_need_uffd(void)
{
	struct guest g;

	if (!guest_memory(&g, PAGE, PAGE))
		vmtest_skip("no userfaultfd for this user");
	close(g.uffd);
}

/* The number after `name` in the line of this client on stdout; -1. */
static inline long long serve_count(const struct serve *s, pid_t pid, const char *name)
{
	char start[32], key[32];
	const char *p;

	snprintf(start, sizeof start, "client %d:", (int)pid);
	serve_says(s->out, start);
	snprintf(key, sizeof key, " %s ", name);
	p = strstr(serve_text(s->out), start);
	p = strstr(p + strlen(start) - 1, key);
	return p ? atoll(p + strlen(key)) : -1;
}
#endif
