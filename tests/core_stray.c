/* SPDX-License-Identifier: MIT
 *
 * A map that fails after the pmap had prepared its addresses, and a pmap that does not take them back then: nobody gets
 * those addresses meanwhile, and they come back as soon as the pmap is able to.
 */
#include "rig.h"

#define BASE VMF_SIM_LOWEST
#define PAGES 4u

struct driver { struct vmf_object *object; int released; };

static void released(struct vmf_object *object, void *priv)
{
	struct driver *d = priv;

	(void)object;
	d->released++;
}

static const struct vmf_ops driver_ops = { .size = sizeof(driver_ops), .release = released };

static struct { struct rig *rig; bool refuses; int err; unsigned asked; } pmap;

static void on_detach(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	pmap.asked++;
	if (pmap.refuses)
		vmf_sim_fail(pmap.rig->sim, VMF_SIM_DETACH, 1, pmap.err);
}

/* Short waits for a changing layout. */
static void on_wait(void *self, struct vmf_space *space, uint64_t at, uint64_t pages)
{
	(void)self, (void)space, (void)at, (void)pages;
	vmf_sim_fail(pmap.rig->sim, VMF_SIM_WAIT, 1, VMF_ETIME);
}

static int map_at(struct rig *r, struct driver *d, vmf_va va, vmf_va *at)
{
	struct vmf_map m = rig_map(r, PAGES, VMF_R | VMF_W);

	m.flags |= va ? VMF_FIXED : 0;
	m.va = va;
	return vmf_map(r->space, d->object, &m, at);
}

/* There is an area elsewhere, and addresses at BASE that are in the way. */
static void stray_make(struct rig *r, struct driver *d, int err)
{
	struct vmf_map m = rig_map(r, PAGES, VMF_R | VMF_W);
	vmf_va at;

	pmap.rig = r;
	pmap.refuses = false;
	pmap.err = err;
	*d = (struct driver){ 0 };
	CHECK_ERR(vmf_object_create(r->port, &d->object, &driver_ops, d, 2 * PAGES), 0);
	vmf_sim_on(r->sim, VMF_SIM_DETACH, on_detach, NULL);
	vmf_sim_on(r->sim, VMF_SIM_WAIT, on_wait, NULL);
	CHECK_ERR(map_at(r, d, BASE + 1024 * PAGE, &at), 0);
	pmap.refuses = true;
	m.flags |= VMF_FIXED;
	m.va = BASE;
	vmf_sim_fail(r->sim, VMF_SIM_ALLOC, 1, -VMF_ENOMEM);
	CHECK_ERR(vmf_map(r->space, d->object, &m, &at), -VMF_ENOMEM);
	CHECK(pmap.asked);
}

static const int errors[] = { -VMF_ENOMEM, -VMF_EAGAIN };

static void nobody_gets_it(void)
{
	struct driver d;
	struct rig r;
	vmf_va at;

	for (unsigned i = 0; i < 2; i++)
		for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
			rig_open(&r, store);
			stray_make(&r, &d, errors[i]);
			CHECK_ERR(map_at(&r, &d, BASE + (PAGES - 1) * PAGE, &at), -VMF_EEXIST);
			CHECK_ERR(map_at(&r, &d, 0, &at), 0);
			CHECK(at >= BASE + PAGES * PAGE || at + PAGES * PAGE <= BASE);
			CHECK_EQ(rig_byte(&r, at), 0);
			CHECK(rig_byte(&r, BASE) < 0);
			pmap.refuses = false;
			CHECK_ERR(map_at(&r, &d, BASE, &at), 0);
			CHECK_EQ(rig_byte(&r, BASE), 0);
			vmf_object_put(d.object);
			rig_close(&r);
			CHECK_EQ(d.released, 1);
		}
}

/* What may still be shown is not given back, and the space does not go without it. */
static void the_space_waits(void)
{
	struct driver d;
	struct rig r;

	for (unsigned store = VMF_BY_ADDRESS; store <= VMF_BY_COPY; store++) {
		rig_open(&r, store);
		stray_make(&r, &d, -VMF_ENOMEM);
		pmap.refuses = false;
		CHECK_ERR(vmf_unmap(r.space, BASE + 1024 * PAGE, PAGES), 0);
		vmf_object_put(d.object);
		CHECK_EQ(d.released, 0);
		pmap.refuses = true;
		CHECK_ERR(vmf_space_destroy(r.space), -VMF_ENOMEM);
		CHECK_EQ(d.released, 0);
		pmap.refuses = false;
		rig_close(&r);
		CHECK_EQ(d.released, 1);
	}
}

static const struct vmtest tests[] = { VMTEST(nobody_gets_it), VMTEST(the_space_waits) };
VMTEST_MAIN(tests, 20)
