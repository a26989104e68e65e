/* SPDX-License-Identifier: MIT
 *
 * What a space that is another process's memory cannot do: it refuses, and the client goes on reading.
 */
#include <vmfault/pmap.h>
#include "remotetest.h"

static void what_is_elsewhere_is_not_ours_to_change(void)
{
	const struct bed_config config = {
		.client = { .pages = 8 }, .backed = { .flags = VMF_STREAM | VMF_RDONLY, .around = 1 },
		.region = { { .bytes = 4 * PAGE, .page_size = PAGE } },
	};
	struct vmf_map map = { .size = sizeof(map), .pages = 1, .prot = VMF_R };
	struct vmf_entry e;
	struct vmf_pmap *pmap;
	struct bed b;

	bed_open(&b, &config);
	pmap = vmf_space_pmap(b.space);
	CHECK(bed_reads(&b, 0, 0));
	CHECK_EQ(vmf_linux_lacks(b.space), 0);
	CHECK(!vmf_linux_syscalls(b.space));
	CHECK_ERR(vmf_protect(b.space, b.client.va, 1, VMF_R), -VMF_ENOSYS);
	CHECK_ERR(pmap->ops->query(pmap, b.client.va, &e), -VMF_ENOSYS);
	/* Its memory is where it is, and what the client did not hand over is not served. */
	CHECK_ERR(vmf_map(b.space, b.object, &map, NULL), -VMF_ENOSYS);
	map.flags = VMF_FIXED;
	map.va = b.client.va + 4 * PAGE;
	CHECK_ERR(vmf_map(b.space, b.object, &map, NULL), -VMF_EINVAL);
	map.va = b.client.va;
	CHECK_ERR(vmf_map(b.space, b.object, &map, NULL), -VMF_EEXIST);
	/* What was given away stays. */
	CHECK_ERR(vmf_revoke(b.object, 0, 4), 0);
	CHECK(bed_reads(&b, 0, 0));
	CHECK(bed_reads(&b, PAGE, PAGE));
	CHECK_EQ(b.session->faults, 2);
	bed_close(&b);
}

static const struct vmtest tests[] = {
	VMTEST(what_is_elsewhere_is_not_ours_to_change),
};

VMTEST_MAIN(tests, 20)
