"""What one node remembers for itself, in a store of its own that no other node reads: Docker's networks and
endpoints here, address pools and the addresses in use, settings that were changed while the agent ran, and sysctls as
they were before ciliate changed them.

Networks and pools are durable, because Docker never tells of them again. Endpoints and addresses need only
survive the agent: a power cut ends the containers too, and Docker starts them with new ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Any, TypeVar

from model.endpoint import Endpoint
from model.errors import Conflict
from model.network import IPAddress, IPNetwork, Network
from store.codec import Codec
from store.kv import MAX_OPERATIONS, Delete, DeletePrefix, KeyValueStore, Set
from store.records import ENDPOINT, NETWORK

T = TypeVar("T")

_ENDPOINTS = "endpoints/"
_NETWORKS = "networks/"
_POOLS = "pools/"
_ADDRESSES = "addresses/"
_SYSCTLS = "sysctls/"
_SETTINGS = "settings/"


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """`range`: where addresses come from unless asked for by name; None: the whole pool. `cursor`: the offset
    in the pool at which the search for the next address begins. `slices`: what of it is this node's; None: all."""

    pool: IPNetwork
    range: IPNetwork | None = None
    cursor: int = 0
    slices: tuple[IPNetwork, ...] | None = None


@dataclass(frozen=True, slots=True)
class AddressRecord:
    pool: IPNetwork
    address: IPAddress
    gateway: bool = False


def _load_pool(members: dict[str, Any]) -> PoolRecord:
    return PoolRecord(
        pool=ip_network(members["pool"]),
        range=ip_network(members["range"]) if members["range"] else None,
        cursor=members["cursor"],
        slices=tuple(map(ip_network, members["slices"])) if "slices" in members else None,
    )


def _dump_pool(record: PoolRecord) -> dict[str, Any]:
    members: dict[str, Any] = {
        "pool": str(record.pool),
        "range": str(record.range) if record.range else None,
        "cursor": record.cursor,
    }
    return members if record.slices is None else {**members, "slices": [str(one) for one in record.slices]}


_POOL: Codec[PoolRecord] = Codec(_dump_pool, _load_pool)
_ADDRESS: Codec[AddressRecord] = Codec(
    lambda record: {
        "pool": str(record.pool),
        "address": str(record.address),
        "gateway": record.gateway,
    },
    lambda members: AddressRecord(
        ip_network(members["pool"]), ip_address(members["address"]), members["gateway"]
    ),
)
_NAMED: Codec[tuple[str, str]] = Codec(
    lambda named: {"name": named[0], "value": named[1]},
    lambda members: (str(members["name"]), str(members["value"])),
)


class LocalStore:
    """Thread-safe as the store beneath is. Removing what is not there is no error."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    def endpoints(self) -> dict[str, Endpoint]:
        """By Docker's id."""
        return {endpoint.docker_id: endpoint for endpoint in self._all(_ENDPOINTS, ENDPOINT)}

    def put_endpoint(self, endpoint: Endpoint) -> None:
        self._store.transact([Set(_ENDPOINTS + endpoint.docker_id, ENDPOINT.encode(endpoint))], durable=False)

    def remove_endpoint(self, docker_id: str) -> None:
        self._store.transact([Delete(_ENDPOINTS + docker_id)], durable=False)

    def networks(self) -> dict[str, Network]:
        """By Docker's id."""
        return {network.docker_id: network for network in self._all(_NETWORKS, NETWORK)}

    def put_network(self, network: Network) -> None:
        self._store.transact([Set(_NETWORKS + network.docker_id, NETWORK.encode(network))])

    def remove_network(self, docker_id: str) -> None:
        self._store.transact([Delete(_NETWORKS + docker_id)])

    def pools(self) -> list[PoolRecord]:
        return self._all(_POOLS, _POOL)

    def put_pool(self, record: PoolRecord) -> None:
        self._store.transact([Set(f"{_POOLS}{record.pool}", _POOL.encode(record))])

    def remove_pool(self, pool: IPNetwork) -> None:
        """With all its addresses."""
        self._store.transact([Delete(f"{_POOLS}{pool}"), DeletePrefix(f"{_ADDRESSES}{pool}/")])

    def addresses(self) -> list[AddressRecord]:
        """In the order in which they were given out."""
        entries = sorted(self._store.list(_ADDRESSES), key=lambda entry: entry.index)
        return [_ADDRESS.decode(entry) for entry in entries]

    def put_address(self, record: AddressRecord, pool: PoolRecord) -> None:
        """The address, and the pool it is from with its cursor moved on. A gateway's is durable, like its
        pool: Docker asks for it once in the life of a network."""
        self._store.transact(
            [
                Set(f"{_ADDRESSES}{record.pool}/{record.address}", _ADDRESS.encode(record)),
                Set(f"{_POOLS}{pool.pool}", _POOL.encode(pool)),
            ],
            durable=record.gateway,
        )

    def remove_addresses(self, pool: IPNetwork, addresses: Iterable[IPAddress]) -> None:
        keys = iter(f"{_ADDRESSES}{pool}/{address}" for address in addresses)
        while chunk := [Delete(key) for key in islice(keys, MAX_OPERATIONS)]:
            self._store.transact(chunk, durable=False)

    def sysctls(self) -> dict[str, str]:
        """Names, and the values to restore."""
        return dict(self._all(_SYSCTLS, _NAMED))

    def save_sysctl(self, name: str, value: str) -> None:
        """Only the first value saved under a name is the one from before ciliate; later ones are ignored."""
        try:
            self._store.transact([Set(_SYSCTLS + name, _NAMED.encode((name, value)), index=0)])
        except Conflict:
            return

    def forget_sysctl(self, name: str) -> None:
        self._store.transact([Delete(_SYSCTLS + name)])

    def settings(self) -> dict[str, str]:
        """What was changed while the agent ran, by name, as text."""
        return dict(self._all(_SETTINGS, _NAMED))

    def keep_setting(self, name: str, value: str | None) -> None:
        """None: no longer changed."""
        key = _SETTINGS + name
        self._store.transact([Delete(key) if value is None else Set(key, _NAMED.encode((name, value)))])

    def close(self) -> None:
        self._store.close()

    def _all(self, prefix: str, codec: Codec[T]) -> list[T]:
        return [codec.decode(entry) for entry in self._store.list(prefix)]
