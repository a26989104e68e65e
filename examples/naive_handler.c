/* SPDX-License-Identifier: MIT
 *
 * The page-fault handler that everyone writes by hand for Firecracker: one thread, one page a fault.  It is here to be
 * compared with, not to be used: it believes whatever pread says, so that past the end of a truncated image the guest
 * gets the page before once more; it never reads a REMOVE as such, and it knows no error but to exit.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	static char page[4096], text[1024], control[64];
	struct iovec iov = { text, sizeof text - 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64 };
	unsigned long base, offset, faults = 0;
	int image, server, client, uffd;

	if (argc != 3)
		return fprintf(stderr, "usage: naive_handler SOCKET IMAGE\n"), 2;
	snprintf(at.sun_path, sizeof at.sun_path, "%s", argv[1]);
	image = check(open(argv[2], O_RDONLY), argv[2]);
	server = check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	check(bind(server, (struct sockaddr *)&at, sizeof at), argv[1]);
	check(listen(server, 1), "listen");
	client = check(accept(server, NULL, NULL), "accept");
	check((int)recvmsg(client, &m, 0), "recvmsg");
	memcpy(&uffd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof uffd);
	base = strtoul(strstr(text, "\"base_host_virt_addr\":") + 22, NULL, 10);
	for (struct pollfd p[2] = { { uffd, 1, 0 }, { client, 1, 0 } }; poll(p, 2, -1) > 0 && !p[1].revents; ) {
		struct uffd_msg msg;

		if (read(uffd, &msg, sizeof msg) != sizeof msg || msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		offset = (msg.arg.pagefault.address & ~4095ul) - base;
		check((int)pread(image, page, sizeof page, (off_t)offset), argv[2]);
		check(ioctl(uffd, UFFDIO_COPY, &(struct uffdio_copy){ .dst = base + offset, .src = (unsigned long)page,
								      .len = sizeof page }), "UFFDIO_COPY");
		faults++;
	}
	fprintf(stderr, "naive_handler: %lu faults\n", faults);
	return 0;
}
