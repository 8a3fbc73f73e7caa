/* Everything that the programs and the agent both know: map keys, map values, events, numbers.
 * <linux/types.h> only, so that BCC, the host's cc and the tests read the same bytes. datapath/abi.py
 * mirrors each struct; a test compares every size and offset, and every number and text below.
 * A changed layout raises ABI_VERSION, which is part of the pin path: an old map is never misread. */
#ifndef CILIATE_ABI_H
#define CILIATE_ABI_H

#include <linux/types.h>

#define ABI_VERSION 2

/* X(name, number, text). Numbers are never reused; those below 220 are Cilium's for the same fact. */
#define DROP_REASONS(X)                                                                \
	X(NONE, 0, "Forwarded")                                                        \
	X(INVALID_SOURCE_MAC, 130, "Invalid source mac")                               \
	X(INVALID_SOURCE_IP, 132, "Invalid source ip")                                 \
	X(POLICY_DENIED, 133, "Policy denied")                                         \
	X(INVALID_PACKET, 134, "Invalid packet")                                       \
	X(CT_TRUNCATED_HEADER, 135, "Truncated or invalid header")                     \
	X(UNKNOWN_L4_PROTOCOL, 137, "Unknown L4 protocol")                             \
	X(UNSUPPORTED_L3, 140, "Unsupported L3 protocol")                              \
	X(CT_INSERT_FAILED, 155, "Conntrack entry could not be made")                  \
	X(INVALID_EXTENSION_HEADER, 156, "Invalid IPv6 extension header")              \
	X(ENCAP_PROHIBITED, 170, "Encapsulation traffic is prohibited")                \
	X(UNKNOWN_SENDER, 172, "Unknown sender")                                       \
	X(FRAGMENT_NOT_FOUND, 175, "First fragment not seen")                          \
	X(POLICY_DENY_RULE, 181, "Policy denied by a deny rule")                       \
	X(VLAN, 182, "VLAN traffic")                                                   \
	X(NETWORKS_SEPARATE, 220, "Endpoints are on separate networks")                \
	X(UNKNOWN_DESTINATION, 221, "Unknown destination")                             \
	X(MULTICAST, 222, "Multicast or broadcast")                                    \
	X(NO_POLICY, 223, "No policy map")                                             \
	X(ICMP_UNRELATED, 224, "ICMP error of no tracked flow")                        \
	X(HOST_FORBIDDEN, 225, "Network forbids traffic with the host")                \
	X(WORLD_FORBIDDEN, 226, "Network forbids traffic with the world")              \
	X(ROUTING_HEADER, 227, "IPv6 routing header")                                  \
	X(NEIGHBOUR_FORBIDDEN, 228, "Forbidden neighbour or router message")           \
	X(MARTIAN, 229, "Address that never leaves a host")                            \
	X(UNKNOWN_ENDPOINT, 230, "Interface of no known endpoint")                     \
	X(CONTAINERS_FORBIDDEN, 231, "Network forbids traffic between its containers") \
	X(AUDITED, 232, "Forwarded in audit mode, where policy denies it")             \
	X(INIT_STAYS, 233, "Labels not yet known: stays on its node")                  \
	X(NOT_FROM_NODE, 234, "Tunnel packet from no other node")                      \
	X(NOT_BEHIND_NODE, 235, "Source ip is not behind the node that sent it")       \
	X(FORGED_IDENTITY, 236, "Identity on the wire is not that of the source ip")   \
	X(NO_TUNNEL, 237, "No tunnel to the node of the destination")

enum drop_reason {
#define X(name, number, text) REASON_##name = number,
	DROP_REASONS(X)
#undef X
};

enum event_type {
	EVENT_DROP = 1,
	EVENT_POLICY_VERDICT = 5,
};

enum verdict {
	VERDICT_FORWARDED = 1,
	VERDICT_DROPPED = 2,
	VERDICT_AUDIT = 4, /* policy denies it, for the reason given, and it passed */
};

enum direction {
	DIRECTION_EGRESS = 0, /* leaves the container */
	DIRECTION_INGRESS = 1,
};

enum identity {
	IDENTITY_UNKNOWN = 0,
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_HEALTH = 4,
	IDENTITY_INIT = 5,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_WORLD_IPV4 = 9,
	IDENTITY_WORLD_IPV6 = 10,
};

enum endpoint_flag {
	ENDPOINT_NO_HOST = 1 << 0,  /* no traffic with the host */
	ENDPOINT_NO_WORLD = 1 << 1, /* no traffic with the world, nor with unmanaged addresses */
	ENDPOINT_NO_CONTAINERS = 1 << 2, /* no traffic with other containers of the network */
	ENDPOINT_AUDIT = 1 << 3,	 /* what its policy denies is told, and passes */
};

enum device_class {
	DEVICE_UPLINK = 1,
};

enum routing {
	ROUTING_ALONE = 0, /* there are no other nodes */
	ROUTING_TUNNEL = 1,
	ROUTING_NATIVE = 2,
};

/* In skb->mark, where no process without privileges can write; the bits are those that Cilium uses. */
enum packet_mark {
	MARK_MASK = 0x0f00,
	MARK_OVERLAY = 0x0400, /* is on its way into the tunnel: the programs have said as whose */
	MARK_ROUTED = 0x0500,  /* from another node by the host's routes to a container */
	MARK_PUBLISHED = 0x0600, /* to a container by a port that is published */
};

/* `node`, an array of one: this node among others. */
struct node {
	__u32 routing;	/* enum routing */
	__u32 tunnel;	/* ifindex of the tunnel's device; 0: there is none */
	__u32 mtu;	/* of a packet within the tunnel */
	__be32 address; /* that other nodes' tunnels send to */
	__be16 port;	/* UDP port of the tunnel; 0: there is none */
	__u8 pad[2];
};

/* `endpoints`: what hangs behind a host-side interface. Keyed by ifindex. */
struct endpoint {
	__u32 identity;
	__u32 network; /* number of the network; equal numbers may talk, 1 is flat */
	__u32 policy;  /* slot in `policies` */
	__u32 flags;   /* enum endpoint_flag */
	__be32 ipv4;   /* 0: has none */
	__u16 id;
	__u8 mac[6];
	__u8 ipv6[16]; /* ::: has none */
};

/* `hosts4`, `hosts6` (exact addresses, by hash) and `prefixes4`, `prefixes6` (longest prefix): who an
 * address is. Only entries of local endpoints have an ifindex. */
struct ipcache_entry {
	__u32 identity;
	__u32 network; /* 0: in none (host, world, unmanaged) */
	__u32 ifindex; /* host-side interface of a local endpoint; 0: not here */
	__u32 policy;
	__u32 flags;
	__be32 tunnel; /* node that has the address; 0: this one or none */
	__u16 id;
	__u8 mac[6]; /* of the container's interface */
};

struct ipv6_address {
	__u8 bytes[16];
};

struct prefix4_key {
	__u32 prefixlen;
	__be32 address;
};

struct prefix6_key {
	__u32 prefixlen;
	__u8 address[16];
};

/* Inner maps of `policies`, one for each local identity: longest prefix over identity (always whole),
 * direction (always whole), protocol (whole or absent) and port (a prefix of its bits), in this order so
 * that a range of ports is a few prefixes. Identity 0 stands for any peer. An entry holds the strongest
 * verdict of all entries that cover it, so the longest match of one identity is the answer for it. */
struct policy_key {
	__u32 prefixlen; /* 40: any protocol; 48: any port; 49-64: a port prefix */
	__u32 identity;
	__u8 direction;
	__u8 protocol; /* IPPROTO_* */
	__be16 port;   /* ICMP: the type */
};

/* By the rules in force; and as it would be if those of audited sets were in force as well. */
enum policy_flag {
	POLICY_ALLOW = 1 << 0,
	POLICY_DENY = 1 << 1,
	POLICY_WOULD_ALLOW = 1 << 2,
	POLICY_WOULD_DENY = 1 << 3,
};

struct policy_entry {
	__u8 says; /* enum policy_flag */
	__u8 pad;
	__be16 proxy_port; /* 0: no L7 */
	__u32 cookie;	   /* which rules made it; means something to the agent only */
};

/* Conntrack: one entry for each flow. The key is the same for both directions: `low` is the end whose
 * address (as the bytes lie in memory, as a little-endian number, most significant part last) is lower,
 * on equal addresses the one whose port is. ICMP echo: the port of the end that asks is the identifier,
 * that of the end that answers 0; other ICMP: 0xffff at the end it goes to, the type at the other. */
struct ct4_key {
	__be32 low_address;
	__be32 high_address;
	__be16 low_port;
	__be16 high_port;
	__u8 protocol;
	__u8 pad[3];
};

struct ct6_key {
	__u8 low_address[16];
	__u8 high_address[16];
	__be16 low_port;
	__be16 high_port;
	__u8 protocol;
	__u8 pad[3];
};

enum ct_flag {
	CT_FROM_HIGH = 1 << 0, /* the end called high opened the flow */
	CT_VIA_STACK = 1 << 1, /* opened through the host's stack, whose NAT must see replies too */
	CT_ORIGIN_FIN = 1 << 2, /* the opener sent FIN */
	CT_REPLY_FIN = 1 << 3,	/* the other end sent FIN */
	CT_RESET = 1 << 4,	/* either sent RST */
	CT_SEEN_REPLY = 1 << 5, /* the other end has answered */
};

struct ct_entry {
	__u64 epoch;   /* the verdict holds while this is the node's epoch */
	__u64 expires; /* ns, CLOCK_MONOTONIC */
	__u64 origin_packets;
	__u64 origin_bytes;
	__u64 reply_packets;
	__u64 reply_bytes;
	__u32 source_identity; /* of the opener */
	__u32 destination_identity;
	__u16 flags;
	__be16 destination_port; /* that policy judged; ICMP: the type */
	__u32 pad;
};

/* Ports of a datagram's first fragment, for its others. */
struct fragment4_key {
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 protocol;
	__u8 pad;
};

struct fragment6_key {
	__u8 source[16];
	__u8 destination[16];
	__be32 id;
	__u8 protocol;
	__u8 pad[3];
};

struct fragment_ports {
	__be16 source;
	__be16 destination;
};

/* `names`: who is called what on the other nodes of a network. The name as DNS writes it, in lower case:
 * labels with their lengths, and the empty one at the end. */
#define NAME_SIZE 64
#define NAME_ADDRESSES 4

struct name_key {
	__u32 network;
	__u8 name[NAME_SIZE];
};

struct name_entry {
	__u32 ipv4_count;
	__u32 ipv6_count;
	__u8 ipv4[NAME_ADDRESSES][4];
	__u8 ipv6[NAME_ADDRESSES][16];
};

/* `metrics`: per-CPU array, index reason * 2 + direction. Reason 0 counts what was forwarded. */
struct metric {
	__u64 packets;
	__u64 bytes;
};

/* `scratch`: per-CPU array, one for each program, the packet at hand; and one for an answer that is being
 * written. */
struct scratch {
	__u64 words[48];
};

/* One record of the ring buffer `events`. IPv4 addresses are v4-mapped. */
struct event {
	__u64 time_ns;
	__u32 source_identity;
	__u32 destination_identity;
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u32 length;
	__u32 ifindex;
	__u16 endpoint;
	__u8 type;
	__u8 reason;
	__u8 verdict;
	__u8 direction;
	__u8 protocol;
	__u8 family; /* 4, 6; 0: not IP */
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 is_reply;
	__u8 pad[9];
};

_Static_assert(sizeof(struct node) == 20, "node");
_Static_assert(sizeof(struct endpoint) == 44, "endpoint");
_Static_assert(sizeof(struct ipcache_entry) == 32, "ipcache_entry");
_Static_assert(sizeof(struct policy_key) == 12, "policy_key");
_Static_assert(sizeof(struct policy_entry) == 8, "policy_entry");
_Static_assert(sizeof(struct ct4_key) == 16, "ct4_key");
_Static_assert(sizeof(struct ct6_key) == 40, "ct6_key");
_Static_assert(sizeof(struct ct_entry) == 64, "ct_entry");
_Static_assert(sizeof(struct fragment4_key) == 12, "fragment4_key");
_Static_assert(sizeof(struct fragment6_key) == 40, "fragment6_key");
_Static_assert(sizeof(struct name_key) == 68, "name_key");
_Static_assert(sizeof(struct name_entry) == 88, "name_entry");
_Static_assert(sizeof(struct event) == 80, "event");
_Static_assert(sizeof(struct scratch) == 384, "scratch");

#endif
