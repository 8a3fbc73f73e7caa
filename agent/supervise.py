"""`ciliate-agent`: makes the sockets, starts the worker and the observer, and starts them again when they die.

Small on purpose, and it imports little: it must outlive everything else. It holds the listening sockets, so a
request that arrives while the worker is down waits in the backlog for the next worker instead of failing
(dockerd retries a missing socket for 15 s, a refused one likewise)."""

from __future__ import annotations

import fcntl
import grp
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from agent.settings import Settings, from_environment
from model.errors import CiliateError

GROUP = "ciliate"
"""May read (api-ro.sock), if such a group exists."""

PATIENCE = 10.0
"""Seconds that a stopping child gets before it is killed, and that a child must live to count as well."""

LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Child:
    """A process that is kept alive. The first restart is immediate; a child that keeps dying young waits longer
    each time."""

    name: str
    command: list[str]
    descriptors: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    not_before: float = 0.0
    pause: float = 0.0
    restarts: int = -1

    def start(self, now: float) -> None:
        self.process = subprocess.Popen(self.command, pass_fds=self.descriptors)
        self.started, self.restarts = now, self.restarts + 1

    def look(self, now: float) -> bool:
        """True if anything changed."""
        if self.process is None:
            if now < self.not_before:
                return False
            self.start(now)
            return True
        if self.process.poll() is None:
            return False
        print(f"{self.name} ended with status {self.process.returncode}", file=sys.stderr, flush=True)
        young = now - self.started < PATIENCE
        self.not_before = now + (self.pause if young else 0.0)
        self.pause = min(max(0.5, self.pause * 2), LONGEST_PAUSE) if young else 0.0
        self.process = None
        return True

    def report(self) -> dict[str, object]:
        running = self.process is not None
        return {
            "name": self.name,
            "pid": self.process.pid if self.process else 0,
            "state": "running" if running else "waiting to restart",
            "restarts": max(self.restarts, 0),
        }


@dataclass(slots=True)
class Supervisor:
    settings: Settings
    children: list[Child] = field(default_factory=list)
    stopping: bool = False

    def run(self) -> int:
        settings = self.settings
        for directory in (settings.run_dir, settings.plugin_dir, settings.state_dir):
            directory.mkdir(parents=True, exist_ok=True)
        lock = (settings.run_dir / "supervisor.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("ciliate-agent already runs here (it holds supervisor.lock)", file=sys.stderr)
            return 1
        (settings.run_dir / "supervisor.pid").write_text(f"{os.getpid()}\n")
        sockets = [
            _listen(settings.plugin_socket, 0o600),
            _listen(settings.api_socket, 0o600),
            _listen(settings.read_only_socket, 0o660, GROUP),
        ]
        descriptors = tuple(listener.fileno() for listener in sockets)
        here = [sys.executable, "-m"]
        self.children = [
            Child("worker", [*here, "agent.worker", *map(str, descriptors)], descriptors),
            Child(
                "observe",
                [*here, "observe", "--bpf-root", str(settings.bpf_root), "--run-dir", str(settings.run_dir)],
            ),
        ]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # ends the sleep below early
        try:
            while not self.stopping:
                self._look()
                time.sleep(0.2)
        finally:
            self._end_children()
            for path in (settings.plugin_socket, settings.api_socket, settings.read_only_socket):
                path.unlink(missing_ok=True)
            for name in ("supervisor.pid", "children.json"):
                (settings.run_dir / name).unlink(missing_ok=True)
        return 0

    def _look(self) -> None:
        now = time.monotonic()
        changed = [child.look(now) for child in self.children]
        if any(changed):
            # Twice, so that a child that has just died is started again in the same round.
            for child in self.children:
                child.look(now)
            temporary = self.settings.run_dir / "children.json.new"
            temporary.write_text(json.dumps([child.report() for child in self.children]))
            temporary.replace(self.settings.run_dir / "children.json")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _end_children(self) -> None:
        living = [child.process for child in self.children if child.process is not None]
        for process in living:
            process.terminate()
        for process in living:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listen(path: Path, mode: int, group: str = "") -> socket.socket:
    """A unix socket that only `mode` and `group` may reach, from its first instant on."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    if group:
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        except KeyError:
            path.chmod(0o600)
    listener.listen(512)
    listener.set_inheritable(True)
    return listener


def main() -> None:
    if "--cleanup" in sys.argv[1:]:
        from agent.cleanup import main as cleanup

        sys.exit(cleanup(force="--force" in sys.argv[1:]))
    try:
        settings = from_environment()
    except CiliateError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(Supervisor(settings).run())


if __name__ == "__main__":
    main()
