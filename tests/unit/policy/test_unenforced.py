"""What the rule language has and ciliate does not enforce: read as strictly as the rest, then refused by name."""

from __future__ import annotations

import pytest

from model.errors import InvalidInput, Unsupported
from policy.schema import load_rules
from policy.unenforced import UNENFORCED
from tests.unit.policy.writing import (
    ENVOY,
    HTTP,
    TLS,
    WEB_PORT,
    at,
    beyond_ports,
    dns,
    egress,
    ingress,
    l7,
    refused,
)

PORT = "rules[0].ingress[0].toPorts[0].ports[0]"

UNBUILT = [
    (egress({"toFQDNs": [{"matchName": "A.b."}, {"matchPattern": "**.x*.org"}]}), "egress[0].toFQDNs"),
    (egress({"toFQDNs": []}), "egress[0].toFQDNs"),
    (egress({"toServices": [{"k8sService": {"serviceName": "a", "namespace": "b"}}]}), "egress[0].toServices"),
    (
        egress({"toServices": [{"k8sServiceSelector": {"selector": {"matchLabels": {"k8s:a": "b"}}}}]}),
        "egress[0].toServices",
    ),
    (egress({"toNodes": []}), "egress[0].toNodes"),
    (ingress({"fromNodes": [{"matchLabels": {"node:a": "b"}}]}), "ingress[0].fromNodes"),
    (ingress({"fromGroups": [{"aws": {"region": "x", "securityGroupsIds": ["a"], "labels": {"a": "b"}}}]}),
     "ingress[0].fromGroups"),
    (ingress({"fromCIDRSet": [{"cidrGroupRef": "x"}]}), "ingress[0].fromCIDRSet[0].cidrGroupRef"),
    (
        ingress({"fromCIDRSet": [{"cidrGroupSelector": {"matchLabels": {"a": "b"}}}]}),
        "ingress[0].fromCIDRSet[0].cidrGroupSelector",
    ),
    (ingress({"authentication": {"mode": "required"}}), "ingress[0].authentication"),
    (l7(http=[HTTP, {}]), "ingress[0].toPorts[0].rules"),
    (l7(http=[]), "ingress[0].toPorts[0].rules"),
    (l7(kafka=[{"role": "Produce", "topic": "a-b"}, {"apiKey": "ApiVersions", "apiVersion": "3", "clientID": "x"}]),
     "ingress[0].toPorts[0].rules"),
    (l7(l7proto="cassandra", l7=[{"query_action": "select"}]), "ingress[0].toPorts[0].rules"),
    (dns({"matchName": "cilium.io"}, {"matchPattern": "*"}), "egress[0].toPorts[0].rules"),
    (beyond_ports(serverNames=["a.b", "*.c.d"]), "ingress[0].toPorts[0].serverNames"),
    (beyond_ports(terminatingTLS=TLS), "ingress[0].toPorts[0].terminatingTLS"),
    (beyond_ports(originatingTLS=TLS), "ingress[0].toPorts[0].originatingTLS"),
    (beyond_ports(egress, listener=ENVOY), "egress[0].toPorts[0].listener"),
    (ingress(at(port="http")), "ingress[0].toPorts[0].ports[0].port"),
    ({"nodeSelector": {"matchLabels": {"node": "a"}}, "ingress": [{}]}, "nodeSelector"),
    (ingress({}, log={"value": "x"}), "log"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "path"), UNBUILT)
def test_what_is_not_built_yet_is_refused_and_says_so(rule: object, path: str) -> None:
    error = refused(rule)
    assert isinstance(error, Unsupported)
    assert error.path == f"rules[0].{path}"
    assert error.hint or "list the CIDRs" in error.message


def test_everything_that_is_not_built_is_refused_in_a_test() -> None:
    tested = {path.rpartition(".")[2] for _, path in UNBUILT}
    assert set(UNENFORCED) - {"toGroups"} <= tested


@pytest.mark.parametrize(
    "rule",
    [
        ingress({"fromEntities": ["host"], "authentication": {"mode": "disabled"}}),
        egress({"toEntities": ["host"], "authentication": {"mode": "disabled"}}),
        ingress({}, log={}),
        ingress({}, log={"value": ""}),
        ingress({}, log={"value": None}),
    ],
)
def test_what_asks_for_nothing_is_taken(rule: object) -> None:
    assert len(load_rules([rule])) == 1


HERE = "rules[0].ingress[0].toPorts[0]"
THERE = "rules[0].egress[0].toPorts[0]"
PEER = "rules[0].egress[0]"

MISUSED: list[tuple[object, str, str]] = [
    (l7(http=[{"path": "/a("}]), f"{HERE}.rules.http[0].path", "no regular expression"),
    (l7(http=[{}, {"method": "(?=GET)"}]), f"{HERE}.rules.http[1].method", "looks around"),
    (l7(http=[{"host": "(a)\\1"}]), f"{HERE}.rules.http[0].host", "looks around or back"),
    (l7(http=[{"path": "a" * 5000}]), f"{HERE}.rules.http[0].path", "longer"),
    (l7(http=[{"paths": "/"}]), f"{HERE}.rules.http[0].paths", "did you mean 'path'?"),
    (l7(http=[{"headers": [": x"]}]), f"{HERE}.rules.http[0].headers[0]", "header's name"),
    (l7(http=[{"headerMatches": [{}]}]), f"{HERE}.rules.http[0].headerMatches[0].name", "missing"),
    (
        l7(http=[{"headerMatches": [{"name": "X", "mismatch": "log"}]}]),
        f"{HERE}.rules.http[0].headerMatches[0].mismatch",
        "LOG",
    ),
    (
        l7(http=[{"headerMatches": [{"name": "X", "secret": {"name": ""}}]}]),
        f"{HERE}.rules.http[0].headerMatches[0].secret.name",
        "empty",
    ),
    (l7(http={}), f"{HERE}.rules.http", "list"),
    (l7(htpp=[]), f"{HERE}.rules.htpp", "did you mean 'http'?"),
    (l7(http=[{}], kafka=[{}]), f"{HERE}.rules", "http and kafka exclude each other"),
    (l7(kafka=[{"apiKey": "metdata"}]), f"{HERE}.rules.kafka[0].apiKey", "did you mean 'metadata'?"),
    (l7(kafka=[{"role": "x"}]), f"{HERE}.rules.kafka[0].role", "produce or consume"),
    (l7(kafka=[{"role": "produce", "apiKey": "fetch"}]), f"{HERE}.rules.kafka[0].role", "exclude"),
    (l7(kafka=[{"apiVersion": "-1"}]), f"{HERE}.rules.kafka[0].apiVersion", "32767"),
    (l7(kafka=[{"apiVersion": 1}]), f"{HERE}.rules.kafka[0].apiVersion", "quotes"),
    (l7(kafka=[{"topic": "a b"}]), f"{HERE}.rules.kafka[0].topic", "letters"),
    (l7(l7=[{"a": "b"}]), f"{HERE}.rules.l7", "l7proto"),
    (l7(l7proto="x", l7=[{"a": 1}]), f"{HERE}.rules.l7[0].a", "quotes"),
    (l7(l7proto="x", l7=[{"": "b"}]), f"{HERE}.rules.l7[0]", "key"),
    (beyond_ports(ports=[{"port": "80"}], rules={"http": [{}]}), f"{HERE}.rules", "protocol: TCP"),
    (
        beyond_ports(ports=[{"port": "0", "protocol": "TCP"}], rules={"kafka": [{}]}),
        f"{HERE}.rules",
        "need ports",
    ),
    (beyond_ports(ports=[], rules={"http": [{}]}), f"{HERE}.rules", "need ports"),
    (l7(dns=[{"matchName": "a.b"}]), f"{HERE}.rules.dns", "egress"),
    (dns({"matchName": "a..b"}), f"{THERE}.rules.dns[0].matchName", "no DNS name"),
    (dns({"matchName": "*.b"}), f"{THERE}.rules.dns[0].matchName", "matchPattern"),
    (dns({}), f"{THERE}.rules.dns[0]", "one of"),
    (dns({"matchName": "a.b", "matchPattern": "*"}), f"{THERE}.rules.dns[0]", "not both"),
    (
        beyond_ports(egress, [{"port": "53", "endPort": 54}], rules={"dns": [{"matchPattern": "*"}]}),
        f"{THERE}.rules.dns",
        "no range",
    ),
    (beyond_ports(serverNames=[""]), f"{HERE}.serverNames[0]", "no DNS name"),
    (beyond_ports(serverNames="a"), f"{HERE}.serverNames", "list"),
    (
        beyond_ports(serverNames=["a.b"], rules={"http": [{}]}),
        f"{HERE}.serverNames",
        "terminatingTLS",
    ),
    (beyond_ports(terminatingTLS={}), f"{HERE}.terminatingTLS.secret", "missing"),
    (beyond_ports(originatingTLS={"secret": {"name": 1}}), f"{HERE}.originatingTLS.secret.name", "quotes"),
    (beyond_ports(listener=ENVOY), f"{HERE}.listener", "egress"),
    (beyond_ports(egress, listener=ENVOY | {"priority": 101}), f"{THERE}.listener.priority", "100"),
    (beyond_ports(egress, listener={"name": "x"}), f"{THERE}.listener.envoyConfig", "object"),
    (
        beyond_ports(egress, listener=ENVOY, rules={"http": [{}]}),
        f"{THERE}.listener",
        "excludes rules",
    ),
    (egress({"toFQDNs": [{"matchName": "a b"}]}), f"{PEER}.toFQDNs[0].matchName", "no DNS name"),
    (egress({"toFQDNs": [{"matchPattern": "a/*"}]}), f"{PEER}.toFQDNs[0].matchPattern", "no DNS name"),
    (egress({"toFQDNs": [{"matchName": "a.b"}], "toEntities": ["world"]}), PEER, "exclude each other"),
    (egress({"toServices": [{}]}), f"{PEER}.toServices[0]", "k8sService"),
    (
        egress({"toServices": [{"k8sService": {"name": "a"}}]}),
        f"{PEER}.toServices[0].k8sService.name",
        "namespace",
    ),
    (egress({"toNodes": [{"matchLabels": {"": "b"}}]}), f"{PEER}.toNodes[0].matchLabels.", "key"),
    (egress({"toGroups": [{"gcp": {}}]}), f"{PEER}.toGroups[0].gcp", "aws"),
    (egress({"authentication": {"mode": "on"}}), f"{PEER}.authentication.mode", "required"),
    (ingress({"toFQDNs": []}), "rules[0].ingress[0].toFQDNs", "no such field"),
    (ingress({}, log={"value": "x" * 33}), "rules[0].log.value", "32"),
    ({"endpointSelector": {}, "nodeSelector": {}, "ingress": [{}]}, "rules[0]", "exclude each other"),
    (
        {
            "endpointSelector": {},
            "ingressDeny": [{"toPorts": [{"ports": WEB_PORT, "rules": {"http": [{}]}}]}],
        },
        "rules[0].ingressDeny[0].toPorts[0].rules",
        "peers and ports only",
    ),
    (
        {"endpointSelector": {}, "egressDeny": [{"toFQDNs": [{"matchName": "a.b"}]}]},
        "rules[0].egressDeny[0].toFQDNs",
        "peers and ports only",
    ),
    (
        {"endpointSelector": {}, "ingressDeny": [{"authentication": {"mode": "required"}}]},
        "rules[0].ingressDeny[0].authentication",
        "no such field",
    ),
    (ingress({"fromEntities": ["kube-apiserver"]}), "rules[0].ingress[0].fromEntities[0]", "in a CIDR"),
    (ingress({"fromEntities": ["ingress"]}), "rules[0].ingress[0].fromEntities[0]", "its labels"),
    (
        ingress({"fromCIDRSet": [{"cidr": "10.0.0.0/8", "cidrGroupRef": "x"}]}),
        "rules[0].ingress[0].fromCIDRSet[0]",
        "exclude each other",
    ),
    (ingress(at(port="-http")), f"{PORT}.port", "no port"),
    (ingress(at(port="0x50")), f"{PORT}.port", "have no names"),
]


@pytest.mark.parametrize(("rule", "path", "said"), MISUSED)
def test_what_is_not_built_is_read_before_it_is_refused(rule: object, path: str, said: str) -> None:
    error = refused(rule)
    assert error.path == path
    assert said in f"{error.message} {error.hint}"
    assert isinstance(error, InvalidInput) or "have no names" in error.message


@pytest.mark.parametrize("name", sorted(UNENFORCED))
def test_a_field_that_is_not_built_may_be_null(name: str) -> None:
    at_port = {"toPorts": [{"ports": WEB_PORT, name: None}]}
    accepted = 0
    for rule in (egress({name: None}), ingress({name: None}), egress(at_port), ingress({}, **{name: None})):
        try:
            load_rules([rule])
            accepted += 1
        except InvalidInput as error:
            assert error.message == "no such field"
    assert accepted
