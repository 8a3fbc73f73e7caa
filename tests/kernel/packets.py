"""Packets as bytes, built from the inside out: `ethernet(ipv4(A, B, tcp(1234, 80)))`.

Fields that a test does not name are valid. Checksums are filled in only where a program reads them.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

GATEWAY_MAC = "02:63:69:6c:00:01"
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"

IPV4, ARP, IPV6, VLAN, QINQ = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
TCP, UDP, SCTP, ICMP, ICMP6 = 6, 17, 132, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT, DESTINATION = 0, 43, 44, 59, 60
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MORE = 0x2000
"""More fragments follow."""

Payload = tuple[int, bytes]
"""A protocol number and its bytes."""


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(
    kind: int, payload: bytes, *, source: str, destination: str = GATEWAY_MAC, tag: bytes = b""
) -> bytes:
    return mac(destination) + mac(source) + tag + struct.pack("!H", kind) + payload


def ipv4(
    source: str,
    destination: str,
    payload: Payload,
    *,
    id: int = 1,
    fragment: int = 0,
    options: bytes = b"",
    ttl: int = 64,
    version: int = 4,
    length: int | None = None,
    header: int | None = None,
) -> bytes:
    """`fragment`: flags and offset in units of 8 bytes, as they lie. `length` and `header` (in words)
    lie about the total and the header."""
    protocol, data = payload
    words = 5 + len(options) // 4 if header is None else header
    total = 20 + len(options) + len(data) if length is None else length
    head = struct.pack(
        "!BBHHHBBH4s4s",
        version << 4 | words,
        0,
        total,
        id,
        fragment,
        ttl,
        protocol,
        0,
        IPv4Address(source).packed,
        IPv4Address(destination).packed,
    )
    return head + options + data


def ipv6(
    source: str,
    destination: str,
    payload: Payload,
    *,
    hop_limit: int = 64,
    version: int = 6,
    length: int | None = None,
) -> bytes:
    protocol, data = payload
    size = len(data) if length is None else length
    head = struct.pack("!IHBB", version << 28, size, protocol, hop_limit)
    return head + IPv6Address(source).packed + IPv6Address(destination).packed + data


def extension(kind: int, inner: Payload, *, words: int = 0) -> Payload:
    """Hop-by-hop, destination options or routing: `words` times 8 bytes longer than the least."""
    return kind, struct.pack("!BB", inner[0], words) + bytes(6 + 8 * words) + inner[1]


def fragment6(inner: Payload, *, offset: int = 0, more: bool = False, id: int = 1) -> Payload:
    """`offset` in units of 8 bytes."""
    return FRAGMENT, struct.pack("!BBHI", inner[0], 0, offset << 3 | more, id) + inner[1]


def tcp(source: int, destination: int, flags: int = ACK, data: bytes = b"", *, words: int = 5) -> Payload:
    head = struct.pack("!HHIIBBHHH", source, destination, 1, 1, words << 4, flags, 1000, 0, 0)
    return TCP, head + data


def udp(source: int, destination: int, data: bytes = b"", *, length: int | None = None) -> Payload:
    size = 8 + len(data) if length is None else length
    return UDP, struct.pack("!HHHH", source, destination, size, 0) + data


def sctp(source: int, destination: int) -> Payload:
    return SCTP, struct.pack("!HHII", source, destination, 1, 0)


def icmp(kind: int, code: int = 0, *, id: int = 0, data: bytes = b"", v6: bool = False) -> Payload:
    return ICMP6 if v6 else ICMP, struct.pack("!BBHHH", kind, code, 0, id, 1) + data


def ping(id: int, *, v6: bool = False) -> Payload:
    return icmp(128 if v6 else 8, id=id, v6=v6)


def pong(id: int, *, v6: bool = False) -> Payload:
    return icmp(129 if v6 else 0, id=id, v6=v6)


def arp(
    operation: int, sender_mac: str, sender: str, target: str, *, target_mac: str = "00:00:00:00:00:00"
) -> bytes:
    return struct.pack(
        "!HHBBH6s4s6s4s",
        1,
        IPV4,
        6,
        4,
        operation,
        mac(sender_mac),
        IPv4Address(sender).packed,
        mac(target_mac),
        IPv4Address(target).packed,
    )


def solicitation(target: str, option: bytes = b"", *, kind: int = 135, code: int = 0) -> Payload:
    """A neighbour solicitation, or with `kind` another message of that form."""
    return ICMP6, struct.pack("!BBHI", kind, code, 0, 0) + IPv6Address(target).packed + option


def source_mac(text: str) -> bytes:
    """The option that a solicitation carries."""
    return struct.pack("!BB6s", 1, 1, mac(text))


def checksum6(packet: bytes) -> int:
    """Of an IPv6 packet without extension headers, over all of it: 0 if its checksum is right."""
    data = packet[40:]
    pseudo = packet[8:40] + struct.pack("!II", len(data), packet[6])
    padded = pseudo + data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip(source: str, destination: str, payload: Payload) -> tuple[int, bytes]:
    """EtherType and packet of the addresses' family."""
    if ip_address(source).version == 4:
        return IPV4, ipv4(source, destination, payload)
    return IPV6, ipv6(source, destination, payload)
