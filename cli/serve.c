/* SPDX-License-Identifier: MIT
 *
 * vmfault serve: its options.  What it does is in server/.
 */
#include "opts.h"
#include "server.h"

enum { PAGE = 4096, AROUND_MAX = PAGE * VMF_RUN_MAX, THREADS_MAX = 256 };

/* In the order of enum vmf_on_error. */
static const char *const on_error_words[] = { "auto", "poison", "stall", "kill", NULL };
static const char *const about[] = {
	"Listens on a UNIX socket for VMMs that restore a snapshot lazily, and brings the pages of their memory "
	"from IMAGE when they are touched. It speaks the handshake of Firecracker's \"Uffd\" memory backend: a "
	"JSON array of regions and a userfaultfd. One process serves any number of clients at a time.",
	"IMAGE is a file or a block device with the guest's memory. Holes of a file are zero and are not read. A "
	"last page that is not whole is padded with zeroes. It must not change while it is served; if it shrinks, "
	"pages past its new end are failures, never zeroes.",
	"A client is refused before its first fault, with one line on stderr, if its regions are unaligned, "
	"overlap, wrap or exceed the image, or if its message is broken or does not come with exactly one "
	"userfaultfd within 5 seconds.",
	"A client that was refused, or that closed its socket, is held until its process has ended: if its userfaultfd "
	"were closed before, its absent pages would turn into zeroes.",
	"When a client is gone, one line on stdout says what it took:",
	"client PID: pages N, faults N, bytes N, zero N, removed N, time S s, end REASON",
	"pages were entered, of which zero needed no read; bytes were read from IMAGE; removed pages were given "
	"back by the guest and read zero. REASON is gone, killed (by --on-error), failed, or stopped (by a second "
	"signal).",
	"SIGTERM or SIGINT: no new clients; the server names those that it still has, stays until they are gone, "
	"and exits with 0. A second one ends it at once with 1: what its clients have not touched becomes a SIGBUS "
	"for them, or they are killed or left to stall, as --on-error says.",
	NULL
};
static const char *const exits[] = {
	"0", "it was told to stop, and its clients were gone",
	"1", "the socket, the image or the pid file cannot be used; or it was ended by a second signal",
	"2", "wrong options",
	"4", "userfaultfd or what --on-error needs is missing",
	NULL
};
static const char *const examples[] = {
	"vmfault serve --socket /run/vm.sock --image /srv/guest.mem --fault-around 256k",
	NULL
};
#define AT(member) .at = offsetof(struct vmf_serve_config, member)
static const struct vmf_option options[] = {
	{ .name = "socket", .kind = VMF_OPT_PATH, .arg = "PATH", .required = true, AT(socket),
	  .help = "Listen on this UNIX socket. It is created for its owner alone and removed at the end; one that a "
		  "dead server left behind is replaced." },
	{ .name = "image", .kind = VMF_OPT_PATH, .arg = "IMAGE", .required = true, AT(image),
	  .help = "The guest's memory." },
	{ .name = "fault-around", .kind = VMF_OPT_SIZE, .arg = "SIZE", .fallback = "4k", .min = PAGE, .max = AROUND_MAX,
	  AT(around), .help = "Each fault brings the aligned block of this size around it; a power of two." },
	{ .name = "on-error", .kind = VMF_OPT_WORD, .words = on_error_words, .fallback = "auto", AT(on_error),
	  .help = "What a client gets when a page cannot be read after some tries: poison, a SIGBUS at that page "
		  "(Linux 6.6); stall, it waits while the server goes on trying and says so every second; kill, a "
		  "SIGKILL; auto, poison where the kernel can, else kill. Never zeroes." },
	{ .name = "threads", .kind = VMF_OPT_COUNT, .arg = "N", .min = 1, .max = THREADS_MAX, AT(threads),
	  .help = "Threads for all clients together. Unless given: one for each CPU." },
	{ .name = "json", .kind = VMF_OPT_FLAG, AT(json), .help = "A JSON object for each client, one a line." },
	{ .name = "pid-file", .kind = VMF_OPT_PATH, .arg = "FILE", AT(pid_file),
	  .help = "Write the server's process number to this file once it listens, and remove it at the end." },
	{ 0 }
};

const struct vmf_command vmf__serve_command = {
	.name = "serve",
	.summary = "serve a memory image to VMMs",
	.about = about,
	.options = options,
	.exits = exits,
	.examples = examples,
	.bytes = sizeof(struct vmf_serve_config),
	.run = vmf_cmd_serve,
};

int vmf_cmd_serve(int argc, char **argv)
{
	struct vmf_serve_config config;
	int exit = vmf__opts_parse(&vmf__serve_command, argc, argv, &config);

	if (exit >= 0)
		return exit;
	if (config.around & (config.around - 1))
		return vmf__usage(&vmf__serve_command, "--fault-around is not a power of two");
	return vmf__server_run(&config);
}
