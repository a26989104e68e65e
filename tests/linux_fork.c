/* SPDX-License-Identifier: MIT
 *
 * Children of fork(): what they inherit, who serves them, and that they never read zeroes for data.
 */
#include "linuxrig.h"
#include "testback.h"
#include "ports/linux/local.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define PAGES 64u
#define WRITTEN 1u /* the pages of a file, before the fork */
#define READ 2u
#define REMOVED 4u
#define ABSENT 20u /* and from there on */

struct file { struct rig *rig; struct testback back; struct vmf_object *object; char *at; };

static void file_open(struct rig *r, struct file *f, unsigned flags)
{
	f->rig = r;
	testback_open(&f->back, r->port, PAGES * PAGE, TESTBACK_THREAD);
	f->object = testback_object(&f->back, NULL);
	f->at = rig_map(r, f->object, flags, PAGES, VMF_R | VMF_W);
}

static void file_close_object(struct rig *r, struct file *f)
{
	vmf_object_put(f->object);
	vmf_linux_space_close(r->space);
	RIG_BACKING_CLOSE(&f->back);
	vmf_linux_close(r->port);
}

static void file_close(struct rig *r, struct file *f)
{
	rig_unmap(r, f->at, PAGES);
	vmf_object_put(f->object);
	RIG_BACKING_CLOSE(&f->back);
}

/* By formula: in a child nobody may take the backing's lock. */
static bool page_right(const struct file *f, const char *p, unsigned page)
{
	for (unsigned i = 0; i < PAGE; i++)
		if (((const volatile char *)p)[i] != (char)testback_byte(&f->back, (uint64_t)page * PAGE + i))
			return false;
	return true;
}

static bool page_is(const char *p, char c)
{
	for (unsigned i = 0; i < PAGE; i++)
		if (((const volatile char *)p)[i] != c)
			return false;
	return true;
}

static void prepare(struct file *f)
{
	memset(f->at + WRITTEN * PAGE, 'w', PAGE);
	CHECK(page_right(f, f->at + READ * PAGE, READ));
	CHECK(page_right(f, f->at + REMOVED * PAGE, REMOVED));
	CHECK_EQ(madvise(f->at + REMOVED * PAGE, PAGE, MADV_DONTNEED), 0);
}

static bool there(const char *p)
{
	bool yes = false;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	CHECK(pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)p / PAGE * sizeof(entry))) == (ssize_t)sizeof(entry));
	yes = entry >> 63;
	close(fd);
	return yes;
}

/* ------------------------------------------------------------------------------------------------ children */

/* A child says what went wrong by its status. */
#define MUST(c) \
	do { \
		if (!(c)) { \
			fprintf(stderr, "%s:%d: in a child, case %s %s: %s\n", __FILE__, __LINE__, vmtest_case, vmtest_with, #c); \
			_exit(1); \
		} \
	} while (0)

static void child_begins(void)
{
	signal(SIGALRM, SIG_DFL);
	alarm(vmtest_seconds(15));
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static pid_t begin(void (*run)(void *), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		child_begins();
		run(arg);
		_exit(0);
	}
	return pid;
}

static void ends_well(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
}

#define FORKING(r) \
	BOTH_MODES(r) \
		if (!forks(r)) \
			continue; \
		else

static bool forks(const struct rig *r)
{
	if (vmf_linux_lacks(r->space) & VMF_LACKS_FORK)
		vmtest_skip("children inherit nothing here: no privilege, or Linux before 6.6");
	return true;
}

static void look_at_all(void *arg)
{
	struct file *f = arg;

	MUST(page_is(f->at + WRITTEN * PAGE, 'w'));
	MUST(page_right(f, f->at + READ * PAGE, READ));
	MUST(page_is(f->at + REMOVED * PAGE, 0));
	for (unsigned i = ABSENT; i < PAGES; i++)
		MUST(page_right(f, f->at + i * PAGE, i));
}

static void write_all(void *arg)
{
	struct file *f = arg;

	look_at_all(f);
	memset(f->at, 'c', PAGES * PAGE);
	for (unsigned i = 0; i < PAGES; i++)
		MUST(page_is(f->at + i * PAGE, 'c'));
}

/* Present, absent and removed pages are the child's own from then on; nothing of what it does is seen here. */
static void goes_on(void)
{
	struct rig r;

	FORKING(&r) {
		struct file f;
		char *shared;

		file_open(&r, &f, 0);
		prepare(&f);
		shared = rig_map(&r, f.object, VMF_SHARED, PAGES, VMF_R | VMF_W); /* which they do not inherit */
		CHECK(page_right(&f, shared + ABSENT * PAGE, ABSENT));
		ends_well(begin(look_at_all, &f));
		ends_well(begin(write_all, &f));
		rig_unmap(&r, shared, PAGES);
		for (unsigned i = ABSENT; i < PAGES; i++)
			CHECK(!there(f.at + i * PAGE));
		look_at_all(&f);
		file_close(&r, &f);
	}
}

static int go[2]; /* what a child waits for */

static void look_later(void *arg)
{
	char c;

	MUST(read(go[0], &c, 1) == 1);
	look_at_all(arg);
}

/* What the parent does when fork() has returned is not seen: writes, pages that are removed, an area that goes. */
static void parent_goes_on(void)
{
	struct rig r;

	FORKING(&r) {
		struct file f;

		CHECK_EQ(pipe(go), 0);
		file_open(&r, &f, 0);
		for (unsigned i = 0; i < 3; i++) {
			pid_t pid;

			prepare(&f);
			pid = begin(look_later, &f);
			if (i == 0)
				memset(f.at, 'p', PAGES * PAGE);
			else if (i == 1)
				CHECK_EQ(madvise(f.at + ABSENT * PAGE, (PAGES - ABSENT) * PAGE, MADV_DONTNEED), 0);
			rig_unmap(&r, f.at, PAGES);
			CHECK_EQ(write(go[1], "x", 1), 1);
			ends_well(pid);
			f.at = rig_map(&r, f.object, 0, PAGES, VMF_R | VMF_W);
		}
		file_close(&r, &f);
		close(go[0]);
		close(go[1]);
	}
}

static void change_layout(void *arg)
{
	struct file *f = arg;
	char *now;

	MUST(madvise(f->at + 24 * PAGE, 4 * PAGE, MADV_DONTNEED) == 0);
	for (unsigned i = 24; i < 28; i++)
		MUST(page_is(f->at + i * PAGE, 0));
	MUST(page_right(f, f->at + 28 * PAGE, 28));
	MUST(munmap(f->at + 32 * PAGE, 4 * PAGE) == 0);
	MUST(page_right(f, f->at + 36 * PAGE, 36));
	now = mremap(f->at + 40 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)0x300000000000);
	MUST(now == (char *)0x300000000000);
	for (unsigned i = 0; i < 8; i++)
		MUST(page_right(f, now + i * PAGE, 40 + i));
	MUST(page_right(f, f->at + 48 * PAGE, 48));
}

static void layout(void)
{
	struct rig r;

	FORKING(&r) {
		struct file f;

		file_open(&r, &f, 0);
		prepare(&f);
		ends_well(begin(change_layout, &f));
		look_at_all(&f);
		file_close(&r, &f);
	}
}

static void be_a_parent(void *arg)
{
	struct file *f = arg;
	int status;
	pid_t pid;

	f->at[50 * PAGE] = 'c';
	MUST(madvise(f->at + 51 * PAGE, PAGE, MADV_DONTNEED) == 0);
	pid = fork();
	if (!pid) {
		MUST(f->at[50 * PAGE] == 'c');
		MUST(page_is(f->at + 51 * PAGE, 0));
		MUST(page_is(f->at + WRITTEN * PAGE, 'w'));
		MUST(page_is(f->at + REMOVED * PAGE, 0));
		for (unsigned i = 52; i < PAGES; i++)
			MUST(page_right(f, f->at + i * PAGE, i));
		if (f->at[50 * PAGE + 1] != 'g') { /* and its child */
			f->at[50 * PAGE + 1] = 'g';
			be_a_parent(f);
		}
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	MUST(page_right(f, f->at + 60 * PAGE, 60));
}

static void grandchildren(void)
{
	struct rig r;

	FORKING(&r) {
		struct file f;

		file_open(&r, &f, 0);
		prepare(&f);
		ends_well(begin(be_a_parent, &f));
		look_at_all(&f);
		file_close(&r, &f);
	}
}

/* ------------------------------------------------------------------------------------------- what they call */

static void call_things(void *arg)
{
	struct file *f = arg;
	int pipes[2];
	char buf[PAGE];

	MUST(pipe(pipes) == 0);
	MUST(vmf_write(pipes[1], f->at + ABSENT * PAGE, PAGE) == (ssize_t)PAGE);
	MUST(read(pipes[0], buf, PAGE) == (ssize_t)PAGE);
	MUST(page_right(f, buf, ABSENT));
	MUST(write(pipes[1], "abc", 3) == 3);
	MUST(vmf_read(pipes[0], f->at + 30 * PAGE + 5, 3) == 3);
	MUST(f->at[30 * PAGE + 6] == 'b' && f->at[30 * PAGE] == (char)testback_byte(&f->back, 30 * PAGE));
	MUST(vmf_touch(f->at + 40 * PAGE, 8 * PAGE, VMF_R).code == VMF_OK);
	for (unsigned i = 40; i < 48; i++)
		MUST(there(f->at + i * PAGE));
	MUST(vmf_touch(buf, PAGE, VMF_R).code == VMF_OK);
	MUST(vmf_fault_why(f->at + 40 * PAGE).code == VMF_OK);
	MUST(vmf_fault_why(buf).code == VMF_OK);
}

static void system_calls(void)
{
	struct rig r;

	FORKING(&r) {
		struct file f;

		file_open(&r, &f, 0);
		prepare(&f);
		ends_well(begin(call_things, &f));
		file_close(&r, &f);
	}
}

static bool is(struct vmf_result r, unsigned code, unsigned why, int err)
{
	return r.code == code && r.why == why && r.err == err;
}

/* An error is a signal, with its reason; and when it is over, bytes. */
static void meet_an_error(void *arg)
{
	struct file *f = arg;
	char *p = f->at + 33 * PAGE, c;

	MUST(rig_load(p, &c) == SIGBUS && rig_caught.addr == p);
	MUST(is(vmf_fault_why(p), VMF_SIGBUS, VMF_WHY_IOERR, 5));
	MUST(page_right(f, p, 33));
	MUST(vmf_fault_why(p).code == VMF_OK);
	MUST(page_right(f, f->at + 34 * PAGE, 34));
}

static void errors(void)
{
	struct rig r;

	rig_catching();
	FORKING(&r) {
		struct file f;

		file_open(&r, &f, 0);
		f.back.read = (struct testback_fail){ .in = 1, .err = 5 };
		ends_well(begin(meet_an_error, &f));
		CHECK(page_right(&f, f.at + 33 * PAGE, 33));
		file_close(&r, &f);
	}
}

static int signalled;

static void on_usr1(int sig)
{
	(void)sig;
	(void)!write(signalled, "s", 1);
}

static void wait_for_bytes(void *arg)
{
	struct file *f = arg;

	signal(SIGUSR1, on_usr1);
	MUST(page_right(f, f->at + ABSENT * PAGE, ABSENT));
}

/* A child that waits for its parent is interrupted like anybody else. */
static void interrupted(void)
{
	struct rig r;

	FORKING(&r) {
		int pipes[2];
		struct file f;
		pid_t pid;
		char c;

		file_open(&r, &f, 0);
		CHECK_EQ(pipe(pipes), 0);
		signalled = pipes[1];
		pthread_mutex_lock(&f.back.lock);
		f.back.when = TESTBACK_HELD_BACK;
		pthread_mutex_unlock(&f.back.lock);
		pid = begin(wait_for_bytes, &f);
		testback_wait_queued(&f.back, 1);
		CHECK_EQ(kill(pid, SIGUSR1), 0);
		CHECK_EQ(read(pipes[0], &c, 1), 1);
		testback_release(&f.back, 8);
		ends_well(pid);
		close(pipes[0]);
		close(pipes[1]);
		file_close(&r, &f);
	}
}

/* --------------------------------------------------------------------------------------- not inherited */

static void find_nothing(void *arg)
{
	struct file *f = arg;
	int pipes[2];
	char c;

	for (unsigned page = READ; page <= ABSENT; page += ABSENT - READ) { /* present, absent */
		char *p = f->at + page * PAGE + 7;

		MUST(rig_load(p, &c) == SIGSEGV && rig_caught.addr == p);
		MUST(is(vmf_fault_why(p), VMF_SIGSEGV, VMF_WHY_FORK, 0));
		MUST(is(vmf_touch(p, 1, VMF_R), VMF_SIGSEGV, VMF_WHY_FORK, 0));
		MUST(pipe(pipes) == 0);
		MUST(vmf_write(pipes[1], p, 1) == -1 && errno == EFAULT);
		MUST(write(pipes[1], "x", 1) == 1 && vmf_read(pipes[0], p, 1) == -1 && errno == EFAULT);
	}
	/* What is put there is the child's. */
	MUST(mmap(f->at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == f->at);
	MUST(vmf_touch(f->at, PAGE, VMF_R).code == VMF_OK && vmf_fault_why(f->at).code == VMF_OK);
}

static void none_of(struct rig *r, unsigned flags)
{
	struct file f;

	file_open(r, &f, flags);
	CHECK(page_right(&f, f.at + READ * PAGE, READ));
	ends_well(begin(find_nothing, &f));
	CHECK(page_right(&f, f.at + ABSENT * PAGE, ABSENT));
	file_close(r, &f);
}

static void not_inherited(void)
{
	struct rig r;

	rig_catching();
	BOTH_MODES(&r) {
		none_of(&r, VMF_SHARED);
		none_of(&r, VMF_NOFORK);
	}
}

static void on_request(void)
{
	rig_catching();
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		const struct vmf_linux_space config = { .size = sizeof(config), .flags = VMF_LINUX_NOFORK, .mode = mode };
		struct rig r;

		rig_port(&r.port);
		CHECK_ERR(vmf_linux_space(r.port, &r.space, &config), 0);
		CHECK(vmf_linux_lacks(r.space) & VMF_LACKS_FORK);
		none_of(&r, 0);
		rig_close(&r);
	}
}

/* The handler of signals that it has from its parent is that of its own port, too. */
static void open_only_its_own(void *arg)
{
	struct file f;
	struct rig r;
	char c;

	(void)arg;
	rig_open(&r, VMF_IN_CONTEXT);
	file_open(&r, &f, 0);
	f.back.read = (struct testback_fail){ .in = 1, .err = 5 };
	MUST(rig_load(f.at, &c) == SIGBUS && is(vmf_fault_why(f.at), VMF_SIGBUS, VMF_WHY_IOERR, 5));
	MUST(page_right(&f, f.at, 0));
	file_close(&r, &f);
	rig_close(&r);
}

/* As without CAP_SYS_PTRACE, and as on an older kernel. */
static void unprivileged(void)
{
	static const char *const without[] = { "privilege", "event_fork", "poison" };
	const char *was = getenv("VMF_WITHOUT") ? strdup(getenv("VMF_WITHOUT")) : NULL;
	struct rig r;

	rig_catching();
	for (unsigned i = 0; i < 3; i++) {
		setenv("VMF_WITHOUT", without[i], 1);
		BOTH_MODES(&r) {
			CHECK(vmf_linux_lacks(r.space) & VMF_LACKS_FORK);
			none_of(&r, 0);
			ends_well(begin(open_only_its_own, NULL));
		}
	}
	if (was)
		setenv("VMF_WITHOUT", was, 1);
	else
		unsetenv("VMF_WITHOUT");
	free((char *)(uintptr_t)was);
}

/* ---------------------------------------------------------------------------------------------- their end */

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void wait_to_be_killed(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

static void become_another(void *arg)
{
	(void)arg;
	execl("/bin/sleep", "sleep", "60", (char *)NULL);
	_exit(1);
}

/* So that nothing hangs up. */
static void close_all(void *arg)
{
	(void)arg;
	MUST(close_range(3, ~0u, 0) == 0);
}

/* Their descriptor and what holds the object are let go. */
static void noticed(void)
{
	void (*const how[])(void *) = { look_at_all, wait_to_be_killed, become_another, close_all };
	struct rig r;

	FORKING(&r)
		for (unsigned i = 0; i < 4; i++) {
			unsigned before;
			struct file f;
			pid_t pid;

			file_open(&r, &f, 0);
			prepare(&f);
			before = descriptors();
			pid = begin(how[i], &f);
			if (i == 0 || i == 3)
				ends_well(pid);
			else if (i == 1)
				kill(pid, SIGKILL);
			CHECK_SOON(descriptors() == before);
			file_close(&r, &f);
			if (i == 1 || i == 2) {
				kill(pid, SIGKILL);
				CHECK(waitpid(pid, NULL, 0) == pid);
			}
		}
}

static struct { struct file f; int go[2], said[2], pid[2]; unsigned mode; bool closes; } orphan;

static char state_of(pid_t pid)
{
	char path[40], line[200] = "", *at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return 'X';
	at = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	return at ? at[2] : 'X';
}

/* When its parent has gone it is told to go on; then it says what it meets. */
static void orphan_looks(void)
{
	char c = 'n', *p = orphan.f.at + ABSENT * PAGE;

	(void)prctl(PR_SET_PDEATHSIG, 0);
	MUST(dup2(orphan.go[0], 0) == 0 && dup2(orphan.said[1], 1) == 1);
	if (orphan.closes)
		MUST(close_range(3, ~0u, 0) == 0);
	MUST(write(1, "b", 1) == 1 && read(0, &c, 1) == 1);
	MUST(page_is(orphan.f.at + WRITTEN * PAGE, 'w'));
	MUST(write(1, "r", 1) == 1);
	MUST(rig_load(p, &c) == SIGBUS);
	MUST(is(vmf_fault_why(p), VMF_SIGBUS, VMF_WHY_FORK, 0));
	MUST(write(1, "S", 1) == 1);
}

static void killed_parent(void *arg)
{
	struct rig r;
	pid_t pid;

	(void)arg;
	rig_open(&r, orphan.mode);
	file_open(&r, &orphan.f, 0);
	prepare(&orphan.f);
	pid = fork();
	if (!pid) {
		child_begins();
		orphan_looks();
		_exit(0);
	}
	MUST(write(orphan.pid[1], &pid, sizeof(pid)) == (ssize_t)sizeof(pid));
	wait_to_be_killed(NULL);
}

static char said(void)
{
	char c = 0;

	CHECK_EQ(read(orphan.said[0], &c, 1), 1);
	return c;
}

/* In context a SIGBUS; threaded a sleep that does not end; never zeroes. */
static void orphans_of(unsigned mode, bool closes)
{
	pid_t parent, child;

	vmtest_with = rig_mode_name[mode];
	orphan.mode = mode;
	orphan.closes = closes;
	CHECK(pipe(orphan.go) == 0 && pipe(orphan.said) == 0 && pipe(orphan.pid) == 0);
	parent = begin(killed_parent, NULL);
	CHECK_EQ(read(orphan.pid[0], &child, sizeof(child)), sizeof(child));
	CHECK_EQ(said(), 'b');
	CHECK_EQ(kill(parent, SIGKILL), 0);
	CHECK(waitpid(parent, NULL, 0) == parent);
	CHECK_EQ(write(orphan.go[1], "g", 1), 1);
	CHECK_EQ(said(), 'r');
	if (mode == VMF_IN_CONTEXT) {
		CHECK_EQ(said(), 'S');
		ends_well(child);
	} else {
		CHECK_SOON(strchr("SZX", state_of(child)));
		CHECK_EQ(state_of(child), 'S');
		CHECK_EQ(kill(child, SIGKILL), 0);
		CHECK(waitpid(child, NULL, 0) == child);
	}
	for (unsigned i = 0; i < 2; i++) {
		close(orphan.go[i]);
		close(orphan.said[i]);
		close(orphan.pid[i]);
	}
}

static void need_fork(void)
{
	struct rig r;

	rig_open(&r, VMF_THREADED);
	(void)forks(&r);
	rig_close(&r);
}

static void orphans(void)
{
	need_fork();
	rig_catching();
	CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		orphans_of(mode, false);
		orphans_of(mode, true);
	}
}

#define SOCKETS 20u

/* The numbers of what it closed are its own by now: nothing is sent there. */
static void use_numbers_again(void *arg)
{
	struct file *f = arg;
	int pairs[SOCKETS][2];
	char c;

	close_all(NULL);
	for (unsigned i = 0; i < SOCKETS; i++)
		MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pairs[i]) == 0);
	if (f->rig->mode == VMF_THREADED) /* its faults need no descriptor */
		MUST(page_right(f, f->at + ABSENT * PAGE, ABSENT));
	else
		MUST(rig_load(f->at + ABSENT * PAGE, &c) == SIGBUS);
	(void)vmf_fault_why(f->at + ABSENT * PAGE);
	for (unsigned i = 0; i < SOCKETS; i++)
		MUST(read(pairs[i][0], &c, 1) == -1 && read(pairs[i][1], &c, 1) == -1);
}

static void closed_descriptors(void)
{
	struct rig r;

	rig_catching();
	FORKING(&r) {
		struct file f;

		file_open(&r, &f, 0);
		prepare(&f);
		ends_well(begin(use_numbers_again, &f));
		look_at_all(&f);
		file_close(&r, &f);
	}
}

static bool kill_parent; /* in the children of the next fork */

/* The first code of the child that runs: before the port's own. */
static void first_in_child(void)
{
	pid_t parent = getppid();

	if (!kill_parent)
		return;
	kill(parent, SIGKILL);
	while (getppid() == parent)
		usleep(100);
}

static void orphan_at_once(void *arg)
{
	struct file *f = &orphan.f;
	struct rig r;
	char c, *p;

	(void)arg;
	(void)prctl(PR_SET_PDEATHSIG, 0);
	rig_open(&r, orphan.mode);
	file_open(&r, f, 0);
	prepare(f);
	kill_parent = true;
	if (fork())
		wait_to_be_killed(NULL);
	alarm(vmtest_seconds(15));
	p = f->at + ABSENT * PAGE;
	MUST(page_is(f->at + WRITTEN * PAGE, 'w'));
	MUST(page_right(f, f->at + READ * PAGE, READ));
	MUST(rig_load(p, &c) == SIGBUS);
	MUST(is(vmf_fault_why(p), VMF_SIGBUS, VMF_WHY_FORK, 0));
	MUST(write(orphan.said[1], "S", 1) == 1);
}

/* Its parent dies before it could say a word, as that of a daemon does: what is absent is a SIGBUS. */
static void orphans_at_once(void)
{
	need_fork();
	rig_catching();
	CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (orphan.mode = VMF_THREADED; orphan.mode <= VMF_IN_CONTEXT; orphan.mode++) {
		int status;
		pid_t parent;

		vmtest_with = rig_mode_name[orphan.mode];
		CHECK_EQ(pipe(orphan.said), 0);
		parent = begin(orphan_at_once, NULL);
		CHECK(waitpid(parent, &status, 0) == parent && WIFSIGNALED(status));
		close(orphan.said[1]);
		CHECK_EQ(said(), 'S');
		CHECK(wait(&status) > 0);
		CHECK_EQ(status, 0);
		close(orphan.said[0]);
	}
}

/* -------------------------------------------------------------------------------------------- not by fork() */

static void meet_refusal(void *arg)
{
	struct file *f = arg;
	char c, *p = f->at + ABSENT * PAGE;

	MUST(page_is(f->at + WRITTEN * PAGE, 'w'));
	MUST(page_right(f, f->at + READ * PAGE, READ));
	MUST(rig_load(p, &c) == SIGBUS && rig_caught.addr == p);
	MUST(is(vmf_fault_why(p), VMF_SIGBUS, VMF_WHY_FORK, 0));
	MUST(munmap(f->at + 30 * PAGE, PAGE) == 0); /* its events are read */
}

/* What does not say hello is not served, and says so. */
static void cloned(void)
{
	struct rig r;

	rig_catching();
	FORKING(&r) {
		struct file f;
		long pid;

		file_open(&r, &f, 0);
		prepare(&f);
		pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
		if (!pid) {
			child_begins();
			meet_refusal(&f);
			_exit(0);
		}
		ends_well((pid_t)pid);
		look_at_all(&f);
		file_close(&r, &f);
	}
}

/* These share the memory: there is nothing to inherit, and nothing to wait for. */
static void spawned(void)
{
	struct rig r;

	FORKING(&r) {
		char *const args[] = { "true", NULL };
		struct file f;
		pid_t pid;

		file_open(&r, &f, 0);
		prepare(&f);
		CHECK_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, args, NULL), 0);
		ends_well(pid);
		CHECK_EQ(system("true"), 0);
		pid = vfork();
		if (!pid) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		ends_well(pid);
		look_at_all(&f);
		file_close(&r, &f);
	}
}

/* ------------------------------------------------------------------------------------------ around the space */

static void look_when_closed(void *arg)
{
	struct file *f = arg;
	char c;

	MUST(read(go[0], &c, 1) == 1);
	MUST(page_is(f->at + WRITTEN * PAGE, 'w'));
	MUST(rig_load(f->at + ABSENT * PAGE, &c) == SIGBUS);
	MUST(is(vmf_fault_why(f->at + ABSENT * PAGE), VMF_SIGBUS, VMF_WHY_FORK, 0));
	MUST(munmap(f->at + 30 * PAGE, PAGE) == 0);
	MUST(madvise(f->at + 31 * PAGE, PAGE, MADV_DONTNEED) == 0);
	if (!fork()) {
		MUST(page_is(f->at + WRITTEN * PAGE, 'w'));
		MUST(rig_load(f->at + ABSENT * PAGE, &c) == SIGBUS);
		_exit(0);
	}
	wait(NULL);
}

/* The parent closes the space: its children are left to themselves. */
static void closed(void)
{
	rig_catching();
	need_fork();
	for (unsigned mode = VMF_THREADED; mode <= VMF_IN_CONTEXT; mode++) {
		struct file f;
		struct rig r;
		pid_t pid;

		rig_open(&r, mode);
		CHECK_EQ(pipe(go), 0);
		file_open(&r, &f, 0);
		prepare(&f);
		pid = begin(look_when_closed, &f);
		file_close_object(&r, &f);
		CHECK_EQ(write(go[1], "x", 1), 1);
		ends_well(pid);
		close(go[0]);
		close(go[1]);
	}
}

static struct { struct file f; atomic_bool stop; } closing;

/* A child has the bytes, or a signal. */
static void look_or_fail(void *arg)
{
	char c;

	(void)arg;
	if (rig_load(closing.f.at + WRITTEN * PAGE, &c) == 0)
		MUST(c == 'w');
	if (rig_load(closing.f.at + ABSENT * PAGE, &c) == 0)
		MUST(c == (char)testback_byte(&closing.f.back, ABSENT * PAGE));
}

static void *fork_all_the_time(void *arg)
{
	(void)arg;
	while (!closing.stop)
		ends_well(begin(look_or_fail, NULL));
	return NULL;
}

static void closed_while_forking(void)
{
	rig_catching();
	need_fork();
	for (unsigned i = 0; i < 10; i++) {
		struct rig r;
		pthread_t t;

		rig_open(&r, i % 2 ? VMF_THREADED : VMF_IN_CONTEXT);
		file_open(&r, &closing.f, 0);
		prepare(&closing.f);
		closing.stop = false;
		CHECK_EQ(pthread_create(&t, NULL, fork_all_the_time, NULL), 0);
		usleep(1000 * i);
		file_close_object(&r, &closing.f);
		closing.stop = true;
		pthread_join(t, NULL);
	}
}

static void open_its_own(void *arg)
{
	struct file *f = arg, g;
	struct rig r;
	unsigned mode = f->rig->mode;
	char c;

	rig_open(&r, mode);
	file_open(&r, &g, 0);
	g.back.read = (struct testback_fail){ .in = 1, .err = 5 };
	MUST(rig_load(g.at + ABSENT * PAGE, &c) == SIGBUS);
	MUST(is(vmf_fault_why(g.at + ABSENT * PAGE), VMF_SIGBUS, VMF_WHY_IOERR, 5));
	prepare(&g);
	look_at_all(&g);
	look_at_all(f);
	ends_well(begin(look_at_all, &g));
	ends_well(begin(look_at_all, f));
	file_close(&r, &g);
	rig_close(&r);
	MUST(page_right(f, f->at + 10 * PAGE, 10));
}

/* A child with a port of its own: both work, there and in its children. */
static void own_port(void)
{
	struct rig r;

	rig_catching();
	FORKING(&r) {
		struct file f;

		file_open(&r, &f, 0);
		prepare(&f);
		ends_well(begin(open_its_own, &f));
		file_close(&r, &f);
	}
}

static void meet_a_signal(void *arg)
{
	struct file *f = arg;
	char c;

	MUST(page_is(f->at + WRITTEN * PAGE, 'w'));
	MUST(f->rig->mode == VMF_THREADED ? page_right(f, f->at + ABSENT * PAGE, ABSENT)
					   : rig_load(f->at + ABSENT * PAGE, &c) == SIGBUS);
}

/* No descriptor is left when the event comes, which brings one: fork() does not wait until there is. */
static void no_descriptors(void)
{
	struct rlimit was, few;
	struct rig r;

	rig_catching();
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = 100;
	FORKING(&r) {
		int fd[100], n = 0;
		struct file f;
		pid_t pid;

		file_open(&r, &f, 0);
		prepare(&f);
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
		while ((fd[n] = dup(0)) >= 0)
			n++;
		pid = begin(meet_a_signal, &f);
		while (n)
			close(fd[--n]);
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
		ends_well(pid);
		ends_well(begin(look_at_all, &f));
		file_close(&r, &f);
	}
}

/* ------------------------------------------------------------------------------- a driver that allocates */

static struct { atomic_bool wait, waits; atomic_uint begun, ended; } driver; /* begun, ended: calls of fork() */

/* Which the compiler believes to be of use. */
static void allocate(size_t bytes)
{
	void *volatile p = malloc(bytes);

	free(p);
}

static void before_fork(void) { driver.begun++; }
static void after_fork(void) { driver.ended++; }

/* fork() takes malloc's locks, and holds them until its event is read: so either it has returned, or it waits for
 * whoever reads, and malloc() will not return before it does. */
static void told(struct vmf_area *a)
{
	(void)a;
	if (atomic_exchange(&driver.wait, false)) {
		unsigned seen = driver.begun;

		driver.waits = true;
		while (driver.begun == seen)
			usleep(100);
		for (unsigned i = 0; i < 1000 && driver.ended <= seen; i++)
			usleep(100);
	}
	allocate(100);
	allocate(1 << 20);
}

static const struct vmf_ops told_ops = { .size = sizeof(told_ops), .opened = told, .closed = told };

static void nothing(void *arg) { (void)arg; }

/* It is told of an area that went, and waits for a thread that is in fork(): which goes on. */
static void driver_that_allocates(void)
{
	struct rig r;

	FORKING(&r) {
		struct vmf_object *o;
		struct file f;
		char *p;

		file_open(&r, &f, 0);
		CHECK_ERR(vmf_object_create(r.port, &o, &told_ops, NULL, 1), 0);
		p = rig_map(&r, o, 0, 1, VMF_R | VMF_W);
		driver.waits = false;
		driver.ended = driver.begun = 0;
		driver.wait = true;
		CHECK_EQ(munmap(p, PAGE), 0);
		CHECK_SOON(driver.waits);
		ends_well(begin(nothing, NULL));
		vmf_object_put(o);
		file_close(&r, &f);
	}
}

/* ------------------------------------------------------------------------------------------------- a storm */

static struct { struct rig r; struct file f; struct vmf_object *zero; atomic_bool stop; atomic_uint rounds; } storm;

/* Every page that it reads is compared; its own windows come and go by every way there is. */
static void *storm_thread(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (!storm.stop) {
		char *p = rig_map(&storm.r, storm.f.object, 0, 16, VMF_R | VMF_W), *q;

		for (unsigned i = 0; i < 16; i++)
			CHECK(page_right(&storm.f, p + i * PAGE, i));
		memset(p, 'x', PAGE);
		CHECK_EQ(madvise(p + 8 * PAGE, PAGE, MADV_DONTNEED), 0);
		CHECK(page_is(p + 8 * PAGE, 0) && page_is(p, 'x'));
		CHECK_ERR(vmf_revoke(storm.f.object, vmtest_random(&seed) % PAGES, 1), 0);
		if (vmtest_random(&seed) % 2)
			CHECK_EQ(munmap(p, 16 * PAGE), 0);
		else
			CHECK_SOON(vmf_unmap(storm.r.space, (vmf_va)p, 16) == 0);
		q = rig_map(&storm.r, storm.zero, 0, 1, VMF_R | VMF_W);
		allocate(vmtest_random(&seed) % 10000);
		if (vmtest_random(&seed) % 2)
			CHECK_EQ(munmap(q, PAGE), 0);
		else
			CHECK_SOON(vmf_unmap(storm.r.space, (vmf_va)q, 1) == 0);
		atomic_fetch_add(&storm.rounds, 1);
	}
	return NULL;
}

static void *storm_forker(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 10; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid) {
			child_begins();
			look_at_all(&storm.f);
			_exit(0);
		}
		ends_well(pid);
	}
	return NULL;
}

static void forks_in_a_storm(void)
{
	rig_catching();
	FORKING(&storm.r) {
		pthread_t t[8];

		storm.stop = false;
		storm.rounds = 0;
		file_open(&storm.r, &storm.f, 0);
		CHECK_ERR(vmf_object_create(storm.r.port, &storm.zero, &told_ops, NULL, 1), 0);
		prepare(&storm.f);
		for (uintptr_t i = 0; i < 8; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, i < 6 ? storm_thread : storm_forker, (void *)i), 0);
		for (unsigned i = 8; i-- > 0;) {
			if (i == 5)
				CHECK_SOON(storm.rounds >= 20);
			storm.stop = i < 6;
			pthread_join(t[i], NULL);
		}
		look_at_all(&storm.f);
		vmf_object_put(storm.zero);
		file_close(&storm.r, &storm.f);
	}
}

static const struct vmtest tests[] = {
	/* These run everywhere. */
	VMTEST(not_inherited), VMTEST(on_request), VMTEST(unprivileged),
	VMTEST(goes_on), VMTEST(parent_goes_on), VMTEST(layout), VMTEST(grandchildren), VMTEST(system_calls),
	VMTEST(errors), VMTEST(interrupted),
	VMTEST(noticed), VMTEST(orphans), VMTEST(orphans_at_once), VMTEST(closed_descriptors),
	VMTEST(cloned), VMTEST(spawned), VMTEST(closed), VMTEST(closed_while_forking),
	VMTEST(own_port), VMTEST(no_descriptors), VMTEST(driver_that_allocates), VMTEST(forks_in_a_storm),
};

/* Before any port registers handlers of its own. */
int main(int argc, char **argv)
{
	CHECK_EQ(pthread_atfork(before_fork, after_fork, first_in_child), 0);
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 60, argc, argv);
}
