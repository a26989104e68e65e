/* SPDX-License-Identifier: MIT
 *
 * What becomes of a fault whose page cannot be had.  The tries with their back-off are over when this is asked.
 * None of the answers is a page of zeroes.
 */
#include "client.h"
#include "log.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

static const uint64_t second = 1000000000, stall_pause = 250000000;

static void reason(const struct vmf_failed *f, char *buf, size_t n)
{
	char code[48];

	vmf_result_str(f->result, code, sizeof code);
	if (f->result.err)
		snprintf(buf, n, "page 0x%" PRIxPTR ": %s (%s)", f->va, code, strerror(f->result.err));
	else
		snprintf(buf, n, "page 0x%" PRIxPTR ": %s", f->va, code);
}

/* The first failure of a client, and then one a second with how many there were in between. */
static void say(struct vmf_client *c, const struct vmf_failed *f, const char *what)
{
	uint64_t now = vmf__server_now();
	char why[128], more[40] = "";

	if (c->failure_line && now - c->failure_line < second) {
		c->failures_unsaid++;
		return;
	}
	reason(f, why, sizeof why);
	if (c->failures_unsaid)
		snprintf(more, sizeof more, " (and %u more before)", c->failures_unsaid);
	vmf__log(c->server->config->image, "client %d: %s; %s%s", (int)c->pid, why, what, more);
	c->failure_line = now;
	c->failures_unsaid = 0;
}

/* One alarm a second, however many clients stall. */
static int64_t stall(struct vmf_client *c, const struct vmf_failed *f)
{
	uint64_t now = vmf__server_now(), last = atomic_load(&c->server->stall_line);
	char why[128];

	if (now - last >= second && atomic_compare_exchange_strong(&c->server->stall_line, &last, now)) {
		reason(f, why, sizeof why);
		vmf__log(c->server->config->image, "client %d stalls: %s; still trying", (int)c->pid, why);
	}
	return (int64_t)stall_pause;
}

static int64_t kill_client(struct vmf_client *c, const struct vmf_failed *f)
{
	if (vmf__client_kill(c))
		return stall(c, f);
	say(c, f, "killed");
	c->end = "killed";
	return -VMF_EIO;
}

int64_t vmf__policy_failed(void *self, struct vmf_space *space, const struct vmf_failed *f)
{
	struct vmf_client *c = self;
	int r;

	switch (c->server->on_error) {
	case VMF_ERR_STALL:
		return stall(c, f);
	case VMF_ERR_KILL:
		return kill_client(c, f);
	default:
		break;
	}
	r = vmf_linux_poison(space, f->va, f->pages);
	if (!r) {
		say(c, f, "poisoned");
		return 0;
	}
	if (r == -VMF_EGONE)
		return r;
	return c->server->config->on_error == VMF_ERR_AUTO && r != -VMF_EAGAIN ? kill_client(c, f) : stall(c, f);
}

int vmf__policy_check(struct vmf_client *c, char *why, size_t n)
{
	if (c->server->on_error != VMF_ERR_KILL)
		return 0;
	if (c->process < 0) {
		snprintf(why, n, "its process is not known, so it could not be killed (--on-error)");
		return -1;
	}
	if (!pidfd_send_signal(c->process, 0, NULL, 0))
		return 0;
	snprintf(why, n, "it could not be killed (--on-error): %s", strerror(errno));
	return -1;
}

int vmf__client_kill(struct vmf_client *c)
{
	if (c->process < 0)
		return -ESRCH;
	return pidfd_send_signal(c->process, SIGKILL, NULL, 0) && errno != ESRCH ? -errno : 0;
}

/* A killed process may still run for a moment on another CPU: its userfaultfd stays open until it has ended. */
static void wait_for_end(struct vmf_client *c)
{
	struct pollfd p = { .fd = c->process, .events = POLLIN };

	while (poll(&p, 1, 1000) < 0 && errno == EINTR)
		;
}

/* When descriptors are about to be closed nobody can stall any more, and memory of which nobody knows where it lies
 * cannot be poisoned. */
void vmf__client_abandon(struct vmf_client *c, const char *end, bool closing)
{
	unsigned policy = c->server->on_error;
	int r = 0;

	if (closing && policy == VMF_ERR_STALL)
		policy = vmf_linux_can_poison() ? VMF_ERR_POISON : VMF_ERR_KILL;
	c->end = end;
	for (unsigned i = 0; i < c->servings; i++) {
		c->serving[i].given_up = true;
		if (policy == VMF_ERR_POISON && c->serving[i].uffd >= 0 && (!r || r == -VMF_EGONE))
			r = vmf__serving_poison(&c->serving[i]);
	}
	if (r == -VMF_EGONE)
		r = 0;
	if (policy == VMF_ERR_KILL || r || (closing && c->helds)) {
		r = vmf__client_kill(c);
		if (!r)
			wait_for_end(c);
	}
	if (r)
		vmf__log(c->server->config->socket, "client %d could be neither poisoned nor killed", (int)c->pid);
}
