"""An IPAM driver on stores in memory, or on files where it is to be restarted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from ipam_driver.claims import Claims, ClusterPool
from ipam_driver.ipam import Ipam
from model.network import IPNetwork, overlap
from store.keys import Keys
from store.kv import KeyValueStore
from store.local import LocalStore
from store.memory import MemoryStore

POOLS = (
    ClusterPool("CILIATE_POOL", ip_network("10.200.0.0/16"), 24),
    ClusterPool("CILIATE_POOL6", ip_network("fd00:c111::/48"), 64),
)


@dataclass
class Host:
    """One node: its own store, the cluster's store, the routes that it has, and the time."""

    node: str = "n1"
    cluster: KeyValueStore = field(default_factory=MemoryStore)
    own: KeyValueStore = field(default_factory=MemoryStore)
    routes: dict[IPNetwork, str] = field(default_factory=dict)
    """What is in the way of a pool."""
    outside: dict[IPNetwork, str] = field(default_factory=dict)
    """What is in the way of a whole cluster pool."""
    now: float = 1000.0
    pools: tuple[ClusterPool, ...] = POOLS
    divided: bool = False

    def start(self) -> Ipam:
        """An agent's IPAM driver; call it again for the agent's next life."""
        return Ipam(LocalStore(self.own), self.claims(), self.conflicts, clock=lambda: self.now)

    def claims(self) -> Claims:
        return Claims(
            self.cluster,
            Keys(),
            self.node,
            self.pools,
            lambda pool: _first(self.outside, pool),
            divided=self.divided,
        )

    def held(self) -> set[IPNetwork]:
        claims = self.claims()
        return claims.pools() | claims.slices()

    def conflicts(self, pool: IPNetwork) -> str | None:
        return _first(self.routes, pool)


def _first(routes: dict[IPNetwork, str], pool: IPNetwork) -> str | None:
    for route, name in routes.items():
        if overlap(route, pool):
            return f"{route}, {name}"
    return None


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def new_host() -> Callable[..., Host]:
    return Host
