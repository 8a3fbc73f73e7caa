"""PURE. Packets that cannot be, whatever networks and rules say: by their addresses, and by the families of their
ends."""

from __future__ import annotations

from ipaddress import IPv4Address

from agent.parties import Party
from model.errors import InvalidInput
from model.flow import DropReason
from model.network import IPAddress
from policy.icmp import ICMP, ICMPV6
from policy.selector import prefix_of

_FAMILIES = {ICMP: 4, ICMPV6: 6}
_NAMES = {ICMP: "icmp", ICMPV6: "icmpv6"}


def refusal(destination: IPAddress) -> DropReason:
    """Why nothing is carried there; NONE if it is. As is_group and is_martian of datapath/bpf/address.h say it."""
    if destination.is_multicast or destination == IPv4Address("255.255.255.255"):
        return DropReason.MULTICAST
    return DropReason.MARTIAN if _is_martian(destination) else DropReason.NONE


def _is_martian(address: IPAddress) -> bool:
    if isinstance(address, IPv4Address):
        return address.packed[0] in (0, 127)
    is_ipv4 = not any(address.packed[:8]) and address.packed[8:12] in (bytes(4), b"\0\0\xff\xff")
    return is_ipv4 or address.is_link_local


def forbidden(sender: Party, receiver: Party) -> DropReason:
    """By the addresses that were asked about. What containers have no part in is nobody's to carry."""
    if sender.has_rules and receiver.address is not None and refusal(receiver.address):
        return refusal(receiver.address)
    if receiver.has_rules and sender.address is not None and refusal(sender.address):
        return DropReason.INVALID_SOURCE_IP
    return DropReason.NONE


def check_families(sender: Party, receiver: Party, protocol: int) -> None:
    """Raises InvalidInput if no packet of this protocol can have these two addresses."""
    one, other = _families(sender), _families(receiver)
    if not one & other:
        raise InvalidInput(
            f"{sender.name} is IPv{min(one)} alone, and {receiver.name} IPv{min(other)} alone",
            path="dst",
            hint="name ends of one family; a network has IPv6 if it was made with --ipv6. Whatever a container sends "
            f"from an address that is not its own is dropped: {DropReason.INVALID_SOURCE_IP.text}",
        )
    family = _FAMILIES.get(protocol)
    if family is not None and family not in one & other:
        right = ICMPV6 if protocol == ICMP else ICMP
        raise InvalidInput(
            f"{_NAMES[protocol]} goes over IPv{family}, and {sender.name} and {receiver.name} have only "
            f"IPv{10 - family} in common",
            path="dport",
            hint=f"write {_NAMES[right]}, or name ends that have IPv{family}. Over IPv{10 - family} it is dropped: "
            f"{DropReason.UNKNOWN_L4_PROTOCOL.text}",
        )


def _families(party: Party) -> set[int]:
    """Which it may have; both where that is not known."""
    if party.address is not None:
        return {party.address.version}
    if party.endpoint is not None:
        return {address.version for address in party.endpoint.addresses} or {4, 6}
    prefix = prefix_of(party.labels)
    if prefix is not None:
        return {prefix.version}
    subnets = party.network.subnets if party.network else ()
    return {subnet.pool.version for subnet in subnets} or {4, 6}
