/* SPDX-License-Identifier: MIT
 *
 * What a program gets where memory cannot be had: a real SIGBUS, at the right address, with a reason, through the
 * handler that it had before.
 */
#include "linuxrig.h"
#include "testback.h"
#include "ports/linux/local.h"

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

/* ------------------------------------------------------------------------------------ failing, and working again */

static void past_the_end(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		const unsigned kinds[] = { VMF_SHARED, 0 };
		struct testback back;
		struct vmf_object *o;

		testback_open(&back, r.port, 2 * PAGE + 100, TESTBACK_THREAD);
		o = testback_object(&back, &(struct vmf_backed){ .size = sizeof(struct vmf_backed), .pages = 8 });
		for (unsigned k = 0; k < 2; k++) {
			char *a = rig_map(&r, o, kinds[k], 8, VMF_R);

			CHECK_EQ(rig_load(a + 2 * PAGE + 99, &c), 0);
			CHECK_EQ(c, (char)testback_byte(&back, 2 * PAGE + 99));
			CHECK_EQ(rig_load(a + 2 * PAGE + 100, &c), 0);
			CHECK_EQ(c, 0);
			for (unsigned i = 3; i < 8; i++) {
				CHECK_EQ(rig_load(a + i * PAGE + 123, &c), SIGBUS);
				/* With threads, the kernel says the address itself; a poisoned page gives its start or the byte. */
				CHECK(rig_caught.addr == a + i * PAGE + 123);
				CHECK_RESULT(vmf_fault_why(a + i * PAGE + 5), VMF_SIGBUS, VMF_WHY_EOF);
			}
			CHECK_OK(vmf_fault_why(a));
			rig_unmap(&r, a, 8);
		}
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
}

/* The error goes to the fault that asked; the next one asks again. */
static void a_read_fails(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		const unsigned kinds[] = { VMF_SHARED, 0 };

		for (unsigned k = 0; k < 2; k++) {
			struct testback back;
			struct vmf_object *o;
			char *a;

			testback_open(&back, r.port, 4 * PAGE, TESTBACK_THREAD);
			o = testback_object(&back, NULL);
			a = rig_map(&r, o, kinds[k], 4, VMF_R | VMF_W);
			for (unsigned i = 0; i < 3; i++) {
				back.read.in = 1;
				back.read.err = 70 + (int)i;
				CHECK_EQ(rig_load(a + PAGE + i, &c), SIGBUS);
				CHECK(rig_caught.addr == a + PAGE + i);
				CHECK_RESULT(vmf_fault_why(a + PAGE), VMF_SIGBUS, VMF_WHY_IOERR);
				CHECK_EQ(vmf_fault_why(a + PAGE).err, 70 + (int)i);
				CHECK_EQ(back.reads, i + 1);
			}
			CHECK_EQ(rig_load(a + PAGE, &c), 0);
			CHECK_EQ(c, (char)testback_byte(&back, PAGE));
			CHECK_SOON(vmf_fault_why(a + PAGE).code == VMF_OK);
			CHECK_EQ(back.reads, 4);
			rig_unmap(&r, a, 4);
			vmf_object_put(o);
			RIG_BACKING_CLOSE(&back);
		}
	}
}

/* Before 6.6 there is no poison: the page is forbidden until its failure has been told. */
static void without_poison(void)
{
	struct testback back;
	struct vmf_object *o;
	struct rig r;
	char *a, c;

	rig_catching();
	vmtest_with = "threaded";
	rig_port(&r.port);
	((struct vmf__linux *)vmf_port_self(r.port))->features &= ~(uint64_t)VMF__UF_POISON;
	CHECK_ERR(vmf_linux_space(r.port, &r.space, NULL), 0);
	testback_open(&back, r.port, 4 * PAGE, TESTBACK_THREAD);
	o = testback_object(&back, NULL);
	a = rig_map(&r, o, VMF_SHARED, 4, VMF_R | VMF_W);
	for (int i = 0; i < 20; i++) {
		back.read.err = 70;
		back.read.pages = 4;
		CHECK_EQ(rig_load(a + PAGE + i, &c), SIGBUS);
		CHECK(rig_caught.addr == a + PAGE + i);
		CHECK_EQ(vmf_fault_why(a + PAGE).err, 70);
	}
	back.read.pages = 0;
	CHECK_EQ(rig_load(a + PAGE, &c), 0);
	CHECK_EQ(c, (char)testback_byte(&back, PAGE));
	rig_unmap(&r, a, 4);
	vmf_object_put(o);
	RIG_BACKING_CLOSE(&back);
	rig_close(&r);
}

/* A page that was shown clean and reclaimed leaves a mark in the page table, and cannot be poisoned before that is
 * taken; whether it is a mark, /proc/self/pagemap says where there is one. */
static void where_a_mark_is(bool pagemap)
{
	struct testback back;
	struct vmf_object *o;
	struct rig r;
	char *a, c;

	rig_open(&r, VMF_THREADED);
	if (!pagemap && vmf__linux_of(r.port)->pagemap >= 0) {
		close(vmf__linux_of(r.port)->pagemap);
		vmf__linux_of(r.port)->pagemap = -1;
	}
	testback_open(&back, r.port, 4 * PAGE, TESTBACK_AT_ONCE);
	o = testback_object(&back, NULL);
	a = rig_map(&r, o, VMF_SHARED, 4, VMF_R | VMF_W);
	CHECK_EQ(rig_load(a, &c), 0);
	CHECK_SOON(vmf_reclaim(o, 0, 1) == 1);
	back.read = (struct testback_fail){ .pages = 1, .err = 70 };
	CHECK_EQ(rig_load(a, &c), SIGBUS);
	CHECK_EQ(vmf_fault_why(a).err, 70);
	back.read.pages = 0;
	CHECK_EQ(rig_load(a, &c), 0);
	CHECK_EQ(c, (char)testback_byte(&back, 0));
	rig_unmap(&r, a, 4);
	vmf_object_put(o);
	RIG_BACKING_CLOSE(&back);
	rig_close(&r);
}

static void reclaimed_and_failing(void)
{
	if (rig_lacks(VMF_THREADED, VMF_LACKS_WP))
		return;
	rig_catching();
	where_a_mark_is(true);
	where_a_mark_is(false);
}

#define VARIABLES 5000u
static atomic_bool enough;

static void *fail_on(void *a)
{
	char c;

	while (!atomic_load(&enough))
		for (unsigned i = 0; i < 16; i++)
			CHECK_EQ(rig_load((char *)a + i * PAGE, &c), SIGBUS);
	return NULL;
}

/* The environment is the application's, which may change it while a server tells of failures.  (The C library frees
 * what it was before.) */
static void environment(void)
{
	struct testback back;
	struct vmf_object *o;
	char *a, name[32];
	pthread_t thread;
	struct rig r;

	rig_catching();
	rig_open(&r, VMF_THREADED);
	testback_open(&back, r.port, 16 * PAGE, TESTBACK_AT_ONCE);
	o = testback_object(&back, NULL);
	a = rig_map(&r, o, VMF_SHARED, 16, VMF_R);
	back.read = (struct testback_fail){ .pages = 16, .err = 70 };
	CHECK(!pthread_create(&thread, NULL, fail_on, a));
	for (unsigned i = 0; i < VARIABLES; i++) {
		snprintf(name, sizeof(name), "VMFAULT_TEST_%u", i);
		CHECK(!setenv(name, "", 1));
		if (i % 100 == 0)
			sched_yield();
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	rig_unmap(&r, a, 16);
	vmf_object_put(o);
	RIG_BACKING_CLOSE(&back);
	rig_close(&r);
	for (unsigned i = 0; i < VARIABLES; i++) {
		snprintf(name, sizeof(name), "VMFAULT_TEST_%u", i);
		CHECK(!unsetenv(name));
	}
}

static struct { struct sigaction old; unsigned times; } hands_on;

static void hand_on(int sig, siginfo_t *si, void *uc)
{
	if (hands_on.times++)
		_exit(3);
	hands_on.old.sa_sigaction(sig, si, uc);
}

/* A handler that was installed over ours, and stays when the last port is closed, is under ours when one is opened. */
static void hand_on_in_a_circle(void *arg)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
	int fd = memfd_create("empty", MFD_CLOEXEC);
	struct vmf_port *port;

	(void)arg;
	signal(SIGBUS, SIG_DFL);
	rig_port(&port);
	sa.sa_sigaction = hand_on;
	sigaction(SIGBUS, &sa, &hands_on.old);
	for (unsigned i = 0; i < 2; i++) {
		vmf_linux_close(port);
		rig_port(&port);
	}
	(void)*(volatile char *)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
}

static void a_circle_of_handlers(void)
{
	int status = rig_child(hand_on_in_a_circle, NULL);

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGBUS);
}

/* More failures than are kept, and every page still gets its own. */
static void many_failures(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		struct testback back;
		struct vmf_object *o;
		char *a;

		testback_open(&back, r.port, 3000 * PAGE, TESTBACK_AT_ONCE);
		o = testback_object(&back, NULL);
		a = rig_map(&r, o, VMF_SHARED, 3000, VMF_R);
		back.read.pages = 3000;
		back.read.err = 5;
		for (unsigned i = 0; i < 3000; i++) {
			CHECK_EQ(rig_load(a + i * PAGE, &c), SIGBUS);
			CHECK(rig_caught.addr == a + i * PAGE);
			CHECK_RESULT(vmf_fault_why(a + i * PAGE), VMF_SIGBUS, VMF_WHY_IOERR);
		}
		CHECK_EQ(back.reads, 3000);
		back.read.pages = 0;
		for (unsigned i = 0; i < 3000; i++)
			CHECK_EQ(a[i * PAGE], (char)testback_byte(&back, i * PAGE));
		rig_unmap(&r, a, 3000);
		vmf_object_put(o);
		RIG_BACKING_CLOSE(&back);
	}
}

/* --------------------------------------------------------------------------------- handlers that were there before */

static struct { int calls, sig; void *addr; bool info, usr1_blocked, usr2_blocked, bus_blocked, on_alt; } seen;
static char *alt_stack;
static struct vmf_object *failing;
static struct testback failing_back;

static void note(int sig)
{
	sigset_t now;
	char here;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	seen.calls++;
	seen.sig = sig;
	seen.usr1_blocked = sigismember(&now, SIGUSR1);
	seen.usr2_blocked = sigismember(&now, SIGUSR2);
	seen.bus_blocked = sigismember(&now, SIGBUS);
	seen.on_alt = &here >= alt_stack && &here < alt_stack + 65536;
	errno = ENOTTY;
	failing_back.read.pages = 0; /* so that the instruction succeeds when it runs again */
}

static void plain(int sig)
{
	note(sig);
	seen.info = false;
}

static void with_info(int sig, siginfo_t *si, void *uc)
{
	note(sig);
	seen.info = uc != NULL;
	seen.addr = si->si_addr;
}

static char *failing_map(struct rig *r)
{
	testback_open(&failing_back, r->port, 16 * PAGE, TESTBACK_THREAD);
	failing = testback_object(&failing_back, NULL);
	return rig_map(r, failing, VMF_SHARED, 16, VMF_R);
}

static void failing_unmap(struct rig *r, char *a)
{
	rig_unmap(r, a, 16);
	vmf_object_put(failing);
	RIG_BACKING_CLOSE(&failing_back);
}

static void fail_reads(void)
{
	failing_back.read.err = 5;
	failing_back.read.pages = 16;
	memset(&seen, 0, sizeof(seen));
}

static void chained_as(unsigned mode, int flags)
{
	struct sigaction sa = { .sa_flags = flags }, now;
	struct rig r;
	char *a;

	if (flags & SA_SIGINFO)
		sa.sa_sigaction = with_info;
	else
		sa.sa_handler = plain;
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGUSR1);
	sigaction(SIGBUS, &sa, NULL);
	rig_open(&r, mode);
	a = failing_map(&r);
	fail_reads();
	errno = EDOM;
	CHECK_EQ(*(volatile char *)(a + 3 * PAGE + 1), (char)testback_byte(&failing_back, 3 * PAGE + 1));
	CHECK_EQ(errno, EDOM);
	CHECK_EQ(seen.calls, 1);
	CHECK_EQ(seen.sig, SIGBUS);
	CHECK_EQ(seen.info, !!(flags & SA_SIGINFO));
	CHECK(!(flags & SA_SIGINFO) || seen.addr == a + 3 * PAGE + 1);
	CHECK(seen.usr1_blocked && !seen.usr2_blocked);
	CHECK_EQ(seen.bus_blocked, !(flags & SA_NODEFER));
	failing_unmap(&r, a);
	rig_close(&r);
	sigaction(SIGBUS, NULL, &now);
	CHECK(now.sa_handler == sa.sa_handler);
}

static void old_handler_is_called(void)
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		chained_as(mode, SA_SIGINFO);
		chained_as(mode, 0);
		chained_as(mode, SA_SIGINFO | SA_NODEFER);
	}
}

static char *foreign(void)
{
	FILE *f = tmpfile();
	char *p;

	CHECK(f);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
	CHECK(p != MAP_FAILED);
	return p;
}

/* A mapping past the end of its file is none of our business. */
static void foreign_sigbus(void)
{
	struct rig r;
	char c;

	rig_catching();
	BOTH_MODES(&r) {
		char *p = foreign();

		CHECK_EQ(rig_load(p + 9, &c), SIGBUS);
		CHECK(rig_caught.addr == p + 9);
		CHECK_EQ(rig_store(p + 10, 1), SIGBUS);
		CHECK_OK(vmf_fault_why(p));
		munmap(p, PAGE);
	}
}

static void sent_sigbus(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };
	struct rig r;

	sa.sa_sigaction = with_info;
	sigaction(SIGBUS, &sa, NULL);
	BOTH_MODES(&r) {
		memset(&seen, 0, sizeof(seen));
		raise(SIGBUS);
		CHECK_EQ(seen.calls, 1);
	}
}

/* Kernels differ in what they call a page that cannot be had: an error of the address, or of the memory.  What is said
 * of memory that nobody has touched yet is not ours. */
static void codes(void)
{
	const int code[] = { BUS_ADRERR, BUS_MCEERR_AR, BUS_MCEERR_AO };
	struct sigaction sa = { .sa_flags = SA_SIGINFO };
	struct rig r;

	sa.sa_sigaction = with_info;
	sigaction(SIGBUS, &sa, NULL);
	BOTH_MODES(&r) {
		struct vmf_object *o;
		char *a;

		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, 8), 0);
		a = rig_map(&r, o, VMF_SHARED, 8, VMF_R | VMF_W);
		for (unsigned i = 0; i < 3; i++) {
			siginfo_t si = { .si_signo = SIGBUS, .si_code = code[i] };

			si.si_addr = a + i * PAGE;
			memset(&seen, 0, sizeof(seen));
			CHECK_EQ(syscall(SYS_rt_tgsigqueueinfo, getpid(), (int)syscall(SYS_gettid), SIGBUS, &si), 0);
			CHECK_EQ(seen.calls, code[i] == BUS_MCEERR_AO);
			CHECK_EQ(rig_stats(&r).faults, i < 2 ? i + 1 : 2);
		}
		rig_unmap(&r, a, 8);
		vmf_object_put(o);
	}
}

/* Without a handler: death by SIGBUS, at the instruction. */
static void dies_of_ours(void *arg)
{
	struct rig r;
	char *a;

	alarm(10);
	signal(SIGBUS, SIG_DFL);
	rig_open(&r, *(unsigned *)arg);
	a = failing_map(&r);
	fail_reads();
	(void)*(volatile char *)a;
}

static void dies_of_foreign(void *arg)
{
	struct rig r;

	alarm(10);
	signal(SIGBUS, SIG_IGN); /* which does not help */
	rig_open(&r, *(unsigned *)arg);
	(void)*(volatile char *)foreign();
}

static void once_only(int sig)
{
	(void)sig;
	seen.calls++;
}

static void dies_the_second_time(void *arg)
{
	struct sigaction sa = { .sa_flags = (int)SA_RESETHAND, .sa_handler = once_only };
	struct rig r;

	alarm(10);
	sigaction(SIGBUS, &sa, NULL);
	rig_open(&r, *(unsigned *)arg);
	(void)*(volatile char *)foreign(); /* the handler returns, and it faults again */
}

static void sent_is_ignored(void *arg)
{
	struct rig r;

	signal(SIGBUS, SIG_IGN);
	rig_open(&r, *(unsigned *)arg);
	raise(SIGBUS);
	rig_close(&r);
}

static void death(void)
{
	void (*const how[])(void *) = { dies_of_ours, dies_of_foreign, dies_the_second_time };

	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		for (unsigned i = 0; i < 3; i++) {
			int status = rig_child(how[i], &mode);

			CHECK(WIFSIGNALED(status));
			CHECK_EQ(WTERMSIG(status), SIGBUS);
		}
		CHECK_EQ(rig_child(sent_is_ignored, &mode), 0);
	}
}

/* What the dying process leaves behind says where: the signal of the core dump, as a debugger sees it. */
static void address_of_death(void)
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		bool segv = rig_lacks(mode, RIG_TRAPS | VMF_LACKS_POISON);
		int status, sent[2];
		siginfo_t si;
		pid_t pid;
		char *a;

		CHECK(pipe(sent) == 0);
		pid = fork();
		if (!pid) {
			struct rig r;

			alarm(10);
			signal(SIGBUS, SIG_DFL);
			rig_open(&r, mode);
			a = failing_map(&r) + 5 * PAGE + 17;
			fail_reads();
			if (write(sent[1], &a, sizeof(a)) != sizeof(a) || syscall(SYS_ptrace, 0 /* PTRACE_TRACEME */, 0, 0, 0))
				_exit(77);
			(void)*(volatile char *)a;
			_exit(1);
		}
		CHECK_EQ(read(sent[0], &a, sizeof(a)), sizeof(a));
		/* the kernel's SIGBUS (or, where pages are forbidden, SIGSEGV), perhaps, and then the one that kills */
		for (;;) {
			CHECK(waitpid(pid, &status, 0) == pid);
			if (!WIFSTOPPED(status))
				break;
			CHECK(WSTOPSIG(status) == SIGBUS || (WSTOPSIG(status) == SIGSEGV && segv));
			CHECK_EQ(syscall(SYS_ptrace, 0x4202 /* PTRACE_GETSIGINFO */, pid, 0, &si), 0);
			CHECK(si.si_addr == a);
			CHECK_EQ(syscall(SYS_ptrace, 7 /* PTRACE_CONT */, pid, 0, WSTOPSIG(status)), 0);
		}
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			vmtest_skip("ptrace is not allowed here");
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
		close(sent[0]);
		close(sent[1]);
	}
}

/* ---------------------------------------------------------------------------------------------- stacks */

static char *deep_window;

/* A stack with no room for a signal's frame is what SA_ONSTACK is for. */
static void *on_small_stack(void *arg)
{
	stack_t ss = { .ss_sp = alt_stack, .ss_size = 65536 }, old;
	char volatile *p = arg;

	sigaltstack(&ss, &old);
	CHECK_EQ(*p, 0);
	p[PAGE] = 1;
	sigaltstack(&old, NULL);
	return NULL;
}

static void alternate_stack(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct rig r;

	alt_stack = malloc(65536);
	sa.sa_sigaction = with_info;
	sigaction(SIGBUS, &sa, NULL);
	BOTH_MODES(&r) {
		stack_t ss = { .ss_sp = alt_stack, .ss_size = 65536 }, old;
		struct vmf_object *o;
		pthread_t t;
		char *a;

		memset(alt_stack, 0x55, 65536);
		CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, 8), 0);
		deep_window = rig_map(&r, o, VMF_SHARED, 8, VMF_R | VMF_W);
		CHECK_EQ(pthread_create(&t, NULL, on_small_stack, deep_window), 0);
		pthread_join(t, NULL);
		if (r.mode == VMF_IN_CONTEXT)
			CHECK(alt_stack[65535 - 2048] != 0x55 || alt_stack[65535 - 600] != 0x55);
		a = failing_map(&r);
		fail_reads();
		sigaltstack(&ss, &old);
		CHECK_EQ(*(volatile char *)a, (char)testback_byte(&failing_back, 0));
		CHECK(seen.on_alt);
		sigaltstack(&old, NULL);
		failing_unmap(&r, a);
		vmf_object_put(o);
	}
	free(alt_stack);
}

/* A handler of the least size that POSIX knows is enough for the whole fault path. */
static void *small_alt_stack(void *arg)
{
	size_t size = (size_t)sysconf(_SC_SIGSTKSZ);
	char *room = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t ss = { .ss_sp = room + PAGE, .ss_size = size }, old;
	volatile char *p = arg;

	CHECK(room != MAP_FAILED && mprotect(room, PAGE, PROT_NONE) == 0);
	sigaltstack(&ss, &old);
	for (unsigned i = 0; i < 16; i++)
		CHECK_EQ(p[i * PAGE], (char)testback_byte(&failing_back, i * PAGE));
	sigaltstack(&old, NULL);
	return NULL;
}

static void smallest_stack(void)
{
	struct rig r;

	BOTH_MODES(&r) {
		char *a = failing_map(&r);
		pthread_t t;

		CHECK_EQ(pthread_create(&t, NULL, small_alt_stack, a), 0);
		pthread_join(t, NULL);
		failing_unmap(&r, a);
	}
}

/* -------------------------------------------------------------------------------------------- two areas */

static char *inner;
static atomic_int inner_seen;

static enum vmf_code touches_another(const struct vmf_req *req, struct vmf_ans *ans)
{
	char *bytes;

	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	bytes = vmf_frame_bytes(req->port, ans->frames[0]);
	bytes[0] = inner[req->off * PAGE]; /* a fault inside the handler */
	inner_seen++;
	return VMF_OK;
}

/* In context, a driver may take memory from another area; its own is found out. */
static void nested(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = touches_another };
	struct testback back;
	struct vmf_object *o, *p;
	struct rig r;
	char *a, c;

	rig_catching();
	rig_open(&r, VMF_IN_CONTEXT);
	testback_open(&back, r.port, 8 * PAGE, TESTBACK_THREAD);
	p = testback_object(&back, NULL);
	inner = rig_map(&r, p, VMF_SHARED, 8, VMF_R);
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 8), 0);
	a = rig_map(&r, o, VMF_SHARED, 8, VMF_R | VMF_W);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(a[i * PAGE], (char)testback_byte(&back, i * PAGE));
	CHECK_EQ(inner_seen, 4);
	rig_unmap(&r, inner, 8);
	inner = a;
	CHECK_EQ(rig_load(a + 6 * PAGE, &c), SIGBUS);
	CHECK_RESULT(vmf_fault_why(a + 6 * PAGE), VMF_SIGBUS, VMF_WHY_POLICY);
	_exit(0); /* the driver was left by a jump, and still holds its area: nothing can be closed any more */
}

static void nested_run(void *arg)
{
	(void)arg;
	nested();
}

static void nested_faults(void) { CHECK_EQ(rig_child(nested_run, NULL), 0); }

/* Somebody sends SIGBUS to a thread whose driver is at work: the application's handler, which jumps away, is called
 * when the driver has done, and nothing of ours is held. */
static volatile bool at_work, sent_at_work;

static enum vmf_code is_sent_one(const struct vmf_req *req, struct vmf_ans *ans)
{
	at_work = true;
	(void)syscall(SYS_tgkill, getpid(), vmf__tid(), SIGBUS);
	at_work = false;
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return VMF_OK;
}

static void catch_at_work(int sig, siginfo_t *si, void *uc)
{
	sent_at_work |= at_work;
	rig_catch(sig, si, uc);
}

static void sent_while_a_driver_is_at_work(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = is_sent_one };
	struct sigaction sa = { .sa_flags = SA_SIGINFO };
	struct vmf_object *o;
	struct rig r;
	char *a, c;

	sa.sa_sigaction = catch_at_work;
	sigaction(SIGBUS, &sa, NULL);
	rig_open(&r, VMF_IN_CONTEXT);
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 4), 0);
	a = rig_map(&r, o, VMF_SHARED, 4, VMF_R);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_EQ(rig_load(a + i * PAGE, &c), SIGBUS);
		CHECK(!sent_at_work);
		CHECK_EQ(rig_load(a + i * PAGE, &c), 0);
	}
	rig_unmap(&r, a, 4);
	vmf_object_put(o);
	rig_close(&r);
}

static const struct vmtest tests[] = {
	VMTEST(past_the_end), VMTEST(a_read_fails), VMTEST(without_poison), VMTEST(reclaimed_and_failing),
	VMTEST(many_failures),
	VMTEST(old_handler_is_called), VMTEST(foreign_sigbus), VMTEST(environment), VMTEST(a_circle_of_handlers),
	VMTEST(sent_sigbus), VMTEST(codes), VMTEST(death), VMTEST(address_of_death), VMTEST(alternate_stack),
	VMTEST(smallest_stack), VMTEST(nested_faults),
	VMTEST(sent_while_a_driver_is_at_work),
};
VMTEST_MAIN(tests, 20)
