/* SPDX-License-Identifier: MIT
 *
 * Preloaded into a server: its reads of the image fail or hang as the test says, in memory that both see (the file
 * $VMF_BADREAD_STATE).
 */
#include "badread.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

typedef ssize_t reader(int, const struct iovec *, int, off_t);
ssize_t preadv64(int fd, const struct iovec *v, int n, off_t at);

static struct badread *state;
static reader *real;

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
	static pthread_once_t once = PTHREAD_ONCE_INIT;

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
