/* SPDX-License-Identifier: MIT
 *
 * What fuzz targets share.  A target is a function of some bytes that aborts if they bring about what must not be.
 * libFuzzer calls it (tests/fuzz.sh, with VMF_LIBFUZZER); without libFuzzer FUZZ_MAIN is a program that runs the
  * files of
 * its corpus, tests/fuzz/NAME, and changed copies of each, always the same ones.
 */
#ifndef FUZZING_H
#define FUZZING_H
#include "vmtest.h"
#include <dirent.h>
#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static inline void must(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

#ifdef VMF_LIBFUZZER
#define FUZZ_MAIN(name, marks, copies)
#else
enum { FUZZING_LONGEST = 4096 };

/* marks: bytes that mean something to the target. */
static inline size_t fuzzing_change(uint8_t *to, size_t n, const char *marks, size_t n_marks, uint64_t *seed)
{
	for (unsigned times = vmtest_random(seed) % 6; times; times--) {
		size_t at = vmtest_random(seed) % n;

		switch (vmtest_random(seed) % 4) {
		case 0:
			to[at] = (uint8_t)vmtest_random(seed);
			break;
		case 1:
			to[at] = (uint8_t)marks[vmtest_random(seed) % n_marks];
			break;
		case 2:
			n = n > 4 ? at > 3 ? at : 4 : n;
			break;
		default:
			memmove(to + at, to + vmtest_random(seed) % (at + 1), n - at);
		}
	}
	return n;
}

static inline void fuzzing_file(const char *path, const char *marks, size_t n_marks, int copies)
{
	uint8_t from[FUZZING_LONGEST], to[FUZZING_LONGEST];
	uint64_t seed = 1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, from, sizeof from);

	if (n < 4)
		vmtest_fail("%s cannot be read", path);
	close(fd);
	LLVMFuzzerTestOneInput(from, (size_t)n);
	for (int i = 0; i < copies; i++) {
		memcpy(to, from, (size_t)n);
		LLVMFuzzerTestOneInput(to, fuzzing_change(to, (size_t)n, marks, n_marks, &seed));
	}
}

static inline int fuzzing_main(const char *name, const char *marks, size_t n_marks, int copies)
{
	const char *source = getenv("VMF_SOURCE");
	char path[4096];
	struct dirent *e;
	unsigned files = 0;
	DIR *d;

	signal(SIGALRM, vmtest_alarm);
	alarm(vmtest_seconds(60));
	snprintf(path, sizeof path, "%s/tests/fuzz/%s", source ? source : ".", name);
	d = opendir(path);
	if (!d)
		vmtest_fail("%s cannot be read", path);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			snprintf(path, sizeof path, "%s/tests/fuzz/%s/%s", source ? source : ".", name, e->d_name);
			fuzzing_file(path, marks, n_marks, copies);
			files++;
		}
	closedir(d);
	printf("%u files, %d copies of each\n", files, copies);
	return !files;
}

#define FUZZ_MAIN(name, marks, copies) \
	int main(void) \
	{ \
		return fuzzing_main(name, marks, sizeof(marks) - 1, copies); \
	}
#endif
#endif
