/* SPDX-License-Identifier: MIT
 *
 * The system calls of the Linux port, its backings and its server as points that fail (failing.h).  The linker puts
 * these functions in front of the C library's (--wrap, see meson.build), for this program and nowhere else.
 *
 * Errors are those that the manual pages and the kernel's sources name for how we call it.  Beside errno numbers:
 *	PART     a part was done, and the call says so as the kernel does
 *	THERE    EEXIST, and the page is there: somebody was faster
 *	ABSENT   EEXIST, and it is not: no huge page is left, or a mark is in the way
 *	NOTHING  0: the end of a file
 *	SWAPPED  of the pagemap: what is there is swapped out
 * Mappings, allocations and descriptors that are made and not given back are counted here, too.
 */
#ifndef FAILCALLS_H
#define FAILCALLS_H
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "failing.h"

enum { PART = 0x1001, THERE, ABSENT, NOTHING, SWAPPED };

enum call {
	UFFD_OPEN, UFFD_DEVICE, UFFD_NEW, UFFD_API_, UFFD_REGISTER, UFFD_UNREGISTER, UFFD_COPY, UFFD_ZERO, UFFD_CONT,
	UFFD_WP, UFFD_CHANGING, UFFD_POISON, UFFD_READ, UFFD_READV,
	BARRIER_REGISTER, BARRIER, FUTEX, MMAP, MMAP_FIXED, MREMAP, MUNMAP, MPROTECT, DONTFORK, DONTNEED, WIPEONFORK, MEMFD,
	FTRUNCATE, PUNCH, SEAL, DUP, GETFL, PAGEMAP, PREAD, PWRITE, FILE_OPEN, FSTAT, LSEEK, FDATASYNC, EVENT_READ, EVENTFD,
	EPOLL_NEW, EPOLL_CTL, EPOLL_WAIT, SIGNALFD, PPOLL, THREAD, VM_READ, READLINK, POPULATE, ALLOC, CALLS
};

#define NO_CALL FAILING_KINDS /* one that does not fail */
#define NO_FD EMFILE, ENFILE, ENOMEM
/* once in a while each of them; who waits for the layout, or for a signal, does so for seconds */
#define CALL_KINDS \
	[UFFD_OPEN] = { .name = "userfaultfd", .errors = ERRORS(NO_FD, EPERM, ENOSYS) }, \
	[UFFD_DEVICE] = { .name = "open-dev", .errors = ERRORS(ENOENT, EACCES) }, \
	[UFFD_NEW] = { .name = "ioctl-NEW", .errors = ERRORS(NO_FD) }, \
	[UFFD_API_] = { .name = "ioctl-API", .errors = ERRORS(EINVAL) }, \
	[UFFD_REGISTER] = { .name = "ioctl-REGISTER", .errors = ERRORS(ENOMEM, EINVAL, EBUSY, EPERM) }, \
	[UFFD_UNREGISTER] = { .name = "ioctl-UNREGISTER", .errors = ERRORS(ENOMEM, EINVAL) }, \
	[UFFD_COPY] = { .name = "ioctl-COPY", \
		.errors = ERRORS(AWHILE(EAGAIN), ENOMEM, EFAULT, AWHILE(ENOENT), AWHILE(ESRCH), \
			AWHILE(EINTR), THERE, PART) }, \
	[UFFD_ZERO] = { .name = "ioctl-ZEROPAGE", \
		.errors = ERRORS(AWHILE(EAGAIN), ENOMEM, AWHILE(ENOENT), AWHILE(ESRCH), AWHILE(EINTR), \
			THERE, ONCE(ABSENT), PART) }, \
	[UFFD_CONT] = { .name = "ioctl-CONTINUE", \
		.errors = ERRORS(AWHILE(EAGAIN), ENOMEM, EFAULT, AWHILE(ENOENT), AWHILE(ESRCH), \
			AWHILE(EINTR), THERE, PART) }, \
	[UFFD_WP] = { .name = "ioctl-WRITEPROTECT", \
		.errors = ERRORS(AWHILE(EAGAIN), AWHILE(ENOENT), ENOMEM, AWHILE(ESRCH)) }, \
	[UFFD_CHANGING] = { .name = "ioctl-changing", .errors = ERRORS(AWHILE(EAGAIN)) }, \
	[UFFD_POISON] = { .name = "ioctl-POISON", \
		.errors = ERRORS(AWHILE(EAGAIN), THERE, AWHILE(ENOENT), AWHILE(ENOMEM), AWHILE(ESRCH), \
			EINVAL) }, \
	[UFFD_READ] = { .name = "read-uffd", .errors = ERRORS(AWHILE(EINTR), AWHILE(EAGAIN)) }, \
	[UFFD_READV] = { .name = "preadv2-uffd", .errors = ERRORS(AWHILE(EINTR), AWHILE(EAGAIN), EOPNOTSUPP) }, \
	[BARRIER_REGISTER] = { .name = "membarrier-register", .errors = ERRORS(ENOSYS, EPERM, ENOMEM) }, \
	[BARRIER] = { .name = "membarrier", .errors = ERRORS(AWHILE(ENOMEM)) }, \
	[FUTEX] = { .name = "futex", .errors = ERRORS(AWHILE(EINTR), AWHILE(EAGAIN)) }, \
	[MMAP] = { .name = "mmap", .errors = ERRORS(ENOMEM, EAGAIN) }, \
	[MMAP_FIXED] = { .name = "mmap-fixed", .errors = ERRORS(ENOMEM, EAGAIN) }, \
	[MREMAP] = { .name = "mremap-fixed", .errors = ERRORS(ENOMEM, EINVAL) }, \
	[MUNMAP] = { .name = "munmap", .errors = ERRORS(ENOMEM) }, \
	[MPROTECT] = { .name = "mprotect", .errors = ERRORS(ENOMEM) }, \
	[DONTFORK] = { .name = "madvise-DONTFORK", .errors = ERRORS(EAGAIN, ENOMEM) }, \
	[DONTNEED] = { .name = "madvise-DONTNEED", .errors = ERRORS(EAGAIN, EINVAL) }, \
	[WIPEONFORK] = { .name = "madvise-WIPEONFORK", .errors = ERRORS(EAGAIN) }, \
	[MEMFD] = { .name = "memfd_create", .errors = ERRORS(NO_FD) }, \
	[FTRUNCATE] = { .name = "ftruncate", .errors = ERRORS(ENOMEM, ENOSPC, AWHILE(EINTR)) }, \
	[PUNCH] = { .name = "fallocate-punch", .errors = ERRORS(AWHILE(EINTR), ENOMEM, ENOSPC) }, \
	[SEAL] = { .name = "fcntl-ADD_SEALS", .errors = ERRORS(EBUSY, EPERM) }, \
	[DUP] = { .name = "fcntl-DUPFD", .errors = ERRORS(EMFILE) }, \
	[GETFL] = { .name = "fcntl-SETFL", .errors = ERRORS(EPERM) }, \
	[PAGEMAP] = { .name = "pread-pagemap", .errors = ERRORS(EINTR, EIO, ENOMEM, PART) }, \
	[PREAD] = { .name = "pread", .errors = ERRORS(EIO, AWHILE(EINTR), AWHILE(EAGAIN), ENOMEM, ONCE(PART), NOTHING) }, \
	[PWRITE] = { .name = "pwrite", .errors = ERRORS(EIO, ENOSPC, AWHILE(EINTR), ONCE(PART), NOTHING) }, \
	[FILE_OPEN] = { .name = "open", .errors = ERRORS(NO_FD, ENOENT, EACCES, EINTR) }, \
	[FSTAT] = { .name = "fstat", .errors = ERRORS(EIO, EOVERFLOW) }, \
	[LSEEK] = { .name = "lseek", .errors = ERRORS(EINVAL, EIO) }, \
	[FDATASYNC] = { .name = "fdatasync", .errors = ERRORS(EIO, ENOSPC, AWHILE(EINTR)) }, \
	[EVENT_READ] = { .name = "read-eventfd", .errors = ERRORS(AWHILE(EINTR), AWHILE(EAGAIN)) }, \
	[EVENTFD] = { .name = "eventfd", .errors = ERRORS(NO_FD) }, \
	[EPOLL_NEW] = { .name = "epoll_create", .errors = ERRORS(NO_FD) }, \
	[EPOLL_CTL] = { .name = "epoll_ctl", .errors = ERRORS(ENOMEM, ENOSPC) }, \
	[EPOLL_WAIT] = { .name = "epoll_wait", .errors = ERRORS(AWHILE(EINTR)) }, \
	[SIGNALFD] = { .name = "signalfd", .errors = ERRORS(NO_FD) }, \
	[PPOLL] = { .name = "poll", .errors = ERRORS(AWHILE(EINTR), AWHILE(ENOMEM)) }, \
	[THREAD] = { .name = "pthread_create", .errors = ERRORS(EAGAIN) }, \
	[VM_READ] = { .name = "process_vm_readv", .errors = ERRORS(EFAULT, ENOMEM, EPERM) }, \
	[READLINK] = { .name = "readlink", .errors = ERRORS(ENOENT, EACCES, ENOMEM) }, \
	[POPULATE] = { .name = "madvise-POPULATE", .errors = ERRORS(ENOMEM, EFAULT) }, \
	[ALLOC] = { .name = "alloc", .errors = ERRORS(ENOMEM) }

static const char *call_error(int error)
{
	static const char *const special[] = { "PART", "THERE", "ABSENT", "NOTHING", "SWAPPED" };
	const char *name = strerrorname_np(error);

	return error >= PART && error <= SWAPPED ? special[error - PART] : name ? name : "?";
}

/* What was made and not given back.  Signed: the order may be another. */
static _Atomic long failcalls_bytes, failcalls_blocks;
static _Atomic long failcalls_kept; /* that munmap() has refused to take */
static bool failcalls_no_esrch;     /* the kernel never says of a process that lives that it does not */

static inline int call_fails(unsigned call)
{
	int error = call == NO_CALL ? 0 : failing_due(call);

	if (error && error < PART)
		errno = error;
	return error;
}

/* -------------------------------------------------------------------------------------------- userfaultfd */

int __real_ioctl(int, unsigned long, ...);
int __wrap_ioctl(int, unsigned long, ...);

struct fill_range { uint64_t *len; int64_t *done; };

static inline int64_t whole_pages(uint64_t bytes, uint64_t unit) { return (int64_t)(bytes / unit * unit); }

/* As the kernel does it: a part, the counter says how much, and EAGAIN. */
static inline int fill_part(int fd, unsigned long request, void *arg, struct fill_range r)
{
	uint64_t all = *r.len, unit = all % (2u << 20) ? 4096 : 2u << 20;
	int64_t half = whole_pages(all / 2, unit);

	if (!half)
		return __real_ioctl(fd, request, arg);
	*r.len = (uint64_t)half;
	if (__real_ioctl(fd, request, arg))
		return -1;
	*r.len = all;
	errno = EAGAIN;
	return -1;
}

/* Of a process that has ended the kernel says nothing else, whatever is lacking. */
static inline bool process_ended(int fd)
{
	struct uffdio_copy c = { .dst = 1 << 16, .src = 1 << 16, .len = 4096 };
	int e = errno;
	bool ended = __real_ioctl(fd, UFFDIO_COPY, &c) && errno == ESRCH;

	errno = e;
	return ended;
}

static inline int fill_call(unsigned call, int fd, unsigned long request, void *arg, struct fill_range r)
{
	int error = call_fails(call);

	if (error && (process_ended(fd) || (error == ESRCH && failcalls_no_esrch)))
		error = 0;
	switch (error) {
	case 0:
		return __real_ioctl(fd, request, arg);
	case PART:
		return fill_part(fd, request, arg, r);
	case THERE:
		(void)__real_ioctl(fd, request, arg);
		errno = EEXIST;
		break;
	case ABSENT:
		errno = EEXIST;
		break;
	default:
		break;
	}
	/* (Before 6.15 the counter of EAGAIN is not written at all.) */
	if (errno != EAGAIN)
		*r.done = -errno;
	return -1;
}

struct poison_arg { struct uffdio_range range; uint64_t mode; int64_t updated; };
#define POISON_REQUEST _IOWR(UFFDIO, 0x08, struct poison_arg)

static inline int wp_call(int fd, struct uffdio_writeprotect *w)
{
	int error = call_fails(w->range.len ? UFFD_WP : UFFD_CHANGING);

	return error ? -1 : __real_ioctl(fd, UFFDIO_WRITEPROTECT, w);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct uffdio_copy *copy;
	struct uffdio_zeropage *zero;
	struct uffdio_continue *cont;
	struct poison_arg *poison;
	va_list ap;
	void *arg;
	unsigned call = NO_CALL;

	va_start(ap, request);
	arg = copy = (void *)(zero = (void *)(cont = (void *)(poison = va_arg(ap, void *))));
	va_end(ap);
	switch (request) {
	case UFFDIO_COPY:
		return fill_call(UFFD_COPY, fd, request, arg,
			(struct fill_range){ (uint64_t *)&copy->len, (int64_t *)&copy->copy });
	case UFFDIO_ZEROPAGE:
		return fill_call(UFFD_ZERO, fd, request, arg,
			(struct fill_range){ (uint64_t *)&zero->range.len, (int64_t *)&zero->zeropage });
	case UFFDIO_CONTINUE:
		return fill_call(UFFD_CONT, fd, request, arg,
			(struct fill_range){ (uint64_t *)&cont->range.len, (int64_t *)&cont->mapped });
	case POISON_REQUEST:
		return fill_call(UFFD_POISON, fd, request, arg,
			(struct fill_range){ (uint64_t *)&poison->range.len, &poison->updated });
	case UFFDIO_WRITEPROTECT:
		return wp_call(fd, arg);
	case UFFDIO_API:
		call = UFFD_API_;
		break;
	case UFFDIO_REGISTER:
		call = UFFD_REGISTER;
		break;
	case UFFDIO_UNREGISTER:
		call = UFFD_UNREGISTER;
		break;
	case _IO(0xAA, 0x00):
		call = UFFD_NEW;
		break;
	default:
		break;
	}
	return call_fails(call) ? -1 : __real_ioctl(fd, request, arg);
}

/* -------------------------------------------------------------------------------------------- syscall() */

long __real_syscall(long, ...);
long __wrap_syscall(long, ...);

static inline unsigned syscall_kind(long n, const long *a)
{
	if (n == SYS_userfaultfd)
		return UFFD_OPEN;
	if (n == SYS_membarrier)
		return a[0] == MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED ? BARRIER_REGISTER : BARRIER;
	if (n == SYS_futex && ((int)a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT)
		return FUTEX;
	return NO_CALL;
}

/* A call has at most six arguments, each a register; those that were not given hold what they hold. */
long __wrap_syscall(long n, ...)
{
	va_list ap;
	long a[6];

	va_start(ap, n);
	for (unsigned i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return call_fails(syscall_kind(n, a)) ? -1 : __real_syscall(n, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* -------------------------------------------------------------------------------------------- memory */

void *__real_mmap64(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __wrap_munmap(void *, size_t);
int __real_mprotect(void *, size_t, int);
int __wrap_mprotect(void *, size_t, int);
int __real_madvise(void *, size_t, int);
int __wrap_madvise(void *, size_t, int);
ssize_t __real_process_vm_readv(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
	unsigned long);
ssize_t __wrap_process_vm_readv(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
	unsigned long);

static inline long page_bytes(size_t bytes) { return (long)((bytes + 4095) & ~(size_t)4095); }

void *__wrap_mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t off)
{
	bool fixed = flags & MAP_FIXED;
	void *p = call_fails(fixed ? MMAP_FIXED : MMAP) ? MAP_FAILED : __real_mmap64(at, bytes, prot, flags, fd, off);

	if (p != MAP_FAILED && !fixed)
		atomic_fetch_add(&failcalls_bytes, page_bytes(bytes));
	return p;
}

/* The port puts mappings in the place of others. */
void *__real_mremap(void *, size_t, size_t, int, void *);
void *__wrap_mremap(void *, size_t, size_t, int, void *);
void *__wrap_mremap(void *at, size_t bytes, size_t now, int flags, void *to)
{
	void *p = call_fails(MREMAP) ? MAP_FAILED : __real_mremap(at, bytes, now, flags, to);

	if (p != MAP_FAILED)
		atomic_fetch_sub(&failcalls_bytes, page_bytes(bytes));
	return p;
}

int __wrap_munmap(void *at, size_t bytes)
{
	int r = call_fails(MUNMAP) ? -1 : __real_munmap(at, bytes);

	if (r)
		atomic_fetch_add(&failcalls_kept, page_bytes(bytes));
	else
		atomic_fetch_sub(&failcalls_bytes, page_bytes(bytes));
	return r;
}

int __wrap_mprotect(void *at, size_t bytes, int prot)
{
	return call_fails(MPROTECT) ? -1 : __real_mprotect(at, bytes, prot);
}

int __wrap_madvise(void *at, size_t bytes, int what)
{
	unsigned call = what == MADV_DONTFORK ? DONTFORK : what == MADV_DONTNEED ? DONTNEED :
		what == MADV_WIPEONFORK ? WIPEONFORK : what == MADV_POPULATE_WRITE ? POPULATE : NO_CALL;

	return call_fails(call) ? -1 : __real_madvise(at, bytes, what);
}

ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *to, unsigned long n, const struct iovec *from,
	unsigned long m, unsigned long flags)
{
	return call_fails(VM_READ) ? -1 : __real_process_vm_readv(pid, to, n, from, m, flags);
}

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
void __real_free(void *);
void __wrap_free(void *);

static inline void *block_made(void *p)
{
	if (p)
		atomic_fetch_add(&failcalls_blocks, 1);
	return p;
}

void *__wrap_calloc(size_t n, size_t bytes) { return call_fails(ALLOC) ? NULL : block_made(__real_calloc(n, bytes)); }
void *__wrap_malloc(size_t bytes) { return call_fails(ALLOC) ? NULL : block_made(__real_malloc(bytes)); }

void *__wrap_realloc(void *p, size_t bytes)
{
	if (call_fails(ALLOC))
		return NULL;
	return p ? __real_realloc(p, bytes) : block_made(__real_realloc(p, bytes));
}

void __wrap_free(void *p)
{
	if (p)
		atomic_fetch_sub(&failcalls_blocks, 1);
	__real_free(p);
}

/* -------------------------------------------------------------------------------------------- files */

int __real_memfd_create(const char *, unsigned);
int __wrap_memfd_create(const char *, unsigned);
int __real_ftruncate64(int, off_t);
int __wrap_ftruncate64(int, off_t);
int __real_fallocate64(int, int, off_t, off_t);
int __wrap_fallocate64(int, int, off_t, off_t);
int __real_fcntl64(int, int, ...);
int __wrap_fcntl64(int, int, ...);
int __real_open64(const char *, int, ...);
int __wrap_open64(const char *, int, ...);
int __real_fstat64(int, struct stat *);
int __wrap_fstat64(int, struct stat *);
off_t __real_lseek64(int, off_t, int);
off_t __wrap_lseek64(int, off_t, int);
int __real_fdatasync(int);
int __wrap_fdatasync(int);
ssize_t __real_readlink(const char *, char *, size_t);
ssize_t __wrap_readlink(const char *, char *, size_t);
ssize_t __real_pread64(int, void *, size_t, off_t);
ssize_t __wrap_pread64(int, void *, size_t, off_t);
ssize_t __real_pwrite64(int, const void *, size_t, off_t);
ssize_t __wrap_pwrite64(int, const void *, size_t, off_t);
ssize_t __real_preadv64(int, const struct iovec *, int, off_t);
ssize_t __wrap_preadv64(int, const struct iovec *, int, off_t);
ssize_t __real_pwritev64(int, const struct iovec *, int, off_t);
ssize_t __wrap_pwritev64(int, const struct iovec *, int, off_t);
ssize_t __real_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_preadv64v2(int, const struct iovec *, int, off_t, int);
ssize_t __real_read(int, void *, size_t);
ssize_t __wrap_read(int, void *, size_t);

int __wrap_memfd_create(const char *name, unsigned flags)
{
	return call_fails(MEMFD) ? -1 : __real_memfd_create(name, flags);
}

int __wrap_ftruncate64(int fd, off_t bytes) { return call_fails(FTRUNCATE) ? -1 : __real_ftruncate64(fd, bytes); }

int __wrap_fallocate64(int fd, int mode, off_t at, off_t bytes)
{
	return call_fails(PUNCH) ? -1 : __real_fallocate64(fd, mode, at, bytes);
}

int __wrap_fcntl64(int fd, int what, ...)
{
	unsigned call = what == F_ADD_SEALS ? SEAL : what == F_DUPFD_CLOEXEC ? DUP : what == F_SETFL ? GETFL : NO_CALL;
	va_list ap;
	long arg;

	va_start(ap, what);
	arg = va_arg(ap, long);
	va_end(ap);
	return call_fails(call) ? -1 : __real_fcntl64(fd, what, arg);
}

int __wrap_open64(const char *path, int flags, ...)
{
	bool device = !strcmp(path, "/dev/userfaultfd");
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	return call_fails(device ? UFFD_DEVICE : FILE_OPEN) ? -1 : __real_open64(path, flags, mode);
}

int __wrap_fstat64(int fd, struct stat *st) { return call_fails(FSTAT) ? -1 : __real_fstat64(fd, st); }
off_t __wrap_lseek64(int fd, off_t at, int how) { return call_fails(LSEEK) ? -1 : __real_lseek64(fd, at, how); }
int __wrap_fdatasync(int fd) { return call_fails(FDATASYNC) ? -1 : __real_fdatasync(fd); }

ssize_t __wrap_readlink(const char *path, char *to, size_t n)
{
	return call_fails(READLINK) ? -1 : __real_readlink(path, to, n);
}

/* What the real call has moved, less the half of it (but something). */
static inline ssize_t moved(int error, ssize_t n)
{
	return error == NOTHING ? 0 : error == PART && n > 1 ? n / 2 : error && error != PART ? -1 : n;
}

ssize_t __wrap_pread64(int fd, void *to, size_t n, off_t at)
{
	int error = call_fails(PAGEMAP);
	uint64_t *map = to;
	ssize_t got;

	if (error && error < PART)
		return -1;
	got = __real_pread64(fd, to, n, at);
	if (error != SWAPPED)
		return moved(error, got);
	for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(*map); i++)
		map[i] = map[i] >> 63 ? UINT64_C(1) << 62 : map[i];
	return got;
}

ssize_t __wrap_pwrite64(int fd, const void *from, size_t n, off_t at)
{
	int error = call_fails(PWRITE);

	return error && error < PART ? -1 : moved(error, __real_pwrite64(fd, from, n, at));
}

ssize_t __wrap_preadv64(int fd, const struct iovec *v, int n, off_t at)
{
	int error = call_fails(PREAD);

	return (error && error < PART) || error == NOTHING ? moved(error, 0) : moved(error, __real_preadv64(fd, v, n, at));
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *v, int n, off_t at)
{
	int error = call_fails(PWRITE);

	return (error && error < PART) || error == NOTHING ? moved(error, 0) : moved(error, __real_pwritev64(fd, v, n, at));
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
	return call_fails(UFFD_READV) ? -1 : __real_preadv64v2(fd, v, n, at, flags);
}

/* (Of a userfaultfd by its messages' size, of an eventfd by its eight bytes.) */
ssize_t __wrap_read(int fd, void *to, size_t n)
{
	unsigned call = n == 8 ? EVENT_READ : n && n % sizeof(struct uffd_msg) == 0 ? UFFD_READ : NO_CALL;

	return call_fails(call) ? -1 : __real_read(fd, to, n);
}

/* -------------------------------------------------------------------------------------------- waits, threads */

int __real_epoll_create1(int);
int __wrap_epoll_create1(int);
int __real_epoll_ctl(int, int, int, struct epoll_event *);
int __wrap_epoll_ctl(int, int, int, struct epoll_event *);
int __real_epoll_wait(int, struct epoll_event *, int, int);
int __wrap_epoll_wait(int, struct epoll_event *, int, int);
int __real_eventfd(unsigned, int);
int __wrap_eventfd(unsigned, int);
int __real_signalfd(int, const sigset_t *, int);
int __wrap_signalfd(int, const sigset_t *, int);
int __real_ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
int __wrap_ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
int __real_poll(struct pollfd *, nfds_t, int);
int __wrap_poll(struct pollfd *, nfds_t, int);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_epoll_create1(int flags) { return call_fails(EPOLL_NEW) ? -1 : __real_epoll_create1(flags); }
/* (What is watched already is watched again without any memory.) */
int __wrap_epoll_ctl(int all, int what, int fd, struct epoll_event *e)
{
	return call_fails(what == EPOLL_CTL_ADD ? EPOLL_CTL : NO_CALL) ? -1 : __real_epoll_ctl(all, what, fd, e);
}
int __wrap_epoll_wait(int all, struct epoll_event *e, int n, int ms)
{
	return call_fails(EPOLL_WAIT) ? -1 : __real_epoll_wait(all, e, n, ms);
}
int __wrap_eventfd(unsigned n, int flags) { return call_fails(EVENTFD) ? -1 : __real_eventfd(n, flags); }

int __wrap_signalfd(int fd, const sigset_t *set, int flags)
{
	return call_fails(SIGNALFD) ? -1 : __real_signalfd(fd, set, flags);
}

/* Where poll() fails it has written nothing. */
int __wrap_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *set)
{
	return call_fails(PPOLL) ? -1 : __real_ppoll(p, n, t, set);
}

int __wrap_poll(struct pollfd *p, nfds_t n, int ms) { return call_fails(PPOLL) ? -1 : __real_poll(p, n, ms); }

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
	return call_fails(THREAD) ? EAGAIN : __real_pthread_create(t, a, run, arg);
}

/* -------------------------------------------------------------------------------------------- what is left */

struct failcalls_state { long bytes, blocks; unsigned fds, maps, tasks; };

static inline unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static inline __attribute__((unused)) unsigned mappings(void)
{
	static char text[65536];
	int fd = __real_open64("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	unsigned lines = 0;
	ssize_t n;

	while (fd >= 0 && (n = __real_read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

static inline struct failcalls_state failcalls_state(void)
{
	struct failcalls_state s = { .fds = entries("/proc/self/fd"), .tasks = entries("/proc/self/task") };

#ifndef __SANITIZE_ADDRESS__ /* which has mappings of its own */
	s.maps = mappings();
#endif
	s.bytes = atomic_load(&failcalls_bytes);
	s.blocks = atomic_load(&failcalls_blocks);
	return s;
}
#endif
