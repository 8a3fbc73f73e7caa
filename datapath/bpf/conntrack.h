/* Flows. One entry, found by one lookup, serves both directions of a flow and both of its ends on this
 * node; it holds for which epoch of the node the flow was judged, and the agent removes what has expired.
 *
 * A packet belongs to no flow, and is judged as the first of a new one, if
 *
 *   1. there is no entry;
 *   2. the entry has expired;
 *   3. it opens a flow (SYN, echo request) in the direction of answers: nothing asked for it;
 *   4. it opens a flow where one is closing: the ports are used again.
 *
 * Sequence numbers are not followed: the ends do that, and a forged RST only shortens the memory of a
 * flow that its opener may open again. Counters and flags are not atomic: two processors with packets of
 * one flow may lose a count or a closing mark, which costs exactness, never a verdict. */
#ifndef CILIATE_CONNTRACK_H
#define CILIATE_CONNTRACK_H

#include "transport.h"

#define CT_CLOSING (CT_ORIGIN_FIN | CT_REPLY_FIN | CT_RESET)

static __always_inline void make_key4(struct packet *packet, const struct tuple *tuple)
{
	__be32 source = tuple->source.word[3], destination = tuple->destination.word[3];
	struct ct4_key *key = &packet->key.four;
	bool high = source > destination;

	if (source == destination)
		high = tuple->source_port > tuple->destination_port;
	key->low_address = high ? destination : source;
	key->high_address = high ? source : destination;
	key->low_port = high ? tuple->destination_port : tuple->source_port;
	key->high_port = high ? tuple->source_port : tuple->destination_port;
	key->protocol = tuple->protocol;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
	packet->from_high = high;
}

static __always_inline void make_key6(struct packet *packet, const struct tuple *tuple)
{
	const union address *source = &tuple->source, *destination = &tuple->destination;
	struct ct6_key *key = &packet->key.six;
	bool high = tuple->source_port > tuple->destination_port;

	if (source->half[0] != destination->half[0])
		high = source->half[0] > destination->half[0];
	if (source->half[1] != destination->half[1])
		high = source->half[1] > destination->half[1];
	__builtin_memcpy(key->low_address, high ? destination : source, sizeof(*source));
	__builtin_memcpy(key->high_address, high ? source : destination, sizeof(*source));
	key->low_port = high ? tuple->destination_port : tuple->source_port;
	key->high_port = high ? tuple->source_port : tuple->destination_port;
	key->protocol = tuple->protocol;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
	packet->from_high = high;
}

/* The entry of a flow, alive or expired; its key stays in the packet. */
static __always_inline struct ct_entry *find_entry(struct packet *packet, const struct tuple *tuple)
{
	if (tuple->family == FAMILY_IPV4) {
		make_key4(packet, tuple);
		return map_lookup(ct4, &packet->key.four);
	}
	make_key6(packet, tuple);
	return map_lookup(ct6, &packet->key.six);
}

/* NULL: a new flow. */
static __always_inline struct ct_entry *find_flow(struct packet *packet, const struct tuple *tuple)
{
	struct ct_entry *entry = find_entry(packet, tuple);
	bool is_reply;

	packet->now = now();
	packet->is_reply = false;
	if (!entry || entry->expires <= packet->now) /* 1, 2 */
		return NULL;
	is_reply = (entry->flags ^ packet->from_high) & CT_FROM_HIGH;
	if (tuple->opens && (is_reply || entry->flags & CT_CLOSING)) /* 3, 4 */
		return NULL;
	packet->is_reply = is_reply;
	return entry;
}

static __always_inline const struct party *opener_of(const struct packet *packet)
{
	return &packet->ends[packet->is_reply & 1];
}

static __always_inline const struct party *responder_of(const struct packet *packet)
{
	return &packet->ends[~packet->is_reply & 1];
}

/* What this packet adds to the flags of its flow. */
static __always_inline __u16 flags_of(const struct packet *packet)
{
	__u16 flags = packet->is_reply ? CT_SEEN_REPLY : 0;

	if (packet->tcp_flags & TCP_FIN)
		flags |= packet->is_reply ? CT_REPLY_FIN : CT_ORIGIN_FIN;
	if (packet->tcp_flags & TCP_RST)
		flags |= CT_RESET;
	return flags;
}

static __always_inline __u64 lifetime(__u8 protocol, __u16 flags)
{
	const __u16 both = CT_ORIGIN_FIN | CT_REPLY_FIN;

	if (protocol != IPPROTO_TCP)
		return CT_OTHER_SECONDS * SECOND;
	if (flags & CT_RESET || (flags & both) == both)
		return CT_TCP_CLOSING_SECONDS * SECOND;
	return (flags & CT_SEEN_REPLY ? CT_TCP_SECONDS : CT_TCP_SYN_SECONDS) * SECOND;
}

/* One more packet of a flow that goes on. The expiry is written only when it moves by more than a
 * second, so that two processors do not fight for the line with every packet. */
static __always_inline void continue_flow(const struct packet *packet, struct ct_entry *entry,
					  __u32 length)
{
	__u16 flags = entry->flags | flags_of(packet);
	__u64 expires = packet->now + lifetime(packet->tuple.protocol, flags);

	if (flags != entry->flags)
		entry->flags = flags;
	if (expires - entry->expires + SECOND > 2 * SECOND)
		entry->expires = expires;
	if (packet->is_reply) {
		entry->reply_packets += 1;
		entry->reply_bytes += length;
	} else {
		entry->origin_packets += 1;
		entry->origin_bytes += length;
	}
}

/* The first packet of a flow that may be. */
static __always_inline int open_flow(const struct packet *packet, __u32 length)
{
	__u16 flags = flags_of(packet) | (packet->from_high ? CT_FROM_HIGH : 0) |
		      (packet->via_stack ? CT_VIA_STACK : 0);
	struct ct_entry entry = {
		.epoch = packet->epoch,
		.expires = packet->now + lifetime(packet->tuple.protocol, flags),
		.origin_packets = 1,
		.origin_bytes = length,
		.source_identity = packet->ends[SOURCE].identity,
		.destination_identity = packet->ends[DESTINATION].identity,
		.flags = flags,
		.destination_port = packet->service,
	};
	long failed = packet->tuple.family == FAMILY_IPV4
			      ? map_update(ct4, &packet->key.four, &entry)
			      : map_update(ct6, &packet->key.six, &entry);

	return failed ? -REASON_CT_INSERT_FAILED : 0;
}

#endif
