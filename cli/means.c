/* SPDX-License-Identifier: MIT
 *
 * What a space of this process would be made of here: the library is asked, not the kernel.
 */
#include "machine.h"
#include <stdio.h>
#include <vmfault/linux.h>

#define SAY(field, ...) snprintf(field, sizeof(field), __VA_ARGS__)

struct means { unsigned lack; const char *name, *since, *has, *cost, *instead, *mend; };
static const struct means means[] = {
	{ VMF_LACKS_SHARED, "shared areas", "5.14", "userfaultfd: CONTINUE maps the object's pages",
	  "slower: a signal and an mprotect() for each fault; the program's own munmap(), mremap() and madvise() go unseen",
	  "SIGSEGV and mprotect(), in the thread that faults", "userfaultfd and MINOR_SHMEM, see above" },
	{ VMF_LACKS_PRIVATE, "private areas", "4.14", "userfaultfd: COPY gives bytes away",
	  "slower: a signal and an mprotect() for each fault; the program's own munmap(), mremap() and madvise() go unseen",
	  "SIGSEGV and mprotect(), in the thread that faults", "userfaultfd, see above" },
	{ VMF_LACKS_SYSCALLS, "absent in syscalls", "4.3", "a system call on an absent page waits for it",
	  "a system call on an absent page gets EFAULT", "vmf_touch() before it, or vmf_read() and its like",
	  "userfaultfd with faults of system calls, and MINOR_SHMEM, see above" },
	{ VMF_LACKS_WP, "dirty tracking", "6.4", "userfaultfd: clean pages are write-protected",
	  "every page that a writable shared area shows is written back", "pages are taken away when they are written back",
	  "PAGEFAULT_FLAG_WP, WP_HUGETLBFS_SHMEM and WP_UNPOPULATED, see above" },
	{ VMF_LACKS_POISON, "failed pages", "6.6", "userfaultfd: POISON, so that a touch is a SIGBUS",
	  "a handler of SIGSEGV is installed, too", "PROT_NONE and SIGSEGV, handed on as SIGBUS", "POISON, see above" },
	{ VMF_LACKS_BARRIER, "barriers", "4.14", "membarrier: a fault pays for no fence",
	  "a fence on each fault", "a fence in the fault path", "membarrier, see below" },
};

static void look(struct vmf_machine *m, const struct vmf_space *space)
{
	unsigned lacks = vmf_linux_lacks(space);

	for (unsigned i = 0; i < sizeof means / sizeof *means; i++) {
		const struct means *t = &means[i];
		bool moot = t->lack == VMF_LACKS_POISON && lacks & VMF_LACKS_PRIVATE;
		struct vmf_fact *f = vmf__fact(m, "a threaded space of this process", t->name, !(lacks & t->lack), t->since);

		if (moot || (t->lack == VMF_LACKS_WP && lacks & VMF_LACKS_SHARED)) {
			SAY(f->detail, "mprotect()");
		} else if (f->here) {
			SAY(f->detail, "%s", t->has);
		} else {
			SAY(f->cost, "%s", t->cost);
			SAY(f->instead, "%s", t->instead);
			SAY(f->mend, "%s", t->mend);
		}
	}
}

void vmf__machine_means(struct vmf_machine *m)
{
	struct vmf_port *port;
	struct vmf_space *space;
	int err = vmf_linux_open(&port, NULL);

	if (err) {
		struct vmf_fact *f = vmf__fact(m, "a threaded space of this process", "port", false, NULL);

		SAY(f->detail, "%s", vmf_err_str(err));
		SAY(f->cost, "no space of this process at all");
		SAY(f->mend, "a machine with pages of 4 KiB, memfd_create() and memory");
		return;
	}
	if (!vmf_linux_space(port, &space, NULL)) {
		look(m, space);
		vmf_linux_space_close(space);
	}
	vmf_linux_close(port);
}
