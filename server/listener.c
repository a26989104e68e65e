/* SPDX-License-Identifier: MIT
 *
 * Two servers that start at once must not both find the same stale socket and remove each other's: the directory is
 * locked (flock, which leaves no file behind) from the look to the bind.
 */
#include "listener.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 128, LOCK_TRIES = 200, LOCK_PAUSE_MS = 10 };

static int refuse(char *why, size_t n, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int refuse(char *why, size_t n, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, n, format, ap);
	va_end(ap);
	return -1;
}

static int address(const char *path, struct sockaddr_un *a, char *why, size_t n)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof a->sun_path)
		return refuse(why, n, "the path is longer than %zu bytes", sizeof a->sun_path - 1);
	strcpy(a->sun_path, path);
	return 0;
}

/* The directory of the path, locked; -1. */
static int lock_directory(const char *path, char *why, size_t n)
{
	char dir[sizeof ((struct sockaddr_un *)0)->sun_path];
	const char *slash = strrchr(path, '/');
	int fd;

	if (!slash)
		strcpy(dir, ".");
	else
		snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return refuse(why, n, "directory %s: %s", dir, strerror(errno));
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_PAUSE_MS * 1000000L }, NULL);
	}
	close(fd);
	return refuse(why, n, "directory %s is locked by another process", dir);
}

/* Something is at the path.  0: it was a stale socket, and is gone. */
static int replace(const char *path, const struct sockaddr_un *a, char *why, size_t n)
{
	struct stat st;
	int s, err;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : refuse(why, n, "%s", strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return refuse(why, n, "exists and is not a socket");
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return refuse(why, n, "%s", strerror(errno));
	err = connect(s, (const struct sockaddr *)a, sizeof *a) ? errno : 0;
	close(s);
	if (!err || err == EAGAIN)
		return refuse(why, n, "already served by another process");
	if (err != ECONNREFUSED)
		return refuse(why, n, "exists, and cannot be asked whether it is served: %s", strerror(err));
	if (unlink(path) && errno != ENOENT)
		return refuse(why, n, "stale, and cannot be removed: %s", strerror(errno));
	return 0;
}

static int bind_and_listen(struct vmf_listener *l, const struct sockaddr_un *a, char *why, size_t n)
{
	struct stat st;
	mode_t old = umask(0177);
	int r = bind(l->fd, (const struct sockaddr *)a, sizeof *a), err = errno;

	umask(old);
	if (r)
		return refuse(why, n, "cannot be bound: %s", strerror(err));
	if (lstat(l->path, &st))
		return refuse(why, n, "%s", strerror(errno));
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (listen(l->fd, BACKLOG))
		return refuse(why, n, "cannot listen: %s", strerror(errno));
	return 0;
}

int vmf__listen_open(struct vmf_listener *l, const char *path, char *why, size_t n)
{
	struct sockaddr_un a;
	int dir, r;

	*l = (struct vmf_listener){ .fd = -1, .path = path };
	if (address(path, &a, why, n))
		return -1;
	dir = lock_directory(path, why, n);
	if (dir < 0)
		return -1;
	r = replace(path, &a, why, n);
	if (!r) {
		l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		r = l->fd < 0 ? refuse(why, n, "%s", strerror(errno)) : bind_and_listen(l, &a, why, n);
	}
	if (r)
		vmf__listen_close(l);
	close(dir);
	return r;
}

void vmf__listen_close(struct vmf_listener *l)
{
	struct stat st;

	if (l->fd < 0)
		return;
	if (l->ino && !lstat(l->path, &st) && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	close(l->fd);
	l->fd = -1;
}
