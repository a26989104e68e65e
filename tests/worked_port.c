/* SPDX-License-Identifier: MIT
 *
 * The worked port that host.h and pmap.h end with: it compiles, and a machine made of it faults.
 */
#define VMF_WORKED_PORT
#include <vmfault/pmap.h>
#include "vmtest.h"

static struct tiny_host host;
static struct tiny_pmap pmap = { .pmap = { &tiny_pmap_ops, TINY_VA, TINY_VA + (64u << 12) } };

int main(void)
{
	static const struct vmf_ops zeroes = { .size = sizeof(zeroes) };
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 8, .prot = VMF_R | VMF_W };
	struct vmf_object *object;
	struct vmf_space *space;
	struct vmf_port *port;
	struct vmf_result r = { 0 };
	uint8_t *byte;
	vmf_va at;

	CHECK_EQ(tiny_port(&host, &port), 0);
	CHECK_EQ(vmf_space_create(port, &space, &pmap.pmap), 0);
	CHECK_EQ(vmf_object_create(port, &object, &zeroes, NULL, 8), 0);
	CHECK_EQ(vmf_map(space, object, &map, &at), 0);
	byte = tiny_access(space, &host, at + 5000, VMF_W, &r);
	CHECK(byte && !*byte);
	*byte = 7;
	CHECK_EQ(vmf_revoke(object, 0, 8), 0);
	byte = tiny_access(space, &host, at + 5000, VMF_R, &r);
	CHECK(byte && *byte == 7);
	CHECK(!tiny_access(space, &host, at + (9u << 12), VMF_R, &r));
	CHECK_EQ(r.code, VMF_SIGSEGV);
	vmf_space_destroy(space);
	vmf_object_put(object);
	vmf_port_destroy(port);
	return 0;
}
