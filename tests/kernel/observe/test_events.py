"""The real programs' events in the real process: seen with their facts, and a flood that does not eat the machine."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from datapath import syscall
from datapath.pins import maps_directory
from model.flow import DropReason
from tests.kernel.harness import UNKNOWN4, A, B, Node, context
from tests.kernel.packets import SYN, ethernet, ip, tcp

ROOT = Path(__file__).parents[3]


class Observer:
    def __init__(self, bpf_root: Path, run_dir: Path) -> None:
        self._socket = run_dir / "observe.sock"
        command = [sys.executable, "-m", "observe", "--metrics-addr", "off"]
        self.process = subprocess.Popen(
            [*command, "--bpf-root", str(bpf_root), "--run-dir", str(run_dir)], cwd=ROOT
        )

    def get(self, target: str) -> bytes:
        connection = http.client.HTTPConnection("observe")
        try:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.connect(str(self._socket))
            connection.request("GET", target)
            return connection.getresponse().read()
        finally:
            connection.close()

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.get("/v1/healthz"))
        return answer

    def flows(self, query: str = "") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.get(f"/v1/flows?{query}").splitlines()]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def cpu(self) -> float:
        """Seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def observer(node: Node, programs: Path, tmp_path: Path) -> Iterator[Observer]:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    started = Observer(programs, run_dir)
    try:
        started.until(lambda: started.health()["status"] == "ok")
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def send(node: Node, destination: str, times: int = 1) -> None:
    """A's SYN to port 80, so often, past the harness's own reader of the ring."""
    frame = ethernet(*ip(A.ipv4, destination, tcp(40000, 80, SYN)), source=A.mac)
    syscall.run_program(node.programs["from_container"], frame, context=context(A.number), repeat=times)


def drops(node: Node) -> int:
    return sum(packets for (reason, _), (packets, _) in node.datapath.metrics().items() if reason)


def test_a_drop_is_seen_with_its_facts(node: Node, observer: Observer) -> None:
    send(node, UNKNOWN4)
    send(node, B.ipv4)
    observer.until(lambda: observer.health()["seen"] == 2)

    (flow,) = observer.flows("verdict=dropped")
    assert flow["reason"] == DropReason.UNKNOWN_DESTINATION.name
    assert (flow["direction"], flow["protocol"], flow["tcp_flags"]) == ("EGRESS", "TCP", ["SYN"])
    assert (flow["source"]["ip"], flow["source"]["identity"]) == (A.ipv4, A.identity)
    assert (flow["destination"]["ip"], flow["destination"]["port"]) == (UNKNOWN4, 80)
    assert flow["destination"]["labels"] == ["reserved:unknown"]
    assert flow["endpoint"] == A.number
    age = datetime.now(UTC) - datetime.fromisoformat(flow["time"])
    assert timedelta(seconds=-2) < age < timedelta(seconds=20)

    (flow,) = observer.flows("verdict=forwarded")
    assert (flow["type"], flow["destination"]["identity"]) == (
        "policy-verdict",
        B.identity,
    )


def test_a_flood_of_drops_costs_a_bounded_share_of_a_cpu_and_every_drop_is_seen_or_counted(
    node: Node, observer: Observer
) -> None:
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            send(node, UNKNOWN4, times=20_000)

    flooding = threading.Thread(target=flood)
    before = drops(node)
    cpu, started = observer.cpu(), time.monotonic()
    flooding.start()
    time.sleep(3)
    share = (observer.cpu() - cpu) / (time.monotonic() - started)
    stop.set()
    flooding.join()

    total = drops(node) - before
    assert total > 100_000, "this was a flood"
    assert share < 0.6
    observer.until(lambda: observer.health()["seen"] + observer.health()["lost"].get("datapath", 0) == total)
    assert any("lost" in flow for flow in observer.flows())


def test_a_new_datapath_is_found(node: Node, programs: Path, observer: Observer) -> None:
    """After a cleanup and a new start the pins are others."""
    pin = maps_directory(programs) / "events"
    pin.rename(pin.with_name("old"))
    observer.until(lambda: observer.health()["status"] != "ok")
    pin.with_name("old").rename(pin)
    observer.until(lambda: observer.health()["status"] == "ok")
    send(node, UNKNOWN4)
    observer.until(lambda: observer.health()["seen"] == 1)
