/* Transport headers: ports, TCP flags, ICMP types. Protocols that are not here have no meaning to policy
 * and are dropped. ICMP has no ports, so some are made up such that an answer has those of its question
 * the other way round and nothing else has:
 *
 *   echo request      identifier -> 0
 *   echo reply        0 -> identifier
 *   any other query   type -> 0xffff
 */
#ifndef CILIATE_TRANSPORT_H
#define CILIATE_TRANSPORT_H

#include "packet.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 offset; /* upper half: length in words */
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

struct sctp_header {
	__be16 source;
	__be16 destination;
	__be32 tag;
	__be32 checksum;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id; /* of an echo */
	__be16 sequence;
};

#define ICMP4_ECHO_REPLY 0
#define ICMP4_UNREACHABLE 3
#define ICMP4_QUENCH 4
#define ICMP4_REDIRECT 5
#define ICMP4_ECHO 8
#define ICMP4_ROUTER_ADVERTISEMENT 9
#define ICMP4_ROUTER_SOLICITATION 10
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12

#define ICMP6_LAST_ERROR 127
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_MLD_QUERY 130
#define ICMP6_ROUTER_SOLICITATION 133
#define ICMP6_NEIGHBOUR_SOLICITATION 135
#define ICMP6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMP6_ROUTER_RENUMBERING 138
#define ICMP6_INVERSE_SOLICITATION 141
#define ICMP6_MLD2_REPORT 143
#define ICMP6_CERTIFICATION_SOLICITATION 148
#define ICMP6_MULTICAST_TERMINATION 153

static __always_inline __u8 icmp_kind(__u8 family, __u8 type)
{
	if (family == FAMILY_IPV4) {
		switch (type) {
		case ICMP4_UNREACHABLE:
		case ICMP4_QUENCH:
		case ICMP4_TIME_EXCEEDED:
		case ICMP4_PARAMETER_PROBLEM:
			return ICMP_ERROR;
		case ICMP4_REDIRECT:
		case ICMP4_ROUTER_ADVERTISEMENT:
		case ICMP4_ROUTER_SOLICITATION:
			return ICMP_LINK;
		}
		return ICMP_QUERY;
	}
	if (type <= ICMP6_LAST_ERROR)
		return ICMP_ERROR;
	if ((type >= ICMP6_MLD_QUERY && type <= ICMP6_ROUTER_RENUMBERING) ||
	    (type >= ICMP6_INVERSE_SOLICITATION && type <= ICMP6_MLD2_REPORT) ||
	    (type >= ICMP6_CERTIFICATION_SOLICITATION && type <= ICMP6_MULTICAST_TERMINATION))
		return ICMP_LINK;
	return ICMP_QUERY;
}

static __always_inline void icmp_ports(struct tuple *tuple, __u8 type, __be16 id)
{
	bool v4 = tuple->family == FAMILY_IPV4;

	tuple->icmp_type = type;
	tuple->source_port = big16(type);
	tuple->destination_port = 0xffff;
	if (type == (v4 ? ICMP4_ECHO : ICMP6_ECHO)) {
		tuple->source_port = id;
		tuple->destination_port = 0;
		tuple->opens = true;
	}
	if (type == (v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY)) {
		tuple->source_port = 0;
		tuple->destination_port = id;
	}
}

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *packet)
{
	const struct icmp_header *icmp = bytes_at(skb, packet->transport, sizeof(*icmp));

	if (!icmp)
		return -REASON_CT_TRUNCATED_HEADER;
	packet->icmp_kind = icmp_kind(packet->tuple.family, icmp->type);
	packet->service = big16(icmp->type);
	icmp_ports(&packet->tuple, icmp->type, icmp->id);
	return 0;
}

static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *packet)
{
	const struct tcp_header *tcp = bytes_at(skb, packet->transport, sizeof(*tcp));
	__u32 length;

	if (!tcp)
		return -REASON_CT_TRUNCATED_HEADER;
	length = (tcp->offset >> 4) * 4;
	if (length < sizeof(*tcp) || packet->transport + length > packet->end)
		return -REASON_CT_TRUNCATED_HEADER;
	packet->segment = packet->transport - ETH_HLEN + length;
	packet->tuple.source_port = tcp->source;
	packet->tuple.destination_port = packet->service = tcp->destination;
	packet->tcp_flags = tcp->flags;
	packet->tuple.opens = (tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	return 0;
}

static __always_inline int parse_udp(struct __sk_buff *skb, struct packet *packet)
{
	const struct udp_header *udp = bytes_at(skb, packet->transport, sizeof(*udp));
	__u32 length;

	if (!udp)
		return -REASON_CT_TRUNCATED_HEADER;
	length = host16(udp->length);
	if (length < sizeof(*udp) ||
	    (packet->fragment == FRAGMENT_NONE && packet->transport + length > packet->end))
		return -REASON_CT_TRUNCATED_HEADER;
	packet->segment = packet->transport - ETH_HLEN + sizeof(*udp);
	packet->tuple.source_port = udp->source;
	packet->tuple.destination_port = packet->service = udp->destination;
	return 0;
}

static __always_inline int parse_sctp(struct __sk_buff *skb, struct packet *packet)
{
	const struct sctp_header *sctp = bytes_at(skb, packet->transport, sizeof(*sctp));

	if (!sctp)
		return -REASON_CT_TRUNCATED_HEADER;
	packet->tuple.source_port = sctp->source;
	packet->tuple.destination_port = packet->service = sctp->destination;
	return 0;
}

/* Bytes of the header without options; 0 for a protocol that is not known. */
static __always_inline __u32 transport_size(__u8 family, __u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return sizeof(struct tcp_header);
	case IPPROTO_UDP:
		return sizeof(struct udp_header);
	case IPPROTO_SCTP:
		return sizeof(struct sctp_header);
	case IPPROTO_ICMP:
		return family == FAMILY_IPV4 ? sizeof(struct icmp_header) : 0;
	case IPPROTO_ICMPV6:
		return family == FAMILY_IPV6 ? sizeof(struct icmp_header) : 0;
	}
	return 0;
}

/* Not for later fragments, which have no transport header. */
static __always_inline int parse_transport(struct __sk_buff *skb, struct packet *packet)
{
	__u32 size = transport_size(packet->tuple.family, packet->tuple.protocol);

	if (!size)
		return -REASON_UNKNOWN_L4_PROTOCOL;
	if (packet->transport + size > packet->end)
		return -REASON_CT_TRUNCATED_HEADER;
	switch (packet->tuple.protocol) {
	case IPPROTO_TCP:
		return parse_tcp(skb, packet);
	case IPPROTO_UDP:
		return parse_udp(skb, packet);
	case IPPROTO_SCTP:
		return parse_sctp(skb, packet);
	}
	return parse_icmp(skb, packet);
}

#endif
