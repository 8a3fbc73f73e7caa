"""What is changed while the agent runs is in force at once, and stays so."""

from __future__ import annotations

import pytest

from agent.room import Room
from datapath.abi import EndpointFlag
from model.errors import Exhausted, InvalidInput, Unavailable
from model.flow import Direction
from policy.mapstate import PolicyEntry, PolicyKey
from policy.resolve import Enforcement
from tests.unit.agent.node import Node, allow

MODE, AUDIT = "CILIATE_POLICY_ENFORCEMENT", "CILIATE_POLICY_AUDIT"

OPEN = {PolicyKey(direction): PolicyEntry() for direction in Direction}


def entries(node: Node, endpoint: str = "e0") -> dict[PolicyKey, PolicyEntry] | None:
    return node.datapath.policy(node.state.subjects[node.state.endpoints[endpoint].identity].slot)


def audited(node: Node) -> set[bool]:
    return {bool(entry.flags & EndpointFlag.AUDIT) for _, entry in node.datapath.endpoints.items()}


def test_every_mode_of_enforcement_at_once(node: Node) -> None:
    node.put({"endpointSelector": {"matchLabels": {"role": "web"}}, "ingress": [{}]})
    web_out = {PolicyKey(Direction.EGRESS): PolicyEntry()}
    for mode, web, client in (
        ("default", web_out, OPEN),
        ("always", {}, {}),
        ("never", OPEN, OPEN),
        ("always", {}, {}),
        (None, web_out, OPEN),
    ):
        node.live.change({MODE: mode})
        assert (entries(node), entries(node, "e1")) == (web, client)
        node.join(2, "newcomer")
        assert entries(node, "e2") == client, "who comes later too"
        node.realm.remove_endpoint("e2")


def test_rules_that_come_later_are_enforced_as_was_said(node: Node) -> None:
    node.live.change({MODE: "always"})
    node.put(allow("web", "client"))
    assert entries(node, "e1") == {}
    assert PolicyKey(Direction.EGRESS) not in (entries(node) or {})
    node.live.change({MODE: "never"})
    node.put(allow("web", "web"))
    assert entries(node) == OPEN


def test_never_is_stronger_than_a_network_that_insists(node: Node) -> None:
    node.network(1, enforcement_always=True)
    node.join(3, "web", in_network=1)
    assert entries(node, "e3") == {}
    node.live.change({MODE: "never"})
    assert entries(node, "e3") == OPEN
    node.live.change({MODE: "default"})
    assert entries(node, "e3") == {}


def test_audit_for_all(node: Node) -> None:
    node.live.change({AUDIT: "true"})
    assert audited(node) == {True}
    node.join(2, "newcomer")
    assert audited(node) == {True}
    node.live.change({AUDIT: None})
    assert audited(node) == {False}


def test_it_outlives_the_agent(node: Node) -> None:
    node.live.change({MODE: "always", AUDIT: "true"})
    assert node.live.changed() == {MODE, AUDIT}
    node.stop()
    second = node.restarted().start()
    assert (second.state.enforcement, second.state.audit) == (Enforcement.ALWAYS, True)
    assert second.live.in_force() == {MODE: "always", AUDIT: "true"}
    assert entries(second) == {}
    second.live.change({MODE: None, AUDIT: None})
    assert second.live.in_force() == {MODE: "default", AUDIT: "false"}
    assert not second.live.changed()
    second.stop()


def test_the_environment_is_what_null_goes_back_to() -> None:
    node = Node(environment={MODE: "always", AUDIT: "yes"}).start()
    assert node.live.in_force() == {MODE: "always", AUDIT: "true"}
    node.live.change({MODE: "default", AUDIT: "false"})
    assert node.live.in_force() == {MODE: "default", AUDIT: "false"}
    node.live.change({MODE: None, AUDIT: None})
    assert node.live.in_force() == {MODE: "always", AUDIT: "true"}
    node.stop()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (MODE, "sometimes", "none of default, always, never"),
        (AUDIT, "perhaps", "neither true nor false"),
        (AUDIT, True, "not text"),
        ("CILIATE_POOL", "10.1.0.0/16", "start only"),
        ("CILIATE_POOL", None, "start only"),
        ("CILIATE_ENCRYPTION", "wireguard", "cannot be set yet"),
        ("CILIATE_NONSENSE", "1", "no such setting"),
    ],
)
def test_what_cannot_be_changed_is_refused_and_with_it_all_the_rest(
    node: Node, name: str, text: object, reason: str
) -> None:
    other = AUDIT if name != AUDIT else MODE
    with pytest.raises(InvalidInput, match=reason) as refusal:
        node.live.change({other: "true" if other == AUDIT else "always", name: text})
    assert refusal.value.path == name
    assert not node.live.changed()
    assert node.live.in_force() == {MODE: "default", AUDIT: "false"}


def test_rules_that_do_not_fit_when_they_are_enforced_leave_all_as_it_was() -> None:
    node = Node(room=Room(policy=3), environment={MODE: "never"}).start()
    node.network()
    node.join(0, "web")
    node.put({**allow("web"), "ingress": [{"fromCIDR": [f"192.0.2.{number}" for number in range(5)]}]})
    assert entries(node) == OPEN
    with pytest.raises(Exhausted):
        node.live.change({MODE: "default", AUDIT: "true"})
    assert node.live.in_force() == {MODE: "never", AUDIT: "false"}
    assert not node.live.changed()
    assert entries(node) == OPEN
    node.stop()


def test_a_setting_of_another_version_is_no_reason_to_guess(node: Node) -> None:
    node.records.keep_setting(MODE, "half")
    with pytest.raises(Unavailable, match="half"):
        node.restarted()
