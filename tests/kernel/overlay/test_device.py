"""The tunnel's device and routes come, change and go with what the node is told of others."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from datapath.tables import NodeEntry, Routing
from driver.accept import Acceptance
from driver.cleanup import remove_all
from driver.links import Links
from driver.nft import Cluster, Nft
from driver.overlay import Overlay, PeerFacts, TunnelFacts
from driver.plan import DEVICE_GROUP, GATEWAY_MAC, ROUTE_PROTOCOL, RoutingMode
from driver.sysctls import Sysctls
from driver.tunnels import Tunnels
from model.errors import Conflict, Unsupported
from tests.conftest import require
from tests.kernel import netns
from tests.kernel.driver.topology import run
from tests.kernel.overlay.conftest import MODES

VXLAN = "ciliate_vxlan"
PEER = PeerFacts(
    ip_address("192.0.2.2"),  # type: ignore[arg-type]
    frozenset((ip_address("192.0.2.2"), ip_address("2001:db8::2"))),
    frozenset((ip_network("10.200.2.0/24"), ip_network("fd00:c111:2::/64"))),
)
FAR = PeerFacts(
    ip_address("198.51.100.3"),  # type: ignore[arg-type]
    frozenset((ip_address("198.51.100.3"),)),
    frozenset((ip_network("10.200.3.0/24"),)),
)


class Node:
    """What it was told, and in which order."""

    def __init__(self) -> None:
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire")
        for command in (
            "address add 192.0.2.1/24 dev eth0",
            "address add 2001:db8::1/64 dev eth0 nodad",
            "link set wire up",
            "link set eth0 up",
            "route add default via 192.0.2.254",
        ):
            run("ip", *command.split())
        while not run("ip", "-6", "route", "show", "2001:db8::/64"):
            time.sleep(0.01)  # the kernel adds it in the background
        self.links = Links()
        self.nft = Nft(masquerade=True)
        self.entries: list[NodeEntry] = []
        self.fitted: list[int] = []
        self.broken = False
        self.overlay = Overlay(
            Tunnels(self.links),
            self.nft,
            Acceptance(),
            self.attach,
            lambda _: not self.broken,
            self.entries.append,
        )

    def attach(self, ifindex: int) -> None:
        flags = [device["flags"] for device in devices().values() if device["ifindex"] == ifindex]
        assert self.broken or ifindex in self.fitted or "UP" not in flags[0]  # type: ignore[operator]
        self.fitted.append(ifindex)
        self.broken = False

    def serve(self, mode: RoutingMode, *peers: PeerFacts, port: int = 0) -> None:
        address = ip_address("192.0.2.1")
        sources = {4: address, 6: ip_address("2001:db8::1")}
        slices = frozenset(map(ip_network, ("10.200.1.0/24", "fd00:c111:1::/64")))
        self.overlay.serve(
            TunnelFacts(mode, address, port or mode.port, 1500, sources, slices),  # type: ignore[arg-type]
            peers,
        )


@pytest.fixture
def node() -> Iterator[Node]:
    require(os.geteuid() == 0, "root, to make links and rules")
    with netns.entered():
        yield Node()


def devices() -> dict[str, dict[str, object]]:
    return {found["ifname"]: found for found in json.loads(run("ip", "-j", "-d", "link"))}


def routes() -> list[str]:
    found = run("ip", "route", "show", "proto", str(ROUTE_PROTOCOL)) + run(
        "ip", "-6", "route", "show", "proto", str(ROUTE_PROTOCOL)
    )
    return [" ".join(line.split()).removesuffix(" pref medium") for line in found.splitlines()]


def table() -> str:
    done = subprocess.run(["nft", "list", "table", "inet", "ciliate"], capture_output=True, text=True)
    return done.stdout


def test_a_device_for_all_nodes(node: Node) -> None:
    node.serve(RoutingMode.VXLAN, PEER, FAR)
    device = devices()[VXLAN]
    data = device["linkinfo"]["info_data"]  # type: ignore[index]
    assert data["external"] and data["port"] == 8472 and not data["learning"]
    assert (device["address"], device["mtu"], device["group"]) == (GATEWAY_MAC, 1450, str(DEVICE_GROUP))
    assert {"UP", "NOARP"} <= set(device["flags"])  # type: ignore[call-overload]
    assert routes() == [
        f"10.200.2.0/24 dev {VXLAN} scope link src 192.0.2.1",
        f"10.200.3.0/24 dev {VXLAN} scope link src 192.0.2.1",
        f"fd00:c111:2::/64 dev {VXLAN} src 2001:db8::1 metric 1024",
    ]
    assert node.entries == [
        NodeEntry(Routing.TUNNEL, int(str(device["ifindex"])), 1450, ip_address("192.0.2.1"), 8472)  # type: ignore[arg-type]
    ]


def test_geneve_where_the_kernel_has_it(node: Node) -> None:
    if RoutingMode.GENEVE not in MODES:
        with pytest.raises(Unsupported, match="no geneve devices"):
            node.serve(RoutingMode.GENEVE, PEER)
        return
    node.serve(RoutingMode.VXLAN, PEER)
    node.serve(RoutingMode.GENEVE, PEER)
    data = devices()["ciliate_geneve"]["linkinfo"]["info_data"]  # type: ignore[index]
    assert data["external"] and data["port"] == 6081 and VXLAN not in devices()
    assert routes()[0] == "10.200.2.0/24 dev ciliate_geneve scope link src 192.0.2.1"


def test_once_more_changes_nothing_and_who_left_is_forgotten(node: Node) -> None:
    node.serve(RoutingMode.VXLAN, PEER, FAR)
    before = devices()[VXLAN]["ifindex"], table()
    node.serve(RoutingMode.VXLAN, FAR, PEER)
    assert (devices()[VXLAN]["ifindex"], table()) == before
    assert len(routes()) == 3
    node.serve(RoutingMode.VXLAN, FAR)
    assert [line.split()[0] for line in routes()] == ["10.200.3.0/24"]
    assert "10.200.2.0" not in table() and "198.51.100.3" in table()


def test_another_port_is_another_device(node: Node) -> None:
    node.serve(RoutingMode.VXLAN, PEER)
    node.serve(RoutingMode.VXLAN, PEER, port=4790)
    assert devices()[VXLAN]["linkinfo"]["info_data"]["port"] == 4790  # type: ignore[index]
    assert "4790" in table() and "8472" not in table()
    assert node.entries[-1].port == 4790


def test_native_needs_no_device_and_routes_through_neighbours_only(node: Node) -> None:
    node.serve(RoutingMode.VXLAN, PEER)
    node.serve(RoutingMode.NATIVE, PEER, FAR)
    assert VXLAN not in devices()
    for _ in range(2):
        assert routes() == [
            "unreachable 10.200.1.0/24",
            "10.200.2.0/24 via 192.0.2.2 dev eth0 src 192.0.2.1",
            "unreachable fd00:c111:1::/64 dev lo metric 1024",
            "fd00:c111:2::/64 via 2001:db8::2 dev eth0 src 2001:db8::1 metric 1024",
        ]
        node.serve(RoutingMode.NATIVE, PEER, FAR)
    assert node.entries[-1] == NodeEntry(Routing.NATIVE, address=ip_address("192.0.2.1"))  # type: ignore[arg-type]
    assert "8472" not in table()


def test_alone_again_nothing_is_left(node: Node) -> None:
    for mode in (RoutingMode.VXLAN, RoutingMode.NATIVE):
        node.serve(mode, PEER)
        node.overlay.stop()
        assert VXLAN not in devices() and not routes() and not table()
        assert node.entries[-1] == NodeEntry()


def test_cleanup_knows_of_it_without_an_agent(node: Node) -> None:
    for mode in (RoutingMode.VXLAN, RoutingMode.NATIVE):
        node.serve(mode, PEER)
        remove_all(node.links, Acceptance(), Sysctls(dict, lambda _path, _value: None))
        assert VXLAN not in devices() and not routes() and not table()
        node.nft.set_cluster(Cluster())


def test_a_device_without_its_programs_gets_them_back(node: Node) -> None:
    node.serve(RoutingMode.VXLAN, PEER)
    node.overlay.keep()
    assert len(node.fitted) == 1
    node.broken = True
    node.overlay.keep()
    assert len(node.fitted) == 2
    node.links.delete(VXLAN)
    node.broken = True
    node.overlay.keep()
    assert VXLAN in devices() and len(routes()) == 2, "and one that is gone comes back"
    assert node.entries[-1].tunnel == int(str(devices()[VXLAN]["ifindex"]))


def test_a_port_that_another_tunnel_has(node: Node) -> None:
    run("ip", "link", "add", "flannel", "type", "vxlan", "external", "dstport", "8472")
    run("ip", "link", "set", "flannel", "up")
    with pytest.raises(Conflict, match="UDP port"):
        node.serve(RoutingMode.VXLAN, PEER)
