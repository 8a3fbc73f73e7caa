"""PURE. Rules in a few words, for `ciliate policy get`. The rules themselves are what -o json and -o yaml print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Rule = Mapping[str, Any]

OPERATORS = {"In": "in", "NotIn": "not in", "Exists": "exists", "DoesNotExist": "is absent"}


def selector(given: Mapping[str, Any] | None) -> str:
    """`app=web, tier in (a, b)`; the empty selector is `all`."""
    if given is None:
        return "-"
    parts = [f"{key}={value}" if value else key for key, value in (given.get("matchLabels") or {}).items()]
    for expression in given.get("matchExpressions") or ():
        operator = OPERATORS.get(expression["operator"], expression["operator"])
        values = f" ({', '.join(expression['values'])})" if expression.get("values") else ""
        parts.append(f"{expression['key']} {operator}{values}")
    return ", ".join(parts) or "all"


def _cidr(given: Mapping[str, Any]) -> str:
    excepted = given.get("except")
    return f"{given.get('cidr')} except {', '.join(excepted)}" if excepted else str(given.get("cidr"))


PEERS: Mapping[str, Callable[[Any], str]] = {
    "Endpoints": selector,
    "CIDR": str,
    "CIDRSet": _cidr,
    "Entities": str,
    "FQDNs": lambda each: str(each.get("matchName") or each.get("matchPattern")),
}
"""fromX and toX -> how one of its elements is written."""


def _peers(element: Mapping[str, Any], preposition: str) -> str:
    """Nothing said about peers means anybody; an empty list means nobody."""
    given = {
        field: element[preposition + field] for field in PEERS if element.get(preposition + field) is not None
    }
    if not given:
        return "anybody"
    texts = [PEERS[field](each) for field, values in given.items() for each in values]
    return " or ".join(texts) or "nobody"


def _port(port: Mapping[str, Any]) -> str:
    number = f"{port['port']}-{port['endPort']}" if port.get("endPort") else port.get("port", "any")
    protocol = port.get("protocol") or "ANY"
    return str(number) if protocol == "ANY" else f"{number}/{protocol}"


def _ports(element: Mapping[str, Any]) -> str:
    ports = [_port(port) for each in element.get("toPorts") or () for port in each.get("ports") or ()]
    types = [
        f"ICMP{'v6' if field.get('family') == 'IPv6' else ''} {field.get('type')}"
        for each in element.get("icmps") or ()
        for field in each.get("fields") or ()
    ]
    return ", ".join(ports + types)


def _element(element: Mapping[str, Any], preposition: str) -> str:
    demands = ", ".join(selector(each) for each in element.get(f"{preposition}Requires") or ())
    if demands and len(element) == 1:
        return f"only {preposition} who has {demands}"
    if not element:
        return "nothing"
    peers, ports = _peers(element, preposition), _ports(element)
    said = f"{preposition} {peers} on {ports}" if ports else f"{preposition} {peers}"
    return f"{said}, only {preposition} who has {demands}" if demands else said


def direction(rule: Rule, name: str) -> list[str]:
    """What a rule says about `ingress` or `egress`, a line for each of its elements."""
    preposition = "from" if name == "ingress" else "to"
    allowed: Sequence[Any] = rule.get(name) or ()
    denied: Iterable[Any] = rule.get(f"{name}Deny") or ()
    return [
        *(f"allow {_element(element, preposition)}" for element in allowed),
        *(f"deny {_element(element, preposition)}" for element in denied),
    ]


def subject(rule: Rule) -> str:
    return selector(rule.get("endpointSelector"))


def labels(rule: Rule) -> str:
    """A rule's own labels, by which it is replaced and deleted."""
    return " ".join(_label(label) for label in rule.get("labels") or ())


def _label(label: Any) -> str:
    if not isinstance(label, Mapping):
        return str(label)
    source = f"{label['source']}:" if label.get("source") else ""
    value = f"={label['value']}" if label.get("value") else ""
    return f"{source}{label['key']}{value}"
