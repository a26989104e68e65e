/* SPDX-License-Identifier: MIT
 *
 * See reference.h.
 */
#include "reference.h"

static bool same(const struct ref_words *a, const struct ref_words *b)
{
	bool equal = true;

	for (unsigned k = 0; k < MODEL_WORDS; k++)
		equal &= a->word[k] == b->word[k];
	return equal;
}

static void page_first(struct ref_object *o, const struct model_stage *st, unsigned page)
{
	struct ref_page *p = &o->page[page];

	p->nothing = page >= ref_pages(o);
	for (unsigned k = 0; k < MODEL_WORDS && !p->nothing; k++)
		p->old[0].word[k] = p->disk.word[k] = model_first_word(st, o->kind, page, k);
}

void ref_open(struct reference *r, const struct model_stage *st)
{
	r->reads_first = st->reads_first;
	for (unsigned i = 0; i < MODEL_OBJECTS; i++) {
		struct ref_object *o = &r->object[i];

		*o = (struct ref_object){ .kind = (uint8_t)i };
		o->tracks = i == MODEL_DRIVER || i == MODEL_PAGED || i == MODEL_AROUND;
		o->bytes = (model_backed(i) ? MODEL_ROOM - 4 : MODEL_DRIVER_PAGES) * MODEL_PAGE;
		for (unsigned page = 0; page < MODEL_ROOM; page++)
			page_first(o, st, page);
	}
	for (unsigned s = 0; s < MODEL_SPACES; s++) {
		r->there[s] = !s;
		for (unsigned p = 0; p < MODEL_PAGES; p++)
			r->cell[s][p] = (struct ref_cell){ .mapped = false };
	}
	r->areas = 0;
}

/* ----------------------------------------------------------------------------------------------- accesses */

/* Why the object's page cannot be had; VMF_OK: it can. */
static struct vmf_result object_fails(const struct ref_object *o, unsigned off, bool in_memory)
{
	if (off >= ref_pages(o))
		return (struct vmf_result){ .code = VMF_SIGBUS, .why = VMF_WHY_EOF };
	if (o->bad_read >> off & 1 && !in_memory)
		return (struct vmf_result){ .code = VMF_SIGBUS, .why = VMF_WHY_IOERR, .err = MODEL_READ_ERR };
	return (struct vmf_result){ .code = VMF_OK };
}

static struct ref_expect denied(unsigned why)
{
	return (struct ref_expect){ .fails = true, .result = { .code = VMF_SIGSEGV, .why = (uint8_t)why } };
}

struct ref_expect ref_expect(const struct reference *r, const struct ref_cell *c, unsigned access, bool in_memory)
{
	struct ref_expect e = { .ok = true };

	if (!c->mapped || c->lost)
		return denied(c->mapped ? VMF_WHY_FORK : VMF_WHY_NONE);
	e.result = object_fails(&r->object[c->object], c->off, in_memory);
	e.fails = e.result.code != VMF_OK && !c->own;
	if (c->prot & access) {
		e.ok = !e.fails || !c->shared;
		return e;
	}
	e.other = e.fails && access == VMF_X && c->prot && r->reads_first ? e.result : (struct vmf_result){ 0 };
	e.ok = false;
	e.fails = true;
	e.result = denied(VMF_WHY_PROT).result;
	return e;
}

static uint32_t oldest(const struct ref_page *p, const struct ref_cell *c)
{
	uint32_t kept = p->version < REF_OLD ? 0 : p->version - REF_OLD + 1;

	return c->shared ? p->version : c->oldest > kept ? c->oldest : kept;
}

/* Older contents than are kept would be right, too. */
static bool forgotten(const struct ref_page *p, const struct ref_cell *c)
{
	return !c->shared && oldest(p, c) > c->oldest;
}

/* Can version v be what the cell shows? */
static bool can_be(const struct ref_page *p, uint32_t v) { return !(p->nothing >> v % REF_OLD & 1); }

static struct ref_page *page_of(struct reference *r, const struct ref_cell *c)
{
	return &r->object[c->object].page[c->off % MODEL_ROOM];
}

bool ref_sees(struct reference *r, struct ref_cell *c, const struct ref_words *w)
{
	const struct ref_page *p = page_of(r, c);

	if (c->held)
		return same(&c->mine, w);
	/* From the oldest on: of two that are the same the older one is sure to have been seen. */
	for (uint32_t v = oldest(p, c); v <= p->version; v++)
		if (can_be(p, v) && same(&p->old[v % REF_OLD], w)) {
			c->oldest = forgotten(p, c) ? c->oldest : v;
			return true;
		}
	return forgotten(p, c);
}

const struct ref_words *ref_last(const struct reference *r, const struct ref_cell *c)
{
	const struct ref_page *p = &r->object[c->object].page[c->off % MODEL_ROOM];

	return forgotten(p, c) ? NULL : &p->old[c->oldest % REF_OLD];
}

bool ref_own(struct reference *r, struct ref_cell *c, unsigned k, uint32_t word, const struct ref_words *now)
{
	const struct ref_page *p = page_of(r, c);
	bool right = !c->held && forgotten(p, c);
	struct ref_words w = c->mine;

	w.word[k] = word;
	if (c->held)
		right = same(&w, now);
	for (uint32_t v = oldest(p, c); !c->held && v <= p->version; v++) {
		w = p->old[v % REF_OLD];
		w.word[k] = word;
		right |= can_be(p, v) && same(&w, now);
	}
	ref_hold(c, now);
	c->own = true;
	return right;
}

void ref_hold(struct ref_cell *c, const struct ref_words *w)
{
	c->held = true;
	c->taken = false;
	c->mine = *w;
}

void ref_take(struct ref_cell *c)
{
	c->held = c->taken = true;
	c->own = false;
	c->mine = (struct ref_words){ { 0 } };
}

/* ------------------------------------------------------------------------------------------------ objects */

static void push(struct ref_page *p, const struct ref_words *w, bool nothing)
{
	uint32_t bit = 1u << ++p->version % REF_OLD;

	p->old[p->version % REF_OLD] = *w;
	p->nothing = (p->nothing & ~bit) | (nothing ? bit : 0);
}

void ref_replace(struct ref_object *o, unsigned page, const struct ref_words *w)
{
	if (!same(ref_now(&o->page[page]), w))
		push(&o->page[page], w, false);
}

void ref_write(struct ref_object *o, unsigned page, unsigned k, uint32_t word)
{
	struct ref_words w = *ref_now(&o->page[page]);

	w.word[k] = word;
	ref_replace(o, page, &w);
}

void ref_written(struct ref_object *o, unsigned page)
{
	struct ref_page *p = &o->page[page];

	for (unsigned k = 0; k < MODEL_WORDS; k++)
		if (page * MODEL_PAGE + model_word_at(k) < o->bytes)
			p->disk.word[k] = ref_now(p)->word[k];
	p->dirt = REF_CLEAN;
}

/* Word k of a page, where the length goes from the object's to `bytes`. */
static bool word_cut(const struct ref_object *o, uint32_t bytes, unsigned page, unsigned k)
{
	uint32_t at = page * MODEL_PAGE + model_word_at(k);

	return at >= bytes && at < o->bytes;
}

static bool word_added(const struct ref_object *o, uint32_t bytes, unsigned page, unsigned k)
{
	uint32_t at = page * MODEL_PAGE + model_word_at(k);

	return at < bytes && at >= o->bytes;
}

/* Where the last page is dirty it stays as it is in memory, so nothing is added to it behind its back. */
void ref_resize(struct ref_object *o, const struct model_stage *st, uint32_t bytes, uint32_t fill)
{
	for (unsigned page = 0; page < MODEL_ROOM; page++) {
		struct ref_page *p = &o->page[page];
		struct ref_words w = *ref_now(p);

		for (unsigned k = 0; k < MODEL_WORDS; k++) {
			if (word_cut(o, bytes, page, k))
				w.word[k] = p->disk.word[k] = 0;
			if (word_added(o, bytes, page, k) && p->dirt == REF_CLEAN)
				w.word[k] = p->disk.word[k] = model_value(st, k, fill + (page << 8) + k);
		}
		if ((page * MODEL_PAGE < bytes) != (page * MODEL_PAGE < o->bytes))
			push(p, &w, page * MODEL_PAGE >= bytes);
		else if (page * MODEL_PAGE < bytes)
			ref_replace(o, page, &w);
		if (page * MODEL_PAGE >= bytes)
			p->dirt = REF_CLEAN;
	}
	o->bytes = bytes;
}
