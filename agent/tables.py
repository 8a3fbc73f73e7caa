"""The kernel's maps, and the tables whose entries can be read: each map that means something to people by its own name,
and by one name what several maps hold together."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from agent import views
from agent.system import System
from datapath.maps import MAPS, POLICY_MAP
from model.errors import Exhausted, NotFound

Text = dict[str, Any]

MOST_SHOWN = 100_000
"""Entries of policies in one answer: many identities may share a map, and each is shown with all of it."""


def maps(system: System) -> list[Text]:
    return [
        {
            "name": info.name,
            "type": info.type,
            "entries": info.entries,
            "max_entries": info.max_entries,
            "key_size": info.key_size,
            "value_size": info.value_size,
            "readable": info.name in TABLES,
        }
        for info in system.datapath.map_info()
    ]


def read(system: System, name: str) -> list[Text]:
    """What the table holds, read from the kernel now. Raises NotFound."""
    if name in TABLES:
        return TABLES[name](system)
    if name == POLICY_MAP:
        raise NotFound(f"{name!r} stands for all maps inside `policies`", path="name", hint="read policies")
    known = f"entries can be read of {', '.join(sorted(TABLES))}"
    if name in MAPS:
        raise NotFound(f"the entries of map {name!r} are for the programs alone", path="name", hint=known)
    raise NotFound(f"no map {name!r}", path="name", hint=known)


def _endpoints(system: System) -> list[Text]:
    return [views.endpoint_entry(*item) for item in sorted(system.datapath.endpoints.items())]


def _ipcache(system: System) -> list[Text]:
    return [views.address_entry(*item) for item in views.ordered(dict(system.datapath.ipcache.items()))]


def _addresses(system: System, *, version: int, whole: bool) -> list[Text]:
    """`whole`: single addresses; the others are ranges."""
    found = {
        prefix: entry
        for prefix, entry in system.datapath.ipcache.items()
        if prefix.version == version and (prefix.prefixlen == prefix.max_prefixlen) == whole
    }
    return [views.address_entry(*item) for item in views.ordered(found)]


def _devices(system: System) -> list[Text]:
    return [
        {"key": {"ifindex": index}, "value": {"class": kind}}
        for index, kind in system.datapath.devices.items()
    ]


def _names(system: System) -> list[Text]:
    return [
        {
            "key": {"network": key.network, "name": key.name},
            "value": {"addresses": [str(address) for address in addresses]},
        }
        for key, addresses in sorted(system.datapath.names.items(), key=lambda item: item[0].name)
    ]


def _policies(system: System) -> list[Text]:
    shown = {slot: policy for slots, policy in system.datapath.shown_policies() for slot in slots}
    subjects = sorted(system.state.subjects.items())
    number = sum(len(shown.get(subject.slot, ())) for _, subject in subjects)
    if number > MOST_SHOWN:
        raise Exhausted(
            f"the policies of {len(subjects)} identities have {number} entries, more than one answer holds",
            hint="`ciliate endpoint get ID --policy` shows one of them",
        )
    return [
        views.policy_entry(subject.slot, identity, key, entry)
        for identity, subject in subjects
        for key, entry in sorted(shown.get(subject.slot, {}).items())
    ]


def _conntrack(system: System, *, versions: tuple[int, ...] = (4, 6)) -> list[Text]:
    now = time.monotonic_ns()
    return [
        views.conntrack_entry(record, now)
        for record in system.datapath.conntrack()
        if record.source.version in versions
    ]


def _metrics(system: System) -> list[Text]:
    return [
        views.metric_entry(reason, direction, packets, octets)
        for (reason, direction), (packets, octets) in sorted(system.datapath.metrics().items())
    ]


TABLES: dict[str, Callable[[System], list[Text]]] = {
    "endpoints": _endpoints,
    "ipcache": _ipcache,
    "hosts4": partial(_addresses, version=4, whole=True),
    "hosts6": partial(_addresses, version=6, whole=True),
    "prefixes4": partial(_addresses, version=4, whole=False),
    "prefixes6": partial(_addresses, version=6, whole=False),
    "policies": _policies,
    "ct": _conntrack,
    "ct4": partial(_conntrack, versions=(4,)),
    "ct6": partial(_conntrack, versions=(6,)),
    "metrics": _metrics,
    "devices": _devices,
    "names": _names,
}
