"""How people name an endpoint, and how entries of the kernel look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent import views
from model.errors import Conflict, InvalidInput, NotFound
from model.flow import Direction
from policy.mapstate import ALLOWS, DENIES, PolicyEntry, PolicyFlag, PolicyKey
from tests.unit.agent.node import Node


@pytest.fixture
def node() -> Iterator[Node]:
    """Container `web` in two networks, `12` in one."""
    node = Node().start()
    node.network(0)
    node.network(1)
    for number, (name, network) in enumerate([("web", 0), ("web", 1), ("12", 0)]):
        endpoint = node.join(number, "web", in_network=network)
        node.realm.put_endpoint(replace(endpoint, container_name=name, container_id=f"c{name}{'0' * 60}"))
    yield node
    node.stop()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("1", "e0"),
        ("id:2", "e1"),
        ("container-name:12", "e2"),
        ("container-name:/12", "e2"),
        ("container-id:c12", "e2"),
        ("docker-endpoint:e1", "e1"),
        ("ipv4:10.1.0.6", "e1"),
        ("ipv6:10.0.0.5", "e0"),
    ],
)
def test_an_endpoint_has_many_names(node: Node, name: str, found: str) -> None:
    assert views.find_endpoint(node.state, name).docker_id == found


@pytest.mark.parametrize(
    "name", ["12", "9", "nobody", "container-id:", "docker-endpoint:", "ipv4:10.9.9.9", "what:ever"]
)
def test_a_name_of_none_is_not_found(node: Node, name: str) -> None:
    with pytest.raises(NotFound):
        views.find_endpoint(node.state, name)


@pytest.mark.parametrize("name", ["web", "container-name:web", "container-id:cweb", "docker-endpoint:e"])
def test_a_name_of_several_is_refused_with_their_numbers(node: Node, name: str) -> None:
    with pytest.raises(Conflict) as refused:
        views.find_endpoint(node.state, name)
    assert "1, 2" in refused.value.hint


@pytest.mark.parametrize("name", ["ipv4:web", "ipv6:1:2", "id:web", "id:" + "9" * 5000])
def test_a_name_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        views.find_endpoint(Node().state, name)


def test_endpoints_are_shown_with_what_rules_do_to_them(node: Node) -> None:
    node.put({"endpointSelector": {"matchLabels": {"role": "web"}}, "ingress": [{}]})
    shown = views.endpoint(node.state, node.state.endpoints["e0"])
    assert shown["enforcement"] == {"ingress": True, "egress": False, "audit": False}
    assert shown["labels"] == ["container:role=web", "network:id=n0"]
    bare = node.state.endpoints["e0"].unlinked()
    assert views.endpoint(node.state, bare)["labels"] == ["reserved:init"]
    assert views.count_endpoints(node.state) == {"total": 3, "ready": 3, "waiting": 0}


@pytest.mark.parametrize(
    ("port", "bits", "text"), [(0, 0, "any"), (80, 16, "80"), (80, 13, "80-87"), (0, 1, "0-32767")]
)
def test_ports_are_shown_as_ranges(port: int, bits: int, text: str) -> None:
    assert views.ports_of(PolicyKey(Direction.INGRESS, 0, 6, port, bits)) == text


@pytest.mark.parametrize(
    ("says", "shown"),
    [
        (ALLOWS, (False, "")),
        (DENIES, (True, "")),
        (PolicyFlag.ALLOW, (False, "would not allow")),
        (PolicyFlag.WOULD_ALLOW, (False, "would allow")),
        (PolicyFlag.ALLOW | PolicyFlag.WOULD_DENY, (False, "would deny")),
        (PolicyFlag.DENY, (True, "would not deny")),
        (PolicyFlag.DENY | PolicyFlag.WOULD_ALLOW, (True, "would allow")),
    ],
)
def test_entries_are_shown_with_what_audited_sets_would_make_of_them(
    says: PolicyFlag, shown: tuple[bool, str]
) -> None:
    value = views.policy_entry(1, 256, PolicyKey(Direction.INGRESS), PolicyEntry(says))["value"]
    assert (value["deny"], value["audit"]) == shown


def test_audited_sets_are_warned_of(node: Node) -> None:
    assert views.audit_warnings(node.state) == []
    for number in range(12):
        node.rules.put_named(f"set{number:02}", b"[]", "", wait=5.0, dry_run=False, audit=True)
    (warning,) = views.audit_warnings(node.state)
    assert warning["kind"] == "AUDIT" and warning["text"].endswith("set08, set09 and 2 more")
