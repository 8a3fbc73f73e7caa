/* Events: what observers learn of a packet. `events` is one ring for all processors; where it is full the
 * record is given up and counted in `lost`, and the packet goes its way. */
#ifndef CILIATE_EVENT_H
#define CILIATE_EVENT_H

#include "packet.h"

static __always_inline void count_lost(void)
{
	__u32 index = 0;
	__u64 *count = map_lookup(lost, &index);

	if (count)
		*count += 1;
}

static __always_inline void put_address(__u8 family, const union address *from, __u8 *bytes)
{
	__be32 *to = (__be32 *)bytes;
	bool v6 = family == FAMILY_IPV6;

	to[0] = v6 ? from->word[0] : 0;
	to[1] = v6 ? from->word[1] : 0;
	to[2] = v6 ? from->word[2] : family == FAMILY_IPV4 ? big32(0xffff) : 0;
	to[3] = from->word[3];
}

/* The made-up ports of ICMP stay here. */
static __always_inline bool has_ports(__u8 protocol)
{
	return protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6;
}

static __always_inline __u8 verdict_of(const struct packet *packet)
{
	if (packet->result)
		return VERDICT_DROPPED;
	return packet->audited ? VERDICT_AUDIT : VERDICT_FORWARDED;
}

static __always_inline void emit(struct __sk_buff *skb, const struct packet *packet, __u8 type)
{
	struct event *event = kernel_ring_reserve(MAP(events), sizeof(*event), 0);
	bool ports = has_ports(packet->tuple.protocol);

	if (!event) {
		count_lost();
		return;
	}
	event->time_ns = kernel_exact_time();
	event->source_identity = packet->ends[SOURCE].identity;
	event->destination_identity = packet->ends[DESTINATION].identity;
	put_address(packet->tuple.family, &packet->tuple.source, event->source);
	put_address(packet->tuple.family, &packet->tuple.destination, event->destination);
	event->source_port = ports ? packet->tuple.source_port : 0;
	event->destination_port = ports ? packet->tuple.destination_port : 0;
	event->length = skb->len;
	event->ifindex = skb->ifindex;
	event->endpoint = packet->endpoint;
	event->type = type;
	event->reason = packet->result ? -packet->result : packet->audited;
	event->verdict = verdict_of(packet);
	event->direction = packet->direction;
	event->protocol = packet->tuple.protocol;
	event->family = packet->tuple.family;
	event->tcp_flags = packet->tcp_flags;
	event->icmp_type = packet->tuple.icmp_type;
	event->is_reply = packet->is_reply;
	__builtin_memset(event->pad, 0, sizeof(event->pad));
	kernel_ring_submit(event, EVENT_SUBMIT_FLAGS);
}

#endif
