"""The store in memory: the contract without a disk. For tests, and wherever nothing need outlive the
process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.errors import Conflict, Unavailable
from store.kv import (
    Check,
    Delete,
    DeletePrefix,
    Entry,
    Health,
    Op,
    Set,
    Watch,
    conflict_text,
    validate,
)
from store.watch import Changes, LogWatch, Signal

_REMOVALS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class _Row:
    value: bytes | None
    """None: removed at `index`."""
    index: int


_ABSENT = _Row(None, 0)


class MemoryStore:
    """store.kv.KeyValueStore."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._index = 0
        self._horizon = 0
        """Removals up to this index are forgotten."""
        self._removals = 0
        self._trimmable = 0
        """Removals up to this index go when enough newer ones have come."""
        self._signal = Signal()

    def get(self, key: str) -> Entry | None:
        with self._lock:
            self._must_be_open()
            row = self._rows.get(key, _ABSENT)
        return None if row.value is None else Entry(key, row.value, row.index)

    def list(self, prefix: str) -> list[Entry]:
        with self._lock:
            self._must_be_open()
            return _entries(self._rows, prefix)

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        validate(ops)
        with self._lock:
            self._must_be_open()
            index = self._index + 1
            draft: dict[str, _Row] = {}
            for op in ops:
                self._apply(op, index, draft)
            if draft:
                self._rows.update(draft)
                self._index = index
                self._trim(sum(row.value is None for row in draft.values()))
            index = self._index
        self._signal.advance(index)
        return index

    def watch(self, prefix: str, since: int = 0) -> Watch:
        return LogWatch(self._changes, self._signal, prefix, since)

    def health(self) -> Health:
        return Health(problem="the store is closed" if self._signal.closed else "")

    def close(self) -> None:
        self._signal.close()

    def _must_be_open(self) -> None:
        if self._signal.closed:
            raise Unavailable("the store is closed")

    def _apply(self, op: Op, index: int, draft: dict[str, _Row]) -> None:
        if isinstance(op, DeletePrefix):
            for key in {**self._rows, **draft}:
                if key.startswith(op.prefix):
                    self._remove(key, index, draft)
            return
        if op.index is not None:
            row = draft.get(op.key) or self._rows.get(op.key, _ABSENT)
            found = 0 if row.value is None else row.index
            if found != op.index:
                raise Conflict(conflict_text(op.key, op.index, found))
        if isinstance(op, Set):
            draft[op.key] = _Row(op.value, index)
        elif isinstance(op, Delete):
            self._remove(op.key, index, draft)
        else:
            assert isinstance(op, Check)

    def _remove(self, key: str, index: int, draft: dict[str, _Row]) -> None:
        row = draft.get(key) or self._rows.get(key, _ABSENT)
        if row.value is not None:
            draft[key] = _Row(None, index)

    def _trim(self, removed: int) -> None:
        self._removals += removed
        if self._removals >= _REMOVALS_KEPT:
            self._horizon = self._trimmable
            for key, row in list(self._rows.items()):
                if row.value is None and row.index <= self._horizon:
                    del self._rows[key]
            self._removals, self._trimmable = 0, self._index

    def _changes(self, prefix: str, since: int | None) -> Changes:
        with self._lock:
            self._must_be_open()
            now = self._index
            if since is None or not self._horizon <= since <= now:
                return Changes(now, _entries(self._rows, prefix), [], whole=True)
            rows = sorted(
                (row.index, key, row.value)
                for key, row in self._rows.items()
                if row.index > since and key.startswith(prefix)
            )
        entries = [Entry(key, value, index) for index, key, value in rows if value is not None]
        removed = [key for _, key, value in rows if value is None]
        return Changes(now, entries, removed, whole=False)


def _entries(rows: Mapping[str, _Row], prefix: str) -> list[Entry]:
    found = (
        Entry(key, row.value, row.index)
        for key, row in rows.items()
        if row.value is not None and key.startswith(prefix)
    )
    return sorted(found, key=lambda entry: entry.key)
