/* SPDX-License-Identifier: MIT
 *
 * Hand-written handlers, as short as they can be.
 */
#include "floor.h"
#include "touch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RUN_MAX 512u
#define ALIGN ((uintptr_t)2 << 20)

static struct {
	char *at;
	int uffd, file, memfd;
	uint64_t bytes; /* of a run */
	uint64_t mode;
} the;
static _Thread_local char buffer[RUN_MAX * PAGE] __attribute__((aligned(PAGE)));

static void check(bool good)
{
	if (!good && errno != EEXIST)
		_exit(1);
}

static void do_copy(char *at)
{
	struct uffdio_copy c = { .dst = (uintptr_t)at, .src = (uintptr_t)buffer, .len = the.bytes, .mode = the.mode };

	check(pread(the.file, buffer, the.bytes, at - the.at) == (ssize_t)the.bytes);
	check(ioctl(the.uffd, UFFDIO_COPY, &c) == 0);
}

static void do_zero(char *at)
{
	struct uffdio_zeropage z = { .range = { (uintptr_t)at, the.bytes }, .mode = the.mode };

	check(ioctl(the.uffd, UFFDIO_ZEROPAGE, &z) == 0);
}

static void do_continue(char *at)
{
	struct uffdio_continue c = { .range = { (uintptr_t)at, the.bytes }, .mode = the.mode };

	check(ioctl(the.uffd, UFFDIO_CONTINUE, &c) == 0);
}

static void do_send(char *at)
{
	off_t from = at - the.at;
	uint64_t sent = 0;

	check(lseek(the.memfd, from, SEEK_SET) == from);
	while (sent < the.bytes) {
		ssize_t got = sendfile(the.memfd, the.file, &from, the.bytes - sent);

		check(got > 0);
		sent += (uint64_t)got;
	}
	do_continue(at);
}

/* The way is known when the handler is chosen, as by who writes just one. */
#define HANDLER(name)                                                                                                  \
	static void on_##name(int sig, siginfo_t *si, void *uc)                                                        \
	{                                                                                                              \
		int e = errno;                                                                                         \
                                                                                                                       \
		(void)sig;                                                                                             \
		(void)uc;                                                                                              \
		do_##name((char *)((uintptr_t)si->si_addr & ~(uintptr_t)(the.bytes - 1)));                             \
		errno = e;                                                                                             \
	}
HANDLER(copy)
HANDLER(zero)
HANDLER(continue)
HANDLER(send)

static void (*const handlers[])(int, siginfo_t *, void *) = { on_copy, on_zero, on_continue, on_copy, on_send };
static void (*const doers[])(char *) = { do_copy, do_zero, do_continue, do_copy, do_send };

static void *serve(void *arg)
{
	const struct floor *f = arg;
	struct uffd_msg m;

	while (read(the.uffd, &m, sizeof(m)) == sizeof(m))
		doers[f->way]((char *)((uintptr_t)m.arg.pagefault.address & ~(uintptr_t)(the.bytes - 1)));
	return NULL;
}

static bool shared(const struct floor *f) { return f->way >= FLOOR_RESIDENT; }

/* Pages that were written: fallocate() leaves it to CONTINUE to zero them. */
static void fill_memfd(uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += PAGE)
		if (pwrite(the.memfd, buffer, PAGE, (off_t)at) != PAGE)
			walk_die("pwrite", errno);
}

static void open_memory(const struct floor *f)
{
	uint64_t bytes = f->pages * PAGE;
	int flags = shared(f) ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	char *room = mmap(NULL, bytes + ALIGN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	the.memfd = shared(f) ? memfd_create("floor", MFD_CLOEXEC) : -1;
	if (shared(f) && (the.memfd < 0 || ftruncate(the.memfd, (off_t)bytes)))
		walk_die("memfd", errno);
	if (f->way == FLOOR_RESIDENT)
		fill_memfd(bytes);
	if (room == MAP_FAILED)
		walk_die("mmap", errno);
	the.at = (char *)(((uintptr_t)room + ALIGN - 1) & ~(ALIGN - 1));
	if (mmap(the.at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, the.memfd, 0) == MAP_FAILED)
		walk_die("mmap", errno);
}

static void open_userfaultfd(const struct floor *f)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)the.at, f->pages * PAGE } };

	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (!f->handler_thread)
		api.features |= UFFD_FEATURE_SIGBUS;
	if (shared(f)) {
		api.features |= UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM;
		reg.mode |= UFFDIO_REGISTER_MODE_MINOR;
	}
	the.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (the.uffd < 0 || ioctl(the.uffd, UFFDIO_API, &api) || ioctl(the.uffd, UFFDIO_REGISTER, &reg))
		walk_die("userfaultfd", errno);
}

double floor_run(const struct floor *f)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_NODEFER }, old;
	pthread_t thread;
	double ns;

	the.file = f->file;
	the.bytes = f->run * PAGE;
	the.mode = f->handler_thread ? 0 : UFFDIO_COPY_MODE_DONTWAKE;
	open_memory(f);
	open_userfaultfd(f);
	sa.sa_sigaction = handlers[f->way];
	sigaction(SIGBUS, &sa, &old);
	walk_pin(0);
	if (f->handler_thread && pthread_create(&thread, NULL, serve, (void *)f))
		walk_die("pthread_create", EAGAIN);
	if (f->way == FLOOR_RESIDENT) { /* as in ours.c: entered once and forgotten */
		(void)walk(the.at, the.bytes, f->order, f->pages / f->run, 1, false);
		(void)madvise(the.at, f->pages * PAGE, MADV_DONTNEED);
	}
	ns = walk(the.at, the.bytes, f->order, f->pages / f->run, f->threads, f->elapsed);
	if (f->handler_thread) {
		pthread_cancel(thread);
		pthread_join(thread, NULL);
	}
	walk_pin(-1);
	sigaction(SIGBUS, &old, NULL);
	munmap(the.at, f->pages * PAGE); /* the room around it is addresses, no memory */
	close(the.memfd);
	close(the.uffd);
	return ns;
}
