"""The embedded store: one SQLite file in WAL mode.

One connection writes, another reads, so that no reader waits for another thread's fsync. A removed key stays
as a row without a value until the log is trimmed: there watches, also other processes', learn of it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
from store.sqlite_file import connect, explained, open_file
from store.watch import Changes, LogWatch, Signal

_REMOVALS_KEPT = 4096

_FIND = "SELECT idx FROM entries WHERE key = ? AND value IS NOT NULL"
_SET = (
    "INSERT INTO entries (key, idx, value) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET idx = excluded.idx, value = excluded.value"
)
_REMOVE = "UPDATE entries SET idx = ?, value = NULL WHERE key = ? AND value IS NOT NULL"
_REMOVE_BELOW = "UPDATE entries SET idx = ?, value = NULL WHERE key >= ? AND key < ? AND value IS NOT NULL"
_NEWEST = "SELECT max(idx) FROM entries"
_HORIZON = "SELECT number FROM facts WHERE name = 'horizon'"


class SqliteStore:
    """store.kv.KeyValueStore. The file and its folder are made if there is none; a file that is damaged, of
    another program or of an unknown version raises Unavailable or Unsupported, and is left as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._signal = Signal()
        self._writer = open_file(path)
        self._reader = connect(path)
        self._durable: bool | None = None
        """What the writer's `synchronous` stands for now."""
        self._removals = 0
        self._trimmable = 0
        """Removals up to this index go when enough newer ones have come."""
        self._trim_at_start()

    def get(self, key: str) -> Entry | None:
        with self._reads() as reader:
            row = reader.execute(
                "SELECT idx, value FROM entries WHERE key = ? AND value IS NOT NULL", (key,)
            ).fetchone()
        return None if row is None else Entry(key, row[1], row[0])

    def list(self, prefix: str) -> list[Entry]:
        with self._reads() as reader:
            return _entries(reader, prefix)

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        validate(ops)
        with self._writes(durable) as writer:
            newest = _newest(writer)
            index = newest + 1
            touched = removed = 0
            for op in ops:
                rows = _apply(writer, op, index)
                touched += rows
                if isinstance(op, Delete | DeletePrefix):
                    removed += rows
            if removed:
                self._trim(writer, removed, index)
        index = index if touched else newest
        self._signal.advance(index)
        return index

    def watch(self, prefix: str, since: int = 0) -> Watch:
        return LogWatch(self._changes, self._signal, prefix, since)

    def health(self) -> Health:
        return Health(problem="the store is closed" if self._signal.closed else "")

    def close(self) -> None:
        self._signal.close()
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _reads(self) -> Iterator[sqlite3.Connection]:
        with self._reading, explained(self._path):
            self._must_be_open()
            yield self._reader

    @contextmanager
    def _writes(self, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, undone by any exception."""
        with self._writing, explained(self._path):
            self._must_be_open()
            if durable is not self._durable:
                # FULL: the commit waits for the disk. NORMAL: it is in the log, and the disk follows.
                self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _must_be_open(self) -> None:
        if self._signal.closed:
            raise Unavailable("the store is closed")

    def _trim_at_start(self) -> None:
        """No watch is older than its process. The newest row stays, for it carries the index."""
        with self._writes(durable=False) as writer:
            newest = _newest(writer)
            _forget(writer, newest - 1)
        self._trimmable = newest
        self._signal.advance(newest)

    def _trim(self, writer: sqlite3.Connection, removed: int, index: int) -> None:
        self._removals += removed
        if self._removals >= _REMOVALS_KEPT:
            _forget(writer, self._trimmable)
            self._removals, self._trimmable = 0, index

    def _changes(self, prefix: str, since: int | None) -> Changes:
        with self._reads() as reader:
            reader.execute("BEGIN")  # one view of the file for all the reads below
            try:
                newest = _newest(reader)
                horizon = reader.execute(_HORIZON).fetchone()[0]
                if since is None or not horizon <= since <= newest:
                    return Changes(newest, _entries(reader, prefix), [], whole=True)
                rows = reader.execute(
                    "SELECT key, value, idx FROM entries"
                    " WHERE idx > ? AND key >= ? AND key < ? ORDER BY idx, key",
                    (since, *_bounds(prefix)),
                ).fetchall()
            finally:
                reader.execute("COMMIT")
        entries = [Entry(*row) for row in rows if row[1] is not None]
        return Changes(newest, entries, [row[0] for row in rows if row[1] is None], whole=False)


def _apply(writer: sqlite3.Connection, op: Op, index: int) -> int:
    """The number of rows changed."""
    if isinstance(op, DeletePrefix):
        return writer.execute(_REMOVE_BELOW, (index, *_bounds(op.prefix))).rowcount
    if op.index is not None:
        row = writer.execute(_FIND, (op.key,)).fetchone()
        found = 0 if row is None else row[0]
        if found != op.index:
            raise Conflict(conflict_text(op.key, op.index, found))
    if isinstance(op, Set):
        return writer.execute(_SET, (op.key, index, op.value)).rowcount
    if isinstance(op, Delete):
        return writer.execute(_REMOVE, (index, op.key)).rowcount
    assert isinstance(op, Check)
    return 0


def _forget(writer: sqlite3.Connection, horizon: int) -> None:
    writer.execute("DELETE FROM entries WHERE value IS NULL AND idx <= ?", (horizon,))
    writer.execute("UPDATE facts SET number = max(number, ?) WHERE name = 'horizon'", (horizon,))


def _newest(connection: sqlite3.Connection) -> int:
    return connection.execute(_NEWEST).fetchone()[0] or 0


def _entries(reader: sqlite3.Connection, prefix: str) -> list[Entry]:
    rows = reader.execute(
        "SELECT key, value, idx FROM entries WHERE key >= ? AND key < ? AND value IS NOT NULL ORDER BY key",
        _bounds(prefix),
    )
    return [Entry(*row) for row in rows]


def _bounds(prefix: str) -> tuple[str, str]:
    """From the prefix itself to what no key reaches: keys are printable ASCII."""
    return prefix, prefix + "\x7f"
