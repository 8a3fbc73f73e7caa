/* Neighbours. To a container every address but its own is behind the gateway, so ARP requests and
 * neighbour solicitations are answered here, in place, and nothing else of the kind goes any further:
 * no router, redirect or group message, no advertisement, and no probe whether its own address is free.
 *
 * The host's side asks nothing itself: it has permanent neighbour entries and no IPv6 address there. */
#ifndef CILIATE_NEIGHBOUR_H
#define CILIATE_NEIGHBOUR_H

#include "address.h"
#include "transport.h"

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_size;
	__u8 protocol_size;
	__be16 operation;
	__u8 sender_mac[6];
	__be16 sender_ip[2]; /* 14 bytes in: not aligned */
	__u8 target_mac[6];
	__be16 target_ip[2];
};

#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

/* A solicitation or an advertisement, from the ICMPv6 type on, with the one option that both may have. */
struct neighbour {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags;
	union address target;
	__u8 option;
	__u8 option_words; /* of 8 bytes */
	__u8 mac[6];
};

#define NEIGHBOUR_WITHOUT_OPTION 24
#define NEIGHBOUR_SOURCE_MAC 1
#define NEIGHBOUR_TARGET_MAC 2
#define NEIGHBOUR_SOLICITED 0x40000000
#define NEIGHBOUR_OVERRIDE 0x20000000
#define NEIGHBOUR_HOP_LIMIT 255 /* so it has crossed no router */

_Static_assert(sizeof(struct arp) == 28, "arp");
_Static_assert(sizeof(struct neighbour) == 32, "neighbour");

/* Sends the frame, whose payload is an answer by now, back to the container. Not by way of the host's end where that
 * can be helped: a container may ask before the queue of an interface that has just come up takes anything. */
static __always_inline int answer(struct __sk_buff *skb, struct packet *packet)
{
	struct ethhdr *frame = bytes_at(skb, 0, sizeof(*frame));

	if (!frame)
		return -REASON_INVALID_PACKET;
	__builtin_memcpy(frame->h_dest, frame->h_source, ETH_ALEN);
	put_gateway(frame->h_source);
	packet->action = into_container(skb->ifindex);
	return 0;
}

static __always_inline int answer_arp(struct __sk_buff *skb, struct packet *packet,
				      const struct endpoint *own)
{
	struct arp *arp = bytes_at(skb, ETH_HLEN, sizeof(*arp));
	const __be16 *ip = (const __be16 *)&own->ipv4;
	__be16 wanted[2];

	if (!arp || arp->hardware != big16(ARP_ETHERNET) || arp->protocol != big16(ETH_P_IP) ||
	    arp->hardware_size != ETH_ALEN || arp->protocol_size != sizeof(own->ipv4))
		return -REASON_INVALID_PACKET;
	if (!same_mac(arp->sender_mac, own->mac))
		return -REASON_INVALID_SOURCE_MAC;
	wanted[0] = arp->target_ip[0];
	wanted[1] = arp->target_ip[1];
	if (arp->operation != big16(ARP_REQUEST) || (wanted[0] == ip[0] && wanted[1] == ip[1]))
		return -REASON_NEIGHBOUR_FORBIDDEN;
	if ((arp->sender_ip[0] | arp->sender_ip[1]) &&
	    (arp->sender_ip[0] != ip[0] || arp->sender_ip[1] != ip[1]))
		return -REASON_INVALID_SOURCE_IP;

	arp->operation = big16(ARP_REPLY);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	arp->target_ip[0] = arp->sender_ip[0];
	arp->target_ip[1] = arp->sender_ip[1];
	put_gateway(arp->sender_mac);
	arp->sender_ip[0] = wanted[0];
	arp->sender_ip[1] = wanted[1];
	return answer(skb, packet);
}

/* On its way out of the interface it came in by? Only our own answers do that. */
static __always_inline bool is_answer(const struct __sk_buff *skb)
{
	return skb->ingress_ifindex == skb->ifindex;
}

/* Is this IPv6 packet about the link and its stations? */
static __always_inline bool is_link_message(struct __sk_buff *skb, const struct packet *packet)
{
	const struct icmp_header *icmp;

	if (packet->tuple.family != FAMILY_IPV6 || packet->tuple.protocol != IPPROTO_ICMPV6 ||
	    packet->fragment == FRAGMENT_LATER)
		return false;
	icmp = bytes_at(skb, packet->transport, sizeof(*icmp));
	return icmp && icmp_kind(FAMILY_IPV6, icmp->type) == ICMP_LINK;
}

static __always_inline int check_solicitation(struct __sk_buff *skb, const struct packet *packet,
					      const struct endpoint *own)
{
	const struct ipv6hdr *ip = bytes_at(skb, ETH_HLEN, sizeof(*ip));
	const struct neighbour *asked;
	__u32 size = packet->end - packet->transport;

	if (!ip || ip->hop_limit != NEIGHBOUR_HOP_LIMIT ||
	    packet->transport != ETH_HLEN + sizeof(*ip) ||
	    (size != sizeof(*asked) && size != NEIGHBOUR_WITHOUT_OPTION))
		return -REASON_NEIGHBOUR_FORBIDDEN;
	asked = bytes_at(skb, ETH_HLEN + sizeof(*ip), NEIGHBOUR_WITHOUT_OPTION);
	if (!asked || asked->type != ICMP6_NEIGHBOUR_SOLICITATION || asked->code)
		return -REASON_NEIGHBOUR_FORBIDDEN;
	if (has_address(own, FAMILY_IPV6, &asked->target) || asked->target.bytes[0] == 0xff)
		return -REASON_NEIGHBOUR_FORBIDDEN;
	/* The unspecified source asks whether an address is free, and is never answered. */
	if (!(packet->tuple.source.half[0] | packet->tuple.source.half[1]))
		return -REASON_NEIGHBOUR_FORBIDDEN;
	if (!has_address(own, FAMILY_IPV6, &packet->tuple.source) &&
	    !is_link_local(&packet->tuple.source))
		return -REASON_INVALID_SOURCE_IP;
	return 0;
}

static __always_inline __be16 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* From the address asked for, to the one that asked. An answer is as long as its question, so one to a
 * question without a MAC address has none either: the asker knows it and only wants to be sure. */
static __always_inline int answer_neighbour(struct __sk_buff *skb, struct packet *packet,
					    const struct endpoint *own)
{
	struct {
		union address source;
		union address destination;
		__be32 size;
		__be32 protocol;
		struct neighbour message;
	} reply = { .destination = packet->tuple.source, .protocol = big32(IPPROTO_ICMPV6) };
	struct neighbour *message;
	struct ipv6hdr *ip;
	bool with_mac;
	int result;

	result = check_solicitation(skb, packet, own);
	if (result)
		return result;
	with_mac = packet->end - packet->transport == sizeof(*message);
	message = bytes_at(skb, ETH_HLEN + sizeof(*ip), NEIGHBOUR_WITHOUT_OPTION);
	if (!message)
		return -REASON_INVALID_PACKET;
	reply.source = message->target;
	reply.message.target = message->target;
	reply.message.type = ICMP6_NEIGHBOUR_ADVERTISEMENT;
	reply.message.flags = big32(NEIGHBOUR_SOLICITED | NEIGHBOUR_OVERRIDE);
	reply.size = big32(packet->end - packet->transport);
	if (with_mac) {
		reply.message.option = NEIGHBOUR_TARGET_MAC;
		reply.message.option_words = 1;
		put_gateway(reply.message.mac);
	}
	reply.message.checksum = fold(kernel_checksum(NULL, 0, &reply, sizeof(reply), 0));

	ip = bytes_at(skb, ETH_HLEN, sizeof(*ip) + NEIGHBOUR_WITHOUT_OPTION);
	if (!ip)
		return -REASON_INVALID_PACKET;
	__builtin_memcpy(&ip->saddr, &reply.source, sizeof(reply.source));
	__builtin_memcpy(&ip->daddr, &reply.destination, sizeof(reply.destination));
	__builtin_memcpy(ip + 1, &reply.message, NEIGHBOUR_WITHOUT_OPTION);
	if (with_mac) {
		message = bytes_at(skb, ETH_HLEN + sizeof(*ip), sizeof(*message));
		if (!message)
			return -REASON_INVALID_PACKET;
		__builtin_memcpy(&message->option, &reply.message.option, 8);
	}
	return answer(skb, packet);
}

#endif
