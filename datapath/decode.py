"""Records of the ring -> flow events. PURE."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from datapath import abi
from datapath.codec import REASONS
from model.flow import Direction, EventType, FlowEvent, Verdict
from model.network import IPAddress

_EVENT = abi.packer(abi.Event)
_MAPPED = bytes(10) + b"\xff\xff"
_TYPES = {int(kind): kind for kind in EventType}
_VERDICTS = {int(verdict): verdict for verdict in Verdict}
_DIRECTIONS = {int(direction): direction for direction in Direction}


def decode(record: bytes) -> FlowEvent:
    """ValueError if this is no event of our ABI: a ring is not shared between versions."""
    if len(record) != _EVENT.size:
        raise ValueError(f"an event has {_EVENT.size} bytes, not {len(record)}")
    (
        time_ns,
        source_identity,
        destination_identity,
        source,
        destination,
        source_port,
        destination_port,
        length,
        ifindex,
        endpoint,
        kind,
        reason,
        verdict,
        direction,
        protocol,
        _family,
        tcp_flags,
        icmp_type,
        is_reply,
    ) = _EVENT.unpack(record)
    try:
        return FlowEvent(
            time_ns=time_ns,
            type=_TYPES[kind],
            verdict=_VERDICTS[verdict],
            reason=REASONS[reason],
            direction=_DIRECTIONS[direction],
            source_identity=source_identity,
            destination_identity=destination_identity,
            source=_address(source),
            destination=_address(destination),
            protocol=protocol,
            source_port=int.from_bytes(source_port, "big"),
            destination_port=int.from_bytes(destination_port, "big"),
            tcp_flags=tcp_flags,
            icmp_type=icmp_type,
            length=length,
            endpoint=endpoint,
            ifindex=ifindex,
            is_reply=bool(is_reply),
        )
    except KeyError as error:
        raise ValueError(f"an event has an unknown number: {error}") from None


def _address(octets: bytes) -> IPAddress:
    return IPv4Address(octets[12:]) if octets.startswith(_MAPPED) else IPv6Address(octets)
