"""Whom a text means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.parties import NEW, find_pair
from agent.state import State
from model.errors import CiliateError, Conflict, InvalidInput, NotFound
from model.identity import LOCAL_FIRST, Reserved
from model.labels import Labels
from tests.unit.agent.node import Node, allow


@pytest.fixture(scope="module")
def state() -> Iterator[State]:
    """web (endpoint 1) and two clients (2, 3) on n0; web (4) also on n1, other (5) there alone."""
    node = Node().start()
    for number in (0, 1):
        node.network(number)
    for number, role, network in (
        (0, "web", 0),
        (1, "client", 0),
        (2, "client", 0),
        (3, "web", 1),
        (4, "x", 1),
    ):
        node.join(number, role, in_network=network)
        endpoint = node.realm.endpoints()[f"e{number}"]
        name = {"x": "other"}.get(role, role) + ("2" if number == 2 else "")
        node.realm.put_endpoint(replace(endpoint, container_name=name))
    node.put(
        {
            "endpointSelector": {},
            "egressDeny": [{"toCIDR": ["192.0.2.0/24"]}],
            "enableDefaultDeny": {"egress": False},
        }
    )
    yield node.state
    node.stop()


def test_a_container_by_name_number_and_address(state: State) -> None:
    for text in ("client2", "3", "container-name:client2", "10.0.0.7", "ipv4:10.0.0.7"):
        party, _ = find_pair(state, text, "host")
        assert party.endpoint is not None and party.endpoint.id == 3, text
        assert party.labels.texts() == ["container:role=client", "network:id=n0"]


def test_one_that_sits_in_two_networks_is_met_in_the_one_that_both_share(state: State) -> None:
    for other, number in (("client", 1), ("other", 4)):
        one, _ = find_pair(state, "web", other)
        assert one.endpoint is not None and one.endpoint.id == number
        _, one = find_pair(state, other, "web")
        assert one.endpoint is not None and one.endpoint.id == number
    with pytest.raises(Conflict, match="'web' means 2 endpoints") as caught:
        find_pair(state, "web", "host")
    assert (caught.value.path, caught.value.hint) == ("src", "name one by its number: 1, 4")


def test_the_outside(state: State) -> None:
    for text, identity in (
        ("host", Reserved.HOST),
        ("reserved:host", Reserved.HOST),
        ("10.0.0.1", Reserved.HOST),
        ("world", Reserved.WORLD_IPV4),
        ("203.0.113.9", Reserved.WORLD_IPV4),
        ("2001:db8::9", Reserved.WORLD_IPV6),
        ("192.0.2.77", LOCAL_FIRST),
        ("10.0.0.99", Reserved.UNKNOWN),
        ("init", Reserved.INIT),
    ):
        party, _ = find_pair(state, text, "3")
        assert party.identity == int(identity), text
        assert party.has_rules == (text == "init")


def test_labels_mean_the_identity_that_has_them(state: State) -> None:
    """On the other end's network, where they do not name one."""
    party, _ = find_pair(state, "role=web", "client")
    assert party.labels.texts() == ["container:role=web", "network:id=n0"]
    assert party.identity == next(e.identity for e in state.endpoints.values() if e.id == 1)
    party, _ = find_pair(state, "role=web,network:id=n1", "other")
    assert party.network is not None and party.network.id == "n1"
    assert party.identity == next(e.identity for e in state.endpoints.values() if e.id == 4)


def test_labels_that_nobody_or_several_have_mean_a_container_with_just_these(state: State) -> None:
    party, _ = find_pair(state, "role=none,compose:service=db", "client")
    assert (party.identity, party.has_rules) == (NEW, True)
    assert party.labels.texts() == ["compose:service=db", "container:role=none", "network:id=n0"]
    assert party.note.startswith("taken to be on network n0 too. No endpoint here has these labels")
    party, _ = find_pair(state, "role=web", "host")
    assert (party.identity, party.labels.texts()) == (NEW, ["container:role=web"])
    assert party.note.startswith("2 identities have these and more")


def test_an_identity(state: State) -> None:
    number = next(e.identity for e in state.endpoints.values() if e.id == 2)
    party, _ = find_pair(state, f"identity:{number}", "host")
    assert (party.name, party.network and party.network.id) == (f"identity {number}", "n0")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nobody", NotFound),
        ("example.org", NotFound),
        ("", NotFound),
        ("77", NotFound),
        ("identity:9999", NotFound),
        ("identity:x", NotFound),
        ("cidr:10.0.0.0/8", InvalidInput),
        ("=x", InvalidInput),
    ],
)
def test_what_means_nobody_is_refused_with_the_parameter(
    state: State, text: str, error: type[CiliateError]
) -> None:
    with pytest.raises(error) as caught:
        find_pair(state, "host", text)
    assert caught.value.path == "dst"


def test_a_label_of_the_image_alone_is_told_where_rules_ask_for_it() -> None:
    """Whoever reads "has no role" sees role=ok in docker inspect."""
    node = Node().start()
    try:
        node.network(0)
        node.join(0, "web")
        node.put(allow("web", "ok"))
        image = Labels.parse(["image:role=ok", "image:maintainer=me"], default_source="image")
        node.realm.put_endpoint(replace(node.realm.endpoints()["e0"], info_labels=image))
        party, _ = find_pair(node.state, "1", "host")
        assert party.note.startswith("role=ok is its image's word")
        node.realm.put_endpoint(replace(node.realm.endpoints()["e0"], info_labels=Labels()))
        assert find_pair(node.state, "1", "host")[0].note == ""
    finally:
        node.stop()
