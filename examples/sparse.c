/* SPDX-License-Identifier: MIT
 *
 * A pointer into an object of 1 TiB that is nowhere: each page is computed when it is touched for the first time.
 */
#include <stdio.h>
#include <vmfault/linux.h>

static enum vmf_code squares(const struct vmf_req *req, struct vmf_ans *ans)
{
	uint64_t *word, first = req->off * 512;

	if (!(ans->frames[0] = vmf_frame_at(req->object, req->off)))
		return VMF_OOM;
	word = vmf_frame_bytes(req->port, ans->frames[0]);
	for (uint64_t i = 0; i < 512; i++)
		word[i] = (first + i) * (first + i);
	ans->n = 1;
	return VMF_OK;
}

int main(void)
{
	static const struct vmf_ops ops = { .size = sizeof ops, .nopage = squares };
	struct vmf_map map = { .size = sizeof map, .flags = VMF_SHARED, .pages = 1ull << 28, .prot = VMF_R };
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_object *object;
	vmf_va at;

	if (vmf_linux_open(&port, NULL) || vmf_linux_space(port, &space, NULL) ||
	    vmf_object_create(port, &object, &ops, NULL, map.pages) || vmf_map(space, object, &map, &at))
		return fprintf(stderr, "sparse: no userfaultfd here; 'vmfault probe' says why\n"), 4;
	for (uint64_t i = 3; i < 1ull << 37; i *= 1000)
		printf("p[%llu] = %llu\n", (unsigned long long)i, (unsigned long long)((uint64_t *)at)[i]);
	return 0;
}
