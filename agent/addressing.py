"""PURE. The ipcache follows what the state says of pools, hosts and nodes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from agent.entries import host_addresses
from agent.operations import BumpEpoch, DeleteAddresses, Operation, PutAddresses
from agent.state import State
from datapath.tables import IpcacheEntry
from identity.ipcache import Changes, Owner
from model.identity import Reserved
from model.network import IPNetwork


def readdress(before: State, after: State) -> tuple[State, list[Operation]]:
    after, changes = followed(before, after)
    return after, address_operations(changes)


def followed(before: State, after: State) -> tuple[State, Changes[IpcacheEntry]]:
    """The ipcache follows the pools and gateways of networks, what the host has, and what other nodes are seen as."""
    ipcache = after.ipcache
    changes: Changes[IpcacheEntry] = Changes()
    for owner, old, new in (
        (Owner.POOL, _pools(before), _pools(after)),
        (Owner.HOST, host_addresses(before), host_addresses(after)),
        (Owner.UNMANAGED, _unmanaged(before), _unmanaged(after)),
        (Owner.NODE, node_addresses(before), node_addresses(after)),
    ):
        put = {prefix: entry for prefix, entry in new.items() if old.get(prefix) != entry}
        ipcache, more = ipcache.put_many(owner, put)
        changes = changes.then(more)
        ipcache, more = ipcache.remove_many(owner, old.keys() - new.keys())
        changes = changes.then(more)
    return replace(after, ipcache=ipcache), changes


def _pools(state: State) -> dict[IPNetwork, IpcacheEntry]:
    nobody = IpcacheEntry(int(Reserved.UNKNOWN))
    pools = dict.fromkeys(state.pools, nobody)
    for node in state.nodes.values():
        pools |= dict.fromkeys(node.slices, nobody)
    for network in state.networks.values():
        for subnet in network.subnets:
            pools[subnet.pool] = IpcacheEntry(int(Reserved.UNKNOWN), network=network.number)
    return pools


def _unmanaged(state: State) -> dict[IPNetwork, IpcacheEntry]:
    return dict.fromkeys(state.host.unmanaged, IpcacheEntry(int(Reserved.UNMANAGED)))


def node_addresses(state: State) -> dict[IPNetwork, IpcacheEntry]:
    """An address that two nodes claim is that of the one whose name comes first."""
    return {
        ip_network(address): IpcacheEntry(int(Reserved.REMOTE_NODE), tunnel=node.tunnel)
        for _, node in sorted(state.nodes.items(), reverse=True)
        if node.tunnel is not None
        for address in node.addresses
    }


def address_operations(changes: Changes[IpcacheEntry]) -> list[Operation]:
    operations: list[Operation] = []
    if changes.puts:
        operations.append(PutAddresses(changes.puts))
    if changes.deletes:
        operations.append(DeleteAddresses(changes.deletes))
    if changes.narrowing:
        operations.append(BumpEpoch())
    return operations
