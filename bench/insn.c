/* SPDX-License-Identifier: MIT
 *
 * Faults of the simulated port, one kind a run, for scripts/insn-check, which counts their instructions under
 * callgrind: those in measured(), which does nothing but hand traps to the core.
 *
 * Usage: insn KIND FAULTS; without arguments: the kinds.  What a fault should come to is checked.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vmfault/sim.h>

#define PAGE 4096u
#define DEVICE_PAGES 256u /* of the simulated machine */
#define PAGES 512u /* no more than the reserves of a new space are good for, so that no fault has to be asked twice */

struct rig {
	struct vmf_sim *sim;
	struct vmf_space *space;
	struct vmf_object *object;
	vmf_va at;
	struct vmf_frame *frame; /* what the driver shows everywhere */
};

/* Bytes do not matter here, and how the C library sets and copies them depends on the CPU: so these stand in for its
 * own, and leave out whole pages. */
void *memset(void *to, int byte, size_t n)
{
	volatile unsigned char *t = to;

	for (size_t i = 0; n < PAGE && i < n; i++)
		t[i] = (unsigned char)byte;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	const unsigned char *f = from;
	volatile unsigned char *t = to;

	for (size_t i = 0; n < PAGE && i < n; i++)
		t[i] = f[i];
	return to;
}

static void must(const char *what, int err)
{
	if (!err)
		return;
	fprintf(stderr, "insn: %s: %s\n", what, vmf_err_str(err));
	exit(1);
}

/* --------------------------------------------------------------------------------------- what answers */

static struct rig *rig_of(const struct vmf_req *req) { return req->object_priv; }

static enum vmf_code show_frame(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->frames[0] = rig_of(req)->frame;
	ans->n = 1;
	vmf_frame_get(ans->frames[0]);
	return VMF_OK;
}

static enum vmf_code show_pfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	ans->pfn.n = VMF_SIM_DEVICE + req->off % DEVICE_PAGES;
	ans->n = 1;
	return VMF_OK;
}

static enum vmf_code allow(const struct vmf_req *req, struct vmf_ans *ans) { return (void)req, (void)ans, VMF_OK; }

static int back_start(void *self, struct vmf_io *io)
{
	(void)self;
	vmf_io_done(io, io->n, 0);
	return 0;
}

static int back_length(void *self, uint64_t *bytes)
{
	(void)self;
	*bytes = (uint64_t)PAGES * PAGE;
	return 0;
}

static const struct vmf_ops nothing = { .size = sizeof(nothing) };
static const struct vmf_ops frames = { .size = sizeof(frames), .nopage = show_frame };
static const struct vmf_ops pfns = { .size = sizeof(pfns), .nopfn = show_pfn };
static const struct vmf_ops announced = { .size = sizeof(announced), .mkwrite = allow };
static const struct vmf_backing_ops backing = { .size = sizeof(backing), .start = back_start, .length = back_length };

/* ------------------------------------------------------------------------------------------ the kinds */

struct kind {
	const char *name;
	const struct vmf_ops *ops; /* NULL: a backing */
	uint8_t store, access, warm; /* warm: what touches every page first; 0: nothing does */
	uint8_t flags, expect;       /* flags: of the trap; expect: flags of the result */
	bool stream, private;
	enum { NO, REVOKE, EVICT } forget; /* what was entered when warm: by the driver, or by the pmap for itself */
	uint32_t around;
};
static const struct kind kinds[] = {
	{ "nopage", &frames, VMF_BY_ADDRESS, VMF_R, 0, 0, 0, 0, 0, NO, 1 },
	{ "nopfn", &pfns, VMF_BY_ADDRESS, VMF_R, 0, 0, 0, 0, 0, NO, 1 },
	{ "nopfn-again", &pfns, VMF_BY_ADDRESS, VMF_R, VMF_R, 0, 0, 0, 0, EVICT, 1 },
	{ "zero", &nothing, VMF_BY_ADDRESS, VMF_R, 0, 0, 0, 0, 0, NO, 1 },
	{ "zero-there", &nothing, VMF_BY_ADDRESS, VMF_R, VMF_R, 0, 0, 0, 0, REVOKE, 1 },
	{ "spurious", &nothing, VMF_BY_ADDRESS, VMF_R, VMF_R, 0, VMF_SPURIOUS, 0, 0, 0, 1 },
	{ "mkwrite", &announced, VMF_BY_ADDRESS, VMF_W, VMF_R, VMF_TRAP_WP, VMF_SPURIOUS, 0, 0, 0, 1 },
	{ "read", NULL, VMF_BY_ADDRESS, VMF_R, 0, 0, VMF_MAJOR, 0, 0, 0, 1 },
	{ "read-16", NULL, VMF_BY_ADDRESS, VMF_R, 0, 0, VMF_MAJOR, 0, 0, 0, 16 },
	{ "there", NULL, VMF_BY_ADDRESS, VMF_R, VMF_R, 0, 0, 0, 0, REVOKE, 1 },
	{ "there-offset", NULL, VMF_BY_OFFSET, VMF_R, VMF_R, 0, 0, 0, 0, REVOKE, 1 },
	{ "there-16", NULL, VMF_BY_OFFSET, VMF_R, VMF_R, 0, 0, 0, 0, REVOKE, 16 },
	{ "read-offset", NULL, VMF_BY_OFFSET, VMF_R, 0, 0, VMF_MAJOR, 0, 0, 0, 1 },
	{ "dirty", NULL, VMF_BY_ADDRESS, VMF_W, VMF_R, VMF_TRAP_WP, VMF_SPURIOUS, 0, 0, 0, 1 },
	{ "stream", NULL, VMF_BY_COPY, VMF_R, 0, 0, VMF_MAJOR, 1, 1, 0, 1 },
	{ "cow", NULL, VMF_BY_ADDRESS, VMF_W, VMF_R, VMF_TRAP_WP, 0, 0, 1, 0, 1 },
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static void rig_open(struct rig *r, const struct kind *k)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = k->store, .protect = true,
					       .ram_pages = 4 * PAGES };
	const struct vmf_backed backed = { .size = sizeof(backed), .flags = k->stream ? VMF_STREAM : 0, .ops = &backing,
					   .self = r, .around = k->around };
	const struct vmf_map map = { .size = sizeof(map), .flags = k->private ? 0 : VMF_SHARED, .pages = PAGES,
				     .prot = VMF_R | VMF_W, .attr = { .type = k->ops == &pfns ? VMF_UC : VMF_WB } };

	must("vmf_sim_open", vmf_sim_open(&r->sim, &config));
	must("vmf_sim_space", vmf_sim_space(r->sim, &r->space));
	must("vmf_frame_alloc", vmf_frame_alloc(vmf_sim_port(r->sim), 0, 0, true, &r->frame));
	if (k->ops)
		must("vmf_object_create", vmf_object_create(vmf_sim_port(r->sim), &r->object, k->ops, r, PAGES));
	else
		must("vmf_object_backed", vmf_object_backed(vmf_sim_port(r->sim), &r->object, &backed));
	must("vmf_map", vmf_map(r->space, r->object, &map, &r->at));
}

static void rig_close(struct rig *r)
{
	vmf_object_put(r->object);
	vmf_frame_put(vmf_sim_port(r->sim), r->frame);
	must("vmf_sim_space_close", vmf_sim_space_close(r->space));
	vmf_sim_close(r->sim);
}

static void warm(struct rig *r, const struct kind *k)
{
	unsigned char byte;

	for (uint32_t i = 0; i < PAGES; i++)
		if (vmf_sim_load(r->space, r->at + (vmf_va)i * PAGE, &byte, 1).code != VMF_OK)
			must("vmf_sim_load", -VMF_EFAULT);
	if (k->forget == REVOKE)
		must("vmf_revoke", vmf_revoke(r->object, 0, PAGES));
	if (k->forget == EVICT)
		vmf_sim_forget(r->space, r->at, PAGES);
}

/* Every `around`th page, until there were n, or one is not what it should be: returns how many were. */
__attribute__((noinline)) static uint32_t measured(struct rig *r, const struct kind *k, uint32_t n,
						    struct vmf_result *result)
{
	struct vmf_trap trap = { .access = k->access, .flags = k->flags };
	uint32_t i;

	for (i = 0; i < n; i++) {
		struct vmf_ticket ticket = { 0 };

		trap.va = r->at + (vmf_va)i * k->around * PAGE;
		*result = vmf_handle(r->space, &trap, &ticket);
		if (result->code != VMF_OK || result->flags != k->expect)
			break;
	}
	return i;
}

static int run(const struct kind *k, uint32_t n)
{
	struct vmf_result result = { 0 };
	struct rig r = { 0 };
	char text[64];
	uint32_t good;

	rig_open(&r, k);
	if (k->warm)
		warm(&r, k);
	good = measured(&r, k, n, &result);
	if (good == n) {
		rig_close(&r);
		return 0;
	}
	fprintf(stderr, "insn: %s: fault %u: %s, flags %u\n", k->name, good, vmf_result_str(result, text, sizeof(text)),
		result.flags);
	return 1;
}

int main(int argc, char **argv)
{
	uint32_t n = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 0) : 0;

	for (size_t i = 0; i < KINDS; i++) {
		if (argc == 1)
			puts(kinds[i].name);
		else if (argc == 3 && n && n <= PAGES / kinds[i].around && strcmp(argv[1], kinds[i].name) == 0)
			return run(&kinds[i], n);
	}
	if (argc == 1)
		return 0;
	fprintf(stderr, "usage: insn [KIND FAULTS]\n");
	return 2;
}
