/* SPDX-License-Identifier: MIT
 *
 * The program that runs on every board: the list that all ports share, and what is a board's own: registers that a trap
 * keeps, and what is in the TLB.
 */
#include "metal.h"
#include "../../tests/list/list.h"

#define MEMORY 4u /* the last pages of RAM, which stand for a device's */
#define MANY 40u /* more pages than a small TLB has entries */

static struct metal_host host;
static struct stage st;

/* ---------------------------------------------------------------------------------------------- the stage */

static int failed(struct stage *stage, int err)
{
	if (err)
		stage->failed = metal_cpu.failed;
	return err;
}

static int peek(struct stage *stage, vmf_va va, uint32_t *word)
{
	return failed(stage, board_peek(va, word));
}

static int poke(struct stage *stage, vmf_va va, uint32_t word)
{
	return failed(stage, board_poke(va, word));
}

/* Other instructions than those that brought us here, where that can end well. */
static int touch(struct stage *stage, vmf_va va, uint32_t *word, bool sure)
{
	if (!sure)
		return peek(stage, va, word);
	*word = *(const volatile uint32_t *)va;
	return 0;
}

static unsigned run(struct stage *stage, vmf_va va)
{
	(void)stage;
	return ((unsigned (*)(void))va)();
}

static void poll(struct stage *stage, void (*f)(void *), void *arg)
{
	(void)stage;
	host.poll = f;
	host.arg = arg;
}

static bool shows(struct stage *stage, vmf_va va, vmf_pfn pfn, struct vmf_attr attr)
{
	(void)stage;
	return board_shows(va, pfn, attr);
}

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

/* By way of more pages than the TLB holds. */
static bool keeps(struct stage *stage, vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(stage->space);
	struct vmf_entry e;
	struct vmf_object *o;
	uint32_t word;
	vmf_va others;

	if (peek(stage, va, &word) || vmf_object_create(stage->port, &o, &zero_ops, NULL, MANY))
		return false;
	if (!list_map(stage, o, MANY, VMF_R, &others)) {
		for (unsigned i = 0; i < MANY; i++)
			(void)peek(stage, list_page(others, i), &word);
		list_free(stage, others, MANY);
	}
	vmf_object_put(o);
	return !pmap->ops->query(pmap, va, &e) && board_shows(va, e.pfn, e.attr);
}

/* Nobody else is here, and nothing comes in between. */
static uint32_t add(struct stage *stage, vmf_va va, uint32_t n)
{
	uint32_t was = 0;

	(void)peek(stage, va, &was);
	(void)poke(stage, va, was + n);
	return was;
}

static void enter_space(struct vmf_space *space, unsigned i)
{
	metal_cpu.space = space;
	board_use(i);
}

/* The other space is copied, entered, left and forgotten. */
static unsigned in_a_copy(struct stage *stage, unsigned (*f)(struct stage *, vmf_va), vmf_va va)
{
	struct vmf_pmap *pmap = board_pmap(stage->port, &host.heap, 1);
	struct stage child = *stage;
	unsigned got = 0;

	if (!pmap || vmf_space_create(stage->port, &child.space, pmap))
		return 0;
	if (!vmf_space_copy(child.space, stage->space)) {
		enter_space(child.space, 1);
		got = f(&child, va);
		enter_space(stage->space, 0);
	}
	vmf_space_destroy(child.space);
	board_pmap_gone(1);
	stage->failed = child.failed;
	return got;
}

static void setup(void)
{
	st = (struct stage){
		.name = board.name, .port = st.port, .space = st.space, .store = VMF_BY_ADDRESS, .flags = VMF_SHARED,
		.bolts = board.bolts, .device = board.device, .memory = st.memory,
		.memory_bytes = board_bytes(st.memory.first), .word_at = board.word_at, .word = board.word, .weak = board.weak,
		.adds = st.memory, .uncached = board.uncached.type ? board.uncached : st.memory.attr,
		.keeps = keeps, .add = add,
		.adder = "a load and a store, since there is one CPU", .answer = { board.answer[0], board.answer[1] },
		.peek = peek, .poke = poke, .touch = touch, .run = run,
		.poll = poll, .patience = 10000, .shows = shows, .fork = in_a_copy, .put = metal_puts,
		.cannot = { [STAGE_SCRATCH] = "its register cannot be written",
			    [STAGE_ALIEN] = "it can encode whatever the core lets through",
			    [STAGE_BOLTS] = board.bolts ? NULL : "no bolts",
			    [STAGE_UNCACHED] = board.uncached.type ? NULL : "RAM has the attributes of its address",
			    [STAGE_FORK] = board.spaces > 1 ? NULL : "one space has the whole TLB" },
	};
}

static bool boot(void)
{
	struct vmf_port_config config = { .size = sizeof(config), .abi = VMF_ABI, .host = &metal_host_ops, .self = &host,
					  .slots = 1, .page_shift = 12 };
	struct vmf_range ram = board.ram;
	struct vmf_pmap *pmap;
	int err;

	ram.pages -= MEMORY;
	st.memory = ram;
	st.memory.kind = VMF_PHYS_DEVICE;
	st.memory.first.n += ram.pages;
	st.memory.pages = MEMORY;
	metal_heap_init(&host.heap, image_end, board.heap_end - (uintptr_t)image_end);
	err = vmf_port_create(&st.port, &config);
	if (!err)
		err = vmf_phys_add(st.port, &ram);
	if (!err)
		err = vmf_phys_add(st.port, &board.device);
	if (!err)
		err = vmf_phys_add(st.port, &st.memory);
	if (err) {
		metal_puts(vmf_err_str(err));
		return false;
	}
	pmap = board_pmap(st.port, &host.heap, 0);
	err = pmap ? vmf_space_create(st.port, &st.space, pmap) : -VMF_ENOMEM;
	enter_space(st.space, 0);
	return !err;
}

/* ---------------------------------------------------------------------------------------- a board's own cases */

/* A handler that uses what there is, the multiplier too. */
static enum vmf_code busy_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	volatile uint32_t a = (uint32_t)req->va | 1, b = a * 77 % 1000003;

	a = a * b / (b + 1);
	ans->n = 1;
	ans->frames[0] = vmf_frame_at(req->object, req->off);
	return ans->frames[0] ? VMF_OK : VMF_OOM;
}

static const struct vmf_ops busy_ops = { .size = sizeof(busy_ops), .nopage = busy_nopage };

static void test_registers(void)
{
	uint32_t before = metal_cpu.traps;
	struct vmf_object *o;
	vmf_va va;

	if (!list_check(&st, !vmf_object_create(st.port, &o, &busy_ops, NULL, 2) && !list_map(&st, o, 2, VMF_R, &va),
			"trap: mapped"))
		return;
	list_check(&st, board_registers(va) == 0 && metal_cpu.traps > before, "trap: all registers are kept");
	list_free(&st, va, 2);
	vmf_object_put(o);
}

static bool many(vmf_va va, bool write)
{
	bool right = true;

	for (unsigned i = 0; i < MANY; i++)
		right &= write ? list_writes(&st, list_page(va, i) + 64, i) : list_reads(&st, list_page(va, i) + 64, i);
	return right;
}

static bool bolts_kept(vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(st.space);
	bool all = true;

	for (unsigned i = 0; i < board.bolts; i++) {
		struct vmf_entry e;

		all &= !pmap->ops->query(pmap, list_page(va, i), &e) && board_shows(list_page(va, i), e.pfn, e.attr);
	}
	return all;
}

static void test_tlb(void)
{
	struct vmf_object *o;
	vmf_va va, bolted;
	uint32_t before;

	if (!list_check(&st, !vmf_object_create(st.port, &o, &zero_ops, NULL, MANY) &&
			!list_map(&st, o, MANY, VMF_R | VMF_W, &va), "tlb: mapped"))
		return;
	list_check(&st, many(va, true) && many(va, false), "tlb: more pages than it holds");
	/* Looking through the TLB also makes QEMU drop the replaced entries that it still keeps behind our back. */
	list_check(&st, board_tlb_sane(), "tlb: no address has two entries");
	before = metal_cpu.traps;
	list_check(&st, many(va, false) && metal_cpu.traps == before, "tlb: what it forgot comes back without the core");
	if (list_can(&st, STAGE_BOLTS, "tlb: bolts are in it after all the others") &&
	    list_check(&st, list_gap(&st, board.bolts, &bolted) &&
		       !list_map_at(&st, o, board.bolts, VMF_R | VMF_W, VMF_BOLT, bolted), "tlb: bolted")) {
		list_check(&st, many(va, false) && bolts_kept(bolted), "tlb: bolts are in it after all the others");
		list_check(&st, !vmf_revoke(o, 1, 1) && list_reads(&st, list_page(bolted, 1) + 64, 1) && bolts_kept(bolted),
			   "tlb: and after a revoke");
		list_free(&st, bolted, board.bolts);
	}
	list_free(&st, va, MANY);
	vmf_object_put(o);
}

static void test_end(void)
{
	list_check(&st, board_tlb_sane(), "end: still no address has two entries");
	list_check(&st, !vmf_phys_remove(st.port, board.ram.first), "end: no frame is in use");
	metal_cpu.space = NULL;
	vmf_space_destroy(st.space);
	board_pmap_gone(0);
	vmf_port_destroy(st.port);
	list_check(&st, host.heap.live == 0, "end: and no memory");
}

void metal_main(void)
{
	bool up;

	metal_puts("# ");
	metal_puts(board.name);
	metal_puts(", ");
	metal_puts(board.pmap);
	metal_puts("\n");
	up = boot();
	setup();
	if (!list_check(&st, up, "boot: a port, a space, and translation on"))
		board_exit(1);
	test_registers();
	test_tlb();
	list_run(&st);
	list_check(&st, metal_model(&host, st.port, st.space), "model: a random sequence of operations");
	test_end();
	board_exit((unsigned)list_end(&st));
}
