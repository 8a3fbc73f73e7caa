/* ICMP errors. One passes if the packet that it returns belongs to a flow whose verdict holds: policy
 * has nothing to add to that, whoever reports the trouble. All others are dropped, since an error can
 * shrink a path's MTU or end a connection.
 *
 *   1. The error is whole and so is what it returns, as far as it tells the flow.
 *   2. It goes to the sender of the packet that it returns.
 *   3. A container reports only what was sent to it: it is no router.
 *   4. The returned packet is of a flow that was judged in this epoch. The packet itself just was, unless
 *      the epoch changed meanwhile; then its sender tries again. */
#ifndef CILIATE_ICMP_H
#define CILIATE_ICMP_H

#include "conntrack.h"

/* Of the returned transport header only 8 bytes are certain to be there. */
#define RETURNED_TRANSPORT 8

#define FRAGMENT_HEADER 8

static __always_inline int read_returned_ports(struct __sk_buff *skb, struct tuple *returned,
					       __u32 offset)
{
	const __be16 *ports = bytes_at(skb, offset, RETURNED_TRANSPORT);
	const struct icmp_header *icmp = (const void *)ports;

	if (!ports || !transport_size(returned->family, returned->protocol))
		return -REASON_ICMP_UNRELATED;
	if (is_plain(returned->protocol)) {
		returned->source_port = ports[0];
		returned->destination_port = ports[1];
		return 0;
	}
	icmp_ports(returned, icmp->type, icmp->id);
	returned->opens = false;
	return 0;
}

static __always_inline int read_returned4(struct __sk_buff *skb, struct tuple *returned,
					  __u32 offset)
{
	const struct iphdr *ip = bytes_at(skb, offset, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & big16(0x1fff))
		return -REASON_ICMP_UNRELATED;
	returned->protocol = ip->protocol;
	returned->source.word[3] = ip->saddr;
	returned->destination.word[3] = ip->daddr;
	return read_returned_ports(skb, returned, offset + ip->ihl * 4);
}

/* A first fragment tells the flow as a whole packet does: too long a datagram of UDP comes back as one.
 * Other extension headers before it are not followed. */
static __always_inline int read_returned6(struct __sk_buff *skb, struct tuple *returned,
					  __u32 offset)
{
	const struct ipv6hdr *ip = bytes_at(skb, offset, sizeof(*ip));
	const __u8 *fragment;

	if (!ip || ip->version != 6)
		return -REASON_ICMP_UNRELATED;
	returned->protocol = ip->nexthdr;
	__builtin_memcpy(&returned->source, &ip->saddr, sizeof(returned->source));
	__builtin_memcpy(&returned->destination, &ip->daddr, sizeof(returned->destination));
	offset += sizeof(*ip);
	if (ip->nexthdr == IPPROTO_FRAGMENT) {
		fragment = bytes_at(skb, offset, FRAGMENT_HEADER);
		if (!fragment || *(__be16 *)(fragment + 2) & big16(0xfff8))
			return -REASON_ICMP_UNRELATED;
		returned->protocol = fragment[0];
		offset += FRAGMENT_HEADER;
	}
	return read_returned_ports(skb, returned, offset);
}

static __always_inline int read_returned(struct __sk_buff *skb, struct packet *packet)
{
	struct tuple *returned = &packet->returned;
	__u32 offset = packet->transport + sizeof(struct icmp_header);

	if (packet->fragment != FRAGMENT_NONE)
		return -REASON_ICMP_UNRELATED;
	__builtin_memset(returned, 0, sizeof(*returned));
	returned->family = packet->tuple.family;
	return returned->family == FAMILY_IPV4 ? read_returned4(skb, returned, offset)
					       : read_returned6(skb, returned, offset);
}

static __always_inline int check_related(struct __sk_buff *skb, struct packet *packet,
					 bool from_container)
{
	const struct tuple *returned = &packet->returned;
	const struct ct_entry *entry;

	if (read_returned(skb, packet)) /* 1 */
		return -REASON_ICMP_UNRELATED;
	forget(packet);
	if (!same_address(&packet->tuple.destination, &returned->source)) /* 2 */
		return -REASON_ICMP_UNRELATED;
	if (from_container && !same_address(&packet->tuple.source, &returned->destination)) /* 3 */
		return -REASON_ICMP_UNRELATED;
	entry = find_flow(packet, returned);
	packet->is_reply = false;
	if (!entry || entry->epoch != packet->epoch) /* 4 */
		return -REASON_ICMP_UNRELATED;
	packet->via_stack = !!(entry->flags & CT_VIA_STACK);
	return 0;
}

#endif
