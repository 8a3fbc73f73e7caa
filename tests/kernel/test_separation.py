"""What may not talk, whatever policy says."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from datapath.tables import EndpointFlag, IpcacheEntry
from model.flow import DropReason
from model.network import FLAT
from tests.kernel.harness import (
    BRIDGE,
    HOST4,
    HOST6,
    LISTED4,
    OTHER,
    UNKNOWN4,
    UNKNOWN6,
    UNMANAGED4,
    UPLINK,
    WORLD4,
    WORLD6,
    A,
    B,
    Node,
)
from tests.kernel.packets import ACK, SYN, tcp, udp

NONE, SEPARATE = DropReason.NONE, DropReason.NETWORKS_SEPARATE
NO_HOST, NO_WORLD, NO_CONTAINERS = EndpointFlag.NO_HOST, EndpointFlag.NO_WORLD, EndpointFlag.NO_CONTAINERS


class TestNetworks:
    @pytest.mark.parametrize("family", ["ipv4", "ipv6"])
    def test_are_separate(self, node: Node, family: str) -> None:
        outcome = node.send(A, getattr(OTHER, family), tcp(4000, 80, SYN))
        assert outcome.reason is SEPARATE
        assert outcome.event
        assert (outcome.event.source_identity, outcome.event.destination_identity) == (1000, 1002)
        assert node.send(OTHER, getattr(A, family), udp(4000, 80)).reason is SEPARATE

    def test_are_one_where_both_are_flat(self, node: Node) -> None:
        flat = node.change(A, network=FLAT)
        assert node.send(flat, OTHER.ipv4, tcp(4000, 80, SYN)).reason is SEPARATE
        node.change(OTHER, network=FLAT)
        assert node.send(flat, OTHER.ipv4, tcp(4000, 80, SYN)).passed
        assert node.send(OTHER, A.ipv4, tcp(80, 4000, SYN | ACK)).passed

    def test_hold_for_containers_of_other_nodes(self, node: Node) -> None:
        for network, reason in ((2, NONE), (3, SEPARATE)):
            node.datapath.ipcache.put(ip_network("10.200.9.9/32"), IpcacheEntry(5000, network))
            node.datapath.bump_epoch()
            assert node.send(A, "10.200.9.9", tcp(4000, 80, SYN)).reason is reason

    def test_that_part_stop_flows_both_ways(self, node: Node) -> None:
        node.send(A, B.ipv4, tcp(4000, 80, SYN))
        node.change(B, network=3)
        assert node.send(B, A.ipv4, tcp(80, 4000, SYN | ACK)).reason is SEPARATE
        assert node.send(A, B.ipv4, tcp(4000, 80)).reason is SEPARATE


@pytest.mark.parametrize("address", [UNKNOWN4, UNKNOWN6, "10.200.1.255", "10.200.1.0"])
def test_an_address_of_ours_that_is_nobody_s_is_not_the_world(node: Node, address: str) -> None:
    assert node.send(A, address, udp(4000, 80)).reason is DropReason.UNKNOWN_DESTINATION


def test_who_has_no_identity_is_unknown(node: Node) -> None:
    nobody = node.change(A, identity=0)
    assert node.send(nobody, B.ipv4, udp(1, 2)).reason is DropReason.UNKNOWN_SENDER
    assert node.send(B, A.ipv4, udp(1, 2)).reason is DropReason.UNKNOWN_DESTINATION


BANS = {
    "the host": (NO_HOST, HOST4, DropReason.HOST_FORBIDDEN),
    "the host by IPv6": (NO_HOST, HOST6, DropReason.HOST_FORBIDDEN),
    "the host, not the world": (NO_HOST, WORLD4, NONE),
    "the host, not containers": (NO_HOST, B.ipv4, NONE),
    "the world": (NO_WORLD, WORLD4, DropReason.WORLD_FORBIDDEN),
    "the world by IPv6": (NO_WORLD, WORLD6, DropReason.WORLD_FORBIDDEN),
    "the world, known by prefix": (NO_WORLD, LISTED4, DropReason.WORLD_FORBIDDEN),
    "the world, other bridges too": (NO_WORLD, UNMANAGED4, DropReason.WORLD_FORBIDDEN),
    "the world, not the host": (NO_WORLD, HOST4, NONE),
    "the world, not containers": (NO_WORLD, B.ipv4, NONE),
    "containers": (NO_CONTAINERS, B.ipv4, DropReason.CONTAINERS_FORBIDDEN),
    "containers by IPv6": (NO_CONTAINERS, B.ipv6, DropReason.CONTAINERS_FORBIDDEN),
    "containers, not the host": (NO_CONTAINERS, HOST4, NONE),
    "containers, not the world": (NO_CONTAINERS, WORLD4, NONE),
    "all of them": (NO_HOST | NO_WORLD | NO_CONTAINERS, WORLD4, DropReason.WORLD_FORBIDDEN),
}


@pytest.mark.parametrize(("flags", "address", "reason"), BANS.values(), ids=BANS.keys())
def test_a_network_forbids_traffic_with(node: Node, flags: int, address: str, reason: DropReason) -> None:
    banned = node.change(A, flags=int(flags))
    assert node.send(banned, address, tcp(4000, 80, SYN)).reason is reason


def test_the_receiver_s_network_forbids_as_well(node: Node) -> None:
    node.change(B, flags=int(NO_CONTAINERS))
    assert node.send(A, B.ipv4, tcp(4000, 80, SYN)).reason is DropReason.CONTAINERS_FORBIDDEN


ARRIVALS = {
    "the host": (NO_HOST, HOST4, 0, DropReason.HOST_FORBIDDEN),
    "the host, whatever its address": (NO_HOST, WORLD4, 0, DropReason.HOST_FORBIDDEN),
    "the world": (NO_WORLD, WORLD4, UPLINK, DropReason.WORLD_FORBIDDEN),
    "other bridges": (NO_WORLD, UNMANAGED4, BRIDGE, DropReason.WORLD_FORBIDDEN),
    "other bridges, whatever their address": (NO_WORLD, HOST4, BRIDGE, DropReason.WORLD_FORBIDDEN),
    "containers, but not at a published port": (NO_CONTAINERS, B.ipv4, B.number, NONE),
}


@pytest.mark.parametrize(("flags", "source", "origin", "reason"), ARRIVALS.values(), ids=ARRIVALS.keys())
def test_a_network_forbids_arrivals_from(
    node: Node, flags: int, source: str, origin: int, reason: DropReason
) -> None:
    banned = node.change(A, flags=int(flags))
    assert node.receive(banned, source, tcp(4000, 80, SYN), origin=origin).reason is reason


def test_answers_of_the_forbidden_pass_until_the_flow_is_judged_again(node: Node) -> None:
    node.send(A, WORLD4, tcp(4000, 443, SYN))
    assert node.receive(A, WORLD4, tcp(443, 4000, SYN | ACK)).passed
    banned = node.change(A, flags=int(NO_WORLD))
    assert node.receive(banned, WORLD4, tcp(443, 4000)).reason is DropReason.WORLD_FORBIDDEN
