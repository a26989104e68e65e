/* SPDX-License-Identifier: MIT
 *
 * The model as a program: `STAGE [--seed N] [--ops N]`, or `STAGE --replay FILE`.  A failing sequence is made short and
 * printed, in the form that --replay reads.  Exit status: 0 passed, 1 failed, 2 usage, 77 skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "hosted.h"

#define OPS 200000u
#define SHRINK_SECONDS 120u

struct options {
	const char *stage, *replay, *save;
	uint32_t seed, ops, shrink;
};

/* -------------------------------------------------------------------------------------------------- a run */

static const struct model_op *listed(void *list, uint32_t i) { return &((struct model_list *)list)->op[i]; }

static void quiet(void)
{
	int fd = open("/dev/null", O_WRONLY);

	dup2(fd, 1);
	dup2(fd, 2);
}

static _Noreturn void child(const char *name, struct model_list *list, bool loud, struct model_outcome *out)
{
	struct model_stage *st;

	if (!loud)
		quiet();
	alarm((loud ? 20 : 4) + list->n / 2000);
	st = model_stage_open(name);
	model_run(st, listed, list, list->n, out);
	if (!out->failed)
		model_stage_close(st);
	fflush(NULL);
	_exit(out->failed);
}

/* A name for how it died, the same whenever it dies so. */
static const char *death(int status)
{
	static const char *const name[] = { [SIGABRT] = "aborted", [SIGSEGV] = "segmentation fault", [SIGBUS] = "bus error",
										[SIGALRM] = "hung", [SIGILL] = "illegal instruction" };
	unsigned sig = WIFSIGNALED(status) ? (unsigned)WTERMSIG(status) : 0;

	if (sig && sig < sizeof(name) / sizeof(name[0]) && name[sig])
		return name[sig];
	return sig ? "killed" : "ended with an error";
}

void model_try(const char *stage, struct model_list list, bool loud, struct model_verdict *v)
{
	struct model_outcome *out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (out == MAP_FAILED) {
		perror("model");
		exit(1);
	}
	fflush(NULL);
	pid = fork();
	if (!pid)
		child(stage, &list, loud, out);
	if (pid < 0 || waitpid(pid, &v->status, 0) != pid) {
		perror("model");
		exit(1);
	}
	v->outcome = *out;
	v->check = out->failed ? out->check : v->status && WEXITSTATUS(v->status) != 77 ? death(v->status) : NULL;
	munmap(out, sizeof(*out));
}

/* -------------------------------------------------------------------------------------------- sequences */

static struct model_list list_new(uint32_t n)
{
	struct model_list l = { malloc((n + !n) * sizeof(struct model_op)), n };

	if (!l.op) {
		fprintf(stderr, "model: no memory for %u operations\n", n);
		exit(1);
	}
	return l;
}

static struct model_list list_random(uint32_t seed, uint32_t n)
{
	struct model_list l = list_new(n);
	struct model_random r = { seed };

	for (uint32_t i = 0; i < n; i++)
		l.op[i] = model_op_random(&r);
	return l;
}

static void list_print(FILE *f, struct model_list l)
{
	for (uint32_t i = 0; i < l.n; i++) {
		char line[256];
		struct model_text t = { line, line + sizeof(line) };

		model_text_op(&t, &l.op[i]);
		fprintf(f, "%s\n", line);
	}
}

static bool op_read(const char *line, struct model_op *op)
{
	unsigned field[7], value;
	char name[16];

	if (sscanf(line, "%15s %u %u %u %u %u %u %u %x", name, &field[0], &field[1], &field[2], &field[3], &field[4],
			   &field[5], &field[6], &value) != 9)
		return false;
	*op = (struct model_op){ .kind = MODEL_KINDS, .space = (uint8_t)field[0], .page = (uint8_t)field[1],
							 .n = (uint8_t)field[2], .object = (uint8_t)field[3], .off = (uint8_t)field[4],
							 .prot = (uint8_t)field[5], .flags = (uint8_t)field[6], .value = value };
	for (unsigned i = 0; i < MODEL_KINDS; i++)
		if (!strcmp(name, model_kind_name[i]))
			op->kind = (uint8_t)i;
	return op->kind < MODEL_KINDS;
}

static struct model_list list_read(const char *name)
{
	struct model_list l = list_new(0);
	FILE *f = fopen(name, "r");
	char line[512];

	if (!f) {
		fprintf(stderr, "model: %s: %s\n", name, strerror(errno));
		exit(1);
	}
	for (unsigned n = 1; fgets(line, sizeof(line), f); n++) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		l.op = realloc(l.op, (l.n + 1) * sizeof(*l.op));
		if (!l.op || !op_read(line, &l.op[l.n++])) {
			fprintf(stderr, "model: %s:%u: not an operation\n", name, n);
			exit(1);
		}
	}
	fclose(f);
	return l;
}

/* ------------------------------------------------------------------------------------------------ reports */

static void report_counts(const struct model_outcome *o)
{
	printf("%u accesses compared, %u of them failed as they had to;", o->pages, o->failing);
	for (unsigned i = 0; i < MODEL_KINDS; i++)
		if (!(o->left_out >> i & 1))
			printf(o->refused[i] ? " %s %u (and %u refused)" : " %s %u", model_kind_name[i], o->done[i], o->refused[i]);
	for (unsigned i = 0; i < MODEL_KINDS; i++)
		if (o->left_out >> i & 1)
			printf("; left out here: %s", model_kind_name[i]);
	printf("\n");
}

static void report_failure(const struct options *o, struct model_list *l, struct model_verdict *v)
{
	FILE *f;

	printf("FAILED at operation %u: %s: %s\n", v->outcome.op, v->check, v->outcome.text);
	if (!o->shrink)
		return;
	model_shrink(o->stage, l, v, o->shrink);
	printf("# %u operations are enough; as a file, for %s --replay FILE:\n", l->n, o->stage);
	list_print(stdout, *l);
	model_try(o->stage, *l, true, v);
	printf("# %s: %s\n", v->check ? v->check : "which passed this time", v->outcome.text);
	f = o->save ? fopen(o->save, "w") : NULL;
	if (f) {
		list_print(f, *l);
		fclose(f);
	}
}

static void usage(void)
{
	fprintf(stderr, "usage: model %s [--seed N] [--ops N] [--replay FILE] [--save FILE] [--shrink SECONDS]\n",
			model_stage_names);
	exit(2);
}

static uint32_t number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || n > UINT32_MAX)
		usage();
	return (uint32_t)n;
}

static void options_read(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", 1, NULL, 's' }, { "ops", 1, NULL, 'o' }, { "replay", 1, NULL, 'r' }, { "save", 1, NULL, 'w' },
		{ "shrink", 1, NULL, 'k' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->seed = number(optarg);
			break;
		case 'o':
			o->ops = number(optarg);
			break;
		case 'r':
			o->replay = optarg;
			break;
		case 'w':
			o->save = optarg;
			break;
		case 'k':
			o->shrink = number(optarg);
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 1)
		usage();
	o->stage = argv[optind];
}

int main(int argc, char **argv)
{
	struct options o = { .seed = (uint32_t)time(NULL) * 2654435761u ^ (uint32_t)getpid(), .ops = OPS,
						 .shrink = SHRINK_SECONDS };
	struct model_verdict v;
	struct model_list l;

	options_read(&o, argc, argv);
	if (!model_stage_known(o.stage))
		usage();
	l = o.replay ? list_read(o.replay) : list_random(o.seed, o.ops);
	if (o.replay)
		printf("# %s, %u operations of %s\n", o.stage, l.n, o.replay);
	else
		printf("# %s --seed %u --ops %u\n", o.stage, o.seed, l.n);
	model_try(o.stage, l, true, &v);
	if (v.check)
		report_failure(&o, &l, &v);
	else if (!v.status)
		report_counts(&v.outcome);
	free(l.op);
	return v.check ? 1 : v.status ? 77 : 0;
}
