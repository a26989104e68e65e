/* SPDX-License-Identifier: MIT
 *
 * The test that runs on every board: each kind of answer to a fault, with the drivers that run everywhere.
 */
#include "metal.h"
#include "../../drivers/devmem.h"
#include "../../drivers/ring.h"

#define RING 5u
#define MANY 40u /* more pages than a small TLB has entries */

static struct test {
	struct metal_host host;
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_ring ring;
	struct vmf_frame *ring_frames[RING];
	vmf_va ring_va;
	struct vmf_object *zero; /* zero-fill on demand */
	unsigned checks, failures;
} t;

static bool check(bool ok, const char *name)
{
	metal_puts(ok ? "ok " : "not ok ");
	metal_put_dec(++t.checks);
	metal_puts(" ");
	metal_puts(name);
	metal_puts("\n");
	t.failures += !ok;
	return ok;
}

/* Says the reason too, as whoever gets the error would. */
static void check_fails(vmf_va va, unsigned access, unsigned code, unsigned why, const char *name)
{
	uint32_t word = 1;
	int failed = access == VMF_W ? board_poke(va, word) : board_peek(va, &word);
	char reason[32];

	if (failed) {
		metal_puts("# ");
		metal_puts(vmf_result_str(metal_cpu.failed, reason, sizeof(reason)));
		metal_puts("\n");
	}
	check(failed && metal_cpu.failed.code == code && metal_cpu.failed.why == why, name);
}

static bool reads(vmf_va va, uint32_t want)
{
	uint32_t word = ~want;

	return !board_peek(va, &word) && word == want;
}

static uint32_t *frame_words(const struct vmf_frame *frame)
{
	return vmf_frame_bytes(t.port, frame);
}

static uint64_t faults(void)
{
	struct vmf_stats s = { .size = sizeof(s) };

	vmf_space_stats(t.space, &s);
	return s.faults;
}

static int map(struct vmf_object *o, uint64_t pages, unsigned prot, unsigned action, vmf_va *va)
{
	struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED, .pages = pages, .prot = (uint8_t)prot,
			     .action = (uint8_t)action };

	return vmf_map(t.space, o, &m, va);
}

static vmf_va page(vmf_va va, unsigned i)
{
	return va + i * METAL_PAGE;
}

/* --------------------------------------------------------------------------------------- boot, and frames */

static bool boot(void)
{
	struct vmf_port_config config = { .size = sizeof(config), .abi = VMF_ABI, .host = &metal_host_ops, .self = &t.host,
					  .slots = 1, .page_shift = 12 };
	struct vmf_pmap *pmap;
	int err;

	metal_heap_init(&t.host.heap, image_end, board.heap_end - (uintptr_t)image_end);
	err = vmf_port_create(&t.port, &config);
	if (!err)
		err = vmf_phys_add(t.port, &board.ram);
	if (!err)
		err = vmf_phys_add(t.port, &board.device);
	if (err) {
		metal_puts(vmf_err_str(err));
		return false;
	}
	pmap = board_pmap(t.port, &t.host.heap);
	err = pmap ? vmf_space_create(t.port, &t.space, pmap) : -VMF_ENOMEM;
	metal_cpu.space = t.space;
	return !err;
}

static void test_ring(void)
{
	bool right = true;

	if (!check(!vmf_ring_open(&t.ring, t.port, t.ring_frames, RING), "ring: opened") ||
	    !check(!map(t.ring.object, RING, VMF_R | VMF_W, VMF_LAZY, &t.ring_va), "ring: mapped"))
		return;
	for (unsigned i = 0; i < RING; i++)
		frame_words(t.ring_frames[i])[7] = 0x1000 + i;
	for (unsigned i = RING; i--;)
		right &= reads(page(t.ring_va, i) + 28, 0x1000 + i);
	check(right && metal_cpu.traps >= RING, "nopage: scattered frames of a driver");
	check(!board_poke(page(t.ring_va, 3) + 4, 0xfeed) && frame_words(t.ring_frames[3])[1] == 0xfeed,
	      "nopage: a store reaches the frame");
	check(board_shows(t.ring_va, vmf_frame_pfn(t.ring_frames[0]), (struct vmf_attr){ .type = VMF_WB }),
	      "nopage: the hardware's entry is right");
}

static void test_sigbus(void)
{
	struct vmf_frame *frame;

	check(!vmf_ring_replace(&t.ring, 1, NULL), "sigbus: the driver takes a page out");
	check_fails(page(t.ring_va, 1), VMF_R, VMF_SIGBUS, VMF_WHY_POLICY, "sigbus: delivered in the trap return");
	check(!vmf_frame_alloc(t.port, 0, 0, true, &frame) && !vmf_ring_replace(&t.ring, 1, frame) &&
	      reads(page(t.ring_va, 1), 0), "sigbus: the page works again after the cause is gone");
}

static void test_revoke(void)
{
	struct vmf_frame *frame;
	uint64_t before;

	check(reads(page(t.ring_va, 2) + 28, 0x1002), "revoke: a page is there");
	before = faults();
	check(reads(page(t.ring_va, 2) + 28, 0x1002) && faults() == before, "revoke: and read without a fault");
	check(!vmf_revoke(t.ring.object, 2, 1) && reads(page(t.ring_va, 2) + 28, 0x1002) && faults() == before + 1,
	      "revoke: then it faults again");
	if (!check(!vmf_frame_alloc(t.port, 0, 0, true, &frame), "revoke: another frame"))
		return;
	frame_words(frame)[7] = 0xabcd;
	check(!vmf_ring_replace(&t.ring, 2, frame) && reads(page(t.ring_va, 2) + 28, 0xabcd),
	      "revoke: what was exchanged is never seen");
}

/* ------------------------------------------------------------------------------------------------- devices */

static void test_device(void)
{
	struct vmf_devmem dev = { .first = board.device.first, .pages = 1, .attr = board.device.attr };
	struct vmf_devmem odd = { .first = board.device.first, .pages = 1, .attr = board.odd };
	struct vmf_devmem hole = { .first = { board.device.first.n - 1 }, .pages = 2, .attr = board.device.attr };
	vmf_va va;

	if (!check(!vmf_devmem_open(&dev, t.port) && !map(dev.object, 1, VMF_R, VMF_LAZY, &va), "nopfn: mapped"))
		return;
	check(reads(va + board.word_at, board.word), "nopfn: a register of a device");
	check(board_shows(va, board.device.first, board.device.attr), "nopfn: the hardware's entry is a device's");
	check_fails(va, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT, "nopfn: a store where only loads are allowed");
	check(!vmf_revoke(dev.object, 0, 1) && reads(va + board.word_at, board.word), "nopfn: faults again after a revoke");
	check(!vmf_unmap(t.space, va, 1), "nopfn: unmapped");
	vmf_devmem_close(&dev);

	if (check(!vmf_devmem_open(&odd, t.port) && !map(odd.object, 1, VMF_R, VMF_LAZY, &va), "attributes: mapped")) {
		check_fails(va, VMF_R, VMF_SIGBUS, VMF_WHY_ATTR, "attributes: what cannot be had is refused");
		vmf_unmap(t.space, va, 1);
		vmf_devmem_close(&odd);
	}
	if (check(!vmf_devmem_open(&hole, t.port) && !map(hole.object, 2, VMF_R, VMF_LAZY, &va), "hole: mapped")) {
		check_fails(va, VMF_R, VMF_SIGBUS, VMF_WHY_HOLE, "hole: the core decides, not the bus");
		check(reads(page(va, 1) + board.word_at, board.word), "hole: the page beside it");
		vmf_unmap(t.space, va, 2);
		vmf_devmem_close(&hole);
	}
}

/* ------------------------------------------------------------------------- zero-fill, many pages, unmapping */

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

static void test_many(void)
{
	bool zero = true, kept = true;
	uint32_t before;
	vmf_va va;

	if (!check(!vmf_object_create(t.port, &t.zero, &zero_ops, NULL, MANY) &&
		   !map(t.zero, MANY, VMF_R | VMF_W, VMF_LAZY, &va), "zero-fill: mapped"))
		return;
	for (unsigned i = 0; i < MANY; i++)
		zero &= reads(page(va, i) + 64, 0);
	check(zero, "zero-fill: reads zero");
	for (unsigned i = 0; i < MANY; i++)
		zero &= !board_poke(page(va, i) + 64, i);
	for (unsigned i = 0; i < MANY; i++)
		kept &= reads(page(va, i) + 64, i);
	check(zero && kept, "zero-fill: keeps what is written, in more pages than a TLB holds");
	/* Looking through the TLB also makes QEMU drop the replaced entries that it still keeps behind our back. */
	check(board_tlb_sane(), "tlb: no address has two entries");
	before = metal_cpu.traps;
	for (unsigned i = 0; i < MANY; i++)
		kept &= reads(page(va, i) + 64, i);
	check(kept && metal_cpu.traps == before, "tlb: what it forgot comes back without the core");
	check(!vmf_protect(t.space, va, 1, VMF_R) && reads(va + 64, 0), "protect: still reads");
	check_fails(va, VMF_W, VMF_SIGSEGV, VMF_WHY_PROT, "protect: no store any more");
	check(!vmf_unmap(t.space, page(va, 10), 2), "unmap: two pages out of the middle");
	check_fails(page(va, 11), VMF_R, VMF_SIGSEGV, VMF_WHY_NONE, "unmap: nothing is there");
	check(reads(page(va, 9) + 64, 9) && reads(page(va, 12) + 64, 12), "unmap: the pages beside them");
	vmf_unmap(t.space, va, MANY);
	vmf_object_put(t.zero);
}

/* ---------------------------------------------------------------------------------- drivers made for a test */

static struct small {
	struct vmf_object *object;
	struct vmf_frame *frame;
	struct vmf_wait done;
	unsigned asked, written, polls;
	vmf_va touch; /* what the handler touches */
	uint32_t want;
	bool ready, safe, touched;
} s;

static enum vmf_code give_frame(struct vmf_ans *ans)
{
	vmf_frame_get(s.frame);
	ans->frames[0] = s.frame;
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code dirty_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	s.asked++;
	return give_frame(ans);
}

static enum vmf_code dirty_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	(void)ans;
	s.written++;
	return VMF_OK;
}

static const struct vmf_ops dirty_ops = { .size = sizeof(dirty_ops), .nopage = dirty_nopage, .mkwrite = dirty_mkwrite };

/* A transfer that takes until somebody has waited for it. */
static enum vmf_code slow_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	s.asked++;
	ans->wait = &s.done;
	ans->seq = vmf_wait_seq(&s.done);
	ans->why = VMF_WHY_IO;
	return s.ready ? give_frame(ans) : VMF_RETRY;
}

static void slow_poll(void *arg)
{
	(void)arg;
	if (++s.polls == 3) {
		s.ready = true;
		vmf_wake(t.port, &s.done);
	}
}

static const struct vmf_ops slow_ops = { .size = sizeof(slow_ops), .nopage = slow_nopage };

static enum vmf_code touchy_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	uint32_t word;

	/* Other instructions than those that brought us here, where that can end well. */
	if (s.safe)
		s.touched = *(const volatile uint32_t *)s.touch == s.want;
	else
		s.touched = !board_peek(s.touch, &word);
	(void)req;
	return give_frame(ans);
}

static const struct vmf_ops touchy_ops = { .size = sizeof(touchy_ops), .nopage = touchy_nopage };

static bool small_open(const struct vmf_ops *ops, unsigned prot, vmf_va *va)
{
	s = (struct small){ .asked = 0 };
	return !vmf_frame_alloc(t.port, 0, 0, true, &s.frame) && !vmf_object_create(t.port, &s.object, ops, NULL, 2) &&
	       !map(s.object, 2, prot, VMF_LAZY, va);
}

static void small_close(vmf_va va)
{
	vmf_unmap(t.space, va, 2);
	vmf_object_put(s.object);
	vmf_frame_put(t.port, s.frame);
}

static void test_dirty(void)
{
	vmf_va va;

	if (!check(small_open(&dirty_ops, VMF_R | VMF_W, &va), "mkwrite: mapped"))
		return;
	check(reads(va, 0) && s.written == 0, "mkwrite: a load announces nothing");
	check(!board_poke(va, 1) && !board_poke(va, 2) && s.written == 1, "mkwrite: stores announce themselves once");
	check(!vmf_revoke(s.object, 0, 1) && reads(va, 2) && !board_poke(va, 3) && s.written == 2,
	      "mkwrite: once again after a revoke");
	small_close(va);
}

/* A handler that uses what there is, the multiplier too. */
static enum vmf_code busy_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	volatile uint32_t a = (uint32_t)req->va | 1, b = a * 77 % 1000003;

	s.asked += a * b / (b + 1) > 0;
	return give_frame(ans);
}

static const struct vmf_ops busy_ops = { .size = sizeof(busy_ops), .nopage = busy_nopage };

static void test_registers(void)
{
	vmf_va va;

	if (!check(small_open(&busy_ops, VMF_R, &va), "trap: mapped"))
		return;
	check(board_registers(va) == 0 && metal_cpu.traps, "trap: all registers are kept");
	small_close(va);
}

static void test_retry(void)
{
	uint32_t before = metal_cpu.retries;
	vmf_va va;

	if (!check(small_open(&slow_ops, VMF_R, &va), "retry: mapped"))
		return;
	t.host.poll = slow_poll;
	check(reads(va, 0) && metal_cpu.retries > before && s.polls == 3, "retry: waits, and the second try completes");
	check(s.asked == 2, "retry: asked again once");
	t.host.poll = NULL;
	small_close(va);
}

static void test_nested(void)
{
	vmf_va va;

	if (!check(small_open(&touchy_ops, VMF_R, &va), "nested: mapped"))
		return;
	s.touch = page(t.ring_va, 4) + 28;
	s.want = 0x1004;
	s.safe = true;
	vmf_revoke(t.ring.object, 4, 1);
	check(reads(va, 0) && s.touched, "nested: a handler faults on another area");
	vmf_revoke(s.object, 0, 1);
	s.safe = false;
	s.touch = page(va, 1);
	check(reads(va, 0) && !s.touched && metal_cpu.failed.code == VMF_SIGBUS && metal_cpu.failed.why == VMF_WHY_POLICY,
	      "nested: a handler that touches its own area is told so");
	small_close(va);
}

static void test_execute(void)
{
	vmf_va code, data;
	unsigned (*run)(void);

	if (!check(small_open(&dirty_ops, VMF_R | VMF_W, &data) && !map(s.object, 1, VMF_X, VMF_LAZY, &code),
		   "execute: mapped twice"))
		return;
	check(!board_poke(data, board.answer[0]) && !board_poke(data + 4, board.answer[1]),
	      "execute: instructions written");
	run = (unsigned (*)(void))code;
	check(run() == 42, "execute: and fetched");
	vmf_revoke(s.object, 0, 1);
	check(run() == 42, "execute: again after a revoke");
	vmf_unmap(t.space, code, 1);
	small_close(data);
}

static int map_bolted(struct vmf_object *o, vmf_va va, uint64_t pages)
{
	struct vmf_map m = { .size = sizeof(m), .flags = VMF_SHARED | VMF_FIXED, .va = va, .pages = pages,
			     .prot = VMF_R | VMF_W, .action = VMF_BOLT };

	return vmf_map(t.space, o, &m, NULL);
}

static bool bolts_kept(vmf_va va)
{
	struct vmf_pmap *pmap = vmf_space_pmap(t.space);
	bool all = true;

	for (unsigned i = 0; i < board.bolts; i++) {
		struct vmf_entry e;

		all &= !pmap->ops->query(pmap, page(va, i), &e) && board_shows(page(va, i), e.pfn, e.attr);
	}
	return all;
}

static void test_bolts(void)
{
	vmf_va va = vmf_space_pmap(t.space)->lo + 0x1000000, other;
	struct vmf_object *o;
	bool same = true;

	if (!check(!vmf_object_create(t.port, &o, &zero_ops, NULL, MANY), "bolts: an object"))
		return;
	check(map_bolted(o, va, board.bolts + 1) == -VMF_ENOSPC, "bolts: no more than there are");
	if (board.bolts && check(!map_bolted(o, va, board.bolts), "bolts: all that there are") &&
	    check(!map(o, MANY, VMF_R | VMF_W, VMF_LAZY, &other), "bolts: other pages")) {
		for (unsigned i = 0; i < MANY; i++)
			same &= !board_poke(page(other, i) + 128, i);
		check(same && bolts_kept(va), "bolts: in the TLB after all the others");
		check(!vmf_revoke(o, 1, 1) && reads(page(va, 1) + 128, 1) && bolts_kept(va), "bolts: again after a revoke");
		vmf_unmap(t.space, other, MANY);
		check(!vmf_unmap(t.space, va, board.bolts) && !map_bolted(o, va, board.bolts), "bolts: free again");
		vmf_unmap(t.space, va, board.bolts);
	}
	vmf_object_put(o);
}

/* ------------------------------------------------------------------------------------------------ the end */

static uint64_t frames_free(void)
{
	struct vmf_frame *first = NULL, *frame;
	uint64_t n = 0;

	while (!vmf_frame_alloc(t.port, 0, 0, false, &frame)) {
		void **link = vmf_frame_bytes(t.port, frame);

		*link = first;
		first = frame;
		n++;
	}
	while (first) {
		void **link = vmf_frame_bytes(t.port, first);

		frame = first;
		first = *link;
		vmf_frame_put(t.port, frame);
	}
	return n;
}

void metal_main(void)
{
	uint64_t frames;

	metal_puts("# ");
	metal_puts(board.name);
	metal_puts(", ");
	metal_puts(board.pmap);
	metal_puts("\n");
	if (!check(boot(), "boot: a port, a space, and translation on"))
		board_exit(1);
	frames = frames_free();
	test_ring();
	test_sigbus();
	test_revoke();
	test_device();
	test_many();
	test_registers();
	test_dirty();
	test_retry();
	test_nested();
	test_execute();
	test_bolts();
	vmf_unmap(t.space, t.ring_va, RING);
	vmf_ring_close(&t.ring);
	check(board_tlb_sane(), "end: still no address has two entries");
	check(frames_free() == frames, "end: every frame is free again");
	metal_cpu.space = NULL;
	vmf_space_destroy(t.space);
	board_pmap_gone();
	vmf_port_destroy(t.port);
	check(t.host.heap.live == 0, "end: and all memory");
	metal_puts("1..");
	metal_put_dec(t.checks);
	metal_puts("\n");
	board_exit(t.failures ? 1 : 0);
}
