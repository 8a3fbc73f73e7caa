"""The policies of local identities: a map of maps, one inner map for each slot.

A write to the outer map waits until no program uses the old inner map, 8-16 ms; all writes of one
batch wait together. So changes of rules are published in one batch, and slots get their empty map
long before an endpoint needs them.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from datapath import syscall
from datapath.codec import POLICY, decode_number, encode_number
from datapath.kernel_map import KernelMap, KernelTable
from datapath.maps import MapSpec, full
from datapath.pins import create_map
from model.errors import Unavailable
from policy.mapstate import PolicyEntry, PolicyKey

Policy = Mapping[PolicyKey, PolicyEntry]

_OTHER_FILES = 512
"""Descriptors left for the rest of the process when every slot's map is open at once."""


class KernelPolicies:
    def __init__(self, outer: KernelMap, inner: MapSpec) -> None:
        self._outer = outer
        self._inner = inner
        self._at_most: dict[int, int] = {}
        """An upper bound of the entries in a slot's map, where known: no need to count before an edit."""
        _allow_open_files(outer.max_entries + _OTHER_FILES)

    def get(self, slot: int) -> dict[PolicyKey, PolicyEntry] | None:
        with self._open(slot) as table:
            return None if table is None else dict(table.items())

    def replace(self, policies: Mapping[int, Policy]) -> None:
        for slot in policies:
            self._check_slot(slot)
        made: dict[int, int] = {}
        try:
            for slot, policy in policies.items():
                made[slot] = self._make(policy)
            self._outer.put_many([(encode_number(slot), encode_number(fd)) for slot, fd in made.items()])
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise Unavailable(
                    f"cannot open {len(policies)} policy maps at once", hint="raise LimitNOFILE of the agent"
                ) from error
            raise
        finally:
            for fd in made.values():
                os.close(fd)
        self._at_most.update({slot: len(policy) for slot, policy in policies.items()})

    def edit(self, slot: int, upserts: Policy, deletes: Iterable[PolicyKey]) -> None:
        self._check_slot(slot)
        with self._open(slot) as table:
            if table is not None:
                self._make_sure_it_fits(slot, table, upserts)
                table.put_many(upserts)
                table.delete_many(deletes)
                return
        gone = set(deletes)
        self.replace({slot: {key: entry for key, entry in upserts.items() if key not in gone}})

    def clear(self, slot: int) -> None:
        self._at_most.pop(slot, None)
        if 0 <= slot < self._outer.max_entries:
            syscall.delete(self._outer.fd, encode_number(slot))

    def count(self) -> int:
        """Slots that hold a map."""
        return sum(
            self._outer.get(encode_number(slot)) is not None for slot in range(self._outer.max_entries)
        )

    def _make_sure_it_fits(
        self, slot: int, table: KernelTable[PolicyKey, PolicyEntry], upserts: Policy
    ) -> None:
        bound = self._at_most.get(slot, self._inner.max_entries) + len(upserts)
        if bound > self._inner.max_entries:
            bound = len({key for key, _ in table.items()} | upserts.keys())
        if bound > self._inner.max_entries:
            raise full("policies/inner", self._inner.max_entries)
        self._at_most[slot] = bound

    def _check_slot(self, slot: int) -> None:
        if not 0 <= slot < self._outer.max_entries:
            raise full("policies", self._outer.max_entries)

    def _make(self, policy: Policy) -> int:
        """The descriptor of a new inner map that holds this policy."""
        fd = create_map(self._inner)
        try:
            self._table(fd).put_many(policy)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _table(self, fd: int) -> KernelTable[PolicyKey, PolicyEntry]:
        spec = self._inner
        inner = KernelMap("policies/inner", fd, spec.key_size, spec.value_size, spec.max_entries)
        return KernelTable(inner, POLICY, trie=True)

    def _descriptor(self, slot: int) -> int | None:
        while True:
            number = self._outer.get(encode_number(slot))
            if number is None:
                return None
            try:
                return syscall.map_by_id(decode_number(number))
            except OSError as error:
                # The writer put another map in its place: look again.
                if error.errno != errno.ENOENT:
                    raise

    @contextmanager
    def _open(self, slot: int) -> Iterator[KernelTable[PolicyKey, PolicyEntry] | None]:
        fd = self._descriptor(slot)
        if fd is None:
            yield None
            return
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
