/* SPDX-License-Identifier: MIT
 *
 * vmfault bench against servers that do what they are told: serve, lie, refuse, go away, stall, poison.  Whatever they
 * do, bench ends, says what happened in one line on stderr, and exits with the right status; stdout has results only.
 */
#include "../ports/linux/uffd.h"
#include "vmtest.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 512, BYTES = PAGE * PAGES, SHORT = BYTES - 5000 };
enum what { SERVE, REFUSE, GO_AWAY, STALL, POISON, LIE, PAD };
struct server {
	enum what what;
	unsigned at; /* after so many faults, or at this page */
	int listener;
	pthread_t thread;
	char message[512];
	unsigned faults;
};
struct ran { int status; char out[4096], err[4096]; };
static char dir[64], socket_path[96], file_path[96];

static void fill(unsigned page, unsigned char *to)
{
	for (unsigned i = 0; i < PAGE; i++)
		to[i] = (unsigned char)(page * 7 + i * 13 + page / 256 + 1);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		vmtest_fail("%s: %s", what, strerror(errno));
}

/* The message and the descriptor that came with it. */
static int take_hello(struct server *s, int client)
{
	union { struct cmsghdr head; char bytes[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec iov = { s->message, sizeof s->message - 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &control, .msg_controllen = sizeof control };
	int fd = -1;

	must(recvmsg(client, &m, 0) > 0, "recvmsg");
	must(CMSG_FIRSTHDR(&m) != NULL, "a descriptor");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}

/* false: this was the last one. */
static bool resolve(struct server *s, int uffd, uint64_t base, uint64_t va)
{
	static unsigned char page[PAGE];
	unsigned n = (unsigned)((va - base) / PAGE);

	fill(n, page);
	if (s->what == LIE && n == s->at)
		page[99]++;
	for (unsigned i = 0; s->what == PAD && i < PAGE; i++)
		page[i] = n * PAGE + i < SHORT ? page[i] : 0;
	if (s->what == POISON && n == s->at) {
		must(vmf__uffd_poison(uffd, base + (uint64_t)n * PAGE, PAGE, 0) == PAGE, "poison");
		return true;
	}
	must(vmf__uffd_copy(uffd, base + (uint64_t)n * PAGE, page, PAGE, 0) == PAGE, "copy");
	return ++s->faults < s->at || (s->what != GO_AWAY && s->what != STALL);
}

static void serve(struct server *s, int client, int uffd)
{
	uint64_t base = strtoull(strstr(s->message, "virt_addr\":") + 11, NULL, 10);
	struct pollfd p[2] = { { .fd = uffd, .events = POLLIN }, { .fd = client, .events = POLLIN } };
	struct uffd_msg msg;

	while (poll(p, 2, -1) > 0 && !p[1].revents)
		if (read(uffd, &msg, sizeof msg) == sizeof msg && msg.event == UFFD_EVENT_PAGEFAULT &&
		    !resolve(s, uffd, base, msg.arg.pagefault.address))
			break;
	/* One that stalls stays until its client goes. */
	while (s->what == STALL && !p[1].revents)
		poll(p + 1, 1, -1);
}

static void *server(void *self)
{
	struct server *s = self;
	int client = accept(s->listener, NULL, NULL), uffd;

	if (client < 0)
		return NULL;
	uffd = take_hello(s, client);
	if (s->what != REFUSE)
		serve(s, client, uffd);
	close(uffd);
	close(client);
	return NULL;
}

static void start(struct server *s)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	unlink(socket_path);
	snprintf(at.sun_path, sizeof at.sun_path, "%s", socket_path);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(!bind(s->listener, (struct sockaddr *)&at, sizeof at) && !listen(s->listener, 1), "listen");
	must(!pthread_create(&s->thread, NULL, server, s), "thread");
}

static void slurp(const char *name, char *to, size_t n)
{
	char path[96];
	int fd;
	ssize_t got;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	got = read(fd, to, n - 1);
	close(fd);
	to[got > 0 ? got : 0] = '\0';
}

static void redirect(const char *name, int fd)
{
	char path[96];
	int to;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(to, fd);
	close(to);
}

/* vmfault bench --socket ... with these words after it. */
static void bench(struct ran *r, const char *words)
{
	char copy[256], *argv[32] = { getenv("VMFAULT"), (char *)"bench", (char *)"--socket", socket_path };
	int n = 4, status;
	pid_t pid;

	snprintf(copy, sizeof copy, "%s", words);
	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		argv[n++] = strcmp(w, "FILE") ? w : file_path;
	pid = fork();
	if (!pid) {
		redirect("out", 1);
		redirect("err", 2);
		execv(argv[0], argv);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	slurp("out", r->out, sizeof r->out);
	slurp("err", r->err, sizeof r->err);
	r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static unsigned lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* Runs one against a server of this kind. */
static void run(struct server *s, struct ran *r, const char *words)
{
	start(s);
	bench(r, words);
	pthread_join(s->thread, NULL);
	close(s->listener);
}

static void expect(const struct ran *r, int status, const char *said)
{
	if (r->status != status)
		vmtest_fail("status %d, not %d: %s", r->status, status, r->err);
	if (lines(r->err) != (status ? 1 : 0))
		vmtest_fail("%u lines on stderr: %s", lines(r->err), r->err);
	if (said && !strstr(r->err, said))
		vmtest_fail("'%s' is not in: %s", said, r->err);
}

static void serves(void)
{
	static const char *const words[] = { "--size 2M", "--size 2M --verify FILE",
					     "--size 2M --order seq --threads 3",
					     "--size 2M --threads 7 --order random --timeout 20 --verify FILE" };
	struct ran r;

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		struct server s = { .what = SERVE };

		run(&s, &r, words[i]);
		expect(&r, 0, NULL);
		CHECK_EQ(s.faults, PAGES);
		CHECK(strstr(r.out, "time to first byte") && strstr(r.out, "p99"));
		CHECK(!strstr(words[i], "FILE") == !strstr(r.out, "every byte"));
		CHECK(!strchr(r.out, '\033') && !strchr(r.out, '\r'));
	}
}

static void says_what_firecracker_says(void)
{
	struct server s = { .what = SERVE };
	struct ran r;
	char want[256];

	run(&s, &r, "--size 2M");
	expect(&r, 0, NULL);
	snprintf(want, sizeof want, "[{\"base_host_virt_addr\":%" PRIu64 ",\"size\":%d,\"offset\":0,\"page_size\":4096,"
		 "\"page_size_kib\":4096}]", (uint64_t)strtoul(strstr(s.message, "addr\":") + 6, NULL, 10), BYTES);
	CHECK(!strcmp(s.message, want));
}

static void prints_json(void)
{
	struct server s = { .what = SERVE };
	struct ran r;
	unsigned long faults;

	run(&s, &r, "--size 2M --json --verify FILE");
	expect(&r, 0, NULL);
	CHECK_EQ(lines(r.out), 1);
	CHECK(!strncmp(r.out, "{\"v\":1,\"bytes\":2097152,\"page\":4096,\"order\":\"random\",\"threads\":1,", 60));
	CHECK(strstr(r.out, "\"verified\":true,\"differs_at\":null}\n"));
	/* The kernel's count for the thread: a few may be of its own stack, and of a sanitizer. */
	CHECK(strstr(r.out, "\"faults\":"));
	faults = strtoul(strstr(r.out, "\"faults\":") + 9, NULL, 10);
	CHECK(faults >= PAGES && faults < PAGES + PAGES / 4);
}

static void finds_a_wrong_byte(void)
{
	struct server s = { .what = LIE, .at = 200 };
	struct ran r;

	run(&s, &r, "--size 2M --json --verify FILE");
	expect(&r, 3, "data differ, first at offset 0xc8063");
	CHECK(strstr(r.out, "\"verified\":false,\"differs_at\":819299}\n"));
}

/* The image ends within the memory: what is past its end has to be zero. */
static void finds_bytes_past_the_end(void)
{
	struct server s = { .what = SERVE }, padding = { .what = PAD };
	struct ran r;

	must(!truncate(file_path, SHORT), "truncate");
	run(&s, &r, "--size 2M --verify FILE");
	expect(&r, 3, "offset 0x1fec78");
	run(&padding, &r, "--size 2M --verify FILE");
	expect(&r, 0, NULL);
}

static void is_refused(void)
{
	struct server s = { .what = REFUSE };
	struct ran r;

	run(&s, &r, "--size 2M");
	expect(&r, 1, "refused by the server");
	CHECK_EQ(strlen(r.out), 0);
}

static void loses_the_server(void)
{
	for (unsigned threads = 1; threads < 4; threads += 2) {
		struct server s = { .what = GO_AWAY, .at = 100 };
		unsigned long after;
		struct ran r;

		run(&s, &r, threads == 1 ? "--size 2M" : "--size 2M --threads 3");
		/* The last pages may be there and not counted yet: one for each thread. */
		expect(&r, 1, "the server closed the connection after ");
		after = strtoul(strstr(r.err, "connection after ") + strlen("connection after "), NULL, 10);
		CHECK(after <= s.at && after + threads >= s.at && strstr(r.err, " of 512 pages"));
		CHECK_EQ(strlen(r.out), 0);
	}
}

static void is_stalled(void)
{
	struct server s = { .what = STALL, .at = 50 };
	struct ran r;

	run(&s, &r, "--size 2M --timeout 0.3");
	expect(&r, 1, "no page came within --timeout, after 50 of 512 pages");
}

static void is_poisoned(void)
{
	struct server s = { .what = POISON, .at = 77 };
	struct ran r;

	if (!(vmf__uffd_features() & VMF__UF_POISON)) {
		printf("is_poisoned left out: no UFFD_FEATURE_POISON (Linux 6.6)\n");
		return;
	}
	run(&s, &r, "--size 2M --threads 2");
	expect(&r, 1, "SIGBUS at 0x");
	CHECK(strstr(r.err, "(offset 0x4d000)"));
}

static void finds_nobody(void)
{
	struct ran r;

	unlink(socket_path);
	bench(&r, "--size 2M");
	expect(&r, 1, "No such file");
	bench(&r, "--size 2M --verify /nonexistent");
	expect(&r, 1, "/nonexistent: No such file");
}

static void lacks_huge_pages(void)
{
	struct ran r;

	bench(&r, "--size 64T --huge");
	expect(&r, 4, "sudo sysctl -w vm.nr_hugepages=33554432");
}

/* Each case finds the file whole. */
static void make_file(void)
{
	static unsigned char page[PAGE];
	int fd = open(file_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	for (unsigned i = 0; i < PAGES; i++) {
		fill(i, page);
		must(write(fd, page, PAGE) == PAGE, file_path);
	}
	close(fd);
}

#define CASE(name) static void name##_(void) { make_file(); name(); }
CASE(serves) CASE(says_what_firecracker_says) CASE(prints_json) CASE(finds_a_wrong_byte) CASE(finds_bytes_past_the_end)
CASE(is_refused) CASE(loses_the_server) CASE(is_stalled) CASE(is_poisoned) CASE(finds_nobody) CASE(lacks_huge_pages)
static const struct vmtest tests[] = {
	{ "serves", serves_ }, { "says_what_firecracker_says", says_what_firecracker_says_ },
	{ "prints_json", prints_json_ }, { "finds_a_wrong_byte", finds_a_wrong_byte_ },
	{ "finds_bytes_past_the_end", finds_bytes_past_the_end_ }, { "is_refused", is_refused_ },
	{ "loses_the_server", loses_the_server_ }, { "is_stalled", is_stalled_ }, { "is_poisoned", is_poisoned_ },
	{ "finds_nobody", finds_nobody_ }, { "lacks_huge_pages", lacks_huge_pages_ },
};

static void clean_up(void)
{
	static const char *const names[] = { "out", "err", "socket", "file" };
	char path[96];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

int main(int argc, char **argv)
{
	int status;

	if (!getenv("VMFAULT"))
		vmtest_skip("the command is not built");
	if (!(vmf__uffd_features() & VMF__UF_EVENT_REMOVE))
		vmtest_skip("no userfaultfd here");
	snprintf(dir, sizeof dir, "/tmp/vmfault-bench.XXXXXX");
	must(mkdtemp(dir) != NULL, "mkdtemp");
	snprintf(socket_path, sizeof socket_path, "%s/socket", dir);
	snprintf(file_path, sizeof file_path, "%s/file", dir);
	status = vmtest_main(tests, sizeof tests / sizeof *tests, 20, argc, argv);
	clean_up();
	return status;
}
