/* What may talk at all, whatever policy says.
 *
 *   1. one end is not known                    UNKNOWN_SENDER, UNKNOWN_DESTINATION
 *   2. both are in networks, but not the same  NETWORKS_SEPARATE
 *   3. one has no labels yet, the other is     INIT_STAYS
 *      another node or behind one
 *   4. an end's network forbids the other      HOST_, WORLD_, CONTAINERS_FORBIDDEN
 *
 * Publishing a port is explicit: for what comes that way, neither separation nor the network's ban on its
 * own containers holds; and the answer goes by the host. */
#ifndef CILIATE_SEPARATION_H
#define CILIATE_SEPARATION_H

#include "endpoint.h"

#define FIRST_LOCAL_IDENTITY (1U << 24)

/* The world as a whole, or one of its prefixes that a rule names. */
static __always_inline bool is_world(__u32 identity)
{
	return identity == IDENTITY_WORLD || identity == IDENTITY_WORLD_IPV4 ||
	       identity == IDENTITY_WORLD_IPV6 || identity >= FIRST_LOCAL_IDENTITY;
}

static __always_inline int check_ban(const struct party *local, const struct party *peer,
				     bool published)
{
	if (!local->ifindex || !local->flags)
		return 0;
	if (local->flags & ENDPOINT_NO_HOST && peer->identity == IDENTITY_HOST)
		return -REASON_HOST_FORBIDDEN;
	if (local->flags & ENDPOINT_NO_WORLD &&
	    (is_world(peer->identity) || peer->identity == IDENTITY_UNMANAGED))
		return -REASON_WORLD_FORBIDDEN;
	if (local->flags & ENDPOINT_NO_CONTAINERS && !published && peer->network &&
	    peer->network == local->network)
		return -REASON_CONTAINERS_FORBIDDEN;
	return 0;
}

static __always_inline int check_separation(const struct party *opener,
					    const struct party *responder, bool published)
{
	int result;

	if (!opener->identity) /* 1 */
		return -REASON_UNKNOWN_SENDER;
	if (!responder->identity)
		return -REASON_UNKNOWN_DESTINATION;
	if (!published && opener->network && responder->network && /* 2 */
	    opener->network != responder->network)
		return -REASON_NETWORKS_SEPARATE;
	if (!published && ((opener->node && responder->identity == IDENTITY_INIT) || /* 3 */
			   (responder->node && opener->identity == IDENTITY_INIT)))
		return -REASON_INIT_STAYS;
	result = check_ban(opener, responder, published); /* 4 */
	return result ? result : check_ban(responder, opener, published);
}

#endif
