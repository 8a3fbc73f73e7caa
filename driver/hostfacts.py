"""What the host's links, addresses and routes mean to the datapath. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_network

from driver.plan import DEFAULT_MTU, DEVICE_GROUP, GATEWAY_DEVICE
from model.network import IPAddress, IPNetwork

LOCAL_KINDS = frozenset(
    (
        "bridge",
        "openvswitch",
        "veth",
        "netkit",
        "macvlan",
        "macvtap",
        "ipvlan",
        "ipvtap",
        "tap",
        "dummy",
        "ifb",
    )
)
"""Links behind which are containers or virtual machines of this host, or nobody. Behind all others (hardware, VLANs,
bonds, tunnels) are other machines."""

WIDE = 8
"""A route to less than so many bits of an address is a default route, or a part of one: VPNs take two halves."""


@dataclass(frozen=True, slots=True)
class Link:
    """`kind` is "" for hardware, else "bridge", "veth" and so on; a tun device that carries Ethernet is a "tap".
    `master`: ifindex of the bridge or bond it is part of, 0 if none."""

    ifindex: int
    name: str
    kind: str = ""
    group: int = 0
    mtu: int = DEFAULT_MTU
    master: int = 0
    up: bool = True
    loopback: bool = False

    @property
    def is_ours(self) -> bool:
        return self.group == DEVICE_GROUP or self.name == GATEWAY_DEVICE


@dataclass(frozen=True, slots=True)
class Route:
    """A default route's `destination` has a prefix length of 0. `local`: what goes there ends at this host, which is
    so for its addresses, its broadcast addresses, and whatever an administrator has routed to it."""

    destination: IPNetwork
    ifindex: int
    metric: int = 0
    local: bool = False


Address = tuple[int, IPv4Interface | IPv6Interface]
"""ifindex, address."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    addresses: frozenset[IPNetwork] = frozenset()
    """What ends at this host, broadcast included. It has the identity host."""
    uplinks: Mapping[int, str] = field(default_factory=dict)
    """ifindex -> name: what comes in there is the world."""
    routed: Mapping[IPNetwork, str] = field(default_factory=dict)
    """The host's own networks: prefixes beyond an uplink, with its name. Default routes are none."""
    bridges: frozenset[str] = frozenset()
    """Names of bridges that are not ours: Docker's, and anybody's."""
    unmanaged: frozenset[IPNetwork] = frozenset()
    """What lies behind other devices than uplinks: containers and virtual machines that ciliate does not judge."""
    mtu: int = DEFAULT_MTU
    """The smallest of the uplinks with a default route, or of all if none has one. A VPN beside them makes no
    container's packets smaller: who sends there learns the path's MTU."""
    outer: tuple[IPAddress, ...] = ()
    """Its addresses on uplinks: what other machines see it as. First those of uplinks with a default route; of one
    uplink first the one that it sends from."""


def classify(
    links: Iterable[Link], addresses: Collection[Address], routes: Collection[Route], devices: Collection[str]
) -> HostFacts:
    """`devices`: names of the uplinks if the user has named them. Else an uplink is what has a default route, and what
    has an address or a route and leads to other machines by its kind."""
    by_index = {link.ifindex: link for link in links}
    foreign = {index: link for index, link in by_index.items() if not link.is_ours and not link.loopback}
    defaults = {route.ifindex for route in routes if route.destination.prefixlen == 0 and not route.local}
    if devices:
        chosen = {index for index, link in foreign.items() if link.name in devices}
    else:
        used = {index for index, _ in addresses} | {route.ifindex for route in routes if not route.local}
        outwards = {
            index for index, link in foreign.items() if link.kind not in LOCAL_KINDS and not link.master
        }
        chosen = foreign.keys() & (defaults | (used & outwards))
    uplinks = {index: foreign[index].name for index in sorted(chosen)}
    ends = {route.destination for route in routes if route.local}
    ends |= {ip_network(address.ip) for _, address in addresses}
    aside = foreign.keys() - uplinks.keys()
    mtus = [by_index[index].mtu for index in (uplinks.keys() & defaults) or uplinks]
    return HostFacts(
        addresses=frozenset(prefix for prefix in ends if _can_be_reached(prefix)),
        outer=_outer(addresses, uplinks.keys() & defaults, uplinks),
        uplinks=uplinks,
        routed={
            route.destination: uplinks[route.ifindex]
            for route in sorted(routes, key=lambda route: route.ifindex)
            if route.ifindex in uplinks and _is_network(route) and route.destination.prefixlen >= WIDE
        },
        bridges=frozenset(
            link.name for index, link in foreign.items() if link.kind == "bridge" and index not in uplinks
        ),
        unmanaged=frozenset(
            route.destination
            for route in routes
            if route.ifindex in aside and _is_network(route) and route.destination.prefixlen > 0
        ),
        mtu=min(mtus, default=DEFAULT_MTU),
    )


def _outer(
    addresses: Iterable[Address], first: Collection[int], uplinks: Mapping[int, str]
) -> tuple[IPAddress, ...]:
    reached = [
        (index not in first, index, found.ip)
        for index, found in addresses
        if index in uplinks and not found.ip.is_link_local
    ]
    return tuple(dict.fromkeys(ip for *_, ip in sorted(reached, key=lambda one: one[:2])))


def _is_network(route: Route) -> bool:
    """Others live there, and more than one link knows it."""
    destination = route.destination
    return not route.local and not destination.is_link_local and not destination.is_multicast


def _can_be_reached(prefix: IPNetwork) -> bool:
    """From a container. Loopback is nobody else's, and of fe80:: only the gateway's answers, in neighbour discovery;
    but IPv4 forwards to 169.254.0.0/16 as to any network."""
    address = prefix.network_address
    return not (
        address.is_loopback or address.is_multicast or (address.version == 6 and address.is_link_local)
    )
