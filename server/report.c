/* SPDX-License-Identifier: MIT
 *
 * The line that a client leaves behind.  Its words and members are an interface: scripts read them.
 */
#include "client.h"
#include "log.h"
#include <inttypes.h>

void vmf__client_report(struct vmf_client *c)
{
	const struct vmf_session *t = &c->total;
	double s = (double)(vmf__server_now() - c->began) / 1e9;
	const char *why = c->end ? c->end : "gone";
	int r;

	if (c->server->config->json)
		r = vmf__print("{\"v\":1,\"client\":%d,\"pages\":%" PRIu64 ",\"faults\":%" PRIu64
			       ",\"bytes\":%" PRIu64 ",\"zero\":%" PRIu64 ",\"removed\":%" PRIu64
			       ",\"failed\":%" PRIu64 ",\"poisoned\":%" PRIu64 ",\"seconds\":%.3f,\"end\":\"%s\"}",
			       (int)c->pid, t->entered, t->faults, t->bytes_read, t->zeroed, t->removed, t->failed,
			       t->poisoned, s, why);
	else
		r = vmf__print("client %d: pages %" PRIu64 ", faults %" PRIu64 ", bytes %" PRIu64 ", zero %" PRIu64
			       ", removed %" PRIu64 ", time %.3f s, end %s", (int)c->pid, t->entered, t->faults,
			       t->bytes_read, t->zeroed, t->removed, s, why);
	if (r)
		atomic_store(&c->server->mute, true);
}
