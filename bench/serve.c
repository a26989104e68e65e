/* SPDX-License-Identifier: MIT
 *
 * bench-serve: what a page server costs.  The same client reads all of an image that is warm in the page cache: mapped
 * MAP_PRIVATE, through a hand-written handler (one process for each client), and through vmfault serve.  Every client
 * compares every byte afterwards.
 *
 * The servers take turns, round after round, so that what else the machine does falls on all of them alike.
 */
#include "crew.h"
#include "matrix.h"
#include "peer.h"
#include "size.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, DIR_MAX = 60, DIFFERS = 3 };

struct bench {
	char *vmfault, *naive;
	const char *dir;
	bool json;
	char home[DIR_MAX + 24], image[DIR_MAX + 40], log[DIR_MAX + 40];
	struct vmf_matrix m;
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
	for (uint64_t at = 0; at < b->m.size && !err; at += CHUNK) {
		fill(words, CHUNK / sizeof *words, &state);
		errno = ENOSPC;
		if (write(fd, words, CHUNK) != CHUNK)
			err = fail(b->image, errno);
	}
	free(words);
	if (fd >= 0)
		close(fd);
	return err;
}

static int start(struct bench *b, const struct vmf_bench_server *s, struct vmf_peer *peer, char *socket)
{
	char around[16], *naive[] = { b->naive, socket, b->image, NULL };
	char *vmfault[] = { b->vmfault, "serve", "--socket", socket, "--image", b->image,
			    "--fault-around", around, NULL };
	int err;

	snprintf(around, sizeof around, "%s", s->around ? s->around : "");
	err = vmf__peer_start(peer, s->kind == VMF_NAIVE ? naive : vmfault, socket, b->log);
	return err ? fail(s->name, -err) : 0;
}

static int measure(const struct vmf_crew *crew, const struct vmf_bench_server *s, struct vmf_sample *out)
{
	struct vmf_crewed crewed;
	int err = vmf__crew_run(crew, &crewed);

	out->first_ns = crewed.first_ns;
	out->all_ns = crewed.all_ns;
	out->faults = crewed.faults;
	if (err)
		fail(s->name, -err);
	return !err ? 0 : err == -EILSEQ ? DIFFERS : 1;
}

/* A handler serves one client, vmfault serve all of them. */
static int run(struct bench *b, const struct vmf_bench_server *s, bool random, unsigned clients, struct vmf_sample *out)
{
	char socket[VMF_CREW_MAX][VMF_CREW_PATH];
	struct vmf_peer peer[VMF_CREW_MAX] = { 0 };
	struct vmf_crew crew = { b->image, b->m.size, clients, random, s->kind == VMF_MAPPED ? NULL : socket };
	unsigned peers = s->kind == VMF_MAPPED ? 0 : s->kind == VMF_NAIVE ? clients : 1;
	int err = 0, ended;

	out->cpu_ns = 0;
	for (unsigned i = 0; i < clients; i++)
		snprintf(socket[i], sizeof socket[i], "%s/%u", b->home, s->kind == VMF_NAIVE ? i : 0);
	for (unsigned i = 0; i < peers && !err; i++)
		err = start(b, s, &peer[i], socket[i]);
	if (!err)
		err = measure(&crew, s, out);
	for (unsigned i = 0; i < peers; i++) {
		ended = vmf__peer_stop(&peer[i]);
		if (ended && !err)
			err = fail(s->name, -ended);
		out->cpu_ns += peer[i].cpu_ns;
		unlink(socket[i]);
	}
	return err;
}

static bool interrupted(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGINT) || sigismember(&pending, SIGTERM);
}

static int crowd(struct bench *b, unsigned round, unsigned o, unsigned c)
{
	unsigned clients = vmf__bench_crowds[c];
	int err = 0;

	for (unsigned s = 0; s < VMF_SERVERS && !err; s++) {
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\r\033[Kround %u of %u: %s, %u client%s, %s", round + 1, b->m.rounds,
				vmf__bench_orders[o], clients, clients == 1 ? "" : "s", vmf__bench_servers[s].name);
		err = interrupted() ? 1 : run(b, &vmf__bench_servers[s], !o, clients, &b->m.sample[o][c][s][round]);
	}
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	return err;
}

static int all_rounds(struct bench *b)
{
	int err = make_image(b);

	for (unsigned round = 0; round < b->m.rounds; round++)
		for (unsigned o = 0; o < VMF_ORDERS; o++)
			for (unsigned c = 0; c < VMF_CROWDS && !err; c++)
				err = crowd(b, round, o, c);
	if (!err)
		vmf__matrix_print(&b->m, b->json);
	return err;
}

static int usage(void)
{
	fprintf(stderr, "usage: bench-serve --vmfault COMMAND --naive COMMAND [--size SIZE] [--rounds N] [--dir DIR] "
		"[--json]\n");
	return 2;
}

static int parse(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {
		{ "vmfault", required_argument, NULL, 'v' }, { "naive", required_argument, NULL, 'n' },
		{ "size", required_argument, NULL, 's' }, { "rounds", required_argument, NULL, 'r' },
		{ "dir", required_argument, NULL, 'd' }, { "json", no_argument, NULL, 'j' }, { 0 }
	};
	int o, err = 0;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (o) {
		case 'v': b->vmfault = optarg; break;
		case 'n': b->naive = optarg; break;
		case 's': err |= vmf__size_parse(optarg, &b->m.size); break;
		case 'r': b->m.rounds = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'd': b->dir = optarg; break;
		case 'j': b->json = true; break;
		default: return usage();
		}
	if (err || optind != argc || !b->vmfault || !b->naive || !b->m.size || b->m.size % CHUNK)
		return usage();
	return !b->m.rounds || b->m.rounds > VMF_ROUNDS_MAX ? usage() : 0;
}

/* The image, and what else is needed, in a directory of our own. */
static int in_home(struct bench *b)
{
	struct stat log;
	int err;

	if (strlen(b->dir) > DIR_MAX)
		return fail(b->dir, ENAMETOOLONG);
	snprintf(b->home, sizeof b->home, "%s/bench-serve.XXXXXX", b->dir);
	if (!mkdtemp(b->home))
		return fail(b->home, errno);
	snprintf(b->image, sizeof b->image, "%s/image", b->home);
	snprintf(b->log, sizeof b->log, "%s/log", b->home);
	err = all_rounds(b);
	unlink(b->image);
	if (err && !stat(b->log, &log) && log.st_size)
		fprintf(stderr, "bench-serve: what the servers said is in %s\n", b->log);
	else
		unlink(b->log);
	rmdir(b->home);
	return err;
}

int main(int argc, char **argv)
{
	static struct bench b = { .m = { .size = 64 << 20, .rounds = 5 }, .dir = "/tmp" };
	sigset_t quit;
	int err = parse(&b, argc, argv);

	if (err)
		return err;
	sigemptyset(&quit);
	sigaddset(&quit, SIGINT);
	sigaddset(&quit, SIGTERM);
	sigprocmask(SIG_BLOCK, &quit, NULL); /* looked at between runs, so that nothing is left behind */
	return in_home(&b);
}
