"""The short way to the selectors that select an identity, held against asking each."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from identity.cidr import labels_of
from policy.index import SelectorIndex
from policy.peers import cidr_set, selector
from policy.selector import CidrSelector, Entity, EntitySelector, Selector
from tests.unit.policy.drawing import CONTAINERS, PREFIXES, RESERVED, cidr_sets, selectors

IDENTITIES = [
    *RESERVED.values(),
    *CONTAINERS.values(),
    *(labels_of(ip_network(prefix)) for prefix in PREFIXES),
]

some_selectors: st.SearchStrategy[Selector] = st.one_of(
    selectors().map(selector),
    cidr_sets().map(cidr_set),
    st.sampled_from([EntitySelector(entity) for entity in Entity]),
    st.sampled_from([CidrSelector(ip_network(prefix)) for prefix in PREFIXES]),
)


@settings(max_examples=150, deadline=None)
@given(st.sets(some_selectors, max_size=12), st.sets(some_selectors, max_size=4))
def test_it_finds_what_asking_each_would(first: set[Selector], later: set[Selector]) -> None:
    index = SelectorIndex().including(first).including(later - first)
    for labels in IDENTITIES:
        found = index.matching(labels)
        assert len(found) == len(set(found))
        assert set(found) == {one for one in first | later if one.matches(labels)}


def test_an_index_that_grew_leaves_the_old_one_as_it_was() -> None:
    old = SelectorIndex().including([selector({})])
    old.including([selector({"matchLabels": {"app": "web"}})])
    assert old.matching(CONTAINERS[256]) == [selector({})]
