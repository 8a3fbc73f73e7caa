"""What a node remembers of the others, in a store of its own: whom it knew last, for a start at which the cluster's
store does not answer. One that is a little old does no harm: the cluster's store corrects it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network
from itertools import islice
from typing import Any

from model.labels import Labels
from model.network import IPAddress, IPNetwork
from store.codec import Codec
from store.keys import IDENTITY, IdentityRecord, IPRecord
from store.kv import MAX_OPERATIONS, Delete, KeyValueStore, Op, Set

_NODES = "peers/nodes/"
_IDENTITIES = "peers/identities/"


@dataclass(frozen=True, slots=True)
class PeerRecord:
    addresses: tuple[IPAddress, ...] = ()
    tunnel: IPv4Address | None = None
    slices: tuple[IPNetwork, ...] = ()
    ips: Mapping[IPNetwork, IPRecord] = field(default_factory=dict)


def _dump(peer: PeerRecord) -> dict[str, Any]:
    by_owner: dict[IPRecord, list[str]] = {}
    for prefix, record in peer.ips.items():
        by_owner.setdefault(record, []).append(str(prefix.network_address))
    return {
        "addresses": [str(address) for address in peer.addresses],
        "tunnel": None if peer.tunnel is None else str(peer.tunnel),
        "slices": [str(slice) for slice in peer.slices],
        "ips": [
            [record.identity, record.network, list(record.names), *texts]
            for record, texts in by_owner.items()
        ],
    }


def _load(members: dict[str, Any]) -> PeerRecord:
    ips: dict[IPNetwork, IPRecord] = {}
    for identity, network, names, *texts in members["ips"]:
        ips |= dict.fromkeys(map(ip_network, texts), IPRecord(identity, network, tuple(names)))
    return PeerRecord(
        tuple(map(ip_address, members["addresses"])),
        IPv4Address(members["tunnel"]) if members["tunnel"] else None,
        tuple(map(ip_network, members["slices"])),
        ips,
    )


_PEER: Codec[PeerRecord] = Codec(_dump, _load)


class PeerStore:
    """Nothing of it need survive a power cut, which ends the flows that it is for."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    def nodes(self) -> dict[str, PeerRecord]:
        return {entry.key.removeprefix(_NODES): _PEER.decode(entry) for entry in self._store.list(_NODES)}

    def labels(self) -> dict[int, Labels]:
        """Of identities, by number."""
        return {
            int(entry.key.removeprefix(_IDENTITIES)): IDENTITY.decode(entry).labels
            for entry in self._store.list(_IDENTITIES)
        }

    def keep(self, nodes: Mapping[str, PeerRecord | None], labels: Mapping[int, Labels | None]) -> None:
        """None: it is known no more. Labels first, so that no address is without."""
        self._write(
            Delete(f"{_IDENTITIES}{number}")
            if found is None
            else Set(f"{_IDENTITIES}{number}", IDENTITY.encode(IdentityRecord(found)))
            for number, found in labels.items()
        )
        for name, peer in nodes.items():
            key = _NODES + name
            self._write([Delete(key) if peer is None else Set(key, _PEER.encode(peer))])

    def _write(self, ops: Iterable[Op]) -> None:
        left = iter(ops)
        while chunk := list(islice(left, MAX_OPERATIONS)):
            self._store.transact(chunk, durable=False)
