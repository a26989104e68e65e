/* SPDX-License-Identifier: MIT
 *
 * vmfault: the command.  It finds the sub-command; all the rest is in that one's file and its option table.
 */
#include "../ports/linux/mask.h"
#include "opts.h"
#include <string.h>

static const struct vmf_command *const commands[] = { &vmf__serve_command, &vmf__bench_command, &vmf__probe_command };
enum { COMMANDS = sizeof commands / sizeof *commands };

static const struct vmf_command *find(const char *name)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int help(void)
{
	printf("usage: vmfault COMMAND [OPTION]...\n\n"
	       "Page faults as a programmable interface: a page server for snapshots of\n"
	       "virtual machines, and what is needed to try it.\n\n");
	for (unsigned i = 0; i < COMMANDS; i++)
		printf("  vmfault %-8s %s\n", commands[i]->name, commands[i]->summary);
	printf("\n'vmfault COMMAND --help' says more, and so does 'man vmfault-COMMAND'.\n"
	       "'vmfault --completion' prints a completion for bash.\n");
	return VMF_EXIT_OK;
}

static int usage(const char *what, const char *name)
{
	fprintf(stderr, "vmfault: %s%s%s%s; try 'vmfault --help'\n", what, *name ? " '" : "", name, *name ? "'" : "");
	return VMF_EXIT_USAGE;
}

/* vmfault(1), the page that leads to the others. */
static int man(void)
{
	printf(".\\\" SPDX-License-Identifier: MIT\n.\\\" Made by: vmfault --man\n"
	       ".Dd November 22, 2026\n.Dt VMFAULT 1\n.Os vmfault\n"
	       ".Sh NAME\n.Nm vmfault\n.Nd page faults as a programmable interface\n"
	       ".Sh SYNOPSIS\n.Nm\n.Ar COMMAND\n.Op Ar OPTION ...\n.Sh DESCRIPTION\n"
	       "A page server for snapshots of virtual machines, built on\n.Xr vmfault 7 ,\n"
	       "and what is needed to try it.\nThe commands:\n.Bl -tag -width Ds\n");
	for (unsigned i = 0; i < COMMANDS; i++)
		printf(".It Xr vmfault-%s 1\n%s\n", commands[i]->name, commands[i]->summary);
	printf(".El\n.Pp\n"
	       "SIZE is a number of bytes, decimal or 0x hexadecimal, and k, M, G or T for powers of 1024.\n"
	       "Results go to standard output and nothing else does; with\n.Fl -json\n"
	       "they are one object a line, each with \"v\":1.\nErrors are one line on standard error.\n"
	       ".Sh EXIT STATUS\n.Bl -tag -width Ds\n"
	       ".It 0\ndone\n.It 1\nfailed\n.It 2\nwrong options or arguments\n"
	       ".It 3\ndata differ\n.It 4\na feature or privilege is missing\n.El\n.Sh SEE ALSO\n.Xr vmfault 7\n");
	return VMF_EXIT_OK;
}

static int completion(void)
{
	printf("# SPDX-License-Identifier: MIT\n# Made by: vmfault --completion\n_vmfault()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n\tCOMPREPLY=()\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W '");
	for (unsigned i = 0; i < COMMANDS; i++)
		printf("%s ", commands[i]->name);
	printf("--help --version' -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase \"${COMP_WORDS[1]} $prev\" in\n");
	for (unsigned i = 0; i < COMMANDS; i++)
		vmf__opts_bash(commands[i], stdout);
	printf("\tesac\n}\ncomplete -o filenames -F _vmfault vmfault\n");
	return VMF_EXIT_OK;
}

int main(int argc, char **argv)
{
	const struct vmf_command *c;
	const char *name = argc > 1 ? argv[1] : "", *unknown;
	int n;

	if (!vmf__mask_good(&unknown, &n)) {
		fprintf(stderr, "vmfault: VMF_WITHOUT: nobody knows '%.*s'\n", n, unknown);
		return VMF_EXIT_USAGE;
	}
	if (!*name)
		return usage("a command is missing", "");
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))
		return help();
	if (!strcmp(name, "--version")) {
		printf("vmfault %s\n", VMFAULT_VERSION);
		return VMF_EXIT_OK;
	}
	if (!strcmp(name, "--completion"))
		return completion();
	if (!strcmp(name, "--man")) {
		if (argc < 3)
			return man();
		if (!(c = find(argv[2])))
			return usage("no command", argv[2]);
		vmf__opts_man(c, stdout);
		return VMF_EXIT_OK;
	}
	if (name[0] == '-')
		return usage("unknown option", name);
	if (!(c = find(name)))
		return usage("no command", name);
	return c->run(argc - 1, argv + 1);
}
