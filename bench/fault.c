/* SPDX-License-Identifier: MIT
 *
 * bench-fault: what the fault path costs, each path beside a handler that was written by hand for it (floor.c), in the
 * same run; and what could grow with how much there is: state, opening, looking areas up.
 *
 * The two sides take turns, round after round, so that what else the machine does falls on both.
 */
#include "figure.h"
#include "floor.h"
#include "ours.h"
#include "state.h"
#include "touch.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DENSE_PAGES 16384u             /* what is touched, page for page */
#define SPARSE_PAGES (UINT64_C(16) << 18) /* 16 GiB, of which one page in 2 MiB is */
#define GIB (UINT64_C(1) << 18)
#define TIB (UINT64_C(1) << 28)

struct bench {
	const char *dir, *only, *svg, *vmfault;
	unsigned rounds;
	bool json;
	char home[64], image[80], sparse[80], gib[80], tib[80];
	int fd; /* of the image */
	struct figure *figures;
	unsigned n;
};

/* ------------------------------------------------------------------------------------------ fault paths */

struct path {
	const char *group, *name;
	enum ours_way ours;
	unsigned run, threads; /* threads 2: scaling is measured */
	bool handler_thread;
	double limit;
};
#define CONTEXT "in the faulting thread, a page a fault"
#define RUNS "in the faulting thread, runs of pages"
#define THREADED "a handler thread on the same CPU"
#define SCALING "two threads: times as many faults"
static const struct path paths[] = {
	{ CONTEXT, "private file", OURS_COPY, 1, 1, false, 1.15 },
	{ CONTEXT, "shared file", OURS_FILL, 1, 1, false, 1.15 },
	{ CONTEXT, "shared, resident", OURS_RESIDENT, 1, 1, false, 1.15 },
	{ CONTEXT, "zero fill", OURS_ZERO, 1, 1, false, 1.2 },
	{ RUNS, "private file, 16", OURS_COPY, 16, 1, false, 1.15 },
	{ RUNS, "shared file, 16", OURS_FILL, 16, 1, false, 1.15 },
	{ RUNS, "shared, resident, 16", OURS_RESIDENT, 16, 1, false, 1.15 },
	{ RUNS, "private file, 512", OURS_COPY, 512, 1, false, 1.15 },
	{ RUNS, "shared file, 512", OURS_FILL, 512, 1, false, 1.15 },
	{ RUNS, "shared, resident, 512", OURS_RESIDENT, 512, 1, false, 1.15 },
	{ THREADED, "private file", OURS_COPY, 1, 1, true, 1.2 },
	{ THREADED, "shared file", OURS_FILL, 1, 1, true, 1.2 },
	{ THREADED, "shared, resident", OURS_RESIDENT, 1, 1, true, 1.2 },
	{ SCALING, "private file", OURS_COPY, 1, 2, false, 0.9 },
	{ SCALING, "shared file", OURS_FILL, 1, 2, false, 0.9 },
	{ SCALING, "shared, resident", OURS_RESIDENT, 1, 2, false, 0.9 },
	{ SCALING, "zero fill", OURS_ZERO, 1, 2, false, 0.9 },
};
#define PATHS (sizeof(paths) / sizeof(*paths))

static double floor_ns(const struct bench *b, const struct path *p, const uint32_t *order, unsigned threads)
{
	static const enum floor_way ways[] = { FLOOR_COPY, FLOOR_ZERO, FLOOR_RESIDENT, FLOOR_FILL };
	struct floor f = { .way = ways[p->ours], .file = b->fd, .pages = DENSE_PAGES, .run = p->run, .order = order,
			   .threads = threads, .handler_thread = p->handler_thread, .elapsed = p->threads > 1 };
	double ns = floor_run(&f), other;

	if (f.way != FLOOR_FILL || p->threads > 1) /* lseek() and sendfile() cannot be shared by two threads */
		return ns;
	f.way = FLOOR_SEND;
	other = floor_run(&f);
	return other < ns ? other : ns;
}

static double ours_ns(const struct bench *b, const struct path *p, const uint32_t *order, unsigned threads)
{
	const struct ours o = { .way = p->ours, .path = b->image, .pages = DENSE_PAGES, .run = p->run, .order = order,
				.threads = threads, .handler_thread = p->handler_thread, .elapsed = p->threads > 1 };

	return ours_run(&o);
}

static void path_round(const struct bench *b, const struct path *p, struct figure *f, unsigned round)
{
	uint32_t *order = walk_order(DENSE_PAGES / p->run, round + 1);
	double floor = floor_ns(b, p, order, 1), ours = ours_ns(b, p, order, 1);

	if (p->threads > 1) { /* ns a fault and thread */
		floor = 2 * floor / floor_ns(b, p, order, 2);
		ours = 2 * ours / ours_ns(b, p, order, 2);
	}
	figure_add(f, floor, ours);
	free(order);
}

/* ------------------------------------------------------------------------------- state, opening, areas */

#define STATE "bytes of state, beside what is allowed"
#define OPENING "an image of 1 TiB, beside one of 1 GiB"
#define AREAS "many areas, beside ten"

enum other { DENSE, SPARSE, UNTOUCHED, OPEN, ATTACH, LINUX_AREAS, SIM_AREAS };
static const struct { enum other what; struct figure figure; } others[] = {
	{ DENSE, { STATE, "each page touched", FIGURE_BYTES, 1, false, 0, { 0 }, { 0 } } },
	{ SPARSE, { STATE, "one page touched in 2 MiB", FIGURE_BYTES, 1, false, 0, { 0 }, { 0 } } },
	{ UNTOUCHED, { STATE, "a TiB mapped, nothing touched", FIGURE_BYTES, 1, false, 0, { 0 }, { 0 } } },
	{ OPEN, { OPENING, "open and map", FIGURE_NS, 1.3, false, 0, { 0 }, { 0 } } },
	{ ATTACH, { OPENING, "vmfault serve, attach, a byte", FIGURE_NS, 1.3, false, 0, { 0 }, { 0 } } },
	{ LINUX_AREAS, { AREAS, "60,000 on Linux", FIGURE_NS, 1.3, false, 0, { 0 }, { 0 } } },
	{ SIM_AREAS, { AREAS, "1,000,000 simulated", FIGURE_INSN, 1.3, false, 0, { 0 }, { 0 } } },
};
#define OTHERS (sizeof(others) / sizeof(*others))

/* What goes round by round. */
static void other_round(const struct bench *b, enum other what, struct figure *f)
{
	switch (what) {
	case DENSE:
		figure_add(f, 40, state_bytes(b->image, DENSE_PAGES, 1));
		break;
	case SPARSE:
		figure_add(f, 640, state_bytes(b->sparse, SPARSE_PAGES, 512));
		break;
	case UNTOUCHED: /* some KiB that do not depend on the length */
		figure_add(f, 65536, state_bytes(b->tib, TIB, 0));
		break;
	case OPEN:
		figure_add(f, state_open(b->gib, GIB), state_open(b->tib, TIB));
		break;
	case ATTACH:
		if (b->vmfault)
			figure_add(f, state_attach(b->vmfault, b->home, b->gib, GIB),
				   state_attach(b->vmfault, b->home, b->tib, TIB));
		break;
	default:
		break;
	}
}

/* What is set up once. */
static void other_rounds(const struct bench *b, enum other what, struct figure *f)
{
	double few[FIGURE_ROUNDS], many[FIGURE_ROUNDS];

	if (what == LINUX_AREAS)
		areas_linux(60000, b->rounds, few, many);
	else if (what == SIM_AREAS)
		areas_simulated(1000000, b->rounds, few, many);
	else
		return;
	for (unsigned i = 0; i < b->rounds; i++)
		if (few[i] > 0 && many[i] > 0)
			figure_add(f, few[i], many[i]);
}

/* ------------------------------------------------------------------------------------------------- files */

static void make_dense(struct bench *b)
{
	size_t chunk = 1 << 20;
	uint64_t *words = malloc(chunk), state = 1;

	b->fd = open(b->image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (b->fd < 0 || !words)
		walk_die(b->image, errno);
	for (uint64_t at = 0; at < (uint64_t)DENSE_PAGES * PAGE; at += chunk) {
		for (size_t i = 0; i < chunk / sizeof(*words); i++)
			words[i] = state = state * 6364136223846793005u + 1442695040888963407u;
		if (write(b->fd, words, chunk) != (ssize_t)chunk)
			walk_die(b->image, errno ? errno : ENOSPC);
	}
	free(words);
}

static void make_hole(const char *path, uint64_t pages)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)(pages * PAGE)))
		walk_die(path, errno);
	close(fd);
}

static char *files_home; /* of whoever is interrupted */

static void files_remove(void)
{
	static const char *const names[] = { "image", "sparse", "gib", "tib", "socket", "log" };
	char path[128];

	for (size_t i = 0; files_home && i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", files_home, names[i]);
		unlink(path);
	}
	if (files_home)
		rmdir(files_home);
}

static void on_signal(int sig)
{
	files_remove();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void make_files(struct bench *b)
{
	if (snprintf(b->home, sizeof(b->home), "%s/vmfault-bench-XXXXXX", b->dir) >= (int)sizeof(b->home))
		walk_die(b->dir, ENAMETOOLONG);
	if (!mkdtemp(b->home))
		walk_die(b->home, errno);
	files_home = b->home;
	atexit(files_remove);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	snprintf(b->image, sizeof(b->image), "%s/image", b->home);
	snprintf(b->sparse, sizeof(b->sparse), "%s/sparse", b->home);
	snprintf(b->gib, sizeof(b->gib), "%s/gib", b->home);
	snprintf(b->tib, sizeof(b->tib), "%s/tib", b->home);
	make_dense(b);
	make_hole(b->sparse, SPARSE_PAGES);
	make_hole(b->gib, GIB);
	make_hole(b->tib, TIB);
}

/* -------------------------------------------------------------------------------------------------- main */

static bool wanted(const struct bench *b, const char *group, const char *name)
{
	return !b->only || strstr(name, b->only) || strstr(group, b->only);
}

static void measure(struct bench *b)
{
	struct figure *f = b->figures;

	for (unsigned round = 0; round < b->rounds; round++) {
		for (size_t i = 0; i < PATHS; i++)
			if (wanted(b, paths[i].group, paths[i].name))
				path_round(b, &paths[i], &f[i], round);
		for (size_t i = 0; i < OTHERS; i++)
			if (wanted(b, f[PATHS + i].group, f[PATHS + i].name))
				other_round(b, others[i].what, &f[PATHS + i]);
	}
	for (size_t i = 0; i < OTHERS; i++)
		if (wanted(b, f[PATHS + i].group, f[PATHS + i].name))
			other_rounds(b, others[i].what, &f[PATHS + i]);
}

static void prepare(struct bench *b)
{
	b->figures = calloc(PATHS + OTHERS, sizeof(*b->figures));
	if (!b->figures)
		walk_die("malloc", ENOMEM);
	for (size_t i = 0; i < PATHS; i++) {
		const struct path *p = &paths[i];

		b->figures[i].group = p->group;
		b->figures[i].name = p->name;
		b->figures[i].unit = p->threads > 1 ? FIGURE_TIMES : FIGURE_NS;
		b->figures[i].limit = p->limit;
		b->figures[i].at_least = p->threads > 1;
	}
	for (size_t i = 0; i < OTHERS; i++)
		b->figures[PATHS + i] = others[i].figure;
}

static void keep_measured(struct bench *b)
{
	for (size_t i = 0; i < PATHS + OTHERS; i++)
		if (b->figures[i].n)
			b->figures[b->n++] = b->figures[i];
}

static int write_svg(const struct bench *b)
{
	FILE *out = fopen(b->svg, "we");

	if (out)
		figures_svg(out, b->figures, b->n);
	if (out && fclose(out) == 0)
		return 0;
	fprintf(stderr, "bench-fault: %s: %s\n", b->svg, strerror(errno));
	return 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: bench-fault [--rounds N] [--only WORDS] [--dir DIR] [--vmfault COMMAND] [--json] "
		"[--svg FILE]\n");
	return 2;
}

static bool options(struct bench *b, int argc, char **argv)
{
	static const struct option known[] = {
		{ "rounds", required_argument, NULL, 'r' }, { "only", required_argument, NULL, 'o' },
		{ "dir", required_argument, NULL, 'd' }, { "vmfault", required_argument, NULL, 'v' },
		{ "json", no_argument, NULL, 'j' }, { "svg", required_argument, NULL, 's' }, { 0 },
	};
	char *end = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 'r')
			b->rounds = (unsigned)strtoul(optarg, &end, 10);
		else if (c == 'j')
			b->json = true;
		else if (c == 'o' || c == 'd' || c == 'v' || c == 's')
			*(c == 'o' ? &b->only : c == 'd' ? &b->dir : c == 'v' ? &b->vmfault : &b->svg) = optarg;
		else
			return false;
	}
	return optind == argc && (!end || !*end) && b->rounds && b->rounds <= FIGURE_ROUNDS;
}

int main(int argc, char **argv)
{
	struct bench b = { .dir = getenv("TMPDIR"), .rounds = 5 };

	if (!b.dir)
		b.dir = "/tmp";
	if (!options(&b, argc, argv))
		return usage();
	prepare(&b);
	make_files(&b);
	measure(&b);
	keep_measured(&b);
	if (!b.n) {
		fprintf(stderr, "bench-fault: nothing is called %s\n", b.only);
		return 2;
	}
	(b.json ? figures_json : figures_table)(stdout, b.figures, b.n);
	return b.svg ? write_svg(&b) : 0;
}
