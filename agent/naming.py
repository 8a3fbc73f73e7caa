"""PURE. What containers on other nodes are called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from agent.events import PeersChanged
from agent.operations import DeleteNames, Operation, PutNames
from agent.state import RemoteNode, State
from datapath.abi import NAME_ADDRESSES
from datapath.names import fits
from datapath.tables import NameKey
from model.network import FIRST_NUMBER, LOCAL_FIRST_NUMBER, IPAddress
from store.keys import IPRecord

MOST_NAMES = 16
"""Of one container: what is told of a node is not to be filled by the aliases of one."""

Step = tuple[State, list[Operation]]


def spans(network: int) -> bool:
    """Whether the network with this number is one that nodes share by its name; flat ones are no such network."""
    return FIRST_NUMBER <= network < LOCAL_FIRST_NUMBER


def name_peers(before: State, state: State, event: PeersChanged) -> Step:
    """The names follow the nodes' addresses."""
    touched: dict[NameKey, list[IPAddress]] = {}
    for node, change in event.changes.items():
        old = before.nodes.get(node, RemoteNode()).ips
        new = state.nodes.get(node, RemoteNode()).ips
        for prefix in {*change.puts, *change.removes}:
            was, now = old.get(prefix), new.get(prefix)
            if was == now:
                continue
            for key in _keys(was):
                touched.setdefault(key, list(state.names.get(key, ()))).remove(prefix.network_address)
            for key in _keys(now):
                touched.setdefault(key, list(state.names.get(key, ()))).append(prefix.network_address)
    names = state.names.mutate()
    puts: dict[NameKey, tuple[IPAddress, ...]] = {}
    gone = []
    for key, found in touched.items():
        addresses = tuple(sorted(found, key=_order))
        if addresses == state.names.get(key, ()):
            continue
        if addresses:
            names[key], puts[key] = addresses, shown(addresses)
        else:
            del names[key]
            gone.append(key)
    operations: list[Operation] = []
    if gone:
        operations.append(DeleteNames(tuple(gone)))
    if puts:
        operations.append(PutNames(puts))
    return replace(state, names=names.finish()), operations


def shown(addresses: tuple[IPAddress, ...]) -> tuple[IPAddress, ...]:
    """What the datapath has room for."""
    distinct = list(dict.fromkeys(addresses))
    return (
        *[address for address in distinct if isinstance(address, IPv4Address)][:NAME_ADDRESSES],
        *[address for address in distinct if isinstance(address, IPv6Address)][:NAME_ADDRESSES],
    )


def _keys(record: IPRecord | None) -> Iterator[NameKey]:
    if record is None or not spans(record.network):
        return
    for name in dict.fromkeys(record.names[:MOST_NAMES]):
        if fits(name):
            yield NameKey(record.network, name)


def _order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)
