/* SPDX-License-Identifier: MIT
 *
 * The port, and spaces of this process: opened and closed.
 */
#include "fork.h"
#include "mask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_DEFAULT ((uint64_t)16 << 20)

int vmf__err(int e)
{
	switch (e < 0 ? -e : e) {
	case 0:
		return 0;
	case EAGAIN:
		return -VMF_EAGAIN;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return -VMF_ENOMEM;
	case EFAULT:
		return -VMF_EFAULT;
	case EEXIST:
		return -VMF_EEXIST;
	case EBUSY:
		return -VMF_EBUSY;
	case EPERM:
	case EACCES:
		return -VMF_EPERM;
	case ENOENT:
	case ESRCH:
	case ENOSPC: /* userfaultfd: the process has gone */
		return -VMF_EGONE;
	case ENOSYS:
		return -VMF_ENOSYS;
	default:
		return -VMF_EINVAL;
	}
}

/* ---------------------------------------------------------------------------------------------- the port */

static void *host_alloc(void *self, size_t bytes)
{
	return vmf__memory_take(&((struct vmf__linux *)self)->memory, bytes);
}

static void host_free(void *self, void *p, size_t bytes)
{
	vmf__memory_give(&((struct vmf__linux *)self)->memory, p, bytes);
}

static void host_trace(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r,
		       uint32_t tries)
{
	struct vmf__linux *port = self;

	port->config.trace(port->config.trace_self, space, va, access, r, tries);
}

void vmf__panic(void *self, const char *what)
{
	(void)self;
	fprintf(stderr, "vmfault: %s\n", what);
	abort();
}

static void host_fill(struct vmf__linux *port)
{
	port->host = (struct vmf_host_ops){
		.size = sizeof(port->host), .alloc = host_alloc, .free = host_free, .bytes = vmf__bytes, .slot = vmf__slot,
		.barrier = vmf__barrier_there() ? vmf__barrier : NULL, .block = vmf__block, .unblock = vmf__unblock,
		.wait = vmf__wait, .wake = vmf__wake, .now = vmf__now, .trace = port->config.trace ? host_trace : NULL,
		.segment = vmf__segment_new, .segment_punch = vmf__segment_punch, .segment_free = vmf__segment_free,
		.segment_make = vmf__segment_make,
		.panic = vmf__panic, .node = vmf__node_here,
	};
}

static int port_blank(void)
{
	int fd = memfd_create("vmfault-blank", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	/* It must stay empty: every mapping of it is past its end. */
	if (fd >= 0)
		(void)fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

static void port_free(struct vmf__linux *port)
{
	vmf_port_destroy(port->port);
	for (uint32_t i = 0; i < VMF__WATCHES; i++)
		if (port->watch[i].fd >= 0)
			close(port->watch[i].fd);
	if (port->segments) {
		for (uint32_t i = 0; i < VMF__SEGMENTS; i++)
			if (port->segments[i].pages)
				vmf__segment_free(port, (vmf_pfn){ (uint64_t)i << VMF__SEGMENT_SHIFT }, 0);
		munmap(port->segments, VMF__SEGMENTS * sizeof(*port->segments));
	}
	if (port->pagemap >= 0)
		close(port->pagemap);
	if (port->maps >= 0)
		close(port->maps);
	if (port->blank >= 0)
		close(port->blank);
	vmf__memory_destroy(&port->memory);
	munmap(port, sizeof(*port));
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int port_fill(struct vmf__linux *port)
{
	uint64_t ram = port->config.ram ? port->config.ram : RAM_DEFAULT;
	struct vmf_port_config c = {
		.size = sizeof(c), .abi = VMF_ABI, .host = &port->host, .self = port, .slots = VMF__SLOTS,
		.page_shift = VMF__SHIFT, .strict = port->config.flags & VMF_LINUX_STRICT,
	};
	int err;

	if (vmf__uffd_ask(&port->features))
		return -VMF_ENOMEM; /* too few descriptors are no reason to do without it for good */
	port->guesses = vmf__mask() & VMF__MASK_ACCESS;
	host_fill(port);
	port->segments = reserve(VMF__SEGMENTS * sizeof(*port->segments));
	if (!(vmf__mask() & VMF__MASK_PAGEMAP))
		port->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	port->maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	port->blank = port_blank();
	if (!port->segments || port->blank < 0)
		return -VMF_ENOMEM;
	err = vmf_port_create(&port->port, &c);
	return err ? err : vmf__segment_ram(port, (ram + VMF__PAGE - 1) >> VMF__SHIFT);
}

int vmf_linux_open(struct vmf_port **out, const struct vmf_linux_config *config)
{
	struct vmf__linux *port;
	struct vmf_linux_config c = { 0 };
	const char *unknown;
	int n;
	int err = config ? vmf_struct_in(&c, sizeof(c), config, offsetof(struct vmf_linux_config, ram)) : 0;

	if (!out)
		return -VMF_EINVAL;
	if (err || c.flags & ~(uint32_t)VMF_LINUX_STRICT || !vmf__mask_good(&unknown, &n))
		return err ? err : -VMF_EINVAL;
	if (sysconf(_SC_PAGESIZE) != VMF__PAGE)
		return -VMF_ENOSYS;
	port = reserve(sizeof(*port));
	if (!port)
		return -VMF_ENOMEM;
	port->config = c;
	port->pagemap = port->maps = port->blank = -1;
	for (uint32_t i = 0; i < VMF__WATCHES; i++)
		port->watch[i].fd = -1;
	err = port_fill(port);
	if (!err)
		err = vmf__registry_get();
	if (err) {
		port_free(port);
		return err;
	}
	*out = port->port;
	return 0;
}

void vmf_linux_close(struct vmf_port *core)
{
	if (!core)
		return;
	vmf__registry_put();
	port_free(vmf__linux_of(core));
}

/* ----------------------------------------------------------------------------------------------- spaces */

static int open_userfaultfd(struct vmf__local *local, uint64_t features)
{
	int fd = vmf__uffd_open(&local->user_only), err;

	if (fd < 0)
		return vmf__err(fd);
	if (local->mode == VMF_IN_CONTEXT)
		features |= VMF__UF_SIGBUS;
	features |= VMF__UF_EVENT_UNMAP | VMF__UF_EVENT_REMAP | VMF__UF_THREAD_ID | VMF__UF_EXACT_ADDRESS | VMF__UF_POISON;
	features &= local->port->features;
	err = vmf__uffd_api(fd, features);
	if (err == -EPERM && features & VMF__UF_EVENT_FORK) {
		features &= ~(uint64_t)VMF__UF_EVENT_FORK;
		err = vmf__uffd_api(fd, features);
	}
	local->inherits |= features & VMF__UF_EVENT_FORK;
	if (!err)
		return fd;
	close(fd);
	return vmf__err(err);
}

#define SHARED (VMF__UF_MISSING_SHMEM | VMF__UF_MINOR_SHMEM)
#define WP (VMF__UF_WP | VMF__UF_WP_SHMEM | VMF__UF_WP_UNPOPULATED) /* the last: CONTINUE write-protects */
#define EVENTS (VMF__UF_EVENT_UNMAP | VMF__UF_EVENT_REMOVE)

/* Which windows trap instead.  Those on memfds, where CONTINUE is missing: what is in the file shows itself there,
 * whether it is filled or not.  All of them, where the layout would go unseen, or a fault in context would sleep. */
static void choose_means(struct vmf__local *local)
{
	uint64_t has = local->port->features;
	bool none = (has & EVENTS) != EVENTS || (local->mode == VMF_IN_CONTEXT && !(has & VMF__UF_SIGBUS));

	local->trap[VMF__W_COPY] = none;
	local->trap[VMF__W_SHARED] = none || (has & SHARED) != SHARED;
	local->forbids = !none && local->mode == VMF_THREADED && !(has & VMF__UF_POISON);
	local->wp = (has & WP) == WP;
}

static int open_userfaultfds(struct vmf__local *local, bool nofork)
{
	uint64_t features[2] = { [VMF__W_SHARED] = SHARED | (local->wp ? WP : 0), [VMF__W_COPY] = VMF__UF_EVENT_REMOVE };

	features[VMF__W_COPY] |= local->port->features & VMF__UF_MISSING_HUGETLBFS;
	/* Without poison a child that cannot be served would read zeroes in the end. */
	if (!nofork && local->port->features & VMF__UF_POISON)
		features[VMF__W_COPY] |= VMF__UF_EVENT_FORK;
	for (unsigned i = 0; i < 2; i++) {
		int fd = local->trap[i] ? -1 : open_userfaultfd(local, features[i]);

		if (fd < 0 && !local->trap[i])
			return fd;
		local->fd[i] = fd;
	}
	return 0;
}

static bool traps(const struct vmf__local *local) { return local->trap[VMF__W_SHARED] || local->trap[VMF__W_COPY]; }

static void local_free(struct vmf__local *local)
{
	vmf__windows_tidy(local, true);
	for (unsigned i = 0; i < 2; i++) {
		int fd = local->fd[i];

		local->fd[i] = -1;
		if (fd >= 0 && !local->kept)
			close(fd);
	}
	vmf__family_free(local);
	vmf__huge_end(local);
	if (traps(local) || local->forbids)
		vmf__registry_trap_put();
	vmf__local_give(local);
}

static int local_open(struct vmf__local *local, struct vmf_port *core, bool nofork)
{
	int err = open_userfaultfds(local, nofork);

	if (!err)
		err = vmf_space_create(core, &local->space, &local->pmap);
	if (!err)
		err = vmf__servers_start(local);
	if (err && local->space)
		vmf_space_destroy(local->space);
	return err;
}

int vmf_linux_space(struct vmf_port *core, struct vmf_space **out, const struct vmf_linux_space *config)
{
	struct vmf_linux_space c = { 0 };
	int err = config ? vmf_struct_in(&c, sizeof(c), config, offsetof(struct vmf_linux_space, mode)) : 0;
	struct vmf__local *local;

	if (!core || !out)
		return -VMF_EINVAL;
	if (err)
		return err;
	if (c.flags & ~(uint32_t)VMF_LINUX_NOFORK || c.mode > VMF_IN_CONTEXT || c.threads > VMF__SERVERS)
		return -VMF_EINVAL;
	local = vmf__local_take();
	if (!local)
		return -VMF_ENOMEM;
	local->pmap.ops = &vmf__local_ops;
	local->port = vmf__linux_of(core);
	local->mode = c.mode;
	local->threads = c.mode == VMF_THREADED && c.threads ? c.threads : 1;
	choose_means(local);
	if (local->trap[VMF__W_COPY])
		local->threads = 0; /* there is nothing to read */
	if (traps(local) || local->forbids)
		vmf__registry_trap_get();
	err = local_open(local, core, c.flags & VMF_LINUX_NOFORK);
	if (err) {
		local_free(local);
		return err;
	}
	*out = local->space;
	return 0;
}

static struct vmf__local *local_of(const struct vmf_space *space) { return (struct vmf__local *)vmf_space_pmap(space); }

/* The servers go first: one may still be counting a fault whose thread has long gone on.  Nothing that we unmap
 * raises an event, so nobody has to read any more. */
void vmf_linux_space_close(struct vmf_space *space)
{
	struct vmf__local *local;

	if (!space)
		return;
	local = local_of(space);
	while (vmf__events_settle(local))
		(void)vmf__wait(local->port, NULL, 0, 100000, false);
	vmf__servers_stop(local);
	vmf__family_stop(local);
	if (vmf_space_destroy(space)) {
		local->closing = true; /* from now on that cannot fail */
		(void)vmf_space_destroy(space);
	}
	vmf__windows_leave(local, 0, UINTPTR_MAX);
	vmf__family_close(local);
	local_free(local);
}

bool vmf_linux_syscalls(const struct vmf_space *space)
{
	return space && vmf_space_pmap(space)->ops == &vmf__local_ops && !(vmf_linux_lacks(space) & VMF_LACKS_SYSCALLS);
}

unsigned vmf_linux_lacks(const struct vmf_space *space)
{
	const struct vmf__local *local = local_of(space);
	unsigned lacks = 0;

	if (!space || vmf_space_pmap(space)->ops != &vmf__local_ops)
		return 0;
	if (local->mode == VMF_IN_CONTEXT || traps(local) || local->user_only)
		lacks |= VMF_LACKS_SYSCALLS;
	if (local->trap[VMF__W_SHARED])
		lacks |= VMF_LACKS_SHARED;
	else if (!local->wp)
		lacks |= VMF_LACKS_WP;
	if (local->trap[VMF__W_COPY])
		lacks |= VMF_LACKS_PRIVATE;
	else if (local->forbids)
		lacks |= VMF_LACKS_POISON;
	if (!local->port->host.barrier)
		lacks |= VMF_LACKS_BARRIER;
	if (!local->inherits)
		lacks |= VMF_LACKS_FORK;
	return lacks;
}
