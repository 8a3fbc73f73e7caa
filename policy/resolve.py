"""What the rules mean for one set of labels, before anybody knows who its peers are. PURE.

The result depends on rules and the subject's labels alone: an identity that comes or goes changes what a
selector selects, never which selectors apply."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar
from weakref import WeakValueDictionary

from model.flow import Direction
from model.identity import Reserved
from model.labels import Labels
from policy.narrowing import narrowed, network_of, required
from policy.ports import ANY_PROTOCOL, Place, prefixes
from policy.repository import Repository
from policy.rule import Rule, Service
from policy.selector import Entity, EntitySelector, Selector

BOTH = frozenset(Direction)

EVERYBODY = EntitySelector(Entity.ALL)

K = TypeVar("K", bound=Hashable)


class Enforcement(StrEnum):
    """default: a direction that a rule selects denies what no rule allows. always: every direction does. never:
    rules are ignored."""

    DEFAULT = "default"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Grants:
    """What the rules say about one peer, as yet unmerged: a place may be covered by another, allowed and denied."""

    allow: frozenset[Place] = frozenset()
    deny: frozenset[Place] = frozenset()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SubjectPolicy:
    """`anybody`: what applies to every peer. Subjects that the same rules select have the same object."""

    anybody: Grants
    peers: Mapping[Selector, Grants]
    enforced: frozenset[Direction]
    selectors: frozenset[Selector]
    """The keys of `peers`, also of those in `would`."""
    would: SubjectPolicy | None = None
    """What it were if the audited rules were in force as well; None if none selects the subject. What passes and
    would not is reported."""

    @property
    def ingress_enforced(self) -> bool:
        return Direction.INGRESS in self.enforced

    @property
    def egress_enforced(self) -> bool:
        return Direction.EGRESS in self.enforced


def resolve(
    repository: Repository, subject: Labels, *, mode: Enforcement = Enforcement.DEFAULT
) -> SubjectPolicy:
    return _resolved(repository, subject, mode)


def resolve_each(
    repository: Repository,
    subjects: Mapping[K, tuple[Labels, Enforcement]],
    pause: Callable[[], None] = lambda: None,
) -> dict[K, SubjectPolicy]:
    """By the keys given. `pause` is called between subjects."""
    policies = {}
    for key, (subject, mode) in subjects.items():
        policies[key] = _resolved(repository, subject, mode)
        pause()
    return policies


Cause = tuple[tuple[Rule, ...], frozenset[Direction], frozenset[Direction], str | None]
"""The rules that select a subject, where it denies by default, where it would if all were in force, and its network if
these rules make a difference."""

_known: WeakValueDictionary[Cause, SubjectPolicy] = WeakValueDictionary()
"""Policies that somebody still holds."""


def _resolved(repository: Repository, subject: Labels, mode: Enforcement) -> SubjectPolicy:
    rules = () if mode is Enforcement.NEVER else repository.selecting(subject)
    in_force = not_audited(rules) if repository.audited else rules
    directions = would = enforced(in_force, subject, mode)
    if in_force is not rules:
        would = enforced(rules, subject, mode)
    network = network_of(rules, subject) if repository.is_local else None
    cause = (rules, directions, would, network)
    policy = _known.get(cause)
    if policy is None:
        policy = _merged(in_force, directions, network)
        if len(in_force) != len(rules):
            policy = _audited(policy, _merged(rules, would, network))
        _known[cause] = policy
    return policy


def not_audited(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Those that are in force."""
    return tuple(rule for rule in rules if not rule.is_audited)


def _audited(policy: SubjectPolicy, would: SubjectPolicy) -> SubjectPolicy:
    return replace(policy, selectors=policy.selectors | would.selectors, would=would)


def enforced(rules: Collection[Rule], subject: Labels, mode: Enforcement) -> frozenset[Direction]:
    """Which directions deny by default, given the rules that select the subject. Who has no labels yet (init)
    is denied both ways, whatever the rules say."""
    if mode is Enforcement.NEVER:
        return frozenset()
    if mode is Enforcement.ALWAYS or Reserved.INIT.label in subject:
        return BOTH
    return frozenset(direction for rule in rules for direction in rule.default_deny)


def _merged(rules: Collection[Rule], directions: frozenset[Direction], network: str | None) -> SubjectPolicy:
    demands = required(rules)
    said: dict[Selector | None, tuple[set[Place], set[Place]]] = {None: (set(), set())}
    for rule in rules:
        for denies, lists in enumerate((rule.allows, rule.denies)):
            for direction, elements in lists.items():
                demanded = demands.get((direction, bool(denies)), ())
                for element in elements:
                    places = _places(direction, element.services)
                    for peer in (EVERYBODY,) if element.peers is None else element.peers:
                        chosen = narrowed(peer, demanded, network)
                        key = None if chosen.is_wildcard else chosen
                        if key not in said:
                            said[key] = (set(), set())
                        said[key][denies].update(places)
    same: dict[Grants, Grants] = {}
    """Equal ones are one: what follows from one is worked out once."""
    granted = {peer: Grants(frozenset(allow), frozenset(deny)) for peer, (allow, deny) in said.items()}
    anybody = granted.pop(None)
    peers = {peer: same.setdefault(grants, grants) for peer, grants in granted.items() if peer is not None}
    return SubjectPolicy(anybody, peers, directions, frozenset(peers))


@lru_cache(maxsize=4096)
def _places(direction: Direction, services: tuple[Service, ...] | None) -> frozenset[Place]:
    """`services` None: every protocol and port."""
    found = set()
    for service in (Service(),) if services is None else services:
        if service.protocol == ANY_PROTOCOL:
            found.add((direction, ANY_PROTOCOL, 0, 0))
        else:
            found |= {(direction, service.protocol, *part) for part in prefixes(service.first, service.last)}
    return frozenset(found)
