"""Fragments: later ones go where their first went, and nowhere without it."""

from __future__ import annotations

import pytest

from model.flow import Direction, DropReason
from policy.mapstate import PolicyEntry, PolicyKey
from tests.kernel.harness import SEALED, WORLD4, WORLD6, A, B, Node, Outcome
from tests.kernel.packets import (
    GATEWAY_MAC,
    IPV4,
    IPV6,
    MORE,
    SYN,
    Payload,
    ethernet,
    fragment6,
    icmp,
    ipv4,
    ipv6,
    ping,
    tcp,
    udp,
)

LOST = DropReason.FRAGMENT_NOT_FOUND
FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
BIG = udp(4000, 53, bytes(1000), length=3008)
REST: Payload = (17, bytes(1000))


def fragment(
    source: str, destination: str, payload: Payload, *, offset: int = 0, more: bool = True, id: int = 1
) -> tuple[int, bytes]:
    """EtherType and packet; `offset` in units of 8 bytes."""
    if ":" in source:
        return IPV6, ipv6(source, destination, fragment6(payload, offset=offset, more=more, id=id))
    return IPV4, ipv4(source, destination, payload, id=id, fragment=offset | (MORE if more else 0))


def from_a(node: Node, v6: bool, payload: Payload, **fields: int) -> Outcome:
    source, destination = (A.ipv6, B.ipv6) if v6 else (A.ipv4, B.ipv4)
    return node.send_frame(A, ethernet(*fragment(source, destination, payload, **fields), source=A.mac))


@FAMILIES
@pytest.mark.parametrize("payload", [BIG, ping(7), tcp(4000, 80, SYN)], ids=["UDP", "ping", "TCP"])
def test_a_datagram_in_three_pieces_passes(node: Node, payload: Payload, v6: bool) -> None:
    if v6 and payload[0] == 1:
        payload = ping(7, v6=True)
    rest = (payload[0], bytes(1000))
    assert from_a(node, v6, payload).passed
    middle = from_a(node, v6, rest, offset=126)
    assert middle.passed
    assert middle.event is None
    assert from_a(node, v6, rest, offset=251, more=False).passed
    assert node.flow().origin_packets == 3


@FAMILIES
def test_a_later_fragment_without_its_first_is_dropped(node: Node, v6: bool) -> None:
    assert from_a(node, v6, REST, offset=126).reason is LOST
    from_a(node, v6, BIG)
    assert from_a(node, v6, REST, offset=126, id=2).reason is LOST, "of another datagram"
    assert from_a(node, v6, (6, REST[1]), offset=126).reason is LOST, "of another protocol"
    assert from_a(node, v6, REST, offset=126).passed


@FAMILIES
def test_identifiers_are_of_one_protocol(node: Node, v6: bool) -> None:
    question = ping(7, v6=v6)
    from_a(node, v6, BIG)
    from_a(node, v6, question)
    assert from_a(node, v6, REST, offset=126).passed
    assert from_a(node, v6, (question[0], REST[1]), offset=126).passed
    assert [flow.origin_packets for flow in node.flows()] == [2, 2]


@FAMILIES
def test_nor_does_a_later_fragment_pass_where_its_first_did_not(node: Node, v6: bool) -> None:
    node.allow(B, SEALED)
    assert from_a(node, v6, BIG).reason is DropReason.POLICY_DENIED
    assert from_a(node, v6, REST, offset=126).reason is LOST
    assert not node.flows()


@FAMILIES
def test_a_later_fragment_opens_no_flow(node: Node, v6: bool) -> None:
    from_a(node, v6, BIG)
    node.let_pass(100)
    assert from_a(node, v6, REST, offset=126).reason is LOST


@FAMILIES
def test_a_rule_that_goes_stops_the_rest_of_a_datagram(node: Node, v6: bool) -> None:
    from_a(node, v6, BIG)
    node.allow(B, SEALED)
    assert from_a(node, v6, REST, offset=126).reason is DropReason.POLICY_DENIED


@FAMILIES
def test_the_second_first_fragment_is_judged_by_its_own_ports(node: Node, v6: bool) -> None:
    """An allowed first fragment does not vouch for another with its identifier."""
    node.allow(B, {PolicyKey(Direction.INGRESS, 0, 17, 53, 16): PolicyEntry()})
    assert from_a(node, v6, BIG).passed
    forbidden = udp(4000, 54, bytes(1000), length=3008)
    assert from_a(node, v6, forbidden).reason is DropReason.POLICY_DENIED
    assert from_a(node, v6, REST, offset=126).passed, "and the first one is still whole"


def test_fragments_of_another_container_are_its_own(node: Node) -> None:
    from_a(node, False, BIG)
    frame = ethernet(*fragment(B.ipv4, A.ipv4, REST, offset=126), source=B.mac)
    assert node.send_frame(B, frame).reason is LOST


@FAMILIES
def test_fragments_from_the_world(node: Node, v6: bool) -> None:
    world, own = (WORLD6, A.ipv6) if v6 else (WORLD4, A.ipv4)

    def arrive(payload: Payload, offset: int) -> Outcome:
        packet = fragment(world, own, payload, offset=offset)
        return node.receive_frame(A, ethernet(*packet, source=GATEWAY_MAC, destination=A.mac))

    assert arrive(REST, 126).reason is LOST
    assert arrive(udp(53, 4000, bytes(1000), length=3008), 0).passed
    assert arrive(REST, 126).passed


@pytest.mark.parametrize("kept", range(0, 20, 4))
def test_a_first_fragment_without_its_whole_header_is_dropped(node: Node, kept: int) -> None:
    for v6 in (False, True):
        tiny = from_a(node, v6, (6, tcp(4000, 80, SYN)[1][:kept]))
        assert tiny.reason is DropReason.CT_TRUNCATED_HEADER
        assert from_a(node, v6, (6, tcp(4000, 80, SYN)[1][8:]), offset=1, more=False).reason is LOST


def test_an_error_about_one_is_not_taken_for_a_first_fragment(node: Node) -> None:
    assert from_a(node, False, icmp(3, data=bytes(28))).reason is DropReason.ICMP_UNRELATED
    assert from_a(node, False, (1, bytes(1000)), offset=126).reason is LOST


def test_the_oldest_are_forgotten_first(node: Node) -> None:
    for id in range(1000):
        assert from_a(node, False, BIG, id=id).passed
    assert from_a(node, False, REST, offset=126, id=999).passed
    assert from_a(node, False, REST, offset=126, id=0).reason is LOST
