"""How endpoints and networks are written down, whole, in the store of their own node. PURE."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from model.endpoint import Endpoint, EndpointState, PublishedPort
from model.network import IPAddress, Network, Subnet
from store.codec import Codec, dump_labels, load_labels


def _dump_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "docker_id": endpoint.docker_id,
        "network_id": endpoint.network_id,
        "mac": endpoint.mac,
        "ipv4": _text(endpoint.ipv4),
        "ipv6": _text(endpoint.ipv6),
        "ifname": endpoint.ifname,
        "ifindex": endpoint.ifindex,
        "container_id": endpoint.container_id,
        "container_name": endpoint.container_name,
        "option_labels": dump_labels(endpoint.option_labels),
        "user_labels": None if endpoint.user_labels is None else dump_labels(endpoint.user_labels),
        "labels": dump_labels(endpoint.labels),
        "info_labels": dump_labels(endpoint.info_labels),
        "tags": endpoint.tags,
        "identity": endpoint.identity,
        "state": endpoint.state.value,
        "ports": [[port.protocol, str(port.host_ip), port.host_port, port.port] for port in endpoint.ports],
        "wants_ports": endpoint.wants_ports,
        "audit": endpoint.audit,
    }


def _load_endpoint(members: dict[str, Any]) -> Endpoint:
    user_labels = members["user_labels"]
    return Endpoint(
        id=members["id"],
        docker_id=members["docker_id"],
        network_id=members["network_id"],
        mac=members["mac"],
        ipv4=IPv4Address(members["ipv4"]) if members["ipv4"] else None,
        ipv6=IPv6Address(members["ipv6"]) if members["ipv6"] else None,
        ifname=members["ifname"],
        ifindex=members["ifindex"],
        container_id=members["container_id"],
        container_name=members["container_name"],
        option_labels=load_labels(members["option_labels"]),
        user_labels=None if user_labels is None else load_labels(user_labels),
        labels=load_labels(members["labels"]),
        info_labels=load_labels(members["info_labels"]),
        tags=tuple(members["tags"]),
        identity=members["identity"],
        state=EndpointState(members["state"]),
        ports=tuple(
            PublishedPort(protocol, ip_address(host_ip), host_port, port)
            for protocol, host_ip, host_port, port in members["ports"]
        ),
        wants_ports=members.get("wants_ports", False),
        audit=members.get("audit", False),
    )


def _dump_network(network: Network) -> dict[str, Any]:
    return {
        "docker_id": network.docker_id,
        "id": network.id,
        "number": network.number,
        "subnets": [[str(subnet.pool), _text(subnet.gateway)] for subnet in network.subnets],
        "internal": network.internal,
        "flat": network.flat,
        "enforcement_always": network.enforcement_always,
        "host": network.host,
        "world": network.world,
        "inter_container": network.inter_container,
        "mtu": network.mtu,
        "publish_ip": _text(network.publish_ip),
        "labels": dump_labels(network.labels),
        "name": network.name,
    }


def _load_network(members: dict[str, Any]) -> Network:
    return Network(
        docker_id=members["docker_id"],
        id=members["id"],
        number=members["number"],
        subnets=tuple(
            Subnet(ip_network(pool), ip_address(gateway) if gateway else None)
            for pool, gateway in members["subnets"]
        ),
        internal=members["internal"],
        flat=members["flat"],
        enforcement_always=members["enforcement_always"],
        host=members["host"],
        world=members["world"],
        inter_container=members["inter_container"],
        mtu=members["mtu"],
        publish_ip=IPv4Address(members["publish_ip"]) if members["publish_ip"] else None,
        labels=load_labels(members["labels"]),
        name=members["name"],
    )


def _text(address: IPAddress | None) -> str | None:
    return None if address is None else str(address)


ENDPOINT: Codec[Endpoint] = Codec(_dump_endpoint, _load_endpoint)
NETWORK: Codec[Network] = Codec(_dump_network, _load_network)
