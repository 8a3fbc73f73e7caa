/* Who sent what the host's stack forwards to a container: the interface that it came in by tells, since
 * by now its address may be one that the host gave it.
 *
 *   1. none                       the host itself
 *   2. a container of this node   that container, through a published port
 *   3. the tunnel                 by address, which from_overlay has held against the sending node;
 *                                 through a published port
 *   4. an uplink (`devices`)      another node, or where routing is native a container behind one, by
 *                                 address; else the world, by prefix where a rule names one
 *   5. any other                  unmanaged: another bridge, whatever the address
 *
 * An address of ours comes from its container and nowhere else, and the host's own not over an uplink:
 * INVALID_SOURCE_IP. Else whoever can send to the host could speak in a flow of two containers. */
#ifndef CILIATE_ORIGIN_H
#define CILIATE_ORIGIN_H

#include "ipcache.h"
#include "node.h"
#include "separation.h"

static __always_inline bool is_ours(const struct ipcache_entry *entry)
{
	return entry->network || entry->ifindex || entry->identity == IDENTITY_UNKNOWN;
}

static __always_inline const struct ipcache_entry *find_entry_of(const struct tuple *tuple)
{
	const struct ipcache_entry *entry = find_host(tuple->family, &tuple->source);

	return entry ? entry : find_prefix(tuple->family, &tuple->source);
}

/* Somewhere behind another node, or that node. */
static __always_inline int origin_elsewhere(const struct ipcache_entry *entry, struct party *origin)
{
	if (!entry || !entry->tunnel)
		return -REASON_INVALID_SOURCE_IP;
	origin->identity = entry->identity;
	origin->network = entry->network;
	origin->node = entry->tunnel;
	return 0;
}

static __always_inline int origin_of_stranger(const struct tuple *tuple, bool is_uplink,
					      struct party *origin)
{
	const struct ipcache_entry *entry = find_entry_of(tuple);

	if (is_uplink && entry && entry->tunnel && (!entry->network || is_native())) /* 4 */
		return origin_elsewhere(entry, origin);
	if (entry && (is_ours(entry) || (is_uplink && entry->identity == IDENTITY_HOST)))
		return -REASON_INVALID_SOURCE_IP;
	if (!is_uplink) /* 5 */
		origin->identity = IDENTITY_UNMANAGED;
	else if (entry && is_world(entry->identity)) /* 4 */
		origin->identity = entry->identity;
	else
		origin->identity = world(tuple->family);
	return 0;
}

static __always_inline int find_origin(const struct tuple *tuple, __u32 ifindex,
				       struct party *origin)
{
	const struct endpoint *container;
	const __u32 *class;
	bool is_uplink;

	if (!ifindex) { /* 1 */
		origin->identity = IDENTITY_HOST;
		return 0;
	}
	if (is_tunnel(ifindex)) /* 3 */
		return origin_elsewhere(find_host(tuple->family, &tuple->source), origin);
	class = map_lookup(devices, &ifindex);
	is_uplink = class && *class == DEVICE_UPLINK;
	container = is_uplink ? NULL : find_endpoint(ifindex);
	if (!container)
		return origin_of_stranger(tuple, is_uplink, origin);
	party_of_endpoint(container, ifindex, origin); /* 2 */
	return 0;
}

/* Where routing is native, what comes from another node or from behind it is for the container itself, unless
 * netfilter says that it called a port that is published. */
static __always_inline bool is_published(const struct __sk_buff *skb, const struct party *origin)
{
	if (!origin->node || !is_native())
		return true;
	return (skb->mark & MARK_MASK) == MARK_PUBLISHED;
}

#endif
