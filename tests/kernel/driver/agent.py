"""The driver as the agent wires it, spoken to over HTTP as dockerd does; the state is kept in memory."""

from __future__ import annotations

import errno
import json
from typing import Any

from flask import Flask

from driver.accept import Acceptance
from driver.api import blueprint
from driver.facts import ContainerFacts
from driver.host import Host
from driver.hostfacts import HostFacts
from driver.labelling import Labeller
from driver.links import Links
from driver.network import Defaults, Networks
from driver.nft import Nft
from driver.plan import SPARE
from driver.ports import Ports
from driver.realm import MemoryRealm
from driver.sysctls import Sysctls
from identity.labels import LabelFilter
from model.endpoint import Endpoint, EndpointState
from model.errors import Exhausted, Unavailable
from model.labels import Labels
from tests.kernel.driver.topology import run

N1, N2 = "1" * 64, "2" * 64
E1, E2 = "a1" * 32, "a2" * 32
PORT = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}
PORT_MAP = "com.docker.network.portmap"
GENERIC = "com.docker.network.generic"


class Known:
    """Containers by endpoint."""

    def __init__(self, facts: dict[str, ContainerFacts]) -> None:
        self.facts = facts

    def find(self, endpoint: Endpoint) -> ContainerFacts | None:
        return self.facts.get(endpoint.docker_id)


class FailingRealm(MemoryRealm):
    """Refuses endpoints that have a link, while `failing`; those that have labels, while there is no `room`."""

    failing = False
    room = True
    is_storeless = False
    """No identity can be had."""

    def identify(self, labels: Labels) -> int:
        if self.is_storeless:
            raise Unavailable("the store does not answer")
        return super().identify(labels)

    def put_endpoint(self, endpoint: Endpoint) -> None:
        if self.failing and endpoint.ifindex:
            raise Unavailable("the map is full")
        if not self.room and endpoint.state is EndpointState.READY:
            raise Exhausted("map policies/inner is full (8 entries)")
        super().put_endpoint(endpoint)


class Agent:
    """The driver as the agent wires it; a second one takes over the realm of the first, as after a restart."""

    def __init__(
        self,
        realm: FailingRealm | None = None,
        defaults: Defaults | None = None,
        *,
        attach_fails: bool = False,
    ) -> None:
        run("ip", "link", "set", "lo", "up")
        self.realm = realm or FailingRealm()
        self.containers = Known(
            {
                E1: ContainerFacts("c1", "web", {"app": "web"}),
                E2: ContainerFacts("c2", "db", {"app": "db"}),
            }
        )
        self.attached: list[int] = []
        self.attach_fails = attach_fails
        self.links = Links()
        nft = Nft(masquerade=True)
        sysctls = Sysctls(dict, lambda _path, _value: None)
        self.ports = Ports(nft)
        self.host = Host(self.links, nft, sysctls, Acceptance(), HostFacts)
        self.networks = Networks(
            self.realm,
            self.links,
            self.host,
            self.ports,
            self.containers,
            Labeller(LabelFilter()),
            self._attach,
            defaults or Defaults(),
        )
        self.lost = self.networks.restore()
        application = Flask(__name__)
        application.register_blueprint(blueprint(self.networks))
        self.client = application.test_client()

    def _attach(self, ifindex: int) -> None:
        if self.attach_fails:
            raise OSError(errno.EINVAL, "no program")
        self.attached.append(ifindex)

    def close(self) -> None:
        self.networks.close()
        self.ports.close()

    def call(self, method: str, **members: Any) -> dict[str, Any]:
        answer = self.client.post(f"/NetworkDriver.{method}", data=json.dumps(members))
        body: dict[str, Any] = json.loads(answer.data)
        assert (answer.status_code == 200) == ("Err" not in body), "dockerd reads an error from either"
        return body

    def create_network(self, number: str = N1, subnet: str = "10.200.0.0/24", **more: Any) -> dict[str, Any]:
        gateway = subnet.replace(".0/", ".1/")
        members = {"NetworkID": number, "IPv4Data": [{"Pool": subnet, "Gateway": gateway}], "IPv6Data": []}
        return self.call("CreateNetwork", **{**members, **more})

    def create_endpoint(
        self, number: str = E1, address: str = "10.200.0.2/24", **more: Any
    ) -> dict[str, Any]:
        interface = {"Address": address, "AddressIPv6": "", "MacAddress": "", **more.pop("Interface", {})}
        return self.call("CreateEndpoint", NetworkID=N1, EndpointID=number, Interface=interface, **more)

    def endpoint(self, method: str, number: str = E1, **more: Any) -> dict[str, Any]:
        return self.call(method, NetworkID=N1, EndpointID=number, **more)

    def start(self, number: str = E1, address: str = "10.200.0.2/24") -> None:
        for answer in (
            self.create_endpoint(number, address),
            self.endpoint("Join", number, SandboxKey=f"/s/{number}", Options=None),
            self.endpoint("ProgramExternalConnectivity", number, Options={PORT_MAP: []}),
            self.endpoint("EndpointOperInfo", number),
        ):
            assert "Err" not in answer, answer

    def known(self, number: str = E1) -> Endpoint:
        return self.realm.endpoints()[number]


def names() -> set[str]:
    """Of all interfaces but spares."""
    return {found["ifname"] for found in json.loads(run("ip", "-j", "link")) if SPARE not in found["ifname"]}


def labels(endpoint: Endpoint) -> set[str]:
    return set(endpoint.labels.texts())
