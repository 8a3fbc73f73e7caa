/* The two programs of the tunnel's device.
 *
 *   from_overlay   tc ingress: all that other nodes send, to containers of this one and to its host
 *   to_overlay     tc egress: all that the host's stack routes to containers of other nodes, and what
 *                  from_container has sent there already */
#include "address.h"
#include "drop.h"
#include "encap.h"
#include "icmp.h"
#include "passage.h"

static __always_inline int judge_carried(struct __sk_buff *skb, struct packet *packet,
					 const struct ipcache_entry *to)
{
	const struct tuple *tuple = &packet->tuple;
	bool is_node = packet->ends[SOURCE].network == 0;
	struct ct_entry *entry;
	int result;

	packet->endpoint = to->id;
	packet->ends[DESTINATION].identity = to->identity;
	set_receiver(packet, to);
	forget(packet);
	if (packet->icmp_kind == ICMP_ERROR)
		return check_related(skb, packet, !is_node);
	entry = find_flow(packet, tuple);
	if (!is_judged(packet, entry)) {
		/* The container asked a node, and that is what its question was judged by. */
		if (packet->is_reply && is_node)
			packet->ends[SOURCE].identity = IDENTITY_REMOTE_NODE;
		party_of_address(tuple->family, &tuple->destination, to,
				 &packet->ends[DESTINATION]);
		forget(packet);
		result = admit(packet, entry, skb->len);
		if (result)
			return result;
	}
	return settle(packet, entry, skb->len);
}

/* Published ports are among what the host itself is asked. Of a later fragment nobody needs the ports here. */
static __always_inline int hand_to_host(struct __sk_buff *skb, struct packet *packet)
{
	packet->ends[DESTINATION].identity = IDENTITY_HOST;
	return packet->fragment == FRAGMENT_LATER ? 0 : read_transport(skb, packet);
}

static __always_inline int come_out(struct __sk_buff *skb, struct packet *packet)
{
	const struct tuple *tuple = &packet->tuple;
	const struct ipcache_entry *to;
	int result;

	result = parse_network(skb, packet);
	if (result)
		return result;
	result = check_sender(skb, packet);
	forget(packet);
	if (result)
		return result;
	if (is_group(tuple->family, &tuple->destination))
		return -REASON_MULTICAST;
	to = find_host(tuple->family, &tuple->destination);
	if (to && to->identity == IDENTITY_HOST)
		return hand_to_host(skb, packet);
	if (!to || !to->ifindex)
		return -REASON_UNKNOWN_DESTINATION;
	result = read_transport(skb, packet);
	if (result)
		return result;
	result = judge_carried(skb, packet, to);
	if (result || packet->via_stack)
		return result;
	return deliver(skb, packet);
}

static __always_inline int handle_carried(struct __sk_buff *skb, struct packet *packet)
{
	int result;

	packet->direction = DIRECTION_INGRESS;
	result = parse_ethernet(skb, packet);
	if (result)
		return result;
	forget(packet);
	return packet->tuple.family ? come_out(skb, packet) : -REASON_UNSUPPORTED_L3;
}

/* As whose the packet goes: a container's own that took the stack; else the host's, if the host sent it or
 * a container answers through a port that is published here; else something that hides behind the host. */
static __always_inline int find_sender(struct packet *packet, __u32 ifindex, __u32 *identity)
{
	const struct ipcache_entry *from = find_host(packet->tuple.family, &packet->tuple.source);

	if (!from)
		return -REASON_UNKNOWN_SENDER;
	packet->ends[SOURCE].identity = *identity = from->identity;
	packet->endpoint = from->id;
	if (from->identity == IDENTITY_INIT)
		return -REASON_INIT_STAYS;
	if (from->ifindex)
		return from->ifindex == ifindex ? 0 : -REASON_INVALID_SOURCE_IP;
	if (from->identity != IDENTITY_HOST)
		return -REASON_INVALID_SOURCE_IP;
	*identity = !ifindex || find_endpoint(ifindex) ? IDENTITY_REMOTE_NODE : IDENTITY_UNMANAGED;
	return 0;
}

static __always_inline int go_in(struct __sk_buff *skb, struct packet *packet)
{
	const struct ipcache_entry *to;
	struct ethhdr *frame;
	__u32 identity = 0;
	int result;

	result = parse_network(skb, packet);
	if (result)
		return result;
	if (is_group(packet->tuple.family, &packet->tuple.destination))
		return -REASON_MULTICAST;
	to = find_host(packet->tuple.family, &packet->tuple.destination);
	if (!to || !to->tunnel)
		return -REASON_UNKNOWN_DESTINATION;
	packet->to_node = to->tunnel;
	packet->ends[DESTINATION].identity = to->identity;
	forget(packet);
	result = find_sender(packet, skb->ingress_ifindex, &identity);
	if (result)
		return result;
	frame = bytes_at(skb, 0, sizeof(*frame));
	if (!frame)
		return -REASON_INVALID_PACKET;
	put_gateway(frame->h_dest);
	put_mac(frame->h_source, TUNNEL_MAC);
	return say_whose(skb, packet->to_node, identity);
}

static __always_inline int handle_routed(struct __sk_buff *skb, struct packet *packet)
{
	int result;

	packet->direction = DIRECTION_EGRESS;
	result = parse_ethernet(skb, packet);
	if (result)
		return result;
	forget(packet);
	return packet->tuple.family ? go_in(skb, packet) : -REASON_UNSUPPORTED_L3;
}

int from_overlay(struct __sk_buff *skb)
{
	__u64 epoch = read_epoch();
	struct packet *packet = new_packet(FROM_OVERLAY);

	if (!packet)
		return TC_ACT_SHOT;
	packet->epoch = epoch;
	return conclude(skb, packet, handle_carried(skb, packet));
}

/* What is marked has been judged, counted and addressed by from_container; without a tunnel key, which only a
 * program can give it, the device would not take it. */
int to_overlay(struct __sk_buff *skb)
{
	struct packet *packet = new_packet(TO_OVERLAY);

	if (!packet)
		return TC_ACT_SHOT;
	if (skb->mark == MARK_OVERLAY)
		return TC_ACT_OK;
	return conclude(skb, packet, handle_routed(skb, packet));
}
