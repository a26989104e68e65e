/* SPDX-License-Identifier: MIT
 *
 * A command and its options: ONE table each, which is parsed (getopt_long), and printed as --help, as a man page and
 * as bash completion.  A command file holds its table and its entry:
 *
 *	struct serve_opts { const char *socket; uint64_t around; unsigned on_error; bool json; };
 *	static const char *const on_error_words[] = { "auto", "poison", "stall", "kill", NULL };
 *	static const struct vmf_option options[] = {
 *		{ .name = "socket", .kind = VMF_OPT_PATH, .arg = "PATH", .required = true,
 *		  .at = offsetof(struct serve_opts, socket), .help = "Listen on this UNIX socket." },
 *		{ .name = "fault-around", .kind = VMF_OPT_SIZE, .arg = "SIZE", .fallback = "4k", .min = 4096,
 *		  .max = 1 << 21, .at = offsetof(struct serve_opts, around), .help = "..." },
 *		{ .name = "on-error", .kind = VMF_OPT_WORD, .words = on_error_words, .fallback = "auto",
 *		  .at = offsetof(struct serve_opts, on_error), .help = "..." },
 *		{ 0 }
 *	};
 *	const struct vmf_command vmf__serve_command = {
 *		.name = "serve", .summary = "serve a memory image to VMMs", .options = options, ... };
 *	int vmf_cmd_serve(int argc, char **argv)
 *	{
 *		struct serve_opts o;
 *		int exit = vmf__opts_parse(&vmf__serve_command, argc, argv, &o);
 *
 *		if (exit >= 0)
 *			return exit;
 *		...
 *
 * main.c calls run() with argv[0] = the command's name.  --help and --version need no row: each command has them.
 * A repeated option: the last one counts.
 */
#ifndef VMF_CLI_OPTS_H
#define VMF_CLI_OPTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum vmf_exit {
	VMF_EXIT_OK,
	VMF_EXIT_FAILED,  /* it did not work */
	VMF_EXIT_USAGE,   /* wrong options or arguments */
	VMF_EXIT_DIFFERS, /* data differ */
	VMF_EXIT_LACKING  /* a feature or privilege is missing */
};

enum vmf_option_kind {      /* what `at` points to, and what is set there */
	VMF_OPT_FLAG,       /* bool: true */
	VMF_OPT_STRING,     /* const char *: as given; never empty */
	VMF_OPT_PATH,       /* the same; completed as a file name */
	VMF_OPT_SIZE,       /* uint64_t: bytes, min to max (max 0: any) */
	VMF_OPT_COUNT,      /* unsigned: a decimal number, min to max (max 0: any) */
	VMF_OPT_SECONDS,    /* uint64_t: nanoseconds; given in seconds, a fraction is fine */
	VMF_OPT_WORD        /* unsigned: which of `words` */
};
struct vmf_option {
	const char *name;         /* without the dashes; NULL ends the table */
	enum vmf_option_kind kind;
	bool required;
	size_t at;                /* offset in the command's own struct */
	const char *arg;          /* what --help calls the argument; NULL with FLAG, and with WORD (the words) */
	const char *fallback;     /* what counts if it is not given, in the same grammar; NULL: all bits zero */
	const char *const *words; /* WORD: ends with NULL */
	uint64_t min, max;
	const char *help;         /* sentences; is wrapped where it is printed */
};
struct vmf_command {
	const char *name;
	const char *summary;            /* "a client that measures a page server": no capital, no full stop */
	const char *const *about;       /* paragraphs, ends with NULL; the first is also in --help */
	const struct vmf_option *options;
	const char *const *exits;       /* "1", "the server has gone", "2", ...: pairs, ends with NULL */
	const char *const *examples;    /* command lines, ends with NULL; may be NULL */
	size_t bytes;                   /* of the struct that options are set in */
	int (*run)(int argc, char **argv);
};
extern const struct vmf_command vmf__serve_command, vmf__bench_command, vmf__probe_command;
int vmf_cmd_serve(int argc, char **argv);
int vmf_cmd_bench(int argc, char **argv);
int vmf_cmd_probe(int argc, char **argv);

/* Zeroes *into (command->bytes), sets fallbacks, then what argv says.  -1: go on; else the exit code: VMF_EXIT_OK
 * after --help or --version, VMF_EXIT_USAGE after a line on stderr. */
int vmf__opts_parse(const struct vmf_command *, int argc, char **argv, void *into);

/* "vmfault serve: MESSAGE" on stderr, one line.  Returns VMF_EXIT_FAILED. */
int vmf__fail(const struct vmf_command *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "vmfault serve: MESSAGE; try 'vmfault serve --help'" on stderr, one line.  Returns VMF_EXIT_USAGE.
 * For what the table cannot check: --size that is no multiple of the page. */
int vmf__usage(const struct vmf_command *, const char *format, ...) __attribute__((format(printf, 2, 3)));

void vmf__opts_help(const struct vmf_command *, FILE *);
void vmf__opts_man(const struct vmf_command *, FILE *);
void vmf__opts_bash(const struct vmf_command *, FILE *); /* the cases of its options in a completion function */

#endif
