/* SPDX-License-Identifier: MIT
 *
 * The handshake: bytes and descriptors of a client's stream in, plain structs of regions and a userfaultfd out.
 * Nothing outside handshake.c knows what a message looks like, so another dialect is another file.
 *
 * Firecracker's: a JSON array of objects, without length or terminator, and one descriptor (SCM_RIGHTS).
 *	base_host_virt_addr, size, offset	bytes
 *	page_size				bytes; missing: page_size_kib, which is also bytes; neither: 4096
 * Other members are ignored.  A stream may carry several such messages.
 */
#ifndef VMF_SERVER_HANDSHAKE_H
#define VMF_SERVER_HANDSHAKE_H
#include <vmfault/linux.h>

#define VMF_HELLO_BYTES 65536u /* the longest message */
#define VMF_HELLO_FDS 8u       /* descriptors that are kept, however many come */

struct vmf_hello {
	struct vmf_linux_region region[VMF_SESSION_REGIONS];
	unsigned regions;
	int uffd; /* the receiver's to close */
};

struct vmf_handshake;
struct vmf_handshake *vmf__handshake_open(void); /* NULL: no memory */
void vmf__handshake_close(struct vmf_handshake *); /* and the descriptors that nobody took; NULL is fine */

/* What came from the stream.  The descriptors become the handshake's.  0 or -ENOMEM.
 * => call next until it says no more READY before feeding again: the buffer is bounded by that */
int vmf__handshake_feed(struct vmf_handshake *, const void *bytes, size_t n, const int *fds, unsigned fds_n);
unsigned vmf__handshake_room(const struct vmf_handshake *); /* for descriptors: it closes the rest */
enum vmf_hello_state {
	VMF_HELLO_MORE,  /* no complete message yet */
	VMF_HELLO_READY, /* *hello is filled in; ask again, there may be another */
	VMF_HELLO_BAD    /* not the protocol; vmf__handshake_why() says why.  It stays so */
};
enum vmf_hello_state vmf__handshake_next(struct vmf_handshake *, struct vmf_hello *);
/* After BAD: what is wrong.  After MORE: what is missing; NULL if nothing at all has come since the last message. */
const char *vmf__handshake_why(const struct vmf_handshake *);
/* A descriptor that came and that no message took, for those who must not let go of it; -1: none is left. */
int vmf__handshake_take_fd(struct vmf_handshake *);

#endif
