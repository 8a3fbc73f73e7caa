"""What Docker asks of an IPAM driver: pools and addresses on this host, remembered across restarts.

Docker forgets: it never repeats a request that this driver's predecessor answered, and after some failures it
never gives an address back. So everything is written down before it is answered, giving back is idempotent,
and `reconcile` frees what Docker does not know any more."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

import structlog

from ipam_driver.claims import Claims, Refuse
from ipam_driver.host_pool import HostPool, PoolStatus, unknown
from ipam_driver.subnets import must_be_fit
from model.errors import Conflict, Exhausted
from model.network import IPAddress, IPNetwork, overlap
from store.local import AddressRecord, LocalStore, PoolRecord

log = structlog.get_logger("ipam")

GRACE_SECONDS = 60.0
"""How long Docker may take from asking for a pool or address until its network or container shows it: dockerd
repeats a call for 15 s when the agent is away, and a container's start takes several calls."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What `reconcile` freed, and what it found in use and took down."""

    released_pools: tuple[IPNetwork, ...] = ()
    released_addresses: tuple[IPAddress, ...] = ()
    restored: tuple[IPNetwork | IPAddress, ...] = ()
    contested: tuple[str, ...] = ()
    """A sentence for each part of a pool that the cluster's store had lost, and another node holds now."""


class Ipam:
    """Thread-safe. `conflicts` names, as a phrase, what a new pool would collide with on this host: its
    routes, other networks; None if nothing. `clock` gives seconds that only grow."""

    def __init__(
        self,
        local: LocalStore,
        claims: Claims,
        conflicts: Refuse,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._local = local
        self._claims = claims
        self._conflicts = conflicts
        self._clock = clock
        self._making = threading.Lock()
        """Held while a pool is made or given back, which may take as long as the cluster's store takes."""
        self._pools: dict[IPNetwork, HostPool] = {}
        """Replaced as a whole under `_making`, so that it may be read without."""
        self._unanswered: set[IPNetwork] = set()
        """Pools found at start without any address: perhaps the process that made them died before Docker
        heard of them."""
        self._released: dict[IPNetwork, float] = {}
        """When pools were given back."""
        self._load()

    def request_pool(self, subnet: IPNetwork | None, range: IPNetwork | None, *, version: int) -> IPNetwork:
        """The new pool. Without a subnet: a free slice of the cluster's pool of this IP version."""
        with self._making:
            if subnet is None:
                pool = self._claims.claim_free(version, self._collision)
            elif self._is_repetition(subnet, range):
                self._unanswered.discard(subnet)
                return subnet
            else:
                must_be_fit(subnet, range)
                self._must_not_collide(subnet)
                return self._remember(subnet, range, self._claims.claim(subnet, range))
            return self._remember(pool, range, (pool,))

    def release_pool(self, subnet: IPNetwork) -> None:
        """With every address still taken: Docker has no more use for them. Idempotent."""
        with self._making:
            pool = self._pools.get(subnet)
            if pool is None:
                return
            pool.remove()
            self._pools = {other: kept for other, kept in self._pools.items() if other != subnet}
            self._released[subnet] = self._clock()
            self._claims.release(subnet, pool.slices)

    def request_address(
        self, subnet: IPNetwork, address: IPAddress | None, *, gateway: bool = False
    ) -> IPv4Interface | IPv6Interface:
        """The address with the pool's prefix length. `address` None: any. The gateway's request may be
        repeated: every node that uses the pool has the same one."""
        pool = self._pools.get(subnet)
        if pool is None:
            raise unknown(subnet)
        self._unanswered.discard(subnet)
        if address is not None and not gateway and address in subnet and not pool.has(address):
            self._grow_around(pool, subnet, address)
        try:
            given = pool.request(address, gateway=gateway)
        except Exhausted:
            if gateway or pool.slices == (subnet,):
                raise
            given = self._grow(pool, subnet)
        return ip_interface((given, subnet.prefixlen))

    def release_address(self, subnet: IPNetwork, address: IPAddress) -> None:
        """Idempotent, also for a pool that is not known."""
        pool = self._pools.get(subnet)
        if pool is not None:
            pool.release(address)

    def pools(self) -> list[PoolStatus]:
        found = [pool.status() for pool in self._pools.values()]
        return sorted(found, key=lambda status: (status.pool.version, status.pool))

    def slices(self) -> list[IPNetwork]:
        """What this node gives addresses of."""
        return [slice for pool in self._pools.values() for slice in pool.slices]

    def reconcile(
        self, in_use: Mapping[IPNetwork, Collection[IPAddress]], *, grace: float = GRACE_SECONDS
    ) -> Reconciled:
        """Frees the pools that `in_use` lacks and the addresses that it lacks in a pool, gateways excepted;
        takes down what only `in_use` has. `in_use` holds every pool of Docker's networks with this IPAM
        driver, with the addresses of their endpoints and their auxiliary addresses, as seen at most `grace`
        seconds ago: what was given or given back since then is left alone."""
        before = self._clock() - grace
        restored: list[IPNetwork | IPAddress] = []
        freed: list[IPAddress] = []
        for subnet, addresses in in_use.items():
            restored += self._restore_pool(subnet, before)
            pool = self._pools.get(subnet)
            if pool is not None:
                restored += pool.restore(addresses, before)
                freed += pool.release_unused(addresses, before)
        unused = [
            subnet
            for subnet, pool in self._pools.items()
            if subnet not in in_use and not pool.changed_since(before)
        ]
        for subnet in unused:
            self.release_pool(subnet)
        self._release_orphans()
        contested = [text for subnet in self._unpublished() for text in self._adopt(subnet)]
        for text in contested:
            log.error("addresses given here are another node's: make the network anew", reason=text)
        return Reconciled(tuple(unused), tuple(freed), tuple(restored), tuple(contested))

    def _load(self) -> None:
        addresses: dict[IPNetwork, list[AddressRecord]] = defaultdict(list)
        for address in self._local.addresses():
            addresses[address.pool].append(address)
        for record in self._local.pools():
            self._pools[record.pool] = HostPool(self._local, record, self._clock, addresses[record.pool])
        self._unanswered = {subnet for subnet in self._pools if not addresses[subnet]}

    def _remember(self, pool: IPNetwork, range: IPNetwork | None, slices: tuple[IPNetwork, ...]) -> IPNetwork:
        record = PoolRecord(pool, range, slices=None if slices == (pool,) else slices)
        try:
            self._local.put_pool(record)
        except BaseException:
            self._claims.release(pool, slices)
            raise
        self._pools = {**self._pools, pool: HostPool(self._local, record, self._clock)}
        return pool

    def _grow(self, pool: HostPool, subnet: IPNetwork) -> IPAddress:
        """The next address, from one more slice if need be: who waited may find what another has claimed. What was
        claimed and not written down is given back with the orphans."""
        with self._making:
            self._must_be_there(pool, subnet)
            try:
                return pool.request(None, gateway=False)
            except Exhausted:
                pool.add(self._claims.claim_more(subnet, pool.range))
            return pool.request(None, gateway=False)

    def _grow_around(self, pool: HostPool, subnet: IPNetwork, address: IPAddress) -> None:
        with self._making:
            self._must_be_there(pool, subnet)
            if not pool.has(address):
                pool.add(self._claims.claim_around(subnet, address))

    def _must_be_there(self, pool: HostPool, subnet: IPNetwork) -> None:
        if self._pools.get(subnet) is not pool:
            raise unknown(subnet)

    def _is_repetition(self, subnet: IPNetwork, range: IPNetwork | None) -> bool:
        return (
            subnet in self._unanswered
            and self._pools[subnet].range == range
            and self._conflicts(subnet) is None
        )

    def _collision(self, subnet: IPNetwork) -> str | None:
        found = self._conflicts(subnet)
        if found is not None:
            return found
        other = next((pool for pool in self._pools if overlap(pool, subnet)), None)
        return None if other is None else f"{other}, the pool of another network of this host"

    def _must_not_collide(self, subnet: IPNetwork) -> None:
        found = self._collision(subnet)
        if found is not None:
            raise Conflict(
                f"{subnet} overlaps {found}",
                path="--subnet",
                hint="give another one, or none to get a free one",
            )

    def _restore_pool(self, subnet: IPNetwork, before: float) -> list[IPNetwork]:
        """A pool that Docker has and this driver lost, because its store was replaced."""
        with self._making:
            if subnet in self._pools or self._released.get(subnet, before) > before:
                return []
            self._remember(subnet, None, self._claims.claim(subnet))
            return [subnet]

    def _unpublished(self) -> set[IPNetwork]:
        published, held = self._claims.pools(), self._claims.slices()
        return {
            subnet
            for subnet, pool in self._pools.items()
            if subnet not in published or (self._claims.is_divided and not held.issuperset(pool.slices))
        }

    def _adopt(self, subnet: IPNetwork) -> list[str]:
        """A pool that the cluster's store lost, or that is older than that store."""
        with self._making:
            pool = self._pools.get(subnet)
            return self._claims.adopt(subnet, pool.slices) if pool is not None else []

    def _release_orphans(self) -> None:
        """Claims without a pool: the agent died between the two."""
        with self._making:
            known = {slice for pool in self._pools.values() for slice in pool.slices}
            for slice in self._claims.slices() - known:
                self._claims.release(slice, (slice,))
            for subnet in self._claims.pools() - set(self._pools):
                self._claims.release(subnet, ())
