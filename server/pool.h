/* SPDX-License-Identifier: MIT
 *
 * A pool of threads that wait for descriptors in one epoll set, and strands: a strand owns some descriptors (its
 * sources), and its events are handled by one thread at a time, whichever comes first.  No thread waits for another:
 * events that arrive while a strand runs are left to the thread that runs it.
 */
#ifndef VMF_SERVER_POOL_H
#define VMF_SERVER_POOL_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vmf_pool;
struct vmf_strand {
	/* Bit i of `events`: source i had one; it is silent until it is watched again. */
	void (*run)(struct vmf_strand *, uint32_t events);
	/* It has ended and its last thread has left. */
	void (*release)(struct vmf_strand *);
	struct vmf_pool *pool; /* from here on the pool's */
	_Atomic uint32_t events;
	uint32_t slot, generation, refs;
	bool ended;
};
#define VMF_SOURCES 31u

/* At least one thread runs.  0 or -errno. */
int vmf__pool_open(struct vmf_pool **, unsigned threads);
/* Waits until the threads have left; false: some are stuck (in a read of an image, say) and were left behind. */
bool vmf__pool_stop(struct vmf_pool *);
void vmf__pool_close(struct vmf_pool *); /* => stopped, and no strand is left */

/* The strand is released after vmf__strand_end(), and not before.  0 or -ENOMEM. */
int vmf__strand_add(struct vmf_pool *, struct vmf_strand *);
/* One event of `fd` (EPOLLIN or the like) is to come; again after each.  0 or -errno. */
int vmf__strand_watch(struct vmf_strand *, unsigned source, int fd, uint32_t what);
/* Before fd is closed: somebody else may hold the same open file, and epoll would go on reporting it. */
void vmf__strand_forget(struct vmf_strand *, int fd);
/* => once, from run(), which is not called again; or when the pool has stopped */
void vmf__strand_end(struct vmf_strand *);

#endif
