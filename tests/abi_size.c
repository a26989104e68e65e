/* SPDX-License-Identifier: MIT
 *
 * Callers that know less of a struct than the library, or more.
 *
 * For every struct that a caller fills: cut before each of its members it means the same as whole with zeroes from
 * there on; longer with a tail of zeroes it means the same; with anything else there it is -VMF_E2BIG; cut before what
 * makes no sense without, -VMF_EINVAL.  Each lies with its end against a page that cannot be touched, and is gone, with
 * its table of operations, as soon as the call that takes it has returned: so nothing is read behind its end, or later.
 */
#define VMF_WORKED_PORT
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <vmfault/linux.h>
#include <vmfault/sim.h>
#include "vmtest.h"

#define PAGE 4096u
#define PAGES 8u
#define MORE 24u /* bytes that a longer caller has */

/* What came of it: the first call that failed, and which operations were called. */
struct seen { long result; uint64_t called; };
struct subject {
	const char *name;
	struct seen (*use)(const void *);
	const void *whole;
	size_t bytes;
	size_t least;     /* index of the first cut that is long enough */
	const size_t *cut; /* the offset of each member behind size */
	size_t cuts;
	bool linux_only;
};

static uint8_t *arena; /* two pages, and one that cannot be touched */
static uint64_t called;
static bool sizes_right;

/* The first `bytes` of what is at `from`, against the end. */
static void *place(const void *from, size_t bytes, uint32_t size)
{
	uint8_t *at = arena + 2 * PAGE - ((bytes + 7) & ~(size_t)7);

	CHECK(!mprotect(arena, 2 * PAGE, PROT_READ | PROT_WRITE));
	memset(arena, 0xa5, 2 * PAGE);
	memcpy(at, from, bytes);
	memcpy(at, &size, sizeof(size));
	return at;
}

static void gone(void) { CHECK(!mprotect(arena, 2 * PAGE, PROT_NONE)); }

static struct seen seen(long result) { return (struct seen){ result, called }; }

static uint32_t size_of(const void *p)
{
	uint32_t size;

	memcpy(&size, p, sizeof(size));
	return size;
}

/* --------------------------------------------------------------------------------- on the simulated port */

struct sim { struct vmf_sim *sim; struct vmf_port *port; struct vmf_space *space; };

static void sim_open(struct sim *s)
{
	const struct vmf_sim_config config = VMF_INIT(struct vmf_sim_config);

	CHECK_ERR(vmf_sim_open(&s->sim, &config), 0);
	s->port = vmf_sim_port(s->sim);
	CHECK_ERR(vmf_sim_space(s->sim, &s->space), 0);
}

static void sim_close(struct sim *s)
{
	vmf_sim_space_close(s->space);
	vmf_sim_close(s->sim);
}

/* Maps, stores, syncs, cuts in half and unmaps. */
static long object_use(struct sim *s, struct vmf_object *o)
{
	struct vmf_map map = VMF_INIT(struct vmf_map);
	struct vmf_result r;
	long err;
	vmf_va at;

	map.flags = VMF_SHARED;
	map.pages = PAGES;
	map.prot = VMF_R | VMF_W;
	err = vmf_map(s->space, o, &map, &at);
	if (err)
		return err;
	r = vmf_sim_store(s->space, at, "x", 1);
	err = vmf_sync(o, 0, PAGES, NULL);
	if (!err)
		err = vmf_unmap(s->space, at + PAGE, 1);
	CHECK_ERR(vmf_unmap(s->space, at, PAGES), 0);
	return err ? err : r.code << 8 | r.why;
}

static struct seen use_range(const void *p)
{
	struct sim s;
	long err;

	sim_open(&s);
	err = vmf_phys_add(s.port, p);
	gone();
	if (!err) {
		called = (uint64_t)vmf_phys_kind(s.port, (vmf_pfn){ 0x3000000 });
		CHECK_ERR(vmf_phys_remove(s.port, (vmf_pfn){ 0x3000000 }), 0);
	}
	sim_close(&s);
	return seen(err);
}

static int asked_map(struct vmf_object *o, struct vmf_map *m)
{
	(void)o;
	called |= 1;
	sizes_right &= m->size == sizeof(*m);
	return 0;
}

static struct seen use_map(const void *p)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .map = asked_map };
	struct vmf_object *o;
	struct sim s;
	vmf_va at;
	long err;

	sim_open(&s);
	CHECK_ERR(vmf_object_create(s.port, &o, &ops, NULL, PAGES), 0);
	err = vmf_map(s.space, o, p, &at);
	gone();
	if (!err) {
		struct vmf_area *a = vmf_area_find(s.space, at);
		struct vmf_result r = vmf_sim_load(s.space, at, &(char){ 0 }, 1);

		called |= (uint64_t)vmf_area_priv(a) << 8;
		err = r.code << 8 | r.why;
		vmf_area_put(a);
	}
	vmf_sim_space_close(s.space); /* unmaps */
	vmf_object_put(o);
	vmf_sim_close(s.sim);
	return seen(err);
}

static enum vmf_code ops_next(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req, (void)ans;
	called |= 2;
	return VMF_NEXT;
}

static enum vmf_code ops_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	called |= 4;
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static enum vmf_code ops_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	called |= 8;
	ans->pfn.n = VMF_SIM_DEVICE;
	ans->n = 1;
	ans->attr.type = VMF_UC;
	return VMF_OK;
}

static enum vmf_code ops_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req, (void)ans;
	called |= 16;
	return VMF_OK;
}

static int ops_split(struct vmf_area *a, vmf_va va) { return (void)a, (void)va, called |= 32, -VMF_EPERM; }
static void ops_opened(struct vmf_area *a) { (void)a, called |= 64; }
static void ops_closed(struct vmf_area *a) { (void)a, called |= 128; }
static void ops_release(struct vmf_object *o, void *priv) { (void)o, (void)priv, called |= 256; }

static struct seen use_ops(const void *p)
{
	struct vmf_object *o;
	struct sim s;
	long err;

	sim_open(&s);
	err = vmf_object_create(s.port, &o, p, NULL, PAGES);
	gone();
	if (!err) {
		err = object_use(&s, o);
		vmf_object_put(o);
	}
	sim_close(&s);
	return seen(err);
}

static int back_start(void *self, struct vmf_io *io)
{
	(void)self;
	called |= io->write ? 2 : 1;
	sizes_right &= io->size == sizeof(*io);
	vmf_io_done(io, io->n, 0);
	return 0;
}

static int back_extent(void *self, vmf_pgoff at, struct vmf_extent *e)
{
	(void)self;
	called |= 4;
	*e = (struct vmf_extent){ at, 1, false };
	return 0;
}

static int back_length(void *self, uint64_t *bytes) { return (void)self, *bytes = PAGES * PAGE, 0; }
static int back_sync(void *self) { return (void)self, called |= 8, 0; }
static void back_close(void *self) { (void)self, called |= 16; }

static const struct vmf_backing_ops back_ops = { .size = sizeof(back_ops), .unit = 1, .start = back_start,
	.extent = back_extent, .length = back_length, .sync = back_sync, .close = back_close };

static struct seen backed(const struct vmf_backed *b)
{
	struct vmf_object *o;
	struct sim s;
	long err;

	sim_open(&s);
	err = vmf_object_backed(s.port, &o, b);
	gone();
	if (!err) {
		err = object_use(&s, o);
		vmf_object_put(o);
	}
	sim_close(&s);
	return seen(err);
}

static struct seen use_backed(const void *p) { return backed(p); }

static struct seen use_backing(const void *p)
{
	struct vmf_backed b = VMF_INIT(struct vmf_backed);

	b.ops = p;
	return backed(&b);
}

static void sim_trace(void *self, struct vmf_space *space, vmf_va va, unsigned access, struct vmf_result r, uint32_t n)
{
	(void)self, (void)space, (void)va, (void)access, (void)r, (void)n;
	called |= 1;
}

static struct seen use_sim(const void *p)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf_object *o;
	struct sim s;
	long err = vmf_sim_open(&s.sim, p);

	gone();
	if (err)
		return seen(err);
	s.port = vmf_sim_port(s.sim);
	CHECK_ERR(vmf_sim_space(s.sim, &s.space), 0);
	CHECK_ERR(vmf_object_create(s.port, &o, &zeroes, NULL, PAGES), 0);
	err = object_use(&s, o);
	vmf_object_put(o);
	sim_close(&s);
	return seen(err);
}

/* ------------------------------------------------------------------------------------ a port of one's own */

static struct tiny_host host;
static struct tiny_pmap pmap;

static void tiny_barrier(void *self) { (void)self, called |= 1; }
static void tiny_block(void *self) { (void)self, called |= 2; }
static void tiny_unblock(void *self) { (void)self, called |= 4; }
static uint64_t tiny_now(void *self) { return (void)self, called |= 8, 0; }

static int whole_attach(struct vmf_pmap *p, struct vmf_map *map, vmf_pfn segment, bool raw, struct vmf_window *w)
{
	sizes_right &= map->size == sizeof(*map) && w->size == sizeof(*w);
	w->bolts = (uint32_t)map->pages;
	return tiny_attach(p, map, segment, raw, w);
}

static int tiny_clean(struct vmf_pmap *p, vmf_va va, uint64_t pages)
{
	called |= 16;
	return tiny_protect(p, va, pages, VMF_R | VMF_X);
}

static int tiny_query(struct vmf_pmap *p, vmf_va va, struct vmf_entry *e)
{
	return called |= 32, *e = *tiny_at(p, va), 0;
}

static int tiny_take(struct vmf_pmap *p, vmf_va va, void *to) { return (void)p, (void)va, (void)to, -VMF_ENOSYS; }
static int tiny_bolt(struct vmf_pmap *p, const struct vmf_run *run) { return (void)p, (void)run, called |= 64, 0; }
static int tiny_unbolt(struct vmf_pmap *p, vmf_va va, uint64_t n)
{
	return (void)p, (void)va, (void)n, called |= 128, 0;
}
static void tiny_icache(struct vmf_pmap *p, vmf_va va, uint64_t n) { (void)p, (void)va, (void)n, called |= 256; }
static void tiny_update(struct vmf_pmap *p) { (void)p, called |= 512; }
static int tiny_supply(struct vmf_pmap *p) { return (void)p, called |= 1024, 0; }

/* With so much of the two tables and of the config: boots, writes through a backing, bolts, shows a device, runs. */
static struct seen boot(const struct vmf_port_config *c, const struct vmf_pmap_ops *ops)
{
	struct vmf_range ram = { .size = sizeof(ram), .kind = VMF_PHYS_RAM, .first = { 0 }, .pages = 256 };
	struct vmf_range device = { .size = sizeof(device), .kind = VMF_PHYS_DEVICE, .first = { 1000 }, .pages = PAGES,
				    .attr = { .type = VMF_UC } };
	struct vmf_backed b = { .size = sizeof(b), .ops = &back_ops };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = PAGES, .prot = VMF_R | VMF_W | VMF_X,
			       .action = VMF_BOLT };
	struct vmf_result r = { 0 };
	static const struct vmf_ops none = { .size = sizeof(none) };
	struct vmf_space *space;
	struct vmf_object *o, *raw;
	struct vmf_port *port;
	vmf_va at;
	long err;

	memset(&host, 0, sizeof(host));
	memset(&pmap, 0, sizeof(pmap));
	pmap.pmap = (struct vmf_pmap){ ops, TINY_VA, TINY_VA + (64u << 12) };
	err = vmf_port_create(&port, c);
	if (!err) {
		CHECK_ERR(vmf_phys_add(port, &ram), 0);
		CHECK_ERR(vmf_phys_add(port, &device), 0);
		err = vmf_space_create(port, &space, &pmap.pmap);
		if (err)
			vmf_port_destroy(port);
	}
	gone();
	if (err)
		return seen(err);
	CHECK_ERR(vmf_object_backed(port, &o, &b), 0);
	called |= vmf_map(space, o, &map, &at) ? 0 : 2048; /* an operation may be lacking */
	map.action = VMF_RAW;
	map.raw = device.first;
	map.attr = device.attr;
	CHECK_ERR(vmf_object_create(port, &raw, &none, NULL, PAGES), 0);
	CHECK_ERR(vmf_map(space, raw, &map, &at), 0);
	vmf_object_put(raw);
	map.action = VMF_LAZY;
	map.attr = (struct vmf_attr){ 0 };
	CHECK_ERR(vmf_map(space, o, &map, &at), 0);
	(void)tiny_access(space, &host, at, VMF_X, &r);
	(void)tiny_access(space, &host, at, VMF_W, &r);
	err = vmf_sync(o, 0, PAGES, NULL);
	vmf_space_destroy(space);
	vmf_object_put(o);
	vmf_port_destroy(port);
	return seen(err ? err : r.code << 8 | r.why);
}

static struct vmf_host_ops whole_host;
static struct vmf_pmap_ops whole_pmap;

static struct vmf_port_config config_of(const struct vmf_host_ops *ops)
{
	return (struct vmf_port_config){ .size = sizeof(struct vmf_port_config), .abi = VMF_ABI, .host = ops, .self = &host,
					 .slots = 1, .page_shift = 12 };
}

static struct seen use_host(const void *p)
{
	const struct vmf_port_config c = config_of(p);

	return boot(&c, &whole_pmap);
}

static struct seen use_port(const void *p) { return boot(p, &whole_pmap); }

static struct seen use_pmap(const void *p)
{
	const struct vmf_port_config c = config_of(&whole_host);

	return boot(&c, p);
}

/* --------------------------------------------------------------------------------------------- on Linux */

static void linux_open(struct vmf_port **port)
{
	int err = vmf_linux_open(port, NULL);

	CHECK(!err);
}

static long page_of(struct vmf_port *port, const struct vmf_linux_space *config, struct vmf_object *o, char *byte)
{
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 1, .prot = VMF_R };
	struct vmf_space *space;
	vmf_va at;
	long err = vmf_linux_space(port, &space, config);

	gone();
	if (err)
		return err;
	CHECK_ERR(vmf_map(space, o, &map, &at), 0);
	*byte = *(volatile char *)at;
	called |= (uint64_t)vmf_linux_syscalls(space) << 8;
	vmf_linux_space_close(space);
	return 0;
}

static struct vmf_object *zeroes(struct vmf_port *port)
{
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	struct vmf_object *o;

	CHECK_ERR(vmf_object_create(port, &o, &ops, NULL, PAGES), 0);
	return o;
}

static struct seen use_linux(const void *p)
{
	struct vmf_port *port;
	struct vmf_object *o;
	long err = vmf_linux_open(&port, p);
	char byte = 1;

	gone();
	if (!err) {
		o = zeroes(port);
		err = page_of(port, NULL, o, &byte);
		vmf_object_put(o);
		vmf_linux_close(port);
	}
	return seen(err ? err : byte);
}

static struct seen use_space(const void *p)
{
	struct vmf_port *port;
	struct vmf_object *o;
	char byte = 1;
	long err;

	linux_open(&port);
	o = zeroes(port);
	err = page_of(port, p, o, &byte);
	vmf_object_put(o);
	vmf_linux_close(port);
	return seen(err ? err : byte);
}

static struct seen use_file(const void *p)
{
	struct vmf_port *port;
	struct vmf_object *o;
	char byte = 1;
	long err;

	linux_open(&port);
	err = vmf_file_object(port, &o, "/proc/self/exe", p);
	gone();
	if (!err) {
		err = page_of(port, NULL, o, &byte);
		vmf_object_put(o);
	}
	vmf_linux_close(port);
	return seen(err ? err : byte);
}

static int own_uffd(void *at, size_t bytes)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)at, bytes }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	CHECK(fd >= 0 && !ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &reg));
	return fd;
}

static struct seen use_adopt(const void *p)
{
	void *memory = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vmf_linux_region region = { .va = (uintptr_t)memory, .bytes = PAGE, .page_size = PAGE };
	int fd = own_uffd(memory, PAGE);
	struct vmf_session *session;
	struct vmf_space *space;
	struct vmf_port *port;
	struct vmf_object *o;
	unsigned bad;
	size_t bytes;
	long err;

	CHECK_ERR(vmf_session_bytes(&region, 1, &bytes, &bad), 0);
	session = calloc(1, bytes);
	CHECK_ERR(vmf_session_init(session, &region, 1), 0);
	linux_open(&port);
	o = zeroes(port);
	err = vmf_linux_adopt(port, &space, fd, session, o, p);
	gone();
	if (!err)
		vmf_linux_adopt_close(space);
	vmf_object_put(o);
	vmf_linux_close(port);
	munmap(memory, PAGE);
	close(fd);
	free(session);
	return seen(err);
}

static int64_t adopt_failed(void *self, struct vmf_space *space, const struct vmf_failed *f)
{
	return (void)self, (void)space, (void)f, 0;
}

/* ------------------------------------------------------------------------------------------ the subjects */

static const struct vmf_range whole_range = { .size = sizeof(whole_range), .kind = VMF_PHYS_DEVICE,
	.first = { 0x3000000 }, .pages = 4, .attr = { .type = VMF_UC } };
static const struct vmf_map whole_map = { .size = sizeof(whole_map), .flags = VMF_SHARED | VMF_MIXED, .pages = PAGES,
	.prot = VMF_R, .maxprot = VMF_R | VMF_W, .action = VMF_POPULATE, .attr = { .strengthen = 1 }, .raw = { 7 },
	.priv = &called };
static const struct vmf_ops whole_ops = { .size = sizeof(whole_ops), .map = asked_map, .fault = ops_next,
	.nopage = ops_nopage, .nopfn = ops_nopfn, .mkwrite = ops_mkwrite, .split = ops_split, .opened = ops_opened,
	.closed = ops_closed, .release = ops_release };
static const struct vmf_backed whole_backed = { .size = sizeof(whole_backed), .flags = VMF_RDONLY & 0, .ops = &back_ops,
	.around = 2, .readahead = 4, .pages = 2 * PAGES };
static const struct vmf_sim_config whole_sim = { .size = sizeof(whole_sim), .page_shift = 12, .protect = true,
	.fences = true, .ram_pages = 512, .slots = 2, .bolts = 4, .trace = sim_trace };
static const struct vmf_linux_config whole_linux = { .size = sizeof(whole_linux), .ram = 1 << 20, .trace = sim_trace };
static const struct vmf_linux_space whole_space = { .size = sizeof(whole_space), .mode = VMF_THREADED, .threads = 2 };
static const struct vmf_file_config whole_file = { .size = sizeof(whole_file), .flags = VMF_RDONLY, .around = 4,
	.readahead = 8, .pages = 1 << 20 };
static const struct vmf_adopt whole_adopt = { .size = sizeof(whole_adopt), .tries = 2, .first_ms = 3, .last_ms = 4,
	.failed = adopt_failed };
static struct vmf_port_config whole_port;

#define CUT(type, ...) \
	static const size_t cut_##type[] = { __VA_ARGS__, sizeof(struct vmf_##type) }
#define AT(member) offsetof(struct THIS, member)
#define THIS vmf_range
CUT(range, AT(kind), AT(node), AT(first), AT(pages), AT(attr));
#undef THIS
#define THIS vmf_map
CUT(map, AT(flags), AT(va), AT(pages), AT(off), AT(prot), AT(maxprot), AT(order), AT(action), AT(node), AT(attr),
	AT(raw), AT(priv));
#undef THIS
#define THIS vmf_ops
CUT(ops, AT(flags), AT(map), AT(fault), AT(nopage), AT(nopfn), AT(mkwrite), AT(split), AT(opened), AT(closed),
	AT(release));
#undef THIS
#define THIS vmf_backed
CUT(backed, AT(flags), AT(ops), AT(self), AT(around), AT(readahead), AT(pages));
#undef THIS
#define THIS vmf_backing_ops
CUT(backing_ops, AT(unit), AT(start), AT(extent), AT(length), AT(sync), AT(close));
#undef THIS
#define THIS vmf_sim_config
CUT(sim_config, AT(store), AT(page_shift), AT(protect), AT(fences), AT(ram_pages), AT(slots), AT(bolts), AT(fail_alloc),
	AT(strict), AT(trace), AT(trace_self));
#undef THIS
#define THIS vmf_host_ops
CUT(host_ops, AT(flags), AT(alloc), AT(free), AT(bytes), AT(slot), AT(barrier), AT(block), AT(unblock), AT(wait),
	AT(wake), AT(now), AT(trace), AT(segment), AT(segment_punch), AT(segment_free));
#undef THIS
#define THIS vmf_port_config
CUT(port_config, AT(abi), AT(host), AT(self), AT(slots), AT(page_shift), AT(strict));
#undef THIS
#define THIS vmf_pmap_ops
CUT(pmap_ops, AT(flags), AT(attach), AT(detach), AT(enter), AT(remove), AT(protect), AT(clean), AT(query), AT(take),
	AT(bolt), AT(unbolt), AT(icache), AT(update), AT(supply));
#undef THIS
#define THIS vmf_linux_config
CUT(linux_config, AT(flags), AT(ram), AT(trace), AT(trace_self));
#undef THIS
#define THIS vmf_linux_space
CUT(linux_space, AT(flags), AT(mode), AT(threads));
#undef THIS
#define THIS vmf_file_config
CUT(file_config, AT(flags), AT(around), AT(readahead), AT(pages));
#undef THIS
#define THIS vmf_adopt
CUT(adopt, AT(tries), AT(first_ms), AT(last_ms), AT(failed), AT(self));
#undef THIS

/* least: how many of the cuts are too short. */
#define SUBJECT(type, use, whole, least, hosted) \
	{ "vmf_" #type, use, &(whole), sizeof(struct vmf_##type), least, cut_##type, \
	  sizeof(cut_##type) / sizeof(cut_##type[0]), hosted }
static const struct subject subjects[] = {
	SUBJECT(range, use_range, whole_range, 4, false),
	SUBJECT(map, use_map, whole_map, 6, false),
	SUBJECT(ops, use_ops, whole_ops, 1, false),
	SUBJECT(backed, use_backed, whole_backed, 3, false),
	SUBJECT(backing_ops, use_backing, back_ops, 2, false),
	SUBJECT(sim_config, use_sim, whole_sim, 0, false),
	SUBJECT(host_ops, use_host, whole_host, 1, false),
	SUBJECT(port_config, use_port, whole_port, 4, false),
	SUBJECT(pmap_ops, use_pmap, whole_pmap, 1, false),
	SUBJECT(linux_config, use_linux, whole_linux, 1, true),
	SUBJECT(linux_space, use_space, whole_space, 1, true),
	SUBJECT(file_config, use_file, whole_file, 1, true),
	SUBJECT(adopt, use_adopt, whole_adopt, 0, true),
};

static struct seen use(const struct subject *s, const void *from, size_t bytes, uint32_t size)
{
	called = 0;
	return s->use(place(from, bytes, size));
}

static bool linux_here(void)
{
	struct vmf_port *port;

	if (vmf_linux_open(&port, NULL))
		return false;
	vmf_linux_close(port);
	return true;
}

static void each(void (*check)(const struct subject *, const uint8_t *whole))
{
	bool here = linux_here();

	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		const struct subject *s = &subjects[i];
		uint8_t whole[512] = { 0 };

		vmtest_with = s->name;
		CHECK(s->bytes + MORE <= sizeof(whole) && size_of(s->whole) == s->bytes);
		memcpy(whole, s->whole, s->bytes);
		if (here || !s->linux_only)
			check(s, whole);
	}
	if (!here)
		puts("# no userfaultfd here: left out those of linux.h");
}

static void check_shorter(const struct subject *s, const uint8_t *whole)
{
	CHECK_EQ(use(s, whole, 4, 0).result, -VMF_EINVAL);
	CHECK_EQ(use(s, whole, 4, 3).result, -VMF_EINVAL);
	for (size_t i = 0; i < s->cuts; i++) {
		size_t bytes = s->cut[i];
		struct seen is = use(s, whole, bytes, (uint32_t)bytes), want = { -VMF_EINVAL, 0 };
		uint8_t zeroed[512] = { 0 };

		memcpy(zeroed, whole, bytes);
		if (i >= s->least)
			want = use(s, zeroed, s->bytes, (uint32_t)s->bytes);
		if (is.result != want.result || (i >= s->least && is.called != want.called))
			vmtest_fail("cut to %zu bytes: %ld and %jx, not %ld and %jx", bytes, is.result, (uintmax_t)is.called,
				    want.result, (uintmax_t)want.called);
	}
}

static void a_shorter_struct_ends_in_zeroes(void)
{
	sizes_right = true;
	each(check_shorter);
	CHECK(sizes_right);
}

static void check_longer(const struct subject *s, const uint8_t *whole)
{
	struct seen want = use(s, whole, s->bytes, (uint32_t)s->bytes), is;
	uint8_t longer[512];

	CHECK(want.result >= 0 || s->use == use_ops); /* whose split() says no */
	memcpy(longer, whole, sizeof(longer));
	is = use(s, longer, s->bytes + MORE, (uint32_t)s->bytes + MORE);
	CHECK_EQ(is.result, want.result);
	CHECK_EQ(is.called, want.called);
	for (size_t at = s->bytes; at < s->bytes + MORE; at += MORE - 1) {
		longer[at] = 1;
		CHECK_EQ(use(s, longer, s->bytes + MORE, (uint32_t)s->bytes + MORE).result, -VMF_E2BIG);
		longer[at] = 0;
	}
}

static void a_longer_struct_ends_in_zeroes_too(void)
{
	sizes_right = true;
	each(check_longer);
	CHECK(sizes_right);
}

/* flags, and what is called `zero`: kept for later. */
static void what_has_no_meaning_yet_is_zero(void)
{
	struct vmf_range range = whole_range;
	struct vmf_map map = whole_map;
	struct vmf_ops ops = whole_ops;
	struct vmf_host_ops h = whole_host;
	struct vmf_pmap_ops p = whole_pmap;
	struct vmf_port_config config = whole_port;
	struct vmf_backed b = whole_backed;
	struct vmf_port *port;

	range.zero[1] = 1;
	CHECK_EQ(use(&subjects[0], &range, sizeof(range), sizeof(range)).result, -VMF_EINVAL);
	range = whole_range;
	range.attr.zero = 1;
	CHECK_EQ(use(&subjects[0], &range, sizeof(range), sizeof(range)).result, -VMF_EINVAL);
	map.attr.zero = 1;
	CHECK_EQ(use(&subjects[1], &map, sizeof(map), sizeof(map)).result, -VMF_EINVAL);
	ops.flags = 1;
	CHECK_EQ(use(&subjects[2], &ops, sizeof(ops), sizeof(ops)).result, -VMF_EINVAL);
	b.flags = 1u << 31;
	CHECK_EQ(use(&subjects[3], &b, sizeof(b), sizeof(b)).result, -VMF_EINVAL);
	h.flags = 1;
	CHECK_EQ(use(&subjects[6], &h, sizeof(h), sizeof(h)).result, -VMF_EINVAL);
	config.zero[1] = 1;
	CHECK_EQ(use(&subjects[7], &config, sizeof(config), sizeof(config)).result, -VMF_EINVAL);
	p.flags = 1;
	CHECK_EQ(use(&subjects[8], &p, sizeof(p), sizeof(p)).result, -VMF_EINVAL);
	/* and that was all that was wrong */
	memset(&host, 0, sizeof(host));
	CHECK_ERR(tiny_port(&host, &port), 0);
	vmf_port_destroy(port);
}

/* ------------------------------------------------------------------------------ what the library fills */

/* `size` bytes were filled as `whole` is, what we do not know is 0, and nothing else was touched. */
static void check_filled(const uint8_t *is, const uint8_t *whole, size_t bytes, size_t size, size_t room)
{
	CHECK_EQ(size_of(is), size);
	for (size_t i = 4; i < room; i++)
		CHECK_EQ(is[i], i >= size ? 0xa5 : i >= bytes ? 0 : whole[i]);
}

static void out_window(const void *from, void *to) { vmf_area_window(from, to); }
static void out_stats(const void *from, void *to) { vmf_space_stats(from, to); }

static void filled(void (*fill)(const void *, void *), const void *from, size_t bytes)
{
	union { uint8_t b[512]; uint32_t size; uint64_t align; } whole, is;

	memset(&whole, 0xa5, sizeof(whole));
	whole.size = (uint32_t)bytes;
	fill(from, &whole);
	for (uint32_t size = 0; size <= bytes + MORE; size += 4) {
		memset(&is, 0xa5, sizeof(is));
		is.size = size;
		fill(from, &is);
		check_filled(is.b, whole.b, bytes, size, sizeof(is));
	}
}

static void no_more_is_filled_than_there_is_room(void)
{
	struct vmf_map map = whole_map;
	struct vmf_object *o;
	struct vmf_area *a;
	struct sim s;
	vmf_va at;

	sim_open(&s);
	o = zeroes(s.port);
	CHECK_ERR(vmf_map(s.space, o, &map, &at), 0);
	a = vmf_area_find(s.space, at);
	filled(out_window, a, sizeof(struct vmf_window));
	filled(out_stats, s.space, sizeof(struct vmf_stats));
	vmf_area_put(a);
	vmf_sim_space_close(s.space);
	vmf_object_put(o);
	vmf_sim_close(s.sim);
}

static const struct vmtest tests[] = {
	VMTEST(a_shorter_struct_ends_in_zeroes),
	VMTEST(a_longer_struct_ends_in_zeroes_too),
	VMTEST(what_has_no_meaning_yet_is_zero),
	VMTEST(no_more_is_filled_than_there_is_room),
};

int main(int argc, char **argv)
{
	arena = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(arena != MAP_FAILED && !mprotect(arena + 2 * PAGE, PAGE, PROT_NONE));
	whole_host = tiny_host_ops;
	whole_host.barrier = tiny_barrier;
	whole_host.block = tiny_block;
	whole_host.unblock = tiny_unblock;
	whole_host.now = tiny_now;
	whole_host.trace = sim_trace;
	whole_pmap = tiny_pmap_ops;
	whole_pmap.attach = whole_attach;
	whole_pmap.clean = tiny_clean;
	whole_pmap.query = tiny_query;
	whole_pmap.take = tiny_take;
	whole_pmap.bolt = tiny_bolt;
	whole_pmap.unbolt = tiny_unbolt;
	whole_pmap.icache = tiny_icache;
	whole_pmap.update = tiny_update;
	whole_pmap.supply = tiny_supply;
	whole_port = config_of(&whole_host);
	return vmtest_main(tests, sizeof(tests) / sizeof(tests[0]), 20, argc, argv);
}
