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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.consul_address import ConsulAddress
from tests.docker.harness.engines import consul

READY_SECONDS = 30.0


@dataclass
class Server:
    """`enter`: the command that runs it elsewhere, for example in a namespace. `extra`: of its configuration."""

    folder: Path
    address: str = "127.0.0.1"
    name: str = "server"
    ports: Mapping[str, int] = field(default_factory=dict)
    servers: int = 1
    join: Sequence[str] = ()
    enter: Sequence[str] = ()
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
            "bootstrap_expect": self.servers,
            "node_name": self.name,
            "data_dir": str(self.folder / "data"),
            "bind_addr": self.address,
            "client_addr": self.address,
            "retry_join": list(self.join),
            "retry_interval": "1s",
            "ports": {**self.ports, "dns": -1, "grpc": -1, "serf_wan": -1},
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            "log_level": "warn",
            **self.extra,
        }
        path = self.folder / "consul.json"
        path.write_text(json.dumps(configuration))
        command = [
            *self.enter,
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

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a crash: nothing is said to anybody."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def leader(self) -> str:
        """host:port of the servers' own protocol; empty: there is none, or this server does not answer."""
        try:
            return str(self.ask("GET", "/v1/status/leader"))
        except (OSError, ValueError):
            return ""

    def leads(self) -> bool:
        return self.leader() == f"{self.address}:{self.ports['server']}"

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


@dataclass
class Servers:
    """Three that elect a leader among themselves."""

    all: list[Server]

    @classmethod
    @contextlib.contextmanager
    def started(
        cls,
        folder: Path,
        addresses: Sequence[str] = ("127.0.0.1",) * 3,
        enter: Sequence[Sequence[str]] = ((),) * 3,
    ) -> Iterator[Servers]:
        ports = [free_ports(address) for address in addresses]
        join = [f"{address}:{found['serf_lan']}" for address, found in zip(addresses, ports, strict=True)]
        servers = cls(
            [
                Server(folder / f"{n}", address, f"server{n}", found, len(addresses), join, into)
                for n, (address, found, into) in enumerate(zip(addresses, ports, enter, strict=True))
            ]
        )
        try:
            for server in servers.all:
                server.start()
            for server in servers.all:
                server.wait_ready()
            yield servers
        finally:
            for server in servers.all:
                server.kill()

    def leader(self) -> Server:
        found: list[Server] = []

        def led() -> bool:
            found[:] = [server for server in self.all if server.process is not None and server.leads()]
            return bool(found)

        wait_for(led, "no server of the cluster leads")
        return found[0]


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
