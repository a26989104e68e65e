/* SPDX-License-Identifier: MIT
 *
 * The model on the Linux port, in this process: threaded or in context.  Shared areas are by offset, private ones by
 * copy.  Loads, stores and fetches are real ones; what fails is a signal, and vmf_fault_why() says the reason.
 * munmap(), mremap(), madvise() and fork() are the kernel's.
 */
#include <sched.h>
#include <sys/prctl.h>
#include <vmfault/linux.h>
#include "../linuxrig.h"
#include "hosted.h"

#define BASE ((vmf_va)0x200000000000) /* far from where the kernel puts things by itself */

/* A segmentation fault that the kernel finds without us: it says whether something is there that forbids the access. */
static int caught(struct model_stage *st, vmf_va va)
{
	struct vmf_result r = vmf_fault_why((const void *)va);

	rig_back = NULL;
	if (rig_caught.sig == SIGSEGV && (r.code != VMF_SIGSEGV || r.why != VMF_WHY_FORK)) {
		r = (struct vmf_result){ .code = VMF_SIGSEGV };
		r.why = rig_caught.code == SEGV_ACCERR ? VMF_WHY_PROT : VMF_WHY_NONE;
	}
	st->failed = (struct vmf_result){ .code = r.code, .why = r.why, .err = r.err };
	return 1;
}

static void catch(sigjmp_buf *back)
{
	rig_caught.sig = 0;
	rig_back = back;
}

static int load(struct model_stage *st, unsigned space, vmf_va va, uint32_t word[MODEL_WORDS])
{
	sigjmp_buf back;

	(void)space;
	if (sigsetjmp(back, 1))
		return caught(st, va);
	catch(&back);
	for (unsigned k = 0; k < MODEL_WORDS; k++)
		word[k] = *(const volatile uint32_t *)(va + model_word_at(k));
	rig_back = NULL;
	return 0;
}

static int store(struct model_stage *st, unsigned space, vmf_va va, uint32_t value)
{
	sigjmp_buf back;

	(void)space;
	if (sigsetjmp(back, 1))
		return caught(st, va);
	catch(&back);
	*(volatile uint32_t *)va = value;
	rig_back = NULL;
	return 0;
}

/* A function of one word. */
#if defined(__x86_64__)
#define CODE_MASK 0x0000ff00u
static uint32_t code(uint32_t value) { return (value & 0xff00ff00u) | 0x00c300b0u; } /* mov $value, %al; ret */
static uint32_t run(vmf_va va) { return (uint32_t)((unsigned char (*)(void))va)() << 8; }
#else
/* What is longer than a word is not run; what must not be run is tried everywhere. */
#define CODE_MASK 0u
static uint32_t code(uint32_t value) { return ~value; }
static uint32_t run(vmf_va va) { return ((uint32_t (*)(void))va)(); }
#endif

static int fetch(struct model_stage *st, unsigned space, vmf_va va, uint32_t *value)
{
	sigjmp_buf back;

	(void)space;
	if (sigsetjmp(back, 1))
		return caught(st, va);
	catch(&back);
	*value = run(va);
	rig_back = NULL;
	return 0;
}

/* ---------------------------------------------------------------------------------------- behind our back */

static void moment(struct model_stage *st)
{
	(void)st;
	usleep(20);
}

/* The core is told a little after the application goes on. */
static bool known(struct model_stage *st, vmf_va va, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++) {
		struct vmf_area *a = vmf_area_find(st->space[0], va + i * MODEL_PAGE);

		vmf_area_put(a);
		if (a)
			return false;
	}
	return true;
}

static int settle(struct model_stage *st, vmf_va va, uint64_t pages)
{
	for (unsigned tries = 0; !known(st, va, pages); tries++) {
		if (tries > 100000)
			return -VMF_EAGAIN;
		moment(st);
	}
	return 0;
}

static int gone(struct model_stage *st, unsigned space, vmf_va va, uint64_t pages)
{
	(void)space;
	if (munmap((void *)va, pages * MODEL_PAGE))
		return -VMF_EFAULT;
	return settle(st, va, pages);
}

static int move(struct model_stage *st, unsigned space, vmf_va from, vmf_va to, uint64_t pages)
{
	size_t bytes = pages * MODEL_PAGE;

	(void)space;
	if (mremap((void *)from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to) == MAP_FAILED)
		return errno == ENOMEM ? -VMF_ENOMEM : -VMF_EFAULT;
	return settle(st, from, pages);
}

static int forget(struct model_stage *st, unsigned space, vmf_va va, uint64_t pages)
{
	(void)st;
	(void)space;
	return madvise((void *)va, pages * MODEL_PAGE, MADV_DONTNEED) ? -VMF_EFAULT : 0;
}

static bool child(struct model_stage *st, bool (*f)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	(void)st;
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(20);
		_exit(!f(arg));
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* -------------------------------------------------------------------------------------------- the stage */

const char *const model_stage_names = "threaded|in-context";

bool model_stage_known(const char *name) { return !strcmp(name, "threaded") || !strcmp(name, "in-context"); }

/* A handler on the CPU of who faults: a wake-up across CPUs takes ten times as long. */
static void stay(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Where areas trap, what the application does to the layout goes unseen (VMF_WITHOUT=userfaultfd). */
static void do_without(struct model_stage *st)
{
	unsigned lacks = vmf_linux_lacks(st->space[0]);

	st->inherits = !(lacks & VMF_LACKS_FORK);
	if (lacks & (VMF_LACKS_SHARED | VMF_LACKS_PRIVATE)) {
		st->move = NULL;
		st->forget = NULL;
		st->gone = NULL;
	}
}

struct model_stage *model_stage_open(const char *name)
{
	static struct model_stage st;
	struct vmf_linux_space config = { .size = sizeof(config) };

	config.mode = strcmp(name, "threaded") ? VMF_IN_CONTEXT : VMF_THREADED;
	vmtest_case = name;
	st = (struct model_stage){
		.name = name, .spaces = 1, .base = BASE, .soon = true, .reads_first = true, .load = load, .store = store,
		.fetch = fetch, .code = code, .code_mask = CODE_MASK, .move = move, .forget = forget, .gone = gone,
		.child = child, .pause = moment,
	};
	stay();
	rig_catching();
	rig_port(&st.port);
	CHECK_ERR(vmf_linux_space(st.port, &st.space[0], &config), 0);
	do_without(&st);
	return &st;
}

void model_stage_close(struct model_stage *st)
{
	vmf_linux_space_close(st->space[0]);
	vmf_linux_close(st->port);
}
