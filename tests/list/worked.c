/* SPDX-License-Identifier: MIT
 *
 * The list on the worked port that host.h and pmap.h end with.  Its last pages of RAM stand for a device.
 */
#define VMF_WORKED_PORT
#include <vmfault/pmap.h>
#include "../vmtest.h"
#include "list.h"

#define PAGES 256u
#define RAM 240u
#define MEMORY 248u
#define SCRATCH_AT 0x80u

static struct tiny_host host;
static struct tiny_pmap pmap = { .pmap = { &tiny_pmap_ops, TINY_VA, TINY_VA + (64u << 12) } };

static int move(struct stage *st, vmf_va va, unsigned access, void *to, const void *from, size_t n)
{
	struct vmf_result r;
	uint8_t *byte;

	/* Its table has entries for these addresses only; elsewhere nothing is mapped. */
	CHECK(va >= pmap.pmap.lo && va < pmap.pmap.hi);
	byte = tiny_access(st->space, &host, va, access, &r);
	if (byte)
		memcpy(to ? to : byte, to ? byte : from, n);
	else
		st->failed = r;
	return !byte;
}

static int peek(struct stage *st, vmf_va va, uint32_t *word) { return move(st, va, VMF_R, word, NULL, sizeof(*word)); }

static int poke(struct stage *st, vmf_va va, uint32_t word) { return move(st, va, VMF_W, NULL, &word, sizeof(word)); }

static int touch(struct stage *st, vmf_va va, uint32_t *word, bool sure)
{
	(void)sure;
	return peek(st, va, word);
}

/* The only function there is. */
static unsigned run(struct stage *st, vmf_va va)
{
	uint32_t word[2] = { 0, 0 };

	if (move(st, va, VMF_X, word, NULL, sizeof(word)))
		return 0;
	return word[0] == st->answer[0] && word[1] == st->answer[1] ? 42 : 0;
}

static uint32_t add(struct stage *st, vmf_va va, uint32_t n)
{
	uint32_t was = 0;

	(void)peek(st, va, &was);
	(void)poke(st, va, was + n);
	return was;
}

static bool shows(struct stage *st, vmf_va va, vmf_pfn pfn, struct vmf_attr attr)
{
	const struct vmf_entry *e = tiny_at(vmf_space_pmap(st->space), va);

	return e->present && e->pfn.n == pfn.n && e->attr.type == attr.type;
}

static unsigned in_a_copy(struct stage *st, unsigned (*f)(struct stage *, vmf_va), vmf_va va)
{
	struct tiny_pmap other = { .pmap = pmap.pmap };
	struct stage child = *st;
	unsigned got = 0;

	if (vmf_space_create(st->port, &child.space, &other.pmap))
		return 0;
	if (!vmf_space_copy(child.space, st->space))
		got = f(&child, va);
	vmf_space_destroy(child.space);
	return got;
}

static void put(const char *text) { fputs(text, stdout); }

static void memory_map(struct stage *st)
{
	const struct vmf_range ram = { .size = sizeof(ram), .kind = VMF_PHYS_RAM, .pages = RAM };

	st->device = (struct vmf_range){ .size = sizeof(ram), .kind = VMF_PHYS_DEVICE, .first = { RAM + 1 },
					 .pages = MEMORY - RAM - 2, .attr = { .type = VMF_UC } };
	st->memory = (struct vmf_range){ .size = sizeof(ram), .kind = VMF_PHYS_DEVICE, .first = { MEMORY },
					 .pages = PAGES - MEMORY, .attr = { .type = VMF_WC } };
	st->memory_bytes = host.ram[MEMORY];
	st->adds = st->memory;
	st->uncached.type = VMF_UC;
	st->add = add;
	st->adder = "a load and a store, since there is one CPU";
	st->weak.type = VMF_WT;
	st->word = 0x74726976;
	memcpy(host.ram[RAM + 1], &st->word, sizeof(st->word));
	st->scratch_at = SCRATCH_AT;
	st->answer[0] = 0x02a00513;
	st->answer[1] = 0x00008067;
	CHECK_ERR(vmf_phys_remove(st->port, ram.first), 0);
	CHECK_ERR(vmf_phys_add(st->port, &ram), 0);
	CHECK_ERR(vmf_phys_add(st->port, &st->device), 0);
	CHECK_ERR(vmf_phys_add(st->port, &st->memory), 0);
}

int main(void)
{
	struct stage st = {
		.name = "the worked port", .store = VMF_BY_ADDRESS, .flags = VMF_SHARED, .peek = peek, .poke = poke,
		.touch = touch, .run = run, .shows = shows, .put = put,
		.fork = in_a_copy,
		.cannot = { [STAGE_ALIEN] = "it can encode whatever the core lets through",
			    [STAGE_POLL] = "its waits are over at once", [STAGE_BOLTS] = "no bolts" },
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, vmtest_alarm);
	vmtest_case = st.name;
	alarm(20);
	CHECK_ERR(tiny_port(&host, &st.port), 0);
	CHECK_ERR(vmf_space_create(st.port, &st.space, &pmap.pmap), 0);
	memory_map(&st);
	printf("# %s\n", st.name);
	list_run(&st);
	vmf_space_destroy(st.space);
	vmf_port_destroy(st.port);
	return list_end(&st);
}
