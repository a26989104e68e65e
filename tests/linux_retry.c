/* SPDX-License-Identifier: MIT
 *
 * A fault that has to be tried again, in a Linux process, in both modes: why, as statistics and the trace hook see it;
 * and signals that meet its wait: with and without SA_RESTART, in a system call too, blocked, jumping away, killing.
 * (Its stacks, and the handler of SIGBUS itself: litmus_signal, linux_sigbus.)
 */
#include <time.h>
#include "linuxrig.h"
#include "testback.h"

#define PAGES 8u

struct driver {
	struct vmf_object *object;
	struct vmf_wait ready;
	atomic_uint asked;
	atomic_int obstacle; /* enum vmf_why; NONE: it answers */
	bool waits;          /* for `ready`, or a while */
	unsigned times;      /* the obstacle is gone after so many; 0: when it is lifted */
};

static struct {
	struct rig r;
	struct driver d;
	struct testback back;
	struct vmf_object *backed;
	char *at, *bytes; /* what the driver shows, and the backing */
	atomic_uint traced[16], ends, signals;
	atomic_bool done, set; /* set: it may be jumped to */
	char got;
	pthread_t faulter;
} s;

static void trace(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r, uint32_t tries)
{
	(void)self, (void)space, (void)va, (void)access, (void)tries;
	if (r.code == VMF_RETRY)
		s.traced[r.why]++;
	else
		s.ends++;
}

static enum vmf_code answer(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct driver *d = req->object_priv;
	unsigned n = ++d->asked;

	ans->seq = vmf_wait_seq(&d->ready);
	if (d->times && n > d->times)
		d->obstacle = VMF_WHY_NONE;
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	if (d->obstacle == VMF_WHY_RACE) { /* for real: it is revoked before it is entered */
		CHECK_ERR(vmf_revoke(req->object, req->off, 1), 0);
	} else if (d->obstacle != VMF_WHY_NONE) {
		vmf_frame_put(req->port, ans->frames[0]);
		ans->why = (uint8_t)d->obstacle;
		ans->wait = d->waits ? &d->ready : NULL;
		return VMF_RETRY;
	}
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = answer };

static void scene_open(unsigned mode)
{
	const struct vmf_linux_config config = { .size = sizeof(config), .trace = trace };
	const struct vmf_linux_space space = { .size = sizeof(space), .mode = mode };

	memset(&s, 0, sizeof(s));
	vmtest_with = rig_mode_name[mode];
	s.r.mode = mode;
	CHECK_ERR(vmf_linux_open(&s.r.port, &config), 0);
	CHECK_ERR(vmf_linux_space(s.r.port, &s.r.space, &space), 0);
	CHECK_ERR(vmf_object_create(s.r.port, &s.d.object, &ops, &s.d, PAGES), 0);
	testback_open(&s.back, s.r.port, PAGES * PAGE, TESTBACK_HELD_BACK);
	s.backed = testback_object(&s.back, NULL);
	s.at = rig_map(&s.r, s.d.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	s.bytes = rig_map(&s.r, s.backed, VMF_SHARED, PAGES, VMF_R | VMF_W);
}

static void scene_close(void)
{
	rig_unmap(&s.r, s.at, PAGES);
	rig_unmap(&s.r, s.bytes, PAGES);
	vmf_object_put(s.d.object);
	vmf_object_put(s.backed);
	RIG_BACKING_CLOSE(&s.back);
	rig_close(&s.r);
}

static void lift(void)
{
	s.d.obstacle = VMF_WHY_NONE;
	vmf_wake(s.r.port, &s.d.ready);
	testback_release(&s.back, 1);
}

/* ------------------------------------------------------------------------------------- each reason is seen */

static void *load(void *at)
{
	s.got = *(volatile char *)at;
	s.done = true;
	return NULL;
}

static void start(void *(*run)(void *), void *arg)
{
	s.done = false;
	CHECK(!pthread_create(&s.faulter, NULL, run, arg));
}

static void finish(void)
{
	lift();
	pthread_join(s.faulter, NULL);
}

static unsigned others(enum vmf_why why)
{
	struct vmf_stats stats = rig_stats(&s.r);
	unsigned n = 0;

	for (unsigned i = 0; i < 16; i++)
		n += i != why ? (unsigned)stats.retries[i] : 0;
	return n;
}

/* All five; where an object is waited for, no try is made until it is woken. */
static void every_reason_is_seen(void)
{
	static const struct { enum vmf_why why; bool waits; unsigned times; } t[] = {
		{ VMF_WHY_SIGNAL, true, 0 }, { VMF_WHY_IO, true, 0 }, { VMF_WHY_RACE, false, 3 }, { VMF_WHY_LAYOUT, false, 3 },
		{ VMF_WHY_RESOURCE, false, 3 }, { VMF_WHY_RESOURCE, true, 0 },
	};

	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			scene_open(mode);
			s.d.waits = t[i].waits;
			s.d.times = t[i].times;
			s.d.obstacle = (int)t[i].why;
			start(load, s.at + PAGE);
			CHECK_SOON(s.traced[t[i].why] >= (t[i].times ? t[i].times : 1));
			if (!t[i].times) {
				CHECK(!s.done);
				CHECK_EQ(s.d.asked, 1);
				lift();
			}
			pthread_join(s.faulter, NULL);
			CHECK_SOON(s.ends == 1);
			CHECK_EQ(s.d.asked, t[i].times ? t[i].times + 1 : 2);
			CHECK_EQ(rig_stats(&s.r).retries[t[i].why], s.d.asked - 1);
			CHECK_EQ(s.traced[t[i].why], s.d.asked - 1);
			CHECK_EQ(others(t[i].why), 0);
			CHECK_EQ(rig_stats(&s.r).faults, 1);
			CHECK_EQ(rig_stats(&s.r).failed, 0);
			scene_close();
		}
}

/* A reason that never ends is an answer in the end. */
static void every_reason_is_bounded(void)
{
	static const struct { enum vmf_why why; unsigned tries; enum vmf_code code; } t[] = {
		{ VMF_WHY_RACE, 16, VMF_SIGBUS }, { VMF_WHY_RESOURCE, 16, VMF_OOM },
	};
	char c;

	rig_catching();
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++)
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			scene_open(mode);
			s.d.obstacle = (int)t[i].why;
			CHECK_EQ(rig_load(s.at, &c), SIGBUS);
			CHECK_RESULT(vmf_fault_why(s.at), t[i].code, t[i].why);
			CHECK(rig_stats(&s.r).retries[t[i].why] >= t[i].tries);
			s.d.obstacle = VMF_WHY_NONE;
			CHECK_EQ(rig_load(s.at, &c), 0);
			scene_close();
		}
}

/* ------------------------------------------------------------------------------------------------ signals */

static void on_signal(int sig)
{
	(void)sig;
	s.signals++;
}

static sigjmp_buf away;

static void jump(int sig)
{
	(void)sig;
	s.signals++;
	siglongjmp(away, 1);
}

static void catch_with(void (*handler)(int), int flags)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = flags };

	sigaction(SIGUSR1, &sa, NULL);
}

/* The driver's own, or a backing's read: both with an object to wait for. */
static char *wait_for(unsigned backed)
{
	s.d.waits = true;
	s.d.obstacle = VMF_WHY_SIGNAL;
	return backed ? s.bytes + PAGE : s.at + PAGE;
}

static void until_it_waits(unsigned backed)
{
	CHECK_SOON(s.traced[backed ? VMF_WHY_IO : VMF_WHY_SIGNAL] >= 1);
}

static char expected(unsigned backed) { return backed ? (char)testback_byte(&s.back, PAGE) : 0; }

#define EACH_WAY(mode, flags, backed) \
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) \
		for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) \
			for (unsigned backed = 0; backed < 2; backed++)

/* Its handler runs while the fault waits, as often as it comes; then the instruction goes on. */
static void delivered_while_it_waits(void)
{
	EACH_WAY(mode, flags, backed) {
		scene_open(mode);
		catch_with(on_signal, flags);
		start(load, wait_for(backed));
		until_it_waits(backed);
		for (unsigned i = 1; i <= 20; i++) {
			pthread_kill(s.faulter, SIGUSR1);
			CHECK_SOON(s.signals == i);
			CHECK(!s.done);
		}
		finish();
		CHECK_EQ(s.got, expected(backed));
		CHECK_EQ(rig_stats(&s.r).failed, 0);
		if (backed)
			CHECK_EQ(s.back.reads, 1);
		scene_close();
	}
}

static int pipe_of[2];
static ssize_t wrote;

static void *write_page(void *at)
{
	wrote = vmf_linux_syscalls(s.r.space) ? write(pipe_of[1], at, 100) : vmf_write(pipe_of[1], at, 100);
	s.done = true;
	return NULL;
}

/* In a system call: no EINTR, and nothing that was half done, with SA_RESTART or without.  Where the kernel takes the
 * fault the signal waits until it has gone on; in vmf_write() it is delivered at once. */
static void a_system_call_is_not_cut_short(void)
{
	EACH_WAY(mode, flags, backed) {
		char buf[200];

		scene_open(mode);
		CHECK(!pipe(pipe_of));
		catch_with(on_signal, flags);
		start(write_page, wait_for(backed));
		until_it_waits(backed);
		pthread_kill(s.faulter, SIGUSR1);
		if (!vmf_linux_syscalls(s.r.space))
			CHECK_SOON(s.signals == 1);
		CHECK(!s.done);
		finish();
		CHECK_EQ(wrote, 100);
		CHECK_EQ(read(pipe_of[0], buf, sizeof(buf)), 100);
		CHECK_EQ(buf[0], expected(backed));
		CHECK_EQ(s.signals, 1);
		close(pipe_of[0]);
		close(pipe_of[1]);
		scene_close();
	}
}

static void *load_and_jump(void *at)
{
	if (!sigsetjmp(away, 1)) {
		s.set = true;
		s.got = *(volatile char *)at;
	}
	s.done = true;
	return NULL;
}

/* Nothing stays behind: the space can be closed, and the page can be had. */
static void jumping_away(void)
{
	EACH_WAY(mode, flags, backed) {
		char *page;

		scene_open(mode);
		catch_with(jump, flags);
		page = wait_for(backed);
		for (unsigned i = 1; i <= 10; i++) {
			unsigned before = s.traced[backed ? VMF_WHY_IO : VMF_WHY_SIGNAL];

			s.set = false;
			start(load_and_jump, page);
			CHECK_SOON(s.set);
			if (mode == VMF_IN_CONTEXT || i == 1) /* with threads the first fault is still parked */
				CHECK_SOON(s.traced[backed ? VMF_WHY_IO : VMF_WHY_SIGNAL] > before);
			pthread_kill(s.faulter, SIGUSR1);
			pthread_join(s.faulter, NULL);
			CHECK_EQ(s.signals, i);
		}
		start(load, page);
		finish();
		CHECK_EQ(s.got, expected(backed));
		scene_close();
	}
}

static void *load_with_blocked(void *at)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	(void)load(at);
	CHECK_EQ(s.signals, 0);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return NULL;
}

/* What is blocked stays pending and ends no wait: nor does it make the fault spin. */
static void blocked_and_pending(void)
{
	EACH_WAY(mode, flags, backed) {
		scene_open(mode);
		catch_with(on_signal, flags);
		start(load_with_blocked, wait_for(backed));
		until_it_waits(backed);
		pthread_kill(s.faulter, SIGUSR1);
		usleep(20000); /* time to spin, if it does */
		CHECK(s.d.asked <= 2 && s.traced[VMF_WHY_IO] <= 2);
		CHECK(!s.done && !s.signals);
		finish();
		CHECK_EQ(s.got, expected(backed));
		CHECK_EQ(s.signals, 1);
		scene_close();
	}
}

static atomic_bool took_one;

static void on_signal_fault(int sig)
{
	(void)sig;
	took_one = s.at[3 * PAGE] == 0;
	s.signals++;
}

/* The signal's handler faults as well, in the same area, and does not wait for the one that it interrupted. */
static void its_handler_faults(void)
{
	EACH_WAY(mode, flags, backed) {
		scene_open(mode);
		took_one = false;
		catch_with(on_signal_fault, flags);
		start(load, wait_for(backed));
		until_it_waits(backed);
		s.d.obstacle = VMF_WHY_NONE; /* of new faults; nobody is woken */
		pthread_kill(s.faulter, SIGUSR1);
		CHECK_SOON(s.signals == 1);
		CHECK(took_one);
		finish();
		CHECK_EQ(s.got, expected(backed));
		scene_close();
	}
}

/* -------------------------------------------------------------------------------------------------- SIGKILL */

struct death { unsigned mode, backed, call; int ready; };

static void *write_for_ever(void *at)
{
	CHECK(!pipe(pipe_of));
	return write_page(at);
}

static void waits_to_be_killed(const struct death *d)
{
	scene_open(d->mode);
	start(d->call ? write_for_ever : load, wait_for(d->backed));
	until_it_waits(d->backed);
	CHECK_EQ(write(d->ready, "", 1), 1);
	for (;;)
		pause();
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* At once, however long the wait would have been; the descriptors that it had are closed (a pipe says so), and no
 * process of its group is left. */
static void kill_one(struct death d)
{
	int ready[2], status;
	uint64_t begin;
	pid_t pid;
	char c;

	CHECK(!pipe(ready));
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		setpgid(0, 0);
		alarm(20);
		close(ready[0]);
		d.ready = ready[1];
		waits_to_be_killed(&d);
	}
	close(ready[1]);
	CHECK_EQ(read(ready[0], &c, 1), 1);
	begin = now_ms();
	CHECK(!kill(pid, SIGKILL));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_EQ(read(ready[0], &c, 1), 0);
	CHECK(now_ms() - begin < 2000);
	CHECK(kill(-pid, 0) && errno == ESRCH);
	close(ready[0]);
}

static void killed(void)
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++)
		for (unsigned i = 0; i < 4; i++)
			kill_one((struct death){ .mode = mode, .backed = i & 1, .call = i >> 1 });
}

/* ------------------------------------------------------------------------ who waits is in nobody's way */

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void a_slow_pager_stops_nobody(void)
{
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++)
		for (unsigned backed = 0; backed < 2; backed++) {
			struct vmf_object *zeroes;

			scene_open(mode);
			CHECK_ERR(vmf_object_create(s.r.port, &zeroes, &zero_ops, NULL, PAGES), 0);
			start(load, wait_for(backed));
			until_it_waits(backed);
			for (unsigned i = 0; i < 50; i++) {
				char *a = rig_map(&s.r, zeroes, i & 1 ? VMF_SHARED : 0, PAGES, VMF_R | VMF_W);
				char *b = rig_map(&s.r, s.d.object, VMF_SHARED, PAGES, VMF_R);

				CHECK_ERR(vmf_protect(s.r.space, (vmf_va)a, PAGES, VMF_R), 0);
				rig_unmap(&s.r, a, PAGES);
				rig_unmap(&s.r, b, PAGES);
			}
			CHECK(!s.done);
			finish();
			CHECK_EQ(s.got, expected(backed));
			vmf_object_put(zeroes);
			scene_close();
		}
}

static const struct vmtest tests[] = {
	VMTEST(every_reason_is_seen),
	VMTEST(every_reason_is_bounded),
	VMTEST(delivered_while_it_waits),
	VMTEST(a_system_call_is_not_cut_short),
	VMTEST(jumping_away),
	VMTEST(blocked_and_pending),
	VMTEST(its_handler_faults),
	VMTEST(killed),
	VMTEST(a_slow_pager_stops_nobody),
};
VMTEST_MAIN(tests, 30)
