"""What can happen to the state."""

from __future__ import annotations

from dataclasses import dataclass

from agent.resolution import Resolution
from driver.hostfacts import HostFacts
from model.endpoint import Endpoint
from model.network import Network


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


Event = (
    NetworkPut
    | NetworkRemoved
    | EndpointPut
    | EndpointRemoved
    | PolicyResolved
    | AuditSet
    | HostChanged
    | SlotsWanted
)
