"""Real packets: a host, two containers and the world, each in a network namespace, tied by veths.

The host is set up as the driver sets it up: the gateway's MAC address on its ends of the containers' veths,
host routes and permanent neighbours, the programs attached. Everything goes with the namespaces.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from datapath.attach import attach
from model.flow import Direction, DropReason
from tests.kernel import netns
from tests.kernel.harness import HOST4, HOST6, UPLINK, WORLD4, WORLD6, A, B, Container, Node
from tests.kernel.packets import GATEWAY_MAC

PATIENCE = 5.0
"""Seconds until what should come counts as lost."""
SOON = 0.3
"""Seconds without anything until what should not come counts as stopped."""


class Place:
    """One namespace."""

    def __init__(self) -> None:
        with netns.entered():
            self.fd = netns.current()
            self.ip("link set lo up")

    def close(self) -> None:
        os.close(self.fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        with netns.entered(self.fd):
            yield

    def ip(self, *commands: str) -> str:
        """What ip(8) prints."""
        with netns.entered(self.fd):
            batch = "\n".join(commands)
            arguments = ["ip", "-batch", "-"]
            return subprocess.run(arguments, input=batch, text=True, check=True, capture_output=True).stdout

    def wait_for(self, address: str) -> None:
        """Until this IPv6 address of its own takes packets: the kernel adds its route in the background."""
        deadline = time.monotonic() + PATIENCE
        while not self.ip(f"route get {address}").startswith("local"):
            assert time.monotonic() < deadline, f"{address} is not in force"

    def set(self, path: str, value: str) -> None:
        """A number below /proc/sys/net."""
        with netns.entered(self.fd):
            (Path("/proc/sys/net") / path).write_text(value)

    def socket(self, address: str, kind: int, protocol: int = 0) -> socket.socket:
        """In this namespace, for `address`'s family."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.entered(self.fd):
            made = socket.socket(family, kind, protocol)
        made.settimeout(PATIENCE)
        return made

    def listener(self, address: str, port: int) -> socket.socket:
        listening = self.socket(address, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen()
        return listening

    def datagrams(self, address: str, port: int = 0) -> socket.socket:
        made = self.socket(address, socket.SOCK_DGRAM)
        made.bind((address, port))
        return made

    def wire(self, name: str = "eth0") -> socket.socket:
        """Frames as they are, to and from an interface."""
        with netns.entered(self.fd):
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            made.bind((name, 0))
        made.settimeout(PATIENCE)
        return made


class Network:
    def __init__(self, node: Node, stack: ExitStack) -> None:
        self.node = node
        self._before = node.datapath.metrics()
        self.host, self.a, self.b, self.world = places = tuple(Place() for _ in range(4))
        for place in places:
            stack.callback(place.close)
        for family in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            self.host.set(family, "1")
        self._connect_world()
        for container, place in ((A, self.a), (B, self.b)):
            self._connect(container, place)
        for place, address in ((self.a, A.ipv6), (self.b, B.ipv6), (self.world, WORLD6), (self.host, HOST6)):
            place.wait_for(address)

    def counted(self, reason: DropReason, direction: Direction = Direction.EGRESS) -> int:
        """Packets since the network is there."""
        key = (reason, direction)
        return self.node.datapath.metrics().get(key, (0, 0))[0] - self._before.get(key, (0, 0))[0]

    def _link(self, name: str, index: int, place: Place, mac: str = GATEWAY_MAC) -> None:
        self.host.ip(
            f"link add {name} index {index} address {mac} type veth "
            f"peer name eth0 netns /proc/{os.getpid()}/fd/{place.fd}",
            f"link set {name} addrgenmode none",
            f"link set {name} up",
        )

    def _connect(self, container: Container, place: Place) -> None:
        name = f"c{container.number}"
        self._link(name, container.number, place)
        place.ip(
            f"link set eth0 address {container.mac}",
            "link set eth0 up",
            f"addr add {container.ipv4}/24 dev eth0",
            f"addr add {container.ipv6}/64 dev eth0 nodad",
            "route add default via 10.200.1.1",
            "route add default via fd00::1",
        )
        self.host.ip(
            f"route add {container.ipv4}/32 dev {name}",
            f"route add {container.ipv6}/128 dev {name}",
            f"neigh add {container.ipv4} lladdr {container.mac} dev {name} nud permanent",
            f"neigh add {container.ipv6} lladdr {container.mac} dev {name} nud permanent",
        )
        with self.host.entered():
            attach(
                container.number,
                self.node.programs["from_container"],
                self.node.programs["to_container"],
            )

    def set_mtu(self, container: Container, place: Place, mtu: int) -> None:
        self.host.ip(f"link set c{container.number} mtu {mtu}")
        place.ip(f"link set eth0 mtu {mtu}")

    def _connect_world(self) -> None:
        self._link("up0", UPLINK, self.world, mac="02:00:00:00:00:20")
        self.host.ip(
            f"addr add {HOST4}/32 dev up0",
            f"addr add {HOST6}/128 dev up0 nodad",
            f"route add {WORLD4}/32 dev up0",
            f"route add {WORLD6}/128 dev up0",
        )
        self.world.ip(
            "link set eth0 address 02:00:00:00:00:21",
            "link set eth0 up",
            f"addr add {WORLD4}/32 dev eth0",
            f"addr add {WORLD6}/128 dev eth0 nodad",
            f"route add {HOST4}/32 dev eth0",
            f"route add {HOST6}/128 dev eth0",
            f"route add default via {HOST4} dev eth0 onlink",
            f"route add default via {HOST6} dev eth0 onlink",
        )
        self.host.ip(
            f"neigh add {WORLD4} lladdr 02:00:00:00:00:21 dev up0 nud permanent",
            f"neigh add {WORLD6} lladdr 02:00:00:00:00:21 dev up0 nud permanent",
        )
        self.world.ip(
            f"neigh add {HOST4} lladdr 02:00:00:00:00:20 dev eth0 nud permanent",
            f"neigh add {HOST6} lladdr 02:00:00:00:00:20 dev eth0 nud permanent",
        )


def echo(client: socket.socket, server: socket.socket, address: tuple[str, int], data: bytes) -> bytes:
    """There and back by UDP, in several attempts: the fragments of a sender that changes processors
    meanwhile may overtake each other, and one before its first is lost."""
    for end in (client, server):
        end.settimeout(1)
    for _ in range(int(PATIENCE)):
        try:
            client.sendto(data, address)
            got, sender = server.recvfrom(65536)
            server.sendto(got, sender)
            return client.recv(65536)
        except TimeoutError:
            continue
    raise TimeoutError(f"no answer from {address}")


def connected(
    client: Place, server: Place, address: str, port: int = 80
) -> tuple[socket.socket, socket.socket]:
    """A TCP connection, both ends."""
    with server.listener(address, port) as listening:
        near = client.socket(address, socket.SOCK_STREAM)
        near.connect((address, port))
        far, _ = listening.accept()
    far.settimeout(PATIENCE)
    return near, far


def quiet(receiver: socket.socket) -> bool:
    """Nothing comes any more; what had come before is taken."""
    while select.select([receiver], [], [], SOON)[0]:
        if not receiver.recv(1 << 20):
            return False
    return True
