"""What the other nodes of the cluster tell, brought into this one's state.

One question waits at the store: which nodes' records have changed. Of those the addresses are read, and what differs
from the state becomes one event. A node that vanished may only be cut off from the store: its containers stay known for
a while. Where the store does not answer, all stays as it is."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton

import structlog
from immutables import Map

from agent.events import Event, PeerChange, PeersChanged, PeersSynced
from agent.loop import Loop
from agent.state import RemoteNode, State
from agent.trouble import log_trouble
from model.errors import CiliateError, Unavailable, Unsupported
from model.identity import is_cluster
from model.labels import Labels
from model.network import IPNetwork, begins_in
from store.keys import HOLDER, IDENTITY, IP, NODE, IPRecord, Keys, NodeRecord
from store.kv import Changed, Entry, KeyValueStore, Removed, Resynced
from store.peers import PeerRecord, PeerStore

log = structlog.get_logger("cluster")

GRACE_SECONDS = 600.0
"""How long the containers of a node that vanished stay known."""

_TICK_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
_SLICES_SECONDS = 60.0
"""How often it is asked whether slices of nodes that are gone are still held."""

_KEEP_SECONDS = 10.0
"""Between two writes of what is remembered for the next start."""

_REALIZE_SECONDS = 60.0
_SINGLY = 16
"""Identities that are asked for one by one; more are had all at once."""


class Peers:
    """`clock` gives seconds that only grow."""

    def __init__(
        self,
        loop: Loop[State, Event],
        store: KeyValueStore,
        keys: Keys,
        node: str,
        last: PeerStore,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._store = store
        self._keys = keys
        self._node = node
        self._last = last
        self._clock = clock
        self._watch = store.watch(keys.nodes())
        self._records: dict[str, NodeRecord] = {}
        """Of the nodes that are there."""
        self._gone: dict[str, float] = {}
        """Since when the others are not."""
        self._stale: set[str] = set()
        """Whose addresses may be other than the state says."""
        self._is_whole_due = False
        self._fresh_labels: dict[int, Labels] = {}
        """Of all identities, as just read; empty when that is past."""
        self._slices: dict[IPNetwork, str] = {}
        self._slices_due = 0.0
        self._kept = dict(loop.state.nodes)
        self._kept_labels = self._labels_used()
        self._keep_due = 0.0
        self._is_synced = False
        self._problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)

    @property
    def problem(self) -> str:
        """Why the state may not say what others tell; empty while it does."""
        return self._problem

    @property
    def is_synced(self) -> bool:
        """Whether all that the store says has been in force since the start."""
        return self._is_synced

    def left(self) -> dict[str, float]:
        """For how many seconds other nodes have been gone, by name."""
        now = self._clock()
        return {name: now - since for name, since in self._gone.items()}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._watch.close()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            try:
                self.follow(pause or _TICK_SECONDS)
                if not self._store.health().problem:
                    self._problem, pause = "", 0.0
            except Exception as error:
                if self._stopping.is_set():
                    break
                self._tell(error)
                pause = min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE)
                self._stopping.wait(pause * random.uniform(0.5, 1.0))
        self._keep(self._clock())

    def follow(self, timeout: float) -> None:
        """Waits for news for so many seconds, and brings into force what there is. What fails is still to be done."""
        match self._watch.next(timeout):
            case Resynced(entries):
                self._records = {}
                self._note(entries)
                self._is_whole_due = True
            case Changed(entries):
                self._note(entries)
            case Removed(keys):
                for key in keys:
                    self._vanish(key.removeprefix(self._keys.nodes()))
        if self._is_whole_due:
            self._begin_anew()
            self._is_synced = True
        self._refresh_stale()
        now = self._clock()
        self._expire(now)
        if now >= self._keep_due:
            self._keep(now)
            self._keep_due = now + _KEEP_SECONDS

    def _note(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            name = entry.key.removeprefix(self._keys.nodes())
            if name == self._node:
                continue
            try:
                self._records[name] = NODE.decode(entry)
            except (Unavailable, Unsupported) as error:
                log.warning("a node is not understood", node=name, error=str(error))
                continue
            self._gone.pop(name, None)
            self._stale.add(name)

    def _vanish(self, name: str) -> None:
        self._records.pop(name, None)
        self._stale.discard(name)
        if name in self._loop.state.nodes:
            self._gone.setdefault(name, self._clock())

    def _begin_anew(self) -> None:
        """After the watch was lost nothing is sure: not who is there, nor what numbers mean, nor who holds what."""
        self._fresh_labels = self._all_labels() if self._records else {}
        state = self._loop.state
        known = state.known_identities()
        renamed = {
            number: found
            for number, found in self._fresh_labels.items()
            if number in state.remote and known[number] != found
        }
        if renamed:
            self._submit(PeersChanged({}, renamed))
        self._read_slices()
        for name in self._loop.state.nodes.keys() - self._records.keys():
            self._vanish(name)
        self._stale = set(self._records)
        self._is_whole_due = False

    def _refresh_stale(self) -> None:
        """One of whom something does not fit keeps no other from being heard."""
        failure: Exception | None = None
        for name in sorted(self._stale):
            try:
                if self._refresh(name):
                    self._stale.discard(name)
            except Exception as error:
                failure = failure or error
        self._fresh_labels = {}
        if failure is not None:
            raise failure

    def _refresh(self, name: str) -> bool:
        """False: the labels of an identity are still to come."""
        record = self._records[name]
        if set(record.slices) != self._held(name):
            self._read_slices()
        entries = self._store.list(self._keys.ips(name))
        said = self._understood(name, entries)
        labels = self._labels({record.identity for record in said.values()})
        known = self._loop.state.known_identities()
        whose = {
            prefix: found
            for prefix, found in said.items()
            if found.identity in known or found.identity in labels
        }
        self._change(name, record, whose, labels)
        return len(whose) == len(said)

    def _change(
        self,
        name: str,
        record: NodeRecord | None,
        said: Mapping[IPNetwork, IPRecord],
        labels: dict[int, Labels],
    ) -> None:
        """`record` None: the node is gone."""
        old = self._loop.state.nodes.get(name, RemoteNode())
        change = PeerChange(
            () if record is None else record.addresses,
            None if record is None else record.tunnel,
            frozenset(self._held(name)),
            {prefix: found for prefix, found in said.items() if old.ips.get(prefix) != found},
            [prefix for prefix in old.ips if prefix not in said],
        )
        if change != PeerChange(old.addresses, old.tunnel, old.slices, {}, []):
            self._submit(PeersChanged({name: change}, labels))

    def _submit(self, event: PeersChanged) -> None:
        self._loop.call(event, timeout=_REALIZE_SECONDS)

    def _understood(self, name: str, entries: Iterable[Entry]) -> dict[IPNetwork, IPRecord]:
        """What a node may say: that containers have addresses of its own slices, with identities that containers have.
        Of the same records there is one object."""
        start = len(self._keys.ips(name))
        decoded: dict[bytes, IPRecord | None] = {}
        slices = self._held(name)
        found: dict[IPNetwork, IPRecord] = {}
        for entry in entries:
            if entry.value not in decoded:
                decoded[entry.value] = _container(name, entry)
            record = decoded[entry.value]
            prefix = _whole_address(entry.key[start:])
            if record is None or prefix is None:
                continue
            if begins_in(prefix, slices):
                found[prefix] = record
            else:
                log.warning("an address is not of its node's slices", node=name, address=str(prefix))
        return found

    def _expire(self, now: float) -> None:
        for name, since in list(self._gone.items()):
            node = self._loop.state.nodes.get(name)
            if node is None:
                del self._gone[name]
            elif node.tunnel is not None and now - since >= GRACE_SECONDS:
                log.warning("a node is gone", node=name)
                self._change(name, None, {}, {})
        if self._gone and now >= self._slices_due:
            self._read_slices()

    def _held(self, name: str) -> set[IPNetwork]:
        return {slice for slice, holder in self._slices.items() if holder == name}

    def _read_slices(self) -> None:
        """What has changed hands is taken from whom it was before anybody else has it."""
        prefix = self._keys.slices()
        self._slices = {
            ip_network(entry.key.removeprefix(prefix)): HOLDER.decode(entry)
            for entry in self._store.list(prefix)
        }
        self._slices_due = self._clock() + _SLICES_SECONDS
        nodes = self._loop.state.nodes
        holders = set(self._slices.values()) - {self._node} - self._records.keys()
        for name in holders.union(nodes):
            node = nodes.get(name, RemoteNode())
            held = self._held(name)
            if node.slices != held:
                record = self._records.get(name)
                kept = NodeRecord(node.addresses, node.tunnel) if node.tunnel is not None else None
                self._change(name, record or kept, _within(node.ips, held), {})

    def _labels(self, numbers: Collection[int]) -> dict[int, Labels]:
        """Of those that are not known yet."""
        known = self._loop.state.known_identities()
        found = {number: self._fresh_labels.get(number) for number in numbers if number not in known}
        missing = [number for number, labels in found.items() if labels is None]
        if len(missing) > _SINGLY:
            self._fresh_labels = self._all_labels()
            found.update({number: self._fresh_labels.get(number) for number in missing})
        else:
            for number in missing:
                entry = self._store.get(self._keys.identity(number))
                found[number] = None if entry is None else IDENTITY.decode(entry).labels
        return {number: labels for number, labels in found.items() if labels is not None}

    def _all_labels(self) -> dict[int, Labels]:
        prefix = self._keys.identities()
        return {
            int(entry.key.removeprefix(prefix)): IDENTITY.decode(entry).labels
            for entry in self._store.list(prefix)
        }

    def _keep(self, now: float) -> None:
        """For the next start."""
        state = self._loop.state
        nodes: dict[str, PeerRecord | None] = {
            name: _kept(node) for name, node in state.nodes.items() if self._kept.get(name) is not node
        }
        nodes |= dict.fromkeys(self._kept.keys() - state.nodes.keys())
        if not nodes:
            return
        used = self._labels_used()
        labels: dict[int, Labels | None] = {
            number: found for number, found in used.items() if self._kept_labels.get(number) != found
        }
        labels |= dict.fromkeys(self._kept_labels.keys() - used.keys())
        try:
            self._last.keep(nodes, labels)
        except CiliateError as error:
            log.warning("other nodes are not remembered", error=str(error))
            return
        self._kept, self._kept_labels = dict(state.nodes), used

    def _labels_used(self) -> dict[int, Labels]:
        state = self._loop.state
        known = state.known_identities()
        return {number: known[number] for number in state.remote}

    def _tell(self, error: Exception) -> None:
        text = f"what other nodes have told is not in force: {error}"
        if text != self._problem:
            self._problem = text
            log_trouble(log, "other nodes are not heard", error, self._store)


def remembered_peers(last: PeerStore, node: str) -> PeersSynced | None:
    """Whom this node knew when it was there last; None if nobody, or if that cannot be read."""
    try:
        labels, nodes = last.labels(), last.nodes()
    except CiliateError as error:
        log.warning("other nodes are not remembered", error=str(error))
        return None
    found = {
        name: RemoteNode(
            peer.addresses,
            peer.tunnel,
            frozenset(peer.slices),
            Map({prefix: record for prefix, record in peer.ips.items() if record.identity in labels}),
        )
        for name, peer in nodes.items()
        if name != node
    }
    return PeersSynced(found, labels) if found else None


def _kept(node: RemoteNode) -> PeerRecord:
    return PeerRecord(node.addresses, node.tunnel, tuple(node.slices), node.ips)


def _whole_address(text: str) -> IPNetwork | None:
    """None if it is none. There are many, and the standard library's own reading takes four times as long."""
    address, _, length = text.partition("/")
    try:
        if length == "32":
            return IPv4Network((inet_pton(AF_INET, address), 32))
        if length == "128":
            return IPv6Network((inet_pton(AF_INET6, address), 128))
    except (OSError, ValueError):
        pass
    return None


def _container(name: str, entry: Entry) -> IPRecord | None:
    try:
        record = IP.decode(entry)
    except (Unavailable, Unsupported) as error:
        log.warning("an address is not understood", node=name, error=str(error))
        return None
    if is_cluster(record.identity) and 0 < record.network < 1 << 32:
        return record
    log.warning("no container can be that", node=name, key=entry.key)
    return None


def _within(ips: Mapping[IPNetwork, IPRecord], slices: Collection[IPNetwork]) -> dict[IPNetwork, IPRecord]:
    return {prefix: record for prefix, record in ips.items() if begins_in(prefix, slices)}
