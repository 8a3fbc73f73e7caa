"""What the datapath knows, as tables: the entries, and what one can do with them. PURE.

Two implementations, held to one contract test: `datapath.memory` (dicts) and `datapath.kernel`
(pinned maps). Everything is in host order with real addresses; bytes exist only in `datapath.codec`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol, TypeVar

from datapath.abi import CtFlag, DeviceClass, EndpointFlag, Routing
from model.flow import Direction, DropReason
from model.network import IPAddress, IPNetwork
from policy.mapstate import PolicyEntry, PolicyKey

__all__ = [
    "ConntrackRecord",
    "CtFlag",
    "Datapath",
    "DeviceClass",
    "EndpointEntry",
    "EndpointFlag",
    "IpcacheEntry",
    "IpcacheTable",
    "MapInfo",
    "NameKey",
    "NodeEntry",
    "Routing",
    "Table",
    "table_name",
]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class EndpointEntry:
    """What hangs behind a host-side interface. `policy` is its slot; `mac` the container's, as
    "02:42:0a:c8:00:02"; `id` the endpoint's number (1-65535)."""

    identity: int
    network: int
    policy: int
    flags: int
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    id: int
    mac: str


@dataclass(frozen=True, slots=True)
class IpcacheEntry:
    """Who an address is. Only entries of local endpoints have an `ifindex` (the host-side interface),
    a policy slot and a MAC. `network` 0: in none. `tunnel`: the node that has the address."""

    identity: int
    network: int = 0
    ifindex: int = 0
    policy: int = 0
    flags: int = 0
    tunnel: IPv4Address | None = None
    id: int = 0
    mac: str = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """This node among others. `tunnel`: ifindex of the tunnel's device, `mtu` of a packet within it, `address`: where
    other nodes' tunnels send to, `port`: by UDP; 0 and None where there is no tunnel."""

    routing: Routing = Routing.ALONE
    tunnel: int = 0
    mtu: int = 0
    address: IPv4Address | None = None
    port: int = 0


@dataclass(frozen=True, slots=True)
class NameKey:
    """`name` in lower case, with dots between its labels; of a container of the network with this number."""

    network: int
    name: str


@dataclass(frozen=True, slots=True)
class ConntrackRecord:
    """One flow; `source` opened it. `policy_port` is the destination port that policy judged (ICMP: the
    type), `expires_ns` on CLOCK_MONOTONIC. An ICMP echo's identifier is the port of the end that asks, and
    the other's is 0; other ICMP has the type there, and 0xffff at the end it goes to."""

    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    protocol: int
    source_identity: int
    destination_identity: int
    policy_port: int
    flags: CtFlag
    epoch: int
    expires_ns: int
    origin_packets: int
    origin_bytes: int
    reply_packets: int
    reply_bytes: int


@dataclass(frozen=True, slots=True)
class MapInfo:
    """`type` in words ("hash"); sizes in bytes; `entries` None where counting means nothing (rings
    and arrays, which are always full)."""

    name: str
    type: str
    key_size: int
    value_size: int
    max_entries: int
    entries: int | None


class Table(Protocol[K, V]):
    """A map of the datapath. A full one raises `model.errors.Exhausted` with its name."""

    def get(self, key: K) -> V | None: ...

    def put(self, key: K, value: V) -> None:
        """Insert or replace."""

    def delete(self, key: K) -> bool:
        """False if it was absent, which is no error."""

    def items(self) -> Iterator[tuple[K, V]]:
        """Every entry, in no order. What is written meanwhile may or may not be seen."""

    def put_many(self, entries: Mapping[K, V]) -> None:
        """Insert or replace all. When the table gets full on the way, the first ones are in."""

    def delete_many(self, keys: Iterable[K]) -> None:
        """Delete those of the keys that are present."""


class IpcacheTable(Table[IPNetwork, IpcacheEntry], Protocol):
    """By exact prefix: whole addresses in one map of each family, other prefixes in another."""

    def find(self, address: IPAddress) -> IpcacheEntry | None:
        """What the programs find for an address: that of the longest prefix which covers it."""


def table_name(prefix: IPNetwork) -> str:
    """Of the map of the ipcache that holds it."""
    kind = "hosts" if prefix.prefixlen == prefix.max_prefixlen else "prefixes"
    return f"{kind}{prefix.version}"


class Datapath(Protocol):
    """All tables of a node. Writes come from one thread; reads from any."""

    @property
    def endpoints(self) -> Table[int, EndpointEntry]:
        """By ifindex of the host-side interface."""

    @property
    def ipcache(self) -> IpcacheTable: ...

    @property
    def devices(self) -> Table[int, int]:
        """ifindex -> DeviceClass."""

    def node(self) -> NodeEntry:
        """As last set; a node alone if never."""

    def set_node(self, entry: NodeEntry) -> None: ...

    @property
    def names(self) -> Table[NameKey, tuple[IPAddress, ...]]:
        """Of containers on other nodes: where they are. The programs answer with one of at most four of each
        family."""

    def policy(self, slot: int) -> dict[PolicyKey, PolicyEntry] | None:
        """None: nothing is in the slot. {}: a map that denies everything."""

    def policies(self, slots: Iterable[int]) -> dict[int, dict[PolicyKey, PolicyEntry]]:
        """Of those of the slots that hold a map. Each map is read once: slots that share one have the same
        object. For the writer only."""

    def shown_policies(self) -> list[tuple[list[int], dict[PolicyKey, PolicyEntry]]]:
        """Every map once, with the slots that hold it. For any thread; what is written meanwhile may or may not be
        seen."""

    def replace_policies(self, policies: Mapping[int, Mapping[PolicyKey, PolicyEntry]]) -> None:
        """Fill new maps and publish them all at once, each slot changing from its old map to its new
        one between two packets. Slots that are given the same object share one map. Exhausted before
        anything is published if one does not fit."""

    def edit_policies(
        self,
        slots: Collection[int],
        upserts: Mapping[PolicyKey, PolicyEntry],
        deletes: Iterable[PolicyKey] = (),
    ) -> None:
        """The same for each of the slots, in place: first what is new or changed, then what goes. A map that
        these slots share is edited once; one that others have too is copied first. An empty slot gets a map.
        Exhausted before anything is changed if a map cannot hold the new ones beside all that it has."""

    def share_policy(self, slot: int, like: int) -> None:
        """`slot` has the map of `like` from now on, whatever it had. NotFound if that is empty."""

    def release_policy(self, slot: int) -> None:
        """Nobody points to the slot, and what is in it means nothing until it is replaced: who shares its map
        need not spare it."""

    def bump_epoch(self) -> int:
        """Make every flow be judged anew at its next packet. The new epoch; never one that was before."""

    def metrics(self) -> dict[tuple[DropReason, Direction], tuple[int, int]]:
        """(packets, bytes) since the maps were made; what never happened is absent. Reason NONE counts
        what was forwarded."""

    def lost_events(self) -> int:
        """Events that found the ring full."""

    def conntrack(self) -> Iterator[ConntrackRecord]: ...

    def collect_conntrack(self, now_ns: int, gone: Collection[IPAddress]) -> int:
        """Delete flows that have expired by `now_ns` (CLOCK_MONOTONIC) and those of addresses that are
        gone, which may soon be another container's; how many."""

    def map_info(self, names: Collection[str] = ()) -> list[MapInfo]:
        """Of the maps of these names, of all if there are none. Counting the entries of large ones takes time.
        "policies/inner" stands for the fullest of the policies."""
