"""What a TCP request costs between two containers of one host: over a ciliate network, over a bridge network of the
same engine, and over a bare veth pair. One thread on one CPU plays both ends (traffic.c), so the figures are CPU time,
all of the kernel's work included: requests that one CPU can do in a second.

The same two containers are on all of these networks, so that they differ in nothing else: Docker's rules for its DNS,
for one, make every packet in a container with a network of its own pass conntrack there. What that costs shows beside
a veth pair between two namespaces in which there is nothing at all."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench._host import host
from bench._report import DIRECTORY, Result, write
from tests.docker.harness.host import Host
from tests.docker.harness.rules import allow, port, selector

ROUNDS = 10
SECONDS = 1.2
"""Of each workload in each round, shared by the paths."""
PORT = 7001

BARE, EMPTY = ("198.18.0.1", "198.18.0.2"), ("198.18.1.1", "198.18.1.2")

UNITS = {"rr": "requests", "bulk": "MiB", "crr": "connections"}
PEERS = {"bridge": "bridge", "bare": "bare veth", "empty": "bare veth, nothing else"}

Figures = Mapping[tuple[str, str], float]
"""(workload, path) -> ns of an operation."""

_LINK = """
ip link add {0} netns {1} type veth peer name {0} netns {2}
ip -n {1} address add {3}/30 dev {0}
ip -n {2} address add {4}/30 dev {0}
ip -n {1} link set {0} up
ip -n {2} link set {0} up
"""

_PREPARE = """
mkdir -p /run/netns
touch /run/netns/client /run/netns/server
mount --bind {client} /run/netns/client
mount --bind {server} /run/netns/server
ip netns add one
ip netns add two
for namespace in client server one two; do
  ip netns exec $namespace sysctl -qw net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range="1024 65000"
done
"""
"""A port that waits for stray segments is taken again after a second, so that new connections always find one."""


def build() -> Path:
    program = DIRECTORY / "traffic"
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("traffic.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-o", program, source], check=True)
    return program


def prepare(machine: Host) -> list[str]:
    """Containers and links; answers the paths as traffic.c takes them."""
    machine.network("ciliate")
    machine.docker("network", "create", "bridge2")
    for name, label in (("client", "role=ok"), ("server", "app=web")):
        machine.start(name, "--network", "ciliate", "-l", label)
        machine.docker("network", "connect", "bridge2", name)
    machine.policy(allow(selector(app="web"), selector(role="ok"), port(PORT)))
    inside = {name: machine.inspect(name)["NetworkSettings"]["SandboxKey"] for name in ("client", "server")}
    script = _PREPARE.format(**inside)
    script += _LINK.format("bare", "client", "server", *BARE) + _LINK.format("bare", "one", "two", *EMPTY)
    machine.run("sh", "-ec", script)
    ends = {
        "ciliate": ("client", "server", machine.address("server", "ciliate")),
        "bridge": ("client", "server", machine.address("server", "bridge2")),
        "bare": ("client", "server", BARE[1]),
        "empty": ("one", "two", EMPTY[1]),
    }
    return [
        f"{name}=/run/netns/{client},/run/netns/{server},{address}"
        for name, (client, server, address) in ends.items()
    ]


def rounds(machine: Host, program: str, paths: list[str]) -> Iterator[Figures]:
    for number in range(ROUNDS):
        out = machine.run(program, str(number % 2), str(SECONDS), str(PORT), *paths).lines
        yield {(work, path): float(nanoseconds) for work, path, nanoseconds, _, _ in map(str.split, out)}


def results(figures: list[Figures]) -> list[Result]:
    def speed(work: str, path: str) -> float:
        """Operations a second; of bulk's KiB, MiB."""
        per_second = 1e9 / statistics.median(round[work, path] for round in figures)
        return per_second / 1024 if work == "bulk" else per_second

    found = []
    for work, what in UNITS.items():
        for peer, name in PEERS.items():
            ratio = statistics.median(round[work, peer] / round[work, "ciliate"] for round in figures)
            value, other = speed(work, "ciliate"), speed(work, peer)
            found.append(Result(work, value, f"{what}/s", name, other, round(ratio, 3), len(figures)))
    return found


def main() -> None:
    with host() as machine:
        machine.agent.start()
        paths = prepare(machine)
        program = machine.sandbox.directory / "traffic"
        shutil.copy(build(), program)
        figures = list(rounds(machine, str(program), paths))
    write("traffic", results(figures))


if __name__ == "__main__":
    main()
