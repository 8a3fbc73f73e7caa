"""Identities and selectors come and go in any order; what is kept is what a fresh look would find."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from identity.cidr import labels_of
from model.labels import Labels
from policy.peers import selector
from policy.selections import Selections
from policy.selector import Selector
from tests.unit.policy.drawing import CONTAINERS, PREFIXES
from tests.unit.policy.test_index import some_selectors

KNOWN = CONTAINERS | {
    (1 << 24) + number: labels_of(ip_network(prefix)) for number, prefix in enumerate(PREFIXES)
}

numbers = st.sets(st.sampled_from(sorted(KNOWN)), max_size=4)
some = st.sets(some_selectors, max_size=4)
changes = st.one_of(
    st.tuples(st.just("come"), numbers),
    st.tuples(st.just("go"), numbers),
    st.tuples(st.just("keep"), some),
    st.tuples(st.just("only"), some),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(changes, max_size=10))
def test_whatever_happens(happenings: list[tuple[str, set[int] | set[Selector]]]) -> None:
    selections, present, kept = Selections(), set[int](), set[Selector]()
    for what, which in happenings:
        match what:
            case "come":
                selections = selections.with_identities({number: KNOWN[number] for number in which})  # type: ignore[index]
                present |= which  # type: ignore[arg-type]
            case "go":
                selections = selections.without_identities(which)  # type: ignore[arg-type]
                present -= which
            case "keep":
                selections = selections.keeping(which)  # type: ignore[arg-type]
                kept |= which  # type: ignore[arg-type]
            case _:
                selections = selections.only(which)  # type: ignore[arg-type]
                kept = set(which)  # type: ignore[arg-type]
        assert set(selections.identities) == present
        assert set(selections.chosen) == kept
        for one in kept:
            assert selections.select(one) == {number for number in present if one.matches(KNOWN[number])}


def test_a_selector_that_is_not_kept_can_be_asked_too() -> None:
    selections = Selections().with_identities({1: Labels.parse(["container:app=web"])})
    web = selector({"matchLabels": {"app": "web"}})
    assert selections.select(web) == {1}
    assert web not in selections.chosen
    assert selections.matching(Labels.parse(["container:app=web"])) == []
    assert selections.keeping([web]).matching(Labels.parse(["container:app=web"])) == [web]
