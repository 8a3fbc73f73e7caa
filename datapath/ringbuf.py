"""Reader of a BPF ring buffer, by memory mapping alone.

The kernel's half (kernel/bpf/ringbuf.c): two page-aligned positions that only grow. The consumer's page
is ours to write, the producer's page and the data are read-only, and the data is mapped twice in a row,
so that no record is cut at the end. A record is a header of 8 bytes (length, with two flags on top) and
its bytes, rounded up to 8. A record that is still being written has the busy flag: nothing behind it is
read before it is done. There must be one reader.
"""

from __future__ import annotations

import mmap
import os
import select
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from datapath import syscall

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER = 8
_AT_ONCE = 512
"""Records that are copied before their space is given back, unless the reader chooses."""


class RingBuffer:
    def __init__(self, ring: Path | int) -> None:
        """Map the ring that is pinned at this path, or that has this descriptor, which is then the reader's."""
        self._fd = ring if isinstance(ring, int) else syscall.get_pinned(str(ring))
        page = mmap.PAGESIZE
        self._size = syscall.map_info(self._fd).max_entries
        self._consumer_page = mmap.mmap(self._fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._ring = mmap.mmap(self._fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # Views of whole words: each access is one load or store, which the kernel's half relies on.
        self._consumer = memoryview(self._consumer_page).cast("Q")
        self._producer = memoryview(self._ring)[:8].cast("Q")
        self._data = memoryview(self._ring)[page:]
        self._lengths = self._data.cast("I")
        self._fence = Lock()
        self._epoll = select.epoll()
        self._epoll.register(self._fd, select.EPOLLIN)

    def poll(self, timeout: float | None) -> Iterator[bytes]:
        """Wait up to `timeout` seconds (None: for ever) for a record, then yield all that are there. What
        was taken from the ring but not yet yielded when the caller stops iterating is lost."""
        if not self._waiting():
            self._epoll.poll(timeout)
        while records := self.take():
            yield from records

    def fileno(self) -> int:
        """Readable, for a poller, while there are records."""
        return self._fd

    def take(self, limit: int = _AT_ONCE) -> list[bytes]:
        """The next records, `limit` at most, without waiting; a program's discarded ones are passed over.
        Reading less than is there costs nothing but the kernel's room for new ones."""
        position = self._consumer[0]
        end = self._producer[0]
        found: list[tuple[int, int]] = []
        while position < end and len(found) < limit:
            offset = position & (self._size - 1)
            header = self._lengths[offset >> 2]
            if header & _BUSY:
                break
            length = header & ~(_BUSY | _DISCARDED)
            if not header & _DISCARDED:
                found.append((offset + _HEADER, length))
            position += (length + _HEADER + 7) & ~7
        # A record's bytes may be read only after its header. Processors with weak ordering need to be
        # told; taking a lock does.
        with self._fence:
            records = [bytes(self._data[start : start + length]) for start, length in found]
        self._consumer[0] = position
        return records

    def _waiting(self) -> bool:
        return self._producer[0] != self._consumer[0]

    def close(self) -> None:
        """Unmap; what is unread stays for the next reader."""
        self._epoll.close()
        for view in (self._consumer, self._producer, self._lengths, self._data):
            view.release()
        self._consumer_page.close()
        self._ring.close()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
