"""Endpoints and networks come back from the store whole."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.endpoint import Endpoint
from model.errors import Unavailable
from model.labels import Label, Labels
from model.network import Network
from store.kv import Entry
from store.records import ENDPOINT, NETWORK

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
st.register_type_strategy(Labels, st.lists(st.builds(Label, TEXT, TEXT, TEXT), max_size=3).map(Labels))


def every_field(kind: type) -> st.SearchStrategy[object]:
    """Values for each field, also for one that is added to the class later."""
    hints = get_type_hints(kind)
    return st.builds(
        kind, **{field.name: st.from_type(hints[field.name]) for field in dataclasses.fields(kind)}
    )


@given(every_field(Endpoint))
def test_an_endpoint_comes_back_whole(endpoint: Endpoint) -> None:
    assert ENDPOINT.decode(Entry("k", ENDPOINT.encode(endpoint), 1)) == endpoint


@given(every_field(Network))
def test_a_network_comes_back_whole(network: Network) -> None:
    assert NETWORK.decode(Entry("k", NETWORK.encode(network), 1)) == network


def test_a_record_without_a_member_is_damaged() -> None:
    with pytest.raises(Unavailable, match="endpoints/x is damaged"):
        ENDPOINT.decode(Entry("endpoints/x", b'{"v":1,"id":1}', 1))
