"""Names of containers on other nodes, as the programs that answer for them know them. PURE."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from datapath import abi
from datapath.codec import Codec
from datapath.tables import NameKey
from model.network import IPAddress

_KEY = abi.packer(abi.NameKey)
_ENTRY = abi.packer(abi.NameEntry)

_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_LONGEST = abi.NAME_SIZE - 2
"""A length before, and the empty label behind."""


def fits(name: str) -> bool:
    """Whether the programs can answer for it; in lower case."""
    return len(name) <= _LONGEST and _NAME.fullmatch(name) is not None


def encode_key(key: NameKey) -> bytes:
    """As DNS writes it (RFC 1035): each label behind its length, and the empty one at the end."""
    wire = b"".join(bytes([len(label)]) + label.encode("ascii") for label in key.name.split("."))
    return _KEY.pack(key.network, wire.ljust(abi.NAME_SIZE, b"\0"))


def decode_key(data: bytes) -> NameKey:
    network, wire = _KEY.unpack(data)
    labels, at = [], 0
    while wire[at]:
        labels.append(wire[at + 1 : at + 1 + wire[at]].decode("ascii"))
        at += 1 + wire[at]
    return NameKey(network, ".".join(labels))


def encode_addresses(addresses: tuple[IPAddress, ...]) -> bytes:
    """The first few of each family."""
    ipv4, ipv6 = (
        [address.packed for address in addresses if address.version == version][: abi.NAME_ADDRESSES]
        for version in (4, 6)
    )
    return _ENTRY.pack(
        len(ipv4),
        len(ipv6),
        b"".join(ipv4).ljust(4 * abi.NAME_ADDRESSES, b"\0"),
        b"".join(ipv6).ljust(16 * abi.NAME_ADDRESSES, b"\0"),
    )


def decode_addresses(data: bytes) -> tuple[IPAddress, ...]:
    """IPv4 first."""
    count4, count6, ipv4, ipv6 = _ENTRY.unpack(data)
    return (
        *(IPv4Address(ipv4[4 * index : 4 * index + 4]) for index in range(count4)),
        *(IPv6Address(ipv6[16 * index : 16 * index + 16]) for index in range(count6)),
    )


NAMES = Codec(encode_key, decode_key, encode_addresses, decode_addresses)
