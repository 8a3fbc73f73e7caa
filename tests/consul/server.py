"""Real Consul servers for tests: Debian bullseye's package, unpacked into the cache. Each has a data directory and
ports of its own, is ended by its pid, and does not outlive the tests."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.consul_address import ConsulAddress
from tests.docker.harness.engines import consul

READY_SECONDS = 30.0


@dataclass
class Server:
    """One, on loopback, that leads itself. `extra`: of its configuration."""

    folder: Path
    address: str = "127.0.0.1"
    name: str = "server"
    ports: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    token: str = ""
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.ports = self.ports or free_ports(self.address)

    @property
    def http(self) -> ConsulAddress:
        return ConsulAddress(self.address, self.ports["http"], token=self.token)

    def start(self) -> None:
        """Raises CannotFetch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": self.name,
            "data_dir": str(self.folder / "data"),
            "bind_addr": self.address,
            "client_addr": self.address,
            "ports": {**self.ports, "dns": -1, "grpc": -1, "serf_wan": -1},
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            "log_level": "warn",
            **self.extra,
        }
        path = self.folder / "consul.json"
        path.write_text(json.dumps(configuration))
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            str(consul()),
            "agent",
            "-config-file",
            str(path),
        ]
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    def kill(self) -> None:
        """As a crash: nothing is said to anybody."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_ready(self) -> None:
        """Until it writes."""
        wait_for(self._writes, f"Consul in {self.folder} is not ready: see its log")

    def ask(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{self.address}:{self.ports['http']}{path}", data, method=method
        )
        if token or self.token:
            request.add_header("X-Consul-Token", token or self.token)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read() or b"null")

    def _writes(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()
        try:
            # Sessions need the server in its own catalog, which comes last.
            made = self.ask("PUT", "/v1/session/create", {"TTL": "10s", "Behavior": "delete"})
            return bool(self.ask("PUT", f"/v1/session/destroy/{made['ID']}"))
        except (OSError, ValueError):
            return False


@contextlib.contextmanager
def one_server(folder: Path, **options: Any) -> Iterator[Server]:
    server = Server(folder, **options)
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.kill()


def wait_for(condition: Any, complaint: str, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


def free_ports(address: str) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(3):
            sockets.append(stack.enter_context(socket.socket()))
            sockets[-1].bind((address if address.startswith("127.") else "127.0.0.1", 0))
        numbers = [one.getsockname()[1] for one in sockets]
    return dict(zip(("http", "server", "serf_lan"), numbers, strict=True))
