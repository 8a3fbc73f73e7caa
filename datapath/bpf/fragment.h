/* Later fragments have no ports: they take those that their datagram's first fragment had, which are
 * remembered once that one was let through. So a later fragment never gets further than its first, and
 * one that comes before it, or without it, is dropped.
 *
 * No fragment can put other ports into a datagram that was judged: ports end at byte 4 and the second
 * possible fragment starts at byte 8. */
#ifndef CILIATE_FRAGMENT_H
#define CILIATE_FRAGMENT_H

#include "packet.h"

static __always_inline void fragment4_key_of(const struct packet *packet, struct fragment4_key *key)
{
	*key = (struct fragment4_key){
		.source = packet->tuple.source.word[3],
		.destination = packet->tuple.destination.word[3],
		.id = packet->fragment_id,
		.protocol = packet->tuple.protocol,
	};
}

static __always_inline void fragment6_key_of(const struct packet *packet, struct fragment6_key *key)
{
	*key = (struct fragment6_key){ .id = packet->fragment_id,
				       .protocol = packet->tuple.protocol };
	__builtin_memcpy(key->source, &packet->tuple.source, sizeof(key->source));
	__builtin_memcpy(key->destination, &packet->tuple.destination, sizeof(key->destination));
}

static __always_inline int recall_ports(struct packet *packet)
{
	const struct fragment_ports *ports;
	struct fragment4_key key4;
	struct fragment6_key key6;

	if (packet->tuple.family == FAMILY_IPV4) {
		fragment4_key_of(packet, &key4);
		ports = map_lookup(fragments4, &key4);
	} else {
		fragment6_key_of(packet, &key6);
		ports = map_lookup(fragments6, &key6);
	}
	if (!ports)
		return -REASON_FRAGMENT_NOT_FOUND;
	packet->tuple.source_port = ports->source;
	packet->tuple.destination_port = ports->destination;
	return 0;
}

/* A full table replaces its oldest entries, so this cannot fail in a way that lets anything through. */
static __always_inline void remember_ports(const struct packet *packet)
{
	struct fragment_ports ports = { packet->tuple.source_port, packet->tuple.destination_port };
	struct fragment4_key key4;
	struct fragment6_key key6;

	if (packet->tuple.family == FAMILY_IPV4) {
		fragment4_key_of(packet, &key4);
		map_update(fragments4, &key4, &ports);
	} else {
		fragment6_key_of(packet, &key6);
		map_update(fragments6, &key6, &ports);
	}
}

#endif
