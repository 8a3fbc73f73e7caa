"""Policy: what a map says, whose map is asked, and how soon a change of mind shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest

from datapath.tables import IpcacheEntry
from model.flow import Direction, DropReason
from policy.mapstate import ALLOW, DENY, PolicyEntry, PolicyKey
from tests.kernel.harness import HOST4, LISTED, LISTED4, OPEN, SEALED, UNMANAGED4, WORLD4, A, B, Node
from tests.kernel.packets import ACK, ICMP, ICMP6, SCTP, SYN, TCP, UDP, Payload, icmp, ping, sctp, tcp, udp

IN, OUT = Direction.INGRESS, Direction.EGRESS
NONE, DENIED, RULE = DropReason.NONE, DropReason.POLICY_DENIED, DropReason.POLICY_DENY_RULE

Policy = Mapping[PolicyKey, PolicyEntry]

WITHOUT_MAP = 50
"""A slot that nobody has ever had."""


def entries(*allowed: PolicyKey, deny: tuple[PolicyKey, ...] = ()) -> Policy:
    """Ingress as given; egress open."""
    return {PolicyKey(OUT): ALLOW} | dict.fromkeys(allowed, ALLOW) | dict.fromkeys(deny, DENY)


WEB = PolicyKey(IN, A.identity, TCP, 80, 16)
FROM_A, FROM_ANYBODY = PolicyKey(IN, A.identity), PolicyKey(IN)

LOOKUPS: dict[str, tuple[Policy, Payload, DropReason]] = {
    "an empty map": ({}, tcp(1, 80), DENIED),
    "a peer, a protocol, a port": (entries(WEB), tcp(1, 80), NONE),
    "the port below": (entries(WEB), tcp(1, 79), DENIED),
    "the port above": (entries(WEB), tcp(1, 81), DENIED),
    "the port as source": (entries(WEB), tcp(80, 81), DENIED),
    "another protocol": (entries(WEB), udp(1, 80), DENIED),
    "another peer": (entries(PolicyKey(IN, 999, TCP, 80, 16)), tcp(1, 80), DENIED),
    "the other direction": (entries(PolicyKey(OUT, A.identity, TCP, 80, 16)), tcp(1, 80), DENIED),
    "all of a peer": (entries(FROM_A), sctp(1, 80), NONE),
    "all ports of a protocol": (entries(PolicyKey(IN, A.identity, UDP)), udp(1, 999), NONE),
    "all ports of another protocol": (entries(PolicyKey(IN, A.identity, UDP)), tcp(1, 999), DENIED),
    "anybody": (entries(FROM_ANYBODY), tcp(1, 80), NONE),
    "anybody at a port": (entries(PolicyKey(IN, 0, TCP, 80, 16)), tcp(1, 80), NONE),
    "anybody at another port": (entries(PolicyKey(IN, 0, TCP, 80, 16)), tcp(1, 81), DENIED),
    "SCTP": (entries(PolicyKey(IN, 0, SCTP, 80, 16)), sctp(1, 80), NONE),
    "the first port of a range": (entries(PolicyKey(IN, 0, TCP, 1024, 6)), tcp(1, 1024), NONE),
    "the last port of a range": (entries(PolicyKey(IN, 0, TCP, 1024, 6)), tcp(1, 2047), NONE),
    "the port behind a range": (entries(PolicyKey(IN, 0, TCP, 1024, 6)), tcp(1, 2048), DENIED),
    "an ICMP type": (entries(PolicyKey(IN, 0, ICMP, 8, 16)), ping(1), NONE),
    "another ICMP type": (entries(PolicyKey(IN, 0, ICMP, 8, 16)), icmp(13), DENIED),
    "a rule that denies": (entries(FROM_ANYBODY, deny=(WEB,)), tcp(1, 80), RULE),
    "a rule that denies something else": (entries(FROM_ANYBODY, deny=(WEB,)), tcp(1, 81), NONE),
    "a rule that denies anybody": (
        entries(FROM_A, deny=(PolicyKey(IN, 0, TCP, 80, 16),)),
        tcp(1, 80),
        RULE,
    ),
    "a rule that denies a peer that all may": (entries(FROM_ANYBODY, deny=(FROM_A,)), tcp(1, 80), RULE),
    "the longest match of a peer": (entries(WEB, deny=(FROM_A,)), tcp(1, 80), NONE),
    "the longest match of anybody": (
        entries(PolicyKey(IN, 0, TCP, 80, 16), deny=(FROM_ANYBODY,)),
        tcp(1, 80),
        NONE,
    ),
    "identities that differ in one byte": (
        entries(PolicyKey(IN, A.identity + (1 << 24)), PolicyKey(IN, A.identity + 1)),
        tcp(1, 80),
        DENIED,
    ),
}


@pytest.mark.parametrize(("policy", "payload", "reason"), LOOKUPS.values(), ids=LOOKUPS.keys())
def test_what_the_map_of_the_receiver_says(
    node: Node, policy: Policy, payload: Payload, reason: DropReason
) -> None:
    node.allow(B, policy)
    outcome = node.send(A, B.ipv4, payload)
    assert outcome.reason is reason
    assert bool(node.flows()) is outcome.passed
    if reason:
        assert outcome.direction is IN
        assert outcome.event
        assert outcome.event.endpoint == B.number, "it is the receiver's policy that says no"
        assert (outcome.event.source_identity, outcome.event.destination_identity) == (1000, 1001)


def test_icmpv6_has_types_of_its_own(node: Node) -> None:
    node.allow(B, entries(PolicyKey(IN, 0, ICMP6, 128, 16)))
    assert node.send(A, B.ipv6, ping(1, v6=True)).passed
    assert node.send(A, B.ipv6, icmp(144, v6=True)).reason is DENIED
    assert node.send(A, B.ipv4, ping(1)).reason is DENIED


class TestWhoIsAsked:
    def test_the_sender_first(self, node: Node) -> None:
        node.allow(A, {PolicyKey(IN): ALLOW})
        node.allow(B, {})
        outcome = node.send(A, B.ipv4, tcp(1, 80))
        assert (outcome.reason, outcome.direction) == (DENIED, OUT)
        assert outcome.event
        assert outcome.event.endpoint == A.number

    def test_both(self, node: Node) -> None:
        node.allow(A, {PolicyKey(OUT, B.identity, TCP, 80, 16): ALLOW})
        node.allow(B, {WEB: ALLOW})
        assert node.send(A, B.ipv4, tcp(1, 80)).passed
        assert node.send(A, B.ipv4, tcp(1, 81)).direction is OUT
        node.allow(B, {})
        assert node.send(A, B.ipv4, tcp(2, 80)).direction is IN

    @pytest.mark.parametrize(
        ("address", "identity"),
        [(WORLD4, 9), (HOST4, 1), (LISTED4, LISTED), (UNMANAGED4, 3)],
        ids=["the world", "the host", "a prefix", "another bridge"],
    )
    def test_only_the_container_where_the_other_is_none(
        self, node: Node, address: str, identity: int
    ) -> None:
        node.allow(A, {PolicyKey(OUT, identity, TCP, 443, 16): ALLOW})
        assert node.send(A, address, tcp(4000, 443, SYN)).passed
        assert node.send(A, address, tcp(4000, 444, SYN)).reason is DENIED

    def test_nobody_where_there_is_no_map(self, node: Node) -> None:
        node.datapath.ipcache.put(ip_network(B.ipv4), replace(B.address, policy=WITHOUT_MAP))
        assert node.send(A, B.ipv4, tcp(1, 80)).reason is DropReason.NO_POLICY
        node.datapath.endpoints.put(A.number, replace(A.endpoint, policy=WITHOUT_MAP))
        assert node.send(A, WORLD4, tcp(1, 80)).reason is DropReason.NO_POLICY


class TestAChangeOfMind:
    """Flows are judged when they open and in each new epoch; between two packets all may change."""

    def opened(self, node: Node, *, v6: bool = False) -> tuple[str, str]:
        one, other = (A.ipv6, B.ipv6) if v6 else (A.ipv4, B.ipv4)
        node.send(A, other, tcp(4000, 80, SYN))
        node.send(B, one, tcp(80, 4000, SYN | ACK))
        node.send(A, other, tcp(4000, 80))
        return one, other

    @pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
    def test_stops_a_live_flow_at_its_next_packet(self, node: Node, v6: bool) -> None:
        _, other = self.opened(node, v6=v6)
        node.allow(B, SEALED)
        outcome = node.send(A, other, tcp(4000, 80))
        assert (outcome.reason, outcome.direction) == (DENIED, IN)

    @pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
    def test_stops_the_answers_alone_too(self, node: Node, v6: bool) -> None:
        """A stream whose receiver says nothing: judged in the direction in which it was opened."""
        one, _ = self.opened(node, v6=v6)
        node.allow(B, SEALED)
        outcome = node.send(B, one, tcp(80, 4000, data=b"more"))
        assert (outcome.reason, outcome.direction) == (DENIED, IN)
        assert outcome.event
        assert (outcome.event.source_identity, outcome.event.destination_identity) == (1001, 1000)

    def test_of_the_sender_stops_the_answers_too(self, node: Node) -> None:
        one, _ = self.opened(node)
        node.allow(A, {PolicyKey(IN): ALLOW})
        outcome = node.send(B, one, tcp(80, 4000, data=b"more"))
        assert (outcome.reason, outcome.direction) == (DENIED, OUT)

    def test_keeps_what_is_still_allowed_without_a_word(self, node: Node) -> None:
        one, other = self.opened(node)
        node.allow(B, {WEB: ALLOW})
        for _ in range(2):
            assert node.send(B, one, tcp(80, 4000)).event is None
            assert node.send(A, other, tcp(4000, 80)).event is None
        assert node.flow().epoch == node.datapath.bump_epoch() - 1

    def test_lets_a_stopped_flow_go_on_when_it_is_allowed_again(self, node: Node) -> None:
        _, other = self.opened(node)
        node.allow(B, SEALED)
        assert not node.send(A, other, tcp(4000, 80)).passed
        node.allow(B, OPEN)
        assert node.send(A, other, tcp(4000, 80)).passed

    def test_without_a_new_epoch_changes_nothing(self, node: Node) -> None:
        _, other = self.opened(node)
        node.datapath.replace_policies({B.number: {}})
        assert node.send(A, other, tcp(4000, 80)).passed
        assert node.send(A, other, tcp(4001, 80)).reason is DENIED

    def test_is_seen_where_it_is_the_peer_that_changed(self, node: Node) -> None:
        node.allow(B, {WEB: ALLOW, PolicyKey(OUT): ALLOW})
        one, other = self.opened(node)
        node.change(A, identity=1234)
        assert node.send(B, one, tcp(80, 4000)).reason is DENIED
        assert node.send(A, other, tcp(4000, 80)).reason is DENIED

    def test_is_told_where_the_flow_goes_on_between_others(self, node: Node) -> None:
        one, other = self.opened(node)
        node.change(A, identity=1234)
        outcome = node.send(B, one, tcp(80, 4000))
        assert outcome.event
        assert (outcome.event.source_identity, outcome.event.destination_identity) == (1001, 1234)
        assert outcome.event.is_reply
        assert node.send(A, other, tcp(4000, 80)).event is None
        assert node.flow().source_identity == 1234

    def test_reaches_a_flow_that_was_judged_while_it_happened(self, node: Node) -> None:
        """The epoch is read before the policy: a verdict from the old map carries the old epoch."""
        old = node.datapath.bump_epoch()
        node.send(A, B.ipv4, tcp(4000, 80, SYN))
        assert node.flow().epoch == old
        node.datapath.replace_policies({B.number: {}})
        node.datapath.bump_epoch()
        assert node.send(A, B.ipv4, tcp(4000, 80)).reason is DENIED

    def test_of_whom_an_address_is_applies_to_flows_with_the_world(self, node: Node) -> None:
        node.allow(A, {PolicyKey(OUT, 9): ALLOW})
        assert node.send(A, WORLD4, tcp(4000, 443, SYN)).passed
        node.datapath.ipcache.put(ip_network("198.51.100.0/24"), IpcacheEntry(LISTED + 1))
        node.datapath.bump_epoch()
        assert node.receive(A, WORLD4, tcp(443, 4000, SYN | ACK)).reason is DENIED
        assert node.send(A, WORLD4, tcp(4000, 443)).reason is DENIED


def test_who_is_gone_is_unknown(node: Node) -> None:
    node.send(A, B.ipv4, tcp(4000, 80, SYN))
    node.remove(B)
    assert node.send(A, B.ipv4, tcp(4000, 80)).reason is DropReason.UNKNOWN_DESTINATION
