"""What this node tells the others, kept in the cluster's store: where it is, and who its containers are.

It follows the state, after the fact and never in front of Docker's call. The store removes it when the node's session
ends, and all of it is put back when another begins."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import structlog
from immutables import Map

from agent.events import Event
from agent.loop import Loop
from agent.naming import spans
from agent.state import State
from agent.trouble import log_trouble
from driver.hostfacts import HostFacts
from model.endpoint import Endpoint
from model.identity import is_cluster
from model.network import ELSEWHERE, LOCAL_FIRST_NUMBER, IPAddress, IPNetwork, Network, begins_in, by_address
from store.keys import IP, NODE, IPRecord, Keys, NodeRecord
from store.kv import MAX_OPERATIONS, Delete, KeyValueStore, Op, Set

log = structlog.get_logger("cluster")

_TICK_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0

Told = dict[str, bytes]
"""Key and value of each address, as in the store."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An endpoint, and what is told of it."""

    endpoint: Endpoint
    names: tuple[str, ...]
    told: Told


class Publisher:
    """`slices`: what this node's containers have addresses of; others would not believe any other address.
    `names`: what one is called. `address`: where the node takes packets for its containers, if the user has said
    so."""

    def __init__(
        self,
        loop: Loop[State, Event],
        store: KeyValueStore,
        keys: Keys,
        node: str,
        slices: Callable[[], Collection[IPNetwork]],
        names: Callable[[Endpoint], tuple[str, ...]],
        address: IPv4Address | None = None,
    ) -> None:
        self._loop = loop
        self._store = store
        self._keys = keys
        self._node = node
        self._slices = slices
        self._names = names
        self._address = address
        self._session = 0
        self._record: NodeRecord | None = None
        """As it is in the store. None: nothing is known to be there."""
        self._revision = 0
        self._published: Told = {}
        self._strays: set[str] = set()
        self._networks: Map[str, Network] = Map()
        self._held: frozenset[IPNetwork] = frozenset()
        self._known: dict[str, _Known] = {}
        self._problem = ""
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def problem(self) -> str:
        """Why others do not know of the newest; empty while they do."""
        return self._problem

    @property
    def record(self) -> NodeRecord | None:
        """What others know of this node; None: nothing."""
        return self._record

    @property
    def told(self) -> Collection[str]:
        """Keys of the addresses that others know."""
        return self._published

    def start(self) -> None:
        self._loop.listen(self._due.set)
        self.wake()
        self._thread.start()

    def wake(self) -> None:
        """Something is to be told that the state does not show."""
        self._due.set()

    def stop(self) -> None:
        """What is told stays for as long as the session does."""
        self._stopping = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping:
            self._due.wait(_TICK_SECONDS)
            self._due.clear()
            try:
                self.publish()
                pause = 0.0
            except Exception as error:
                self._tell(error)
                pause = min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE)
                self._due.wait(pause * random.uniform(0.5, 1.0))
                self._due.set()

    def publish(self) -> None:
        """Makes the store tell what the state says."""
        self._begin_session()
        if not self._session:
            return  # the store says what is in its way
        state = self._loop.state
        facts = self._facts(state)
        if facts is None:
            self._problem = "this node has no IPv4 address that others could reach it by: set CILIATE_NODE_IP"
            return
        wanted = self._wanted(state)
        puts = {key: value for key, value in wanted.items() if self._published.get(key) != value}
        removes = [key for key in (*self._published, *self._strays) if key not in wanted]
        known = self._record
        if known is None or puts or removes or replace(known, revision=0) != facts:
            self._write_all(puts, removes, facts)
        self._problem = ""

    def _write_all(self, puts: Told, removes: list[str], facts: NodeRecord) -> None:
        ops: list[Op] = [Set(key, value, session=True) for key, value in puts.items()]
        ops += [Delete(key) for key in removes]
        room = MAX_OPERATIONS - 1
        for first in range(0, max(len(ops), 1), room):
            # The record is what others watch. When all is put back it comes last: no part is taken for the whole.
            is_told = self._record is not None or first + room >= len(ops)
            self._write(
                ops[first : first + room], replace(facts, revision=self._revision + 1) if is_told else None
            )

    def _begin_session(self) -> None:
        session = self._store.health().session
        if session == self._session:
            return
        entry = self._store.get(self._keys.node(self._node))
        if entry is not None:
            self._revision = max(self._revision, NODE.decode(entry).revision)
        strays = {entry.key for entry in self._store.list(self._keys.ips(self._node))}
        self._session, self._record, self._published, self._strays = session, None, {}, strays

    def _write(self, ops: list[Op], record: NodeRecord | None) -> None:
        own = self._keys.node(self._node)
        told = [] if record is None else [Set(own, NODE.encode(record), session=True)]
        self._store.transact([*ops, *told], durable=False)
        for op in ops:
            if isinstance(op, Set):
                self._published[op.key] = op.value
            elif isinstance(op, Delete):
                self._published.pop(op.key, None)
                self._strays.discard(op.key)
        if record is not None:
            self._record, self._revision = record, record.revision

    def _facts(self, state: State) -> NodeRecord | None:
        found = outer_addresses(state.host, self._address)
        return (
            None
            if found is None
            else NodeRecord(found[1], found[0], tuple(sorted(self._slices(), key=by_address)))
        )

    def _wanted(self, state: State) -> Told:
        held = frozenset(self._slices())
        if state.networks is not self._networks or held != self._held:
            self._networks, self._held, self._known = state.networks, held, {}
        known: dict[str, _Known] = {}
        wanted: Told = {}
        for docker_id, endpoint in state.endpoints.items():
            found, names = self._known.get(docker_id), self._names_of(endpoint)
            if found is None or found.endpoint is not endpoint or found.names != names:
                found = _Known(endpoint, names, self._told(endpoint, names))
            known[docker_id] = found
            wanted.update(found.told)
        self._known = known
        return wanted

    def _names_of(self, endpoint: Endpoint) -> tuple[str, ...]:
        return self._names(endpoint) if spans(self._networks[endpoint.network_id].number) else ()

    def _told(self, endpoint: Endpoint, names: tuple[str, ...]) -> Told:
        if not endpoint.ifindex or not is_cluster(endpoint.identity):
            return {}
        network = number_for_others(self._networks[endpoint.network_id])
        value = IP.encode(IPRecord(endpoint.identity, network, names))
        return {
            self._keys.ip(self._node, prefix): value
            for prefix in endpoint.prefixes
            if begins_in(prefix, self._held)
        }

    def _tell(self, error: Exception) -> None:
        text = f"other nodes are not told of the newest containers here: {error}"
        if text != self._problem:
            self._problem = text
            log_trouble(log, "not published", error, self._store)


def outer_addresses(
    host: HostFacts, given: IPv4Address | None
) -> tuple[IPv4Address, tuple[IPAddress, ...]] | None:
    """Where this node takes packets for its containers, and all that others may see it as. None: it has no IPv4
    address that they could reach."""
    tunnel = given or next((found for found in host.outer if isinstance(found, IPv4Address)), None)
    return None if tunnel is None else (tunnel, tuple(dict.fromkeys((tunnel, *host.outer))))


def number_for_others(network: Network) -> int:
    return network.number if network.number < LOCAL_FIRST_NUMBER else ELSEWHERE
