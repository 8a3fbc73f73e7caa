"""Rule sets in the store."""

from __future__ import annotations

import pytest

from model.errors import Conflict, InvalidInput
from store.keys import Keys
from store.memory import MemoryStore
from store.policies import UNNAMED, PolicyChange, PolicyStore, RuleSet

RULE = {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{}]}
OTHER = {"endpointSelector": {}, "labels": ["a"]}


@pytest.fixture
def policies() -> PolicyStore:
    return PolicyStore(MemoryStore(), Keys())


def test_a_set_is_replaced_as_a_whole(policies: PolicyStore) -> None:
    assert policies.get(UNNAMED) is None
    policies.put(UNNAMED, [RULE, OTHER])
    index = policies.put(UNNAMED, [OTHER])
    assert policies.get(UNNAMED) == RuleSet(UNNAMED, (OTHER,), index)

    base = policies.put("base", [], origin="here")
    assert policies.all() == {
        "base": RuleSet("base", (), base, "here"),
        UNNAMED: RuleSet(UNNAMED, (OTHER,), index),
    }


def test_a_write_does_not_overtake_another_s(policies: PolicyStore) -> None:
    first = policies.put(UNNAMED, [RULE], index=0)
    policies.put(UNNAMED, [OTHER], index=first)
    for write in (
        lambda: policies.put(UNNAMED, [], index=first),
        lambda: policies.put(UNNAMED, [], index=0),
        lambda: policies.delete(UNNAMED, index=first),
    ):
        with pytest.raises(Conflict):
            write()
    policies.delete(UNNAMED)
    policies.delete(UNNAMED)
    assert policies.all() == {}


def test_a_watch_tells_of_every_write_by_its_index(policies: PolicyStore) -> None:
    policies.put("base", [RULE])
    watch = policies.watch()
    start = watch.next(5)
    assert start is not None and start.whole
    assert [rules.name for rules in start.sets] == ["base"]

    index = policies.put(UNNAMED, [OTHER])
    assert watch.next(5) == PolicyChange((RuleSet(UNNAMED, (OTHER,), index),), (), False, index)
    index = policies.delete("base")
    assert watch.next(5) == PolicyChange((), ("base",), False, index)
    assert watch.next(0) is None

    later = policies.watch(since=index)
    watch.close()
    assert watch.next() is None
    assert later.next(0) is None


def test_what_no_key_can_hold_is_refused(policies: PolicyStore) -> None:
    with pytest.raises(InvalidInput, match="limit of one set") as caught:
        policies.put("large", [{"description": "x" * 600_000}])
    assert "named sets" in caught.value.hint
    with pytest.raises(InvalidInput, match="name: 'a/b' is no name"):
        policies.put("a/b", [])
    assert policies.all() == {}
