/* SPDX-License-Identifier: MIT */
#include "client.h"
#include "log.h"
#include "peer.h"
#include "regions.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum source { SOCKET, TIMER, PROCESS, UFFD };
enum { CHUNK = 16384, MESSAGE_FDS = 253 /* the kernel's own limit */, READS = 8, TURN = 64 };
static const uint64_t hello_time = 5000000000, gone_pause = 100000000;

static void forget(struct vmf_client *c, int *fd)
{
	if (*fd < 0)
		return;
	vmf__strand_forget(&c->strand, *fd);
	close(*fd);
	*fd = -1;
}

/* ------------------------------------------------------------------------------------- coming and going */

static void release(struct vmf_strand *s)
{
	struct vmf_client *c = (struct vmf_client *)s;

	vmf__handshake_close(c->handshake);
	free(c);
}

static void enlist(struct vmf_client *c)
{
	struct vmf_server *s = c->server;

	pthread_mutex_lock(&s->lock);
	c->next = s->clients;
	c->prev = &s->clients;
	if (c->next)
		c->next->prev = &c->next;
	s->clients = c;
	s->count++;
	pthread_mutex_unlock(&s->lock);
}

static void delist(struct vmf_client *c)
{
	pthread_mutex_lock(&c->server->lock);
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->server->count--;
	pthread_mutex_unlock(&c->server->lock);
}

static void end(struct vmf_client *c)
{
	struct vmf_server *s = c->server;

	if (c->ever_served)
		vmf__client_report(c);
	forget(c, &c->socket);
	forget(c, &c->timer);
	forget(c, &c->process);
	delist(c);
	vmf__strand_end(&c->strand);
	vmf__server_left(s);
}

static void run(struct vmf_strand *, uint32_t events);

static int set_timer(struct vmf_client *c, uint64_t at)
{
	struct itimerspec t = { .it_value = { (time_t)(at / 1000000000), (long)(at % 1000000000) } };

	timerfd_settime(c->timer, TFD_TIMER_ABSTIME, &t, NULL);
	return vmf__strand_watch(&c->strand, TIMER, c->timer, EPOLLIN);
}

void vmf__client_open(struct vmf_server *s, int socket)
{
	struct vmf_client *c = calloc(1, sizeof *c);

	if (!c) {
		vmf__server_turn_away(s, socket, "no memory");
		return;
	}
	c->strand.run = run;
	c->strand.release = release;
	c->server = s;
	c->socket = socket;
	c->process = vmf__peer(socket, &c->pid);
	c->handshake = vmf__handshake_open();
	c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!c->handshake || c->timer < 0 || vmf__strand_add(s->pool, &c->strand)) {
		if (c->timer >= 0)
			close(c->timer);
		if (c->process >= 0)
			close(c->process);
		release(&c->strand);
		vmf__server_turn_away(s, socket, "no memory, or too many open files");
		return;
	}
	enlist(c);
	c->hello_by = vmf__server_now() + hello_time;
	/* (Once they are watched, watching them again cannot fail.) */
	if (set_timer(c, c->hello_by) || vmf__strand_watch(&c->strand, SOCKET, c->socket, EPOLLIN)) {
		vmf__log(s->config->socket, "client %d refused: it cannot be watched: %s", (int)c->pid, strerror(errno));
		end(c);
	}
}

/* ----------------------------------------------------------------------------------------- its messages */

static bool same_file(int a, int b)
{
	pid_t me = getpid();

	return !syscall(SYS_kcmp, me, me, KCMP_FILE, a, b);
}

static bool holds(const struct vmf_client *c, int fd)
{
	for (unsigned i = 0; i < c->helds; i++)
		if (same_file(c->held[i], fd))
			return true;
	return false;
}

/* No place for it, and nobody may let go of it: who it belongs to does not go on.  If that cannot be helped it stays
 * open for ever. */
static bool outlived(struct vmf_client *c, const char *what)
{
	int err = vmf__peer_kill(c->process);

	vmf__log(c->server->config->socket, "client %d: %s, %s", (int)c->pid, what,
		err ? "and it cannot be killed" : "so it was killed");
	return !err;
}

static void hold(struct vmf_client *c, int fd)
{
	if (!vmf__uffd_is(fd) || holds(c, fd))
		close(fd);
	else if (c->helds < VMF_CLIENT_HELD)
		c->held[c->helds++] = fd;
	else if (outlived(c, "too many userfaultfds that nobody can serve"))
		close(fd);
}

/* The handshake closes what it has no room for. */
static bool hold_excess(struct vmf_client *c, const int *fd, unsigned n)
{
	for (unsigned i = vmf__handshake_room(c->handshake); i < n; i++) {
		int copy = vmf__uffd_is(fd[i]) ? fcntl(fd[i], F_DUPFD_CLOEXEC, 0) : 0;

		if (copy < 0)
			return false;
		if (copy)
			hold(c, copy);
	}
	return true;
}

static unsigned descriptors(struct msghdr *m, int *fd)
{
	unsigned n = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
			size_t k = (h->cmsg_len - CMSG_LEN(0)) / sizeof *fd;

			memcpy(fd + n, CMSG_DATA(h), k * sizeof *fd);
			n += (unsigned)k;
		}
	return n;
}

struct message {
	char bytes[CHUNK];
	int fd[MESSAGE_FDS];
	unsigned fds;
	bool lost; /* there is no room for all that came with it, which still waits */
};

/* Bytes; 0: the other side has closed; -errno.  It is looked at first: a descriptor that cannot be had is dropped with
 * what it came with only when that is read. */
static ssize_t read_message(int socket, struct message *msg)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
	struct iovec io = { msg->bytes, sizeof msg->bytes };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	ssize_t n = recvmsg(socket, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	msg->fds = n < 0 ? 0 : descriptors(&m, msg->fd);
	msg->lost = n >= 0 && m.msg_flags & MSG_CTRUNC;
	if (n > 0 && !msg->lost)
		return recv(socket, msg->bytes, (size_t)n, MSG_DONTWAIT) == n ? n : -EIO;
	for (unsigned i = 0; i < msg->fds; i++)
		close(msg->fd[i]);
	msg->fds = 0;
	return n < 0 ? -errno : n;
}

/* What waits in the socket would be dropped with it; from now on no more comes.  false: it must not be closed. */
static bool read_out(struct vmf_client *c)
{
	struct message m;
	ssize_t n;

	shutdown(c->socket, SHUT_RD);
	do {
		n = read_message(c->socket, &m);
		for (unsigned i = 0; i < m.fds; i++)
			hold(c, m.fd[i]);
	} while ((n > 0 && !m.lost) || n == -EINTR || n == -ECONNRESET);
	if (n == 0 || n == -EAGAIN)
		return true;
	return outlived(c, "what it has sent beside cannot be received");
}

/* Nothing more is read from it.  What it handed over already goes on being served. */
static void refuse(struct vmf_client *c, const char *why)
{
	int fd;

	vmf__log(c->server->config->socket, "client %d refused: %s", (int)c->pid, why);
	while ((fd = vmf__handshake_take_fd(c->handshake)) >= 0)
		hold(c, fd);
	c->hello_by = 0;
	if (!read_out(c)) {
		vmf__strand_forget(&c->strand, c->socket);
		c->socket = -1;
	}
	forget(c, &c->socket);
}

static bool acceptable(struct vmf_client *c, const struct vmf_hello *hello, char *why, size_t n)
{
	if (!vmf__uffd_is(hello->uffd))
		snprintf(why, n, "the descriptor is not a userfaultfd");
	else if (c->servings == VMF_CLIENT_SERVINGS)
		snprintf(why, n, "more than %d userfaultfds", VMF_CLIENT_SERVINGS);
	else if (!vmf__policy_check(c, why, n))
		return !vmf__regions_check(hello->region, hello->regions, vmf__image_bytes(&c->server->image), why, n);
	return false;
}

/* Its faults would never be heard of. */
static void unwatched(struct vmf_client *c, int err)
{
	vmf__log(c->server->config->socket, "client %d failed: its userfaultfd cannot be watched: %s", (int)c->pid,
		strerror(-err));
	vmf__client_abandon(c, "failed", false);
}

/* => hello->uffd is taken over, also on failure */
static int begin(struct vmf_client *c, const struct vmf_hello *hello)
{
	struct vmf_server *s = c->server;
	const struct vmf_adopt adopt = {
		.size = sizeof adopt, .tries = 6, .first_ms = 10, .failed = vmf__policy_failed, .self = c,
	};
	char why[256];
	int r;

	if (!acceptable(c, hello, why, sizeof why) ||
	    vmf__serving_open(&c->serving[c->servings], s->port, s->image.object, hello, &adopt, why, sizeof why)) {
		hold(c, hello->uffd);
		refuse(c, why);
		return -1;
	}
	if (!c->ever_served)
		c->began = vmf__server_now();
	c->ever_served = true;
	r = vmf__strand_watch(&c->strand, UFFD + c->servings, hello->uffd, EPOLLIN);
	c->servings++;
	if (r)
		unwatched(c, r);
	return 0;
}

/* What has been read so far.  false: refused. */
static bool messages(struct vmf_client *c)
{
	struct vmf_hello hello;
	enum vmf_hello_state state;

	while ((state = vmf__handshake_next(c->handshake, &hello)) == VMF_HELLO_READY) {
		c->hello_by = 0;
		if (begin(c, &hello))
			return false;
	}
	if (state == VMF_HELLO_BAD) {
		refuse(c, vmf__handshake_why(c->handshake));
		return false;
	}
	if (!c->hello_by && vmf__handshake_why(c->handshake))
		c->hello_by = vmf__server_now() + hello_time;
	return true;
}

/* A descriptor cannot be had, or may be with what cannot be read.  If that is the last copy of a userfaultfd, absent
 * pages read as zeroes as soon as it is dropped: so the client does not go on, or it waits in the socket for ever. */
static void lost(struct vmf_client *c, const char *what, int err)
{
	int r = vmf__peer_kill(c->process);

	vmf__log(c->server->config->socket, "client %d refused: its %s cannot be received, %s: %s", (int)c->pid, what,
		r ? "and it cannot be killed" : "so it was killed", err == EMFILE ? "too many open files" : strerror(err));
	c->hello_by = 0;
	vmf__strand_forget(&c->strand, c->socket);
	if (!r)
		close(c->socket);
	c->socket = -1;
}

/* Bytes that were taken in; 0: the other side has closed; negative: -errno, or refused. */
static ssize_t receive(struct vmf_client *c)
{
	struct message m;
	ssize_t n = read_message(c->socket, &m);

	if (n < 0)
		return n;
	if (m.lost || !hold_excess(c, m.fd, m.fds)) {
		lost(c, "descriptor", EMFILE);
		while (m.fds)
			close(m.fd[--m.fds]);
	} else if (vmf__handshake_feed(c->handshake, m.bytes, (size_t)n, m.fd, m.fds)) {
		refuse(c, "no memory for its message");
	} else if (n && messages(c)) {
		return n;
	}
	return n ? -ECANCELED : 0;
}

static void hung_up(struct vmf_client *c)
{
	const char *why = vmf__handshake_why(c->handshake);

	if (!why)
		forget(c, &c->socket);
	else
		refuse(c, why);
	c->hello_by = 0;
}

static void on_socket(struct vmf_client *c)
{
	ssize_t n = -EAGAIN;

	for (int i = 0; i < READS && c->socket >= 0; i++) {
		n = receive(c);
		if (n == -EINTR || n == -ECONNRESET) /* what came before can still be read */
			continue;
		if (n <= 0)
			break;
	}
	if (c->socket < 0)
		return;
	if (n > 0 || n == -EAGAIN || n == -EINTR)
		vmf__strand_watch(&c->strand, SOCKET, c->socket, EPOLLIN);
	else if (n == 0 || n == -ECONNRESET)
		hung_up(c);
	else
		lost(c, "message", (int)-n);
}

static void check_hello(struct vmf_client *c)
{
	const char *why;

	if (!c->hello_by || vmf__server_now() < c->hello_by)
		return;
	why = vmf__handshake_why(c->handshake);
	refuse(c, why ? why : "nothing came from it in time");
}

/* ------------------------------------------------------------------------------------------ its memory */

static void drop(struct vmf_client *c, unsigned i)
{
	struct vmf_serving *s = &c->serving[i];
	struct vmf_session *t = &c->total;

	t->faults += s->block->faults;
	t->entered += s->block->entered;
	t->zeroed += s->block->zeroed;
	t->removed += s->block->removed;
	t->bytes_read += s->block->bytes_read;
	t->failed += s->block->failed;
	t->poisoned += s->block->poisoned;
	vmf__strand_forget(&c->strand, s->uffd);
	vmf__serving_close(s);
	*s = (struct vmf_serving){ .uffd = -1 };
}

static void serve(struct vmf_client *c, unsigned i)
{
	struct vmf_serving *s = &c->serving[i];
	int r, n = 0;

	/* The next fault often comes at once: asking again is cheaper than waking another thread. */
	while ((r = vmf_linux_serve(s->space)) > 0 && (n += r) < TURN)
		;
	if (r >= 0) {
		vmf__strand_watch(&c->strand, UFFD + i, s->uffd, EPOLLIN);
	} else if (r == -VMF_EGONE && vmf__uffd_gone(s->uffd)) {
		drop(c, i);
	} else {
		s->given_up = true;
		if (!c->end) {
			vmf__log(c->server->config->socket, "client %d failed: %s", (int)c->pid, vmf_err_str(r));
			vmf__client_abandon(c, "failed", false);
		}
	}
}

static bool served(const struct vmf_serving *s)
{
	return s->uffd >= 0 && !s->given_up;
}

static void serve_all(struct vmf_client *c, uint32_t events)
{
	for (unsigned i = 0; i < c->servings; i++) {
		struct vmf_serving *s = &c->serving[i];

		if (served(s) && (events & UINT32_C(1) << (UFFD + i) || !vmf_linux_due(s->space)))
			serve(c, i);
	}
}

static void drop_gone(struct vmf_client *c)
{
	unsigned held = 0;

	for (unsigned i = 0; i < c->servings; i++)
		if (c->serving[i].uffd >= 0 && vmf__uffd_gone(c->serving[i].uffd))
			drop(c, i);
	for (unsigned i = 0; i < c->helds; i++)
		if (vmf__uffd_gone(c->held[i]))
			close(c->held[i]);
		else
			c->held[held++] = c->held[i];
	c->helds = held;
}

/* A closed socket does not mean that the process has ended, and its absent pages must not become zeroes. */
static bool finished(struct vmf_client *c)
{
	unsigned left;

	if (c->socket < 0 || c->end)
		drop_gone(c);
	left = c->helds;
	for (unsigned i = 0; i < c->servings; i++)
		left += c->serving[i].uffd >= 0;
	return !left && (c->socket < 0 || c->servings);
}

/* When is there something to do without an event?  UINT64_MAX: never. */
static uint64_t next_time(const struct vmf_client *c)
{
	uint64_t now = vmf__server_now(), at = c->hello_by ? c->hello_by : UINT64_MAX;

	if (at < now)
		return now;
	if ((c->socket < 0 || c->end) && now + gone_pause < at)
		at = now + gone_pause;
	for (unsigned i = 0; i < c->servings; i++) {
		uint64_t due = served(&c->serving[i]) ? vmf_linux_due(c->serving[i].space) : UINT64_MAX;

		if (due < at - now)
			at = now + due;
	}
	return at;
}

static void run(struct vmf_strand *strand, uint32_t events)
{
	struct vmf_client *c = (struct vmf_client *)strand;
	uint64_t at;

	if (events & 1 << SOCKET)
		on_socket(c);
	check_hello(c);
	serve_all(c, events);
	if (finished(c)) {
		end(c);
		return;
	}
	if (c->socket < 0 && c->process >= 0 && !(events & 1 << PROCESS))
		vmf__strand_watch(strand, PROCESS, c->process, EPOLLIN);
	at = next_time(c);
	if (at != UINT64_MAX)
		(void)set_timer(c, at);
}

void vmf__client_stop(struct vmf_client *c)
{
	vmf__client_abandon(c, "stopped", true);
	for (unsigned i = 0; i < c->servings; i++)
		if (c->serving[i].uffd >= 0)
			drop(c, i);
	while (c->helds)
		close(c->held[--c->helds]);
	end(c);
}
