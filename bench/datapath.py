"""ns per packet of the program at a container's interface, beside a plain one that does the same (bench/peer)
and, where it lies beside this repository, the reference program: an established flow, a new flow, a packet that
policy denies. And an established flow with and without rules. All by BPF_PROG_TEST_RUN, in turns; what running
a program costs by itself is taken off.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Network, ip_network
from itertools import count
from pathlib import Path

from bench._peers import REFERENCE, plain, reference
from bench._report import DIRECTORY, Result, write
from bench._scene import (
    ACK,
    CLOSED_PORT,
    LOOPBACK,
    MAC,
    OPEN_PORT,
    OTHERS,
    OWN,
    OWN_IDENTITY,
    RULES,
    SYN,
    TARGET,
    TARGET_IDENTITY,
    TARGET_INTERFACE,
    TCP,
    Subject,
    packet,
)
from datapath.kernel import KernelDatapath
from datapath.pins import maps_directory, mount_bpffs, open_program, unmount
from datapath.ringbuf import RingBuffer
from datapath.tables import EndpointEntry, IpcacheEntry
from model.flow import Direction
from policy.mapstate import PolicyEntry, PolicyKey

ROUNDS = 15
REPEAT = 200_000
"""Runs in one measurement of a packet that makes no event."""
EVENTS = 5000
"""Runs in one measurement of a packet that makes one each: all fit into the ring."""
NEW_FLOWS = 1000
"""Measurements, of one run each, of a packet that cannot be sent again."""

REDIRECTED, DROPPED = 7, 2
NOTHING = "nothing"


@contextmanager
def ours(directory: Path) -> Iterator[tuple[Subject, KernelDatapath]]:
    """Our program over tables that hold what a busy node holds."""
    root = directory / "bpf"
    mount_bpffs(root)
    try:
        loader = [sys.executable, "-m", "datapath.loader", "--root", root]
        loader += ["--cache", DIRECTORY.parent / "bpf"]
        subprocess.run(loader, check=True, stdout=subprocess.DEVNULL)
        ring = RingBuffer(maps_directory(root) / "events")
        program = open_program(root, "from_container")
        with KernelDatapath(root) as datapath:
            fill(datapath)
            yield Subject(program, ring), datapath
        os.close(program)
        ring.close()
    finally:
        unmount(root)


def fill(datapath: KernelDatapath) -> None:
    datapath.endpoints.put(LOOPBACK, EndpointEntry(OWN_IDENTITY, 2, 1, 0, OWN, None, 1, MAC))
    others = {IPv4Network(address): IpcacheEntry(1000 + number, 2) for number, address in enumerate(OTHERS)}
    datapath.ipcache.put_many(others)
    datapath.ipcache.put(ip_network("10.0.0.0/8"), IpcacheEntry(0))
    target = IpcacheEntry(TARGET_IDENTITY, 2, TARGET_INTERFACE, 2, id=2, mac=MAC)
    datapath.ipcache.put(IPv4Network(TARGET), target)
    allowed = PolicyEntry()
    datapath.replace_policies(
        {
            1: {PolicyKey(Direction.EGRESS): allowed},
            2: {
                **about_others(Direction.INGRESS, RULES),
                PolicyKey(Direction.INGRESS, OWN_IDENTITY, TCP, OPEN_PORT, 16): allowed,
            },
        }
    )


def about_others(direction: Direction, rules: int) -> dict[PolicyKey, PolicyEntry]:
    return {PolicyKey(direction, 5000 + number, TCP, OPEN_PORT, 16): PolicyEntry() for number in range(rules)}


def have_rules(datapath: KernelDatapath, rules: int) -> None:
    """So many for each end, in force for whatever comes next; none: all is allowed."""
    sides = {1: (Direction.EGRESS, TARGET_IDENTITY), 2: (Direction.INGRESS, OWN_IDENTITY)}
    datapath.replace_policies(
        {
            slot: {
                PolicyKey(direction, peer, TCP, OPEN_PORT, 16)
                if rules
                else PolicyKey(direction): PolicyEntry(),
                **about_others(direction, rules),
            }
            for slot, (direction, peer) in sides.items()
        }
    )
    datapath.bump_epoch()


Measure = Callable[[Subject], float]
"""-> ns."""


def repeated(data: bytes, verdict: int, repeat: int = REPEAT) -> Measure:
    def measure(subject: Subject) -> float:
        subject.make_room()
        subject.run(data)
        run = subject.run(data, repeat=repeat)
        assert run.result in (verdict, 0), f"verdict {run.result}"
        return run.duration_ns

    return measure


def several(measure: Measure) -> Measure:
    return lambda subject: statistics.median(measure(subject) for _ in range(9))


def once_each(flags: int) -> Measure:
    """A packet of a flow that was never there, many times over."""
    ports: dict[Subject, Iterator[int]] = defaultdict(lambda: count(1024))

    def measure(subject: Subject) -> float:
        subject.make_room()
        unused = ports[subject]
        return statistics.median(
            subject.run(packet(next(unused), OPEN_PORT, flags)).duration_ns for _ in range(NEW_FLOWS)
        )

    return measure


def in_turns(measures: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Medians over rounds, each of which takes all measures, in another order every time; less what is
    measured of nothing."""
    names = list(measures)
    found: dict[str, list[float]] = {name: [] for name in names}
    for round in range(ROUNDS):
        first = round % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(measures[name]())
    median = {name: statistics.median(values) for name, values in found.items()}
    nothing = median.pop(NOTHING)
    return {name: value - nothing for name, value in median.items()}


def beside_peers(metric: str, measure: Measure, subjects: Mapping[str, Subject]) -> list[Result]:
    """The first of the subjects beside each of the others."""
    found = in_turns({name: partial(measure, subject) for name, subject in subjects.items()})
    (_, value), *peers = found.items()
    return [result(metric, value, name, peer) for name, peer in peers]


def beside_no_rules(subject: Subject, nothing: Subject, datapath: KernelDatapath) -> Result:
    measure = repeated(packet(4000, OPEN_PORT, ACK), REDIRECTED)

    def with_rules(rules: int) -> float:
        have_rules(datapath, rules)
        return measure(subject)

    found = in_turns(
        {
            "some": partial(with_rules, RULES),
            "none": partial(with_rules, 0),
            NOTHING: partial(measure, nothing),
        }
    )
    return result(f"established flow, {RULES:,} rules", found["some"], "0 rules", found["none"])


def result(metric: str, value: float, peer: str, peer_value: float) -> Result:
    return Result(metric, value, "ns/packet", peer, peer_value, round(value / peer_value, 3), ROUNDS)


def main() -> None:
    with ExitStack() as opened:
        directory = opened.enter_context(tempfile.TemporaryDirectory())
        own, datapath = opened.enter_context(ours(Path(directory)))
        peer, nothing = opened.enter_context(plain())
        subjects = {"ours": own, "bench/peer": peer, NOTHING: nothing}
        if REFERENCE.exists():
            subjects["reference program"] = opened.enter_context(reference())
        else:
            print("no reference program beside this repository", file=sys.stderr)
        denied = several(repeated(packet(4001, CLOSED_PORT, SYN), DROPPED, EVENTS))
        write(
            "datapath",
            [
                *beside_peers(
                    "established flow", repeated(packet(4000, OPEN_PORT, ACK), REDIRECTED), subjects
                ),
                *beside_peers("new flow", once_each(SYN), subjects),
                *beside_peers("denied by policy", denied, subjects),
                beside_no_rules(own, nothing, datapath),
            ],
        )


if __name__ == "__main__":
    main()
