/* May this packet pass? A flow is judged in the direction in which it was opened: the separation of
 * networks, then egress policy of the opener, then ingress policy of the responder, each where that end
 * is a container of this node. What the policy of an end in audit mode denies, or what audited sets of rules
 * would deny, is noted and passes: that and nothing else, so a container without a map is closed even then.
 * The verdict is kept with the flow, for the epoch that was read before anything else; in another epoch the
 * flow is judged anew, whichever way the packet goes. */
#ifndef CILIATE_JUDGE_H
#define CILIATE_JUDGE_H

#include "conntrack.h"
#include "ipcache.h"
#include "policy.h"
#include "separation.h"

static __always_inline bool is_judged(const struct packet *packet, const struct ct_entry *entry)
{
	return entry && entry->epoch == packet->epoch;
}

/* Of several reasons the first counts. */
static __always_inline int audit(struct packet *packet, int result)
{
	if (!packet->audited)
		packet->audited = -result;
	return 0;
}

static __always_inline int judge_end(struct packet *packet, const struct party *local,
				     const struct party *peer, __u8 direction)
{
	int result;
	__u8 says;
	struct policy_key key = {
		.identity = peer->identity,
		.direction = direction,
		.protocol = packet->tuple.protocol,
		.port = packet->service,
	};

	if (!local->ifindex)
		return 0;
	packet->direction = direction;
	packet->endpoint = local->id;
	result = ask_policy(local->policy, &key, &says);
	if (result)
		return result;
	result = in_force(says);
	if (!result)
		return audit(packet, if_audited_were(says));
	return local->flags & ENDPOINT_AUDIT ? audit(packet, result) : result;
}

static __always_inline int judge(struct packet *packet)
{
	const struct party *opener = opener_of(packet), *responder = responder_of(packet);
	__u8 direction = packet->direction;
	__u16 endpoint = packet->endpoint;
	__u16 audited;
	int result;

	result = check_separation(opener, responder, packet->via_stack);
	if (result)
		return result;
	result = judge_end(packet, opener, responder, DIRECTION_EGRESS);
	if (result)
		return result;
	audited = packet->audited;
	if (audited) {
		direction = DIRECTION_EGRESS;
		endpoint = opener->id;
	}
	result = judge_end(packet, responder, opener, DIRECTION_INGRESS);
	if (result)
		return result;
	if (packet->audited != audited) /* by the responder */
		return 0;
	packet->direction = direction;
	packet->endpoint = endpoint;
	return 0;
}

/* Who opened a flow through the host's stack was known by the interface that the packet came from, not
 * by its address, which may be the host's own by then. So an answer is judged with what was noted,
 * unless the address says more: a container of this node, or which part of the world. */
static __always_inline void recall_opener(struct packet *packet, const struct ct_entry *entry)
{
	struct party *opener = &packet->ends[DESTINATION];

	if (!packet->is_reply || !packet->via_stack || opener->ifindex ||
	    is_world(entry->source_identity))
		return;
	opener->identity = entry->source_identity;
	opener->network = 0;
}

/* The flow goes on in this epoch. An answer to what was opened through the stack does not settle that:
 * only the opener's next packet shows again who it is. */
static __always_inline int renew(struct packet *packet, struct ct_entry *entry)
{
	__u32 opener = opener_of(packet)->identity, responder = responder_of(packet)->identity;

	if (packet->is_reply && packet->via_stack)
		return 0;
	packet->is_news = packet->audited || entry->source_identity != opener ||
			  entry->destination_identity != responder;
	entry->source_identity = opener;
	entry->destination_identity = responder;
	entry->epoch = packet->epoch;
	return 0;
}

/* Both ends of the packet are known. */
static __always_inline int admit(struct packet *packet, struct ct_entry *entry, __u32 length)
{
	int result;

	/* The first fragment would have opened the flow. */
	if (!entry && packet->fragment == FRAGMENT_LATER)
		return -REASON_FRAGMENT_NOT_FOUND;
	if (entry) {
		packet->service = entry->destination_port;
		packet->via_stack = !!(entry->flags & CT_VIA_STACK);
		recall_opener(packet, entry);
	}
	forget(packet);
	result = judge(packet);
	forget(packet);
	if (result)
		return result;
	if (entry)
		return renew(packet, entry);
	packet->is_news = true;
	return open_flow(packet, length);
}

#endif
