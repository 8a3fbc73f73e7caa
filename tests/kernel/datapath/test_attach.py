"""Programs on real veths: they see the packets of their direction, one replaces another, and they go."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from datapath import syscall
from datapath.attach import attach, attached, attached_ids, detach
from datapath.attributes import AttachType, MapType
from datapath.features import has_tcx
from tests.conftest import require
from tests.kernel.datapath.assembly import DROP, PASS, counting, load
from tests.kernel.netns import in_own_netns

FRAME = bytes.fromhex("ffffffffffff 024200000001 0800") + bytes(50)


class Counted:
    """The two programs, each with a counter of what it saw."""

    def __init__(self, verdict: int = PASS) -> None:
        self.counters = [syscall.create_map(MapType.ARRAY, 4, 8, 1) for _ in range(2)]
        self.from_container = load(counting(self.counters[0], verdict), "from_container")
        self.to_container = load(counting(self.counters[1], verdict), "to_container")

    def seen(self) -> tuple[int, int]:
        """(from the container, to the container)"""
        first, second = (
            int.from_bytes(syscall.lookup(fd, bytes(4), 8) or b"", "little") for fd in self.counters
        )
        return first, second

    def close(self) -> None:
        for fd in (self.from_container, self.to_container, *self.counters):
            os.close(fd)


@pytest.fixture
def programs() -> Iterator[tuple[Counted, Counted]]:
    require(os.geteuid() == 0, "root, to attach programs")
    made = (Counted(), Counted())
    yield made
    for pair in made:
        pair.close()


@pytest.fixture(params=["tcx", "clsact"])
def tcx(request: pytest.FixtureRequest) -> bool:
    require(request.param == "clsact" or has_tcx(socket.if_nametoindex("lo")), "tcx")
    return bool(request.param == "tcx")


def make_veth() -> int:
    """The ifindex of the host's end, `bh0`; the container's is `bc0`."""
    for command in (
        "ip link add bh0 type veth peer name bc0",
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
        "ip link set bh0 up",
        "ip link set bc0 up",
    ):
        subprocess.run(command.split(), check=True)
    return socket.if_nametoindex("bh0")


def send(ifname: str, count: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((ifname, 0))
        for _ in range(count):
            raw.send(FRAME)


@in_own_netns
def test_each_program_sees_the_packets_of_its_direction(programs: tuple[Counted, Counted], tcx: bool) -> None:
    ifindex, (first, _) = make_veth(), programs
    assert not attached(ifindex, tcx=tcx)
    attach(ifindex, first.from_container, first.to_container, tcx=tcx)
    assert attached(ifindex, tcx=tcx)
    send("bc0", 3)
    send("bh0", 2)
    assert first.seen() == (3, 2)


@in_own_netns
def test_the_best_way_is_chosen_where_none_is_named(programs: tuple[Counted, Counted]) -> None:
    ifindex, (first, _) = make_veth(), programs
    attach(ifindex, first.from_container, first.to_container)
    assert attached(ifindex, tcx=has_tcx(ifindex))
    send("bc0", 1)
    assert first.seen() == (1, 0)


@in_own_netns
def test_attaching_again_changes_nothing(programs: tuple[Counted, Counted], tcx: bool) -> None:
    ifindex, (first, _) = make_veth(), programs
    for _ in range(3):
        attach(ifindex, first.from_container, first.to_container, tcx=tcx)
    send("bc0", 1)
    assert first.seen() == (1, 0)


@in_own_netns
def test_new_programs_take_the_place_of_old_ones(programs: tuple[Counted, Counted], tcx: bool) -> None:
    """While packets flow, each one is seen by exactly one of the two."""
    ifindex, (first, second) = make_veth(), programs
    attach(ifindex, first.from_container, first.to_container, tcx=tcx)
    sent = 0
    for number in range(40):
        new = (second, first)[number % 2]
        attach(ifindex, new.from_container, new.to_container, tcx=tcx)
        send("bc0", 5)
        sent += 5
    assert first.seen()[0] + second.seen()[0] == sent
    assert min(first.seen()[0], second.seen()[0]) > 0


@in_own_netns
def test_detached_means_gone(programs: tuple[Counted, Counted], tcx: bool) -> None:
    ifindex, (first, _) = make_veth(), programs
    attach(ifindex, first.from_container, first.to_container, tcx=tcx)
    detach(ifindex, tcx=tcx)
    assert not attached(ifindex, tcx=tcx)
    send("bc0", 1)
    assert first.seen() == (0, 0)
    detach(ifindex, tcx=tcx)


@in_own_netns
def test_other_peoples_programs_stay(programs: tuple[Counted, Counted]) -> None:
    ifindex, (first, second) = make_veth(), programs
    require(has_tcx(ifindex), "tcx")
    other = load(counting(second.counters[0], PASS), "other")
    syscall.attach_program(other, ifindex, AttachType.TCX_INGRESS)
    attach(ifindex, first.from_container, first.to_container)
    detach(ifindex)
    left = syscall.attached_programs(ifindex, AttachType.TCX_INGRESS)
    assert left == [syscall.program_info(other).id]
    os.close(other)


@in_own_netns
def test_programs_stay_attached_when_nobody_holds_them(tcx: bool) -> None:
    require(os.geteuid() == 0, "root, to attach programs")
    ifindex = make_veth()
    dropping = Counted(DROP)
    attach(ifindex, dropping.from_container, dropping.to_container, tcx=tcx)
    dropping.close()
    assert attached(ifindex, tcx=tcx)
    with pytest.raises(OSError, match="No buffer space available"):
        send("bh0", 1)


@in_own_netns
def test_an_interface_that_is_gone(programs: tuple[Counted, Counted], tcx: bool) -> None:
    first, _ = programs
    with pytest.raises(OSError, match="No such device"):
        attach(4711, first.from_container, first.to_container, tcx=tcx)
    detach(4711, tcx=tcx)
    assert not attached(4711, tcx=tcx)


@in_own_netns
def test_who_is_attached_is_told_by_number(programs: tuple[Counted, Counted], tcx: bool) -> None:
    ifindex, (first, second) = make_veth(), programs

    def numbers(pair: Counted) -> set[int]:
        return {syscall.program_info(fd).id for fd in (pair.from_container, pair.to_container)}

    assert attached_ids(ifindex, tcx=tcx) == set()
    attach(ifindex, first.from_container, first.to_container, tcx=tcx)
    assert attached_ids(ifindex, tcx=tcx) == numbers(first)
    attach(ifindex, second.from_container, second.to_container, tcx=tcx)
    assert attached_ids(ifindex, tcx=tcx) == numbers(second)
    assert attached_ids(999, tcx=tcx) == set()
