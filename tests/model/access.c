/* SPDX-License-Identifier: MIT
 *
 * Loads, stores and fetches of one page: what comes of them is compared, and the reference follows.
 */
#include "run.h"

/* ----------------------------------------------------------------------------------------------- failures */

static struct model_text failure(struct run *r, const char *check)
{
	struct model_text t = { r->out->text, r->out->text + sizeof(r->out->text) };

	r->out->failed = true;
	r->out->check = check;
	*t.at = 0;
	return t;
}

bool run_fail(struct run *r, const char *check, const char *text)
{
	struct model_text t = failure(r, check);

	model_text(&t, text);
	return false;
}

bool run_equal(struct run *r, const char *check, const char *what, uint32_t is, uint32_t want)
{
	struct model_text t;

	if (is == want)
		return true;
	t = failure(r, check);
	model_text(&t, what);
	model_text(&t, " is ");
	model_text_hex(&t, is);
	model_text(&t, ", not ");
	model_text_hex(&t, want);
	return false;
}

bool run_errors(struct run *r, const char *what, int err, uint32_t allowed)
{
	struct model_text t;

	if (err <= 0 && err > -32 && allowed >> -err & 1)
		return true;
	t = failure(r, "error");
	model_text(&t, what);
	model_text(&t, ": ");
	model_text(&t, vmf_err_str(err));
	model_text(&t, ", not one of");
	for (int i = 0; i < 32; i++)
		if (allowed >> i & 1) {
			model_text(&t, " [");
			model_text(&t, vmf_err_str(-i));
			model_text(&t, "]");
		}
	return false;
}

static void text_cell(struct run *r, struct model_text *t, unsigned space, unsigned page)
{
	const struct ref_cell *c = &r->ref.cell[space][page];

	model_text(t, " space ");
	model_text_number(t, space);
	model_text(t, " page ");
	model_text_number(t, page);
	if (!c->mapped) {
		model_text(t, " (not mapped)");
		return;
	}
	model_text(t, c->shared ? " (shared, object " : c->own ? " (private and its own, object " : " (private, object ");
	model_text_number(t, c->object);
	model_text(t, " page ");
	model_text_number(t, c->off);
	model_text(t, ")");
}

bool run_fail_at(struct run *r, const char *check, unsigned space, unsigned page, const char *text)
{
	struct model_text t = failure(r, check);

	model_text(&t, text);
	text_cell(r, &t, space, page);
	return false;
}

static bool fail_word(struct run *r, unsigned space, unsigned page, unsigned k, uint32_t is, uint32_t want)
{
	struct model_text t = failure(r, "contents");

	text_cell(r, &t, space, page);
	model_text(&t, ": word ");
	model_text_number(&t, k);
	model_text(&t, " is ");
	model_text_hex(&t, is);
	model_text(&t, ", not ");
	model_text_hex(&t, want);
	return false;
}

/* ------------------------------------------------------------------------------------------------ results */

static bool in_memory(struct run *r, const struct ref_cell *c)
{
	enum vmf_state s;

	if (!c->mapped || !model_backed(c->object) || c->object == MODEL_STREAM || c->off >= MODEL_ROOM)
		return false;
	s = vmf_page_state(r->object[c->object].object, c->off);
	return s == VMF_PRESENT || s == VMF_DIRTY || s == VMF_WRITING;
}

struct ref_expect run_expects(struct run *r, const struct ref_cell *c, unsigned access)
{
	return ref_expect(&r->ref, c, access, in_memory(r, c));
}

/* A driver that revokes sees to what was written itself: its pages are clean, and their next write is announced. */
void run_driver_clean(struct run *r, unsigned object, unsigned off, unsigned n)
{
	for (unsigned i = 0; i < n && object == MODEL_DRIVER; i++)
		r->ref.object[object].page[off + i].dirt = REF_CLEAN;
}

void run_raced(struct run *r)
{
	for (unsigned i = 0; i < MODEL_OBJECTS; i++) {
		struct model_race *race = &r->object[i].race;
		struct ref_words w;

		if (race->state != MODEL_RACE_OVER)
			continue;
		for (unsigned k = 0; k < MODEL_WORDS; k++)
			w.word[k] = race->word[k];
		ref_replace(&r->ref.object[i], race->page, &w);
		run_driver_clean(r, i, race->page, 1);
		if (i == MODEL_DRIVER)
			r->announced[race->page] = race->announced;
		race->state = MODEL_RACE_NONE;
	}
}

static const char *access_name(unsigned access)
{
	return access == VMF_R ? "load" : access == VMF_W ? "store" : "fetch";
}

static bool same(struct vmf_result a, struct vmf_result b)
{
	return a.code == b.code && a.why == b.why && a.err == b.err;
}

/* Does what came of it stand among what may? */
static bool right(struct run *r, unsigned space, unsigned page, unsigned access, struct ref_expect e, int failed)
{
	struct vmf_result is = failed ? r->st->failed : (struct vmf_result){ .code = VMF_OK };
	struct model_text t;
	char name[32];

	run_raced(r);
	r->out->pages++;
	r->out->failing += failed;
	if (failed ? e.fails && (same(is, e.result) || (e.other.code && same(is, e.other))) : e.ok)
		return true;
	t = failure(r, "result");
	model_text(&t, access_name(access));
	text_cell(r, &t, space, page);
	model_text(&t, ": ");
	model_text(&t, vmf_result_str(is, name, sizeof(name)));
	model_text(&t, ", not ");
	model_text(&t, e.fails ? vmf_result_str(e.result, name, sizeof(name)) : "OK");
	model_text(&t, e.fails && e.ok ? " or OK" : "");
	return false;
}

/* ---------------------------------------------------------------------------------- first writes, and dirt */

/* The driver was told of the first write to a clean page, once; of nothing else. */
static bool announced(struct run *r, unsigned off, bool stored, bool may)
{
	struct ref_page *p = &r->ref.object[MODEL_DRIVER].page[off];
	uint32_t n = r->object[MODEL_DRIVER].announced[off] - r->announced[off];
	bool clean = p->dirt == REF_CLEAN;

	r->announced[off] += n;
	if (n > 1 || (n && (!clean || !may)) || (!n && stored && clean))
		return run_equal(r, "mkwrite", "announcements of a first write", n, stored && clean);
	if (n)
		p->dirt = REF_DIRTY;
	return true;
}

bool run_touched(struct run *r, const struct ref_cell *c, unsigned access)
{
	struct ref_object *o = run_object(r, c);
	bool may = access == VMF_W || !r->ref.protects;

	if (!c->shared || !o->tracks || !(c->prot & VMF_W) || !run_inside(o, c->off))
		return true;
	if (c->object == MODEL_DRIVER)
		return announced(r, c->off, access == VMF_W, may);
	if (access == VMF_W)
		o->page[c->off].dirt = REF_DIRTY;
	else if (may && o->page[c->off].dirt == REF_CLEAN)
		o->page[c->off].dirt = REF_EITHER;
	return true;
}

/* Such an access failed; what reads before it fails may have entered the page. */
static bool refused(struct run *r, const struct ref_cell *c, unsigned access)
{
	if (access == VMF_X && r->st->reads_first && c->mapped && c->prot && !c->lost)
		return run_touched(r, c, VMF_R);
	if (!c->mapped || !c->shared || c->object != MODEL_DRIVER || !(c->prot & access))
		return true;
	if (!run_inside(run_object(r, c), c->off))
		return true;
	return announced(r, c->off, false, access == VMF_W || (!r->ref.protects && c->prot & VMF_W));
}

/* ---------------------------------------------------------------------------------------------- the three */

static int port_load(struct run *r, unsigned space, unsigned page, struct ref_words *w)
{
	r->st->failed = (struct vmf_result){ 0 };
	return r->st->load(r->st, space, run_va(r, page), w->word);
}

bool run_load(struct run *r, unsigned space, unsigned page)
{
	struct ref_cell *c = &r->ref.cell[space][page];
	struct ref_expect e = run_expects(r, c, VMF_R);
	struct ref_words w = { { 0 } };
	const struct ref_words *want;
	int failed = port_load(r, space, page, &w);

	if (!right(r, space, page, VMF_R, e, failed))
		return false;
	if (failed)
		return refused(r, c, VMF_R);
	if (ref_sees(&r->ref, c, &w)) {
		/* Bytes by copy are there from now on. */
		if (!c->shared && !c->held && r->private.store == VMF_BY_COPY)
			ref_hold(c, &w);
		return run_touched(r, c, VMF_R);
	}
	want = c->held ? &c->mine : ref_now(&run_object(r, c)->page[c->off % MODEL_ROOM]);
	for (unsigned k = 0; k < MODEL_WORDS; k++)
		if (w.word[k] != want->word[k])
			return fail_word(r, space, page, k, w.word[k], want->word[k]);
	return run_fail_at(r, "contents", space, page, "what it never was again:");
}

static bool stored_private(struct run *r, unsigned space, unsigned page, unsigned k, uint32_t value)
{
	struct ref_cell *c = &r->ref.cell[space][page];
	struct ref_expect e = { .ok = true };
	struct ref_words now;

	if (!right(r, space, page, VMF_R, e, port_load(r, space, page, &now)))
		return false;
	if (ref_own(&r->ref, c, k, value, &now))
		return true;
	return run_fail_at(r, "contents", space, page, "after a store, what it cannot be:");
}

/* What is past the end of a backing in its last page: not written. */
static bool nobodys(const struct run *r, const struct ref_cell *c, unsigned k)
{
	const struct ref_object *o = &r->ref.object[c->object];

	return c->mapped && c->shared && run_inside(o, c->off) && c->off * MODEL_PAGE + model_word_at(k) >= o->bytes;
}

bool run_store(struct run *r, unsigned space, unsigned page, unsigned k, uint32_t value)
{
	struct ref_cell *c = &r->ref.cell[space][page];
	struct ref_expect e = run_expects(r, c, VMF_W);
	int failed;

	if (nobodys(r, c, k))
		return true;
	value = model_value(r->st, k, value);
	r->st->failed = (struct vmf_result){ 0 };
	failed = r->st->store(r->st, space, run_va(r, page) + model_word_at(k), value);
	if (!right(r, space, page, VMF_W, e, failed))
		return false;
	if (failed)
		return refused(r, c, VMF_W);
	if (!c->shared)
		return stored_private(r, space, page, k, value);
	if (!run_touched(r, c, VMF_W))
		return false;
	ref_write(run_object(r, c), c->off, k, value);
	return true;
}

/* Is what may be there surely a function? */
static bool runs(struct run *r, const struct ref_cell *c)
{
	const struct ref_page *p = &run_object(r, c)->page[c->off % MODEL_ROOM];
	bool sure = true;

	if (!r->st->code)
		return true;
	if (c->held)
		return r->st->code(c->mine.word[MODEL_CODE]) == c->mine.word[MODEL_CODE];
	for (unsigned v = 0; v < REF_OLD && v <= p->version; v++)
		sure &= r->st->code(p->old[v].word[MODEL_CODE]) == p->old[v].word[MODEL_CODE];
	return sure;
}

bool run_fetch(struct run *r, unsigned space, unsigned page)
{
	struct ref_cell *c = &r->ref.cell[space][page];
	struct ref_expect e = run_expects(r, c, VMF_X);
	uint32_t mask = r->st->code ? r->st->code_mask : ~0u, word = 0;
	struct ref_words w;
	int failed;

	if (!r->st->fetch || (e.ok && !runs(r, c)))
		return true;
	r->st->failed = (struct vmf_result){ 0 };
	failed = r->st->fetch(r->st, space, run_va(r, page) + model_word_at(MODEL_CODE), &word);
	if (!right(r, space, page, VMF_X, e, failed))
		return false;
	if (failed)
		return refused(r, c, VMF_X);
	if (!run_touched(r, c, VMF_X) || !run_load(r, space, page) || port_load(r, space, page, &w))
		return r->out->failed ? false : run_fail_at(r, "contents", space, page, "fetched, and not loaded:");
	if ((w.word[MODEL_CODE] & mask) != (word & mask))
		return fail_word(r, space, page, MODEL_CODE, word, w.word[MODEL_CODE]);
	return true;
}
