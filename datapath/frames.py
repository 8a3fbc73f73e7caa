"""Packets as bytes, only as much of them as a program reads: what opens a flow, and what answers it. PURE."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from model.network import IPAddress

TCP, UDP, SCTP, ICMP, ICMP6 = 6, 17, 132, 1, 58
_SYN, _ACK = 0x02, 0x10
_ECHO_ANSWERS = {(ICMP, 8): 0, (ICMP6, 128): 129}
"""(protocol, type) of the ICMP questions that an answer belongs to, and the answer's type."""


@dataclass(frozen=True, slots=True)
class Flow:
    """`port`: the destination's; ICMP: the type. `source_port`: the source's; ICMP: the identifier."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    source_port: int
    port: int

    @property
    def has_answer(self) -> bool:
        """Whether there is a packet that is known for this flow's answer."""
        return self.protocol not in (ICMP, ICMP6) or (self.protocol, self.port) in _ECHO_ANSWERS

    def opening(self) -> bytes:
        """Its first packet, from the IP header on."""
        return _ip(self.source, self.destination, self.protocol, self._payload(answers=False))

    def answer(self) -> bytes:
        """The other end's first packet."""
        return _ip(self.destination, self.source, self.protocol, self._payload(answers=True))

    def _payload(self, *, answers: bool) -> bytes:
        if self.protocol in (ICMP, ICMP6):
            kind = _ECHO_ANSWERS[self.protocol, self.port] if answers else self.port
            return struct.pack("!BBHHH", kind, 0, 0, self.source_port, 1)
        ports = (self.port, self.source_port) if answers else (self.source_port, self.port)
        if self.protocol == TCP:
            flags = _SYN | _ACK if answers else _SYN
            return struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 1000, 0, 0)
        if self.protocol == UDP:
            return struct.pack("!HHHH", *ports, 8, 0)
        return struct.pack("!HHII", *ports, 1, 0)


def ethernet(packet: bytes, source: str, destination: str) -> bytes:
    """Between two MACs like "02:42:0a:c8:00:02"."""
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return bytes.fromhex((destination + source).replace(":", "")) + kind + packet


def _ip(source: IPAddress, destination: IPAddress, protocol: int, payload: bytes) -> bytes:
    if source.version == 4:
        head = struct.pack("!BBHHHBBH", 4 << 4 | 5, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    else:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    return head + source.packed + destination.packed + payload
