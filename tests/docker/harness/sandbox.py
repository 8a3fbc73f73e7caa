"""A disposable machine: namespaces of its own over this machine's file system.

Everything that runs in it belongs to one pid namespace whose process 1 ends when the test run does, so that not even
`kill -9` of pytest leaves a process, a link, a mount or a pin behind. What a crash can leave are directories (in the
temporary directory and in the cgroup trees); the next sandbox sweeps those of dead runs."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from tests.docker.harness.commands import CommandFailed, Result

PREFIX = "ct"
"""Names are ct-<pid of the test run>-<n>."""

NAME = re.compile(rf"{PREFIX}-(\d+)-\d+")

CGROUPS = Path("/sys/fs/cgroup")

_numbers = itertools.count(1)


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = 20.0, pause: float = 0.05
) -> None:
    """Until `condition()` is true; AssertionError saying that `what` did not happen after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {seconds:g} s: {what}")
        time.sleep(pause)


class Sandbox:
    """`name` is also the host name inside and the name of its cgroups; `directory` holds all that it writes."""

    def __init__(self, shared: Mapping[str, Path] | None = None) -> None:
        """`shared`: directories of this machine by the place where they shall be seen inside, writable."""
        sweep()
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self.directory = Path(tempfile.gettempdir()) / self.name
        self.directory.mkdir(mode=0o711)
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        self._outer = subprocess.Popen(
            [
                *("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
                *(sys.executable, str(Path(__file__).with_name("sandbox_init.py"))),
                *(str(self.directory), self.name),
                *(f"{inside}={outside}" for inside, outside in (shared or {}).items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError("the sandbox could not be made: see its error output")
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text()
        self.pid = int(children.split()[0])
        """Of its process 1, as seen from here."""
        self.root = Path(f"/proc/{self.pid}/root")
        """Its file system, as seen from here."""
        self.run("ip", "link", "set", "lo", "up")

    def command(
        self, *arguments: str, cwd: str | Path = "/", env: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command line that runs `arguments` inside."""
        pairs = [f"{key}={value}" for key, value in {**self.environment, **(env or {})}.items()]
        enter = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-i", "-u", "--"]
        return [*enter, "env", "-i", "-C", str(cwd), *pairs, *arguments]

    def run(
        self,
        *arguments: str | Path,
        check: bool = True,
        timeout: float = 120.0,
        stdin: str = "",
        cwd: str | Path = "/",
        env: Mapping[str, str] | None = None,
    ) -> Result:
        words = tuple(map(str, arguments))
        done = subprocess.run(
            self.command(*words, cwd=cwd, env=env),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        result = Result(words, done.returncode, done.stdout, done.stderr)
        if check and result.status != 0:
            raise CommandFailed(result)
        return result

    def start(
        self,
        *arguments: str | Path,
        log: IO[bytes] | int = subprocess.DEVNULL,
        cwd: str | Path = "/",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """A process in the background; both outputs go to `log`."""
        command = self.command(*map(str, arguments), cwd=cwd, env=env)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL for what `start` gave: the process inside, not nsenter, which only waits for it."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for pid in children.read_text().split() if process.poll() is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        process.wait(10)

    def path(self, inside: str | Path) -> Path:
        """Where a file of the sandbox is reached from here."""
        return self.root / str(inside).lstrip("/")

    def make_room_for_an_engine(self) -> None:
        """Its overlay mounts cannot stand on an overlay, and its containers belong to the sandbox's cgroups."""
        for name in ("docker", "containerd"):
            plain = self.directory / name
            plain.mkdir()
            self.run("mkdir", "-p", f"/var/lib/{name}")
            self.run("mount", "--bind", plain, f"/var/lib/{name}")
        self.run("mkdir", "-p", "/etc/docker")
        self.path("/etc/docker/daemon.json").write_text(f'{{"cgroup-parent": "/{self.name}"}}\n')

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """`pid` as seen inside."""
        self.run("kill", f"-{int(number)}", str(pid))

    def close(self) -> None:
        assert self._outer.stdin is not None and self._outer.stdout is not None
        self._outer.stdin.close()  # process 1 ends, and cannot end before all others have
        try:
            self._outer.wait(20)
        except subprocess.TimeoutExpired:
            self._outer.kill()
            self._outer.wait()
        self._outer.stdout.close()
        _remove(self.name)


def sweep() -> None:
    """Removes what runs that are no more have left."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*-*"):
        match = NAME.fullmatch(directory.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            _remove(directory.name)


def _remove(name: str) -> None:
    for tree in _cgroup_trees(name):
        # Deepest first; a group that still holds a dying process is busy for a moment.
        for group in sorted([tree, *tree.rglob("*")], key=lambda path: len(path.parts), reverse=True):
            if group.is_dir():
                _rmdir(group)
    shutil.rmtree(Path(tempfile.gettempdir()) / name, ignore_errors=True)


def _rmdir(group: Path) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _cgroup_trees(name: str) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for hierarchy in (CGROUPS, *CGROUPS.iterdir()):
            if (hierarchy / name).is_dir():
                yield hierarchy / name
