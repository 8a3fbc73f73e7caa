"""Endpoints: one container's place in one network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network

from model.identity import Reserved
from model.labels import Labels
from model.network import IPAddress, IPNetwork


class EndpointState(StrEnum):
    CREATED = "created"
    """Docker has reserved it; no link exists yet."""
    WAITING_FOR_LABELS = "waiting-for-labels"
    """In force with the identity init, which is default deny."""
    READY = "ready"


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """One `-p`: `protocol` is "tcp" or "udp" or "sctp"; `host_ip` the address bound on the host (0.0.0.0 and
    :: for all)."""

    protocol: str
    host_ip: IPAddress
    host_port: int
    port: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`id` is the number users see and events carry (1-65535); `docker_id` Docker's endpoint id.
    `labels` decide the identity; `info_labels` are shown only (image and filtered labels); `tags`
    go into flows."""

    id: int
    docker_id: str
    network_id: str
    """Docker's id of the network."""
    mac: str
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    ifname: str = ""
    ifindex: int = 0
    container_id: str = ""
    container_name: str = ""
    option_labels: Labels = field(default_factory=Labels)
    """Given by driver-opt when the endpoint was created: race-free, and they win."""
    user_labels: Labels | None = None
    """Set through the API: replaces what the container says."""
    labels: Labels = field(default_factory=Labels)
    info_labels: Labels = field(default_factory=Labels)
    tags: tuple[str, ...] = ()
    identity: int = int(Reserved.INIT)
    state: EndpointState = EndpointState.CREATED
    ports: tuple[PublishedPort, ...] = ()
    wants_ports: bool = False
    """Its container was started with ports to publish. Docker has only one endpoint of a container publish them, and
    none in an internal network."""
    audit: bool = False
    """What its policy denies is told, and passes."""

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)

    @property
    def prefixes(self) -> tuple[IPNetwork, ...]:
        """The addresses, as prefixes of whole length."""
        return tuple(ip_network(address) for address in self.addresses)

    def unlinked(self) -> Endpoint:
        """As it was before its Join."""
        return replace(
            self,
            ifname="",
            ifindex=0,
            container_id="",
            container_name="",
            labels=Labels(),
            info_labels=Labels(),
            identity=int(Reserved.INIT),
            state=EndpointState.CREATED,
            ports=(),
            wants_ports=False,
        )
