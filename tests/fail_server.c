/* SPDX-License-Identifier: MIT
 *
 * Every system call that the page server makes, from its start over a client's coming and going to its end, fails in
 * turn.  The server runs in a thread of this program; its client is a process.
 *
 * A server that cannot start says why and ends with 1 or 4.  One that runs goes on: its client sees the image, or is
 * refused, poisoned or killed, which is said; it never sees anything else, and the server ends when it is told to, with
 * nothing left.
 */
#define FAILING_THIN 1u
#include "failcalls.h"
#include "server/server.h"
#include "uffd_client.h"
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#define PAGE 4096u
#define PAGES 12u
#define TRUNCATED 0x1005 /* the kernel has dropped the descriptor of a message */

enum server_call {
	ACCEPT = CALLS, RECVMSG, GETSOCKOPT, TIMER_NEW, PIDFD, PIDFD_SIGNAL, SOCKET, BIND, LISTEN,
	FLOCK, LSTAT, UNLINK, WRITE, ALL
};

static const struct failing_kind kinds[] = {
	CALL_KINDS,
	[ACCEPT] = { .name = "accept",
		.errors = ERRORS(AWHILE(EINTR), AWHILE(ECONNABORTED), AWHILE(EMFILE), AWHILE(ENFILE), AWHILE(ENOMEM)) },
	[RECVMSG] = { .name = "recvmsg",
		.errors = ERRORS(AWHILE(EINTR), ONCE(EAGAIN), ENOMEM, ONCE(ECONNRESET), ONCE(TRUNCATED)) },
	[GETSOCKOPT] = { .name = "getsockopt", .errors = ERRORS(ENOPROTOOPT, ENOMEM, EMFILE) },
	[TIMER_NEW] = { .name = "timerfd_create", .errors = ERRORS(NO_FD) },
	[PIDFD] = { .name = "pidfd_open", .errors = ERRORS(EMFILE, ENFILE, ENOMEM, ESRCH) },
	[PIDFD_SIGNAL] = { .name = "pidfd_send_signal", .errors = ERRORS(EPERM, ESRCH) },
	[SOCKET] = { .name = "socket", .errors = ERRORS(NO_FD) },
	[BIND] = { .name = "bind", .errors = ERRORS(EACCES, ENOENT, ENOSPC, EADDRINUSE) },
	[LISTEN] = { .name = "listen", .errors = ERRORS(EADDRINUSE) },
	[FLOCK] = { .name = "flock", .errors = ERRORS(AWHILE(EWOULDBLOCK), AWHILE(EINTR)) },
	[LSTAT] = { .name = "lstat", .errors = ERRORS(EACCES, ENOMEM) },
	[UNLINK] = { .name = "unlink", .errors = ERRORS(EACCES, EBUSY) },
	[WRITE] = { .name = "write", .errors = ERRORS(AWHILE(EINTR), ENOSPC) },
};
static const unsigned listed[] = {
	UFFD_COPY, UFFD_READV, MMAP, MUNMAP, MEMFD, FTRUNCATE, FILE_OPEN, FSTAT, EVENTFD, SIGNALFD, PPOLL, THREAD, ALLOC,
	PREAD, ACCEPT, RECVMSG, GETSOCKOPT, TIMER_NEW, EPOLL_NEW, EPOLL_CTL, EPOLL_WAIT, SOCKET, BIND, LISTEN, FLOCK, LSTAT,
	UNLINK, WRITE
};

static const char *server_error(int error) { return error == TRUNCATED ? "TRUNCATED" : call_error(error); }

/* ------------------------------------------------------------------------------------ its own system calls */

#define WRAP(kind, type, name, parameters, arguments) \
	type __real_##name parameters; \
	type __wrap_##name parameters; \
	type __wrap_##name parameters { return call_fails(kind) ? -1 : __real_##name arguments; }

WRAP(ACCEPT, int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
WRAP(GETSOCKOPT, int, getsockopt, (int fd, int level, int name, void *v, socklen_t *n), (fd, level, name, v, n))
WRAP(TIMER_NEW, int, timerfd_create, (clockid_t clock, int flags), (clock, flags))
WRAP(PIDFD, int, pidfd_open, (pid_t pid, unsigned flags), (pid, flags))
WRAP(PIDFD_SIGNAL, int, pidfd_send_signal, (int fd, int sig, siginfo_t *si, unsigned flags), (fd, sig, si, flags))
WRAP(SOCKET, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(BIND, int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(LISTEN, int, listen, (int fd, int n), (fd, n))
WRAP(FLOCK, int, flock, (int fd, int what), (fd, what))
WRAP(LSTAT, int, lstat64, (const char *path, struct stat *st), (path, st))
WRAP(UNLINK, int, unlink, (const char *path), (path))
/* (An eventfd always takes what is written.) */
WRAP(fd <= 2 ? WRITE : NO_CALL, ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n))

ssize_t __real_recvmsg(int, struct msghdr *, int);
ssize_t __wrap_recvmsg(int, struct msghdr *, int);

/* Too many open files: what came is closed, and the message says that something is lacking. */
static void drop_descriptors(struct msghdr *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h))
		for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
			close(((int *)(void *)CMSG_DATA(h))[i]);
	m->msg_controllen = 0;
	m->msg_flags |= MSG_CTRUNC;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags)
{
	int error = call_fails(RECVMSG);
	ssize_t n;

	if (error && error != TRUNCATED)
		return -1;
	n = __real_recvmsg(fd, m, flags);
	if (error && n > 0)
		drop_descriptors(m);
	return n;
}

/* ------------------------------------------------------------------------------------------ the client */

static char dir[] = "/tmp/vmf-fail-XXXXXX", sock[64], image[64], pid_file[64];

enum { RIGHT = 0, WRONG = 7, BROKEN = 8 };

/* What it reads is the image, or SIGBUS. */
static int client(void *arg)
{
	struct guest g;
	bool sigbus = false;
	char want[PAGE];

	(void)arg;
	guest_start(&g, sock, PAGES * PAGE);
	for (unsigned i = 0; i < PAGES; i++) {
		unsigned page = i * 5 % PAGES;
		int byte = guest_peek(&g, page * PAGE + page);

		image_page(page, want);
		if (byte >= 0 && byte != (unsigned char)want[page])
			return WRONG;
		sigbus |= byte < 0;
	}
	return sigbus ? BROKEN : RIGHT;
}

/* ------------------------------------------------------------------------------------------ the server */

static struct server_thread { pthread_t thread; _Atomic bool over; int status; } server;
static struct vmf_serve_config config = {
	.socket = sock, .image = image, .pid_file = pid_file, .around = PAGE, .threads = 1,
};

static void *server_main(void *arg)
{
	(void)arg;
	server.status = vmf__server_run(&config);
	atomic_store(&server.over, true);
	return NULL;
}

static int lines = -1, out, err_out; /* what it prints; where our own lines go */

static void lines_begin(void)
{
	lines = memfd_create("lines", MFD_CLOEXEC);
	fflush(NULL);
	dup2(lines, 1);
	dup2(lines, 2);
}

static const char *lines_now(void)
{
	static char text[16384];
	ssize_t n = __real_pread64(lines, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* On stderr, and more than that it waits for its clients? */
static bool says_why(const char *text)
{
	for (const char *line = text, *end; *line; line = end) {
		end = line + strcspn(line, "\n") + 1;
		if (!strncmp(line, "vmfault serve:", 14) && !memmem(line, (size_t)(end - line), "no new clients", 14))
			return true;
	}
	return false;
}

static const char *lines_end(void)
{
	const char *text = lines_now();

	fflush(NULL);
	dup2(out, 1);
	dup2(err_out, 2);
	close(lines);
	return text;
}

/* Has the client ended?  It may be held for good after a failure that was said. */
static bool ended(pid_t pid, int *status)
{
	for (int ms = 0, said = 0; ms < 10000 && said < 20 && !atomic_load(&server.over); ms++) {
		said += failing_hit() && ms % 10 == 0 && says_why(lines_now());
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		usleep(1000);
	}
	return false;
}

static bool over(int ms)
{
	for (; ms > 0 && !atomic_load(&server.over); ms--)
		usleep(1000);
	return atomic_load(&server.over);
}

static void swallow_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	while (sigtimedwait(&set, NULL, &(struct timespec){ 0, 0 }) > 0)
		;
}

static void server_start(void)
{
	atomic_store(&server.over, false);
	failing_quiet(false);
	CHECK(!__real_pthread_create(&server.thread, NULL, server_main, NULL));
}

static void server_end(void)
{
	if (!atomic_load(&server.over))
		kill(getpid(), SIGTERM);
	if (!over(8000))
		vmtest_fail("the server does not end; it says:\n%s", lines_end());
	pthread_join(server.thread, NULL);
	failing_quiet(true);
	swallow_signals();
}

/* A start that failed says why; and the next one works. */
static void check_start(const char *text, bool came)
{
	if (server.status == 0 || came)
		return;
	CHECK(server.status == 1 || server.status == 4);
	CHECK(failing_hit());
	CHECK(*text || failing.kind == WRITE);
}

static void serve(void)
{
	int status = -1;
	const char *text;
	pid_t pid;
	bool done;

	pid = client_fork(client, NULL);
	lines_begin();
	server_start();
	done = ended(pid, &status);
	if (!done) { /* refused and held, or the server is not there */
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	server_end();
	text = lines_end();
	if (!failing_hit())
		CHECK(done && WIFEXITED(status) && WEXITSTATUS(status) == RIGHT && server.status == 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == WRONG)
		vmtest_fail("the client has read what is not in the image");
	/* Whatever has become of a client that did not see it all, is said. */
	if (failing.kind != WRITE && !(done && WIFEXITED(status) && WEXITSTATUS(status) == RIGHT) && !says_why(text))
		vmtest_fail("the client is not through, and the server says nothing");
	check_start(text, done && WIFEXITED(status) && WEXITSTATUS(status) == RIGHT);
	if (failing_hit() && failing.kind == RECVMSG && failing.at == 1 &&
	    (failing.error == TRUNCATED || failing.error == ENOMEM)) {
		CHECK(done && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		CHECK(strstr(text, failing.error == ENOMEM ? "message cannot be received, so it was killed" :
			"descriptor cannot be received, so it was killed: too many open files"));
	}
	(void)__real_unlink(sock);
	(void)__real_unlink(pid_file);
}

static struct failcalls_state before;

static void run(void)
{
	struct failcalls_state now;

	serve();
	failing_stop();
	now = failcalls_state();
	if (!before.fds)
		return;
	if (failing_hit() && failing.kind == MUNMAP)
		before.bytes = now.bytes, before.maps = now.maps;
	CHECK_EQ(now.fds, before.fds);
	CHECK_EQ(now.tasks, before.tasks);
	CHECK_EQ(now.blocks, before.blocks);
	CHECK_EQ(now.bytes, before.bytes);
}

static void settle(void)
{
	before.fds = 0;
	for (unsigned i = 0; i < 3; i++)
		failing_run(run, 0, 0, 0, false);
	before = failcalls_state();
}

/* A client whose descriptor was dropped on its way, or may have been, does not go on: see run(). */
static void lost_descriptor(void)
{
	settle();
	failing_run(run, RECVMSG, 1, TRUNCATED, false);
	CHECK(failing_hit());
}

static void unreadable_message(void)
{
	settle();
	failing_run(run, RECVMSG, 1, ENOMEM, false);
	CHECK(failing_hit());
}

/* Its timer, its socket, its userfaultfd, its process. */
static void not_watched(void)
{
	settle();
	for (unsigned at = 1; at < 8; at++)
		failing_run(run, EPOLL_CTL, at, ENOSPC, false);
}

static void everything(void)
{
	settle();
	failing_sweep(run);
}

static const struct vmtest tests[] = {
	VMTEST(lost_descriptor),
	VMTEST(unreadable_message),
	VMTEST(not_watched),
	VMTEST(everything),
};

int main(int argc, char **argv)
{
	struct guest g;
	sigset_t set;
	int status;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	failing_quiet(true);
	if (!guest_memory(&g, PAGE, PAGE))
		vmtest_skip("no userfaultfd for this user");
	close(g.uffd);
	out = dup(1);
	err_out = dup(2);
	CHECK(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/sock", dir);
	snprintf(image, sizeof(image), "%s/image", dir);
	snprintf(pid_file, sizeof(pid_file), "%s/pid", dir);
	image_make(image, 0, PAGES);
	failcalls_no_esrch = true; /* it would be believed, and the client's descriptor closed */
	failing.kinds = kinds;
	failing.n = ALL;
	failing.listed = listed;
	failing.nlisted = sizeof(listed) / sizeof(listed[0]);
	failing.error_name = server_error;
	failing.seconds = 60;
	status = failing_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
	(void)__real_unlink(image);
	rmdir(dir);
	return status;
}
