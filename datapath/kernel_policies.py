"""The policies of local identities: a map of maps, whose slots may share an inner map.

A write to the outer map waits until no program uses the old inner map, 8-16 ms; all writes of one
batch wait together, or, on older kernels, those of several threads. So changes of rules are published
in one batch, and slots get their empty map long before an endpoint needs them.

Which slots share a map is what the kernel says: the outer map's values are the ids of the inner ones.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from datapath import syscall
from datapath.codec import POLICY, decode_number, encode_number
from datapath.kernel_map import KernelMap, KernelTable
from datapath.maps import POLICY_MAP, MapSpec, empty, full
from datapath.pins import create_map
from datapath.tables import MapInfo
from model.errors import Exhausted, Unavailable
from policy.mapstate import PolicyEntry, PolicyKey

Policy = Mapping[PolicyKey, PolicyEntry]
Inner = KernelTable[PolicyKey, PolicyEntry]

_OTHER_FILES = 512
"""Descriptors left for the rest of the process when every slot's map is open at once."""


class KernelPolicies:
    """`get`, `shown` and `count` may be called by any thread, all else by the writer's."""

    def __init__(self, outer: KernelMap, inner: MapSpec) -> None:
        self._outer = outer
        self._inner = inner
        self._maps: dict[int, int] = {}
        """Slot -> id of its map."""
        self._users: dict[int, set[int]] = {}
        """Id -> slots that have the map."""
        self._released: set[int] = set()
        self._at_most: dict[int, int] = {}
        """Id -> an upper bound of the entries, where known: no need to count before an edit."""
        _allow_open_files(outer.max_entries + _OTHER_FILES)
        self._read_back()

    def get(self, slot: int) -> dict[PolicyKey, PolicyEntry] | None:
        while True:
            number = self._outer.get(encode_number(slot))
            if number is None:
                return None
            try:
                with self._open(decode_number(number)) as table:
                    return dict(table.items())
            except OSError as error:
                # The writer put another map in its place: look again.
                if error.errno != errno.ENOENT:
                    raise

    def get_many(self, slots: Iterable[int]) -> dict[int, dict[PolicyKey, PolicyEntry]]:
        self._read_back()
        read: dict[int, dict[PolicyKey, PolicyEntry]] = {}
        found = {}
        for slot in slots:
            number = self._maps.get(slot)
            if number is None:
                continue
            if number not in read:
                with self._open(number) as table:
                    read[number] = dict(table.items())
                self._at_most[number] = len(read[number])
            found[slot] = read[number]
        return found

    def shown(self) -> list[tuple[list[int], dict[PolicyKey, PolicyEntry]]]:
        slots: dict[int, list[int]] = {}
        for slot, number in self._outer.items():
            slots.setdefault(decode_number(number), []).append(decode_number(slot))
        found = []
        for alike in slots.values():
            policy = self.get(alike[0])
            if policy is not None:
                found.append((alike, policy))
        return found

    def replace(self, policies: Mapping[int, Policy]) -> None:
        alike: dict[int, list[int]] = {}
        for slot, policy in policies.items():
            self._check_slot(slot)
            alike.setdefault(id(policy), []).append(slot)
        with ExitStack() as made:
            self._publish([(slots, *self._make(policies[slots[0]], made)) for slots in alike.values()])

    def edit(self, slots: Collection[int], upserts: Policy, deletes: Iterable[PolicyKey]) -> None:
        alike: dict[int | None, list[int]] = {}
        for slot in slots:
            self._check_slot(slot)
            alike.setdefault(self._maps.get(slot), []).append(slot)
        gone = tuple(deletes)
        in_place: list[Inner] = []
        copies: list[tuple[list[int], int, int]] = []
        with ExitStack() as opened:
            for number, chosen in alike.items():
                if number is None:
                    copies.append((chosen, *self._edited({}, upserts, gone, opened)))
                    continue
                table = opened.enter_context(self._open(number))
                if (self._users[number] - self._released).issubset(chosen):
                    self._make_sure_it_fits(number, table, upserts)
                    in_place.append(table)
                else:
                    copies.append((chosen, *self._edited(dict(table.items()), upserts, gone, opened)))
            for table in in_place:
                table.put_many(upserts)
                table.delete_many(gone)
            self._publish(copies)
        self._released.difference_update(slots)

    def share(self, slot: int, like: int) -> None:
        self._check_slot(slot)
        number = self._maps.get(like)
        if number is None:
            raise empty(like)
        with self._open(number) as table:
            self._publish([([slot], table.map.fd, self._bound(number, table))])

    def release(self, slot: int) -> None:
        self._released.add(slot)

    def count(self) -> int:
        """Slots that hold a map."""
        return len(self._maps)

    def info(self) -> MapInfo:
        """Of the fullest inner map: at most so many entries, of the maps that this process has read or written."""
        spec = self._inner
        fullest = max(list(self._at_most.values()), default=0)
        kind = spec.type.name.lower()
        return MapInfo(POLICY_MAP, kind, spec.key_size, spec.value_size, spec.max_entries, fullest)

    def _read_back(self) -> None:
        self._maps = {decode_number(slot): decode_number(number) for slot, number in self._outer.items()}
        self._users = {}
        for slot, number in self._maps.items():
            self._users.setdefault(number, set()).add(slot)
        self._released.clear()
        self._at_most = {number: bound for number, bound in self._at_most.items() if number in self._users}

    def _leave(self, slot: int) -> None:
        self._released.discard(slot)
        number = self._maps.pop(slot, None)
        if number is None:
            return
        self._users[number].discard(slot)
        if not self._users[number]:
            del self._users[number]
            self._at_most.pop(number, None)

    def _publish(self, made: Sequence[tuple[Sequence[int], int, int]]) -> None:
        """Slots, the descriptor of their map from now on, the entries in it. All at once."""
        if not made:
            return
        self._outer.put_many(
            [(encode_number(slot), encode_number(fd)) for slots, fd, _ in made for slot in slots]
        )
        for slots, fd, size in made:
            number = syscall.map_info(fd).id
            for slot in slots:
                self._leave(slot)
                self._maps[slot] = number
            self._users.setdefault(number, set()).update(slots)
            self._at_most[number] = size

    def _bound(self, number: int, table: Inner) -> int:
        if number not in self._at_most:
            self._at_most[number] = table.map.count()
        return self._at_most[number]

    def _make_sure_it_fits(self, number: int, table: Inner, upserts: Policy) -> None:
        bound = self._bound(number, table) + len(upserts)
        if bound > self._inner.max_entries:
            bound = len({key for key, _ in table.items()} | upserts.keys())
        if bound > self._inner.max_entries:
            raise self._full()
        self._at_most[number] = bound

    def _check_slot(self, slot: int) -> None:
        if not 0 <= slot < self._outer.max_entries:
            raise full("policies", self._outer.max_entries)

    def _full(self) -> Exhausted:
        return full(POLICY_MAP, self._inner.max_entries)

    def _edited(
        self,
        policy: dict[PolicyKey, PolicyEntry],
        upserts: Policy,
        deletes: Iterable[PolicyKey],
        opened: ExitStack,
    ) -> tuple[int, int]:
        """A new map that holds this policy as it is after the edit."""
        policy.update(upserts)
        if len(policy) > self._inner.max_entries:
            raise self._full()
        for key in deletes:
            policy.pop(key, None)
        return self._make(policy, opened)

    def _make(self, policy: Policy, opened: ExitStack) -> tuple[int, int]:
        """The descriptor of a new inner map that holds this policy, and its size."""
        try:
            fd = create_map(self._inner)
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise Unavailable(
                    "too many policy maps are open at once", hint="raise LimitNOFILE of the agent"
                ) from error
            raise
        opened.callback(os.close, fd)
        self._table(fd).put_many(policy)
        return fd, len(policy)

    def _table(self, fd: int) -> Inner:
        spec = self._inner
        inner = KernelMap(POLICY_MAP, fd, spec.key_size, spec.value_size, spec.max_entries)
        return KernelTable(inner, POLICY, trie=True)

    @contextmanager
    def _open(self, number: int) -> Iterator[Inner]:
        fd = syscall.map_by_id(number)
        try:
            yield self._table(fd)
        finally:
            os.close(fd)


def _allow_open_files(wanted: int) -> None:
    """Publishing all slots at once needs a descriptor for each, and many a shell allows 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
