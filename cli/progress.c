/* SPDX-License-Identifier: MIT
 *
 * The bar is plain ASCII without colour: "[########........]  51 %".
 */
#include "progress.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 40 };
static const char bar[] = "########################################";
static const char gap[] = "........................................";

void vmf__progress_start(struct vmf_progress *p, uint64_t all)
{
	const char *term = getenv("TERM");

	p->on = isatty(STDERR_FILENO) && all && !(term && !strcmp(term, "dumb"));
	p->all = all;
	p->drawn = 0;
}

void vmf__progress_show(struct vmf_progress *p, uint64_t done, uint64_t now, uint64_t stalled_ns)
{
	int full = (int)((double)done / (double)p->all * WIDTH);

	if (!p->on || (p->drawn && now - p->drawn < 100000000))
		return;
	p->drawn = now;
	fprintf(stderr, "\r[%.*s%.*s] %3d %%", full, bar, WIDTH - full, gap,
		(int)((double)done / (double)p->all * 100));
	if (stalled_ns >= 2000000000)
		fprintf(stderr, "  no page for %" PRIu64 " s", stalled_ns / 1000000000);
	fprintf(stderr, "\033[K");
}

void vmf__progress_clear(struct vmf_progress *p)
{
	if (p->on && p->drawn)
		fprintf(stderr, "\r\033[K");
	p->drawn = 0;
}
