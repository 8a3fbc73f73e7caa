/* Endpoints: what hangs behind an interface, and how a packet reaches it.
 *
 * `endpoints` is keyed by the ifindex of the host's end of the veth. An interface without an entry is
 * not open but dead. */
#ifndef CILIATE_ENDPOINT_H
#define CILIATE_ENDPOINT_H

#include "frame.h"

static __always_inline const struct endpoint *find_endpoint(__u32 ifindex)
{
	return map_lookup(endpoints, &ifindex);
}

static __always_inline void party_of_endpoint(const struct endpoint *endpoint, __u32 ifindex,
					      struct party *party)
{
	party->identity = endpoint->identity;
	party->network = endpoint->network;
	party->node = 0;
	party->ifindex = ifindex;
	party->policy = endpoint->policy;
	party->flags = endpoint->flags;
	party->id = endpoint->id;
}

static __always_inline bool has_address(const struct endpoint *endpoint, __u8 family,
					const union address *address)
{
	const __be32 *own = (const __be32 *)endpoint->ipv6;

	if (family == FAMILY_IPV4)
		return endpoint->ipv4 && endpoint->ipv4 == address->word[3];
	return (own[0] | own[1] | own[2] | own[3]) && own[0] == address->word[0] &&
	       own[1] == address->word[1] && own[2] == address->word[2] &&
	       own[3] == address->word[3];
}

/* Into a container of this node, past the host's stack; the sender's socket stays attached, so that its
 * TCP feels the receiver's queue. No hop is counted: to the containers it is one link. */
static __always_inline int deliver(struct __sk_buff *skb, struct packet *packet)
{
	struct ethhdr *frame = bytes_at(skb, 0, sizeof(*frame));

	if (!frame)
		return -REASON_INVALID_PACKET;
	__builtin_memcpy(frame->h_dest, packet->to_mac, ETH_ALEN);
	put_gateway(frame->h_source);
	packet->action = into_container(packet->to_ifindex);
	return 0;
}

#endif
