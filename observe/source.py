"""Where events come from: the datapath's pinned ring buffer.

The kernel keeps what is not read yet, 1 MiB of it, and refuses and counts the rest. So whoever reads slowly
loses events, never the machine's time."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    def fileno(self) -> int:
        """Readable when there are events."""

    def read(self, limit: int) -> list[bytes]:
        """The next events, `limit` at most; none if there are none now."""

    def lost(self) -> int:
        """Events that the kernel refused since the datapath was loaded."""

    def close(self) -> None: ...
