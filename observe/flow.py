"""PURE. A flow as people and programs see it: one event of the datapath with the names of both sides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from model.flow import Direction, FlowEvent
from model.labels import Labels
from model.network import IPAddress

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

PROTOCOLS = {ICMP: "ICMPv4", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6", SCTP: "SCTP"}
"""Names of the protocols that have one; the others go by number."""

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
"""Bit 0 first."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One side of a flow. `labels` and `name` (the container's) are empty where they are not known."""

    ip: IPAddress
    port: int
    identity: int
    labels: Labels
    name: str


@dataclass(frozen=True, slots=True)
class Flow:
    """`time_ns` is the wall clock's, in nanoseconds since 1970."""

    time_ns: int
    event: FlowEvent
    source: Peer
    destination: Peer


@dataclass(frozen=True, slots=True)
class Lost:
    """`count` events that nobody will see. `where`: "datapath" (its ring buffer was full) or "reader" (the
    reader of the stream was slower than the flows)."""

    time_ns: int
    count: int
    where: str


def protocol_name(number: int) -> str:
    return PROTOCOLS.get(number, str(number))


def type_name(event: FlowEvent) -> str:
    """`drop` or `policy-verdict`."""
    return event.type.name.lower().replace("_", "-")


def tcp_flag_names(bits: int) -> list[str]:
    return [name for position, name in enumerate(TCP_FLAGS) if bits >> position & 1]


def timestamp(time_ns: int) -> str:
    """RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _peer(peer: Peer) -> dict[str, Any]:
    return {
        "ip": str(peer.ip),
        "port": peer.port,
        "identity": peer.identity,
        "labels": peer.labels.texts(),
        "name": peer.name,
    }


def to_json(record: Flow | Lost) -> dict[str, Any]:
    """The shape that GET /v1/flows answers with, one object on each line."""
    if isinstance(record, Lost):
        return {"time": timestamp(record.time_ns), "lost": record.count, "where": record.where}
    event = record.event
    return {
        "time": timestamp(record.time_ns),
        "verdict": event.verdict.name,
        "reason": event.reason.name,
        "reason_text": event.reason.text,
        "direction": Direction(event.direction).name,
        "type": type_name(event),
        "is_reply": event.is_reply,
        "source": _peer(record.source),
        "destination": _peer(record.destination),
        "protocol": protocol_name(event.protocol),
        "tcp_flags": tcp_flag_names(event.tcp_flags),
        "icmp_type": event.icmp_type if event.protocol in (ICMP, ICMPV6) else None,
        "length": event.length,
        "endpoint": event.endpoint,
    }


def to_line(record: Flow | Lost) -> bytes:
    return json.dumps(to_json(record), separators=(",", ":")).encode() + b"\n"
