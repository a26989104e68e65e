/* SPDX-License-Identifier: MIT
 *
 * A crew: clients, each a process, that start at the same moment, read one byte of every page of their memory, and then
 * compare all of it with the image.
 */
#ifndef VMF_BENCH_CREW_H
#define VMF_BENCH_CREW_H
#include <stdbool.h>
#include <stdint.h>

enum { VMF_CREW_MAX = 16, VMF_CREW_PATH = 100 };
struct vmf_crew {
	const char *image;
	uint64_t bytes;    /* how much of it */
	unsigned clients;
	bool random;       /* the order, as in `vmfault bench` */
	char (*socket)[VMF_CREW_PATH]; /* one for each client; NULL: the memory is the image, mapped MAP_PRIVATE */
};
struct vmf_crewed {
	uint64_t first_ns; /* from the start to the first byte, the slowest client's */
	uint64_t all_ns;   /* from the start to the last byte of the last client */
	uint64_t faults;   /* as the kernel counts them in the clients */
};
/* 0; -EILSEQ: a byte differs; or -EIO: a client failed, and has said why on stderr. */
int vmf__crew_run(const struct vmf_crew *, struct vmf_crewed *);

#endif
