/* SPDX-License-Identifier: MIT
 *
 * The family of a space: a thread that serves its children, and their children, and so on.
 *
 * It also tells the core of layout events, in spaces that have one: that calls drivers, who may want a lock that a
 * thread in fork() holds, which waits for who reads events.
 *
 * Questions of children come over one socket that all of them inherit, each with a socket of its own to answer to.  A
 * fault that has to wait is kept, with its ticket, until it is resolved or its child has gone.
 */
#include "fork.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS UINT64_C(1000000000)  /* how often to look who still lives */
#define SILENT_NS UINT64_C(20000000)  /* ... and of those who have not said hello */
#define HELLO_NS UINT64_C(10000000000) /* who is silent for so long will not say it */
#define WHILE_NS UINT64_C(200000)     /* how often to look at what has no wait object */
#define FIXED 2u                      /* descriptors that are always polled: the watch, the line */

/* ----------------------------------------------------------------------------------------------- questions */

static void reply(int sock, struct vmf_result r, bool known, int fd)
{
	struct vmf__answer a = { .result = r, .known = known };

	(void)vmf__pass(sock, &a, sizeof(a), fd);
}

static struct vmf_result refusal(void) { return (struct vmf_result){ .code = VMF_SIGBUS, .why = VMF_WHY_FORK }; }

static struct vmf__child *child_of(struct vmf__family *f, uint64_t id)
{
	struct vmf__child *c = f->children;

	while (c && c->id != id)
		c = c->next;
	return c && !c->refused ? c : NULL;
}

static void greet(struct vmf__child *c, int sock)
{
	if (c->tie >= 0)
		close(c->tie);
	reply(sock, (struct vmf_result){ 0 }, true, c->remote.uffd);
	c->tie = sock;
	c->greeted = true;
}

static bool ours(struct vmf__child *c, uint64_t va)
{
	struct vmf_area *a = vmf_area_find(c->remote.space, va);

	vmf_area_put(a);
	return a;
}

static void ask_page(struct vmf__family *f, struct vmf__child *c, const struct vmf__question *q, int sock)
{
	struct vmf__asked *a = vmf__memory_take(&vmf__family_port(f)->memory, sizeof(*a));

	if (!a) {
		reply(sock, (struct vmf_result){ .code = VMF_OOM, .why = VMF_WHY_RESOURCE }, true, -1);
		close(sock);
		return;
	}
	a->child = c;
	a->trap.va = q->va;
	a->trap.access = q->access == VMF_W || q->access == VMF_X ? (uint8_t)q->access : VMF_R;
	a->reply = sock;
	a->next = f->asked;
	f->asked = a;
}

/* Takes the socket over. */
static void answer(struct vmf__family *f, const struct vmf__question *q, int sock)
{
	struct vmf__child *c = child_of(f, q->id);

	if (!c) {
		reply(sock, refusal(), q->op != VMF__ASK_HELLO, -1);
	} else if (q->op == VMF__ASK_HELLO) {
		greet(c, sock);
		return;
	} else if (!ours(c, q->va) && !vmf__uffd_changing(c->remote.uffd)) {
		reply(sock, (struct vmf_result){ .code = VMF_SIGSEGV }, false, -1);
	} else if (q->op == VMF__ASK_PAGE) {
		ask_page(f, c, q, sock);
		return;
	} else {
		reply(sock, vmf__why_get(&c->why, q->va, NULL), true, -1);
	}
	close(sock);
}

static void read_questions(struct vmf__family *f)
{
	struct vmf__question q;
	long n;
	int sock;

	while ((n = vmf__passed(f->line[0], &q, sizeof(q), &sock)) >= 0) {
		if (n == (long)sizeof(q) && sock >= 0)
			answer(f, &q, sock);
		else if (sock >= 0)
			close(sock);
	}
}

/* ------------------------------------------------------------------------------------- questions that wait */

/* true: it is answered */
static bool asked_try(struct vmf__asked *a)
{
	struct vmf_result r;

	if (a->ticket.why && !a->ticket.wait)
		(void)vmf_ticket_wait(a->child->remote.space, &a->ticket, false);
	r = vmf__child_try(a->child, &a->trap, &a->ticket);
	if (r.code == VMF_RETRY) {
		vmf__forgive_layout(&a->ticket, &a->layout_since);
		return false;
	}
	reply(a->reply, r, r.code != VMF_SIGSEGV || r.why == VMF_WHY_PROT, -1);
	return true;
}

static void asked_free(struct vmf__family *f, struct vmf__asked *a)
{
	close(a->reply);
	vmf_ticket_drop(a->child->remote.space, &a->ticket);
	vmf__memory_give(&vmf__family_port(f)->memory, a, sizeof(*a));
}

/* All that can be tried; those of one child are dropped (only). */
static void asked_each(struct vmf__family *f, const struct vmf__child *only)
{
	struct vmf__asked **link = &f->asked, *a;

	while ((a = *link)) {
		bool done = only ? a->child == only : vmf_ticket_ready(&a->ticket) && asked_try(a);

		if (only && done)
			reply(a->reply, refusal(), true, -1);
		if (done) {
			*link = a->next;
			asked_free(f, a);
		} else {
			link = &a->next;
		}
	}
}

/* ------------------------------------------------------------------------------------------------ the news */

void vmf__family_tell(struct vmf__family *f, const struct vmf__news *what)
{
	struct vmf__memory *m = &f->local->port->memory;
	struct vmf__news *n;

	/* Only memory can be lacking; and what happened must be known. */
	while (!(n = vmf__memory_take(m, sizeof(*n))))
		(void)vmf__wait(f->local->port, NULL, 0, 1000000, false);
	*n = *what;
	n->next = NULL;
	vmf__block(NULL);
	vmf__mutex_take(&f->lock);
	*f->news_end = n;
	f->news_end = &n->next;
	vmf__mutex_drop(&f->lock);
	vmf__unblock(NULL);
	vmf__watch_kick(f->watch);
}

static struct vmf__news *news_take(struct vmf__family *f)
{
	struct vmf__news *n;

	vmf__block(NULL);
	vmf__mutex_take(&f->lock);
	n = f->news;
	f->news = n ? n->next : NULL;
	if (!f->news)
		f->news_end = &f->news;
	vmf__mutex_drop(&f->lock);
	vmf__unblock(NULL);
	return n;
}

static void read_news(struct vmf__family *f)
{
	struct vmf__news *n;

	while ((n = news_take(f))) {
		if (n->child)
			vmf__child_begin(n->child, f->local->space);
		else
			vmf__events_tell(f->local, n->from, n->to, n->bytes);
		atomic_fetch_sub(&f->local->changing, 1);
		vmf__memory_give(&f->local->port->memory, n, sizeof(*n));
	}
}

/* ----------------------------------------------------------------------------------------------- children */

static void bury(struct vmf__family *f, struct vmf__child **link, bool lives)
{
	struct vmf__child *c = *link;

	asked_each(f, c);
	*link = c->next;
	vmf__child_end(c, lives);
}

/* false: it has gone */
static bool serve(struct vmf__child *c)
{
	int n = vmf_linux_serve(c->remote.space);

	if (n == -VMF_EGONE)
		return vmf__child_lives(c);
	if (n < 0 && !c->refused)
		vmf__child_refuse(c);
	return true;
}

static bool tied(struct vmf__child *c, short revents)
{
	char byte;

	if (!(revents & (POLLHUP | POLLERR | POLLIN)))
		return true;
	if (revents & POLLIN && !(revents & POLLHUP)) {
		(void)!recv(c->tie, &byte, 1, MSG_DONTWAIT);
		return true;
	}
	close(c->tie);
	c->tie = -1;
	return vmf__child_lives(c);
}

static bool silent(const struct vmf__child *c) { return !c->greeted && !c->refused; }

static bool look(struct vmf__child *c, uint64_t now)
{
	if (silent(c) && now - c->born > HELLO_NS)
		vmf__child_refuse(c);
	return vmf__child_lives(c);
}

/* The one that was polled at p[i], and the one that was not yet there when that was. */
static void serve_all(struct vmf__family *f, struct vmf__child *first, const struct pollfd *p, size_t n)
{
	struct vmf__child **link = &f->children, *c;
	uint64_t now = vmf__now(NULL);
	bool all = now - f->looked >= LOOK_NS, polled = false;
	size_t i = 0;

	if (all)
		f->looked = now;
	while ((c = *link)) {
		bool lives = true;

		if (c->refused && !c->sealed)
			vmf__child_refuse(c);
		polled = polled || c == first;
		if (polled && i + 1 < n && p[i + 1].revents)
			lives = tied(c, p[i + 1].revents);
		if (lives && (!polled || i >= n || p[i].revents || vmf_linux_due(c->remote.space) == 0))
			lives = serve(c);
		if (lives && (all || silent(c)))
			lives = look(c, now);
		i += polled ? 2 : 0;
		/* It may have become a parent, of one that now stands before it. */
		while (*link != c)
			link = &(*link)->next;
		if (lives)
			link = &c->next;
		else
			bury(f, link, false);
	}
}

/* --------------------------------------------------------------------------------------------- the thread */

static uint64_t sooner(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* How long to sleep, in ns; *bits: what to listen for. */
static uint64_t patience(const struct vmf__family *f, uint64_t *bits)
{
	uint64_t ns = f->children ? LOOK_NS : UINT64_MAX;

	*bits = 0;
	for (const struct vmf__asked *a = f->asked; a; a = a->next) {
		if (a->ticket.wait)
			*bits |= vmf__watch_bit(&a->ticket.wait->seq);
		else
			ns = sooner(ns, WHILE_NS);
	}
	for (const struct vmf__child *c = f->children; c; c = c->next)
		ns = sooner(sooner(ns, vmf_linux_due(c->remote.space)), silent(c) ? SILENT_NS : ns);
	return ns;
}

static bool some_ready(const struct vmf__family *f)
{
	for (const struct vmf__asked *a = f->asked; a; a = a->next)
		if (a->ticket.wait && vmf_ticket_ready(&a->ticket))
			return true;
	return false;
}

/* Room to poll all of them; what there is no memory for is looked at when it is due. */
static size_t room_for(struct vmf__family *f, size_t n)
{
	struct vmf__memory *m = &f->local->port->memory;
	struct pollfd *p;

	if (n <= f->room)
		return n;
	p = vmf__memory_take(m, 2 * n * sizeof(*p));
	if (!p)
		return f->room;
	vmf__memory_give(m, f->polled, f->room * sizeof(*p));
	f->polled = p;
	f->room = 2 * n;
	return n;
}

static size_t polled_fill(struct vmf__family *f)
{
	size_t n = FIXED, i = FIXED;

	for (const struct vmf__child *c = f->children; c; c = c->next)
		n += 2;
	n = room_for(f, n);
	f->polled[0] = (struct pollfd){ .fd = f->watch->fd, .events = POLLIN };
	f->polled[1] = (struct pollfd){ .fd = f->line[0], .events = POLLIN };
	for (const struct vmf__child *c = f->children; c && i + 1 < n; c = c->next) {
		f->polled[i++] = (struct pollfd){ .fd = c->remote.uffd, .events = POLLIN };
		f->polled[i++] = (struct pollfd){ .fd = c->tie, .events = POLLIN };
	}
	return i;
}

static size_t sleep_until_needed(struct vmf__family *f)
{
	size_t n = polled_fill(f);
	uint64_t bits, ns = patience(f, &bits);
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	vmf__watch_arm(f->local->port, f->watch, bits);
	if (some_ready(f) || atomic_load(&f->phase) != VMF__FAMILY_SERVES)
		t = (struct timespec){ 0 }, ns = 0;
	if (ppoll(f->polled, n, ns == UINT64_MAX ? NULL : &t, NULL) < 0)
		for (size_t i = 0; i < n; i++)
			f->polled[i].revents = 0;
	if (f->polled[0].revents)
		vmf__watch_clear(f->watch);
	return n;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A child of fork() finds nobody, and guards itself; one of clone() does not know of anything. */
static void leave_child(struct vmf__family *f, int uffd, uint32_t ended, const struct vmf__shape *all)
{
	if (vmf__child_forks_begun() == ended)
		vmf__child_turn_away(f, uffd, all);
	else
		close(uffd);
}

/* The space is being closed: forks go on.  What was mapped when that began is the most that a child can have. */
static void turn_away_all(struct vmf__family *f)
{
	int fd = f->local->fd[VMF__W_COPY];
	struct pollfd p[2] = { { .fd = f->watch->fd, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	struct vmf__shape all;
	struct uffd_msg m;

	vmf__shape_of(f->local, &all);
	atomic_store(&f->phase, VMF__FAMILY_LEAVES);
	vmf__futex_wake(&f->phase, 1);
	while (atomic_load(&f->phase) != VMF__FAMILY_OVER) {
		uint32_t ended = vmf__child_forks_ended();

		if (read(fd, &m, sizeof(m)) != (ssize_t)sizeof(m))
			(void)poll(p, 2, 1);
		else if (m.event == UFFD_EVENT_FORK)
			leave_child(f, (int)m.arg.fork.ufd, ended, &all);
	}
}

static void *family(void *arg)
{
	struct vmf__family *f = arg;

	pthread_setname_np(pthread_self(), "vmfault-family");
	while (atomic_load(&f->phase) == VMF__FAMILY_SERVES) {
		struct vmf__child *first = f->children;
		size_t n = sleep_until_needed(f);

		read_news(f);
		serve_all(f, first, f->polled + FIXED, n - FIXED);
		read_questions(f);
		asked_each(f, NULL);
		vmf_port_tidy(f->local->port->port);
	}
	read_news(f);
	while (f->children)
		bury(f, &f->children, true);
	close_one(&f->alive);
	turn_away_all(f);
	return NULL;
}

/* ----------------------------------------------------------------------------------------- start and stop */

/* A page that is never there, of which every child has one of its own. */
static int open_name(struct vmf__family *f)
{
	void *p = mmap(NULL, VMF__PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -VMF_ENOMEM;
	f->name = p;
	if (madvise(p, VMF__PAGE, MADV_WIPEONFORK))
		return -VMF_ENOMEM;
	f->named = !vmf__uffd_register(f->local->fd[VMF__W_COPY], (uintptr_t)p, VMF__PAGE, VMF__UR_MISSING, NULL);
	return f->named ? 0 : -VMF_ENOMEM;
}

/* Unmapping it before would be an event, which nobody reads any more. */
static void name_leave(struct vmf__family *f)
{
	if (f->named)
		f->named = vmf__uffd_unregister(f->local->fd[VMF__W_COPY], (uintptr_t)f->name, VMF__PAGE) != 0;
}

static int open_descriptors(struct vmf__family *f)
{
	struct flock k = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f->line))
		return -VMF_ENOMEM;
	f->alive = memfd_create("vmfault-alive", MFD_CLOEXEC);
	f->spare = fcntl(f->line[0], F_DUPFD_CLOEXEC, 0);
	return f->spare >= 0 && f->alive >= 0 && !fcntl(f->alive, F_SETLK, &k) ? 0 : -VMF_ENOMEM;
}

static int open_thread(struct vmf__family *f)
{
	int err;

	f->watch = vmf__watch_get(f->local->port);
	if (!f->watch || room_for(f, FIXED) < FIXED)
		return -VMF_ENOMEM;
	f->legacy = vmf__legacy_leave(f->line[1], f->alive, f->name);
	if (!f->legacy)
		return -VMF_ENOMEM;
	vmf__block_most();
	err = pthread_create(&f->thread, NULL, family, f);
	vmf__unblock(NULL);
	return err ? -VMF_ENOMEM : 0;
}

static int family_open(struct vmf__family *f)
{
	void *zeroes = mmap(NULL, VMF__HUGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err = zeroes == MAP_FAILED ? -VMF_ENOMEM : 0;

	f->zeroes = err ? NULL : zeroes;
	if (!err)
		err = open_descriptors(f);
	if (!err)
		err = open_name(f);
	return err ? err : open_thread(f);
}

static void family_free(struct vmf__family *f)
{
	struct vmf__memory *m = &f->local->port->memory;

	if (f->legacy)
		vmf__legacy_revoke(f->legacy);
	if (f->watch)
		vmf__watch_put(f->local->port, f->watch);
	name_leave(f);
	if (f->name && !f->named)
		munmap(f->name, VMF__PAGE);
	if (f->zeroes)
		munmap((void *)(uintptr_t)f->zeroes, VMF__HUGE);
	close_one(&f->line[0]);
	close_one(&f->line[1]);
	close_one(&f->alive);
	close_one(&f->spare);
	vmf__memory_give(m, f->polled, f->room * sizeof(*f->polled));
	vmf__memory_give(m, f, sizeof(*f));
}

int vmf__family_start(struct vmf__local *local)
{
	struct vmf__family *f = vmf__memory_take(&local->port->memory, sizeof(*f));
	int err;

	if (!f)
		return -VMF_ENOMEM;
	f->local = local;
	f->line[0] = f->line[1] = f->alive = f->spare = -1;
	f->news_end = &f->news;
	err = family_open(f);
	if (err)
		family_free(f);
	else
		atomic_store(&local->family, f);
	return err;
}

void vmf__family_stop(struct vmf__local *local)
{
	struct vmf__family *f = atomic_load(&local->family);

	if (!f)
		return;
	atomic_store(&f->phase, VMF__FAMILY_STOPS);
	vmf__watch_kick(f->watch);
	while (atomic_load(&f->phase) == VMF__FAMILY_STOPS)
		vmf__futex_wait(&f->phase, VMF__FAMILY_STOPS, 0);
}

/* Children have a copy of the descriptor: closing it here does not end what waits for its reader. */
void vmf__family_close(struct vmf__local *local)
{
	struct vmf__family *f = atomic_load(&local->family);
	int fd = local->fd[VMF__W_COPY];

	if (!f)
		return;
	name_leave(f);
	while (vmf__uffd_changing(fd))
		(void)vmf__wait(local->port, NULL, 0, 100000, false);
	atomic_store(&f->phase, VMF__FAMILY_OVER);
	vmf__watch_kick(f->watch);
	pthread_join(f->thread, NULL);
}

void vmf__family_free(struct vmf__local *local)
{
	struct vmf__family *f = atomic_load(&local->family);

	atomic_store(&local->family, NULL);
	if (f)
		family_free(f);
}
