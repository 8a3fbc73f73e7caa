"""Flows to tell stories with."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from model.flow import Direction, DropReason, EventType, FlowEvent, Verdict
from model.labels import Labels
from observe.flow import Flow, Peer

WEB, CLIENT = 1001, 1002


def make_event(**changes: Any) -> FlowEvent:
    """A SYN of the container `client` to port 80 of the container `web`, denied by web's policy."""
    facts: dict[str, Any] = {
        "time_ns": 5_000_000_000,
        "type": EventType.DROP,
        "verdict": Verdict.DROPPED,
        "reason": DropReason.POLICY_DENIED,
        "direction": Direction.INGRESS,
        "source_identity": CLIENT,
        "destination_identity": WEB,
        "source": ip_address("10.200.0.3"),
        "destination": ip_address("10.200.0.2"),
        "protocol": 6,
        "source_port": 40000,
        "destination_port": 80,
        "tcp_flags": 0b10,
        "icmp_type": 0,
        "length": 74,
        "endpoint": 7,
        "ifindex": 12,
    }
    return FlowEvent(**{**facts, **changes})


def make_flow(time_ns: int = 1_700_000_000_123_456_000, **changes: Any) -> Flow:
    event = make_event(**changes)
    return Flow(
        time_ns,
        event,
        Peer(
            event.source,
            event.source_port,
            event.source_identity,
            Labels.parse(["container:app=client", "network:id=shop"]),
            "client",
        ),
        Peer(
            event.destination,
            event.destination_port,
            event.destination_identity,
            Labels.parse(["container:app=web", "container:tier=front", "network:id=shop"]),
            "web",
        ),
    )


@pytest.fixture
def event() -> Callable[..., FlowEvent]:
    return make_event


@pytest.fixture
def flow() -> Callable[..., Flow]:
    return make_flow
