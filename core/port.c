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

static bool host_complete(const struct vmf_host_ops *h)
{
	return h->alloc && h->free && h->bytes && h->slot && h->wait && h->wake && !h->segment == !h->segment_free;
}

static int config_in(struct vmf_port_config *c, struct vmf_host_ops *host, const struct vmf_port_config *config)
{
	int err = vmf_struct_in(c, sizeof(*c), config, offsetof(struct vmf_port_config, page_shift));

	if (!err && (c->abi != VMF_ABI || !c->host))
		err = -VMF_ENOSYS;
	if (!err)
		err = vmf_struct_in(host, sizeof(*host), c->host, offsetof(struct vmf_host_ops, alloc));
	if (!err && (host->flags || c->zero[0] | c->zero[1]))
		err = -VMF_EINVAL;
	return err ? err : host_complete(host) ? 0 : -VMF_ENOSYS;
}

static void reserve_init(struct vmf__reserve *r, uint32_t size, uint32_t low)
{
	*r = (struct vmf__reserve){ .lock = { 0, VMF_RANK_FRAME }, .size = size, .low = low };
}

static uint32_t leaf_size(const struct vmf_host_ops *h)
{
	return sizeof(struct vmf__leaf) + (h->segment ? VMF__LEAF * sizeof(struct vmf_frame) : 0);
}

int vmf_port_create(struct vmf_port **out, const struct vmf_port_config *config)
{
	struct vmf_port_config c;
	struct vmf_host_ops host;
	struct vmf_port *port;
	int err;

	if (!out)
		return -VMF_EINVAL;
	err = config_in(&c, &host, config);
	if (err)
		return err;
	if (!c.slots || c.slots > UINT32_MAX / VMF_CFG_DEPTH / sizeof(struct vmf_slot))
		return -VMF_EINVAL;
	if (c.page_shift < 12 || c.page_shift > 16)
		return -VMF_EINVAL;
	port = host.alloc(c.self, sizeof(*port));
	if (!port)
		return -VMF_ENOMEM;
	port->table = host;
	port->host = &port->table;
	port->self = c.self;
	port->shift = c.page_shift;
	port->strict = c.strict;
	port->nslots = c.slots * VMF_CFG_DEPTH;
	port->phys_lock.rank = port->late_lock.rank = port->all_lock.rank = VMF_RANK_FRAME;
	reserve_init(&port->leaves, leaf_size(&host), VMF_CFG_LEAVES);
	reserve_init(&port->nodes, sizeof(struct vmf__node), VMF_CFG_NODES);
	reserve_init(&port->fills, sizeof(struct vmf__fill), VMF_CFG_FILLS);
	reserve_init(&port->blocks, sizeof(struct vmf__block), VMF_CFG_ALIASES);
	reserve_init(&port->aliases, sizeof(struct vmf__alias), VMF_CFG_ALIASES);
	port->alias_lock.rank = VMF_RANK_PMAP;
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
	vmf__left_over(port, vmf__load(&port->spaces), " spaces are left when their port goes");
	vmf__left_over(port, vmf__load(&port->objects), " objects are left when their port goes");
	vmf__reserve_destroy(port, &port->fills);
	vmf__reserve_destroy(port, &port->nodes);
	vmf__reserve_destroy(port, &port->leaves);
	vmf__reserve_destroy(port, &port->blocks);
	vmf__reserve_destroy(port, &port->aliases);
	vmf__phys_destroy(port);
	vmf__free(port, port->slots, port->nslots * sizeof(*port->slots));
	vmf__free(port, port, sizeof(*port));
}

void *vmf_port_self(const struct vmf_port *port) { return port ? port->self : NULL; }
unsigned vmf_node(const struct vmf_port *port)
{
	return port && port->host->node ? port->host->node(port->self) : 0;
}

size_t vmf_page_size(const struct vmf_port *port) { return port ? vmf__psize(port) : 0; }

int vmf__supply(struct vmf_port *port)
{
	int err = vmf__reserve_supply(port, &port->fills);

	if (!err)
		err = vmf__reserve_supply(port, &port->nodes);
	if (!err)
		err = vmf__reserve_supply(port, &port->leaves);
	if (!err && vmf__load(&port->devices))
		err = vmf__reserve_supply(port, &port->blocks);
	if (!err && vmf__load(&port->devices))
		err = vmf__reserve_supply(port, &port->aliases);
	return err;
}

uint32_t vmf_wait_seq(const struct vmf_wait *wait) { return wait ? vmf__load(&wait->seq) : 0; }

void vmf_wake(struct vmf_port *port, struct vmf_wait *wait)
{
	if (!port || !wait)
		return;
	vmf__add(&wait->seq, 1);
	port->host->wake(port->self, &wait->seq);
}
