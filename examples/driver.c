/* SPDX-License-Identifier: MIT
 *
 * A driver: word i of what it shows is i * i.  A page is computed when it is first touched.
 */
#include <vmfault/vmfault.h>

static int squares_map(struct vmf_object *object, struct vmf_map *map)
{
	(void)object;
	return (map->prot | map->maxprot) & VMF_W ? -VMF_EPERM : 0;
}

static enum vmf_code squares_nopage(const struct vmf_req *req, struct vmf_ans *ans)
{
	uint64_t words = vmf_page_size(req->port) / sizeof(uint64_t), first = req->off * words;
	struct vmf_frame *frame = vmf_frame_at(req->object, req->off);
	uint64_t *word = frame ? vmf_frame_bytes(req->port, frame) : NULL;

	ans->why = VMF_WHY_RESOURCE;
	if (!frame)
		return VMF_RETRY;
	for (uint64_t i = 0; i < words; i++)
		word[i] = (first + i) * (first + i);
	ans->frames[0] = frame;
	ans->n = 1;
	return VMF_OK;
}

static const struct vmf_ops squares = { .size = sizeof(squares), .map = squares_map, .nopage = squares_nopage };

/* A program that uses it, on Linux. */
#include <inttypes.h>
#include <stdio.h>
#include <vmfault/linux.h>

int main(void)
{
	struct vmf_map map = { .size = sizeof(map), .flags = VMF_SHARED, .pages = 1 << 20, .prot = VMF_R };
	struct vmf_object *object;
	struct vmf_space *space;
	struct vmf_port *port;
	vmf_va at;

	if (vmf_linux_open(&port, NULL) || vmf_linux_space(port, &space, NULL) ||
	    vmf_object_create(port, &object, &squares, NULL, map.pages) || vmf_map(space, object, &map, &at))
		return fprintf(stderr, "driver: it cannot be mapped here; 'vmfault probe' says why\n"), 4;
	printf("1234567 * 1234567 = %" PRIu64 "\n", ((const uint64_t *)at)[1234567]);
	vmf_object_put(object);
	vmf_linux_space_close(space);
	vmf_linux_close(port);
	return 0;
}
