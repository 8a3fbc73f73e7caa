"""ICMP errors pass only as echoes of a flow that is allowed, and only to its sender."""

from __future__ import annotations

import pytest

from model.flow import DropReason
from tests.kernel.harness import HOST4, SEALED, UPLINK, WORLD4, WORLD6, A, Action, B, Container, Node
from tests.kernel.packets import (
    DESTINATION,
    IPV4,
    IPV6,
    MORE,
    SYN,
    Payload,
    ethernet,
    extension,
    fragment6,
    icmp,
    ipv4,
    ipv6,
    ping,
    pong,
    sctp,
    tcp,
    udp,
)

UNRELATED = DropReason.ICMP_UNRELATED
FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:aaaa::1"


def address(container: Container, v6: bool) -> str:
    return container.ipv6 if v6 else container.ipv4


def returned(source: str, destination: str, payload: Payload, *, keep: int = 8) -> bytes:
    """A packet as an error returns it: its header and the first bytes of what it carried."""
    build = ipv6 if ":" in source else ipv4
    return build(source, destination, payload)[: (40 if ":" in source else 20) + keep]


def error(inner: bytes, *, v6: bool = False, kind: int | None = None, code: int = 0) -> Payload:
    """Destination unreachable, or another kind."""
    return icmp((1 if v6 else 3) if kind is None else kind, code, data=inner, v6=v6)


class TestFromAContainer:
    @FAMILIES
    @pytest.mark.parametrize(
        "payload", [tcp(4000, 80, SYN), udp(4000, 80), sctp(4000, 80)], ids=["TCP", "UDP", "SCTP"]
    )
    def test_trouble_with_a_packet_is_reported_to_its_sender(
        self, node: Node, payload: Payload, v6: bool
    ) -> None:
        node.allow(A, SEALED)
        one, other = address(A, v6), address(B, v6)
        node.send(A, other, payload)
        outcome = node.send(B, one, error(returned(one, other, payload), v6=v6))
        assert outcome.action is Action.REDIRECT
        assert outcome.event is None
        assert len(node.flows()) == 1

    @FAMILIES
    def test_trouble_with_an_answer_too(self, node: Node, v6: bool) -> None:
        one, other = address(A, v6), address(B, v6)
        node.send(A, other, udp(4000, 53))
        node.send(B, one, udp(53, 4000))
        assert node.send(A, other, error(returned(other, one, udp(53, 4000)), v6=v6)).passed

    @FAMILIES
    def test_trouble_with_a_ping(self, node: Node, v6: bool) -> None:
        one, other = address(A, v6), address(B, v6)
        node.send(A, other, ping(7, v6=v6))
        assert node.send(B, one, error(returned(one, other, ping(7, v6=v6)), v6=v6)).passed
        assert node.send(B, one, error(returned(one, other, ping(8, v6=v6)), v6=v6)).reason is UNRELATED
        assert node.send(B, one, error(returned(one, other, pong(7, v6=v6)), v6=v6)).reason is UNRELATED

    def test_a_returned_header_with_options(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        inner = ipv4(A.ipv4, B.ipv4, udp(4000, 53), options=bytes(40))
        assert node.send(B, A.ipv4, error(inner)).passed

    @pytest.mark.parametrize(
        ("kind", "v6"),
        [
            (3, False),
            (4, False),
            (11, False),
            (12, False),
            (1, True),
            (2, True),
            (3, True),
            (4, True),
            (100, True),
        ],
    )
    def test_of_every_kind(self, node: Node, kind: int, v6: bool) -> None:
        one, other = address(A, v6), address(B, v6)
        node.send(A, other, udp(4000, 53))
        assert node.send(B, one, error(returned(one, other, udp(4000, 53)), v6=v6, kind=kind)).passed
        forged = returned(one, other, udp(4000, 54))
        assert node.send(B, one, error(forged, v6=v6, kind=kind)).reason is UNRELATED


class TestForgeries:
    @FAMILIES
    def test_about_no_flow(self, node: Node, v6: bool) -> None:
        one, other = address(A, v6), address(B, v6)
        for payload in (udp(4000, 53), tcp(4000, 80), ping(1, v6=v6)):
            assert node.send(B, one, error(returned(one, other, payload), v6=v6)).reason is UNRELATED

    @FAMILIES
    def test_about_a_flow_of_others(self, node: Node, v6: bool) -> None:
        """B is no router between A and the world, whatever it knows of their flow."""
        one, world = address(A, v6), WORLD6 if v6 else WORLD4
        node.send(A, world, tcp(4000, 443, SYN))
        forged = error(returned(one, world, tcp(4000, 443)), v6=v6, kind=2 if v6 else 3, code=0 if v6 else 4)
        assert node.send(B, one, forged).reason is UNRELATED

    @FAMILIES
    def test_to_another_than_the_sender(self, node: Node, v6: bool) -> None:
        one, other, world = address(A, v6), address(B, v6), WORLD6 if v6 else WORLD4
        node.send(A, other, udp(4000, 53))
        assert node.send(B, world, error(returned(one, other, udp(4000, 53)), v6=v6)).reason is UNRELATED
        assert node.send(B, one, error(returned(other, one, udp(53, 4000)), v6=v6)).reason is UNRELATED

    def test_that_return_too_little(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        inner = returned(A.ipv4, B.ipv4, udp(4000, 53))
        for end in range(len(inner)):
            assert node.send(B, A.ipv4, error(inner[:end])).reason is UNRELATED

    def test_that_return_too_little_of_ipv6(self, node: Node) -> None:
        node.send(A, B.ipv6, udp(4000, 53))
        inner = returned(A.ipv6, B.ipv6, udp(4000, 53))
        for end in range(len(inner)):
            assert node.send(B, A.ipv6, error(inner[:end], v6=True)).reason is UNRELATED

    def test_that_return_a_later_fragment(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        node.send(A, B.ipv6, udp(4000, 53))
        inner = ipv4(A.ipv4, B.ipv4, udp(4000, 53), fragment=1)
        assert node.send(B, A.ipv4, error(inner)).reason is UNRELATED
        for offset, passes in ((0, True), (1, False), (1 << 12, False)):
            inner = ipv6(A.ipv6, B.ipv6, fragment6(udp(4000, 53), offset=offset, more=True))
            assert node.send(B, A.ipv6, error(inner, v6=True)).passed is passes

    def test_that_return_too_little_of_a_first_fragment(self, node: Node) -> None:
        node.send(A, B.ipv6, udp(4000, 53))
        inner = ipv6(A.ipv6, B.ipv6, fragment6(udp(4000, 53), more=True))
        for end in range(40, len(inner)):
            assert node.send(B, A.ipv6, error(inner[:end], v6=True)).reason is UNRELATED

    def test_that_return_another_family(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        inner = returned(A.ipv6, B.ipv6, udp(4000, 53))
        assert node.send(B, A.ipv4, error(inner)).reason is UNRELATED

    def test_that_return_an_error(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        inner = ipv4(A.ipv4, B.ipv4, error(returned(B.ipv4, A.ipv4, udp(53, 4000))))
        assert node.send(B, A.ipv4, error(inner)).reason is UNRELATED

    def test_that_return_a_protocol_without_ports(self, node: Node) -> None:
        inner = ipv4(A.ipv4, B.ipv4, (47, bytes(8)))
        assert node.send(B, A.ipv4, error(inner)).reason is UNRELATED

    def test_that_return_extension_headers(self, node: Node) -> None:
        node.send(A, B.ipv6, extension(DESTINATION, udp(4000, 53)))
        inner = ipv6(A.ipv6, B.ipv6, extension(DESTINATION, udp(4000, 53)))
        assert node.send(B, A.ipv6, error(inner, v6=True)).reason is UNRELATED

    def test_in_fragments(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        node.send(A, B.ipv6, udp(4000, 53))
        four = ipv4(B.ipv4, A.ipv4, error(returned(A.ipv4, B.ipv4, udp(4000, 53))), fragment=MORE)
        inner = error(returned(A.ipv6, B.ipv6, udp(4000, 53)), v6=True)
        six = ipv6(B.ipv6, A.ipv6, fragment6(inner, more=True))
        assert node.send_frame(B, ethernet(IPV4, four, source=B.mac)).reason is UNRELATED
        assert node.send_frame(B, ethernet(IPV6, six, source=B.mac)).reason is UNRELATED

    def test_about_a_flow_that_is_no_longer_allowed(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        node.allow(B, SEALED)
        assert node.send(B, A.ipv4, error(returned(A.ipv4, B.ipv4, udp(4000, 53)))).reason is UNRELATED


class TestFromOutside:
    @FAMILIES
    def test_a_router_on_the_way_is_heard(self, node: Node, v6: bool) -> None:
        one, world = address(A, v6), WORLD6 if v6 else WORLD4
        node.allow(A, SEALED)
        node.send(A, world, tcp(4000, 443, SYN))
        too_big = error(returned(one, world, tcp(4000, 443)), v6=v6, kind=2 if v6 else 3, code=0 if v6 else 4)
        assert node.receive(A, ROUTER6 if v6 else ROUTER4, too_big).passed

    @FAMILIES
    def test_a_datagram_in_fragments_that_is_too_long_for_the_way(self, node: Node, v6: bool) -> None:
        """The path's MTU is learnt from what comes back of the first one."""
        one, world = address(A, v6), WORLD6 if v6 else WORLD4
        node.allow(A, SEALED)
        payload = udp(4000, 53, bytes(64))
        first = (
            ipv6(one, world, fragment6(payload, more=True))
            if v6
            else ipv4(one, world, payload, fragment=MORE)
        )
        assert node.send_frame(A, ethernet(IPV6 if v6 else IPV4, first, source=A.mac)).passed
        too_big = error(first, v6=v6, kind=2 if v6 else 3, code=0 if v6 else 4)
        assert node.receive(A, ROUTER6 if v6 else ROUTER4, too_big).passed

    def test_the_host_as_a_router_is_heard(self, node: Node) -> None:
        node.allow(A, SEALED)
        node.send(A, WORLD4, udp(4000, 33434))
        expired = error(returned(A.ipv4, WORLD4, udp(4000, 33434)), kind=11)
        assert node.receive(A, HOST4, expired, origin=0).passed

    @FAMILIES
    def test_all_else_is_not(self, node: Node, v6: bool) -> None:
        one, world = address(A, v6), WORLD6 if v6 else WORLD4
        node.send(A, world, tcp(4000, 443, SYN))
        for inner in (
            returned(one, world, tcp(4001, 443)),
            returned(world, one, tcp(443, 4000)),
            returned(address(B, v6), world, tcp(4000, 443)),
        ):
            outcome = node.receive(A, ROUTER6 if v6 else ROUTER4, error(inner, v6=v6), origin=UPLINK)
            assert outcome.reason is UNRELATED

    def test_nor_an_address_of_ours_from_outside(self, node: Node) -> None:
        node.send(A, B.ipv4, udp(4000, 53))
        forged = error(returned(A.ipv4, B.ipv4, udp(4000, 53)))
        assert node.receive(A, B.ipv4, forged).reason is DropReason.INVALID_SOURCE_IP

    def test_an_error_about_a_published_port_goes_by_the_stack(self, node: Node) -> None:
        node.receive(A, B.ipv4, udp(4000, 53), origin=B.number)
        outcome = node.send(A, B.ipv4, error(returned(B.ipv4, A.ipv4, udp(4000, 53))))
        assert outcome.action is Action.STACK


def test_errors_are_no_queries_that_policy_could_allow(node: Node) -> None:
    """Open policy on both sides does not make an error related."""
    assert node.send(A, B.ipv4, icmp(3, 1)).reason is UNRELATED
    assert node.send(A, WORLD4, icmp(11)).reason is UNRELATED
    assert node.receive(A, WORLD4, icmp(3, 3)).reason is UNRELATED
