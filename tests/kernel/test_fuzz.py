"""Packets that nobody would build. Whatever they are, the harness holds each run to one counter, a reason
for each drop and one event for it; here besides: nothing passes unless it opened a flow that policy
allows, or was a question to the gateway and came back as its answer."""

from __future__ import annotations

import errno
import os
import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from model.flow import Direction
from policy.mapstate import PolicyEntry, PolicyKey
from tests.kernel.harness import (
    BRIDGE,
    HOST4,
    HOST6,
    OTHER,
    UPLINK,
    WORLD4,
    WORLD6,
    A,
    Action,
    B,
    Node,
    Outcome,
)
from tests.kernel.packets import (
    ARP,
    BROADCAST_MAC,
    DESTINATION,
    FRAGMENT,
    GATEWAY_MAC,
    HOP_BY_HOP,
    IPV4,
    IPV6,
    ROUTING,
    Payload,
    arp,
    ethernet,
    extension,
    fragment6,
    icmp,
    ipv4,
    ipv6,
    sctp,
    solicitation,
    source_mac,
    tcp,
    udp,
)

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ADDRESSES4 = st.sampled_from(
    [A.ipv4, B.ipv4, OTHER.ipv4, HOST4, WORLD4, "10.200.1.99", "127.0.0.1", "224.0.0.1"]
)
ADDRESSES6 = st.sampled_from(
    [A.ipv6, B.ipv6, OTHER.ipv6, HOST6, WORLD6, "fe80::1", "::", "ff02::1", "fd00::99"]
)
PORTS = st.sampled_from([80, 80, 80, 0, 53, 4000, 65535])
LOOSE_PROTOCOL = st.integers(0, 255)


@st.composite
def transports(draw: st.DrawFn) -> Payload:
    data = draw(st.binary(max_size=64))
    kind = draw(st.sampled_from(["tcp", "tcp", "udp", "sctp", "icmp", "icmp6", "error", "any"]))
    if kind == "tcp":
        return tcp(
            draw(PORTS),
            draw(PORTS),
            draw(st.integers(0, 255)),
            data,
            words=draw(st.integers(0, 15)) if rarely(draw) else 5,
        )
    if kind == "udp":
        return udp(
            draw(PORTS), draw(PORTS), data, length=draw(st.integers(0, 65535)) if rarely(draw) else None
        )
    if kind == "sctp":
        return sctp(draw(PORTS), draw(PORTS))
    if kind == "any":
        return draw(LOOSE_PROTOCOL), data
    if kind == "error":
        inner = draw(
            st.sampled_from([ipv4(A.ipv4, WORLD4, udp(1, 2)), ipv6(A.ipv6, WORLD6, udp(1, 2)), data])
        )
        return icmp(draw(st.sampled_from([1, 2, 3, 4, 5, 11, 12])), data=inner, v6=draw(st.booleans()))
    return icmp(draw(st.integers(0, 255)), id=draw(PORTS), data=data, v6=kind == "icmp6")


@st.composite
def chains(draw: st.DrawFn) -> Payload:
    """A transport behind extension headers, in any order and number."""
    payload = draw(transports())
    for kind in draw(st.lists(st.sampled_from([HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT]), max_size=7)):
        if kind == FRAGMENT:
            payload = fragment6(
                payload, offset=draw(st.sampled_from([0, 0, 1, 100])), more=draw(st.booleans())
            )
        else:
            payload = extension(kind, payload, words=draw(st.sampled_from([0, 0, 1, 31])))
    return payload


def rarely(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 4)) == 0


def ends(draw: st.DrawFn, own: str, others: st.SearchStrategy[str], leaving: bool) -> tuple[str, str]:
    """Source and destination; the container's end is mostly its own address."""
    mine = draw(others) if rarely(draw) else own
    peer = draw(others)
    return (mine, peer) if leaving else (peer, mine)


@st.composite
def packets(draw: st.DrawFn, leaving: bool) -> tuple[int, bytes]:
    kind = draw(st.sampled_from([IPV4, IPV4, IPV6, IPV6, ARP, None]))
    if kind == IPV4:
        source, destination = ends(draw, A.ipv4, ADDRESSES4, leaving)
        head: dict[str, Any] = {}
        if rarely(draw):
            head["fragment"] = draw(st.sampled_from([0x2000, 0x2001, 1, 0x1FFF, 0x8000]))
        if rarely(draw):
            head["options"] = draw(st.binary(max_size=10)) * 4
        if rarely(draw):
            head |= {"length": draw(st.integers(0, 200)), "header": draw(st.integers(0, 15))}
        return IPV4, ipv4(source, destination, draw(transports()), **head)
    if kind == IPV6:
        source, destination = ends(draw, A.ipv6, ADDRESSES6, leaving)
        option = st.sampled_from([b"", source_mac(A.mac)])
        payload = draw(transports() | chains() | st.builds(solicitation, ADDRESSES6, option))
        length = draw(st.integers(0, 200)) if rarely(draw) else None
        hop_limit = draw(st.sampled_from([64, 255]))
        return IPV6, ipv6(source, destination, payload, hop_limit=hop_limit, length=length)
    if kind == ARP:
        operation, mac = draw(st.integers(0, 4)), draw(st.sampled_from([A.mac, A.mac, B.mac]))
        return ARP, arp(operation, mac, *ends(draw, A.ipv4, ADDRESSES4, True))
    return draw(st.integers(0, 65535)), draw(st.binary(min_size=46, max_size=200))


@st.composite
def damaged(draw: st.DrawFn, leaving: bool) -> tuple[int, bytes]:
    """A packet, now and then with some bytes changed, and cut or padded somewhere."""
    kind, packet = draw(packets(leaving))
    changed = bytearray(packet)
    if rarely(draw):
        for _ in range(draw(st.integers(1, 3))):
            changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    if rarely(draw):
        changed = (changed + bytes(20))[: draw(st.integers(20, len(changed) + 20))]
    return kind, bytes(changed)


def allow_only(node: Node, key: PolicyKey) -> None:
    """Once for all examples: to publish a map takes longer than to run a packet."""
    policy = {key: PolicyEntry()}
    if node.datapath.policy(A.number) != policy:
        node.allow(A, policy)


def run(node: Node, frame: bytes, origin: int | None) -> Outcome:
    """From a container, or to one from an interface."""
    node.datapath.collect_conntrack((1 << 63) - 1, ())
    try:
        return node.send_frame(A, frame) if origin is None else node.receive_frame(A, frame, origin=origin)
    except OSError as error:
        # The kernel runs no program on a frame that is shorter than its IP header.
        assert error.errno == errno.EINVAL
        assume(False)
        raise


def is_answer(outcome: Outcome) -> bool:
    (kind,) = struct.unpack_from("!H", outcome.data, 12)
    neighbour = kind == IPV6 and outcome.data[20] == 58 and outcome.data[54] == 136
    return outcome.action is Action.REDIRECT and (kind == ARP or neighbour)


@SETTINGS
@given(packet=damaged(leaving=True), destination=st.sampled_from([GATEWAY_MAC] * 5 + [BROADCAST_MAC]))
def test_nothing_leaves_but_what_policy_allows(
    node: Node, packet: tuple[int, bytes], destination: str
) -> None:
    allow_only(node, PolicyKey(Direction.EGRESS, 0, 6, 80, 16))
    frame = ethernet(*packet, source=A.mac, destination=destination)
    outcome = run(node, frame, None)
    if not outcome.passed or is_answer(outcome):
        return
    assert outcome.event
    assert (outcome.event.protocol, outcome.event.destination_port) == (6, 80)
    assert outcome.event.source in (ip_address(A.ipv4), ip_address(A.ipv6))
    assert outcome.event.destination_identity in (1, 9, 10, B.identity)
    flow = node.flow()
    assert (flow.source, flow.destination) == (outcome.event.source, outcome.event.destination)


@SETTINGS
@given(packet=damaged(leaving=False), origin=st.sampled_from([0, UPLINK, BRIDGE, B.number, OTHER.number]))
def test_nothing_arrives_but_what_policy_allows(node: Node, packet: tuple[int, bytes], origin: int) -> None:
    allow_only(node, PolicyKey(Direction.INGRESS, 0, 6, 80, 16))
    outcome = run(node, ethernet(*packet, source=GATEWAY_MAC, destination=A.mac), origin)
    if not outcome.passed:
        return
    assert outcome.event
    assert (outcome.event.protocol, outcome.event.destination_port) == (6, 80)
    assert outcome.event.destination in (ip_address(A.ipv4), ip_address(A.ipv6))
    assert node.flow().flags
