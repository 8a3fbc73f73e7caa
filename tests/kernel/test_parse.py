"""What the programs make of headers: every packet is understood or dropped with a reason.

BPF_PROG_TEST_RUN takes no frame that ends inside its IP header; those are sent over a wire in
test_network.py.
"""

from __future__ import annotations

import struct

import pytest

from model.flow import DropReason
from tests.kernel.harness import WORLD4, WORLD6, A, B, Node
from tests.kernel.packets import (
    DESTINATION,
    GATEWAY_MAC,
    HOP_BY_HOP,
    IPV4,
    IPV6,
    MORE,
    NO_NEXT,
    QINQ,
    ROUTING,
    TCP,
    VLAN,
    ethernet,
    extension,
    fragment6,
    icmp,
    ipv4,
    ipv6,
    ping,
    sctp,
    tcp,
    udp,
)


def from_a(kind: int, packet: bytes, tag: bytes = b"") -> bytes:
    return ethernet(kind, packet, source=A.mac, tag=tag)


def four(payload: tuple[int, bytes], **fields: object) -> bytes:
    return from_a(IPV4, ipv4(A.ipv4, B.ipv4, payload, **fields))  # type: ignore[arg-type]


def six(payload: tuple[int, bytes], **fields: object) -> bytes:
    return from_a(IPV6, ipv6(A.ipv6, B.ipv6, payload, **fields))  # type: ignore[arg-type]


GOOD = {
    "TCP": four(tcp(4000, 80)),
    "TCP with options": four(tcp(4000, 80, data=bytes(40), words=15)),
    "UDP": four(udp(4000, 53, b"question")),
    "UDP without data": four(udp(4000, 53)),
    "SCTP": four(sctp(4000, 80)),
    "ping": four(ping(7)),
    "IPv4 options": four(tcp(4000, 80), options=bytes(40)),
    "padding behind a short packet": four(udp(4000, 53)) + bytes(18),
    "TCP over IPv6": six(tcp(4000, 80)),
    "UDP over IPv6": six(udp(4000, 53)),
    "SCTP over IPv6": six(sctp(4000, 80)),
    "ping over IPv6": six(ping(7, v6=True)),
    "hop-by-hop options": six(extension(HOP_BY_HOP, tcp(4000, 80))),
    "destination options": six(extension(DESTINATION, udp(4000, 80), words=3)),
    "four extension headers": six(
        extension(
            HOP_BY_HOP,
            extension(DESTINATION, extension(DESTINATION, extension(DESTINATION, tcp(4000, 80)))),
        )
    ),
    "a fragment header that is none": six(fragment6(udp(4000, 53))),
}


@pytest.mark.parametrize("frame", GOOD.values(), ids=GOOD.keys())
def test_it_is_understood(node: Node, frame: bytes) -> None:
    outcome = node.send_frame(A, frame)
    assert outcome.passed
    assert outcome.event
    assert outcome.event.destination_port in (80, 53, 0)


BAD = {
    "IPv4 that says version 6": (four(tcp(1, 2), version=6), DropReason.INVALID_PACKET),
    "an IPv4 header of 4 words": (four(tcp(1, 2), header=4), DropReason.INVALID_PACKET),
    "an IPv4 header longer than the packet": (four(tcp(1, 2), header=15), DropReason.INVALID_PACKET),
    "IPv4 longer than the frame": (four(tcp(1, 2), length=41), DropReason.INVALID_PACKET),
    "IPv4 shorter than its header": (four(tcp(1, 2), length=19), DropReason.INVALID_PACKET),
    "IPv4 that says length 0": (four(tcp(1, 2), length=0), DropReason.INVALID_PACKET),
    "IPv6 that says version 4": (six(tcp(1, 2), version=4), DropReason.INVALID_PACKET),
    "IPv6 longer than the frame": (six(tcp(1, 2), length=21), DropReason.INVALID_PACKET),
    "half a TCP header": (four((TCP, tcp(1, 2)[1][:12])), DropReason.CT_TRUNCATED_HEADER),
    "a TCP header in the padding": (four(tcp(1, 2), length=20), DropReason.CT_TRUNCATED_HEADER),
    "a TCP header of 4 words": (four(tcp(1, 2, words=4)), DropReason.CT_TRUNCATED_HEADER),
    "TCP options that are cut off": (four(tcp(1, 2, words=6)), DropReason.CT_TRUNCATED_HEADER),
    "half a UDP header": (four((17, bytes(7))), DropReason.CT_TRUNCATED_HEADER),
    "UDP that says length 7": (four(udp(1, 2, length=7)), DropReason.CT_TRUNCATED_HEADER),
    "UDP longer than the packet": (four(udp(1, 2, length=9)), DropReason.CT_TRUNCATED_HEADER),
    "half an SCTP header": (four((132, bytes(11))), DropReason.CT_TRUNCATED_HEADER),
    "half an ICMP header": (four((1, bytes(7))), DropReason.CT_TRUNCATED_HEADER),
    "half an ICMPv6 header": (six((58, b"\x80" + bytes(6))), DropReason.CT_TRUNCATED_HEADER),
    "half a TCP header over IPv6": (six((TCP, bytes(19))), DropReason.CT_TRUNCATED_HEADER),
    "IP in IP": (four((4, bytes(40))), DropReason.UNKNOWN_L4_PROTOCOL),
    "GRE": (four((47, bytes(40))), DropReason.UNKNOWN_L4_PROTOCOL),
    "ESP over IPv6": (six((50, bytes(40))), DropReason.UNKNOWN_L4_PROTOCOL),
    "ICMPv6 over IPv4": (four(ping(1, v6=True)), DropReason.UNKNOWN_L4_PROTOCOL),
    "ICMP over IPv6": (six(ping(1)), DropReason.UNKNOWN_L4_PROTOCOL),
    "no next header": (six((NO_NEXT, bytes(8))), DropReason.UNKNOWN_L4_PROTOCOL),
    "a routing header": (six(extension(ROUTING, tcp(1, 2))), DropReason.ROUTING_HEADER),
    "a routing header behind options": (
        six(extension(HOP_BY_HOP, extension(ROUTING, tcp(1, 2)))),
        DropReason.ROUTING_HEADER,
    ),
    "five extension headers": (
        six(
            extension(
                DESTINATION,
                extension(
                    DESTINATION,
                    extension(DESTINATION, extension(DESTINATION, extension(DESTINATION, tcp(1, 2)))),
                ),
            )
        ),
        DropReason.INVALID_EXTENSION_HEADER,
    ),
    "hop-by-hop options that are not first": (
        six(extension(DESTINATION, extension(HOP_BY_HOP, tcp(1, 2)))),
        DropReason.INVALID_EXTENSION_HEADER,
    ),
    "an extension header that is cut off": (
        six((DESTINATION, bytes(7))),
        DropReason.INVALID_EXTENSION_HEADER,
    ),
    "an extension header past the end": (
        six((DESTINATION, struct.pack("!BB6x", TCP, 200))),
        DropReason.CT_TRUNCATED_HEADER,
    ),
    "options behind a fragment header": (
        six(fragment6(extension(DESTINATION, tcp(1, 2)), more=True)),
        DropReason.UNKNOWN_L4_PROTOCOL,
    ),
    "a TCP header in two fragments": (
        four((TCP, tcp(1, 2)[1][:16]), fragment=MORE),
        DropReason.CT_TRUNCATED_HEADER,
    ),
    "a VLAN tag": (
        from_a(IPV4, ipv4(A.ipv4, B.ipv4, tcp(1, 2)), struct.pack("!HH", VLAN, 5)),
        DropReason.VLAN,
    ),
    "a provider's tag": (
        from_a(IPV4, ipv4(A.ipv4, B.ipv4, tcp(1, 2)), struct.pack("!HH", QINQ, 5)),
        DropReason.VLAN,
    ),
    "802.3 with a length": (from_a(46, bytes(46)), DropReason.UNSUPPORTED_L3),
    "MPLS": (from_a(0x8847, bytes(46)), DropReason.UNSUPPORTED_L3),
    "PPPoE": (from_a(0x8864, bytes(46)), DropReason.UNSUPPORTED_L3),
    "RARP": (from_a(0x8035, bytes(46)), DropReason.UNSUPPORTED_L3),
    "a router solicitation over IPv4": (four(icmp(10)), DropReason.NEIGHBOUR_FORBIDDEN),
    "a redirect over IPv4": (four(icmp(5)), DropReason.NEIGHBOUR_FORBIDDEN),
}


@pytest.mark.parametrize(("frame", "reason"), BAD.values(), ids=BAD.keys())
def test_it_is_dropped_with_a_reason(node: Node, frame: bytes, reason: DropReason) -> None:
    assert node.send_frame(A, frame).reason is reason
    assert not node.flows()


@pytest.mark.parametrize(
    ("frame", "least"), [(four(tcp(4000, 80)), 34), (six(tcp(4000, 80)), 54)], ids=["IPv4", "IPv6"]
)
def test_a_packet_that_ends_too_early_is_never_let_through(node: Node, frame: bytes, least: int) -> None:
    for end in range(least, len(frame)):
        assert not node.send_frame(A, frame[:end]).passed


def test_the_host_s_stack_s_packets_are_read_the_same_way(node: Node) -> None:
    for source in (WORLD4, WORLD6):
        packet = ipv6(WORLD6, A.ipv6, tcp(1, 2)) if source == WORLD6 else ipv4(WORLD4, A.ipv4, tcp(1, 2))
        frame = ethernet(IPV6 if source == WORLD6 else IPV4, packet, source=GATEWAY_MAC, destination=A.mac)
        assert node.receive_frame(A, frame).passed
        for end in range(len(frame) - 20, len(frame)):
            assert not node.receive_frame(A, frame[:end]).passed
