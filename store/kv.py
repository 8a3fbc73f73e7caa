"""The key-value store, as everything else in ciliate sees it: a small Protocol that an embedded file and a
cluster's consensus store can both keep.

An index is a whole number that grows with every transaction that changes something; an entry's index is that
of the transaction which set it. Limits are those of the narrowest store, held by all, so that nothing works
on one host and fails on many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.errors import InvalidInput

MAX_VALUE = 512 * 1024
"""Bytes in one value."""

MAX_OPERATIONS = 62
"""Operations in one transaction, where a Delete with an index and a session's Set with an index count twice. (Consul
takes 64; two are for the check of the node's session.)"""

MAX_TRANSACTION = 320 * 1024
"""Bytes of values in a transaction of several operations (a cluster store sends them as text, which takes a
third more, in one request of 512 KB). A transaction of one operation may carry MAX_VALUE,
if that does not belong to the session."""

_KEY = re.compile(r"[!-.0-~][!-~]{0,511}")


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Set:
    """`index` None: whatever is there; 0: the key must not exist; else it must still have that index.
    `session`: the key belongs to this node's session. A store shared by nodes removes it some time after the
    node has died; an embedded store has no other node to outlive its own, and keeps it until the node itself
    prunes it."""

    key: str
    value: bytes
    index: int | None = None
    session: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """`index` None: an absent key is no error; else the key must exist and have that index."""

    key: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class DeletePrefix:
    prefix: str


@dataclass(frozen=True, slots=True)
class Check:
    """Changes nothing; fails the transaction unless the key has this index (0: does not exist)."""

    key: str
    index: int


Op = Set | Delete | DeletePrefix | Check


@dataclass(frozen=True, slots=True)
class Changed:
    """Keys that were made or set, oldest first. Steps in between may be missing: a key set twice may be seen
    once, with its last value. `index`, of each event: a watch that begins there goes on after this event."""

    entries: tuple[Entry, ...]
    index: int


@dataclass(frozen=True, slots=True)
class Removed:
    """Keys that are gone, oldest first, after the Changed of the same time. May name a key that this watch
    never showed, because it came and went in between."""

    keys: tuple[str, ...]
    index: int


@dataclass(frozen=True, slots=True)
class Resynced:
    """Everything below the prefix, sorted by key; what is not in it does not exist."""

    entries: tuple[Entry, ...]
    index: int


Event = Changed | Removed | Resynced


@dataclass(frozen=True, slots=True)
class Health:
    """`session` grows with every session that begins: keys that belonged to an earlier one are gone, or will be, until
    they are put back. 0: there has been none yet. An embedded store begins one and keeps it. `problem`: why the store
    does not answer, empty while it does; `since`: from when on, by time.monotonic()."""

    session: int = 1
    problem: str = ""
    since: float = 0.0


class Watch(Protocol):
    """Every change below one prefix, in order. One reader at a time."""

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event, waiting up to `timeout` seconds (None: for ever). None: nothing happened in that
        time, or the watch or its store was closed. Unavailable: the store does not answer; the watch stays
        usable and loses nothing."""

    def __iter__(self) -> Iterator[Event]:
        """Events until the watch or its store is closed."""

    def close(self) -> None:
        """Ends a waiting `next` at once; may be called from any thread, and twice."""


class KeyValueStore(Protocol):
    """Safe for many threads. Every call may raise Unavailable, with a hint; nothing is half done then."""

    def get(self, key: str) -> Entry | None: ...

    def list(self, prefix: str) -> list[Entry]:
        """Every entry whose key begins with `prefix`, sorted by key."""

    def transact(self, ops: Sequence[Op], *, durable: bool = True, token: str = "") -> int:
        """Applies all operations, one after the other, or none. Returns the index at which it took effect:
        the index of each key it set. Durable: survives a power cut once it has returned; else it survives
        the death of the process and may be undone by a power cut, as a whole and never before older ones.
        `token`: of whoever asks for this one write, where the store asks for tokens; nothing in it belongs to the
        node's session then.
        Raises Conflict if an index is not as demanded, InvalidInput if a key or limit is not kept."""

    def watch(self, prefix: str, since: int = 0) -> Watch:
        """0: begins with a Resynced. Else with what happened after that index, or with a Resynced where the
        store no longer knows that."""

    def health(self) -> Health:
        """What is known of it; asks nobody."""

    def close(self) -> None: ...


def validate(ops: Sequence[Op]) -> None:
    """What every store demands of a transaction before it touches anything."""
    count = sum(map(_weight, ops))
    if count > MAX_OPERATIONS:
        raise InvalidInput(f"a transaction of {count} operations, where {MAX_OPERATIONS} are the limit")
    total = 0
    for op in ops:
        key = op.prefix if isinstance(op, DeletePrefix) else op.key
        if not _KEY.fullmatch(key):
            raise InvalidInput(
                f"{key!r} is no key: 1 to 512 printable characters, none a space, no first '/'"
            )
        if isinstance(op, Delete) and op.index == 0:
            raise InvalidInput(f"{key}: what must not exist cannot be deleted")
        if isinstance(op, Set):
            total += len(op.value)
            if len(op.value) > MAX_VALUE:
                raise InvalidInput(
                    f"{key}: a value of {len(op.value)} bytes, where {MAX_VALUE} are the limit",
                    hint="divide it among several keys",
                )
    if len(ops) > 1 and total > MAX_TRANSACTION:
        raise InvalidInput(
            f"values of {total} bytes in one transaction, where {MAX_TRANSACTION} are the limit",
            hint="divide it among several transactions",
        )


def _weight(op: Op) -> int:
    if isinstance(op, Delete) or (isinstance(op, Set) and op.session):
        return 1 if op.index is None else 2
    return 1


def conflict_text(key: str, demanded: int, found: int) -> str:
    """`found` 0: the key does not exist."""
    if demanded == 0:
        return f"{key} exists already"
    return f"{key} was {'changed' if found else 'removed'} by another writer"
