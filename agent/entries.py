"""PURE. The datapath's entries for an endpoint and for the host."""

from __future__ import annotations

from ipaddress import ip_network

from agent.state import State
from datapath.tables import EndpointEntry, EndpointFlag, IpcacheEntry
from model.endpoint import Endpoint
from model.identity import Reserved
from model.network import IPNetwork, Network


def flags_of(network: Network, *, audit: bool) -> EndpointFlag:
    flags = EndpointFlag.AUDIT if audit else EndpointFlag(0)
    if not network.host:
        flags |= EndpointFlag.NO_HOST
    if network.internal or not network.world:
        flags |= EndpointFlag.NO_WORLD
    if not network.inter_container:
        flags |= EndpointFlag.NO_CONTAINERS
    return flags


def endpoint_entry(endpoint: Endpoint, network: Network, slot: int, *, audit: bool) -> EndpointEntry:
    """`audit`: everywhere; an endpoint may be in audit mode by itself."""
    return EndpointEntry(
        identity=endpoint.identity,
        network=network.number,
        policy=slot,
        flags=flags_of(network, audit=audit or endpoint.audit),
        ipv4=endpoint.ipv4,
        ipv6=endpoint.ipv6,
        id=endpoint.id,
        mac=endpoint.mac,
    )


def address_entry(endpoint: Endpoint, network: Network, slot: int, *, audit: bool) -> IpcacheEntry:
    """Likewise."""
    return IpcacheEntry(
        identity=endpoint.identity,
        network=network.number,
        ifindex=endpoint.ifindex,
        policy=slot,
        flags=flags_of(network, audit=audit or endpoint.audit),
        id=endpoint.id,
        mac=endpoint.mac,
    )


def host_addresses(state: State) -> dict[IPNetwork, IpcacheEntry]:
    """What ends at the host, and the gateways of its networks, which it has too."""
    gateways = {
        ip_network(subnet.gateway)
        for network in state.networks.values()
        for subnet in network.subnets
        if subnet.gateway is not None
    }
    return {prefix: IpcacheEntry(int(Reserved.HOST)) for prefix in state.host.addresses | gateways}
