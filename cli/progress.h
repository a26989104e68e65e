/* SPDX-License-Identifier: MIT
 *
 * A progress bar on stderr, drawn only if that is a terminal; stdout belongs to results.
 */
#ifndef VMF_CLI_PROGRESS_H
#define VMF_CLI_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

struct vmf_progress {
	bool on;
	uint64_t all, drawn;  /* drawn: when, ns */
};
void vmf__progress_start(struct vmf_progress *, uint64_t all);
/* Draws at most ten times a second.  stalled_ns: how long nothing has come. */
void vmf__progress_show(struct vmf_progress *, uint64_t done, uint64_t now, uint64_t stalled_ns);
void vmf__progress_clear(struct vmf_progress *); /* before anything else is printed */

#endif
