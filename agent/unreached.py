"""PURE. What rules seem to deny, and do not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from agent.views import View
from model.flow import Direction
from model.network import IPNetwork, by_address, overlap
from policy.rule import Element, Rule
from policy.selector import CidrSelector, Entity, EntitySelector, Selector, covers

_MOST = 3
"""Prefixes that are named of many."""


def unreached(rules: Iterable[Rule], unmanaged: Collection[IPNetwork]) -> list[View]:
    """Denied prefixes that hold what lies behind other bridges of this host, which is no part of the world and so of no
    prefix. One warning for each direction. Rules that deny `unmanaged` by name know it."""
    denied: dict[Direction, tuple[set[IPNetwork], set[IPNetwork]]] = {}
    for direction, elements in _denials(rules):
        if any(_is_unmanaged(peer) for element in elements for peer in element.peers or ()):
            continue
        for peer in _prefixes(elements):
            beside = {prefix for prefix in unmanaged if _seems_to_select(peer, prefix)}
            if beside:
                prefixes, missed = denied.setdefault(direction, (set(), set()))
                prefixes.add(peer.cidr)
                missed |= beside
    return [_warning(direction, *found) for direction, found in sorted(denied.items())]


def _denials(rules: Iterable[Rule]) -> Iterator[tuple[Direction, tuple[Element, ...]]]:
    for rule in rules:
        yield from rule.denies.items()


def _prefixes(elements: Iterable[Element]) -> Iterator[CidrSelector]:
    for element in elements:
        yield from (peer for peer in element.peers or () if isinstance(peer, CidrSelector))


def _is_unmanaged(peer: Selector) -> bool:
    return isinstance(peer, EntitySelector) and peer.entity in (
        Entity.UNMANAGED,
        Entity.CLUSTER,
        Entity.ALL,
    )


def _seems_to_select(peer: CidrSelector, prefix: IPNetwork) -> bool:
    if any(covers(hole, prefix) for hole in peer.excepts):
        return False
    return overlap(peer.cidr, prefix)


def _warning(direction: Direction, prefixes: Collection[IPNetwork], missed: Collection[IPNetwork]) -> View:
    way, entities = ("from", "fromEntities") if direction is Direction.INGRESS else ("to", "toEntities")
    return {
        "kind": "CIDR",
        "text": f"what is denied {way} {_some(prefixes)} is not denied {way} {_some(missed)}: that is behind another "
        "bridge of this host, and a CIDR is about the world only",
        "hint": f"if it is meant too, add {{{entities}: [unmanaged]}} to {direction.name.lower()}Deny",
    }


def _some(prefixes: Collection[IPNetwork]) -> str:
    texts = [str(prefix) for prefix in sorted(prefixes, key=by_address)]
    more = f" and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return ", ".join(texts[:_MOST]) + more
