"""One kernel map behind a file descriptor: bytes in batches, and a typed table on top.

Batches are one system call for thousands of entries; a kernel or map type that has none answers
EINVAL or ENOTSUPP, and then entries go one by one. Shared state: none but the descriptor.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

from datapath import syscall
from datapath.codec import Codec
from datapath.maps import full

K = TypeVar("K")
V = TypeVar("V")

BATCH = 4096
NO_BATCH = frozenset({errno.EINVAL, errno.EOPNOTSUPP, syscall.NOT_SUPPORTED})
_FULL = frozenset({errno.E2BIG, errno.ENOSPC})


class KernelMap:
    """Keys and values as bytes. `value_size` is what a lookup returns (all CPUs together)."""

    def __init__(self, name: str, fd: int, key_size: int, value_size: int, max_entries: int) -> None:
        self.name = name
        self.fd = fd
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries

    def get(self, key: bytes) -> bytes | None:
        return syscall.lookup(self.fd, key, self.value_size)

    def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Exhausted where the map is full; entries before that one are in."""
        try:
            if len(entries) > 1:
                self._put_batches(entries)
            else:
                self._put_each(entries)
        except OSError as error:
            if error.errno in _FULL:
                raise full(self.name, self.max_entries) from None
            raise

    def _put_batches(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        for start in range(0, len(entries), BATCH):
            chunk = entries[start : start + BATCH]
            keys, values = zip(*chunk, strict=True)
            try:
                syscall.update_batch(self.fd, b"".join(keys), b"".join(values), len(chunk))
            except syscall.BatchError as error:
                if error.errno not in NO_BATCH:
                    raise
                self._put_each(chunk)

    def _put_each(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in entries:
            syscall.update(self.fd, key, value)

    def delete_many(self, keys: Sequence[bytes]) -> int:
        """How many of the keys were there."""
        deleted = 0
        position = 0
        while position < len(keys):
            chunk = keys[position : position + BATCH]
            try:
                syscall.delete_batch(self.fd, b"".join(chunk), len(chunk))
            except syscall.BatchError as error:
                if error.errno == errno.ENOENT:
                    # It stopped at a key that is not there: go on behind it.
                    deleted += error.done
                    position += error.done + 1
                    continue
                if error.errno not in NO_BATCH:
                    raise
                deleted += sum(syscall.delete(self.fd, key) for key in chunk)
            else:
                deleted += len(chunk)
            position += len(chunk)
        return deleted

    def slices(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and all values of up to BATCH entries at a time, each joined together."""
        cursor: bytes | None = None
        while True:
            try:
                keys, values, cursor = syscall.lookup_batch(
                    self.fd, cursor, self.key_size, self.value_size, BATCH
                )
            except OSError as error:
                if error.errno == errno.EINTR:  # a trie's entry vanished under the cursor
                    continue
                if error.errno not in NO_BATCH:
                    raise
                yield from self._walk()
                return
            if keys:
                yield keys, values
            if cursor is None:
                return

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        key = syscall.next_key(self.fd, None, self.key_size)
        while key is not None:
            value = self.get(key)
            if value is not None:
                yield key, value
            key = syscall.next_key(self.fd, key, self.key_size)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        size, width = self.key_size, self.value_size
        for keys, values in self.slices():
            for index in range(len(keys) // size):
                yield keys[index * size : (index + 1) * size], values[index * width : (index + 1) * width]

    def count(self) -> int:
        return sum(len(keys) // self.key_size for keys, _ in self.slices())


class KernelTable(Generic[K, V]):
    """A `datapath.tables.Table` over one map. `trie`: lookups of the map find the longest prefix,
    which need not be the key that was asked for."""

    def __init__(self, map: KernelMap, codec: Codec[K, V], *, trie: bool = False) -> None:
        self.map = map
        self._codec = codec
        self._trie = trie

    def get(self, key: K) -> V | None:
        wanted = self._codec.encode_key(key)
        value = self.map.get(wanted)
        if value is not None and self._trie:
            # No command asks a trie for one exact prefix.
            value = next((value for found, value in self.map.items() if found == wanted), None)
        return None if value is None else self._codec.decode_value(value)

    def put(self, key: K, value: V) -> None:
        self.map.put_many([(self._codec.encode_key(key), self._codec.encode_value(value))])

    def delete(self, key: K) -> bool:
        return syscall.delete(self.map.fd, self._codec.encode_key(key))

    def items(self) -> Iterator[tuple[K, V]]:
        decode_key, decode_value = self._codec.decode_key, self._codec.decode_value
        for key, value in self.map.items():
            yield decode_key(key), decode_value(value)

    def put_many(self, entries: Mapping[K, V]) -> None:
        encode_key, encode_value = self._codec.encode_key, self._codec.encode_value
        pairs = iter(entries.items())
        while chunk := [(encode_key(key), encode_value(value)) for key, value in islice(pairs, BATCH)]:
            self.map.put_many(chunk)

    def delete_many(self, keys: Iterable[K]) -> None:
        self.map.delete_many([self._codec.encode_key(key) for key in keys])
