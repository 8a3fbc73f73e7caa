"""Identities in the store: the same labels are the same number on every node.

An identity exists as two keys, made and removed together: its number, which holds the labels, and its labels'
hash, which holds the number. Each node that uses it holds a reference. Taking a reference checks that the
identity is still what was read; collection first condemns an identity without references, and removes it only when it
has been condemned for a while, so that a reference taken in between is never overtaken, and no number soon means other
labels: not while packets, other nodes' tables, or a node that is cut off from the store still know it. One node, which
holds a lock by its session, collects for all."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import structlog

from model.errors import Conflict, Exhausted, Unavailable
from model.identity import CLUSTER_FIRST, CLUSTER_LAST
from model.labels import Labels
from store.keys import HOLDER, IDENTITY, MARK, NUMBER, IdentityRecord, Keys
from store.kv import MAX_OPERATIONS, Check, Delete, Entry, KeyValueStore, Op, Set

log = structlog.get_logger("store")

_ATTEMPTS = 512
"""Each lost race is another writer's success, so this many in one call mean that something is wrong."""

_SPREAD = 64
"""Who has lost a race for a number tries one of so many that come next, so that many who begin at once soon part."""

GRACE_SECONDS = 15 * 60
"""An identity that nobody uses is kept for so long: longer than others keep the addresses of a node whose session has
ended."""


@dataclass(slots=True)
class _Held:
    """An identity that this node has a reference to. `uses` counts allocations without release; `idle`: there
    were none at the last collection either."""

    number: int
    labels: Labels
    uses: int = 0
    idle: bool = False


class IdentityAllocator:
    """Thread-safe. `numbers` is what may be given out. Every method that reaches the store may raise
    Unavailable; allocating and releasing what this node already uses never reaches it."""

    def __init__(
        self,
        store: KeyValueStore,
        keys: Keys,
        node: str,
        *,
        numbers: range = range(CLUSTER_FIRST, CLUSTER_LAST + 1),
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keys = keys
        self._node = node
        self._numbers = numbers
        self._grace = grace
        self._clock = clock
        self._lock = threading.Lock()
        """Guards the two tables below; never held while the store is asked."""
        self._by_labels: dict[Labels, _Held] = {}
        self._by_number: dict[int, _Held] = {}
        self._asking = threading.Lock()
        """Held while references of this node are taken or dropped in the store."""
        self._taken: set[int] = set()
        """Numbers known to be in use, by anyone; some may be free again."""
        self._session = 0
        """Of the store, in which all references were seen or taken; 0: not all are."""
        try:
            self._load()
        except Unavailable as error:
            log.warning("the store does not tell this node's identities", reason=str(error))

    def allocate(self, labels: Labels) -> int:
        """The number of these labels, made if nobody has it yet. Each call is matched by one `release`, when
        what it was for is gone. After a restart, call it for everything that still lives. Raises Exhausted."""
        number = self._use(labels)
        if number is not None:
            return number
        with self._asking:
            number = self._use(labels)
            if number is None:
                number = self._refer(labels)
                self._hold(_Held(number, labels, uses=1))
        return number

    def adopt(self, number: int, labels: Labels) -> None:
        """As `allocate`, for labels that had this number when the store was last heard. `refresh` takes the reference.
        Raises Conflict where this node knows better."""
        with self._lock:
            held = self._by_number.get(number) or self._by_labels.get(labels)
            if held is None:
                self._by_number[number] = self._by_labels[labels] = _Held(number, labels, uses=1)
                self._session = 0
            elif (held.number, held.labels) != (number, labels):
                raise Conflict(f"identity {number} is not that of {', '.join(labels.texts())}")
            else:
                held.uses += 1

    def refresh(self) -> list[int]:
        """Takes the references that this node should have and has not: an ended session took them along, or they
        were not to be had. Costs nothing where there are none. Returns the numbers that are others' by now: who has
        one must allocate again."""
        health = self._store.health()
        if health.session == self._session or health.problem:
            return []
        with self._asking:
            there = set(self._references(self._node))
            lost = [
                held.number
                for held in list(self._by_number.values())
                if held.number not in there and not self._take_again(held)
            ]
            with self._lock:
                for number in lost:
                    del self._by_labels[self._by_number.pop(number).labels]
            self._session = health.session
        return lost

    def release(self, number: int) -> None:
        """The identity and this node's reference stay until `collect` has found them unused twice."""
        with self._lock:
            held = self._by_number.get(number)
            if held is not None and held.uses > 0:
                held.uses -= 1

    def lookup(self, number: int) -> Labels | None:
        with self._lock:
            held = self._by_number.get(number)
        if held is not None:
            return held.labels
        entry = self._store.get(self._keys.identity(number))
        return None if entry is None else IDENTITY.decode(entry).labels

    def all(self) -> dict[int, Labels]:
        """Every identity of the cluster, by number."""
        return {number: record.labels for number, record, _ in self._records()}

    def collect(self) -> list[int]:
        """Drops this node's references that were unused at this and the last call. Where this node is the one that
        collects, condemns identities that no node refers to, and removes those that have been condemned for long
        enough; returns their numbers. To be called every minute or so."""
        with self._asking:
            self._forget_idle()
            strays = [number for number in self._references(self._node) if number not in self._by_number]
            keys = iter([self._keys.identity_reference(self._node, number) for number in strays])
            while chunk := [Delete(key) for key in islice(keys, MAX_OPERATIONS)]:
                self._store.transact(chunk, durable=False)
            # In this order: whoever takes a condemned identity into use after it was read here changes it, and who
            # did so before has a reference by the time that those are read.
            if not self._elected():
                return []
            records = list(self._records())
            used = set(self._references())
            return [found[0] for found in records if self._judge(*found, used=found[0] in used)]

    def _load(self) -> None:
        references = set(self._references(self._node))
        if references:
            for number, record, _ in self._records():
                if number in references:
                    self._hold(_Held(number, record.labels))

    def _use(self, labels: Labels) -> int | None:
        with self._lock:
            held = self._by_labels.get(labels)
            if held is None:
                return None
            held.uses += 1
            return held.number

    def _hold(self, held: _Held) -> None:
        with self._lock:
            self._by_labels[held.labels] = held
            self._by_number[held.number] = held

    def _forget_idle(self) -> None:
        with self._lock:
            for held in list(self._by_number.values()):
                if held.uses == 0 and held.idle:
                    del self._by_number[held.number]
                    del self._by_labels[held.labels]
                held.idle = held.uses == 0

    def _refer(self, labels: Labels) -> int:
        for attempt in range(_ATTEMPTS):
            entry = self._store.get(self._keys.identity_value(labels))
            try:
                if entry is None:
                    return self._create(labels, spread=min(1 << attempt, _SPREAD))
                number = NUMBER.decode(entry)
                if self._join(number, labels):
                    return number
            except Conflict:
                continue
        raise Unavailable(
            f"no identity for {', '.join(labels.texts())} after {_ATTEMPTS} attempts",
            hint="something else writes below " + self._keys.root + "identities/",
        )

    def _join(self, number: int, labels: Labels) -> bool:
        """Takes a reference to an identity that exists. False: it was removed just now."""
        key = self._keys.identity(number)
        entry = self._store.get(key)
        if entry is None:
            return False
        record = IDENTITY.decode(entry)
        if record.labels != labels:
            raise Unavailable(
                f"the store gives identity {number} to two sets of labels",
                hint="stop every agent and delete the keys below " + self._keys.root + "identities/",
            )
        unchanged = (
            Set(key, IDENTITY.encode(IdentityRecord(labels)), index=entry.index)
            if record.condemned
            else Check(key, entry.index)
        )
        self._store.transact([unchanged, self._reference(number)], durable=False)
        return True

    def _take_again(self, held: _Held) -> bool:
        """False: the number, or the labels, are another's by now."""
        for _ in range(_ATTEMPTS):
            entry = self._store.get(self._keys.identity_value(held.labels))
            try:
                if entry is None:
                    self._store.transact(self._made(held.number, held.labels), durable=False)
                    return True
                if NUMBER.decode(entry) != held.number:
                    return False
                if self._join(held.number, held.labels):
                    return True
            except Conflict:
                entry = self._store.get(self._keys.identity(held.number))
                if entry is not None and IDENTITY.decode(entry).labels != held.labels:
                    return False
        raise Unavailable(f"identity {held.number} could not be taken again after {_ATTEMPTS} attempts")

    def _made(self, number: int, labels: Labels) -> list[Op]:
        """What makes an identity that must not be there, with this node's reference."""
        return [
            Set(self._keys.identity(number), IDENTITY.encode(IdentityRecord(labels)), index=0),
            Set(self._keys.identity_value(labels), NUMBER.encode(number), index=0),
            self._reference(number),
        ]

    def _create(self, labels: Labels, spread: int) -> int:
        number = self._free_number(spread)
        # Not durable: a power cut ends every container, and with them whatever used the number.
        try:
            self._store.transact(
                [
                    *self._made(number, labels),
                    Set(self._keys.identity_last(), NUMBER.encode(number)),
                ],
                durable=False,
            )
        except Conflict:
            if self._store.get(self._keys.identity(number)) is not None:
                self._taken.add(number)
            raise
        self._taken.add(number)
        return number

    def _free_number(self, spread: int) -> int:
        """One of the next `spread` after the one given last, by anyone: a number comes back only when all others had
        their turn."""
        entry = self._store.get(self._keys.identity_last())
        last = self._numbers[-1] if entry is None else NUMBER.decode(entry)
        start = self._numbers.index(last) + 1 if last in self._numbers else 0
        if len(self._taken) >= len(self._numbers):
            self._taken = {number for number, _, _ in self._records()}
        turn = chain(self._numbers[start:], self._numbers[:start])
        if free := list(islice((number for number in turn if number not in self._taken), spread)):
            return random.choice(free)
        raise Exhausted(
            f"all {len(self._numbers)} identities are in use",
            hint="keep labels that differ from container to container out of CILIATE_LABELS",
        )

    def _reference(self, number: int) -> Set:
        key = self._keys.identity_reference(self._node, number)
        return Set(key, MARK.encode(None), session=True)

    def _references(self, node: str | None = None) -> list[int]:
        entries = self._store.list(self._keys.identity_references(node))
        return [int(entry.key.rpartition("/")[2]) for entry in entries]

    def _records(self) -> Iterator[tuple[int, IdentityRecord, Entry]]:
        prefix = self._keys.identities()
        for entry in self._store.list(prefix):
            yield int(entry.key.removeprefix(prefix)), IDENTITY.decode(entry), entry

    def _elected(self) -> bool:
        key = self._keys.lock("identities")
        entry = self._store.get(key)
        if entry is not None:
            return HOLDER.decode(entry) == self._node
        try:
            self._store.transact([Set(key, HOLDER.encode(self._node), index=0, session=True)], durable=False)
        except Conflict:
            return False
        return True

    def _judge(self, number: int, record: IdentityRecord, entry: Entry, *, used: bool) -> bool:
        """True: it was condemned long enough, and is removed now."""
        now = self._clock()
        ripe = not used and record.condemned and now - record.condemned >= self._grace
        if bool(record.condemned) is not used and not ripe:
            return False
        changed = IdentityRecord(record.labels, condemned=0 if used else int(now))
        try:
            if ripe:
                value = self._keys.identity_value(record.labels)
                self._store.transact([Delete(entry.key, index=entry.index), Delete(value)], durable=False)
                self._taken.discard(number)
            else:
                self._store.transact(
                    [Set(entry.key, IDENTITY.encode(changed), index=entry.index)], durable=False
                )
        except Conflict:
            return False  # taken into use in the meantime
        return bool(ripe)
