"""A set of whole numbers that finds its next gap fast, however large the numbers are. PURE."""

from __future__ import annotations

_BITS = 4096
"""Members of one chunk. Larger: fewer chunks to skip where all is full, more bytes copied by each change."""


class Bitmap:
    """Chunks without members take no room, so that an IPv6 pool costs what is used of it."""

    def __init__(self) -> None:
        self._chunks: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        chunk, bit = divmod(number, _BITS)
        return bool(self._chunks.get(chunk, 0) >> bit & 1)

    def add(self, number: int) -> None:
        if number not in self:
            chunk, bit = divmod(number, _BITS)
            self._chunks[chunk] = self._chunks.get(chunk, 0) | 1 << bit
            self._count += 1

    def discard(self, number: int) -> None:
        if number in self:
            chunk, bit = divmod(number, _BITS)
            self._count -= 1
            self._chunks[chunk] ^= 1 << bit
            if not self._chunks[chunk]:
                del self._chunks[chunk]

    def next_gap(self, start: int, stop: int) -> int | None:
        """The smallest number from `start` to below `stop` that is no member."""
        while start < stop:
            chunk, bit = divmod(start, _BITS)
            free = ~(self._chunks.get(chunk, 0) >> bit)
            skipped = (free & -free).bit_length() - 1
            if bit + skipped < _BITS:
                return start + skipped if start + skipped < stop else None
            start += _BITS - bit
        return None
