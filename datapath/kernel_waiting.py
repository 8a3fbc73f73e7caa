"""A map of maps on kernels before 6.8.

There each entry that is read or written waits until no program uses what was there, 8-16 ms, and those of a batch wait
one after the other. Who waits at the same time waits together: so the entries are divided among threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from datapath.codec import encode_number
from datapath.kernel_map import KernelMap

T = TypeVar("T")
R = TypeVar("R")

THREADS = 128


class WaitingMap(KernelMap):
    """An array of maps, its keys counted from 0."""

    def put_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        _together(super().put_many, [[entry] for entry in entries])

    def slices(self) -> Iterator[tuple[bytes, bytes]]:
        keys = [encode_number(number) for number in range(self.max_entries)]
        found = zip(keys, _together(self.get, keys), strict=True)
        there = [(key, value) for key, value in found if value is not None]
        if there:
            yield b"".join(key for key, _ in there), b"".join(value for _, value in there)


def _together(wait: Callable[[T], R], arguments: Sequence[T]) -> Iterable[R]:
    if len(arguments) < 2:
        return [wait(argument) for argument in arguments]
    with ThreadPoolExecutor(min(THREADS, len(arguments))) as threads:
        return list(threads.map(wait, arguments))
