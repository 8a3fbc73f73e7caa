"""The datapath of this node: `datapath.tables.Datapath` over the pinned maps.

The maps, and with them forwarding and policy, outlive this process; opening them again is all that
a restart needs.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from datapath import syscall
from datapath.attributes import MapType
from datapath.codec import (
    ENDPOINTS,
    NUMBERS,
    REASONS,
    decode_longs,
    decode_metrics,
    decode_node,
    decode_number,
    encode_long,
    encode_node,
    encode_number,
)
from datapath.kernel_conntrack import records, sweep
from datapath.kernel_ipcache import KernelIpcache
from datapath.kernel_map import KernelMap, KernelTable
from datapath.kernel_policies import KernelPolicies
from datapath.maps import INNER, MAPS, POLICY_MAP
from datapath.names import NAMES
from datapath.pins import open_map
from datapath.tables import ConntrackRecord, EndpointEntry, MapInfo, NameKey, NodeEntry
from model.flow import Direction, DropReason
from model.network import IPAddress
from policy.mapstate import PolicyEntry, PolicyKey

_FIRST = encode_number(0)
_UNCOUNTED = frozenset({"metrics", "scratch", "epoch", "node", "events", "lost"})


class KernelDatapath:
    def __init__(self, root: Path, *, inner_entries: int = INNER.max_entries) -> None:
        """Open what the loader pinned below `root`; NotFound if it has not run. `inner_entries`: the
        size of the policy maps to make."""
        cpus = possible_cpus()
        self._maps: dict[str, KernelMap] = {}
        try:
            for name in MAPS:
                fd = open_map(root, name)
                info = syscall.map_info(fd)
                per_cpu = info.type == MapType.PERCPU_ARRAY
                width = (info.value_size + 7) // 8 * 8 * cpus if per_cpu else info.value_size
                kind = _kind_of(MapType(info.type))
                self._maps[name] = kind(name, fd, info.key_size, width, info.max_entries)
        except BaseException:
            self.close()
            raise
        self.endpoints: KernelTable[int, EndpointEntry] = KernelTable(self._maps["endpoints"], ENDPOINTS)
        self.devices: KernelTable[int, int] = KernelTable(self._maps["devices"], NUMBERS)
        self.names: KernelTable[NameKey, tuple[IPAddress, ...]] = KernelTable(self._maps["names"], NAMES)
        self.ipcache = KernelIpcache(self._maps)
        self._policies = KernelPolicies(self._maps["policies"], INNER.with_size(inner_entries))
        self._epoch_lock = Lock()

    def close(self) -> None:
        """Let go of the maps; they stay pinned and in use."""
        while self._maps:
            os.close(self._maps.popitem()[1].fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def node(self) -> NodeEntry:
        return decode_node(self._maps["node"].get(_FIRST) or b"")

    def set_node(self, entry: NodeEntry) -> None:
        syscall.update(self._maps["node"].fd, _FIRST, encode_node(entry))

    def policy(self, slot: int) -> dict[PolicyKey, PolicyEntry] | None:
        return self._policies.get(slot)

    def replace_policies(self, policies: Mapping[int, Mapping[PolicyKey, PolicyEntry]]) -> None:
        self._policies.replace(policies)

    def policies(self, slots: Iterable[int]) -> dict[int, dict[PolicyKey, PolicyEntry]]:
        return self._policies.get_many(slots)

    def shown_policies(self) -> list[tuple[list[int], dict[PolicyKey, PolicyEntry]]]:
        return self._policies.shown()

    def edit_policies(
        self,
        slots: Collection[int],
        upserts: Mapping[PolicyKey, PolicyEntry],
        deletes: Iterable[PolicyKey] = (),
    ) -> None:
        self._policies.edit(slots, upserts, deletes)

    def share_policy(self, slot: int, like: int) -> None:
        self._policies.share(slot, like)

    def release_policy(self, slot: int) -> None:
        self._policies.release(slot)

    def bump_epoch(self) -> int:
        epoch = self._maps["epoch"]
        with self._epoch_lock:
            following = decode_longs(epoch.get(_FIRST) or b"")[0] + 1
            syscall.update(epoch.fd, _FIRST, encode_long(following))
        return following

    def metrics(self) -> dict[tuple[DropReason, Direction], tuple[int, int]]:
        counted = {}
        for key, value in self._maps["metrics"].items():
            packets, octets = (sum(column) for column in zip(*decode_metrics(value), strict=True))
            if packets:
                reason, direction = divmod(decode_number(key), 2)
                counted[REASONS[reason], Direction(direction)] = (packets, octets)
        return counted

    def lost_events(self) -> int:
        return sum(decode_longs(self._maps["lost"].get(_FIRST) or b""))

    def conntrack(self) -> Iterator[ConntrackRecord]:
        return chain.from_iterable(records(self._maps[name]) for name in ("ct4", "ct6"))

    def collect_conntrack(self, now_ns: int, gone: Collection[IPAddress]) -> int:
        return sum(sweep(self._maps[name], now_ns, gone) for name in ("ct4", "ct6"))

    def map_info(self, names: Collection[str] = ()) -> list[MapInfo]:
        found = [self._info(table) for name, table in self._maps.items() if not names or name in names]
        return [*found, self._policies.info()] if not names or POLICY_MAP in names else found

    def _info(self, table: KernelMap) -> MapInfo:
        info = syscall.map_info(table.fd)
        entries: int | None = None
        if table.name == "policies":
            entries = self._policies.count()
        elif table.name not in _UNCOUNTED:
            entries = table.count()
        kind = MapType(info.type).name.lower()
        return MapInfo(table.name, kind, info.key_size, info.value_size, info.max_entries, entries)


def _kind_of(kind: MapType) -> type[KernelMap]:
    """Imported where it is used: newer kernels need none of its threads. A wrong answer, where a distribution brought
    the change to an older kernel, costs only time."""
    release = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
    if kind != MapType.ARRAY_OF_MAPS or release >= (6, 8):
        return KernelMap
    from datapath.kernel_waiting import WaitingMap

    return WaitingMap


def possible_cpus() -> int:
    """How many values a per-CPU map keeps for one key: CPUs that may ever come, not those that run."""
    highest = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")[-1].split("-")[-1]
    return int(highest) + 1
