/* SPDX-License-Identifier: MIT
 *
 * A client of the demo, in a process of its own.  Its pages are read in an order that looks random; with a broken image
 * one after the other.
 */
#include "way.h"
#include "client.h"
#include "progress.h"
#include "walk.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_SIGBUS = 1, EXIT_FAILED = 9 };

static void die(const char *what, int err)
{
	fprintf(stderr, "demo: %s: %s\n", what, strerror(err));
	_exit(EXIT_FAILED);
}

static uint64_t faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)u.ru_minflt + (uint64_t)u.ru_majflt;
}

/* Bytes of memory that are this process's own. */
static uint64_t own_memory(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	while (f && fgets(line, sizeof line, f))
		sscanf(line, "Anonymous: %lu", &kib);
	if (f)
		fclose(f);
	return (uint64_t)kib << 10;
}

static const unsigned char *read_all(const struct way *w)
{
	int fd = open(w->image, O_RDONLY | O_CLOEXEC);
	char *at = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t have = 0;
	ssize_t n = 1;

	if (fd < 0 || at == MAP_FAILED)
		die(w->image, errno);
	while (have < w->bytes && n > 0) {
		n = read(fd, at + have, w->bytes - have < 1 << 20 ? w->bytes - have : 1 << 20);
		have += n > 0 ? (uint64_t)n : 0;
	}
	if (have < w->bytes)
		die(w->image, n ? errno : ENODATA);
	return (unsigned char *)at;
}

static const unsigned char *map_file(const struct way *w)
{
	int fd = open(w->image, O_RDONLY | O_CLOEXEC);
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	if (at == MAP_FAILED)
		die(w->image, errno);
	return at;
}

/* The server may still be starting: the time that this takes does not count. */
static const unsigned char *greet(const struct way *w, struct vmf_client *c, uint64_t *start)
{
	const char *step;
	int err = vmf__client_memory(c, w->bytes, false, &step);

	for (unsigned tries = 0; !err && tries < 1000; tries++) {
		*start = vmf__walk_now();
		err = vmf__client_greet(c, w->socket, &step);
		if (!err)
			return c->base;
		if (err == -ENOENT || err == -ECONNREFUSED) {
			usleep(5000);
			err = tries < 999 ? 0 : err;
		}
	}
	die(step, -err);
	return NULL;
}

static const unsigned char *bring(const struct way *w, struct vmf_client *c, uint64_t *start)
{
	*start = vmf__walk_now();
	switch (w->kind) {
	case WAY_READ:
		return read_all(w);
	case WAY_MAPPED:
		return map_file(w);
	case WAY_SERVED:
		return greet(w, c, start);
	}
	return NULL;
}

static void check(const unsigned char *base, uint64_t page, struct wayed *out)
{
	enum image_page is = image_check(page, base + page * IMAGE_PAGE);

	if (is != PAGE_RIGHT && out->found[PAGE_RIGHT] == out->touched) {
		out->bad = page;
		out->bad_is = is;
	}
	out->found[is]++;
	out->touched++;
}

static void walk(const struct way *w, const unsigned char *base, uint64_t start, struct wayed *out)
{
	struct vmf_walk walk = { .base = base, .pages = w->bytes / IMAGE_PAGE, .page = IMAGE_PAGE, .start = start,
				 .threads = 1, .random = true };
	static struct vmf_walked walked;
	struct vmf_progress bar;
	struct pollfd p;

	vmf__progress_start(&bar, walk.pages);
	if (vmf__walk_start(&walk))
		die("starting a thread", EAGAIN);
	p = (struct pollfd){ .fd = walk.ended, .events = POLLIN };
	while (poll(&p, 1, 100) <= 0)
		vmf__progress_show(&bar, vmf__walk_done(&walk), vmf__walk_now(), 0);
	vmf__progress_clear(&bar);
	vmf__walk_end(&walk, &walked);
	out->first_ns = walked.first_ns;
	out->all_ns = walked.all_ns;
}

static void walk_and_break(const struct way *w, const unsigned char *base, struct wayed *out)
{
	uint64_t pages = w->bytes / IMAGE_PAGE;

	for (uint64_t i = 0; i < pages; i++) {
		if (i == pages / 2 && truncate(w->image, (off_t)(w->bytes / 2)))
			die(w->image, errno);
		check(base, i, out);
	}
}

static void be_client(const struct way *w, struct wayed *out)
{
	struct vmf_client c;
	uint64_t start, before = faults(), own = own_memory();
	const unsigned char *base = bring(w, &c, &start);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	vmf__walk_sigbus(base, w->bytes, "  client");
	if (w->breaks) {
		dup2(STDOUT_FILENO, STDERR_FILENO);
		walk_and_break(w, base, out);
		_exit(0);
	}
	walk(w, base, start, out);
	out->faults = faults() - before;
	out->copied = own_memory() - own;
	for (uint64_t i = 0; i < w->bytes / IMAGE_PAGE; i++)
		check(base, i, out);
	_exit(0);
}

/* Waits at most so long; a child that hangs is killed. */
static enum way_end await(pid_t pid, unsigned seconds)
{
	uint64_t until = vmf__walk_now() + seconds * UINT64_C(1000000000);
	int status = 0;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (vmf__walk_now() > until) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return WAY_HUNG;
		}
		usleep(10000);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SIGBUS)
		return WAY_SIGBUS;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? WAY_DONE : WAY_FAILED;
}

enum way_end way_run(const struct way *w, struct wayed *out)
{
	struct wayed *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	enum way_end end;
	pid_t pid;

	if (shared == MAP_FAILED)
		return WAY_FAILED;
	fflush(NULL);
	pid = fork();
	if (!pid)
		be_client(w, shared);
	end = pid < 0 ? WAY_FAILED : await(pid, w->seconds);
	*out = *shared;
	munmap(shared, sizeof *shared);
	return end;
}
