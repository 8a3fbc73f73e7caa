"""Which selectors select an identity, without asking each. PURE, persistent.

A selector that demands a label, an entity or a prefix is filed under it, so that an identity's labels lead to the
few that come into question. Only those that demand nothing (`{}`, NotIn) are always asked."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from immutables import Map, MapMutation

from model.labels import Labels
from policy.selector import (
    CidrSelector,
    Entity,
    EntitySelector,
    LabelSelector,
    Operator,
    Requirement,
    Selector,
    head,
    prefix_of,
)

Drawers = MapMutation[Hashable, tuple[Selector, ...]]

_ALWAYS = None
"""The drawer of selectors that no label leads to."""


@dataclass(frozen=True, slots=True)
class SelectorIndex:
    drawers: Map[Hashable, tuple[Selector, ...]] = field(default_factory=Map)
    lengths: frozenset[tuple[int, int]] = frozenset()
    """(IP version, prefix length) of each CIDR selector."""

    def including(self, selectors: Iterable[Selector]) -> SelectorIndex:
        """With these too, none of which is in yet."""
        lengths = set(self.lengths)
        drawers = self.drawers.mutate()
        for selector in selectors:
            if isinstance(selector, CidrSelector):
                lengths.add((selector.cidr.version, selector.cidr.prefixlen))
            for drawer in _drawers(selector, drawers):
                drawers[drawer] = (*drawers.get(drawer, ()), selector)
        return SelectorIndex(drawers.finish(), frozenset(lengths))

    def matching(self, labels: Labels) -> list[Selector]:
        """Those that select an identity with these labels."""
        found = dict.fromkeys(self.drawers.get(_ALWAYS, ()))
        for label in labels:
            found.update(dict.fromkeys(self.drawers.get((label.key, label.value), ())))
            found.update(dict.fromkeys(self.drawers.get(label.key, ())))
        prefix = prefix_of(labels) if self.lengths else None
        if prefix is not None:
            for version, length in self.lengths:
                if version == prefix.version and length <= prefix.prefixlen:
                    same = self.drawers.get((version, length, head(prefix, length)), ())
                    found.update(dict.fromkeys(same))
        return [selector for selector in found if selector.matches(labels)]


def _drawers(selector: Selector, known: Drawers) -> list[Hashable]:
    match selector:
        case CidrSelector(cidr=cidr):
            return [(cidr.version, cidr.prefixlen, head(cidr, cidr.prefixlen))]
        case EntitySelector(entity=Entity.ALL | Entity.CLUSTER):
            return [_ALWAYS]
        case EntitySelector(entity=Entity.NONE):
            return []
        case EntitySelector(entity=entity):
            return [(entity.value, "")]
        case LabelSelector(requirements=requirements):
            demands = [drawers for drawers in map(_demanded, requirements) if drawers]
            # The emptiest: a label that all have, say that of one Compose project, tells nobody apart.
            return min(
                demands,
                key=lambda drawers: sum(len(known.get(drawer, ())) for drawer in drawers),
                default=[_ALWAYS],
            )


def _demanded(requirement: Requirement) -> list[Hashable]:
    match requirement.operator:
        case Operator.IN:
            return [(requirement.key, value) for value in requirement.values]
        case Operator.EXISTS:
            return [requirement.key]
        case _:
            return []
