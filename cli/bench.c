/* SPDX-License-Identifier: MIT
 *
 * vmfault bench: a client that does what a VMM does, and measures.  It ends, whatever the server does: when the socket
 * closes, when a page is refused (SIGBUS), when nothing comes for --timeout.
 */
#include "client.h"
#include "opts.h"
#include "progress.h"
#include "size.h"
#include "table.h"
#include "verify.h"
#include "walk.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

struct bench {
	const char *socket, *verify;
	uint64_t size, timeout;
	unsigned order, threads;
	bool huge, json;
	int file; /* of verify, or -1 */
	int verdict; /* of vmf__verify() */
	uint64_t differs;
	struct vmf_client client;
	struct vmf_walk walk;
	struct vmf_walked walked;
};
static const char *const orders[] = { "random", "seq", NULL };

#define AT(field) .at = offsetof(struct bench, field)
static const struct vmf_option options[] = {
	{ .name = "socket", .kind = VMF_OPT_PATH, .arg = "PATH", .required = true, AT(socket),
	  .help = "The UNIX socket that the server listens on." },
	{ .name = "size", .kind = VMF_OPT_SIZE, .arg = "SIZE", .required = true, .min = 4096, .max = UINT64_C(1) << 46,
	  AT(size), .help = "How much memory to map and to touch; the server's image must be at least as long." },
	{ .name = "order", .kind = VMF_OPT_WORD, .words = orders, .fallback = "random", AT(order),
	  .help = "Touch pages in an order that looks random (the same in each run), or one after the other." },
	{ .name = "threads", .kind = VMF_OPT_COUNT, .arg = "N", .fallback = "1", .min = 1, .max = 256, AT(threads),
	  .help = "Touch by so many threads, each its own part of the order." },
	{ .name = "verify", .kind = VMF_OPT_PATH, .arg = "FILE", AT(verify),
	  .help = "Compare every byte with FILE when all is there; bytes past its end have to be zero. This takes no "
		  "part in the times." },
	{ .name = "huge", .kind = VMF_OPT_FLAG, AT(huge), .help = "Use 2 MiB pages of the hugetlb pool." },
	{ .name = "timeout", .kind = VMF_OPT_SECONDS, .arg = "SECONDS", AT(timeout),
	  .help = "Give up if no page comes for so long. Default: wait for ever." },
	{ .name = "json", .kind = VMF_OPT_FLAG, AT(json), .help = "Print one line of JSON instead of a table." },
	{ 0 }
};
static const char *const about[] = {
	"Does what a VMM does when it restores a snapshot: maps anonymous memory, hands its userfaultfd to the server "
	"on the socket by Firecracker's handshake, and touches every page. Prints how long that took.",
	"Times count from the moment before connecting. Latencies are of single touches, those of pages that came with "
	"a neighbour's fault included. Faults are the kernel's count for the touching threads.",
	"On a terminal a bar on standard error shows progress.",
	NULL
};
static const char *const exits[] = {
	"0", "every page came (and, with --verify, every byte was right)",
	"1", "the server is not there, refused, went away, had no data for a page (SIGBUS), or let --timeout pass",
	"2", "wrong options or arguments",
	"3", "a byte differs from FILE; the first offset is printed",
	"4", "userfaultfd or huge pages cannot be used here; 'vmfault probe' says what mends it",
	NULL
};
static const char *const examples[] = {
	"vmfault serve --socket /tmp/s --image snapshot.mem &\n"
	"vmfault bench --socket /tmp/s --size 512M --verify snapshot.mem",
	NULL
};
const struct vmf_command vmf__bench_command = {
	.name = "bench", .summary = "a client that measures a page server", .about = about, .options = options,
	.exits = exits, .examples = examples, .bytes = sizeof(struct bench), .run = vmf_cmd_bench,
};
static const struct vmf_command *const self = &vmf__bench_command;

static int open_client(struct bench *b)
{
	const char *step;
	int err = vmf__client_memory(&b->client, b->size, b->huge, &step);
	bool lacking = err == -EPERM || err == -ENOSYS || err == -EACCES || (b->huge && err == -ENOMEM);

	if (!err)
		return -1;
	if (b->huge && err == -ENOMEM) {
		vmf__fail(self, "--huge: no %" PRIu64 " free 2 MiB pages; sudo sysctl -w vm.nr_hugepages=%" PRIu64,
			  b->size >> 21, b->size >> 21);
		return VMF_EXIT_LACKING;
	}
	vmf__fail(self, "%s: %s%s", step, strerror(-err), lacking ? "; 'vmfault probe' says what mends it" : "");
	return lacking ? VMF_EXIT_LACKING : VMF_EXIT_FAILED;
}

static int lost(struct bench *b, const char *what)
{
	char done[32], all[32];

	return vmf__fail(self, "%s: %s after %s of %s pages", b->socket, what,
			 vmf__number_str(vmf__walk_done(&b->walk), done, sizeof done),
			 vmf__number_str(b->walk.pages, all, sizeof all));
}

enum outcome { COMING, ALL, CLOSED, STALLED };

/* The server never writes: whatever the socket says is its end. */
static enum outcome look(struct bench *b, struct vmf_progress *bar, uint64_t *seen, uint64_t *since)
{
	struct pollfd p[2] = { { .fd = b->walk.ended, .events = POLLIN },
			       { .fd = b->client.socket, .events = POLLIN } };
	int n = poll(p, 2, 100);
	uint64_t now = vmf__walk_now(), done = vmf__walk_done(&b->walk);

	if (done != *seen)
		*since = now;
	*seen = done;
	vmf__progress_show(bar, done, now, now - *since);
	if (n > 0)
		return p[0].revents ? ALL : CLOSED;
	return b->timeout && now - *since >= b->timeout ? STALLED : COMING;
}

/* -1: all pages came. */
static int watch(struct bench *b)
{
	struct vmf_progress bar;
	uint64_t seen = 0, since = vmf__walk_now();
	enum outcome o;

	vmf__progress_start(&bar, b->walk.pages);
	while ((o = look(b, &bar, &seen, &since)) == COMING)
		;
	vmf__progress_clear(&bar);
	if (o == STALLED)
		return lost(b, "no page came within --timeout,");
	if (o == CLOSED)
		return lost(b, seen ? "the server closed the connection" : "refused by the server (its log says why)");
	vmf__walk_end(&b->walk, &b->walked);
	return -1;
}

/* => on an error threads may wait in faults for ever: leave the process */
static int run(struct bench *b)
{
	const char *step;
	int err;

	b->walk = (struct vmf_walk){ .base = b->client.base, .pages = b->size / b->client.page, .page = b->client.page,
		.threads = b->threads, .random = !b->order, .start = vmf__walk_now() };
	vmf__walk_sigbus(b->client.base, b->size, "vmfault bench");
	err = vmf__client_greet(&b->client, b->socket, &step);
	if (err)
		return vmf__fail(self, "%s: %s: %s", b->socket, step, strerror(-err));
	err = vmf__walk_start(&b->walk);
	if (err)
		return vmf__fail(self, "starting threads: %s", strerror(-err));
	return watch(b);
}

static double per_second(uint64_t n, uint64_t ns)
{
	return ns ? (double)n / ((double)ns / 1e9) : 0;
}

static void print_table(const struct bench *b)
{
	static struct vmf_table t;
	const struct vmf_walked *w = &b->walked;
	char size[32];

	printf("%s, %s pages, %s, %u thread%s%s\n", vmf__size_str(b->size, size, sizeof size),
	       b->huge ? "2 MiB" : "4 KiB", orders[b->order], b->threads, b->threads == 1 ? "" : "s",
	       b->client.user_only ? ", user mode only" : "");
	vmf__table_row(&t, "time to first byte");
	vmf__table_time(&t, w->first_ns);
	vmf__table_row(&t, "time to all bytes");
	vmf__table_time(&t, w->all_ns);
	vmf__table_row(&t, "faults");
	vmf__table_number(&t, w->faults);
	vmf__table_row(&t, "faults/s");
	vmf__table_number(&t, (uint64_t)per_second(w->faults, w->all_ns));
	vmf__table_row(&t, "GB/s");
	vmf__table_cell(&t, "%.2f", per_second(b->size, w->all_ns) / 1e9);
	vmf__table_row(&t, "a page: p50");
	vmf__table_time(&t, vmf__latency_at(&w->latency, 500));
	vmf__table_row(&t, "p99");
	vmf__table_time(&t, vmf__latency_at(&w->latency, 990));
	vmf__table_row(&t, "max");
	vmf__table_time(&t, w->latency.max);
	vmf__table_print(&t, stdout, 2);
}

static void print_json(const struct bench *b)
{
	const struct vmf_walked *w = &b->walked;

	printf("{\"v\":1,\"bytes\":%" PRIu64 ",\"page\":%" PRIu64 ",\"order\":\"%s\",\"threads\":%u,", b->size,
	       b->client.page, orders[b->order], b->threads);
	printf("\"user_mode_only\":%s,", b->client.user_only ? "true" : "false");
	printf("\"first_ns\":%" PRIu64 ",\"all_ns\":%" PRIu64 ",\"faults\":%" PRIu64 ",", w->first_ns,
	       w->all_ns, w->faults);
	printf("\"faults_per_s\":%.0f,\"bytes_per_s\":%.0f,", per_second(w->faults, w->all_ns),
	       per_second(b->size, w->all_ns));
	printf("\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 ",",
	       vmf__latency_at(&w->latency, 500), vmf__latency_at(&w->latency, 990), w->latency.max);
	if (b->file < 0 || b->verdict < 0)
		printf("\"verified\":null,\"differs_at\":null}\n");
	else if (b->verdict)
		printf("\"verified\":false,\"differs_at\":%" PRIu64 "}\n", b->differs);
	else
		printf("\"verified\":true,\"differs_at\":null}\n");
}

static int verify(struct bench *b)
{
	if (b->file >= 0)
		b->verdict = vmf__verify(b->client.base, b->size, b->file, &b->differs);
	if (b->json)
		print_json(b);
	else
		print_table(b);
	if (b->verdict < 0)
		return vmf__fail(self, "%s: %s", b->verify, strerror(-b->verdict));
	if (b->verdict > 0) {
		vmf__fail(self, "%s: data differ, first at offset 0x%" PRIx64, b->verify, b->differs);
		return VMF_EXIT_DIFFERS;
	}
	if (b->file >= 0 && !b->json)
		printf("  every byte is as in %s\n", b->verify);
	return VMF_EXIT_OK;
}

int vmf_cmd_bench(int argc, char **argv)
{
	struct bench b;
	int exit = vmf__opts_parse(self, argc, argv, &b);
	uint64_t page = b.huge ? UINT64_C(2) << 20 : 4096;

	if (exit >= 0)
		return exit;
	if (b.size % page)
		return vmf__usage(self, "--size is no multiple of a page (%s)", b.huge ? "2M" : "4k");
	b.file = b.verify ? open(b.verify, O_RDONLY | O_CLOEXEC) : -1;
	if (b.verify && b.file < 0)
		return vmf__fail(self, "%s: %s", b.verify, strerror(errno));
	exit = open_client(&b);
	if (exit < 0)
		exit = run(&b);
	if (exit < 0)
		exit = verify(&b);
	return exit;
}
