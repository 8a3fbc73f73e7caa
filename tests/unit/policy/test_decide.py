"""The lookup, as the datapath does it."""

from __future__ import annotations

import pytest

from model.flow import Direction
from policy.decide import Decision, decide
from policy.mapstate import ALLOW, DENY, PolicyEntry, PolicyFlag, PolicyKey

IN = Direction.INGRESS
PEER = 300

ANYBODY_AT_80 = PolicyKey(IN, 0, 6, 80, 16)
PEER_AT_ALL = PolicyKey(IN, PEER)
PEER_AT_TCP = PolicyKey(IN, PEER, 6)
PEER_AT_RANGE = PolicyKey(IN, PEER, 6, 64, 10)
PEER_AT_80 = PolicyKey(IN, PEER, 6, 80, 16)


def ask(state: dict[PolicyKey, bool], identity: int = PEER, protocol: int = 6, port: int = 80) -> Decision:
    """`state`: whether each entry denies."""
    entries = {key: DENY if deny else ALLOW for key, deny in state.items()}
    return decide(entries, identity, IN, protocol, port)


def test_nothing_allows_so_it_is_denied() -> None:
    assert ask({}) == Decision(False, False, None)
    assert ask({PEER_AT_80: False}, port=81) == Decision(False, False, None)
    assert ask({PEER_AT_80: False}, protocol=17) == Decision(False, False, None)
    assert ask({PEER_AT_80: False}, identity=301) == Decision(False, False, None)
    assert decide({PEER_AT_80: ALLOW}, PEER, Direction.EGRESS, 6, 80) == Decision(False, False, None)


@pytest.mark.parametrize("key", [PEER_AT_80, PEER_AT_RANGE, PEER_AT_TCP, PEER_AT_ALL, ANYBODY_AT_80])
def test_whatever_covers_it_allows_it(key: PolicyKey) -> None:
    assert ask({key: False}) == Decision(True, False, key)


def test_the_longest_match_of_the_peer_answers() -> None:
    assert ask({PEER_AT_ALL: False, PEER_AT_80: True}) == Decision(False, True, PEER_AT_80)
    assert ask({PEER_AT_ALL: True, PEER_AT_RANGE: False}) == Decision(True, False, PEER_AT_RANGE)


def test_a_deny_in_either_answer_wins() -> None:
    assert ask({PEER_AT_80: False, ANYBODY_AT_80: True}) == Decision(False, True, ANYBODY_AT_80)
    assert ask({PEER_AT_ALL: True, ANYBODY_AT_80: False}) == Decision(False, True, PEER_AT_ALL)


def test_where_both_answer_alike_the_peers_entry_decides() -> None:
    for deny in (False, True):
        assert ask({PEER_AT_ALL: deny, ANYBODY_AT_80: deny}) == Decision(not deny, deny, PEER_AT_ALL)


def test_the_ends_of_a_prefix() -> None:
    for port, allowed in ((63, False), (64, True), (127, True), (128, False)):
        assert ask({PEER_AT_RANGE: False}, port=port).allowed is allowed


def test_what_would_not_pass_with_the_audited_rules_is_reported() -> None:
    in_force, may, would_deny = map(
        PolicyEntry, (PolicyFlag.ALLOW, PolicyFlag.WOULD_ALLOW, PolicyFlag.WOULD_DENY)
    )

    def at(peer: PolicyEntry, anybody: PolicyEntry) -> Decision:
        return decide({PEER_AT_ALL: peer, ANYBODY_AT_80: anybody}, PEER, IN, 6, 80)

    assert at(in_force, in_force) == Decision(True, False, PEER_AT_ALL, audited=True)
    assert at(may, in_force) == Decision(True, False, ANYBODY_AT_80)
    assert at(may, may) == Decision(False, False, None)
    assert at(ALLOW, would_deny) == Decision(True, True, ANYBODY_AT_80, audited=True)
    assert at(would_deny, DENY) == Decision(False, True, ANYBODY_AT_80)
