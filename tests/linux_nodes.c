/* SPDX-License-Identifier: MIT
 *
 * Node policies of areas in this process: what the kernel says of the memory, private, shared and huge.
 */
#include "hugepages.h"
#include "linuxrig.h"

#define BLOCK 512u

static const struct vmf_ops zero_ops = { .size = sizeof(zero_ops) };

/* <linux/mempolicy.h> */
#define F_ADDR 2
static int policy_at(const char *at, unsigned long *mask)
{
	int mode = -1;

	memset(mask, 0, 1024 / 8);
	CHECK(!syscall(SYS_get_mempolicy, &mode, mask, 1024, at, F_ADDR));
	return mode;
}

static void policies(void)
{
	static const struct { uint32_t node; int mode, err; } row[] = {
		{ 0, 0, 0 }, { VMF_NODE_BIND(0u), 2, 0 }, { VMF_NODE_LOCAL, 4, 0 }, { VMF_NODE_INTERLEAVE, 3, 0 },
		{ VMF_NODE_BIND(200u), 0, -VMF_EINVAL }, { 200, 0, 0 }, { 0x201, 0, -VMF_EINVAL },
	};
	unsigned long mask[1024 / 64];
	struct vmf_object *o;
	struct vmf_map map;
	struct rig r;
	vmf_va at;
	int mode;

	if (vmtest_lacks(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0), "no get_mempolicy()"))
		return;
	BOTH_MODES(&r) {
		for (unsigned i = 0; i < 3 * sizeof(row) / sizeof(row[0]); i++) {
			map = (struct vmf_map){ .size = sizeof(map), .pages = BLOCK, .prot = VMF_R | VMF_W };
			CHECK_ERR(vmf_object_create(r.port, &o, &zero_ops, NULL, BLOCK), 0); /* a memfd keeps its policy */
			map.flags = i % 3 == 1 ? VMF_SHARED : 0;
			map.order = i % 3 == 2 ? 9 : 0;
			map.node = row[i / 3].node;
			CHECK_ERR(vmf_map(r.space, o, &map, &at), row[i / 3].err);
			vmf_object_put(o);
			if (row[i / 3].err)
				continue;
			CHECK_EQ(policy_at((char *)at, mask), row[i / 3].mode);
			CHECK(row[i / 3].mode != 2 || mask[0] == 1);
			CHECK_EQ(*(volatile char *)at, 0);
			rig_unmap(&r, (char *)at, BLOCK);
		}
	}
}

static const struct vmtest tests[] = { VMTEST(policies) };
HUGEPAGES_MAIN(tests, 2)
