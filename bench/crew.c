/* SPDX-License-Identifier: MIT
 *
 * Clients.  They meet twice: when all memory is ready (what comes after it is measured), and when all have measured
 * (comparing takes no part in anybody's time).
 */
#include "crew.h"
#include "client.h"
#include "walk.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 60, DIFFERS = 3 };

struct shared {
	pthread_barrier_t barrier;
	struct { uint64_t start, first, end, faults; } client[VMF_CREW_MAX];
};

static _Noreturn void fail(const char *what, int err)
{
	fprintf(stderr, "bench-serve: client: %s: %s\n", what, strerror(err));
	_exit(1);
}

static void *map_image(const struct vmf_crew *crew)
{
	int fd = open(crew->image, O_RDONLY | O_CLOEXEC);
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, crew->bytes, PROT_READ, MAP_PRIVATE, fd, 0);

	if (at == MAP_FAILED)
		fail(crew->image, errno);
	close(fd);
	return at;
}

static void walk(struct vmf_walk *w, struct vmf_walked *out)
{
	struct pollfd p;
	int err = vmf__walk_start(w);

	if (err)
		fail("threads", -err);
	p = (struct pollfd){ .fd = w->ended, .events = POLLIN };
	while (poll(&p, 1, -1) <= 0)
		;
	vmf__walk_end(w, out);
}

static _Noreturn void client(const struct vmf_crew *crew, unsigned me, struct shared *s)
{
	static struct vmf_walked walked;
	struct vmf_walk w = { .pages = crew->bytes / 4096, .page = 4096, .threads = 1, .random = crew->random };
	struct vmf_client c = { 0 };
	const char *step;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(LIMIT_S);
	err = crew->socket ? vmf__client_memory(&c, crew->bytes, false, &step) : 0;
	if (err)
		fail(step, -err);
	pthread_barrier_wait(&s->barrier);
	w.start = vmf__walk_now();
	err = crew->socket ? vmf__client_greet(&c, crew->socket[me], &step) : 0;
	if (err)
		fail(step, -err);
	w.base = crew->socket ? c.base : map_image(crew);
	walk(&w, &walked);
	s->client[me].start = w.start;
	s->client[me].first = w.start + walked.first_ns;
	s->client[me].end = w.start + walked.all_ns;
	s->client[me].faults = walked.faults;
	pthread_barrier_wait(&s->barrier);
	_exit(memcmp((const void *)(uintptr_t)w.base, map_image(crew), crew->bytes) ? DIFFERS : 0);
}

static struct shared *shared_open(unsigned clients)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t a;

	if (s == MAP_FAILED)
		return NULL;
	pthread_barrierattr_init(&a);
	pthread_barrierattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->barrier, &a, clients);
	pthread_barrierattr_destroy(&a);
	return s;
}

static void sum_up(const struct shared *s, unsigned clients, struct vmf_crewed *out)
{
	uint64_t start = UINT64_MAX, end = 0;

	memset(out, 0, sizeof *out);
	for (unsigned i = 0; i < clients; i++) {
		uint64_t first = s->client[i].first - s->client[i].start;

		start = s->client[i].start < start ? s->client[i].start : start;
		end = s->client[i].end > end ? s->client[i].end : end;
		out->first_ns = first > out->first_ns ? first : out->first_ns;
		out->faults += s->client[i].faults;
	}
	out->all_ns = end - start;
}

/* One that failed may have left the others at a barrier. */
static int reap(const pid_t *pid, unsigned n)
{
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		int status;

		if (err == -EIO)
			kill(pid[i], SIGKILL);
		if (waitpid(pid[i], &status, 0) != pid[i] || !WIFEXITED(status))
			err = -EIO;
		else if (WEXITSTATUS(status))
			err = WEXITSTATUS(status) == DIFFERS ? -EILSEQ : -EIO;
	}
	return err;
}

int vmf__crew_run(const struct vmf_crew *crew, struct vmf_crewed *out)
{
	struct shared *s = shared_open(crew->clients);
	pid_t pid[VMF_CREW_MAX];
	unsigned n = 0;
	int err;

	if (!s)
		return -ENOMEM;
	while (n < crew->clients) {
		pid[n] = fork();
		if (!pid[n])
			client(crew, n, s);
		if (pid[n] < 0)
			break;
		n++;
	}
	if (n < crew->clients)
		for (unsigned i = 0; i < n; i++)
			kill(pid[i], SIGKILL);
	err = reap(pid, n);
	sum_up(s, crew->clients, out);
	munmap(s, sizeof *s);
	return n < crew->clients ? -EAGAIN : err;
}
