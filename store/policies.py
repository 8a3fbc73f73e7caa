"""Policy rules in the store: one key for each named set of rules, as the API takes them. What a rule means is
not known here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from model.errors import InvalidInput
from store.keys import RULES, Keys, RulesRecord
from store.kv import MAX_VALUE, Changed, Delete, Entry, KeyValueStore, Removed, Resynced, Set, Watch

OPERATOR: ContextVar[str] = ContextVar("operator", default="")
"""The token of whoever asks for what this thread does now, for stores that ask for tokens; empty: the node's own."""

UNNAMED = "default"
"""The set that holds the rules which were given without a name."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """`index`: the store's index when it was set; for a write that must not overtake another's. `origin`: who keeps
    it, as it calls itself; empty: nobody. `audit`: it only reports."""

    name: str
    rules: tuple[Mapping[str, Any], ...]
    index: int
    origin: str = ""
    audit: bool = False


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """`whole`: `sets` is all there is. `index`: every write up to it has been told of."""

    sets: tuple[RuleSet, ...]
    removed: tuple[str, ...]
    whole: bool
    index: int


class PolicyStore:
    """Writes are durable: they survive a power cut once they have returned."""

    def __init__(self, store: KeyValueStore, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._read: dict[str, RuleSet] = {}
        """What was read or written last, by name: an index is never used twice, and thousands of rules take their
        time."""

    def all(self) -> dict[str, RuleSet]:
        read = {rules.name: rules for rules in map(self._rule_set, self._store.list(self._keys.policies()))}
        self._read = read
        return dict(read)

    def get(self, name: str) -> RuleSet | None:
        entry = self._store.get(self._keys.policy(name))
        return None if entry is None else self._rule_set(entry)

    def put(
        self,
        name: str,
        rules: Sequence[Mapping[str, Any]],
        *,
        index: int | None = None,
        origin: str = "",
        audit: bool = False,
    ) -> int:
        """Replaces the whole set. Returns the store's index: `watch` tells of it at that index or later.
        `index` None: whatever is there; 0: there must be no such set; else it must not have changed since
        (Conflict)."""
        record = RulesRecord(tuple(dict(rule) for rule in rules), origin, audit)
        value = RULES.encode(record)
        if len(value) > MAX_VALUE:
            raise InvalidInput(
                f"{len(rules)} rules take {len(value)} bytes, where {MAX_VALUE} are the limit of one set",
                hint="divide them among several named sets",
            )
        written = self._store.transact(
            [Set(self._keys.policy(name), value, index=index)], token=OPERATOR.get()
        )
        self._read[name] = RuleSet(name, record.rules, written, origin, audit)
        return written

    def delete(self, name: str, *, index: int | None = None) -> int:
        """`index` None: a set that does not exist is no error; as nothing changed, `watch` tells nothing."""
        return self._store.transact([Delete(self._keys.policy(name), index=index)], token=OPERATOR.get())

    def watch(self, since: int = 0) -> PolicyWatch:
        return PolicyWatch(self._store.watch(self._keys.policies(), since), self._keys, self._rule_set)

    def _rule_set(self, entry: Entry) -> RuleSet:
        name = entry.key.removeprefix(self._keys.policies())
        known = self._read.get(name)
        if known is not None and known.index == entry.index:
            return known
        record = RULES.decode(entry)
        return RuleSet(name, record.rules, entry.index, record.origin, record.audit)


class PolicyWatch:
    """store.kv.Watch, told in rule sets."""

    def __init__(self, watch: Watch, keys: Keys, rule_set: Callable[[Entry], RuleSet]) -> None:
        self._watch = watch
        self._rule_set = rule_set
        self._prefix = keys.policies()

    def next(self, timeout: float | None = None) -> PolicyChange | None:
        """None: nothing happened in that time, or the watch was closed."""
        event = self._watch.next(timeout)
        if event is None:
            return None
        if isinstance(event, Removed):
            names = tuple(key.removeprefix(self._prefix) for key in event.keys)
            return PolicyChange((), names, whole=False, index=event.index)
        assert isinstance(event, Changed | Resynced)
        sets = tuple(map(self._rule_set, event.entries))
        return PolicyChange(sets, (), whole=isinstance(event, Resynced), index=event.index)

    def close(self) -> None:
        self._watch.close()
