/* SPDX-License-Identifier: MIT
 *
 * devmem: see devmem.h.
 */
#include "devmem.h"

/* Its ->mmap(): the area must lie within the range, and takes its attributes. */
static int devmem_map(struct vmf_object *object, struct vmf_map *map)
{
	const struct vmf_devmem *d = vmf_object_priv(object);

	if (!map->pages || map->off > d->pages || map->pages > d->pages - map->off)
		return -VMF_EINVAL;
	map->attr = d->attr;
	if (d->eager) {
		map->action = VMF_RAW;
		map->raw.n = d->first.n + map->off;
	}
	return 0;
}

static enum vmf_code devmem_nopfn(const struct vmf_req *req, struct vmf_ans *ans)
{
	const struct vmf_devmem *d = req->object_priv;
	uint64_t left = d->pages - req->off;

	ans->pfn.n = d->first.n + req->off;
	ans->n = d->run ? d->run : 1;
	if (ans->n > ans->max)
		ans->n = ans->max;
	if (ans->n > left)
		ans->n = (uint32_t)left;
	ans->attr = d->attr;
	return VMF_OK;
}

static const struct vmf_ops devmem_ops = {
	.size = sizeof(devmem_ops),
	.map = devmem_map,
	.nopfn = devmem_nopfn,
};

/* The last page number that has an address. */
static uint64_t last_pfn(const struct vmf_port *port)
{
	uint64_t last = UINT64_MAX;

	for (size_t bytes = vmf_page_size(port); bytes > 1; bytes >>= 1)
		last >>= 1;
	return last;
}

int vmf_devmem_open(struct vmf_devmem *d, struct vmf_port *port)
{
	uint64_t last = last_pfn(port);

	if (!d->pages || d->first.n > last || d->pages - 1 > last - d->first.n)
		return -VMF_EINVAL;
	return vmf_object_create(port, &d->object, &devmem_ops, d, d->pages);
}

void vmf_devmem_close(struct vmf_devmem *d)
{
	vmf_object_put(d->object);
}
