/* SPDX-License-Identifier: MIT
 *
 * The sweep: its driver, its table, and what the verbs share.
 */
#include "sweep.h"

#define WORD_AT 64u

static struct sweep w;

bool sweep_is(struct sweep *s, bool ok, const char *what)
{
	if (!ok) {
		s->st->put("# not so: ");
		s->st->put(what);
		s->st->put("\n");
		s->failed = true;
	}
	return ok;
}

void sweep_cannot(struct sweep *s, const char *reason) { s->cannot = reason; }

/* ------------------------------------------------------------------------------------------- the driver */

bool sweep_raw(const struct sweep *s, unsigned page)
{
	return s->kind == SWEEP_RAW || (s->kind == SWEEP_MIXED && page & 1);
}

bool sweep_owns(const struct sweep *s, unsigned page) { return s->private && !sweep_raw(s, page); }

/* Where an entry cannot be write-protected, what is private is copied as soon as it is seen. */
bool sweep_given(const struct sweep *s, unsigned page)
{
	if (sweep_raw(s, page))
		return false;
	return s->window.store == VMF_BY_COPY || (s->private && !s->window.protect);
}

bool sweep_refused(const struct sweep *s, unsigned page)
{
	return sweep_raw(s, page) && s->private && s->window.store == VMF_BY_ADDRESS;
}

uint32_t sweep_stamp(uint32_t set, unsigned page) { return 0x5eed0000 + (set << 8) + page; }

static vmf_pfn device_page(const struct sweep *s, unsigned page) { return (vmf_pfn){ s->st->device.first.n + page }; }

static enum vmf_code past_end(struct sweep *s, const struct vmf_req *req, struct vmf_ans *ans)
{
	s->asked++;
	ans->why = VMF_WHY_EOF;
	return req->off < s->length ? VMF_OK : VMF_SIGBUS;
}

/* Of a large frame, whichever page is wanted. */
static enum vmf_code one_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct sweep *s = req->object_priv;

	if (past_end(s, req, ans) != VMF_OK)
		return VMF_SIGBUS;
	if (req->order && s->length < s->pages)
		return VMF_FALLBACK;
	ans->frames[0] = s->frame[s->set][s->order ? 0 : req->off];
	vmf_frame_get(ans->frames[0]);
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code one_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct sweep *s = req->object_priv;

	if (past_end(s, req, ans) != VMF_OK)
		return VMF_SIGBUS;
	ans->pfn = device_page(s, (unsigned)req->off);
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code one_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct sweep *s = req->object_priv;
	unsigned page = (unsigned)req->off;
	struct vmf_result r;

	if (past_end(s, req, ans) != VMF_OK)
		return VMF_SIGBUS;
	if (sweep_raw(s, page)) {
		r = vmf_install_pfns(req, req->off, device_page(s, page), 1, s->st->device.attr, req->prot);
	} else {
		vmf_frame_get(s->frame[s->set][page]);
		r = vmf_install_frames(req, req->off, &s->frame[s->set][page], 1, req->prot);
	}
	return r.code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static enum vmf_code one_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct sweep *s = req->object_priv;

	s->announced++;
	ans->why = VMF_WHY_POLICY;
	return s->refuse ? VMF_SIGBUS : VMF_OK;
}

static int one_split(struct vmf_area *area, vmf_va va)
{
	const struct sweep *s = vmf_object_priv(vmf_area_object(area));

	return s->keep && va == s->keep ? -VMF_EPERM : 0;
}

static void one_opened(struct vmf_area *area)
{
	struct sweep *s = vmf_object_priv(vmf_area_object(area));

	s->opened++;
}

static void one_closed(struct vmf_area *area)
{
	struct sweep *s = vmf_object_priv(vmf_area_object(area));

	s->closed++;
}

/* The device's word is read; what is written is only counted. */
static int one_access(struct vmf_object *o, vmf_pgoff off, size_t at, void *bytes, size_t n, bool write)
{
	struct sweep *s = vmf_object_priv(o);
	const uint8_t *word = (const uint8_t *)&s->st->word; /* four bytes */

	if (s->refuse)
		return -VMF_EBUSY;
	s->accessed += (uint32_t)(1 + off * 0x100 + at * 0x10000);
	for (size_t i = 0; i < n && !write; i++)
		((uint8_t *)bytes)[i] = word[i % 4];
	return 0;
}

static struct vmf_ops ops_of(const struct sweep *s, bool announces)
{
	struct vmf_ops ops = { .size = sizeof(ops), .split = one_split, .opened = one_opened, .closed = one_closed,
			       .access = one_access };

	if (s->kind == SWEEP_RAW)
		ops.nopfn = one_nopfn;
	else if (s->kind == SWEEP_MIXED)
		ops.fault = one_fault;
	else
		ops.nopage = one_nopage;
	if (announces)
		ops.mkwrite = one_mkwrite;
	return ops;
}

/* ------------------------------------------------------------------------------------------ what is shown */

void *sweep_bytes(const struct sweep *s, uint32_t set, unsigned page)
{
	if (!s->order)
		return vmf_frame_bytes(s->st->port, s->frame[set][page]);
	return (uint8_t *)vmf_frame_bytes(s->st->port, s->frame[set][0]) + page * LIST_PAGE;
}

bool sweep_same(const struct sweep *s, unsigned page)
{
	return s->frame[0][s->order ? 0 : page] == s->frame[1][s->order ? 0 : page];
}

vmf_pfn sweep_pfn(const struct sweep *s, unsigned page)
{
	vmf_pfn pfn = vmf_frame_pfn(s->frame[0][s->order ? 0 : page]);

	pfn.n += s->order ? page : 0;
	return sweep_raw(s, page) ? device_page(s, page) : pfn;
}

static bool raw_seen(struct sweep *s, unsigned page)
{
	struct stage *st = s->st;
	uint32_t word;

	if (st->peek(st, sweep_at(s, page) + st->word_at, &word) || (!page && word != st->word))
		return false;
	return st->cannot[STAGE_SHOWS] || st->shows(st, sweep_at(s, page), device_page(s, page), st->device.attr);
}

bool sweep_seen(struct sweep *s, unsigned page)
{
	if (sweep_raw(s, page))
		return raw_seen(s, page);
	return list_reads(s->st, sweep_at(s, page) + WORD_AT, sweep_stamp(s->set, page));
}

bool sweep_all(struct sweep *s)
{
	bool all = true;

	for (unsigned i = 0; i < SWEEP_PAGES; i++)
		all &= sweep_seen(s, i);
	return all;
}

/* Where a word is written: not over what says which page it is. */
static vmf_va word_at(const struct sweep *s, unsigned page)
{
	return sweep_at(s, page) + (sweep_raw(s, page) ? s->st->scratch_at : 2 * WORD_AT);
}

bool sweep_writes(struct sweep *s, unsigned page, uint32_t word)
{
	if (sweep_refused(s, page))
		return sweep_fails(s, page, VMF_W, VMF_SIGBUS, VMF_WHY_POLICY);
	if (sweep_raw(s, page) && s->st->cannot[STAGE_SCRATCH])
		return true;
	return list_writes(s->st, word_at(s, page), word) && sweep_wrote(s, page, word);
}

bool sweep_wrote(struct sweep *s, unsigned page, uint32_t word)
{
	if (sweep_refused(s, page) || (sweep_raw(s, page) && s->st->cannot[STAGE_SCRATCH]))
		return true;
	return list_reads(s->st, word_at(s, page), word);
}

bool sweep_fails(struct sweep *s, unsigned page, unsigned access, unsigned code, unsigned why)
{
	struct stage *st = s->st;
	uint32_t word = 1;
	int failed;

	st->failed = (struct vmf_result){ 0 };
	failed = access == VMF_W ? st->poke(st, word_at(s, page), word) : st->peek(st, word_at(s, page), &word);
	return failed && st->failed.code == code && st->failed.why == why;
}

/* ---------------------------------------------------------------------------------------------- a cell */

static void stamp(struct sweep *s)
{
	for (uint32_t set = 0; set < 2; set++)
		for (unsigned page = 0; page < SWEEP_PAGES; page++)
			if (!sweep_raw(s, page) && (!set || !sweep_same(s, page))) {
				uint32_t *word = sweep_bytes(s, set, page);

				word[0] = word[WORD_AT / sizeof(*word)] = word[LIST_PAGE / sizeof(*word) - 1] = sweep_stamp(set, page);
			}
}

static bool frames_take(struct sweep *s)
{
	bool all = true;

	for (unsigned i = 0; i < 2 * SWEEP_PAGES; i++) {
		unsigned page = i % SWEEP_PAGES;
		struct vmf_frame **f = &s->frame[i / SWEEP_PAGES][page];

		if (sweep_raw(s, page) || (s->order && page))
			continue;
		if (!s->order)
			*f = vmf_frame_at(s->object, page);
		else if (vmf_frame_alloc(s->st->port, s->order, 0, true, f))
			*f = NULL;
		all &= *f != NULL;
	}
	if (all)
		stamp(s);
	return all;
}

static void frames_put(struct sweep *s)
{
	for (unsigned i = 0; i < 2 * SWEEP_PAGES; i++) {
		struct vmf_frame **f = &s->frame[i / SWEEP_PAGES][i % SWEEP_PAGES];

		if (*f)
			vmf_frame_put(s->st->port, *f);
		*f = NULL;
	}
}

/* What is large has to be aligned. */
static bool aligned(struct sweep *s, struct vmf_map *m)
{
	vmf_va bytes = (vmf_va)LIST_PAGE << s->order;

	m->order = s->order;
	m->flags = VMF_FIXED;
	if (!list_gap(s->st, m->pages + s->pages, &m->va))
		return false;
	m->va = (m->va + bytes - 1) & ~(bytes - 1);
	return true;
}

int sweep_map(struct sweep *s, unsigned prot, unsigned action, uint64_t pages, vmf_va *va)
{
	struct vmf_map m = { .size = sizeof(m), .pages = pages, .prot = (uint8_t)prot, .action = (uint8_t)action };

	if (s->order && !aligned(s, &m))
		return -VMF_ENOSPC;
	if (s->kind == SWEEP_RAW) /* memory has the attributes of memory */
		m.attr = s->st->device.attr;
	m.flags |= (s->private ? 0 : (unsigned)VMF_SHARED) | (s->kind == SWEEP_MIXED ? (unsigned)VMF_MIXED : 0);
	return vmf_map(s->st->space, s->object, &m, va);
}

/* Of this stage's windows. */
static uint64_t orders;

static uint64_t orders_of(struct stage *st)
{
	static const struct vmf_ops zero = { .size = sizeof(zero) };
	struct vmf_window win = VMF_INIT(struct vmf_window);
	struct vmf_area *area;
	struct vmf_object *o;
	vmf_va va;

	if (vmf_object_create(st->port, &o, &zero, NULL, 1))
		return 0;
	if (!list_map(st, o, 1, VMF_R, &va)) {
		area = vmf_area_find(st->space, va);
		if (area)
			vmf_area_window(area, &win);
		vmf_area_put(area);
		list_free(st, va, 1);
	}
	vmf_object_put(o);
	return win.orders;
}

/* The lowest order that four pages fit in; 2 also if there is none, which will be said. */
static uint8_t order_wanted(void)
{
	uint8_t order = 2;

	while (order < 10 && !(orders >> order & 1))
		order++;
	return order < 10 ? order : 2;
}

/* What vmf_map() has to say: which of its areas a port does not have. */
static int refusal(const struct sweep *s)
{
	const struct stage *st = s->st;

	if (s->private && st->cannot[STAGE_PRIVATE])
		return -VMF_ENOSYS;
	if (!s->private && st->cannot[STAGE_SHARED])
		return -VMF_ENOSYS;
	if (s->kind == SWEEP_HUGE && (s->private || !(orders >> s->order & 1)))
		return -VMF_ENOSYS;
	return s->private && s->kind == SWEEP_RAW && st->store == VMF_BY_ADDRESS ? -VMF_EINVAL : 0;
}

/* NULL, or why this port cannot have such areas in this kind of window. */
static const char *elsewhere(const struct sweep *s)
{
	const struct stage *st = s->st;
	bool usual = s->private == !(st->flags & VMF_SHARED);

	if (s->kind == SWEEP_HUGE && s->private && st->cannot[STAGE_HUGE])
		return st->cannot[STAGE_HUGE];
	if ((s->kind == SWEEP_RAW || s->kind == SWEEP_MIXED) && st->cannot[STAGE_DEVICE])
		return st->cannot[STAGE_DEVICE];
	return usual || st->store == VMF_BY_ADDRESS || refusal(s) ? NULL : "such areas have another kind of window here";
}

/* => mapped; false: the cell is over */
static bool cell_open(struct sweep *s, bool announces)
{
	struct vmf_ops ops = ops_of(s, announces);
	struct vmf_area *area;
	int err;

	s->window.size = sizeof(s->window);
	s->order = s->kind == SWEEP_HUGE ? order_wanted() : 0;
	s->length = s->pages = s->order ? (uint64_t)1 << s->order : SWEEP_PAGES;
	s->free = list_frames_free(s->st) + s->st->broken;
	if (!sweep_is(s, !vmf_object_create(s->st->port, &s->object, &ops, s, s->pages), "an object"))
		return false;
	if (!sweep_is(s, frames_take(s), "its frames"))
		return false;
	err = sweep_map(s, VMF_R | VMF_W, VMF_LAZY, s->pages, &s->va);
	if (!sweep_is(s, err == refusal(s), "mapped, or refused as it has to be") || err)
		return false;
	area = vmf_area_find(s->st->space, s->va);
	if (area)
		vmf_area_window(area, &s->window);
	vmf_area_put(area);
	return sweep_is(s, s->window.store == s->st->store, "in this kind of window");
}

/* Whatever happened, nobody has a reference too many or too few. */
static void cell_close(struct sweep *s)
{
	if (s->va)
		list_free(s->st, s->va, s->pages);
	sweep_is(s, s->opened == s->closed, "closed as often as opened");
	for (unsigned page = 0; page < SWEEP_PAGES; page++)
		for (uint32_t set = 0; set < 2; set++)
			if (s->frame[set][page])
				sweep_is(s, !list_frame_free(s->st, vmf_frame_pfn(s->frame[set][page])),
					 "the driver's reference is its own");
	frames_put(s);
	vmf_object_put(s->object);
	s->object = NULL;
	for (unsigned tries = 0; list_frames_free(s->st) + s->st->broken != s->free && tries < 100; tries++)
		continue;
	sweep_is(s, list_frames_free(s->st) + s->st->broken == s->free, "every frame is free again");
}

/* ---------------------------------------------------------------------------------------------- the table */

static const char *const kinds[SWEEP_KINDS] = { "frame", "raw", "mixed", "huge" };

/* What is expected, by kind: shared frame, raw, mixed, huge; private frame, raw, mixed, huge.  A dot: there is no such
 * area, and vmf_map() says so.
 *	+  as it says
 *	a  the driver is asked again			k  the bytes stay, whatever happens to the object
 *	o  what was written stays, else as a		r  refused
 *	n  the driver is told of the first write	c  it is not: the first write copies, or the bytes are the area's
 *	f  the debugger reads and writes frames		d  the driver does it */
static const struct row {
	const char *verb;
	void (*run)(struct sweep *);
	bool announces;
	const char *by_address, *by_offset, *by_copy;
} rows[] = {
	{ "unmap",    sweep_unmap,    false, "++++ +.+.", "+++. ....", ".... +++." },
	{ "protect",  sweep_protect,  false, "++++ +.+.", "+++. ....", ".... +++." },
	{ "split",    sweep_split,    false, "++++ +.+.", "+++. ....", ".... +++." },
	{ "fork",     sweep_fork,     false, "++++ +.+.", "+++. ....", ".... +++." },
	{ "revoke",   sweep_revoke,   false, "aaaa o.o.", "aaa. ....", ".... kak." },
	{ "truncate", sweep_truncate, false, "aaaa o.o.", "aaa. ....", ".... kak." },
	{ "upgrade",  sweep_upgrade,  true,  "nnnn c.c.", "nnn. ....", ".... ccc." },
	{ "wire",     sweep_wire,     false, "++++ +.r.", "+++. ....", ".... +++." },
	{ "stats",    sweep_stats,    false, "++++ +.+.", "+++. ....", ".... +++." },
	{ "access",   sweep_access,   false, "fddf f.d.", "fdd. ....", ".... fdd." },
	{ "poison",   sweep_poison,   false, "aaaa o.o.", "aaa. ....", ".... kak." }, /* last: what is broken stays so */
};

static char expected(const struct row *row, const struct stage *st, unsigned kind, bool private)
{
	const char *all = st->store == VMF_BY_ADDRESS ? row->by_address : st->store == VMF_BY_OFFSET ? row->by_offset :
			  row->by_copy;

	if (kind == SWEEP_HUGE && !(orders >> order_wanted() & 1))
		return '.'; /* page tables with one size of pages */
	return all[kind + (private ? SWEEP_KINDS + 1 : 0)];
}

static void name_put(char *name, size_t *n, const char *s)
{
	while (*s && *n < 62)
		name[(*n)++] = *s++;
	name[*n] = 0;
}

/* What may be written as soon as it is shown is not shown where it would have to be copied. */
static void cell_refused(struct sweep *s)
{
	sweep_is(s, sweep_seen(s, 0) && sweep_fails(s, 3, VMF_R, VMF_SIGBUS, VMF_WHY_POLICY) && sweep_writes(s, 2, 7) &&
		 sweep_writes(s, 3, 7), "frames, and no device");
}

/* What came of a cell: + it works as the table says, . there is no such area, and it was refused, - it cannot be had
 * here, F it failed. */
static char cell(struct stage *st, const struct row *row, unsigned kind, bool private)
{
	char name[64];
	size_t n = 0;

	name_put(name, &n, "sweep-");
	name_put(name, &n, row->verb);
	name_put(name, &n, ": ");
	name_put(name, &n, kinds[kind]);
	name_put(name, &n, private ? ", private" : ", shared");
	w = (struct sweep){ .st = st, .kind = (enum sweep_kind)kind, .private = private, .verb = row->verb,
			    .expect = expected(row, st, kind, private) };
	w.cannot = elsewhere(&w);
	if (!w.cannot) {
		bool open = cell_open(&w, row->announces);

		sweep_is(&w, open == (w.expect != '.'), "the table says whether there is such an area");
		if (open && sweep_refused(&w, 1) && !w.window.protect)
			cell_refused(&w);
		else if (open)
			row->run(&w);
		cell_close(&w);
	}
	if (w.cannot && !w.failed) {
		list_skip(st, name, w.cannot);
		return '-';
	}
	return !list_check(st, !w.failed, name) ? 'F' : w.expect == '.' ? '.' : '+';
}

#define ROWS (sizeof(rows) / sizeof(rows[0]))
static char came[ROWS][2][SWEEP_KINDS];

static void put_padded(struct stage *st, const char *s, unsigned width)
{
	for (; *s || width; width -= !!width) {
		char c[2] = { *s ? *s++ : ' ', 0 };

		st->put(c);
	}
}

static void put_table(struct stage *st, const char *title, bool private)
{
	st->put("# ");
	put_padded(st, title, 10);
	for (unsigned kind = 0; kind < SWEEP_KINDS; kind++)
		put_padded(st, kinds[kind], 6);
	st->put("\n");
	for (unsigned i = 0; i < ROWS; i++) {
		st->put("# ");
		put_padded(st, rows[i].verb, 10);
		for (unsigned kind = 0; kind < SWEEP_KINDS; kind++) {
			char c[2] = { came[i][private][kind], 0 };

			put_padded(st, c, 6);
		}
		st->put("\n");
	}
}

void list_run_sweep(struct stage *st)
{
	orders = orders_of(st);
	for (unsigned i = 0; i < ROWS; i++)
		for (unsigned private = 0; private < 2; private++)
			for (unsigned kind = 0; kind < SWEEP_KINDS; kind++)
				came[i][private][kind] = cell(st, &rows[i], kind, private);
	put_table(st, "shared", false);
	put_table(st, "private", true);
}
