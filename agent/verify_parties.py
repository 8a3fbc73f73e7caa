"""PURE. Who is at either end of a packet, worked out from the facts alone."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Generic, TypeVar

from agent.carried import refusal
from agent.verify_facts import Facts
from agent.verify_report import End, Meeting, Party, Probe
from datapath.tables import Routing
from identity.cidr import CidrIdentities
from model.identity import Reserved
from model.labels import Label, Labels
from model.network import IPAddress, IPNetwork

T = TypeVar("T")


class Parties:
    def __init__(self, facts: Facts, cidrs: CidrIdentities) -> None:
        self.labels = facts.labels
        self._containers = {container.id: container for container in facts.containers}
        self._addresses = {address for container in facts.containers for address in container.addresses}
        self._others = facts.others
        self._node = facts.node
        self._places = Prefixes(facts.places)
        self._cidrs = Prefixes(dict(cidrs.items()))
        self._strangers: dict[IPAddress, Party | None] = {}
        self._uplink = next(iter(facts.uplinks), None)
        taken = {*facts.uplinks, *(container.ifindex for container in facts.containers)}
        self._other = next(index for index in range(1, len(taken) + 2) if index not in taken)
        """An interface that is neither a container's nor an uplink."""

    def meet(self, probe: Probe) -> Meeting | None:
        """None if there is no such packet, or no longer."""
        source = self._party(probe.source, probe.version)
        destination = self._party(probe.destination, probe.version)
        if source is None or destination is None:
            return None
        if source.container is None:
            origin = self.origin(source)
            if origin is None:
                return None
            # By the host's stack, unless it routes natively, others reach only ports that are published.
            published = source.is_elsewhere and self._node.routing is not Routing.NATIVE
            return Meeting(source, destination, origin, published)
        origin = source.container.ifindex if probe.published else None
        return Meeting(source, destination, origin, probe.published)

    def stranger(self, address: IPAddress) -> Party | None:
        """None for an address that is a container's, or that no packet may have."""
        if address not in self._strangers:
            self._strangers[address] = self._classified(address)
        return self._strangers[address]

    def origin(self, stranger: Party) -> int | None:
        """The interface by which its packets come; 0: they are the host's own. None: they come by none, because the
        address is ours, or there is no uplink."""
        if stranger.network:
            ways = {Routing.TUNNEL: self._node.tunnel or None, Routing.NATIVE: self._uplink}
            return ways.get(self._node.routing)
        match stranger.identity:
            case Reserved.UNKNOWN:
                return None
            case Reserved.HOST:
                return 0
            case Reserved.UNMANAGED:
                return self._other
            case _:
                return self._uplink

    def _party(self, end: End, version: int) -> Party | None:
        if not isinstance(end, int):
            return self.stranger(end)
        container = self._containers.get(end)
        address = container.address(version) if container else None
        if container is None or address is None:
            return None
        return Party(
            address, container.identity, self.labels[container.identity], container.network, container
        )

    def _classified(self, address: IPAddress) -> Party | None:
        if address in self._addresses or refusal(address):
            return None
        other = self._others.get(address)
        if other is not None:
            return Party(address, other.identity, self.labels[other.identity], other.network)
        place = self._places.find(address)
        if place is not None:
            return Party(address, int(place), place.labels)
        world = Reserved.WORLD_IPV4 if address.version == 4 else Reserved.WORLD_IPV6
        number = self._cidrs.find(address)
        own = Labels([Label("cidr", str(ip_network(address)))])
        return Party(address, int(world) if number is None else number, world.labels | own)


class Prefixes(Generic[T]):
    """What is known of prefixes, found by address."""

    def __init__(self, known: Mapping[IPNetwork, T]) -> None:
        self._heads: dict[tuple[int, int], dict[int, T]] = {}
        for prefix, value in known.items():
            heads = self._heads.setdefault((prefix.version, prefix.prefixlen), {})
            heads[int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)] = value
        self._lengths = sorted(self._heads, reverse=True)

    def find(self, address: IPAddress) -> T | None:
        """That of the longest prefix which covers it."""
        for version, length in self._lengths:
            if version == address.version:
                found = self._heads[version, length].get(int(address) >> (address.max_prefixlen - length))
                if found is not None:
                    return found
        return None
