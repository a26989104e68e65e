/* SPDX-License-Identifier: MIT
 *
 * Failing on purpose.  A scenario is run once to count its points: each call of a kind that can fail is one.  Then it
 * is run again for every point and every error that the kind knows: the call fails once, or from then on always.  What
 * has to hold after each step and at the end is the scenario's to check; that it is the same run every time, here.
 *
 * `PROGRAM thin` takes some points of each kind and not all.  FAILING="KIND N ERROR once|always" in the environment
 * makes this run alone, as the lines of a failed test name it; FAILING_SHOW names each run.
 */
#ifndef FAILING_H
#define FAILING_H
/* clang: what a row of a table does not name is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stdatomic.h>
#include "vmtest.h"

#define FAILING_KINDS 96u
#ifndef FAILING_THIN
#define FAILING_THIN 6u /* points of a kind that `thin` takes in full; of the rest about as many */
#endif
#define FAILING_MAX 200u /* and no run takes more of a kind than about so many */

struct failing_kind {
	const char *name;
	const int *errors; /* ends with 0 */
	bool once;         /* never "from then on": who waits for it would wait for ever */
};
#define ERRORS(...) (const int[]){ __VA_ARGS__, 0 }
/* An error that comes once only, or that is over after so many calls: what it asks for is to be asked again. */
#define ONCE(error) ((error) | 1 << 16)
#define AWHILE(error) ((error) | 1 << 17)
#define FAILING_WHILE 20u
static inline int failing_plain(int error) { return error & 0xffff; }

static struct {
	const struct failing_kind *kinds;
	unsigned n;
	const char *(*error_name)(int);
	const unsigned *listed; /* kinds that this program has to reach (NULL: all), nlisted of them */
	unsigned nlisted;
	bool thin, counts; /* counts: the same number of points in every run can be relied on */
	unsigned seconds;  /* for one run */
	/* this run: */
	_Atomic uint32_t calls[FAILING_KINDS];
	_Atomic bool on, quiet; /* quiet: the test looks at what came of it */
	_Atomic uint32_t hits;
	unsigned kind;
	uint32_t at, last; /* last: how many calls after `at` fail, too */
	int error;
	bool always;
	/* sums */
	uint32_t reached[FAILING_KINDS];
	uint64_t points, runs;
	char with[96];
} failing;

/* At a point: 0, or the error that it has to fail with.  => async-signal-safe, any thread */
static inline int failing_due(unsigned kind)
{
	uint32_t n;

	if (atomic_load(&failing.quiet))
		return 0;
	n = atomic_fetch_add(&failing.calls[kind], 1) + 1;
	if (!atomic_load(&failing.on) || kind != failing.kind || (failing.always ? n < failing.at : n != failing.at))
		return 0;
	if (n - failing.at > failing.last)
		return 0;
	atomic_fetch_add(&failing.hits, 1);
	return failing.error;
}

static inline bool failing_quiet(bool quiet) { return atomic_exchange(&failing.quiet, quiet); }

/* Nothing fails any more in this run. */
static inline void failing_stop(void) { atomic_store(&failing.on, false); }

/* Has the injected failure been met? */
static inline bool failing_hit(void) { return atomic_load(&failing.hits) != 0; }

static inline bool failing_is(unsigned kind, int error)
{
	return failing_hit() && failing.kind == kind && failing.error == error;
}

static inline void failing_run(void (*scenario)(void), unsigned kind, uint32_t at, int error, bool always)
{
	for (unsigned k = 0; k < failing.n; k++)
		atomic_store(&failing.calls[k], 0);
	atomic_store(&failing.hits, 0);
	failing.kind = kind;
	failing.at = at;
	failing.error = failing_plain(error);
	failing.always = always;
	failing.last = error & AWHILE(0) ? FAILING_WHILE : UINT32_MAX;
	if (at)
		snprintf(failing.with, sizeof(failing.with), "%s %u %s %s", failing.kinds[kind].name, at,
			failing.error_name(failing.error), always ? "always" : "once");
	else
		snprintf(failing.with, sizeof(failing.with), "nothing fails");
	vmtest_with = failing.with;
	if (getenv("FAILING_SHOW"))
		fprintf(stderr, "%s\n", failing.with);
	alarm(failing.seconds);
	atomic_store(&failing.on, at != 0);
	scenario();
	failing_stop();
	failing.runs++;
}

/* Which points of a kind does a thinned run take? */
static inline bool failing_taken(uint32_t at, uint32_t n)
{
	uint32_t most = failing.thin ? FAILING_THIN : FAILING_MAX, step = n / most;

	return at <= most || step < 2 || at % step == 0;
}

/* Thinned: at its first point a kind fails in every way, but only with its first error from then on. */
static inline bool failing_wanted(uint32_t at, bool first_error, bool always)
{
	return !failing.thin || FAILING_THIN > 1 || (at == 1 ? first_error || !always : first_error && !always);
}

static inline void failing_kind(void (*scenario)(void), unsigned k, uint32_t n)
{
	const struct failing_kind *kind = &failing.kinds[k];

	for (uint32_t at = 1; at <= n; at++)
		for (const int *e = kind->errors; *e && failing_taken(at, n); e++)
			for (int always = 0; always <= !(kind->once || *e & ONCE(0)); always++) {
				if (!failing_wanted(at, e == kind->errors, always))
					continue;
				failing_run(scenario, k, at, *e, always);
				if (failing.counts && !failing_hit())
					vmtest_fail("the point was not reached again");
			}
}

/* "KIND N ERROR once|always" of the environment. */
static inline bool failing_replay(void (*scenario)(void))
{
	const char *wish = getenv("FAILING");
	char kind[48], error[48], how[8];
	unsigned at;

	if (!wish || sscanf(wish, "%47s %u %47s %7s", kind, &at, error, how) != 4)
		return false;
	for (unsigned k = 0; k < failing.n; k++)
		for (const int *e = failing.kinds[k].errors; *e; e++)
			if (!strcmp(failing.kinds[k].name, kind) && !strcmp(failing.error_name(failing_plain(*e)), error))
				failing_run(scenario, k, at, *e, *how == 'a');
	return true;
}

/* Which of the runs was the odd one? */
static inline void failing_differs(void (*scenario)(void), unsigned k, uint32_t first)
{
	uint32_t second = atomic_load(&failing.calls[k]);

	failing_run(scenario, 0, 0, 0, false);
	vmtest_fail("%s: %u points, then %u, then %u", failing.kinds[k].name, first, second,
		    atomic_load(&failing.calls[k]));
}

/* Every point of a scenario. */
static inline void failing_sweep(void (*scenario)(void))
{
	uint32_t n[FAILING_KINDS];

	failing_run(scenario, 0, 0, 0, false);
	for (unsigned k = 0; k < failing.n; k++)
		n[k] = atomic_load(&failing.calls[k]);
	failing_run(scenario, 0, 0, 0, false);
	for (unsigned k = 0; k < failing.n; k++) {
		if (failing.counts && n[k] != atomic_load(&failing.calls[k]))
			failing_differs(scenario, k, n[k]);
		failing.reached[k] += n[k];
		failing.points += n[k];
	}
	if (failing_replay(scenario))
		return;
	for (unsigned k = 0; k < failing.n; k++)
		failing_kind(scenario, k, n[k]);
	failing_run(scenario, 0, 0, 0, false);
}

static inline bool failing_listed(unsigned kind)
{
	for (unsigned i = 0; failing.listed && i < failing.nlisted; i++)
		if (failing.listed[i] == kind)
			return true;
	return !failing.listed;
}

/* How many points each kind had; those that are listed have to have had one. */
static inline void failing_report(void)
{
	for (unsigned k = 0; k < failing.n; k++) {
		unsigned errors = 0;

		while (failing.kinds[k].errors[errors])
			errors++;
		if (failing.reached[k])
			printf("%s: %u points, %u error%s\n", failing.kinds[k].name, failing.reached[k], errors,
				errors == 1 ? "" : "s");
		else if (failing_listed(k))
			vmtest_fail("no point of %s was reached any more", failing.kinds[k].name);
	}
	printf("%llu points, %llu runs\n", (unsigned long long)failing.points, (unsigned long long)failing.runs);
}

/* As VMTEST_MAIN: the cases that are named, or all of them, and then the report. */
static inline int failing_main(const struct vmtest *tests, size_t n, int argc, char **argv)
{
	int first = argc > 1 && !strcmp(argv[1], "thin") ? 2 : 1;
	int status;

	failing.thin = first == 2;
	argv[first - 1] = argv[0];
	status = vmtest_main(tests, n, failing.seconds, argc - first + 1, argv + first - 1);
	if (argc == first && !getenv("FAILING"))
		failing_report();
	return status;
}
#endif
