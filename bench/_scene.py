"""What every program is measured on: a packet of one container to another, and how much else its tables hold.

The container's MAC address is the gateway's: the packet that a run leaves is the next run's packet, and must
still be one that the container may send.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from datapath import syscall
from datapath.ringbuf import RingBuffer

LOOPBACK = 1
"""TEST_RUN's packets come from this interface."""
MAC = "02:63:69:6c:00:01"
MAC_BYTES = bytes.fromhex(MAC.replace(":", ""))
OWN, TARGET = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
OWN_IDENTITY, TARGET_IDENTITY = 300, 301
TARGET_INTERFACE = 5
OTHERS = [IPv4Address(int(IPv4Address("10.99.0.0")) + number) for number in range(10_000)]
"""Addresses of other containers, so that tables are not empty."""
RULES = 1000
"""Entries of other peers in the target's policy."""

TCP, SYN, ACK = 6, 2, 16
OPEN_PORT, CLOSED_PORT = 80, 81


def packet(source_port: int, destination_port: int, flags: int) -> bytes:
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 50, 1, 0, 64, TCP, 0, OWN.packed, TARGET.packed)
    tcp = struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, flags, 1000, 0, 0)
    return MAC_BYTES + MAC_BYTES + b"\x08\x00" + ip + tcp + bytes(10)


@dataclass(frozen=True)
class Subject:
    """A loaded program, and the ring that it tells its events, if it tells any."""

    program: int
    ring: RingBuffer | None = None

    def run(self, data: bytes, *, repeat: int = 1) -> syscall.TestRun:
        return syscall.run_program(self.program, data, repeat=repeat)

    def make_room(self) -> None:
        """For the next events: to write one costs more than to find the ring full."""
        while self.ring and self.ring.take():
            pass
