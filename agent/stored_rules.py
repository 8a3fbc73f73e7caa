"""Rules in the store, as a repository; and the copy of those in force that a node keeps for itself, for a start at
which what is stored cannot be read or does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from model.errors import CiliateError, Unavailable
from policy.repository import Repository
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
    try:
        first = watch.next(timeout=_FIRST_SECONDS)
        if first is None or not first.whole:
            raise Unavailable("the store does not tell the rules")
        return Found(repository_of({found.name: found for found in first.sets}), first.index)
    except CiliateError as error:
        log.error("the stored rules cannot be read", error=str(error))
        found = last_rules(last, str(error))
        if found is None:
            raise
        return found


def last_rules(last: PolicyStore, problem: str) -> Found | None:
    """Those that were in force last, if any were kept. Their revision is not known."""
    kept = last.all()
    return Found(repository_of(kept), 0, problem) if kept else None


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
    """All sets, as one repository."""
    repository = Repository()
    for name, stored in sorted(sets.items()):
        rules = load_rules(list(stored.rules))
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

    def of(self, sets: Mapping[str, RuleSet]) -> Repository:
        known, repository = self._last
        if sets != known:
            repository = repository_of(sets)
            self.learn(sets, repository)
        return repository

    def learn(self, sets: Mapping[str, RuleSet], repository: Repository) -> None:
        """That these rules are what the sets hold."""
        self._last = (sets, repository)
