"""A watch over Consul: queries that wait for a change, and what has changed since the one before.

Consul answers with everything below a prefix, or rather with what the token may read of it. Changes are found by each
entry's index and number of its transaction. After an outage that was told, and where Consul's index goes backwards
because it was restored or lost its data, everything is told anew."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from model.errors import Forbidden, Unavailable
from store.consul_http import BrokenOff, Unanswered
from store.consul_ops import Row, entry
from store.consul_tree import LIST_SECONDS, Tree
from store.kv import Changed, Entry, Event, Removed, Resynced

WAIT_SECONDS = 60.0
"""A query waits so long at most; then the whole answer comes again, changed or not. `next` may return earlier: the
query goes on, and the following call takes its answer."""

_GRACE_SECONDS = 2.0
"""A leader that is elected, or an agent that is started again, is nothing to tell of."""

_PAUSES = 0.1, 2.0
"""First and longest seconds between attempts while Consul does not answer; each is drawn at random below that."""


class ConsulWatch:
    """store.kv.Watch."""

    def __init__(self, tree: Tree, prefix: str, since: int, closed: Callable[[], bool]) -> None:
        self._tree = tree
        self._line = tree.line()
        self._prefix = prefix
        self._since = since
        self._store_closed = closed
        self._closed = threading.Event()
        self._pending: deque[Event] = deque()
        self._known: dict[str, tuple[int, int]] = {}
        """Key -> index and number of its transaction."""
        self._index = 0
        self._position = since
        """The index of the last event."""
        self._whole = True
        """The next answer is to be told as everything there is."""
        self._rest_until = 0.0
        self._pause = _PAUSES[0]
        self._failing_since = 0.0
        self._doubtful = False
        self._overdue = 0.0
        """When the query under way should have been answered long ago; 0: none is under way."""

    def next(self, timeout: float | None = None) -> Event | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        asked = False
        while not self._ended():
            if self._pending:
                return self._pending.popleft()
            left = WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, deadline - time.monotonic())
            if asked and left <= 0:
                return None
            self._ask(max(left, 0.0))
            asked = True
        return None

    def __iter__(self) -> Iterator[Event]:
        while not self._ended():
            event = self.next()
            if event is not None:
                yield event

    def close(self) -> None:
        self._closed.set()
        self._line.break_off()

    def hurry(self) -> None:
        """Consul answers again, and what this watch waits for may have been lost on the way."""
        self._line.break_off()

    def _ended(self) -> bool:
        return self._closed.is_set() or self._store_closed()

    def _ask(self, left: float) -> None:
        rest = self._rest_until - time.monotonic()
        if rest > 0:
            self._closed.wait(min(rest, left))
            if rest >= left:
                return
        try:
            if not self._overdue:
                # Where Consul was away it may have begun anew, at lower indexes: none is waited for.
                index = 0 if self._doubtful else self._index
                self._tree.begin(self._line, self._prefix, index, WAIT_SECONDS)
                self._overdue = time.monotonic() + WAIT_SECONDS * 17 / 16 + LIST_SECONDS
            if not self._line.ready(left - max(rest, 0.0)):
                if time.monotonic() > self._overdue:
                    self._line.close()
                    raise Unanswered("Consul does not answer a query that waits for changes")
                return
            self._overdue = 0.0
            index, rows = self._tree.finish(self._line, self._prefix)
        except Unavailable as error:
            self._overdue, self._doubtful = 0.0, True
            if not isinstance(error, BrokenOff) and not self._ended():
                self._failed(error)
            return
        began = time.monotonic()
        self._pause, self._failing_since, self._doubtful = _PAUSES[0], 0.0, False
        self._take(index, rows)
        # Where answers are large, half of the time is left to others.
        self._rest_until = 2 * time.monotonic() - began

    def _failed(self, error: Unavailable) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        self._rest_until = now + random.uniform(0, self._pause)
        self._pause = min(2 * self._pause, _PAUSES[1])
        if isinstance(error, Forbidden) or now - self._failing_since >= _GRACE_SECONDS:
            self._whole = True
            raise error

    def _take(self, index: int, rows: Sequence[Row]) -> None:
        known = {key: (modified, number) for key, modified, number, _ in rows}
        changed = [found for found in rows if self._known.get(found[0]) != known[found[0]]]
        removed = self._known.keys() - known.keys()
        backwards, before = index < self._index, self._position
        first = self._index == 0
        self._known, self._index, self._position = known, index, index
        if first and self._since == index:
            self._whole = False
        elif self._whole or (backwards and (changed or removed)):
            self._whole = False
            everything = sorted(map(entry, rows), key=lambda found: found.key)
            self._pending.append(Resynced(tuple(everything), index))
        else:
            if changed:
                entries = sorted(map(entry, changed), key=_by_age)
                # Whoever begins anew at this event must still be told of the removals that follow it.
                self._pending.append(Changed(tuple(entries), before if removed else index))
            if removed:
                self._pending.append(Removed(tuple(sorted(removed)), index))


def _by_age(found: Entry) -> tuple[int, str]:
    return found.index, found.key
