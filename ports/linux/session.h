/* SPDX-License-Identifier: MIT
 *
 * The session block, from the inside.  Its regions and bitmaps change only while nobody enters (see the gate in
 * remote.h); the counters are added to by anyone.
 */
#ifndef VMF_LINUX_SESSION_H
#define VMF_LINUX_SESSION_H
#include "port.h"

#define VMF__HUGE (2u << 20)

/* One more for a counter of the block: others may read it at any time, in another process too. */
#define vmf__session_count(s, what, by) ((void)__atomic_fetch_add(&(s)->what, (by), __ATOMIC_RELAXED))

/* Is this a block that vmf_session_init() made, and nothing in it reaches out of it? */
bool vmf__session_good(const struct vmf_session *);
/* The region that holds va; NULL. */
const struct vmf_session_region *vmf__session_find(const struct vmf_session *, uint64_t va);
/* The first page from va on, below end, whose removed bit is `want`; end if there is none.  va and end lie in the
 * region. */
uint64_t vmf__session_next(const struct vmf_session *, const struct vmf_session_region *, uint64_t va, uint64_t end,
			   bool want);
static inline bool vmf__session_removed(const struct vmf_session *s, const struct vmf_session_region *r, uint64_t va)
{
	return vmf__session_next(s, r, va, va + r->page_size, true) == va;
}

/* What events say.  => nobody enters */
void vmf__session_remove(struct vmf_session *, uint64_t start, uint64_t end);
int vmf__session_gone(struct vmf_session *, uint64_t start, uint64_t end); /* -VMF_ENOSPC: too many pieces */
int vmf__session_moved(struct vmf_session *, uint64_t from, uint64_t to, uint64_t bytes);
#endif
