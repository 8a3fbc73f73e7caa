"""Sets of rules, as they are added, replaced and taken back."""

from __future__ import annotations

from model.labels import Labels
from policy.repository import Repository
from policy.rule import Rule
from policy.schema import load_rules


def rule(*labels: str, app: str = "web") -> Rule:
    return load_rules(
        {"endpointSelector": {"matchLabels": {"app": app}}, "ingress": [{}], "labels": list(labels)}
    )[0]


A, B, AB = rule("name=a"), rule("name=b"), rule("name=a", "team=b")
NAMED = rule("name=a", "named")


def labels(*texts: str) -> Labels:
    return Labels.parse(texts)


def test_rules_without_a_name_come_first_then_sets_by_name() -> None:
    repository = Repository().set_named("z", [B]).set_named("y", [NAMED]).add([A])
    assert repository.rules() == (A, NAMED, B)


def test_delete_takes_the_rules_that_carry_all_labels() -> None:
    repository = Repository().add([A, B, AB])
    assert repository.delete(labels("name=a")).rules() == (B,)
    assert repository.delete(labels("name=a", "team=b")).rules() == (A, B)
    assert repository.delete(labels("name=c")).rules() == (A, B, AB)
    assert repository.delete(labels()).rules() == ()


def test_named_sets_are_replaced_and_deleted_as_a_whole_only() -> None:
    repository = Repository().add([A]).set_named("set", [NAMED, B])
    assert repository.delete(labels()).rules() == (NAMED, B)
    assert repository.set_named("set", [AB]).rules() == (A, AB)
    assert repository.delete_named("set").rules() == (A,)
    assert repository.delete_named("other").rules() == (A, NAMED, B)


def test_replacing_by_labels_is_one_step() -> None:
    repository = Repository().add([A, B])
    assert repository.replace_with_labels(labels("name=a"), [AB]).rules() == (B, AB)


def test_labels_without_a_source_mean_any() -> None:
    own = rule("container:name=a")
    repository = Repository().add([own])
    assert repository.with_labels(labels("name=a")) == (own,)
    assert repository.with_labels(labels("container:name=a")) == (own,)
    assert repository.with_labels(labels("opt:name=a")) == ()
    assert repository.with_labels(labels("container:name=b")) == ()


def test_the_rules_that_select_a_subject_in_their_order() -> None:
    for_all = load_rules({"endpointSelector": {}, "egress": [{}]})[0]
    for_db = rule(app="db")
    repository = Repository().add([A, for_db, for_all, B])
    assert repository.selecting(labels("container:app=web")) == (A, for_all, B)
    assert repository.selecting(labels("container:app=db")) == (for_db, for_all)
    assert repository.selecting(labels("image:app=db")) == (for_all,)


def test_a_repository_never_changes() -> None:
    old = Repository().add([A])
    old.add([B]).set_named("set", [NAMED]).delete(labels())
    assert old.rules() == (A,)
    assert old == Repository().add([A])
