"""A container speaks for itself only, and to nobody who cannot be elsewhere."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from agent.carried import refusal
from model.flow import DropReason
from tests.kernel.harness import HOST4, HOST6, OTHER, WORLD4, WORLD6, A, Action, B, Node
from tests.kernel.packets import BROADCAST_MAC, GATEWAY_MAC, IPV4, IPV6, Payload, ethernet, ip, ipv4, tcp, udp

DATA = udp(4000, 53)
MAC, IP = DropReason.INVALID_SOURCE_MAC, DropReason.INVALID_SOURCE_IP
MARTIAN, MULTICAST = DropReason.MARTIAN, DropReason.MULTICAST

SENT = {
    "its own address": (A.ipv4, B.ipv4, DropReason.NONE),
    "its own IPv6 address": (A.ipv6, B.ipv6, DropReason.NONE),
    "another container's address": (B.ipv4, WORLD4, IP),
    "another container's IPv6 address": (B.ipv6, WORLD6, IP),
    "the target's own address": (B.ipv4, B.ipv4, IP),
    "the host's address": (HOST4, B.ipv4, IP),
    "the host's IPv6 address": (HOST6, B.ipv6, IP),
    "an address that is free": ("10.200.1.77", B.ipv4, IP),
    "an address of the world": (WORLD4, B.ipv4, IP),
    "no address": ("0.0.0.0", B.ipv4, IP),
    "no address, to all": ("0.0.0.0", "255.255.255.255", IP),
    "no IPv6 address": ("::", B.ipv6, IP),
    "loopback": ("127.0.0.1", B.ipv4, IP),
    "IPv6 loopback": ("::1", B.ipv6, IP),
    "a link-local address": ("fe80::1", B.ipv6, IP),
    "its IPv4 address in IPv6": (f"::ffff:{A.ipv4}", B.ipv6, IP),
    "a group's address": ("224.0.0.1", B.ipv4, IP),
    "to itself": (A.ipv4, A.ipv4, MARTIAN),
    "to itself by IPv6": (A.ipv6, A.ipv6, MARTIAN),
    "to loopback": (A.ipv4, "127.0.0.1", MARTIAN),
    "to the last of loopback": (A.ipv4, "127.255.255.255", MARTIAN),
    "to IPv6 loopback": (A.ipv6, "::1", MARTIAN),
    "to this network": (A.ipv4, "0.1.2.3", MARTIAN),
    "to no address": (A.ipv4, "0.0.0.0", MARTIAN),
    "to no IPv6 address": (A.ipv6, "::", MARTIAN),
    "to IPv4 in IPv6": (A.ipv6, f"::ffff:{B.ipv4}", MARTIAN),
    "to nearly IPv4 in IPv6": (A.ipv6, "::1:0:1", DropReason.NONE),
    "to a reserved address": (A.ipv4, "240.0.0.1", DropReason.NONE),
    "to a link-local address": (A.ipv6, "fe80::1", MARTIAN),
    "to the last link-local address": (A.ipv6, "febf:ffff::1", MARTIAN),
    "to a site-local address": (A.ipv6, "fec0::1", DropReason.NONE),
    "to the address of cloud metadata": (A.ipv4, "169.254.169.254", DropReason.NONE),
    "to a group": (A.ipv4, "224.0.0.251", MULTICAST),
    "to the last group": (A.ipv4, "239.255.255.250", MULTICAST),
    "to all": (A.ipv4, "255.255.255.255", MULTICAST),
    "to an IPv6 group": (A.ipv6, "ff02::fb", MULTICAST),
    "to a global IPv6 group": (A.ipv6, "ff0e::1", MULTICAST),
}


@pytest.mark.parametrize(("source", "destination", "reason"), SENT.values(), ids=SENT.keys())
def test_addresses_of_what_is_sent(node: Node, source: str, destination: str, reason: DropReason) -> None:
    outcome = node.send_frame(A, ethernet(*ip(source, destination, DATA), source=A.mac))
    assert outcome.reason is reason
    if not outcome.passed:
        assert not node.flows()
        assert outcome.event
        assert outcome.event.source_identity == A.identity, "events name the true sender"
        assert str(outcome.event.destination) == destination.removeprefix("::ffff:")


def test_a_trace_refuses_the_same_destinations() -> None:
    own = [
        (destination, reason) for source, destination, reason in SENT.values() if source in (A.ipv4, A.ipv6)
    ]
    for destination, reason in own:
        if destination not in (A.ipv4, A.ipv6):
            assert refusal(ip_address(destination)) is reason, destination


FRAMES = {
    "from another container's MAC address": (B.mac, GATEWAY_MAC, MAC),
    "from the gateway's MAC address": (GATEWAY_MAC, GATEWAY_MAC, MAC),
    "from a MAC address that differs in the last bit": (A.mac[:-1] + "3", GATEWAY_MAC, MAC),
    "from a MAC address that differs in the first byte": ("00" + A.mac[2:], GATEWAY_MAC, MAC),
    "to the gateway": (A.mac, GATEWAY_MAC, DropReason.NONE),
    "to all": (A.mac, BROADCAST_MAC, MULTICAST),
    "to a group": (A.mac, "01:00:5e:00:00:fb", MULTICAST),
    "past the gateway": (A.mac, B.mac, DropReason.UNKNOWN_DESTINATION),
    "to itself": (A.mac, A.mac, DropReason.UNKNOWN_DESTINATION),
}


@pytest.mark.parametrize(("source", "destination", "reason"), FRAMES.values(), ids=FRAMES.keys())
def test_addresses_of_frames(node: Node, source: str, destination: str, reason: DropReason) -> None:
    packet = ipv4(A.ipv4, B.ipv4, DATA)
    outcome = node.send_frame(A, ethernet(IPV4, packet, source=source, destination=destination))
    assert outcome.reason is reason


def test_a_frame_to_the_container_carries_the_two_stations_addresses(node: Node) -> None:
    outcome = node.send(A, B.ipv4, DATA)
    assert outcome.action is Action.REDIRECT
    assert outcome.data == ethernet(
        IPV4, ipv4(A.ipv4, B.ipv4, DATA), source=GATEWAY_MAC, destination=B.mac
    ), "nothing but the frame's addresses has changed, not even the hop limit"


def test_what_leaves_the_node_is_left_as_it_is(node: Node) -> None:
    for address in (WORLD4, WORLD6, HOST4, HOST6):
        frame = ethernet(*ip(A.ipv6 if ":" in address else A.ipv4, address, DATA), source=A.mac)
        outcome = node.send_frame(A, frame)
        assert (outcome.action, outcome.data) == (Action.STACK, frame)


@pytest.mark.parametrize(("family", "kind"), [("ipv4", IPV4), ("ipv6", IPV6)])
def test_a_family_that_the_container_has_not_is_nobody_s(node: Node, family: str, kind: int) -> None:
    payload: Payload = tcp(4000, 80)
    single = node.change(A, **{family: ""})
    for source in ("0.0.0.0", A.ipv4) if kind == IPV4 else ("::", A.ipv6):
        frame = ethernet(*ip(source, getattr(B, family), payload), source=single.mac)
        assert node.send_frame(single, frame).reason is IP


def test_an_interface_without_a_container_is_dead(node: Node) -> None:
    node.remove(OTHER)
    frame = ethernet(IPV4, ipv4(OTHER.ipv4, WORLD4, DATA), source=OTHER.mac)
    assert node.send_frame(OTHER, frame).reason is DropReason.UNKNOWN_ENDPOINT
    assert node.receive_frame(OTHER, frame).reason is DropReason.UNKNOWN_ENDPOINT
