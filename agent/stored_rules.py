"""Rules in the store, as a repository; and the copy of those in force that a node keeps for itself, for a start at
which what is stored cannot be read or does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from model.errors import CiliateError, Unavailable
from model.labels import Labels
from policy.repository import Repository
from policy.rule import Rule
from policy.schema import dump_rules, load_rules
from store.policies import UNNAMED, PolicyStore, PolicyWatch, RuleSet

log = structlog.get_logger("policy")

_FIRST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a start finds. `problem`: why it is not what is stored; empty if it is."""

    repository: Repository
    revision: int
    problem: str = ""


def find_rules(watch: PolicyWatch, last: PolicyStore) -> Found:
    """What is stored, by a watch that begins; where that cannot be read, what was in force last. Raises what is
    wrong where there is neither."""
    first = None
    try:
        first = watch.next(timeout=_FIRST_SECONDS)
        if first is None or not first.whole:
            raise Unavailable("the store does not tell the rules")
        return Found(repository_of({found.name: found for found in first.sets}), first.index)
    except CiliateError as error:
        log.error("the stored rules cannot be read", error=str(error))
        found = last_rules(last, str(error))
        if found is None and first is not None and first.whole:
            sets = {found.name: found for found in first.sets}
            found = Found(closed_where_unreadable(sets), first.index, _closed(error))
        if found is None:
            raise
        return found


def last_rules(last: PolicyStore, problem: str) -> Found | None:
    """Those that were in force last, if any were kept. Their revision is not known."""
    kept = last.all()
    if not kept:
        return None
    try:
        return Found(repository_of(kept), 0, problem)
    except CiliateError as error:
        return Found(closed_where_unreadable(kept), 0, _closed(error))


def _closed(error: CiliateError) -> str:
    return f"{error}; in that rule's place stands one that denies everybody everything: write it anew, or delete it"


def keep_rules(repository: Repository, last: PolicyStore) -> None:
    """These are in force. Writes only the sets that have changed."""
    sets = {UNNAMED: repository.unnamed, **repository.named}
    kept = last.all()
    for name, rules in sets.items():
        documents, audit = tuple(dump_rules(rules)), name in repository.audited
        if name not in kept or (kept[name].rules, kept[name].audit) != (documents, audit):
            last.put(name, documents, audit=audit)
    for name in kept.keys() - sets.keys():
        last.delete(name)


def repository_of(sets: Mapping[str, RuleSet]) -> Repository:
    """All sets, as one repository. Raises InvalidInput or Unsupported for a rule that an older version accepted."""
    return _repository(sets, load_rules)


def closed_where_unreadable(sets: Mapping[str, RuleSet]) -> Repository:
    """The same, whatever is in them. A rule that is not understood becomes one that allows nothing to anybody and keeps
    its text and, where they are plain, its labels: to leave it out could open what it closed."""
    return _repository(
        sets, lambda documents: tuple(rule for one in documents for rule in _read_or_closed(one))
    )


def _read_or_closed(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    try:
        return load_rules([document])
    except CiliateError:
        (closed,) = load_rules([{"endpointSelector": {}, "ingress": [{}], "egress": [{}]}])
        try:
            labels = Labels.parse(document.get("labels") or ())
        except (CiliateError, TypeError, ValueError, AttributeError):
            labels = Labels()
        return (replace(closed, labels=labels, document=json.dumps(document)),)


def _repository(
    sets: Mapping[str, RuleSet], load: Callable[[list[Mapping[str, Any]]], tuple[Rule, ...]]
) -> Repository:
    repository = Repository()
    for name, stored in sorted(sets.items()):
        rules = load(list(stored.rules))
        repository = (
            repository.add(rules)
            if name == UNNAMED
            else repository.set_named(name, rules, audit=stored.audit)
        )
    return repository


class Reading:
    """`repository_of`, for who asks again and again: what is the same as the last time is not read again."""

    def __init__(self) -> None:
        self._last: tuple[Mapping[str, RuleSet], Repository] = ({}, Repository())

    def closed(self, sets: Mapping[str, RuleSet]) -> Repository:
        """For who changes them: what is not understood must not keep anybody from deleting it."""
        try:
            return self.of(sets)
        except CiliateError:
            return closed_where_unreadable(sets)

    def of(self, sets: Mapping[str, RuleSet]) -> Repository:
        known, repository = self._last
        if sets != known:
            repository = repository_of(sets)
            self.learn(sets, repository)
        return repository

    def learn(self, sets: Mapping[str, RuleSet], repository: Repository) -> None:
        """That these rules are what the sets hold."""
        self._last = (sets, repository)
