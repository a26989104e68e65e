/* SPDX-License-Identifier: MIT
 *
 * The page server: one image, one socket, one port, one pool of threads, and its clients.  The first thread accepts
 * clients and takes signals; the pool serves.  So a read of the image that hangs does not keep the server from ending.
 *
 * Rules
 *   - No descriptor that a client handed over is closed while the memory behind it lives: closing the last copy makes
 *     absent pages read as zeroes.  A client that is refused, killed or silent is held until its memory is gone.
 *   - A client's trouble is a line and an end for that client, never for another.
 *   - Lock order: server's lock => pool's lock.
 */
#ifndef VMF_SERVER_SERVER_H
#define VMF_SERVER_SERVER_H
#include "image.h"
#include "listener.h"
#include "pool.h"
#include <pthread.h>

enum vmf_on_error { VMF_ERR_AUTO, VMF_ERR_POISON, VMF_ERR_STALL, VMF_ERR_KILL };

struct vmf_serve_config {
	const char *socket, *image;
	const char *pid_file; /* NULL: none */
	uint64_t around;      /* bytes, a power of two of pages */
	unsigned on_error;    /* enum vmf_on_error */
	unsigned threads;     /* 0: one for each CPU */
	bool json;
};

struct vmf_client;
struct vmf_server {
	const struct vmf_serve_config *config;
	struct vmf_pool *pool;
	struct vmf_port *port;
	struct vmf_image image;
	struct vmf_listener listener;
	int signals, empty;          /* empty: an eventfd, written when the last client has left */
	int spare[2];                /* given up for a moment when descriptors run out, to turn a client away */
	unsigned on_error;           /* AUTO has become POISON or KILL */
	_Atomic uint64_t stall_line; /* when the last alarm about a stall was raised */
	atomic_bool mute;            /* a result could not be printed */
	bool forced;
	pthread_mutex_t lock;
	struct vmf_client *clients;
	unsigned count;
};
/* Serves until it is told to stop.  The exit code of the command. */
int vmf__server_run(const struct vmf_serve_config *);

/* As vmf__peer_turn_away(), with a descriptor to spare.  => the thread that accepts */
void vmf__server_turn_away(struct vmf_server *, int socket, const char *why);
/* A client has ended.  => takes the server's lock */
void vmf__server_left(struct vmf_server *);
uint64_t vmf__server_now(void); /* ns, monotonic */

#endif
