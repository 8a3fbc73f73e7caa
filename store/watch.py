"""Watches over a store that keeps a log: a change wakes every waiting reader of this process at once, and
changes that other processes make are found by asking the log a few times a second."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.errors import Unavailable
from store.kv import Changed, Entry, Event, Removed, Resynced

POLL_SECONDS = 0.5
"""How long a change made by another process may stay unseen; one indexed read that finds nothing."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a log says: `whole` means that `entries` is all there is, because the log does not reach back to
    where the reader stands."""

    index: int
    entries: list[Entry]
    removed: list[str]
    whole: bool


ReadLog = Callable[[str, int | None], Changes]
"""(prefix, since) -> changes after `since`; None asks for everything."""


class Signal:
    """The newest index that this process has written, and whether its store is closed."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.index = 0
        self.closed = False

    def advance(self, index: int) -> None:
        with self.condition:
            self.index = max(self.index, index)
            self.condition.notify_all()

    def close(self) -> None:
        with self.condition:
            self.closed = True
            self.condition.notify_all()


class LogWatch:
    """store.kv.Watch over a log."""

    def __init__(self, read: ReadLog, signal: Signal, prefix: str, since: int) -> None:
        self._read = read
        self._signal = signal
        self._prefix = prefix
        self._position = since or None
        self._pending: deque[Event] = deque()
        self._closed = False

    def next(self, timeout: float | None = None) -> Event | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended():
            if not self._pending:
                self._fetch()
            if self._pending:
                return self._pending.popleft()
            left = POLL_SECONDS if deadline is None else min(POLL_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return None
            self._sleep(left)
        return None

    def __iter__(self) -> Iterator[Event]:
        while not self._ended():
            event = self.next()
            if event is not None:
                yield event

    def close(self) -> None:
        with self._signal.condition:
            self._closed = True
            self._signal.condition.notify_all()

    def _ended(self) -> bool:
        return self._closed or self._signal.closed

    def _sleep(self, seconds: float) -> None:
        position = self._position or 0
        with self._signal.condition:
            if self._signal.index <= position and not self._ended():
                self._signal.condition.wait(seconds)

    def _fetch(self) -> None:
        try:
            changes = self._read(self._prefix, self._position)
        except Unavailable:
            if self._ended():
                return
            raise
        if changes.whole:
            self._pending.append(Resynced(tuple(changes.entries), changes.index))
        else:
            if changes.entries:
                # Whoever begins anew at this event must still be told of the removals that follow it.
                index = (self._position or 0) if changes.removed else changes.index
                self._pending.append(Changed(tuple(changes.entries), index))
            if changes.removed:
                self._pending.append(Removed(tuple(changes.removed), changes.index))
        self._position = changes.index
