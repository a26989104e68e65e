/* SPDX-License-Identifier: MIT
 *
 * A backing in memory, for the list: it completes at once, counts, and fails when told to.
 */
#ifndef VMF_TESTS_BACKING_H
#define VMF_TESTS_BACKING_H
#include "list.h"

#define BACKING_PAGES 12u
#define BACKING_NONE UINT64_MAX

struct backing {
	uint64_t bytes;                   /* its length */
	vmf_pgoff bad_read, bad_write;    /* a page that fails, with `err`; or BACKING_NONE */
	vmf_pgoff hole;                   /* a page that is known to be zero; or BACKING_NONE */
	int err, length_err;
	_Atomic unsigned reads, writes, syncs, closed;
	_Atomic unsigned first, n;        /* of the last read */
	uint32_t word[BACKING_PAGES][LIST_PAGE / 4]; /* what it holds; past its length too */
};
extern const struct vmf_backing_ops list_backing_ops;

void list_backing_open(struct backing *, uint64_t bytes);
/* What is at word i of a page at first. */
uint32_t list_backing_word(vmf_pgoff page, unsigned i);

#endif
