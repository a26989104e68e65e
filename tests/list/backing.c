/* SPDX-License-Identifier: MIT
 *
 * See backing.h.  A read gives whole pages, as a disk does: past the end of the backing they are full of what must not
 * be seen.
 */
#include "backing.h"

uint32_t list_backing_word(vmf_pgoff page, unsigned i) { return 0x5a000000u + (uint32_t)page * 0x10000u + i; }

void list_backing_open(struct backing *b, uint64_t bytes)
{
	b->bytes = bytes;
	b->bad_read = b->bad_write = b->hole = BACKING_NONE;
	b->err = b->length_err = 0;
	b->reads = b->writes = b->syncs = b->closed = b->first = b->n = 0;
	for (unsigned page = 0; page < BACKING_PAGES; page++)
		for (unsigned i = 0; i < LIST_PAGE / 4; i++)
			b->word[page][i] = list_backing_word(page, i);
}

static void page_move(struct backing *b, const struct vmf_io *io, uint32_t i)
{
	uint32_t *memory = vmf_io_bytes(io, i, NULL), *mine = b->word[io->first + i];
	uint64_t at = (uint64_t)i * LIST_PAGE, left = io->bytes > at ? io->bytes - at : 0;

	for (unsigned k = 0; k < LIST_PAGE / 4; k++) {
		if (!io->write)
			memory[k] = mine[k];
		else if (k * 4 < left)
			mine[k] = memory[k];
	}
}

static int start(void *self, struct vmf_io *io)
{
	struct backing *b = self;
	vmf_pgoff bad = io->write ? b->bad_write : b->bad_read;
	uint32_t i = 0;

	if (io->write)
		b->writes++;
	else
		b->reads++;
	if (!io->write) {
		b->first = (unsigned)io->first;
		b->n = io->n;
	}
	for (; i < io->n && io->first + i != bad; i++)
		page_move(b, io, i);
	vmf_io_done(io, i, i < io->n ? b->err : 0);
	return 0;
}

static int extent(void *self, vmf_pgoff at, struct vmf_extent *e)
{
	const struct backing *b = self;

	*e = (struct vmf_extent){ .first = at, .pages = BACKING_PAGES - at };
	if (at == b->hole)
		*e = (struct vmf_extent){ .first = at, .pages = 1, .zero = true };
	else if (at < b->hole && b->hole < BACKING_PAGES)
		e->pages = b->hole - at;
	return 0;
}

static int length(void *self, uint64_t *bytes)
{
	const struct backing *b = self;

	*bytes = b->bytes;
	return b->length_err;
}

static int sync(void *self)
{
	struct backing *b = self;

	b->syncs++;
	return 0;
}

static void closed(void *self)
{
	struct backing *b = self;

	b->closed++;
}

const struct vmf_backing_ops list_backing_ops = {
	.size = sizeof(list_backing_ops),
	.start = start,
	.extent = extent,
	.length = length,
	.sync = sync,
	.close = closed,
};
