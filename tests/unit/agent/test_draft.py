"""What a draft would change, as REST answers it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from agent import policy_schema, schema
from agent.events import HostChanged
from agent.room import Room
from model.errors import Exhausted, InvalidInput
from tests.unit.agent.node import Node, allow


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    for number in (0, 1):
        node.network(number)
    for number, role, network in ((0, "web", 0), (1, "client", 0), (2, "other", 0), (3, "far", 1)):
        endpoint = node.join(number, role, in_network=network)
        node.realm.put_endpoint(replace(endpoint, container_name=role))
    node.put(allow("web", "client"))
    yield node
    node.stop()


def check(
    node: Node,
    *rules: Any,
    replacing: Sequence[str] = (),
    name: str = "",
    audit: bool = False,
    limit: int = 100,
) -> Any:
    answer = node.rules.check(
        json.dumps(rules).encode(),
        "application/json",
        replace=replacing,
        name=name,
        audit=audit,
        limit=limit,
    )
    assert policy_schema.CheckSchema().validate(answer) == {}
    return answer


def told(answer: Any) -> list[tuple[str, str, list[str], str, list[str]]]:
    def names(identities: Any) -> list[str]:
        return [
            next(iter(one["labels"])).removeprefix("container:role=").removeprefix("reserved:")
            for one in identities
        ]

    return [
        (
            each["change"],
            each["direction"],
            names(each["subjects"]),
            each["services"],
            names(each["peers"]),
        )
        for each in answer["changes"]
    ]


def test_a_rule_replaced(node: Node) -> None:
    answer = check(node, allow("web", "other"), replacing=["to=web"])
    assert told(answer) == [
        ("denied", "ingress", ["web"], "80/TCP", ["client"]),
        ("allowed", "ingress", ["web"], "80/TCP", ["other"]),
    ]
    assert answer["rules"] == {"before": 1, "after": 1}
    assert (answer["enforcement"], answer["pairs_denied"], answer["pairs_allowed"]) == ([], 1, 1)
    assert answer["revision"] == node.rules.revision


def test_an_audited_draft_changes_nothing_and_says_what_it_would_tell(node: Node) -> None:
    answer = check(node, allow("web", "other"), name="tried", audit=True)
    assert (told(answer), answer["enforcement"]) == ([], []), "it allows more, and gives nothing"
    answer = check(node, allow("client", "nobody"), name="tried", audit=True)
    everybody = ["host", "unmanaged", "world", "world", "client", "other", "web"]
    assert [(*row[:4], sorted(row[4])) for row in told(answer)] == [
        ("audited", "ingress", ["client"], "everything", sorted(everybody))
    ]
    assert (answer["enforcement"], answer["pairs_denied"], answer["pairs_audited"]) == ([], 0, 7)
    node.rules.put_named(
        "tried", json.dumps([allow("client", "nobody")]).encode(), "", wait=5.0, dry_run=False, audit=True
    )
    assert told(check(node, allow("client", "nobody"), name="tried", audit=True)) == [], "it is told already"
    assert {row[0] for row in told(check(node, allow("client", "nobody"), name="tried"))} == {"denied"}
    with pytest.raises(InvalidInput, match="named set"):
        check(node, allow("web"), audit=True)


def test_an_endpoint_newly_enforced_loses_all_that_no_rule_allows(node: Node) -> None:
    """What lies in another network was never reached, and is not told of."""
    answer = check(node, allow("other", "web"))
    assert answer["enforcement"] == [
        {"endpoint": 3, "name": "other", "direction": "ingress", "enforced": True}
    ]
    everybody = ["host", "unmanaged", "world", "world", "client", "other"]
    assert told(answer) == [
        ("denied", "ingress", ["other"], "everything", everybody),
        ("denied", "ingress", ["other"], "everything but 80/TCP", ["web"]),
    ]


def test_a_direction_no_longer_enforced(node: Node) -> None:
    answer = check(node, replacing=["to=web"])
    assert answer["enforcement"] == [
        {"endpoint": 1, "name": "web", "direction": "ingress", "enforced": False}
    ]
    assert answer["pairs_denied"] == 0
    assert {row[:2] for row in told(answer)} == {("allowed", "ingress")}


def test_both_ends_are_heard(node: Node) -> None:
    """That client may send to web is worth nothing where web does not let it in."""
    denying = {
        "endpointSelector": {"matchLabels": {"role": "client"}},
        "egressDeny": [{"toEndpoints": [{"matchLabels": {"role": "web"}}]}],
        "enableDefaultDeny": {"egress": False},
    }
    assert told(check(node, denying)) == [("denied", "egress", ["client"], "80/TCP", ["web"])]


def test_prefixes_that_no_rule_names_yet(node: Node) -> None:
    denying = {
        "endpointSelector": {"matchLabels": {"role": "client"}},
        "egressDeny": [{"toCIDR": ["192.0.2.0/24"], "toPorts": [{"ports": [{"port": "53"}]}]}],
        "enableDefaultDeny": {"egress": False},
    }
    assert told(check(node, denying)) == [
        ("denied", "egress", ["client"], "53", ["cidr:192.0.2.0/24"]),
    ]


def test_a_named_set_is_replaced_as_a_whole(node: Node) -> None:
    rule = json.dumps([allow("other", "web")]).encode()
    node.rules.put_named("mine", rule, "", wait=5.0, dry_run=False)
    assert told(check(node, allow("other", "web"), name="mine")) == []
    emptied = check(node, name="mine")
    assert emptied["rules"] == {"before": 2, "after": 1}
    assert emptied["pairs_allowed"] == 7
    with pytest.raises(InvalidInput):
        check(node, name="no such name")


def test_nothing_is_stored(node: Node) -> None:
    before = node.policies.all()
    check(node, allow("other", "web"))
    assert node.policies.all() == before


def test_many_changes_are_bounded_and_counted(node: Node) -> None:
    """Those who are affected alike are told of together."""
    answer = check(node, {"endpointSelector": {}, "ingress": [{}]}, limit=1)
    assert (len(answer["changes"]), answer["changes_total"] > 1) == (1, True)
    assert (len(answer["enforcement"]), answer["enforcement_total"]) == (1, 3)
    (row,) = told(answer)
    assert row[2] == ["client", "other"]


def test_what_would_not_fit_is_refused() -> None:
    node = Node(room=Room(policy=2)).start()
    node.network()
    for number, role in enumerate(("web", "a", "b", "c")):
        node.join(number, role)
    with pytest.raises(Exhausted):
        check(node, allow("web", "a", "b", "c"))
    node.stop()


def test_audit_mode_is_told_with_the_draft(node: Node) -> None:
    """What is newly denied would pass."""
    assert check(node, allow("web", "other"))["warnings"] == []
    web = node.state.endpoints["e0"]
    node.realm.put_endpoint(replace(web, audit=True))
    (warning,) = check(node, allow("web", "other"))["warnings"]
    assert warning["kind"] == "AUDIT" and warning["text"].endswith("1 endpoints passes: 1")


def test_what_a_denied_prefix_does_not_reach_is_told_by_drafts_and_by_answers_to_writers(node: Node) -> None:
    bridge = replace(node.state.host, unmanaged=frozenset([ip_network("172.17.0.0/16")]))
    node.loop.call(HostChanged(bridge))
    rule = {"endpointSelector": {}, "egressDeny": [{"toCIDR": ["172.16.0.0/12"]}]}
    told = check(node, rule)["warnings"]
    assert [each["kind"] for each in told] == ["CIDR"]
    body = json.dumps([rule]).encode()
    for dry_run in (True, False):
        named = node.rules.put_named("x", body, "application/json", wait=0.0, dry_run=dry_run)
        assert named["warnings"] == told
        assert schema.NamedPolicySchema().validate(named) == {}
        plain = node.rules.put(body, "application/json", replace=(), wait=0.0, dry_run=dry_run)
        assert plain["warnings"] == told
        assert schema.PutPolicySchema().validate(plain) == {}
