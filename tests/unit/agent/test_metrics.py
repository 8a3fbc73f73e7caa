"""What Prometheus reads of the agent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.metrics import metrics
from model.endpoint import EndpointState
from tests.unit.agent.node import Node

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    node.network(0)
    for number in range(3):
        node.join(number, "web")
    yield node
    node.stop()


def samples(node: Node, *, revision: int = 7, newest: bool = True) -> Samples:
    """(name, values of labels) -> value."""
    text = metrics(node.state, node.datapath.map_info(), revision=revision, newest=newest).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_map_tells_how_full_it_is(node: Node) -> None:
    found = samples(node)
    for info in node.datapath.map_info():
        assert found["ciliate_map_max_entries", info.name] == info.max_entries
        assert found.get(("ciliate_map_entries", info.name)) == info.entries
    assert found["ciliate_map_entries", "endpoints"] == 3
    assert ("ciliate_map_entries", "policies/inner") in found
    assert ("ciliate_map_entries", "metrics") not in found  # an array is always full


def test_endpoints_are_counted_by_state(node: Node) -> None:
    before = samples(node)
    first = node.state.endpoints["e0"]
    node.realm.put_endpoint(replace(first, state=EndpointState.WAITING_FOR_LABELS))
    after = samples(node)
    assert {state: before["ciliate_endpoints", state] for state in EndpointState}["created"] == 0
    for state, change in ((first.state, -1), (EndpointState.WAITING_FOR_LABELS, 1)):
        assert after["ciliate_endpoints", state] == before["ciliate_endpoints", state] + change


def test_the_rules_in_force_are_told(node: Node) -> None:
    assert samples(node)["ciliate_identities",] == len(node.state.known_identities())
    assert samples(node, revision=9)["ciliate_policy_revision",] == 9
    assert [samples(node, newest=newest)["ciliate_policy_newest_in_force",] for newest in (False, True)] == [
        0,
        1,
    ]
