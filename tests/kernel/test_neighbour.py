"""The gateway answers for every address but the container's own, and nothing else of the kind passes."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest

from model.flow import DropReason
from tests.kernel.harness import WORLD4, A, Action, B, Node
from tests.kernel.packets import (
    ARP,
    BROADCAST_MAC,
    GATEWAY_MAC,
    HOP_BY_HOP,
    IPV6,
    Payload,
    arp,
    checksum6,
    ethernet,
    extension,
    fragment6,
    icmp,
    ipv6,
    mac,
    solicitation,
    source_mac,
)

FORBIDDEN = DropReason.NEIGHBOUR_FORBIDDEN
GROUP_MAC = "33:33:ff:00:00:03"
GATEWAY6 = "fd00::1"


def ask(packet: bytes, destination: str = BROADCAST_MAC) -> bytes:
    return ethernet(ARP, packet, source=A.mac, destination=destination)


@pytest.mark.parametrize("wanted", ["10.200.1.1", B.ipv4, "10.200.1.200", WORLD4])
@pytest.mark.parametrize("sender", [A.ipv4, "0.0.0.0"], ids=["question", "probe"])
def test_an_arp_request_is_answered(node: Node, wanted: str, sender: str) -> None:
    outcome = node.send_frame(A, ask(arp(1, A.mac, sender, wanted)))
    assert outcome.action is Action.REDIRECT
    assert outcome.data == ethernet(
        ARP, arp(2, GATEWAY_MAC, wanted, sender, target_mac=A.mac), source=GATEWAY_MAC, destination=A.mac
    )
    assert outcome.event is None


def changed(packet: bytes, offset: int, value: bytes) -> bytes:
    return packet[:offset] + value + packet[offset + len(value) :]


REQUEST = arp(1, A.mac, A.ipv4, B.ipv4)
ARPS = {
    "its own address": (arp(1, A.mac, A.ipv4, A.ipv4), FORBIDDEN),
    "whether its own address is free": (arp(1, A.mac, "0.0.0.0", A.ipv4), FORBIDDEN),
    "a reply": (arp(2, A.mac, A.ipv4, B.ipv4, target_mac=B.mac), FORBIDDEN),
    "a reply for another's address": (arp(2, A.mac, B.ipv4, A.ipv4, target_mac=B.mac), FORBIDDEN),
    "with another's address": (arp(1, A.mac, B.ipv4, "10.200.1.1"), DropReason.INVALID_SOURCE_IP),
    "with another's MAC address": (arp(1, B.mac, A.ipv4, "10.200.1.1"), DropReason.INVALID_SOURCE_MAC),
    "cut off": (REQUEST[:27], DropReason.INVALID_PACKET),
    "of another hardware": (changed(REQUEST, 0, b"\0\6"), DropReason.INVALID_PACKET),
    "of another protocol": (changed(REQUEST, 2, b"\x86\xdd"), DropReason.INVALID_PACKET),
    "with long hardware addresses": (changed(REQUEST, 4, b"\x08"), DropReason.INVALID_PACKET),
    "with long protocol addresses": (changed(REQUEST, 5, b"\x10"), DropReason.INVALID_PACKET),
}


@pytest.mark.parametrize(("packet", "reason"), ARPS.values(), ids=ARPS.keys())
def test_arp_that_is_not_answered(node: Node, packet: bytes, reason: DropReason) -> None:
    assert node.send_frame(A, ask(packet)).reason is reason


def test_arp_in_another_s_frame_is_not_answered(node: Node) -> None:
    frame = ethernet(ARP, REQUEST, source=B.mac, destination=BROADCAST_MAC)
    assert node.send_frame(A, frame).reason is DropReason.INVALID_SOURCE_MAC


def solicit(
    payload: Payload, *, source: str = A.ipv6, destination: str = "ff02::1:ff00:3", hop_limit: int = 255
) -> bytes:
    packet = ipv6(source, destination, payload, hop_limit=hop_limit)
    return ethernet(IPV6, packet, source=A.mac, destination=GROUP_MAC)


@pytest.mark.parametrize("source", [A.ipv6, "fe80::42:aff:fec8:102"])
@pytest.mark.parametrize("wanted", [GATEWAY6, B.ipv6, "2001:db8::99", "fe80::1"])
@pytest.mark.parametrize("option", [source_mac(A.mac), b""], ids=["with MAC", "without"])
def test_a_solicitation_is_answered(node: Node, source: str, wanted: str, option: bytes) -> None:
    outcome = node.send_frame(A, solicit(solicitation(wanted, option), source=source))
    assert outcome.action is Action.REDIRECT
    assert outcome.data[:14] == mac(A.mac) + mac(GATEWAY_MAC) + struct.pack("!H", IPV6)
    packet = outcome.data[14:]
    assert (packet[7], packet[8:24], packet[24:40]) == (
        255,
        IPv6Address(wanted).packed,
        IPv6Address(source).packed,
    )
    kind, code, _, flags, target = struct.unpack("!BBHI16s", packet[40:64])
    assert (kind, code, flags, target) == (136, 0, 0x60000000, IPv6Address(wanted).packed)
    assert packet[64:] == (struct.pack("!BB", 2, 1) + mac(GATEWAY_MAC) if option else b"")
    assert checksum6(packet) == 0


QUESTION = solicitation(B.ipv6, source_mac(A.mac))
SOLICITATIONS = {
    "its own address": (solicit(solicitation(A.ipv6, source_mac(A.mac))), FORBIDDEN),
    "whether its own address is free": (solicit(solicitation(A.ipv6), source="::"), FORBIDDEN),
    "whether its link-local address is free": (solicit(solicitation("fe80::42"), source="::"), FORBIDDEN),
    "whether another's address is free": (solicit(solicitation(B.ipv6), source="::"), FORBIDDEN),
    "a group": (solicit(solicitation("ff02::1", source_mac(A.mac))), FORBIDDEN),
    "from another's address": (solicit(QUESTION, source=B.ipv6), DropReason.INVALID_SOURCE_IP),
    "from a router away": (solicit(QUESTION, hop_limit=254), FORBIDDEN),
    "with a code": (solicit(solicitation(B.ipv6, code=1)), FORBIDDEN),
    "with two options": (solicit(solicitation(B.ipv6, source_mac(A.mac) * 2)), FORBIDDEN),
    "cut off": (solicit((58, QUESTION[1][:20])), FORBIDDEN),
    "behind options": (solicit(extension(HOP_BY_HOP, QUESTION)), FORBIDDEN),
    "in fragments": (solicit(fragment6(QUESTION, more=True)), FORBIDDEN),
    "an advertisement": (solicit(solicitation(A.ipv6, kind=136)), FORBIDDEN),
    "an advertisement to one": (solicit(solicitation(A.ipv6, kind=136), destination=B.ipv6), FORBIDDEN),
    "a redirect": (solicit(solicitation(A.ipv6, kind=137)), FORBIDDEN),
    "a router solicitation": (solicit(icmp(133, v6=True), destination="ff02::2"), FORBIDDEN),
    "a router solicitation without address": (
        solicit(icmp(133, v6=True), source="::", destination="ff02::2"),
        FORBIDDEN,
    ),
    "a router advertisement": (solicit(icmp(134, v6=True, data=bytes(40)), destination="ff02::1"), FORBIDDEN),
    "a group report": (
        solicit(extension(HOP_BY_HOP, icmp(143, v6=True)), source="::", destination="ff02::16", hop_limit=1),
        FORBIDDEN,
    ),
    "a group query": (solicit(icmp(130, v6=True, data=bytes(16)), destination="ff02::1"), FORBIDDEN),
    "data from a link-local address": (
        solicit((17, bytes(8)), source="fe80::42", destination=B.ipv6),
        DropReason.INVALID_SOURCE_IP,
    ),
}


@pytest.mark.parametrize(("frame", "reason"), SOLICITATIONS.values(), ids=SOLICITATIONS.keys())
def test_what_is_not_answered(node: Node, frame: bytes, reason: DropReason) -> None:
    assert node.send_frame(A, frame).reason is reason


class TestTowardsTheContainer:
    """Answers leave through the interface that their question came in by; nothing else has that mark."""

    def test_answers_pass(self, node: Node) -> None:
        for question in (ask(REQUEST), solicit(QUESTION)):
            answer = node.send_frame(A, question).data
            assert node.receive_frame(A, answer, origin=A.number).passed

    def test_all_else_does_not(self, node: Node) -> None:
        for question in (ask(REQUEST), solicit(QUESTION)):
            answer = node.send_frame(A, question).data
            for origin in (0, B.number, 20, 21):
                assert node.receive_frame(A, answer, origin=origin).reason is FORBIDDEN

    def test_routers_of_the_world_are_not_heard(self, node: Node) -> None:
        packet = ipv6("2001:db8:ffff::1", A.ipv6, icmp(134, v6=True, data=bytes(40)), hop_limit=255)
        frame = ethernet(IPV6, packet, source=GATEWAY_MAC, destination=A.mac)
        assert node.receive_frame(A, frame).reason is FORBIDDEN
