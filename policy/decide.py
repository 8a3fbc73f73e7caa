"""The Python twin of the datapath's policy lookup (datapath/bpf/policy.h). PURE.

Same map, same two questions, same order; tests hold both and the rules themselves against each other.

1. The longest match for the peer's identity.
2. The longest match for anybody.
3. Either denies: denied by a rule.
4. Neither allows: denied, because nothing allows it.
5. Either would deny, if the audited rules were in force: allowed, and reported as denied by a rule.
6. Neither would allow: allowed, and reported.
7. Allowed."""

from __future__ import annotations

from dataclasses import dataclass

from model.flow import Direction
from policy.mapstate import ANYBODY, MapState, PolicyFlag, PolicyKey
from policy.ports import covering


@dataclass(frozen=True, slots=True)
class Decision:
    """`key`: the entry that decided; None where none did. `deny_rule`: one that denies, or would."""

    allowed: bool
    deny_rule: bool
    key: PolicyKey | None
    audited: bool = False
    """It passes, and would not if the audited rules were in force."""


def decide(state: MapState, identity: int, direction: Direction, protocol: int, port: int) -> Decision:
    """`identity`: the peer's. `port`: the destination's; ICMP: the type."""
    answers = [
        key
        for peer in (identity, ANYBODY)
        if (key := _longest_match(state, peer, direction, protocol, port)) is not None
    ]

    def first(flag: PolicyFlag) -> PolicyKey | None:
        return next((key for key in answers if flag in state[key].says), None)

    if key := first(PolicyFlag.DENY):
        return Decision(False, True, key)
    allowing = first(PolicyFlag.ALLOW)
    if allowing is None:
        return Decision(False, False, None)
    if key := first(PolicyFlag.WOULD_DENY):
        return Decision(True, True, key, audited=True)
    return Decision(True, False, allowing, audited=first(PolicyFlag.WOULD_ALLOW) is None)


def _longest_match(
    state: MapState, identity: int, direction: Direction, protocol: int, port: int
) -> PolicyKey | None:
    for _, covered_protocol, first, bits in covering(direction, protocol, port, 16):
        key = PolicyKey(direction, identity, covered_protocol, first, bits)
        if key in state:
            return key
    return None
