"""ns per packet of the program at a container's interface, beside a plain one that does the same
(bench/peer): an established flow, a new flow, a packet that policy denies. Both by BPF_PROG_TEST_RUN, in turns;
what running a program costs by itself is taken off.

The container's MAC address is the gateway's: the packet that a run leaves is the next run's packet, and must
still be one that the container may send.
"""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network, ip_network
from itertools import count
from pathlib import Path

from bench._report import DIRECTORY, Result, write
from datapath import syscall
from datapath.attributes import NO_PREALLOC, MapType, ProgramType
from datapath.compile import SOURCES
from datapath.features import probe
from datapath.headers import find_headers
from datapath.kernel import KernelDatapath
from datapath.loader import compile_with_bcc
from datapath.pins import mount_bpffs, open_program, unmount
from datapath.tables import EndpointEntry, IpcacheEntry
from model.flow import Direction
from policy.mapstate import PolicyEntry, PolicyKey

ROUNDS = 9
REPEAT = 200_000
"""Runs in one measurement of a packet that can be sent again."""
NEW_FLOWS = 1000
"""Measurements, of one run each, of a packet that cannot."""

LOOPBACK = 1
"""TEST_RUN's packets come from this interface."""
MAC = "02:63:69:6c:00:01"
OWN, TARGET = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
OTHERS = 10_000
"""Addresses of other containers, so that tables are not empty."""
RULES = 1000
"""Entries of other peers in the target's policy."""

TCP, SYN, ACK = 6, 2, 16
OPEN_PORT, CLOSED_PORT = 80, 81


def packet(source_port: int, destination_port: int, flags: int) -> bytes:
    mac = bytes.fromhex(MAC.replace(":", ""))
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 50, 1, 0, 64, TCP, 0, OWN.packed, TARGET.packed)
    tcp = struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, flags, 1000, 0, 0)
    return mac + mac + b"\x08\x00" + ip + tcp + bytes(10)


@contextmanager
def ours(directory: Path) -> Iterator[int]:
    """Our program over tables that hold what a busy node holds."""
    root = directory / "bpf"
    mount_bpffs(root)
    try:
        loader = [
            sys.executable,
            "-m",
            "datapath.loader",
            "--root",
            root,
            "--cache",
            DIRECTORY.parent / "bpf",
        ]
        subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
        with KernelDatapath(root) as datapath:
            fill(datapath)
        program = open_program(root, "from_container")
        yield program
        os.close(program)
    finally:
        unmount(root)


def fill(datapath: KernelDatapath) -> None:
    own = EndpointEntry(300, 2, 1, 0, OWN, None, 1, MAC)
    datapath.endpoints.put(LOOPBACK, own)
    others = {
        IPv4Network((int(IPv4Address("10.99.0.0")) + number, 32)): IpcacheEntry(1000 + number, 2)
        for number in range(OTHERS)
    }
    datapath.ipcache.put_many(others)
    datapath.ipcache.put(ip_network("10.0.0.0/8"), IpcacheEntry(0))
    datapath.ipcache.put(IPv4Network(TARGET), IpcacheEntry(301, 2, 5, 2, id=2, mac=MAC))
    allowed = PolicyEntry()
    closed = {PolicyKey(Direction.INGRESS, 5000 + number, TCP, 80, 16): allowed for number in range(RULES)}
    datapath.replace_policies(
        {
            1: {PolicyKey(Direction.EGRESS): allowed},
            2: {**closed, PolicyKey(Direction.INGRESS, 300, TCP, OPEN_PORT, 16): allowed},
        }
    )


PERCPU_HASH = 5
PEER_MAPS = {
    "peer_endpoints": (MapType.HASH, 4, 24, 65536, NO_PREALLOC),
    "peer_addresses": (MapType.LPM_TRIE, 8, 24, 262144, NO_PREALLOC),
    "peer_flows": (MapType.LRU_HASH, 16, 32, 262144, 0),
    "peer_policies": (MapType.HASH, 12, 8, 65536, NO_PREALLOC),
    "peer_counters": (PERCPU_HASH, 8, 16, 1024, 0),
    "peer_events": (MapType.RINGBUF, 0, 0, 1 << 20, 0),
}
"""Type, size of key and value, entries, flags."""


@contextmanager
def theirs() -> Iterator[Mapping[str, int]]:
    """The peer's programs over tables that hold the same."""
    with ExitStack() as opened:
        maps = {}
        for name, (kind, key, value, size, flags) in PEER_MAPS.items():
            maps[name] = syscall.create_map(kind, key, value, size, flags=flags, name=name)  # type: ignore[arg-type]
            opened.callback(os.close, maps[name])
        fill_peer(maps)
        programs = {}
        for name, code in compile_peer(maps).items():
            programs[name] = syscall.load_program(ProgramType.SCHED_CLS, code, name=name)
            opened.callback(os.close, programs[name])
        yield programs


def compile_peer(maps: Mapping[str, int]) -> Mapping[str, bytes]:
    # BCC is imported here, and in this process: a benchmark may be large.
    flags = [f"-I{SOURCES}", *probe().flags(), *(f"-DMAP_FD_{name}={fd}" for name, fd in maps.items())]
    return compile_with_bcc(find_headers(), Path(__file__).parent / "peer" / "peer.c", flags)


def fill_peer(maps: Mapping[str, int]) -> None:
    mac = bytes.fromhex(MAC.replace(":", ""))
    endpoint = struct.Struct("=III6s6s")
    own, target = endpoint.pack(300, LOOPBACK, 1, mac, mac), endpoint.pack(301, 5, 2, mac, mac)
    syscall.update(maps["peer_endpoints"], struct.pack("=I", LOOPBACK), own)
    for number in range(OTHERS):
        address = IPv4Address(int(IPv4Address("10.99.0.0")) + number)
        other = endpoint.pack(1000 + number, 0, 0, mac, mac)
        syscall.update(maps["peer_addresses"], struct.pack("=I4s", 32, address.packed), other)
    syscall.update(maps["peer_addresses"], struct.pack("=I4s", 32, TARGET.packed), target)
    rules = [(1, 0, 0, 0, Direction.EGRESS), (2, 300, OPEN_PORT, TCP, Direction.INGRESS)]
    rules += [(2, 5000 + number, OPEN_PORT, TCP, Direction.INGRESS) for number in range(RULES)]
    for policy, identity, port, protocol, direction in rules:
        key = struct.pack("=II", policy, identity) + struct.pack("!HBB", port, protocol, direction)
        syscall.update(maps["peer_policies"], key, bytes(8))


Measure = Callable[[int], float]
"""Program -> ns."""


def repeated(data: bytes, verdict: int) -> Measure:
    def measure(program: int) -> float:
        run = syscall.run_program(program, data, context=None, repeat=REPEAT)
        assert run.result in (verdict, 0), f"verdict {run.result}"
        return run.duration_ns

    return measure


def once_each(flags: int) -> Measure:
    """A packet of a flow that was never there, many times over."""
    ports = count(1024)

    def measure(program: int) -> float:
        runs = [
            syscall.run_program(program, packet(1024 + next(ports) % 64000, OPEN_PORT, flags))
            for _ in range(NEW_FLOWS)
        ]
        return statistics.median(run.duration_ns for run in runs)

    return measure


def compare(name: str, measure: Measure, programs: Mapping[str, int]) -> Result:
    """Medians over rounds, each of which measures all programs, in another order every time."""
    found: dict[str, list[float]] = {program: [] for program in programs}
    for round in range(ROUNDS):
        order = sorted(programs, key=lambda program: (round + hash(program)) % 3)
        for program in order:
            found[program].append(measure(programs[program]))
    median = {program: statistics.median(values) for program, values in found.items()}
    value, peer = median["ours"] - median["nothing"], median["peer"] - median["nothing"]
    return Result(name, value, "ns/packet", "bench/peer", peer, round_ratio(value, peer), ROUNDS)


def round_ratio(value: float, peer: float) -> float:
    return round(value / peer, 3)


def main() -> None:
    redirected, dropped = 7, 2
    with tempfile.TemporaryDirectory() as directory, ours(Path(directory)) as program, theirs() as peers:
        programs = {"ours": program, "peer": peers["peer"], "nothing": peers["nothing"]}
        write(
            "datapath",
            [
                compare("established flow", repeated(packet(4000, OPEN_PORT, ACK), redirected), programs),
                compare("new flow", once_each(SYN), programs),
                compare("denied by policy", repeated(packet(4001, CLOSED_PORT, SYN), dropped), programs),
            ],
        )


if __name__ == "__main__":
    main()
