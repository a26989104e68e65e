/* SPDX-License-Identifier: MIT
 *
 * What an object knows of its pages: a radix tree of 16-way nodes over leaves of eight pages.  It only grows while the
 * object lives, so it is read without a lock; an object of a terabyte costs what is touched.
 */
#include "core.h"

#define LEAF_SHIFT 3u
#define NODE_SHIFT 4u

static void **tree_child(const struct vmf__node *node, vmf_pgoff at, uint32_t level)
{
	unsigned shift = LEAF_SHIFT + (level - 1) * NODE_SHIFT;

	return (void **)&node->child[(at >> shift) & 15u];
}

static struct vmf__leaf *tree_find(const struct vmf__pages *tree, vmf_pgoff at)
{
	void *p = vmf__load(&tree->root);

	for (uint32_t level = tree->levels; p && level; level--)
		p = vmf__load(tree_child(p, at, level));
	return p;
}

struct vmf__page *vmf__page_at(const struct vmf_object *object, vmf_pgoff at)
{
	struct vmf__leaf *leaf = tree_find(&object->tree, at);

	return leaf ? &leaf->page[at % VMF__LEAF] : NULL;
}

static struct vmf__leaf *leaf_new(struct vmf_object *object, vmf_pgoff at)
{
	struct vmf__leaf *leaf = vmf__reserve_take(object->port, &object->port->leaves);

	if (leaf)
		memset(leaf, 0, sizeof(*leaf));
	for (unsigned i = 0; leaf && object->segmented && i < VMF__LEAF; i++)
		leaf->frame[i] = (struct vmf_frame){ .pfn = { object->segment.n + (at & ~(uint64_t)(VMF__LEAF - 1)) + i },
						     .refs = 1, .kind = VMF__F_SEGMENT };
	return leaf;
}

struct vmf__page *vmf__page_make(struct vmf_object *object, vmf_pgoff at)
{
	struct vmf_port *port = object->port;
	void **link = &object->tree.root, *p;

	for (uint32_t level = object->tree.levels; level; level--) {
		p = vmf__load(link);
		if (!p) {
			p = vmf__reserve_take(port, &port->nodes);
			if (!p)
				return NULL;
			memset(p, 0, sizeof(struct vmf__node));
			vmf__store(link, p);
		}
		link = tree_child(p, at, level);
	}
	p = vmf__load(link);
	if (!p) {
		p = leaf_new(object, at);
		if (!p)
			return NULL;
		vmf__store(link, p);
	}
	return &((struct vmf__leaf *)p)->page[at % VMF__LEAF];
}

struct vmf_frame *vmf__page_segment(struct vmf_object *object, vmf_pgoff at)
{
	return &tree_find(&object->tree, at)->frame[at % VMF__LEAF];
}

vmf_pgoff vmf__page_next(const struct vmf_object *object, vmf_pgoff at, vmf_pgoff end)
{
	while (at < end) {
		void *p = vmf__load(&object->tree.root);
		uint32_t level = object->tree.levels;

		for (; p && level; level--)
			p = vmf__load(tree_child(p, at, level));
		if (p)
			return at;
		/* Nothing below the slot where the walk ended: go on after it. */
		at = ((at >> (LEAF_SHIFT + level * NODE_SHIFT)) + 1) << (LEAF_SHIFT + level * NODE_SHIFT);
	}
	return end;
}

static void leaf_free(struct vmf_object *object, struct vmf__leaf *leaf)
{
	for (unsigned i = 0; i < VMF__LEAF; i++) {
		struct vmf__page *page = &leaf->page[i];

		if (page->of && !object->segmented)
			vmf_frame_put(object->port, page->of);
	}
	vmf__reserve_give(object->port, &object->port->leaves, leaf);
}

/* Depth-first without recursion: at most 16 levels. */
void vmf__pages_destroy(struct vmf_object *object)
{
	struct { struct vmf__node *node; unsigned next; } stack[16];
	struct vmf_port *port = object->port;
	uint32_t top = 0, levels = object->tree.levels;

	if (!object->tree.root)
		return;
	if (!levels) {
		leaf_free(object, object->tree.root);
		return;
	}
	stack[0].node = object->tree.root;
	stack[0].next = 0;
	for (;;) {
		void *child;

		if (stack[top].next == 16) {
			vmf__reserve_give(port, &port->nodes, stack[top].node);
			if (!top--)
				return;
			continue;
		}
		child = stack[top].node->child[stack[top].next++];
		if (!child)
			continue;
		if (top + 1 == levels) {
			leaf_free(object, child);
			continue;
		}
		stack[++top].node = child;
		stack[top].next = 0;
	}
}
