"""Packets as another node's tunnel would send them, with every field a lie if need be."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

from driver.plan import GATEWAY_MAC, RoutingMode
from tests.kernel.packets import IPV4, UDP, Payload, checksum6, ethernet, ip, ipv4, udp

TUNNEL_MAC = "02:63:69:6c:00:02"


def carried(mode: RoutingMode, vni: int, frame: bytes, *, port: int = 0) -> Payload:
    """A frame in the tunnel's UDP packet."""
    head = (
        struct.pack("!II", 0x08000000, vni << 8)
        if mode is RoutingMode.VXLAN
        else struct.pack("!HHI", 0, 0x6558, vni << 8)
    )
    return udp(40000, port or mode.port, head + frame)


def inner(source: str, destination: str, payload: Payload) -> bytes:
    """With the checksums that a receiver looks at."""
    kind, data = ip(source, destination, payload)
    packet = bytearray(data)
    if kind == IPV4:
        _sum(packet)
    elif payload[0] == UDP:
        packet[46:48] = struct.pack("!H", checksum6(data))
    return ethernet(kind, bytes(packet), source=TUNNEL_MAC, destination=GATEWAY_MAC)


def outer(
    source: IPv4Address | str, destination: IPv4Address | str, payload: Payload, *, number: int
) -> bytes:
    return on_the_wire(ipv4(str(source), str(destination), payload), number=number)


def on_the_wire(packet: bytes, *, number: int) -> bytes:
    """The frame with an IPv4 packet for host `number`."""
    whole = bytearray(packet)
    _sum(whole)
    return ethernet(
        IPV4, bytes(whole), source="02:00:00:00:00:99", destination=f"02:00:00:00:00:{number:02x}"
    )


def _sum(packet: bytearray) -> None:
    """Of the IPv4 header."""
    total = sum(struct.unpack("!10H", packet[:20]))
    total = (total & 0xFFFF) + (total >> 16)
    packet[10:12] = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


def send(wire: socket.socket, frame: bytes) -> None:
    with wire:
        wire.send(frame)
