/* SPDX-License-Identifier: MIT */
#include "client.h"
#include "log.h"
#include "peer.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_LACKING = 4, ACCEPTS = 16 };

uint64_t vmf__server_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ------------------------------------------------------------------------------------------ running */

/* What cannot be helped at once is not asked for at once again. */
static void take_breath(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

/* A worker may have been faster; then the next client brings it back. */
static void get_spares(struct vmf_server *s)
{
	for (unsigned i = 0; i < 2; i++)
		if (s->spare[i] < 0)
			s->spare[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void put_spares(struct vmf_server *s)
{
	for (unsigned i = 0; i < 2; i++) {
		if (s->spare[i] >= 0)
			close(s->spare[i]);
		s->spare[i] = -1;
	}
}

void vmf__server_turn_away(struct vmf_server *s, int socket, const char *why)
{
	put_spares(s);
	vmf__peer_turn_away(socket, s->config->socket, why);
	get_spares(s);
}

/* No descriptor is left: the spare ones let a client in, so that it can be told by closing its socket, and its process
 * be known. */
static void turn_away(struct vmf_server *s)
{
	int fd;

	put_spares(s);
	fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		vmf__server_turn_away(s, fd, "too many open files");
	else
		take_breath();
	get_spares(s);
}

/* Who has connected, and nobody has heard of it yet.  From now on nobody can. */
static void turn_all_away(struct vmf_server *s)
{
	int fd;

	if (s->listener.fd < 0)
		return;
	put_spares(s);
	shutdown(s->listener.fd, SHUT_RDWR);
	while ((fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0 || errno == EINTR)
		if (fd >= 0)
			vmf__peer_turn_away(fd, s->config->socket, NULL);
}

static void on_listener(struct vmf_server *s)
{
	get_spares(s);
	for (int i = 0; i < ACCEPTS; i++) {
		int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			vmf__client_open(s, fd);
		else if (errno == EMFILE || errno == ENFILE)
			turn_away(s);
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR && errno != ECONNABORTED)
			take_breath();
	}
}

/* "waiting for 2 clients: 12, 34": one line, however many there are.  => s->lock */
static void say_who(struct vmf_server *s, const char *what)
{
	char line[512];
	size_t n = 0;
	unsigned more = s->count;

	for (struct vmf_client *c = s->clients; c && n < sizeof line - 32; c = c->next, more--)
		n += (size_t)snprintf(line + n, sizeof line - n, "%s%d", n ? ", " : "", (int)c->pid);
	if (more)
		snprintf(line + n, sizeof line - n, " and %u more", more);
	vmf__log(s->config->socket, "%s %u client%s: %s", what, s->count, s->count > 1 ? "s" : "", line);
}

void vmf__server_left(struct vmf_server *s)
{
	bool last;

	pthread_mutex_lock(&s->lock);
	last = !s->count;
	pthread_mutex_unlock(&s->lock);
	if (last)
		(void)!write(s->empty, &(uint64_t){ 1 }, sizeof(uint64_t)); /* an eventfd takes it */
}

static bool empty(struct vmf_server *s)
{
	uint64_t n;
	bool none;

	(void)!read(s->empty, &n, sizeof n);
	pthread_mutex_lock(&s->lock);
	none = !s->count;
	pthread_mutex_unlock(&s->lock);
	return none;
}

/* How many signals to end have come since the last call? */
static unsigned signals(struct vmf_server *s)
{
	struct signalfd_siginfo info;
	unsigned n = 0;

	while (read(s->signals, &info, sizeof info) == sizeof info)
		n++;
	return n;
}

/* Until all clients have left, or a second signal comes.  n: how many have come. */
static void drain(struct vmf_server *s, unsigned n)
{
	struct pollfd p[] = { { .fd = s->signals, .events = POLLIN }, { .fd = s->empty, .events = POLLIN } };

	turn_all_away(s);
	vmf__listen_close(&s->listener);
	pthread_mutex_lock(&s->lock);
	if (s->count)
		say_who(s, "no new clients; waiting for");
	pthread_mutex_unlock(&s->lock);
	while (!empty(s) && !s->forced) {
		if (n < 2)
			poll(p, 2, -1);
		n += signals(s);
		s->forced = n > 1;
	}
}

static void serve(struct vmf_server *s)
{
	struct pollfd p[] = { { .fd = s->signals, .events = POLLIN }, { .fd = s->listener.fd, .events = POLLIN } };
	unsigned n;

	while (!(n = signals(s))) {
		poll(p, 2, -1);
		if (p[1].revents)
			on_listener(s);
	}
	drain(s, n);
}

/* ----------------------------------------------------------------------------------- starting and ending */

static unsigned cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

/* A client takes about six descriptors. */
static void raise_limits(void)
{
	struct rlimit l;

	if (!getrlimit(RLIMIT_NOFILE, &l) && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* Before any thread exists, so that all inherit the mask. */
static int take_signals(struct vmf_server *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? -1 : 0;
}

static int choose_policy(struct vmf_server *s)
{
	bool can = vmf_linux_can_poison();

	s->on_error = s->config->on_error;
	if (s->on_error == VMF_ERR_AUTO)
		s->on_error = can ? VMF_ERR_POISON : VMF_ERR_KILL;
	if (s->on_error != VMF_ERR_POISON || can)
		return 0;
	vmf__log(NULL, "--on-error poison: this kernel cannot poison pages (Linux 6.6 can)");
	return EXIT_LACKING;
}

static int open_port(struct vmf_server *s)
{
	int r = vmf_linux_open(&s->port, NULL);

	if (!r)
		return 0;
	vmf__log(NULL, "the Linux port cannot be opened: %s", vmf_err_str(r));
	return r == -VMF_ENOSYS || r == -VMF_EPERM ? EXIT_LACKING : EXIT_FAILED;
}

static int write_pid_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	int bad = fd < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0;

	if (bad)
		vmf__log(path, "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return bad ? EXIT_FAILED : 0;
}

static int set_up(struct vmf_server *s)
{
	const struct vmf_serve_config *o = s->config;
	char why[256];
	int r;

	raise_limits();
	get_spares(s);
	if (s->spare[0] < 0 || s->spare[1] < 0 || take_signals(s)) {
		vmf__log(NULL, "%s", strerror(errno));
		return EXIT_FAILED;
	}
	r = choose_policy(s);
	if (!r)
		r = open_port(s);
	if (r)
		return r;
	if (vmf__image_open(&s->image, s->port, o->image, o->around, why, sizeof why)) {
		vmf__log(o->image, "%s", why);
		return EXIT_FAILED;
	}
	if (vmf__listen_open(&s->listener, o->socket, why, sizeof why)) {
		vmf__log(o->socket, "%s", why);
		return EXIT_FAILED;
	}
	return 0;
}

static int start(struct vmf_server *s)
{
	int r = vmf__pool_open(&s->pool, s->config->threads ? s->config->threads : cpus());

	if (!r) {
		s->empty = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r = s->empty < 0 ? -errno : 0;
	}
	if (r) {
		vmf__log(NULL, "%s", strerror(-r));
		return EXIT_FAILED;
	}
	return s->config->pid_file ? write_pid_file(s->config->pid_file) : 0;
}

/* A second signal: who is still there is abandoned. */
static int force(struct vmf_server *s, bool all_left)
{
	pthread_mutex_lock(&s->lock);
	if (s->count)
		say_who(s, "ended by a second signal; abandons");
	pthread_mutex_unlock(&s->lock);
	if (!all_left) {
		/* The lock keeps a client that ends just now from being freed. */
		pthread_mutex_lock(&s->lock);
		for (struct vmf_client *c = s->clients; c; c = c->next)
			vmf__client_abandon(c, "stopped", true);
		vmf__listen_close(&s->listener);
		if (s->config->pid_file)
			unlink(s->config->pid_file);
		_exit(EXIT_FAILED);
	}
	while (s->clients)
		vmf__client_stop(s->clients);
	return EXIT_FAILED;
}

static void tear_down(struct vmf_server *s)
{
	vmf__listen_close(&s->listener);
	if (s->pool)
		vmf__pool_close(s->pool);
	vmf__image_close(&s->image);
	if (s->port)
		vmf_linux_close(s->port);
	if (s->signals >= 0)
		close(s->signals);
	if (s->empty >= 0)
		close(s->empty);
	put_spares(s);
	pthread_mutex_destroy(&s->lock);
}

int vmf__server_run(const struct vmf_serve_config *config)
{
	struct vmf_server s = {
		.config = config, .image.fd = -1, .listener.fd = -1, .signals = -1, .empty = -1, .spare = { -1, -1 },
	};
	bool all_left;
	int r;

	pthread_mutex_init(&s.lock, NULL);
	r = set_up(&s);
	if (!r)
		r = start(&s);
	if (!r)
		serve(&s);
	all_left = !s.pool || vmf__pool_stop(s.pool);
	if (!r) {
		if (s.forced)
			r = force(&s, all_left);
		else if (atomic_load(&s.mute))
			r = EXIT_FAILED;
		if (config->pid_file)
			unlink(config->pid_file);
	}
	tear_down(&s);
	return r;
}
