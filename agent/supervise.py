"""`ciliate-agent`: makes the sockets, starts the worker and the observer, and starts them again when they die.

Small on purpose, and it imports little: it must outlive everything else. It holds the listening sockets, so a
request that arrives while the worker is down waits in the backlog for the next worker instead of failing
(dockerd retries a missing socket for 15 s, a refused one likewise). A worker that cannot start leaves its reason, and
requests get that for an answer until the next attempt."""

from __future__ import annotations

import ctypes
import fcntl
import grp
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agent.settings import Settings, from_environment
from agent.standin import refuse_next
from model.errors import CiliateError, Conflict, Unavailable
from model.version import VERSION

GROUP = "ciliate"
"""May read (api-ro.sock), if such a group exists."""

GROWN_UP = 10.0
"""Seconds that a child must live to be started again at once when it dies."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

STOP_SECONDS = 5.0
"""What a child gets to end before it is killed."""

_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Child:
    """A process that is kept alive. The first restart is immediate; a child that keeps dying young waits longer
    each time. A child that writes its number into `pid_file` has grown up by that."""

    name: str
    command: list[str]
    descriptors: tuple[int, ...] = ()
    pid_file: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    not_before: float = 0.0
    pause: float = 0.0
    restarts: int = -1

    def look(self, now: float) -> bool:
        """Start it if it is time, take notice if it has ended. True if anything changed."""
        if self.process is None:
            if now < self.not_before:
                return False
            self._start(now)
            return True
        status = self.process.poll()
        if status is None:
            return False
        self._gone(now, f"ended with status {status}")
        return True

    def _start(self, now: float) -> None:
        self.started, self.restarts = now, self.restarts + 1
        try:
            self.process = subprocess.Popen(
                self.command, pass_fds=self.descriptors, preexec_fn=_end_with(os.getpid())
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._gone(now, f"cannot be started: {error}")

    def _gone(self, now: float, why: str) -> None:
        young = now - self.started < GROWN_UP and not self._has_served()
        self.process = None
        self.not_before = now + self.pause if young else now
        self.pause = min(max(FIRST_PAUSE, self.pause * 2), LONGEST_PAUSE) if young else 0.0
        _say(f"{self.name} {why}")

    def _has_served(self) -> bool:
        if self.pid_file is None or self.process is None:
            return False
        try:
            return self.pid_file.read_text().strip() == str(self.process.pid)
        except OSError:
            return False

    def report(self) -> dict[str, object]:
        running = self.process is not None
        return {
            "name": self.name,
            "pid": self.process.pid if self.process else 0,
            "state": "running" if running else "waiting to restart",
            "restarts": max(self.restarts, 0),
        }


def family(settings: Settings, descriptors: tuple[int, ...]) -> list[Child]:
    """The agent's processes. `descriptors`: of the listening sockets."""
    here = [sys.executable, "-m"]
    places = ["--bpf-root", str(settings.bpf_root), "--run-dir", str(settings.run_dir)]
    return [
        Child(
            "worker",
            [*here, "agent.worker", *map(str, descriptors)],
            descriptors,
            settings.run_dir / "agent.pid",
        ),
        Child("observe", [*here, "observe", *places]),
    ]


@dataclass(slots=True)
class Supervisor:
    settings: Settings
    make_children: Callable[[Settings, tuple[int, ...]], list[Child]] = family
    patience: float = STOP_SECONDS
    children: list[Child] = field(default_factory=list)
    stopping: bool = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises CiliateError or OSError if it cannot begin."""
        settings = self.settings
        for directory, mode in (
            (settings.run_dir, 0o755),
            (settings.plugin_dir, 0o755),
            (settings.state_dir, 0o700),
        ):
            directory.mkdir(mode=mode, parents=True, exist_ok=True)
        lock = only_one(settings)
        (settings.run_dir / "supervisor.pid").write_text(f"{os.getpid()}\n")
        wakeup = _wake_by_signals(self._stop)
        paths = (settings.plugin_socket, settings.api_socket, settings.read_only_socket)
        try:
            sockets = [
                listen(settings.plugin_socket, 0o600),
                listen(settings.api_socket, 0o600),
                listen(settings.read_only_socket, 0o660, GROUP),
            ]
            self.children = self.make_children(settings, tuple(listener.fileno() for listener in sockets))
            while not self.stopping:
                seconds = self._look()
                reason = self._why_no_worker()
                ready = select.select([wakeup, *(sockets if reason else [])], [], [], seconds)[0]
                for listener in sockets:
                    if listener in ready:
                        refuse_next(listener, reason)
                _drain(wakeup)
        finally:
            # First the paths: who calls now finds no socket, and tries again until the next agent is there.
            for path in paths:
                path.unlink(missing_ok=True)
            self._end_children()
            for name in ("supervisor.pid", "agent.pid", "children.json", "worker.failure"):
                (settings.run_dir / name).unlink(missing_ok=True)
            lock.close()

    def _look(self) -> float | None:
        """Seconds until the next look; None: when something happens."""
        changed = False
        now = time.monotonic()
        for child in self.children:
            while child.look(now):  # one that has just died is started again in the same round
                changed = True
        if changed:
            self._report()
        waiting = [child.not_before - now for child in self.children if child.process is None]
        return max(min(waiting), 0.0) if waiting else None

    def _why_no_worker(self) -> str:
        """The answer to whoever asks now; empty while a worker runs."""
        if self.children[0].process is not None:
            return ""
        try:
            return (self.settings.run_dir / "worker.failure").read_text()
        except OSError:
            return "it ends as soon as it begins"

    def _report(self) -> None:
        target = self.settings.run_dir / "children.json"
        draft = target.with_suffix(".new")
        try:
            draft.write_text(json.dumps([child.report() for child in self.children]))
            draft.replace(target)
        except OSError as error:
            _say(f"{target} cannot be written: {error.strerror}")

    def _stop(self) -> None:
        self.stopping = True

    def _end_children(self) -> None:
        living = [child.process for child in self.children if child.process is not None]
        for process in living:
            process.terminate()
        deadline = time.monotonic() + self.patience
        for process in living:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def only_one(settings: Settings) -> IO[str]:
    """The lock of the one agent that may run here, as long as the file is open. Raises Conflict."""
    lock = (settings.run_dir / "supervisor.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Conflict(
            f"ciliate-agent runs here already: it holds {settings.run_dir}/supervisor.lock",
            hint="stop it, or give this one directories of its own",
        ) from None
    return lock


def listen(path: Path, mode: int, group: str = "") -> socket.socket:
    """A unix socket that only `mode` and `group` may reach, from its first instant on."""
    _make_room(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise Unavailable(f"no socket can be made at {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    if group:
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        except KeyError:
            path.chmod(0o600)
    listener.listen(512)
    return listener


def _make_room(path: Path) -> None:
    """A socket of a dead agent goes; so does the empty directory that Docker makes where a container mounts what is
    not there."""
    try:
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"{path} is in the way: {error.strerror}", hint="remove it") from error


def _end_with(parent: int) -> Callable[[], None]:
    """Done in a new child: whatever ends the parent, the kernel then tells the child to end."""
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before
            os._exit(0)

    return prepare


def _wake_by_signals(stop: Callable[[], None]) -> socket.socket:
    """Readable after each signal, also one that comes just before somebody begins to wait."""
    reading, writing = socket.socketpair()
    for end in (reading, writing):
        end.setblocking(False)
    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop())
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return reading


def _drain(wakeup: socket.socket) -> None:
    try:
        while wakeup.recv(4096):
            pass
    except BlockingIOError:
        return


def _say(text: str) -> None:
    try:
        print(f"ciliate-agent: {text}", file=sys.stderr, flush=True)
    except OSError:
        return  # a full disk must not end the supervisor


def main() -> None:
    words = sys.argv[1:]
    if words == ["--version"]:
        print(VERSION)
    elif words in (["--cleanup"], ["--cleanup", "--force"]):
        from agent.cleanup import main as cleanup

        sys.exit(cleanup(force="--force" in words))
    elif words:
        _say("usage: ciliate-agent [--version | --cleanup [--force]]; settings come from the environment")
        sys.exit(2)
    else:
        sys.exit(_supervise())


def _supervise() -> int:
    try:
        settings = from_environment()
    except CiliateError as error:
        _say(str(error))
        return 2
    try:
        Supervisor(settings).run()
    except (CiliateError, OSError) as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    main()
