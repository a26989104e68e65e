/* SPDX-License-Identifier: MIT
 *
 * A port, from the core's side: the host's operations and what is shared by everything created on them.
 */
#include "core.h"

void *vmf__alloc(struct vmf_port *port, size_t bytes) { return port->host->alloc(port->self, bytes); }

void vmf__free(struct vmf_port *port, void *p, size_t bytes)
{
	if (p)
		port->host->free(port->self, p, bytes);
}

int vmf__struct_in(void *to, size_t ours, const void *from, uint32_t size, size_t least)
{
	const uint8_t *tail = from;

	if (size < least)
		return -VMF_EINVAL;
	for (size_t i = ours; i < size; i++)
		if (tail[i])
			return -VMF_E2BIG;
	memset(to, 0, ours);
	memcpy(to, from, vmf__min(size, ours));
	return 0;
}

static bool host_complete(const struct vmf_host_ops *h)
{
	return h && h->alloc && h->free && h->bytes && h->slot && h->wait && h->wake && !h->segment == !h->segment_free;
}

int vmf_port_create(struct vmf_port **out, const struct vmf_port_config *config)
{
	struct vmf_port_config c;
	struct vmf_port *port;
	int err;

	if (!out || !config)
		return -VMF_EINVAL;
	err = vmf__struct_in(&c, sizeof(c), config, config->size, offsetof(struct vmf_port_config, slots));
	if (err)
		return err;
	if (c.abi != VMF_ABI || !host_complete(c.host))
		return -VMF_ENOSYS;
	if (!c.slots || c.slots > UINT32_MAX / VMF__DEPTH / sizeof(struct vmf_slot))
		return -VMF_EINVAL;
	if (c.page_shift < 12 || c.page_shift > 16)
		return -VMF_EINVAL;
	port = c.host->alloc(c.self, sizeof(*port));
	if (!port)
		return -VMF_ENOMEM;
	port->host = c.host;
	port->self = c.self;
	port->shift = c.page_shift;
	port->nslots = c.slots * VMF__DEPTH;
	port->leaves = (struct vmf__reserve){ .size = sizeof(struct vmf__leaf), .low = 160 };
	port->nodes = (struct vmf__reserve){ .size = sizeof(struct vmf__node), .low = 64 };
	port->fills = (struct vmf__reserve){ .size = sizeof(struct vmf__fill), .low = 4 };
	port->slots = vmf__alloc(port, port->nslots * sizeof(*port->slots));
	if (!port->slots || vmf__supply(port)) {
		vmf_port_destroy(port);
		return -VMF_ENOMEM;
	}
	*out = port;
	return 0;
}

void vmf_port_destroy(struct vmf_port *port)
{
	if (!port)
		return;
	vmf_port_tidy(port);
	vmf__reserve_destroy(port, &port->fills);
	vmf__reserve_destroy(port, &port->nodes);
	vmf__reserve_destroy(port, &port->leaves);
	vmf__phys_destroy(port);
	vmf__free(port, port->slots, port->nslots * sizeof(*port->slots));
	vmf__free(port, port, sizeof(*port));
}

void *vmf_port_self(const struct vmf_port *port) { return port->self; }
size_t vmf_page_size(const struct vmf_port *port) { return vmf__psize(port); }

int vmf__supply(struct vmf_port *port)
{
	int err = vmf__reserve_supply(port, &port->fills);

	if (!err)
		err = vmf__reserve_supply(port, &port->nodes);
	if (!err)
		err = vmf__reserve_supply(port, &port->leaves);
	return err;
}

uint32_t vmf_wait_seq(const struct vmf_wait *wait) { return vmf__load(&wait->seq); }

void vmf_wake(struct vmf_port *port, struct vmf_wait *wait)
{
	vmf__add(&wait->seq, 1);
	port->host->wake(port->self, &wait->seq);
}
