"""Which node holds which part of the cluster's pools, in the cluster's store.

A pool that touches one of the cluster's pools is a slice that one node holds alone; any other is the node's
own business, and two nodes may have the same. Both kinds are published below the node's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from model.errors import Conflict, Exhausted, Unavailable
from model.network import IPNetwork, overlap
from store.keys import HOLDER, MARK, Keys
from store.kv import Delete, KeyValueStore, Op, Set

_ATTEMPTS = 64

_REFUSALS = 1024
"""Slices of a cluster pool that are offered at most: an IPv6 pool has too many to ask the host about each."""

Refuse = Callable[[IPNetwork], str | None]
"""What a subnet would collide with, as a phrase; None: nothing."""


@dataclass(frozen=True, slots=True)
class ClusterPool:
    """`setting`: its name for users. Networks without a subnet get slices of length `prefix`."""

    setting: str
    pool: IPNetwork
    prefix: int


class Claims:
    def __init__(
        self, store: KeyValueStore, keys: Keys, node: str, pools: Iterable[ClusterPool], outside: Refuse
    ) -> None:
        """`outside`: which network of other machines is in the way of a whole cluster pool."""
        self._store = store
        self._keys = keys
        self._node = node
        self._pools = tuple(pools)
        self._outside = outside

    def claim(self, pool: IPNetwork) -> None:
        """Raises Conflict if another node holds an overlapping part of the cluster's pools."""
        if any(overlap(pool, cluster.pool) for cluster in self._pools):
            self._claim_slice(lambda held: self._unless_held(pool, held))
        else:
            self._store.transact([self._published(pool)])

    def claim_free(self, version: int, refuse: Refuse) -> IPNetwork:
        """Claims the lowest slice of this IP version that no node holds and `refuse` has nothing against.
        Raises Exhausted; Conflict if another network is in the way of the whole pool."""
        cluster = next((cluster for cluster in self._pools if cluster.pool.version == version), None)
        if cluster is None:
            raise Exhausted(f"there is no pool for IPv{version}", hint="give a --subnet")
        # All of the pool means containers, whichever slices are made: who else lives in it would be cut off from them.
        if (network := self._outside(cluster.pool)) is not None:
            raise Conflict(
                f"{cluster.setting} {cluster.pool} overlaps {network}",
                path="--subnet",
                hint=f"set {cluster.setting} to a range that is free here, or give a --subnet",
            )
        return self._claim_slice(lambda held: _free_slice(cluster, held, refuse))

    def release(self, pool: IPNetwork) -> None:
        ops: list[Op] = [Delete(self._keys.pool(self._node, pool))]
        entry = self._store.get(self._keys.slice(pool))
        if entry is not None and HOLDER.decode(entry) == self._node:
            ops.append(Delete(entry.key, index=entry.index))
        self._store.transact(ops)

    def held(self) -> set[IPNetwork]:
        """Every pool that is published or held in this node's name."""
        prefix = self._keys.pools(self._node)
        published = {ip_network(entry.key.removeprefix(prefix)) for entry in self._store.list(prefix)}
        return published | {pool for pool, node in self._slices().items() if node == self._node}

    def _claim_slice(self, choose: Callable[[dict[IPNetwork, str]], IPNetwork]) -> IPNetwork:
        """`choose` sees all slices that are held, and by whom. Claims exclude each other by the lock's index:
        two that overlap need not have the same key."""
        lock = self._keys.lock("slices")
        for _ in range(_ATTEMPTS):
            entry = self._store.get(lock)
            pool = choose(self._slices())
            holder = HOLDER.encode(self._node)
            try:
                self._store.transact(
                    [
                        Set(lock, holder, index=0 if entry is None else entry.index),
                        Set(self._keys.slice(pool), holder),
                        self._published(pool),
                    ]
                )
            except Conflict:
                continue
            return pool
        raise Unavailable(
            f"no slice could be claimed in {_ATTEMPTS} attempts", hint="try again: many nodes claim at once"
        )

    def _unless_held(self, pool: IPNetwork, held: dict[IPNetwork, str]) -> IPNetwork:
        for slice, node in held.items():
            if node != self._node and overlap(pool, slice):
                raise Conflict(
                    f"{pool} overlaps {slice}, which node {node} holds",
                    path="--subnet",
                    hint="give another one, or none to get a free one",
                )
        return pool

    def _published(self, pool: IPNetwork) -> Set:
        return Set(self._keys.pool(self._node, pool), MARK.encode(None))

    def _slices(self) -> dict[IPNetwork, str]:
        prefix = self._keys.slices()
        return {
            ip_network(entry.key.removeprefix(prefix)): HOLDER.decode(entry)
            for entry in self._store.list(prefix)
        }


def _free_slice(cluster: ClusterPool, held: dict[IPNetwork, str], refuse: Refuse) -> IPNetwork:
    refusals: list[str] = []
    for slice in _slices_of(cluster):
        if slice in held or any(overlap(slice, other) for other in held):
            continue
        refusal = refuse(slice)
        if refusal is None:
            return slice
        refusals.append(f"{slice} overlaps {refusal}")
        if len(refusals) == _REFUSALS:
            break
    reason = f"; {len(refusals)} are in the way of others, the last: {refusals[-1]}" if refusals else ""
    raise Exhausted(
        f"no /{cluster.prefix} of {cluster.setting} {cluster.pool} is free{reason}",
        hint=f"give a --subnet, remove networks, or set {cluster.setting} to a larger pool",
    )


def _slices_of(cluster: ClusterPool) -> Iterator[IPNetwork]:
    if cluster.prefix <= cluster.pool.prefixlen:
        yield cluster.pool
    else:
        yield from cluster.pool.subnets(new_prefix=cluster.prefix)
