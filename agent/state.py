"""PURE. The whole state of a node, immutable: what the writer owns and everybody else reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from immutables import Map

from agent.slots import Slots
from datapath.tables import IpcacheEntry, NameKey
from driver.hostfacts import HostFacts
from identity.cidr import CidrIdentities
from identity.ipcache import Ipcache
from model.endpoint import Endpoint
from model.identity import Reserved
from model.labels import Labels
from model.network import IPAddress, IPNetwork, Network
from policy.repository import Repository
from policy.resolve import Enforcement, SubjectPolicy
from policy.selections import Selections
from policy.selector import Selector
from store.keys import IPRecord


@dataclass(frozen=True, slots=True)
class Subject:
    """A local identity in use: all endpoints that have it share one policy and its slot in the datapath."""

    labels: Labels
    always: bool
    """Its network insists on enforcement."""
    mode: Enforcement
    slot: int
    endpoints: int
    policy: SubjectPolicy


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """Another node of the cluster. `addresses`: what it is seen as; `tunnel`: where it takes packets for its
    containers, None if it is gone for good and only its slices are still held; `ips`: who its containers are."""

    addresses: tuple[IPAddress, ...] = ()
    tunnel: IPv4Address | None = None
    slices: frozenset[IPNetwork] = frozenset()
    ips: Map[IPNetwork, IPRecord] = field(default_factory=Map)


@dataclass(frozen=True, slots=True)
class State:
    enforcement: Enforcement = Enforcement.DEFAULT
    audit: bool = False
    """What policy denies is told, and passes: everywhere."""
    pools: tuple[IPNetwork, ...] = ()
    """What networks may be cut from: never world, even where no network is."""
    networks: Map[str, Network] = field(default_factory=Map)
    endpoints: Map[str, Endpoint] = field(default_factory=Map)
    subjects: Map[int, Subject] = field(default_factory=Map)
    selections: Selections = field(default_factory=Selections)
    """Every known identity, and which selector selects it."""
    nodes: Map[str, RemoteNode] = field(default_factory=Map)
    """The others, by name."""
    names: Map[NameKey, tuple[IPAddress, ...]] = field(default_factory=Map)
    """Of containers on other nodes: where they are, sorted. An address that two nodes give is there twice."""
    remote: Map[int, int] = field(default_factory=Map)
    """Identities of other nodes' containers: number -> how many addresses have it."""
    cidrs: CidrIdentities = field(default_factory=CidrIdentities)
    ipcache: Ipcache[IpcacheEntry] = field(default_factory=Ipcache)
    repository: Repository = field(default_factory=Repository)
    host: HostFacts = field(default_factory=HostFacts)
    slots: Slots = field(default_factory=Slots)
    prepared: int = 0
    """The last slot that is known to have a map, be it empty."""
    remembered: Map[int, int] = field(default_factory=Map)
    """While a state is being restored: the slots that identities had. They must keep them, because entries in the
    kernel point there until all is put back."""

    def select(self, selector: Selector) -> Collection[int]:
        return self.selections.select(selector)

    def mode_of(self, network: Network | None) -> Enforcement:
        return mode_of(self.enforcement, always=network is not None and network.enforcement_always)

    def known_identities(self) -> Mapping[int, Labels]:
        return self.selections.identities


def mode_of(enforcement: Enforcement, *, always: bool) -> Enforcement:
    """A network may insist on enforcement; the node may have switched it off for all."""
    return Enforcement.ALWAYS if always and enforcement is Enforcement.DEFAULT else enforcement


RESERVED = {int(reserved): reserved.labels for reserved in Reserved if reserved is not Reserved.UNKNOWN}
"""Identities that every node knows from the start."""
