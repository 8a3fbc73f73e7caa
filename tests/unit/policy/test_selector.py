"""What selectors select."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest

from model.flow import Direction
from model.identity import Reserved
from model.labels import ANY, Labels
from policy.decide import decide
from policy.mapstate import map_state
from policy.oracle import Verdict, verdict
from policy.peers import selector
from policy.repository import Repository
from policy.resolve import Enforcement, resolve
from policy.rule import Element, Rule
from policy.selections import Selections
from policy.selector import (
    CidrSelector,
    Entity,
    EntitySelector,
    LabelSelector,
    Operator,
    Requirement,
    covers,
    prefix_of,
)

WEB = Labels.parse(
    ["container:app=web", "container:tier=front", "image:vendor=acme", "image:app=payments", "network:id=n"]
)


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ({}, True),
        ({"matchLabels": {}}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"any:app": "web"}}, True),
        ({"matchLabels": {"container:app": "web"}}, True),
        ({"matchLabels": {"opt:app": "web"}}, False),
        ({"matchLabels": {"app": "web", "tier": "back"}}, False),
        ({"matchLabels": {"app": "payments"}}, False),
        ({"matchLabels": {"image:app": "payments"}}, True),
        ({"matchExpressions": [{"key": "vendor", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "image:vendor", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "vendor", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}, True),
        ({"matchExpressions": [{"key": "absent", "operator": "In", "values": ["x"]}]}, False),
        ({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "absent", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["payments"]}]}, True),
        (
            {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}],
            },
            False,
        ),
    ],
)
def test_labels(text: object, selected: bool) -> None:
    """All requirements together; no source means every source but the image's; absent keys meet NotIn."""
    assert selector(text).matches(WEB) is selected


def test_labels_of_several_sources_answer_together() -> None:
    both = Labels.parse(["container:app=web", "opt:app=db"])
    for value in ("web", "db"):
        assert selector({"matchLabels": {"app": value}}).matches(both)
        no_such = {"key": "app", "operator": "NotIn", "values": [value]}
        assert not selector({"matchExpressions": [no_such]}).matches(both)


def test_equal_meanings_are_equal() -> None:
    one = selector({"matchLabels": {"a": "1", "b": "2"}})
    other = selector({"matchExpressions": [{"key": "any:b", "operator": "In", "values": ["2", "2"]}],
                      "matchLabels": {"unspec:a": "1"}})  # fmt: skip
    assert (one, hash(one)) == (other, hash(other))
    assert one != selector({"matchLabels": {"a": "1"}})


WORLD = [Reserved.WORLD, Reserved.WORLD_IPV4, Reserved.WORLD_IPV6]
EVERYBODY = {one.label.key: one.labels for one in Reserved if one is not Reserved.UNKNOWN} | {
    "container": WEB,
    "prefix": Labels.parse(["cidr:192.0.2.0/24", "reserved:world", "reserved:world-ipv4"]),
}


@pytest.mark.parametrize(
    ("entity", "who"),
    [
        ("all", set(EVERYBODY)),
        ("none", set()),
        ("world", {"world", "world-ipv4", "world-ipv6", "prefix"}),
        ("cluster", set(EVERYBODY) - {"world", "world-ipv4", "world-ipv6", "prefix"}),
        ("world-ipv4", {"world-ipv4", "prefix"}),
        ("world-ipv6", {"world-ipv6"}),
        ("host", {"host"}),
        ("remote-node", {"remote-node"}),
        ("init", {"init"}),
        ("health", {"health"}),
        ("unmanaged", {"unmanaged"}),
    ],
)
def test_entities(entity: str, who: set[str]) -> None:
    selected = EntitySelector(Entity(entity))
    assert {name for name, labels in EVERYBODY.items() if selected.matches(labels)} == who


def cidr_labels(prefix: str) -> Labels:
    family = "ipv6" if ":" in prefix else "ipv4"
    return Labels.parse([f"cidr:{prefix}", "reserved:world", f"reserved:world-{family}"])


@pytest.mark.parametrize(
    ("prefix", "excepts", "peer", "selected"),
    [
        ("10.0.0.0/8", [], "10.0.0.0/8", True),
        ("10.0.0.0/8", [], "10.1.2.3/32", True),
        ("10.0.0.0/8", [], "8.0.0.0/5", False),
        ("10.0.0.0/8", [], "11.0.0.0/8", False),
        ("10.0.0.0/8", ["10.96.0.0/12"], "10.96.0.0/12", False),
        ("10.0.0.0/8", ["10.96.0.0/12"], "10.97.0.1/32", False),
        ("10.0.0.0/8", ["10.96.0.0/12"], "10.0.0.0/9", True),
        ("10.0.0.0/8", ["10.0.0.0/12"], "10.0.0.0/9", True),
        ("10.0.0.0/8", ["10.0.0.0/12", "10.32.0.0/16"], "10.32.1.0/24", False),
        ("0.0.0.0/0", [], "10.1.2.3/32", True),
        ("0.0.0.0/0", ["0.0.0.0/8"], "0.0.0.0/5", True),
        ("0.0.0.0/0", [], "2001:db8::/32", False),
        ("::/0", [], "2001:db8::/32", True),
        ("2001:db8::/32", [], "2001:db8:1::/48", True),
    ],
)
def test_prefixes_select_by_containment(prefix: str, excepts: list[str], peer: str, selected: bool) -> None:
    holes = tuple(map(ip_network, excepts))
    assert CidrSelector(ip_network(prefix), holes).matches(cidr_labels(peer)) is selected


def test_the_prefix_of_length_0_is_the_world_of_its_family() -> None:
    everything = CidrSelector(ip_network("0.0.0.0/0"), (ip_network("10.0.0.0/8"),))
    assert everything.matches(Reserved.WORLD_IPV4.labels)
    assert not everything.matches(Reserved.WORLD_IPV6.labels)
    assert not everything.matches(cidr_labels("10.1.0.0/16"))
    assert not CidrSelector(ip_network("1.0.0.0/8")).matches(Reserved.WORLD_IPV4.labels)


@pytest.mark.parametrize("who", sorted(set(EVERYBODY) - {"world-ipv4", "world-ipv6", "prefix"}))
def test_a_prefix_never_selects_what_is_no_part_of_the_world(who: str) -> None:
    """Containers, hosts and nodes have addresses too, and are not known by them."""
    for prefix in ("0.0.0.0/0", "::/0", "10.0.0.0/8"):
        assert not CidrSelector(ip_network(prefix)).matches(EVERYBODY[who])
    assert prefix_of(EVERYBODY[who]) is None


def test_prefixes_of_different_families_never_cover_each_other() -> None:
    assert not covers(ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert covers(ip_network("::/0"), ip_network("::1/128"))


@pytest.mark.parametrize("operator", [Operator.IN, Operator.EXISTS])
def test_no_selector_of_labels_reaches_a_prefix(operator: Operator) -> None:
    """Not even one that the schema would refuse; by the rules themselves neither."""
    prefix = "10.70.0.0/16"
    world = Labels.parse([f"cidr:{prefix}", "reserved:world", "reserved:world-ipv4"])
    values = ("",) if operator is Operator.IN else ()
    chosen = LabelSelector((Requirement(ANY, prefix, operator, values),))
    assert not chosen.matches(world)
    demand = {"key": prefix, "operator": operator, **({"values": list(values)} if values else {})}
    document = {
        "endpointSelector": {},
        "ingress": [{"fromEndpoints": [{"matchExpressions": [demand]}]}],
    }
    element = Element((chosen,), None)
    rule = Rule(
        LabelSelector(),
        {Direction.INGRESS: (element,), Direction.EGRESS: ()},
        dict.fromkeys(Direction, ()),
        frozenset({Direction.INGRESS}),
        document=json.dumps(document),
    )
    web = Labels.parse(["container:app=web"])
    said = verdict([rule], Enforcement.DEFAULT, web, world, Direction.INGRESS, 6, 80)
    policy = resolve(Repository().add([rule]), web)
    selections = Selections().with_identities({1 << 24: world}).keeping(policy.selectors)
    decided = decide(map_state(policy, selections.select), 1 << 24, Direction.INGRESS, 6, 80)
    assert (said, decided.allowed) == (Verdict.DENIED, False)
