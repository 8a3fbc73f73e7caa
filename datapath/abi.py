"""The mirror of datapath/bpf/abi.h: the same structs, numbers and byte order. PURE.

The only place in Python that knows how things lie in memory. Fields that are big-endian in C are
big-endian here by their type, so a port reads as the number people write. A test compiles a probe
and compares every size, offset, number and text, in both directions.
"""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum, IntFlag

ABI_VERSION = 2

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
be16, be32 = ctypes.c_uint16.__ctype_be__, ctypes.c_uint32.__ctype_be__


class EndpointFlag(IntFlag):
    NO_HOST = 1 << 0
    """No traffic with the host."""
    NO_WORLD = 1 << 1
    """No traffic with the world, nor with unmanaged addresses."""
    NO_CONTAINERS = 1 << 2
    """No traffic with other containers of the network."""
    AUDIT = 1 << 3
    """What its policy denies is told, and passes."""


class DeviceClass(IntEnum):
    UPLINK = 1


class Routing(IntEnum):
    """How this node reaches the containers of others."""

    ALONE = 0
    """There are no other nodes."""
    TUNNEL = 1
    NATIVE = 2


class PacketMark(IntEnum):
    """In a packet's mark, where no process without privileges can write."""

    MASK = 0x0F00
    OVERLAY = 0x0400
    """It is on its way into the tunnel: the programs have said as whose."""
    ROUTED = 0x0500
    """From another node by the host's routes to a container."""
    PUBLISHED = 0x0600
    """To a container by a port that is published."""


class CtFlag(IntFlag):
    FROM_HIGH = 1 << 0
    """The end called high opened the flow."""
    VIA_STACK = 1 << 1
    """Opened through the host's stack, whose NAT must see replies too."""
    ORIGIN_FIN = 1 << 2
    REPLY_FIN = 1 << 3
    RESET = 1 << 4
    SEEN_REPLY = 1 << 5


class Node(ctypes.Structure):
    _fields_ = [
        ("routing", u32),
        ("tunnel", u32),
        ("mtu", u32),
        ("address", be32),
        ("port", be16),
        ("pad", u8 * 2),
    ]


class Endpoint(ctypes.Structure):
    _fields_ = [
        ("identity", u32),
        ("network", u32),
        ("policy", u32),
        ("flags", u32),
        ("ipv4", be32),
        ("id", u16),
        ("mac", u8 * 6),
        ("ipv6", u8 * 16),
    ]


class IpcacheEntry(ctypes.Structure):
    _fields_ = [
        ("identity", u32),
        ("network", u32),
        ("ifindex", u32),
        ("policy", u32),
        ("flags", u32),
        ("tunnel", be32),
        ("id", u16),
        ("mac", u8 * 6),
    ]


class Ipv6Address(ctypes.Structure):
    _fields_ = [("bytes", u8 * 16)]


class Prefix4Key(ctypes.Structure):
    _fields_ = [("prefixlen", u32), ("address", be32)]


class Prefix6Key(ctypes.Structure):
    _fields_ = [("prefixlen", u32), ("address", u8 * 16)]


class PolicyKey(ctypes.Structure):
    _fields_ = [
        ("prefixlen", u32),
        ("identity", u32),
        ("direction", u8),
        ("protocol", u8),
        ("port", be16),
    ]


PREFIX_ANY_PROTOCOL, PREFIX_ANY_PORT = 40, 48
"""Lengths of a PolicyKey that names no protocol, and one that names no port; up to 64 with one."""


class PolicyEntry(ctypes.Structure):
    _fields_ = [("says", u8), ("pad", u8), ("proxy_port", be16), ("cookie", u32)]


class Ct4Key(ctypes.Structure):
    _fields_ = [
        ("low_address", be32),
        ("high_address", be32),
        ("low_port", be16),
        ("high_port", be16),
        ("protocol", u8),
        ("pad", u8 * 3),
    ]


class Ct6Key(ctypes.Structure):
    _fields_ = [
        ("low_address", u8 * 16),
        ("high_address", u8 * 16),
        ("low_port", be16),
        ("high_port", be16),
        ("protocol", u8),
        ("pad", u8 * 3),
    ]


class CtEntry(ctypes.Structure):
    _fields_ = [
        ("epoch", u64),
        ("expires", u64),
        ("origin_packets", u64),
        ("origin_bytes", u64),
        ("reply_packets", u64),
        ("reply_bytes", u64),
        ("source_identity", u32),
        ("destination_identity", u32),
        ("flags", u16),
        ("destination_port", be16),
        ("pad", u32),
    ]


class Fragment4Key(ctypes.Structure):
    _fields_ = [
        ("source", be32),
        ("destination", be32),
        ("id", be16),
        ("protocol", u8),
        ("pad", u8),
    ]


class Fragment6Key(ctypes.Structure):
    _fields_ = [
        ("source", u8 * 16),
        ("destination", u8 * 16),
        ("id", be32),
        ("protocol", u8),
        ("pad", u8 * 3),
    ]


class FragmentPorts(ctypes.Structure):
    _fields_ = [("source", be16), ("destination", be16)]


NAME_SIZE, NAME_ADDRESSES = 64, 4


class NameKey(ctypes.Structure):
    _fields_ = [("network", u32), ("name", u8 * NAME_SIZE)]


class NameEntry(ctypes.Structure):
    _fields_ = [
        ("ipv4_count", u32),
        ("ipv6_count", u32),
        ("ipv4", (u8 * 4) * NAME_ADDRESSES),
        ("ipv6", (u8 * 16) * NAME_ADDRESSES),
    ]


class Metric(ctypes.Structure):
    _fields_ = [("packets", u64), ("bytes", u64)]


class Scratch(ctypes.Structure):
    _fields_ = [("words", u64 * 48)]


class Event(ctypes.Structure):
    _fields_ = [
        ("time_ns", u64),
        ("source_identity", u32),
        ("destination_identity", u32),
        ("source", u8 * 16),
        ("destination", u8 * 16),
        ("source_port", be16),
        ("destination_port", be16),
        ("length", u32),
        ("ifindex", u32),
        ("endpoint", u16),
        ("type", u8),
        ("reason", u8),
        ("verdict", u8),
        ("direction", u8),
        ("protocol", u8),
        ("family", u8),
        ("tcp_flags", u8),
        ("icmp_type", u8),
        ("is_reply", u8),
        ("pad", u8 * 9),
    ]


_FORMATS: dict[object, str] = {u8: "B", u16: "H", u32: "I", u64: "Q"}


def packer(mirror: type[ctypes.Structure]) -> struct.Struct:
    """The struct as a `struct.Struct`, ten times as fast as ctypes for many entries. Numbers in the
    host's order are numbers; big-endian fields and arrays are bytes, as they lie; `pad` is skipped."""
    codes = []
    for name, kind in ((field[0], field[1]) for field in mirror._fields_):
        if name == "pad":
            codes.append(f"{ctypes.sizeof(kind)}x")
        elif issubclass(kind, ctypes.Array) or kind in (be16, be32):
            codes.append(f"{ctypes.sizeof(kind)}s")
        else:
            codes.append(_FORMATS[kind])
    return struct.Struct("=" + "".join(codes))
