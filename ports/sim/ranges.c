/* SPDX-License-Identifier: MIT
 *
 * What areas were attached to the simulated MMU: ranges sorted by address, in chunks, found through a list of the
 * chunks' first addresses.  Everything here is called with the MMU's lock held.
 */
#include <stdlib.h>
#include <string.h>
#include "machine.h"

#define CHUNK 62u

struct sim_chunk {
	struct sim_chunk *next; /* spare */
	uint32_t n;
	struct sim_range range[CHUNK];
};

/* The last chunk that begins at va or below, or the first. */
static uint32_t chunk_at(const struct sim_mmu *m, vmf_va va)
{
	uint32_t at = 0;

	for (uint32_t n = m->chunks; n > 1; n -= n / 2)
		at += m->chunk[at + n / 2].va <= va ? n / 2 : 0;
	return at;
}

/* The first range of a chunk that ends after va; its n if there is none. */
static uint32_t range_at(const struct sim_mmu *m, const struct sim_chunk *c, vmf_va va)
{
	uint32_t at = 0;

	for (uint32_t n = c->n; n > 1; n -= n / 2)
		at += c->range[at + n / 2].va <= va ? n / 2 : 0;
	return c->n && vmf__sim_range_end(m, &c->range[at]) <= va ? at + 1 : at;
}

/* Where the first range is that ends after va; false: none. */
static bool seek(const struct sim_mmu *m, vmf_va va, uint32_t *k, uint32_t *i)
{
	if (!m->chunks)
		return false;
	*k = chunk_at(m, va);
	*i = range_at(m, m->chunk[*k].of, va);
	if (*i < m->chunk[*k].of->n)
		return true;
	*i = 0;
	return ++*k < m->chunks;
}

struct sim_range *vmf__sim_range_after(struct sim_mmu *m, vmf_va va)
{
	uint32_t k, i;

	return seek(m, va, &k, &i) ? &m->chunk[k].of->range[i] : NULL;
}

struct sim_range *vmf__sim_range(struct sim_mmu *m, vmf_va va)
{
	struct sim_range *r = vmf__sim_range_after(m, va);

	return r && r->va <= va ? r : NULL;
}

/* Two chunks, and places for them. */
bool vmf__sim_ranges_room(struct sim_mmu *m)
{
	struct sim_place *bigger;

	if (m->chunks + 2 > m->places) {
		bigger = realloc(m->chunk, (m->places * 2 + 16) * sizeof(*bigger));
		if (!bigger)
			return false;
		m->chunk = bigger;
		m->places = m->places * 2 + 16;
	}
	for (; m->spare_chunks < 2; m->spare_chunks++) {
		struct sim_chunk *c = malloc(sizeof(*c));

		if (!c)
			return false;
		c->next = m->spare_chunk;
		m->spare_chunk = c;
	}
	return true;
}

/* A new chunk k, with n ranges from there. */
static void chunk_add(struct sim_mmu *m, uint32_t k, const struct sim_range *from, uint32_t n)
{
	struct sim_chunk *c = m->spare_chunk;

	m->spare_chunk = c->next;
	m->spare_chunks--;
	c->n = n;
	memcpy(c->range, from, n * sizeof(*from));
	memmove(m->chunk + k + 1, m->chunk + k, (m->chunks - k) * sizeof(*m->chunk));
	m->chunk[k] = (struct sim_place){ from->va, c };
	m->chunks++;
}

/* Behind the last range a chunk is begun, so that ranges that are attached upwards fill them. */
void vmf__sim_range_insert(struct sim_mmu *m, struct sim_range r)
{
	uint32_t k = chunk_at(m, r.va), i;
	struct sim_chunk *c = m->chunks ? m->chunk[k].of : NULL;

	i = c ? range_at(m, c, r.va) : 0;
	if (!c || i == CHUNK) {
		chunk_add(m, c ? k + 1 : 0, &r, 1);
		return;
	}
	if (c->n == CHUNK) {
		chunk_add(m, k + 1, c->range + CHUNK / 2, CHUNK - CHUNK / 2);
		c->n = CHUNK / 2;
		vmf__sim_range_insert(m, r);
		return;
	}
	memmove(c->range + i + 1, c->range + i, (c->n - i) * sizeof(r));
	c->range[i] = r;
	c->n++;
	m->chunk[k].va = c->range[0].va;
}

bool vmf__sim_range_take(struct sim_mmu *m, vmf_va va, vmf_va end, struct sim_range *out)
{
	struct sim_chunk *c;
	uint32_t k, i;

	if (!seek(m, va, &k, &i) || m->chunk[k].of->range[i].va >= end)
		return false;
	c = m->chunk[k].of;
	*out = c->range[i];
	c->n--;
	memmove(c->range + i, c->range + i + 1, (c->n - i) * sizeof(*out));
	m->chunk[k].va = c->range[0].va;
	if (!c->n) {
		m->chunks--;
		memmove(m->chunk + k, m->chunk + k + 1, (m->chunks - k) * sizeof(*m->chunk));
		free(c);
	}
	return true;
}

void vmf__sim_range_cut(struct sim_mmu *m, vmf_va va)
{
	struct sim_range *r = vmf__sim_range(m, va), tail;
	uint64_t head;

	if (!r || r->va == va)
		return;
	head = (va - r->va) >> m->sim->config.page_shift;
	tail = *r;
	tail.va = va;
	tail.pages -= head;
	if (tail.segment.n)
		tail.segment.n += head;
	r->pages = head;
	vmf__sim_range_insert(m, tail);
}

void vmf__sim_ranges_free(struct sim_mmu *m)
{
	struct sim_chunk *next;

	for (uint32_t k = 0; k < m->chunks; k++)
		free(m->chunk[k].of);
	for (struct sim_chunk *c = m->spare_chunk; c; c = next) {
		next = c->next;
		free(c);
	}
	free(m->chunk);
}
