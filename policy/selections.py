"""Which identities each selector selects, kept up to date as either comes or goes. PURE, persistent.

A selector is evaluated against every identity once, when it is first seen; after that an identity that comes or
goes costs one evaluation for each distinct selector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from immutables import Map

from model.labels import Labels
from policy.selector import Selector


@dataclass(frozen=True, slots=True)
class Selections:
    identities: Mapping[int, Labels] = field(default_factory=Map)
    chosen: Mapping[Selector, frozenset[int]] = field(default_factory=Map)

    def select(self, selector: Selector) -> frozenset[int]:
        """Also of a selector that is not kept."""
        kept = self.chosen.get(selector)
        return self._evaluate(selector) if kept is None else kept

    def matching(self, labels: Labels) -> list[Selector]:
        """The kept selectors that select an identity with these labels."""
        return [selector for selector in self.chosen if selector.matches(labels)]

    def only(self, wanted: Iterable[Selector]) -> Selections:
        """Keeps exactly these selectors."""
        return replace(self, chosen=Map({selector: self.select(selector) for selector in wanted}))

    def keeping(self, wanted: Iterable[Selector]) -> Selections:
        """Keeps these too."""
        new = {selector: self._evaluate(selector) for selector in wanted if selector not in self.chosen}
        return replace(self, chosen=Map(self.chosen).update(new)) if new else self

    def with_identities(self, added: Mapping[int, Labels]) -> Selections:
        identities = Map(self.identities).update(added)
        chosen = Map(self.chosen)
        for selector, selected in self.chosen.items():
            more = [number for number, labels in added.items() if selector.matches(labels)]
            if more:
                chosen = chosen.set(selector, selected.union(more))
        return Selections(identities, chosen)

    def without_identities(self, removed: Iterable[int]) -> Selections:
        identities, chosen, gone = Map(self.identities), Map(self.chosen), set(removed)
        for number in gone:
            if number in identities:
                identities = identities.delete(number)
        for selector, selected in self.chosen.items():
            if not gone.isdisjoint(selected):
                chosen = chosen.set(selector, selected - gone)
        return Selections(identities, chosen)

    def _evaluate(self, selector: Selector) -> frozenset[int]:
        return frozenset(number for number, labels in self.identities.items() if selector.matches(labels))
