"""A socket to the kernel's routing tables: requests in batches, dumps, notifications. Knows the frame of a message
only; what is inside is encoded and decoded by links.py and hostview.py."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

ANSWER_SECONDS = 4.0
"""The kernel answers at once or something is badly wrong; Docker must hear of it within 5 s."""

ERROR, DONE = 2, 3
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300

HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port."""

_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_BUFFER = 1 << 18


class Rtnetlink:
    """Safe for many threads; one request is under way at a time. Works in the network namespace of the thread
    that makes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self._socket = _open(0)

    def close(self) -> None:
        self._socket.close()

    def request(self, messages: Sequence[bytes]) -> None:
        """Send all in one datagram and wait for every acknowledgement. The kernel goes on after a failed
        message; the first failure is raised as OSError."""
        if not messages:
            return
        with self._lock:
            datagram = bytearray()
            waiting = set()
            for message in messages:
                waiting.add(self._append(datagram, message, REQUEST | ACK))
            failure = 0
            for data in self._exchange(datagram):
                for kind, sequence, payload in _frames(data):
                    if kind == ERROR and sequence in waiting:
                        waiting.discard(sequence)
                        failure = failure or -struct.unpack_from("=i", payload, HEADER.size)[0]
                if not waiting:
                    break
        if failure:
            raise OSError(failure, os.strerror(failure))

    def dump(self, message: bytes) -> list[bytes]:
        """Every message of the answer, header included."""
        with self._lock:
            datagram = bytearray()
            own = self._append(datagram, message, REQUEST | DUMP)
            found: list[bytes] = []
            for data in self._exchange(datagram):
                for kind, sequence, whole in _frames(data):
                    if sequence != own:
                        continue
                    if kind in (ERROR, DONE):
                        return found
                    found.append(whole)
        return found

    def _append(self, datagram: bytearray, message: bytes, flags: int) -> int:
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        length, kind, own_flags, _, _ = HEADER.unpack_from(message)
        datagram += HEADER.pack(length, kind, own_flags | flags, self._sequence, 0) + message[HEADER.size :]
        datagram += bytes(-len(datagram) % 4)
        return self._sequence

    def _exchange(self, datagram: bytearray) -> Iterator[bytes]:
        """Yields what the kernel answers until the caller has enough. After a failure half-way the socket is
        replaced, so that a late answer is never taken for that of the next request."""
        try:
            self._socket.send(datagram)
            while True:
                yield self._socket.recv(_BUFFER)
        except OSError:
            self._socket.close()
            self._socket = _open(0)
            raise


class Notifications:
    """What changes in the multicast `groups` (RTMGRP_* bits)."""

    def __init__(self, groups: int) -> None:
        self._socket = _open(groups)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def close(self) -> None:
        """Wakes up who waits in `read`."""
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[tuple[int, bytes]]:
        """Type and whole message of each. Raises OSError with ENOBUFS when some were lost."""
        return [(kind, whole) for kind, _, whole in _frames(self._socket.recv(_BUFFER))]


def _open(groups: int) -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    netlink.bind((0, groups))
    netlink.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    netlink.settimeout(ANSWER_SECONDS)
    return netlink


def _frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, sequence number and whole of each message in a datagram."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, _, sequence, _ = HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset : offset + length]
        offset += (max(length, HEADER.size) + 3) & ~3
