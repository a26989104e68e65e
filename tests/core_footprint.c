/* SPDX-License-Identifier: MIT
 *
 * What the state of pages costs, in bytes that the core allocates: touched densely, sparsely, and not at all.  Page
 * tables are the simulated machine's own, as they are a kernel's.
 */
#include "rig.h"

#define TIB_PAGES ((uint64_t)1 << 28)

static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };

static void open_with(struct rig *r, unsigned store, uint64_t ram)
{
	const struct vmf_sim_config config = { .size = sizeof(config), .store = (uint8_t)store, .protect = true,
					       .ram_pages = ram };

	rig_open_as(r, &config);
}

/* Leftovers are the machine's to find. */
static void close_with(struct rig *r, struct vmf_object *o)
{
	vmf_object_put(o);
	CHECK_ERR(vmf_sim_space_close(r->space), 0);
	vmf_sim_close(r->sim);
}

static void touch(struct rig *r, vmf_va va, uint64_t n, uint64_t step)
{
	uint8_t byte = 1;

	for (uint64_t i = 0; i < n; i++)
		CHECK_OK(vmf_sim_store(r->space, va + i * step * PAGE, &byte, 1));
}

/* Each page that is touched, every step-th, costs so many bytes at most, its frame's descriptor included. */
static void costs(unsigned store, uint64_t n, uint64_t step, double most)
{
	uint64_t before, after, ram = store == VMF_BY_ADDRESS ? n + 64 : 64;
	struct vmf_object *o;
	double each;
	struct rig r;
	vmf_va va;

	open_with(&r, store, ram);
	CHECK_ERR(vmf_object_create(r.port, &o, &zeroes, NULL, n * step), 0);
	va = rig_show(&r, o, n * step, VMF_R | VMF_W);
	before = vmf_sim_live(r.sim);
	touch(&r, va, n, step);
	after = vmf_sim_live(r.sim);
	each = (double)(after - before) / (double)n + (store == VMF_BY_ADDRESS ? 16 : 0);
	printf("%s, every %llu: %.1f bytes a page\n", rig_store_name[store], (unsigned long long)step, each);
	CHECK(each <= most);
	close_with(&r, o);
}

static void dense(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++)
		costs(store, 100000, 1, 40);
}

/* One page of each 2 MiB, over 40 GiB (by copy the simulated machine keeps the bytes). */
static void sparse(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_OFFSET; store++)
		costs(store, 20000, 512, 640);
	costs(VMF_BY_COPY, 1000, 512, 640);
}

/* A terabyte, mapped, and unmapped again: what one page costs it costs. */
static void untouched(void)
{
	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		uint64_t before[2], after[2];

		for (unsigned i = 0; i < 2; i++) {
			uint64_t pages = i ? TIB_PAGES : 1;
			struct vmf_object *o;
			struct rig r;

			open_with(&r, store, 64);
			before[i] = vmf_sim_live(r.sim);
			CHECK_ERR(vmf_object_create(r.port, &o, &zeroes, NULL, pages), 0);
			rig_show(&r, o, pages, VMF_R | VMF_W);
			after[i] = vmf_sim_live(r.sim);
			close_with(&r, o);
		}
		CHECK_EQ(after[1] - before[1], after[0] - before[0]);
		printf("%s: %llu bytes for an object and its area\n", rig_store_name[store],
			(unsigned long long)(after[0] - before[0]));
	}
}

static const struct vmtest tests[] = {
	VMTEST(dense),
	VMTEST(sparse),
	VMTEST(untouched),
};
VMTEST_MAIN(tests, 30)
