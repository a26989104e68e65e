/* SPDX-License-Identifier: MIT
 *
 * confined HOW PROGRAM [ARG...]: runs a program as it would run in a container, or as somebody else.
 *
 *	enosys, eperm   a seccomp filter knows no userfaultfd (by /dev/userfaultfd neither) and no membarrier
 *	nobody          an ordinary user: of userfaultfd, what vm.unprivileged_userfaultfd leaves
 */
#include "vmtest.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { NOBODY = 65534 };

static void filter(unsigned e)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, USERFAULTFD_IOC_NEW, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | e),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		vmtest_skip("no seccomp filter can be had here");
	CHECK(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY) == -1 && errno == (int)e);
	CHECK(syscall(SYS_membarrier, 0, 0, 0) == -1 && errno == (int)e);
}

static void nobody(void)
{
	if (geteuid())
		vmtest_skip("only root can be somebody else");
	CHECK(!setgroups(0, NULL) && !setgid(NOBODY) && !setuid(NOBODY));
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[1] : "";
	int fd = argc > 2 ? open(argv[2], O_RDONLY | O_CLOEXEC) : -1; /* nobody may not reach its folder */

	vmtest_case = how;
	if (!strcmp(how, "enosys")) {
		filter(ENOSYS);
	} else if (!strcmp(how, "eperm")) {
		filter(EPERM);
	} else if (!strcmp(how, "nobody")) {
		nobody();
	} else {
		fprintf(stderr, "usage: confined enosys|eperm|nobody PROGRAM [ARG...]\n");
		return 2;
	}
	fexecve(fd, argv + 2, environ);
	vmtest_fail("%s: %s", argv[2], strerror(errno));
}
