/* SPDX-License-Identifier: MIT
 *
 * Does a fault cost more where there are many areas?  The same pages in the same order, in ten areas and in n: every
 * second page of a range, so that areas of one page do not touch each other.
 */
#include "state.h"
#include "steps.h"
#include "touch.h"

#include <stdlib.h>
#include <vmfault/linux.h>
#include <vmfault/sim.h>

#define FEW 10u
#define STEPPED 200u /* faults whose instructions are counted, each round */

static void must(const char *what, int err)
{
	if (err)
		walk_die(what, err);
}

/* Areas of 2 * n / areas pages each, less the last, side by side. */
static void map_areas(struct vmf_space *space, struct vmf_object *object, uint32_t n, uint32_t areas, vmf_va at)
{
	uint64_t each = 2 * (uint64_t)n / areas;
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED | VMF_FIXED, .pages = each - 1,
			       .prot = VMF_R | VMF_W };
	vmf_va got;

	for (uint32_t i = 0; i < areas; i++) {
		map.off = i * each;
		map.va = at + map.off * PAGE;
		must("vmf_map", vmf_map(space, object, &map, &got));
	}
}

/* ------------------------------------------------------------------------------------------------- Linux */

struct local {
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_object *object;
	vmf_va at;
};

/* at: addresses that nobody has, far from where the kernel begins */
static void local_open(struct local *l, uint32_t n, uint32_t areas, vmf_va at)
{
	static const struct vmf_ops nothing = { .size = sizeof(nothing) };
	const struct vmf_linux_space space = { .size = sizeof(space), .mode = VMF_IN_CONTEXT };

	must("vmf_linux_open", vmf_linux_open(&l->port, NULL));
	must("vmf_linux_space", vmf_linux_space(l->port, &l->space, &space));
	must("vmf_object_create", vmf_object_create(l->port, &l->object, &nothing, NULL, 2 * (uint64_t)n));
	l->at = at;
	map_areas(l->space, l->object, n, areas, l->at);
}

static double local_round(const struct local *l, uint32_t n, const uint32_t *order)
{
	double ns = walk((const char *)l->at, 2 * PAGE, order, n, 1, false);

	must("vmf_revoke", vmf_revoke(l->object, 0, 2 * (uint64_t)n));
	return ns;
}

static void local_close(struct local *l)
{
	vmf_object_put(l->object);
	vmf_linux_space_close(l->space);
	vmf_linux_close(l->port);
}

void areas_linux(uint32_t n, unsigned rounds, double *few, double *many)
{
	uint32_t *order = walk_order(n, 7);
	struct local a, b;

	local_open(&a, n, FEW, (vmf_va)1 << 44);
	local_open(&b, n, n, (vmf_va)1 << 45);
	(void)local_round(&a, n, order); /* the pages come to be */
	(void)local_round(&b, n, order);
	for (unsigned i = 0; i < rounds; i++) {
		few[i] = local_round(&a, n, order);
		many[i] = local_round(&b, n, order);
	}
	local_close(&b);
	local_close(&a);
	free(order);
}

/* --------------------------------------------------------------------------------------------- simulated */

struct simulated {
	struct vmf_sim *sim;
	struct vmf_space *space;
	struct vmf_object *object;
};

/* Every page shows the same pfn: what is measured is the way there. */
static enum vmf_code show_device(const struct vmf_req *req, struct vmf_ans *ans)
{
	(void)req;
	ans->pfn.n = VMF_SIM_DEVICE;
	ans->n = 1;
	return VMF_OK;
}

static void sim_open(struct simulated *s, uint32_t n, uint32_t areas)
{
	static const struct vmf_ops device = { .size = sizeof(device), .nopfn = show_device };
	const struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_ADDRESS };

	must("vmf_sim_open", vmf_sim_open(&s->sim, &config));
	must("vmf_sim_space", vmf_sim_space(s->sim, &s->space));
	must("vmf_object_create", vmf_object_create(vmf_sim_port(s->sim), &s->object, &device, NULL, 2 * (uint64_t)n));
	map_areas(s->space, s->object, n, areas, VMF_SIM_LOWEST);
}

static void sim_close(struct simulated *s)
{
	vmf_object_put(s->object);
	must("vmf_sim_space_close", vmf_sim_space_close(s->space));
	vmf_sim_close(s->sim);
}

struct sample { const struct simulated *s; const uint32_t *order; uint32_t n; };

static void sim_faults(void *arg)
{
	const struct sample *a = arg;

	for (uint32_t i = 0; i < a->n; i++) {
		struct vmf_trap trap = { .va = VMF_SIM_LOWEST + (vmf_va)a->order[i] * 2 * PAGE, .access = VMF_R };
		struct vmf_ticket ticket = { 0 };

		while (vmf_handle(a->s->space, &trap, &ticket).code == VMF_RETRY)
			must("vmf_ticket_wait", vmf_ticket_wait(a->s->space, &ticket, false));
	}
}

void areas_simulated(uint32_t n, unsigned rounds, double *few, double *many)
{
	uint32_t *order = walk_order(n, 7);
	struct simulated a, b;

	sim_open(&a, n, FEW);
	sim_open(&b, n, n);
	for (unsigned i = 0; i < rounds; i++) {
		struct sample x = { &a, order + i * STEPPED, STEPPED }, y = { &b, order + i * STEPPED, STEPPED };

		sim_faults(&x); /* the tables that the entries are in come to be; in what is counted they are there */
		sim_faults(&y);
		few[i] = steps(sim_faults, &x) / STEPPED;
		many[i] = steps(sim_faults, &y) / STEPPED;
	}
	sim_close(&b);
	sim_close(&a);
	free(order);
}
