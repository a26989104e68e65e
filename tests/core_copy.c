/* SPDX-License-Identifier: MIT
 *
 * The copy of a space: what both show, what each has for its own, what is not copied, and that nothing is left of a
 * copy that failed.
 */
#include <pthread.h>
#include <sched.h>
#include "rig.h"

#define PAGES 16u

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

struct pair {
	struct rig r;
	struct vmf_space *child;
	struct vmf_object *object;
};

static vmf_va page(vmf_va va, unsigned i) { return va + i * (vmf_va)PAGE; }

static void pair_open_as(struct pair *p, unsigned store, bool protect)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = (uint8_t)store, .protect = protect,
					       .ram_pages = RAM, .bolts = 4 };

	rig_open_as(&p->r, &config);
	rig_soil(&p->r);
	CHECK_ERR(vmf_sim_space(p->r.sim, &p->child), 0);
	CHECK_ERR(vmf_object_create(p->r.port, &p->object, &zero_ops, NULL, PAGES), 0);
}

static void pair_close(struct pair *p)
{
	CHECK_EQ(vmf_sim_unflushed(p->child), 0);
	vmf_sim_space_close(p->child);
	CHECK_ERR(vmf_unmap(p->r.space, VMF_SIM_LOWEST, 65536), 0);
	vmf_object_put(p->object);
	rig_close(&p->r);
}

static vmf_va map(struct pair *p, unsigned flags, uint64_t pages)
{
	struct vmf_map m = { .size = sizeof(m), .flags = flags, .pages = pages, .prot = VMF_R | VMF_W };
	vmf_va va = 0;

	CHECK_ERR(vmf_map(p->r.space, p->object, &m, &va), 0);
	return va;
}

static void store(struct vmf_space *space, vmf_va va, uint8_t byte) { CHECK_OK(vmf_sim_store(space, va, &byte, 1)); }

static int byte(struct vmf_space *space, vmf_va va)
{
	struct rig r = { .space = space };

	return rig_byte(&r, va);
}

/* Windows that can be private: by address, that without write-protection, by copy. */
#define PRIVATE_EACH(p) \
	for (int kind_ = 0; kind_ < 3 && (pair_open_as(&(p), kind_ < 2 ? VMF_BY_ADDRESS : VMF_BY_COPY, kind_ != 1), true); \
	     pair_close(&(p)), kind_++)

/* --------------------------------------------------------------------------------------- what is copied */

static void each_has_its_own_from_then_on(void)
{
	struct pair p;

	PRIVATE_EACH(p) {
		struct vmf_space *space = p.r.space;
		vmf_va va = map(&p, 0, PAGES);

		for (unsigned i = 0; i < 4; i++)
			store(space, page(va, i), (uint8_t)(10 + i));
		CHECK_ERR(vmf_space_copy(p.child, space), 0);
		store(space, page(va, 0), 20);
		store(p.child, page(va, 1), 31);
		store(space, page(va, 2) + 1, 22);
		store(p.child, page(va, 2) + 1, 32);
		CHECK_EQ(byte(p.child, page(va, 0)), 10);
		CHECK_EQ(byte(space, page(va, 0)), 20);
		CHECK_EQ(byte(space, page(va, 1)), 11);
		CHECK_EQ(byte(p.child, page(va, 1)), 31);
		CHECK_EQ(byte(space, page(va, 2)), 12);
		CHECK_EQ(byte(space, page(va, 2) + 1), 22);
		CHECK_EQ(byte(p.child, page(va, 2) + 1), 32);
		CHECK_EQ(byte(space, page(va, 3)), 13);
		CHECK_EQ(byte(p.child, page(va, 3)), 13);
		CHECK_EQ(byte(p.child, page(va, 9)), 0);
		store(space, page(va, 10), 40); /* never touched before */
		CHECK_EQ(byte(p.child, page(va, 10)), 0);
	}
}

static void shared_areas_show_the_same(void)
{
	struct pair p;

	for (unsigned window = VMF_BY_ADDRESS; window <= VMF_BY_OFFSET; window++) {
		vmf_va va;

		pair_open_as(&p, window, true);
		va = map(&p, VMF_SHARED, PAGES);
		store(p.r.space, va, 1);
		CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
		store(p.child, page(va, 1), 2);
		store(p.r.space, page(va, 2), 3);
		CHECK_EQ(byte(p.child, va), 1);
		CHECK_EQ(byte(p.r.space, page(va, 1)), 2);
		CHECK_EQ(byte(p.child, page(va, 2)), 3);
		CHECK_ERR(vmf_revoke(p.object, 0, PAGES), 0);
		CHECK_EQ(byte(p.child, va), 1);
		pair_close(&p);
	}
}

/* A copy of a copy, and of each again, while all live: frames go with the last who has them. */
static void families(void)
{
	struct pair p;

	PRIVATE_EACH(p) {
		struct vmf_space *grandchild;
		uint64_t before;
		vmf_va va = map(&p, 0, PAGES);

		store(p.r.space, va, 1);
		before = rig_free_frames(&p.r);
		CHECK_ERR(vmf_sim_space(p.r.sim, &grandchild), 0);
		CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
		CHECK_ERR(vmf_space_copy(grandchild, p.child), 0);
		CHECK_EQ(before - rig_free_frames(&p.r), 0); /* one frame for all three */
		store(p.child, va, 2);
		store(grandchild, va, 3);
		CHECK_EQ(byte(p.r.space, va), 1);
		CHECK_EQ(byte(p.child, va), 2);
		CHECK_EQ(byte(grandchild, va), 3);
		CHECK_ERR(vmf_unmap(p.r.space, va, PAGES), 0);
		CHECK_EQ(byte(p.child, va), 2);
		vmf_sim_space_close(grandchild);
		CHECK_ERR(vmf_unmap(p.child, va, PAGES), 0);
	}
}

/* Who is left alone with a page writes it in place, and needs no frame for it. */
static void the_last_one_copies_nothing(void)
{
	static struct vmf_frame *all[RAM];
	struct pair p;

	for (int protect = 0; protect < 2; protect++) {
		uint64_t before, n;
		vmf_va va;

		pair_open_as(&p, VMF_BY_ADDRESS, protect);
		va = map(&p, 0, PAGES);
		store(p.r.space, va, 1);
		before = rig_free_frames(&p.r);
		CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
		CHECK_EQ(byte(p.child, va), 1);
		CHECK_EQ(before - rig_free_frames(&p.r), protect ? 0 : 1);
		CHECK_ERR(vmf_unmap(p.child, va, PAGES), 0);
		CHECK_EQ(rig_free_frames(&p.r), before);
		for (n = 0; !vmf_frame_alloc(p.r.port, 0, 0, false, &all[n]); n++)
			;
		store(p.r.space, va + 1, 2);
		CHECK_EQ(byte(p.r.space, va), 1);
		while (n)
			vmf_frame_put(p.r.port, all[--n]);
		pair_close(&p);
	}
}

static void pieces_and_their_protection(void)
{
	struct pair p;

	PRIVATE_EACH(p) {
		uint8_t one = 1;
		vmf_va va = map(&p, 0, PAGES);

		for (unsigned i = 0; i < PAGES; i++)
			store(p.r.space, page(va, i), (uint8_t)(10 + i));
		CHECK_ERR(vmf_unmap(p.r.space, page(va, 4), 2), 0);
		CHECK_ERR(vmf_protect(p.r.space, page(va, 8), 2, VMF_R), 0);
		CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
		for (unsigned i = 0; i < PAGES; i++)
			CHECK_EQ(byte(p.child, page(va, i)), i == 4 || i == 5 ? -(int)VMF_SIGSEGV : 10 + (int)i);
		CHECK_RESULT(vmf_sim_store(p.child, page(va, 8), &one, 1), VMF_SIGSEGV, VMF_WHY_PROT);
		CHECK_ERR(vmf_protect(p.child, page(va, 8), 1, VMF_R | VMF_W), 0);
		store(p.child, page(va, 8), 1);
		CHECK_EQ(byte(p.r.space, page(va, 8)), 18);
	}
}

static void what_is_not_for_children(void)
{
	struct pair p;

	PRIVATE_EACH(p) {
		vmf_va va = map(&p, 0, PAGES), not = map(&p, VMF_NOFORK, PAGES);

		store(p.r.space, va, 1);
		store(p.r.space, not, 2);
		CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
		CHECK_EQ(byte(p.child, va), 1);
		CHECK_EQ(byte(p.child, not), -(int)VMF_SIGSEGV);
	}
}

/* A bolt is its owner's; raw pages are where they were. */
static void bolts_and_pfns(void)
{
	struct vmf_map bolted = { .size = sizeof(bolted), .pages = 2, .prot = VMF_R | VMF_W, .action = VMF_BOLT };
	struct vmf_map raw = { .size = sizeof(raw), .flags = VMF_SHARED, .pages = 2, .prot = VMF_R | VMF_W,
			       .action = VMF_RAW, .raw = { VMF_SIM_DEVICE + 3 }, .attr = { .type = VMF_UC } };
	vmf_va at, device;
	struct pair p;

	pair_open_as(&p, VMF_BY_ADDRESS, true);
	CHECK_ERR(vmf_map(p.r.space, p.object, &bolted, &at), 0);
	CHECK_ERR(vmf_map(p.r.space, p.object, &raw, &device), 0);
	store(p.r.space, page(at, 1), 5);
	CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
	store(p.r.space, page(at, 1), 6); /* a bolted page is copied as any other */
	CHECK_EQ(byte(p.child, page(at, 1)), 5);
	store(p.child, page(device, 1), 7);
	CHECK_EQ(*(uint8_t *)vmf_sim_device(p.r.sim, 4), 7);
	CHECK_EQ(byte(p.r.space, page(device, 1)), 7);
	pair_close(&p);
}

/* What is by copy and was taken away reads zero in both. */
static void forgotten_bytes(void)
{
	struct pair p;
	vmf_va va;

	pair_open_as(&p, VMF_BY_COPY, true);
	va = map(&p, 0, PAGES);
	store(p.r.space, va, 1);
	vmf_sim_forget(p.r.space, va, 1);
	CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
	CHECK_EQ(byte(p.child, va), 0);
	pair_close(&p);
}

/* ------------------------------------------------------------------------------------------ drivers, errors */

static struct { unsigned mapped, opened, closed; } told;

static int told_map(struct vmf_object *o, struct vmf_map *m) { return (void)o, (void)m, told.mapped++, 0; }
static void told_opened(struct vmf_area *a) { (void)a, told.opened++; }
static void told_closed(struct vmf_area *a) { (void)a, told.closed++; }
static const struct vmf_ops told_ops = { .size = sizeof(told_ops), .map = told_map, .opened = told_opened,
					 .closed = told_closed };

static void drivers_are_told(void)
{
	struct vmf_object *o;
	struct pair p;

	PRIVATE_EACH(p) {
		struct vmf_map m = { .size = sizeof(m), .pages = 2, .prot = VMF_R | VMF_W };
		vmf_va va;

		memset(&told, 0, sizeof(told));
		CHECK_ERR(vmf_object_create(p.r.port, &o, &told_ops, NULL, 2), 0);
		CHECK_ERR(vmf_map(p.r.space, o, &m, &va), 0);
		CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
		CHECK_EQ(told.mapped, 1);
		CHECK_EQ(told.opened, 2);
		CHECK_ERR(vmf_unmap(p.child, va, 2), 0);
		CHECK_EQ(told.closed, 1);
		vmf_object_put(o);
	}
}

static enum vmf_code copies(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct pair *p = req->object_priv;

	ans->why = VMF_WHY_POLICY;
	ans->err = vmf_space_copy(p->child, p->r.space);
	return VMF_SIGBUS;
}

static void what_is_refused(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = copies };
	struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = 1, .prot = VMF_R };
	struct vmf_object *o;
	struct pair p, other;
	uint8_t b;
	vmf_va va;

	pair_open_as(&p, VMF_BY_ADDRESS, true);
	pair_open_as(&other, VMF_BY_ADDRESS, true);
	CHECK_ERR(vmf_space_copy(NULL, p.r.space), -VMF_EINVAL);
	CHECK_ERR(vmf_space_copy(p.child, NULL), -VMF_EINVAL);
	CHECK_ERR(vmf_space_copy(p.r.space, p.r.space), -VMF_EINVAL);
	CHECK_ERR(vmf_space_copy(other.child, p.r.space), -VMF_EINVAL);
	pair_close(&other);
	CHECK_ERR(vmf_object_create(p.r.port, &o, &ops, &p, 1), 0);
	CHECK_ERR(vmf_map(p.r.space, o, &m, &va), 0);
	CHECK_EQ(vmf_sim_load(p.r.space, va, &b, 1).err, -VMF_EDEADLK);
	CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
	CHECK_ERR(vmf_space_copy(p.child, p.r.space), -VMF_EINVAL);
	vmf_object_put(o);
	pair_close(&p);
}

/* Each call of each kind that the copy makes fails once: nothing is left of it, and the original is whole. */
static void a_copy_that_fails(void)
{
	static const enum vmf_sim_point point[] = { VMF_SIM_ALLOC, VMF_SIM_ATTACH, VMF_SIM_CLEAN, VMF_SIM_REMOVE,
						    VMF_SIM_ENTER, VMF_SIM_SUPPLY };
	struct pair p;
	unsigned failed = 0;

	PRIVATE_EACH(p) {
		vmf_va va = map(&p, 0, PAGES), more = map(&p, 0, PAGES);
		uint64_t frames, live;

		for (unsigned i = 0; i < PAGES; i++) {
			store(p.r.space, page(va, i), (uint8_t)(10 + i));
			store(p.r.space, page(more, i), (uint8_t)(40 + i));
		}
		CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0); /* the reserves are what they will be */
		CHECK_ERR(vmf_unmap(p.child, VMF_SIM_LOWEST, 65536), 0);
		frames = rig_free_frames(&p.r);
		live = vmf_sim_live(p.r.sim);
		for (unsigned k = 0; k < sizeof(point) / sizeof(point[0]); k++)
			for (uint32_t n = 1;; n++) {
				uint64_t calls = vmf_sim_calls(p.r.sim, point[k]);
				int err;

				vmf_sim_fail(p.r.sim, point[k], n, -VMF_ENOMEM);
				err = vmf_space_copy(p.child, p.r.space);
				if (vmf_sim_calls(p.r.sim, point[k]) - calls < n) {
					CHECK_ERR(err, 0);
					vmf_sim_fail(p.r.sim, point[k], 0, 0);
					CHECK_ERR(vmf_unmap(p.child, VMF_SIM_LOWEST, 65536), 0);
					break;
				}
				failed += err != 0;
				if (!err)
					CHECK_ERR(vmf_unmap(p.child, VMF_SIM_LOWEST, 65536), 0);
				CHECK_EQ(byte(p.child, va), -(int)VMF_SIGSEGV);
				CHECK_EQ(rig_free_frames(&p.r), frames);
				CHECK(vmf_sim_live(p.r.sim) <= live);
				for (unsigned i = 0; i < PAGES; i++)
					CHECK_EQ(byte(p.r.space, page(va, i)), 10 + (int)i);
				store(p.r.space, page(va, n % PAGES) + 1, 1);
			}
	}
	CHECK(failed > 10);
}

/* ------------------------------------------------------------------------------------------- at work */

#define COUNTERS 8u
static struct {
	struct vmf_space *space;
	vmf_va va;
	_Atomic bool stop;
	_Atomic unsigned written;
} writer;

/* Counts in pages of its own, one after the other. */
static void *writes(void *arg)
{
	(void)arg;
	for (unsigned n = 1; !writer.stop; n++) {
		for (unsigned i = 0; i < COUNTERS; i++)
			CHECK_OK(vmf_sim_store(writer.space, page(writer.va, i), &n, sizeof(n)));
		writer.written = n;
	}
	return NULL;
}

/* Copies are of some moment: page i is never older than page i + 1 by more than a round, and stays what it was. */
static void copies_while_others_write(void)
{
	struct pair p;

	for (int protect = 0; protect < 2; protect++) {
		pthread_t thread;
		unsigned a, b;

		pair_open_as(&p, VMF_BY_ADDRESS, protect);
		writer.space = p.r.space;
		writer.va = map(&p, 0, PAGES);
		writer.stop = false;
		writer.written = 0;
		CHECK(!pthread_create(&thread, NULL, writes, NULL));
		while (!writer.written)
			(void)sched_yield();
		for (unsigned round = 0; round < 200; round++) {
			unsigned seen[COUNTERS];

			CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
			for (unsigned i = 0; i < COUNTERS; i++)
				CHECK_OK(vmf_sim_load(p.child, page(writer.va, i), &seen[i], sizeof(seen[i])));
			for (unsigned i = 0; i + 1 < COUNTERS; i++) {
				a = seen[i];
				b = seen[i + 1];
				CHECK(a == b || a == b + 1);
			}
			CHECK_OK(vmf_sim_load(p.child, writer.va, &a, sizeof(a)));
			CHECK_EQ(a, seen[0]);
			CHECK_ERR(vmf_unmap(p.child, VMF_SIM_LOWEST, 65536), 0);
		}
		writer.stop = true;
		pthread_join(thread, NULL);
		for (unsigned i = 0; i < COUNTERS; i++) {
			CHECK_OK(vmf_sim_load(p.r.space, page(writer.va, i), &a, sizeof(a)));
			CHECK_EQ(a, writer.written);
		}
		pair_close(&p);
	}
}

static enum vmf_code mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)ans;
	++*(unsigned *)req->object_priv;
	return VMF_OK;
}

/* What is mapped raw is not entered in the copy, so its first write there is a fault, too. */
static void writes_to_pfns_are_announced(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .mkwrite = mkwrite };
	struct vmf_map raw = { .size = sizeof(raw), .flags = VMF_SHARED, .pages = 1, .prot = VMF_R,
			       .maxprot = VMF_R | VMF_W, .action = VMF_RAW, .raw = { VMF_SIM_DEVICE + 3 },
			       .attr = { .type = VMF_UC } };
	unsigned announced = 0;
	struct vmf_object *o;
	struct pair p;
	vmf_va va;

	pair_open_as(&p, VMF_BY_ADDRESS, true);
	CHECK_ERR(vmf_object_create(p.r.port, &o, &ops, &announced, 1), 0);
	CHECK_ERR(vmf_map(p.r.space, o, &raw, &va), 0);
	CHECK_ERR(vmf_protect(p.r.space, va, 1, VMF_R | VMF_W), 0);
	CHECK_ERR(vmf_space_copy(p.child, p.r.space), 0);
	store(p.child, va, 7);
	CHECK_EQ(announced, 1);
	CHECK_EQ(*(uint8_t *)vmf_sim_device(p.r.sim, 3), 7);
	vmf_object_put(o);
	pair_close(&p);
}

/* A pmap without entries, whose platform copies on write. */
static int cow_attach(struct vmf_pmap *pmap, struct vmf_map *m, vmf_pfn segment, bool wants_raw, struct vmf_window *w)
{
	(void)pmap, (void)m, (void)segment, (void)wants_raw;
	w->cow = true;
	return 0;
}

static int cow_detach(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, struct vmf_gather *g)
{
	return (void)pmap, (void)va, (void)pages, (void)g, 0;
}

static long cow_enter(struct vmf_pmap *pmap, const struct vmf_run *run) { return (void)pmap, (void)run, -VMF_ENOSYS; }

static int cow_protect(struct vmf_pmap *pmap, vmf_va va, uint64_t pages, unsigned prot)
{
	return (void)pmap, (void)va, (void)pages, (void)prot, 0;
}

static void another_kind_of_window(void)
{
	static const struct vmf_pmap_ops ops = { .size = sizeof(ops), .attach = cow_attach, .detach = cow_detach,
						 .enter = cow_enter, .remove = cow_detach, .protect = cow_protect };
	struct vmf_pmap pmap = { .ops = &ops };
	struct vmf_space *child;
	struct pair p;

	pair_open_as(&p, VMF_BY_ADDRESS, true);
	store(p.r.space, map(&p, 0, PAGES), 1);
	CHECK_ERR(vmf_space_create(p.r.port, &child, &pmap), 0);
	CHECK_ERR(vmf_space_copy(child, p.r.space), -VMF_ENOSYS);
	CHECK_ERR(vmf_space_destroy(child), 0);
	pair_close(&p);
}

static const struct vmtest tests[] = {
	VMTEST(each_has_its_own_from_then_on),
	VMTEST(shared_areas_show_the_same),
	VMTEST(families),
	VMTEST(the_last_one_copies_nothing),
	VMTEST(pieces_and_their_protection),
	VMTEST(what_is_not_for_children),
	VMTEST(bolts_and_pfns),
	VMTEST(forgotten_bytes),
	VMTEST(drivers_are_told),
	VMTEST(what_is_refused),
	VMTEST(a_copy_that_fails),
	VMTEST(copies_while_others_write),
	VMTEST(writes_to_pfns_are_announced),
	VMTEST(another_kind_of_window),
};
VMTEST_MAIN(tests, 20)
