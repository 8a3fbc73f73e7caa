"""What our program is measured against: a plain one that does the same (bench/peer), and one of another project
that is read where it lies, beside this repository, and is no part of it. Their tables hold what ours hold."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench._scene import (
    LOOPBACK,
    MAC_BYTES,
    OPEN_PORT,
    OTHERS,
    OWN_IDENTITY,
    RULES,
    TARGET,
    TARGET_IDENTITY,
    TARGET_INTERFACE,
    TCP,
    Subject,
)
from datapath import syscall
from datapath.attributes import NO_PREALLOC, MapType, ProgramType
from datapath.compile import SOURCES
from datapath.features import probe
from datapath.headers import find_headers
from datapath.loader import compile_with_bcc
from datapath.ringbuf import RingBuffer
from model.flow import Direction

PLAIN = Path(__file__).parent / "peer" / "peer.c"
REFERENCE = (
    Path(__file__).parents[2] / "shared" / "reference" / "experiments" / "datapath" / "bpf" / "dp_tc.c"
)
"""Absent in a clone that stands alone."""

PROG_ARRAY, PERCPU_HASH = 3, 5
Forms = Mapping[str, tuple[int, int, int, int, int]]
"""Map by map: type, size of key and value, entries, flags."""

PLAIN_MAPS: Forms = {
    "peer_endpoints": (MapType.HASH, 4, 24, 65536, NO_PREALLOC),
    "peer_addresses": (MapType.LPM_TRIE, 8, 24, 262144, NO_PREALLOC),
    "peer_flows": (MapType.LRU_HASH, 16, 32, 262144, 0),
    "peer_policies": (MapType.HASH, 12, 8, 65536, NO_PREALLOC),
    "peer_counters": (PERCPU_HASH, 8, 16, 1024, 0),
    "peer_events": (MapType.RINGBUF, 0, 0, 1 << 20, 0),
}

REFERENCE_MAPS: Forms = {
    "endpoints": (MapType.HASH, 4, 28, 65536, NO_PREALLOC),
    "ipcache": (MapType.LPM_TRIE, 8, 28, 512000, NO_PREALLOC),
    "ct4": (MapType.LRU_HASH, 16, 56, 131072, 0),
    "policy": (MapType.HASH, 12, 24, 16384, NO_PREALLOC),
    "svc": (MapType.HASH, 12, 8, 65536, NO_PREALLOC),
    "backends": (MapType.HASH, 4, 8, 65536, NO_PREALLOC),
    "revnat": (MapType.HASH, 4, 8, 65536, NO_PREALLOC),
    "metrics": (PERCPU_HASH, 8, 16, 1024, 0),
    "calls": (PROG_ARRAY, 4, 4, 64, 0),
    "events": (MapType.RINGBUF, 0, 0, 1 << 20, 0),
}
"""As its own loader makes them. There are no services, which is the least that it can spend on them."""


@contextmanager
def plain() -> Iterator[tuple[Subject, Subject]]:
    """The plain program, and one that does nothing."""
    with ExitStack() as opened:
        maps = create_maps(PLAIN_MAPS, opened)
        endpoint = struct.Struct("=III6s6s")
        syscall.update(
            maps["peer_endpoints"],
            struct.pack("=I", LOOPBACK),
            endpoint.pack(OWN_IDENTITY, LOOPBACK, 1, MAC_BYTES, MAC_BYTES),
        )
        addresses = {
            (address.packed, 32): endpoint.pack(1000 + number, 0, 0, MAC_BYTES, MAC_BYTES)
            for number, address in enumerate(OTHERS)
        }
        addresses[TARGET.packed, 32] = endpoint.pack(
            TARGET_IDENTITY, TARGET_INTERFACE, 2, MAC_BYTES, MAC_BYTES
        )
        fill(maps["peer_addresses"], addresses, maps["peer_policies"], policy_size=8)
        flags = [f"-I{SOURCES}", *probe().flags(), *(f"-DMAP_FD_{name}={fd}" for name, fd in maps.items())]
        programs = load(PLAIN, flags, opened)
        ring = open_ring(maps["peer_events"], opened)
        yield Subject(programs["peer"], ring), Subject(programs["nothing"])


@contextmanager
def reference() -> Iterator[Subject]:
    with ExitStack() as opened:
        maps = create_maps(REFERENCE_MAPS, opened)
        endpoint = struct.Struct("=II6s6sII")
        syscall.update(
            maps["endpoints"],
            struct.pack("=I", LOOPBACK),
            endpoint.pack(OWN_IDENTITY, LOOPBACK, MAC_BYTES, MAC_BYTES, 0, 1),
        )
        addresses = {
            (address.packed, 32): endpoint.pack(1000 + number, 0, bytes(6), bytes(6), 0, 0)
            for number, address in enumerate(OTHERS)
        }
        addresses[TARGET.packed, 32] = endpoint.pack(
            TARGET_IDENTITY, TARGET_INTERFACE, MAC_BYTES, MAC_BYTES, 0, 2
        )
        fill(maps["ipcache"], addresses, maps["policy"], policy_size=24)
        # The warnings are not ours to mend.
        flags = ["-DUSE_BCC", f"-I{REFERENCE.parent}", "-w"]
        flags += [f"-DFD_{name}={fd}" for name, fd in maps.items()]
        programs = load(REFERENCE, flags, opened)
        yield Subject(programs["from_container"], open_ring(maps["events"], opened))


def create_maps(forms: Forms, opened: ExitStack) -> dict[str, int]:
    maps = {}
    for name, (kind, key, value, size, flags) in forms.items():
        maps[name] = syscall.create_map(kind, key, value, size, flags=flags, name=name)  # type: ignore[arg-type]
        opened.callback(os.close, maps[name])
    return maps


def fill(
    addresses: int, known: Mapping[tuple[bytes, int], bytes], policies: int, *, policy_size: int
) -> None:
    """What both peers key alike: prefixes, and policies by whose, peer, port, protocol and direction."""
    for (address, length), value in known.items():
        syscall.update(addresses, struct.pack("=I4s", length, address), value)
    rules = [(1, 0, 0, 0, Direction.EGRESS), (2, OWN_IDENTITY, OPEN_PORT, TCP, Direction.INGRESS)]
    rules += [(2, 5000 + number, OPEN_PORT, TCP, Direction.INGRESS) for number in range(RULES)]
    for policy, identity, port, protocol, direction in rules:
        key = struct.pack("=II", policy, identity) + struct.pack("!HBB", port, protocol, direction)
        syscall.update(policies, key, bytes(policy_size))


def load(source: Path, flags: Sequence[str], opened: ExitStack) -> dict[str, int]:
    # By BCC in this process: a benchmark may be large.
    programs = {}
    for name, code in compile_with_bcc(find_headers(), source, flags).items():
        programs[name] = syscall.load_program(ProgramType.SCHED_CLS, code, name=name)
        opened.callback(os.close, programs[name])
    return programs


def open_ring(fd: int, opened: ExitStack) -> RingBuffer:
    ring = RingBuffer(os.dup(fd))
    opened.callback(ring.close)
    return ring
