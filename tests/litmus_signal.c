/* SPDX-License-Identifier: MIT
 *
 * Signals and a fault that waits in the handler of SIGBUS: it gives way to them, on the application's own stack;
 * they may jump away; and one that the application has blocked does not make it spin.
 */
#include <sys/resource.h>
#include "linuxrig.h"
#include "testback.h"

static struct {
	struct vmf_port *port;
	struct vmf_space *space;
	struct testback back;
	struct vmf_object *object;
	char *at;
	pthread_t faulter;
	atomic_uint tries, signals;
	atomic_bool waiting, finished, on_alt;
	char *alt;
	char got;
} s;
static sigjmp_buf away;

static void count_tries(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r,
			uint32_t tries)
{
	(void)self;
	(void)space;
	(void)va;
	(void)access;
	(void)r;
	(void)tries;
	s.tries++;
}

static void open_all(void)
{
	const struct vmf_linux_config config = { .size = sizeof(config), .trace = count_tries };
	const struct vmf_linux_space in_context = { .size = sizeof(in_context), .mode = VMF_IN_CONTEXT };
	const struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = 8, .prot = VMF_R | VMF_W };
	vmf_va at;
	int err = vmf_linux_open(&s.port, &config);

	if (err)
		vmtest_skip(vmf_err_str(err));
	CHECK_ERR(vmf_linux_space(s.port, &s.space, &in_context), 0);
	testback_open(&s.back, s.port, 8 * PAGE, TESTBACK_HELD_BACK);
	s.object = testback_object(&s.back, NULL);
	CHECK_ERR(vmf_map(s.space, s.object, &m, &at), 0);
	s.at = (char *)at;
	s.tries = s.signals = 0;
	s.finished = s.on_alt = false;
	s.alt = malloc(65536);
}

static void close_all(void)
{
	CHECK_ERR(vmf_unmap(s.space, (vmf_va)s.at, 8), 0);
	vmf_object_put(s.object);
	RIG_BACKING_CLOSE(&s.back);
	vmf_linux_space_close(s.space);
	vmf_linux_close(s.port);
	free(s.alt);
}

static void on_signal(int sig)
{
	char here;

	(void)sig;
	if (&here >= s.alt && &here < s.alt + 65536)
		s.on_alt = true;
	s.signals++;
}

static void jump(int sig)
{
	(void)sig;
	s.signals++;
	siglongjmp(away, 1);
}

static void handle_with(int sig, void (*handler)(int))
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigaction(sig, &sa, NULL);
}

static __thread stack_t alt_before;

static void *fault(void *page)
{
	stack_t ss = { .ss_sp = s.alt, .ss_size = 65536 };

	sigaltstack(&ss, &alt_before);
	s.got = *(volatile char *)(s.at + (uintptr_t)page * PAGE);
	sigaltstack(&alt_before, NULL);
	s.finished = true;
	return NULL;
}

static void start(void *(*run)(void *), uintptr_t page)
{
	CHECK_EQ(pthread_create(&s.faulter, NULL, run, (void *)page), 0);
}

static void finish(unsigned page)
{
	testback_release(&s.back, 1);
	pthread_join(s.faulter, NULL);
	CHECK_EQ(s.got, (char)testback_byte(&s.back, page * PAGE));
}

/* The read is in flight; the signal's handler runs now, and the fault ends when the read does. */
static void delivered_while_waiting(void)
{
	open_all();
	handle_with(SIGUSR1, on_signal);
	start(fault, 1);
	testback_wait_queued(&s.back, 1);
	for (unsigned i = 1; i <= 20; i++) {
		pthread_kill(s.faulter, SIGUSR1);
		CHECK_SOON(s.signals == i);
		CHECK(!s.finished);
	}
	CHECK(!s.on_alt);
	finish(1);
	CHECK_EQ(s.back.reads, 1);
	close_all();
}

static void *fault_and_jump(void *page)
{
	if (!sigsetjmp(away, 1))
		fault(page);
	sigaltstack(&alt_before, NULL);
	s.finished = true;
	return NULL;
}

/* siglongjmp() out of the fault: nothing of ours stays behind, and the page can be had later. */
static void jumped_away(void)
{
	open_all();
	handle_with(SIGUSR1, jump);
	for (unsigned i = 0; i < 3; i++) {
		unsigned before = s.tries;

		start(fault_and_jump, 2);
		CHECK_SOON(s.tries > before);
		pthread_kill(s.faulter, SIGUSR1);
		pthread_join(s.faulter, NULL);
		CHECK_EQ(s.signals, i + 1);
		CHECK(s.finished);
	}
	start(fault, 2);
	finish(2);
	close_all(); /* unmap waits for faults that are still inside */
}

static enum vmf_code raises(const struct vmf_req *req, struct vmf_ans *ans)
{
	CHECK_EQ(raise(SIGUSR1), 0);
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

/* No handler of SIGBUS is running then, so nothing is blocked but what the library blocks itself: the signal waits
 * until the driver has left. */
static void jumped_away_from_touch(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = raises };
	struct vmf_object *o;
	struct rig r;
	char *a;

	rig_open(&r, VMF_IN_CONTEXT);
	handle_with(SIGUSR1, jump);
	s.signals = 0;
	CHECK_ERR(vmf_object_create(r.port, &o, &ops, NULL, 1), 0);
	a = rig_map(&r, o, VMF_SHARED, 1, VMF_R | VMF_W);
	if (!sigsetjmp(away, 1)) {
		(void)vmf_touch(a, 1, VMF_R);
		vmtest_fail("the signal did not come");
	}
	CHECK_EQ(s.signals, 1);
	CHECK_EQ(*(volatile char *)a, 0); /* it was brought, and no slot says that somebody is still at it */
	rig_unmap(&r, a, 1);
	vmf_object_put(o);
	rig_close(&r);
}

static void *fault_with_blocked(void *page)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);                 /* this thread's */
	kill(getpid(), SIGUSR2);        /* the process's: blocked in the others as well */
	s.waiting = true;
	return fault(page);
}

/* What is blocked outside stays pending and ends no wait. */
static void blocked_and_pending(void)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	open_all();
	handle_with(SIGUSR1, on_signal);
	handle_with(SIGUSR2, on_signal);
	start(fault_with_blocked, 3);
	testback_wait_queued(&s.back, 1);
	usleep(50000);
	CHECK(s.tries <= 3);
	CHECK_EQ(s.signals, 0);
	finish(3);
	close_all();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	CHECK_EQ(s.signals, 1); /* the process's own, now */
}

/* A signal that kills does so, however long the read takes. */
static void killed_run(void *arg)
{
	(void)arg;
	signal(SIGTERM, SIG_DFL);
	open_all();
	start(fault, 1);
	testback_wait_queued(&s.back, 1);
	pthread_kill(s.faulter, SIGTERM);
	sleep(10);
}

static void killed(void)
{
	int status = rig_child(killed_run, NULL);

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGTERM);
}

/* No descriptor left: signals are still seen. */
static void without_descriptors(void)
{
	struct rlimit none, old;

	open_all();
	handle_with(SIGUSR1, on_signal);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ 3, old.rlim_max };
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_EQ(dup(0), -1);
	start(fault, 1);
	testback_wait_queued(&s.back, 1);
	pthread_kill(s.faulter, SIGUSR1);
	CHECK_SOON(s.signals == 1);
	CHECK(!s.finished);
	finish(1);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
	close_all();
}

static const struct vmtest tests[] = {
	VMTEST(delivered_while_waiting), VMTEST(jumped_away), VMTEST(jumped_away_from_touch),
	VMTEST(blocked_and_pending), VMTEST(killed),
	VMTEST(without_descriptors),
};
VMTEST_MAIN(tests, 20)
