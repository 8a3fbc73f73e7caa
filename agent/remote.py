"""PURE. What other nodes of the cluster say, in force here.

Policies know an identity before any address has it, and forget it after the last has lost it. What is said is believed
as far as it cannot be another's: an identity's labels are those that this node's own endpoints have for it, and an
address is only taken back from the node that gave it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from immutables import Map

from agent.acquaintance import dismiss, introduce
from agent.addressing import address_operations, followed
from agent.events import PeerChange, PeersChanged, PeersSynced
from agent.naming import name_peers
from agent.operations import Operation
from agent.state import RemoteNode, State
from datapath.tables import IpcacheEntry
from identity.ipcache import Changes, Owner
from model.labels import Labels
from model.network import IPNetwork
from store.keys import IPRecord

Step = tuple[State, list[Operation]]


def sync_peers(state: State, event: PeersSynced) -> Step:
    """What is not in it is gone."""
    state, operations = _renamed(state, event.labels)
    changes: dict[str, PeerChange] = {}
    for name in state.nodes.keys() | event.nodes.keys():
        old, new = state.nodes.get(name, RemoteNode()), event.nodes.get(name, RemoteNode())
        change = PeerChange(
            new.addresses,
            new.tunnel,
            new.slices,
            {prefix: record for prefix, record in new.ips.items() if old.ips.get(prefix) != record},
            [prefix for prefix in old.ips if prefix not in new.ips],
        )
        if change != _unchanged(old):
            changes[name] = change
    state, more = change_peers(state, PeersChanged(changes, event.labels))
    return state, [*operations, *more]


def change_peers(state: State, event: PeersChanged) -> Step:
    labels = event.labels
    state, operations = _renamed(state, labels)
    before = state
    state, given, touched = _recount(state, event)
    identities = state.selections.identities
    came = {
        number: labels[number] for number in touched if number in state.remote and number not in identities
    }
    operations += introduce(state, came)
    state = replace(state, selections=state.selections.with_identities(came)) if came else state
    state, placed = _place(before, state, given)
    if _is_moved(before, state):
        state, moved = followed(before, state)
        placed = placed.then(moved)
    operations += address_operations(placed)
    gone = {
        number: identities[number]
        for number in touched
        if number in before.remote and number not in state.remote and number not in state.subjects
    }
    if gone:
        operations += dismiss(state, gone)
        state = replace(state, selections=state.selections.without_identities(gone))
    state, more = name_peers(before, state, event)
    return state, [*operations, *more]


def _renamed(state: State, labels: Mapping[int, Labels]) -> Step:
    """Numbers that were given to other labels meanwhile are nobody's, until the new ones are known."""
    wrong = [
        number
        for number, found in labels.items()
        if number in state.remote and state.selections.identities.get(number) != found
    ]
    return disown(state, wrong) if wrong else (state, [])


def disown(state: State, identities: Iterable[int]) -> Step:
    """These numbers have other labels than the nodes say who gave them to addresses: nobody has those addresses."""
    wrong = set(identities)
    changes = {
        name: replace(
            _unchanged(node),
            removes=[prefix for prefix, record in node.ips.items() if record.identity in wrong],
        )
        for name, node in state.nodes.items()
    }
    return change_peers(state, PeersChanged(changes, {}))


def remote_entry(record: IPRecord, node: RemoteNode) -> IpcacheEntry:
    return IpcacheEntry(record.identity, record.network, tunnel=node.tunnel)


def _unchanged(node: RemoteNode) -> PeerChange:
    return PeerChange(node.addresses, node.tunnel, node.slices, {}, [])


Given = dict[str, tuple[Mapping[IPNetwork, IPRecord], list[IPNetwork]]]
"""By node: the addresses that it has given, and those that it has taken back."""


def _recount(state: State, event: PeersChanged) -> tuple[State, Given, Collection[int]]:
    """The nodes as they are now, and how many addresses each identity has. Also the identities that this is about."""
    nodes = state.nodes.mutate()
    counts: Counter[int] = Counter()
    given: Given = {}
    for name, change in event.changes.items():
        old = nodes.get(name, RemoteNode())
        puts = {
            prefix: record
            for prefix, record in change.puts.items()
            if _is_believed(state, record.identity, event.labels)
        }
        removes = [prefix for prefix in change.removes if prefix in old.ips]
        removes += [prefix for prefix in change.puts if prefix not in puts and prefix in old.ips]
        ips = old.ips.mutate()
        for prefix in removes:
            counts[ips.pop(prefix).identity] -= 1
        for prefix, record in puts.items():
            if prefix in ips:
                counts[ips[prefix].identity] -= 1
            counts[record.identity] += 1
            ips[prefix] = record
        new = RemoteNode(change.addresses, change.tunnel, change.slices, ips.finish())
        if new == RemoteNode():
            nodes.pop(name, None)
        else:
            nodes[name] = new
        if change.tunnel != old.tunnel:
            puts = dict(new.ips)
        if change.tunnel is None:
            puts, removes = {}, [*removes, *new.ips]
        given[name] = puts, removes
    return replace(state, nodes=nodes.finish(), remote=_counted(state.remote, counts)), given, counts


def _is_believed(state: State, number: int, labels: Mapping[int, Labels]) -> bool:
    known = state.selections.identities.get(number)
    said = labels.get(number, known)
    return said is not None and (known is None or known == said or number not in state.subjects)


def _counted(remote: Map[int, int], counts: Mapping[int, int]) -> Map[int, int]:
    """With so many addresses more, or fewer."""
    changed = remote.mutate()
    for number, change in counts.items():
        if left := remote.get(number, 0) + change:
            changed[number] = left
        else:
            changed.pop(number, None)
    return changed.finish()


def _place(before: State, state: State, given: Given) -> tuple[State, Changes[IpcacheEntry]]:
    """The addresses in the ipcache."""
    puts: dict[IPNetwork, IpcacheEntry] = {}
    shared: dict[tuple[int, int, str], IpcacheEntry] = {}
    for name, (records, _) in given.items():
        for prefix, record in records.items():
            key = record.identity, record.network, name
            if key not in shared:
                shared[key] = remote_entry(record, state.nodes[name])
            puts[prefix] = shared[key]
    removes = []
    for name, (_, prefixes) in given.items():
        tunnel = before.nodes.get(name, RemoteNode()).tunnel
        for prefix in prefixes:
            owners = state.ipcache.claims.get(prefix)
            said = None if owners is None else owners.get(Owner.REMOTE)
            if said is not None and said.tunnel == tunnel and prefix not in puts:
                removes.append(prefix)
    ipcache, changes = state.ipcache.put_many(Owner.REMOTE, puts)
    ipcache, more = ipcache.remove_many(Owner.REMOTE, removes)
    return replace(state, ipcache=ipcache), changes.then(more)


def _is_moved(before: State, after: State) -> bool:
    """Whether what nodes are seen as, or their slices, are other than before."""
    if before.nodes.keys() != after.nodes.keys():
        return True
    return any(
        (old.addresses, old.tunnel, old.slices) != (new.addresses, new.tunnel, new.slices)
        for name, new in after.nodes.items()
        if (old := before.nodes[name]) is not new
    )
