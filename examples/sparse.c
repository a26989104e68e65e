/* SPDX-License-Identifier: MIT
 *
 * A pointer to all odd numbers below 2^38: an object of 1 TiB, of which each page is computed when it is first touched.
 */
#include <stdio.h>
#include <vmfault/linux.h>

static enum vmf_code odd_numbers(const struct vmf_req *req, struct vmf_ans *ans)
{
	struct vmf_frame *frame = ans->frames[0] = vmf_frame_at(req->object, req->off);
	uint64_t *word = frame ? vmf_frame_bytes(req->port, frame) : NULL;

	for (uint64_t i = 0; frame && i < 512; i++)
		word[i] = 2 * (req->off * 512 + i) + 1;
	ans->n = 1;
	return frame ? VMF_OK : VMF_OOM;
}

int main(void)
{
	static const struct vmf_ops ops = { .size = sizeof(ops), .nopage = odd_numbers };
	struct vmf_map map = VMF_INIT(struct vmf_map);
	struct vmf_port *port;
	struct vmf_space *space;
	struct vmf_object *object;
	uint64_t *odd;

	map.flags = VMF_SHARED;
	map.pages = 1ull << 28;
	map.prot = VMF_R;
	if (vmf_linux_open(&port, NULL) || vmf_linux_space(port, &space, NULL) ||
	    vmf_object_create(port, &object, &ops, NULL, map.pages) || vmf_map(space, object, &map, (vmf_va *)&odd))
		return fprintf(stderr, "sparse: it cannot be mapped here; 'vmfault probe' says why\n"), 4;
	for (unsigned long i = 1; i < 1ul << 37; i *= 1000)
		printf("odd[%lu] = %lu\n", i, odd[i]);
	return 0;
}
