"""Rules in a few words, for who asks why. PURE. `ciliate policy get` uses the same words."""

from __future__ import annotations

from collections.abc import Iterable

from model.flow import Direction
from model.labels import ANY, Labels
from policy.icmp import ICMP, ICMP_TYPES, ICMPV6
from policy.ports import ANY_PROTOCOL, LAST_PORT
from policy.rule import Element, Rule, Service
from policy.selector import (
    CidrSelector,
    Entity,
    EntitySelector,
    LabelSelector,
    Operator,
    Requirement,
    Selector,
    covers,
    prefix_of,
)
from policy.traffic import PROTOCOLS

NUMBERS = {number: name for name, number in PROTOCOLS.items()}
_WITH_PORTS = frozenset(NUMBERS)
_ICMP_NAMES = {ICMP: "IPv4", ICMPV6: "IPv6"}
_ANY_PORT = "any port of TCP, UDP or SCTP"
"""An ICMP type is none of these."""
_MOST = 3
"""Peers of one element that are told of; a rule may name ten thousand."""


def rule_text(number: int, name: str, rule: Rule) -> str:
    """`rule 3 (set base, name=web)`: where it stands, and what it is called. `rule 4 (set base, audited)`."""
    called = [f"set {name}"] if name else []
    called += ["audited"] if rule.is_audited else []
    called += [str(label).removeprefix(f"{ANY}:") for label in rule.labels]
    return f"rule {number} ({', '.join(called)})" if called else f"rule {number}"


def element_text(element: Element, direction: Direction, *, denies: bool) -> str:
    """`allow from role=client or host on 80/TCP`."""
    verb = "deny" if denies else "allow"
    way = "from" if direction is Direction.INGRESS else "to"
    demands = ", ".join(map(requirement_text, element.requires))
    if element.peers == () and element.services is None:
        return f"{verb} only {way} who has {demands}" if demands else f"{verb} nothing"
    places = services_text(element.services)
    said = f"{verb} {way} {peers_text(element.peers)}" + (f" on {places}" if places else "")
    return f"{said}, only {way} who has {demands}" if demands else said


def peers_text(peers: tuple[Selector, ...] | None) -> str:
    if peers is None:
        return "anybody"
    return _some([selector_text(peer) for peer in peers[: _MOST + 1]], len(peers), " or ") or "nobody"


def selector_text(selector: Selector) -> str:
    """`role=client, tier in (a, b)`; one that demands nothing is `all`."""
    match selector:
        case LabelSelector(requirements=requirements):
            return ", ".join(map(requirement_text, requirements)) or "all"
        case CidrSelector(cidr=cidr, excepts=()):
            return str(cidr)
        case CidrSelector(cidr=cidr, excepts=excepts):
            return f"{cidr} except {_some([str(hole) for hole in excepts[: _MOST + 1]], len(excepts), ', ')}"
        case EntitySelector(entity=entity):
            return entity.value


def requirement_text(requirement: Requirement) -> str:
    name = requirement.key if requirement.source == ANY else f"{requirement.source}:{requirement.key}"
    values = requirement.values
    match requirement.operator:
        case Operator.IN if len(values) == 1:
            return f"{name}={values[0]}" if values[0] else name
        case Operator.IN:
            return f"{name} in ({', '.join(values)})"
        case Operator.NOT_IN:
            return f"{name} not in ({', '.join(values)})"
        case Operator.EXISTS:
            return f"{name} exists"
        case Operator.DOES_NOT_EXIST:
            return f"{name} is absent"


def services_text(services: Iterable[Service] | None) -> str:
    """`80/TCP, 53`; without a protocol it is each that has ports. Empty for every port."""
    if services is None:
        return ""
    protocols: dict[tuple[int, int], list[int]] = {}
    types = []
    for service in services:
        if service.protocol in _ICMP_NAMES:
            types.append(place_text(service.protocol, service.first, service.last))
        elif service.protocol == ANY_PROTOCOL:
            return ""
        else:
            protocols.setdefault((service.first, service.last), []).append(service.protocol)
    ports = []
    for (first, last), numbers in protocols.items():
        if set(numbers) == _WITH_PORTS:
            ports.append(_range(first, last) or _ANY_PORT)
        else:
            ports += [place_text(number, first, last) for number in numbers]
    return ", ".join(ports + types) or "no port"


def place_text(protocol: int, first: int, last: int) -> str:
    """`80/TCP`, `80-90/TCP`, `TCP` for all ports, `ICMP 8 (EchoRequest)`."""
    family = _ICMP_NAMES.get(protocol)
    if family is None:
        name, ports = NUMBERS.get(protocol, str(protocol)), _range(first, last)
        return f"{ports}/{name}" if ports else name
    name = "ICMP" if protocol == ICMP else "ICMPv6"
    if last >= 255 and first == 0:
        return name
    known = [kind for kind, number in ICMP_TYPES[family].items() if number == first]
    return (
        f"{name} {first}" + (f" ({known[-1]})" if known else "")
        if first == last
        else f"{name} {first}-{last}"
    )


def _range(first: int, last: int) -> str:
    if (first, last) == (0, LAST_PORT):
        return ""
    return str(first) if first == last else f"{first}-{last}"


def missed(selector: Selector, labels: Labels) -> str:
    """Why it does not select these labels; empty if it does."""
    if selector.matches(labels):
        return ""
    match selector:
        case LabelSelector(requirements=requirements):
            unmet = [one for one in requirements if not one.matches(labels)]
            return "; ".join(f"needs {requirement_text(one)}, {_has(one, labels)}" for one in unmet)
        case CidrSelector(cidr=cidr):
            prefix = prefix_of(labels)
            if prefix is None:
                return f"{cidr} is about the world: who is known by labels is judged by these"
            return f"excepted from {cidr}" if covers(cidr, prefix) else f"not in {cidr}"
        case EntitySelector(entity=Entity.NONE):
            return "none is nobody"
        case EntitySelector(entity=entity):
            return f"not {entity.value}"


def _has(requirement: Requirement, labels: Labels) -> str:
    found = [str(label) for label in labels.with_key(requirement.key)]
    return f"has {', '.join(found)}" if found else f"has no {requirement.key}"


def misses(peers: tuple[Selector, ...], labels: Labels) -> str:
    """Of several selectors, none of which selects them."""
    return _some([missed(peer, labels) for peer in peers[: _MOST + 1]], len(peers), "; nor: ")


def _some(texts: list[str], number: int, between: str) -> str:
    """The first few of so many."""
    if number <= _MOST:
        return between.join(texts)
    return between.join(texts[:_MOST]) + f"{between}{number - _MOST} more"
