/* SPDX-License-Identifier: MIT
 *
 * The list on the simulated port: by address, by offset, by copy.
 */
#include <vmfault/sim.h>
#include "../vmtest.h"
#include "list.h"

#define BOLTS 4u

static struct vmf_sim *sim;
static struct { void (*f)(void *); void *arg; } polled;

static int outcome(struct stage *st, struct vmf_result r)
{
	if (r.code != VMF_OK)
		st->failed = r;
	return r.code != VMF_OK;
}

static int peek(struct stage *st, vmf_va va, uint32_t *word)
{
	return outcome(st, vmf_sim_load(st->space, va, word, sizeof(*word)));
}

static int poke(struct stage *st, vmf_va va, uint32_t word)
{
	return outcome(st, vmf_sim_store(st->space, va, &word, sizeof(word)));
}

static int touch(struct stage *st, vmf_va va, uint32_t *word, bool sure)
{
	(void)sure;
	return peek(st, va, word);
}

/* The only function there is. */
static unsigned run(struct stage *st, vmf_va va)
{
	uint32_t word[2] = { 0, 0 };

	if (outcome(st, vmf_sim_fetch(st->space, va, word, sizeof(word))))
		return 0;
	return word[0] == st->answer[0] && word[1] == st->answer[1] ? 42 : 0;
}

/* A wait of the only CPU: the place of interrupts. */
static void waiting(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self;
	(void)space;
	(void)at;
	(void)pages;
	if (polled.f)
		polled.f(polled.arg);
}

static void poll_with(struct stage *st, void (*f)(void *), void *arg)
{
	(void)st;
	polled.f = f;
	polled.arg = arg;
	vmf_sim_on(sim, VMF_SIM_WAIT, f ? waiting : NULL, NULL);
}

static bool shows(struct stage *st, vmf_va va, vmf_pfn pfn, struct vmf_attr attr)
{
	struct vmf_pmap *pmap = vmf_space_pmap(st->space);
	struct vmf_entry e;

	return !pmap->ops->query(pmap, va, &e) && e.present && e.attr.type == attr.type &&
	       (st->store == VMF_BY_COPY && !e.raw ? !e.pfn.n : e.pfn.n == pfn.n);
}

static unsigned in_a_copy(struct stage *st, unsigned (*f)(struct stage *, vmf_va), vmf_va va)
{
	struct stage child = *st;
	unsigned got = 0;

	if (vmf_sim_space(sim, &child.space))
		return 0;
	if (!vmf_space_copy(child.space, st->space))
		got = f(&child, va);
	vmf_sim_space_close(child.space);
	return got;
}

static bool keeps(struct stage *st, vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(st->space);
	struct vmf_entry e;
	uint32_t before, after;

	if (peek(st, va, &before))
		return false;
	vmf_sim_forget(st->space, va, 1);
	return !pmap->ops->query(pmap, va, &e) && e.present && !peek(st, va, &after) && after == before;
}

/* The memory adds what is stored; a load, which adds one, says what there was. */
static uint32_t add(struct stage *st, vmf_va va, uint32_t n)
{
	uint32_t was = 0;

	(void)peek(st, va, &was);
	(void)poke(st, va, n - 1);
	return was;
}

static void put(const char *s) { fputs(s, stdout); }

static const struct stage by_address = {
	.name = "sim, by address", .store = VMF_BY_ADDRESS, .flags = VMF_SHARED,
	.cannot = { [STAGE_ALIEN] = "it can encode whatever the core lets through" },
};
static const struct stage by_offset = {
	.name = "sim, by offset", .store = VMF_BY_OFFSET, .flags = VMF_SHARED,
	.cannot = { [STAGE_PRIVATE] = "a window shows the object's own pages",
		    [STAGE_ALIEN] = "it can encode whatever the core lets through" },
};
static const struct stage by_copy = {
	.name = "sim, by copy", .store = VMF_BY_COPY,
	.cannot = { [STAGE_SHARED] = "bytes by copy are shared with nobody",
		    [STAGE_EXECUTE] = "bytes by copy are not shared by two areas",
		    [STAGE_ALIEN] = "it can encode whatever the core lets through" },
};

static const struct { const char *arg; const struct stage *stage; bool protect; } stages[] = {
	{ "by-address", &by_address, true }, { "by-offset", &by_offset, true }, { "by-copy", &by_copy, true },
	{ "by-address-unprotected", &by_address, false }, { "by-offset-unprotected", &by_offset, false },
};

/* A copy of the one that was asked for. */
static struct stage wanted(int argc, char **argv, bool *protect)
{
	for (unsigned i = 0; argc == 2 && i < sizeof(stages) / sizeof(stages[0]); i++)
		if (!strcmp(argv[1], stages[i].arg)) {
			*protect = stages[i].protect;
			return *stages[i].stage;
		}
	fprintf(stderr, "usage: sim by-address|by-offset|by-copy|by-address-unprotected|by-offset-unprotected\n");
	exit(2);
}

/* The first 120 of the device's pages are as they were; eight behind them are memory, which has a second address. */
static void memory_map(struct stage *st)
{
	const struct vmf_attr adds = { .type = VMF_UC, .port = VMF_SIM_ADDS };

	st->device = (struct vmf_range){ .size = sizeof(st->device), .kind = VMF_PHYS_DEVICE, .first = { VMF_SIM_DEVICE },
					 .pages = 120, .attr = { .type = VMF_UC } };
	st->memory = st->adds = st->device;
	st->memory.pages = st->adds.pages = 8;
	st->memory.first.n += 128;
	st->memory.attr.type = VMF_WB;
	st->adds.first.n = VMF_SIM_FETCHOP + 128;
	st->adds.attr = adds;
	st->memory_bytes = vmf_sim_device(sim, 128);
	CHECK_ERR(vmf_phys_remove(st->port, st->device.first), 0);
	CHECK_ERR(vmf_phys_add(st->port, &st->device), 0);
	CHECK_ERR(vmf_phys_add(st->port, &st->memory), 0);
	CHECK_ERR(vmf_phys_add(st->port, &st->adds), 0);
}

int main(int argc, char **argv)
{
	bool protect = true;
	struct stage st = wanted(argc, argv, &protect);
	const struct vmf_sim_config config = {
		.size = sizeof(config), .store = st.store, .protect = protect, .ram_pages = 512, .bolts = BOLTS,
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, vmtest_alarm);
	vmtest_case = st.name;
	alarm(20);
	CHECK_ERR(vmf_sim_open(&sim, &config), 0);
	CHECK_ERR(vmf_sim_space(sim, &st.space), 0);
	st.port = vmf_sim_port(sim);
	st.bolts = BOLTS;
	memory_map(&st);
	st.uncached.type = VMF_UC;
	st.keeps = keeps;
	st.add = add;
	st.adder = "the memory, of its own accord";
	st.weak.type = VMF_WC;
	st.word_at = 0x40;
	st.word = 0x74726976;
	memcpy((char *)vmf_sim_device(sim, 0) + st.word_at, &st.word, sizeof(st.word));
	st.scratch_at = 0x80;
	st.answer[0] = 0x02a00513;
	st.answer[1] = 0x00008067;
	st.peek = peek;
	st.poke = poke;
	st.touch = touch;
	st.run = run;
	st.poll = poll_with;
	st.patience = 1; /* nothing else happens before the wait is over */
	st.shows = shows;
	st.fork = in_a_copy;
	st.put = put;
	printf("# %s%s\n", st.name, protect ? "" : ", without write-protection");
	list_run(&st);
	list_check(&st, !vmf_sim_unflushed(st.space), "end: no CPU uses what was removed");
	vmf_sim_space_close(st.space);
	vmf_sim_close(sim); /* it ends us if bytes are left over */
	return list_end(&st);
}
