/* SPDX-License-Identifier: MIT
 *
 * What the tests of another process's memory stand on: a client process with memory of its own under a userfaultfd,
 * which it hands over through a socket, and with threads that do what they are told; and, here, a space that serves
 * it.
 */
#ifndef REMOTETEST_H
#define REMOTETEST_H
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <vmfault/linux.h>
#include "hugepages.h"
#include "testback.h"
#include "vmtest.h"

#define PAGE 4096u
#define HUGE (2u << 20)
#define WORKERS 4

/* ---------------------------------------------------------------------------------------------- the client */

enum client_op { OP_LOAD, OP_STORE, OP_REMOVE, OP_UNMAP, OP_REMAP, OP_FORK, OP_CROWD };
/* Shared with the client: what one of its threads is to do, and what came of it. */
struct client_worker {
	sem_t go, done;
	enum client_op op;
	uint64_t at, bytes, to; /* bytes from the start of its memory; to: as well */
	uint8_t value;          /* STORE */
	int result;             /* 0, an errno, or a signal as a negative number */
	uint8_t data[2 * PAGE]; /* LOAD, FORK (by the child): what was read */
};
struct client_shared {
	uint64_t va;
	int error;
	struct client_worker worker[WORKERS];
};
struct client_config {
	uint64_t pages;    /* base pages */
	uint64_t features; /* of the userfaultfd */
	bool huge, noreserve;
	bool blocking;     /* without O_NONBLOCK */
	bool marked;       /* all of it write-protected before it is touched (WP_UNPOPULATED, Linux 6.4) */
	bool idle;         /* worker 0 runs when nobody else wants the CPU */
};
struct client {
	pid_t pid;
	int uffd;
	uint64_t va;
	struct client_shared *shared;
};

static sigjmp_buf *volatile client_escape[WORKERS];
static _Thread_local int client_me;

static inline void client_signal(int sig)
{
	siglongjmp(*client_escape[client_me], sig);
}

static inline char *client_memory(struct client_shared *s, uint64_t at) { return (char *)(uintptr_t)s->va + at; }

static inline void client_load(struct client_shared *s, struct client_worker *w)
{
	memcpy(w->data, client_memory(s, w->at), w->bytes < sizeof(w->data) ? w->bytes : sizeof(w->data));
}

/* A child of the client's reads.  13: it got SIGBUS. */
static inline int client_fork(struct client_shared *s, struct client_worker *w)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		sigjmp_buf out;

		client_escape[client_me] = &out;
		if (sigsetjmp(out, 1))
			_exit(13);
		client_load(s, w);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return errno;
	return WEXITSTATUS(status);
}

static inline void *client_touch(void *p)
{
	return *(volatile char *)p ? NULL : p;
}

/* A thread for each page of the range, all at once.  How many saw a zero. */
static inline int client_crowd(struct client_shared *s, const struct client_worker *w)
{
	static pthread_t thread[1024];
	int n = (int)(w->bytes / PAGE), zeroes = 0;
	pthread_attr_t small;
	void *bad;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (int i = 0; i < n; i++)
		if (pthread_create(&thread[i], &small, client_touch, client_memory(s, w->at + (uint64_t)i * PAGE)))
			return -SIGABRT;
	for (int i = 0; i < n; i++) {
		pthread_join(thread[i], &bad);
		zeroes += bad != NULL;
	}
	return zeroes;
}

static inline int client_run(struct client_shared *s, struct client_worker *w)
{
	void *p = client_memory(s, w->at);

	switch (w->op) {
	case OP_LOAD:
		client_load(s, w);
		return 0;
	case OP_STORE:
		memset(p, w->value, w->bytes);
		return 0;
	case OP_REMOVE:
		return madvise(p, w->bytes, MADV_DONTNEED) ? errno : 0;
	case OP_UNMAP:
		return munmap(p, w->bytes) ? errno : 0;
	case OP_REMAP:
		p = mremap(p, w->bytes, w->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, client_memory(s, w->to));
		return p == MAP_FAILED ? errno : 0;
	case OP_CROWD:
		return client_crowd(s, w);
	default:
		return client_fork(s, w);
	}
}

static struct client_shared *client_here;
static bool client_idle;

static inline void *client_worker(void *arg)
{
	struct client_worker *w = arg;
	sigjmp_buf out;

	client_me = (int)(w - client_here->worker);
	if (client_idle && !client_me)
		(void)sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 });
	for (;;) {
		while (sem_wait(&w->go))
			;
		client_escape[client_me] = &out;
		w->result = sigsetjmp(out, 1);
		w->result = w->result ? -w->result : client_run(client_here, w);
		sem_post(&w->done);
	}
	return NULL;
}

static inline void client_send(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'u';
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	(void)!sendmsg(sock, &m, 0);
}

static inline int client_receive(int sock)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) == 1 && (c = CMSG_FIRSTHDR(&m)))
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

/* Memory under a userfaultfd, at an address that a huge page may have.  -errno */
static inline int client_make(struct client_shared *s, const struct client_config *c)
{
	size_t bytes = c->pages * PAGE, room = bytes + HUGE;
	int huge = (c->huge ? MAP_HUGETLB : 0) | (c->noreserve ? MAP_NORESERVE : 0);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | huge;
	struct uffdio_api api = { .api = UFFD_API, .features = c->features };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING |
		(c->marked ? UFFDIO_REGISTER_MODE_WP : 0) };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | (c->blocking ? 0 : O_NONBLOCK));
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (fd < 0 || p == MAP_FAILED || ioctl(fd, UFFDIO_API, &api))
		return -errno;
	p += -(uintptr_t)p & (HUGE - 1);
	if (mmap(p, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
		return -errno;
	reg.range = (struct uffdio_range){ (uintptr_t)p, bytes };
	wp.range = reg.range;
	if (ioctl(fd, UFFDIO_REGISTER, &reg) || (c->marked && ioctl(fd, UFFDIO_WRITEPROTECT, &wp)))
		return -errno;
	s->va = (uintptr_t)p;
	return fd;
}

static inline void client_main(struct client_shared *s, const struct client_config *c, int sock)
{
	struct sigaction sa = { .sa_handler = client_signal, .sa_flags = SA_NODEFER };
	pthread_t thread[WORKERS];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(0);
	client_idle = c->idle;
	client_here = s;
	fd = client_make(s, c);
	s->error = fd < 0 ? -fd : 0;
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	client_send(sock, fd);
	for (int i = 0; i < WORKERS && fd >= 0; i++)
		pthread_create(&thread[i], NULL, client_worker, &s->worker[i]);
	for (;;)
		pause();
}

/* Returns 0, or the errno of what the client could not do (and it has ended). */
static inline int client_start(struct client *c, const struct client_config *config)
{
	int sock[2], error;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	c->shared = mmap(NULL, sizeof(*c->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(c->shared != MAP_FAILED);
	for (int i = 0; i < WORKERS; i++) {
		CHECK(!sem_init(&c->shared->worker[i].go, 1, 0));
		CHECK(!sem_init(&c->shared->worker[i].done, 1, 0));
	}
	c->pid = fork();
	CHECK(c->pid >= 0);
	if (!c->pid)
		client_main(c->shared, config, sock[1]);
	c->uffd = client_receive(sock[0]);
	close(sock[0]);
	close(sock[1]);
	c->va = c->shared->va;
	error = c->shared->error;
	if (c->uffd < 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
	}
	return c->uffd < 0 ? error ? error : EIO : 0;
}

static inline void client_kill(struct client *c)
{
	kill(c->pid, SIGKILL);
	CHECK_EQ(waitpid(c->pid, NULL, 0), c->pid);
	c->pid = 0;
}

static inline void client_end(struct client *c)
{
	if (c->pid)
		client_kill(c);
	close(c->uffd);
	munmap(c->shared, sizeof(*c->shared));
}

static inline void client_go(struct client *c, int worker, enum client_op op, uint64_t at, uint64_t bytes, uint64_t to)
{
	struct client_worker *w = &c->shared->worker[worker];

	w->op = op;
	w->at = at;
	w->bytes = bytes;
	w->to = to;
	w->value = (uint8_t)to;
	memset(w->data, 0xcc, sizeof(w->data));
	sem_post(&w->go);
}

static inline bool client_done(struct client *c, int worker) { return !sem_trywait(&c->shared->worker[worker].done); }
static inline int client_result(const struct client *c, int worker) { return c->shared->worker[worker].result; }
static inline const uint8_t *client_data(const struct client *c, int worker) { return c->shared->worker[worker].data; }

/* ------------------------------------------------------------------------------------------------- the bed */

/* A client, and what serves it. */
struct bed {
	struct client client;
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_session *session;
	size_t session_bytes;
	struct vmf_object *object;
	struct testback back;
	pthread_t server[WORKERS];
	int servers;
	bool stop;
	int error; /* of serving */
};
struct bed_config {
	struct client_config client;
	struct vmf_linux_region region[4]; /* va: bytes from the start; bytes 0: no more.  None: all of it */
	struct vmf_backed backed;
	enum testback_when when;
	uint64_t bytes; /* of the backing; 0: as the client's memory */
	uint64_t ram;
	const struct vmf_adopt *adopt;
};

static inline unsigned bed_regions(const struct bed_config *config, uint64_t va, struct vmf_linux_region *r)
{
	unsigned n = 0;

	for (; n < 4 && config->region[n].bytes; n++) {
		r[n] = config->region[n];
		r[n].va += va;
	}
	if (n)
		return n;
	r[0] = (struct vmf_linux_region){ va, config->client.pages * PAGE, 0, config->client.huge ? HUGE : PAGE };
	return 1;
}

static inline void bed_session(struct bed *b, const struct bed_config *config)
{
	struct vmf_linux_region r[4];
	unsigned n = bed_regions(config, b->client.va, r);

	CHECK_ERR(vmf_session_bytes(r, n, &b->session_bytes, NULL), 0);
	b->session = mmap(NULL, b->session_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(b->session != MAP_FAILED);
	CHECK_ERR(vmf_session_init(b->session, r, n), 0);
}

static inline void bed_port(struct bed *b, const struct bed_config *config)
{
	struct vmf_linux_config lc = { .size = sizeof(lc), .ram = config->ram };

	CHECK_ERR(vmf_linux_open(&b->port, &lc), 0);
	testback_open(&b->back, b->port, config->bytes ? config->bytes : config->client.pages * PAGE, config->when);
	b->object = testback_object(&b->back, &config->backed);
}

static inline void bed_client(struct bed *b, const struct bed_config *config)
{
	int err = client_start(&b->client, &config->client);

	if (err == EPERM)
		vmtest_skip("userfaultfd(2) is not allowed here");
	if (err == ENOSYS)
		vmtest_skip("no userfaultfd in this kernel");
	CHECK_EQ(err, 0);
}

/* Nothing is adopted yet. */
static inline void bed_prepare(struct bed *b, const struct bed_config *config)
{
	memset(b, 0, sizeof(*b));
	bed_client(b, config);
	bed_port(b, config);
	bed_session(b, config);
}

static inline void bed_open(struct bed *b, const struct bed_config *config)
{
	bed_prepare(b, config);
	CHECK_ERR(vmf_linux_adopt(b->port, &b->space, b->client.uffd, b->session, b->object, config->adopt), 0);
}

/* One round: waits a little for something to do, and does it. */
static inline int bed_serve(struct bed *b)
{
	struct pollfd p = { .fd = b->client.uffd, .events = POLLIN };
	uint64_t due = vmf_linux_due(b->space);

	if (due)
		(void)poll(&p, 1, due < 1000000 ? 1 : 2);
	return vmf_linux_serve(b->space);
}

static inline void *bed_server(void *arg)
{
	struct bed *b = arg;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		int n = bed_serve(b);

		if (n < 0) {
			__atomic_store_n(&b->error, n, __ATOMIC_RELAXED);
			break;
		}
	}
	return NULL;
}

static inline void bed_start(struct bed *b, int threads)
{
	b->stop = false;
	for (b->servers = 0; b->servers < threads; b->servers++)
		CHECK(!pthread_create(&b->server[b->servers], NULL, bed_server, b));
}

static inline void bed_stop(struct bed *b)
{
	__atomic_store_n(&b->stop, true, __ATOMIC_RELAXED);
	while (b->servers)
		CHECK(!pthread_join(b->server[--b->servers], NULL));
}

static inline void bed_close(struct bed *b)
{
	bed_stop(b);
	if (b->space)
		vmf_linux_adopt_close(b->space);
	vmf_object_put(b->object);
	/* Its thread may be on its way out of the last read, which holds the object. */
	CHECK_SOON(__atomic_load_n(&b->back.closed, __ATOMIC_ACQUIRE));
	testback_close(&b->back);
	vmf_linux_close(b->port);
	client_end(&b->client);
	munmap(b->session, b->session_bytes);
}

/* Until a worker is through; serves here unless threads do. */
static inline int bed_wait(struct bed *b, int worker)
{
	for (int i = 0; !client_done(&b->client, worker); i++) {
		int n = 0;

		if (i == 20000)
			vmtest_fail("worker %d: is not through", worker);
		if (b->servers)
			usleep(200);
		else
			n = bed_serve(b);
		if (n < 0)
			vmtest_fail("serving: %s", vmf_err_str(n));
	}
	return client_result(&b->client, worker);
}

static inline int bed_do(struct bed *b, int worker, enum client_op op, uint64_t at, uint64_t bytes, uint64_t to)
{
	client_go(&b->client, worker, op, at, bytes, to);
	return bed_wait(b, worker);
}

/* What the client reads there: bytes of the backing from `from` on? */
static inline bool bed_reads(struct bed *b, uint64_t at, uint64_t from)
{
	CHECK_EQ(bed_do(b, 0, OP_LOAD, at, PAGE, 0), 0);
	return testback_same(&b->back, from, client_data(&b->client, 0), PAGE);
}

static inline bool bed_zeroes(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static inline bool bed_reads_zero(struct bed *b, uint64_t at)
{
	CHECK_EQ(bed_do(b, 0, OP_LOAD, at, PAGE, 0), 0);
	return bed_zeroes(client_data(&b->client, 0), PAGE);
}

/* Until a message waits on the descriptor. */
static inline void bed_message(struct bed *b)
{
	struct pollfd p = { .fd = b->client.uffd, .events = POLLIN };

	CHECK_EQ(poll(&p, 1, 10000), 1);
	CHECK(p.revents & POLLIN);
}

#endif
