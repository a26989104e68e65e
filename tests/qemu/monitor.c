/* SPDX-License-Identifier: MIT
 *
 * monitor: says commands to QEMU's monitor, one after the other, and prints its answers.
 *
 *	monitor SOCKET SECONDS COMMAND...
 *
 * Waits for the socket to appear.  Exit 1: QEMU said "Error", has gone, or SECONDS are over.  `quit` may be the last
 * command: the end of the connection is its answer.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROMPT "(qemu) "

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "monitor: %s: %s\n", what, why);
	exit(1);
}

static void timed_out(int sig)
{
	static const char text[] = "monitor: no answer in time\n";

	(void)sig;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

/* alarm() ends the tries. */
static int monitor_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket", strerror(errno));
	if (strlen(path) >= sizeof(addr.sun_path))
		die(path, "path too long");
	memcpy(addr.sun_path, path, strlen(path) + 1);
	while (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		if (errno != ENOENT && errno != ECONNREFUSED)
			die(path, strerror(errno));
		usleep(10000);
	}
	return fd;
}

/* Reads up to the prompt.  False: the connection has ended before it. */
static int answer(int fd, char *buf, size_t room)
{
	size_t have = 0;

	for (;;) {
		ssize_t n = read(fd, buf + have, room - 1 - have);

		if (n <= 0)
			return 0;
		have += (size_t)n;
		buf[have] = '\0';
		if (strstr(buf, PROMPT))
			return 1;
		if (have == room - 1)
			die("answer", "too long");
	}
}

/* The first line is the echo of the command, character by character, and the prompt is the last. */
static void print_answer(char *buf)
{
	char *text = strchr(buf, '\n');

	*strstr(buf, PROMPT) = '\0';
	if (text)
		fputs(text + 1, stdout);
}

static void command(int fd, const char *line, char *buf, size_t room)
{
	size_t len = strlen(line);

	if (write(fd, line, len) != (ssize_t)len || write(fd, "\n", 1) != 1)
		die(line, "QEMU has gone");
	if (!answer(fd, buf, room)) {
		if (!strcmp(line, "quit"))
			return;
		die(line, "QEMU has gone");
	}
	print_answer(buf);
	if (strstr(buf, "Error") || strstr(buf, "unknown command"))
		exit(1);
}

int main(int argc, char **argv)
{
	static char buf[65536];
	int fd;

	if (argc < 4 || atoi(argv[2]) <= 0) {
		fprintf(stderr, "usage: monitor SOCKET SECONDS COMMAND...\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, timed_out);
	alarm((unsigned)atoi(argv[2]));
	fd = monitor_connect(argv[1]);
	if (!answer(fd, buf, sizeof(buf)))
		die(argv[1], "QEMU has gone");
	for (char **line = argv + 3; *line; line++)
		command(fd, *line, buf, sizeof(buf));
	return 0;
}
