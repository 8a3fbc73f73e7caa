"""What the datapath tells about a packet. Numbers and texts are those of datapath/bpf/abi.h; a test
compares them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address


class EventType(IntEnum):
    DROP = 1
    POLICY_VERDICT = 5


class Direction(IntEnum):
    """Seen from the container: egress leaves it."""

    EGRESS = 0
    INGRESS = 1


class Verdict(IntEnum):
    FORWARDED = 1
    DROPPED = 2
    AUDIT = 4
    """Policy denies it, for the reason given, and it passed: its endpoint is in audit mode."""


class DropReason(IntEnum):
    """Numbers below 220 mean what they mean to Cilium's monitor, so that known tools read them."""

    text: str

    def __new__(cls, number: int, text: str) -> DropReason:
        member = int.__new__(cls, number)
        member._value_ = number
        member.text = text
        return member

    NONE = 0, "Forwarded"
    INVALID_SOURCE_MAC = 130, "Invalid source mac"
    INVALID_SOURCE_IP = 132, "Invalid source ip"
    POLICY_DENIED = 133, "Policy denied"
    INVALID_PACKET = 134, "Invalid packet"
    CT_TRUNCATED_HEADER = 135, "Truncated or invalid header"
    UNKNOWN_L4_PROTOCOL = 137, "Unknown L4 protocol"
    UNSUPPORTED_L3 = 140, "Unsupported L3 protocol"
    CT_INSERT_FAILED = 155, "Conntrack entry could not be made"
    INVALID_EXTENSION_HEADER = 156, "Invalid IPv6 extension header"
    ENCAP_PROHIBITED = 170, "Encapsulation traffic is prohibited"
    UNKNOWN_SENDER = 172, "Unknown sender"
    FRAGMENT_NOT_FOUND = 175, "First fragment not seen"
    POLICY_DENY_RULE = 181, "Policy denied by a deny rule"
    VLAN = 182, "VLAN traffic"
    NETWORKS_SEPARATE = 220, "Endpoints are on separate networks"
    UNKNOWN_DESTINATION = 221, "Unknown destination"
    MULTICAST = 222, "Multicast or broadcast"
    NO_POLICY = 223, "No policy map"
    ICMP_UNRELATED = 224, "ICMP error of no tracked flow"
    HOST_FORBIDDEN = 225, "Network forbids traffic with the host"
    WORLD_FORBIDDEN = 226, "Network forbids traffic with the world"
    ROUTING_HEADER = 227, "IPv6 routing header"
    NEIGHBOUR_FORBIDDEN = 228, "Forbidden neighbour or router message"
    MARTIAN = 229, "Address that never leaves a host"
    UNKNOWN_ENDPOINT = 230, "Interface of no known endpoint"
    CONTAINERS_FORBIDDEN = 231, "Network forbids traffic between its containers"
    AUDITED = 232, "Forwarded in audit mode, where policy denies it"
    INIT_STAYS = 233, "Labels not yet known: stays on its node"
    NOT_FROM_NODE = 234, "Tunnel packet from no other node"
    NOT_BEHIND_NODE = 235, "Source ip is not behind the node that sent it"
    FORGED_IDENTITY = 236, "Identity on the wire is not that of the source ip"
    NO_TUNNEL = 237, "No tunnel to the node of the destination"


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """One event of the datapath, decoded. Ports and ICMP type are 0 where they mean nothing."""

    time_ns: int
    type: EventType
    verdict: Verdict
    reason: DropReason
    direction: Direction
    source_identity: int
    destination_identity: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    source_port: int
    destination_port: int
    tcp_flags: int
    icmp_type: int
    length: int
    endpoint: int
    """The number of the endpoint whose program judged; 0 if unknown."""
    ifindex: int
    is_reply: bool = False
