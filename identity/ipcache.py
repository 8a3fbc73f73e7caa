"""Which entry each prefix has, when several say something about it. PURE, persistent.

The strongest owner of a prefix decides; when it goes, the next one does. Between prefixes the longest match
decides, which is the datapath's business, with one exception made here: a CIDR rule never says anything
about addresses inside a pool, behind another bridge or of the host, or by it an unknown address would become known, and
a part of what is routed to the host become the world."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from immutables import Map

from model.network import IPNetwork

E = TypeVar("E")


class Owner(IntEnum):
    """Strongest first."""

    ENDPOINT = 0
    HOST = 1
    UNMANAGED = 2
    NODE = 3
    """An address of another node."""
    REMOTE = 4
    """An address of another node's container. It says nothing of an address that anybody above has."""
    POOL = 5
    """Known to be ours, and to be nobody yet."""
    CIDR = 6


CLOSED = (Owner.HOST, Owner.UNMANAGED, Owner.POOL)
"""Owners inside whose prefixes CIDR entries have no effect."""


@dataclass(frozen=True, slots=True)
class Changes(Generic[E]):
    """`narrowing`: some address that was somebody's, be it the world's, may be another's now, so that verdicts of
    old are void. One that was a pool's and nobody's had none: who is unknown is denied everything."""

    puts: Mapping[IPNetwork, E] = field(default_factory=dict)
    deletes: tuple[IPNetwork, ...] = ()
    narrowing: bool = False

    def then(self, later: Changes[E]) -> Changes[E]:
        """Both, in this order."""
        gone = set(later.deletes)
        puts = {prefix: entry for prefix, entry in self.puts.items() if prefix not in gone}
        puts.update(later.puts)
        deletes = [prefix for prefix in self.deletes if prefix not in later.puts]
        return Changes(puts, (*deletes, *later.deletes), self.narrowing or later.narrowing)


@dataclass(frozen=True, slots=True)
class Ipcache(Generic[E]):
    claims: Map[IPNetwork, Map[Owner, E]] = field(default_factory=Map)
    """Everything that was said."""
    closed: Map[IPNetwork, int] = field(default_factory=Map)
    """Prefixes of pools, of other bridges and of the host, with how many owners say so: few."""
    cidrs: Map[IPNetwork, E] = field(default_factory=Map)
    """What CIDR rules say, in effect or not."""

    def put_many(self, owner: Owner, entries: Mapping[IPNetwork, E]) -> tuple[Ipcache[E], Changes[E]]:
        return self._changed(owner, entries, ())

    def remove_many(self, owner: Owner, prefixes: Iterable[IPNetwork]) -> tuple[Ipcache[E], Changes[E]]:
        """What was not said is not missed."""
        return self._changed(owner, {}, tuple(dict.fromkeys(prefixes)))

    def effective(self) -> dict[IPNetwork, E]:
        return {prefix: owners[min(owners)] for prefix, owners in self.claims.items()}

    def _changed(
        self, owner: Owner, put: Mapping[IPNetwork, E], remove: tuple[IPNetwork, ...]
    ) -> tuple[Ipcache[E], Changes[E]]:
        if not put and not remove:
            return self, Changes()
        cidrs, closed = self.cidrs, self.closed
        claims: dict[IPNetwork, dict[Owner, E | None]] = {}
        if owner is Owner.CIDR:
            cidrs = cidrs.update(put)
            for prefix in remove:
                if prefix in cidrs:
                    cidrs = cidrs.delete(prefix)
            shut = _inside(put, closed)
            put = {prefix: entry for prefix, entry in put.items() if prefix not in shut}
        for prefix, entry in put.items():
            claims[prefix] = {owner: entry}
        for prefix in remove:
            claims[prefix] = {owner: None}
        if owner in CLOSED:
            closed = self._reclosed(owner, put, remove)
            toggled = {prefix for prefix in (*put, *remove) if (prefix in closed) != (prefix in self.closed)}
            touched = _inside(cidrs, toggled)
            shut = _inside(touched, closed)
            for prefix in touched:
                claims.setdefault(prefix, {})[Owner.CIDR] = None if prefix in shut else cidrs[prefix]
        return self._claimed(claims, closed, cidrs)

    def _reclosed(
        self, owner: Owner, put: Mapping[IPNetwork, E], remove: tuple[IPNetwork, ...]
    ) -> Map[IPNetwork, int]:
        closed = self.closed
        for prefix in put:
            if owner not in self.claims.get(prefix, ()):
                closed = closed.set(prefix, closed.get(prefix, 0) + 1)
        for prefix in remove:
            if owner in self.claims.get(prefix, ()):
                left = closed[prefix] - 1
                closed = closed.set(prefix, left) if left else closed.delete(prefix)
        return closed

    def _claimed(
        self,
        claims: Mapping[IPNetwork, Mapping[Owner, E | None]],
        closed: Map[IPNetwork, int],
        cidrs: Map[IPNetwork, E],
    ) -> tuple[Ipcache[E], Changes[E]]:
        """`None` takes a claim back."""
        puts: dict[IPNetwork, E] = {}
        deletes: list[IPNetwork] = []
        moved: list[IPNetwork] = []
        all_claims = self.claims.mutate()
        for prefix, said in claims.items():
            before: Map[Owner, E] = self.claims.get(prefix, Map())
            after = before
            for owner, entry in said.items():
                if entry is not None:
                    after = after.set(owner, entry)
                elif owner in after:
                    after = after.delete(owner)
            old = before[min(before)] if before else None
            new = after[min(after)] if after else None
            if after:
                all_claims[prefix] = after
            else:
                all_claims.pop(prefix, None)
            if new == old:
                continue
            moved.append(prefix)
            if new is None:
                deletes.append(prefix)
            else:
                puts[prefix] = new
        changes = Changes(puts, tuple(deletes), self._are_somebodys(moved))
        return Ipcache(all_claims.finish(), closed, cidrs), changes

    def _are_somebodys(self, prefixes: Iterable[IPNetwork]) -> bool:
        """Whether addresses of any of them were more than a pool's: another owner's, or the world's."""
        known: dict[IPNetwork, Owner | None] = {}
        return any(self._decider(prefix, known) is not Owner.POOL for prefix in prefixes)

    def _decider(self, prefix: IPNetwork, known: dict[IPNetwork, Owner | None]) -> Owner | None:
        """Who says what an address of this prefix is that no longer one holds. None: nobody, it is the world's.
        `known`: what was found before, because neighbours have most of the way in common."""
        way: list[IPNetwork] = []
        while prefix not in known:
            way.append(prefix)
            owners = self.claims.get(prefix)
            if owners is not None or not prefix.prefixlen:
                known[prefix] = min(owners) if owners else None
            else:
                prefix = prefix.supernet()
        found = known[prefix]
        known.update(dict.fromkeys(way, found))
        return found


def _inside(prefixes: Iterable[IPNetwork], outer: Collection[IPNetwork]) -> set[IPNetwork]:
    """Those that lie in any of the outer ones, or are one. By arithmetic, since either side may be thousands."""
    heads: dict[tuple[int, int], set[int]] = {}
    for prefix in outer:
        heads.setdefault((prefix.version, prefix.prefixlen), set()).add(_head(prefix, prefix.prefixlen))
    return {
        prefix
        for prefix in (prefixes if heads else ())
        if any(
            version == prefix.version and length <= prefix.prefixlen and _head(prefix, length) in known
            for (version, length), known in heads.items()
        )
    }


def _head(prefix: IPNetwork, length: int) -> int:
    """The first `length` bits."""
    return int(prefix.network_address) >> (prefix.max_prefixlen - length)
