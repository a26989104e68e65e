/* SPDX-License-Identifier: MIT
 *
 * The client's side of the handshake.
 */
#include "../ports/linux/uffd.h"
#include "client.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HUGE_BYTES (UINT64_C(2) << 20)

static int register_memory(struct vmf_client *c, const char **step)
{
	int err;

	*step = "userfaultfd";
	c->uffd = vmf__uffd_open(&c->user_only);
	if (c->uffd < 0)
		return c->uffd;
	*step = "userfaultfd with EVENT_REMOVE";
	err = vmf__uffd_api(c->uffd, VMF__UF_EVENT_REMOVE);
	if (err)
		return err;
	*step = "registering memory with userfaultfd";
	return vmf__uffd_register(c->uffd, (uintptr_t)c->base, c->bytes, VMF__UR_MISSING, NULL);
}

int vmf__client_memory(struct vmf_client *c, uint64_t bytes, bool huge, const char **step)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, err;
	void *base;

	*c = (struct vmf_client){ .bytes = bytes, .page = huge ? HUGE_BYTES : 4096, .uffd = -1, .socket = -1 };
	/* Huge pages are reserved here: an empty pool is an error now and not a fault that nobody can resolve. */
	flags |= huge ? MAP_HUGETLB | 21 << MAP_HUGE_SHIFT : MAP_NORESERVE;
	*step = huge ? "mapping 2 MiB pages" : "mapping memory";
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	c->base = base;
	err = register_memory(c, step);
	if (err)
		vmf__client_close(c);
	return err;
}

static int send_message(struct vmf_client *c, char *text, size_t n)
{
	union { struct cmsghdr head; char bytes[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec iov = { text, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&m);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &c->uffd, sizeof(int));
	return sendmsg(c->socket, &m, MSG_NOSIGNAL) == (ssize_t)n ? 0 : errno ? -errno : -EIO;
}

static int greet(struct vmf_client *c, const struct sockaddr_un *to, const char **step)
{
	char text[256];
	int n = snprintf(text, sizeof text, "[{\"base_host_virt_addr\":%" PRIuPTR ",\"size\":%" PRIu64 ",\"offset\":0,"
			 "\"page_size\":%" PRIu64 ",\"page_size_kib\":%" PRIu64 "}]",
			 (uintptr_t)c->base, c->bytes, c->page, c->page);

	*step = "connecting";
	c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->socket < 0 || connect(c->socket, (const struct sockaddr *)to, sizeof *to))
		return -errno;
	*step = "sending the handshake";
	return send_message(c, text, (size_t)n);
}

int vmf__client_greet(struct vmf_client *c, const char *path, const char **step)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int err;

	*step = "connecting";
	if (strlen(path) >= sizeof to.sun_path)
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, strlen(path) + 1);
	err = greet(c, &to, step);
	if (err && c->socket >= 0) {
		close(c->socket);
		c->socket = -1;
	}
	return err;
}

void vmf__client_close(struct vmf_client *c)
{
	/* The memory goes first: without the descriptor what is absent would read zero. */
	munmap(c->base, c->bytes);
	if (c->uffd >= 0)
		close(c->uffd);
	if (c->socket >= 0)
		close(c->socket);
}
