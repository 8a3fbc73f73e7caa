"""The set of whole numbers, against Python's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipam_driver.bitmap import Bitmap

NUMBERS = st.one_of(st.integers(0, 40), st.integers(4080, 4110), st.integers(2**64 - 20, 2**64))


@given(st.lists(st.tuples(st.booleans(), NUMBERS), max_size=80), NUMBERS, NUMBERS)
def test_it_is_a_set_that_finds_its_next_gap(steps: list[tuple[bool, int]], start: int, stop: int) -> None:
    bitmap, members = Bitmap(), set[int]()
    for add, number in steps:
        (bitmap.add if add else bitmap.discard)(number)
        (members.add if add else members.discard)(number)
    assert len(bitmap) == len(members)
    assert all((number in bitmap) == (number in members) for _, number in steps)

    gap = next((number for number in range(start, min(stop, start + 200)) if number not in members), None)
    assert bitmap.next_gap(start, stop) == gap


def test_full_chunks_are_skipped() -> None:
    bitmap = Bitmap()
    for number in range(10_000):
        bitmap.add(number)
    assert bitmap.next_gap(0, 2**64) == 10_000
    assert bitmap.next_gap(0, 10_000) is None
    bitmap.discard(9_999)
    assert bitmap.next_gap(3, 10_000) == 9_999
