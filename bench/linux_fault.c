/* SPDX-License-Identifier: MIT
 *
 * What a fault costs, beside the floor: the same fault taken by a hand-written handler of SIGBUS that makes one
 * ioctl. 4 KiB pages in random order; ratios travel, absolute times do not.
 *
 *	resident   by offset, in context: the page is in the memfd, CONTINUE maps it
 *	zero       by copy, in context: ZEROPAGE
 *
 * Usage: linux_fault [PAGES [ROUNDS]].  A line for each round, then the medians.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <vmfault/linux.h>

#define PAGE 4096u
#define THREADS_MAX 2u
#define ROUNDS_MAX 64u

static uint64_t pages = 32768;
static uint32_t *order;

static void die(const char *what, int err)
{
	fprintf(stderr, "linux_fault: %s: %s\n", what, err < 0 ? vmf_err_str(err) : strerror(err));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --------------------------------------------------------------------------------------------- the walk */

struct walk { const char *at; uint64_t from, to; unsigned long sum; };
static atomic_bool go;

static void *walk(void *arg)
{
	struct walk *w = arg;

	while (!atomic_load(&go))
		;
	for (uint64_t i = w->from; i < w->to; i++)
		w->sum += *(const volatile unsigned char *)(w->at + (uint64_t)order[i] * PAGE);
	return NULL;
}

/* us a fault and thread */
static double walk_all(const char *at, unsigned threads)
{
	struct walk w[THREADS_MAX];
	pthread_t t[THREADS_MAX];
	double begin;

	atomic_store(&go, false);
	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct walk){ at, pages * i / threads, pages * (i + 1) / threads, 0 };
		if (pthread_create(&t[i], NULL, walk, &w[i]))
			die("pthread_create", EAGAIN);
	}
	begin = now();
	atomic_store(&go, true);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return (now() - begin) * 1e6 / (double)pages * threads;
}

/* -------------------------------------------------------------------------------------------- the floor */

static int floor_fd;
static bool floor_zero;

static void floor_handler(int sig, siginfo_t *si, void *uc)
{
	uint64_t va = (uintptr_t)si->si_addr & ~(uint64_t)(PAGE - 1);
	struct uffdio_continue c = { .range = { va, PAGE }, .mode = UFFDIO_CONTINUE_MODE_DONTWAKE };
	struct uffdio_zeropage z = { .range = { va, PAGE }, .mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE };
	int e = errno;

	(void)sig;
	(void)uc;
	if (floor_zero ? ioctl(floor_fd, UFFDIO_ZEROPAGE, &z) : ioctl(floor_fd, UFFDIO_CONTINUE, &c))
		if (errno != EEXIST)
			_exit(1);
	errno = e;
}

static double floor_run(unsigned threads, bool zero)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM,
	};
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_NODEFER }, old;
	struct uffdio_register reg = { 0 };
	int memfd = memfd_create("floor", MFD_CLOEXEC), flags = zero ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	off_t bytes = (off_t)(pages * PAGE);
	double us;
	char *at;

	floor_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (floor_fd < 0 || ioctl(floor_fd, UFFDIO_API, &api))
		die("userfaultfd", errno);
	if (memfd < 0 || ftruncate(memfd, bytes) || (!zero && fallocate(memfd, 0, 0, bytes)))
		die("memfd", errno);
	at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, zero ? -1 : memfd, 0);
	reg.range.start = (uintptr_t)at;
	reg.range.len = pages * PAGE;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING | (zero ? 0 : UFFDIO_REGISTER_MODE_MINOR);
	if (at == MAP_FAILED || ioctl(floor_fd, UFFDIO_REGISTER, &reg))
		die("register", errno);
	floor_zero = zero;
	sa.sa_sigaction = floor_handler;
	sigaction(SIGBUS, &sa, &old);
	us = walk_all(at, threads);
	sigaction(SIGBUS, &old, NULL);
	munmap(at, pages * PAGE);
	close(memfd);
	close(floor_fd);
	return us;
}

/* --------------------------------------------------------------------------------------------- vmfault */

static double vmfault_run(unsigned threads, bool zero, unsigned mode)
{
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	const struct vmf_linux_space config = { .size = sizeof(config), .mode = mode };
	const struct vmf_map m = {
		.size = sizeof(m), .flags = zero ? 0 : VMF_SHARED, .pages = pages, .prot = VMF_R | VMF_W,
	};
	struct vmf_port *port;
	struct vmf_space *space = NULL;
	struct vmf_object *object = NULL;
	vmf_va at = 0;
	double us;
	int err = vmf_linux_open(&port, NULL);

	if (!err)
		err = vmf_linux_space(port, &space, &config);
	if (!err)
		err = vmf_object_create(port, &object, &ops, NULL, pages);
	if (!err)
		err = vmf_map(space, object, &m, &at);
	if (err)
		die("vmfault", err);
	if (!zero) {
		(void)vmf_touch((void *)at, pages * PAGE, VMF_R);
		(void)vmf_revoke(object, 0, pages);
	}
	us = walk_all((const char *)at, threads);
	vmf_object_put(object);
	vmf_linux_space_close(space);
	vmf_linux_close(port);
	return us;
}

/* ---------------------------------------------------------------------------------------------- medians */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static void measure(const char *name, unsigned threads, bool zero, unsigned rounds)
{
	double floor_us[ROUNDS_MAX], us[ROUNDS_MAX], ratio[ROUNDS_MAX];

	for (unsigned i = 0; i < rounds; i++) {
		floor_us[i] = floor_run(threads, zero);
		us[i] = vmfault_run(threads, zero, VMF_IN_CONTEXT);
		ratio[i] = us[i] / floor_us[i];
	}
	printf("%-9s %u thread%s  floor %6.2f us  vmfault %6.2f us  ratio %.2f\n", name, threads, threads > 1 ? "s" : " ",
	       median(floor_us, rounds), median(us, rounds), median(ratio, rounds));
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
	uint64_t seed = 1;

	if (argc > 1)
		pages = strtoull(argv[1], NULL, 0);
	if (!pages || pages > UINT32_MAX || !rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: linux_fault [PAGES [ROUNDS]]\n");
		return 2;
	}
	order = malloc(pages * sizeof(*order));
	if (!order)
		die("malloc", ENOMEM);
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t j;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		j = (seed >> 33) % (i + 1);
		order[i] = order[j];
		order[j] = (uint32_t)i;
	}
	for (unsigned threads = 1; threads <= THREADS_MAX; threads++) {
		measure("resident", threads, false, rounds);
		measure("zero", threads, true, rounds);
	}
	return 0;
}
