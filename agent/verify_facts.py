"""PURE. What a verification has to know of a node, as plain values: another process is handed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from agent.entries import flags_of, host_addresses
from agent.state import State
from datapath.abi import EndpointFlag
from datapath.tables import NodeEntry
from model.endpoint import Endpoint
from model.identity import Reserved, is_local
from model.labels import Labels
from model.network import IPAddress, IPNetwork
from policy.resolve import Enforcement


@dataclass(frozen=True, slots=True)
class Container:
    """An endpoint that has its link. `network`: the number of its network."""

    id: int
    name: str
    ifindex: int
    identity: int
    network: int
    flags: EndpointFlag
    mac: str
    addresses: tuple[IPAddress, ...]

    def address(self, version: int) -> IPAddress | None:
        return next((address for address in self.addresses if address.version == version), None)


@dataclass(frozen=True, slots=True)
class Other:
    """A container of another node. `network`: the number of its network, as that node tells it."""

    identity: int
    network: int


@dataclass(frozen=True, slots=True)
class Facts:
    rules: tuple[str, ...]
    """In force, as the JSON that they came as."""
    audited: tuple[str, ...]
    """Of sets that only report."""
    modes: Mapping[int, Enforcement]
    """By identity of a container."""
    labels: Mapping[int, Labels]
    """Of every identity, save those of prefixes."""
    containers: tuple[Container, ...]
    others: Mapping[IPAddress, Other]
    places: Mapping[IPNetwork, Reserved]
    """What is not the world, containers aside; the longest prefix counts. UNKNOWN: ours, and nobody's."""
    uplinks: tuple[int, ...]
    node: NodeEntry


def facts_of(state: State, node: NodeEntry) -> Facts:
    """`node`: as the programs know it."""
    rules = state.repository.rules()
    return Facts(
        rules=tuple(rule.document for rule in rules if not rule.is_audited),
        audited=tuple(rule.document for rule in rules if rule.is_audited),
        modes={identity: subject.mode for identity, subject in state.subjects.items()},
        labels={
            number: labels for number, labels in state.known_identities().items() if not is_local(number)
        },
        containers=tuple(
            _container(state, endpoint)
            for endpoint in sorted(state.endpoints.values(), key=lambda endpoint: endpoint.id)
            if endpoint.ifindex
        ),
        others=_others(state),
        places=_places(state),
        uplinks=tuple(state.host.uplinks),
        node=node,
    )


def _container(state: State, endpoint: Endpoint) -> Container:
    network = state.networks[endpoint.network_id]
    return Container(
        id=endpoint.id,
        name=endpoint.container_name,
        ifindex=endpoint.ifindex,
        identity=endpoint.identity,
        network=network.number,
        flags=flags_of(network, audit=state.audit or endpoint.audit),
        mac=endpoint.mac,
        addresses=endpoint.addresses,
    )


def _places(state: State) -> dict[IPNetwork, Reserved]:
    subnets = [subnet.pool for network in state.networks.values() for subnet in network.subnets]
    nodes = [node for node in state.nodes.values() if node.tunnel is not None]
    places = dict.fromkeys(
        (*state.pools, *subnets, *(prefix for node in state.nodes.values() for prefix in node.slices)),
        Reserved.UNKNOWN,
    )
    places.update({ip_network(address): Reserved.REMOTE_NODE for node in nodes for address in node.addresses})
    places.update(dict.fromkeys(state.host.unmanaged, Reserved.UNMANAGED))
    places.update(dict.fromkeys(host_addresses(state), Reserved.HOST))
    return places


def _others(state: State) -> dict[IPAddress, Other]:
    """Whoever else has the address, this node and its neighbours aside, has it rather."""
    places = _places(state)
    return {
        prefix.network_address: Other(record.identity, record.network)
        for node in state.nodes.values()
        if node.tunnel is not None
        for prefix, record in node.ips.items()
        if places.get(prefix, Reserved.UNKNOWN) is Reserved.UNKNOWN
    }
