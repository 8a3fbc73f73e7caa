"""PURE. All that the kernel should hold for a state, and what to do where it holds something else.

`step` gets there in small moves, this in one: at start, after a failure, and in a test that asserts that both ways
agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.entries import endpoint_entry
from agent.naming import shown
from agent.operations import (
    BumpEpoch,
    DeleteAddresses,
    DeleteDevices,
    DeleteEndpoint,
    DeleteNames,
    Operation,
    PutAddresses,
    PutDevices,
    PutEndpoint,
    PutNames,
    ReplacePolicies,
)
from agent.state import State
from datapath.tables import Datapath, DeviceClass, EndpointEntry, IpcacheEntry, NameKey
from model.identity import Reserved
from model.network import IPAddress, IPNetwork
from policy.mapstate import MapState, map_states

_NOBODY = IpcacheEntry(int(Reserved.UNKNOWN))


@dataclass(frozen=True, slots=True)
class Desired:
    endpoints: Mapping[int, EndpointEntry] = field(default_factory=dict)
    addresses: Mapping[IPNetwork, IpcacheEntry] = field(default_factory=dict)
    devices: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[NameKey, tuple[IPAddress, ...]] = field(default_factory=dict)
    policies: Mapping[int, MapState] = field(default_factory=dict)
    """By slot. A slot of nobody holds an empty map or none: it decides nothing. Slots with one object share a map."""
    retired: frozenset[int] = frozenset()
    """Slots in which anything may be: nobody points there, and they are emptied before anybody does."""


def desired(state: State) -> Desired:
    return Desired(
        endpoints={
            endpoint.ifindex: endpoint_entry(
                endpoint,
                state.networks[endpoint.network_id],
                state.subjects[endpoint.identity].slot,
                audit=state.audit,
            )
            for endpoint in state.endpoints.values()
            if endpoint.ifindex
        },
        addresses=state.ipcache.effective(),
        devices=dict.fromkeys(state.host.uplinks, int(DeviceClass.UPLINK)),
        names={key: shown(addresses) for key, addresses in state.names.items()},
        policies=map_states(
            {subject.slot: subject.policy for subject in state.subjects.values()}, state.select
        ),
        retired=frozenset(state.slots.retired),
    )


def realized(datapath: Datapath, slots: int) -> Desired:
    """What the kernel holds now, in the first `slots` slots."""
    return Desired(
        endpoints=dict(datapath.endpoints.items()),
        addresses=dict(datapath.ipcache.items()),
        devices=dict(datapath.devices.items()),
        names=dict(datapath.names.items()),
        policies=datapath.policies(range(1, slots)),
    )


def diff(want: Desired, have: Desired) -> list[Operation]:
    """Every packet is judged as it was or as it will be, or is denied. Numbers may mean others than those in the
    kernel, so whose entry changes is nobody until the policies are there (docs/decisions/0022); policies are emptied
    last, when nobody points to them any more. Any difference at all makes every flow be judged anew."""
    operations: list[Operation] = []
    puts = {prefix: entry for prefix, entry in want.addresses.items() if have.addresses.get(prefix) != entry}
    gone = tuple(have.addresses.keys() - want.addresses.keys())
    shut = {
        prefix: _NOBODY
        for prefix in (*puts, *gone)
        if prefix not in have.addresses or have.addresses[prefix].identity != _NOBODY.identity
    }
    if shut:
        operations.append(PutAddresses(shut))
    operations.extend(
        DeleteEndpoint(ifindex)
        for ifindex, entry in have.endpoints.items()
        if want.endpoints.get(ifindex) != entry
    )
    agree: dict[tuple[int, int], bool] = {}
    """By the two objects: many slots share them."""
    policies: dict[int, MapState] = {}
    for slot, entries in want.policies.items():
        held = have.policies.get(slot)
        pair = id(entries), id(held)
        if pair not in agree:
            agree[pair] = held == entries
        if not agree[pair]:
            policies[slot] = entries
    if policies:
        operations.append(ReplacePolicies(policies))
    operations.extend(
        PutEndpoint(ifindex, entry)
        for ifindex, entry in want.endpoints.items()
        if have.endpoints.get(ifindex) != entry
    )
    if puts:
        operations.append(PutAddresses(puts))
    devices = {index: kind for index, kind in want.devices.items() if have.devices.get(index) != kind}
    if devices:
        operations.append(PutDevices(devices))
    if gone:
        operations.append(DeleteAddresses(gone))
    if lost := tuple(have.devices.keys() - want.devices.keys()):
        operations.append(DeleteDevices(lost))
    names = {key: found for key, found in want.names.items() if have.names.get(key) != found}
    if nameless := tuple(have.names.keys() - want.names.keys()):
        operations.append(DeleteNames(nameless))
    if names:
        operations.append(PutNames(names))
    empty: dict[int, MapState] = {
        slot: {}
        for slot, entries in have.policies.items()
        if entries and slot not in want.policies and slot not in want.retired
    }
    if empty:
        operations.append(ReplacePolicies(empty))
    if operations:
        operations.append(BumpEpoch())
    return operations
