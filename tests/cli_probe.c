/* SPDX-License-Identifier: MIT
 *
 * vmfault probe, as this user, without privilege, and under a seccomp filter that forbids userfaultfd: it tells them
 * apart, names what mends each, and its status says whether `serve` can work.
 */
#include "../ports/linux/uffd.h"
#include "vmtest.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };
static char out[32768];

static void be_nobody(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		_exit(126);
}

/* userfaultfd and the ioctl of /dev/userfaultfd are EPERM. */
static void be_filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, USERFAULTFD_IOC_NEW, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(126);
}

/* The exit status; `out` is what it printed.  The program is opened first: nobody may not reach its directory. */
static int probe(void (*become)(void), const char *word)
{
	char *argv[] = { (char *)"vmfault", (char *)"probe", (char *)word, NULL };
	int fd = open(getenv("VMFAULT"), O_RDONLY | O_CLOEXEC), pipe_fd[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	CHECK(fd >= 0 && !pipe(pipe_fd));
	pid = fork();
	if (!pid) {
		dup2(pipe_fd[1], 1);
		dup2(pipe_fd[1], 2);
		close(pipe_fd[0]);
		if (become)
			become();
		fexecve(fd, argv, environ);
		_exit(127);
	}
	close(pipe_fd[1]);
	while ((got = read(pipe_fd[0], out + n, sizeof out - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(pipe_fd[0]);
	close(fd);
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	if (WEXITSTATUS(status) > 100)
		vmtest_skip("no other user, or no seccomp filter, can be had here");
	return WEXITSTATUS(status);
}

static void as_this_user(void)
{
	int status = probe(NULL, NULL);

	CHECK_EQ(status, vmf__uffd_features() & VMF__UF_EVENT_REMOVE ? 0 : 4);
	CHECK(strstr(out, "userfaultfd features\n") && strstr(out, "POISON") && strstr(out, "Linux 6.6"));
	CHECK(strstr(out, "PAGEMAP_SCAN") && strstr(out, "membarrier") && strstr(out, "max_map_count"));
	CHECK(strstr(out, "2 MiB") && strstr(out, "1 GiB") && strstr(out, "RLIMIT_MEMLOCK") && strstr(out, "seccomp"));
	CHECK(strstr(out, status ? "'vmfault serve' cannot work here" : "'vmfault serve' works here"));
}

/* Each line is an object with "v":1, and each that says false has what it costs and what mends it. */
static void as_json(void)
{
	char *line, *rest;
	unsigned n = 0;

	probe(NULL, "--json");
	for (line = strtok_r(out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++) {
		CHECK(!strncmp(line, "{\"v\":1,\"group\":\"", 16));
		CHECK(line[strlen(line) - 1] == '}');
		if (strstr(line, "\"here\":false") && !strstr(line, "verdict"))
			CHECK(!strstr(line, "\"cost\":null") && !strstr(line, "\"mend\":null"));
	}
	CHECK(n > 30);
}

static bool unprivileged_may(void)
{
	char c = '1';
	int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY);

	if (fd < 0 || read(fd, &c, 1) != 1)
		c = '1';
	close(fd);
	return c == '1';
}

/* The kernel's own no is mended by the kernel's own switch and by the device, not by seccomp. */
static void as_nobody(void)
{
	int status;

	if (geteuid() || unprivileged_may() || !vmf__uffd_features())
		return;
	status = probe(be_nobody, NULL);
	CHECK_EQ(status, 0);
	CHECK(strstr(out, "sudo sysctl -w vm.unprivileged_userfaultfd=1\n"));
	CHECK(access("/dev/userfaultfd", F_OK) || strstr(out, "sudo setfacl -m u:65534:rw /dev/userfaultfd\n"));
	CHECK(strstr(out, "yes  user mode only"));
	CHECK(strstr(out, "no   EVENT_FORK") && strstr(out, "needs CAP_SYS_PTRACE"));
	CHECK(strstr(out, "those of this user may not"));
	CHECK(!strstr(out, "SCMP_ACT_ALLOW"));
}

static void under_a_filter(void)
{
	CHECK_EQ(probe(be_filtered, NULL), 4);
	CHECK(strstr(out, "a filter is on"));
	CHECK(strstr(out, "{\"names\":[\"userfaultfd\"],\"action\":\"SCMP_ACT_ALLOW\"}"));
	CHECK(strstr(out, "no   EVENT_REMOVE") && strstr(out, "'vmfault serve' cannot work here"));
}

static const struct vmtest tests[] = {
	VMTEST(as_this_user), VMTEST(as_json), VMTEST(as_nobody), VMTEST(under_a_filter),
};

int main(int argc, char **argv)
{
	if (!getenv("VMFAULT"))
		vmtest_skip("the command is not built");
	return vmtest_main(tests, sizeof tests / sizeof *tests, 20, argc, argv);
}
