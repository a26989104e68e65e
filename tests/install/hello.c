/* SPDX-License-Identifier: MIT
 * What a stranger's first program might be: a simulated machine, one page of zeroes, one byte. */
#include <stdio.h>
#include <vmfault/sim.h>

int main(void)
{
	static const struct vmf_ops zero_fill = { .size = sizeof(zero_fill) };
	struct vmf_sim_config config = { .size = sizeof(config), .store = VMF_BY_ADDRESS };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 1, .prot = VMF_R | VMF_W };
	struct vmf_sim *sim;
	struct vmf_space *space;
	struct vmf_object *object;
	struct vmf_result r;
	vmf_va at;
	char byte = 'v', back = 0, why[64];

	if (vmf_sim_open(&sim, &config) || vmf_sim_space(sim, &space) ||
	    vmf_object_create(vmf_sim_port(sim), &object, &zero_fill, NULL, 1) || vmf_map(space, object, &map, &at))
		return 1;
	r = vmf_sim_store(space, at, &byte, 1);
	if (r.code == VMF_OK)
		r = vmf_sim_load(space, at, &back, 1);
	printf("%s %c\n", vmf_result_str(r, why, sizeof(why)), back);
	vmf_sim_space_close(space);
	vmf_object_put(object);
	vmf_sim_close(sim);
	return r.code != VMF_OK || back != byte;
}
