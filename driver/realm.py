"""What the driver asks of whoever owns the state. The agent answers in earnest; MemoryRealm is the same
contract without a store or a datapath."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

from model.endpoint import Endpoint
from model.errors import Exhausted
from model.identity import CLUSTER_FIRST, CLUSTER_LAST
from model.labels import Labels
from model.network import FIRST_NUMBER, LOCAL_FIRST_NUMBER, Network

LAST_ENDPOINT = 65535


class Realm(Protocol):
    """Each put or remove is stored and in force when it returns, or raises CiliateError within 5 s."""

    def networks(self) -> Mapping[str, Network]:
        """By Docker's id; a snapshot."""

    def endpoints(self) -> Mapping[str, Endpoint]:
        """By Docker's id; a snapshot."""

    def put_network(self, network: Network) -> None: ...

    def remove_network(self, docker_id: str) -> None:
        """No error if it is not there."""

    def put_endpoint(self, endpoint: Endpoint) -> None:
        """In the state CREATED it is only recorded; with an ifindex the datapath judges by it."""

    def remove_endpoint(self, docker_id: str) -> None:
        """No error if it is not there."""

    def new_endpoint_id(self) -> int:
        """A number that no endpoint has, 1-65535."""

    def new_network_number(self) -> int:
        """A number that no network of this host has, from LOCAL_FIRST_NUMBER up."""

    def network_number(self, network: str) -> int:
        """The number that the network of this id has on every host, from FIRST_NUMBER up."""

    def identify(self, labels: Labels) -> int:
        """The number of the identity with exactly these labels, allocated if there is none yet."""


class MemoryRealm:
    """Keeps what it is given and forgets it with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._networks: dict[str, Network] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._identities: dict[Labels, int] = {}
        self._last_endpoint = 0
        self._last_network = LOCAL_FIRST_NUMBER - 1
        self._spanning: dict[str, int] = {}

    def networks(self) -> Mapping[str, Network]:
        with self._lock:
            return dict(self._networks)

    def endpoints(self) -> Mapping[str, Endpoint]:
        with self._lock:
            return dict(self._endpoints)

    def put_network(self, network: Network) -> None:
        with self._lock:
            self._networks[network.docker_id] = network

    def remove_network(self, docker_id: str) -> None:
        with self._lock:
            self._networks.pop(docker_id, None)

    def put_endpoint(self, endpoint: Endpoint) -> None:
        with self._lock:
            self._endpoints[endpoint.docker_id] = endpoint

    def remove_endpoint(self, docker_id: str) -> None:
        with self._lock:
            self._endpoints.pop(docker_id, None)

    def new_endpoint_id(self) -> int:
        with self._lock:
            taken = {endpoint.id for endpoint in self._endpoints.values()}
            for _ in range(LAST_ENDPOINT):
                self._last_endpoint = self._last_endpoint % LAST_ENDPOINT + 1
                if self._last_endpoint not in taken:
                    return self._last_endpoint
        raise Exhausted("no endpoint number is free", hint="this host has 65535 endpoints")

    def new_network_number(self) -> int:
        with self._lock:
            self._last_network += 1
            return self._last_network

    def network_number(self, network: str) -> int:
        with self._lock:
            return self._spanning.setdefault(network, FIRST_NUMBER + len(self._spanning))

    def identify(self, labels: Labels) -> int:
        with self._lock:
            number = self._identities.get(labels)
            if number is None:
                number = CLUSTER_FIRST + len(self._identities)
                if number > CLUSTER_LAST:
                    raise Exhausted("no identity number is free", hint="narrow CILIATE_LABELS")
                self._identities[labels] = number
            return number
