"""The process: it waits for the datapath, serves meanwhile, takes turns with its successor, and leaves no socket."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from observe.__main__ import parse_address

ROOT = Path(__file__).parents[3]


def start(run_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "observe",
        "--bpf-root",
        str(run_dir / "nothing"),
        "--run-dir",
        str(run_dir),
    ]
    return subprocess.Popen([*command, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def observer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(tmp_path, "--metrics-addr", "off")
    yield process
    process.kill()
    process.communicate()


def health(run_dir: Path) -> dict[str, Any]:
    """Waits until it answers."""
    deadline = time.monotonic() + 10
    while True:
        try:
            connection = http.client.HTTPConnection("observe")
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.connect(str(run_dir / "observe.sock"))
            connection.request("GET", "/v1/healthz")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            connection.close()
            return answer
        except OSError:
            connection.close()
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_it_serves_while_it_waits_for_the_datapath(observer: subprocess.Popen[str], tmp_path: Path) -> None:
    answer = health(tmp_path)
    assert answer["status"].startswith("waiting for the datapath")
    assert (answer["seen"], answer["kept"], answer["lost"], answer["metrics"]) == (0, 0, {}, "off")
    assert stat.S_IMODE((tmp_path / "observe.sock").stat().st_mode) == 0o660


def test_it_ends_when_told_to(observer: subprocess.Popen[str], tmp_path: Path) -> None:
    health(tmp_path)
    observer.terminate()
    assert observer.wait(5) == 0
    assert not (tmp_path / "observe.sock").exists()


def test_there_is_one_reader_at_a_time(observer: subprocess.Popen[str], tmp_path: Path) -> None:
    health(tmp_path)
    successor = start(tmp_path, "--metrics-addr", "off")
    try:
        time.sleep(0.5)
        assert successor.poll() is None and observer.poll() is None
        observer.send_signal(signal.SIGKILL)
        observer.wait()
        (tmp_path / "observe.sock").unlink()
        health(tmp_path)
    finally:
        successor.kill()
        successor.communicate()


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'observe', '--run-dir', {str(tmp_path)!r},"
        f" '--bpf-root', {str(tmp_path / 'nothing')!r}, '--metrics-addr', 'off'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    health(tmp_path)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 5
    while (tmp_path / "observe.sock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not Path(f"/proc/{child}/cmdline").exists() or Path(f"/proc/{child}/cmdline").read_bytes() == b""


def test_metrics_over_tcp_and_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "first").mkdir()
        unlucky = start(tmp_path / "first", "--metrics-addr", f"127.0.0.1:{port}")
        assert health(tmp_path / "first")["metrics"].startswith("not served: ")
        unlucky.kill()
        unlucky.communicate()
    process = start(tmp_path, "--metrics-addr", f"127.0.0.1:{port}")
    try:
        assert health(tmp_path)["metrics"] == f"127.0.0.1:{port}"
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/metrics")
        assert b"# TYPE ciliate_flows_total counter" in connection.getresponse().read()
        connection.close()
    finally:
        process.kill()
        process.communicate()


def test_it_is_small_and_idle(observer: subprocess.Popen[str], tmp_path: Path) -> None:
    """22 MB where the interpreter itself takes 8: what an environment adds to every process is not counted."""
    health(tmp_path)
    bare = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    time.sleep(0.3)

    def resident(pid: int) -> int:
        fields = Path(f"/proc/{pid}/status").read_text().split()
        return int(fields[fields.index("VmRSS:") + 1])

    def cpu(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = cpu(observer.pid)
    time.sleep(1.5)
    assert resident(observer.pid) - resident(bare.pid) < 14 * 1024
    assert cpu(observer.pid) - before < 0.1
    bare.communicate("\n")


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9965", ("127.0.0.1", 9965)), ("[::1]:80", ("::1", 80)), ("off", None)],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "9965", ":9965", "localhost", "localhost:http", "localhost:70000"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_address(text)


def test_asyncio_works_as_it_was_imported() -> None:
    """Without TLS, and with it for whoever imports it later."""
    script = (
        "import observe.lean, asyncio, ssl, prometheus_client; asyncio.run(asyncio.sleep(0)); print('well')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "well\n"
