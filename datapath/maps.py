"""Every map of the datapath: its name (also of its pin), form and size. PURE.

The programs know maps by name only (MAP_FD_<name>), so sizes are stated here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import sizeof
from dataclasses import dataclass, replace

from datapath import abi
from datapath.attributes import NO_PREALLOC, MapType
from model.errors import Exhausted, InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class MapSpec:
    """Sizes in bytes; `max_entries` of a ring is its size in bytes."""

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0

    def with_size(self, max_entries: int) -> MapSpec:
        return replace(self, max_entries=max_entries)


def _spec(
    name: str, kind: MapType, key: int | type, value: int | type, max_entries: int, *, sparse: bool = False
) -> MapSpec:
    """`sparse`: memory is taken entry by entry, not when the map is made."""
    sizes = [size if isinstance(size, int) else sizeof(size) for size in (key, value)]
    return MapSpec(name, kind, sizes[0], sizes[1], max_entries, NO_PREALLOC if sparse else 0)


METRIC_SLOTS = 512
"""Two directions of 256 reasons."""

INNER = _spec("inner", MapType.LPM_TRIE, abi.PolicyKey, abi.PolicyEntry, 65536, sparse=True)
"""The form of the maps inside `policies`; they have no pins of their own."""

POLICY_MAP = "policies/inner"
"""What one of them is called where people read it."""

_HASH, _LRU, _LPM, _ARRAY = MapType.HASH, MapType.LRU_HASH, MapType.LPM_TRIE, MapType.ARRAY

MAPS = {
    spec.name: spec
    for spec in (
        _spec("endpoints", _HASH, 4, abi.Endpoint, 65536, sparse=True),
        _spec("hosts4", _HASH, 4, abi.IpcacheEntry, 131072, sparse=True),
        _spec("hosts6", _HASH, abi.Ipv6Address, abi.IpcacheEntry, 131072, sparse=True),
        _spec("prefixes4", _LPM, abi.Prefix4Key, abi.IpcacheEntry, 262144, sparse=True),
        _spec("prefixes6", _LPM, abi.Prefix6Key, abi.IpcacheEntry, 262144, sparse=True),
        _spec("policies", MapType.ARRAY_OF_MAPS, 4, 4, 4096),
        _spec("ct4", _LRU, abi.Ct4Key, abi.CtEntry, 262144),
        _spec("ct6", _LRU, abi.Ct6Key, abi.CtEntry, 65536),
        _spec("fragments4", _LRU, abi.Fragment4Key, abi.FragmentPorts, 8192),
        _spec("fragments6", _LRU, abi.Fragment6Key, abi.FragmentPorts, 8192),
        _spec("names", _HASH, abi.NameKey, abi.NameEntry, 65536, sparse=True),
        _spec("metrics", MapType.PERCPU_ARRAY, 4, abi.Metric, METRIC_SLOTS),
        _spec("scratch", MapType.PERCPU_ARRAY, 4, abi.Scratch, 8),
        _spec("epoch", _ARRAY, 4, 8, 1),
        _spec("node", _ARRAY, 4, abi.Node, 1),
        _spec("devices", _HASH, 4, 4, 4096, sparse=True),
        _spec("events", MapType.RINGBUF, 0, 0, 1 << 20),
        _spec("lost", MapType.PERCPU_ARRAY, 4, 8, 1),
    )
}

_FIXED = frozenset({"metrics", "scratch", "epoch", "node", "lost"})
"""Maps whose size the programs rely on."""


def sized(sizes: Mapping[str, int]) -> dict[str, MapSpec]:
    """The maps (and "inner") with other sizes; InvalidInput for names that are none of them."""
    specs = {**MAPS, INNER.name: INNER}
    for name, size in sizes.items():
        if name not in specs or name in _FIXED:
            known = ", ".join(sorted(specs.keys() - _FIXED))
            raise InvalidInput(f"no map {name!r} has a size to choose", path="size", hint=f"one of {known}")
        if size < 1:
            raise InvalidInput(f"map {name} needs at least one entry", path="size")
        specs[name] = specs[name].with_size(size)
    return specs


def empty(slot: int) -> NotFound:
    return NotFound(f"no policy is in slot {slot}")


def full(name: str, max_entries: int) -> Exhausted:
    return Exhausted(
        f"map {name} is full ({max_entries} entries)", hint="`ciliate map list` shows how full each map is"
    )
