/* SPDX-License-Identifier: MIT
 *
 * The model on the simulated port.
 */
#include <vmfault/sim.h>
#include "../vmtest.h"
#include "hosted.h"

#define RAM 1024u

struct sim_stage {
	struct model_stage stage; /* first */
	struct vmf_sim *sim;
};

static struct sim_stage *sim_of(struct model_stage *st) { return (struct sim_stage *)st; }

static int outcome(struct model_stage *st, struct vmf_result r)
{
	st->failed = (struct vmf_result){ .code = r.code, .why = r.why, .err = r.err };
	return r.code != VMF_OK;
}

static int load(struct model_stage *st, unsigned space, vmf_va va, uint32_t word[MODEL_WORDS])
{
	uint8_t page[MODEL_PAGE];
	int failed = outcome(st, vmf_sim_load(st->space[space], va, page, sizeof(page)));

	for (unsigned k = 0; !failed && k < MODEL_WORDS; k++)
		memcpy(&word[k], page + model_word_at(k), 4);
	return failed;
}

static int store(struct model_stage *st, unsigned space, vmf_va va, uint32_t value)
{
	return outcome(st, vmf_sim_store(st->space[space], va, &value, sizeof(value)));
}

static int fetch(struct model_stage *st, unsigned space, vmf_va va, uint32_t *value)
{
	return outcome(st, vmf_sim_fetch(st->space[space], va, value, sizeof(*value)));
}

static int forget(struct model_stage *st, unsigned space, vmf_va va, uint64_t pages)
{
	vmf_sim_forget(st->space[space], va, pages);
	return 0;
}

static int move(struct model_stage *st, unsigned space, vmf_va from, vmf_va to, uint64_t pages)
{
	return vmf_sim_move(st->space[space], from, to, pages);
}

static int fork_space(struct model_stage *st, unsigned from, unsigned to)
{
	int err = vmf_sim_space(sim_of(st)->sim, &st->space[to]);

	if (err)
		return err;
	err = vmf_space_copy(st->space[to], st->space[from]);
	if (err)
		vmf_sim_space_close(st->space[to]);
	return err;
}

static void leave(struct model_stage *st, unsigned space)
{
	CHECK_EQ(vmf_sim_unflushed(st->space[space]), 0);
	vmf_sim_space_close(st->space[space]);
}

static const struct { const char *name; uint8_t store; bool protect; } stages[] = {
	{ "by-address", VMF_BY_ADDRESS, true }, { "by-address-unprotected", VMF_BY_ADDRESS, false },
	{ "by-offset", VMF_BY_OFFSET, true }, { "by-offset-unprotected", VMF_BY_OFFSET, false },
	{ "by-copy", VMF_BY_COPY, true },
};
const char *const model_stage_names = "by-address|by-address-unprotected|by-offset|by-offset-unprotected|by-copy";

static unsigned stage_of(const char *name)
{
	unsigned i = 0;

	while (i < sizeof(stages) / sizeof(stages[0]) && strcmp(name, stages[i].name))
		i++;
	return i;
}

bool model_stage_known(const char *name) { return stage_of(name) < sizeof(stages) / sizeof(stages[0]); }

struct model_stage *model_stage_open(const char *name)
{
	static struct sim_stage s;
	struct vmf_sim_config config = { .size = sizeof(config), .ram_pages = RAM };
	unsigned i = stage_of(name);

	config.store = stages[i].store;
	config.protect = stages[i].protect;
	s.stage = (struct model_stage){
		.name = stages[i].name, .spaces = MODEL_SPACES, .base = VMF_SIM_LOWEST, .beyond = true, .load = load,
		.store = store, .fetch = fetch, .fork = fork_space, .leave = leave, .move = move, .forget = forget,
	};
	CHECK_ERR(vmf_sim_open(&s.sim, &config), 0);
	CHECK_ERR(vmf_sim_space(s.sim, &s.stage.space[0]), 0);
	s.stage.port = vmf_sim_port(s.sim);
	return &s.stage;
}

void model_stage_close(struct model_stage *st)
{
	struct vmf_frame *frame[RAM];
	unsigned n = 0;

	leave(st, 0);
	while (n < RAM && !vmf_frame_alloc(st->port, 0, 0, false, &frame[n]))
		n++;
	CHECK_EQ(n, RAM); /* no frame is left over */
	while (n)
		vmf_frame_put(st->port, frame[--n]);
	vmf_sim_close(sim_of(st)->sim); /* it ends us if bytes are left over */
}
