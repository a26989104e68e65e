/* SPDX-License-Identifier: MIT
 *
 * A client of the page server, as a VMM is one, in a process of its own: memory of which nothing is there, a
 * userfaultfd that watches it, the handshake, and threads that touch and check every byte.
 *
 * What a page of an image holds follows from its number, so nobody needs the image to check it; no byte of it is zero.
 */
#ifndef UFFD_CLIENT_H
#define UFFD_CLIENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct guest {
	char *mem;
	size_t bytes, page; /* page: 4096, or 2 MiB */
	int uffd, sock;     /* sock: -1 until guest_dial() */
};
/* Absent memory.  false: no userfaultfd, or no huge pages (errno). */
bool guest_memory(struct guest *, size_t bytes, size_t page);
/* Connects; waits some seconds for a server that is still starting. */
void guest_dial(struct guest *, const char *path);
/* One message with these descriptors. */
void guest_send(int sock, const void *text, size_t n, const int *fds, unsigned fds_n);
/* What Firecracker sends, for memory that shows the image from `offset` on. */
void guest_hello(struct guest *, uint64_t offset);
/* memory, dial and hello for memory of 4096-byte pages from the start of the image; ends the process if it cannot. */
void guest_start(struct guest *, const char *path, size_t bytes);
/* Has the server closed the connection within ms? */
bool guest_closed(int sock, int ms);

void image_page(uint64_t page, char bytes[4096]);                    /* what it holds */
void image_make(const char *path, uint64_t first, uint64_t pages);   /* writes them; the file is as long as needed */
bool image_is(const char *bytes, uint64_t page);
/* Touches all pages in an order of its own, with so many threads, and checks every byte.  first: the image's page at
 * the start of the memory.  How many pages are wrong. */
uint64_t guest_verify(const struct guest *, uint64_t first, unsigned threads);

/* The process of a client: runs `body`, which ends with 0 if all is well.  A hang ends after some seconds. */
pid_t client_fork(int (*body)(void *), void *arg);
int client_wait(pid_t); /* its exit code; 128 + the signal that killed it */
/* Reads a byte of a page.  0 to 255, or -1: it raised SIGBUS. */
int guest_peek(const struct guest *, size_t at);

#endif
