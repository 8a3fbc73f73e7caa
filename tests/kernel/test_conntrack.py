"""Flows: who opened them, how long they live, and what is no part of them."""

from __future__ import annotations

import time

import pytest

from datapath.tables import CtFlag
from model.flow import DropReason
from tests.kernel.harness import SEALED, WORLD4, WORLD6, A, Action, B, Node, context
from tests.kernel.packets import ACK, FIN, RST, SYN, Payload, icmp, ping, pong, sctp, tcp, udp

FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
DENIED = DropReason.POLICY_DENIED


def address(container: object, v6: bool) -> str:
    return str(getattr(container, "ipv6" if v6 else "ipv4"))


class TestOneEntry:
    @FAMILIES
    @pytest.mark.parametrize("opener", [A, B], ids=["from the low end", "from the high end"])
    def test_serves_both_directions_and_knows_who_opened(self, node: Node, opener: object, v6: bool) -> None:
        one, other = (A, B) if opener is A else (B, A)
        node.send(one, address(other, v6), tcp(4000, 80, SYN))
        node.send(other, address(one, v6), tcp(80, 4000, SYN | ACK))
        node.send(one, address(other, v6), tcp(4000, 80, data=b"request"))
        flow = node.flow()
        assert (str(flow.source), flow.source_port) == (address(one, v6), 4000)
        assert (str(flow.destination), flow.destination_port, flow.policy_port) == (
            address(other, v6),
            80,
            80,
        )
        assert (flow.source_identity, flow.destination_identity) == (one.identity, other.identity)
        head = 74 if v6 else 54
        assert (flow.origin_packets, flow.origin_bytes) == (2, 2 * head + 7)
        assert (flow.reply_packets, flow.reply_bytes) == (1, head)
        assert flow.flags & CtFlag.SEEN_REPLY

    @FAMILIES
    def test_is_made_whichever_port_is_higher(self, node: Node, v6: bool) -> None:
        for ports in ((80, 4000), (4000, 80), (123, 123)):
            node.send(A, address(B, v6), tcp(*ports, SYN))
            node.send(B, address(A, v6), tcp(*reversed(ports), SYN | ACK))
        assert len(node.flows()) == 3
        assert all(flow.reply_packets == 1 for flow in node.flows())

    @pytest.mark.parametrize("peer", ["2001:db8::2", "fe00::2", "fcff::2"])
    @pytest.mark.parametrize("ports", [(4000, 80), (80, 4000), (123, 123)])
    def test_is_made_where_only_the_upper_halves_of_addresses_differ(
        self, node: Node, peer: str, ports: tuple[int, int]
    ) -> None:
        node.send(A, peer, tcp(*ports, SYN))
        node.receive(A, peer, tcp(*reversed(ports), SYN | ACK))
        flow = node.flow()
        assert (str(flow.source), str(flow.destination), flow.reply_packets) == (A.ipv6, peer, 1)

    def test_is_of_one_protocol(self, node: Node) -> None:
        for payload in (tcp(4000, 80, SYN), udp(4000, 80), sctp(4000, 80)):
            node.send(A, B.ipv4, payload)
        assert sorted(flow.protocol for flow in node.flows()) == [6, 17, 132]

    def test_tells_its_first_packet_only(self, node: Node) -> None:
        first = node.send(A, B.ipv4, tcp(4000, 80, SYN))
        assert first.event
        assert (first.event.source_identity, first.event.destination_identity) == (A.identity, B.identity)
        assert (first.event.endpoint, first.event.tcp_flags, first.event.is_reply) == (A.number, SYN, False)
        assert node.send(B, A.ipv4, tcp(80, 4000, SYN | ACK)).event is None
        assert node.send(A, B.ipv4, tcp(4000, 80)).event is None


class TestLifetime:
    def left(self, node: Node) -> float:
        return round(node.flow().expires_ns / 1e9 - time.monotonic(), 1)

    STORIES = {
        "a SYN": ([(A, SYN)], 60),
        "an established connection": ([(A, SYN), (B, SYN | ACK), (A, ACK)], 8000),
        "one that one end has closed": ([(A, SYN), (B, SYN | ACK), (A, FIN | ACK)], 8000),
        "one that both have closed": ([(A, SYN), (B, SYN | ACK), (A, FIN | ACK), (B, FIN | ACK)], 10),
        "one that its opener resets": ([(A, SYN), (B, SYN | ACK), (A, RST)], 10),
        "one that is refused": ([(A, SYN), (B, RST | ACK)], 10),
        "one seen late": ([(A, ACK)], 60),
    }

    @pytest.mark.parametrize(("packets", "seconds"), STORIES.values(), ids=STORIES.keys())
    def test_of_tcp(self, node: Node, packets: list[tuple[object, int]], seconds: float) -> None:
        for sender, flags in packets:
            outcome = (
                node.send(A, B.ipv4, tcp(4000, 80, flags))
                if sender is A
                else node.send(B, A.ipv4, tcp(80, 4000, flags))
            )
            assert outcome.passed
        assert self.left(node) == pytest.approx(seconds, abs=0.6)

    @pytest.mark.parametrize("payload", [udp(4000, 80), sctp(4000, 80), ping(3)], ids=["UDP", "SCTP", "ping"])
    def test_of_the_others(self, node: Node, payload: Payload) -> None:
        node.send(A, B.ipv4, payload)
        assert self.left(node) == pytest.approx(60, abs=0.6)

    def test_starts_again_with_every_packet(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 80))
        node.let_pass(50)
        assert self.left(node) == pytest.approx(10, abs=0.6)
        node.send(B, A.ipv4, udp(80, 4000))
        assert self.left(node) == pytest.approx(60, abs=0.6)

    def test_is_written_only_where_it_moves_by_more_than_a_second(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 80))
        node.let_pass(0.9)
        before = node.flow().expires_ns
        node.send(A, B.ipv4, udp(4000, 80))
        assert node.flow().expires_ns == before

    @FAMILIES
    def test_ends(self, node: Node, v6: bool) -> None:
        node.allow(A, SEALED)
        node.send(A, address(B, v6), udp(4000, 80))
        node.let_pass(59)
        assert node.send(B, address(A, v6), udp(80, 4000)).passed
        node.let_pass(61)
        assert node.send(B, address(A, v6), udp(80, 4000)).reason is DENIED


class TestAnswers:
    @FAMILIES
    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            (tcp(4000, 80, SYN), tcp(80, 4000, SYN | ACK)),
            (udp(4000, 53), udp(53, 4000)),
            (sctp(7, 9), sctp(9, 7)),
        ],
        ids=["TCP", "UDP", "SCTP"],
    )
    def test_need_no_permission(self, node: Node, question: Payload, answer: Payload, v6: bool) -> None:
        node.allow(A, SEALED)
        assert node.send(B, address(A, v6), answer).reason is DENIED
        node.send(A, address(B, v6), question)
        assert node.send(B, address(A, v6), answer).passed

    @FAMILIES
    def test_to_a_ping_need_no_permission(self, node: Node, v6: bool) -> None:
        node.allow(A, SEALED)
        assert node.send(B, address(A, v6), pong(7, v6=v6)).reason is DENIED
        node.send(A, address(B, v6), ping(7, v6=v6))
        assert node.send(B, address(A, v6), pong(7, v6=v6)).passed
        assert node.send(B, address(A, v6), pong(8, v6=v6)).reason is DENIED

    @FAMILIES
    def test_a_question_is_no_answer(self, node: Node, v6: bool) -> None:
        """B may answer A's ping and A's connection, not use their ports to ask A something."""
        node.allow(A, SEALED)
        node.send(A, address(B, v6), ping(7, v6=v6))
        assert node.send(B, address(A, v6), ping(7, v6=v6)).reason is DENIED
        assert node.send(B, address(A, v6), pong(7, v6=v6)).passed, "and A's ping is none the worse for it"
        node.send(A, address(B, v6), tcp(4000, 80, SYN))
        node.send(B, address(A, v6), tcp(80, 4000, SYN | ACK))
        assert node.send(B, address(A, v6), tcp(80, 4000, SYN)).reason is DENIED
        assert node.send(B, address(A, v6), tcp(80, 4000, ACK)).passed

    @FAMILIES
    def test_an_answer_nobody_asked_for_opens_no_door_for_questions(self, node: Node, v6: bool) -> None:
        node.allow(A, SEALED)
        node.send(A, address(B, v6), pong(7, v6=v6))
        assert node.send(B, address(A, v6), ping(7, v6=v6)).reason is DENIED

    @FAMILIES
    def test_two_pings_with_one_identifier_do_not_disturb_each_other(self, node: Node, v6: bool) -> None:
        for _ in range(2):
            for one, other in ((A, B), (B, A)):
                node.send(one, address(other, v6), ping(1, v6=v6))
                node.send(other, address(one, v6), pong(1, v6=v6))
        assert sorted(flow.origin_packets for flow in node.flows()) == [2, 2]
        assert sorted(flow.reply_packets for flow in node.flows()) == [2, 2]

    def test_other_queries_are_asked_for_one_by_one(self, node: Node) -> None:
        node.allow(A, SEALED)
        assert node.send(A, B.ipv4, icmp(13)).passed
        for kind in (13, 14, 15, 17):
            assert node.send(B, A.ipv4, icmp(kind)).reason is DENIED

    def test_of_another_port_are_none(self, node: Node) -> None:
        node.allow(A, SEALED)
        node.send(A, B.ipv4, udp(4000, 53))
        for ports in ((54, 4000), (53, 4001), (4000, 53)):
            assert node.send(B, A.ipv4, udp(*ports)).reason is DENIED
        assert node.send(B, A.ipv4, tcp(53, 4000)).reason is DENIED


class TestPortsUsedAgain:
    def closed(self, node: Node) -> None:
        for sender, target, payload in (
            (A, B, tcp(4000, 80, SYN)),
            (B, A, tcp(80, 4000, SYN | ACK)),
            (A, B, tcp(4000, 80, FIN | ACK)),
            (B, A, tcp(80, 4000, FIN | ACK)),
        ):
            node.send(sender, target.ipv4, payload)

    def test_the_last_acknowledgement_still_passes(self, node: Node) -> None:
        self.closed(node)
        assert node.send(A, B.ipv4, tcp(4000, 80)).event is None

    def test_a_new_connection_is_judged_and_told(self, node: Node) -> None:
        self.closed(node)
        outcome = node.send(A, B.ipv4, tcp(4000, 80, SYN))
        assert outcome.passed
        assert outcome.event
        flow = node.flow()
        assert (flow.origin_packets, flow.reply_packets) == (1, 0)
        assert not flow.flags & (CtFlag.ORIGIN_FIN | CtFlag.REPLY_FIN | CtFlag.SEEN_REPLY)

    def test_also_in_the_other_direction(self, node: Node) -> None:
        self.closed(node)
        node.send(B, A.ipv4, tcp(80, 4000, SYN))
        assert str(node.flow().source) == B.ipv4


def test_flows_with_the_world_are_followed_on_both_programs(node: Node) -> None:
    node.allow(A, SEALED)
    for world in (WORLD4, WORLD6):
        assert node.receive(A, world, tcp(443, 4000, SYN | ACK)).reason is DENIED
        node.send(A, world, tcp(4000, 443, SYN))
        assert node.receive(A, world, tcp(443, 4000, SYN | ACK)).passed
        assert node.receive(A, world, tcp(444, 4000, SYN | ACK)).reason is DENIED


def test_a_full_table_gives_up_its_oldest_flows(node: Node) -> None:
    for port in range(6000):
        frame = node.frame(A, B.ipv4, udp(1024 + port, 80))
        assert node.run_unread("from_container", frame, context(A.number)).result == Action.REDIRECT
    assert 2000 < len(node.flows()) <= 4096
