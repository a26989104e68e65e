/* SPDX-License-Identifier: MIT
 *
 * A test program is a table of named cases.  The first check that fails ends the program with a line that says where; a
 * program that hangs is ended by an alarm, with the name of the case.  `PROGRAM NAME...` runs these cases only, `-l`
 * lists them.  Exit status: 0 passed, 77 skipped, else failed.
 */
#ifndef VMTEST_H
#define VMTEST_H
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vmtest { const char *name; void (*run)(void); };
#define VMTEST(f) { #f, f }

static const char *volatile vmtest_case = "start";
static const char *volatile vmtest_with = ""; /* what it runs with, if with several things */

static inline void vmtest_end(int status)
{
	fflush(NULL);
#ifdef VMF_LIBFUZZER
	abort(); /* it keeps the input */
#endif
	_exit(status);
}

#define vmtest_fail(...) \
	do { \
		fprintf(stderr, "%s:%d: case %s %s: ", __FILE__, __LINE__, vmtest_case, vmtest_with); \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr); \
		vmtest_end(1); \
	} while (0)
#define CHECK(c) \
	do { \
		if (!(c)) \
			vmtest_fail("%s", #c); \
	} while (0)
/* Two whole numbers. */
#define CHECK_EQ(a, b) \
	do { \
		long long a_ = (long long)(a), b_ = (long long)(b); \
		if (a_ != b_) \
			vmtest_fail("%s is %lld, not %s = %lld", #a, a_, #b, b_); \
	} while (0)
/* A set-up call's return value (needs vmfault.h). */
#define CHECK_ERR(call, want) \
	do { \
		int a_ = (call), b_ = (want); \
		if (a_ != b_) \
			vmtest_fail("%s is %d (%s), not %d (%s)", #call, a_, vmf_err_str(a_), b_, vmf_err_str(b_)); \
	} while (0)
/* A fault's result: its code and reason. */
#define CHECK_RESULT(call, want_code, want_why) \
	do { \
		struct vmf_result r_ = (call); \
		char is_[80]; \
		if (r_.code != (want_code) || r_.why != (want_why)) \
			vmtest_fail("%s is %s, not %s/%s", #call, vmf_result_str(r_, is_, sizeof(is_)), \
				vmf_code_str(want_code), vmf_why_str(want_why)); \
	} while (0)
#define CHECK_OK(call) CHECK_RESULT(call, VMF_OK, VMF_WHY_NONE)
/* Polls, at most for ten seconds. */
#define CHECK_SOON(c) \
	do { \
		for (int i_ = 0; !(c); i_++) { \
			if (i_ == 100000) \
				vmtest_fail("%s: did not come", #c); \
			usleep(100); \
		} \
	} while (0)

static inline void vmtest_skip(const char *why)
{
	printf("skipped: %s\n", why);
	vmtest_end(77);
}

/* One case of several that cannot be had here: it returns, and the others run. */
static inline bool vmtest_lacks(bool lacks, const char *why)
{
	if (lacks)
		printf("# case %s: not here: %s\n", vmtest_case, why);
	return lacks;
}

static inline void vmtest_alarm(int sig)
{
	static const char text[] = ": the time is over\n";
	const char *name = vmtest_case, *with = vmtest_with;

	(void)sig;
	(void)!write(2, name, strlen(name));
	(void)!write(2, " ", 1);
	(void)!write(2, with, strlen(with));
	(void)!write(2, text, sizeof(text) - 1);
	_exit(1);
}

/* On a machine that is n times as slow (an emulated one) VMTEST_SLOW=n gives every case n times as long. */
static inline unsigned vmtest_seconds(unsigned seconds)
{
	const char *slow = getenv("VMTEST_SLOW");

	return slow && atoi(slow) > 0 ? seconds * (unsigned)atoi(slow) : seconds;
}

static inline bool vmtest_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

static inline int vmtest_main(const struct vmtest *tests, size_t n, unsigned seconds, int argc, char **argv)
{
	unsigned ran = 0;

	signal(SIGALRM, vmtest_alarm);
	for (size_t i = 0; i < n; i++) {
		if (argc == 2 && !strcmp(argv[1], "-l"))
			puts(tests[i].name);
		if (!vmtest_wanted(tests[i].name, argc, argv))
			continue;
		vmtest_case = tests[i].name;
		vmtest_with = "";
		alarm(vmtest_seconds(seconds));
		tests[i].run();
		alarm(0);
		ran++;
	}
	printf("%u cases\n", ran);
	return 0;
}
/* seconds: for each case. */
#define VMTEST_MAIN(tests, seconds) \
	int main(int argc, char **argv) \
	{ \
		return vmtest_main(tests, sizeof(tests) / sizeof((tests)[0]), seconds, argc, argv); \
	}

/* A small generator, so that a failure comes again with the same seed. */
static inline uint32_t vmtest_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}
#endif
