"""Entries <-> the bytes that lie in maps. PURE.

Written for ten thousand entries at a time: one `struct` call each, no ctypes objects.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeVar

from datapath import abi
from datapath.tables import ConntrackRecord, CtFlag, EndpointEntry, IpcacheEntry, NodeEntry, Routing
from model.flow import Direction, DropReason
from model.network import IPAddress
from policy.mapstate import PolicyEntry, PolicyFlag, PolicyKey

K = TypeVar("K")
V = TypeVar("V")

_NUMBER = struct.Struct("=I")
_LONG = struct.Struct("=Q")
_NODE = abi.packer(abi.Node)
_ENDPOINT = abi.packer(abi.Endpoint)
_IPCACHE = abi.packer(abi.IpcacheEntry)
_PREFIX4 = abi.packer(abi.Prefix4Key)
_PREFIX6 = abi.packer(abi.Prefix6Key)
_POLICY_KEY = abi.packer(abi.PolicyKey)
_POLICY_ENTRY = abi.packer(abi.PolicyEntry)
_CT4 = abi.packer(abi.Ct4Key)
_CT6 = abi.packer(abi.Ct6Key)
_CT_ENTRY = abi.packer(abi.CtEntry)
_METRIC = abi.packer(abi.Metric)

REASONS = {int(reason): reason for reason in DropReason}

_NO_IPV4, _NO_IPV6 = bytes(4), bytes(16)


@dataclass(frozen=True, slots=True)
class Codec(Generic[K, V]):
    """How one table's keys and values become bytes and back."""

    encode_key: Callable[[K], bytes]
    decode_key: Callable[[bytes], K]
    encode_value: Callable[[V], bytes]
    decode_value: Callable[[bytes], V]


def encode_number(number: int) -> bytes:
    return _NUMBER.pack(number)


def decode_number(data: bytes) -> int:
    number: int = _NUMBER.unpack(data)[0]
    return number


def encode_long(number: int) -> bytes:
    return _LONG.pack(number)


def decode_longs(data: bytes) -> list[int]:
    """Of an array, or of all CPUs."""
    return [number for (number,) in _LONG.iter_unpack(data)]


def decode_metrics(data: bytes) -> list[tuple[int, int]]:
    """(packets, bytes) of each CPU."""
    return list(_METRIC.iter_unpack(data))


def encode_node(entry: NodeEntry) -> bytes:
    return _NODE.pack(
        entry.routing,
        entry.tunnel,
        entry.mtu,
        entry.address.packed if entry.address else _NO_IPV4,
        entry.port.to_bytes(2, "big"),
    )


def decode_node(data: bytes) -> NodeEntry:
    routing, tunnel, mtu, address, port = _NODE.unpack(data)
    return NodeEntry(
        Routing(routing),
        tunnel,
        mtu,
        None if address == _NO_IPV4 else IPv4Address(address),
        int.from_bytes(port, "big"),
    )


def encode_mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def decode_mac(data: bytes) -> str:
    return data.hex(":")


def encode_endpoint(entry: EndpointEntry) -> bytes:
    return _ENDPOINT.pack(
        entry.identity,
        entry.network,
        entry.policy,
        entry.flags,
        entry.ipv4.packed if entry.ipv4 else _NO_IPV4,
        entry.id,
        encode_mac(entry.mac),
        entry.ipv6.packed if entry.ipv6 else _NO_IPV6,
    )


def decode_endpoint(data: bytes) -> EndpointEntry:
    identity, network, policy, flags, ipv4, number, mac, ipv6 = _ENDPOINT.unpack(data)
    return EndpointEntry(
        identity,
        network,
        policy,
        flags,
        None if ipv4 == _NO_IPV4 else IPv4Address(ipv4),
        None if ipv6 == _NO_IPV6 else IPv6Address(ipv6),
        number,
        decode_mac(mac),
    )


def encode_ipcache(entry: IpcacheEntry) -> bytes:
    return _IPCACHE.pack(
        entry.identity,
        entry.network,
        entry.ifindex,
        entry.policy,
        entry.flags,
        entry.tunnel.packed if entry.tunnel else _NO_IPV4,
        entry.id,
        encode_mac(entry.mac),
    )


def decode_ipcache(data: bytes) -> IpcacheEntry:
    identity, network, ifindex, policy, flags, tunnel, number, mac = _IPCACHE.unpack(data)
    return IpcacheEntry(
        identity,
        network,
        ifindex,
        policy,
        flags,
        None if tunnel == _NO_IPV4 else IPv4Address(tunnel),
        number,
        decode_mac(mac),
    )


def encode_prefix4(prefix: IPv4Network) -> bytes:
    return _PREFIX4.pack(prefix.prefixlen, prefix.network_address.packed)


def decode_prefix4(data: bytes) -> IPv4Network:
    length, address = _PREFIX4.unpack(data)
    return IPv4Network((address, length))


def encode_prefix6(prefix: IPv6Network) -> bytes:
    return _PREFIX6.pack(prefix.prefixlen, prefix.network_address.packed)


def decode_prefix6(data: bytes) -> IPv6Network:
    length, address = _PREFIX6.unpack(data)
    return IPv6Network((address, length))


def encode_policy_key(key: PolicyKey) -> bytes:
    """The bits of the port beyond `port_bits` mean nothing and are stored as zeroes."""
    if not key.protocol:
        return _POLICY_KEY.pack(abi.PREFIX_ANY_PROTOCOL, key.identity, key.direction, 0, b"\0\0")
    port = key.port >> (16 - key.port_bits) << (16 - key.port_bits)
    length = abi.PREFIX_ANY_PORT + key.port_bits
    return _POLICY_KEY.pack(length, key.identity, key.direction, key.protocol, port.to_bytes(2, "big"))


def decode_policy_key(data: bytes) -> PolicyKey:
    length, identity, direction, protocol, port = _POLICY_KEY.unpack(data)
    bits = max(0, length - abi.PREFIX_ANY_PORT)
    return PolicyKey(Direction(direction), identity, protocol, int.from_bytes(port, "big"), bits)


def encode_policy_entry(entry: PolicyEntry) -> bytes:
    return _POLICY_ENTRY.pack(entry.says, entry.proxy_port.to_bytes(2, "big"), entry.cookie)


def decode_policy_entry(data: bytes) -> PolicyEntry:
    says, proxy_port, cookie = _POLICY_ENTRY.unpack(data)
    return PolicyEntry(PolicyFlag(says), int.from_bytes(proxy_port, "big"), cookie)


def decode_conntrack(key: bytes, value: bytes) -> ConntrackRecord:
    """Of either family: the key's size tells which."""
    ends = _CT4 if len(key) == _CT4.size else _CT6
    make: type[IPv4Address] | type[IPv6Address] = IPv4Address if ends is _CT4 else IPv6Address
    low, high, low_port, high_port, protocol = ends.unpack(key)
    epoch, expires, packets, octets, reply_packets, reply_octets, source, destination, flags, port = (
        _CT_ENTRY.unpack(value)
    )
    if flags & CtFlag.FROM_HIGH:
        low, high, low_port, high_port = high, low, high_port, low_port
    opener: IPAddress = make(low)
    return ConntrackRecord(
        source=opener,
        destination=make(high),
        source_port=int.from_bytes(low_port, "big"),
        destination_port=int.from_bytes(high_port, "big"),
        protocol=protocol,
        source_identity=source,
        destination_identity=destination,
        policy_port=int.from_bytes(port, "big"),
        flags=CtFlag(flags),
        epoch=epoch,
        expires_ns=expires,
        origin_packets=packets,
        origin_bytes=octets,
        reply_packets=reply_packets,
        reply_bytes=reply_octets,
    )


NUMBERS = Codec(encode_number, decode_number, encode_number, decode_number)
ENDPOINTS = Codec(encode_number, decode_number, encode_endpoint, decode_endpoint)
PREFIXES4 = Codec(encode_prefix4, decode_prefix4, encode_ipcache, decode_ipcache)
PREFIXES6 = Codec(encode_prefix6, decode_prefix6, encode_ipcache, decode_ipcache)
HOSTS4: Codec[IPv4Network, IpcacheEntry] = Codec(
    lambda prefix: prefix.network_address.packed,
    IPv4Network,
    encode_ipcache,
    decode_ipcache,
)
HOSTS6: Codec[IPv6Network, IpcacheEntry] = Codec(
    lambda prefix: prefix.network_address.packed,
    IPv6Network,
    encode_ipcache,
    decode_ipcache,
)
POLICY = Codec(encode_policy_key, decode_policy_key, encode_policy_entry, decode_policy_entry)
