"""A real dockerd with its containerd in a sandbox, at the places where a distribution puts them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.docker.harness.engines import Engine
from tests.docker.harness.sandbox import Sandbox, wait_until
from tests.docker.harness.unixhttp import request

_CONTAINERD = """version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
"""


class EngineProcess:
    """containerd stays when dockerd dies, as under systemd."""

    def __init__(self, sandbox: Sandbox, engine: Engine, options: Sequence[str] = ()) -> None:
        self._sandbox = sandbox
        self._options = tuple(options)
        self.log = sandbox.directory / "dockerd.log"
        self._containerd_log = sandbox.directory / "containerd.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        search = [*map(str, engine.programs), sandbox.environment["PATH"]]
        sandbox.environment["PATH"] = ":".join(search)
        configuration = sandbox.path("/etc/containerd/config.toml")
        configuration.parent.mkdir(exist_ok=True)
        configuration.write_text(_CONTAINERD)
        self.start_containerd()

    def start_containerd(self) -> None:
        with self._containerd_log.open("ab") as log:
            self._processes.append(self._sandbox.start("containerd", log=log))

    def answers(self) -> bool:
        try:
            return request(self._sandbox.path("/run/docker.sock"), "GET", "/_ping", timeout=2).status == 200
        except OSError:
            return False

    def start(self, *, wait: bool = True) -> None:
        address = ["--containerd", "/run/containerd/containerd.sock"]
        with self.log.open("ab") as log:
            self._processes.append(self._sandbox.start("dockerd", *address, *self._options, log=log))
        if wait:
            wait_until(self.answers, f"the engine answers\n{tail(self.log)}", 60)

    @property
    def pid(self) -> int:
        """As seen in the sandbox."""
        return int(self._sandbox.path("/run/docker.pid").read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM: it stops its containers first. SIGKILL: as a crash would."""
        dockerd = self._processes.pop()
        self._sandbox.kill(self.pid, number)
        dockerd.wait(90)

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.stop(number)
        self.start()


def tail(log: Path, lines: int = 40) -> str:
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
