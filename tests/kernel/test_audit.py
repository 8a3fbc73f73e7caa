"""Audit mode, and audited sets: what policy denies passes and is told; nothing else does."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from datapath.tables import EndpointFlag
from model.flow import Direction, DropReason, EventType, Verdict
from model.identity import Reserved
from policy.mapstate import ALLOW, DENY, PolicyEntry, PolicyFlag, PolicyKey
from tests.kernel.harness import OTHER, SEALED, UNKNOWN4, WORLD4, A, B, Node, Outcome
from tests.kernel.packets import ACK, ICMP, SYN, TCP, ethernet, ip, ping, tcp, udp

IN, OUT = Direction.INGRESS, Direction.EGRESS
DENIED, RULE, AUDITED = DropReason.POLICY_DENIED, DropReason.POLICY_DENY_RULE, DropReason.AUDITED
AUDIT = EndpointFlag.AUDIT

IN_FORCE, MAY = PolicyEntry(PolicyFlag.ALLOW), PolicyEntry(PolicyFlag.WOULD_ALLOW)
"""Allowed, and not if audited sets were in force; not allowed, and only by these."""

WORLD = int(Reserved.WORLD_IPV4)

PORTS = count(5000)

WITHOUT_MAP = 40
"""A slot that nothing was ever put into."""


def told(outcome: Outcome) -> tuple[DropReason, Direction, int]:
    """The reason, whose policy it is, and of which endpoint; of a packet that passed and was counted as audited."""
    event = outcome.event
    assert outcome.passed
    assert outcome.reason is AUDITED
    assert event is not None
    assert (event.type, event.verdict) == (EventType.POLICY_VERDICT, Verdict.AUDIT)
    assert event.direction is outcome.direction
    return event.reason, event.direction, event.endpoint


@pytest.mark.parametrize(
    ("policy", "reason"), [({}, DENIED), ({PolicyKey(IN, A.identity): DENY}, RULE)], ids=["default", "rule"]
)
def test_what_the_receiver_denies_passes_and_is_told(
    node: Node, policy: dict[PolicyKey, PolicyEntry], reason: DropReason
) -> None:
    node.change(B, flags=AUDIT)
    node.allow(B, policy)
    for destination, payload in ((B.ipv4, tcp(1, 80)), (B.ipv6, udp(1, 80)), (B.ipv4, ping(1))):
        assert told(node.send(A, destination, payload)) == (reason, IN, B.number)


def test_what_the_sender_s_policy_denies_too(node: Node) -> None:
    node.change(A, flags=AUDIT)
    node.allow(A, {})
    assert told(node.send(A, WORLD4, tcp(1, 443, SYN))) == (DENIED, OUT, A.number)
    assert told(node.send(A, B.ipv4, tcp(1, 80))) == (DENIED, OUT, A.number)


def test_of_two_the_sender_s_is_told(node: Node) -> None:
    for container in (A, B):
        node.change(container, flags=AUDIT)
        node.allow(container, {PolicyKey(IN): DENY} if container is B else {})
    assert told(node.send(A, B.ipv4, tcp(1, 80))) == (DENIED, OUT, A.number)


def test_each_end_by_itself(node: Node) -> None:
    node.change(A, flags=AUDIT)
    node.allow(A, {})
    node.allow(B, SEALED)
    outcome = node.send(A, B.ipv4, tcp(1, 80))
    assert (outcome.reason, outcome.direction) == (DENIED, IN), "the other end is not in audit mode"


def test_what_comes_from_the_world_is_told_at_the_container(node: Node) -> None:
    node.change(A, flags=AUDIT)
    node.allow(A, SEALED)
    assert told(node.receive(A, WORLD4, tcp(4000, 80, SYN))) == (DENIED, IN, A.number)


def test_what_policy_allows_is_as_ever(node: Node) -> None:
    node.change(B, flags=AUDIT)
    outcome = node.send(A, B.ipv4, tcp(1, 80))
    assert outcome.event
    assert (outcome.reason, outcome.event.verdict) == (DropReason.NONE, Verdict.FORWARDED)


def test_a_flow_is_told_once_and_again_when_it_is_judged_anew(node: Node) -> None:
    node.change(B, flags=AUDIT)
    node.allow(B, SEALED)
    told(node.send(A, B.ipv4, tcp(4000, 80, SYN)))
    for outcome in (node.send(B, A.ipv4, tcp(80, 4000, SYN | ACK)), node.send(A, B.ipv4, tcp(4000, 80))):
        assert (outcome.reason, outcome.event) == (DropReason.NONE, None)
    node.datapath.bump_epoch()
    told(node.send(A, B.ipv4, tcp(4000, 80)))
    assert node.send(A, B.ipv4, tcp(4000, 80)).event is None


def test_when_it_ends_live_flows_end(node: Node) -> None:
    node.change(B, flags=AUDIT)
    node.allow(B, SEALED)
    told(node.send(A, B.ipv4, tcp(4000, 80, SYN)))
    node.change(B, flags=0)
    assert node.send(A, B.ipv4, tcp(4000, 80)).reason is DENIED


def test_a_live_flow_that_a_new_rule_denies_is_told(node: Node) -> None:
    node.change(B, flags=AUDIT)
    assert node.send(A, B.ipv4, tcp(4000, 80, SYN)).reason is DropReason.NONE
    node.allow(B, {PolicyKey(IN, A.identity, TCP, 80, 16): DENY})
    assert told(node.send(B, A.ipv4, tcp(80, 4000, ACK)))[0] is RULE, "by an answer, too"
    assert node.send(A, B.ipv4, tcp(4000, 80)).event is None


def test_nothing_but_policy_is_audited(node: Node) -> None:
    for container in (A, B, OTHER):
        node.change(container, flags=AUDIT)
        node.allow(container, {})
    forged = ethernet(*ip("10.200.1.77", B.ipv4, tcp(1, 80)), source=A.mac)
    drops = {
        DropReason.NETWORKS_SEPARATE: node.send(A, OTHER.ipv4, tcp(1, 80)),
        DropReason.UNKNOWN_DESTINATION: node.send(A, UNKNOWN4, tcp(1, 80)),
        DropReason.INVALID_SOURCE_IP: node.send_frame(A, forged),
        DropReason.ICMP_UNRELATED: node.receive(A, WORLD4, (ICMP, bytes([3, 1, 0, 0]) + bytes(28))),
    }
    node.change(B, flags=AUDIT | EndpointFlag.NO_CONTAINERS)
    drops[DropReason.CONTAINERS_FORBIDDEN] = node.send(A, B.ipv4, tcp(1, 80))
    for reason, outcome in drops.items():
        assert outcome.reason is reason


def test_without_a_map_it_is_closed_even_so(node: Node) -> None:
    node.datapath.endpoints.put(A.number, replace(A.endpoint, flags=AUDIT, policy=WITHOUT_MAP))
    assert node.send(A, WORLD4, tcp(1, 80)).reason is DropReason.NO_POLICY


WOULD = {
    "no rule would allow it": ({PolicyKey(IN): IN_FORCE}, DENIED),
    "no rule would allow this peer": (
        {PolicyKey(IN): IN_FORCE, PolicyKey(IN, WORLD): PolicyEntry(PolicyFlag.WOULD_ALLOW)}, DENIED
    ),
    "a rule would deny this peer": (
        {PolicyKey(IN): ALLOW, PolicyKey(IN, A.identity): PolicyEntry(PolicyFlag.WOULD_DENY)}, RULE
    ),
    "a rule would deny anybody": (
        {PolicyKey(IN, A.identity): ALLOW, PolicyKey(IN): PolicyEntry(PolicyFlag.WOULD_DENY)}, RULE
    ),
}  # fmt: skip
"""Entries where audited sets would deny what the rules in force allow."""


@pytest.mark.parametrize("case", WOULD)
def test_what_an_audited_set_would_deny_passes_and_is_told(node: Node, case: str) -> None:
    entries, reason = WOULD[case]
    node.allow(B, entries)
    for destination, payload in ((B.ipv4, tcp(1, 80)), (B.ipv6, udp(1, 80))):
        assert told(node.send(A, destination, payload)) == (reason, IN, B.number)


def test_what_an_audited_set_would_allow_as_well_is_as_ever(node: Node) -> None:
    for entries in (
        {PolicyKey(IN): IN_FORCE, PolicyKey(IN, A.identity): MAY},
        {PolicyKey(IN, A.identity): ALLOW},
    ):
        node.allow(B, entries)
        outcome = node.send(A, B.ipv4, tcp(next(PORTS), 80))
        assert outcome.event
        assert (outcome.reason, outcome.event.verdict) == (DropReason.NONE, Verdict.FORWARDED)


def test_an_audited_set_gives_nothing(node: Node) -> None:
    for entries, reason in (
        ({PolicyKey(IN, A.identity): MAY}, DENIED),
        ({PolicyKey(IN, A.identity): PolicyEntry(PolicyFlag.DENY | PolicyFlag.WOULD_ALLOW)}, RULE),
    ):
        node.allow(B, entries)
        assert node.send(A, B.ipv4, tcp(next(PORTS), 80)).reason is reason


def test_what_is_denied_is_so_whatever_the_other_ends_audited_sets_say(node: Node) -> None:
    node.allow(A, {PolicyKey(OUT): IN_FORCE})
    node.allow(B, SEALED)
    outcome = node.send(A, B.ipv4, tcp(1, 80))
    assert (outcome.reason, outcome.direction) == (DENIED, IN)


def test_in_audit_mode_the_rules_in_force_are_told_of_first(node: Node) -> None:
    node.change(B, flags=AUDIT)
    node.allow(B, {PolicyKey(IN): PolicyEntry(PolicyFlag.WOULD_DENY)})
    assert told(node.send(A, B.ipv4, tcp(1, 80))) == (DENIED, IN, B.number)


def test_what_an_audited_set_would_deny_is_told_once_for_each_epoch(node: Node) -> None:
    node.allow(B, {PolicyKey(IN): IN_FORCE})
    told(node.send(A, B.ipv4, tcp(4000, 80, SYN)))
    for outcome in (node.send(B, A.ipv4, tcp(80, 4000, SYN | ACK)), node.send(A, B.ipv4, tcp(4000, 80))):
        assert (outcome.reason, outcome.event) == (DropReason.NONE, None)
    node.datapath.bump_epoch()
    told(node.send(A, B.ipv4, tcp(4000, 80)))
    node.allow(B, {})
    assert node.send(A, B.ipv4, tcp(4000, 80)).reason is DENIED, "and ends with the audit"
