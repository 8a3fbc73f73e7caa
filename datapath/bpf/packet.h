/* One packet on its way through a program, and how Ethernet, IPv4 and IPv6 headers become one.
 *
 *   parse_ethernet   family; no VLAN tag, in the frame or beside it
 *   parse_network    addresses, protocol, fragment, offset of the transport header
 *
 * A header that is cut off, contradicts itself or is not understood yields a drop reason, never a guess. */
#ifndef CILIATE_PACKET_H
#define CILIATE_PACKET_H

#include "kernel.h"

union address {
	__u64 half[2];
	__be32 word[4]; /* IPv4: the last one, the others are 0 */
	__u8 bytes[16];
};

enum family {
	FAMILY_NONE = 0,
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

enum fragment {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST = 1, /* has the ports */
	FRAGMENT_LATER = 2,
};

enum icmp_kind {
	ICMP_NONE = 0,
	ICMP_QUERY = 1, /* judged by policy: echo and everything else */
	ICMP_ERROR = 2, /* about a packet of a flow */
	ICMP_LINK = 3,	/* neighbours, routers, groups: means something on one link only */
};

/* What tells one flow from another, as this packet has it. */
struct tuple {
	union address source;
	union address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 family;
	__u8 protocol;
	__u8 icmp_type;
	__u8 opens; /* SYN or echo request: never the answer to anything */
};

/* Who is at one end of a packet, as far as its verdict is concerned. */
struct party {
	__u32 identity;
	__u32 network; /* 0: in none */
	__be32 node;   /* another one that it is, or is behind; 0: none */
	__u32 ifindex; /* 0: not a container of this node, and what follows means nothing */
	__u32 policy;
	__u32 flags;
	__u32 id;
};

enum end {
	SOURCE = 0,
	DESTINATION = 1,
};

union ct_key {
	struct ct4_key four;
	struct ct6_key six;
};

struct packet {
	/* What the headers say. */
	struct tuple tuple;
	__be32 fragment_id;
	__u32 end;	 /* offset behind the last byte of the IP packet */
	__u16 transport; /* offset of the transport header */
	__u16 segment; /* bytes of headers that each segment of a large TCP or UDP packet will have */
	__be16 service; /* what policy calls the port: the destination's, or the ICMP type */
	__be16 ethertype;
	__u8 fragment;
	__u8 icmp_kind;
	__u8 tcp_flags;

	/* What came of it. */
	__u8 direction; /* whose policy is asked: the sender's or the receiver's */
	__u8 is_reply;
	__u8 is_news;	/* a flow's first packet, or the first after its ends changed */
	__u8 via_stack; /* of a flow that the host's NAT must see */
	__u8 from_high; /* sent by the end that the flow's key calls high */
	__u16 endpoint; /* the one whose policy is asked */
	__u16 audited;	/* the reason why policy denies what passes all the same; 0: it does not */
	__u32 action;	/* TC_ACT_* if nothing forbids it */
	int result;	/* 0 or a negative drop reason */
	__u64 epoch;	/* of the node, read before anything else */
	__u64 now;
	struct party ends[2];
	__u32 to_ifindex; /* where the destination is a container of this node */
	__be32 to_node;	  /* where it is on another one */
	__u8 to_mac[6];
	__u8 to_container; /* and not that node itself */
	__u8 pad[5];

	/* Written before they are read; everything above starts as zero. */
	union ct_key key;
	struct tuple returned; /* of the packet that an ICMP error returns */
};

_Static_assert(sizeof(struct packet) <= sizeof(struct scratch), "packet");

/* The packet at hand lives in a map, one for each processor and program: nothing else runs there between
 * a program's start and its end. What the verifier reads back from a map it knows nothing about, so the
 * ways that lead to a point are not followed further one by one; on the stack they were, at twenty times
 * the work. */
static __always_inline struct packet *new_packet(__u32 program)
{
	struct packet *packet = map_lookup(scratch, &program);

	if (packet)
		__builtin_memset(packet, 0, __builtin_offsetof(struct packet, key));
	return packet;
}

/* The compiler must read again what it has written, or it would carry on with one copy of the program for
 * each value. */
#define forget(packet) asm volatile("" : "+r"(packet) : : "memory")

/* Fields of the context are read at a fixed offset from it: the verifier takes no other address, and the
 * compiler, left alone, would make some. */
#define packet_pointer(skb, field)                                                          \
	({                                                                                  \
		void *_pointer;                                                             \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                       \
			     : "=r"(_pointer)                                               \
			     : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, field))); \
		_pointer;                                                                   \
	})

#define LAST_OFFSET 0x3fff

/* The `size` bytes at `offset`, or NULL if the linear part of the buffer ends before. */
static __always_inline void *bytes_at(struct __sk_buff *skb, __u32 offset, __u32 size)
{
	void *at = packet_pointer(skb, data) + (offset & LAST_OFFSET);

	return at + size <= packet_pointer(skb, data_end) ? at : NULL;
}

/* Makes the first `size` bytes linear, or all if there are fewer. Headers that the kernel made are linear
 * already; what a raw socket sends need not be. Every pointer from bytes_at is void afterwards. */
static __always_inline void make_linear(struct __sk_buff *skb, __u32 size)
{
	void *start = packet_pointer(skb, data);
	void *end = packet_pointer(skb, data_end);
	__u32 length = skb->len;

	if (start + size > end && end - start < length)
		kernel_pull(skb, length < size ? length : size);
}

/* TCP's header without options is the longest of the three. */
#define PLAIN_TRANSPORT 20

static __always_inline bool is_plain(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* The kernel moves the outer tag of a received frame into the buffer's description. */
static __always_inline int parse_ethernet(struct __sk_buff *skb, struct packet *packet)
{
	const struct ethhdr *frame;

	make_linear(skb, ETH_HLEN + sizeof(struct iphdr) + PLAIN_TRANSPORT);
	frame = bytes_at(skb, 0, sizeof(*frame));
	if (!frame)
		return -REASON_INVALID_PACKET;
	packet->ethertype = frame->h_proto;
	if (packet->ethertype == big16(ETH_P_IP))
		packet->tuple.family = FAMILY_IPV4;
	if (packet->ethertype == big16(ETH_P_IPV6))
		packet->tuple.family = FAMILY_IPV6;
	if (skb->vlan_present || packet->ethertype == big16(ETH_P_8021Q) ||
	    packet->ethertype == big16(ETH_P_8021AD))
		return -REASON_VLAN;
	return 0;
}

/* `offset` in units of 8 bytes, and whether more follow. */
static __always_inline __u8 fragment_kind(__u16 offset, bool more)
{
	if (offset)
		return FRAGMENT_LATER;
	return more ? FRAGMENT_FIRST : FRAGMENT_NONE;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	const struct iphdr *ip = bytes_at(skb, ETH_HLEN, sizeof(*ip));
	__u32 header, length;
	__u16 fragment;

	if (!ip || ip->version != 4)
		return -REASON_INVALID_PACKET;
	header = ip->ihl * 4;
	length = host16(ip->tot_len);
	if (header < sizeof(*ip) || length < header || ETH_HLEN + length > skb->len)
		return -REASON_INVALID_PACKET;

	fragment = host16(ip->frag_off);
	packet->fragment = fragment_kind(fragment & 0x1fff, fragment & 0x2000);
	packet->fragment_id = ip->id;
	packet->tuple.protocol = ip->protocol;
	packet->tuple.source.word[3] = ip->saddr;
	packet->tuple.destination.word[3] = ip->daddr;
	packet->transport = ETH_HLEN + header;
	packet->end = ETH_HLEN + length;
	if (header > sizeof(*ip) || !is_plain(packet->tuple.protocol))
		make_linear(skb, MAX_HEADERS);
	return 0;
}

/* Behind a fragment header no other extension header may come: a later fragment could not tell what it
 * belongs to. */
static __always_inline void read_fragment(struct packet *packet, const __u8 *extension)
{
	__u16 fragment = host16(*(__be16 *)(extension + 2));

	packet->fragment = fragment_kind(fragment >> 3, fragment & 1);
	packet->fragment_id = *(__be32 *)(extension + 4);
	packet->tuple.protocol = extension[0];
	packet->transport += 8;
}

/* Extension headers are followed up to the first one that says what the packet carries. */
static __always_inline int skip_extensions(struct __sk_buff *skb, struct packet *packet)
{
	const __u8 *extension;
	__u8 next;

	for (int i = 0; i <= MAX_EXTENSION_HEADERS; i++) {
		forget(packet);
		next = packet->tuple.protocol;
		if (next == IPPROTO_ROUTING)
			return -REASON_ROUTING_HEADER;
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			return 0;
		if (next == IPPROTO_HOPOPTS &&
		    packet->transport != ETH_HLEN + sizeof(struct ipv6hdr))
			break;
		extension = bytes_at(skb, packet->transport, 8);
		if (!extension || packet->transport + 8 > packet->end)
			break;
		if (next == IPPROTO_FRAGMENT) {
			read_fragment(packet, extension);
			return 0;
		}
		packet->tuple.protocol = extension[0];
		packet->transport += (extension[1] + 1) * 8;
	}
	return -REASON_INVALID_EXTENSION_HEADER;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	const struct ipv6hdr *ip = bytes_at(skb, ETH_HLEN, sizeof(*ip));
	__u32 header = ETH_HLEN + sizeof(*ip);

	if (!ip || ip->version != 6)
		return -REASON_INVALID_PACKET;
	packet->transport = header;
	packet->end = header + host16(ip->payload_len);
	if (packet->end > skb->len)
		return -REASON_INVALID_PACKET;
	packet->tuple.protocol = ip->nexthdr;
	__builtin_memcpy(&packet->tuple.source, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(&packet->tuple.destination, &ip->daddr, sizeof(ip->daddr));
	make_linear(skb, is_plain(ip->nexthdr) ? header + PLAIN_TRANSPORT : MAX_HEADERS);
	return skip_extensions(skb, packet);
}

static __always_inline int parse_network(struct __sk_buff *skb, struct packet *packet)
{
	int result = packet->tuple.family == FAMILY_IPV4 ? parse_ipv4(skb, packet)
							 : parse_ipv6(skb, packet);

	forget(packet);
	return result;
}

static __always_inline bool same_address(const union address *one, const union address *other)
{
	return one->half[0] == other->half[0] && one->half[1] == other->half[1];
}

#endif
