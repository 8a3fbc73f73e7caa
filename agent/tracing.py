"""PURE. The whole way of a packet, in words: who it is from and for, what the networks say and what the rules of either
end say, and which entry of which map decides. Shapes are those of agent/schema.py."""

from __future__ import annotations

from agent.carried import check_families, forbidden
from agent.parties import NEW, Party, find_pair
from agent.state import State
from agent.views import PROTOCOLS, View, ports_of
from model.errors import InvalidInput
from model.flow import Direction, DropReason
from policy.icmp import ICMP, ICMP_TYPES, ICMPV6, UNJUDGED
from policy.mapstate import PolicyKey
from policy.ports import LAST_PORT
from policy.separation import separation
from policy.trace import Packet, Reading, RuleReading, Side, trace
from policy.wording import place_text

NUMBERS = {name: number for number, name in PROTOCOLS.items() if number}

_PINGS = {ICMP: 8, ICMPV6: 128}


def trace_view(state: State, source: str, destination: str, dport: str, *, full: bool) -> View:
    """`dport`: `80/tcp`, `80` (TCP), `icmp` (a ping), `13/icmp`. `full`: rules that do not select either end too."""
    protocol, port = parse_service(dport)
    sender, receiver = find_pair(state, source, destination)
    check_families(sender, receiver, protocol)
    separate = forbidden(sender, receiver) or separation(sender.end, receiver.end)
    sides = {
        "egress": _side(state, sender, receiver, Packet(Direction.EGRESS, protocol, port), full),
        "ingress": _side(state, receiver, sender, Packet(Direction.INGRESS, protocol, port), full),
    }
    verdict, reason = "allowed", "both ends allow it"
    for name, one in (("ingress", receiver), ("egress", sender)):
        side = sides[name]
        comes_to = "audit" if side["verdict"] == "denied" and side["audit"] else side["verdict"]
        if comes_to == "denied" or (comes_to == "audit" and verdict != "denied"):
            verdict, reason = comes_to, f"{name} of {one.name}: {side['reason']}"
    if separate:
        verdict, reason = "denied", separate.text
    return {
        "verdict": verdict,
        "reason": reason,
        "source": _party(sender),
        "destination": _party(receiver),
        "protocol": PROTOCOLS[protocol],
        "port": port,
        "networks": _networks(sender, receiver, separate),
        **sides,
    }


def parse_service(text: str) -> tuple[int, int]:
    """The protocol and the port; ICMP: the type."""
    port, slash, name = text.strip().lower().partition("/")
    if not slash and port in NUMBERS:
        port, name = "", port
    protocol = NUMBERS.get(name or "tcp")
    if protocol is None:
        raise InvalidInput(
            f"{name!r} is no protocol", path="dport", hint=f"write 80/tcp; there are {', '.join(NUMBERS)}"
        )
    if protocol in _PINGS:
        kind = _icmp_type(protocol, port)
        if kind in UNJUDGED[protocol]:
            raise InvalidInput(
                f"no rule is asked about {place_text(protocol, kind, kind)}",
                path="dport",
                hint="an error passes with the flow that it is about: ask about that one; what is of one link alone "
                "never passes",
            )
        return protocol, kind
    if not port.isascii() or not port.isdecimal() or len(port) > 5 or not 1 <= int(port) <= LAST_PORT:
        raise InvalidInput(f"{port!r} is no port", path="dport", hint="write 80/tcp")
    return protocol, int(port)


def _icmp_type(protocol: int, text: str) -> int:
    names = {
        name.lower(): number for name, number in ICMP_TYPES["IPv4" if protocol == ICMP else "IPv6"].items()
    }
    if not text:
        return _PINGS[protocol]
    if text in names:
        return names[text]
    if not text.isascii() or not text.isdecimal() or len(text) > 3 or int(text) > 255:
        raise InvalidInput(
            f"{text!r} is no ICMP type", path="dport", hint="write icmp for a ping, or TYPE/icmp"
        )
    return int(text)


def _party(party: Party) -> View:
    return {
        "given": party.given,
        "name": party.name,
        "identity": _number(party.identity),
        "labels": party.labels.texts(),
        "endpoint": party.endpoint.id if party.endpoint else 0,
        "network": (party.network.name or party.network.id) if party.network else "",
        "note": party.note,
    }


def _networks(sender: Party, receiver: Party, separate: DropReason) -> View:
    one, other = sender.network, receiver.network
    if separate:
        reason = separate.text
    elif one is None or other is None:
        reason = "only one end is in a network" if one or other else "neither end is in a network"
    elif one is other:
        reason = f"both are on {one.name or one.id}"
    else:
        reason = (
            f"{one.name or one.id} and {other.name or other.id} are one: both are flat, or have the same id"
        )
    return {"verdict": "denied" if separate else "allowed", "reason": reason}


def _side(state: State, party: Party, peer: Party, packet: Packet, full: bool) -> View:
    """A side without rules is shown too: that it has none may be the answer."""
    if not party.has_rules or not peer.identity:
        reason = (
            "no rule can be about it: it is no container of ours"
            if not party.has_rules
            else "nobody has the other end's address"
        )
        return {
            "judged": False,
            "audit": False,
            "verdict": "allowed" if peer.identity else "denied",
            "reason": reason,
            "enforced": False,
            "slot": None,
            "entry": None,
            "agrees": True,
            "rules": [],
            "others": 0,
        }
    subject = party.subject(state)
    mode = subject.mode if subject else state.mode_of(party.network)
    side = trace(state.repository, mode, party.labels, peer.labels, peer.identity, packet, full=full)
    return {
        "judged": True,
        "audit": party.is_audited(state),
        "verdict": "audit" if side.is_audited else "allowed" if side.is_allowed else "denied",
        "reason": side.reason,
        "enforced": side.enforced,
        "slot": subject.slot if subject else None,
        "entry": _entry(side),
        "agrees": side.agrees,
        "rules": [_rule(rule) for rule in side.rules],
        "others": side.others,
    }


def _entry(side: Side) -> View | None:
    """None: no entry matches, which denies."""
    key = side.entry.key
    return None if key is None else {**key_view(key), "deny": side.entry.deny_rule}


def _number(identity: int) -> int | None:
    return None if identity == NEW else identity


def key_view(key: PolicyKey) -> View:
    return {
        "direction": key.direction.name.lower(),
        "peer": _number(key.identity),
        "protocol": PROTOCOLS.get(key.protocol, str(key.protocol)),
        "port": ports_of(key),
    }


def _rule(rule: RuleReading) -> View:
    return {
        "rule": rule.number,
        "name": rule.name,
        "text": str(rule),
        "selects": rule.selects,
        "why": rule.why,
        "elements": [_reading(reading) for reading in rule.readings],
    }


def _reading(reading: Reading) -> View:
    return {
        "path": reading.path,
        "says": reading.says,
        "matches": reading.matches,
        "peer": {"matches": reading.peer, "why": reading.peer_why},
        "port": {"matches": reading.port, "why": reading.port_why},
    }
