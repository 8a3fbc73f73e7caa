"""PURE. Rules in a few words, for `ciliate policy get`. The rules themselves are what -o json and -o yaml print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Rule = Mapping[str, Any]

ANY_PORT = "any port of TCP, UDP or SCTP"
"""What `"0"` means: an ICMP type is none of these."""

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


def _lists(element: Mapping[str, Any], preposition: str) -> dict[str, list[Any]]:
    """The peer lists that are there, by the end of their names."""
    return {
        field: element[preposition + field] for field in PEERS if element.get(preposition + field) is not None
    }


def _peers(lists: Mapping[str, list[Any]]) -> str:
    """Nothing said about peers means anybody; a list that is empty means nobody, whatever stands in another."""
    if not all(lists.values()):
        return "nobody"
    return " or ".join(PEERS[field](each) for field, values in lists.items() for each in values) or "anybody"


def _port(port: Mapping[str, Any]) -> str:
    number, protocol = str(port["port"]), (port.get("protocol") or "ANY").upper()
    if number == "0":
        return ANY_PORT if protocol == "ANY" else protocol
    if port.get("endPort"):
        number += f"-{port['endPort']}"
    return number if protocol == "ANY" else f"{number}/{protocol}"


def _ports(element: Mapping[str, Any]) -> str:
    """Empty where there is no limit."""
    ports = [_port(port) for each in element.get("toPorts") or () for port in each.get("ports") or ()]
    types = [
        f"ICMP{'v6' if field.get('family') == 'IPv6' else ''} {field.get('type')}"
        for each in element.get("icmps") or ()
        for field in each.get("fields") or ()
    ]
    is_limited = element.get("toPorts") or element.get("icmps")
    return ", ".join(ports + types) or ("no port" if is_limited else "")


def _element(element: Mapping[str, Any], preposition: str) -> str:
    demands = ", ".join(selector(each) for each in element.get(f"{preposition}Requires") or ())
    lists, ports = _lists(element, preposition), _ports(element)
    if not lists and not ports:
        return f"only {preposition} who has {demands}" if demands else "nothing"
    said = f"{preposition} {_peers(lists)}" + (f" on {ports}" if ports else "")
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
