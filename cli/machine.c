/* SPDX-License-Identifier: MIT
 *
 * Looks at the machine.  Needs no privilege, and leaves nothing behind.
 */
#include "../ports/linux/mask.h"
#include "../ports/linux/uffd.h"
#include "machine.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DEVICE "/dev/userfaultfd"
#define DEVICE_NEW _IO(0xAA, 0x00)
#define USER_ONLY 1

struct vmf_fact *vmf__fact(struct vmf_machine *m, const char *group, const char *name, bool here, const char *since)
{
	struct vmf_fact *f = &m->fact[m->n < VMF_FACTS ? m->n++ : VMF_FACTS - 1];

	*f = (struct vmf_fact){ .group = group, .name = name, .here = here, .since = since };
	return f;
}

#define SAY(field, ...) snprintf(field, sizeof(field), __VA_ARGS__)

static bool older_than(const struct vmf_machine *m, const char *version)
{
	unsigned major = 0, minor = 0;

	sscanf(version, "%u.%u", &major, &minor);
	return m->major < major || (m->major == major && m->minor < minor);
}

/* What only another kernel mends. */
static void mend_kernel(const struct vmf_machine *m, struct vmf_fact *f)
{
	if (older_than(m, f->since))
		SAY(f->mend, "run Linux %s or newer (this is %u.%u)", f->since, m->major, m->minor);
	else
		SAY(f->mend, "a kernel built with it: this one is new enough, but not configured for it");
}

/* The first number in a file, or fallback. */
static long long number_in(const char *path, long long fallback)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	return n > 0 ? strtoll(text, NULL, 10) : fallback;
}

/* ---------------------------------------------------------------------------------------- userfaultfd */

static int by_call(int flags)
{
	uint64_t mask = vmf__mask();
	long fd;

	if (mask & VMF__MASK_USERFAULTFD)
		return -ENOSYS;
	if (mask & (flags & USER_ONLY ? VMF__MASK_USER_ONLY : VMF__MASK_PRIVILEGE))
		return flags & USER_ONLY ? -EINVAL : -EPERM;
	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);
	return fd >= 0 ? (int)fd : -errno;
}

static int by_device(void)
{
	bool masked = vmf__mask() & (VMF__MASK_USERFAULTFD | VMF__MASK_DEVICE | VMF__MASK_PRIVILEGE);
	int device, fd;

	if (masked)
		return -ENOENT;
	device = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -errno;
	fd = ioctl(device, DEVICE_NEW, O_CLOEXEC | O_NONBLOCK);
	fd = fd >= 0 ? fd : -errno;
	close(device);
	return fd;
}

/* Closes it and says whether there was one. */
static bool was_open(int fd)
{
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void mend_filter(struct vmf_fact *f)
{
	SAY(f->mend, "in the container's seccomp profile: {\"names\":[\"userfaultfd\"],\"action\":\"SCMP_ACT_ALLOW\"}");
}

static void look_call(struct vmf_machine *m)
{
	int fd = by_call(0);
	long long allowed = number_in("/proc/sys/vm/unprivileged_userfaultfd", -1);
	struct vmf_fact *f = vmf__fact(m, "userfaultfd", "system call", was_open(fd), "4.3");

	m->uffd_full |= f->here;
	if (f->here) {
		SAY(f->detail, "faults of system calls and of KVM guests, too");
		return;
	}
	SAY(f->detail, "%s", strerror(-fd));
	SAY(f->cost, "VMMs of this user need " DEVICE "; without that too, no system call and no KVM guest can fault");
	if (fd == -EPERM && allowed == 0)
		SAY(f->mend, "sudo sysctl -w vm.unprivileged_userfaultfd=1");
	else if (m->filtered)
		mend_filter(f);
	else
		SAY(f->mend, "a kernel with CONFIG_USERFAULTFD=y");
}

static void look_device(struct vmf_machine *m)
{
	int fd = by_device();
	struct vmf_fact *f = vmf__fact(m, "userfaultfd", DEVICE, was_open(fd), "6.1");

	m->uffd_full |= f->here;
	if (f->here)
		return;
	SAY(f->detail, "%s", strerror(-fd));
	SAY(f->cost, "whoever may not use the system call has no other way to the full userfaultfd");
	if (fd == -EACCES || fd == -EPERM)
		SAY(f->mend, "sudo setfacl -m u:%u:rw " DEVICE, (unsigned)geteuid());
	else if (older_than(m, f->since))
		mend_kernel(m, f);
	else
		SAY(f->mend, "give the container or jail the device: docker run --device " DEVICE " ...");
}

static void look_user_only(struct vmf_machine *m)
{
	int fd = by_call(USER_ONLY);
	struct vmf_fact *f = vmf__fact(m, "userfaultfd", "user mode only", was_open(fd), "5.11");

	m->uffd_user = f->here;
	if (f->here) {
		SAY(f->detail, "needs no privilege; a system call on an absent page gets EFAULT");
		return;
	}
	SAY(f->detail, "%s", strerror(-fd));
	SAY(f->cost, "without privilege there is no userfaultfd at all");
	/* The kernel asks for no privilege here: it is not the kernel that says no. */
	if (m->filtered && (fd == -EPERM || fd == -ENOSYS))
		mend_filter(f);
	else
		mend_kernel(m, f);
}

struct feature { enum vmf__uffd_feature bit; const char *name, *since, *cost, *instead; };
static const struct feature features[] = {
	{ VMF__UF_EVENT_REMOVE, "EVENT_REMOVE", "4.11",
	  "memory that a guest gives back is not seen: 'vmfault serve' cannot work",
	  "this process: SIGSEGV and mprotect()" },
	{ VMF__UF_EVENT_FORK, "EVENT_FORK", "4.11",
	  "children of a program are not served", "this process: areas are not in children" },
	{ VMF__UF_EVENT_REMAP, "EVENT_REMAP", "4.11",
	  "mremap() of served memory is not followed", NULL },
	{ VMF__UF_EVENT_UNMAP, "EVENT_UNMAP", "4.11",
	  "munmap() of served memory is not followed", "this process: SIGSEGV and mprotect()" },
	{ VMF__UF_MISSING_HUGETLBFS, "MISSING_HUGETLBFS", "4.11",
	  "clients with huge pages cannot be served", NULL },
	{ VMF__UF_MISSING_SHMEM, "MISSING_SHMEM", "4.11",
	  "clients with a memfd cannot be served", "shared areas: SIGSEGV and mprotect()" },
	{ VMF__UF_SIGBUS, "SIGBUS", "4.14",
	  "in-context mode is slower", "SIGSEGV and mprotect()" },
	{ VMF__UF_THREAD_ID, "THREAD_ID", "4.14",
	  "traces do not name the faulting thread", NULL },
	{ VMF__UF_WP, "PAGEFAULT_FLAG_WP", "5.7",
	  "clean pages cannot be told from dirty ones by write-protection", "what is shown writable counts as dirty" },
	{ VMF__UF_MINOR_HUGETLBFS, "MINOR_HUGETLBFS", "5.13",
	  "huge frames cannot be shared by clients", "COPY" },
	{ VMF__UF_MINOR_SHMEM, "MINOR_SHMEM", "5.14",
	  "shared areas are slower, and no frames are shared with clients",
	  "shared areas: SIGSEGV and mprotect(); clients: COPY" },
	{ VMF__UF_EXACT_ADDRESS, "EXACT_ADDRESS", "5.18",
	  "traces know the page of a fault, not the byte", NULL },
	{ VMF__UF_WP_SHMEM, "WP_HUGETLBFS_SHMEM", "5.19",
	  "in shared windows every page that was mapped counts as dirty",
	  "pages are taken away when they are written back" },
	{ VMF__UF_WP_UNPOPULATED, "WP_UNPOPULATED", "6.4",
	  "in shared windows every page that was mapped counts as dirty",
	  "pages are taken away when they are written back" },
	{ VMF__UF_POISON, "POISON", "6.6",
	  "a page that cannot be read kills its client; with it the client gets a SIGBUS",
	  "serve: --on-error auto is kill; this process: PROT_NONE and SIGSEGV, handed on as SIGBUS" },
	{ VMF__UF_WP_ASYNC, "WP_ASYNC", "6.7",
	  "nothing: vmfault does not use it", NULL },
	{ VMF__UF_MOVE, "MOVE", "6.8",
	  "nothing: vmfault does not use it", NULL },
};

/* Asked for alone: a kernel lists EVENT_FORK also for those who may not have it. */
static int try_feature(enum vmf__uffd_feature bit)
{
	int fd = vmf__uffd_open(NULL), err;

	if (fd < 0)
		return fd;
	err = vmf__uffd_api(fd, bit);
	close(fd);
	return err;
}

static void look_features(struct vmf_machine *m)
{
	for (unsigned i = 0; i < sizeof features / sizeof *features; i++) {
		const struct feature *t = &features[i];
		int err = try_feature(t->bit);
		struct vmf_fact *f = vmf__fact(m, "userfaultfd features", t->name, !err, t->since);

		if (t->bit == VMF__UF_EVENT_REMOVE)
			m->event_remove = !err;
		if (!err)
			continue;
		SAY(f->cost, "%s", t->cost);
		SAY(f->instead, "%s", t->instead ? t->instead : "");
		if (err == -EPERM) {
			SAY(f->detail, "needs CAP_SYS_PTRACE");
			SAY(f->mend, "sudo setcap cap_sys_ptrace+ep PROGRAM");
		} else if (!m->uffd_full && !m->uffd_user)
			SAY(f->mend, "see userfaultfd above");
		else
			mend_kernel(m, f);
	}
}

/* --------------------------------------------------------------------------------- other system calls */

static bool has_pagemap_scan(void)
{
	struct {
		uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any, returned;
	} arg;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), r;
	uintptr_t page = (uintptr_t)&arg & ~(uintptr_t)4095;

	if (fd < 0)
		return false;
	memset(&arg, 0, sizeof arg);
	arg.size = sizeof arg;
	arg.start = page;
	arg.end = page;
	r = ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, sizeof arg), &arg);
	close(fd);
	return r >= 0;
}

static void look_calls(struct vmf_machine *m)
{
	static const struct { const char *name, *since, *cost; } row[] = {
		{ "memfd_create", "3.17", "objects have no segment: nothing can be shown shared" },
		{ "membarrier", "4.14", "a fence on each fault instead of one on each revoke" },
		{ "pidfd_open", "5.3", "'serve --on-error kill' cannot be sure whom it kills" },
		{ "PAGEMAP_SCAN", "6.7", "dirty pages are found by reading all of /proc/PID/pagemap" },
	};
	long barrier = vmf__mask() & VMF__MASK_MEMBARRIER ? 0 : syscall(SYS_membarrier, 0, 0, 0);
	bool here[] = { was_open((int)syscall(SYS_memfd_create, "probe", 1)), barrier > 0 && barrier & 8,
			was_open((int)syscall(SYS_pidfd_open, getpid(), 0)), has_pagemap_scan() };

	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		struct vmf_fact *f = vmf__fact(m, "system calls", row[i].name, here[i], row[i].since);

		if (here[i])
			continue;
		SAY(f->cost, "%s", row[i].cost);
		mend_kernel(m, f);
	}
}

static void look_filter(struct vmf_machine *m)
{
	char line[128];
	int mode = 0;
	FILE *f = fopen("/proc/self/status", "re");
	struct vmf_fact *fa;

	while (f && fgets(line, sizeof line, f))
		sscanf(line, "Seccomp: %d", &mode);
	if (f)
		fclose(f);
	m->filtered = mode == 2;
	fa = vmf__fact(m, "kernel", "seccomp", true, NULL);
	SAY(fa->detail, m->filtered ? "a filter is on: it may refuse what the kernel could do" : "no filter");
}

static void look_mask(struct vmf_machine *m)
{
	if (vmf__mask())
		SAY(vmf__fact(m, "kernel", "VMF_WITHOUT", true, NULL)->detail, "what follows is without %.70s",
		    secure_getenv("VMF_WITHOUT"));
}

/* --------------------------------------------------------------------------------------------- limits */

static void look_pool(struct vmf_machine *m, const char *name, unsigned kib, unsigned some)
{
	char path[96], free_path[96];
	long long all, unused;
	struct vmf_fact *f;

	SAY(path, "/sys/kernel/mm/hugepages/hugepages-%ukB/nr_hugepages", kib);
	SAY(free_path, "/sys/kernel/mm/hugepages/hugepages-%ukB/free_hugepages", kib);
	all = number_in(path, -1);
	unused = number_in(free_path, 0);
	f = vmf__fact(m, "huge pages", name, all > 0, NULL);
	if (all >= 0)
		SAY(f->detail, "%lld, %lld of them free", all, unused);
	else
		SAY(f->detail, "this kernel or processor has none");
	if (all > 0)
		return;
	SAY(f->cost, "no client on this machine can have %s pages", name);
	if (all < 0)
		SAY(f->mend, "a kernel with CONFIG_HUGETLBFS=y on a processor that has them");
	else if (kib == 2048)
		SAY(f->mend, "sudo sysctl -w vm.nr_hugepages=%u", some);
	else
		SAY(f->mend, "echo %u | sudo tee %s", some, path);
}

static void look_maps(struct vmf_machine *m)
{
	long long maps = number_in("/proc/sys/vm/max_map_count", -1);
	struct vmf_fact *f = vmf__fact(m, "limits", "max_map_count", maps > 65530, NULL);

	SAY(f->detail, "%lld", maps);
	if (f->here)
		return;
	SAY(f->cost, "a space can show about %lld isolated pages of apertures, not more", maps / 2);
	SAY(f->instead, "where areas trap, pages are hidden and come back");
	SAY(f->mend, "sudo sysctl -w vm.max_map_count=1048576");
}

static void look_locks(struct vmf_machine *m)
{
	struct rlimit l = { 0, 0 };
	struct vmf_fact *f;

	getrlimit(RLIMIT_MEMLOCK, &l);
	f = vmf__fact(m, "limits", "RLIMIT_MEMLOCK", l.rlim_cur >= UINT64_C(64) << 20 || !geteuid(), NULL);
	if (l.rlim_cur == RLIM_INFINITY)
		SAY(f->detail, "unlimited");
	else
		SAY(f->detail, "%llu KiB%s", (unsigned long long)l.rlim_cur >> 10,
		    geteuid() ? "" : ", but root has no limit");
	if (f->here)
		return;
	SAY(f->cost, "not more than that can be locked in memory (bolted areas)");
	SAY(f->mend, "ulimit -l unlimited   (LimitMEMLOCK=infinity in a unit of systemd)");
}

void vmf__machine_look(struct vmf_machine *m)
{
	struct utsname u;

	memset(m, 0, sizeof *m);
	if (!uname(&u) && sscanf(u.release, "%u.%u", &m->major, &m->minor) == 2)
		SAY(vmf__fact(m, "kernel", u.sysname, true, NULL)->detail, "%.64s %.16s", u.release, u.machine);
	m->fact[0].name = "Linux";
	look_filter(m);
	look_mask(m);
	look_call(m);
	look_device(m);
	look_user_only(m);
	look_features(m);
	vmf__machine_means(m);
	look_calls(m);
	look_pool(m, "2 MiB", 2048, 256);
	look_pool(m, "1 GiB", 1048576, 1);
	look_maps(m);
	look_locks(m);
}
