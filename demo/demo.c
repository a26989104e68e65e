/* SPDX-License-Identifier: MIT
 *
 * The demo: one image brought into memory in four ways; the same while the image breaks; a pointer into 1 TiB.
 * Usage: demo DIR VMFAULT NAIVE_HANDLER SPARSE SPARSE_SOURCE; DIR is empty and the caller's to remove.
 */
#include "client.h"
#include "opts.h"
#include "peer.h"
#include "progress.h"
#include "size.h"
#include "table.h"
#include "walk.h"
#include "way.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define WHOLE (512 * MIB)
#define BROKEN (32 * MIB)
#define AROUND "256k"

struct demo {
	char *dir, *vmfault, *naive, *sparse, *source;
	char image[128];
	bool colour;
};

static void heading(const struct demo *d, const char *text)
{
	printf("\n%s%s%s\n\n", d->colour ? "\033[1m" : "", text, d->colour ? "\033[0m" : "");
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "demo: %s: %s\n", what, strerror(-err));
	return VMF_EXIT_FAILED;
}

static int start_naive(struct demo *d, struct peer *p)
{
	char socket[128];

	snprintf(socket, sizeof socket, "%s/naive.sock", d->dir);
	return peer_start(p, d->dir, "naive", (char *[]){ d->naive, socket, d->image, NULL });
}

static int start_vmfault(struct demo *d, struct peer *p)
{
	char socket[128];
	char *argv[] = { d->vmfault, "serve", "--socket", socket, "--image", d->image, "--fault-around", AROUND, NULL };

	snprintf(socket, sizeof socket, "%s/vmfault.sock", d->dir);
	return peer_start(p, d->dir, "vmfault", argv);
}

/* ------------------------------------------------------------------------------------ 1: the four ways */

struct row { const char *name; enum way_kind kind; int (*server)(struct demo *, struct peer *); };
static const struct row rows[] = {
	{ "read it all first", WAY_READ, NULL },
	{ "hand-written handler", WAY_SERVED, start_naive },
	{ "vmfault serve", WAY_SERVED, start_vmfault },
	{ "mmap(MAP_PRIVATE)", WAY_MAPPED, NULL },
};

static int add_row(struct demo *d, const struct row *r, struct vmf_table *t)
{
	struct peer p;
	struct way w = { .kind = r->kind, .image = d->image, .socket = p.socket, .bytes = WHOLE, .seconds = 40 };
	struct wayed o;
	char s[32];
	enum way_end end;
	int err = r->server ? r->server(d, &p) : 0;

	if (err)
		return fail(r->name, err);
	end = way_run(&w, &o);
	if (r->server)
		peer_end(&p);
	if (end != WAY_DONE || o.found[PAGE_RIGHT] != WHOLE / IMAGE_PAGE) {
		fprintf(stderr, "demo: %s: %s\n", r->name, end == WAY_DONE ? "wrong data" : "did not come to its end");
		if (r->server)
			peer_print_log(&p, "  ");
		return VMF_EXIT_FAILED;
	}
	vmf__table_row(t, r->name);
	vmf__table_time(t, o.first_ns);
	vmf__table_time(t, o.all_ns);
	vmf__table_number(t, o.faults);
	vmf__table_cell(t, "%s", vmf__size_str(o.copied & ~(MIB - 1), s, sizeof s));
	return 0;
}

static int four_ways(struct demo *d)
{
	static struct vmf_table t;
	int err = image_make(d->image, WHOLE);

	if (err)
		return fail(d->image, err);
	heading(d, "1. An image of 512 MiB, a quarter of it holes, read in random order. How long until...");
	vmf__table_row(&t, "");
	vmf__table_cell(&t, "first byte");
	vmf__table_cell(&t, "all bytes");
	vmf__table_cell(&t, "faults");
	vmf__table_cell(&t, "bytes moved");
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
		if ((err = add_row(d, &rows[i], &t)))
			return err;
	vmf__table_print(&t, stdout, 2);
	printf("\n  Every byte was checked. The image is in the page cache: there a plain MAP_PRIVATE wins, and so it\n"
	       "  does wherever it can be had. A page server is for images that are remote or shared, and for guests\n"
	       "  with 2 MiB pages.\n");
	return 0;
}

/* ------------------------------------------------------------------------------- 2: the image breaks */

static const char *const found_name[] = { "right", "zeroes", "the bytes of another page", "broken" };

static void print_end(const struct wayed *o, enum way_end end, unsigned seconds)
{
	uint64_t pages = BROKEN / IMAGE_PAGE, wrong = o->touched - o->found[PAGE_RIGHT];

	if (end == WAY_HUNG)
		printf("  client: HANGS at page %" PRIu64 " of %" PRIu64 ", given up after %u s\n", o->touched, pages,
		       seconds);
	if (end == WAY_FAILED)
		printf("  client: died at page %" PRIu64 " of %" PRIu64 "\n", o->touched, pages);
	if (end == WAY_DONE)
		printf("  client: read all of its %" PRIu64 " pages and noticed nothing\n", pages);
	if (wrong)
		printf("  client: %" PRIu64 " PAGES ARE WRONG; the first, page %" PRIu64 ", is %s\n", wrong, o->bad,
		       found_name[o->bad_is]);
	else
		printf("  client: the %" PRIu64 " pages that it read were right\n", o->touched);
}

/* *right: the client got an error, and no wrong byte. */
static int break_one(struct demo *d, const char *name, int (*server)(struct demo *, struct peer *), bool *right)
{
	struct peer p;
	struct way w = { .kind = WAY_SERVED, .image = d->image, .socket = p.socket, .bytes = BROKEN, .breaks = true,
			 .seconds = 10 };
	struct wayed o;
	enum way_end end;
	int err = image_make(d->image, BROKEN);

	if (err)
		return fail(d->image, err);
	printf("  %s\n", name);
	err = server(d, &p);
	if (err)
		return fail(name, err);
	end = way_run(&w, &o);
	print_end(&o, end, w.seconds);
	peer_end(&p);
	printf("  server: what it said\n");
	peer_print_log(&p, "    ");
	*right = end == WAY_SIGBUS && o.touched == o.found[PAGE_RIGHT];
	return 0;
}

static int image_breaks(struct demo *d)
{
	bool right = false;
	int err;

	heading(d, "2. The image breaks: when the client has read half of it, it is cut there.");
	err = break_one(d, "The hand-written handler:", start_naive, &right);
	printf("\n");
	if (!err)
		err = break_one(d, "vmfault serve:", start_vmfault, &right);
	if (err || right)
		return err;
	fprintf(stderr, "demo: vmfault serve gave its client no error: this is a bug\n");
	return VMF_EXIT_FAILED;
}

/* --------------------------------------------------------------------------------- 3: a pointer, and the end */

/* The program, less the comment at its top. */
static void print_source(const char *path)
{
	char line[256];
	bool comment = true;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof line, f)) {
		if (!comment)
			printf("%s%s", line[0] == '\n' ? "" : "    ", line);
		comment &= !strstr(line, "*/");
	}
	if (f)
		fclose(f);
}

static int pointer(const struct demo *d)
{
	int status = 0;
	pid_t pid;

	heading(d, "3. A pointer into 1 TiB: the program, and what it prints.");
	print_source(d->source);
	printf("\n");
	fflush(NULL);
	pid = fork();
	if (!pid) {
		alarm(20);
		execl(d->sparse, d->sparse, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		return fail(d->sparse, pid < 0 ? -errno : -ECHILD);
	return 0;
}

static void paste(const struct demo *d)
{
	heading(d, "For your own Firecracker: first the server, then the client.");
	printf("  vmfault serve --socket /run/vm1.sock --image /srv/vm1.mem --fault-around " AROUND "\n\n"
	       "  curl --unix-socket /run/firecracker.sock -X PUT http://localhost/snapshot/load \\\n"
	       "       -H 'Content-Type: application/json' -d '{\"snapshot_path\":\"/srv/vm1.state\",\n"
	       "       \"mem_backend\":{\"backend_type\":\"Uffd\",\"backend_path\":\"/run/vm1.sock\"},\n"
	       "       \"resume_vm\":true}'\n\n");
}

/* -1: go on. */
static int lacking(const struct demo *d)
{
	struct vmf_client c;
	const char *step;
	int err = vmf__client_memory(&c, IMAGE_PAGE, false, &step);

	if (err) {
		fprintf(stderr, "demo: %s: %s; '%s probe' says what mends it\n", step, strerror(-err), d->vmfault);
		return VMF_EXIT_LACKING;
	}
	vmf__client_close(&c);
	return -1;
}

int main(int argc, char **argv)
{
	struct demo d;
	int exit;

	if (argc != 6) {
		fprintf(stderr, "usage: demo DIR VMFAULT NAIVE_HANDLER SPARSE SPARSE_SOURCE\n");
		return VMF_EXIT_USAGE;
	}
	d = (struct demo){ .dir = argv[1], .vmfault = argv[2], .naive = argv[3], .sparse = argv[4], .source = argv[5] };
	d.colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	snprintf(d.image, sizeof d.image, "%s/image", d.dir);
	exit = lacking(&d);
	if (exit < 0)
		exit = four_ways(&d);
	if (!exit)
		exit = image_breaks(&d);
	if (!exit)
		exit = pointer(&d);
	if (!exit)
		paste(&d);
	return exit;
}
