"""Identities for the prefixes that rules name: local to this node, never on the wire. PURE, persistent."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from immutables import Map

from model.errors import Exhausted
from model.identity import LOCAL_FIRST, LOCAL_LAST, Reserved
from model.labels import Label, Labels
from model.network import IPNetwork

WORLD = {ip_network("0.0.0.0/0"): Reserved.WORLD_IPV4, ip_network("::/0"): Reserved.WORLD_IPV6}
"""These prefixes are the world itself and need no identity of their own."""


def labels_of(prefix: IPNetwork) -> Labels:
    """A prefix is part of the world too, and of the world of its family."""
    world = Reserved.WORLD_IPV4 if prefix.version == 4 else Reserved.WORLD_IPV6
    if prefix in WORLD:
        return world.labels
    return world.labels | Labels([Label("cidr", str(prefix))])


@dataclass(frozen=True, slots=True)
class CidrIdentities:
    """A prefix keeps its number while it is wanted; a number is not given again at once."""

    numbers: Map[IPNetwork, int] = field(default_factory=Map)
    following: int = LOCAL_FIRST

    def with_prefixes(
        self, wanted: Collection[IPNetwork]
    ) -> tuple[CidrIdentities, dict[int, Labels], dict[int, IPNetwork]]:
        """Exactly these prefixes. Also the identities that are new, and those that are gone."""
        kept = {prefix: number for prefix, number in self.numbers.items() if prefix in wanted}
        removed = {number: prefix for prefix, number in self.numbers.items() if prefix not in wanted}
        new = sorted(
            (prefix for prefix in wanted if prefix not in kept and prefix not in WORLD),
            key=lambda prefix: (prefix.version, prefix),
        )
        if len(kept) + len(new) > LOCAL_LAST - LOCAL_FIRST:
            raise Exhausted(f"{len(kept) + len(new)} prefixes are more than there are identities")
        taken = set(self.numbers.values())
        following = self.following
        added: dict[int, Labels] = {}
        for prefix in new:
            while following in taken:
                following = _next(following)
            kept[prefix] = following
            added[following] = labels_of(prefix)
            following = _next(following)
        return CidrIdentities(Map(kept), following), added, removed

    def number(self, prefix: IPNetwork) -> int:
        """KeyError if the prefix is not wanted."""
        world = WORLD.get(prefix)
        return int(world) if world is not None else self.numbers[prefix]

    def items(self) -> Iterable[tuple[IPNetwork, int]]:
        return self.numbers.items()


def _next(number: int) -> int:
    return number + 1 if number < LOCAL_LAST else LOCAL_FIRST
