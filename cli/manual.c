/* SPDX-License-Identifier: MIT
 *
 * What option tables are printed as: --help, a man page, the words of a completion.
 */
#include "opts.h"
#include <ctype.h>
#include <string.h>

enum { COLUMNS = 80, INDENT = 6 };

/* The text, broken at blanks, each line indented.  => the cursor is at `column`: 0 or indent; at 0 afterwards */
static void wrapped(FILE *f, const char *text, int indent, int column)
{
	bool fresh = true;

	while (*text) {
		int word = (int)strcspn(text, " ");

		if (!fresh && column + 1 + word > COLUMNS) {
			fputc('\n', f);
			column = 0;
		}
		column += fprintf(f, "%*s%.*s", !column ? indent : fresh ? 0 : 1, "", word, text);
		fresh = false;
		text += word;
		text += strspn(text, " ");
	}
	fputc('\n', f);
}

/* "PATH", or "auto|poison|kill" */
static const char *argument(const struct vmf_option *o, char *buf, size_t n)
{
	size_t at = 0;

	snprintf(buf, n, "%s", o->arg ? o->arg : "");
	if (o->kind == VMF_OPT_WORD && !o->arg)
		for (size_t i = 0; o->words[i] && at < n; i++)
			at += (size_t)snprintf(buf + at, n - at, "%s%s", i ? "|" : "", o->words[i]);
	return buf;
}

/* "usage: vmfault serve --socket PATH [--json]", continued under its first option. */
static void usage(const struct vmf_command *c, FILE *f)
{
	int margin = fprintf(f, "usage: vmfault %s", c->name), column = margin;
	char arg[128], piece[256];

	for (const struct vmf_option *o = c->options; o->name; o++) {
		int n = snprintf(piece, sizeof piece, "%s--%s%s%s%s", o->required ? "" : "[", o->name,
				 *argument(o, arg, sizeof arg) ? " " : "", arg, o->required ? "" : "]");

		if (column + 1 + n > COLUMNS)
			column = fprintf(f, "\n%*s", margin, "") - 1;
		column += fprintf(f, " %.*s", n, piece);
	}
	fputc('\n', f);
}

void vmf__opts_help(const struct vmf_command *c, FILE *f)
{
	char arg[128];

	usage(c, f);
	fputc('\n', f);
	wrapped(f, c->about[0], 0, 0);
	fputc('\n', f);
	for (const struct vmf_option *o = c->options; o->name; o++) {
		fprintf(f, "  --%s%s%s", o->name, *argument(o, arg, sizeof arg) ? " " : "", arg);
		if (o->fallback)
			fprintf(f, "  (default: %s)", o->fallback);
		fputc('\n', f);
		wrapped(f, o->help, INDENT, 0);
	}
	fprintf(f, "  --help, --version\n\nexit status:\n");
	for (const char *const *e = c->exits; *e; e += 2)
		wrapped(f, e[1], INDENT, fprintf(f, "  %-4s", e[0]));
}

/* Text as mdoc(7) wants it: no request at the start of a line, minus signs that can be copied, a line a sentence. */
static void roff(FILE *f, const char *text)
{
	for (bool start = true; *text; text++) {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", f);
		start = *text == '\n' || (*text == ' ' && text[-1] == '.');
		if (*text == '\\')
			fputs("\\e", f);
		else if (*text == '-')
			fputs("\\-", f);
		else
			fputc(start ? '\n' : *text, f);
	}
	fputc('\n', f);
}

static void roff_option(FILE *f, const char *macro, const struct vmf_option *o)
{
	char arg[128];

	fprintf(f, ".%sFl -%s%s%s\n", macro, o->name, *argument(o, arg, sizeof arg) ? " Ar " : "", arg);
}

static void roff_synopsis(FILE *f, const struct vmf_command *c)
{
	fprintf(f, ".Sh SYNOPSIS\n.Nm vmfault %s\n", c->name);
	for (const struct vmf_option *o = c->options; o->name; o++)
		roff_option(f, o->required ? "" : "Op ", o);
}

static void roff_options(FILE *f, const struct vmf_command *c)
{
	fprintf(f, ".Bl -tag -width Ds\n");
	for (const struct vmf_option *o = c->options; o->name; o++) {
		roff_option(f, "It ", o);
		roff(f, o->help);
		if (o->fallback)
			fprintf(f, "Default: %s.\n", o->fallback);
	}
	fprintf(f, ".It Fl -help , Fl -version\nPrint a summary, or the version, and exit.\n.El\n");
}

static void roff_end(FILE *f, const struct vmf_command *c)
{
	fprintf(f, ".Sh EXIT STATUS\n.Bl -tag -width Ds\n");
	for (const char *const *e = c->exits; *e; e += 2) {
		fprintf(f, ".It %s\n", e[0]);
		roff(f, e[1]);
	}
	fprintf(f, ".El\n");
	for (const char *const *e = c->examples; e && *e; e++) {
		fprintf(f, e == c->examples ? ".Sh EXAMPLES\n" : ".Pp\n");
		fprintf(f, ".Bd -literal -offset indent\n");
		roff(f, *e);
		fprintf(f, ".Ed\n");
	}
	fprintf(f, ".Sh SEE ALSO\n.Xr vmfault 1\n");
}

void vmf__opts_man(const struct vmf_command *c, FILE *f)
{
	fprintf(f, ".\\\" SPDX-License-Identifier: MIT\n.\\\" Made by: vmfault --man %s\n", c->name);
	fprintf(f, ".Dd November 22, 2026\n.Dt VMFAULT-");
	for (const char *p = c->name; *p; p++)
		fputc(toupper((unsigned char)*p), f);
	fprintf(f, " 1\n.Os vmfault\n.Sh NAME\n.Nm vmfault-%s\n.Nd ", c->name);
	roff(f, c->summary);
	roff_synopsis(f, c);
	fprintf(f, ".Sh DESCRIPTION\n");
	for (const char *const *p = c->about; *p; p++) {
		fputs(p == c->about ? "" : ".Pp\n", f);
		roff(f, *p);
	}
	fprintf(f, ".Pp\nIts options:\n");
	roff_options(f, c);
	roff_end(f, c);
}

/* Cases of: case "COMMAND PREVIOUS-WORD".  The last one is any other word: the options. */
void vmf__opts_bash(const struct vmf_command *c, FILE *f)
{
	char words[128];

	for (const struct vmf_option *o = c->options; o->name; o++) {
		if (o->kind == VMF_OPT_FLAG)
			continue;
		fprintf(f, "\t'%s --%s') ", c->name, o->name);
		if (o->kind == VMF_OPT_PATH)
			fprintf(f, "COMPREPLY=($(compgen -f -- \"$cur\"));;\n");
		else if (o->kind == VMF_OPT_WORD) {
			argument(o, words, sizeof words);
			for (char *p = words; (p = strchr(p, '|')); )
				*p = ' ';
			fprintf(f, "COMPREPLY=($(compgen -W '%s' -- \"$cur\"));;\n", words);
		} else
			fprintf(f, ";;\n");
	}
	fprintf(f, "\t'%s '*) COMPREPLY=($(compgen -W '", c->name);
	for (const struct vmf_option *o = c->options; o->name; o++)
		fprintf(f, "--%s ", o->name);
	fprintf(f, "--help --version' -- \"$cur\"));;\n");
}
