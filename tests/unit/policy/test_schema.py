"""Rules as users write them: what they mean, and what is said about those that cannot be meant."""

from __future__ import annotations

import datetime
import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.labels import DERIVED
from model.errors import CiliateError, InvalidInput
from model.flow import Direction
from model.labels import Labels
from policy.peers import KEYS
from policy.rule import Service
from policy.schema import dump_rules, load_rules
from tests.unit.policy.drawing import Document, documents
from tests.unit.policy.writing import at, beyond_ports, egress, ingress, refused

IN, OUT = Direction.INGRESS, Direction.EGRESS


def peers(**lists: object) -> Any:
    """The peers of an ingress element with these lists."""
    (rule,) = load_rules([ingress(lists)])
    return rule.allows[IN][0].peers


def services(element: Document) -> Any:
    (rule,) = load_rules([ingress(element)])
    return rule.allows[IN][0].services


# Absent, empty, wildcard


def test_no_peer_list_beside_ports_is_anybody() -> None:
    assert peers(**at(port="80")) is None
    assert peers(fromEndpoints=None, **at(port="80")) is None


@pytest.mark.parametrize("name", ["fromEndpoints", "fromCIDR", "fromCIDRSet", "fromEntities"])
def test_an_empty_peer_list_is_nobody(name: str) -> None:
    assert peers(**{name: []}, **at(port="80")) == ()
    other = "fromEntities" if name != "fromEntities" else "fromCIDR"
    filled = ["all"] if other == "fromEntities" else ["192.0.2.0/24"]
    assert peers(**{name: [], other: filled}) == (), "nobody, whatever stands in another list"


def test_an_element_without_restrictions_is_about_nobody() -> None:
    assert peers() == ()
    assert peers(toPorts=[]) == ()
    assert peers(icmps=[]) == ()


def test_a_selector_without_requirements_is_everybody() -> None:
    (everybody,) = peers(fromEndpoints=[{}])
    assert everybody.is_wildcard
    assert peers(fromEndpoints=[{"matchLabels": {}}]) == (everybody,)


def test_no_ports_are_every_port_and_an_element_of_ports_without_any_is_none() -> None:
    listed = {"fromEndpoints": [{}]}
    assert services(listed) is None
    assert services(listed | {"toPorts": []}) is None
    assert services(listed | {"toPorts": None}) is None
    assert services(listed | {"icmps": []}) is None
    assert services(listed | {"toPorts": [], "icmps": []}) is None
    assert services(listed | {"toPorts": [{}]}) == ()
    assert services(listed | {"toPorts": [{"ports": []}]}) == ()
    assert services(listed | {"icmps": [{}]}) == ()


@pytest.mark.parametrize(
    ("lists", "denied"),
    [
        ({"ingress": [{}]}, {IN}),
        ({"ingress": []}, set()),
        ({"ingress": [], "ingressDeny": [{}]}, {IN}),
        ({"egress": [{}]}, {OUT}),
        ({"ingress": [{}], "egressDeny": [{}]}, {IN, OUT}),
        ({"ingress": [{}], "enableDefaultDeny": {"ingress": False}}, set()),
        ({"ingress": [{}], "enableDefaultDeny": {"egress": True}}, {IN}),
        ({"ingress": [{}], "enableDefaultDeny": {"ingress": None}}, {IN}),
        ({"ingress": [], "enableDefaultDeny": {"ingress": True}}, set()),
        ({"egressDeny": [{}], "enableDefaultDeny": {"egress": False}}, set()),
    ],
)
def test_default_deny(lists: Document, denied: set[Direction]) -> None:
    (rule,) = load_rules([{"endpointSelector": {}, **lists}])
    assert rule.default_deny == denied


# Values


@pytest.mark.parametrize(
    ("port", "found"),
    [
        ({"port": "80", "protocol": "TCP"}, [(6, 80, 80)]),
        ({"port": 80, "protocol": "tcp"}, [(6, 80, 80)]),
        ({"port": "53"}, [(6, 53, 53), (17, 53, 53), (132, 53, 53)]),
        ({"port": "53", "protocol": ""}, [(6, 53, 53), (17, 53, 53), (132, 53, 53)]),
        ({"port": "53", "protocol": "ANY"}, [(6, 53, 53), (17, 53, 53), (132, 53, 53)]),
        ({"port": "80", "endPort": 444, "protocol": "TCP"}, [(6, 80, 444)]),
        ({"port": "80", "endPort": 80, "protocol": "TCP"}, [(6, 80, 80)]),
        ({"port": "80", "endPort": 0, "protocol": "SCTP"}, [(132, 80, 80)]),
        ({"port": "0", "protocol": "UDP"}, [(17, 0, 65535)]),
        ({"port": "65535", "protocol": "UDP"}, [(17, 65535, 65535)]),
    ],
)
def test_ports(port: Document, found: list[tuple[int, int, int]]) -> None:
    assert services(at(**port)) == tuple(Service(*one) for one in found)


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ({"type": 8}, (1, 8)),
        ({"type": "8"}, (1, 8)),
        ({"type": "EchoRequest"}, (1, 8)),
        ({"type": "EchoRequest", "family": "IPv4"}, (1, 8)),
        ({"type": "EchoRequest", "family": "IPv6"}, (58, 128)),
        ({"type": 0, "family": "IPv6"}, (58, 0)),
    ],
)
def test_icmp_types(field: Document, found: tuple[int, int]) -> None:
    protocol, kind = found
    assert services({"icmps": [{"fields": [field]}]}) == (Service(protocol, kind, kind),)


def test_prefixes() -> None:
    """An address is a prefix of its own; bits beyond the length are cut off."""
    texts = ["192.0.2.1", "10.1.2.3/8", "2001:db8::1", "2001:db8::1/32", "0.0.0.0/0"]
    assert [str(one.cidr) for one in peers(fromCIDR=texts)] == [
        "192.0.2.1/32",
        "10.0.0.0/8",
        "2001:db8::1/128",
        "2001:db8::/32",
        "0.0.0.0/0",
    ]
    (one,) = peers(
        fromCIDRSet=[{"cidr": "10.0.0.0/8", "except": ["10.96.0.0/12", "10.0.0.0/9", "10.0.0.0/9"]}]
    )
    assert [str(hole) for hole in one.excepts] == ["10.0.0.0/9", "10.96.0.0/12"]


def test_labels_name_the_rule_in_either_form() -> None:
    forms = ["name=web", {"key": "team", "value": "a", "source": "container"}, {"key": "x", "source": "unspec"},
             {"key": "io", "value": "1", "source": "k8s"}]  # fmt: skip
    (rule,) = load_rules([ingress({}, labels=forms, description="why")])
    assert rule.labels == Labels.parse(["name=web", "container:team=a", "x", "k8s:io=1"])


# Round trips


@settings(max_examples=100, deadline=None)
@given(st.lists(documents(), max_size=3))
def test_what_is_dumped_is_what_was_given(rules: list[Document]) -> None:
    loaded = load_rules(rules)
    assert dump_rules(loaded) == rules
    assert load_rules(json.loads(json.dumps(dump_rules(loaded)))) == loaded


def test_the_same_rule_read_again_is_the_same_object() -> None:
    first, second = load_rules([ingress({"toPorts": []})]), load_rules([ingress({"toPorts": []})])
    assert first[0] is second[0]
    assert load_rules([ingress({})])[0] != first[0]


def test_one_rule_may_stand_without_a_list() -> None:
    assert load_rules(ingress({})) == load_rules([ingress({})])


# Refusals

SELECTOR = "rules[0].ingress[0].fromEndpoints[0]"
PORT = "rules[0].ingress[0].toPorts[0].ports[0]"


def from_endpoint(selector: object) -> Document:
    return ingress({"fromEndpoints": [selector]})


def expression(**members: object) -> Document:
    return from_endpoint({"matchExpressions": [members]})


WRONG: list[tuple[object, str, str]] = [
    # (rule, path, what the message or the hint must say)
    ("text", "rules[0]", "object"),
    ({"ingress": [{}]}, "rules[0].endpointSelector", "{} selects all"),
    ({"endpointSelector": None, "ingress": [{}]}, "rules[0].endpointSelector", "{} selects all"),
    ({"endpointSelector": {}}, "rules[0]", "at least one of ingress"),
    ({"endpointSelector": {}, "ingress": {}}, "rules[0].ingress", "list"),
    ({"endpointSelector": {}, "ingres": [{}]}, "rules[0].ingres", "did you mean 'ingress'?"),
    (ingress({"fromEndpoint": [{}]}), "rules[0].ingress[0].fromEndpoint", "did you mean 'fromEndpoints'?"),
    (ingress({"toEndpoints": [{}]}), "rules[0].ingress[0].toEndpoints", "did you mean 'fromEndpoints'?"),
    (ingress({"fromEndpoints": {}}), "rules[0].ingress[0].fromEndpoints", "list"),
    (ingress([]), "rules[0].ingress[0]", "object"),
    (from_endpoint({"app": "web"}), f"{SELECTOR}.app", "matchLabels"),
    (from_endpoint({"matchLabels": ["a"]}), f"{SELECTOR}.matchLabels", "object"),
    (from_endpoint({"matchLabels": {"version": 2}}), f"{SELECTOR}.matchLabels.version", "quotes"),
    (from_endpoint({"matchLabels": {"": "x"}}), f"{SELECTOR}.matchLabels.", "no key"),
    (
        from_endpoint({"matchLabels": {"k8s:app": "web"}}),
        f"{SELECTOR}.matchLabels.k8s:app",
        "compose:service",
    ),
    (
        from_endpoint({"matchLabels": {"cidr:10.0.0.0/8": ""}}),
        f"{SELECTOR}.matchLabels.cidr:10.0.0.0/8",
        "fromCIDR",
    ),
    *(
        (given, f"{path}.{name}", "fromCIDR")
        for name in ("10.70.0.0/16", "10.70.0.1/16", "any:10.70.0.0/16", "unspec:fd00::/8")
        for labels in ({"matchLabels": {name: ""}},)
        for given, path in (
            (from_endpoint(labels), f"{SELECTOR}.matchLabels"),
            ({"endpointSelector": labels}, "rules[0].endpointSelector.matchLabels"),
            (
                ingress({"fromRequires": [labels]}),
                "rules[0].ingress[0].fromRequires[0].matchLabels",
            ),
        )
    ),
    (
        expression(key="10.70.0.0/16", operator="DoesNotExist"),
        f"{SELECTOR}.matchExpressions[0].key",
        "fromCIDR",
    ),
    (
        from_endpoint({"matchLabels": {"reserved:wrld": ""}}),
        f"{SELECTOR}.matchLabels.reserved:wrld",
        "'world'",
    ),
    (
        from_endpoint({"matchLabels": {"reserved:world": "x"}}),
        f"{SELECTOR}.matchLabels.reserved:world",
        "'reserved:world=x' selects nothing",
    ),
    (
        expression(key="reserved:host", operator="In", values=["y", "x"]),
        f"{SELECTOR}.matchExpressions[0].values",
        "or the entity host",
    ),
    (
        from_endpoint({"matchLabels": {"compose:servic": "a"}}),
        f"{SELECTOR}.matchLabels.compose:servic",
        "'service'",
    ),
    (expression(key="a", operator="Is"), f"{SELECTOR}.matchExpressions[0].operator", "NotIn"),
    (expression(operator="Exists"), f"{SELECTOR}.matchExpressions[0].key", "missing"),
    (expression(key="a", operator="In"), f"{SELECTOR}.matchExpressions[0].values", "at least one"),
    (
        expression(key="a", operator="Exists", values=["x"]),
        f"{SELECTOR}.matchExpressions[0].values",
        "no values",
    ),
    (expression(key="a", operator="In", values=[1]), f"{SELECTOR}.matchExpressions[0].values[0]", "quotes"),
    (
        from_endpoint(
            {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}
        ),
        SELECTOR,
        "contradict",
    ),
    (
        from_endpoint(
            {
                "matchLabels": {"a": "1"},
                "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1", "2"]}],
            }
        ),
        SELECTOR,
        "contradict",
    ),
    (
        from_endpoint(
            {
                "matchLabels": {"container:a": "1"},
                "matchExpressions": [{"key": "container:a", "operator": "In", "values": ["2"]}],
            }
        ),
        SELECTOR,
        "contradict",
    ),
    (
        ingress({"fromEndpoints": [{}], "fromEntities": ["world"]}),
        "rules[0].ingress[0]",
        "fromEndpoints and fromEntities",
    ),
    (ingress({"toPorts": [{}], "icmps": [{}]}), "rules[0].ingress[0]", "toPorts and icmps"),
    (ingress({"fromRequires": {}}), "rules[0].ingress[0].fromRequires", "list"),
    (ingress({"fromRequires": [{"app": 1}]}), "rules[0].ingress[0].fromRequires[0].app", "matchLabels"),
    (
        ingress({"fromRequires": [{"matchLabels": {"a": "1"}}], **at(port="80")}),
        "rules[0].ingress[0].fromRequires",
        "an element of its own",
    ),
    (
        ingress({"fromRequires": [{"matchLabels": {"a": "1"}}], "fromEntities": ["host"]}),
        "rules[0].ingress[0].fromRequires",
        "narrows fromEndpoints only",
    ),
    (ingress({"fromEntities": ["wrold"]}), "rules[0].ingress[0].fromEntities[0]", "did you mean 'world'?"),
    (ingress({"fromEntities": [1]}), "rules[0].ingress[0].fromEntities[0]", "no entity"),
    (ingress({"fromCIDR": ["10.0.0.0/33"]}), "rules[0].ingress[0].fromCIDR[0]", "no prefix"),
    (ingress({"fromCIDR": ["10.0.0.0/255.0.0.0"]}), "rules[0].ingress[0].fromCIDR[0]", "no prefix"),
    (ingress({"fromCIDR": ["fe80::1%eth0"]}), "rules[0].ingress[0].fromCIDR[0]", "no prefix"),
    (ingress({"fromCIDR": ["::ffff:10.0.0.0/104"]}), "rules[0].ingress[0].fromCIDR[0]", "write it as IPv4"),
    (ingress({"fromCIDR": [10]}), "rules[0].ingress[0].fromCIDR[0]", "text"),
    (ingress({"fromCIDR": "10.0.0.0/8"}), "rules[0].ingress[0].fromCIDR", "list"),
    (ingress({"fromCIDRSet": [{"cidr": "10.0.0.1"}]}), "rules[0].ingress[0].fromCIDRSet[0].cidr", "/32"),
    (ingress({"fromCIDRSet": [{}]}), "rules[0].ingress[0].fromCIDRSet[0].cidr", "missing"),
    (
        ingress({"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.0.0.0/9", "11.0.0.0/9"]}]}),
        "rules[0].ingress[0].fromCIDRSet[0].except[1]",
        "does not lie inside",
    ),
    (
        ingress({"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["::/9"]}]}),
        "rules[0].ingress[0].fromCIDRSet[0].except[0]",
        "does not lie inside",
    ),
    (
        ingress({"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}]}),
        "rules[0].ingress[0].fromCIDRSet[0].except[0]",
        "nothing of",
    ),
    (ingress({"toPorts": [{"port": "80"}]}), "rules[0].ingress[0].toPorts[0].port", "did you mean 'ports'?"),
    (ingress(at(protocol="TCP")), f"{PORT}.port", '"0" means every port'),
    (ingress(at(port="65536")), f"{PORT}.port", "65535"),
    (ingress(at(port="-1")), f"{PORT}.port", "no port"),
    (ingress(at(port="80-90")), f"{PORT}.port", "endPort"),
    (ingress(at(port="010")), f"{PORT}.port", "octal"),
    (ingress(at(port=8.5)), f"{PORT}.port", "number"),
    (ingress(at(port=True)), f"{PORT}.port", "number"),
    (ingress(at(port="٨٠")), f"{PORT}.port", "no port"),
    (ingress(at(port="90", endPort=80)), f"{PORT}.endPort", "from 90"),
    (ingress(at(port="90", endPort=65536)), f"{PORT}.endPort", "65535"),
    (ingress(at(port="90", endPort="100")), f"{PORT}.endPort", "number"),
    (ingress(at(port="0", endPort=80)), f"{PORT}.endPort", "begin"),
    (ingress(at(port="80", protocol="TPC")), f"{PORT}.protocol", "TCP"),
    (ingress(at(port="8", protocol="ICMP")), f"{PORT}.protocol", "icmps"),
    (ingress({"toPorts": [{"ports": [{"port": "1"}] * 41}]}), "rules[0].ingress[0].toPorts[0].ports", "40"),
    (ingress({"icmps": [{"fields": [{"type": 8}] * 41}]}), "rules[0].ingress[0].icmps[0].fields", "40"),
    (
        ingress({"icmps": [{"fields": [{"type": "EchoReqest"}]}]}),
        "rules[0].ingress[0].icmps[0].fields[0].type",
        "did you mean 'EchoRequest'?",
    ),
    (ingress({"icmps": [{"fields": [{"type": 256}]}]}), "rules[0].ingress[0].icmps[0].fields[0].type", "255"),
    (ingress({"icmps": [{"fields": [{}]}]}), "rules[0].ingress[0].icmps[0].fields[0].type", "number"),
    (
        ingress({"icmps": [{"fields": [{"type": "PacketTooBig"}]}]}),
        "rules[0].ingress[0].icmps[0].fields[0].type",
        "IPv4",
    ),
    (
        {
            "endpointSelector": {},
            "ingressDeny": [{"icmps": [{"fields": [{"type": 8}, {"type": "Redirect"}]}]}],
        },
        "rules[0].ingressDeny[0].icmps[0].fields[1].type",
        "'Redirect' is never denied by a rule",
    ),
    (
        {
            "endpointSelector": {},
            "egressDeny": [{"icmps": [{"fields": [{"type": 135, "family": "IPv6"}]}]}],
        },
        "rules[0].egressDeny[0].icmps[0].fields[0].type",
        "what is of one link alone never passes",
    ),
    (
        ingress({"icmps": [{"fields": [{"type": 8, "family": "IPv5"}]}]}),
        "rules[0].ingress[0].icmps[0].fields[0].family",
        "IPv6",
    ),
    (ingress({}, enableDefaultDeny={"ingress": "no"}), "rules[0].enableDefaultDeny.ingress", "true or false"),
    (ingress({}, labels=["=x"]), "rules[0].labels[0]", "key"),
    (ingress({}, labels={"name": "x"}), "rules[0].labels", "list"),
    (ingress({}, labels=["a=1", "a=2"]), "rules[0].labels", "two values"),
    (ingress({}, labels=[{"key": "a", "value": 0}]), "rules[0].labels[0].value", "quotes"),
    (ingress({}, description=7), "rules[0].description", "text"),
    (
        from_endpoint(
            {
                "matchLabels": {"a": "1"},
                "matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}],
            }
        ),
        SELECTOR,
        "contradict",
    ),
]

SLIPS: list[tuple[object, str, str]] = [
    # What some languages take for nothing at all, and thereby for a wildcard
    ({"endpointSelector": [], "ingress": [{}]}, "rules[0].endpointSelector", "object"),
    ({"endpointSelector": {}, "ingress": [{}], "egres": None}, "rules[0].egres", "did you mean 'egress'?"),
    (ingress(None), "rules[0].ingress[0]", "or leave it out"),
    (ingress({"fromCIDR": [None]}), "rules[0].ingress[0].fromCIDR[0]", "null is no entry of a list"),
    (ingress({"fromCIDR": {}}), "rules[0].ingress[0].fromCIDR", "list"),
    (ingress({"fromEndpoints": ""}), "rules[0].ingress[0].fromEndpoints", "list"),
    (ingress({"fromEndpoints": [{}], "toPorts": {}}), "rules[0].ingress[0].toPorts", "list"),
    (
        ingress({"fromEndpoints": [{}], "toPorts": [{"ports": {}}]}),
        "rules[0].ingress[0].toPorts[0].ports",
        "list",
    ),
    (from_endpoint({"matchLabels": []}), f"{SELECTOR}.matchLabels", "object"),
    (from_endpoint({"matchLabels": 0}), f"{SELECTOR}.matchLabels", "object"),
    (from_endpoint({"matchExpressions": {}}), f"{SELECTOR}.matchExpressions", "list"),
    (ingress(at(port="80", protocol=0)), f"{PORT}.protocol", "text"),
    (ingress(at(port="80", protocol=[])), f"{PORT}.protocol", "text"),
    (ingress(at(port="80", endPort=False)), f"{PORT}.endPort", "number"),
    (ingress(at(port="80", endPort="")), f"{PORT}.endPort", "number"),
    (ingress(at(port="")), f"{PORT}.port", "no port"),
    (
        ingress({"icmps": [{"fields": [{"type": 8, "family": {"IPv6": 1}}]}]}),
        "rules[0].ingress[0].icmps[0].fields[0].family",
        "text",
    ),
    (ingress({}, enableDefaultDeny={"ingress": 0}), "rules[0].enableDefaultDeny.ingress", "true or false"),
    (ingress({}, enableDefaultDeny=False), "rules[0].enableDefaultDeny", "object"),
]


@pytest.mark.parametrize(("rule", "path", "said"), WRONG + SLIPS)
def test_an_error_names_the_field_and_what_to_do(rule: object, path: str, said: str) -> None:
    error = refused(rule)
    assert isinstance(error, InvalidInput)
    assert error.path == path
    assert said in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    "rule",
    [
        ingress(at(port="1" * 5000)),
        ingress(at(port="x" * 1_000_000)),
        ingress(at(port="80", protocol="x" * 1_000_000)),
        ingress({"icmps": [{"fields": [{"type": "1" * 5000}]}]}),
        ingress({"fromCIDR": [f"10.0.0.0/{'1' * 5000}"]}),
        ingress({"fromEntities": [["all"] * 100_000]}),
        from_endpoint({"matchLabels": {"a": ["x"] * 100_000}}),
        expression(key="a", operator="x" * 1_000_000),
    ],
    ids=range(8),
)
def test_a_huge_value_makes_no_huge_error(rule: object) -> None:
    assert len(str(refused(rule))) < 400


def test_many_requirements_about_one_key_are_read_quickly() -> None:
    same = [{"key": "a", "operator": "In", "values": ["1", str(number)]} for number in range(10_000)]
    begun = time.process_time()
    load_rules([from_endpoint({"matchExpressions": same})])
    assert time.process_time() - begun < 2, "linear; 0.1 s on an idle machine"


def test_labels_of_two_sources_may_meet_two_requirements_about_one_key() -> None:
    wanted = [{"key": "app", "operator": "In", "values": [value]} for value in ("web", "db")]
    (both,) = peers(fromEndpoints=[{"matchExpressions": wanted}])
    assert both.matches(Labels.parse(["container:app=web", "opt:app=db"]))


def test_the_path_counts_rules() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_rules([ingress({}), ingress({}), {"endpointSelector": {}}])
    assert caught.value.path == "rules[2]"


def test_a_type_that_no_rule_is_asked_about_may_be_allowed_in_vain() -> None:
    assert services({"icmps": [{"fields": [{"type": 3}]}]}) == (Service(1, 3, 3),)


def test_empty_l7_rules_say_nothing() -> None:
    assert services({"toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}], "rules": {}}]}) == (
        Service(6, 80, 80),
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("text", "list of objects"),
        (None, "list of objects"),
        (7, "list of objects"),
        ([ingress({}, description=datetime.date(2024, 1, 1))], "quotes"),
        ([ingress({}, description=float("nan"))], "JSON"),
        ([ingress({}, description={1, 2})], "JSON"),
    ],
)
def test_what_is_no_list_of_rules(data: object, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_rules(data)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_document_that_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(ingress({}, labels=endless))
    with pytest.raises(InvalidInput):
        load_rules(endless)


def test_what_is_nested_too_deeply_is_refused_wherever_that_is_noticed() -> None:
    deep: object = "x"
    for depth in range(sys.getrecursionlimit()):
        deep = [deep]
        if depth > sys.getrecursionlimit() - 300:
            with pytest.raises(InvalidInput):
                load_rules([ingress({"fromEndpoints": [{"matchLabels": {"app": deep}}]})])


def test_a_selector_that_stands_in_many_rules_is_one() -> None:
    rules = load_rules(
        [ingress({"fromEndpoints": [{"matchLabels": {"app": "web"}}]}, labels=[f"n={n}"]) for n in range(2)]
    )
    (first,), (second,) = (rule.allows[IN][0].peers or () for rule in rules)
    assert first is second
    with pytest.raises(InvalidInput, match="must be text, not 1"):
        load_rules([ingress({"fromEndpoints": [{"matchLabels": {"app": 1}}]})])


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 70000), st.text(max_size=3), st.sampled_from(["80", "a=b"])),
    lambda some: st.one_of(
        st.lists(some, max_size=3),
        st.dictionaries(
            st.sampled_from(["matchLabels", "matchExpressions", "key", "operator", "values", "ports", "port", "endPort",
                             "fromEndpoints", "fromCIDR", "fromCIDRSet", "cidr", "except", "fromEntities", "toPorts",
                             "icmps", "fields", "type", "family", "ingress", "labels", "rules", "x", "http", "path",
                             "headers", "headerMatches", "name", "secret", "kafka", "apiKey", "dns", "matchName",
                             "matchPattern",
                             "l7proto", "l7", "serverNames", "terminatingTLS", "listener", "envoyConfig", "priority",
                             "fromRequires", "fromNodes", "fromGroups", "aws", "authentication", "mode", "toFQDNs",
                             "toServices", "k8sService", "k8sServiceSelector", "selector", "cidrGroupSelector"]),
            some, max_size=3,
        ),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_whatever_is_sent_is_understood_or_refused(junk: object) -> None:
    for rule in (junk, ingress(junk), egress(junk), beyond_ports(rules=junk), beyond_ports(egress, listener=junk),
                 egress({"toServices": junk}), {"endpointSelector": junk, "egress": [{"toEndpoints": [junk]}]},
                 ingress({}, labels=junk), ingress({"toPorts": junk}), ingress({"icmps": junk})):  # fmt: skip
        try:
            load_rules([rule])
        except CiliateError as error:
            assert error.path.startswith("rules[0]")


def test_the_keys_that_ciliate_gives_out_are_the_ones_that_rules_may_name() -> None:
    given = {(source, key) for source, key in DERIVED.values()} | {("network", "id")}
    named = {(source, key) for source, keys in KEYS.items() if source != "reserved" for key in keys}
    assert named == given
