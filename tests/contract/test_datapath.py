"""What every datapath promises about its tables, held against dicts and against a real kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from datapath import syscall
from datapath.abi import Ct4Key, Ct6Key, CtEntry, Metric
from datapath.codec import encode_number
from datapath.kernel import KernelDatapath, possible_cpus
from datapath.maps import sized
from datapath.memory import MemoryDatapath
from datapath.pins import maps_directory, open_or_create_maps, prepare
from datapath.tables import (
    ConntrackRecord,
    CtFlag,
    Datapath,
    DeviceClass,
    EndpointEntry,
    EndpointFlag,
    IpcacheEntry,
    NameKey,
    NodeEntry,
    Routing,
)
from model.errors import Exhausted, NotFound
from model.flow import Direction, DropReason
from policy.mapstate import DENY, PolicyEntry, PolicyKey

SIZES = {
    "endpoints": 4,
    "hosts4": 5000,
    "hosts6": 8,
    "prefixes4": 4,
    "prefixes6": 4,
    "policies": 64,
    "inner": 4,
    "ct4": 16384,
    "ct6": 1024,
    "fragments4": 64,
    "fragments6": 64,
    "devices": 4,
    "names": 4,
    "events": 4096,
}


@dataclass(frozen=True)
class Bench:
    """A datapath and what its programs would do to it. `reopened`: as after a restart of the agent."""

    datapath: Datapath
    reopened: Callable[[], Datapath]
    remember_flow: Callable[[ConntrackRecord], None]
    count: Callable[[DropReason, Direction, int], None]


def memory_bench() -> Bench:
    datapath = MemoryDatapath(SIZES)
    return Bench(datapath, lambda: datapath, datapath.remember_flow, datapath.count)


@pytest.fixture(params=["memory", "kernel"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "memory":
        yield memory_bench()
        return
    root = request.getfixturevalue("bpf_root")
    prepare(root)
    descriptors, _ = open_or_create_maps(root, sized(SIZES))
    opened: list[KernelDatapath] = []

    def reopen() -> Datapath:
        opened.append(KernelDatapath(root, inner_entries=SIZES["inner"]))
        return opened[-1]

    def remember_flow(record: ConntrackRecord) -> None:
        table = "ct4" if record.source.version == 4 else "ct6"
        syscall.update(descriptors[table], *as_a_program_stores_it(record))

    def count(reason: DropReason, direction: Direction, octets: int) -> None:
        key, width = encode_number(reason * 2 + direction), 16 * possible_cpus()
        before = syscall.lookup(descriptors["metrics"], key, width)
        assert before
        per_cpu = (Metric * possible_cpus()).from_buffer_copy(before)
        per_cpu[-1].packets += 1
        per_cpu[-1].bytes += octets - 1
        per_cpu[0].bytes += 1
        syscall.update(descriptors["metrics"], key, bytes(per_cpu))

    try:
        yield Bench(reopen(), reopen, remember_flow, count)
    finally:
        for datapath in opened:
            datapath.close()
        for fd in descriptors.values():
            os.close(fd)


def as_a_program_stores_it(record: ConntrackRecord) -> tuple[bytes, bytes]:
    ends = [(record.source, record.source_port), (record.destination, record.destination_port)]
    if record.flags & CtFlag.FROM_HIGH:
        ends.reverse()
    (low, low_port), (high, high_port) = ends
    key = Ct4Key() if record.source.version == 4 else Ct6Key()
    raw = bytearray(low.packed + high.packed + bytes(key)[2 * len(low.packed) :])
    filled = type(key).from_buffer(raw)
    filled.low_port, filled.high_port, filled.protocol = low_port, high_port, record.protocol
    value = CtEntry(
        epoch=record.epoch,
        expires=record.expires_ns,
        origin_packets=record.origin_packets,
        origin_bytes=record.origin_bytes,
        reply_packets=record.reply_packets,
        reply_bytes=record.reply_bytes,
        source_identity=record.source_identity,
        destination_identity=record.destination_identity,
        flags=record.flags,
        destination_port=record.policy_port,
    )
    return bytes(filled), bytes(value)


WEB = EndpointEntry(
    identity=1000,
    network=2,
    policy=7,
    flags=EndpointFlag.NO_WORLD,
    ipv4=IPv4Address("10.200.1.2"),
    ipv6=IPv6Address("fd00::2"),
    id=12,
    mac="02:42:0a:c8:01:02",
)
SPARE = EndpointEntry(
    identity=5, network=1, policy=0, flags=0, ipv4=None, ipv6=None, id=1, mac="02:42:00:00:00:01"
)
WEB_ADDRESS = IpcacheEntry(1000, 2, ifindex=9, policy=7, flags=2, id=12, mac="02:42:0a:c8:01:02")


def flow(number: int, *, expires: int = 1000, reverse: bool = False, v6: bool = False) -> ConntrackRecord:
    source, destination = ("fd00::1", "fd00::2") if v6 else ("10.200.1.2", "10.200.1.9")
    return ConntrackRecord(
        source=ip_address(destination if reverse else source),
        destination=ip_address(source if reverse else destination),
        source_port=number,
        destination_port=443,
        protocol=6,
        source_identity=1000,
        destination_identity=1001,
        policy_port=443,
        flags=CtFlag.SEEN_REPLY | (CtFlag.FROM_HIGH if reverse else CtFlag(0)),
        epoch=3,
        expires_ns=expires,
        origin_packets=10,
        origin_bytes=1400,
        reply_packets=9,
        reply_bytes=900,
    )


def allow(*ports: int) -> dict[PolicyKey, PolicyEntry]:
    return {PolicyKey(Direction.INGRESS, 1000, 6, port, 16): PolicyEntry(cookie=port) for port in ports}


class TestTables:
    def test_an_entry_is_found_until_it_is_deleted(self, bench: Bench) -> None:
        endpoints = bench.datapath.endpoints
        assert endpoints.get(9) is None
        endpoints.put(9, WEB)
        endpoints.put(10, SPARE)
        assert endpoints.get(9) == WEB
        assert dict(endpoints.items()) == {9: WEB, 10: SPARE}
        assert endpoints.delete(9)
        assert not endpoints.delete(9)
        assert dict(endpoints.items()) == {10: SPARE}

    def test_putting_again_replaces(self, bench: Bench) -> None:
        bench.datapath.endpoints.put(9, WEB)
        bench.datapath.endpoints.put(9, SPARE)
        assert dict(bench.datapath.endpoints.items()) == {9: SPARE}

    def test_a_full_table_refuses_new_entries_by_name_and_keeps_the_old(self, bench: Bench) -> None:
        bench.datapath.endpoints.put_many(dict.fromkeys(range(1, 5), WEB))
        with pytest.raises(Exhausted) as refusal:
            bench.datapath.endpoints.put(5, WEB)
        assert "endpoints is full (4 entries)" in refusal.value.message
        assert refusal.value.hint
        bench.datapath.endpoints.put(4, SPARE)
        assert bench.datapath.endpoints.get(4) == SPARE
        assert bench.datapath.endpoints.delete(1)
        bench.datapath.endpoints.put(5, WEB)

    def test_many_that_do_not_fit_are_refused(self, bench: Bench) -> None:
        with pytest.raises(Exhausted):
            bench.datapath.endpoints.put_many(dict.fromkeys(range(1, 9), WEB))
        assert len(dict(bench.datapath.endpoints.items())) == 4

    def test_many_are_deleted_whether_or_not_they_are_there(self, bench: Bench) -> None:
        bench.datapath.endpoints.put_many(dict.fromkeys((1, 2, 3, 4), WEB))
        bench.datapath.endpoints.delete_many([77, 1, 78, 79, 3, 80])
        assert sorted(dict(bench.datapath.endpoints.items())) == [2, 4]

    def test_nothing_to_do_is_no_error(self, bench: Bench) -> None:
        bench.datapath.endpoints.put_many({})
        bench.datapath.endpoints.delete_many([])
        assert list(bench.datapath.endpoints.items()) == []

    def test_devices_have_a_class(self, bench: Bench) -> None:
        bench.datapath.devices.put(2, DeviceClass.UPLINK)
        assert bench.datapath.devices.get(2) == DeviceClass.UPLINK

    def test_names_have_up_to_four_addresses_of_each_family(self, bench: Bench) -> None:
        names = bench.datapath.names
        web, db = NameKey(2, "web"), NameKey(3, "db_1.shop-x")
        addresses = (ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("fd00::1"))
        names.put_many({web: addresses, db: (ip_address("fd00::2"),)})
        assert dict(names.items()) == {web: addresses, db: (ip_address("fd00::2"),)}
        assert names.get(web) == addresses and names.get(NameKey(3, "web")) is None
        assert names.delete(web) and dict(names.items()).keys() == {db}


class TestIpcache:
    def test_each_kind_of_prefix_has_its_map(self, bench: Bench) -> None:
        entries = {
            ip_network("10.200.1.2/32"): WEB_ADDRESS,
            ip_network("10.200.0.0/16"): IpcacheEntry(0),
            ip_network("fd00::2/128"): WEB_ADDRESS,
            ip_network("fd00::/48"): IpcacheEntry(0, tunnel=IPv4Address("192.0.2.1")),
            ip_network("0.0.0.0/0"): IpcacheEntry(9),
        }
        bench.datapath.ipcache.put_many(entries)
        assert dict(bench.datapath.ipcache.items()) == entries
        used = {info.name: info.entries for info in bench.datapath.map_info()}
        assert (used["hosts4"], used["prefixes4"], used["hosts6"], used["prefixes6"]) == (1, 2, 1, 1)
        bench.datapath.ipcache.delete_many(entries)
        assert list(bench.datapath.ipcache.items()) == []

    def test_the_longest_prefix_says_who_an_address_is(self, bench: Bench) -> None:
        ipcache = bench.datapath.ipcache
        for number, prefix in enumerate(("10.0.0.0/8", "10.200.0.0/16", "10.200.1.0/24", "10.200.1.2/32"), 1):
            ipcache.put(ip_network(prefix), IpcacheEntry(number))

        def found(address: str) -> int | None:
            entry = ipcache.find(ip_address(address))
            return entry.identity if entry else None

        assert [found(a) for a in ("10.1.1.1", "10.200.9.1", "10.200.1.9", "10.200.1.2")] == [1, 2, 3, 4]
        assert found("11.0.0.1") is None
        assert found("fd00::1") is None
        assert ipcache.delete(ip_network("10.200.1.0/24"))
        assert found("10.200.1.9") == 2

    def test_getting_and_deleting_mean_exactly_one_prefix(self, bench: Bench) -> None:
        ipcache = bench.datapath.ipcache
        ipcache.put(ip_network("10.0.0.0/8"), IpcacheEntry(1))
        ipcache.put(ip_network("fd00::/16"), IpcacheEntry(2))
        for absent in ("10.0.0.0/9", "10.1.0.0/16", "10.0.0.0/7", "10.0.0.1/32", "fd00::/17", "fd00::1/128"):
            assert ipcache.get(ip_network(absent)) is None, absent
            assert not ipcache.delete(ip_network(absent)), absent
        assert ipcache.get(ip_network("10.0.0.0/8")) == IpcacheEntry(1)
        assert ipcache.get(ip_network("fd00::/16")) == IpcacheEntry(2)

    def test_full_maps_say_which_one(self, bench: Bench) -> None:
        for number in range(4):
            bench.datapath.ipcache.put(ip_network(f"10.{number}.0.0/16"), IpcacheEntry(0))
        with pytest.raises(Exhausted, match="prefixes4"):
            bench.datapath.ipcache.put(ip_network("10.9.0.0/16"), IpcacheEntry(0))
        bench.datapath.ipcache.put(ip_network("10.9.0.0/32"), IpcacheEntry(0))

    def test_more_entries_than_one_batch(self, bench: Bench) -> None:
        first = int(IPv4Address("10.200.0.0"))
        entries = {ip_network(first + number): IpcacheEntry(number) for number in range(5000)}
        bench.datapath.ipcache.put_many(entries)
        assert dict(bench.datapath.ipcache.items()) == entries
        bench.datapath.ipcache.delete_many(list(entries)[:4999])
        assert len(list(bench.datapath.ipcache.items())) == 1


class TestPolicies:
    def test_an_empty_slot_is_not_an_empty_policy(self, bench: Bench) -> None:
        assert bench.datapath.policy(3) is None
        bench.datapath.replace_policies({4: {}})
        assert bench.datapath.policy(3) is None
        assert bench.datapath.policy(4) == {}

    def test_every_kind_of_key_comes_back_as_it_was(self, bench: Bench) -> None:
        policy = {
            PolicyKey(Direction.EGRESS): PolicyEntry(),
            PolicyKey(Direction.INGRESS, 1000, 17): DENY,
            PolicyKey(Direction.INGRESS, 1000, 6, 443, 16): PolicyEntry(proxy_port=10001, cookie=7),
            PolicyKey(Direction.INGRESS, (1 << 24) + 1, 6, 0x1F80, 9): PolicyEntry(cookie=2**32 - 1),
        }
        bench.datapath.replace_policies({0: policy})
        assert bench.datapath.policy(0) == policy

    def test_replacing_leaves_nothing_of_the_old(self, bench: Bench) -> None:
        bench.datapath.replace_policies({1: allow(80), 2: allow(81)})
        bench.datapath.replace_policies({1: allow(443), 3: allow(22)})
        assert [bench.datapath.policy(slot) for slot in (1, 2, 3)] == [allow(443), allow(81), allow(22)]

    def test_nothing_is_published_if_one_does_not_fit(self, bench: Bench) -> None:
        bench.datapath.replace_policies({1: allow(80)})
        with pytest.raises(Exhausted, match="policies/inner is full"):
            bench.datapath.replace_policies({1: allow(443), 2: allow(*range(1, 6)), 3: {}})
        assert bench.datapath.policy(1) == allow(80)
        assert bench.datapath.policy(2) is None
        assert bench.datapath.policy(3) is None

    def test_there_are_only_so_many_slots(self, bench: Bench) -> None:
        with pytest.raises(Exhausted, match="policies is full"):
            bench.datapath.replace_policies({63: {}, 64: {}})
        assert bench.datapath.policy(63) is None
        with pytest.raises(Exhausted, match="policies is full"):
            bench.datapath.edit_policies([64], allow(80), [])

    def test_an_edit_changes_what_it_names(self, bench: Bench) -> None:
        bench.datapath.replace_policies({1: allow(80, 81)})
        changed = dict.fromkeys(allow(80), DENY)
        bench.datapath.edit_policies([1], {**changed, **allow(443)}, [*allow(81), *allow(9999)])
        assert bench.datapath.policy(1) == {**changed, **allow(443)}

    def test_an_edit_fills_a_spare_map_and_makes_one_where_none_is(self, bench: Bench) -> None:
        bench.datapath.replace_policies({1: {}})
        bench.datapath.edit_policies([1], allow(80), [])
        bench.datapath.edit_policies([2], allow(80), [])
        assert bench.datapath.policy(1) == bench.datapath.policy(2) == allow(80)

    def test_an_edit_that_does_not_fit_changes_nothing(self, bench: Bench) -> None:
        bench.datapath.replace_policies({1: allow(80, 81, 82)})
        for _ in range(2):
            with pytest.raises(Exhausted, match="policies/inner"):
                bench.datapath.edit_policies([1], allow(83, 84), allow(80))
            assert bench.datapath.policy(1) == allow(80, 81, 82)
        bench.datapath.edit_policies([1], allow(83), [])
        assert bench.datapath.policy(1) == allow(80, 81, 82, 83)

    def test_edits_that_come_and_go_do_not_wear_a_map_out(self, bench: Bench) -> None:
        bench.datapath.replace_policies({1: allow(80)})
        for port in range(1000, 1020):
            bench.datapath.edit_policies([1], allow(port), allow(port - 1))
        assert bench.datapath.policy(1) == allow(80, 1019)

    def test_slots_that_are_given_the_same_share_a_map(self, bench: Bench) -> None:
        same, like_it = allow(80), allow(80)
        bench.datapath.replace_policies({1: same, 2: same, 3: like_it})
        found = bench.datapath.policies(range(1, 5))
        assert found == {1: same, 2: same, 3: same}
        assert found[1] is found[2]
        assert found[1] is not found[3]
        after = bench.reopened().policies([2, 1])
        assert after[1] is after[2], "a restart finds it so"

    def test_each_map_is_shown_once(self, bench: Bench) -> None:
        same = allow(80)
        bench.datapath.replace_policies({1: same, 2: allow(81), 5: same})
        bench.datapath.replace_policies({7: {}})
        shown = sorted(bench.datapath.shown_policies(), key=lambda found: found[0])
        assert shown == [([1, 5], same), ([2], allow(81)), ([7], {})]

    def test_an_edit_for_all_who_share_a_map_leaves_it_shared(self, bench: Bench) -> None:
        same = allow(80)
        bench.datapath.replace_policies({1: same, 2: same, 3: allow(81)})
        for datapath in (bench.datapath, bench.reopened()):
            datapath.edit_policies([1, 2, 3], allow(443), [])
        found = bench.datapath.policies(range(1, 4))
        assert found == {1: allow(80, 443), 2: allow(80, 443), 3: allow(81, 443)}
        assert found[1] is found[2]

    def test_an_edit_for_some_who_share_a_map_leaves_the_others_alone(self, bench: Bench) -> None:
        same = allow(80, 81)
        bench.datapath.replace_policies(dict.fromkeys((1, 2, 3, 4), same))
        bench.reopened().edit_policies([1, 2], allow(443), allow(80))
        found = bench.reopened().policies(range(1, 5))
        assert found == {1: allow(81, 443), 2: allow(81, 443), 3: same, 4: same}
        assert found[1] is found[2]
        assert found[3] is found[4]

    def test_an_edit_that_one_map_cannot_take_changes_none(self, bench: Bench) -> None:
        same = allow(80)
        bench.datapath.replace_policies({1: same, 2: same, 3: same, 4: allow(1, 2, 3), 5: allow(4)})
        for slots in ([5, 4], [5, 1, 2, 3, 4], [1, 2, 4]):
            with pytest.raises(Exhausted, match="policies/inner"):
                bench.datapath.edit_policies(slots, allow(443, 444), allow(1, 80))
        assert bench.datapath.policies(range(1, 6)) == {
            **dict.fromkeys((1, 2, 3), same), 4: allow(1, 2, 3), 5: allow(4)
        }  # fmt: skip
        with pytest.raises(Exhausted, match="policies/inner"):
            bench.datapath.edit_policies([1], allow(1, 2, 3, 4), [])
        assert bench.datapath.policy(1) == same

    def test_a_slot_takes_over_the_map_of_another(self, bench: Bench) -> None:
        bench.datapath.replace_policies({1: allow(80), 2: allow(81)})
        bench.datapath.share_policy(2, 1)
        bench.datapath.share_policy(3, 2)
        bench.datapath.share_policy(3, 3)
        found = bench.reopened().policies(range(1, 4))
        assert found == dict.fromkeys((1, 2, 3), allow(80))
        assert found[1] is found[2] is found[3]
        bench.datapath.edit_policies([2], allow(22), [])
        assert bench.datapath.policy(1) == allow(80)
        with pytest.raises(NotFound):
            bench.datapath.share_policy(1, 9)
        with pytest.raises(Exhausted):
            bench.datapath.share_policy(64, 1)
        assert bench.datapath.policy(1) == allow(80)

    def test_who_is_released_is_not_spared(self, bench: Bench) -> None:
        same = allow(80)
        bench.datapath.replace_policies(dict.fromkeys((1, 2, 3), same))
        bench.datapath.release_policy(3)
        bench.datapath.edit_policies([1, 2], allow(443), [])
        found = bench.datapath.policies([1, 2])
        assert found == dict.fromkeys((1, 2), allow(80, 443))
        assert found[1] is found[2]
        bench.datapath.release_policy(3)
        bench.datapath.replace_policies({3: {}})
        bench.datapath.edit_policies([3], allow(22), [])
        assert bench.datapath.policies(range(4)) == {**dict.fromkeys((1, 2), allow(80, 443)), 3: allow(22)}

    def test_who_comes_back_is_spared_again(self, bench: Bench) -> None:
        """Where a change was given up half-way, the slot is still somebody's."""
        same = allow(80)
        bench.datapath.replace_policies(dict.fromkeys((1, 2, 3), same))
        bench.datapath.release_policy(3)
        bench.datapath.policies(range(4))
        bench.datapath.edit_policies([1, 2], allow(443), [])
        assert bench.datapath.policy(3) == same

    def test_all_slots_at_once(self, bench: Bench) -> None:
        bench.datapath.replace_policies({slot: allow(slot + 1) for slot in range(64)})
        assert all(bench.datapath.policy(slot) == allow(slot + 1) for slot in range(64))


class TestConntrack:
    def test_a_flow_is_told_from_its_opener(self, bench: Bench) -> None:
        flows = [flow(1), flow(2, reverse=True), flow(3, v6=True), flow(4, v6=True, reverse=True)]
        for record in flows:
            bench.remember_flow(record)
        assert sorted(bench.datapath.conntrack(), key=lambda record: record.source_port) == flows

    def test_expired_flows_go_and_others_stay(self, bench: Bench) -> None:
        bench.remember_flow(flow(1, expires=1000))
        bench.remember_flow(flow(2, expires=1001))
        bench.remember_flow(flow(3, expires=999, v6=True))
        assert bench.datapath.collect_conntrack(1000, ()) == 2
        assert list(bench.datapath.conntrack()) == [flow(2, expires=1001)]
        assert bench.datapath.collect_conntrack(1000, ()) == 0

    def test_flows_of_a_gone_address_go_at_once(self, bench: Bench) -> None:
        bench.remember_flow(flow(1))
        bench.remember_flow(flow(2, reverse=True))
        bench.remember_flow(flow(3, v6=True))
        assert bench.datapath.collect_conntrack(0, [ip_address("10.200.1.2"), ip_address("192.0.2.7")]) == 2
        assert [record.source_port for record in bench.datapath.conntrack()] == [3]
        assert bench.datapath.collect_conntrack(0, [ip_address("fd00::2")]) == 1

    def test_a_flow_that_is_both_expired_and_gone_counts_once(self, bench: Bench) -> None:
        bench.remember_flow(flow(1))
        assert bench.datapath.collect_conntrack(5000, [ip_address("10.200.1.2")]) == 1

    def test_more_flows_than_one_slice(self, bench: Bench) -> None:
        for number in range(6000):
            bench.remember_flow(flow(number, expires=1 + number % 2))
        assert bench.datapath.collect_conntrack(1, ()) == 3000
        left = list(bench.datapath.conntrack())
        assert len(left) == 3000
        assert {record.expires_ns for record in left} == {2}


class TestNode:
    def test_it_is_alone_until_told_of_others(self, bench: Bench) -> None:
        assert bench.datapath.node() == NodeEntry()
        tunnelled = NodeEntry(Routing.TUNNEL, 9, 1450, IPv4Address("192.0.2.1"), 8472)
        bench.datapath.set_node(tunnelled)
        assert bench.reopened().node() == bench.datapath.node() == tunnelled
        bench.datapath.set_node(NodeEntry())
        assert bench.datapath.node() == NodeEntry()

    def test_an_epoch_never_comes_twice(self, bench: Bench) -> None:
        epochs = [bench.datapath.bump_epoch() for _ in range(3)]
        epochs.append(bench.reopened().bump_epoch())
        assert epochs == sorted(set(epochs))

    def test_counters_are_those_of_all_cpus(self, bench: Bench) -> None:
        assert bench.datapath.metrics() == {}
        bench.count(DropReason.POLICY_DENIED, Direction.INGRESS, 60)
        bench.count(DropReason.POLICY_DENIED, Direction.INGRESS, 40)
        bench.count(DropReason.NONE, Direction.EGRESS, 1500)
        assert bench.datapath.metrics() == {
            (DropReason.POLICY_DENIED, Direction.INGRESS): (2, 100),
            (DropReason.NONE, Direction.EGRESS): (1, 1500),
        }
        assert bench.datapath.lost_events() == 0

    def test_after_a_restart_everything_is_still_there(self, bench: Bench) -> None:
        bench.datapath.endpoints.put(9, WEB)
        bench.datapath.ipcache.put(ip_network("10.200.1.2/32"), WEB_ADDRESS)
        bench.datapath.replace_policies({7: allow(80, 443)})
        bench.remember_flow(flow(1))
        bench.count(DropReason.NONE, Direction.EGRESS, 1500)

        after = bench.reopened()

        assert after.endpoints.get(9) == WEB
        assert after.ipcache.get(ip_network("10.200.1.2/32")) == WEB_ADDRESS
        assert after.policy(7) == allow(80, 443)
        assert list(after.conntrack()) == [flow(1)]
        assert after.metrics() == {(DropReason.NONE, Direction.EGRESS): (1, 1500)}
        after.edit_policies([7], allow(22), allow(80))
        assert bench.datapath.policy(7) == allow(22, 443)

    def test_maps_tell_how_full_they_are(self, bench: Bench) -> None:
        bench.datapath.endpoints.put(9, WEB)
        bench.datapath.replace_policies({1: {}, 2: allow(80, 81, 82)})
        bench.remember_flow(flow(1))
        infos = {info.name: info for info in bench.datapath.map_info()}
        assert sorted(infos) == sorted(sized({}).keys() - {"inner"} | {"policies/inner"})
        fullest = infos["policies/inner"]
        assert (fullest.type, fullest.entries, fullest.max_entries) == ("lpm_trie", 3, 4)
        assert [info.name for info in bench.datapath.map_info(["policies/inner"])] == ["policies/inner"]
        assert (infos["endpoints"].type, infos["endpoints"].entries, infos["endpoints"].max_entries) == (
            "hash",
            1,
            4,
        )
        assert (infos["policies"].type, infos["policies"].entries) == ("array_of_maps", 2)
        assert (infos["ct4"].entries, infos["ct6"].entries) == (1, 0)
        assert infos["events"].entries is None


def test_a_new_epoch_map_begins_later_than_any_older_one_ended(bpf_root: Path) -> None:
    """Its pin may be lost while conntrack entries with old epochs live on."""
    prepare(bpf_root)

    def load() -> None:
        for fd in open_or_create_maps(bpf_root, sized(SIZES))[0].values():
            os.close(fd)

    load()
    with KernelDatapath(bpf_root) as datapath:
        for _ in range(100):
            before = datapath.bump_epoch()
    (maps_directory(bpf_root) / "epoch").unlink()
    load()
    with KernelDatapath(bpf_root) as datapath:
        assert datapath.bump_epoch() > before
