/* SPDX-License-Identifier: MIT
 *
 * Results and errors in words.
 */
#include "core.h"

static const char *pick(const char *const *names, size_t n, unsigned i) { return i < n ? names[i] : "?"; }

const char *vmf_code_str(unsigned code)
{
	static const char *const names[] = { "OK", "DONE", "NEXT", "RETRY", "FALLBACK",
					     "SIGBUS", "SIGSEGV", "OOM", "POISON" };

	return pick(names, sizeof(names) / sizeof(*names), code);
}

const char *vmf_why_str(unsigned why)
{
	static const char *const names[] = { "NONE", "SIGNAL", "IO", "RACE", "LAYOUT", "RESOURCE", "EOF", "HOLE",
					     "IOERR", "PROT", "ATTR", "BOLTS", "FORK", "DRIVER", "POLICY" };

	return pick(names, sizeof(names) / sizeof(*names), why);
}

const char *vmf_err_str(int err)
{
	static const char *const names[] = {
		"no error", "invalid argument", "unknown structure tail is not zero", "out of memory", "no room left",
		"in use", "already there", "the layout is changing", "nothing is there", "a backing failed",
		"a signal is pending", "being killed", "timed out", "this port cannot do that", "not permitted",
		"gone", "would wait for itself",
	};

	return pick(names, sizeof(names) / sizeof(*names), err < 0 ? 0u - (unsigned)err : (unsigned)err);
}

static size_t put(char *buf, size_t n, size_t at, const char *s)
{
	for (; *s && at + 1 < n; s++)
		buf[at++] = *s;
	return at;
}

static size_t put_number(char *buf, size_t n, size_t at, int32_t v)
{
	char digits[12];
	unsigned i = sizeof(digits) - 1;
	uint32_t u = v < 0 ? 0u - (uint32_t)v : (uint32_t)v;

	digits[i] = 0;
	do
		digits[--i] = (char)('0' + u % 10);
	while (u /= 10);
	if (v < 0)
		digits[--i] = '-';
	return put(buf, n, at, digits + i);
}

char *vmf_result_str(struct vmf_result r, char *buf, size_t n)
{
	size_t at;

	if (!n || !buf)
		return buf;
	at = put(buf, n, 0, vmf_code_str(r.code));
	if (r.why) {
		at = put(buf, n, at, "/");
		at = put(buf, n, at, vmf_why_str(r.why));
	}
	if (r.err) {
		at = put(buf, n, at, " ");
		at = put_number(buf, n, at, r.err);
	}
	buf[at] = 0;
	return buf;
}
