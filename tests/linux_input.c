/* SPDX-License-Identifier: MIT
 *
 * Bad input to the calls of linux.h: NULL, of no length, wrapping, past the end, structs that are too short or too
 * long, descriptors of the wrong kind.  Each gives the error that its header says, and nothing has changed: no
 * counter, no area, no page, no descriptor.  (vmfault.h and host.h: core_input.)
 */
#include <dirent.h>
#include <fcntl.h>
#include "input.h"
#include <vmfault/pmap.h>
#include "linuxrig.h"

#define PAGES 4u

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static struct {
	struct rig r;
	struct vmf_object *object;
	char *at;
	int file, zero, pipe[2];
} s;

struct state {
	struct vmf_stats stats;
	unsigned descriptors;
	vmf_va va;
	uint64_t pages;
	struct vmf_entry entry[PAGES];
	char byte;
};

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void state_of(struct state *to)
{
	struct vmf_pmap *pmap = vmf_space_pmap(s.r.space);
	struct vmf_area *a = vmf_area_find(s.r.space, (vmf_va)s.at);

	to->stats.size = sizeof(to->stats);
	vmf_space_stats(s.r.space, &to->stats);
	to->descriptors = descriptors();
	CHECK(a);
	to->va = vmf_area_va(a);
	to->pages = vmf_area_pages(a);
	vmf_area_put(a);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_ERR(pmap->ops->query(pmap, (vmf_va)s.at + i * PAGE, &to->entry[i]), 0);
	to->byte = s.at[PAGE];
}

static void open_all(void)
{
	rig_open(&s.r, VMF_IN_CONTEXT);
	CHECK_ERR(vmf_object_create(s.r.port, &s.object, &zero_ops, NULL, PAGES), 0);
	s.at = rig_map(&s.r, s.object, VMF_SHARED, PAGES, VMF_R | VMF_W);
	s.at[PAGE] = 'x';
	s.file = memfd_create("input", MFD_CLOEXEC);
	s.zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	CHECK(s.file >= 0 && !ftruncate(s.file, 2 * PAGE) && s.zero >= 0 && !pipe(s.pipe));
}

static void close_all(void)
{
	close(s.file);
	close(s.zero);
	close(s.pipe[0]);
	close(s.pipe[1]);
	rig_unmap(&s.r, s.at, PAGES);
	vmf_object_put(s.object);
	rig_close(&s.r);
}

/* ---------------------------------------------------------------------------------------- ports and spaces */

static int open_port(struct vmf_linux_config c)
{
	struct vmf_port *port;

	c.size = c.size ? c.size : sizeof(c);
	return vmf_linux_open(&port, &c);
}

static int open_space(struct vmf_linux_space c)
{
	struct vmf_space *space;

	c.size = c.size ? c.size : sizeof(c);
	return vmf_linux_space(s.r.port, &space, &c);
}

static void ports_and_spaces(void)
{
	struct { struct vmf_linux_config c; uint64_t tail; } longer = { { .size = sizeof(longer) }, 1 };
	struct { struct vmf_linux_space c; uint64_t tail; } longer_space = { { .size = sizeof(longer_space) }, 1 };
	struct vmf_space *space;
	struct vmf_port *port;

	open_all();
	BAD(vmf_linux_open(NULL, NULL), -VMF_EINVAL);
	BAD(vmf_linux_open(&port, &longer.c), -VMF_E2BIG);
	BAD(open_port((struct vmf_linux_config){ .size = 4 }), -VMF_EINVAL);
	BAD(open_port((struct vmf_linux_config){ .flags = 1u << 31 }), -VMF_EINVAL);
	BAD_VOID(vmf_linux_close(NULL));
	BAD(vmf_linux_space(NULL, &space, NULL), -VMF_EINVAL);
	BAD(vmf_linux_space(s.r.port, NULL, NULL), -VMF_EINVAL);
	BAD(vmf_linux_space(s.r.port, &space, &longer_space.c), -VMF_E2BIG);
	BAD(open_space((struct vmf_linux_space){ .size = 4 }), -VMF_EINVAL);
	BAD(open_space((struct vmf_linux_space){ .mode = 7 }), -VMF_EINVAL);
	BAD(open_space((struct vmf_linux_space){ .threads = UINT32_MAX }), -VMF_EINVAL);
	BAD(open_space((struct vmf_linux_space){ .flags = 1u << 31 }), -VMF_EINVAL);
	BAD_VOID(vmf_linux_space_close(NULL));
	BAD(vmf_linux_syscalls(NULL), false);
	BAD(vmf_linux_lacks(NULL), 0);
	close_all();
}

/* ------------------------------------------------------------------------------------ memory, and system calls */

static void touching(void)
{
	open_all();
	BAD_FAULT(vmf_touch(NULL, 1, VMF_R), VMF_OK, 0);
	BAD_FAULT(vmf_touch(s.at, 0, VMF_R), VMF_OK, 0);
	BAD_FAULT(vmf_touch(s.at, SIZE_MAX, VMF_R), VMF_SIGSEGV, 0);
	BAD_FAULT(vmf_touch((void *)UINTPTR_MAX, 2, VMF_R), VMF_SIGSEGV, 0);
	BAD_FAULT(vmf_touch(s.at, 1, 0), VMF_SIGSEGV, VMF_WHY_PROT);
	BAD_FAULT(vmf_touch(s.at, 1, VMF_R | VMF_W), VMF_SIGSEGV, VMF_WHY_PROT);
	BAD_FAULT(vmf_touch(s.at, 1, 8), VMF_SIGSEGV, VMF_WHY_PROT);
	BAD_FAULT(vmf_fault_why(NULL), VMF_OK, 0);
	BAD_FAULT(vmf_fault_why((void *)UINTPTR_MAX), VMF_OK, 0);
	BAD_FAULT(vmf_fault_why(s.at), VMF_OK, 0);
	close_all();
}

/* -1, and this in errno. */
#define BAD_CALL(call, want) BAD((errno = 0, (call) == -1 ? errno : 0), want)

/* What the system calls themselves say. */
static void system_calls(void)
{
	struct iovec odd = { (void *)8, 1 }, empty = { s.at, 0 };
	char c = 0;

	open_all();
	BAD_CALL(vmf_read(-1, &c, 1), EBADF);
	BAD_CALL(vmf_read(s.zero, NULL, 1), EFAULT);
	BAD_CALL(vmf_read(s.zero, (void *)UINTPTR_MAX, 2), EFAULT);
	BAD(vmf_read(s.zero, s.at, 0), 0);
	BAD_CALL(vmf_write(-1, &c, 1), EBADF);
	BAD_CALL(vmf_write(s.pipe[1], NULL, 1), EFAULT);
	BAD_CALL(vmf_write(s.pipe[1], (void *)UINTPTR_MAX, 2), EFAULT);
	BAD_CALL(vmf_readv(-1, &empty, 1), EBADF);
	BAD_CALL(vmf_readv(s.zero, NULL, 1), EFAULT);
	BAD_CALL(vmf_readv(s.zero, &odd, 1), EFAULT);
	BAD_CALL(vmf_readv(s.zero, &empty, -1), EINVAL);
	BAD_CALL(vmf_readv(s.zero, &empty, 1 << 20), EINVAL);
	BAD(vmf_readv(s.zero, &empty, 1), 0);
	BAD_CALL(vmf_writev(-1, &empty, 1), EBADF);
	BAD_CALL(vmf_writev(s.pipe[1], NULL, 1), EFAULT);
	BAD_CALL(vmf_writev(s.pipe[1], &odd, 1), EFAULT);
	BAD_CALL(vmf_writev(s.pipe[1], &empty, -1), EINVAL);
	BAD_CALL(vmf_pread(-1, &c, 1, 0), EBADF);
	BAD_CALL(vmf_pread(s.file, &c, 1, -1), EINVAL);
	BAD_CALL(vmf_pread(s.file, NULL, 1, 0), EFAULT);
	BAD(vmf_pread(s.file, s.at, 1, 2 * PAGE), 0);
	BAD_CALL(vmf_pread(s.pipe[0], &c, 1, 0), ESPIPE);
	BAD_CALL(vmf_pwrite(-1, &c, 1, 0), EBADF);
	BAD_CALL(vmf_pwrite(s.file, &c, 1, -1), EINVAL);
	BAD_CALL(vmf_pwrite(s.file, NULL, 1, 0), EFAULT);
	close_all();
}

/* ------------------------------------------------------------------------------------- apertures and files */

static int file(const char *path, struct vmf_file_config c)
{
	struct vmf_object *o;

	c.size = c.size ? c.size : sizeof(c);
	return vmf_file_object(s.r.port, &o, path, &c);
}

static void apertures_and_files(void)
{
	struct { struct vmf_file_config c; uint64_t tail; } longer = { { .size = sizeof(longer) }, 1 };
	struct vmf_object *o;
	vmf_pfn pfn;

	open_all();
	BAD(vmf_linux_aperture(NULL, s.file, 0, 1, &pfn), -VMF_EINVAL);
	BAD(vmf_linux_aperture(s.r.port, s.file, 0, 1, NULL), -VMF_EINVAL);
	BAD(vmf_linux_aperture(s.r.port, -1, 0, 1, &pfn), -VMF_EINVAL);
	BAD(vmf_linux_aperture(s.r.port, s.file, 0, 0, &pfn), -VMF_EINVAL);
	BAD(vmf_linux_aperture(s.r.port, s.file, 1, 1, &pfn), -VMF_EINVAL);
	BAD(vmf_linux_aperture(s.r.port, s.file, -(off_t)PAGE, 1, &pfn), -VMF_EINVAL);
	BAD(vmf_linux_aperture(s.r.port, s.file, PAGE, 2, &pfn), -VMF_EINVAL);
	BAD(vmf_linux_aperture(s.r.port, s.file, 0, UINT64_MAX, &pfn), -VMF_EINVAL);
	BAD(vmf_file_object(NULL, &o, "/dev/zero", NULL), -VMF_EINVAL);
	BAD(vmf_file_object(s.r.port, NULL, "/dev/zero", NULL), -VMF_EINVAL);
	BAD(vmf_file_object(s.r.port, &o, NULL, NULL), -VMF_EINVAL);
	BAD(vmf_file_object(s.r.port, &o, "/proc/self/exe", &longer.c), -VMF_E2BIG);
	BAD(vmf_file_object(s.r.port, &o, "/nothing/is/here", NULL), ENOENT);
	BAD(vmf_file_object(s.r.port, &o, "", NULL), ENOENT);
	BAD(file("/proc/self/exe", (struct vmf_file_config){ .size = 4 }), -VMF_EINVAL);
	BAD(file("/proc/self/exe", (struct vmf_file_config){ .flags = VMF_RDONLY | 64 }), -VMF_EINVAL);
	BAD(file("/proc/self/exe", (struct vmf_file_config){ .flags = VMF_RDONLY, .around = 3 }), -VMF_EINVAL);
	BAD(file("/proc/self/exe", (struct vmf_file_config){ .flags = VMF_RDONLY, .readahead = 1 << 20 }), -VMF_EINVAL);
	BAD(file("/proc/self/exe", (struct vmf_file_config){ .flags = VMF_RDONLY, .pages = UINT64_MAX }), -VMF_EINVAL);
	close_all();
}

/* ----------------------------------------------------------------------------------- another process's memory */

static int bytes_of(struct vmf_linux_region r, unsigned n)
{
	struct vmf_linux_region all[2] = { r, r };
	unsigned bad;
	size_t bytes;

	return vmf_session_bytes(all, n, &bytes, &bad);
}

static void sessions(void)
{
	const struct vmf_linux_region good = { .va = 1 << 30, .bytes = PAGE, .page_size = PAGE };
	static struct vmf_session empty;
	struct vmf_adopt shorter = { .size = 2 };
	struct vmf_session *session;
	struct vmf_space *space;
	size_t bytes;

	open_all();
	CHECK_ERR(vmf_session_bytes(&good, 1, &bytes, NULL), 0);
	session = calloc(1, bytes);
	CHECK(session);
	BAD(vmf_session_bytes(NULL, 1, &bytes, NULL), -VMF_EINVAL);
	BAD(vmf_session_bytes(&good, 1, NULL, NULL), -VMF_EINVAL);
	BAD(bytes_of(good, 0), -VMF_EINVAL);
	BAD(bytes_of(good, VMF_SESSION_REGIONS + 1), -VMF_EINVAL);
	BAD(bytes_of(good, 2), -VMF_EEXIST);
	BAD(bytes_of((struct vmf_linux_region){ 1 << 30, 0, 0, PAGE }, 1), -VMF_EINVAL);
	BAD(bytes_of((struct vmf_linux_region){ (1 << 30) + 1, PAGE, 0, PAGE }, 1), -VMF_EINVAL);
	BAD(bytes_of((struct vmf_linux_region){ 1 << 30, PAGE + 1, 0, PAGE }, 1), -VMF_EINVAL);
	BAD(bytes_of((struct vmf_linux_region){ 1 << 30, PAGE, 1, PAGE }, 1), -VMF_EINVAL);
	BAD(bytes_of((struct vmf_linux_region){ 1 << 30, PAGE, 0, 8192 }, 1), -VMF_EINVAL);
	BAD(bytes_of((struct vmf_linux_region){ UINT64_MAX - PAGE + 1, 2 * PAGE, 0, PAGE }, 1), -VMF_EINVAL);
	BAD(vmf_session_init(NULL, &good, 1), -VMF_EINVAL);
	BAD(vmf_session_init(session, NULL, 1), -VMF_EINVAL);
	BAD(vmf_session_init(session, &good, 0), -VMF_EINVAL);
	CHECK(!memcmp(session, &empty, sizeof(empty)));
	BAD(vmf_linux_adopt(s.r.port, &space, s.zero, session, s.object, NULL), -VMF_EINVAL); /* of zeroes */
	CHECK_ERR(vmf_session_init(session, &good, 1), 0);
	BAD(vmf_linux_adopt(NULL, &space, s.zero, session, s.object, NULL), -VMF_EINVAL);
	BAD(vmf_linux_adopt(s.r.port, NULL, s.zero, session, s.object, NULL), -VMF_EINVAL);
	BAD(vmf_linux_adopt(s.r.port, &space, -1, session, s.object, NULL), -VMF_EINVAL);
	BAD(vmf_linux_adopt(s.r.port, &space, s.zero, session, s.object, NULL), -VMF_EINVAL);
	BAD(vmf_linux_adopt(s.r.port, &space, s.zero, NULL, s.object, NULL), -VMF_EINVAL);
	BAD(vmf_linux_adopt(s.r.port, &space, s.zero, session, NULL, NULL), -VMF_EINVAL);
	BAD(vmf_linux_adopt(s.r.port, &space, s.zero, session, s.object, &shorter), -VMF_EINVAL);
	BAD_VOID(vmf_linux_adopt_close(NULL));
	BAD_VOID(vmf_linux_adopt_close(s.r.space));
	BAD(vmf_linux_serve(NULL), -VMF_EINVAL);
	BAD(vmf_linux_serve(s.r.space), -VMF_EINVAL);
	BAD(vmf_linux_due(NULL) == UINT64_MAX, true);
	BAD(vmf_linux_due(s.r.space) == UINT64_MAX, true);
	BAD(vmf_linux_poison(NULL, 0, 1), -VMF_EINVAL);
	BAD(vmf_linux_poison(s.r.space, 0, 1), -VMF_EINVAL);
	BAD_VOID((void)vmf_linux_can_poison());
	free(session);
	close_all();
}

static const struct vmtest tests[] = {
	VMTEST(ports_and_spaces), VMTEST(touching), VMTEST(system_calls), VMTEST(apertures_and_files), VMTEST(sessions),
};

int main(int argc, char **argv)
{
	int status = vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 20, argc, argv);

	printf("%u calls\n", input_calls);
	return status;
}
