/* The tunnel between nodes. Its VNI is the sender's identity, so the receiver knows it without asking
 * anybody; but it believes it only of an address that it knows to be behind the sending node, and to have
 * that identity.
 *
 * What a container sends to another node:
 *   1. takes the host's routes where routing is native
 *   2. takes the host's stack where it is too long for the tunnel, so that it is cut, or its sender told;
 *      but not to the node itself, where the stack knows another way: there the outer packet is cut
 *   3. goes nowhere where there is no tunnel            NO_TUNNEL
 *
 * What comes out of the tunnel:
 *   1. was sent by another node                          NOT_FROM_NODE
 *   2. comes from an address behind that node            NOT_BEHIND_NODE
 *   3. has that address's identity as its VNI; a node may say of its own address that it stands for
 *      something unmanaged, which counts for less         FORGED_IDENTITY
 *
 * All that goes into the tunnel is marked: netfilter lets nothing else send to the tunnel's port. */
#ifndef CILIATE_ENCAP_H
#define CILIATE_ENCAP_H

#include "ipcache.h"
#include "node.h"
#include "transport.h"

/* The first fields of struct bpf_tunnel_key, in the size that every kernel takes. Host order. */
struct tunnel_key {
	__u32 id;
	__u32 remote_ipv4;
	__u32 remote_ipv6[3];
	__u8 tos;
	__u8 ttl;
	__u16 pad;
};

_Static_assert(sizeof(struct tunnel_key) == __builtin_offsetof(struct bpf_tunnel_key, tunnel_label),
	       "tunnel_key");

static __always_inline bool is_for_tunnel(const struct packet *packet)
{
	const struct node *node = this_node();
	__u32 identity = packet->ends[DESTINATION].identity;

	return node && node->port && packet->tuple.protocol == IPPROTO_UDP &&
	       packet->service == node->port &&
	       (identity == IDENTITY_HOST || identity == IDENTITY_REMOTE_NODE);
}

static __always_inline int say_whose(struct __sk_buff *skb, __be32 node, __u32 identity)
{
	struct tunnel_key key = {
		.id = identity,
		.remote_ipv4 = big32(node),
		.ttl = TUNNEL_TTL,
	};

	if (kernel_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX))
		return -REASON_NO_TUNNEL;
	skb->mark = MARK_OVERLAY;
	return 0;
}

static __always_inline bool is_too_long(struct __sk_buff *skb, const struct packet *packet,
					const struct node *node)
{
	__u32 length = packet->end - ETH_HLEN;

	if (skb->gso_size)
		length = packet->segment + skb->gso_size;
	return length > node->mtu;
}

static __always_inline int leave_node(struct __sk_buff *skb, struct packet *packet, __u32 identity)
{
	const struct node *node = this_node();

	if (node && node->routing == ROUTING_NATIVE) /* 1 */
		return 0;
	if (!node || node->routing != ROUTING_TUNNEL || !node->tunnel) /* 3 */
		return -REASON_NO_TUNNEL;
	if (packet->to_container && is_too_long(skb, packet, node)) /* 2 */
		return 0;
	packet->action = kernel_redirect(node->tunnel, 0);
	return say_whose(skb, packet->to_node, identity);
}

static __always_inline bool is_node(__be32 address)
{
	const struct ipcache_entry *entry = map_lookup(hosts4, &address);

	return entry && entry->identity == IDENTITY_REMOTE_NODE;
}

/* The sender, whose identity is then that of the packet's source. */
static __always_inline int check_sender(struct __sk_buff *skb, struct packet *packet)
{
	struct tunnel_key key = {};
	struct party *source = &packet->ends[SOURCE];
	const struct node *node = this_node();
	const struct ipcache_entry *from;
	__be32 sender;

	if (!node || kernel_get_tunnel_key(skb, &key, sizeof(key), 0))
		return -REASON_NOT_FROM_NODE;
	sender = big32(key.remote_ipv4);
	if (!sender || sender == node->address) /* 1 */
		return -REASON_NOT_FROM_NODE;
	from = find_host(packet->tuple.family, &packet->tuple.source);
	if (!from || from->tunnel != sender) /* 1, 2 */
		return is_node(sender) ? -REASON_NOT_BEHIND_NODE : -REASON_NOT_FROM_NODE;
	if (key.id != from->identity && /* 3 */
	    !(key.id == IDENTITY_UNMANAGED && from->identity == IDENTITY_REMOTE_NODE))
		return -REASON_FORGED_IDENTITY;
	source->identity = key.id;
	source->network = from->network;
	source->node = sender;
	return 0;
}

#endif
