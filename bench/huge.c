/* SPDX-License-Identifier: MIT
 *
 * Latency to the first byte of memory that is zero at first, and time for 2 MiB of it: in pages of 2 MiB beside base
 * pages, vmfault in context beside the kernel's own faults.  The ways take turns, round by round, each with memory that
 * is mapped anew; medians, and medians of the ratios of each round to the kernel's own fault of 2 MiB.
 */
#include <sys/mman.h>
#include <time.h>
#include <vmfault/linux.h>
#include "tests/hugepages.h"

#define HUGE ((size_t)2 << 20)
#define BLOCKS 4u
#define ROUNDS 41u

enum way { KERNEL_HUGE, VMFAULT_HUGE, KERNEL_BASE, VMFAULT_BASE, WAYS };
static const char *const name[] = { "the kernel, hugetlb", "vmfault, order 9", "the kernel, base pages",
				    "vmfault, base pages" };
static struct vmf_port *port;
static struct vmf_space *space;
static struct vmf_object *object;
static double first[WAYS][ROUNDS], all[WAYS][ROUNDS], ratio[2][WAYS][ROUNDS];

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static char *map(enum way way)
{
	int huge = way == KERNEL_HUGE ? MAP_HUGETLB : 0;
	struct vmf_map m = { .size = sizeof(m), .pages = BLOCKS * HUGE / 4096, .prot = VMF_R | VMF_W,
			     .order = way == VMFAULT_HUGE ? 9 : 0 };
	vmf_va at = 0;
	void *p;

	if (way == VMFAULT_HUGE || way == VMFAULT_BASE) {
		CHECK_ERR(vmf_map(space, object, &m, &at), 0);
		return (char *)at;
	}
	p = mmap(NULL, BLOCKS * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);
	CHECK(p != MAP_FAILED);
	if (!huge)
		(void)madvise(p, BLOCKS * HUGE, MADV_NOHUGEPAGE);
	return p;
}

static void unmap(enum way way, char *p)
{
	if (way == VMFAULT_HUGE || way == VMFAULT_BASE)
		CHECK_ERR(vmf_unmap(space, (vmf_va)p, BLOCKS * HUGE / 4096), 0);
	else
		CHECK(!munmap(p, BLOCKS * HUGE));
}

/* The first block warms tables up; then one byte each, and all pages. */
static void measure(enum way way, unsigned round)
{
	char *p = map(way);
	double start;

	p[0] = 1;
	start = now_us();
	p[HUGE] = 1;
	first[way][round] = now_us() - start;
	start = now_us();
	for (size_t i = 0; i < 2 * HUGE; i += 4096)
		p[2 * HUGE + i] = 1;
	all[way][round] = (now_us() - start) / 2;
	unmap(way, p);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_size);
	return v[ROUNDS / 2];
}

static void report(void)
{
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned w = 0; w < WAYS; w++) {
			ratio[0][w][r] = first[w][r] / first[KERNEL_HUGE][r];
			ratio[1][w][r] = all[w][r] / all[KERNEL_HUGE][r];
		}
	printf("%-24s %12s %6s %12s %6s\n", "zero-filled", "first byte", "x", "2 MiB", "x");
	for (unsigned w = 0; w < WAYS; w++)
		printf("%-24s %9.1f us %6.2f %9.1f us %6.2f\n", name[w], median(first[w]), median(ratio[0][w]), median(all[w]),
			median(ratio[1][w]));
}

static int run(int argc, char **argv)
{
	static const struct vmf_ops zero = { .size = sizeof(zero) };
	const struct vmf_linux_space config = { .size = sizeof(config), .mode = VMF_IN_CONTEXT };

	(void)argc, (void)argv;
	alarm(100);
	CHECK_ERR(vmf_linux_open(&port, NULL), 0);
	CHECK_ERR(vmf_linux_space(port, &space, &config), 0);
	CHECK_ERR(vmf_object_create(port, &object, &zero, NULL, BLOCKS * HUGE / 4096), 0);
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned w = 0; w < WAYS; w++)
			measure((enum way)((w + r) % WAYS), r);
	report();
	vmf_object_put(object);
	vmf_linux_space_close(space);
	vmf_linux_close(port);
	return 0;
}

int main(int argc, char **argv) { return hugepages_run(run, 2 * BLOCKS, argc, argv); }
