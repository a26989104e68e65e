/* SPDX-License-Identifier: MIT
 *
 * The UNIX socket that clients connect to.  A path where a server answers is refused; one that a dead server left
 * behind is replaced; anything that is no socket is never touched.
 */
#ifndef VMF_SERVER_LISTENER_H
#define VMF_SERVER_LISTENER_H
#include <sys/types.h>

struct vmf_listener {
	int fd; /* non-blocking; -1: closed */
	const char *path;
	dev_t dev;
	ino_t ino;
};
/* Keeps `path`.  Only its owner may connect (mode 0600).  0, or -1 and one line in `why`.
 * => changes the umask for a moment: one thread */
int vmf__listen_open(struct vmf_listener *, const char *path, char *why, size_t why_n);
/* Removes the path if it is still this socket.  Closed already: nothing happens. */
void vmf__listen_close(struct vmf_listener *);

#endif
