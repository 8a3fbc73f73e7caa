"""Two hosts and a stranger on one network, each in a namespace, without an engine: the driver's real devices, routes
and rules, the real programs, and who is where written by hand as an agent would.

    a ── one ──┐           ┌── two ── b, other
               ├── wire ───┤
                  stranger ┘
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from datapath.attach import CONTAINER, OVERLAY, Programs
from datapath.decode import decode
from datapath.kernel import KernelDatapath
from datapath.pins import maps_directory, mount_bpffs, unmount
from datapath.ringbuf import RingBuffer
from datapath.tables import DeviceClass, EndpointEntry, IpcacheEntry
from driver.accept import Acceptance
from driver.links import Links
from driver.nft import Nft
from driver.overlay import Overlay, PeerFacts, TunnelFacts
from driver.plan import RoutingMode, endpoint_mac, link_plan
from driver.ports import Ports
from driver.tunnels import Tunnels
from model.endpoint import Endpoint
from model.flow import DropReason, FlowEvent
from model.network import IPAddress, Network, Subnet
from policy.mapstate import PolicyEntry, PolicyKey
from tests.kernel.harness import CACHE, OPEN, SIZES
from tests.kernel.network import Place

UNDERLAY = 1500
STRANGER = "192.0.2.66"


class Wire(Place):
    """A switch between hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")

    def plug(self, place: Place, number: int) -> None:
        mac = f"02:00:00:00:00:{number:02x}"
        self.ip(
            f"link add port{number} type veth peer name eth0 address {mac} netns /proc/{os.getpid()}/fd/{place.fd}",
            f"link set port{number} master br0 up addrgenmode none",
        )
        place.ip(
            "link set eth0 up",
            f"addr add 192.0.2.{number}/24 dev eth0",
            f"addr add 2001:db8::{number:x}/64 dev eth0 nodad",
        )


class Router(Wire):
    """Hosts have a segment each, and know the router only."""

    def __init__(self) -> None:
        super().__init__()
        for family in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            self.set(family, "1")

    def plug(self, place: Place, number: int) -> None:
        mac = f"02:00:00:00:00:{number:02x}"
        self.ip(
            f"link add port{number} type veth peer name eth0 address {mac} netns /proc/{os.getpid()}/fd/{place.fd}",
            f"link set port{number} up",
            f"addr add 192.0.2.254/32 dev port{number}",
            f"addr add 2001:db8::fe/128 dev port{number} nodad",
            f"route add 192.0.2.{number}/32 dev port{number}",
            f"route add 2001:db8::{number:x}/128 dev port{number}",
        )
        place.ip(
            "link set eth0 up",
            f"addr add 192.0.2.{number}/32 dev eth0",
            f"addr add 2001:db8::{number:x}/128 dev eth0 nodad",
            *(f"route add {router} dev eth0" for router in ("192.0.2.254", "2001:db8::fe")),
            *(f"route add default via {router} dev eth0" for router in ("192.0.2.254", "2001:db8::fe")),
        )


@dataclass(frozen=True)
class Cast:
    """A container: the last part of its addresses, and who it is."""

    number: int
    identity: int
    network: int = 2
    mtu: int = 0


class Container(Place):
    """`cast` behind a host."""

    def __init__(self, host: Host, cast: Cast) -> None:
        super().__init__()
        self.host = host
        self.cast = cast
        self.identity, self.network = cast.identity, cast.network
        self.ipv4 = IPv4Address(f"10.200.{host.number}.{cast.number}")
        self.ipv6 = IPv6Address(f"fd00:c111:{host.number}::{cast.number:x}")
        docker_id = f"{host.number:02x}{cast.number:02x}" * 16
        self.endpoint = Endpoint(
            id=host.number * 100 + cast.number,
            docker_id=docker_id,
            network_id="a" * 64,
            mac=endpoint_mac(docker_id, self.ipv4),
            ipv4=self.ipv4,
            ipv6=self.ipv6,
        )
        plan = link_plan(self.endpoint, host.network(cast.mtu), host.container_mtu)
        with host.entered():
            self.ifindex = host.links.create(plan)
            host.programs.attach(self.ifindex)
        self.know()
        host.ip(f"link set {plan.container_name} netns /proc/{os.getpid()}/fd/{self.fd} name eth0")
        with host.entered():
            host.links.open(plan, self.ifindex)
        self.ip(
            f"addr add {self.ipv4}/32 dev eth0",
            f"addr add {self.ipv6}/128 dev eth0 nodad",
            "link set eth0 up",
            *(f"route add {gateway} dev eth0" for gateway in host.gateways),
            *(f"route add default via {gateway} dev eth0" for gateway in host.gateways),
        )
        self.plan = plan

    @property
    def addresses(self) -> tuple[str, str]:
        return str(self.ipv4), str(self.ipv6)

    def know(self, policy: Mapping[PolicyKey, PolicyEntry] = OPEN) -> None:
        """Its own host learns who it is and what it may."""
        datapath, slot = self.host.datapath, self.cast.number
        datapath.replace_policies({slot: policy})
        datapath.endpoints.put(
            self.ifindex,
            EndpointEntry(
                self.identity,
                self.network,
                slot,
                0,
                self.ipv4,
                self.ipv6,
                self.endpoint.id,
                self.endpoint.mac,
            ),
        )
        entry = IpcacheEntry(
            self.identity, self.network, self.ifindex, slot, 0, None, self.endpoint.id, self.endpoint.mac
        )
        datapath.ipcache.put_many({ip_network(self.ipv4): entry, ip_network(self.ipv6): entry})
        datapath.bump_epoch()

    def tell(self, other: Host, identity: int = 0, tunnel: IPv4Address | None = None) -> None:
        """Another host learns it, or is told something else."""
        entry = IpcacheEntry(identity or self.identity, self.network, tunnel=tunnel or self.host.address)
        other.datapath.ipcache.put_many({ip_network(self.ipv4): entry, ip_network(self.ipv6): entry})
        other.datapath.bump_epoch()


class Host(Place):
    def __init__(self, number: int, root: Path, stack: ExitStack) -> None:
        super().__init__()
        stack.callback(self.close)
        self.number = number
        self.address, self.address6 = IPv4Address(f"192.0.2.{number}"), IPv6Address(f"2001:db8::{number:x}")
        self.subnets = (
            Subnet(ip_network(f"10.200.{number}.0/24"), ip_address(f"10.200.{number}.1")),
            Subnet(ip_network(f"fd00:c111:{number}::/64"), ip_address(f"fd00:c111:{number}::1")),
        )
        self.gateways = [str(subnet.gateway) for subnet in self.subnets]
        self.mtu = UNDERLAY
        self.container_mtu = UNDERLAY
        mount_bpffs(root)
        stack.callback(unmount, root)
        sizes = [f"--size={name}={size}" for name, size in SIZES.items()]
        loader = [sys.executable, "-m", "datapath.loader", "--root", root, "--cache", CACHE, *sizes]
        subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
        self.datapath = KernelDatapath(root, inner_entries=SIZES["inner"])
        stack.callback(self.datapath.close)
        self.ring = RingBuffer(maps_directory(root) / "events")
        stack.callback(self.ring.close)
        self.programs, overlay = (Programs.open(root, names) for names in (CONTAINER, OVERLAY))
        stack.callback(self.programs.close)
        stack.callback(overlay.close)
        for family in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            self.set(family, "1")
        with self.entered():
            self.links = Links()
            self.links.set_gateways({subnet.gateway for subnet in self.subnets if subnet.gateway})
            self.nft = Nft(masquerade=True)
            self.nft.set_subnets(self.subnets)
            self.ports = Ports(self.nft)
            self.acceptance = Acceptance()
            self.tunnels = Tunnels(self.links)
            self.overlay = Overlay(
                self.tunnels,
                self.nft,
                self.acceptance,
                overlay.attach,
                overlay.attached,
                self.datapath.set_node,
            )
        for closing in (self.links, self.tunnels, self.ports):
            stack.callback(closing.close)
        own: list[IPAddress] = [
            self.address,
            self.address6,
            *(subnet.gateway for subnet in self.subnets if subnet.gateway),
        ]
        self.datapath.ipcache.put_many({ip_network(address): IpcacheEntry(1) for address in own})
        self.datapath.ipcache.put_many({subnet.pool: IpcacheEntry(0) for subnet in self.subnets})
        self._before = self.datapath.metrics()

    def network(self, mtu: int = 0) -> Network:
        return Network(docker_id="a" * 64, id="a" * 64, number=2, subnets=self.subnets, mtu=mtu)

    def join(self, mode: RoutingMode, others: list[Host]) -> None:
        """Become a node beside the others."""
        self.container_mtu = self.mtu - mode.overhead
        sources = {4: self.address, 6: self.address6}
        facts = TunnelFacts(
            mode,
            self.address,
            mode.port,
            self.mtu,
            sources,
            frozenset(subnet.pool for subnet in self.subnets),
        )
        with self.entered():
            self.overlay.serve(facts, [other.as_peer() for other in others])
            self.datapath.devices.put(socket.if_nametoindex("eth0"), DeviceClass.UPLINK)
        for other in others:
            node = IpcacheEntry(6, tunnel=other.address)
            self.datapath.ipcache.put_many(
                {ip_network(other.address): node, ip_network(other.address6): node}
            )
            self.datapath.ipcache.put_many({subnet.pool: IpcacheEntry(0) for subnet in other.subnets})

    def as_peer(self) -> PeerFacts:
        return PeerFacts(
            self.address,
            frozenset((self.address, self.address6)),
            frozenset(subnet.pool for subnet in self.subnets),
        )

    def counted(self, reason: DropReason) -> int:
        """Packets dropped for this reason, in whichever direction, since it was last asked."""
        now = self.datapath.metrics()
        counts = [
            now.get(key, (0, 0))[0] - self._before.get(key, (0, 0))[0] for key in now if key[0] is reason
        ]
        self._before = {**self._before, **{key: value for key, value in now.items() if key[0] is reason}}
        return sum(counts)

    def events(self) -> list[FlowEvent]:
        return [decode(record) for record in self.ring.take(1024)]


class Bed:
    """`mode`: how the two hosts reach each other's containers."""

    def __init__(self, mode: RoutingMode, directory: Path, stack: ExitStack, wire: type[Wire] = Wire) -> None:
        self.mode = mode
        self.wire = wire()
        stack.callback(self.wire.close)
        self.one, self.two = (Host(number, directory / str(number), stack) for number in (1, 2))
        self.stranger = Place()
        stack.callback(self.stranger.close)
        for place, number in ((self.one, 1), (self.two, 2), (self.stranger, 66)):
            self.wire.plug(place, number)
        for host in (self.one, self.two):
            host.wait_for(str(host.address6))
        self.one.join(mode, [self.two])
        self.two.join(mode, [self.one])
        self.a = Container(self.one, Cast(2, 1000))
        self.b = Container(self.two, Cast(3, 1001))
        self.other = Container(self.two, Cast(4, 1002, network=3))
        for container in (self.a, self.b, self.other):
            stack.callback(container.close)
        self.a.tell(self.two)
        self.b.tell(self.one)
        self.other.tell(self.one)
        for container in (self.a, self.b, self.other):
            container.wait_for(str(container.ipv6))
