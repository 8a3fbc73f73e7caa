"""Where events come from: the datapath's pinned ring buffer.

The kernel keeps what is not read yet, 1 MiB of it, and refuses and counts the rest. So whoever reads slowly
loses events, never the machine's time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from datapath import syscall
from datapath.codec import decode_longs, encode_number
from datapath.kernel import possible_cpus
from datapath.pins import maps_directory, open_map
from datapath.ringbuf import RingBuffer


class Source(Protocol):
    def fileno(self) -> int:
        """Readable while there are events."""

    def read(self, limit: int) -> list[bytes]:
        """The next events, `limit` at most; none if there are none now."""

    def lost(self) -> int:
        """Events that the kernel refused since the datapath was loaded."""

    def current(self) -> bool:
        """False once another datapath has taken its place."""

    def close(self) -> None: ...


class KernelSource:
    """The pinned maps `events` and `lost`. Raises NotFound or OSError while the datapath is not loaded."""

    def __init__(self, bpf_root: Path) -> None:
        self._pin = maps_directory(bpf_root) / "events"
        self._lost_fd = open_map(bpf_root, "lost")
        try:
            self._inode = self._pin.stat().st_ino
            self._ring = RingBuffer(self._pin)
        except OSError:
            os.close(self._lost_fd)
            raise
        self._lost_size = 8 * possible_cpus()

    def fileno(self) -> int:
        return self._ring.fileno()

    def read(self, limit: int) -> list[bytes]:
        return self._ring.take(limit)

    def lost(self) -> int:
        return sum(decode_longs(syscall.lookup(self._lost_fd, encode_number(0), self._lost_size) or b""))

    def current(self) -> bool:
        try:
            return self._pin.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        self._ring.close()
        os.close(self._lost_fd)
