/* A datapath as one would write it without thinking about what each step costs, to measure ours against:
 * the same verdict for the same packet, IPv4 TCP only. Per packet: longest-prefix match for the address, a
 * connection entry for each end of the flow and two lookups for each, four hash lookups for a policy, exact
 * clock, counters in a per-CPU hash, the frame's addresses written by a helper. It tells no fragments, no
 * ICMP, no IPv6, and judges no flow a second time. Never part of what is installed. */
#include "kernel.h"

#define PEER_NEW_FLOW 60
#define PEER_OLD_FLOW 8000

static long (*kernel_store)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 size,
			    __u64 flags) = (void *)9;

struct peer_endpoint {
	__u32 identity;
	__u32 ifindex;
	__u32 policy;
	__u8 mac[6];
	__u8 gateway[6];
};

struct peer_prefix {
	__u32 length;
	__be32 address;
};

struct peer_flow_key {
	__be32 source, destination;
	__be16 source_port, destination_port;
	__u8 protocol;
	__u8 direction;
	__u8 pad[2];
};

struct peer_flow {
	__u64 packets, bytes, expires;
	__u32 identity, flags;
};

struct peer_policy_key {
	__u32 policy;
	__u32 identity;
	__be16 port;
	__u8 protocol;
	__u8 direction;
};

struct peer_counter_key {
	__u32 reason;
	__u32 direction;
};

struct peer_packet {
	struct peer_flow_key key;
	__u32 length;
	__u8 flags;
};

static __always_inline int parse(struct __sk_buff *skb, struct peer_packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *frame = data;
	struct iphdr *ip = data + sizeof(*frame);
	__be16 *ports = (void *)(ip + 1);

	if ((void *)(ip + 1) + 20 > end || frame->h_proto != big16(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_TCP || ip->frag_off & big16(0x3fff))
		return -1;
	packet->key.source = ip->saddr;
	packet->key.destination = ip->daddr;
	packet->key.source_port = ports[0];
	packet->key.destination_port = ports[1];
	packet->key.protocol = ip->protocol;
	packet->flags = ((__u8 *)ports)[13];
	packet->length = skb->len;
	return 0;
}

static __always_inline void add(__u32 reason, __u32 direction, __u32 length)
{
	struct peer_counter_key key = { reason, direction };
	struct metric first = { 1, length };
	struct metric *counter = map_lookup(peer_counters, &key);

	if (!counter) {
		map_update(peer_counters, &key, &first);
		return;
	}
	counter->packets += 1;
	counter->bytes += length;
}

static __always_inline void tell(const struct peer_packet *packet, __u32 reason)
{
	struct event *event = kernel_ring_reserve(MAP(peer_events), sizeof(*event), 0);

	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = kernel_exact_time();
	event->reason = reason;
	event->source_port = packet->key.source_port;
	event->destination_port = packet->key.destination_port;
	kernel_ring_submit(event, 0);
}

static __always_inline void touch(struct peer_flow *flow, const struct peer_packet *packet)
{
	flow->expires = kernel_exact_time() + PEER_OLD_FLOW * SECOND;
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, packet->length);
}

/* The answer's direction first, then the packet's own. */
static __always_inline bool is_known(struct peer_packet *packet, __u8 direction)
{
	struct peer_flow_key *key = &packet->key;
	struct peer_flow_key answer = {
		.source = key->destination,
		.destination = key->source,
		.source_port = key->destination_port,
		.destination_port = key->source_port,
		.protocol = key->protocol,
		.direction = direction,
	};
	struct peer_flow *flow = map_lookup(peer_flows, &answer);

	key->direction = direction;
	if (!flow)
		flow = map_lookup(peer_flows, key);
	if (flow)
		touch(flow, packet);
	return flow;
}

static __always_inline void remember(struct peer_packet *packet, __u32 identity)
{
	struct peer_flow flow = {
		.packets = 1,
		.bytes = packet->length,
		.expires = kernel_exact_time() + PEER_NEW_FLOW * SECOND,
		.identity = identity,
	};

	map_update(peer_flows, &packet->key, &flow);
}

static __always_inline bool has_entry(struct peer_policy_key *key)
{
	return map_lookup(peer_policies, key);
}

static __always_inline bool is_allowed(const struct peer_packet *packet, __u32 policy,
				       __u32 identity, __u8 direction)
{
	struct peer_policy_key key = { policy, identity, packet->key.destination_port,
				       packet->key.protocol, direction };

	if (has_entry(&key))
		return true;
	key.port = 0;
	key.protocol = 0;
	if (has_entry(&key))
		return true;
	key.identity = 0;
	key.port = packet->key.destination_port;
	key.protocol = packet->key.protocol;
	if (has_entry(&key))
		return true;
	key.port = 0;
	key.protocol = 0;
	return has_entry(&key);
}

static __always_inline int judge_one(struct peer_packet *packet, __u32 policy, __u32 identity,
				     __u8 direction)
{
	if (is_known(packet, direction))
		return 0;
	if (!is_allowed(packet, policy, identity, direction)) {
		add(REASON_POLICY_DENIED, direction, packet->length);
		tell(packet, REASON_POLICY_DENIED);
		return -1;
	}
	remember(packet, identity);
	if (direction == DIRECTION_EGRESS)
		tell(packet, REASON_NONE);
	return 0;
}

int peer(struct __sk_buff *skb)
{
	struct peer_packet packet = {};
	struct peer_prefix prefix = { .length = 32 };
	struct peer_endpoint *own, *to;
	__u32 ifindex = skb->ifindex;
	__u8 macs[12];

	own = map_lookup(peer_endpoints, &ifindex);
	if (!own || parse(skb, &packet))
		return TC_ACT_SHOT;
	prefix.address = packet.key.destination;
	to = map_lookup(peer_addresses, &prefix);
	if (!to)
		return TC_ACT_SHOT;
	if (judge_one(&packet, own->policy, to->identity, DIRECTION_EGRESS) ||
	    judge_one(&packet, to->policy, own->identity, DIRECTION_INGRESS))
		return TC_ACT_SHOT;
	__builtin_memcpy(macs, to->mac, 6);
	__builtin_memcpy(macs + 6, to->gateway, 6);
	ifindex = to->ifindex;
	if (kernel_store(skb, 0, macs, sizeof(macs), 0))
		return TC_ACT_SHOT;
	add(REASON_NONE, DIRECTION_INGRESS, packet.length);
	return kernel_redirect_peer(ifindex, 0);
}

/* What running a program costs by itself. */
int nothing(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}
