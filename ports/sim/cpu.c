/* SPDX-License-Identifier: MIT
 *
 * The simulated CPU: loads and stores of a space, page by page.  Bytes move under the MMU's lock, so what remove() took
 * away nobody is still using when it returns; and in words, because another space may show the same frame.
 */
#include <stdlib.h>
#include <string.h>
#include "machine.h"

static struct sim_mmu *mmu_of(struct vmf_space *space)
{
	return (struct sim_mmu *)(void *)vmf_space_pmap(space);
}

static void load_bytes(uint8_t *to, const uint8_t *from, size_t n)
{
	for (; n && (uintptr_t)from % 8; n--)
		*to++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
	for (; n >= 8; n -= 8, to += 8, from += 8) {
		uint64_t word = __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_RELAXED);

		memcpy(to, &word, 8);
	}
	for (; n; n--)
		*to++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
}

static void store_bytes(uint8_t *to, const uint8_t *from, size_t n)
{
	for (; n && (uintptr_t)to % 8; n--)
		__atomic_store_n(to++, *from++, __ATOMIC_RELAXED);
	for (; n >= 8; n -= 8, to += 8, from += 8) {
		uint64_t word;

		memcpy(&word, from, 8);
		__atomic_store_n((uint64_t *)(void *)to, word, __ATOMIC_RELAXED);
	}
	for (; n; n--)
		__atomic_store_n(to++, *from++, __ATOMIC_RELAXED);
}

/* What an instruction wants of one page: bytes to there, or from there. */
struct access {
	vmf_va va;
	uint8_t *to;
	const uint8_t *from;
	size_t n;
	uint8_t kind; /* VMF_R, VMF_W or VMF_X */
};

/* The memory adds.  False: it is no word, or memory that does not. */
static bool adds(const struct sim_entry *e, const struct access *a, uint8_t *at)
{
	uint32_t n = 1;

	if (!(e->attr.port & VMF_SIM_ADDS) || a->n != sizeof(n) || a->va % sizeof(n) || a->kind == VMF_X)
		return false;
	if (a->kind == VMF_W)
		memcpy(&n, a->from, sizeof(n));
	n = __atomic_fetch_add((uint32_t *)(void *)at, n, __ATOMIC_RELAXED);
	if (a->kind == VMF_R)
		memcpy(a->to, &n, sizeof(n));
	return true;
}

static void move_bytes(const struct sim_entry *e, const struct access *a, uint8_t *at)
{
	if (adds(e, a, at))
		return;
	if (a->kind == VMF_W)
		store_bytes(at, a->from, a->n);
	else
		load_bytes(a->to, at, a->n);
}

/* The bytes move, or a trap is raised. */
static bool walk(struct sim_mmu *m, const struct access *a, struct vmf_trap *trap)
{
	struct sim_entry *e;
	bool through;

	*trap = (struct vmf_trap){ .va = a->va, .access = a->kind };
	vmf_lock_take(m->sim->port, &m->lock);
	e = vmf__sim_find(m, a->va);
	through = e && e->prot & a->kind;
	if (e && a->kind == VMF_W && e->prot & VMF_R)
		trap->flags = VMF_TRAP_WP;
	if (through)
		move_bytes(e, a, vmf__sim_at(m, e, a->va));
	vmf_lock_drop(m->sim->port, &m->lock);
	return through;
}

/* One trap, to its end: VMF_OK also where a signal came in between. */
static struct vmf_result take_trap(struct vmf_space *space, const struct vmf_trap *trap)
{
	struct vmf_ticket ticket = { 0 };
	struct vmf_result r;

	do {
		r = vmf_handle(space, trap, &ticket);
		if (r.code != VMF_RETRY)
			return r;
	} while (!vmf_ticket_wait(space, &ticket, true));
	vmf_ticket_drop(space, &ticket);
	return (struct vmf_result){ .code = VMF_OK };
}

static struct vmf_result access_page(struct vmf_space *space, const struct access *a)
{
	struct vmf_result r = { .code = VMF_OK };
	struct vmf_trap trap;

	while (r.code == VMF_OK && !walk(mmu_of(space), a, &trap))
		r = take_trap(space, &trap);
	return r;
}

static struct vmf_result access_range(struct vmf_space *space, struct access a, size_t n)
{
	size_t page = space ? mmu_of(space)->sim->page : 0;
	struct vmf_result r = { .code = VMF_OK };

	if (!page || (n && !a.to && !a.from))
		return (struct vmf_result){ .code = VMF_SIGBUS, .why = VMF_WHY_DRIVER };
	for (; n && r.code == VMF_OK; n -= a.n) {
		a.n = page - a.va % page;
		if (a.n > n)
			a.n = n;
		r = access_page(space, &a);
		a.va += a.n;
		if (a.to)
			a.to += a.n;
		if (a.from)
			a.from += a.n;
	}
	return r;
}

struct vmf_result vmf_sim_load(struct vmf_space *space, vmf_va va, void *to, size_t n)
{
	return access_range(space, (struct access){ .va = va, .to = to, .kind = VMF_R }, n);
}

struct vmf_result vmf_sim_store(struct vmf_space *space, vmf_va va, const void *from, size_t n)
{
	return access_range(space, (struct access){ .va = va, .from = from, .kind = VMF_W }, n);
}

struct vmf_result vmf_sim_fetch(struct vmf_space *space, vmf_va va, void *to, size_t n)
{
	return access_range(space, (struct access){ .va = va, .to = to, .kind = VMF_X }, n);
}

/* ------------------------------------------------------------------------------------------- spaces */

int vmf_sim_space(struct vmf_sim *sim, struct vmf_space **out)
{
	struct sim_mmu *m = sim && out ? calloc(1, sizeof(*m)) : NULL;
	int err;

	if (!sim || !out)
		return -VMF_EINVAL;
	if (!m)
		return -VMF_ENOMEM;
	m->pmap = (struct vmf_pmap){ &vmf__sim_pmap_ops, VMF_SIM_LOWEST, VMF_SIM_HIGHEST };
	m->sim = sim;
	m->bolts = sim->config.bolts;
	m->reserve = sim->config.store == VMF_BY_COPY ? 64 : VMF_RUN_MAX;
	m->bolt = calloc(m->bolts + 1u, sizeof(*m->bolt));
	err = m->bolt && vmf__sim_buckets(m, 4096) ? vmf__sim_supply(&m->pmap) : -VMF_ENOMEM;
	if (!err)
		err = vmf_space_create(sim->port, &m->space, &m->pmap);
	if (!err) {
		*out = m->space;
		return 0;
	}
	vmf__sim_mmu_free(m);
	return err;
}

int vmf_sim_space_close(struct vmf_space *space)
{
	struct sim_mmu *m = mmu_of(space);
	int err = vmf_space_destroy(space);

	if (!err && m)
		vmf__sim_mmu_free(m);
	return err;
}

/* Whole pages that do not wrap? */
static bool range_good(const struct sim_mmu *m, vmf_va va, uint64_t pages)
{
	if (!m || va & (m->sim->page - 1) || !pages || pages > UINTPTR_MAX >> m->sim->config.page_shift)
		return false;
	return va + vmf__sim_span(m, pages) - 1 >= va;
}

void vmf_sim_forget(struct vmf_space *space, vmf_va va, uint64_t pages)
{
	struct sim_mmu *m = mmu_of(space);

	if (!range_good(m, va, pages))
		return;
	vmf_lock_take(m->sim->port, &m->lock);
	while (pages) {
		if (vmf__sim_forget(m, va)) {
			va += m->sim->page;
			pages--;
			continue;
		}
		vmf_lock_drop(m->sim->port, &m->lock);
		if (vmf__sim_supply(&m->pmap))
			abort();
		vmf_lock_take(m->sim->port, &m->lock);
	}
	vmf_lock_drop(m->sim->port, &m->lock);
}

int vmf_sim_move(struct vmf_space *space, vmf_va from, vmf_va to, uint64_t pages)
{
	struct sim_mmu *m = mmu_of(space);
	vmf_va bytes = m ? vmf__sim_span(m, pages) : 0;
	int err = -VMF_EINVAL;

	if (range_good(m, from, pages) && range_good(m, to, pages) && from - to >= bytes && to - from >= bytes)
		err = vmf_unmap(space, to, pages);
	if (err)
		return err;
	vmf_lock_take(m->sim->port, &m->lock);
	err = vmf__sim_move(m, from, to, pages);
	m->unflushed = 0; /* whoever looks now looks at the new place */
	vmf_lock_drop(m->sim->port, &m->lock);
	return err ? err : vmf_space_moved(space, from, to, pages);
}

uint64_t vmf_sim_unflushed(struct vmf_space *space)
{
	struct sim_mmu *m = mmu_of(space);
	uint64_t n;

	if (!m)
		return 0;
	vmf_lock_take(m->sim->port, &m->lock);
	n = m->unflushed;
	vmf_lock_drop(m->sim->port, &m->lock);
	return n;
}
