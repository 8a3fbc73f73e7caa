"""One pool of addresses: which are taken, which comes next, and why one cannot be had. PURE; not thread-safe.

Addresses come in rotation: the search goes on after the last one given, so that one is not reused until all
others had their turn, and a peer's stale connection or cache never meets a new container at once."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from ipam_driver.bitmap import Bitmap
from model.errors import Conflict, Exhausted, InvalidInput
from model.network import IPAddress, IPNetwork


class Pool:
    """`range`: where addresses come from that are not asked for by name; the whole pool if None. An address
    asked for may lie anywhere in the pool: that is how static ones are kept apart. `cursor`: the offset in
    the pool at which the search begins. `slices`: the parts of the pool that are this node's; the whole pool if
    None."""

    def __init__(
        self,
        subnet: IPNetwork,
        range: IPNetwork | None = None,
        cursor: int = 0,
        slices: Collection[IPNetwork] | None = None,
    ) -> None:
        self.subnet = subnet
        self.range = range
        self.cursor = cursor
        self._base = int(subnet.network_address)
        self._first, self._stop = usable(subnet)
        self._taken = Bitmap()
        self._slices: tuple[IPNetwork, ...] = ()
        self._windows: list[tuple[int, int]] = []
        for slice in (subnet,) if slices is None else slices:
            self.add(slice)

    @property
    def slices(self) -> tuple[IPNetwork, ...]:
        return self._slices

    def add(self, slice: IPNetwork) -> None:
        """One more slice, which none of those that are there has a part of."""
        self._slices = (*self._slices, slice)
        first, stop = self._offsets(slice)
        first, stop = max(first, self._first), min(stop, self._stop)
        if self.range is not None:
            start, end = self._offsets(self.range)
            first, stop = max(first, start), min(stop, end)
        if first < stop:
            self._windows = sorted([*self._windows, (first, stop)])

    def has(self, address: IPAddress) -> bool:
        """Whether this node may give it, if it is free."""
        return any(address in slice for slice in self._slices)

    @property
    def size(self) -> int:
        """How many addresses can be given without being asked for by name."""
        return sum(stop - first for first, stop in self._windows)

    @property
    def taken(self) -> int:
        """How many are taken, wherever in the pool."""
        return len(self._taken)

    def next_free(self) -> IPAddress:
        """The address whose turn it is. Nothing changes until it is taken."""
        later = [(max(first, self.cursor), stop) for first, stop in self._windows]
        earlier = [(first, min(stop, self.cursor)) for first, stop in self._windows]
        for first, stop in (*later, *earlier):
            offset = self._taken.next_gap(first, stop)
            if offset is not None:
                return self._address(offset)
        raise self._exhausted()

    def first_free(self) -> IPAddress:
        """The lowest free address of the pool, whatever the range: what a gateway gets."""
        offset = self._taken.next_gap(self._first, self._stop)
        if offset is None:
            raise self._exhausted()
        return self._address(offset)

    def must_be_free(self, address: IPAddress) -> None:
        """Raises InvalidInput or Conflict, with the reason, if the address cannot be given."""
        between = f"give one from {self._address(self._first)} to {self._address(self._stop - 1)}"
        if address.version != self.subnet.version:
            raise InvalidInput(f"{address} is not of the family of pool {self.subnet}", hint=between)
        if address not in self.subnet:
            raise InvalidInput(f"{address} is outside pool {self.subnet}", hint=between)
        offset = int(address) - self._base
        if offset < self._first:
            kind = "network" if address.version == 4 else "subnet-router anycast"
            raise InvalidInput(f"{address} is the {kind} address of pool {self.subnet}", hint=between)
        if offset >= self._stop:
            raise InvalidInput(f"{address} is the broadcast address of pool {self.subnet}", hint=between)
        if offset in self._taken:
            raise Conflict(
                f"{address} of pool {self.subnet} is taken",
                hint="docker network inspect shows by whom; give another one or none",
            )

    def is_taken(self, address: IPAddress) -> bool:
        return address in self.subnet and int(address) - self._base in self._taken

    def cursor_after(self, address: IPAddress) -> int:
        return int(address) - self._base + 1

    def take(self, address: IPAddress) -> None:
        self._taken.add(int(address) - self._base)

    def release(self, address: IPAddress) -> None:
        """What is not taken, or not of this pool, is no error."""
        if address in self.subnet:
            self._taken.discard(int(address) - self._base)

    def _offsets(self, part: IPNetwork) -> tuple[int, int]:
        start = int(part.network_address) - self._base
        return start, start + part.num_addresses

    def _address(self, offset: int) -> IPAddress:
        return ip_address(self.subnet.network_address + offset)

    def _exhausted(self) -> Exhausted:
        if self.range is None or self.range == self.subnet:
            return Exhausted(
                f"pool {self.subnet} has no free address: all {self.size} are taken",
                hint="remove containers, or make a network with a larger --subnet",
            )
        return Exhausted(
            f"range {self.range} of pool {self.subnet} has no free address: all {self.size} are taken",
            hint="remove containers, give an address of the pool with --ip, or make a network with a larger"
            " --ip-range",
        )


def usable(subnet: IPNetwork) -> tuple[int, int]:
    """The first usable offset and the one after the last. A subnet of one or two addresses (RFC 3021, RFC
    6164) has neither network nor broadcast address; IPv6 knows no broadcast, but the first address is every
    router's (RFC 4291)."""
    size = subnet.num_addresses
    if size <= 2:
        return 0, size
    return 1, size - 1 if subnet.version == 4 else size
