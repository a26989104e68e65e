/* SPDX-License-Identifier: MIT
 *
 * The model on a board: fewer operations, from one seed, and no way to make a failing sequence short.  (The same seed
 * on the simulated port, by-address, is the place to look.)
 */
#include "metal.h"
#include "../../tests/model/model.h"

#define SEED 1u
#define OPERATIONS 5000u

static struct model_stage st;
static struct metal_host *host;

static void enter(unsigned space)
{
	metal_cpu.space = st.space[space];
	board_use(space);
}

static int outcome(int failed)
{
	st.failed = (struct vmf_result){ .code = metal_cpu.failed.code, .why = metal_cpu.failed.why,
					 .err = metal_cpu.failed.err };
	return failed;
}

static int load(struct model_stage *stage, unsigned space, vmf_va va, uint32_t word[MODEL_WORDS])
{
	int failed = 0;

	(void)stage;
	enter(space);
	for (unsigned k = 0; !failed && k < MODEL_WORDS; k++)
		failed = board_peek(va + model_word_at(k), &word[k]);
	return outcome(failed);
}

static int store(struct model_stage *stage, unsigned space, vmf_va va, uint32_t value)
{
	(void)stage;
	enter(space);
	return outcome(board_poke(va, value));
}

static int fetch(struct model_stage *stage, unsigned space, vmf_va va, uint32_t *value)
{
	struct vmf_pmap *pmap = vmf_space_pmap(stage->space[space]);

	enter(space);
	if (pmap->ops->icache)
		pmap->ops->icache(pmap, va, 1);
	metal_cpu.fetch = METAL_FETCHES;
	*value = ((uint32_t (*)(void))va)() << board.code_shift;
	if (metal_cpu.fetch == METAL_FETCHES) {
		metal_cpu.fetch = METAL_FETCHES_NOT;
		return 0;
	}
	metal_cpu.fetch = METAL_FETCHES_NOT;
	return outcome(1);
}

static uint32_t code(uint32_t value) { return (value & board.code_mask) | board.code; }

static int fork(struct model_stage *stage, unsigned from, unsigned to)
{
	struct vmf_pmap *pmap = board_pmap(stage->port, &host->heap, to);
	int err = pmap ? vmf_space_create(stage->port, &st.space[to], pmap) : -VMF_ENOMEM;

	return err ? err : vmf_space_copy(stage->space[to], stage->space[from]);
}

static void leave(struct model_stage *stage, unsigned space)
{
	enter(0);
	(void)vmf_space_destroy(stage->space[space]);
	board_pmap_gone(space);
}

static const struct model_op *next(void *random, uint32_t i)
{
	static struct model_op op;

	(void)i;
	op = model_op_random(random);
	return &op;
}

static void say(const struct model_outcome *out)
{
	metal_puts("# model: ");
	metal_put_dec(OPERATIONS);
	metal_puts(" operations");
	for (unsigned i = 0; i < MODEL_KINDS; i++)
		if (out->left_out >> i & 1) {
			metal_puts(", no ");
			metal_puts(model_kind_name[i]);
		}
	metal_puts("\n");
	if (!out->failed)
		return;
	metal_puts("# operation ");
	metal_put_dec(out->op);
	metal_puts(": ");
	metal_puts(out->check);
	metal_puts(": ");
	metal_puts(out->text);
	metal_puts("\n");
}

bool metal_model(struct metal_host *h, struct vmf_port *port, struct vmf_space *space)
{
	struct model_random random = { SEED };
	static struct model_outcome out;

	host = h;
	st = (struct model_stage){
		.name = board.name, .port = port, .space = { space }, .spaces = board.spaces ? board.spaces : 1,
		.base = vmf_space_pmap(space)->lo, .beyond = true, .load = load, .store = store,
		.fetch = board.code ? fetch : NULL, .code = code, .code_mask = board.code_mask,
		.fork = board.spaces > 1 ? fork : NULL, .leave = board.spaces > 1 ? leave : NULL,
	};
	model_run(&st, next, &random, OPERATIONS, &out);
	say(&out);
	if (!out.failed)
		enter(0);
	return !out.failed;
}
