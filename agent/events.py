"""What can happen to the state."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from agent.resolution import Resolution
from agent.state import RemoteNode
from driver.hostfacts import HostFacts
from model.endpoint import Endpoint
from model.labels import Labels
from model.network import IPAddress, IPNetwork, Network
from store.keys import IPRecord


@dataclass(frozen=True, slots=True)
class NetworkPut:
    network: Network


@dataclass(frozen=True, slots=True)
class NetworkRemoved:
    docker_id: str


@dataclass(frozen=True, slots=True)
class EndpointPut:
    """New, or whatever is new about it: labels, identity, link, ports."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class EndpointRemoved:
    docker_id: str


@dataclass(frozen=True, slots=True)
class PolicyResolved:
    """Rules that are in the store and how they are enforced, with what that means for the identities of a snapshot."""

    resolution: Resolution


@dataclass(frozen=True, slots=True)
class AuditSet:
    """Whether what policy denies passes, everywhere."""

    audit: bool


@dataclass(frozen=True, slots=True)
class HostChanged:
    """Addresses, uplinks or other networks of the host."""

    host: HostFacts


@dataclass(frozen=True, slots=True)
class SlotsWanted:
    """Have empty policy maps ready for identities to come."""


@dataclass(frozen=True, slots=True)
class PeerChange:
    """What is new about another node: all it is, and of its containers' addresses those that are other than before."""

    addresses: tuple[IPAddress, ...] = ()
    tunnel: IPv4Address | None = None
    slices: frozenset[IPNetwork] = frozenset()
    puts: Mapping[IPNetwork, IPRecord] = field(default_factory=dict)
    removes: Collection[IPNetwork] = ()


@dataclass(frozen=True, slots=True)
class PeersChanged:
    """By the node's name. `labels`: of the identities that are put, as far as they are news."""

    changes: Mapping[str, PeerChange]
    labels: Mapping[int, Labels]


@dataclass(frozen=True, slots=True)
class PeersSynced:
    """All other nodes there are. `labels`: of every identity that their containers have."""

    nodes: Mapping[str, RemoteNode]
    labels: Mapping[int, Labels]


Event = (
    NetworkPut
    | NetworkRemoved
    | EndpointPut
    | EndpointRemoved
    | PolicyResolved
    | AuditSet
    | HostChanged
    | SlotsWanted
    | PeersChanged
    | PeersSynced
)
