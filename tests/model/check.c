/* SPDX-License-Identifier: MIT
 *
 * Everything, compared: what is entered, what accesses to each page come to, what objects and backings hold.
 */
#include "run.h"

#define SOON_TRIES 100000u

bool run_soon(struct run *r, bool (*done)(struct run *))
{
	for (unsigned i = 0; r->st->soon && i < SOON_TRIES && !done(r); i++)
		r->st->pause(r->st);
	return done(r);
}

static bool each_page(struct run *r, bool (*f)(struct run *, unsigned space, unsigned page, uint32_t how), uint32_t how)
{
	for (unsigned space = 0; space < MODEL_SPACES; space++)
		for (unsigned page = 0; r->ref.there[space] && page < MODEL_PAGES; page++)
			if (!f(r, space, page, how))
				return false;
	return true;
}

/* ------------------------------------------------------------------------------------------------- glance */

/* An entry allows no more than the page does, and no write that somebody has to hear of. */
static bool entry_right(struct run *r, const struct ref_cell *c, const struct vmf_entry *e)
{
	const struct ref_object *o = &r->ref.object[c->object];
	const struct run_window *w = c->shared ? &r->shared : &r->private;

	if (e->prot & ~(unsigned)c->prot)
		return false;
	if (!(e->prot & VMF_W) || !w->protects)
		return true;
	if (c->shared)
		return !o->tracks || (run_inside(o, c->off) && o->page[c->off].dirt != REF_CLEAN);
	return true;
}

static bool glance(struct run *r, unsigned space, unsigned page, uint32_t how)
{
	struct ref_cell *c = &r->ref.cell[space][page];
	struct vmf_pmap *pmap = vmf_space_pmap(r->st->space[space]);
	struct vmf_entry e;

	(void)how;
	if (!c->mapped || pmap->ops->query(pmap, run_va(r, page), &e) || !e.present)
		return true;
	if (!entry_right(r, c, &e))
		return run_fail_at(r, "entry", space, page, "it allows more than it should:");
	if (!(e.prot & VMF_R))
		return true;
	if (!run_load(r, space, page))
		return false;
	/* A private page that can be written is the area's own already. */
	if (e.prot & VMF_W && !c->shared && !c->held && r->private.protects && ref_last(&r->ref, c))
		ref_hold(c, ref_last(&r->ref, c));
	c->own |= c->held && e.prot & VMF_W && !c->shared && r->private.store == VMF_BY_ADDRESS && r->private.protects;
	return true;
}

bool run_glance(struct run *r) { return each_page(r, glance, 0); }

/* -------------------------------------------------------------------------------------------------- check */

enum { HOW_ALL = 1, HOW_STORE = 2, HOW_FETCH = 4 };

static bool check(struct run *r, unsigned space, unsigned page, uint32_t how)
{
	uint32_t dice = (how >> 3) + (page * 7 + space) * 2654435761u, value = dice ^ dice >> 7;
	struct ref_cell *c = &r->ref.cell[space][page];
	bool all = how & HOW_ALL;

	if ((all || dice >> 28 & 3) && !run_load(r, space, page))
		return false;
	if (!run_expects(r, c, VMF_W).ok || (how & HOW_STORE && (all || !(dice >> 24 & 3))))
		if (!run_store(r, space, page, dice >> 20 & 15, value))
			return false;
	if (!run_expects(r, c, VMF_X).ok || (how & HOW_FETCH && (all || dice >> 18 & 1)))
		return run_fetch(r, space, page);
	return true;
}

bool run_check_child(struct run *r, uint32_t how)
{
	return each_page(r, check, (how & ~(uint32_t)HOW_ALL) | HOW_STORE | HOW_FETCH);
}

bool run_check(struct run *r, uint32_t how, bool all)
{
	return each_page(r, check, all ? how | HOW_ALL | HOW_STORE | HOW_FETCH : how & ~(uint32_t)HOW_ALL) &&
	       run_check_objects(r);
}

/* ------------------------------------------------------------------------------------------------ objects */

static uint32_t areas_of(const struct run *r, unsigned object)
{
	uint32_t n = 0;

	for (unsigned space = 0; space < MODEL_SPACES; space++)
		for (unsigned page = 0; page < MODEL_PAGES; page++) {
			const struct ref_cell *c = &r->ref.cell[space][page];

			n += c->mapped && c->object == object && (!page || !c[-1].mapped || c[-1].area != c->area);
		}
	return n;
}

static bool areas_told(struct run *r)
{
	bool right = true;

	for (unsigned i = 0; i < MODEL_OBJECTS && !model_backed(i); i++)
		right &= r->object[i].opened - r->object[i].closed == areas_of(r, i);
	return right;
}

static bool check_dirt(struct run *r, unsigned object, unsigned page)
{
	const struct ref_object *o = &r->ref.object[object];
	enum vmf_state s = vmf_page_state(r->object[object].object, page);
	uint8_t dirt = o->page[page].dirt;

	if (!run_inside(o, page))
		return s == VMF_FAILED ? true : run_equal(r, "state", "the state of a page past the end", s, VMF_ABSENT);
	if (dirt == REF_DIRTY)
		return run_equal(r, "state", "the state of a dirty page", s, VMF_DIRTY);
	if (dirt == REF_CLEAN && (s == VMF_DIRTY || s == VMF_WRITING))
		return run_equal(r, "state", "the state of a clean page", s, VMF_PRESENT);
	return true;
}

static bool check_disk(struct run *r, unsigned object, unsigned page)
{
	for (unsigned k = 0; k < MODEL_WORDS; k++) {
		uint32_t is = r->object[object].disk[page][k], want = r->ref.object[object].page[page].disk.word[k];
		char text[80];
		struct model_text t = { text, text + sizeof(text) };

		if (is == want)
			continue;
		model_text(&t, "in the backing of object ");
		model_text_number(&t, object);
		model_text(&t, ", page ");
		model_text_number(&t, page);
		model_text(&t, ": word ");
		model_text_number(&t, k);
		return run_equal(r, "backing", text, is, want);
	}
	return true;
}

bool run_check_objects(struct run *r)
{
	for (unsigned i = MODEL_PAGED; i < MODEL_OBJECTS; i++)
		for (unsigned page = 0; page < MODEL_ROOM; page++) {
			if (!check_disk(r, i, page))
				return false;
			if (i != MODEL_STREAM && !check_dirt(r, i, page))
				return false;
		}
	if (run_soon(r, areas_told))
		return true;
	for (unsigned i = 0; i < MODEL_OBJECTS && !model_backed(i); i++) {
		uint32_t told = r->object[i].opened - r->object[i].closed;

		if (!run_equal(r, "areas", "opened less closed areas", told, areas_of(r, i)))
			return false;
	}
	return true;
}
