/* SPDX-License-Identifier: MIT
 *
 * The list: what its cases share.
 */
#include "list.h"

static void put_number(struct stage *st, unsigned n)
{
	char digit[2] = { (char)('0' + n % 10), 0 };

	if (n >= 10)
		put_number(st, n / 10);
	st->put(digit);
}

static void put_line(struct stage *st, const char *verdict, const char *name, const char *reason)
{
	st->put(verdict);
	put_number(st, ++st->checks);
	st->put(" ");
	st->put(name);
	st->put(reason ? " # " : "");
	st->put(reason ? reason : "");
	st->put("\n");
}

bool list_check(struct stage *st, bool ok, const char *name)
{
	put_line(st, ok ? "ok " : "not ok ", name, NULL);
	st->failures += !ok;
	return ok;
}

void list_skip(struct stage *st, const char *name, const char *reason) { put_line(st, "skip ", name, reason); }

int list_end(struct stage *st)
{
	st->put("1..");
	put_number(st, st->checks);
	st->put("\n");
	return st->failures != 0;
}

bool list_can(struct stage *st, enum stage_what what, const char *name)
{
	if (st->cannot[what])
		list_skip(st, name, st->cannot[what]);
	return !st->cannot[what];
}

bool list_keeps(struct stage *st, const char *name)
{
	if (st->store == VMF_BY_COPY)
		list_skip(st, name, "bytes by copy are given away");
	return st->store != VMF_BY_COPY;
}

bool list_protects(struct stage *st, vmf_va va, const char *name)
{
	struct vmf_area *area = vmf_area_find(st->space, va);
	struct vmf_window w = VMF_INIT(struct vmf_window);

	if (area)
		vmf_area_window(area, &w);
	vmf_area_put(area);
	if (!w.protect)
		list_skip(st, name, "an entry cannot be write-protected, so what is shown may be written");
	return w.protect;
}

bool list_reads(struct stage *st, vmf_va va, uint32_t want)
{
	uint32_t word = ~want;

	return !st->peek(st, va, &word) && word == want;
}

bool list_writes(struct stage *st, vmf_va va, uint32_t word) { return !st->poke(st, va, word); }

/* Says the reason too, as whoever gets the error would. */
void list_fails(struct stage *st, vmf_va va, unsigned access, unsigned code, unsigned why, const char *name)
{
	uint32_t word = 1;
	char reason[32];
	int failed;

	st->failed = (struct vmf_result){ 0 };
	failed = access == VMF_W ? st->poke(st, va, word) : st->peek(st, va, &word);
	if (failed) {
		st->put("# ");
		st->put(vmf_result_str(st->failed, reason, sizeof(reason)));
		st->put("\n");
	}
	list_check(st, failed && st->failed.code == code && st->failed.why == why, name);
}

int list_map(struct stage *st, struct vmf_object *o, uint64_t pages, unsigned prot, vmf_va *va)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags, .pages = pages, .prot = (uint8_t)prot };

	return vmf_map(st->space, o, &m, va);
}

int list_map_at(struct stage *st, struct vmf_object *o, uint64_t pages, unsigned prot, unsigned action, vmf_va at)
{
	struct vmf_map m = { .size = sizeof(m), .flags = st->flags | VMF_FIXED, .va = at, .pages = pages,
			     .prot = (uint8_t)prot, .action = (uint8_t)action };

	return vmf_map(st->space, o, &m, NULL);
}

bool list_soon(const _Atomic unsigned *word, unsigned want)
{
	for (unsigned tries = 0; *word != want && tries < 100000000u; tries++)
		continue;
	return *word == want;
}

void list_free(struct stage *st, vmf_va va, uint64_t pages) { (void)vmf_unmap(st->space, va, pages); }

bool list_gap(struct stage *st, uint64_t pages, vmf_va *va)
{
	static const struct vmf_ops zero = { .size = sizeof(zero) };
	struct vmf_object *o;
	int err = vmf_object_create(st->port, &o, &zero, NULL, pages);

	if (err)
		return false;
	err = list_map(st, o, pages, VMF_R, va);
	if (!err)
		err = vmf_unmap(st->space, *va, pages);
	vmf_object_put(o);
	return !err;
}

/* ------------------------------------------------------------------------------------------- frames */

/* Takes every frame that there is, in a chain through their first words, and leaves dirt in them. */
static uint64_t frames_free(struct stage *st, const vmf_pfn *wanted, bool *found)
{
	struct vmf_frame *first = NULL, *frame;
	uint64_t n = 0;

	while (!vmf_frame_alloc(st->port, 0, 0, false, &frame)) {
		uint32_t *word = vmf_frame_bytes(st->port, frame);
		void **link = (void **)(void *)word;

		for (unsigned i = 0; i < 64; i++)
			word[i] = 0xeeeeeeee;
		*link = first;
		first = frame;
		n++;
		if (wanted && vmf_frame_pfn(frame).n == wanted->n)
			*found = true;
	}
	while (first) {
		void **link = vmf_frame_bytes(st->port, first);

		frame = first;
		first = *link;
		vmf_frame_put(st->port, frame);
	}
	return n;
}

uint64_t list_frames_free(struct stage *st) { return frames_free(st, NULL, NULL); }

bool list_frame_free(struct stage *st, vmf_pfn pfn)
{
	bool found = false;

	(void)frames_free(st, &pfn, &found);
	return found;
}

void list_run(struct stage *st)
{
	uint64_t frames = list_frames_free(st);
	unsigned tries = 0;

	list_check(st, frames && vmf_page_size(st->port) == LIST_PAGE, "frames: there are some");
	list_run_drivers(st);
	list_run_memory(st);
	list_run_devices(st);
	list_run_aliases(st);
	list_run_backed(st);
	list_run_huge(st);
	list_run_faults(st);
	list_run_adopt(st);
	list_run_migrate(st);
	list_run_bolts(st);
	list_run_special(st);
	list_run_sweep(st);
	while (list_frames_free(st) + st->broken != frames && tries < 100)
		tries++;
	list_check(st, tries < 100, "end: every frame is free again");
}
