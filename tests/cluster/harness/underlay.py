"""What is between the hosts: a bridge in a sandbox of its own, whose owner is also the router to the world.

A host's port can be cut from all others, or from single ports of theirs; packets can be lost and, where the kernel has
netem, delayed. All of it is done to the bridge: no host notices but by what does not arrive."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.docker.harness.capture import Capture
from tests.docker.harness.sandbox import Sandbox, wait_until
from tests.docker.harness.world import FAR4, FAR6, ROUTER4, ROUTER6, World, ask_router_for_names

BRIDGE = "lan"

_BRIDGE = f"""
ip link add {BRIDGE} type bridge mcast_snooping 0
echo 0 > /proc/sys/net/ipv6/conf/{BRIDGE}/accept_dad
ip address add {ROUTER4}/24 dev {BRIDGE}
ip address add {ROUTER6}/64 dev {BRIDGE} nodad
ip address add {FAR4}/32 dev lo
ip address add {FAR6}/128 dev lo
ip link set {BRIDGE} up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
nft add table bridge trouble
nft add chain bridge trouble cut '{{ type filter hook forward priority 0; }}'
nft add chain bridge trouble lossy '{{ type filter hook forward priority 1; }}'
"""

_UPLINK = """
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip address add {address4}/24 dev eth0
ip address add {address6}/64 dev eth0 nodad
ip link set eth0 up
ip route add default via {router4}
ip -6 route add default via {router6}
"""


def address4(number: int) -> str:
    return f"192.0.2.{10 + number}"


def address6(number: int) -> str:
    return f"2001:db8::{10 + number}"


class Underlay:
    """Hosts are known by their number, from 1."""

    def __init__(self) -> None:
        self.sandbox = Sandbox()
        try:
            self.sandbox.run("sh", "-ec", _BRIDGE)
        except BaseException:
            self.sandbox.close()
            raise
        self.world = World(self.sandbox, ())

    def close(self) -> None:
        self.sandbox.close()

    def join(self, number: int, sandbox: Sandbox) -> World:
        """Gives the host `eth0` with its addresses and a default route."""
        port = _port(number)
        make = ["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(sandbox.pid)]
        # In the machine's pid namespace, where both sandboxes have a number.
        subprocess.run(["nsenter", "-t", str(self.sandbox.pid), "-n", *make], check=True)
        self.sandbox.run("sh", "-ec", f"ip link set {port} master {BRIDGE}; ip link set {port} up")
        setup = _UPLINK.format(
            address4=address4(number), address6=address6(number), router4=ROUTER4, router6=ROUTER6
        )
        sandbox.run("sh", "-ec", setup)
        wait_until(lambda: self._forwards(port), f"port {port} of the bridge forwards")
        ask_router_for_names(sandbox)
        return self.world

    def _forwards(self, port: str) -> bool:
        (link,) = json.loads(self.sandbox.run("bridge", "-j", "link", "show", "dev", port).out)
        return bool(link["state"] == "forwarding")

    # Trouble

    def cut(self, number: int) -> None:
        """Nothing passes the host's port any more; its link stays up."""
        self.sandbox.run("bridge", "link", "set", "dev", _port(number), "state", "disabled")

    def cut_ports(self, number: int, ports: Iterable[int]) -> None:
        """Nobody but the host itself reaches these ports (TCP and UDP) at the host, nor it these ports elsewhere."""
        places = "{ " + ", ".join(map(str, ports)) + " }"
        for side in ("iifname", "oifname"):
            for end in ("dport", "sport"):
                rule = f"{side} {_port(number)} meta l4proto {{ tcp, udp }} th {end} {places} drop"
                self.sandbox.run("nft", "add", "rule", "bridge", "trouble", "cut", rule)

    def lose(self, permille: int) -> None:
        """So many of a thousand packets between hosts, from now on."""
        self.sandbox.run("nft", "flush", "chain", "bridge", "trouble", "lossy")
        if permille:
            some = f"numgen random mod 1000 < {permille}" if permille < 1000 else ""
            self.sandbox.run("nft", "add", "rule", "bridge", "trouble", "lossy", f"{some} drop")

    def delay(self, number: int, milliseconds: int) -> bool:
        """Of all that the host is sent, from now on; False where the kernel has no netem."""
        qdisc = ("tc", "qdisc", "replace", "dev", _port(number), "root")
        netem = ("netem", "delay", f"{milliseconds}ms")
        return self.sandbox.run(*qdisc, *netem, check=False).status == 0

    def heal(self) -> None:
        """Ends all trouble."""
        for chain in ("cut", "lossy"):
            self.sandbox.run("nft", "flush", "chain", "bridge", "trouble", chain)
        for link in json.loads(self.sandbox.run("bridge", "-j", "link").out):
            if link["state"] == "disabled":
                self.sandbox.run("bridge", "link", "set", "dev", link["ifname"], "state", "forwarding")
            self.sandbox.run("tc", "qdisc", "delete", "dev", link["ifname"], "root", check=False)

    @contextmanager
    def capture(self, number: int, expression: str = "") -> Iterator[Capture]:
        """What passes the host's port."""
        with Capture.on(self.sandbox, _port(number), expression, "") as capture:
            yield capture


def _port(number: int) -> str:
    return f"to{number}"
