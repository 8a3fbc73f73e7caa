"""Which identities each selector selects, kept up to date as either comes or goes. PURE, persistent.

An identity that comes or goes costs what selects it, whatever else is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from immutables import Map

from model.labels import Labels
from policy.index import SelectorIndex
from policy.selector import Selector


@dataclass(frozen=True, slots=True)
class Selections:
    identities: Map[int, Labels] = field(default_factory=Map)
    chosen: Map[Selector, frozenset[int]] = field(default_factory=Map)
    """By selector that is kept; begin with none, then `keeping`."""
    index: SelectorIndex = field(default_factory=SelectorIndex)

    def select(self, selector: Selector) -> frozenset[int]:
        """Also of a selector that is not kept."""
        kept = self.chosen.get(selector)
        return _evaluate(self.identities, [selector])[selector] if kept is None else kept

    def matching(self, labels: Labels) -> list[Selector]:
        """The kept selectors that select an identity with these labels."""
        return self.index.matching(labels)

    def only(self, wanted: Iterable[Selector]) -> Selections:
        """Keeps exactly these selectors."""
        wanted = set(wanted)
        kept = {selector: self.chosen[selector] for selector in wanted if selector in self.chosen}
        new = _evaluate(self.identities, wanted - kept.keys())
        return Selections(self.identities, Map(kept).update(new), SelectorIndex().including(wanted))

    def keeping(self, wanted: Iterable[Selector]) -> Selections:
        """Keeps these too."""
        new = {selector for selector in wanted if selector not in self.chosen}
        if not new:
            return self
        chosen = self.chosen.update(_evaluate(self.identities, new))
        return replace(self, chosen=chosen, index=self.index.including(new))

    def with_identities(self, added: Mapping[int, Labels]) -> Selections:
        """An identity that is known already must be added with the labels it has."""
        more = _by_selector(self.index, added)
        chosen = self.chosen.update(
            {selector: self.chosen[selector].union(new) for selector, new in more.items()}
        )
        return replace(self, identities=self.identities.update(added), chosen=chosen)

    def without_identities(self, removed: Iterable[int]) -> Selections:
        known = {number: self.identities[number] for number in removed if number in self.identities}
        less = _by_selector(self.index, known)
        chosen = self.chosen.update(
            {selector: self.chosen[selector].difference(old) for selector, old in less.items()}
        )
        identities = self.identities.mutate()
        for number in known:
            del identities[number]
        return replace(self, identities=identities.finish(), chosen=chosen)


def _by_selector(index: SelectorIndex, identities: Mapping[int, Labels]) -> dict[Selector, list[int]]:
    """Only selectors that select any."""
    found: dict[Selector, list[int]] = {}
    for number, labels in identities.items():
        for selector in index.matching(labels):
            found.setdefault(selector, []).append(number)
    return found


def _evaluate(
    identities: Mapping[int, Labels], selectors: Iterable[Selector]
) -> dict[Selector, frozenset[int]]:
    selectors = list(selectors)
    found = _by_selector(SelectorIndex().including(selectors), identities) if selectors else {}
    return {selector: frozenset(found.get(selector, ())) for selector in selectors}
