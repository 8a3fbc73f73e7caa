"""What the driver sees of the state: the driver's Realm, kept in the node's store and the writer's loop."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from agent.events import EndpointPut, EndpointRemoved, Event, NetworkPut, NetworkRemoved
from agent.journal import Journal
from agent.loop import Loop, Priority
from agent.state import State
from model.endpoint import Endpoint
from model.errors import CiliateError, Exhausted
from model.identity import is_cluster
from model.labels import Labels
from model.network import LOCAL_FIRST_NUMBER, Network
from store.identities import IdentityAllocator
from store.local import LocalStore
from store.networks import NetworkNumbers

LAST_ENDPOINT = 65535

log = structlog.get_logger("driver")


@dataclass(frozen=True, slots=True)
class _Counted:
    """What an endpoint has that must be given back. `identity` 0: none of the store's."""

    number: int
    identity: int


class AgentRealm:
    """A put writes the record first, so that an agent that dies half-way finds it; the kernel follows, and a refusal
    takes the record back. A removal goes the other way. Each can be repeated.

    Every endpoint holds one use of its identity, taken when it is put and given back when it is put with another or
    removed: the uses of an identity are its endpoints, at any moment. The state that the loop begins with has been
    counted already. Numbers are given out in turn, so that none is reused at once. Calls about one endpoint come
    one after the other; the driver sees to that."""

    def __init__(
        self,
        loop: Loop[State, Event],
        records: LocalStore,
        identities: IdentityAllocator,
        numbers: NetworkNumbers,
        journal: Journal,
    ) -> None:
        self._loop = loop
        self._records = records
        self._identities = identities
        self._numbers = numbers
        self._journal = journal
        self._lock = threading.Lock()
        state = loop.state
        self._counted = {
            endpoint.docker_id: _Counted(
                endpoint.id, endpoint.identity if is_cluster(endpoint.identity) else 0
            )
            for endpoint in state.endpoints.values()
        }
        self._taken = {endpoint.id for endpoint in state.endpoints.values()}
        self._last_endpoint = max(self._taken, default=0)
        taken = [
            network.number for network in state.networks.values() if network.number >= LOCAL_FIRST_NUMBER
        ]
        self._last_network = max(taken, default=LOCAL_FIRST_NUMBER - 1)

    def networks(self) -> Mapping[str, Network]:
        return self._loop.state.networks

    def endpoints(self) -> Mapping[str, Endpoint]:
        return self._loop.state.endpoints

    def put_network(self, network: Network) -> None:
        before = self._loop.state.networks.get(network.docker_id)
        self._records.put_network(network)
        try:
            self._loop.call(NetworkPut(network), Priority.CONTAINER)
        except Exception:
            self._take_back_network(network.docker_id, before)
            raise

    def remove_network(self, docker_id: str) -> None:
        self._loop.call(NetworkRemoved(docker_id), Priority.CONTAINER)
        self._records.remove_network(docker_id)

    def put_endpoint(self, endpoint: Endpoint) -> None:
        before = self._loop.state.endpoints.get(endpoint.docker_id)
        identity = 0
        try:
            if is_cluster(endpoint.identity):
                identity = self._identities.allocate(endpoint.labels)
                if identity != endpoint.identity:  # it took so long that the one asked for is gone
                    endpoint = replace(endpoint, identity=identity)
            self._records.put_endpoint(endpoint)
            self._loop.call(EndpointPut(endpoint), Priority.CONTAINER)
        except Exception:
            self._take_back_endpoint(endpoint, before)
            self._release(identity)
            raise
        with self._lock:
            replaced = self._counted.get(endpoint.docker_id)
            self._counted[endpoint.docker_id] = _Counted(endpoint.id, identity)
            if replaced is not None and replaced.number != endpoint.id:
                self._taken.discard(replaced.number)
        if replaced is not None:
            self._release(replaced.identity)
        self._journal.write(endpoint.docker_id, told(before, endpoint))

    def remove_endpoint(self, docker_id: str) -> None:
        self._loop.call(EndpointRemoved(docker_id), Priority.CONTAINER)
        with self._lock:
            counted = self._counted.pop(docker_id, None)
        if counted is not None:
            self._release(counted.identity)
        self._journal.forget(docker_id)
        self._records.remove_endpoint(docker_id)
        if counted is not None:
            with self._lock:
                self._taken.discard(counted.number)

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

    def network_number(self, network: str) -> int:
        return self._numbers.number(network)

    def identify(self, labels: Labels) -> int:
        """Good for a minute at least, in which an endpoint is put with it: an identity that nobody uses goes only
        when two looks have found it so."""
        number = self._identities.allocate(labels)
        self._identities.release(number)
        return number

    def _take_back_network(self, docker_id: str, before: Network | None) -> None:
        try:
            if before is None:
                self._records.remove_network(docker_id)
            else:
                self._records.put_network(before)
        except CiliateError as error:
            log.warning("a record could not be taken back", network=docker_id[:12], reason=str(error))

    def _take_back_endpoint(self, endpoint: Endpoint, before: Endpoint | None) -> None:
        try:
            if before is None:
                self._records.remove_endpoint(endpoint.docker_id)
            else:
                self._records.put_endpoint(before)
        except CiliateError as error:
            log.warning(
                "a record could not be taken back", endpoint=endpoint.docker_id[:12], reason=str(error)
            )
        if before is None:
            with self._lock:
                self._taken.discard(endpoint.id)

    def _release(self, identity: int) -> None:
        if identity:
            self._identities.release(identity)


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
    if after.audit != before.audit:
        parts.append("audit: what policy denies passes" if after.audit else "audit off: policy drops")
    if after.ports != before.ports:
        parts.append(f"publishes {len(after.ports)} ports")
    return "; ".join(parts) or "unchanged"
