"""Rules that an older version accepted and this one does not."""

from __future__ import annotations

from agent.stored_rules import closed_where_unreadable, find_rules, repository_of
from model.labels import Labels
from policy.resolve import resolve
from policy.schema import dump_rules
from store.keys import Keys
from store.memory import MemoryStore
from store.policies import UNNAMED, PolicyStore
from tests.unit.agent.node import allow

ODD = {"endpointSelector": {"matchLabels": {"10.70.0.0/16": ""}}, "labels": ["name=odd"], "ingress": [{}]}


def stored() -> PolicyStore:
    store = PolicyStore(MemoryStore(), Keys())
    store.put(UNNAMED, (allow("web", "ok"), ODD))
    return store


def test_a_rule_that_is_not_understood_closes_and_keeps_its_words_and_labels() -> None:
    repository = closed_where_unreadable(stored().all())
    assert dump_rules(repository.unnamed) == [allow("web", "ok"), ODD]
    closed = repository.unnamed[1]
    assert [label.key for label in closed.labels] == ["name"]
    policy = resolve(repository, Labels.parse(["container:role=anybody"]))
    assert policy.ingress_enforced and policy.egress_enforced


def test_a_start_goes_on_with_it_and_says_so() -> None:
    store = stored()
    found = find_rules(store.watch(), PolicyStore(MemoryStore(), Keys()))
    assert "denies everybody everything" in found.problem
    assert len(found.repository.unnamed) == 2


def test_what_is_understood_is_read_as_ever() -> None:
    store = PolicyStore(MemoryStore(), Keys())
    store.put(UNNAMED, (allow("web", "ok"),))
    assert closed_where_unreadable(store.all()) == repository_of(store.all())
