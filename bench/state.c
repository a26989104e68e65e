/* SPDX-License-Identifier: MIT
 *
 * Bytes of state, and the time that opening takes.
 */
#include "state.h"
#include "client.h"
#include "peer.h"
#include "touch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <vmfault/linux.h>

static void must(const char *what, int err)
{
	if (err)
		walk_die(what, err);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------- bytes */

static double anonymous(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	unsigned long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f) && sscanf(line, "Anonymous: %lu kB", &kib) != 1)
		;
	if (!f || !kib)
		walk_die("/proc/self/smaps_rollup", errno ? errno : ENODATA);
	fclose(f);
	return (double)kib * 1024;
}

struct shown {
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_object *object;
	vmf_va at;
};

static void show_space(struct shown *s)
{
	const struct vmf_linux_space space = { .size = sizeof(space), .mode = VMF_IN_CONTEXT };

	must("vmf_linux_open", vmf_linux_open(&s->port, NULL));
	must("vmf_linux_space", vmf_linux_space(s->port, &s->space, &space));
}

static void show_file(struct shown *s, const char *path, uint64_t pages)
{
	const struct vmf_file_config file = { .size = sizeof(file), .around = 1 };
	const struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = pages, .prot = VMF_R | VMF_W };

	must(path, vmf_file_object(s->port, &s->object, path, &file));
	must("vmf_map", vmf_map(s->space, s->object, &map, &s->at));
}

static void show_end(struct shown *s)
{
	vmf_object_put(s->object);
	vmf_linux_space_close(s->space);
	vmf_linux_close(s->port);
}

double state_bytes(const char *path, uint64_t pages, uint64_t stride)
{
	struct shown s;
	double before, bytes;
	uint64_t touched = 0;

	show_space(&s);
	before = anonymous();
	show_file(&s, path, pages);
	for (uint64_t i = 0; stride && i < pages; i += stride, touched++)
		(void)*(const volatile char *)(s.at + i * PAGE);
	bytes = anonymous() - before;
	show_end(&s);
	return bytes / (double)(touched ? touched : 1);
}

/* -------------------------------------------------------------------------------------------------- time */

double state_open(const char *path, uint64_t pages)
{
	struct shown s;
	double ns;

	show_space(&s);
	ns = now();
	show_file(&s, path, pages);
	ns = now() - ns;
	show_end(&s);
	return ns;
}

static _Noreturn void attach(const char *socket, uint64_t pages, int out)
{
	double ns = now();
	struct vmf_client c;
	const char *step;
	int err = vmf__client_memory(&c, pages * PAGE, false, &step);

	if (!err)
		err = vmf__client_greet(&c, socket, &step);
	if (!err)
		(void)*(volatile unsigned char *)(c.base + pages / 2 * PAGE);
	else
		fprintf(stderr, "bench: %s: %s\n", step, strerror(-err));
	ns = now() - ns;
	_exit(err || write(out, &ns, sizeof(ns)) != sizeof(ns));
}

/* A process of its own: a server lets go of a client when that has ended. */
static double attach_child(const char *socket, uint64_t pages)
{
	int status = 1, p[2];
	double ns = 0;
	pid_t pid;

	if (pipe(p))
		walk_die("pipe", errno);
	pid = fork();
	if (pid < 0)
		walk_die("fork", errno);
	if (pid == 0)
		attach(socket, pages, p[1]);
	if (waitpid(pid, &status, 0) != pid || status || read(p[0], &ns, sizeof(ns)) != sizeof(ns))
		walk_die("a client of vmfault serve", ECHILD);
	close(p[0]);
	close(p[1]);
	return ns;
}

double state_attach(const char *vmfault, const char *dir, const char *path, uint64_t pages)
{
	char socket[100], log[100];
	char *argv[] = { (char *)vmfault, "serve", "--socket", socket, "--image", (char *)path, NULL };
	struct vmf_peer peer = { 0 };
	double ns = 0;
	int err;

	snprintf(socket, sizeof(socket), "%s/socket", dir);
	snprintf(log, sizeof(log), "%s/log", dir);
	err = vmf__peer_start(&peer, argv, socket, log);
	if (!err)
		ns = attach_child(socket, pages);
	if (!err)
		err = vmf__peer_stop(&peer);
	if (err)
		walk_die("vmfault serve", -err);
	unlink(socket);
	unlink(log);
	return ns + (double)peer.cpu_ns;
}
