/* SPDX-License-Identifier: MIT
 *
 * Firecracker's handshake.  A message ends where its outermost bracket closes: brackets and strings are scanned byte by
 * byte as they come, each byte once, and only a whole message is given to the JSON parser.
 *
 * Which descriptor belongs to which message: a stream socket hands descriptors over no earlier than the first byte that
 * they were sent with, but may glue the end of one message to the next; so a message takes the oldest descriptor, and
 * what is left over is an error only if no other message follows that could own it.
 */
#include "handshake.h"
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH = 64 };

struct vmf_handshake {
	char *bytes;
	size_t n, room;
	size_t seen;            /* bytes that the scanner has been over */
	uint64_t braces;        /* the kinds of the open brackets, the innermost in bit 0: is it a brace? */
	unsigned depth;         /* how many are open */
	bool in_string, escaped;
	bool whole;             /* the message in front is complete, checked, and in `regions` */
	bool bad;
	int fd[VMF_HELLO_FDS];
	unsigned fds, dropped;  /* dropped: came when there was no room for more */
	struct vmf_linux_region region[VMF_SESSION_REGIONS];
	unsigned regions;
	char why[160];
};

struct vmf_handshake *vmf__handshake_open(void)
{
	return calloc(1, sizeof(struct vmf_handshake));
}

void vmf__handshake_close(struct vmf_handshake *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->fds; i++)
		close(h->fd[i]);
	free(h->bytes);
	free(h);
}

static void keep_fd(struct vmf_handshake *h, int fd)
{
	if (h->fds < VMF_HELLO_FDS) {
		h->fd[h->fds++] = fd;
	} else {
		close(fd);
		h->dropped++;
	}
}

unsigned vmf__handshake_room(const struct vmf_handshake *h) { return VMF_HELLO_FDS - h->fds; }

int vmf__handshake_take_fd(struct vmf_handshake *h)
{
	int fd;

	if (!h->fds)
		return -1;
	fd = h->fd[0];
	memmove(h->fd, h->fd + 1, --h->fds * sizeof h->fd[0]);
	return fd;
}

int vmf__handshake_feed(struct vmf_handshake *h, const void *bytes, size_t n, const int *fds, unsigned fds_n)
{
	for (unsigned i = 0; i < fds_n; i++)
		keep_fd(h, fds[i]);
	if (n > h->room - h->n) {
		size_t room = h->n + n < 1024 ? 1024 : 2 * (h->n + n);
		char *p = realloc(h->bytes, room);

		if (!p)
			return -ENOMEM;
		h->bytes = p;
		h->room = room;
	}
	if (n)
		memcpy(h->bytes + h->n, bytes, n);
	h->n += n;
	return 0;
}

static enum vmf_hello_state bad(struct vmf_handshake *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
static enum vmf_hello_state bad(struct vmf_handshake *h, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(h->why, sizeof h->why, format, ap);
	va_end(ap);
	h->bad = true;
	return VMF_HELLO_BAD;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void consume(struct vmf_handshake *h, size_t n)
{
	if (n)
		memmove(h->bytes, h->bytes + n, h->n - n);
	h->n -= n;
	h->seen = 0;
}

static void skip_blanks(struct vmf_handshake *h)
{
	size_t i = 0;

	while (i < h->n && blank(h->bytes[i]))
		i++;
	consume(h, i);
}

static void open_bracket(struct vmf_handshake *h, bool brace)
{
	if (h->depth++ == DEPTH)
		bad(h, "broken JSON: more than %d brackets deep", DEPTH);
	h->braces = h->braces << 1 | brace;
}

static void close_bracket(struct vmf_handshake *h, bool brace)
{
	if ((h->braces & 1) != brace)
		bad(h, "broken JSON: a bracket is closed by one of another kind at byte %zu", h->seen);
	h->braces >>= 1;
	h->depth--;
}

/* Is the outermost bracket closed?  Then the message is the first h->seen bytes. */
static bool scan(struct vmf_handshake *h)
{
	while (h->seen < h->n && !h->bad) {
		char c = h->bytes[h->seen++];

		if (h->in_string) {
			h->in_string = h->escaped || c != '"';
			h->escaped = !h->escaped && c == '\\';
		} else if (c == '"') {
			h->in_string = true;
		} else if (c == '[' || c == '{') {
			open_bracket(h, c == '{');
		} else if (c == ']' || c == '}') {
			close_bracket(h, c == '}');
			if (!h->depth)
				return !h->bad;
		}
	}
	return false;
}

/* A member that is a number of bytes.  false: the handshake is bad. */
static bool member(struct vmf_handshake *h, json_t *o, unsigned i, const char *name, uint64_t *v)
{
	json_t *m = json_object_get(o, name);

	if (!m)
		bad(h, "region %u has no \"%s\"", i, name);
	else if (!json_is_integer(m))
		bad(h, "\"%s\" of region %u is not an integer", name, i);
	else if (json_integer_value(m) < 0)
		bad(h, "\"%s\" of region %u is negative", name, i);
	else
		*v = (uint64_t)json_integer_value(m);
	return !h->bad;
}

static bool region(struct vmf_handshake *h, json_t *o, unsigned i)
{
	struct vmf_linux_region *r = &h->region[i];
	uint64_t page = 4096;

	if (!json_is_object(o))
		return bad(h, "region %u is not an object", i), false;
	if (!member(h, o, i, "base_host_virt_addr", &r->va) || !member(h, o, i, "size", &r->bytes) ||
	    !member(h, o, i, "offset", &r->offset))
		return false;
	if (json_object_get(o, "page_size")) {
		if (!member(h, o, i, "page_size", &page))
			return false;
	} else if (json_object_get(o, "page_size_kib")) {
		if (!member(h, o, i, "page_size_kib", &page))
			return false;
	}
	if (page > UINT32_MAX)
		return bad(h, "\"page_size\" of region %u is too large", i), false;
	r->page_size = (uint32_t)page;
	return true;
}

static bool regions(struct vmf_handshake *h, json_t *array)
{
	size_t n = json_array_size(array);

	if (!n)
		return bad(h, "the message has no region"), false;
	if (n > VMF_SESSION_REGIONS)
		return bad(h, "the message has %zu regions, more than %d", n, VMF_SESSION_REGIONS), false;
	h->regions = (unsigned)n;
	for (unsigned i = 0; i < n; i++)
		if (!region(h, json_array_get(array, i), i))
			return false;
	return true;
}

static bool parse(struct vmf_handshake *h)
{
	json_error_t e;
	json_t *array = json_loadb(h->bytes, h->seen, JSON_REJECT_DUPLICATES, &e);

	if (!array)
		return bad(h, "broken JSON: %s at byte %d", e.text, e.position), false;
	h->whole = regions(h, array);
	json_decref(array);
	return h->whole;
}

/* The message in front is whole: with exactly one descriptor it is ready. */
static enum vmf_hello_state ready(struct vmf_handshake *h, struct vmf_hello *hello)
{
	size_t end = h->seen;
	bool last;

	while (end < h->n && blank(h->bytes[end]))
		end++;
	last = end == h->n;
	if (last)
		h->n = h->seen; /* however many blanks come, they are not kept */
	if (!h->fds)
		return last ? VMF_HELLO_MORE : bad(h, "no descriptor came with the message");
	if (h->dropped || (last && h->fds > 1))
		return bad(h, "%u descriptors came with the message, not one", h->fds + h->dropped);
	memcpy(hello->region, h->region, sizeof hello->region);
	hello->regions = h->regions;
	hello->uffd = vmf__handshake_take_fd(h);
	h->whole = false;
	consume(h, last ? h->n : end);
	return VMF_HELLO_READY;
}

enum vmf_hello_state vmf__handshake_next(struct vmf_handshake *h, struct vmf_hello *hello)
{
	bool closed;

	if (h->bad)
		return VMF_HELLO_BAD;
	if (!h->whole) {
		if (!h->depth)
			skip_blanks(h);
		if (!h->n)
			return VMF_HELLO_MORE;
		if (h->bytes[0] != '[')
			return bad(h, "broken JSON: the message is not an array");
		closed = scan(h);
		if (h->bad)
			return VMF_HELLO_BAD;
		if (closed ? h->seen > VMF_HELLO_BYTES : h->n >= VMF_HELLO_BYTES)
			return bad(h, "the message is longer than %u bytes", VMF_HELLO_BYTES);
		if (!closed)
			return VMF_HELLO_MORE;
		if (!parse(h))
			return VMF_HELLO_BAD;
	}
	return ready(h, hello);
}

const char *vmf__handshake_why(const struct vmf_handshake *h)
{
	if (h->bad)
		return h->why;
	if (h->whole)
		return "no descriptor came with the message";
	if (h->n)
		return "the message is incomplete";
	return h->fds ? "no message came with the descriptor" : NULL;
}
