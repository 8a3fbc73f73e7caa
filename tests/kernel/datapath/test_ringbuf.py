"""Events come out of a real ring as a program put them in, in order, and loss is counted."""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath import syscall
from datapath.attributes import MapType
from datapath.ringbuf import RingBuffer
from tests.kernel.datapath.assembly import load, ringing

SIZE, RING = 80, 4096
ROOM = RING // (SIZE + 8)


class Ring:
    """A ring, the program that fills it, and how often that found it full."""

    def __init__(self, root: Path) -> None:
        self.path = root / "events"
        self._ring = syscall.create_map(MapType.RINGBUF, 0, 0, RING)
        self._lost = syscall.create_map(MapType.ARRAY, 4, 8, 1)
        syscall.pin(self._ring, str(self.path))
        self._program = load(ringing(self._ring, SIZE, lost=self._lost))

    def write(self, *lengths: int) -> None:
        for length in lengths:
            syscall.run_program(self._program, bytes(length))

    def lost(self) -> int:
        return int.from_bytes(syscall.lookup(self._lost, bytes(4), 8) or b"", "little")

    def close(self) -> None:
        for fd in (self._program, self._lost, self._ring):
            os.close(fd)


@pytest.fixture
def ring(bpf_root: Path) -> Iterator[Ring]:
    made = Ring(bpf_root)
    yield made
    made.close()


def lengths(records: Iterator[bytes]) -> list[int]:
    found = []
    for record in records:
        assert len(record) == SIZE
        found.append(struct.unpack_from("=Q", record)[0])
    return found


def test_records_come_in_order_and_once(ring: Ring) -> None:
    with RingBuffer(ring.path) as reader:
        ring.write(60, 61, 62)
        assert lengths(reader.poll(0)) == [60, 61, 62]
        assert lengths(reader.poll(0)) == []


def test_the_ring_may_be_filled_many_times_over(ring: Ring) -> None:
    """Records that run over the end of the ring are whole."""
    with RingBuffer(ring.path) as reader:
        for start in range(60, 60 + 10 * ROOM, 20):
            ring.write(*range(start, start + 20))
            assert lengths(reader.poll(0)) == list(range(start, start + 20))
    assert ring.lost() == 0


def test_what_finds_the_ring_full_is_lost_and_counted(ring: Ring) -> None:
    with RingBuffer(ring.path) as reader:
        ring.write(*range(60, 160))
        kept = lengths(reader.poll(0))
        assert kept == list(range(60, 60 + len(kept)))
        assert 0 < len(kept) <= ROOM
        assert ring.lost() == 100 - len(kept)
        ring.write(500)
        assert lengths(reader.poll(0)) == [500]


def test_a_waiting_reader_wakes_up(ring: Ring) -> None:
    with RingBuffer(ring.path) as reader:
        writer = threading.Timer(0.05, ring.write, [77])
        writer.start()
        assert lengths(reader.poll(5)) == [77]
        writer.join()


def test_waiting_ends(ring: Ring) -> None:
    with RingBuffer(ring.path) as reader:
        begin = time.monotonic()
        assert lengths(reader.poll(0.05)) == []
        assert 0.04 < time.monotonic() - begin < 2


def test_the_next_reader_goes_on_where_the_last_one_stopped(ring: Ring) -> None:
    with RingBuffer(ring.path) as reader:
        ring.write(60)
        assert lengths(reader.poll(0)) == [60]
        ring.write(61)
    with RingBuffer(ring.path) as reader:
        assert lengths(reader.poll(0)) == [61]


def test_a_poller_of_the_callers_own_may_wait_and_take_a_few(ring: Ring) -> None:
    with RingBuffer(ring.path) as reader:
        assert select.select([reader], [], [], 0)[0] == []
        assert reader.take() == []
        ring.write(60, 61, 62)
        assert select.select([reader], [], [], 5)[0] == [reader]
        assert lengths(iter(reader.take(2))) == [60, 61]
        assert select.select([reader], [], [], 0)[0] == [reader]
        assert lengths(iter(reader.take(2))) == [62]
