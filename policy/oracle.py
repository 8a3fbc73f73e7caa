"""What the rules say about one packet, read off their documents. PURE.

Slow, obvious, and sharing nothing with the way rules become map entries, not even the parsed rule: it is what that
way is held against, in tests and by `ciliate policy verify`.

1. `never`: allowed.
2. A deny element that matches, in any rule that selects the subject: denied by a rule.
3. An allow element that matches: allowed.
4. Else denied if the direction denies by default, allowed if not.

Audited rules have no part in that. But what passes without them is asked about once more with them, as if all were in
force: what would not pass then is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from model.flow import Direction
from model.labels import ANY, IMAGE, Labels, split_source
from policy.icmp import ICMP_TYPES
from policy.resolve import Enforcement
from policy.rule import Rule

Document = Mapping[str, Any]

_LISTS = {
    Direction.INGRESS: ("ingress", "ingressDeny", "from"),
    Direction.EGRESS: ("egress", "egressDeny", "to"),
}

_PROTOCOLS = {"TCP": [6], "UDP": [17], "SCTP": [132], "ANY": [6, 17, 132]}


class Verdict(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied: no rule allows it"
    DENIED_BY_RULE = "denied by a rule"
    AUDITED = "allowed, where audited rules mean that no rule allows it"
    AUDITED_BY_RULE = "allowed, where an audited rule denies it"

    @property
    def passes(self) -> bool:
        return self not in (Verdict.DENIED, Verdict.DENIED_BY_RULE)


_REPORTED = {
    Verdict.ALLOWED: Verdict.ALLOWED,
    Verdict.DENIED: Verdict.AUDITED,
    Verdict.DENIED_BY_RULE: Verdict.AUDITED_BY_RULE,
}


def verdict(
    rules: Iterable[Rule],
    mode: Enforcement,
    subject: Labels,
    peer: Labels,
    direction: Direction,
    protocol: int,
    port: int,
) -> Verdict:
    """`subject`: whose rules they are; `peer`: who it talks to (egress) or hears from. `protocol`: IP's number. `port`:
    the destination's; ICMP: the type."""
    every = list(rules)
    in_force = [rule for rule in every if not rule.is_audited]
    said = _verdict(in_force, mode, subject, peer, direction, protocol, port)
    if said is not Verdict.ALLOWED or len(in_force) == len(every):
        return said
    return _REPORTED[_verdict(every, mode, subject, peer, direction, protocol, port)]


def _verdict(
    rules: list[Rule],
    mode: Enforcement,
    subject: Labels,
    peer: Labels,
    direction: Direction,
    protocol: int,
    port: int,
) -> Verdict:
    """Of rules that are all in force."""
    if mode is Enforcement.NEVER:
        return Verdict.ALLOWED
    allow, deny, way = _LISTS[direction]
    documents = [_read(rule.document) for rule in selecting(rules, subject)]

    def any_says(name: str) -> bool:
        elements = [element for document in documents for element in document.get(name) or ()]
        demands = [demand for element in elements for demand in element.get(way + "Requires") or ()]
        return any(_says(element, way, demands, subject, peer, protocol, port) for element in elements)

    if any_says(deny):
        return Verdict.DENIED_BY_RULE
    if any_says(allow):
        return Verdict.ALLOWED
    if mode is Enforcement.ALWAYS or "reserved:init" in subject.texts():
        return Verdict.DENIED
    if any(_denies_by_default(document, allow, deny) for document in documents):
        return Verdict.DENIED
    return Verdict.ALLOWED


def selecting(rules: Iterable[Rule], subject: Labels) -> list[Rule]:
    """Those that are about the subject: who asks much about one subject may sort the others out beforehand."""
    return [rule for rule in rules if _selects(_read(rule.document)["endpointSelector"], subject)]


@lru_cache(maxsize=4096)
def _read(document: str) -> Document:
    read: Document = json.loads(document)
    return read


def _denies_by_default(document: Document, allow: str, deny: str) -> bool:
    """Whether there is anything about the direction; a rule may say that it shall not, never that it shall."""
    if (document.get("enableDefaultDeny") or {}).get(allow) is False:
        return False
    return bool(document.get(allow) or document.get(deny))


def _says(
    element: Document,
    way: str,
    demands: Sequence[Document],
    subject: Labels,
    peer: Labels,
    protocol: int,
    port: int,
) -> bool:
    """Whether an element is about this packet. A list that is there and empty is about none; an element that restricts
    neither peer nor port is about none either, though it is one that makes a direction deny by default."""
    ports, icmps = element.get("toPorts"), element.get("icmps")
    peers = {kind: element[way + kind] for kind in _PEERS if element.get(way + kind) is not None}
    if not (peers or ports or icmps) or not all(peers.values()):
        return False
    for kind, wanted in peers.items():
        if kind == "Endpoints":
            found = any(_reaches([one, *demands], subject, peer) for one in wanted)
        else:
            found = any(_PEERS[kind](one, peer) for one in wanted)
        if not found:
            return False
    if ports:
        return any(_at(one, protocol, port) for part in ports for one in part.get("ports") or ())
    if icmps:
        return any(_of_type(one, protocol, port) for part in icmps for one in part.get("fields") or ())
    return True


def _reaches(selectors: Sequence[Document], subject: Labels, peer: Labels) -> bool:
    """Whether all select the peer. What Compose calls its own is looked for where the subject is, unless a network is
    named, or the subject knows of none."""
    demands = [demand for selector in selectors for demand in selector.get("matchExpressions") or ()]
    positive = [demand["key"] for demand in demands if demand["operator"] in ("In", "Exists")]
    named = [name for selector in selectors for name in selector.get("matchLabels") or ()]
    home = _values("network:id", subject)
    if (
        home
        and any(name.startswith("compose:") for name in named + positive)
        and "network:id" not in named + [demand["key"] for demand in demands]
        and _values("network:id", peer) != home
    ):
        return False
    return all(_selects(selector, peer) for selector in selectors)


def _selects(selector: Document, labels: Labels) -> bool:
    for name, value in (selector.get("matchLabels") or {}).items():
        if (value or "") not in _values(name, labels):
            return False
    for demand in selector.get("matchExpressions") or ():
        found, wanted = _values(demand["key"], labels), demand.get("values") or ()
        meets = {
            "In": any(value in wanted for value in found),
            "NotIn": not any(value in wanted for value in found),
            "Exists": len(found) > 0,
            "DoesNotExist": len(found) == 0,
        }
        if not meets[demand["operator"]]:
            return False
    return True


def _values(name: str, labels: Labels) -> Sequence[str]:
    """A name without a source is about labels of every source, save the image's and those that prefixes are."""
    source, key = split_source(name.removeprefix("unspec:"))
    sources = {label.source for label in labels} - {IMAGE, "cidr"} if source == ANY else {source}
    return [label.value for label in labels if label.key == key and label.source in sources]


def _is(entity: str, peer: Labels) -> bool:
    names = peer.texts()
    match entity:
        case "all":
            return True
        case "cluster":
            return "reserved:world" not in names
        case _:
            return f"reserved:{entity}" in names


def _in_cidr(text: str, peer: Labels) -> bool:
    whole = ip_network(text, strict=False)
    return any(
        prefix.version == whole.version and prefix.subnet_of(whole)  # type: ignore[arg-type]
        for prefix in map(ip_network, _prefixes(peer))
    )


def _prefixes(peer: Labels) -> Sequence[str]:
    """Where the peer is, if it is part of the world: a CIDR identity's prefix, else anywhere in its family."""
    listed = [label.key for label in peer if label.source == "cidr"]
    anywhere = {"reserved:world-ipv4": "0.0.0.0/0", "reserved:world-ipv6": "::/0"}
    return listed or [anywhere[name] for name in peer.texts() if name in anywhere]


def _in_set(cidr_set: Document, peer: Labels) -> bool:
    return _in_cidr(cidr_set["cidr"], peer) and not any(
        _in_cidr(hole, peer) for hole in cidr_set.get("except") or ()
    )


def _at(place: Document, protocol: int, port: int) -> bool:
    name, first = (place.get("protocol") or "ANY").upper(), int(place["port"])
    last = place.get("endPort") or first or 65535
    return protocol in _PROTOCOLS[name] and first <= port <= last


def _of_type(place: Document, protocol: int, kind: int) -> bool:
    family, wanted = place.get("family") or "IPv4", place["type"]
    number = ICMP_TYPES[family][wanted] if wanted in ICMP_TYPES[family] else int(wanted)
    return (protocol, kind) == (1 if family == "IPv4" else 58, number)


_PEERS: Mapping[str, Callable[[Any, Labels], bool]] = {
    "Endpoints": _selects,
    "Entities": _is,
    "CIDR": _in_cidr,
    "CIDRSet": _in_set,
}
"""How each kind of peer list is read."""
