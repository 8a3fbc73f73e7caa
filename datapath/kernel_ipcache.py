"""Who an address is, in four maps: whole addresses by hash, which is what nearly every packet needs,
and other prefixes by longest match; each for IPv4 and IPv6."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from datapath.codec import HOSTS4, HOSTS6, PREFIXES4, PREFIXES6, Codec, decode_ipcache
from datapath.kernel_map import KernelMap, KernelTable
from datapath.tables import IpcacheEntry, table_name
from model.network import IPAddress, IPNetwork

_CODECS: dict[str, Codec[Any, IpcacheEntry]] = {
    "hosts4": HOSTS4,
    "hosts6": HOSTS6,
    "prefixes4": PREFIXES4,
    "prefixes6": PREFIXES6,
}


class KernelIpcache:
    def __init__(self, maps: Mapping[str, KernelMap]) -> None:
        self._tables: dict[str, KernelTable[IPNetwork, IpcacheEntry]] = {
            name: KernelTable(maps[name], codec, trie=name.startswith("prefixes"))
            for name, codec in _CODECS.items()
        }

    def get(self, key: IPNetwork) -> IpcacheEntry | None:
        return self._tables[table_name(key)].get(key)

    def find(self, address: IPAddress) -> IpcacheEntry | None:
        whole: IPNetwork = ip_network(address)
        entry = self.get(whole)
        if entry is not None:
            return entry
        name = f"prefixes{address.version}"
        value = self._tables[name].map.get(_CODECS[name].encode_key(whole))
        return None if value is None else decode_ipcache(value)

    def put(self, key: IPNetwork, value: IpcacheEntry) -> None:
        self._tables[table_name(key)].put(key, value)

    def delete(self, key: IPNetwork) -> bool:
        return self._tables[table_name(key)].delete(key)

    def items(self) -> Iterator[tuple[IPNetwork, IpcacheEntry]]:
        for table in self._tables.values():
            yield from table.items()

    def put_many(self, entries: Mapping[IPNetwork, IpcacheEntry]) -> None:
        routed: dict[str, dict[IPNetwork, IpcacheEntry]] = {}
        for key, value in entries.items():
            routed.setdefault(table_name(key), {})[key] = value
        for name, part in routed.items():
            self._tables[name].put_many(part)

    def delete_many(self, keys: Iterable[IPNetwork]) -> None:
        routed: dict[str, list[IPNetwork]] = {}
        for key in keys:
            routed.setdefault(table_name(key), []).append(key)
        for name, part in routed.items():
            self._tables[name].delete_many(part)
