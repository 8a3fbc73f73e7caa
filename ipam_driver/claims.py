"""Which node holds which part of which pool, in the cluster's store.

In a cluster every pool is divided: containers of all nodes live in one flat network, so each address belongs to one
node, and a node holds slices of the pools that it uses. A host alone has its pools as a whole, and holds only what
touches the cluster's pools. Pools are published below the node's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from ipam_driver.slices import holder_of, slice_length, slices_around, slices_of
from model.errors import Conflict, Exhausted, Unavailable
from model.network import IPAddress, IPNetwork, by_address, overlap
from store.keys import HOLDER, MARK, Keys
from store.kv import MAX_OPERATIONS, Delete, KeyValueStore, Op, Set

_ATTEMPTS = 64

_REFUSALS = 1024
"""Slices of a pool that are offered at most: an IPv6 pool has too many to ask the host about each."""

Refuse = Callable[[IPNetwork], str | None]
"""What a subnet would collide with, as a phrase; None: nothing."""

Slices = Mapping[IPNetwork, str]
"""Slice -> the node that holds it."""


@dataclass(frozen=True, slots=True)
class ClusterPool:
    """`setting`: its name for users. Networks without a subnet get slices of length `prefix`."""

    setting: str
    pool: IPNetwork
    prefix: int


class Claims:
    def __init__(
        self,
        store: KeyValueStore,
        keys: Keys,
        node: str,
        pools: Iterable[ClusterPool],
        outside: Refuse,
        *,
        divided: bool = False,
    ) -> None:
        """`outside`: which network of other machines is in the way of a whole cluster pool, or of a slice.
        `divided`: the store is shared by nodes."""
        self._store = store
        self._keys = keys
        self._node = node
        self._pools = tuple(pools)
        self._outside = outside
        self._divided = divided

    def claim(self, pool: IPNetwork, range: IPNetwork | None = None) -> tuple[IPNetwork, ...]:
        """The slices that addresses may come from: those that this node has of it already, or a free one. Raises
        Conflict if another node holds an overlapping part of a cluster's pool that is not divided; Exhausted if
        no slice is free."""
        if self._divided:
            if own := self._own_slices(pool):
                self._store.transact([self._published(pool)])
                return own
            return (self.claim_more(pool, range),)
        if any(overlap(pool, cluster.pool) for cluster in self._pools):
            self._claim_slice(pool, lambda held: self._unless_held(pool, held))
        else:
            self._store.transact([self._published(pool)])
        return (pool,)

    def claim_free(self, version: int, refuse: Refuse) -> IPNetwork:
        """Claims the lowest slice of this IP version that no node holds and `refuse` has nothing against.
        Raises Exhausted; Conflict if another network is in the way of the whole pool."""
        cluster = self._cluster_pool(version)
        if cluster is None:
            raise Exhausted(f"there is no pool for IPv{version}", hint="give a --subnet")
        # All of the pool means containers, whichever slices are made: who else lives in it would be cut off from them.
        if (network := self._outside(cluster.pool)) is not None:
            raise Conflict(
                f"{cluster.setting} {cluster.pool} overlaps {network}",
                path="--subnet",
                hint=f"set {cluster.setting} to a range that is free here, or give a --subnet",
            )
        return self._claim_slice(None, lambda held: _free_slice(cluster, held, refuse))

    def claim_more(self, pool: IPNetwork, range: IPNetwork | None) -> IPNetwork:
        """A free slice of a divided pool, in which no other machines live. Raises Exhausted."""
        return self._claim_slice(pool, lambda held: self._free(pool, range, held))

    def claim_around(self, pool: IPNetwork, address: IPAddress) -> IPNetwork:
        """A slice of a divided pool with this address. Raises Conflict if another node has that."""
        length = self._slice_length(pool)
        return self._claim_slice(pool, lambda held: _around(address, length, held))

    @property
    def is_divided(self) -> bool:
        return self._divided

    def adopt(self, pool: IPNetwork, slices: Iterable[IPNetwork]) -> list[str]:
        """Says of a pool that this node uses, and the store knows nothing of, that it is so. A sentence for each
        slice that another node has by now."""
        lost = []
        for slice in slices if self._divided else ():
            try:
                self._claim_slice(pool, partial(self._unless_held, slice))
            except Conflict as error:
                lost.append(error.message)
        if not self._divided:
            self.claim(pool)
        return lost

    def release(self, pool: IPNetwork, slices: Iterable[IPNetwork]) -> None:
        """What another node holds stays. Idempotent."""
        entries = (self._store.get(self._keys.slice(slice)) for slice in slices)
        ops: list[Op] = [Delete(self._keys.pool(self._node, pool))]
        ops += [
            Delete(entry.key, index=entry.index)
            for entry in entries
            if entry is not None and HOLDER.decode(entry) == self._node
        ]
        for first in range(0, len(ops), MAX_OPERATIONS):
            self._store.transact(ops[first : first + MAX_OPERATIONS])

    def pools(self) -> set[IPNetwork]:
        """Every pool that is published in this node's name."""
        prefix = self._keys.pools(self._node)
        return {ip_network(entry.key.removeprefix(prefix)) for entry in self._store.list(prefix)}

    def slices(self) -> set[IPNetwork]:
        """Every slice that this node holds."""
        return {slice for slice, node in self._slices().items() if node == self._node}

    def _own_slices(self, pool: IPNetwork) -> tuple[IPNetwork, ...]:
        return tuple(sorted((slice for slice in self.slices() if overlap(slice, pool)), key=by_address))

    def _cluster_pool(self, version: int) -> ClusterPool | None:
        return next((cluster for cluster in self._pools if cluster.pool.version == version), None)

    def _slice_length(self, pool: IPNetwork) -> int:
        cluster = self._cluster_pool(pool.version)
        return slice_length(pool, cluster.prefix if cluster is not None else pool.prefixlen)

    def _claim_slice(self, pool: IPNetwork | None, choose: Callable[[Slices], IPNetwork]) -> IPNetwork:
        """`choose` sees all slices that are held, and by whom. Claims exclude each other by the lock's index:
        two that overlap need not have the same key. `pool` None: the slice is the pool."""
        lock = self._keys.lock("slices")
        for _ in range(_ATTEMPTS):
            entry = self._store.get(lock)
            slice = choose(self._slices())
            holder = HOLDER.encode(self._node)
            try:
                self._store.transact(
                    [
                        Set(lock, holder, index=0 if entry is None else entry.index),
                        Set(self._keys.slice(slice), holder),
                        self._published(slice if pool is None else pool),
                    ]
                )
            except Conflict:
                continue
            return slice
        raise Unavailable(
            f"no slice could be claimed in {_ATTEMPTS} attempts", hint="try again: many nodes claim at once"
        )

    def _unless_held(self, pool: IPNetwork, held: Slices) -> IPNetwork:
        others = [(slice, node) for slice, node in held.items() if node != self._node]
        if (found := holder_of(pool, others)) is not None:
            raise Conflict(
                f"{pool} overlaps {found[0]}, which node {found[1]} holds",
                path="--subnet",
                hint="give another one, or none to get a free one",
            )
        return pool

    def _free(self, pool: IPNetwork, range: IPNetwork | None, held: Slices) -> IPNetwork:
        found = _first_free(slices_of(pool, self._slice_length(pool), range), held, self._outside)
        if isinstance(found, IPNetwork):
            return found
        raise Exhausted(
            f"no slice of {f'range {range} of ' if range else ''}pool {pool} is free{found}",
            hint="remove containers here, remove the network on other nodes, or make one with a larger --subnet",
        )

    def _published(self, pool: IPNetwork) -> Set:
        return Set(self._keys.pool(self._node, pool), MARK.encode(None))

    def _slices(self) -> dict[IPNetwork, str]:
        prefix = self._keys.slices()
        return {
            ip_network(entry.key.removeprefix(prefix)): HOLDER.decode(entry)
            for entry in self._store.list(prefix)
        }


def _around(address: IPAddress, length: int, held: Slices) -> IPNetwork:
    for slice in slices_around(address, length):
        if (found := holder_of(slice, held.items())) is None:
            return slice
    assert found is not None
    raise Conflict(
        f"{address} lies in {found[0]}, which node {found[1]} holds",
        hint="each node gives addresses of its own slices: give another --ip, or none",
    )


def _free_slice(cluster: ClusterPool, held: Slices, refuse: Refuse) -> IPNetwork:
    found = _first_free(slices_of(cluster.pool, cluster.prefix), held, refuse)
    if isinstance(found, IPNetwork):
        return found
    raise Exhausted(
        f"no /{cluster.prefix} of {cluster.setting} {cluster.pool} is free{found}",
        hint=f"give a --subnet, remove networks, or set {cluster.setting} to a larger pool",
    )


def _first_free(slices: Iterator[IPNetwork], held: Slices, refuse: Refuse) -> IPNetwork | str:
    """Or why there is none, beside that they are held."""
    refusals: list[str] = []
    for slice in slices:
        if slice in held or holder_of(slice, held.items()) is not None:
            continue
        refusal = refuse(slice)
        if refusal is None:
            return slice
        refusals.append(f"{slice} overlaps {refusal}")
        if len(refusals) == _REFUSALS:
            break
    return f"; {len(refusals)} are in the way of others, the last: {refusals[-1]}" if refusals else ""
