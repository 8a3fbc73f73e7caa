"""What only a real kernel can get wrong: other threads, other processes, many entries at a time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest

from datapath import syscall
from datapath.codec import encode_number
from datapath.kernel import KernelDatapath
from datapath.kernel_map import KernelMap
from datapath.kernel_waiting import WaitingMap
from datapath.maps import INNER, sized
from datapath.pins import create_map, open_or_create_maps, prepare
from datapath.tables import IpcacheEntry
from model.errors import Conflict
from model.flow import Direction
from policy.mapstate import PolicyEntry, PolicyKey


@pytest.fixture
def datapath(bpf_root: Path) -> Iterator[KernelDatapath]:
    prepare(bpf_root)
    for fd in open_or_create_maps(bpf_root, sized({}))[0].values():
        os.close(fd)
    with KernelDatapath(bpf_root) as opened:
        yield opened


def allow(cookie: int) -> dict[PolicyKey, PolicyEntry]:
    return {
        PolicyKey(Direction.INGRESS, identity): PolicyEntry(cookie=cookie) for identity in range(256, 266)
    }


def test_readers_see_one_policy_or_the_other(datapath: KernelDatapath) -> None:
    datapath.replace_policies({1: allow(0)})
    seen: list[dict[PolicyKey, PolicyEntry] | None] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(datapath.policy(1))

    reader = threading.Thread(target=read)
    reader.start()
    for cookie in range(1, 25):
        datapath.replace_policies({1: allow(cookie)})
    done.set()
    reader.join()
    valid = [allow(cookie) for cookie in range(25)]
    assert seen
    assert all(policy in valid for policy in seen)


def test_no_file_is_left_open(datapath: KernelDatapath) -> None:
    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = files()
    datapath.replace_policies({slot: allow(slot) for slot in range(100)})
    datapath.edit_policies([1], allow(7), [])
    datapath.policy(1)
    datapath.map_info()
    assert files() == before


def test_ten_thousand_addresses_in_a_tenth_of_a_second(datapath: KernelDatapath) -> None:
    """The best of three: other work on the machine is not what is measured."""
    first = int(IPv4Address("10.200.0.0"))
    entries = {
        ip_network(first + n): IpcacheEntry(256 + n, 2, mac="02:42:0a:c8:01:02") for n in range(10_000)
    }
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        datapath.ipcache.put_many(entries)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.1


def test_a_thousand_policies_in_a_fifth_of_a_second(datapath: KernelDatapath) -> None:
    policies = {slot: allow(slot) for slot in range(1000)}
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        datapath.replace_policies(policies)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.2


def test_five_hundred_that_share_a_map_are_told_once(datapath: KernelDatapath) -> None:
    """Of a million entries a hundredth would take longer than all of this."""
    same = {PolicyKey(Direction.INGRESS, number): PolicyEntry() for number in range(1, 2001)}
    datapath.replace_policies(dict.fromkeys(range(1, 501), same))
    datapath.edit_policies(range(1, 501), allow(7), [])
    found = datapath.policies(range(1, 501))
    assert {id(policy) for policy in found.values()} == {id(found[1])}
    assert found[1] == {**same, **allow(7)}


def test_maps_of_another_form_are_refused_and_left_alone(bpf_root: Path) -> None:
    prepare(bpf_root)
    for fd in open_or_create_maps(bpf_root, sized({"devices": 7}))[0].values():
        os.close(fd)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(Conflict, match="devices has type 1, key 4, value 4, size 7"):
        open_or_create_maps(bpf_root, sized({}))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with KernelDatapath(bpf_root) as datapath:
        assert {info.name: info.max_entries for info in datapath.map_info()}["devices"] == 7


def test_policies_are_the_same_where_each_entry_waits(bpf_root: Path) -> None:
    """As on kernels before 6.8."""
    prepare(bpf_root)
    opened, _ = open_or_create_maps(bpf_root, sized({"policies": 16}))
    fd = opened["policies"]
    plain, waiting = KernelMap("policies", fd, 4, 4, 16), WaitingMap("policies", fd, 4, 4, 16)
    assert dict(waiting.items()) == {}
    inner = create_map(INNER.with_size(4))
    waiting.put_many([(encode_number(slot), encode_number(inner)) for slot in range(1, 16, 2)])
    number = encode_number(syscall.map_info(inner).id)
    there = {encode_number(slot): number for slot in range(1, 16, 2)}
    assert dict(waiting.items()) == dict(plain.items()) == there
    for descriptor in (inner, *opened.values()):
        os.close(descriptor)
