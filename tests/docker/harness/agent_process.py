"""The agent of this checkout in a sandbox, under its own supervisor, at its default places."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.docker.harness.engine_process import tail
from tests.docker.harness.engines import CACHE
from tests.docker.harness.sandbox import Sandbox, wait_until
from tests.docker.harness.unixhttp import Answer, request

REPOSITORY = Path(__file__).resolve().parents[3]

COMPILED = {"/var/lib/ciliate/bpf-cache": CACHE / "bpf-cache"}
"""Where the agent keeps compiled programs, and the directory that all sandboxes share for it: the key of an entry is
its source's hash."""


class AgentProcess:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._process: subprocess.Popen[bytes] | None = None
        self.log = sandbox.directory / "agent.log"
        self.settings: dict[str, str] = {}
        """Of every start."""

    def start(self, settings: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            self._process = self._sandbox.start(
                *(sys.executable, "-m", "agent.supervise"),
                cwd=REPOSITORY,
                env={**self.settings, **(settings or {})},
                log=log,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = 60.0) -> None:
        def ready() -> bool:
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"the agent ended with {self._process.returncode}\n{tail(self.log)}")
            try:
                return self.api("GET", "/v1/healthz").status == 200
            except OSError:
                return False

        try:
            wait_until(ready, "the agent is ready", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{tail(self.log)}") from None

    def api(self, method: str, url: str, body: object = None, *, timeout: float = 10.0) -> Answer:
        return request(self._sandbox.path("/run/ciliate/api.sock"), method, url, body, timeout=timeout)

    def pid(self, role: str = "agent") -> int:
        """As seen in the sandbox: `agent` is the worker that owns the state, `supervisor` its parent."""
        return int(self._sandbox.path(f"/run/ciliate/{role}.pid").read_text())

    def kill(self, role: str = "agent") -> None:
        self._sandbox.kill(self.pid(role), signal.SIGKILL)

    def stop(self) -> None:
        assert self._process is not None
        self._sandbox.kill(self.pid("supervisor"), signal.SIGTERM)
        self._process.wait(30)
