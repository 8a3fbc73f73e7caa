/* What policy says of one peer, direction, protocol and port.
 *
 * `policies` is an array of maps, one map for each local identity; its layout and why the longest match
 * of one identity is the answer for it stand beside struct policy_key. The agent has folded the default
 * of a direction that no rule enforces into an entry that allows any peer, so that the absence of an
 * entry always denies.
 *
 *   1. no map                              NO_POLICY
 *   2. the entry for this peer denies      POLICY_DENY_RULE
 *   3. the entry for any peer denies       POLICY_DENY_RULE
 *   4. either allows                       allowed
 *   5. neither is there                    POLICY_DENIED */
#ifndef CILIATE_POLICY_H
#define CILIATE_POLICY_H

#include "kernel.h"

#define POLICY_KEY_BITS 64

static __always_inline int ask_policy(__u32 slot, struct policy_key *key)
{
	const struct policy_entry *peer, *any;
	void *policy = map_lookup(policies, &slot);

	if (!policy) /* 1 */
		return -REASON_NO_POLICY;
	key->prefixlen = POLICY_KEY_BITS;
	peer = kernel_map_lookup(policy, key);
	if (peer && peer->deny) /* 2 */
		return -REASON_POLICY_DENY_RULE;
	key->identity = 0;
	any = kernel_map_lookup(policy, key);
	if (any) /* 3, 4 */
		return any->deny ? -REASON_POLICY_DENY_RULE : 0;
	return peer ? 0 : -REASON_POLICY_DENIED; /* 4, 5 */
}

#endif
