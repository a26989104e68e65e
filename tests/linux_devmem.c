/* SPDX-License-Identifier: MIT
 *
 * drivers/devmem over memory that is not the kernel's: page by page as it is touched, and at once.
 *
 * Where there is an ivshmem device (QEMU's: a PCI device whose BAR 2 is memory, and nothing else), that BAR, by its
 * resource files and by /dev/mem.  Elsewhere nothing is written to a device: the BIOS, to be read, where /dev/mem shows
 * it; else a memfd that stands in.  Each is named in the output, as "# aperture".
 *
 * VMF_PEER=1: tests/qemu/pci_bar.sh is at the other end of the BAR.  Word 0 of each of its pages is PEER and word 1 the
 * number of the page; it looks for the marks that we leave, and answers in page ASKED.
 */
#include <dirent.h>
#include <fcntl.h>
#include "linuxrig.h"
#include "../drivers/devmem.h"

#define PEER 0x686f7374u
#define ASKED 7u
#define ROM 0xf0000
#define WORDS (PAGE / sizeof(uint32_t))

struct source {
	char path[320];
	int fd;
	off_t at;
	uint64_t pages;
	uint8_t type;   /* how the kernel maps it */
	bool writes;    /* it may be written */
	bool tagged;    /* words 0 and 1 of each page are as above */
};
static struct source source[4];
static unsigned sources;
static bool peer;
static const char *const type_name[] = { "write-back", "write-through", "write-combining", "uncached", "device" };

/* Does a page of it map?  (The kernel may refuse /dev/mem at mmap() only.) */
static int maps(int fd, off_t at, int prot)
{
	void *p = mmap(NULL, PAGE, prot, MAP_SHARED, fd, at);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, PAGE);
	return 0;
}

static void found(const char *path, off_t at, uint64_t pages, uint8_t type, bool writes)
{
	struct source *s = &source[sources];
	int err = 0;

	snprintf(s->path, sizeof(s->path), "%s", path);
	s->fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_SYNC | O_CLOEXEC);
	if (s->fd < 0)
		err = errno;
	else if ((err = maps(s->fd, at, writes ? PROT_READ | PROT_WRITE : PROT_READ)))
		close(s->fd);
	if (err) {
		printf("# aperture: not %s: %s\n", path, strerror(err));
		return;
	}
	printf("# aperture: %s at %#llx, %llu pages, %s\n", path, (unsigned long long)at, (unsigned long long)pages,
	       type_name[type]);
	s->at = at, s->pages = pages, s->type = type, s->writes = writes, s->tagged = writes && peer;
	sources++;
}

static unsigned long number_in(const char *dir, const char *name)
{
	char path[320], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	return strtoul(text, NULL, 0);
}

/* The line of `resource` for BAR 2: first and last byte, and flags. */
static bool bar(const char *dir, uint64_t *first, uint64_t *pages)
{
	unsigned long long from = 0, to = 0;
	char path[320];
	FILE *f;

	snprintf(path, sizeof(path), "%s/resource", dir);
	f = fopen(path, "r");
	for (unsigned line = 0; f && line < 3; line++)
		if (fscanf(f, "%llx %llx %*x", &from, &to) != 2)
			from = to = 0;
	if (f)
		fclose(f);
	*first = from;
	*pages = (to - from + 1) / PAGE;
	return to > from;
}

static void find_ivshmem(const char *dir)
{
	uint64_t first, pages;
	char path[320];

	if (sources || number_in(dir, "vendor") != 0x1af4 || number_in(dir, "device") != 0x1110 ||
	    !bar(dir, &first, &pages))
		return;
	snprintf(path, sizeof(path), "%s/resource2", dir);
	found(path, 0, pages, VMF_UC, true);
	snprintf(path, sizeof(path), "%s/resource2_wc", dir);
	found(path, 0, pages, VMF_WC, true);
	found("/dev/mem", (off_t)first, pages, VMF_UC, true);
}

static void stand_in(void)
{
	struct source *s = &source[sources];

	s->fd = memfd_create("devmem", MFD_CLOEXEC);
	s->pages = 64;
	CHECK(s->fd >= 0 && ftruncate(s->fd, (off_t)s->pages * PAGE) == 0);
	for (uint32_t i = 0; i < s->pages; i++) {
		uint32_t tag[2] = { PEER, i };

		CHECK_EQ(pwrite(s->fd, tag, sizeof(tag), i * PAGE), sizeof(tag));
	}
	s->type = VMF_WB, s->writes = s->tagged = true;
	snprintf(s->path, sizeof(s->path), "a memfd");
	printf("# aperture: a memfd that stands in, %llu pages, write-back\n", (unsigned long long)s->pages);
	sources++;
}

static void find_sources(void)
{
	DIR *bus = opendir("/sys/bus/pci/devices");
	const struct dirent *e;
	char dir[300];

	peer = getenv("VMF_PEER") != NULL;
	while (bus && (e = readdir(bus))) {
		snprintf(dir, sizeof(dir), "/sys/bus/pci/devices/%s", e->d_name);
		if (e->d_name[0] != '.')
			find_ivshmem(dir);
	}
	if (bus)
		closedir(bus);
#ifdef __x86_64__
	if (!sources)
		found("/dev/mem", ROM, 16, VMF_UC, false);
#endif
	if (!sources)
		stand_in();
	CHECK(!peer || sources == 3);
}

/* ------------------------------------------------------------------------------------------- what is mapped */

struct mapped {
	struct rig r;
	const struct source *s;
	struct vmf_devmem d;
	char *at;
};

static unsigned may(const struct source *s) { return s->writes ? VMF_R | VMF_W : VMF_R; }

static void open_source(struct mapped *m, const struct source *s, unsigned mode, uint64_t more, bool eager)
{
	memset(m, 0, sizeof(*m));
	rig_open(&m->r, mode);
	m->s = s;
	CHECK_ERR(vmf_linux_aperture(m->r.port, s->fd, s->at, s->pages, &m->d.first), 0);
	CHECK_EQ(vmf_phys_kind(m->r.port, m->d.first), VMF_PHYS_DEVICE);
	m->d.pages = s->pages + more;
	m->d.attr.type = s->type;
	m->d.eager = eager;
	CHECK_ERR(vmf_devmem_open(&m->d, m->r.port), 0);
}

static void map_source(struct mapped *m) { m->at = rig_map(&m->r, m->d.object, VMF_SHARED, m->d.pages, may(m->s)); }

static void close_source(struct mapped *m)
{
	vmf_devmem_close(&m->d);
	rig_close(&m->r);
}

#define EACH(m, more, eager) \
	for (const struct source *s_ = source; s_ < source + sources; s_++) \
		for (unsigned m_ = VMF_THREADED; m_ <= VMF_IN_CONTEXT && (open_source(m, s_, m_, more, eager), true); \
		     close_source(m), m_++)

static volatile uint32_t *word(const struct mapped *m, uint64_t page, unsigned i)
{
	return (volatile uint32_t *)(m->at + page * PAGE) + i;
}

/* What the source itself shows, without us: through a mapping of the kernel's own. */
static uint32_t beside(const struct source *s, uint64_t page, unsigned i)
{
	const volatile uint32_t *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, s->fd, s->at + (off_t)(page * PAGE));
	uint32_t got;

	CHECK(p != MAP_FAILED);
	got = p[i];
	munmap((void *)(uintptr_t)p, PAGE);
	return got;
}

/* Every page once, in an order that has no neighbours in it; bring: a page that is left for the last. */
static uint64_t shuffled(const struct source *s, uint64_t i) { return (i * 37 + 11) % s->pages; }

static void look(const struct mapped *m, uint64_t page)
{
	if (m->s->tagged) {
		CHECK_EQ(*word(m, page, 0), PEER);
		CHECK_EQ(*word(m, page, 1), page);
	}
	CHECK_EQ(*word(m, page, 5), beside(m->s, page, 5));
}

/* A mark for each source, way and mode, so that who is at the other end can tell that each of them got there. */
static void mark(const struct mapped *m, uint64_t page, unsigned way)
{
	unsigned k = 16 + ((unsigned)(m->s - source) * 4 + way) * 2 + m->r.mode;
	uint32_t value = 0x67000000u | k << 16 | (uint32_t)page;

	if (!m->s->writes)
		return;
	*word(m, page, k) = value;
	CHECK_EQ(beside(m->s, page, k), value);
}

/* ---------------------------------------------------------------------------------------------------- cases */

static void touched_in_any_order(void)
{
	struct mapped m;

	EACH(&m, 0, false) {
		map_source(&m);
		for (uint64_t i = 0; i < m.s->pages; i++) {
			look(&m, shuffled(m.s, i));
			mark(&m, shuffled(m.s, i), 0);
		}
		CHECK_EQ(rig_stats(&m.r).entered, m.s->pages);
		CHECK_EQ(rig_stats(&m.r).faults, m.s->pages);
	}
}

static void mapped_at_once(void)
{
	struct mapped m;

	EACH(&m, 0, true) {
		map_source(&m);
		for (uint64_t i = 0; i < m.s->pages; i++) {
			look(&m, shuffled(m.s, i));
			mark(&m, shuffled(m.s, i), 1);
		}
		CHECK_EQ(rig_stats(&m.r).faults, 0);
	}
}

static void a_fault_brings_a_run(void)
{
	struct mapped m;

	EACH(&m, 0, false) {
		m.d.run = 16;
		map_source(&m);
		for (uint64_t i = 0; i < m.s->pages; i++) {
			look(&m, i);
			mark(&m, i, 2);
		}
		CHECK_EQ(rig_stats(&m.r).entered, m.s->pages);
		CHECK_EQ(rig_stats(&m.r).faults, m.s->pages / 16);
	}
}

static enum vmf_code frames_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	const struct vmf_devmem *d = req->object_priv;

	ans->frames[0] = vmf_phys_frame(req->port, (vmf_pfn){ d->first.n + req->off });
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static void disown(struct mapped *m)
{
	int err;

	CHECK_SOON((err = vmf_phys_disown(m->r.port, m->d.first)) != -VMF_EBUSY);
	CHECK_ERR(err, 0);
}

/* With descriptors the device's pages are frames: counted, and handed over by nopage. */
static void counted(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = frames_nopage };
	struct vmf_object *o;
	struct mapped m;

	EACH(&m, 0, false) {
		CHECK_ERR(vmf_phys_adopt(m.r.port, m.d.first, m.s->pages), 0);
		CHECK_ERR(vmf_object_create(m.r.port, &o, &ops, &m.d, m.s->pages), 0);
		m.at = rig_map_as(&m.r, o, (struct vmf_map){ .flags = VMF_SHARED | VMF_MIXED, .pages = m.s->pages,
							     .prot = (uint8_t)may(m.s), .attr = m.d.attr });
		for (uint64_t i = 0; i < m.s->pages; i++) {
			look(&m, shuffled(m.s, i));
			mark(&m, shuffled(m.s, i), 3);
		}
		CHECK_EQ(rig_stats(&m.r).faults, m.s->pages);
		CHECK_ERR(vmf_phys_disown(m.r.port, m.d.first), -VMF_EBUSY);
		rig_unmap(&m.r, m.at, m.s->pages);
		vmf_object_put(o);
		disown(&m);
		map_source(&m);
		look(&m, 1);
	}
}

static void revoked(void)
{
	struct mapped m;

	EACH(&m, 0, false) {
		map_source(&m);
		for (uint64_t i = 0; i < m.s->pages; i++)
			look(&m, i);
		CHECK_ERR(vmf_revoke(m.d.object, 2, 3), 0);
		look(&m, 1);
		look(&m, 5);
		CHECK_EQ(rig_stats(&m.r).faults, m.s->pages);
		for (uint64_t i = 2; i < 5; i++)
			look(&m, i);
		CHECK_EQ(rig_stats(&m.r).faults, m.s->pages + 3);
		rig_unmap(&m.r, m.at, m.s->pages);
	}
}

static struct { struct mapped m; atomic_bool stop; atomic_uint readers; atomic_long reads, wrong; } storm;

static void *reader(void *arg)
{
	uint64_t page = (uintptr_t)arg;
	uint32_t want = beside(storm.m.s, page, 1);

	atomic_fetch_add(&storm.readers, 1);
	while (!atomic_load(&storm.stop)) {
		if (*word(&storm.m, page, 1) != want)
			atomic_fetch_add(&storm.wrong, 1);
		atomic_fetch_add(&storm.reads, 1);
	}
	return NULL;
}

static void revoked_in_use(void)
{
	pthread_t t[2];

	EACH(&storm.m, 0, false) {
		map_source(&storm.m);
		storm.stop = false;
		storm.readers = 0;
		storm.reads = storm.wrong = 0;
		for (uintptr_t i = 0; i < 2; i++)
			CHECK_EQ(pthread_create(&t[i], NULL, reader, (void *)i), 0);
		CHECK_SOON(storm.readers == 2);
		for (unsigned i = 0; i < 300 || storm.reads < 300; i++)
			CHECK_ERR(vmf_revoke(storm.m.d.object, i % 2, 1 + i % 3), 0);
		storm.stop = true;
		for (unsigned i = 0; i < 2; i++)
			pthread_join(t[i], NULL);
		CHECK_EQ(storm.wrong, 0);
	}
}

/* The core's memory map ends the range, whatever the bus would answer there. */
static void past_the_end(void)
{
	struct mapped m;
	char c;

	rig_catching();
	EACH(&m, 1, false) {
		map_source(&m);
		CHECK_EQ(rig_load(m.at + (m.s->pages - 1) * PAGE, &c), 0);
		CHECK_EQ(rig_load(m.at + m.s->pages * PAGE, &c), SIGBUS);
		CHECK_RESULT(vmf_fault_why(m.at + m.s->pages * PAGE), VMF_SIGBUS, VMF_WHY_HOLE);
		CHECK_EQ(rig_load(m.at, &c), 0);
		if (peer && m.s == &source[2])
			printf("# past the BAR the bus itself answers %#x\n", beside(m.s, m.s->pages, 0));
	}
}

static void past_the_end_at_once(void)
{
	struct mapped m;
	vmf_pfn first;
	vmf_va at;

	rig_catching();
	EACH(&m, 1, true) {
		struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = m.d.pages, .prot = VMF_R };

		CHECK_ERR(vmf_map(m.r.space, m.d.object, &map, &at), -VMF_EPERM);
		if (m.s->path[5] != 'm') /* /dev/mem has no length */
			CHECK_ERR(vmf_linux_aperture(m.r.port, m.s->fd, m.s->at, m.d.pages, &first), -VMF_EINVAL);
	}
}

static const char *asks(struct mapped *m, struct vmf_attr attr, char *buf, size_t n)
{
	char *at;
	char c;

	m->d.attr = attr;
	at = rig_map(&m->r, m->d.object, VMF_SHARED, 1, VMF_R);
	if (!rig_load(at, &c))
		snprintf(buf, n, "OK");
	else
		vmf_result_str(vmf_fault_why(at), buf, n);
	rig_unmap(&m->r, at, 1);
	return buf;
}

/* What the kernel maps it with is what there is: less is refused as too weak, unless more will do; more cannot be
 * had. */
static void attributes(void)
{
	struct mapped m;
	char said[80];

	rig_catching();
	EACH(&m, 0, false)
		for (unsigned i = 0; i < 2 * (VMF_DEVICE + 1); i++) {
			const struct vmf_attr is = { .type = m.s->type }, wanted = { .type = i / 2, .strengthen = i % 2 };
			bool good = wanted.strengthen ? vmf_attr_covers(is, wanted) : wanted.type == is.type;

			if (strcmp(asks(&m, wanted, said, sizeof(said)), good ? "OK" : "SIGBUS/ATTR"))
				vmtest_fail("%s, asked for %s%s: %s", m.s->path, type_name[wanted.type],
					    wanted.strengthen ? " or stronger" : "", said);
		}
}

/* The kernel keeps a list of how it maps what is not memory (x86, with debugfs). */
static bool listed(uint64_t address, char *type, size_t n)
{
	FILE *f = fopen("/sys/kernel/debug/x86/pat_memtype_list", "r");
	unsigned long long from, to;
	char line[160], name[32];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		if (sscanf(line, "PAT: [mem %llx-%llx] %31s", &from, &to, name) == 3 && from <= address && address < to)
			found = true;
	if (f)
		fclose(f);
	if (found)
		snprintf(type, n, "%s", name);
	return found;
}

static void as_the_kernel_says(void)
{
	char type[32];
	struct mapped m;

	if (vmtest_lacks(!peer, "nothing whose address is known"))
		return;
	EACH(&m, 0, false) {
		uint64_t address = (uint64_t)source[2].at + 3 * PAGE;

		map_source(&m);
		CHECK(!listed(address, type, sizeof(type)));
		(void)*word(&m, 3, 0);
		CHECK(listed(address, type, sizeof(type)));
		if (!m.r.mode)
			printf("# the kernel maps %s %s\n", m.s->path, type);
		CHECK(!strncmp(type, type_name[m.s->type], strlen(type_name[m.s->type])));
		CHECK_ERR(vmf_revoke(m.d.object, 3, 1), 0);
		CHECK(!listed(address, type, sizeof(type)));
	}
}

/* Two views of one device are conflicting aliases that we are not told of: the second is what the first is. */
static void a_second_view_is_as_the_first(void)
{
	struct mapped m, n;
	char type[32];

	if (vmtest_lacks(!peer, "nothing whose address is known"))
		return;
	for (unsigned i = 0; i < 2; i++) {
		open_source(&m, &source[i], VMF_THREADED, 0, false);
		open_source(&n, &source[1 - i], VMF_IN_CONTEXT, 0, false);
		map_source(&m);
		map_source(&n);
		look(&m, 3);
		look(&n, 3);
		CHECK(listed((uint64_t)source[2].at + 3 * PAGE, type, sizeof(type)));
		CHECK(!strncmp(type, type_name[source[i].type], strlen(type_name[source[i].type])));
		printf("# the kernel, asked for %s while it shows %s: %s\n", type_name[source[1 - i].type],
		       type_name[source[i].type], type);
		close_source(&n);
		close_source(&m);
	}
}

/* What /dev/mem may not show it does not: an error, and a reason. */
static void memory_of_the_kernels(void)
{
	struct rig r;
	char c;

	if (vmtest_lacks(!peer, "no /dev/mem that is ours to try"))
		return;
	rig_catching();
	BOTH_MODES(&r) {
		struct vmf_devmem d = { .pages = 1, .attr = { .type = VMF_UC } };
		char *at, why[80];

		CHECK_ERR(vmf_linux_aperture(r.port, source[2].fd, 32 << 20, 1, &d.first), 0);
		CHECK_ERR(vmf_devmem_open(&d, r.port), 0);
		at = rig_map(&r, d.object, VMF_SHARED, 1, VMF_R);
		CHECK_EQ(rig_load(at, &c), SIGBUS);
		printf("# /dev/mem over RAM: mmap says %s, and so the fault %s\n", strerror(maps(source[2].fd, 32 << 20,
		       PROT_READ)), vmf_result_str(vmf_fault_why(at), why, sizeof(why)));
		CHECK_RESULT(vmf_fault_why(at), VMF_SIGBUS, VMF_WHY_POLICY);
		vmf_devmem_close(&d);
	}
}

/* It is the device's own memory that is shown: what the other end writes is there, and after a revoke still. */
static void the_other_end_answers(void)
{
	static uint32_t turn;
	struct mapped m;

	if (vmtest_lacks(!peer, "nobody is at the other end"))
		return;
	EACH(&m, 0, m_ == VMF_THREADED) {
		map_source(&m);
		*word(&m, ASKED, 2) = ++turn;
		CHECK_SOON(*word(&m, ASKED, 3) == ~turn);
		*word(&m, ASKED, 2) = ++turn;
		CHECK_ERR(vmf_revoke(m.d.object, ASKED, 1), 0);
		CHECK_SOON(*word(&m, ASKED, 3) == ~turn);
	}
	printf("# the other end has answered %u times\n", turn);
}

static const struct vmtest tests[] = {
	VMTEST(touched_in_any_order), VMTEST(mapped_at_once), VMTEST(a_fault_brings_a_run), VMTEST(counted),
	VMTEST(revoked), VMTEST(revoked_in_use), VMTEST(past_the_end), VMTEST(past_the_end_at_once), VMTEST(attributes),
	VMTEST(as_the_kernel_says), VMTEST(a_second_view_is_as_the_first), VMTEST(memory_of_the_kernels),
	VMTEST(the_other_end_answers),
};

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	find_sources();
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 20, argc, argv);
}
