"""Identities for the prefixes that rules name: local to this node, never on the wire. PURE, persistent."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from immutables import Map

from model.errors import Exhausted
from model.identity import LOCAL_FIRST, LOCAL_LAST, Reserved
from model.labels import Label, Labels
from model.network import IPNetwork, by_address

WORLDS = {4: Reserved.WORLD_IPV4, 6: Reserved.WORLD_IPV6}
"""By IP version."""

_WORLD_LABELS = {version: tuple(world.labels) for version, world in WORLDS.items()}


def labels_of(prefix: IPNetwork) -> Labels:
    """A prefix is part of the world too, and of the world of its family; that of length 0 is that world itself."""
    world = _WORLD_LABELS[prefix.version]
    return Labels((Label("cidr", str(prefix)), *world) if prefix.prefixlen else world)


@dataclass(frozen=True, slots=True)
class CidrIdentities:
    """A prefix keeps its number while it is wanted; a number is not given again at once. Prefixes of length 0 are
    the world, which has numbers of its own."""

    numbers: Map[IPNetwork, int] = field(default_factory=Map)
    following: int = LOCAL_FIRST

    def with_prefixes(
        self, wanted: Collection[IPNetwork]
    ) -> tuple[CidrIdentities, dict[int, Labels], dict[int, IPNetwork]]:
        """Exactly these prefixes. Also the identities that are new, and those that are gone."""
        chosen = {prefix for prefix in wanted if prefix.prefixlen}
        kept = {prefix: number for prefix, number in self.numbers.items() if prefix in chosen}
        removed = {number: prefix for prefix, number in self.numbers.items() if prefix not in chosen}
        new = sorted(chosen - kept.keys(), key=by_address)
        if len(self.numbers) + len(new) > LOCAL_LAST - LOCAL_FIRST:
            raise Exhausted(f"no identity is left for {len(chosen)} prefixes", hint="name wider prefixes")
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
        return self.numbers[prefix] if prefix.prefixlen else int(WORLDS[prefix.version])

    def items(self) -> Iterable[tuple[IPNetwork, int]]:
        return self.numbers.items()


def _next(number: int) -> int:
    return number + 1 if number < LOCAL_LAST else LOCAL_FIRST
