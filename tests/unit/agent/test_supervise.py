"""The supervisor outlives everything, and nothing outlives the supervisor. A real one, with tiny children."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.settings import Settings, from_environment
from agent.supervise import GROWN_UP, LONGEST_PAUSE, Child, listen, only_one
from model.errors import Conflict, Unavailable
from tests.unit.agent.node import until

ROOT = Path(__file__).resolve().parents[3]

WORKER = """
import os, socket, sys
from agent.settings import from_environment
(from_environment().run_dir / "agent.pid").write_text(str(os.getpid()))
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    connection, _ = listener.accept()
    with connection:
        said = connection.recv(100)
        if said == b"die":
            os._exit(3)
        connection.sendall(said + b" from %d" % os.getpid())
"""

SLEEPER = "import time; time.sleep(1000)"

STUBBORN = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEPER}"
)

SUPERVISOR = """
import sys
from agent.settings import from_environment
from agent.supervise import Child, Supervisor, only_one

def children(settings, descriptors):
    python = [sys.executable, "-c"]
    return [
        Child("worker", [*python, WORKER, *map(str, descriptors)], descriptors, settings.run_dir / "agent.pid"),
        Child("observe", [*python, OTHER]),
    ]

Supervisor(from_environment(), children, patience=0.3).run()
"""


UNFIT = """
import sys
from agent.settings import from_environment
(from_environment().run_dir / "worker.failure").write_text("node.db is no database")
sys.exit(1)
"""


class Agent:
    """A supervisor in a process of its own, over directories of its own."""

    def __init__(self, directory: Path, other: str = SLEEPER, worker: str = WORKER) -> None:
        self.environment = {
            "CILIATE_RUN_DIR": str(directory / "run"),
            "CILIATE_PLUGIN_DIR": str(directory / "plugins"),
            "CILIATE_STATE_DIR": str(directory / "state"),
        }
        self.settings = from_environment(self.environment)
        program = f"WORKER = {worker!r}\nOTHER = {other!r}\n{SUPERVISOR}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **self.environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def report(self) -> dict[str, dict[str, Any]]:
        """By child; empty before there is any."""
        try:
            told = json.loads((self.settings.run_dir / "children.json").read_text())
        except (OSError, ValueError):
            return {}
        return {child["name"]: child for child in told}

    def pid(self, name: str) -> int:
        return int(self.report().get(name, {}).get("pid", 0))

    def ask(self, text: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.settings.plugin_socket))
            client.sendall(text)
            return client.recv(100)

    def ask_whole(self, text: bytes) -> bytes:
        """All that is answered until the other side has closed."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.settings.plugin_socket))
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(1 << 16), b""))

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            for stream in (self.process.stdout, self.process.stderr):
                assert stream is not None
                stream.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    try:
        until(lambda: agent.pid("worker") and agent.pid("observe"))
        yield agent
    finally:
        agent.end()


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_request_made_while_the_worker_is_down_is_answered_by_the_next(agent: Agent) -> None:
    first = agent.pid("worker")
    assert agent.ask(b"hello") == b"hello from %d" % first
    os.kill(first, signal.SIGKILL)
    until(lambda: not lives(first))  # it could have taken the next request with it
    answer = agent.ask(b"again")
    assert answer.startswith(b"again from ") and not answer.endswith(b" %d" % first)
    until(lambda: agent.report()["worker"]["restarts"] == 1)
    assert agent.report()["worker"]["state"] == "running"
    assert agent.report()["observe"]["restarts"] == 0


def test_a_worker_that_dies_of_a_request_comes_back_for_the_others(agent: Agent) -> None:
    for _ in range(2):
        with suppress(ConnectionError):
            assert agent.ask(b"die") == b""
        assert agent.ask(b"next").startswith(b"next from")


@pytest.fixture
def unfit(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, worker=UNFIT)
    try:
        until(lambda: agent.report().get("worker", {}).get("restarts", 0) >= 2)
        yield agent
    finally:
        agent.end()


def test_a_worker_that_cannot_start_hangs_nobody(unfit: Agent) -> None:
    """dockerd waits for an answer without limit, and at boot all containers wait for it."""
    body = b"x" * 100_000
    head = b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    for request in (head + body, b"GET /v1/healthz HTTP/1.1\r\n\r\n", b"nonsense", b""):
        answer = unfit.ask_whole(request)
        assert not answer or answer.startswith(b"HTTP/1.1 503 ")
        if b"HTTP" in request:
            told = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert told["Err"] == told["Error"] == told["error"]
            assert "node.db is no database" in told["error"] and told["hint"]
    unfit.process.terminate()
    assert unfit.process.wait(20) == 0


def test_the_other_child_is_kept_alive_too(agent: Agent) -> None:
    first = agent.pid("observe")
    os.kill(first, signal.SIGKILL)
    until(lambda: agent.pid("observe") not in (0, first))


def test_a_stop_ends_all_and_leaves_no_socket(agent: Agent) -> None:
    children = [agent.pid("worker"), agent.pid("observe")]
    agent.process.terminate()
    assert agent.process.wait(20) == 0
    assert not any(map(lives, children))
    left = {path.name for path in (*agent.settings.run_dir.iterdir(), *agent.settings.plugin_dir.iterdir())}
    assert left == {"supervisor.lock"}


def test_who_does_not_end_is_killed(tmp_path: Path) -> None:
    agent = Agent(tmp_path, STUBBORN)
    try:
        assert agent.process.stdout is not None and agent.process.stdout.readline() == "deaf\n"
        until(lambda: agent.pid("observe"))
        deaf = agent.pid("observe")
        agent.process.terminate()
        assert agent.process.wait(20) == 0
        assert not lives(deaf)
    finally:
        agent.end()


def test_nobody_outlives_a_killed_supervisor_and_the_next_one_takes_over(
    agent: Agent, tmp_path: Path
) -> None:
    children = [agent.pid("worker"), agent.pid("observe")]
    agent.process.kill()
    agent.process.wait()
    until(lambda: not any(map(lives, children)))
    (agent.settings.run_dir / "children.json").unlink()
    second = Agent(tmp_path)
    try:
        until(lambda: second.pid("worker"))
        assert second.ask(b"hello").startswith(b"hello from")
    finally:
        second.end()


def test_a_second_one_refuses_and_leaves_the_first_alone(agent: Agent, tmp_path: Path) -> None:
    second = Agent(tmp_path)
    try:
        assert second.process.wait(20) == 1
        assert second.process.stderr is not None
        assert "runs here already" in second.process.stderr.read()
    finally:
        second.end()
    assert agent.ask(b"hello").startswith(b"hello from")
    with pytest.raises(Conflict):
        only_one(agent.settings)


def test_sockets_are_for_whom_they_are_for(agent: Agent) -> None:
    settings = agent.settings
    assert mode(settings.plugin_socket) == mode(settings.api_socket) == 0o600
    assert mode(settings.read_only_socket) in (0o600, 0o660), "by whether there is a group ciliate here"
    assert mode(settings.state_dir) == 0o700


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return from_environment({"CILIATE_RUN_DIR": str(tmp_path)})


def test_what_dead_agents_and_docker_leave_at_a_socket_s_place_makes_room(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    for make in (lambda: None, path.touch, path.mkdir, lambda: listen(path, 0o600).close()):
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        make()
        listen(path, 0o660).close()
        assert (stat.S_ISSOCK(path.stat().st_mode), mode(path)) == (True, 0o660)
    path.unlink()
    (path / "full").mkdir(parents=True)
    with pytest.raises(Unavailable, match="in the way"):
        listen(path, 0o600)
    with pytest.raises(Unavailable, match="no socket can be made"):
        listen(tmp_path / ("x" * 120), 0o600)


def test_a_socket_for_a_group_that_does_not_exist_is_root_s_alone(tmp_path: Path) -> None:
    listen(tmp_path / "s", 0o660, "no-such-group-here").close()
    assert mode(tmp_path / "s") == 0o600


# When a child is started again, by a clock that the story winds.


def starts(child: Child, lifetime: float, until_: float) -> list[float]:
    """The moments at which a child is started that lives so long each time."""
    now, moments = 0.0, []
    while now < until_:
        if child.process is None:
            child.look(now)
            if child.process is not None:
                moments.append(now)
                child.process.wait()
        elif now - child.started >= lifetime:
            child.look(now)
        now += 0.25
    return moments


def test_a_child_that_keeps_dying_young_waits_ever_longer() -> None:
    moments = starts(Child("short", ["/bin/false"]), lifetime=0.25, until_=150)
    pauses = [round(later - earlier, 1) for earlier, later in pairwise(moments)]
    assert pauses[0] <= 0.5, "the first time at once"
    assert pauses == sorted(pauses)
    assert LONGEST_PAUSE <= pauses[-1] <= LONGEST_PAUSE + 1


def test_one_that_lived_long_is_started_at_once() -> None:
    child = Child("long", ["/bin/true"])
    moments = starts(child, lifetime=GROWN_UP + 1, until_=60)
    assert all(later - earlier <= GROWN_UP + 1.5 for earlier, later in pairwise(moments))
    assert child.report() | {"pid": 0} == {
        "name": "long",
        "pid": 0,
        "state": child.report()["state"],
        "restarts": len(moments) - 1,
    }


def test_one_that_has_served_is_started_at_once_however_young(tmp_path: Path) -> None:
    pid_file = tmp_path / "agent.pid"
    serves = ["/bin/sh", "-c", f"echo $$ > {pid_file}"]
    moments = starts(Child("served", serves, pid_file=pid_file), lifetime=0.25, until_=20)
    assert {later - earlier for earlier, later in pairwise(moments)} <= {0.25, 0.5}


def test_a_child_that_cannot_be_started_is_tried_again() -> None:
    child = Child("missing", ["/no/such/program"])
    moments = [now for now in range(100) if child.look(float(now))]
    assert child.report()["state"] == "waiting to restart"
    assert 3 < len(moments) < 20
