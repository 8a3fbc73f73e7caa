"""A host with containers and a world, made of namespaces alone: no engine, no programs. What the datapath would
answer (who has the gateway's address) is told to the containers beforehand."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from driver.links import Links
from driver.plan import GATEWAY_MAC, LinkPlan, endpoint_mac, link_plan
from model.endpoint import Endpoint
from model.network import Network, Subnet
from tests.kernel import netns

NETWORK = Network(
    docker_id="a" * 64,
    id="a" * 64,
    number=2,
    subnets=(
        Subnet(ip_network("10.200.0.0/24"), ip_address("10.200.0.1")),
        Subnet(ip_network("fd00:c111::/64"), ip_address("fd00:c111::1")),
    ),
)

HOST4, WORLD4 = "192.0.2.2", "192.0.2.1"
HOST6, WORLD6 = "2001:db8::2", "2001:db8::1"


def run(*arguments: str) -> str:
    """In the calling thread's namespace."""
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Place:
    """A namespace that holds sockets."""

    def __init__(self) -> None:
        with netns.entered():
            self.namespace = netns.current()
            run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    def run(self, *arguments: str) -> str:
        return run("nsenter", f"--net={self.path}", *arguments)

    def socket(self, kind: socket.SocketKind, address: str) -> socket.socket:
        with netns.entered(self.namespace):
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        made.settimeout(2)
        return made

    def close(self) -> None:
        os.close(self.namespace)


class World(Place):
    """At the other end of the host's uplink. It knows the way to the host's containers, and must not use it."""

    def __init__(self) -> None:
        super().__init__()
        run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "up0", "netns", self.path)
        for address, other in ((f"{HOST4}/24", f"{WORLD4}/24"), (f"{HOST6}/64", f"{WORLD6}/64")):
            run("ip", "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            self.run("ip", "address", "add", other, "dev", "up0", *(["nodad"] if ":" in other else []))
        run("ip", "link", "set", "eth0", "up")
        self.run("ip", "link", "set", "up0", "up")
        run("ip", "route", "add", "default", "via", WORLD4)
        run("ip", "-6", "route", "add", "default", "via", WORLD6)


class Container(Place):
    """`number` is the last part of its addresses."""

    def __init__(self, links: Links, number: int) -> None:
        super().__init__()
        docker_id = f"{number:02x}" * 32
        self.endpoint = Endpoint(
            id=number,
            docker_id=docker_id,
            network_id=NETWORK.docker_id,
            mac=endpoint_mac(docker_id, IPv4Address(f"10.200.0.{number}")),
            ipv4=IPv4Address(f"10.200.0.{number}"),
            ipv6=IPv6Address(f"fd00:c111::{number:x}"),
        )
        self.plan: LinkPlan = link_plan(self.endpoint, NETWORK, 1500)
        links.set_gateways({subnet.gateway for subnet in NETWORK.subnets if subnet.gateway is not None})
        self.ifindex = links.create(self.plan)
        links.open(self.plan, self.ifindex)
        self._move_in()

    def _move_in(self) -> None:
        """What Docker does after Join; and, as nobody answers for neighbours here, all goes to the gateway."""
        run("ip", "link", "set", self.plan.container_name, "netns", self.path, "name", "eth0")
        for address, length in ((self.endpoint.ipv4, 32), (self.endpoint.ipv6, 128)):
            flags = ["nodad"] if length == 128 else []
            self.run("ip", "address", "add", f"{address}/{length}", "dev", "eth0", *flags)
        self.run("ip", "link", "set", "eth0", "up")
        for gateway, family in (("10.200.0.1", "-4"), ("fd00:c111::1", "-6")):
            self.run("ip", "neigh", "add", gateway, "lladdr", GATEWAY_MAC, "dev", "eth0", "nud", "permanent")
            self.run("ip", family, "route", "add", gateway, "dev", "eth0")
            self.run("ip", family, "route", "add", "default", "via", gateway)

    def serve(self, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        """Answer each caller with the address that it seems to have, until the socket is closed with the test."""
        server = self.socket(kind, address)
        server.settimeout(None)
        server.bind((address, port))
        if kind is socket.SOCK_STREAM:
            server.listen()
        threading.Thread(target=_answer, args=(server, kind), daemon=True).start()


def _answer(server: socket.socket, kind: socket.SocketKind) -> None:
    while True:
        if kind is socket.SOCK_STREAM:
            connection, caller = server.accept()
            connection.sendall(str(caller[0]).encode())
            connection.close()
        else:
            _, caller = server.recvfrom(100)
            server.sendto(str(caller[0]).encode(), caller)


def ask(place: Place | None, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    """As whom the server sees us, "" without an answer. `place` None: the host itself."""
    if place is None:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        made.settimeout(2)
    else:
        made = place.socket(kind, address)
    with made:
        try:
            made.connect((address, port))
            if kind is socket.SOCK_DGRAM:
                made.send(b"?")
            return made.recv(100).decode()
        except OSError:
            return ""
