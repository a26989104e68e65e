/* SPDX-License-Identifier: MIT
 *
 * The list: drivers that hand over frames, from a ring and from a small driver that can be told to be awkward.
 */
#include "list.h"
#include "../../drivers/ring.h"

#define RING 7u
#define SMALL 4u

/* ------------------------------------------------------------------------------------------------ a ring */

static struct vmf_ring ring;
static struct vmf_frame *ring_frames[RING];
static vmf_va ring_va;

static uint32_t *frame_words(struct stage *st, const struct vmf_frame *frame)
{
	return vmf_frame_bytes(st->port, frame);
}

static bool ring_open(struct stage *st)
{
	if (!list_check(st, !vmf_ring_open(&ring, st->port, ring_frames, RING), "ring: opened"))
		return false;
	return list_check(st, !list_map(st, ring.object, RING, VMF_R | VMF_W, &ring_va), "ring: mapped");
}

static void ring_window(struct stage *st)
{
	struct vmf_area *area = vmf_area_find(st->space, ring_va);
	struct vmf_window w = { .size = sizeof(w), .store = UINT8_MAX };

	if (area)
		vmf_area_window(area, &w);
	vmf_area_put(area);
	list_check(st, w.store == st->store, "ring: its window is of the kind that the port says");
}

static void ring_nopage(struct stage *st)
{
	bool right = true;

	for (unsigned i = 0; i < RING; i++)
		frame_words(st, ring_frames[i])[7] = 0x1000 + i;
	for (unsigned i = 5; i--;)
		right &= list_reads(st, list_page(ring_va, i) + 28, 0x1000 + i);
	list_check(st, right, "nopage: scattered frames of a driver");
	if (list_keeps(st, "nopage: a store reaches the frame"))
		list_check(st, list_writes(st, list_page(ring_va, 3) + 4, 0xfeed) &&
			   frame_words(st, ring_frames[3])[1] == 0xfeed, "nopage: a store reaches the frame");
	if (list_can(st, STAGE_SHOWS, "nopage: the entry is right"))
		list_check(st, st->shows(st, ring_va, vmf_frame_pfn(ring_frames[0]), (struct vmf_attr){ .type = VMF_WB }),
			   "nopage: the entry is right");
}

static void ring_sigbus(struct stage *st)
{
	vmf_va va = list_page(ring_va, 5);
	struct vmf_frame *frame;

	list_check(st, !vmf_ring_replace(&ring, 5, NULL), "sigbus: the driver takes a page out");
	list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_POLICY, "sigbus: delivered, with its reason");
	frame = vmf_frame_at(ring.object, 5);
	list_check(st, frame && !vmf_ring_replace(&ring, 5, frame) && list_reads(st, va, 0) && list_writes(st, va + 8, 8),
		   "sigbus: the page works again after the cause is gone");
}

static void ring_exchange(struct stage *st)
{
	vmf_va va = list_page(ring_va, 2) + 28;
	struct vmf_frame *frame;

	if (!list_keeps(st, "revoke: what was exchanged is never seen"))
		return;
	if (!list_check(st, list_reads(st, va, 0x1002) && !vmf_frame_alloc(st->port, 0, 0, true, &frame),
			"revoke: another frame"))
		return;
	frame_words(st, frame)[7] = 0xabcd;
	list_check(st, !vmf_ring_replace(&ring, 2, frame), "revoke: the driver exchanges it");
	if (st->store == VMF_BY_OFFSET) {
		list_skip(st, "revoke: what was exchanged is never seen", "page i of a window shows frame i and no other");
		list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_POLICY, "revoke: a foreign frame is refused");
	} else {
		list_check(st, list_reads(st, va, 0xabcd), "revoke: what was exchanged is never seen");
		list_skip(st, "revoke: a foreign frame is refused", "any frame can be shown");
	}
}

/* ---------------------------------------------------------------------------- a driver made for a test */

static struct small {
	struct stage *st;
	struct vmf_object *object;
	struct vmf_frame *frame[SMALL];
	struct vmf_wait done;
	_Atomic unsigned asked, written, polls, opened, closed, released;
	_Atomic bool ready, touched;
	vmf_va touch, no_cut; /* what the handler touches; where the area may not be cut */
	uint32_t want;
	bool sure;
} s;

static enum vmf_code give(struct vmf_ans *ans, vmf_pgoff first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		vmf_frame_get(s.frame[first + i]);
		ans->frames[i] = s.frame[first + i];
	}
	ans->first = first;
	ans->n = n;
	return VMF_OK;
}

static enum vmf_code plain_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	s.asked++;
	return req->off < SMALL ? give(ans, req->off, 1) : VMF_OOM;
}

static enum vmf_code run_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	s.asked++;
	return give(ans, 0, SMALL);
}

static enum vmf_code wrong_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	s.asked++;
	if (req->off == 0)
		return VMF_OK; /* and hands over nothing */
	if (req->off == 1) {
		ans->err = 17;
		return VMF_POISON;
	}
	return give(ans, req->off, 1);
}

/* Page 0 and page 1, and knows nothing of the others. */
static enum vmf_code install_fault(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_frame *frames[2] = { s.frame[0], s.frame[1] };

	(void)ans;
	if (req->off > 1)
		return VMF_NEXT;
	s.asked++;
	vmf_frame_get(frames[0]);
	vmf_frame_get(frames[1]);
	return vmf_install_frames(req, 0, frames, 2, req->prot).code == VMF_RETRY ? VMF_RETRY : VMF_DONE;
}

static enum vmf_code dirty_mkwrite(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	(void)ans;
	s.written++;
	return VMF_OK;
}

/* A transfer that takes until somebody waits for it: slow_poll() is ready no sooner than we have said that we wait. */
static enum vmf_code slow_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	bool ready;

	ans->wait = &s.done;
	ans->seq = vmf_wait_seq(&s.done);
	ans->why = VMF_WHY_IO;
	ready = s.ready;
	s.asked++;
	return ready ? give(ans, req->off, 1) : VMF_RETRY;
}

static void slow_poll(void *arg)
{
	(void)arg;
	if (!s.asked || s.ready || ++s.polls < s.st->patience)
		return;
	s.ready = true;
	vmf_wake(s.st->port, &s.done);
}

static enum vmf_code touchy_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	uint32_t word = ~s.want;

	s.touched = !s.st->touch(s.st, s.touch, &word, s.sure) && word == s.want;
	return give(ans, req->off, 1);
}

static int small_split(struct vmf_area *area, vmf_va va)
{
	(void)area;
	return va == s.no_cut ? -VMF_EPERM : 0;
}

static void small_opened(struct vmf_area *area)
{
	(void)area;
	s.opened++;
}

static void small_closed(struct vmf_area *area)
{
	(void)area;
	s.closed++;
}

static void small_release(struct vmf_object *object, void *priv)
{
	(void)object;
	(void)priv;
	for (unsigned i = 0; i < SMALL; i++)
		if (s.frame[i])
			vmf_frame_put(s.st->port, s.frame[i]);
	s.released++;
}

#define SMALL_OPS(...) \
	{ .size = sizeof(struct vmf_ops), .split = small_split, .opened = small_opened, .closed = small_closed, \
	  .release = small_release, __VA_ARGS__ }
static const struct vmf_ops plain_ops = SMALL_OPS(.nopage = plain_nopage);
static const struct vmf_ops run_ops = SMALL_OPS(.nopage = run_nopage);
static const struct vmf_ops wrong_ops = SMALL_OPS(.nopage = wrong_nopage);
static const struct vmf_ops install_ops = SMALL_OPS(.fault = install_fault, .nopage = plain_nopage);
static const struct vmf_ops dirty_ops = SMALL_OPS(.nopage = plain_nopage, .mkwrite = dirty_mkwrite);
static const struct vmf_ops slow_ops = SMALL_OPS(.nopage = slow_nopage);
static const struct vmf_ops touchy_ops = SMALL_OPS(.nopage = touchy_nopage);

static bool small_create(struct stage *st, const struct vmf_ops *ops)
{
	bool all = true;

	s = (struct small){ .st = st };
	if (vmf_object_create(st->port, &s.object, ops, NULL, SMALL))
		return false;
	for (unsigned i = 0; i < SMALL; i++) {
		s.frame[i] = vmf_frame_at(s.object, i);
		all &= s.frame[i] != NULL;
		if (s.frame[i])
			frame_words(st, s.frame[i])[7] = 0x2000 + i;
	}
	return all;
}

static bool small_open(struct stage *st, const struct vmf_ops *ops, unsigned prot, vmf_va *va)
{
	return small_create(st, ops) && !list_map(st, s.object, SMALL, prot, va);
}

/* va 0: no area.  It may be held a moment longer by a fault on another thread. */
static bool small_close(struct stage *st, vmf_va va)
{
	if (va)
		list_free(st, va, SMALL);
	vmf_object_put(s.object);
	return list_soon(&s.released, 1) && s.opened == s.closed;
}

/* Does page i of the area show page i of the object? */
static bool right(struct stage *st, vmf_va va, unsigned i) { return list_reads(st, list_page(va, i) + 28, 0x2000 + i); }

static void small_revoke(struct stage *st)
{
	vmf_va va;

	if (!list_check(st, small_open(st, &plain_ops, VMF_R | VMF_W, &va), "revoke: mapped"))
		return;
	list_check(st, right(st, va, 0) && s.asked == 1, "revoke: a page is there");
	list_check(st, right(st, va, 0) && s.asked == 1, "revoke: and read without a fault");
	if (list_keeps(st, "revoke: then it faults again"))
		list_check(st, !vmf_revoke(s.object, 0, 1) && right(st, va, 0) && s.asked == 2,
			   "revoke: then it faults again");
	else
		list_check(st, !vmf_revoke(s.object, 0, 1) && right(st, va, 0) && s.asked == 1,
			   "revoke: and keeps the bytes");
	list_check(st, small_close(st, va), "revoke: closed and released");
}

static void small_run(struct stage *st)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags, .pages = 2, .off = 1, .prot = VMF_R };
	vmf_va va, part;

	if (!list_check(st, small_open(st, &run_ops, VMF_R, &va) && !vmf_map(st->space, s.object, &m, &part),
			"run: mapped"))
		return;
	list_check(st, right(st, va, 1) && right(st, va, 0) && right(st, va, 3) && s.asked == 1,
		   "run: pages around the one that was asked for");
	list_check(st, list_reads(st, part + 28, 0x2001) && list_reads(st, list_page(part, 1) + 28, 0x2002) && s.asked == 2,
		   "run: an area shows its part of it");
	list_free(st, part, 2);
	list_check(st, small_close(st, va), "run: closed and released");
}

static void small_eof(struct stage *st)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags, .pages = 2, .off = SMALL - 1, .prot = VMF_R };
	vmf_va va = 0;
	int err;

	if (!list_check(st, small_create(st, &plain_ops), "eof: an object"))
		return;
	err = vmf_map(st->space, s.object, &m, &va);
	if (err == -VMF_ENOSYS) {
		list_skip(st, "eof: past the end of the object", "a window is no longer than its object");
	} else if (list_check(st, !err, "eof: mapped beyond the object")) {
		list_check(st, list_reads(st, va + 28, 0x2000 + SMALL - 1), "eof: its last page");
		list_fails(st, list_page(va, 1), VMF_R, VMF_SIGBUS, VMF_WHY_EOF, "eof: past the end of the object");
		list_check(st, s.asked == 1, "eof: the driver is not asked");
	}
	list_check(st, small_close(st, va), "eof: closed and released");
}

static void small_install(struct stage *st)
{
	vmf_va va;

	if (!list_check(st, small_open(st, &install_ops, VMF_R, &va), "fault: mapped"))
		return;
	list_check(st, right(st, va, 0) && right(st, va, 1) && s.asked == 1, "fault: a driver that installs");
	list_check(st, right(st, va, 2) && s.asked == 2, "fault: or has the next one asked");
	list_check(st, small_close(st, va), "fault: closed and released");
}

static void small_wrong(struct stage *st)
{
	vmf_va va;

	if (!list_check(st, small_open(st, &wrong_ops, VMF_R, &va), "answer: mapped"))
		return;
	list_fails(st, va, VMF_R, VMF_SIGBUS, VMF_WHY_DRIVER, "answer: nothing is handed over");
	list_fails(st, list_page(va, 1), VMF_R, VMF_POISON, VMF_WHY_DRIVER, "answer: the memory is broken");
	list_check(st, st->failed.err == 17, "answer: with the driver's own number");
	list_check(st, right(st, va, 2), "answer: the page beside it");
	list_check(st, small_close(st, va), "answer: closed and released");
}

static void small_split_area(struct stage *st)
{
	vmf_va va;

	if (!list_check(st, small_open(st, &plain_ops, VMF_R | VMF_W, &va), "split: mapped"))
		return;
	s.no_cut = list_page(va, 1);
	list_check(st, vmf_unmap(st->space, list_page(va, 1), 1) == -VMF_EPERM &&
		   vmf_protect(st->space, list_page(va, 1), 1, VMF_R) == -VMF_EPERM && right(st, va, 1) &&
		   s.opened == 1 && !s.closed, "split: the driver refuses, and nothing has changed");
	s.no_cut = 0;
	list_check(st, !vmf_protect(st->space, list_page(va, 1), 1, VMF_R) && s.opened == 4 && s.closed == 1,
		   "split: into three");
	list_fails(st, list_page(va, 1), VMF_W, VMF_SIGSEGV, VMF_WHY_PROT, "split: the middle one is read-only");
	list_check(st, list_writes(st, va, 1) && right(st, va, 1) && list_writes(st, list_page(va, 2), 1) &&
		   right(st, va, 3), "split: each shows its own pages");
	list_check(st, small_close(st, va), "split: closed as often as opened");
}

static void small_dirty(struct stage *st)
{
	vmf_va va, other;
	bool protects;

	if (!list_keeps(st, "mkwrite: stores announce themselves once"))
		return;
	if (!list_check(st, small_open(st, &dirty_ops, VMF_R | VMF_W, &va), "mkwrite: mapped"))
		return;
	protects = list_protects(st, va, "mkwrite: a load announces nothing");
	if (list_check(st, list_reads(st, va, 0), "mkwrite: a load") && protects)
		list_check(st, s.written == 0, "mkwrite: a load announces nothing");
	list_check(st, list_writes(st, va, 1) && list_writes(st, va, 2) && s.written == 1,
		   "mkwrite: stores announce themselves once");
	list_check(st, !list_map(st, s.object, 1, VMF_R | VMF_W, &other) && list_writes(st, other, 2) && s.written == 1,
		   "mkwrite: once for all areas");
	list_free(st, other, 1);
	list_check(st, !vmf_revoke(s.object, 0, 1) && list_reads(st, va, 2) && list_writes(st, va, 3) && s.written == 2,
		   "mkwrite: once again after a revoke");
	list_check(st, !vmf_sync(s.object, 0, 1, NULL) && list_writes(st, va, 4) && s.written == 3,
		   "mkwrite: once again after a sync");
	list_check(st, small_close(st, va), "mkwrite: closed and released");
}

static void small_retry(struct stage *st)
{
	vmf_va va;

	if (!list_can(st, STAGE_POLL, "retry: waits, and the second try completes"))
		return;
	if (!list_check(st, small_open(st, &slow_ops, VMF_R, &va), "retry: mapped"))
		return;
	st->poll(st, slow_poll, NULL);
	list_check(st, right(st, va, 0) && s.polls == st->patience,
		   "retry: waits, and the second try completes");
	list_check(st, s.asked == 2, "retry: asked again once");
	st->poll(st, NULL, NULL);
	list_check(st, small_close(st, va), "retry: closed and released");
}

static void small_nested(struct stage *st)
{
	vmf_va va;

	if (!list_check(st, small_open(st, &touchy_ops, VMF_R, &va), "nested: mapped"))
		return;
	s.touch = list_page(ring_va, 6) + 28;
	s.want = 0x1006;
	s.sure = true;
	list_check(st, right(st, va, 0) && s.touched, "nested: a handler faults on another area");
	s.touch = list_page(va, 1) + 28;
	s.want = 0x2001;
	s.sure = false;
	st->failed = (struct vmf_result){ 0 };
	list_check(st, right(st, va, 2) && !s.touched && st->failed.code == VMF_SIGBUS &&
		   st->failed.why == VMF_WHY_POLICY, "nested: a handler that touches its own area is told so");
	list_check(st, small_close(st, va), "nested: closed and released");
}

static void small_execute(struct stage *st)
{
	vmf_va code, data;

	if (!list_can(st, STAGE_EXECUTE, "execute: and fetched"))
		return;
	if (!list_check(st, small_open(st, &plain_ops, VMF_R | VMF_W, &data) &&
			!list_map(st, s.object, 1, VMF_R | VMF_X, &code), "execute: mapped twice"))
		return;
	list_check(st, list_writes(st, data, st->answer[0]) && list_writes(st, data + 4, st->answer[1]),
		   "execute: instructions written");
	list_check(st, st->run(st, code) == 42, "execute: and fetched");
	list_check(st, !vmf_revoke(s.object, 0, 1) && st->run(st, code) == 42, "execute: again after a revoke");
	list_free(st, code, 1);
	list_check(st, small_close(st, data), "execute: closed and released");
}

void list_run_drivers(struct stage *st)
{
	if (!ring_open(st))
		return;
	ring_window(st);
	ring_nopage(st);
	small_run(st);
	small_eof(st);
	small_install(st);
	small_wrong(st);
	ring_sigbus(st);
	small_revoke(st);
	ring_exchange(st);
	small_split_area(st);
	small_dirty(st);
	small_retry(st);
	small_nested(st);
	small_execute(st);
	list_free(st, ring_va, RING);
	vmf_ring_close(&ring);
}
