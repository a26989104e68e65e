/* SPDX-License-Identifier: MIT
 *
 * One userfaultfd that is served: its space, and the block that holds all that is known of it.  The block is in a memfd
 * of its own, so that the two descriptors are all that another process needs to go on.
 */
#ifndef VMF_SERVER_SERVING_H
#define VMF_SERVER_SERVING_H
#include "handshake.h"

struct vmf_serving {
	int uffd, memfd;
	struct vmf_session *block;
	size_t bytes;
	struct vmf_space *space;
	bool given_up; /* not served any more, but not gone either */
};
/* The regions have been checked.  0: hello->uffd is taken over; else -1, it is still the caller's, and one line is in
 * `why`. */
int vmf__serving_open(struct vmf_serving *, struct vmf_port *, struct vmf_object *, const struct vmf_hello *,
		      const struct vmf_adopt *, char *why, size_t why_n);
/* => the memory behind it is gone, or nothing absent in it can be read any more */
void vmf__serving_close(struct vmf_serving *);
/* Whatever is absent becomes SIGBUS in the client.  0 or a negative vmf_err. */
int vmf__serving_poison(struct vmf_serving *);

/* Is it a userfaultfd that is ready for use? */
bool vmf__uffd_is(int fd);
/* Is the memory that it watches gone?  (Its process ended, or called exec.)  Changes nothing. */
bool vmf__uffd_gone(int fd);

#endif
