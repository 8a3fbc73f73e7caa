"""Rules in words."""

from __future__ import annotations

from typing import Any

import pytest

from model.flow import Direction
from model.labels import Labels
from policy.schema import load_rules
from policy.wording import element_text, missed


def ingress(element: dict[str, Any], *, denies: bool = False) -> str:
    name = "ingressDeny" if denies else "ingress"
    (rule,) = load_rules({"endpointSelector": {}, name: [element]})
    lists = rule.denies if denies else rule.allows
    return element_text(lists[Direction.INGRESS][0], Direction.INGRESS, denies=denies)


def on(*ports: dict[str, Any]) -> dict[str, Any]:
    return {"toPorts": [{"ports": list(ports)}]}


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ({}, "allow nothing"),
        ({"fromEndpoints": []}, "allow nothing"),
        ({"fromRequires": [{"matchLabels": {"a": "1"}}]}, "allow only from who has a=1"),
        (
            {"fromEndpoints": [{"matchLabels": {"b": "2"}}], "fromRequires": [{"matchLabels": {"a": "1"}}]},
            "allow from b=2, only from who has a=1",
        ),
        ({"fromEndpoints": [{}]}, "allow from all"),
        ({"fromEndpoints": [{"matchLabels": {"container:a": "1", "b": ""}}]}, "allow from b, container:a=1"),
        (
            {
                "fromEndpoints": [
                    {"matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]},
                    {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]},
                    {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                ]
            },
            "allow from a in (x, y) or a not in (x) or a exists",
        ),
        (
            {"fromCIDR": [f"192.0.2.{number}" for number in range(9)]},
            "allow from 192.0.2.0/32 or 192.0.2.1/32 or 192.0.2.2/32 or 6 more",
        ),
        (
            {"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.96.0.0/12"]}]},
            "allow from 10.0.0.0/8 except 10.96.0.0/12",
        ),
        ({"fromEntities": ["host", "world"]}, "allow from host or world"),
        (on({"port": "80", "protocol": "TCP"}, {"port": "53"}), "allow from anybody on 80/TCP, 53"),
        (on({"port": "80", "endPort": 90, "protocol": "UDP"}), "allow from anybody on 80-90/UDP"),
        (on({"port": "0", "protocol": "SCTP"}), "allow from anybody on SCTP"),
        (on({"port": "0"}), "allow from anybody on any port of TCP, UDP or SCTP"),
        (
            {"icmps": [{"fields": [{"type": 8}, {"type": 200}, {"type": 128, "family": "IPv6"}]}]},
            "allow from anybody on ICMP 8 (EchoRequest), ICMP 200, ICMPv6 128 (EchoRequest)",
        ),
    ],
)
def test_elements(element: dict[str, Any], text: str) -> None:
    assert ingress(element) == text


def test_denials() -> None:
    assert ingress({"fromEntities": ["world"]}, denies=True) == "deny from world"


@pytest.mark.parametrize(
    ("peer", "labels", "why"),
    [
        ({"fromEndpoints": [{"matchLabels": {"a": "1"}}]}, ["container:a=1"], ""),
        ({"fromEndpoints": [{"matchLabels": {"a": "1"}}]}, ["container:b=1"], "needs a=1, has no a"),
        (
            {"fromEndpoints": [{"matchLabels": {"a": "1"}}]},
            ["image:a=1"],
            "needs a=1, has image:a=1",
        ),
        (
            {"fromCIDR": ["10.0.0.0/8"]},
            ["container:a=1"],
            "10.0.0.0/8 is about the world: who is known by labels is judged by these",
        ),
        ({"fromCIDR": ["10.0.0.0/8"]}, ["cidr:192.0.2.0/24", "reserved:world"], "not in 10.0.0.0/8"),
        (
            {"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]},
            ["cidr:10.1.0.0/16", "reserved:world"],
            "excepted from 10.0.0.0/8",
        ),
        ({"fromEntities": ["host"]}, ["reserved:world"], "not host"),
    ],
)
def test_why_a_selector_does_not_select(peer: dict[str, Any], labels: list[str], why: str) -> None:
    (rule,) = load_rules({"endpointSelector": {}, "ingress": [peer]})
    peers = rule.allows[Direction.INGRESS][0].peers
    assert peers is not None
    assert missed(peers[0], Labels.parse(labels)) == why
