/* SPDX-License-Identifier: MIT
 *
 * The parser of option tables.  => uses getopt's globals: one thread, at the start of a command.
 */
#include "opts.h"
#include "size.h"
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* getopt's val: above every letter, so that a row is never taken for one. */
enum { MAX_OPTIONS = 32, ROW = 256, HELP = ROW + MAX_OPTIONS, VERSION };

static void say(const struct vmf_command *c, const char *format, va_list ap, bool try_help)
{
	char line[1024];

	vsnprintf(line, sizeof line, format, ap);
	if (try_help)
		fprintf(stderr, "vmfault %s: %s; try 'vmfault %s --help'\n", c->name, line, c->name);
	else
		fprintf(stderr, "vmfault %s: %s\n", c->name, line);
}

int vmf__fail(const struct vmf_command *c, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(c, format, ap, false);
	va_end(ap);
	return VMF_EXIT_FAILED;
}

int vmf__usage(const struct vmf_command *c, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(c, format, ap, true);
	va_end(ap);
	return VMF_EXIT_USAGE;
}

static int bad(const struct vmf_command *c, const struct vmf_option *o, const char *text, const char *reason)
{
	return vmf__usage(c, "--%s '%s' %s", o->name, text, reason);
}

static int out_of_range(const struct vmf_command *c, const struct vmf_option *o, const char *text)
{
	char lo[32], hi[32];

	if (o->kind == VMF_OPT_SIZE) {
		vmf__size_str(o->min, lo, sizeof lo);
		vmf__size_str(o->max ? o->max : UINT64_MAX, hi, sizeof hi);
	} else {
		snprintf(lo, sizeof lo, "%" PRIu64, o->min);
		snprintf(hi, sizeof hi, "%" PRIu64, o->max ? o->max : UINT32_MAX);
	}
	return o->max ? vmf__usage(c, "--%s '%s' is not within %s and %s", o->name, text, lo, hi)
		      : vmf__usage(c, "--%s '%s' is not at least %s, or is too large", o->name, text, lo);
}

static bool within(const struct vmf_option *o, uint64_t v)
{
	return v >= o->min && (!o->max || v <= o->max);
}

static int set_size(const struct vmf_command *c, const struct vmf_option *o, const char *text, void *at)
{
	uint64_t v;

	switch (vmf__size_parse(text, &v)) {
	case 0:
		break;
	case -ERANGE:
		return out_of_range(c, o, text);
	default:
		return bad(c, o, text, "is not a size: a number of bytes, with k, M, G or T");
	}
	if (!within(o, v))
		return out_of_range(c, o, text);
	*(uint64_t *)at = v;
	return 0;
}

static int set_count(const struct vmf_command *c, const struct vmf_option *o, const char *text, void *at)
{
	unsigned long long v;

	if (!*text || text[strspn(text, "0123456789")])
		return bad(c, o, text, "is not a number");
	errno = 0;
	v = strtoull(text, NULL, 10);
	if (errno || v > UINT32_MAX || !within(o, v))
		return out_of_range(c, o, text);
	*(unsigned *)at = (unsigned)v;
	return 0;
}

static int set_seconds(const struct vmf_command *c, const struct vmf_option *o, const char *text, void *at)
{
	char *end = NULL;
	double v = *text && !text[strspn(text, "0123456789.")] ? strtod(text, &end) : -1;

	if (!end || *end || v < 0)
		return bad(c, o, text, "is not a number of seconds");
	if (v > 1e9)
		return bad(c, o, text, "is too long");
	*(uint64_t *)at = (uint64_t)(v * 1e9);
	return 0;
}

/* "auto, poison or kill" */
static void join(const char *const *words, char *buf, size_t n)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; words[i] && at < n; i++)
		at += (size_t)snprintf(buf + at, n - at, "%s%s", !i ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

static int set_word(const struct vmf_command *c, const struct vmf_option *o, const char *text, void *at)
{
	char all[256];

	for (unsigned i = 0; o->words[i]; i++)
		if (!strcmp(o->words[i], text)) {
			*(unsigned *)at = i;
			return 0;
		}
	join(o->words, all, sizeof all);
	return vmf__usage(c, "--%s '%s' is none of %s", o->name, text, all);
}

static int set(const struct vmf_command *c, const struct vmf_option *o, const char *text, void *into)
{
	void *at = (char *)into + o->at;

	switch (o->kind) {
	case VMF_OPT_FLAG:
		*(bool *)at = true;
		return 0;
	case VMF_OPT_STRING:
	case VMF_OPT_PATH:
		if (!*text)
			return vmf__usage(c, "--%s needs %s, not an empty one", o->name, o->arg);
		*(const char **)at = text;
		return 0;
	case VMF_OPT_SIZE:
		return set_size(c, o, text, at);
	case VMF_OPT_COUNT:
		return set_count(c, o, text, at);
	case VMF_OPT_SECONDS:
		return set_seconds(c, o, text, at);
	case VMF_OPT_WORD:
		return set_word(c, o, text, at);
	}
	return VMF_EXIT_USAGE;
}

/* The table as getopt_long wants it. */
static unsigned getopt_table(const struct vmf_command *c, struct option *t)
{
	unsigned n = 0;

	for (; c->options[n].name && n < MAX_OPTIONS; n++)
		t[n] = (struct option){ c->options[n].name,
			c->options[n].kind == VMF_OPT_FLAG ? no_argument : required_argument, NULL, ROW + (int)n };
	t[n] = (struct option){ "help", no_argument, NULL, HELP };
	t[n + 1] = (struct option){ "version", no_argument, NULL, VERSION };
	t[n + 2] = (struct option){ 0 };
	return n;
}

static int fallbacks(const struct vmf_command *c, void *into)
{
	int exit = 0;

	memset(into, 0, c->bytes);
	for (const struct vmf_option *o = c->options; o->name && !exit; o++)
		if (o->fallback)
			exit = set(c, o, o->fallback, into);
	return exit;
}

static const char *row_argument(const struct vmf_option *o)
{
	return o->arg ? o->arg : "one of its words";
}

static int refuse(const struct vmf_command *c, int why, char **argv)
{
	const char *text = argv[optind - 1];

	if (why == ':')
		return vmf__usage(c, "%s needs %s", text, row_argument(&c->options[optopt - ROW]));
	if (optopt >= ROW)
		return vmf__usage(c, "%.*s takes no argument", (int)strcspn(text, "="), text);
	if (optopt)
		return vmf__usage(c, "unknown option '-%c'", optopt);
	return vmf__usage(c, "unknown option '%s'", text);
}

int vmf__opts_parse(const struct vmf_command *c, int argc, char **argv, void *into)
{
	struct option table[MAX_OPTIONS + 3];
	bool seen[MAX_OPTIONS] = { false };
	unsigned n = getopt_table(c, table);
	int exit = fallbacks(c, into), row;

	opterr = 0;
	optind = 0;
	while (!exit && (row = getopt_long(argc, argv, "+:h", table, NULL)) != -1) {
		if (row == HELP || row == 'h') {
			vmf__opts_help(c, stdout);
			return VMF_EXIT_OK;
		}
		if (row == VERSION) {
			printf("vmfault %s\n", VMFAULT_VERSION);
			return VMF_EXIT_OK;
		}
		if (row == '?' || row == ':')
			return refuse(c, row, argv);
		seen[row - ROW] = true;
		exit = set(c, &c->options[row - ROW], optarg, into);
	}
	if (exit)
		return exit;
	if (optind < argc)
		return vmf__usage(c, "unexpected argument '%s'", argv[optind]);
	for (unsigned i = 0; i < n; i++)
		if (c->options[i].required && !seen[i])
			return vmf__usage(c, "--%s %s is missing", c->options[i].name, row_argument(&c->options[i]));
	return -1;
}
