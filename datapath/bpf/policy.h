/* What policy says of one peer, direction, protocol and port.
 *
 * `policies` is an array of maps, one map for each local identity; its layout and why the longest match
 * of one identity is the answer for it stand beside struct policy_key. The agent has folded the default
 * of a direction that no rule enforces into an entry that allows any peer, so that the absence of an
 * entry always denies.
 *
 *   1. no map                                         NO_POLICY
 *   2. the entry for this peer, or for any, denies     POLICY_DENY_RULE
 *   3. neither allows                                  POLICY_DENIED
 *   4. either would deny, were audited sets in force   allowed, audited as POLICY_DENY_RULE
 *   5. neither would allow                             allowed, audited as POLICY_DENIED
 *   6. else                                            allowed */
#ifndef CILIATE_POLICY_H
#define CILIATE_POLICY_H

#include "kernel.h"

#define POLICY_KEY_BITS 64

/* `says`: what both entries say, flags of enum policy_flag. */
static __always_inline int ask_policy(__u32 slot, struct policy_key *key, __u8 *says)
{
	const struct policy_entry *peer, *any;
	void *policy = map_lookup(policies, &slot);

	if (!policy)
		return -REASON_NO_POLICY;
	*says = 0;
	key->prefixlen = POLICY_KEY_BITS;
	peer = kernel_map_lookup(policy, key);
	if (peer)
		*says |= peer->says;
	key->identity = 0;
	any = kernel_map_lookup(policy, key);
	if (any)
		*says |= any->says;
	return 0;
}

static __always_inline int in_force(__u8 says)
{
	if (says & POLICY_DENY)
		return -REASON_POLICY_DENY_RULE;
	return says & POLICY_ALLOW ? 0 : -REASON_POLICY_DENIED;
}

static __always_inline int if_audited_were(__u8 says)
{
	if (says & POLICY_WOULD_DENY)
		return -REASON_POLICY_DENY_RULE;
	return says & POLICY_WOULD_ALLOW ? 0 : -REASON_POLICY_DENIED;
}

#endif
