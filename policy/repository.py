"""All rules of a node, immutable. PURE.

Rules come in sets: those given without a name, which grow and shrink by labels, and named ones, which are
replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from immutables import Map

from model.labels import ANY, Labels
from policy.index import SelectorIndex
from policy.rule import Rule
from policy.selector import Selector


@dataclass(frozen=True)
class Repository:
    """Without slots, because what is worked out once is kept beside the fields."""

    unnamed: tuple[Rule, ...] = ()
    named: Mapping[str, tuple[Rule, ...]] = field(default_factory=Map)
    audited: frozenset[str] = frozenset()
    """Names of the sets that only report. Their rules say so, too."""

    def rules(self) -> tuple[Rule, ...]:
        return self.unnamed + tuple(rule for name in sorted(self.named) for rule in self.named[name])

    def selecting(self, subject: Labels) -> tuple[Rule, ...]:
        """The rules whose endpointSelector selects these labels, in the order of `rules()`."""
        rules, numbers, index = self._by_subject
        chosen = [number for selector in index.matching(subject) for number in numbers[selector]]
        return tuple(rules[number] for number in sorted(chosen))

    @cached_property
    def is_local(self) -> bool:
        """Whether any rule is."""
        return any(rule.is_local for rule in self.rules())

    @cached_property
    def _by_subject(self) -> tuple[tuple[Rule, ...], dict[Selector, list[int]], SelectorIndex]:
        rules = self.rules()
        numbers: dict[Selector, list[int]] = {}
        for number, rule in enumerate(rules):
            numbers.setdefault(rule.subject, []).append(number)
        return rules, numbers, SelectorIndex().including(numbers)

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

    def set_named(self, name: str, rules: Iterable[Rule], *, audit: bool = False) -> Repository:
        marked = tuple(
            rule if rule.is_audited is audit else replace(rule, is_audited=audit) for rule in rules
        )
        audited = self.audited | {name} if audit else self.audited - {name}
        return replace(self, named=Map(self.named).set(name, marked), audited=audited)

    def delete_named(self, name: str) -> Repository:
        named = Map({key: rules for key, rules in self.named.items() if key != name})
        return replace(self, named=named, audited=self.audited - {name})


def _carries(rule: Rule, labels: Labels) -> bool:
    return all(
        any(
            (own.value == label.value and ANY in (label.source, own.source)) or own == label
            for own in rule.labels.with_key(label.key)
        )
        for label in labels
    )
