"""What the host's stack brings: who sent it is told by the interface that it came in by."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import product

import pytest

from datapath.tables import CtFlag, IpcacheEntry
from model.flow import Direction, DropReason
from policy.mapstate import PolicyEntry, PolicyKey
from tests.kernel.harness import (
    BRIDGE,
    HOST4,
    HOST6,
    LISTED,
    LISTED4,
    LISTED6,
    OPEN,
    OTHER,
    SEALED,
    UNKNOWN4,
    UNKNOWN6,
    UNMANAGED4,
    UPLINK,
    WORLD4,
    WORLD6,
    A,
    Action,
    B,
    Node,
)
from tests.kernel.packets import ACK, GATEWAY_MAC, SYN, TCP, ethernet, ip, ping, tcp, udp

SPOOFED, DENIED = DropReason.INVALID_SOURCE_IP, DropReason.POLICY_DENIED
ALLOW = PolicyEntry()

ORIGINS = {
    "the host": (HOST4, 0, 1),
    "the host by IPv6": (HOST6, 0, 1),
    "the host, with any address": (WORLD4, 0, 1),
    "the host, with a container's address": (B.ipv4, 0, 1),
    "the world": (WORLD4, UPLINK, 9),
    "the world by IPv6": (WORLD6, UPLINK, 10),
    "a prefix of the world": (LISTED4, UPLINK, LISTED),
    "a prefix of the world by IPv6": (LISTED6, UPLINK, LISTED + 1),
    "another bridge's address, from the world": (UNMANAGED4, UPLINK, 9),
    "another bridge": (UNMANAGED4, BRIDGE, 3),
    "another bridge, with the host's address": (HOST4, BRIDGE, 3),
    "another bridge, with an address of the world": (WORLD6, BRIDGE, 3),
    "a container": (B.ipv4, B.number, B.identity),
    "a container by IPv6": (B.ipv6, B.number, B.identity),
    "a container behind the host's address": (HOST4, B.number, B.identity),
    "a container of another network": (OTHER.ipv4, OTHER.number, OTHER.identity),
}


@pytest.mark.parametrize(("source", "origin", "identity"), ORIGINS.values(), ids=ORIGINS.keys())
def test_who_it_is(node: Node, source: str, origin: int, identity: int) -> None:
    outcome = node.receive(A, source, tcp(4000, 80, SYN), origin=origin)
    assert (outcome.action, outcome.direction) == (Action.STACK, Direction.INGRESS)
    assert outcome.event
    assert (outcome.event.source_identity, outcome.event.destination_identity) == (identity, A.identity)
    node.allow(A, {PolicyKey(Direction.INGRESS, identity, TCP, 80, 16): ALLOW})
    assert node.receive(A, source, tcp(4001, 80, SYN), origin=origin).passed
    assert node.receive(A, source, tcp(4001, 81, SYN), origin=origin).reason is DENIED


OURS = [B.ipv4, B.ipv6, A.ipv4, UNKNOWN4, UNKNOWN6, OTHER.ipv4]


@pytest.mark.parametrize(
    ("source", "origin"),
    [*product(OURS, (UPLINK, BRIDGE)), (HOST4, UPLINK), (HOST6, UPLINK)],
)
def test_an_address_of_ours_does_not_come_from_elsewhere(node: Node, source: str, origin: int) -> None:
    for payload in (tcp(4000, 80, SYN), ping(1, v6=":" in source)):
        assert node.receive(A, source, payload, origin=origin).reason is SPOOFED


@pytest.mark.parametrize("origin", [UPLINK, BRIDGE])
def test_not_even_where_it_continues_a_flow(node: Node, origin: int) -> None:
    """Else whoever the host forwards for could speak in a connection of two containers."""
    node.send(B, A.ipv4, tcp(4000, 80, SYN))
    assert node.receive(A, B.ipv4, tcp(4000, 80), origin=origin).reason is SPOOFED
    assert node.receive(B, A.ipv4, tcp(80, 4000), origin=origin).reason is SPOOFED


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        (B.ipv4, DropReason.UNKNOWN_DESTINATION),
        ("10.200.1.99", DropReason.UNKNOWN_DESTINATION),
        ("255.255.255.255", DropReason.MULTICAST),
        ("224.0.0.1", DropReason.MULTICAST),
    ],
)
def test_only_what_is_for_the_container_gets_in(node: Node, destination: str, reason: DropReason) -> None:
    for origin in (0, UPLINK, B.number):
        source = B.ipv4 if origin == B.number else WORLD4
        frame = ethernet(*ip(source, destination, udp(1, 2)), source=GATEWAY_MAC, destination=A.mac)
        assert node.receive_frame(A, frame, origin=origin).reason is reason


def test_the_host_is_judged_like_anybody(node: Node) -> None:
    node.allow(A, SEALED)
    assert node.receive(A, HOST4, tcp(4000, 80, SYN), origin=0).reason is DENIED


class TestPublishedPorts:
    """What came in by the host's stack goes back by it: its NAT has to see the answers."""

    def test_answers_go_to_the_stack_even_where_the_peer_is_local(self, node: Node) -> None:
        node.receive(A, B.ipv4, tcp(4000, 80, SYN), origin=B.number)
        assert node.flow().flags & CtFlag.VIA_STACK
        assert node.send(A, B.ipv4, tcp(80, 4000, SYN | ACK)).action is Action.STACK
        assert node.send(A, B.ipv4, tcp(81, 4000, SYN | ACK)).action is Action.REDIRECT

    def test_are_open_to_other_networks(self, node: Node) -> None:
        assert node.receive(A, OTHER.ipv4, tcp(4000, 80, SYN), origin=OTHER.number).passed
        assert node.send(A, OTHER.ipv4, tcp(80, 4000, SYN | ACK)).passed
        node.datapath.bump_epoch()
        assert node.send(A, OTHER.ipv4, tcp(80, 4000)).passed, "also when judged again, either way"
        assert node.receive(A, OTHER.ipv4, tcp(4000, 80), origin=OTHER.number).passed

    def test_obey_the_policy_of_both(self, node: Node) -> None:
        node.allow(B, {PolicyKey(Direction.INGRESS): ALLOW})
        outcome = node.receive(A, B.ipv4, tcp(4000, 80, SYN), origin=B.number)
        assert (outcome.reason, outcome.direction) == (DENIED, Direction.EGRESS)
        node.allow(B, OPEN)
        node.allow(A, SEALED)
        outcome = node.receive(A, B.ipv4, tcp(4000, 80, SYN), origin=B.number)
        assert (outcome.reason, outcome.direction) == (DENIED, Direction.INGRESS)

    @pytest.mark.parametrize(
        ("source", "origin"),
        [(WORLD4, UPLINK), (HOST4, 0), (HOST4, BRIDGE), (HOST4, B.number), (B.ipv4, B.number)],
        ids=["the world", "the host", "a masked bridge", "a masked container", "a container"],
    )
    def test_stop_at_the_next_packet_when_a_rule_goes(self, node: Node, source: str, origin: int) -> None:
        for closed_by_an_answer in (True, False):
            node.allow(A, OPEN)
            port = 4000 + closed_by_an_answer
            node.receive(A, source, tcp(port, 80, SYN), origin=origin)
            assert node.send(A, source, tcp(80, port, SYN | ACK)).passed
            node.allow(A, SEALED)
            if closed_by_an_answer:
                assert node.send(A, source, tcp(80, port)).reason is DENIED
            assert node.receive(A, source, tcp(port, 80), origin=origin).reason is DENIED

    def test_answers_are_judged_by_who_asked_not_by_the_address_left_of_it(self, node: Node) -> None:
        """A bridge's container behind the host's address stays unmanaged."""
        node.allow(A, {PolicyKey(Direction.INGRESS, 3): ALLOW})
        node.receive(A, HOST4, tcp(4000, 80, SYN), origin=BRIDGE)
        node.datapath.bump_epoch()
        assert node.send(A, HOST4, tcp(80, 4000, SYN | ACK)).passed
        node.allow(A, {PolicyKey(Direction.INGRESS, 1): ALLOW})
        assert node.send(A, HOST4, tcp(80, 4000)).reason is DENIED

    def test_an_answer_does_not_settle_the_verdict(self, node: Node) -> None:
        """Its peer may have become another since; that shows when the peer sends again."""
        node.receive(A, HOST4, tcp(4000, 80, SYN), origin=B.number)
        node.change(B, identity=4321)
        node.allow(A, {PolicyKey(Direction.INGRESS, B.identity): ALLOW})
        assert node.send(A, HOST4, tcp(80, 4000, SYN | ACK)).passed
        assert node.receive(A, HOST4, tcp(4000, 80), origin=B.number).reason is DENIED

    def test_answers_are_judged_by_who_a_container_is_now(self, node: Node) -> None:
        """Where its address shows which one asked, what was noted of it is not needed."""
        node.receive(A, B.ipv4, tcp(4000, 80, SYN), origin=B.number)
        node.change(B, identity=4321)
        node.allow(A, {PolicyKey(Direction.INGRESS, B.identity): ALLOW})
        assert node.send(A, B.ipv4, tcp(80, 4000, SYN | ACK)).reason is DENIED

    def test_answers_are_judged_by_what_part_of_the_world_an_address_is_now(self, node: Node) -> None:
        node.receive(A, WORLD4, tcp(4000, 80, SYN))
        node.datapath.ipcache.put(ip_network("198.51.100.0/24"), IpcacheEntry(LISTED + 2))
        node.allow(A, {PolicyKey(Direction.INGRESS, 9): ALLOW})
        assert node.send(A, WORLD4, tcp(80, 4000, SYN | ACK)).reason is DENIED

    def test_show_which_part_of_the_world_answers_go_to(self, node: Node) -> None:
        node.receive(A, LISTED4, tcp(4000, 80, SYN))
        node.allow(A, {PolicyKey(Direction.INGRESS, 9): ALLOW})
        assert node.send(A, LISTED4, tcp(80, 4000, SYN | ACK)).reason is DENIED


def test_a_container_that_talks_to_itself_by_the_stack_has_one_flow(node: Node) -> None:
    node.receive(A, A.ipv4, tcp(4000, 80, SYN), origin=A.number)
    node.receive(A, A.ipv4, tcp(80, 4000, SYN | ACK), origin=A.number)
    assert (node.flow().origin_packets, node.flow().reply_packets) == (1, 1)


class TestAnswersToTheContainer:
    def test_are_judged_by_the_address_that_it_asked(self, node: Node) -> None:
        """It asked the host's address; that another container answers there is the host's doing."""
        node.allow(A, {PolicyKey(Direction.EGRESS, 1): ALLOW})
        assert node.send(A, HOST4, tcp(4000, 8080, SYN)).action is Action.STACK
        assert node.receive(A, HOST4, tcp(8080, 4000, SYN | ACK), origin=B.number).passed
        node.datapath.bump_epoch()
        assert node.receive(A, HOST4, tcp(8080, 4000), origin=B.number).passed
        node.allow(A, {PolicyKey(Direction.EGRESS, B.identity): ALLOW})
        assert node.receive(A, HOST4, tcp(8080, 4000), origin=B.number).reason is DENIED

    def test_are_the_world_s_whichever_container_they_come_by(self, node: Node) -> None:
        node.send(A, WORLD4, tcp(4000, 443, SYN))
        node.allow(B, {})
        assert node.receive(A, WORLD4, tcp(443, 4000, SYN | ACK), origin=B.number).passed

    def test_stop_when_the_rule_goes(self, node: Node) -> None:
        node.send(A, WORLD4, tcp(4000, 443, SYN))
        assert node.receive(A, WORLD4, tcp(443, 4000, SYN | ACK)).passed
        node.allow(A, {PolicyKey(Direction.INGRESS): ALLOW})
        outcome = node.receive(A, WORLD4, tcp(443, 4000))
        assert (outcome.reason, outcome.direction) == (DENIED, Direction.EGRESS)
