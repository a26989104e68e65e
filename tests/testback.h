/* SPDX-License-Identifier: MIT
 *
 * A backing for tests: bytes by a formula (none of them 0), what was written is kept, every call is counted, and when
 * it completes, whether it fails and how long it is are the test's to say.
 */
#ifndef TESTBACK_H
#define TESTBACK_H
#include <pthread.h>
#include <vmfault/vmfault.h>

#define TESTBACK_PAGES 4096u /* that can be written */
#define TESTBACK_HELD 256u

enum testback_when {
	TESTBACK_AT_ONCE, /* before start() returns */
	TESTBACK_THREAD,  /* from a thread of the backing's, as soon as it can */
	TESTBACK_HELD_BACK /* from that thread, when released */
};
struct testback_fail {
	uint32_t in;         /* the in-th call from now; 0: none */
	vmf_pgoff first;     /* and every call for one of these pages */
	uint64_t pages;
	int err;
};
struct testback {
	struct vmf_port *port;
	pthread_mutex_t lock; /* all that follows */
	pthread_cond_t changed;
	pthread_t thread;
	bool running, closed; /* closed: read it with nobody else at work */
	enum testback_when when;
	uint64_t bytes;
	uint64_t hole, hole_pages; /* these read zero, and the extent says so */
	uint32_t allowed;          /* HELD_BACK: so many may complete */
	struct vmf_io *queue[TESTBACK_HELD];
	uint32_t queued;
	uint8_t *page[TESTBACK_PAGES]; /* what was written */
	struct testback_fail read, write, refuse; /* refuse: start() itself says so */
	int length_err, extent_err, sync_err;
	/* counts */
	uint64_t reads, pages_read, writes, pages_written, syncs, extents;
	vmf_pgoff last_first; /* of the last read */
	uint32_t last_n;
};

void testback_open(struct testback *, struct vmf_port *, uint64_t bytes, enum testback_when);
void testback_close(struct testback *); /* waits until the core has closed it, which it must do once */
/* An object of it.  like: flags, around, readahead and pages are taken from there; NULL: none. */
struct vmf_object *testback_object(struct testback *, const struct vmf_backed *like);
const struct vmf_backing_ops *testback_ops(void); /* for an object of the test's own making; self: the testback */
uint8_t testback_byte(const struct testback *, uint64_t at); /* what was never written */
/* Compares; the bytes past the end have to be zero. */
bool testback_same(struct testback *, uint64_t at, const void *, size_t);
void testback_poke(struct testback *, uint64_t at, uint8_t); /* changes a byte behind the core's back */
void testback_resize(struct testback *, uint64_t bytes);
void testback_wait_queued(struct testback *, uint32_t n); /* until so many are held back */
void testback_release(struct testback *, uint32_t n);     /* so many more may complete, in the order of their coming */
/* A consistent copy of a counter, while the core works. */
uint64_t testback_count(struct testback *, const uint64_t *counter);

#endif
