/* SPDX-License-Identifier: MIT
 *
 * bench-serve: what a page server costs.  The same client reads all of an image that is warm in the page cache: mapped
 * MAP_PRIVATE, through a hand-written handler (one process for each client), and through vmfault serve.  Every client
 * compares every byte afterwards.
 *
 * The servers take turns, round after round, so that what else the machine does falls on all of them alike.
 */
#include "crew.h"
#include "peer.h"
#include "size.h"
#include "table.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS_MAX = 25, SERVERS = 6, ORDERS = 2, CROWDS = 3, CHUNK = 1 << 20, DIFFERS = 3 };

enum kind { MAPPED, NAIVE, VMFAULT };
static const struct server { enum kind kind; const char *name, *around; } servers[SERVERS] = {
	{ MAPPED, "MAP_PRIVATE", NULL },
	{ NAIVE, "hand-written", NULL },
	{ VMFAULT, "vmfault 4k", "4k" },
	{ VMFAULT, "vmfault 64k", "64k" },
	{ VMFAULT, "vmfault 256k", "256k" },
	{ VMFAULT, "vmfault 2M", "2M" },
};
static const char *const orders[ORDERS] = { "random", "seq" };
static const unsigned crowds[CROWDS] = { 1, 4, 8 };

struct sample { uint64_t first_ns, all_ns, faults, cpu_ns; };
struct bench {
	const char *vmfault, *naive, *dir;
	uint64_t size;
	unsigned rounds;
	bool json;
	char home[128], image[160], log[160];
	struct sample sample[ORDERS][CROWDS][SERVERS][ROUNDS_MAX];
};

static int fail(const char *what, int err)
{
	fprintf(stderr, "bench-serve: %s: %s\n", what, strerror(err));
	return 1;
}

/* No page like another, and none that is zero. */
static void fill(uint64_t *words, size_t n, uint64_t *state)
{
	for (size_t i = 0; i < n; i++) {
		*state += UINT64_C(0x9e3779b97f4a7c15);
		words[i] = (*state ^ (*state >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
	}
}

static int make_image(struct bench *b)
{
	int fd = open(b->image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint64_t *words = malloc(CHUNK), state = 1;
	int err = 0;

	if (fd < 0 || !words)
		err = fail(b->image, errno);
	for (uint64_t at = 0; at < b->size && !err; at += CHUNK) {
		fill(words, CHUNK / sizeof *words, &state);
		if (write(fd, words, CHUNK) != CHUNK)
			err = fail(b->image, errno ? errno : ENOSPC);
	}
	free(words);
	if (fd >= 0)
		close(fd);
	return err;
}

static int start(struct bench *b, const struct server *s, struct vmf_peer *peer, const char *socket)
{
	char *naive[] = { (char *)(uintptr_t)b->naive, (char *)(uintptr_t)socket, b->image, NULL };
	char *vmfault[] = { (char *)(uintptr_t)b->vmfault, "serve", "--socket", (char *)(uintptr_t)socket, "--image", b->image,
			    "--fault-around", (char *)(uintptr_t)s->around, NULL };
	int err = vmf__peer_start(peer, s->kind == NAIVE ? naive : vmfault, socket, b->log);

	return err ? fail(s->name, -err) : 0;
}

/* A handler serves one client, vmfault serve all of them. */
static int run(struct bench *b, const struct server *s, bool random, unsigned clients, struct sample *out)
{
	char socket[VMF_CREW_MAX][64];
	struct vmf_peer peer[VMF_CREW_MAX] = { 0 };
	struct vmf_crew crew = { b->image, b->size, clients, random, s->kind == MAPPED ? NULL : socket };
	struct vmf_crewed crewed;
	unsigned peers = s->kind == MAPPED ? 0 : s->kind == NAIVE ? clients : 1;
	int err = 0, ended;

	for (unsigned i = 0; i < clients; i++)
		snprintf(socket[i], sizeof socket[i], "%.48s/%u", b->home, s->kind == NAIVE ? i : 0);
	for (unsigned i = 0; i < peers && !err; i++)
		err = start(b, s, &peer[i], socket[i]);
	if (!err) {
		err = vmf__crew_run(&crew, &crewed);
		if (err)
			fail(s->name, -err);
		err = !err ? 0 : err == -EILSEQ ? DIFFERS : 1;
	}
	*out = (struct sample){ .first_ns = crewed.first_ns, .all_ns = crewed.all_ns, .faults = crewed.faults };
	for (unsigned i = 0; i < peers; i++) {
		ended = vmf__peer_stop(&peer[i]);
		if (ended && !err)
			err = fail(s->name, -ended);
		out->cpu_ns += peer[i].cpu_ns;
	}
	return err;
}

static bool interrupted(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM);
}

static int round_of(struct bench *b, unsigned n)
{
	int err = 0;

	for (unsigned o = 0; o < ORDERS; o++)
		for (unsigned c = 0; c < CROWDS; c++)
			for (unsigned s = 0; s < SERVERS && !err; s++) {
				if (isatty(STDERR_FILENO))
					fprintf(stderr, "\r\033[Kround %u of %u: %s, %u client%s, %s", n + 1, b->rounds, orders[o],
						crowds[c], crowds[c] == 1 ? "" : "s", servers[s].name);
				err = interrupted() ? 1 : run(b, &servers[s], !o, crowds[c], &b->sample[o][c][s][n]);
			}
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	return err;
}

/* ---------------------------------------------------------------------------------------------- report */

struct figure { uint64_t median, min, max; };

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static struct figure figure(const struct bench *b, const struct sample *s, size_t field)
{
	uint64_t v[ROUNDS_MAX];

	for (unsigned i = 0; i < b->rounds; i++)
		memcpy(&v[i], (const char *)&s[i] + field, sizeof v[i]);
	qsort(v, b->rounds, sizeof v[0], by_value);
	return (struct figure){ v[b->rounds / 2], v[0], v[b->rounds - 1] };
}
#define FIGURE(s, field) figure(b, s, offsetof(struct sample, field))

static double ratio(uint64_t a, uint64_t of)
{
	return of ? (double)a / (double)of : 0;
}

static void json_row(const struct bench *b, unsigned o, unsigned c, unsigned s)
{
	const struct sample (*group)[ROUNDS_MAX] = b->sample[o][c];
	struct figure all = FIGURE(group[s], all_ns);

	printf("{\"v\":1,\"bench\":\"serve\",\"order\":\"%s\",\"clients\":%u,\"server\":\"%s\",\"fault_around\":%s%s%s,"
	       "\"bytes\":%" PRIu64 ",\"rounds\":%u,", orders[o], crowds[c],
	       servers[s].kind == MAPPED ? "none" : servers[s].kind == NAIVE ? "naive" : "vmfault",
	       servers[s].around ? "\"" : "", servers[s].around ? servers[s].around : "null", servers[s].around ? "\"" : "",
	       b->size * crowds[c], b->rounds);
	printf("\"all_ns\":%" PRIu64 ",\"all_ns_min\":%" PRIu64 ",\"all_ns_max\":%" PRIu64 ",\"first_ns\":%" PRIu64
	       ",\"faults\":%" PRIu64 ",\"server_cpu_ns\":%" PRIu64 ",\"of_mapped\":%.3f,\"of_naive\":%.3f}\n",
	       all.median, all.min, all.max, FIGURE(group[s], first_ns).median, FIGURE(group[s], faults).median,
	       FIGURE(group[s], cpu_ns).median, ratio(all.median, FIGURE(group[MAPPED], all_ns).median),
	       ratio(all.median, FIGURE(group[NAIVE], all_ns).median));
}

static void table_row(const struct bench *b, const struct sample (*group)[ROUNDS_MAX], unsigned s, struct vmf_table *t)
{
	struct figure all = FIGURE(group[s], all_ns);
	char min[32], max[32];

	vmf__table_row(t, servers[s].name);
	vmf__table_time(t, all.median);
	vmf__table_cell(t, "%s - %s", vmf__time_str(all.min, min, sizeof min), vmf__time_str(all.max, max, sizeof max));
	vmf__table_time(t, FIGURE(group[s], first_ns).median);
	vmf__table_number(t, FIGURE(group[s], faults).median);
	vmf__table_time(t, FIGURE(group[s], cpu_ns).median);
	vmf__table_cell(t, "%.2f", ratio(all.median, FIGURE(group[MAPPED], all_ns).median));
	vmf__table_cell(t, "%.2f", ratio(all.median, FIGURE(group[NAIVE], all_ns).median));
}

static void print_group(const struct bench *b, unsigned o, unsigned c)
{
	static struct vmf_table t;
	static const char *const head[] = { "min - max", "first byte", "faults", "server CPU", "x mapped", "x written" };

	memset(&t, 0, sizeof t);
	printf("%s, %u client%s\n", orders[o], crowds[c], crowds[c] == 1 ? "" : "s");
	vmf__table_row(&t, "");
	vmf__table_cell(&t, "all bytes");
	for (unsigned i = 0; i < sizeof head / sizeof head[0]; i++)
		vmf__table_cell(&t, "%s", head[i]);
	for (unsigned s = 0; s < SERVERS; s++)
		table_row(b, b->sample[o][c], s, &t);
	vmf__table_print(&t, stdout, 2);
}

static void report(const struct bench *b)
{
	char size[32];

	if (!b->json)
		printf("%s a client, 4 KiB pages, the image warm in the page cache; medians of %u rounds; x: times as long as\n\n",
		       vmf__size_str(b->size, size, sizeof size), b->rounds);
	for (unsigned o = 0; o < ORDERS; o++)
		for (unsigned c = 0; c < CROWDS; c++) {
			for (unsigned s = 0; s < SERVERS && b->json; s++)
				json_row(b, o, c, s);
			if (!b->json)
				print_group(b, o, c);
		}
}

/* ------------------------------------------------------------------------------------------------ main */

static int usage(void)
{
	fprintf(stderr, "usage: bench-serve --vmfault COMMAND --naive COMMAND [--size SIZE] [--rounds N] [--dir DIR] [--json]\n");
	return 2;
}

static int parse(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {
		{ "vmfault", required_argument, NULL, 'v' }, { "naive", required_argument, NULL, 'n' },
		{ "size", required_argument, NULL, 's' }, { "rounds", required_argument, NULL, 'r' },
		{ "dir", required_argument, NULL, 'd' }, { "json", no_argument, NULL, 'j' }, { 0 }
	};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (o) {
		case 'v': b->vmfault = optarg; break;
		case 'n': b->naive = optarg; break;
		case 's':
			if (vmf__size_parse(optarg, &b->size))
				return usage();
			break;
		case 'r': b->rounds = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'd': b->dir = optarg; break;
		case 'j': b->json = true; break;
		default: return usage();
		}
	if (!b->vmfault || !b->naive || optind != argc || !b->size || b->size % CHUNK || !b->rounds || b->rounds > ROUNDS_MAX)
		return usage();
	return 0;
}

static int measure(struct bench *b)
{
	int err = make_image(b);

	for (unsigned n = 0; n < b->rounds && !err; n++)
		err = round_of(b, n);
	if (!err)
		report(b);
	return err;
}

int main(int argc, char **argv)
{
	static struct bench b = { .size = 128 << 20, .rounds = 5, .dir = "/tmp" };
	sigset_t quit;
	int err = parse(&b, argc, argv);

	if (err)
		return err;
	sigemptyset(&quit);
	sigaddset(&quit, SIGINT);
	sigaddset(&quit, SIGTERM);
	sigprocmask(SIG_BLOCK, &quit, NULL); /* looked at between runs, so that nothing is left behind */
	snprintf(b.home, sizeof b.home, "%.30s/bench-serve.XXXXXX", b.dir);
	if (!mkdtemp(b.home))
		return fail(b.home, errno);
	snprintf(b.image, sizeof b.image, "%s/image", b.home);
	snprintf(b.log, sizeof b.log, "%s/log", b.home);
	err = measure(&b);
	unlink(b.image);
	if (err)
		fprintf(stderr, "bench-serve: what the servers said is in %s\n", b.log);
	else
		unlink(b.log);
	for (unsigned i = 0; i < VMF_CREW_MAX; i++) {
		char path[160];

		snprintf(path, sizeof path, "%s/%u", b.home, i);
		unlink(path);
	}
	rmdir(b.home);
	return err;
}
