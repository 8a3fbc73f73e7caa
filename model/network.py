"""Docker networks as ciliate sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from model.labels import Labels

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

FLAT = 1
"""The number that all flat networks share."""

FLAT_ID = "flat"
"""Likewise their id."""

FIRST_NUMBER = 2
"""The first number of a network that spans hosts, the same on all of them; 0 means "in no network" (host, world)."""

LOCAL_FIRST_NUMBER = 1 << 24
"""The first number of a network of one host alone, given by that host."""

ELSEWHERE = 0xFFFFFFFF
"""What others call a network of one host alone: no network of their own has this number."""


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether they have an address in common. Prefixes of different families never have."""
    return one.version == other.version and one.overlaps(other)


def begins_in(prefix: IPNetwork, parts: Iterable[IPNetwork]) -> bool:
    """Whether one of the parts has its first address, which of a whole address is the only one."""
    return any(prefix.version == part.version and prefix.network_address in part for part in parts)


def by_address(prefix: IPNetwork) -> tuple[int, int, int]:
    """A key to sort by: IPv4 first, and of two that begin alike the wider one."""
    return prefix.version, int(prefix.network_address), prefix.prefixlen


@dataclass(frozen=True, slots=True)
class Subnet:
    pool: IPNetwork
    gateway: IPAddress | None


@dataclass(frozen=True, slots=True)
class Network:
    """`docker_id` is Docker's id. `id` is what the label network:id says: the ciliate.network
    option of a network that spans hosts, "flat" for flat ones, else Docker's id."""

    docker_id: str
    id: str
    number: int
    subnets: tuple[Subnet, ...]
    internal: bool = False
    flat: bool = False
    enforcement_always: bool = False
    host: bool = True
    world: bool = True
    inter_container: bool = True
    mtu: int = 0
    publish_ip: IPv4Address | None = None
    labels: Labels = field(default_factory=Labels)
    name: str = ""

    @property
    def spans_hosts(self) -> bool:
        """Hosts that make one with the same id are in one network."""
        return not self.flat and self.id != self.docker_id
