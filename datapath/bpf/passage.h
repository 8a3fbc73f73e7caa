/* What every program does with its packet: begin, read what it carries, let its flow go on. */
#ifndef CILIATE_PASSAGE_H
#define CILIATE_PASSAGE_H

#include "fragment.h"
#include "judge.h"

enum program {
	FROM_CONTAINER = 0,
	TO_CONTAINER = 1,
	FROM_OVERLAY = 2,
	TO_OVERLAY = 3,
};

/* To be read first, so that whatever is found out later is at least as new. */
static __always_inline __u64 read_epoch(void)
{
	__u32 index = 0;
	const volatile __u64 *epoch = map_lookup(epoch, &index);

	return epoch ? *epoch : 0;
}

static __always_inline int read_transport(struct __sk_buff *skb, struct packet *packet)
{
	int result = packet->fragment == FRAGMENT_LATER ? recall_ports(packet)
							: parse_transport(skb, packet);

	forget(packet);
	if (!result && packet->icmp_kind == ICMP_LINK)
		return -REASON_NEIGHBOUR_FORBIDDEN;
	return result;
}

/* Where the packet goes if it is for a container, or for another node. */
static __always_inline void set_receiver(struct packet *packet, const struct ipcache_entry *to)
{
	if (!to)
		return;
	packet->to_ifindex = to->ifindex;
	packet->to_node = to->tunnel;
	packet->to_container = !!to->network;
	__builtin_memcpy(packet->to_mac, to->mac, sizeof(packet->to_mac));
}

/* The packet passes, and with it goes what its flow remembers. */
static __always_inline int settle(struct packet *packet, struct ct_entry *entry, __u32 length)
{
	forget(packet);
	if (entry) {
		packet->via_stack = !!(entry->flags & CT_VIA_STACK);
		continue_flow(packet, entry, length);
	}
	if (packet->fragment == FRAGMENT_FIRST)
		remember_ports(packet);
	return 0;
}

#endif
