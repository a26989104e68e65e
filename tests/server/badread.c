/* SPDX-License-Identifier: MIT
 *
 * Preloaded into a server: its reads of the image fail or hang as the test says, and its kernel cannot poison pages,
 * in memory that both see (the file $VMF_BADREAD_STATE).
 */
#include "badread.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

typedef ssize_t reader(int, const struct iovec *, int, off_t);
ssize_t preadv64(int fd, const struct iovec *v, int n, off_t at);

static struct badread *state;
static reader *real;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_state(void)
{
	const char *path = getenv("VMF_BADREAD_STATE");
	int fd = open(path ? path : "", O_RDWR | O_CLOEXEC);
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	real = (reader *)(uintptr_t)dlsym(RTLD_NEXT, "preadv64");
	state = p == MAP_FAILED ? NULL : p;
	if (fd >= 0)
		close(fd);
}

/* The name that preadv() has where off_t is 64 bits. */
ssize_t preadv64(int fd, const struct iovec *v, int n, off_t at)
{
	pthread_once(&once, open_state);
	if (!state)
		return real(fd, v, n, at);
	atomic_fetch_add(&state->reads, 1);
	while (atomic_load(&state->hang))
		usleep(1000);
	if (atomic_load(&state->fail) && atomic_fetch_sub(&state->fail, 1) > 0) {
		errno = EIO;
		return -1;
	}
	return real(fd, v, n, at);
}

/* POISON: number 8 of its kind, and bit 14 of the features. */
int ioctl(int fd, unsigned long request, ...)
{
	struct uffdio_api *api;
	int spare, r;
	va_list ap;

	va_start(ap, request);
	api = va_arg(ap, void *);
	va_end(ap);
	pthread_once(&once, open_state);
	spare = state ? atomic_load(&state->spare) : 0;
	if (spare && _IOC_TYPE(request) == UFFDIO && _IOC_NR(request) == 8) {
		errno = EINVAL;
		return -1;
	}
	r = (int)syscall(SYS_ioctl, fd, request, api);
	if (spare == 1 && request == UFFDIO_API && !r)
		api->features &= ~(UINT64_C(1) << 14);
	return r;
}
