/* SPDX-License-Identifier: MIT
 *
 * Everything that can fail below the core fails in turn, on the simulated port: each allocation, each operation of the
 * pmap, each call of a backing, each callback of a driver that can refuse.  The scenarios go through every public call
 * of vmfault.h and host.h.
 *
 * A step that fails must say why, in the words of what failed; nothing else may have changed, byte for byte; and the
 * same step must work when nothing fails any more.  A scenario ends with nothing left over, however it went.
 */
#define FAILING_THIN 2u
#include "failing.h"
#include "rig.h"

#define PAGES 24u
#define VIEWS 24u
#define OBJECTS 4u

enum kind {
	ALLOC, SEGMENT, WAIT, ATTACH, DETACH, ENTER, REMOVE, PROTECT, CLEAN, SUPPLY, BOLT, QUERY, TAKE,
	MAP_REFUSES, SPLIT_REFUSES, NOPAGE, NOPFN, FAULT, MKWRITE,
	START, READ, READ_SHORT, READ_LIES, WRITE, WRITE_SHORT, EXTENT, LENGTH, SYNC,
	FRAME, FRAMES, RESERVE, SLOT, KINDS
};

/* Handlers fail with a code, everything else with an error. */
static const struct failing_kind kinds[] = {
	[ALLOC] = { .name = "alloc", .errors = ERRORS(VMF_ENOMEM) },
	[SEGMENT] = { .name = "segment", .errors = ERRORS(VMF_ENOMEM) },
	[WAIT] = { .name = "wait", .errors = ERRORS(VMF_EINTR), .once = true },
	[ATTACH] = { .name = "attach", .errors = ERRORS(VMF_ENOSYS, VMF_EEXIST, VMF_ENOMEM, VMF_ENOSPC, VMF_EAGAIN) },
	[DETACH] = { .name = "detach", .errors = ERRORS(VMF_ENOMEM, VMF_EAGAIN) },
	[ENTER] = { .name = "enter",
		.errors = ERRORS(VMF_EAGAIN, VMF_ENOMEM, VMF_EEXIST, VMF_EFAULT, VMF_EGONE, VMF_ENOSYS) },
	[REMOVE] = { .name = "remove", .errors = ERRORS(VMF_ENOMEM, VMF_EAGAIN) },
	[PROTECT] = { .name = "protect", .errors = ERRORS(VMF_ENOMEM, VMF_EAGAIN) },
	[CLEAN] = { .name = "clean", .errors = ERRORS(VMF_ENOMEM, VMF_EAGAIN) },
	[SUPPLY] = { .name = "supply", .errors = ERRORS(VMF_ENOMEM) },
	[BOLT] = { .name = "bolt", .errors = ERRORS(VMF_ENOSPC) },
	[QUERY] = { .name = "query", .errors = ERRORS(VMF_ENOSYS) },
	[TAKE] = { .name = "take", .errors = ERRORS(VMF_ENOSYS, VMF_ENOMEM) },
	[MAP_REFUSES] = { .name = "ops.map", .errors = ERRORS(VMF_EPERM) },
	[SPLIT_REFUSES] = { .name = "ops.split", .errors = ERRORS(VMF_EBUSY) },
	[NOPAGE] = { .name = "ops.nopage", .errors = ERRORS(VMF_RETRY, VMF_FALLBACK, VMF_SIGBUS, VMF_OOM, VMF_POISON) },
	[NOPFN] = { .name = "ops.nopfn", .errors = ERRORS(VMF_RETRY, VMF_FALLBACK, VMF_SIGBUS, VMF_OOM, VMF_POISON) },
	[FAULT] = { .name = "ops.fault", .errors = ERRORS(VMF_RETRY, VMF_FALLBACK, VMF_SIGBUS, VMF_OOM, VMF_POISON) },
	[MKWRITE] = { .name = "ops.mkwrite", .errors = ERRORS(VMF_RETRY, VMF_FALLBACK, VMF_SIGBUS, VMF_OOM, VMF_POISON) },
	[START] = { .name = "start", .errors = ERRORS(5, 12) },
	[READ] = { .name = "read", .errors = ERRORS(5) },
	[READ_SHORT] = { .name = "short read", .errors = ERRORS(5) },
	[READ_LIES] = { .name = "short read without a reason", .errors = ERRORS(-1) },
	[WRITE] = { .name = "write", .errors = ERRORS(5, 28) },
	[WRITE_SHORT] = { .name = "short write", .errors = ERRORS(28) },
	[EXTENT] = { .name = "extent", .errors = ERRORS(5) },
	[LENGTH] = { .name = "length", .errors = ERRORS(5) },
	[SYNC] = { .name = "sync", .errors = ERRORS(5, 28) },
	/* The core's own resources, each of which it gets by one function. */
	[FRAME] = { .name = "frame", .errors = ERRORS(VMF_ENOMEM) },
	[FRAMES] = { .name = "run of frames", .errors = ERRORS(VMF_ENOMEM) },
	[RESERVE] = { .name = "reserve", .errors = ERRORS(VMF_ENOMEM), .once = true },
	[SLOT] = { .name = "slot", .errors = ERRORS(VMF_ENOMEM) },
};

/* (These are linked with --wrap.) */
int __real_vmf_frame_alloc(struct vmf_port *, unsigned, unsigned, bool, struct vmf_frame **);
int __wrap_vmf_frame_alloc(struct vmf_port *, unsigned, unsigned, bool, struct vmf_frame **);
bool __real_vmf__phys_run(struct vmf_port *, uint32_t, struct vmf_frame **);
bool __wrap_vmf__phys_run(struct vmf_port *, uint32_t, struct vmf_frame **);
void *__real_vmf__reserve_take(struct vmf_port *, void *);
void *__wrap_vmf__reserve_take(struct vmf_port *, void *);
void *__real_vmf__slot_enter(struct vmf_port *);
void *__wrap_vmf__slot_enter(struct vmf_port *);

int __wrap_vmf_frame_alloc(struct vmf_port *port, unsigned order, unsigned node, bool zeroed, struct vmf_frame **out)
{
	return failing_due(FRAME) ? -VMF_ENOMEM : __real_vmf_frame_alloc(port, order, node, zeroed, out);
}

bool __wrap_vmf__phys_run(struct vmf_port *port, uint32_t n, struct vmf_frame **frames)
{
	return !failing_due(FRAMES) && __real_vmf__phys_run(port, n, frames);
}

void *__wrap_vmf__reserve_take(struct vmf_port *port, void *reserve)
{
	return failing_due(RESERVE) ? NULL : __real_vmf__reserve_take(port, reserve);
}

void *__wrap_vmf__slot_enter(struct vmf_port *port) { return failing_due(SLOT) ? NULL : __real_vmf__slot_enter(port); }

static const char *error_name(int error)
{
	static char text[64];
	bool code = failing.kind >= NOPAGE && failing.kind <= MKWRITE;

	if (failing.kind >= START && failing.kind <= SYNC)
		snprintf(text, sizeof(text), "%d", error);
	else
		snprintf(text, sizeof(text), "%s", code ? vmf_code_str((unsigned)error) : vmf_err_str(error));
	text[strcspn(text, ":")] = '\0';
	for (char *c = text; *c; c++)
		*c = *c == ' ' ? '-' : *c;
	return text;
}

/* --------------------------------------------------------------------------------------- the world */

struct bytes { uint8_t page[PAGES][PAGE]; };
/* A mapped piece, and what it has to show. */
struct view {
	struct vmf_space *space;
	vmf_va va;
	uint32_t pages, off;
	uint8_t prot;
	bool private;
	struct bytes *of;      /* the object's; past its end: SIGBUS */
	const uint32_t *length;
	bool own[PAGES];       /* private: it was written, and is here */
	struct bytes *mine;
};
static struct {
	struct rig rig;
	unsigned store;
	bool protect;
	struct vmf_space *other; /* the copy */
	struct view view[VIEWS];
	unsigned views, objects;
	struct bytes bytes[OBJECTS], mine[VIEWS];
	uint32_t length[OBJECTS];
} w;

static struct seam { unsigned kind; enum vmf_sim_point point; } seams[] = {
	{ ALLOC, VMF_SIM_ALLOC }, { SEGMENT, VMF_SIM_SEGMENT }, { ATTACH, VMF_SIM_ATTACH }, { DETACH, VMF_SIM_DETACH },
	{ ENTER, VMF_SIM_ENTER }, { REMOVE, VMF_SIM_REMOVE }, { PROTECT, VMF_SIM_PROTECT }, { CLEAN, VMF_SIM_CLEAN },
	{ SUPPLY, VMF_SIM_SUPPLY }, { BOLT, VMF_SIM_BOLT }, { QUERY, VMF_SIM_QUERY }, { TAKE, VMF_SIM_TAKE },
};

static void on_seam(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	const struct seam *s = self;
	int err = failing_due(s->kind);

	(void)space, (void)at, (void)pages;
	if (err)
		vmf_sim_fail(w.rig.sim, s->point, 1, err);
}

static void io_complete_all(void);

/* One thread: what is waited for happens now, and a wait for a while is over at once. */
static void on_wait(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	int err = failing_due(WAIT);

	(void)self, (void)space, (void)at, (void)pages;
	if (!err)
		io_complete_all();
	vmf_sim_fail(w.rig.sim, VMF_SIM_WAIT, 1, err ? err : VMF_ETIME);
}

static void world_open(unsigned ram)
{
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = (uint8_t)w.store, .protect = w.protect, .ram_pages = ram, .bolts = 64,
	};

	w.views = w.objects = 0;
	w.other = NULL;
	CHECK_ERR(vmf_sim_open(&w.rig.sim, &config), 0);
	w.rig.port = vmf_sim_port(w.rig.sim);
	w.rig.store = (uint8_t)w.store;
	for (unsigned i = 0; i < sizeof(seams) / sizeof(seams[0]); i++)
		vmf_sim_on(w.rig.sim, seams[i].point, on_seam, &seams[i]);
	vmf_sim_on(w.rig.sim, VMF_SIM_WAIT, on_wait, NULL);
}

/* What a page has to hold, or NULL: nothing can be had there, for the reason in *r. */
static const uint8_t *view_page(const struct view *v, uint32_t i, struct vmf_result *r)
{
	*r = (struct vmf_result){ .code = VMF_OK };
	if (!(v->prot & VMF_R)) {
		*r = (struct vmf_result){ .code = VMF_SIGSEGV, .why = VMF_WHY_PROT };
		return NULL;
	}
	if (v->own[i])
		return v->mine->page[i];
	if (v->off + i < *v->length)
		return v->of->page[v->off + i];
	*r = (struct vmf_result){ .code = VMF_SIGBUS, .why = VMF_WHY_EOF };
	return NULL;
}

/* Where entries cannot be write-protected, a private page is the area's own from the first touch on. */
static void touched(struct view *v, uint32_t i)
{
	struct vmf_result r;

	if (v->own[i] || !v->private || w.store != VMF_BY_ADDRESS || w.protect || !(v->prot & VMF_W))
		return;
	memcpy(v->mine->page[i], view_page(v, i, &r), PAGE);
	v->own[i] = true;
}

static void page_same(struct view *v, uint32_t i)
{
	static uint8_t got[PAGE];
	struct vmf_result want, r = vmf_sim_load(v->space, v->va + (vmf_va)i * PAGE, got, PAGE);
	const uint8_t *bytes = view_page(v, i, &want);
	char is[80];

	if (r.code != want.code || r.why != want.why)
		vmtest_fail("view %u page %u of %u: %s, not %s", (unsigned)(v - w.view), i, v->pages,
			vmf_result_str(r, is, sizeof(is)), vmf_code_str(want.code));
	for (uint32_t k = 0; bytes && k < PAGE; k++)
		if (bytes[k] != got[k])
			vmtest_fail("view %u page %u byte %u is 0x%02x, not 0x%02x", (unsigned)(v - w.view), i, k, got[k],
				bytes[k]);
	if (bytes)
		touched(v, i);
}

static struct view *view_at(const struct vmf_space *space, vmf_va va)
{
	for (unsigned i = 0; i < w.views; i++)
		if (w.view[i].space == space && va >= w.view[i].va && va - w.view[i].va < (vmf_va)w.view[i].pages * PAGE)
			return &w.view[i];
	return NULL;
}

static void nothing_at(struct vmf_space *space, vmf_va va)
{
	struct vmf_area *a;
	uint8_t byte;

	if (view_at(space, va))
		return;
	CHECK_RESULT(vmf_sim_load(space, va, &byte, 1), VMF_SIGSEGV, VMF_WHY_NONE);
	a = vmf_area_find(space, va);
	CHECK(!a);
}

/* Everything is as it should be, and nothing fails while we look. */
static void world_same(void)
{
	bool before = failing_quiet(true);

	for (unsigned i = 0; i < w.views; i++) {
		struct view *v = &w.view[i];

		for (uint32_t k = 0; k < v->pages; k++)
			page_same(v, k);
		nothing_at(v->space, v->va - PAGE);
		nothing_at(v->space, v->va + (vmf_va)v->pages * PAGE);
	}
	CHECK(!w.rig.space || !vmf_sim_unflushed(w.rig.space));
	CHECK(!w.other || !vmf_sim_unflushed(w.other));
	failing_quiet(before);
}

/* ------------------------------------------------------------------------------- what a failure says */

/* POPULATE and BOLT hand on what a fault came to. */
static int of_fault(void)
{
	return failing.error == VMF_EEXIST || failing.error == VMF_EFAULT ? -VMF_EFAULT : -failing.error;
}

static bool says(int err)
{
	switch (failing.kind) {
	case ALLOC:
	case SEGMENT:
	case SUPPLY:
	case FRAME:
	case FRAMES:
	case RESERVE:
	case SLOT:
		return err == -VMF_ENOMEM;
	case ENTER:
		return err == -failing.error || err == of_fault(); /* RAW: the pmap's own word */
	case START:
	case READ:
	case READ_SHORT:
	case READ_LIES:
	case WRITE:
	case WRITE_SHORT:
	case SYNC:
	case EXTENT:
	case LENGTH:
		return err == -VMF_EIO || err == failing.error || (failing.kind == READ_LIES && err == -VMF_EFAULT);
	case NOPAGE:
	case NOPFN:
	case FAULT:
	case MKWRITE:
		return err == -VMF_EFAULT ||
		       (err == -VMF_ENOMEM && (failing.error == VMF_OOM || failing.error == VMF_RETRY)) ||
		       (err == -VMF_EPERM && failing.error == VMF_POISON);
	default:
		return err == -failing.error;
	}
}

/* A step has failed: for a reason, with nothing changed.  From here on nothing fails. */
static void refused(const char *what, int err)
{
	if (!failing_hit() || !says(err))
		vmtest_fail("%s is %d (%s)", what, err, vmf_err_str(err));
	failing_stop();
	world_same();
}

/* May fail once. */
#define STEP(call) \
	do { \
		int err_ = (call); \
		if (err_) { \
			refused(#call, err_); \
			err_ = (call); \
		} \
		CHECK_ERR(err_, 0); \
	} while (0)

struct said { uint8_t code, why; };

static struct said enter_says(void)
{
	switch (failing.error) {
	case VMF_EAGAIN:
		return (struct said){ VMF_SIGBUS, VMF_WHY_LAYOUT };
	case VMF_ENOMEM:
		return (struct said){ VMF_OOM, VMF_WHY_RESOURCE };
	case VMF_EEXIST:
	case VMF_EFAULT:
		return (struct said){ VMF_SIGBUS, VMF_WHY_RACE };
	case VMF_EGONE:
		return (struct said){ VMF_SIGSEGV, VMF_WHY_LAYOUT };
	default:
		return (struct said){ VMF_SIGBUS, VMF_WHY_ATTR };
	}
}

static struct said handler_says(void)
{
	switch (failing.error) {
	case VMF_RETRY:
		return (struct said){ VMF_OOM, VMF_WHY_RESOURCE };
	case VMF_SIGBUS:
		return (struct said){ VMF_SIGBUS, VMF_WHY_POLICY };
	case VMF_FALLBACK:
		return (struct said){ VMF_SIGBUS, VMF_WHY_DRIVER };
	default:
		return (struct said){ (uint8_t)failing.error, VMF_WHY_POLICY };
	}
}

static struct said fault_says(void)
{
	switch (failing.kind) {
	case ENTER:
		return enter_says();
	case REMOVE:
		return failing.error == VMF_EAGAIN ? (struct said){ VMF_SIGBUS, VMF_WHY_LAYOUT }
						   : (struct said){ VMF_OOM, VMF_WHY_RESOURCE };
	case NOPAGE:
	case NOPFN:
	case FAULT:
	case MKWRITE:
		return handler_says();
	case START:
	case READ:
	case READ_SHORT:
	case EXTENT:
		return (struct said){ VMF_SIGBUS, VMF_WHY_IOERR };
	case READ_LIES:
		return (struct said){ VMF_SIGBUS, VMF_WHY_DRIVER };
	default:
		return (struct said){ VMF_OOM, VMF_WHY_RESOURCE };
	}
}

/* Does what passes by itself pass? */
static bool passes(void)
{
	if (failing.kind == ENTER)
		return failing.error != VMF_EGONE && failing.error != VMF_ENOSYS;
	if (failing.kind >= NOPAGE && failing.kind <= MKWRITE)
		return failing.error == VMF_RETRY;
	return failing.kind < ATTACH || failing.kind >= FRAME || failing.kind == SUPPLY || failing.kind == REMOVE;
}

static void fault_refused(struct vmf_result r, vmf_va va)
{
	struct said want = fault_says();
	char is[80];

	if (!failing_hit() || r.code != want.code || r.why != want.why || (!failing.always && passes()))
		vmtest_fail("an access to 0x%llx: %s", (unsigned long long)va, vmf_result_str(r, is, sizeof(is)));
	if (r.why == VMF_WHY_IOERR)
		CHECK_EQ(r.err, failing.error);
	failing_stop();
	world_same();
}

/* ----------------------------------------------------------------------------------- accesses, as steps */

static void load(struct vmf_space *space, vmf_va va)
{
	uint8_t byte;
	struct vmf_result r = vmf_sim_load(space, va, &byte, 1);
	struct view *v = view_at(space, va);
	uint32_t i = (uint32_t)((va - v->va) / PAGE);

	if (r.code != VMF_OK) {
		fault_refused(r, va);
		r = vmf_sim_load(space, va, &byte, 1);
	}
	CHECK_OK(r);
	CHECK_EQ(byte, view_page(v, i, &r)[va % PAGE]);
	touched(v, i);
}

static void model_store(struct view *v, uint32_t i, uint32_t at, const uint8_t *bytes, uint32_t n)
{
	struct vmf_result r;

	if (v->private && !v->own[i]) {
		memcpy(v->mine->page[i], view_page(v, i, &r), PAGE);
		v->own[i] = true;
	}
	memcpy((v->own[i] ? v->mine->page[i] : v->of->page[v->off + i]) + at, bytes, n);
}

static void store(struct vmf_space *space, vmf_va va, uint8_t value)
{
	uint8_t bytes[16];
	struct view *v = view_at(space, va);
	struct vmf_result r;

	memset(bytes, value, sizeof(bytes));
	r = vmf_sim_store(space, va, bytes, sizeof(bytes));
	if (r.code != VMF_OK) {
		fault_refused(r, va);
		r = vmf_sim_store(space, va, bytes, sizeof(bytes));
	}
	CHECK_OK(r);
	model_store(v, (uint32_t)((va - v->va) / PAGE), va % PAGE, bytes, sizeof(bytes));
}

static void fetch(struct vmf_space *space, vmf_va va)
{
	uint8_t byte;
	struct vmf_result r = vmf_sim_fetch(space, va, &byte, 1);

	if (r.code != VMF_OK) {
		fault_refused(r, va);
		r = vmf_sim_fetch(space, va, &byte, 1);
	}
	CHECK_OK(r);
}

/* ------------------------------------------------------------------------------------- layout, as steps */

/* Room for a view's own pages that no other view has. */
static struct bytes *mine_new(void)
{
	unsigned i = 0;

	for (unsigned k = 0; k < w.views; k++)
		if (w.view[k].mine == &w.mine[i]) {
			i++;
			k = UINT32_MAX; /* from the start again */
		}
	CHECK(i < VIEWS && w.views < VIEWS);
	return &w.mine[i];
}

static struct view *view_new(const struct view *like)
{
	struct bytes *mine = mine_new();
	struct view *v = &w.view[w.views++];

	*v = *like;
	v->mine = mine;
	return v;
}

static void view_add(struct vmf_space *space, vmf_va va, uint32_t object, const struct vmf_map *m)
{
	(void)view_new(&(struct view){ .space = space, .va = va, .pages = (uint32_t)m->pages, .off = (uint32_t)m->off,
		.prot = m->prot, .private = !(m->flags & VMF_SHARED), .of = &w.bytes[object], .length = &w.length[object] });
}

/* What of a view lies in front of va, and what behind. */
static void view_cut(unsigned i, vmf_va va)
{
	struct view *v = &w.view[i], *tail;
	uint32_t head = (uint32_t)((va - v->va) / PAGE);

	if (va <= v->va || head >= v->pages)
		return;
	tail = view_new(v);
	tail->va = va;
	tail->pages -= head;
	tail->off += head;
	for (uint32_t k = 0; k < tail->pages; k++) {
		tail->own[k] = v->own[head + k];
		memcpy(tail->mine->page[k], v->mine->page[head + k], PAGE);
	}
	v->pages = head;
}

static void views_cut(const struct vmf_space *space, vmf_va va)
{
	for (unsigned i = 0; i < w.views; i++)
		if (w.view[i].space == space)
			view_cut(i, va);
}

static void views_drop(const struct vmf_space *space, vmf_va va, uint32_t pages)
{
	views_cut(space, va);
	views_cut(space, va + (vmf_va)pages * PAGE);
	for (unsigned i = 0; i < w.views;)
		if (w.view[i].space == space && w.view[i].va >= va && w.view[i].va < va + (vmf_va)pages * PAGE)
			w.view[i] = w.view[--w.views];
		else
			i++;
}

static struct vmf_map description(uint32_t pages, unsigned prot)
{
	return rig_map(&w.rig, pages, prot);
}

static vmf_va map(struct vmf_object *o, uint32_t object, struct vmf_map m)
{
	vmf_va va = 0;

	STEP(vmf_map(w.rig.space, o, &m, &va));
	view_add(w.rig.space, va, object, &m);
	return va;
}

static vmf_va map_all(struct vmf_object *o, uint32_t object, unsigned action)
{
	struct vmf_map m = description(PAGES, VMF_R | VMF_W);

	m.action = (uint8_t)action;
	return map(o, object, m);
}

/* One that fails has taken the areas below the one that it failed on. */
static void unmap(struct vmf_space *space, vmf_va va, uint32_t pages)
{
	int err = vmf_unmap(space, va, pages);

	if (err) {
		for (uint32_t i = 0; i < pages; i++) {
			bool before = failing_quiet(true);
			struct vmf_area *a = vmf_area_find(space, va + (vmf_va)i * PAGE);

			failing_quiet(before);
			if (a) {
				vmf_area_put(a);
				break;
			}
			views_drop(space, va + (vmf_va)i * PAGE, 1);
		}
		refused("vmf_unmap()", err);
		CHECK_ERR(vmf_unmap(space, va, pages), 0);
	}
	views_drop(space, va, pages);
}

static void protect(struct vmf_space *space, vmf_va va, uint32_t pages, unsigned prot)
{
	STEP(vmf_protect(space, va, pages, prot));
	views_cut(space, va);
	views_cut(space, va + (vmf_va)pages * PAGE);
	for (unsigned i = 0; i < w.views; i++)
		if (w.view[i].space == space && w.view[i].va >= va && w.view[i].va < va + (vmf_va)pages * PAGE)
			w.view[i].prot = (uint8_t)prot;
}

static uint32_t object_new(uint32_t pages)
{
	CHECK(w.objects < OBJECTS);
	memset(&w.bytes[w.objects], 0, sizeof(w.bytes[0]));
	w.length[w.objects] = pages;
	return w.objects++;
}

static void space_open(struct vmf_space **space)
{
	STEP(vmf_sim_space(w.rig.sim, space));
}

static void space_close(struct vmf_space **space)
{
	int err = vmf_sim_space_close(*space);

	if (err) {
		/* It is still there, and so is what could not be unmapped. */
		for (unsigned i = 0; i < w.views;) {
			bool before = failing_quiet(true);
			struct vmf_area *a = w.view[i].space == *space ? vmf_area_find(*space, w.view[i].va) : NULL;

			failing_quiet(before);
			vmf_area_put(a);
			if (w.view[i].space == *space && !a)
				w.view[i] = w.view[--w.views];
			else
				i++;
		}
		refused("vmf_space_destroy()", err);
		CHECK_ERR(vmf_sim_space_close(*space), 0);
	}
	for (unsigned i = 0; i < w.views;)
		if (w.view[i].space == *space)
			w.view[i] = w.view[--w.views];
		else
			i++;
	*space = NULL;
}

static uint64_t free_frames(void)
{
	bool before = failing_quiet(true);
	uint64_t n = rig_free_frames(&w.rig);

	failing_quiet(before);
	return n;
}

static void spaces_close(void)
{
	world_same();
	if (w.other)
		space_close(&w.other);
	space_close(&w.rig.space);
}

static void world_close(unsigned ram)
{
	failing_stop();
	vmf_port_tidy(w.rig.port);
	CHECK_EQ(free_frames(), ram);
	vmf_sim_close(w.rig.sim);
}

/* ------------------------------------------------------------------------------------------- a backing */

/* Completes when it is asked, or when somebody waits. */
static struct back {
	struct vmf_port *port;
	struct bytes disk;
	uint64_t bytes;
	bool late, hole; /* hole: from page 9 on, three pages long, until somebody writes there */
	struct vmf_io *queue[8];
	unsigned queued;
	unsigned closed, opened;
} back;

static uint8_t *back_at(vmf_pgoff page) { return back.disk.page[page]; }

static uint32_t io_move(struct vmf_io *io, uint32_t pages)
{
	uint64_t left = io->bytes;

	for (uint32_t i = 0; i < pages; i++) {
		size_t n = left < PAGE ? (size_t)left : PAGE;
		uint8_t *at = vmf_io_bytes(io, i, NULL);

		back.hole &= !io->write || io->first + i - 9 >= 3;
		if (io->write)
			memcpy(back_at(io->first + i), at, n);
		else
			memcpy(at, back_at(io->first + i), n);
		left -= n;
	}
	return pages;
}

static void io_complete(struct vmf_io *io)
{
	int whole = failing_due(io->write ? WRITE : READ);
	int half = whole ? 0 : failing_due(io->write ? WRITE_SHORT : READ_SHORT);
	bool lie = !whole && !half && !io->write && failing_due(READ_LIES);
	uint32_t good = io_move(io, whole ? 0 : half || lie ? io->n / 2 : io->n);

	vmf_io_done(io, good, whole ? whole : half);
}

static void io_complete_all(void)
{
	while (back.queued)
		io_complete(back.queue[--back.queued]);
}

static int back_start(void *self, struct vmf_io *io)
{
	int err = failing_due(START);

	(void)self;
	if (err)
		return err;
	CHECK(back.queued < 8);
	if (back.late)
		back.queue[back.queued++] = io;
	else
		io_complete(io);
	return 0;
}

static int back_extent(void *self, vmf_pgoff at, struct vmf_extent *e)
{
	(void)self;
	if (!back.hole)
		*e = (struct vmf_extent){ 0, PAGES, false };
	else if (at < 9)
		*e = (struct vmf_extent){ 0, 9, false };
	else if (at < 12)
		*e = (struct vmf_extent){ 9, 3, true };
	else
		*e = (struct vmf_extent){ 12, PAGES - 12, false };
	return failing_due(EXTENT);
}

static int back_length(void *self, uint64_t *bytes)
{
	(void)self;
	*bytes = back.bytes;
	return failing_due(LENGTH);
}

static int back_sync(void *self) { return (void)self, failing_due(SYNC); }
static void back_close(void *self) { (void)self, back.closed++; }

static const struct vmf_backing_ops back_ops = {
	.size = sizeof(back_ops), .start = back_start, .extent = back_extent, .length = back_length, .sync = back_sync,
	.close = back_close,
};

static struct vmf_object *back_open(unsigned flags, unsigned around, unsigned readahead, uint32_t *object)
{
	const struct vmf_backed b = { .size = sizeof(b), .flags = flags, .ops = &back_ops, .self = &back, .around = around,
		.readahead = readahead, .pages = PAGES };
	struct vmf_object *o = NULL;

	back.port = w.rig.port;
	back.bytes = PAGES * PAGE - 100;
	back.queued = 0;
	back.hole = true;
	for (unsigned i = 0; i < PAGES; i++)
		memset(back_at(i), i - 9 < 3 ? 0 : 0x40 + (int)i, PAGE);
	memset(back_at(PAGES - 1) + PAGE - 100, 0, 100);
	STEP(vmf_object_backed(w.rig.port, &o, &b));
	back.opened++;
	*object = object_new(PAGES);
	w.bytes[*object] = back.disk;
	return o;
}

static void back_ended(void)
{
	vmf_port_tidy(w.rig.port);
	CHECK_EQ(back.closed, back.opened);
	CHECK_EQ(back.queued, 0);
}

static void sync_all(struct vmf_object *o)
{
	int why = 0, err = vmf_sync(o, 0, PAGES, &why);

	if (err) {
		CHECK_EQ(why, err == -VMF_EIO ? failing.error : 0);
		refused("vmf_sync()", err);
		CHECK_ERR(vmf_sync(o, 0, PAGES, &why), 0);
		CHECK_EQ(why, 0);
	}
}

/* After the length has been asked for, a failure is a pmap's: the object is as long as it is to be, and what lies
 * past that may still be seen until it is asked again. */
static void resize(struct vmf_object *o, uint32_t object, uint32_t pages)
{
	bool shrinks = pages < w.length[object];
	int err;

	back.bytes = (uint64_t)pages * PAGE;
	err = vmf_object_resize(o);
	if (err) {
		struct view v[VIEWS];

		memcpy(v, w.view, sizeof(v));
		for (unsigned i = 0; shrinks && err < 0 && i < w.views; i++)
			if (w.view[i].of == &w.bytes[object] && w.view[i].off + w.view[i].pages > pages)
				w.view[i].pages = 1;
		failing_stop();
		CHECK(failing_hit() && says(err));
		memcpy(w.view, v, sizeof(v));
		CHECK_EQ(vmf_object_resize(o), 0);
	}
	for (uint32_t i = w.length[object]; i < pages; i++)
		memcpy(w.bytes[object].page[i], back_at(i), PAGE);
	w.length[object] = pages;
}

/* ------------------------------------------------------------------------------------------- a driver */

static struct driver {
	struct vmf_object *object;
	struct vmf_frame *frame[PAGES];
	unsigned opened, closed, released;
} driver;

static int driver_map(struct vmf_object *o, struct vmf_map *m) { return (void)o, (void)m, -failing_due(MAP_REFUSES); }
static int driver_split(struct vmf_area *a, vmf_va va) { return (void)a, (void)va, -failing_due(SPLIT_REFUSES); }
static void driver_opened(struct vmf_area *a) { (void)a, driver.opened++; }
static void driver_closed(struct vmf_area *a) { (void)a, driver.closed++; }

static void driver_release(struct vmf_object *o, void *priv)
{
	struct driver *d = priv;

	(void)o;
	d->released++;
	for (unsigned i = 0; i < PAGES; i++)
		if (d->frame[i])
			vmf_frame_put(w.rig.port, d->frame[i]);
	memset(d->frame, 0, sizeof(d->frame));
}

/* 0, or what a handler answers instead. */
static bool handler_fails(unsigned kind, struct vmf_ans *ans, enum vmf_code *code)
{
	*code = (enum vmf_code)failing_due(kind);
	ans->why = *code == VMF_RETRY ? VMF_WHY_RESOURCE : VMF_WHY_POLICY;
	return *code != VMF_OK;
}

/* A page of its own, kept; from then on with one reference more for who asks. */
static struct vmf_frame *driver_frame(struct driver *d, const struct vmf_req *req)
{
	if (!d->frame[req->off])
		d->frame[req->off] = vmf_frame_at(req->object, req->off);
	if (d->frame[req->off])
		vmf_frame_get(d->frame[req->off]);
	return d->frame[req->off];
}

static enum vmf_code driver_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	enum vmf_code code;

	if (handler_fails(NOPAGE, ans, &code))
		return code;
	ans->frames[0] = driver_frame(req->object_priv, req);
	ans->why = VMF_WHY_RESOURCE;
	ans->n = 1;
	return ans->frames[0] ? VMF_OK : VMF_RETRY;
}

static enum vmf_code driver_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_frame *frame;
	enum vmf_code code;

	if (handler_fails(FAULT, ans, &code))
		return code;
	if (req->off % 2)
		return VMF_NEXT;
	frame = driver_frame(req->object_priv, req);
	ans->why = VMF_WHY_RESOURCE;
	if (!frame)
		return VMF_RETRY;
	(void)vmf_install_frames(req, req->off, &frame, 1, req->prot);
	return VMF_DONE;
}

static enum vmf_code driver_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	enum vmf_code code;

	if (handler_fails(NOPFN, ans, &code))
		return code;
	ans->pfn.n = VMF_SIM_DEVICE + req->off;
	ans->attr.type = VMF_UC;
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code driver_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	enum vmf_code code;

	(void)req;
	return handler_fails(MKWRITE, ans, &code) ? code : VMF_OK;
}

#define DRIVER_OPS \
	.size = sizeof(struct vmf_ops), .map = driver_map, .split = driver_split, .opened = driver_opened, \
	.closed = driver_closed, .release = driver_release

static const struct vmf_ops zero_ops = { DRIVER_OPS };
static const struct vmf_ops nopage_ops = { DRIVER_OPS, .nopage = driver_nopage, .mkwrite = driver_mkwrite };
static const struct vmf_ops fault_ops = { DRIVER_OPS, .fault = driver_fault, .nopage = driver_nopage };
static const struct vmf_ops nopfn_ops = { DRIVER_OPS, .nopfn = driver_nopfn };

static struct vmf_object *driver_open(const struct vmf_ops *ops, uint32_t *object)
{
	struct vmf_object *o = NULL;

	memset(&driver, 0, sizeof(driver));
	STEP(vmf_object_create(w.rig.port, &o, ops, &driver, PAGES));
	*object = object_new(PAGES);
	return o;
}

static void driver_ended(void)
{
	vmf_port_tidy(w.rig.port);
	CHECK_EQ(driver.opened, driver.closed);
	CHECK_EQ(driver.released, 1);
}

/* ---------------------------------------------------------------------------------------- the scenarios */

/* Writes, cuts, takes away and brings back. */
static void work_on(struct vmf_object *o, vmf_va at)
{
	struct vmf_space *s = w.rig.space;

	for (unsigned i = 0; i < PAGES; i += 3)
		store(s, at + i * PAGE + i, (uint8_t)(i + 1));
	for (unsigned i = 0; i < PAGES; i += 2)
		load(s, at + i * PAGE);
	protect(s, at + 4 * PAGE, 8, VMF_R);
	protect(s, at + 6 * PAGE, 2, VMF_R | VMF_W);
	store(s, at + 6 * PAGE, 0x66);
	STEP(vmf_revoke(o, 2, 9));
	store(s, at + 3 * PAGE + 100, 0x67);
	load(s, at + 9 * PAGE);
	unmap(s, at + 15 * PAGE, 3);
	protect(s, at + 2 * PAGE, 6, VMF_R | VMF_W);
	if (w.store != VMF_BY_COPY)
		vmf_sim_forget(s, at, 10);
	store(s, at + 7 * PAGE, 0x68);
}

/* A second area, and both go with what lies between them. */
static void work_on_two(struct vmf_object *o, uint32_t object, vmf_va at)
{
	vmf_va second = map_all(o, object, VMF_POPULATE), low = at < second ? at : second;

	load(w.rig.space, second + 5 * PAGE);
	unmap(w.rig.space, low, (uint32_t)((at < second ? second - at : at - second) / PAGE) + 5);
	STEP(vmf_revoke(o, 0, PAGES));
}

static void with_driver(const struct vmf_ops *ops)
{
	struct vmf_object *o;
	uint32_t object;
	vmf_va at;

	world_open(RAM);
	space_open(&w.rig.space);
	o = driver_open(ops, &object);
	at = map_all(o, object, VMF_LAZY);
	work_on(o, at);
	work_on_two(o, object, at);
	vmf_object_put(o);
	spaces_close();
	driver_ended();
	world_close(RAM);
}

static void zeroes(void) { with_driver(&zero_ops); }
static void nopage(void) { with_driver(&nopage_ops); }
static void fault(void) { with_driver(&fault_ops); }

static void pfns(void)
{
	struct vmf_map m;
	struct vmf_object *o;
	uint32_t object;
	vmf_va at;

	world_open(RAM);
	space_open(&w.rig.space);
	o = driver_open(&nopfn_ops, &object);
	m = description(PAGES, VMF_R | VMF_W);
	m.flags |= VMF_SHARED * (w.store != VMF_BY_COPY);
	at = map(o, object, m);
	for (unsigned i = 0; i < PAGES; i += 3) {
		w.view[0].private = false; /* device memory is nobody's own */
		store(w.rig.space, at + i * PAGE, (uint8_t)(i + 1));
	}
	STEP(vmf_revoke(o, 0, PAGES));
	load(w.rig.space, at + 3 * PAGE);
	m.action = VMF_RAW;
	m.raw.n = VMF_SIM_DEVICE;
	m.attr.type = VMF_UC;
	at = map(o, object, m);
	w.view[w.views - 1].private = false;
	store(w.rig.space, at + 4 * PAGE, 0x55);
	protect(w.rig.space, at + 2 * PAGE, 4, VMF_R);
	load(w.rig.space, at + 4 * PAGE);
	unmap(w.rig.space, at + PAGE, 3);
	vmf_object_put(o);
	spaces_close();
	driver_ended();
	world_close(RAM);
}

static void file(bool late)
{
	struct vmf_object *o;
	uint32_t object;
	vmf_va at;

	world_open(RAM);
	memset(&back, 0, sizeof(back));
	back.late = late;
	space_open(&w.rig.space);
	o = back_open(0, 4, 8, &object);
	at = map_all(o, object, VMF_LAZY);
	for (unsigned i = 0; i < PAGES; i++)
		load(w.rig.space, at + i * PAGE);
	work_on(o, at);
	sync_all(o);
	(void)vmf_reclaim(o, 0, PAGES);
	store(w.rig.space, at + 7 * PAGE, 0x71);
	load(w.rig.space, at + 2 * PAGE);
	if (w.store != VMF_BY_COPY) {
		resize(o, object, 13);
		resize(o, object, 20);
	}
	store(w.rig.space, at + 12 * PAGE, 0x72);
	if (w.store != VMF_BY_COPY)
		resize(o, object, PAGES);
	work_on_two(o, object, at);
	sync_all(o);
	vmf_object_put(o);
	spaces_close();
	back_ended();
	world_close(RAM);
}

static void at_once(void) { file(false); }
static void later(void) { file(true); }

static void stream(void)
{
	struct vmf_object *o;
	uint32_t object;
	vmf_va at;

	world_open(RAM);
	memset(&back, 0, sizeof(back));
	space_open(&w.rig.space);
	o = back_open(VMF_STREAM | VMF_RDONLY, 4, 0, &object);
	at = map_all(o, object, VMF_LAZY);
	for (unsigned i = 0; i < PAGES; i += 5)
		load(w.rig.space, at + i * PAGE);
	work_on(o, at);
	vmf_object_put(o);
	spaces_close();
	back_ended();
	world_close(RAM);
}

static void bolts(void)
{
	struct vmf_map m;
	struct vmf_object *o;
	uint32_t object;
	vmf_va at;

	world_open(RAM);
	space_open(&w.rig.space);
	o = driver_open(&zero_ops, &object);
	m = description(6, VMF_R | VMF_W | VMF_X);
	m.action = VMF_BOLT;
	m.off = 3;
	at = map(o, object, m);
	store(w.rig.space, at + PAGE, 0x31);
	fetch(w.rig.space, at + 2 * PAGE);
	unmap(w.rig.space, at + 4 * PAGE, 1);
	protect(w.rig.space, at, 2, VMF_R);
	load(w.rig.space, at + PAGE);
	vmf_object_put(o);
	spaces_close();
	driver_ended();
	world_close(RAM);
}

/* What the private areas of a space are to its copy. */
static void views_copy(struct vmf_space *to, const struct vmf_space *from)
{
	unsigned n = w.views;

	for (unsigned i = 0; i < n; i++) {
		struct view *v;

		if (w.view[i].space != from)
			continue;
		v = view_new(&w.view[i]);
		v->space = to;
		*v->mine = *w.view[i].mine;
	}
}

/* What could not be undone, because that fails as well, is for closing only. */
static void copy_space(void)
{
	int err = vmf_space_copy(w.other, w.rig.space);

	if (err) {
		refused("vmf_space_copy()", err);
		if (failing.always && (failing.kind == DETACH || failing.kind == REMOVE)) {
			CHECK_ERR(vmf_sim_space_close(w.other), 0);
			CHECK_ERR(vmf_sim_space(w.rig.sim, &w.other), 0);
		}
		CHECK_ERR(vmf_space_copy(w.other, w.rig.space), 0);
	}
	views_copy(w.other, w.rig.space);
}

/* By address: shared and private areas of one object. */
static void copies(void)
{
	struct vmf_map m;
	struct vmf_object *o;
	uint32_t object;
	vmf_va at, shared;

	world_open(RAM);
	memset(&back, 0, sizeof(back));
	space_open(&w.rig.space);
	o = back_open(0, 4, 8, &object);
	m = description(PAGES, VMF_R | VMF_W);
	shared = map(o, object, m);
	m.flags &= w.store == VMF_BY_OFFSET ? UINT32_MAX : ~(uint32_t)VMF_SHARED;
	at = map(o, object, m);
	for (unsigned i = 0; i < PAGES; i += 3)
		store(w.rig.space, at + i * PAGE + 7, (uint8_t)(0x80 + i));
	load(w.rig.space, at + 4 * PAGE);
	store(w.rig.space, shared + 4 * PAGE, 0x91);
	store(w.rig.space, shared + 6 * PAGE, 0x92);
	space_open(&w.other);
	copy_space();
	store(w.other, at + 3 * PAGE, 0x93);
	store(w.rig.space, at + 6 * PAGE, 0x94);
	store(w.other, at + 5 * PAGE, 0x95);
	store(w.other, shared + 8 * PAGE, 0x96);
	protect(w.other, at + 2 * PAGE, 6, VMF_R);
	unmap(w.rig.space, at + 2 * PAGE, 3);
	STEP(vmf_revoke(o, 0, PAGES));
	load(w.other, at + 3 * PAGE);
	protect(w.rig.space, at + 9 * PAGE, 4, VMF_R);
	load(w.rig.space, at + 10 * PAGE);
	protect(w.rig.space, at + 10 * PAGE, 2, VMF_R | VMF_W);
	store(w.rig.space, at + 10 * PAGE, 0x97);
	vmf_object_put(o);
	spaces_close();
	back_ended();
	world_close(RAM);
}

/* Nobody may touch what the platform has taken away before the core knows. */
#define STEP_MOVED(call) \
	do { \
		int err_ = (call); \
		if (err_) { \
			CHECK(failing_hit() && says(err_)); \
			failing_stop(); \
			err_ = (call); \
		} \
		CHECK_ERR(err_, 0); \
	} while (0)

/* What a platform has moved, and taken away, the core follows; only memory can be lacking for that. */
static void moves(void)
{
	struct vmf_object *o;
	struct vmf_map m;
	uint32_t object;
	vmf_va at, to;

	world_open(RAM);
	m = description(PAGES, VMF_R | VMF_W);
	space_open(&w.rig.space);
	o = driver_open(&zero_ops, &object);
	at = map(o, object, m);
	m.flags |= VMF_FIXED;
	m.va = to = at + 64 * PAGE;
	m.pages = 8;
	STEP(vmf_map(w.rig.space, o, &m, &to));
	view_add(w.rig.space, to, object, &m);
	store(w.rig.space, at + 12 * PAGE, 0x41);
	/* The entries have gone with the addresses. */
	failing_quiet(true);
	CHECK_ERR(vmf_revoke(o, 0, PAGES), 0);
	failing_quiet(false);
	STEP_MOVED(vmf_space_moved(w.rig.space, at + 2 * PAGE, to, 4));
	views_drop(w.rig.space, to, 4);
	views_drop(w.rig.space, at + 2 * PAGE, 4);
	m.off = 2;
	m.pages = 4;
	view_add(w.rig.space, to, object, &m);
	store(w.rig.space, to + 2 * PAGE, 0x42);
	failing_quiet(true);
	CHECK_ERR(vmf_revoke(o, 0, PAGES), 0);
	failing_quiet(false);
	STEP_MOVED(vmf_space_gone(w.rig.space, at + 18 * PAGE, 2));
	views_drop(w.rig.space, at + 18 * PAGE, 2);
	vmf_object_put(o);
	spaces_close();
	driver_ended();
	world_close(RAM);
}

/* More pages than the reserves hold: all of them, or none. */
static void many(void)
{
	enum { MANY = 2600 };
	static const struct vmf_ops ops = { .size = sizeof(ops) };
	struct vmf_object *o;
	struct vmf_map m;
	vmf_va at = 0;
	int err;

	world_open(4096);
	m = description(MANY, VMF_R | VMF_W);
	space_open(&w.rig.space);
	STEP(vmf_object_create(w.rig.port, &o, &ops, NULL, MANY));
	m.action = VMF_POPULATE;
	err = vmf_map(w.rig.space, o, &m, &at);
	if (err) {
		refused("vmf_map()", err);
		failing_quiet(true);
		nothing_at(w.rig.space, VMF_SIM_LOWEST);
		failing_quiet(false);
		CHECK_ERR(vmf_map(w.rig.space, o, &m, &at), 0);
	}
	for (unsigned i = 0; i < MANY; i += 100)
		CHECK_EQ(rig_byte(&w.rig, at + i * PAGE), 0);
	vmf_object_put(o);
	spaces_close();
	world_close(4096);
}

/* A range of each kind, in and out. */
static void memory(void)
{
	struct vmf_range r = { .size = sizeof(r), .first = { VMF_SIM_RESERVED + 4096 } };
	static struct vmf_frame *frame[16];
	uint64_t before;

	world_open(RAM);
	before = free_frames();
	for (unsigned kind = VMF_PHYS_RAM; kind <= VMF_PHYS_RESERVED; kind++) {
		r.kind = (uint8_t)kind;
		r.pages = 16;
		STEP(vmf_phys_add(w.rig.port, &r));
		CHECK_EQ(vmf_phys_kind(w.rig.port, r.first), kind);
		CHECK_EQ(free_frames(), before + (kind == VMF_PHYS_RAM ? 16 : 0));
		STEP(vmf_phys_remove(w.rig.port, r.first));
		CHECK_EQ(vmf_phys_kind(w.rig.port, r.first), VMF_PHYS_HOLE);
	}
	for (unsigned i = 0; i < 16; i++)
		STEP(vmf_frame_alloc(w.rig.port, i % 4, 0, true, &frame[i]));
	for (unsigned i = 0; i < 16; i++)
		vmf_frame_put(w.rig.port, frame[i]);
	world_close(RAM);
}

/* ------------------------------------------------------------------------------------------- and cases */

static void sweep_as(unsigned store, bool can_protect, void (*scenario)(void))
{
	w.store = store;
	w.protect = can_protect;
	failing_sweep(scenario);
}

/* In each kind of window, with and without protection of single entries. */
static void sweep(void (*scenario)(void))
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++)
		for (int can_protect = 1; can_protect >= 0; can_protect--)
			sweep_as(store, can_protect, scenario);
}

static void zero_fill(void) { sweep(zeroes); }
static void driver_nopages(void) { sweep(nopage); }
static void driver_faults(void) { sweep(fault); }
static void driver_pfns(void) { sweep(pfns); }
static void backed(void) { sweep(at_once); }
static void backed_later(void) { sweep(later); }
static void streamed(void) { sweep_as(VMF_BY_COPY, true, stream); }
static void bolted(void) { sweep(bolts); }
static void copied(void) { sweep(copies); }
static void moved(void) { sweep_as(VMF_BY_ADDRESS, true, moves); }
static void crowded(void) { sweep_as(VMF_BY_OFFSET, true, many), sweep_as(VMF_BY_ADDRESS, true, many); }
static void phys(void) { sweep_as(VMF_BY_ADDRESS, true, memory); }

static const struct vmtest tests[] = {
	VMTEST(zero_fill),
	VMTEST(driver_nopages),
	VMTEST(driver_faults),
	VMTEST(driver_pfns),
	VMTEST(backed),
	VMTEST(backed_later),
	VMTEST(streamed),
	VMTEST(bolted),
	VMTEST(copied),
	VMTEST(moved),
	VMTEST(crowded),
	VMTEST(phys),
};

int main(int argc, char **argv)
{
	failing.kinds = kinds;
	failing.n = KINDS;
	failing.error_name = error_name;
	failing.counts = true;
	failing.seconds = 30;
	return failing_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
