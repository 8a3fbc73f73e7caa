"""What a step asks of the kernel, as data. Order matters: policy before the address that makes packets carry
an identity, deletions last, and never an address in one step with its verdict (docs/decisions/0022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from datapath.tables import Datapath, EndpointEntry, IpcacheEntry, NameKey
from model.errors import Exhausted
from model.network import IPAddress, IPNetwork
from policy.mapstate import PolicyEntry, PolicyKey

log = structlog.get_logger("loop")


@dataclass(frozen=True, slots=True)
class PutEndpoint:
    ifindex: int
    entry: EndpointEntry


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    ifindex: int


@dataclass(frozen=True, slots=True)
class PutAddresses:
    entries: Mapping[IPNetwork, IpcacheEntry]


@dataclass(frozen=True, slots=True)
class DeleteAddresses:
    prefixes: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True)
class PutDevices:
    devices: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class DeleteDevices:
    ifindexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PutNames:
    entries: Mapping[NameKey, tuple[IPAddress, ...]]


@dataclass(frozen=True, slots=True)
class DeleteNames:
    names: tuple[NameKey, ...]


@dataclass(frozen=True, slots=True)
class EditPolicies:
    """In place, the same for all these slots: identities that come and go, and the first filling of a spare slot."""

    slots: tuple[int, ...]
    upserts: Mapping[PolicyKey, PolicyEntry]
    deletes: tuple[PolicyKey, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplacePolicies:
    """New inner maps for all these slots, published together. Those that are given the same object share one."""

    policies: Mapping[int, Mapping[PolicyKey, PolicyEntry]]


@dataclass(frozen=True, slots=True)
class SharePolicy:
    """The slot gets the inner map that another has."""

    slot: int
    like: int


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """Nobody points to the slot any more."""

    slot: int


@dataclass(frozen=True, slots=True)
class BumpEpoch:
    """A verdict got narrower, or an address changed its identity: every flow is judged anew."""


Operation = (
    PutEndpoint
    | DeleteEndpoint
    | PutAddresses
    | DeleteAddresses
    | PutDevices
    | DeleteDevices
    | PutNames
    | DeleteNames
    | EditPolicies
    | ReplacePolicies
    | SharePolicy
    | ReleasePolicy
    | BumpEpoch
)


def realize(datapath: Datapath, operations: Sequence[Operation]) -> None:
    """In order. Raises Exhausted where a map is full, be it not that of names; what came before is then in force."""
    for operation in operations:
        match operation:
            case PutEndpoint(ifindex, endpoint):
                datapath.endpoints.put(ifindex, endpoint)
            case DeleteEndpoint(ifindex):
                datapath.endpoints.delete(ifindex)
            case PutAddresses(entries):
                datapath.ipcache.put_many(entries)
            case DeleteAddresses(prefixes):
                datapath.ipcache.delete_many(prefixes)
            case PutDevices(devices):
                datapath.devices.put_many(devices)
            case DeleteDevices(ifindexes):
                datapath.devices.delete_many(ifindexes)
            case PutNames(named):
                _put_names(datapath, named)
            case DeleteNames(names):
                datapath.names.delete_many(names)
            case EditPolicies(slots, upserts, deletes):
                datapath.edit_policies(slots, upserts, deletes)
            case ReplacePolicies(policies):
                datapath.replace_policies(policies)
            case SharePolicy(slot, like):
                datapath.share_policy(slot, like)
            case ReleasePolicy(slot):
                datapath.release_policy(slot)
            case BumpEpoch():
                datapath.bump_epoch()


def _put_names(datapath: Datapath, named: Mapping[NameKey, tuple[IPAddress, ...]]) -> None:
    """As many as there is room for: for want of a name nobody may be taken for somebody else."""
    try:
        datapath.names.put_many(named)
    except Exhausted as error:
        log.warning("not all names of other hosts' containers resolve here", error=error.message)


def addresses_of(operations: Iterable[Operation]) -> set[IPNetwork]:
    """The prefixes that these operations take away."""
    return {
        prefix
        for operation in operations
        if isinstance(operation, DeleteAddresses)
        for prefix in operation.prefixes
    }
