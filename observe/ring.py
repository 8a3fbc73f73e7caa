"""PURE. The flows of the last moments: a bounded ring with any number of readers.

A reader never slows the writer: it keeps a position of its own, and what was overwritten before it came by
is counted and told to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """`written` counts all items ever appended; item number n is kept while n >= `oldest`."""

    __slots__ = ("_slots", "capacity", "written")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.written = 0
        self._slots: list[T] = []

    @property
    def oldest(self) -> int:
        return max(0, self.written - self.capacity)

    def append(self, item: T) -> None:
        if len(self._slots) < self.capacity:
            self._slots.append(item)
        else:
            self._slots[self.written % self.capacity] = item
        self.written += 1

    def extend(self, items: Iterable[T]) -> None:
        for item in items:
            self.append(item)

    def __getitem__(self, number: int) -> T:
        """An item that is still kept."""
        return self._slots[number % self.capacity]


class Cursor(Generic[T]):
    """One reader's place. Starts behind the newest item unless told another item's number."""

    __slots__ = ("_ring", "position")

    def __init__(self, ring: Ring[T], position: int | None = None) -> None:
        self._ring = ring
        self.position = ring.written if position is None else position

    @property
    def behind(self) -> int:
        return self._ring.written - self.position

    def take(self, limit: int) -> tuple[int, list[T]]:
        """How many items were overwritten unread, and the next ones, `limit` at most."""
        lost = max(0, self._ring.oldest - self.position)
        first = self.position + lost
        self.position = min(first + limit, self._ring.written)
        return lost, [self._ring[number] for number in range(first, self.position)]
