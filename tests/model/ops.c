/* SPDX-License-Identifier: MIT
 *
 * Operations: made at random, and in words.
 */
#include "object.h"

const char *const model_kind_name[MODEL_KINDS] = {
	"map", "unmap", "protect", "load", "store", "fetch", "fork", "leave", "revoke", "resize", "sync", "reclaim", "move",
	"forget", "gone", "poke", "swap", "spoil", "heal", "glance", "check",
};
/* Of all of them together. */
static const uint8_t weight[MODEL_KINDS] = { 16, 2, 6, 12, 18, 4, 1, 1, 3, 2, 4, 4, 3, 3, 1, 2, 2, 1, 1, 9, 5 };

static uint32_t next(struct model_random *r)
{
	r->state = r->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(r->state >> 32) ^ (uint32_t)(r->state >> 51);
}

static uint8_t pick(struct model_random *r)
{
	uint32_t all = 0, at;
	uint8_t kind = 0;

	for (unsigned i = 0; i < MODEL_KINDS; i++)
		all += weight[i];
	at = next(r) % all;
	for (; at >= weight[kind]; kind++)
		at -= weight[kind];
	return kind;
}

struct model_op model_op_random(struct model_random *r)
{
	struct model_op op = { .kind = pick(r) };
	uint32_t a = next(r), b = next(r);

	op.space = (uint8_t)(a % MODEL_SPACES);
	op.page = (uint8_t)(a / MODEL_SPACES % MODEL_PAGES);
	op.n = (uint8_t)(1 + (a >> 16 & 1 ? a >> 17 & 1 : a >> 17 & 7));
	op.object = (uint8_t)((a >> 20) % MODEL_OBJECTS);
	op.off = (uint8_t)((a >> 24) % MODEL_ROOM);
	op.prot = (uint8_t)(b & 31);
	op.flags = (uint8_t)((b >> 5 & 1 ? VMF_SHARED : 0) | ((b >> 6 & 7) == 0 ? VMF_NOFORK : 0) |
						 ((b >> 9 & 7) == 0 ? MODEL_POPULATE : 0) | ((b >> 12 & 15) == 0 ? MODEL_ANYWHERE : 0));
	op.value = next(r);
	return op;
}

/* ---------------------------------------------------------------------------------------------------- words */

void model_text(struct model_text *t, const char *s)
{
	while (*s && t->at + 1 < t->end)
		*t->at++ = *s++;
	*t->at = 0;
}

void model_text_number(struct model_text *t, uint32_t n)
{
	char digit[2] = { (char)('0' + n % 10), 0 };

	if (n >= 10)
		model_text_number(t, n / 10);
	model_text(t, digit);
}

void model_text_hex(struct model_text *t, uint32_t v)
{
	char digit[11] = "0x00000000";

	for (unsigned i = 0; i < 8; i++)
		digit[2 + i] = "0123456789abcdef"[v >> (28 - 4 * i) & 15];
	model_text(t, digit);
}

static void text_prot(struct model_text *t, unsigned prot)
{
	model_text(t, prot & VMF_R ? "r" : "-");
	model_text(t, prot & VMF_W ? "w" : "-");
	model_text(t, prot & VMF_X ? "x" : "-");
}

static void text_count(struct model_text *t, const char *name, uint32_t n)
{
	model_text(t, " ");
	model_text(t, name);
	model_text(t, " ");
	model_text_number(t, n);
}

static const char *const object_name[] = { "zero", "driver", "runs", "paged", "around", "readonly", "stream" };

static void text_object(struct model_text *t, const struct model_op *op)
{
	model_text(t, " ");
	model_text(t, object_name[op->object % MODEL_OBJECTS]);
}

/* How its prot is meant: what an area has, and what it can get. */
unsigned model_op_prot(const struct model_op *op)
{
	static const uint8_t prot[8] = { VMF_R | VMF_W, VMF_R | VMF_W, VMF_R | VMF_W, VMF_R | VMF_W | VMF_X, VMF_R | VMF_X,
									 VMF_R, VMF_R, 0 };

	return prot[op->prot & 7];
}

unsigned model_op_maxprot(const struct model_op *op)
{
	static const uint8_t more[4] = { 0, VMF_R | VMF_W | VMF_X, VMF_R | VMF_W | VMF_X, VMF_R | VMF_W };

	return model_op_prot(op) | more[op->prot >> 3 & 3];
}

static void text_map(struct model_text *t, const struct model_op *op)
{
	model_text(t, op->flags & VMF_SHARED ? " shared " : " private ");
	text_prot(t, model_op_prot(op));
	model_text(t, "/");
	text_prot(t, model_op_maxprot(op));
	model_text(t, op->flags & VMF_NOFORK ? " nofork" : "");
	model_text(t, op->flags & MODEL_POPULATE ? " populate" : "");
	model_text(t, op->flags & MODEL_ANYWHERE ? " anywhere" : "");
	text_object(t, op);
	text_count(t, "from its page", op->off);
}

static void text_value(struct model_text *t, const struct model_op *op)
{
	text_count(t, "word", op->value % MODEL_WORDS);
	model_text(t, " = ");
	model_text_hex(t, op->value);
}

/* What an operation is about. */
enum { SPACE = 1, PAGE = 2, N = 4, OBJECT = 8, OFF = 16, VALUE = 32 };
static const uint8_t about[MODEL_KINDS] = {
	[MODEL_MAP] = SPACE | PAGE | N, [MODEL_UNMAP] = SPACE | PAGE | N, [MODEL_PROTECT] = SPACE | PAGE | N,
	[MODEL_LOAD] = SPACE | PAGE, [MODEL_STORE] = SPACE | PAGE | VALUE, [MODEL_FETCH] = SPACE | PAGE,
	[MODEL_FORK] = SPACE, [MODEL_LEAVE] = SPACE, [MODEL_REVOKE] = OBJECT | OFF | N, [MODEL_RESIZE] = OBJECT,
	[MODEL_SYNC] = OBJECT | OFF | N, [MODEL_RECLAIM] = OBJECT | OFF | N, [MODEL_MOVE] = SPACE | PAGE | N,
	[MODEL_FORGET] = SPACE | PAGE | N, [MODEL_GONE] = SPACE | PAGE | N, [MODEL_POKE] = OBJECT | OFF | VALUE,
	[MODEL_SWAP] = OBJECT | OFF, [MODEL_SPOIL] = OBJECT | OFF, [MODEL_HEAL] = OBJECT,
};

static void text_numbers(struct model_text *t, const struct model_op *op)
{
	const uint8_t field[] = { op->space, op->page, op->n, op->object, op->off, op->prot, op->flags };

	for (unsigned i = 0; i < sizeof(field); i++) {
		model_text(t, " ");
		model_text_number(t, field[i]);
	}
	model_text(t, " ");
	model_text_hex(t, op->value);
}

static void text_special(struct model_text *t, const struct model_op *op)
{
	switch (op->kind) {
	case MODEL_MAP:
		text_map(t, op);
		break;
	case MODEL_PROTECT:
		model_text(t, " to ");
		text_prot(t, model_op_prot(op));
		break;
	case MODEL_MOVE:
		text_count(t, "to page", op->value % MODEL_PAGES);
		break;
	case MODEL_RESIZE:
		text_count(t, "to bytes", model_op_length(op));
		break;
	case MODEL_SWAP:
		model_text(t, op->value & 1 ? " in the next fault" : "");
		break;
	case MODEL_SPOIL:
		model_text(t, op->value & 1 ? " for writing" : " for reading");
		break;
	default:
		break;
	}
}

uint32_t model_op_length(const struct model_op *op)
{
	uint32_t half = MODEL_ROOM / 2 * (MODEL_PAGE / MODEL_CUT), cuts = op->value % (2 * half + 1);

	return (cuts < half && op->value >> 30 ? cuts + half : cuts) * MODEL_CUT;
}

void model_text_op(struct model_text *t, const struct model_op *op)
{
	unsigned what = about[op->kind];

	model_text(t, model_kind_name[op->kind]);
	text_numbers(t, op);
	model_text(t, "\t#");
	if (what & SPACE)
		text_count(t, "space", op->space);
	if (what & OBJECT)
		text_object(t, op);
	if (what & (PAGE | OFF))
		text_count(t, "page", what & OFF ? op->off : op->page);
	if (what & N)
		text_count(t, "n", op->n);
	if (what & VALUE)
		text_value(t, op);
	text_special(t, op);
}
