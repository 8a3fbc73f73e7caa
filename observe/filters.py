"""PURE. Which flows a reader wants: the filters of GET /v1/flows, one line each.

A filter may be given several times: any of its values will do. Different filters must all hold. A filter about
one side exists three times: `port` (either side), `from-port` (the source), `to-port` (the destination); for
`peer`, which takes whatever names a side, these are `peer`, `from` and `to`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import Any

from model.errors import InvalidInput
from model.flow import Direction, DropReason, EventType, Verdict
from model.identity import Reserved
from model.labels import ANY, Labels, split_source
from model.network import IPNetwork
from observe.flow import PROTOCOLS, Flow, Peer, protocol_name

Predicate = Callable[[Flow], bool]


@dataclass(frozen=True, slots=True)
class FlowField:
    """A filter about the flow as a whole. `parse` raises ValueError with a sentence."""

    parse: Callable[[str], Any]
    test: Callable[[Flow, Any], bool]
    help: str


@dataclass(frozen=True, slots=True)
class PeerField:
    """A filter about one side."""

    parse: Callable[[str], Any]
    test: Callable[[Peer, Any], bool]
    help: str


@dataclass(frozen=True, slots=True)
class WantedLabel:
    source: str
    key: str
    value: str | None
    """None: any value will do."""

    def among(self, labels: Labels) -> bool:
        return any(
            label.key == self.key and self.source in (ANY, label.source) and self.value in (None, label.value)
            for label in labels
        )


def _member(enum: type[IntEnum]) -> Callable[[str], IntEnum]:
    def parse(text: str) -> IntEnum:
        found = enum.__members__.get(text.upper().replace("-", "_"))
        if found is None:
            known = ", ".join(name.lower().replace("_", "-") for name in enum.__members__)
            raise ValueError(f"{text!r} is none of {known}")
        return found

    return parse


def _whole(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or int(text) > most:
            raise ValueError(f"{text!r} is no number from 0 to {most}")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def _protocols(text: str) -> frozenset[str]:
    """`icmp` means both families'."""
    wanted = text.upper()
    known = {name.upper(): frozenset({name}) for name in PROTOCOLS.values()}
    known["ICMP"] = frozenset({"ICMPv4", "ICMPv6"})
    if wanted not in known:
        return frozenset({protocol_name(_whole(255)(text))})
    return known[wanted]


def _reserved(text: str) -> Reserved | None:
    return Reserved.__members__.get(text.upper().replace("-", "_"))


def _identities(text: str) -> frozenset[int]:
    """A number or a reserved name; `world` is all three worlds."""
    reserved = _reserved(text)
    if reserved is Reserved.WORLD:
        return frozenset({Reserved.WORLD, Reserved.WORLD_IPV4, Reserved.WORLD_IPV6})
    return frozenset({_whole(2**32 - 1)(text) if reserved is None else int(reserved)})


def _label(text: str) -> WantedLabel:
    name, equals, value = text.partition("=")
    source, key = split_source(name)
    if not key:
        raise ValueError(f"{text!r} is no label: write key, key=value or source:key=value")
    return WantedLabel(source, key, value if equals else None)


def _network(text: str) -> IPNetwork:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a network") from None


def _inside(peer: Peer, network: IPNetwork) -> bool:
    return peer.ip.version == network.version and peer.ip in network


def _anything(text: str) -> Callable[[Peer], bool]:
    """Whatever names a side: a reserved name, an identity, an address, a network, a label, or else the
    container's name (which may hold `*`)."""
    if _reserved(text) is not None or text.isdecimal():
        identities = _identities(text)
        return lambda peer: peer.identity in identities
    try:
        network = _network(text)
    except ValueError:
        pass
    else:
        return lambda peer: _inside(peer, network)
    if "=" in text or split_source(text)[0] != ANY:
        wanted = _label(text)
        return lambda peer: wanted.among(peer.labels)
    return lambda peer: fnmatchcase(peer.name, text)


FLOW_FIELDS: Mapping[str, FlowField] = {
    "verdict": FlowField(_member(Verdict), lambda f, v: f.event.verdict is v, "forwarded, dropped or audit"),
    "reason": FlowField(
        _member(DropReason), lambda f, v: f.event.reason is v, "why it was dropped, or policy denies it"
    ),
    "type": FlowField(_member(EventType), lambda f, v: f.event.type is v, "drop or policy-verdict"),
    "direction": FlowField(_member(Direction), lambda f, v: f.event.direction is v, "egress or ingress"),
    "protocol": FlowField(_protocols, lambda f, v: protocol_name(f.event.protocol) in v, "name or number"),
    "endpoint": FlowField(_whole(65535), lambda f, v: f.event.endpoint == v, "number of the one that judged"),
    "reply": FlowField(_boolean, lambda f, v: f.event.is_reply is v, "true or false"),
    "chatter": FlowField(
        _boolean,
        lambda f, v: (f.event.reason is DropReason.NEIGHBOUR_FORBIDDEN) is v,
        "true or false: what interfaces say on their own (router solicitations, MLD)",
    ),
}

PEER_FIELDS: Mapping[str, PeerField] = {
    "identity": PeerField(_identities, lambda peer, v: peer.identity in v, "number or reserved name"),
    "label": PeerField(_label, lambda peer, v: v.among(peer.labels), "key, key=value or source:key=value"),
    "name": PeerField(str, lambda peer, v: fnmatchcase(peer.name, v), "the container's name, * for any text"),
    "ip": PeerField(_network, _inside, "address or network"),
    "port": PeerField(_whole(65535), lambda peer, v: peer.port == v, "port"),
    "peer": PeerField(
        _anything, lambda peer, v: v(peer), "name, label, identity, address or network, by its look"
    ),
}

SIDES: Mapping[str, Callable[[Flow], Iterable[Peer]]] = {
    "": lambda flow: (flow.source, flow.destination),
    "from": lambda flow: (flow.source,),
    "to": lambda flow: (flow.destination,),
}


def parameter(side: str, field: str) -> str:
    if not side:
        return field
    return side if field == "peer" else f"{side}-{field}"


PEER_PARAMETERS: Mapping[str, tuple[str, str]] = {
    parameter(side, field): (side, field) for side in SIDES for field in PEER_FIELDS
}
"""Name of the parameter -> (side, field)."""

PARAMETERS = frozenset(FLOW_FIELDS) | frozenset(PEER_PARAMETERS)


def _parsed(parse: Callable[[str], Any], name: str, texts: Sequence[str]) -> list[Any]:
    try:
        return [parse(text) for text in texts]
    except ValueError as error:
        raise InvalidInput(str(error), path=name) from None


def _flow_predicate(name: str, texts: Sequence[str]) -> Predicate:
    field = FLOW_FIELDS[name]
    values, test = _parsed(field.parse, name, texts), field.test
    return lambda flow: any(test(flow, value) for value in values)


def _peer_predicate(name: str, texts: Sequence[str]) -> Predicate:
    side, field_name = PEER_PARAMETERS[name]
    field = PEER_FIELDS[field_name]
    values, test, peers = _parsed(field.parse, name, texts), field.test, SIDES[side]
    return lambda flow: any(test(peer, value) for peer in peers(flow) for value in values)


def compile_filter(parameters: Mapping[str, Sequence[str]]) -> Predicate:
    """Raises InvalidInput whose path is the parameter's name."""
    predicates = []
    for name, texts in parameters.items():
        if name in FLOW_FIELDS:
            predicates.append(_flow_predicate(name, texts))
        elif name in PEER_PARAMETERS:
            predicates.append(_peer_predicate(name, texts))
        else:
            raise InvalidInput("no such filter", path=name, hint=f"known: {', '.join(sorted(PARAMETERS))}")
    return lambda flow: all(predicate(flow) for predicate in predicates)
