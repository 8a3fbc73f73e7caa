"""An agent that is driven as dockerd drives it, without dockerd: an engine's API that answers from a table (the tests'
own), and a client that makes the calls of a container's start and end. So that many endpoints exist within a minute,
and what is measured is the agent's share alone."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docker.harness.agent_process import COMPILED, AgentProcess
from tests.docker.harness.sandbox import Sandbox, wait_until
from tests.docker.harness.world import World
from tests.unit.driver.engine import Engine

NETWORK = "1" * 64
SOCKET, PLUGIN_SOCKET = "/run/ciliate/api.sock", "/run/docker/plugins/ciliate.sock"
SUBNET, GATEWAY = "10.99.0.0/20", "10.99.0.1"

SERVICES, ROLES = 500, 10
"""Labels differ as those of many services do: no two of the first 500 endpoints have the same identity."""


class Connection(http.client.HTTPConnection):
    """Stays open, as dockerd's does."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, method: str, url: str, body: object = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        self.request(method, url, content, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{method} {url}: {answer.status} {text.decode(errors='replace')}"
        return json.loads(text)


@dataclass(frozen=True, slots=True)
class Machine:
    """A sandbox with an agent and one network. Endpoints have numbers."""

    sandbox: Sandbox
    agent: AgentProcess
    engine: Engine
    plugin: Connection
    rest: Connection

    def begin(self) -> None:
        """Starts the agent, and waits for nothing."""
        self.agent.start({"DOCKER_HOST": self.engine.url}, wait=False)

    def wait_ready(self) -> None:
        """Returns with the first answer. Its sockets are there at once, and answer when it is ready."""
        for connection in (self.rest, self.plugin):
            connection.close()
        wait_until(lambda: self.sandbox.path(SOCKET).exists(), "the agent's socket", pause=0.001)
        wait_until(self._answers, "the agent is ready", 30, pause=0.001)

    def _answers(self) -> bool:
        try:
            self.rest.ask("GET", "/v1/healthz")
        except OSError:
            return False
        return True

    def wake(self) -> None:
        """Opens the connections anew: those that were idle for a minute are closed."""
        self.rest.close()
        self.plugin.close()
        self.plugin.ask("POST", "/NetworkDriver.GetCapabilities")

    def make_network(self) -> None:
        self.plugin.ask("POST", "/IpamDriver.RequestPool", {"AddressSpace": "x", "Pool": SUBNET})
        gateway = {"RequestAddressType": "com.docker.network.gateway"}
        self.plugin.ask(
            "POST", "/IpamDriver.RequestAddress", {"PoolID": SUBNET, "Address": GATEWAY, "Options": gateway}
        )
        pools = [{"AddressSpace": "x", "Pool": SUBNET, "Gateway": f"{GATEWAY}/20"}]
        self.plugin.ask("POST", "/NetworkDriver.CreateNetwork", {"NetworkID": NETWORK, "IPv4Data": pools})
        self.engine.networks[NETWORK] = {
            "Id": NETWORK,
            "Name": "n",
            "Driver": "ciliate",
            "IPAM": {"Driver": "ciliate", "Config": [{"Subnet": SUBNET, "Gateway": GATEWAY}]},
            "Containers": {},
        }

    def start(self, number: int) -> float:
        """Seconds that the engine waits for the agent."""
        began = time.perf_counter()
        answer = self.plugin.ask("POST", "/IpamDriver.RequestAddress", {"PoolID": SUBNET, "Address": ""})
        took = time.perf_counter() - began
        endpoint, address = identifier(number), answer["Address"]
        labels = {"app": f"s{number % SERVICES}", "role": f"r{number % ROLES}"}
        self.engine.add(f"c{number}", endpoint, NETWORK, labels)
        self._write_down(f"c{number}", endpoint, address)
        message = {"NetworkID": NETWORK, "EndpointID": endpoint}
        began = time.perf_counter()
        self.plugin.ask(
            "POST", "/NetworkDriver.CreateEndpoint", {**message, "Interface": {"Address": address}}
        )
        self.plugin.ask("POST", "/NetworkDriver.Join", {**message, "SandboxKey": f"/run/netns/c{number}"})
        return took + time.perf_counter() - began

    def _write_down(self, name: str, endpoint: str, address: str) -> None:
        """Where the engine keeps its records, in which the agent looks first."""
        database = self.engine.root / "network" / "files" / "local-kv.db"
        database.parent.mkdir(parents=True, exist_ok=True)
        record = {"id": endpoint, "name": name, "ep_iface": {"addr": address}}
        with database.open("ab") as file:
            file.write(f"docker/network/v1.0/endpoint/{NETWORK}/{endpoint}/".encode() + bytes(8))
            file.write(json.dumps(record).encode().ljust(1024))


def identifier(number: int) -> str:
    """Scattered, as Docker's are: an interface's name has the first characters only."""
    return f"{(number * 2654435761) % (1 << 32):08x}{number:056x}"


@contextmanager
def machine() -> Iterator[Machine]:
    """Gone afterwards with all that is in it."""
    for directory in COMPILED.values():
        directory.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(COMPILED)
    try:
        World.beyond(sandbox)
        engine = Engine(sandbox.directory / "engine.sock")
        engine.start()
        agent = AgentProcess(sandbox)
        made = Machine(
            sandbox,
            agent,
            engine,
            Connection(sandbox.path(PLUGIN_SOCKET)),
            Connection(sandbox.path(SOCKET)),
        )
        made.begin()
        made.wait_ready()
        wait_until(
            lambda: made.rest.ask("GET", "/v1/healthz")["docker"]["state"] == "ok",
            "the agent sees the engine",
        )
        made.make_network()
        yield made
        engine.stop()
    finally:
        sandbox.close()
