/* SPDX-License-Identifier: MIT
 *
 * The system's pool of 2 MiB pages, for tests that use it.
 */
#ifndef HUGEPAGES_H
#define HUGEPAGES_H
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include "vmtest.h"

/* Pages of 2 MiB in the system's pool, which is put back by hugepages_end(); skips the test if they cannot be had. */
static long hugepages_before = -1;

static inline long hugepages_set(long n)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/nr_hugepages", O_RDWR | O_CLOEXEC);

	if (fd >= 0 && n >= 0) {
		(void)!write(fd, text, (size_t)snprintf(text, sizeof(text), "%ld\n", n));
		lseek(fd, 0, SEEK_SET);
	}
	if (fd < 0)
		fd = open("/proc/sys/vm/nr_hugepages", O_RDONLY | O_CLOEXEC);
	memset(text, 0, sizeof(text));
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		vmtest_skip("no /proc/sys/vm/nr_hugepages");
	close(fd);
	return atol(text);
}

static inline void hugepages_end(void)
{
	if (hugepages_before >= 0)
		(void)hugepages_set(hugepages_before);
	hugepages_before = -1;
}

/* Huge pages that nobody has taken. */
static inline long hugepages_free(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long n = 0;

	while (f && fgets(line, sizeof(line), f))
		(void)sscanf(line, "HugePages_Free: %ld", &n);
	if (f)
		fclose(f);
	return n;
}

/* Tests run side by side: who uses the pool has it locked until he ends. */
static inline bool hugepages_want(long n)
{
	int lock = open("/proc/sys/vm/nr_hugepages", O_RDONLY | O_CLOEXEC);
	long there;

	if (lock >= 0)
		(void)flock(lock, LOCK_EX);
	there = hugepages_set(-1);
	hugepages_before = there;
	if (hugepages_free() < n)
		(void)hugepages_set(there + n);
	return hugepages_free() >= n;
}

static inline long hugepages_reserved(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long n = 0;

	while (f && fgets(line, sizeof(line), f))
		(void)sscanf(line, "HugePages_Rsvd: %ld", &n);
	if (f)
		fclose(f);
	return n;
}

/* Runs it in a child with so many pages, or skips; the pool is put back whatever comes of it. */
static inline int hugepages_run(int (*run)(int, char **), long pages, int argc, char **argv)
{
	int status = 1;
	pid_t pid;

	if (!hugepages_want(pages)) {
		hugepages_end();
		vmtest_skip("too few huge pages, and no privilege to have more: write 16 to /proc/sys/vm/nr_hugepages");
	}
	fflush(NULL);
	pid = fork();
	if (!pid)
		vmtest_end(run(argc, argv));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	hugepages_end();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

#define HUGEPAGES_MAIN(tests, pages) \
	static int hugepages_cases(int argc, char **argv) \
	{ \
		return vmtest_main(tests, sizeof(tests) / sizeof((tests)[0]), 20, argc, argv); \
	} \
	int main(int argc, char **argv) { return hugepages_run(hugepages_cases, pages, argc, argv); }
#endif
