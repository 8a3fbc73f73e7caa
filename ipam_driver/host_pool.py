"""One pool of this host: its addresses in memory and in the node's store, changed together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from ipam_driver.pool import Pool
from model.errors import Conflict, NotFound
from model.network import IPAddress, IPNetwork
from store.local import AddressRecord, LocalStore, PoolRecord


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """`size`: addresses that can be given from `range`; `taken`: those in use, the gateway among them."""

    pool: IPNetwork
    range: IPNetwork
    gateway: IPAddress | None
    size: int
    taken: int


class HostPool:
    """Thread-safe. Every change is in the store before it is in memory, so a failed write changes nothing."""

    def __init__(
        self,
        local: LocalStore,
        record: PoolRecord,
        clock: Callable[[], float],
        addresses: Iterable[AddressRecord] = (),
    ) -> None:
        self._local = local
        self._record = record
        self._clock = clock
        self._lock = threading.Lock()
        self._pool = Pool(record.pool, record.range, record.cursor, record.slices)
        self._gateway: IPAddress | None = None
        self._changed = clock()
        """When the pool was made or loaded, or an address of it given last."""
        self._given: dict[IPAddress, float] = {}
        """When each taken address was given, or loaded."""
        self._released: dict[IPAddress, float] = {}
        """When addresses that are free now were given back."""
        self._gone = False
        for address in addresses:
            self._take(address)

    @property
    def range(self) -> IPNetwork | None:
        return self._record.range

    @property
    def slices(self) -> tuple[IPNetwork, ...]:
        """What of the pool is this node's."""
        return self._pool.slices

    def has(self, address: IPAddress) -> bool:
        """Whether this node may give it, if it is free."""
        return self._pool.has(address)

    def add(self, slice: IPNetwork) -> None:
        """One more slice is this node's."""
        with self._lock:
            if self._gone:
                raise unknown(self._pool.subnet)
            record = replace(self._record, slices=(*self._pool.slices, slice))
            self._local.put_pool(record)
            self._record = record
            self._pool.add(slice)

    def status(self) -> PoolStatus:
        with self._lock:
            return PoolStatus(
                pool=self._pool.subnet,
                range=self._pool.range or self._pool.subnet,
                gateway=self._gateway,
                size=self._pool.size,
                taken=self._pool.taken,
            )

    def changed_since(self, moment: float) -> bool:
        with self._lock:
            return self._changed > moment

    def request(self, address: IPAddress | None, *, gateway: bool) -> IPAddress:
        """`address` None: the next free one; for the gateway the lowest. The gateway may be requested
        again."""
        with self._lock:
            if self._gone:
                raise unknown(self._pool.subnet)
            if gateway and self._gateway is not None and address in (None, self._gateway):
                return self._gateway
            chosen = self._choose(address, gateway)
            record = self._record
            if address is None and not gateway:
                record = replace(record, cursor=self._pool.cursor_after(chosen))
            given = AddressRecord(self._pool.subnet, chosen, gateway)
            self._local.put_address(given, record)
            self._record = record
            self._pool.cursor = record.cursor
            self._take(given)
            return chosen

    def release(self, address: IPAddress) -> None:
        """Idempotent."""
        with self._lock:
            self._release([address])

    def release_unused(self, in_use: Collection[IPAddress], before: float) -> list[IPAddress]:
        """Releases what is not in `in_use` and was given before that moment; never the gateway."""
        with self._lock:
            unused = [
                address
                for address, given in self._given.items()
                if given <= before and address not in in_use and address != self._gateway
            ]
            self._release(unused)
        return unused

    def restore(self, in_use: Collection[IPAddress], before: float) -> list[IPAddress]:
        """Takes what is in use but not taken, unless it was given back after that moment."""
        with self._lock:
            restored = [
                address
                for address in in_use
                if not self._gone
                and address in self._pool.subnet
                and not self._pool.is_taken(address)
                and self._released.get(address, before) <= before
            ]
            for address in restored:
                record = AddressRecord(self._pool.subnet, address)
                self._local.put_address(record, self._record)
                self._take(record)
        return restored

    def remove(self) -> None:
        """Gives back the pool with all its addresses; later requests find it gone."""
        with self._lock:
            self._local.remove_pool(self._pool.subnet)
            self._gone = True

    def _choose(self, address: IPAddress | None, gateway: bool) -> IPAddress:
        if gateway and self._gateway is not None:
            raise Conflict(f"pool {self._pool.subnet} has the gateway {self._gateway} already")
        if address is None:
            return self._pool.first_free() if gateway else self._pool.next_free()
        if address == self._gateway:
            raise Conflict(
                f"{address} is the gateway of pool {self._pool.subnet}", hint="give another one or none"
            )
        self._pool.must_be_free(address)
        return address

    def _take(self, record: AddressRecord) -> None:
        self._pool.take(record.address)
        self._changed = self._given[record.address] = self._clock()
        self._released.pop(record.address, None)
        if record.gateway:
            self._gateway = record.address

    def _release(self, addresses: list[IPAddress]) -> None:
        taken = [address for address in addresses if self._pool.is_taken(address)]
        if not taken or self._gone:
            return
        self._local.remove_addresses(self._pool.subnet, taken)
        for address in taken:
            self._pool.release(address)
            del self._given[address]
            self._released[address] = self._clock()
            if address == self._gateway:
                self._gateway = None


def unknown(pool: object) -> NotFound:
    return NotFound(f"pool {pool} is not known", hint="make the network anew with docker network create")
