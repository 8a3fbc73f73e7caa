/* Addresses of Ethernet frames. A container's link has two stations, the container and the gateway, which
 * is the host's end of the veth whatever the network; groups have no members there. */
#ifndef CILIATE_FRAME_H
#define CILIATE_FRAME_H

#include "packet.h"

static __always_inline bool same_mac(const __u8 *one, const __u8 *other)
{
	const __u16 *a = (const __u16 *)one, *b = (const __u16 *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static __always_inline bool is_gateway(const __u8 *mac)
{
	const __be16 *word = (const __be16 *)mac;

	return word[0] == big16(GATEWAY_MAC >> 32) && word[1] == big16(GATEWAY_MAC >> 16) &&
	       word[2] == big16(GATEWAY_MAC);
}

static __always_inline void put_mac(__u8 *mac, __u64 number)
{
	__be16 *word = (__be16 *)mac;

	word[0] = big16(number >> 32);
	word[1] = big16(number >> 16);
	word[2] = big16(number);
}

static __always_inline void put_gateway(__u8 *mac)
{
	put_mac(mac, GATEWAY_MAC);
}

static __always_inline int check_source_mac(struct __sk_buff *skb, const struct endpoint *own)
{
	const struct ethhdr *frame = bytes_at(skb, 0, sizeof(*frame));

	return frame && same_mac(frame->h_source, own->mac) ? 0 : -REASON_INVALID_SOURCE_MAC;
}

static __always_inline int check_destination_mac(struct __sk_buff *skb)
{
	const struct ethhdr *frame = bytes_at(skb, 0, sizeof(*frame));

	if (!frame)
		return -REASON_INVALID_PACKET;
	if (is_gateway(frame->h_dest))
		return 0;
	return frame->h_dest[0] & 1 ? -REASON_MULTICAST : -REASON_UNKNOWN_DESTINATION;
}

#endif
