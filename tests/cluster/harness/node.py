"""A Docker host of the bed: known by its letter, on the underlay instead of alone with a world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.harness.underlay import Underlay, address4, address6
from tests.docker.harness.consul import HTTP, ConsulServer
from tests.docker.harness.engines import Engine, consul
from tests.docker.harness.host import Host
from tests.docker.harness.world import SPEAKER


class Node(Host):
    def __init__(self, number: int, engine: Engine, underlay: Underlay, hosts: int) -> None:
        super().__init__(engine, join=lambda sandbox: underlay.join(number, sandbox))
        self.number = number
        self.name = chr(ord("a") + number - 1)
        """As the other nodes know it, too."""
        self.ip = address4(number)
        self.ip6 = address6(number)
        self.run("hostname", self.name)
        self.agent.settings["CILIATE_STORE"] = f"consul://127.0.0.1:{HTTP}"
        servers = [address4(number) for number in range(1, hosts + 1)]
        self.consul = ConsulServer(self.sandbox, consul(), self.ip, servers)

    def ready(self) -> None:
        """Consul, engine and images; no agent yet."""
        self.consul.start()
        self.engine.start()
        self.load_images()
        self.consul.wait_ready()

    def start_agent(self) -> None:
        self.agent.start()

    @contextmanager
    def answering(self, *ports: int) -> Iterator[None]:
        """A server of `speaker` on every address of the host, on port 7 if none is named."""
        places = ports or (7,)
        server = self.sandbox.start("python3", SPEAKER, "serve", *map(str, places))

        def answers() -> bool:
            return all(self.ask_from_host("tcp", "127.0.0.1", port) for port in places)

        try:
            self.until(answers, f"ports {places} answer")
            yield
        finally:
            self.sandbox.end(server)

    def __repr__(self) -> str:
        return f"node {self.name}"
