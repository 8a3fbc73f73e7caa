/* Who sent what the host's stack forwards to a container: the interface that it came in by tells, since
 * by now its address may be one that the host gave it.
 *
 *   1. none                       the host itself
 *   2. an uplink (`devices`)      the world, by prefix where a rule names one; an address of ours cannot
 *                                 come from there: INVALID_SOURCE_IP
 *   3. a container of this node   that container, through a published port
 *   4. any other                  unmanaged: another bridge, whatever the address */
#ifndef CILIATE_ORIGIN_H
#define CILIATE_ORIGIN_H

#include "ipcache.h"
#include "separation.h"

static __always_inline int origin_of_uplink(const struct tuple *tuple, struct party *origin)
{
	const struct ipcache_entry *entry = find_host(tuple->family, &tuple->source);

	if (!entry)
		entry = find_prefix(tuple->family, &tuple->source);
	origin->identity = world(tuple->family);
	if (!entry)
		return 0;
	if (entry->network || entry->ifindex || entry->identity == IDENTITY_UNKNOWN ||
	    entry->identity == IDENTITY_HOST)
		return -REASON_INVALID_SOURCE_IP;
	if (is_world(entry->identity))
		origin->identity = entry->identity;
	return 0;
}

static __always_inline int find_origin(const struct tuple *tuple, __u32 ifindex,
				       struct party *origin)
{
	const struct endpoint *container;
	const __u32 *class;

	origin->identity = IDENTITY_HOST;
	if (!ifindex) /* 1 */
		return 0;
	class = map_lookup(devices, &ifindex);
	if (class && *class == DEVICE_UPLINK) /* 2 */
		return origin_of_uplink(tuple, origin);
	container = find_endpoint(ifindex);
	if (container) /* 3 */
		party_of_endpoint(container, ifindex, origin);
	else /* 4 */
		origin->identity = IDENTITY_UNMANAGED;
	return 0;
}

#endif
