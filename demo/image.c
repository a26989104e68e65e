/* SPDX-License-Identifier: MIT
 *
 * Word i of page n is made of n and i.  Of every 4 MiB the last one is a hole.
 */
#include "image.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = IMAGE_PAGE / 8, PAGES_PER_MIB = 256, CHUNK = PAGES_PER_MIB };

bool image_hole(uint64_t page)
{
	return page / PAGES_PER_MIB % 4 == 3;
}

static uint64_t word(uint64_t page, unsigned i)
{
	return (page + 1) << 16 | i;
}

static void fill(uint64_t page, uint64_t *words)
{
	for (unsigned i = 0; i < WORDS; i++)
		words[i] = word(page, i);
}

enum image_page image_check(uint64_t page, const void *bytes)
{
	const uint64_t *w = bytes;
	uint64_t is = w[0] >> 16;
	bool zero = true, whole = true;

	for (unsigned i = 0; i < WORDS; i++) {
		zero &= !w[i];
		whole &= w[i] == word(is - 1, i);
	}
	if (zero)
		return image_hole(page) ? PAGE_RIGHT : PAGE_ZERO;
	if (!whole || !is)
		return PAGE_BROKEN;
	return is - 1 == page && !image_hole(page) ? PAGE_RIGHT : PAGE_OTHER;
}

static int write_chunk(int fd, uint64_t first)
{
	static uint64_t words[CHUNK * WORDS];

	for (unsigned i = 0; i < CHUNK; i++)
		fill(first + i, words + (size_t)i * WORDS);
	errno = 0;
	if (pwrite(fd, words, sizeof words, (off_t)(first * IMAGE_PAGE)) != sizeof words)
		return errno ? -errno : -ENOSPC;
	return 0;
}

int image_make(const char *path, uint64_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes))
		err = -errno;
	for (uint64_t page = 0; !err && page < bytes / IMAGE_PAGE; page += CHUNK)
		if (!image_hole(page))
			err = write_chunk(fd, page);
	close(fd);
	return err;
}
