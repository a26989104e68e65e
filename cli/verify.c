/* SPDX-License-Identifier: MIT
 *
 * Reads the file (it may shrink meanwhile, so it is not mapped) and compares.
 */
#include "verify.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

/* n bytes at offset at; zeroes past the end. */
static int read_chunk(int fd, unsigned char *buf, size_t n, uint64_t at)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, buf + have, n - have, (off_t)(at + have));

		if (got < 0 && errno != EINTR)
			return -errno;
		if (!got)
			break;
		have += got > 0 ? (size_t)got : 0;
	}
	memset(buf + have, 0, n - have);
	return 0;
}

static int compare(const unsigned char *memory, uint64_t bytes, int fd, unsigned char *buf, uint64_t *at)
{
	for (uint64_t i = 0; i < bytes; i += CHUNK) {
		size_t n = bytes - i < CHUNK ? (size_t)(bytes - i) : CHUNK, k = 0;
		int err = read_chunk(fd, buf, n, i);

		if (err)
			return err;
		if (!memcmp(memory + i, buf, n))
			continue;
		while (memory[i + k] == buf[k])
			k++;
		*at = i + k;
		return 1;
	}
	return 0;
}

int vmf__verify(const unsigned char *memory, uint64_t bytes, int fd, uint64_t *at)
{
	unsigned char *buf = malloc(CHUNK);
	int r = buf ? compare(memory, bytes, fd, buf, at) : -ENOMEM;

	free(buf);
	return r;
}
