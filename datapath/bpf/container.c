/* The two programs of a container's interface, both on the host's end of its veth.
 *
 *   from_container   tc ingress: all that a container sends
 *   to_container     tc egress: all that the host's stack sends to a container */
#include "address.h"
#include "drop.h"
#include "encap.h"
#include "icmp.h"
#include "names.h"
#include "neighbour.h"
#include "origin.h"
#include "passage.h"

static __always_inline int judge_leaving(struct __sk_buff *skb, struct packet *packet,
					 const struct endpoint *own)
{
	const struct tuple *tuple = &packet->tuple;
	const struct ipcache_entry *to = find_host(tuple->family, &tuple->destination);
	struct ct_entry *entry;
	int result;

	set_receiver(packet, to);
	if (packet->icmp_kind == ICMP_ERROR)
		return check_related(skb, packet, true);
	entry = find_flow(packet, tuple);
	if (!is_judged(packet, entry)) {
		party_of_endpoint(own, skb->ifindex, &packet->ends[SOURCE]);
		party_of_address(tuple->family, &tuple->destination, to,
				 &packet->ends[DESTINATION]);
		forget(packet);
		if (is_for_tunnel(packet))
			return -REASON_ENCAP_PROHIBITED;
		result = admit(packet, entry, skb->len);
		if (result)
			return result;
	}
	return settle(packet, entry, skb->len);
}

/* To another container of this node, through the tunnel to another node, or by the host's stack. */
static __always_inline int send_off(struct __sk_buff *skb, struct packet *packet,
				    const struct endpoint *own)
{
	if (packet->via_stack)
		return 0;
	if (packet->to_ifindex)
		return deliver(skb, packet);
	return packet->to_node ? leave_node(skb, packet, own->identity) : 0;
}

static __always_inline int leave(struct __sk_buff *skb, struct packet *packet,
				 const struct endpoint *own)
{
	int result;

	result = parse_network(skb, packet);
	if (result)
		return result;
	if (is_link_message(skb, packet))
		return answer_neighbour(skb, packet, own);
	result = check_addresses(skb, packet, own);
	if (result)
		return result;
	result = read_transport(skb, packet);
	if (result)
		return result;
	if (may_ask_names(packet, own) && answer_name(skb, packet, own, &result))
		return result;
	result = judge_leaving(skb, packet, own);
	if (result)
		return result;
	return send_off(skb, packet, own);
}

static __always_inline int handle_sent(struct __sk_buff *skb, struct packet *packet)
{
	const struct endpoint *own;
	int result;

	packet->direction = DIRECTION_EGRESS;
	result = parse_ethernet(skb, packet);
	if (result)
		return result;
	own = find_endpoint(skb->ifindex);
	if (!own)
		return -REASON_UNKNOWN_ENDPOINT;
	packet->endpoint = own->id;
	packet->ends[SOURCE].identity = own->identity;
	result = check_source_mac(skb, own);
	if (result)
		return result;
	forget(packet);
	if (packet->ethertype == big16(ETH_P_ARP))
		return answer_arp(skb, packet, own);
	return packet->tuple.family ? leave(skb, packet, own) : -REASON_UNSUPPORTED_L3;
}

static __always_inline int judge_arriving(struct __sk_buff *skb, struct packet *packet,
					  const struct endpoint *own)
{
	const struct tuple *tuple = &packet->tuple;
	struct ct_entry *entry;
	int result;

	if (packet->icmp_kind == ICMP_ERROR)
		return check_related(skb, packet, false);
	entry = find_flow(packet, tuple);
	if (!is_judged(packet, entry)) {
		/* The container asked an address, and that is what its question was judged by. */
		if (packet->is_reply)
			party_of_address(tuple->family, &tuple->source,
					 find_host(tuple->family, &tuple->source),
					 &packet->ends[SOURCE]);
		party_of_endpoint(own, skb->ifindex, &packet->ends[DESTINATION]);
		forget(packet);
		result = admit(packet, entry, skb->len);
		if (result)
			return result;
	}
	return settle(packet, entry, skb->len);
}

static __always_inline int arrive(struct __sk_buff *skb, struct packet *packet,
				  const struct endpoint *own)
{
	int result;

	result = parse_network(skb, packet);
	if (result)
		return result;
	if (is_link_message(skb, packet))
		return is_answer(skb) ? 0 : -REASON_NEIGHBOUR_FORBIDDEN;
	result = find_origin(&packet->tuple, skb->ingress_ifindex, &packet->ends[SOURCE]);
	packet->via_stack = is_published(skb, &packet->ends[SOURCE]);
	forget(packet);
	if (result)
		return result;
	if (is_group(packet->tuple.family, &packet->tuple.destination))
		return -REASON_MULTICAST;
	if (!has_address(own, packet->tuple.family, &packet->tuple.destination))
		return -REASON_UNKNOWN_DESTINATION;
	result = read_transport(skb, packet);
	if (result)
		return result;
	return judge_arriving(skb, packet, own);
}

static __always_inline int handle_received(struct __sk_buff *skb, struct packet *packet)
{
	const struct endpoint *own;
	int result;

	packet->direction = DIRECTION_INGRESS;
	result = parse_ethernet(skb, packet);
	if (result)
		return result;
	own = find_endpoint(skb->ifindex);
	if (!own)
		return -REASON_UNKNOWN_ENDPOINT;
	packet->endpoint = own->id;
	packet->ends[DESTINATION].identity = own->identity;
	forget(packet);
	if (packet->ethertype == big16(ETH_P_ARP))
		return is_answer(skb) ? 0 : -REASON_NEIGHBOUR_FORBIDDEN;
	return packet->tuple.family ? arrive(skb, packet, own) : -REASON_UNSUPPORTED_L3;
}

int from_container(struct __sk_buff *skb)
{
	__u64 epoch = read_epoch();
	struct packet *packet = new_packet(FROM_CONTAINER);

	if (!packet)
		return TC_ACT_SHOT;
	packet->epoch = epoch;
	return conclude(skb, packet, handle_sent(skb, packet));
}

int to_container(struct __sk_buff *skb)
{
	__u64 epoch = read_epoch();
	struct packet *packet = new_packet(TO_CONTAINER);

	if (!packet)
		return TC_ACT_SHOT;
	packet->epoch = epoch;
	return conclude(skb, packet, handle_received(skb, packet));
}
