"""What observers are told, and what they are told that they were not told."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from model.flow import Direction, DropReason, EventType, Verdict
from tests.kernel.harness import OTHER, SEALED, UPLINK, WORLD4, WORLD6, A, B, Container, Node, context
from tests.kernel.packets import ACK, ARP, PSH, SYN, arp, ethernet, icmp, ping, tcp, udp


@pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
def test_a_new_flow_is_told_in_full(node: Node, v6: bool) -> None:
    one, other = (A.ipv6, B.ipv6) if v6 else (A.ipv4, B.ipv4)
    before = time.monotonic_ns()
    event = node.send(A, other, tcp(4000, 80, SYN, b"early")).event
    assert event
    assert before <= event.time_ns <= time.monotonic_ns()
    assert (event.type, event.verdict, event.reason) == (
        EventType.POLICY_VERDICT,
        Verdict.FORWARDED,
        DropReason.NONE,
    )
    assert (event.source, event.destination) == (ip_address(one), ip_address(other))
    assert (event.source_port, event.destination_port, event.protocol) == (4000, 80, 6)
    assert (event.source_identity, event.destination_identity) == (A.identity, B.identity)
    assert (event.tcp_flags, event.icmp_type, event.is_reply) == (SYN, 0, False)
    assert (event.endpoint, event.ifindex, event.direction) == (A.number, A.number, Direction.EGRESS)
    assert event.length == (74 if v6 else 54) + 5


def test_a_ping_has_a_type_and_no_ports(node: Node) -> None:
    for address, v6, kind in ((B.ipv4, False, 8), (B.ipv6, True, 128)):
        event = node.send(A, address, ping(77, v6=v6)).event
        assert event
        assert (event.source_port, event.destination_port, event.icmp_type) == (0, 0, kind)


def test_a_drop_on_arrival_is_the_receiver_s(node: Node) -> None:
    node.allow(A, SEALED)
    event = node.receive(A, WORLD4, tcp(4000, 80, SYN)).event
    assert event
    assert (event.direction, event.endpoint, event.ifindex) == (Direction.INGRESS, A.number, A.number)
    assert (event.source_identity, event.destination_identity) == (9, A.identity)


def test_an_answer_is_told_as_one(node: Node) -> None:
    node.send(A, B.ipv4, tcp(4000, 80, SYN))
    node.allow(B, SEALED)
    event = node.send(B, A.ipv4, tcp(80, 4000, ACK | PSH)).event
    assert event
    assert (event.is_reply, event.source_port, event.destination_port) == (True, 80, 4000)
    assert (event.source_identity, event.destination_identity) == (B.identity, A.identity)


def test_what_is_no_ip_has_no_addresses(node: Node) -> None:
    event = node.send_frame(A, ethernet(0x88B5, bytes(46), source=A.mac)).event
    assert event
    assert event.reason is DropReason.UNSUPPORTED_L3
    assert (int(event.source), int(event.destination), event.protocol) == (0, 0, 0)
    assert (event.source_identity, event.endpoint) == (A.identity, A.number)


def test_counters_tell_directions_apart(node: Node) -> None:
    before = node.datapath.metrics()
    node.allow(B, SEALED)
    node.send(A, B.ipv4, tcp(4000, 80, SYN))
    node.send(A, WORLD6, udp(4000, 80))
    node.receive(A, WORLD6, udp(80, 4000))
    node.send_frame(A, ethernet(ARP, arp(1, A.mac, A.ipv4, "10.200.1.1"), source=A.mac))
    after = node.datapath.metrics()
    grown = {
        key: after[key][0] - before.get(key, (0, 0))[0] for key in after if after[key] != before.get(key)
    }
    assert grown == {
        (DropReason.POLICY_DENIED, Direction.INGRESS): 1,
        (DropReason.NONE, Direction.EGRESS): 2,
        (DropReason.NONE, Direction.INGRESS): 1,
    }


@pytest.mark.parametrize("stranger", [B, OTHER], ids=["a neighbour", "a stranger"])
def test_errors_are_not_news(node: Node, stranger: Container) -> None:
    node.receive(A, stranger.ipv4, udp(4000, 53), origin=stranger.number)
    assert node.receive(A, stranger.ipv4, udp(4000, 53), origin=stranger.number).event is None
    assert node.receive(A, WORLD4, icmp(3, 3), origin=UPLINK).event


def test_a_full_ring_loses_events_and_counts_them(node: Node) -> None:
    """65536 bytes hold 744 records of 80 bytes and 8 of header; packets go their way all the same."""
    room = 65536 // 88
    before = node.datapath.lost_events()
    for port in range(room + 50):
        node.run_unread("from_container", node.frame(A, B.ipv4, udp(1024 + port, 80)), context(A.number))
    lost = node.datapath.lost_events() - before
    assert len(node.ring.take(10_000)) == room + 50 - lost
    assert 50 <= lost <= 52
    assert len(node.flows()) == room + 50
    assert node.send(A, B.ipv4, udp(9, 80)).event, "and it goes on when there is room again"
