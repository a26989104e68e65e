/* SPDX-License-Identifier: MIT
 *
 * Children that are made while a space is being closed, and a child's children where memory runs out.
 */
#include "failcalls.h"
#include "linuxrig.h"
#include "ports/linux/fork.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>

#define PAGES 16u

static const struct failing_kind kinds[] = { CALL_KINDS };

static int absent_byte(const char *p)
{
	char c;
	int sig = rig_load(p, &c);

	return sig ? sig : 100 + (c != 0);
}

/* One area is left when this one has gone; nobody has touched it. */
static struct { char *left; bool raw; int status; } closing;

static void closed(struct vmf_area *a)
{
	pid_t pid;

	if ((char *)vmf_area_va(a) == closing.left || closing.status >= 0)
		return;
	pid = closing.raw ? (pid_t)syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L, 0L) : fork();
	if (!pid)
		_exit(absent_byte(closing.left));
	CHECK(pid > 0 && waitpid(pid, &closing.status, 0) == pid);
}

/* The exit code of a child that reads what is absent: a signal, or 100. */
static int closed_with_a_child(unsigned mode, bool raw)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .closed = closed };
	struct vmf_object *o;
	char *one, *two;
	struct rig r;

	rig_open(&r, mode);
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, PAGES), 0);
	one = rig_map(&r, o, 0, PAGES, VMF_R | VMF_W);
	two = rig_map(&r, o, 0, PAGES, VMF_R | VMF_W);
	closing.left = one < two ? one : two; /* areas go from the top */
	closing.raw = raw;
	closing.status = -1;
	if (!raw)
		setenv("VMF_WITHOUT", "userfaultfd", 1); /* is for who opens a space now */
	vmf_object_put(o);
	rig_close(&r);
	unsetenv("VMF_WITHOUT");
	CHECK(closing.status >= 0 && WIFEXITED(closing.status));
	return WEXITSTATUS(closing.status);
}

static bool forks_here(void)
{
	if (getenv("VMF_WITHOUT") || rig_lacks(VMF_THREADED, VMF_LACKS_FORK | VMF_LACKS_PRIVATE)) {
		printf("# case %s: not here\n", vmtest_case);
		return false;
	}
	return true;
}

static void cloned_while_closed(void)
{
	for (unsigned mode = VMF_THREADED; forks_here() && mode <= VMF_IN_CONTEXT; mode++)
		CHECK_EQ(closed_with_a_child(mode, true), SIGBUS);
}

static void environment_of_a_child(void)
{
	for (unsigned mode = VMF_THREADED; forks_here() && mode <= VMF_IN_CONTEXT; mode++)
		CHECK_EQ(closed_with_a_child(mode, false), SIGBUS);
}

/* ----------------------------------------------------------------------------------------- grandchildren */

static struct vmf__child *first_child(const struct rig *r)
{
	struct vmf__local *local = (struct vmf__local *)(void *)vmf_space_pmap(r->space);
	struct vmf__family *f = atomic_load(&local->family);

	return f ? __atomic_load_n(&f->children, __ATOMIC_ACQUIRE) : NULL;
}

#define BLOCKS 64u
static void *block[BLOCKS];
static unsigned blocks;

/* All that the port has got is used up, and there is no more. */
static void memory_ends(struct vmf__memory *m)
{
	failing.kind = MMAP;
	failing.at = 1;
	failing.last = UINT32_MAX;
	failing.error = ENOMEM;
	failing.always = true;
	atomic_store(&failing.on, true);
	for (blocks = 0; blocks < BLOCKS && (block[blocks] = vmf__memory_take(m, sizeof(struct vmf__child)));)
		blocks++;
	CHECK(blocks < BLOCKS);
}

static void memory_is_back(struct vmf__memory *m)
{
	failing_stop();
	while (blocks)
		vmf__memory_give(m, block[--blocks], sizeof(struct vmf__child));
}

/* Two are made at once, and there is no memory for the first: when its turn comes, it is not the second's. */
static void each_in_its_turn(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	int go[2], a, b, status;
	struct vmf__memory *m;
	struct vmf__child *c;
	struct vmf_object *o;
	struct rig r;
	pid_t pid;
	char *at;

	if (!forks_here())
		return;
	rig_open(&r, VMF_THREADED);
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, PAGES), 0);
	at = rig_map(&r, o, 0, PAGES, VMF_R | VMF_W);
	CHECK_EQ(pipe(go), 0);
	pid = fork();
	if (!pid) {
		char byte;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(read(go[0], &byte, 1) != 1);
	}
	CHECK_SOON((c = first_child(&r)) && __atomic_load_n(&c->greeted, __ATOMIC_ACQUIRE));
	m = &vmf__linux_of(r.port)->memory;
	/* What is no userfaultfd has no memory that they could do anything to. */
	a = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	b = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(a >= 0 && b >= 0);
	vmf__gate_close(&c->remote.gate);
	memory_ends(m);
	c->remote.forks->seen(&c->remote, a);
	memory_is_back(m);
	c->remote.forks->seen(&c->remote, b);
	vmf__gate_open(&c->remote.gate);
	c->remote.forks->told(&c->remote, a);
	CHECK(c->unborn && c->unborn->remote.uffd == b);
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	rig_unmap(&r, at, PAGES);
	vmf_object_put(o);
	rig_close(&r);
	close(go[0]);
	close(go[1]);
}

int main(int argc, char **argv)
{
	static const struct vmtest tests[] = {
		VMTEST(cloned_while_closed), VMTEST(environment_of_a_child), VMTEST(each_in_its_turn),
	};

	rig_catching();
	failing.kinds = kinds;
	failing.n = CALLS;
	failing.error_name = call_error;
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 60, argc, argv);
}
