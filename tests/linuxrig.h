/* SPDX-License-Identifier: MIT
 *
 * What tests of the Linux port stand on: a port with one space, in each of the two modes; a handler of SIGBUS and
 * SIGSEGV that was there before and jumps back; accesses that say what came of them.
 */
#ifndef LINUXRIG_H
#define LINUXRIG_H
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <vmfault/linux.h>
#include "vmtest.h"

#define PAGE 4096u

struct rig {
	struct vmf_port *port;
	struct vmf_space *space;
	unsigned mode;
};
static const char *const rig_mode_name[] = { "threaded", "in context" };

static inline void rig_port(struct vmf_port **port)
{
	CHECK_ERR(vmf_linux_open(port, NULL), 0);
}

static inline void rig_open_threads(struct rig *r, unsigned mode, unsigned threads)
{
	const struct vmf_linux_space config = { .size = sizeof(config), .mode = mode, .threads = threads };

	vmtest_with = rig_mode_name[mode];
	r->mode = mode;
	rig_port(&r->port);
	CHECK_ERR(vmf_linux_space(r->port, &r->space, &config), 0);
}

static inline void rig_open(struct rig *r, unsigned mode) { rig_open_threads(r, mode, 0); }

static inline void rig_close(struct rig *r)
{
	vmf_linux_space_close(r->space);
	vmf_linux_close(r->port);
}

static inline char *rig_map_as(struct rig *r, struct vmf_object *o, struct vmf_map m)
{
	vmf_va at;

	m.size = sizeof(m);
	CHECK_ERR(vmf_map(r->space, o, &m, &at), 0);
	return (char *)at;
}

static inline char *rig_map(struct rig *r, struct vmf_object *o, unsigned flags, uint64_t pages, unsigned prot)
{
	return rig_map_as(r, o, (struct vmf_map){ .flags = flags, .pages = pages, .prot = (uint8_t)prot });
}

static inline void rig_unmap(struct rig *r, char *at, uint64_t pages)
{
	CHECK_ERR(vmf_unmap(r->space, (vmf_va)at, pages), 0);
}

/* Does a space of this mode do without one of these (bits of enum vmf_linux_lack) here?  Then it says so, and what the
 * caller has to show cannot be shown. */
static inline bool rig_lacks(unsigned mode, unsigned which)
{
	struct rig r;
	unsigned lacks;

	rig_open(&r, mode);
	lacks = vmf_linux_lacks(r.space) & which;
	rig_close(&r);
	if (lacks)
		printf("# case %s: not here, where a space lacks %#x (enum vmf_linux_lack)\n", vmtest_case, lacks);
	return lacks;
}
#define RIG_TRAPS (VMF_LACKS_SHARED | VMF_LACKS_PRIVATE)

/* ------------------------------------------------------------------------------------ an access, and its end */

struct caught { int sig, code; char *addr; };
/* volatile: the compiler knows nothing of accesses that end in a handler */
static __thread sigjmp_buf *volatile rig_back;
static __thread volatile struct caught rig_caught;

static inline void rig_catch(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	if (!rig_back) {
		char why[80];

		vmtest_fail("signal %d at %p, which nobody expected: %s", sig, si->si_addr,
			    vmf_result_str(vmf_fault_why(si->si_addr), why, sizeof(why)));
	}
	rig_caught.sig = sig;
	rig_caught.code = si->si_code;
	rig_caught.addr = si->si_addr;
	siglongjmp(*rig_back, 1);
}

/* Before the port is opened. */
static inline void rig_catching(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sa.sa_sigaction = rig_catch;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

/* 0, or the signal; then rig_caught says more. */
static inline int rig_load(const char *p, char *c)
{
	sigjmp_buf back;

	rig_caught.sig = 0;
	if (sigsetjmp(back, 1)) {
		rig_back = NULL;
		return rig_caught.sig;
	}
	rig_back = &back;
	*c = *(volatile const char *)p;
	rig_back = NULL;
	return 0;
}

static inline int rig_store(char *p, char c)
{
	sigjmp_buf back;

	rig_caught.sig = 0;
	if (sigsetjmp(back, 1)) {
		rig_back = NULL;
		return rig_caught.sig;
	}
	rig_back = &back;
	*(volatile char *)p = c;
	rig_back = NULL;
	return 0;
}

static inline struct vmf_stats rig_stats(const struct rig *r)
{
	struct vmf_stats s = { .size = sizeof(s) };

	vmf_space_stats(r->space, &s);
	return s;
}

/* Runs in a child; its wait status. */
static inline int rig_child(void (*run)(void *), void *arg)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		run(arg);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

/* After the object: a fault lets its reference go a little after its thread has gone on. */
#define RIG_BACKING_CLOSE(b) \
	do { \
		CHECK_SOON(__atomic_load_n(&(b)->closed, __ATOMIC_ACQUIRE)); \
		testback_close(b); \
	} while (0)

#define BOTH_MODES(r) \
	for (unsigned m_ = VMF_THREADED; m_ <= VMF_IN_CONTEXT && (rig_open(r, m_), true); rig_close(r), m_++)

#endif
