/* SPDX-License-Identifier: MIT
 *
 * Radix page tables, of three descriptions, against a plain array and a made-up CPU: it walks the tables, remembers
 * what it found (leaves, tables and, where the description says so, absence), and forgets nothing but what is flushed.
 * The core's side (locks, the gather) is made up here too, so that the pmap is alone.
 */
#include "../pmap/ptwalk.h"
#include "../ports/riscv64/sv39.h"
#include "vmtest.h"

#define PAGE 4096u
#define BASE ((vmf_va)0x1000000000)
#define PAGES 2048u  /* four tables of pages */
#define POOL 64u     /* pages for tables */
#define POOL_PFN 0x90000u
#define RAM_PFN 0x100000u

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

/* ------------------------------------------------------------------------------------- descriptions */

enum {
	X86_P = 1, X86_W = 2, X86_PWT = 8, X86_PCD = 16, X86_A = 32, X86_D = 64, X86_PS = 128, X86_RAW = 1 << 9,
	X86_HELD = 1 << 10
};
#define X86_NX ((uintptr_t)1 << 63)
#define PFN_MASK (((uintptr_t)1 << 52) - PAGE)

static uintptr_t x86_table(vmf_pfn pfn)
{
	return (uintptr_t)pfn.n << 12 | X86_P | X86_W;
}

static bool x86_encode(void *self, const struct vmf_entry *e, unsigned level, uintptr_t *out)
{
	static const uint8_t cache[] = { [VMF_WB] = 0, [VMF_WT] = X86_PWT, [VMF_UC] = X86_PCD | X86_PWT };

	(void)self;
	if (e->attr.type != VMF_WB && e->attr.type != VMF_WT && e->attr.type != VMF_UC)
		return false;
	*out = (uintptr_t)e->pfn.n << 12 | (e->prot ? X86_P | X86_A : X86_HELD) | (e->raw ? X86_RAW : 0) |
	       (e->prot & VMF_W ? X86_W | X86_D : 0) | (e->prot & VMF_X ? 0 : X86_NX) | (level ? X86_PS : 0) |
	       cache[e->attr.type];
	return true;
}

static enum vmf_ptwalk_kind x86_decode(void *self, uintptr_t entry, unsigned level, struct vmf_entry *e)
{
	(void)self;
	*e = (struct vmf_entry){ .pfn = { (entry & PFN_MASK) >> 12 }, .raw = entry & X86_RAW };
	if (level && !(entry & X86_PS))
		return VMF_PTWALK_TABLE;
	e->attr.type = entry & X86_PCD ? VMF_UC : entry & X86_PWT ? VMF_WT : VMF_WB;
	if (!(entry & X86_HELD))
		e->prot = (uint8_t)(VMF_R | (entry & X86_W ? VMF_W : 0) | (entry & X86_NX ? 0 : VMF_X));
	return VMF_PTWALK_LEAF;
}

static const struct vmf_ptwalk_format x86_64 = {
	.page_shift = 12, .levels = 4, .bits = { 9, 9, 9, 9 }, .leaves = 7,
	.table = x86_table, .encode = x86_encode, .decode = x86_decode,
};

enum { ARM_VALID = 1, ARM_TABLE = 2, ARM_ATTR_SHIFT = 2, ARM_RO = 1 << 7, ARM_AF = 1 << 10 };
#define ARM_XN ((uintptr_t)3 << 53)
#define ARM_RAW ((uintptr_t)1 << 55)
#define ARM_HELD ((uintptr_t)1 << 56)

static uintptr_t arm_table(vmf_pfn pfn)
{
	return (uintptr_t)pfn.n << 12 | ARM_VALID | ARM_TABLE;
}

static bool arm_encode(void *self, const struct vmf_entry *e, unsigned level, uintptr_t *out)
{
	(void)self;
	if (e->attr.type == VMF_UC)
		return false;
	*out = (uintptr_t)e->pfn.n << 12 | (e->prot ? ARM_VALID : ARM_HELD) | (level ? 0 : ARM_TABLE) | ARM_AF |
	       (uintptr_t)e->attr.type << ARM_ATTR_SHIFT | (e->prot & VMF_W ? 0 : ARM_RO) |
	       (e->prot & VMF_X ? 0 : ARM_XN) | (e->raw ? ARM_RAW : 0);
	return true;
}

static enum vmf_ptwalk_kind arm_decode(void *self, uintptr_t entry, unsigned level, struct vmf_entry *e)
{
	(void)self;
	*e = (struct vmf_entry){ .pfn = { (entry & (((uintptr_t)1 << 48) - PAGE)) >> 12 }, .raw = entry & ARM_RAW };
	if (level && entry & ARM_TABLE)
		return VMF_PTWALK_TABLE;
	e->attr.type = (uint8_t)(entry >> ARM_ATTR_SHIFT & 7);
	if (!(entry & ARM_HELD))
		e->prot = (uint8_t)(VMF_R | (entry & ARM_RO ? 0 : VMF_W) | (entry & ARM_XN ? 0 : VMF_X));
	return VMF_PTWALK_LEAF;
}

static const struct vmf_ptwalk_format aarch64 = {
	.page_shift = 12, .levels = 4, .bits = { 9, 9, 9, 9 }, .leaves = 7,
	.table = arm_table, .encode = arm_encode, .decode = arm_decode,
};

static const struct vmf_ptwalk_format *const formats[] = { &vmf_sv39, &x86_64, &aarch64 };

/* ------------------------------------------------------------------------------------------ the machine */

static struct machine {
	uintptr_t root[512], page[POOL][512];
	bool taken[POOL];
	unsigned live, limit; /* tables handed out, and at most */
	unsigned flushes;
	/* What the CPU remembers: of each page, and of the table that holds each entry of the lowest level but one. */
	struct { bool known; struct vmf_entry e; } tlb[PAGES];
	const uintptr_t *table[PAGES / 512];
	struct vmf_sv39_memory memory;
	struct vmf_ptwalk walk;
	struct vmf_gather gather;
	const struct vmf_ptwalk_format *format;
} m;

static void *table_bytes(void *self, vmf_pfn pfn)
{
	(void)self;
	CHECK(pfn.n >= POOL_PFN && pfn.n < POOL_PFN + POOL && m.taken[pfn.n - POOL_PFN]);
	return m.page[pfn.n - POOL_PFN];
}

static bool table_take(void *self, vmf_pfn *pfn)
{
	unsigned i = 0;

	(void)self;
	CHECK(!locked);
	if (m.live == m.limit)
		return false;
	while (m.taken[i])
		i++;
	m.taken[i] = true;
	m.live++;
	pfn->n = POOL_PFN + i;
	return true;
}

static void table_give(void *self, vmf_pfn pfn)
{
	uintptr_t *table = table_bytes(self, pfn);

	for (unsigned i = 0; i < 512; i++)
		CHECK(!table[i]);
	m.taken[pfn.n - POOL_PFN] = false;
	m.live--;
}

static void flush(void *self, vmf_va va, uint64_t pages, bool tables)
{
	uint64_t first = (va - BASE) / PAGE;

	(void)self;
	m.flushes++;
	for (unsigned i = 0; i < PAGES; i++)
		if (i >= first && i - first < pages) {
			m.tlb[i].known = false;
			if (tables)
				m.table[i / 512] = NULL;
		}
}

/* By the manual: nine bits of address for each level. */
static const uintptr_t *cpu_table(vmf_va va, struct vmf_entry *huge)
{
	const uintptr_t *table = m.root;

	for (unsigned level = m.format->levels - 1u; level; level--) {
		uintptr_t entry = table[va >> (12 + 9 * level) & 511];
		struct vmf_entry e;

		if (!entry)
			return NULL;
		if (m.format->decode(&m.memory, entry, level, &e) == VMF_PTWALK_LEAF) {
			*huge = e;
			huge->present = true;
			huge->pfn.n += (va >> 12) & (((uint64_t)1 << 9 * level) - 1);
			return NULL;
		}
		table = table_bytes(NULL, e.pfn);
	}
	return table;
}

/* What the CPU believes of a page, from memory or by walking. */
static struct vmf_entry cpu_look(unsigned i)
{
	vmf_va va = BASE + (vmf_va)i * PAGE;
	struct vmf_entry e = { .present = false };

	if (m.tlb[i].known)
		return m.tlb[i].e;
	if (!m.table[i / 512])
		m.table[i / 512] = cpu_table(va, &e);
	if (m.table[i / 512]) {
		uintptr_t entry = m.table[i / 512][i % 512];

		if (entry) {
			m.format->decode(&m.memory, entry, 0, &e);
			e.present = true;
		}
	}
	m.tlb[i].known = e.present || m.format->absent_cached;
	m.tlb[i].e = e;
	return e;
}

static void machine_open(const struct vmf_ptwalk_format *format, unsigned reserve)
{
	struct vmf_ptwalk_config config = {
		.format = format, .self = &m.memory, .lo = BASE, .hi = BASE + (vmf_va)PAGES * PAGE, .root = m.root,
		.reserve = reserve, .take = table_take, .give = table_give, .bytes = table_bytes, .flush = flush,
	};

	memset(&m, 0, sizeof(m));
	m.limit = POOL;
	m.format = format;
	m.memory = (struct vmf_sv39_memory){ { RAM_PFN }, 1 << 20 };
	CHECK_ERR(vmf_ptwalk_init(&m.walk, &config), 0);
}

static struct vmf_run run_of(unsigned page, uint64_t pfn, uint32_t n, unsigned prot)
{
	return (struct vmf_run){ .va = BASE + (vmf_va)page * PAGE, .pfn = { pfn }, .n = n, .need = UINT32_MAX,
				 .prot = (uint8_t)prot };
}

static long enter(struct vmf_run run)
{
	return m.walk.pmap.ops->enter(&m.walk.pmap, &run);
}

static void remove_pages(unsigned page, unsigned n, bool detach)
{
	struct vmf_pmap *p = &m.walk.pmap;
	vmf_va va = BASE + (vmf_va)page * PAGE;

	m.gather.n = 0;
	CHECK_ERR(detach ? p->ops->detach(p, va, n, &m.gather) : p->ops->remove(p, va, n, &m.gather), 0);
	p->ops->update(p);
}

static void supply(void)
{
	CHECK_ERR(m.walk.pmap.ops->supply(&m.walk.pmap), 0);
}

static void machine_close(void)
{
	remove_pages(0, PAGES, true);
	CHECK_EQ(m.live, m.walk.spare);
	for (unsigned i = 0; i < 512; i++)
		CHECK(!m.root[i]);
	vmf_ptwalk_fini(&m.walk);
	CHECK_EQ(m.live, 0);
}

/* --------------------------------------------------------------------------------------------- cases */

/* What every page should be. */
static struct { bool present, raw; uint64_t pfn; unsigned prot, order; } model[PAGES];
static uint64_t seed;

static unsigned below(unsigned n)
{
	return vmtest_random(&seed) % n;
}

static bool model_clashes(unsigned p, uint64_t pfn, unsigned prot, bool raw)
{
	bool more = prot & ~model[p].prot;

	return model[p].present && (model[p].raw != raw || model[p].pfn != pfn || (more && model[p].order));
}

/* Page p after an entering that asked for it; is it new? */
static bool model_entered(unsigned p, uint64_t pfn, unsigned prot, bool raw)
{
	struct vmf_entry now;

	CHECK_ERR(m.walk.pmap.ops->query(&m.walk.pmap, BASE + (vmf_va)p * PAGE, &now), 0);
	if (model[p].present) {
		model[p].prot |= model_clashes(p, pfn, prot, raw) ? 0 : prot;
		return false;
	}
	model[p].present = now.present;
	model[p].raw = raw;
	model[p].pfn = pfn;
	model[p].prot = prot;
	return now.present;
}

/* A raw run, or a frame; where something is, mostly the same again. */
static void random_enter(unsigned at, unsigned n, unsigned prot, bool raw)
{
	struct vmf_run run = run_of(at, RAM_PFN + (below(8) ? 0 : 7) + at, raw ? n : 1, prot);
	long got, new = 0;

	run.need = below(run.n);
	run.flags = raw ? VMF_RUN_RAW : 0;
	got = enter(run);
	if (got == -VMF_ENOMEM) {
		CHECK(m.walk.spare < m.format->levels - 1u && !model[at + run.need].present);
		supply();
		return;
	}
	if (model_clashes(at + run.need, run.pfn.n + run.need, prot, raw)) {
		CHECK_EQ(got, -VMF_EEXIST);
		return;
	}
	for (unsigned i = 0; i < run.n; i++)
		new += model_entered(at + i, run.pfn.n + i, prot, raw);
	CHECK_EQ(got, new);
	CHECK(model[at + run.need].present);
}

static void random_huge(unsigned at, unsigned prot)
{
	unsigned head = at & ~511u;
	struct vmf_run run = run_of(head, RAM_PFN + head, 512, prot);
	bool room = true;
	long got;

	run.order = 9;
	got = enter(run);
	if (got == -VMF_ENOMEM) {
		supply();
		return;
	}
	for (unsigned i = 0; i < 512; i++)
		room &= !model[head + i].present;
	if (got < 0) { /* pages are there; a table where some were is no hindrance */
		CHECK(got == -VMF_EEXIST && !room);
		return;
	}
	CHECK(got == 512 ? room : got == 0 && model[head].order == 9 && !model[head].raw);
	for (unsigned i = 0; i < 512; i++) {
		model[head + i].prot = (got ? 0 : model[head + i].prot) | prot;
		model[head + i].present = true;
		model[head + i].raw = false;
		model[head + i].pfn = RAM_PFN + head + i;
		model[head + i].order = 9;
	}
}

/* A huge page goes, and loses permissions, as a whole. */
static void random_sweep(unsigned at, unsigned n, bool gone, bool detach, unsigned allow)
{
	struct vmf_pmap *p = &m.walk.pmap;
	unsigned frames = 0;

	if (gone) {
		remove_pages(at, n, detach);
	} else {
		CHECK_ERR(p->ops->protect(p, BASE + (vmf_va)at * PAGE, n, allow), 0);
		p->ops->update(p);
	}
	for (unsigned i = at; i < at + n; i++) {
		unsigned head = model[i].order ? i & ~511u : i, last = model[i].order ? head + 511 : i;

		frames += model[i].present && !model[i].raw;
		for (unsigned k = head; k <= last; k++) {
			model[k].prot &= allow;
			model[k].present &= !gone;
			model[k].order = gone ? 0 : model[k].order;
		}
	}
	CHECK(!gone || m.gather.n == frames);
}

static void random_step(void)
{
	unsigned op = below(16), at = below(PAGES), n = below(op < 10 ? 12 : 700) + 1;
	unsigned prot = below(2) ? VMF_R : VMF_R | VMF_W;

	n = n < PAGES - at ? n : PAGES - at;
	if (op < 7)
		random_enter(at, n, prot, op < 4);
	else if (op == 7)
		random_huge(at, prot);
	else if (op < 11 || op == 14)
		random_sweep(at, n, true, op == 14, 7);
	else if (op < 14)
		random_sweep(at, n, false, false, below(3) ? VMF_R : 0);
	else
		supply();
}

static void random_against_array(void)
{
	seed = 1;
	for (unsigned f = 0; f < 3; f++) {
		machine_open(formats[f], 6);
		memset(model, 0, sizeof(model));
		for (unsigned step = 0; step < 20000; step++) {
			random_step();
			/* The CPU looks here and there all the time, and now and then everywhere. */
			for (unsigned i = 0; i < PAGES; i += step % 64 ? 1 + below(97) : 1) {
				struct vmf_entry e = cpu_look(i);

				CHECK_EQ(e.present, model[i].present);
				if (e.present)
					CHECK(e.pfn.n == model[i].pfn && e.prot == model[i].prot && e.raw == model[i].raw);
			}
		}
		machine_close();
	}
}

/* Absence that the CPU remembers must not survive an entering. */
static void fence_after_entering(void)
{
	machine_open(&vmf_sv39, 4);
	supply();
	CHECK(!cpu_look(5).present);
	CHECK_EQ(enter(run_of(5, RAM_PFN + 5, 1, VMF_R)), 1);
	CHECK(cpu_look(5).present);
	machine_close();
	machine_open(&x86_64, 4);
	supply();
	CHECK_EQ(enter(run_of(5, RAM_PFN + 5, 1, VMF_R)), 1);
	CHECK_EQ(m.flushes, 0); /* it remembers no absence, so nobody pays for it */
	machine_close();
}

static void upgrade_is_seen(void)
{
	for (unsigned f = 0; f < 3; f++) {
		struct vmf_run run = run_of(9, RAM_PFN, 1, VMF_R | VMF_W);

		machine_open(formats[f], 4);
		supply();
		CHECK_EQ(enter(run_of(9, RAM_PFN, 1, VMF_R)), 1);
		CHECK_EQ(cpu_look(9).prot, VMF_R);
		run.flags = VMF_RUN_WP;
		CHECK_EQ(enter(run), 0);
		CHECK_EQ(cpu_look(9).prot, VMF_R | VMF_W);
		machine_close();
	}
}

/* Removed entries stay in use until update(), and not after it. */
static void update_ends_it(void)
{
	struct vmf_pmap *p = &m.walk.pmap;

	machine_open(&x86_64, 4);
	supply();
	CHECK_EQ(enter(run_of(9, RAM_PFN, 1, VMF_R)), 1);
	CHECK(cpu_look(9).present);
	CHECK_ERR(p->ops->remove(p, BASE + 9 * PAGE, 1, &m.gather), 0);
	CHECK(m.gather.n == 1 && m.gather.pfn[0] == RAM_PFN && cpu_look(9).present);
	p->ops->update(p);
	CHECK(!cpu_look(9).present);
	machine_close();
}

/* Nor beside what comes in their place, if that is faster than update(). */
static void break_before_make(void)
{
	struct vmf_pmap *p = &m.walk.pmap;

	machine_open(&aarch64, 4);
	supply();
	CHECK_EQ(enter(run_of(9, RAM_PFN, 1, VMF_R)), 1);
	CHECK_EQ(cpu_look(9).pfn.n, RAM_PFN);
	CHECK_ERR(p->ops->remove(p, BASE + 9 * PAGE, 1, &m.gather), 0);
	CHECK_EQ(enter(run_of(9, RAM_PFN + 1, 1, VMF_R)), 1);
	CHECK_EQ(cpu_look(9).pfn.n, RAM_PFN + 1);
	machine_close();
}

static void empty_reserve(void)
{
	struct vmf_run run = run_of(0, RAM_PFN, PAGES, VMF_R);

	machine_open(&vmf_sv39, 2);
	CHECK_EQ(enter(run_of(3, RAM_PFN, 1, VMF_R)), -VMF_ENOMEM);
	CHECK(!cpu_look(3).present);
	supply();
	run.flags = VMF_RUN_RAW;
	run.need = 1500; /* the two tables there are are this page's */
	CHECK_EQ(enter(run), 512);
	CHECK(cpu_look(1500).present && cpu_look(1535).present && !cpu_look(0).present);
	run.need = UINT32_MAX;
	CHECK_EQ(enter(run), -VMF_ENOMEM);
	supply();
	m.limit = m.live;
	CHECK_EQ(enter(run_of(0, RAM_PFN, 1, VMF_R)), 1);
	CHECK_EQ(m.walk.pmap.ops->supply(&m.walk.pmap), -VMF_ENOMEM);
	machine_close();
}

static void something_else_there(void)
{
	struct vmf_run raw = run_of(2, RAM_PFN + 2, 1, VMF_R);

	machine_open(&x86_64, 4);
	supply();
	CHECK_EQ(enter(run_of(2, RAM_PFN + 2, 1, VMF_R)), 1);
	CHECK_EQ(enter(run_of(2, RAM_PFN + 2, 1, VMF_R)), 0);
	CHECK_EQ(enter(run_of(2, RAM_PFN + 3, 1, VMF_R)), -VMF_EEXIST);
	raw.flags = VMF_RUN_RAW;
	CHECK_EQ(enter(raw), -VMF_EEXIST);
	raw = run_of(2, RAM_PFN + 2, 1, VMF_R | VMF_W);
	raw.attr.type = VMF_UC;
	CHECK_EQ(enter(raw), -VMF_EEXIST); /* the same frame with other attributes */
	CHECK_EQ(cpu_look(2).attr.type, VMF_WB);
	machine_close();
}

static void huge_pages(void)
{
	struct vmf_run run = run_of(512, RAM_PFN, 512, VMF_R), small = run_of(515, RAM_PFN + 3, 1, VMF_R);

	machine_open(&aarch64, 4);
	supply();
	run.order = 9;
	run.va += PAGE;
	CHECK_EQ(enter(run), -VMF_ENOSYS); /* not aligned */
	run.va -= PAGE;
	run.flags = VMF_RUN_RAW;
	run.n = 513;
	CHECK_EQ(enter(run), -VMF_ENOSYS);
	run.flags = 0;
	run.n = 1024; /* more than one frame */
	CHECK_EQ(enter(run), -VMF_ENOSYS);
	run.n = 512;
	CHECK_EQ(enter(run), 512);
	CHECK(cpu_look(1023).pfn.n == RAM_PFN + 511 && !cpu_look(1024).present);
	CHECK_EQ(enter(small), 0);
	small.prot |= VMF_W;
	CHECK_EQ(enter(small), -VMF_EEXIST); /* that would make all of it writable */
	small = run_of(512, RAM_PFN, 1, VMF_R | VMF_W);
	CHECK_EQ(enter(small), -VMF_EEXIST);
	CHECK_EQ(cpu_look(600).prot, VMF_R);
	remove_pages(600, 1, false);
	CHECK(m.gather.n == 1 && m.gather.pfn[0] == RAM_PFN);
	CHECK(!cpu_look(512).present && !cpu_look(1023).present);
	machine_close();
}

static void protecting(void)
{
	for (unsigned f = 0; f < 3; f++) {
		struct vmf_pmap *p = &m.walk.pmap;
		struct vmf_entry e;

		machine_open(formats[f], 4);
		supply();
		CHECK_EQ(enter(run_of(1, RAM_PFN, 1, VMF_R | VMF_W)), 1);
		CHECK_ERR(p->ops->protect(p, BASE, 8, VMF_R | VMF_X), 0);
		p->ops->update(p);
		CHECK_EQ(cpu_look(1).prot, VMF_R); /* it takes, and never gives */
		CHECK_ERR(p->ops->protect(p, BASE, 8, 0), 0);
		CHECK_ERR(p->ops->query(p, BASE + PAGE, &e), 0);
		CHECK(e.present && e.prot == 0 && e.pfn.n == RAM_PFN);
		remove_pages(1, 1, false);
		CHECK_EQ(m.gather.n, 1); /* its reference is still handed back */
		machine_close();
	}
}

/* Tables that are empty go with the last area in them, and not while another area has entries there. */
static void tables_go(void)
{
	unsigned with;

	machine_open(&vmf_sv39, 8);
	supply();
	CHECK_EQ(enter(run_of(10, RAM_PFN, 1, VMF_R)), 1);
	CHECK_EQ(enter(run_of(20, RAM_PFN + 1, 1, VMF_R)), 1);
	with = m.live - m.walk.spare;
	CHECK_EQ(with, 2);
	remove_pages(8, 4, true);
	CHECK(m.live - m.walk.spare == with && cpu_look(20).present);
	remove_pages(16, 8, true);
	CHECK_EQ(m.live - m.walk.spare, 0);
	for (unsigned i = 0; i < 40; i++) { /* more than can be waiting to be flushed */
		supply();
		CHECK_EQ(enter(run_of(i * 512, RAM_PFN, 1, VMF_R)), 1);
	}
	remove_pages(0, 40 * 512, true);
	CHECK_EQ(m.live - m.walk.spare, 0);
	machine_close();
}

/* An empty table is no hindrance to a huge page, and nobody uses it after that. */
static void table_gives_way(void)
{
	struct vmf_run run = run_of(512, RAM_PFN + 512, 512, VMF_R);

	machine_open(&x86_64, 4);
	supply();
	CHECK_EQ(enter(run_of(520, RAM_PFN, 1, VMF_R)), 1);
	CHECK(cpu_look(520).present);
	remove_pages(520, 1, false);
	run.order = 9;
	CHECK_EQ(enter(run), 512);
	CHECK_EQ(cpu_look(521).pfn.n, RAM_PFN + 521);
	CHECK_EQ(m.live - m.walk.spare, 2);
	machine_close();
}

static void sv39_by_the_manual(void)
{
	struct vmf_sv39_memory memory = { { 0x80000 }, 0x4000 };
	struct vmf_entry e = { .pfn = { 0x81234 }, .prot = VMF_R };
	uintptr_t entry;

	CHECK(vmf_sv39.encode(&memory, &e, 0, &entry) && entry == ((uintptr_t)0x81234 << 10 | 0x43)); /* A R V */
	e.prot = VMF_W;
	CHECK(vmf_sv39.encode(&memory, &e, 0, &entry) && entry == ((uintptr_t)0x81234 << 10 | 0xc7)); /* D A W R V */
	e.prot = VMF_X;
	CHECK(vmf_sv39.encode(&memory, &e, 0, &entry) && entry == ((uintptr_t)0x81234 << 10 | 0x49)); /* A X V */
	e.prot = 0;
	CHECK(vmf_sv39.encode(&memory, &e, 0, &entry) && !(entry & 1));
	CHECK_EQ(vmf_sv39.table((vmf_pfn){ 0x81234 }), (uintptr_t)0x81234 << 10 | 1);
	/* RAM is write-back and a device a device, and nothing makes them otherwise. */
	e = (struct vmf_entry){ .pfn = { 0x81234 }, .prot = VMF_R, .attr = { .type = VMF_UC } };
	CHECK(!vmf_sv39.encode(&memory, &e, 0, &entry));
	e = (struct vmf_entry){ .pfn = { 0x10001 }, .prot = VMF_R, .attr = { .type = VMF_WB } };
	CHECK(!vmf_sv39.encode(&memory, &e, 0, &entry));
	e.attr.strengthen = 1;
	CHECK(vmf_sv39.encode(&memory, &e, 0, &entry));
	e.attr = (struct vmf_attr){ .type = VMF_DEVICE };
	CHECK(vmf_sv39.encode(&memory, &e, 0, &entry));
	e.attr.port = 1;
	CHECK(!vmf_sv39.encode(&memory, &e, 0, &entry));
	e = (struct vmf_entry){ .pfn = { (uint64_t)1 << 44 }, .prot = VMF_R, .attr = { .type = VMF_DEVICE } };
	CHECK(!vmf_sv39.encode(&memory, &e, 0, &entry));
}

static void what_is_refused(void)
{
	struct vmf_ptwalk_config config;
	struct vmf_window w = { 0 };
	struct vmf_map map = { .flags = VMF_FIXED, .va = BASE, .pages = PAGES };
	struct vmf_pmap *p = &m.walk.pmap;

	machine_open(&vmf_sv39, 4);
	config = m.walk.cfg;
	config.reserve = 1; /* less than one fault needs */
	CHECK_ERR(vmf_ptwalk_init(&m.walk, &config), -VMF_EINVAL);
	config.reserve = 4;
	config.lo = config.hi;
	CHECK_ERR(vmf_ptwalk_init(&m.walk, &config), -VMF_EINVAL);
	machine_open(&vmf_sv39, 4);
	CHECK_ERR(p->ops->attach(p, &map, (vmf_pfn){ 0 }, false, &w), 0);
	CHECK(w.store == VMF_BY_ADDRESS && w.protect && w.raw && !w.zero && w.orders == (1 | 1 << 9 | 1 << 18));
	map.pages++;
	CHECK_ERR(p->ops->attach(p, &map, (vmf_pfn){ 0 }, false, &w), -VMF_EINVAL);
	map = (struct vmf_map){ .flags = VMF_FIXED, .va = BASE - PAGE, .pages = 1 };
	CHECK_ERR(p->ops->attach(p, &map, (vmf_pfn){ 0 }, false, &w), -VMF_EINVAL);
	map = (struct vmf_map){ .flags = VMF_FIXED, .va = BASE, .pages = 1, .action = VMF_BOLT };
	CHECK_ERR(p->ops->attach(p, &map, (vmf_pfn){ 0 }, false, &w), -VMF_ENOSPC);
	machine_close();
}

static const struct vmtest tests[] = {
	VMTEST(random_against_array), VMTEST(fence_after_entering), VMTEST(upgrade_is_seen), VMTEST(update_ends_it),
	VMTEST(break_before_make), VMTEST(empty_reserve), VMTEST(something_else_there), VMTEST(huge_pages),
	VMTEST(protecting), VMTEST(tables_go), VMTEST(table_gives_way), VMTEST(sv39_by_the_manual), VMTEST(what_is_refused),
};
VMTEST_MAIN(tests, 20)
