"""Would the comparison of rules and maps notice? Mistakes that policy engines have made, each made on purpose.

A mistake is a way to make a node from rules; the search has to find rules and packets that give it away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from model.flow import Direction
from model.labels import Labels
from policy.mapstate import ALLOW, DENY, PolicyEntry, PolicyFlag, PolicyKey
from policy.resolve import Grants, resolve
from policy.selections import Selections
from tests.unit.policy.drawing import (
    CONTAINERS,
    RESERVED,
    SUBJECTS,
    Case,
    Document,
    Node,
    cases,
    disagreement,
    labels_of,
    node_of,
)


def misread(change: Callable[[Document], None]) -> Callable[[Case], Node]:
    """An engine that takes each element of each rule for another one."""

    def make(case: Case) -> Node:
        rules, audited = deepcopy(case.rules), deepcopy(case.audited)
        for rule in rules + audited:
            for name in ("ingress", "ingressDeny", "egress", "egressDeny"):
                for element in rule.get(name) or ():
                    change(element)
        return node_of(replace(case, rules=rules, audited=audited))

    return make


def except_forgotten(element: Document) -> None:
    for cidr_set in (element.get("fromCIDRSet") or []) + (element.get("toCIDRSet") or []):
        cidr_set.pop("except", None)


def range_ends_early(element: Document) -> None:
    for port in ports_of(element):
        if port.get("endPort", 0) > int(port["port"]):
            port["endPort"] -= 1


def range_is_one_port(element: Document) -> None:
    for port in ports_of(element):
        port.pop("endPort", None)


def any_is_tcp(element: Document) -> None:
    for port in ports_of(element):
        if port["port"] != "0" and port.get("protocol", "ANY") == "ANY":
            port["protocol"] = "TCP"


def empty_is_absent(element: Document) -> None:
    for name in [name for name, value in element.items() if value == [] and name not in ("toPorts", "icmps")]:
        del element[name]


def no_port_is_any_port(element: Document) -> None:
    if element.get("toPorts") and not any(part.get("ports") for part in element["toPorts"]):
        element["toPorts"] = []


def nothing_is_everything(element: Document) -> None:
    if not element:
        element["toPorts"] = [{"ports": [{"port": "0"}]}]


def requirement_forgotten(element: Document) -> None:
    for name in ("fromRequires", "toRequires"):
        element.pop(name, None)


def requirement_of_its_own(element: Document) -> None:
    """It narrows the element that it stands in, and no other."""
    for way in ("from", "to"):
        demands = element.pop(way + "Requires", None) or []
        for chosen in element.get(way + "Endpoints") or []:
            for demand in demands:
                expressions = [
                    {"key": key, "operator": "In", "values": [value]}
                    for key, value in (demand.get("matchLabels") or {}).items()
                ]
                expressions += demand.get("matchExpressions") or []
                about = {one["key"] for one in chosen.get("matchExpressions") or ()}
                about |= set(chosen.get("matchLabels") or ())
                new = [one for one in expressions if one["key"] not in about]
                chosen["matchExpressions"] = (chosen.get("matchExpressions") or []) + new


def compose_is_everywhere(element: Document) -> None:
    """A service of the same name in another network is taken for this network's."""
    for name in ("fromEndpoints", "toEndpoints"):
        for chosen in element.get(name) or ():
            if "compose:" in str(chosen) and "network:id" not in str(chosen):
                anywhere = {"key": "network:id", "operator": "Exists"}
                chosen["matchExpressions"] = [*(chosen.get("matchExpressions") or ()), anywhere]


def ports_of(element: Document) -> list[dict[str, Any]]:
    return [port for part in element.get("toPorts") or () for port in part.get("ports") or ()]


def maps_by(make: Callable[[Grants, Grants, int], dict[PolicyKey, PolicyEntry]]) -> Callable[[Case], Node]:
    """An engine that makes an identity's entries from (its grants, everybody's, its number) in another way."""

    def node(case: Case) -> Node:
        right = node_of(case)
        if case.audited:
            return right
        repository = case.repository()
        identities = {**RESERVED, **CONTAINERS}
        selections = Selections().with_identities(identities)
        maps = {}
        for subject in SUBJECTS:
            policy = resolve(repository, labels_of(subject), mode=case.mode)
            entries = {
                key: entry for key, entry in right.maps[subject].items() if key.identity not in identities
            }
            for number in identities:
                parts = [grants for peer, grants in policy.peers.items() if number in selections.select(peer)]
                own = Grants(
                    frozenset().union(*(part.allow for part in parts)),
                    frozenset().union(*(part.deny for part in parts)),
                )
                entries |= make(own, policy.anybody, number)
            maps[subject] = entries
        return replace(right, maps=maps)

    return node


def narrower_allow_hides_deny(own: Grants, everybody: Grants, number: int) -> dict[PolicyKey, PolicyEntry]:
    """Each place for itself: the longest match is then the narrowest rule, not the strongest."""
    return {key(number, place): ALLOW for place in own.allow} | {
        key(number, place): DENY for place in own.deny
    }


def allow_wins(own: Grants, everybody: Grants, number: int) -> dict[PolicyKey, PolicyEntry]:
    return {key(number, place): DENY for place in own.deny} | {
        key(number, place): ALLOW for place in own.allow
    }


def deny_forgotten(own: Grants, everybody: Grants, number: int) -> dict[PolicyKey, PolicyEntry]:
    return {key(number, place): ALLOW for place in own.allow}


def key(number: int, place: tuple[Direction, int, int, int]) -> PolicyKey:
    direction, protocol, port, bits = place
    return PolicyKey(direction, number, protocol, port, bits)


def keyed_by(change: Callable[[PolicyKey], Iterable[PolicyKey]]) -> Callable[[Case], Node]:
    """An engine that writes each entry under other keys."""

    def node(case: Case) -> Node:
        right = node_of(case)
        maps = {
            subject: {new: entry for old, entry in entries.items() for new in change(old)}
            for subject, entries in right.maps.items()
        }
        return replace(right, maps=maps)

    return node


def anybody_is_forgotten(key: PolicyKey) -> Iterable[PolicyKey]:
    """The second question, for identity 0, is never asked."""
    return [key] if key.identity else []


def every_protocol_has_ports(key: PolicyKey) -> Iterable[PolicyKey]:
    return [key] if key.protocol else [replace(key, protocol=protocol) for protocol in (6, 17, 132)]


def reply_direction(key: PolicyKey) -> Iterable[PolicyKey]:
    """Ingress rules judge what leaves."""
    return [replace(key, direction=Direction(1 - key.direction))]


def stale_entries(case: Case) -> Node:
    """Identity 256 came to be another's, and the entries of its first bearer stayed."""
    right = node_of(case)
    first = {
        subject: {replace(key, identity=256): entry for key, entry in entries.items() if key.identity == 258}
        for subject, entries in right.maps.items()
    }
    return replace(right, maps={subject: right.maps[subject] | first[subject] for subject in right.maps})


def image_is_container(case: Case) -> Node:
    """An image that calls itself web is taken for a container that is called so."""
    believed = {
        number: Labels(
            replace(label, source="container") if label.source == "image" else label for label in labels
        )
        for number, labels in CONTAINERS.items()
    }
    return node_of(case, believed)


def audited_rules_drop(case: Case) -> Node:
    return node_of(replace(case, rules=case.rules + case.audited, audited=()))


def audited_rules_are_silent(case: Case) -> Node:
    return node_of(replace(case, audited=()))


def entries_by(change: Callable[[PolicyFlag], PolicyFlag]) -> Callable[[Case], Node]:
    """An engine whose entries say something else."""

    def node(case: Case) -> Node:
        right = node_of(case)
        maps = {
            subject: {key: PolicyEntry(change(entry.says)) for key, entry in entries.items()}
            for subject, entries in right.maps.items()
        }
        return replace(right, maps=maps)

    return node


def audited_allow_gives(says: PolicyFlag) -> PolicyFlag:
    return says | PolicyFlag.ALLOW if PolicyFlag.WOULD_ALLOW in says else says


def only_denials_are_told(says: PolicyFlag) -> PolicyFlag:
    """What an audited set leaves to its default passes without a word."""
    return says | PolicyFlag.WOULD_ALLOW if PolicyFlag.ALLOW in says else says


def init_is_open(case: Case) -> Node:
    right = node_of(case)
    return replace(right, maps=right.maps | {5: {PolicyKey(direction): ALLOW for direction in Direction}})


PLANTED: dict[str, Callable[[Case], Node]] = {
    "deny order": maps_by(narrower_allow_hides_deny),
    "allow over deny": maps_by(allow_wins),
    "deny forgotten": maps_by(deny_forgotten),
    "CIDR except": misread(except_forgotten),
    "range boundary": misread(range_ends_early),
    "range is one port": misread(range_is_one_port),
    "ANY is TCP": misread(any_is_tcp),
    "empty is absent": misread(empty_is_absent),
    "no port is any port": misread(no_port_is_any_port),
    "nothing is everything": misread(nothing_is_everything),
    "requirement forgotten": misread(requirement_forgotten),
    "requirement of its own": misread(requirement_of_its_own),
    "Compose is everywhere": misread(compose_is_everywhere),
    "image is container": image_is_container,
    "wildcard identity": keyed_by(anybody_is_forgotten),
    "any protocol": keyed_by(every_protocol_has_ports),
    "reply direction": keyed_by(reply_direction),
    "stale entry": stale_entries,
    "init is open": init_is_open,
    "audited rules drop": audited_rules_drop,
    "audited rules are silent": audited_rules_are_silent,
    "audited allow gives": entries_by(audited_allow_gives),
    "only audited denials are told": entries_by(only_denials_are_told),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    """`find` raises where it finds nothing. The same search each time: one in fifty rule sets or so gives a mistake
    away, so that luck would decide how long this takes."""
    make = PLANTED[mistake]
    case = find(
        cases,
        lambda case: disagreement(case, make) is not None,
        random=Random(0),
        settings=settings(
            max_examples=3000,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert disagreement(case) is None, "what gives the mistake away is judged rightly without it"
