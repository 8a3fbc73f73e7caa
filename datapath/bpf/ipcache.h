/* Who an address is.
 *
 * `hosts4`, `hosts6` hold single addresses and cost one hash lookup; every container of this node is in
 * them. `prefixes4`, `prefixes6` hold the rest, longest prefix first. All that is ours is in one of them,
 * as unknown if nothing better is known, so that what is in none is the world. */
#ifndef CILIATE_IPCACHE_H
#define CILIATE_IPCACHE_H

#include "endpoint.h"

static __always_inline const struct ipcache_entry *find_host(__u8 family,
							     const union address *address)
{
	struct ipv6_address key6;
	__be32 key4;

	if (family == FAMILY_IPV4) {
		key4 = address->word[3];
		return map_lookup(hosts4, &key4);
	}
	__builtin_memcpy(&key6, address, sizeof(key6));
	return map_lookup(hosts6, &key6);
}

static __always_inline const struct ipcache_entry *find_prefix(__u8 family,
							       const union address *address)
{
	struct prefix4_key key4;
	struct prefix6_key key6;

	if (family == FAMILY_IPV4) {
		key4.prefixlen = 32;
		key4.address = address->word[3];
		return map_lookup(prefixes4, &key4);
	}
	key6.prefixlen = 128;
	__builtin_memcpy(key6.address, address, sizeof(key6.address));
	return map_lookup(prefixes6, &key6);
}

static __always_inline __u32 world(__u8 family)
{
	return family == FAMILY_IPV4 ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6;
}

/* `host` is what find_host said of the address; prefixes are asked only where it knew nothing. */
static __always_inline void party_of_address(__u8 family, const union address *address,
					     const struct ipcache_entry *host, struct party *party)
{
	const struct ipcache_entry *entry = host ? host : find_prefix(family, address);

	if (!entry) {
		__builtin_memset(party, 0, sizeof(*party));
		party->identity = world(family);
		return;
	}
	party->identity = entry->identity;
	party->network = entry->network;
	party->node = entry->tunnel;
	party->ifindex = entry->ifindex;
	party->policy = entry->policy;
	party->flags = entry->flags;
	party->id = entry->id;
}

#endif
