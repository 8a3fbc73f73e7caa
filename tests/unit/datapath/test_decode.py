"""Events as the programs write them become events as people read them."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapath import abi
from datapath.decode import decode
from model.flow import Direction, DropReason, EventType, FlowEvent, Verdict


def event(**changes: object) -> abi.Event:
    made = abi.Event(
        time_ns=123456789,
        source_identity=1000,
        destination_identity=1 << 24,
        source_port=40000,
        destination_port=443,
        length=1500,
        ifindex=9,
        endpoint=12,
        type=EventType.DROP,
        reason=DropReason.POLICY_DENIED,
        verdict=Verdict.DROPPED,
        direction=Direction.INGRESS,
        protocol=6,
        family=4,
        tcp_flags=0x02,
        is_reply=0,
    )
    made.source[:] = IPv6Address("::ffff:10.200.1.2").packed
    made.destination[:] = IPv6Address("fd00::2").packed
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_every_field_arrives() -> None:
    assert decode(bytes(event())) == FlowEvent(
        time_ns=123456789,
        type=EventType.DROP,
        verdict=Verdict.DROPPED,
        reason=DropReason.POLICY_DENIED,
        direction=Direction.INGRESS,
        source_identity=1000,
        destination_identity=1 << 24,
        source=IPv4Address("10.200.1.2"),
        destination=IPv6Address("fd00::2"),
        protocol=6,
        source_port=40000,
        destination_port=443,
        tcp_flags=2,
        icmp_type=0,
        length=1500,
        endpoint=12,
        ifindex=9,
        is_reply=False,
    )


@pytest.mark.parametrize("reason", list(DropReason))
def test_every_reason_is_known(reason: DropReason) -> None:
    assert decode(bytes(event(reason=int(reason)))).reason is reason


@pytest.mark.parametrize(
    "record",
    [b"", bytes(79), bytes(81), bytes(event(reason=1)), bytes(event(type=99)), bytes(event(direction=2))],
)
def test_what_is_no_event_of_ours_is_refused(record: bytes) -> None:
    with pytest.raises(ValueError, match="an event has"):
        decode(record)


@given(st.binary(min_size=80, max_size=80))
@settings(max_examples=200)
def test_any_bytes_are_an_event_or_refused(record: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(decode(record), FlowEvent)
