"""What the driver sees of the state: the driver's Realm, kept in the node's store and the writer's loop."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from agent.events import EndpointPut, EndpointRemoved, Event, NetworkPut, NetworkRemoved
from agent.journal import Journal
from agent.loop import Loop, Priority
from agent.state import State
from model.endpoint import Endpoint
from model.errors import Exhausted
from model.identity import is_cluster
from model.labels import Labels
from model.network import FIRST_NUMBER, Network
from store.identities import IdentityAllocator
from store.local import LocalStore

LAST_ENDPOINT = 65535


class AgentRealm:
    """Records come first, so that an agent that dies half-way finds them; the kernel follows. A refusal takes
    the record back. Numbers are given out in turn, so that none is reused at once."""

    def __init__(
        self, loop: Loop[State, Event], records: LocalStore, identities: IdentityAllocator, journal: Journal
    ) -> None:
        self._loop = loop
        self._records = records
        self._identities = identities
        self._journal = journal
        self._lock = threading.Lock()
        state = loop.state
        self._taken = {endpoint.id for endpoint in state.endpoints.values()}
        self._promised: Counter[int] = Counter()
        self._last_endpoint = max(self._taken, default=0)
        numbers = [network.number for network in state.networks.values()]
        self._last_network = max(numbers, default=FIRST_NUMBER - 1)

    def networks(self) -> Mapping[str, Network]:
        return self._loop.state.networks

    def endpoints(self) -> Mapping[str, Endpoint]:
        return self._loop.state.endpoints

    def put_network(self, network: Network) -> None:
        self._records.put_network(network)
        try:
            self._loop.call(NetworkPut(network), Priority.CONTAINER)
        except Exception:
            self._records.remove_network(network.docker_id)
            raise

    def remove_network(self, docker_id: str) -> None:
        self._loop.call(NetworkRemoved(docker_id), Priority.CONTAINER)
        self._records.remove_network(docker_id)

    def put_endpoint(self, endpoint: Endpoint) -> None:
        before = self._loop.state.endpoints.get(endpoint.docker_id)
        promised = self._redeem(endpoint.identity)
        self._records.put_endpoint(endpoint)
        try:
            self._loop.call(EndpointPut(endpoint), Priority.CONTAINER)
        except Exception:
            if before is None:
                self._forget(endpoint)
            else:
                self._records.put_endpoint(before)
            if promised:
                self._release(endpoint.identity)
            raise
        self._journal.write(endpoint.docker_id, told(before, endpoint))
        if before is not None and (promised or before.identity != endpoint.identity):
            self._release(before.identity)

    def remove_endpoint(self, docker_id: str) -> None:
        endpoint = self._loop.state.endpoints.get(docker_id)
        self._loop.call(EndpointRemoved(docker_id), Priority.CONTAINER)
        if endpoint is not None:
            self._forget(endpoint)
            self._release(endpoint.identity)

    def _forget(self, endpoint: Endpoint) -> None:
        self._records.remove_endpoint(endpoint.docker_id)
        with self._lock:
            self._taken.discard(endpoint.id)

    def _redeem(self, identity: int) -> bool:
        """Was this identity asked for, and not yet given to an endpoint?"""
        with self._lock:
            if self._promised[identity] == 0:
                return False
            self._promised[identity] -= 1
            return True

    def _release(self, identity: int) -> None:
        if is_cluster(identity):
            self._identities.release(identity)

    def new_endpoint_id(self) -> int:
        with self._lock:
            if len(self._taken) >= LAST_ENDPOINT:
                raise Exhausted("no endpoint number is free", hint=f"this host has {LAST_ENDPOINT} endpoints")
            while True:
                self._last_endpoint = self._last_endpoint % LAST_ENDPOINT + 1
                if self._last_endpoint not in self._taken:
                    self._taken.add(self._last_endpoint)
                    return self._last_endpoint

    def new_network_number(self) -> int:
        with self._lock:
            self._last_network += 1
            return self._last_network

    def identify(self, labels: Labels) -> int:
        """Each call is matched by one `put_endpoint` with the number."""
        number = self._identities.allocate(labels)
        with self._lock:
            self._promised[number] += 1
        return number


def told(before: Endpoint | None, after: Endpoint) -> str:
    """What changed, for people."""
    if before is None:
        return f"created with {' and '.join(map(str, after.addresses))}"
    parts = []
    if after.ifindex != before.ifindex:
        parts.append(f"linked as {after.ifname}" if after.ifindex else "link removed")
    if after.container_name != before.container_name and after.container_name:
        parts.append(f"is container {after.container_name}")
    if after.state != before.state:
        parts.append(str(after.state))
    if after.identity != before.identity:
        parts.append(f"identity {before.identity} -> {after.identity} ({', '.join(after.labels.texts())})")
    if after.ports != before.ports:
        parts.append(f"publishes {len(after.ports)} ports")
    return "; ".join(parts) or "unchanged"
