"""Rules in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from cli import rules


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, "all"),
        (None, "-"),
        ({"matchLabels": {"app": "web", "container:tier": ""}}, "app=web, container:tier"),
        (
            {
                "matchExpressions": [
                    {"key": "env", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"},
                ]
            },
            "env in (a, b), old is absent",
        ),
    ],
)
def test_selectors(selector: dict[str, Any] | None, text: str) -> None:
    assert rules.selector(selector) == text


FROM_CLIENT = {"fromEndpoints": [{"matchLabels": {"app": "client"}}]}


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ({}, "allow nothing"),
        (FROM_CLIENT, "allow from app=client"),
        ({"fromEndpoints": [{}]}, "allow from all"),
        ({"fromEndpoints": []}, "allow from nobody"),
        ({"fromEndpoints": [], "fromCIDR": ["10.0.0.0/8"]}, "allow from nobody"),
        ({"fromEndpoints": None, "toPorts": []}, "allow nothing"),
        ({**FROM_CLIENT, "toPorts": [{}]}, "allow from app=client on no port"),
        (
            {
                "toPorts": [
                    {
                        "ports": [
                            {"port": "0"},
                            {"port": "0", "protocol": "udp"},
                            {"port": "9", "protocol": "any"},
                        ]
                    }
                ]
            },
            "allow from anybody on any port of TCP, UDP or SCTP, UDP, 9",
        ),
        ({"fromRequires": [{"matchLabels": {"env": "a"}}], "toPorts": []}, "allow only from who has env=a"),
        (
            {**FROM_CLIENT, "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}, {"port": "53"}]}]},
            "allow from app=client on 80/TCP, 53",
        ),
        (
            {"toPorts": [{"ports": [{"port": "80", "endPort": 90, "protocol": "ANY"}]}]},
            "allow from anybody on 80-90",
        ),
        ({"fromEntities": ["host", "world"]}, "allow from host or world"),
        ({"fromRequires": [{"matchLabels": {"env": "a"}}]}, "allow only from who has env=a"),
        (
            {**FROM_CLIENT, "fromRequires": [{"matchLabels": {"env": "a"}}, {"matchLabels": {"b": ""}}]},
            "allow from app=client, only from who has env=a, b",
        ),
        (
            {"fromCIDR": ["10.0.0.0/8"], "fromCIDRSet": [{"cidr": "0.0.0.0/0", "except": ["1.1.1.1/32"]}]},
            "allow from 10.0.0.0/8 or 0.0.0.0/0 except 1.1.1.1/32",
        ),
        (
            {"icmps": [{"fields": [{"type": 8}, {"type": "EchoRequest", "family": "IPv6"}]}]},
            "allow from anybody on ICMP 8, ICMPv6 EchoRequest",
        ),
    ],
)
def test_what_a_rule_allows(element: dict[str, Any], text: str) -> None:
    assert rules.direction({"ingress": [element]}, "ingress") == [text]


def test_what_a_rule_denies() -> None:
    rule = {"egress": [{"toEntities": ["all"]}], "egressDeny": [{"toCIDR": ["10.0.0.0/8"]}]}
    assert rules.direction(rule, "egress") == ["allow to all", "deny to 10.0.0.0/8"]
    assert rules.direction(rule, "ingress") == []


def test_a_rules_own_labels() -> None:
    rule = {"labels": [{"source": "opt", "key": "name", "value": "web"}, {"key": "team"}, "a=b"]}
    assert rules.labels(rule) == "opt:name=web team a=b"
