"""All rules of a node, immutable. PURE.

Rules come in sets: those given without a name, which grow and shrink by labels, and named ones, which are
replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from immutables import Map

from model.labels import ANY, Labels
from policy.rule import Rule


@dataclass(frozen=True, slots=True)
class Repository:
    unnamed: tuple[Rule, ...] = ()
    named: Mapping[str, tuple[Rule, ...]] = field(default_factory=Map)

    def rules(self) -> tuple[Rule, ...]:
        return self.unnamed + tuple(rule for name in sorted(self.named) for rule in self.named[name])

    def with_labels(self, labels: Labels) -> tuple[Rule, ...]:
        """The rules that carry all of these labels."""
        return tuple(rule for rule in self.rules() if _carries(rule, labels))

    def add(self, rules: Iterable[Rule]) -> Repository:
        return replace(self, unnamed=(*self.unnamed, *rules))

    def delete(self, labels: Labels) -> Repository:
        """Without those unnamed rules that carry all of `labels`; no labels: without any."""
        return replace(self, unnamed=tuple(rule for rule in self.unnamed if not _carries(rule, labels)))

    def replace_with_labels(self, labels: Labels, rules: Iterable[Rule]) -> Repository:
        return self.delete(labels).add(rules)

    def set_named(self, name: str, rules: Iterable[Rule]) -> Repository:
        return replace(self, named=Map(self.named).set(name, tuple(rules)))

    def delete_named(self, name: str) -> Repository:
        return replace(self, named=Map({key: rules for key, rules in self.named.items() if key != name}))


def _carries(rule: Rule, labels: Labels) -> bool:
    return all(
        any(
            (own.value == label.value and ANY in (label.source, own.source)) or own == label
            for own in rule.labels.with_key(label.key)
        )
        for label in labels
    )
