/* Names of containers on other nodes. Docker's resolver knows those of its own host, and sends any other
 * question on, by way of the container that asked. Where the network spans nodes and the name is that of a
 * container on another one, the answer is given here (RFC 1035), and the question goes nowhere. All other
 * questions go on to whom they are for.
 *
 *   1. a plain question: one name, class IN, no more records than EDNS's own (RFC 6891)
 *   2. the name is in `names`      else it is none of ours
 *   3. A, AAAA                     one of the addresses, by lot; none of that family, or any other type:
 *                                  there is such a name, without such a record */
#ifndef CILIATE_NAMES_H
#define CILIATE_NAMES_H

#include "neighbour.h"

#define FIRST_SPANNING_NETWORK 2
#define FIRST_LOCAL_NETWORK (1U << 24)

#define SCRATCH_OF_ANSWERS 7

#define DNS_PORT 53
#define DNS_TYPE_A 1
#define DNS_TYPE_AAAA 28
#define DNS_CLASS_IN 1
#define DNS_ASKS 0xfe00	  /* mask: an answer, any operation but a query, what only answers have */
#define DNS_ANSWER 0x8080 /* and recursion is available */
#define DNS_NAME_OF_QUESTION 0xc00c
#define DNS_SECONDS 5 /* that an asker may remember it */

struct dns_header {
	__be16 id;
	__be16 flags;
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additional;
};

struct dns_record {
	__be16 name;
	__be16 type;
	__be16 class;
	__be16 seconds[2]; /* 6 bytes in: not aligned */
	__be16 size;
	__u8 data[16];
};

/* Behind the name of a question. */
struct dns_question_end {
	__be16 type;
	__be16 class;
};

#define DNS_RECORD 12  /* without data */
#define EDNS_RECORD 11 /* without options */
#define EDNS_COOKIE 12 /* an option that some clients send */

_Static_assert(sizeof(struct dns_record) == 28, "dns_record");

/* What is sent back, behind the IP header; for the checksum, what a receiver adds up before it. */
struct dns_answer {
	union address source;
	union address destination;
	__be32 size;
	__be32 protocol;
	struct udp_header udp;
	struct dns_header header;
	__u8 rest[NAME_SIZE + sizeof(struct dns_question_end) + sizeof(struct dns_record)];
	__u8 pad[4];
	struct name_key key;
};

#define DNS_PSEUDO __builtin_offsetof(struct dns_answer, udp)
#define DNS_MESSAGE (__builtin_offsetof(struct dns_answer, key) - DNS_PSEUDO)
#define DNS_FIXED (sizeof(struct udp_header) + sizeof(struct dns_header))

_Static_assert(sizeof(struct dns_answer) <= sizeof(struct scratch), "dns_answer");
_Static_assert(DNS_MESSAGE <= 128, "bounded");
_Static_assert(__builtin_offsetof(struct dns_answer, key) % 4 == 0, "summed in words");

/* The same number, from 1 to `limit`, a power of two; and however the compiler keeps it, the verifier of Linux
 * 6.1, which forgets what was found out about a copy, knows that it is. */
#define bounded(number, limit)                  \
	({                                      \
		__u64 _less = (number)-1;       \
		asm volatile("" : "+r"(_less)); \
		(_less & ((limit)-1)) + 1;      \
	})

static __always_inline bool may_ask_names(const struct packet *packet, const struct endpoint *own)
{
	return packet->service == big16(DNS_PORT) && packet->tuple.protocol == IPPROTO_UDP &&
	       packet->fragment == FRAGMENT_NONE && own->network >= FIRST_SPANNING_NETWORK &&
	       own->network < FIRST_LOCAL_NETWORK;
}

/* Bytes of what stands behind the question: 0, or EDNS's record with one cookie or nothing in it. -1: something
 * else. */
static __always_inline int dns_extra(struct __sk_buff *skb, const struct packet *packet,
				     const struct dns_header *header)
{
	int extra = EDNS_RECORD;
	__u8 record[3];

	if (!header->additional)
		return 0;
	if (header->additional != big16(1))
		return -1;
	for (int i = 0; i < 2; i++, extra += EDNS_COOKIE) {
		if (kernel_load_bytes(skb, packet->end - extra, record, sizeof(record)))
			return -1;
		if (!record[0] && !record[1] && record[2] == 41)
			return extra;
	}
	return -1;
}

/* Eight bytes at a time; lengths of labels are below 'A'. */
static __always_inline void lower_case(__u64 *name)
{
	const __u64 each = 0x0101010101010101ULL;
	__u64 low, capitals;

	for (int i = 0; i < NAME_SIZE / 8; i++) {
		low = name[i] & each * 0x7f;
		capitals = (low + each * (0x80 - 'A')) & ~(low + each * (0x7f - 'Z')) & ~name[i];
		name[i] |= (capitals & each * 0x80) >> 2;
	}
}

static __always_inline __u32 write_address(struct dns_record *record,
					   const struct name_entry *found, __be16 type)
{
	__u32 lot = kernel_random();

	if (type == big16(DNS_TYPE_A) && found->ipv4_count) {
		lot = lot % found->ipv4_count & (NAME_ADDRESSES - 1);
		__builtin_memcpy(record->data, found->ipv4[lot], 4);
		return 4;
	}
	if (type == big16(DNS_TYPE_AAAA) && found->ipv6_count) {
		lot = lot % found->ipv6_count & (NAME_ADDRESSES - 1);
		__builtin_memcpy(record->data, found->ipv6[lot], 16);
		return 16;
	}
	return 0;
}

static __always_inline int send_answer(struct __sk_buff *skb, struct packet *packet,
				       struct dns_answer *reply, __u64 size)
{
	bool v4 = packet->tuple.family == FAMILY_IPV4;
	struct ipv6hdr *ip6;
	struct iphdr *ip4;

	reply->source = packet->tuple.destination;
	reply->destination = packet->tuple.source;
	reply->size = big32(size);
	reply->protocol = big32(IPPROTO_UDP);
	reply->udp.source = packet->tuple.destination_port;
	reply->udp.destination = packet->tuple.source_port;
	reply->udp.length = big16(size);
	reply->udp.checksum = 0;
	/* An IPv4 address lies alone among zeros: the sum is that of IPv4's own pseudo header. */
	reply->udp.checksum =
		fold(kernel_checksum(NULL, 0, (__be32 *)reply, DNS_PSEUDO + DNS_MESSAGE, 0));
	if (!reply->udp.checksum)
		reply->udp.checksum = 0xffff;
	if (size > DNS_MESSAGE)
		return -REASON_INVALID_PACKET;
	size = bounded(size, 128);
	if (kernel_change_tail(skb, packet->transport + size, 0) ||
	    kernel_store_bytes(skb, packet->transport, &reply->udp, size, 0))
		return -REASON_INVALID_PACKET;

	if (v4) {
		ip4 = bytes_at(skb, ETH_HLEN, sizeof(*ip4));
		if (!ip4)
			return -REASON_INVALID_PACKET;
		ip4->saddr = reply->source.word[3];
		ip4->daddr = reply->destination.word[3];
		ip4->tot_len = big16(sizeof(*ip4) + size);
		ip4->check = 0;
		ip4->check = fold(kernel_checksum(NULL, 0, (__be32 *)ip4, sizeof(*ip4), 0));
		return answer(skb, packet);
	}
	ip6 = bytes_at(skb, ETH_HLEN, sizeof(*ip6));
	if (!ip6)
		return -REASON_INVALID_PACKET;
	__builtin_memcpy(&ip6->saddr, &reply->source, sizeof(reply->source));
	__builtin_memcpy(&ip6->daddr, &reply->destination, sizeof(reply->destination));
	ip6->payload_len = big16(size);
	return answer(skb, packet);
}

/* True: it is answered, or was to be, and `result` says how that went. */
static __always_inline bool answer_name(struct __sk_buff *skb, struct packet *packet,
					const struct endpoint *own, int *result)
{
	__u32 plain =
		packet->tuple.family == FAMILY_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u32 slot = SCRATCH_OF_ANSWERS, start = packet->transport + DNS_FIXED, size;
	__u64 length;
	struct dns_answer *reply = map_lookup(scratch, &slot);
	const struct name_entry *found;
	struct dns_question_end asked;
	struct dns_record record = {};
	int extra;

	if (!reply || packet->transport != ETH_HLEN + plain)
		return false;
	__builtin_memset(reply, 0, sizeof(*reply));
	if (kernel_load_bytes(skb, packet->transport, &reply->udp, DNS_FIXED))
		return false;
	if (reply->header.flags & big16(DNS_ASKS) || reply->header.questions != big16(1) ||
	    reply->header.answers || reply->header.authorities)
		return false; /* 1 */
	extra = dns_extra(skb, packet, &reply->header);
	length = packet->end - start - sizeof(asked) - extra;
	if (extra < 0 || length < 3 || length > NAME_SIZE)
		return false;
	length = bounded(length, NAME_SIZE);
	if (kernel_load_bytes(skb, start, reply->key.name, length) ||
	    kernel_load_bytes(skb, start + length, &asked, sizeof(asked)) ||
	    asked.class != big16(DNS_CLASS_IN))
		return false;
	if (kernel_load_bytes(skb, start, reply->rest, length))
		return false;
	lower_case((__u64 *)reply->key.name);
	reply->key.network = own->network;
	found = map_lookup(names, &reply->key);
	if (!found)
		return false; /* 2 */

	reply->header.flags |= big16(DNS_ANSWER);
	reply->header.additional = 0;
	size = write_address(&record, found, asked.type); /* 3 */
	__builtin_memcpy(reply->rest + (length & 127), &asked, sizeof(asked));
	if (size) {
		record.name = big16(DNS_NAME_OF_QUESTION);
		record.type = asked.type;
		record.class = asked.class;
		record.seconds[1] = big16(DNS_SECONDS);
		record.size = big16(size);
		reply->header.answers = big16(1);
		__builtin_memcpy(reply->rest + (length & 127) + sizeof(asked), &record,
				 sizeof(record));
		size += DNS_RECORD;
	}
	*result = send_answer(skb, packet, reply, DNS_FIXED + length + sizeof(asked) + size);
	return true;
}

#endif
