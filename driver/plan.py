"""What a link looks like, before anything touches the kernel. PURE.

A container hangs on a veth pair. The host side has the same MAC everywhere and no address, emits nothing of its
own, and is reached by a host route with a permanent neighbour entry; ARP and neighbour discovery are answered
in eBPF. The container side gets the address, the default route and its final name from Docker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from model.endpoint import Endpoint
from model.errors import InvalidInput
from model.network import IPAddress, Network

GATEWAY_MAC = "02:63:69:6c:00:01"
"""Of every host-side interface; the datapath answers every ARP request with it."""

HOST_PREFIX = "cl"
CONTAINER_PREFIX = "ctr"
"""Docker moves and renames the interface: it has this name between Join's answer and the move."""

DEFAULT_MTU = 1500
"""Of links, where no uplink says otherwise."""

ID_CHARACTERS = 10
"""Of Docker's endpoint id in an interface's name, which holds 15."""

SPARE = "spare"
"""In the name of a pair that waits for a container, where a container's has the endpoint's id."""

DEVICE_GROUP = 0xC111
"""Link group of all our interfaces. netfilter rules match it, so that no interface of somebody else whose name
happens to begin alike is ever meant."""

GATEWAY_DEVICE = "ciliate0"
"""Holds the gateways' addresses. A bridge without ports: every kernel that runs Docker has bridges, while some
have no dummy devices."""


TUNNEL_DEVICES = {"vxlan": "ciliate_vxlan", "geneve": "ciliate_geneve"}
"""By kind. Of the group DEVICE_GROUP, too."""


class RoutingMode(StrEnum):
    """How packets get to containers of other nodes."""

    VXLAN = "vxlan"
    GENEVE = "geneve"
    NATIVE = "native"

    @property
    def port(self) -> int:
        """UDP, unless the user chooses another; 0: there is no tunnel."""
        return {RoutingMode.VXLAN: 8472, RoutingMode.GENEVE: 6081, RoutingMode.NATIVE: 0}[self]

    @property
    def overhead(self) -> int:
        """Bytes that the way adds to a packet. A tunnel over IPv4: 20 of IP, 8 of UDP, 8 of VXLAN or Geneve, 14 of
        Ethernet."""
        return 0 if self is RoutingMode.NATIVE else 50


ROUTE_PROTOCOL = 193
"""Of our routes to other nodes' slices, free in iproute2's list: who reads routes knows them by it."""


@dataclass(frozen=True, slots=True)
class HostRoute:
    """How the host reaches one address of the container. `source` is what it calls itself on the way."""

    address: IPAddress
    source: IPAddress | None


@dataclass(frozen=True, slots=True)
class LinkPlan:
    host_name: str
    container_name: str
    container_mac: str
    mtu: int
    routes: tuple[HostRoute, ...]
    sysctls: tuple[tuple[str, str], ...]
    """Path below /proc/sys, value."""


def host_name(docker_id: str) -> str:
    return HOST_PREFIX + docker_id[:ID_CHARACTERS]


def container_name(docker_id: str) -> str:
    return CONTAINER_PREFIX + docker_id[:ID_CHARACTERS]


def endpoint_mac(docker_id: str, ipv4: IPv4Address | None) -> str:
    """Stable: from the IPv4 address as Docker's bridge does, else from the endpoint's random id."""
    tail = ipv4.packed if ipv4 is not None else bytes.fromhex(docker_id[:8])
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *tail))


def checked_mac(text: str) -> str:
    """`text` as the kernel writes it. InvalidInput if no single interface can have it."""
    parts = text.lower().replace("-", ":").split(":")
    try:
        address = bytes(int(part, 16) for part in parts)
    except ValueError:
        address = b""
    if len(address) != 6 or any(len(part) != 2 for part in parts) or not any(address):
        raise InvalidInput(f"{text!r} is no MAC address", path="MacAddress", hint="write 02:42:0a:c8:00:02")
    if address[0] & 1:
        raise InvalidInput(
            f"{text!r} is a group address", path="MacAddress", hint="its first byte must be even"
        )
    if text.lower() == GATEWAY_MAC:
        raise InvalidInput(f"{text!r} is the gateway's address", path="MacAddress", hint="choose another")
    return ":".join(f"{byte:02x}" for byte in address)


def gateways(network: Network) -> dict[int, IPAddress]:
    """The gateway of each IP version that has one."""
    return {subnet.pool.version: subnet.gateway for subnet in network.subnets if subnet.gateway is not None}


def link_plan(endpoint: Endpoint, network: Network, default_mtu: int) -> LinkPlan:
    name = host_name(endpoint.docker_id)
    sources = gateways(network)
    # Forwarding, although the host forwards anyway: an interface may have been made before that was switched on.
    # The source of every packet is checked in eBPF, exactly; the kernel's reverse path filter would only cost.
    sysctls = [(f"net/ipv4/conf/{name}/forwarding", "1"), (f"net/ipv4/conf/{name}/rp_filter", "0")]
    if endpoint.ipv6 is not None:
        sysctls += [(f"net/ipv6/conf/{name}/forwarding", "1"), (f"net/ipv6/conf/{name}/accept_ra", "0")]
    else:
        sysctls += [(f"net/ipv6/conf/{name}/disable_ipv6", "1")]
    return LinkPlan(
        host_name=name,
        container_name=container_name(endpoint.docker_id),
        container_mac=endpoint.mac,
        mtu=network.mtu or default_mtu,
        routes=tuple(HostRoute(address, sources.get(address.version)) for address in endpoint.addresses),
        sysctls=tuple(sysctls),
    )
