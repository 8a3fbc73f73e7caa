/* The one way out of a program: from what was found to verdict, counter and event together, so that no
 * packet is dropped in silence. */
#ifndef CILIATE_DROP_H
#define CILIATE_DROP_H

#include "event.h"

static __always_inline void count(__u32 reason, __u8 direction, __u32 length)
{
	__u32 index = reason * 2 + direction;
	struct metric *metric = map_lookup(metrics, &index);

	if (!metric)
		return;
	metric->packets += 1;
	metric->bytes += length;
}

static __always_inline __u32 reason_of(const struct packet *packet)
{
	if (packet->result)
		return -packet->result;
	return packet->is_news && packet->audited ? REASON_AUDITED : REASON_NONE;
}

/* `result` is 0 or a negative drop reason. A flow that goes on makes no event. */
static __always_inline int conclude(struct __sk_buff *skb, struct packet *packet, int result)
{
	packet->result = result;
	forget(packet);
	count(reason_of(packet), packet->direction, skb->len);
	if (packet->result) {
		emit(skb, packet, EVENT_DROP);
		return TC_ACT_SHOT;
	}
	if (packet->is_news)
		emit(skb, packet, EVENT_POLICY_VERDICT);
	return packet->action;
}

#endif
