/* SPDX-License-Identifier: MIT
 *
 * What this machine can do for vmfault, and for this user: a list of facts.  Each is tried, not guessed from a version;
 * what is missing comes with what that costs and the line that mends it.
 */
#ifndef VMF_CLI_MACHINE_H
#define VMF_CLI_MACHINE_H
#include <stdbool.h>
#include <stdint.h>

struct vmf_fact {
	const char *group, *name;
	bool here;           /* it is, or it is as good as it should be */
	const char *since;   /* the Linux that brought it; NULL: always there, or no matter of versions */
	char detail[96];     /* a value, or why not */
	char cost[160];      /* if not here: what that costs */
	char instead[96];    /* if not here: what is used instead; empty: nothing */
	char mend[192];      /* if not here: the line that mends it */
};
enum { VMF_FACTS = 56 };
struct vmf_machine {
	unsigned n;
	struct vmf_fact fact[VMF_FACTS];
	bool uffd_full, uffd_user; /* userfaultfd with and without faults of system calls (and of KVM guests) */
	bool event_remove;
	bool filtered;             /* a seccomp filter is on */
	unsigned major, minor;     /* of the running Linux */
};
void vmf__machine_look(struct vmf_machine *);
/* means.c: adds what a space of this process would be made of. */
void vmf__machine_means(struct vmf_machine *);
/* A new fact; the strings are kept, not copied. */
struct vmf_fact *vmf__fact(struct vmf_machine *, const char *group, const char *name, bool here, const char *since);

#endif
