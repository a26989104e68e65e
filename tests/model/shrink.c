/* SPDX-License-Identifier: MIT
 *
 * A failing sequence made short: delta debugging over its operations, each try a run from scratch.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "hosted.h"

struct shrinker {
	const char *stage, *check;
	struct model_list *list;
	struct model_op *trial;
	time_t end;
};

static bool out_of_time(const struct shrinker *s) { return time(NULL) >= s->end; }

/* If the n operations of the trial fail as the list does, they are the list. */
static bool fails(struct shrinker *s, uint32_t n)
{
	struct model_verdict v;

	if (!n || out_of_time(s))
		return false;
	model_try(s->stage, (struct model_list){ s->trial, n }, false, &v);
	if (!v.check || strcmp(v.check, s->check))
		return false;
	if (v.outcome.op < n) /* what comes after it does not matter */
		n = v.outcome.op + 1;
	memcpy(s->list->op, s->trial, n * sizeof(*s->trial));
	s->list->n = n;
	return true;
}

/* Often the last few are enough. */
static void keep_end(struct shrinker *s)
{
	for (uint32_t n = 16; n < s->list->n; n *= 4) {
		memcpy(s->trial, s->list->op + s->list->n - n, n * sizeof(*s->trial));
		if (fails(s, n))
			return;
	}
}

static bool without(struct shrinker *s, uint32_t at, uint32_t n)
{
	struct model_list *l = s->list;

	memcpy(s->trial, l->op, at * sizeof(*s->trial));
	memcpy(s->trial + at, l->op + at + n, (l->n - at - n) * sizeof(*s->trial));
	return fails(s, l->n - n);
}

/* Every piece of this length that can go goes; true if one did. */
static bool drop_pieces(struct shrinker *s, uint32_t n)
{
	bool any = false;

	for (uint32_t at = 0; at < s->list->n && !out_of_time(s);) {
		uint32_t piece = n < s->list->n - at ? n : s->list->n - at;

		if (without(s, at, piece))
			any = true;
		else
			at += piece;
	}
	return any;
}

static void changed(struct shrinker *s, uint32_t i, struct model_op op)
{
	if (i >= s->list->n || !memcmp(&op, &s->list->op[i], sizeof(op)))
		return;
	memcpy(s->trial, s->list->op, s->list->n * sizeof(op));
	s->trial[i] = op;
	(void)fails(s, s->list->n);
}

/* Operations on less, without what they do not need. */
static void simplify(struct shrinker *s)
{
	for (uint32_t i = 0; i < s->list->n && !out_of_time(s); i++) {
		struct model_op op = s->list->op[i];

		op.n = 1;
		changed(s, i, op);
		op = s->list->op[i < s->list->n ? i : 0];
		op.flags &= VMF_SHARED;
		changed(s, i, op);
		op = s->list->op[i < s->list->n ? i : 0];
		if (op.kind == MODEL_STORE || op.kind == MODEL_POKE)
			op.value %= MODEL_WORDS;
		changed(s, i, op);
		op = s->list->op[i < s->list->n ? i : 0];
		op.prot = op.kind == MODEL_MAP ? op.prot & 7 : op.prot;
		changed(s, i, op);
	}
}

void model_shrink(const char *stage, struct model_list *list, const struct model_verdict *v, unsigned seconds)
{
	struct shrinker s = { .stage = stage, .check = v->check, .list = list, .end = time(NULL) + (time_t)seconds };

	if (v->outcome.op < list->n)
		list->n = v->outcome.op + 1;
	s.trial = malloc(list->n * sizeof(*s.trial));
	if (!s.trial)
		return;
	keep_end(&s);
	for (uint32_t piece = (list->n + 1) / 2; piece > 1; piece = (piece + 1) / 2)
		(void)drop_pieces(&s, piece);
	while (drop_pieces(&s, 1))
		continue;
	simplify(&s);
	while (drop_pieces(&s, 1))
		continue;
	free(s.trial);
}
