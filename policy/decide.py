"""The Python twin of the datapath's policy lookup (datapath/bpf/policy.h). PURE.

Same map, same two questions, same order; tests hold both and the rules themselves against each other.

1. The longest match for the peer's identity.
2. The longest match for anybody.
3. Either denies: denied by a rule.
4. Either allows: allowed.
5. Denied, because nothing allows it."""

from __future__ import annotations

from dataclasses import dataclass

from model.flow import Direction
from policy.mapstate import ANYBODY, MapState, PolicyKey
from policy.ports import covering


@dataclass(frozen=True, slots=True)
class Decision:
    """`key`: the entry that decided; None where none matched."""

    allowed: bool
    deny_rule: bool
    key: PolicyKey | None


def decide(state: MapState, identity: int, direction: Direction, protocol: int, port: int) -> Decision:
    """`identity`: the peer's. `port`: the destination's; ICMP: the type."""
    answers = [
        key
        for peer in (identity, ANYBODY)
        if (key := _longest_match(state, peer, direction, protocol, port)) is not None
    ]
    for key in answers:
        if state[key].deny:
            return Decision(False, True, key)
    if answers:
        return Decision(True, False, answers[0])
    return Decision(False, False, None)


def _longest_match(
    state: MapState, identity: int, direction: Direction, protocol: int, port: int
) -> PolicyKey | None:
    for _, covered_protocol, first, bits in covering(direction, protocol, port, 16):
        key = PolicyKey(direction, identity, covered_protocol, first, bits)
        if key in state:
            return key
    return None
