/* SPDX-License-Identifier: MIT
 *
 * How much stack a fault in context needs: the handler of SIGBUS runs on a painted alternate stack, and the paint tells
 * how deep it went.  Of that the kernel's own frame is taken off, which differs by what the CPU has to save.  Each case
 * runs in a process of its own: the first fault there ("first") finds no library function bound yet, the second does.
 */
#include "linuxrig.h"
#include "testback.h"

#define STACK (256u << 10)
#define PAGES 64u
#define PAINT 0xc5
#define REDZONE 128u /* that the kernel leaves alone below a stack that it goes on with */

static uint8_t *stack;
static size_t frame; /* of a signal, down to where the handler's own begins */

static void paint(void) { memset(stack, PAINT, STACK); }

static size_t depth(void)
{
	size_t at = 0;

	while (at < STACK && stack[at] == PAINT)
		at++;
	return STACK - at;
}

static void on_signal(int sig)
{
	(void)sig;
	/* What was pushed first is the address that it returns to. */
	frame = (size_t)(stack + STACK - (uint8_t *)__builtin_frame_address(0)) - sizeof(void *);
}

static void stack_open(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	stack_t ss;

	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(stack != MAP_FAILED);
	ss = (stack_t){ .ss_sp = stack, .ss_size = STACK };
	CHECK_EQ(sigaltstack(&ss, NULL), 0);
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1);
	CHECK(frame > 500 && frame < STACK / 4);
}

/* -------------------------------------------------------------------------------------------- the cases */

static struct rig r;
static char *other; /* what a driver touches */
static struct vmf_object *revoked;
static uint32_t turn;

static enum vmf_code hand_over(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static enum vmf_code nested(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)*(volatile char *)(other + turn * PAGE);
	return hand_over(req, ans);
}

static enum vmf_code revokes(const struct vmf_req *req, struct vmf_ans *ans)
{
	if (vmf_revoke(revoked, 0, PAGES))
		return VMF_SIGBUS;
	return hand_over(req, ans);
}

static enum vmf_code nested_revokes(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)*(volatile char *)(other + turn * PAGE);
	return revokes(req, ans);
}

static enum vmf_code pfns(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = ((vmf_pfn *)req->object_priv)->n + req->off;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops zeroes_ops = { .size = sizeof(zeroes_ops) };
static const struct vmf_ops nopage_ops = { .size = sizeof(nopage_ops), .nopage = hand_over };
static const struct vmf_ops nested_ops = { .size = sizeof(nested_ops), .nopage = nested };
static const struct vmf_ops revoking_ops = { .size = sizeof(revoking_ops), .nopage = revokes };
static const struct vmf_ops both_ops = { .size = sizeof(both_ops), .nopage = nested_revokes };
static const struct vmf_ops pfn_ops = { .size = sizeof(pfn_ops), .nopfn = pfns };

static struct vmf_object *driver(const struct vmf_ops *ops, void *priv)
{
	struct vmf_object *o;

	CHECK_ERR(vmf_object_create(r.port, &o, ops, priv, PAGES), 0);
	return o;
}

/* A file with no holes, that the faults read in runs of so many pages. */
static struct vmf_object *file(uint32_t around, uint32_t flags)
{
	const struct vmf_file_config config = { .size = sizeof(config), .flags = flags, .around = around };
	char name[] = "/tmp/vmf-stack-XXXXXX";
	int fd = mkstemp(name);
	struct vmf_object *o;

	CHECK(fd >= 0);
	for (unsigned i = 0; i < PAGES * PAGE / 512; i++)
		CHECK_EQ(write(fd, stack, 512), 512);
	CHECK_ERR(vmf_file_object(r.port, &o, name, &config), 0);
	close(fd);
	unlink(name);
	return o;
}

static char *show(struct vmf_object *o, unsigned flags) { return rig_map(&r, o, flags, PAGES, VMF_R | VMF_W); }
static char *area_zero(void) { return show(driver(&zeroes_ops, NULL), VMF_SHARED); }
static char *area_private(void) { return show(driver(&zeroes_ops, NULL), 0); }
static char *area_nopage(void) { return show(driver(&nopage_ops, NULL), VMF_SHARED); }
static char *area_nopage_private(void) { return show(driver(&nopage_ops, NULL), 0); }
static char *area_file(void) { return show(file(1, 0), VMF_SHARED); }
static char *area_around(void) { return show(file(16, 0), VMF_SHARED); }
static char *area_file_private(void) { return show(file(16, 0), 0); }
static char *area_stream(void) { return show(file(16, VMF_STREAM), 0); }

/* Its bytes come from another thread: the fault waits for them. */
static char *area_slow(void)
{
	static struct testback back;

	testback_open(&back, r.port, PAGES * PAGE, TESTBACK_THREAD);
	return show(testback_object(&back, NULL), VMF_SHARED);
}

static enum vmf_code refuse(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req, (void)ans;
	return VMF_SIGBUS;
}

/* Goes on to the handler that was there before. */
static char *area_failing(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = refuse };

	return show(driver(&ops, NULL), VMF_SHARED);
}

static char *area_pfn(void)
{
	static vmf_pfn first;
	int fd = memfd_create("aperture", MFD_CLOEXEC);

	CHECK_EQ(ftruncate(fd, PAGES * PAGE), 0);
	CHECK_ERR(vmf_linux_aperture(r.port, fd, 0, PAGES, &first), 0);
	return show(driver(&pfn_ops, &first), VMF_SHARED);
}

static char *area_revoking(void)
{
	char *shown;

	revoked = driver(&nopage_ops, NULL);
	shown = show(revoked, VMF_SHARED);
	CHECK_OK(vmf_touch(shown, PAGES * PAGE, VMF_W));
	return show(driver(&revoking_ops, NULL), VMF_SHARED);
}

static char *area_nested(void)
{
	other = area_around();
	return show(driver(&nested_ops, NULL), VMF_SHARED);
}

/* Inside, a driver that revokes; it is asked by the fault of one that revokes afterwards. */
static char *area_nested_revoking(void)
{
	other = area_revoking();
	return show(driver(&both_ops, NULL), VMF_SHARED);
}

static const struct {
	const char *name;
	char *(*make)(void);
	unsigned faults; /* one within the other */
} cases[] = {
	{ "zeroes", area_zero, 1 },
	{ "zeroes, private", area_private, 1 },
	{ "nopage", area_nopage, 1 },
	{ "nopage, private", area_nopage_private, 1 },
	{ "nopfn", area_pfn, 1 },
	{ "a file", area_file, 1 },
	{ "a file, 16 pages around", area_around, 1 },
	{ "a file, private", area_file_private, 1 },
	{ "a file, streamed", area_stream, 1 },
	{ "bytes that take their time", area_slow, 1 },
	{ "a fault that fails", area_failing, 1 },
	{ "a handler that revokes", area_revoking, 1 },
	{ "nested", area_nested, 2 },
	{ "nested, both revoke", area_nested_revoking, 2 },
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

/* What the two faults of each case took, the kernel's frames not counted. */
static struct took { size_t first, second; } *took;

static size_t fault(char *p, bool write, unsigned faults)
{
	size_t deep, kernel = faults * frame + (faults - 1) * REDZONE;
	char c;

	paint();
	if (write)
		(void)rig_store(p, 1);
	else
		(void)rig_load(p, &c);
	deep = depth();
	CHECK(deep > kernel && deep < STACK);
	return deep - kernel;
}

static void run(void *arg)
{
	size_t i = *(size_t *)arg;
	char *p;

	alarm(20);
	stack_open();
	rig_catching();
	rig_open(&r, VMF_IN_CONTEXT);
	p = cases[i].make();
	took[i].first = fault(p, false, cases[i].faults);
	turn = 32; /* in another block of pages */
	took[i].second = fault(p + 32 * PAGE, true, cases[i].faults);
}

static void check(size_t i, size_t bytes)
{
	if (bytes > cases[i].faults * VMF_LINUX_STACK)
		vmtest_fail("%s: %zu bytes of stack; linux.h says that %u would do", cases[i].name, bytes,
			    cases[i].faults * VMF_LINUX_STACK);
}

static void the_handler_needs_no_more_than_it_says(void)
{
	struct vmf_port *port;
	size_t most = 0;

	rig_port(&port);
	vmf_linux_close(port);
	took = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(took != MAP_FAILED);
	for (size_t i = 0; i < CASES; i++)
		CHECK_EQ(rig_child(run, &i), 0);
	stack_open();
	printf("# bytes of stack, the kernel's frame (%zu here; _SC_MINSIGSTKSZ %ld) not counted: first fault, second\n",
	       frame, sysconf(_SC_MINSIGSTKSZ));
	for (size_t i = 0; i < CASES; i++) {
		size_t each = took[i].second / cases[i].faults;

		printf("# %-28s %6zu %6zu\n", cases[i].name, took[i].first, took[i].second);
		most = each > most ? each : most;
	}
	for (size_t i = 0; i < CASES; i++)
		check(i, took[i].second);
	/* And it is no guess: most of it is used. */
	CHECK(most > VMF_LINUX_STACK / 2);
}

static const struct vmtest tests[] = { VMTEST(the_handler_needs_no_more_than_it_says) };

int main(int argc, char **argv)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(VMF_DEBUG) || !defined(__OPTIMIZE__) || \
	!defined(__x86_64__)
	vmtest_skip("only what is compiled for use is measured, for x86-64: not with sanitizers, checks or -O0");
#endif
	return vmtest_main(tests, 1, 60, argc, argv);
}
