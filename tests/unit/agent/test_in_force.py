"""What the rules in force mean, as REST answers it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent import policy_schema
from agent.in_force import endpoint_policy, selectors
from model.errors import Conflict
from tests.unit.agent.node import Node, allow


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    node.network()
    for number, role in enumerate(("web", "client", "client", "other")):
        node.join(number, role)
    node.put(
        allow("web", "client"),
        {
            "endpointSelector": {"matchLabels": {"role": "web"}},
            "ingressDeny": [{"fromCIDR": ["192.0.2.0/24"]}],
            "ingress": [{"toPorts": [{"ports": [{"port": "81"}]}]}],
            "labels": ["name=second"],
        },
    )
    yield node
    node.stop()


def ask(node: Node, docker_id: str) -> Any:
    answer = endpoint_policy(node.state, node.state.endpoints[docker_id])
    assert policy_schema.EndpointPolicySchema().validate(answer) == {}
    return answer


def test_rules_with_whom_they_select_now(node: Node) -> None:
    answer = ask(node, "e0")
    ingress = answer["ingress"]
    assert (answer["egress"]["enforced"], ingress["enforced"]) == (False, True)
    assert ingress["reason"] == "ingress is denied by default: rule 0 (to=web) and 1 more select it"
    first, second = ingress["rules"]
    client = node.state.endpoints["e1"]
    assert first["elements"] == [
        {
            "path": "ingress[0]",
            "says": "allow from role=client on 80/TCP",
            "denies": False,
            "selected": 1,
            "identities": [{"id": client.identity, "labels": client.labels.texts()}],
        }
    ]
    assert [(each["path"], each["denies"], each["selected"]) for each in second["elements"]] == [
        ("ingressDeny[0]", True, 1),
        ("ingress[0]", False, None),
    ]
    assert answer["entries"] == len(node.datapath.policy(answer["slot"]) or {})


def test_one_that_no_rule_is_about(node: Node) -> None:
    answer = ask(node, "e3")
    assert answer["ingress"]["rules"] == answer["egress"]["rules"] == []
    assert answer["ingress"]["reason"] == "no rule is about its ingress: all of it is allowed"


def test_what_audited_rules_would_mean(node: Node) -> None:
    """As if they were in force; what the others say stays as it is."""
    demand = {"fromRequires": [{"matchLabels": {"role": "web"}}]}
    audited = [
        {"endpointSelector": {"matchLabels": {"role": role}}, "ingress": [demand]}
        for role in ("web", "other")
    ]
    node.rules.put_named("tried", json.dumps(audited).encode(), "", wait=5.0, dry_run=False, audit=True)
    web, other = ask(node, "e0")["ingress"], ask(node, "e3")["ingress"]
    assert (web["enforced"], web["audited"], len(web["rules"])) == (True, False, 3)
    assert web["rules"][0]["elements"][0]["selected"] == 1, "not narrowed"
    assert (other["enforced"], other["audited"]) == (False, True)
    assert other["reason"] == (
        "only told, for it is audited: ingress is denied by default: rule 3 (set tried, audited) selects it"
    )


def test_one_that_does_not_run(node: Node) -> None:
    endpoint = node.state.endpoints["e3"].unlinked()
    node.realm.put_endpoint(endpoint)
    with pytest.raises(Conflict):
        endpoint_policy(node.state, endpoint)


def test_where_rules_are_ignored() -> None:
    node = Node(environment={"CILIATE_POLICY_ENFORCEMENT": "never"}).start()
    node.network()
    node.join(0, "web")
    node.put(allow("web"))
    assert ask(node, "e0")["ingress"] == {
        "enforced": False,
        "audited": False,
        "reason": "enforcement is `never`: rules are ignored",
        "rules": [],
    }
    node.stop()


def test_selectors_in_use(node: Node) -> None:
    found = selectors(node.state)
    assert [policy_schema.SelectorSchema().validate(view) for view in found] == [{}, {}]
    (prefix,) = [number for _, number in node.state.cidrs.items()]
    assert found == [
        {"selector": "192.0.2.0/24", "users": 1, "identities": [prefix]},
        {"selector": "role=client", "users": 1, "identities": [node.state.endpoints["e1"].identity]},
    ]
