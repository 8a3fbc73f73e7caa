"""PURE. Operations of a transaction in Consul's words.

Every write carries a number of its transaction as the key's flags: by it a write is told from any other, also from one
that sets the same value (which Consul would not count as a change)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from store.kv import Check, Delete, DeletePrefix, Entry, Op, Set

Verb = dict[str, Any]
Row = tuple[str, int, int, str | None]
"""Key, index, flags, value in base64."""

_FENCE = "check-index"


@dataclass(frozen=True, slots=True)
class Fence:
    """The node's session, the key that it holds, with the index and value which that has."""

    session: str
    key: str
    index: int
    value: bytes


def spelled(ops: Sequence[Op], session: str, number: int) -> list[tuple[Op, Verb]]:
    """Consul's verbs in order, each with the operation that it belongs to."""
    return [(op, verb) for op in ops for verb in _verbs(op, session, number)]


def lock(key: str, value: bytes, session: str, number: int) -> Verb:
    return _verb("lock", key, Value=b64encode(value).decode(), Session=session, Flags=number)


def fenced(fence: Fence) -> Verb:
    """Holds only while the session lives and nothing has moved its key: with the session the key goes."""
    return _verb("check-index", fence.key, Index=fence.index)


def _verbs(op: Op, session: str, number: int) -> list[Verb]:
    if isinstance(op, DeletePrefix):
        return [_verb("delete-tree", op.prefix)]
    if isinstance(op, Check):
        return [check(op.key, op.index)]
    if isinstance(op, Delete):
        delete = _verb("delete", op.key)
        # Consul's own delete-cas takes a key that is gone for one that it has deleted.
        return [delete] if op.index is None else [check(op.key, op.index), delete]
    assert isinstance(op, Set)
    if op.session:
        held = lock(op.key, op.value, session, number)
        return [held] if op.index is None else [check(op.key, op.index), held]
    members = {"Value": b64encode(op.value).decode(), "Flags": number}
    if op.index is None:
        return [_verb("set", op.key, **members)]
    return [_verb("cas", op.key, Index=op.index, **members)]


def check(key: str, index: int) -> Verb:
    return _verb("check-index", key, Index=index) if index else _verb("check-not-exists", key)


def _verb(verb: str, key: str, **members: Any) -> Verb:
    return {"KV": {"Verb": verb, "Key": key, **members}}


def row(members: dict[str, Any]) -> Row:
    """Of an entry as Consul gives it."""
    return members["Key"], members["ModifyIndex"], members["Flags"], members["Value"]


def entry(found: Row) -> Entry:
    return Entry(found[0], b64decode(found[3] or ""), found[1])
