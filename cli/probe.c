/* SPDX-License-Identifier: MIT
 *
 * vmfault probe: prints the facts about this machine, and what follows from them.
 */
#include "json.h"
#include "machine.h"
#include "opts.h"
#include <string.h>

struct probe { bool json; };
static const struct vmf_option options[] = {
	{ .name = "json", .kind = VMF_OPT_FLAG, .at = offsetof(struct probe, json),
	  .help = "Print one line of JSON for each fact; the last one is \"serve\"." },
	{ 0 }
};
static const char *const about[] = {
	"Says what this machine can do for vmfault and for this user, what is missing, what that costs, what is used "
	"instead, and the line that mends it. VMF_WITHOUT=NAME,... in the environment hides what it names (poison, "
	"minor_shmem, userfaultfd, since-5.15 and so on), here and in every program that uses the library, to see how "
	"it does without. Everything is tried, nothing is guessed from a version. Needs no privilege, changes nothing.",
	NULL
};
static const char *const exits[] = {
	"0", "'vmfault serve' can work here",
	"2", "wrong options or arguments",
	"4", "'vmfault serve' cannot work here",
	NULL
};
const struct vmf_command vmf__probe_command = {
	.name = "probe", .summary = "what this machine can do, and what mends the rest", .about = about,
	.options = options, .exits = exits, .bytes = sizeof(struct probe), .run = vmf_cmd_probe,
};

static void print_fact(const struct vmf_fact *f)
{
	printf("  %-4s %-19s", f->here ? "yes" : "no", f->name);
	if (f->since)
		printf(f->detail[0] ? " Linux %-5s" : " Linux %s", f->since);
	if (f->detail[0])
		printf(" %s", f->detail);
	printf("\n");
	if (f->cost[0])
		printf("         costs: %s\n", f->cost);
	if (f->instead[0])
		printf("         instead: %s\n", f->instead);
	if (f->mend[0])
		printf("         mend:  %s\n", f->mend);
}

static void print_json(const struct vmf_fact *f)
{
	printf("{\"v\":1,\"group\":");
	vmf__json_string(stdout, f->group);
	printf(",\"name\":");
	vmf__json_string(stdout, f->name);
	printf(",\"here\":%s,\"since\":", f->here ? "true" : "false");
	vmf__json_string(stdout, f->since);
	printf(",\"detail\":");
	vmf__json_string(stdout, f->detail);
	printf(",\"cost\":");
	vmf__json_string(stdout, f->cost);
	printf(",\"instead\":");
	vmf__json_string(stdout, f->instead);
	printf(",\"mend\":");
	vmf__json_string(stdout, f->mend);
	printf("}\n");
}

/* What the facts come to. */
static struct vmf_fact serve_fact(const struct vmf_machine *m)
{
	struct vmf_fact f = { .group = "verdict", .name = "serve",
			      .here = (m->uffd_full || m->uffd_user) && m->event_remove };

	if (!f.here)
		snprintf(f.cost, sizeof f.cost, "no client here can have a userfaultfd, or it cannot be served");
	else if (!m->uffd_full)
		snprintf(f.detail, sizeof f.detail, "for VMMs that may use userfaultfd; those of this user may not");
	else
		snprintf(f.detail, sizeof f.detail, "also for VMMs of this user");
	return f;
}

int vmf_cmd_probe(int argc, char **argv)
{
	struct probe p;
	static struct vmf_machine m;
	struct vmf_fact serve;
	int exit = vmf__opts_parse(&vmf__probe_command, argc, argv, &p);

	if (exit >= 0)
		return exit;
	vmf__machine_look(&m);
	serve = serve_fact(&m);
	for (unsigned i = 0; i < m.n; i++) {
		if (!p.json && (!i || strcmp(m.fact[i].group, m.fact[i - 1].group)))
			printf("%s%s\n", i ? "\n" : "", m.fact[i].group);
		(p.json ? print_json : print_fact)(&m.fact[i]);
	}
	if (p.json)
		print_json(&serve);
	else
		printf("\n'vmfault serve' %s %s\n", serve.here ? "works here," : "cannot work here:",
		       serve.here ? serve.detail : serve.cost);
	return serve.here ? VMF_EXIT_OK : VMF_EXIT_LACKING;
}
