"""PURE. The state as the REST API shows it. Shapes are those of agent/schema.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

from agent.state import State
from datapath.tables import ConntrackRecord, EndpointEntry, IpcacheEntry
from model.endpoint import Endpoint, EndpointState
from model.errors import Conflict, InvalidInput, NotFound
from model.flow import Direction, DropReason
from model.identity import Reserved
from model.labels import Labels
from model.network import FLAT, IPNetwork
from policy.mapstate import PolicyEntry, PolicyFlag, PolicyKey

View = dict[str, Any]

PROTOCOLS = {0: "any", 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


def endpoint(state: State, shown: Endpoint) -> View:
    network = state.networks.get(shown.network_id)
    subject = state.subjects.get(shown.identity)
    return {
        "id": shown.id,
        "docker_id": shown.docker_id,
        "container_id": shown.container_id,
        "container_name": shown.container_name,
        "network_id": network.id if network else shown.network_id,
        "network_name": network.name if network else "",
        "ipv4": str(shown.ipv4 or ""),
        "ipv6": str(shown.ipv6 or ""),
        "mac": shown.mac,
        "ifname": shown.ifname,
        "ifindex": shown.ifindex,
        "labels": shown.labels.texts() or [str(Reserved.INIT.label)],
        "info_labels": shown.info_labels.texts(),
        "tags": list(shown.tags),
        "identity": shown.identity,
        "state": str(shown.state),
        "enforcement": {
            "ingress": subject is None or subject.policy.ingress_enforced,
            "egress": subject is None or subject.policy.egress_enforced,
            "audit": state.audit or shown.audit,
        },
        "ports": [
            {
                "protocol": port.protocol,
                "host_ip": str(port.host_ip),
                "host_port": port.host_port,
                "port": port.port,
            }
            for port in shown.ports
        ],
    }


def find_endpoint(state: State, name: str) -> Endpoint:
    """By number, or by a name with one of Cilium's prefixes; a bare name that is no number is a container's. Raises
    NotFound; Conflict if it means several, as of a container in several networks."""
    found = find_endpoints(state, name)
    if not found:
        raise NotFound(f"no endpoint {name!r}", path="id", hint="see `ciliate endpoint list`")
    if len(found) > 1:
        numbers = sorted(candidate.id for candidate in found)
        raise Conflict(
            f"{name!r} means {len(found)} endpoints",
            path="id",
            hint=f"name one by its number: {', '.join(map(str, numbers[:10]))}",
        )
    return found[0]


def find_endpoints(state: State, name: str) -> list[Endpoint]:
    """All that `find_endpoint` would have to choose from."""
    kind, colon, value = name.partition(":")
    if not colon or kind not in _FINDERS:
        kind, value = ("id", name) if name.isdecimal() else ("container-name", name)
    try:
        matches = _FINDERS[kind](value)
    except ValueError as error:
        raise InvalidInput(str(error), path="id", hint="write ipv4:10.200.0.2") from error
    return [candidate for candidate in state.endpoints.values() if matches(candidate)]


def _by_id(text: str) -> Callable[[Endpoint], bool]:
    number = int(text)
    return lambda endpoint: endpoint.id == number


def _by_address(text: str) -> Callable[[Endpoint], bool]:
    address = ip_address(text)
    return lambda endpoint: address in endpoint.addresses


_FINDERS: dict[str, Callable[[str], Callable[[Endpoint], bool]]] = {
    "id": _by_id,
    "container-name": lambda name: lambda endpoint: endpoint.container_name == name.removeprefix("/"),
    "container-id": lambda start: lambda endpoint: bool(start) and endpoint.container_id.startswith(start),
    "docker-endpoint": lambda start: lambda endpoint: bool(start) and endpoint.docker_id.startswith(start),
    "ipv4": _by_address,
    "ipv6": _by_address,
}
"""Each makes of what stands behind its prefix what tells whether an endpoint is meant; ValueError if it is none."""


def count_endpoints(state: State) -> View:
    states = Counter(shown.state for shown in state.endpoints.values())
    return {
        "total": len(state.endpoints),
        "ready": states[EndpointState.READY],
        "waiting": states[EndpointState.WAITING_FOR_LABELS],
    }


def audit_warnings(state: State) -> list[View]:
    """It is easily forgotten."""
    return [*_audited_sets(state), *_audit_mode(state)]


def _audited_sets(state: State) -> list[View]:
    names = sorted(state.repository.audited)
    if not names:
        return []
    text = f"audited sets of rules, which drop nothing: {', '.join(names[:10])}"
    if names[10:]:
        text += f" and {len(names) - 10} more"
    return [
        {
            "kind": "AUDIT",
            "text": text,
            "hint": "`ciliate policy apply` without --audit brings one into force",
        }
    ]


def _audit_mode(state: State) -> list[View]:
    if state.audit:
        text = "audit mode: what policy denies passes, everywhere"
        return [
            {"kind": "AUDIT", "text": text, "hint": "`ciliate config CILIATE_POLICY_AUDIT=false` ends it"}
        ]
    audited = sorted(shown.id for shown in state.endpoints.values() if shown.audit and shown.ifindex)
    if not audited:
        return []
    names = ", ".join(map(str, audited[:10]))
    text = f"audit mode: what policy denies to {len(audited)} endpoints passes: {names}"
    return [{"kind": "AUDIT", "text": text, "hint": "`ciliate endpoint config ID --no-audit` ends it"}]


def endpoint_config(state: State, shown: Endpoint) -> View:
    return {"audit": shown.audit, "audit_in_force": shown.audit or state.audit}


def identity(number: int, labels: Labels) -> View:
    return {"id": number, "labels": labels.texts()}


def identities(state: State) -> list[View]:
    return [identity(number, labels) for number, labels in sorted(state.known_identities().items())]


def identities_in_use(state: State) -> list[View]:
    return [
        {**identity(number, subject.labels), "endpoints": subject.endpoints}
        for number, subject in sorted(state.subjects.items())
    ]


def addresses(state: State, entries: Mapping[Any, IpcacheEntry]) -> list[View]:
    """`network_name`: of a network of this host. `node`: another node, by its name."""
    nodes = {node.tunnel: name for name, node in state.nodes.items()}
    names = {network.number: network.name or network.id[:12] for network in state.networks.values()}
    return [
        {
            "prefix": str(prefix),
            "identity": entry.identity,
            "network": entry.network,
            "network_name": "flat" if entry.network == FLAT else names.get(entry.network, ""),
            "node": nodes.get(entry.tunnel, "") if entry.tunnel is not None else "",
            "ifindex": entry.ifindex,
            "endpoint": entry.id,
        }
        for prefix, entry in ordered(entries)
    ]


def ordered(entries: Mapping[Any, IpcacheEntry]) -> list[tuple[Any, IpcacheEntry]]:
    return sorted(entries.items(), key=lambda item: (item[0].version, item[0]))


def pool(state: State, prefix: IPNetwork, size: int, taken: int) -> View:
    """`network`: whose it is; empty while Docker makes or removes one."""
    owners = [
        network.name or network.docker_id[:12]
        for network in state.networks.values()
        if any(subnet.pool == prefix for subnet in network.subnets)
    ]
    return {
        "pool": str(prefix),
        "network": owners[0] if owners else "",
        "size": size,
        "used": taken,
    }


def endpoint_entry(ifindex: int, entry: EndpointEntry) -> View:
    return {
        "key": {"ifindex": ifindex},
        "value": {
            "identity": entry.identity,
            "network": entry.network,
            "policy": entry.policy,
            "flags": int(entry.flags),
            "ipv4": str(entry.ipv4 or ""),
            "ipv6": str(entry.ipv6 or ""),
            "id": entry.id,
            "mac": entry.mac,
        },
    }


def address_entry(prefix: object, entry: IpcacheEntry) -> View:
    return {
        "key": {"prefix": str(prefix)},
        "value": {
            "identity": entry.identity,
            "network": entry.network,
            "ifindex": entry.ifindex,
            "policy": entry.policy,
            "flags": int(entry.flags),
            "tunnel": str(entry.tunnel or ""),
            "endpoint": entry.id,
            "mac": entry.mac,
        },
    }


def ports_of(key: PolicyKey) -> str:
    """`80`, `80-87`, or `any`. For ICMP, the type."""
    if key.port_bits == 0:
        return "any"
    last = key.port | (0xFFFF >> key.port_bits)
    return str(key.port) if last == key.port else f"{key.port}-{last}"


def policy_entry(slot: int, owner: int, key: PolicyKey, entry: PolicyEntry) -> View:
    return {
        "key": {
            "identity": owner,
            "slot": slot,
            "direction": key.direction.name.lower(),
            "peer": key.identity,
            "protocol": PROTOCOLS.get(key.protocol, str(key.protocol)),
            "port": ports_of(key),
        },
        "value": {
            "deny": PolicyFlag.DENY in entry.says,
            "audit": _audited(entry.says),
            "proxy_port": entry.proxy_port,
            "cookie": entry.cookie,
        },
    }


def _audited(says: PolicyFlag) -> str:
    """What would be so if audited rules were in force, where it is not so already; else empty."""
    if PolicyFlag.WOULD_DENY in says:
        return "" if PolicyFlag.DENY in says else "would deny"
    if PolicyFlag.WOULD_ALLOW in says:
        return "" if PolicyFlag.ALLOW in says else "would allow"
    return "would not allow" if PolicyFlag.ALLOW in says else "would not deny"


def conntrack_entry(record: ConntrackRecord, now_ns: int) -> View:
    return {
        "key": {
            "protocol": PROTOCOLS.get(record.protocol, str(record.protocol)),
            "source": str(record.source),
            "source_port": record.source_port,
            "destination": str(record.destination),
            "destination_port": record.destination_port,
        },
        "value": {
            "source_identity": record.source_identity,
            "destination_identity": record.destination_identity,
            "flags": [
                str(flag.name).lower().replace("_", "-")
                for flag in type(record.flags)
                if flag in record.flags
            ],
            "epoch": record.epoch,
            "expires_in": round((record.expires_ns - now_ns) / 1e9, 1),
            "origin_packets": record.origin_packets,
            "origin_bytes": record.origin_bytes,
            "reply_packets": record.reply_packets,
            "reply_bytes": record.reply_bytes,
        },
    }


def metric_entry(reason: DropReason, direction: Direction, packets: int, octets: int) -> View:
    return {
        "key": {"reason": int(reason), "text": reason.text, "direction": direction.name.lower()},
        "value": {"packets": packets, "bytes": octets},
    }


def endpoint_labels(shown: Endpoint) -> View:
    return {
        "labels": shown.labels.texts(),
        "info_labels": shown.info_labels.texts(),
        "user_labels": None if shown.user_labels is None else shown.user_labels.texts(),
        "identity": shown.identity,
    }
