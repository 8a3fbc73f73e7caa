"""A line for each flow, as it happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import CannedAgent, Ciliate

ROOT = Path(__file__).parents[3]

DROP: dict[str, Any] = {
    "time": "2026-01-31T12:00:00.123456Z",
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
        "labels": ["container:app=client", "network:id=a1"],
        "name": "client",
    },
    "destination": {
        "ip": "10.200.0.2",
        "port": 80,
        "identity": 1001,
        "labels": ["container:app=web", "compose:service=front", "network:id=a1"],
        "name": "web",
    },
    "protocol": "TCP",
    "tcp_flags": ["SYN"],
    "icmp_type": None,
    "length": 74,
    "endpoint": 7,
}
PING = {
    **DROP,
    "verdict": "FORWARDED",
    "reason": "NONE",
    "reason_text": "Forwarded",
    "direction": "EGRESS",
    "type": "policy-verdict",
    "source": {"ip": "fd00::3", "port": 0, "identity": 1003, "labels": [], "name": ""},
    "destination": {
        "ip": "2001:db8::1",
        "port": 0,
        "identity": 10,
        "labels": ["reserved:world", "reserved:world-ipv6"],
        "name": "",
    },
    "protocol": "ICMPv6",
    "tcp_flags": [],
    "icmp_type": 128,
}
LOST = {"time": "2026-01-31T12:00:01.000000Z", "lost": 12, "where": "datapath"}


def ndjson(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_lines(observer: CannedAgent, ciliate: Ciliate) -> None:
    observer.on("GET", "/v1/flows", ndjson(DROP, PING, LOST))
    ran = ciliate("monitor", "--no-follow")
    assert ran.status == 0
    assert ran.out == (
        "12:00:00.123 DROPPED   ingress client 10.200.0.3:40000 [app=client] -> "
        "web 10.200.0.2:80 [app=web compose:service=front] TCP SYN Policy denied\n"
        "12:00:00.123 FORWARDED egress  fd00::3 [identity 1003] -> "
        "2001:db8::1 [reserved:world-ipv6] ICMPv6 type 128\n"
        "12:00:01.000 12 flows lost (datapath)\n"
    )


def test_json_is_the_flow_as_it_came(observer: CannedAgent, ciliate: Ciliate) -> None:
    observer.on("GET", "/v1/flows", ndjson(DROP, LOST))
    ran = ciliate("monitor", "--no-follow", "-o", "json")
    assert [json.loads(line) for line in ran.out.splitlines()] == [DROP, LOST]


def test_nothing_to_show_is_said(observer: CannedAgent, ciliate: Ciliate) -> None:
    observer.on("GET", "/v1/flows", b"")
    ran = ciliate("monitor", "--from", "nobody", "--no-follow")
    assert (ran.status, ran.out, ran.err) == (0, "", "no such flows\n")


def test_filters_are_the_observers(observer: CannedAgent, ciliate: Ciliate) -> None:
    observer.on("GET", "/v1/flows", b"")
    ciliate(
        *("monitor", "--type", "drop", "--from", "client", "--to", "app=web", "--label", "a", "--label", "b"),
        *("--to-port", "80", "--verdict", "dropped", "--last", "5", "--since", "5m"),
    )
    assert observer.requests[0][2] == {
        "type": ["drop"],
        "from": ["client"],
        "to": ["app=web"],
        "label": ["a", "b"],
        "to-port": ["80"],
        "verdict": ["dropped"],
        "last": ["5"],
        "since": ["5m"],
        "follow": ["true"],
        "chatter": ["false"],
    }


def test_chatter_is_shown_when_asked_for(observer: CannedAgent, ciliate: Ciliate) -> None:
    observer.on("GET", "/v1/flows", b"")
    ciliate("monitor", "--chatter")
    ciliate("monitor", "--reason", "neighbour-forbidden")
    assert all("chatter" not in query for _, _, query, *_ in observer.requests)


def test_a_refused_filter(observer: CannedAgent, ciliate: Ciliate) -> None:
    observer.on("GET", "/v1/flows", {"error": "'x' is none of drop", "path": "type", "hint": ""}, 400)
    ran = ciliate("monitor", "--type", "x")
    assert (ran.status, ran.err) == (1, "error: type: 'x' is none of drop\n")


def test_a_stream_that_ends_is_no_success(observer: CannedAgent, ciliate: Ciliate) -> None:
    observer.on("GET", "/v1/flows", ndjson(DROP))
    ran = ciliate("monitor")
    assert ran.status == 1 and "ciliate-observe has ended" in ran.err


def test_labels_cannot_steer_the_terminal(observer: CannedAgent, ciliate: Ciliate) -> None:
    evil = {**DROP, "source": {**DROP["source"], "labels": ["container:x=\x1b]0;owned\x07"]}}
    observer.on("GET", "/v1/flows", ndjson(evil))
    assert r"[x=\x1b]0;owned\x07]" in ciliate("monitor", "--no-follow").out


def test_no_observer(ciliate: Ciliate) -> None:
    ran = ciliate("monitor")
    assert ran.status == 1 and ran.err.startswith("error: ciliate-observe does not answer at ")


def test_a_line_is_there_at_once_and_ctrl_c_ends_in_peace(tmp_path: Path) -> None:
    """The stream stays open; the reader is a pipe, as in `ciliate monitor | grep`."""
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "observe.sock"))
        listener.listen()
        command = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "--run-dir", str(tmp_path), "monitor"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert command.stdout is not None
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            chunk = ndjson(DROP)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(chunk), chunk)
            )
            assert "Policy denied" in command.stdout.readline()
            command.send_signal(signal.SIGINT)
            _, errors = command.communicate(timeout=10)
    assert (command.returncode, errors) == (-signal.SIGINT, "")
