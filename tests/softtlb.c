/* SPDX-License-Identifier: MIT
 *
 * The software-TLB pmap, with one page and with a pair of pages to an entry, against a plain array and a made-up TLB of
 * sixteen slots, which checks at every write that no address gets two.  The core's side (locks, the gather) is made up
 * here too, so that the pmap is alone.
 */
#include "../pmap/softtlb.h"
#include "vmtest.h"

#define PAGE 4096u
#define BASE ((vmf_va)0x400000)
#define PAGES 1024u
#define SLOTS 16u
#define BOLTS 4u
#define RAM_PFN 0x1000u

/* ------------------------------------------------------------------------------------ the core's side */

struct vmf_gather {
	unsigned n;
	uint64_t pfn[PAGES];
};
static bool locked;

void vmf_gather_frame(struct vmf_gather *g, vmf_pfn pfn)
{
	CHECK(locked && g->n < PAGES);
	g->pfn[g->n++] = pfn.n;
}

void vmf_lock_take(struct vmf_port *port, struct vmf_lock *lock)
{
	(void)port;
	CHECK(!lock->word && !locked);
	lock->word = locked = true;
}

void vmf_lock_drop(struct vmf_port *port, struct vmf_lock *lock)
{
	(void)port;
	CHECK(lock->word && locked);
	lock->word = locked = false;
}

/* ------------------------------------------------------------------------------------------ the machine */

enum { HW_V = 1, HW_D = 2, HW_PFN_SHIFT = 8 };

static struct machine {
	struct { bool used; vmf_va va; uint64_t hw[2]; } slot[SLOTS];
	unsigned next;  /* where the next write that names no slot goes */
	unsigned writes, invalidates, refills, live;
	bool dry;       /* no memory for the reserve */
	struct vmf_softtlb tlb;
	struct vmf_gather gather;
} m;

static vmf_va entry_va(vmf_va va)
{
	return va & ~(((vmf_va)PAGE << m.tlb.cfg.pair) - 1);
}

static bool hw_encode(void *self, const struct vmf_entry *e, uint64_t *hw)
{
	(void)self;
	if (e->attr.type != VMF_WB && e->attr.type != VMF_DEVICE)
		return false;
	*hw = e->pfn.n << HW_PFN_SHIFT | (uint64_t)e->attr.type << 4 | (e->prot & VMF_W ? HW_D : 0) | HW_V;
	return true;
}

static int hw_probe(void *self, vmf_va va)
{
	(void)self;
	for (unsigned i = 0; i < SLOTS; i++)
		if (m.slot[i].used && m.slot[i].va == entry_va(va))
			return (int)i;
	return -1;
}

static void hw_write(void *self, int slot, vmf_va va, const uint64_t hw[2])
{
	int there = hw_probe(self, va);

	CHECK(va == entry_va(va));
	if (slot < 0)
		slot = (int)(BOLTS + m.next++ % (SLOTS - BOLTS));
	CHECK(there < 0 || there == slot);
	m.slot[slot].used = true;
	m.slot[slot].va = va;
	m.slot[slot].hw[0] = hw[0];
	m.slot[slot].hw[1] = hw[1];
	m.writes++;
}

static void hw_clear(void *self, int slot)
{
	(void)self;
	CHECK(slot >= 0 && (unsigned)slot < BOLTS);
	m.slot[slot].used = false;
}

static void hw_invalidate(void *self, vmf_va va, uint64_t pages)
{
	(void)self;
	m.invalidates++;
	for (unsigned i = BOLTS; i < SLOTS; i++)
		if (m.slot[i].va + (PAGE << m.tlb.cfg.pair) > va && m.slot[i].va < va + pages * PAGE)
			m.slot[i].used = false;
}

static void *take_memory(void *self, size_t bytes)
{
	(void)self;
	CHECK(!locked);
	m.live += !m.dry;
	return m.dry ? NULL : calloc(1, bytes);
}

static void give_memory(void *self, void *p, size_t bytes)
{
	(void)self;
	(void)bytes;
	m.live--;
	free(p);
}

/* A load or store: what the TLB says; on a miss, or if it forbids, once more after a refill.  0: a page fault, else the
 * pfn. */
static uint64_t cpu_access(unsigned page, unsigned access)
{
	vmf_va va = BASE + (vmf_va)page * PAGE;

	for (unsigned tries = 0;; tries++) {
		int slot = hw_probe(NULL, va);
		uint64_t hw = slot < 0 ? 0 : m.slot[slot].hw[(va - entry_va(va)) / PAGE];

		if (hw & HW_V && (access != VMF_W || hw & HW_D))
			return hw >> HW_PFN_SHIFT;
		CHECK(!tries);
		if (!vmf_softtlb_refill(&m.tlb, va, access))
			return 0;
		m.refills++;
	}
}

static void machine_open(unsigned pair, unsigned reserve)
{
	struct vmf_softtlb_config config = {
		.lo = BASE, .hi = BASE + (vmf_va)PAGES * PAGE, .page_shift = 12, .pair = (uint8_t)pair, .bolts = BOLTS,
		.reserve = reserve, .alloc = take_memory, .free = give_memory, .encode = hw_encode, .probe = hw_probe,
		.write = hw_write, .invalidate = hw_invalidate, .clear = hw_clear,
	};

	memset(&m, 0, sizeof(m));
	CHECK_ERR(vmf_softtlb_init(&m.tlb, &config), 0);
}

static struct vmf_run run_of(unsigned page, uint64_t pfn, uint32_t n, unsigned prot)
{
	return (struct vmf_run){ .va = BASE + (vmf_va)page * PAGE, .pfn = { pfn }, .n = n, .need = UINT32_MAX,
				 .prot = (uint8_t)prot };
}

static long enter(struct vmf_run run)
{
	return m.tlb.pmap.ops->enter(&m.tlb.pmap, &run);
}

static void remove_pages(unsigned page, unsigned n, bool detach)
{
	struct vmf_pmap *p = &m.tlb.pmap;
	vmf_va va = BASE + (vmf_va)page * PAGE;

	m.gather.n = 0;
	CHECK_ERR(detach ? p->ops->detach(p, va, n, &m.gather) : p->ops->remove(p, va, n, &m.gather), 0);
	p->ops->update(p);
}

static void supply(void)
{
	CHECK_ERR(m.tlb.pmap.ops->supply(&m.tlb.pmap), 0);
}

static int attach(unsigned page, unsigned n, unsigned action)
{
	struct vmf_map map = { .flags = VMF_FIXED, .va = BASE + (vmf_va)page * PAGE, .pages = n,
			       .action = (uint8_t)action };
	struct vmf_window w = { 0 };
	int err = m.tlb.pmap.ops->attach(&m.tlb.pmap, &map, (vmf_pfn){ 0 }, false, &w);

	CHECK(err || (w.store == VMF_BY_ADDRESS && w.protect && w.raw && w.orders == 1));
	CHECK(err || w.bolts == (action == VMF_BOLT ? n : 0));
	return err;
}

static int bolt(unsigned page)
{
	struct vmf_run run = run_of(page, 0, 1, VMF_R);

	return m.tlb.pmap.ops->bolt(&m.tlb.pmap, &run);
}

static bool in_bolt(unsigned page)
{
	int slot = hw_probe(NULL, BASE + (vmf_va)page * PAGE);

	return slot >= 0 && (unsigned)slot < BOLTS;
}

static void machine_close(void)
{
	remove_pages(0, PAGES, true);
	for (unsigned i = 0; i < SLOTS; i++)
		CHECK(!m.slot[i].used);
	vmf_softtlb_fini(&m.tlb);
	CHECK_EQ(m.live, 0);
}

/* ----------------------------------------------------------------------------------- against an array */

static struct { bool present, raw; uint64_t pfn; unsigned prot; } model[PAGES];
static uint64_t seed;

static unsigned below(unsigned n)
{
	return vmtest_random(&seed) % n;
}

static bool model_clashes(unsigned p, uint64_t pfn, bool raw)
{
	return model[p].present && (model[p].raw != raw || model[p].pfn != pfn);
}

static bool model_entered(unsigned p, uint64_t pfn, unsigned prot, bool raw)
{
	struct vmf_entry now;

	CHECK_ERR(m.tlb.pmap.ops->query(&m.tlb.pmap, BASE + (vmf_va)p * PAGE, &now), 0);
	if (model[p].present) {
		model[p].prot |= model_clashes(p, pfn, raw) ? 0 : prot;
		return false;
	}
	model[p].present = now.present;
	model[p].raw = raw;
	model[p].pfn = pfn;
	model[p].prot = prot;
	return now.present;
}

static void random_enter(unsigned at, unsigned n, unsigned prot, bool raw)
{
	struct vmf_run run = run_of(at, RAM_PFN + (below(8) ? 0 : 7) + at, raw ? n : 1, prot);
	long got, new = 0;

	run.need = below(run.n);
	run.flags = raw ? VMF_RUN_RAW : 0;
	got = enter(run);
	if (got == -VMF_ENOMEM) {
		CHECK(!m.tlb.spare && !model[at + run.need].present);
		supply();
		return;
	}
	if (model_clashes(at + run.need, run.pfn.n + run.need, raw)) {
		CHECK_EQ(got, -VMF_EEXIST);
		return;
	}
	for (unsigned i = 0; i < run.n; i++)
		new += model_entered(at + i, run.pfn.n + i, prot, raw);
	CHECK_EQ(got, new);
	CHECK(model[at + run.need].present);
}

static void random_sweep(unsigned at, unsigned n, bool gone, bool detach, unsigned allow)
{
	struct vmf_pmap *p = &m.tlb.pmap;
	unsigned frames = 0;

	if (gone) {
		remove_pages(at, n, detach);
	} else {
		CHECK_ERR(p->ops->protect(p, BASE + (vmf_va)at * PAGE, n, allow), 0);
		p->ops->update(p);
	}
	for (unsigned i = at; i < at + n; i++) {
		frames += model[i].present && !model[i].raw;
		model[i].prot &= allow;
		model[i].present &= !gone;
	}
	CHECK(!gone || m.gather.n == frames);
}

static void random_bolt(unsigned at)
{
	int got = bolt(at);

	CHECK(got == -VMF_ENOSPC || got == 0 || got == 1);
	CHECK(got < 0 || !model[at].present || in_bolt(at));
	if (below(2))
		CHECK_ERR(m.tlb.pmap.ops->unbolt(&m.tlb.pmap, BASE + (vmf_va)below(PAGES) * PAGE, below(PAGES) + 1), 0);
}

static void random_step(void)
{
	unsigned op = below(16), at = below(PAGES), n = below(op < 13 ? 6 : PAGES) + 1;
	unsigned prot = below(2) ? VMF_R : VMF_R | VMF_W;

	n = n < PAGES - at ? n : PAGES - at;
	if (op < 8)
		random_enter(at, n, prot, op < 4);
	else if (op < 11 || op == 13)
		random_sweep(at, n, true, op == 11, 7);
	else if (op < 13)
		random_sweep(at, n, false, false, below(3) ? VMF_R : 0);
	else if (op == 14)
		supply();
	else
		random_bolt(at);
}

static void random_against_array(void)
{
	for (unsigned pair = 0; pair < 2; pair++) {
		seed = pair + 1;
		machine_open(pair, 16);
		memset(model, 0, sizeof(model));
		for (unsigned step = 0; step < 30000; step++) {
			random_step();
			for (unsigned i = 0; i < PAGES; i += step % 64 ? 1 + below(97) : 1) {
				unsigned access = below(2) ? VMF_R : VMF_W;
				bool allowed = model[i].present && model[i].prot & access;

				CHECK_EQ(cpu_access(i, access), allowed ? model[i].pfn : 0);
			}
			for (unsigned i = 0; i < BOLTS; i++)
				CHECK(!m.tlb.bolt[i].wired || m.slot[i].va == m.tlb.bolt[i].va);
		}
		machine_close();
	}
}

/* --------------------------------------------------------------------------------------------- the rules */

/* The neighbour in a pair comes when the entry is in the TLB already: it is written over, not beside. */
static void pairs(void)
{
	struct vmf_run one = run_of(6, RAM_PFN, 1, VMF_R), other = run_of(7, RAM_PFN + 9, 1, VMF_R | VMF_W);

	machine_open(1, 4);
	supply();
	one.need = other.need = 0;
	CHECK_EQ(enter(one), 1);
	CHECK(cpu_access(6, VMF_R) == RAM_PFN && !cpu_access(7, VMF_R));
	CHECK_EQ(enter(other), 1);
	CHECK_EQ(m.refills, 0); /* the fault's page needs no second trap */
	CHECK(cpu_access(7, VMF_W) == RAM_PFN + 9 && cpu_access(6, VMF_R) == RAM_PFN && !cpu_access(6, VMF_W));
	remove_pages(6, 1, false);
	CHECK(m.gather.n == 1 && !cpu_access(6, VMF_R) && cpu_access(7, VMF_R) == RAM_PFN + 9);
	machine_close();
}

static void dirty_by_trap(void)
{
	struct vmf_run run = run_of(3, RAM_PFN, 1, VMF_R);

	machine_open(1, 4);
	supply();
	CHECK_EQ(enter(run), 1);
	CHECK(cpu_access(3, VMF_R) && !cpu_access(3, VMF_W));
	run.prot |= VMF_W;
	run.flags = VMF_RUN_WP;
	CHECK_EQ(enter(run), 0);
	CHECK(cpu_access(3, VMF_W));
	CHECK_ERR(m.tlb.pmap.ops->protect(&m.tlb.pmap, BASE, PAGES, VMF_R), 0); /* clean again */
	m.tlb.pmap.ops->update(&m.tlb.pmap);
	CHECK(cpu_access(3, VMF_R) && !cpu_access(3, VMF_W));
	machine_close();
}

static void update_ends_it(void)
{
	struct vmf_pmap *p = &m.tlb.pmap;

	machine_open(1, 4);
	supply();
	CHECK_EQ(enter(run_of(9, RAM_PFN, 1, VMF_R)), 1);
	CHECK(cpu_access(9, VMF_R));
	CHECK_ERR(p->ops->remove(p, BASE + 9 * PAGE, 1, &m.gather), 0);
	CHECK(cpu_access(9, VMF_R) && !m.invalidates);
	p->ops->update(p);
	CHECK(!cpu_access(9, VMF_R) && m.invalidates == 1);
	p->ops->update(p);
	CHECK_EQ(m.invalidates, 1);
	machine_close();
}

static void empty_reserve(void)
{
	struct vmf_run run = run_of(0, RAM_PFN, PAGES, VMF_R);
	long got;

	machine_open(1, 1);
	CHECK_EQ(enter(run_of(0, RAM_PFN, 1, VMF_R)), -VMF_ENOMEM);
	m.dry = true;
	CHECK_EQ(m.tlb.pmap.ops->supply(&m.tlb.pmap), -VMF_ENOMEM);
	m.dry = false;
	supply();
	run.flags = VMF_RUN_RAW;
	run.need = 900;
	got = enter(run);
	CHECK(got > 0 && got < PAGES && cpu_access(900, VMF_R) && cpu_access(901, VMF_R));
	run.need = UINT32_MAX;
	CHECK_EQ(enter(run), -VMF_ENOMEM);
	machine_close();
}

/* Entries of pages that have gone are used again. */
static void entries_return(void)
{
	machine_open(1, 1);
	supply();
	for (unsigned i = 0; i < PAGES; i++) {
		CHECK_EQ(enter(run_of(i, RAM_PFN + i, 1, VMF_R)), 1);
		remove_pages(i, 1, false);
	}
	CHECK_EQ(m.live, 1);
	machine_close();
}

static void what_is_refused(void)
{
	struct vmf_run run = run_of(0, RAM_PFN, 1, VMF_R);
	struct vmf_softtlb_config config;

	machine_open(1, 4);
	supply();
	run.attr.type = VMF_WC;
	CHECK_EQ(enter(run), -VMF_ENOSYS);
	run = run_of(0, RAM_PFN, 1, VMF_R);
	run.flags = VMF_RUN_ZERO;
	CHECK_EQ(enter(run), -VMF_ENOSYS);
	run = run_of(0, RAM_PFN, 2, VMF_R);
	run.order = 1;
	CHECK_EQ(enter(run), -VMF_ENOSYS);
	CHECK_ERR(attach(0, PAGES, VMF_LAZY), 0);
	CHECK_ERR(attach(0, PAGES + 1, VMF_LAZY), -VMF_EINVAL);
	CHECK_ERR(attach(PAGES, 1, VMF_LAZY), -VMF_EINVAL);
	config = m.tlb.cfg;
	machine_close();
	config.pair = 2;
	CHECK_ERR(vmf_softtlb_init(&m.tlb, &config), -VMF_EINVAL);
	config.pair = 1;
	config.bolts = VMF_SOFTTLB_BOLTS + 1;
	CHECK_ERR(vmf_softtlb_init(&m.tlb, &config), -VMF_EINVAL);
}

/* ------------------------------------------------------------------------------------------------ bolts */

/* A bolted entry stays while all the others come and go, and follows what its pages become. */
static void bolts_stay(void)
{
	machine_open(1, 4);
	supply();
	CHECK_ERR(attach(4, 3, VMF_BOLT), 0);
	for (unsigned i = 0; i < 200; i++) {
		if (!m.tlb.spare)
			supply();
		CHECK_EQ(enter(run_of(i, RAM_PFN + i, 1, VMF_R)), 1);
	}
	CHECK(in_bolt(4) && in_bolt(6) && !in_bolt(2) && !in_bolt(8));
	for (unsigned i = 0; i < 200; i++)
		CHECK_EQ(cpu_access(i, VMF_R), RAM_PFN + i);
	m.refills = 0;
	for (unsigned i = 4; i < 7; i++)
		CHECK_EQ(cpu_access(i, VMF_R), RAM_PFN + i);
	CHECK_EQ(m.refills, 0);
	remove_pages(4, 1, false);
	CHECK(!cpu_access(4, VMF_R) && cpu_access(5, VMF_R) == RAM_PFN + 5);
	CHECK_EQ(enter(run_of(4, RAM_PFN + 77, 1, VMF_R)), 1);
	CHECK(in_bolt(4) && cpu_access(4, VMF_R) == RAM_PFN + 77);
	remove_pages(4, 3, true);
	CHECK(!in_bolt(4) && !in_bolt(6));
	machine_close();
}

static void bolts_are_counted(void)
{
	machine_open(1, 4);
	supply();
	CHECK_ERR(attach(0, 2 * BOLTS + 1, VMF_BOLT), -VMF_ENOSPC);
	CHECK_ERR(attach(1, 2 * BOLTS, VMF_BOLT), -VMF_ENOSPC); /* that would be one pair more */
	CHECK_ERR(attach(40, 2 * BOLTS, VMF_BOLT), 0);          /* and nothing was kept of the two before */
	remove_pages(40, 2 * BOLTS, true);
	CHECK_ERR(attach(0, 2 * BOLTS - 1, VMF_BOLT), 0);
	CHECK_EQ(enter(run_of(100, RAM_PFN, 1, VMF_R)), 1);
	CHECK_ERR(bolt(100), -VMF_ENOSPC);
	CHECK_ERR(attach(2 * BOLTS - 1, 1, VMF_BOLT), 0); /* the other half of a pair that has a bolt */
	remove_pages(0, 2 * BOLTS - 1, true);
	CHECK_ERR(attach(10, 2 * BOLTS - 2, VMF_BOLT), 0);
	CHECK_ERR(attach(30, 1, VMF_BOLT), -VMF_ENOSPC);
	remove_pages(2 * BOLTS - 1, 1, true);
	CHECK_ERR(attach(30, 1, VMF_BOLT), 0);
	machine_close();
}

static void bolts_at_fault_time(void)
{
	struct vmf_pmap *p = &m.tlb.pmap;

	machine_open(1, 8);
	supply();
	for (unsigned i = 0; i <= 2 * BOLTS; i += 2) {
		if (i % 4) /* before the entry, or after it */
			CHECK_EQ(enter(run_of(i, RAM_PFN + i, 1, VMF_R)), 1);
		CHECK_ERR(bolt(i), i < 2 * BOLTS ? 1 : -VMF_ENOSPC);
		if (i % 4 == 0)
			CHECK_EQ(enter(run_of(i, RAM_PFN + i, 1, VMF_R)), 1);
		CHECK_EQ(in_bolt(i), i < 2 * BOLTS);
	}
	CHECK_ERR(bolt(2), 0); /* it is */
	CHECK_ERR(bolt(3), 1); /* the other half, in the same slot */
	CHECK_ERR(p->ops->unbolt(p, BASE + 2 * PAGE, 1), 0);
	CHECK(in_bolt(2)); /* for the other half */
	CHECK_ERR(p->ops->unbolt(p, BASE + 2 * PAGE, 2), 0);
	CHECK(!in_bolt(2) && cpu_access(2, VMF_R) == RAM_PFN + 2 && !in_bolt(2));
	CHECK_ERR(p->ops->unbolt(p, BASE + 2 * PAGE, 1), 0);
	CHECK_ERR(bolt(2 * BOLTS), 1);
	CHECK(in_bolt(2 * BOLTS));
	machine_close();
}

/* An entry that is replaced comes back into its bolt; giving bolts back spares what was reserved. */
static void bolts_are_the_addresses(void)
{
	struct vmf_pmap *p = &m.tlb.pmap;

	machine_open(1, 8);
	supply();
	CHECK_ERR(attach(0, 2, VMF_BOLT), 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(enter(run_of(i, RAM_PFN + i, 1, VMF_R)), 1);
	CHECK_ERR(bolt(0), 0);
	CHECK_ERR(bolt(2), 1);
	remove_pages(2, 1, false);
	CHECK(!cpu_access(2, VMF_R));
	CHECK_EQ(enter(run_of(2, RAM_PFN + 50, 1, VMF_R)), 1);
	CHECK(in_bolt(2) && cpu_access(2, VMF_R) == RAM_PFN + 50);
	CHECK_ERR(p->ops->unbolt(p, BASE, 4), 0);
	CHECK(in_bolt(0) && !in_bolt(2));
	machine_close();
}

static const struct vmtest tests[] = {
	VMTEST(random_against_array), VMTEST(pairs), VMTEST(dirty_by_trap), VMTEST(update_ends_it),
	VMTEST(empty_reserve), VMTEST(entries_return), VMTEST(what_is_refused), VMTEST(bolts_stay),
	VMTEST(bolts_are_the_addresses), VMTEST(bolts_are_counted), VMTEST(bolts_at_fault_time),
};
VMTEST_MAIN(tests, 20)
