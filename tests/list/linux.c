/* SPDX-License-Identifier: MIT
 *
 * The list on the Linux port, in this process: threaded or in context, by offset or by copy.  Loads and stores are real
 * ones; what fails is a signal, and vmf_fault_why() says the reason.  The device is an aperture of a memfd.
 */
#include <linux/capability.h>
#include <sys/resource.h>
#include <vmfault/linux.h>
#include <vmfault/pmap.h>
#include "ports/linux/port.h"
#include "../linuxrig.h"
#include "list.h"

#define DEVICE_PAGES 4u
#define BOLTS 4u
#define WORD_AT 0x40u
#define SCRATCH_AT 0x80u

/* A segmentation fault that the kernel finds without us: it says whether something is there that forbids the access. */
static struct vmf_result reason(const char *p)
{
	struct vmf_result r = { .code = VMF_SIGSEGV };

	if (rig_caught.sig == SIGBUS)
		return vmf_fault_why(p);
	if (rig_caught.code == SEGV_ACCERR)
		r.why = VMF_WHY_PROT;
	else if (vmf_fault_why(p).why == VMF_WHY_FORK)
		r.why = VMF_WHY_FORK;
	return r;
}

static int caught(struct stage *st, const char *p)
{
	rig_back = NULL;
	st->failed = reason(p);
	return 1;
}

static void catch(sigjmp_buf *back)
{
	rig_caught.sig = 0;
	rig_back = back;
}

static int peek(struct stage *st, vmf_va va, uint32_t *word)
{
	sigjmp_buf back;

	if (sigsetjmp(back, 1))
		return caught(st, (const char *)va);
	catch(&back);
	*word = *(const volatile uint32_t *)va;
	rig_back = NULL;
	return 0;
}

static int poke(struct stage *st, vmf_va va, uint32_t word)
{
	sigjmp_buf back;

	if (sigsetjmp(back, 1))
		return caught(st, (const char *)va);
	catch(&back);
	*(volatile uint32_t *)va = word;
	rig_back = NULL;
	return 0;
}

/* The only thread of a threaded space cannot wait for itself, and nobody should jump out of a handler. */
static int touch(struct stage *st, vmf_va va, uint32_t *word, bool sure)
{
	struct vmf_result r = vmf_touch((const void *)va, sizeof(*word), VMF_R);

	(void)sure;
	if (r.code == VMF_OK) {
		*word = *(const volatile uint32_t *)va;
		return 0;
	}
	st->failed = r;
	return 1;
}

/* In context a handler may simply load. */
static int touch_in_context(struct stage *st, vmf_va va, uint32_t *word, bool sure)
{
	if (!sure)
		return touch(st, va, word, sure);
	*word = *(const volatile uint32_t *)va;
	return 0;
}

static unsigned run(struct stage *st, vmf_va va)
{
	(void)st;
	return ((unsigned (*)(void))va)();
}

/* ------------------------------------------------------------------------------------------------- polling */

static struct {
	pthread_t thread;
	atomic_bool stop;
	void (*f)(void *);
	void *arg;
} poller;

static void *poll_thread(void *arg)
{
	(void)arg;
	while (!poller.stop) {
		poller.f(poller.arg);
		usleep(1000);
	}
	return NULL;
}

static void poll_with(struct stage *st, void (*f)(void *), void *arg)
{
	(void)st;
	if (poller.f) {
		poller.stop = true;
		pthread_join(poller.thread, NULL);
	}
	poller.f = f;
	poller.arg = arg;
	poller.stop = false;
	if (f)
		CHECK_EQ(pthread_create(&poller.thread, NULL, poll_thread, NULL), 0);
}

static bool shows(struct stage *st, vmf_va va, vmf_pfn pfn, struct vmf_attr attr)
{
	struct vmf_pmap *pmap = vmf_space_pmap(st->space);
	struct vmf_entry e;

	return !pmap->ops->query(pmap, va, &e) && e.present && e.pfn.n == pfn.n && e.attr.type == attr.type;
}

static void put(const char *text) { fputs(text, stdout); }

/* -------------------------------------------------------------------------------------------------- the stage */

static void aperture(struct stage *st)
{
	int fd = memfd_create("aperture", MFD_CLOEXEC);

	st->device.pages = DEVICE_PAGES;
	st->word_at = WORD_AT;
	st->word = 0xdeffaced;
	st->scratch_at = SCRATCH_AT;
	st->weak.port = 1;
	st->alien.type = VMF_DEVICE;
	CHECK(fd >= 0 && !ftruncate(fd, DEVICE_PAGES * PAGE));
	CHECK_EQ(pwrite(fd, &st->word, sizeof(st->word), WORD_AT), sizeof(st->word));
	CHECK_ERR(vmf_linux_aperture(st->port, fd, 0, DEVICE_PAGES, &st->device.first), 0);
	close(fd);
}

static void device_memory(struct stage *st)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	st->memory.pages = DEVICE_PAGES;
	CHECK(fd >= 0 && !ftruncate(fd, DEVICE_PAGES * PAGE));
	CHECK_ERR(vmf_linux_aperture(st->port, fd, 0, DEVICE_PAGES, &st->memory.first), 0);
	st->memory_bytes = mmap(NULL, DEVICE_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(st->memory_bytes != MAP_FAILED);
	close(fd);
	st->adds = st->memory;
	st->cannot[STAGE_UNCACHED] = "a file is mapped in one way";
}

/* (QEMU's emulation of processes has no MLOCK_ONFAULT.) */
static bool can_lock(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can = !syscall(SYS_mlock2, page, PAGE, MLOCK_ONFAULT) || errno == ENOMEM || errno == EPERM;

	munmap(page, PAGE);
	return can;
}

/* So many pages can be locked, whoever we are.  => before there are threads */
static void bolts(struct stage *st)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	struct rlimit limit = { BOLTS * PAGE, BOLTS * PAGE };

	st->cannot[STAGE_ENTRIES] = "a page is locked in memory, not its entry";
	if (!can_lock()) {
		st->cannot[STAGE_BOLTS] = "no mlock2()";
		return;
	}
	st->bolts = BOLTS;
	CHECK(!syscall(SYS_capget, &head, caps));
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	caps[0].permitted &= ~(1u << CAP_IPC_LOCK);
	CHECK(!syscall(SYS_capset, &head, caps) && !setrlimit(RLIMIT_MEMLOCK, &limit));
}

static uint32_t add(struct stage *st, vmf_va va, uint32_t n)
{
	(void)st;
	return __atomic_fetch_add((uint32_t *)va, n, __ATOMIC_RELAXED);
}

static void instructions(struct stage *st)
{
	st->cannot[STAGE_EXECUTE] = NULL;
#if defined(__x86_64__)
	st->answer[0] = 0x00002ab8; /* mov $42, %eax */
	st->answer[1] = 0x0000c300; /* ret */
#elif defined(__aarch64__)
	st->answer[0] = 0x52800540; /* mov w0, #42 */
	st->answer[1] = 0xd65f03c0; /* ret */
#else
	st->cannot[STAGE_EXECUTE] = "no instructions for this CPU";
#endif
}

/* What the kernel, a filter or $VMF_WITHOUT does not let this space have. */
static void say_lacks(struct stage *st)
{
	static const char *const what[] = { "system calls on absent pages get EFAULT", "shared areas trap",
		"private areas trap", "no write-protection", "no poison", "no barrier" };
	unsigned lacks = vmf_linux_lacks(st->space);

	for (unsigned i = 0; i < sizeof(what) / sizeof(what[0]); i++)
		if (lacks >> i & 1)
			printf("# %s\n", what[i]);
	if (vmf__linux_of(st->port)->pagemap < 0 && !(lacks & VMF_LACKS_SHARED))
		st->cannot[STAGE_SHOWS] = "no pagemap: nobody says what is mapped";
}

static unsigned in_a_child(struct stage *st, unsigned (*f)(struct stage *, vmf_va), vmf_va va)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		alarm(vmtest_seconds(10));
		_exit((int)f(st, va));
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 0;
}

static void setup(struct stage *st, unsigned mode, bool copy)
{
	const struct vmf_linux_config config = { .size = sizeof(config), .ram = 1 << 20 };
	const struct vmf_linux_space space = { .size = sizeof(space), .mode = mode };

	rig_catching();
	bolts(st);
	CHECK_ERR(vmf_linux_open(&st->port, &config), 0);
	CHECK_ERR(vmf_linux_space(st->port, &st->space, &space), 0);
	st->store = copy ? VMF_BY_COPY : VMF_BY_OFFSET;
	st->flags = copy ? 0 : VMF_SHARED;
	st->cannot[STAGE_FORK_SHARED] = "nothing can be taken away from a child";
	if (vmf_linux_lacks(st->space) & VMF_LACKS_FORK)
		st->cannot[STAGE_FORK] = "no privilege, or no poison: nothing serves a child";
	st->fork = in_a_child;
	instructions(st);
	say_lacks(st);
	if (copy) {
		st->cannot[STAGE_HUGE] = "huge pages are of 2 MiB here, and go block by block (linux_hugetlb)";
		st->cannot[STAGE_DEVICE] = "no pfns in anonymous memory";
		st->cannot[STAGE_SHOWS] = "nobody says where anonymous memory is";
		if (vmf__linux_of(st->port)->pagemap < 0 && !(vmf_linux_lacks(st->space) & VMF_LACKS_PRIVATE))
			st->cannot[STAGE_PEEK] = "no pagemap: nobody says what was given away";
		st->cannot[STAGE_EXECUTE] = "bytes by copy are not shared by two areas";
	}
	aperture(st);
	device_memory(st);
	st->peek = peek;
	st->poke = poke;
	st->touch = mode == VMF_THREADED ? touch : touch_in_context;
	st->run = run;
	st->poll = poll_with;
	st->patience = 4;
	st->shows = shows;
	st->add = add;
	st->adder = "the CPU, in a file's page: it stands in for memory that adds";
	st->put = put;
}

static void usage(void)
{
	fprintf(stderr, "usage: linux threaded|in-context by-offset|by-copy\n");
	exit(2);
}

int main(int argc, char **argv)
{
	const char *mode = argc == 3 ? argv[1] : "", *store = argc == 3 ? argv[2] : "";
	struct stage st = { 0 };
	char name[64];

	if ((strcmp(mode, "threaded") && strcmp(mode, "in-context")) ||
	    (strcmp(store, "by-offset") && strcmp(store, "by-copy")))
		usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, vmtest_alarm);
	alarm(vmtest_seconds(20));
	snprintf(name, sizeof(name), "linux, %s, %s", mode, store);
	st.name = vmtest_case = name;
	setup(&st, strcmp(mode, "threaded") ? VMF_IN_CONTEXT : VMF_THREADED, !strcmp(store, "by-copy"));
	printf("# %s\n", st.name);
	list_run(&st);
	vmf_linux_space_close(st.space);
	vmf_linux_close(st.port);
	return list_end(&st);
}
