/* SPDX-License-Identifier: MIT
 *
 * How fast is one client served, beside a handler written by hand for nothing else?  Both in one run, on the same
 * file, in the same order, three times in turn; the medians are printed.  It fails only if ours is several times
 * slower.
 */
#include "remotetest.h"

#define PAGES 16384u
#define ROUNDS 5

/* Every page of the memory once, in an order of its own: how long it took, in ns. */
static uint64_t touch_all(const char *va)
{
	static uint32_t order[PAGES];
	struct timespec a, b;
	uint64_t seed = 7;
	unsigned sum = 0;

	for (uint32_t i = 0; i < PAGES; i++) {
		uint32_t j = vmtest_random(&seed) % (i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (uint32_t i = 0; i < PAGES; i++)
		sum += *(const volatile unsigned char *)(va + (uint64_t)order[i] * PAGE);
	clock_gettime(CLOCK_MONOTONIC, &b);
	CHECK(sum >= PAGES);
	return (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
}

static int image(char *path, size_t n)
{
	static char page[PAGE];
	int fd = memfd_create("image", MFD_CLOEXEC);

	memset(page, 'i', PAGE);
	for (uint32_t i = 0; i < PAGES; i++)
		CHECK_EQ(write(fd, page, PAGE), PAGE);
	snprintf(path, n, "/proc/self/fd/%d", fd);
	return fd;
}

/* ------------------------------------------------------------------------------------------ by hand */

struct hand { int uffd, file; uint64_t va; };

static void *hand_serve(void *arg)
{
	static char bytes[PAGE] __attribute__((aligned(PAGE)));
	struct hand *h = arg;
	struct uffd_msg m[64];

	for (;;) {
		struct pollfd p = { .fd = h->uffd, .events = POLLIN };
		ssize_t n;

		poll(&p, 1, -1);
		n = read(h->uffd, m, sizeof(m));
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(m[0]); i++) {
			uint64_t va = m[i].arg.pagefault.address & ~(uint64_t)(PAGE - 1);
			struct uffdio_copy copy = { .dst = va, .src = (uintptr_t)bytes, .len = PAGE };

			if (m[i].event != UFFD_EVENT_PAGEFAULT)
				return NULL;
			if (pread(h->file, bytes, PAGE, (off_t)(va - h->va)) != PAGE)
				return NULL;
			if (ioctl(h->uffd, UFFDIO_COPY, &copy) && errno != EEXIST)
				return NULL;
		}
	}
}

/* A client that touches, times itself, and leaves the figure behind. */
struct run { uint64_t ns; struct client_shared s; };

static pid_t run_start(struct run *run, int *uffd)
{
	const struct client_config config = { .pages = PAGES, .features = UFFD_FEATURE_EVENT_REMOVE };
	int sock[2], go[2];
	pid_t pid;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go));
	pid = fork();
	if (!pid) {
		char c;
		int fd;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd = client_make(&run->s, &config);
		client_send(sock[1], fd);
		(void)!read(go[1], &c, 1);
		run->ns = touch_all((char *)(uintptr_t)run->s.va);
		_exit(0);
	}
	*uffd = client_receive(sock[0]);
	close(sock[0]);
	close(sock[1]);
	close(go[1]);
	if (*uffd < 0)
		vmtest_skip("userfaultfd(2) is not allowed here");
	run->s.error = go[0];
	return pid;
}

static void run_go(struct run *run, pid_t pid)
{
	int go = run->s.error, status;

	(void)!write(go, "g", 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	close(go);
}

static double by_hand(struct run *run, int file)
{
	struct hand h = { .file = file };
	pthread_t thread;
	pid_t pid = run_start(run, &h.uffd);

	h.va = run->s.va;
	CHECK(!pthread_create(&thread, NULL, hand_serve, &h));
	run_go(run, pid);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	close(h.uffd);
	return (double)run->ns / PAGES;
}

/* ----------------------------------------------------------------------------------------------- ours */

static void *our_serve(void *arg)
{
	struct bed *b = arg;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		struct pollfd p = { .fd = b->client.uffd, .events = POLLIN };
		uint64_t due = vmf_linux_due(b->space);

		if (poll(&p, 1, due == UINT64_MAX ? 100 : 1) > 0 || due != UINT64_MAX)
			CHECK(vmf_linux_serve(b->space) >= 0);
	}
	return NULL;
}

static double ours(struct run *run, const char *path, uint32_t around)
{
	const struct vmf_file_config fc = { .size = sizeof(fc), .flags = VMF_STREAM | VMF_RDONLY, .around = around };
	const struct bed_config config = { .client = { .pages = PAGES } };
	struct bed b = { 0 };
	pthread_t thread;
	pid_t pid = run_start(run, &b.client.uffd);

	b.client.va = run->s.va;
	bed_session(&b, &config);
	CHECK_ERR(vmf_linux_open(&b.port, NULL), 0);
	CHECK_ERR(vmf_file_object(b.port, &b.object, path, &fc), 0);
	CHECK_ERR(vmf_linux_adopt(b.port, &b.space, b.client.uffd, b.session, b.object, NULL), 0);
	CHECK(!pthread_create(&thread, NULL, our_serve, &b));
	run_go(run, pid);
	__atomic_store_n(&b.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	CHECK_EQ(b.session->entered, PAGES);
	vmf_linux_adopt_close(b.space);
	vmf_object_put(b.object);
	vmf_linux_close(b.port);
	munmap(b.session, b.session_bytes);
	close(b.client.uffd);
	return (double)run->ns / PAGES;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), compare);
	return v[ROUNDS / 2];
}

static void rate(void)
{
	struct run *run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double hand[ROUNDS], one[ROUNDS], many[ROUNDS], h, o, m;
	char path[40];
	int file = image(path, sizeof(path));

	for (int i = 0; i < ROUNDS; i++) {
		hand[i] = by_hand(run, file);
		one[i] = ours(run, path, 1);
		many[i] = ours(run, path, 64);
	}
	h = median(hand);
	o = median(one);
	m = median(many);
	printf("by hand          %7.2f us a page  %8.0f faults/s\n", h / 1000, 1e9 / h);
	printf("vmfault          %7.2f us a page  %8.0f faults/s  %.2f of by hand\n", o / 1000, 1e9 / o, h / o);
	printf("vmfault, 256 KiB %7.2f us a page  %.1f times as fast as by hand\n", m / 1000, h / m);
	CHECK(o < 4 * h);
	close(file);
}

static const struct vmtest tests[] = {
	VMTEST(rate),
};
VMTEST_MAIN(tests, 100)
