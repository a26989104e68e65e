/* SPDX-License-Identifier: MIT
 *
 * Radix trees of pointers, 16 ways a node.  They only grow, so they are read without a lock; nodes come from the port's
 * reserve.
 */
#include "core.h"

uint32_t vmf__radix_levels(uint64_t keys)
{
	uint32_t levels = 1;

	while (levels < 15 && (uint64_t)16 << 4 * (levels - 1) < keys)
		levels++;
	return levels;
}

static void *radix_node(struct vmf_port *port, void **link)
{
	struct vmf__node *node = vmf__reserve_take(port, &port->nodes);

	if (!node)
		return NULL;
	*node = (struct vmf__node){ { 0 } };
	vmf__store(link, (void *)node);
	return node;
}

void **vmf__radix_make(struct vmf_port *port, struct vmf__pages *tree, uint64_t key)
{
	void **link = &tree->root;

	for (unsigned shift = 4 * tree->levels; shift;) {
		struct vmf__node *node = *link;

		if (!node)
			node = radix_node(port, link);
		if (!node)
			return NULL;
		shift -= 4;
		link = &node->child[key >> shift & 15u];
	}
	return link;
}

uint64_t vmf__radix_next(const struct vmf__pages *tree, uint64_t key, uint64_t end)
{
	while (key < end) {
		void *p = tree->root;
		uint32_t level = tree->levels;

		for (; p && level; level--)
			p = ((struct vmf__node *)p)->child[key >> 4 * (level - 1) & 15u];
		if (p)
			return key;
		key = ((key >> 4 * level) + 1) << 4 * level;
	}
	return end;
}

/* It nests as deep as the tree is: 15 at most. */
void vmf__radix_free(struct vmf_port *port, struct vmf__node *node, uint32_t level)
{
	for (unsigned i = 0; level > 1 && i < 16; i++)
		if (node->child[i])
			vmf__radix_free(port, node->child[i], level - 1);
	vmf__reserve_give(port, &port->nodes, node);
}
