/* Which addresses a packet may carry where it enters a program.
 *
 * What a container sends:
 *   1. comes from its own address               INVALID_SOURCE_IP
 *   2. goes to no group, as IP or as frame      MULTICAST
 *   3. goes to an address that can be elsewhere MARTIAN
 *   4. is addressed to the gateway's interface  UNKNOWN_DESTINATION */
#ifndef CILIATE_ADDRESS_H
#define CILIATE_ADDRESS_H

#include "endpoint.h"

static __always_inline bool is_group(__u8 family, const union address *address)
{
	if (family == FAMILY_IPV4)
		return address->bytes[12] >> 4 == 14 || address->word[3] == 0xffffffff;
	return address->bytes[0] == 0xff;
}

static __always_inline bool is_link_local(const union address *address)
{
	return (address->word[0] & big32(0xffc00000)) == big32(0xfe800000);
}

/* 0.0.0.0/8, 127.0.0.0/8; ::, ::1 and the rest of ::/96, IPv4 in IPv6, fe80::/10; the sender's own. */
static __always_inline bool is_martian(const struct tuple *tuple)
{
	const union address *to = &tuple->destination;

	if (same_address(to, &tuple->source))
		return true;
	if (tuple->family == FAMILY_IPV4)
		return to->bytes[12] == 0 || to->bytes[12] == 127;
	return (!to->half[0] && (!to->word[2] || to->word[2] == big32(0xffff))) ||
	       is_link_local(to);
}

static __always_inline int check_addresses(struct __sk_buff *skb, const struct packet *packet,
					   const struct endpoint *own)
{
	const struct tuple *tuple = &packet->tuple;

	if (!has_address(own, tuple->family, &tuple->source)) /* 1 */
		return -REASON_INVALID_SOURCE_IP;
	if (is_group(tuple->family, &tuple->destination)) /* 2 */
		return -REASON_MULTICAST;
	if (is_martian(tuple)) /* 3 */
		return -REASON_MARTIAN;
	return check_destination_mac(skb); /* 2, 4 */
}

#endif
