/* SPDX-License-Identifier: MIT */
#include "log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE = 1024 };

static int put(int fd, char *line, int n)
{
	if (n > LINE - 2)
		n = LINE - 2;
	for (int i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	while (write(fd, line, (size_t)n) < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

void vmf__log(const char *path, const char *format, ...)
{
	char line[LINE];
	int n = snprintf(line, sizeof line, path ? "vmfault serve: %.512s: " : "vmfault serve: ", path);
	va_list ap;

	va_start(ap, format);
	n += vsnprintf(line + n, sizeof line - (size_t)n, format, ap);
	va_end(ap);
	put(STDERR_FILENO, line, n);
}

int vmf__print(const char *format, ...)
{
	char line[LINE];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	return put(STDOUT_FILENO, line, n);
}
