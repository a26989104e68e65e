/* SPDX-License-Identifier: MIT
 *
 * The Linux port: what its calls refuse, which calls are for spaces of this process and which for another's, and what
 * its pmap says of the pages that it shows, each kind of window with a userfaultfd and without.
 */
#include <dirent.h>
#include <fcntl.h>
#include "linuxrig.h"
#include "ports/linux/local.h"

#define PAGES 4u

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

/* ------------------------------------------------------------------------------------------ descriptions */

static void ports_and_spaces_are_described_right(void)
{
	static const struct { struct vmf_linux_space c; int err; } t[] = {
		{ { .mode = VMF_IN_CONTEXT + 1 }, -VMF_EINVAL }, { { .threads = VMF__SERVERS + 1 }, -VMF_EINVAL },
		{ { .flags = 2 }, -VMF_EINVAL },                 { { .threads = VMF__SERVERS }, 0 },
		{ { .flags = VMF_LINUX_NOFORK }, 0 },
	};
	struct vmf_linux_config config = { .size = 4 };
	struct vmf_space *space;
	struct vmf_port *port;

	CHECK_ERR(vmf_linux_open(&port, &config), -VMF_EINVAL);
	config.size = sizeof(config);
	config.flags = 2;
	CHECK_ERR(vmf_linux_open(&port, &config), -VMF_EINVAL);
	config.flags = 0;
	CHECK_ERR(vmf_linux_open(&port, &config), 0);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vmf_linux_space c = t[i].c;
		int err;

		c.size = sizeof(c);
		err = vmf_linux_space(port, &space, &c);
		if (err != t[i].err)
			vmtest_fail("row %u: %s", i, vmf_err_str(err));
		if (!err)
			vmf_linux_space_close(space);
	}
	CHECK_ERR(vmf_linux_space(port, &space, &(struct vmf_linux_space){ .size = 4 }), -VMF_EINVAL);
	vmf_linux_close(port);
	vmf_linux_close(NULL);
	vmf_linux_space_close(NULL);
}

/* Calls for another process's memory know one of ours when they see it. */
static void a_space_of_ours_is_no_other_process(void)
{
	const struct vmf_linux_region region = { .va = 1 << 30, .bytes = PAGE, .page_size = PAGE };
	struct vmf_session *session;
	struct vmf_space *space;
	struct vmf_object *o;
	struct rig r;
	size_t bytes;
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);

	rig_open(&r, VMF_THREADED);
	CHECK_ERR(vmf_linux_serve(r.space), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_poison(r.space, 0, 1), -VMF_EINVAL);
	CHECK(vmf_linux_due(r.space) == UINT64_MAX);
	vmf_linux_adopt_close(r.space);
	CHECK(vmf_linux_lacks(r.space) < 128); /* it is still there */
	/* And a userfaultfd is nothing else that is a file. */
	CHECK_ERR(vmf_session_bytes(&region, 1, &bytes, NULL), 0);
	session = calloc(1, bytes);
	CHECK_ERR(vmf_session_init(NULL, &region, 1), -VMF_EINVAL);
	CHECK_ERR(vmf_session_init(session, &region, 1), 0);
	CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, 1), 0);
	CHECK_ERR(vmf_linux_adopt(r.port, &space, zero, session, o, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_adopt(r.port, &space, -1, session, o, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_linux_adopt(r.port, &space, zero, NULL, o, NULL), -VMF_EINVAL);
	session->magic++;
	CHECK_ERR(vmf_linux_adopt(r.port, &space, zero, session, o, NULL), -VMF_EINVAL);
	free(session);
	vmf_object_put(o);
	close(zero);
	rig_close(&r);
}

static void apertures_are_described_right(void)
{
	int file = memfd_create("aperture", MFD_CLOEXEC);
	const struct { int fd; off_t at; uint64_t pages; } bad[] = {
		{ file, 0, 0 }, { file, 0, UINT64_MAX }, { file, -PAGE, 1 }, { file, 1, 1 },
		{ file, 0, 3 }, { file, PAGE, 2 },       { -1, 0, 1 },
	};
	struct rig r;
	vmf_pfn pfn;

	CHECK(file >= 0 && !ftruncate(file, 2 * PAGE));
	rig_open(&r, VMF_IN_CONTEXT);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (vmf_linux_aperture(r.port, bad[i].fd, bad[i].at, bad[i].pages, &pfn) != -VMF_EINVAL)
			vmtest_fail("row %u", i);
	CHECK_ERR(vmf_linux_aperture(r.port, file, 0, 2, &pfn), 0);
	CHECK_EQ(vmf_phys_kind(r.port, pfn), VMF_PHYS_DEVICE);
	CHECK_EQ(vmf_phys_kind(r.port, (vmf_pfn){ pfn.n + 2 }), VMF_PHYS_HOLE);
	/* A number that is no segment's has no bytes. */
	CHECK(!vmf__bytes(vmf__linux_of(r.port), (vmf_pfn){ UINT64_MAX }));
	CHECK(!vmf__bytes(vmf__linux_of(r.port), (vmf_pfn){ (uint64_t)VMF__SEGMENTS << VMF__SEGMENT_SHIFT }));
	CHECK(!vmf__bytes(vmf__linux_of(r.port), pfn));
	rig_close(&r);
	close(file);
}

static enum vmf_code first_pfns(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = ((vmf_pfn *)req->object_priv)->n + req->off;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops pfn_ops = { .size = sizeof(pfn_ops), .nopfn = first_pfns };

/* A device's registers are mapped as the kernel maps them: who asks for memory is told so. */
static void a_device_is_no_memory(void)
{
	static const struct { uint8_t type; int sig; enum vmf_why why; } t[] = {
		{ VMF_WB, SIGBUS, VMF_WHY_ATTR }, { VMF_UC, 0, VMF_WHY_NONE },
	};
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	struct vmf_object *o;
	struct rig r;
	vmf_pfn pfn;
	char c;

	CHECK(zero >= 0);
	BOTH_MODES(&r) {
		CHECK_ERR(vmf_linux_aperture(r.port, zero, 0, PAGES, &pfn), 0);
		CHECK_ERR(vmf_object_create(r.port, &o, &pfn_ops, &pfn, PAGES), 0);
		for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			char *at = rig_map_as(&r, o, (struct vmf_map){ .flags = VMF_SHARED, .pages = PAGES, .prot = VMF_R,
				.attr.type = t[i].type });

			CHECK_EQ(rig_load(at, &c), t[i].sig);
			CHECK_EQ(vmf_fault_why(at).why, t[i].why);
			rig_unmap(&r, at, PAGES);
		}
		vmf_object_put(o);
	}
	close(zero);
}

/* --------------------------------------------------------------------------------------- what is shown */

static struct vmf_entry entry_at(struct rig *r, const char *at)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);
	struct vmf_entry e = { .present = true };

	CHECK_ERR(pmap->ops->query(pmap, (vmf_va)at, &e), 0);
	return e;
}

static int take(struct rig *r, const char *at, char *page)
{
	struct vmf_pmap *pmap = vmf_space_pmap(r->space);

	return pmap->ops->take(pmap, (vmf_va)at, page);
}

static void entries_of(struct rig *r, struct vmf_object *o, unsigned flags)
{
	char *at = rig_map(r, o, flags, PAGES, VMF_R | VMF_W), page[PAGE];
	struct vmf_entry e;

	CHECK(!entry_at(r, at).present);
	CHECK_ERR(take(r, at, page), -VMF_EFAULT);
	at[PAGE + 7] = 'x';
	e = entry_at(r, at + PAGE);
	CHECK(e.present && !e.raw);
	CHECK_EQ(e.prot, VMF_R | VMF_W);
	CHECK_EQ(e.pfn.n != 0, flags == VMF_SHARED);
	CHECK(!entry_at(r, at + 2 * PAGE).present);
	/* Only what was given away can be taken. */
	CHECK_ERR(take(r, at + PAGE, page), flags == VMF_SHARED ? -VMF_EFAULT : 0);
	if (flags != VMF_SHARED)
		CHECK(page[7] == 'x' && !memcmp(page, at + PAGE, PAGE));
	rig_unmap(r, at, PAGES);
	CHECK(!entry_at(r, at + PAGE).present);
	CHECK_ERR(take(r, at + PAGE, page), -VMF_EFAULT);
}

static void what_is_shown_is_said(void)
{
	char *was = getenv("VMF_WITHOUT") ? strdup(getenv("VMF_WITHOUT")) : NULL;
	struct vmf_object *o;
	struct rig r;

	for (unsigned trap = 0; trap < 2; trap++) {
		if (trap)
			setenv("VMF_WITHOUT", "userfaultfd", 1);
		BOTH_MODES(&r) {
			if (vmtest_lacks(!trap && vmf__linux_of(r.port)->pagemap < 0, "nobody says what is shown (pagemap)"))
				continue;
			CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, PAGES), 0);
			entries_of(&r, o, VMF_SHARED);
			entries_of(&r, o, 0);
			vmf_object_put(o);
		}
	}
	if (was)
		setenv("VMF_WITHOUT", was, 1);
	else
		unsetenv("VMF_WITHOUT");
	free(was);
}

static void raw_entries_are_said(void)
{
	int file = memfd_create("aperture", MFD_CLOEXEC);
	struct vmf_object *o;
	struct vmf_entry e;
	struct rig r;
	vmf_pfn pfn;
	char *at;

	CHECK(file >= 0 && !ftruncate(file, PAGES * PAGE));
	BOTH_MODES(&r) {
		CHECK_ERR(vmf_linux_aperture(r.port, file, 0, PAGES, &pfn), 0);
		CHECK_ERR(vmf_object_create(r.port, &o, &pfn_ops, &pfn, PAGES), 0);
		at = rig_map(&r, o, VMF_SHARED, PAGES, VMF_R | VMF_W);
		CHECK(!entry_at(&r, at + PAGE).present);
		at[PAGE] = 1;
		e = entry_at(&r, at + PAGE);
		CHECK(e.present && e.raw && e.pfn.n == pfn.n + 1);
		CHECK_EQ(e.attr.type, VMF_WB);
		CHECK_EQ(e.prot, VMF_R | VMF_W);
		CHECK(!entry_at(&r, at).present);
		/* vmf_touch() knows what is there, and brings the rest. */
		CHECK_OK(vmf_touch(at, PAGES * PAGE, VMF_W));
		CHECK_EQ(rig_stats(&r).faults, PAGES);
		CHECK(entry_at(&r, at + 3 * PAGE).present);
		rig_unmap(&r, at, PAGES);
		vmf_object_put(o);
	}
	close(file);
}

/* ------------------------------------------------------------------------------------ signals that are sent */

static _Atomic pid_t caught_by, sent_by;

static void note_thread(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)uc;
	atomic_store(&sent_by, si->si_pid);
	atomic_store(&caught_by, (pid_t)syscall(SYS_gettid));
}

/* A thread of the library's, by its name; 0: none. */
static pid_t thread_called(const char *name)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *d;
	pid_t found = 0;

	CHECK(tasks);
	while ((d = readdir(tasks)) && !found) {
		char path[300], is[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", d->d_name);
		f = fopen(path, "r");
		if (f && fgets(is, sizeof(is), f) && !strcmp(is, name))
			found = atoi(d->d_name);
		if (f)
			fclose(f);
	}
	closedir(tasks);
	return found;
}

/* By tgkill(), and by sigqueue(). */
static void send_to(pid_t thread, bool queue)
{
	siginfo_t si = { .si_signo = SIGBUS, .si_code = SI_QUEUE };

	si.si_pid = getpid();
	if (queue)
		CHECK(!syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, SIGBUS, &si));
	else
		CHECK(!syscall(SYS_tgkill, getpid(), thread, SIGBUS));
}

/* A SIGBUS that somebody sends is the application's business, on a thread of the application's, whichever it meets. */
static void what_is_sent_is_for_the_application(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO }, was;
	struct rig r;
	pid_t ours = 0;

	sa.sa_sigaction = note_thread;
	sigaction(SIGBUS, &sa, &was);
	rig_open(&r, VMF_THREADED);
	if (!vmtest_lacks(vmf_linux_lacks(r.space) & VMF_LACKS_PRIVATE, "without userfaultfd there are no threads")) {
		CHECK_SOON((ours = thread_called("vmfault\n")) != 0);
		for (unsigned queue = 0; queue < 2; queue++) {
			atomic_store(&caught_by, 0);
			send_to(ours, queue);
			CHECK_SOON(atomic_load(&caught_by) != 0);
			CHECK_EQ(atomic_load(&caught_by), getpid());
			CHECK_EQ(atomic_load(&sent_by), getpid());
		}
	}
	rig_close(&r);
	sigaction(SIGBUS, &was, NULL);
}

static const struct vmtest tests[] = {
	VMTEST(ports_and_spaces_are_described_right),
	VMTEST(a_space_of_ours_is_no_other_process),
	VMTEST(apertures_are_described_right),
	VMTEST(a_device_is_no_memory),
	VMTEST(what_is_shown_is_said),
	VMTEST(raw_entries_are_said),
	VMTEST(what_is_sent_is_for_the_application),
};

int main(int argc, char **argv)
{
	rig_catching();
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 20, argc, argv);
}
