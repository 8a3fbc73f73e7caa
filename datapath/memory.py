"""The datapath as dicts: what `datapath.kernel` does to a kernel, without one. PURE.

Shipped for tests of everything above the datapath and for dry runs. It judges no packets; conntrack
entries and counters come from `remember_flow` and `count`, where a kernel has programs to make them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from datapath.maps import POLICY_MAP, empty, full, sized
from datapath.tables import (
    ConntrackRecord,
    EndpointEntry,
    IpcacheEntry,
    MapInfo,
    NameKey,
    NodeEntry,
    table_name,
)
from model.flow import Direction, DropReason
from model.network import IPAddress, IPNetwork
from policy.mapstate import PolicyEntry, PolicyKey

K = TypeVar("K")
V = TypeVar("V")


class MemoryTable(Generic[K, V]):
    def __init__(self, name: str, max_entries: int) -> None:
        self.name = name
        self.max_entries = max_entries
        self._entries: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        if key not in self._entries and len(self._entries) >= self.max_entries:
            raise full(self.name, self.max_entries)
        self._entries[key] = value

    def delete(self, key: K) -> bool:
        return self._entries.pop(key, None) is not None

    def items(self) -> Iterator[tuple[K, V]]:
        return iter(list(self._entries.items()))

    def put_many(self, entries: Mapping[K, V]) -> None:
        for key, value in entries.items():
            self.put(key, value)

    def delete_many(self, keys: Iterable[K]) -> None:
        for key in keys:
            self.delete(key)

    def __len__(self) -> int:
        return len(self._entries)


class MemoryIpcache:
    """Whole addresses in two hash tables, other prefixes in two tries, as in the kernel."""

    def __init__(self, tables: Mapping[str, MemoryTable[IPNetwork, IpcacheEntry]]) -> None:
        self._tables = tables

    def _table(self, prefix: IPNetwork) -> MemoryTable[IPNetwork, IpcacheEntry]:
        return self._tables[table_name(prefix)]

    def get(self, key: IPNetwork) -> IpcacheEntry | None:
        return self._table(key).get(key)

    def find(self, address: IPAddress) -> IpcacheEntry | None:
        covering = [
            prefix for prefix, _ in self.items() if prefix.version == address.version and address in prefix
        ]
        return self.get(max(covering, key=lambda prefix: prefix.prefixlen)) if covering else None

    def put(self, key: IPNetwork, value: IpcacheEntry) -> None:
        self._table(key).put(key, value)

    def delete(self, key: IPNetwork) -> bool:
        return self._table(key).delete(key)

    def items(self) -> Iterator[tuple[IPNetwork, IpcacheEntry]]:
        for table in self._tables.values():
            yield from table.items()

    def put_many(self, entries: Mapping[IPNetwork, IpcacheEntry]) -> None:
        for key, value in entries.items():
            self.put(key, value)

    def delete_many(self, keys: Iterable[IPNetwork]) -> None:
        for key in keys:
            self.delete(key)


class MemoryDatapath:
    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self._specs = sized(sizes or {})
        self.endpoints: MemoryTable[int, EndpointEntry] = self._make("endpoints")
        self.devices: MemoryTable[int, int] = self._make("devices")
        self.names: MemoryTable[NameKey, tuple[IPAddress, ...]] = self._make("names")
        self._ipcache: dict[str, MemoryTable[IPNetwork, IpcacheEntry]] = {
            name: self._make(name) for name in ("hosts4", "hosts6", "prefixes4", "prefixes6")
        }
        self.ipcache = MemoryIpcache(self._ipcache)
        self._policies: dict[int, dict[PolicyKey, PolicyEntry]] = {}
        """Slots that share a map have the same dict."""
        self._released: set[int] = set()
        self._flows: list[ConntrackRecord] = []
        self._metrics: dict[tuple[DropReason, Direction], tuple[int, int]] = {}
        self._epoch = 0
        self._node = NodeEntry()

    def _make(self, name: str) -> MemoryTable[K, V]:
        return MemoryTable(name, self._specs[name].max_entries)

    def node(self) -> NodeEntry:
        return self._node

    def set_node(self, entry: NodeEntry) -> None:
        self._node = entry

    def policy(self, slot: int) -> dict[PolicyKey, PolicyEntry] | None:
        policy = self._policies.get(slot)
        return None if policy is None else dict(policy)

    def replace_policies(self, policies: Mapping[int, Mapping[PolicyKey, PolicyEntry]]) -> None:
        for slot, policy in policies.items():
            self._check_slot(slot)
            self._check_size(policy)
        made = {id(policy): dict(policy) for policy in policies.values()}
        self._policies.update({slot: made[id(policy)] for slot, policy in policies.items()})
        self._released.difference_update(policies)

    def policies(self, slots: Iterable[int]) -> dict[int, dict[PolicyKey, PolicyEntry]]:
        self._released.clear()
        copies = {id(policy): dict(policy) for policy in self._policies.values()}
        return {slot: copies[id(self._policies[slot])] for slot in slots if slot in self._policies}

    def shown_policies(self) -> list[tuple[list[int], dict[PolicyKey, PolicyEntry]]]:
        found: dict[int, tuple[list[int], dict[PolicyKey, PolicyEntry]]] = {}
        for slot, policy in sorted(self._policies.items()):
            found.setdefault(id(policy), ([], dict(policy)))[0].append(slot)
        return list(found.values())

    def edit_policies(
        self,
        slots: Collection[int],
        upserts: Mapping[PolicyKey, PolicyEntry],
        deletes: Iterable[PolicyKey] = (),
    ) -> None:
        edited: dict[int, tuple[dict[PolicyKey, PolicyEntry], list[int]]] = {}
        nothing: dict[PolicyKey, PolicyEntry] = {}
        for slot in slots:
            self._check_slot(slot)
            policy = self._policies.get(slot, nothing)
            self._check_size(policy.keys() | upserts.keys())
            edited.setdefault(id(policy), (policy, []))[1].append(slot)
        gone = tuple(deletes)
        for policy, chosen in edited.values():
            users = {slot for slot, used in self._policies.items() if used is policy} - self._released
            target = policy if users.issubset(chosen) else dict(policy)
            target.update(upserts)
            for key in gone:
                target.pop(key, None)
            self._policies.update(dict.fromkeys(chosen, target))
        self._released.difference_update(slots)

    def share_policy(self, slot: int, like: int) -> None:
        self._check_slot(slot)
        if like not in self._policies:
            raise empty(like)
        self._policies[slot] = self._policies[like]
        self._released.discard(slot)

    def release_policy(self, slot: int) -> None:
        self._released.add(slot)

    def _check_slot(self, slot: int) -> None:
        if not 0 <= slot < self._specs["policies"].max_entries:
            raise full("policies", self._specs["policies"].max_entries)

    def _check_size(self, policy: Collection[PolicyKey]) -> None:
        if len(policy) > self._specs["inner"].max_entries:
            raise full(POLICY_MAP, self._specs["inner"].max_entries)

    def bump_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def metrics(self) -> dict[tuple[DropReason, Direction], tuple[int, int]]:
        return dict(self._metrics)

    def count(self, reason: DropReason, direction: Direction, octets: int) -> None:
        """As the programs do for a packet of this length."""
        packets, total = self._metrics.get((reason, direction), (0, 0))
        self._metrics[(reason, direction)] = (packets + 1, total + octets)

    def lost_events(self) -> int:
        return 0

    def conntrack(self) -> Iterator[ConntrackRecord]:
        return iter(list(self._flows))

    def remember_flow(self, record: ConntrackRecord) -> None:
        """As the programs do for a flow that they let pass."""
        self._flows.append(record)

    def collect_conntrack(self, now_ns: int, gone: Collection[IPAddress]) -> int:
        before = len(self._flows)
        self._flows = [
            flow
            for flow in self._flows
            if flow.expires_ns > now_ns and flow.source not in gone and flow.destination not in gone
        ]
        return before - len(self._flows)

    def map_info(self, names: Collection[str] = ()) -> list[MapInfo]:
        counts = {
            "endpoints": len(self.endpoints),
            "devices": len(self.devices),
            "names": len(self.names),
            "policies": len(self._policies),
            "ct4": sum(flow.source.version == 4 for flow in self._flows),
            "ct6": sum(flow.source.version == 6 for flow in self._flows),
            "fragments4": 0,
            "fragments6": 0,
            "inner": max(map(len, list(self._policies.values())), default=0),
            **{name: len(table) for name, table in self._ipcache.items()},
        }
        return [
            MapInfo(
                POLICY_MAP if name == "inner" else name,
                spec.type.name.lower(),
                spec.key_size,
                spec.value_size,
                spec.max_entries,
                counts.get(name),
            )
            for name, spec in self._specs.items()
            if not names or (POLICY_MAP if name == "inner" else name) in names
        ]
