"""What the rules mean for one set of labels, before anybody knows who its peers are. PURE.

The result depends on rules and the subject's labels alone: an identity that comes or goes changes what a
selector selects, never which selectors apply."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model.flow import Direction
from model.identity import Reserved
from model.labels import Labels
from policy.repository import Repository
from policy.rule import Element, Rule, Service
from policy.selector import Selector

BOTH = frozenset(Direction)


class Enforcement(StrEnum):
    """default: a direction that a rule selects denies what no rule allows. always: every direction does. never:
    rules are ignored."""

    DEFAULT = "default"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Filter:
    """One thing that a rule says. `peer` None: anybody."""

    direction: Direction
    peer: Selector | None
    service: Service
    deny: bool


@dataclass(frozen=True, slots=True)
class SubjectPolicy:
    filters: tuple[Filter, ...]
    enforced: frozenset[Direction]
    selectors: frozenset[Selector]
    """Every one that a filter has."""

    @property
    def ingress_enforced(self) -> bool:
        return Direction.INGRESS in self.enforced

    @property
    def egress_enforced(self) -> bool:
        return Direction.EGRESS in self.enforced


def resolve(
    repository: Repository, subject: Labels, *, mode: Enforcement = Enforcement.DEFAULT
) -> SubjectPolicy:
    if mode is Enforcement.NEVER:
        return SubjectPolicy((), frozenset(), frozenset())
    rules = [rule for rule in repository.rules() if rule.subject.matches(subject)]
    filters = dict.fromkeys(part for rule in rules for part in _filters(rule))
    return SubjectPolicy(
        filters=tuple(filters),
        enforced=enforced(rules, subject, mode),
        selectors=frozenset(part.peer for part in filters if part.peer is not None),
    )


def enforced(rules: list[Rule], subject: Labels, mode: Enforcement) -> frozenset[Direction]:
    """Which directions deny by default, given the rules that select the subject. Who has no labels yet (init)
    is denied both ways, whatever the rules say."""
    if mode is Enforcement.ALWAYS or Reserved.INIT.label in subject:
        return BOTH
    return frozenset(direction for rule in rules for direction in rule.default_deny)


def _filters(rule: Rule) -> list[Filter]:
    return [
        Filter(direction, peer, service, deny)
        for lists, deny in ((rule.allows, False), (rule.denies, True))
        for direction, elements in lists.items()
        for element in elements
        for peer in _peers(element)
        for service in ((Service(),) if element.services is None else element.services)
    ]


def _peers(element: Element) -> list[Selector | None]:
    if element.peers is None:
        return [None]
    return [None if peer.is_wildcard else peer for peer in element.peers]
