"""The JSON that readers build upon."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address

from model.flow import Direction, DropReason, EventType, Verdict
from observe.flow import Flow, Lost, to_json, to_line


def test_a_drop(flow: Callable[..., Flow]) -> None:
    assert to_json(flow()) == {
        "time": "2023-11-14T22:13:20.123456Z",
        "verdict": "DROPPED",
        "reason": "POLICY_DENIED",
        "reason_text": "Policy denied",
        "direction": "INGRESS",
        "type": "drop",
        "is_reply": False,
        "source": {
            "ip": "10.200.0.3",
            "port": 40000,
            "identity": 1002,
            "labels": ["container:app=client", "network:id=shop"],
            "name": "client",
        },
        "destination": {
            "ip": "10.200.0.2",
            "port": 80,
            "identity": 1001,
            "labels": ["container:app=web", "container:tier=front", "network:id=shop"],
            "name": "web",
        },
        "protocol": "TCP",
        "tcp_flags": ["SYN"],
        "icmp_type": None,
        "length": 74,
        "endpoint": 7,
    }


def test_a_forwarded_ping(flow: Callable[..., Flow]) -> None:
    ping = flow(
        type=EventType.POLICY_VERDICT,
        verdict=Verdict.FORWARDED,
        reason=DropReason.NONE,
        direction=Direction.EGRESS,
        protocol=58,
        icmp_type=128,
        tcp_flags=0,
        source=ip_address("fd00::3"),
    )
    shown = to_json(ping)
    assert shown["type"] == "policy-verdict"
    assert (shown["protocol"], shown["icmp_type"], shown["tcp_flags"]) == ("ICMPv6", 128, [])
    assert shown["source"]["ip"] == "fd00::3"


def test_a_protocol_without_a_name_goes_by_number(flow: Callable[..., Flow]) -> None:
    assert to_json(flow(protocol=47))["protocol"] == "47"


def test_a_line_is_one_json_object() -> None:
    line = to_line(Lost(1_700_000_000 * 10**9, 12, "datapath"))
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == {"time": "2023-11-14T22:13:20.000000Z", "lost": 12, "where": "datapath"}
