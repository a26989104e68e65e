/* SPDX-License-Identifier: MIT */
#include "uffd_client.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
enum { PAGE = 4096, CLIENT_SECONDS = 120, THREADS = 16 };

static void die(const char *what)
{
	perror(what);
	_exit(99);
}

static int make_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE };
	int u = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (u < 0)
		u = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (u >= 0 && ioctl(u, UFFDIO_API, &api)) {
		close(u);
		u = -1;
	}
	return u;
}

bool guest_memory(struct guest *g, size_t bytes, size_t page)
{
	int huge = page > PAGE ? MAP_HUGETLB | 21 << MAP_HUGE_SHIFT : 0;
	struct uffdio_register r = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	*g = (struct guest){ .bytes = bytes, .page = page, .sock = -1, .uffd = make_uffd() };
	if (g->uffd < 0)
		return false;
	g->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);
	if (g->mem == MAP_FAILED)
		return false;
	r.range = (struct uffdio_range){ (uintptr_t)g->mem, bytes };
	return !ioctl(g->uffd, UFFDIO_REGISTER, &r);
}

void guest_dial(struct guest *g, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	g->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	for (int i = 0; connect(g->sock, (struct sockaddr *)&a, sizeof a); i++) {
		if ((errno != ENOENT && errno != ECONNREFUSED) || i == 10000)
			die(path);
		usleep(1000);
	}
}

void guest_send(int sock, const void *text, size_t n, const int *fds, unsigned fds_n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(64 * sizeof(int))] = { 0 };
	struct iovec io = { (void *)(uintptr_t)text, n };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };

	if (fds_n) {
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(fds_n * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(fds_n * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, fds_n * sizeof(int));
	}
	while (n) {
		ssize_t k = sendmsg(sock, &m, MSG_NOSIGNAL);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return; /* refused in the middle of it */
		n -= (size_t)k;
		io = (struct iovec){ (char *)io.iov_base + k, n };
		m.msg_control = NULL;
		m.msg_controllen = 0;
	}
}

void guest_hello(struct guest *g, uint64_t offset)
{
	char text[256];
	int n = snprintf(text, sizeof text, "[{\"base_host_virt_addr\":%zu,\"size\":%zu,\"offset\":%zu,"
		"\"page_size\":%zu,\"page_size_kib\":%zu}]", (size_t)g->mem, g->bytes, (size_t)offset, g->page,
		g->page);

	guest_send(g->sock, text, (size_t)n, &g->uffd, 1);
}

void guest_start(struct guest *g, const char *path, size_t bytes)
{
	if (!guest_memory(g, bytes, PAGE))
		die("userfaultfd");
	guest_dial(g, path);
	guest_hello(g, 0);
}

bool guest_closed(int sock, int ms)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	char c;

	return poll(&p, 1, ms) == 1 && recv(sock, &c, 1, MSG_DONTWAIT) <= 0;
}

void image_page(uint64_t page, char bytes[PAGE])
{
	uint64_t v = page * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < PAGE; i++) {
		v = v * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (char)(v >> 33 | 1);
	}
}

void image_make(const char *path, uint64_t first, uint64_t pages)
{
	char bytes[PAGE];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	for (uint64_t i = first; i < first + pages; i++) {
		image_page(i, bytes);
		if (pwrite(fd, bytes, PAGE, (off_t)(i * PAGE)) != PAGE)
			die(path);
	}
	close(fd);
}

bool image_is(const char *bytes, uint64_t page)
{
	char want[PAGE];

	image_page(page, want);
	return !memcmp(bytes, want, PAGE);
}

struct walk {
	const struct guest *guest;
	uint64_t first, start, bad;
	pthread_t thread;
};

/* From its own start, by a step that meets every page. */
static void *walk(void *arg)
{
	struct walk *w = arg;
	uint64_t pages = w->guest->bytes / PAGE, step = 7919;

	while (pages % step == 0)
		step += 2;
	for (uint64_t i = 0, at = w->start; i < pages; i++, at = (at + step) % pages)
		w->bad += !image_is(w->guest->mem + at * PAGE, w->first + at);
	return NULL;
}

uint64_t guest_verify(const struct guest *g, uint64_t first, unsigned threads)
{
	struct walk w[THREADS];
	uint64_t bad = 0;

	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct walk){ .guest = g, .first = first, .start = i * (g->bytes / PAGE / threads) };
		if (pthread_create(&w[i].thread, NULL, walk, &w[i]))
			die("thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		bad += w[i].bad;
	}
	return bad;
}

pid_t client_fork(int (*body)(void *), void *arg)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGALRM, SIG_DFL);
		alarm(CLIENT_SECONDS);
		_exit(body(arg));
	}
	return pid;
}

int client_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus, 1);
}

int guest_peek(const struct guest *g, size_t at)
{
	struct sigaction sa = { .sa_handler = on_bus };

	sigaction(SIGBUS, &sa, NULL);
	return sigsetjmp(bus, 1) ? -1 : *(volatile unsigned char *)(g->mem + at);
}
