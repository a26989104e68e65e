/* SPDX-License-Identifier: MIT
 *
 * Every system call that the Linux port and the file backing make for memory of this process fails in turn, with every
 * error that it can have: threaded, in context, and where there is no userfaultfd (traps).
 *
 * A call that fails says why; an access that fails is a signal, and vmf_fault_why() knows the reason.  What was there
 * before is there afterwards, byte for byte; the same thing works when nothing fails any more; and at the end no
 * mapping, descriptor, thread, allocation or handler is left.
 */
#define FAILING_THIN 1u
#include "failcalls.h"
#include "linuxrig.h"

#define PAGES 16u
#define VIEWS 24u
#define OBJECTS 4u
#define TRAPS 2u /* beside VMF_THREADED and VMF_IN_CONTEXT */

static const struct failing_kind kinds[] = { CALL_KINDS };
static const unsigned listed[] = {
	UFFD_OPEN, UFFD_API_, UFFD_REGISTER, UFFD_UNREGISTER, UFFD_COPY, UFFD_ZERO, UFFD_CONT, UFFD_WP, UFFD_CHANGING,
	UFFD_READ, BARRIER_REGISTER, BARRIER, MMAP, MREMAP, MUNMAP, MPROTECT, DONTFORK, DONTNEED, MEMFD, FTRUNCATE,
	PUNCH, SEAL, DUP, PAGEMAP, PREAD, PWRITE, FILE_OPEN, FSTAT, LSEEK, FDATASYNC, EVENT_READ, EVENTFD, EPOLL_NEW,
	EPOLL_CTL, EPOLL_WAIT, PPOLL, THREAD, ALLOC,
};

/* ------------------------------------------------------------------------------------------- the world */

struct bytes { char page[PAGES][PAGE]; };
struct view {
	char *at;
	uint32_t pages, off;
	uint8_t prot;
	bool private, own[PAGES];
	struct bytes *of, *mine;
	const uint32_t *length;
};
static struct {
	unsigned mode;
	struct vmf_port *port;
	struct vmf_space *space;
	struct view view[VIEWS];
	unsigned views, objects;
	struct bytes bytes[OBJECTS], mine[VIEWS];
	uint32_t length[OBJECTS];
	char path[64];
	int aperture;
} w;

static const char *const mode_name[] = { "threaded", "in context", "traps" };

static void page_same(struct view *v, uint32_t i)
{
	const char *want = v->own[i] ? v->mine->page[i] : v->of->page[v->off + i];
	char c;
	int sig = rig_load(v->at + i * PAGE, &c);
	char why[80];

	if (!(v->prot & VMF_R)) {
		CHECK_EQ(sig, SIGSEGV);
		return;
	}
	if (!v->own[i] && v->off + i >= *v->length) {
		CHECK_EQ(sig, SIGBUS);
		return;
	}
	if (sig)
		vmtest_fail("view %u page %u: signal %d, %s", (unsigned)(v - w.view), i, sig,
			vmf_result_str(vmf_fault_why(v->at + i * PAGE), why, sizeof(why)));
	for (uint32_t k = 0; k < PAGE; k++)
		if (v->at[i * PAGE + k] != want[k])
			vmtest_fail("view %u page %u byte %u is %d, not %d", (unsigned)(v - w.view), i, k,
				v->at[i * PAGE + k], want[k]);
}

static void world_same(void)
{
	for (unsigned i = 0; i < w.views; i++)
		for (uint32_t k = 0; k < w.view[i].pages; k++)
			page_same(&w.view[i], k);
}

static int errno_says(int e)
{
	switch (e) {
	case EAGAIN:
		return -VMF_EAGAIN;
	case EPERM:
	case EACCES:
		return -VMF_EPERM;
	case ENOENT:
	case ESRCH:
		return -VMF_EGONE;
	case ENOSYS:
	case EINVAL:
		return -VMF_ENOSYS;
	case EEXIST:
		return -VMF_EEXIST;
	case EBUSY:
		return -VMF_EBUSY;
	case EIO:
		return -VMF_EIO;
	default:
		return -VMF_ENOMEM;
	}
}

static bool says(int err)
{
	if (err > 0)
		return err == failing.error || (failing.error == NOTHING && err == EIO);
	if (failing.kind == PREAD || failing.kind == PWRITE || failing.kind == FDATASYNC)
		return err == -VMF_EIO;
	if (failing.kind == FSTAT && (err == -VMF_EIO || err == -VMF_EINVAL))
		return true;
	/* POPULATE hands on what a fault came to. */
	if (failing.kind >= UFFD_COPY && failing.kind <= UFFD_WP && (err == -VMF_EFAULT || err == -VMF_EPERM))
		return true;
	return err == errno_says(failing.error) || err == -VMF_ENOMEM || (failing.error == EINVAL && err == -VMF_EINVAL);
}

static void refused(const char *what, int err)
{
	if (!failing_hit() || !says(err))
		vmtest_fail("%s is %d (%s)", what, err, vmf_err_str(err));
	failing_stop();
	world_same();
}

/* The library is called, and may fail once. */
#define STEP(call) \
	do { \
		int err_; \
		failing_quiet(false); \
		err_ = (call); \
		failing_quiet(true); \
		if (err_) { \
			refused(#call, err_); \
			err_ = (call); \
		} \
		CHECK_ERR(err_, 0); \
	} while (0)

/* Nobody but us fails here: how many of the library's own threads do, cannot be counted. */
#define QUIETLY(call) \
	do { \
		failing_quiet(true); \
		call; \
		failing_quiet(false); \
	} while (0)

static void access_refused(const char *p, int sig)
{
	struct vmf_result r = vmf_fault_why(p);
	char is[80];

	if (!failing_hit() || r.code == VMF_OK || (sig != SIGBUS && r.code != VMF_SIGSEGV))
		vmtest_fail("signal %d at %p: %s", sig, (const void *)p, vmf_result_str(r, is, sizeof(is)));
	if (failing.kind == PREAD) {
		CHECK_EQ(r.why, VMF_WHY_IOERR);
		CHECK_EQ(r.err, failing.error == NOTHING ? EIO : failing.error);
	}
	failing_stop();
	world_same();
}

static struct view *view_at(const char *p)
{
	for (unsigned i = 0; i < w.views; i++)
		if (p >= w.view[i].at && p < w.view[i].at + w.view[i].pages * PAGE)
			return &w.view[i];
	return NULL;
}

static void load(const char *p)
{
	struct view *v = view_at(p);
	uint32_t i = (uint32_t)((p - v->at) / PAGE);
	char c;
	int sig;

	failing_quiet(false);
	sig = rig_load(p, &c);
	failing_quiet(true);
	if (sig) {
		access_refused(p, sig);
		CHECK_EQ(rig_load(p, &c), 0);
	}
	CHECK_EQ(c, (v->own[i] ? v->mine->page[i] : v->of->page[v->off + i])[(p - v->at) % PAGE]);
}

static void store(char *p, char c)
{
	struct view *v = view_at(p);
	uint32_t i = (uint32_t)((p - v->at) / PAGE);
	int sig;

	failing_quiet(false);
	sig = rig_store(p, c);
	failing_quiet(true);
	if (sig) {
		access_refused(p, sig);
		CHECK_EQ(rig_store(p, c), 0);
	}
	if (v->private && !v->own[i]) {
		memcpy(v->mine->page[i], v->of->page[v->off + i], PAGE);
		v->own[i] = true;
	}
	(v->own[i] ? v->mine->page[i] : v->of->page[v->off + i])[(p - v->at) % PAGE] = c;
}

/* ------------------------------------------------------------------------------------------- views */

static struct bytes *mine_new(void)
{
	unsigned i = 0;

	for (unsigned k = 0; k < w.views; k++)
		if (w.view[k].mine == &w.mine[i]) {
			i++;
			k = UINT32_MAX; /* from the start again */
		}
	CHECK(i < VIEWS && w.views < VIEWS);
	return &w.mine[i];
}

static struct view *view_new(const struct view *like)
{
	struct bytes *mine = mine_new();
	struct view *v = &w.view[w.views++];

	*v = *like;
	v->mine = mine;
	return v;
}

static void views_cut(const char *p)
{
	struct view *v = view_at(p), *tail;
	uint32_t head;

	if (!v || v->at == p)
		return;
	head = (uint32_t)((p - v->at) / PAGE);
	tail = view_new(v);
	tail->at += head * PAGE;
	tail->pages -= head;
	tail->off += head;
	for (uint32_t k = 0; k < tail->pages; k++) {
		tail->own[k] = v->own[head + k];
		memcpy(tail->mine->page[k], v->mine->page[head + k], PAGE);
	}
	v->pages = head;
}

static void views_drop(char *p, uint32_t pages)
{
	views_cut(p);
	views_cut(p + pages * PAGE);
	for (unsigned i = 0; i < w.views;)
		if (w.view[i].at >= p && w.view[i].at < p + pages * PAGE)
			w.view[i] = w.view[--w.views];
		else
			i++;
}

/* Is the mapping at p one that children do not get? */
static bool kept_from_children(const char *p)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long lo, hi;
	char line[512];
	bool here = false, kept = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
			here = (unsigned long)p >= lo && (unsigned long)p < hi;
		else if (here && !strncmp(line, "VmFlags:", 8))
			kept = strstr(line, " dc") != NULL;
	}
	if (f)
		fclose(f);
	return kept;
}

static char *map(struct vmf_object *o, uint32_t object, unsigned flags, unsigned action, unsigned prot)
{
	struct vmf_map m = { .size = sizeof(m), .flags = flags, .pages = PAGES, .prot = (uint8_t)prot,
		.action = (uint8_t)action };
	vmf_va at = 0;

	STEP(vmf_map(w.space, o, &m, &at));
	(void)view_new(&(struct view){ .at = (char *)at, .pages = PAGES, .prot = (uint8_t)prot,
		.private = !(flags & VMF_SHARED), .of = &w.bytes[object], .length = &w.length[object] });
	if (flags & VMF_SHARED && failing.kind == DONTFORK)
		CHECK(kept_from_children((char *)at));
	return (char *)at;
}

static void protect(char *p, uint32_t pages, unsigned prot)
{
	STEP(vmf_protect(w.space, (vmf_va)p, pages, prot));
	views_cut(p);
	views_cut(p + pages * PAGE);
	for (unsigned i = 0; i < w.views; i++)
		if (w.view[i].at >= p && w.view[i].at < p + pages * PAGE)
			w.view[i].prot = (uint8_t)prot;
}

static void unmap(char *p, uint32_t pages)
{
	char c;

	STEP(vmf_unmap(w.space, (vmf_va)p, pages));
	views_drop(p, pages);
	CHECK_EQ(rig_load(p, &c), SIGSEGV);
}

/* ------------------------------------------------------------------------------------------- objects */

static uint32_t object_new(void)
{
	CHECK(w.objects < OBJECTS);
	memset(&w.bytes[w.objects], 0, sizeof(w.bytes[0]));
	w.length[w.objects] = PAGES;
	return w.objects++;
}

static struct vmf_object *zero_object(uint32_t *object)
{
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	struct vmf_object *o = NULL;

	STEP(vmf_object_create(w.port, &o, &ops, NULL, PAGES));
	*object = object_new();
	return o;
}

/* Pages 5 and 6 are a hole. */
static struct vmf_object *file_object(uint32_t *object)
{
	const struct vmf_file_config c = { .size = sizeof(c), .around = 4, .readahead = 8, .pages = PAGES };
	struct vmf_object *o = NULL;
	int fd;

	strcpy(w.path, "/tmp/vmf-fail-XXXXXX");
	fd = mkstemp(w.path);
	CHECK(fd >= 0);
	*object = object_new();
	for (unsigned i = 0; i < PAGES; i++) {
		memset(w.bytes[*object].page[i], i - 5 < 2 ? 0 : 'a' + (int)i, PAGE);
		if (i - 5 >= 2)
			CHECK_EQ(pwrite(fd, w.bytes[*object].page[i], PAGE, i * PAGE), PAGE);
	}
	close(fd);
	STEP(vmf_file_object(w.port, &o, w.path, &c));
	return o;
}

static void file_has(uint32_t object)
{
	static char page[PAGE];
	int fd = open(w.path, O_RDONLY | O_CLOEXEC);

	for (unsigned i = 0; i < PAGES; i++) {
		CHECK_EQ(pread(fd, page, PAGE, i * PAGE), PAGE);
		CHECK(!memcmp(page, w.bytes[object].page[i], PAGE));
	}
	close(fd);
}

static void sync_all(struct vmf_object *o, uint32_t object)
{
	int why = 0, err;

	failing_quiet(false);
	err = vmf_sync(o, 0, PAGES, &why);
	failing_quiet(true);
	if (err) {
		if (err == -VMF_EIO)
			CHECK_EQ(why, failing.error == NOTHING ? EIO : failing.error);
		refused("vmf_sync()", err);
		CHECK_ERR(vmf_sync(o, 0, PAGES, &why), 0);
	}
	file_has(object);
}

/* ------------------------------------------------------------------------------------- opening and closing */

static struct failcalls_state before;
static struct sigaction before_bus;
static sigset_t before_mask;

static void world_open(void)
{
	const struct vmf_linux_config port = { .size = sizeof(port), .ram = 1 << 20 };
	const struct vmf_linux_space space = { .size = sizeof(space),
		.mode = w.mode == VMF_IN_CONTEXT ? VMF_IN_CONTEXT : VMF_THREADED };

	w.views = w.objects = 0;
	w.port = NULL;
	w.space = NULL;
	STEP(vmf_linux_open(&w.port, &port));
	STEP(vmf_linux_space(w.port, &w.space, &space));
}

static void world_close(void)
{
	char c;

	world_same();
	failing_quiet(false);
	vmf_linux_space_close(w.space);
	vmf_linux_close(w.port);
	failing_quiet(true);
	/* (If not even mprotect() works, what is left keeps its userfaultfd, and who touches it waits.) */
	for (unsigned i = 0; i < w.views && !failing_is(MPROTECT, ENOMEM); i++)
		CHECK_EQ(rig_load(w.view[i].at, &c), SIGSEGV);
}

static void (*scenario)(void);
static void layout(void);

static void nothing_left(void)
{
	struct failcalls_state now = failcalls_state();
	struct sigaction bus;
	static sigset_t mask;

	CHECK(now.fds == before.fds || (failing.always && failing_is(MPROTECT, ENOMEM) && now.fds - before.fds <= 2));
	CHECK_EQ(now.tasks, before.tasks);
	CHECK_EQ(now.blocks, before.blocks);
	if (failing_hit() && failing.kind == MUNMAP) {
		/* What the kernel would not unmap is there. */
		CHECK(now.bytes >= before.bytes && now.bytes - before.bytes <= atomic_exchange(&failcalls_kept, 0));
		before = now;
	}
	/* What could not be closed was left, and nobody can touch it (world_close()). */
	if (failing_hit() && (failing.kind == UFFD_UNREGISTER || failing.kind == MPROTECT))
		before = now;
	CHECK_EQ(now.bytes, before.bytes);
	CHECK_EQ(now.maps, before.maps);
	sigaction(SIGBUS, NULL, &bus);
	CHECK(bus.sa_sigaction == before_bus.sa_sigaction);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	CHECK(!memcmp(&mask, &before_mask, sizeof(mask)));
}

static void run(void)
{
	scenario();
	failing_stop();
	/* A barrier that could not be had was asked for until it could. */
	if (failing_hit() && failing.kind == BARRIER && failing.always && scenario != layout)
		CHECK_EQ(atomic_load(&failing.hits), FAILING_WHILE + 1);
	if (before.fds)
		nothing_left();
}

static void sweep_as(unsigned mode, void (*which)(void))
{
	w.mode = mode;
	scenario = which;
	if (mode == TRAPS)
		setenv("VMF_WITHOUT", "userfaultfd", 1);
	/* What the C library and the registry keep, they have by now. */
	before.fds = 0;
	for (unsigned i = 0; i < 3; i++)
		failing_run(run, 0, 0, 0, false);
	before = failcalls_state();
	sigaction(SIGBUS, NULL, &before_bus);
	pthread_sigmask(SIG_SETMASK, NULL, &before_mask);
	failing_sweep(run);
	unsetenv("VMF_WITHOUT");
}

/* Thinned: each scenario in one mode, another one each time. */
static void sweep(void (*which)(void), unsigned modes)
{
	static unsigned next;

	for (unsigned mode = VMF_THREADED; mode < modes; mode++) {
		if (failing.thin && mode != next % modes)
			continue;
		fprintf(stderr, "%s\n", mode_name[mode]);
		sweep_as(mode, which);
	}
	next++;
}

/* ------------------------------------------------------------------------------------------ the scenarios */

static void work_on(struct vmf_object *o, char *at)
{
	for (unsigned i = 0; i < PAGES; i += 3)
		store(at + i * PAGE + i, (char)(i + 1));
	for (unsigned i = 0; i < PAGES; i += 5)
		load(at + i * PAGE);
	protect(at + 4 * PAGE, 6, VMF_R);
	protect(at + 6 * PAGE, 2, VMF_R | VMF_W);
	store(at + 6 * PAGE, 'x');
	STEP(vmf_revoke(o, 2, 7));
	load(at + 3 * PAGE);
	load(at + 7 * PAGE);
	unmap(at + 11 * PAGE, 2);
	store(at + 2 * PAGE, 'y');
}

static void zeroes(void)
{
	uint32_t object;
	struct vmf_object *o;

	world_open();
	o = zero_object(&object);
	work_on(o, map(o, object, VMF_SHARED, VMF_LAZY, VMF_R | VMF_W));
	(void)map(o, object, VMF_SHARED, VMF_POPULATE, VMF_R | VMF_W);
	work_on(o, map(o, object, 0, VMF_LAZY, VMF_R | VMF_W));
	vmf_object_put(o);
	world_close();
}

static void file(void)
{
	uint32_t object;
	struct vmf_object *o;
	char *at;

	world_open();
	o = file_object(&object);
	at = map(o, object, VMF_SHARED, VMF_LAZY, VMF_R | VMF_W);
	work_on(o, at);
	sync_all(o, object);
	store(at + 2 * PAGE, 'z');
	(void)vmf_reclaim(o, 0, PAGES);
	protect(at + 3 * PAGE, 6, VMF_R | VMF_W); /* of four areas: the first ones change, and change back */
	load(at + 14 * PAGE);
	sync_all(o, object);
	at = map(o, object, 0, VMF_LAZY, VMF_R | VMF_W);
	load(at + 9 * PAGE);
	store(at + 10 * PAGE, 'p');
	vmf_object_put(o);
	world_close();
	unlink(w.path);
}

/* ------------------------------------------------------------------------------------- pfns, and apertures */

static vmf_pfn first_pfn;

static enum vmf_code pfn_at(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = first_pfn.n + req->off;
	ans->n = 1;
	return VMF_OK;
}

static void pfns(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopfn = pfn_at };
	int fd = memfd_create("aperture", MFD_CLOEXEC);
	uint32_t object = 0;
	struct vmf_object *o;
	char *at;

	CHECK_EQ(ftruncate(fd, PAGES * PAGE), 0);
	world_open();
	STEP(vmf_linux_aperture(w.port, fd, 0, PAGES, &first_pfn));
	STEP(vmf_object_create(w.port, &o, &ops, NULL, PAGES));
	object = object_new();
	at = map(o, object, VMF_SHARED, VMF_LAZY, VMF_R | VMF_W);
	for (unsigned i = 0; i < PAGES; i += 3)
		store(at + i * PAGE, (char)(i + 1));
	STEP(vmf_revoke(o, 2, 7));
	load(at + 3 * PAGE);
	protect(at + 8 * PAGE, 3, VMF_R);
	load(at + 9 * PAGE);
	unmap(at + 11 * PAGE, 2);
	vmf_object_put(o);
	world_close();
	close(fd);
}

/* --------------------------------------------------------------- touching, and system calls on absent pages */

static void touch(char *p, unsigned access)
{
	struct vmf_result r;

	failing_quiet(false);
	r = vmf_touch(p, 3 * PAGE, access);
	failing_quiet(true);
	if (r.code != VMF_OK) {
		CHECK(failing_hit());
		failing_stop();
		world_same();
		r = vmf_touch(p, 3 * PAGE, access);
	}
	CHECK_OK(r);
}

static void write_out(int fd, const char *p, size_t n)
{
	ssize_t got;

	failing_quiet(false);
	got = vmf_pwrite(fd, p, n, 0);
	failing_quiet(true);
	if (got < 0) {
		CHECK(failing_hit() && (errno == EIO || errno == ENOMEM || errno == EFAULT || errno == failing.error));
		failing_stop();
		world_same();
		got = vmf_pwrite(fd, p, n, 0);
	}
	CHECK(got > 0 || (got == 0 && failing.error == NOTHING));
}

static void touching(void)
{
	int fd = memfd_create("sink", MFD_CLOEXEC);
	uint32_t object;
	struct vmf_object *o;
	char *at;

	world_open();
	o = file_object(&object);
	at = map(o, object, VMF_SHARED, VMF_LAZY, VMF_R | VMF_W);
	touch(at + 2 * PAGE, VMF_R);
	touch(at + 3 * PAGE, VMF_W);
	write_out(fd, at + 8 * PAGE, 2 * PAGE);
	at = map(o, object, 0, VMF_LAZY, VMF_R | VMF_W);
	touch(at + 4 * PAGE, VMF_R);
	write_out(fd, at + 12 * PAGE, PAGE);
	vmf_object_put(o);
	world_close();
	unlink(w.path);
	close(fd);
}

/* ------------------------------------------------------------------- what the application does by itself */

/* (Of mremap() and munmap() our call is the system's; they wait for who reads events, whatever fails there.) */
static void layout(void)
{
	uint32_t object;
	struct vmf_object *o;
	char *at, *to;

	world_open();
	/* Without a userfaultfd nobody sees what it does. */
	if (vmf_linux_lacks(w.space) & VMF_LACKS_PRIVATE) {
		world_close();
		return;
	}
	o = zero_object(&object);
	at = map(o, object, 0, VMF_LAZY, VMF_R | VMF_W);
	for (unsigned i = 0; i < PAGES; i += 2)
		store(at + i * PAGE, (char)(i + 1));
	failing_quiet(false);
	CHECK_EQ(madvise(at + 2 * PAGE, 3 * PAGE, MADV_NORMAL), 0);
	CHECK_EQ(syscall(SYS_madvise, at + 2 * PAGE, 3 * PAGE, MADV_DONTNEED), 0);
	failing_quiet(true);
	for (unsigned i = 2; i < 5; i++) {
		w.view[0].own[i] = true;
		memset(w.view[0].mine->page[i], 0, PAGE);
	}
	load(at + 2 * PAGE);
	load(at + 4 * PAGE);
	to = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	failing_quiet(false);
	CHECK(syscall(SYS_mremap, at + 6 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == (long)to);
	failing_quiet(true);
	views_cut(at + 6 * PAGE);
	views_cut(at + 10 * PAGE);
	view_at(at + 6 * PAGE)->at = to;
	load(to + PAGE);
	store(to + 3 * PAGE, 'm');
	failing_quiet(false);
	CHECK_EQ(syscall(SYS_munmap, at + 12 * PAGE, 2 * PAGE), 0);
	failing_quiet(true);
	views_drop(at + 12 * PAGE, 2);
	atomic_fetch_sub(&failcalls_bytes, 6 * PAGE); /* that went unseen */
	load(at + 14 * PAGE);
	vmf_object_put(o);
	world_close();
}

static void opening(void)
{
	world_open();
	world_close();
}

static void zero_filled(void) { sweep(zeroes, TRAPS + 1); }
static void files(void) { sweep(file, TRAPS + 1); }
static void opened(void) { sweep(opening, TRAPS + 1); }
static void apertures(void) { sweep(pfns, TRAPS + 1); }
static void touched(void) { sweep(touching, TRAPS + 1); }
static void by_itself(void) { sweep(layout, TRAPS); } /* traps see nothing of it */

static const struct vmtest tests[] = {
	VMTEST(opened),
	VMTEST(zero_filled),
	VMTEST(files),
	VMTEST(apertures),
	VMTEST(touched),
	VMTEST(by_itself),
};

int main(int argc, char **argv)
{
	struct vmf_port *port;

	failing.kinds = kinds;
	failing.n = CALLS;
	failing.listed = listed;
	failing.nlisted = sizeof(listed) / sizeof(listed[0]);
	failing.error_name = call_error;
	failing.seconds = 30;
	failing_quiet(true);
	rig_catching();
	rig_port(&port);
	vmf_linux_close(port);
	return failing_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
