"""A machine of its own on which the real agent runs under its supervisor, and a hand that speaks Docker's protocol.
There is no engine, so that whatever has labels has them through the API."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tests.docker.harness.agent_process import COMPILED, REPOSITORY, AgentProcess
from tests.docker.harness.commands import Result
from tests.docker.harness.sandbox import Sandbox, wait_until
from tests.docker.harness.unixhttp import Answer, request

NETWORK = "a" * 64
PLUGIN, API, READ_ONLY = (
    "/run/docker/plugins/ciliate.sock",
    "/run/ciliate/api.sock",
    "/run/ciliate/api-ro.sock",
)


def docker_id(number: int) -> str:
    """Of an endpoint. They differ in their first digits, as Docker's do: interfaces are named by them."""
    return f"{number:02x}" * 32


class Host:
    def __init__(self) -> None:
        for directory in COMPILED.values():
            directory.mkdir(parents=True, exist_ok=True)
        self.sandbox = Sandbox(COMPILED)
        self.agent = AgentProcess(self.sandbox)

    def close(self) -> None:
        self.sandbox.close()

    def begin(self) -> None:
        try:
            self.agent.api("GET", "/v1/healthz", timeout=30)
        except OSError:
            self.agent.start()

    def end(self) -> None:
        self.begin()
        for endpoint in self.api("GET", "/v1/endpoint"):
            ids = {"NetworkID": NETWORK, "EndpointID": endpoint["docker_id"]}
            self.driver("Leave", **ids)
            self.driver("DeleteEndpoint", **ids)
        self.driver("DeleteNetwork", NetworkID=NETWORK)
        for pool in self.api("GET", "/v1/healthz")["ipam"]:
            self.plugin("/IpamDriver.ReleasePool", PoolID=pool["pool"])
        self.api("DELETE", "/v1/policy?wait=20")
        assert self.links() == []
        if any(child["restarts"] for child in self.api("GET", "/v1/healthz")["children"]):
            self.agent.stop()  # or the next that is killed so young would have to wait

    def run(self, *arguments: str, check: bool = True) -> Result:
        return self.sandbox.run(*arguments, check=check)

    def cleanup(self, *options: str) -> Result:
        command = (sys.executable, "-m", "agent.supervise", "--cleanup", *options)
        return self.sandbox.run(*command, cwd=REPOSITORY, check=False)

    def connect(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(str(self.sandbox.path(path)))
        return connection

    def ask(self, path: str, method: str, url: str, body: object = None, *, timeout: float = 30) -> Answer:
        return request(self.sandbox.path(path), method, url, body, timeout=timeout)

    def api(self, method: str, url: str, body: object = None, *, status: int = 200) -> Any:
        answer = self.ask(API, method, url, body)
        assert answer.status == status, f"{method} {url}: {answer.status} {answer.text}"
        return answer.json

    # Docker's part

    def plugin(self, call: str, **members: Any) -> dict[str, Any]:
        """As dockerd does it, which tries again for a while when nobody listens or answers."""
        told: list[Answer] = []

        def called() -> bool:
            with suppress(OSError):
                told.append(self.ask(PLUGIN, "POST", call, members))
            return bool(told)

        wait_until(called, f"{call} is answered", 60)
        assert (told[0].status == 200) == ("Err" not in told[0].json), told[0].text
        answer: dict[str, Any] = told[0].json
        return answer

    def driver(self, call: str, **members: Any) -> dict[str, Any]:
        return self.plugin(f"/NetworkDriver.{call}", **members)

    def network(self, *, ipv6: bool = False) -> dict[str, Any]:
        """`docker network create`: the pools by version."""
        pools = {}
        for version in (4, 6) if ipv6 else (4,):
            space = {"AddressSpace": "ciliate-local", "Pool": "", "SubPool": "", "Options": {}}
            pool = self.plugin("/IpamDriver.RequestPool", V6=version == 6, **space)["PoolID"]
            gateway = self.address(pool, gateway=True)
            pools[version] = {"Pool": pool, "Gateway": gateway, "AddressSpace": "ciliate-local"}
        data = {f"IPv{version}Data": [pools[version]] if version in pools else [] for version in (4, 6)}
        assert self.driver("CreateNetwork", NetworkID=NETWORK, Options={}, **data) == {}
        return {str(version): pool["Pool"] for version, pool in pools.items()}

    def address(self, pool: str, *, gateway: bool = False) -> str:
        options = {"RequestAddressType": "com.docker.network.gateway"} if gateway else {}
        answer = self.plugin("/IpamDriver.RequestAddress", PoolID=pool, Address="", Options=options)
        return str(answer["Address"])

    def create(self, endpoint: str, pools: dict[str, str], **options: Any) -> dict[str, Any]:
        """CreateEndpoint with an address of each pool."""
        interface = {
            "Address": self.address(pools["4"]),
            "AddressIPv6": self.address(pools["6"]) if "6" in pools else "",
            "MacAddress": "",
        }
        ids = {"NetworkID": NETWORK, "EndpointID": endpoint}
        return self.driver("CreateEndpoint", Interface=interface, Options=options, **ids)

    def join(self, endpoint: str) -> dict[str, Any]:
        ids = {"NetworkID": NETWORK, "EndpointID": endpoint}
        return self.driver("Join", SandboxKey=f"/var/run/docker/netns/{endpoint[:8]}", Options={}, **ids)

    def container(self, number: int, pools: dict[str, str], labels: Sequence[str] = ()) -> str:
        """A started one; with labels if there are any. Answers Docker's id of its endpoint."""
        endpoint = docker_id(number)
        assert "Err" not in self.create(endpoint, pools)
        assert "InterfaceName" in self.join(endpoint)
        if labels:
            self.api("PATCH", f"/v1/endpoint/docker-endpoint:{endpoint}/labels", {"labels": list(labels)})
        return endpoint

    # Looking

    def links(self) -> list[str]:
        """The host's ends of containers' links, without those in stock."""
        names = (line.split()[0].split("@")[0] for line in self.run("ip", "-br", "link").lines)
        return [name for name in names if name.startswith("cl") and "spare" not in name]

    def endpoints(self) -> dict[str, Any]:
        return {endpoint["docker_id"]: endpoint for endpoint in self.api("GET", "/v1/endpoint")}

    def all_is_well(self) -> None:
        """Every endpoint is in the kernel what the agent says it is, and nothing else is there."""
        endpoints = self.endpoints()
        for endpoint in endpoints.values():
            health = self.api("GET", f"/v1/endpoint/{endpoint['id']}/healthz")
            assert health == {"status": "ok", "problems": []}, endpoint
        linked = {endpoint["ifindex"] for endpoint in endpoints.values() if endpoint["ifindex"]}
        assert {entry["key"]["ifindex"] for entry in self.api("GET", "/v1/map/endpoints")} == linked
        addresses = {entry["ifindex"] for entry in self.api("GET", "/v1/ip")} - {0}
        assert addresses == linked
