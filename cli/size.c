/* SPDX-License-Identifier: MIT
 *
 * SIZE: parsed strictly (no sign, no blank, no fraction, nothing after the suffix), because a size that is silently
 * read as another one maps the wrong memory.
 */
#include "size.h"
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

static int digit(char c, unsigned base)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (base == 16 && c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (base == 16 && c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int suffix(char c)
{
	switch (c) {
	case 'k': case 'K': return 10;
	case 'm': case 'M': return 20;
	case 'g': case 'G': return 30;
	case 't': case 'T': return 40;
	default: return -1;
	}
}

int vmf__size_parse(const char *s, uint64_t *bytes)
{
	unsigned base = s[0] == '0' && (s[1] == 'x' || s[1] == 'X') ? 16 : 10;
	const char *p = base == 16 ? s + 2 : s;
	uint64_t v = 0;
	bool big = false;
	int d, shift = 0;

	if (digit(*p, base) < 0)
		return -EINVAL;
	for (; (d = digit(*p, base)) >= 0; p++)
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, (uint64_t)d, &v))
			big = true;
	if (*p && (shift = suffix(*p++)) < 0)
		return -EINVAL;
	if (*p)
		return -EINVAL;
	if (big || (shift && v >> (64 - shift)))
		return -ERANGE;
	*bytes = v << shift;
	return 0;
}

char *vmf__size_str(uint64_t bytes, char *buf, size_t n)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned u = 0;

	while (u < 6 && bytes >> (10 * (u + 1)))
		u++;
	if (u && bytes & ((UINT64_C(1) << (10 * u)) - 1))
		snprintf(buf, n, "%.1f %s", (double)bytes / (double)(UINT64_C(1) << (10 * u)), unit[u]);
	else
		snprintf(buf, n, "%" PRIu64 " %s", bytes >> (10 * u), unit[u]);
	return buf;
}
