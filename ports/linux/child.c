/* SPDX-License-Identifier: MIT
 *
 * In the child of a fork.
 *
 * All that is used here of what the parent wrote was written before the fork, and is read word by word: a fork may come
 * in the middle of anything.  Descriptors may have been closed by an application that closes all it does not know, and
 * their numbers be somebody else's by now: so a socket is looked at before it is written to.
 *
 * Everything but what fork() itself runs is async-signal-safe, and takes no lock.
 */
#include "fork.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LEGACIES 512u
#define BUSY_TRIES 1000u
#define RINGS 16u
#define LOOK_NS 20000000u /* how often to look whether there is still somebody to answer */

static struct vmf__legacy legacies[LEGACIES];
static _Atomic uint32_t begun, ended; /* calls of fork() */
static _Atomic uint32_t atfork; /* 1: registered */

/* ----------------------------------------------------------------------------------------- descriptors */

int vmf__pass(int sock, const void *from, size_t n, int fd)
{
	union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
	struct iovec v = { (void *)(uintptr_t)from, n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t got;

	if (fd >= 0) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
	}
	do
		got = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : 0;
}

long vmf__passed(int sock, void *to, size_t n, int *fd)
{
	union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
	struct iovec v = { to, n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t got;

	*fd = -1;
	do
		got = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return got;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* -------------------------------------------------------------------------------------------- the parent */

static struct vmf__legacy *inherited(uint32_t *i)
{
	uint64_t here = vmf__era();

	while (*i < LEGACIES) {
		struct vmf__legacy *l = &legacies[(*i)++];
		uint64_t era = atomic_load(&l->era);

		if (era && era != here)
			return l;
	}
	return NULL;
}

bool vmf__child_inherits(void)
{
	uint32_t i = 0;

	return inherited(&i);
}

static bool answers(const struct vmf__legacy *l)
{
	struct flock k = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(l->alive, F_GETLK, &k) == 0 && k.l_type != F_UNLCK;
}

static bool line_is_ours(const struct vmf__legacy *l)
{
	struct stat st;

	return fstat(l->line, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == l->line_ino;
}

/* Without touching it. */
static bool resident(uintptr_t va, bool *mapped)
{
	unsigned char there = 0;

	*mapped = mincore((void *)(va & ~(uintptr_t)(VMF__PAGE - 1)), VMF__PAGE, &there) == 0 || errno != ENOMEM;
	return there & 1;
}

/* The page is registered, and absent until it is filled: it must not be touched before. */
static bool named(const struct vmf__legacy *l)
{
	bool mapped;

	return resident((uintptr_t)l->name, &mapped);
}

/* false: there is nobody who could say, or he will not. */
static bool learn_name(const struct vmf__legacy *l, uint64_t *id)
{
	struct timespec t = { .tv_nsec = 10000 };

	while (!named(l)) {
		if (!answers(l))
			return false;
		(void)nanosleep(&t, NULL);
		t.tv_nsec = t.tv_nsec < 1000000 ? t.tv_nsec * 2 : t.tv_nsec;
	}
	*id = atomic_load(l->name);
	return *id && *id != VMF__NAME_REFUSED;
}

static bool send_question(const struct vmf__legacy *l, const struct vmf__question *q, int reply)
{
	int err;

	while ((err = vmf__pass(l->line, q, sizeof(*q), reply)) == -EAGAIN && answers(l)) {
		struct pollfd p = { .fd = l->line, .events = POLLOUT };

		(void)poll(&p, 1, LOOK_NS / 1000000);
	}
	return err == 0;
}

enum asking { ANSWERED, NOBODY, SIGNAL, LACKING };

/* *sock: of HELLO, which stays open; *fd: what came with the answer. */
static enum asking await(const struct vmf__legacy *l, int sock, bool interruptible, struct vmf__answer *a, int *fd)
{
	for (;;) {
		long n = vmf__passed(sock, a, sizeof(*a), fd);

		if (n == (long)sizeof(*a))
			return ANSWERED;
		if (n != -EAGAIN || !answers(l))
			return NOBODY;
		if (vmf__wait_readable(sock, LOOK_NS, interruptible) == -VMF_EINTR)
			return SIGNAL;
	}
}

/* tie, fd: NULL: of no interest */
static enum asking ask(const struct vmf__legacy *l, struct vmf__question *q, bool interruptible, struct vmf__answer *a,
		       int *tie, int *fd)
{
	enum asking how = NOBODY;
	int pair[2], came = -1;

	if (!line_is_ours(l) || !learn_name(l, &q->id))
		return NOBODY;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return LACKING;
	if (send_question(l, q, pair[1])) {
		close_one(&pair[1]);
		how = await(l, pair[0], interruptible, a, &came);
	}
	close_one(&pair[1]);
	if (tie && how == ANSWERED)
		*tie = pair[0];
	else
		close_one(&pair[0]);
	if (fd)
		*fd = came;
	else
		close_one(&came);
	return how;
}

/* ---------------------------------------------------------------------------------------------- beginning */

/* Had the parent a window there? */
static bool left_here(uintptr_t va, struct vmf__window *w)
{
	for (uint32_t i = 0; vmf__window_left(&i, w);)
		if (va >= w->va && va < w->end)
			return true;
	return false;
}

/* A request of the kernel's asynchronous I/O, to be told of what never happens.  It belongs to the memory of this
 * process, as the windows do, and holds the file until that ends. */
static bool hang_on(aio_context_t context, int fd)
{
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)fd }, *list[1] = { &cb };

	return syscall(SYS_io_submit, context, 1, list) == 1;
}

/* A context is a mapping, and its address.  Where the parent has an area that was not copied, a touch has to fail, not
 * to meet that. */
static bool hang_on_memory(int fd)
{
	aio_context_t context[RINGS] = { 0 };
	struct vmf__window w;
	bool done = false;
	unsigned n = 0;

	while (n < RINGS && !done && !syscall(SYS_io_setup, 1, &context[n]))
		done = !left_here((uintptr_t)context[n++], &w) && hang_on(context[n - 1], fd);
	for (unsigned i = 0; i + done < n; i++)
		(void)syscall(SYS_io_destroy, context[i]);
	return done;
}

static void keep(struct vmf__legacy *l, int fd)
{
	l->self = fd;
	if (fd >= 0 && hang_on_memory(fd))
		close_one(&l->self);
}

/* Nobody serves these windows, and perhaps the userfaultfd that kept them from reading zero has gone: another one does
 * that, of our own.  Only this thread is there yet. */
static void guard_window(const struct vmf__window *w, int fd)
{
	int err = -EBUSY;

	/* A parent that is just dying closes one after the other.  A brother who has a copy keeps it open. */
	for (unsigned tries = 0; fd >= 0 && err == -EBUSY && tries < BUSY_TRIES; tries++) {
		if (tries)
			(void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		err = vmf__uffd_register(fd, w->va, w->end - w->va, VMF__UR_MISSING, NULL);
	}
	if (err)
		(void)mprotect((void *)w->va, w->end - w->va, PROT_NONE);
}

static void guard(struct vmf__legacy *l)
{
	int fd = vmf__uffd_open_here(VMF__UF_SIGBUS);
	struct vmf__window w;

	/* A table that was caught in the middle of a change is no list of what is whose. */
	if (!vmf__windows_left_whole())
		(void)kill(getpid(), SIGKILL);
	for (uint32_t i = 0; vmf__window_left(&i, &w);)
		if (w.forks)
			guard_window(&w, fd);
	keep(l, fd);
}

/* A child's child has its parent's, too. */
static void hello(struct vmf__legacy *l)
{
	struct vmf__question q = { .op = VMF__ASK_HELLO };
	struct vmf__answer a;
	int fd = -1;

	close_one(&l->self);
	close_one(&l->tie);
	switch (ask(l, &q, false, &a, &l->tie, &fd)) {
	case ANSWERED:
		keep(l, fd);
		break;
	case NOBODY:
		if (!named(l) || atomic_load(l->name) != VMF__NAME_REFUSED)
			guard(l);
		break;
	default: /* no descriptor left: who is silent is refused in the end */
		break;
	}
}

static void before(void) { atomic_fetch_add(&begun, 1); }
static void after(void) { atomic_fetch_add(&ended, 1); }

static void begin(void)
{
	struct vmf__legacy *l;

	atomic_store(&ended, atomic_load(&begun));
	vmf__self_anew();
	for (uint32_t i = 0; (l = inherited(&i));)
		hello(l);
}

int vmf__child_atfork(void)
{
	uint32_t no = 0;

	if (!atomic_compare_exchange_strong(&atfork, &no, 1))
		return 0;
	if (!pthread_atfork(before, after, begin))
		return 0;
	atomic_store(&atfork, 0);
	return -VMF_ENOMEM;
}

uint32_t vmf__child_forks_ended(void) { return atomic_load(&ended); }
uint32_t vmf__child_forks_begun(void) { return atomic_load(&begun); }

/* ------------------------------------------------------------------------------ of the parent's, beforehand */

struct vmf__legacy *vmf__legacy_leave(int line, int alive, const _Atomic uint64_t *name)
{
	struct stat st;

	if (fstat(line, &st))
		return NULL;
	for (uint32_t i = 0; i < LEGACIES; i++) {
		struct vmf__legacy *l = &legacies[i];

		if (atomic_load(&l->era))
			continue;
		l->line = line;
		l->alive = alive;
		l->line_ino = st.st_ino;
		l->name = name;
		l->self = l->tie = -1;
		atomic_store(&l->era, vmf__era());
		return l;
	}
	return NULL;
}

void vmf__legacy_revoke(struct vmf__legacy *l) { atomic_store(&l->era, 0); }

/* ------------------------------------------------------------------------------------------------- asking */

static struct vmf_result not_copied(unsigned code)
{
	return (struct vmf_result){ .code = (uint8_t)code, .why = VMF_WHY_FORK };
}

/* Asks one parent after the other.  false: nobody knows the address. */
static bool ask_all(struct vmf__question *q, bool interruptible, struct vmf_result *r)
{
	struct vmf__legacy *l;
	struct vmf__window w;
	bool orphan = false, lacking = false;

	for (uint32_t i = 0; (l = inherited(&i));) {
		struct vmf__answer a;

		switch (ask(l, q, interruptible, &a, NULL, NULL)) {
		case ANSWERED:
			*r = a.result;
			if (a.known)
				return true;
			break;
		case SIGNAL:
			*r = (struct vmf_result){ .code = VMF_RETRY, .why = VMF_WHY_SIGNAL };
			return true;
		case LACKING:
			lacking = true; /* fall through */
		case NOBODY:
			orphan = true;
		}
	}
	*r = not_copied(VMF_SIGBUS);
	if (lacking)
		r->why = VMF_WHY_RESOURCE;
	return orphan && left_here(q->va, &w) && w.forks;
}

bool vmf__child_resolve(const struct vmf_trap *trap, bool interruptible, struct vmf_result *r)
{
	struct vmf__question q = { .op = VMF__ASK_PAGE, .va = trap->va, .access = trap->access };

	return ask_all(&q, interruptible, r);
}

struct vmf_result vmf__child_why(uintptr_t va)
{
	struct vmf__question q = { .op = VMF__ASK_WHY, .va = va };
	struct vmf_result r = { 0 };
	struct vmf__window w;
	bool mapped;

	(void)resident(va, &mapped);
	if (!mapped)
		return left_here(va, &w) && !w.forks ? not_copied(VMF_SIGSEGV) : r;
	return ask_all(&q, false, &r) ? r : (struct vmf_result){ 0 };
}

/* What is there needs no asking: the kernel copies it if it is written. */
static struct vmf_result touch_page(uintptr_t va, unsigned access)
{
	struct vmf_trap trap = { .va = va, .access = (uint8_t)access };
	struct vmf_result r = { 0 };
	struct vmf__window w;
	bool is_mapped;

	if (resident(va, &is_mapped))
		return r;
	if (!is_mapped && left_here(va, &w) && !w.forks)
		return not_copied(VMF_SIGSEGV);
	return is_mapped && vmf__child_resolve(&trap, false, &r) ? r : (struct vmf_result){ 0 };
}

struct vmf_result vmf__child_touch(uintptr_t va, uintptr_t end, unsigned access)
{
	struct vmf_result r = { 0 };

	for (; va < end && r.code == VMF_OK; va += VMF__PAGE)
		r = touch_page(va, access);
	return r;
}
