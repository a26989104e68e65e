/* SPDX-License-Identifier: MIT
 *
 * See object.h.  A backing reads whole pages, as a disk does: past its end they are full of what must not be seen.
 */
#include "object.h"

#define RUN 4u
#define JUNK 0xbadbad00u

uint32_t model_value(const struct model_stage *st, unsigned k, uint32_t value)
{
	return k == MODEL_CODE && st->code ? st->code(value) : value;
}

uint32_t model_first_word(const struct model_stage *st, unsigned kind, unsigned page, unsigned k)
{
	if (kind == MODEL_ZERO || (model_backed(kind) && page % 5 == 3))
		return 0; /* a hole */
	return model_value(st, k, (kind + 1) << 28 | page << 16 | (k + 1) << 8 | 0x5a);
}

static void page_set(struct vmf_port *port, struct vmf_frame *frame, const uint32_t word[MODEL_WORDS])
{
	uint8_t *bytes = vmf_frame_bytes(port, frame);

	for (unsigned k = 0; k < MODEL_WORDS; k++)
		*(volatile uint32_t *)(void *)(bytes + model_word_at(k)) = word[k];
}

/* ----------------------------------------------------------------------------------------------- drivers */

static void opened(struct vmf_area *a)
{
	struct model_object *m = vmf_object_priv(vmf_area_object(a));

	m->opened++;
}

static void closed(struct vmf_area *a)
{
	struct model_object *m = vmf_object_priv(vmf_area_object(a));

	m->closed++;
}

static void released(struct vmf_object *o, void *priv)
{
	struct model_object *m = priv;

	(void)o;
	m->ended++;
}

static enum vmf_code bad(struct vmf_ans *ans)
{
	ans->why = VMF_WHY_IOERR;
	ans->err = MODEL_READ_ERR;
	return VMF_SIGBUS;
}

/* The answer is complete, and some of it is not true any more. */
static void race(struct model_object *m, vmf_pgoff lo, vmf_pgoff hi)
{
	if (m->race.state != MODEL_RACE_ARMED || m->race.page < lo || m->race.page >= hi)
		return;
	m->race.announced = m->announced[m->race.page];
	if (!model_object_swap(m, m->race.page, m->race.word))
		m->race.state = MODEL_RACE_OVER;
}

static enum vmf_code nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct model_object *m = req->object_priv;

	if (m->bad_read >> req->off & 1)
		return bad(ans);
	vmf_frame_get(m->frame[req->off]);
	ans->frames[0] = m->frame[req->off];
	ans->n = 1;
	race(m, req->off, req->off + 1);
	return VMF_OK;
}

/* As much of the aligned run as is good, around the page that was asked for. */
static enum vmf_code nopage_run(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct model_object *m = req->object_priv;
	vmf_pgoff lo = req->off & ~(vmf_pgoff)(RUN - 1), hi = lo + RUN;

	if (m->bad_read >> req->off & 1)
		return bad(ans);
	for (vmf_pgoff at = lo; at < req->off; at++)
		if (m->bad_read >> at & 1)
			lo = at + 1;
	for (vmf_pgoff at = hi - 1; at > req->off; at--)
		if (m->bad_read >> at & 1 || at >= MODEL_DRIVER_PAGES)
			hi = at;
	ans->first = lo;
	for (vmf_pgoff at = lo; at < hi; at++) {
		vmf_frame_get(m->frame[at]);
		ans->frames[ans->n++] = m->frame[at];
	}
	race(m, lo, hi);
	return VMF_OK;
}

static enum vmf_code mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct model_object *m = req->object_priv;

	(void)ans;
	m->announced[req->off]++;
	return VMF_OK;
}

static int split(struct vmf_area *a, vmf_va va)
{
	vmf_pgoff off = vmf_area_off(a) + (va - vmf_area_va(a)) / MODEL_PAGE;

	return off & 1 ? -VMF_EBUSY : 0;
}

static const struct vmf_ops zero_ops = {
	.size = sizeof(zero_ops), .opened = opened, .closed = closed, .release = released,
};
static const struct vmf_ops driver_ops = {
	.size = sizeof(driver_ops), .nopage = nopage, .mkwrite = mkwrite, .opened = opened, .closed = closed,
	.release = released,
};
static const struct vmf_ops runs_ops = {
	.size = sizeof(runs_ops), .nopage = nopage_run, .split = split, .opened = opened, .closed = closed,
	.release = released,
};

static int driver_open(struct model_object *m, const struct vmf_ops *ops)
{
	int err = vmf_object_create(m->port, &m->object, ops, m, MODEL_DRIVER_PAGES);

	for (unsigned page = 0; !err && model_drives(m->kind) && page < MODEL_DRIVER_PAGES; page++) {
		uint32_t word[MODEL_WORDS];

		for (unsigned k = 0; k < MODEL_WORDS; k++)
			word[k] = model_first_word(m->stage, m->kind, page, k);
		m->frame[page] = vmf_frame_at(m->object, page);
		if (m->frame[page])
			page_set(m->port, m->frame[page], word);
		else
			err = -VMF_ENOMEM;
	}
	return err;
}

void model_object_poke(struct model_object *m, unsigned page, unsigned k, uint32_t word)
{
	uint8_t *bytes = vmf_frame_bytes(m->port, m->frame[page]);

	*(volatile uint32_t *)(void *)(bytes + model_word_at(k)) = word;
}

int model_object_swap(struct model_object *m, unsigned page, const uint32_t word[MODEL_WORDS])
{
	struct vmf_frame *old = m->frame[page], *frame;
	int err = vmf_frame_alloc(m->port, 0, 0, true, &frame);

	if (err)
		return err;
	page_set(m->port, frame, word);
	m->frame[page] = frame;
	err = vmf_revoke(m->object, page, 1);
	vmf_frame_put(m->port, old);
	return err;
}

/* ---------------------------------------------------------------------------------------------- backings */

static void page_read(const struct model_object *m, const struct vmf_io *io, uint32_t i)
{
	uint8_t *bytes = vmf_io_bytes(io, i, NULL);
	vmf_pgoff page = io->first + i;

	for (unsigned at = 0; at < MODEL_PAGE; at += 4)
		*(volatile uint32_t *)(void *)(bytes + at) = page * MODEL_PAGE + at < m->bytes ? 0 : JUNK;
	for (unsigned k = 0; k < MODEL_WORDS; k++)
		if (page * MODEL_PAGE + model_word_at(k) < m->bytes)
			*(volatile uint32_t *)(void *)(bytes + model_word_at(k)) = m->disk[page][k];
}

/* What io->bytes does not reach is not written; a file would become longer. */
static void page_write(struct model_object *m, const struct vmf_io *io, uint32_t i)
{
	const uint8_t *bytes = vmf_io_bytes(io, i, NULL);

	for (unsigned k = 0; k < MODEL_WORDS; k++)
		if (i * MODEL_PAGE + model_word_at(k) < io->bytes)
			m->disk[io->first + i][k] = *(const volatile uint32_t *)(const void *)(bytes + model_word_at(k));
}

static int start(void *self, struct vmf_io *io)
{
	struct model_object *m = self;
	uint32_t bad_pages = io->write ? m->bad_write : m->bad_read, i = 0;

	for (; i < io->n && !(bad_pages >> (io->first + i) & 1); i++) {
		if (io->write)
			page_write(m, io, i);
		else
			page_read(m, io, i);
	}
	vmf_io_done(io, i, i == io->n ? 0 : io->write ? MODEL_WRITE_ERR : MODEL_READ_ERR);
	return 0;
}

static bool page_zero(const struct model_object *m, vmf_pgoff page)
{
	bool zero = true;

	for (unsigned k = 0; k < MODEL_WORDS; k++)
		zero &= !m->disk[page][k];
	return zero;
}

/* Of holes it knows a page at a time, of data all that follows. */
static int extent(void *self, vmf_pgoff at, struct vmf_extent *e)
{
	const struct model_object *m = self;

	*e = (struct vmf_extent){ .first = at, .pages = 1, .zero = page_zero(m, at) && !(m->bad_read >> at & 1) };
	while (!e->zero && at + e->pages < MODEL_ROOM && !page_zero(m, at + e->pages))
		e->pages++;
	return 0;
}

static int length(void *self, uint64_t *bytes)
{
	const struct model_object *m = self;

	*bytes = m->bytes;
	return 0;
}

static void ended(void *self)
{
	struct model_object *m = self;

	m->ended++;
}

static const struct vmf_backing_ops backing_ops = {
	.size = sizeof(backing_ops), .start = start, .extent = extent, .length = length, .close = ended,
};

static int backed_open(struct model_object *m)
{
	struct vmf_backed b = { .size = sizeof(b), .ops = &backing_ops, .self = m, .pages = MODEL_ROOM };

	m->bytes = (MODEL_ROOM - 4) * MODEL_PAGE;
	for (unsigned page = 0; page * MODEL_PAGE < m->bytes; page++)
		for (unsigned k = 0; k < MODEL_WORDS; k++)
			m->disk[page][k] = model_first_word(m->stage, m->kind, page, k);
	if (m->kind == MODEL_AROUND) {
		b.around = 4;
		b.readahead = 8;
	}
	b.flags = m->kind == MODEL_READONLY ? VMF_RDONLY : m->kind == MODEL_STREAM ? VMF_STREAM : 0;
	return vmf_object_backed(m->port, &m->object, &b);
}

/* -------------------------------------------------------------------------------------------------------- */

int model_object_open(struct model_object *m, struct model_stage *st, unsigned kind)
{
	static const struct vmf_ops *const ops[] = { &zero_ops, &driver_ops, &runs_ops };

	*m = (struct model_object){ .port = st->port, .stage = st, .kind = (uint8_t)kind };
	return model_backed(kind) ? backed_open(m) : driver_open(m, ops[kind]);
}

void model_object_close(struct model_object *m)
{
	vmf_object_put(m->object);
	for (unsigned page = 0; page < MODEL_ROOM; page++)
		if (m->frame[page])
			vmf_frame_put(m->port, m->frame[page]);
}
