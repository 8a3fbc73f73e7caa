/* This node among others. */
#ifndef CILIATE_NODE_H
#define CILIATE_NODE_H

#include "kernel.h"

static __always_inline const struct node *this_node(void)
{
	__u32 index = 0;

	return map_lookup(node, &index);
}

static __always_inline bool is_tunnel(__u32 ifindex)
{
	const struct node *node = this_node();

	return node && node->tunnel && node->tunnel == ifindex;
}

static __always_inline bool is_native(void)
{
	const struct node *node = this_node();

	return node && node->routing == ROUTING_NATIVE;
}

#endif
