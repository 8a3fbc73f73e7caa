"""The values inside rules: ports, protocols, ICMP types, prefixes, labels. PURE but for the validation errors that the
schema collects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from marshmallow import ValidationError

from model.labels import ANY, Label, Labels
from model.network import IPNetwork
from policy.ports import LAST_PORT
from policy.rule import Element, Service
from policy.selector import CidrSelector, Selector

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
ICMP, ICMPV6 = 1, 58

ICMP_TYPES: dict[str, dict[str, int]] = {
    "IPv4": {
        "EchoReply": 0, "DestinationUnreachable": 3, "Redirect": 5, "Echo": 8, "EchoRequest": 8,
        "RouterAdvertisement": 9, "RouterSelection": 10, "TimeExceeded": 11, "ParameterProblem": 12,
        "Timestamp": 13, "TimestampReply": 14, "Photuris": 40, "ExtendedEchoRequest": 42,
        "ExtendedEcho Reply": 43, "ExtendedEchoReply": 43,
    },
    "IPv6": {
        "DestinationUnreachable": 1, "PacketTooBig": 2, "TimeExceeded": 3, "ParameterProblem": 4,
        "EchoRequest": 128, "EchoReply": 129, "MulticastListenerQuery": 130, "MulticastListenerReport": 131,
        "MulticastListenerDone": 132, "RouterSolicitation": 133, "RouterAdvertisement": 134,
        "NeighborSolicitation": 135, "NeighborAdvertisement": 136, "RedirectMessage": 137,
        "ExtendedEchoRequest": 160, "ExtendedEchoReply": 161,
    },
}  # fmt: skip
"""Names as IANA's registries have them, in CamelCase."""

FOREIGN = {
    "k8s": "there is no Kubernetes here: write container:KEY for a container's label, compose:service for a Compose "
    "service, nomad:job for a Nomad job",
    "node": "rules about nodes are not enforced yet",
    "cidrgroup": "CIDR groups do not exist here: list the CIDRs",
}


def refuse_foreign(name: str) -> None:
    source, colon, _ = name.partition(":")
    if colon and source in FOREIGN:
        raise ValidationError(f"{name!r}: {FOREIGN[source]}")


def services(port: Any, end_port: int, protocol: str) -> tuple[Service, ...]:
    """One port or range, for one protocol or, with ANY, for each that has ports."""
    name = protocol.upper() or "ANY"
    if name in ("ICMP", "ICMPV6"):
        raise ValidationError({"protocol": [f"{name} has no ports: use icmps"]})
    if name != "ANY" and name not in PROTOCOLS:
        raise ValidationError({"protocol": [f"{protocol!r} is none of TCP, UDP, SCTP, ANY"]})
    first = _port(port)
    if end_port and not first:
        raise ValidationError({"endPort": ["a range needs a port to begin with"]})
    if end_port and not first <= end_port <= LAST_PORT:
        raise ValidationError({"endPort": [f"{end_port} is not from {first} to {LAST_PORT}"]})
    if first == 0:
        return (Service(),) if name == "ANY" else (Service(PROTOCOLS[name]),)
    numbers = PROTOCOLS.values() if name == "ANY" else [PROTOCOLS[name]]
    return tuple(Service(number, first, end_port or first) for number in numbers)


def _port(port: Any) -> int:
    """0: every port. Ports are strings in rules; a plain number is taken too. No other base than ten: `010` means
    8 to some readers and 10 to others, so it is refused."""
    if isinstance(port, bool) or not isinstance(port, str | int):
        raise ValidationError({"port": ["a port is a number from 0 to 65535, as text"]})
    text = str(port)
    if not (text.isascii() and text.isdecimal()):
        raise ValidationError({"port": [f"{text!r} is no number: named ports are not available yet"]})
    if len(text) > 1 and text.startswith("0"):
        raise ValidationError(
            {"port": [f"{text!r} begins with 0, which some read as octal: write it without"]}
        )
    if int(text) > LAST_PORT:
        raise ValidationError({"port": [f"{text} is larger than {LAST_PORT}"]})
    return int(text)


def icmp_service(kind: Any, family: str) -> Service:
    known = {name.lower(): name for name in ICMP_TYPES}.get(family.lower())
    if known is None:
        raise ValidationError({"family": [f"{family!r} is neither IPv4 nor IPv6"]})
    protocol = ICMP if known == "IPv4" else ICMPV6
    if isinstance(kind, str) and not kind.isdecimal():
        if kind not in ICMP_TYPES[known]:
            raise ValidationError({"type": [f"{kind!r} is no ICMP type of {known}: give its number"]})
        kind = ICMP_TYPES[known][kind]
    if isinstance(kind, bool) or not isinstance(kind, str | int) or not 0 <= int(kind) <= 255:
        raise ValidationError({"type": ["an ICMP type is a number from 0 to 255 or a name"]})
    return Service(protocol, int(kind), int(kind))


def prefix(text: str, *, need_length: bool = False) -> IPNetwork:
    if need_length and "/" not in text:
        raise ValidationError(f"{text!r} has no prefix length: write {text}/32 or /128 for one address")
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise ValidationError(f"{text!r} is no prefix: {error}") from error


def cidr(text: str) -> CidrSelector:
    return CidrSelector(prefix(text))


def cidr_set(text: str, excepts: Sequence[str]) -> CidrSelector:
    try:
        whole = prefix(text, need_length=True)
    except ValidationError as error:
        raise ValidationError({"cidr": error.messages}) from error
    holes = []
    for number, hole_text in enumerate(excepts):
        try:
            hole = prefix(hole_text, need_length=True)
            if hole.version != whole.version or not hole.subnet_of(whole):  # type: ignore[arg-type]
                raise ValidationError(f"{hole} does not lie inside {whole}")
        except ValidationError as error:
            raise ValidationError({"except": {number: error.messages}}) from error
        holes.append(hole)
    return CidrSelector(whole, tuple(sorted(set(holes))))


_PEER_LISTS = ("endpoints", "cidrs", "cidr_sets", "entities")


def element(data: Mapping[str, Any]) -> Element:
    """What an element's lists mean together. Absent lists do not restrict; when all are absent nothing is
    selected. Lists of different kinds cannot be combined, because it would be unclear how."""
    given = [name for name in _PEER_LISTS if data.get(name) is not None]
    filled = [name for name in given if data[name]]
    if len(filled) > 1:
        raise ValidationError(
            "endpoints, CIDRs, CIDR sets and entities exclude each other in one element: write two"
        )
    ports, icmps = data.get("ports"), data.get("icmps")
    if ports and icmps:
        raise ValidationError("toPorts and icmps exclude each other in one element: write two")
    peers: tuple[Selector, ...] | None = None
    if given:
        peers = tuple(peer for name in given for peer in data[name])
    listed = ports or icmps
    wanted = None if not listed else tuple(service for part in listed for service in part)
    if peers is None and wanted is None:
        return Element(peers=(), services=None)
    return Element(peers, wanted)


def rule_labels(value: Any) -> Labels:
    """`["name=web"]`, or Cilium's list of {key, value, source}."""
    if value is None:
        return Labels()
    if not isinstance(value, list):
        raise ValidationError({"labels": ["must be a list"]})
    found = []
    for number, item in enumerate(value):
        if isinstance(item, str) and item:
            found.append(Label.parse(item))
        elif isinstance(item, Mapping) and isinstance(item.get("key"), str) and item["key"]:
            source = item.get("source") or ANY
            found.append(Label(str(source), item["key"], str(item.get("value") or "")))
        else:
            raise ValidationError({"labels": {number: ['write "key=value", or {"key": ..., "value": ...}']}})
    return Labels(found)
